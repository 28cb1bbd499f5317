//! Nothing is lost, whatever order things happen in: users who write, rename and remove, strangers in the bucket, exports,
//! imports, releases and restores, each of them cut anywhere, and users at work in the middle of each.
//!
//! The model is the text that a user last wrote under each name. It has to be in the tree, or in the object for which the
//! placeholder stands; and no byte that nobody wrote ever reaches the bucket.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::needless_range_loop,
    clippy::string_slice,
    reason = "a test"
)]

mod trouble;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{FutureExt, TryStreamExt};
use posix_s3::engine::{
    DataOptions, ExportOptions, Fetch, ImportOptions, Jobs, MemoryState, ReleaseOptions, Selection, Silent, export,
    export_since, import_since, release, restore,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::store::{ETag, GetOptions, ListRequest, ObjectStore, Operation, Precondition, PutOptions, Support};
use posix_s3::tree::{Found, MemoryTree, Present, Residence, Standing, Tree, TreeOp};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, Timestamp, Uid};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use trouble::restamped::Restamped;
use trouble::{Request, Trouble, TroubledState, TroubledStore, TroubledTree};

/// Of the directories there are two at first.
const NAMES: [&str; 8] = ["a", "b", "d/a", "d/c", "e/a", "e/c", "z/a", "z/c"];
const DIRECTORIES: [&str; 3] = ["d/", "e/", "z/"];
const BUCKET: &str = "memory://model";

/// What a user does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Puts a new file into place.
    Write(usize),
    /// Writes to the file that is there.
    Overwrite(usize),
    /// Writes one byte to a placeholder.
    Patch(usize),
    Rename(usize, usize),
    RenameDirectory(usize, usize),
    /// Gives a file a further name.
    Link(usize, usize),
    /// Copies a file with all that belongs to it, as `cp --archive` does.
    Copy(usize, usize),
    /// Puts a copy in its place that keeps holes and loses marks, as `cp -p a t && mv t a` does.
    Unmark(usize),
    Remove(usize),
    Chmod(usize, u32),
}

/// What somebody does to the bucket.
#[derive(Clone, Copy, Debug)]
enum Stranger {
    Put(usize),
    Delete(usize),
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Export { deletes: bool, part: bool, local_wins: bool },
    ExportWithoutState,
    Import(Fetch, OnConflict),
    Release,
    Restore,
}

#[derive(Clone, Debug)]
enum Step {
    Act(Vec<Act>),
    Stranger(Stranger),
    Run {
        run: Run,
        cut: Option<usize>,
        seed: usize,
        meanwhile: Option<(usize, Vec<Act>)>,
    },
    /// The state is lost.
    Forget,
}

fn acts() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => name.clone().prop_map(Act::Write),
        2 => name.clone().prop_map(Act::Overwrite),
        1 => name.clone().prop_map(Act::Patch),
        4 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => (0..DIRECTORIES.len(), 0..DIRECTORIES.len()).prop_map(|(from, to)| Act::RenameDirectory(from, to)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Link(from, to)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Copy(from, to)),
        1 => name.clone().prop_map(Act::Unmark),
        1 => name.clone().prop_map(Act::Remove),
        1 => (name, 0_u32..4).prop_map(|(name, mode)| Act::Chmod(name, 0o600 | mode)),
    ]
}

/// What one user does at once: something, or a file that takes the name of one that was renamed, or a directory that does.
fn moves() -> impl Strategy<Value = Vec<Act>> {
    let name = 0..NAMES.len();
    let directories = (0..DIRECTORIES.len(), 0..DIRECTORIES.len(), 0..DIRECTORIES.len());
    prop_oneof![
        3 => acts().prop_map(|act| vec![act]),
        2 => (name.clone(), name).prop_map(|(from, to)| vec![Act::Rename(from, to), Act::Write(from)]),
        1 => directories.prop_map(|(one, free, other)| {
            vec![Act::RenameDirectory(one, free), Act::RenameDirectory(other, one)]
        }),
    ]
}

