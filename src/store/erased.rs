//! [`DynObjectStore`]: the object-safe twin of [`ObjectStore`].

use super::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, ObjectStore, Precondition,
    PutOptions, PutOutput, StoreError,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// The object-safe twin of [`ObjectStore`]: the same calls with boxed futures.
///
/// Every `ObjectStore` is one, and `dyn DynObjectStore` is an `ObjectStore`, so that a store chosen at run time goes
/// wherever a store goes.
///
/// ```
/// use posix_s3::store::{DynObjectStore, MemoryStore, ObjectStore};
/// use std::sync::Arc;
///
/// let store: Arc<dyn DynObjectStore> = Arc::new(MemoryStore::new());
/// let missing = futures_executor::block_on(store.head("a")).unwrap_err();
/// assert_eq!(missing.to_string(), "head of \"a\" failed: there is no such object");
/// ```
pub trait DynObjectStore: Send + Sync {
    /// [`ObjectStore::capabilities`].
    fn boxed_capabilities(&self) -> Capabilities;

    /// [`ObjectStore::list`].
    fn boxed_list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, StoreError>>;

    /// [`ObjectStore::head`].
    fn boxed_head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<ObjectMeta, StoreError>>;

    /// [`ObjectStore::get`].
    fn boxed_get<'a>(&'a self, key: &'a str, options: &'a GetOptions) -> BoxFuture<'a, Result<GetOutput, StoreError>>;

    /// [`ObjectStore::put`].
    fn boxed_put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutOutput, StoreError>>;

    /// [`ObjectStore::replace_metadata`].
    fn boxed_replace_metadata<'a>(
        &'a self,
        key: &'a str,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutOutput, StoreError>>;

    /// [`ObjectStore::delete`].
    fn boxed_delete<'a>(
        &'a self,
        key: &'a str,
        precondition: &'a Precondition,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<S: ObjectStore> DynObjectStore for S {
    fn boxed_capabilities(&self) -> Capabilities {
        self.capabilities()
    }

    fn boxed_list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, StoreError>> {
        Box::pin(self.list(request))
    }

    fn boxed_head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<ObjectMeta, StoreError>> {
        Box::pin(self.head(key))
    }

    fn boxed_get<'a>(&'a self, key: &'a str, options: &'a GetOptions) -> BoxFuture<'a, Result<GetOutput, StoreError>> {
        Box::pin(self.get(key, options))
    }

    fn boxed_put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutOutput, StoreError>> {
        Box::pin(self.put(key, body, options))
    }

    fn boxed_replace_metadata<'a>(
        &'a self,
        key: &'a str,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutOutput, StoreError>> {
        Box::pin(self.replace_metadata(key, options))
    }

    fn boxed_delete<'a>(
        &'a self,
        key: &'a str,
        precondition: &'a Precondition,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.delete(key, precondition))
    }
}

impl ObjectStore for dyn DynObjectStore + '_ {
    fn capabilities(&self) -> Capabilities {
        self.boxed_capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.boxed_list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.boxed_head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.boxed_get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.boxed_put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.boxed_replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.boxed_delete(key, precondition).await
    }
}

impl<S: ObjectStore + ?Sized> ObjectStore for Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        (**self).list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        (**self).head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        (**self).get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (**self).put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (**self).replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        (**self).delete(key, precondition).await
    }
}

impl<S: ObjectStore + ?Sized> ObjectStore for &S {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        (**self).list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        (**self).head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        (**self).get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (**self).put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (**self).replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        (**self).delete(key, precondition).await
    }
}
