//! [`Report`]: what a run did, entry by entry in one of six outcomes.

use super::cause::Cause;
use super::session::StateError;
use crate::budget::Spent;
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::plan::{Braked, Disorder};
use crate::store::{Capabilities, StoreCalls, StoreError, Support};
use crate::tree::TreeError;
use std::fmt;
use std::num::NonZeroUsize;
use thiserror::Error;

/// Which way a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Direction {
    /// From a tree to a bucket.
    Export,
    /// From a bucket to a tree.
    Import,
}

/// How an entry ended. Every entry ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Outcome {
    /// Both sides agreed already.
    Unchanged,
    /// Data and attributes were written.
    Written,
    /// Only attributes were written.
    MetadataOnly,
    /// Left out by a rule; the reason says which.
    Skipped,
    /// It could not be done; what the other side had stays.
    Failed,
    /// Something stands in the way that the run does not replace.
    Conflict,
}

impl Outcome {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Written => "written",
            Self::MetadataOnly => "metadata-only",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Conflict => "conflict",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something to say about an entry: why it was left out, failed, or did not come out exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Problem {
    /// The key, safe to print; see [`escape`](crate::escape).
    pub key: Box<str>,
    /// How the entry ended.
    pub outcome: Outcome,
    /// Why, for programs.
    #[cfg_attr(feature = "serde", serde(default))]
    pub cause: Cause,
    /// Why, in words.
    pub reason: Box<str>,
}

/// What a run did.
///
/// - `entries` is the sum of the outcomes; deletions come on top.
/// - Every entry that is skipped, failed or in conflict has a problem, and so has whatever was odd about another, up to
///   [`Report::PROBLEMS`] of them and [`Report::PROBLEM_BYTES`] of text; the rest is counted. A [`Progress`] sees all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Report {
    /// Which way.
    pub direction: Direction,
    /// How many entries there were.
    pub entries: u64,
    /// How many were in agreement.
    pub unchanged: u64,
    /// How many were written.
    pub written: u64,
    /// Of how many only the attributes were written.
    pub metadata_only: u64,
    /// How many were deleted; not among the entries.
    pub deleted: u64,
    /// How many are gone from the one side and stay on the other, since nothing is deleted; not among the entries.
    pub gone: u64,
    /// Why nothing was deleted although it was to be.
    pub braked: Option<Braked>,
    /// How many were left out.
    pub skipped: u64,
    /// How many failed.
    pub failed: u64,
    /// How many are in conflict.
    pub conflicts: u64,
    /// How many bytes of files and links were written.
    pub bytes: u64,
    /// How often each call of the store was made.
    pub store_calls: StoreCalls,
    /// What the store does not do, and what the run therefore does not promise, in words.
    pub lacking: Vec<Box<str>>,
    /// What there is to say, in the order of the keys as they are shown.
    pub problems: Vec<Problem>,
    /// How many problems are not listed.
    pub problems_omitted: u64,
}

impl Report {
    /// The most problems that a report lists.
    pub const PROBLEMS: usize = 100_000;
    /// The most bytes of text in the problems that a report lists: 16 MiB.
    pub const PROBLEM_BYTES: usize = 16 << 20;

    const fn new(direction: Direction) -> Self {
        Self {
            direction,
            entries: 0,
            unchanged: 0,
            written: 0,
            metadata_only: 0,
            deleted: 0,
            gone: 0,
            braked: None,
            skipped: 0,
            failed: 0,
            conflicts: 0,
            bytes: 0,
            store_calls: StoreCalls { list: 0, head: 0, get: 0, put: 0, copy: 0, delete: 0 },
            lacking: Vec::new(),
            problems: Vec::new(),
            problems_omitted: 0,
        }
    }

    /// Whether no entry failed or is in conflict, and nothing was to be deleted that was not.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.failed == 0 && self.conflicts == 0 && self.braked.is_none()
    }
}

/// A report that is being written, and whoever is told of it.
pub(super) struct Recorder<'p> {
    report: Report,
    progress: &'p dyn Progress,
    /// The text of the problems listed so far, in bytes.
    problem_bytes: usize,
}

impl<'p> Recorder<'p> {
    pub(super) const fn new(direction: Direction, progress: &'p dyn Progress) -> Self {
        Self { report: Report::new(direction), progress, problem_bytes: 0 }
    }

    /// Goes on with the report of a run.
    #[cfg(feature = "repository")]
    pub(super) fn resume(report: Report, progress: &'p dyn Progress) -> Self {
        let bytes = report.problems.iter().map(|problem| problem.key.len().saturating_add(problem.reason.len()));
        Self { problem_bytes: bytes.fold(0, usize::saturating_add), report, progress }
    }

