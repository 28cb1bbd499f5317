//! Data on demand: what is in the store alone, what becomes of it, and that no only copy is ever lost.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::string_slice,
    reason = "a test"
)]

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use posix_s3::engine::{
    DataOptions, EndedEntry, ExportOptions, Fetch, ImportOptions, Jobs, KeptCause, MemoryState, Outcome, Progress,
    ReadError, ReleaseMode, ReleaseOptions, ReleaseReport, Report, SameTimes, Selection, Silent, archive, export,
    export_since, hsm_state, import, import_since, read, release, restore,
};
use posix_s3::plan::{Brake, Cause, Deletes, OnConflict};
use posix_s3::store::{GetOptions, MemoryStore, ObjectMeta, ObjectStore, Precondition, PutOptions, StoreErrorKind};
use posix_s3::tree::{
    Applied, LocalTree, MemoryTree, NameList, OpenFile, Place, Present, Residence, SourceError, Standing, Tree,
    TreeError, TreeErrorKind, TreeOp, UnseenUsers, Visit,
};
use posix_s3::{Attributes, ETag, Entry, Gid, HsmState, Key, KeyList, Permissions, Prefix, Profile, Timestamp, Uid};
use proptest::prelude::*;
use std::fs;
use std::future::Future;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use trouble::restamped::Restamped;

mod trouble;

const BUCKET: &str = "memory://hsm";
const PREFIX: &str = "link/";

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn prefix() -> Prefix {
    Prefix::parse(PREFIX).unwrap()
}

fn attributes(mode: u32) -> Attributes {
    let time = Timestamp::from_unix(1_000_000_000, 5).unwrap();
    let (uid, gid) = (Uid::new(me().0).unwrap(), Gid::new(me().1).unwrap());
    Attributes { permissions: Permissions::from_mode(mode), uid, gid, atime: time, mtime: time }
}

fn me() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// A link between a tree and a bucket, both in memory.
struct Link<T> {
    tree: T,
    store: MemoryStore,
    state: MemoryState,
}

impl Link<MemoryTree> {
    fn new(files: &[(&str, &'static str)]) -> Self {
        let tree = MemoryTree::new();
        for (name, content) in files {
            for (slash, _) in name.match_indices('/') {
                let directory =
                    posix_s3::Entry::new(key(&name[..=slash]), posix_s3::EntryKind::Directory, attributes(0o755));
                tree.insert(directory.unwrap()).unwrap();
            }
            tree.insert_file(key(name), *content, attributes(0o644)).unwrap();
        }
        Self { tree, store: MemoryStore::new(), state: MemoryState::new() }
    }

    fn residence(&self, name: &str) -> Residence {
        self.tree.residence(&key(name)).unwrap()
    }

    fn is_released(&self, name: &str) -> bool {
        matches!(self.residence(name), Residence::Released(_))
    }
}

fn export_options() -> ExportOptions {
    ExportOptions::new(Profile::fsx()).with_prefix(prefix()).with_bucket(BUCKET)
}

fn deleting() -> ExportOptions {
    export_options().with_deletes(Deletes::Apply(Brake::RELEASED))
}

fn import_options(data: Fetch) -> ImportOptions {
    ImportOptions::new(Profile::fsx()).with_prefix(prefix()).with_bucket(BUCKET).with_data(data)
}

fn data() -> DataOptions {
    DataOptions::new(Profile::fsx()).with_prefix(prefix()).with_bucket(BUCKET)
}

/// Wherever the tests run, there may be processes that even the superuser may not look into.
fn release_options() -> ReleaseOptions {
    ReleaseOptions::new(data()).with_unseen_users(UnseenUsers::Accept)
}

impl<T: Tree> Link<T> {
    fn over(tree: T) -> Self {
        Self { tree, store: MemoryStore::new(), state: MemoryState::new() }
    }

    fn export(&self) -> Report {
        self.export_as(&export_options())
    }

    fn export_as(&self, options: &ExportOptions) -> Report {
        block_on(export_since(&self.tree, &self.store, &self.state, options, &Silent)).unwrap()
    }

    fn import(&self, data: Fetch) -> Report {
        let options = import_options(data);
        block_on(import_since(&self.store, &self.tree, &self.state, &options, &Silent)).unwrap()
    }

    fn release(&self) -> ReleaseReport {
        self.release_as(&release_options(), self.tree.now())
    }

    fn release_as(&self, options: &ReleaseOptions, now: Timestamp) -> ReleaseReport {
        block_on(release(&self.tree, &self.store, &self.state, options, now, &Silent)).unwrap()
    }

    fn restore(&self) -> Report {
        block_on(restore(&self.tree, &self.store, Some(&self.state), &data(), &Silent)).unwrap()
    }

    fn read(&self, name: &str) -> Result<Bytes, ReadError> {
        block_on(async {
            let file = read(&self.tree, &self.store, Some(&self.state), &data(), &key(name)).await?;
            let size = usize::try_from(file.found().entry.object_size()).unwrap();
            Ok(file.read(0, size).await?)
        })
    }

    fn state_of(&self, name: &str) -> HsmState {
        block_on(hsm_state(&self.tree, &self.state, &data(), &key(name))).unwrap()
    }

    fn body(&self, name: &str) -> Option<Bytes> {
        body(&self.store, name)
    }

    fn head(&self, name: &str) -> ObjectMeta {
        block_on(self.store.head(&format!("{PREFIX}{name}"))).unwrap()
    }

    fn put(&self, name: &str, content: &'static str) -> ETag {
        let mut options = PutOptions::default();
        let (uid, gid) = me();
        for (name, value) in [
            ("x-amz-meta-file-permissions", "0100640".to_owned()),
            ("x-amz-meta-file-owner", uid.to_string()),
            ("x-amz-meta-file-group", gid.to_string()),
            ("x-amz-meta-file-mtime", "1000000000000000000ns".to_owned()),
        ] {
            options.headers.insert(name, value.parse().unwrap());
        }
        let body = Bytes::from_static(content.as_bytes()).into();
        block_on(self.store.put(&format!("{PREFIX}{name}"), body, &options)).unwrap().etag
    }

    fn delete(&self, name: &str) {
        block_on(self.store.delete(&format!("{PREFIX}{name}"), &Precondition::None)).unwrap();
    }
}

fn body(store: &MemoryStore, name: &str) -> Option<Bytes> {
    use futures_util::TryStreamExt;
    block_on(async {
        match store.get(&format!("{PREFIX}{name}"), &GetOptions::default()).await {
            Ok(output) => Some(output.body.try_collect::<Vec<Bytes>>().await.unwrap().concat().into()),
            Err(error) if error.kind() == StoreErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    })
}

fn causes(report: &ReleaseReport) -> Vec<(&str, KeptCause)> {
    report.reasons.iter().map(|kept| (&*kept.key, kept.cause)).collect()
}

fn bits(state: u32) -> HsmState {
    HsmState::new(state).unwrap()
}

// ----------------------------------------------------------------------------------------- metadata first, data on demand

#[test]
fn s07_every_object_is_reachable_through_the_tree_with_its_data_when_it_is_read() {
    let link = Link::new(&[]);
    for (name, content) in [("a", "hello"), ("d/b", "world"), ("empty", "")] {
        link.put(name, content);
    }
    let report = link.import(Fetch::OnDemand);
    assert_eq!((report.metadata_only, report.written, report.bytes), (2, 1, 0));
    assert_eq!((report.store_calls.get, report.problems.len()), (1, 0), "of the empty one");
    let found = block_on(link.tree.lookup(&key("a"))).unwrap();
    let entry = found.entry().unwrap();
    assert_eq!((entry.object_size(), entry.attributes().permissions), (5, Permissions::from_mode(0o640)));
    assert_eq!((link.state_of("a"), link.state_of("empty")), (HsmState::ON_DEMAND, HsmState::SYNCED));
    assert_eq!(link.read("d/b").unwrap(), "world");
    assert_eq!((link.state_of("d/b"), link.is_released("a")), (HsmState::SYNCED, true));
    // Neither the one nor the other is anything to be sent, and what was read is not fetched again.
    let report = link.export();
    assert_eq!((report.store_calls.put, report.store_calls.copy, report.problems.len()), (0, 0, 0));
    assert_eq!(link.import(Fetch::OnDemand).unchanged, 3);
    let report = link.restore();
    assert_eq!((report.written, report.unchanged, report.store_calls.get), (1, 3, 1));
    assert_eq!(link.read("a").unwrap(), "hello");
}

#[test]
fn s01_a_bucket_larger_than_the_disk_is_loaded_without_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let link = Link::over(LocalTree::open(directory.path()).unwrap());
    for name in ["a", "d/b", "d/c"] {
        link.put(name, "hello, world");
    }
    assert_eq!(link.import(Fetch::OnDemand).metadata_only, 3);
    let metadata = fs::metadata(directory.path().join("d/b")).unwrap();
    // An extended attribute may take a block of its own.
    assert!(metadata.len() == 12 && metadata.blocks() <= 8);
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 0));
    assert_eq!(link.read("d/b").unwrap(), "hello, world");
    assert_eq!(fs::read(directory.path().join("d/b")).unwrap(), b"hello, world");
    assert_eq!(link.state_of("d/c"), HsmState::ON_DEMAND);
    let report = link.export();
    assert_eq!((report.store_calls.put, report.store_calls.copy, report.problems.len()), (0, 0, 0));
}

