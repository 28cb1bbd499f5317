//! Changes that a feed tells end in the bucket as an export of everything puts them there, whatever fails on the way; a fence
//! names what is not there, and nothing is acknowledged that is not.

#![cfg(all(feature = "engine", feature = "repository"))]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test"
)]

mod trouble;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::stream::BoxStream;
use posix_s3::engine::{
    ExportOptions, FenceError, Mark, MemoryState, Selection, Silent, UnsentPath, export, export_changes, export_since,
    fence,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::repository::{
    ChangeFeed, ChangeKind, Changelog, ChangelogTrouble, Closes, Debounce, Depth, EventType, EventTypes, FeedBatch,
    FeedChange, Fid, FidPaths, FidResolver, Pending, Unresolved,
};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{
    Applied, MemoryTree, NameList, OpenFile, Place, Present, SourceError, Standing, Tree, TreeError, TreeOp, Visit,
};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, KeyList, Permissions, Profile, SymlinkTarget, Timestamp, Uid};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn key(key: &str) -> Key {
    key.parse().unwrap()
}

fn attributes(mode: u32) -> Attributes {
    let time = Timestamp::from_unix(1000, 7).unwrap();
    Attributes { permissions: Permissions::from_mode(mode), uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds, 0).unwrap()
}

fn options() -> ExportOptions {
    ExportOptions::new(Profile::fsx()).with_bucket("bucket")
}

/// What a bucket holds: headers and body by key.
type Objects = BTreeMap<String, (BTreeMap<String, String>, Bytes)>;

fn objects(store: &MemoryStore) -> Objects {
    let listed = block_on(store.list(&ListRequest::default())).unwrap().objects;
    let object = |key: &str| {
        let mut output = block_on(store.get(key, &GetOptions::default())).unwrap();
        let headers = output.meta.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = block_on(futures_util::StreamExt::next(&mut output.body)).map(Result::unwrap).unwrap_or_default();
        (headers, body)
    };
    listed.into_iter().map(|listed| (listed.key.clone(), object(&listed.key))).collect()
}

/// What a full export of a tree puts into an empty bucket.
fn exported(tree: &MemoryTree) -> Objects {
    let store = MemoryStore::new();
    block_on(export(tree, &store, &options(), &Silent)).unwrap();
    objects(&store)
}

// ------------------------------------------------------------------------------------------------ a store in trouble

/// A bucket in which some calls fail: those of denied keys, and some others now and then.
#[derive(Default)]
struct Troubled {
    store: MemoryStore,
    denied: Mutex<BTreeSet<String>>,
    /// How the coming calls end: as they do, failed, or done without an answer.
    fates: Mutex<Vec<u8>>,
}

impl Troubled {
    fn fate(&self, operation: Operation, key: &str) -> Result<u8, StoreError> {
        let changes = !matches!(operation, Operation::Head | Operation::Get | Operation::List);
        if changes && self.denied.lock().unwrap().contains(key) {
            return Err(StoreError::new(operation, key, StoreErrorKind::Denied));
        }
        let fate = self.fates.lock().unwrap().pop().unwrap_or(0);
        if fate == 1 { Err(StoreError::new(operation, key, StoreErrorKind::Transient)) } else { Ok(fate) }
    }

    async fn call<T>(
        &self,
        operation: Operation,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fate = self.fate(operation, key)?;
        let answer = call.await;
        if fate == 2 { Err(StoreError::new(operation, key, StoreErrorKind::Transient)) } else { answer }
    }
}

impl ObjectStore for Troubled {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.call(Operation::Head, key, self.store.head(key)).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.call(Operation::Get, key, self.store.get(key, options)).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.call(Operation::Put, key, self.store.put(key, body, options)).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.call(Operation::ReplaceMetadata, key, self.store.replace_metadata(key, options)).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.call(Operation::Delete, key, self.store.delete(key, precondition)).await
    }
}

// ------------------------------------------------------------------------- a file system that keeps a changelog

/// A tree with the changelog that Lustre would write of what is done to it.
struct Lustre {
    tree: MemoryTree,
    /// What each path is, without slashes at their ends.
    names: BTreeMap<String, Inode>,
    made: u32,
    number: u64,
    text: Vec<u8>,
    /// Files that are open, by number.
    open: BTreeSet<u32>,
    /// Whether the changelog tells when files are closed.
    closes: Closes,
    /// Whether what goes is named with its whole path, as FSx does.
    whole_paths: bool,
    /// By key: the number of the last record about it.
    told: BTreeMap<String, u64>,
    /// Keys of which times alone were set.
    timed: BTreeSet<String>,
    /// How the coming questions for a path end.
    answers: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    number: u32,
    kind: char,
}

impl Lustre {
    fn new(closes: Closes, whole_paths: bool) -> Self {
        Self {
            tree: MemoryTree::new(),
            names: BTreeMap::new(),
            made: 0,
            number: 0,
            text: Vec::new(),
            open: BTreeSet::new(),
            closes,
            whole_paths,
            told: BTreeMap::new(),
            timed: BTreeSet::new(),
            answers: Vec::new(),
        }
    }

    fn fid(number: u32) -> String {
        format!("[0x200000401:{number:#x}:0x0]")
    }

    fn parent(&self, path: &str) -> String {
        match path.rsplit_once('/') {
            Some((parent, _)) => Self::fid(self.names[parent].number),
            None => "[0x200000007:0x1:0x0]".into(),
        }
    }

    fn key_of(&self, path: &str) -> String {
        if self.names[path].kind == 'd' { format!("{path}/") } else { path.into() }
    }

    fn log(&mut self, kind: &str, flags: u32, target: &str, rest: &str) {
        self.number += 1;
        let (number, second) = (self.number, self.number % 60);
        let head = format!("{number} {kind} 05:55:{second:02}.024429670 2026.10.09 {flags:#x} t={target}");
        self.text.extend(format!("{head} j=cp.0 ef=0xf u=0:0 nid=172.31.39.207@tcp{rest}\n").bytes());
    }

