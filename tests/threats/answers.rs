//! Answers that are not what was announced, and buckets that hold too much. What goes over a wire is in `tests/s3_http.rs`.

use crate::hostile::{Hooked, Liar, Surrounded, bucket, object};
use crate::model::bridge::{self, header_map, memory_store, tree_of};
use crate::model::{Bucket, Kind, Rules, Tree};
use crate::namespace::is_inside;
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::FutureExt;
use posix_s3::engine::{
    Cause, ImportOptions, Jobs, MemoryState, Outcome, RunErrorKind, Selection, Silent, import, import_since,
    plan_import,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{Body, MemoryStore, ObjectStore, Operation, PutOptions};
use posix_s3::tree::{LocalTree, MemoryTree};
use posix_s3::{Attitude, Budget, Profile, Service, Spent};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a25_a_link_body_of_another_length_than_announced_is_a_failure() {
    let link = bucket([("a", object("0120777", b"target"))]);
    for (announced, sent) in [(3, &b"target"[..]), (7, b"target"), (4095, b""), (1, &[b'x'; 9000])] {
        let tree = MemoryTree::new();
        let run = bridge::import(&Liar::with_body(&link, announced, sent), &tree, "", &Rules::FSX);
        assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)], "{announced} announced, {} sent", sent.len());
        assert_eq!(tree_of(&tree), Tree::new());
    }
}

#[test]
fn a25_a_link_of_five_gigabytes_is_refused_without_reading() {
    for announced in [4096, 5_000_000_000, u64::MAX] {
        let store = Liar::with_body(&bucket([("a", object("0120777", b"target"))]), announced, b"target");
        let tree = MemoryTree::new();
        let run = bridge::import(&store, &tree, "", &Rules::FSX);
        assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)]);
        assert!(!store.was_read.load(Ordering::Relaxed), "{announced}");
        assert_eq!(tree_of(&tree), Tree::new());
    }
}

#[test]
fn a32_a_file_of_another_length_than_announced_leaves_what_was_there() {
    let file = bucket([("a", object("0100644", b"target"))]);
    for (announced, sent) in [(3, &b"target"[..]), (7, b"target"), (5_000_000_000, b"target"), (1, b"")] {
        let place = Surrounded::new();
        fs::write(place.root().join("a"), "what was there").unwrap();
        let store = Liar::with_body(&file, announced, sent);
        let run = bridge::import(&store, &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
        assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)]);
        assert_eq!(fs::read(place.root().join("a")).unwrap(), b"what was there");
        assert_eq!(fs::read_dir(place.root()).unwrap().count(), 1, "nothing staged is left behind");
    }
}

#[test]
fn a25_a_target_over_the_limit_is_read_no_further_than_announced() {
    // Announced as a few bytes, sent without an end to speak of.
    let store = Liar::with_body(&bucket([("a", object("0120777", b"target"))]), 4, &[b'x'; 1 << 20]);
    let run = bridge::import(&store, &MemoryTree::new(), "", &Rules::FSX);
    assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)]);
    assert!(store.was_read.load(Ordering::Relaxed));
}

/// Imports by the profile for strangers, with a budget.
fn import_within(
    budget: Budget,
    objects: &Bucket,
    tree: &MemoryTree,
) -> Result<posix_s3::engine::Report, posix_s3::engine::RunError> {
    let mut profile = Profile::untrusted();
    profile.budget = budget;
    let options = ImportOptions::new(profile).with_jobs(Jobs::new(3).unwrap());
    block_on(import(&memory_store(objects), tree, &options, &Silent))
}

fn files(count: usize, content: &[u8]) -> Bucket {
    (0..count).map(|at| (format!("f{at:03}"), object("0100644", content))).collect()
}

#[test]
fn a29_a_profile_for_strangers_has_a_budget_and_one_that_trusts_has_none() {
    for service in Service::ALL {
        assert_eq!(Profile::new(service, Attitude::Fsx).budget, Budget::UNLIMITED);
        let budget = Profile::new(service, Attitude::Untrusted).budget;
        assert!(budget.entries <= 100_000_000 && budget.bytes <= 10 << 40 && budget.depth <= 512);
    }
}

