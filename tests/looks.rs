//! A tree is listed in key order, a look at many paths tells of each what a lookup of it tells, and nothing but what was
//! found is removed or renamed.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

mod model;
mod namespace;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use model::bridge::{self, below, memory_tree};
use model::{Kind, Node, Tree, generate};
use namespace::is_ordinary_user;
use posix_s3::tree::{
    Applied, LocalTree, Look, MemoryTree, Present, SkipReason, Standing, Tree as PosixTree, TreeError, TreeErrorKind,
    TreeOp,
};
use posix_s3::{
    Attributes, Entry, EntryKind, FileType, Gid, Key, KeyList, Permissions, Status, SymlinkTarget, Timestamp, Uid,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn key(key: &str) -> Key {
    key.parse().unwrap()
}

fn look<'k>(tree: &impl PosixTree, keys: impl IntoIterator<Item = &'k str>) -> Vec<Look> {
    let mut list = KeyList::new();
    keys.into_iter().for_each(|key| list.push(key).unwrap());
    let length = list.len();
    let looks = block_on(tree.look(Arc::new(list), posix_s3::tree::Place::Here, Vec::new()));
    assert_eq!(looks.len(), length);
    looks
}

/// A look in short.
fn shown(look: &Look) -> String {
    match look {
        Look::Found(status) => format!("{} of {} bytes", status.file_type, status.size),
        Look::Nothing => "nothing".to_owned(),
        Look::Skipped(reason) => format!("skipped: {reason}"),
        Look::Failed(error) => format!("failed: {:?}", error.kind()),
    }
}

fn looks<const N: usize>(tree: &impl PosixTree, keys: [&str; N]) -> [String; N] {
    look(tree, keys).iter().map(shown).collect::<Vec<_>>().try_into().unwrap()
}

/// What a lookup tells, as a look.
fn lookup(tree: &impl PosixTree, key: &str) -> Look {
    match block_on(tree.lookup(&key.parse().unwrap())) {
        Ok(Present::Entry(found)) => Look::Found(found.status()),
        Ok(Present::Nothing) => Look::Nothing,
        Ok(Present::Other) => panic!("the trees of the model have no such thing"),
        Err(error) => Look::Failed(error),
    }
}

fn assert_same(looked: &Look, alone: &Look, key: &str) {
    match (looked, alone) {
        // The lookup has read the link, which moves its access time.
        (Look::Found(looked), Look::Found(alone)) => {
            assert!(looked.is_same_version(alone), "{key}: {looked:?} {alone:?}");
        }
        _ => assert_eq!(shown(looked), shown(alone), "{key}"),
    }
}

fn make(root: &Path, tree: &Tree) {
    for (path, node) in tree {
        let path = root.join(path);
        match &node.kind {
            Kind::File(content) => fs::write(path, content).unwrap(),
            Kind::Directory => fs::create_dir(path).unwrap(),
            Kind::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        }
    }
}

// ------------------------------------------------------------------------------------------------------ list

#[test]
fn a_list_is_in_key_order_whatever_the_names_are() {
    let root = tempfile::tempdir().unwrap();
    let long = "a".repeat(254);
    fs::create_dir(root.path().join("a")).unwrap();
    fs::create_dir(root.path().join(&long)).unwrap();
    for name in ["a-", "a.", "a0", "\u{1}", "b", "\u{e9}"] {
        fs::write(root.path().join(name), "").unwrap();
    }
    fs::write(root.path().join(format!("{long}-")), "").unwrap();
    for name in [&b"a\xff"[..], b"\xff", b"a\xc3"] {
        fs::write(below(root.path(), name), "").unwrap();
    }
    symlink("a", root.path().join("l")).unwrap();
    let (long_file, long_directory) = (format!("{long}-"), format!("{long}/"));
    let expected: [&[u8]; 13] = [
        b"\x01",
        b"a-",
        b"a.",
        b"a/",
        b"a0",
        long_file.as_bytes(),
        long_directory.as_bytes(),
        b"a\xc3",
        b"a\xff",
        b"b",
        b"l",
        "\u{e9}".as_bytes(),
        b"\xff",
    ];
    let tree = LocalTree::open(root.path()).unwrap();
    // Twice: each reads from the beginning.
    for _ in 0..2 {
        let names = block_on(tree.list(None)).unwrap();
        assert_eq!(names.iter().collect::<Vec<_>>(), expected);
    }
    assert!(block_on(tree.list(Some(&key("a/")))).unwrap().is_empty());
    let kind = |key: &str| block_on(tree.list(Some(&key.parse().unwrap()))).unwrap_err().kind();
    assert_eq!(kind("b/"), TreeErrorKind::Conflict);
    assert_eq!(kind("l/"), TreeErrorKind::Conflict);
    assert_eq!(kind("c/"), TreeErrorKind::NotFound);
    assert_eq!(kind("l/c/"), TreeErrorKind::Conflict);
}

