//! Whatever a bucket holds and however it is listed, an import makes what the model says, and nothing outside the root.

#![cfg(all(feature = "local", target_os = "linux"))]
// A test may fail loudly, also in the functions that it calls; it counts in numbers of its own making.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod model;

use hostile::{Paged, Surrounded, bucket, directory, object};
use model::bridge::{self, as_linux_keeps, memory_store, memory_tree, outcomes, read_disk, tree_of};
use model::generate::{self, Place, cases};
use model::{Bucket, Kind, Node, Object, Rules, Tree};
use posix_s3::engine::Outcome;
use posix_s3::tree::{LocalTree, MemoryTree};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

fn rules() -> impl Strategy<Value = Rules> {
    let first_and_untrusted = Rules { clash: model::Clash::FirstWins, ..Rules::UNTRUSTED };
    select(vec![Rules::FSX, Rules::UNTRUSTED, Rules::FIRST_WINS, Rules::FSX_2022, first_and_untrusted])
}

fn prefix_and_bucket(place: Place) -> impl Strategy<Value = (String, Bucket)> {
    generate::prefixes().prop_flat_map(move |prefix| (Just(prefix.clone()), generate::buckets(place, &prefix)))
}

proptest! {
    #![proptest_config(cases(1200))]

    #[test]
    fn a_hostile_bucket_becomes_the_tree_of_the_model(
        (prefix, bucket) in prefix_and_bucket(Place::Memory), rules in rules(),
    ) {
        let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &Tree::new());
        let (store, tree) = (memory_store(&bucket), MemoryTree::new());
        let run = bridge::import(&store, &tree, &prefix, &rules);
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
        prop_assert_eq!(tree_of(&tree), expected.clone());

        // Once more: whatever was made is in agreement.
        let (again, verdicts) = model::import(&bucket, &prefix, &rules, &expected);
        prop_assert_eq!(&again, &expected, "the model does not settle");
        let run = bridge::import(&store, &tree, &prefix, &rules);
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
        prop_assert_eq!(run.report.written + run.report.metadata_only, 0);
        prop_assert_eq!(tree_of(&tree), expected);
    }

    #[test]
    fn the_size_of_the_pages_does_not_matter((prefix, bucket) in prefix_and_bucket(Place::Memory), rules in rules()) {
        let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &Tree::new());
        for most in [1, 2, 3, 1000] {
            let (store, tree) = (Paged { store: memory_store(&bucket), most }, MemoryTree::new());
            let run = bridge::import(&store, &tree, &prefix, &rules);
            prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix), "{} a page", most);
            prop_assert_eq!(tree_of(&tree), expected.clone(), "{} a page", most);
        }
    }

    #[test]
    fn a_hostile_bucket_meets_a_tree_as_the_model_says(
        (prefix, bucket) in prefix_and_bucket(Place::Memory),
        existing in generate::trees(Place::Memory),
        rules in rules(),
    ) {
        let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &existing);
        let (store, tree) = (memory_store(&bucket), memory_tree(&existing));
        let run = bridge::import(&store, &tree, &prefix, &rules);
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
        prop_assert_eq!(tree_of(&tree), expected);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_hostile_bucket_leaves_everything_outside_a_real_root_alone(
        (prefix, bucket) in prefix_and_bucket(bridge::disk()),
        rules in rules(),
        planted in prop_oneof![2 => Just(Vec::new()), 1 => subsequence(vec!["a", "a-", "b"], 1..=2)],
    ) {
        let place = Surrounded::new();
        for name in planted {
            symlink(format!("../{name}"), place.root().join(name)).unwrap();
        }
        let before = place.outside();
        let local = LocalTree::open(place.root()).unwrap();
        let mut existing = read_disk(&place.root());
        // The second time everything is in agreement, unless it could not be given away.
        for _ in 0..if bridge::is_superuser() { 2 } else { 1 } {
            let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &existing);
            let run = bridge::import(&memory_store(&bucket), &local, &prefix, &rules);
            prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
            readable(&place.root());
            let (found, kept) = (read_disk(&place.root()), as_linux_keeps(&expected, &place.root()));
            prop_assert_eq!(without_read_times(found), without_read_times(kept));
            prop_assert_eq!(place.outside(), before.clone());
            existing = expected;
        }
    }
}

