//! Tasks do what they are asked for, count it, report what they could not do, and lose nothing when they are cut short.

#![cfg(all(feature = "engine", feature = "repository"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use posix_s3::engine::{
    Cancel, Clock, Completion, CompletionError, EndedEntry, ExportOptions, ImportOptions, Jobs, MemoryState, Outcome,
    Progress, ReleaseRequest, Released, Releaser, RunErrorKind, Silent, TaskOptions, TaskOutcome, TaskRun, export,
    export_since,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::repository::{
    CompletionReport, CreateTask, EventTypes, OutcomeLine, ReleaseConfiguration, ReportCode, ReportReader, Task,
    TaskId, TaskLifecycle, TaskStatus, TaskType, Tasks,
};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{MemoryTree, Present, Tree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Prefix, Profile, SymlinkTarget, Timestamp, Uid};
use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Poll;

const FILE_SYSTEM: &str = "fs-0123456789abcdef0";

fn key(key: &str) -> Key {
    key.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds, 0).unwrap()
}

fn attributes(mode: u32) -> Attributes {
    let (atime, mtime) = (at(1_600_000_001), at(1_600_000_002));
    let (uid, gid) = (Uid::new(500).unwrap(), Gid::new(501).unwrap());
    Attributes { permissions: Permissions::from_mode(mode), uid, gid, atime, mtime }
}

/// Fails a call for keys that contain a word.
struct Choosy {
    store: MemoryStore,
    operation: Operation,
    word: &'static str,
    kind: StoreErrorKind,
    puts: AtomicU64,
}

impl Choosy {
    fn new(operation: Operation, word: &'static str, kind: StoreErrorKind) -> Self {
        Self { store: MemoryStore::new(), operation, word, kind, puts: AtomicU64::new(0) }
    }

    fn content() -> Self {
        Self::new(Operation::Put, "\0", StoreErrorKind::Other)
    }

    fn check(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        if operation == self.operation && key.contains(self.word) {
            return Err(StoreError::new(operation, key, self.kind));
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let page = block_on(self.store.list(&ListRequest::default())).unwrap();
        page.objects.into_iter().map(|object| object.key.to_string()).collect()
    }

    fn object(&self, key: &str) -> (ObjectMeta, String) {
        let GetOutput { meta, body } = block_on(self.store.get(key, &GetOptions::default())).unwrap();
        let pieces: Vec<_> = block_on(futures_util::StreamExt::collect::<Vec<_>>(body));
        let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect();
        (meta, String::from_utf8(bytes).unwrap())
    }

    fn insert(&self, key: &str, body: &str) {
        let body = Body::Bytes(body.as_bytes().to_vec().into());
        block_on(self.store.put(key, body, &PutOptions::default())).unwrap();
    }
}

impl ObjectStore for Choosy {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.check(Operation::List, &request.prefix)?;
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.check(Operation::Head, key)?;
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.check(Operation::Get, key)?;
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.check(Operation::Put, key)?;
        // Something else may happen first.
        let mut yielded = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.check(Operation::ReplaceMetadata, key)?;
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

/// A link of `/ns1` to `s3://sample-data/in/`, and the tasks of its file system.
struct Link {
    tree: MemoryTree,
    store: Choosy,
    state: MemoryState,
    tasks: Tasks,
    options: TaskOptions,
    next: u128,
}

impl Link {
    fn new(store: Choosy) -> Self {
        let prefix: Prefix = "in/".parse().unwrap();
        let export = ExportOptions::new(Profile::fsx()).with_bucket("sample-data").with_prefix(prefix.clone());
        let import = ImportOptions::new(Profile::fsx()).with_bucket("sample-data").with_prefix(prefix);
        let options = TaskOptions::new("/ns1", "sample-data", export, import);
        let tasks = Tasks::new(FILE_SYSTEM);
        Self { tree: MemoryTree::new(), store, state: MemoryState::new(), tasks, options, next: 1 }
    }

    fn file(&self, name: &str, content: &str) {
        self.tree.remove(&key(name));
        self.tree.insert_file(key(name), content.to_owned().into_bytes(), attributes(0o640)).unwrap();
    }

