//! Runs with a state: cut anywhere, failing anywhere, with a state that is damaged in every way, the next run ends where an
//! untroubled one does, and nothing is lost, sent twice or deleted by mistake.
//!
//! By default some of the places are tried, others in each test; with `RESUME_ALL=1` all of them, which takes minutes.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod trouble;
mod workload;

use bytes::Bytes;
use futures_executor::block_on;
use posix_s3::engine::{
    ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Part, Report, RunError, RunErrorKind, Silent, StateError,
    StateStore, export_since, import_since,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::snapshot::SnapshotReader;
use posix_s3::store::{
    Capabilities, GetOptions, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation, Precondition, PutOptions,
    StoreErrorKind, Support,
};
use posix_s3::tree::{MemoryTree, TreeErrorKind};
use posix_s3::{Entry, EntryKind, Prefix, Profile, SymlinkTarget, Timestamp};
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex};
use trouble::{Fault, Request, Side, Trouble, TroubledState, TroubledStore, TroubledTree};
use workload::{all_objects, attributes, key, sums_agree};

/// Both sides and what is recorded of them.
struct World {
    tree: Arc<MemoryTree>,
    store: Arc<MemoryStore>,
    clock: Arc<Mutex<Timestamp>>,
    state: Arc<MemoryState>,
    capabilities: Capabilities,
}

type MakeTree = fn() -> MemoryTree;
type Objects = Vec<(String, ObjectMeta, Bytes)>;

fn later(time: Timestamp, nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanoseconds(time.nanoseconds() + nanoseconds).unwrap()
}

impl World {
    fn new(tree: MemoryTree) -> Self {
        let clock = Arc::new(Mutex::new(Timestamp::from_unix(1_000_000, 1).unwrap()));
        let ticking = Arc::clone(&clock);
        let store = MemoryStore::with_clock(move || {
            let mut clock = ticking.lock().unwrap();
            let now = *clock;
            *clock = later(now, 1_000_001);
            now
        });
        let (tree, store, state) = (Arc::new(tree), Arc::new(store), Arc::new(MemoryState::new()));
        Self { tree, store, clock, state, capabilities: Capabilities::ALL }
    }

    /// The same bucket and state beside another tree that is just like this one's, or this one's itself.
    fn copy(&self, tree: Option<MemoryTree>) -> Self {
        let copy = Self::new(MemoryTree::new());
        for object in block_on(self.store.list(&ListRequest::default())).unwrap().objects {
            let output = block_on(self.store.get(&object.key, &GetOptions::default())).unwrap();
            let body: Vec<_> = block_on(futures_util::StreamExt::collect(output.body));
            let body: Vec<u8> = body.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect();
            *copy.clock.lock().unwrap() = object.last_modified;
            let options = PutOptions { headers: output.meta.headers, ..PutOptions::default() };
            block_on(copy.store.put(&object.key, Bytes::from(body).into(), &options)).unwrap();
        }
        *copy.clock.lock().unwrap() = *self.clock.lock().unwrap();
        let tree = tree.map_or_else(|| Arc::clone(&self.tree), Arc::new);
        let copy = Self { tree, capabilities: self.capabilities, ..copy };
        copy.restore(&self.parts());
        copy
    }

    fn parts(&self) -> Vec<(Part, Vec<u8>)> {
        let parts = [Part::Snapshot, Part::Previous, Part::Next, Part::Journal];
        parts.into_iter().filter_map(|part| Some((part, self.state.get(part)?))).collect()
    }

    fn restore(&self, parts: &[(Part, Vec<u8>)]) {
        parts.iter().for_each(|(part, bytes)| self.state.set(*part, bytes.clone()));
    }

    fn edges(&self, trouble: &Arc<Trouble>) -> (TroubledTree, TroubledStore, TroubledState) {
        let (tree, store, state) = (Arc::clone(&self.tree), Arc::clone(&self.store), Arc::clone(&self.state));
        let (trouble, capabilities) = (|| Arc::clone(trouble), self.capabilities);
        (
            TroubledTree { tree, trouble: trouble(), identity: 1 },
            TroubledStore { store, trouble: trouble(), capabilities },
            TroubledState { state, trouble: trouble() },
        )
    }

    fn export(&self, trouble: &Arc<Trouble>, options: &ExportOptions) -> Option<Result<Report, RunError>> {
        let (tree, store, state) = self.edges(trouble);
        trouble.run(export_since(&tree, &store, &state, options, &Silent))
    }

    fn import(&self, trouble: &Arc<Trouble>, options: &ImportOptions) -> Option<Result<Report, RunError>> {
        let (tree, store, state) = self.edges(trouble);
        trouble.run(import_since(&store, &tree, &state, options, &Silent))
    }

    /// An untroubled run.
    fn export_all(&self, options: &ExportOptions) -> Report {
        let report = self.export(&Arc::new(Trouble::none()), options).unwrap().unwrap();
        sums_agree(&report);
        report
    }

    fn import_all(&self, options: &ImportOptions) -> Report {
        let report = self.import(&Arc::new(Trouble::none()), options).unwrap().unwrap();
        sums_agree(&report);
        report
    }

    fn objects(&self) -> Objects {
        block_on(all_objects(&self.store))
    }

    fn snapshot_is_whole(&self) {
        if let Some(snapshot) = self.state.get(Part::Snapshot) {
            SnapshotReader::open(Cursor::new(snapshot)).unwrap().verify().unwrap();
        }
    }
}

fn exporting(jobs: usize) -> ExportOptions {
    ExportOptions::new(Profile::fsx())
        .with_bucket("bucket")
        .with_jobs(Jobs::new(jobs).unwrap())
        .with_lookers(Jobs::new(jobs.min(2)).unwrap())
        .with_deletes(Deletes::Apply(Brake::default()))
}

fn importing(jobs: usize) -> ImportOptions {
    ImportOptions::new(Profile::fsx())
        .with_bucket("bucket")
        .with_jobs(Jobs::new(jobs).unwrap())
        .with_deletes(Deletes::Apply(Brake::default()))
}

fn changes(report: &Report) -> u64 {
    let calls = &report.store_calls;
    calls.put + calls.copy + calls.delete
}

fn link(path: &str, target: &[u8]) -> Entry {
    let target = SymlinkTarget::parse(target).unwrap();
    Entry::new(key(path), EntryKind::Symlink { target }, attributes(0o777, 4)).unwrap()
}

fn directory(path: &str, mode: u32) -> Entry {
    Entry::new(key(path), EntryKind::Directory, attributes(mode, 6)).unwrap()
}

/// Everything that can become of something in a tree.
fn change(tree: &MemoryTree) {
    tree.set_content(&key("a/file-1"), vec![b'y'; 100]).unwrap();
    tree.set_content(&key("a/b/file-2"), vec![b'x'; 777]).unwrap();
    tree.set_attributes(&key("file-6"), attributes(0o640, 9)).unwrap();
    tree.set_attributes(&key("a/b/c/file-3"), attributes(0o603, 1000)).unwrap();
    tree.set_attributes(&key("a/b/"), attributes(0o755, 5)).unwrap();
    tree.rename(&key("d/file-4"), &key("d/renamed")).unwrap();
    tree.rename(&key("a/file-7"), &key("d/file-10")).unwrap();
    tree.remove(&key("d/file-5"));
    tree.insert_file(key("a/new"), "new", attributes(0o644, 20)).unwrap();
    tree.link(&key("a/file-13"), &key("a/b/hard")).unwrap();
    tree.insert(link("link-0", b"elsewhere")).unwrap();
    tree.insert(directory("a/inner/", 0o700)).unwrap();
    tree.insert_file(key("a/inner/file"), "inner", attributes(0o600, 20)).unwrap();
    tree.remove(&key("file-12"));
    tree.insert(directory("file-12/", 0o711)).unwrap();
    tree.insert_file(key("file-12/file"), "below what was a file", attributes(0o600, 20)).unwrap();
    tree.remove(&key("empty/"));
    tree.insert_file(key("empty"), "was a directory", attributes(0o600, 20)).unwrap();
    tree.rename(&key("a/b/c/"), &key("d/c/")).unwrap();
}

