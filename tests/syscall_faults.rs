//! Any system call may fail: the program ends, says what it could not do, leaves no torn file and no torn object, and the next
//! run ends where an untroubled one does.
//!
//! strace makes the calls of the example program fail; see `power::faults`. Where `POSIX_S3_MUST_RUN` is set, every call is
//! made to fail with every error, at one of its places (at `POSIX_S3_EFFORT` of them); without it only some of them are.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod figures;
mod power;

use posix_s3::tree::LocalTree;
use power::check::Case;
use power::enumerate::Chance;
use power::faults::{self, Site};
use power::workload::{Ended, Place, WORKLOADS, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The workloads of which every call is made to fail.
const TROUBLED: [&str; 4] = ["first import", "first export", "import of changes", "restore"];

#[test]
fn any_system_call_may_fail() {
    if !power::may_run("system calls that fail") {
        return;
    }
    let all = std::env::var_os("POSIX_S3_MUST_RUN").is_some();
    let _alone = alone();
    let seed = figures::seed().unwrap_or(1);
    let only = std::env::var("POSIX_S3_WORKLOAD").ok();
    let mut chance = Chance::new(seed);
    let directory = power::quick();
    let mut worlds = Vec::new();
    // By call and error: in which world, and where.
    let mut cells: BTreeMap<(String, &str), Vec<(usize, Site)>> = BTreeMap::new();
    for name in TROUBLED.into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)) {
        let workload = WORKLOADS.into_iter().find(|workload| workload.name == name).unwrap();
        let directory = directory.path().join(worlds.len().to_string());
        fs::create_dir(&directory).unwrap();
        let world = World::new(workload, &directory);
        let place = world.reset(0);
        let (numbers, sites) = faults::sites(&workload, &place, &world.log(0));
        let counts: Vec<String> = numbers.iter().map(|(call, numbers)| format!("{call} {}", numbers.len())).collect();
        println!("{name}: {} calls touch the directories: {}", counts.len(), counts.join(", "));
        for site in sites {
            cells.entry((site.call.clone(), site.error)).or_default().push((worlds.len(), site));
        }
        worlds.push(world);
    }
    let (wanted, count) = (figures::effort(), cells.len());
    let mut cells: Vec<_> = cells.into_iter().collect();
    shuffle(&mut cells, &mut chance);
    if !all {
        cells.truncate(usize::try_from(20 * wanted).unwrap());
    }
    for (_, sites) in &mut cells {
        shuffle(sites, &mut chance);
        // Which thread makes a call is not always the same, and so its number is not.
        sites.truncate(usize::try_from(wanted + 8).unwrap());
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new((BTreeSet::new(), 0, Vec::new())));
    std::thread::scope(|scope| {
        for hand in 0..hands() {
            let (worlds, cells, next, done) = (&worlds, &cells, &next, &done);
            scope.spawn(move || {
                while let Some((cell, sites)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (mut happened, mut runs) = (0, 0);
                    for (world, site) in sites {
                        if happened == wanted {
                            break;
                        }
                        runs += 1;
                        match worlds[*world].check(hand, site) {
                            Ok(came) => happened += u64::from(came),
                            Err(error) => {
                                happened += 1;
                                println!("{site:?}: {error}");
                                let failure = format!("{}, {site:?}: {error}", worlds[*world].workload.name);
                                done.lock().unwrap().2.push(failure);
                            }
                        }
                    }
                    let mut done = done.lock().unwrap();
                    done.1 += runs;
                    if happened > 0 {
                        done.0.insert(cell.clone());
                    }
                }
            });
        }
    });
    let (visited, runs, failures) = done.into_inner().unwrap();
    let calls: BTreeSet<&str> = visited.iter().map(|(call, _)| call.as_str()).collect();
    println!("{} calls", calls.len());
    let cells: BTreeSet<_> = cells.into_iter().map(|(cell, _)| cell).collect();
    println!("seed {seed}: {runs} runs, {} of {} cells of calls and errors visited", visited.len(), count);
    assert!(
        failures.is_empty(),
        "{} of {runs}:\n{}\nPOSIX_S3_SEED={seed} POSIX_S3_MUST_RUN=1 POSIX_S3_EFFORT={wanted} cargo test --test syscall_faults any_system_call",
        failures.len(),
        failures.join("\n\n"),
    );
    if all && only.is_none() {
        let missed: Vec<_> = cells.difference(&visited).collect();
        assert!(missed.is_empty(), "these never came to pass: {missed:?}");
        figures::record("system-call faults", visited.len() as u64, 250);
    }
}

#[test]
fn the_program_may_be_killed_at_any_moment() {
    if !power::may_run("kills of the program") {
        return;
    }
    let _alone = alone();
    let seed = figures::seed().unwrap_or(1);
    let mut chance = Chance::new(seed);
    let mut kills = 0;
    for name in ["import of changes", "export of changes", "first import", "first export"] {
        let workload = WORKLOADS.into_iter().find(|workload| workload.name == name).unwrap();
        let directory = power::quick();
        let world = World::new(workload, directory.path());
        let place = world.reset(0);
        let began = std::time::Instant::now();
        assert!(program(&workload, &place).wait().unwrap().success());
        let usual = u64::try_from(began.elapsed().as_micros()).unwrap();
        let mut killed = 0;
        while killed < 8 * figures::effort() {
            let place = world.reset(0);
            let mut child = program(&workload, &place);
            std::thread::sleep(Duration::from_micros(chance.below(usual.max(1))));
            // SIGKILL.
            child.kill().unwrap();
            killed += u64::from(child.wait().unwrap().signal() == Some(9));
            if let Err(error) = world.check_after(&place, true, false) {
                panic!("{name}, killed: {error}\nPOSIX_S3_SEED={seed} cargo test --test syscall_faults killed");
            }
        }
        kills += killed;
    }
    figures::record("kills", kills, 32 * figures::effort());
}

