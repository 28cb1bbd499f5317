//! Links that are made to be followed.

use crate::figures;
use crate::hostile::{Hooked, Surrounded, bucket, ended, import_into, object, stat_of};
use crate::model::bridge::{self, memory_store, put, read_disk, tree_of};
use crate::model::{Bucket, Kind, Object, Rules, Tree};
use futures_executor::block_on;
use posix_s3::engine::{ImportOptions, MemoryState, Outcome, Silent, import_since};
use posix_s3::store::{MemoryStore, Operation};
use posix_s3::tree::{LocalTree, MemoryTree, Present, Standing, Tree as _, TreeErrorKind, TreeOp};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, SymlinkTarget, Timestamp, Uid};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

fn clashing() -> [(&'static str, Object); 5] {
    [
        ("a", object("0120777", b"../a")),
        ("a-", object("0100644", b"beside")),
        ("a/", object("0040750", b"")),
        ("a/b", object("0120777", b"../../b")),
        ("a/b/c", object("0100644", b"planted")),
    ]
}

/// Every order of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for order in orders(count - 1) {
        for at in 0..count {
            let mut order = order.clone();
            order.insert(at, count - 1);
            all.push(order);
        }
    }
    all
}

/// What is there, without the times that the order of things may move.
fn shape(tree: Tree) -> Vec<(String, Kind, u32)> {
    tree.into_iter()
        .map(|(path, node)| {
            let mode = if matches!(node.kind, Kind::Link(_)) { 0 } else { node.mode };
            (path, node.kind, mode)
        })
        .collect()
}

/// Every choice of the five objects.
fn choices() -> impl Iterator<Item = Vec<(&'static str, Object)>> {
    (1..32_u32).map(|chosen| {
        let all = clashing().into_iter().enumerate();
        all.filter(|(at, _)| chosen & (1 << at) != 0).map(|(_, object)| object).collect()
    })
}

#[test]
fn a04_in_whatever_order_objects_come_into_the_bucket_the_tree_is_the_same_in_the_end() {
    let mut tried = 0;
    for objects in choices() {
        let all: Bucket = objects.iter().map(|(key, object)| ((*key).to_owned(), object.clone())).collect();
        let fresh = MemoryTree::new();
        bridge::import(&memory_store(&all), &fresh, "", &Rules::FSX);
        let expected = shape(tree_of(&fresh));
        for order in orders(objects.len()) {
            tried += 1;
            let (store, tree, state) = (MemoryStore::new(), MemoryTree::new(), MemoryState::new());
            let options = ImportOptions::new(bridge::profile(&Rules::FSX)).with_bucket("b");
            let mut said = String::new();
            for &next in &order {
                let (key, object) = &objects[next];
                put(&store, key, object);
                let report = block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
                said = format!("{said}\nafter {key}: {:?}", report.problems);
            }
            assert_eq!(shape(tree_of(&tree)), expected, "{order:?}{said}");
        }
    }
    figures::record("orders of arrival", tried, 300);
}

#[test]
fn a04_in_whatever_order_objects_come_into_the_bucket_nothing_goes_through_a_link() {
    for order in orders(5) {
        let place = Surrounded::new();
        let before = place.outside();
        let (store, state) = (MemoryStore::new(), MemoryState::new());
        let tree = LocalTree::open(place.root()).unwrap();
        let options = ImportOptions::new(bridge::profile(&Rules::FSX)).with_bucket("b");
        let objects = clashing();
        for &next in &order {
            put(&store, objects[next].0, &objects[next].1);
            block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
            assert_eq!(place.outside(), before, "{order:?}");
        }
        assert_eq!(fs::read(place.root().join("a/b/c")).unwrap(), b"planted", "{order:?}");
        assert!(read_disk(&place.root()).values().all(|node| !matches!(node.kind, Kind::Link(_))), "{order:?}");
    }
}

