//! A link as a whole: what is asked of it at its front door, in every state.

#![cfg(all(feature = "repository", feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unreachable,
    reason = "a test"
)]

use bytes::Bytes;
use futures_executor::block_on;
use posix_s3::engine::{
    Cancel, Clock, DataOptions, DataRepository, EndedEntry, ExportOptions, Fetch, FileState, FirstImport,
    ImportOptions, Imported, LinkDocumentError, Linked, MemoryState, Outcome, Part, Progress, ReleaseOptions, Report,
    RepositoryError, RepositoryOptions, RunErrorKind, Selection, Silent, States, export_since, import_since,
    plan_export, release,
};
use posix_s3::repository::{
    Action, Backlog, CompletionReport, CreateTask, EventType, Lifecycle, Link, LinkState, Loss, Misconfiguration,
    NotAllowed, Task, TaskId, TaskLifecycle, TaskRefused, TaskType, Unsent, read_message,
};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::LocalTree;
use posix_s3::{Prefix, Profile, Timestamp};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

fn keys(store: &impl ObjectStore) -> Vec<String> {
    let page = block_on(store.list(&ListRequest::default())).unwrap();
    page.objects.into_iter().map(|object| object.key).collect()
}

fn put(store: &impl ObjectStore, key: &str, body: &str) {
    block_on(store.put(key, Body::from(Bytes::from(body.to_owned())), &PutOptions::default())).unwrap();
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A directory that imports from `in/` and exports to `out/`.
struct Apart {
    directory: tempfile::TempDir,
    tree: LocalTree,
    store: MemoryStore,
    imports: Arc<MemoryState>,
    exports: MemoryState,
}

impl Apart {
    fn new(objects: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let store = MemoryStore::new();
        objects.iter().for_each(|(key, body)| put(&store, key, body));
        let (imports, exports) = (Arc::new(MemoryState::new()), MemoryState::new());
        Self { directory, tree, store, imports, exports }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn import(&self) -> Report {
        let options = ImportOptions::new(Profile::fsx()).with_prefix(prefix("in/")).with_bucket("b");
        block_on(import_since(&self.store, &self.tree, &*self.imports, &options, &Silent)).unwrap()
    }

    fn options(&self) -> ExportOptions {
        let imported = Imported::new(self.imports.clone(), prefix("in/"));
        ExportOptions::new(Profile::fsx()).with_prefix(prefix("out/")).with_bucket("b").with_imported(imported)
    }

    fn export(&self) -> Report {
        block_on(export_since(&self.tree, &self.store, &self.exports, &self.options(), &Silent)).unwrap()
    }
}

#[test]
fn s10_what_was_imported_and_not_touched_is_not_exported_to_another_prefix() {
    let link = Apart::new(&[("in/d/", ""), ("in/d/a", "one"), ("in/d/b", "two"), ("in/e/f/c", "three")]);
    link.import();
    std::fs::write(link.path().join("d/b"), "TWO").unwrap();
    std::fs::write(link.path().join("new"), "new").unwrap();
    let mut planned = Vec::new();
    block_on(plan_export(&link.tree, &link.store, Some(&link.exports), &link.options(), |one| planned.push(one)))
        .unwrap();
    let planned: Vec<&str> = planned.iter().map(|planned| &*planned.key).collect();
    assert_eq!(planned, ["d/b", "new"]);
    let report = link.export();
    assert_eq!((report.written, report.unchanged), (2, 5), "{report:?}");
    assert_eq!(keys(&link.store), ["in/d/", "in/d/a", "in/d/b", "in/e/f/c", "out/d/b", "out/new"]);
    assert_eq!(link.export().written, 0);
}

#[test]
fn what_was_exported_and_then_imported_anew_is_not_exported_again() {
    let link = Apart::new(&[("in/a", "one")]);
    link.import();
    std::fs::write(link.path().join("a"), "mine").unwrap();
    assert_eq!(link.export().written, 1);
    // The bucket wins: what is imported over it is in the bucket.
    put(&link.store, "in/a", "theirs");
    let options = ImportOptions::new(Profile::fsx()).with_prefix(prefix("in/")).with_bucket("b");
    let options = options.with_on_conflict(posix_s3::plan::OnConflict::Store);
    block_on(import_since(&link.store, &link.tree, &*link.imports, &options, &Silent)).unwrap();
    assert_eq!(std::fs::read_to_string(link.path().join("a")).unwrap(), "theirs");
    let report = link.export();
    assert_eq!((report.written, report.unchanged, report.problems.len()), (0, 1, 0), "{report:?}");
    std::fs::write(link.path().join("a"), "mine again").unwrap();
    assert_eq!(link.export().written, 1);
    assert_eq!(keys(&link.store), ["in/a", "out/a"]);
}

/// A store that refuses what a test says, as a bucket does whose policy was changed.
#[derive(Clone)]
struct Gated {
    store: Arc<MemoryStore>,
    refused: Arc<Mutex<Vec<(Operation, StoreErrorKind)>>>,
}

impl Gated {
    fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new()), refused: Arc::default() }
    }

    fn refuse(&self, refused: &[(Operation, StoreErrorKind)]) {
        *self.refused.lock().unwrap() = refused.to_vec();
    }

    fn refuse_all(&self, kind: StoreErrorKind) {
        use Operation::{Delete, Get, Head, List, Put, ReplaceMetadata};
        self.refuse(&[List, Head, Get, Put, ReplaceMetadata, Delete].map(|operation| (operation, kind)));
    }

    fn pass(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        let refused = self.refused.lock().unwrap();
        match refused.iter().find(|(of, _)| *of == operation) {
            Some((_, kind)) => Err(StoreError::new(operation, key, *kind)),
            None => Ok(()),
        }
    }
}

