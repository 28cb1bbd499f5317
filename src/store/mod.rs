//! The store side: [`ObjectStore`], what its calls take and answer, and the stores that come with the crate.

mod counted;
#[cfg(all(feature = "local", target_os = "linux"))]
mod directory;
mod erased;
mod memory;

pub mod conformance;
#[cfg(any(feature = "s3", feature = "aws-sdk-s3"))]
pub mod s3;

pub use crate::etag::ETag;
pub use crate::io::{Body, Source, SourceError};
pub use counted::{Counted, StoreCalls};
#[cfg(all(feature = "local", target_os = "linux"))]
pub use directory::{DirectoryStore, OpenError};
pub use erased::DynObjectStore;
pub use memory::MemoryStore;

use crate::escape::excerpt;
use crate::metadata::{USER_METADATA_LIMIT, user_metadata_size};
use crate::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use thiserror::Error;

/// A bucket, as far as this crate needs one.
///
/// It is a contract for those who implement it: few methods and no defaults. What each method guarantees is said on it and
/// checked by name in [`conformance`], which any implementer can run. Comfort lives outside the trait, once.
///
/// - Keys are what S3 takes: 1 to 1,024 bytes of UTF-8, any characters. A store keeps them exactly: `a`, `a/`, `a//b`
///   and `a/../b` are four objects. It never folds, trims or escapes one so that two become the same.
/// - Every object is replaced as a whole: a reader sees the old object or the new one, never parts of both, and never
///   the body of one with the headers of the other.
/// - A change that was acknowledged is seen by every later call, on this handle and on others; by a listing, if it began
///   later.
/// - Dropping a future cancels the call; a change then either happened as a whole or not at all.
///
/// The trait is tied to no runtime. For a store behind a pointer there is [`DynObjectStore`].
pub trait ObjectStore: Send + Sync {
    /// What the store can do. It is asked once, before a run.
    fn capabilities(&self) -> Capabilities;

    /// Lists one page of the keys that start with a prefix.
    ///
    /// - Keys come in the byte order of the whole key, each once, when [`Capabilities::ordered_listing`] says so.
    /// - A prefix is text: `a` also finds `a-b`.
    /// - The pages of one listing joined by [`ListPage::next`] hold every key that was there during the whole of it. What
    ///   was put or deleted while it ran may or may not be on the pages after.
    /// - A token may be used again, so that a page that was lost on the way can be asked for once more.
    /// - A key that is there and is not UTF-8 is in [`ListPage::unreadable`]. A listing that cannot be read is an error.
    ///
    /// # Errors
    /// [`StoreErrorKind::InvalidRequest`] for a token that this store did not make.
    fn list(&self, request: &ListRequest) -> impl Future<Output = Result<ListPage, StoreError>> + Send;

    /// Answers headers and size of an object.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] when there is none of this key; any kind for the empty key, which names no object.
    fn head(&self, key: &str) -> impl Future<Output = Result<ObjectMeta, StoreError>> + Send;

    /// Answers an object, with its headers from the same version as its bytes.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`]; [`StoreErrorKind::PreconditionFailed`] when `if_match` names another version;
    /// [`StoreErrorKind::InvalidRequest`] when the range starts at or after the end of the object, or is empty. The body is a stream that ends with an
    /// error when it comes out shorter than announced or fails its checksum.
    fn get(&self, key: &str, options: &GetOptions) -> impl Future<Output = Result<GetOutput, StoreError>> + Send;

    /// Puts an object in the place of whatever the key held.
    ///
    /// The body is read from its start, possibly more than once. When it cannot be read to its end, nothing is put.
    /// Other bytes have another ETag. Last-Modified never goes back.
    ///
    /// # Errors
    /// [`StoreErrorKind::PreconditionFailed`], also when a version is asked for and the key holds nothing; [`StoreErrorKind::InvalidRequest`] for an invalid key or more than 2 KB of user
    /// metadata; [`StoreErrorKind::Body`] when the body could not be read, with its error as source.
    fn put(
        &self,
        key: &str,
        body: Body,
        options: &PutOptions,
    ) -> impl Future<Output = Result<PutOutput, StoreError>> + Send;

