//! [`ReleaseReport`]: what was released, and why the rest was not.

#[cfg(feature = "repository")]
use super::options::ReleaseMode;
use crate::engine::cause::Cause;
use crate::engine::report::{EndedEntry, Outcome, Problem, Progress, Report, RunErrorKind};
use crate::key::Key;
use crate::store::StoreCalls;
use std::fmt;
use thiserror::Error;

/// What a release did. The entries are those released, those that were before, and those kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ReleaseReport {
    /// How many entries were looked at.
    pub entries: u64,
    /// How many files were released, or would be.
    pub released: u64,
    /// How many were released before.
    pub already: u64,
    /// How many stay as they are.
    pub kept: u64,
    /// How many bytes on the disk were given back; of what would be, the sizes of the files.
    pub bytes: u64,
    /// How often each call of the store was made.
    pub store_calls: StoreCalls,
    /// What stays, and why, in the order of the keys; up to [`Report::PROBLEMS`] of it.
    pub reasons: Vec<Kept>,
    /// How many of those are not listed.
    pub omitted: u64,
}

/// An entry that was not released.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Kept {
    /// The key, safe to print.
    pub key: Box<str>,
    /// Why.
    pub cause: KeptCause,
    /// More of it, in words; empty where there is nothing to add.
    pub detail: Box<str>,
    /// The key as it is.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) path: Box<[u8]>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.cause)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Why an entry was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum KeptCause {
    /// A directory, link, or something that has no object.
    #[error("it is no file")]
    NotAFile,
    /// Its size is 0.
    #[error("it has no data")]
    Empty,
    /// It was used not long enough ago.
    #[error("it was used too short a time ago")]
    Recent,
    /// It was never exported, or nothing is known of that.
    #[error("it was never exported")]
    NeverExported,
    /// It has changed since it was exported, in its content or its attributes, or that cannot be told.
    #[error("it has changed since it was exported")]
    Dirty,
    /// It has several names.
    #[error("it has several names")]
    HardLinked,
    /// Somebody has it open, or changed it a moment ago.
    #[error("it is in use")]
    InUse,
    /// Its object is gone.
    #[error("its object was deleted")]
    ObjectGone,
    /// Its object is another version than was exported.
    #[error("its object has changed")]
    ObjectChanged,
    /// Its object is in an archived storage class, and could not be fetched back at once.
    #[error("its object is archived")]
    ObjectArchived,
    /// The file system, or this file, is not such that it could become a placeholder.
    #[error("it cannot be a placeholder")]
    Unsupported,
    /// The store did not answer.
    #[error("its object could not be looked at")]
    StoreFailed,
    /// The store does not permit a look at the object.
    #[error("its object may not be looked at")]
    StoreDenied,
    /// The tree failed.
    #[error("the tree failed")]
    TreeFailed,
}

impl KeptCause {
    /// The same as one of the causes of all runs.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::NotAFile | Self::Empty | Self::Recent | Self::HardLinked => Cause::NotReleasable,
            Self::NeverExported | Self::Dirty => Cause::NotExported,
            Self::InUse => Cause::Busy,
            Self::ObjectGone | Self::ObjectChanged => Cause::SourceDeleted,
            Self::ObjectArchived => Cause::Archived,
            Self::Unsupported | Self::TreeFailed => Cause::Tree,
            Self::StoreFailed => Cause::Store,
            Self::StoreDenied => Cause::AccessDenied,
        }
    }

    /// The error code of an FSx completion report; `None` for what is no failure there: no file, no data, too recent.
    #[must_use]
    pub const fn error_code(self) -> Option<&'static str> {
        match self {
            Self::NotAFile | Self::Empty | Self::Recent => None,
            Self::NeverExported | Self::Dirty | Self::HardLinked | Self::ObjectChanged | Self::ObjectArchived => {
                Some("OperationNotPermitted")
            }
            Self::InUse => Some("ResourceBusy"),
            Self::ObjectGone => Some("SourceObjectDeletedBeforeReleasing"),
            Self::StoreDenied => Some("S3AccessDenied"),
            Self::StoreFailed => Some("S3Error"),
            Self::Unsupported | Self::TreeFailed => Some("InternalError"),
        }
    }
}

/// A release that had to stop, with what it had done by then.
#[derive(Debug, Error)]
#[error("the release stopped")]
pub struct ReleaseError {
    /// Why.
    #[source]
    pub kind: RunErrorKind,
    /// What was released by then.
    pub report: Box<ReleaseReport>,
}

/// What has become of a file that was to be released.
pub(super) enum Ending {
    Released { key: Key, bytes: u64 },
    Already { key: Key },
    Kept(Kept),
}

impl Kept {
    pub(super) fn new(key: &Key, cause: KeptCause) -> Self {
        Self { key: key.to_string().into(), cause, detail: "".into(), path: key.as_str().as_bytes().into() }
    }

    pub(super) fn because(self, detail: impl fmt::Display) -> Self {
        Self { detail: detail.to_string().into(), ..self }
    }
}

impl ReleaseReport {
    /// Adds what an earlier run over the same files has done, by what another state knows.
    #[cfg(feature = "repository")]
    pub(in crate::engine) fn add_earlier(&mut self, earlier: &Self, mode: ReleaseMode) {
        self.released = self.released.saturating_add(earlier.released);
        self.bytes = self.bytes.saturating_add(earlier.bytes);
        self.store_calls = self.store_calls.plus(earlier.store_calls);
        // What was released then is released already now, or is kept if nothing was done.
        match mode {
            ReleaseMode::Release => self.already = self.already.saturating_sub(earlier.released),
            ReleaseMode::Foresee => self.kept = self.kept.saturating_sub(earlier.released),
        }
    }

    pub(super) fn end(&mut self, ending: Ending, progress: &dyn Progress) {
        self.entries = self.entries.saturating_add(1);
        match ending {
            Ending::Released { key, bytes } => {
                self.released = self.released.saturating_add(1);
                self.bytes = self.bytes.saturating_add(bytes);
                let shown = key.to_string();
                tell(progress, &shown, key.as_str().as_bytes(), Outcome::MetadataOnly, &[]);
            }
            Ending::Already { key } => {
                self.already = self.already.saturating_add(1);
                let shown = key.to_string();
                tell(progress, &shown, key.as_str().as_bytes(), Outcome::Unchanged, &[]);
            }
            Ending::Kept(kept) => {
                self.kept = self.kept.saturating_add(1);
                let outcome = if kept.cause.error_code().is_some() { Outcome::Failed } else { Outcome::Skipped };
                let reason = kept.cause.to_string().into();
                let problem = Problem { key: kept.key.clone(), outcome, cause: kept.cause.cause(), reason };
                tell(progress, &kept.key, &kept.path, outcome, &[problem]);
                if self.reasons.len() < Report::PROBLEMS {
                    self.reasons.push(kept);
                } else {
                    self.omitted = self.omitted.saturating_add(1);
                }
            }
        }
    }
}

/// Tells of an entry that has ended.
fn tell(progress: &dyn Progress, shown: &str, key: &[u8], outcome: Outcome, problems: &[Problem]) {
    progress.ended(shown, outcome);
    progress.entry(&EndedEntry { key, outcome, problems, bytes: 0 });
    problems.iter().for_each(|problem| progress.problem(problem));
}
