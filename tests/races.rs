//! Somebody swaps names of the tree for links that lead outside, as fast as the kernel does it, while something is done in it:
//! rows A5 to A9 of the threat model. Nothing outside is changed, and nothing of it is told.
//!
//! That the swaps are quick enough is shown by the ways that are not taken: a check of the path, and then a call by the path.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test"
)]

mod figures;
mod swaps;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use swaps::operations::{Met, OPERATIONS, Operation};
use swaps::scene::{Scene, Spot, fast};
use swaps::unsafe_ways::WAYS;

/// Both processors are for one race at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How many swaps each operation has to bear, half of them of the directory around, half of the name itself.
const FLIPS: u64 = 1_000_000;

/// [`FLIPS`], or what `POSIX_S3_FLIPS` says: fewer, where the race is run once more under other rights.
fn flips_each() -> u64 {
    std::env::var("POSIX_S3_FLIPS").map_or(FLIPS, |text| text.parse().unwrap())
}

/// However busy the machine is, it has to be done by then.
const LONGEST: Duration = Duration::from_secs(900);

#[derive(Default)]
struct Tally {
    flips: u64,
    inside: u64,
    swapped: u64,
    other: u64,
}

/// Does an operation again and again while names are swapped.
fn race(place: &Path, operation: &Operation, spot: Spot, flips: u64) -> Tally {
    let scene = Scene::new(place, spot);
    let mut tally = Tally::default();
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| scene.flip());
        let enough = |tally: &Tally| tally.inside > 0 && tally.swapped > 0 && scene.flipper.flips() >= flips;
        let stop = swaps::flipper::Stop(&scene.flipper);
        let mut turn = 0;
        while !enough(&tally) {
            match (operation.run)(&scene, turn) {
                Met::Inside => tally.inside += 1,
                Met::Swapped => tally.swapped += 1,
                Met::Else => tally.other += 1,
            }
            turn += 1;
            assert!(
                begun.elapsed() < LONGEST,
                "{}, {spot:?}: {} swaps, {} met what is inside, {} the link",
                operation.name,
                scene.flipper.flips(),
                tally.inside,
                tally.swapped
            );
        }
        drop(stop);
    });
    tally.flips = scene.flipper.flips();
    futures_executor::block_on(posix_s3::tree::Tree::finish(&scene.tree)).unwrap();
    scene.outside.assert_unchanged(operation.name);
    tally
}

#[test]
fn no_leaf_operation_is_led_outside_by_names_that_are_swapped() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let flips = flips_each() * figures::effort();
    let (mut all, mut least, mut done, mut met) = (0, u64::MAX, 0, 0);
    for operation in &OPERATIONS {
        let mut of_one = 0;
        for spot in [Spot::Parent, operation.leaf] {
            let begun = Instant::now();
            let tally = race(fast(), operation, spot, flips / 2);
            println!(
                "{} ({spot:?} swapped {} times): {} done, {} met the link, {} neither; {:.1} s",
                operation.name,
                tally.flips,
                tally.inside,
                tally.swapped,
                tally.other,
                begun.elapsed().as_secs_f32(),
            );
            of_one += tally.flips;
            done += tally.inside;
            met += tally.swapped;
        }
        all += of_one;
        least = least.min(of_one);
    }
    figures::record("link-race flips", all, 15 * flips_each());
    figures::record("link-race flips of the operation with the fewest", least, flips_each());
    figures::record("link-race operations done", done, OPERATIONS.len() as u64 * 2);
    figures::record("link-race operations that met the link", met, OPERATIONS.len() as u64 * 2);
}

#[test]
fn on_a_real_disk_it_is_the_same() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut flips = 0;
    // Those that wait for no disk, which would be all that was tried.
    let quick = ["lookup", "list", "look", "create a link", "set times of a directory", "rename"];
    for operation in OPERATIONS.iter().filter(|operation| quick.contains(&operation.name)) {
        for spot in [Spot::Parent, operation.leaf] {
            let begun = Instant::now();
            flips += race(&std::env::temp_dir(), operation, spot, 1000 * figures::effort()).flips;
            println!("{} ({spot:?}): {:.1} s", operation.name, begun.elapsed().as_secs_f32());
        }
    }
    figures::record("link-race flips on a disk", flips, 12_000);
}

/// How often a way that is not taken is tried at least, before it is said not to lead outside.
const TURNS: u64 = 50_000;

/// Else the swaps would be too slow to show anything.
#[test]
fn the_ways_that_are_not_taken_do_lead_outside() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut escaped = 0;
    for way in &WAYS {
        let scene = Scene::new(fast(), way.spot);
        let begun = Instant::now();
        let mut turns = 0_u64;
        thread::scope(|scope| {
            scope.spawn(|| scene.flip());
            let _stop = swaps::flipper::Stop(&scene.flipper);
            loop {
                turns += 1;
                if (way.run)(&scene) || turns.is_multiple_of(16) && !scene.outside.changes().is_empty() {
                    break;
                }
                if way.moves {
                    scene.restore();
                }
                let flips = scene.flipper.flips();
                // On a machine that is busy, turns are few beside swaps.
                assert!(
                    flips < FLIPS || turns < TURNS,
                    "{}: has not been led outside by {flips} swaps in {turns} turns",
                    way.name
                );
                assert!(begun.elapsed() < LONGEST, "{}: {flips} swaps", way.name);
            }
        });
        println!("{}: led outside in turn {turns}, after {} swaps", way.name, scene.flipper.flips());
        escaped += 1;
    }
    figures::record("unsafe ways that were led outside", escaped, WAYS.len() as u64);
}

#[test]
fn an_import_of_either_attitude_changes_nothing_outside() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = swaps::runs::imports(fast(), flips_each() / 10 * figures::effort());
    println!("{runs:?}");
    figures::record("imports under swaps", runs.runs, 8);
    figures::record("link-race flips under imports", runs.flips, flips_each() / 10);
}

#[test]
fn an_export_sends_nothing_from_outside() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = swaps::runs::exports(fast(), flips_each() / 10 * figures::effort());
    println!("{runs:?}");
    figures::record("exports under swaps", runs.runs, 4);
    figures::record("link-race flips under exports", runs.flips, flips_each() / 10);
}
