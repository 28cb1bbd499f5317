//! What is there, and how its object becomes the same.

use super::{ATTEMPTS, Decision, Export};
use crate::engine::agreed::{age_of, age_of_object, is_ours, is_recorded, mtime_of, remote_of, same_fields};
use crate::engine::cause::Cause;
use crate::engine::contents::{Content, Subject, Unsent, unsent_by_store};
use crate::engine::journal::Urgency;
use crate::engine::placeholder::{Fetched, fetch_back};
use crate::engine::report::{Ended, Outcome};
use crate::engine::session::{Session, StateError};
use crate::entry::Chain;
use crate::etag::ETag;
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{self, OnConflict, Payload, Step, StoreOp};
use crate::released::Released;
use crate::snapshot::{Local, Names, Record, Remote};
use crate::status::Status;
use crate::store::{
    Body, ObjectMeta, ObjectStore, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, Support,
};
use crate::tree::{Standing, Tree, TreeOp};
use bytes::Bytes;
use http::HeaderMap;
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

/// The objects that a copy of their metadata has given another `ETag`.
#[derive(Default)]
pub(super) struct Copies {
    /// By key, what it was before and is now.
    etags: HashMap<Key, (ETag, ETag)>,
    /// What is recorded of them when their marks are on the disk.
    marked: Vec<Record>,
}

impl Copies {
    fn copied(&mut self, released: &Released, etag: &ETag) {
        self.etags.insert(released.key.clone(), (released.etag.clone(), etag.clone()));
    }

    /// Says whether there are enough to be recorded.
    fn marked(&mut self, record: Record) -> bool {
        /// How many are recorded at once: the disk takes as long for one.
        const MANY: usize = 4096;
        self.marked.push(record);
        self.marked.len() >= MANY
    }

    pub(super) fn is_empty(&self) -> bool {
        self.etags.is_empty()
    }

