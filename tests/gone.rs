//! What is gone from one side: when the other side follows, when it does not, and what is said and remembered of it.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod trouble;
mod workload;

use bytes::Bytes;
use futures_executor::block_on;
use posix_s3::engine::{ExportOptions, ImportOptions, Jobs, MemoryState, Report, Silent, export_since, import_since};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::store::{Capabilities, MemoryStore, ObjectStore, Operation, Precondition, PutOptions, StoreErrorKind};
use posix_s3::tree::{MemoryTree, TreeErrorKind};
use posix_s3::{Entry, EntryKind, Profile};
use std::sync::Arc;
use trouble::{Fault, Side, Trouble, TroubledState, TroubledStore, TroubledTree};
use workload::{attributes, key};

const RELEASED: Deletes = Deletes::Apply(Brake::RELEASED);

/// Both sides, and what is recorded of them.
struct Sides {
    tree: Arc<MemoryTree>,
    store: Arc<MemoryStore>,
    state: Arc<MemoryState>,
}

impl Sides {
    fn new() -> Self {
        Self { tree: Arc::default(), store: Arc::default(), state: Arc::new(MemoryState::new()) }
    }

    /// With files that both sides agree on; a name that ends in a slash is that of a directory.
    fn agreed(names: &[&str]) -> Self {
        let sides = Self::new();
        for name in names {
            sides.make(name, name);
        }
        assert_eq!(sides.export(RELEASED).written, names.len() as u64);
        sides
    }

    fn make(&self, name: &str, content: &str) {
        if name.ends_with('/') {
            let directory = Entry::new(key(name), EntryKind::Directory, attributes(0o755, 9)).unwrap();
            self.tree.insert(directory).unwrap();
        } else {
            self.tree.insert_file(key(name), content.to_owned(), attributes(0o644, 9)).unwrap();
        }
    }

    fn edges(&self, trouble: &Arc<Trouble>) -> (TroubledTree, TroubledStore, TroubledState) {
        let trouble = || Arc::clone(trouble);
        let (tree, store, state) = (Arc::clone(&self.tree), Arc::clone(&self.store), Arc::clone(&self.state));
        (
            TroubledTree { tree, trouble: trouble(), identity: 1 },
            TroubledStore { store, trouble: trouble(), capabilities: Capabilities::ALL },
            TroubledState { state, trouble: trouble() },
        )
    }

    fn export_in(&self, trouble: &Arc<Trouble>, options: &ExportOptions) -> Report {
        let (tree, store, state) = self.edges(trouble);
        trouble.run(export_since(&tree, &store, &state, options, &Silent)).unwrap().unwrap()
    }

    fn export(&self, deletes: Deletes) -> Report {
        self.export_in(&Arc::new(Trouble::none()), &exporting(deletes))
    }

    fn import_in(&self, trouble: &Arc<Trouble>, options: &ImportOptions) -> Report {
        let (tree, store, state) = self.edges(trouble);
        trouble.run(import_since(&store, &tree, &state, options, &Silent)).unwrap().unwrap()
    }

    fn import(&self, options: &ImportOptions) -> Report {
        self.import_in(&Arc::new(Trouble::none()), options)
    }

    /// Somebody else puts an object.
    fn put(&self, key: &str, body: &'static str) {
        block_on(self.store.put(key, Bytes::from(body).into(), &PutOptions::default())).unwrap();
    }

    fn has(&self, key: &str) -> bool {
        block_on(self.store.head(key)).is_ok()
    }

    /// The names of the tree.
    fn names(&self) -> Vec<String> {
        self.tree.entries().iter().map(|(entry, _)| entry.key().to_string()).collect()
    }
}

fn exporting(deletes: Deletes) -> ExportOptions {
    ExportOptions::new(Profile::fsx()).with_bucket("b").with_jobs(Jobs::ONE).with_deletes(deletes)
}

fn importing() -> ImportOptions {
    ImportOptions::new(Profile::fsx()).with_bucket("b").with_jobs(Jobs::ONE).with_deletes(RELEASED)
}

/// Does something with the first call that begins with some words failing, each time with new sides.
fn failing<T>(
    make: impl Fn() -> Sides,
    (side, call, fault): (Side, &str, Fault),
    run: impl Fn(&Sides, &Arc<Trouble>) -> T,
) -> (Sides, T) {
    for number in 0.. {
        let (sides, trouble) = (make(), Arc::new(Trouble::failing(side, number, fault)));
        let ended = run(&sides, &trouble);
        let failed = trouble.log().failed.clone().unwrap_or_else(|| panic!("nothing is like {call}"));
        if failed.starts_with(call) {
            return (sides, ended);
        }
    }
    panic!("a call is found or not")
}

