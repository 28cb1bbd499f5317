//! [`S3Store`]: a bucket on S3.

use super::batch::Batches;
use super::calls::{Payload, S3Calls, UnfinishedUpload, Upload};
use super::error::CallError;
use super::options::{S3Options, STORAGE_CLASS};
use super::probe::{self, Probed};
use super::retry::Retries;
use super::room::{Limiter, Room};
use super::wire::OWN_HEADERS;
use crate::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, ObjectStore, Operation, Precondition,
    PutOptions, PutOutput, StoreError, StoreErrorKind, check_key, check_precondition, check_put,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use thiserror::Error;

/// A bucket on S3, or on a server that speaks its protocol.
///
/// - Objects over the part size are put in parts, several at once; smaller ones in one request. Those over four parts are
///   fetched in parts as well, the next ones before their turn as far as there is memory. The headers are the same on both
///   sides of that.
/// - A body that is fetched comes in pieces, as it is asked for, but for one of up to 1 MiB. One that breaks off is gone on with
///   where it was, if it is of the same version still. A reader who takes their time holds up nobody.
/// - Every body and every part goes with its SHA-256; whether the store checks it is [`Capabilities::checksums`]. An object of
///   up to four parts is compared with the SHA-256 that is stored with it, if there is one: of up to 1 MiB before any of it is
///   handed out, and fetched again if need be; larger, before the last piece is, in whose place comes an error. Parts and
///   ranges are checked by their length and the `ETag` of the version alone.
/// - A request that nobody answered is made again, after which a precondition may fail although the first of them did what
///   was asked: [`StoreErrorKind::PreconditionFailed`] says what the key holds, not who put it there.
/// - Dropping a future does not call back a request that is under way. An upload in parts that is dropped is aborted by the
///   next one, or by [`tidy`](Self::tidy).
///
/// Clones share connections, limits and budgets.
pub struct S3Store<C> {
    pub(super) inner: Arc<Inner<C>>,
}

impl<C> Clone for S3Store<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(super) struct Inner<C> {
    pub(super) calls: C,
    pub(super) options: S3Options,
    pub(super) retries: Retries,
    pub(super) limiter: Limiter,
    /// The bytes of bodies that are in memory.
    pub(super) memory: Arc<Room>,
    /// The bytes of parts that are fetched before their turn. Nobody waits for a place here, since whoever reads may hold one
    /// for as long as they like.
    pub(super) ahead: Arc<Room>,
    pub(super) batches: Arc<Batches>,
    /// Uploads that were given up and have yet to be aborted.
    pub(super) abandoned: Mutex<Vec<(String, String)>>,
    /// Those that an earlier process has noted down. What this one notes is under way.
    pub(super) earlier: Mutex<Vec<(String, String)>>,
    pub(super) probed: Probed,
}

/// What a request that went well has answered.
pub(super) struct Answered<T> {
    pub(super) value: T,
    /// Whether an earlier try may have been heard as well.
    pub(super) is_doubtful: bool,
}

/// A request that failed for good.
pub(super) struct Failed {
    pub(super) error: CallError,
    /// Whether an earlier try may have been heard.
    pub(super) is_doubtful: bool,
}

impl<C: S3Calls> S3Store<C> {
    /// A store of which nothing is known but what is asked of it here: that requests can be made, and what a listing looks
    /// like. It changes nothing in the bucket, and so promises nothing about changes. For imports and audits.
    ///
    /// # Errors
    /// Those of the first listing: no such bucket, denied, wrong region, no answer.
    pub async fn connect_to_read(calls: C, options: S3Options) -> Result<Self, StoreError> {
        let mut store = Self::new(calls, options);
        let probed = probe::read(&store).await?;
        store.set(probed);
        Ok(store)
    }

