//! Runs with a state do what the model says, with the calls that it says, and running again does nothing.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

mod model;

use futures_executor::block_on;
use model::bridge::{self, bucket_of, read_disk, tree_of};
use model::since::{self, Expected, Options, Policy, Record, Version, Versions, key_of};
use model::{Kind, Node, Object, Rules, Tree, Verdict, generate};
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
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, KeyList, Permissions, Prefix, SymlinkTarget, Uid};
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

/// Where in the bucket. What is beside it is nobody's business.
const PREFIX: &str = "p/";

// --------------------------------------------------------------------------------------------------- a store

/// The keys of the calls that a store has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Calls {
    put: BTreeSet<String>,
    copy: BTreeSet<String>,
    delete: BTreeSet<String>,
    get: BTreeSet<String>,
    head: BTreeSet<String>,
    lists: u64,
}

/// A store that takes down its calls, and can do less than the one inside.
struct Watched<S> {
    inner: S,
    capabilities: Capabilities,
    calls: Mutex<Calls>,
    /// Where ETags are no MD5: the one of each key, and how many there were.
    opaque: Mutex<(BTreeMap<String, String>, u64)>,
}

impl<S: ObjectStore> Watched<S> {
    fn new(inner: S, capabilities: Capabilities) -> Self {
        Self { inner, capabilities, calls: Mutex::default(), opaque: Mutex::default() }
    }

    fn forget_calls(&self) {
        *self.calls.lock().unwrap() = Calls::default();
    }

    fn note(&self, note: impl FnOnce(&mut Calls)) {
        note(&mut self.calls.lock().unwrap());
    }

    fn is_opaque(&self) -> bool {
        self.capabilities.md5_etags == Support::No
    }

    /// The ETag that this store gives an object.
    fn outer(&self, key: &str, etag: ETag) -> ETag {
        if self.is_opaque() { ETag::new(&self.opaque.lock().unwrap().0[key]) } else { etag }
    }

    fn renew(&self, key: &str) {
        let (etags, made) = &mut *self.opaque.lock().unwrap();
        *made += 1;
        etags.insert(key.to_owned(), format!("version {made}"));
    }

    /// What the store inside is to be asked for.
    async fn condition(
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

fn behind(key: &str) -> String {
    key.strip_prefix(PREFIX).expect("a call beside the prefix").to_owned()
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
        }
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.note(|calls| _ = calls.head.insert(behind(key)));
        let meta = self.inner.head(key).await?;
        Ok(ObjectMeta { etag: self.outer(key, meta.etag.clone()), ..meta })
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.note(|calls| _ = calls.get.insert(behind(key)));
        let asked = options.if_match.clone().map_or(Precondition::None, Precondition::Match);
        let if_match = match self.condition(Operation::Get, key, &asked).await? {
            Precondition::Match(etag) => Some(etag),
            _ => None,
        };
        let mut answer = self.inner.get(key, &GetOptions { if_match, ..options.clone() }).await?;
        answer.meta.etag = self.outer(key, answer.meta.etag.clone());
        Ok(answer)
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let precondition = self.condition(Operation::Put, key, &options.precondition).await?;
        let output = self.inner.put(key, body, &PutOptions { precondition, ..options.clone() }).await?;
        self.renew(key);
        self.note(|calls| _ = calls.put.insert(behind(key)));
        Ok(PutOutput { etag: self.outer(key, output.etag), last_modified: output.last_modified })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        assert_eq!(self.capabilities.replace_metadata, Support::Yes, "{key}: the store says that it cannot");
        let precondition = self.condition(Operation::ReplaceMetadata, key, &options.precondition).await?;
        let output = self.inner.replace_metadata(key, &PutOptions { precondition, ..options.clone() }).await?;
        self.note(|calls| _ = calls.copy.insert(behind(key)));
        Ok(PutOutput { etag: self.outer(key, output.etag), last_modified: output.last_modified })
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        let condition = self.condition(Operation::Delete, key, precondition).await?;
        let was_there = self.inner.head(key).await.is_ok();
        self.inner.delete(key, &condition).await?;
        if was_there {
            self.note(|calls| _ = calls.delete.insert(behind(key)));
        }
        Ok(())
    }
}

// ------------------------------------------------------------------------------------------------- the trees

/// What a user does in a tree. What is not possible is not done.
#[derive(Clone, Debug)]
enum Mutation {
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
trait Place {
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
fn fresh() -> i64 {
    static TIME: AtomicI64 = AtomicI64::new(1_600_000_000);
    TIME.fetch_add(1, Ordering::Relaxed)
}

fn seconds(seconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000
}

struct InMemory(MemoryTree);

impl InMemory {
    fn new() -> Self {
        Self(MemoryTree::new())
    }

    /// Where everything happens in one moment.
    fn racy() -> Self {
        Self(MemoryTree::with_tick(Duration::ZERO))
    }

    fn attributes(&self, path: &str) -> Attributes {
        let found = self.0.entries().into_iter().find(|(entry, _)| entry.key().path() == path);
        *found.unwrap().0.attributes()
    }

