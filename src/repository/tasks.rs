//! [`Tasks`]: the tasks of a file system, from the request to the day on which they are forgotten.

use super::error::{ApiError, ErrorCode};
use super::lifecycle::FailureDetails;
use super::policy::EventTypes;
use super::task::{
    CompletionReport, IllegalTaskTransition, InvalidCompletionReport, InvalidTaskPath, ReleaseConfiguration, Task,
    TaskHappening, TaskId, TaskLifecycle, TaskPaths, TaskStatus, TaskType, UnknownUnit, epoch,
};
use crate::escape::excerpt;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is asked for: `CreateDataRepositoryTaskRequest` of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct CreateTask {
    /// What the task does.
    pub r#type: TaskType,
    /// What it is about, not checked yet; everything when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Box<str>>,
    /// The file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system_id: Option<Box<str>>,
    /// What is written of what failed.
    pub report: CompletionReport,
    /// What tells this request from another one, so that it can be made again: 1 to 63 letters, digits, `_`, `.` and `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request_token: Option<Box<str>>,
    /// What is released; of a release alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_configuration: Option<ReleaseConfiguration>,
    /// How much is released, in GiB; of a cache alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_to_release: Option<u64>,
    /// Labels, which are kept as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<serde_json::Value>,
    /// Members that this version does not know.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

impl CreateTask {
    /// A task about everything, of which no report is written.
    #[must_use]
    pub fn new(of: TaskType) -> Self {
        Self {
            r#type: of,
            paths: Vec::new(),
            file_system_id: None,
            report: CompletionReport::disabled(),
            client_request_token: None,
            release_configuration: None,
            capacity_to_release: None,
            tags: None,
            rest: serde_json::Map::new(),
        }
    }

    /// About these paths.
    #[must_use]
    pub fn with_paths<P: AsRef<str>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.paths = paths.into_iter().map(|path| path.as_ref().into()).collect();
        self
    }

    /// With this report.
    #[must_use]
    pub fn with_report(mut self, report: CompletionReport) -> Self {
        self.report = report;
        self
    }

    /// With a token, so that the request can be made again.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.client_request_token = Some(token.into());
        self
    }

    /// Releasing what this says.
    #[must_use]
    pub fn with_release(mut self, release: ReleaseConfiguration) -> Self {
        self.release_configuration = Some(release);
        self
    }
}

/// Whether a task may wait for another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queueing {
    /// It waits, unless it is about the same as one that has not ended: the guide of FSx says so.
    #[default]
    Queue,
    /// It is refused while there is any that has not ended: the reference of the API says so.
    OneAtATime,
}

/// The tasks of a file system.
///
/// - One is at work at a time; the others wait in the order in which they were asked for.
/// - A task is known for 14 days after its end.
/// - It is written with serde and read back, so that a restart finds it; see [`Tasks::restart`].
///
/// ```
/// use posix_s3::Timestamp;
/// use posix_s3::repository::{CreateTask, EventTypes, TaskEnd, TaskId, TaskLifecycle, TaskType, Tasks};
///
/// let mut tasks = Tasks::new("fs-0123456789abcdef0");
/// let request = CreateTask::new(TaskType::ExportToRepository).with_paths(["results/"]);
/// tasks.create(&request, TaskId::from_number(1), EventTypes::NONE, Timestamp::EPOCH)?;
///
/// let task = tasks.start_next(Timestamp::EPOCH).unwrap();
/// assert_eq!(task.lifecycle, TaskLifecycle::Executing);
/// // … the work …
/// let task = tasks.end(&task.task_id, TaskEnd::default(), Timestamp::EPOCH)?;
/// assert_eq!(task.lifecycle, TaskLifecycle::Succeeded);
/// # Ok::<(), posix_s3::repository::TaskRefused>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    file_system_id: Box<str>,
    #[serde(default)]
    queueing: Queueing,
    held: Vec<Held>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    task: Task,
    /// The request, if it had a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<CreateTask>,
    /// What was done before the last restart.
    #[serde(default)]
    succeeded_before: u64,
    #[serde(default)]
    released_before: u64,
}