    /// The next record is about these keys.
    fn tells(&mut self, keys: impl IntoIterator<Item = String>) {
        let next = self.number + 1;
        self.told.extend(keys.into_iter().map(|key| (key, next)));
    }

    fn place(&self, path: &str) -> String {
        format!(" p={} {}", self.parent(path), path.rsplit('/').next().unwrap())
    }

    fn old_place(&self, path: &str) -> String {
        if self.whole_paths { format!(" p={} /{path}", self.parent(path)) } else { self.place(path) }
    }

    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.names.get(path).is_some_and(|inode| inode.kind == 'd')
    }

    fn is_free(&self, path: &str) -> bool {
        !self.names.contains_key(path) && self.is_directory(path.rsplit_once('/').map_or("", |(parent, _)| parent))
    }

    /// All keys of an inode.
    fn keys(&self, number: u32) -> Vec<String> {
        let names = self.names.iter().filter(|(_, inode)| inode.number == number);
        names.map(|(path, _)| self.key_of(path)).collect()
    }

    fn made(&mut self, path: &str, kind: char) -> u32 {
        self.made += 1;
        self.names.insert(path.into(), Inode { number: self.made, kind });
        self.tells([self.key_of(path)]);
        self.made
    }

    fn attributes(&self, path: &str) -> Attributes {
        let path = key(&self.key_of(path));
        let entries = self.tree.entries();
        *entries.iter().find(|(entry, _)| *entry.key() == path).unwrap().0.attributes()
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Create(path) if self.is_free(path) => {
                self.tree.insert_file(key(path), "", attributes(0o644)).unwrap();
                let number = self.made(path, 'f');
                self.log("01CREAT", 0, &Self::fid(number), &self.place(path));
                self.open.insert(number);
            }
            Action::Write(path, content) if self.names.get(path).is_some_and(|inode| inode.kind == 'f') => {
                let number = self.names[path].number;
                self.tree.set_content(&key(path), content.clone()).unwrap();
                match self.closes {
                    Closes::Told => drop(self.open.insert(number)),
                    Closes::Untold => {
                        self.tells(self.keys(number));
                        self.log("13TRUNC", 0xe, &Self::fid(number), "");
                        self.open.insert(number);
                    }
                }
            }
            Action::Close(which) => {
                let Some(number) = self.open.iter().nth(*which % self.open.len().max(1)).copied() else { return };
                self.close(number);
            }
            Action::Chmod(path, mode) if self.names.contains_key(path) => {
                let inode = self.names[path];
                let permissions = Permissions::from_mode(*mode);
                if inode.kind != 'l' && self.attributes(path).permissions != permissions {
                    let changed = Attributes { permissions, ..self.attributes(path) };
                    self.tree.set_attributes(&key(path), changed).unwrap();
                    self.tells(self.keys(inode.number));
                    self.log("14SATTR", 0x14, &Self::fid(inode.number), "");
                }
            }
            Action::Touch(path, seconds) if self.names.contains_key(path) => {
                let number = self.names[path].number;
                let changed = Attributes { atime: at(*seconds), mtime: at(*seconds), ..self.attributes(path) };
                self.tree.set_attributes(&key(path), changed).unwrap();
                self.timed.extend(self.keys(number));
                self.log("17MTIME", 0x7, &Self::fid(number), "");
            }
            Action::MakeDirectory(path) if self.is_free(path) => {
                let entry = Entry::new(key(&format!("{path}/")), EntryKind::Directory, attributes(0o755)).unwrap();
                self.tree.insert(entry).unwrap();
                let number = self.made(path, 'd');
                self.log("02MKDIR", 0, &Self::fid(number), &self.place(path));
            }
            Action::Symlink(path) if self.is_free(path) => {
                let target = SymlinkTarget::parse(b"../x y").unwrap();
                self.tree
                    .insert(Entry::new(key(path), EntryKind::Symlink { target }, attributes(0o777)).unwrap())
                    .unwrap();
                let number = self.made(path, 'l');
                self.log("04SLINK", 0, &Self::fid(number), &self.place(path));
            }
            Action::Link(from, to) if self.is_free(to) => {
                let Some(inode) = self.names.get(from).copied().filter(|inode| inode.kind == 'f') else { return };
                self.tree.link(&key(from), &key(to)).unwrap();
                self.names.insert(to.clone(), inode);
                self.tells([to.clone()]);
                if self.timed.contains(from) {
                    self.timed.insert(to.clone());
                }
                self.log("03HLINK", 0, &Self::fid(inode.number), &self.place(to));
            }
            Action::Rename(from, to) => self.rename(from, to),
            Action::Remove(path) if self.names.contains_key(path) => {
                let below: Vec<String> =
                    self.names.keys().filter(|below| below.starts_with(&format!("{path}/"))).cloned().collect();
                for gone in below.iter().rev().chain([path]) {
                    self.remove(gone);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, number: u32) {
        self.open.remove(&number);
        if self.closes == Closes::Told {
            self.tells(self.keys(number));
            self.log("11CLOSE", 0x42, &Self::fid(number), "");
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let Some(inode) = self.names.get(from).copied() else { return };
        let replaced = self.names.get(to).copied();
        let fits = self.is_free(to) || replaced.is_some_and(|onto| onto.kind != 'd' && inode.kind != 'd');
        if !fits || replaced == Some(inode) || format!("{to}/").starts_with(&format!("{from}/")) {
            return;
        }
        self.tree.rename(&key(from), &key(to)).unwrap();
        let onto = replaced.map_or("[0:0x0:0x0]".into(), |inode| Self::fid(inode.number));
        let place = self.place(to);
        let name = if self.whole_paths { format!("/{from}") } else { from.rsplit('/').next().unwrap().into() };
        let rest = format!("{place} s={} sp={} {name}", Self::fid(inode.number), self.parent(from));
        let moved: Vec<String> =
            self.names.keys().filter(|path| *path == from || path.starts_with(&format!("{from}/"))).cloned().collect();
        for path in moved {
            let old = self.key_of(&path);
            let new = format!("{to}{}", old.strip_prefix(from).unwrap());
            if self.timed.contains(&old) {
                self.timed.insert(new.clone());
            }
            self.tells([old, new.clone()]);
            let inode = self.names.remove(&path).unwrap();
            self.names.insert(new.trim_end_matches('/').into(), inode);
        }
        self.log("08RENME", 0, &onto, &rest);
    }

    fn remove(&mut self, path: &str) {
        let inode = self.names[path];
        assert!(self.tree.remove(&key(path)));
        self.tells([self.key_of(path)]);
        let place = self.old_place(path);
        self.names.remove(path);
        let is_last = self.keys(inode.number).is_empty();
        let kind = if inode.kind == 'd' { "07RMDIR" } else { "06UNLNK" };
        self.log(kind, u32::from(is_last), &Self::fid(inode.number), &place);
    }

    /// The keys whose last record is up to a number, and that nobody is writing.
    fn settled(&self, number: u64) -> BTreeSet<String> {
        let open: BTreeSet<String> = self.open.iter().flat_map(|number| self.keys(*number)).collect();
        let told = self.told.iter().filter(|(key, last)| **last <= number && !open.contains(*key));
        told.map(|(key, _)| key.clone()).collect()
    }

    /// The keys under which a bucket does not hold what the tree does. Times count where they are not all that was set.
    fn differing(&self, store: &MemoryStore) -> BTreeSet<String> {
        self.differing_but(store, &self.timed)
    }

    fn differing_but(&self, store: &MemoryStore, timed: &BTreeSet<String>) -> BTreeSet<String> {
        let (there, wanted) = (objects(store), exported(&self.tree));
        let plain = |key: &String, objects: &Objects| {
            let (mut headers, body) = objects.get(key).cloned()?;
            if timed.contains(key) {
                headers.retain(|name, _| !name.ends_with("-atime") && !name.ends_with("-mtime"));
            }
            Some((headers, body))
        };
        let keys: BTreeSet<&String> = there.keys().chain(wanted.keys()).collect();
        keys.into_iter().filter(|key| plain(key, &there) != plain(key, &wanted)).cloned().collect()
    }
}

impl FidResolver for Lustre {
    fn resolve(&mut self, fid: Fid) -> Option<Vec<Box<[u8]>>> {
        if !self.answers.pop().unwrap_or(true) {
            return None;
        }
        let paths = self.names.iter().filter(|(_, inode)| inode.number == fid.object);
        Some(paths.map(|(path, _)| path.as_bytes().into()).collect())
    }
}

#[derive(Clone, Debug)]
enum Action {
    Create(String),
    Write(String, String),
    Close(usize),
    Chmod(String, u32),
    Touch(String, i64),
    MakeDirectory(String),
    Symlink(String),
    Link(String, String),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Debug)]
enum Step {
    Act(Action),
    /// So many bytes of the changelog are read, from so many bytes back.
    Read(usize, usize),
    /// What is ripe is sent, and the calls end so.
    Send(Vec<u8>),
    /// The process begins anew with what it has saved, and with what it knows of paths or without.
    Restart(bool),
    /// The coming questions for a path are answered or not.
    Answers(Vec<bool>),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "a-", "b c", "é"]);
    prop::collection::vec(name, 1..=3).prop_map(|names| names.join("/"))
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => path().prop_map(Action::Create),
        4 => (path(), "[xy]{0,3}").prop_map(|(path, content)| Action::Write(path, content)),
        4 => (0..4_usize).prop_map(Action::Close),
        2 => (path(), prop::sample::select(vec![0o600, 0o755])).prop_map(|(path, mode)| Action::Chmod(path, mode)),
        1 => (path(), 1..5_i64).prop_map(|(path, seconds)| Action::Touch(path, seconds)),
        6 => path().prop_map(Action::MakeDirectory),
        1 => path().prop_map(Action::Symlink),
        2 => (path(), path()).prop_map(|(from, to)| Action::Link(from, to)),
        4 => (path(), path()).prop_map(|(from, to)| Action::Rename(from, to)),
        3 => path().prop_map(Action::Remove),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![3 => Just(0_u8), 1 => Just(1), 1 => Just(2)];
    prop_oneof![
        12 => action().prop_map(Step::Act),
        3 => (1..600_usize, prop_oneof![3 => Just(0_usize), 1 => 0..400_usize]).prop_map(|(read, back)| Step::Read(read, back)),
        3 => prop::collection::vec(fate, 0..8).prop_map(Step::Send),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => prop::collection::vec(any::<bool>(), 0..3).prop_map(Step::Answers),
    ]
}