#[test]
fn a04_a_listing_in_another_order_than_that_of_keys_plants_nothing() {
    let objects = clashing();
    let all: Bucket = objects.clone().map(|(key, object)| (key.to_owned(), object)).into();
    let mut sorted = 0;
    for order in orders(5) {
        let place = Surrounded::new();
        let before = place.outside();
        let keys: Vec<&str> = order.iter().map(|&at| objects[at].0).collect();
        let store = crate::hostile::Liar::with_pages(&all, &[&keys]);
        let tree = LocalTree::open(place.root()).unwrap();
        if keys.is_sorted() {
            sorted += 1;
            bridge::import(&store, &tree, "", &Rules::FSX);
        } else {
            bridge::import_stops(&store, &tree, "", &Rules::FSX);
        }
        assert_eq!(place.outside(), before, "{keys:?}");
    }
    assert_eq!(sorted, 1);
}

#[test]
fn a04_a_link_that_somebody_has_changed_does_not_give_way() {
    let (store, tree, state) = (MemoryStore::new(), MemoryTree::new(), MemoryState::new());
    let options = ImportOptions::new(bridge::profile(&Rules::FSX)).with_bucket("b");
    let import = || block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
    put(&store, "a", &object("0120777", b"target"));
    import();
    let (entry, _) = tree.entries().remove(0);
    assert!(tree.remove(entry.key()));
    let target = SymlinkTarget::parse(b"edited").unwrap();
    tree.insert(Entry::new(entry.key().clone(), EntryKind::Symlink { target }, *entry.attributes()).unwrap()).unwrap();
    put(&store, "a/b", &object("0100644", b"x"));
    let report = import();
    assert_eq!((report.conflicts, report.deleted), (1, 0));
    assert_eq!(tree_of(&tree)["a"].kind, Kind::Link(b"edited".to_vec()));
}

#[test]
fn a04_a_link_that_nobody_recorded_at_a_parent_is_a_conflict() {
    let place = Surrounded::new();
    import_into(&place, &bucket([("a", object("0120777", b"../a"))]));
    for (key, target) in [("a/b", "../a"), ("a/", "../a"), ("a/a/new", "../a"), ("a/a/", "../a")] {
        let run = import_into(&place, &bucket([(key, object("0100644", b"planted"))]));
        assert_eq!(run.ended, [(key.to_owned(), Outcome::Conflict)]);
        assert_eq!(fs::read_link(place.root().join("a")).unwrap(), Path::new(target));
    }
}

#[test]
fn a05_attributes_of_a_directory_never_reach_what_a_link_of_its_name_points_to() {
    // `b` is 0700 and outside.
    let both = bucket([("ln", object("0120777", b"../b")), ("ln/", object("0040777", b""))]);
    let directory = bucket([("ln/", object("0040777", b""))]);
    for rules in [Rules::FSX, Rules::UNTRUSTED, Rules::FIRST_WINS] {
        for (objects, planted) in [(&both, false), (&both, true), (&directory, true)] {
            let place = Surrounded::new();
            if planted {
                symlink("../b", place.root().join("ln")).unwrap();
            }
            let before = place.outside();
            bridge::import(&memory_store(objects), &LocalTree::open(place.root()).unwrap(), "", &rules);
            assert_eq!(place.outside(), before);
        }
    }
}

/// Imports `d/a`, then `d/b`; in between, `d` is swapped for a link to a directory outside.
fn swapped_between(target: &str, forget: bool) -> (Surrounded, Vec<String>, Vec<String>) {
    let place = Surrounded::new();
    let before = place.outside();
    let objects = bucket([
        ("d/", object("0040755", b"")),
        ("d/a", object("0100644", b"first")),
        ("d/b", object("0106755", b"second")),
        ("d/c/x", object("0100644", b"third")),
    ]);
    let (root, target) = (place.root(), target.to_owned());
    // The last name in `d` is fetched when the directory is held; the first before anything was made in it.
    let at = if forget { "d/a" } else { "d/b" };
    let hook = move |operation, key: &str| {
        if operation == Operation::Get && key == at && !root.join("held").exists() {
            fs::rename(root.join("d"), root.join("held")).unwrap();
            symlink(&target, root.join("d")).unwrap();
        }
    };
    let store = Hooked { store: memory_store(&objects), hook };
    let options = bridge::import_options("", &Rules::FSX).with_jobs(posix_s3::engine::Jobs::ONE);
    let tree = LocalTree::open(place.root()).unwrap();
    block_on(posix_s3::engine::import(&store, &tree, &options, &Silent)).unwrap();
    let after = place.outside();
    (place, before, after)
}