fn changed_tree() -> MemoryTree {
    let tree = workload::tree();
    change(&tree);
    tree
}

/// Both sides agreed, and then the tree was changed.
fn changed() -> World {
    let world = World::new(workload::tree());
    world.export_all(&exporting(3));
    world.copy(Some(changed_tree()))
}

/// Few entries, of which one each is new, written, changed and removed.
fn few() -> World {
    let tree = few_entries();
    let world = World::new(tree);
    world.export_all(&exporting(1));
    let tree = few_entries();
    change_few(&tree);
    world.copy(Some(tree))
}

fn few_entries() -> MemoryTree {
    let tree = MemoryTree::new();
    tree.insert(directory("d/", 0o750)).unwrap();
    for name in ["changed", "d/removed", "d/same", "written"] {
        tree.insert_file(key(name), name, attributes(0o644, 9)).unwrap();
    }
    tree.insert(link("d/link", b"same")).unwrap();
    tree
}

fn change_few(tree: &MemoryTree) {
    tree.set_attributes(&key("changed"), attributes(0o600, 9)).unwrap();
    tree.set_content(&key("written"), "rewritten").unwrap();
    tree.remove(&key("d/removed"));
    tree.insert_file(key("d/new"), "new", attributes(0o644, 9)).unwrap();
    tree.insert(link("d/link", b"other")).unwrap();
}

/// Where a run is cut: everywhere, or at every n-th step from another one on each time.
fn places(step: usize, from: usize) -> impl Iterator<Item = usize> {
    let step = if std::env::var_os("RESUME_ALL").is_some() { 1 } else { step };
    (from % step..).step_by(step)
}

/// When the requests arrive that were on their way when a run was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Never,
    /// When the next run begins.
    First,
    /// When the next run is at this step.
    During(usize),
    /// When the next run has ended.
    Last,
}

/// Cuts an export, resumes it and checks what comes of it. Says whether it was cut.
fn cut_export(world: &World, expected: &Objects, jobs: usize, cut: usize, seed: usize, arrival: Arrival) -> bool {
    let what = format!("{jobs} jobs cut at {cut}, seed {seed}, {arrival:?}");
    let trouble = Arc::new(Trouble::cut_at(cut, seed));
    if world.export(&trouble, &exporting(jobs)).is_some() {
        return false;
    }
    resume_export(world, expected, jobs, &trouble, arrival, &what);
    true
}

/// Lets the next run after one that was cut go to its end, and one more.
fn resume_export(
    world: &World,
    expected: &Objects,
    jobs: usize,
    cut: &Arc<Trouble>,
    arrival: Arrival,
    what: &str,
) -> Report {
    let late: Vec<Request> = std::mem::take(&mut cut.log().on_the_way);
    let arrive = {
        let store = Arc::clone(&world.store);
        move || late.iter().for_each(|request| request.arrive(&store))
    };
    let mut at_the_end = None;
    let resumed = Arc::new(match arrival {
        Arrival::Never => Trouble::none(),
        Arrival::First => Trouble::none().with_event(0, arrive),
        Arrival::During(step) => Trouble::none().with_event(step, arrive),
        Arrival::Last => {
            at_the_end = Some(arrive);
            Trouble::none()
        }
    });
    let report = world.export(&resumed, &exporting(jobs)).unwrap().unwrap();
    sums_agree(&report);
    assert_eq!((report.failed, report.conflicts), (0, 0), "{what}: {:?}", report.problems);
    // What arrived before it began has happened; what nobody has heard of is found to be there.
    let known = {
        let log = cut.log();
        if arrival == Arrival::Never { log.happened.clone() } else { log.acknowledged.clone() }
    };
    for request in &known {
        assert!(!resumed.log().sent.contains(request), "{what}: {} {} again", request.operation, request.key);
    }
    if let Some(arrive) = at_the_end {
        arrive();
    }
    assert!(world.objects() == *expected, "{what}: {:?}", difference(&world.objects(), expected));
    let again = world.export_all(&exporting(jobs));
    assert_eq!((changes(&again), again.failed, again.conflicts), (0, 0, 0), "{what}: {:?}", again.problems);
    assert_eq!((again.unchanged, again.gone), (again.entries, 0), "{what}");
    assert!(world.objects() == *expected, "{what}, once more");
    report
}

/// The keys of what differs.
fn difference(found: &Objects, expected: &Objects) -> Vec<String> {
    let missing = expected.iter().filter(|object| !found.contains(object)).map(|object| format!("-{}", object.0));
    missing
        .chain(found.iter().filter(|object| !expected.contains(object)).map(|object| format!("+{}", object.0)))
        .collect()
}

fn cut_everywhere(
    start: &World,
    expected: &Objects,
    jobs: usize,
    step: usize,
    from: usize,
    arrival: impl Fn(usize) -> Arrival,
) {
    for cut in places(step, from) {
        let seed = cut % 3;
        if !cut_export(&start.copy(None), expected, jobs, cut, seed, arrival(cut)) {
            return assert!(cut > 20, "only {cut} places to cut");
        }
    }
}

fn expected_of(start: &World) -> Objects {
    let world = start.copy(None);
    let report = world.export_all(&exporting(3));
    assert_eq!((report.failed, report.conflicts), (0, 0), "{:?}", report.problems);
    world.objects()
}

/// Cuts an export with one, some and many jobs, and lets what was under way arrive never, at once, late or last; where it
/// does arrive, every `step`th cut is made.
fn cut_with_every_arrival(start: &World, step: usize) {
    let expected = expected_of(start);
    for (jobs, from) in [(1, 0), (3, 1), (16, 2)] {
        cut_everywhere(start, &expected, jobs, 7, from, |_| Arrival::Never);
        cut_everywhere(start, &expected, jobs, step, from, |_| Arrival::First);
        cut_everywhere(start, &expected, jobs, step, from + 3, |cut| Arrival::During(cut * 7 % 300));
        cut_everywhere(start, &expected, jobs, step, from + 6, |_| Arrival::Last);
    }
}

#[test]
fn a_first_export_that_is_cut_anywhere_is_completed_by_the_next() {
    cut_with_every_arrival(&World::new(workload::tree()), 23);
}

#[test]
fn an_export_of_changes_that_is_cut_anywhere_is_completed_by_the_next() {
    cut_with_every_arrival(&changed(), 11);
}

#[test]
fn with_a_store_that_can_do_less_a_cut_export_is_completed_as_well() {
    let less = [
        Capabilities::ALL.with_replace_metadata(Support::No),
        Capabilities::ALL.with_md5_etags(Support::No),
        // Without preconditions, what arrives late takes the place of what is newer; what has arrived is seen.
        Capabilities::ALL.with_preconditions(Support::No),
    ];
    for (from, capabilities) in less.into_iter().enumerate() {
        let start = World::new(workload::tree());
        let start = World { capabilities, ..start };
        start.export_all(&exporting(3));
        let start = start.copy(Some(changed_tree()));
        let expected = expected_of(&start);
        for jobs in [1, 3] {
            cut_everywhere(&start, &expected, jobs, 23, from * 7 + jobs, |_| Arrival::Never);
            cut_everywhere(&start, &expected, jobs, 31, from * 7 + jobs, |_| Arrival::First);
        }
    }
}

/// What somebody does to a file between the cut and the next run, while a request for it was on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    /// It is written again.
    Write,
    /// Its permissions are changed again.
    Chmod,
    /// It gets another name.
    Rename,
    /// It is removed; or, where a delete was on its way, it is there again.
    Undo,
}

