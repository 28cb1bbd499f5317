//! Random histories of a tree and a bucket: changes by users, by exports and imports, and by strangers. After each run, the
//! real thing is what the model says, and has made the calls that it says.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use crate::model::bridge::{self, read_disk, tree_of};
use crate::model::since::{self, Expected, Options, Policy, Record, Version, Versions, key_of};
use crate::model::{self, Kind, Object, Rules, Tree, Verdict, generate};
use futures_executor::block_on;
use posix_s3::engine::{
    Directories, ExportOptions, FileState, ImportOptions, Jobs, MemoryState, Outcome, Part, Planned, Progress, Report,
    Selection, StateStore, export_since, import_since, plan_export,
};
use posix_s3::plan::{Brake, Deletes, OnConflict, Step};
use posix_s3::store::{
    Body, Capabilities, DirectoryStore, ETag, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta,
    ObjectStore, Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, Support,
};
use posix_s3::tree::{LocalTree, Look, MemoryTree, Tree as PosixTree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, KeyList, Permissions, Prefix, SymlinkTarget, Timestamp, Uid};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where in the bucket, unless somewhere else. What is beside it is nobody's business.
pub const PREFIX: &str = "p/";

/// How a store tells when an object was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Exactly, also in the answer to a put.
    Exact,
    /// As S3 does: in whole seconds, and not in the answer to a put.
    Seconds,
    /// As servers do that list fractions of a second too; a head has none, and the answer to a put no time at all.
    SecondsOfHeads,
    /// As the store inside does, which is S3.
    OfServer,
}

impl Times {
    fn of_heads(self, time: Timestamp) -> Timestamp {
        if matches!(self, Self::Exact | Self::OfServer) {
            time
        } else {
            Timestamp::from_unix(time.seconds(), 0).unwrap()
        }
    }

    fn of_listings(self, time: Timestamp) -> Timestamp {
        if self == Self::Seconds { self.of_heads(time) } else { time }
    }
}

// --------------------------------------------------------------------------------------------------- a store

/// The keys of the calls that a store has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub put: BTreeSet<String>,
    pub copy: BTreeSet<String>,
    pub delete: BTreeSet<String>,
    pub get: BTreeSet<String>,
    pub head: BTreeSet<String>,
    pub lists: u64,
}

/// A store that takes down its calls, and can do less than the one inside.
pub struct Watched<S> {
    pub inner: S,
    pub capabilities: Capabilities,
    pub times: Times,
    /// Where in the bucket.
    pub prefix: String,
    /// Headers of strangers are those that any server takes.
    pub is_tame: bool,
    pub calls: Mutex<Calls>,
    /// Where ETags are no MD5: the one of each key, and how many there were.
    pub opaque: Mutex<(BTreeMap<String, String>, u64)>,
}

impl<S: ObjectStore> Watched<S> {
    pub fn new(inner: S, capabilities: Capabilities) -> Self {
        Self {
            inner,
            capabilities,
            times: Times::Exact,
            prefix: PREFIX.to_owned(),
            is_tame: false,
            calls: Mutex::default(),
            opaque: Mutex::default(),
        }
    }

    pub fn forget_calls(&self) {
        *self.calls.lock().unwrap() = Calls::default();
    }

    fn behind(&self, key: &str) -> String {
        key.strip_prefix(&self.prefix).expect("a call beside the prefix").to_owned()
    }

    pub fn note(&self, note: impl FnOnce(&mut Calls)) {
        note(&mut self.calls.lock().unwrap());
    }

    pub fn is_opaque(&self) -> bool {
        self.capabilities.md5_etags == Support::No
    }

    /// The ETag that this store gives an object.
    pub fn outer(&self, key: &str, etag: ETag) -> ETag {
        if self.is_opaque() { ETag::new(&self.opaque.lock().unwrap().0[key]) } else { etag }
    }

    pub fn renew(&self, key: &str) {
        let (etags, made) = &mut *self.opaque.lock().unwrap();
        *made += 1;
        etags.insert(key.to_owned(), format!("version {made}"));
    }

    /// What the store inside is to be asked for.
    pub async fn condition(
        &self,
        operation: Operation,
        key: &str,
        asked: &Precondition,
    ) -> Result<Precondition, StoreError> {
        let Precondition::Match(wanted) = asked else {
            let honoured = self.capabilities.preconditions == Support::Yes;
            return Ok(if honoured { asked.clone() } else { Precondition::None });
        };
        if self.capabilities.preconditions == Support::No {
            return Ok(Precondition::None);
        }
        if !self.is_opaque() {
            return Ok(asked.clone());
        }
        let now = self.inner.head(key).await.ok().map(|meta| meta.etag);
        match now.map(|now| (self.outer(key, now.clone()), now)) {
            Some((outer, now)) if outer == *wanted => Ok(Precondition::Match(now)),
            _ => Err(StoreError::new(operation, key, StoreErrorKind::PreconditionFailed)),
        }
    }
}