    /// A store that was tried out: a few objects are put below [`S3Options::with_probe_prefix`], to find out what it can
    /// do, and deleted again. What it lacks is in [`lacks`](Self::lacks) and in its [`Capabilities`].
    ///
    /// # Errors
    /// As [`connect_to_read`](Self::connect_to_read), and when nothing can be put or deleted.
    pub async fn connect(calls: C, options: S3Options) -> Result<Self, StoreError> {
        let mut store = Self::new(calls, options);
        let mut probed = probe::read(&store).await?;
        store.tidy().await?;
        probe::write(&store, &mut probed).await?;
        store.set(probed);
        Ok(store)
    }

    /// A store whose capabilities are known from elsewhere. Nothing is asked.
    #[must_use]
    pub fn with_capabilities(calls: C, options: S3Options, capabilities: Capabilities) -> Self {
        Self::with_probed(calls, options, Probed { capabilities, lacks: Vec::new() })
    }

    /// A store that was tried out before. Nothing is asked.
    #[must_use]
    pub fn with_probed(calls: C, options: S3Options, probed: Probed) -> Self {
        let mut store = Self::new(calls, options);
        store.set(probed);
        store
    }

    /// What was found out about the store, for [`with_probed`](Self::with_probed).
    #[must_use]
    pub fn probed(&self) -> &Probed {
        &self.inner.probed
    }

    fn new(calls: C, options: S3Options) -> Self {
        let inner = Inner {
            calls,
            retries: Retries::new(options.retries),
            limiter: Limiter::new(options.requests),
            memory: Room::new(options.memory),
            ahead: Room::new(options.memory),
            batches: Arc::default(),
            abandoned: Mutex::default(),
            earlier: Mutex::new(options.log.as_ref().map(|log| log.unfinished()).unwrap_or_default()),
            probed: Probed::nothing(),
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    fn set(&mut self, probed: Probed) {
        // Invariant: nobody else has the store yet.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.probed = probed;
        }
    }

    /// What the store does not do as S3 does, in words; what was not tried is not in it.
    #[must_use]
    pub fn lacks(&self) -> &[Box<str>] {
        &self.inner.probed.lacks
    }

    /// Aborts the uploads that were given up: those of futures that were dropped, and those that the upload log knows of
    /// from an earlier process. Answers how many there were.
    ///
    /// # Errors
    /// When one cannot be aborted; it is tried again by the next call.
    pub async fn tidy(&self) -> Result<usize, StoreError> {
        let mut aborted: usize = 0;
        for (key, id) in self.inner.abandoned() {
            let upload = Upload { key: &key, id: &id };
            self.inner.abort(upload).await.map_err(|error| error.at(Operation::Put, &key))?;
            aborted = aborted.saturating_add(1);
        }
        Ok(aborted)
    }

    /// The uploads below a prefix that were begun, by whomever, and neither completed nor aborted.
    ///
    /// # Errors
    /// Those of a listing.
    pub async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        self.inner.uploads(prefix).await.map_err(|error| error.at(Operation::List, prefix))
    }

    /// Aborts an upload, of whomever it is.
    ///
    /// # Errors
    /// As every call.
    pub async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        let UnfinishedUpload { key, id, .. } = upload;
        self.inner.abort(Upload { key, id }).await.map_err(|error| error.at(Operation::Put, key))
    }
}

