//! Directories: made before what is in them, finished after it.

use super::halfway::{is_being_filled, is_being_set};
use super::{
    Around, Done, Import, KEPT, Missing, below_unknown, decode, is_final, reasons_of, refused, replaces_something,
    store_failure, tree_failure, with_shortfalls,
};
use crate::engine::cause::Cause;
use crate::engine::listing::Listed;
use crate::engine::report::{Ended, Outcome, Reason, Recorder};
use crate::engine::selection::in_path;
use crate::engine::spool::{Deferred, Rule};
use crate::entry::{Entry, EntryKind};
use crate::key::Key;
use crate::metadata::Attributes;
use crate::mode::FileType;
use crate::plan::{Change, Existing, ImportStep, OnConflict, compare};
use crate::snapshot::{Edit, Local, Record, Remote};
use crate::status::Status;
use crate::store::{ObjectMeta, ObjectStore, StoreError};
use crate::timestamp::Timestamp;
use crate::tree::{Applied, Found, Present, Tree, TreeError, TreeErrorKind, TreeOp};

/// Why a directory was not made.
pub(super) enum Unmade {
    Tree(TreeError),
    /// What is in its place could not be looked at.
    Ended(Ended),
}

impl Unmade {
    /// How an entry ends for it.
    pub(super) fn ended(self, key: &Key) -> Ended {
        match self {
            Self::Tree(error) => tree_failure(key, &error),
            Self::Ended(ended) => Ended { reasons: ended.reasons, ..Ended::new(key, ended.outcome) },
        }
    }

    fn is_final(&self) -> bool {
        matches!(self, Self::Tree(error) if is_final(error))
    }
}

impl From<TreeError> for Unmade {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    /// The directory that stands at a path, if one does.
    pub(super) async fn standing_directory(&self, key: &Key) -> Result<Option<Found>, TreeError> {
        match self.tree.lookup(key).await? {
            Present::Entry(found) if *found.entry.kind() == EntryKind::Directory => Ok(Some(found)),
            Present::Nothing => Ok(None),
            Present::Entry(_) | Present::Other => {
                Err(TreeError::new("making", key.as_str().as_bytes(), TreeErrorKind::Conflict))
            }
        }
    }

    /// The directory that stands at a path; none where what stands there gives way to it.
    pub(super) async fn standing_or_replaceable(&self, key: &Key, around: &Around) -> Result<Option<Found>, TreeError> {
        let gives_way = |record: &Record| in_path(record.key.as_str(), key.as_str());
        match self.standing_directory(key).await {
            Err(error) if error.kind() == TreeErrorKind::Conflict && around.giving_way.iter().any(gives_way) => {
                Ok(None)
            }
            other => other,
        }
    }

    /// Makes a directory with its attributes; they are set once more at the end, when its times are left alone.
    ///
    /// Answers nothing when one has turned up there.
    async fn make_directory(&self, entry: &Entry) -> Result<Option<Status>, TreeError> {
        let op = TreeOp::CreateDirectory { key: entry.key().clone(), attributes: Some(*entry.attributes()) };
        Ok(self.tree.apply(&op).await?.made)
    }

    /// Makes the missing directories around an object that is accepted; until then nothing shows of it.
    pub(super) async fn make_around(&self, missing: &[Missing]) -> Result<Vec<Deferred>, Unmade> {
        let mut deferred = Vec::new();
        // Others may have made them by now. The deepest that stands tells of all above it.
        let mut first = missing.len();
        while let Some(Missing { entry, .. }) = first.checked_sub(1).and_then(|above| missing.get(above)) {
            match self.standing_directory(entry.key()).await {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(error)
                    if error.kind() == TreeErrorKind::Conflict
                        && missing.get(..first).is_some_and(replaces_something) => {}
                Err(error) => return Err(error.into()),
            }
            first = first.saturating_sub(1);
        }
        for Missing { entry, rule, remote, instead_of } in missing.iter().skip(first) {
            if let Some(record) = instead_of {
                self.give_way(record).await?;
            }
            if let Some(made) = self.make_directory(entry).await? {
                let made = Deferred::directory(entry.clone(), None, made.inode);
                deferred.push(Deferred { rule: *rule, remote: remote.clone(), ..made });
            }
        }
        Ok(deferred)
    }