fn runs() -> impl Strategy<Value = Run> {
    prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.4), prop::bool::weighted(0.2))
            .prop_map(|(deletes, part, local_wins)| Run::Export { deletes, part, local_wins }),
        1 => Just(Run::ExportWithoutState),
        1 => Just(Run::Import(Fetch::Now, OnConflict::Fail)),
        2 => Just(Run::Import(Fetch::OnDemand, OnConflict::Fail)),
        1 => Just(Run::Import(Fetch::Now, OnConflict::KeepBoth)),
        4 => Just(Run::Release),
        2 => Just(Run::Restore),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let stranger = prop_oneof![name.clone().prop_map(Stranger::Put), name.prop_map(Stranger::Delete)];
    let run = (
        runs(),
        prop::option::weighted(0.3, 0_usize..60),
        0_usize..20,
        prop::option::weighted(0.5, (0_usize..40, moves())),
    );
    prop_oneof![
        5 => moves().prop_map(Step::Act),
        1 => stranger.prop_map(Step::Stranger),
        8 => run.prop_map(|(run, cut, seed, meanwhile)| Step::Run { run, cut, seed, meanwhile }),
        1 => Just(Step::Forget),
    ]
}

/// One step; or a file gets other attributes, and a further name or a copy in the middle of the export of them.
fn episodes() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let copied = (name.clone(), name, any::<bool>(), 0_usize..40, 0_u32..4);
    let copied = copied.prop_map(|(from, to, is_link, at, mode)| {
        let another = if is_link { Act::Link(from, to) } else { Act::Copy(from, to) };
        let run = Run::Export { deletes: false, part: false, local_wins: false };
        let meanwhile = Some((at, vec![another]));
        let before = if from == to { vec![] } else { vec![Act::Remove(to)] };
        let before = [before, vec![Act::Chmod(from, 0o700 | mode)]].concat();
        vec![Step::Act(before), Step::Run { run, cut: None, seed: 0, meanwhile }]
    });
    prop_oneof![9 => steps().prop_map(|step| vec![step]), 1 => copied]
}

/// What a file is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Text(Bytes),
    /// A placeholder that somebody has written to: what is here, and what is in the store.
    Both {
        here: Bytes,
        there: (Key, ETag, Bytes),
    },
}

struct World {
    tree: Arc<MemoryTree>,
    store: Arc<Restamped>,
    held: Mutex<Model>,
}

#[derive(Default)]
struct Model {
    files: BTreeMap<Key, Held>,
    /// Texts that a stranger has taken from the bucket.
    excused: BTreeSet<Bytes>,
    written: u32,
}

fn key(name: usize) -> Key {
    Key::parse(NAMES[name]).unwrap()
}

fn attributes(mode: u32, mtime: i64) -> Attributes {
    let time = Timestamp::from_unix(mtime, 0).unwrap();
    Attributes { permissions: Permissions::from_mode(mode), uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time }
}

fn object(store: &Restamped, key: &Key) -> Option<(ETag, Bytes)> {
    let output = block_on(store.get(key.as_str(), &GetOptions::default())).ok()?;
    let etag = output.meta.etag;
    Some((etag, block_on(output.body.try_collect::<Vec<Bytes>>()).unwrap().concat().into()))
}

/// Whether two versions have the same bytes: a copy may give them another stamp.
fn are_same(one: &ETag, other: &ETag) -> bool {
    let digest = |etag: &ETag| etag.as_str().split('#').next().unwrap().to_owned();
    digest(one) == digest(other)
}

impl World {
    fn new(tick: Duration, is_plain: bool) -> Self {
        let tree = Arc::new(MemoryTree::with_tick(tick));
        for directory in &DIRECTORIES[..2] {
            let key = Key::parse(directory).unwrap();
            tree.insert(Entry::new(key, EntryKind::Directory, attributes(0o755, 1)).unwrap()).unwrap();
        }
        Self { tree, store: Arc::new(Restamped { is_plain, ..Restamped::default() }), held: Mutex::default() }
    }