impl ObjectStore for Gated {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.pass(Operation::List, &request.prefix)?;
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.pass(Operation::Head, key)?;
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.pass(Operation::Get, key)?;
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.pass(Operation::Put, key)?;
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.pass(Operation::ReplaceMetadata, key)?;
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.pass(Operation::Delete, key)?;
        self.store.delete(key, precondition).await
    }
}

/// A clock that a test moves.
#[derive(Default)]
struct Hand(AtomicI64);

impl Hand {
    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(1_600_000_000 + self.0.load(Ordering::Relaxed), 0).unwrap()
    }
}

/// What a link is made of, so that it can be opened again.
struct Parts {
    directory: tempfile::TempDir,
    store: Gated,
    states: States,
    clock: Arc<Hand>,
}

impl Parts {
    fn new() -> Self {
        let states = States::apart(Arc::new(MemoryState::new()), Arc::new(MemoryState::new()));
        Self { directory: tempfile::tempdir().unwrap(), store: Gated::new(), states, clock: Arc::default() }
    }

    fn tree(&self) -> LocalTree {
        LocalTree::open(self.directory.path()).unwrap()
    }

    fn linked(&self) -> Linked {
        let request = r#"{"ImportPath": "s3://sample/in", "ExportPath": "s3://sample/out", "AutoImportPolicy": "NEW"}"#;
        Link::new(&serde_json::from_str(request).unwrap(), self.clock.now()).unwrap().into()
    }

    fn create(&self, first: FirstImport) -> Result<DataRepository<LocalTree, Gated>, RepositoryError> {
        let options = RepositoryOptions::new(Profile::fsx(), "sample");
        let (states, clock) = (self.states.clone(), self.clock.clone());
        let created =
            DataRepository::create(self.tree(), self.store.clone(), states, self.linked(), options, clock, first);
        let repository = block_on(created)?;
        block_on(repository.check(&Silent))?;
        Ok(repository)
    }

    fn open(&self) -> Result<DataRepository<LocalTree, Gated>, RepositoryError> {
        let options = RepositoryOptions::new(Profile::fsx(), "sample");
        let (states, clock) = (self.states.clone(), self.clock.clone());
        let repository = block_on(DataRepository::open(self.tree(), self.store.clone(), states, options, clock))?;
        Ok(repository)
    }
}

type Repository = DataRepository<LocalTree, Gated>;

fn import(repository: &Repository) -> Result<Report, RepositoryError> {
    block_on(repository.import(&Selection::all(), &Silent))
}

fn export(repository: &Repository) -> Result<Report, RepositoryError> {
    block_on(repository.export(&Selection::all(), &Silent))
}

fn lifecycle(repository: &Repository) -> Lifecycle {
    repository.state().lifecycle()
}

