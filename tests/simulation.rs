//! The simulation: one seed is one execution of exports and imports over a tree, a bucket and a state that fail, crash and
//! are changed by others, in which every call is a step. Whatever happens, the invariants of `docs::reliability` hold; and
//! when it is quiet again, both sides agree.
//!
//! `POSIX_S3_SEED=… cargo test --test simulation` shows one seed again, with its story.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod figures;
mod model;
mod sim;
mod world;

use posix_s3::tree::MemoryTree;
use sim::disk::Options;
use sim::tree::SimTree;
use std::ops::Range;
use std::panic::catch_unwind;
use world::play::{Played, SHARP, play};

/// How many seeds are played, but for the effort.
const SEEDS: u64 = 5000;

/// How many of those are played whose neighbours know what a run is about to do, but for the effort.
const SHARP_SEEDS: u64 = 600;

/// Seeds that have failed once, and why. They are played whatever the effort.
const FAILED_ONCE: [(u64, &str); 12] = [
    (
        4222,
        "a file was edited with its mtime put back where an ETag is no digest, so that an import took both for the same",
    ),
    (4500, "a file that had taken the place of a directory gave way to the object that was left of that"),
    (
        SHARP + 4491,
        "a directory whose object nobody could look at came back with its file when the power failed, and the file was not sent",
    ),
    (
        SHARP + 6665,
        "an import settles what both sides held against each other, and a directory gets another time by that",
    ),
    (SHARP + 34171, "a directory was replaced by a link while it got its attributes"),
    (SHARP + 6795, "a file was edited with its mtime put back where an ETag is no digest, and an import replaced it"),
    (SHARP + 9506, "a file was edited in the tick in which it was looked at"),
    (SHARP + 14580, "a directory was edited between the look and its removal"),
    (SHARP + 16457, "a file that is kept beside an object that cannot be had gets its name back each time"),
    (SHARP + 19371, "a file was given by hand just what its object says, but for the time"),
    (SHARP + 30805, "a file vanished while a put of it failed, and the object that it had was never deleted"),
    (SHARP + 42418, "a directory vanished while its metadata could not be replaced, and its object was never deleted"),
];

/// Plays seeds, and says which one has failed and how to see it again.
fn play_all(seeds: Range<u64>) -> Played {
    let mut all = Played::default();
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        // On a disk, of which a loss of power takes what was not synced; every fourth in memory, where everything stays.
        let played = catch_unwind(|| match seed % 4 {
            0 => play(seed, MemoryTree::new),
            1 => play(seed, || SimTree::new(Options::TMPFS)),
            _ => play(seed, || SimTree::new(Options::EXT4)),
        });
        match played {
            Ok(Played { crashes, faults, runs, steps, converged, excused }) => {
                all.crashes += crashes;
                all.faults += faults;
                all.runs += runs;
                all.steps += steps;
                all.converged += converged;
                all.excused += excused;
            }
            Err(_) => {
                println!("seed {seed} failed; to see it again: POSIX_S3_SEED={seed} cargo test --test simulation");
                failed.push(seed);
                if failed.len() >= 5 {
                    break;
                }
            }
        }
    }
    println!("seeds {seeds:?}: {all:?}");
    assert!(failed.is_empty(), "seeds {failed:?} of {seeds:?} failed");
    all
}

#[test]
fn whatever_happens_the_invariants_hold_and_both_sides_agree_when_it_is_quiet_again() {
    if let Some(seed) = figures::seed() {
        play_all(seed..seed + 1);
        return;
    }
    for (seed, why) in FAILED_ONCE {
        println!("seed {seed}: {why}");
        play_all(seed..seed + 1);
    }
    let seeds = SEEDS * figures::effort();
    let Played { crashes, faults, .. } = play_all(0..seeds);
    figures::record("simulation seeds", seeds, 500 * figures::effort());
    figures::record("simulated crashes", crashes, 500 * figures::effort());
    figures::record("simulated faults", faults, 1000 * figures::effort());
}

#[test]
fn the_invariants_hold_among_neighbours_who_come_in_between_each_look_and_the_request_after_it() {
    let seeds = SHARP_SEEDS * figures::effort();
    if figures::seed().is_none() {
        play_all(SHARP..SHARP + seeds);
        figures::record("simulation seeds with sharp neighbours", seeds, 300 * figures::effort());
    }
}
