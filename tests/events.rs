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
    ImportOptions, Jobs, MemoryState, Report, Selection, Silent, StateStore, apply_events, import_since, sweep,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::repository::{
    Action, AutoImportPolicyType, Backlog, Creation, EventKind, EventType, EventTypes, LinkState, MessageStream,
    Misconfiguration, Notice, ObjectEvent, Overdue, Removal, Restoration, read_message,
};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{LocalTree, MemoryTree, Tree as PosixTree};
use posix_s3::{Clash, Key, Prefix, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

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
    // One after the other, so that what a listing has answered spares the next; and side by side.
    let jobs = if clash == Clash::DirectoryWins { 1 } else { 16 };
    ImportOptions::new(profile)
        .with_jobs(Jobs::new(jobs).unwrap())
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
    fn events_that_come_at_once_make_the_tree_of_an_import(history in histories(KEYS, true, 0, 0), clash in clashes()) {
        let options = options(clash);
        let (linked, imported) = (Link::new(), Link::new());
        play(&mut Bucket::new(), &history, |bucket, told| {
            linked.apply(bucket, &options, EventTypes::ALL, &told);
            imported.import(bucket, &options);
            assert_eq!(linked.see(), imported.see(), "after {told:?}");
        });
    }

    #[test]
    fn events_that_come_in_pieces_make_the_tree_of_an_import(
        history in histories(KEYS, true, 0, 0), clash in clashes(), at in any::<Index>(),
    ) {
        let options = options(clash);
        let (linked, imported) = (Link::new(), Link::new());
        play(&mut Bucket::new(), &history, |bucket, told_now| {
            for piece in cut(&told_now, &at) {
                linked.apply(bucket, &options, EventTypes::ALL, piece);
            }
            imported.import(bucket, &options);
            assert_eq!(told(&linked.see(), bucket), told(&imported.see(), bucket), "after {told_now:?}");
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
        history in histories(KEYS, true, 0, 0), clash in clashes(),
    ) {
        let options = options(clash);
        let importing = options.clone().with_deletes(Deletes::Never);
        let (linked, imported) = (Link::new(), Link::new());
        let events = AutoImportPolicyType::NewChanged.events();
        play(&mut Bucket::new(), &history, |bucket, told| {
            linked.apply(bucket, &options, events, &told);
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

// ------------------------------------------------------------------------------------------- runs cut short

/// A store of which every call fails once so many were made.
struct Failing<'s> {
    store: &'s MemoryStore,
    left: AtomicUsize,
}

impl Failing<'_> {
    fn call(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::new(operation, key, StoreErrorKind::Transient)),
        }
    }
}

impl ObjectStore for Failing<'_> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.call(Operation::List, &request.prefix)?;
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.call(Operation::Head, key)?;
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.call(Operation::Get, key)?;
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

proptest! {
    #![proptest_config(generate::cases(1000))]

    #[test]
    fn a_backlog_whose_run_failed_anywhere_is_applied_again(
        history in histories(KEYS, true, 0, 0), clash in clashes(), calls in 0..30_usize,
    ) {
        let options = options(clash);
        let linked = Link::new();
        let mut bucket = Bucket::new();
        play(&mut bucket, &history, |bucket, told| {
            let failing = Failing { store: &bucket.store, left: AtomicUsize::new(calls) };
            let backlog = backlog(&told);
            let run = apply_events(&failing, &linked.tree, &*linked.state, &options, EventTypes::ALL, &backlog, &Silent);
            let _ = block_on(run);
            linked.apply(bucket, &options, EventTypes::ALL, &told);
        });
        let before = linked.see();
        let report = linked.import(&bucket, &options);
        assert_eq!(before, linked.see());
        assert_eq!((report.written, report.metadata_only, report.deleted), (0, 0, 0), "{:?}", report.problems);
    }
}

// ----------------------------------------------------------------------------------------------- single cases

/// The only event of a message.
fn event(message: &str) -> ObjectEvent {
    match &read_message(message.as_bytes())[..] {
        [Ok(Notice::Event(event))] => event.clone(),
        other => panic!("{other:?}"),
    }
}

/// As the S3 user guide shows it.
const RECORDS: &str = r#"{
   "Records":[
      {
         "eventVersion":"2.6",
         "eventSource":"aws:s3",
         "awsRegion":"us-west-2",
         "eventTime":"1970-01-01T00:00:00.123Z",
         "eventName":"ObjectCreated:Put",
         "userIdentity":{"principalId":"AIDAJDPLRKLG7UEXAMPLE"},
         "requestParameters":{"sourceIPAddress":"172.16.0.1"},
         "responseElements":{"x-amz-request-id":"C3D13FE58DE4C810","x-amz-id-2":"FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD"},
         "s3":{
            "s3SchemaVersion":"1.0",
            "configurationId":"FSx",
            "bucket":{"name":"data","ownerIdentity":{"principalId":"A3NL1KOZZKExample"},"arn":"arn:aws:s3:::data"},
            "object":{
               "key":"p/red+flower%2B%282%29.jpg",
               "size":1024,
               "eTag":"d41d8cd98f00b204e9800998ecf8427e",
               "versionId":"096fKKXTRTtl3on89fVO.nfljtsv6qko",
               "sequencer":"0055AED6DCD90281E5"
            }
         },
         "glacierEventData":{"restoreEventData":{"lifecycleRestorationExpiryTime":"1970-01-01T00:00:00.000Z"}}
      }
   ]
}"#;

#[test]
fn a_record_of_s3_is_read_with_all_that_it_says() {
    let event = event(RECORDS);
    assert_eq!((&*event.bucket, &*event.key), ("data", "p/red flower+(2).jpg"));
    assert_eq!((event.kind, &*event.name), (EventKind::Created(Creation::Put), "ObjectCreated:Put"));
    assert_eq!(event.event_time.unwrap().nanoseconds(), 123_000_000);
    assert_eq!((event.size, event.etag.unwrap().md5().is_some()), (Some(1024), true));
    assert_eq!(event.version_id.as_deref(), Some("096fKKXTRTtl3on89fVO.nfljtsv6qko"));
    assert_eq!(event.sequencer.unwrap().to_string(), "55AED6DCD90281E5");
}

#[test]
fn the_same_record_is_read_from_sns_sqs_and_lambda() {
    let expected = event(RECORDS);
    let sns = json!({
        "Type": "Notification", "MessageId": "da41e39f-ea4d-435a-b922-c6aae3915ebe",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:FSx", "Subject": "Amazon S3 Notification", "Message": RECORDS,
        "Timestamp": "2012-04-25T21:49:25.719Z", "SignatureVersion": "1", "Signature": "…", "SigningCertURL": "https://…",
    });
    let sqs = |body: &str| {
        json!({
            "MessageId": "d6790f8d-d575-4f01-bc51-40122EXAMPLE", "ReceiptHandle": "AQEBzbVv…", "MD5OfBody": "…", "Body": body,
            "Attributes": {"ApproximateReceiveCount": "1"},
        })
    };
    let lambda = |body: &str| {
        json!({"Records": [{
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d", "receiptHandle": "AQEB…", "body": body,
            "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue", "awsRegion": "us-east-2",
        }]})
    };
    let sns_text = sns.to_string();
    for message in [
        sns.clone(),
        sqs(RECORDS),
        json!({"Messages": [sqs(RECORDS)]}),
        json!({"Messages": [sqs(&sns_text)]}),
        lambda(RECORDS),
        lambda(&sns_text),
        json!({"Records": [{"EventVersion": "1.0", "EventSource": "aws:sns", "Sns": sns}]}),
        json!([sqs(&sns_text)]),
        // Raw delivery leaves nothing but the record, and some pipes hand out one by one.
        serde_json::from_str::<Value>(RECORDS).unwrap()["Records"][0].clone(),
    ] {
        assert_eq!(event(&message.to_string()), expected, "{message}");
    }
}

#[test]
fn an_event_of_eventbridge_has_its_key_as_it_is() {
    let message = |detail_type: &str, more: Value| {
        let mut message = json!({
            "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": detail_type, "source": "aws.s3",
            "account": "111122223333", "time": "2021-11-12T00:00:00Z", "region": "ca-central-1",
            "resources": ["arn:aws:s3:::data"],
            "detail": {
                "version": "0", "bucket": {"name": "data"},
                "object": {"key": "p/a+b %2B", "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184",
                           "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "sequencer": "617f08299329d189"},
                "request-id": "N4N7GDK58NMKJ12R", "requester": "123456789012", "source-ip-address": "1.2.3.4",
            },
        });
        message["detail"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event(&message.to_string())
    };
    let created = message("Object Created", json!({"reason": "CompleteMultipartUpload"}));
    assert_eq!((&*created.key, created.kind), ("p/a+b %2B", EventKind::Created(Creation::CompleteMultipartUpload)));
    assert_eq!((&*created.name, created.size), ("Object Created", Some(5)));
    assert_eq!(created.version_id.as_deref(), Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"));
    let removed = json!({"reason": "DeleteObject", "deletion-type": "Delete Marker Created"});
    assert_eq!(message("Object Deleted", removed).kind, EventKind::Removed(Removal::DeleteMarkerCreated));
    let expired = json!({"reason": "Lifecycle Expiration", "deletion-type": "Permanently Deleted"});
    assert_eq!(message("Object Deleted", expired).kind, EventKind::LifecycleExpiration(Removal::Delete));
    assert_eq!(message("Object Restore Completed", json!({})).kind, EventKind::Restore(Restoration::Completed));
    assert_eq!(message("Object Daydreamed", json!({})).kind, EventKind::Other);
}

#[test]
fn the_first_message_of_a_subscription_is_a_test() {
    let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"data",
        "RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE"}"#;
    let in_sns = json!({"Type": "Notification", "Message": test}).to_string();
    for message in [test, &in_sns] {
        let read = read_message(message.as_bytes());
        assert_eq!(read, [Ok(Notice::Test { bucket: Some("data".into()) })]);
    }
    let confirm = json!({"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:us-west-2:123456789012:FSx",
                         "SubscribeURL": "https://…"});
    assert!(matches!(&read_message(confirm.to_string().as_bytes())[..], [Ok(Notice::Subscription { .. })]));
}

#[test]
fn minor_versions_and_unknown_fields_do_not_matter_and_unknown_events_are_kept() {
    for version in ["2.0", "2.1", "2.999", "2"] {
        let message = RECORDS.replace("2.6", version).replace("ObjectCreated:Put", "ObjectCreated:Teleport");
        assert_eq!(event(&message).kind, EventKind::Created(Creation::Other), "{version}");
    }
    let message = RECORDS.replace("ObjectCreated:Put", "ObjectDreamed:Of");
    let event = event(&message);
    assert_eq!((event.kind, &*event.name), (EventKind::Other, "ObjectDreamed:Of"));
    let mut backlog = Backlog::new(BUCKET, Prefix::parse(PREFIX).unwrap());
    backlog.push(event);
    assert_eq!((backlog.len(), backlog.counts().unknown), (1, 1));
    for version in ["1.0", "3.0", "20.1", ""] {
        let refused = read_message(RECORDS.replace("2.6", version).as_bytes());
        assert!(matches!(&refused[..], [Err(_)]), "{version}");
    }
}

#[test]
fn a_bad_record_does_not_take_its_neighbours_with_it() {
    let mut message: Value = serde_json::from_str(RECORDS).unwrap();
    let good = message["Records"][0].clone();
    let mut bad = good.clone();
    bad["s3"]["object"]["key"] = "%ff".into();
    message["Records"] = json!([good, bad, good]);
    let read = read_message(message.to_string().as_bytes());
    assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(read[1].as_ref().unwrap_err().place(), "Records[1].s3.object.key");
}

fn file<'t>(tree: &'t Tree, path: &str) -> &'t Node {
    tree.get(path).unwrap_or_else(|| panic!("{path} in {:?}", tree.keys()))
}

#[test]
fn s03_a_restarted_workload_finds_the_newest_data() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let mut told = vec![bucket.put("a", "old", "0100644"), bucket.put("a", "new", "0100644")];
    told.swap(0, 1);
    link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!(file(&link.see(), "a").kind, Kind::File(b"new".to_vec()));
    // The old one again, after everything.
    let again = link.apply(&bucket, &options, EventTypes::ALL, &told[1..]);
    assert_eq!((again.written, again.unchanged), (0, 1));
}

