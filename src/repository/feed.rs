//! [`ChangeFeed`]: where the paths come from that have changed; [`Pending`]: those that have not been sent yet.
//!
//! A feed says *where* something has changed, and roughly what. What has changed is seen when the path is looked at, so a
//! change that is told twice, late, or out of order does no harm; one that is never told stays until an export of everything.
//!
//! What starts an export, and what does not, is what AWS documents for automatic export: content once its file is closed;
//! attributes and names at once; times alone never, they go with the next change ("Automatically export updates to your S3
//! bucket", FSx for Lustre user guide). The times of a directory in which names come and go are times alone.

use crate::key::Key;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use thiserror::Error;

/// Something that has changed in a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedChange {
    /// Its number in the feed, which grows with time. One event may be several changes of one number, and one of which it
    /// was found out late where it was comes late.
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// Where, below the root of the link; a trailing slash does not matter. `None` for all of it.
    pub path: Option<Key>,
    /// What.
    pub kind: ChangeKind,
}

/// What has happened at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A file was made, and whoever made it may be writing it.
    Created,
    /// A directory, a link or a further name was made: it is whole.
    Made,
    /// A file was opened to be written. That alone changes nothing; what waits there waits on.
    Opened,
    /// Content of a file was changed, and its writer may not be done.
    Written,
    /// A file was closed by its writer.
    Closed,
    /// Owner, group or permissions were changed.
    Attributes,
    /// Times were set, and nothing else. That alone starts nothing.
    Times,
    /// It came here from another path, with all that is below it.
    Renamed {
        /// Where it was.
        from: Key,
    },
    /// It is gone, with all that was below it.
    Removed,
    /// Anything, here and below: events were missed, or cannot be told apart.
    Anything,
}

/// Changes that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedBatch {
    /// The changes, in the order in which they were told. Events that change nothing have none.
    pub changes: Vec<FeedChange>,
    /// Up to this number all changes have been told by now, in this batch or before; 0 when none was.
    pub read_to: u64,
}

/// Where changes come from.
pub trait ChangeFeed {
    /// What may go wrong with it.
    type Error;

    /// The changes that are new by now; none when there is nothing new.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self) -> Result<FeedBatch, Self::Error>;

    /// Says that events up to this number are not needed any more: `lfs changelog_clear`, say.
    ///
    /// # Errors
    /// When it cannot be told so.
    fn acknowledge(&mut self, sequence: u64) -> Result<(), Self::Error>;
}

/// When what has changed is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Debounce {
    /// Whether the feed tells when a file is closed.
    pub closes: Closes,
    /// A file whose writer may be at it is sent when nothing more was told of it for so long. Only where the feed does not
    /// tell when files are closed. 60 seconds by default, as in S3 Files.
    pub quiet: Duration,
    /// It is sent after so long in any case, so that one that is never closed is not never sent. An hour by default.
    pub longest: Duration,
}

/// Whether a feed tells when a file is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Closes {
    /// It does, as a changelog of Lustre by default.
    #[default]
    Told,
    /// It does not, as that of FSx for Lustre.
    Untold,
}

impl Default for Debounce {
    fn default() -> Self {
        Self { closes: Closes::Told, quiet: Duration::from_secs(60), longest: Duration::from_secs(3600) }
    }
}

/// How much of a path is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Depth {
    /// What stands at the path, and not what is in it.
    Entry,
    /// Also all that is below it.
    Subtree,
}

/// A path that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Waiting {
    /// The number of the first change that has not been sent.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
    /// When the first one happened.
    pub since: Timestamp,
    /// When the last one happened.
    pub changed: Timestamp,
    /// How much is looked at.
    pub depth: Depth,
    /// Whether a writer may be at it.
    pub written: bool,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// Why the last try was in vain; safe to print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Box<str>>,
}