impl<S: ObjectStore> ObjectStore for Watched<S> {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.note(|calls| calls.lists += 1);
        let mut page = self.inner.list(request).await?;
        for object in &mut page.objects {
            object.etag = self.outer(&object.key, object.etag.clone());
            object.last_modified = self.times.of_listings(object.last_modified);
        }
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.note(|calls| _ = calls.head.insert(self.behind(key)));
        let meta = self.inner.head(key).await?;
        let last_modified = self.times.of_heads(meta.last_modified);
        Ok(ObjectMeta { etag: self.outer(key, meta.etag.clone()), last_modified, ..meta })
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.note(|calls| _ = calls.get.insert(self.behind(key)));
        let asked = options.if_match.clone().map_or(Precondition::None, Precondition::Match);
        let if_match = match self.condition(Operation::Get, key, &asked).await? {
            Precondition::Match(etag) => Some(etag),
            _ => None,
        };
        let mut answer = self.inner.get(key, &GetOptions { if_match, ..options.clone() }).await?;
        answer.meta.etag = self.outer(key, answer.meta.etag.clone());
        answer.meta.last_modified = self.times.of_heads(answer.meta.last_modified);
        Ok(answer)
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let precondition = self.condition(Operation::Put, key, &options.precondition).await?;
        let output = self.inner.put(key, body, &PutOptions { precondition, ..options.clone() }).await?;
        self.renew(key);
        self.note(|calls| _ = calls.put.insert(self.behind(key)));
        Ok(PutOutput {
            etag: self.outer(key, output.etag),
            last_modified: output.last_modified.filter(|_| matches!(self.times, Times::Exact | Times::OfServer)),
        })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        assert_eq!(self.capabilities.replace_metadata, Support::Yes, "{key}: the store says that it cannot");
        let precondition = self.condition(Operation::ReplaceMetadata, key, &options.precondition).await?;
        let output = self.inner.replace_metadata(key, &PutOptions { precondition, ..options.clone() }).await?;
        self.note(|calls| _ = calls.copy.insert(self.behind(key)));
        Ok(PutOutput {
            etag: self.outer(key, output.etag),
            last_modified: output.last_modified.map(|time| self.times.of_listings(time)),
        })
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        let condition = self.condition(Operation::Delete, key, precondition).await?;
        let was_there = self.inner.head(key).await.is_ok();
        self.inner.delete(key, &condition).await?;
        if was_there {
            self.note(|calls| _ = calls.delete.insert(self.behind(key)));
        }
        Ok(())
    }
}

// ------------------------------------------------------------------------------------------------- the trees

/// What a user does in a tree. What is not possible is not done.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// In place, or a new file.
    Write(String, Vec<u8>),
    /// In place, at the end.
    Append(String, Vec<u8>),
    /// In place, to so many bytes.
    Truncate(String, usize),
    /// In place, with the mtime put back.
    WriteBack(String, Vec<u8>),
    /// Under another name that is then renamed, as editors do.
    Save(String, Vec<u8>),
    /// The mtime is now.
    Touch(String),
    Utimes(String, i64),
    Chmod(String, u32),
    Chown(String, u32, u32),
    Rename(String, String),
    Link(String, String),
    /// With all that is in it.
    Remove(String),
    /// What stands there makes way for a file.
    BecomeFile(String),
    /// What stands there makes way for a directory with a file in it.
    BecomeDirectory(String, String),
    Mkdir(String),
    Symlink(String, String),
}

/// A tree that a user changes.
pub trait Place {
    type Tree: PosixTree;
    const IS_DISK: bool;

    fn tree(&self) -> &Self::Tree;
    fn see(&self) -> Tree;
    /// How many names each file has.
    fn links(&self) -> BTreeMap<String, u64>;
    fn mutate(&self, mutation: &Mutation);

    /// Does what is possible.
    fn change(&self, mutation: &Mutation) {
        let now = self.see();
        let kind = |path: &str| now.get(path).map(|node| &node.kind);
        let is_directory = |path: &str| kind(path) == Some(&Kind::Directory);
        let is_file = |path: &str| matches!(kind(path), Some(Kind::File(_)));
        let has_parent = |path: &str| path.rsplit_once('/').is_none_or(|(parent, _)| is_directory(parent));
        let possible = match mutation {
            Mutation::Write(path, _) | Mutation::Save(path, _) => {
                has_parent(path) && (is_file(path) || kind(path).is_none())
            }
            Mutation::Append(path, _) | Mutation::Truncate(path, _) | Mutation::WriteBack(path, _) => is_file(path),
            Mutation::Touch(path)
            | Mutation::Utimes(path, _)
            | Mutation::Remove(path)
            | Mutation::BecomeFile(path)
            | Mutation::BecomeDirectory(path, _) => kind(path).is_some(),
            Mutation::Chmod(path, _) => is_file(path) || is_directory(path),
            Mutation::Chown(path, ..) => kind(path).is_some() && (!Self::IS_DISK || bridge::is_superuser()),
            Mutation::Rename(from, to) => {
                let fits = match (kind(from), kind(to)) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(from), Some(to)) => *from != Kind::Directory && *to != Kind::Directory,
                };
                fits && from != to && has_parent(to) && !to.starts_with(&format!("{from}/"))
            }
            Mutation::Link(from, to) => is_file(from) && kind(to).is_none() && has_parent(to),
            Mutation::Mkdir(path) => kind(path).is_none() && has_parent(path),
            Mutation::Symlink(path, _) => has_parent(path) && !is_directory(path),
        };
        match mutation {
            _ if !possible => {}
            Mutation::BecomeFile(path) => {
                self.mutate(&Mutation::Remove(path.clone()));
                self.mutate(&Mutation::Write(path.clone(), b"one".to_vec()));
            }
            Mutation::BecomeDirectory(path, name) => {
                self.mutate(&Mutation::Remove(path.clone()));
                self.mutate(&Mutation::Mkdir(path.clone()));
                self.mutate(&Mutation::Write(format!("{path}/{name}"), b"one".to_vec()));
            }
            _ => self.mutate(mutation),
        }
    }
}

/// Times that were never before, in seconds.
pub fn fresh() -> i64 {
    static TIME: AtomicI64 = AtomicI64::new(1_600_000_000);
    TIME.fetch_add(1, Ordering::Relaxed)
}

pub fn seconds(seconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000
}

pub struct InMemory(pub MemoryTree);

impl InMemory {
    pub fn new() -> Self {
        Self(MemoryTree::new())
    }