/// As many as there are processors, and no more than four.
fn hands() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4))
}

/// One test at a time: a child that is about to be run holds the locks of its parent for a moment.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shuffle<T>(items: &mut [T], chance: &mut Chance) {
    for place in (1..items.len()).rev() {
        items.swap(place, usize::try_from(chance.below(place as u64 + 1)).unwrap());
    }
}

fn program(workload: &Workload, place: &Place) -> std::process::Child {
    let mut program = Command::new(workload.program(place));
    program.args(workload.arguments(place)).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    power::begin(&mut program)
}

/// A workload, again and again from its start.
struct World {
    workload: Workload,
    directory: PathBuf,
    case: Case,
}

impl World {
    fn new(workload: Workload, directory: &Path) -> Self {
        let base = directory.join("base");
        fs::create_dir(&base).unwrap();
        Self { case: Case::record(workload, &base), workload, directory: directory.to_owned() }
    }

    fn log(&self, hand: usize) -> PathBuf {
        self.directory.join(hand.to_string()).join("strace")
    }

    /// What is there before the run, in the directory of whoever runs it.
    fn reset(&self, hand: usize) -> Place {
        let directory = self.directory.join(hand.to_string());
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        let base = directory.join("base");
        fs::create_dir_all(&base).unwrap();
        let place = Place::new(&base);
        self.workload.prepare(&place);
        place
    }

    /// Answers whether the call came to fail.
    fn check(&self, hand: usize, site: &Site) -> Result<bool, String> {
        let (place, log) = (self.reset(hand), self.log(hand));
        let (output, happened) = faults::run(&self.workload, &place, site, &log);
        if site.call == "write" && !happened {
            return Ok(false);
        }
        let Output { status, stderr, .. } = &output;
        let said = String::from_utf8_lossy(stderr);
        // The standard library holds that to be impossible, and it is: closing a directory does nothing that could fail.
        if site.call == "close" && said.contains("unexpected error during closedir") {
            return Ok(happened);
        }
        match status.code() {
            None => return Err(format!("it was ended by a signal: {status}: {said}")),
            Some(124 | 137) => return Err("it did not end".into()),
            Some(101) => return Err(format!("it panicked: {said}")),
            Some(_) if said.contains("panicked") => return Err(format!("it panicked: {said}")),
            // The system could not even start it.
            Some(127) => return Ok(happened),
            Some(0) => {}
            Some(_) if said.trim().is_empty() => return Err(format!("{status}, and it said nothing")),
            Some(_) => {}
        }
        if let Some(line) = faults::synced_again(&log) {
            return Err(format!("synced again after that had failed: {line}"));
        }
        // That something is not there, is no directory or cannot be there is taken at its word.
        let is_absence = ["ENOENT", "ENOTDIR", "ENODATA", "EOPNOTSUPP"].contains(&site.error);
        // Where nobody can tell who has a file open, a restore that cannot put back what it has exchanged leaves it beside, and
        // says so.
        if site.call == "getdents64" && site.for_good && self.workload.name == "restore" && !status.success() {
            return Ok(happened);
        }
        // An owner that the system does not permit is left out, which is said, and agreed on.
        if site.error == "EPERM" && said.contains("could not be applied") {
            return Ok(happened);
        }
        if status.success() && !is_absence {
            let _here = power::in_this_process();
            self.case.check_ended(&place).map_err(|error| format!("it ended well, but {error}; {said}"))?;
        }
        // Whoever is told to the end that what is there is not forgets it. The next run takes it for somebody else's, which is a
        // conflict and loses nothing.
        let lied_to = is_absence && site.for_good && !status.success();
        self.check_after(&place, !is_absence, lied_to).map_err(|error| format!("{error}; it said: {said}"))?;
        Ok(happened)
    }

    /// What holds after a run that was cut short or failed in part: names show old or new, and the next run does the rest.
    fn check_after(&self, place: &Place, complete: bool, lied_to: bool) -> Result<(), String> {
        let _here = power::in_this_process();
        self.case.check_between(place, complete)?;
        let run = || self.workload.run(&LocalTree::open(place.path("tree")).unwrap(), &place.base, &place.bucket());
        match run() {
            Err(Ended::Incomplete(problems))
                if lied_to && problems.iter().all(|problem| problem.contains("outcome: Conflict")) =>
            {
                println!("a conflict after what was there was said not to be: {problems:?}");
                return Ok(());
            }
            other => other.map_err(|error| format!("the next run: {error:?}"))?,
        };
        self.case.check_ended(place).map_err(|error| format!("after the next run: {error}"))?;
        let inodes = || ["tree", "bucket"].map(|name| faults::inodes(&place.path(name)));
        let before = inodes();
        run().map_err(|error| format!("the run after: {error:?}"))?;
        for (before, after) in before.iter().zip(&inodes()) {
            let changed: Vec<_> = after.iter().filter(|(path, inode)| before.get(*path) != Some(inode)).collect();
            // The bucket's own lock and staging directory are opened with every run.
            let changed: Vec<String> = changed.iter().map(|(path, _)| path.escape_ascii().to_string()).collect();
            if !changed.is_empty() || before.len() != after.len() {
                return Err(format!("the run after has changed {changed:?}"));
            }
        }
        Ok(())
    }
}