#[test]
fn a_link_is_made_used_and_deleted() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::All).unwrap();
    assert_eq!(lifecycle(&repository), Lifecycle::Available);
    assert_eq!(std::fs::read_to_string(parts.directory.path().join("a")).unwrap(), "one");
    std::fs::write(parts.directory.path().join("b"), "two").unwrap();
    assert_eq!(block_on(repository.unsent()).unwrap(), Unsent::Known { changes: 1, oldest: None });
    let (repository, refused) = block_on(repository.delete(Loss::Refused)).unwrap_err();
    let RepositoryError::Deletion(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.to_string(), "s3://sample/in cannot be deleted: 1 changes are not in the store");
    assert_eq!(lifecycle(&repository), Lifecycle::Available);
    assert_eq!(export(&repository).unwrap().written, 1);
    assert_eq!(keys(&parts.store), ["in/a", "out/b"]);
    block_on(repository.delete(Loss::Refused)).unwrap();
    assert!(matches!(parts.open(), Err(RepositoryError::Document(LinkDocumentError::None))));
    assert!(parts.directory.path().join("b").exists());
    parts.create(FirstImport::None).unwrap();
}

#[test]
fn a_second_link_in_one_state_is_refused() {
    let parts = Parts::new();
    parts.create(FirstImport::None).unwrap();
    assert!(matches!(parts.create(FirstImport::None), Err(RepositoryError::Document(LinkDocumentError::Exists))));
}

#[test]
fn what_the_store_answers_makes_a_link_misconfigured_and_a_check_heals_it() {
    use StoreErrorKind::{Denied, NoSuchBucket, WrongRegion};
    let answers = [
        (NoSuchBucket, Misconfiguration::NoSuchBucket, "there is no such bucket"),
        (WrongRegion, Misconfiguration::WrongRegion, "the bucket is in another region"),
        (Denied, Misconfiguration::ListingDenied, "access denied"),
    ];
    for (kind, misconfiguration, words) in answers {
        let parts = Parts::new();
        put(&parts.store, "in/a", "one");
        let repository = parts.create(FirstImport::None).unwrap();
        parts.store.refuse_all(kind);
        assert!(matches!(import(&repository), Err(RepositoryError::Run(_))), "{kind}");
        let state = repository.state();
        assert_eq!((state.lifecycle(), state.misconfiguration()), (Lifecycle::Misconfigured, Some(misconfiguration)));
        assert!(state.failure().unwrap().message.contains(words), "{state:?}");
        // Still wrong, and nothing changes.
        assert_eq!(block_on(repository.check(&Silent)).unwrap().state.lifecycle(), Lifecycle::Misconfigured);
        drop(repository);
        // A restart finds it as it was left.
        let repository = parts.open().unwrap();
        assert_eq!(repository.state().misconfiguration(), Some(misconfiguration));
        parts.store.refuse(&[]);
        parts.clock.forward(LinkState::RECHECK);
        assert!(repository.state().is_due(parts.clock.now()));
        let state = block_on(repository.check(&Silent)).unwrap().state;
        assert_eq!(
            (state.lifecycle(), state.failure(), state.since()),
            (Lifecycle::Available, None, parts.clock.now())
        );
        assert_eq!(import(&repository).unwrap().written, 1);
    }
}

#[test]
fn one_object_that_is_denied_leaves_the_link_available() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::None).unwrap();
    parts.store.refuse(&[(Operation::Get, StoreErrorKind::Denied)]);
    assert_eq!(import(&repository).unwrap().failed, 1);
    assert_eq!(lifecycle(&repository), Lifecycle::Available);
}

#[test]
fn puts_that_are_denied_make_a_link_misconfigured_until_they_are_allowed() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    std::fs::write(parts.directory.path().join("a"), "x").unwrap();
    parts.store.refuse(&[(Operation::Put, StoreErrorKind::Denied)]);
    assert_eq!(export(&repository).unwrap().failed, 1);
    assert_eq!(repository.state().misconfiguration(), Some(Misconfiguration::AccessDenied));
    parts.store.refuse(&[]);
    block_on(repository.check(&Silent)).unwrap();
    assert_eq!(export(&repository).unwrap().written, 1);
    // Whatever was tried has left nothing.
    assert_eq!(keys(&parts.store), ["out/a"]);
}

