//! [`Backlog`]: which keys wait to be looked at, and since when.

use super::message::Notice;
use super::{EventKind, ObjectEvent};
use crate::escape::excerpt;
use crate::key::Prefix;
use crate::repository::{LinkState, Misconfiguration};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thiserror::Error;

/// The events of a link that have not been applied yet.
///
/// What an event says of an object is old when it comes, so a key waits once, however many events it has: the one that
/// counts is the newest by its [`Sequencer`](super::Sequencer). Events of other buckets and of keys that are not below the
/// prefix are counted and set aside.
///
/// A part of it is taken out with [`take`](Self::take) and applied with [`apply_events`](crate::engine::apply_events). If that
/// could not be done, it is put back with [`merge`](Self::merge); the keys that were tried and have failed, with
/// [`put_back`](Self::put_back). Applying something twice does no harm.
///
/// # When a message may be acknowledged
///
/// A message is deleted from its queue only when what it brought cannot be lost any more: after the backlog that it was taken
/// into was applied and holds none of its keys, or after that backlog was kept, on a disk say. It is written with serde, and
/// checked when it is read back. What is told again after a crash does no harm.
///
/// ```
/// use posix_s3::repository::{Backlog, read_message};
/// use posix_s3::{Prefix, Timestamp};
///
/// let mut backlog = Backlog::new("data", Prefix::parse("in/")?);
/// let record = |key: &str| format!(r#"{{"Records": [{{"eventVersion": "2.1", "eventName": "ObjectRemoved:Delete",
///     "eventTime": "1970-01-01T00:00:00.000Z", "s3": {{"bucket": {{"name": "data"}}, "object": {{"key": "{key}"}}}}}}]}}"#);
/// for message in [record("in/a"), record("in/a"), record("out/b")] {
///     for notice in read_message(message.as_bytes()) {
///         backlog.note(notice?);
///     }
/// }
/// assert_eq!(backlog.keys().collect::<Vec<_>>(), ["in/a"]);
/// assert_eq!((backlog.counts().events, backlog.counts().outside), (3, 1));
///
/// let fifteen_days = Timestamp::from_unix(15 * 24 * 60 * 60, 0).unwrap();
/// let overdue = backlog.expire(fifteen_days).unwrap_err();
/// assert_eq!(overdue.to_string(), "1 changes that waited for up to 15 days were dropped, more than 14 days");
/// assert!(backlog.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Backlog {
    bucket: Box<str>,
    prefix: Prefix,
    keys: BTreeMap<Arc<str>, Waiting>,
    /// The same keys in the order in which they are taken: those that were tried the least come first.
    queue: BTreeSet<(u32, Arc<str>)>,
    counts: BacklogCounts,
}

/// A key that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waiting {
    /// The newest event, as far as can be told.
    newest: ObjectEvent,
    /// When the first of its events happened that was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// How often it was tried in vain since its newest event.
    #[serde(default)]
    tries: u32,
}

/// How a backlog is saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    bucket: Box<str>,
    prefix: Prefix,
    counts: BacklogCounts,
    waiting: Vec<Waiting>,
}

/// What was saved is no backlog.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidBacklog {
    /// A key is one of another bucket.
    #[error("expected a key of the bucket {bucket}, found \"{key}\" of {found}")]
    Elsewhere {
        /// The key, safe to print.
        key: Box<str>,
        /// The bucket of the backlog, safe to print.
        bucket: Box<str>,
        /// The other one, safe to print.
        found: Box<str>,
    },
    /// A key is not below the prefix.
    #[error("expected a key below \"{prefix}\", found \"{key}\"")]
    Outside {
        /// The key, safe to print.
        key: Box<str>,
        /// The prefix, safe to print.
        prefix: Box<str>,
    },
    /// A key waits twice.
    #[error("expected each key once, found \"{key}\" again")]
    Twice {
        /// The key, safe to print.
        key: Box<str>,
    },
}

impl TryFrom<Saved> for Backlog {
    type Error = InvalidBacklog;

