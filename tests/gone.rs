//! What is gone from one side: when the other side follows, when it does not, and what is said and remembered of it.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod trouble;
mod workload;

use bytes::Bytes;
use futures_executor::block_on;
use posix_s3::engine::{
    Cause, ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Problem, Report, Silent, export_since,
    import_since,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{MemoryTree, TreeErrorKind};
use posix_s3::{Clash, Entry, EntryKind, Profile};
use std::sync::Arc;
use trouble::{Fault, Side, Trouble, TroubledState, TroubledStore, TroubledTree};
use workload::{attributes, key};

const RELEASED: Deletes = Deletes::Apply(Brake::RELEASED);

/// A store that may show keys that are not UTF-8, and that need not tell, as S3 does not, when an object was put.
struct Odd {
    store: Arc<MemoryStore>,
    unreadable: &'static [&'static [u8]],
    tells_times: bool,
}

impl ObjectStore for Odd {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = self.store.list(request).await?;
        page.unreadable = self.unreadable.iter().map(|key| Box::from(*key)).collect();
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let output = self.store.put(key, body, options).await?;
        Ok(PutOutput { last_modified: output.last_modified.filter(|_| self.tells_times), ..output })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

/// Both sides, and what is recorded of them.
struct Sides {
    tree: Arc<MemoryTree>,
    store: Arc<MemoryStore>,
    state: Arc<MemoryState>,
    tells_times: bool,
}

impl Sides {
    fn new() -> Self {
        let state = Arc::new(MemoryState::new());
        Self { tree: Arc::default(), store: Arc::default(), state, tells_times: true }
    }

    /// With files that both sides agree on; a name that ends in a slash is that of a directory.
    fn agreed(names: &[&str]) -> Self {
        Self::new().agree(names)
    }

    /// The same with a store that does not tell when an object was put.
    fn undated(names: &[&str]) -> Self {
        Self { tells_times: false, ..Self::new() }.agree(names)
    }

    fn agree(self, names: &[&str]) -> Self {
        let sides = self;
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

    fn edges(&self, trouble: &Arc<Trouble>) -> (TroubledTree, TroubledStore<Odd>, TroubledState) {
        let trouble = || Arc::clone(trouble);
        let (tree, store, state) = (Arc::clone(&self.tree), Arc::new(self.odd(&[])), Arc::clone(&self.state));
        (
            TroubledTree { tree, trouble: trouble(), identity: 1 },
            TroubledStore { store, trouble: trouble(), capabilities: Capabilities::ALL },
            TroubledState { state, trouble: trouble() },
        )
    }

    fn odd(&self, unreadable: &'static [&'static [u8]]) -> Odd {
        Odd { store: Arc::clone(&self.store), unreadable, tells_times: self.tells_times }
    }

    fn export_in(&self, trouble: &Arc<Trouble>, options: &ExportOptions) -> Report {
        let (tree, store, state) = self.edges(trouble);
        trouble
            .run(export_since(&tree, &store, &state, options, &Silent))
            .unwrap()
            .unwrap_or_else(|error| error.report().clone())
    }

    fn export(&self, deletes: Deletes) -> Report {
        self.export_in(&Arc::new(Trouble::none()), &exporting(deletes))
    }