    fn here(&self, key: &Key) -> Option<Bytes> {
        self.tree.entries().into_iter().find(|(entry, _)| entry.key() == key).map(|(_, content)| content)
    }

    /// The keys of all files.
    fn files(&self) -> Vec<Key> {
        let entries = self.tree.entries().into_iter().map(|(entry, _)| entry.key().clone());
        entries.filter(|key| !key.is_directory()).collect()
    }

    fn found(&self, name: usize) -> Option<Found> {
        match block_on_ready(self.tree.lookup(&key(name))) {
            Ok(Present::Entry(found)) => Some(found),
            _ => None,
        }
    }

    /// What a user would read: what is here, or in the object for which a placeholder stands; `None` where that is gone.
    fn logical(&self, key: &Key) -> Option<Held> {
        match self.tree.residence(key)? {
            Residence::Here => self.here(key).map(Held::Text),
            Residence::Released(released) => {
                let found = object(&self.store, &released.key).filter(|(etag, _)| are_same(etag, &released.etag));
                found.map(|(_, text)| Held::Text(text))
            }
            Residence::Written(released) => {
                let here = self.here(key)?;
                if !here.contains(&0) {
                    return Some(Held::Text(here));
                }
                let found = object(&self.store, &released.key).filter(|(etag, _)| are_same(etag, &released.etag));
                found.map(|(_, text)| Held::Both { here, there: (released.key, released.etag, text) })
            }
        }
    }

    /// Whether what is here may be other than what is meant: a partial write, or a hole without a mark.
    fn is_dubious(&self) -> bool {
        self.files().iter().any(|key| match self.tree.residence(key) {
            Some(Residence::Here) => self.here(key).is_some_and(|here| here.is_empty()),
            Some(Residence::Written(_)) => self.here(key).is_some_and(|here| here.contains(&0)),
            Some(Residence::Released(_)) | None => false,
        })
    }

    /// A text that nobody has written before, of one size, so that only its bytes tell it from others.
    fn text(&self) -> Bytes {
        let mut held = self.held.lock().unwrap();
        held.written += 1;
        format!("text {:05}", held.written).into()
    }

    /// Where the bucket tells nothing of the bytes, the time has to.
    fn mtime(&self) -> i64 {
        if self.store.is_plain { 1_000 } else { 1_000 + i64::from(self.held.lock().unwrap().written) }
    }

    fn found_parent(&self, name: usize) -> bool {
        let parent = key(name).parent();
        parent.is_none_or(|parent| matches!(block_on_ready(self.tree.lookup(&parent)), Ok(Present::Entry(_))))
    }