#[test]
fn a_passing_failure_changes_no_state() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    parts.store.refuse_all(StoreErrorKind::Transient);
    assert!(import(&repository).is_err());
    assert!(matches!(block_on(repository.check(&Silent)), Err(RepositoryError::Store(_))));
    assert_eq!(lifecycle(&repository), Lifecycle::Available);
}

#[test]
fn a_link_that_could_not_be_made_to_its_end_is_gone_on_with() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    parts.store.refuse_all(StoreErrorKind::Transient);
    assert!(matches!(parts.create(FirstImport::All), Err(RepositoryError::Store(_))));
    // It is there, and can be asked, looked at later, and deleted.
    let repository = parts.open().unwrap();
    assert_eq!(lifecycle(&repository), Lifecycle::Creating);
    assert!(matches!(import(&repository), Err(RepositoryError::NotAllowed(_))));
    parts.clock.forward(LinkState::RECHECK);
    assert!(repository.state().is_due(parts.clock.now()));
    parts.store.refuse_all(StoreErrorKind::NoSuchBucket);
    assert_eq!(block_on(repository.check(&Silent)).unwrap().state.lifecycle(), Lifecycle::Misconfigured);
    parts.store.refuse(&[]);
    put(&parts.store, "in/a//b", "no path");
    let checkup = block_on(repository.check(&Silent)).unwrap();
    assert_eq!(checkup.state.lifecycle(), Lifecycle::Available);
    // What is to be imported first is, and what could not be is said.
    assert!(parts.directory.path().join("a").exists());
    assert_eq!(checkup.first_import.unwrap().problems[0].key.as_ref(), "a//b");
    assert!(block_on(repository.check(&Silent)).unwrap().first_import.is_none());
}

#[test]
fn a_link_whose_bucket_cannot_be_reached_can_be_deleted() {
    let parts = Parts::new();
    parts.store.refuse_all(StoreErrorKind::Transient);
    let _ = parts.create(FirstImport::All);
    block_on(parts.open().unwrap().delete(Loss::Accepted)).unwrap();
    assert!(matches!(parts.open(), Err(RepositoryError::Document(LinkDocumentError::None))));
}