    /// Where everything happens in one moment.
    pub fn racy() -> Self {
        Self(MemoryTree::with_tick(Duration::ZERO))
    }

    pub fn attributes(&self, path: &str) -> Attributes {
        let found = self.0.entries().into_iter().find(|(entry, _)| entry.key().path() == path);
        *found.unwrap().0.attributes()
    }

    pub fn set(&self, path: &str, change: impl FnOnce(&mut Attributes)) {
        let mut attributes = self.attributes(path);
        change(&mut attributes);
        self.0.set_attributes(&key(path), attributes).unwrap();
    }
}

pub fn content_of(tree: &Tree, path: &str) -> Vec<u8> {
    match &tree[path].kind {
        Kind::File(content) => content.clone(),
        other => panic!("{path} is {other:?}"),
    }
}

pub fn key(key: &str) -> Key {
    Key::parse(key).unwrap()
}

pub fn new_attributes(mode: u32) -> Attributes {
    let time = bridge::time(seconds(fresh()));
    Attributes {
        permissions: Permissions::from_bits(mode).unwrap(),
        uid: Uid::new(500).unwrap(),
        gid: Gid::new(501).unwrap(),
        atime: time,
        mtime: time,
    }
}

impl Place for InMemory {
    type Tree = MemoryTree;
    const IS_DISK: bool = false;

    fn tree(&self) -> &MemoryTree {
        &self.0
    }

    fn see(&self) -> Tree {
        tree_of(&self.0)
    }

    fn links(&self) -> BTreeMap<String, u64> {
        let tree = self.see();
        let mut keys = KeyList::new();
        tree.iter().for_each(|(path, node)| keys.push(&key_of(path, node)).unwrap());
        let looks = block_on(self.0.look(Arc::new(keys), posix_s3::tree::Place::Here, Vec::new()));
        let links = |look: &Look| match look {
            Look::Found(status) => status.links,
            other => panic!("{other:?}"),
        };
        tree.into_keys().zip(looks.iter().map(links)).collect()
    }

    fn mutate(&self, mutation: &Mutation) {
        let Self(tree) = self;
        match mutation {
            Mutation::Write(path, content) if self.see().contains_key(path) => {
                tree.set_content(&key(path), content.clone()).unwrap();
            }
            Mutation::Write(path, content) | Mutation::Save(path, content) => {
                tree.insert_file(key(path), content.clone(), new_attributes(0o644)).unwrap();
            }
            Mutation::Append(path, more) => {
                tree.set_content(&key(path), [content_of(&self.see(), path), more.clone()].concat()).unwrap();
            }
            Mutation::Truncate(path, size) => {
                let mut content = content_of(&self.see(), path);
                content.truncate(*size);
                tree.set_content(&key(path), content).unwrap();
            }
            Mutation::WriteBack(path, content) => {
                let attributes = self.attributes(path);
                tree.set_content(&key(path), content.clone()).unwrap();
                tree.set_attributes(&key(path), attributes).unwrap();
            }
            Mutation::Touch(path) => self.set(path, |now| now.mtime = bridge::time(seconds(fresh()))),
            Mutation::Utimes(path, time) => self.set(path, |now| now.mtime = bridge::time(seconds(*time))),
            Mutation::Chmod(path, mode) => {
                self.set(path, |now| now.permissions = Permissions::from_bits(*mode).unwrap());
            }
            Mutation::Chown(path, uid, gid) => self.set(path, |now| {
                (now.uid, now.gid) = (Uid::new(*uid).unwrap(), Gid::new(*gid).unwrap());
            }),
            Mutation::Rename(from, to) => tree.rename(&key(from), &key(to)).unwrap(),
            Mutation::Link(from, to) => tree.link(&key(from), &key(to)).unwrap(),
            Mutation::Remove(path) => assert!(tree.remove(&key(path))),
            Mutation::BecomeFile(_) | Mutation::BecomeDirectory(..) => panic!("it is done in steps"),
            Mutation::Mkdir(path) => {
                let path = key(&format!("{path}/"));
                tree.insert(Entry::new(path, EntryKind::Directory, new_attributes(0o755)).unwrap()).unwrap();
            }
            Mutation::Symlink(path, target) => {
                let target = SymlinkTarget::parse(target.as_bytes()).unwrap();
                let kind = EntryKind::Symlink { target };
                tree.insert(Entry::new(key(path), kind, new_attributes(0o777)).unwrap()).unwrap();
            }
        }
    }
}

pub struct OnDisk {
    tree: LocalTree,
    root: PathBuf,
    place: tempfile::TempDir,
}

impl OnDisk {
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { tree: LocalTree::open(&root).unwrap(), root, place }
    }

    pub fn store(&self) -> DirectoryStore {
        DirectoryStore::open(self.place.path().join("bucket")).unwrap()
    }

    pub fn state(&self) -> FileState {
        FileState::open(self.place.path().join("state")).unwrap()
    }
}

/// Sets the mtime of a file, directory or link.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

impl Place for OnDisk {
    type Tree = LocalTree;
    const IS_DISK: bool = true;

    fn tree(&self) -> &LocalTree {
        &self.tree
    }

    fn see(&self) -> Tree {
        read_disk(&self.root)
    }

    fn links(&self) -> BTreeMap<String, u64> {
        let links = |path: &String| fs::symlink_metadata(self.root.join(path)).unwrap().nlink();
        self.see().keys().map(|path| (path.clone(), links(path))).collect()
    }

