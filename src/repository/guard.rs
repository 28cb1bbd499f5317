//! What must not be deleted yet.
//!
//! A bucket stays while something is linked to it. A file system, or a link of it, stays while a task is at work on it, and
//! while changes are there that only it has, unless they may be lost. Nothing is deleted here: these are the questions to
//! ask before.

use super::association::Association;
use super::error::{ApiError, ErrorCode};
use super::lifecycle::{Lifecycle, LinkState};
use super::link::Link;
use crate::escape::excerpt;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// A link of a file system, in either form, with its state.
#[derive(Clone, Copy, Debug)]
pub struct LinkOf<'a> {
    file_system_id: &'a str,
    form: Form<'a>,
    lifecycle: Lifecycle,
}

#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    Link(&'a Link),
    Association(&'a Association),
}

impl<'a> LinkOf<'a> {
    /// A link made with its file system.
    #[must_use]
    pub const fn link(file_system_id: &'a str, link: &'a Link, state: &LinkState) -> Self {
        Self { file_system_id, form: Form::Link(link), lifecycle: state.lifecycle() }
    }

    /// An association.
    #[must_use]
    pub const fn association(file_system_id: &'a str, association: &'a Association, state: &LinkState) -> Self {
        Self { file_system_id, form: Form::Association(association), lifecycle: state.lifecycle() }
    }

    fn is_to(&self, bucket: &str) -> bool {
        match self.form {
            Form::Link(link) => link.bucket() == bucket,
            Form::Association(association) => association.data_repository_path().bucket() == bucket,
        }
    }

    fn describe(&self) -> LinkInTheWay {
        let association = match self.form {
            Form::Link(_) => None,
            Form::Association(association) => Some(association.id().as_str().into()),
        };
        LinkInTheWay { file_system_id: self.file_system_id.into(), association, lifecycle: self.lifecycle }
    }
}

/// Whether a bucket can be deleted, as far as links go: no link is to it.
///
/// Every link that is handed in counts, whatever its state: one that is misconfigured may be healed, one that failed may
/// hold what is nowhere else, and one that is being deleted may still have something to send. One whose deletion has ended is
/// not there any more.
///
/// # Errors
/// [`BucketInUse`], which names all that are in the way.
pub fn check_bucket_deletion<'a>(bucket: &str, links: impl IntoIterator<Item = LinkOf<'a>>) -> Result<(), BucketInUse> {
    let links: Vec<_> = links.into_iter().filter(|link| link.is_to(bucket)).map(|link| link.describe()).collect();
    if links.is_empty() { Ok(()) } else { Err(BucketInUse { bucket: excerpt(bucket.as_bytes()), links }) }
}

/// A bucket that is not to be deleted, and what is linked to it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the bucket {bucket} is linked to {}: delete these first", list(links))]
pub struct BucketInUse {
    bucket: Box<str>,
    links: Vec<LinkInTheWay>,
}

impl BucketInUse {
    /// The links to it, at least one.
    #[must_use]
    pub fn links(&self) -> &[LinkInTheWay] {
        &self.links
    }

    /// The error that the API answers with.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        ApiError::new(ErrorCode::BadRequest, self)
    }
}

/// A link to a bucket that somebody wants to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInTheWay {
    /// The file system.
    pub file_system_id: Box<str>,
    /// The association; nothing for a link made with the file system.
    pub association: Option<Box<str>>,
    /// Its state.
    pub lifecycle: Lifecycle,
}

impl fmt::Display for LinkInTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file_system = excerpt(self.file_system_id.as_bytes());
        match &self.association {
            Some(association) => write!(f, "{file_system} by {association} ({})", self.lifecycle),
            None => write!(f, "{file_system} ({})", self.lifecycle),
        }
    }
}

/// What of a file system, or below a link of it, is not in the store yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// How much is known: that many changes, the oldest of that age. None of them is nothing to lose.
    Known {
        /// How many changes.
        changes: u64,
        /// How long the oldest has been waiting, where that is known: `AgeOfOldestQueuedMessage`.
        oldest: Option<Duration>,
    },
    /// What was changed is not known, since nobody looked, or since records of it were lost.
    Unknown,
}

impl Unsent {
    /// Everything is in the store.
    pub const NOTHING: Self = Self::Known { changes: 0, oldest: None };

