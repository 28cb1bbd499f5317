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

mod model;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use model::bridge::{self, as_linux_keeps, header_map, memory_store, memory_tree, outcomes, read_disk, time, tree_of};
use model::generate::{self, Place, cases};
use model::{Bucket, Kind, Node, Object, Rules, Tree};
use posix_s3::engine::{Outcome, RunErrorKind};
use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, MemoryStore, ObjectMeta,
    ObjectStore, Precondition, PutOptions, PutOutput, StoreError, Support,
};
use posix_s3::tree::{LocalTree, MemoryTree};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

/// A root with sentinels around it, where climbing targets lead.
struct Surrounded(tempfile::TempDir);

impl Surrounded {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for directory in ["root", "a", "b", "a/a"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        for file in ["x", "a-", "a/x", "a/a/a", "a/b", "victim"] {
            fs::write(place.path().join(file), format!("the sentinel {file}")).unwrap();
        }
        symlink("a", place.path().join("link")).unwrap();
        let surrounded = Self(place);
        surrounded.chmod("b", 0o700);
        surrounded.chmod("a/x", 0o4711);
        surrounded
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Everything about every sentinel but its access time, which this changes itself.
    fn outside(&self) -> Vec<String> {
        let mut outside = Vec::new();
        let mut directories = vec![self.0.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                if path == self.root() {
                    continue;
                }
                let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                outside.push(format!("{path:?} {} {content:?}", stat_of(&stat)));
                if stat.is_dir() {
                    directories.push(path);
                }
            }
        }
        outside.sort();
        outside
    }
}

fn stat_of(stat: &fs::Metadata) -> String {
    let (mtime, ctime) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
    let (inode, mode, links) = (stat.ino(), stat.mode(), stat.nlink());
    format!("{inode} {mode:o} {links} {}:{} {} {mtime:?} {ctime:?}", stat.uid(), stat.gid(), stat.len())
}

// ------------------------------------------------------------------------------------------- hostile objects

