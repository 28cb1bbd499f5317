//! [`Task`]: an export, an import or a release that somebody has asked for, as AWS describes it.

use super::lifecycle::FailureDetails;
use super::policy::Open;
use crate::escape::excerpt;
use crate::key::{InvalidKey, Key, Prefix};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What a task does: `DataRepositoryTaskType` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskType {
    /// Sends what was made or changed to the bucket. It deletes nothing.
    ExportToRepository,
    /// Brings what was made or changed in the bucket. It deletes nothing.
    ImportMetadataFromRepository,
    /// Gives back the space of files that are exported and were not used for a while.
    ReleaseDataFromFilesystem,
    /// The same, least recently used first, until enough is free; of a File Cache alone.
    AutoReleaseData,
}

impl TaskType {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ExportToRepository,
        Self::ImportMetadataFromRepository,
        Self::ReleaseDataFromFilesystem,
        Self::AutoReleaseData,
    ];

    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExportToRepository => "EXPORT_TO_REPOSITORY",
            Self::ImportMetadataFromRepository => "IMPORT_METADATA_FROM_REPOSITORY",
            Self::ReleaseDataFromFilesystem => "RELEASE_DATA_FROM_FILESYSTEM",
            Self::AutoReleaseData => "AUTO_RELEASE_DATA",
        }
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The state of a task: `DataRepositoryTaskLifecycle` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskLifecycle {
    /// It waits for its turn.
    Pending,
    /// It is at work.
    Executing,
    /// It has ended, and something failed; perhaps one file alone.
    Failed,
    /// It has done everything.
    Succeeded,
    /// It was cancelled, and what is in process is being finished.
    Canceling,
    /// It was cancelled; what was done by then stays.
    Canceled,
}

impl TaskLifecycle {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Executing, Self::Failed, Self::Succeeded, Self::Canceling, Self::Canceled];

    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Executing => "EXECUTING",
            Self::Failed => "FAILED",
            Self::Succeeded => "SUCCEEDED",
            Self::Canceling => "CANCELING",
            Self::Canceled => "CANCELED",
        }
    }

    /// Whether nothing more happens to it.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Failed | Self::Succeeded | Self::Canceled)
    }

    /// The state after something has happened. For every state and every happening, this is the whole table.
    ///
    /// | | Start | Done | Fail | Cancel | Restart |
    /// |---|---|---|---|---|---|
    /// | PENDING | EXECUTING | – | FAILED | CANCELED | PENDING |
    /// | EXECUTING | – | SUCCEEDED | FAILED | CANCELING | PENDING |
    /// | CANCELING | – | CANCELED | CANCELED | CANCELING | CANCELED |
    /// | FAILED | – | – | – | – | FAILED |
    /// | SUCCEEDED | – | – | – | – | SUCCEEDED |
    /// | CANCELED | – | – | – | – | CANCELED |
    ///
    /// A task that was at work when the program stopped goes back to the queue: its run loses nothing, and the next one
    /// does what is left. One that was being cancelled is not begun again.
    ///
    /// # Errors
    /// [`IllegalTaskTransition`] for a dash: the state stays.
    pub const fn after(self, happening: TaskHappening) -> Result<Self, IllegalTaskTransition> {
        Ok(match (self, happening) {
            (Self::Pending, TaskHappening::Start) => Self::Executing,
            (Self::Executing, TaskHappening::Done) => Self::Succeeded,
            (Self::Pending | Self::Executing, TaskHappening::Fail) => Self::Failed,
            (Self::Executing | Self::Canceling, TaskHappening::Cancel) => Self::Canceling,
            (Self::Pending, TaskHappening::Cancel)
            | (Self::Canceling, TaskHappening::Done | TaskHappening::Fail | TaskHappening::Restart) => Self::Canceled,
            (Self::Pending | Self::Executing, TaskHappening::Restart) => Self::Pending,
            (ended, TaskHappening::Restart) => ended,
            (from, happening) => return Err(IllegalTaskTransition { from, happening }),
        })
    }
}

impl fmt::Display for TaskLifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happens to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskHappening {
    /// Its turn has come.
    Start,
    /// It has come to its end, and nothing failed.
    Done,
    /// It has come to its end and something failed, or it could not go on.
    Fail,
    /// Somebody has cancelled it.
    Cancel,
    /// The program that works on it was started again.
    Restart,
}

impl TaskHappening {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Start, Self::Done, Self::Fail, Self::Cancel, Self::Restart];

    const fn words(self) -> &'static str {
        match self {
            Self::Start => "being started",
            Self::Done => "being done",
            Self::Fail => "failing",
            Self::Cancel => "being cancelled",
            Self::Restart => "a restart",
        }
    }
}

