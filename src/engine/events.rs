//! [`apply_events`]: what has happened in the bucket, taken over; [`sweep`]: what nobody was told of.

use super::import::{ImportOptions, Takes, Touched, import_since, import_touched};
use super::report::{EndedEntry, Outcome, Overheard, Progress, Report, RunError};
use super::state::StateStore;
use crate::escape::escape;
use crate::key::Key;
use crate::plan::{Brake, Deletes};
use crate::repository::{Backlog, EventType, EventTypes};
use crate::store::ObjectStore;
use crate::tree::Tree;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Takes over what has happened to the keys of a backlog, as far as a policy has it.
///
/// An event only says that a key is to be looked at. What is done is decided by what stands there now and by what both sides
/// last agreed on, as in [`import_since`], so events may come late, doubled and in any order. What is not looked at is taken
/// to be as it was recorded: then the tree is that of an [`import_since`] with the same options.
///
/// - An object that is recorded is changed, one that is not is new; without a record, one for which something stands in the
///   tree is changed. One that is recorded and not there is deleted.
/// - What the policy leaves out is skipped, with a reason; a deletion that it leaves out is counted as
///   [`gone`](Report::gone). A file whose object is gone gives way to a directory of its name if changes or deletions are
///   taken over.
/// - Deletions are those of [`ImportOptions::deletes`] without a brake, and never without a policy that has them: each was
///   announced, and a head has confirmed it. A directory is removed if it is empty.
/// - [`ImportOptions::on_conflict`] and [`ImportOptions::selection`] are those of any import. Keys that are not selected are
///   passed over.
/// - A key takes at most as many requests as it is deep, and two more; directories that several have in common are asked
///   about once. Memory grows with the sum of the depths as well: [`Backlog::take`] cuts a backlog by that. Only where a file has given way to a directory of its name, all of that directory is listed.
/// - The report counts what was looked at, with the directories on the way.
///
/// After a run that stopped, or one in which entries failed, the same backlog can be applied again.
///
/// # Errors
/// As [`import_since`].
///
/// ```
/// use posix_s3::engine::{ImportOptions, MemoryState, Silent, apply_events};
/// use posix_s3::repository::{Backlog, EventTypes};
/// use posix_s3::{Prefix, Profile, store::MemoryStore, tree::MemoryTree};
///
/// let (bucket, tree, state) = (MemoryStore::new(), MemoryTree::new(), MemoryState::new());
/// let options = ImportOptions::new(Profile::fsx()).with_bucket("s3://data");
/// let backlog = Backlog::new("data", Prefix::default());
/// let run = apply_events(&bucket, &tree, &state, &options, EventTypes::ALL, &backlog, &Silent);
/// assert_eq!(futures_executor::block_on(run)?.entries, 0);
/// # Ok::<(), posix_s3::engine::RunError>(())
/// ```
pub async fn apply_events<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: &dyn StateStore,
    options: &ImportOptions,
    events: EventTypes,
    backlog: &Backlog,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let takes = Takes {
        new: events.contains(EventType::New),
        changed: events.contains(EventType::Changed),
        deleted: events.contains(EventType::Deleted),
    };
    let deletes = if takes.deleted { Deletes::Apply(Brake::RELEASED) } else { Deletes::Never };
    let options = options.clone().with_deletes(deletes);
    let keys: BTreeSet<&str> = backlog.keys().collect();
    import_touched(store, tree, state, &options, Touched { keys: &keys, takes }, progress).await
}

/// How far a tree had drifted from its bucket, found and repaired by a [`sweep`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// What the import came to.
    pub report: Report,
    /// What differed and was brought over, safe to print, in order: up to [`Report::PROBLEMS`] of them.
    pub repaired: Vec<Box<str>>,
}

impl Drift {
    /// How many entries differed: those that were repaired, and those that could not be.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        let Report { written, metadata_only, deleted, gone, failed, conflicts, .. } = &self.report;
        let repaired = written.saturating_add(*metadata_only).saturating_add(*deleted);
        repaired.saturating_add(*gone).saturating_add(*failed).saturating_add(*conflicts)
    }

    /// Whether there was none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.entries() == 0
    }
}

/// Compares a tree, or one path of it, with the bucket, and repairs what no event has told of.
///
/// It is an [`import_since`] with the options as they are, deletions and their brake among them. A path takes the place of
/// the paths that are selected; the patterns stay.
///
/// # Errors
/// As [`import_since`].
pub async fn sweep<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: &dyn StateStore,
    options: &ImportOptions,
    path: Option<&Key>,
    progress: &dyn Progress,
) -> Result<Drift, RunError> {
    let selection = match path {
        Some(path) => options.selection.clone().of_path(path),
        None => options.selection.clone(),
    };
    let repaired = Mutex::new(Vec::new());
    let hear = |entry: &EndedEntry<'_>| {
        if matches!(entry.outcome, Outcome::Written | Outcome::MetadataOnly) {
            let mut keys = repaired.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.len() < Report::PROBLEMS {
                keys.push(Box::<str>::from(escape(entry.key).to_string()));
            }
        }
    };
    let options = options.clone().with_selection(selection);
    let report = import_since(store, tree, state, &options, &Overheard { progress, hear }).await?;
    let mut repaired = repaired.into_inner().unwrap_or_else(PoisonError::into_inner);
    repaired.sort();
    Ok(Drift { report, repaired })
}
