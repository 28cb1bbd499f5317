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
use model::{Kind, Node, Object, Rules, Tree, generate};
use posix_s3::engine::{
    ImportOptions, MemoryState, Report, Selection, Silent, StateStore, apply_events, import_since, sweep,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::repository::{
    Action, AutoImportPolicyType, Backlog, Creation, EventKind, EventType, EventTypes, LinkState, MessageStream,
    Misconfiguration, Notice, ObjectEvent, Overdue, Removal, Restoration, read_message,
};
use posix_s3::store::{MemoryStore, ObjectStore, Precondition};
use posix_s3::tree::{LocalTree, MemoryTree, Tree as PosixTree};
use posix_s3::{Clash, Key, Prefix, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "p/";
const BUCKET: &str = "data";

// -------------------------------------------------------------------------------------------------- the world

/// A bucket that strangers write to, and which keys an event has told of since.
struct Bucket {
    store: MemoryStore,
    clock: Clock,
    now: i128,
    objects: BTreeMap<String, Object>,
}

impl Bucket {
    fn new() -> Self {
        let clock = Clock::default();
        let ticking = clock.clone();
        let store = MemoryStore::with_clock(move || bridge::time(ticking.get()));
        Self { store, clock, now: 1_700_000_000_000_000_000, objects: BTreeMap::new() }
    }

    /// Changes something, and answers the message that tells of it.
    fn change(&mut self, change: &Change) -> Told {
        // Whole seconds and more, so that times tell one change from the next.
        self.now += 60_000_000_000;
        self.clock.set(self.now);
        let key = format!("{PREFIX}{}", change.key);
        match &change.object {
            Some(object) => {
                bridge::put(&self.store, &key, object);
                self.objects.insert(change.key.to_owned(), object.clone());
            }
            None => {
                block_on(self.store.delete(&key, &Precondition::None)).unwrap();
                self.objects.remove(change.key);
            }
        }
        let message = message(&key, change.object.is_some(), self.now, change.form);
        Told { key: change.key, message }
    }

    fn put(&mut self, key: &'static str, body: &str, permissions: &str) -> Told {
        let object = object(body, permissions, "0");
        self.change(&Change { key, object: Some(object), form: Form::Direct })
    }

    fn delete(&mut self, key: &'static str) -> Told {
        self.change(&Change { key, object: None, form: Form::Direct })
    }
}

/// What a message tells of.
#[derive(Clone, Debug)]
struct Told {
    key: &'static str,
    message: String,
}

/// How an event comes.
#[derive(Clone, Copy, Debug)]
enum Form {
    Direct,
    Sns,
    Sqs,
    SnsInSqs,
    Lambda,
    Bridge,
}

const FORMS: [Form; 6] = [Form::Direct, Form::Sns, Form::Sqs, Form::SnsInSqs, Form::Lambda, Form::Bridge];

fn message(key: &str, is_there: bool, now: i128, form: Form) -> String {
    let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(now).unwrap();
    let time = time.format(&time::format_description::well_known::Rfc3339).unwrap();
    let sequencer = format!("{:018X}", now / 1_000_000);
    let records = json!({"Records": [{
        "eventVersion": "2.6", "eventSource": "aws:s3", "awsRegion": "eu-central-1", "eventTime": time,
        "eventName": if is_there { "ObjectCreated:Put" } else { "ObjectRemoved:Delete" },
        "s3": {"s3SchemaVersion": "1.0", "configurationId": "FSx", "bucket": {"name": BUCKET},
               "object": {"key": encoded, "sequencer": sequencer}},
    }]});
    let sns = |text: Value| json!({"Type": "Notification", "MessageId": "1", "Message": text.to_string()});
    let sqs = |text: Value| json!({"Messages": [{"MessageId": "1", "ReceiptHandle": "2", "Body": text.to_string()}]});
    let wrapped = match form {
        Form::Direct => records,
        Form::Sns => sns(records),
        Form::Sqs => sqs(records),
        Form::SnsInSqs => sqs(sns(records)),
        Form::Lambda => json!({"Records": [{"eventSource": "aws:sqs", "body": records.to_string()}]}),
        Form::Bridge => json!({
            "version": "0", "source": "aws.s3", "time": time,
            "detail-type": if is_there { "Object Created" } else { "Object Deleted" },
            "detail": {"version": "0", "bucket": {"name": BUCKET}, "object": {"key": key, "sequencer": sequencer}},
        }),
    };
    wrapped.to_string()
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

    /// Reads the messages, and applies what they tell of.
    fn apply(&self, bucket: &Bucket, options: &ImportOptions, events: EventTypes, told: &[Told]) -> Report {
        let backlog = backlog(told);
        block_on(apply_events(&bucket.store, &self.tree, &*self.state, options, events, &backlog, &Silent)).unwrap()
    }
}

fn backlog(told: &[Told]) -> Backlog {
    let mut backlog = Backlog::new(BUCKET, Prefix::parse(PREFIX).unwrap());
    let lines: Vec<&str> = told.iter().map(|told| &*told.message).collect();
    for notice in MessageStream::new(lines.join("\n").as_bytes()) {
        backlog.note(notice.unwrap());
    }
    backlog
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

/// What a stranger does: puts an object, or deletes what is there. How the event of it comes.
#[derive(Clone, Debug)]
struct Change {
    key: &'static str,
    object: Option<Object>,
    form: Form,
}

/// A change, and when its event comes: so many batches later, how often.
#[derive(Clone, Debug)]
struct Heard {
    change: Change,
    late: usize,
    times: usize,
}

/// Changes between two batches.
type Moment = Vec<Heard>;

const KEYS: &[&str] = &[
    "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/d", "a-", "a-/b", "a/c", "b/c/d/", "b", "a//b", "..", "a/../b", "", "a0",
];

/// Keys of which none is the file to another's directory.
const PLAIN_KEYS: &[&str] =
    &["a/", "a/b/", "a/b/c", "a/b/d", "a-", "a!/c", "a/c", "b/c/d/", "b/c/e", "a//b", "..", "a0"];

fn object(body: &str, permissions: &str, owner: &str) -> Object {
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
    Object { headers, body: body.into(), last_modified: 0 }
}

/// Rich ones are also refused, damaged, and without metadata.
fn objects(rich: bool) -> impl Strategy<Value = Object> {
    let sound = select(vec!["0100644", "0100600", "0120777"]);
    let rich_ones = select(vec!["0100644", "0100600", "0120777", "0040755", "0020600", "x", ""]);
    let permissions = if rich { rich_ones.boxed() } else { sound.boxed() };
    (select(vec!["one", "two", "three", ""]), permissions, select(vec!["0", "500"])).prop_map(
        move |(body, permissions, owner)| {
            let body = if permissions.starts_with("012") && body.is_empty() && !rich { "t" } else { body };
            object(body, permissions, owner)
        },
    )
}

/// Histories in which an event is at most so late, and so many in ten never come.
fn histories(
    keys: &'static [&'static str],
    rich: bool,
    latest: usize,
    lost: usize,
) -> impl Strategy<Value = Vec<Moment>> {
    let change = (select(keys), prop::option::weighted(0.6, objects(rich)), select(FORMS.to_vec()));
    let change = change.prop_map(|(key, object, form)| Change { key, object, form });
    let times = (0..10_usize, 1..3_usize).prop_map(move |(dice, times)| if dice < lost { 0 } else { times });
    let heard = (change, 0..=latest, times).prop_map(|(change, late, times)| Heard { change, late, times });
    vec(vec(heard, 0..4), 1..6)
}

/// Carries out a history. After each moment the events that come then are handed over, and the number of the moment.
fn play(bucket: &mut Bucket, history: &[Moment], mut each: impl FnMut(&Bucket, Vec<Told>)) {
    let last = history.iter().flatten().map(|heard| heard.late).max().unwrap_or(0);
    let mut coming = vec![Vec::new(); history.len() + last + 1];
    for moment in 0..coming.len() {
        for heard in history.get(moment).into_iter().flatten() {
            let told = bucket.change(&heard.change);
            for again in 0..heard.times {
                let at = (moment + heard.late + again).min(coming.len() - 1);
                coming[at].push(told.clone());
            }
        }
        let mut now = std::mem::take(&mut coming[moment]);
        now.reverse();
        each(bucket, now);
    }
}

/// Cuts a batch in pieces.
fn cut<'k>(told: &'k [Told], at: &Index) -> [&'k [Told]; 2] {
    let (one, other) = told.split_at(at.index(told.len() + 1));
    [one, other]
}

fn clashes() -> impl Strategy<Value = Clash> {
    prop_oneof![3 => Just(Clash::DirectoryWins), 1 => Just(Clash::FirstWins)]
}

/// A tree without what nobody can tell from the bucket: directories without an object are there for what is in them, and
/// keep what attributes they have.
fn told(tree: &Tree, bucket: &Bucket) -> Tree {
    let mut told = tree.clone();
    let is_told = |path: &str| bucket.objects.contains_key(&format!("{path}/"));
    for path in tree.keys().rev() {
        let node = &tree[path];
        if node.kind == Kind::Directory && !is_told(path) {
            let is_empty =
                !told.keys().any(|other| other.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')));
            if is_empty {
                told.remove(path);
            } else {
                let nobodys = Node { kind: Kind::Directory, mode: 0, uid: 0, gid: 0, atime: 0, mtime: 0 };
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
        history in histories(KEYS, true, 0, 0), clash in clashes(), at in any::<Index>(),
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
        history in histories(KEYS, true, 4, 0), clash in clashes(), at in any::<Index>(),
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
        history in histories(PLAIN_KEYS, false, 4, 0), at in any::<Index>(),
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
    #[test]
    fn what_is_lost_is_missing_until_its_key_is_heard_of_and_does_no_other_harm(
        history in histories(PLAIN_KEYS, false, 3, 4), at in any::<Index>(),
    ) {
        let options = options(Clash::DirectoryWins);
        let (linked, fresh) = (Link::new(), Link::new());
        let mut bucket = Bucket::new();
        play(&mut bucket, &history, |bucket, told| {
            for piece in cut(&told, &at) {
                linked.apply(bucket, &options, EventTypes::ALL, piece);
            }
        });
        // What was heard of last is as it is in the bucket, whatever was lost before and beside it.
        let last: BTreeMap<&str, bool> =
            history.iter().flatten().map(|heard| (heard.change.key, heard.times > 0)).collect();
        let tree = linked.see();
        for (key, _) in last.into_iter().filter(|(key, heard)| *heard && model::is_path(key)) {
            let node = tree.get(key.trim_end_matches('/'));
            match (bucket.objects.get(key), key.ends_with('/')) {
                (Some(_), true) => assert_eq!(node.map(|node| &node.kind), Some(&Kind::Directory), "{key}"),
                (Some(object), false) => assert!(is_of(object, node.unwrap()), "{key}: {node:?}"),
                (None, false) => assert_eq!(node, None, "{key}"),
                // It may have been made for what is in it.
                (None, true) => {}
            }
        }
        // Nobody can tell; a sweep can.
        block_on(sweep(&bucket.store, &linked.tree, &*linked.state, &options, None, &Silent)).unwrap();
        fresh.import(&bucket, &options);
        assert_eq!(told(&linked.see(), &bucket), told(&fresh.see(), &bucket));
        let again = block_on(sweep(&bucket.store, &linked.tree, &*linked.state, &options, None, &Silent)).unwrap();
        assert!(again.is_none() && again.repaired.is_empty(), "{again:?}");
    }

    #[test]
    fn a_later_event_of_each_key_repairs_what_was_lost(history in histories(KEYS, true, 2, 5), clash in clashes()) {
        let options = options(clash);
        let linked = Link::new();
        let mut bucket = Bucket::new();
        play(&mut bucket, &history, |bucket, told| {
            linked.apply(bucket, &options, EventTypes::ALL, &told);
        });
        let keys: BTreeSet<&str> = history.iter().flatten().map(|heard| heard.change.key).collect();
        let again: Vec<Told> = keys
            .into_iter()
            .map(|key| {
                let is_there = bucket.objects.contains_key(key);
                Told { key, message: message(&format!("{PREFIX}{key}"), is_there, bucket.now + 1, Form::Bridge) }
            })
            .collect();
        linked.apply(&bucket, &options, EventTypes::ALL, &again);
        let before = linked.see();
        let report = linked.import(&bucket, &options);
        assert_eq!(before, linked.see());
        assert_eq!((report.written, report.metadata_only, report.deleted), (0, 0, 0), "{:?}", report.problems);
    }

    #[test]
    fn without_deletions_events_make_the_tree_of_an_import_that_deletes_nothing(
        history in histories(KEYS, true, 0, 0), clash in clashes(), at in any::<Index>(),
    ) {
        let options = options(clash);
        let importing = options.clone().with_deletes(Deletes::Never);
        let (linked, imported) = (Link::new(), Link::new());
        let events = AutoImportPolicyType::NewChanged.events();
        play(&mut Bucket::new(), &history, |bucket, told| {
            for piece in cut(&told, &at) {
                linked.apply(bucket, &options, events, piece);
            }
            imported.import(bucket, &importing);
            assert_eq!(linked.see(), imported.see(), "after {told:?}");
        });
    }

    #[test]
    fn with_new_objects_alone_each_is_as_it_was_first_seen(
        history in histories(PLAIN_KEYS, false, 3, 2), at in any::<Index>(),
    ) {
        let options = options(Clash::DirectoryWins);
        let linked = Link::new();
        let mut first_seen = BTreeMap::<String, Object>::new();
        let mut left_out = 0;
        play(&mut Bucket::new(), &history, |bucket, told| {
            for piece in cut(&told, &at) {
                let report = linked.apply(bucket, &options, AutoImportPolicyType::New.events(), piece);
                assert_eq!((report.deleted, report.metadata_only), (0, report.metadata_only));
                left_out += report.skipped + report.gone;
                let keys = piece.iter().map(|told| told.key).filter(|key| model::is_path(key));
                for (slash, key) in keys.flat_map(|key| key.match_indices('/').map(move |(slash, _)| (slash + 1, key)).chain([(key.len(), key)])) {
                    if let Some(object) = bucket.objects.get(&key[..slash]) {
                        first_seen.entry(key[..slash].to_owned()).or_insert_with(|| object.clone());
                    }
                }
            }
        });
        let tree = linked.see();
        for (key, object) in &first_seen {
            let node = tree.get(key.trim_end_matches('/')).unwrap();
            if key.ends_with('/') {
                assert_eq!((&node.kind, node.mode), (&Kind::Directory, mode_of(object)), "{key}");
            } else {
                assert!(is_of(object, node), "{key}: {node:?}");
            }
        }
        for (path, node) in &tree {
            let is_known = first_seen.keys().any(|key| {
                key == path || node.kind == Kind::Directory && key.starts_with(&format!("{path}/"))
            });
            assert!(is_known, "{path}");
        }
    }

    #[test]
    fn with_deletions_alone_nothing_is_made_or_changed(
        before in histories(PLAIN_KEYS, false, 0, 0), history in histories(PLAIN_KEYS, false, 0, 0),
    ) {
        let options = options(Clash::DirectoryWins);
        let linked = Link::new();
        let mut bucket = Bucket::new();
        play(&mut bucket, &before, |_, _| ());
        linked.import(&bucket, &options);
        let deleted = EventTypes::NONE.with(EventType::Deleted);
        let mut at_some_time_gone = BTreeSet::new();
        let (mut expected, all) = (linked.see(), linked.see());
        play(&mut bucket, &history, |bucket, told| {
            linked.apply(bucket, &options, deleted, &told);
            let gone = told.iter().map(|told| told.key).filter(|key| !bucket.objects.contains_key(*key));
            at_some_time_gone.extend(gone);
        });
        expected.retain(|path, node| node.kind == Kind::Directory || !at_some_time_gone.contains(path.as_str()));
        let mut tree = linked.see();
        for (path, node) in &tree {
            assert_eq!(all.get(path), Some(node), "{path}");
        }
        for trees in [&mut tree, &mut expected] {
            trees.retain(|_, node| node.kind != Kind::Directory);
        }
        assert_eq!(tree, expected);
    }
}

fn mode_of(object: &Object) -> u32 {
    u32::from_str_radix(&object.headers["x-amz-meta-file-permissions"], 8).unwrap() & 0o7777
}

/// Whether a file or link is what a sound object says.
fn is_of(object: &Object, node: &Node) -> bool {
    let kind = match object.headers["x-amz-meta-file-permissions"].starts_with("012") {
        true => Kind::Link(object.body.clone()),
        false => Kind::File(object.body.clone()),
    };
    let owner: u32 = object.headers["x-amz-meta-file-owner"].parse().unwrap();
    (&node.kind, node.mode, node.uid) == (&kind, mode_of(object), owner)
}
