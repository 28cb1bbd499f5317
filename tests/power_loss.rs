//! The power may fail at any system call: whatever the disk holds then, each name shows the old file or the new one, the next
//! run ends where an untroubled one does, and the one after it changes nothing.
//!
//! The example program is recorded by strace; see `power`. By default a sample of what a power loss may leave is tried, by a
//! seed; `POSIX_S3_EFFORT` times as much with it.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod figures;
mod power;

use futures_executor::block_on;
use posix_s3::engine::{ExportOptions, ImportOptions, MemoryState, Silent, export, import_since};
use posix_s3::store::MemoryStore;
use posix_s3::tree::{LocalTree, MemoryTree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, Timestamp, Uid};
use power::check::Case;
use power::disk::{Kind, Wanted};
use power::enumerate::{Chance, Left, at};
use power::workload::WORKLOADS;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

#[test]
fn the_power_may_fail_at_any_system_call() {
    if !power::may_run("power loss at every system call") {
        return;
    }
    let seed = figures::seed().unwrap_or(1);
    let only = std::env::var("POSIX_S3_WORKLOAD").ok();
    let (mut tried, mut all, mut moments) = (0, 0, 0);
    for workload in WORKLOADS.into_iter().filter(|workload| only.as_ref().is_none_or(|only| only == workload.name)) {
        let began = std::time::Instant::now();
        // Where a number of an inode is given out once: what is left holds inodes that never were there together.
        let recorded = power::quick();
        let base = recorded.path().join("base");
        fs::create_dir(&base).unwrap();
        let case = Case::record(workload, &base);
        let mut chance = Chance::new(seed);
        let random = 4 * usize::try_from(figures::effort().min(64)).unwrap();
        // Each state once, wherever it comes from.
        let mut known = HashSet::new();
        let mut lefts: Vec<Left> = Vec::new();
        for moment in 0..case.moments {
            for left in at(&case.history, moment, random, &mut chance) {
                if known.insert(left.disk(&case.start, &case.history).hash()) {
                    lefts.push(left);
                }
            }
        }
        let distinct = lefts.len();
        for place in (1..lefts.len()).rev() {
            lefts.swap(place, usize::try_from(chance.below(place as u64 + 1)).unwrap());
        }
        let ordered = lefts.iter().filter(|left| left.in_order).count();
        // Those that a file system with a journal can leave come first.
        lefts.sort_by_key(|left| !left.in_order);
        let (states, half) = (usize::try_from(workload.states * figures::effort()).unwrap(), 2);
        let strict = lefts.split_off(ordered);
        lefts.truncate((states / half).max(states.saturating_sub(strict.len())));
        let rest = states - lefts.len().min(states);
        lefts.extend(strict.into_iter().take(rest));
        let scratch = scratch();
        let mut failures: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for left in &lefts {
            let base = scratch.path().join("base");
            fs::create_dir(&base).unwrap();
            let disk = left.disk(&case.start, &case.history);
            if let Err(error) = case.check(&disk, left.in_order, &base) {
                let done = |there: bool| -> String {
                    let effects = case.history.effects.iter().enumerate();
                    let chosen = effects.filter(|(at, done)| {
                        done.since <= left.moment
                            && (left.there[*at] == there)
                            && (!there || done.durable > left.moment)
                    });
                    chosen.map(|(at, done)| format!("\n  {at} {}", short(&format!("{:?}", done.effect)))).collect()
                };
                let text = format!(
                    "{}: the power fails at moment {} of {} ({}, torn {:?}, in order: {}): {error}\nthere, though nobody waited for it:{}\nlost:{}\n\
                     POSIX_S3_SEED={seed} POSIX_S3_EFFORT={} POSIX_S3_WORKLOAD='{}' cargo test --test power_loss",
                    workload.name,
                    left.moment,
                    case.moments,
                    left.how,
                    left.torn,
                    left.in_order,
                    done(true),
                    done(false),
                    figures::effort(),
                    workload.name,
                );
                failures.entry(error.chars().take(240).collect()).or_insert((0, text)).0 += 1;
            }
            fs::remove_dir_all(&base).unwrap();
        }
        println!(
            "{}: {} calls, {distinct} states, {ordered} of them in order, {} tried in {:?}",
            workload.name,
            case.moments,
            lefts.len(),
            began.elapsed()
        );
        let kinds: Vec<String> =
            failures.iter().map(|(error, (count, _))| format!("\n{count} times {error}")).collect();
        let first = failures.values().map(|(_, text)| text.as_str()).min_by_key(|text| text.len());
        if let Some(first) = first {
            if std::env::var_os("POSIX_S3_GO_ON").is_none() {
                panic!("{first}\nand of each kind:{}", kinds.concat());
            }
            println!("{first}\nand of each kind:{}", kinds.concat());
        }
        (tried, all, moments) = (tried + lefts.len(), all + distinct, moments + case.moments);
    }
    println!("seed {seed}: {tried} of {all} states");
    if only.is_none() {
        figures::record("power-loss points", moments as u64, 800);
        figures::record("power-loss states", tried as u64, 1_200);
    }
}

