//! [`Restamped`]: a bucket whose ETags are no digests.

use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore,
    Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, Support,
};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bucket that gives the same bytes another ETag with every copy, as one with keys of its own does.
#[derive(Default)]
pub(crate) struct Restamped {
    pub(crate) store: MemoryStore,
    pub(crate) copies: Mutex<HashMap<String, u32>>,
    /// The reply to a copy is lost.
    pub(crate) loses: AtomicBool,
    /// It does not, and ETags are digests.
    pub(crate) is_plain: bool,
}

impl Restamped {
    fn stamp(&self, key: &str, etag: &ETag) -> ETag {
        if self.is_plain {
            return etag.clone();
        }
        let copies = self.copies.lock().unwrap().get(key).copied().unwrap_or_default();
        ETag::new(&format!("{}#{copies}", etag.as_str()))
    }

    /// The version in the store behind, or one that is none.
    fn behind(&self, key: &str, etag: &ETag) -> ETag {
        if self.is_plain {
            return etag.clone();
        }
        let (plain, _) = etag.as_str().split_once('#').unwrap();
        if self.stamp(key, &ETag::new(plain)) == *etag { ETag::new(plain) } else { ETag::new("another") }
    }

    fn precondition(&self, key: &str, precondition: &Precondition) -> Precondition {
        match precondition {
            Precondition::Match(etag) => Precondition::Match(self.behind(key, etag)),
            other => other.clone(),
        }
    }
}

impl ObjectStore for Restamped {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL.with_md5_etags(if self.is_plain { Support::Yes } else { Support::No })
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = self.store.list(request).await?;
        page.objects.iter_mut().for_each(|object| object.etag = self.stamp(&object.key, &object.etag));
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let meta = self.store.head(key).await?;
        Ok(ObjectMeta { etag: self.stamp(key, &meta.etag), ..meta })
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let if_match = options.if_match.as_ref().map(|etag| self.behind(key, etag));
        let mut output = self.store.get(key, &GetOptions { if_match, ..options.clone() }).await?;
        output.meta.etag = self.stamp(key, &output.meta.etag);
        Ok(output)
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let precondition = self.precondition(key, &options.precondition);
        let output = self.store.put(key, body, &PutOptions { precondition, ..options.clone() }).await?;
        Ok(PutOutput { etag: self.stamp(key, &output.etag), ..output })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let precondition = self.precondition(key, &options.precondition);
        let output = self.store.replace_metadata(key, &PutOptions { precondition, ..options.clone() }).await?;
        *self.copies.lock().unwrap().entry(key.to_owned()).or_default() += 1;
        if self.loses.swap(false, Ordering::Relaxed) {
            return Err(StoreError::new(Operation::ReplaceMetadata, key, StoreErrorKind::Transient));
        }
        Ok(PutOutput { etag: self.stamp(key, &output.etag), ..output })
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, &self.precondition(key, precondition)).await
    }
}
