//! The tree that is made up does what the kernel does: random calls on it and on a real one, and a look at both.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a test"
)]

mod figures;
mod kernel;
mod namespace;
mod sim;

use kernel::call::{Call, Numbers, Side, Stands};
use kernel::editor::RealEditor;
use kernel::generate::Draw;
use kernel::judge;
use kernel::tally::Tally;
use posix_s3::tree::LocalTree;
use sim::disk::Options;
use sim::tree::SimTree;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Two, since CI has so many cores.
const THREADS: u64 = 2;

/// Where a real tree is to be.
#[derive(Clone, Copy)]
struct Ground {
    name: &'static str,
    numbers: Numbers,
    options: Options,
}

const TMPFS: Ground = Ground { name: "tmpfs", numbers: Numbers::Fresh, options: Options::TMPFS };
const EXT4: Ground = Ground {
    name: "ext4",
    numbers: Numbers::Reused,
    // Which number comes again is ext4's secret.
    options: Options { reuses_inodes: false, ..Options::EXT4 },
};

impl Ground {
    /// A directory on it, if there is one.
    fn directory(self) -> Option<PathBuf> {
        if self.name == EXT4.name { namespace::ext4() } else { namespace::tmpfs() }
    }
}

/// Whether time passes between calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Quick,
    /// So much that every clock moves on, and that whoever closes a file elsewhere is through with it.
    Slow,
}

/// Does one sequence on both; says how they differ, if they do.
fn compare(ground: Ground, root: &Path, seed: u64, pace: Pace, tally: &mut Tally) -> Result<(), Difference> {
    fs::create_dir(root).unwrap();
    let (local, simulated) = (LocalTree::open(root).unwrap(), SimTree::new(ground.options));
    let editor = RealEditor::new(root);
    let calls: Vec<Call> = Draw::new(seed).sequence().into_iter().chain([Call::Finish]).collect();
    let mut answers = Vec::new();
    let mut sides = (Side::new(&local, ground.numbers), Side::new(&simulated, ground.numbers));
    let (mut differ, mut may_be_of_time) = (None, false);
    for call in &calls {
        if pace == Pace::Slow {
            thread::sleep(Duration::from_millis(12));
        }
        let (real, made_up) = match call {
            Call::Edit(edit) => (format!("{:?}", editor.apply(edit)), format!("{:?}", simulated.edit(edit))),
            call => (sides.0.ask(call), sides.1.ask(call)),
        };
        if real != made_up {
            // Whoever closes a file of that name while they are asked about may have had this one open.
            let may_be_of_others = real == "InUse None";
            may_be_of_time = may_be_of_others || is_of_a_version(call) && is_changed(&real) != is_changed(&made_up);
            differ = Some((real, made_up));
            break;
        }
        tally.count(call, &real);
        answers.push(real);
    }
    if differ.is_none() {
        let (real, made_up) = (judge::real(&editor), judge::simulated(&simulated));
        differ = (real != made_up).then(|| (format!("{real:#?}"), format!("{made_up:#?}")));
    }
    drop((editor, local));
    fs::remove_dir_all(root).unwrap();
    let Some((real, made_up)) = differ else { return Ok(()) };
    let mut log = String::new();
    answers.push("?".into());
    for (call, answer) in calls.iter().zip(answers) {
        writeln!(log, "{call:?}\n    {answer}").unwrap();
    }
    let again = format!("to see it again: POSIX_S3_SEED={seed} cargo test --test sim_tree");
    Err(Difference { may_be_of_time, text: format!("{log}the kernel: {real}\n  made up: {made_up}\n{again}") })
}

/// How the two differ.
struct Difference {
    /// Whether no more than a ctime or somebody beside can be the cause: one of them finds what was seen before, and the other
    /// finds it changed or in use.
    may_be_of_time: bool,
    text: String,
}

/// Whether a call is about a version that was seen.
fn is_of_a_version(call: &Call) -> bool {
    match call {
        Call::Write { standing, .. } | Call::CreateSymlink { standing, .. } | Call::Place { standing, .. } => {
            matches!(standing, Stands::Version(_))
        }
        Call::Release { .. }
        | Call::SetAttributes { .. }
        | Call::SetTimes { .. }
        | Call::Remove { .. }
        | Call::Rename { .. } => true,
        _ => false,
    }
}

/// Whether the answer is that there is another version, which no system call has said.
fn is_changed(answer: &str) -> bool {
    ["Changed None", "Conflict None"].contains(&answer)
}