    fn mutate(&self, mutation: &Mutation) {
        let at = |path: &str| self.root.join(path);
        match mutation {
            Mutation::Write(path, content) => fs::write(at(path), content).unwrap(),
            Mutation::Append(path, more) => {
                let mut file = fs::OpenOptions::new().append(true).open(at(path)).unwrap();
                file.write_all(more).unwrap();
            }
            Mutation::Truncate(path, size) => {
                let file = fs::OpenOptions::new().write(true).open(at(path)).unwrap();
                let size = file.metadata().unwrap().len().min(*size as u64);
                file.set_len(size).unwrap();
            }
            Mutation::WriteBack(path, content) => {
                let before = fs::metadata(at(path)).unwrap();
                fs::write(at(path), content).unwrap();
                set_mtime(&at(path), before.mtime(), before.mtime_nsec());
            }
            Mutation::Save(path, content) => {
                let beside = at(&format!("{path}~"));
                fs::write(&beside, content).unwrap();
                fs::rename(&beside, at(path)).unwrap();
            }
            Mutation::Touch(path) => set_mtime(&at(path), fresh(), 0),
            Mutation::Utimes(path, time) => set_mtime(&at(path), *time, 0),
            Mutation::Chmod(path, mode) => fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)).unwrap(),
            Mutation::Chown(path, uid, gid) => std::os::unix::fs::lchown(at(path), Some(*uid), Some(*gid)).unwrap(),
            Mutation::Rename(from, to) => fs::rename(at(from), at(to)).unwrap(),
            Mutation::Link(from, to) => fs::hard_link(at(from), at(to)).unwrap(),
            Mutation::Remove(path) if fs::symlink_metadata(at(path)).unwrap().is_dir() => {
                fs::remove_dir_all(at(path)).unwrap();
            }
            Mutation::Remove(path) => fs::remove_file(at(path)).unwrap(),
            Mutation::BecomeFile(_) | Mutation::BecomeDirectory(..) => panic!("it is done in steps"),
            Mutation::Mkdir(path) => fs::create_dir(at(path)).unwrap(),
            Mutation::Symlink(path, target) => {
                // A link is never changed in place.
                let _ = fs::remove_file(at(path));
                std::os::unix::fs::symlink(target, at(path)).unwrap();
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------- the world

/// Takes down how every entry ended.
#[derive(Default)]
pub struct Recorder(pub Mutex<(BTreeMap<String, Outcome>, u64)>);

impl Progress for Recorder {
    fn ended(&self, key: &str, outcome: Outcome) {
        let before = self.0.lock().unwrap().0.insert(key.to_owned(), outcome);
        assert_eq!(before, None, "{key} ended twice");
    }

    fn unchanged(&self, count: u64) {
        self.0.lock().unwrap().1 += count;
    }
}

/// Both sides, what they agreed on, and the model of that.
pub struct World<P, S> {
    pub place: P,
    pub store: Watched<S>,
    pub state: Box<dyn StateStore>,
    pub record: Option<Record>,
    pub directories: Directories,
}

impl World<InMemory, MemoryStore> {
    pub fn in_memory(capabilities: Capabilities) -> Self {
        Self::new(InMemory::new(), MemoryStore::new(), Box::new(MemoryState::new()), capabilities)
    }

    pub fn racy() -> Self {
        Self::new(InMemory::racy(), MemoryStore::new(), Box::new(MemoryState::new()), Capabilities::ALL)
    }
}

impl World<OnDisk, DirectoryStore> {
    pub fn on_disk() -> Self {
        let place = OnDisk::new();
        let (store, state) = (place.store(), place.state());
        Self::new(place, store, Box::new(state), Capabilities::ALL)
    }
}

pub fn observe<S: ObjectStore>(store: &Watched<S>) -> Versions {
    let mut versions = Versions::new();
    let mut request = ListRequest { prefix: store.prefix.clone(), ..ListRequest::default() };
    loop {
        let page = block_on(store.list(&request)).unwrap();
        for listed in page.objects {
            let mut object = bridge::object_of(store, &listed.key);
            // What a server adds is not of the mapping.
            object.headers.retain(|name, _| name.starts_with("x-amz-meta-") || name == "x-amz-missing-meta");
            let version =
                Version { object, etag: listed.etag.as_str().to_owned(), listed: listed.last_modified.nanoseconds() };
            versions.insert(store.behind(&listed.key), version);
        }
        request.token = page.next;
        if request.token.is_none() {
            store.forget_calls();
            return versions;
        }
    }
}

pub fn policy(policy: Policy) -> OnConflict {
    match policy {
        Policy::Fail => OnConflict::Fail,
        Policy::Local => OnConflict::Local,
        Policy::Store => OnConflict::Store,
        Policy::Newest => OnConflict::Newest,
        Policy::KeepBoth => OnConflict::KeepBoth,
    }
}

pub fn deletes(deletes: Option<(u64, u8)>) -> Deletes {
    deletes.map_or(Deletes::Never, |(count, percent)| Deletes::Apply(Brake { count, percent }))
}

pub fn selection(options: &Options) -> Selection {
    let all = Selection::all();
    options.path.as_deref().map_or(all.clone(), |path| all.with_path(key(path)))
}

pub fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Unchanged => Outcome::Unchanged,
        Verdict::Written => Outcome::Written,
        Verdict::MetadataOnly => Outcome::MetadataOnly,
        Verdict::Skipped(_) => Outcome::Skipped,
        Verdict::Failed(_) => Outcome::Failed,
        Verdict::Conflict(_) => Outcome::Conflict,
    }
}

impl<P: Place, S: ObjectStore> World<P, S> {
    pub fn new(place: P, store: S, state: Box<dyn StateStore>, capabilities: Capabilities) -> Self {
        let store = Watched::new(store, capabilities);
        Self { place, store, state, record: None, directories: Directories::default() }
    }

    pub fn with_times(mut self, times: Times) -> Self {
        self.store.times = times;
        self
    }

    pub fn change(&self, mutation: &Mutation) {
        self.place.change(mutation);
    }