impl fmt::Display for TaskHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Something that does not happen to a task in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a task that is {from} does not take {happening}")]
pub struct IllegalTaskTransition {
    /// The state.
    pub from: TaskLifecycle,
    /// What was to happen.
    pub happening: TaskHappening,
}

/// What tells one task from another: `TaskId` of the API.
///
/// - It is `task-` and at least 17 hexadecimal digits in lower case, at most 128 characters together.
///
/// ```
/// use posix_s3::repository::TaskId;
///
/// let id: TaskId = "task-0123456789abcdef0".parse()?;
/// assert_eq!(TaskId::from_number(0x0123_4567_89ab_cdef_0), id);
/// assert!("task-0123".parse::<TaskId>().is_err());
/// # Ok::<(), posix_s3::repository::InvalidTaskId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(Box<str>);

impl TaskId {
    const PREFIX: &'static str = "task-";
    const FEWEST_DIGITS: usize = 17;
    const MAX: usize = 128;

    /// Checks an id.
    ///
    /// # Errors
    /// [`InvalidTaskId`].
    pub fn parse(id: &str) -> Result<Self, InvalidTaskId> {
        let invalid = || InvalidTaskId(excerpt(id.as_bytes()));
        let digits = id.strip_prefix(Self::PREFIX).ok_or_else(invalid)?;
        let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || digits.len() < Self::FEWEST_DIGITS || id.len() > Self::MAX {
            return Err(invalid());
        }
        Ok(Self(id.into()))
    }

    /// The id of a number, which the caller takes care is no other task's: a random one, say.
    #[must_use]
    pub fn from_number(number: u128) -> Self {
        Self(format!("{}{number:017x}", Self::PREFIX).into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(id: &str) -> Result<Self, InvalidTaskId> {
        Self::parse(id)
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(id: String) -> Result<Self, InvalidTaskId> {
        Self::parse(&id)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0.into_string()
    }
}

/// An id that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid task id \"{0}\": expected `task-` and 17 to 123 hexadecimal digits in lower case")]
pub struct InvalidTaskId(Box<str>);

/// A task: `DataRepositoryTask` of the API, and written as it is there.
///
/// - The times are kept to the millisecond, as the API shows them.
/// - Members that this version does not know are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Task {
    /// Which one.
    pub task_id: TaskId,
    /// Its state.
    pub lifecycle: TaskLifecycle,
    /// What it does.
    pub r#type: TaskType,
    /// When it was asked for.
    #[serde(with = "epoch")]
    pub creation_time: Timestamp,
    /// When work on it was begun for the first time.
    #[serde(default, with = "epoch::option", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, with = "epoch::option", skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// The file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system_id: Option<Box<str>>,
    /// What it is about, as it was asked for; everything when there is none.
    #[serde(default)]
    pub paths: TaskPaths,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureDetails>,
    /// How far it is.
    #[serde(default)]
    pub status: TaskStatus,
    /// What is written of what failed.
    pub report: CompletionReport,
    /// What is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_configuration: Option<ReleaseConfiguration>,
    /// Members that this version does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How far a task is: `DataRepositoryTaskStatus` of the API.
///
/// What was as it should be already is not counted: neither an export nor an import has anything to do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TaskStatus {
    /// How many files, directories and links there are to be done, as far as is known by now. When the task has ended, the
    /// sum of the other two.
    #[serde(default)]
    pub total_count: u64,
    /// How many were done.
    #[serde(default)]
    pub succeeded_count: u64,
    /// How many failed.
    #[serde(default)]
    pub failed_count: u64,
    /// When these numbers were true.
    #[serde(default, with = "epoch::option", skip_serializing_if = "Option::is_none")]
    pub last_updated_time: Option<Timestamp>,
    /// How much was released, in GiB, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_capacity: Option<u64>,
}

impl TaskStatus {
    /// How often the numbers are brought up to date at least, in seconds.
    pub const REFRESH: i64 = 30;
}

/// What a release task releases: `ReleaseConfiguration` of the API.
///
/// [`ReleaseConfiguration::check`] tells whether it is one that this version can carry out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReleaseConfiguration {
    /// For how long a file must not have been used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_since_last_access: Option<DurationSinceLastAccess>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A time for which a file was not used: `DurationSinceLastAccess` of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DurationSinceLastAccess {
    /// The unit.
    pub unit: Open<DurationUnit>,
    /// How many of them.
    pub value: u64,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A unit of time: `Unit` of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DurationUnit {
    /// Days of 24 hours.
    #[default]
    Days,
}

/// A unit of time that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected the Unit `DAYS`, found \"{found}\"")]
pub struct UnknownUnit {
    found: Box<str>,
}

impl ReleaseConfiguration {
    /// What was not used for more than so many days; 0 for whatever there is.
    #[must_use]
    pub fn after_days(days: u64) -> Self {
        let duration = DurationSinceLastAccess { unit: DurationUnit::Days.into(), value: days, other: Map::new() };
        Self { duration_since_last_access: Some(duration), other: Map::new() }
    }

    /// Whether this version knows the unit.
    ///
    /// # Errors
    /// [`UnknownUnit`].
    pub fn check(&self) -> Result<(), UnknownUnit> {
        match self.duration_since_last_access.as_ref().map(|duration| &duration.unit) {
            Some(Open::Other(text)) => Err(UnknownUnit { found: excerpt(text.as_bytes()) }),
            Some(Open::Known(DurationUnit::Days)) | None => Ok(()),
        }
    }

    /// For how many days a file must not have been used: 0 when nothing is said of it, and more than there are in a unit that
    /// is not known, so that nothing is released too early.
    #[must_use]
    pub fn days(&self) -> u64 {
        match (&self.duration_since_last_access, self.check()) {
            (_, Err(_)) => u64::MAX,
            (Some(duration), Ok(())) => duration.value,
            (None, Ok(())) => 0,
        }
    }

    /// How many seconds must have gone by between the last use of a file and the creation of the task. A file is old enough
    /// when it is *more* than that, except that 0 is any age.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.days().saturating_mul(24 * 60 * 60)
    }

    /// Whether a file that was last used then is old enough for a task of this creation time. The last use is the latest of
    /// its times of access, modification and change.
    #[must_use]
    pub fn is_old_enough(&self, last_used: Timestamp, creation_time: Timestamp) -> bool {
        let most = i128::from(self.seconds()).saturating_mul(1_000_000_000);
        most == 0 || creation_time.nanoseconds().saturating_sub(last_used.nanoseconds()) > most
    }
}

/// What is written of what a task could not do, and where: `CompletionReport` of the API.
///
/// [`CompletionReport::check`] tells whether it is one that the API takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompletionReport {
    /// Whether it is written at all.
    pub enabled: bool,
    /// The part of the bucket that it is written to: `s3://bucket/…`, within the linked part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Box<str>>,
    /// Its form: `REPORT_CSV_20191124`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Box<str>>,
    /// What is in it: `FAILED_FILES_ONLY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Box<str>>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CompletionReport {
    /// The one format there is.
    pub const FORMAT: &'static str = "REPORT_CSV_20191124";
    /// The one scope there is.
    pub const SCOPE: &'static str = "FAILED_FILES_ONLY";