    fn import_in(&self, trouble: &Arc<Trouble>, options: &ImportOptions) -> Report {
        let (tree, store, state) = self.edges(trouble);
        trouble
            .run(import_since(&store, &tree, &state, options, &Silent))
            .unwrap()
            .unwrap_or_else(|error| error.report().clone())
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

#[test]
fn what_comes_back_where_something_was_gone_is_new_whoever_has_deleted_its_object() {
    // One that was imported, and one of which nobody heard that it was put.
    let imported = || {
        let sides = Sides::new();
        sides.put("d/f", "object");
        assert_eq!(sides.import(&importing()).written, 1);
        assert!(sides.tree.remove(&key("d/f")));
        sides
    };
    for sides in [imported(), unheard(true, Fault::LostReply)] {
        let report = sides.export(Deletes::Never);
        assert_eq!((report.gone, report.deleted), (1, 0), "{:?}", report.problems);
        block_on(sides.store.delete("d/f", &Precondition::None)).unwrap();
        sides.make("d/f", "back again");
        let report = sides.export(RELEASED);
        assert_eq!((report.conflicts, report.failed), (0, 0), "{:?}", report.problems);
        assert!(sides.has("d/f"));
    }
}

#[test]
fn an_object_whose_metadata_alone_somebody_has_changed_is_kept_however_often_it_was_seen_to_be_gone() {
    let sides = Sides::undated(&["f"]);
    assert!(sides.tree.remove(&key("f")));
    assert_eq!((sides.export(Deletes::Never).gone, sides.export(Deletes::Never).gone), (1, 1));
    let mut changed = PutOptions::default();
    changed.headers.insert("x-amz-meta-file-owner", "4".parse().unwrap());
    block_on(sides.store.replace_metadata("f", &changed)).unwrap();
    let report = sides.export(RELEASED);
    assert_eq!((report.conflicts, report.deleted), (1, 0), "{:?}", report.problems);
    assert!(sides.has("f"));
}

#[test]
fn what_comes_back_with_its_directory_as_it_was_is_seen_and_put() {
    let make = || {
        let sides = Sides::undated(&["d/", "d/f"]);
        assert!(sides.tree.remove(&key("d/f")) && sides.tree.remove(&key("d/")));
        sides
    };
    let head = (Side::Store, "head d/", Fault::Store(StoreErrorKind::Denied));
    let (sides, report) = failing(make, head, |sides, trouble| sides.export_in(trouble, &exporting(RELEASED)));
    assert_eq!((report.failed, report.deleted, sides.has("d/f")), (1, 1, false), "{:?}", report.problems);
    // The disk goes back to what it was.
    let sides = Sides { tree: Sides::agreed(&["d/", "d/f"]).tree, ..sides };
    let report = sides.export(RELEASED);
    assert_eq!((report.written, report.conflicts, report.failed), (1, 0, 0), "{:?}", report.problems);
    assert!(sides.has("d/f") && sides.has("d/"));
}

// ------------------------------------------------------------------------------------------------------ imports

/// Sides that agree on some names, of which the objects of others are deleted.
fn without(names: &[&str], gone: &[&str]) -> Sides {
    let sides = Sides::agreed(names);
    for key in gone {
        block_on(sides.store.delete(key, &Precondition::None)).unwrap();
    }
    sides
}

/// Nothing is left to be asked, said or done.
fn is_settled(sides: &Sides) {
    let report = sides.import(&importing());
    let said = (report.gone, report.deleted, report.skipped, report.conflicts, report.failed);
    assert_eq!((said, report.store_calls.head), ((0, 0, 0, 0, 0), 0), "{:?}", report.problems);
}

#[test]
fn what_was_in_a_directory_that_is_something_else_now_is_forgotten() {
    let sides = without(&["d/", "d/f"], &["d/", "d/f"]);
    assert!(sides.tree.remove(&key("d/f")) && sides.tree.remove(&key("d/")));
    sides.make("d", "a file");
    let report = sides.import(&importing());
    assert_eq!((report.deleted, report.conflicts, report.failed), (0, 0, 0), "{:?}", report.problems);
    assert_eq!(sides.names(), ["d"]);
    is_settled(&sides);
}

#[test]
fn what_cannot_be_looked_at_or_removed_stays_recorded_and_goes_with_the_next_run() {
    let denied = (Fault::Tree(TreeErrorKind::Denied), Fault::Store(StoreErrorKind::Denied));
    for (side, call, fault) in [
        (Side::Tree, "looking up f", denied.0),
        (Side::Tree, "applying Remove", denied.0),
        (Side::Store, "head f", denied.1),
    ] {
        let make = || without(&["f"], &["f"]);
        let run = |sides: &Sides, trouble: &Arc<Trouble>| sides.import_in(trouble, &importing());
        let (sides, report) = failing(make, (side, call, fault), run);
        assert_eq!((report.failed, report.deleted), (1, 0), "{call}: {:?}", report.problems);
        assert_eq!(sides.names(), ["f"]);
        assert_eq!(sides.import(&importing()).deleted, 1, "{call}");
        is_settled(&sides);
    }
}

#[test]
fn what_is_gone_at_the_last_moment_is_gone_and_what_has_changed_by_then_is_a_conflict() {
    let apply = |kind| {
        let run = |sides: &Sides, trouble: &Arc<Trouble>| sides.import_in(trouble, &importing());
        failing(|| without(&["f"], &["f"]), (Side::Tree, "applying Remove", Fault::Tree(kind)), run)
    };
    let (sides, report) = apply(TreeErrorKind::NotFound);
    assert_eq!((report.deleted, report.failed, report.skipped), (0, 0, 0), "{:?}", report.problems);
    is_settled(&sides);
    for kind in [TreeErrorKind::Conflict, TreeErrorKind::Changed] {
        let (_, report) = apply(kind);
        assert_eq!((report.deleted, report.skipped), (0, 0), "{kind:?}: {:?}", report.problems);
        assert_eq!(report.failed + report.conflicts, 1, "{kind:?}: {:?}", report.problems);
    }
}

#[test]
fn a_directory_stays_if_it_is_not_empty_and_fails_if_it_cannot_be_removed() {
    let sides = without(&["d/", "d/f"], &["d/"]);
    let report = sides.import(&importing());
    assert_eq!((report.deleted, report.skipped, report.failed), (0, 1, 0), "{:?}", report.problems);
    assert!(report.problems[0].reason.contains("it is not empty"));
    let denied = (Side::Tree, "applying Remove", Fault::Tree(TreeErrorKind::Denied));
    let run = |sides: &Sides, trouble: &Arc<Trouble>| sides.import_in(trouble, &importing());
    let (_, report) = failing(|| without(&["d/"], &["d/"]), denied, run);
    assert_eq!((report.deleted, report.skipped, report.failed), (0, 0, 1), "{:?}", report.problems);
}

#[test]
fn a_changed_file_whose_object_is_gone_is_what_the_policy_says() {
    for (policy, deleted, conflicts, skipped) in [
        (OnConflict::Fail, 0, 1, 0),
        (OnConflict::Store, 1, 0, 0),
        (OnConflict::Local, 0, 0, 1),
        (OnConflict::KeepBoth, 0, 0, 1),
    ] {
        let sides = without(&["f"], &["f"]);
        sides.tree.set_content(&key("f"), "changed").unwrap();
        let report = sides.import(&importing().with_on_conflict(policy));
        assert_eq!((report.deleted, report.conflicts, report.skipped), (deleted, conflicts, skipped), "{policy:?}");
        assert_eq!(sides.names().len() as u64, 1 - deleted, "{policy:?}");
        // Where the tree wins, the next export puts it.
        assert_eq!(sides.export(RELEASED).written, skipped, "{policy:?}");
    }
}

#[test]
fn what_may_be_a_key_that_a_listing_mangled_stays() {
    let sides = without(&["ab", "ac", "b", "c"], &["ab", "ac", "b", "c"]);
    // The path of one is a directory's by now.
    sides.put("ac/x", "below");
    let store = sides.odd(&[b"ab\xff", b"ac\xff"]);
    let (tree, _, state) = sides.edges(&Arc::new(Trouble::none()));
    let report = block_on(import_since(&store, &tree, &state, &importing(), &Silent)).unwrap();
    assert_eq!(report.deleted, 2, "{:?}", report.problems);
    assert_eq!(sides.names(), ["ab", "ac"]);
    for key in ["ab", "ac"] {
        let is_said = |problem: &Problem| *problem.key == *key && problem.reason.contains("UTF-8");
        assert!(report.problems.iter().any(is_said), "{key}: {:?}", report.problems);
    }
    // Once the listing is what it was, they go.
    let report = sides.import(&importing());
    assert_eq!((report.deleted, report.written), (2, 1), "{:?}", report.problems);
}

#[test]
fn a_file_whose_object_is_gone_makes_way_for_a_directory_unless_it_has_changed() {
    let below = |names: &[&str]| {
        let sides = without(names, &["f"]);
        sides.put("f/x", "below");
        sides
    };
    let sides = below(&["f"]);
    let report = sides.import(&importing());
    assert_eq!((report.deleted, report.written, report.failed), (1, 1, 0), "{:?}", report.problems);
    assert_eq!(sides.names(), ["f/", "f/x"]);
    is_settled(&sides);
    // It is gone from here as well.
    let sides = below(&["f"]);
    assert!(sides.tree.remove(&key("f")));
    let report = sides.import(&importing());
    assert_eq!((report.deleted, report.written, report.failed), (0, 1, 0), "{:?}", report.problems);
    is_settled(&sides);
    // It has changed, and is nobody's to remove.
    for (policy, conflicts, skipped) in [(OnConflict::Fail, 2, 0), (OnConflict::Local, 1, 1)] {
        let sides = below(&["f"]);
        sides.tree.set_content(&key("f"), "changed").unwrap();
        let report = sides.import(&importing().with_on_conflict(policy));
        assert_eq!((report.deleted, report.written), (0, 0), "{:?}", report.problems);
        assert_eq!((report.conflicts, report.skipped), (conflicts, skipped), "{policy:?}: {:?}", report.problems);
        assert_eq!(sides.names(), ["f"]);
        assert_eq!(sides.export(RELEASED).written, skipped, "{policy:?}");
    }
}

#[test]
fn a_file_whose_object_is_there_gives_way_to_a_directory_and_not_if_it_cannot_be_removed() {
    let make = || {
        let sides = Sides::agreed(&["f"]);
        sides.put("f/x", "below");
        sides
    };
    let options = || {
        let mut options = importing();
        options.profile.clash = Clash::DirectoryWins;
        options
    };
    let sides = make();
    let report = sides.import(&options());
    assert_eq!((report.deleted, report.written, report.failed), (1, 1, 0), "{:?}", report.problems);
    assert_eq!(sides.names(), ["f/", "f/x"]);
    // One that cannot be looked at or removed is no reason to go on.
    for call in ["applying Remove", "looking up f"] {
        let run = |sides: &Sides, trouble: &Arc<Trouble>| sides.import_in(trouble, &options());
        let (sides, report) = failing(make, (Side::Tree, call, Fault::Tree(TreeErrorKind::Denied)), run);
        assert_eq!((report.deleted, report.written), (0, 0), "{call}: {:?}", report.problems);
        let is_denied =
            |problem: &Problem| problem.outcome == Outcome::Failed && problem.cause == Cause::PermissionDenied;
        assert!(report.problems.iter().any(is_denied), "{call}: {:?}", report.problems);
        assert_eq!(sides.names(), ["f"]);
        assert_eq!(sides.import(&options()).written, 1, "{call}");
        assert_eq!(sides.names(), ["f/", "f/x"]);
    }
    // One that has changed stays.
    let sides = make();
    sides.tree.set_content(&key("f"), "changed").unwrap();
    let report = sides.import(&options());
    assert_eq!((report.deleted, report.written), (0, 0), "{:?}", report.problems);
    assert!(report.conflicts > 0 && sides.names() == ["f"], "{:?}", report.problems);
}

#[test]
fn what_lies_below_something_else_is_shadowed_and_no_failure() {
    let sides = Sides::agreed(&["a/", "a/f"]);
    sides.put("a/f/x", "below");
    assert!(sides.tree.remove(&key("a/f")) && sides.tree.remove(&key("a/")));
    sides.make("a", "a file");
    let mut options = importing();
    options.profile.clash = Clash::DirectoryWins;
    let report = sides.import(&options);
    let cause = |key: &str| report.problems.iter().find(|problem| *problem.key == *key).map(|problem| problem.cause);
    assert_eq!((cause("a/f"), cause("a/f/x")), (Some(Cause::Shadowed), Some(Cause::KindMismatch)));
    assert_eq!(sides.names(), ["a"]);
}

#[test]
fn a_file_that_gives_way_may_be_replaced_by_the_directory_at_any_moment() {
    let mut options = importing();
    options.profile.clash = Clash::DirectoryWins;
    for step in 0.. {
        let sides = Sides::agreed(&["f"]);
        sides.put("f/x", "below");
        let tree = Arc::clone(&sides.tree);
        let trouble = Arc::new(Trouble::none().with_event(step, move || {
            let is_there = tree.entries().first().is_some_and(|(entry, _)| entry.key() == &key("f"));
            if is_there && tree.remove(&key("f")) {
                let directory = Entry::new(key("f/"), EntryKind::Directory, attributes(0o755, 9)).unwrap();
                tree.insert(directory).unwrap();
            }
        }));
        let report = sides.import_in(&trouble, &options);
        assert_eq!((report.written, report.conflicts, report.failed), (1, 0, 0), "{step}: {:?}", report.problems);
        assert_eq!(sides.names(), ["f/", "f/x"]);
        if trouble.steps() <= step {
            break;
        }
    }
}
