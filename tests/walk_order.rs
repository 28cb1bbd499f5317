//! A walk comes in key order, shows every entry once, and says what it leaves out.

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

use futures_executor::block_on;
use futures_util::StreamExt;
use model::bridge::{self, as_linux_keeps, below, memory_store, memory_tree, read_disk};
use model::generate::{self, Place, cases};
use model::{Kind, Node, Rules, Tree};
use namespace::is_ordinary_user;
use posix_s3::engine;
use posix_s3::tree::{LocalTree, SkipReason, Tree as PosixTree, TreeErrorKind, Walked};
use posix_s3::{FileType, KeyFault};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

fn walk(tree: &impl PosixTree) -> Vec<Walked> {
    block_on(engine::walk(tree).collect())
}

/// The keys of a walk in which everything is an entry, in the order of the walk.
fn keys(tree: &impl PosixTree) -> Vec<String> {
    let found = walk(tree).into_iter().map(|walked| match walked {
        Walked::Found(found) => found.entry.key().as_str().to_owned(),
        other => panic!("{other:?}"),
    });
    found.collect()
}

/// The keys of a tree, sorted by their bytes.
fn sorted_keys(tree: &Tree) -> Vec<String> {
    let slash = |node: &Node| if node.kind == Kind::Directory { "/" } else { "" };
    let mut keys: Vec<String> = tree.iter().map(|(path, node)| format!("{path}{}", slash(node))).collect();
    keys.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    keys
}

/// Makes the shape of a tree on the disk; its attributes do not matter to the order.
fn make(root: &Path, tree: &Tree) {
    for (path, node) in tree {
        let path = root.join(path);
        match &node.kind {
            Kind::File(content) => fs::write(path, content).unwrap(),
            Kind::Directory => fs::create_dir(path).unwrap(),
            Kind::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap(),
        }
    }
}

fn node(kind: Kind) -> Node {
    Node { kind, mode: 0o755, uid: 0, gid: 0, atime: 0, mtime: 0 }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn random_trees_are_walked_in_key_order(tree in generate::trees(bridge::disk())) {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &tree);
        prop_assert_eq!(keys(&LocalTree::open(root.path()).unwrap()), sorted_keys(&tree));
        prop_assert_eq!(keys(&memory_tree(&tree)), sorted_keys(&tree));
    }

    #[test]
    fn siblings_that_are_prefixes_of_each_other_are_walked_in_key_order(
        names in vec(("[a/]?(\\.|-|0|!|~|\u{1}|\t|/b|/\u{1})?", any::<bool>()), 0..12),
    ) {
        let mut tree = Tree::new();
        for (name, directory) in names {
            let path = format!("a{name}");
            let kind = if directory { Kind::Directory } else { Kind::File(Vec::new()) };
            let mut above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            let holds = above.all(|above| *tree.entry(above).or_insert_with(|| node(Kind::Directory)) == node(Kind::Directory));
            let is_name = !path.contains("//") && !path.ends_with('/') && !path.split('/').any(|name| name == ".");
            if holds && is_name {
                tree.entry(path).or_insert_with(|| node(kind));
            }
        }
        tree.retain(|path, _| model::is_path(path) && !path.ends_with('/'));
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &tree);
        prop_assert_eq!(keys(&LocalTree::open(root.path()).unwrap()), sorted_keys(&tree));
        prop_assert_eq!(keys(&memory_tree(&tree)), sorted_keys(&tree));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn a_walk_shows_every_entry_as_it_is(tree in generate::trees(bridge::disk())) {
        let root = tempfile::tempdir().unwrap();
        let local = LocalTree::open(root.path()).unwrap();
        bridge::import(&memory_store(&model::export(&tree, "", &Rules::FSX)), &local, "", &Rules::FSX);
        let mut walked = Tree::new();
        for step in walk(&local) {
            let Walked::Found(found) = step else { panic!("{step:?}") };
            let path = found.entry.key().path().to_owned();
            // The content is the judge's business; the size is enough to see here.
            let content = vec![0; usize::try_from(found.entry.object_size()).unwrap()];
            let content: &[u8] = if found.entry.file_type() == FileType::File { &content } else { b"" };
            prop_assert!(walked.insert(path, bridge::node(&found.entry, content)).is_none());
        }
        let mut expected = as_linux_keeps(&read_disk(root.path()), root.path());
        for (path, node) in &mut expected {
            if let Kind::File(content) = &mut node.kind {
                content.fill(0);
            } else {
                // The walk itself has read the directory or link since.
                node.atime = walked[path].atime;
            }
        }
        prop_assert_eq!(walked, expected);
    }
}

#[test]
fn the_hostile_alphabet_is_walked_in_key_order() {
    let files =
        ["a-", "a.", "a0", "a b", "\u{1}", "\n", "\r", "\t", ".a", "..a", "...", "%2e", "-rf", "\u{e9}", "\u{1f600}"];
    let mut tree: Tree = files.map(|name| (name.to_owned(), node(Kind::File(Vec::new())))).into();
    for (path, kind) in [
        ("a", Kind::Directory),
        ("a/a", Kind::Directory),
        ("a/a-", Kind::File(Vec::new())),
        ("a/a/\u{1}", Kind::File(Vec::new())),
        ("a!", Kind::Directory),
        ("a!/b", Kind::Link(b"x".to_vec())),
    ] {
        tree.insert(path.to_owned(), node(kind));
    }
    let expected = [
        "\u{1}",
        "\t",
        "\n",
        "\r",
        "%2e",
        "-rf",
        "...",
        "..a",
        ".a",
        "a b",
        "a!/",
        "a!/b",
        "a-",
        "a.",
        "a/",
        "a/a-",
        "a/a/",
        "a/a/\u{1}",
        "a0",
        "\u{e9}",
        "\u{1f600}",
    ];
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &tree);
    assert_eq!(keys(&LocalTree::open(root.path()).unwrap()), expected);
    assert_eq!(keys(&memory_tree(&tree)), expected);
    assert_eq!(sorted_keys(&tree), expected);
}