    /// None is written.
    #[must_use]
    pub fn disabled() -> Self {
        Self::default()
    }

    /// It is written below a part of the bucket.
    #[must_use]
    pub fn at(path: &str) -> Self {
        Self {
            enabled: true,
            path: Some(path.into()),
            format: Some(Self::FORMAT.into()),
            scope: Some(Self::SCOPE.into()),
            other: Map::new(),
        }
    }

    /// Whether the API takes it: one that is enabled needs path, format and scope.
    ///
    /// # Errors
    /// [`InvalidCompletionReport`].
    pub fn check(&self) -> Result<(), InvalidCompletionReport> {
        if !self.enabled {
            return Ok(());
        }
        let path = self.path.as_deref().ok_or(InvalidCompletionReport::Missing { member: "Path" })?;
        let format = self.format.as_deref().ok_or(InvalidCompletionReport::Missing { member: "Format" })?;
        let scope = self.scope.as_deref().ok_or(InvalidCompletionReport::Missing { member: "Scope" })?;
        for (member, expected, found) in [("Format", Self::FORMAT, format), ("Scope", Self::SCOPE, scope)] {
            if found != expected {
                let found = excerpt(found.as_bytes());
                return Err(InvalidCompletionReport::Value { member, expected, found });
            }
        }
        bucket_and_key(path).map(drop).map_err(InvalidCompletionReport::Path)
    }

