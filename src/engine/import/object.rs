//! Files and links: what is decided about them, and how it is done.

use super::halfway::is_being_set;
use super::{
    Done, Fetch, Import, KEPT, Late, Missing, Turn, decode, link_body, reasons_of, refused, replaces_something,
    store_failure, tree_failure, with_shortfalls,
};
use crate::engine::agreed::{is_ours, mtime_of};
use crate::engine::cause::Cause;
use crate::engine::contents::{Unsent, WRITTEN};
use crate::engine::digest::{Running, recorded};
use crate::engine::listing::Listed;
use crate::engine::placeholder::ARCHIVED;
use crate::engine::report::{Ended, Outcome, Reason};
use crate::engine::spool::{Deferred, Rule};
use crate::entry::{Chain, DecodedHead, Entry, EntryKind};
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{Change, Existing, ImportStep, MetadataChange, OnConflict, Step, compare, step};
use crate::released::Released;
use crate::snapshot::{Edit, Record, Remote};
use crate::store::{GetOptions, GetOutput, ObjectMeta, ObjectStore, StoreError, StoreErrorKind, Support};
use crate::timestamp::Timestamp;
use crate::tree::{Found, Present, Residence, Standing, Tree, TreeError, TreeErrorKind, TreeOp};
use futures_util::StreamExt;

/// How often a file is decided about whose inode changes while its object is fetched.
const ATTEMPTS: u32 = 3;

/// What is done about a file or link.
pub(super) enum Decision {
    /// Both sides hold the same.
    Agree { found: Found, meta: ObjectMeta, reasons: Vec<Reason> },
    /// The bytes are there, and the attributes are others.
    SetAttributes { found: Found, meta: ObjectMeta, head: DecodedHead },
    /// The object takes the place of what is there.
    Fetch { present: Present, why: Why },
    /// What is there gets another name first.
    FetchBeside { found: Found },
    /// The tree wins: what it holds is to be exported over this object.
    Yield { remote: Remote, ended: Ended },
    /// A directory stands there, which may be gone when everything that is to be deleted is.
    Late,
}

/// Why an object is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    New,
    Changed,
    /// It has changed on both sides, and the object wins.
    Wins,
}

/// What has become of a name in the tree since both sides agreed.
enum Here {
    /// Nothing is there, nor was.
    Nothing,
    /// It is as it was.
    Untouched(Found),
    /// It has changed, or nothing was agreed on.
    Edited,
    /// It was there and is not any more.
    Removed,
}