    pub fn settled(&self, options: &Options) -> Options {
        let Capabilities { replace_metadata, md5_etags, .. } = self.store.capabilities;
        let (in_place, etags_tell) = (replace_metadata == Support::Yes, md5_etags == Support::Yes);
        let times_tell = self.store.times == Times::Exact;
        Options { in_place, etags_tell, times_tell, ..options.clone() }
    }

    pub fn export_options(&self, options: &Options) -> ExportOptions {
        let mut export = ExportOptions::new(bridge::profile(&options.rules))
            .with_bucket("bucket")
            .with_prefix(Prefix::parse(&self.store.prefix).unwrap())
            .with_jobs(Jobs::new(3).unwrap())
            .with_selection(selection(options))
            .with_deletes(deletes(options.deletes))
            .with_on_conflict(policy(options.policy));
        export.directories = self.directories;
        export
    }

    pub fn import_options(&self, options: &Options) -> ImportOptions {
        ImportOptions::new(bridge::profile(&options.rules))
            .with_bucket("bucket")
            .with_prefix(Prefix::parse(&self.store.prefix).unwrap())
            .with_jobs(Jobs::new(3).unwrap())
            .with_selection(selection(options))
            .with_deletes(deletes(options.deletes))
            .with_on_conflict(policy(options.policy))
    }

    /// Exports, and compares everything with the model.
    pub fn export(&mut self, options: &Options) -> Run {
        let options = &self.settled(options);
        let (before, held) = (self.place.see(), observe(&self.store));
        let expected = since::export_since(&before, &held, self.record.as_ref(), options);
        let recorder = Recorder::default();
        let asked = self.export_options(options);
        let run = export_since(self.place.tree(), &self.store, &*self.state, &asked, &recorder);
        let report = block_on(run).unwrap();
        self.check(expected, report, recorder, options)
    }

    /// Imports, and compares everything with the model.
    pub fn import(&mut self, options: &Options) -> Run {
        let options = &self.settled(options);
        let (before, links, held) = (self.place.see(), self.place.links(), observe(&self.store));
        let record = self.record.clone().unwrap_or_default();
        let expected = since::import_since(&before, &links, &held, &record, options);
        let recorder = Recorder::default();
        let asked = self.import_options(options);
        let run = import_since(&self.store, self.place.tree(), &*self.state, &asked, &recorder);
        let report = block_on(run).unwrap();
        self.check(expected, report, recorder, options)
    }

    pub fn check(&mut self, mut expected: Expected, report: Report, recorder: Recorder, options: &Options) -> Run {
        let calls = self.store.calls.lock().unwrap().clone();
        let (ended, unchanged) = recorder.0.into_inner().unwrap();
        let what = |report: &Report| format!("{report:#?}");
        // Of a conflict without a record the name is known, so that it is not failed when it is gone.
        if expected.verdicts.values().any(|verdict| *verdict == Verdict::Failed(since::NEITHER)) && ended.is_empty() {
            expected.verdicts.clear();
        }
        let named = |ended: BTreeMap<String, Outcome>| -> BTreeMap<String, Outcome> {
            ended.into_iter().filter(|(_, outcome)| *outcome != Outcome::Unchanged).collect()
        };
        // The object of the prefix has no key of its own and is shown whole.
        let shown = |key: &String| if key.is_empty() { self.store.prefix.clone() } else { key.clone() };
        let predicted = expected.verdicts.iter().map(|(key, verdict)| (shown(key), outcome(*verdict))).collect();
        let alike = expected.verdicts.values().filter(|verdict| **verdict == Verdict::Unchanged).count() as u64;
        let plain = ended.values().filter(|outcome| **outcome == Outcome::Unchanged).count() as u64;
        assert_eq!(named(ended), named(predicted), "outcomes (left: found): {}", what(&report));
        assert_eq!(unchanged + plain, alike, "unchanged: {}", what(&report));
        let Report { entries, unchanged, written, metadata_only, skipped, failed, conflicts, .. } = report;
        assert_eq!(entries, expected.verdicts.len() as u64, "entries: {}", what(&report));
        assert_eq!(entries, unchanged + written + metadata_only + skipped + failed + conflicts);
        assert_eq!(calls.put, expected.put, "puts (left: found): {}", what(&report));
        assert_eq!(calls.copy, expected.copy, "copies (left: found): {}", what(&report));
        assert_eq!(calls.delete, expected.delete, "deletes (left: found): {}", what(&report));
        // Whether an object is refused before or after it is asked for makes no difference to anybody.
        let is_failed = |key: &String| matches!(expected.verdicts.get(key), Some(Verdict::Failed(_)));
        let fetched = |keys: &BTreeSet<String>| keys.iter().filter(|key| !is_failed(key)).cloned().collect::<Vec<_>>();
        assert_eq!(fetched(&calls.get), fetched(&expected.get), "gets (left: found): {}", what(&report));
        assert_eq!(report.braked.is_some(), expected.braked, "brake: {}", what(&report));
        assert_eq!(
            (report.deleted, report.gone),
            (expected.deleted, expected.gone),
            "deleted, gone: {}",
            what(&report)
        );
        let (tree, held) = (self.place.see(), observe(&self.store));
        assert_eq!(Self::comparable(&tree), Self::comparable(&expected.tree), "tree: {}", what(&report));
        let bodies = |key: &String, object: &Object| -> (String, Object) {
            let mut object = Object { last_modified: 0, ..object.clone() };
            if P::IS_DISK {
                // Looking at a directory or link moves its access time.
                object.headers.remove("x-amz-meta-file-atime");
            }
            (key.clone(), object)
        };
        let found: BTreeMap<_, _> = held.iter().map(|(key, version)| bodies(key, &version.object)).collect();
        let wanted: BTreeMap<_, _> = expected.bucket.iter().map(|(key, object)| bodies(key, object)).collect();
        assert_eq!(found, wanted, "bucket: {}", what(&report));
        self.record = Some(expected.record(&self.record.clone().unwrap_or_default(), &tree, &held, options));
        Run { report, calls }
    }

