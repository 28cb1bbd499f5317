//! Events of the bucket, in any order, doubled, late, lost and in batches, end in the tree of an import.

#![cfg(all(feature = "repository", feature = "local", target_os = "linux"))]
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

use futures_executor::block_on;
use model::bridge::{self, Clock};
use model::{Kind, Object, Rules, Tree, generate};
use posix_s3::engine::{self, ImportOptions, MemoryState, Report, Silent, StateStore, apply_events, import_since};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::repository::{EventType, EventTypes};
use posix_s3::store::{MemoryStore, ObjectStore, Precondition};
use posix_s3::tree::{MemoryTree, Tree as PosixTree};
use posix_s3::{Clash, Key, Prefix};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "p/";

// -------------------------------------------------------------------------------------------------- the world

/// A bucket that strangers write to, and which keys an event has told of since.
struct Bucket {
    store: MemoryStore,
    clock: Clock,
    now: i128,
    keys: BTreeSet<String>,
}

impl Bucket {
    fn new() -> Self {
        let clock = Clock::default();
        let ticking = clock.clone();
        let store = MemoryStore::with_clock(move || bridge::time(ticking.get()));
        Self { store, clock, now: 1_700_000_000_000_000_000, keys: BTreeSet::new() }
    }

    fn change(&mut self, change: &Change) -> String {
        // Whole seconds and more, so that times tell one change from the next.
        self.now += 60_000_000_000;
        self.clock.set(self.now);
        let key = format!("{PREFIX}{}", change.key);
        match &change.object {
            Some(object) => {
                bridge::put(&self.store, &key, object);
                self.keys.insert(change.key.to_owned());
            }
            None => {
                block_on(self.store.delete(&key, &Precondition::None)).unwrap();
                self.keys.remove(change.key);
            }
        }
        key
    }
}

/// A tree that is linked to the bucket.
struct Link<T> {
    tree: T,
    state: Box<dyn StateStore>,
}

impl Link<MemoryTree> {
    fn new() -> Self {
        Self { tree: MemoryTree::new(), state: Box::new(MemoryState::new()) }
    }

    fn see(&self) -> Tree {
        bridge::tree_of(&self.tree)
    }
}

impl<T: PosixTree> Link<T> {
    fn import(&self, bucket: &Bucket, options: &ImportOptions) -> Report {
        block_on(import_since(&bucket.store, &self.tree, &*self.state, options, &Silent)).unwrap()
    }

    fn apply(&self, bucket: &Bucket, options: &ImportOptions, events: EventTypes, keys: &[String]) -> Report {
        let keys = keys.iter().map(|key| key.as_str().into()).collect();
        block_on(apply_events(&bucket.store, &self.tree, &*self.state, options, events, &keys, &Silent)).unwrap()
    }
}

fn options(clash: Clash) -> ImportOptions {
    let mut profile = bridge::profile(&Rules::FSX);
    profile.clash = clash;
    ImportOptions::new(profile)
        .with_bucket("bucket")
        .with_prefix(Prefix::parse(PREFIX).unwrap())
        .with_deletes(Deletes::Apply(Brake::RELEASED))
}

// -------------------------------------------------------------------------------------------------- histories

/// What a stranger does: puts an object, or deletes what is there.
#[derive(Clone, Debug)]
struct Change {
    key: &'static str,
    object: Option<Object>,
}

/// A change, and when its event comes: so many batches later, how often.
#[derive(Clone, Debug)]
struct Told {
    change: Change,
    late: usize,
    times: usize,
}

/// Changes between two batches.
type Moment = Vec<Told>;

const KEYS: &[&str] = &[
    "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/d", "a-", "a-/b", "a/c", "b/c/d/", "b", "a//b", "..", "a/../b", "", "a0",
];

/// Keys of which none is the file to another's directory.
const PLAIN_KEYS: &[&str] =
    &["a/", "a/b/", "a/b/c", "a/b/d", "a-", "a!/c", "a/c", "b/c/d/", "b/c/e", "a//b", "..", "a0"];

fn objects(rich: bool) -> impl Strategy<Value = Object> {
    let bodies = select(vec!["one", "two", "three", ""]);
    let metadata = select(vec!["0100644", "0100600", "0120777", "0040755", "0020600", "x", ""]);
    let sound = select(vec!["0100644", "0100600", "0120777"]);
    let metadata = if rich { metadata.boxed() } else { sound.boxed() };
    (bodies, metadata, select(vec!["0", "500"])).prop_map(move |(body, permissions, owner)| {
        let mut headers = BTreeMap::new();
        if !permissions.is_empty() {
            headers.insert("x-amz-meta-file-permissions".to_owned(), permissions.to_owned());
            for name in ["owner", "group"] {
                headers.insert(format!("x-amz-meta-file-{name}"), owner.to_owned());
            }
            for name in ["atime", "mtime"] {
                headers.insert(format!("x-amz-meta-file-{name}"), "1600000000000000000ns".to_owned());
            }
        }
        let body = if permissions.starts_with("012") && body.is_empty() && !rich { "t" } else { body };
        Object { headers, body: body.into(), last_modified: 0 }
    })
}