#[test]
fn s07_an_object_is_reachable_once_its_event_has_come() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let told = bucket.put("a/b/c", "one", "0100644");
    let report = link.apply(&bucket, &options, AutoImportPolicyType::New.events(), &[told]);
    assert_eq!((report.written, report.entries), (1, 1));
    assert_eq!(link.see().keys().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
}

#[test]
fn s14_metadata_goes_over_with_events() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let told =
        [bucket.put("a/", "", "0040700"), bucket.put("a/f", "one", "0100644"), bucket.put("a/l", "f", "0120777")];
    link.apply(&bucket, &options, EventTypes::ALL, &told);
    let told = [bucket.put("a/", "", "0040750"), bucket.put("a/f", "one", "0100600")];
    let report = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((report.metadata_only, report.written, report.store_calls.get), (2, 0, 0));
    let tree = link.see();
    assert_eq!((file(&tree, "a").mode, file(&tree, "a/f").mode), (0o750, 0o600));
    assert_eq!(file(&tree, "a/l").kind, Kind::Link(b"f".to_vec()));
}

#[test]
fn s43_a_link_whose_backlog_is_too_old_imports_nothing_by_itself_until_it_is_corrected() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let before = bucket.put("gone", "one", "0100644");
    link.apply(&bucket, &options, EventTypes::ALL, &[before]);
    let told = [bucket.put("a", "one", "0100644"), bucket.delete("gone")];
    let at = |days: i64| {
        let seconds = i64::try_from(bucket.now / 1_000_000_000).unwrap() + days * 24 * 60 * 60;
        Timestamp::from_unix(seconds, 0).unwrap()
    };
    let mut state = LinkState::creating(at(0));
    state.built(at(0)).unwrap();
    let mut waiting = backlog(&told);
    assert_eq!(waiting.expire(at(13)), Ok(()));
    let overdue = waiting.expire(at(15)).unwrap_err();
    assert_eq!((overdue.keys, waiting.len()), (2, 0));

    state.broken(Overdue::MISCONFIGURATION, overdue, at(15)).unwrap();
    assert_eq!(state.misconfiguration(), Some(Misconfiguration::Backlog));
    let refused = state.permit(Action::AutomaticImport).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no automatic import while the link is MISCONFIGURED: 2 changes that waited for up to 15 days were dropped, \
         more than 14 days"
    );
    // What was dropped is found by an import that somebody asks for; what was deleted, by a sweep that deletes.
    state.permit(Action::Import).unwrap();
    link.import(&bucket, &options.clone().with_deletes(Deletes::Never));
    assert_eq!(link.see().keys().collect::<Vec<_>>(), ["a", "gone"]);
    let drift = block_on(sweep(&bucket.store, &link.tree, &*link.state, &options, None, &Silent)).unwrap();
    assert_eq!((drift.entries(), drift.report.deleted), (1, 1));
    state.update(at(16)).unwrap();
    state.built(at(16)).unwrap();
    state.permit(Action::AutomaticImport).unwrap();
}