    /// A tree without what a disk moves by itself.
    pub fn comparable(tree: &Tree) -> Tree {
        let mut tree = tree.clone();
        for node in tree.values_mut().filter(|_| P::IS_DISK) {
            match node.kind {
                Kind::Directory => (node.atime, node.mtime) = (0, 0),
                // Mapping decision: the permissions of a link mean nothing to Linux.
                Kind::Link(_) => (node.atime, node.mode) = (0, 0o777),
                Kind::File(_) => {}
            }
        }
        tree
    }

    /// What an export would do, which does nothing.
    pub fn plan(&self, options: &Options) -> BTreeMap<String, Step> {
        let before = (self.place.see(), observe(&self.store), self.parts());
        let mut steps = BTreeMap::new();
        let each = |planned: Planned| {
            let before = steps.insert(planned.key.to_string(), planned.step);
            assert_eq!(before, None, "{} is planned twice", planned.key);
        };
        let options = self.export_options(options);
        block_on(plan_export(self.place.tree(), &self.store, Some(&*self.state), &options, each)).unwrap();
        let calls = self.store.calls.lock().unwrap().clone();
        assert_eq!(calls, Calls { head: calls.head.clone(), lists: calls.lists, ..Calls::default() });
        let (tree, held, parts) = (self.place.see(), observe(&self.store), self.parts());
        assert_eq!(Self::comparable(&tree), Self::comparable(&before.0), "a plan changes no tree");
        assert_eq!(held, before.1, "a plan changes no bucket");
        assert!(parts == before.2, "a plan changes no state");
        steps
    }

    /// The bytes of the state.
    pub fn parts(&self) -> Vec<Option<Vec<u8>>> {
        let read = |part| {
            let mut bytes = Vec::new();
            self.state.open(part).unwrap().map(|mut part| part.read_to_end(&mut bytes).unwrap()).map(|_| bytes)
        };
        [Part::Snapshot, Part::Previous, Part::Next, Part::Journal].map(read).into()
    }

    /// A further export of what has not changed.
    pub fn assert_quiet(&mut self, options: &Options) {
        let calls = self.export(options).calls;
        // A record of nothing is as good as none: the bucket is asked whether it is empty.
        let lists = u64::from(self.record.as_ref().is_none_or(Record::is_empty));
        let lists = lists.min(calls.lists);
        assert_eq!(calls, Calls { lists, ..Calls::default() }, "a run without any change asks the bucket for nothing");
    }

    /// Whether the bucket is what an export of the tree into an empty one would make.
    pub fn assert_exported(&self) {
        let wanted = model::export(&self.place.see(), "", &Rules::FSX);
        let plain = |key: &str, object: &Object| {
            // Whatever the body of a directory's object is, it is not looked at.
            let body = if key.ends_with('/') { Vec::new() } else { object.body.clone() };
            let mut object = Object { last_modified: 0, body, ..object.clone() };
            // One is written when something else is, and one is not looked at.
            object.headers.remove("x-amz-meta-file-atime");
            object.headers.remove("x-amz-meta-user-agent");
            object
        };
        let found: BTreeMap<_, _> =
            observe(&self.store).iter().map(|(key, version)| (key.clone(), plain(key, &version.object))).collect();
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(key, object)| (key.clone(), plain(key, object))).collect();
        assert_eq!(found, wanted);
    }
}

/// What a run did.
pub struct Run {
    pub report: Report,
    pub calls: Calls,
}

// -------------------------------------------------------------------------------------------- random histories

pub fn paths() -> impl Strategy<Value = String> {
    let few = vec(select(vec!["a", "b"]), 1..=2);
    let more = vec(select(vec!["a", "a", "a-", "a.", "a0", "b"]), 1..=3);
    prop_oneof![2 => few, 1 => more].prop_map(|names| names.join("/"))
}

pub fn contents() -> impl Strategy<Value = Vec<u8>> {
    select(vec![&b""[..], b"x", b"y", b"one", b"two", b"three"]).prop_map(<[u8]>::to_vec)
}

pub fn times() -> impl Strategy<Value = i64> {
    select(vec![-1, 0, 1_500_000_000, 1_500_000_001, 1_900_000_000, 2_500_000_000])
}

pub fn mutations() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        5 => (paths(), contents()).prop_map(|(path, content)| Mutation::Write(path, content)),
        2 => (paths(), contents()).prop_map(|(path, content)| Mutation::WriteBack(path, content)),
        1 => (paths(), contents()).prop_map(|(path, content)| Mutation::Append(path, content)),
        1 => (paths(), 0..3_usize).prop_map(|(path, size)| Mutation::Truncate(path, size)),
        1 => (paths(), contents()).prop_map(|(path, content)| Mutation::Save(path, content)),
        1 => paths().prop_map(Mutation::Touch),
        1 => (paths(), times()).prop_map(|(path, time)| Mutation::Utimes(path, time)),
        2 => (paths(), select(vec![0o600, 0o640, 0o755, 0o1755, 0o4755])).prop_map(|(path, mode)| Mutation::Chmod(path, mode)),
        1 => (paths(), 1..3_u32, 1..3_u32).prop_map(|(path, uid, gid)| Mutation::Chown(path, uid, gid)),
        2 => (paths(), paths()).prop_map(|(from, to)| Mutation::Rename(from, to)),
        1 => (paths(), paths()).prop_map(|(from, to)| Mutation::Link(from, to)),
        2 => paths().prop_map(Mutation::Remove),
        4 => paths().prop_map(Mutation::Mkdir),
        1 => paths().prop_map(Mutation::BecomeFile),
        2 => (paths(), select(vec!["a", "b"])).prop_map(|(path, name)| Mutation::BecomeDirectory(path, name.to_owned())),
        1 => (paths(), select(vec!["a", "b", "../x"])).prop_map(|(path, target)| Mutation::Symlink(path, target.to_owned())),
    ]
}

