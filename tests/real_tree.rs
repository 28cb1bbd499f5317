//! Real directories through a bucket in a directory and back, compared by a judge that shares no code with the crate:
//! `find -printf` and `sha256sum`.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test"
)]

mod hostile_tree;

use futures_executor::block_on;
use hostile_tree::{
    Extent, Ids, LEFT_OUT, assert_same, is_root, make_awkward_tree, make_foreign_owners, make_losses, set_mode, write,
};
use posix_s3::engine::{
    ExportOptions, ImportOptions, MemoryState, Outcome, Report, Silent, export, import, import_since,
};
use posix_s3::store::{DirectoryStore, ListRequest, MemoryStore, ObjectStore, PutOptions};
use posix_s3::tree::{LocalTree, MemoryTree};
use posix_s3::{
    Attitude, Attributes, Entry, EntryKind, FILE_GROUP, FILE_OWNER, Key, Permissions, Profile, Service, Timestamp,
};
use rustix::fs::{Gid, Uid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// No prefix, and more zeros than anybody would keep in memory.
const EXTENT: Extent = Extent { prefix: 0, sparse: 1 << 30 };

fn round_trip(source: &Path, work: &Path) -> (Report, Report) {
    let store = DirectoryStore::open(work.join("bucket")).unwrap();
    let tree = LocalTree::open(source).unwrap();
    let exported = block_on(export(&tree, &store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap();
    let target = work.join("target");
    fs::create_dir(&target).unwrap();
    let tree = LocalTree::open(&target).unwrap();
    let options = ImportOptions::new(Profile::fsx());
    // A bucket that was opened anew knows all that the first one was given.
    let store = DirectoryStore::open(work.join("bucket")).unwrap();
    let imported = block_on(import(&store, &tree, &options, &Silent)).unwrap();
    let again = block_on(import(&store, &tree, &options, &Silent)).unwrap();
    assert_eq!((again.unchanged, again.written, again.metadata_only), (imported.written, 0, 0), "{:?}", again.problems);
    assert_eq!(again.store_calls.get, 0);
    (exported, imported)
}

/// Sources of crates that are at hand, which are those that this one is built from: so many that they have 10,000 entries.
#[test]
fn the_sources_of_the_dependencies_come_back_as_they_were() {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let registries = fs::read_dir(cargo_home.unwrap().join("registry").join("src")).unwrap();
    let crates = registries.flat_map(|registry| fs::read_dir(registry.unwrap().path()).unwrap());
    let mut crates: Vec<PathBuf> = crates.map(|found| found.unwrap().path()).collect();
    crates.sort();
    let work = tempfile::tempdir().unwrap();
    let sources = work.path().join("source");
    fs::create_dir(&sources).unwrap();
    let mut entries = 0;
    for found in crates {
        if entries < 10_000 {
            assert!(Command::new("cp").arg("-a").arg(&found).arg(&sources).status().unwrap().success());
            entries += count(&found);
        }
    }
    let (exported, imported) = round_trip(&sources, work.path());
    assert!(exported.entries > 1000);
    assert_eq!((exported.written, imported.written), (exported.entries, exported.entries), "{:?}", exported.problems);
    assert_eq!((exported.problems, imported.problems), (vec![], vec![]));
    assert_same(&sources, &work.path().join("target"), Ids::Compared);
}

fn count(path: &Path) -> usize {
    let below = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    below.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 }).sum()
}

#[test]
fn an_awkward_tree_comes_back_as_it_was() {
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("source");
    fs::create_dir(&source).unwrap();
    make_awkward_tree(&source, EXTENT);
    if is_root() {
        make_foreign_owners(&source);
    } else {
        eprintln!("an ordinary user makes no files of other owners: that part is left out");
    }
    let (exported, imported) = round_trip(&source, work.path());
    assert_eq!((exported.problems, imported.problems), (vec![], vec![]));
    assert_eq!((exported.written, imported.written), (exported.entries, exported.entries));
    assert_same(&source, &work.path().join("target"), Ids::Compared);
    // Holes come back as holes.
    let blocks = |path: PathBuf| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap());
    assert!(blocks(work.path().join("target").join("sparse")) < 8192);
}

#[test]
fn the_documented_losses_are_these_and_no_others() {
    let work = tempfile::tempdir().unwrap();
    let (source, expected) = (work.path().join("source"), work.path().join("expected"));
    let _socket = make_losses(&source, &expected);
    let (exported, _) = round_trip(&source, work.path());
    assert_same(&expected, &work.path().join("target"), Ids::Compared);
    let problems: Vec<(&str, &str)> =
        exported.problems.iter().map(|problem| (&*problem.key, &*problem.reason)).collect();
    assert_eq!(problems, LEFT_OUT);
    assert!(exported.problems.iter().all(|problem| problem.outcome == Outcome::Skipped));
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(work.path().join("target").join(name)).unwrap());
    assert_ne!(inode("one name"), inode("other name"));
}