    /// A directory without an object, or none that is accepted.
    pub(super) fn default_directory(&self, key: &Key, modified: Timestamp) -> Option<Missing> {
        let defaults = &self.options.profile.defaults;
        let attributes = Attributes {
            permissions: self.options.profile.permissions(FileType::Directory, defaults.directory),
            uid: defaults.uid,
            gid: defaults.gid,
            atime: modified,
            mtime: modified,
        };
        let entry = Entry::new(key.clone(), EntryKind::Directory, attributes).ok()?;
        Some(Missing { entry, rule: Rule::Implied, remote: None, instead_of: None })
    }

    /// A directory whose object is as it is recorded. It has nothing to be told; but what is put into it moves its times,
    /// and they are put back.
    pub(super) async fn known_directory(&self, key: Key, listed: &Listed, around: &mut Around) -> Done {
        if let Some(directory) = &around.unknown {
            return below_unknown(&key, directory).into();
        }
        match self.standing_or_replaceable(&key, around).await {
            Ok(Some(found)) => {
                let local = listed.record.as_ref().and_then(|record| record.local.as_ref());
                let untouched = local.is_some_and(|local| local.agrees(&found.status()));
                let remote = listed.record.as_ref().filter(|_| untouched).and_then(|record| record.remote.clone());
                let inode = found.fingerprint.inode;
                let deferred = Deferred::directory(found.entry, Some(Outcome::Unchanged), inode);
                Deferred { rule: Rule::Keep, remote, ..deferred }.into()
            }
            // It was removed here, which is no business of an import; unless something is put into it.
            Ok(None) => {
                self.make_when_needed(&key, listed, &self.store.head(&listed.object.key).await, around);
                Ended::new(&key, Outcome::Unchanged).into()
            }
            // Something else has taken its place here, which is no business of an import either. What is new below it finds
            // that out by itself, or finds the place free again.
            Err(error) if is_final(&error) => {
                self.make_when_needed(&key, listed, &self.store.head(&listed.object.key).await, around);
                match error.kind() {
                    TreeErrorKind::Conflict => Ended::new(&key, Outcome::Unchanged).into(),
                    _ => tree_failure(&key, &error).into(),
                }
            }
            Err(error) => {
                let ended = tree_failure(&key, &error);
                around.unknown = Some(key);
                ended.into()
            }
        }
    }

    /// Decides about a directory by its head, and makes it if it is not there.
    pub(super) async fn directory(
        &self,
        key: Key,
        listed: &Listed,
        head: Result<ObjectMeta, StoreError>,
        around: &mut Around,
    ) -> Done {
        if let Some(directory) = &around.unknown {
            return below_unknown(&key, directory).into();
        }
        let record = listed.record.as_ref();
        let before = self.standing_or_replaceable(&key, around).await;
        let as_recorded = listed.seems_as_recorded() || head.as_ref().is_ok_and(|meta| self.is_recorded(listed, meta));
        if as_recorded && self.is_another_since(record, &before) {
            // What has changed here alone is the business of an export.
            return self.known_directory(key, listed, around).await;
        }
        let before = match before {
            Ok(before) => before,
            Err(error) => {
                self.not_made(&key, is_final(&error), listed, &head, around);
                return tree_failure(&key, &error).into();
            }
        };
        let profile = &self.options.profile;
        let read = match &head {
            Ok(meta) => decode(&key, meta, profile, before.as_ref().map(|found| &found.entry))
                .and_then(|head| {
                    let reasons = reasons_of(&head);
                    Ok((head.into_entry(&key, b"", profile)?, reasons))
                })
                .map_err(|refusal| refused(&key, &refusal)),
            Err(error) => Err(store_failure(&key, error)),
        };
        let (entry, reasons) = match read {
            Ok(read) => read,
            Err(ended) => {
                let may_succeed_later = head.is_err() && ended.outcome == Outcome::Failed;
                if before.is_none() && may_succeed_later {
                    around.unknown = Some(key);
                } else if before.is_none() {
                    around.miss(self.default_directory(&key, listed.object.last_modified));
                }
                return ended.into();
            }
        };
        let remote = head.as_ref().ok().map(|meta| self.remote(meta, record, None)).filter(|_| self.session.is_some());
        match before {
            Some(found) => self.standing(entry, reasons, found, record, remote),
            None if was_here(record) && matches!(self.options.on_conflict, OnConflict::Fail | OnConflict::Local) => {
                self.removed_directory(entry, reasons, record, remote, around)
            }
            None => match self.new_directory(entry, reasons, remote, around).await {
                Ok(done) => done,
                Err(error) => {
                    self.not_made(&key, error.is_final(), listed, &head, around);
                    error.ended(&key).into()
                }
            },
        }
    }