/// A whole appliance: a file system, a bucket, and what is between them.
struct Link {
    lustre: Lustre,
    store: Troubled,
    state: MemoryState,
    pending: Pending,
    changelog: Changelog,
    /// Up to where the text was read.
    read: usize,
    now: i64,
}

const EVERYTHING: EventTypes = EventTypes::ALL;

impl Link {
    fn new(closes: Closes, whole_paths: bool, limit: usize) -> Self {
        let debounce = Debounce { closes, ..Debounce::default() };
        Self {
            lustre: Lustre::new(closes, whole_paths),
            store: Troubled::default(),
            state: MemoryState::new(),
            pending: Pending::new(debounce).with_limit(limit),
            changelog: Changelog::new(FidPaths::new(Fid::ROOT, "")),
            read: 0,
            now: 1_791_525_300,
        }
    }

    /// Everything that is there is in the bucket, and nothing of it was told.
    fn exported(mut self) -> Self {
        let open: Vec<u32> = self.lustre.open.iter().copied().collect();
        open.into_iter().for_each(|number| self.lustre.close(number));
        block_on(export_since(&self.lustre.tree, &self.store, &self.state, &options(), &Silent)).unwrap();
        self.read = self.lustre.text.len();
        self.changelog = Changelog::new(FidPaths::new(Fid::ROOT, "")).after(self.lustre.number);
        self.pending = self.pending.after(self.lustre.number);
        self
    }