/// Without CAP_FSETID the kernel takes a set-group-ID bit away from what belongs to a group of others, and an ordinary user
/// gives nothing to them. Both is said once; a run without a state tries it anew each time, and says so each time.
#[test]
fn what_the_kernel_has_not_kept_is_not_wanted_again_by_a_run_with_a_state() {
    let (uid, others) = (rustix::process::geteuid().as_raw(), 7);
    let profile = || Profile::new(Service::Fsx2026, Attitude::Fsx);
    let time = Timestamp::from_unix(1_000_000_000, 0).unwrap();
    let permissions = Permissions::from_mode(0o2755);
    let (uid, gid) = (posix_s3::Uid::new(uid).unwrap(), posix_s3::Gid::new(others).unwrap());
    let attributes = Attributes { permissions, uid, gid, atime: time, mtime: time };
    let (source, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    source.insert(Entry::new(Key::parse("d/").unwrap(), EntryKind::Directory, attributes).unwrap()).unwrap();
    source.insert_file(Key::parse("f").unwrap(), "content", attributes).unwrap();
    block_on(export(&source, &store, &ExportOptions::new(profile()), &Silent)).unwrap();
    let root = tempfile::tempdir().unwrap();
    let import = || {
        let tree = LocalTree::open(root.path()).unwrap();
        let options = ImportOptions::new(profile()).with_bucket("bucket");
        let report = block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
        let kept = ["d", "f"].map(|name| {
            let found = fs::metadata(root.path().join(name)).unwrap();
            (found.mode() & 0o7777, found.gid(), found.ctime(), found.ctime_nsec())
        });
        (report, kept)
    };
    let (first, kept) = import();
    assert_eq!((first.written, first.is_complete()), (2, true), "{:?}", first.problems);
    let is_whole = kept.iter().all(|(mode, gid, ..)| (*mode, *gid) == (0o2755, others));
    assert_eq!(first.problems.is_empty(), is_whole, "{:?}", first.problems);
    let (second, kept_again) = import();
    assert_eq!((second.unchanged, second.written, second.metadata_only), (2, 0, 0), "{:?}", second.problems);
    assert_eq!((second.problems.len(), kept_again), (0, kept));
}

const CHILD: &str = "POSIX_S3_TEST_ORDINARY_USER";

/// As an ordinary user, owners cannot be applied; everything else can, and what could not is listed.
#[test]
fn an_ordinary_user_gets_everything_but_the_owners() {
    if let Some(work) = std::env::var_os(CHILD) {
        ordinary_user(Path::new(&work));
        return;
    }
    let work = tempfile::tempdir().unwrap();
    if !is_root() {
        ordinary_user(work.path());
        return;
    }
    let nobody = 65534;
    rustix::fs::chown(work.path(), Some(Uid::from_raw(nobody)), Some(Gid::from_raw(nobody))).unwrap();
    // The test itself, in a place where that user may run it.
    let program = work.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o755);
    let status = Command::new(&program)
        .args(["--exact", "an_ordinary_user_gets_everything_but_the_owners"])
        .env(CHILD, work.path())
        .current_dir(work.path())
        .uid(nobody)
        .gid(nobody)
        .status()
        .unwrap();
    assert!(status.success());
}

fn ordinary_user(work: &Path) {
    assert!(!is_root());
    let source = work.join("source");
    fs::create_dir(&source).unwrap();
    make_awkward_tree(&source, EXTENT);
    let (exported, imported) = round_trip(&source, work);
    assert_eq!((exported.problems, imported.problems), (vec![], vec![]));
    assert_same(&source, &work.join("target"), Ids::Compared);

    // Somebody gives every object to another owner.
    let store = DirectoryStore::open(work.join("bucket")).unwrap();
    let mut objects = 0;
    let mut request = ListRequest::default();
    loop {
        let page = block_on(store.list(&request)).unwrap();
        for object in page.objects {
            let mut headers = block_on(store.head(&object.key)).unwrap().headers;
            headers.insert(FILE_OWNER.clone(), "4242".parse().unwrap());
            headers.insert(FILE_GROUP.clone(), "4242".parse().unwrap());
            block_on(store.replace_metadata(&object.key, &PutOptions { headers, ..PutOptions::default() })).unwrap();
            objects += 1;
        }
        if page.next.is_none() {
            break;
        }
        request.token = page.next;
    }
    let target = work.join("foreign");
    fs::create_dir(&target).unwrap();
    let tree = LocalTree::open(&target).unwrap();
    let report = block_on(import(&store, &tree, &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
    assert!(report.is_complete());
    assert_eq!((report.written, report.entries), (objects, objects));
    assert_eq!(report.problems.len() as u64, objects);
    for problem in &report.problems {
        assert_eq!(&*problem.reason, "the owner 4242:4242 could not be applied");
    }
    assert_same(&source, &target, Ids::Ignored);

    // A directory that cannot be read is a failure of its own, and its contents are unknown.
    let closed = work.join("closed");
    fs::create_dir_all(closed.join("a").join("b")).unwrap();
    write(&closed.join("c"), b"");
    set_mode(&closed.join("a"), 0);
    let tree = LocalTree::open(&closed).unwrap();
    let store = DirectoryStore::open(work.join("another bucket")).unwrap();
    let report = block_on(export(&tree, &store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap();
    assert_eq!((report.written, report.failed, report.entries), (1, 1, 2));
    assert_eq!(&*report.problems[0].key, "a/");
    assert_eq!(
        &*report.problems[0].reason,
        "listing \"a/\" failed: permission denied: Permission denied (os error 13)"
    );
    for directory in
        [closed.join("a"), source.join("read only"), work.join("target/read only"), target.join("read only")]
    {
        set_mode(&directory, 0o755);
    }
}
