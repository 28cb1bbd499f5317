//! The power may fail at any system call: whatever the disk holds then, each name shows the old file or the new one, the next
//! run ends where an untroubled one does, and the one after it changes nothing.
//!
//! The example program is recorded by strace; see `power`. By default a sample of what a power loss may leave is tried, by a
//! seed; `POSIX_S3_EFFORT` times as much with it.

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

use power::check::Case;
use power::enumerate::{Chance, Left, at};
use power::workload::WORKLOADS;
use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

/// How many states of each workload are tried with an effort of 1.
const STATES: u64 = 400;

fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

#[test]
fn the_power_may_fail_at_any_system_call() {
    if !power::may_run("power loss at every system call") {
        return;
    }
    let seed = figures::seed().unwrap_or_else(|| u64::from(std::process::id()));
    let only = std::env::var("POSIX_S3_WORKLOAD").ok();
    let (mut tried, mut all, mut moments) = (0, 0, 0);
    for workload in WORKLOADS.into_iter().filter(|workload| only.as_ref().is_none_or(|only| only == workload.name)) {
        let began = std::time::Instant::now();
        let recorded = tempfile::tempdir().unwrap();
        let base = recorded.path().join("base");
        fs::create_dir(&base).unwrap();
        let case = Case::record(workload, &base);
        let mut chance = Chance::new(seed);
        let random = 4 * usize::try_from(figures::effort().min(64)).unwrap();
        // Each state once, wherever it comes from.
        let mut known = HashSet::new();
        let mut lefts: Vec<Left> = Vec::new();
        for moment in 0..case.moments {
            for left in at(&case.history, moment, random, &mut chance) {
                if known.insert(left.disk(&case.start, &case.history).hash()) {
                    lefts.push(left);
                }
            }
        }
        let distinct = lefts.len();
        for place in (1..lefts.len()).rev() {
            lefts.swap(place, usize::try_from(chance.below(place as u64 + 1)).unwrap());
        }
        lefts.truncate(usize::try_from(STATES * figures::effort()).unwrap());
        let scratch = scratch();
        for left in &lefts {
            let base = scratch.path().join("base");
            fs::create_dir(&base).unwrap();
            let disk = left.disk(&case.start, &case.history);
            if let Err(error) = case.check(&disk, &base) {
                let done = |there: bool| -> String {
                    let effects = case.history.effects.iter().enumerate();
                    let chosen = effects.filter(|(at, done)| {
                        done.since <= left.moment && (left.there[*at] == there) && (!there || done.durable > left.moment)
                    });
                    chosen.map(|(at, done)| format!("\n  {at} {}", short(&format!("{:?}", done.effect)))).collect()
                };
                panic!(
                    "{}: the power fails at moment {} of {} ({}, torn {:?}): {error}\nthere, though nobody waited for it:{}\nlost:{}\n\
                     POSIX_S3_SEED={seed} POSIX_S3_EFFORT={} POSIX_S3_WORKLOAD='{}' cargo test --test power_loss",
                    workload.name, left.moment, case.moments, left.how, left.torn, done(true), done(false),
                    figures::effort(), workload.name,
                );
            }
            fs::remove_dir_all(&base).unwrap();
        }
        println!(
            "{}: {} calls, {distinct} states, {} tried in {:?}",
            workload.name, case.moments, lefts.len(), began.elapsed()
        );
        (tried, all, moments) = (tried + lefts.len(), all + distinct, moments + case.moments);
    }
    println!("seed {seed}: {tried} of {all} states");
    if only.is_none() {
        figures::record("power-loss points", moments as u64, 800);
        figures::record("power-loss states", tried as u64, 3_000);
    }
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}
