//! Large objects: put, and copied onto themselves, in parts.

use super::calls::{Part, Payload, S3Calls, UnfinishedUpload, Upload};
use super::error::CallError;
use super::options::Writers;
use super::room::Room;
use super::store::{Failed, Inner, PARTS_AT_ONCE, S3Store, doubtful, parts, payload, unmatched, unread};
use crate::etag::ETag;
use crate::store::{Body, ObjectMeta, Operation, Precondition, PutOutput, StoreError, StoreErrorKind};
use crate::timestamp::Timestamp;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use md5::{Digest, Md5};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// An upload that is under way. Dropped before its end, it is left to be aborted.
struct Begun<C: S3Calls> {
    inner: Arc<Inner<C>>,
    key: String,
    id: Box<str>,
    is_ended: bool,
}

impl<C: S3Calls> Begun<C> {
    fn upload(&self) -> Upload<'_> {
        Upload { key: &self.key, id: &self.id }
    }

    fn end(mut self) {
        self.is_ended = true;
        self.inner.ended(&self.key, &self.id);
    }

    /// Aborts it. Should that fail, it is tried again with the next upload.
    async fn abort(mut self) {
        // An upload that was aborted is off every list.
        self.is_ended = self.inner.abort(self.upload()).await.is_ok();
    }
}

impl<C: S3Calls> Drop for Begun<C> {
    fn drop(&mut self) {
        if !self.is_ended {
            let upload = (std::mem::take(&mut self.key), self.id.to_string());
            self.inner.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(upload);
        }
    }
}

impl<C: S3Calls> S3Store<C> {
    pub(super) async fn put_in_parts(
        &self,
        key: &str,
        body: &Body,
        headers: &HeaderMap,
        precondition: &Precondition,
    ) -> Result<PutOutput, StoreError> {
        let inner = &self.inner;
        let at = |error: CallError| error.at(Operation::Put, key);
        let begun = self.begin(key, headers).await.map_err(at)?;
        let length = inner.part_size(body.size());
        let upload = begun.upload();
        let (in_order, given_up) = (Room::new(1), AtomicBool::new(false));
        // Read one after the other, so that whoever takes a digest of the whole can; sent side by side.
        let parts = stream::iter((1..).zip(parts(0..body.size(), length)))
            .map(|(number, range)| unless(&given_up, inner.put_part(upload, number, body, range, &in_order)))
            .buffered(PARTS_AT_ONCE);
        let parts = collected(parts).await;
        match parts {
            Ok(parts) => {
                let completed = self.complete(begun, &parts, precondition).await;
                completed.map_err(|error| at(unmatched(error, precondition)))
            }
            Err(error) => {
                begun.abort().await;
                Err(error)
            }
        }
    }

    /// Puts a body as the only part of an upload, to see whether a store does.
    pub(super) async fn put_in_one_part(
        &self,
        key: &str,
        body: &Payload,
        headers: &HeaderMap,
        precondition: &Precondition,
    ) -> Result<PutOutput, CallError> {
        let begun = self.begin(key, headers).await?;
        let upload = begun.upload();
        match self.inner.made(|| self.inner.calls.upload_part(upload, 1, body)).await {
            Ok(part) => self.complete(begun, &[part], precondition).await,
            Err(error) => {
                begun.abort().await;
                Err(error)
            }
        }
    }

    pub(super) async fn copy_in_parts(
        &self,
        key: &str,
        current: &ObjectMeta,
        headers: &HeaderMap,
    ) -> Result<PutOutput, StoreError> {
        let inner = &self.inner;
        let at = |error: CallError| error.at(Operation::ReplaceMetadata, key);
        let begun = self.begin(key, headers).await.map_err(at)?;
        let length = inner.part_size(current.size).max(inner.options.copy_limit.min(COPIED));
        let given_up = AtomicBool::new(false);
        let upload = begun.upload();
        let parts = stream::iter((1..).zip(parts(0..current.size, length)))
            .map(|(number, range)| {
                let copy = inner.made(move || inner.calls.copy_part(upload, number, range.clone(), &current.etag));
                unless(&given_up, copy)
            })
            .buffered(PARTS_AT_ONCE);
        let parts = collected(parts).await;
        match parts {
            Ok(parts) => {
                // What the parts were copied from is what is to be replaced.
                let preconditions = self.inner.probed.capabilities.preconditions;
                let precondition = match preconditions {
                    crate::store::Support::Yes => Precondition::Match(current.etag.clone()),
                    crate::store::Support::No => Precondition::None,
                };
                self.complete(begun, &parts, &precondition).await.map_err(at)
            }
            Err(error) => {
                begun.abort().await;
                Err(at(error))
            }
        }
    }

