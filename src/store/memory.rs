//! [`MemoryStore`]: a bucket in memory.

use super::{
    Body, Capabilities, ETag, GetOptions, GetOutput, InvalidRequest, ListPage, ListRequest, ListedObject, ObjectMeta,
    ObjectStore, Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, check_key,
    check_precondition, check_put, check_range, page_size,
};
use crate::escape::excerpt;
use crate::timestamp::Timestamp;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A bucket in memory: exact, and gone with the process. The store of tests and examples.
///
/// ```
/// use posix_s3::store::{Body, MemoryStore, ObjectStore, PutOptions};
///
/// let store = MemoryStore::new();
/// futures_executor::block_on(async {
///     store.put("a//b/", Body::empty(), &PutOptions::default()).await?;
///     assert_eq!(store.head("a//b/").await?.size, 0);
///     Ok::<(), posix_s3::store::StoreError>(())
/// })?;
/// # Ok::<(), posix_s3::store::StoreError>(())
/// ```
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Object>>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Clone)]
struct Object {
    body: Bytes,
    meta: ObjectMeta,
}

impl MemoryStore {
    /// An empty bucket on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(|| SystemTime::now().into())
    }

    /// An empty bucket whose Last-Modified comes from `now`.
    pub fn with_clock(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { objects: Mutex::default(), now: Arc::new(now) }
    }

    /// The same bucket once more, on the same clock: what becomes of the one from here does not become of the other.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { objects: Mutex::new(self.objects().clone()), now: Arc::clone(&self.now) }
    }

    /// The time of a new version: now, and in any case behind the version before.
    fn modified_after(&self, current: Option<&ObjectMeta>) -> Timestamp {
        let now = (self.now)();
        current.map_or(now, |current| now.max(next_moment(current.last_modified)))
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        // A map is whole after every statement below, so a panic elsewhere leaves nothing half done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} objects)", self.objects().len())
    }
}

impl ObjectStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let start = match &request.token {
            None => Bound::Included(request.prefix.as_str()),
            Some(token) if token.starts_with(&request.prefix) => Bound::Excluded(token.as_str()),
            Some(token) => return Err(foreign_token(request, token)),
        };
        let objects = self.objects();
        let mut found = objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&request.prefix))
            .map(|(key, object)| ListedObject {
                key: key.clone(),
                size: object.meta.size,
                etag: object.meta.etag.clone(),
                last_modified: object.meta.last_modified,
            });
        let page: Vec<ListedObject> = found.by_ref().take(page_size(request)).collect();
        let next = found.next().and_then(|_| page.last().map(|last| last.key.clone()));
        Ok(ListPage::new(page, next))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        check_key(Operation::Head, key)?;
        match self.objects().get(key) {
            Some(object) => Ok(object.meta.clone()),
            None => Err(StoreError::new(Operation::Head, key, StoreErrorKind::NotFound)),
        }
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        check_key(Operation::Get, key)?;
        let Some(object) = self.objects().get(key).cloned() else {
            return Err(StoreError::new(Operation::Get, key, StoreErrorKind::NotFound));
        };
        if let Some(wanted) = &options.if_match {
            let precondition = Precondition::Match(wanted.clone());
            check_precondition(Operation::Get, key, &precondition, Some(&object.meta.etag))?;
        }
        let range = check_range(key, options, object.meta.size)?;
        // Invariant: the range lies within the size, which is the length of the body in memory.
        let range = usize::try_from(range.start).unwrap_or(0)..usize::try_from(range.end).unwrap_or(0);
        let bytes = object.body.slice(range);
        let body = stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed();
        Ok(GetOutput { meta: object.meta, body })
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        check_put(Operation::Put, key, options)?;
        let body = read_whole(key, &body).await?;
        let etag = ETag::from_md5(Md5::digest(&body).into());
        let mut objects = self.objects();
        let current = objects.get(key).map(|object| &object.meta);
        check_precondition(Operation::Put, key, &options.precondition, current.map(|current| &current.etag))?;
        let meta = ObjectMeta {
            size: body.len() as u64,
            etag: etag.clone(),
            last_modified: self.modified_after(current),
            headers: options.headers.clone(),
        };
        let last_modified = Some(meta.last_modified);
        objects.insert(key.to_owned(), Object { body, meta });
        Ok(PutOutput { etag, last_modified })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        check_put(Operation::ReplaceMetadata, key, options)?;
        let mut objects = self.objects();
        let Some(object) = objects.get_mut(key) else {
            return Err(StoreError::new(Operation::ReplaceMetadata, key, StoreErrorKind::NotFound));
        };
        check_precondition(Operation::ReplaceMetadata, key, &options.precondition, Some(&object.meta.etag))?;
        object.meta.headers.clone_from(&options.headers);
        object.meta.last_modified = self.modified_after(Some(&object.meta));
        Ok(PutOutput { etag: object.meta.etag.clone(), last_modified: Some(object.meta.last_modified) })
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        check_key(Operation::Delete, key)?;
        let mut objects = self.objects();
        let current = objects.get(key).map(|object| &object.meta.etag);
        check_precondition(Operation::Delete, key, precondition, current)?;
        objects.remove(key);
        Ok(())
    }
}

async fn read_whole(key: &str, body: &Body) -> Result<Bytes, StoreError> {
    const PIECE: usize = 1 << 20;
    let unread = |error| StoreError::new(Operation::Put, key, StoreErrorKind::Body).with_source(error);
    if let Body::Bytes(bytes) = body {
        return Ok(bytes.clone());
    }
    let mut whole = BytesMut::new();
    while (whole.len() as u64) < body.size() {
        whole.extend_from_slice(&body.read(whole.len() as u64, PIECE).await.map_err(unread)?);
    }
    Ok(whole.freeze())
}

pub(super) fn foreign_token(request: &ListRequest, token: &str) -> StoreError {
    StoreError::new(Operation::List, &request.prefix, StoreErrorKind::InvalidRequest)
        .with_source(InvalidRequest::Token { token: excerpt(token.as_bytes()) })
}

/// The moment after another, so that a later version is never as old as the one before.
pub(super) fn next_moment(time: Timestamp) -> Timestamp {
    Timestamp::from_nanoseconds(time.nanoseconds().saturating_add(1)).unwrap_or(time)
}
