//! [`Paged`]: a store with short pages.

use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, ObjectStore, Precondition,
    PutOptions, PutOutput, StoreError,
};

/// A store that answers at most so many keys a page.
pub struct Paged<S> {
    pub store: S,
    pub most: u16,
}

impl<S: ObjectStore> ObjectStore for Paged<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(&ListRequest { max_keys: Some(self.most), ..request.clone() }).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}
