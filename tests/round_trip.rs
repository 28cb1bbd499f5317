//! What an export and an import come to is what the model says, and running again changes nothing.

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

mod model;
mod namespace;

use model::bridge::{self, Run, as_linux_keeps, bucket_of, memory_store, memory_tree, outcomes, read_disk, tree_of};
use model::generate::{self, Place, cases};
use model::{Bucket, Kind, Node, Rules, Tree, Verdict};
use namespace::not_run;
use posix_s3::engine::Outcome;
use posix_s3::store::{DirectoryStore, MemoryStore};
use posix_s3::tree::{LocalTree, MemoryTree};
use proptest::prelude::*;
use proptest::sample::select;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn rules() -> impl Strategy<Value = Rules> {
    select(vec![Rules::FSX, Rules::FSX_2022, Rules::FIRST_WINS])
}

/// The model's bucket without Last-Modified, which stores set by their own clocks.
fn undated(bucket: Bucket) -> Bucket {
    bucket.into_iter().map(|(key, object)| (key, model::Object { last_modified: 0, ..object })).collect()
}

/// A second run over the same two sides: everything is in agreement, and no body is fetched.
fn assert_nothing_to_do(again: &Run) {
    assert_eq!(again.report.unchanged, again.report.entries, "{:?}", again.report);
    assert_eq!(again.report.written, 0);
    assert_eq!(again.report.bytes, 0);
    assert_eq!(again.report.store_calls.get, 0);
    assert_eq!(again.report.store_calls.put, 0);
    assert_eq!(again.report.store_calls.copy, 0);
    assert_eq!(again.report.store_calls.delete, 0);
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn an_export_makes_the_bucket_of_the_model(
        tree in generate::trees(Place::Memory), prefix in generate::prefixes(), rules in rules(),
    ) {
        let store = MemoryStore::new();
        let run = bridge::export(&memory_tree(&tree), &store, &prefix, &rules);
        prop_assert_eq!(bucket_of(&store), model::export(&tree, &prefix, &rules));
        prop_assert_eq!(run.report.entries, tree.len() as u64);
        prop_assert_eq!(run.report.written, bucket_of(&store).len() as u64);
        prop_assert_eq!(run.report.skipped, run.report.entries - run.report.written);
    }

    #[test]
    fn an_import_into_nothing_brings_the_normalised_tree_back(
        tree in generate::trees(Place::Memory), prefix in generate::prefixes(), rules in rules(),
    ) {
        let bucket = model::export(&tree, &prefix, &rules);
        let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &Tree::new());
        prop_assert_eq!(&expected, &model::normalise(&tree, &prefix, &rules), "the model disagrees with itself");

        let (store, imported) = (memory_store(&bucket), MemoryTree::new());
        let run = bridge::import(&store, &imported, &prefix, &rules);
        prop_assert_eq!(tree_of(&imported), expected);
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
        prop_assert_eq!(run.report.written, run.report.entries);
    }

    #[test]
    fn a_second_import_changes_nothing_and_an_export_makes_the_same_bucket(
        tree in generate::trees(Place::Memory), prefix in generate::prefixes(), rules in rules(),
    ) {
        let bucket = model::export(&tree, &prefix, &rules);
        let (store, imported) = (memory_store(&bucket), MemoryTree::new());
        bridge::import(&store, &imported, &prefix, &rules);
        let before = tree_of(&imported);
        assert_nothing_to_do(&bridge::import(&store, &imported, &prefix, &rules));
        prop_assert_eq!(tree_of(&imported), before);

        let exported = MemoryStore::new();
        bridge::export(&imported, &exported, &prefix, &rules);
        prop_assert_eq!(bucket_of(&exported), undated(bucket));
    }

    #[test]
    fn an_import_after_a_strangers_changes_is_that_of_the_model(
        tree in generate::trees(Place::Memory),
        changes in generate::changes(Place::Memory),
        local in generate::trees(Place::Memory),
        prefix in generate::prefixes(),
        rules in select(vec![Rules::FSX, Rules::FSX_2022, Rules::FIRST_WINS, Rules::UNTRUSTED]),
    ) {
        let mut bucket = model::export(&tree, &prefix, &rules);
        // What is in the tree besides: it came from there, and some of it is older and in the way.
        let mut existing = local;
        for (path, node) in model::normalise(&tree, &prefix, &rules) {
            let blocked = path.match_indices('/').any(|(at, _)| {
                existing.get(&path[..at]).is_none_or(|node| node.kind != Kind::Directory)
            });
            let holds = existing.keys().any(|other| other.starts_with(&format!("{path}/")));
            if !blocked && !holds {
                existing.insert(path, node);
            }
        }
        for (step, change) in changes.into_iter().enumerate() {
            generate::change(&mut bucket, &prefix, change, 1_800_000_000_000_000_000 + step as i128);
        }
        let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &existing);
        let (store, imported) = (memory_store(&bucket), memory_tree(&existing));
        let run = bridge::import(&store, &imported, &prefix, &rules);
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
        prop_assert_eq!(tree_of(&imported), expected);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn a_real_directory_and_a_bucket_in_one_bring_the_tree_back(
        tree in generate::trees(bridge::disk()), prefix in generate::prefixes(), rules in rules(),
    ) {
        let place = tempfile::tempdir().unwrap();
        let (root, other) = (place.path().join("root"), place.path().join("other"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&other).unwrap();
        let bucket = model::export(&tree, &prefix, &rules);

        let store = DirectoryStore::open(place.path().join("bucket")).unwrap();
        bridge::export(&memory_tree(&tree), &store, &prefix, &rules);
        prop_assert_eq!(bucket_of(&store), undated(bucket.clone()));

        let local = LocalTree::open(&root).unwrap();
        let run = bridge::import(&store, &local, &prefix, &rules);
        let (expected, verdicts) = model::import(&bucket, &prefix, &rules, &Tree::new());
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, &prefix));
        if bridge::is_superuser() {
            prop_assert_eq!(&run.report.problems, &vec![]);
        }
        let expected = as_linux_keeps(&expected, &root);
        prop_assert_eq!(read_disk(&root), expected.clone());

        if bridge::is_superuser() {
            assert_nothing_to_do(&bridge::import(&store, &local, &prefix, &rules));
        }
        prop_assert_eq!(without_read_times(read_disk(&root)), without_read_times(expected.clone()));

        // From the real tree into another bucket, and from there into memory.
        let exported = MemoryStore::new();
        bridge::export(&local, &exported, &prefix, &rules);
        let back = MemoryTree::new();
        bridge::import(&exported, &back, &prefix, &rules);
        let back = as_linux_keeps(&tree_of(&back), &root);
        prop_assert_eq!(without_read_times(back), without_read_times(expected));
    }

    #[test]
    fn a_real_directory_after_a_strangers_changes_is_that_of_the_model(
        tree in generate::trees(bridge::disk()),
        changes in generate::changes(bridge::disk()),
        rules in rules(),
    ) {
        if !bridge::is_superuser() {
            not_run("whoever cannot give files away sees other owners than the model");
            return Ok(());
        }
        let root = tempfile::tempdir().unwrap();
        let local = LocalTree::open(root.path()).unwrap();
        let mut bucket = model::export(&tree, "", &rules);
        bridge::import(&memory_store(&bucket), &local, "", &rules);
        for (step, change) in changes.into_iter().enumerate() {
            generate::change(&mut bucket, "", change, 1_800_000_000_000_000_000 + step as i128);
        }
        let existing = as_linux_keeps(&model::normalise(&tree, "", &rules), root.path());
        let (expected, verdicts) = model::import(&bucket, "", &rules, &existing);
        let run = bridge::import(&memory_store(&bucket), &local, "", &rules);
        prop_assert_eq!(&run.ended, &outcomes(&verdicts, ""));
        let expected = as_linux_keeps(&expected, root.path());
        let (found, expected) = (without_read_times(read_disk(root.path())), without_read_times(expected));
        prop_assert_eq!(without_moved_times(found, &verdicts), without_moved_times(expected, &verdicts));
    }
}