    fn try_from(saved: Saved) -> Result<Self, InvalidBacklog> {
        let mut backlog = Self { counts: saved.counts, ..Self::new(&saved.bucket, saved.prefix) };
        let shown = |text: &str| excerpt(text.as_bytes());
        for waiting in saved.waiting {
            let ObjectEvent { bucket, key, .. } = &waiting.newest;
            if *bucket != backlog.bucket {
                let (key, found) = (shown(key), shown(bucket));
                return Err(InvalidBacklog::Elsewhere { key, bucket: shown(&backlog.bucket), found });
            }
            if backlog.prefix.relative(key).is_none() {
                return Err(InvalidBacklog::Outside { key: shown(key), prefix: shown(backlog.prefix.as_str()) });
            }
            if backlog.keys.contains_key(&**key) {
                return Err(InvalidBacklog::Twice { key: shown(key) });
            }
            backlog.insert(waiting);
        }
        Ok(backlog)
    }
}

impl From<Backlog> for Saved {
    fn from(backlog: Backlog) -> Self {
        let Backlog { bucket, prefix, keys, counts, .. } = backlog;
        Self { bucket, prefix, counts, waiting: keys.into_values().collect() }
    }
}

/// What has become of the events of a backlog. They are counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[non_exhaustive]
pub struct BacklogCounts {
    /// All events of objects.
    pub events: u64,
    /// Those of a key that waited already: doubled, or of an older or newer state of the object.
    pub coalesced: u64,
    /// Those without a sequencer, of which nobody can tell whether they are older.
    pub unordered: u64,
    /// Those of another bucket, which were set aside.
    pub elsewhere: u64,
    /// Those of keys that are not below the prefix, which were set aside.
    pub outside: u64,
    /// Those that change neither data nor metadata of an object, which were set aside.
    pub irrelevant: u64,
    /// Those of kinds that this version does not know. Their keys wait like others.
    pub unknown: u64,
    /// Those of objects that lifecycle rules have deleted, which FSx does not subscribe to.
    pub expirations: u64,
    /// Test events.
    pub tests: u64,
    /// Requests of SNS to confirm something.
    pub subscriptions: u64,
}

/// Changes that waited for too long and were dropped: the tree has not what the bucket has any more.
///
/// The link is then [`Misconfiguration::Backlog`] until it is updated, and an import brings what was missed. Deletions among
/// it are found by an import that deletes, such as a [`sweep`](crate::engine::sweep).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{keys} changes that waited for up to {} days were dropped, more than {} days", days(*.waited), days(LinkState::BACKLOG))]
#[non_exhaustive]
pub struct Overdue {
    /// How many keys waited.
    pub keys: u64,
    /// How long the first of them waited that was never tried, in seconds.
    pub waited: i64,
}

const fn days(seconds: i64) -> i64 {
    seconds / (24 * 60 * 60)
}

impl Overdue {
    /// What it makes of the link.
    pub const MISCONFIGURATION: Misconfiguration = Misconfiguration::Backlog;
}

impl Backlog {
    /// An empty one, of a link to what is below a prefix of a bucket.
    #[must_use]
    pub fn new(bucket: &str, prefix: Prefix) -> Self {
        Self {
            bucket: bucket.into(),
            prefix,
            keys: BTreeMap::new(),
            queue: BTreeSet::new(),
            counts: BacklogCounts::default(),
        }
    }