    fn step(&mut self, step: &Step) {
        self.now += 7;
        match step {
            Step::Act(action) => self.lustre.act(action),
            Step::Read(bytes, back) => self.read(*bytes, *back),
            Step::Send(fates) => {
                *self.store.fates.lock().unwrap() = fates.clone();
                let Self { lustre, store, state, pending, now, .. } = self;
                let options = options();
                let sent = export_changes(&lustre.tree, store, state, &options, EVERYTHING, pending, at(*now), &Silent);
                block_on(sent).unwrap();
                self.store.fates.lock().unwrap().clear();
            }
            Step::Restart(knows) => {
                let saved = serde_json::to_string(&self.pending).unwrap();
                self.pending = serde_json::from_str(&saved).unwrap();
                let saved = serde_json::to_string(&self.changelog).unwrap();
                self.changelog = serde_json::from_str(&saved).unwrap();
                if !knows {
                    // A process that has lost its place reads on behind what it has saved.
                    let read_to = self.pending.read_to();
                    let lines = self.lustre.text.split_inclusive(|byte| *byte == b'\n');
                    self.read = lines.take(read_to as usize).map(<[u8]>::len).sum();
                    self.changelog = Changelog::new(FidPaths::new(Fid::ROOT, "")).after(read_to);
                }
            }
            Step::Answers(answers) => self.lustre.answers = answers.clone(),
        }
        self.nothing_is_acknowledged_that_is_not_there();
    }

    fn read(&mut self, bytes: usize, back: usize) {
        let text = self.lustre.text.clone();
        if back > 0 && self.read == text.len() {
            // Some records come again, whole.
            let from = text[..self.read.saturating_sub(back)].iter().rposition(|byte| *byte == b'\n');
            self.read = from.map_or(0, |at| at + 1);
        }
        let until = text.len().min(self.read + bytes);
        let read = self.changelog.read(&text[self.read..until], &mut self.lustre);
        assert_eq!(read.troubles, []);
        self.pending.take(read.batch);
        self.read = until;
    }

    fn nothing_is_acknowledged_that_is_not_there(&self) {
        let settled = self.lustre.settled(self.pending.acknowledged());
        let differing = self.lustre.differing(&self.store.store);
        let wrong: Vec<&String> = settled.intersection(&differing).collect();
        assert!(wrong.is_empty(), "acknowledged {} and not there: {wrong:?}", self.pending.acknowledged());
    }

    fn fence(&mut self, tries: u32) -> Result<(), FenceError> {
        let Self { lustre, store, state, pending, .. } = self;
        let options = options();
        let fenced = fence(&lustre.tree, store, state, &options, EVERYTHING, pending, Mark::Now, tries, &Silent);
        block_on(fenced).map(|fenced| assert_eq!(fenced.acknowledged, pending.read_to()))
    }

    /// Everybody is done, and everything was told.
    fn settle(&mut self) {
        let open: Vec<u32> = self.lustre.open.iter().copied().collect();
        open.into_iter().for_each(|number| self.lustre.close(number));
        self.read(usize::MAX / 2, 0);
    }
}