/// What has to be found if the program did not wait for something.
///
/// The state is not among it: what is torn of it is no knowledge, and the next run looks for itself. What the program waits
/// for there tells its own late write from a stranger's when the tree changes before the next run.
#[test]
fn whoever_does_not_wait_for_the_disk_is_found_out() {
    if !power::may_run("a program that does not wait for the disk") {
        return;
    }
    let is_file = |case: &Case, number: usize| matches!(case.end.inodes[number].kind, Kind::File(_));
    type LeftOut = fn(&Case, Wanted, &dyn Fn(&Case, usize) -> bool) -> bool;
    let files: LeftOut = |case, wanted, is_file| matches!(wanted, Wanted::All(inode) if is_file(case, inode));
    let directories: LeftOut = |case, wanted, is_file| matches!(wanted, Wanted::All(inode) if !is_file(case, inode));
    let file_system: LeftOut = |_, wanted, _| matches!(wanted, Wanted::FileSystem(_));
    for (name, what, left_out) in [
        ("first import", "files in the tree", files),
        ("import of changes", "names in the tree", file_system),
        ("first export", "objects", files),
        ("export of changes", "names in the bucket", directories),
    ] {
        let workload = WORKLOADS.into_iter().find(|workload| workload.name == name).unwrap();
        // Where a number of an inode is given out once: what is left holds inodes that never were there together.
        let recorded = power::quick();
        let base = recorded.path().join("base");
        fs::create_dir(&base).unwrap();
        let case = Case::record(workload, &base);
        let history = case.history.without(|wanted| left_out(&case, wanted, &is_file));
        let (mut chance, mut known, scratch) = (Chance::new(1), HashSet::new(), scratch());
        let lefts = (0..case.moments).rev().flat_map(|moment| at(&history, moment, 4, &mut chance)).collect::<Vec<_>>();
        let mut tried = 0;
        let found = lefts.iter().find_map(|left| {
            let disk = left.disk(&case.start, &history);
            if !known.insert(disk.hash()) {
                return None;
            }
            tried += 1;
            let base = scratch.path().join("base");
            fs::create_dir(&base).unwrap();
            let checked = case.check(&disk, left.in_order, &base);
            fs::remove_dir_all(&base).unwrap();
            checked.err()
        });
        let found =
            found.unwrap_or_else(|| panic!("{name} without waiting for {what}: nothing is found in {tried} states"));
        println!("{name} without waiting for {what}, at state {tried}: {}", short(&found));
    }
}