    /// Takes in what a message has brought.
    pub fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Event(event) => self.push(event),
            Notice::Test { .. } => count(&mut self.counts.tests),
            Notice::Subscription { .. } => count(&mut self.counts.subscriptions),
        }
    }

    /// Takes in an event.
    pub fn push(&mut self, event: ObjectEvent) {
        let counts = &mut self.counts;
        count(&mut counts.events);
        if event.bucket != self.bucket {
            return count(&mut counts.elsewhere);
        }
        if self.prefix.relative(&event.key).is_none() {
            return count(&mut counts.outside);
        }
        match event.kind {
            EventKind::Other => count(&mut counts.unknown),
            EventKind::LifecycleExpiration(_) => count(&mut counts.expirations),
            kind if !kind.is_a_change() => return count(&mut counts.irrelevant),
            _ => {}
        }
        if event.sequencer.is_none() {
            count(&mut counts.unordered);
        }
        if self.keys.contains_key(&*event.key) {
            count(&mut counts.coalesced);
        }
        let since = event.event_time;
        self.wait(Waiting { newest: event, since, tries: 0 });
    }

    fn wait(&mut self, later: Waiting) {
        let Some(before) = self.remove(&later.newest.key) else { return self.insert(later) };
        // Of two of which nothing tells the order, the one that came later.
        let order = match (&later.newest.sequencer, &before.newest.sequencer) {
            (Some(later), Some(before)) => later.cmp(before),
            _ => Ordering::Greater,
        };
        let since = [before.since, later.since].into_iter().flatten().min();
        let waiting = match (before.tries, later.tries) {
            // What was tried was not this.
            (1.., 0) if order.is_gt() => later,
            // It is an old one once more.
            (1.., 0) => before,
            (0, 1..) => Waiting { newest: if order.is_lt() { before.newest } else { later.newest }, ..before },
            (one, other) => {
                let newest = if order.is_lt() { before.newest } else { later.newest };
                Waiting { newest, since, tries: one.max(other) }
            }
        };
        self.insert(waiting);
    }

    /// Puts in a key that is not there.
    fn insert(&mut self, waiting: Waiting) {
        let key: Arc<str> = (&*waiting.newest.key).into();
        self.queue.insert((waiting.tries, Arc::clone(&key)));
        self.keys.insert(key, waiting);
    }

    fn remove(&mut self, key: &str) -> Option<Waiting> {
        let (key, waiting) = self.keys.remove_entry(key)?;
        self.queue.remove(&(waiting.tries, key));
        Some(waiting)
    }

    /// Takes out keys of so many path segments together, but one key at least, as a backlog of their own whose counts are
    /// zero.
    ///
    /// The key `a/b/c` has three. What it takes to look at a key, in memory and in requests, grows with its segments: 50,000
    /// of them take some 100 MiB at worst. Keys that were never tried come first, then those
    /// that were tried the least; among these, in order.
    #[must_use]
    pub fn take(&mut self, most: usize) -> Self {
        let mut taken = Self::new(&self.bucket, self.prefix.clone());
        let mut left = most;
        while let Some((_, key)) = self.queue.first().cloned() {
            match left.checked_sub(segments(&key)) {
                Some(less) => left = less,
                None if taken.is_empty() => left = 0,
                None => break,
            }
            let Some(waiting) = self.remove(&key) else { break };
            taken.insert(waiting);
        }
        taken
    }

    /// Puts back what was taken out and not tried. What has come meanwhile is kept. The counts of the other are not added.
    pub fn merge(&mut self, other: Self) {
        for waiting in other.keys.into_values() {
            // What came later is put over what was there before it.
            let later = self.remove(&waiting.newest.key);
            self.wait(waiting);
            later.into_iter().for_each(|later| self.wait(later));
        }
    }

    /// Puts back what was taken out and has failed. Such keys are taken after all that were never tried, and after those that
    /// were tried less often; how long they wait does not count for [`expire`](Self::expire). A newer event of a key, also one
    /// that has come meanwhile, makes it one that was never tried. The counts of the other are not added.
    pub fn put_back(&mut self, other: Self) {
        let Self { bucket, prefix, keys, .. } = other;
        let mut tried = Self::new(&bucket, prefix);
        for waiting in keys.into_values() {
            tried.insert(Waiting { tries: waiting.tries.saturating_add(1), ..waiting });
        }
        self.merge(tried);
    }

    /// Drops the keys of which a caller says so, by the whole key.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let queue = &mut self.queue;
        self.keys.retain(|key, waiting| {
            let is_kept = keep(key);
            if !is_kept {
                queue.remove(&(waiting.tries, Arc::clone(key)));
            }
            is_kept
        });
    }

    /// Drops everything if the first change that was never tried has waited for more than [`LinkState::BACKLOG`]. What was
    /// tried and has failed is late for a reason of its own, and waits on.
    ///
    /// # Errors
    /// [`Overdue`] says what was dropped. The caller takes it down in the [`LinkState`].
    pub fn expire(&mut self, now: Timestamp) -> Result<(), Overdue> {
        let untried = self.keys.values().filter(|waiting| waiting.tries == 0);
        let Some(oldest) = untried.filter_map(|waiting| waiting.since).min() else { return Ok(()) };
        let waited = i128::from(now.seconds()).saturating_sub(i128::from(oldest.seconds()));
        if waited <= i128::from(LinkState::BACKLOG) {
            return Ok(());
        }
        self.queue.clear();
        let keys = std::mem::take(&mut self.keys).len() as u64;
        Err(Overdue { keys, waited: i64::try_from(waited).unwrap_or(i64::MAX) })
    }

    /// When the first change happened that waits, tried or not; `None` also where no event says when it happened.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.keys.values().filter_map(|waiting| waiting.since).min()
    }

    /// The keys that wait, whole and in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(|key| &**key)
    }

    /// The event that counts of a key, by its whole key.
    #[must_use]
    pub fn newest(&self, key: &str) -> Option<&ObjectEvent> {
        self.keys.get(key).map(|waiting| &waiting.newest)
    }

    /// How often a key that waits was tried in vain since its newest event, by its whole key.
    #[must_use]
    pub fn tries(&self, key: &str) -> Option<u32> {
        self.keys.get(key).map(|waiting| waiting.tries)
    }

    /// How many keys wait that were never tried.
    #[must_use]
    pub fn untried(&self) -> usize {
        self.keys.values().filter(|waiting| waiting.tries == 0).count()
    }

    /// How many keys wait, tried or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What has become of all events so far.
    #[must_use]
    pub const fn counts(&self) -> BacklogCounts {
        self.counts
    }
}

