//! [`Counted`]: a store that counts its calls.

use super::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, ObjectStore, Precondition,
    PutOptions, PutOutput, StoreError,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// How often each call of a store was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StoreCalls {
    /// Pages listed.
    pub list: u64,
    /// Heads asked for.
    pub head: u64,
    /// Objects fetched.
    pub get: u64,
    /// Objects put.
    pub put: u64,
    /// Metadata replaced in place, which S3 does by a copy.
    pub copy: u64,
    /// Objects deleted.
    pub delete: u64,
}

impl StoreCalls {
    /// The calls of two runs together.
    #[cfg(feature = "repository")]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            list: self.list.saturating_add(other.list),
            head: self.head.saturating_add(other.head),
            get: self.get.saturating_add(other.get),
            put: self.put.saturating_add(other.put),
            copy: self.copy.saturating_add(other.copy),
            delete: self.delete.saturating_add(other.delete),
        }
    }
}

/// A store that counts the calls made through it. Calls that fail count as well.
#[derive(Debug)]
pub struct Counted<S> {
    store: S,
    list: AtomicU64,
    head: AtomicU64,
    get: AtomicU64,
    put: AtomicU64,
    copy: AtomicU64,
    delete: AtomicU64,
}

impl<S> Counted<S> {
    /// Counts from zero.
    pub const fn new(store: S) -> Self {
        Self {
            store,
            list: AtomicU64::new(0),
            head: AtomicU64::new(0),
            get: AtomicU64::new(0),
            put: AtomicU64::new(0),
            copy: AtomicU64::new(0),
            delete: AtomicU64::new(0),
        }
    }

    /// The counts so far.
    pub fn calls(&self) -> StoreCalls {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCalls {
            list: count(&self.list),
            head: count(&self.head),
            get: count(&self.get),
            put: count(&self.put),
            copy: count(&self.copy),
            delete: count(&self.delete),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<S: ObjectStore> ObjectStore for Counted<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        add(&self.list);
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        add(&self.head);
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        add(&self.get);
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        add(&self.put);
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        add(&self.copy);
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        add(&self.delete);
        self.store.delete(key, precondition).await
    }
}