impl<C: S3Calls> Inner<C> {
    /// Makes a request, again if need be.
    pub(super) async fn retried<T, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<Answered<T>, Failed>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let (mut tries, mut is_doubtful) = (0_u32, false);
        loop {
            let result = self.tried(&call).await;
            tries = tries.saturating_add(1);
            let error = match result {
                Ok(value) => return Ok(Answered { value, is_doubtful }),
                Err(error) => error,
            };
            let Some(wait) = self.retries.wait(&error, tries, fastrand::f64()) else {
                return Err(Failed { error, is_doubtful });
            };
            is_doubtful |= error.is_unheard();
            self.calls.sleep(wait).await;
        }
    }

    /// Makes a request once there is a place among those that are under way, and says how it went.
    pub(super) async fn tried<T, F>(&self, call: impl FnOnce() -> F + Send) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let _held = self.limiter.enter().await;
        self.once(call).await
    }

    /// Makes a request, whatever is under way, and says how it went.
    pub(super) async fn once<T, F>(&self, call: impl FnOnce() -> F + Send) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let begun = Instant::now();
        let result = call().await;
        match &result {
            Ok(_) => {
                self.limiter.well();
                self.retries.well();
            }
            Err(error) if error.kind() == StoreErrorKind::Throttled => self.limiter.throttled(begun, Instant::now()),
            Err(_) => {}
        }
        result
    }

    /// The same, for whoever does not care how often.
    pub(super) async fn made<T, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        self.retried(call).await.map(|answered| answered.value).map_err(|failed| failed.error)
    }

    /// Makes a request that changes something. When an earlier try may have been heard, what became of the last one does not
    /// say that nothing has changed.
    pub(super) async fn changed<T, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        match self.retried(call).await {
            Ok(answered) => Ok(answered.value),
            Err(Failed { error, is_doubtful: true }) => Err(doubtful(error)),
            Err(Failed { error, .. }) => Err(error),
        }
    }

    /// The headers of an object that is put: the caller's, and those of the options.
    fn with_own(&self, operation: Operation, key: &str, headers: &HeaderMap) -> Result<HeaderMap, StoreError> {
        let mut all = for_the_wire(operation, key, headers)?;
        for (name, value) in &self.options.headers {
            all.entry(name).or_insert_with(|| value.clone());
        }
        Ok(all)
    }

    /// The size of the parts of an object of `size` bytes.
    pub(super) fn part_size(&self, size: u64) -> u64 {
        const MOST_PARTS: u64 = 10_000;
        size.div_ceil(MOST_PARTS).max(self.options.part_size)
    }
}

/// The bytes with their checksum, taken on another thread when there are many.
pub(super) async fn payload(bytes: Bytes) -> Payload {
    const MANY: usize = 128 << 10;
    if bytes.len() < MANY { Payload::new(bytes) } else { blocking::unblock(move || Payload::new(bytes)).await }
}

/// How many parts of one object are fetched or put at once. All objects together are bounded by memory and requests.
pub(super) const PARTS_AT_ONCE: usize = 8;

impl<C: S3Calls + 'static> ObjectStore for S3Store<C> {
    fn capabilities(&self) -> Capabilities {
        self.inner.probed.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let listed = self.inner.made(|| self.inner.calls.list(request)).await;
        listed.map_err(|error| error.at(Operation::List, &request.prefix))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        check_key(Operation::Head, key)?;
        self.inner.made(|| self.inner.calls.head(key)).await.map_err(|error| error.at(Operation::Head, key))
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        check_key(Operation::Get, key)?;
        self.inner.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        check_put(Operation::Put, key, options)?;
        let headers = self.inner.with_own(Operation::Put, key, &options.headers)?;
        if body.size() > self.inner.options.part_size {
            return self.put_in_parts(key, &body, &headers, &options.precondition).await;
        }
        let held = match &body {
            Body::Bytes(_) => None,
            Body::Source(_) => Some(self.inner.memory.enter(body.size()).await),
        };
        let length = usize::try_from(body.size()).unwrap_or(usize::MAX);
        let bytes = body.read(0, length).await.map_err(|error| unread(key, error))?;
        let payload = payload(bytes).await;
        let put = self.inner.changed(|| self.inner.calls.put(key, &payload, &headers, &options.precondition)).await;
        drop(held);
        put.map_err(|error| unmatched(error, &options.precondition).at(Operation::Put, key))
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        check_put(Operation::ReplaceMetadata, key, options)?;
        let inner = &self.inner;
        let at = |error: CallError| error.at(Operation::ReplaceMetadata, key);
        // A copy gives the object the storage class and encryption that it is told, and has a limit in size.
        let current = match inner.made(|| inner.calls.head(key)).await {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == StoreErrorKind::NotFound => None,
            Err(error) => return Err(at(error)),
        };
        check_precondition(
            Operation::ReplaceMetadata,
            key,
            &options.precondition,
            current.as_ref().map(|meta| &meta.etag),
        )?;
        let Some(current) = current else {
            return Err(StoreError::new(Operation::ReplaceMetadata, key, StoreErrorKind::NotFound));
        };
        let mut headers = for_the_wire(Operation::ReplaceMetadata, key, &options.headers)?;
        for (name, value) in &current.headers {
            let is_kept = name == STORAGE_CLASS || name.as_str().starts_with("x-amz-server-side-encryption");
            if is_kept && !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if current.size > inner.options.copy_limit {
            return self.copy_in_parts(key, &current, &headers).await;
        }
        let if_match = match &options.precondition {
            Precondition::Match(etag) => Some(etag),
            Precondition::None | Precondition::Absent => None,
        };
        inner.changed(|| inner.calls.copy_onto_itself(key, &headers, if_match)).await.map_err(at)
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        check_key(Operation::Delete, key)?;
        let inner = &self.inner;
        let deleted = match precondition {
            Precondition::None => match self.delete_in_batch(key).await {
                // Not as S3 has it, and no matter: it is gone.
                Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
                deleted => deleted,
            },
            Precondition::Match(etag) => inner.changed(|| inner.calls.delete(key, Some(etag))).await,
            // Nothing is to be deleted if there is something; no request says so.
            Precondition::Absent => {
                return match self.head(key).await {
                    Ok(_) => Err(StoreError::new(Operation::Delete, key, StoreErrorKind::PreconditionFailed)),
                    Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                };
            }
        };
        deleted.map_err(|error| unmatched(error, precondition).at(Operation::Delete, key))
    }
}