impl Edit {
    fn apply(self, tree: &MemoryTree, request: &Request) {
        let key = key(&request.key);
        if request.operation == Operation::Delete {
            // Its parent may be gone, or something else there.
            let _ = match (self, key.is_directory()) {
                (Self::Rename, _) => Ok(()),
                (_, true) => tree.insert(directory(key.as_str(), 0o700)),
                (Self::Undo, false) => tree.insert_file(key.clone(), vec![b'x'; 500], attributes(0o644, 9)),
                (_, false) => tree.insert_file(key.clone(), "it is back", attributes(0o644, 30)),
            };
            return;
        }
        match self {
            Self::Write if key.is_directory() => {}
            Self::Write => drop(tree.set_content(&key, "written again")),
            Self::Chmod => tree.set_attributes(&key, attributes(0o711, 40)).unwrap(),
            Self::Rename if key.is_directory() => {}
            Self::Rename => tree.rename(&key, &workload::key(&format!("{}-moved", key.as_str()))).unwrap(),
            Self::Undo => drop(tree.remove(&key)),
        }
    }
}

/// Whether a later run can end where it should, whenever what was under way arrives.
fn can_be_mended(start: &World, request: &Request, edit: Edit, arrival: Arrival, happened: bool) -> bool {
    let is_late = matches!(arrival, Arrival::During(_) | Arrival::Last);
    match request.operation {
        // The version that a copy or a delete is for is told by its ETag, which a new version of the same bytes shares: S3
        // has nothing better.
        Operation::Delete | Operation::ReplaceMetadata if is_late => false,
        // Nothing is recorded of it but that it was intended, and nobody asks about what is not there.
        Operation::Put if matches!(edit, Edit::Rename | Edit::Undo) => {
            let is_new = block_on(start.store.head(&request.key)).is_err();
            !is_new || (arrival == Arrival::Never && !happened)
        }
        _ => true,
    }
}

/// Cuts an export while requests are under way, changes what they are about, resumes and checks.
fn edit_after_cut(
    (start, make): (&World, MakeTree),
    jobs: usize,
    (step, from): (usize, usize),
    edit: Edit,
    arrival: Arrival,
) {
    for cut in places(step, from) {
        let trouble = Arc::new(Trouble::cut_at(cut, cut % 3));
        let world = start.copy(Some(make()));
        if world.export(&trouble, &exporting(jobs)).is_some() {
            return;
        }
        let under_way: Vec<(Request, bool)> = {
            let log = trouble.log();
            let unheard = log.happened.iter().filter(|request| !log.acknowledged.contains(request));
            let on_the_way = log.on_the_way.iter().map(|request| (request.clone(), false));
            on_the_way.chain(unheard.map(|request| (request.clone(), true))).collect()
        };
        let mended = |(request, happened): &(Request, bool)| can_be_mended(start, request, edit, arrival, *happened);
        if under_way.is_empty() || !under_way.iter().all(mended) {
            continue;
        }
        under_way.iter().for_each(|(request, _)| edit.apply(&world.tree, request));
        let expected = bucket_of(&world.tree);
        let shown: Vec<_> =
            under_way.iter().map(|(request, _)| format!("{} {}", request.operation, request.key)).collect();
        let what = format!("{jobs} jobs cut at {cut}, {edit:?}, {arrival:?}: {shown:?}");
        resume_export(&world, &expected, jobs, &trouble, arrival, &what);
    }
}

#[test]
fn what_is_changed_again_between_the_cut_and_the_next_run_ends_in_the_bucket() {
    let (first, changed) = (World::new(workload::tree()), changed());
    let starts: [(&World, MakeTree); 2] = [(&first, workload::tree), (&changed, changed_tree)];
    let edits = [Edit::Write, Edit::Chmod, Edit::Rename, Edit::Undo];
    for (number, edit) in edits.into_iter().enumerate() {
        for arrival in [Arrival::Never, Arrival::First, Arrival::During(60), Arrival::Last] {
            for (start, from) in starts.into_iter().zip([1, 0]) {
                for jobs in [1, 3, 16] {
                    edit_after_cut(start, jobs, (61 - 20 * from, number * 5 + jobs), edit, arrival);
                }
            }
        }
    }
}

/// A run that is cut when the first request for a key has happened and the run does not know yet.
fn unheard(world: &World, operation: Operation, path: &str) -> Arc<Trouble> {
    for cut in 0.. {
        let (copy, trouble) = (world.copy(None), Arc::new(Trouble::cut_at(cut, 0)));
        assert!(copy.export(&trouble, &exporting(1)).is_none(), "{operation} {path} is never under way");
        let is_it = |request: &Request| request.operation == operation && request.key == path;
        let happened = trouble.log().happened.iter().any(is_it);
        if happened && !trouble.log().acknowledged.iter().any(is_it) {
            world.export(&Arc::new(Trouble::cut_at(cut, 0)), &exporting(1));
            return trouble;
        }
    }
    panic!("the run ends")
}

/// What an untroubled export makes of a tree.
fn bucket_of(tree: &Arc<MemoryTree>) -> Objects {
    expected_of(&World { tree: Arc::clone(tree), ..World::new(MemoryTree::new()) })
}

#[test]
fn a_file_that_is_removed_after_a_put_that_nobody_heard_of_is_deleted() {
    let world = few();
    let cut = unheard(&world, Operation::Put, "written");
    assert!(world.tree.remove(&key("written")));
    resume_export(&world, &bucket_of(&world.tree), 1, &cut, Arrival::Never, "removed");
}

#[test]
fn a_file_that_is_back_after_a_delete_that_nobody_heard_of_is_put() {
    let world = few();
    let cut = unheard(&world, Operation::Delete, "d/removed");
    world.tree.insert_file(key("d/removed"), "back", attributes(0o644, 50)).unwrap();
    resume_export(&world, &bucket_of(&world.tree), 1, &cut, Arrival::Never, "back");
}

#[test]
fn what_was_put_back_after_a_request_that_nobody_heard_of_is_put_back_in_the_bucket() {
    let world = few();
    let cut = unheard(&world, Operation::ReplaceMetadata, "changed");
    world.tree.set_attributes(&key("changed"), attributes(0o644, 9)).unwrap();
    resume_export(&world, &bucket_of(&world.tree), 1, &cut, Arrival::Never, "mode");

    let world = few();
    let cut = unheard(&world, Operation::Put, "written");
    world.tree.set_content(&key("written"), "written").unwrap();
    world.tree.set_attributes(&key("written"), attributes(0o644, 9)).unwrap();
    resume_export(&world, &bucket_of(&world.tree), 1, &cut, Arrival::Never, "content");
}

#[test]
fn an_export_that_is_cut_twice_is_completed_by_the_third() {
    for (start, expected) in [few(), World::new(few_entries())].map(|start| {
        let expected = expected_of(&start);
        (start, expected)
    }) {
        for (jobs, from) in [(1, 0), (3, 1), (16, 2)] {
            for first in places(5, from) {
                let once = start.copy(None);
                let trouble = Arc::new(Trouble::cut_at(first, first % 3));
                if once.export(&trouble, &exporting(jobs)).is_some() {
                    break;
                }
                for second in places(7, first) {
                    let (twice, again) = (once.copy(None), Arc::new(Trouble::cut_at(second, second % 3)));
                    if twice.export(&again, &exporting(jobs)).is_some() {
                        break;
                    }
                    let what = format!("{jobs} jobs cut at {first} and {second}");
                    for request in &trouble.log().happened {
                        assert!(!again.log().sent.contains(request), "{what}: {} again", request.key);
                    }
                    again.log().happened.extend(trouble.log().happened.clone());
                    again.log().on_the_way.extend(trouble.log().on_the_way.clone());
                    let arrival = [Arrival::Never, Arrival::First, Arrival::During(second), Arrival::Last][second % 4];
                    resume_export(&twice, &expected, jobs, &again, arrival, &what);
                }
            }
        }
    }
}