    /// The `ETag` of the version for which a mark from before a copy stands.
    pub(super) fn now(&self, released: &Released) -> Option<ETag> {
        let (before, now) = self.etags.get(&released.key)?;
        (*before == released.etag).then(|| now.clone())
    }
}

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    pub(super) async fn carry_out(&self, key: &Key, decision: Decision) -> Result<Result<Ended, Unsent>, StateError> {
        let local = self.local(&decision.subject.status, decision.names);
        let is_something = matches!(decision.step, Step::Put | Step::ReplaceMetadata);
        // What nobody heard of may have changed the object while the tree has come back to what is recorded.
        if !is_something && !self.session.is_some_and(|session| session.is_uncertain(key)) {
            let updated = Record { key: key.clone(), local: Some(local), remote: decision.remote };
            if let Some(session) = self.session.filter(|_| decision.record.as_ref() != Some(&updated)) {
                session.record(updated, Urgency::Later)?;
            }
            return Ok(Ok(Ended::new(key, Outcome::Unchanged)));
        }
        let StoreOp::Put { object_key, headers, payload } =
            match plan::put(&decision.subject.entry, &self.options.prefix, &self.options.profile) {
                Ok(put) => put,
                Err(refusal) => {
                    return Ok(Ok(Ended::new(key, Outcome::Skipped).because(&refusal, Chain(&refusal))));
                }
            };
        let Some(session) = self.session else {
            if let Some(released) = decision.subject.released() {
                return Ok(self.put_released(key, &object_key, headers, &decision.subject, released).await);
            }
            let put = self.put(&object_key, headers, payload, &decision.subject, Precondition::None).await;
            return Ok(put.map(|_| written(&decision.subject, Outcome::Written)));
        };
        self.settle(session, key, &object_key, headers, payload, decision, local).await
    }

    /// Brings the object to what the subject is, unless somebody else has changed it.
    #[allow(clippy::too_many_arguments, reason = "one straight story, told in one place")]
    async fn settle(
        &self,
        session: &Session<'_>,
        key: &Key,
        object_key: &str,
        headers: HeaderMap,
        payload: Payload,
        decision: Decision,
        local: Local,
    ) -> Result<Result<Ended, Unsent>, StateError> {
        let Decision { mut subject, mut step, remote, record, .. } = decision;
        // It was gone from the tree before, and was to be deleted.
        let given_up = record.as_ref().is_some_and(|record| record.local.is_none());
        let before = record.and_then(|record| record.local);
        let mut asked = remote.is_some()
            || self.verify
            || session.is_uncertain(key)
            || subject.released().is_some()
            || self.capabilities.preconditions == Support::No;
        // Of a file whose data is in its object alone, the body cannot be sent again.
        let mut in_place = self.capabilities.replace_metadata == Support::Yes;
        for _ in 0..ATTEMPTS {
            let current = if asked {
                match self.store.head(object_key).await {
                    Ok(meta) => Some(meta),
                    Err(error) if error.kind() == StoreErrorKind::NotFound => None,
                    Err(error) => return Ok(Ok(failed(key, &error))),
                }
            } else {
                None
            };
            let as_recorded = is_recorded(&self.options.profile, before.as_ref(), remote.as_ref(), current.as_ref());
            if as_recorded && !matches!(step, Step::Put | Step::ReplaceMetadata) {
                if remote.as_ref().is_some_and(|remote| remote.last_modified.is_some()) {
                    session.record(Record { key: key.clone(), local: Some(local), remote }, Urgency::Later)?;
                    return Ok(Ok(Ended::new(key, Outcome::Unchanged)));
                }
                // Without Last-Modified, nothing tells whether its headers are those recorded.
                step = Step::Put;
            }
            if !as_recorded {
                if let Some(meta) = &current {
                    match self.is_same(&subject, meta).await {
                        Ok(true) => {
                            let remote = remote_of(meta);
                            session.record(
                                Record { key: key.clone(), local: Some(local), remote: Some(remote) },
                                Urgency::Now,
                            )?;
                            return Ok(Ok(Ended::new(key, Outcome::Unchanged)));
                        }
                        Ok(false) => {}
                        Err(unsent) => return Ok(Err(unsent)),
                    }
                }
                let ours = current.as_ref().is_some_and(|meta| self.is_ours(session, key, meta));
                let ours = ours || (given_up && current.is_none());
                let own = subject.released().zip(current.as_ref());
                let own = own.is_some_and(|(released, meta)| released.is_of(key, &meta.etag, meta.size));
                if !ours
                    && !own
                    && let Some(ended) = self.conflict(key, &subject, remote.as_ref(), current.as_ref())
                {
                    return Ok(Ok(ended));
                }
                // What the object holds now is not what was compared with.
                step = Step::Put;
            }
            if let Some(released) = subject.released() {
                // A copy onto itself, of which nobody heard, may have given the same bytes another ETag.
                let own = current.as_ref().is_some_and(|meta| {
                    let copied = released.key == *key && released.size == meta.size && self.is_ours(session, key, meta);
                    released.is_of(key, &meta.etag, meta.size) || copied
                });
                // The other names of the inode would keep the mark of a version that is gone.
                let orphans = subject.status.links > 1 && self.may_change_with_a_copy(&released.etag);
                if !own || !in_place || orphans {
                    return Ok(Err(self.bring_back(&subject, released).await));
                }
                step = Step::ReplaceMetadata;
            }
            let precondition = match (&current, self.capabilities.preconditions) {
                (_, Support::No) => Precondition::None,
                (Some(meta), Support::Yes) => Precondition::Match(meta.etag.clone()),
                (None, Support::Yes) => Precondition::Absent,
            };
            session.intend([(key, local)]).await?;
            let (done, outcome) = if step == Step::ReplaceMetadata {
                let options = PutOptions { headers: headers.clone(), precondition };
                let replaced = self.store.replace_metadata(object_key, &options).await;
                // Headers of an archived object cannot be replaced; the object can.
                if replaced.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Archived) {
                    step = Step::Put;
                    (asked, in_place) = (true, false);
                    continue;
                }
                (replaced.map_err(|error| unsent_by_store(key, &error)), Outcome::MetadataOnly)
            } else {
                if let Err(unsent) = self.contents.ensure(key, &mut subject).await {
                    return Ok(Err(unsent));
                }
                let put = self.put(object_key, headers.clone(), payload.clone(), &subject, precondition).await;
                (put, Outcome::Written)
            };
            match done {
                Ok(output) => {
                    let remote = self.remote_after(&output, outcome, remote, &subject);
                    let record = |local| Record { key: key.clone(), local: Some(local), remote: Some(remote) };
                    if let Some(released) = subject.released().filter(|released| released.etag != output.etag) {
                        // Whoever comes next, if this run does not come to its end, sees that the copy is ours.
                        session.doubt(key, local);
                        let Some(status) = self.mark_again(&subject, released, &output.etag).await else {
                            return Ok(Err(Unsent::Changed));
                        };
                        let many = self.copies().marked(record(self.local(&status, local.names)));
                        if many {
                            self.record_marked(session).await?;
                        }
                    } else {
                        session.record(record(local), Urgency::Now)?;
                    }
                    return Ok(Ok(written(&subject, outcome)));
                }
                Err(Unsent::Condition(_)) => asked = true,
                Err(unsent) => {
                    if matches!(unsent, Unsent::Unheard(_)) {
                        session.doubt(key, local);
                    }
                    return Ok(Err(unsent));
                }
            }
        }
        let reason = "the object changed at every try, each time before the request arrived";
        Ok(Ok(Ended::new(key, Outcome::Conflict).because(Cause::LostRace, reason)))
    }

    /// Without a record: what a file becomes whose data is in the store alone. Its own object gets its attributes; under
    /// any other key it is fetched first.
    async fn put_released(
        &self,
        key: &Key,
        object_key: &str,
        headers: HeaderMap,
        subject: &Subject,
        released: &Released,
    ) -> Result<Ended, Unsent> {
        if released.key != *key {
            return Err(self.bring_back(subject, released).await);
        }
        let meta = match self.store.head(object_key).await {
            Ok(meta) => meta,
            // Whoever fetches it finds out what has become of it.
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                return Err(self.bring_back(subject, released).await);
            }
            Err(error) => return Ok(failed(key, &error)),
        };
        let is_own = released.is_of(key, &meta.etag, meta.size);
        if is_own && same_fields(&headers, &meta.headers) {
            return Ok(Ended::new(key, Outcome::Unchanged));
        }
        let orphans = subject.status.links > 1 && self.may_change_with_a_copy(&released.etag);
        if !is_own || orphans || self.capabilities.replace_metadata == Support::No {
            return Err(self.bring_back(subject, released).await);
        }
        let precondition = match self.capabilities.preconditions {
            Support::Yes => Precondition::Match(meta.etag),
            Support::No => Precondition::None,
        };
        match self.store.replace_metadata(object_key, &PutOptions { headers, precondition }).await {
            Ok(output) if output.etag == released.etag => Ok(written(subject, Outcome::MetadataOnly)),
            Ok(output) => match self.mark_again(subject, released, &output.etag).await {
                Some(_) => Ok(written(subject, Outcome::MetadataOnly)),
                None => Err(Unsent::Changed),
            },
            Err(error) if error.kind() == StoreErrorKind::Archived => Err(self.bring_back(subject, released).await),
            Err(error) => Err(unsent_by_store(key, &error)),
        }
    }

    /// Fetches the data of a file that is to be put as a whole. Then it is looked at anew, and is a file like any other.
    async fn bring_back(&self, subject: &Subject, released: &Released) -> Unsent {
        let file = (&subject.entry, &subject.status);
        match fetch_back(self.tree, self.store, self.places(), file, released, self.progress).await {
            Fetched::Here { .. } | Fetched::Changed => Unsent::Changed,
            Fetched::Lost(ended) | Fetched::Not(ended) => {
                Unsent::Ended(ended.because(Cause::ReleasedSourceGone, "nothing was sent, since its data is not here"))
            }
        }
    }

    /// Marks a placeholder with the `ETag` that its object has after its metadata was replaced.
    async fn mark_again(&self, subject: &Subject, released: &Released, etag: &ETag) -> Option<Status> {
        // Links and copies that were made behind the look have the mark from before.
        self.copies().copied(released, etag);
        let (entry, standing) = (subject.entry.clone(), Standing::Version(subject.status));
        let released = Released { etag: etag.clone(), ..released.clone() };
        let op = TreeOp::CreatePlaceholder { entry, released, standing };
        self.tree.apply(&op).await.ok()?.made
    }

    /// Whether the same bytes may have another `ETag` after a copy: where that is no digest of them.
    fn may_change_with_a_copy(&self, etag: &ETag) -> bool {
        self.capabilities.md5_etags != Support::Yes || etag.md5().is_none()
    }

    /// Records what has come of copies that changed an `ETag`, once the marks that say so are on the disk: a record of a
    /// mark that a power loss takes back would leave one of a version that is gone.
    pub(super) async fn record_marked(&self, session: &Session<'_>) -> Result<(), StateError> {
        let marked = std::mem::take(&mut self.copies().marked);
        if marked.is_empty() {
            return Ok(());
        }
        // What could not be brought to the disk stays in doubt, and the next run looks.
        if self.tree.sync().await.is_err() {
            return Ok(());
        }
        for record in marked {
            session.record(record, Urgency::Now)?;
        }
        Ok(())
    }

    pub(super) fn copies(&self) -> MutexGuard<'_, Copies> {
        // Whatever is in it is whole after every statement.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put(
        &self,
        object_key: &str,
        headers: HeaderMap,
        payload: Payload,
        subject: &Subject,
        precondition: Precondition,
    ) -> Result<PutOutput, Unsent> {
        let key = subject.entry.key();
        let body = match (&payload, &subject.content) {
            (Payload::Target(target), _) => Body::Bytes(Bytes::copy_from_slice(target.as_bytes())),
            (Payload::Empty, _) => Body::empty(),
            (Payload::File { .. }, Content::Bytes(bytes)) => Body::Bytes(bytes.clone()),
            (Payload::File { .. }, Content::File(file)) => Body::Source(Arc::clone(file) as Arc<_>),
            // What is here is a hole, and never the body of anything.
            (Payload::File { .. }, Content::None | Content::Released(_)) => return Err(Unsent::Changed),
        };
        let output = self.store.put(object_key, body, &PutOptions { headers, precondition }).await;
        let output = output.map_err(|error| unsent_by_store(key, &error))?;
        if subject.status.file_type == FileType::File {
            self.progress.bytes(subject.entry.object_size());
        }
        Ok(output)
    }

    /// What is recorded of an inode that was looked at in this run.
    pub(super) fn local(&self, status: &Status, names: Names) -> Local {
        Local { names, ..Local::new(status, age_of(status, self.started)) }
    }

    fn remote_after(&self, output: &PutOutput, outcome: Outcome, before: Option<Remote>, subject: &Subject) -> Remote {
        // Replacing metadata leaves the body as it is, also one that the object of a directory should not have.
        let (size, xxh3) = match (outcome, before) {
            (Outcome::MetadataOnly, Some(before)) => (before.size, before.xxh3),
            _ => (subject.entry.object_size(), self.digest(&output.etag, subject)),
        };
        let last_modified = output.last_modified;
        Remote { etag: output.etag.clone(), size, last_modified, xxh3, age: age_of_object(last_modified) }
    }

    /// The digest that is recorded of what was put, where the `ETag` is none.
    fn digest(&self, etag: &ETag, subject: &Subject) -> Option<[u8; 16]> {
        let tells = self.capabilities.md5_etags == Support::Yes && etag.md5().is_some();
        if tells { None } else { subject.known_digest() }
    }

    /// Whether an object is what would be put: kind, size, stored attributes but for the access time, and the content as far
    /// as its `ETag` tells.
    pub(super) async fn is_same(&self, subject: &Subject, meta: &ObjectMeta) -> Result<bool, Unsent> {
        let wanted = subject.entry.encode(&self.options.profile);
        if meta.size != subject.entry.object_size() || !same_fields(&wanted, &meta.headers) {
            return Ok(false);
        }
        self.contents.is_body_of(subject, meta, self.capabilities.md5_etags).await
    }

    /// Whether an object is what an earlier run, or an earlier try, intended to put and did not hear of.
    pub(super) fn is_ours(&self, session: &Session<'_>, key: &Key, meta: &ObjectMeta) -> bool {
        is_ours(session, &self.options.profile, key, meta)
    }

    /// What becomes of an entry whose object is not the one recorded; `None` when it is sent all the same.
    fn conflict(
        &self,
        key: &Key,
        subject: &Subject,
        recorded: Option<&Remote>,
        current: Option<&ObjectMeta>,
    ) -> Option<Ended> {
        let what = match (recorded, current) {
            // Nothing is recorded and nothing is there.
            (None, None) => return None,
            (None, Some(_)) => "the bucket holds another object of this key, which this link has not put",
            (Some(_), Some(_)) => "the object has changed as well",
            (Some(_), None) => "the object was deleted",
        };
        let ended =
            |outcome, then: &str| Some(Ended::new(key, outcome).because(Cause::Conflict, format!("{what}; {then}")));
        match self.options.on_conflict {
            OnConflict::Local => None,
            OnConflict::Newest if current.is_none_or(|meta| subject.status.attributes.mtime >= mtime_of(meta)) => None,
            OnConflict::Store => ended(Outcome::Skipped, "the bucket wins"),
            OnConflict::Newest => ended(Outcome::Skipped, "it is newer"),
            OnConflict::KeepBoth => ended(Outcome::Conflict, "an import keeps both"),
            OnConflict::Fail => ended(Outcome::Conflict, "both sides keep what they have"),
        }
    }
}

fn written(subject: &Subject, outcome: Outcome) -> Ended {
    let bytes = if outcome == Outcome::Written { subject.entry.object_size() } else { 0 };
    Ended { bytes, ..Ended::new(subject.entry.key(), outcome) }
}

fn failed(key: &Key, error: &StoreError) -> Ended {
    Ended::new(key, Outcome::Failed).because(error, Chain(error))
}
