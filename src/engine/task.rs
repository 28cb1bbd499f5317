//! [`TaskRun`]: the work on a task, and the report of what it could not do.

use super::cancel::Cancel;
use super::clock::{Clock, SystemClock};
use super::export::{ExportOptions, export_since};
use super::import::{ImportOptions, import_since};
use super::listing::{Pages, look};
use super::report::{
    Direction, Ended, EndedEntry, Outcome, Problem, Progress, Recorder, Report, RunError, RunErrorKind, Silent,
};
use super::selection::{Selection, in_path};
use super::session::{Session, StateError};
use super::state::StateStore;
use crate::entry::Chain;
use crate::key::Key;
use crate::plan::{Cause, Deletes};
use crate::repository::{
    FailureDetails, FileStatus, InvalidCompletionReport, InvalidTaskPath, OutcomeLine, ReleaseConfiguration,
    ReportCode, ReportRow, ReportWriter, Task, TaskEnd, TaskScope, TaskStatus, TaskType,
};
use crate::store::{Body, ObjectStore, PutOptions, Source, SourceError, StoreCalls, StoreError};
use crate::timestamp::Timestamp;
use crate::tree::{Present, Tree};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::SpooledTempFile;
use thiserror::Error;

/// How many bytes of a completion report are kept in memory before they go to a file.
const IN_MEMORY: usize = 1 << 20;

/// How the tasks of a link are done.
///
/// Nothing is ever deleted by a task, whatever the options of the two directions say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskOptions {
    /// The linked directory, from the root of the file system: `/` or `/ns1`, say. The tree is that directory.
    pub directory: Box<str>,
    /// The name of the linked bucket, as it stands in `s3://bucket/prefix`.
    pub bucket: Box<str>,
    /// How an export is done, and to where; its selection should have no paths, since the tasks have them.
    pub export: ExportOptions,
    /// How an import is done, and from where; its selection should have no paths.
    pub import: ImportOptions,
}

impl TaskOptions {
    /// Those of a link between a directory of the file system and a bucket.
    #[must_use]
    pub fn new(directory: &str, bucket: &str, export: ExportOptions, import: ImportOptions) -> Self {
        Self { directory: directory.into(), bucket: bucket.into(), export, import }
    }
}

/// Whoever gives back the space of files that are exported, for the tasks that ask for it.
pub trait Releaser: Send + Sync {
    /// Releases what was asked for, and tells the progress of each entry: one that was released has ended as
    /// [`Outcome::MetadataOnly`], one that could not be as [`Outcome::Failed`] with its cause; one that was not used for long
    /// enough, or is released already, is no entry or [`Outcome::Unchanged`].
    fn release<'a>(&'a self, request: ReleaseRequest<'a>) -> BoxFuture<'a, Released>;
}

/// What is to be released.
#[derive(Clone)]
#[non_exhaustive]
pub struct ReleaseRequest<'a> {
    /// Which part of the tree.
    pub selection: Selection,
    /// For how long a file must not have been used.
    pub configuration: ReleaseConfiguration,
    /// The time from which that is counted back: when the task was asked for.
    pub creation_time: Timestamp,
    /// Who is told.
    pub progress: &'a dyn Progress,
    /// What tells it to come to an end.
    pub cancel: &'a Cancel,
}

impl fmt::Debug for ReleaseRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseRequest")
            .field("selection", &self.selection)
            .field("configuration", &self.configuration)
            .field("creation_time", &self.creation_time)
            .finish_non_exhaustive()
    }
}

/// What came of a release.
#[derive(Debug)]
pub struct Released {
    /// How many bytes of data were given back.
    pub bytes: u64,
    /// Whether it came to its end; [`RunErrorKind::Cancelled`] when it was told not to.
    pub ended: Result<(), RunErrorKind>,
}

/// What came of a task. It goes into [`Tasks::end`](crate::repository::Tasks::end).
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskOutcome {
    /// How it has ended.
    pub end: TaskEnd,
    /// The report of the run, if one was begun; also of one that had to stop.
    pub report: Option<Report>,
    /// What became of the completion report.
    pub completion: Completion,
}

impl TaskOutcome {
    /// That of a task that was not begun.
    pub(super) fn refused(why: &dyn std::error::Error) -> Self {
        let end = TaskEnd { failure: Some(FailureDetails::new(Chain(why))), ..TaskEnd::default() };
        Self { end, report: None, completion: Completion::Disabled }
    }
}