#[test]
fn a_directory_that_is_not_empty_is_not_removed() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let told =
        [bucket.put("d/", "", "0040755"), bucket.put("d/e/", "", "0040755"), bucket.put("d/e/f", "one", "0100644")];
    link.apply(&bucket, &options, EventTypes::ALL, &told);
    let told = [bucket.delete("d/"), bucket.delete("d/e/")];
    let report = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((report.deleted, report.skipped), (0, 2), "{:?}", report.problems);
    assert_eq!(link.see().len(), 3);
    // With the last name in them they go, since their own events have been.
    let told = bucket.delete("d/e/f");
    let report = link.apply(&bucket, &options, EventTypes::ALL, &[told]);
    assert_eq!((report.deleted, link.see().len()), (3, 0), "{:?}", report.problems);
}

#[test]
fn a_file_whose_deletion_was_lost_gives_way_when_something_below_its_name_is_heard_of() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let told = bucket.put("a", "one", "0100644");
    link.apply(&bucket, &options, EventTypes::ALL, &[told]);
    let (_lost, _also_lost) = (bucket.delete("a"), bucket.put("a/x", "one", "0100644"));
    let told = bucket.put("a/b/y", "one", "0100644");
    let report = link.apply(&bucket, &options, EventTypes::ALL, &[told]);
    assert_eq!((report.written, report.deleted, report.conflicts), (2, 1, 0), "{:?}", report.problems);
    assert_eq!(link.see().keys().collect::<Vec<_>>(), ["a", "a/b", "a/b/y", "a/x"]);
}