    /// Replaces all headers of an object and leaves its bytes and its ETag as they are; Last-Modified moves.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`StoreErrorKind::NotFound`] or, with a version asked for,
    /// [`StoreErrorKind::PreconditionFailed`] when there is none of this key.
    fn replace_metadata(
        &self,
        key: &str,
        options: &PutOptions,
    ) -> impl Future<Output = Result<PutOutput, StoreError>> + Send;

    /// Deletes an object. That there is none of this key is no error, unless the precondition names a version.
    ///
    /// # Errors
    /// [`StoreErrorKind::PreconditionFailed`].
    fn delete(&self, key: &str, precondition: &Precondition) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a store can do. What it cannot do is not relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Capabilities {
    /// Listings come in key order. An import needs it.
    pub ordered_listing: Support,
    /// Preconditions of put and delete are honoured.
    pub preconditions: Support,
    /// Metadata is replaced without sending the body again.
    pub replace_metadata: Support,
    /// The `ETag` of an object put in one piece is the MD5 of its body. Where it is not, an export keeps digests itself.
    pub md5_etags: Support,
    /// A body that is damaged on its way to the store is refused.
    pub checksums: Support,
}

impl Capabilities {
    /// A store that does all of it.
    pub const ALL: Self = Self {
        ordered_listing: Support::Yes,
        preconditions: Support::Yes,
        replace_metadata: Support::Yes,
        md5_etags: Support::Yes,
        checksums: Support::Yes,
    };

    /// A store of which nothing of it is known.
    pub const NONE: Self = Self {
        ordered_listing: Support::No,
        preconditions: Support::No,
        replace_metadata: Support::No,
        md5_etags: Support::No,
        checksums: Support::No,
    };

    /// The same, with this said of ordered listings.
    #[must_use]
    pub const fn with_ordered_listing(mut self, ordered_listing: Support) -> Self {
        self.ordered_listing = ordered_listing;
        self
    }

    /// The same, with this said of preconditions.
    #[must_use]
    pub const fn with_preconditions(mut self, preconditions: Support) -> Self {
        self.preconditions = preconditions;
        self
    }

    /// The same, with this said of the `ETag` being an MD5.
    #[must_use]
    pub const fn with_md5_etags(mut self, md5_etags: Support) -> Self {
        self.md5_etags = md5_etags;
        self
    }

    /// The same, with this said of checksums.
    #[must_use]
    pub const fn with_checksums(mut self, checksums: Support) -> Self {
        self.checksums = checksums;
        self
    }

    /// The same, with this said of replacing metadata.
    #[must_use]
    pub const fn with_replace_metadata(mut self, replace_metadata: Support) -> Self {
        self.replace_metadata = replace_metadata;
        self
    }
}

/// Whether a store can do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Support {
    /// It can, and its conformance checks pass.
    Yes,
    /// It cannot, or not reliably.
    No,
}

/// A page to list.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// What the keys start with; empty for all.
    pub prefix: String,
    /// The token of the page before, [`ListPage::next`]; `None` for the first page.
    pub token: Option<String>,
    /// The most keys to answer, 1 to 1,000; `None` leaves it to the store.
    pub max_keys: Option<u16>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListPage {
    /// The objects, in key order.
    pub objects: Vec<ListedObject>,
    /// Keys on this page that are not UTF-8, in key order. S3 has no such keys, and nothing can be asked about them; a
    /// server that has them all the same is not to hide the others.
    pub unreadable: Vec<Box<[u8]>>,
    /// The token for the next page; `None` when this is the last.
    pub next: Option<String>,
}

impl ListPage {
    /// A page of these objects, and the token for the next one.
    #[must_use]
    pub const fn new(objects: Vec<ListedObject>, next: Option<String>) -> Self {
        Self { objects, unreadable: Vec::new(), next }
    }

