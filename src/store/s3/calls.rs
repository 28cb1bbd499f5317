//! [`S3Calls`]: the requests of S3 of which a store is made, one method a request.

use super::error::CallError;
use crate::etag::ETag;
use crate::store::{ListPage, ListRequest, ObjectMeta, Precondition, PutOutput, StoreErrorKind};
use crate::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use http::HeaderMap;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;
use thiserror::Error;

/// The requests of S3 of which [`S3Store`](super::S3Store) is made, each made once: what is tried again, and when, is the
/// store's to decide.
///
/// Both doors implement it: `HttpCalls`, which makes HTTP requests of its own, and
/// `SdkCalls`, which goes through an `aws_sdk_s3::Client`. Whatever they have in common is
/// in the store above.
///
/// - A key goes over the wire byte for byte and comes back so: nothing is folded, trimmed or normalised.
/// - A body that is sent is in memory, since it may have to be sent again; the store cuts large objects into parts. One that is
///   fetched comes whole up to a limit, and in pieces beyond it ([`Content`]).
/// - A header that S3 answered and that is no text is handed on as it is, as far as the client shows it.
/// - Ranges are in bytes, their end is exclusive, and they are not empty. A part but the last has at least 5 MiB, and none more
///   than 5 GiB.
///
/// # Errors of every call
/// What S3 refuses has [`CallError::answer`] and a kind by its
/// [code](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList), else by its status. No whole answer
/// is [`Transient`](crate::store::StoreErrorKind::Transient), one that cannot be read
/// [`Corrupt`](crate::store::StoreErrorKind::Corrupt), and a request that cannot be made
/// [`InvalidRequest`](crate::store::StoreErrorKind::InvalidRequest).
pub trait S3Calls: Send + Sync {
    /// `ListObjectsV2` with `encoding-type=url`; the keys come decoded.
    ///
    /// # Errors
    /// [`StoreErrorKind::InvalidRequest`](crate::store::StoreErrorKind::InvalidRequest) for a token that S3 does not know.
    fn list(&self, request: &ListRequest) -> impl Future<Output = Result<ListPage, CallError>> + Send;

    /// `HeadObject`.
    ///
    /// # Errors
    /// As every call: what S3 answered, or that it did not.
    fn head(&self, key: &str) -> impl Future<Output = Result<ObjectMeta, CallError>> + Send;

    /// `GetObject`, with the checksum that was stored with the object, if there is one.
    ///
    /// A body of at most `limit` bytes is read whole; a longer one comes in pieces, each once it is asked for. It is as long as
    /// the answer says, and of the range that was asked for, which ends at the end of the object.
    ///
    /// # Errors
    /// [`StoreErrorKind::Transient`] when the body breaks off, [`StoreErrorKind::Corrupt`] when it is longer than announced or of
    /// another range. In pieces, that is the last of them.
    fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&ETag>,
        limit: u64,
    ) -> impl Future<Output = Result<Fetched, CallError>> + Send;

    /// `PutObject`.
    ///
    /// # Errors
    /// As every call.
    fn put(
        &self,
        key: &str,
        body: &Payload,
        headers: &HeaderMap,
        precondition: &Precondition,
    ) -> impl Future<Output = Result<PutOutput, CallError>> + Send;

    /// `CopyObject` onto itself, with `x-amz-metadata-directive: REPLACE`.
    ///
    /// # Errors
    /// As every call; also for an error in the body of an answer whose status is 200.
    fn copy_onto_itself(
        &self,
        key: &str,
        headers: &HeaderMap,
        if_match: Option<&ETag>,
    ) -> impl Future<Output = Result<PutOutput, CallError>> + Send;

    /// `DeleteObject`.
    ///
    /// # Errors
    /// As every call. That there is no such object is none.
    fn delete(&self, key: &str, if_match: Option<&ETag>) -> impl Future<Output = Result<(), CallError>> + Send;

    /// `DeleteObjects` of at most 1,000 keys, with what became of each, in their order.
    ///
    /// # Errors
    /// Of the request as a whole; those of a single key are in the answer.
    fn delete_batch(
        &self,
        keys: &[Box<str>],
    ) -> impl Future<Output = Result<Vec<Result<(), CallError>>, CallError>> + Send;

    /// `CreateMultipartUpload`; answers the id of the upload.
    ///
    /// # Errors
    /// As every call.
    fn create_upload(&self, key: &str, headers: &HeaderMap)
    -> impl Future<Output = Result<Box<str>, CallError>> + Send;

    /// `UploadPart`, of the numbers 1 to 10,000.
    ///
    /// # Errors
    /// As every call.
    fn upload_part(
        &self,
        upload: Upload<'_>,
        number: u16,
        body: &Payload,
    ) -> impl Future<Output = Result<Part, CallError>> + Send;

    /// `UploadPartCopy` of a part of the object that the key holds now.
    ///
    /// # Errors
    /// As every call; also for an error in the body of an answer whose status is 200.
    fn copy_part(
        &self,
        upload: Upload<'_>,
        number: u16,
        range: Range<u64>,
        if_match: &ETag,
    ) -> impl Future<Output = Result<Part, CallError>> + Send;

    /// `CompleteMultipartUpload`.
    ///
    /// # Errors
    /// As every call; also for an error in the body of an answer whose status is 200.
    fn complete_upload(
        &self,
        upload: Upload<'_>,
        parts: &[Part],
        precondition: &Precondition,
    ) -> impl Future<Output = Result<PutOutput, CallError>> + Send;

    /// `AbortMultipartUpload`. That there is no such upload is no error.
    ///
    /// # Errors
    /// As every call.
    fn abort_upload(&self, upload: Upload<'_>) -> impl Future<Output = Result<(), CallError>> + Send;

    /// `ListMultipartUploads`: one page of what was begun below a prefix and neither completed nor aborted.
    ///
    /// # Errors
    /// As every call.
    fn list_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
    ) -> impl Future<Output = Result<UploadPage, CallError>> + Send;

    /// Waits, for the time between two tries.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// A body to send, with its checksum.