#[test]
fn a_file_whose_object_is_there_gives_way_to_what_is_heard_of_below_its_name_and_to_nothing_else() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let told = bucket.put("d", "one", "0100644");
    link.apply(&bucket, &options, EventTypes::ALL, &[told]);
    let below = bucket.put("d/x", "two", "0100644");
    // What is not taken over makes no room, what may not replace anything neither, nor another look at the file.
    let [changed, new] = [EventType::Changed, EventType::New].map(|event| EventTypes::NONE.with(event));
    let again = bucket.put("d", "one", "0100644");
    for (events, told) in [(changed, &below), (new, &below), (EventTypes::ALL, &again)] {
        let report = link.apply(&bucket, &options, events, std::slice::from_ref(told));
        assert_eq!((report.deleted, report.written), (0, 0), "{:?}", report.problems);
        assert_eq!(link.see().keys().collect::<Vec<_>>(), ["d"]);
    }
    let report = link.apply(&bucket, &options, EventTypes::ALL, &[below]);
    assert_eq!((report.deleted, report.written, report.conflicts), (1, 1, 0), "{:?}", report.problems);
    assert_eq!(link.see().keys().collect::<Vec<_>>(), ["d", "d/x"]);
}

#[test]
fn what_a_policy_leaves_out_is_said() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let told = [bucket.put("a", "one", "0100644"), bucket.put("b", "one", "0100644")];
    link.apply(&bucket, &options, EventTypes::ALL, &told);
    let told = [bucket.put("a", "two", "0100644"), bucket.delete("b"), bucket.put("c", "one", "0100644")];
    let apply = |events: EventTypes| {
        let report = link.apply(&bucket, &options, events, &told);
        let reasons: Vec<String> =
            report.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.reason)).collect();
        (reasons.join("; "), report.skipped, report.gone, report.written, report.deleted)
    };
    let changed_is_out = "a: its object has changed; the policy leaves out what has changed";
    let new_is_out = "c: its object is new; the policy leaves out what is new";
    assert_eq!(apply(EventTypes::NONE), (format!("{changed_is_out}; {new_is_out}"), 2, 1, 0, 0));
    assert_eq!(apply(AutoImportPolicyType::New.events()), (changed_is_out.to_owned(), 1, 1, 1, 0));
    assert_eq!(apply(AutoImportPolicyType::NewChanged.events()), (String::new(), 0, 1, 1, 0));
    assert_eq!(apply(AutoImportPolicyType::NewChangedDeleted.events()), (String::new(), 0, 0, 0, 1));
}

