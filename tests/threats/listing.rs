//! Listings that lie.

use crate::hostile::*;
use crate::model::bridge::{self, memory_store, memory_tree, tree_of};
use crate::model::{self, Bucket, Kind, Node, Rules, Tree};
use futures_executor::block_on;
use posix_s3::Profile;
use posix_s3::engine::{ImportOptions, MemoryState, RunErrorKind, Silent, import_since};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{ListPage, ListRequest, MemoryStore, ObjectStore, Support};
use posix_s3::tree::MemoryTree;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs an import that has to stop; what was in the tree before must still be there.
fn stops(store: &Liar, prefix: &str) -> RunErrorKind {
    let old = Node { kind: Kind::File(b"old".to_vec()), mode: 0o600, uid: 1, gid: 2, atime: 3, mtime: 4 };
    let existing =
        Tree::from([("d".to_owned(), directory(1)), ("d/old".to_owned(), old.clone()), ("z".to_owned(), old)]);
    let tree = memory_tree(&existing);
    let error = bridge::import_stops(store, &tree, prefix, &Rules::FSX);
    let left = tree_of(&tree);
    for (path, node) in existing {
        assert_eq!(left.get(&path), Some(&node), "{path}");
    }
    let report = error.report();
    assert_eq!(report.deleted, 0);
    let sum =
        report.unchanged + report.written + report.metadata_only + report.skipped + report.failed + report.conflicts;
    assert_eq!(report.entries, sum);
    into_kind(&error)
}

/// The kind of an error, made anew for comparison by pattern.
fn into_kind(error: &posix_s3::engine::RunError) -> RunErrorKind {
    match error.kind() {
        RunErrorKind::Disorder(disorder) => RunErrorKind::Disorder(disorder.clone()),
        RunErrorKind::Foreign { key } => RunErrorKind::Foreign { key: key.clone() },
        RunErrorKind::Endless { pages } => RunErrorKind::Endless { pages: *pages },
        RunErrorKind::Unordered => RunErrorKind::Unordered,
        other => panic!("{other}"),
    }
}

fn three() -> Bucket {
    let object = object("0100644", b"x");
    bucket([("a", object.clone()), ("b", object.clone()), ("p/a", object)])
}

