//! S3 over HTTP: requests made and signed here, sent by whatever client the caller has.
//!
//! [`Bucket`] makes the requests and reads the answers and does no I/O; [`Signer`] signs; [`HttpClient`] sends;
//! [`HttpCalls`] puts the three together.

mod agent;
mod alarm;
mod answer;
mod bucket;
mod client;
mod connection;
mod sign;
mod socket;
mod tls;
mod xml;

pub use agent::Agent;
pub use bucket::{Bucket, Exchange, InvalidBucket};
pub use client::{HttpClient, HttpError};
pub use sign::{SignError, Signer};

use super::calls::{Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
use super::environment::Environment;
use super::error::CallError;
use crate::etag::ETag;
use crate::store::{ListPage, ListRequest, ObjectMeta, Precondition, PutOutput, StoreErrorKind};
use http::HeaderMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

/// The requests of S3 over HTTP.
#[derive(Clone, Debug)]
pub struct HttpCalls<C = Agent> {
    bucket: Bucket,
    signer: Signer,
    client: C,
}

impl HttpCalls {
    /// Requests to a bucket, sent by the client that comes with the crate.
    #[must_use]
    pub fn new(bucket: Bucket, signer: Signer) -> Self {
        Self::with_client(bucket, signer, Agent::new())
    }

    /// Requests to a bucket of this name, where and as whom the environment says.
    ///
    /// # Errors
    /// [`InvalidBucket`] for a name that no bucket has.
    pub fn from_environment(environment: &Environment, bucket: &str) -> Result<Self, InvalidBucket> {
        Self::from_environment_with(environment, bucket, Agent::new())
    }
}

impl<C: HttpClient> HttpCalls<C> {
    /// Requests to a bucket of this name, where and as whom the environment says, sent by a client of the caller's.
    ///
    /// # Errors
    /// [`InvalidBucket`] for a name that no bucket has.
    pub fn from_environment_with(environment: &Environment, bucket: &str, client: C) -> Result<Self, InvalidBucket> {
        let bucket = Bucket::new(environment.endpoint(), bucket, environment.addressing(bucket))?;
        let signer = Signer::new(environment.region(), environment.credentials());
        Ok(Self::with_client(bucket, signer, client))
    }

    /// Requests to a bucket, sent by a client of the caller's.
    #[must_use]
    pub const fn with_client(bucket: Bucket, signer: Signer, client: C) -> Self {
        Self { bucket, signer, client }
    }

    /// The bucket.
    #[must_use]
    pub const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    async fn send<T>(&self, exchange: Result<Exchange<T>, CallError>) -> Result<T, CallError> {
        let mut exchange = exchange?;
        self.signer.sign(&mut exchange, SystemTime::now()).map_err(|error| match &error {
            SignError::Credentials(_) => CallError::unanswered(StoreErrorKind::Denied, error),
            _ => CallError::unanswered(StoreErrorKind::InvalidRequest, error),
        })?;
        let (request, limit, read) = exchange.into_parts();
        match self.client.send(request, limit).await {
            Ok(response) => read(response),
            Err(error) => Err(CallError::unanswered(error.kind(), error)),
        }
    }
}

impl<C: HttpClient> S3Calls for HttpCalls<C> {
    async fn list(&self, request: &ListRequest) -> Result<ListPage, CallError> {
        self.send(self.bucket.list(request)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, CallError> {
        self.send(self.bucket.head(key)).await
    }

    async fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&ETag>,
        limit: u64,
    ) -> Result<Fetched, CallError> {
        self.send(self.bucket.get(key, range, if_match, limit)).await
    }

    async fn put(
        &self,
        key: &str,
        body: &Payload,
        headers: &HeaderMap,
        precondition: &Precondition,
    ) -> Result<PutOutput, CallError> {
        self.send(self.bucket.put(key, body, headers, precondition)).await
    }

    async fn copy_onto_itself(
        &self,
        key: &str,
        headers: &HeaderMap,
        if_match: Option<&ETag>,
    ) -> Result<PutOutput, CallError> {
        self.send(self.bucket.copy_onto_itself(key, headers, if_match)).await
    }

    async fn delete(&self, key: &str, if_match: Option<&ETag>) -> Result<(), CallError> {
        self.send(self.bucket.delete(key, if_match)).await
    }

    async fn delete_batch(&self, keys: &[Box<str>]) -> Result<Vec<Result<(), CallError>>, CallError> {
        self.send(self.bucket.delete_batch(keys)).await
    }

    async fn create_upload(&self, key: &str, headers: &HeaderMap) -> Result<Box<str>, CallError> {
        self.send(self.bucket.create_upload(key, headers)).await
    }

    async fn upload_part(&self, upload: Upload<'_>, number: u16, body: &Payload) -> Result<Part, CallError> {
        self.send(self.bucket.upload_part(upload, number, body)).await
    }

    async fn copy_part(
        &self,
        upload: Upload<'_>,
        number: u16,
        range: Range<u64>,
        if_match: &ETag,
    ) -> Result<Part, CallError> {
        self.send(self.bucket.copy_part(upload, number, range, if_match)).await
    }

    async fn complete_upload(
        &self,
        upload: Upload<'_>,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Result<PutOutput, CallError> {
        self.send(self.bucket.complete_upload(upload, parts, precondition)).await
    }

    async fn abort_upload(&self, upload: Upload<'_>) -> Result<(), CallError> {
        self.send(self.bucket.abort_upload(upload)).await
    }

    async fn list_uploads(&self, prefix: &str, after: Option<&UnfinishedUpload>) -> Result<UploadPage, CallError> {
        self.send(self.bucket.list_uploads(prefix, after)).await
    }

    async fn sleep(&self, duration: Duration) {
        self.client.sleep(duration).await;
    }
}