    fn set(&self, path: &str, change: impl FnOnce(&mut Attributes)) {
        let mut attributes = self.attributes(path);
        change(&mut attributes);
        self.0.set_attributes(&key(path), attributes).unwrap();
    }
}

fn content_of(tree: &Tree, path: &str) -> Vec<u8> {
    match &tree[path].kind {
        Kind::File(content) => content.clone(),
        other => panic!("{path} is {other:?}"),
    }
}

fn key(key: &str) -> Key {
    Key::parse(key).unwrap()
}

fn new_attributes(mode: u32) -> Attributes {
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

struct OnDisk {
    tree: LocalTree,
    root: PathBuf,
    place: tempfile::TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { tree: LocalTree::open(&root).unwrap(), root, place }
    }

    fn store(&self) -> DirectoryStore {
        DirectoryStore::open(self.place.path().join("bucket")).unwrap()
    }

    fn state(&self) -> FileState {
        FileState::open(self.place.path().join("state")).unwrap()
    }
}

/// Sets the mtime of a file, directory or link.
fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
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
struct Recorder(Mutex<(BTreeMap<String, Outcome>, u64)>);

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
struct World<P, S> {
    place: P,
    store: Watched<S>,
    state: Box<dyn StateStore>,
    record: Option<Record>,
    directories: Directories,
}

impl World<InMemory, MemoryStore> {
    fn in_memory(capabilities: Capabilities) -> Self {
        Self::new(InMemory::new(), MemoryStore::new(), Box::new(MemoryState::new()), capabilities)
    }

