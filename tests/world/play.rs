//! [`play`]: one seed is one execution, from the first run to the last.

use super::chance::Chance;
use super::ground::Ground;
use super::judge::{Judge, Rulebook, covers, decoded, is_encoded, path_of, stored};
use super::neighbours::Maker;
use super::schedule::Schedule;
use super::state::{Disk, SimState};
use super::store::{Bucket, Conditions, ETags, Knobs, SimStore, Version};
use super::watched::{Log, Watched};
use crate::model::bridge::tree_of;
use crate::model::{self, Kind, Node, Rules, Tree};
use posix_s3::engine::{
    Directories, ExportOptions, ImportOptions, Jobs, Part, Report, RunError, Silent, StateStore, audit, export,
    export_since, import, import_since,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::tree::MemoryTree;
use posix_s3::{Prefix, Profile};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Which runs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Game {
    Exports,
    Imports,
    Both,
    /// Exports and imports without a state.
    Stateless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Export,
    Import,
}

/// What a seed has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Played {
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    pub(crate) runs: u64,
    pub(crate) steps: u64,
    /// Keys of which convergence was demanded, and was not.
    pub(crate) converged: u64,
    pub(crate) excused: u64,
}

struct Engine<T> {
    ground: Arc<T>,
    log: Arc<Mutex<Log>>,
    disk: Arc<Disk>,
}

struct World<T> {
    chance: Chance,
    maker: Maker,
    schedule: Arc<Schedule>,
    bucket: Arc<Bucket>,
    engines: Vec<Engine<T>>,
    judge: Judge,
    game: Game,
    exporting: ExportOptions,
    importing: ImportOptions,
    /// In percent of the turns.
    edits: usize,
    interferes: usize,
    /// Who changes an object just when a request is on its way to it; only from [`SHARP`] on.
    sharp: Option<Maker>,
    is_coarse: bool,
    runs: u64,
    played: Played,
}

/// The first seed with neighbours who know what a run is about to do, clocks that stand still and listings that are older.
pub(crate) const SHARP: u64 = 1 << 40;

type Run<'r> = Pin<Box<dyn Future<Output = Result<Report, RunError>> + 'r>>;
type Ended = Option<Result<Report, RunError>>;

pub(crate) fn play<T: Ground>(seed: u64, make: fn() -> T) -> Played {
    let mut world = World::new(seed, make);
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
    if let Err(panic) = stopped {
        if std::env::var_os("POSIX_S3_SEED").is_some() {
            println!("{:?} {:?} {:?}", world.game, world.bucket.knobs, world.judge.rules);
            world.judge.story.iter().for_each(|line| println!("{line}"));
        }
        std::panic::resume_unwind(panic);
    }
    world.played
}