    /// The key of the report of a task, relative to the linked part of the bucket: `reports/task-…/failures.csv`, say;
    /// `None` when none is to be written.
    ///
    /// An import writes `report.csv`, everything else `failures.csv`.
    ///
    /// # Errors
    /// [`InvalidCompletionReport`] as [`check`](Self::check) says, and when the path is not within the linked part.
    pub fn key(
        &self,
        task: &TaskId,
        of: TaskType,
        bucket: &str,
        prefix: &Prefix,
    ) -> Result<Option<Key>, InvalidCompletionReport> {
        self.check()?;
        let Some(path) = self.path.as_deref().filter(|_| self.enabled) else { return Ok(None) };
        let outside =
            || InvalidCompletionReport::Outside { path: excerpt(path.as_bytes()), place: place(bucket, prefix) };
        let (found, key) = bucket_and_key(path).map_err(InvalidCompletionReport::Path)?;
        let whole = if key.is_empty() || key.ends_with('/') { key.to_owned() } else { format!("{key}/") };
        let relative = prefix.relative(&whole).filter(|_| found == bucket).ok_or_else(outside)?;
        let name = match of {
            TaskType::ImportMetadataFromRepository => "report.csv",
            _ => "failures.csv",
        };
        let key = Key::parse(&format!("{relative}{task}/{name}"));
        let key =
            key.map_err(|error| InvalidCompletionReport::Path(InvalidTaskPath::Key { path: path_of(path), error }));
        Ok(Some(key?))
    }
}

/// A completion report that the API does not take.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidCompletionReport {
    /// A member is missing that one which is enabled needs.
    #[error("an enabled report needs `Path`, `Format` and `Scope`; `{member}` is missing")]
    Missing {
        /// Its name.
        member: &'static str,
    },
    /// A member has a value that there is not.
    #[error("expected the {member} `{expected}`, found \"{found}\"")]
    Value {
        /// Its name.
        member: &'static str,
        /// The one value there is.
        expected: &'static str,
        /// What was found, safe to print.
        found: Box<str>,
    },
    /// The path is none.
    #[error("the path of the report is invalid")]
    Path(#[source] InvalidTaskPath),
    /// The path is not within the part of a bucket that is linked.
    #[error("expected the path of the report within {place}, found \"{path}\"")]
    Outside {
        /// The path, safe to print.
        path: Box<str>,
        /// The part of the bucket.
        place: Box<str>,
    },
}

/// The paths of a task, as they were asked for.
///
/// - There are at most 100, each of at most 4,096 characters, and none holds NUL, CR, LF, U+0085, U+2028 or U+2029.
/// - Whether each is fit to be a path, and is one of the link, is found out when the task is at work: a path that is not
///   fails the task.
///
/// None at all is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Box<str>>", into = "Vec<Box<str>>")]
pub struct TaskPaths(Vec<Box<str>>);

impl TaskPaths {
    /// The most paths.
    pub const MAX: usize = 100;
    /// The most characters of a path.
    pub const MAX_CHARACTERS: usize = 4096;

    /// Checks what the API asks of paths.
    ///
    /// # Errors
    /// [`InvalidTaskPath`].
    pub fn new<P: AsRef<str>>(paths: impl IntoIterator<Item = P>) -> Result<Self, InvalidTaskPath> {
        let mut checked = Vec::new();
        for path in paths {
            let path = path.as_ref();
            if checked.len() == Self::MAX {
                return Err(InvalidTaskPath::TooMany);
            }
            let characters = path.chars().count();
            if characters > Self::MAX_CHARACTERS {
                return Err(InvalidTaskPath::TooLong { path: path_of(path), characters });
            }
            if let Some((at, _)) = path.char_indices().find(|(_, character)| is_barred(*character)) {
                return Err(InvalidTaskPath::Barred { path: path_of(path), at });
            }
            checked.push(path.into());
        }
        Ok(Self(checked))
    }

