//! The data repository as AWS describes it: a file system linked to a bucket, what state the link is in, what was asked of
//! it, and what became of that.
//!
//! A [`Link`] or [`Associations`] are what is linked, checked; [`LinkState`] is how that is; [`describe`] has the documents in
//! which the API says so; the guards, such as [`check_bucket_deletion`], are what to ask before something is deleted.
//!
//! The names and the documents are those of the Amazon FSx API, version 2018-03-01, so that a service can answer as FSx does
//! and a program can read what FSx answers. Nothing here does I/O or reads a clock; `engine` is what moves data.
//! Times are [`Timestamp`](crate::Timestamp)s that the caller hands in.

pub mod describe;

mod association;
mod changelog;
mod error;
mod event;
mod feed;
mod guard;
mod hsm;
mod lifecycle;
mod link;
mod page;
mod path;
mod policy;
mod report;
mod task;
mod tasks;

pub use association::{Association, AssociationId, Associations, InvalidAssociation, InvalidAssociationId};
pub use changelog::{
    Changelog, ChangelogBatch, ChangelogRecord, ChangelogTrouble, Fid, FidPaths, FidResolver, InvalidFid,
    InvalidRecord, MtimeRecords, Numbering, RecordType, RenameSource, Unresolved,
};
pub use error::{ApiError, ErrorCode};
pub use event::{
    Backlog, BacklogCounts, Creation, EventKind, InvalidBacklog, InvalidMessage, InvalidSequencer, MessageFault,
    MessagePosition, MessageStream, Notice, ObjectEvent, Overdue, Removal, Restoration, Sequencer, StreamError,
    read_message,
};
pub use feed::{
    ChangeFeed, ChangeKind, Closes, Debounce, Depth, FeedBatch, FeedChange, InvalidPending, Pending, Waiting,
};
pub use guard::{
    BucketInUse, DeletionRefused, LinkInTheWay, LinkOf, Loss, TaskInTheWay, Unsent, check_bucket_deletion,
    check_deletion,
};
pub use hsm::{Caller, HsmFault, HsmRefusal, HsmState, HsmStatus, IllegalHsmState, InUse, InvalidHsmStatus};
pub use lifecycle::{
    Action, FailureDetails, Happening, IllegalTransition, Lifecycle, LinkState, Misconfiguration, NotAllowed,
};
pub use link::{
    CreateFileSystemLustreConfiguration, ImportedFileChunkSize, InvalidChunkSize, InvalidLink, Link,
    UpdateFileSystemLustreConfiguration,
};
pub use page::{describe_data_repository_associations, describe_data_repository_tasks, describe_file_systems};
pub use path::{FileSystemPath, InvalidPath, Mapping, PathFault, Place, RepositoryPath};
pub use policy::{AutoImportPolicyType, EventType, EventTypes, Open};
pub use report::{FileStatus, InvalidReport, OutcomeLine, ReportCode, ReportReader, ReportRow, ReportWriter, Retry};
pub use task::{
    CompletionReport, DurationSinceLastAccess, DurationUnit, IllegalTaskTransition, InvalidCompletionReport,
    InvalidTaskId, InvalidTaskPath, ReleaseConfiguration, Task, TaskHappening, TaskId, TaskLifecycle, TaskPaths,
    TaskScope, TaskStatus, TaskType, UnknownUnit,
};
pub use tasks::{CreateTask, Queueing, TaskEnd, TaskRefused, Tasks};