#[test]
fn a06_a_parent_that_is_swapped_for_a_link_leads_nowhere() {
    for target in ["../b", "../a", "/", "..", "held"] {
        let (place, before, after) = swapped_between(target, true);
        assert_eq!(before, after, "{target}");
        assert!(fs::symlink_metadata(place.root().join("d")).unwrap().is_symlink());
    }
}

#[test]
fn a07_a_trailing_slash_follows_no_link_in_any_call() {
    let place = Surrounded::new();
    symlink("../b", place.root().join("ln")).unwrap();
    let (before, link) = (place.outside(), stat_of(&fs::symlink_metadata(place.root().join("ln")).unwrap()));
    let tree = LocalTree::open(place.root()).unwrap();
    let (ln, below): (Key, Key) = ("ln/".parse().unwrap(), "ln/x/".parse().unwrap());
    let attributes = Attributes {
        permissions: Permissions::from_mode(0o777),
        uid: Uid::new(1234).unwrap(),
        gid: Gid::new(1234).unwrap(),
        atime: Timestamp::EPOCH,
        mtime: Timestamp::EPOCH,
    };
    // As if the directory behind the link had been looked at: its number is that of the target.
    let outside = LocalTree::open(place.0.path()).unwrap();
    let looked = block_on(outside.lookup(&"b".parse().unwrap())).unwrap();
    let Present::Entry(found) = looked else { panic!("{looked:?}") };
    let directory = |key: &Key| Entry::new(key.clone(), EntryKind::Directory, attributes).unwrap();
    let target = SymlinkTarget::parse(b"x").unwrap();
    let inner = Entry::new("ln/x".parse().unwrap(), EntryKind::Symlink { target }, attributes).unwrap();
    let ops = [
        TreeOp::CreateDirectory { key: ln.clone(), attributes: Some(attributes) },
        TreeOp::CreateDirectory { key: below.clone(), attributes: None },
        TreeOp::SetAttributes { entry: directory(&ln), found: found.fingerprint },
        TreeOp::SetTimes {
            key: ln.clone(),
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
            found: found.fingerprint,
        },
        TreeOp::Remove { key: ln.clone(), found: found.status() },
        TreeOp::CreateSymlink { entry: inner, standing: Standing::Replaceable },
    ];
    for op in &ops {
        let error = block_on(tree.apply(op)).unwrap_err();
        assert!(matches!(error.kind(), TreeErrorKind::Conflict | TreeErrorKind::Changed), "{op:?}: {error}");
    }
    assert!(block_on(tree.list(Some(&ln))).is_err() && block_on(tree.list(Some(&below))).is_err());
    assert!(block_on(tree.open(&"ln/x".parse().unwrap())).is_err());
    // A lookup tells of the link itself.
    let looked = block_on(tree.lookup(&ln)).unwrap();
    assert!(matches!(looked.entry().unwrap().kind(), EntryKind::Symlink { .. }));
    assert_eq!(place.outside(), before);
    assert_eq!(stat_of(&fs::symlink_metadata(place.root().join("ln")).unwrap()), link);
}