#[test]
fn an_object_that_has_changed_renews_its_placeholder() {
    let link = Link::new(&[]);
    link.put("a", "hello");
    link.import(Fetch::OnDemand);
    let etag = link.put("a", "other text");
    assert_eq!(link.import(Fetch::OnDemand).metadata_only, 1);
    assert!(
        matches!(link.residence("a"), Residence::Released(released) if released.etag == etag && released.size == 10)
    );
    link.put("a", "third");
    assert_eq!(link.import(Fetch::Now).written, 1);
    assert_eq!(link.residence("a"), Residence::Here);
    // What is here and has changed there is a placeholder again.
    link.put("a", "fourth");
    assert_eq!(link.import(Fetch::OnDemand).metadata_only, 1);
    assert_eq!(link.read("a").unwrap(), "fourth");
}

#[test]
fn an_object_whose_attributes_have_changed_stays_where_it_is() {
    for now in [Fetch::Now, Fetch::OnDemand] {
        let link = Link::new(&[]);
        link.put("a", "hello");
        link.import(Fetch::OnDemand);
        let mut headers = link.head("a").headers;
        headers.insert("x-amz-meta-file-permissions", "0100600".parse().unwrap());
        headers.insert("x-amz-meta-file-mtime", "7000000000ns".parse().unwrap());
        let options = PutOptions { headers, ..PutOptions::default() };
        block_on(link.store.replace_metadata("link/a", &options)).unwrap();
        let report = link.import(now);
        assert_eq!((report.metadata_only, report.store_calls.get), (1, 0));
        assert!(link.is_released("a"));
        let found = block_on(link.tree.lookup(&key("a"))).unwrap();
        assert_eq!(found.entry().unwrap().attributes().mtime, Timestamp::from_unix(7, 0).unwrap());
        assert_eq!(link.import(now).unchanged, 1);
    }
}

#[test]
fn without_a_state_a_placeholder_of_the_same_times_is_told_from_the_object() {
    let link = Link::new(&[]);
    link.put("a", "hello");
    let import = |data| block_on(import(&link.store, &link.tree, &import_options(data), &Silent)).unwrap();
    assert_eq!(import(Fetch::OnDemand).metadata_only, 1);
    assert_eq!((import(Fetch::OnDemand).unchanged, import(Fetch::Now).unchanged), (1, 1));
    link.put("a", "HELLO");
    assert_eq!(import(Fetch::OnDemand).metadata_only, 1);
    assert_eq!(link.read("a").unwrap(), "HELLO");
}

#[test]
fn a_file_whose_object_is_archived_has_its_metadata_and_a_warning() {
    let link = Link::new(&[]);
    let archived = PutOptions {
        headers: [("x-amz-storage-class", "GLACIER")]
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect(),
        ..PutOptions::default()
    };
    block_on(link.store.put("link/a", Bytes::from_static(b"hello").into(), &archived)).unwrap();
    let report = link.import(Fetch::OnDemand);
    assert_eq!((report.metadata_only, report.problems.len()), (1, 1));
    assert!(report.problems[0].reason.contains("archived"));
    assert!(link.is_released("a"));
}

// ------------------------------------------------------------------------------------------------------------- release

#[test]
fn what_is_exported_and_unchanged_is_released_and_nothing_else_is() {
    let link =
        Link::new(&[("a", "hello"), ("d/b", "world"), ("dirty", "1"), ("linked", "2"), ("lost", "3"), ("empty", "")]);
    link.tree.link(&key("linked"), &key("linked2")).unwrap();
    link.export();
    link.tree.set_content(&key("dirty"), "!").unwrap();
    link.tree.insert_file(key("new"), "4", attributes(0o600)).unwrap();
    link.put("d/b", "WORLD");
    link.delete("lost");
    let before = link.tree.entries();
    let foreseen = link.release_as(&ReleaseOptions::new(data()).with_mode(ReleaseMode::Foresee), link.tree.now());
    assert_eq!((foreseen.released, foreseen.bytes, foreseen.store_calls.get), (1, 5, 0));
    assert_eq!(link.tree.entries(), before);
    let report = link.release();
    assert_eq!((report.entries, report.released, report.kept, report.bytes), (9, 1, 8, 5));
    assert_eq!(
        causes(&report),
        [
            ("d/", KeptCause::NotAFile),
            ("d/b", KeptCause::ObjectChanged),
            ("dirty", KeptCause::Dirty),
            ("empty", KeptCause::Empty),
            ("linked", KeptCause::HardLinked),
            ("linked2", KeptCause::HardLinked),
            ("lost", KeptCause::ObjectGone),
            ("new", KeptCause::NeverExported),
        ]
    );
    assert!(link.is_released("a"));
    let report = link.release();
    assert_eq!((report.released, report.already, report.kept), (0, 1, 8));
    assert_eq!(link.state_of("a"), bits(0x0d));
    assert_eq!((link.state_of("dirty"), link.state_of("new"), link.state_of("linked")), (bits(0x0b), bits(0), bits(9)));
}

