//! Crashes at every call, in every form, over all small workloads: whatever a crash leaves, the next run ends where one that
//! was never cut does, and the run after it changes nothing.
//!
//! A crash is a place between two calls of a run. What it leaves is what is there at that moment outside of the process:
//! both sides, what is of the state, and requests on their way. So a run is made once, and at each of its calls what is there
//! is taken down: before call i with its request on the way, and after it. Whether the answer has come back makes no
//! difference to what is left, since the memory of the process is gone; so the place after call i stands for both, with
//! and without an acknowledgement. Two places that leave the same thing are one case, and runs are a function of what they
//! start from, so each is resumed once.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod boundary;
#[path = "crashes/explore.rs"]
mod explore;
mod figures;
#[path = "crashes/mutation.rs"]
mod mutation;

use boundary::world::{Way, World};
use explore::{Counts, Effort, explore};
use mutation::{Mutation, attributes, directory, link};
use std::sync::Mutex;

/// Where sequences start: both sides agreed on a file, a directory and what is in it, and one of the names is free.
fn bases() -> [World; 2] {
    [0, 1].map(|number| {
        let world = World::new();
        let tree = &world.tree;
        tree.insert(directory("b")).unwrap();
        if number == 0 {
            tree.insert_file("a".parse().unwrap(), "file a", attributes(0o644, 9)).unwrap();
            tree.insert_file("b/a".parse().unwrap(), "file b/a", attributes(0o644, 9)).unwrap();
        } else {
            tree.insert(link("a", "b")).unwrap();
            tree.insert_file("b/b".parse().unwrap(), "file b/b", attributes(0o644, 9)).unwrap();
        }
        synced(&world, Way::Export)
    })
}

/// After a run that nothing happens to.
fn synced(world: &World, way: Way) -> World {
    let ran = world.run(way, 1, boundary::Plan::Nothing);
    ran.result.unwrap();
    ran.world
}

/// Every world that a sequence of so many mutations ends in, right before its last run.
fn workloads(
    (base, way): (&World, Way),
    length: usize,
    done: &mut Vec<Mutation>,
    visit: &mut impl FnMut(&[Mutation], &World),
) {
    for mutation in mutation::all() {
        let mut world = base.copy();
        if !mutation.apply(&mut world, done.len() as u8 + 1) {
            continue;
        }
        done.push(mutation);
        if done.len() == length {
            visit(done, &world);
        } else {
            workloads((&synced(&world, way), way), length, done, visit);
        }
        done.pop();
    }
}

fn try_all(way: Way, effort: &Effort, counts: &Mutex<Counts>, lengths: &[usize]) {
    for (number, base) in bases().iter().enumerate() {
        for length in lengths {
            let mut at = 0_usize;
            workloads((base, way), *length, &mut Vec::new(), &mut |mutations, world| {
                at += 1;
                let what = format!("base {number}, {way:?}, {mutations:?}");
                // Where somebody else has changed the bucket, what comes of a further change depends on when it is seen.
                let may_change = way == Way::Import || !mutations.iter().any(|mutation| mutation.is_remote());
                explore(world, way, at, effort, (&what, may_change), &mut counts.lock().unwrap());
            });
        }
    }
}

#[test]
fn whatever_a_crash_leaves_the_next_run_ends_where_one_that_was_never_cut_does() {
    let (effort, counts) = (Effort::of(figures::effort()), Mutex::new(Counts::default()));
    let started = std::time::Instant::now();
    let mut lengths = vec![1, 2];
    if figures::effort() > 1 {
        lengths.push(3);
    }
    std::thread::scope(|scope| {
        for way in [Way::Export, Way::Import] {
            let (effort, counts, lengths) = (&effort, &counts, &lengths);
            scope.spawn(move || {
                let own = Mutex::new(Counts::default());
                try_all(way, effort, &own, lengths);
                counts.lock().unwrap().add(&own.into_inner().unwrap());
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    println!("{counts:?}, {} runs in {:?}", counts.all_runs, started.elapsed());
    figures::record("workloads", counts.workloads, 1_000);
    figures::record("crash places", counts.places, 100_000);
    figures::record("crash runs", counts.runs, 100_000 * figures::effort());
    figures::record("crash pairs", counts.pairs, 10_000);
}
