//! What is gone from the bucket: removed from the tree if it is as both sides agreed on, and if that is wanted.

use super::directory::Unmade;
use super::{Around, Done, Import, Removals, RunErrorKind, Turn, is_final, lock, tree_failure};
use crate::engine::bytes::{put_bytes, put_time, take, take_bytes, take_time};
use crate::engine::cause::Cause;
use crate::engine::journal::{put_record, take_record};
use crate::engine::listing::{Listed, Use, shadowed};
use crate::engine::report::{Ended, Outcome, Recorder};
use crate::engine::spool::{Spool, Spooled};
use crate::entry::Chain;
use crate::etag::ETag;
use crate::key::{InvalidKey, Key};
use crate::plan::{Deletes, OnConflict};
use crate::snapshot::{Edit, Record};
use crate::store::{ListedObject, ObjectStore, StoreErrorKind};
use crate::tree::{Found, Present, Tree, TreeErrorKind, TreeOp};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// A file or link that waits for what stands in its place to be removed.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) key: Key,
    pub(super) listed: Listed,
}

impl Spooled for Late {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { key, listed: Listed { object, record, .. } } = self;
        put_bytes(key.as_str().as_bytes(), out);
        put_bytes(object.key.as_bytes(), out);
        out.extend_from_slice(&object.size.to_le_bytes());
        put_time(object.last_modified, out);
        put_bytes(object.etag.as_str().as_bytes(), out);
        out.push(u8::from(record.is_some()));
        record.iter().for_each(|record| put_record(record, out));
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let key = Key::from_bytes(take_bytes(rest)?).ok()?;
        let text = |bytes: &[u8]| Some(str::from_utf8(bytes).ok()?.to_owned());
        let object = ListedObject {
            key: text(take_bytes(rest)?)?,
            size: u64::from_le_bytes(take(rest)?),
            last_modified: take_time(rest)?,
            etag: ETag::new(&text(take_bytes(rest)?)?),
        };
        let record = match take(rest)? {
            [0] => None,
            _ => Some(take_record(rest)?),
        };
        Some(Self { key, listed: Listed { object, record, use_for: Use::Import } })
    }
}

/// The directories in which something waits for its place.
#[derive(Default)]
pub(super) struct Waiting(BTreeSet<Key>);

impl Waiting {
    pub(super) fn add(&mut self, key: &Key) {
        // Most are in a directory with others.
        if let Some(directory) = key.parent().filter(|directory| !self.0.contains(directory)) {
            self.0.insert(directory);
        }
    }

    /// Whether something waits at any depth of a directory.
    fn is_in(&self, directory: &Key) -> bool {
        let next = self.0.range(directory..).next();
        directory.is_directory() && next.is_some_and(|next| next.as_str().starts_with(directory.as_str()))
    }
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
        waiting: &Waiting,
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
            if waiting.is_in(&record.key) {
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
        let Late { key, listed: object } = late;
        if listed.is_err() {
            return Ended::new(&key, Outcome::Conflict).because(Cause::KindMismatch, "a directory stands there").into();
        }
        // A directory stood at its path, so those around it are there.
        self.file_or_link(&key, &object, &[], Turn::Last).await.unwrap_or_else(Done::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn what_waits_is_kept_outside_of_memory_and_found_by_the_directories_around_it() {
        let (mut late, mut waiting) = (Spool::new(), Waiting::default());
        for at in 0..50_000 {
            let key: Key = format!("a/b{}/{at}", at % 7).parse().unwrap();
            let (name, etag) = (format!("prefix/{key}"), ETag::new("\"e\""));
            let object = ListedObject { key: name, size: at, last_modified: Timestamp::EPOCH, etag };
            let record = (at % 2 == 0).then(|| Record { key: key.clone(), local: None, remote: None });
            waiting.add(&key);
            late.push(&Late { key, listed: Listed { object, record, use_for: Use::Import } }).unwrap();
        }
        assert_eq!(waiting.0.len(), 7);
        for (directory, is_in) in [("a/", true), ("a/b3/", true), ("a/b7/", false), ("a/b/", false), ("a/b3/3", false)]
        {
            assert_eq!(waiting.is_in(&directory.parse().unwrap()), is_in, "{directory}");
        }
        let mut at = 0;
        for number in 0..50_000 {
            let Late { key, listed } = late.next(&mut at).unwrap().unwrap();
            assert_eq!((listed.object.key, listed.object.size), (format!("prefix/{key}"), number));
            assert_eq!(listed.record.map(|record| record.key), (number % 2 == 0).then_some(key));
        }
        assert!(late.next(&mut at).unwrap().is_none());
    }
}