/// What somebody else does to the bucket.
#[derive(Clone, Debug)]
pub enum Stranger {
    /// As a program that knows the schema, or one that does not.
    Put(String, Vec<u8>, BTreeMap<String, String>),
    Metadata(Index, BTreeMap<String, String>),
    Delete(Index),
    /// The object that an export of what is there would put.
    Same(Index),
    /// The body of an object anew, its headers as they are.
    Body(Index, Vec<u8>),
}

pub fn headers() -> impl Strategy<Value = BTreeMap<String, String>> {
    let said = (select(vec!["0100644", "0100600", "0040755"]), 1..3_u32, times()).prop_map(|(mode, uid, time)| {
        let named = [
            ("file-permissions", mode.to_owned()),
            ("file-owner", uid.to_string()),
            ("file-group", uid.to_string()),
            ("file-mtime", format!("{}ns", seconds(time))),
            ("file-atime", format!("{}ns", seconds(time))),
        ];
        named.into_iter().map(|(name, value)| (format!("x-amz-meta-{name}"), value)).collect()
    });
    prop_oneof![4 => said, 2 => Just(BTreeMap::new()), 1 => generate::headers(generate::Place::Disk)]
}

pub fn strangers() -> impl Strategy<Value = Stranger> {
    let keys = prop_oneof![
        6 => paths(),
        2 => paths().prop_map(|path| path + "/"),
        1 => select(vec!["a//b", "../a", ""]).prop_map(str::to_owned),
    ];
    prop_oneof![
        3 => (keys, contents(), headers()).prop_map(|(key, body, headers)| Stranger::Put(key, body, headers)),
        2 => (any::<Index>(), headers()).prop_map(|(at, headers)| Stranger::Metadata(at, headers)),
        3 => any::<Index>().prop_map(Stranger::Delete),
        1 => any::<Index>().prop_map(Stranger::Same),
        2 => (any::<Index>(), contents()).prop_map(|(at, body)| Stranger::Body(at, body)),
    ]
}

pub fn policies() -> impl Strategy<Value = Policy> {
    select(vec![Policy::Fail, Policy::Fail, Policy::Local, Policy::Store, Policy::Newest, Policy::KeepBoth])
}

pub fn options() -> impl Strategy<Value = Options> {
    let deletes = prop_oneof![
        3 => Just(None),
        5 => Just(Some((u64::MAX, 100))),
        1 => select(vec![Some((0, 0)), Some((1, 0)), Some((2, 0))]),
    ];
    (policies(), deletes, prop::option::weighted(0.15, paths()), select(vec![Rules::FSX, Rules::FSX_2022]))
        .prop_map(|(policy, deletes, path, rules)| Options { policy, deletes, path, rules, ..Options::default() })
}

#[derive(Clone)]
pub enum Action {
    Mutate(Mutation),
    Stranger(Stranger),
    Export(Options),
    Import(Options),
    Directories(Directories),
}

impl std::fmt::Debug for Action {
    /// In one line, so that a minimal case can be read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mutate(mutation) => f.write_str(&format!("{mutation:?}")),
            Self::Stranger(stranger) => f.write_str(&format!("Stranger {stranger:?}")),
            Self::Export(options) => write!(f, "Export {}", printed(options)),
            Self::Import(options) => write!(f, "Import {}", printed(options)),
            Self::Directories(directories) => write!(f, "{directories:?}"),
        }
    }
}

pub fn printed(options: &Options) -> String {
    let Options { policy, deletes, path, rules, .. } = options;
    format!("{policy:?}, deletes {deletes:?}, path {path:?}, {:?}", rules.set_id)
}

impl<P: Place, S: ObjectStore> World<P, S> {
    /// The headers of a stranger as they are sent.
    fn sent(&self, headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut sent = headers.clone();
        if self.store.is_tame {
            // What is not ASCII, has a tab or is repeated, servers sign or keep in ways of their own; the suite of conformance
            // sees to it. And nobody can send what a store says of its own accord.
            sent.retain(|name, value| {
                let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !value.contains(", ");
                is_plain && name.starts_with("x-amz-meta-")
            });
        }
        sent
    }

    pub fn stranger(&self, stranger: &Stranger) {
        let held = observe(&self.store);
        let whole = |key: &str| format!("{}{key}", self.store.prefix);
        let at = |index: &Index| (!held.is_empty()).then(|| held.iter().nth(index.index(held.len())).unwrap());
        match stranger {
            Stranger::Put(key, body, headers) => {
                let object = Object { headers: self.sent(headers), body: body.clone(), last_modified: 0 };
                bridge::put(&self.store, &whole(key), &object);
            }
            Stranger::Metadata(index, headers) => {
                if let Some((key, version)) = at(index) {
                    let object = Object { headers: self.sent(headers), ..version.object.clone() };
                    let options = PutOptions { headers: bridge::header_map(&object), ..PutOptions::default() };
                    if self.store.inner.capabilities().replace_metadata == Support::Yes {
                        block_on(self.store.inner.replace_metadata(&whole(key), &options)).unwrap();
                    } else {
                        bridge::put(&self.store, &whole(key), &object);
                    }
                }
            }
            Stranger::Delete(index) => {
                if let Some((key, _)) = at(index) {
                    block_on(self.store.delete(&whole(key), &Precondition::None)).unwrap();
                }
            }
            // Of a file that was found to agree and never read, such a store has no digest: "what cannot be compared is sent".
            Stranger::Same(_) if self.store.is_opaque() => {}
            Stranger::Same(index) => {
                let objects = model::export(&self.place.see(), "", &Rules::FSX);
                if !objects.is_empty() {
                    let (key, object) = objects.iter().nth(index.index(objects.len())).unwrap();
                    bridge::put(&self.store, &whole(key), object);
                }
            }
            Stranger::Body(index, body) => {
                if let Some((key, version)) = at(index) {
                    // Nor has it one of a file that was written to the same size here; no user writes one of this size.
                    let more = if self.store.is_opaque() { &b" of somebody else"[..] } else { b"" };
                    let object = Object { body: [body, more].concat(), ..version.object.clone() };
                    bridge::put(&self.store, &whole(key), &object);
                }
            }
        }
    }

    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Mutate(mutation) => self.change(mutation),
            Action::Stranger(stranger) => self.stranger(stranger),
            Action::Export(options) => drop(self.export(options)),
            Action::Import(options) => drop(self.import(options)),
            Action::Directories(directories) => self.directories = *directories,
        }
    }
}

