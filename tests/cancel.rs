//! A run that is cancelled finishes what it is at, undoes nothing and deletes nothing; the next one does the rest and
//! nothing twice.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod trouble;

use futures_executor::block_on;
use posix_s3::engine::{
    Cancel, EndedEntry, ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Progress, Report, RunError,
    RunErrorKind, Silent, export, export_since, import_since, plan_export, plan_import,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{Capabilities, ListRequest, MemoryStore, ObjectStore, Operation, Precondition};
use posix_s3::tree::{MemoryTree, Present, Tree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, SymlinkTarget, Timestamp, Uid};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trouble::{Trouble, TroubledStore};

/// Cancels when so many entries have ended.
struct After {
    entries: u64,
    ended: AtomicU64,
    cancel: Cancel,
}

impl After {
    fn new(entries: u64) -> Self {
        let cancel = Cancel::default();
        if entries == 0 {
            cancel.cancel();
        }
        Self { entries, ended: AtomicU64::new(0), cancel }
    }
}

impl Progress for After {
    fn entry(&self, _: &EndedEntry<'_>) {
        if self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.entries {
            self.cancel.cancel();
        }
    }
}

fn key(key: &str) -> Key {
    key.parse().unwrap()
}

fn attributes(mode: u32) -> Attributes {
    Attributes {
        permissions: Permissions::from_mode(mode),
        uid: Uid::ROOT,
        gid: Gid::ROOT,
        atime: Timestamp::EPOCH,
        mtime: Timestamp::EPOCH,
    }
}

const DIRECTORIES: u64 = 4;
const FILES: u64 = 10;
const ENTRIES: u64 = DIRECTORIES * (FILES + 2);

/// Four directories that their owner may not write to, each with ten files and a link.
fn tree() -> MemoryTree {
    let tree = MemoryTree::new();
    for directory in 0..DIRECTORIES {
        tree.insert(Entry::new(key(&format!("d{directory}/")), EntryKind::Directory, attributes(0o555)).unwrap())
            .unwrap();
        for file in 0..FILES {
            let name = format!("d{directory}/f{file}");
            tree.insert_file(key(&name), name.clone().into_bytes(), attributes(0o640)).unwrap();
        }
        let target = SymlinkTarget::parse(b"f0").unwrap();
        let link = Entry::new(key(&format!("d{directory}/link")), EntryKind::Symlink { target }, attributes(0o777));
        tree.insert(link.unwrap()).unwrap();
    }
    tree
}

fn exporting(jobs: usize) -> ExportOptions {
    ExportOptions::new(Profile::fsx()).with_bucket("bucket").with_jobs(Jobs::new(jobs).unwrap())
}

fn importing(jobs: usize) -> ImportOptions {
    ImportOptions::new(Profile::fsx()).with_bucket("bucket").with_jobs(Jobs::new(jobs).unwrap())
}

fn deletes() -> Deletes {
    Deletes::Apply(Brake::default())
}

fn done(report: &Report) -> u64 {
    assert_eq!((report.failed, report.skipped, report.conflicts), (0, 0, 0), "{:?}", report.problems);
    report.written + report.metadata_only
}

fn names(store: &MemoryStore) -> Vec<String> {
    let page = block_on(store.list(&ListRequest::default())).unwrap();
    page.objects.into_iter().map(|object| object.key.to_string()).collect()
}

/// The report of a run that was cancelled.
fn cancelled(run: Result<Report, RunError>) -> Report {
    let error = run.unwrap_err();
    assert!(matches!(error.kind(), RunErrorKind::Cancelled), "{error:?}");
    error.report().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_export_goes_on_where_it_was_cancelled(entries in 0..ENTRIES - 8, jobs in 1..8_usize) {
        let (tree, store, state) = (tree(), MemoryStore::new(), MemoryState::new());
        let after = After::new(entries);
        let options = exporting(jobs).with_deletes(deletes()).with_cancel(&after.cancel);
        let first = cancelled(block_on(export_since(&tree, &store, &state, &options, &after)));
        prop_assert!((entries..entries + jobs as u64).contains(&first.entries) || entries == 0, "{first:?}");
        let second = block_on(export_since(&tree, &store, &state, &exporting(jobs), &Silent)).unwrap();
        prop_assert_eq!(done(&first) + done(&second), ENTRIES);
        prop_assert_eq!(first.store_calls.put + second.store_calls.put, ENTRIES);
        // Nobody has to ask what has become of what was not begun.
        prop_assert_eq!(second.store_calls.head, 0);
        let third = block_on(export_since(&tree, &store, &state, &exporting(jobs), &Silent)).unwrap();
        prop_assert_eq!((third.unchanged, third.store_calls.put, third.store_calls.head), (ENTRIES, 0, 0));
    }

    #[test]
    fn an_import_goes_on_where_it_was_cancelled(entries in 0..ENTRIES - 16, jobs in 1..8_usize) {
        let store = MemoryStore::new();
        block_on(export(&tree(), &store, &exporting(1), &Silent)).unwrap();
        let (tree, state) = (MemoryTree::new(), MemoryState::new());
        let after = After::new(entries);
        let options = importing(jobs).with_deletes(deletes()).with_cancel(&after.cancel);
        let run = block_on(import_since(&store, &tree, &state, &options, &after));
        // Links and directories end last: it may have taken everything before the first of them has ended.
        let first = match run {
            Err(_) => cancelled(run),
            Ok(report) => report,
        };
        // Nothing is left as it was while it was worked on.
        for directory in 0..DIRECTORIES {
            match block_on(tree.lookup(&key(&format!("d{directory}/")))).unwrap() {
                Present::Entry(found) => prop_assert_eq!(found.entry.attributes(), &attributes(0o555)),
                Present::Nothing => prop_assert!(first.entries < ENTRIES),
                Present::Other => panic!("something else"),
            }
        }
        let second = block_on(import_since(&store, &tree, &state, &importing(jobs), &Silent)).unwrap();
        prop_assert_eq!(done(&first) + second.written, ENTRIES);
        prop_assert_eq!(first.store_calls.get + second.store_calls.get, DIRECTORIES * (FILES + 1));
        let third = block_on(import_since(&store, &tree, &state, &importing(jobs), &Silent)).unwrap();
        prop_assert_eq!((third.unchanged, third.store_calls.get), (ENTRIES, 0));
    }

    #[test]
    fn an_export_that_is_cancelled_deletes_nothing_that_it_has_not_seen_gone(entries in 0..20_u64, jobs in 1..8_usize) {
        let (tree, store, state) = (tree(), MemoryStore::new(), MemoryState::new());
        block_on(export_since(&tree, &store, &state, &exporting(jobs), &Silent)).unwrap();
        let options = exporting(jobs).with_deletes(deletes());
        for file in 0..FILES {
            assert!(tree.remove(&key(&format!("d1/f{file}"))));
            tree.insert_file(key(&format!("d3/new{file}")), "new", attributes(0o600)).unwrap();
        }
        let gone = |store| names(store).into_iter().filter(|name| name.starts_with("d1/f")).count() as u64;
        let after = After::new(entries);
        match block_on(export_since(&tree, &store, &state, &options.clone().with_cancel(&after.cancel), &after)) {
            Err(error) => {
                prop_assert!(matches!(error.kind(), RunErrorKind::Cancelled));
                prop_assert_eq!((error.report().deleted, gone(&store)), (0, FILES));
                let report = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
                prop_assert_eq!((report.deleted, error.report().written + report.written), (FILES, FILES));
            }
            Ok(report) => prop_assert_eq!(report.deleted, FILES),
        }
        prop_assert_eq!(gone(&store), 0);
        prop_assert_eq!(names(&store).len() as u64, ENTRIES);
    }
}

#[test]
fn a_run_that_has_nothing_left_to_do_is_not_cancelled() {
    let (tree, store, state) = (tree(), MemoryStore::new(), MemoryState::new());
    let after = After::new(ENTRIES);
    let options = exporting(1).with_cancel(&after.cancel);
    let report = block_on(export_since(&tree, &store, &state, &options, &after)).unwrap();
    assert_eq!(report.written, ENTRIES);
    assert!(after.cancel.is_cancelled());
}

#[test]
fn an_import_that_is_cancelled_removes_nothing() {
    let (source, store) = (tree(), MemoryStore::new());
    block_on(export(&source, &store, &exporting(1), &Silent)).unwrap();
    let (tree, state) = (MemoryTree::new(), MemoryState::new());
    block_on(import_since(&store, &tree, &state, &importing(1), &Silent)).unwrap();
    block_on(store.delete("d0/f0", &Precondition::None)).unwrap();
    let after = After::new(1);
    let options = importing(1).with_deletes(deletes()).with_cancel(&after.cancel);
    let report = cancelled(block_on(import_since(&store, &tree, &state, &options, &after)));
    assert_eq!((report.deleted, report.gone), (0, 0));
    assert!(matches!(block_on(tree.lookup(&key("d0/f0"))).unwrap(), Present::Entry(_)));
    let report = block_on(import_since(&store, &tree, &state, &importing(1).with_deletes(deletes()), &Silent)).unwrap();
    assert_eq!(report.deleted, 1);
}

#[test]
fn a_plan_can_be_cancelled() {
    let (tree, store) = (tree(), MemoryStore::new());
    let cancel = Cancel::default();
    cancel.cancel();
    let options = exporting(1).with_cancel(&cancel);
    let planned = block_on(plan_export(&tree, &store, None, &options, |_| panic!("planned")));
    assert_eq!(cancelled(planned).entries, 0);
    block_on(export(&tree, &store, &exporting(1), &Silent)).unwrap();
    let options = importing(1).with_cancel(&cancel);
    let planned = block_on(plan_import(&store, &MemoryTree::new(), None, &options, |_| panic!("planned")));
    assert_eq!(cancelled(planned).entries, 0);
}

#[test]
fn what_was_in_process_is_in_the_report() {
    let (tree, store) = (tree(), MemoryStore::new());
    let after = After::new(5);
    let report = cancelled(block_on(export(&tree, &store, &exporting(1).with_cancel(&after.cancel), &after)));
    assert_eq!((report.entries, report.written, report.store_calls.put), (5, 5, 5));
    assert_eq!(Outcome::Written.name(), "written");
}

fn troubled(store: &Arc<MemoryStore>, trouble: Trouble) -> TroubledStore {
    TroubledStore { store: Arc::clone(store), trouble: Arc::new(trouble), capabilities: Capabilities::ALL }
}

/// A tree that was exported, with ten files less and one more since.
fn changed(store: &MemoryStore, state: &MemoryState) -> MemoryTree {
    let tree = tree();
    block_on(export_since(&tree, store, state, &exporting(1), &Silent)).unwrap();
    for file in 0..FILES {
        assert!(tree.remove(&key(&format!("d1/f{file}"))));
    }
    tree.insert_file(key("d3/new"), "new", attributes(0o600)).unwrap();
    tree
}

#[test]
fn an_export_that_is_cancelled_while_it_deletes_deletes_nothing_more() {
    for jobs in [1, 3] {
        let (store, state) = (Arc::new(MemoryStore::new()), MemoryState::new());
        let tree = changed(&store, &state);
        let cancel = Cancel::default();
        let options = exporting(jobs).with_deletes(deletes());
        let first = {
            let (cancel, cancelling) = (cancel.clone(), options.clone().with_cancel(&cancel));
            let hook = move |operation, _: &str| {
                if operation == Operation::Delete {
                    cancel.cancel();
                }
            };
            let store = troubled(&store, Trouble::none().with_hook(hook));
            cancelled(block_on(export_since(&tree, &store, &state, &cancelling, &Silent)))
        };
        assert!((1..=jobs as u64).contains(&first.deleted), "{first:?}");
        let second = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
        assert_eq!((first.deleted + second.deleted, second.store_calls.put), (FILES, 0));
    }
}

#[test]
fn an_export_that_is_cancelled_anywhere_is_finished_by_the_next() {
    for (jobs, seed) in [(1, 0), (3, 1), (8, 2)] {
        for step in 0.. {
            let (store, state) = (Arc::new(MemoryStore::new()), MemoryState::new());
            let tree = changed(&store, &state);
            let cancel = Cancel::default();
            let options = exporting(jobs).with_deletes(deletes());
            let cancelling = options.clone().with_cancel(&cancel);
            let trouble = Trouble::cut_at(usize::MAX - 1, seed).with_event(step, move || cancel.cancel());
            let run = block_on(export_since(&tree, &troubled(&store, trouble), &state, &cancelling, &Silent));
            let (first, is_over) = match run {
                Ok(report) => (report, true),
                Err(_) => (cancelled(run), false),
            };
            let second = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
            assert_eq!((first.written + second.written, first.deleted + second.deleted), (1, FILES), "{jobs} {step}");
            assert_eq!(names(&store).len() as u64, ENTRIES - FILES + 1, "{jobs} {step}");
            let third = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
            assert_eq!((third.entries, third.unchanged), (ENTRIES - FILES + 1, third.entries), "{jobs} {step}");
            if is_over {
                assert!(step > 10, "cancelled in the middle");
                break;
            }
        }
    }
}