    /// The paths.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether both are about the same, in whatever order.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let set = |paths: &Self| paths.iter().map(canonical).collect::<std::collections::BTreeSet<_>>();
        // No path, an empty one and the root are the same: everything.
        let mut sets = [set(self), set(other)];
        for set in &mut sets {
            if set.is_empty() {
                set.insert("".into());
            }
        }
        let [one, two] = sets;
        one == two
    }

    /// What of a linked directory a task is about.
    ///
    /// The paths of an import are `s3://bucket/…`; those of everything else are relative to the mount, and one leading slash
    /// does not matter. `directory` is the linked directory, from the root of the file system, `/` for that; `bucket` and
    /// `prefix` are what it is linked to. A path around the linked directory is about all of it.
    ///
    /// # Errors
    /// [`InvalidTaskPath`] for the first path that is none, or none of this link: the task fails with it.
    ///
    /// ```
    /// use posix_s3::repository::{TaskPaths, TaskScope, TaskType};
    ///
    /// let paths = TaskPaths::new(["ns1/results/", "ns1/log"])?;
    /// let scope = paths.scope(TaskType::ExportToRepository, "/ns1", "sample-data", &"in/".parse()?)?;
    /// assert_eq!(scope, TaskScope::Paths(vec!["results/".parse()?, "log".parse()?]));
    ///
    /// let paths = TaskPaths::new(["s3://sample-data/in/results"])?;
    /// let scope = paths.scope(TaskType::ImportMetadataFromRepository, "/ns1", "sample-data", &"in/".parse()?)?;
    /// assert_eq!(scope, TaskScope::Paths(vec!["results".parse()?]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scope(
        &self,
        of: TaskType,
        directory: &str,
        bucket: &str,
        prefix: &Prefix,
    ) -> Result<TaskScope, InvalidTaskPath> {
        let mut keys = Vec::new();
        let mut everything = self.0.is_empty();
        for path in self.iter() {
            let relative = match of {
                TaskType::ImportMetadataFromRepository => below_prefix(path, bucket, prefix)?,
                _ => below_directory(path, directory)?,
            };
            if relative.is_empty() {
                everything = true;
                continue;
            }
            let key = Key::parse(relative).map_err(|error| InvalidTaskPath::Key { path: path_of(path), error })?;
            keys.push(key);
        }
        Ok(if everything { TaskScope::Everything } else { TaskScope::Paths(keys) })
    }
}

impl TryFrom<Vec<Box<str>>> for TaskPaths {
    type Error = InvalidTaskPath;

    fn try_from(paths: Vec<Box<str>>) -> Result<Self, InvalidTaskPath> {
        Self::new(paths)
    }
}

impl From<TaskPaths> for Vec<Box<str>> {
    fn from(paths: TaskPaths) -> Self {
        paths.0
    }
}

/// What of a linked directory a task is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskScope {
    /// All of it.
    Everything,
    /// These files, links and directories, relative to it.
    Paths(Vec<Key>),
}

/// A path that a task cannot be about.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidTaskPath {
    /// There are too many.
    #[error("expected at most {max} paths, found more", max = TaskPaths::MAX)]
    TooMany,
    /// It has too many characters.
    #[error("invalid path \"{path}\": expected at most {max} characters, found {characters}", max = TaskPaths::MAX_CHARACTERS)]
    TooLong {
        /// The path, safe to print.
        path: Box<str>,
        /// How many it has.
        characters: usize,
    },
    /// It holds a character that the API bars.
    #[error("invalid path \"{path}\": expected no NUL and no end of a line, found one at byte {at}")]
    Barred {
        /// The path, safe to print.
        path: Box<str>,
        /// Where.
        at: usize,
    },
    /// It is that of no bucket.
    #[error("invalid path \"{path}\": expected `s3://` and a bucket, found something else")]
    NoBucket {
        /// The path, safe to print.
        path: Box<str>,
    },
    /// It is fit to be no path.
    #[error("invalid path \"{path}\"")]
    Key {
        /// The path, safe to print.
        path: Box<str>,
        /// Why.
        #[source]
        error: InvalidKey,
    },
    /// It is not within the link.
    #[error("invalid path \"{path}\": expected one within {place}")]
    Outside {
        /// The path, safe to print.
        path: Box<str>,
        /// What the task may be about.
        place: Box<str>,
    },
}

/// Characters that no path of the API holds.
const fn is_barred(character: char) -> bool {
    matches!(character, '\0' | '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn path_of(path: &str) -> Box<str> {
    excerpt(path.as_bytes())
}

/// One spelling of a path: without the slashes around it.
fn canonical(path: &str) -> Box<str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).into()
}

/// A part of a bucket, in words.
fn place(bucket: &str, prefix: &Prefix) -> Box<str> {
    excerpt(format!("s3://{bucket}/{}", prefix.as_str()).as_bytes())
}

fn bucket_and_key(path: &str) -> Result<(&str, &str), InvalidTaskPath> {
    let no_bucket = || InvalidTaskPath::NoBucket { path: path_of(path) };
    let rest = path.strip_prefix("s3://").ok_or_else(no_bucket)?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() { Err(no_bucket()) } else { Ok((bucket, key)) }
}

/// What of a path in a bucket stands below a prefix; nothing for one around it.
fn below_prefix<'a>(path: &'a str, bucket: &str, prefix: &Prefix) -> Result<&'a str, InvalidTaskPath> {
    let (found, key) = bucket_and_key(path)?;
    let below = below(key, prefix.as_str().strip_suffix('/').unwrap_or_default()).filter(|_| found == bucket);
    below.ok_or_else(|| InvalidTaskPath::Outside { path: path_of(path), place: place(bucket, prefix) })
}