    /// A directory that could not be looked at or made.
    fn not_made(
        &self,
        key: &Key,
        is_final: bool,
        listed: &Listed,
        head: &Result<ObjectMeta, StoreError>,
        around: &mut Around,
    ) {
        if is_final {
            // What stands in the way may be gone when something is put into it.
            self.make_when_needed(key, listed, head, around);
        } else {
            around.unknown = Some(key.clone());
        }
    }

    /// What is put into a directory that is not there makes it as its object says.
    fn make_when_needed(&self, key: &Key, listed: &Listed, head: &Result<ObjectMeta, StoreError>, around: &mut Around) {
        let Ok(meta) = head else {
            around.unknown = Some(key.clone());
            return;
        };
        let profile = &self.options.profile;
        let entry = decode(key, meta, profile, None).and_then(|head| head.into_entry(key, b"", profile));
        let remote = self.session.map(|_| self.remote(meta, listed.record.as_ref(), None));
        let missing = entry.ok().map(|entry| Missing { entry, rule: Rule::Object, remote, instead_of: None });
        let default = || self.default_directory(key, listed.object.last_modified);
        around.miss(missing.or_else(default));
    }

    async fn new_directory(
        &self,
        entry: Entry,
        reasons: Vec<Reason>,
        remote: Option<Remote>,
        around: &Around,
    ) -> Result<Done, Unmade> {
        let mut deferred = self.make_around(&around.missing).await?;
        if let Some(record) = around.gives_way_to(entry.key()) {
            self.give_way(record).await?;
        }
        let Some(made) = self.make_directory(&entry).await? else {
            return Err(TreeError::new("making", entry.key().as_str().as_bytes(), TreeErrorKind::Conflict).into());
        };
        let directory = Deferred::directory(entry, Some(Outcome::Written), made.inode);
        deferred.push(Deferred { reasons, remote, ..directory });
        Ok(Done { deferred, ..Done::default() })
    }

    /// A directory that was removed here while its object changed. It is made all the same if something is put into it.
    fn removed_directory(
        &self,
        entry: Entry,
        mut reasons: Vec<Reason>,
        record: Option<&Record>,
        remote: Option<Remote>,
        around: &mut Around,
    ) -> Done {
        let key = entry.key().clone();
        around.miss(Missing { entry, rule: Rule::Object, remote: remote.clone(), instead_of: None });
        let (outcome, then) = match self.options.on_conflict {
            OnConflict::Local => (Outcome::Skipped, "the tree wins"),
            _ => (Outcome::Conflict, "both sides keep what they have"),
        };
        reasons.push(Reason::new(
            Cause::Conflict,
            format!("it was removed from the tree, and its object has changed; {then}"),
        ));
        let yields = record.is_some() && outcome == Outcome::Skipped;
        let edit = yields.then(|| Edit::Put(Record { key: key.clone(), local: None, remote }));
        Done { ended: Some(Ended { reasons, ..Ended::new(&key, outcome) }), edit, ..Done::default() }
    }

