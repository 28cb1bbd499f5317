//! Modes, owners, times and lists that would give away what is not the bucket's to give.

use crate::figures;
use crate::hostile::{Hooked, Surrounded, bucket, import_into, object};
use crate::model::bridge::{self, header_map, memory_store, read_disk, tree_of};
use crate::model::{Bucket, Kind, Object, Rules, Tree};
use crate::namespace::{is_inside, not_run};
use futures_executor::block_on;
use posix_s3::engine::{Outcome, Silent};
use posix_s3::store::Operation;
use posix_s3::tree::{LocalTree, MemoryTree};
use posix_s3::{Gid, Timestamp, Uid};
use rustix::fs::XattrFlags;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A directory where nothing waits for a disk.
fn on_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a10_a_set_id_program_is_replaced_by_a_file_without_the_bits() {
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
fn a11_set_id_bits_of_a_file_that_only_changes_its_attributes_go() {
    let place = Surrounded::new();
    let store = bucket([("program", object("0100755", b"same"))]);
    import_into(&place, &store);
    place.chmod("root/program", 0o6755);
    let run = import_into(&place, &store);
    assert_eq!(run.ended, [("program".to_owned(), Outcome::MetadataOnly)]);
    assert_eq!(fs::metadata(place.root().join("program")).unwrap().mode(), 0o100_755);
}

#[test]
fn a11_a_directory_made_in_a_set_gid_directory_has_no_set_gid_bit() {
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
fn a11_no_permissions_at_all_yield_set_id_bits() {
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

    // All of them once more on a disk, below a plain directory and below one that hands its set-gid bit on.
    let all = |(key, object): (&String, &Object)| {
        ["plain", "shared"].map(|parent| (format!("{parent}/{key}"), object.clone()))
    };
    let bucket: Bucket = bucket.iter().flat_map(all).collect();
    let place = on_memory();
    for (parent, mode) in [("plain", 0o755), ("shared", 0o2755)] {
        fs::create_dir(place.path().join(parent)).unwrap();
        fs::set_permissions(place.path().join(parent), fs::Permissions::from_mode(mode)).unwrap();
    }
    let tree = LocalTree::open(place.path()).unwrap();
    let run = bridge::import(&memory_store(&bucket), &tree, "", &Rules::FSX);
    assert_eq!(run.report.written, 4 * 4096);
    for key in bucket.keys() {
        let path = key.trim_end_matches('/');
        let mode = fs::symlink_metadata(place.path().join(path)).unwrap().mode();
        let bits = u32::from_str_radix(&path[path.len() - 4..], 8).unwrap();
        let kept = if key.ends_with('/') { 0o1777 } else { 0o0777 };
        assert_eq!(mode & 0o7777, bits & kept, "{key}");
    }
    figures::record("permissions on a disk", bucket.len() as u64, 4 * 4096);
}

#[test]
fn a12_special_files_are_never_made() {
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
fn a13_an_owner_that_is_there_twice_is_damage_and_not_a_choice() {
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
fn a13_an_owner_is_what_its_digits_say_and_never_the_value_that_means_unchanged() {
    let mut tried = 0_u64;
    let near = [0, 1000, 65_534, 1 << 31, 1 << 32, (1 << 32) + 1000, 1 << 33, 1 << 63];
    let numbers = near.iter().flat_map(|middle: &u128| middle.saturating_sub(2_000)..middle + 2_000);
    for number in numbers.chain([u128::from(u64::MAX), u128::MAX]) {
        tried += 1;
        let text = number.to_string();
        let fits = (number < u128::from(u32::MAX)).then_some(number as u32);
        assert_eq!(Uid::parse(text.as_bytes()).ok().map(Uid::get), fits, "{text}");
        assert_eq!(Gid::parse(text.as_bytes()).ok().map(Gid::get), fits, "{text}");
    }
    assert!(Uid::new(u32::MAX).is_none() && Gid::new(u32::MAX).is_none());
    figures::record("ids against numbers", tried, 10_000);
    for text in ["-1", "+1", " 1", "1 ", "1\n", "0x10", "root", "", "1e3", "00000000001", "\u{661}"] {
        assert!(Uid::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn a13_what_reaches_the_disk_is_what_was_parsed() {
    if !bridge::is_superuser() {
        return not_run("only the superuser gives files away");
    }
    let place = Surrounded::new();
    let owned = |owner: &str, group: Option<&str>| {
        let mut object = object("0100644", b"x");
        object.headers.insert("x-amz-meta-file-owner".to_owned(), owner.to_owned());
        object.headers.remove("x-amz-meta-file-group");
        object.headers.extend(group.map(|group| ("x-amz-meta-file-group".to_owned(), group.to_owned())));
        object
    };
    let objects = bucket([
        ("largest", owned("4294967294", Some("4294967294"))),
        // One more is "leave it alone" to the kernel, two more would be 0 in 32 bits.
        ("unchanged", owned("4294967295", Some("1"))),
        ("wraps", owned("4294967296", Some("4294967297"))),
        // A group that is not said is not that of the owner.
        ("alone", owned("1234", None)),
    ]);
    let run = bridge::import(&memory_store(&objects), &LocalTree::open(place.root()).unwrap(), "", &Rules::UNTRUSTED);
    let ids = |name: &str| fs::metadata(place.root().join(name)).map(|stat| (stat.uid(), stat.gid())).ok();
    assert_eq!(ids("largest"), Some((4_294_967_294, 4_294_967_294)));
    assert_eq!(ids("alone"), Some((1234, 0)));
    assert_eq!((ids("unchanged"), ids("wraps"), run.report.failed), (None, None, 2));
}

#[test]
fn a14_a_time_is_split_as_whole_numbers_are() {
    let mut tried = 0_u64;
    let second = 1_000_000_000_i128;
    let smallest = i128::from(i64::MIN) * second;
    let largest = i128::from(i64::MAX) * second + second - 1;
    // Around zero, where a second changes, at the two special values of utimensat, and at both ends.
    let special = [(1 << 30) - 1, (1 << 30) - 2];
    let near = [0, second, -second, special[0], special[1], -special[0], smallest, largest, i128::from(i64::MAX)];
    for nanoseconds in near.iter().flat_map(|middle| middle - 1500..=middle + 1500) {
        tried += 1;
        let fits = (smallest..=largest).contains(&nanoseconds);
        let parsed = Timestamp::parse(format!("{nanoseconds}ns").as_bytes());
        assert_eq!(parsed.is_ok(), fits, "{nanoseconds}");
        let Ok(time) = parsed else { continue };
        assert!(time.subsecond_nanos() < 1_000_000_000);
        assert_eq!(i128::from(time.seconds()), nanoseconds.div_euclid(second));
        assert_eq!(i128::from(time.subsecond_nanos()), nanoseconds.rem_euclid(second));
    }
    for text in [format!("{}ns", i128::MAX), format!("{}ns", i128::MIN), format!("1{}ns", i128::MAX), "9".repeat(400)] {
        assert!(Timestamp::parse(text.as_bytes()).is_err(), "{text}");
    }
    figures::record("times against whole numbers", tried, 25_000);
}

#[test]
fn a14_what_the_file_system_keeps_of_a_time_is_read_back() {
    let place = Surrounded::new();
    let dated = |text: &str| {
        let mut object = object("0100644", b"x");
        object.headers.insert("x-amz-meta-file-mtime".to_owned(), text.to_owned());
        object
    };
    let texts = [
        "-1ns",
        "999999999ns",
        "1073741823ns",
        "1073741822ns",
        "-99999999999999ns",
        "99999999999999999999ns",
        "-9999999999999999999ns",
    ];
    let objects: Bucket = texts.iter().enumerate().map(|(at, text)| (at.to_string(), dated(text))).collect();
    let run = import_into(&place, &objects);
    assert_eq!(run.report.written, texts.len() as u64);
    for (at, text) in texts.iter().enumerate() {
        let wanted: i128 = text.trim_end_matches("ns").parse().unwrap();
        let stat = fs::metadata(place.root().join(at.to_string())).unwrap();
        let kept = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
        let is_said = run.report.problems.iter().any(|problem| *problem.key == at.to_string());
        assert_eq!(kept != wanted, is_said, "{text} is {kept}: {:?}", run.report.problems);
    }
}

/// A list as the kernel keeps it: for the owner, one more user, the group, the mask and others.
fn list(uid: u32) -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1, 7, u32::MAX), (2, 7, uid), (4, 7, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend_from_slice(&u16::to_le_bytes(tag));
        list.extend_from_slice(&u16::to_le_bytes(permissions));
        list.extend_from_slice(&u32::to_le_bytes(id));
    }
    list
}

#[test]
fn a36_a_list_that_a_directory_hands_down_gives_nobody_access() {
    let place = Surrounded::new();
    if let Err(error) = rustix::fs::setxattr(place.root(), "system.posix_acl_default", &list(1234), XattrFlags::empty())
    {
        return not_run(&format!("the file system takes no access-control lists: {error}"));
    }
    let objects = bucket([
        ("file", object("0100640", b"x")),
        ("d/", object("0040750", b"")),
        ("d/file", object("0100600", b"x")),
        ("implied/deep/file", object("0100600", b"x")),
        ("link", object("0120777", b"file")),
    ]);
    let import = || bridge::import(&memory_store(&objects), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    // A plain directory made there inherits the list, so that there is something to be removed.
    fs::create_dir(place.root().join("control")).unwrap();
    assert!(has_list(&place.root().join("control")));
    assert_eq!(import().report.written, 5);
    for path in ["file", "d", "d/file", "implied", "implied/deep", "implied/deep/file"] {
        assert!(!has_list(&place.root().join(path)), "{path}");
    }
    let mode = |path: &str| fs::metadata(place.root().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("file"), mode("d"), mode("d/file")), (0o640, 0o750, 0o600));
}

fn has_list(path: &Path) -> bool {
    ["system.posix_acl_access", "system.posix_acl_default"]
        .iter()
        .any(|list| rustix::fs::getxattr(path, *list, &mut [0_u8; 256][..]).is_ok())
}

#[test]
fn a36_what_is_staged_is_nobodys_until_it_has_its_name() {
    let place = Surrounded::new();
    let _ = rustix::fs::setxattr(place.root(), "system.posix_acl_default", &list(1234), XattrFlags::empty());
    let objects = bucket([("a", object("0100666", b"x")), ("b", object("0100666", b"x"))]);
    let root = place.root();
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&seen);
    let hook = move |operation, _: &str| {
        if operation != Operation::Get {
            return;
        }
        for entry in fs::read_dir(&root).unwrap().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".posix-s3-staging-") {
                let stat = fs::symlink_metadata(entry.path()).unwrap();
                assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o700, rustix::process::geteuid().as_raw()));
                assert!(!has_list(&entry.path()));
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    };
    let store = Hooked { store: memory_store(&objects), hook };
    let options = bridge::import_options("", &Rules::FSX).with_jobs(posix_s3::engine::Jobs::ONE);
    block_on(posix_s3::engine::import(&store, &LocalTree::open(place.root()).unwrap(), &options, &Silent)).unwrap();
    assert!(seen.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

#[test]
fn a38_without_the_capabilities_that_it_never_needs_an_import_makes_the_same() {
    const TEST: &str = "attributes::a38_without_the_capabilities_that_it_never_needs_an_import_makes_the_same";
    let dropped = "-fsetid,-mknod,-setfcap,-sys_admin,-net_admin";
    if !bridge::is_superuser() {
        return not_run("an ordinary user has no capabilities to do without");
    }
    if !is_inside(TEST, &["setpriv", "--bounding-set", dropped]) {
        return;
    }
    let place = Surrounded::new();
    let program = place.root().join("program");
    fs::write(&program, "old").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
    // CAP_FSETID and CAP_MKNOD.
    assert_eq!(effective & (1 << 4 | 1 << 27), 0);
    let objects = bucket([
        ("program", object("0106755", b"new")),
        ("d/", object("0042775", b"")),
        ("d/f", object("0102755", b"x")),
        ("l", object("0120777", b"d")),
        ("pipe", object("0010644", b"")),
    ]);
    let run = import_into(&place, &objects);
    assert_eq!((run.report.written, run.report.failed), (4, 1), "{:?}", run.report.problems);
    assert!(read_disk(&place.root()).values().all(|node| node.mode & 0o6000 == 0));
}
