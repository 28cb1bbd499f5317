//! [`Backlog`]: which keys wait to be looked at, and since when.

use super::message::Notice;
use super::{EventKind, ObjectEvent};
use crate::key::Prefix;
use crate::repository::{LinkState, Misconfiguration};
use crate::timestamp::Timestamp;
use std::collections::BTreeMap;
use thiserror::Error;

/// The events of a link that have not been applied yet.
///
/// What an event says of an object is old when it comes, so a key waits once, however many events it has: the one that
/// counts is the newest by its [`Sequencer`](super::Sequencer). Events of other buckets and of keys that are not below the
/// prefix are counted and set aside.
///
/// A backlog is taken with [`take`](Self::take), applied with [`apply_events`](crate::engine::apply_events), and put back
/// with [`merge`](Self::merge) if that could not be done. Applying it twice does no harm.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    bucket: Box<str>,
    prefix: Prefix,
    keys: BTreeMap<Box<str>, Waiting>,
    counts: BacklogCounts,
}

/// A key that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    /// The newest event, as far as can be told.
    newest: ObjectEvent,
    /// When the first of its events happened.
    since: Option<Timestamp>,
}

/// What has become of the events of a backlog. They are counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// How long the first of them waited, in seconds.
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
        Self { bucket: bucket.into(), prefix, keys: BTreeMap::new(), counts: BacklogCounts::default() }
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
        if self.keys.contains_key(&event.key) {
            count(&mut counts.coalesced);
        }
        let since = event.event_time;
        self.wait(Waiting { newest: event, since });
    }

    fn wait(&mut self, waiting: Waiting) {
        match self.keys.get_mut(&waiting.newest.key) {
            Some(before) => {
                before.since = [before.since, waiting.since].into_iter().flatten().min();
                // Of two of which nothing tells the order, the one that came later.
                let is_older = matches!(
                    (&waiting.newest.sequencer, &before.newest.sequencer),
                    (Some(new), Some(old)) if new < old
                );
                if !is_older {
                    before.newest = waiting.newest;
                }
            }
            None => _ = self.keys.insert(waiting.newest.key.clone(), waiting),
        }
    }

    /// Takes out so many keys, or all there are, as a backlog of their own whose counts are zero.
    #[must_use]
    pub fn take(&mut self, most: usize) -> Self {
        let mut taken = Self::new(&self.bucket, self.prefix.clone());
        taken.keys = match self.keys.keys().nth(most).cloned() {
            Some(next) => {
                let rest = self.keys.split_off(&next);
                std::mem::replace(&mut self.keys, rest)
            }
            None => std::mem::take(&mut self.keys),
        };
        taken
    }

    /// Puts back what was taken out. What has come meanwhile is kept. The counts of the other are not added.
    pub fn merge(&mut self, other: Self) {
        for waiting in other.keys.into_values() {
            // What came later is put over what was there before it.
            let later = self.keys.remove(&waiting.newest.key);
            self.wait(waiting);
            later.into_iter().for_each(|later| self.wait(later));
        }
    }

    /// Drops the keys of which a caller says so, by the whole key.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.keys.retain(|key, _| keep(key));
    }

    /// Drops everything if the first change has waited for more than [`LinkState::BACKLOG`].
    ///
    /// # Errors
    /// [`Overdue`] says what was dropped. The caller takes it down in the [`LinkState`].
    pub fn expire(&mut self, now: Timestamp) -> Result<(), Overdue> {
        let Some(oldest) = self.oldest() else { return Ok(()) };
        let waited = i128::from(now.seconds()).saturating_sub(i128::from(oldest.seconds()));
        if waited <= i128::from(LinkState::BACKLOG) {
            return Ok(());
        }
        let keys = std::mem::take(&mut self.keys).len() as u64;
        Err(Overdue { keys, waited: i64::try_from(waited).unwrap_or(i64::MAX) })
    }

    /// When the first change happened that waits; `None` also where no event says when it happened.
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

    /// How many keys wait.
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
        let taken = backlog.take(2);
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
}