#[test]
fn after_a_release_an_export_and_an_import_have_nothing_to_do() {
    let link = Link::new(&[("a", "hello"), ("d/b", "world")]);
    link.export();
    assert_eq!(link.release().released, 2);
    for _ in 0..2 {
        let report = link.export();
        assert_eq!((report.store_calls.put, report.store_calls.copy, report.unchanged), (0, 0, 3));
        let report = link.import(Fetch::Now);
        assert_eq!((report.unchanged, report.store_calls.get), (3, 0));
        assert!(link.is_released("a") && link.is_released("d/b"));
    }
    // Nor has one that knows of nothing.
    let report = block_on(export(&link.tree, &link.store, &export_options(), &Silent)).unwrap();
    assert_eq!((report.unchanged, report.written), (2, 1), "the directory is put");
    let state = MemoryState::new();
    let report = block_on(export_since(&link.tree, &link.store, &state, &export_options(), &Silent)).unwrap();
    assert_eq!((report.unchanged, report.written, report.problems.len()), (3, 0, 0));
    assert_eq!((link.body("a").unwrap(), link.body("d/b").unwrap()), ("hello".into(), "world".into()));
    assert_eq!(link.restore().written, 2);
    let report = link.export();
    assert_eq!((report.store_calls.put, report.store_calls.copy, report.unchanged), (0, 0, 3));
}

#[test]
fn the_age_of_a_file_counts_from_its_last_use() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    let day = |days: i64, nanos| Timestamp::from_unix(1_000_000_000 + days * 86_400, nanos).unwrap();
    let options = ReleaseOptions::new(data()).with_minimum_days(9);
    // Its mtime and atime are five nanoseconds later.
    assert_eq!(causes(&link.release_as(&options, day(9, 5))), [("a", KeptCause::Recent)]);
    assert_eq!(link.release_as(&options, day(9, 6)).released, 1);
}

#[test]
fn only_the_selected_part_is_released() {
    let link = Link::new(&[("a", "1"), ("d/b", "2"), ("d/c", "3"), ("e", "4")]);
    link.export();
    let selection = Selection::all().with_path(key("d/")).with_path(key("a")).with_exclude("*c").unwrap();
    let report = link.release_as(&ReleaseOptions::new(data().with_selection(selection)), link.tree.now());
    assert_eq!((report.released, report.entries), (2, 3));
    assert!(link.is_released("a") && link.is_released("d/b") && !link.is_released("d/c") && !link.is_released("e"));
}

#[test]
fn a_crash_behind_a_release_leaves_nothing_to_be_sent() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    // The state is the one from before, as if the process had ended before anything was recorded.
    let part = posix_s3::engine::Part::Snapshot;
    let before = link.state.get(part).unwrap();
    assert_eq!(link.release().released, 1);
    link.state.set(part, before);
    let report = link.export();
    assert_eq!((report.store_calls.put, report.store_calls.copy, report.unchanged), (0, 0, 1));
    assert_eq!(link.read("a").unwrap(), "hello");
}

#[test]
fn a_file_is_archived_released_and_restored_by_name() {
    let link = Link::new(&[("a", "hello"), ("b", "world")]);
    block_on(archive(&link.tree, &link.store, &link.state, &export_options(), &key("a"), &Silent)).unwrap();
    assert_eq!((link.state_of("a"), link.state_of("b")), (bits(0x09), bits(0)));
    assert_eq!(link.release().released, 1);
    assert_eq!(link.state_of("a"), bits(0x0d));
    assert_eq!(link.restore().written, 1);
    assert_eq!(link.state_of("a"), bits(0x09));
    link.tree.set_content(&key("a"), "HELLO").unwrap();
    assert_eq!(link.state_of("a"), bits(0x0b));
}

// ------------------------------------------------------------------------------------- what becomes of a placeholder

#[test]
fn an_object_that_is_gone_leaves_the_file_lost_until_it_comes_back() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    link.release();
    let object = link.body("a").unwrap();
    let headers = link.head("a").headers;
    link.delete("a");
    assert!(matches!(link.read("a"), Err(ReadError::Unavailable { reason, .. }) if reason.contains("lost")));
    assert_eq!((link.state_of("a"), link.is_released("a")), (bits(0x4d), true));
    assert_eq!(link.restore().failed, 1);
    // It is sent under no circumstances.
    assert_eq!(link.export().written, 0);
    let options = export_options().with_on_conflict(OnConflict::Local);
    let report = link.export_as(&options);
    assert_eq!(link.body("a"), None, "{report:?}");
    block_on(link.store.put("link/a", object.into(), &PutOptions { headers, ..PutOptions::default() })).unwrap();
    assert_eq!(link.read("a").unwrap(), "hello");
    assert!(!link.state_of("a").has(HsmState::LOST));
}

#[test]
fn another_object_is_not_taken_for_the_one_that_was_released() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    link.release();
    link.put("a", "other");
    let report = link.restore();
    assert_eq!((report.conflicts, report.problems[0].outcome), (1, Outcome::Conflict));
    assert!(link.is_released("a"));
    for on_conflict in [OnConflict::Fail, OnConflict::Local, OnConflict::KeepBoth] {
        link.export_as(&export_options().with_on_conflict(on_conflict));
        assert_eq!(link.body("a").unwrap(), "other");
    }
    assert_eq!(link.import(Fetch::OnDemand).metadata_only, 1);
    assert_eq!(link.read("a").unwrap(), "other");
}

#[test]
fn other_attributes_of_a_placeholder_are_sent_without_its_data() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    link.release();
    link.tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
    let report = link.export();
    assert_eq!((report.metadata_only, report.store_calls.put, report.store_calls.copy), (1, 0, 1));
    assert_eq!(link.head("a").headers["x-amz-meta-file-permissions"], "0100600");
    assert!(link.is_released("a") && link.body("a").unwrap() == "hello");
    // Also by an export that knows of nothing.
    link.tree.set_attributes(&key("a"), attributes(0o640)).unwrap();
    let report = block_on(export(&link.tree, &link.store, &export_options(), &Silent)).unwrap();
    assert_eq!((report.metadata_only, report.store_calls.put), (1, 0));
    assert_eq!(link.read("a").unwrap(), "hello");
}