#[test]
fn a29_a_bucket_of_more_entries_than_the_budget_stops_the_run_and_what_is_done_stays() {
    let objects = files(10, b"x");
    for entries in 0..=10 {
        let tree = MemoryTree::new();
        let result = import_within(Budget { entries, ..Budget::UNTRUSTED }, &objects, &tree);
        if entries == 10 {
            assert_eq!(result.unwrap().written, 10);
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), RunErrorKind::Budget(Spent::Entries { most }) if *most == entries), "{error:?}");
        assert_eq!(error.kind().to_string(), format!("the budget of {entries} entries is spent"));
        assert_eq!((error.report().written, tree_of(&tree).len() as u64), (entries, entries));
    }
}

#[test]
fn a29_directories_that_no_object_is_of_and_refused_keys_cost_budget_too() {
    let deep: Bucket = [("d/".repeat(500) + "f", object("0100644", b"x"))].into();
    let tree = MemoryTree::new();
    let error = import_within(Budget { entries: 500, ..Budget::UNTRUSTED }, &deep, &tree).unwrap_err();
    assert!(matches!(error.kind(), RunErrorKind::Budget(Spent::Entries { .. })));
    assert!(tree_of(&tree).is_empty(), "nothing is made for what is not taken");
    assert_eq!(import_within(Budget { entries: 501, ..Budget::UNTRUSTED }, &deep, &tree).unwrap().written, 1);
    let refused: Bucket = (0..10).map(|at| (format!("{at}/../x"), object("0100644", b"x"))).collect();
    let error = import_within(Budget { entries: 9, ..Budget::UNTRUSTED }, &refused, &MemoryTree::new()).unwrap_err();
    assert_eq!(error.report().skipped, 9);
}

#[test]
fn a29_more_bytes_than_the_budget_are_not_fetched() {
    let mut objects = files(10, &[b'x'; 100]);
    objects.insert("z".to_owned(), object("0120777", b"target"));
    for bytes in [0, 99, 100, 250, 999, 1000, 1005, 1006] {
        let tree = MemoryTree::new();
        let result = import_within(Budget { bytes, ..Budget::UNTRUSTED }, &objects, &tree);
        let made: u64 = tree_of(&tree)
            .values()
            .map(|node| match &node.kind {
                Kind::File(content) | Kind::Link(content) => content.len() as u64,
                Kind::Directory => 0,
            })
            .sum();
        assert!(made <= bytes && (bytes < 1006 || made == 1006), "{made} of {bytes}");
        if bytes >= 1006 {
            assert!(result.unwrap().is_complete());
            continue;
        }
        if bytes < 100 {
            // Each is too large by itself, and that is no reason to stop.
            let report = result.unwrap();
            assert!(report.failed >= 10 && report.problems.iter().all(|problem| problem.cause == Cause::Budget));
            assert_eq!(made, if bytes < 6 { 0 } else { 6 });
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), RunErrorKind::Budget(Spent::Bytes { most }) if *most == bytes), "{error:?}");
        assert_eq!(error.report().bytes, made);
        let problem = &error.report().problems[0];
        assert_eq!(
            (problem.cause, &*problem.reason),
            (Cause::Budget, &*format!("the budget of {bytes} bytes is spent"))
        );
    }
}

#[test]
fn a29_what_is_in_agreement_costs_no_bytes_and_a_run_that_is_over_budget_deletes_nothing() {
    let (store, tree, state) = (memory_store(&files(10, &[b'x'; 100])), MemoryTree::new(), MemoryState::new());
    let options = |budget: Budget| {
        let mut profile = Profile::untrusted();
        profile.budget = budget;
        ImportOptions::new(profile).with_bucket("b").with_deletes(Deletes::Apply(Brake::default()))
    };
    let run = |budget| block_on(import_since(&store, &tree, &state, &options(budget), &Silent));
    // Five, five more, and then nothing: a run that was stopped is gone on with.
    let half = Budget { bytes: 500, ..Budget::UNTRUSTED };
    assert_eq!(run(half).unwrap_err().report().written, 5);
    assert_eq!(run(half).unwrap().written, 5);
    assert_eq!(run(Budget { bytes: 0, ..half }).unwrap().unchanged, 10);
    block_on(store.delete("f000", &posix_s3::store::Precondition::None)).unwrap();
    for at in 0..6 {
        bridge::put(&store, &format!("new{at}"), &object("0100644", b"x"));
    }
    for (budget, made) in [(Budget { bytes: 2, ..half }, 2), (Budget { entries: 3, ..half }, 3)] {
        // What is as recorded costs nothing, so that each run gets further than the one before.
        let plan = block_on(plan_import(&store, &tree, Some(&state), &options(budget), |_| {}));
        assert_eq!(plan.is_err(), budget.entries == 3, "a plan takes no bytes");
        let before = tree_of(&tree).len();
        let error = run(budget).unwrap_err();
        assert_eq!((error.report().deleted, error.report().written), (0, made), "{error:?}");
        assert_eq!(tree_of(&tree).len(), before + made as usize);
    }
    let last = run(Budget { entries: 1, ..half }).unwrap();
    assert_eq!((last.written, last.deleted), (1, 1));
}

