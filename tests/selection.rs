//! What a run is about: paths and patterns, and what is read for it.

#![cfg(feature = "engine")]
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::stream::BoxStream;
use posix_s3::engine::{
    ExportOptions, ImportOptions, MemoryState, Outcome, Report, Selection, Silent, export_since, import_since,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{ListRequest, MemoryStore, ObjectStore};
use posix_s3::tree::{
    Applied, MemoryTree, NameList, OpenFile, Place, Present, SourceError, Standing, Tree, TreeError, TreeOp, Visit,
};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, KeyList, Permissions, Profile, Timestamp, Uid};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn key(key: &str) -> Key {
    key.parse().unwrap()
}

fn attributes() -> Attributes {
    let permissions = Permissions::from_mode(0o755);
    Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: Timestamp::EPOCH, mtime: Timestamp::EPOCH }
}

fn tree(keys: &[&str]) -> MemoryTree {
    let tree = MemoryTree::new();
    for name in keys {
        if name.ends_with('/') {
            tree.insert(Entry::new(key(name), EntryKind::Directory, attributes()).unwrap()).unwrap();
        } else {
            tree.insert_file(key(name), (*name).to_owned(), attributes()).unwrap();
        }
    }
    tree
}

fn keys(store: &MemoryStore) -> Vec<String> {
    block_on(store.list(&ListRequest::default())).unwrap().objects.into_iter().map(|object| object.key).collect()
}

fn options(selection: Selection) -> ExportOptions {
    ExportOptions::new(Profile::fsx())
        .with_bucket("bucket")
        .with_selection(selection)
        .with_deletes(Deletes::Apply(Brake::default()))
}

fn export(tree: &impl Tree, store: &MemoryStore, state: &MemoryState, selection: Selection) -> Report {
    block_on(export_since(tree, store, state, &options(selection), &Silent)).unwrap()
}

const ALL: &[&str] = &["a", "a-", "a.d/", "a.d/x", "d/", "d/a", "d/e/", "d/e/f", "d0"];

#[test]
fn a_path_is_a_file_or_a_directory_with_all_that_is_in_it_and_nothing_around() {
    let tree = tree(ALL);
    for (paths, expected) in [
        (&["a"][..], &["a"][..]),
        (&["d"], &["d/", "d/a", "d/e/", "d/e/f"]),
        (&["d/"], &["d/", "d/a", "d/e/", "d/e/f"]),
        (&["d/e", "a-"], &["a-", "d/e/", "d/e/f"]),
        (&["d/e/f", "d/e", "a.d/x"], &["a.d/x", "d/e/", "d/e/f"]),
    ] {
        let (store, state) = (MemoryStore::new(), MemoryState::new());
        let selection = paths.iter().fold(Selection::all(), |selection, path| selection.with_path(key(path)));
        let report = export(&tree, &store, &state, selection.clone());
        assert_eq!(keys(&store), expected, "{paths:?}");
        assert_eq!(report.entries, expected.len() as u64, "{paths:?}");
        let again = export(&tree, &store, &state, selection);
        assert_eq!((again.unchanged, again.store_calls.put), (expected.len() as u64, 0), "{paths:?}");
    }
}

#[test]
fn a_path_that_is_nowhere_is_failed_and_one_that_is_gone_is_deleted() {
    let (tree, store, state) = (tree(ALL), MemoryStore::new(), MemoryState::new());
    let nowhere = export(&tree, &store, &state, Selection::all().with_path(key("nowhere")));
    assert_eq!((nowhere.failed, nowhere.entries), (1, 1));
    assert_eq!(
        &*nowhere.problems.first().unwrap().reason,
        "looking for \"nowhere\" failed: there is no such file or directory"
    );

    export(&tree, &store, &state, Selection::all());
    assert!(tree.remove(&key("d")) && tree.remove(&key("a")));
    let report = export(&tree, &store, &state, Selection::all().with_path(key("d")));
    assert_eq!((report.deleted, report.entries, report.failed), (4, 0, 0), "{:?}", report.problems);
    assert_eq!(keys(&store), ["a", "a-", "a.d/", "a.d/x", "d0"]);
}

#[test]
fn what_a_pattern_leaves_out_is_neither_sent_nor_deleted() {
    let (tree, store, state) = (tree(ALL), MemoryStore::new(), MemoryState::new());
    let without_e = || Selection::all().with_exclude("e/").unwrap();
    export(&tree, &store, &state, without_e());
    assert_eq!(keys(&store), ["a", "a-", "a.d/", "a.d/x", "d/", "d/a", "d0"]);
    // It is sent once nothing leaves it out, and stays when something does again, also if it is gone by then.
    export(&tree, &store, &state, Selection::all());
    assert_eq!(keys(&store), ALL);
    assert!(tree.remove(&key("d/e")));
    let report = export(&tree, &store, &state, without_e());
    assert_eq!((report.deleted, report.gone), (0, 0));
    assert_eq!(keys(&store), ALL);
    assert_eq!(export(&tree, &store, &state, Selection::all()).deleted, 2);

    let (store, state) = (MemoryStore::new(), MemoryState::new());
    export(&tree, &store, &state, Selection::all().with_include("a*").unwrap());
    assert_eq!(keys(&store), ["a", "a-", "a.d/", "d/", "d/a"]);
}

