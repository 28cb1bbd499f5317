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

use futures_executor::block_on;
use posix_s3::engine::{ExportOptions, ImportOptions, Outcome, Report, Silent, export, import};
use posix_s3::store::{DirectoryStore, ListRequest, ObjectStore, PutOptions};
use posix_s3::tree::LocalTree;
use posix_s3::{FILE_GROUP, FILE_OWNER, Profile};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the judge sees of a tree: a line for every entry, and a checksum for every file.
fn judged(root: &Path, ids: Ids) -> Vec<Vec<u8>> {
    let ids = if ids == Ids::Compared { "%U\\t%G\\t" } else { "" };
    // The size of a directory is its file system's business, and the permissions of a link mean nothing.
    let format = |size: &str, mode: &str| format!("%P\\t%y\\t{mode}{ids}{size}%T@\\t%l\\0");
    let mut lines = Vec::new();
    for (kind, format) in [("f", format("%s\\t", "%m\\t")), ("d", format("", "%m\\t")), ("l", format("%s\\t", ""))] {
        lines.extend(run("find", &[".", "-mindepth", "1", "-type", kind, "-printf", &format], root));
    }
    lines.extend(run("find", &[".", "-type", "f", "-readable", "-exec", "sha256sum", "-z", "{}", "+"], root));
    lines.extend(run(
        "find",
        &[".", "-mindepth", "1", "-not", "-type", "f", "-not", "-type", "d", "-not", "-type", "l", "-print0"],
        root,
    ));
    lines.sort();
    lines
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    Compared,
    Ignored,
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<Vec<u8>> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|&byte| byte == 0).filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn assert_same(left: &Path, right: &Path, ids: Ids) {
    let (left, right) = (judged(left, ids), judged(right, ids));
    assert!(!left.is_empty());
    let only = |of: &[Vec<u8>], not: &[Vec<u8>]| -> Vec<String> {
        of.iter().filter(|line| not.binary_search(line).is_err()).map(|line| line.escape_ascii().to_string()).collect()
    };
    assert_eq!((only(&left, &right), only(&right, &left)), (vec![], vec![]));
}

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

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn path(root: &Path, name: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(name))
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything that is awkward about a tree and that any user may own.
fn make_awkward_tree(root: &Path) {
    let names: [&[u8]; 22] = [
        b" ",
        b"a b",
        b" leading and trailing ",
        b"quote\"'`",
        b"line\nbreak",
        b"carriage\rreturn\ttab",
        b"\x01\x02\x1b[2J\x7f",
        "\u{1f980} emoji".as_bytes(),
        "cafe\u{301} and caf\u{e9}".as_bytes(),
        "\u{202e}reversed".as_bytes(),
        b"-rf",
        b"$(x);*?[]",
        b"%2e%2e",
        b"a+b&c=d#e?f",
        b"back\\slash",
        b"...",
        b"..a",
        b".hidden",
        b"lost+found",
        b"x.rclonelink",
        b"dir_$folder$",
        &[b'n'; 255],
    ];
    for name in names {
        write(&path(root, name), name);
    }
    fs::create_dir(path(root, &[b'd'; 255])).unwrap();
    // The names that tell byte order from path order.
    for name in ["order", "order-", "order.", "order0"] {
        fs::create_dir(root.join(format!("{name}d"))).unwrap();
        write(&root.join(format!("{name}d")).join("x"), b"");
        write(&root.join(name), name.as_bytes());
    }
    write(&root.join("empty"), b"");
    fs::create_dir(root.join("empty directory")).unwrap();

    let modes = root.join("modes");
    fs::create_dir(&modes).unwrap();
    for mode in 0..=0o777 {
        // Only the superuser reads a file that nobody may read.
        if is_root() || mode & 0o400 != 0 {
            write(&modes.join(format!("{mode:03o}")), b"x");
            set_mode(&modes.join(format!("{mode:03o}")), mode);
        }
    }
    for (name, mode) in [("sticky", 0o1777), ("private", 0o700), ("read only", 0o555)] {
        fs::create_dir(root.join(name)).unwrap();
        write(&root.join(name).join("inside"), b"x");
        set_mode(&root.join(name), mode);
    }

    let links = root.join("links");
    fs::create_dir(&links).unwrap();
    let targets: [(&str, &[u8]); 8] = [
        ("dangling", b"nowhere"),
        ("absolute", b"/etc/passwd"),
        ("climbing", b"../../../../etc"),
        ("longest", &[b'l'; 4095]),
        ("not UTF-8", b"\xff\xfe"),
        ("newline", b"target\n"),
        ("itself", b"itself"),
        ("to a directory", b"../sticky"),
    ];
    for (name, target) in targets {
        symlink(OsStr::from_bytes(target), links.join(name)).unwrap();
        set_mtime(&links.join(name), 1_000_000_000, 7);
    }
    fs::hard_link(root.join("order"), root.join("another name of order")).unwrap();

    let times = root.join("times");
    fs::create_dir(&times).unwrap();
    for (name, seconds, nanos) in [
        ("one nanosecond before 1970", -1, 999_999_999),
        ("one nanosecond after 1970", 0, 1),
        ("1901", -2_147_483_648, 0),
        ("2446", 15_032_385_535, 999_999_999),
        ("single nanoseconds", 1_595_002_920, 123_456_789),
    ] {
        write(&times.join(name), b"x");
        set_mtime(&times.join(name), seconds, nanos);
        fs::create_dir(times.join(format!("{name} directory"))).unwrap();
        set_mtime(&times.join(format!("{name} directory")), seconds, nanos);
    }
    set_mtime(&times, 5, 5);

    // 512 directories, one in the other: a key of 1,024 bytes.
    let mut nested = root.to_path_buf();
    for _ in 0..512 {
        nested.push("n");
    }
    fs::create_dir_all(&nested).unwrap();

    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 1 << 29).unwrap();
    write(&root.join("several pieces"), &b"0123456789abcde\n".repeat(200_000));
}