fn is_in(unsent: &UnsentPath, key: &str) -> bool {
    let path = key.trim_end_matches('/');
    unsent.path.is_empty()
        || path == &*unsent.path
        || (unsent.depth == Depth::Subtree && path.starts_with(&format!("{}/", unsent.path)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_bucket_ends_as_an_export_of_everything_leaves_it(
        before in prop::collection::vec(action(), 0..20),
        steps in prop::collection::vec(step(), 0..60),
        closes in prop_oneof![Just(Closes::Told), Just(Closes::Untold)],
        whole_paths in any::<bool>(),
        limit in prop_oneof![Just(1_usize), Just(3), Just(1000)],
        denied in prop::collection::btree_set(path(), 0..4),
    ) {
        let mut link = Link::new(closes, whole_paths, limit);
        before.iter().for_each(|action| link.lustre.act(action));
        let mut link = link.exported();
        steps.iter().for_each(|step| link.step(step));
        link.settle();

        let is_troubled = steps.iter().any(|step| matches!(step, Step::Send(fates) if fates.iter().any(|fate| *fate > 0)));
        // What is denied is named by the fence, and nothing else is; all else is there.
        *link.store.denied.lock().unwrap() = denied.iter().flat_map(|path| [path.clone(), format!("{path}/")]).collect();
        let fenced = link.fence(2);
        let differing = link.lustre.differing(&link.store.store);
        link.nothing_is_acknowledged_that_is_not_there();
        match fenced {
            Ok(()) => prop_assert_eq!(differing, BTreeSet::new()),
            Err(FenceError::Unsent { unsent, count, .. }) => {
                prop_assert_eq!(unsent.len(), count);
                for key in &differing {
                    prop_assert!(unsent.iter().any(|unsent| is_in(unsent, key)), "{} is missing from {:?}", key, unsent);
                }
                let differing = link.lustre.differing_but(&link.store.store, &BTreeSet::new());
                for unsent in &unsent {
                    prop_assert!(unsent.attempts >= 2 && unsent.why.is_some());
                    let is_missing = differing.iter().any(|key| is_in(unsent, key));
                    // After a request whose outcome nobody knows, an object is put again although it may be there.
                    let is_doubtful = is_troubled && denied.iter().any(|key| is_in(unsent, key));
                    prop_assert!(is_missing || is_doubtful, "nothing of {:?} is missing", unsent);
                }
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }

        link.store.denied.lock().unwrap().clear();
        link.fence(1).unwrap();
        prop_assert_eq!(link.lustre.differing(&link.store.store), BTreeSet::new());
        prop_assert_eq!((link.pending.len(), link.pending.acknowledged()), (0, link.lustre.number));
        prop_assert_eq!(link.pending.oldest_age(at(link.now)), 0);
        // A run over everything finds nothing to do but times.
        let options = options();
        let run = export_since(&link.lustre.tree, &link.store, &link.state, &options, &Silent);
        let report = block_on(run).unwrap();
        prop_assert_eq!((report.failed, report.conflicts, report.gone), (0, 0, 0));
        prop_assert_eq!(objects(&link.store.store), exported(&link.lustre.tree));
    }
}

// ------------------------------------------------------------------------------------------------- one by one

/// A changelog as a feed: what was acknowledged does not come again.
struct Changes {
    lustre: Lustre,
    changelog: Changelog,
    read: usize,
    cleared: u64,
}

impl ChangeFeed for Changes {
    type Error = ChangelogTrouble;

    fn read(&mut self) -> Result<FeedBatch, ChangelogTrouble> {
        let text = self.lustre.text.clone();
        let read = self.changelog.read(&text[self.read..], &mut self.lustre);
        self.read = text.len();
        read.troubles.into_iter().next().map_or(Ok(read.batch), Err)
    }

    fn acknowledge(&mut self, sequence: u64) -> Result<(), ChangelogTrouble> {
        assert!(sequence >= self.cleared && sequence <= self.lustre.number);
        self.cleared = sequence;
        Ok(())
    }
}

fn changed(paths: &[(&str, ChangeKind)]) -> Pending {
    let mut pending = Pending::new(Debounce::default());
    let change = |(path, kind): &(&str, ChangeKind)| FeedChange {
        sequence: 1,
        time: at(0),
        path: Some(key(path)),
        kind: kind.clone(),
    };
    pending.take(FeedBatch { changes: paths.iter().map(change).collect(), read_to: 1 });
    pending
}

fn send(
    tree: &impl Tree,
    store: &impl ObjectStore,
    state: &MemoryState,
    options: &ExportOptions,
    policy: EventTypes,
    pending: &mut Pending,
) -> posix_s3::engine::Report {
    block_on(export_changes(tree, store, state, options, policy, pending, at(10), &Silent)).unwrap()
}

fn keys(store: &MemoryStore) -> Vec<String> {
    objects(store).into_keys().collect()
}

#[test]
fn a_session_is_read_whole() {
    let text = include_bytes!("changelogs/session.txt");
    let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, "")).after(0);
    let read = changelog.read(text, &mut Unresolved);
    assert_eq!((read.troubles.len(), read.batch.read_to), (0, 20));
    let shown: Vec<String> = read
        .batch
        .changes
        .iter()
        .map(|change| format!("{} {} {:?}", change.sequence, change.path.as_ref().unwrap(), change.kind))
        .collect();
    let renamed = |from: &str| format!("{:?}", ChangeKind::Renamed { from: key(from) });
    assert_eq!(
        shown,
        [
            "2 results Made",
            "3 results/day 1 Made",
            "4 results/day 1/run Made",
            "5 results/day 1/run/part a.dat Created",
            "6 results/day 1/run/part a.dat Written",
            "7 results/day 1/run/part a.dat Opened",
            "8 results/day 1/run/part a.dat Closed",
            &format!("9 results/day 1/run/whole.dat {}", renamed("results/day 1/run/part a.dat")),
            &format!("10 results/day one {}", renamed("results/day 1")),
            "11 latest.dat Made",
            "12 latest.dat Attributes",
            "12 results/day one/run/whole.dat Attributes",
            "13 results/current Made",
            "14 results/.notes.swp Created",
            "17 results/.notes.swp Removed",
            "18 results/scratch Made",
            "19 results/scratch Removed",
        ]
    );
    let mut pending = Pending::new(Debounce::default());
    pending.take(read.batch);
    let paths: Vec<&str> = pending.iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "latest.dat",
            "results",
            "results/.notes.swp",
            "results/current",
            "results/day 1",
            "results/day one",
            "results/scratch",
        ]
    );
}

#[test]
fn every_record_of_the_sessions_prints_as_it_was_read() {
    for text in [&include_bytes!("changelogs/session.txt")[..], include_bytes!("changelogs/fsx.txt")] {
        for line in text.trim_ascii_end().split(|byte| *byte == b'\n') {
            let mut printed = Vec::new();
            posix_s3::repository::ChangelogRecord::parse(line).unwrap().encode(&mut printed);
            assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(line));
        }
    }
}

#[test]
fn what_fsx_prints_needs_no_question_for_what_is_gone() {
    let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, ""));
    let read = changelog.read(include_bytes!("changelogs/fsx.txt"), &mut Unresolved);
    assert_eq!(read.troubles, []);
    let paths = read.batch.changes.iter().map(|change| change.path.as_ref().map_or(".", Key::as_str));
    assert_eq!(
        paths.collect::<Vec<_>>(),
        ["cl8", "cl8", "cl8/a.txt", "cl8/a.txt", "cl8/a.txt", "cl8/hard", "cl8/b.txt", "cl8/hard", "cl8/b.txt", "cl8"]
    );
}

#[test]
fn s02_intermediate_results_go_to_the_store_as_they_are_written() {
    let mut feed = Changes {
        lustre: Lustre::new(Closes::Told, false),
        changelog: Changelog::new(FidPaths::new(Fid::ROOT, "")),
        read: 0,
        cleared: 0,
    };
    let (store, state, mut pending) = (MemoryStore::new(), MemoryState::new(), Pending::new(Debounce::default()));
    feed.lustre.act(&Action::MakeDirectory("out".into()));
    for round in 1..=3 {
        let result = format!("out/{round}");
        feed.lustre.act(&Action::Create(result.clone()));
        feed.lustre.act(&Action::Write(result.clone(), "half".into()));
        pending.take(feed.read().unwrap());
        send(&feed.lustre.tree, &store, &state, &options(), EVERYTHING, &mut pending);
        assert!(!keys(&store).contains(&result), "it is still being written");
        feed.lustre.act(&Action::Write(result.clone(), "whole".into()));
        feed.lustre.act(&Action::Close(0));
        pending.take(feed.read().unwrap());
        let report = send(&feed.lustre.tree, &store, &state, &options(), EVERYTHING, &mut pending);
        assert_eq!((report.written, report.bytes, report.store_calls.list), (1, 5, 0));
        assert_eq!(objects(&store), exported(&feed.lustre.tree));
        feed.acknowledge(pending.acknowledged()).unwrap();
        assert_eq!(feed.cleared, feed.lustre.number);
    }
}

