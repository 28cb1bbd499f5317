//! What a crash and what failures leave of the tree that is made up: the old file or the finished new one.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test"
)]

mod figures;
mod sim;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{FutureExt, StreamExt, stream};
use posix_s3::tree::{Applied, SourceError, Standing, Tree, TreeError, TreeErrorKind, TreeOp};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, SymlinkTarget, Timestamp, Uid};
use rustix::io::Errno;
use sim::crash::{Crash, Survives};
use sim::disk::{Fault, Options};
use sim::edit::Edit;
use sim::inodes::{Inode, Kind};
use sim::tree::SimTree;
use std::sync::Arc;

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn attributes(number: u32) -> Attributes {
    let mtime = Timestamp::from_unix(i64::from(number), number).unwrap();
    Attributes {
        permissions: Permissions::from_mode(0o400 + number),
        uid: Uid::new(number).unwrap(),
        gid: Gid::new(number).unwrap(),
        atime: mtime,
        mtime,
    }
}

/// A file of three pages.
fn content(number: u32) -> Vec<u8> {
    vec![number as u8; 10_000]
}

async fn write(tree: &SimTree, name: &str, number: u32, standing: Standing) -> Result<Applied, TreeError> {
    let content = content(number);
    let kind = EntryKind::File { size: content.len() as u64 };
    let entry = Entry::new(key(name), kind, attributes(number)).unwrap();
    let pieces: Vec<Result<Bytes, SourceError>> =
        content.chunks(4000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    tree.write_file(&entry, stream::iter(pieces).boxed(), standing).await
}

/// A run: a file is replaced, another, a link and a directory are made.
async fn run(tree: &SimTree) -> Result<(), TreeError> {
    tree.begin().await?;
    write(tree, "a", 2, Standing::Replaceable).await?;
    write(tree, "d/b", 3, Standing::Nothing).await?;
    let target = SymlinkTarget::parse(b"a").unwrap();
    let entry = Entry::new(key("l"), EntryKind::Symlink { target }, attributes(4)).unwrap();
    tree.apply(&TreeOp::CreateSymlink { entry, standing: Standing::Nothing }).await?;
    tree.apply(&TreeOp::CreateDirectory { key: key("e/"), attributes: Some(attributes(5)) }).await?;
    tree.finish().await
}

/// A tree with a file that is on the disk.
fn before(options: Options) -> SimTree {
    let tree = SimTree::new(options);
    block_on(write(&tree, "a", 1, Standing::Nothing)).unwrap();
    block_on(tree.finish()).unwrap();
    tree
}

/// Whether a file or link is all that was to be put there.
fn is_finished(inode: &Inode, number: u32) -> bool {
    let is_content = match &inode.kind {
        Kind::File(file) => file.size == 10_000 && file.read(0, 20_000) == content(number),
        Kind::Symlink(target) => **target == *b"a",
        Kind::Directory(_) | Kind::Fifo => true,
    };
    let wanted = attributes(number);
    let permissions = match inode.kind {
        Kind::Symlink(_) => inode.meta.permissions,
        Kind::Directory(_) => 0o700 | wanted.permissions.bits(),
        Kind::File(_) | Kind::Fifo => wanted.permissions.bits(),
    };
    is_content && inode.attributes() == Attributes { permissions: Permissions::from_mode(permissions), ..wanted }
}

/// Every name shows what it showed before, or the finished new thing.
fn assert_old_or_new(tree: &SimTree, how: &str) {
    let all = tree.all();
    let at = |path: &[u8]| all.iter().find(|(found, _)| found == path).map(|(_, stat)| &*stat.inode);
    let a = at(b"a").unwrap_or_else(|| panic!("a file is lost: {how}"));
    assert!(
        is_finished(a, 1) || is_finished(a, 2),
        "the name shows neither the old file nor the new one: {how}: {a:?}"
    );
    for (path, number) in [(&b"d/b"[..], 3), (b"l", 4), (b"e", 5)] {
        assert!(at(path).is_none_or(|inode| is_finished(inode, number)), "it is not finished: {how}: {:?}", at(path));
    }
    if let Some(parent) = at(b"d") {
        assert_eq!(parent.meta.permissions, 0o700, "a directory is open to others: {how}");
    }
}

#[test]
fn whatever_survives_a_crash_a_name_shows_the_old_file_or_the_finished_new_one() {
    let crashes: u64 = [Options::EXT4, Options::UNORDERED].into_iter().map(crash_everywhere).sum();
    assert!(crashes > 10_000, "{crashes}");
}

/// Crashes before each call in many ways; says in how many.
fn crash_everywhere(options: Options) -> u64 {
    let untroubled = before(options);
    let start = untroubled.calls();
    block_on(run(&untroubled)).unwrap();
    let calls = untroubled.calls() - start;
    let mut crashes = 0;
    for stop in 0..=calls {
        let tree = before(options);
        tree.stop_at(tree.calls() + stop);
        assert_eq!(run(&tree).now_or_never().is_none(), stop < calls);
        let (metadata, data) = tree.pending();
        let mut hows = vec![Crash::NOTHING, Crash::PROCESS];
        let datas = [Survives::Nothing, Survives::Everything, Survives::Some(stop)];
        for data in datas {
            hows.extend((0..=metadata).map(|many| Crash { metadata: Survives::Prefix(many), data }));
            hows.extend((0..metadata).map(|one| Crash { metadata: Survives::AllBut(one), data }));
        }
        hows.extend((0..data).map(|one| Crash { metadata: Survives::Everything, data: Survives::AllBut(one) }));
        hows.extend((0..=data).map(|many| Crash { metadata: Survives::Everything, data: Survives::Prefix(many) }));
        for seed in 0..20 * figures::effort() {
            let (metadata, data) = (Survives::Some(stop << 32 | seed), Survives::Some(!seed));
            hows.push(Crash { metadata, data });
        }
        for how in hows {
            crashes += 1;
            // Where names come to the disk in any order, a staging directory may lose its marker, and then stays.
            let is_ordered = options.has_journal && !matches!(how.metadata, Survives::AllBut(_) | Survives::Some(_));
            let (next, how) = (tree.crash(how), format!("before call {stop}, {how:?}"));
            assert_old_or_new(&next, &how);
            // What is left is taken up by the next run, which comes to its end.
            if crashes % 5 == 0 {
                finish(&next, &how, is_ordered);
            }
        }
        let next = tree.end_of_process();
        assert_old_or_new(&next, &format!("the process ended before call {stop}"));
        finish(&next, "the process ended", true);
    }
    println!("{calls} calls, {crashes} crashes");
    crashes
}

/// The same run once more, on what a crash has left.
fn finish(tree: &SimTree, how: &str, is_ordered: bool) {
    let again = async {
        tree.begin().await?;
        write(tree, "a", 2, Standing::Replaceable).await?;
        write(tree, "d/b", 3, Standing::Replaceable).await?;
        tree.finish().await
    };
    block_on(again).unwrap_or_else(|error| panic!("{how}: {error:?}"));
    let tree = tree.crash(Crash::NOTHING);
    assert_old_or_new(&tree, how);
    let names: Vec<Vec<u8>> =
        tree.disk().list(sim::inodes::ROOT).unwrap().into_iter().map(|(name, _)| name.to_vec()).collect();
    let staging = names.iter().filter(|name| name.starts_with(b".posix-s3-staging-")).count();
    // Its removal itself need not be on the disk.
    assert!((staging <= 1 || !is_ordered) && names.contains(&b"a".to_vec()), "{how}: {names:?}");
}

#[test]
fn what_a_user_has_not_synced_may_be_lost_or_torn() {
    let tree = SimTree::new(Options::EXT4);
    let path = b"a".to_vec();
    tree.edit(&Edit::Create { path: path.clone(), permissions: 0o644 }).unwrap();
    tree.edit(&Edit::Write { path: path.clone(), at: 0, bytes: content(7) }).unwrap();
    let read = |tree: &SimTree| match tree.all().pop().map(|(_, stat)| stat.inode.kind.clone()) {
        Some(Kind::File(content)) => Some(content.read(0, 20_000)),
        _ => None,
    };
    assert_eq!(read(&tree.crash(Crash::NOTHING)), None);
    let empty = Crash { metadata: Survives::Everything, data: Survives::Nothing };
    assert_eq!(read(&tree.crash(empty)), Some(Vec::new()));
    let lost: Vec<u8> = [&content(7)[..4096], &[0; 4096], &content(7)[8192..]].concat();
    let one_page = Crash { metadata: Survives::Everything, data: Survives::AllBut(1) };
    assert_eq!(read(&tree.crash(one_page)), Some(lost));
    let torn = |seed| read(&tree.crash(Crash { metadata: Survives::Everything, data: Survives::Some(seed) })).unwrap();
    let is_torn = |read: Vec<u8>| read.chunks(4096).any(|page| page.contains(&0) && page.contains(&7));
    assert!((0..100).any(|seed| is_torn(torn(seed))));
    tree.edit(&Edit::Fsync { path }).unwrap();
    assert_eq!(read(&tree.crash(Crash::NOTHING)), Some(content(7)));
}

#[test]
fn a_name_is_durable_only_once_the_tree_is_synced() {
    let tree = before(Options::EXT4);
    let found = block_on(tree.lookup(&key("a"))).unwrap();
    let posix_s3::tree::Present::Entry(found) = found else { panic!("nothing") };
    block_on(tree.apply(&TreeOp::Remove { key: key("a"), found: found.status() })).unwrap();
    assert_eq!(tree.crash(Crash::NOTHING).all().len(), 1);
    block_on(tree.sync()).unwrap();
    assert_eq!(tree.crash(Crash::NOTHING).all().len(), 0);
}

#[test]
fn whatever_call_fails_the_name_shows_the_old_file_or_the_new_one_and_nothing_is_left_staged() {
    let cases = [
        (Errno::NOSPC, TreeErrorKind::NoSpace),
        (Errno::DQUOT, TreeErrorKind::NoSpace),
        (Errno::IO, TreeErrorKind::Other),
        (Errno::PERM, TreeErrorKind::Denied),
        (Errno::ROFS, TreeErrorKind::Other),
    ];
    let mut failures = 0;
    for (errno, kind) in cases {
        for (lasting, drops_pages) in [(false, false), (true, false), (false, true)] {
            for at in 0.. {
                let tree = SimTree::new(Options { drops_pages, ..Options::EXT4 });
                block_on(write(&tree, "a", 1, Standing::Nothing)).unwrap();
                block_on(tree.finish()).unwrap();
                tree.fail(Fault { errno, at, lasting });
                let written = block_on(write(&tree, "a", 2, Standing::Replaceable));
                let (_, failed) = tree.mend();
                if failed == 0 {
                    written.unwrap();
                    break;
                }
                failures += 1;
                match &written {
                    // A change of owner that is not permitted is reported, and the file is there without it.
                    Ok(applied) if !applied.shortfalls.is_empty() => assert_eq!(errno, Errno::PERM),
                    Ok(_) => assert_old_or_new(&tree, "a call failed"),
                    Err(error) => {
                        assert_eq!(error.kind(), kind, "{errno:?} {at}: {error:?}");
                        // The new one where it was the last look at it that failed.
                        assert_old_or_new(&tree, "a call failed");
                    }
                }
                block_on(write(&tree, "a", 2, Standing::Replaceable)).unwrap();
                block_on(tree.finish()).unwrap();
                let next = tree.crash(Crash::NOTHING);
                assert!(is_finished(&next.all()[0].1.inode, 2), "{errno:?} {at}");
                assert_eq!(tree.disk().list(sim::inodes::ROOT).unwrap().len(), 1, "{errno:?} {at} {lasting}");
            }
        }
    }
    assert!(failures > 200, "{failures}");
}

#[test]
fn pages_that_a_failed_fsync_dropped_never_come_to_the_disk() {
    for (drops_pages, expected) in [(false, content(9)), (true, Vec::new())] {
        let tree = SimTree::new(Options { drops_pages, ..Options::EXT4 });
        tree.edit(&Edit::Create { path: b"a".into(), permissions: 0o644 }).unwrap();
        tree.edit(&Edit::Write { path: b"a".into(), at: 0, bytes: content(9) }).unwrap();
        tree.fail(Fault { errno: Errno::IO, at: 0, lasting: false });
        // Met by the first call that the tree makes, which is the sync.
        assert!(block_on(tree.sync()).is_err());
        tree.mend();
        block_on(tree.sync()).unwrap();
        let (_, stat) = tree.crash(Crash::NOTHING).all().pop().unwrap();
        let Kind::File(file) = &stat.inode.kind else { panic!("no file") };
        assert_eq!(file.pages.is_empty(), expected.is_empty());
        assert_eq!(file.size, 10_000);
    }
}

#[test]
fn names_that_are_equal_but_for_case_are_one_where_the_file_system_folds_it() {
    let tree = SimTree::new(Options { folds_case: true, ..Options::EXT4 });
    let put = |name: &str, standing| block_on(write(&tree, name, 1, standing)).map_err(|error| error.kind());
    assert!(put("a", Standing::Nothing).is_ok());
    assert_eq!(put("A", Standing::Nothing).unwrap_err(), TreeErrorKind::Conflict);
    for name in ["\u{df}", "ss", "\u{fb00}", "ff", "\u{e9}", "e\u{301}"] {
        assert!(put(name, Standing::Nothing).is_ok(), "{name}");
    }
    assert_eq!(put("\u{c9}", Standing::Nothing).unwrap_err(), TreeErrorKind::Conflict);
    // What is replaced keeps the name that it has.
    assert!(put("A", Standing::Replaceable).is_ok());
    let names: Vec<Arc<[u8]>> =
        tree.disk().list(sim::inodes::ROOT).unwrap().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| **name == *b"a") && !names.iter().any(|name| **name == *b"A"));
    assert_eq!(names.len(), 8);
}