#[test]
fn a_journal_of_which_only_what_was_synced_is_left_is_enough() {
    let start = changed();
    let expected = expected_of(&start);
    for (jobs, from) in [(1, 0), (3, 1), (16, 2)] {
        for cut in places(9, from) {
            let (world, trouble) = (start.copy(None), Arc::new(Trouble::cut_at(cut, 0)));
            if world.export(&trouble, &exporting(jobs)).is_some() {
                break;
            }
            if let Some(mut journal) = world.state.get(Part::Journal) {
                journal.truncate(trouble.durable());
                world.state.set(Part::Journal, journal);
            }
            let what = format!("{jobs} jobs, the power gone at {cut}");
            resume_export(&world, &expected, jobs, &trouble, Arrival::Never, &what);
        }
    }
}

// ------------------------------------------------------------------------------------------------------ imports

/// A bucket in which everything has become of something that is in the tree of the one before.
fn change_bucket(store: &MemoryStore) {
    let put = |key: &str, body: &'static str, mode: &str, mtime: &str| {
        let mut options = PutOptions::default();
        for (name, value) in
            [("permissions", mode), ("owner", "1000"), ("group", "1001"), ("mtime", mtime), ("atime", mtime)]
        {
            let name = http::HeaderName::try_from(format!("x-amz-meta-file-{name}")).unwrap();
            options.headers.insert(name, value.parse().unwrap());
        }
        block_on(store.put(key, Bytes::from(body).into(), &options)).unwrap();
    };
    let delete = |key: &str| block_on(store.delete(key, &Precondition::None)).unwrap();
    put("a/file-1", "written", "0100644", "50000000000ns");
    put("a/new", "new", "0100600", "50000000000ns");
    put("a/inner/", "", "0040700", "50000000000ns");
    put("a/inner/file", "inner", "0100600", "50000000000ns");
    put("link-0", "elsewhere", "0120777", "50000000000ns");
    put("a/b/", "", "0040755", "50000000000ns");
    delete("d/file-5");
    delete("a/b/c/file-3");
    // A file becomes a directory, and a directory a file.
    delete("file-12");
    put("file-12/file", "below what was a file", "0100600", "50000000000ns");
    delete("empty/");
    put("empty", "was a directory", "0100600", "50000000000ns");
    // Metadata alone.
    let head = block_on(store.head("file-6")).unwrap();
    let mut options = PutOptions { headers: head.headers, ..PutOptions::default() };
    options.headers.insert("x-amz-meta-file-permissions", "0100640".parse().unwrap());
    block_on(store.replace_metadata("file-6", &options)).unwrap();
}

/// A bucket to be imported, and where the import starts from: nothing, or an import of the bucket as it was.
fn to_import(is_first: bool) -> World {
    let mut world = World::new(MemoryTree::new());
    world.store = Arc::new(workload::bucket());
    if !is_first {
        world.import_all(&importing(3));
        change_bucket(&world.store);
    }
    world
}

/// What an import ends with, beside what is refused.
fn is_fine(report: &Report) -> bool {
    (report.failed, report.conflicts, report.skipped) == (2, 0, 2)
}

fn cut_import_everywhere(is_first: bool, jobs: usize, (step, from): (usize, usize)) {
    let untroubled = to_import(is_first);
    let report = untroubled.import_all(&importing(jobs));
    assert!(is_fine(&report), "{:?}", report.problems);
    let expected = untroubled.tree.entries();
    for cut in places(step, from) {
        let (world, trouble) = (to_import(is_first), Arc::new(Trouble::cut_at(cut, cut % 3)));
        let what = format!("{jobs} jobs cut at {cut}");
        if world.import(&trouble, &importing(jobs)).is_some() {
            return assert!(cut > 20, "only {cut} places to cut");
        }
        let report = world.import_all(&importing(jobs));
        assert!(is_fine(&report), "{what}: {:?}", report.problems);
        assert_eq!(world.tree.entries(), expected, "{what}");
        let again = Arc::new(Trouble::none());
        let report = world.import(&again, &importing(jobs)).unwrap().unwrap();
        sums_agree(&report);
        assert!(is_fine(&report), "{what}: {:?}", report.problems);
        // What is refused is fetched to be refused.
        assert_eq!(again.log().tree_changes, [] as [String; 0], "{what}");
        assert!(report.store_calls.get <= 2 && report.unchanged + 4 == report.entries, "{what}: {report:?}");
        assert_eq!(world.tree.entries(), expected, "{what}, once more");
    }
}

#[test]
fn a_first_import_that_is_cut_anywhere_is_completed_by_the_next() {
    for (jobs, from) in [(1, 0), (3, 1), (16, 2)] {
        cut_import_everywhere(true, jobs, (7, from));
    }
}

#[test]
fn an_import_of_changes_that_is_cut_anywhere_is_completed_by_the_next() {
    for (jobs, from) in [(1, 0), (3, 1), (16, 2)] {
        cut_import_everywhere(false, jobs, (7, from));
    }
}

#[test]
fn what_is_edited_between_the_cut_and_the_next_import_is_kept() {
    // One is there already and its object has changed, one is there and has not, one has just been made or comes yet.
    let edited = ["a/file-1", "d/file-4", "a/new"];
    for (jobs, from) in [(1, 0), (3, 1), (16, 2)] {
        for cut in places(13, from) {
            let (world, trouble) = (to_import(false), Arc::new(Trouble::cut_at(cut, cut % 3)));
            let what = format!("{jobs} jobs cut at {cut}");
            if world.import(&trouble, &importing(jobs)).is_some() {
                break;
            }
            for path in edited {
                world.tree.insert_file(key(path), format!("{path}, edited"), attributes(0o644, 60)).unwrap();
            }
            world.tree.insert_file(key("mine"), "mine", attributes(0o644, 60)).unwrap();
            let objects = world.objects();
            let mut is_recorded = false;
            for _ in 0..2 {
                let report = world.import_all(&importing(jobs));
                let conflicts: Vec<&str> = report
                    .problems
                    .iter()
                    .filter(|problem| problem.outcome == Outcome::Conflict)
                    .map(|problem| &*problem.key)
                    .collect();
                // What was recorded by then has changed here alone.
                is_recorded = conflicts.is_empty();
                assert!(is_recorded || conflicts == ["a/file-1", "a/new"], "{what}: {:?}", report.problems);
                let entries = world.tree.entries();
                let content =
                    |path: &str| entries.iter().find(|(entry, _)| entry.key().as_str() == path).unwrap().1.clone();
                for path in edited {
                    assert_eq!(content(path), format!("{path}, edited"), "{what}");
                }
                assert_eq!(content("mine"), "mine", "{what}");
            }
            assert!(world.objects() == objects, "{what}: an import changes no bucket");
            // What was edited here alone is exported, and what is in conflict stays.
            let report = world.export_all(&exporting(jobs));
            assert_eq!((report.failed, report.conflicts), (0, if is_recorded { 0 } else { 2 }), "{what}: {report:#?}");
            let now = world.objects();
            let body = |path: &str| now.iter().find(|(key, ..)| key == path).unwrap().2.clone();
            assert_eq!((body("mine"), body("d/file-4")), ("mine".into(), "d/file-4, edited".into()), "{what}");
            let is_exported = |key: &str| key == "d/file-4" || (is_recorded && edited.contains(&key));
            assert!(objects.iter().all(|object| is_exported(&object.0) || now.contains(object)), "{what}");
        }
    }
}