#[test]
fn s04_nothing_is_left_unsent_behind_a_fence() {
    let mut link = Link::new(Closes::Told, false, 1000);
    link.lustre.act(&Action::Create("final".into()));
    link.lustre.act(&Action::Write("final".into(), "result".into()));
    link.read(usize::MAX / 2, 0);
    assert_eq!(link.pending.oldest_age(at(1_791_525_301 + 61)), 60);
    link.fence(1).unwrap();
    assert_eq!(objects(&link.store.store), exported(&link.lustre.tree));
    assert_eq!(link.pending.oldest_age(at(i64::MAX)), 0);
}

#[test]
fn s09_a_fence_names_what_is_not_in_the_store_and_why() {
    let (tree, state, store) = (MemoryTree::new(), MemoryState::new(), Troubled::default());
    tree.insert_file(key("a"), "1", attributes(0o644)).unwrap();
    tree.insert_file(key("b"), "2", attributes(0o644)).unwrap();
    let mut pending = changed(&[("a", ChangeKind::Closed), ("b", ChangeKind::Created)]);
    store.denied.lock().unwrap().insert("a".into());
    let options = options();
    let fenced = |pending: &mut Pending, mark| {
        block_on(fence(&tree, &store, &state, &options, EVERYTHING, pending, mark, 3, &Silent))
    };
    let error = fenced(&mut pending, Mark::Now).unwrap_err();
    assert_eq!(error.to_string(), "1 path is not in the store: \"a\" (put of \"a\" failed: access denied)");
    let FenceError::Unsent { unsent, .. } = error else { panic!("{error}") };
    assert_eq!((&*unsent[0].path, unsent[0].attempts, unsent[0].sequence), ("a", 3, 1));
    // What was being written is there as well: nobody waits for a writer.
    assert_eq!(keys(&store.store), ["b"]);

    let error = fenced(&mut pending, Mark::Sequence(2)).unwrap_err();
    assert_eq!(error.to_string(), "the feed was read up to event 1, not up to 2");
    store.denied.lock().unwrap().clear();
    assert_eq!(fenced(&mut pending, Mark::Sequence(1)).unwrap().acknowledged, 1);
    assert_eq!(keys(&store.store), ["a", "b"]);
}