fn histories(keys: &'static [&'static str], rich: bool, latest: usize) -> impl Strategy<Value = Vec<Moment>> {
    let change = (select(keys), prop::option::weighted(0.6, objects(rich)));
    let change = change.prop_map(|(key, object)| Change { key, object });
    let told = (change, 0..=latest, 1..3_usize).prop_map(|(change, late, times)| Told { change, late, times });
    vec(vec(told, 0..4), 1..6)
}

/// Carries out a history. After each moment the events that come then are handed over, and the number of the moment.
fn play(bucket: &mut Bucket, history: &[Moment], mut each: impl FnMut(&Bucket, Vec<String>)) {
    let last = history.iter().flatten().map(|told| told.late).max().unwrap_or(0);
    let mut coming = vec![Vec::new(); history.len() + last + 1];
    for moment in 0..coming.len() {
        for told in history.get(moment).into_iter().flatten() {
            let key = bucket.change(&told.change);
            for again in 0..told.times {
                let at = (moment + told.late + again).min(coming.len() - 1);
                coming[at].push(key.clone());
            }
        }
        let mut now = std::mem::take(&mut coming[moment]);
        now.reverse();
        each(bucket, now);
    }
}

/// Cuts a batch in pieces.
fn cut<'k>(keys: &'k [String], at: &Index) -> [&'k [String]; 2] {
    let (one, other) = keys.split_at(at.index(keys.len() + 1));
    [one, other]
}

fn clashes() -> impl Strategy<Value = Clash> {
    prop_oneof![3 => Just(Clash::DirectoryWins), 1 => Just(Clash::FirstWins)]
}

/// A tree without what nobody can tell from the bucket: directories without an object are there for what is in them, and
/// keep what attributes they have.
fn told(tree: &Tree, bucket: &Bucket) -> Tree {
    let mut told = tree.clone();
    let is_told = |path: &str| bucket.keys.contains(&format!("{path}/"));
    for path in tree.keys().rev() {
        let node = &tree[path];
        if node.kind == Kind::Directory && !is_told(path) {
            let is_empty =
                !told.keys().any(|other| other.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')));
            if is_empty {
                told.remove(path);
            } else {
                let nobodys = model::Node { kind: Kind::Directory, mode: 0, uid: 0, gid: 0, atime: 0, mtime: 0 };
                told.insert(path.clone(), nobodys);
            }
        }
    }
    told
}

// ------------------------------------------------------------------------------------------------------- laws

proptest! {
    #![proptest_config(generate::cases(1000))]

    #[test]
    fn events_that_come_at_once_make_the_tree_of_an_import(
        history in histories(KEYS, true, 0), clash in clashes(), at in any::<Index>(),
    ) {
        let options = options(clash);
        let (linked, imported) = (Link::new(), Link::new());
        play(&mut Bucket::new(), &history, |bucket, keys| {
            for piece in cut(&keys, &at) {
                linked.apply(bucket, &options, EventTypes::ALL, piece);
            }
            imported.import(bucket, &options);
            assert_eq!(linked.see(), imported.see(), "after {keys:?}");
        });
    }

    #[test]
    fn late_events_leave_nothing_to_an_import(
        history in histories(KEYS, true, 4), clash in clashes(), at in any::<Index>(),
    ) {
        let options = options(clash);
        let linked = Link::new();
        let mut bucket = Bucket::new();
        play(&mut bucket, &history, |bucket, keys| {
            for piece in cut(&keys, &at) {
                linked.apply(bucket, &options, EventTypes::ALL, piece);
            }
        });
        let before = linked.see();
        let report = linked.import(&bucket, &options);
        assert_eq!(before, linked.see());
        assert_eq!((report.written, report.metadata_only, report.deleted), (0, 0, 0), "{:?}", report.problems);
    }

    #[test]
    fn late_events_make_the_tree_of_an_import_where_no_file_is_also_a_directory(
        history in histories(PLAIN_KEYS, false, 4), at in any::<Index>(),
    ) {
        let options = options(Clash::DirectoryWins);
        let (linked, imported) = (Link::new(), Link::new());
        let mut bucket = Bucket::new();
        play(&mut bucket, &history, |bucket, keys| {
            for piece in cut(&keys, &at) {
                linked.apply(bucket, &options, EventTypes::ALL, piece);
            }
            imported.import(bucket, &options);
        });
        let fresh = Link::new();
        fresh.import(&bucket, &options);
        assert_eq!(told(&linked.see(), &bucket), told(&imported.see(), &bucket));
        assert_eq!(told(&linked.see(), &bucket), told(&fresh.see(), &bucket));
    }
}