#[test]
fn an_import_takes_the_same_selections() {
    let (store, state) = (MemoryStore::new(), MemoryState::new());
    export(&tree(ALL), &store, &state, Selection::all());
    for (selection, expected) in [
        (Selection::all().with_path(key("d/e")), &["d/", "d/e/", "d/e/f"][..]),
        (Selection::all().with_path(key("a")), &["a"]),
        (Selection::all().with_exclude("d").unwrap(), &["a", "a-", "a.d/", "a.d/x", "d0"]),
        (Selection::all().with_include("f").unwrap(), &["a.d/", "d/", "d/e/", "d/e/f"]),
    ] {
        let (target, state) = (MemoryTree::new(), MemoryState::new());
        let options = ImportOptions::new(Profile::fsx()).with_selection(selection).with_bucket("bucket");
        block_on(import_since(&store, &target, &state, &options, &Silent)).unwrap();
        let keys: Vec<String> = target.entries().iter().map(|(entry, _)| entry.key().to_string()).collect();
        assert_eq!(keys, expected);
    }
}

/// A tree that counts how often a file is opened, and keeps which names are skipped in silence.
struct Opened<'t> {
    tree: &'t MemoryTree,
    opened: AtomicUsize,
    listed: Mutex<Vec<String>>,
}

impl<'t> Opened<'t> {
    fn new(tree: &'t MemoryTree) -> Self {
        Self { tree, opened: AtomicUsize::new(0), listed: Mutex::default() }
    }
}

impl Tree for Opened<'_> {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.listed.lock().unwrap().push(directory.map(Key::to_string).unwrap_or_default());
        self.tree.list(directory).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        self.tree.look(keys, place, visitor).await
    }

    fn now(&self) -> Timestamp {
        self.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        self.tree.identity()
    }

    fn keeps_directory_times(&self) -> bool {
        self.tree.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.tree.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.tree.lookup(key).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.tree.open(key).await
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.tree.write_file(entry, body, standing).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        self.tree.apply(op).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.tree.begin().await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.tree.sync().await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.tree.finish().await
    }
}

#[test]
fn a_file_with_several_names_is_read_once() {
    let tree = tree(&["a", "d/", "other"]);
    for name in ["b", "c", "d/a"] {
        tree.link(&key("a"), &key(name)).unwrap();
    }
    let counted = Opened::new(&tree);
    let (store, state) = (MemoryStore::new(), MemoryState::new());
    let report = export(&counted, &store, &state, Selection::all());
    assert_eq!((report.written, counted.opened.into_inner()), (6, 2));
    assert_eq!(keys(&store), ["a", "b", "c", "d/", "d/a", "other"]);
    // Another name moves the ctime of all; one look at the content tells that nothing else is new.
    tree.link(&key("a"), &key("d/b")).unwrap();
    let counted = Opened::new(&tree);
    let report = export(&counted, &store, &state, Selection::all());
    assert_eq!((report.store_calls.put, counted.opened.into_inner()), (1, 1));
}

#[test]
fn a_directory_that_has_not_changed_is_not_read() {
    let tree = tree(ALL);
    let (store, state) = (MemoryStore::new(), MemoryState::new());
    let listed = |tree: &MemoryTree| {
        let counted = Opened::new(tree);
        let report = export(&counted, &store, &state, Selection::all());
        assert_eq!(report.problems, []);
        counted.listed.into_inner().unwrap()
    };
    assert_eq!(listed(&tree), ["", "a.d/", "d/", "d/e/"]);
    assert_eq!(listed(&tree), [""]);
    tree.set_content(&key("d/e/f"), "changed").unwrap();
    assert_eq!(listed(&tree), [""]);
    tree.insert_file(key("d/e/g"), "new", attributes()).unwrap();
    assert_eq!(listed(&tree), ["", "d/e/"]);
    assert_eq!(listed(&tree), [""]);
    assert!(keys(&store).contains(&"d/e/g".to_owned()));
}

#[test]
fn every_name_ends_in_one_outcome_in_every_run() {
    let tree = tree(&["a", "d/", "d/a"]);
    let (store, state) = (MemoryStore::new(), MemoryState::new());
    // Too long for a key behind this prefix: it has no object, and is said to be left out in every run.
    let prefix = posix_s3::Prefix::parse(&"p".repeat(200)).unwrap();
    let long = ["n".repeat(250), "n".repeat(250), "n".repeat(250), "n".repeat(200)];
    let mut path = String::new();
    for name in &long {
        path.push_str(name);
        path.push('/');
        tree.insert(Entry::new(key(&path), EntryKind::Directory, attributes()).unwrap()).unwrap();
    }
    let options = options(Selection::all()).with_prefix(prefix);
    for run in 0..3 {
        let report = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
        assert_eq!((report.entries, report.skipped), (7, 1), "run {run}");
        let problem = report.problems.first().unwrap();
        assert_eq!((problem.outcome, report.problems.len()), (Outcome::Skipped, 1), "run {run}");
    }
}