pub fn local_action() -> impl Strategy<Value = Action> {
    mutations().prop_map(Action::Mutate)
}

/// A tree to begin with, so that there is something to change.
pub fn beginning() -> impl Strategy<Value = Vec<Action>> {
    let made = vec(
        prop_oneof![
            3 => paths().prop_map(Mutation::Mkdir),
            2 => (paths(), contents()).prop_map(|(path, content)| Mutation::Write(path, content)),
            1 => (paths(), select(vec!["a", "b"])).prop_map(|(path, name)| {
                Mutation::BecomeDirectory(path, name.to_owned())
            }),
        ],
        0..12,
    );
    (made, any::<bool>()).prop_map(|(made, export)| {
        let mut actions: Vec<Action> = made.into_iter().map(Action::Mutate).collect();
        actions.extend(export.then(|| Action::Export(Options::default())));
        actions
    })
}

pub fn begun(history: impl Strategy<Value = Vec<Action>>) -> impl Strategy<Value = Vec<Action>> {
    (beginning(), history).prop_map(|(mut beginning, history)| {
        beginning.extend(history);
        beginning
    })
}

/// Histories in which exports alone write to the bucket.
pub fn undisturbed() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => local_action(),
        3 => options().prop_map(Action::Export),
        1 => select(vec![Directories::default(), Directories::Read]).prop_map(Action::Directories),
    ];
    begun(vec(action, 1..=20))
}

pub fn exports_among_strangers() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => local_action(),
        3 => options().prop_map(Action::Export),
        2 => strangers().prop_map(Action::Stranger),
        1 => select(vec![Directories::default(), Directories::Read]).prop_map(Action::Directories),
    ];
    begun(vec(action, 1..=20))
}

pub fn histories() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => local_action(),
        2 => options().prop_map(Action::Export),
        3 => options().prop_map(Action::Import),
        3 => strangers().prop_map(Action::Stranger),
        1 => select(vec![Directories::default(), Directories::Read]).prop_map(Action::Directories),
    ];
    begun(vec(action, 1..=20))
}

pub fn in_a_world<P: Place, S: ObjectStore>(mut world: World<P, S>, history: &[Action]) -> World<P, S> {
    history.iter().for_each(|action| world.act(action));
    world
}

/// What stores can leave undone.
pub fn abilities() -> impl Strategy<Value = Capabilities> {
    let support = || select(vec![Support::Yes, Support::No]);
    (support(), support(), support()).prop_map(|(preconditions, replace_metadata, md5_etags)| {
        Capabilities::ALL
            .with_preconditions(preconditions)
            .with_replace_metadata(replace_metadata)
            .with_md5_etags(md5_etags)
    })
}

/// An import in which the bucket wins and an export in which the tree does: both sides hold the same then, and nothing is
/// left to be done.
pub fn assert_converges<P: Place, S: ObjectStore>(world: &mut World<P, S>) {
    let deletes = Some((u64::MAX, 100));
    let store_wins = Options { policy: Policy::Store, deletes, ..Options::default() };
    let tree_wins = Options { policy: Policy::Local, ..store_wins.clone() };
    // What was shadowed by a directory that the export deletes can be imported only after that.
    world.import(&store_wins);
    world.export(&tree_wins);
    let imported = world.import(&store_wins).report;
    world.export(&tree_wins);
    // What could not be imported, since it is refused or something is in the way, is nowhere in the tree.
    if imported.is_complete() && imported.skipped == 0 {
        let bodies = |bucket: model::Bucket| -> BTreeMap<String, Vec<u8>> {
            let bodies = bucket.into_iter().map(|(key, object)| {
                let body = if key.ends_with('/') { Vec::new() } else { object.body };
                (key, body)
            });
            bodies.collect()
        };
        let held = observe(&world.store).into_iter().map(|(key, version)| (key, version.object)).collect();
        let mut exported = bodies(model::export(&world.place.see(), "", &Rules::FSX));
        // A directory that was made since something was in it has no object, and needs none.
        exported.retain(|key, _| {
            let agreed = world.record.as_ref().and_then(|record| record.get(key));
            agreed.is_none_or(|agreed| agreed.remote.is_some())
        });
        assert_eq!(bodies(held), exported);
    }
    let again = world.import(&store_wins);
    let exported = world.export(&tree_wins);
    assert_eq!(again.report.written + again.report.metadata_only + again.report.deleted, 0, "{:#?}", again.report);
    let Calls { put, copy, delete, .. } = exported.calls;
    assert_eq!((put, copy, delete), Default::default(), "{:#?}", exported.report);
}