/// What only the superuser can make.
fn make_foreign_owners(root: &Path) {
    for (name, uid, gid) in [("nobody", 65534, 65534), ("largest", 4_294_967_294, 4_294_967_294), ("group only", 0, 12)]
    {
        let file = root.join(name);
        write(&file, name.as_bytes());
        rustix::fs::chown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).unwrap();
        let directory = root.join(format!("{name} directory"));
        fs::create_dir(&directory).unwrap();
        rustix::fs::chown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).unwrap();
        set_mode(&directory, 0o1770);
        let link = root.join(format!("{name} link"));
        symlink("x", &link).unwrap();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(CWD, &link, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    fs::create_dir(root.join("unreadable")).unwrap();
    write(&root.join("unreadable").join("inside"), b"x");
    set_mode(&root.join("unreadable"), 0o000);
}

/// The sources of the crates that this one is built from.
#[test]
fn the_sources_of_the_dependencies_come_back_as_they_were() {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let sources = cargo_home.unwrap().join("registry").join("src");
    let work = tempfile::tempdir().unwrap();
    let (exported, imported) = round_trip(&sources, work.path());
    assert!(exported.entries > 1000);
    assert_eq!((exported.written, imported.written), (exported.entries, exported.entries), "{:?}", exported.problems);
    assert_eq!((exported.problems, imported.problems), (vec![], vec![]));
    assert_same(&sources, &work.path().join("target"), Ids::Compared);
}

#[test]
fn an_awkward_tree_comes_back_as_it_was() {
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("source");
    fs::create_dir(&source).unwrap();
    make_awkward_tree(&source);
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
    let source = work.path().join("source");
    let expected = work.path().join("expected");
    for root in [&source, &expected] {
        fs::create_dir(root).unwrap();
        for name in ["set-id", "sticky file", "one name", "directory"] {
            if name == "directory" { fs::create_dir(root.join(name)).unwrap() } else { write(&root.join(name), b"x") }
        }
    }
    set_mode(&source.join("set-id"), 0o6755);
    set_mode(&expected.join("set-id"), 0o755);
    set_mode(&source.join("sticky file"), 0o1644);
    set_mode(&expected.join("sticky file"), 0o644);
    set_mode(&source.join("directory"), 0o7755);
    set_mode(&expected.join("directory"), 0o1755);
    fs::hard_link(source.join("one name"), source.join("other name")).unwrap();
    write(&expected.join("other name"), b"x");
    rustix::fs::mknodat(CWD, source.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    write(&path(&source, b"not UTF-8 \xff"), b"x");
    for root in [&source, &expected] {
        for name in ["set-id", "sticky file", "one name", "other name", "directory"] {
            set_mtime(&root.join(name), 1_000_000_000, 1);
        }
    }
    let (exported, _) = round_trip(&source, work.path());
    assert_same(&expected, &work.path().join("target"), Ids::Compared);
    let problems: Vec<(&str, Outcome, &str)> =
        exported.problems.iter().map(|problem| (&*problem.key, problem.outcome, &*problem.reason)).collect();
    assert_eq!(
        problems,
        [
            (
                "not UTF-8 \\xff",
                Outcome::Skipped,
                "the path is no key: invalid key \"not UTF-8 \\xff\": expected UTF-8, found other bytes at byte 10"
            ),
            ("pipe", Outcome::Skipped, "a fifo has no object"),
            ("socket", Outcome::Skipped, "a socket has no object"),
        ]
    );
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(work.path().join("target").join(name)).unwrap());
    assert_ne!(inode("one name"), inode("other name"));
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
    make_awkward_tree(&source);
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