/// Each step of a walk in short: the path, and why it is left out.
fn steps(root: &Path) -> Vec<(Vec<u8>, String)> {
    let shown = |walked| match walked {
        Walked::Found(found) => (found.entry.key().as_str().as_bytes().to_vec(), "found".to_owned()),
        Walked::Skipped { path, reason } => {
            let reason = match reason {
                SkipReason::Special { file_type } => format!("special: {file_type}"),
                SkipReason::Key(error) => format!("key: {:?}", error.fault()),
                other => format!("{other:?}"),
            };
            (path.to_vec(), reason)
        }
        Walked::Failed { path, error } => (path.to_vec(), format!("failed: {:?}", error.kind())),
    };
    walk(&LocalTree::open(root).unwrap()).into_iter().map(shown).collect()
}

fn step(path: &[u8], what: &str) -> (Vec<u8>, String) {
    (path.to_vec(), what.to_owned())
}

#[test]
fn pipes_and_sockets_are_left_out_with_their_type() {
    let root = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap().success());
    let _listener = UnixListener::bind(root.path().join("socket")).unwrap();
    fs::write(root.path().join("q"), "").unwrap();
    let expected = [step(b"pipe", "special: fifo"), step(b"q", "found"), step(b"socket", "special: socket")];
    assert_eq!(steps(root.path()), expected);
}

#[test]
fn names_that_are_not_utf_8_are_left_out_with_what_is_below_them() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(below(root.path(), b"d\xff")).unwrap();
    fs::write(below(root.path(), b"d\xff/inside"), "").unwrap();
    fs::write(below(root.path(), b"a\xc3"), "").unwrap();
    fs::write(below(root.path(), b"\xed\xa0\x80"), "").unwrap();
    fs::write(below(root.path(), b"z"), "").unwrap();
    let reason = format!("key: {:?}", KeyFault::NotUtf8);
    let expected =
        [step(b"a\xc3", &reason), step(b"d\xff/", &reason), step(b"z", "found"), step(b"\xed\xa0\x80", &reason)];
    assert_eq!(steps(root.path()), expected);
}

#[test]
fn keys_over_1024_bytes_are_left_out_with_what_is_below_them() {
    let root = tempfile::tempdir().unwrap();
    let long = "n".repeat(255);
    let mut deepest = root.path().to_owned();
    let mut key = String::new();
    let mut expected = Vec::new();
    for _ in 0..4 {
        deepest.push(&long);
        key = format!("{key}{long}/");
        expected.push(step(key.as_bytes(), "found"));
    }
    assert_eq!(key.len(), 1024);
    fs::create_dir_all(deepest.join("d/e")).unwrap();
    fs::write(deepest.join("d/inside"), "").unwrap();
    fs::write(deepest.join("f"), "").unwrap();
    let reason = format!("key: {:?}", KeyFault::TooLong);
    expected.push(step(format!("{key}d/").as_bytes(), &reason));
    expected.push(step(format!("{key}f").as_bytes(), &reason));
    assert_eq!(steps(root.path()), expected);
}

#[test]
fn a_directory_that_cannot_be_read_is_a_failure_and_the_walk_goes_on() {
    if !is_ordinary_user("a_directory_that_cannot_be_read_is_a_failure_and_the_walk_goes_on") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("inside"), "").unwrap();
    }
    let chmod = |mode| fs::set_permissions(root.path().join("b"), fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o000);
    let found = steps(root.path());
    chmod(0o700);
    let failed = format!("failed: {:?}", TreeErrorKind::Denied);
    let expected = [
        step(b"a/", "found"),
        step(b"a/inside", "found"),
        step(b"b/", &failed),
        step(b"c/", "found"),
        step(b"c/inside", "found"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_link_to_a_directory_is_a_link_and_not_walked() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/inside"), "").unwrap();
    std::os::unix::fs::symlink("d", root.path().join("l")).unwrap();
    std::os::unix::fs::symlink("l", root.path().join("loop")).unwrap();
    let expected = [step(b"d/", "found"), step(b"d/inside", "found"), step(b"l", "found"), step(b"loop", "found")];
    assert_eq!(steps(root.path()), expected);
}

#[test]
fn the_random_trees_are_not_trivial() {
    // A mistake in the generator would make the properties above say less than they seem to.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut files, mut directories, mut links, mut deepest) = (0, 0, 0, 0);
    for _ in 0..100 {
        let tree = generate::trees(Place::Memory).new_tree(&mut runner).unwrap().current();
        for (path, node) in tree {
            deepest = path.split('/').count().max(deepest);
            match node.kind {
                Kind::File(_) => files += 1,
                Kind::Directory => directories += 1,
                Kind::Link(_) => links += 1,
            }
        }
    }
    assert!(files > 100 && directories > 100 && links > 100, "{files} {directories} {links}");
    assert_eq!(deepest, 4);
}
