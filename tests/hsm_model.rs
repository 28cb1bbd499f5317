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
    reason = "a test"
)]

mod trouble;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::TryStreamExt;
use posix_s3::engine::{
    DataOptions, ExportOptions, Fetch, ImportOptions, Jobs, MemoryState, ReleaseOptions, Selection, Silent, export,
    export_since, import_since, release, restore,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::store::{Capabilities, ETag, GetOptions, MemoryStore, ObjectStore, Precondition, PutOptions, Support};
use posix_s3::tree::{MemoryTree, Residence, Tree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, Timestamp, Uid};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use trouble::{Trouble, TroubledState, TroubledStore, TroubledTree};

const NAMES: [&str; 4] = ["a", "b", "d/a", "d/c"];
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
    Import(Fetch),
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
        1 => name.clone().prop_map(Act::Remove),
        1 => (name, 0_u32..4).prop_map(|(name, mode)| Act::Chmod(name, 0o600 | mode)),
    ]
}

/// What one user does at once: something, or a file that takes the name of one that was renamed.
fn moves() -> impl Strategy<Value = Vec<Act>> {
    let name = 0..NAMES.len();
    prop_oneof![
        acts().prop_map(|act| vec![act]),
        (name.clone(), name).prop_map(|(from, to)| vec![Act::Rename(from, to), Act::Write(from)]),
    ]
}

fn runs() -> impl Strategy<Value = Run> {
    prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.4), prop::bool::weighted(0.2))
            .prop_map(|(deletes, part, local_wins)| Run::Export { deletes, part, local_wins }),
        1 => Just(Run::ExportWithoutState),
        1 => Just(Run::Import(Fetch::Now)),
        2 => Just(Run::Import(Fetch::OnDemand)),
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
    store: Arc<MemoryStore>,
    held: Mutex<Model>,
}

#[derive(Default)]
struct Model {
    /// By name.
    files: BTreeMap<usize, Held>,
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

fn object(store: &MemoryStore, key: &Key) -> Option<(ETag, Bytes)> {
    let output = block_on(store.get(key.as_str(), &GetOptions::default())).ok()?;
    let etag = output.meta.etag;
    Some((etag, block_on(output.body.try_collect::<Vec<Bytes>>()).unwrap().concat().into()))
}

impl World {
    fn new(tick: Duration) -> Self {
        let tree = Arc::new(MemoryTree::with_tick(tick));
        tree.insert(Entry::new(Key::parse("d/").unwrap(), EntryKind::Directory, attributes(0o755, 1)).unwrap())
            .unwrap();
        Self { tree, store: Arc::new(MemoryStore::new()), held: Mutex::default() }
    }

    fn here(&self, name: usize) -> Option<Bytes> {
        self.tree.entries().into_iter().find(|(entry, _)| entry.key() == &key(name)).map(|(_, content)| content)
    }

    /// What a user would read: what is here, or in the object for which a placeholder stands; `None` where that is gone.
    fn logical(&self, name: usize) -> Option<Held> {
        match self.tree.residence(&key(name))? {
            Residence::Here => self.here(name).map(Held::Text),
            Residence::Released(released) => {
                let found = object(&self.store, &released.key).filter(|(etag, _)| *etag == released.etag);
                found.map(|(_, text)| Held::Text(text))
            }
            Residence::Written(released) => {
                let here = self.here(name)?;
                if !here.contains(&0) {
                    return Some(Held::Text(here));
                }
                let found = object(&self.store, &released.key).filter(|(etag, _)| *etag == released.etag);
                found.map(|(etag, text)| Held::Both { here, there: (released.key, etag, text) })
            }
        }
    }

    /// A text that nobody has written before, of one size, so that only its bytes tell it from others.
    fn text(&self) -> Bytes {
        let mut held = self.held.lock().unwrap();
        held.written += 1;
        format!("text {:05}", held.written).into()
    }

