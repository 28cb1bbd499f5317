//! [`Session`]: the state of a link during one run, from the snapshot it starts from to the one it leaves.

use super::agreed::{fresh_since, identity};
use super::cause::Cause;
use super::journal::{self, Base, Intents, Journal, Line, Sorted, Urgency};
use super::report::{Outcome, Recorder, RunErrorKind};
use super::state::{Part, StateRead, StateStore};
use crate::key::{Key, Prefix};
use crate::snapshot::{Edit, Header, Identity, Local, Record, SnapshotError, SnapshotReader, SnapshotWriter, overlay};
use crate::timestamp::Timestamp;
use crate::tree::Tree;
use std::collections::HashMap;
use std::io::{self, BufWriter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// A snapshot that is read.
pub(super) type Reader = SnapshotReader<Box<dyn StateRead>>;

/// The state of a link that could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file of it failed.
    #[error("a file of the state failed")]
    Io(#[from] io::Error),
    /// The snapshot could not be read on, or the next one not be written.
    #[error("the snapshot failed")]
    Snapshot(#[from] SnapshotError),
    /// It was written by a later version of this crate, which may know of things that this one would lose.
    #[error("the snapshot is of a later version")]
    Later(#[source] SnapshotError),
}

/// The longest `ETag` that is recorded, in bytes. Those of S3 have 34, or 40 for an object put in parts.
const LONGEST_ETAG: usize = 1024;

/// The state of a link during one run.
pub(super) struct Session<'s> {
    state: &'s dyn StateStore,
    base: Base,
    /// How many records the snapshot has; `None` where there is no snapshot that can be believed.
    records: Option<u64>,
    /// When the last of it was recorded, by the clock of the tree.
    recorded: Option<Timestamp>,
    journal: Journal<'s>,
    /// What may have become of objects without anybody knowing: by runs that were cut short, and by requests that failed.
    uncertain: Mutex<Intents>,
    /// What this run is about to put.
    intended: Mutex<HashMap<Key, Local>>,
    /// Why nothing is known although there is a snapshot.
    disbelief: Option<Box<str>>,
}

impl<'s> Session<'s> {
    /// Begins a run on a tree; without a state there is nothing to be known.
    pub(super) async fn of<T: Tree>(
        tree: &T,
        state: Option<&'s dyn StateStore>,
        bucket: &str,
        prefix: &Prefix,
    ) -> Result<Option<Self>, RunErrorKind> {
        tree.begin().await?;
        let Some(state) = state else { return Ok(None) };
        let identity = identity(tree, bucket, prefix)?;
        Ok(Some(Self::begin(state, identity, tree.now()).await?))
    }

    /// Reads what there is, and merges what a run that was cut short has left.
    async fn begin(state: &'s dyn StateStore, identity: Identity, started: Timestamp) -> Result<Self, StateError> {
        let (mut snapshot, mut disbelief) = open(state, identity)?.believed();
        let id = snapshot.as_ref().map_or(0, SnapshotReader::id);
        let mut intents = Intents::new();
        // Without a snapshot that can be believed, what was done since says nothing either.
        if disbelief.is_none()
            && let Some(replay) = journal::replay(state, identity, id)?
        {
            intents = replay.intents;
            if let Some(changes) = replay.changes {
                compact(state, identity, started, snapshot.take(), changes).await?;
                (snapshot, disbelief) = open(state, identity)?.believed();
            }
        }
        let base = Base { identity, snapshot: snapshot.as_ref().map_or(0, SnapshotReader::id), started };
        let journal = Journal::new(state, base);
        // What is not known stays unknown until somebody looks, however many runs are cut short.
        if disbelief.is_none() {
            carry_over(&journal, state, &intents).await?;
        }
        let records = snapshot.as_ref().map(SnapshotReader::len);
        let recorded = snapshot.as_ref().map(|snapshot| snapshot.header().recorded);
        Ok(Self {
            state,
            base,
            records,
            recorded,
            journal,
            uncertain: Mutex::new(intents),
            intended: Mutex::default(),
            disbelief,
        })
    }

    /// How many keys are recorded; `None` where nothing is known.
    pub(super) const fn records(&self) -> Option<u64> {
        self.records
    }

    /// Says that nothing is known although there is a snapshot, and why.
    pub(super) fn say_disbelief(&self, recorder: &mut Recorder<'_>) {
        if let Some(why) = &self.disbelief {
            let reason = format!("{why}; nothing is known, so everything is looked at and nothing is deleted");
            recorder.remark(".", Outcome::Skipped, Cause::StateDistrusted, reason);
        }
    }

    /// Whether everything recorded was recorded longer ago than the coarsest clock takes for a tick.
    pub(super) fn is_older_than_grain(&self, now: Timestamp) -> bool {
        self.recorded.is_some_and(|recorded| recorded < fresh_since(now))
    }

    /// A reader of the snapshot from its start.
    pub(super) fn reader(&self) -> Result<Option<Reader>, StateError> {
        if self.records.is_none() {
            return Ok(None);
        }
        let file = self.state.open(Part::Snapshot)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let reader = SnapshotReader::open(file)?;
        if reader.id() != self.base.snapshot {
            return Err(io::Error::other("the snapshot was exchanged during the run").into());
        }
        Ok(Some(reader))
    }

    /// What an earlier run, or an earlier try of this one, may have put under a key without hearing of it.
    pub(super) fn uncertain(&self, key: &Key) -> Vec<Local> {
        lock(&self.uncertain).get(key).cloned().unwrap_or_default()
    }

    /// Whether an earlier run, or an earlier try of this one, may have changed the object of a key without hearing of it.
    pub(super) fn is_uncertain(&self, key: &Key) -> bool {
        lock(&self.uncertain).contains_key(key)
    }

    /// The keys of which that is not known.
    pub(super) fn uncertain_keys(&self) -> Vec<Key> {
        lock(&self.uncertain).keys().cloned().collect()
    }

    /// Says that objects are about to become what these inodes are, and waits until that is on the disk.
    pub(super) async fn intend<'k>(
        &self,
        subjects: impl IntoIterator<Item = (&'k Key, Local)>,
    ) -> Result<(), StateError> {
        let mut said = false;
        for (key, local) in subjects {
            if lock(&self.intended).insert(key.clone(), local) != Some(local) {
                self.journal.append(&Line::Intent { key: key.clone(), local }, Urgency::Later)?;
                said = true;
            }
        }
        if said { Ok(self.journal.sync().await?) } else { Ok(self.journal.check()?) }
    }

    /// Says that an object whose file is gone is about to be deleted, and waits until that is on the disk.
    pub(super) async fn give_up(&self, record: Record) -> Result<(), StateError> {
        self.record(record, Urgency::Later)?;
        Ok(self.journal.sync().await?)
    }

    /// What is recorded of one key.
    pub(super) fn find(&self, key: &Key) -> Result<Option<Record>, StateError> {
        let Some(mut reader) = self.reader()? else { return Ok(None) };
        reader.seek(key.as_str())?;
        Ok(reader.next()?.filter(|record| record.key == *key))
    }

    /// Takes back what was intended for a key: no request for it is under way.
    pub(super) fn withdraw(&self, key: &Key) {
        lock(&self.intended).remove(key);
    }

    /// Says that nobody knows whether a request has changed an object.
    pub(super) fn doubt(&self, key: &Key, local: Local) {
        lock(&self.uncertain).entry(key.clone()).or_default().push(local);
    }

    /// Records what both sides agree on.
    pub(super) fn record(&self, mut record: Record, urgency: Urgency) -> Result<(), StateError> {
        // A version with a name like a book is none that a store means; such an object is recorded as none.
        record.remote = record.remote.filter(|remote| remote.etag.as_str().len() <= LONGEST_ETAG);
        let (key, is_certain) = (record.key.clone(), journal::is_agreement(&record));
        self.journal.append(&Line::Record(record), urgency)?;
        if is_certain {
            self.is_certain(&key);
        }
        Ok(())
    }

    /// Records that nothing is left of a key.
    pub(super) fn remove(&self, key: &Key, urgency: Urgency) -> Result<(), StateError> {
        self.journal.append(&Line::Removed(key.clone()), urgency)?;
        self.is_certain(key);
        Ok(())
    }

    /// Says that it is known what the object of a key is.
    pub(super) fn is_certain(&self, key: &Key) {
        lock(&self.uncertain).remove(key);
        self.withdraw(key);
    }

    /// Ends the run: what it recorded goes into the snapshot. A run that did not see everything says so.
    pub(super) async fn finish(self, seen: Seen, now: Timestamp) -> Result<(), StateError> {
        if self.journal.is_empty() {
            return Ok(());
        }
        if seen == Seen::Everything {
            self.journal.append(&Line::End, Urgency::Later)?;
        }
        self.journal.sync().await?;
        let Base { identity, snapshot, .. } = self.base;
        let reader = self.reader()?;
        let changes = journal::replay(self.state, identity, snapshot)?.and_then(|replay| replay.changes);
        let Some(changes) = changes else {
            return Err(io::Error::other("the journal cannot be read back").into());
        };
        compact(self.state, identity, now, reader, changes).await?;
        // Requests that failed may have happened all the same, and may still.
        let mut uncertain = std::mem::take(&mut *lock(&self.uncertain));
        // So may those that were under way when the run had to stop.
        for (key, local) in lock(&self.intended).drain() {
            uncertain.entry(key).or_default().push(local);
        }
        let (snapshot, _) = open(self.state, identity)?.believed();
        let snapshot = snapshot.as_ref().map_or(0, |snapshot| snapshot.id());
        carry_over(&Journal::new(self.state, Base { snapshot, ..self.base }), self.state, &uncertain).await
    }
}

/// Begins a journal with what is uncertain. The one before is merged, and goes.
async fn carry_over(journal: &Journal<'_>, state: &dyn StateStore, uncertain: &Intents) -> Result<(), StateError> {
    if uncertain.is_empty() {
        return Ok(state.remove(Part::Journal)?);
    }
    for (key, locals) in uncertain {
        for local in locals {
            journal.append(&Line::Intent { key: key.clone(), local: *local }, Urgency::Later)?;
        }
    }
    Ok(journal.sync().await?)
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    // Whatever is in it is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much of the tree a run has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All that it was about.
    Everything,
    /// It had to stop.
    Part,
}

enum Opened {
    Sound(Box<Reader>),
    None,
    /// It is there and says nothing that can be relied on.
    Unbelievable(Box<str>),
}

impl Opened {
    /// The snapshot, or why there is none although there is a file.
    fn believed(self) -> (Option<Reader>, Option<Box<str>>) {
        match self {
            Self::Sound(reader) => (Some(*reader), None),
            Self::None => (None, None),
            Self::Unbelievable(why) => (None, Some(why)),
        }
    }
}

/// Opens the snapshot and checks all of it.
fn open(state: &dyn StateStore, identity: Identity) -> Result<Opened, StateError> {
    let Some(file) = state.open(Part::Snapshot)? else { return Ok(Opened::None) };
    let checked = SnapshotReader::open(file).and_then(|mut reader| {
        reader.verify()?;
        Ok(reader)
    });
    match checked {
        Ok(reader) if reader.header().identity == identity => Ok(Opened::Sound(Box::new(reader))),
        Ok(reader) if reader.header().identity.link == identity.link => {
            Ok(Opened::Unbelievable("the snapshot is that of another directory".into()))
        }
        Ok(_) => Ok(Opened::Unbelievable("the snapshot is that of another link".into())),
        Err(error @ SnapshotError::Version { .. }) => Err(StateError::Later(error)),
        Err(SnapshotError::Io(error)) => Err(error.into()),
        Err(error) => Ok(Opened::Unbelievable(crate::entry::Chain(&error).to_string().into())),
    }
}

/// Writes the next snapshot: the one before with what has changed, and puts it in its place. With it, the journal says only
/// what was intended.
async fn compact(
    state: &dyn StateStore,
    identity: Identity,
    recorded: Timestamp,
    base: Option<Reader>,
    changes: Sorted,
) -> Result<(), StateError> {
    let file = state.create(Part::Next)?;
    let syncer = file.syncer();
    let mut writer = SnapshotWriter::new(BufWriter::with_capacity(1 << 18, file), &Header { identity, recorded })?;
    let changes = changes.map(|change| change.map_err(StateError::from));
    match base {
        Some(mut base) => overlay(base.stream(), changes, &mut writer)?,
        None => {
            for change in changes {
                if let Edit::Put(record) = change? {
                    writer.push(&record)?;
                }
            }
        }
    }
    writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    syncer().await?;
    Ok(state.publish()?)
}
