//! One workload: all that a crash of its run can leave, and what comes of it.

use crate::boundary::Plan;
use crate::boundary::world::{Outturn, Way, World, told};
use crate::mutation::Mutation;
use posix_s3::engine::Outcome;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// How much is tried of each workload.
pub(crate) struct Effort {
    /// At how many bytes the tail of the journal is torn.
    pub(crate) tears: usize,
    /// Of every so many cases one is resumed and cut once more.
    pub(crate) pairs: usize,
    /// Late requests arrive before every so many calls.
    pub(crate) arrivals: usize,
    /// Of every so many cases one is resumed when something has changed since.
    pub(crate) changes: u64,
}

impl Effort {
    pub(crate) const fn of(effort: u64) -> Self {
        if effort > 1 {
            Self { tears: 8, pairs: 1, arrivals: 1, changes: 1 }
        } else {
            Self { tears: 1, pairs: 8, arrivals: 8, changes: 4 }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) workloads: u64,
    /// A call, and whether before it, after it, or after its answer.
    pub(crate) places: u64,
    /// What crashes left, each another, that was resumed.
    pub(crate) runs: u64,
    /// Those of them that two crashes have left.
    pub(crate) pairs: u64,
    /// Requests that arrived during or after the run that was resumed.
    pub(crate) late: u64,
    /// Those before which something has changed since the crash.
    pub(crate) changed: u64,
    /// In which both versions of that were kept.
    pub(crate) kept: u64,
    /// Runs to the end of any kind.
    pub(crate) all_runs: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.workloads += other.workloads;
        self.places += other.places;
        self.runs += other.runs;
        self.pairs += other.pairs;
        self.late += other.late;
        self.changed += other.changed;
        self.kept += other.kept;
        self.all_runs += other.all_runs;
    }
}

const ARRIVING_FIRST: &str = ", arriving first";

struct Explorer<'e> {
    way: Way,
    jobs: usize,
    effort: &'e Effort,
    expected: Outturn,
    /// What is there after a run that was never cut.
    whole: World,
    /// What a change after it comes to, by the name that was changed.
    renewed: HashMap<String, Option<Outturn>>,
    what: &'e str,
    may_change: bool,
    /// What was resumed already.
    resumed: HashSet<u64>,
    /// What a run that was resumed has ended in already.
    ended: HashSet<u64>,
    counts: &'e mut Counts,
}

/// Tries all that a crash of a run from here can leave.
pub(crate) fn explore(
    start: &World,
    way: Way,
    number: usize,
    effort: &Effort,
    (what, may_change): (&str, bool),
    counts: &mut Counts,
) {
    let jobs = [1, 3][number % 2];
    let (cases, ran_calls, end, report) = cut(start, way, jobs, effort);
    counts.workloads += 1;
    counts.places += 3 * ran_calls;
    counts.all_runs += 1;
    let expected = end.outturn(&report);
    let what = format!("{what}, {jobs} jobs");
    let (resumed, ended) = (HashSet::new(), HashSet::new());
    let (whole, renewed) = (end.clone(), HashMap::new());
    let mut explorer =
        Explorer { way, jobs, effort, expected, whole, renewed, what: &what, may_change, resumed, ended, counts };
    explorer.ends_well(&end, "never cut");
    for (at, case) in cases.iter().enumerate() {
        explorer.resume(case, &format!("case {at}"));
    }
    for (at, case) in cases.iter().enumerate().filter(|(at, _)| (at + number).is_multiple_of(effort.pairs)) {
        let (again, calls, ..) = cut(case, way, jobs, effort);
        explorer.counts.places += 3 * calls;
        explorer.counts.all_runs += 1;
        for (second, case) in again.iter().enumerate() {
            if explorer.resume(case, &format!("case {at}, then {second}")) {
                explorer.counts.pairs += 1;
            }
        }
    }
}

/// Runs to the end, and takes down all that a crash could leave on the way.
fn cut(start: &World, way: Way, jobs: usize, effort: &Effort) -> (Vec<World>, u64, World, posix_s3::engine::Report) {
    let cases = Arc::new(Mutex::new(Vec::new()));
    let (taken, from, tears) = (Arc::clone(&cases), start.clone(), effort.tears);
    let take_down = Plan::TakeDown(Box::new(move |boundary| {
        taken.lock().unwrap().extend(from.crashed(way, boundary, tears));
    }));
    let ran = start.run(way, jobs, take_down);
    let cases = std::mem::take(&mut *cases.lock().unwrap());
    (cases, ran.boundary.calls(), ran.world, ran.result.unwrap())
}

