//! Call n fails, for every n, with every error that it can return, once and for good: the run ends with an error or says what
//! failed, nothing is lost, the next run ends where an untroubled one does, and the run after it changes nothing.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[path = "fault_sweep/back.rs"]
mod back;
mod boundary;
#[path = "fault_sweep/canonical.rs"]
mod canonical;
#[path = "fault_sweep/faults.rs"]
mod faults;
mod figures;
#[path = "crashes/mutation.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod mutation;

use boundary::world::{Told, Way, World};
use boundary::{Call, Failing, Fault, Plan};
use bytes::Bytes;
use canonical::{Ended, Work};
use posix_s3::snapshot::SnapshotReader;
use posix_s3::{Entry, EntryKind};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::sync::Mutex;

/// What a sweep has tried, and what it found wrong.
#[derive(Default)]
struct Swept {
    runs: u64,
    cells: BTreeSet<(Call, String)>,
    wrong: Vec<String>,
}

/// What the next run comes to, and the one after it.
#[derive(Clone)]
struct Next {
    ended: Ended,
    is_as_expected: bool,
    is_lost: Result<(), String>,
    effects: u64,
    last: Ended,
}

struct Sweep {
    work: Work,
    jobs: usize,
    start: World,
    expected: Ended,
    /// How many calls of each kind there are when none fails.
    calls: BTreeMap<Call, u64>,
    /// Both sides before and after.
    buckets: [Vec<(String, String)>; 2],
    trees: [Vec<(Entry, Bytes)>; 2],
    /// By the numbers of the worlds that it starts from: many faults leave the same one.
    next: RefCell<HashMap<[u64; 2], Next>>,
}

impl Sweep {
    fn new(work: Work, jobs: usize) -> Self {
        let start = work.start();
        let nothing = Failing { number: 0, call: Call::Tree("nothing"), fault: Fault::LostReply, for_good: false };
        let (expected, end, boundary) = work.run(&start, jobs, Plan::Fail(nothing));
        assert!(expected.error.is_none(), "{work:?}: {expected:?}");
        let buckets = [start.bucket(), end.bucket()];
        let trees = [start.tree.entries(), end.tree.entries()];
        Self { work, jobs, start, expected, calls: boundary.kinds(), buckets, trees, next: RefCell::default() }
    }

    /// Lets a call fail, and checks what comes of it. Whether there was such a call; what is wrong is told.
    fn fail(&self, failing: Failing) -> Result<bool, String> {
        let (ended, world, boundary) = self.work.run(&self.start, self.jobs, Plan::Fail(failing));
        let Some(key) = boundary.failed() else { return Ok(false) };
        let is_as_expected = self.is_as_expected(&world);
        if faults::is_answer(failing.call, failing.fault, self.is_to_be_removed(&key) || failing.for_good) {
            self.nothing_is_lost(&world)?;
            return self.comes_to_rest(&world, &key).map(|()| true);
        }
        if ended.error.is_none() && ended.told == self.expected.told && !is_as_expected {
            return Err(format!("{key:?} failed, and nobody says so: {ended:?}"));
        }
        if ended.error.is_none() && !is_as_expected && !failing.for_good {
            let new: Vec<&Told> = ended.told.difference(&self.expected.told).collect();
            if !new.iter().any(|(named, _, reason)| is_about(named, &key) || tells_of(reason, failing.call, &key)) {
                return Err(format!("{key:?} failed, and is not named: {new:?}"));
            }
        }
        if let Some(snapshot) = &world.state[0] {
            let whole = SnapshotReader::open(Cursor::new(snapshot.clone())).and_then(|mut reader| reader.verify());
            whole.map_err(|error| format!("the snapshot is damaged: {error}"))?;
        }
        self.nothing_is_lost(&world)?;
        let Next { ended: next, is_as_expected, effects, last, .. } = self.next(&world);
        if next.error.is_some() || !is_as_expected {
            return Err(format!("{key:?} failed, and the next run does not mend it: {ended:?}, then {next:?}"));
        }
        // What is said once, as that both versions were kept, was said by the one or by the other.
        let said: BTreeSet<_> = ended.told.union(&next.told).collect();
        if !next.told.is_subset(&self.expected.told) || !self.expected.told.iter().all(|told| said.contains(told)) {
            return Err(format!("{key:?} failed, and the next run tells something else: {next:?}"));
        }
        is_at_rest(effects, &last, &key).map(|()| true)
    }