/// What of a path of the file system stands below a directory; nothing for one around it.
fn below_directory<'a>(path: &'a str, directory: &str) -> Result<&'a str, InvalidTaskPath> {
    let relative = path.strip_prefix('/').unwrap_or(path);
    let below = below(relative, &canonical(directory));
    below.ok_or_else(|| InvalidTaskPath::Outside { path: path_of(path), place: path_of(directory) })
}

/// What of a path stands below another, by whole parts; nothing when it is around it.
fn below<'a>(path: &'a str, around: &str) -> Option<&'a str> {
    if around.is_empty() {
        return Some(path);
    }
    if let Some(rest) = path.strip_prefix(around) {
        return if rest.is_empty() { Some("") } else { rest.strip_prefix('/') };
    }
    let whole = path.strip_suffix('/').unwrap_or(path);
    let is_around = whole.is_empty() || around.strip_prefix(whole).is_some_and(|rest| rest.starts_with('/'));
    is_around.then_some("")
}

/// Times as the API writes them: seconds since 1970 as a decimal number, to the millisecond.
pub(super) mod epoch {
    use crate::timestamp::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// The time as it is after having been written and read.
    pub(crate) fn rounded(time: Timestamp) -> Timestamp {
        let nanos = time.subsecond_nanos();
        Timestamp::from_unix(time.seconds(), nanos.saturating_sub(nanos.checked_rem(1_000_000).unwrap_or(0)))
            .unwrap_or(time)
    }

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = rounded(*time).nanoseconds().checked_div(1_000_000).unwrap_or(0);
        let sign = if milliseconds < 0 { "-" } else { "" };
        let (whole, rest) = (milliseconds.abs().checked_div(1000), milliseconds.abs().checked_rem(1000));
        let text = format!("{sign}{}.{:03}", whole.unwrap_or(0), rest.unwrap_or(0));
        serializer.serialize_f64(text.parse().map_err(serde::ser::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("expected seconds since 1970, found {number}"));
        let text = format!("{number:.3}");
        let digits: String = text.chars().filter(|character| *character != '.').collect();
        let milliseconds: i128 = digits.parse().map_err(|_| wrong())?;
        let nanoseconds = milliseconds.checked_mul(1_000_000).ok_or_else(wrong)?;
        Timestamp::from_nanoseconds(nanoseconds).ok_or_else(wrong)
    }

    /// The same, of what need not be there.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Serializer, Timestamp};