#[test]
fn an_update_is_gone_on_with_after_a_restart() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    let Linked::Link(mut link) = repository.linked() else { unreachable!() };
    link.update(&serde_json::from_str(r#"{"AutoImportPolicy": "NEW_CHANGED"}"#).unwrap()).unwrap();
    parts.store.refuse_all(StoreErrorKind::Transient);
    assert!(block_on(repository.update(link.into())).is_err());
    assert_eq!(lifecycle(&repository), Lifecycle::Updating);
    let refused = export(&repository).unwrap_err();
    assert!(matches!(refused, RepositoryError::NotAllowed(NotAllowed { action: Action::Export, .. })), "{refused}");
    drop(repository);
    parts.store.refuse(&[]);
    let repository = parts.open().unwrap();
    assert_eq!(lifecycle(&repository), Lifecycle::Updating);
    block_on(repository.check(&Silent)).unwrap();
    assert_eq!(lifecycle(&repository), Lifecycle::Available);
    assert!(repository.linked().auto_import().contains(EventType::Changed));
}

#[test]
fn the_paths_of_a_link_stay() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    let request = serde_json::from_str(r#"{"ImportPath": "s3://sample/elsewhere", "ExportPath": "s3://sample/out"}"#);
    let other = Link::new(&request.unwrap(), parts.clock.now()).unwrap();
    assert!(matches!(block_on(repository.update(other.into())), Err(RepositoryError::PathsChanged)));
    assert_eq!(lifecycle(&repository), Lifecycle::Available);
}

#[test]
fn a_directory_that_is_not_mounted_changes_nothing_and_one_that_is_gone_is_given_up() {
    let parts = Parts::new();
    parts.create(FirstImport::None).unwrap();
    let other = tempfile::tempdir().unwrap();
    let tree = || LocalTree::open(other.path()).unwrap();
    let open = || {
        let options = RepositoryOptions::new(Profile::fsx(), "sample");
        let (states, clock) = (parts.states.clone(), parts.clock.clone());
        block_on(DataRepository::open(tree(), parts.store.clone(), states, options, clock))
    };
    assert!(matches!(open(), Err(RepositoryError::OtherDirectory)));
    assert_eq!(lifecycle(&parts.open().unwrap()), Lifecycle::Available);
    block_on(Repository::abandon(&tree(), &parts.states, &*parts.clock)).unwrap();
    let repository = open().unwrap();
    assert_eq!(lifecycle(&repository), Lifecycle::Failed);
    assert!(import(&repository).is_err() && export(&repository).is_err());
    block_on(repository.delete(Loss::Accepted)).unwrap();
}

#[test]
fn one_state_does_not_serve_two_parts_of_a_bucket() {
    let parts = Parts { states: States::one(Arc::new(MemoryState::new())), ..Parts::new() };
    let refused = parts.create(FirstImport::None).unwrap_err().to_string();
    assert_eq!(refused, "expected a state for imports from \"in/\" and another for exports to \"out/\", found one");
}

#[test]
fn a_document_of_a_later_version_is_refused_and_kept() {
    let parts = Parts::new();
    let state = Arc::new(MemoryState::new());
    state.set(Part::Link, br#"{"version": 2, "anything": true}"#.to_vec());
    let parts = Parts { states: States::apart(state.clone(), Arc::new(MemoryState::new())), ..parts };
    assert!(matches!(parts.open(), Err(RepositoryError::Document(LinkDocumentError::Version { found: 2 }))));
    state.set(Part::Link, b"{".to_vec());
    assert!(matches!(parts.open(), Err(RepositoryError::Document(LinkDocumentError::Damaged(_)))));
    assert!(state.get(Part::Link).is_some());
}

fn create_task(repository: &Repository, request: &CreateTask, number: u128) -> Result<Task, RepositoryError> {
    block_on(repository.create_task(request, TaskId::from_number(number)))
}

fn run_task(repository: &Repository) -> Option<Task> {
    block_on(repository.run_task(&Silent)).unwrap().map(|(task, _)| task)
}

#[test]
fn tasks_wait_are_done_and_are_known_after_a_restart() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    std::fs::write(parts.directory.path().join("a"), "x").unwrap();
    std::fs::write(parts.directory.path().join("b"), "y").unwrap();
    let report = CompletionReport::at("s3://sample/out/reports");
    let request = CreateTask::new(TaskType::ExportToRepository).with_paths(["a"]).with_report(report);
    create_task(&repository, &request, 1).unwrap();
    assert!(matches!(create_task(&repository, &request, 2), Err(RepositoryError::Task(TaskRefused::Executing { .. }))));
    drop(repository);
    let repository = parts.open().unwrap();
    let task = run_task(&repository).unwrap();
    assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Succeeded, 1));
    assert_eq!(keys(&parts.store), ["out/a"]);
    assert_eq!(run_task(&repository), None);
    drop(repository);
    let tasks = parts.open().unwrap().tasks();
    assert_eq!(tasks.iter().map(|task| task.lifecycle).collect::<Vec<_>>(), [TaskLifecycle::Succeeded]);
}

#[test]
fn a_task_that_the_store_refuses_fails_and_its_link_is_misconfigured() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::None).unwrap();
    create_task(&repository, &CreateTask::new(TaskType::ImportMetadataFromRepository), 1).unwrap();
    parts.store.refuse_all(StoreErrorKind::NoSuchBucket);
    let task = run_task(&repository).unwrap();
    assert_eq!(task.lifecycle, TaskLifecycle::Failed);
    assert!(task.failure_details.unwrap().message.contains("no such bucket"));
    assert_eq!(lifecycle(&repository), Lifecycle::Misconfigured);
}

#[test]
fn a_link_with_a_task_that_waits_is_not_deleted() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    let task = create_task(&repository, &CreateTask::new(TaskType::ExportToRepository), 1).unwrap();
    let (repository, refused) = block_on(repository.delete(Loss::Accepted)).unwrap_err();
    let RepositoryError::Deletion(refused) = refused else { panic!("{refused}") };
    let found = refused.to_string();
    assert_eq!(found, format!("s3://sample/in cannot be deleted: it has tasks at work, {} (PENDING)", task.task_id));
    block_on(repository.cancel_task(&task.task_id)).unwrap();
    block_on(repository.delete(Loss::Accepted)).unwrap();
}