    async fn begin(&self, key: &str, headers: &HeaderMap) -> Result<Begun<C>, CallError> {
        let inner = &self.inner;
        // Those of futures that were dropped. That one cannot be aborted is no reason not to begin.
        for (key, id) in inner.dropped() {
            let _ = inner.abort(Upload { key: &key, id: &id }).await;
        }
        let since = Instant::now();
        let answered =
            inner.retried(|| inner.calls.create_upload(key, headers)).await.map_err(|failed| failed.error)?;
        if answered.value.is_empty() {
            // To abort it would be to delete the object.
            return Err(CallError::unanswered(StoreErrorKind::Corrupt, "the upload has no id"));
        }
        let begun = Begun { inner: Arc::clone(inner), key: key.to_owned(), id: answered.value, is_ended: false };
        if let Some(log) = &inner.options.log {
            let (log, key, id) = (Arc::clone(log), key.to_owned(), begun.id.clone());
            // It waits for the disk.
            if let Err(error) = blocking::unblock(move || log.begun(&key, &id)).await {
                begun.abort().await;
                return Err(CallError::unanswered(StoreErrorKind::Other, error));
            }
        }
        if answered.is_doubtful && inner.options.writers == Writers::One {
            inner.abort_twins(begun.upload(), since.elapsed()).await;
        }
        Ok(begun)
    }

    async fn complete(
        &self,
        begun: Begun<C>,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Result<PutOutput, CallError> {
        let inner = &self.inner;
        let completed = inner.retried(|| inner.calls.complete_upload(begun.upload(), parts, precondition)).await;
        let Failed { error, is_doubtful } = match completed {
            Ok(answered) => {
                begun.end();
                return Ok(answered.value);
            }
            Err(failed) => failed,
        };
        // An answer that was lost may have been that all is well. The object that is replaced may have had the same bytes
        // in the same parts, so its ETag alone does not tell; an upload that is still there was not completed.
        let is_gone = error.answer().is_some_and(|answer| answer.code() == "NoSuchUpload");
        if (is_doubtful || is_gone || error.is_unheard())
            && let Some(etag) = etag_of_parts(parts)
            && let Ok(uploads) = inner.uploads(&begun.key).await
            && !uploads.iter().any(|upload| *upload.id == *begun.id)
            && let Ok(meta) = inner.made(|| inner.calls.head(&begun.key)).await
            && meta.etag == etag
        {
            begun.end();
            return Ok(PutOutput { etag, last_modified: Some(meta.last_modified) });
        }
        begun.abort().await;
        Err(if is_doubtful { doubtful(error) } else { error })
    }
}

/// A part, unless one of the others has failed: what is under way ends before the upload is aborted, since what arrives
/// later may stay, and nothing new is begun.
async fn unless<E>(given_up: &AtomicBool, part: impl Future<Output = Result<Part, E>>) -> Option<Result<Part, E>> {
    if given_up.load(Ordering::Relaxed) {
        return None;
    }
    let part = part.await;
    if part.is_err() {
        given_up.store(true, Ordering::Relaxed);
    }
    Some(part)
}

/// All parts, or the first failure once all that was under way has ended.
async fn collected<E>(parts: impl Stream<Item = Option<Result<Part, E>>>) -> Result<Vec<Part>, E> {
    let ended: Vec<_> = parts.collect().await;
    ended.into_iter().flatten().collect()
}

/// What is copied at once of an object that is copied in parts, in bytes: 256 MiB.
const COPIED: u64 = 256 << 20;

/// The `ETag` that S3 gives to an object put in these parts: the MD5 of theirs, and how many they are.
fn etag_of_parts(parts: &[Part]) -> Option<ETag> {
    let mut all = Md5::new();
    for part in parts {
        all.update(part.etag.md5()?);
    }
    let digits = ETag::from_md5(all.finalize().into());
    Some(ETag::new(&format!("\"{}-{}\"", digits.as_str().trim_matches('"'), parts.len())))
}

impl<C: S3Calls> Inner<C> {
    async fn put_part(
        &self,
        upload: Upload<'_>,
        number: u16,
        body: &Body,
        range: Range<u64>,
        in_order: &Arc<Room>,
    ) -> Result<Part, StoreError> {
        let turn = in_order.enter(1).await;
        let length = range.end.saturating_sub(range.start);
        let held = self.memory.enter(length).await;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = body.read(range.start, length).await.map_err(|error| unread(upload.key, error))?;
        drop(turn);
        let payload = payload(bytes).await;
        let put = self.made(|| self.calls.upload_part(upload, number, &payload)).await;
        drop(held);
        put.map_err(|error| error.at(Operation::Put, upload.key))
    }