/// Whether something is as both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agrees {
    Yes,
    No,
    /// It changed while it was looked at.
    Unstable,
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    pub(super) async fn file_or_link(
        &self,
        key: &Key,
        listed: &Listed,
        around: &[Missing],
        turn: Turn,
    ) -> Result<Done, Ended> {
        let (mut tries, mut made) = (ATTEMPTS, Vec::new());
        loop {
            let decision = self.decide(key, listed, replaces_something(around), turn).await?;
            // Another name of the file may be replaced at the same time, which changes the inode that both name.
            let is_shared = matches!(&decision, Decision::Fetch { present: Present::Entry(found), .. } if found.fingerprint.links > 1);
            let mut done = self.carry_out(key, listed, around, decision).await?;
            tries = tries.saturating_sub(1);
            let is_stale = done.ended.as_ref().is_some_and(|ended| ended.outcome == Outcome::Conflict);
            let again = is_shared && is_stale && self.session.is_some() && tries > 0;
            // Directories that were made for it.
            made.append(&mut done.deferred);
            if !again {
                done.deferred = made;
                return Ok(done);
            }
        }
    }

    async fn carry_out(
        &self,
        key: &Key,
        listed: &Listed,
        around: &[Missing],
        decision: Decision,
    ) -> Result<Done, Ended> {
        match decision {
            Decision::Late => {
                let late = Late { key: key.clone(), listed: listed.clone() };
                Ok(Done { late: Some(late), ..Done::default() })
            }
            Decision::Agree { found, meta, reasons } => {
                let edit = self.record(key, listed, &found.status(), &meta, None);
                let ended = Ended { reasons, ..Ended::new(key, Outcome::Unchanged) };
                Ok(Done { ended: Some(ended), edit, ..Done::default() })
            }
            Decision::Yield { remote, ended } => {
                // Whatever the tree holds by then is exported.
                let edit = Edit::Put(Record { key: key.clone(), local: None, remote: Some(remote) });
                Ok(Done { ended: Some(ended), edit: Some(edit), ..Done::default() })
            }
            Decision::SetAttributes { found, meta, head } => {
                match self.set_attributes(key, listed, &found, &meta, &head).await? {
                    Some(done) => Ok(done),
                    None => self.renew(key, listed, found, meta, head, around).await,
                }
            }
            Decision::Fetch { present, .. } => self.fetch(key, listed, present, around).await,
            Decision::FetchBeside { found } => {
                let to = beside(key, &found).ok_or_else(|| {
                    Ended::new(key, Outcome::Conflict)
                        .because(Cause::Conflict, "both sides have changed, and there is no room for a second name")
                })?;
                self.fetch_beside(key, listed, &found, to, around).await
            }
        }
    }

    /// Gives what is there another name, and fetches the object in its place. If that cannot be had, it gets its name back.
    async fn fetch_beside(
        &self,
        key: &Key,
        listed: &Listed,
        found: &Found,
        to: Key,
        around: &[Missing],
    ) -> Result<Done, Ended> {
        let op = TreeOp::Rename { key: key.clone(), to: to.clone(), found: found.status() };
        self.tree.apply(&op).await.map_err(|error| tree_failure(key, &error))?;
        let mut done = self.fetch(key, listed, Present::Nothing, around).await.unwrap_or_else(Done::from);
        let is_there =
            done.ended.as_ref().is_none_or(|ended| matches!(ended.outcome, Outcome::Written | Outcome::MetadataOnly));
        let kept = match is_there {
            true => format!("both sides have changed; the file is kept as \"{to}\""),
            false => match self.rename_back(key, &to).await {
                Ok(()) => return Ok(done),
                Err(error) => format!("the file is kept as \"{to}\", since renaming it back failed: {}", Chain(&error)),
            },
        };
        let deferred = done.deferred.last_mut().map(|deferred| &mut deferred.reasons);
        match (&mut done.ended, deferred) {
            (Some(ended), _) => ended.reasons.push(Reason::new(Cause::Conflict, kept)),
            (None, Some(reasons)) => reasons.push(Reason::new(Cause::Conflict, kept)),
            (None, None) => {}
        }
        Ok(done)
    }

    async fn rename_back(&self, key: &Key, from: &Key) -> Result<(), TreeError> {
        let Present::Entry(found) = self.tree.lookup(from).await? else {
            return Err(TreeError::new("renaming", from.as_str().as_bytes(), TreeErrorKind::Changed));
        };
        let op = TreeOp::Rename { key: from.clone(), to: key.clone(), found: found.status() };
        self.tree.apply(&op).await.map(drop)
    }

    /// Decides what is to be done about a file or link whose object is not listed as it is recorded. Something around it may
    /// give way to a directory, if there is a need for that.
    pub(super) async fn decide(
        &self,
        key: &Key,
        listed: &Listed,
        gives_way: bool,
        turn: Turn,
    ) -> Result<Decision, Ended> {
        let present = match self.tree.lookup(key).await {
            Ok(present) => present,
            // What was a directory above is none any more: only this side has changed.
            Err(error)
                if error.kind() == TreeErrorKind::Conflict && self.has_object_as_recorded(key, listed).await? =>
            {
                return Err(Ended::new(key, Outcome::Unchanged));
            }
            Err(error) if error.kind() == TreeErrorKind::Conflict && gives_way => Present::Nothing,
            Err(error) => return Err(tree_failure(key, &error)),
        };
        if present.entry().is_some_and(|current| *current.kind() == EntryKind::Directory) {
            if self.has_object_as_recorded(key, listed).await? {
                return Err(Ended::new(key, Outcome::Unchanged));
            }
            if self.session.is_some() && turn == Turn::First {
                return Ok(Decision::Late);
            }
            return Err(Ended::new(key, Outcome::Conflict).because(Cause::KindMismatch, "a directory stands there"));
        }
        if self.session.is_none() {
            return self.decide_by_the_tree(key, listed, present).await;
        }
        let record = listed.record.as_ref();
        if let Some(session) = self.session.filter(|session| session.is_uncertain(key)) {
            let (meta, head) = self.look_at_object(key, listed, present.entry()).await?;
            if is_ours(session, &self.options.profile, key, &meta) {
                return match present {
                    Present::Entry(found) if self.is_same(key, &found, &meta, &head).await? => {
                        Ok(Decision::Agree { found, meta, reasons: reasons_of(&head) })
                    }
                    // What the tree had when an export was cut is not news from the bucket. The next export sees to it.
                    _ => Err(Ended::new(key, Outcome::Unchanged)),
                };
            }
        }
        match self.here(key, record, &present).await? {
            Here::Nothing => Ok(Decision::Fetch { present, why: Why::New }),
            Here::Untouched(found) => {
                let recorded = record.and_then(|record| record.remote.as_ref());
                let same_bytes = recorded
                    .is_some_and(|remote| (&remote.etag, remote.size) == (&listed.object.etag, listed.object.size));
                if same_bytes {
                    return self.decide_attributes(key, listed, found).await;
                }
                Ok(Decision::Fetch { present: Present::Entry(found), why: Why::Changed })
            }
            // Only this side has changed.
            Here::Edited | Here::Removed if self.has_object_as_recorded(key, listed).await? => {
                Err(Ended::new(key, Outcome::Unchanged))
            }
            Here::Edited => self.decide_conflict(key, listed, present).await,
            Here::Removed => self.decide_removed(key, listed).await,
        }
    }

    /// Whether the object is the one that is recorded, as far as can be told. It is looked at where only its time is missing.
    async fn has_object_as_recorded(&self, key: &Key, listed: &Listed) -> Result<bool, Ended> {
        if !listed.may_be_as_recorded() {
            return Ok(listed.seems_as_recorded());
        }
        let meta = self.store.head(&listed.object.key).await.map_err(|error| store_failure(key, &error))?;
        Ok(self.is_recorded(listed, &meta))
    }

    /// Without a record: the size and mtime of what is there tell whether it is the object already.
    async fn decide_by_the_tree(&self, key: &Key, listed: &Listed, present: Present) -> Result<Decision, Ended> {
        let replaces = self.options.existing == Existing::Replace;
        if let Present::Entry(found) = &present
            && found.entry.object_size() == listed.object.size
        {
            let (meta, head) = self.look_at_object(key, listed, Some(&found.entry)).await?;
            match compare(head.file_type, meta.size, &head.attributes, Some(&found.entry)) {
                // The same times say nothing about a placeholder of another version.
                ImportStep::Nothing if self.stands_for_another(key, found, &meta).await? => {}
                ImportStep::Nothing => {
                    return Ok(Decision::Agree { found: found.clone(), meta, reasons: reasons_of(&head) });
                }
                ImportStep::SetAttributes if replaces && head.file_type == FileType::File => {
                    return Ok(Decision::SetAttributes { found: found.clone(), meta, head });
                }
                ImportStep::SetAttributes | ImportStep::Write => {}
            }
        }
        match present {
            Present::Nothing => Ok(Decision::Fetch { present, why: Why::New }),
            Present::Entry(_) | Present::Other if replaces => Ok(Decision::Fetch { present, why: Why::Changed }),
            Present::Entry(_) | Present::Other => Err(Ended::new(key, Outcome::Conflict).because(Cause::Kept, KEPT)),
        }
    }

    /// The bytes of the object are those that the file or link holds.
    async fn decide_attributes(&self, key: &Key, listed: &Listed, found: Found) -> Result<Decision, Ended> {
        let (meta, head) = self.look_at_object(key, listed, Some(&found.entry)).await?;
        if meta.etag != listed.object.etag || head.file_type != found.entry.file_type() {
            return Ok(Decision::Fetch { present: Present::Entry(found), why: Why::Changed });
        }
        // As an export would store it: a bit that the profile drops is no difference.
        let stored = found.entry.clone().normalized(&self.options.profile);
        let (now, wanted) = (stored.attributes(), &head.attributes);
        let is_link = head.file_type == FileType::Symlink;
        // The permissions of links mean nothing, and a file system need not keep them.
        let same = (is_link || now.permissions == wanted.permissions)
            && (now.uid, now.gid, now.mtime) == (wanted.uid, wanted.gid, wanted.mtime);
        if same {
            return Ok(Decision::Agree { found, meta, reasons: reasons_of(&head) });
        }
        if is_link {
            return Ok(Decision::Fetch { present: Present::Entry(found), why: Why::Changed });
        }
        Ok(Decision::SetAttributes { found, meta, head })
    }

    /// Both sides have changed, or nothing was agreed on.
    async fn decide_conflict(&self, key: &Key, listed: &Listed, present: Present) -> Result<Decision, Ended> {
        let conflict = |then: &str| {
            let reason = format!("it has changed on both sides; {then}");
            Ended::new(key, Outcome::Conflict).because(Cause::Conflict, reason)
        };
        let Present::Entry(found) = present else {
            return match self.options.on_conflict {
                OnConflict::Store => Ok(Decision::Fetch { present, why: Why::Wins }),
                _ => Err(Ended::new(key, Outcome::Conflict)
                    .because(Cause::Kept, "something stands there that has no object")),
            };
        };
        let (meta, head) = self.look_at_object(key, listed, Some(&found.entry)).await?;
        if self.is_same(key, &found, &meta, &head).await? {
            return Ok(Decision::Agree { found, meta, reasons: reasons_of(&head) });
        }
        if self.is_unfinished(listed, &found, &meta, &head).await {
            return Ok(Decision::SetAttributes { found, meta, head });
        }
        let remote = || self.remote(&meta, listed.record.as_ref(), None);
        let yields = |then: &str| {
            let ended = Ended::new(key, Outcome::Skipped)
                .because(Cause::Conflict, format!("it has changed on both sides; {then}"));
            Ok(Decision::Yield { remote: remote(), ended })
        };
        match self.options.on_conflict {
            OnConflict::Fail => Err(conflict("both sides keep what they have")),
            OnConflict::Local => yields("the tree wins"),
            OnConflict::Newest if found.entry.attributes().mtime >= mtime_of(&meta) => yields("the tree's is newer"),
            OnConflict::Store | OnConflict::Newest => {
                Ok(Decision::Fetch { present: Present::Entry(found), why: Why::Wins })
            }
            OnConflict::KeepBoth => match self.released(key, &found).await? {
                // There is nothing here to be kept: what it stands for is what the object was.
                Some(released) if released.key == *key => {
                    Ok(Decision::Fetch { present: Present::Entry(found), why: Why::Wins })
                }
                // It was renamed, and stands for the only copy of what it was.
                _ => Ok(Decision::FetchBeside { found }),
            },
        }
    }

    /// Whether a run that was cut short has begun to give a file the attributes of its object, and nobody has done anything
    /// else to it.
    async fn is_unfinished(&self, listed: &Listed, found: &Found, meta: &ObjectMeta, head: &DecodedHead) -> bool {
        let Some(Record { local: Some(old), remote: Some(agreed), .. }) = &listed.record else { return false };
        // Only where the bytes are those agreed on does a run set attributes alone.
        if (&agreed.etag, agreed.size) != (&meta.etag, meta.size) {
            return false;
        }
        let (now, wanted) = (found.entry.attributes(), &head.attributes);
        let is_file = found.entry.file_type() == FileType::File && head.file_type == FileType::File;
        let may_be = is_file && found.entry.object_size() == old.size && [old.mtime, wanted.mtime].contains(&now.mtime);
        if !may_be || !is_being_set(old, now, wanted) {
            return false;
        }
        let subject = self.contents.subject(found);
        matches!(self.contents.is_body_of(&subject, meta, self.store.capabilities().md5_etags).await, Ok(true))
    }

    /// It was removed here, and the object has changed.
    async fn decide_removed(&self, key: &Key, listed: &Listed) -> Result<Decision, Ended> {
        let reason = |then: &str| format!("it was removed from the tree, and its object has changed; {then}");
        match self.options.on_conflict {
            OnConflict::Fail => {
                Err(Ended::new(key, Outcome::Conflict)
                    .because(Cause::Conflict, reason("both sides keep what they have")))
            }
            OnConflict::Local => {
                let meta = self.store.head(&listed.object.key).await.map_err(|error| store_failure(key, &error))?;
                let remote = self.remote(&meta, listed.record.as_ref(), None);
                let ended = Ended::new(key, Outcome::Skipped).because(Cause::Conflict, reason("the tree wins"));
                Ok(Decision::Yield { remote, ended })
            }
            OnConflict::Store | OnConflict::Newest | OnConflict::KeepBoth => {
                Ok(Decision::Fetch { present: Present::Nothing, why: Why::Wins })
            }
        }
    }

    /// What has become of a name here.
    async fn here(&self, key: &Key, record: Option<&Record>, present: &Present) -> Result<Here, Ended> {
        match (present, record) {
            (Present::Nothing, Some(Record { remote: Some(_), .. })) => Ok(Here::Removed),
            (Present::Nothing, _) => Ok(Here::Nothing),
            (Present::Entry(found), Some(record)) => {
                let mut found = found.clone();
                for _ in 0..ATTEMPTS {
                    match self.agrees(key, record, &found).await? {
                        Agrees::Yes => return Ok(Here::Untouched(found)),
                        Agrees::No => break,
                        // Another name of it may have been replaced; it is looked at anew.
                        Agrees::Unstable => match self.tree.lookup(key).await {
                            Ok(Present::Entry(now)) => found = now,
                            Ok(Present::Nothing | Present::Other) => break,
                            Err(error) => return Err(tree_failure(key, &error)),
                        },
                    }
                }
                Ok(Here::Edited)
            }
            (Present::Entry(_) | Present::Other, _) => Ok(Here::Edited),
        }
    }

    /// Whether a file or link is as both sides agreed on.
    pub(super) async fn is_as_agreed(&self, key: &Key, record: &Record, found: &Found) -> Result<bool, Ended> {
        Ok(self.agrees(key, record, found).await? == Agrees::Yes)
    }

    async fn agrees(&self, key: &Key, record: &Record, found: &Found) -> Result<Agrees, Ended> {
        let (Some(local), Some(remote)) = (&record.local, &record.remote) else { return Ok(Agrees::No) };
        let change = |status: &_| Change::of(local, status, &self.options.profile);
        let metadata = MetadataChange::InPlace;
        match self.contents.open(key, found.status(), change, metadata, Some(remote)).await {
            Ok((_, change)) if step(&change, metadata) == Step::Nothing => Ok(Agrees::Yes),
            Ok(_) => Ok(Agrees::No),
            Err(Unsent::Changed) => Ok(Agrees::Unstable),
            Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => Err(ended),
        }
    }

    /// Whether a file or link holds what the object says: kind, size, attributes, and content as far as the `ETag` tells.
    async fn is_same(&self, key: &Key, found: &Found, meta: &ObjectMeta, head: &DecodedHead) -> Result<bool, Ended> {
        // As an export would store it: a bit that the profile drops is no difference.
        let stored = found.entry.clone().normalized(&self.options.profile);
        if compare(head.file_type, meta.size, &head.attributes, Some(&stored)) != ImportStep::Nothing {
            return Ok(false);
        }
        let subject = self.contents.subject(found);
        match self.contents.is_body_of(&subject, meta, self.store.capabilities().md5_etags).await {
            Ok(same) => Ok(same),
            Err(Unsent::Changed) => Ok(false),
            Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => {
                Err(Ended { reasons: ended.reasons, ..Ended::new(key, ended.outcome) })
            }
        }
    }

    async fn look_at_object(
        &self,
        key: &Key,
        listed: &Listed,
        current: Option<&Entry>,
    ) -> Result<(ObjectMeta, DecodedHead), Ended> {
        let meta = self.store.head(&listed.object.key).await.map_err(|error| store_failure(key, &error))?;
        let head = decode(key, &meta, &self.options.profile, current).map_err(|refusal| refused(key, &refusal))?;
        Ok((meta, head))
    }

    /// What both sides agree on from now on; nothing without a state.
    fn record(
        &self,
        key: &Key,
        listed: &Listed,
        status: &crate::status::Status,
        meta: &ObjectMeta,
        digest: Option<[u8; 16]>,
    ) -> Option<Edit> {
        self.session?;
        let remote = self.remote(meta, listed.record.as_ref(), digest);
        Some(Edit::Put(Record { key: key.clone(), local: Some(self.local(status)), remote: Some(remote) }))
    }

    /// Sets the attributes of a file whose bytes are right; `None` when that takes a new inode.
    async fn set_attributes(
        &self,
        key: &Key,
        listed: &Listed,
        found: &Found,
        meta: &ObjectMeta,
        head: &DecodedHead,
    ) -> Result<Option<Done>, Ended> {
        let reasons = reasons_of(head);
        let entry = head.clone().into_entry(key, b"", &self.options.profile).map_err(|error| refused(key, &error))?;
        match self.tree.apply(&TreeOp::SetAttributes { entry, found: found.fingerprint }).await {
            Ok(applied) => {
                let ended = with_shortfalls(Ended { reasons, ..Ended::new(key, Outcome::MetadataOnly) }, &applied);
                let edit = applied.made.and_then(|status| self.record(key, listed, &status, meta, None));
                Ok(Some(Done { ended: Some(ended), edit, ..Done::default() }))
            }
            // Also when something else stands there by now: the object replaces that, and touches nothing of it.
            Err(error) if error.kind() == TreeErrorKind::NeedsNewInode => Ok(None),
            Err(error) if error.kind() == TreeErrorKind::Changed && self.session.is_none() => Ok(None),
            Err(error) => Err(tree_failure(key, &error)),
        }
    }

    /// Where the data of a file is, if that is in the store alone.
    async fn released(&self, key: &Key, found: &Found) -> Result<Option<Released>, Ended> {
        if found.entry.file_type() != FileType::File {
            return Ok(None);
        }
        match self.contents.residence(key, &found.status()).await {
            Ok(Residence::Released(released)) => Ok(Some(released)),
            Ok(Residence::Here) | Err(Unsent::Changed) => Ok(None),
            Ok(Residence::Written(_)) => Err(Ended::new(key, Outcome::Conflict).because(Cause::Conflict, WRITTEN)),
            Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => Err(ended),
        }
    }

    /// Whether a file is a placeholder for something else than an object.
    async fn stands_for_another(&self, key: &Key, found: &Found, meta: &ObjectMeta) -> Result<bool, Ended> {
        let released = self.released(key, found).await?;
        Ok(released.is_some_and(|released| !released.is_of(key, &meta.etag, meta.size)))
    }

    /// Puts a new inode with other attributes in the place of a file: a placeholder where there was one for this very
    /// object, else the object.
    async fn renew(
        &self,
        key: &Key,
        listed: &Listed,
        found: Found,
        meta: ObjectMeta,
        head: DecodedHead,
        around: &[Missing],
    ) -> Result<Done, Ended> {
        let released = self.released(key, &found).await?;
        if released.is_some_and(|released| released.is_of(key, &meta.etag, meta.size)) {
            return self.place(key, listed, Present::Entry(found), (meta, head), around).await;
        }
        self.fetch(key, listed, Present::Entry(found), around).await
    }

    /// Puts a placeholder for an object into place.
    async fn place(
        &self,
        key: &Key,
        listed: &Listed,
        present: Present,
        (meta, head): (ObjectMeta, DecodedHead),
        around: &[Missing],
    ) -> Result<Done, Ended> {
        let mut reasons = reasons_of(&head);
        if meta.is_archived() {
            reasons.push(Reason::new(Cause::Archived, ARCHIVED));
        }
        let profile = &self.options.profile;
        let entry = head.into_entry(key, b"", profile).map_err(|refusal| refused(key, &refusal))?;
        let deferred = self.make_around(around).await.map_err(|error| error.ended(key))?;
        let (etag, size, mtime) = (meta.etag.clone(), meta.size, entry.attributes().mtime);
        let released = Released { key: key.clone(), etag, size, mtime, lost: false };
        let standing = self.what_may_stand(present);
        let (ended, edit) = match self.tree.apply(&TreeOp::CreatePlaceholder { entry, released, standing }).await {
            Ok(applied) => {
                let ended = Ended { reasons, ..Ended::new(key, Outcome::MetadataOnly) };
                let edit = applied.made.and_then(|status| self.record(key, listed, &status, &meta, None));
                (with_shortfalls(ended, &applied), edit)
            }
            Err(error) => (tree_failure(key, &error), None),
        };
        Ok(Done { deferred, ended: Some(ended), edit, ..Done::default() })
    }

    /// What may stand where something is put in the place of what was looked at.
    fn what_may_stand(&self, present: Present) -> Standing {
        match present {
            Present::Nothing => Standing::Nothing,
            // Whoever has changed it since it was looked at keeps it.
            Present::Entry(found) if self.session.is_some() => Standing::Version(found.status()),
            Present::Entry(_) | Present::Other => Standing::Replaceable,
        }
    }

    /// Fetches an object. Head and bytes are of one version, since one answer brings both.
    async fn fetch(&self, key: &Key, listed: &Listed, present: Present, around: &[Missing]) -> Result<Done, Ended> {
        if self.options.data == Fetch::OnDemand && listed.object.size > 0 {
            let (meta, head) = self.look_at_object(key, listed, present.entry()).await?;
            if head.file_type == FileType::File && meta.size > 0 {
                return self.place(key, listed, present, (meta, head), around).await;
            }
        }
        let over = |why: String| Ended::new(key, Outcome::Failed).because(Cause::Budget, why);
        self.budget.fits(listed.object.size).map_err(over)?;
        let options = GetOptions { expected_size: Some(listed.object.size), ..GetOptions::default() };
        let GetOutput { meta, mut body } = match self.store.get(&listed.object.key, &options).await {
            Ok(output) => output,
            Err(error) => return Err(self.unfetched(key, listed, &error).await),
        };
        let profile = &self.options.profile;
        let head = decode(key, &meta, profile, present.entry()).map_err(|refusal| refused(key, &refusal))?;
        self.budget.fits(meta.size).map_err(over)?;
        self.budget.take(meta.size).map_err(|spent| over(spent.to_string()))?;
        let reasons = reasons_of(&head);
        if head.file_type == FileType::Symlink {
            let target = link_body(&mut body, meta.size).await.map_err(|error| store_failure(key, &error))?;
            if target.len() as u64 != meta.size {
                let reason = format!("expected a body of {} bytes, found another length", meta.size);
                return Err(Ended::new(key, Outcome::Failed).because(Cause::Corrupt, reason));
            }
            let digest = self.needs_digest(&meta).then(|| recorded(&target));
            let entry = head.into_entry(key, &target, profile).map_err(|refusal| refused(key, &refusal))?;
            let mut deferred = self.make_around(around).await.map_err(|error| error.ended(key))?;
            let remote = self.session.map(|_| self.remote(&meta, listed.record.as_ref(), digest));
            let (inode, ctime) = match &present {
                Present::Entry(found) => (found.fingerprint.inode, found.fingerprint.ctime),
                Present::Nothing | Present::Other => (0, Timestamp::EPOCH),
            };
            let outcome = Some(Outcome::Written);
            deferred.push(Deferred { entry, outcome, reasons, inode, ctime, remote, rule: Rule::Object });
            return Ok(Done { deferred, ..Done::default() });
        }
        let entry = head.into_entry(key, b"", profile).map_err(|refusal| refused(key, &refusal))?;
        let deferred = self.make_around(around).await.map_err(|error| error.ended(key))?;
        let digest = self.needs_digest(&meta).then(Running::default);
        let body = body.then(|piece| async {
            let piece = piece?;
            if let Some(digest) = &digest {
                digest.take(digest.length(), &piece).await;
            }
            self.progress.bytes(piece.len() as u64);
            Ok(piece)
        });
        let standing = self.what_may_stand(present);
        let (ended, edit) = match self.tree.write_file(&entry, body.boxed(), standing).await {
            Ok(applied) => {
                let ended = Ended { reasons, bytes: meta.size, ..Ended::new(key, Outcome::Written) };
                let digest = digest.as_ref().and_then(|digest| digest.of(meta.size));
                let edit = applied.made.and_then(|status| self.record(key, listed, &status, &meta, digest));
                (with_shortfalls(ended, &applied), edit)
            }
            Err(error) => (tree_failure(key, &error), None),
        };
        Ok(Done { deferred, ended: Some(ended), edit, ..Done::default() })
    }

    /// How an object ends that could not be fetched. Of an archived one its head tells whether it is a link.
    async fn unfetched(&self, key: &Key, listed: &Listed, error: &StoreError) -> Ended {
        let ended = store_failure(key, error);
        if error.kind() != StoreErrorKind::Archived {
            return ended;
        }
        let head = self.store.head(&listed.object.key).await.ok();
        let decoded = head.and_then(|meta| decode(key, &meta, &self.options.profile, None).ok());
        if decoded.is_some_and(|head| head.file_type == FileType::Symlink) {
            return Ended::new(key, ended.outcome).because(Cause::ArchivedLink, Chain(error));
        }
        ended
    }

    /// Whether the digest of what is fetched is to be recorded, since the `ETag` does not tell it.
    fn needs_digest(&self, meta: &ObjectMeta) -> bool {
        let tells = self.store.capabilities().md5_etags == Support::Yes && meta.etag.md5().is_some();
        self.session.is_some() && !tells
    }

    /// Puts a link into place. Answers what both sides agree on.
    pub(super) async fn link(&self, deferred: Deferred) -> (Ended, Option<Edit>) {
        let Deferred { entry, reasons, inode, ctime, remote, .. } = deferred;
        let key = entry.key().clone();
        let conflict = |cause: Cause, why: &str| (Ended::new(&key, Outcome::Conflict).because(cause, why), None);
        let standing = match self.tree.lookup(&key).await {
            Ok(Present::Nothing) => Standing::Nothing,
            Ok(Present::Entry(found)) if *found.entry.kind() == EntryKind::Directory => {
                return conflict(Cause::KindMismatch, "a directory stands there");
            }
            Ok(Present::Entry(found)) if self.session.is_some() => {
                if (found.fingerprint.inode, found.fingerprint.ctime) != (inode, ctime) {
                    return conflict(Cause::Conflict, "it has changed since it was compared");
                }
                Standing::Version(found.status())
            }
            Ok(Present::Entry(_) | Present::Other) if self.options.existing == Existing::Keep => {
                return conflict(Cause::Kept, KEPT);
            }
            Ok(Present::Entry(_) | Present::Other) => Standing::Replaceable,
            Err(error) => return (tree_failure(&key, &error), None),
        };
        let bytes = entry.object_size();
        match self.tree.apply(&TreeOp::CreateSymlink { entry, standing }).await {
            Ok(applied) => {
                let ended = Ended { reasons, bytes, ..Ended::new(&key, Outcome::Written) };
                let edit = remote.zip(applied.made).map(|(remote, status)| {
                    Edit::Put(Record { key: key.clone(), local: Some(self.local(&status)), remote: Some(remote) })
                });
                (with_shortfalls(ended, &applied), edit)
            }
            Err(error) => (tree_failure(&key, &error), None),
        }
    }
}

/// The name under which a file stays beside the object that takes its own; `None` when it would be too long.
fn beside(key: &Key, found: &Found) -> Option<Key> {
    Key::parse(&format!("{}.local-{}", key.path(), found.entry.attributes().mtime.nanoseconds())).ok()
}
