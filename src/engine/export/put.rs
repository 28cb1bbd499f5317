//! What is there, and how its object becomes the same.

use super::{ATTEMPTS, Decision, Export};
use crate::engine::agreed::{age_of, age_of_object, is_ours, is_recorded, mtime_of, remote_of, same_fields};
use crate::engine::cause::Cause;
use crate::engine::contents::{Content, Subject, Unsent, unsent_by_store};
use crate::engine::journal::Urgency;
use crate::engine::report::{Ended, Outcome};
use crate::engine::session::{Session, StateError};
use crate::entry::Chain;
use crate::etag::ETag;
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{self, OnConflict, Payload, Step, StoreOp};
use crate::snapshot::{Local, Names, Record, Remote};
use crate::status::Status;
use crate::store::{
    Body, ObjectMeta, ObjectStore, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, Support,
};
use crate::tree::Tree;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;

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
            || self.capabilities.preconditions == Support::No;
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
                if !ours && let Some(ended) = self.conflict(key, &subject, remote.as_ref(), current.as_ref()) {
                    return Ok(Ok(ended));
                }
                // What the object holds now is not what was compared with.
                step = Step::Put;
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
                    asked = true;
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
                    let record = Record { key: key.clone(), local: Some(local), remote: Some(remote) };
                    session.record(record, Urgency::Now)?;
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
            (Payload::File { .. }, Content::None) => return Err(Unsent::Changed),
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
        let (size, md5) = match (outcome, before) {
            (Outcome::MetadataOnly, Some(before)) => (before.size, before.md5),
            _ => (subject.entry.object_size(), self.digest(&output.etag, subject)),
        };
        let last_modified = output.last_modified;
        Remote { etag: output.etag.clone(), size, last_modified, md5, age: age_of_object(last_modified) }
    }

    /// The digest that is recorded of what was put, where the `ETag` is none.
    fn digest(&self, etag: &ETag, subject: &Subject) -> Option<[u8; 16]> {
        let tells = self.capabilities.md5_etags == Support::Yes && etag.md5().is_some();
        if tells { None } else { subject.known_md5() }
    }

    /// Whether an object is what would be put: kind, size, stored attributes but for the access time, and the content as far
    /// as its `ETag` tells.
    pub(super) async fn is_same(&self, subject: &Subject, meta: &ObjectMeta) -> Result<bool, Unsent> {
        let wanted = subject.entry.encode(&self.options.profile);
        if meta.size != subject.entry.object_size() || !same_fields(&wanted, &meta.headers) {
            return Ok(false);
        }
        match meta.etag.md5().filter(|_| self.capabilities.md5_etags == Support::Yes) {
            Some(md5) => Ok(self.contents.md5(subject).await?.is_none_or(|found| found == md5)),
            None => Ok(true),
        }
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