#[test]
fn what_has_changed_here_alone_is_kept_though_last_modified_has_whole_seconds() {
    for on_conflict in [OnConflict::Fail, OnConflict::Store, OnConflict::Newest, OnConflict::KeepBoth] {
        let world = to_import(true);
        world.import_all(&importing(3));
        let tree = &world.tree;
        tree.set_content(&key("a/file-1"), "edited").unwrap();
        tree.set_attributes(&key("file-0"), attributes(0o777, 9)).unwrap();
        tree.set_attributes(&key("d/"), attributes(0o777, 9)).unwrap();
        tree.insert(link("link-0", b"edited")).unwrap();
        for removed in ["a/file-7", "a/b/c/", "empty/", "link-2", "file-6"] {
            assert!(tree.remove(&key(removed)));
        }
        tree.insert(directory("file-6/", 0o700)).unwrap();
        let edited = tree.entries();
        let report = world.import_all(&importing(3).with_on_conflict(on_conflict));
        assert!(is_fine(&report), "{on_conflict:?}: {:?}", report.problems);
        assert_eq!(tree.entries(), edited, "{on_conflict:?}");
    }
}

/// An import says nothing of what it is about to make, so what a cut one has made looks like an edit.
#[test]
fn what_changes_in_the_bucket_after_a_cut_import_is_a_conflict_and_both_sides_keep_it() {
    let whole = Arc::new(Trouble::none());
    to_import(false).import(&whole, &importing(1)).unwrap().unwrap();
    // Everything is made, and nothing is recorded yet.
    let (world, trouble) = (to_import(false), Arc::new(Trouble::cut_at(whole.steps() - 10, 0)));
    assert!(world.import(&trouble, &importing(1)).is_none());
    assert!(trouble.log().tree_changes.contains(&"write a/new".to_owned()));
    block_on(world.store.put("a/new", Bytes::from("newer").into(), &PutOptions::default())).unwrap();
    let (entries, objects) = (world.tree.entries(), world.objects());
    let report = world.import_all(&importing(1));
    let conflicts: Vec<&str> = report
        .problems
        .iter()
        .filter(|problem| problem.outcome == Outcome::Conflict)
        .map(|problem| &*problem.key)
        .collect();
    assert_eq!(conflicts, ["a/new"]);
    let of = |entries: &[(Entry, Bytes)]| entries.iter().find(|(entry, _)| entry.key().as_str() == "a/new").cloned();
    assert_eq!(of(&world.tree.entries()), of(&entries));
    assert_eq!(world.objects(), objects);
    // Whoever lets the bucket win has its version.
    let report = world.import_all(&importing(1).with_on_conflict(OnConflict::Store));
    assert!(is_fine(&report), "{:?}", report.problems);
    assert_eq!(of(&world.tree.entries()).unwrap().1, "newer");
}