#[test]
fn a_placeholder_under_another_name_is_fetched_and_sent_before_its_object_goes() {
    for stateless in [false, true] {
        let link = Link::new(&[("a", "hello"), ("z", "world")]);
        link.export();
        link.release();
        link.tree.rename(&key("a"), &key("b")).unwrap();
        link.tree.rename(&key("z"), &key("a")).unwrap();
        if stateless {
            let report = block_on(export(&link.tree, &link.store, &export_options(), &Silent)).unwrap();
            assert_eq!((report.written, report.problems), (2, vec![]));
        } else {
            let report = link.export_as(&deleting());
            assert_eq!((report.written, report.deleted, report.problems), (2, 1, vec![]));
            assert_eq!(link.body("z"), None);
        }
        assert_eq!((link.body("a").unwrap(), link.body("b").unwrap()), ("world".into(), "hello".into()));
        assert_eq!((link.read("a").unwrap(), link.read("b").unwrap()), ("world".into(), "hello".into()));
    }
}

#[test]
fn a_new_file_under_the_old_name_of_a_placeholder_does_not_cost_its_data() {
    for stateless in [false, true] {
        let link = Link::new(&[("a", "hello")]);
        link.export();
        link.release();
        link.tree.rename(&key("a"), &key("z")).unwrap();
        link.tree.insert_file(key("a"), "new", attributes(0o644)).unwrap();
        if stateless {
            block_on(export(&link.tree, &link.store, &export_options(), &Silent)).unwrap();
        } else {
            link.export_as(&deleting());
        }
        assert_eq!((link.body("a").unwrap(), link.body("z").unwrap()), ("new".into(), "hello".into()));
    }
}

#[test]
fn the_object_of_a_placeholder_that_was_renamed_away_from_the_selection_stays() {
    let link = Link::new(&[("d/a", "hello"), ("e/x", "")]);
    link.export();
    link.release();
    link.tree.rename(&key("d/a"), &key("e/b")).unwrap();
    let part = deleting().with_selection(Selection::all().with_path(key("d/")));
    let report = link.export_as(&part);
    assert_eq!((report.deleted, report.skipped), (0, 1));
    assert!(report.problems[0].reason.contains("\"e/b\" has its data in this object alone"), "{:?}", report.problems);
    link.tree.insert_file(key("d/a"), "new", attributes(0o644)).unwrap();
    let report = link.export_as(&part);
    assert_eq!((report.written, report.conflicts), (0, 1), "{report:?}");
    assert_eq!(link.body("d/a").unwrap(), "hello");
    let report = link.export_as(&deleting());
    assert_eq!(report.problems, []);
    assert_eq!((link.body("d/a").unwrap(), link.body("e/b").unwrap()), ("new".into(), "hello".into()));
}

#[test]
fn a_placeholder_that_was_written_to_is_a_conflict_unless_every_byte_was() {
    let zeros_and_one = "\0\0\0\0o";
    for (content, outcome) in [
        (zeros_and_one, None),
        ("h\0llo", None),
        ("other", Some("other")),
        ("longer text", Some("longer text")),
        ("", Some("")),
    ] {
        let link = Link::new(&[("a", "hello")]);
        link.export();
        link.release();
        link.tree.set_content(&key("a"), content).unwrap();
        assert!(matches!(link.residence("a"), Residence::Written(_)));
        assert_eq!(link.state_of("a"), bits(0x0b));
        let stateless = block_on(export(&link.tree, &MemoryStore::new(), &export_options(), &Silent)).unwrap();
        assert_eq!(stateless.conflicts, u64::from(outcome.is_none()));
        assert_eq!(link.restore().conflicts, 1);
        assert_eq!(causes(&link.release())[0].1, if content.is_empty() { KeptCause::Empty } else { KeptCause::Dirty });
        link.import(Fetch::Now);
        let report = link.export();
        assert_eq!(report.conflicts, u64::from(outcome.is_none()), "{content:?} {report:?}");
        assert_eq!(link.body("a").unwrap(), outcome.unwrap_or("hello"));
        assert_eq!(link.tree.entries()[0].1, content);
    }
}

#[test]
fn a_placeholder_whose_mtime_was_set_is_not_guessed_about() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    link.release();
    link.tree.set_attributes(&key("a"), Attributes { mtime: Timestamp::EPOCH, ..attributes(0o644) }).unwrap();
    assert_eq!((link.export().conflicts, link.restore().conflicts), (1, 1));
    link.tree.set_attributes(&key("a"), attributes(0o644)).unwrap();
    assert_eq!((link.export().unchanged, link.restore().written), (1, 1));
}

#[test]
fn a_placeholder_that_is_removed_is_deleted_like_any_file() {
    let link = Link::new(&[("a", "hello"), ("b", "world")]);
    link.export();
    link.release();
    link.tree.remove(&key("a"));
    let report = link.export_as(&deleting());
    assert_eq!((report.deleted, link.body("a")), (1, None));
    // And its object that is gone takes it along, if that is wanted.
    link.delete("b");
    let options = import_options(Fetch::Now).with_deletes(Deletes::Apply(Brake::RELEASED));
    let report = block_on(import_since(&link.store, &link.tree, &link.state, &options, &Silent)).unwrap();
    assert_eq!((report.deleted, link.tree.entries().len()), (1, 0));
}

#[test]
fn a_copy_of_a_placeholder_that_lost_its_mark_is_not_sent_unless_the_tree_wins() {
    for in_parts in [false, true] {
        let link = Link::new(&[("a", "hello"), ("b", "other")]);
        let store = Restamped::default();
        let export = |options: &ExportOptions| match in_parts {
            // Its ETags are no digests.
            true => block_on(export_since(&link.tree, &store, &link.state, options, &Silent)).unwrap(),
            false => link.export_as(options),
        };
        let body = |name| if in_parts { body(&store.store, name) } else { link.body(name) };
        export(&export_options());
        let released = ReleaseOptions::new(data());
        match in_parts {
            true => block_on(release(&link.tree, &store, &link.state, &released, link.tree.now(), &Silent)).unwrap(),
            false => link.release(),
        };
        // `cp -p b t && mv t b` of one so small that `cp` writes zeros.
        link.tree.insert_file(key("b"), "\0\0\0\0\0", attributes(0o644)).unwrap();
        assert_eq!(export(&export_options()).problems[0].cause, Cause::Hole);
        assert_eq!(body("b").unwrap(), "other");
        link.tree.remove(&key("b"));
        // `cp -p a t && mv t a`, and a copy beside it.
        link.tree.insert_hole(key("a"), 5, attributes(0o644)).unwrap();
        link.tree.insert_hole(key("copy"), 5, attributes(0o644)).unwrap();
        for same_times in [SameTimes::Compare, SameTimes::Trust, SameTimes::Compare] {
            let report = export(&export_options().with_same_times(same_times));
            assert_eq!((report.conflicts, report.written), (2, 0), "{report:?}");
            assert!(report.problems.iter().all(|problem| problem.cause == Cause::Hole));
            assert!(report.problems[0].reason.contains("with the tree winning"), "{report:?}");
        }
        assert_eq!((body("a"), body("copy")), (Some("hello".into()), None));
        let report = export(&export_options().with_on_conflict(OnConflict::Local));
        assert_eq!((report.written, report.problems), (2, vec![]));
        assert_eq!((body("a").unwrap(), body("copy").unwrap()), ("\0\0\0\0\0".into(), "\0\0\0\0\0".into()));
        // From now on that is what both sides agree on.
        link.tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
        let report = export(&export_options());
        assert_eq!((report.metadata_only, report.problems), (1, vec![]));
    }
}