#[test]
fn a_key_costs_a_few_requests_whatever_is_beside_it() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let neighbours: Vec<&'static str> = (0..3000).map(|at| &*format!("d/a-{at:04}").leak()).collect();
    for neighbour in neighbours {
        bucket.put(neighbour, "one", "0100644");
    }
    let told = [bucket.put("d/a", "one", "0100644")];
    let report = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((report.written, report.store_calls.list), (1, 3));

    let fresh = Link::new();
    let selection = Selection::all().with_path(Key::parse("d/a").unwrap());
    let report = fresh.import(&bucket, &options.clone().with_selection(selection));
    assert_eq!((report.written, report.store_calls.list), (1, 2));
    // The directory's own object, and not what is in it.
    let told = [bucket.put("d/", "", "0040700")];
    let report = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((report.entries, report.store_calls.list), (1, 1));
}

#[test]
fn deep_keys_cost_little() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let deep = |at: usize| &*format!("{at:02}/{}f", "aaaa/".repeat(200)).leak();
    let told: Vec<Told> = (0..4).map(|at| bucket.put(deep(at), "one", "0100644")).collect();
    let options = options.with_jobs(Jobs::new(4).unwrap());
    let report = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((report.written, report.failed), (4, 0));
    // Each of the 201 directories on the way begins with the same key, and the listing of the outermost says so.
    assert!(report.store_calls.list < 40, "{}", report.store_calls.list);
    // So it does where there is nothing below it any more.
    let gone: Vec<Told> = (0..2).map(|at| bucket.delete(deep(at))).collect();
    let report = link.apply(&bucket, &options, EventTypes::ALL, &gone);
    assert_eq!((report.deleted, report.failed), (2, 0));
    assert!(report.store_calls.list < 40, "{}", report.store_calls.list);
}