    fn act(&self, act: Act) {
        let put = |name, held: Option<Held>| {
            let files = &mut self.held.lock().unwrap().files;
            match held {
                Some(held) => files.insert(key(name), held),
                None => files.remove(&key(name)),
            };
        };
        // All names of a file are written to at once.
        let names = |name: usize| {
            let inode = |key: &Key| match block_on_ready(self.tree.lookup(key)) {
                Ok(Present::Entry(found)) => Some(found.fingerprint.inode),
                _ => None,
            };
            let is_one = move |other: &Key| inode(other).is_some() && inode(other) == inode(&key(name));
            self.files().into_iter().filter(is_one)
        };
        let mtime = self.mtime();
        match act {
            Act::Write(name) => {
                let text = self.text();
                if self.tree.insert_file(key(name), text.clone(), attributes(0o644, mtime)).is_ok() {
                    put(name, Some(Held::Text(text)));
                }
            }
            Act::Overwrite(name) => {
                let text = self.text();
                if self.tree.set_content(&key(name), text.clone()).is_ok() {
                    let written = names(name).map(|key| (key, Held::Text(text.clone())));
                    self.held.lock().unwrap().files.extend(written);
                }
            }
            Act::Patch(name) => {
                let Some(Residence::Released(released)) = self.tree.residence(&key(name)) else { return };
                let mut here = vec![0; usize::try_from(released.size).unwrap()];
                here[0] = b'X';
                self.tree.set_content(&key(name), here).unwrap();
                for key in names(name) {
                    let held = self.logical(&key);
                    let files = &mut self.held.lock().unwrap().files;
                    match held {
                        Some(held) => files.insert(key, held),
                        None => files.remove(&key),
                    };
                }
            }
            Act::Rename(from, to) if from != to => {
                // Two names of one file both stay.
                if !names(from).any(|other| other == key(to)) && self.tree.rename(&key(from), &key(to)).is_ok() {
                    let held = self.held.lock().unwrap().files.remove(&key(from));
                    put(to, held);
                }
            }
            Act::Rename(..) => {}
            Act::RenameDirectory(from, to) => {
                let (from, to) = (Key::parse(DIRECTORIES[from]).unwrap(), Key::parse(DIRECTORIES[to]).unwrap());
                if from != to && self.tree.rename(&from, &to).is_ok() {
                    let files = &mut self.held.lock().unwrap().files;
                    for key in files.keys().filter(|key| from.holds(key)).cloned().collect::<Vec<_>>() {
                        let held = files.remove(&key).unwrap();
                        let rest = &key.as_str()[from.as_str().len()..];
                        files.insert(Key::parse(&format!("{}{rest}", to.as_str())).unwrap(), held);
                    }
                }
            }
            Act::Link(from, to) => {
                if self.tree.link(&key(from), &key(to)).is_ok() {
                    let held = self.held.lock().unwrap().files.get(&key(from)).cloned();
                    put(to, held);
                }
            }
            Act::Copy(from, to) => {
                let (Some(found), None) = (self.found(from), self.found(to)) else { return };
                let attributes = *found.entry.attributes();
                let copied = match self.tree.residence(&key(from)) {
                    Some(Residence::Here) => {
                        let text = self.here(&key(from)).unwrap();
                        // A hole stays one.
                        match text.is_empty() {
                            true => self.tree.insert_hole(key(to), found.entry.object_size(), attributes).is_ok(),
                            false => self.tree.insert_file(key(to), text, attributes).is_ok(),
                        }
                    }
                    Some(Residence::Released(released)) => {
                        let kind = EntryKind::File { size: released.size };
                        let entry = Entry::new(key(to), kind, attributes).unwrap();
                        let op = TreeOp::CreatePlaceholder { entry, released, standing: Standing::Nothing };
                        self.found_parent(to) && block_on_ready(self.tree.apply(&op)).is_ok()
                    }
                    _ => false,
                };
                if copied {
                    let held = self.held.lock().unwrap().files.get(&key(from)).cloned();
                    put(to, held);
                }
            }
            Act::Unmark(name) => {
                let Some(Residence::Released(released)) = self.tree.residence(&key(name)) else { return };
                let attributes = *self.found(name).unwrap().entry.attributes();
                self.tree.insert_hole(key(name), released.size, attributes).unwrap();
                put(name, Some(Held::Text(Bytes::new())));
            }
            Act::Remove(name) => {
                if self.tree.remove(&key(name)) {
                    put(name, None);
                }
            }
            Act::Chmod(name, mode) => {
                if let Some(Found { entry, .. }) = self.found(name) {
                    let permissions = Permissions::from_mode(mode);
                    let attributes = Attributes { permissions, ..*entry.attributes() };
                    self.tree.set_attributes(&key(name), attributes).unwrap();
                }
            }
        }
    }

    /// Whoever changes an object takes the only copy of what stands for it, and what was sent there may be replaced.
    fn stranger(&self, act: Stranger) {
        let (Stranger::Put(name) | Stranger::Delete(name)) = act;
        if let Some((_, text)) = object(&self.store, &key(name)) {
            self.held.lock().unwrap().excused.insert(text);
        }
        match act {
            Stranger::Put(_) => {
                let entry =
                    Entry::new(key(name), EntryKind::File { size: 10 }, attributes(0o640, 100_000 + self.mtime()))
                        .unwrap();
                let headers = entry.encode(&Profile::fsx());
                let options = PutOptions { headers, ..PutOptions::default() };
                block_on(self.store.put(NAMES[name], self.text().into(), &options)).unwrap();
            }
            Stranger::Delete(_) => block_on(self.store.delete(NAMES[name], &Precondition::None)).unwrap(),
        }
    }