#[test]
fn a_large_directory_is_listed_whole() {
    // More names than one call to the kernel answers.
    let root = tempfile::tempdir().unwrap();
    let mut names: Vec<String> = (0..3000).map(|number| format!("{number}-{}", "n".repeat(200))).collect();
    names.iter().for_each(|name| fs::write(root.path().join(name), "").unwrap());
    names.sort();
    let listed = block_on(LocalTree::open(root.path()).unwrap().list(None)).unwrap();
    assert!(listed.iter().eq(names.iter().map(String::as_bytes)));
}

/// Lists every directory of both trees, and compares with the keys of the model.
fn lists_are_those_of(tree: &impl PosixTree, model: &Tree) {
    let slash = |node: &Node| if node.kind == Kind::Directory { "/" } else { "" };
    let keys: Vec<String> = model.iter().map(|(path, node)| format!("{path}{}", slash(node))).collect();
    let directories = keys.iter().filter(|key| key.ends_with('/'));
    for directory in directories.map(String::as_str).chain([""]) {
        let rest = |key: &'_ String| Some(key.strip_prefix(directory)?.to_owned());
        let is_name = |name: &String| !name.is_empty() && !name.trim_end_matches('/').contains('/');
        let mut names: Vec<String> = keys.iter().filter_map(rest).filter(is_name).collect();
        names.sort();
        let listed = block_on(tree.list(Key::parse(directory).ok().as_ref())).unwrap();
        assert!(listed.iter().eq(names.iter().map(String::as_bytes)), "{directory}: {listed:?} {names:?}");
    }
}

// ------------------------------------------------------------------------------------------------------ look

proptest! {
    #![proptest_config(generate::cases(200))]

    #[test]
    fn a_look_at_many_paths_tells_of_each_what_a_lookup_tells(
        model in generate::trees(bridge::disk()),
        picks in vec((any::<Index>(), "|/|/a|/a/|/./|x|/x/y", any::<bool>()), 0..60),
        in_order in any::<bool>(),
    ) {
        let paths: Vec<&String> = model.keys().collect();
        let mut keys: Vec<String> = Vec::new();
        for (pick, suffix, alone) in picks {
            let path = if paths.is_empty() { "a" } else { pick.get(&paths).as_str() };
            let picked = if alone { path.to_owned() } else { format!("{path}{suffix}") };
            keys.extend(Key::parse(&picked).is_ok().then_some(picked));
        }
        if in_order {
            keys.sort();
        }
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &model);
        let (local, memory) = (LocalTree::open(root.path()).unwrap(), memory_tree(&model));
        lists_are_those_of(&local, &model);
        lists_are_those_of(&memory, &model);
        let on_disk = look(&local, keys.iter().map(String::as_str));
        let in_memory = look(&memory, keys.iter().map(String::as_str));
        for ((key, on_disk), in_memory) in keys.iter().zip(&on_disk).zip(&in_memory) {
            assert_same(on_disk, &lookup(&local, key), key);
            assert_same(in_memory, &lookup(&memory, key), key);
            prop_assert_eq!(shown(on_disk), shown(in_memory), "{}", key);
        }
    }
}