#[test]
fn a29_an_object_beyond_the_whole_budget_is_not_asked_for_and_does_not_keep_out_the_others() {
    let mut objects = files(3, b"x");
    objects.insert("f000".to_owned(), object("0100644", &[b'x'; 100]));
    let asked = AtomicUsize::new(0);
    let hook = |operation, key: &str| {
        asked.fetch_add(usize::from(operation == Operation::Get && key == "f000"), Ordering::Relaxed);
    };
    let mut profile = Profile::untrusted();
    profile.budget = Budget { bytes: 99, ..Budget::UNTRUSTED };
    let store = Hooked { store: memory_store(&objects), hook };
    let report = block_on(import(&store, &MemoryTree::new(), &ImportOptions::new(profile), &Silent)).unwrap();
    assert_eq!((report.written, report.failed, asked.load(Ordering::Relaxed)), (2, 1, 0), "{:?}", report.problems);
    assert_eq!(&*report.problems[0].reason, "it has 100 bytes, and the budget of a run is 99");
}

#[test]
fn a29_bytes_that_run_out_for_what_takes_the_place_of_a_directory_end_the_run() {
    let (store, tree, state) = (MemoryStore::new(), MemoryTree::new(), MemoryState::new());
    let options = |bytes| {
        let mut profile = Profile::untrusted();
        profile.budget = Budget { bytes, ..Budget::UNTRUSTED };
        ImportOptions::new(profile).with_bucket("b").with_deletes(Deletes::Apply(Brake::RELEASED))
    };
    for name in ["a", "b"] {
        bridge::put(&store, &format!("{name}/x"), &object("0100644", b"x"));
    }
    let run = |bytes| block_on(import_since(&store, &tree, &state, &options(bytes), &Silent));
    assert_eq!(run(9).unwrap().written, 2);
    for name in ["a", "b"] {
        block_on(store.delete(&format!("{name}/x"), &posix_s3::store::Precondition::None)).unwrap();
        bridge::put(&store, &format!("{name}/"), &object("0040755", b""));
    }
    // Directories with objects of their own are deleted when those are gone.
    assert_eq!(run(9).unwrap().deleted, 2);
    for name in ["a", "b"] {
        block_on(store.delete(&format!("{name}/"), &posix_s3::store::Precondition::None)).unwrap();
        bridge::put(&store, name, &object("0100644", b"four"));
    }
    let error = run(7).unwrap_err();
    assert!(matches!(error.kind(), RunErrorKind::Budget(Spent::Bytes { most: 7 })), "{error:?}");
    assert_eq!(error.report().written, 1);
}

#[test]
fn a29_keys_that_a_selection_leaves_out_cost_budget_too() {
    let left_out: Bucket = (0..10).map(|at| (format!("tmp/{at}"), object("0100644", b"x"))).collect();
    let mut profile = Profile::untrusted();
    profile.budget = Budget { entries: 9, ..Budget::UNTRUSTED };
    let selection = Selection::all().with_exclude("tmp").unwrap();
    let options = ImportOptions::new(profile).with_selection(selection);
    let error = block_on(import(&memory_store(&left_out), &MemoryTree::new(), &options, &Silent)).unwrap_err();
    assert!(matches!(error.kind(), RunErrorKind::Budget(Spent::Entries { most: 9 })), "{error:?}");
}

#[test]
fn a29_a_key_of_512_names_needs_no_512_descriptors() {
    const TEST: &str = "answers::a29_a_key_of_512_names_needs_no_512_descriptors";
    if !is_inside(TEST, &["prlimit", "--nofile=256"]) {
        return;
    }
    let place = Surrounded::new();
    let objects: Bucket =
        [("d/".repeat(511) + "f", object("0100644", b"x")), ("e/".repeat(512), object("0040755", b""))].into();
    for _ in 0..2 {
        let tree = LocalTree::open(place.root()).unwrap();
        let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::UNTRUSTED);
        assert_eq!(run.report.failed + run.report.conflicts + run.report.skipped, 0, "{:?}", run.report.problems);
    }
    assert!(place.root().join("d/".repeat(511) + "f").exists());
}

