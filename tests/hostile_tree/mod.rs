//! A tree with everything that is awkward about one, and a judge of trees that shares no code with the crate: `find -printf`
//! and `sha256sum`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the judge sees of a tree: a line for every entry, and a checksum for every file.
pub fn judged(root: &Path, ids: Ids) -> Vec<Vec<u8>> {
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

/// Whether owners are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    Compared,
    Ignored,
}

pub fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<Vec<u8>> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|&byte| byte == 0).filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

pub fn assert_same(left: &Path, right: &Path, ids: Ids) {
    let (left, right) = (judged(left, ids), judged(right, ids));
    assert!(!left.is_empty());
    let only = |of: &[Vec<u8>], not: &[Vec<u8>]| -> Vec<String> {
        of.iter().filter(|line| not.binary_search(line).is_err()).map(|line| line.escape_ascii().to_string()).collect()
    };
    assert_eq!((only(&left, &right), only(&right, &left)), (vec![], vec![]));
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn path(root: &Path, name: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(name))
}

pub fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// How much there is of what can be more or less of.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Before each key.
    pub prefix: usize,
    /// Of a file with next to nothing in it.
    pub sparse: u64,
}

/// Everything that is awkward about a tree and that any user may own.
pub fn make_awkward_tree(root: &Path, extent: Extent) {
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

    // Hundreds of directories, one in the other: a key of 1,024 bytes, or of one less.
    let mut nested = root.to_path_buf();
    nested.extend(std::iter::repeat_n("n", (1024 - extent.prefix) / 2));
    fs::create_dir_all(&nested).unwrap();

    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(extent.sparse).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", extent.sparse / 2).unwrap();
    write(&root.join("several pieces"), &b"0123456789abcde\n".repeat(200_000));
}

/// What only the superuser can make.
pub fn make_foreign_owners(root: &Path) {
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

/// A tree with what no bucket can hold, and beside it what is left of one; the socket is there as long as it is held.
pub fn make_losses(source: &Path, expected: &Path) -> UnixListener {
    for root in [source, expected] {
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
    let socket = UnixListener::bind(source.join("socket")).unwrap();
    write(&path(source, b"not UTF-8 \xff"), b"x");
    for root in [source, expected] {
        for name in ["set-id", "sticky file", "one name", "other name", "directory"] {
            set_mtime(&root.join(name), 1_000_000_000, 1);
        }
    }
    socket
}

/// Why an export leaves out what no bucket can hold: key and reason.
pub const LEFT_OUT: [(&str, &str); 3] = [
    (
        "not UTF-8 \\xff",
        "the path is no key: invalid key \"not UTF-8 \\xff\": expected UTF-8, found other bytes at byte 10",
    ),
    ("pipe", "a fifo has no object"),
    ("socket", "a socket has no object"),
];