#[test]
fn a_task_that_is_at_work_is_cancelled_and_keeps_what_it_has_done() {
    struct CancelAfter<'r> {
        repository: &'r Repository,
        left: Mutex<u32>,
    }

    impl Progress for CancelAfter<'_> {
        fn ended(&self, _: &str, _: Outcome) {
            let mut left = self.left.lock().unwrap();
            *left = left.saturating_sub(1);
            if *left == 0 {
                // Somebody else, while the run goes on.
                let cancel = || block_on(self.repository.cancel_task(&TaskId::from_number(1))).unwrap();
                std::thread::scope(|scope| scope.spawn(cancel).join().unwrap());
            }
        }
    }

    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    for number in 0..100 {
        std::fs::write(parts.directory.path().join(format!("f{number:02}")), "x").unwrap();
    }
    create_task(&repository, &CreateTask::new(TaskType::ExportToRepository), 1).unwrap();
    let progress = CancelAfter { repository: &repository, left: Mutex::new(5) };
    let worked =
        std::thread::scope(|scope| scope.spawn(|| block_on(repository.run_task(&progress)).unwrap()).join().unwrap());
    let (task, _) = worked.unwrap();
    assert_eq!(task.lifecycle, TaskLifecycle::Canceled);
    let done = keys(&parts.store).len() as u64;
    assert!((5..100).contains(&done), "{done}");
    assert_eq!(task.status.succeeded_count, done);
    let report = export(&repository).unwrap();
    assert_eq!((report.written, report.unchanged), (100 - done, done));
}

/// A backlog with an event for each of these keys.
fn backlog(repository: &Repository, keys: &[&str]) -> Backlog {
    let mut backlog = repository.backlog();
    for key in keys {
        let record = format!(
            r#"{{"Records": [{{"eventVersion": "2.1", "eventName": "ObjectCreated:Put", "eventTime":
            "2020-09-13T12:26:40.000Z", "s3": {{"bucket": {{"name": "sample"}}, "object": {{"key": "{key}"}}}}}}]}}"#
        );
        read_message(record.as_bytes()).into_iter().for_each(|notice| backlog.note(notice.unwrap()));
    }
    backlog
}

#[test]
fn events_whose_run_is_dropped_wait_on() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::None).unwrap();
    let mut backlog = backlog(&repository, &["in/a"]);
    let mut applied = Box::pin(repository.apply(&mut backlog, &Silent));
    let waker = futures_util::task::noop_waker();
    // It is at work, and waits for the disk at the latest.
    let polled = applied.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    drop(applied);
    if polled.is_pending() {
        assert_eq!(backlog.len(), 1);
    }
    block_on(repository.apply(&mut backlog, &Silent)).unwrap();
    assert!(backlog.is_empty() && parts.directory.path().join("a").exists());
}

#[test]
fn an_object_that_is_denied_holds_up_nothing_and_nobody() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::None).unwrap();
    let mut backlog = backlog(&repository, &["in/a"]);
    parts.store.refuse(&[(Operation::Get, StoreErrorKind::Denied)]);
    assert_eq!(block_on(repository.apply(&mut backlog, &Silent)).unwrap().failed, 1);
    assert_eq!((backlog.len(), lifecycle(&repository)), (1, Lifecycle::Available));
    // It was tried, and that it cannot be had is no reason to drop what comes after it.
    parts.clock.forward(LinkState::BACKLOG + 1);
    block_on(repository.apply(&mut backlog, &Silent)).unwrap();
    assert_eq!((backlog.len(), lifecycle(&repository)), (1, Lifecycle::Available));
}

#[test]
fn changes_of_a_link_are_kept_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let states = || {
        let open = |name| Arc::new(FileState::open(directory.path().join(name)).unwrap());
        States::apart(open("exports"), open("imports"))
    };
    let parts = Parts { states: states(), ..Parts::new() };
    let repository = parts.create(FirstImport::None).unwrap();
    let create = |number: u128| {
        let request = CreateTask::new(TaskType::ExportToRepository).with_paths([format!("p{number}")]);
        let repository = &repository;
        async move { repository.create_task(&request, TaskId::from_number(number)).await.unwrap() }
    };
    block_on(futures_util::future::join_all((0..50).map(create)));
    let tasks = repository.tasks().iter().count();
    drop(repository);
    drop(parts.states);
    let parts = Parts { states: states(), directory: parts.directory, store: parts.store, clock: parts.clock };
    assert_eq!((tasks, parts.open().unwrap().tasks().iter().count()), (50, 50));
}