#[test]
fn a31_head_and_bytes_are_of_one_version_whenever_an_object_is_swapped() {
    let versions = [("0100600", &b"the old one"[..]), ("0100644", &b"new"[..]), ("0120777", &b"a link now"[..])];
    for (operation, existing) in [(Operation::Head, true), (Operation::Get, true), (Operation::Get, false)] {
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 1)] {
            let place = Surrounded::new();
            let store = Arc::new(MemoryStore::new());
            bridge::put(&*store, "a", &object(versions[from].0, versions[from].1));
            if existing {
                // Of the same size, so that it is looked at first.
                fs::write(place.root().join("a"), vec![b'?'; versions[from].1.len()]).unwrap();
            }
            let other = Arc::clone(&store);
            let hook = move |now, _: &str| {
                if now == operation {
                    let (permissions, body) = versions[to];
                    let options =
                        PutOptions { headers: header_map(&object(permissions, body)), ..PutOptions::default() };
                    other.put("a", Body::Bytes(Bytes::from_static(body)), &options).now_or_never().unwrap().unwrap();
                }
            };
            let run = bridge::import(&Hooked { store, hook }, &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
            let made = crate::model::bridge::read_disk(&place.root());
            let is = |(permissions, body): (&str, &[u8])| match &made["a"].kind {
                Kind::File(content) => permissions.ends_with(&format!("{:o}", made["a"].mode)) && content == body,
                Kind::Link(target) => permissions == "0120777" && target == body,
                Kind::Directory => false,
            };
            let is_kept = existing && run.report.written + run.report.metadata_only == 0;
            assert!(is(versions[from]) || is(versions[to]) || is_kept, "{operation} {from} {to}: {made:?}");
        }
    }
}

#[test]
fn a32_a_body_that_is_cut_or_goes_on_leaves_what_was_there() {
    const BODY: [u8; 128] = [b'x'; 128];
    let place = Surrounded::new();
    fs::write(place.root().join("a"), "what was there").unwrap();
    let file = bucket([("a", object("0100644", &BODY[..64]))]);
    let tree = LocalTree::open(place.root()).unwrap();
    for length in (0..=128).filter(|length| *length != 64) {
        let run = bridge::import(&Liar::with_body(&file, 64, &BODY[..length]), &tree, "", &Rules::FSX);
        assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)], "{length}");
        assert_eq!(fs::read(place.root().join("a")).unwrap(), b"what was there");
    }
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 1, "nothing staged is left behind");
}

#[test]
fn a33_what_is_labelled_as_compressed_arrives_as_it_is() {
    // The head of a gzip file, and then nonsense.
    let body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03nonsense";
    let mut object = object("0100644", body);
    object.headers.insert("content-encoding".to_owned(), "gzip".to_owned());
    object.headers.insert("content-type".to_owned(), "application/gzip".to_owned());
    let place = Surrounded::new();
    let tree = LocalTree::open(place.root()).unwrap();
    let run = bridge::import(&memory_store(&bucket([("a.gz", object)])), &tree, "", &Rules::UNTRUSTED);
    assert_eq!(run.report.written, 1);
    assert_eq!(fs::read(place.root().join("a.gz")).unwrap(), body);
}

#[test]
fn a34_what_was_edited_here_is_kept_and_said_to_be_in_conflict() {
    let place = Surrounded::new();
    let (store, state) = (MemoryStore::new(), MemoryState::new());
    let tree = LocalTree::open(place.root()).unwrap();
    let options = ImportOptions::new(Profile::untrusted()).with_bucket("b");
    let import = || block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
    for key in ["edited", "removed", "same", "plain"] {
        bridge::put(&store, key, &object("0100644", b"first"));
    }
    assert_eq!(import().written, 4);
    fs::write(place.root().join("edited"), "local work").unwrap();
    fs::remove_file(place.root().join("removed")).unwrap();
    for key in ["edited", "removed", "plain"] {
        bridge::put(&store, key, &object("0100644", b"second"));
    }
    let report = import();
    assert_eq!((report.conflicts, report.written, report.unchanged), (2, 1, 1), "{:?}", report.problems);
    assert_eq!(fs::read(place.root().join("edited")).unwrap(), b"local work");
    assert!(!place.root().join("removed").exists());
    assert_eq!(fs::read(place.root().join("plain")).unwrap(), b"second");
}