/// The paths that have changed and have not been sent yet.
///
/// - A path waits once, however often it has changed, and not beside a directory all of which waits.
/// - It takes bounded memory: beyond a limit, paths become the directories around them, which are looked at as a whole.
/// - Times are handed in. It is saved as it is, and a restart goes on with what was saved.
/// - It is about one feed: each metadata server of Lustre counts for itself, and needs its own.
///
/// ```
/// use posix_s3::repository::{ChangeKind, Debounce, FeedBatch, FeedChange, Pending};
///
/// let mut pending = Pending::new(Debounce::default());
/// let change = |sequence, kind| FeedChange { sequence, time: "0ns".parse().unwrap(), path: "a/b".parse().ok(), kind };
/// pending.take(FeedBatch { changes: vec![change(1, ChangeKind::Created)], read_to: 1 });
/// let now = "9000000000ns".parse()?;
/// assert_eq!(pending.ripe(now).len(), 0); // it is being written
/// pending.take(FeedBatch { changes: vec![change(2, ChangeKind::Closed)], read_to: 2 });
/// assert_eq!(pending.ripe(now).len(), 1);
/// assert_eq!((pending.acknowledged(), pending.oldest_age(now)), (0, 9));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Pending {
    debounce: Debounce,
    /// The most paths.
    limit: usize,
    /// By path, without a slash at the end; the empty path is all of the tree.
    paths: BTreeMap<Box<str>, Waiting>,
    read_to: u64,
    acknowledged: u64,
}

/// How it is saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    debounce: Debounce,
    limit: usize,
    read_to: u64,
    acknowledged: u64,
    paths: BTreeMap<Box<str>, Waiting>,
}