    fn create(&mut self, request: &CreateTask) -> TaskId {
        let id = TaskId::from_number(self.next);
        self.next += 1;
        self.tasks.create(request, id, EventTypes::NONE, at(1)).unwrap().task_id.clone()
    }

    fn run(&self) -> TaskRun<'_, MemoryTree, Choosy> {
        TaskRun::new(&self.tree, &self.store, &self.state, &self.options)
    }

    /// Works on a new task to its end.
    fn done(&mut self, request: &CreateTask) -> (Task, TaskOutcome) {
        let id = self.create(request);
        let task = self.tasks.start_next(at(2)).unwrap();
        assert_eq!(task.task_id, id);
        let outcome = block_on(self.run().run(&task));
        let task = self.tasks.end(&id, outcome.end.clone(), at(3)).unwrap().clone();
        (task, outcome)
    }
}

fn exporting() -> CreateTask {
    CreateTask::new(TaskType::ExportToRepository)
}

fn importing() -> CreateTask {
    CreateTask::new(TaskType::ImportMetadataFromRepository)
}

fn reporting() -> CompletionReport {
    CompletionReport::at("s3://sample-data/in/reports")
}

fn puts(outcome: &TaskOutcome) -> u64 {
    outcome.report.as_ref().unwrap().store_calls.put
}

#[test]
fn s02_intermediate_results_are_exported_again_and_again() {
    let mut link = Link::new(Choosy::content());
    for step in 0..3 {
        link.file("checkpoint", &format!("step {step}"));
        let (task, _) = link.done(&exporting());
        assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Succeeded, 1));
        assert_eq!(link.store.object("in/checkpoint").1, format!("step {step}"));
    }
}

#[test]
fn s08_the_export_may_come_after_the_work_and_for_parts_of_it() {
    let mut link = Link::new(Choosy::content());
    link.tree.insert(Entry::new(key("results/"), EntryKind::Directory, attributes(0o750)).unwrap()).unwrap();
    link.file("results/a", "a");
    link.file("scratch", "s");
    link.file("log", "l");
    let (task, _) = link.done(&exporting().with_paths(["ns1/results", "/ns1/log"]));
    assert_eq!((task.lifecycle, task.status.total_count), (TaskLifecycle::Succeeded, 3));
    assert_eq!(link.store.names(), ["in/log", "in/results/", "in/results/a"]);
    let (task, _) = link.done(&exporting());
    assert_eq!((task.lifecycle, task.status.total_count), (TaskLifecycle::Succeeded, 1));
}

#[test]
fn s09_files_and_their_metadata_are_exported_at_any_time() {
    let mut link = Link::new(Choosy::content());
    link.file("a", "a");
    link.done(&exporting());
    link.tree.set_attributes(&key("a"), attributes(0o600)).unwrap();
    let (task, outcome) = link.done(&exporting());
    assert_eq!((task.status.succeeded_count, outcome.report.unwrap().metadata_only), (1, 1));
    let headers = link.store.object("in/a").0.headers;
    assert_eq!(headers["x-amz-meta-file-permissions"], "0100600");
    assert_eq!(
        (&headers["x-amz-meta-file-owner"], &headers["x-amz-meta-file-group"]),
        (&"500".parse().unwrap(), &"501".parse().unwrap())
    );
}

#[test]
fn s10_only_what_has_changed_since_the_last_export_is_moved() {
    let mut link = Link::new(Choosy::content());
    for name in ["a", "b", "c"] {
        link.file(name, name);
    }
    let (task, outcome) = link.done(&exporting());
    assert_eq!((task.status.total_count, puts(&outcome)), (3, 3));
    link.file("b", "changed");
    link.file("d", "new");
    let (task, outcome) = link.done(&exporting());
    assert_eq!((task.status.total_count, puts(&outcome)), (2, 2));
    let (task, outcome) = link.done(&exporting());
    assert_eq!((task.lifecycle, task.status.total_count, puts(&outcome)), (TaskLifecycle::Succeeded, 0, 0));
}

