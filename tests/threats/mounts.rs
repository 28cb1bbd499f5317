//! Other file systems below the root.

use crate::hostile::{Surrounded, bucket, object, stat_of};
use crate::model::bridge::{self, memory_store};
use crate::model::{Bucket, Rules};
use crate::namespace::{command, is_inside};
use futures_executor::block_on;
use posix_s3::Profile;
use posix_s3::engine::{ExportOptions, Outcome, Silent, export};
use posix_s3::store::MemoryStore;
use posix_s3::tree::LocalTree;
use std::fs;

/// A mount namespace of one's own; for an ordinary user one in which he is root.
fn alone() -> &'static [&'static str] {
    if bridge::is_superuser() {
        &["unshare", "-m", "--propagation", "private"]
    } else {
        &["unshare", "-r", "-m", "--propagation", "private"]
    }
}

/// Imports keys that lead into what is mounted at `m`, and answers how each ended.
fn import_below(place: &Surrounded) -> Vec<(String, Outcome)> {
    let objects = bucket([
        ("m/", object("0040777", b"")),
        ("m/x", object("0100666", b"planted")),
        ("m/new/deep", object("0100666", b"planted")),
        ("m/link", object("0120777", b"x")),
        ("beside", object("0100644", b"x")),
    ]);
    bridge::import(&memory_store(&objects), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX).ended
}

/// Everything below `m` failed, and what is beside it did not.
fn assert_nothing_went_below(ended: &[(String, Outcome)]) {
    for (key, outcome) in ended {
        let expected = if key == "beside" { Outcome::Written } else { Outcome::Failed };
        assert_eq!(*outcome, expected, "{key}: {ended:?}");
    }
    assert_eq!(ended.len(), 5);
}

#[test]
fn a18_what_is_mounted_below_the_root_is_not_entered() {
    const TEST: &str = "mounts::a18_what_is_mounted_below_the_root_is_not_entered";
    if !is_inside(TEST, alone()) {
        return;
    }
    let place = Surrounded::new();
    let (outside, at) = (place.0.path().join("a"), place.root().join("m"));
    fs::create_dir(&at).unwrap();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    // The same file system at another place, a file over a file, and another file system.
    command("mount", &["--bind", &path(&outside), &path(&at)]);
    let before = place.outside();
    assert_nothing_went_below(&import_below(&place));
    assert_eq!(place.outside(), before);
    // Nor does an export take what is there for the tree's.
    let store = MemoryStore::new();
    let report =
        block_on(export(&LocalTree::open(place.root()).unwrap(), &store, &ExportOptions::new(Profile::fsx()), &Silent));
    let report = report.unwrap();
    assert_eq!((report.written, report.skipped), (1, 1), "{:?}", report.problems);
    command("umount", &[&path(&at)]);
    command("mount", &["-t", "tmpfs", "none", &path(&at)]);
    let stat = stat_of(&fs::metadata(&at).unwrap());
    assert_eq!(import_below(&place).iter().filter(|(_, outcome)| *outcome == Outcome::Failed).count(), 4);
    assert_eq!((stat_of(&fs::metadata(&at).unwrap()), fs::read_dir(&at).unwrap().count()), (stat, 0));
    command("umount", &[&path(&at)]);
    fs::write(place.root().join("f"), "old").unwrap();
    let victim = place.0.path().join("victim");
    command("mount", &["--bind", &path(&victim), &path(&place.root().join("f"))]);
    let before = stat_of(&fs::metadata(&victim).unwrap());
    let objects: Bucket = bucket([("f", object("0100600", b"new"))]);
    let run = bridge::import(&memory_store(&objects), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    assert_eq!(run.ended[0].1, Outcome::Failed);
    assert_eq!(stat_of(&fs::metadata(&victim).unwrap()), before);
}

#[test]
fn a19_the_links_of_proc_lead_nowhere() {
    const TEST: &str = "mounts::a19_the_links_of_proc_lead_nowhere";
    // A procfs can be mounted by whoever has a namespace of processes.
    let command_line: &[&str] = if bridge::is_superuser() {
        &["unshare", "-m", "--propagation", "private"]
    } else {
        &["unshare", "-r", "-m", "-p", "-f", "--propagation", "private"]
    };
    if !is_inside(TEST, command_line) {
        return;
    }
    let place = Surrounded::new();
    fs::create_dir(place.root().join("m")).unwrap();
    command("mount", &["-t", "proc", "proc", place.root().join("m").to_str().unwrap()]);
    let before = place.outside();
    // This process's own working directory is outside, and so is its root.
    std::env::set_current_dir(place.0.path()).unwrap();
    let objects: Bucket = [
        "m/self/cwd/planted",
        "m/self/root/planted",
        "m/self/fd/0",
        "m/thread-self/cwd/planted",
        "m/1/root/planted",
        "m/self/cwd/",
    ]
    .map(|key| (key.to_owned(), object(if key.ends_with('/') { "0040777" } else { "0100644" }, b"x")))
    .into();
    let run = bridge::import(&memory_store(&objects), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    assert!(run.ended.iter().all(|(_, outcome)| *outcome == Outcome::Failed), "{:?}", run.ended);
    assert_eq!(place.outside(), before);
    // With the procfs itself as root, its links are links.
    let tree = LocalTree::open(place.root().join("m")).unwrap();
    let objects: Bucket = bucket([("self/cwd/planted", object("0100644", b"x"))]);
    let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::FSX);
    assert_eq!(run.report.written, 0);
    assert_eq!(place.outside(), before);
}