    /// Counts an entry that has ended.
    pub(super) fn end(&mut self, entry: Ended) {
        let report = &mut self.report;
        let count = match entry.outcome {
            Outcome::Unchanged => &mut report.unchanged,
            Outcome::Written => &mut report.written,
            Outcome::MetadataOnly => &mut report.metadata_only,
            Outcome::Skipped => &mut report.skipped,
            Outcome::Failed => &mut report.failed,
            Outcome::Conflict => &mut report.conflicts,
        };
        *count = count.saturating_add(1);
        report.entries = report.entries.saturating_add(1);
        report.bytes = report.bytes.saturating_add(entry.bytes);
        let Ended { key, outcome, reasons, bytes } = entry;
        let shown: Box<str> = escape(&key).to_string().into();
        self.progress.ended(&shown, outcome);
        let problems = reasons.into_iter().map(|Reason { cause, text }| Problem {
            key: shown.clone(),
            outcome,
            cause,
            reason: text,
        });
        let problems: Vec<Problem> = problems.collect();
        self.progress.entry(&EndedEntry { key: &key, outcome, problems: &problems, bytes });
        problems.into_iter().for_each(|problem| self.add(problem));
    }

    /// Counts entries that are as they were.
    pub(super) fn unchanged(&mut self, count: u64) {
        self.report.unchanged = self.report.unchanged.saturating_add(count);
        self.report.entries = self.report.entries.saturating_add(count);
        self.progress.unchanged(count);
    }

    /// Counts something that was deleted.
    pub(super) fn deleted(&mut self) {
        self.report.deleted = self.report.deleted.saturating_add(1);
    }

    /// Counts something that is gone from the one side and stays on the other.
    pub(super) fn gone(&mut self) {
        self.report.gone = self.report.gone.saturating_add(1);
    }

    /// Says that nothing was deleted, since it would have been too much.
    pub(super) fn braked(&mut self, braked: Braked) {
        self.remark(".", Outcome::Conflict, Cause::Braked, braked);
        self.report.braked = Some(braked);
    }

    /// Says what a run that changes objects cannot promise with such a store.
    pub(super) fn lacking(&mut self, capabilities: Capabilities) {
        let Capabilities { preconditions, checksums, replace_metadata, .. } = capabilities;
        for (support, lacking) in [
            (
                preconditions,
                "no preconditions: what somebody else puts at the same moment may be overwritten unnoticed",
            ),
            (checksums, "no checksums: a body that is damaged on its way may be stored"),
            (replace_metadata, "metadata is not replaced in place: data is sent again where only attributes changed"),
        ] {
            if support == Support::No {
                self.report.lacking.push(lacking.into());
            }
        }
    }

    /// Says something about what is no entry.
    pub(super) fn remark(
        &mut self,
        key: impl fmt::Display,
        outcome: Outcome,
        cause: impl Into<Cause>,
        reason: impl fmt::Display,
    ) {
        let (key, cause, reason) = (key.to_string().into(), cause.into(), reason.to_string().into());
        self.add(Problem { key, outcome, cause, reason });
    }

    fn add(&mut self, problem: Problem) {
        self.progress.problem(&problem);
        let bytes = self.problem_bytes.saturating_add(problem.key.len()).saturating_add(problem.reason.len());
        if self.report.problems.len() < Report::PROBLEMS && bytes <= Report::PROBLEM_BYTES {
            self.problem_bytes = bytes;
            self.report.problems.push(problem);
        } else {
            self.report.problems_omitted = self.report.problems_omitted.saturating_add(1);
        }
    }

    /// The report of a run, or why it stopped and the report of what was done by then.
    pub(super) fn finish(
        mut self,
        store_calls: StoreCalls,
        ended: Result<(), RunErrorKind>,
    ) -> Result<Report, RunError> {
        self.report.store_calls = store_calls;
        self.report.problems.sort();
        match ended {
            Ok(()) => Ok(self.report),
            Err(kind) => Err(RunError::new(kind, self.report)),
        }
    }
}

/// An entry that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// As it is: not safe to print, and perhaps not UTF-8.
    pub(super) key: Box<[u8]>,
    pub(super) outcome: Outcome,
    pub(super) reasons: Vec<Reason>,
    pub(super) bytes: u64,
}

/// Why an entry has ended as it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) cause: Cause,
    /// In words.
    pub(super) text: Box<str>,
}

impl Reason {
    pub(super) fn new(cause: impl Into<Cause>, text: impl fmt::Display) -> Self {
        Self { cause: cause.into(), text: text.to_string().into() }
    }
}

impl Ended {
    pub(super) fn new(key: &(impl Named + ?Sized), outcome: Outcome) -> Self {
        Self { key: key.bytes().into(), outcome, reasons: Vec::new(), bytes: 0 }
    }

    pub(super) fn because(mut self, cause: impl Into<Cause>, reason: impl fmt::Display) -> Self {
        self.reasons.push(Reason::new(cause, reason));
        self
    }
}

/// What names an entry.
pub(super) trait Named {
    fn bytes(&self) -> &[u8];
}