#[test]
fn s03_an_import_brings_the_newest_data() {
    let mut link = Link::new(Choosy::content());
    link.store.insert("in/a", "one");
    link.store.insert("in/d/b", "two");
    link.store.insert("out/c", "elsewhere");
    let (task, _) = link.done(&importing().with_paths(["s3://sample-data/in/d/"]));
    assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Succeeded, 1));
    assert!(matches!(block_on(link.tree.lookup(&key("a"))).unwrap(), Present::Nothing));
    link.store.insert("in/d/b", "three");
    let (task, _) = link.done(&importing());
    assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Succeeded, 2));
    let contents: Vec<(String, Vec<u8>)> = link
        .tree
        .entries()
        .into_iter()
        .map(|(entry, content)| (entry.key().as_str().to_owned(), content.to_vec()))
        .collect();
    let expected = [("a", "one"), ("d/", ""), ("d/b", "three")];
    assert_eq!(contents, expected.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec())));
}

#[test]
fn a_task_deletes_nothing_whatever_the_options_say() {
    let mut link = Link::new(Choosy::content());
    link.options.export = link.options.export.clone().with_deletes(Deletes::Apply(Brake::default()));
    link.options.import = link.options.import.clone().with_deletes(Deletes::Apply(Brake::default()));
    link.file("a", "a");
    link.file("b", "b");
    link.done(&exporting());
    link.tree.remove(&key("a"));
    let (task, _) = link.done(&exporting());
    assert_eq!((task.lifecycle, link.store.names()), (TaskLifecycle::Succeeded, vec!["in/a".into(), "in/b".into()]));
    block_on(link.store.delete("in/b", &Precondition::None)).unwrap();
    link.done(&importing());
    assert!(matches!(block_on(link.tree.lookup(&key("b"))).unwrap(), Present::Entry(_)));
}

#[test]
fn a_path_that_is_none_fails_the_task_before_anything_is_done() {
    for (request, message) in [
        (exporting().with_paths(["ns1/a", "ns2/a"]), "invalid path \"ns2/a\": expected one within /ns1"),
        (exporting().with_paths(["ns1/../a"]), "invalid path \"ns1/../a\": invalid key"),
        (
            importing().with_paths(["ns1/a"]),
            "invalid path \"ns1/a\": expected `s3://` and a bucket, found something else",
        ),
        (
            importing().with_paths(["s3://sample-data/out"]),
            "invalid path \"s3://sample-data/out\": expected one within",
        ),
    ] {
        let mut link = Link::new(Choosy::content());
        link.file("a", "a");
        let (task, outcome) = link.done(&request);
        assert_eq!((task.lifecycle, task.status.total_count), (TaskLifecycle::Failed, 0));
        let details = task.failure_details.unwrap().message;
        assert!(details.starts_with(message), "{details}");
        assert!(outcome.report.is_none() && link.store.names().is_empty());
    }
}

#[test]
fn a_path_that_is_not_there_fails_the_task() {
    let mut link = Link::new(Choosy::content());
    let (task, _) = link.done(&exporting().with_paths(["ns1/nothing"]).with_report(reporting()));
    assert_eq!((task.lifecycle, task.status.failed_count), (TaskLifecycle::Failed, 1));
    assert_eq!(
        link.store.object("in/reports/task-00000000000000001/failures.csv").1,
        "ns1/nothing,failed,InternalError\n"
    );
}