/// A file was written, recorded before or not, and nobody heard whether it was put. Then it is removed.
fn unheard(is_recorded: bool, fault: Fault) -> Sides {
    let make = || {
        let sides = if is_recorded { Sides::agreed(&["d/", "d/f"]) } else { Sides::agreed(&["d/"]) };
        sides.tree.remove(&key("d/f"));
        sides.make("d/f", "written");
        sides
    };
    let (sides, report) =
        failing(make, (Side::Store, "put d/f", fault), |sides, trouble| sides.export_in(trouble, &exporting(RELEASED)));
    assert_eq!(report.failed, 1, "{:?}", report.problems);
    assert!(sides.tree.remove(&key("d/f")));
    sides
}

const NOT_DONE: Fault = Fault::Store(StoreErrorKind::Transient);

// ------------------------------------------------------------------------------------------------------ exports

#[test]
fn an_object_of_somebody_else_is_kept_where_one_may_have_been_put() {
    for is_recorded in [false, true] {
        let sides = unheard(is_recorded, NOT_DONE);
        sides.put("d/f", "a stranger's");
        for deletes in [Deletes::Never, RELEASED, RELEASED] {
            let report = sides.export(deletes);
            assert_eq!((report.deleted, report.failed), (0, 0), "{:?}", report.problems);
            // What was recorded is known to be gone until somebody decides about it.
            let conflicts = u64::from(is_recorded && deletes == RELEASED);
            assert_eq!(report.conflicts, conflicts, "{:?}", report.problems);
        }
        assert!(sides.has("d/f"));
        // Of what was not, there is nothing left to be asked.
        assert_eq!(sides.export(RELEASED).store_calls.head > 0, is_recorded);
    }
}

#[test]
fn what_was_never_put_is_forgotten_and_not_asked_for_again() {
    let sides = unheard(false, NOT_DONE);
    let report = sides.export(RELEASED);
    assert_eq!((report.gone, report.deleted, report.failed, report.store_calls.head), (0, 0, 0, 1));
    assert_eq!(sides.export(RELEASED).store_calls.head, 0);
}

#[test]
fn what_may_have_been_put_stays_recorded_while_the_store_does_not_say() {
    let head = (Side::Store, "head d/f", Fault::Store(StoreErrorKind::Denied));
    let (sides, _) = failing(
        || unheard(true, NOT_DONE),
        head,
        |sides, trouble| sides.export_in(trouble, &exporting(Deletes::Never)),
    );
    assert!(sides.has("d/f"));
    assert_eq!(sides.export(RELEASED).deleted, 1);
    assert!(!sides.has("d/f"));
}

#[test]
fn an_object_that_may_have_been_put_is_said_when_the_store_does_not_tell_of_it() {
    let head = (Side::Store, "head d/f", Fault::Store(StoreErrorKind::Denied));
    for deletes in [RELEASED, Deletes::Never] {
        let make = || unheard(false, Fault::LostReply);
        let (sides, report) = failing(make, head, |sides, trouble| sides.export_in(trouble, &exporting(deletes)));
        assert_eq!((report.failed, report.problems[0].key.as_ref()), (1, "d/f"), "{:?}", report.problems);
        assert!(!report.is_complete());
        // The next finds it, and the one after that deletes it.
        assert_eq!((sides.export(RELEASED).gone, sides.export(RELEASED).deleted), (1, 1));
        assert!(!sides.has("d/f"));
    }
}

#[test]
fn what_may_have_been_put_in_a_directory_that_is_a_file_now_is_gone() {
    let sides = unheard(false, Fault::LostReply);
    assert!(sides.tree.remove(&key("d/")));
    sides.make("d", "a file");
    let report = sides.export(RELEASED);
    assert_eq!((report.gone, report.failed), (1, 0), "{:?}", report.problems);
    sides.export(RELEASED);
    assert!(!sides.has("d/f") && sides.has("d"));
}

#[test]
fn what_was_decided_to_be_deleted_is_deleted_by_the_next_run_when_its_request_fails() {
    let make = || {
        let sides = Sides::agreed(&["f"]);
        sides.put("f", "a stranger's");
        assert!(sides.tree.remove(&key("f")));
        sides
    };
    let delete = (Side::Store, "delete f", Fault::Store(StoreErrorKind::Denied));
    let (sides, report) = failing(make, delete, |sides, trouble| {
        sides.export_in(trouble, &exporting(RELEASED).with_on_conflict(OnConflict::Local))
    });
    assert_eq!((report.failed, report.deleted, sides.has("f")), (1, 0, true));
    let report = sides.export(RELEASED);
    assert_eq!((report.conflicts, report.deleted), (0, 1), "{:?}", report.problems);
}

#[test]
fn what_somebody_else_deletes_at_the_last_moment_is_no_conflict() {
    let sides = Sides::agreed(&["f"]);
    assert!(sides.tree.remove(&key("f")));
    let store = Arc::clone(&sides.store);
    let trouble = Arc::new(Trouble::none().with_hook(move |operation, _| {
        if operation == Operation::Delete {
            block_on(store.delete("f", &Precondition::None)).unwrap();
        }
    }));
    let report = sides.export_in(&trouble, &exporting(RELEASED));
    assert_eq!((report.deleted, report.conflicts, report.failed), (0, 0, 0), "{:?}", report.problems);
    assert_eq!(sides.export(RELEASED).store_calls.head, 0);
}