/// What an import makes of a directory is open to its owner until it is filled. A run that was killed leaves it so, and the
/// next one took that for somebody's wish.
#[test]
fn a_directory_that_a_killed_import_has_made_is_finished_by_the_next() {
    let (store, state, root) = (MemoryStore::new(), MemoryState::new(), tempfile::tempdir().unwrap());
    let attributes = Attributes { permissions: Permissions::from_mode(0o500), ..own_attributes() };
    publish(&store, Entry::new(Key::parse("d/").unwrap(), EntryKind::Directory, attributes).unwrap(), "");
    fs::create_dir(root.path().join("d")).unwrap();
    fs::set_permissions(root.path().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    let tree = LocalTree::open(root.path()).unwrap();
    let report = block_on(import_since(
        &store,
        &tree,
        &state,
        &ImportOptions::new(Profile::fsx()).with_bucket("bucket"),
        &Silent,
    ))
    .unwrap();
    assert!(report.is_complete(), "{:?}", report.problems);
    assert_eq!(root.path().join("d").metadata().unwrap().mode() & 0o7777, 0o500);
}

/// Attributes are set one after the other. A run that was killed in between leaves some of them, and the next one took them
/// for somebody's wish.
#[test]
fn a_file_to_which_a_killed_import_has_given_some_attributes_gets_the_others_from_the_next() {
    let (store, state, root) = (MemoryStore::new(), MemoryState::new(), tempfile::tempdir().unwrap());
    let (old, path) = (own_attributes(), root.path().join("a"));
    let later = Timestamp::from_unix(1_000_000_000, 1).unwrap();
    let new = Attributes { permissions: Permissions::from_mode(0o604), mtime: later, ..old };
    let file = |attributes| Entry::new(Key::parse("a").unwrap(), EntryKind::File { size: 3 }, attributes).unwrap();
    let import = || {
        let tree = LocalTree::open(root.path()).unwrap();
        let report = block_on(import_since(
            &store,
            &tree,
            &state,
            &ImportOptions::new(Profile::fsx()).with_bucket("bucket"),
            &Silent,
        ))
        .unwrap();
        assert!(report.is_complete(), "{:?}", report.problems);
        report
    };
    publish(&store, file(old), "one");
    import();
    let inode = path.metadata().unwrap().ino();
    publish(&store, file(new), "one");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let report = import();
    let now = path.metadata().unwrap();
    assert_eq!((now.mode() & 0o7777, now.mtime(), now.ino()), (0o604, 1_000_000_000, inode));
    assert_eq!((report.metadata_only, report.store_calls.get), (1, 0));
    // What somebody has written meanwhile is no half-done work.
    publish(&store, file(old), "one");
    fs::write(&path, "two").unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 1);
    fs::File::open(&path).unwrap().set_modified(modified).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let tree = LocalTree::open(root.path()).unwrap();
    let report = block_on(import_since(
        &store,
        &tree,
        &state,
        &ImportOptions::new(Profile::fsx()).with_bucket("bucket"),
        &Silent,
    ))
    .unwrap();
    assert_eq!((report.conflicts, fs::read_to_string(&path).unwrap().as_str()), (1, "two"));
}

/// The times come last: where they are set, a run has set all of it, and whoever has closed the file since means it.
#[test]
fn a_file_that_an_import_was_done_with_and_somebody_has_closed_since_stays_closed() {
    let (store, state, root) = (MemoryStore::new(), MemoryState::new(), tempfile::tempdir().unwrap());
    let (old, path) = (own_attributes(), root.path().join("a"));
    let mtime = Timestamp::from_unix(1_000_000_000, 1).unwrap();
    let others = Gid::new(old.gid.get() + 7).unwrap();
    let new = Attributes { permissions: Permissions::from_mode(0o644), gid: others, mtime, ..old };
    let file = |attributes| Entry::new(Key::parse("a").unwrap(), EntryKind::File { size: 3 }, attributes).unwrap();
    let import = || {
        let tree = LocalTree::open(root.path()).unwrap();
        let options = ImportOptions::new(Profile::fsx()).with_bucket("bucket");
        block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap()
    };
    publish(&store, file(old), "one");
    import();
    publish(&store, file(new), "one");
    // The permissions of a file whose owner is about to be changed.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 1);
    fs::File::open(&path).unwrap().set_modified(modified).unwrap();
    let report = import();
    assert_eq!((report.conflicts, path.metadata().unwrap().mode() & 0o7777), (1, 0o600), "{:?}", report.problems);
}

fn own_attributes() -> Attributes {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let time = Timestamp::from_unix(900_000_000, 0).unwrap();
    let permissions = Permissions::from_mode(0o640);
    Attributes { permissions, uid: Uid::new(uid).unwrap(), gid: Gid::new(gid).unwrap(), atime: time, mtime: time }
}

fn publish(store: &MemoryStore, entry: Entry, content: &'static str) {
    let tree = MemoryTree::new();
    match entry.kind() {
        EntryKind::Directory => tree.insert(entry).unwrap(),
        _ => tree.insert_file(entry.key().clone(), content, *entry.attributes()).unwrap(),
    };
    block_on(export(&tree, store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap();
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}