#[test]
fn a_path_of_an_import_that_is_in_neither_place_fails_the_task() {
    let mut link = Link::new(Choosy::content());
    link.store.insert("in/a", "a");
    link.store.insert("in/none-at-all", "b");
    link.store.insert("in/d/e", "e");
    let path = |path: &str| format!("s3://sample-data/in/{path}");
    let (task, outcome) = link.done(&importing().with_paths([path("a"), path("none")]).with_report(reporting()));
    let TaskStatus { total_count, succeeded_count, failed_count, .. } = task.status;
    assert_eq!((task.lifecycle, total_count, succeeded_count, failed_count), (TaskLifecycle::Failed, 2, 1, 1));
    assert_eq!(
        link.store.object("in/reports/task-00000000000000001/report.csv").1,
        "ns1/none,failed,S3ObjectNotFound\n"
    );
    let report = outcome.report.unwrap();
    assert_eq!((report.written, report.failed, &*report.problems[0].key), (1, 1, "none"));
    // Nothing but such paths is not everything; and a file is no directory.
    for missing in ["none", "a/", "d/e/"] {
        let (task, _) = link.done(&importing().with_paths([path(missing)]));
        assert_eq!((task.lifecycle, task.status.total_count), (TaskLifecycle::Failed, 1), "{missing}");
    }
    assert!(matches!(block_on(link.tree.lookup(&key("none-at-all"))).unwrap(), Present::Nothing));
    // What was there and is gone is recorded, and what has nothing but something below it is there.
    let (task, _) = link.done(&importing().with_paths([path("d"), path("d/")]));
    assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Succeeded, 1));
    for gone in ["in/a", "in/d/e"] {
        block_on(link.store.delete(gone, &Precondition::None)).unwrap();
    }
    for gone in ["a", "d", "d/", "d/e"] {
        let (task, _) = link.done(&importing().with_paths([path(gone)]));
        assert_eq!((task.lifecycle, task.status.total_count), (TaskLifecycle::Succeeded, 0), "{gone}");
    }
}

#[test]
fn a_link_that_is_empty_as_a_whole_is_no_failure() {
    let mut link = Link::new(Choosy::content());
    for path in ["s3://sample-data/in", "s3://sample-data"] {
        let (task, _) = link.done(&importing().with_paths([path]));
        assert_eq!((task.lifecycle, task.status.total_count), (TaskLifecycle::Succeeded, 0));
    }
    let (task, _) = link.done(&exporting().with_paths(["ns1/"]));
    assert_eq!(task.lifecycle, TaskLifecycle::Succeeded);
}

#[test]
fn a_path_with_a_slash_is_not_that_of_a_file() {
    let mut link = Link::new(Choosy::content());
    link.file("f", "f");
    link.file("g", "g");
    for paths in [&["ns1/f/"][..], &["ns1/f/", "ns1/g"]] {
        let (task, _) = link.done(&exporting().with_paths(paths).with_report(reporting()));
        assert_eq!((task.lifecycle, task.status.failed_count), (TaskLifecycle::Failed, 1));
    }
    let text = link.store.object("in/reports/task-00000000000000002/failures.csv").1;
    assert_eq!(text, "ns1/f/,failed,InternalError\n");
    assert_eq!(link.store.names().first().unwrap(), "in/g");
}

#[test]
fn one_file_that_fails_fails_the_task_and_stands_in_the_report() {
    let mut link = Link::new(Choosy::new(Operation::Put, "secret", StoreErrorKind::Denied));
    link.file("a", "a");
    link.file("@secret,\"1\"", "b");
    let outcomes = Mutex::new(Vec::new());
    let id = link.create(&exporting().with_report(reporting()));
    let task = link.tasks.start_next(at(2)).unwrap();
    let outcome = block_on(link.run().with_outcomes(&outcomes).run(&task));
    let task = link.tasks.end(&id, outcome.end.clone(), at(3)).unwrap();
    let TaskStatus { total_count, succeeded_count, failed_count, .. } = task.status;
    assert_eq!((task.lifecycle, total_count, succeeded_count, failed_count), (TaskLifecycle::Failed, 2, 1, 1));
    assert_eq!(task.failure_details.as_ref().unwrap().message.as_ref(), "1 of 2 failed");

    let name = "in/reports/task-00000000000000001/failures.csv";
    let Completion::Written { key, rows } = outcome.completion else { panic!("{:?}", outcome.completion) };
    assert_eq!((&*key, rows), (name, 1));
    let (meta, text) = link.store.object(name);
    assert_eq!(text, "\"ns1/@secret,\"\"1\"\"\",failed,S3AccessDenied\n");
    assert_eq!(meta.headers["content-type"], "text/csv; charset=utf-8");

    let text = String::from_utf8(outcomes.into_inner().unwrap()).unwrap();
    let mut lines: Vec<OutcomeLine<'_>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].code, Some(ReportCode::S3AccessDenied));
    assert_eq!(lines[0].reason.as_deref(), Some("put of \"in/@secret,\\\"1\\\"\" failed: access denied"));
    assert_eq!((lines[1].key.as_deref(), &*lines[1].outcome, lines[1].bytes), (Some("ns1/a"), "written", 1));

    // What failed is tried again, and only that.
    link.store.word = "\0";
    let (task, outcome) = link.done(&exporting().with_report(reporting()));
    assert_eq!((task.lifecycle, puts(&outcome)), (TaskLifecycle::Succeeded, 1));
    assert!(matches!(outcome.completion, Completion::Nothing));
}