#[test]
fn a_look_goes_through_no_link() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("d")).unwrap();
    fs::write(outside.path().join("d/secret"), "secret").unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/f"), "f").unwrap();
    symlink(outside.path(), root.path().join("out")).unwrap();
    symlink("d", root.path().join("in")).unwrap();
    symlink(outside.path().join("d"), root.path().join("d/out")).unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    let tree = LocalTree::open(root.path()).unwrap();
    let link = |target: &Path| format!("symlink of {} bytes", target.as_os_str().len());
    let refused = "failed: Conflict".to_owned();
    let keys = ["d/", "d/f", "d/f/x", "d/out", "d/out/", "d/out/secret", "in", "in/", "in/f", "loop/x", "out/d/secret"];
    let expected = [
        "directory of 0 bytes".to_owned(),
        "file of 1 bytes".to_owned(),
        refused.clone(),
        link(&outside.path().join("d")),
        link(&outside.path().join("d")),
        refused.clone(),
        link(Path::new("d")),
        link(Path::new("d")),
        refused.clone(),
        refused.clone(),
        refused,
    ];
    assert_eq!(looks(&tree, keys), expected);
}

#[test]
fn a_look_at_what_is_no_entry_says_why() {
    let root = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap().success());
    fs::create_dir(root.path().join(".posix-s3-staging-x")).unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    let tree = LocalTree::open(root.path()).unwrap();
    let reserved = format!("skipped: {}", SkipReason::Reserved);
    let special = format!("skipped: {}", SkipReason::Special { file_type: FileType::Fifo });
    let keys = [".posix-s3-staging-x/", ".posix-s3-staging-x/a", "d/.posix-s3-staging-x", "pipe", "pipe/a", "x/y/z"];
    let nothing = "nothing".to_owned();
    let expected = [reserved.clone(), reserved, nothing.clone(), special, "failed: Conflict".to_owned(), nothing];
    assert_eq!(looks(&tree, keys), expected);
}

#[test]
fn what_is_in_a_directory_that_may_not_be_entered_is_unknown() {
    if !is_ordinary_user("what_is_in_a_directory_that_may_not_be_entered_is_unknown") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("d/e")).unwrap();
    let chmod = |mode| fs::set_permissions(root.path().join("d"), fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o000);
    let tree = LocalTree::open(root.path()).unwrap();
    let found = looks(&tree, ["d/", "d/a", "d/e/", "d/e/f", "e"]);
    chmod(0o700);
    let denied = || "failed: Denied".to_owned();
    let expected = ["directory of 0 bytes".to_owned(), denied(), denied(), denied(), "nothing".to_owned()];
    assert_eq!(found, expected);
}

#[test]
fn a_look_at_deep_paths_takes_few_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let root = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    let mut deepest = String::new();
    for _ in 0..511 {
        deepest.push_str("n/");
        keys.push(deepest.clone());
    }
    fs::create_dir_all(root.path().join(&deepest)).unwrap();
    for depth in [511, 400, 12, 7, 1] {
        let file = format!("{}z", "n/".repeat(depth));
        fs::write(root.path().join(&file), "z").unwrap();
        keys.push(file);
    }
    keys.sort();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..limit }).unwrap();
    let tree = LocalTree::open(root.path()).unwrap();
    let found = look(&tree, keys.iter().map(String::as_str));
    // From the deepest to the highest, too.
    let back = look(&tree, keys.iter().rev().map(String::as_str));
    let mut list = KeyList::new();
    keys.iter().for_each(|key| list.push(key).unwrap());
    let list = Arc::new(list);
    let batches = stream::iter(0..8)
        .map(|_| tree.look(Arc::clone(&list), posix_s3::tree::Place::Aside { threads: 8 }, Vec::new()))
        .buffered(8);
    let several: Vec<usize> = block_on(batches.map(|looks| looks.len()).collect());
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(several, [keys.len(); 8]);
    for ((key, found), back) in keys.iter().zip(&found).zip(back.iter().rev()) {
        let expected = if key.ends_with('/') { "directory of 0 bytes" } else { "file of 1 bytes" };
        assert_eq!((shown(found), shown(back)), (expected.to_owned(), expected.to_owned()), "{key}");
    }
}

#[test]
fn a_look_takes_no_path_for_what_it_was() {
    let root = tempfile::tempdir().unwrap();
    let tree = LocalTree::open(root.path()).unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/f"), "f").unwrap();
    assert_eq!(looks(&tree, ["d/", "d/f"])[1], "file of 1 bytes");
    fs::rename(root.path().join("d"), root.path().join("e")).unwrap();
    assert_eq!(looks(&tree, ["d/", "d/f", "e/f"]), ["nothing", "nothing", "file of 1 bytes"]);
}