/// What was saved holds a path that is none.
#[derive(Clone, Debug, Error)]
#[error("what waits cannot be read")]
pub struct InvalidPending(#[source] crate::key::InvalidKey);

impl TryFrom<Saved> for Pending {
    type Error = InvalidPending;

    fn try_from(saved: Saved) -> Result<Self, InvalidPending> {
        let Saved { debounce, limit, read_to, acknowledged, paths } = saved;
        for path in paths.keys().filter(|path| !path.is_empty()) {
            Key::parse(path).map_err(InvalidPending)?;
        }
        Ok(Self { debounce, limit: limit.max(1), paths, read_to, acknowledged })
    }
}

impl From<Pending> for Saved {
    fn from(pending: Pending) -> Self {
        let Pending { debounce, limit, paths, read_to, acknowledged } = pending;
        Self { debounce, limit, read_to, acknowledged, paths }
    }
}

impl Pending {
    /// How many paths wait at most, unless something else is said.
    pub const LIMIT: usize = 1_000_000;
    /// How many paths are sent in one go at most.
    pub const BATCH: usize = 10_000;

    /// Nothing waits.
    #[must_use]
    pub const fn new(debounce: Debounce) -> Self {
        Self { debounce, limit: Self::LIMIT, paths: BTreeMap::new(), read_to: 0, acknowledged: 0 }
    }

    /// The same with another limit, 1 or more.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit.max(1);
        self.collapse();
        self
    }

    /// The same for a feed of which everything up to this number is known to be in the store: where an export of
    /// everything began, say.
    #[must_use]
    pub const fn after(mut self, sequence: u64) -> Self {
        (self.read_to, self.acknowledged) = (sequence, sequence);
        self
    }

    /// Takes in what was read.
    pub fn take(&mut self, batch: FeedBatch) {
        for change in batch.changes {
            self.note(change);
        }
        self.read_to = self.read_to.max(batch.read_to);
        self.collapse();
    }

    /// Everything has to be looked at, whatever the feed says.
    pub fn take_everything(&mut self, now: Timestamp) {
        self.note(FeedChange { sequence: self.read_to, time: now, path: None, kind: ChangeKind::Anything });
    }

    fn note(&mut self, change: FeedChange) {
        let FeedChange { sequence, time, path, kind } = change;
        let path = path.as_ref().map_or("", Key::path);
        let (depth, written) = match kind {
            ChangeKind::Times => return,
            ChangeKind::Opened => {
                if let Some(waiting) = self.paths.get_mut(path).filter(|waiting| waiting.depth == Depth::Entry) {
                    (waiting.written, waiting.changed) = (true, waiting.changed.max(time));
                }
                return;
            }
            ChangeKind::Created | ChangeKind::Written => (Depth::Entry, Some(true)),
            ChangeKind::Closed => (Depth::Entry, Some(false)),
            ChangeKind::Made | ChangeKind::Attributes => (Depth::Entry, None),
            ChangeKind::Removed | ChangeKind::Anything => (Depth::Subtree, Some(false)),
            ChangeKind::Renamed { from } => {
                let written = self.paths.get(from.path()).is_some_and(|waiting| waiting.written);
                let gone = (Depth::Subtree, Some(false));
                self.add(from.path(), sequence, time, gone);
                (Depth::Subtree, Some(written))
            }
        };
        self.add(path, sequence, time, (depth, written));
    }

    fn add(&mut self, path: &str, sequence: u64, time: Timestamp, (depth, written): (Depth, Option<bool>)) {
        let change = Waiting {
            first: sequence,
            last: sequence,
            since: time,
            changed: time,
            depth: if path.is_empty() { Depth::Subtree } else { depth },
            written: written.unwrap_or(false),
            attempts: 0,
            why: None,
        };
        if let Some(around) = self.around(path) {
            if let Some(waiting) = self.paths.get_mut(&around) {
                waiting.merge(&change);
            }
            return;
        }
        let waiting = match self.paths.get_mut(path) {
            Some(waiting) => {
                waiting.merge(&change);
                waiting.depth = waiting.depth.max(change.depth);
                waiting.written = written.unwrap_or(waiting.written);
                waiting
            }
            None => self.paths.entry(path.into()).or_insert(change),
        };
        if waiting.depth == Depth::Subtree {
            self.absorb(path);
        }
    }

    /// A directory around a path all of which waits.
    fn around(&self, path: &str) -> Option<Box<str>> {
        let above = path.match_indices('/').filter_map(|(slash, _)| path.get(..slash));
        let all = std::iter::once("").filter(|all| *all != path).chain(above);
        let waits = |path: &&str| self.paths.get(*path).is_some_and(|waiting| waiting.depth == Depth::Subtree);
        all.into_iter().find(waits).map(Into::into)
    }

    /// What is below a path waits with it.
    fn absorb(&mut self, path: &str) {
        let below: Vec<Box<str>> = if path.is_empty() {
            self.paths.keys().filter(|below| !below.is_empty()).cloned().collect()
        } else {
            let start = format!("{path}/").into_boxed_str();
            let from_there = self.paths.range(start.clone()..).map(|(below, _)| below);
            from_there.take_while(|below| below.starts_with(&*start)).cloned().collect()
        };
        for below in below {
            if let (Some(absorbed), Some(waiting)) = (self.paths.remove(&below), self.paths.get_mut(path)) {
                waiting.merge(&absorbed);
            }
        }
    }

    /// Brings the number of paths below the limit: those of the directories of which most wait become the directory.
    fn collapse(&mut self) {
        if self.paths.len() <= self.limit {
            return;
        }
        let target = self.limit.saturating_sub(self.limit.checked_div(4).unwrap_or(0)).max(1);
        while self.paths.len() > target {
            let mut directories: HashMap<Box<str>, usize> = HashMap::new();
            for path in self.paths.keys().filter(|path| !path.is_empty()) {
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                let count = directories.entry(directory.into()).or_default();
                *count = count.saturating_add(1);
            }
            let mut directories: Vec<(Box<str>, usize)> = directories.into_iter().collect();
            // The root last: it is everything. Else the fullest first, and the deepest of those.
            let depth = |path: &str| path.bytes().filter(|byte| *byte == b'/').count();
            directories.sort_by(|(a, many), (b, more)| {
                let key = |path: &str, count: usize| (path.is_empty(), std::cmp::Reverse((count, depth(path))));
                key(a, *many).cmp(&key(b, *more)).then_with(|| a.cmp(b))
            });
            for (directory, _) in directories {
                if self.paths.len() <= target {
                    return;
                }
                self.become_directory(&directory);
            }
        }
    }

    /// What waits in a directory becomes the directory.
    fn become_directory(&mut self, directory: &str) {
        let start = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let mut below = self.paths.range(Box::from(&*start)..).filter(|(path, _)| path.starts_with(&*start));
        let Some(first) = below.find(|(path, _)| !path.is_empty()).map(|(_, waiting)| waiting.clone()) else { return };
        let whole = Waiting { depth: Depth::Subtree, written: false, attempts: 0, why: None, ..first };
        let waiting = self.paths.entry(directory.into()).or_insert_with(|| whole.clone());
        waiting.merge(&whole);
        (waiting.depth, waiting.written) = (Depth::Subtree, false);
        self.absorb(directory);
    }

    /// How many paths wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// What waits, by path; the empty path is all of the tree.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Waiting)> {
        self.paths.iter().map(|(path, waiting)| (&**path, waiting))
    }

    /// What waits at a path; the empty path is all of the tree.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Waiting> {
        self.paths.get(path)
    }

    /// Up to which number the feed was read. Once this has been saved, events up to there are not needed any more.
    #[must_use]
    pub const fn read_to(&self) -> u64 {
        self.read_to
    }

    /// Up to which number everything is in the store, so that it need not be told again even if this is lost. It never
    /// falls.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let first = self.paths.values().map(|waiting| waiting.first).min();
        let before = first.map_or(self.read_to, |first| first.saturating_sub(1).min(self.read_to));
        before.max(self.acknowledged)
    }

    /// How long ago the oldest change happened that has not been sent, in whole seconds; 0 when nothing waits:
    /// `AgeOfOldestQueuedMessage`.
    #[must_use]
    pub fn oldest_age(&self, now: Timestamp) -> u64 {
        let since = self.paths.values().map(|waiting| waiting.since).min();
        since.map_or(0, |since| age(since, now).as_secs())
    }

    /// The paths that are to be sent now, [`BATCH`](Self::BATCH) at most: those that were not tried yet first, and of
    /// these the oldest.
    #[must_use]
    pub fn ripe(&self, now: Timestamp) -> Vec<(Box<str>, Depth)> {
        self.choose(|_, waiting| self.is_ripe(waiting, now))
    }

    /// The paths of which this is true, [`BATCH`](Self::BATCH) at most, in the order of [`ripe`](Self::ripe).
    pub(crate) fn choose(&self, wanted: impl Fn(&str, &Waiting) -> bool) -> Vec<(Box<str>, Depth)> {
        let mut chosen: Vec<(&Box<str>, &Waiting)> =
            self.paths.iter().filter(|(path, waiting)| wanted(path, waiting)).collect();
        chosen.sort_by_key(|(_, waiting)| (waiting.attempts, waiting.first));
        chosen.into_iter().take(Self::BATCH).map(|(path, waiting)| (path.clone(), waiting.depth)).collect()
    }

    fn is_ripe(&self, waiting: &Waiting, now: Timestamp) -> bool {
        let Debounce { closes, quiet, longest } = self.debounce;
        !waiting.written
            || age(waiting.since, now) >= longest
            || (closes == Closes::Untold && age(waiting.changed, now) >= quiet)
    }

    /// These paths were sent, or are not to be sent.
    #[cfg(feature = "engine")]
    pub(crate) fn sent<'p>(&mut self, paths: impl IntoIterator<Item = &'p str>) {
        self.acknowledged = self.acknowledged();
        for path in paths {
            self.paths.remove(path);
        }
        self.acknowledged = self.acknowledged();
    }

    /// A path was tried in vain.
    #[cfg(feature = "engine")]
    pub(crate) fn failed(&mut self, path: &str, why: &str) {
        if let Some(waiting) = self.paths.get_mut(path) {
            waiting.attempts = waiting.attempts.saturating_add(1);
            waiting.why = Some(why.into());
        }
    }
}