        pub(crate) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            #[derive(Deserialize)]
            struct Seconds(#[serde(deserialize_with = "super::deserialize")] Timestamp);

            Ok(Option::<Seconds>::deserialize(deserializer)?.map(|Seconds(time)| time))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_transitions_is_total() {
        let table: Vec<String> = TaskLifecycle::ALL
            .iter()
            .map(|from| {
                let row = TaskHappening::ALL.map(|happening| from.after(happening).map_or("-", TaskLifecycle::name));
                format!("{from}: {}", row.join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "PENDING: EXECUTING - FAILED CANCELED PENDING",
                "EXECUTING: - SUCCEEDED FAILED CANCELING PENDING",
                "FAILED: - - - - FAILED",
                "SUCCEEDED: - - - - SUCCEEDED",
                "CANCELING: - CANCELED CANCELED CANCELING CANCELED",
                "CANCELED: - - - - CANCELED",
            ]
        );
        let refused = TaskLifecycle::Canceled.after(TaskHappening::Start).unwrap_err();
        assert_eq!(refused.to_string(), "a task that is CANCELED does not take being started");
    }

    #[test]
    fn a_document_of_the_guide_reads_and_writes_back_the_same() {
        // From the user guide, "Using data repository tasks", with the members of the reference of the API.
        let text = r#"{
            "TaskId": "task-0123456789abcdef3",
            "Lifecycle": "EXECUTING",
            "Type": "EXPORT_TO_REPOSITORY",
            "CreationTime": 1571863850.075,
            "StartTime": 1571863851.0,
            "ResourceARN": "arn:aws:fsx:us-east-1:1234567890:task:task-0123456789abcdef3",
            "Tags": [],
            "FileSystemId": "fs-0123456789abcdef0",
            "Paths": ["path1"],
            "Status": {"TotalCount": 4200, "SucceededCount": 4255, "FailedCount": 0, "LastUpdatedTime": 1571863875.289},
            "Report": {
                "Enabled": true,
                "Path": "s3://sample-data/reports",
                "Format": "REPORT_CSV_20191124",
                "Scope": "FAILED_FILES_ONLY"
            }
        }"#;
        let task: Task = serde_json::from_str(text).unwrap();
        assert_eq!(task.creation_time, Timestamp::from_unix(1_571_863_850, 75_000_000).unwrap());
        assert_eq!((task.lifecycle, task.status.succeeded_count), (TaskLifecycle::Executing, 4255));
        assert!(task.rest.contains_key("ResourceARN"));
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&task).unwrap(), value);
    }

    #[test]
    fn times_are_seconds_to_the_millisecond() {
        #[derive(Serialize, Deserialize)]
        struct Time(#[serde(with = "epoch")] Timestamp);

        for (seconds, nanos, text) in
            [(0, 0, "0.0"), (1, 500_999_999, "1.5"), (-1, 250_000_000, "-0.75"), (253_402_300_799, 0, "253402300799.0")]
        {
            let time = Timestamp::from_unix(seconds, nanos).unwrap();
            assert_eq!(serde_json::to_string(&Time(time)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Time>(text).unwrap().0, epoch::rounded(time));
        }
        assert_eq!(serde_json::from_str::<Time>("1571863850").unwrap().0.seconds(), 1_571_863_850);
        assert!(serde_json::from_str::<Time>("1e300").is_err());
    }

    #[test]
    fn ids_have_at_least_17_digits() {
        let most = format!("task-{}", "0".repeat(123));
        for id in ["task-0123456789abcdef0", &most] {
            assert_eq!(TaskId::parse(id).unwrap().as_str(), id);
        }
        for id in [
            "",
            "task-",
            "task-0123456789abcdef",
            "task-0123456789ABCDEF0",
            "dra-0123456789abcdef0",
            &format!("{most}0"),
        ] {
            assert!(TaskId::parse(id).is_err(), "{id}");
        }
        assert_eq!(TaskId::from_number(u128::MAX).as_str().len(), 5 + 32);
    }

    #[test]
    fn paths_have_the_limits_of_the_api() {
        assert!(TaskPaths::new(vec!["a"; 100]).is_ok());
        assert_eq!(TaskPaths::new(vec!["a"; 101]).unwrap_err().to_string(), "expected at most 100 paths, found more");
        assert!(TaskPaths::new(["é".repeat(4096)]).is_ok());
        assert!(matches!(TaskPaths::new(["é".repeat(4097)]), Err(InvalidTaskPath::TooLong { characters: 4097, .. })));
        for barred in ["\0", "\r", "\n", "\u{85}", "\u{2028}", "\u{2029}"] {
            let error = TaskPaths::new([format!("é{barred}")]).unwrap_err();
            assert!(matches!(error, InvalidTaskPath::Barred { at: 2, .. }), "{error}");
        }
        assert!(serde_json::from_str::<TaskPaths>(r#"["a\nb"]"#).is_err());
    }

    fn scope(of: TaskType, paths: &[&str]) -> Result<TaskScope, String> {
        let paths = TaskPaths::new(paths).unwrap();
        paths.scope(of, "/ns1", "bucket", &"in/".parse().unwrap()).map_err(|error| error.to_string())
    }

    fn keys(keys: &[&str]) -> TaskScope {
        TaskScope::Paths(keys.iter().map(|key| key.parse().unwrap()).collect())
    }

    #[test]
    fn paths_of_exports_and_releases_are_relative_to_the_mount() {
        for of in [TaskType::ExportToRepository, TaskType::ReleaseDataFromFilesystem] {
            assert_eq!(scope(of, &["ns1/a", "/ns1/b/"]).unwrap(), keys(&["a", "b/"]));
            for everything in [&[][..], &[""], &["/"], &["ns1"], &["/ns1/"], &["ns1/a", ""]] {
                assert_eq!(scope(of, everything).unwrap(), TaskScope::Everything, "{everything:?}");
            }
            assert_eq!(scope(of, &["ns10/a"]).unwrap_err(), "invalid path \"ns10/a\": expected one within /ns1");
            for outside in ["n", "ns", "ns2", "other"] {
                assert!(scope(of, &[outside]).is_err(), "{outside}");
            }
            assert_eq!(scope(of, &["ns1/../etc"]).unwrap_err(), "invalid path \"ns1/../etc\"");
        }
        let root = TaskPaths::new(["a/b", "/c"]).unwrap();
        let of = TaskType::ExportToRepository;
        assert_eq!(root.scope(of, "/", "bucket", &Prefix::default()).unwrap(), keys(&["a/b", "c"]));
    }

    #[test]
    fn paths_of_imports_are_those_of_the_bucket() {
        let of = TaskType::ImportMetadataFromRepository;
        assert_eq!(scope(of, &["s3://bucket/in/a", "s3://bucket/in/b/"]).unwrap(), keys(&["a", "b/"]));
        for everything in ["s3://bucket", "s3://bucket/", "s3://bucket/in", "s3://bucket/in/"] {
            assert_eq!(scope(of, &[everything]).unwrap(), TaskScope::Everything, "{everything}");
        }
        let refused = scope(of, &["s3://bucket/out/a"]).unwrap_err();
        assert_eq!(refused, "invalid path \"s3://bucket/out/a\": expected one within s3://bucket/in/");
        for outside in ["s3://other/in/a", "s3://bucket/inner"] {
            assert!(scope(of, &[outside]).unwrap_err().contains("expected one within"), "{outside}");
        }
        for no_bucket in ["ns1/a", "s3://", "s3:///in/a", "http://bucket/in/a"] {
            assert!(scope(of, &[no_bucket]).unwrap_err().contains("and a bucket"), "{no_bucket}");
        }
    }

    #[test]
    fn a_report_stands_within_the_link_under_the_id_of_its_task() {
        let (task, prefix) = (TaskId::from_number(1), "in/".parse().unwrap());
        let key = |report: &CompletionReport, of| {
            let key = report.key(&task, of, "bucket", &prefix).map_err(|error| error.to_string())?;
            Ok::<_, String>(key.map(String::from))
        };
        let export = TaskType::ExportToRepository;
        let name = Some("reports/task-00000000000000001/failures.csv".to_owned());
        assert_eq!(key(&CompletionReport::at("s3://bucket/in/reports"), export), Ok(name.clone()));
        assert_eq!(
            key(&CompletionReport::at("s3://bucket/in/reports/"), TaskType::ReleaseDataFromFilesystem),
            Ok(name)
        );
        let name = Some("task-00000000000000001/report.csv".to_owned());
        assert_eq!(key(&CompletionReport::at("s3://bucket/in"), TaskType::ImportMetadataFromRepository), Ok(name));
        assert_eq!(key(&CompletionReport::disabled(), export), Ok(None));
        for outside in ["s3://bucket/", "s3://bucket/inner", "s3://other/in"] {
            let refused = key(&CompletionReport::at(outside), export).unwrap_err();
            assert!(refused.starts_with("expected the path of the report within s3://bucket/in/"), "{refused}");
        }
    }

    #[test]
    fn a_report_has_one_format_and_one_scope() {
        let report = CompletionReport { format: Some("REPORT_XML".into()), ..CompletionReport::at("s3://bucket/a") };
        let refused = report.check().unwrap_err().to_string();
        assert_eq!(refused, "expected the Format `REPORT_CSV_20191124`, found \"REPORT_XML\"");
        let report = CompletionReport { scope: None, ..CompletionReport::at("s3://bucket/a") };
        assert!(report.check().unwrap_err().to_string().ends_with("`Scope` is missing"));
        assert!(CompletionReport::at("bucket/a").check().is_err());
        assert!(CompletionReport::disabled().check().is_ok());
    }

    #[test]
    fn an_age_is_more_than_so_many_days() {
        let days = ReleaseConfiguration::after_days;
        let day = 24 * 60 * 60;
        let at = |seconds, nanos| Timestamp::from_unix(seconds, nanos).unwrap();
        assert!(!days(9).is_old_enough(at(0, 0), at(9 * day, 0)));
        assert!(days(9).is_old_enough(at(0, 0), at(9 * day, 1)));
        assert!(
            days(0).is_old_enough(at(5, 0), at(0, 0))
                && ReleaseConfiguration::default().is_old_enough(at(5, 0), at(5, 0))
        );
        assert!(!days(u64::MAX).is_old_enough(at(0, 0), at(i64::MAX, 0)));
        let text = r#"{"DurationSinceLastAccess":{"Unit":"MOONS","Value":0,"Waxing":true},"Gently":[1]}"#;
        let moons: ReleaseConfiguration = serde_json::from_str(text).unwrap();
        assert_eq!(moons.check().unwrap_err().to_string(), "expected the Unit `DAYS`, found \"MOONS\"");
        assert!(!moons.is_old_enough(at(0, 0), at(i64::MAX, 0)));
        assert_eq!(serde_json::to_string(&moons).unwrap(), text);
    }
}