#[test]
fn a08_a_directory_that_is_held_is_the_one_that_was_opened() {
    let (place, before, after) = swapped_between("../b", false);
    assert_eq!(before, after);
    // What came after the swap went to the held directory, or nowhere.
    let held: Vec<_> =
        fs::read_dir(place.root().join("held")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(held.iter().any(|name| name == "a"), "{held:?}");
}

#[test]
fn a20_whether_a_target_leaves_the_root_is_told_by_its_text() {
    /// Walks the text with a stack of names.
    fn leaves(depth: usize, target: &str) -> bool {
        let mut stack = vec!["d"; depth];
        target.starts_with('/')
            || target.split('/').any(|name| match name {
                "" | "." => false,
                ".." => stack.pop().is_none(),
                name => {
                    stack.push(name);
                    false
                }
            })
    }
    let mut targets = vec![String::new()];
    let mut last = targets.clone();
    for count in 0..6 {
        last = last
            .iter()
            .flat_map(|target| {
                ["a", "..", ".", ""].map(|name| if count == 0 { name.to_owned() } else { format!("{target}/{name}") })
            })
            .collect();
        targets.extend(last.iter().cloned());
    }
    targets.retain(|target| !target.is_empty());
    let mut objects = Bucket::new();
    let mut expected = Vec::new();
    for depth in 0..=4 {
        for (number, target) in targets.iter().enumerate() {
            let key = format!("{}l{number:05}", "d/".repeat(depth));
            objects.insert(key.clone(), object("0120777", target.as_bytes()));
            expected.push((key, if leaves(depth, target) { Outcome::Failed } else { Outcome::Written }));
        }
    }
    expected.sort();
    let tree = MemoryTree::new();
    let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::UNTRUSTED);
    assert_eq!(run.ended, expected);
    // Without a claim to safety they are kept as they are, and nothing is done through them.
    let tree = MemoryTree::new();
    let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::FSX);
    assert_eq!(run.report.written, objects.len() as u64);
    let made = tree_of(&tree);
    assert!(objects.iter().all(|(key, object)| made[key].kind == Kind::Link(object.body.clone())));
    figures::record("targets against the text", objects.len() as u64, 25_000);
}

#[test]
fn a21_a_target_is_judged_to_its_last_byte() {
    let mut objects = Bucket::new();
    for length in 4090..=4100_usize {
        let mut target = b"./".repeat(2050);
        // An odd cut leaves `.`, which with the slash is no name either. The last bytes climb.
        target.truncate(length - 5);
        target.extend_from_slice(b"/../x");
        objects.insert(format!("{length}"), object("0120777", &target));
    }
    let place = Surrounded::new();
    let before = place.outside();
    let tree = LocalTree::open(place.root()).unwrap();
    let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::UNTRUSTED);
    assert!(run.ended.iter().all(|(_, outcome)| *outcome == Outcome::Failed), "{:?}", run.ended);
    for problem in &run.report.problems {
        let is_long = problem.key.parse::<usize>().unwrap() > 4095;
        assert_eq!(problem.reason.contains("found more") || problem.reason.contains("4095"), is_long, "{problem:?}");
    }
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 0);
    let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::FSX);
    for (key, outcome) in &run.ended {
        let is_long = key.parse::<usize>().unwrap() > 4095;
        assert_eq!(*outcome, if is_long { Outcome::Failed } else { Outcome::Written }, "{key}");
        if !is_long {
            let made = fs::read_link(place.root().join(key)).unwrap();
            assert_eq!(made, Path::new(std::str::from_utf8(&objects[key].body).unwrap()));
        }
    }
    assert_eq!(place.outside(), before);
}

#[test]
fn a37_what_its_owner_moves_out_of_the_root_is_still_his_and_gets_no_privilege() {
    // Accepted: whoever owns a directory may move it while it is held. What goes into it is what he could put there himself.
    let place = Surrounded::new();
    let objects = bucket([
        ("d/", object("0040755", b"")),
        ("d/a", object("0100644", b"first")),
        ("d/b", object("0106755", b"second")),
    ]);
    let (root, outside) = (place.root(), place.0.path().join("moved"));
    let moved = outside.clone();
    let hook = move |operation, key: &str| {
        if operation == Operation::Get && key == "d/b" {
            fs::rename(root.join("d"), &moved).unwrap();
        }
    };
    let store = Hooked { store: memory_store(&objects), hook };
    let tree = LocalTree::open(place.root()).unwrap();
    let options = bridge::import_options("", &Rules::FSX).with_jobs(posix_s3::engine::Jobs::ONE);
    block_on(posix_s3::engine::import(&store, &tree, &options, &Silent)).unwrap();
    let names: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(names.iter().all(|name| name == "a" || name == "b"), "{names:?}");
    for name in names {
        assert_eq!(fs::symlink_metadata(outside.join(name)).unwrap().mode() & 0o6000, 0);
    }
    // And nothing else outside.
    fs::remove_dir_all(outside).unwrap();
    assert_eq!(place.outside().len(), Surrounded::new().outside().len());
    let run = import_into(&place, &objects);
    assert_eq!(ended(&run, "d/b"), Outcome::Written);
}