    pub(super) async fn abort(&self, upload: Upload<'_>) -> Result<(), CallError> {
        self.made(|| self.calls.abort_upload(upload)).await?;
        self.ended(upload.key, upload.id);
        Ok(())
    }

    /// Takes an upload off every list.
    fn ended(&self, key: &str, id: &str) {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.retain(|(_, one)| one != id);
        drop(abandoned);
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, one)| one != id);
        if let Some(log) = &self.options.log {
            // What is noted once too often is aborted once too often, which does nothing.
            let _ = log.ended(key, id);
        }
    }

    /// The uploads of futures that were dropped.
    fn dropped(&self) -> Vec<(String, String)> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The uploads that were given up, by this process or an earlier one.
    pub(super) fn abandoned(&self) -> Vec<(String, String)> {
        let mut all = self.dropped();
        all.extend_from_slice(&self.earlier.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, CallError> {
        let mut all: Vec<UnfinishedUpload> = Vec::new();
        loop {
            let page = self.made(|| self.calls.list_uploads(prefix, all.last())).await?;
            let is_last = page.is_last || page.uploads.is_empty();
            // A page that does not go on behind the last one would go on for ever.
            let goes_on = match (all.last(), page.uploads.first()) {
                (Some(last), Some(first)) => first.key > last.key || (first.key == last.key && first.id != last.id),
                _ => true,
            };
            let again = page.uploads.last() == all.last() && !all.is_empty();
            if !goes_on || again {
                return Err(CallError::unanswered(
                    StoreErrorKind::Corrupt,
                    "a page of uploads does not go on behind the last",
                ));
            }
            all.extend(page.uploads);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Aborts what earlier tries to begin an upload may have begun, whose answers were lost: uploads of the same key that
    /// were begun, by the clock of the store, within the time that the tries took.
    async fn abort_twins(&self, upload: Upload<'_>, took: Duration) {
        // A store may have whole seconds.
        let took = i64::try_from(took.as_secs().saturating_add(2)).unwrap_or(i64::MAX);
        let Ok(all) = self.uploads(upload.key).await else { return };
        let same: Vec<_> = all.iter().filter(|one| one.key == upload.key).collect();
        let Some(own) = same.iter().find(|one| one.id == upload.id) else { return };
        let since = |time: Timestamp| own.initiated.seconds().saturating_sub(time.seconds());
        for twin in same.iter().filter(|one| one.id != upload.id && (0..=took).contains(&since(one.initiated))) {
            let _ = self.abort(Upload { key: &twin.key, id: &twin.id }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_parts_is_that_of_s3() {
        let part = |number, text: &str| Part { number, etag: ETag::from_md5(Md5::digest(text).into()), sha256: None };
        let etag = etag_of_parts(&[part(1, "a"), part(2, "b")]).unwrap();
        // printf a | md5sum, printf b | md5sum; the MD5 of both digests.
        assert_eq!(etag.as_str(), "\"96e024ba2074fe77e8e965ba43a704be-2\"");
    }
}