    fn is_to_be_removed(&self, key: &str) -> bool {
        let [was, is] = self.trees.each_ref().map(|tree| tree.iter().any(|(entry, _)| entry.key().as_str() == key));
        was && !is
    }

    /// The next run and the one after it.
    fn next(&self, world: &World) -> Next {
        let numbers = [world.number(Way::Export), world.number(Way::Import)];
        if let Some(next) = self.next.borrow().get(&numbers) {
            return next.clone();
        }
        let (ended, world, _) = self.work.run(world, self.jobs, Plan::Nothing);
        let (is_as_expected, is_lost) = (self.is_as_expected(&world), self.nothing_is_lost(&world));
        let (last, _, boundary) = self.work.run(&world, self.jobs, Plan::Nothing);
        let next = Next { ended, is_as_expected, is_lost, effects: boundary.effects(), last };
        self.next.borrow_mut().insert(numbers, next.clone());
        next
    }

    /// The next run does what it can without an error, nothing is lost, and the one after it changes nothing.
    fn comes_to_rest(&self, world: &World, key: &str) -> Result<(), String> {
        let Next { ended, is_lost, effects, last, .. } = self.next(world);
        if let Some(error) = ended.error {
            return Err(format!("{key:?} failed, and so does the next run: {error}"));
        }
        is_lost?;
        is_at_rest(effects, &last, key)
    }

    fn is_as_expected(&self, world: &World) -> bool {
        match self.work.way() {
            Way::Export => world.bucket() == self.buckets[1],
            Way::Import => world.tree.entries() == self.trees[1],
        }
    }

    /// What is there is what was there or what is to be; and what was there and is to stay is there.
    fn nothing_is_lost(&self, world: &World) -> Result<(), String> {
        let (is, [was, to_be]) = (world.bucket(), &self.buckets);
        if let Some(object) = is.iter().find(|object| !was.contains(object) && !to_be.contains(object)) {
            return Err(format!("an object that nobody wants: {object:?}"));
        }
        if let Some(object) = was.iter().find(|object| to_be.contains(object) && !is.contains(object)) {
            return Err(format!("an object is lost: {object:?}"));
        }
        let is_directory = |entry: &Entry| *entry.kind() == EntryKind::Directory;
        let (is, [was, to_be]) = (world.tree.entries(), &self.trees);
        // A directory gets its attributes when it is full.
        if let Some(entry) =
            is.iter().find(|entry| !is_directory(&entry.0) && !was.contains(entry) && !to_be.contains(entry))
        {
            return Err(format!("an entry that nobody wants: {entry:?}"));
        }
        let stays = |(entry, _): &&(Entry, Bytes)| !is.iter().any(|(other, _)| other.key() == entry.key());
        if let Some(entry) = was.iter().filter(|entry| to_be.contains(entry)).find(stays) {
            return Err(format!("an entry is lost: {entry:?}"));
        }
        let differs = |entry: &&(Entry, Bytes)| !is_directory(&entry.0) && !is.contains(entry);
        match was.iter().filter(|entry| to_be.contains(entry)).find(differs) {
            Some(entry) => Err(format!("an entry is changed that is to stay: {entry:?}")),
            None => Ok(()),
        }
    }

    /// Each call fails with the first error of each kind; with a further one of a kind, one call of 21 does unless more
    /// is to be tried, another of them for each error.
    fn sweep(&self, call: Call, all: bool, swept: &mut Swept) {
        let mut kinds = BTreeSet::new();
        let calls = self.calls.get(&call).copied().unwrap_or(0);
        for (at, (name, fault)) in faults::of(call).into_iter().enumerate().take_while(|_| calls > 0) {
            let every = kinds.insert(faults::kind(fault)) || all;
            let (step, from) = if every { (1, 0) } else { (21, at as u64 % calls % 7) };
            for for_good in [false, true] {
                if for_good && !faults::may_be_for_good(fault) {
                    continue;
                }
                for number in (from..).step_by(step) {
                    match self.fail(Failing { number, call, fault, for_good }) {
                        Ok(false) => break,
                        Ok(true) => {}
                        Err(wrong) => {
                            let how = if for_good { "for good from" } else { "once at" };
                            let what = format!("{:?}, {} jobs, {call:?} {how} {number}", self.work, self.jobs);
                            swept.wrong.push(format!("{what}, {name}: {wrong}"));
                        }
                    }
                    swept.runs += 1;
                    swept.cells.insert((call, name.clone()));
                }
            }
        }
    }
}