#[test]
fn an_import_in_which_the_store_wins_replaces_a_copy_that_lost_its_mark() {
    let link = Link::new(&[("a", "hello")]);
    link.export();
    link.release();
    link.tree.insert_hole(key("a"), 5, attributes(0o644)).unwrap();
    assert_eq!(link.import(Fetch::Now).unchanged, 1, "only this side has changed");
    link.put("a", "newer");
    let report = link.import(Fetch::Now);
    assert_eq!((report.conflicts, report.problems[0].cause), (1, Cause::Hole));
    let options = import_options(Fetch::Now).with_on_conflict(OnConflict::Store);
    block_on(import_since(&link.store, &link.tree, &link.state, &options, &Silent)).unwrap();
    assert_eq!(link.read("a").unwrap(), "newer");
}

#[test]
fn what_was_written_over_a_placeholder_is_sent_when_the_tree_wins() {
    for content in ["PNG\0\0data", "h\0llo"] {
        let link = Link::new(&[("a", "hello")]);
        link.export();
        link.release();
        link.tree.set_content(&key("a"), content).unwrap();
        let report = link.export();
        assert!(report.conflicts == 1 && report.problems[0].reason.contains("with the tree winning"), "{report:?}");
        let report = link.export_as(&export_options().with_on_conflict(OnConflict::Local));
        assert_eq!((report.written, report.problems), (1, vec![]));
        assert_eq!(link.body("a").unwrap(), content);
        link.tree.set_attributes(&key("a"), Attributes { mtime: link.tree.now(), ..attributes(0o600) }).unwrap();
        for _ in 0..2 {
            assert_eq!(link.export().problems, [], "it is what both sides agree on");
        }
        assert_eq!(link.body("a").unwrap(), content);
    }
    // But not what nobody has written.
    let link = Link::new(&[("a", "hello")]);
    link.export();
    link.release();
    link.tree.set_attributes(&key("a"), Attributes { mtime: Timestamp::EPOCH, ..attributes(0o644) }).unwrap();
    assert_eq!(link.export_as(&export_options().with_on_conflict(OnConflict::Local)).conflicts, 1);
    assert_eq!(link.body("a").unwrap(), "hello");
}

#[test]
fn a_copy_that_gives_an_object_another_etag_marks_its_placeholder_anew() {
    for lost_reply in [false, true] {
        let Link { tree, state, .. } = Link::new(&[("a", "hello")]);
        let loses = lost_reply.into();
        let store = Restamped { loses, ..Restamped::default() };
        let export = || block_on(export_since(&tree, &store, &state, &export_options(), &Silent)).unwrap();
        export();
        let options = ReleaseOptions::new(data());
        assert_eq!(block_on(release(&tree, &store, &state, &options, tree.now(), &Silent)).unwrap().released, 1);
        tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
        let report = export();
        assert_eq!((report.metadata_only, report.failed), (u64::from(!lost_reply), u64::from(lost_reply)));
        if lost_reply {
            // The next run sees that the copy was its own.
            let report = export();
            assert_eq!((report.failed, report.conflicts, report.store_calls.put), (0, 0, 0), "{report:?}");
        }
        assert_eq!(export().unchanged, 1);
        let report = block_on(restore(&tree, &store, Some(&state), &data(), &Silent)).unwrap();
        assert_eq!((report.written, report.problems), (1, vec![]));
        assert_eq!(tree.entries()[0].1, "hello");
        let report = export();
        assert_eq!((report.unchanged, report.store_calls.put), (1, 0), "{report:?}");
    }
}

// ------------------------------------------------------------------------------------------ behind the back of an export

/// A tree in which something happens just before a call: the name of it and the key, of which it is the nth.
struct Watched<T> {
    tree: T,
    calls: Mutex<Vec<String>>,
    /// What may not be read.
    denied: Option<Key>,
    event: Mutex<Option<Event<T>>>,
}

type Event<T> = (String, usize, Box<dyn FnOnce(&T) + Send>);

impl<T> Watched<T> {
    fn over(tree: T) -> Self {
        Self { tree, calls: Mutex::default(), denied: None, event: Mutex::default() }
    }

    /// The same tree, in which something is going to happen.
    fn before(self, call: &str, nth: usize, event: impl FnOnce(&T) + Send + 'static) -> Self {
        self.calls.lock().unwrap().clear();
        *self.event.lock().unwrap() = Some((call.to_owned(), nth, Box::new(event)));
        self
    }

    fn call(&self, call: &str, key: &str) {
        let call = format!("{call} {key}");
        let mut calls = self.calls.lock().unwrap();
        calls.push(call.clone());
        let nth = calls.iter().filter(|other| **other == call).count();
        let event = self.event.lock().unwrap().take_if(|(at, on, _)| *at == call && *on == nth);
        if let Some((_, _, event)) = event {
            event(&self.tree);
        }
    }

    fn has_happened(&self) -> bool {
        self.event.lock().unwrap().is_none()
    }
}

impl<T: Tree> Tree for Watched<T> {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.call("list", directory.map_or("", Key::as_str));
        self.tree.list(directory).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        self.call("look", "");
        self.tree.look(keys, place, visitor).await
    }

    fn now(&self) -> Timestamp {
        self.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        self.tree.identity()
    }

    fn keeps_directory_times(&self) -> bool {
        self.tree.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.tree.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.tree.lookup(key).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        self.call("open", key.as_str());
        if self.denied.as_ref() == Some(key) {
            return Err(TreeError::new("opening", key.as_str().as_bytes(), TreeErrorKind::Denied));
        }
        self.tree.open(key).await
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.call("write", entry.key().as_str());
        self.tree.write_file(entry, body, standing).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        if let TreeOp::CreatePlaceholder { entry, .. } = op {
            self.call("place", entry.key().as_str());
        }
        self.tree.apply(op).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.tree.begin().await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.call("sync", "");
        self.tree.sync().await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.tree.finish().await
    }
}

/// As few things at once as can be, so that it is known when what happens.
fn one_by_one(options: ExportOptions) -> ExportOptions {
    options.with_jobs(Jobs::ONE).with_lookers(Jobs::ONE)
}