#[test]
fn ten_thousand_keys_in_a_batch_are_no_trouble() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    let keys: Vec<&'static str> = (0..10_000).map(|at| &*format!("d/{}/f{at}", at % 10).leak()).collect();
    let told: Vec<Told> = keys.into_iter().map(|key| bucket.put(key, "one", "0100644")).collect();
    let report = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((report.written, report.failed, report.conflicts), (10_000, 0, 0));
    assert!(report.store_calls.list < 20_100, "{}", report.store_calls.list);
    let again = link.apply(&bucket, &options, EventTypes::ALL, &told);
    assert_eq!((again.unchanged, again.store_calls.get), (10_000, 0));
}

#[test]
fn a_sweep_of_one_path_repairs_that_alone() {
    let (mut bucket, link, options) = (Bucket::new(), Link::new(), options(Clash::DirectoryWins));
    for key in ["a/x", "a/y", "b/x"] {
        bucket.put(key, "one", "0100644");
    }
    let sweep = |path: Option<&str>| {
        let path = path.map(|path| Key::parse(path).unwrap());
        block_on(sweep(&bucket.store, &link.tree, &*link.state, &options, path.as_ref(), &Silent)).unwrap()
    };
    let drift = sweep(Some("a/"));
    let repaired: Vec<&str> = drift.repaired.iter().map(|key| &**key).collect();
    assert_eq!((repaired, drift.entries()), (vec!["a/x", "a/y"], 2));
    assert!(sweep(Some("a/")).is_none());
    assert_eq!(sweep(None).entries(), 1);
}

#[test]
fn events_and_an_import_make_the_same_real_directory() {
    let options = options(Clash::DirectoryWins);
    let mut bucket = Bucket::new();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let link = |root: &std::path::Path| Link {
        tree: LocalTree::open(root).unwrap(),
        state: Box::new(MemoryState::new()) as Box<dyn StateStore>,
    };
    let (linked, imported) = (link(here.path()), link(there.path()));
    let batches = [
        vec![put("a/", "", "0040750"), put("a/f", "one", "0100644"), put("l", "a/f", "0120777")],
        vec![put("a/f", "other", "0100600"), put("b/c/d", "new", "0100644"), put("x//y", "", "")],
        vec![delete("a/f"), delete("a/"), put("b/c/e", "late", "0100644")],
        vec![put("a", "now a file", "0100644"), delete("l")],
    ];
    for batch in batches {
        let mut told: Vec<Told> = batch.iter().map(|change| bucket.change(change)).collect();
        told.reverse();
        linked.apply(&bucket, &options, EventTypes::ALL, &told);
        imported.import(&bucket, &options);
        let see = |root| {
            let mut tree = told_of_disk(root, &bucket);
            // Reading a directory or a link moves its access time.
            tree.values_mut().filter(|node| !matches!(node.kind, Kind::File(_))).for_each(|node| node.atime = 0);
            tree
        };
        assert_eq!(see(here.path()), see(there.path()));
    }
    let tree = bridge::read_disk(here.path());
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["a", "b", "b/c", "b/c/d", "b/c/e"]);
    let report = linked.import(&bucket, &options);
    assert_eq!((report.written, report.metadata_only, report.deleted), (0, 0, 0));
}

#[test]
fn runs_on_events_can_be_sent_to_other_threads() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let directory = tempfile::tempdir().unwrap();
    let (bucket, options) = (Bucket::new(), options(Clash::DirectoryWins));
    let (tree, state) = (LocalTree::open(directory.path()).unwrap(), MemoryState::new());
    let backlog = backlog(&[]);
    let run = apply_events(&bucket.store, &tree, &state, &options, EventTypes::ALL, &backlog, &Silent);
    assert_eq!(block_on(is_send(run)).unwrap().entries, 0);
    let sweep = sweep(&bucket.store, &tree, &state, &options, None, &Silent);
    assert!(block_on(is_send(sweep)).unwrap().is_none());
}

fn told_of_disk(root: &std::path::Path, bucket: &Bucket) -> Tree {
    told(&bridge::read_disk(root), bucket)
}

fn put(key: &'static str, body: &str, permissions: &str) -> Change {
    Change { key, object: Some(object(body, permissions, "0")), form: Form::SnsInSqs }
}

fn delete(key: &'static str) -> Change {
    Change { key, object: None, form: Form::Bridge }
}