/// Whoever is not the superuser must be able to read what was made; with the superuser nothing is changed.
fn readable(root: &Path) {
    if !bridge::is_superuser() {
        assert!(Command::new("chmod").arg("-R").arg("u+rwX").arg(root).status().unwrap().success());
    }
}

/// Reading a directory or a link sets its access time, and whoever made things readable has lost their modes.
fn without_read_times(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        if !matches!(node.kind, Kind::File(_)) {
            node.atime = 0;
        }
        if !bridge::is_superuser() {
            node.mode = 0;
        }
    }
    tree
}

#[test]
fn directories_that_were_made_only_for_what_is_refused_go_again() {
    let pipe = object("0010644", b"");
    let bucket = bucket([("a/b/c", pipe.clone()), ("d/e/pipe", pipe.clone()), ("d/f", object("0100644", b""))]);
    let tree = MemoryTree::new();
    bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    assert_eq!(tree_of(&tree).into_keys().collect::<Vec<_>>(), ["d", "d/f"]);
    // One that was there before stays.
    let existing = Tree::from([("a".to_owned(), directory(5))]);
    let tree = memory_tree(&existing);
    bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    assert_eq!(tree_of(&tree)["a"], existing["a"]);
}

#[test]
fn an_implied_directory_is_dated_by_the_first_object_in_it() {
    let dated = |last_modified| Object { last_modified, ..object("0100644", b"") };
    let bucket = bucket([("d/a", dated(5)), ("d/a!", dated(6)), ("d/b", dated(7))]);
    let tree = MemoryTree::new();
    bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    assert_eq!(tree_of(&tree)["d"].mtime, 5);
}

#[test]
fn every_attribute_of_a_new_directory_is_set() {
    // It is made 0700, by the superuser, at the epoch of the tree in memory; only the access time is left to be set.
    let mut object = object("0040700", b"");
    object.headers.insert("x-amz-meta-file-mtime".to_owned(), "0ns".to_owned());
    object.headers.insert("x-amz-meta-file-atime".to_owned(), "5ns".to_owned());
    let tree = MemoryTree::new();
    bridge::import(&memory_store(&bucket([("d/", object)])), &tree, "", &Rules::FSX);
    assert_eq!(tree_of(&tree)["d"].atime, 5);
}

#[test]
fn a_changed_link_that_lost_its_owner_keeps_the_links_and_not_a_files() {
    let mut ownerless = object("0120777", b"target");
    ownerless.headers.remove("x-amz-meta-file-owner");
    let bucket = bucket([("file", ownerless.clone()), ("link", ownerless)]);
    let node = |kind| Node { kind, mode: 0o777, uid: 500, gid: 500, atime: 0, mtime: 0 };
    let existing = Tree::from([
        ("file".to_owned(), node(Kind::File(b"x".to_vec()))),
        ("link".to_owned(), node(Kind::Link(b"x".to_vec()))),
    ]);
    let tree = memory_tree(&existing);
    bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    let tree = tree_of(&tree);
    assert_eq!((tree["file"].uid, tree["link"].uid), (0, 500));
}

#[test]
fn a_bit_that_is_dropped_is_taken_from_a_directory_as_from_a_file_where_there_is_no_state() {
    let node = |kind| Node { kind, mode: 0o2755, uid: 0, gid: 0, atime: 0, mtime: 0 };
    let existing =
        Tree::from([("d".to_owned(), node(Kind::Directory)), ("f".to_owned(), node(Kind::File(Vec::new())))]);
    let bucket = model::export(&existing, "", &Rules::FSX);
    let tree = memory_tree(&existing);
    let run = bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    assert_eq!(run.ended, ["d/", "f"].map(|key| (key.to_owned(), Outcome::MetadataOnly)));
    assert!(tree_of(&tree).values().all(|node| node.mode == 0o755));
}