#[test]
fn a_directory_that_is_renamed_behind_the_look_costs_no_only_copy() {
    // Before and in each of the looks, when the export itself begins, and in the middle of it.
    for (call, nth) in (1..5).map(|nth| ("list ", nth)).chain((1..9).map(|nth| ("look ", nth))) {
        let link = Link::new(&[("dir/a", "only copy"), ("other/a", "something else")]);
        link.export();
        let part = data().with_selection(Selection::all().with_path(key("dir/a")));
        assert_eq!(link.release_as(&ReleaseOptions::new(part), link.tree.now()).released, 1);
        link.export();
        let Link { tree, store, state } = link;
        let tree = Watched::over(tree).before(call, nth, |tree: &MemoryTree| {
            tree.rename(&key("dir/"), &key("zdir/")).unwrap();
            tree.rename(&key("other/"), &key("dir/")).unwrap();
        });
        let link = Link { tree, store, state };
        link.export_as(&one_by_one(export_options()));
        for _ in 0..2 {
            link.export_as(&one_by_one(export_options()));
        }
        let moved = if link.tree.has_happened() { "zdir/a" } else { "dir/a" };
        *link.tree.event.lock().unwrap() = None;
        assert_eq!(link.restore().problems, [], "{call} {nth}");
        let held = |name: &str| link.tree.tree.entries().into_iter().find(|(entry, _)| *entry.key() == key(name));
        assert_eq!(held(moved).unwrap().1, "only copy", "{call} {nth}");
        assert_eq!(link.body(moved).unwrap(), "only copy", "{call} {nth}");
    }
}

#[test]
fn a_file_that_may_not_be_read_keeps_only_objects_of_its_size() {
    let link = Link::new(&[("a", "one"), ("b", "two"), ("c", "four"), ("d", "five"), ("p", "placeholder")]);
    link.export();
    let part = data().with_selection(Selection::all().with_path(key("p")));
    link.release_as(&ReleaseOptions::new(part), link.tree.now());
    link.export();
    link.tree.insert_file(key("a"), "1", attributes(0o644)).unwrap();
    link.tree.insert_file(key("c"), "4", attributes(0o644)).unwrap();
    link.tree.remove(&key("b"));
    link.tree.remove(&key("d"));
    link.tree.insert_file(key("secret"), "9876", attributes(0)).unwrap();
    let Link { tree, store, state } = link;
    let link = Link { tree: Watched { denied: Some(key("secret")), ..Watched::over(tree) }, store, state };
    let report = link.export_as(&deleting());
    assert_eq!((report.written, report.deleted), (1, 1), "{report:?}");
    assert_eq!((link.body("a").unwrap(), link.body("b")), ("1".into(), None));
    assert_eq!((link.body("c").unwrap(), link.body("d").unwrap()), ("four".into(), "five".into()));
    let kept = report.problems.iter().filter(|problem| problem.cause == Cause::OnlyCopy).collect::<Vec<_>>();
    assert!(kept.len() == 2 && kept.iter().all(|problem| problem.reason.contains("\"secret\"")), "{report:?}");
    let link = Link { tree: Watched::over(link.tree.tree), ..link };
    let report = link.export_as(&deleting());
    assert_eq!((report.written, report.deleted, report.problems), (2, 1, vec![]));
}

#[test]
fn a_busy_directory_is_not_taken_for_one_that_was_renamed() {
    let link = Link::new(&[("d/a", "hello"), ("d/p", "placeholder")]);
    link.export();
    let part = data().with_selection(Selection::all().with_path(key("d/p")));
    link.release_as(&ReleaseOptions::new(part), link.tree.now());
    link.export();
    link.tree.set_content(&key("d/a"), "other").unwrap();
    let Link { tree, store, state } = link;
    let tree = Watched::over(tree).before("list ", 3, |tree: &MemoryTree| {
        tree.insert_file(key("d/new"), "new", attributes(0o644)).unwrap();
    });
    let link = Link { tree, store, state };
    let report = link.export_as(&one_by_one(export_options()));
    assert!(link.tree.has_happened());
    // The new one does not replace anything; what has changed is not looked for once more.
    assert_eq!((report.problems, link.body("d/a").unwrap()), (vec![], "other".into()));
    let looks = link.tree.calls.lock().unwrap().iter().filter(|call| **call == "list ").count();
    assert_eq!(looks, 3, "two to find placeholders, and the export");
}

#[test]
fn a_renamed_placeholder_is_kept_beside_the_object_of_a_stranger() {
    let link = Link::new(&[("a", "only copy")]);
    link.export();
    link.release();
    link.tree.rename(&key("a"), &key("c")).unwrap();
    link.put("c", "stranger");
    let options = import_options(Fetch::Now).with_on_conflict(OnConflict::KeepBoth);
    block_on(import_since(&link.store, &link.tree, &link.state, &options, &Silent)).unwrap();
    let report = link.export_as(&deleting());
    assert_eq!((report.deleted, report.problems), (1, vec![]));
    let beside = link.tree.entries().into_iter().map(|(entry, _)| entry.key().to_string());
    let beside = beside.filter(|name| name.starts_with("c.local-")).collect::<Vec<_>>();
    assert_eq!((beside.len(), link.read(&beside[0]).unwrap()), (1, "only copy".into()));
    assert_eq!((link.body(&beside[0]).unwrap(), link.body("c").unwrap()), ("only copy".into(), "stranger".into()));
}

#[test]
fn a_new_mark_is_on_the_disk_before_it_is_recorded() {
    let Link { tree, state, .. } = Link::new(&[("a", "only copy")]);
    let (tree, store) = (Watched::over(tree), Restamped::default());
    let export = |state: &MemoryState, tree: &Watched<MemoryTree>| {
        block_on(export_since(tree, &store, state, &export_options(), &Silent)).unwrap()
    };
    export(&state, &tree);
    block_on(release(&tree, &store, &state, &ReleaseOptions::new(data()), tree.now(), &Silent)).unwrap();
    tree.tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
    let before = block_on(tree.lookup(&key("a"))).unwrap().entry().unwrap().clone();
    let Some(Residence::Released(mark)) = tree.tree.residence(&key("a")) else { panic!() };
    // The power fails when the tree is told to bring it to the disk: of the state there is what is there by then, and the
    // placeholder has the mark from before.
    let (journal, snapshot) = (posix_s3::engine::Part::Journal, posix_s3::engine::Part::Snapshot);
    let state = Arc::new(state);
    let at_the_sync = Arc::new(Mutex::new(None));
    let (kept, of) = (Arc::clone(&at_the_sync), Arc::clone(&state));
    let tree = tree.before("sync ", 1, move |_| {
        *kept.lock().unwrap() = Some((of.get(snapshot), of.get(journal)));
    });
    assert_eq!(export(&state, &tree).metadata_only, 1);
    let calls = tree.calls.lock().unwrap().clone();
    let at = |wanted: &str| calls.iter().position(|call| call == wanted);
    assert!(at("place a").is_some() && at("place a") < at("sync "), "{calls:?}");
    let (before_it, begun) = at_the_sync.lock().unwrap().take().unwrap();
    let says = |part: &Option<Vec<u8>>| part.as_ref().is_some_and(|part| part.windows(2).any(|pair| pair == b"#1"));
    assert!(!says(&before_it) && !says(&begun) && says(&state.get(snapshot)));
    state.set(snapshot, before_it.unwrap());
    state.set(journal, begun.unwrap());
    let Present::Entry(now) = block_on(tree.lookup(&key("a"))).unwrap() else { panic!() };
    let standing = Standing::Version(now.status());
    block_on(tree.apply(&TreeOp::CreatePlaceholder { entry: before, released: mark, standing })).unwrap();
    assert_eq!(export(&state, &tree).problems, []);
    let report = block_on(restore(&tree, &store, Some(&*state), &data(), &Silent)).unwrap();
    assert_eq!((report.written, report.problems, &*tree.tree.entries()[0].1), (1, vec![], &b"only copy"[..]));
}