/// What became of a completion report. What it could not be does not fail the task.
#[derive(Debug)]
#[non_exhaustive]
pub enum Completion {
    /// None was asked for.
    Disabled,
    /// There was nothing to report.
    Nothing,
    /// It is in the store.
    Written {
        /// Its whole key in the bucket.
        key: Box<str>,
        /// How many rows it has.
        rows: u64,
    },
    /// It is not in the store.
    Lost(CompletionError),
}

/// Why there is no completion report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompletionError {
    /// It cannot be where it was asked for: `S3CompletionReportValidateFailure` in the log of FSx.
    #[error("the completion report cannot be written")]
    Place(#[from] InvalidCompletionReport),
    /// The store does not take it: `S3CompletionReportUploadFailure` in the log of FSx.
    #[error("the completion report could not be uploaded")]
    Upload(#[from] StoreError),
    /// What was to be in it, or in the JSON report, could not be kept.
    #[error("the report could not be kept")]
    Spool(#[from] io::Error),
}

/// Why a task could not be worked on, or not to its end.
#[derive(Debug, Error)]
enum TaskFailure {
    #[error(transparent)]
    Path(#[from] InvalidTaskPath),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the release stopped")]
    Release(#[source] RunErrorKind),
    #[error("no data can be released here")]
    NoReleaser,
}

/// The work on a task.
///
/// - An export sends what was made or changed since the last run with this state, an import brings it. Neither deletes
///   anything.
/// - What an earlier run of the same task has done is not done again.
/// - A path that is not there fails, and with it the task: one of an export that neither stands in the tree nor is recorded,
///   or that ends in a slash and is that of no directory; one of an import that has neither an object nor a record, nor
///   anything below it. A link that is empty as a whole is fine.
/// - What could not be done stands in the completion report, if one was asked for; see [`Completion`].
///
/// ```
/// use posix_s3::engine::{ExportOptions, ImportOptions, MemoryState, TaskOptions, TaskRun};
/// use posix_s3::repository::{CreateTask, EventTypes, TaskId, TaskLifecycle, TaskType, Tasks};
/// use posix_s3::{Profile, Timestamp, store::MemoryStore, tree::MemoryTree};
///
/// let (tree, bucket, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
/// let export = ExportOptions::new(Profile::fsx()).with_bucket("sample-data");
/// let import = ImportOptions::new(Profile::fsx()).with_bucket("sample-data");
/// let options = TaskOptions::new("/", "sample-data", export, import);
///
/// let mut tasks = Tasks::new("fs-0123456789abcdef0");
/// let request = CreateTask::new(TaskType::ExportToRepository);
/// tasks.create(&request, TaskId::from_number(1), EventTypes::NONE, Timestamp::EPOCH)?;
/// while let Some(task) = tasks.start_next(Timestamp::EPOCH) {
///     let run = TaskRun::new(&tree, &bucket, &state, &options);
///     let outcome = futures_executor::block_on(run.run(&task));
///     let ended = tasks.end(&task.task_id, outcome.end, Timestamp::EPOCH)?;
///     assert_eq!(ended.lifecycle, TaskLifecycle::Succeeded);
/// }
/// # Ok::<(), posix_s3::repository::TaskRefused>(())
/// ```
pub struct TaskRun<'r, T, S: ?Sized> {
    tree: &'r T,
    store: &'r S,
    state: &'r dyn StateStore,
    options: &'r TaskOptions,
    cancel: Cancel,
    clock: &'r dyn Clock,
    progress: &'r dyn Progress,
    updates: &'r (dyn Fn(TaskStatus) + Send + Sync),
    outcomes: Option<&'r Mutex<dyn Write + Send + 'r>>,
    releaser: Option<&'r dyn Releaser>,
}

impl<T, S: ?Sized> fmt::Debug for TaskRun<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRun").field("options", &self.options).field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

impl<'r, T: Tree, S: ObjectStore + ?Sized> TaskRun<'r, T, S> {
    /// On a link: its tree, its store, and what both last agreed on.
    #[must_use]
    pub fn new(tree: &'r T, store: &'r S, state: &'r dyn StateStore, options: &'r TaskOptions) -> Self {
        Self {
            tree,
            store,
            state,
            options,
            cancel: Cancel::default(),
            clock: &SystemClock,
            progress: &Silent,
            updates: &|_| {},
            outcomes: None,
            releaser: None,
        }
    }

    /// What tells it to come to an end.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// What tells the time of its numbers; the clock of the system by default.
    #[must_use]
    pub const fn with_clock(mut self, clock: &'r dyn Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Whoever is told of the run as it goes.
    #[must_use]
    pub const fn with_progress(mut self, progress: &'r dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Whoever gets the running numbers: at least every [`TaskStatus::REFRESH`] seconds while anything happens. They go into
    /// [`Tasks::progress`](crate::repository::Tasks::progress).
    #[must_use]
    pub const fn with_updates(mut self, updates: &'r (dyn Fn(TaskStatus) + Send + Sync)) -> Self {
        self.updates = updates;
        self
    }

    /// Where the JSON report goes: a line for each entry that was not as it should be already, as it ends; see
    /// [`OutcomeLine`].
    #[must_use]
    pub const fn with_outcomes(mut self, outcomes: &'r Mutex<dyn Write + Send + 'r>) -> Self {
        self.outcomes = Some(outcomes);
        self
    }

    /// Whoever releases data. Without one, a task that releases fails.
    #[must_use]
    pub const fn with_releaser(mut self, releaser: &'r dyn Releaser) -> Self {
        self.releaser = Some(releaser);
        self
    }

    /// Works on a task to its end. Dropping the future stops at once, and running again is safe.
    pub async fn run(&self, task: &Task) -> TaskOutcome {
        let count = Count {
            task: task.r#type,
            base: base(&self.options.directory),
            clock: self.clock,
            progress: self.progress,
            updates: self.updates,
            outcomes: self.outcomes,
            counted: Mutex::new(Counted::new(self.clock.now(), task.report.enabled)),
        };
        let (mut report, mut failure, mut cancelled) = (None, None, false);
        match self.work(task, &count).await {
            Ok(done) => report = done,
            Err(error) => {
                cancelled = is_cancelled(&error);
                failure = (!cancelled).then(|| FailureDetails::new(Chain(&error)));
                if let TaskFailure::Run(error) = error {
                    report = Some(error.report().clone());
                }
            }
        }
        let now = self.clock.now();
        let counted = count.counted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let status = counted.status(now);
        let completion = self.complete(task, counted).await;
        TaskOutcome { end: TaskEnd { status, failure, cancelled }, report, completion }
    }

    async fn work(&self, task: &Task, count: &Count<'_>) -> Result<Option<Report>, TaskFailure> {
        let TaskOptions { directory, bucket, export, import } = self.options;
        let prefix = match task.r#type {
            TaskType::ImportMetadataFromRepository => &import.prefix,
            _ => &export.prefix,
        };
        let scope = task.paths.scope(task.r#type, directory, bucket, prefix)?;
        let (scope, missing) = match scope {
            TaskScope::Everything => (TaskScope::Everything, Vec::new()),
            TaskScope::Paths(paths) => self.find(task.r#type, paths).await,
        };
        let select = |all: &Selection| match scope {
            TaskScope::Everything => all.clone(),
            TaskScope::Paths(ref paths) => paths.iter().cloned().fold(all.clone(), Selection::with_path),
        };
        // A selection of no path would be one of everything.
        let is_nowhere = matches!(&scope, TaskScope::Paths(paths) if paths.is_empty());
        match task.r#type {
            TaskType::ExportToRepository if is_nowhere => tell(None, Direction::Export, missing, count),
            TaskType::ImportMetadataFromRepository if is_nowhere => tell(None, Direction::Import, missing, count),
            TaskType::ExportToRepository => {
                let options = export.clone().with_selection(select(&export.selection));
                let options = options.with_deletes(Deletes::Never).with_cancel(&self.cancel);
                let ran = export_since(self.tree, self.store, self.state, &options, count).await;
                tell(Some(ran), Direction::Export, missing, count)
            }
            TaskType::ImportMetadataFromRepository => {
                let options = import.clone().with_selection(select(&import.selection));
                let options = options.with_deletes(Deletes::Never).with_cancel(&self.cancel);
                let ran = import_since(self.store, self.tree, self.state, &options, count).await;
                tell(Some(ran), Direction::Import, missing, count)
            }
            TaskType::ReleaseDataFromFilesystem | TaskType::AutoReleaseData => {
                let releaser = self.releaser.ok_or(TaskFailure::NoReleaser)?;
                let request = ReleaseRequest {
                    selection: select(&export.selection),
                    configuration: task.release_configuration.clone().unwrap_or_default(),
                    creation_time: task.creation_time,
                    progress: count,
                    cancel: &self.cancel,
                };
                let Released { bytes, ended } = releaser.release(request).await;
                count.counted().released = Some(bytes);
                ended.map_err(TaskFailure::Release)?;
                Ok(None)
            }
        }
    }

    /// The paths that a run can be about, and how the others end.
    async fn find(&self, task: TaskType, paths: Vec<Key>) -> (TaskScope, Vec<Ended>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for path in paths {
            let why = match task {
                TaskType::ImportMetadataFromRepository => self.is_in_neither(&path).await.then_some((
                    Cause::ObjectNotFound,
                    "expected an object there or below it, found none, and none that was there before",
                )),
                TaskType::ExportToRepository => self.is_no_directory(&path).await.then_some((
                    Cause::FileNotFound,
                    "expected a directory, as the slash at the end says, found something else",
                )),
                TaskType::ReleaseDataFromFilesystem | TaskType::AutoReleaseData => None,
            };
            match why {
                Some((cause, why)) => missing.push(Ended::new(&path, Outcome::Failed).because(cause, why)),
                None => found.push(path),
            }
        }
        (TaskScope::Paths(found), missing)
    }

    /// Whether something stands at the path of a directory that is none. What is not there, or cannot be looked at, is for the
    /// run to say.
    async fn is_no_directory(&self, path: &Key) -> bool {
        let is_directory = |found: &Present| found.entry().is_some_and(|entry| entry.key().is_directory());
        path.is_directory()
            && match self.tree.lookup(path).await {
                Ok(Present::Nothing) | Err(_) => false,
                Ok(found) => !is_directory(&found),
            }
    }

    /// Whether a path has neither an object nor a record, nor has anything below it. What cannot be looked at is for the run
    /// to say.
    async fn is_in_neither(&self, path: &Key) -> bool {
        let prefix = &self.options.import.prefix;
        if !path.is_directory() && !matches!(look(self.store, prefix, path.as_str()).await, Ok(None)) {
            return false;
        }
        let below = format!("{}/", path.path());
        let mut pages = Pages::new(self.store, prefix, &below, Some(1));
        loop {
            match pages.next().await {
                Ok(Some(page)) if page.is_empty() => {}
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
        matches!(self.is_recorded(path).await, Ok(false))
    }

    /// Whether both sides once agreed on an object at a path or below it.
    async fn is_recorded(&self, path: &Key) -> Result<bool, RunErrorKind> {
        let ImportOptions { bucket, prefix, .. } = &self.options.import;
        let session = Session::of(self.tree, Some(self.state), bucket, prefix).await?;
        let found = session.as_ref().map(|session| has_record(session, path)).transpose();
        self.tree.finish().await?;
        Ok(found?.unwrap_or(false))
    }

    /// Puts the completion report into the store.
    async fn complete(&self, task: &Task, counted: Counted) -> Completion {
        match self.try_complete(task, counted).await {
            Ok(completion) => completion,
            Err(error) => Completion::Lost(error),
        }
    }

    async fn try_complete(&self, task: &Task, counted: Counted) -> Result<Completion, CompletionError> {
        let Counted { rows, lost, .. } = counted;
        if let Some(error) = lost {
            return Err(error.into());
        }
        let prefix = &self.options.export.prefix;
        // Also where nothing failed, so that a wrong path does not wait for the day on which something does.
        let key = task.report.key(&task.task_id, task.r#type, &self.options.bucket, prefix)?;
        let (Some(key), Some(rows)) = (key, rows) else { return Ok(Completion::Disabled) };
        let count = rows.rows();
        if count == 0 {
            return Ok(Completion::Nothing);
        }
        let key = prefix.object_key(&key).map_err(|error| {
            let path = key.to_string().into();
            InvalidCompletionReport::Path(InvalidTaskPath::Key { path, error })
        })?;
        let mut options = PutOptions::default();
        options.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
        self.store.put(&key, body(rows.into_inner())?, &options).await?;
        Ok(Completion::Written { key: key.into(), rows: count })
    }
}

fn has_record(session: &Session<'_>, path: &Key) -> Result<bool, StateError> {
    let Some(mut reader) = session.reader()? else { return Ok(false) };
    let here = (!path.is_directory()).then(|| path.path().to_owned());
    for start in here.into_iter().chain([format!("{}/", path.path())]) {
        reader.seek(&start)?;
        while let Some(record) = reader.next()? {
            if !in_path(path.path(), record.key.as_str()) {
                break;
            }
            if record.remote.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The report of a run, if there was one, with the paths that were not found.
fn tell(
    ran: Option<Result<Report, RunError>>,
    direction: Direction,
    missing: Vec<Ended>,
    count: &Count<'_>,
) -> Result<Option<Report>, TaskFailure> {
    let (mut recorder, calls, ended) = match ran {
        None => (Recorder::new(direction, count), StoreCalls::default(), Ok(())),
        Some(ran) => {
            let (report, ended) = match ran {
                Ok(report) => (report, Ok(())),
                Err(error) => (error.report().clone(), Err(error.into_kind())),
            };
            let calls = report.store_calls;
            (Recorder::resume(report, count), calls, ended)
        }
    };
    missing.into_iter().for_each(|path| recorder.end(path));
    Ok(Some(recorder.finish(calls, ended)?))
}

fn is_cancelled(failure: &TaskFailure) -> bool {
    match failure {
        TaskFailure::Run(error) => matches!(error.kind(), RunErrorKind::Cancelled),
        TaskFailure::Release(kind) => matches!(kind, RunErrorKind::Cancelled),
        TaskFailure::Path(_) | TaskFailure::NoReleaser => false,
    }
}

/// What stands before the key of an entry in a report: the linked directory, relative to the mount.
fn base(directory: &str) -> Box<str> {
    let directory = directory.strip_prefix('/').unwrap_or(directory);
    let directory = directory.strip_suffix('/').unwrap_or(directory);
    if directory.is_empty() { "".into() } else { format!("{directory}/").into() }
}

/// A report that is to be put.
fn body(mut file: SpooledTempFile) -> io::Result<Body> {
    let size = file.stream_position()?;
    if size > IN_MEMORY as u64 {
        return Ok(Body::Source(Arc::new(Spooled { size, file: Mutex::new(file) })));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(Body::Bytes(bytes.into()))
}

/// A temporary file as a body.
struct Spooled {
    size: u64,
    file: Mutex<SpooledTempFile>,
}

impl Source for Spooled {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        Box::pin(async move {
            let mut bytes = vec![0; length];
            let mut file = lock(&self.file);
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut bytes)?;
            Ok(bytes.into())
        })
    }
}

fn lock<V: ?Sized>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    // Whatever is in it is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what a run does, and writes down what it could not.
struct Count<'r> {
    task: TaskType,
    base: Box<str>,
    clock: &'r dyn Clock,
    progress: &'r dyn Progress,
    updates: &'r (dyn Fn(TaskStatus) + Send + Sync),
    outcomes: Option<&'r Mutex<dyn Write + Send + 'r>>,
    counted: Mutex<Counted>,
}

struct Counted {
    succeeded: u64,
    failed: u64,
    /// How many bytes were released.
    released: Option<u64>,
    /// When the numbers were last handed out.
    updated: Timestamp,
    /// The rows of the completion report, if one is to be written.
    rows: Option<ReportWriter<SpooledTempFile>>,
    /// Why something could not be written down.
    lost: Option<io::Error>,
}

impl Counted {
    fn new(now: Timestamp, reports: bool) -> Self {
        let rows = reports.then(|| ReportWriter::new(SpooledTempFile::new(IN_MEMORY)));
        Self { succeeded: 0, failed: 0, released: None, updated: now, rows, lost: None }
    }

    fn status(&self, now: Timestamp) -> TaskStatus {
        TaskStatus {
            total_count: self.succeeded.saturating_add(self.failed),
            succeeded_count: self.succeeded,
            failed_count: self.failed,
            last_updated_time: Some(now),
            released_capacity: self.released.map(|bytes| bytes >> 30),
        }
    }

    /// The numbers, if it is time to hand them out.
    fn due(&mut self, now: Timestamp) -> Option<TaskStatus> {
        let passed = i128::from(now.seconds()).saturating_sub(self.updated.seconds().into());
        // A clock that was put back must not silence it.
        if (0..i128::from(TaskStatus::REFRESH)).contains(&passed) {
            return None;
        }
        self.updated = now;
        Some(self.status(now))
    }
}

impl Count<'_> {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        lock(&self.counted)
    }

    fn path(&self, key: &[u8]) -> Vec<u8> {
        [self.base.as_bytes(), key].concat()
    }

    fn update(&self) {
        let now = self.clock.now();
        let due = self.counted().due(now);
        if let Some(status) = due {
            (self.updates)(status);
        }
    }

    fn take(&self, entry: &EndedEntry<'_>) -> io::Result<()> {
        let verdict = judge(self.task, entry);
        let path = self.path(entry.key);
        {
            let mut counted = self.counted();
            match verdict {
                Verdict::Succeeded | Verdict::Reported(FileStatus::SucceededWithWarning, ..) => {
                    counted.succeeded = counted.succeeded.saturating_add(1);
                }
                Verdict::Reported(FileStatus::Failed, ..) => counted.failed = counted.failed.saturating_add(1),
                Verdict::Uncounted => {}
            }
            if let (Verdict::Reported(status, code, _), Some(rows)) = (&verdict, &mut counted.rows) {
                rows.write(&ReportRow::new(&path, *status, *code))?;
            }
        }
        let Some(outcomes) = self.outcomes else { return Ok(()) };
        if entry.outcome == Outcome::Unchanged && entry.problems.is_empty() {
            return Ok(());
        }
        let mut line = OutcomeLine::new(&path, entry.outcome.name(), entry.bytes);
        let cause = match verdict {
            Verdict::Reported(status, code, cause) => {
                (line.status, line.code) = (Some(status), Some(code));
                Some(cause)
            }
            Verdict::Succeeded | Verdict::Uncounted => entry.problems.last().map(|problem| problem.cause),
        };
        let reasons: Vec<&str> = entry.problems.iter().map(|problem| &*problem.reason).collect();
        line.cause = cause;
        line.reason = (!reasons.is_empty()).then(|| reasons.join("; ").into());
        line.write(&mut *lock(outcomes))
    }
}

impl Progress for Count<'_> {
    fn ended(&self, key: &str, outcome: Outcome) {
        self.progress.ended(key, outcome);
    }

    fn entry(&self, entry: &EndedEntry<'_>) {
        if let Err(error) = self.take(entry) {
            self.counted().lost.get_or_insert(error);
        }
        self.progress.entry(entry);
        self.update();
    }

    fn unchanged(&self, count: u64) {
        self.progress.unchanged(count);
        self.update();
    }

    fn bytes(&self, count: u64) {
        self.progress.bytes(count);
        self.update();
    }

    fn problem(&self, problem: &Problem) {
        self.progress.problem(problem);
    }
}

/// What an entry is to a task.
enum Verdict {
    /// It had nothing to do with it: it was as it should be, or a rule leaves it out.
    Uncounted,
    Succeeded,
    /// It stands in the completion report.
    Reported(FileStatus, ReportCode, Cause),
}

fn judge(task: TaskType, entry: &EndedEntry<'_>) -> Verdict {
    let failed = |cause| Verdict::Reported(FileStatus::Failed, ReportCode::of(task, cause), cause);
    let has = |wanted| entry.problems.iter().any(|problem| problem.cause == wanted);
    let warned = || {
        let code = ReportCode::of(task, Cause::Archived);
        Verdict::Reported(code.status(), code, Cause::Archived)
    };
    match entry.outcome {
        // What was odd comes first, why it failed last.
        Outcome::Failed | Outcome::Conflict => {
            failed(entry.problems.last().map_or(Cause::Other, |problem| problem.cause))
        }
        Outcome::Skipped => match entry.problems.iter().find(|problem| is_failure(problem.cause)) {
            Some(problem) => failed(problem.cause),
            None => Verdict::Uncounted,
        },
        // Its metadata is there, and its data is not.
        Outcome::Written | Outcome::MetadataOnly | Outcome::Unchanged
            if task == TaskType::ImportMetadataFromRepository && has(Cause::Archived) =>
        {
            warned()
        }
        Outcome::Written | Outcome::MetadataOnly => Verdict::Succeeded,
        Outcome::Unchanged => Verdict::Uncounted,
    }
}

/// Whether what was left out for this cause was to be done: a device is not meant to be exported, but a file is whose key
/// is too long.
pub(super) const fn is_failure(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::KeyNotPosix
            | Cause::KeyTooLong
            | Cause::NameTooLong
            | Cause::NotUtf8
            | Cause::TooLarge
            | Cause::Unstorable
            | Cause::LinkTarget
            | Cause::Shadowed
            | Cause::ObjectNotFound
            | Cause::NotExported
            | Cause::NotReleasable
            | Cause::RenameInProgress
            | Cause::SourceDeleted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(task: TaskType, outcome: Outcome, causes: &[Cause]) -> (u64, u64, String) {
        let problem = |cause: &Cause| Problem { key: "a".into(), outcome, cause: *cause, reason: "why".into() };
        let problems: Vec<Problem> = causes.iter().map(problem).collect();
        let count = Count {
            task,
            base: base("/ns1/"),
            clock: &SystemClock,
            progress: &Silent,
            updates: &|_| {},
            outcomes: None,
            counted: Mutex::new(Counted::new(Timestamp::EPOCH, true)),
        };
        count.entry(&EndedEntry { key: b"a", outcome, problems: &problems, bytes: 0 });
        let counted = count.counted.into_inner().unwrap();
        let mut file = counted.rows.unwrap().into_inner();
        let mut rows = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut rows).unwrap();
        (counted.succeeded, counted.failed, rows)
    }

    #[test]
    fn what_counts_as_a_failure() {
        let (export, import) = (TaskType::ExportToRepository, TaskType::ImportMetadataFromRepository);
        let row = |status, code| format!("ns1/a,{status},{code}\n");
        for (task, outcome, causes, expected) in [
            (export, Outcome::Written, &[][..], (1, 0, String::new())),
            (export, Outcome::MetadataOnly, &[Cause::Shortfall], (1, 0, String::new())),
            (export, Outcome::Unchanged, &[], (0, 0, String::new())),
            // A rule leaves it out, or it is gone.
            (export, Outcome::Skipped, &[Cause::Special], (0, 0, String::new())),
            (export, Outcome::Skipped, &[Cause::FileNotFound], (0, 0, String::new())),
            (export, Outcome::Skipped, &[Cause::TooLarge], (0, 1, row("failed", "FileSizeTooLarge"))),
            (export, Outcome::Failed, &[Cause::Busy], (0, 1, row("failed", "ResourceBusy"))),
            (export, Outcome::Conflict, &[Cause::Conflict], (0, 1, row("failed", "S3Error"))),
            (export, Outcome::Failed, &[], (0, 1, row("failed", "InternalError"))),
            // What was odd comes before why it failed.
            (import, Outcome::Failed, &[Cause::Repaired, Cause::AccessDenied], (0, 1, row("failed", "S3AccessDenied"))),
            (import, Outcome::Skipped, &[Cause::ObjectNotFound], (0, 1, row("failed", "S3ObjectNotFound"))),
            (import, Outcome::Skipped, &[Cause::Root], (0, 0, String::new())),
            (
                import,
                Outcome::Written,
                &[Cause::Repaired, Cause::Archived],
                (1, 0, row("succeeded with warning", "S3ObjectInUnsupportedTier")),
            ),
        ] {
            assert_eq!(count(task, outcome, causes), expected, "{task} {outcome} {causes:?}");
        }
    }

    #[test]
    fn numbers_are_due_after_30_seconds_and_when_the_clock_was_put_back() {
        let at = |seconds| Timestamp::from_unix(seconds, 0).unwrap();
        let mut counted = Counted::new(at(100), false);
        assert!(counted.due(at(100)).is_none() && counted.due(at(129)).is_none());
        assert!(counted.due(at(130)).is_some() && counted.due(at(131)).is_none());
        assert!(counted.due(at(10)).is_some() && counted.due(at(39)).is_none() && counted.due(at(40)).is_some());
    }

    #[test]
    fn a_large_report_is_read_from_its_file() {
        let mut file = SpooledTempFile::new(IN_MEMORY);
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(IN_MEMORY.saturating_add(1)).collect();
        file.write_all(&text).unwrap();
        let body = body(file).unwrap();
        assert!(matches!(body, Body::Source(_)));
        assert_eq!(body.size(), text.len() as u64);
        let middle = futures_executor::block_on(body.read(1000, 5000)).unwrap();
        assert_eq!(middle, text[1000..6000]);
    }
}