    /// Whether something may be lost. What is not known may.
    #[must_use]
    pub const fn is_at_stake(self) -> bool {
        !matches!(self, Self::Known { changes: 0, .. })
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { changes, oldest: None } => write!(f, "{changes} changes are not in the store"),
            Self::Known { changes, oldest: Some(oldest) } => {
                write!(f, "{changes} changes are not in the store, the oldest of {} s ago", oldest.as_secs())
            }
            Self::Unknown => f.write_str("it is not known what is not in the store"),
        }
    }
}

/// What becomes of changes that are not in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// They keep what has them from being deleted.
    #[default]
    Refused,
    /// They may be lost; somebody has said so.
    Accepted,
}

/// Whether a file system or a link can be deleted: no task on it is at work, and it has nothing that is not in the store.
///
/// `tasks` are the ids and the states of those of the file system, or of those of them that are about the link. A task is at work until it has
/// succeeded, failed or been canceled. The API refuses for PENDING and EXECUTING; one that is CANCELING has files in hand as
/// well, and what a later version of the API may call its states is taken for work. Tasks are not lost with
/// [`Loss::Accepted`]: they can be canceled.
///
/// # Errors
/// [`DeletionRefused`], which names all that is in the way.
pub fn check_deletion<'a>(
    what: &str,
    tasks: impl IntoIterator<Item = (&'a str, &'a str)>,
    unsent: Unsent,
    loss: Loss,
) -> Result<(), DeletionRefused> {
    let at_work = |&(_, lifecycle): &(&str, &str)| !matches!(lifecycle, "SUCCEEDED" | "FAILED" | "CANCELED");
    let tasks: Vec<_> = tasks
        .into_iter()
        .filter(at_work)
        .map(|(task_id, lifecycle)| TaskInTheWay {
            task_id: excerpt(task_id.as_bytes()),
            lifecycle: excerpt(lifecycle.as_bytes()),
        })
        .collect();
    let unsent = (unsent.is_at_stake() && loss == Loss::Refused).then_some(unsent);
    if tasks.is_empty() && unsent.is_none() {
        return Ok(());
    }
    Err(DeletionRefused { what: excerpt(what.as_bytes()), tasks, unsent })
}

/// A file system or a link that is not to be deleted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} cannot be deleted: {}", reasons(tasks, *unsent))]
pub struct DeletionRefused {
    what: Box<str>,
    tasks: Vec<TaskInTheWay>,
    unsent: Option<Unsent>,
}

impl DeletionRefused {
    /// The tasks that are at work on it.
    #[must_use]
    pub fn tasks(&self) -> &[TaskInTheWay] {
        &self.tasks
    }

    /// What would be lost.
    #[must_use]
    pub const fn unsent(&self) -> Option<Unsent> {
        self.unsent
    }

    /// The error that the API answers with.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        ApiError::new(ErrorCode::BadRequest, self)
    }
}

/// A task on what somebody wants to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInTheWay {
    /// Its name, safe to print.
    pub task_id: Box<str>,
    /// Its state, safe to print.
    pub lifecycle: Box<str>,
}

impl fmt::Display for TaskInTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.task_id, self.lifecycle)
    }
}