impl<T: Ground> World<T> {
    fn new(seed: u64, make: fn() -> T) -> Self {
        let mut chance = Chance::new(seed);
        let game = *chance.pick(&[
            Game::Exports,
            Game::Exports,
            Game::Exports,
            Game::Exports,
            Game::Imports,
            Game::Imports,
            Game::Imports,
            Game::Both,
            Game::Both,
            Game::Both,
            Game::Both,
            Game::Stateless,
        ]);
        let is_sharp = seed >= SHARP;
        let mut knobs = Knobs::by_chance(&mut chance);
        if is_sharp && seed % 3 == 1 {
            knobs.stale_lists = 12;
        }
        let prefix = *chance.pick(&["", "p/", "p/q/"]);
        let policies = [
            OnConflict::Fail,
            OnConflict::Fail,
            OnConflict::Fail,
            OnConflict::Local,
            OnConflict::Store,
            OnConflict::Newest,
            OnConflict::KeepBoth,
        ];
        let (exports, imports) = (*chance.pick(&policies), *chance.pick(&policies));
        let brake = *chance.pick(&[None, None, None, Some(2)]);
        let deletes = match brake {
            _ if chance.percent(15) => Deletes::Never,
            Some(count) => Deletes::Apply(Brake { count, percent: 0 }),
            None => Deletes::Apply(Brake::default()),
        };
        let jobs = Jobs::new(*chance.pick(&[1, 2, 3, 8])).unwrap();
        let directories = *chance.pick(&[Directories::default(), Directories::Read]);
        let place = Prefix::parse(prefix).unwrap();
        let exporting = ExportOptions::new(Profile::fsx())
            .with_bucket("bucket")
            .with_prefix(place.clone())
            .with_jobs(jobs)
            .with_lookers(Jobs::new(1).unwrap())
            .with_deletes(deletes)
            .with_directories(directories)
            .with_on_conflict(exports);
        let importing = ImportOptions::new(Profile::fsx())
            .with_bucket("bucket")
            .with_prefix(place)
            .with_jobs(jobs)
            .with_deletes(deletes)
            .with_on_conflict(imports);
        let has_rival = matches!(game, Game::Exports | Game::Both) && chance.percent(20);
        let is_coarse = is_sharp && seed.is_multiple_of(3);
        let state_fails = if chance.percent(15) { 4 } else { 0 };
        let tree_fails = if chance.percent(20) { 8 } else { 0 };
        let rules = Rulebook {
            prefix: prefix.to_owned(),
            is_coarse,
            is_digest: knobs.etags == ETags::Md5,
            has_state: game != Game::Stateless,
            exports,
            imports,
            brake,
        };
        // Where nothing is refused, what comes in between is overwritten, and the report says so.
        let minds = knobs.conditions == Conditions::Honoured;
        let sharp = (is_sharp && minds).then(|| Maker::another(Chance::new(!seed)));
        let engine = |chance: &mut Chance| Engine {
            ground: Arc::new(make()),
            log: Arc::new(Mutex::new(Log::new(tree_fails, chance.fork()))),
            disk: Arc::new(Disk::new(state_fails, chance.fork())),
        };
        let engines: Vec<Engine<T>> = (0..=usize::from(has_rival)).map(|_| engine(&mut chance)).collect();
        let often = [0, 0, 1, 4];
        Self {
            maker: Maker::new(chance.fork()),
            schedule: Arc::default(),
            bucket: Arc::new(Bucket::new(knobs, chance.fork())),
            judge: Judge::new(rules, engines.len()),
            edits: *chance.pick(&often),
            interferes: *chance.pick(&often),
            sharp,
            engines,
            game,
            exporting,
            importing,
            is_coarse,
            runs: 0,
            played: Played::default(),
            chance,
        }
    }

    fn play(&mut self) {
        self.begin();
        for _ in 0..1 + self.chance.below(4) {
            self.troubled_run();
            self.pause();
        }
        self.end();
        let states = self.engines.iter().map(|engine| engine.disk.faults() + engine.log.lock().unwrap().faults);
        self.played.faults = self.bucket.faults() + states.sum::<u64>();
        self.played.steps = self.schedule.given();
        self.played.runs = self.runs;
    }

    // --------------------------------------------------------------------------------------- the neighbours

    fn begin(&mut self) {
        let (edits, changes) = match self.game {
            Game::Exports => (12, *self.chance.pick(&[0, 0, 0, 3])),
            Game::Imports => (*self.chance.pick(&[0, 0, 0, 3]), 14),
            Game::Both | Game::Stateless => (8, 8),
        };
        for engine in 0..self.engines.len() {
            self.engines[engine].ground.set_tick(std::time::Duration::from_millis(1));
            for _ in 0..edits {
                self.edit(engine);
            }
        }
        for _ in 0..changes {
            self.interfere();
        }
    }

    fn edit(&mut self, engine: usize) {
        let tick = self.maker.tick(self.is_coarse);
        let Engine { ground, log, .. } = &self.engines[engine];
        let before = ground.see();
        ground.set_tick(tick);
        let busy = log.lock().unwrap().last.clone();
        self.maker.edit(&**ground, busy);
        let after = ground.see();
        self.judge.edited(engine, &before, &after, &mut log.lock().unwrap());
    }

    fn interfere(&mut self) {
        self.maker.interfere(&self.bucket, &self.judge.rules.prefix.clone());
        self.judge_now();
    }

    /// What has happened since the last time is judged.
    fn judge_now(&mut self) {
        for (number, engine) in self.engines.iter().enumerate() {
            let log = &mut *engine.log.lock().unwrap();
            for change in std::mem::take(&mut log.changed) {
                self.judge.changed(number, change, log);
            }
        }
        let logs: Vec<_> = self.engines.iter().map(|engine| engine.log.lock().unwrap()).collect();
        let logs: Vec<&Log> = logs.iter().map(|log| &**log).collect();
        for event in self.bucket.take_events() {
            self.judge.happened(event, &self.bucket, &logs);
        }
    }

    // ---------------------------------------------------------------------------------------------- the runs