impl Explorer<'_> {
    /// Resumes what a crash has left, with what was on its way arriving never, at once, on the way and last. Says whether it
    /// was not resumed before.
    fn resume(&mut self, case: &World, which: &str) -> bool {
        if !self.resumed.insert(case.number(self.way)) {
            return false;
        }
        self.counts.runs += 1;
        let what = format!("{}, {which}", self.what);
        let ran = case.run(self.way, self.jobs, Plan::Nothing);
        self.counts.all_runs += 1;
        let report = ran.result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(told(&report), self.expected.told, "{what}");
        self.stays_within(&ran.boundary, &what);
        self.ends_well(&ran.world, &what);
        self.resume_changed(case, &what, which.ends_with(ARRIVING_FIRST));
        if case.on_the_way.is_empty() {
            return true;
        }
        let last = World { on_the_way: case.on_the_way.clone(), ..ran.world };
        self.ends_well(&last.arrived(), &format!("{what}, arriving last"));
        self.counts.late += 1;
        let first = case.arrived();
        self.resume(&first, &format!("{which}{ARRIVING_FIRST}"));
        for call in (1..ran.boundary.calls()).step_by(self.effort.arrivals) {
            let arrive = Plan::Arrive(call, case.on_the_way.clone());
            let ran = case.run(self.way, self.jobs, arrive);
            self.counts.all_runs += 1;
            self.counts.runs += 1;
            self.counts.late += 1;
            let what = format!("{what}, arriving before call {call}");
            let report = ran.result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(told(&report), self.expected.told, "{what}");
            self.ends_well(&ran.world, &what);
        }
        true
    }

    /// Resumes what a crash has left when something has changed since: it comes to what it would without the crash, and
    /// what was on its way then does not undo it.
    fn resume_changed(&mut self, case: &World, what: &str, is_late: bool) {
        const NAMES: [&str; 4] = ["a", "b/a", "b/b", "b/"];
        if !self.may_change || !self.counts.runs.is_multiple_of(self.effort.changes) {
            return;
        }
        let at = self.counts.runs / self.effort.changes;
        let key = case.on_the_way.first().map_or(NAMES[at as usize % 4], |request| &request.key).to_owned();
        let (way, jobs) = (self.way, self.jobs);
        let whole = &self.whole;
        let expected = self.renewed.entry(key.clone()).or_insert_with(|| {
            let mut world = whole.copy();
            Mutation::renew(&mut world, way, &key)?;
            let ran = world.run(way, jobs, Plan::Nothing);
            Some(ran.world.outturn(&ran.result.unwrap()))
        });
        let mut changed = case.copy();
        let (Some(expected), Some(is_new)) = (expected, Mutation::renew(&mut changed, way, &key)) else { return };
        let what = format!("{what}, then {key} is changed");
        let ran = changed.run(way, jobs, Plan::Nothing);
        self.counts.all_runs += 1;
        self.counts.runs += 1;
        self.counts.changed += 1;
        let report = ran.result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        // An import records what it has made when that is on the disk; what it has not recorded was made by somebody. And a
        // copy of metadata that arrives after another one of the same bytes makes an object that differs in its time alone
        // from the one recorded: no condition tells them apart. Either is said to be in conflict, and both versions stay.
        let of = |world: &World, key: &str| {
            let object = world.bucket().into_iter().find(|(named, _)| named == key);
            (object, world.tree.entries().into_iter().find(|(entry, _)| entry.key().as_str() == key))
        };
        let said = told(&report);
        // Another name of the file may be the one.
        let kept = said.difference(&expected.told).find(|(named, outcome, _)| {
            *outcome == Outcome::Conflict && (*named == key || way == Way::Export && is_late)
        });
        if let Some((named, ..)) = kept {
            assert!(way == Way::Import || is_late, "{what}: {report:?}");
            self.counts.kept += 1;
            assert_eq!(of(&ran.world, named), of(&changed, named), "{what}");
            return;
        }
        let is_as_expected = |world: &World, what: &str| match way {
            Way::Export => assert_eq!(world.bucket(), expected.bucket, "{what}"),
            // A directory that was still here may stay as it was.
            Way::Import => {
                let wanted = expected.tree.iter().find(|(entry, _)| entry.key().as_str() == key);
                assert_eq!(of(world, &key).1.as_ref(), wanted, "{what}");
            }
        };
        is_as_expected(&ran.world, &what);
        if way == Way::Export {
            assert_eq!(told(&report), expected.told, "{what}");
        }
        if is_new && !case.on_the_way.is_empty() {
            let last = World { on_the_way: case.on_the_way.clone(), ..ran.world };
            is_as_expected(&last.arrived(), &format!("{what}, and what was on its way arrives last"));
        }
    }

    /// Neither side is changed that is only read.
    fn stays_within(&self, boundary: &crate::boundary::Boundary, what: &str) {
        let changes = match self.way {
            Way::Export => boundary.tree_changes(),
            Way::Import => boundary.store_changes(),
        };
        assert_eq!(changes, 0, "{what}: changes on the other side");
    }

    /// Both sides are what they are to be, and one more run changes nothing and tells the same.
    fn ends_well(&mut self, end: &World, what: &str) {
        if !self.ended.insert(end.number(self.way)) {
            return;
        }
        self.is_expected(end, what);
        let ran = end.run(self.way, self.jobs, Plan::Nothing);
        self.counts.all_runs += 1;
        let report = ran.result.unwrap_or_else(|error| panic!("{what}, once more: {error:?}"));
        assert_eq!(ran.boundary.effects(), 0, "{what}, once more: {report:?}");
        // What both sides do not agree on may be asked for again, and is refused again.
        if self.expected.told.is_empty() {
            let tried = ran.boundary.store_changes() + ran.boundary.tree_changes();
            assert_eq!(tried, 0, "{what}, once more: {report:?}");
        }
        assert_eq!(told(&report), self.expected.told, "{what}, once more");
    }

    fn is_expected(&self, end: &World, what: &str) {
        match self.way {
            Way::Export => assert_eq!(end.bucket(), self.expected.bucket, "{what}"),
            Way::Import => assert_eq!(end.tree.entries(), self.expected.tree, "{what}"),
        }
    }
}