    /// Whether everything that was written is where it has to be.
    fn check(&self, step: &Step) {
        let mut held = self.held.lock().unwrap();
        for (key, wanted) in &held.files {
            let text = match wanted {
                Held::Text(text) => text,
                Held::Both { there: (_, _, text), .. } => text,
            };
            if held.excused.contains(text) {
                continue;
            }
            let found = self.logical(key);
            // An import that keeps both gives it another name, behind the back of whoever renames it meanwhile.
            let beside = || {
                let mut besides = self.files().into_iter().filter(|other| other.as_str().contains(".local-"));
                besides.any(|other| self.logical(&other).as_ref() == Some(wanted))
            };
            assert!(
                found.as_ref() == Some(wanted) || (is_keeping_both(step) && beside()),
                "{key} after {step:?}: {wanted:?} became {found:?}, {:?}",
                self.tree.residence(key)
            );
        }
        let page = block_on(self.store.list(&ListRequest::default())).unwrap();
        for listed in page.objects {
            let Ok(key) = Key::parse(&listed.key) else { continue };
            let body = object(&self.store, &key).map(|(_, body)| body).unwrap_or_default();
            assert!(!body.contains(&0), "nobody has written what is in {key} after {step:?}");
        }
        // What came by an import is the user's from now on.
        held.files = self.files().into_iter().filter_map(|key| Some((key.clone(), self.logical(&key)?))).collect();
    }
}

fn is_keeping_both(step: &Step) -> bool {
    matches!(step, Step::Run { run: Run::Import(_, OnConflict::KeepBoth), .. })
}

/// In the middle of a run, where nothing waits.
fn block_on_ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a tree in memory is never busy")
}

