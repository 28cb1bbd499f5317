//! What is gone from the tree, and what becomes of its objects.

use super::Export;
use super::needed::{Needed, Replace};
use crate::engine::agreed::{is_recorded, remote_of};
use crate::engine::cause::Cause;
use crate::engine::journal::Urgency;
use crate::engine::report::{Ended, Outcome, Recorder, RunErrorKind};
use crate::engine::scan::look;
use crate::engine::session::{Session, StateError};
use crate::engine::spool::Spool;
use crate::entry::Chain;
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{Braked, Deletes, OnConflict};
use crate::snapshot::{Names, Record};
use crate::store::{ObjectMeta, ObjectStore, Precondition, StoreError, StoreErrorKind, Support};
use crate::tree::{Look, Tree, TreeErrorKind};
use futures_util::{StreamExt, stream};
use std::collections::BTreeSet;
use std::future::ready;
use std::sync::{Mutex, PoisonError};

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    /// Whether what is gone may be deleted; `None` when that is not wanted.
    pub(super) fn may_delete(&self, session: &Session<'_>, gone: &Spool<Record>) -> Option<Result<(), Braked>> {
        match self.options.deletes {
            Deletes::Never => None,
            Deletes::Apply(brake) => Some(brake.check(gone.len(), session.records().unwrap_or(0))),
        }
    }

    /// Deletes what is gone, or records that it is.
    pub(super) async fn delete(
        &self,
        gone: Spool<Record>,
        needed: &Needed,
        recorder: &mut Recorder<'_>,
    ) -> Result<(), RunErrorKind> {
        let Some(session) = self.session else { return Ok(()) };
        let braked = self.may_delete(session, &gone);
        let mut unheard: BTreeSet<Key> = session.uncertain_keys().into_iter().collect();
        let recorded = Mutex::new(Vec::new());
        let gone = stream::try_unfold((gone, 0), |(mut gone, mut position)| {
            let recorded = &recorded;
            async move {
                let record: Option<Record> = gone.next(&mut position).map_err(StateError::from)?;
                if let Some(record) = record.as_ref().filter(|record| session.is_uncertain(&record.key)) {
                    recorded.lock().unwrap_or_else(PoisonError::into_inner).push(record.key.clone());
                }
                Ok::<_, StateError>(record.map(|record| (record, (gone, position))))
            }
        });
        if let Some(Ok(())) = braked {
            let mut ended = gone
                .take_while(|_| ready(!self.stop.leaves_out()))
                .map(|record| async { self.delete_one(session, record?, needed).await })
                .buffer_unordered(self.options.jobs.get())
                .boxed();
            while let Some(deleted) = ended.next().await {
                match deleted? {
                    Deleted::Yes => recorder.deleted(),
                    Deleted::No(ended) => recorder.end(ended),
                    Deleted::Before => {}
                }
            }
            drop(ended);
            for key in recorded.into_inner().unwrap_or_else(PoisonError::into_inner) {
                unheard.remove(&key);
            }
            return Ok(self.settle_unheard(session, recorder, unheard, Unheard::Deleted, needed).await?);
        }
        let mut gone = gone.boxed();
        while let Some(record) = gone.next().await {
            if self.stop.leaves_out() {
                return Ok(());
            }
            recorder.gone();
            self.keep(session, record?).await?;
        }
        if let Some(Err(braked)) = braked {
            recorder.braked(braked);
        }
        drop(gone);
        for key in recorded.into_inner().unwrap_or_else(PoisonError::into_inner) {
            unheard.remove(&key);
        }
        Ok(self.settle_unheard(session, recorder, unheard, Unheard::Kept, needed).await?)
    }

    /// Records that something is gone from the tree and still in the bucket.
    async fn keep(&self, session: &Session<'_>, record: Record) -> Result<(), StateError> {
        if session.is_uncertain(&record.key) {
            return self.settle_gone(session, record).await.map(|_| ());
        }
        // Where nobody knows when the object was put, only what was put tells whether it is still ours: that stays recorded.
        let is_dated = record.remote.as_ref().is_none_or(|remote| remote.last_modified.is_some());
        if record.local.is_none() || !is_dated {
            return Ok(());
        }
        session.record(Record { local: None, ..record }, Urgency::Later)
    }

    /// Finds out what has become of the object of a name that is gone, and that a run may have put without hearing of it.
    /// If there is one that is ours, it is what is recorded then.
    async fn settle_gone(&self, session: &Session<'_>, record: Record) -> Result<Settled, StateError> {
        let Ok(object_key) = self.options.prefix.object_key(&record.key) else { return Ok(Settled::Nothing) };
        match self.store.head(&object_key).await {
            Ok(meta) if self.is_ours(session, &record.key, &meta) || self.is_recorded(&record, &meta) => {
                let record = Record { local: None, remote: Some(remote_of(&meta)), ..record };
                session.record(record.clone(), Urgency::Later)?;
                session.is_certain(&record.key);
                Ok(Settled::Ours(record))
            }
            // Somebody else's; what was recorded is not there any more.
            Ok(_) if record.remote.is_none() => {
                session.remove(&record.key, Urgency::Later)?;
                Ok(Settled::Nothing)
            }
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                session.remove(&record.key, Urgency::Later)?;
                Ok(Settled::Nothing)
            }
            // Nobody knows yet; a later run looks again.
            Ok(_) => Ok(Settled::Nothing),
            Err(error) => Ok(Settled::Unknown(error)),
        }
    }

    /// What was intended for names that were not seen to be gone before, and are: if their objects were put after all, they are
    /// recorded now, so that the next run can delete them. A run over changes may be the last that comes by, and does so
    /// itself.
    async fn settle_unheard(
        &self,
        session: &Session<'_>,
        recorder: &mut Recorder<'_>,
        keys: BTreeSet<Key>,
        unheard: Unheard,
        needed: &Needed,
    ) -> Result<(), StateError> {
        for key in keys {
            if self.stop.leaves_out() {
                return Ok(());
            }
            if !self.options.selection.selects(key.as_str()) {
                continue;
            }
            let is_gone = match look(self.tree, key.as_str()).await {
                Look::Nothing => true,
                Look::Found(status) => (status.file_type == FileType::Directory) != key.is_directory(),
                // Of what is below something else than a directory there is nothing.
                Look::Failed(error) => error.kind() == TreeErrorKind::Conflict,
                Look::Skipped(_) => false,
            };
            if !is_gone {
                continue;
            }
            let is_last = self.among.is_some() && unheard == Unheard::Deleted;
            // One that is recorded may have gone only after it was looked at; it still owns the object that it was.
            let record = session.find(&key)?.unwrap_or(Record { key: key.clone(), local: None, remote: None });
            let record = match self.settle_gone(session, record).await? {
                Settled::Ours(record) if is_last => record,
                Settled::Ours(_) => {
                    recorder.gone();
                    continue;
                }
                Settled::Unknown(error) => {
                    recorder.end(Ended::new(&key, Outcome::Failed).because(&error, Chain(&error)));
                    continue;
                }
                Settled::Nothing => continue,
            };
            match self.delete_one(session, record, needed).await? {
                Deleted::Yes => recorder.deleted(),
                Deleted::No(ended) => recorder.end(ended),
                Deleted::Before => {}
            }
        }
        Ok(())
    }

    fn is_recorded(&self, record: &Record, meta: &ObjectMeta) -> bool {
        is_recorded(&self.options.profile, record.local.as_ref(), record.remote.as_ref(), Some(meta))
    }

    async fn delete_one(&self, session: &Session<'_>, record: Record, needed: &Needed) -> Result<Deleted, StateError> {
        let record = self.forget_names(session, record)?;
        let key = &record.key;
        let not = |outcome, cause: Cause, why: &dyn std::fmt::Display| {
            Deleted::No(Ended::new(key, outcome).because(cause, why))
        };
        let (Some(remote), Ok(object_key)) = (&record.remote, self.options.prefix.object_key(key)) else {
            return Ok(Deleted::Before);
        };
        if let Replace::No(why) = needed.deletes(key, Some(remote.size)) {
            self.keep(session, record.clone()).await?;
            return Ok(not(Outcome::Skipped, Cause::OnlyCopy, &why));
        }
        match look(self.tree, key.as_str()).await {
            Look::Nothing => {}
            Look::Found(status) if (status.file_type == FileType::Directory) != key.is_directory() => {}
            // What was a directory above is none any more, so nothing is in it.
            Look::Failed(error) if error.kind() == TreeErrorKind::Conflict => {}
            Look::Failed(error) => {
                self.keep(session, record.clone()).await?;
                return Ok(not(Outcome::Failed, (&error).into(), &Chain(&error)));
            }
            Look::Found(_) | Look::Skipped(_) => {
                return Ok(not(Outcome::Skipped, Cause::CameBack, &"it was gone from the tree and has come back"));
            }
        }
        let current = match self.store.head(&object_key).await {
            Ok(meta) => meta,
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                session.remove(key, Urgency::Later)?;
                return Ok(Deleted::Before);
            }
            Err(error) => {
                self.keep(session, record.clone()).await?;
                return Ok(not(Outcome::Failed, (&error).into(), &Chain(&error)));
            }
        };
        let ours = self.is_recorded(&record, &current) || self.is_ours(session, key, &current);
        if !ours && self.options.on_conflict != OnConflict::Local {
            self.keep(session, record.clone()).await?;
            return Ok(not(
                Outcome::Conflict,
                Cause::Conflict,
                &"gone from the tree, but the object has changed and is kept",
            ));
        }
        // So that a later run knows that it was this one who has deleted it.
        session.give_up(Record { local: None, remote: Some(remote_of(&current)), ..record.clone() }).await?;
        let precondition = match self.capabilities.preconditions {
            Support::Yes => Precondition::Match(current.etag),
            Support::No => Precondition::None,
        };
        match self.store.delete(&object_key, &precondition).await {
            Ok(()) => {
                session.remove(key, Urgency::Now)?;
                Ok(Deleted::Yes)
            }
            Err(error) if error.kind() == StoreErrorKind::PreconditionFailed && self.is_gone(&object_key).await => {
                session.remove(key, Urgency::Later)?;
                Ok(Deleted::Before)
            }
            Err(error) => {
                let outcome = match error.kind() {
                    StoreErrorKind::PreconditionFailed => Outcome::Conflict,
                    _ => Outcome::Failed,
                };
                Ok(not(outcome, (&error).into(), &Chain(&error)))
            }
        }
    }

    /// What was in a directory that is gone is forgotten before it is itself. Where a disk goes back to what it was, the
    /// directory is as it was recorded again, and what comes back with it has no record any more.
    fn forget_names(&self, session: &Session<'_>, mut record: Record) -> Result<Record, StateError> {
        if let Some(local) = record.local.as_mut().filter(|local| local.names == Names::Recorded)
            && !session.is_uncertain(&record.key)
        {
            local.names = Names::Unknown;
            session.record(record.clone(), Urgency::Later)?;
        }
        Ok(record)
    }

    /// Whether there is no object, after a request for it failed: somebody else, or a request of an earlier run or try
    /// that arrived late, has deleted it.
    async fn is_gone(&self, object_key: &str) -> bool {
        matches!(self.store.head(object_key).await, Err(error) if error.kind() == StoreErrorKind::NotFound)
    }
}

/// What is known of the object of a name that is gone.
enum Settled {
    Nothing,
    /// There is one that is ours, recorded so.
    Ours(Record),
    /// The store does not say.
    Unknown(StoreError),
}

/// What becomes of objects that were put without anybody hearing of it, and whose files are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unheard {
    Deleted,
    Kept,
}

enum Deleted {
    Yes,
    No(Ended),
    /// Somebody else has.
    Before,
}
