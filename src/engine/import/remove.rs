//! What is gone from the bucket: removed from the tree if it is as both sides agreed on, and if that is wanted.

use super::directory::Unmade;
use super::{Around, Done, Import, Missing, Removals, RunErrorKind, Turn, is_final, lock, tree_failure};
use crate::engine::cause::Cause;
use crate::engine::listing::{Listed, shadowed};
use crate::engine::report::{Ended, Outcome, Recorder};
use crate::engine::spool::Spool;
use crate::entry::Chain;
use crate::key::{InvalidKey, Key};
use crate::plan::{Deletes, OnConflict};
use crate::snapshot::{Edit, Record};
use crate::store::{ObjectStore, StoreErrorKind};
use crate::tree::{Found, Present, Tree, TreeErrorKind, TreeOp};
use std::sync::atomic::Ordering;

/// A file or link that waits for what stands in its place to be removed.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) key: Key,
    pub(super) listed: Listed,
    pub(super) around: Vec<Missing>,
}

const NOT_EMPTY: &str = "its object is gone; it stays, since it is not empty";

/// Nobody knows whether the object is gone, so it is not.
pub(super) fn not_seen_to_be_gone(key: &Key) -> Ended {
    let why = "it was not listed, but what was is not UTF-8 and may be it; it stays";
    Ended::new(key, Outcome::Skipped).because(Cause::NotUtf8, why)
}

