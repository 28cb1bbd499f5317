//! One workload: all that a crash of its run can leave, and what comes of it.

use crate::boundary::Plan;
use crate::boundary::world::{Outturn, Way, World, told};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// How much is tried of each workload.
pub(crate) struct Effort {
    /// At how many bytes the tail of the journal is torn.
    pub(crate) tears: usize,
    /// Of every so many cases one is resumed and cut once more.
    pub(crate) pairs: usize,
    /// Late requests arrive before every so many calls.
    pub(crate) arrivals: usize,
}

impl Effort {
    pub(crate) const fn of(effort: u64) -> Self {
        if effort > 1 { Self { tears: 8, pairs: 1, arrivals: 1 } } else { Self { tears: 1, pairs: 16, arrivals: 8 } }
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
        self.all_runs += other.all_runs;
    }
}

struct Explorer<'e> {
    way: Way,
    jobs: usize,
    effort: &'e Effort,
    expected: Outturn,
    what: &'e str,
    /// What was resumed already.
    resumed: HashSet<u64>,
    /// What a run that was resumed has ended in already.
    ended: HashSet<u64>,
    counts: &'e mut Counts,
}

/// Tries all that a crash of a run from here can leave.
pub(crate) fn explore(start: &World, way: Way, number: usize, effort: &Effort, what: &str, counts: &mut Counts) {
    let jobs = [1, 3][number % 2];
    let (cases, ran_calls, end, report) = cut(start, way, jobs, effort);
    counts.workloads += 1;
    counts.places += 3 * ran_calls;
    counts.all_runs += 1;
    let expected = end.outturn(&report);
    let what = format!("{what}, {jobs} jobs");
    let (resumed, ended) = (HashSet::new(), HashSet::new());
    let mut explorer = Explorer { way, jobs, effort, expected, what: &what, resumed, ended, counts };
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
        if case.on_the_way.is_empty() {
            return true;
        }
        let last = World { on_the_way: case.on_the_way.clone(), ..ran.world };
        self.ends_well(&last.arrived(), &format!("{what}, arriving last"));
        self.counts.late += 1;
        let first = case.arrived();
        self.resume(&first, &format!("{which}, arriving first"));
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