#[test]
fn a_tree_has_an_identity_and_a_clock() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let identity = |path: &Path| LocalTree::open(path).unwrap().identity().unwrap();
    assert_eq!(identity(one.path()), identity(one.path()));
    assert_ne!(identity(one.path()), identity(other.path()));
    let tree = LocalTree::open(one.path()).unwrap();
    let before = tree.now();
    let Look::Found(status) = write(&tree, "a", "") else { panic!() };
    assert!(before <= status.ctime);
    let memory = MemoryTree::new();
    assert_ne!(memory.identity().unwrap(), MemoryTree::new().identity().unwrap());
    assert_eq!(memory.identity().unwrap(), memory.identity().unwrap());
}

// ------------------------------------------------------------------------------------------ remove and rename

fn attributes(mode: u32, seconds: i64) -> Attributes {
    let time = Timestamp::from_unix(seconds, 7).unwrap();
    // Owners that whoever runs this can give.
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (uid, gid) = (Uid::new(uid).unwrap(), Gid::new(gid).unwrap());
    Attributes { permissions: Permissions::from_mode(mode), uid, gid, atime: time, mtime: time }
}

fn made(tree: &impl PosixTree, key: &Key, applied: &Applied) -> Status {
    assert_eq!(applied.shortfalls, []);
    let made = applied.made.unwrap();
    let Look::Found(now) = lookup(tree, key.as_str()) else { panic!("{key}") };
    assert_eq!(made, now, "{key}");
    made
}

fn write(tree: &impl PosixTree, name: &str, content: &str) -> Look {
    let entry = Entry::new(key(name), EntryKind::File { size: content.len() as u64 }, attributes(0o640, 5)).unwrap();
    let body = stream::iter([Ok(Bytes::copy_from_slice(content.as_bytes()))]).boxed();
    let applied = block_on(tree.write_file(&entry, body, Standing::Replaceable)).unwrap();
    Look::Found(made(tree, entry.key(), &applied))
}

fn written(tree: &impl PosixTree, name: &str, content: &str) -> Status {
    let Look::Found(status) = write(tree, name, content) else { panic!() };
    status
}

fn directory(tree: &impl PosixTree, name: &str) -> Status {
    let op = TreeOp::CreateDirectory { key: key(name), attributes: Some(attributes(0o750, 6)) };
    let first = made(tree, &key(name), &block_on(tree.apply(&op)).unwrap());
    assert_eq!(block_on(tree.apply(&op)).unwrap().made, None);
    first
}

fn linked(tree: &impl PosixTree, name: &str) -> Status {
    let kind = EntryKind::Symlink { target: SymlinkTarget::parse(b"target").unwrap() };
    let entry = Entry::new(key(name), kind, attributes(0o777, 7)).unwrap();
    let op = TreeOp::CreateSymlink { entry, standing: Standing::Nothing };
    let status = made(tree, &key(name), &block_on(tree.apply(&op)).unwrap());
    assert_eq!((status.file_type, status.size), (FileType::Symlink, 6));
    status
}

fn kind<T>(result: Result<T, TreeError>) -> Option<TreeErrorKind> {
    result.err().map(|error| error.kind())
}

fn remove(tree: &impl PosixTree, name: &str, found: Status) -> Option<TreeErrorKind> {
    let result = block_on(tree.apply(&TreeOp::Remove { key: key(name), found }));
    if let Ok(applied) = &result {
        assert_eq!(*applied, Applied::default());
        assert_eq!(shown(&lookup(tree, name)), "nothing");
    }
    kind(result)
}

fn rename(tree: &impl PosixTree, name: &str, to: &str, found: Status) -> Result<Status, TreeErrorKind> {
    let op = TreeOp::Rename { key: key(name), to: key(to), found };
    let applied = block_on(tree.apply(&op)).map_err(|error| error.kind())?;
    Ok(made(tree, &key(to), &applied))
}