#[test]
fn links_and_copies_made_behind_the_look_outlive_a_copy_that_gives_their_object_another_etag() {
    for (nth, linked) in [(1, true), (2, true), (3, true), (4, true), (3, false), (4, false)] {
        let Link { tree, state, .. } = Link::new(&[("a", "only copy")]);
        let store = Restamped::default();
        let data = data();
        let export = |tree: &Watched<MemoryTree>| {
            block_on(export_since(tree, &store, &state, &one_by_one(export_options()), &Silent)).unwrap()
        };
        let tree = Watched::over(tree);
        export(&tree);
        block_on(release(&tree, &store, &state, &ReleaseOptions::new(data.clone()), tree.now(), &Silent)).unwrap();
        tree.tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
        let tree = tree.before("list ", nth, move |tree: &MemoryTree| match linked {
            true => tree.link(&key("a"), &key("b")).unwrap(),
            // As `cp --preserve=xattr` does.
            false => {
                let found = tree.lookup(&key("a")).now_or_never().unwrap().unwrap();
                let entry = found.entry().unwrap().clone();
                let Some(Residence::Released(released)) = tree.residence(&key("a")) else { panic!() };
                let (kind, attributes) = (entry.kind().clone(), *entry.attributes());
                let entry = Entry::new(key("b"), kind, attributes).unwrap();
                let standing = Standing::Nothing;
                let op = TreeOp::CreatePlaceholder { entry, released, standing };
                tree.apply(&op).now_or_never().unwrap().unwrap();
            }
        });
        let first = export(&tree);
        assert!(nth > 3 || tree.has_happened());
        for _ in 0..2 {
            export(&tree);
        }
        let report = block_on(restore(&tree, &store, Some(&state), &data, &Silent)).unwrap();
        assert_eq!(report.problems, [], "{nth} {first:?}");
        for (entry, content) in tree.tree.entries() {
            assert_eq!(content, "only copy", "{} {nth}", entry.key());
        }
        assert_eq!(export(&tree).problems, []);
    }
}

// ---------------------------------------------------------------------------------------------------------- a real disk

fn write(root: &Path, name: &str, content: &str) {
    fs::write(root.join(name), content).unwrap();
}

#[test]
fn on_a_disk_an_open_file_stays_and_a_released_one_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir(root.join("d")).unwrap();
    for name in ["d/a", "d/b", "open", "touched"] {
        write(root, name, &"x".repeat(100_000));
    }
    let link = Link::over(LocalTree::open(root).unwrap());
    link.export();
    assert_eq!(causes(&link.release())[1], ("d/a", KeptCause::InUse), "it changed a moment ago");
    std::thread::sleep(Duration::from_millis(2100));
    link.export();
    let open = fs::File::options().write(true).open(root.join("open")).unwrap();
    fs::set_permissions(root.join("touched"), fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::metadata(root.join("d/a")).unwrap();
    let (times, directory_times) =
        ((before.mtime(), before.mtime_nsec()), fs::metadata(root.join("d")).unwrap().modified());
    let report = link.release();
    assert_eq!(
        causes(&report),
        [("d/", KeptCause::NotAFile), ("open", KeptCause::InUse), ("touched", KeptCause::InUse)]
    );
    assert!(report.released == 2 && report.bytes > 180_000, "{report:?}");
    let after = fs::metadata(root.join("d/a")).unwrap();
    assert_eq!((after.len(), (after.mtime(), after.mtime_nsec()), after.mode()), (100_000, times, before.mode()));
    assert_eq!(fs::metadata(root.join("d")).unwrap().modified().unwrap(), directory_times.unwrap());
    // Whoever had it open writes on to the file that has the name.
    std::os::unix::fs::FileExt::write_at(&open, b"y", 0).unwrap();
    assert!(fs::read(root.join("open")).unwrap().starts_with(b"yx"));
    drop(open);
    std::thread::sleep(Duration::from_millis(50));
    let report = link.export();
    assert_eq!((report.written, report.metadata_only, report.problems.len()), (1, 1, 0), "{report:?}");
    fs::rename(root.join("d/a"), root.join("d/c")).unwrap();
    let report = link.export_as(&deleting());
    assert_eq!((report.written, report.deleted, report.problems.len()), (1, 1, 0), "{report:?}");
    assert_eq!(link.body("d/c").unwrap(), "x".repeat(100_000));
    assert_eq!(link.restore().written, 1);
    assert_eq!(fs::read(root.join("d/b")).unwrap(), "x".repeat(100_000).as_bytes());
    assert_eq!(link.export().store_calls.put, 0);
}

#[test]
fn on_a_disk_a_partial_write_to_a_placeholder_reaches_no_bucket() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let link = Link::over(LocalTree::open(root).unwrap());
    for name in ["appended", "patched", "rewritten", "stretched"] {
        link.put(name, "hello");
    }
    link.import(Fetch::OnDemand);
    use std::io::Write;
    fs::File::options().append(true).open(root.join("appended")).unwrap().write_all(b"!").unwrap();
    let patched = fs::File::options().write(true).open(root.join("patched")).unwrap();
    std::os::unix::fs::FileExt::write_at(&patched, b"H", 0).unwrap();
    drop(patched);
    write(root, "rewritten", "anew");
    fs::File::options().write(true).open(root.join("stretched")).unwrap().set_len(9).unwrap();
    // What changed in the very tick in which an export begins is sent by the next one.
    std::thread::sleep(Duration::from_millis(50));
    let report = link.export();
    assert_eq!((report.written, report.conflicts), (1, 3), "{report:?}");
    // As `cp -p appended t && mv t appended`: the hole is kept, the mark is not.
    let hole = fs::File::create(root.join("t")).unwrap();
    hole.set_len(5).unwrap();
    hole.set_modified(fs::metadata(root.join("appended")).unwrap().modified().unwrap()).unwrap();
    drop(hole);
    fs::rename(root.join("t"), root.join("appended")).unwrap();
    write(root, "zeros", "\0\0\0\0\0");
    std::thread::sleep(Duration::from_millis(50));
    let report = link.export();
    assert_eq!((report.written, report.conflicts), (1, 3), "{report:?}");
    assert_eq!(report.problems.iter().filter(|problem| problem.cause == Cause::Hole).count(), 1);
    assert_eq!(link.body("zeros").unwrap(), "\0\0\0\0\0", "somebody wrote them");
    for (name, content) in [("appended", "hello"), ("patched", "hello"), ("rewritten", "anew"), ("stretched", "hello")]
    {
        assert_eq!(link.body(name).unwrap(), content);
    }
}