fn run(world: &Arc<World>, state: &Arc<MemoryState>, capabilities: posix_s3::store::Capabilities, step: &Step) {
    let Step::Run { run, cut, seed, meanwhile } = step else { return };
    let mut trouble = Trouble::cut_at(cut.unwrap_or(usize::MAX), *seed);
    if let Some((at, acts)) = meanwhile.clone() {
        let world = Arc::clone(world);
        trouble = trouble.with_event(at, move || acts.into_iter().for_each(|act| world.act(act)));
    }
    let trouble = &Arc::new(trouble);
    let tree = TroubledTree { tree: Arc::clone(&world.tree), trouble: Arc::clone(trouble), identity: 1 };
    let store = TroubledStore { store: Arc::clone(&world.store), trouble: Arc::clone(trouble), capabilities };
    let state = TroubledState { state: Arc::clone(state), trouble: Arc::clone(trouble) };
    // One after the other, or as the seed has it.
    let jobs = if seed % 2 == 0 { Jobs::ONE } else { Jobs::default() };
    let data = DataOptions::new(Profile::fsx()).with_bucket(BUCKET).with_jobs(jobs);
    let exported = ExportOptions::new(Profile::fsx()).with_bucket(BUCKET).with_lookers(Jobs::ONE).with_jobs(jobs);
    // Whatever it reports; what counts is what is left.
    match *run {
        Run::Export { deletes, part, local_wins } => {
            let mut options = exported;
            if deletes {
                options = options.with_deletes(Deletes::Apply(Brake::RELEASED));
            }
            if part {
                options = options.with_selection(Selection::all().with_path(Key::parse("d/").unwrap()));
            }
            // What is sent then are zeros, which somebody has asked for.
            let may_be_dubious = meanwhile.iter().flat_map(|(_, acts)| acts);
            let may_be_dubious = may_be_dubious.clone().any(|act| matches!(act, Act::Patch(_) | Act::Unmark(_)));
            if local_wins && !may_be_dubious && !world.is_dubious() {
                options = options.with_on_conflict(OnConflict::Local);
            }
            drop(trouble.run(export_since(&tree, &store, &state, &options, &Silent)));
        }
        Run::ExportWithoutState => drop(trouble.run(export(&tree, &store, &exported, &Silent))),
        Run::Import(fetch, on_conflict) => {
            let options = ImportOptions::new(Profile::fsx()).with_bucket(BUCKET).with_data(fetch).with_jobs(jobs);
            let options = options.with_on_conflict(on_conflict);
            drop(trouble.run(import_since(&store, &tree, &state, &options, &Silent)));
        }
        Run::Release => {
            let now = world.tree.now();
            let options = ReleaseOptions::new(data);
            drop(trouble.run(release(&tree, &store, &state, &options, now, &Silent)));
        }
        Run::Restore => drop(trouble.run(restore(&tree, &store, Some(&state), &data, &Silent))),
    }
    let on_the_way = trouble.log().on_the_way.clone();
    // One whose ETag counts copies would take one that comes too late for the next.
    let arrives = |request: &&Request| world.store.is_plain || request.operation != Operation::ReplaceMetadata;
    on_the_way.iter().filter(arrives).for_each(|request| request.arrive(&world.store));
    let log = trouble.log();
    assert!(log.sent.iter().all(|request| !request.holds_zeros()), "zeros were sent by {step:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_was_written_is_lost(
        episodes in prop::collection::vec(episodes(), 1..24),
        tick in prop::sample::select(vec![10_000_u64, 10_000, 10_000, 10_000, 10_000, 0]),
        in_place: bool,
        is_plain in prop::bool::weighted(0.6),
        begun in prop::bool::weighted(0.7),
        is_smooth in prop::bool::weighted(0.4),
    ) {
        // Nothing is cut, and no state is lost or passed by: then even an ETag that a copy has changed is known.
        let mut steps = episodes.concat();
        if is_smooth {
            steps.retain(|step| !matches!(step, Step::Forget | Step::Run { run: Run::ExportWithoutState, .. }));
            for step in &mut steps {
                if let Step::Run { cut, .. } = step {
                    *cut = None;
                }
            }
        }
        let world = Arc::new(World::new(Duration::from_millis(tick), is_plain));
        let mut state = Arc::new(MemoryState::new());
        let replaces = if in_place { Support::Yes } else { Support::No };
        let capabilities = world.store.capabilities().with_replace_metadata(replaces);
        let plain = |run| Step::Run { run, cut: None, seed: 0, meanwhile: None };
        let begin = [
            Step::Act((0..NAMES.len()).map(Act::Write).collect()),
            plain(Run::Export { deletes: false, part: false, local_wins: false }),
            plain(Run::Release),
        ];
        for step in begin.iter().filter(|_| begun).chain(&steps) {
            let before = (0..NAMES.len()).map(|name| object(&world.store, &key(name)));
            let before: Vec<_> = before.flatten().map(|(_, text)| text).collect();
            match step {
                Step::Act(acts) => acts.iter().for_each(|act| world.act(*act)),
                Step::Stranger(act) => world.stranger(*act),
                Step::Forget => state = Arc::new(MemoryState::new()),
                Step::Run { .. } => run(&world, &state, capabilities, step),
            }
            world.check(step);
            // To whoever goes by the state, an export without it was a stranger: what it has replaced is old.
            if matches!(step, Step::Run { run: Run::ExportWithoutState, .. }) {
                world.held.lock().unwrap().excused.extend(before);
            }
        }
        // And all of it can be fetched.
        let last = plain(Run::Restore);
        run(&world, &state, capabilities, &last);
        world.check(&last);
        for key in world.files() {
            if let Some(Residence::Released(released)) = world.tree.residence(&key)
                && let Some((etag, _)) = object(&world.store, &released.key)
                && (etag == released.etag || (is_smooth && are_same(&etag, &released.etag)))
            {
                panic!("{key} was not restored: {released:?}");
            }
        }
    }
}