#[test]
fn what_can_never_be_exported_is_unsent() {
    use std::os::unix::ffi::OsStrExt;
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    std::fs::write(parts.directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    assert_eq!(block_on(repository.unsent()).unwrap(), Unsent::Known { changes: 1, oldest: None });
    assert!(block_on(repository.delete(Loss::Refused)).is_err());
}

#[test]
fn a_link_with_files_that_are_released_is_not_deleted() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    parts.create(FirstImport::None).unwrap();
    let mut options = RepositoryOptions::new(Profile::fsx(), "sample");
    options.import = options.import.with_data(Fetch::OnDemand);
    let (states, clock) = (parts.states.clone(), parts.clock.clone());
    let repository = block_on(DataRepository::open(parts.tree(), parts.store.clone(), states, options, clock)).unwrap();
    import(&repository).unwrap();
    let (repository, refused) = block_on(repository.delete(Loss::Refused)).unwrap_err();
    assert!(matches!(refused, RepositoryError::Released { files: 1 }), "{refused}");
    assert_eq!(block_on(repository.restore(&Selection::all(), &Silent)).unwrap().written, 1);
    assert_eq!(std::fs::read_to_string(parts.directory.path().join("a")).unwrap(), "one");
    block_on(repository.delete(Loss::Refused)).unwrap();
}

#[test]
fn a_task_whose_run_was_dropped_can_be_cancelled_and_holds_up_no_deletion() {
    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::None).unwrap();
    create_task(&repository, &CreateTask::new(TaskType::ImportMetadataFromRepository), 1).unwrap();
    let mut run = Box::pin(repository.run_task(&Silent));
    let waker = futures_util::task::noop_waker();
    assert!(run.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    drop(run);
    assert_eq!(block_on(repository.cancel_task(&TaskId::from_number(1))).unwrap(), TaskLifecycle::Canceled);
    block_on(repository.delete(Loss::Accepted)).unwrap();
}

#[test]
fn a_release_that_is_cancelled_leaves_the_rest() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    for number in 0..50 {
        std::fs::write(parts.directory.path().join(format!("f{number:02}")), "x".repeat(5000)).unwrap();
    }
    export(&repository).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let cancel = Cancel::default();
    cancel.cancel();
    let data = DataOptions::new(Profile::fsx()).with_prefix(prefix("out/")).with_bucket("sample").with_cancel(&cancel);
    let (state, now) = (MemoryState::new(), parts.clock.now());
    let stopped = block_on(release(&parts.tree(), &parts.store, &state, &ReleaseOptions::new(data), now, &Silent));
    let stopped = stopped.unwrap_err();
    assert!(matches!(stopped.kind, RunErrorKind::Cancelled) && stopped.report.released == 0);
}

#[test]
fn requests_that_would_make_the_document_too_long_are_refused() {
    let parts = Parts::new();
    let repository = parts.create(FirstImport::None).unwrap();
    let mut refused = None;
    for number in 0..40 {
        let paths: Vec<String> = (0..100).map(|path| format!("{number}-{path}-{}", "\u{1}".repeat(4000))).collect();
        let request = CreateTask::new(TaskType::ExportToRepository).with_paths(paths).with_token(&number.to_string());
        if let Err(error) = create_task(&repository, &request, number) {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(RepositoryError::Document(LinkDocumentError::TooLong))), "{refused:?}");
    drop(repository);
    assert!(parts.open().is_ok());
}

#[test]
fn a_sweep_tells_of_each_entry_that_ends() {
    #[derive(Default)]
    struct Entries(Mutex<Vec<String>>);

    impl Progress for Entries {
        fn entry(&self, entry: &EndedEntry<'_>) {
            self.0.lock().unwrap().push(String::from_utf8(entry.key.to_vec()).unwrap());
        }
    }

    let parts = Parts::new();
    put(&parts.store, "in/a", "one");
    let repository = parts.create(FirstImport::None).unwrap();
    let entries = Entries::default();
    let drift = block_on(repository.sweep(None, &entries)).unwrap();
    assert_eq!(drift.repaired, [Box::<str>::from("a")]);
    assert_eq!(*entries.0.lock().unwrap(), ["a"]);
}
