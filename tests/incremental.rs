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

use bytes::Bytes;
use futures_executor::block_on;
use model::bridge::{self, bucket_of, read_disk, tree_of};
use model::since::{self, Expected, Options, Policy, Record, Version, Versions, key_of, path_of};
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
            Mutation::WriteBack(path, _) => is_file(path),
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
            Mutation::BecomeFile(_) | Mutation::BecomeDirectory(..) => unreachable!("it is done in steps"),
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
            Mutation::BecomeFile(_) | Mutation::BecomeDirectory(..) => unreachable!("it is done in steps"),
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

    fn check(&mut self, expected: Expected, report: Report, recorder: Recorder) -> Run {
        let calls = self.store.calls.lock().unwrap().clone();
        let (ended, unchanged) = recorder.0.into_inner().unwrap();
        let what = |report: &Report| format!("{report:#?}");
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

    /// A run of either direction that finds nothing to do.
    fn assert_quiet(&mut self, options: &Options) {
        let exported = self.export(options).calls;
        assert_eq!(exported, Calls { head: exported.head.clone(), lists: exported.lists, ..Calls::default() });
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
        1 => select(vec![Some((0, 0)), Some((0, 50)), Some((1, 20))]),
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

proptest! {
    #![proptest_config(generate::cases(400))]

    #[test]
    fn exports_make_the_calls_of_the_model(history in undisturbed()) {
        let mut world = World::in_memory(Capabilities::ALL);
        history.iter().for_each(|action| world.act(action));
    }

    #[test]
    fn exports_among_strangers_make_the_calls_of_the_model(history in exports_among_strangers()) {
        let mut world = World::in_memory(Capabilities::ALL);
        history.iter().for_each(|action| world.act(action));
    }

    #[test]
    fn runs_of_both_directions_among_strangers_are_those_of_the_model(history in histories()) {
        let mut world = World::in_memory(Capabilities::ALL);
        history.iter().for_each(|action| world.act(action));
    }
}