#[test]
fn an_import_reports_what_it_cannot_bring() {
    let mut link = Link::new(Choosy::new(Operation::Get, "archived", StoreErrorKind::Archived));
    let source = MemoryTree::new();
    let target = SymlinkTarget::parse(b"a").unwrap();
    let link_entry = Entry::new(key("archived-link"), EntryKind::Symlink { target }, attributes(0o777)).unwrap();
    source.insert(link_entry).unwrap();
    block_on(export(&source, &link.store, &link.options.export, &Silent)).unwrap();
    link.store.insert("in/archived", "a");
    link.store.insert("in/fine", "f");
    link.store.insert("in/x/../y", "y");
    link.store.insert("in/stands", "s");
    link.tree.insert(Entry::new(key("stands/"), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    let (task, _) = link.done(&importing().with_report(reporting()));
    assert_eq!((task.lifecycle, task.status.succeeded_count, task.status.failed_count), (TaskLifecycle::Failed, 1, 4));
    let text = link.store.object("in/reports/task-00000000000000001/report.csv").1;
    let rows = ReportReader::new(text.as_bytes()).map(|row| row.unwrap());
    let mut rows: Vec<(String, ReportCode)> = rows.map(|row| (row.path.into(), row.code.known().unwrap())).collect();
    rows.sort();
    let expected = [
        ("ns1/archived", ReportCode::S3ObjectInUnsupportedTier),
        ("ns1/archived-link", ReportCode::S3SymlinkInUnsupportedTier),
        ("ns1/stands", ReportCode::S3ObjectTypeMismatch),
        ("ns1/x/../y", ReportCode::S3ObjectPathNotPosixCompliant),
    ];
    assert_eq!(rows, expected.map(|(path, code)| (path.to_owned(), code)));
}

#[test]
fn a_path_that_is_too_long_for_the_bucket_stands_in_the_report() {
    let mut link = Link::new(Choosy::content());
    // The prefix counts: this fits the tree and not the bucket.
    let mut long = String::new();
    for _ in 0..4 {
        long.push_str(&format!("{}/", "d".repeat(254)));
        link.tree.insert(Entry::new(key(&long), EntryKind::Directory, attributes(0o755)).unwrap()).unwrap();
    }
    long.push_str("abc");
    link.file(&long, "l");
    link.file("a", "a");
    let (task, _) = link.done(&exporting().with_report(reporting()));
    assert_eq!((task.status.succeeded_count, task.status.failed_count), (5, 1));
    let text = link.store.object("in/reports/task-00000000000000001/failures.csv").1;
    assert_eq!(text, format!("ns1/{long},failed,PathSizeTooLong\n"));
}

#[test]
fn a_report_that_cannot_be_written_fails_no_task() {
    let mut link = Link::new(Choosy::new(Operation::Put, "failures.csv", StoreErrorKind::Denied));
    let (task, outcome) = link.done(&exporting().with_paths(["ns1/nothing"]).with_report(reporting()));
    assert_eq!(task.status.failed_count, 1);
    let Completion::Lost(error @ CompletionError::Upload(_)) = outcome.completion else { panic!("not lost") };
    assert_eq!(error.to_string(), "the completion report could not be uploaded");

    link.file("a", "a");
    let elsewhere = CompletionReport::at("s3://sample-data/out");
    let (task, outcome) = link.done(&exporting().with_report(elsewhere));
    assert_eq!(task.lifecycle, TaskLifecycle::Succeeded);
    assert!(matches!(outcome.completion, Completion::Lost(CompletionError::Place(_))));
    let (_, outcome) = link.done(&exporting());
    assert!(matches!(outcome.completion, Completion::Disabled));
}

#[test]
fn a_report_does_not_grow_in_memory() {
    let mut link = Link::new(Choosy::new(Operation::Put, "long", StoreErrorKind::Denied));
    const FILES: usize = 6_000;
    for file in 0..FILES {
        link.file(&format!("long{}{file}", "-".repeat(200)), "");
    }
    let (task, outcome) = link.done(&exporting().with_report(reporting()));
    assert_eq!(task.status.failed_count, FILES as u64);
    let Completion::Written { key, rows } = outcome.completion else { panic!("{:?}", outcome.completion) };
    let text = link.store.object(&key).1;
    assert!(text.len() > 1 << 20);
    assert_eq!((ReportReader::new(text.as_bytes()).filter(Result::is_ok).count(), rows), (FILES, FILES as u64));
}

#[test]
fn a_store_that_cannot_be_listed_fails_the_task() {
    let mut link = Link::new(Choosy::new(Operation::List, "", StoreErrorKind::Denied));
    let (task, outcome) = link.done(&importing());
    assert_eq!(task.lifecycle, TaskLifecycle::Failed);
    assert_eq!(
        task.failure_details.unwrap().message.as_ref(),
        "the import stopped: the bucket could not be listed: list of \"in/\" failed: access denied"
    );
    assert!(outcome.report.is_some());
}

/// Ten seconds later each time.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        at(self.0.fetch_add(10, Ordering::Relaxed))
    }
}