/// What both trees do with what was found, and is or is not there any more.
fn only_what_was_found_is_removed_or_renamed(tree: &impl PosixTree, link: impl Fn(&str, &str), put_in: impl Fn(&str)) {
    use TreeErrorKind::{Changed, Conflict, NotFound};
    directory(tree, "d/");
    // Each kind of thing.
    let (file, symlink, empty) = (written(tree, "d/f", "x"), linked(tree, "d/l"), directory(tree, "d/e/"));
    assert_eq!(remove(tree, "d/f", symlink), Some(Changed));
    assert_eq!(remove(tree, "d/e/", file), Some(Changed));
    assert_eq!(remove(tree, "d/f", file), None);
    assert_eq!(remove(tree, "d/f", file), Some(NotFound));
    assert_eq!(remove(tree, "d/l", symlink), None);
    assert_eq!(remove(tree, "d/e/", empty), None);
    assert_eq!(remove(tree, "nowhere/f", file), Some(NotFound));

    // A directory of the same name is another one; what is made in it is in the new one.
    let again = directory(tree, "d/e/");
    if again.inode != empty.inode {
        assert_eq!(remove(tree, "d/e/", empty), Some(Changed));
    }
    let inside = written(tree, "d/e/f", "x");
    assert_eq!(remove(tree, "d/e/", again), Some(Conflict));
    assert_eq!(remove(tree, "d/e/f", inside), None);
    // Its times have changed, and it is still the same.
    assert_eq!(remove(tree, "d/e/", again), None);
    let file = written(tree, "d/e", "a file where a directory stood");
    assert_eq!(remove(tree, "d/e/x", file), Some(Conflict));
    assert_eq!(remove(tree, "d/e", file), None);
    directory(tree, "d/e/");
    written(tree, "d/e/f", "and a directory again");

    // Changed in place, and replaced.
    let file = written(tree, "f", "one");
    put_in("f");
    assert_eq!(remove(tree, "f", file), Some(Changed));
    assert_eq!(rename(tree, "f", "g", file), Err(Changed));
    let file = written(tree, "f", "one");
    written(tree, "f", "one");
    assert_eq!(remove(tree, "f", file), Some(Changed));
    let Look::Found(file) = lookup(tree, "f") else { panic!() };

    // Renamed: the inode stays, and so does what is in the way.
    let renamed = rename(tree, "f", "g", file).unwrap();
    assert_eq!((renamed.inode, renamed.size, renamed.attributes.mtime), (file.inode, 3, file.attributes.mtime));
    assert_eq!(shown(&lookup(tree, "f")), "nothing");
    assert_eq!(rename(tree, "f", "h", file), Err(NotFound));
    let other = written(tree, "f", "another");
    assert_eq!(rename(tree, "f", "g", other), Err(Conflict));
    assert_eq!(rename(tree, "f", "d", other), Err(Conflict));
    assert_eq!(rename(tree, "f", "d/g", other), Err(Conflict));
    let Look::Found(d) = lookup(tree, "d/") else { panic!() };
    assert_eq!(rename(tree, "d/", "c/", d), Err(Conflict));
    let symlink = linked(tree, "l");
    assert_eq!(rename(tree, "l", "m", symlink).unwrap().file_type, FileType::Symlink);

    // A file of several names: one goes, the other ones stay, and are another version for that.
    let file = written(tree, "one", "x");
    link("one", "two");
    assert_eq!(remove(tree, "one", file), Some(Changed));
    let Look::Found(file) = lookup(tree, "one") else { panic!() };
    assert_eq!(file.links, 2);
    assert_eq!(remove(tree, "one", file), None);
    let Look::Found(rest) = lookup(tree, "two") else { panic!() };
    assert_eq!((rest.inode, rest.links, rest.size), (file.inode, 1, 1));
    assert!(!rest.is_same_version(&file));
    assert_eq!(remove(tree, "two", file), Some(Changed));
    assert_eq!(remove(tree, "two", rest), None);
    block_on(tree.finish()).unwrap();
}

#[test]
fn only_what_was_found_is_removed_or_renamed_on_a_disk() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let link = |one: &str, two: &str| fs::hard_link(at(one), at(two)).unwrap();
    let put_in = |name: &str| fs::write(at(name), "two").unwrap();
    only_what_was_found_is_removed_or_renamed(&LocalTree::open(root.path()).unwrap(), link, put_in);
}

#[test]
fn only_what_was_found_is_removed_or_renamed_in_memory() {
    let tree = MemoryTree::new();
    let link = |one: &str, two: &str| tree.link(&key(one), &key(two)).unwrap();
    let put_in = |name: &str| tree.set_content(&key(name), "two").unwrap();
    only_what_was_found_is_removed_or_renamed(&tree, link, put_in);
}