fn compare_many(ground: Ground, directory: &Path, first: u64, many: u64) -> Tally {
    let place = tempfile::Builder::new().prefix("posix-s3-kernel-").tempdir_in(directory).unwrap();
    let directory = place.path();
    let (next, slowly) = (AtomicU64::new(0), AtomicU64::new(0));
    let (differences, all) = (Mutex::new(Vec::new()), Mutex::new(Tally::default()));
    let work = |directory: &Path| {
        fs::create_dir_all(directory).unwrap();
        let mut tally = Tally::default();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= many {
                break;
            }
            let (seed, root) = (first.wrapping_add(place), directory.join(place.to_string()));
            let mut compared = compare(ground, &root, seed, Pace::Quick, &mut tally);
            if compared.as_ref().is_err_and(|difference| difference.may_be_of_time) {
                // Measured: what comes within one tick of the clock need not show in a ctime. On tmpfs a directory gets that
                // of the file that was removed from it, at which nobody has looked.
                slowly.fetch_add(1, Ordering::Relaxed);
                compared = compare(ground, &root, seed, Pace::Slow, &mut tally);
            }
            if let Err(difference) = compared {
                let mut differences = differences.lock().unwrap();
                differences.push(difference.text);
                if differences.len() >= TOLD {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                }
            }
        }
        all.lock().unwrap().add(tally);
    };
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (directory, work) = (directory.join(number.to_string()), &work);
            scope.spawn(move || work(&directory));
        }
    });
    let differences = differences.into_inner().unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    let slowly = slowly.into_inner();
    println!("{}: {many} sequences, {slowly} of them once more and slowly", ground.name);
    assert!(slowly <= 2 + many / 10_000, "{slowly} of {many} sequences are another one when they are done slowly");
    all.into_inner().unwrap()
}

/// How many differences are told of.
const TOLD: usize = 12;

#[test]
fn the_tree_that_is_made_up_does_what_the_kernel_does() {
    if !rustix::process::geteuid().is_root() {
        return namespace::not_run("the kernel and the tree that is made up: only the superuser gives files away");
    }
    let (tmpfs, ext4) = (TMPFS.directory(), EXT4.directory());
    match (&tmpfs, &ext4) {
        (None, None) => return namespace::not_run("the kernel and the tree that is made up: neither tmpfs nor ext4"),
        (None, _) => namespace::left_out("the kernel on tmpfs: there is none; POSIX_S3_TMPFS names a directory on one"),
        (_, None) => namespace::left_out("the kernel on ext4: there is none; POSIX_S3_EXT4 names a directory on one"),
        _ => {}
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    if let Some(seed) = figures::seed() {
        for (ground, directory) in [(TMPFS, tmpfs), (EXT4, ext4)] {
            directory.iter().for_each(|directory| _ = compare_many(ground, directory, seed, 1));
        }
        return;
    }
    let effort = figures::effort();
    let (on_tmpfs, on_ext4) = (TMPFS_SEQUENCES * effort, EXT4_SEQUENCES * effort);
    let first = 0x5eed_0000_0000;
    if let Some(directory) = tmpfs {
        assert_varied(&compare_many(TMPFS, &directory, first, on_tmpfs), effort);
        figures::record("kernel sequences on tmpfs", on_tmpfs, 100_000 * effort);
    }
    if let Some(directory) = ext4 {
        compare_many(EXT4, &directory, first + on_tmpfs, on_ext4);
        figures::record("kernel sequences on ext4", on_ext4, 5_000 * effort);
    }
}

const TMPFS_SEQUENCES: u64 = 100_000;
const EXT4_SEQUENCES: u64 = 5_000;

/// Not the same refusals again and again.
fn assert_varied(tally: &Tally, effort: u64) {
    tally.print();
    for (call, done, at_least) in [
        ("WriteFile", "file", 10_000),
        ("CreateDirectory", "directory", 10_000),
        ("CreateSymlink", "symlink", 10_000),
        ("SetAttributes", "file", 1_000),
        ("SetAttributes", "directory", 1_000),
        ("SetTimes", "directory", 1_000),
        ("Remove", "nothing", 5_000),
        ("Rename", "file", 1_000),
        ("Open", "file", 1_000),
        ("CreatePlaceholder", "file", 100),
        ("Release", "file", 20),
        ("rename", "Ok", 1_000),
    ] {
        let many = tally.of(call, &[done]);
        assert!(many >= at_least * effort, "{call} was {many} times answered with \"{done}\"");
    }
}