#[test]
fn an_import_after_a_cut_export_does_not_bring_back_what_the_tree_had() {
    for on_conflict in [OnConflict::Fail, OnConflict::Store, OnConflict::Newest, OnConflict::KeepBoth] {
        for path in ["written", "d/new"] {
            for edit in [Edit::Write, Edit::Undo, Edit::Rename] {
                let world = few();
                let cut = unheard(&world, Operation::Put, path);
                let request = cut.log().happened.iter().find(|request| request.key == path).unwrap().clone();
                edit.apply(&world.tree, &request);
                let entries = world.tree.entries();
                let report = world.import_all(&importing(1).with_on_conflict(on_conflict));
                assert_eq!(report.conflicts, 0, "{on_conflict:?} {path} {edit:?}: {:?}", report.problems);
                assert_eq!(world.tree.entries(), entries, "{on_conflict:?} {path} {edit:?}");
                world.export_all(&exporting(1));
                resume_export(&world, &bucket_of(&world.tree), 1, &Arc::new(Trouble::none()), Arrival::Never, path);
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------- faults

/// Whether an export that met a fault says so.
fn says_so(result: &Result<Report, RunError>, failed: &str) -> bool {
    match result {
        Err(_) => true,
        Ok(report) => {
            // What failed once under a condition is tried again.
            report.failed + report.conflicts > 0 || (failed.starts_with("put") || failed.starts_with("replacing"))
        }
    }
}

fn report_of(result: Result<Report, RunError>) -> Report {
    let report = result.unwrap_or_else(|error| error.report().clone());
    sums_agree(&report);
    report
}

/// Lets a call fail in an export, and checks that it is said, that nothing is lost, and where the next run ends.
fn failing_export(start: &World, expected: &Objects, jobs: usize, side: Side, call: usize, fault: Fault) -> bool {
    let (world, trouble) = (start.copy(None), Arc::new(Trouble::failing(side, call, fault)));
    let result = world.export(&trouble, &exporting(jobs)).unwrap();
    let Some(failed) = trouble.log().failed.clone() else { return false };
    let what = format!("{jobs} jobs, call {call} to the {side:?}, {failed}: {fault:?}");
    let absorbed = fault == Fault::Store(StoreErrorKind::PreconditionFailed);
    let vanished =
        matches!(fault, Fault::Tree(TreeErrorKind::NotFound)) && result.as_ref().is_ok_and(|report| report.skipped > 0);
    assert!(
        says_so(&result, if absorbed { &failed } else { "" }) || vanished,
        "{what}: {:?}",
        result.map(|report| report.problems)
    );
    if side == Side::State {
        assert!(matches!(result.as_ref().map_err(RunError::kind), Err(RunErrorKind::State(_))), "{what}");
        let log = trouble.log();
        // What is side by side with it may still be sent; it was announced before.
        let (behind, is_lost) =
            (log.sent.len() - log.sent_before, !failed.starts_with("read") && !failed.starts_with("open"));
        assert!(!is_lost || behind < jobs, "{what}: {behind} requests behind a failed state");
        if log.sent.is_empty() {
            assert_eq!(world.objects(), start.objects(), "{what}");
        }
    }
    world.snapshot_is_whole();
    report_of(result);
    // Of what there was, everything is what it was or what it becomes.
    let (was, is) = (start.objects(), world.objects());
    assert!(is.iter().all(|object| was.contains(object) || expected.contains(object)), "{what}");
    assert!(was.iter().all(|object| is.contains(object) || !expected.contains(object)), "{what}");
    resume_export(&world, expected, jobs, &trouble, Arrival::Never, &what);
    true
}

fn fail_everywhere(start: &World, jobs: usize, side: Side, faults: &[Fault], (step, from): (usize, usize)) {
    let expected = expected_of(start);
    for (number, fault) in faults.iter().enumerate() {
        for call in places(step, from + number) {
            if !failing_export(start, &expected, jobs, side, call, *fault) {
                assert!(call > 4, "only {call} calls");
                break;
            }
        }
    }
}

#[test]
fn whichever_request_of_an_export_fails_is_reported_and_the_next_run_completes() {
    let kinds = [
        StoreErrorKind::Transient,
        StoreErrorKind::Throttled,
        StoreErrorKind::Denied,
        StoreErrorKind::Other,
        StoreErrorKind::PreconditionFailed,
    ];
    let faults: Vec<Fault> = kinds.into_iter().map(Fault::Store).chain([Fault::LostReply]).collect();
    for (jobs, from) in [(1, 0), (3, 2), (16, 4)] {
        fail_everywhere(&changed(), jobs, Side::Store, &faults, (5, from));
        fail_everywhere(&World::new(workload::tree()), jobs, Side::Store, &faults, (9, from));
    }
}

#[test]
fn whichever_call_to_the_tree_fails_in_an_export_is_reported_and_the_next_run_completes() {
    let faults = [TreeErrorKind::Other, TreeErrorKind::NotFound, TreeErrorKind::Denied].map(Fault::Tree);
    for (jobs, from) in [(1, 0), (3, 2), (16, 4)] {
        fail_everywhere(&changed(), jobs, Side::Tree, &faults, (5, from));
        fail_everywhere(&World::new(workload::tree()), jobs, Side::Tree, &faults, (9, from));
    }
}

#[test]
fn whichever_call_to_the_state_fails_ends_the_run_and_loses_nothing() {
    let faults = [io::ErrorKind::StorageFull, io::ErrorKind::Other].map(Fault::State);
    for (jobs, from) in [(1, 0), (3, 2), (16, 4)] {
        fail_everywhere(&changed(), jobs, Side::State, &faults, (3, from));
        fail_everywhere(&World::new(workload::tree()), jobs, Side::State, &faults, (3, from));
    }
}

/// Lets a call fail in an import, and checks that it is said, and where the next run ends.
fn fail_everywhere_in_import(is_first: bool, jobs: usize, side: Side, faults: &[Fault], (step, from): (usize, usize)) {
    let untroubled = to_import(is_first);
    let usual = untroubled.import_all(&importing(jobs)).problems;
    let expected = untroubled.tree.entries();
    for (number, fault) in faults.iter().enumerate() {
        for call in places(step, from + number) {
            let (world, trouble) = (to_import(is_first), Arc::new(Trouble::failing(side, call, *fault)));
            let objects = world.objects();
            let result = world.import(&trouble, &importing(jobs)).unwrap();
            let Some(failed) = trouble.log().failed.clone() else { break };
            let what = format!("{jobs} jobs, call {call} to the {side:?}, {failed}: {fault:?}");
            if side == Side::State {
                assert!(matches!(result.as_ref().map_err(RunError::kind), Err(RunErrorKind::State(_))), "{what}");
            }
            let said = result.as_ref().map_or(true, |report| report.problems != usual);
            assert!(said, "{what}: {:?}", result.map(|report| report.problems));
            report_of(result);
            world.snapshot_is_whole();
            assert!(world.objects() == objects, "{what}");
            let report = world.import_all(&importing(jobs));
            assert!(is_fine(&report), "{what}: {:?}", report.problems);
            assert_eq!(world.tree.entries(), expected, "{what}");
            let again = Arc::new(Trouble::none());
            let report = world.import(&again, &importing(jobs)).unwrap().unwrap();
            assert!(is_fine(&report) && report.store_calls.get <= 2, "{what}: {report:?}");
            assert_eq!(again.log().tree_changes, [] as [String; 0], "{what}");
        }
    }
}

#[test]
fn whichever_request_of_an_import_fails_is_reported_and_the_next_run_completes() {
    let kinds = [StoreErrorKind::Transient, StoreErrorKind::Throttled, StoreErrorKind::Denied, StoreErrorKind::Other];
    let faults: Vec<Fault> = kinds.into_iter().map(Fault::Store).chain([Fault::LostReply]).collect();
    for (jobs, from) in [(1, 0), (3, 2), (16, 4)] {
        fail_everywhere_in_import(false, jobs, Side::Store, &faults, (9, from));
        fail_everywhere_in_import(true, jobs, Side::Store, &faults, (17, from));
    }
}

#[test]
fn whichever_call_to_the_tree_fails_in_an_import_is_reported_and_the_next_run_completes() {
    let faults = [TreeErrorKind::Other, TreeErrorKind::NoSpace, TreeErrorKind::Denied].map(Fault::Tree);
    for (jobs, from) in [(1, 0), (3, 2), (16, 4)] {
        fail_everywhere_in_import(false, jobs, Side::Tree, &faults, (9, from));
        fail_everywhere_in_import(true, jobs, Side::Tree, &faults, (17, from));
    }
}

#[test]
fn whichever_call_to_the_state_fails_ends_an_import_and_loses_nothing() {
    let faults = [Fault::State(io::ErrorKind::StorageFull)];
    for (jobs, from) in [(1, 0), (3, 1)] {
        fail_everywhere_in_import(false, jobs, Side::State, &faults, (2, from));
        fail_everywhere_in_import(true, jobs, Side::State, &faults, (2, from));
    }
}

/// What was on its way when a run was cut is known to the run after the next as well, if the next one comes to nothing.
#[test]
fn what_was_under_way_is_not_forgotten_when_the_state_fails_in_the_next_run() {
    for call in 0.. {
        let world = few();
        let cut = unheard(&world, Operation::Put, "written");
        let failing = Arc::new(Trouble::failing(Side::State, call, Fault::State(io::ErrorKind::StorageFull)));
        let result = world.export(&failing, &exporting(1)).unwrap();
        let Some(failed) = failing.log().failed.clone() else { return assert!(call > 20, "only {call} calls") };
        assert!(result.is_err());
        world.tree.set_content(&key("written"), "written again").unwrap();
        cut.log().happened.clear();
        resume_export(&world, &bucket_of(&world.tree), 1, &cut, Arrival::Never, &format!("call {call}, {failed}"));
    }
}

// ------------------------------------------------------------------------------------------------ damaged states

/// Whether a report says that a snapshot was not believed.
fn is_disbelieved(report: &Report) -> bool {
    report.problems.iter().any(|problem| &*problem.key == "." && problem.reason.contains("nothing is known"))
}

/// Both sides agreed, and nothing was changed since; twice, so that there is a previous generation.
fn agreed() -> World {
    let world = World::new(few_entries());
    world.export_all(&exporting(1));
    let former = world.state.get(Part::Snapshot).unwrap();
    change_few(&world.tree);
    world.export_all(&exporting(1));
    assert!(world.state.get(Part::Previous).unwrap() == former);
    world
}

/// With a snapshot that is not believed and a tree that agrees with the bucket: everything is looked at and nothing is done.
fn nothing_is_lost_with(world: &World, what: &str) {
    let objects = world.objects();
    let report = world.export_all(&exporting(3));
    assert!(is_disbelieved(&report), "{what}: {:?}", report.problems);
    // A key without a record is looked at first, so that no put is sent.
    let counts = (changes(&report), report.unchanged, report.conflicts, report.failed, report.deleted);
    assert_eq!(counts, (0, report.entries, 0, 0, 0), "{what}: {:?}", report.problems);
    let again = world.export_all(&exporting(3));
    let counts = (changes(&again), again.unchanged, again.store_calls.head, again.problems.len());
    assert_eq!(counts, (0, again.entries, 0, 0), "{what}: {:?}", again.problems);
    assert!(world.objects() == objects, "{what}");
}

/// With a snapshot that is not believed and a tree that was changed: nothing is deleted, and no object is replaced.
fn nothing_is_replaced_with(world: &World, what: &str) {
    let objects = world.objects();
    let report = world.export(&Arc::new(Trouble::none()), &exporting(3)).unwrap().unwrap();
    sums_agree(&report);
    assert!(is_disbelieved(&report), "{what}: {:?}", report.problems);
    assert_eq!((report.deleted, report.failed, report.conflicts), (0, 0, 3), "{what}: {:?}", report.problems);
    let now = world.objects();
    assert!(objects.iter().all(|object| now.contains(object)), "{what}");
    assert!(now.iter().any(|(key, ..)| key == "d/new"), "{what}");
}

fn damages(snapshot: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let cut = (0..snapshot.len()).map(|length| (format!("cut at {length}"), snapshot[..length].to_vec()));
    let flip = (0..snapshot.len() * 8).map(|bit| {
        let mut flipped = snapshot.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {bit} flipped"), flipped)
    });
    cut.chain(flip)
}

#[test]
fn a_snapshot_that_is_cut_or_flipped_anywhere_is_not_believed() {
    let (agreed, changed) = (agreed(), few());
    let snapshot = agreed.state.get(Part::Snapshot).unwrap();
    let all: Vec<_> = damages(&snapshot).collect();
    for at in places(13, 0).take_while(|at| *at < all.len()) {
        let (what, damaged) = &all[at];
        let world = agreed.copy(None);
        world.state.set(Part::Snapshot, damaged.clone());
        // The version stands behind the magic number.
        let mut version = [0; 4];
        version.iter_mut().zip(damaged.iter().skip(8)).for_each(|(byte, found)| *byte = *found);
        if damaged.len() == snapshot.len() && version != snapshot[8..12] {
            let objects = world.objects();
            match world.export(&Arc::new(Trouble::none()), &exporting(3)).unwrap() {
                Err(error) => {
                    assert!(matches!(error.kind(), RunErrorKind::State(StateError::Later(_))), "{what}: {error:?}");
                    assert!(world.objects() == objects && world.state.get(Part::Snapshot).as_ref() == Some(damaged));
                }
                Ok(report) => assert!(is_disbelieved(&report), "{what}"),
            }
            continue;
        }
        nothing_is_lost_with(&world, what);
    }
    let snapshot = changed.state.get(Part::Snapshot).unwrap();
    let all: Vec<_> = damages(&snapshot).collect();
    for at in places(29, 5)
        .take_while(|at| *at < all.len())
        .filter(|at| !(8..12).contains(&((at - snapshot.len().min(*at)) / 8)))
    {
        let (what, damaged) = &all[at];
        let world = changed.copy(None);
        world.state.set(Part::Snapshot, damaged.clone());
        nothing_is_replaced_with(&world, what);
    }
}

#[test]
fn a_state_without_a_snapshot_is_that_of_a_first_run() {
    for journal in [false, true] {
        let world = agreed();
        let former = few();
        if journal {
            world.state.set(Part::Journal, a_journal(&former).1);
        }
        world.state.remove(Part::Snapshot).unwrap();
        world.tree.remove(&key("d/same"));
        let objects = world.objects();
        for _ in 0..2 {
            let report = world.export_all(&exporting(3));
            let counts = (changes(&report), report.unchanged, report.conflicts, report.failed, report.deleted);
            assert_eq!(counts, (0, report.entries, 0, 0, 0), "{:?}", report.problems);
            assert_eq!(report.problems, [], "there was no record, so none is disbelieved");
        }
        assert!(world.objects() == objects);
    }
}

/// A world whose run was cut near its end, and the journal of that.
fn a_journal(start: &World) -> (World, Vec<u8>, Arc<Trouble>) {
    let world = start.copy(None);
    let whole = Arc::new(Trouble::none());
    world.export(&whole, &exporting(1)).unwrap().unwrap();
    let world = start.copy(None);
    let trouble = Arc::new(Trouble::cut_at(whole.steps() - 8, 0));
    assert!(world.export(&trouble, &exporting(1)).is_none());
    let journal = world.state.get(Part::Journal).unwrap();
    (world, journal, trouble)
}

#[test]
fn a_journal_that_is_cut_or_flipped_anywhere_loses_nothing() {
    let start = few();
    let expected = expected_of(&start);
    let (cut, journal, trouble) = a_journal(&start);
    let all: Vec<_> = damages(&journal).collect();
    for at in places(11, 0).take_while(|at| *at < all.len()) {
        let (what, damaged) = &all[at];
        let world = cut.copy(None);
        world.state.set(Part::Journal, damaged.clone());
        let report = world.export_all(&exporting(3));
        assert_eq!((report.failed, report.conflicts), (0, 0), "{what}: {:?}", report.problems);
        // What was acknowledged is found to be there; of a new key, a put that may not replace anything tells.
        assert!(world.objects() == expected, "{what}: {:?}", difference(&world.objects(), &expected));
        let again = world.export_all(&exporting(3));
        assert_eq!((changes(&again), again.unchanged), (0, again.entries), "{what}: {:?}", again.problems);
    }
    assert!(!trouble.log().acknowledged.is_empty());
}

#[test]
fn a_state_of_another_generation_link_or_root_deletes_and_replaces_nothing() {
    // The generation before: what has changed since is found to be there.
    let world = agreed();
    let objects = world.objects();
    world.state.set(Part::Snapshot, world.state.get(Part::Previous).unwrap());
    let report = world.export_all(&exporting(3));
    assert_eq!(
        (report.conflicts, report.failed, report.deleted, changes(&report)),
        (0, 0, 0, 1),
        "{:?}",
        report.problems
    );
    assert!(world.objects() == objects, "one put of a new key, which may not replace what is there");
    // The generation before, and since then files were removed and changed again.
    let world = agreed();
    world.state.set(Part::Snapshot, world.state.get(Part::Previous).unwrap());
    world.tree.remove(&key("written"));
    world.tree.set_content(&key("changed"), "changed again").unwrap();
    let report = world.export(&Arc::new(Trouble::none()), &exporting(3)).unwrap().unwrap();
    assert_eq!((report.conflicts, report.failed, report.deleted), (2, 0, 0), "{:?}", report.problems);
    assert!(world.objects() == objects);

    // The journal of another generation is over.
    let world = agreed();
    world.state.set(Part::Journal, a_journal(&few()).1);
    let report = world.export_all(&exporting(3));
    assert_eq!((changes(&report), report.unchanged, report.problems.len()), (0, report.entries, 0));

    // Another bucket, another prefix, another root.
    let prefix: Prefix = "below/".parse().unwrap();
    for options in [exporting(3).with_bucket("other"), exporting(3).with_prefix(prefix)] {
        let world = agreed();
        world.tree.remove(&key("d/same"));
        let report = world.export(&Arc::new(Trouble::none()), &options).unwrap().unwrap();
        assert!(is_disbelieved(&report), "{:?}", report.problems);
        assert!(report.problems[0].reason.contains("another link"), "{:?}", report.problems);
        assert_eq!((report.deleted, report.gone, report.conflicts), (0, 0, 0));
        let now = world.objects();
        assert!(objects.iter().all(|object| now.contains(object)));
    }
    let world = agreed();
    world.tree.remove(&key("d/same"));
    let (mut tree, store, state) = world.edges(&Arc::new(Trouble::none()));
    tree.identity = 2;
    let report = block_on(export_since(&tree, &store, &state, &exporting(3), &Silent)).unwrap();
    assert!(
        is_disbelieved(&report) && report.problems[0].reason.contains("another directory"),
        "{:?}",
        report.problems
    );
    assert_eq!((report.deleted, report.gone, report.conflicts, changes(&report)), (0, 0, 0, 0));

    // An import with such a state removes and replaces nothing either.
    let world = agreed();
    block_on(world.store.delete("d/same", &Precondition::None)).unwrap();
    world.tree.set_content(&key("changed"), "changed again").unwrap();
    let entries = world.tree.entries();
    let report = world.import_all(&importing(3).with_bucket("other"));
    assert!(is_disbelieved(&report), "{:?}", report.problems);
    assert_eq!((report.deleted, report.conflicts), (0, 1), "{:?}", report.problems);
    assert_eq!(world.tree.entries(), entries);
}

#[test]
fn a_snapshot_of_a_later_version_ends_the_run_and_stays() {
    let world = agreed();
    world.tree.remove(&key("d/same"));
    let mut snapshot = world.state.get(Part::Snapshot).unwrap();
    snapshot[8..12].copy_from_slice(&2_u32.to_le_bytes());
    world.state.set(Part::Snapshot, snapshot.clone());
    let (objects, entries) = (world.objects(), world.tree.entries());
    let exported = world.export(&Arc::new(Trouble::none()), &exporting(3)).unwrap().unwrap_err();
    let imported = world.import(&Arc::new(Trouble::none()), &importing(3)).unwrap().unwrap_err();
    for error in [exported, imported] {
        assert!(matches!(error.kind(), RunErrorKind::State(StateError::Later(_))), "{error:?}");
        assert_eq!((error.report().entries, changes(error.report())), (0, 0));
    }
    assert!(world.objects() == objects && world.tree.entries() == entries);
    assert_eq!(world.state.get(Part::Snapshot), Some(snapshot));
}

// ------------------------------------------------------------------------------------------------------- deletes

/// Exports with the first call of this description failing, and then once more.
fn without(world: &World, call: &str, kind: TreeErrorKind) -> Report {
    for number in 0.. {
        let (copy, trouble) = (world.copy(None), Arc::new(Trouble::failing(Side::Tree, number, Fault::Tree(kind))));
        let report = report_of(copy.export(&trouble, &exporting(3)).unwrap());
        let failed = trouble.log().failed.clone().unwrap_or_else(|| panic!("nothing is like {call}"));
        if failed.starts_with(call) {
            assert!(copy.objects().iter().any(|(key, ..)| key == "d/removed"), "{failed}");
            let next = copy.export_all(&exporting(3));
            assert_eq!((next.deleted, next.failed, next.conflicts), (1, 0, 0), "{failed}: {:?}", next.problems);
            return report;
        }
    }
    panic!("a call is found or not")
}

#[test]
fn nothing_is_deleted_where_a_directory_cannot_be_listed_or_a_look_fails() {
    let world = few();
    for kind in [TreeErrorKind::Denied, TreeErrorKind::Other, TreeErrorKind::NotFound, TreeErrorKind::MountPoint] {
        // The directory; all that is recorded; the name itself, at the second look.
        for call in ["listing d/", "looking at changed d/", "looking at d/removed"] {
            let report = without(&world, call, kind);
            assert_eq!(report.deleted, 0, "{call}: {kind:?}: {:?}", report.problems);
            let said = report.failed > 0 || (report.skipped > 0 && kind == TreeErrorKind::NotFound);
            assert!(said, "{call}: {kind:?}: {:?}", report.problems);
        }
    }
}

#[test]
fn nothing_is_deleted_that_comes_back_before_its_turn() {
    let world = few();
    // It is seen to be gone, and is there again when the last thing before the deletes is put.
    let (tree, mut once) = (Arc::clone(&world.tree), false);
    let trouble = Arc::new(Trouble::none().with_hook(move |operation, path| {
        if operation == Operation::Put && path == "written" && !std::mem::replace(&mut once, true) {
            tree.insert_file(key("d/removed"), "d/removed", attributes(0o644, 9)).unwrap();
        }
    }));
    let report = world.export(&trouble, &exporting(1)).unwrap().unwrap();
    sums_agree(&report);
    assert_eq!((report.deleted, report.skipped, report.store_calls.delete), (0, 1, 0), "{:?}", report.problems);
    assert!(report.problems[0].reason.contains("has come back"));
    assert!(once_more(&world).store_calls.put == 0, "it is what it was");
}

/// The next run, with which both sides agree.
fn once_more(world: &World) -> Report {
    let report = world.export_all(&exporting(1));
    assert_eq!((report.failed, report.conflicts), (0, 0), "{:?}", report.problems);
    assert!(world.objects() == bucket_of(&world.tree));
    assert_eq!(changes(&world.export_all(&exporting(1))), 0);
    report
}

#[test]
fn what_comes_back_after_the_last_look_is_put_by_the_next_run() {
    let world = few();
    let tree = Arc::clone(&world.tree);
    let trouble = Arc::new(Trouble::none().with_hook(move |operation, _| {
        if operation == Operation::Delete {
            tree.insert_file(key("d/removed"), "d/removed", attributes(0o644, 9)).unwrap();
        }
    }));
    let report = world.export(&trouble, &exporting(1)).unwrap().unwrap();
    assert_eq!((report.deleted, report.conflicts), (1, 0));
    assert_eq!(once_more(&world).store_calls.put, 1);
}

#[test]
fn nothing_is_deleted_that_a_stranger_has_changed() {
    let stranger = |store: &MemoryStore, body: &'static str| {
        block_on(store.put("d/removed", Bytes::from(body).into(), &PutOptions::default())).unwrap();
    };
    for before in [true, false] {
        // Another content, and the same with other metadata.
        for body in ["stranger", "d/removed"] {
            // Between the look and the request, only other content is told.
            if !before && body == "d/removed" {
                continue;
            }
            let world = few();
            let store = Arc::clone(&world.store);
            if before {
                stranger(&store, body);
            }
            let trouble = Arc::new(Trouble::none().with_hook(move |operation, path| {
                if !before && (operation, path) == (Operation::Delete, "d/removed") {
                    stranger(&store, body);
                }
            }));
            let report = world.export(&trouble, &exporting(1)).unwrap().unwrap();
            sums_agree(&report);
            assert_eq!((report.deleted, report.conflicts), (0, 1), "{before} {body}: {:?}", report.problems);
            for _ in 0..2 {
                let report = world.export_all(&exporting(1));
                assert_eq!((report.deleted, report.conflicts), (0, 1), "{before} {body}: {:?}", report.problems);
            }
            let (_, meta, found) = world.objects().into_iter().find(|(key, ..)| key == "d/removed").unwrap();
            assert!(found == body && meta.headers.is_empty(), "{before} {body}");
        }
    }
}

#[test]
fn nothing_is_deleted_beyond_the_brake() {
    let braked = |brake: Brake, removed: usize| {
        let world = World::new(workload::tree());
        world.export_all(&exporting(3));
        for number in 0..removed {
            assert!(
                world
                    .tree
                    .remove(&key(&format!("{}file-{number}", ["", "a/", "a/b/", "a/b/c/", "d/", "d/"][number % 6])))
            );
        }
        let objects = world.objects();
        let report = world.export_all(&exporting(3).with_deletes(Deletes::Apply(brake)));
        if let Some(braked) = report.braked {
            assert_eq!((report.deleted, report.gone, braked.deletes), (0, removed as u64, removed as u64));
            assert!(!report.is_complete() && objects.iter().all(|object| world.objects().contains(object)));
            // It is still known to be gone, however often nothing comes of it.
            let report = world.export_all(&exporting(3).with_deletes(Deletes::Never));
            assert_eq!((report.deleted, report.gone), (0, removed as u64));
            let report = world.export_all(&exporting(3).with_deletes(Deletes::Apply(Brake::RELEASED)));
            assert_eq!(report.deleted, removed as u64);
            true
        } else {
            assert_eq!(report.deleted, removed as u64);
            false
        }
    };
    // Of 35 entries, 20 percent are 7.
    assert!(!braked(Brake { count: 3, percent: 20 }, 7));
    assert!(braked(Brake { count: 3, percent: 20 }, 8));
    assert!(!braked(Brake { count: 8, percent: 20 }, 8));
    assert!(braked(Brake { count: 8, percent: 20 }, 9));
    assert!(braked(Brake { count: 0, percent: 0 }, 1));
}

#[test]
fn a_new_file_that_is_removed_after_a_put_that_nobody_heard_of_is_gone_and_deleted() {
    for edit in [Edit::Undo, Edit::Rename] {
        let world = few();
        let cut = unheard(&world, Operation::Put, "d/new");
        let request = cut.log().happened.last().unwrap().clone();
        edit.apply(&world.tree, &request);
        // Until then nothing is recorded of it, so that an import would take it for new.
        let report = world.export_all(&exporting(1));
        assert_eq!((report.gone, report.failed, report.conflicts), (1, 0, 0), "{:?}", report.problems);
        let entries = world.tree.entries();
        assert_eq!(world.import_all(&importing(1).with_deletes(Deletes::Never)).written, 0);
        assert_eq!(world.tree.entries(), entries);
        resume_export(&world, &bucket_of(&world.tree), 1, &Arc::new(Trouble::none()), Arrival::Never, "removed");
    }
}