/// A failure behind a try that may have been heard. That the key holds something else tells for itself.
pub(super) fn doubtful(error: CallError) -> CallError {
    match error.kind() {
        StoreErrorKind::PreconditionFailed | StoreErrorKind::NotFound => error,
        _ => error.with_kind(StoreErrorKind::Transient),
    }
}

/// Headers as every server understands and signs them: values of one name as one, as S3 answers them, and no tabs, of which
/// some make spaces.
fn for_the_wire(operation: Operation, key: &str, headers: &HeaderMap) -> Result<HeaderMap, StoreError> {
    let mut all = HeaderMap::with_capacity(headers.len());
    for name in headers.keys() {
        if OWN_HEADERS.contains(name) {
            let source = format!("the header {name} is not one of the object");
            return Err(StoreError::new(operation, key, StoreErrorKind::InvalidRequest).with_source(source));
        }
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let value =
            HeaderValue::from_bytes(&values.join(&b',')).ok().filter(|value| !value.as_bytes().contains(&b'\t'));
        let Some(value) = value else {
            let source = InvalidHeader { name: name.clone() };
            return Err(StoreError::new(operation, key, StoreErrorKind::InvalidRequest).with_source(source));
        };
        all.insert(name, value);
    }
    Ok(all)
}

/// A header that servers do not agree on.
#[derive(Debug, Error)]
#[error("the value of {name} has a tab, which cannot be sent so that every server understands it")]
struct InvalidHeader {
    name: HeaderName,
}

/// Where a version is asked for and there is none, S3 says that there is no such key.
pub(super) fn unmatched(error: CallError, precondition: &Precondition) -> CallError {
    match (error.kind(), precondition) {
        (StoreErrorKind::NotFound, Precondition::Match(_)) => error.with_kind(StoreErrorKind::PreconditionFailed),
        _ => error,
    }
}

pub(super) fn unread(key: &str, error: crate::store::SourceError) -> StoreError {
    StoreError::new(Operation::Put, key, StoreErrorKind::Body).with_source(error)
}

/// A range in parts of `length` bytes.
pub(super) fn parts(range: Range<u64>, length: u64) -> impl Iterator<Item = Range<u64>> + Send {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        at = start.saturating_add(length.max(1)).min(range.end);
        (start < at).then_some(start..at)
    })
}

impl<C> fmt::Debug for S3Store<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("capabilities", &self.inner.probed.capabilities).finish_non_exhaustive()
    }
}