    fn racy() -> Self {
        Self::new(InMemory::racy(), MemoryStore::new(), Box::new(MemoryState::new()), Capabilities::ALL)
    }
}

impl World<OnDisk, DirectoryStore> {
    fn on_disk() -> Self {
        let place = OnDisk::new();
        let (store, state) = (place.store(), place.state());
        Self::new(place, store, Box::new(state), Capabilities::ALL)
    }
}

fn observe<S: ObjectStore>(store: &Watched<S>) -> Versions {
    let listed = block_on(store.list(&ListRequest::default())).unwrap().objects;
    let mut objects = bucket_of(store);
    let versions = listed.into_iter().filter_map(|listed| {
        let object = objects.remove(&listed.key).unwrap();
        let object = Object { last_modified: listed.last_modified.nanoseconds(), ..object };
        let key = listed.key.strip_prefix(PREFIX)?.to_owned();
        Some((key, Version { object, etag: listed.etag.as_str().to_owned() }))
    });
    let versions = versions.collect();
    store.forget_calls();
    versions
}

fn policy(policy: Policy) -> OnConflict {
    match policy {
        Policy::Fail => OnConflict::Fail,
        Policy::Local => OnConflict::Local,
        Policy::Store => OnConflict::Store,
        Policy::Newest => OnConflict::Newest,
        Policy::KeepBoth => OnConflict::KeepBoth,
    }
}

fn deletes(deletes: Option<(u64, u8)>) -> Deletes {
    deletes.map_or(Deletes::Never, |(count, percent)| Deletes::Apply(Brake { count, percent }))
}

fn selection(options: &Options) -> Selection {
    let all = Selection::all();
    options.path.as_deref().map_or(all.clone(), |path| all.with_path(key(path)))
}

fn outcome(verdict: Verdict) -> Outcome {
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
    fn new(place: P, store: S, state: Box<dyn StateStore>, capabilities: Capabilities) -> Self {
        let store = Watched::new(store, capabilities);
        Self { place, store, state, record: None, directories: Directories::default() }
    }

    fn change(&self, mutation: &Mutation) {
        self.place.change(mutation);
    }

    fn settled(&self, options: &Options) -> Options {
        let Capabilities { replace_metadata, md5_etags, .. } = self.store.capabilities;
        let (in_place, etags_tell) = (replace_metadata == Support::Yes, md5_etags == Support::Yes);
        Options { in_place, etags_tell, ..options.clone() }
    }

    fn export_options(&self, options: &Options) -> ExportOptions {
        let mut export = ExportOptions::new(bridge::profile(&options.rules))
            .with_bucket("bucket")
            .with_prefix(Prefix::parse(PREFIX).unwrap())
            .with_jobs(Jobs::new(3).unwrap())
            .with_selection(selection(options))
            .with_deletes(deletes(options.deletes))
            .with_on_conflict(policy(options.policy));
        export.directories = self.directories;
        export
    }

    fn import_options(options: &Options) -> ImportOptions {
        ImportOptions::new(bridge::profile(&options.rules))
            .with_bucket("bucket")
            .with_prefix(Prefix::parse(PREFIX).unwrap())
            .with_jobs(Jobs::new(3).unwrap())
            .with_selection(selection(options))
            .with_deletes(deletes(options.deletes))
            .with_on_conflict(policy(options.policy))
    }

    /// Exports, and compares everything with the model.
    fn export(&mut self, options: &Options) -> Run {
        let options = &self.settled(options);
        let (before, held) = (self.place.see(), observe(&self.store));
        let expected = since::export_since(&before, &held, self.record.as_ref(), options);
        let recorder = Recorder::default();
        let options = self.export_options(options);
        let run = export_since(self.place.tree(), &self.store, &*self.state, &options, &recorder);
        let report = block_on(run).unwrap();
        self.check(expected, report, recorder)
    }

    /// Imports, and compares everything with the model.
    fn import(&mut self, options: &Options) -> Run {
        let options = &self.settled(options);
        let (before, links, held) = (self.place.see(), self.place.links(), observe(&self.store));
        let record = self.record.clone().unwrap_or_default();
        let expected = since::import_since(&before, &links, &held, &record, options);
        let recorder = Recorder::default();
        let options = Self::import_options(options);
        let run = import_since(&self.store, self.place.tree(), &*self.state, &options, &recorder);
        let report = block_on(run).unwrap();
        self.check(expected, report, recorder)
    }

    fn check(&mut self, mut expected: Expected, report: Report, recorder: Recorder) -> Run {
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
        let shown = |key: &String| if key.is_empty() { PREFIX.to_owned() } else { key.clone() };
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
        self.record = Some(expected.record(&self.record.clone().unwrap_or_default(), &tree, &held));
        Run { report, calls }
    }

    /// A tree without what a disk moves by itself.
    fn comparable(tree: &Tree) -> Tree {
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
    fn plan(&self, options: &Options) -> BTreeMap<String, Step> {
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
    fn parts(&self) -> Vec<Option<Vec<u8>>> {
        let read = |part| {
            let mut bytes = Vec::new();
            self.state.open(part).unwrap().map(|mut part| part.read_to_end(&mut bytes).unwrap()).map(|_| bytes)
        };
        [Part::Snapshot, Part::Previous, Part::Next, Part::Journal].map(read).into()
    }

    /// A further export of what has not changed.
    fn assert_quiet(&mut self, options: &Options) {
        let calls = self.export(options).calls;
        // A record of nothing is as good as none: the bucket is asked whether it is empty.
        let lists = u64::from(self.record.as_ref().is_none_or(Record::is_empty));
        let lists = lists.min(calls.lists);
        assert_eq!(calls, Calls { lists, ..Calls::default() }, "a run without any change asks the bucket for nothing");
    }

    /// Whether the bucket is what an export of the tree into an empty one would make.
    fn assert_exported(&self) {
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
struct Run {
    report: Report,
    calls: Calls,
}

// -------------------------------------------------------------------------------------------- random histories

fn paths() -> impl Strategy<Value = String> {
    let few = vec(select(vec!["a", "b"]), 1..=2);
    let more = vec(select(vec!["a", "a", "a-", "a.", "a0", "b"]), 1..=3);
    prop_oneof![2 => few, 1 => more].prop_map(|names| names.join("/"))
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    select(vec![&b""[..], b"x", b"y", b"one", b"two", b"three"]).prop_map(<[u8]>::to_vec)
}

fn times() -> impl Strategy<Value = i64> {
    select(vec![-1, 0, 1_500_000_000, 1_500_000_001, 1_900_000_000, 2_500_000_000])
}

fn mutations() -> impl Strategy<Value = Mutation> {
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
enum Stranger {
    /// As a program that knows the schema, or one that does not.
    Put(String, Vec<u8>, BTreeMap<String, String>),
    Metadata(Index, BTreeMap<String, String>),
    Delete(Index),
    /// The object that an export of what is there would put.
    Same(Index),
    /// The body of an object anew, its headers as they are.
    Body(Index, Vec<u8>),
}

fn headers() -> impl Strategy<Value = BTreeMap<String, String>> {
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

fn strangers() -> impl Strategy<Value = Stranger> {
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

fn policies() -> impl Strategy<Value = Policy> {
    select(vec![Policy::Fail, Policy::Fail, Policy::Local, Policy::Store, Policy::Newest, Policy::KeepBoth])
}

fn options() -> impl Strategy<Value = Options> {
    let deletes = prop_oneof![
        3 => Just(None),
        5 => Just(Some((u64::MAX, 100))),
        1 => select(vec![Some((0, 0)), Some((1, 0)), Some((2, 0))]),
    ];
    (policies(), deletes, prop::option::weighted(0.15, paths()), select(vec![Rules::FSX, Rules::FSX_2022]))
        .prop_map(|(policy, deletes, path, rules)| Options { policy, deletes, path, rules, ..Options::default() })
}

#[derive(Clone)]
enum Action {
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

fn printed(options: &Options) -> String {
    let Options { policy, deletes, path, rules, .. } = options;
    format!("{policy:?}, deletes {deletes:?}, path {path:?}, {:?}", rules.set_id)
}

impl<P: Place, S: ObjectStore> World<P, S> {
    fn stranger(&self, stranger: &Stranger) {
        let held = observe(&self.store);
        let whole = |key: &str| format!("{PREFIX}{key}");
        let at = |index: &Index| (!held.is_empty()).then(|| held.iter().nth(index.index(held.len())).unwrap());
        match stranger {
            Stranger::Put(key, body, headers) => {
                let object = Object { headers: headers.clone(), body: body.clone(), last_modified: 0 };
                bridge::put(&self.store, &whole(key), &object);
            }
            Stranger::Metadata(index, headers) => {
                if let Some((key, version)) = at(index) {
                    let object = Object { headers: headers.clone(), ..version.object.clone() };
                    let options = PutOptions { headers: bridge::header_map(&object), ..PutOptions::default() };
                    block_on(self.store.inner.replace_metadata(&whole(key), &options)).unwrap();
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
                    let object = Object { body: body.clone(), ..version.object.clone() };
                    bridge::put(&self.store, &whole(key), &object);
                }
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Mutate(mutation) => self.change(mutation),
            Action::Stranger(stranger) => self.stranger(stranger),
            Action::Export(options) => drop(self.export(options)),
            Action::Import(options) => drop(self.import(options)),
            Action::Directories(directories) => self.directories = *directories,
        }
    }
}

fn local_action() -> impl Strategy<Value = Action> {
    mutations().prop_map(Action::Mutate)
}

/// A tree to begin with, so that there is something to change.
fn beginning() -> impl Strategy<Value = Vec<Action>> {
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

fn begun(history: impl Strategy<Value = Vec<Action>>) -> impl Strategy<Value = Vec<Action>> {
    (beginning(), history).prop_map(|(mut beginning, history)| {
        beginning.extend(history);
        beginning
    })
}

/// Histories in which exports alone write to the bucket.
fn undisturbed() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => local_action(),
        3 => options().prop_map(Action::Export),
        1 => select(vec![Directories::default(), Directories::Read]).prop_map(Action::Directories),
    ];
    begun(vec(action, 1..=20))
}

fn exports_among_strangers() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => local_action(),
        3 => options().prop_map(Action::Export),
        2 => strangers().prop_map(Action::Stranger),
        1 => select(vec![Directories::default(), Directories::Read]).prop_map(Action::Directories),
    ];
    begun(vec(action, 1..=20))
}

fn histories() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => local_action(),
        2 => options().prop_map(Action::Export),
        3 => options().prop_map(Action::Import),
        3 => strangers().prop_map(Action::Stranger),
        1 => select(vec![Directories::default(), Directories::Read]).prop_map(Action::Directories),
    ];
    begun(vec(action, 1..=20))
}

fn in_a_world<P: Place, S: ObjectStore>(mut world: World<P, S>, history: &[Action]) -> World<P, S> {
    history.iter().for_each(|action| world.act(action));
    world
}

/// What stores can leave undone.
fn abilities() -> impl Strategy<Value = Capabilities> {
    let support = || select(vec![Support::Yes, Support::No]);
    (support(), support(), support()).prop_map(|(preconditions, replace_metadata, md5_etags)| {
        Capabilities::ALL
            .with_preconditions(preconditions)
            .with_replace_metadata(replace_metadata)
            .with_md5_etags(md5_etags)
    })
}

proptest! {
    #![proptest_config(generate::cases(400))]

    #[test]
    fn exports_make_the_calls_of_the_model(history in undisturbed()) {
        let mut world = in_a_world(World::in_memory(Capabilities::ALL), &history);
        let options = Options { policy: Policy::Local, deletes: Some((u64::MAX, 100)), ..Options::default() };
        world.export(&options);
        world.assert_exported();
        world.export(&options);
        world.assert_quiet(&options);
    }

    #[test]
    fn exports_among_strangers_make_the_calls_of_the_model(history in exports_among_strangers()) {
        in_a_world(World::in_memory(Capabilities::ALL), &history);
    }

    #[test]
    fn runs_of_both_directions_among_strangers_are_those_of_the_model(history in histories()) {
        in_a_world(World::in_memory(Capabilities::ALL), &history);
    }

    #[test]
    fn runs_are_those_of_the_model_where_everything_happens_in_one_moment(history in histories()) {
        in_a_world(World::racy(), &history);
    }

    #[test]
    fn runs_are_those_of_the_model_where_the_store_can_do_less(history in histories(), able in abilities()) {
        in_a_world(World::in_memory(able), &history);
    }

    #[test]
    fn both_sides_come_to_hold_the_same(history in histories()) {
        let mut world = in_a_world(World::in_memory(Capabilities::ALL), &history);
        assert_converges(&mut world);
    }
}

/// An import in which the bucket wins and an export in which the tree does: both sides hold the same then, and nothing is
/// left to be done.
fn assert_converges<P: Place, S: ObjectStore>(world: &mut World<P, S>) {
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

proptest! {
    #![proptest_config(generate::cases(60))]

    #[test]
    fn runs_of_a_real_directory_and_a_bucket_in_one_are_those_of_the_model(history in histories()) {
        // Whoever cannot give files away sees other owners than the model.
        if bridge::is_superuser() {
            in_a_world(World::on_disk(), &history);
        }
    }
}

// ------------------------------------------------------------------------------------------ single mutations

/// What one mutation takes.
#[derive(Clone, Copy, Default)]
struct Takes {
    put: &'static [&'static str],
    copy: &'static [&'static str],
    gone: &'static [&'static str],
    /// What is replaced besides where the mtime of a directory moves with its names.
    parents: &'static [&'static str],
}

fn write(path: &str, content: &str) -> Mutation {
    Mutation::Write(path.to_owned(), content.as_bytes().to_vec())
}

fn mkdir(path: &str) -> Mutation {
    Mutation::Mkdir(path.to_owned())
}

/// A tree with something of each kind, exported.
fn exported<P: Place, S: ObjectStore>(world: &mut World<P, S>) {
    for mutation in [
        mkdir("d"),
        write("d/f", "hello"),
        write("d/g", "hello"),
        mkdir("d/s"),
        mkdir("d/empty"),
        write("d/s/x", "deep"),
        write("f", "world"),
        write("f-", "beside"),
        write("f0", "beside"),
        Mutation::Symlink("l".to_owned(), "d/f".to_owned()),
    ] {
        world.change(&mutation);
    }
    world.export(&Options::default());
    world.assert_exported();
    world.export(&Options::default());
    world.assert_quiet(&Options::default());
}

/// Does one thing after an export, and sees to it that the next one makes these calls and no other.
fn mutate<P: Place, S: ObjectStore>(world: &mut World<P, S>, mutations: &[Mutation], takes: Takes, deletes: bool) {
    if P::IS_DISK {
        // The clock of the file system moves in ticks of up to ten milliseconds.
        std::thread::sleep(Duration::from_millis(20));
    }
    mutations.iter().for_each(|mutation| world.change(mutation));
    let options = Options { deletes: deletes.then_some((u64::MAX, 100)), ..Options::default() };
    let planned = world.plan(&options);
    let calls = world.export(&options).calls;

    let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<String>>();
    let mut copy = set(takes.copy);
    copy.extend(set(takes.parents).into_iter().filter(|_| P::IS_DISK));
    assert_eq!(calls.put, set(takes.put), "put");
    assert_eq!(calls.copy, copy, "copied");
    assert_eq!(calls.delete, if deletes { set(takes.gone) } else { BTreeSet::new() }, "deleted");
    assert_eq!(calls.get, BTreeSet::new());

    let of = |step: Step| planned.iter().filter(|(_, other)| **other == step).map(|(key, _)| key.clone()).collect();
    assert_eq!(calls.put, of(Step::Put), "planned to put");
    assert_eq!(calls.copy, of(Step::ReplaceMetadata), "planned to copy");
    assert_eq!(calls.delete, of(Step::Delete), "planned to delete");
    assert_eq!(if deletes { BTreeSet::new() } else { set(takes.gone) }, of(Step::Nothing), "planned to leave");
    if deletes || takes.gone.is_empty() {
        world.assert_exported();
    }
    world.export(&options);
    world.assert_quiet(&options);
    assert_eq!(world.plan(&options).into_values().filter(|step| *step != Step::Nothing).count(), 0);
}

fn single(mutations: &[Mutation], takes: Takes) {
    for deletes in [false, true] {
        let mut world = World::in_memory(Capabilities::ALL);
        exported(&mut world);
        mutate(&mut world, mutations, takes, deletes);
        let mut world = World::racy();
        exported(&mut world);
        mutate(&mut world, mutations, takes, deletes);
        let mut world = World::on_disk();
        exported(&mut world);
        mutate(&mut world, mutations, takes, deletes);
    }
}

#[test]
fn a_write_of_the_same_size_puts_the_file() {
    single(&[write("d/f", "HELLO")], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn an_append_puts_the_file() {
    let append = Mutation::Append("d/f".to_owned(), b"!".to_vec());
    single(&[append], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn a_truncation_puts_the_file() {
    single(&[Mutation::Truncate("d/f".to_owned(), 2)], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn a_write_with_the_mtime_put_back_puts_the_file() {
    let write = Mutation::WriteBack("d/f".to_owned(), b"HELLO".to_vec());
    single(&[write], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn an_atomic_save_puts_the_file() {
    let save = Mutation::Save("d/f".to_owned(), b"HELLO".to_vec());
    single(&[save], Takes { put: &["d/f"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_touch_replaces_the_headers() {
    single(&[Mutation::Touch("d/f".to_owned())], Takes { copy: &["d/f"], ..Takes::default() });
}

#[test]
fn another_mtime_of_a_file_or_directory_replaces_the_headers() {
    let utimes = |path: &str| Mutation::Utimes(path.to_owned(), -1);
    single(&[utimes("d/f"), utimes("d/s")], Takes { copy: &["d/f", "d/s/"], ..Takes::default() });
}

#[test]
fn a_change_of_permissions_replaces_the_headers() {
    let chmod = |path: &str, mode| Mutation::Chmod(path.to_owned(), mode);
    single(&[chmod("d/f", 0o600), chmod("d", 0o700)], Takes { copy: &["d/", "d/f"], ..Takes::default() });
}

#[test]
fn a_bit_that_is_not_stored_is_no_change() {
    single(&[Mutation::Chmod("d/f".to_owned(), 0o4644)], Takes::default());
}

#[test]
fn a_change_of_owner_replaces_the_headers() {
    if bridge::is_superuser() {
        let chown = |path: &str| Mutation::Chown(path.to_owned(), 7, 8);
        single(&[chown("d/f"), chown("l"), chown("d/s")], Takes { copy: &["d/f", "d/s/", "l"], ..Takes::default() });
    }
}

#[test]
fn a_renamed_file_is_put_and_its_old_key_is_gone() {
    let rename = Mutation::Rename("d/f".to_owned(), "d/s/f".to_owned());
    single(&[rename], Takes { put: &["d/s/f"], gone: &["d/f"], parents: &["d/", "d/s/"], ..Takes::default() });
}

#[test]
fn a_file_renamed_onto_another_is_put_there() {
    let rename = Mutation::Rename("f".to_owned(), "d/g".to_owned());
    single(&[rename], Takes { put: &["d/g"], gone: &["f"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn everything_in_a_renamed_directory_is_put() {
    let put = &["d-/", "d-/empty/", "d-/f", "d-/g", "d-/s/", "d-/s/x"];
    let gone = &["d/", "d/empty/", "d/f", "d/g", "d/s/", "d/s/x"];
    single(&[Mutation::Rename("d".to_owned(), "d-".to_owned())], Takes { put, gone, ..Takes::default() });
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let takes = Takes { put: &["d/f/", "d/f/x"], gone: &["d/f"], parents: &["d/"], ..Takes::default() };
    let there = [Mutation::BecomeDirectory("d/f".to_owned(), "x".to_owned())];
    single(&there, takes);
    let back = Takes { put: &["d/f"], gone: &["d/f/", "d/f/x"], parents: &["d/"], ..Takes::default() };
    let mut world = World::in_memory(Capabilities::ALL);
    exported(&mut world);
    mutate(&mut world, &there, takes, true);
    mutate(&mut world, &[Mutation::BecomeFile("d/f".to_owned())], back, true);
    let mut world = World::on_disk();
    exported(&mut world);
    mutate(&mut world, &there, takes, true);
    mutate(&mut world, &[Mutation::BecomeFile("d/f".to_owned())], back, true);
}

#[test]
fn what_was_in_a_directory_that_is_a_file_now_is_gone() {
    let gone = &["d/", "d/empty/", "d/f", "d/g", "d/s/", "d/s/x"];
    single(&[Mutation::BecomeFile("d".to_owned())], Takes { put: &["d"], gone, ..Takes::default() });
}

#[test]
fn what_was_in_a_directory_that_is_a_link_now_is_gone() {
    let gone = &["d/", "d/empty/", "d/f", "d/g", "d/s/", "d/s/x"];
    let relinked = [Mutation::Remove("d".to_owned()), Mutation::Symlink("d".to_owned(), ".".to_owned())];
    single(&relinked, Takes { put: &["d"], gone, ..Takes::default() });
}

#[test]
fn a_hard_link_is_put_and_the_file_is_left_alone() {
    let link = Mutation::Link("d/f".to_owned(), "d/h".to_owned());
    single(&[link], Takes { put: &["d/h"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_write_to_a_file_of_two_names_puts_both() {
    let link = Mutation::Link("d/f".to_owned(), "d/h".to_owned());
    single(&[link, write("d/h", "HELLO")], Takes { put: &["d/f", "d/h"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_removed_file_is_gone() {
    let takes = Takes { gone: &["d/f", "l"], parents: &["d/"], ..Takes::default() };
    single(&[Mutation::Remove("d/f".to_owned()), Mutation::Remove("l".to_owned())], takes);
}

#[test]
fn a_new_directory_is_put() {
    single(&[mkdir("d/new")], Takes { put: &["d/new/"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_removed_directory_is_gone() {
    let takes = Takes { gone: &["d/empty/"], parents: &["d/"], ..Takes::default() };
    single(&[Mutation::Remove("d/empty".to_owned())], takes);
}

#[test]
fn a_link_to_somewhere_else_is_put() {
    // The first target is as long as the one before.
    for target in ["d/g", "elsewhere"] {
        single(&[Mutation::Symlink("l".to_owned(), target.to_owned())], Takes { put: &["l"], ..Takes::default() });
    }
}

#[test]
fn a_file_becomes_a_link_under_one_key() {
    let relinked = [Mutation::Remove("f".to_owned()), Mutation::Symlink("f".to_owned(), "world".to_owned())];
    single(&relinked, Takes { put: &["f"], ..Takes::default() });
}

// ------------------------------------------------------------------------------------------------ round trips

/// Objects as somebody without metadata, somebody with it and an export would have put them.
fn filled<P: Place, S: ObjectStore>(world: &World<P, S>) {
    let tree = Tree::from([
        ("d".to_owned(), node(Kind::Directory)),
        ("d/f".to_owned(), node(Kind::File(b"hello".to_vec()))),
        ("d/l".to_owned(), node(Kind::Link(b"f".to_vec()))),
    ]);
    let mut bucket = model::export(&tree, "", &Rules::FSX);
    bucket.insert("d/plain".to_owned(), Object { headers: [].into(), body: b"plain".to_vec(), last_modified: 0 });
    for (key, object) in &bucket {
        bridge::put(&world.store, &format!("{PREFIX}{key}"), object);
    }
}

fn node(kind: Kind) -> Node {
    let mode = if kind == Kind::Directory { 0o750 } else { 0o640 };
    Node { kind, mode, uid: 0, gid: 0, atime: seconds(1), mtime: seconds(1_500_000_000) }
}

/// Asks the bucket for nothing but what tells that there is nothing to do.
fn assert_no_change(calls: &Calls) {
    let Calls { put, copy, delete, get, .. } = calls;
    assert!(put.is_empty() && copy.is_empty() && delete.is_empty() && get.is_empty(), "{calls:?}");
}

fn round_trip<P: Place, S: ObjectStore>(mut here: World<P, S>, place: P, state: Box<dyn StateStore>) {
    exported(&mut here);
    // The same bucket seen from another place, which has a record of its own.
    let held = observe(&here.store);
    let mut there = World { place, store: here.store, state, record: None, directories: here.directories };
    let run = there.import(&Options::default());
    assert_eq!(run.report.written, held.len() as u64);
    assert_no_change(&there.export(&Options::default()).calls);
    assert_no_change(&there.import(&Options::default()).calls);
    assert_eq!(observe(&there.store), held);
}

#[test]
fn what_an_import_has_brought_to_another_tree_is_not_exported_from_there() {
    round_trip(World::in_memory(Capabilities::ALL), InMemory::new(), Box::new(MemoryState::new()));
    if bridge::is_superuser() {
        let other = OnDisk::new();
        let state = other.state();
        round_trip(World::on_disk(), other, Box::new(state));
    }
}

fn import_then_export<P: Place, S: ObjectStore>(mut world: World<P, S>) {
    filled(&world);
    world.import(&Options::default());
    assert_no_change(&world.export(&Options::default()).calls);
    assert_no_change(&world.import(&Options::default()).calls);
}

#[test]
fn what_an_import_has_made_is_not_exported_again() {
    import_then_export(World::in_memory(Capabilities::ALL));
    import_then_export(World::racy());
    if bridge::is_superuser() {
        import_then_export(World::on_disk());
    }
}

fn metadata_alone<P: Place, S: ObjectStore>(mut world: World<P, S>) {
    filled(&world);
    world.import(&Options::default());
    for (index, headers) in observe(&world.store).into_values().map(|version| version.object.headers).enumerate() {
        let mut headers = headers;
        headers.insert("x-amz-meta-file-group".to_owned(), "9".to_owned());
        // A link is made anew.
        if headers.get("x-amz-meta-file-permissions").is_none_or(|mode| !mode.starts_with("012")) {
            let options = PutOptions {
                headers: bridge::header_map(&Object { headers, body: Vec::new(), last_modified: 0 }),
                ..PutOptions::default()
            };
            let key = observe(&world.store).into_keys().nth(index).unwrap();
            block_on(world.store.inner.replace_metadata(&format!("{PREFIX}{key}"), &options)).unwrap();
        }
    }
    let run = world.import(&Options::default());
    assert_eq!((run.report.metadata_only, run.report.entries), (3, 4));
    assert_eq!(run.calls.get, BTreeSet::new());
    assert_no_change(&world.export(&Options::default()).calls);
}

#[test]
fn metadata_that_was_replaced_in_the_bucket_is_imported_without_the_bytes() {
    metadata_alone(World::in_memory(Capabilities::ALL));
    metadata_alone(World::in_memory(Capabilities::ALL.with_md5_etags(Support::No)));
    if bridge::is_superuser() {
        metadata_alone(World::on_disk());
    }
}

// -------------------------------------------------------------------------------------- cases that once failed

fn in_memory(history: &[Action]) -> World<InMemory, MemoryStore> {
    in_a_world(World::in_memory(Capabilities::ALL), history)
}

fn put(key: &str, mode: &str) -> Action {
    let headers = [("x-amz-meta-file-permissions".to_owned(), mode.to_owned())];
    Action::Stranger(Stranger::Put(key.to_owned(), b"x".to_vec(), headers.into()))
}

fn deleting() -> Options {
    Options { deletes: Some((u64::MAX, 100)), ..Options::default() }
}

#[test]
fn a_directory_that_gets_a_link_does_not_lose_its_attributes_with_its_object() {
    let world = in_memory(&[Action::Mutate(mkdir("b")), Action::Export(Options::default())]);
    block_on(world.store.delete("p/b/", &Precondition::None)).unwrap();
    let world = in_a_world(world, &[put("b/a", "0120777"), Action::Import(deleting())]);
    assert_eq!((world.place.see()["b"].mode, world.place.see()["b"].uid), (0o755, 500));
}

#[test]
fn a_directory_in_which_a_file_takes_a_directorys_place_stays() {
    let world =
        in_memory(&[Action::Mutate(mkdir("b")), Action::Mutate(mkdir("b/b")), Action::Export(Options::default())]);
    block_on(world.store.delete("p/b/", &Precondition::None)).unwrap();
    block_on(world.store.delete("p/b/b/", &Precondition::None)).unwrap();
    let world = in_a_world(world, &[put("b/b", "0100644"), Action::Import(deleting())]);
    assert_eq!((world.place.see()["b"].mode, world.place.see()["b"].uid), (0o755, 500));
    assert_eq!(content_of(&world.place.see(), "b/b"), b"x");
}

#[test]
fn the_headers_of_a_directorys_object_with_a_body_are_replaced_more_than_once() {
    let chmod = |mode| Action::Mutate(Mutation::Chmod("a".to_owned(), mode));
    let mut world = in_memory(&[
        put("a/", "0040755"),
        Action::Import(Options::default()),
        chmod(0o700),
        Action::Export(Options::default()),
        chmod(0o711),
        Action::Export(Options::default()),
    ]);
    assert_no_change(&world.import(&Options::default()).calls);
    assert_eq!(world.place.see()["a"].mode, 0o711);
}

#[test]
fn a_directory_that_became_a_file_here_is_no_conflict_of_an_import() {
    let mut world = in_memory(&[
        Action::Mutate(mkdir("a")),
        Action::Mutate(mkdir("a/b")),
        Action::Export(Options::default()),
        Action::Mutate(Mutation::BecomeFile("a".to_owned())),
    ]);
    let report = world.import(&Options::default()).report;
    assert_eq!((report.unchanged, report.conflicts), (2, 0));
}

// ------------------------------------------------------------------------------------------- cases that once failed

#[test]
fn a_directory_made_on_both_sides_with_other_permissions_is_a_conflict() {
    let private = Action::Mutate(Mutation::Chmod("private".to_owned(), 0o700));
    let recorder = Recorder::default();
    let world = in_memory(&[Action::Mutate(mkdir("private")), private, put("private/", "0040777")]);
    let (held, options) = (world.place.see(), World::<InMemory, MemoryStore>::import_options(&Options::default()));
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!(world.place.see(), held, "what the user has set stays");
    assert_eq!(report.conflicts, 1);
}

#[test]
fn a_directory_that_an_import_has_implied_is_not_exported() {
    let world = in_memory(&[put("a/x", "0100644"), Action::Import(Options::default())]);
    let (options, recorder) = (world.export_options(&Options::default()), Recorder::default());
    let export = export_since(world.place.tree(), &world.store, &*world.state, &options, &recorder);
    let report = block_on(export).unwrap();
    assert_eq!(report.store_calls.put, 0);
}

#[test]
fn a_removed_directory_whose_object_has_changed_is_made_again_where_what_is_there_wins() {
    for policy in [Policy::Newest, Policy::KeepBoth] {
        let remove = Action::Mutate(Mutation::Remove("a".to_owned()));
        let world = in_memory(&[Action::Mutate(mkdir("a")), Action::Export(Options::default()), remove]);
        let world = in_a_world(world, &[put("a/", "0040700")]);
        let options = World::<InMemory, MemoryStore>::import_options(&Options { policy, ..Options::default() });
        let recorder = Recorder::default();
        let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
        let report = block_on(import).unwrap();
        assert_eq!((report.written, report.conflicts), (1, 0), "{policy:?}");
    }
}

#[test]
fn a_file_that_makes_way_for_a_directory_is_counted_as_deleted() {
    let world = in_memory(&[Action::Mutate(write("a", "x")), Action::Export(Options::default())]);
    block_on(world.store.delete("p/a", &Precondition::None)).unwrap();
    let world = in_a_world(world, &[put("a/x", "0100644")]);
    let options = World::<InMemory, MemoryStore>::import_options(&Options::default());
    let recorder = Recorder::default();
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!((report.written, report.deleted), (1, 1));
}

#[test]
fn a_change_that_won_and_was_undone_is_exported_over_the_object_all_the_same() {
    let chmod = |mode| Action::Mutate(Mutation::Chmod("a".to_owned(), mode));
    let world = in_memory(&[Action::Mutate(write("a", "x")), Action::Export(Options::default()), chmod(0o600)]);
    let mut headers = observe(&world.store).remove("a").unwrap().object.headers;
    headers.insert("x-amz-meta-file-permissions".to_owned(), "0100755".to_owned());
    let strange = PutOptions {
        headers: bridge::header_map(&Object { headers, body: Vec::new(), last_modified: 0 }),
        ..PutOptions::default()
    };
    block_on(world.store.inner.replace_metadata("p/a", &strange)).unwrap();
    let tree_wins = Options { policy: Policy::Local, ..Options::default() };
    let world = in_a_world(world, &[Action::Import(tree_wins), chmod(0o644), Action::Export(Options::default())]);
    world.assert_exported();
}

#[test]
fn a_file_with_a_set_id_bit_and_its_own_export_are_no_conflict() {
    let world = in_memory(&[Action::Mutate(write("a", "x")), Action::Mutate(Mutation::Chmod("a".to_owned(), 0o4755))]);
    let same = model::export(&world.place.see(), "", &Rules::FSX);
    bridge::put(&world.store, "p/a", &same["a"]);
    let options = World::<InMemory, MemoryStore>::import_options(&Options::default());
    let recorder = Recorder::default();
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!((report.unchanged, report.conflicts), (1, 0));
}

#[test]
fn a_file_keeps_its_name_when_the_object_that_wants_it_cannot_be_had() {
    let headers = [("x-amz-meta-file-permissions".to_owned(), "0120777".to_owned())];
    let world = in_memory(&[
        Action::Mutate(write("a", "")),
        Action::Stranger(Stranger::Put("a".to_owned(), Vec::new(), headers.into())),
    ]);
    let both = Options { policy: Policy::KeepBoth, ..Options::default() };
    let (options, before) = (World::<InMemory, MemoryStore>::import_options(&both), world.place.see());
    let recorder = Recorder::default();
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    assert_eq!(block_on(import).unwrap().failed, 1);
    assert_eq!(world.place.see(), before);
}

#[test]
fn both_names_of_a_file_are_replaced_in_one_import() {
    for _ in 0..20 {
        let history = [
            Action::Mutate(write("a", "one")),
            Action::Mutate(Mutation::Link("a".to_owned(), "b".to_owned())),
            Action::Export(Options::default()),
            put("a", "0100644"),
            put("b", "0100644"),
        ];
        let world = in_a_world(World::on_disk(), &history);
        let options = World::<OnDisk, DirectoryStore>::import_options(&Options::default());
        let recorder = Recorder::default();
        let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
        let report = block_on(import).unwrap();
        assert_eq!((report.written, report.conflicts), (2, 0));
    }
}