/// Reading a directory or a link sets its access time; no importer can help that.
fn without_read_times(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        if !matches!(node.kind, Kind::File(_)) {
            node.atime = 0;
        }
    }
    tree
}

/// The kernel moves the mtime of a directory in which something was made, and no object says what it should be.
fn without_moved_times(mut tree: Tree, verdicts: &[(String, Verdict)]) -> Tree {
    let is_said = |path: &str| {
        let key = format!("{path}/");
        let imported = [Verdict::Unchanged, Verdict::Written, Verdict::MetadataOnly];
        verdicts.iter().any(|(said, verdict)| *said == key && imported.contains(verdict))
    };
    for (path, node) in &mut tree {
        if node.kind == Kind::Directory && !is_said(path) {
            node.mtime = 0;
        }
    }
    tree
}

fn file(content: &[u8], mode: u32) -> Node {
    let (atime, mtime) = (1_595_002_920_123_456_789, 1_595_002_920_000_000_001);
    Node { kind: Kind::File(content.to_vec()), mode, uid: 0, gid: 0, atime, mtime }
}

#[test]
fn files_around_the_size_that_is_read_at_once_come_back() {
    let place = tempfile::tempdir().unwrap();
    let sizes = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20];
    let mut tree = Tree::new();
    for size in sizes {
        let mut content: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[1]).collect();
        tree.insert(format!("bytes-{size}"), file(&content, 0o644));
        // A hole, then something, then a hole.
        content.fill(0);
        if let Some(byte) = content.get_mut(size / 2) {
            *byte = 1;
        }
        tree.insert(format!("holes-{size}"), file(&content, 0o644));
    }
    let store = DirectoryStore::open(place.path().join("bucket")).unwrap();
    bridge::export(&memory_tree(&tree), &store, "", &Rules::FSX);
    assert!(bucket_of(&store) == model::export(&tree, "", &Rules::FSX));

    let root = place.path().join("root");
    fs::create_dir(&root).unwrap();
    let local = LocalTree::open(&root).unwrap();
    let run = bridge::import(&store, &local, "", &Rules::FSX);
    let expected = as_linux_keeps(&tree, &root);
    assert!(read_disk(&root) == expected);
    assert_eq!(run.report.bytes, 2 * sizes.iter().sum::<usize>() as u64);

    let exported = MemoryStore::new();
    bridge::export(&local, &exported, "", &Rules::FSX);
    let back = MemoryTree::new();
    bridge::import(&exported, &back, "", &Rules::FSX);
    assert!(as_linux_keeps(&tree_of(&back), &root) == expected);
}