    /// Lets runs go on, call by call, until they end or the process stops.
    fn drive(&mut self, mut runs: Vec<Option<Run<'_>>>, crash_at: Option<u64>, is_calm: bool) -> Vec<Ended> {
        let mut ended: Vec<Ended> = runs.iter().map(|_| None).collect();
        let (begun, mut idle) = (self.schedule.given(), 0);
        loop {
            for (run, ended) in runs.iter_mut().zip(&mut ended) {
                let Some(going) = run else { continue };
                if let Poll::Ready(result) = going.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    *ended = Some(result);
                    *run = None;
                }
            }
            self.judge_now();
            if runs.iter().all(Option::is_none) {
                return ended;
            }
            let given = self.schedule.given() - begun;
            assert!(given < 200_000, "the runs do not come to an end");
            if crash_at.is_some_and(|crash| given >= crash) {
                return ended;
            }
            if !is_calm {
                if self.chance.percent(self.edits) {
                    let engine = self.chance.below(self.engines.len());
                    self.edit(engine);
                }
                if self.chance.percent(self.interferes) {
                    self.interfere();
                }
                if let Some(key) = self.bucket.take_sending().filter(|key| !key.ends_with('/'))
                    && let Some(sharp) = self.sharp.as_mut().and_then(|sharp| sharp.chance.percent(15).then_some(sharp))
                {
                    sharp.pounce(&self.bucket, &key);
                    self.judge_now();
                }
                let late = self.bucket.late();
                if late > 0 && self.chance.percent(4) {
                    self.bucket.let_arrive(self.chance.below(late));
                    self.judge_now();
                }
            }
            let waiting = self.schedule.waiting();
            if waiting == 0 {
                idle += 1;
                assert!(idle < 1000, "nobody goes on");
                continue;
            }
            idle = 0;
            self.schedule.give(self.chance.below(waiting));
        }
    }

    /// Runs of engines; those of the first one that ended.
    fn run(&mut self, ways: &[(usize, Way)], crash_at: Option<u64>, is_calm: bool) -> Ended {
        let mut edges = Vec::new();
        for &(number, way) in ways {
            self.runs += 1;
            let Engine { ground, log, disk } = &self.engines[number];
            let (tree, schedule) = (Arc::clone(ground), Arc::clone(&self.schedule));
            log.lock().unwrap().told = Default::default();
            let watched = Watched { tree, schedule: Arc::clone(&schedule), log: Arc::clone(log) };
            let bucket = Arc::clone(&self.bucket);
            let store = SimStore { bucket, schedule: Arc::clone(&schedule), number, run: self.runs };
            let state = SimState { disk: Arc::clone(disk), schedule };
            self.judge.begins(number, self.runs);
            self.judge.tells(|| format!("----- {number}: {way:?}, crash {crash_at:?}, calm {is_calm}"));
            edges.push((way, watched, store, state));
        }
        let (exporting, importing) = (self.exporting.clone(), self.importing.clone());
        let has_state = self.game != Game::Stateless;
        let runs = edges.iter().map(|(way, tree, store, state)| -> Option<Run<'_>> {
            let state: &dyn StateStore = state;
            Some(match (way, has_state) {
                (Way::Export, true) => Box::pin(export_since(tree, store, state, &exporting, &Silent)),
                (Way::Import, true) => Box::pin(import_since(store, tree, state, &importing, &Silent)),
                (Way::Export, false) => Box::pin(export(tree, store, &exporting, &Silent)),
                (Way::Import, false) => Box::pin(import(store, tree, &importing, &Silent)),
            })
        });
        let mut ended = self.drive(runs.collect(), crash_at, is_calm);
        self.judge_now();
        for (&(number, _), ended) in ways.iter().zip(&ended) {
            let whole = matches!(ended, Some(Ok(_)));
            self.judge.ends(number, whole);
            if let Some(ended) = ended {
                let report = ended.as_ref().unwrap_or_else(|error| error.report());
                sums_agree(report);
                self.judge.tells(|| format!("----- {number} ended, whole {whole}: {report:?}"));
            }
            let tells = self.bucket.knobs.etags != ETags::Unstable && self.bucket.knobs.stale_reads == 0;
            self.judge.records(number, self.engines[number].disk.bytes(Part::Snapshot), tells);
        }
        ended.swap_remove(0)
    }

    fn way(&mut self) -> Way {
        match self.game {
            Game::Exports => Way::Export,
            Game::Imports => Way::Import,
            Game::Both | Game::Stateless => *self.chance.pick(&[Way::Export, Way::Import]),
        }
    }

    fn troubled_run(&mut self) {
        let mut ways = vec![(0, self.way())];
        if self.engines.len() > 1 && self.chance.percent(70) {
            ways.push((1, Way::Export));
        }
        let places = *self.chance.pick(&[30, 200, 600]);
        let crash_at = self.chance.percent(65).then(|| self.chance.below(places) as u64);
        let ended = self.run(&ways, crash_at, false);
        if ended.is_none() {
            self.played.crashes += 1;
            let power = self.chance.percent(40);
            for engine in 0..self.engines.len() {
                let Engine { ground, log, disk } = &mut self.engines[engine];
                let before = ground.see();
                if power {
                    disk.lose_power();
                }
                *ground = ground.crash(power, &mut self.chance);
                let after = ground.see();
                self.judge.lost(engine, &before, &after, &mut log.lock().unwrap());
            }
            self.judge.tells(|| format!("----- crash, power {power}"));
        }
    }

    fn pause(&mut self) {
        let most = if self.edits > 0 || self.game != Game::Imports { 5 } else { 1 };
        for _ in 0..self.chance.below(most) {
            let engine = self.chance.below(self.engines.len());
            self.edit(engine);
        }
        let most = if self.interferes > 0 || self.game == Game::Imports { 5 } else { 1 };
        for _ in 0..self.chance.below(most) {
            self.interfere();
        }
        while self.bucket.late() > 0 && self.chance.percent(40) {
            self.bucket.let_arrive(self.chance.below(self.bucket.late()));
            self.judge_now();
        }
        self.bucket.wait(2500);
    }

    // ----------------------------------------------------------------------------------------------- the end

    fn end(&mut self) {
        while self.bucket.late() > 0 {
            if self.chance.percent(50) {
                self.bucket.let_arrive(self.chance.below(self.bucket.late()));
                self.judge_now();
            } else {
                self.bucket.forget_late();
            }
        }
        self.bucket.calm_down();
        for engine in &self.engines {
            engine.disk.calm_down();
            engine.log.lock().unwrap().calm_down();
            engine.ground.set_tick(std::time::Duration::from_secs(10));
        }
        // Whatever comes from now on is not of the same moment.
        match self.game {
            Game::Exports => self.settle(&[Way::Export]),
            Game::Imports => self.settle(&[Way::Import]),
            Game::Both if self.chance.percent(50) => self.settle(&[Way::Import, Way::Export]),
            Game::Both => self.settle(&[Way::Export, Way::Import]),
            Game::Stateless => self.settle_without_state(),
        }
        if self.chance.percent(25) {
            self.any_order_comes_to_the_same();
        }
        self.audit();
    }

    fn calm_run(&mut self, way: Way) -> Report {
        self.bucket.wait(2500);
        match self.run(&[(0, way)], None, true) {
            Some(Ok(report)) => report,
            other => panic!("a run without faults fails: {other:?}"),
        }
    }

    /// Runs without faults; both sides agree then, and a further run has nothing to do.
    fn settle(&mut self, ways: &[Way]) {
        let first: Vec<Report> = ways.iter().map(|way| self.calm_run(*way)).collect();
        let honest = self.bucket.knobs.keeps_its_word();
        let lacks = self.bucket.knobs.conditions == Conditions::None;
        let exports = ways.contains(&Way::Export);
        if lacks && exports {
            let says = first.iter().any(|report| report.lacking.iter().any(|line| line.contains("no preconditions")));
            assert!(says, "X7: the report does not say that there are no preconditions");
        }
        if !honest {
            return;
        }
        self.converged(ways, &first, true);
        let second: Vec<(Report, u64)> =
            ways.iter().map(|way| (self.calm_run(*way), self.judge.engines[0].changes)).collect();
        let is_one_way = ways.len() == 1;
        let left = first.iter().any(|report| report.gone > 0);
        // What cannot be had is tried each time: a file that is kept beside its object gets its name back.
        let keeps_both = self.importing.on_conflict == OnConflict::KeepBoth;
        let tries_again = |report: &Report| keeps_both && report.failed > 0;
        if is_one_way && !left && !tries_again(&second[0].0) {
            assert_eq!(second[0].1, 0, "X5, I6: a second run has changed something: {:?}", second[0].0);
        }
        let reports: Vec<Report> = second.into_iter().map(|(report, _)| report).collect();
        self.converged(ways, &reports, false);
        // What both sides held against each other is settled by then, and what came of that in the tree is still to be sent.
        if !is_one_way && first.iter().any(|report| report.conflicts > 0) {
            ways.iter().for_each(|way| _ = self.calm_run(*way));
        }
        for way in ways {
            let report = self.calm_run(*way);
            let changes = self.judge.engines[0].changes;
            if tries_again(&report) {
                continue;
            }
            assert_eq!(changes, 0, "X5, I6: a further run has changed something: {report:?}");
            if *way == Way::Import {
                assert_eq!(report.bytes, 0, "I6: {report:?}");
            }
        }
    }

    fn is_excused(&mut self, path: &str, sets: &[&BTreeSet<String>]) -> bool {
        let excused = sets.iter().any(|set| covers(set, path));
        if excused {
            self.played.excused += 1;
        } else {
            self.played.converged += 1;
        }
        excused
    }

    /// What nobody but one side has changed is the same on both.
    fn converged(&mut self, ways: &[Way], reports: &[Report], first: bool) {
        let (tree, objects) = (self.engines[0].ground.see(), self.objects());
        let facts = &self.judge.engines[0];
        let (local, remote) = (facts.local.clone(), facts.remote.clone());
        let (late, unrecorded) = (facts.late.clone(), facts.unrecorded.clone());
        let braked = reports.iter().any(|report| report.braked.is_some());
        let deletes = self.exporting.deletes != Deletes::Never && !braked;
        if ways.contains(&Way::Export) {
            for (path, node) in &tree {
                // What an import has kept beside is sent by the export after it.
                if self.is_excused(path, &[&remote, &late]) || (first && path.contains(".local-")) {
                    continue;
                }
                let key = if node.kind == Kind::Directory { format!("{path}/") } else { path.clone() };
                let held = objects.get(&key);
                // Where an ETag is no digest, size and time tell of what was put without anybody hearing of it.
                if self.bucket.knobs.etags != ETags::Md5 && self.judge.has_twins(0, path, node) {
                    continue;
                }
                assert!(
                    held.is_some_and(|held| is_encoded(&key, node, held)),
                    "X4: {key} is {node:?} here, and there {held:?}: {reports:?}"
                );
            }
            for key in objects.keys().filter(|_| deletes && !first) {
                let is_here =
                    tree.get(path_of(key)).is_some_and(|node| (node.kind == Kind::Directory) == key.ends_with('/'));
                if is_here || self.is_excused(path_of(key), &[&remote, &late]) {
                    continue;
                }
                panic!("X4: {key} is gone here, and still there: {reports:?}");
            }
        }
        // What an export has put without hearing of it, and is gone by now, is deleted by the export after the next.
        let waits = first && reports.iter().any(|report| report.gone > 0);
        if ways.contains(&Way::Import) && !waits {
            self.tree_converged(&tree, &objects, reports, (&local, &late, &unrecorded), deletes && !first);
        }
    }

    fn tree_converged(
        &mut self,
        tree: &Tree,
        objects: &BTreeMap<String, Arc<Version>>,
        reports: &[Report],
        (local, late, unrecorded): (&BTreeSet<String>, &BTreeSet<String>, &BTreeSet<String>),
        deletes: bool,
    ) {
        let bucket: model::Bucket =
            objects.iter().map(|(key, version)| (key.clone(), super::judge::object(version))).collect();
        let (expected, _) = model::import(&bucket, "", &Rules::FSX, &Tree::new());
        let is_told = |path: &str| {
            let told: BTreeSet<String> = reports
                .iter()
                .flat_map(|report| &report.problems)
                .map(|problem| path_of(&problem.key).to_owned())
                .collect();
            covers(&told, path)
        };
        for (path, node) in &expected {
            if self.is_excused(path, &[local, late]) {
                continue;
            }
            let key = if node.kind == Kind::Directory { format!("{path}/") } else { path.clone() };
            let told = is_told(path);
            // A run that was cut says nothing of what it has made; and what takes another's place waits for that.
            let keeps =
                matches!(self.importing.on_conflict, OnConflict::Local | OnConflict::Newest | OnConflict::KeepBoth);
            if keeps && covers(unrecorded, path) {
                continue;
            }
            if told && (covers(unrecorded, path) || self.judge.had_two_kinds(path) || !deletes) {
                continue;
            }
            let now = tree.get(path);
            let version = objects.get(&key);
            let whole = version.and_then(|version| decoded(&key, version)).is_some_and(|(_, whole)| whole);
            let alike = |now: &Node| match (version, whole) {
                (Some(_), true) => stored(now) == stored(node),
                _ => now.kind == node.kind,
            };
            assert!(now.is_some_and(alike), "X4: {key} is {node:?} there, and here {now:?}: {reports:?}");
        }
        for (path, node) in tree.iter().filter(|_| deletes) {
            let key = if node.kind == Kind::Directory { format!("{path}/") } else { path.clone() };
            let is_there = expected.contains_key(path) || objects.keys().any(|other| path_of(other) == path);
            // What was made only for what is in it has no object to be gone.
            let had_object = self.judge.was_ever(&key, node);
            if is_there || !had_object || is_told(path) || self.is_excused(path, &[local, late, unrecorded]) {
                continue;
            }
            panic!("X4: {key} is gone there, and still here: {reports:?}");
        }
    }

    fn objects(&self) -> BTreeMap<String, Arc<Version>> {
        let prefix = &self.judge.rules.prefix;
        let behind = |(key, version): (String, _)| Some((key.strip_prefix(prefix)?.to_owned(), version));
        self.bucket.objects().into_iter().filter_map(behind).filter(|(key, _)| !key.is_empty()).collect()
    }

    fn settle_without_state(&mut self) {
        let report = self.calm_run(Way::Export);
        assert_eq!((report.failed, report.conflicts), (0, 0), "{report:?}");
        let (tree, objects) = (self.engines[0].ground.see(), self.objects());
        for (path, node) in &tree {
            let key = if node.kind == Kind::Directory { format!("{path}/") } else { path.clone() };
            let held = objects.get(&key);
            assert!(held.is_some_and(|held| is_encoded(&key, node, held)), "X4: {key} is {node:?}, and {held:?}");
            self.played.converged += 1;
        }
        let unstable = self.bucket.knobs.etags == ETags::Unstable;
        let _ = self.calm_run(Way::Import);
        let report = self.calm_run(Way::Import);
        let changes = self.judge.engines[0].changes;
        assert!(changes == 0 || unstable, "I6: a second import has changed something: {report:?}");
    }

    /// I9: an import into nothing, in two orders.
    fn any_order_comes_to_the_same(&mut self) {
        let mut made = Vec::new();
        for _ in 0..2 {
            let (tree, schedule): (_, Arc<Schedule>) = (MemoryTree::new(), Arc::default());
            let store =
                SimStore { bucket: Arc::clone(&self.bucket), schedule: Arc::clone(&schedule), number: 99, run: 0 };
            let jobs = Jobs::new(*self.chance.pick(&[1, 2, 5, 16])).unwrap();
            let options = self.importing.clone().with_jobs(jobs);
            let tree = Arc::new(tree);
            let log = Arc::new(Mutex::new(Log::new(0, Chance::new(0))));
            let watched = Watched { tree: Arc::clone(&tree), schedule: Arc::clone(&schedule), log };
            let mut run = Box::pin(import(&store, &watched, &options, &Silent));
            loop {
                if let Poll::Ready(report) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    sums_agree(&report.unwrap());
                    break;
                }
                if schedule.waiting() > 0 {
                    schedule.give(self.chance.below(schedule.waiting()));
                }
            }
            made.push(tree_of(&tree));
        }
        assert_eq!(made[0], made[1], "I9: two orders of one import come to different trees");
    }

    /// It says something of each object, and changes nothing.
    fn audit(&mut self) {
        let (schedule, mut remarks): (Arc<Schedule>, u64) = (Arc::default(), 0);
        let store = SimStore { bucket: Arc::clone(&self.bucket), schedule: Arc::clone(&schedule), number: 99, run: 0 };
        {
            let profile = Profile::fsx();
            let mut run = Box::pin(audit(&store, &self.importing.prefix, &profile, |_| remarks += 1));
            loop {
                if let Poll::Ready(audit) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    audit.unwrap();
                    break;
                }
                if schedule.waiting() > 0 {
                    schedule.give(self.chance.below(schedule.waiting()));
                }
            }
        }
        assert!(self.bucket.take_events().is_empty(), "an audit changes the bucket");
    }
}

/// X8, I7.
fn sums_agree(report: &Report) {
    let ends =
        [report.unchanged, report.written, report.metadata_only, report.skipped, report.failed, report.conflicts];
    assert_eq!(report.entries, ends.iter().sum::<u64>(), "X8: {report:?}");
}