#[derive(Clone, Debug)]
pub struct Payload {
    bytes: Bytes,
    sha256: [u8; 32],
}

impl Payload {
    /// Takes the checksum of the bytes, which takes about a millisecond per MiB where the processor has no instructions
    /// for it.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        use sha2::Digest;
        let sha256 = sha2::Sha256::digest(&bytes).into();
        Self { bytes, sha256 }
    }

    /// The same bytes with the checksum of others, to see whether a store notices.
    pub(super) fn damaged(&self) -> Self {
        let sha256 = self.sha256.map(|byte| !byte);
        Self { bytes: self.bytes.clone(), sha256 }
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Their SHA-256.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

/// The answer to a get.
#[derive(Debug)]
pub struct Fetched {
    /// Size of the whole object, and its headers.
    pub meta: ObjectMeta,
    /// What was asked for.
    pub body: Content,
    /// The SHA-256 of the whole object, if it was put with one.
    pub sha256: Option<[u8; 32]>,
}

/// The body of an answer: whole, or in pieces as they come.
///
/// The pieces hold the connection. Read to their end, they leave it to the next request; dropped before, they close it. There
/// is nothing behind an error.
pub enum Content<E = CallError> {
    /// All of it.
    Whole(Bytes),
    /// What is too long to be read before it is asked for.
    Pieces(BoxStream<'static, Result<Bytes, E>>),
}

impl<E> Content<E> {
    /// The bytes, if they are there.
    #[must_use]
    pub const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Pieces(_) => None,
        }
    }

    /// The same, if they are there.
    #[must_use]
    pub fn into_whole(self) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Pieces(_) => None,
        }
    }
}

impl<E: Send + 'static> Content<E> {
    /// All of it in pieces; what is whole is one.
    #[must_use]
    pub fn into_pieces(self) -> BoxStream<'static, Result<Bytes, E>> {
        match self {
            Self::Whole(bytes) => stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed(),
            Self::Pieces(pieces) => pieces,
        }
    }
}

impl<E> fmt::Debug for Content<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            Self::Pieces(_) => f.write_str("Pieces(..)"),
        }
    }
}

/// Pieces that are so many bytes in all, or end with an error.
pub(super) fn counted<S>(pieces: S, expected: u64) -> BoxStream<'static, Result<Bytes, CallError>>
where
    S: Stream<Item = Result<Bytes, CallError>> + Send + Unpin + 'static,
{
    let counted = stream::unfold(Some((pieces, 0_u64)), move |state| async move {
        let (mut pieces, found) = state?;
        let other = |kind, found| Some((Err(CallError::unanswered(kind, OtherLength { expected, found })), None));
        match pieces.next().await {
            Some(Ok(piece)) => {
                let found = found.saturating_add(piece.len() as u64);
                if found > expected {
                    return other(StoreErrorKind::Corrupt, found);
                }
                Some((Ok(piece), Some((pieces, found))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None if found < expected => other(StoreErrorKind::Transient, found),
            None => None,
        }
    });
    counted.boxed()
}

/// A body that is not as long as it was announced.
#[derive(Debug, Error)]
#[error("expected a body of {expected} bytes, found {found}")]
pub(super) struct OtherLength {
    pub(super) expected: u64,
    pub(super) found: u64,
}

/// A multipart upload that was begun.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// The key that it is for.
    pub key: &'a str,
    /// The id that S3 gave to it.
    pub id: &'a str,
}

/// A part that S3 holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u16,
    /// The version of its bytes.
    pub etag: ETag,
    /// The SHA-256 that S3 keeps of it, in base64; `None` where it keeps none.
    pub sha256: Option<Box<str>>,
}

/// A multipart upload that was neither completed nor aborted. Its parts cost storage until it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The key that it is for.
    pub key: String,
    /// The id that S3 gave to it.
    pub id: String,
    /// When it was begun.
    pub initiated: Timestamp,
}

/// One page of unfinished uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads, by key.
    pub uploads: Vec<UnfinishedUpload>,
    /// Whether there are no more behind the last of them.
    pub is_last: bool,
}