    fn act(&self, act: Act) {
        let put = |name, held: Option<Held>| {
            let files = &mut self.held.lock().unwrap().files;
            match held {
                Some(held) => files.insert(name, held),
                None => files.remove(&name),
            };
        };
        match act {
            Act::Write(name) => {
                let text = self.text();
                if self.tree.insert_file(key(name), text.clone(), attributes(0o644, 1_000)).is_ok() {
                    put(name, Some(Held::Text(text)));
                }
            }
            Act::Overwrite(name) => {
                let text = self.text();
                if self.tree.set_content(&key(name), text.clone()).is_ok() {
                    put(name, Some(Held::Text(text)));
                }
            }
            Act::Patch(name) => {
                let Some(Residence::Released(released)) = self.tree.residence(&key(name)) else { return };
                let mut here = vec![0; usize::try_from(released.size).unwrap()];
                here[0] = b'X';
                self.tree.set_content(&key(name), here).unwrap();
                put(name, self.logical(name));
            }
            Act::Rename(from, to) if from != to => {
                if self.tree.rename(&key(from), &key(to)).is_ok() {
                    let held = self.held.lock().unwrap().files.remove(&from);
                    put(to, held);
                }
            }
            Act::Rename(..) => {}
            Act::Remove(name) => {
                if self.tree.remove(&key(name)) {
                    put(name, None);
                }
            }
            Act::Chmod(name, mode) => {
                let found = block_on(self.tree.lookup(&key(name))).unwrap();
                if let Some(entry) = found.entry() {
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
                let entry = Entry::new(key(name), EntryKind::File { size: 10 }, attributes(0o640, 2_000)).unwrap();
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
        for (name, wanted) in &held.files {
            let text = match wanted {
                Held::Text(text) => text,
                Held::Both { there: (_, _, text), .. } => text,
            };
            if held.excused.contains(text) {
                continue;
            }
            let found = self.logical(*name);
            assert_eq!(
                found.as_ref(),
                Some(wanted),
                "{} after {step:?}: {:?}",
                NAMES[*name],
                self.tree.residence(&key(*name))
            );
        }
        for name in 0..NAMES.len() {
            let body = object(&self.store, &key(name)).map(|(_, body)| body).unwrap_or_default();
            assert!(!body.contains(&0), "nobody has written what is in {} after {step:?}", NAMES[name]);
        }
        // What came by an import is the user's from now on.
        held.files = (0..NAMES.len()).filter_map(|name| Some((name, self.logical(name)?))).collect();
    }
}

fn run(world: &Arc<World>, state: &Arc<MemoryState>, capabilities: Capabilities, step: &Step) {
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
            if local_wins {
                options = options.with_on_conflict(OnConflict::Local);
            }
            drop(trouble.run(export_since(&tree, &store, &state, &options, &Silent)));
        }
        Run::ExportWithoutState => drop(trouble.run(export(&tree, &store, &exported, &Silent))),
        Run::Import(fetch) => {
            let options = ImportOptions::new(Profile::fsx()).with_bucket(BUCKET).with_data(fetch).with_jobs(jobs);
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
    on_the_way.iter().for_each(|request| request.arrive(&world.store));
    let log = trouble.log();
    assert!(log.sent.iter().all(|request| !request.holds_zeros()), "zeros were sent by {step:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_was_written_is_lost(
        steps in prop::collection::vec(steps(), 1..24),
        tick in prop::sample::select(vec![10_000_u64, 10_000, 10_000, 10_000, 10_000, 0]),
        in_place: bool,
        begun in prop::bool::weighted(0.7),
    ) {
        let world = Arc::new(World::new(Duration::from_millis(tick)));
        let mut state = Arc::new(MemoryState::new());
        let replaces = if in_place { Support::Yes } else { Support::No };
        let capabilities = Capabilities::ALL.with_replace_metadata(replaces);
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
        for name in 0..NAMES.len() {
            if let (Some(Residence::Released(released)), Some(_)) = (world.tree.residence(&key(name)), world.logical(name)) {
                panic!("{} was not restored: {released:?}", NAMES[name]);
            }
        }
    }
}