/// How many names a key has on its way.
fn segments(key: &str) -> usize {
    key.split('/').filter(|name| !name.is_empty()).count().max(1)
}

fn count(number: &mut u64) {
    *number = number.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::event::{Creation, Removal};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0).unwrap()
    }

    fn event(key: &str, sequencer: &str, seconds: i64) -> ObjectEvent {
        ObjectEvent {
            bucket: "data".into(),
            key: key.into(),
            kind: EventKind::Created(Creation::Put),
            name: "ObjectCreated:Put".into(),
            sequencer: sequencer.parse().ok(),
            event_time: Some(at(seconds)),
            size: Some(seconds.unsigned_abs()),
            etag: None,
            version_id: None,
        }
    }

    fn backlog() -> Backlog {
        Backlog::new("data", Prefix::parse("in/").unwrap())
    }

    #[test]
    fn the_newest_event_of_a_key_counts_in_whatever_order_they_come() {
        let events = [event("in/a", "0A", 3), event("in/a", "9", 5), event("in/a", "0010", 4)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut backlog = backlog();
            order.into_iter().for_each(|at: usize| backlog.push(events[at].clone()));
            assert_eq!((backlog.newest("in/a"), backlog.oldest()), (Some(&events[2]), Some(at(3))));
            assert_eq!((backlog.counts().coalesced, backlog.len()), (2, 1));
        }
    }

    #[test]
    fn every_event_is_counted_somewhere() {
        let mut backlog = backlog();
        let kind = |kind| ObjectEvent { kind, ..event("in/a", "", 0) };
        for event in [
            event("in/a", "1", 0),
            event("in", "1", 0),
            event("inner/a", "1", 0),
            ObjectEvent { bucket: "other".into(), ..event("in/a", "1", 0) },
            kind(EventKind::Tagging),
            kind(EventKind::Other),
            kind(EventKind::LifecycleExpiration(Removal::Delete)),
        ] {
            backlog.push(event);
        }
        backlog.note(Notice::Test { bucket: None });
        let expected = BacklogCounts {
            events: 7,
            coalesced: 2,
            unordered: 2,
            elsewhere: 1,
            outside: 2,
            irrelevant: 1,
            unknown: 1,
            expirations: 1,
            tests: 1,
            subscriptions: 0,
        };
        assert_eq!(backlog.counts(), expected);
        assert_eq!(backlog.keys().collect::<Vec<_>>(), ["in/a"]);
    }

    #[test]
    fn a_backlog_is_dropped_when_its_first_event_is_older_than_14_days() {
        let mut backlog = backlog();
        assert_eq!(backlog.expire(at(i64::MAX)), Ok(()));
        backlog.push(event("in/a", "1", 100));
        backlog.push(event("in/a", "2", 900));
        backlog.push(event("in/b", "1", 500));
        assert_eq!(backlog.expire(at(100 + LinkState::BACKLOG)), Ok(()));
        assert_eq!(backlog.expire(at(-5)), Ok(()));
        let overdue = backlog.expire(at(101 + LinkState::BACKLOG)).unwrap_err();
        assert_eq!((overdue.keys, overdue.waited, backlog.is_empty()), (2, LinkState::BACKLOG + 1, true));
    }

    #[test]
    fn what_was_taken_out_can_be_put_back_beside_what_has_come_since() {
        let mut backlog = backlog();
        for key in ["in/a", "in/b", "in/c"] {
            backlog.push(event(key, "5", 7));
        }
        let taken = backlog.take(4);
        assert_eq!((taken.keys().collect::<Vec<_>>(), backlog.len()), (vec!["in/a", "in/b"], 1));
        backlog.push(event("in/a", "6", 9));
        backlog.push(event("in/b", "4", 9));
        backlog.merge(taken);
        assert_eq!(backlog.len(), 3);
        assert_eq!(backlog.newest("in/a").unwrap().size, Some(9));
        assert_eq!(backlog.newest("in/b").unwrap().size, Some(7));
        assert_eq!((backlog.oldest(), backlog.counts().events), (Some(at(7)), 5));
        assert_eq!((backlog.take(100).len(), backlog.len()), (3, 0));
    }

    fn keys(backlog: &Backlog) -> Vec<&str> {
        backlog.keys().collect()
    }

    #[test]
    fn a_batch_is_cut_by_the_sum_of_depths() {
        let mut backlog = backlog();
        let deep = format!("in/b/{}f", "c/".repeat(500));
        for key in ["in/", "in/a/", "in/a/b", &deep, "in/d"] {
            backlog.push(event(key, "1", 0));
        }
        // 1, 2 and 3 of them.
        assert_eq!(keys(&backlog.clone().take(6)), ["in/", "in/a/", "in/a/b"]);
        assert_eq!(keys(&backlog.take(7)), ["in/", "in/a/", "in/a/b"]);
        // One that is too deep is taken alone.
        assert_eq!(keys(&backlog.take(7)), [&*deep]);
        assert_eq!(keys(&backlog.take(0)), ["in/d"]);
        assert!(backlog.take(7).is_empty() && backlog.is_empty());
        for at in 0..10_000 {
            backlog.push(event(&format!("in/{}{at}", "d/".repeat(at % 9)), "1", 0));
        }
        let batches = std::iter::from_fn(|| Some(backlog.take(50_000)).filter(|batch| !batch.is_empty())).count();
        assert_eq!(batches, 2);
    }

    #[test]
    fn what_was_tried_comes_after_what_was_not() {
        let mut backlog = backlog();
        for at in 0..100 {
            backlog.push(event(&format!("in/a{at:02}"), "1", 0));
        }
        backlog.push(event("in/z", "1", 0));
        let first = backlog.take(200);
        backlog.put_back(first);
        assert_eq!((backlog.tries("in/a00"), backlog.tries("in/z"), backlog.untried()), (Some(1), Some(0), 1));
        let second = backlog.take(4);
        assert_eq!(keys(&second), ["in/a00", "in/z"]);
        backlog.put_back(second);
        // Those that were tried the least come first, so that each has its turn.
        let third = backlog.take(200);
        assert_eq!((third.len(), third.tries("in/a00"), third.tries("in/z")), (100, None, Some(1)));
        assert_eq!((keys(&backlog), backlog.tries("in/a00")), (vec!["in/a00"], Some(2)));
        // What is only put back was not tried.
        backlog.merge(third);
        assert_eq!((backlog.len(), backlog.tries("in/z")), (101, Some(1)));
    }

    #[test]
    fn a_newer_event_of_a_key_makes_it_one_that_was_not_tried() {
        let tried = |sequencer| {
            let mut backlog = backlog();
            backlog.push(event("in/a", sequencer, 10));
            let taken = backlog.take(9);
            (backlog, taken)
        };
        // After it was put back, and while it was tried.
        for (sequencer, expected) in [("6", Some(0)), ("5", Some(1)), ("4", Some(1)), ("", Some(0))] {
            let (mut after, taken) = tried("5");
            after.put_back(taken);
            after.push(event("in/a", sequencer, 20));
            let (mut meanwhile, taken) = tried("5");
            meanwhile.push(event("in/a", sequencer, 20));
            meanwhile.put_back(taken);
            assert_eq!((after.tries("in/a"), meanwhile.tries("in/a")), (expected, expected), "{sequencer}");
            // It waits since then.
            let since = at(if expected == Some(0) { 20 } else { 10 });
            assert_eq!((after.oldest(), meanwhile.oldest()), (Some(since), Some(since)), "{sequencer}");
            assert_eq!(after.queue.len(), 1);
        }
    }

    #[test]
    fn what_was_tried_and_has_failed_makes_no_backlog_too_old() {
        let mut backlog = backlog();
        backlog.push(event("in/denied", "1", 0));
        let taken = backlog.take(9);
        backlog.put_back(taken);
        let late = at(LinkState::BACKLOG * 2);
        backlog.push(event("in/new", "1", LinkState::BACKLOG + 1));
        assert_eq!(backlog.expire(late), Ok(()));
        backlog.push(event("in/old", "1", 1));
        assert_eq!(backlog.expire(late).unwrap_err().keys, 3);
        assert!(backlog.is_empty() && backlog.take(9).is_empty());
    }

    #[test]
    fn a_backlog_is_kept_and_checked_when_it_is_read_back() {
        let mut backlog = backlog();
        let full = ObjectEvent {
            etag: Some(crate::etag::ETag::new("\"e\"")),
            version_id: Some("v".into()),
            kind: EventKind::Restore(crate::repository::Restoration::Completed),
            ..event("in/\u{7f}\"", "00aB", 5)
        };
        backlog.push(full);
        backlog.push(ObjectEvent { event_time: None, size: None, ..event("in/b", "", 0) });
        backlog.push(ObjectEvent { bucket: "other".into(), ..event("in/a", "1", 0) });
        let taken = backlog.take(4);
        backlog.put_back(taken);
        let text = serde_json::to_string(&backlog).unwrap();
        let read: Backlog = serde_json::from_str(&text).unwrap();
        assert_eq!(read, backlog);
        assert_eq!((read.counts().elsewhere, read.tries("in/\u{7f}\"")), (1, Some(1)));

        let refused = |from: &str, to: &str| {
            let text = text.replacen(from, to, 1);
            serde_json::from_str::<Backlog>(&text).unwrap_err().to_string()
        };
        assert_eq!(refused(r#""Key":"in/b""#, r#""Key":"out/b""#), "expected a key below \"in/\", found \"out/b\"");
        assert_eq!(
            refused(r#""Bucket":"data","Key":"in/b""#, r#""Bucket":"x\n","Key":"in/b""#),
            "expected a key of the bucket data, found \"in/b\" of x\\n"
        );
        assert_eq!(
            refused(r#""Key":"in/b""#, r#""Key":"in/\u007f\"""#),
            "expected each key once, found \"in/\\u{7f}\\\"\" again"
        );
        assert!(refused(r#""AB""#, r#""XY""#).starts_with("invalid sequencer \"XY\""));
    }
}