    /// The same page with these keys that are not UTF-8.
    #[must_use]
    pub fn with_unreadable(self, unreadable: Vec<Box<[u8]>>) -> Self {
        Self { unreadable, ..self }
    }
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The whole key.
    pub key: String,
    /// The size of the body in bytes.
    pub size: u64,
    /// The version of the bytes.
    pub etag: ETag,
    /// When the object was last put or its metadata replaced; agrees with [`ObjectMeta::last_modified`] to the second.
    pub last_modified: Timestamp,
}

/// What a store knows about an object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The size of the body in bytes.
    pub size: u64,
    /// The version of the bytes.
    pub etag: ETag,
    /// When the object was last put or its metadata replaced.
    pub last_modified: Timestamp,
    /// `Content-Type` and user metadata, as `x-amz-meta-…`.
    pub headers: HeaderMap,
}

impl ObjectMeta {
    /// Whether the object has to be restored from an archive before its bytes can be read.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        let says = |name: &str, words: &[&str]| {
            let text = self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            words.iter().any(|word| text.contains(word))
        };
        // Instant retrieval is no archive: it can be read as it is. Nor is what was restored, for as long as that lasts.
        let is_kept_away = says("x-amz-storage-class", &["GLACIER", "DEEP_ARCHIVE"])
            && !says("x-amz-storage-class", &["GLACIER_IR"])
            || says("x-amz-archive-status", &["ARCHIVE_ACCESS"]);
        is_kept_away && !says("x-amz-restore", &["ongoing-request=\"false\""])
    }
}

/// What a get asks for; by default the whole object, whatever its version.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Which bytes. An end beyond the object is cut.
    pub range: Option<Range<u64>>,
    /// The version that is wanted.
    pub if_match: Option<ETag>,
    /// The size that a listing said, if there was one; a store may fetch a large object in parts from the start. It need not
    /// be right.
    pub expected_size: Option<u64>,
}

/// The answer to a get.
pub struct GetOutput {
    /// The object's headers and its whole size.
    pub meta: ObjectMeta,
    /// The bytes asked for, in pieces.
    pub body: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for GetOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOutput").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// What a put stores besides the body, and under which condition.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// `Content-Type` and user metadata, as `x-amz-meta-…`. Whatever the object had before is gone.
    pub headers: HeaderMap,
    /// When the put is to happen.
    pub precondition: Precondition,
}

/// The state of a key on which a change depends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any state.
    #[default]
    None,
    /// The key holds this version: `If-Match`.
    Match(ETag),
    /// The key holds nothing: `If-None-Match: *`.
    Absent,
}

/// The answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutput {
    /// The version of the bytes that were put.
    pub etag: ETag,
    /// When that was, as [`ObjectMeta::last_modified`] is going to say it; `None` when the store does not answer it.
    pub last_modified: Option<Timestamp>,
}