impl Named for Key {
    fn bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl Named for Prefix {
    fn bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl Named for [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// An entry that has ended, with its key as it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EndedEntry<'e> {
    /// The key relative to the prefix, or the path where that is no key. It is not safe to print, and what is no key may
    /// not be UTF-8.
    pub key: &'e [u8],
    /// How the entry ended.
    pub outcome: Outcome,
    /// What there is to say about it.
    pub problems: &'e [Problem],
    /// How many bytes of a file or link were written.
    pub bytes: u64,
}

/// Told about a run as it goes; for progress bars and logs.
///
/// The calls come from wherever the run's future is polled and should return at once.
pub trait Progress: Send + Sync {
    /// An entry has ended. The key is safe to print.
    fn ended(&self, key: &str, outcome: Outcome) {
        let _ = (key, outcome);
    }

    /// The same entry has ended: all that there is to say about it at once, and its key as it is. For reports that list
    /// more than a [`Report`] does.
    fn entry(&self, entry: &EndedEntry<'_>) {
        let _ = entry;
    }

    /// So many entries are as they were when both sides last agreed. They are not named one by one.
    fn unchanged(&self, count: u64) {
        let _ = count;
    }

    /// Bytes of a file were read or written.
    fn bytes(&self, count: u64) {
        let _ = count;
    }

    /// There is something to say about an entry.
    fn problem(&self, problem: &Problem) {
        let _ = problem;
    }
}

/// A [`Progress`] that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// A [`Progress`] of somebody else, with one more who hears of each entry that ends, and before.
#[cfg(feature = "repository")]
pub(super) struct Overheard<'p, F> {
    pub(super) progress: &'p dyn Progress,
    pub(super) hear: F,
}

#[cfg(feature = "repository")]
impl<F: Fn(&EndedEntry<'_>) + Send + Sync> Progress for Overheard<'_, F> {
    fn ended(&self, key: &str, outcome: Outcome) {
        self.progress.ended(key, outcome);
    }

    fn entry(&self, entry: &EndedEntry<'_>) {
        (self.hear)(entry);
        self.progress.entry(entry);
    }

    fn unchanged(&self, count: u64) {
        self.progress.unchanged(count);
    }

    fn bytes(&self, count: u64) {
        self.progress.bytes(count);
    }

    fn problem(&self, problem: &Problem) {
        self.progress.problem(problem);
    }
}

/// How many entries are worked on at once, 1 or more.
///
/// The memory that a run takes grows with it: up to 2 MiB each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Jobs(NonZeroUsize);

impl Jobs {
    /// One after the other.
    pub const ONE: Self = Self(NonZeroUsize::MIN);

    /// Takes a number, or answers `None` for 0.
    #[must_use]
    pub const fn new(jobs: usize) -> Option<Self> {
        match NonZeroUsize::new(jobs) {
            Some(jobs) => Some(Self(jobs)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0.get()
    }
}

impl From<NonZeroUsize> for Jobs {
    fn from(jobs: NonZeroUsize) -> Self {
        Self(jobs)
    }
}

impl Default for Jobs {
    /// Sixteen: enough to hide the latency of a store, few enough for its limits.
    fn default() -> Self {
        Self(NonZeroUsize::MIN.saturating_add(15))
    }
}

/// A run that could not be made or had to stop, with what it had done by then.
#[derive(Debug, Error)]
#[error("the {direction} stopped", direction = direction_name(.report.direction))]
pub struct RunError {
    /// Why.
    #[source]
    kind: RunErrorKind,
    report: Box<Report>,
}

const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Export => "export",
        Direction::Import => "import",
    }
}

impl RunError {
    pub(super) fn new(kind: RunErrorKind, report: Report) -> Self {
        Self { kind, report: Box::new(report) }
    }

    /// Why the run stopped, without the report.
    pub(super) fn into_kind(self) -> RunErrorKind {
        self.kind
    }

    /// Why the run stopped.
    #[must_use]
    pub const fn kind(&self) -> &RunErrorKind {
        &self.kind
    }

    /// What was done by then. Entries that were not reached are not in it.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }
}

/// Why a run stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunErrorKind {
    /// It was told to take nothing new; what was in process is finished, and nothing undone.
    #[error("it was cancelled")]
    Cancelled,
    /// The bucket could not be listed to the end.
    #[error("the bucket could not be listed")]
    List(#[from] StoreError),
    /// The listing was not in key order, so that nothing can be concluded from it.
    #[error("the listing cannot be trusted")]
    Disorder(#[from] Disorder),
    /// The store does not list in key order.
    #[error("the store does not list in key order, which an import needs")]
    Unordered,
    /// A listed key does not start with the prefix that was asked for.
    #[error("the listing holds the key \"{key}\", which was not asked for")]
    Foreign {
        /// The key, safe to print.
        key: Box<str>,
    },
    /// There is more in the bucket than the run may take; see [`Budget`](crate::Budget).
    #[error("{0}")]
    Budget(Spent),
    /// The listing goes on and on without a key.
    #[error("the listing answered {pages} empty pages in a row")]
    Endless {
        /// How many.
        pages: u32,
    },
    /// The tree could not be read at all, or what was done to it could not be brought to the disk.
    #[error("the tree failed")]
    Tree(#[from] TreeError),
    /// The state could not be read or written.
    #[error("the state failed")]
    State(#[from] StateError),
    /// A state was given and no name of the bucket, without which it would pass for that of any other.
    #[error("the bucket has no name: with a state, the options have to say what it is called")]
    Unnamed,
    /// What was put off to the end could not be kept.
    #[error("the temporary file failed")]
    Spool(#[from] std::io::Error),
}