#[test]
fn nothing_is_removed_through_a_link_and_nothing_that_is_reserved() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "f").unwrap();
    symlink(outside.path(), root.path().join("out")).unwrap();
    fs::write(root.path().join(".posix-s3-staging-x"), "f").unwrap();
    fs::write(root.path().join("f"), "f").unwrap();
    let found = LocalTree::open(outside.path()).unwrap();
    let Look::Found(found) = lookup(&found, "f") else { panic!() };
    let tree = LocalTree::open(root.path()).unwrap();
    assert_eq!(remove(&tree, "out/f", found), Some(TreeErrorKind::Conflict));
    assert_eq!(rename(&tree, "out/f", "out/g", found), Err(TreeErrorKind::Conflict));
    assert_eq!(remove(&tree, ".posix-s3-staging-x", found), Some(TreeErrorKind::Reserved));
    let Look::Found(found) = lookup(&tree, "f") else { panic!() };
    assert_eq!(rename(&tree, "f", ".posix-s3-staging-y", found), Err(TreeErrorKind::Reserved));
    assert!(outside.path().join("f").exists());
}

#[test]
fn what_attributes_were_set_is_told_as_it_stands() {
    let root = tempfile::tempdir().unwrap();
    let trees = (LocalTree::open(root.path()).unwrap(), MemoryTree::new());
    fn set(tree: &impl PosixTree) {
        let before = written(tree, "f", "x");
        let Ok(Present::Entry(found)) = block_on(tree.lookup(&key("f"))) else { panic!() };
        let entry = Entry::new(key("f"), EntryKind::File { size: 1 }, attributes(0o600, 9)).unwrap();
        let op = TreeOp::SetAttributes { entry, found: found.fingerprint };
        let after = made(tree, &key("f"), &block_on(tree.apply(&op)).unwrap());
        assert_eq!((after.inode, after.attributes), (before.inode, attributes(0o600, 9)));
    }
    set(&trees.0);
    set(&trees.1);
}

// -------------------------------------------------------------------------------------- the tree in memory

fn ctime(tree: &MemoryTree, name: &str) -> i64 {
    let Look::Found(status) = lookup(tree, name) else { panic!("{name}") };
    status.ctime.seconds()
}

fn insert_directory(tree: &MemoryTree, name: &str) {
    tree.insert(Entry::new(key(name), EntryKind::Directory, attributes(0o755, 5)).unwrap()).unwrap();
}

#[test]
fn in_memory_each_change_moves_the_ctime_of_what_it_changes() {
    let tree = MemoryTree::new();
    insert_directory(&tree, "d/");
    insert_directory(&tree, "e/");
    tree.insert_file(key("d/f"), "x", attributes(0o644, 5)).unwrap();
    assert_eq!((ctime(&tree, "d"), ctime(&tree, "e"), ctime(&tree, "d/f")), (30, 20, 30));
    assert_eq!(tree.now().seconds(), 40);
    tree.link(&key("d/f"), &key("e/g")).unwrap();
    assert_eq!((ctime(&tree, "d"), ctime(&tree, "e"), ctime(&tree, "d/f")), (30, 40, 40));
    tree.set_content(&key("e/g"), "longer").unwrap();
    let Look::Found(status) = lookup(&tree, "d/f") else { panic!() };
    assert_eq!((status.size, status.ctime.seconds(), status.attributes.mtime.seconds(), status.links), (6, 50, 50, 2));
    tree.set_attributes(&key("d/f"), attributes(0o600, 8)).unwrap();
    let Look::Found(status) = lookup(&tree, "e/g") else { panic!() };
    assert_eq!((status.ctime.seconds(), status.attributes), (60, attributes(0o600, 8)));
    tree.rename(&key("d/f"), &key("e/f")).unwrap();
    assert_eq!((ctime(&tree, "d"), ctime(&tree, "e"), ctime(&tree, "e/f"), ctime(&tree, "e/g")), (70, 70, 70, 70));
    assert!(tree.remove(&key("e/f")));
    let Look::Found(status) = lookup(&tree, "e/g") else { panic!() };
    assert_eq!((status.links, status.ctime.seconds(), ctime(&tree, "e"), ctime(&tree, "d")), (1, 80, 80, 70));
    let Look::Found(status) = lookup(&tree, "e/") else { panic!() };
    assert_eq!(status.attributes, attributes(0o755, 5));
}