fn object(permissions: &str, body: &[u8]) -> Object {
    let headers = [
        ("x-amz-meta-file-permissions", permissions),
        ("x-amz-meta-file-owner", "0"),
        ("x-amz-meta-file-group", "0"),
        ("x-amz-meta-file-atime", "1595002920000000001ns"),
        ("x-amz-meta-file-mtime", "1595002920000000002ns"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Object { headers, body: body.to_vec(), last_modified: 1_700_000_000_000_000_000 }
}

fn bucket<const N: usize>(objects: [(&str, Object); N]) -> Bucket {
    objects.map(|(key, object)| (key.to_owned(), object)).into()
}

fn ended(run: &bridge::Run, key: &str) -> Outcome {
    run.ended.iter().find(|(ended, _)| ended == key).unwrap().1
}

/// Imports into a real root and answers how each key ended; what is outside must not have changed.
fn import_into(place: &Surrounded, bucket: &Bucket) -> bridge::Run {
    let before = place.outside();
    let run = bridge::import(&memory_store(bucket), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    assert_eq!(place.outside(), before);
    run
}

#[test]
fn a_link_and_a_key_that_goes_on_through_it() {
    // CVE-2026-54572: the link is planted by one object, the next is written through it.
    let bucket = bucket([("a", object("0120777", b"../a")), ("a/b", object("0100644", b"planted"))]);
    let place = Surrounded::new();
    let run = import_into(&place, &bucket);
    assert_eq!((ended(&run, "a"), ended(&run, "a/b")), (Outcome::Skipped, Outcome::Written));
    assert!(fs::symlink_metadata(place.root().join("a")).unwrap().is_dir());
    assert_eq!(fs::read(place.root().join("a/b")).unwrap(), b"planted");

    // FSx parity: the link is made, and nothing goes through it.
    let place = Surrounded::new();
    let before = place.outside();
    let local = LocalTree::open(place.root()).unwrap();
    for _ in 0..2 {
        let run = bridge::import(&memory_store(&bucket), &local, "", &Rules::FIRST_WINS);
        assert_eq!(ended(&run, "a/b"), Outcome::Skipped);
    }
    assert_eq!(fs::read_link(place.root().join("a")).unwrap(), Path::new("../a"));
    assert_eq!(place.outside(), before);
}

#[test]
fn a_link_of_an_earlier_import_at_a_parent_is_a_conflict() {
    let place = Surrounded::new();
    import_into(&place, &bucket([("a", object("0120777", b"../a"))]));
    for (key, target) in [("a/b", "../a"), ("a/", "../a"), ("a/a/new", "../a"), ("a/a/", "../a")] {
        let run = import_into(&place, &bucket([(key, object("0100644", b"planted"))]));
        assert_eq!(run.ended, [(key.to_owned(), Outcome::Conflict)]);
        assert_eq!(fs::read_link(place.root().join("a")).unwrap(), Path::new(target));
    }
}

#[test]
fn a_link_that_stands_where_a_directory_is_to_be_is_not_followed() {
    // CVE-2026-88016: the attributes of `ln/` end up on what the link points to, since a trailing slash voids no-follow.
    let place = Surrounded::new();
    symlink("../b", place.root().join("ln")).unwrap();
    symlink(place.0.path().join("a"), place.root().join("absolute")).unwrap();
    let link = stat_of(&fs::symlink_metadata(place.root().join("ln")).unwrap());
    let directory = object("0040777", b"");
    let run = import_into(&place, &bucket([("ln/", directory.clone()), ("absolute/", directory)]));
    assert_eq!((ended(&run, "ln/"), ended(&run, "absolute/")), (Outcome::Conflict, Outcome::Conflict));
    assert_eq!(stat_of(&fs::symlink_metadata(place.root().join("ln")).unwrap()), link);
}

#[test]
fn what_stands_at_a_files_name_is_replaced_and_never_written_to() {
    for mode in ["0100644", "0120777"] {
        let place = Surrounded::new();
        let victim = place.0.path().join("victim");
        symlink(&victim, place.root().join("link")).unwrap();
        symlink("../new", place.root().join("dangling")).unwrap();
        assert!(Command::new("mkfifo").arg(place.root().join("pipe")).status().unwrap().success());
        fs::hard_link(&victim, place.root().join("hard")).unwrap();
        fs::write(place.root().join("open"), "old").unwrap();
        let names = ["link", "dangling", "pipe", "hard", "open"];
        let inode = |name: &str| fs::symlink_metadata(place.root().join(name)).unwrap().ino();
        let old = names.map(inode);
        let open = fs::File::open(place.root().join("open")).unwrap();

        let objects = names.map(|name| (name, object(mode, b"new content")));
        let before = (fs::read(&victim).unwrap(), fs::metadata(&victim).unwrap());
        let run =
            bridge::import(&memory_store(&bucket(objects)), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
        assert_eq!(run.report.written, 5, "{:?}", run.report);
        for (name, old) in names.into_iter().zip(old) {
            assert_ne!(inode(name), old, "{name} as {mode}");
            let path = place.root().join(name);
            let stat = fs::symlink_metadata(&path).unwrap();
            if mode == "0120777" {
                assert_eq!(fs::read_link(&path).unwrap(), Path::new("new content"));
            } else {
                assert_eq!((stat.mode(), fs::read(&path).unwrap()), (0o100_644, b"new content".to_vec()));
            }
        }
        assert!(!place.0.path().join("new").exists());
        assert_eq!(std::io::read_to_string(open).unwrap(), "old");
        let after = (fs::read(&victim).unwrap(), fs::metadata(&victim).unwrap());
        assert_eq!(after.0, before.0);
        assert_eq!(
            (after.1.ino(), after.1.mode(), after.1.mtime()),
            (before.1.ino(), before.1.mode(), before.1.mtime())
        );
        // Its other name is gone.
        assert_eq!(after.1.nlink(), 1);
    }
}

#[test]
fn attributes_of_a_file_with_another_name_outside_are_set_on_a_new_inode() {
    let place = Surrounded::new();
    let store = bucket([("hard", object("0100600", b"the sentinel victim"))]);
    import_into(&place, &store);
    let imported = fs::metadata(place.root().join("hard")).unwrap();
    // The same bytes and mtime, so that only the permissions differ, and a second name outside.
    fs::hard_link(place.root().join("hard"), place.0.path().join("a/hard")).unwrap();
    let outside = fs::metadata(place.0.path().join("a/hard")).unwrap();
    let changed = bucket([("hard", object("0100644", b"the sentinel victim"))]);
    bridge::import(&memory_store(&changed), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    let after = fs::metadata(place.0.path().join("a/hard")).unwrap();
    assert_eq!((after.ino(), after.mode()), (outside.ino(), outside.mode()));
    let replaced = fs::metadata(place.root().join("hard")).unwrap();
    assert_eq!(replaced.mode(), 0o100_644);
    assert_ne!(replaced.ino(), imported.ino());
}

#[test]
fn a_set_id_program_is_replaced_by_a_file_without_the_bits() {
    let place = Surrounded::new();
    for (name, mode) in [("program", 0o6755), ("group", 0o2745)] {
        fs::write(place.root().join(name), "old").unwrap();
        place.chmod(&format!("root/{name}"), mode);
    }
    let inode = |name: &str| fs::metadata(place.root().join(name)).unwrap().ino();
    let old = ["program", "group"].map(inode);
    // One object says set-id, the other lost its metadata and keeps the file's values, but not those bits.
    let lost = Object { headers: [].into(), ..object("", b"new") };
    import_into(&place, &bucket([("program", object("0106755", b"new")), ("group", lost)]));
    assert_eq!(fs::metadata(place.root().join("program")).unwrap().mode(), 0o100_755);
    assert_eq!(fs::metadata(place.root().join("group")).unwrap().mode(), 0o100_745);
    let new = ["program", "group"].map(inode);
    assert!(new[0] != old[0] && new[1] != old[1]);
}

#[test]
fn set_id_bits_of_a_file_that_only_changes_its_attributes_go() {
    let place = Surrounded::new();
    let store = bucket([("program", object("0100755", b"same"))]);
    import_into(&place, &store);
    place.chmod("root/program", 0o6755);
    let run = import_into(&place, &store);
    assert_eq!(run.ended, [("program".to_owned(), Outcome::MetadataOnly)]);
    assert_eq!(fs::metadata(place.root().join("program")).unwrap().mode(), 0o100_755);
}

#[test]
fn a_directory_made_in_a_set_gid_directory_has_no_set_gid_bit() {
    let place = Surrounded::new();
    fs::create_dir(place.root().join("parent")).unwrap();
    place.chmod("root", 0o2755);
    place.chmod("root/parent", 0o2755);
    import_into(
        &place,
        &bucket([
            ("made/", object("0042755", b"")),
            ("implied/file", object("0100644", b"")),
            ("parent/made/", object("0040755", b"")),
            ("parent/implied/file", object("0100644", b"")),
        ]),
    );
    for name in ["made", "implied", "parent/made", "parent/implied"] {
        assert_eq!(fs::metadata(place.root().join(name)).unwrap().mode(), 0o040_755, "{name}");
    }
    // That of the parent, which has no object, is nobody's business.
    assert_eq!(fs::metadata(place.root().join("parent")).unwrap().mode(), 0o042_755);
}

#[test]
fn no_permissions_at_all_yield_set_id_bits() {
    let mut bucket = Bucket::new();
    for bits in 0..=0o7777 {
        for (key, digits) in [(format!("f{bits:04o}"), 0o100_000), (format!("d{bits:04o}/"), 0o040_000)] {
            bucket.insert(key, object(&format!("{:07o}", digits | bits), b""));
        }
    }
    let tree = MemoryTree::new();
    let run = bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    assert_eq!(run.report.written, 2 * 4096);
    for (path, node) in tree_of(&tree) {
        let bits = u32::from_str_radix(&path[1..], 8).unwrap();
        let kept = if path.starts_with('d') { 0o1777 } else { 0o0777 };
        assert_eq!(node.mode, bits & kept, "{path}");
    }

    let place = Surrounded::new();
    place.chmod("root", 0o2755);
    // Every value of the upper three bits, with some of the lower ones; readable, so that everyone can look.
    bucket.retain(|key, _| matches!(key.trim_end_matches('/').get(2..), Some("500" | "745" | "777")));
    assert_eq!(bucket.len(), 48);
    import_into(&place, &bucket);
    for (path, node) in read_disk(&place.root()) {
        assert_eq!(node.mode & 0o6000, 0, "{path} is {:o}", node.mode);
    }
}

#[test]
fn a_header_that_is_there_twice_is_damage_and_not_a_choice() {
    let mut twice = object("0100600", b"");
    // The bridge makes two headers of it.
    twice.headers.insert("x-amz-meta-file-owner".to_owned(), "500, 0".to_owned());
    assert_eq!(header_map(&twice).get_all("x-amz-meta-file-owner").iter().count(), 2);
    let bucket = bucket([("a", twice)]);
    let tree = MemoryTree::new();
    let run = bridge::import(&memory_store(&bucket), &tree, "", &Rules::UNTRUSTED);
    assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)]);
    assert_eq!(tree_of(&tree), Tree::new());
}

#[test]
fn special_files_are_never_made() {
    let mut bucket = Bucket::new();
    for nibble in 0..16 {
        let permissions = format!("{:07o}", (nibble << 12) | 0o644);
        bucket.insert(format!("{nibble:02}"), object(&permissions, b"body"));
        bucket.insert(format!("{nibble:02}d/"), object(&permissions, b""));
    }
    let place = Surrounded::new();
    let run = import_into(&place, &bucket);
    // Without a slash: no digits, file, link, and the nine that are no type and so fall back. All with one.
    assert_eq!(run.report.written, 16 + 16 - 5);
    assert_eq!(run.report.failed, 5);
    for (path, node) in read_disk(&place.root()) {
        let is_link = path == "10";
        assert_eq!((node.kind == Kind::Directory, matches!(node.kind, Kind::Link(_))), (path.ends_with('d'), is_link));
    }
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

fn directory(mtime: i128) -> Node {
    Node { kind: Kind::Directory, mode: 0o750, uid: 7, gid: 8, atime: 9, mtime }
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

// -------------------------------------------------------------------------------------------- hostile stores

/// A store that answers at most so many keys a page.
struct Paged<S> {
    store: S,
    most: u16,
}

impl<S: ObjectStore> ObjectStore for Paged<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(&ListRequest { max_keys: Some(self.most), ..request.clone() }).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

type Pages = Box<dyn Fn(usize) -> ListPage + Send + Sync>;

/// A store that lists and answers what it is told to, whatever it holds.
struct Liar {
    store: MemoryStore,
    /// The page of a call, counted from 0; or the true listing.
    pages: Option<Pages>,
    calls: AtomicUsize,
    /// What is said of the size of every object, and the body that is sent all the same.
    body: Option<(u64, Bytes)>,
    is_ordered: Support,
    was_read: Arc<AtomicBool>,
}

impl Liar {
    fn new(store: MemoryStore) -> Self {
        let (calls, was_read) = (AtomicUsize::new(0), Arc::default());
        Self { store, pages: None, calls, body: None, is_ordered: Support::Yes, was_read }
    }

    /// Answers these pages, one after the other.
    fn with_pages(bucket: &Bucket, pages: &[&[&str]]) -> Self {
        let pages: Vec<Vec<ListedObject>> =
            pages.iter().map(|keys| keys.iter().map(|key| listed(key)).collect()).collect();
        let answer = move |call: usize| {
            let next = (call + 1 < pages.len()).then(|| format!("token {call}"));
            ListPage { objects: pages[call].clone(), next, ..ListPage::default() }
        };
        Self { pages: Some(Box::new(answer)), ..Self::new(memory_store(bucket)) }
    }

    /// Says of every object that it has this size, and sends this body.
    fn with_body(bucket: &Bucket, announced: u64, sent: &'static [u8]) -> Self {
        Self { body: Some((announced, Bytes::from_static(sent))), ..Self::new(memory_store(bucket)) }
    }

    fn lie(&self, meta: ObjectMeta) -> ObjectMeta {
        match &self.body {
            Some((size, _)) => ObjectMeta { size: *size, ..meta },
            None => meta,
        }
    }
}

fn listed(key: &str) -> ListedObject {
    ListedObject { key: key.to_owned(), size: 1, etag: ETag::new("\"x\""), last_modified: time(0) }
}

impl ObjectStore for Liar {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.ordered_listing = self.is_ordered;
        capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        match &self.pages {
            Some(pages) => Ok(pages(self.calls.fetch_add(1, Ordering::Relaxed))),
            None => self.store.list(request).await,
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await.map(|meta| self.lie(meta))
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let answer = self.store.get(key, options).await?;
        let Some((_, sent)) = &self.body else { return Ok(answer) };
        let (sent, was_read) = (sent.clone(), Arc::clone(&self.was_read));
        let pieces = stream::iter(sent.into_iter().map(move |byte| {
            was_read.store(true, Ordering::Relaxed);
            Ok(Bytes::copy_from_slice(&[byte]))
        }));
        Ok(GetOutput { meta: self.lie(answer.meta), body: pieces.boxed() })
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

#[test]
fn a_link_body_of_another_length_than_announced_is_a_failure() {
    let link = bucket([("a", object("0120777", b"target"))]);
    for (announced, sent) in [(3, &b"target"[..]), (7, b"target"), (4095, b""), (1, &[b'x'; 9000])] {
        let tree = MemoryTree::new();
        let run = bridge::import(&Liar::with_body(&link, announced, sent), &tree, "", &Rules::FSX);
        assert_eq!(run.ended, [("a".to_owned(), Outcome::Failed)], "{announced} announced, {} sent", sent.len());
        assert_eq!(tree_of(&tree), Tree::new());
    }
}

#[test]
fn a_link_of_five_gigabytes_is_refused_without_reading() {
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
fn a_file_of_another_length_than_announced_leaves_what_was_there() {
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
fn a_listing_out_of_order_stops_the_run() {
    for pages in [&[&["b", "a"][..]][..], &[&["b"], &["a"]], &[&["a", "b"], &[], &["a0"]], &[&["a/", "a"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "");
        assert!(matches!(kind, RunErrorKind::Disorder(_)), "{kind}");
    }
}

#[test]
fn a_listing_that_repeats_a_key_stops_the_run() {
    for pages in [&[&["a", "a"][..]][..], &[&["a", "b"], &["b"]], &[&["a"], &["a"]], &[&["a/../b"], &["a/../b"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "");
        assert!(matches!(kind, RunErrorKind::Disorder(_)), "{kind}");
    }
}

#[test]
fn a_listing_with_a_key_outside_the_prefix_stops_the_run() {
    for pages in [&[&["a"][..]][..], &[&["p/a", "p0"]], &[&["p/a"], &["p"]], &[&["p/a", "\u{1b}[2J"]]] {
        let kind = stops(&Liar::with_pages(&three(), pages), "p/");
        assert!(matches!(kind, RunErrorKind::Foreign { .. }), "{kind}");
        assert!(!kind.to_string().contains('\u{1b}'));
    }
}

#[test]
fn a_listing_that_never_ends_stops_the_run() {
    let empty = |_| ListPage { next: Some("again".to_owned()), ..ListPage::default() };
    let store = Liar { pages: Some(Box::new(empty)), ..Liar::new(MemoryStore::new()) };
    assert!(matches!(stops(&store, ""), RunErrorKind::Endless { .. }));
    assert!(store.calls.load(Ordering::Relaxed) < 10_000);

    // One that has keys, but always the same.
    let same = |_| ListPage { objects: vec![listed("a")], next: Some("again".to_owned()), ..ListPage::default() };
    let store = Liar { pages: Some(Box::new(same)), ..Liar::new(memory_store(&three())) };
    assert!(matches!(stops(&store, ""), RunErrorKind::Disorder(_)));
}

#[test]
fn a_store_that_says_it_lists_out_of_order_is_not_imported_from() {
    let store = Liar { is_ordered: Support::No, ..Liar::new(memory_store(&three())) };
    assert!(matches!(stops(&store, ""), RunErrorKind::Unordered));
    assert_eq!(store.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn what_was_imported_before_the_run_stopped_is_whole() {
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