/// A call to a store that failed: what kind of failure, at which key, and the cause as source.
#[derive(Debug, Error)]
#[error("{operation} of \"{key}\" failed: {kind}")]
pub struct StoreError {
    operation: Operation,
    key: Box<str>,
    kind: StoreErrorKind,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl StoreError {
    /// A failure without a further cause.
    #[must_use]
    pub fn new(operation: Operation, key: &str, kind: StoreErrorKind) -> Self {
        Self { operation, key: excerpt(key.as_bytes()), kind, source: None }
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// At which key, or for a listing which prefix; safe to print.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Which call failed.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }
}

/// The calls of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the method of its name")]
pub enum Operation {
    List,
    Head,
    Get,
    Put,
    ReplaceMetadata,
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Head => "head",
            Self::Get => "get",
            Self::Put => "put",
            Self::ReplaceMetadata => "replacing the metadata",
            Self::Delete => "delete",
        })
    }
}

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no object of this key.
    #[error("there is no such object")]
    NotFound,
    /// The key holds another version than the precondition names.
    #[error("the object is not the version expected")]
    PreconditionFailed,
    /// There is no such bucket.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// The bucket is elsewhere: another region or endpoint.
    #[error("the bucket is in another region")]
    WrongRegion,
    /// The object is in an archived storage class, and its bytes cannot be read before it is restored.
    #[error("the object is archived")]
    Archived,
    /// The store does not permit the call.
    #[error("access denied")]
    Denied,
    /// The store asks for fewer calls.
    #[error("the store is throttling")]
    Throttled,
    /// The call may succeed when made again.
    #[error("a passing failure")]
    Transient,
    /// The store cannot do this.
    #[error("the store does not support it")]
    Unsupported,
    /// What the store answered is not what it stored.
    #[error("the answer is damaged")]
    Corrupt,
    /// The call asks for something that S3 does not take: a key, size, range or token out of bounds.
    #[error("the request is not valid")]
    InvalidRequest,
    /// The body to put could not be read.
    #[error("the body could not be read")]
    Body,
    /// Anything else; the source tells.
    #[error("the store failed")]
    Other,
}

impl StoreErrorKind {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient)
    }
}

/// The largest key that S3 takes, in bytes.
const MAX_KEY_BYTES: usize = 1024;

/// A request that S3 refuses, with the reason.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum InvalidRequest {
    #[error("expected a key of 1 to {MAX_KEY_BYTES} bytes, found {bytes}")]
    KeyLength { bytes: usize },
    #[error("expected at most {USER_METADATA_LIMIT} bytes of user metadata, found {bytes}")]
    MetadataSize { bytes: usize },
    #[error("expected a range that starts below the size of {size}, found {start}")]
    Range { start: u64, size: u64 },
    #[error("expected a token of this store, found \"{token}\"")]
    Token { token: Box<str> },
}

/// Refuses a key that no bucket takes.
pub(crate) fn check_key(operation: Operation, key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let source = InvalidRequest::KeyLength { bytes: key.len() };
        return Err(StoreError::new(operation, key, StoreErrorKind::InvalidRequest).with_source(source));
    }
    Ok(())
}

/// Refuses what a put may not hold, before anything is sent.
pub(crate) fn check_put(operation: Operation, key: &str, options: &PutOptions) -> Result<(), StoreError> {
    check_key(operation, key)?;
    let bytes = user_metadata_size(&options.headers);
    if bytes > USER_METADATA_LIMIT {
        let source = InvalidRequest::MetadataSize { bytes };
        return Err(StoreError::new(operation, key, StoreErrorKind::InvalidRequest).with_source(source));
    }
    Ok(())
}

/// Whether a change may happen, given the version that the key holds now.
pub(crate) fn check_precondition(
    operation: Operation,
    key: &str,
    precondition: &Precondition,
    current: Option<&ETag>,
) -> Result<(), StoreError> {
    let holds = match (precondition, current) {
        (Precondition::None, _) | (Precondition::Absent, None) => true,
        (Precondition::Match(wanted), Some(current)) => wanted == current,
        (Precondition::Match(_), None) | (Precondition::Absent, Some(_)) => false,
    };
    if holds { Ok(()) } else { Err(StoreError::new(operation, key, StoreErrorKind::PreconditionFailed)) }
}

/// The part of an object that a get asks for.
pub(crate) fn check_range(key: &str, options: &GetOptions, size: u64) -> Result<Range<u64>, StoreError> {
    let Some(range) = &options.range else { return Ok(0..size) };
    if range.start >= size || range.start >= range.end {
        let source = InvalidRequest::Range { start: range.start, size };
        return Err(StoreError::new(Operation::Get, key, StoreErrorKind::InvalidRequest).with_source(source));
    }
    Ok(range.start..range.end.min(size))
}

/// How many keys a page holds: what was asked for, at most 1,000.
pub(crate) fn page_size(request: &ListRequest) -> usize {
    usize::from(request.max_keys.unwrap_or(1000).clamp(1, 1000))
}