/// What came of something that is gone from the bucket.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Removed {
    Yes,
    /// It was gone from the tree as well.
    Before,
    /// It is still there, and why.
    No(Ended, Option<Edit>),
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    /// Removes what was recorded and not listed, or says how much of it there is. A directory in which something waits for
    /// its place stays.
    pub(super) async fn remove_absent(
        &self,
        mut absent: Spool<Record>,
        late: &[Late],
        recorder: &mut Recorder<'_>,
    ) -> Result<(), RunErrorKind> {
        let Some(session) = self.session else { return Ok(()) };
        let checked = match self.options.deletes {
            Deletes::Never => None,
            Deletes::Apply(brake) => Some(brake.check(absent.len(), session.records().unwrap_or(0))),
        };
        if let Some(Err(braked)) = checked {
            recorder.braked(braked);
        }
        // From the end, so that a directory comes after what is in it.
        while let Some(record) = absent.pop()? {
            if self.stop.leaves_out() {
                return Ok(());
            }
            if self.may_be_unreadable(&record.key) {
                recorder.end(not_seen_to_be_gone(&record.key));
                continue;
            }
            if checked != Some(Ok(())) {
                recorder.gone();
                continue;
            }
            if late.iter().any(|late| record.key.holds(&late.key)) {
                recorder.end(Ended::new(&record.key, Outcome::Skipped).because(Cause::NotEmpty, NOT_EMPTY));
                continue;
            }
            match self.remove(&record).await {
                Removed::Yes => {
                    recorder.deleted();
                    self.agree(Some(Edit::Remove(record.key))).await?;
                }
                Removed::Before => self.agree(Some(Edit::Remove(record.key))).await?,
                Removed::No(ended, edit) => {
                    recorder.end(ended);
                    self.agree(edit).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes something if it is what both sides agreed on and its object is really gone.
    async fn remove(&self, record: &Record) -> Removed {
        let key = &record.key;
        let no = |outcome, cause: Cause, why: &str| Removed::No(Ended::new(key, outcome).because(cause, why), None);
        // Also of what is gone here: without its record, nobody would delete an object that is still there.
        if let Err(removed) = self.is_really_gone(record).await {
            return removed;
        }
        let found = match self.tree.lookup(key).await {
            Ok(Present::Nothing) => return Removed::Before,
            // Something else has the path by now; what was recorded is gone.
            Ok(Present::Entry(found)) if found.entry.key().is_directory() != key.is_directory() => {
                return Removed::Before;
            }
            Ok(Present::Entry(found)) => found,
            Ok(Present::Other) => return Removed::Before,
            // What was a directory above is none any more, so nothing is in it.
            Err(error) if error.kind() == TreeErrorKind::Conflict => return Removed::Before,
            Err(error) => return Removed::No(tree_failure(key, &error), None),
        };
        match self.is_untouched(record, &found).await {
            Ok(true) => {}
            Ok(false) if self.options.on_conflict == OnConflict::Store => {}
            Ok(false) if self.options.on_conflict == OnConflict::Fail => {
                return no(Outcome::Conflict, Cause::Conflict, "its object is gone, and it has changed; it stays");
            }
            Ok(false) => {
                let ended = Ended::new(key, Outcome::Skipped)
                    .because(Cause::Conflict, "its object is gone, and it has changed; the tree wins");
                let name_only = Record { key: key.clone(), local: None, remote: None };
                return Removed::No(ended, Some(Edit::Put(name_only)));
            }
            Err(ended) => return Removed::No(ended, None),
        }
        match self.tree.apply(&TreeOp::Remove { key: key.clone(), found: found.status() }).await {
            Ok(_) => Removed::Yes,
            Err(error) if error.kind() == TreeErrorKind::NotFound => Removed::Before,
            Err(error) if error.kind() == TreeErrorKind::Conflict && key.is_directory() => {
                no(Outcome::Skipped, Cause::NotEmpty, NOT_EMPTY)
            }
            Err(error) => Removed::No(tree_failure(key, &error), None),
        }
    }

    /// Absence from a listing is no proof; a head is.
    async fn is_really_gone(&self, record: &Record) -> Result<(), Removed> {
        let key = &record.key;
        let Ok(object_key) = self.options.prefix.object_key(key) else { return Err(Removed::Before) };
        match self.store.head(&object_key).await {
            Ok(_) => {
                let ended = Ended::new(key, Outcome::Skipped)
                    .because(Cause::CameBack, "it was not listed, but is in the bucket");
                Err(Removed::No(ended, None))
            }
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(Removed::No(Ended::new(key, Outcome::Failed).because(&error, Chain(&error)), None)),
        }
    }

    /// Whether something is as both sides agreed on. Of a directory the times do not matter.
    async fn is_untouched(&self, record: &Record, found: &Found) -> Result<bool, Ended> {
        if record.key.is_directory() {
            return Ok(record.local.as_ref().is_some_and(|local| !self.is_edited(local, &found.status())));
        }
        self.is_as_agreed(&record.key, record, found).await
    }

    /// Takes a listed key that is not UTF-8 for one that is refused.
    pub(super) fn unreadable(&self, key: &[u8], error: &InvalidKey) -> Ended {
        let text = key.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let mut common = lock(&self.unreadable);
        let shared: String = match &*common {
            Some(common) => common.chars().zip(text.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect(),
            None => text.to_owned(),
        };
        *common = Some(shared.into());
        Ended::new(key, Outcome::Skipped).because(error, error)
    }

    /// Whether a listed key that is not UTF-8 may be this one, as a server shows it that has mangled its text. A head of the
    /// key as it was would find nothing.
    pub(super) fn may_be_unreadable(&self, key: &Key) -> bool {
        lock(&self.unreadable).as_deref().is_some_and(|common| key.as_str().starts_with(common))
    }

    /// Removes a file whose object is gone and whose path is that of a directory now.
    pub(super) async fn make_way(&self, record: &Record) -> Done {
        if self.may_be_unreadable(&record.key) {
            return not_seen_to_be_gone(&record.key).into();
        }
        match self.remove(record).await {
            Removed::Yes => {
                Done { edit: Some(Edit::Remove(record.key.clone())), removed: Removals::One, ..Done::default() }
            }
            Removed::Before => Done { edit: Some(Edit::Remove(record.key.clone())), ..Done::default() },
            // What is to be made there says that something stands in the way.
            Removed::No(ended, edit) => Done { ended: Some(ended), edit, ..Done::default() },
        }
    }

    /// What was recorded of a file or link whose object is still there and gives way to a directory.
    pub(super) fn in_the_way<'l>(&self, by: &Key, listed: &'l Listed) -> Option<&'l Record> {
        let record = listed.record.as_ref().filter(|record| record.local.is_some() && record.remote.is_some());
        record.filter(|record| by.is_directory() && !record.key.is_directory() && self.takes.replacements())
    }

    /// A key that another one shadows. What an earlier run has made of it gives way to the directory, once that is made, if it
    /// is as it was made: the tree is that of the bucket, whichever object came first.
    pub(super) async fn shadow(&self, key: &Key, by: &Key, listed: &Listed, around: &mut Around) -> Done {
        match self.giving_way(by, listed).await {
            Ok(record) => around.giving_way.extend(record.cloned()),
            Err(failed) => return failed.into(),
        }
        Ended::new(key, Outcome::Skipped).because(Cause::Shadowed, shadowed(by)).into()
    }

    /// What was recorded of a file or link that is as it was made and gives way to a directory.
    pub(super) async fn giving_way<'l>(&self, by: &Key, listed: &'l Listed) -> Result<Option<&'l Record>, Ended> {
        let Some(record) = self.in_the_way(by, listed) else { return Ok(None) };
        Ok(self.untouched(record).await?.map(|_| record))
    }

    /// What stands at the path of a file or link that was recorded, if it is as it was made.
    async fn untouched(&self, record: &Record) -> Result<Option<Found>, Ended> {
        let key = &record.key;
        let found = match self.tree.lookup(key).await {
            Ok(Present::Entry(found)) if found.entry.key() == key => found,
            // What is to be made there says what stands in the way.
            Ok(_) => return Ok(None),
            Err(error) if is_final(&error) => return Ok(None),
            Err(error) => return Err(tree_failure(key, &error)),
        };
        Ok(self.is_untouched(record, &found).await?.then_some(found))
    }

    /// Removes a file or link in whose place a directory is about to be made, if it is still as it was made. If it is not,
    /// it stays and the directory cannot be made.
    pub(super) async fn give_way(&self, record: &Record) -> Result<(), Unmade> {
        let Err(failed) = self.remove_untouched(record).await else { return Ok(()) };
        match self.tree.lookup(&record.key).await {
            Ok(Present::Entry(found)) if !found.entry.key().is_directory() => Err(failed),
            // Something else below the directory was quicker.
            Ok(_) => Ok(()),
            Err(_) => Err(failed),
        }
    }

    async fn remove_untouched(&self, record: &Record) -> Result<(), Unmade> {
        let Some(found) = self.untouched(record).await.map_err(Unmade::Ended)? else { return Ok(()) };
        let key = record.key.clone();
        self.tree.apply(&TreeOp::Remove { key: key.clone(), found: found.status() }).await?;
        self.gave_way.fetch_add(1, Ordering::Relaxed);
        lock(&self.done).push(Edit::Remove(key));
        Ok(())
    }

    /// Tries again what had to wait for what was to be removed.
    pub(super) async fn try_late(&self, late: Late, listed: &Result<(), RunErrorKind>) -> Done {
        let Late { key, listed: object, around } = late;
        if listed.is_err() {
            return Ended::new(&key, Outcome::Conflict).because(Cause::KindMismatch, "a directory stands there").into();
        }
        self.file_or_link(&key, &object, &around, Turn::Last).await.unwrap_or_else(Done::from)
    }
}