fn reasons(tasks: &[TaskInTheWay], unsent: Option<Unsent>) -> String {
    let tasks = (!tasks.is_empty()).then(|| format!("it has tasks at work, {}", list(tasks)));
    let unsent = unsent.map(|unsent| unsent.to_string());
    tasks.into_iter().chain(unsent).collect::<Vec<_>>().join("; ")
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::describe::CreateDataRepositoryAssociationRequest;
    use crate::repository::{AssociationId, CreateFileSystemLustreConfiguration, Misconfiguration};
    use crate::timestamp::Timestamp;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn link(path: &str) -> Link {
        let request = CreateFileSystemLustreConfiguration { import_path: Some(path.into()), ..Default::default() };
        Link::new(&request, NOW).unwrap()
    }

    fn association(path: &str) -> Association {
        let request = CreateDataRepositoryAssociationRequest {
            file_system_path: Some("/ns1".into()),
            data_repository_path: path.into(),
            ..Default::default()
        };
        Association::new(&request, AssociationId::from_random(7), NOW).unwrap()
    }

    fn every_state() -> Vec<LinkState> {
        let creating = LinkState::creating(NOW);
        let mut available = creating.clone();
        available.built(NOW).unwrap();
        let (mut updating, mut misconfigured, mut failed, mut deleting) =
            (available.clone(), available.clone(), available.clone(), available.clone());
        updating.update(NOW).unwrap();
        misconfigured.broken(Misconfiguration::AccessDenied, "403", NOW).unwrap();
        failed.lost("gone", NOW).unwrap();
        deleting.delete(NOW).unwrap();
        vec![creating, available, updating, misconfigured, deleting, failed]
    }

    #[test]
    fn s13_a_bucket_is_not_deleted_while_a_link_to_it_is_there_in_whatever_state() {
        let (link, association) = (link("s3://bucket/in"), association("s3://bucket/in"));
        for (state, lifecycle) in every_state().iter().zip(Lifecycle::ALL) {
            assert_eq!(state.lifecycle(), lifecycle);
            let error = check_bucket_deletion("bucket", [LinkOf::link("fs-1", &link, state)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the bucket bucket is linked to fs-1 ({lifecycle}): delete these first")
            );
            let error =
                check_bucket_deletion("bucket", [LinkOf::association("fs-2", &association, state)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "the bucket bucket is linked to fs-2 by dra-00000000000000007 ({lifecycle}): delete these first"
                )
            );
        }
    }

    #[test]
    fn s13_all_links_in_the_way_are_named_and_no_others() {
        let state = &LinkState::creating(NOW);
        let (ours, other, association) = (link("s3://bucket"), link("s3://bucket2/in"), association("s3://bucket/a"));
        let links = [
            LinkOf::link("fs-1", &ours, state),
            LinkOf::link("fs-2", &other, state),
            LinkOf::association("fs-3", &association, state),
        ];
        let error = check_bucket_deletion("bucket", links).unwrap_err();
        let named: Vec<_> = error.links().iter().map(|link| &*link.file_system_id).collect();
        assert_eq!(named, ["fs-1", "fs-3"]);
        assert_eq!(error.to_api().code().name(), "BadRequest");
        assert_eq!(check_bucket_deletion("bucket3", links), Ok(()));
        assert_eq!(check_bucket_deletion("bucket", []), Ok(()));
    }

    #[test]
    fn s04_a_file_system_is_not_deleted_while_a_task_is_at_work_even_if_all_may_be_lost() {
        let tasks = [
            ("task-1", "PENDING"),
            ("task-2", "EXECUTING"),
            ("task-3", "CANCELING"),
            ("task-4", "RESTING"),
            ("task-5", "SUCCEEDED"),
            ("task-6", "FAILED"),
            ("task-7", "CANCELED"),
        ];
        for loss in [Loss::Refused, Loss::Accepted] {
            let error = check_deletion("fs-1", tasks, Unsent::NOTHING, loss).unwrap_err();
            assert_eq!(
                error.to_string(),
                "fs-1 cannot be deleted: it has tasks at work, task-1 (PENDING), task-2 (EXECUTING), task-3 (CANCELING), \
                 task-4 (RESTING)"
            );
            assert_eq!(check_deletion("fs-1", tasks[4..].to_vec(), Unsent::NOTHING, loss), Ok(()));
        }
    }

    #[test]
    fn s04_unsent_changes_are_lost_only_if_somebody_says_so() {
        let unsent = Unsent::Known { changes: 3, oldest: Some(Duration::from_millis(90_500)) };
        let error = check_deletion("dra-1", [], unsent, Loss::default()).unwrap_err();
        assert_eq!(error.unsent(), Some(unsent));
        let message = "dra-1 cannot be deleted: 3 changes are not in the store, the oldest of 90 s ago";
        assert_eq!((error.to_string(), error.to_api().message()), (message.into(), message));
        let unknown = check_deletion("fs-1", [("task-1", "PENDING")], Unsent::Unknown, Loss::Refused).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "fs-1 cannot be deleted: it has tasks at work, task-1 (PENDING); it is not known what is not in the store"
        );
        for unsent in [unsent, Unsent::Unknown] {
            assert_eq!(check_deletion("fs-1", [], unsent, Loss::Accepted), Ok(()));
        }
        assert_eq!(check_deletion("fs-1", [], Unsent::NOTHING, Loss::Refused), Ok(()));
    }
}