/// One more run changes nothing.
fn is_at_rest(effects: u64, last: &Ended, key: &str) -> Result<(), String> {
    if effects > 0 || last.error.is_some() {
        return Err(format!("{key:?} failed, and a run after the next does something: {last:?}"));
    }
    Ok(())
}

/// Whether a problem is about what failed: that itself, what is in it, or what it is in.
fn is_about(named: &str, key: &str) -> bool {
    let (named, key) = (named.trim_end_matches('/'), key.trim_end_matches('/'));
    let is_in = |inner: &str, outer: &str| {
        outer.is_empty() || inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    named == "." || is_in(named, key) || is_in(key, named)
}

/// Whether the reason for something else is what failed: `list "b/" failed`, say, or that "a" cannot be read.
fn tells_of(reason: &str, call: Call, key: &str) -> bool {
    let (Call::Store(attempt) | Call::Tree(attempt) | Call::State(attempt)) = call;
    reason.contains(&format!("\"{key}\"")) || reason.contains(attempt) && reason.contains("\" failed: ")
}

#[test]
fn whichever_call_fails_however_nothing_is_lost_and_the_next_run_mends_it() {
    let all = figures::effort() > 1;
    let swept = Mutex::new(Swept::default());
    std::thread::scope(|scope| {
        for half in 0..2 {
            let swept = &swept;
            scope.spawn(move || {
                for (at, work) in canonical::ALL.into_iter().enumerate().filter(|(at, _)| at % 2 == half) {
                    let mut own = Swept::default();
                    for jobs in if all { vec![1, 3, 16] } else { vec![[1, 3][at / 2 % 2]] } {
                        let sweep = Sweep::new(work, jobs);
                        faults::CALLS.into_iter().for_each(|call| sweep.sweep(call, all, &mut own));
                    }
                    let mut swept = swept.lock().unwrap();
                    swept.runs += own.runs;
                    swept.cells.extend(own.cells);
                    swept.wrong.extend(own.wrong);
                }
            });
        }
    });
    let swept = swept.into_inner().unwrap();
    let all: BTreeSet<(Call, String)> = faults::CALLS
        .into_iter()
        .flat_map(|call| faults::of(call).into_iter().map(move |(name, _)| (call, name)))
        .collect();
    let missed: BTreeSet<_> = all.difference(&swept.cells).map(|(call, _)| call).collect();
    println!(
        "{} of {} runs are wrong, {} of {} cells visited",
        swept.wrong.len(),
        swept.runs,
        swept.cells.len(),
        all.len()
    );
    swept.wrong.iter().for_each(|wrong| println!("{wrong}"));
    assert!(swept.wrong.is_empty(), "see above");
    assert_eq!(missed, BTreeSet::new(), "calls that were never made");
    figures::record("fault cells", swept.cells.len() as u64, all.len() as u64);
    figures::record("fault runs", swept.runs, 10_000);
}

#[test]
fn what_is_back_before_it_is_looked_at_for_the_last_time_is_not_deleted() {
    let runs = back::sweep(Way::Export) + back::sweep(Way::Import);
    figures::record("runs in which something comes back", runs, 50);
}

/// Whoever is told of a fault that is none is told nothing.
#[test]
fn a_call_that_is_never_made_fails_nowhere() {
    let sweep = Sweep::new(Work::FirstExport, 1);
    let failing = Failing { number: 1_000, call: Call::Store("put"), fault: Fault::LostReply, for_good: true };
    assert_eq!(sweep.fail(failing), Ok(false));
}
