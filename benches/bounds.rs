//! What ten million keys take of memory, beside a hundred thousand: `cargo bench --bench bounds`.
//!
//! Each run is a process of its own, whose peak is what the kernel says of it. The bucket makes its keys up, and the tree
//! keeps none of them, so that whatever grows with their number is the engine's. `-- flat import` chooses runs by their
//! names, and `POSIX_S3_KEYS` the number of keys.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a benchmark"
)]

#[path = "../tests/figures/mod.rs"]
mod figures;
#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use futures_executor::block_on;
use posix_s3::Profile;
use posix_s3::engine::{self, Fetch, FileState, ImportOptions, Silent};
use std::process::Command;
use std::time::Instant;
use std::{env, fs};
use synthetic::{APART, Bucket, Nowhere, Shape};

/// What is done with a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Audit,
    Plan,
    /// Everything becomes a placeholder, a link or a directory.
    Import,
    /// The same with a state on a disk; once more, for the state to be read.
    Since,
}

impl Doing {
    const ALL: [Self; 4] = [Self::Audit, Self::Plan, Self::Import, Self::Since];

    const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Plan => "plan",
            Self::Import => "import",
            Self::Since => "since",
        }
    }
}

const FEW: u64 = 100_000;
const MANY: u64 = 10_000_000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [run, shape, doing, count] = arguments.as_slice()
        && run == "run"
    {
        let shape = Shape::ALL.into_iter().find(|one| one.name() == shape).expect("a shape");
        let doing = Doing::ALL.into_iter().find(|one| one.name() == doing).expect("something to do");
        return run_one(shape, doing, count.parse().expect("a number"));
    }
    let many = env::var("POSIX_S3_KEYS").map_or(MANY, |text| text.parse().expect("a number of keys"));
    println!("{:<9} {:<7} {:>10} {:>10} {:>12} {:>8}", "keys", "run", "few, KiB", "many, KiB", "keys", "seconds");
    for shape in Shape::ALL {
        for doing in Doing::ALL {
            let is_chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
            // The state costs a disk; one shape tells of it.
            let is_of_all = doing != Doing::Since || shape == Shape::Wide;
            if !(is_of_all && is_chosen(shape.name()) && (arguments.len() < 2 || is_chosen(doing.name()))) {
                continue;
            }
            let (few, _) = of_a_process(shape, doing, FEW);
            let (peak, seconds) = of_a_process(shape, doing, many);
            println!("{:<9} {:<7} {few:>10} {peak:>10} {many:>12} {seconds:>8.1}", shape.name(), doing.name());
            let name = format!("peak memory of {} {}, KiB", doing.name(), shape.name());
            figures::record_at_most(&name, peak, (few + few / 20 + SLACK).min(MOST));
        }
    }
}

/// What the allocator and the kernel may make of the same work, in KiB.
const SLACK: u64 = 1024;
/// 64 MiB, and two parts for each of 16 jobs.
const MOST: u64 = (64 + 16 * 2 * 8) << 10;

/// Peak memory in KiB and the time of a run in a process of its own.
fn of_a_process(shape: Shape, doing: Doing, count: u64) -> (u64, f64) {
    let begun = Instant::now();
    let program = env::current_exe().unwrap();
    let child = Command::new(program).args(["run", shape.name(), doing.name(), &count.to_string()]).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let peak = String::from_utf8(child.stdout).unwrap().trim().parse().unwrap();
    (peak, begun.elapsed().as_secs_f64())
}

fn run_one(shape: Shape, doing: Doing, count: u64) {
    // As many directories as there would be keys.
    let count = if shape == Shape::Apart { count / APART } else { count };
    let (bucket, tree) = (Bucket::new(shape, count), Nowhere::default());
    let options = ImportOptions::new(Profile::fsx()).with_data(Fetch::OnDemand);
    let entries = match doing {
        Doing::Audit => {
            let audit = block_on(engine::audit(&bucket, &options.prefix, &options.profile, |_| ())).unwrap();
            audit.objects
        }
        Doing::Plan => block_on(engine::plan_import(&bucket, &tree, None, &options, |_| ())).unwrap().entries,
        Doing::Import => block_on(engine::import(&bucket, &tree, &options, &Silent)).unwrap().entries,
        Doing::Since => {
            let place = tempfile::tempdir().unwrap();
            let state = FileState::open(place.path()).unwrap();
            for _ in 0..2 {
                let report = block_on(engine::import_since(&bucket, &tree, &state, &options, &Silent)).unwrap();
                assert_eq!(report.entries, count);
            }
            count
        }
    };
    assert_eq!(entries, count);
    println!("{}", peak());
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