    /// A directory that stands there already.
    fn standing(
        &self,
        entry: Entry,
        mut reasons: Vec<Reason>,
        found: Found,
        record: Option<&Record>,
        remote: Option<Remote>,
    ) -> Done {
        let comparable = self.comparable(&found.entry);
        let (now, inode) = (comparable.attributes(), found.fingerprint.inode);
        let (wanted, keep) = (entry.attributes(), self.options.existing == Existing::Keep);
        let differs = (now.permissions, now.uid, now.gid) != (wanted.permissions, wanted.uid, wanted.gid);
        let deferred = |entry, outcome| Deferred::directory(entry, Some(outcome), inode);
        let local = record.and_then(|record| record.local.as_ref());
        // Without a record nobody knows whose it is; with one, somebody may have changed it since.
        let is_edited = local.is_none_or(|local| self.is_edited(local, &found.status()));
        // Or it was this side, in a run that was cut short.
        let is_unfinished = match local {
            Some(local) => is_being_set(local, now, wanted),
            None => is_being_filled(now, wanted),
        };
        if differs && self.session.is_some() && is_edited && !is_unfinished {
            let (outcome, then) = match self.options.on_conflict {
                OnConflict::Store => (Outcome::MetadataOnly, ""),
                OnConflict::Newest if now.mtime < wanted.mtime => (Outcome::MetadataOnly, ""),
                OnConflict::Fail => (Outcome::Conflict, "both sides keep what they have"),
                OnConflict::Local | OnConflict::Newest | OnConflict::KeepBoth => (Outcome::Skipped, "the tree wins"),
            };
            if outcome != Outcome::MetadataOnly {
                let reason = format!("its attributes have changed on both sides; {then}");
                reasons.push(Reason::new(Cause::Conflict, reason));
                let yields =
                    (outcome == Outcome::Skipped).then(|| Record { key: entry.key().clone(), local: None, remote });
                let edit = yields.map(Edit::Put);
                let deferred = Deferred { reasons, rule: Rule::Keep, ..deferred(found.entry, outcome) };
                return Done { deferred: vec![deferred], edit, ..Done::default() };
            }
        }
        let step = compare(FileType::Directory, 0, wanted, Some(&comparable));
        let deferred = match step {
            // What is kept keeps its times too, whatever is put into it.
            _ if keep && differs => Deferred {
                reasons: vec![Reason::new(Cause::Kept, KEPT)],
                rule: Rule::Keep,
                ..deferred(found.entry, Outcome::Conflict)
            },
            _ if keep => Deferred { reasons, rule: Rule::Keep, ..deferred(found.entry, Outcome::Unchanged) },
            ImportStep::Nothing => Deferred { reasons, remote, ..deferred(found.entry, Outcome::Unchanged) },
            _ => Deferred { reasons, remote, ..deferred(entry, Outcome::MetadataOnly) },
        };
        deferred.into()
    }

    /// A directory as it is compared with its object. With a state it is as an export would store it: a bit that the profile
    /// drops is no difference. Without one it is to become what the object says.
    pub(super) fn comparable(&self, directory: &Entry) -> Entry {
        match self.session {
            Some(_) => directory.clone().normalized(&self.options.profile),
            None => directory.clone(),
        }
    }

    /// Whether somebody has removed or changed a directory here, or put something in its place.
    pub(super) fn is_another_since(&self, record: Option<&Record>, found: &Result<Option<Found>, TreeError>) -> bool {
        let local = record.and_then(|record| record.local.as_ref());
        match found {
            Ok(Some(found)) => local.is_none_or(|local| self.is_edited(local, &found.status())),
            Ok(None) => true,
            Err(error) => error.kind() == TreeErrorKind::Conflict,
        }
    }