#[test]
fn s10_only_what_has_changed_moves() {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    tree.insert(Entry::new(key("d/"), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    for name in ["d/a", "d/b", "d/c"] {
        tree.insert_file(key(name), name.to_owned(), attributes(0o644)).unwrap();
    }
    block_on(export_since(&tree, &store, &state, &options(), &Silent)).unwrap();
    tree.set_content(&key("d/b"), "changed").unwrap();
    let mut pending = changed(&[("d/b", ChangeKind::Closed), ("d/c", ChangeKind::Closed)]);
    let report = send(&tree, &store, &state, &options(), EVERYTHING, &mut pending);
    assert_eq!((report.entries, report.written, report.unchanged, report.store_calls.put), (2, 1, 1, 1));
    assert!(pending.is_empty());
}

#[test]
fn s15_a_change_of_metadata_alone_moves_no_data() {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    tree.insert(Entry::new(key("d/"), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    tree.insert_file(key("d/a"), "content", attributes(0o644)).unwrap();
    block_on(export_since(&tree, &store, &state, &options(), &Silent)).unwrap();
    tree.set_attributes(&key("d/a"), attributes(0o600)).unwrap();
    tree.set_attributes(&key("d"), attributes(0o700)).unwrap();
    let mut pending = changed(&[("d/a", ChangeKind::Attributes), ("d", ChangeKind::Attributes)]);
    let report = send(&tree, &store, &state, &options(), EVERYTHING, &mut pending);
    assert_eq!((report.metadata_only, report.written, report.store_calls.put, report.store_calls.copy), (2, 0, 0, 2));
    assert_eq!(objects(&store), exported(&tree));
}

#[test]
fn a_policy_says_what_is_sent() {
    for (policy, expected) in [
        (EVERYTHING, &["changed", "new", "to"][..]),
        (EventTypes::NONE.with(EventType::New), &["changed", "from", "gone", "new", "to"]),
        (EventTypes::NONE.with(EventType::Changed), &["changed", "from", "gone"]),
        (EventTypes::NONE.with(EventType::Deleted), &["changed"]),
        (EventTypes::NONE, &["changed", "from", "gone"]),
    ] {
        let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
        for name in ["changed", "from", "gone"] {
            tree.insert_file(key(name), "before", attributes(0o644)).unwrap();
        }
        block_on(export_since(&tree, &store, &state, &options(), &Silent)).unwrap();
        let before = objects(&store);
        tree.set_content(&key("changed"), "after").unwrap();
        tree.insert_file(key("new"), "new", attributes(0o644)).unwrap();
        assert!(tree.remove(&key("gone")));
        tree.rename(&key("from"), &key("to")).unwrap();
        let mut pending = changed(&[
            ("changed", ChangeKind::Closed),
            ("new", ChangeKind::Closed),
            ("gone", ChangeKind::Removed),
            ("to", ChangeKind::Renamed { from: key("from") }),
        ]);
        let report = send(&tree, &store, &state, &options(), policy, &mut pending);
        assert_eq!(keys(&store), expected, "{policy:?}");
        let is_sent = objects(&store)["changed"] != before["changed"];
        assert_eq!(is_sent, policy.contains(EventType::Changed), "{policy:?}");
        assert!(pending.is_empty() && report.failed == 0, "{policy:?}");
        // What was left out is not forgotten: an export of everything brings it.
        let everything = options().with_deletes(Deletes::Apply(Brake::RELEASED));
        block_on(export_since(&tree, &store, &state, &everything, &Silent)).unwrap();
        assert_eq!(objects(&store), exported(&tree), "{policy:?}");
    }
}

#[test]
fn a_look_at_everything_has_a_brake() {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    for name in ["a", "b", "c"] {
        tree.insert_file(key(name), name.to_owned(), attributes(0o644)).unwrap();
    }
    block_on(export_since(&tree, &store, &state, &options(), &Silent)).unwrap();
    ["a", "b"].iter().for_each(|name| assert!(tree.remove(&key(name))));
    let mut pending = changed(&[]);
    pending.take_everything(at(1));
    let braked = options().with_deletes(Deletes::Apply(Brake { count: 1, percent: 20 }));
    let report = send(&tree, &store, &state, &braked, EVERYTHING, &mut pending);
    assert!(
        report.braked.is_some() && pending.get("").unwrap().why.as_ref().unwrap().contains("2 of 3 would be deleted")
    );
    assert_eq!((keys(&store).len(), pending.acknowledged()), (3, 0));
    let report = send(&tree, &store, &state, &options(), EVERYTHING, &mut pending);
    assert_eq!((report.deleted, pending.acknowledged()), (2, 1));
}

#[test]
fn only_what_is_selected_is_sent() {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    for name in ["d/", "d/in/", "d/out/"] {
        tree.insert(Entry::new(key(name), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    }
    for name in ["d/in/a", "d/in/a.tmp", "d/out/b"] {
        tree.insert_file(key(name), name.to_owned(), attributes(0o644)).unwrap();
    }
    let selection = Selection::all().with_path(key("d/in")).with_exclude("*.tmp").unwrap();
    let options = options().with_selection(selection);
    let mut pending = changed(&[("d/in/a.tmp", ChangeKind::Closed), ("d/out/b", ChangeKind::Closed)]);
    assert_eq!(send(&tree, &store, &state, &options, EVERYTHING, &mut pending).entries, 0);
    let mut pending = changed(&[("d", ChangeKind::Anything)]);
    send(&tree, &store, &state, &options, EVERYTHING, &mut pending);
    assert_eq!(keys(&store), ["d/in/", "d/in/a"]);
}

#[test]
fn a_path_too_long_to_be_shown_is_not_taken_for_sent() {
    let (tree, state, store) = (MemoryTree::new(), MemoryState::new(), Troubled::default());
    let directory = ["x".repeat(250), "y".repeat(250), "z".repeat(250)];
    for depth in 1..=3 {
        let directory = format!("{}/", directory[..depth].join("/"));
        tree.insert(Entry::new(key(&directory), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    }
    let files = ["a", "b"].map(|name| format!("{}/{name}", directory.join("/")));
    for file in &files {
        tree.insert_file(key(file), "1", attributes(0o644)).unwrap();
    }
    store.denied.lock().unwrap().insert(files[1].clone());
    let mut pending =
        changed(&[(&files[0], ChangeKind::Closed), (&files[1], ChangeKind::Closed), ("q", ChangeKind::Closed)]);
    send(&tree, &store, &state, &options(), EVERYTHING, &mut pending);
    assert!(pending.get(&files[1]).is_some_and(|waiting| waiting.attempts == 1));
    assert!(pending.get("q").is_none());
    store.denied.lock().unwrap().clear();
    send(&tree, &store, &state, &options(), EVERYTHING, &mut pending);
    assert!(pending.is_empty());
    assert_eq!(keys(&store.store), files);
}

#[test]
fn a_run_that_is_cut_takes_nothing_from_what_waits() {
    let make = || {
        let tree = MemoryTree::new();
        for name in ["a", "b"] {
            tree.insert_file(key(name), name.to_owned(), attributes(0o644)).unwrap();
        }
        (tree, MemoryState::new(), Arc::new(MemoryStore::new()))
    };
    let options = options();
    let mut cuts = 0;
    for polls in 0.. {
        let (tree, state, bucket) = make();
        let trouble = Arc::new(trouble::Trouble::cut_at(polls, 1));
        let store = trouble::TroubledStore {
            store: Arc::clone(&bucket),
            trouble: Arc::clone(&trouble),
            capabilities: bucket.capabilities(),
        };
        let mut pending = changed(&[("a", ChangeKind::Closed), ("b", ChangeKind::Closed)]);
        let before = pending.clone();
        let run = export_changes(&tree, &store, &state, &options, EVERYTHING, &mut pending, at(10), &Silent);
        let ended = trouble.run(run);
        if ended.is_some() {
            assert!(pending.is_empty());
            break;
        }
        cuts += 1;
        assert_eq!(pending, before);
        // The next run finds what was done, and ends the rest.
        let sent = keys(&bucket).len();
        let report = send(&tree, &*bucket, &state, &options, EVERYTHING, &mut pending);
        assert_eq!((report.failed + report.conflicts, pending.acknowledged()), (0, 1));
        assert!(report.store_calls.put as usize <= 2 - sent);
        assert_eq!(objects(&bucket), exported(&tree));
    }
    assert!(cuts > 4, "{cuts}");
}

#[test]
fn an_object_of_which_nobody_heard_goes_with_its_file() {
    // Of an export of everything: the answer to a put is lost, and the file goes before the next run.
    let (tree, state, store) = (MemoryTree::new(), MemoryState::new(), Troubled::default());
    let options = options().with_deletes(Deletes::Apply(Brake::RELEASED));
    let run = || block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    tree.insert_file(key("a"), "1", attributes(0o644)).unwrap();
    *store.fates.lock().unwrap() = vec![2];
    assert_eq!(run().failed, 1);
    assert!(tree.remove(&key("a")));
    run();
    run();
    assert_eq!(keys(&store.store), [""; 0]);
}

#[test]
fn an_object_of_which_nobody_heard_goes_when_changes_are_sent_if_the_policy_deletes() {
    let keeps = EventTypes::NONE.with(EventType::New).with(EventType::Changed);
    for (policy, deleted, left) in [(EVERYTHING, 1, &["b"][..]), (keeps, 0, &["a", "b"])] {
        let (tree, state, store) = (MemoryTree::new(), MemoryState::new(), Troubled::default());
        tree.insert_file(key("a"), "1", attributes(0o644)).unwrap();
        *store.fates.lock().unwrap() = vec![2];
        let mut pending = changed(&[("a", ChangeKind::Closed)]);
        assert_eq!(send(&tree, &store, &state, &options(), policy, &mut pending).failed, 1);
        assert!(tree.remove(&key("a")));
        tree.insert_file(key("b"), "1", attributes(0o644)).unwrap();
        let mut pending = changed(&[("b", ChangeKind::Closed)]);
        let report = send(&tree, &store, &state, &options(), policy, &mut pending);
        assert_eq!((report.deleted, report.failed), (deleted, 0), "{:?}", report.problems);
        assert_eq!(keys(&store.store), left);
    }
}

#[test]
fn a_delete_that_fails_does_not_make_a_run_forget_the_object() {
    let (tree, state, store) = (MemoryTree::new(), MemoryState::new(), Troubled::default());
    let options = options().with_deletes(Deletes::Apply(Brake::RELEASED));
    let run = || block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    tree.insert_file(key("a"), "1", attributes(0o644)).unwrap();
    run();
    // Its headers may have been replaced, and it is gone; its delete fails.
    tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
    *store.fates.lock().unwrap() = vec![1, 0];
    assert_eq!(run().failed, 1);
    assert!(tree.remove(&key("a")));
    *store.fates.lock().unwrap() = vec![1, 0];
    assert_eq!(run().failed, 1);
    assert_eq!(keys(&store.store), ["a"]);
    run();
    assert_eq!(keys(&store.store), [""; 0]);
}

/// A tree that counts what is asked of it.
struct Counting {
    tree: MemoryTree,
    looks: AtomicUsize,
    lists: AtomicUsize,
}

impl Tree for Counting {
    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.tree.may_have_placeholders()
    }

    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.tree.list(directory).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        self.looks.fetch_add(keys.len(), Ordering::Relaxed);
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

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.tree.lookup(key).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
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
fn a_path_costs_no_look_at_what_is_beside_it_or_in_it() {
    let tree = MemoryTree::new();
    tree.insert(Entry::new(key("d/"), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    for at in 0..20_000 {
        tree.insert_file(key(&format!("d/{at:05}")), "", attributes(0o644)).unwrap();
    }
    let tree = Counting { tree, looks: AtomicUsize::new(0), lists: AtomicUsize::new(0) };
    let (store, state) = (MemoryStore::new(), MemoryState::new());
    block_on(export_since(&tree, &store, &state, &options(), &Silent)).unwrap();
    let names: Vec<String> = (0..20_000).step_by(40).map(|at| format!("d/{at:05}")).collect();
    let mut changes: Vec<(&str, ChangeKind)> = names.iter().map(|name| (&**name, ChangeKind::Closed)).collect();
    names.iter().for_each(|name| tree.tree.set_attributes(&key(name), attributes(0o600)).unwrap());
    tree.tree.set_attributes(&key("d"), attributes(0o700)).unwrap();
    changes.extend([("d", ChangeKind::Attributes), ("d/gone", ChangeKind::Removed)]);
    tree.looks.store(0, Ordering::Relaxed);
    tree.lists.store(0, Ordering::Relaxed);
    let mut pending = changed(&changes);
    let report = send(&tree, &store, &state, &options(), EVERYTHING, &mut pending);
    assert_eq!((report.metadata_only, report.entries), (501, 501));
    let (looks, lists) = (tree.looks.load(Ordering::Relaxed), tree.lists.load(Ordering::Relaxed));
    assert!(looks <= 4 * changes.len() && lists == 0, "{looks} looks, {lists} lists");
    assert_eq!(objects(&store)["d/00040"], exported(&tree.tree)["d/00040"]);
}

#[test]
fn a_run_over_changes_can_be_sent_to_another_thread() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let (tree, store, state, options) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new(), options());
    let mut pending = changed(&[("a", ChangeKind::Closed)]);
    block_on(is_send(fence(&tree, &store, &state, &options, EVERYTHING, &mut pending, Mark::Now, 1, &Silent))).unwrap();
    let sent = export_changes(&tree, &store, &state, &options, EVERYTHING, &mut pending, at(1), &Silent);
    assert_eq!(block_on(is_send(sent)).unwrap().entries, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_parses_prints_and_parses_back_the_same(
        kind in "(01CREAT|08RENME|25FANCY|20MIGRT)",
        words in prop::collection::vec(prop_oneof![
            Just(" j=a b"), Just(" j="), Just(" ef=0xF"), Just(" u=1:02"), Just(" nid=0@<0:0>"), Just(" m=-w-"), Just(" x=é"),
            Just(" z=1"), Just(" p=[0x1:0x2:0x0]"), Just(" s=[0:0x3:0x0]"), Just(" sp=[0x1:0x02:0x0]"), Just(" name"), Just(" "),
            Just("="), Just(" s=["),
        ], 0..12),
        at in 0..200_usize,
        byte in any::<u8>(),
    ) {
        let mut line = format!("07 {kind} 05:55:18.028357979 2026.10.09 0x0 t=[0x1:0x4:0x0]{}", words.concat()).into_bytes();
        if let Some(changed) = line.get_mut(at) {
            *changed = byte;
        }
        let Ok(record) = posix_s3::repository::ChangelogRecord::parse(&line) else { return Ok(()) };
        let mut printed = Vec::new();
        record.encode(&mut printed);
        prop_assert_eq!(posix_s3::repository::ChangelogRecord::parse(&printed), Ok(record), "{}", String::from_utf8_lossy(&printed));
    }
}