/// Makes a file of this name as soon as an entry has ended.
struct Stranger<'p> {
    after: &'p str,
    path: &'p Path,
}

impl Progress for Stranger<'_> {
    fn entry(&self, ended: &EndedEntry<'_>) {
        if ended.key == self.after.as_bytes() {
            // The clock of the file system has moved by then.
            std::thread::sleep(Duration::from_millis(30));
            fs::write(self.path, "new").unwrap();
        }
    }
}

#[test]
fn on_a_disk_the_times_of_a_directory_that_somebody_else_has_changed_are_not_put_back() {
    for (after, is_put_back) in [("d/a", false), ("d/b", false), ("other", true)] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("d")).unwrap();
        for name in ["d/a", "d/b", "other"] {
            write(root, name, &"x".repeat(100));
        }
        let link = Link::over(LocalTree::open(root).unwrap());
        std::thread::sleep(Duration::from_millis(2100));
        link.export();
        let modified = || fs::metadata(root.join("d")).unwrap().modified().unwrap();
        let (before, made) = (modified(), root.join(if is_put_back { "new" } else { "d/new" }));
        let stranger = Stranger { after, path: &made };
        let options =
            ReleaseOptions::new(data().with_jobs(Jobs::new(1).unwrap())).with_unseen_users(UnseenUsers::Accept);
        let report = block_on(release(&link.tree, &link.store, &link.state, &options, link.tree.now(), &stranger));
        assert_eq!(report.unwrap().released, 3);
        assert_eq!((modified() == before, made.exists()), (is_put_back, true), "{after}");
    }
}

#[test]
fn on_a_disk_a_restore_leaves_a_placeholder_to_whoever_writes_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let link = Link::over(LocalTree::open(root).unwrap());
    for name in ["a", "b"] {
        link.put(name, "hello");
    }
    link.import(Fetch::OnDemand);
    let writer = fs::File::options().write(true).open(root.join("a")).unwrap();
    let report = link.restore();
    assert_eq!((report.written, report.failed), (1, 1), "{report:?}");
    assert!(report.problems[0].reason.contains("somebody has it open"), "{report:?}");
    std::os::unix::fs::FileExt::write_at(&writer, b"HELLO", 0).unwrap();
    drop(writer);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"HELLO");
    assert_eq!(fs::read(root.join("b")).unwrap(), b"hello");
    assert_eq!(link.restore().conflicts, 1);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"HELLO");
}

#[test]
fn on_a_disk_what_was_set_on_a_placeholder_is_there_after_a_restore() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let link = Link::over(LocalTree::open(root).unwrap());
    link.put("a", "hello");
    link.import(Fetch::OnDemand);
    let file = fs::File::open(root.join("a")).unwrap();
    rustix::fs::fsetxattr(&file, "user.mine", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(link.restore().written, 1);
    let file = fs::File::open(root.join("a")).unwrap();
    let mut value = [0; 8];
    assert_eq!(rustix::fs::fgetxattr(&file, "user.mine", &mut value[..]).unwrap(), 1);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"hello");
}

/// What is done to a directory on a disk and its bucket.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Write(usize),
    Append(usize),
    Rename(usize, usize),
    Remove(usize),
    Export,
    Import,
    Restore,
}

fn deeds() -> impl Strategy<Value = (Deed, Option<usize>)> {
    let name = 0_usize..3;
    let deed = prop_oneof![
        2 => name.clone().prop_map(Deed::Write),
        1 => name.clone().prop_map(Deed::Append),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Deed::Rename(from, to)),
        1 => name.prop_map(Deed::Remove),
        3 => Just(Deed::Export),
        2 => Just(Deed::Import),
        2 => Just(Deed::Restore),
    ];
    (deed, prop::option::weighted(0.3, 0_usize..40))
}

/// Polls a run so often, and lets go of it if it has not ended by then.
fn cut<V>(run: impl Future<Output = V>, polls: Option<usize>) {
    let Some(polls) = polls else { return drop(block_on(run)) };
    let mut run = std::pin::pin!(run);
    for _ in 0..polls {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if run.as_mut().poll(&mut context).is_ready() {
            return;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The model in `hsm_model.rs` has the users at work in the middle of runs; here it is a real disk.
    #[test]
    fn on_a_disk_nothing_that_was_written_is_lost(deeds in prop::collection::vec(deeds(), 1..20)) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let link = Link::over(LocalTree::open(root).unwrap());
        let mut held = std::collections::BTreeMap::new();
        for (name, text) in [("a", "text a"), ("b", "text b"), ("c", "text c")] {
            link.put(name, text);
            held.insert(NAMES.iter().position(|other| *other == name).unwrap(), text.to_owned());
        }
        link.import(Fetch::OnDemand);
        for (number, (deed, polls)) in deeds.into_iter().enumerate() {
            let path = |name: usize| root.join(NAMES[name]);
            match deed {
                Deed::Write(name) => {
                    let text = format!("text {number:02}");
                    fs::write(root.join("new"), &text).unwrap();
                    fs::rename(root.join("new"), path(name)).unwrap();
                    held.insert(name, text);
                }
                Deed::Append(name) => {
                    if let Ok(mut file) = fs::File::options().append(true).open(path(name)) {
                        std::io::Write::write_all(&mut file, b"+").unwrap();
                        let content = fs::read(path(name)).unwrap();
                        if let Ok(text) = String::from_utf8(content) && !text.contains('\0') {
                            held.insert(name, text);
                        }
                    }
                }
                Deed::Rename(from, to) if from != to => {
                    if fs::rename(path(from), path(to)).is_ok() {
                        let text = held.remove(&from);
                        held.remove(&to);
                        held.extend(text.map(|text| (to, text)));
                    }
                }
                Deed::Rename(..) => {}
                Deed::Remove(name) => {
                    let _ = fs::remove_file(path(name));
                    held.remove(&name);
                }
                Deed::Export => {
                    let options = deleting();
                    cut(export_since(&link.tree, &link.store, &link.state, &options, &Silent), polls);
                }
                Deed::Import => {
                    let options = import_options(Fetch::OnDemand);
                    cut(import_since(&link.store, &link.tree, &link.state, &options, &Silent), polls);
                }
                Deed::Restore => {
                    cut(restore(&link.tree, &link.store, Some(&link.state), &data(), &Silent), polls);
                }
            }
            let bodies: Vec<Bytes> = NAMES.iter().filter_map(|name| link.body(name)).collect();
            prop_assert!(bodies.iter().all(|body| !body.contains(&0)), "{deed:?}");
            for (name, text) in &held {
                let here = fs::read(path(*name)).ok();
                let is_here = here.as_ref().is_some_and(|here| here == text.as_bytes());
                prop_assert!(is_here || bodies.iter().any(|body| body == text), "{} after {deed:?}", NAMES[*name]);
            }
        }
    }
}