#[test]
fn numbers_are_brought_up_to_date_every_30_seconds() {
    let mut link = Link::new(Choosy::content());
    link.options.export = link.options.export.clone().with_jobs(Jobs::ONE);
    for file in 0..20 {
        link.file(&format!("f{file}"), "");
    }
    let id = link.create(&exporting());
    let task = link.tasks.start_next(at(0)).unwrap();
    let (clock, seen) = (Ticking(AtomicI64::new(0)), Mutex::new(Vec::new()));
    let updates = |status: TaskStatus| seen.lock().unwrap().push(status);
    let outcome = block_on(link.run().with_clock(&clock).with_updates(&updates).run(&task));
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() >= 6, "{seen:?}");
    for pair in seen.windows(2) {
        assert!(pair[0].succeeded_count < pair[1].succeeded_count);
        let times = [pair[0], pair[1]].map(|status| status.last_updated_time.unwrap().seconds());
        assert_eq!(times[1] - times[0], 30);
    }
    let running = link.tasks.progress(&id, seen[0], at(40)).unwrap();
    assert_eq!(
        (running.lifecycle, running.status.succeeded_count),
        (TaskLifecycle::Executing, seen[0].succeeded_count)
    );
    let ended = link.tasks.end(&id, outcome.end, at(50)).unwrap();
    assert_eq!((ended.status.succeeded_count, ended.status.last_updated_time), (20, Some(at(50))));
}

/// Does something when so many entries have ended.
struct At<F>(AtomicU64, u64, F);

impl<F: Fn() + Send + Sync> Progress for At<F> {
    fn entry(&self, _: &EndedEntry<'_>) {
        if self.0.fetch_add(1, Ordering::Relaxed) + 1 == self.1 {
            (self.2)();
        }
    }
}

#[test]
fn a_task_that_is_cancelled_keeps_what_it_has_done() {
    for request in [exporting(), importing()] {
        let mut link = Link::new(Choosy::content());
        link.options.export = link.options.export.clone().with_jobs(Jobs::ONE);
        link.options.import = link.options.import.clone().with_jobs(Jobs::ONE);
        for file in 0..20 {
            match request.r#type {
                TaskType::ExportToRepository => link.file(&format!("f{file:02}"), "x"),
                _ => link.store.insert(&format!("in/f{file:02}"), "x"),
            }
        }
        let id = link.create(&request);
        let task = link.tasks.start_next(at(0)).unwrap();
        let cancel = Cancel::default();
        let progress = At(AtomicU64::new(0), 5, || cancel.cancel());
        let outcome = block_on(link.run().with_cancel(&cancel).with_progress(&progress).run(&task));
        assert_eq!(link.tasks.cancel(&id, at(1)).unwrap(), TaskLifecycle::Canceling);
        let ended = link.tasks.end(&id, outcome.end, at(2)).unwrap();
        assert_eq!((ended.lifecycle, &ended.failure_details), (TaskLifecycle::Canceled, &None));
        let before = ended.status.succeeded_count;
        assert!((5..20).contains(&before), "{before}");
        let (task, _) = link.done(&request);
        assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Succeeded, 20 - before));
    }
}