/// How the work on a task has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskEnd {
    /// The last numbers.
    pub status: TaskStatus,
    /// Why the work could not go on, or not begin. Without one, the task has failed if a file has.
    pub failure: Option<FailureDetails>,
    /// Whether it was told to come to an end and has left something out for that.
    pub cancelled: bool,
}

impl Tasks {
    /// For how long a task is known after its end, in seconds: 14 days.
    pub const KEPT: i64 = 14 * 24 * 60 * 60;

    /// Those of a file system that has none yet.
    #[must_use]
    pub fn new(file_system_id: &str) -> Self {
        Self { file_system_id: file_system_id.into(), queueing: Queueing::default(), held: Vec::new() }
    }

    /// Whether a task may wait for another one.
    #[must_use]
    pub const fn with_queueing(mut self, queueing: Queueing) -> Self {
        self.queueing = queueing;
        self
    }

    /// Takes a request: `CreateDataRepositoryTask` of the API.
    ///
    /// A request that has the token of an earlier one, and is the same, gets the task of that one. `automatic_export` is
    /// what the link exports by itself: an export task is refused while that is anything.
    ///
    /// # Errors
    /// [`TaskRefused`]; nothing has happened then.
    pub fn create(
        &mut self,
        request: &CreateTask,
        id: TaskId,
        automatic_export: EventTypes,
        now: Timestamp,
    ) -> Result<&Task, TaskRefused> {
        if let Some(other) = request.file_system_id.as_deref().filter(|id| **id != *self.file_system_id) {
            return Err(TaskRefused::OtherFileSystem { found: excerpt(other.as_bytes()) });
        }
        if let Some(token) = &request.client_request_token {
            check_token(token)?;
            let earlier = self.held.iter().find(|held| {
                held.request.as_ref().is_some_and(|earlier| earlier.client_request_token.as_ref() == Some(token))
            });
            if let Some(Held { task, request: earlier, .. }) = earlier {
                return if earlier.as_ref() == Some(request) {
                    let id = task.task_id.clone();
                    self.get(&id)
                } else {
                    let reason = "the token is that of another request".into();
                    Err(TaskRefused::Incompatible { parameter: "ClientRequestToken", reason })
                };
            }
        }
        let paths = TaskPaths::new(&request.paths)?;
        request.report.check()?;
        request.release_configuration.iter().try_for_each(ReleaseConfiguration::check)?;
        check_type(request, automatic_export)?;
        self.check_turn(request.r#type, &paths)?;
        if self.held.iter().any(|held| held.task.task_id == id) {
            return Err(TaskRefused::IdTaken { task: id });
        }
        let task = Task {
            task_id: id.clone(),
            lifecycle: TaskLifecycle::Pending,
            r#type: request.r#type,
            creation_time: epoch::rounded(now),
            start_time: None,
            end_time: None,
            file_system_id: Some(self.file_system_id.clone()).filter(|id| !id.is_empty()),
            paths,
            failure_details: None,
            status: TaskStatus::default(),
            report: request.report.clone(),
            release_configuration: request.release_configuration.clone(),
            rest: request.tags.iter().map(|tags| ("Tags".to_owned(), tags.clone())).collect(),
        };
        let request = request.client_request_token.is_some().then(|| request.clone());
        self.held.push(Held { task, request, succeeded_before: 0, released_before: 0 });
        self.get(&id)
    }

    fn check_turn(&self, of: TaskType, paths: &TaskPaths) -> Result<(), TaskRefused> {
        let mut unfinished = self.iter().filter(|task| !task.lifecycle.is_ended());
        let in_the_way = match self.queueing {
            Queueing::OneAtATime => unfinished.next(),
            Queueing::Queue => unfinished.find(|task| task.r#type == of && task.paths.is_same(paths)),
        };
        match in_the_way {
            Some(task) => Err(TaskRefused::Executing { task: task.task_id.clone(), lifecycle: task.lifecycle }),
            None => Ok(()),
        }
    }

    /// Cancels a task: `CancelDataRepositoryTask` of the API. One that waits has ended with that; one that is at work ends
    /// when what is in process is finished. Cancelling it again changes nothing.
    ///
    /// # Errors
    /// [`TaskRefused::NotFound`]; [`TaskRefused::Ended`].
    pub fn cancel(&mut self, id: &TaskId, now: Timestamp) -> Result<TaskLifecycle, TaskRefused> {
        let task = &mut self.held(id)?.task;
        task.lifecycle = task
            .lifecycle
            .after(TaskHappening::Cancel)
            .map_err(|IllegalTaskTransition { from, .. }| TaskRefused::Ended { task: id.clone(), lifecycle: from })?;
        if task.lifecycle.is_ended() {
            task.end_time = Some(epoch::rounded(now));
        }
        Ok(task.lifecycle)
    }

    /// Starts the next task, if none is at work and one waits.
    pub fn start_next(&mut self, now: Timestamp) -> Option<Task> {
        let is_busy = |held: &Held| matches!(held.task.lifecycle, TaskLifecycle::Executing | TaskLifecycle::Canceling);
        if self.held.iter().any(is_busy) {
            return None;
        }
        self.held.iter_mut().find_map(|Held { task, .. }| {
            task.lifecycle = task.lifecycle.after(TaskHappening::Start).ok()?;
            task.start_time = task.start_time.or(Some(epoch::rounded(now)));
            Some(task.clone())
        })
    }

    /// Takes the latest numbers of a task that is at work: those of this run, to which those of runs before a restart are
    /// added.
    ///
    /// # Errors
    /// [`TaskRefused::NotFound`]; [`TaskRefused::Ended`] of one that is not at work.
    pub fn progress(&mut self, id: &TaskId, status: TaskStatus, now: Timestamp) -> Result<&Task, TaskRefused> {
        let held = self.held(id)?;
        if !matches!(held.task.lifecycle, TaskLifecycle::Executing | TaskLifecycle::Canceling) {
            return Err(TaskRefused::Ended { task: id.clone(), lifecycle: held.task.lifecycle });
        }
        held.task.status = held.counted(status, now);
        Ok(&held.task)
    }

    /// Ends a task that is at work. It has failed if anything has; one that was cancelled is cancelled now.
    ///
    /// # Errors
    /// [`TaskRefused::NotFound`]; [`TaskRefused::Ended`] of one that is not at work.
    pub fn end(&mut self, id: &TaskId, end: TaskEnd, now: Timestamp) -> Result<&Task, TaskRefused> {
        let held = self.held(id)?;
        let mut status = held.counted(end.status, now);
        status.total_count = status.succeeded_count.saturating_add(status.failed_count);
        // It may have been told so by another way than [`Tasks::cancel`].
        let cancelled = held.task.lifecycle.after(TaskHappening::Cancel).ok().filter(|_| end.cancelled);
        let lifecycle = cancelled.unwrap_or(held.task.lifecycle);
        let failed = end.failure.is_some() || status.failed_count > 0;
        let happening = if failed { TaskHappening::Fail } else { TaskHappening::Done };
        let task = &mut held.task;
        let illegal = |IllegalTaskTransition { from, .. }| TaskRefused::Ended { task: id.clone(), lifecycle: from };
        task.lifecycle = lifecycle.after(happening).map_err(illegal)?;
        task.status = status;
        task.end_time = Some(epoch::rounded(now));
        if task.lifecycle == TaskLifecycle::Failed {
            let TaskStatus { failed_count, total_count, .. } = status;
            task.failure_details = Some(
                end.failure
                    .unwrap_or_else(|| FailureDetails::new(format_args!("{failed_count} of {total_count} failed"))),
            );
        }
        Ok(task)
    }

    /// Takes up the tasks when the program starts again. One that was at work waits again, and what it has done is kept in
    /// its numbers, as far as they were written; one that was being cancelled is cancelled.
    pub fn restart(&mut self, now: Timestamp) {
        for held in &mut self.held {
            let Ok(lifecycle) = held.task.lifecycle.after(TaskHappening::Restart) else { continue };
            if lifecycle == held.task.lifecycle {
                continue;
            }
            held.task.lifecycle = lifecycle;
            if lifecycle.is_ended() {
                held.task.end_time = Some(epoch::rounded(now));
            } else {
                // What failed is tried again.
                held.succeeded_before = held.task.status.succeeded_count;
                held.released_before = held.task.status.released_capacity.unwrap_or(0);
                held.task.status.failed_count = 0;
            }
        }
    }

    /// Forgets the tasks that ended 14 days ago or earlier.
    pub fn expire(&mut self, now: Timestamp) {
        self.held.retain(|Held { task, .. }| {
            let age = task.end_time.map(|end| i128::from(now.seconds()).saturating_sub(end.seconds().into()));
            age.is_none_or(|age| age < i128::from(Self::KEPT))
        });
    }

    /// A task.
    ///
    /// # Errors
    /// [`TaskRefused::NotFound`].
    pub fn get(&self, id: &TaskId) -> Result<&Task, TaskRefused> {
        self.iter().find(|task| task.task_id == *id).ok_or_else(|| TaskRefused::NotFound { task: id.clone() })
    }

    /// All tasks that are known, in the order in which they were asked for.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        self.held.iter().map(|held| &held.task)
    }

    fn held(&mut self, id: &TaskId) -> Result<&mut Held, TaskRefused> {
        let held = self.held.iter_mut().find(|held| held.task.task_id == *id);
        held.ok_or_else(|| TaskRefused::NotFound { task: id.clone() })
    }
}

impl Held {
    /// The numbers of this run and of those before a restart.
    fn counted(&self, status: TaskStatus, now: Timestamp) -> TaskStatus {
        let released = status.released_capacity.map(|released| released.saturating_add(self.released_before));
        TaskStatus {
            total_count: status.total_count.saturating_add(self.succeeded_before),
            succeeded_count: status.succeeded_count.saturating_add(self.succeeded_before),
            failed_count: status.failed_count,
            last_updated_time: Some(epoch::rounded(now)),
            released_capacity: released,
        }
    }
}

fn check_token(token: &str) -> Result<(), TaskRefused> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (1..=63).contains(&token.len()) && token.bytes().all(is_fine) {
        return Ok(());
    }
    Err(TaskRefused::Token { token: excerpt(token.as_bytes()) })
}