impl Waiting {
    /// Both become one.
    fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.since = self.since.min(other.since);
        self.changed = self.changed.max(other.changed);
    }
}

/// How long ago something was; nothing if it is still to come.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    let nanoseconds = now.nanoseconds().saturating_sub(then.nanoseconds());
    u64::try_from(nanoseconds.max(0)).map_or(Duration::MAX, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0).unwrap()
    }

    fn change(sequence: u64, path: &str, kind: ChangeKind) -> FeedChange {
        let time = at(i64::try_from(sequence).unwrap());
        FeedChange { sequence, time, path: Key::parse(path).ok(), kind }
    }

    fn pending(changes: Vec<FeedChange>) -> Pending {
        let mut pending = Pending::new(Debounce::default());
        let read_to = changes.iter().map(|change| change.sequence).max().unwrap_or(0);
        pending.take(FeedBatch { changes, read_to });
        pending
    }

    fn paths(pending: &Pending) -> Vec<&str> {
        pending.iter().map(|(path, _)| path).collect()
    }

    fn ripe(pending: &Pending, seconds: i64) -> Vec<String> {
        pending.ripe(at(seconds)).into_iter().map(|(path, _)| path.into()).collect()
    }

    #[test]
    fn a_file_waits_until_its_writer_is_done() {
        let mut waiting = pending(vec![change(1, "a", ChangeKind::Created), change(2, "a", ChangeKind::Written)]);
        assert_eq!(ripe(&waiting, 3000), [""; 0]);
        assert_eq!(ripe(&waiting, 3601), ["a"]); // after an hour in any case
        waiting.take(FeedBatch { changes: vec![change(3, "a", ChangeKind::Closed)], read_to: 3 });
        assert_eq!(ripe(&waiting, 3), ["a"]);
        waiting.take(FeedBatch { changes: vec![change(4, "a", ChangeKind::Opened)], read_to: 4 });
        assert_eq!(ripe(&waiting, 4), [""; 0]);
        // Opening alone changes nothing, and attributes are whole at once.
        assert!(pending(vec![change(1, "a", ChangeKind::Opened)]).is_empty());
        assert_eq!(ripe(&pending(vec![change(1, "a", ChangeKind::Attributes)]), 1), ["a"]);
    }

    #[test]
    fn a_file_of_which_no_close_is_told_waits_for_silence() {
        let debounce = Debounce { closes: Closes::Untold, ..Debounce::default() };
        let mut waiting = Pending::new(debounce);
        let changes = vec![change(1, "a", ChangeKind::Created), change(50, "a", ChangeKind::Written)];
        waiting.take(FeedBatch { changes, read_to: 50 });
        assert_eq!((ripe(&waiting, 109).len(), ripe(&waiting, 110).len()), (0, 1));
    }

    #[test]
    fn a_file_that_is_renamed_while_it_is_written_waits_under_its_new_name() {
        let from = Key::parse("a").unwrap();
        let mut waiting =
            pending(vec![change(1, "a", ChangeKind::Created), change(2, "b", ChangeKind::Renamed { from })]);
        assert_eq!(ripe(&waiting, 2), ["a"]);
        waiting.take(FeedBatch { changes: vec![change(3, "b", ChangeKind::Closed)], read_to: 3 });
        assert_eq!(ripe(&waiting, 3), ["a", "b"]);
    }

    #[test]
    fn times_alone_do_not_wait() {
        let waiting = pending(vec![change(7, "a", ChangeKind::Times)]);
        assert!(waiting.is_empty());
        assert_eq!((waiting.acknowledged(), waiting.oldest_age(at(100))), (7, 0));
    }

    #[test]
    fn only_an_unbroken_start_is_acknowledged() {
        let changes = ["a", "b", "c"].iter().zip(1..).map(|(path, at)| change(at, path, ChangeKind::Closed));
        let mut waiting = pending(changes.collect());
        waiting.sent(["b"]);
        assert_eq!((waiting.acknowledged(), waiting.read_to()), (0, 3));
        waiting.sent(["a"]);
        assert_eq!((waiting.acknowledged(), waiting.oldest_age(at(10))), (2, 7));
        // What is told again waits again, and takes nothing back.
        waiting.take(FeedBatch { changes: vec![change(1, "a", ChangeKind::Closed)], read_to: 1 });
        assert_eq!(waiting.acknowledged(), 2);
        waiting.sent(["a"]);
        waiting.sent(["c"]);
        assert_eq!((waiting.acknowledged(), waiting.oldest_age(at(10))), (3, 0));
    }

    #[test]
    fn what_is_in_a_directory_that_waits_waits_with_it() {
        let mut waiting = pending(vec![
            change(2, "a/b", ChangeKind::Closed),
            change(3, "a-b", ChangeKind::Closed),
            change(4, "a", ChangeKind::Attributes),
        ]);
        assert_eq!(paths(&waiting), ["a", "a-b", "a/b"]);
        waiting.take(FeedBatch { changes: vec![change(5, "a", ChangeKind::Removed)], read_to: 5 });
        assert_eq!(paths(&waiting), ["a", "a-b"]);
        waiting.take(FeedBatch { changes: vec![change(6, "a/c/d", ChangeKind::Closed)], read_to: 6 });
        assert_eq!(paths(&waiting), ["a", "a-b"]);
        assert_eq!(waiting.get("a").map(|waiting| (waiting.first, waiting.last)), Some((2, 6)));
        waiting.take_everything(at(7));
        assert_eq!((paths(&waiting), waiting.acknowledged()), (vec![""], 1));
    }

    #[test]
    fn beyond_the_limit_paths_become_the_directories_around_them() {
        let mut changes: Vec<FeedChange> =
            (1..=50).map(|at| change(at, &format!("full/{at}"), ChangeKind::Created)).collect();
        changes.push(change(51, "other/one", ChangeKind::Closed));
        let mut waiting = Pending::new(Debounce::default()).with_limit(20);
        waiting.take(FeedBatch { changes, read_to: 51 });
        assert_eq!(paths(&waiting), ["full", "other/one"]);
        assert_eq!(waiting.get("full").map(|waiting| (waiting.first, waiting.depth)), Some((1, Depth::Subtree)));
        // At worst it is everything, in no memory to speak of.
        let spread = (0..1000).map(|at| change(60 + at, &format!("{at}/x/y"), ChangeKind::Closed)).collect();
        waiting.take(FeedBatch { changes: spread, read_to: 1060 });
        assert_eq!((paths(&waiting), waiting.acknowledged()), (vec![""], 0));
    }

    #[test]
    fn what_failed_comes_after_what_was_not_tried() {
        let mut waiting = pending(vec![change(1, "a", ChangeKind::Closed), change(2, "b", ChangeKind::Closed)]);
        waiting.failed("a", "access denied");
        assert_eq!(ripe(&waiting, 2), ["b", "a"]);
    }

    #[test]
    fn what_waits_is_saved_and_read_back() {
        let mut waiting = pending(vec![change(1, "a b/ü", ChangeKind::Created), change(2, "b", ChangeKind::Closed)]);
        waiting.failed("b", "access denied");
        let saved = serde_json::to_string(&waiting).unwrap();
        assert_eq!(serde_json::from_str::<Pending>(&saved).unwrap(), waiting);
        let error = serde_json::from_str::<Pending>(&saved.replace("a b/ü", "../a")).unwrap_err();
        assert!(error.to_string().starts_with("what waits cannot be read"), "{error}");
    }
}