#[test]
fn s03_a_task_that_was_at_work_when_everything_stopped_goes_on() {
    let mut link = Link::new(Choosy::content());
    link.options.export = link.options.export.clone().with_jobs(Jobs::ONE);
    for file in 0..20 {
        link.file(&format!("f{file:02}"), "x");
    }
    let id = link.create(&exporting());
    let task = link.tasks.start_next(at(0)).unwrap();
    let stored = {
        let run = link.run();
        let stop = poll_fn(|context| {
            context.waker().wake_by_ref();
            if link.store.puts.load(Ordering::Relaxed) >= 7 { Poll::Ready(()) } else { Poll::Pending }
        });
        let stopped = block_on(select(stop, Box::pin(run.run(&task))));
        assert!(matches!(stopped, Either::Left(_)));
        link.store.names().len() as u64
    };
    let text = serde_json::to_string(&link.tasks).unwrap();
    link.tasks = serde_json::from_str(&text).unwrap();
    link.tasks.restart(at(5));
    let task = link.tasks.start_next(at(6)).unwrap();
    assert_eq!(task.task_id, id);
    let outcome = block_on(link.run().run(&task));
    // What was on its way may be looked at, and is not sent again if it is there.
    assert_eq!(stored + puts(&outcome), 20);
    let ended = link.tasks.end(&id, outcome.end, at(7)).unwrap();
    assert_eq!(ended.lifecycle, TaskLifecycle::Succeeded);
}

/// Releases every file of the selection that is long enough unused, or says that it is not exported.
struct Fake;

impl Releaser for Fake {
    fn release<'a>(&'a self, request: ReleaseRequest<'a>) -> BoxFuture<'a, Released> {
        async move {
            assert!(request.selection.holds("results/a") && !request.selection.holds("log"));
            assert!(!request.configuration.is_old_enough(at(1), request.creation_time));
            request.progress.ended("results/a", Outcome::MetadataOnly);
            let ended = if request.cancel.is_cancelled() { Err(RunErrorKind::Cancelled) } else { Ok(()) };
            Released { bytes: 3 << 30, ended }
        }
        .boxed()
    }
}

#[test]
fn a_release_is_done_by_whoever_can() {
    let mut link = Link::new(Choosy::content());
    let release = ReleaseConfiguration::after_days(1);
    let request =
        CreateTask::new(TaskType::ReleaseDataFromFilesystem).with_paths(["ns1/results"]).with_release(release);
    let id = link.create(&request);
    let task = link.tasks.start_next(at(2)).unwrap();
    let outcome = block_on(link.run().with_releaser(&Fake).run(&task));
    let ended = link.tasks.end(&id, outcome.end, at(3)).unwrap();
    assert_eq!((ended.lifecycle, ended.status.released_capacity), (TaskLifecycle::Succeeded, Some(3)));

    let id = link.create(&request);
    let task = link.tasks.start_next(at(4)).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let outcome = block_on(link.run().with_releaser(&Fake).with_cancel(&cancel).run(&task));
    assert_eq!(link.tasks.end(&id, outcome.end, at(5)).unwrap().lifecycle, TaskLifecycle::Canceled);

    let (task, _) = link.done(&request);
    assert_eq!(task.failure_details.unwrap().message.as_ref(), "no data can be released here");
}

#[test]
fn a_task_can_move_between_threads() {
    fn is_send(_: &impl Send) {}
    let mut link = Link::new(Choosy::content());
    link.create(&exporting());
    let task = link.tasks.start_next(at(0)).unwrap();
    let run = link.run();
    let future = run.run(&task);
    is_send(&future);
    drop(future);
    // A run without a task knows of the same state.
    let options = link.options.export.clone();
    assert_eq!(block_on(export_since(&link.tree, &link.store, &link.state, &options, &Silent)).unwrap().entries, 0);
}