fn check_type(request: &CreateTask, automatic_export: EventTypes) -> Result<(), TaskRefused> {
    match request.r#type {
        TaskType::AutoReleaseData => return Err(TaskRefused::Unsupported { of: request.r#type }),
        TaskType::ExportToRepository if !automatic_export.is_empty() => {
            let reason = "there is no export task while changes are exported by themselves".into();
            return Err(TaskRefused::Incompatible { parameter: "Type", reason });
        }
        _ => {}
    }
    if request.capacity_to_release.is_some() {
        let reason = "it is for a cache, not for a file system".into();
        return Err(TaskRefused::Incompatible { parameter: "CapacityToRelease", reason });
    }
    if request.release_configuration.is_some() && request.r#type != TaskType::ReleaseDataFromFilesystem {
        let reason = format!("a task of type {} releases nothing", request.r#type).into();
        return Err(TaskRefused::Incompatible { parameter: "ReleaseConfiguration", reason });
    }
    Ok(())
}

/// A request that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TaskRefused {
    /// A task has to end first.
    #[error("{task} is {lifecycle} and has to end first")]
    Executing {
        /// Which one.
        task: TaskId,
        /// Its state.
        lifecycle: TaskLifecycle,
    },
    /// The task is not at work, or has ended.
    #[error("{task} is {lifecycle}")]
    Ended {
        /// Which one.
        task: TaskId,
        /// Its state.
        lifecycle: TaskLifecycle,
    },
    /// There is no such task, or not any more.
    #[error("there is no {task}")]
    NotFound {
        /// Its id.
        task: TaskId,
    },
    /// The request is for another file system.
    #[error("there is no file system \"{found}\" here")]
    OtherFileSystem {
        /// Its id, safe to print.
        found: Box<str>,
    },
    /// There is another task of this id.
    #[error("there is a {task} already")]
    IdTaken {
        /// The id.
        task: TaskId,
    },
    /// A file system has no such tasks.
    #[error("a task of type {of} is for a cache, not for a file system")]
    Unsupported {
        /// The type.
        of: TaskType,
    },
    /// A parameter does not go with the others or with the link.
    #[error("{parameter}: {reason}")]
    Incompatible {
        /// Its name.
        parameter: &'static str,
        /// Why not.
        reason: Box<str>,
    },
    /// The token is none.
    #[error("invalid token \"{token}\": expected 1 to 63 letters, digits, `_`, `.` and `-`")]
    Token {
        /// The token, safe to print.
        token: Box<str>,
    },
    /// A path is not one that the API takes.
    #[error("Paths: {0}")]
    Paths(#[from] InvalidTaskPath),
    /// The report is not one that the API takes.
    #[error("Report: {0}")]
    Report(#[from] InvalidCompletionReport),
    /// What is to be released is not said in a way that is known.
    #[error("ReleaseConfiguration: {0}")]
    Release(#[from] UnknownUnit),
}

impl TaskRefused {
    /// The name of the error in the API.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.error_code().name()
    }

    /// The error that the API answers with.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        let message = match std::error::Error::source(self).and_then(std::error::Error::source) {
            Some(why) => format!("{self}: {why}"),
            None => self.to_string(),
        };
        ApiError::new(self.error_code(), message)
    }

    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Executing { .. } => ErrorCode::DataRepositoryTaskExecuting,
            Self::Ended { .. } => ErrorCode::DataRepositoryTaskEnded,
            Self::NotFound { .. } => ErrorCode::DataRepositoryTaskNotFound,
            Self::OtherFileSystem { .. } => ErrorCode::FileSystemNotFound,
            Self::IdTaken { .. } => ErrorCode::InternalServerError,
            Self::Unsupported { .. } => ErrorCode::UnsupportedOperation,
            Self::Incompatible { parameter, .. } => {
                ErrorCode::IncompatibleParameterError { parameter: (*parameter).into() }
            }
            Self::Token { .. } | Self::Paths(_) | Self::Report(_) | Self::Release(_) => ErrorCode::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::EventType;
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_nanoseconds(i128::from(milliseconds).saturating_mul(1_000_000)).unwrap()
    }

    fn id(number: u128) -> TaskId {
        TaskId::from_number(number)
    }

    fn export(paths: &[&str]) -> CreateTask {
        CreateTask::new(TaskType::ExportToRepository).with_paths(paths)
    }

    fn tasks() -> Tasks {
        Tasks::new("fs-0123456789abcdef0")
    }

    fn create(tasks: &mut Tasks, request: &CreateTask, number: u128) -> Result<Task, TaskRefused> {
        tasks.create(request, id(number), EventTypes::NONE, at(1)).cloned()
    }

    #[test]
    fn tasks_take_turns_in_the_order_of_the_requests() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&["a"]), 1).unwrap();
        create(&mut tasks, &export(&["b"]), 2).unwrap();
        assert_eq!(tasks.start_next(at(2)).unwrap().task_id, id(1));
        assert_eq!(tasks.start_next(at(3)), None);
        tasks.cancel(&id(1), at(4)).unwrap();
        assert_eq!(tasks.start_next(at(5)), None);
        tasks.end(&id(1), TaskEnd::default(), at(6)).unwrap();
        let second = tasks.start_next(at(7)).unwrap();
        assert_eq!((second.task_id, second.start_time, second.creation_time), (id(2), Some(at(7)), at(1)));
    }

    #[test]
    fn a_task_that_is_about_the_same_as_an_unfinished_one_is_refused() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&["a", "b/"]), 1).unwrap();
        let refused = create(&mut tasks, &export(&["/b", "a"]), 2).unwrap_err();
        assert_eq!(refused.code(), "DataRepositoryTaskExecuting");
        assert_eq!(refused.to_string(), "task-00000000000000001 is PENDING and has to end first");
        let import = CreateTask::new(TaskType::ImportMetadataFromRepository).with_paths(["a", "b"]);
        create(&mut tasks, &import, 3).unwrap();
        create(&mut tasks, &export(&[]), 4).unwrap();
        assert_eq!(create(&mut tasks, &export(&["/"]), 5).unwrap_err().code(), "DataRepositoryTaskExecuting");
        tasks.cancel(&id(1), at(2)).unwrap();
        create(&mut tasks, &export(&["a", "b"]), 2).unwrap();
    }

    #[test]
    fn one_at_a_time_is_a_choice() {
        let mut tasks = tasks().with_queueing(Queueing::OneAtATime);
        create(&mut tasks, &export(&["a"]), 1).unwrap();
        assert_eq!(create(&mut tasks, &export(&["b"]), 2).unwrap_err().code(), "DataRepositoryTaskExecuting");
        tasks.start_next(at(1)).unwrap();
        tasks.end(&id(1), TaskEnd::default(), at(2)).unwrap();
        create(&mut tasks, &export(&["b"]), 2).unwrap();
    }

    #[test]
    fn a_request_can_be_made_again() {
        let mut tasks = tasks();
        let request = export(&["a"]).with_token("once");
        let first = create(&mut tasks, &request, 1).unwrap();
        assert_eq!(create(&mut tasks, &request, 2).unwrap(), first);
        assert_eq!(tasks.iter().count(), 1);
        let other = export(&["b"]).with_token("once");
        assert_eq!(create(&mut tasks, &other, 2).unwrap_err().code(), "IncompatibleParameterError");
        for token in ["", "a b", &"x".repeat(64)] {
            assert_eq!(create(&mut tasks, &export(&["c"]).with_token(token), 3).unwrap_err().code(), "BadRequest");
        }
    }

    #[test]
    fn a_request_of_the_api_is_read_and_written_back_the_same() {
        let text = r#"{"Type":"RELEASE_DATA_FROM_FILESYSTEM","Paths":["path1"],"FileSystemId":"fs-0123456789abcdef0",
            "Report":{"Enabled":false},"ClientRequestToken":"t",
            "ReleaseConfiguration":{"DurationSinceLastAccess":{"Unit":"DAYS","Value":9}},
            "Tags":[{"Key":"a","Value":"b"}],"SomethingNew":1}"#;
        let request: CreateTask = serde_json::from_str(text).unwrap();
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), value);
        let task = create(&mut tasks(), &request, 1).unwrap();
        assert_eq!(task.release_configuration.unwrap().seconds(), 9 * 24 * 60 * 60);
        assert_eq!(task.rest["Tags"], value["Tags"]);
        // A type that there is not is refused where it is read.
        assert!(serde_json::from_str::<CreateTask>(r#"{"Type":"X","Report":{"Enabled":false}}"#).is_err());
    }

    #[test]
    fn cancelling_ends_what_waits_and_lets_finish_what_is_at_work() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&["a"]), 1).unwrap();
        create(&mut tasks, &export(&["b"]), 2).unwrap();
        tasks.start_next(at(2)).unwrap();
        assert_eq!(tasks.cancel(&id(2), at(3)).unwrap(), TaskLifecycle::Canceled);
        assert_eq!(tasks.get(&id(2)).unwrap().end_time, Some(at(3)));
        assert_eq!(tasks.cancel(&id(1), at(3)).unwrap(), TaskLifecycle::Canceling);
        assert_eq!(tasks.cancel(&id(1), at(4)).unwrap(), TaskLifecycle::Canceling);
        let status = TaskStatus { succeeded_count: 7, ..TaskStatus::default() };
        let ended = tasks.end(&id(1), TaskEnd { status, ..TaskEnd::default() }, at(5)).unwrap();
        assert_eq!((ended.lifecycle, ended.status.succeeded_count), (TaskLifecycle::Canceled, 7));
        let refused = tasks.cancel(&id(1), at(6)).unwrap_err();
        assert_eq!(refused.code(), "DataRepositoryTaskEnded");
        assert_eq!(tasks.cancel(&id(9), at(6)).unwrap_err().code(), "DataRepositoryTaskNotFound");
    }

    #[test]
    fn a_task_fails_when_one_file_does() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&[]), 1).unwrap();
        tasks.start_next(at(2)).unwrap();
        let status = TaskStatus { total_count: 9, succeeded_count: 4, failed_count: 1, ..TaskStatus::default() };
        let running = tasks.progress(&id(1), status, at(30_000)).unwrap();
        assert_eq!((running.status.total_count, running.status.last_updated_time), (9, Some(at(30_000))));
        let failed = tasks.end(&id(1), TaskEnd { status, ..TaskEnd::default() }, at(31_000)).unwrap();
        assert_eq!((failed.lifecycle, failed.status.total_count), (TaskLifecycle::Failed, 5));
        assert_eq!(failed.failure_details.as_ref().unwrap().message.as_ref(), "1 of 5 failed");
        assert_eq!(tasks.progress(&id(1), status, at(32_000)).unwrap_err().code(), "DataRepositoryTaskEnded");
    }

    #[test]
    fn a_task_whose_work_was_cancelled_has_not_succeeded() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&[]), 1).unwrap();
        tasks.start_next(at(2)).unwrap();
        let end = TaskEnd { cancelled: true, ..TaskEnd::default() };
        assert_eq!(tasks.end(&id(1), end, at(3)).unwrap().lifecycle, TaskLifecycle::Canceled);
    }

    #[test]
    fn an_export_task_is_refused_while_changes_are_exported_by_themselves() {
        let mut tasks = tasks();
        let automatic = EventTypes::NONE.with(EventType::New);
        let refused = tasks.create(&export(&[]), id(1), automatic, at(1)).unwrap_err();
        assert_eq!(refused.code(), "IncompatibleParameterError");
        let import = CreateTask::new(TaskType::ImportMetadataFromRepository);
        assert!(tasks.create(&import, id(1), automatic, at(1)).is_ok());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let mut tasks = tasks();
        let release = ReleaseConfiguration::after_days(9);
        assert_eq!(
            create(&mut tasks, &export(&[]).with_release(release.clone()), 1).unwrap_err().code(),
            "IncompatibleParameterError"
        );
        let cache = CreateTask::new(TaskType::AutoReleaseData);
        assert_eq!(create(&mut tasks, &cache, 1).unwrap_err().code(), "UnsupportedOperation");
        let capacity =
            CreateTask { capacity_to_release: Some(1), ..CreateTask::new(TaskType::ReleaseDataFromFilesystem) };
        assert_eq!(
            create(&mut tasks, &capacity, 1).unwrap_err().to_string(),
            "CapacityToRelease: it is for a cache, not for a file system"
        );
        let elsewhere = CreateTask { file_system_id: Some("fs-00000000".into()), ..export(&[]) };
        assert_eq!(create(&mut tasks, &elsewhere, 1).unwrap_err().code(), "FileSystemNotFound");
        let incomplete = CompletionReport { enabled: true, ..CompletionReport::default() };
        let refused = create(&mut tasks, &export(&[]).with_report(incomplete), 1).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Report: an enabled report needs `Path`, `Format` and `Scope`; `Path` is missing"
        );
        create(&mut tasks, &CreateTask::new(TaskType::ReleaseDataFromFilesystem).with_release(release), 1).unwrap();
    }

    #[test]
    fn what_is_refused_is_an_error_of_the_api() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&["a"]), 1).unwrap();
        let release = CreateTask::new(TaskType::ReleaseDataFromFilesystem);
        let moons = r#"{"DurationSinceLastAccess":{"Unit":"MOONS","Value":1}}"#;
        let answers = [
            create(&mut tasks, &export(&["a"]).with_token("a b"), 2).unwrap_err(),
            create(&mut tasks, &export(&["a"]), 2).unwrap_err(),
            create(&mut tasks, &export(&["b"]).with_release(ReleaseConfiguration::after_days(1)), 2).unwrap_err(),
            create(&mut tasks, &export(&["b"]).with_report(CompletionReport::at("b")), 2).unwrap_err(),
            create(&mut tasks, &release.with_release(serde_json::from_str(moons).unwrap()), 2).unwrap_err(),
            tasks.cancel(&id(9), at(2)).unwrap_err(),
        ]
        .map(|refused| serde_json::to_string(&refused.to_api()).unwrap());
        assert_eq!(
            answers,
            [
                r#"{"__type":"BadRequest","Message":"invalid token \"a b\": expected 1 to 63 letters, digits, `_`, `.` and `-`"}"#,
                r#"{"__type":"DataRepositoryTaskExecuting","Message":"task-00000000000000001 is PENDING and has to end first"}"#,
                r#"{"__type":"IncompatibleParameterError","Parameter":"ReleaseConfiguration","Message":"ReleaseConfiguration: a task of type EXPORT_TO_REPOSITORY releases nothing"}"#,
                r#"{"__type":"BadRequest","Message":"Report: the path of the report is invalid: invalid path \"b\": expected `s3://` and a bucket, found something else"}"#,
                r#"{"__type":"BadRequest","Message":"ReleaseConfiguration: expected the Unit `DAYS`, found \"MOONS\""}"#,
                r#"{"__type":"DataRepositoryTaskNotFound","Message":"there is no task-00000000000000009"}"#,
            ]
        );
    }

    #[test]
    fn a_task_is_known_for_14_days_after_its_end() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&["a"]), 1).unwrap();
        create(&mut tasks, &export(&["b"]), 2).unwrap();
        tasks.cancel(&id(1), at(1_000)).unwrap();
        let kept = Tasks::KEPT.saturating_mul(1000);
        tasks.expire(at(kept.saturating_add(999)));
        assert_eq!(tasks.iter().count(), 2);
        tasks.expire(at(kept.saturating_add(1_000)));
        assert_eq!(tasks.get(&id(1)).unwrap_err().to_string(), "there is no task-00000000000000001");
        assert!(tasks.get(&id(2)).is_ok());
    }

    #[test]
    fn s03_a_restart_finds_the_tasks_and_goes_on() {
        let mut tasks = tasks();
        create(&mut tasks, &export(&["a"]).with_token("t"), 1).unwrap();
        create(&mut tasks, &export(&["b"]), 2).unwrap();
        tasks.start_next(at(2)).unwrap();
        let status = TaskStatus { total_count: 9, succeeded_count: 4, failed_count: 1, ..TaskStatus::default() };
        tasks.progress(&id(1), status, at(3)).unwrap();

        let mut found: Tasks = serde_json::from_str(&serde_json::to_string(&tasks).unwrap()).unwrap();
        assert_eq!(found, tasks);
        found.restart(at(10));
        let again = found.start_next(at(11)).unwrap();
        assert_eq!((again.task_id, again.start_time), (id(1), Some(at(2))));
        let status = TaskStatus { succeeded_count: 5, ..TaskStatus::default() };
        let ended = found.end(&id(1), TaskEnd { status, ..TaskEnd::default() }, at(12)).unwrap();
        assert_eq!((ended.lifecycle, ended.status.succeeded_count), (TaskLifecycle::Succeeded, 9));

        found.start_next(at(13)).unwrap();
        found.cancel(&id(2), at(14)).unwrap();
        found.restart(at(15));
        let cancelled = found.get(&id(2)).unwrap();
        assert_eq!((cancelled.lifecycle, cancelled.end_time), (TaskLifecycle::Canceled, Some(at(15))));
        assert_eq!(create(&mut found, &export(&["a"]).with_token("t"), 3).unwrap().task_id, id(1));
    }
}