#[test]
fn set_id_bits_of_real_files_are_not_written() {
    let root = tempfile::tempdir().unwrap();
    let chmod =
        |name: &str, mode| fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    fs::write(root.path().join("file"), "x").unwrap();
    fs::create_dir(root.path().join("directory")).unwrap();
    chmod("file", 0o7755);
    chmod("directory", 0o7755);
    let exported = |rules: &Rules| {
        let store = MemoryStore::new();
        bridge::export(&LocalTree::open(root.path()).unwrap(), &store, "", rules);
        let bucket = bucket_of(&store);
        ["directory/", "file"].map(|key| bucket[key].headers["x-amz-meta-file-permissions"].clone())
    };
    assert_eq!(exported(&Rules::FSX), ["0041755", "0100755"]);
    assert_eq!(exported(&Rules::FSX_2022), ["0043755", "0102755"]);
}

#[test]
fn each_name_of_a_hard_link_is_an_object_and_comes_back_as_a_file_of_its_own() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(root.path().join("a"), "shared").unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
    let store = MemoryStore::new();
    bridge::export(&LocalTree::open(root.path()).unwrap(), &store, "", &Rules::FSX);
    bridge::import(&store, &LocalTree::open(other.path()).unwrap(), "", &Rules::FSX);
    fs::write(other.path().join("a"), "changed").unwrap();
    assert_eq!(fs::read(other.path().join("b")).unwrap(), b"shared");
}

#[test]
fn the_access_time_alone_is_no_difference() {
    let tree = Tree::from([("a".to_owned(), file(b"x", 0o644))]);
    let mut bucket = model::export(&tree, "", &Rules::FSX);
    let imported = MemoryTree::new();
    bridge::import(&memory_store(&bucket), &imported, "", &Rules::FSX);
    let name = "x-amz-meta-file-atime".to_owned();
    bucket.get_mut("a").unwrap().headers.insert(name, "5ns".to_owned());
    assert_nothing_to_do(&bridge::import(&memory_store(&bucket), &imported, "", &Rules::FSX));
    assert_eq!(tree_of(&imported), tree);
}

#[test]
fn a_changed_object_that_lost_its_metadata_keeps_the_files_current_values() {
    let (rules, path) = (Rules::FSX, "a".to_owned());
    let tree = Tree::from([(path.clone(), Node { uid: 500, gid: 501, ..file(b"old", 0o640) })]);
    let imported = memory_tree(&tree);
    let object = model::Object { headers: [].into(), body: b"new body".to_vec(), last_modified: 77 };
    let run = bridge::import(&memory_store(&Bucket::from([(path.clone(), object)])), &imported, "", &rules);
    assert_eq!(run.ended, [(path.clone(), Outcome::Written)]);
    let kept = Node { uid: 500, gid: 501, atime: 77, mtime: 77, ..file(b"new body", 0o640) };
    assert_eq!(tree_of(&imported), Tree::from([(path, kept)]));
}

#[test]
fn the_judge_reads_a_real_tree_without_changing_what_it_sees() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::from([("a".to_owned(), file(b"x", 0o644))]);
    let store = memory_store(&model::export(&tree, "", &Rules::FSX));
    bridge::import(&store, &LocalTree::open(root.path()).unwrap(), "", &Rules::FSX);
    let judge = |root: &Path| as_linux_keeps(&read_disk(root), root);
    assert_eq!(judge(root.path()), as_linux_keeps(&tree, root.path()));
}