#[test]
fn in_memory_a_directory_is_renamed_with_everything_in_it() {
    let tree = MemoryTree::new();
    for name in ["a/", "a/b/", "c/"] {
        insert_directory(&tree, name);
    }
    tree.insert_file(key("a/b/f"), "x", attributes(0o644, 5)).unwrap();
    let inode = |name: &str| {
        let Look::Found(status) = lookup(&tree, name) else { panic!("{name}") };
        (status.inode, status.ctime.seconds())
    };
    let (directory, file) = (inode("a/b").0, inode("a/b/f"));
    tree.rename(&key("a/b"), &key("c/d")).unwrap();
    assert_eq!((inode("c/d"), inode("c/d/f")), ((directory, 50), file));
    assert_eq!((inode("a/").1, inode("c/").1), (50, 50));
    assert_eq!(shown(&lookup(&tree, "a/b/f")), "nothing");
    let refused = |from: &str, to: &str| kind(tree.rename(&key(from), &key(to)));
    assert_eq!(refused("c/", "c/d/c"), Some(TreeErrorKind::Conflict));
    assert_eq!(refused("c/d/f", "a"), Some(TreeErrorKind::Conflict));
    assert_eq!(refused("a/", "c/"), Some(TreeErrorKind::Conflict));
    assert_eq!(refused("x", "y"), Some(TreeErrorKind::NotFound));
    assert_eq!(refused("c/d/f", "nowhere/f"), Some(TreeErrorKind::Conflict));
    assert_eq!(refused("c/d", &format!("a/{}", "n/".repeat(510))), Some(TreeErrorKind::Conflict));
    tree.insert_file(key("f"), "y", attributes(0o644, 5)).unwrap();
    tree.rename(&key("c/d/f"), &key("f")).unwrap();
    assert_eq!(inode("f").0, file.0);
}

#[test]
fn in_memory_time_may_stand_still() {
    let tree = MemoryTree::with_tick(std::time::Duration::ZERO);
    tree.insert_file(key("f"), "x", attributes(0o644, 5)).unwrap();
    tree.set_attributes(&key("f"), attributes(0o600, 5)).unwrap();
    assert_eq!((ctime(&tree, "f"), tree.now()), (0, Timestamp::EPOCH));
    tree.set_tick(std::time::Duration::from_secs(1));
    tree.set_content(&key("f"), "y").unwrap();
    assert_eq!(ctime(&tree, "f"), 1);
}

#[test]
fn in_memory_an_open_file_is_its_inode() {
    let tree = MemoryTree::new();
    tree.insert_file(key("f"), "one", attributes(0o644, 5)).unwrap();
    let open = block_on(tree.open(&key("f"))).unwrap();
    assert!(block_on(open.again()).unwrap().is_same_version(open.found()));
    tree.set_content(&key("f"), "two").unwrap();
    assert_eq!(block_on(open.read(0, 3)).unwrap(), "two");
    assert!(!block_on(open.again()).unwrap().is_same_version(open.found()));
    tree.remove(&key("f"));
    assert_eq!(block_on(open.again()).unwrap().fingerprint.links, 0);
}

#[test]
fn a_list_says_which_directory_it_was_read_from() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    for (path, name) in [("d/s", "old"), ("new/s", "new")] {
        fs::create_dir_all(at(path)).unwrap();
        fs::write(at(path).join(name), "").unwrap();
    }
    let tree = LocalTree::open(directory.path()).unwrap();
    let inode = |key: &str| match &look(&tree, [key])[..] {
        [Look::Found(status)] => status.inode,
        other => panic!("{other:?}"),
    };
    let before = inode("d/s/");
    let names = block_on(tree.list(Some(&key("d/s/")))).unwrap();
    assert_eq!((names.directory(), names.get(0)), (Some(before), Some(&b"old"[..])));

    // Whichever of the two is read once they were exchanged, the list says so.
    fs::rename(at("d"), at("old")).unwrap();
    fs::rename(at("new"), at("d")).unwrap();
    let after = inode("d/s/");
    assert_ne!(before, after);
    let names = block_on(tree.list(Some(&key("d/s/")))).unwrap();
    let expected = if names.directory() == Some(after) { "new" } else { "old" };
    assert_eq!(names.get(0), Some(expected.as_bytes()));
}
