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

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::stream::BoxStream;
use posix_s3::engine::{
    ExportOptions, FenceError, Mark, MemoryState, Selection, Silent, Unsent, export, export_changes, export_since,
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
use std::time::Duration;

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
            let new = format!("{to}{}", &old[from.len()..]);
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

fn is_in(unsent: &Unsent, key: &str) -> bool {
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