    /// Whether somebody has changed a directory here. That names were made or removed in it moves its mtime and is no such
    /// change.
    pub(super) fn is_edited(&self, local: &Local, now: &Status) -> bool {
        match Change::of(local, now, &self.options.profile) {
            Change::Same { attributes, .. } => {
                attributes.permissions.is_some() || attributes.uid.is_some() || attributes.gid.is_some()
            }
            _ => true,
        }
    }

    /// Gives a directory its attributes, when everything below it is done. Answers what both sides agree on.
    pub(super) async fn directory_attributes(&self, deferred: Deferred, recorder: &mut Recorder<'_>) -> Option<Edit> {
        let Deferred { entry, outcome, reasons, inode, remote, rule, .. } = deferred;
        let key = entry.key().clone();
        match (self.finish_directory(entry, outcome, inode, rule).await, outcome) {
            (Ok((applied, outcome, status)), Some(_)) => {
                let ended = Ended { reasons, ..Ended::new(&key, outcome) };
                recorder.end(with_shortfalls(ended, &applied));
                // One that is kept and was not touched is recorded as it is already.
                let is_news = rule == Rule::Object || applied.made.is_some();
                let remote = remote.filter(|_| is_news)?;
                Some(Edit::Put(Record { key, local: Some(self.local(&status)), remote: Some(remote) }))
            }
            // It is no entry, but what could not be applied is said.
            (Ok((applied, outcome, status)), None) => {
                applied.shortfalls.iter().for_each(|shortfall| recorder.remark(&key, outcome, shortfall, shortfall));
                let is_agreed = rule == Rule::Implied || remote.is_some();
                is_agreed.then(|| Edit::Put(Record { key, local: Some(self.local(&status)), remote }))
            }
            (Err(error), _) => {
                let failure = tree_failure(&key, &error);
                let reasons = reasons.into_iter().chain(failure.reasons).collect();
                recorder.end(Ended { reasons, ..Ended::new(&key, failure.outcome) });
                None
            }
        }
    }

    /// Answers what was applied, how the directory has ended, and what it is now.
    async fn finish_directory(
        &self,
        entry: Entry,
        outcome: Option<Outcome>,
        inode: u64,
        rule: Rule,
    ) -> Result<(Applied, Outcome, Status), TreeError> {
        let changed = || TreeError::new("finishing", entry.key().as_str().as_bytes(), TreeErrorKind::Changed);
        let found = match self.standing_directory(entry.key()).await? {
            Some(found) if found.fingerprint.inode == inode => found,
            _ => return Err(changed()),
        };
        let now = found.entry.attributes();
        let mut entry = entry.clone();
        let mut outcome = outcome.unwrap_or(Outcome::Written);
        if rule == Rule::Keep || outcome == Outcome::Unchanged {
            // One that agreed before, or is kept, is touched if what was put into it has moved its times. What somebody
            // else has done to it meanwhile is kept or, where the object rules, undone and said to be so.
            if rule == Rule::Keep {
                let Attributes { atime, mtime, .. } = *entry.attributes();
                let key = entry.key().clone();
                let times_only = Attributes { atime, mtime, ..*now };
                entry = Entry::new(key, EntryKind::Directory, times_only).map_err(|_| changed())?;
            }
            let wanted = entry.attributes();
            if compare(FileType::Directory, 0, wanted, Some(&found.entry)) == ImportStep::Nothing {
                return Ok((Applied::default(), outcome, found.status()));
            }
            if (now.permissions, now.uid, now.gid) != (wanted.permissions, wanted.uid, wanted.gid) {
                outcome = Outcome::MetadataOnly;
            }
        }
        let applied = self.tree.apply(&TreeOp::SetAttributes { entry, found: found.fingerprint }).await?;
        let status = applied.made.unwrap_or_else(|| found.status());
        Ok((applied, outcome, status))
    }
}

/// Whether a name was in the tree when both sides last agreed.
fn was_here(record: Option<&Record>) -> bool {
    // An export that has seen it gone and deleted nothing has kept what was agreed on of the object alone.
    record.is_some_and(|record| record.remote.is_some())
}