#[test]
fn a26_a_listing_out_of_order_stops_the_run() {
    for pages in [&[&["b", "a"][..]][..], &[&["b"], &["a"]], &[&["a", "b"], &[], &["a0"]], &[&["a/", "a"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "");
        assert!(matches!(kind, RunErrorKind::Disorder(_)), "{kind}");
    }
}

#[test]
fn a26_a_listing_that_repeats_a_key_stops_the_run() {
    for pages in [&[&["a", "a"][..]][..], &[&["a", "b"], &["b"]], &[&["a"], &["a"]], &[&["a/../b"], &["a/../b"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "");
        assert!(matches!(kind, RunErrorKind::Disorder(_)), "{kind}");
    }
}

#[test]
fn a26_a_listing_with_a_key_outside_the_prefix_stops_the_run() {
    for pages in [&[&["a"][..]][..], &[&["p/a", "p0"]], &[&["p/a"], &["p"]], &[&["p/a", "\u{1b}[2J"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "p/");
        assert!(matches!(kind, RunErrorKind::Foreign { .. }), "{kind}");
        assert!(!kind.to_string().contains('\u{1b}'));
    }
}

#[test]
fn a26_a_listing_that_never_ends_stops_the_run() {
    let empty = |_| ListPage::new(Vec::new(), Some("again".to_owned()));
    let store = Liar { pages: Some(Box::new(empty)), ..Liar::new(MemoryStore::new()) };
    assert!(matches!(stops(&store, ""), RunErrorKind::Endless { .. }));
    assert!(store.calls.load(Ordering::Relaxed) < 10_000);

    // One that has keys, but always the same.
    let same = |_| ListPage::new(vec![listed("a")], Some("again".to_owned()));
    let store = Liar { pages: Some(Box::new(same)), ..Liar::new(memory_store(&three())) };
    assert!(matches!(stops(&store, ""), RunErrorKind::Disorder(_)));
}

#[test]
fn a26_a_store_that_says_it_lists_out_of_order_is_not_imported_from() {
    let store = Liar { is_ordered: Support::No, ..Liar::new(memory_store(&three())) };
    assert!(matches!(stops(&store, ""), RunErrorKind::Unordered));
    assert_eq!(store.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a26_what_was_imported_before_the_run_stopped_is_whole() {
    let mut objects = three();
    objects.insert("e/".to_owned(), object("0040755", b""));
    objects.insert("e/f".to_owned(), object("0100644", b"x"));
    objects.insert("l".to_owned(), object("0120777", b"x"));
    let store = Liar::with_pages(&objects, &[&["a", "b", "e/", "e/f", "l"], &["c"]]);
    let tree = MemoryTree::new();
    let error = bridge::import_stops(&store, &tree, "", &Rules::FSX);
    assert!(matches!(error.kind(), RunErrorKind::Disorder(_)));
    objects.remove("p/a");
    let (expected, _) = model::import(&objects, "", &Rules::FSX, &Tree::new());
    for (path, node) in tree_of(&tree) {
        assert_eq!(Some(&node), expected.get(&path), "{path}");
    }
}

#[test]
fn a26_a_token_that_comes_again_brings_no_key_twice() {
    // R2 and R3: the same token, and two that take turns.
    for pages in [&[&["a"][..], &["b"], &["b"]][..], &[&["a"], &["b"], &["a"], &["b"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "");
        assert!(matches!(kind, RunErrorKind::Disorder(_)), "{kind}");
    }
}

/// Objects, imported with a state that knows them all.
fn imported() -> (MemoryStore, MemoryTree, MemoryState, Bucket) {
    let names = ["a", "a/b/c", "b", "d/", "d/e", "d/f/g", "x-1", "x-2", "x-3", "z"];
    let objects: Bucket = names
        .map(|name| (name.to_owned(), object(if name.ends_with('/') { "0040755" } else { "0100644" }, b"x")))
        .into();
    let (store, tree, state) = (memory_store(&objects), MemoryTree::new(), MemoryState::new());
    let report = block_on(import_since(&store, &tree, &state, &deleting(Brake::RELEASED), &Silent)).unwrap();
    assert_eq!(report.deleted, 0);
    (store, tree, state, objects)
}

fn deleting(brake: Brake) -> ImportOptions {
    ImportOptions::new(Profile::untrusted()).with_bucket("b").with_deletes(Deletes::Apply(brake))
}

/// The listing of a store, cut.
fn pages_of(store: &MemoryStore) -> Vec<posix_s3::store::ListedObject> {
    block_on(store.list(&ListRequest::default())).unwrap().objects
}

#[test]
fn a35_a_listing_that_ends_too_early_deletes_nothing() {
    let keys = pages_of(&imported().0).len();
    for cut in 0..keys {
        // What is missing is in the bucket all the same, as its head says.
        let (store, tree, state, _) = imported();
        let before = tree_of(&tree);
        let listed: Vec<_> = pages_of(&store).into_iter().take(cut).collect();
        let store = Arc::new(store);
        for size in 1..=keys {
            let pages: Vec<Vec<_>> = listed.chunks(size).map(<[_]>::to_vec).collect();
            let last = pages.len().saturating_sub(1);
            let answer = move |call: usize| {
                let next = (call < last).then(|| format!("{call}"));
                ListPage::new(pages.get(call).cloned().unwrap_or_default(), next)
            };
            let liar = Liar { pages: Some(Box::new(answer)), ..Liar::new(Arc::clone(&store)) };
            let report = block_on(import_since(&liar, &tree, &state, &deleting(Brake::RELEASED), &Silent)).unwrap();
            assert_eq!((report.deleted, tree_of(&tree)), (0, before.clone()), "{cut} keys in pages of {size}");
        }
    }
}

#[test]
fn a35_a_listing_that_breaks_off_deletes_nothing_even_of_what_is_gone() {
    let keys = pages_of(&imported().0).len();
    for cut in 0..keys {
        let (store, tree, state, objects) = imported();
        let before = tree_of(&tree);
        let listed: Vec<_> = pages_of(&store).into_iter().take(cut).collect();
        for key in objects.keys() {
            block_on(store.delete(key, &posix_s3::store::Precondition::None)).unwrap();
        }
        // The next page repeats what was there, so that the listing cannot be trusted.
        let answer = move |call: usize| {
            let objects = if call == 0 { listed.clone() } else { vec![listed_again(), listed_again()] };
            ListPage::new(objects, Some(format!("{call}")))
        };
        let liar = Liar { pages: Some(Box::new(answer)), ..Liar::new(store) };
        let error = block_on(import_since(&liar, &tree, &state, &deleting(Brake::RELEASED), &Silent)).unwrap_err();
        assert_eq!((error.report().deleted, tree_of(&tree)), (0, before), "{cut}: {error:?}");
    }
}

fn listed_again() -> posix_s3::store::ListedObject {
    listed("zz")
}

#[test]
fn a35_a_bucket_that_says_it_is_empty_meets_the_brake() {
    let objects: Bucket = (0..2000).map(|at| (format!("f{at:04}"), object("0100644", b"x"))).collect();
    let (store, tree, state) = (memory_store(&objects), MemoryTree::new(), MemoryState::new());
    let run =
        |store: &MemoryStore, brake| block_on(import_since(store, &tree, &state, &deleting(brake), &Silent)).unwrap();
    assert_eq!(run(&store, Brake::default()).written, 2000);
    // Listing and heads agree that all is gone.
    let report = run(&MemoryStore::new(), Brake::default());
    assert!(report.braked.is_some() && report.deleted == 0);
    assert_eq!(tree_of(&tree).len(), 2000);
    assert_eq!(run(&MemoryStore::new(), Brake::RELEASED).deleted, 2000);
}
