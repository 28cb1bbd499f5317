//! [`SdkCalls`]: the requests of S3 through a client of the AWS SDK.
//!
//! Four things the SDK does not do as this crate needs them:
//!
//! 1. It refuses a whole answer for the sake of one header that it cannot read: user metadata given twice, a flag that
//!    is neither `true` nor `false`. So the headers of an answer are taken from it before the SDK looks, and read here
//!    ([`Exchange`]).
//! 2. It sends each header of an object through a setter of its own. What a put stores is a [`HeaderMap`], so it is laid
//!    into the request as it is, before that is signed ([`Exchange::with_headers`]).
//! 3. It hands out the keys of a listing as they came, percent-encoded ([`decode`]).
//! 4. It writes keys into XML that XML cannot carry, and the server refuses them all or, worse, deletes another
//!    (`survives_xml`).

use super::calls::{
    Content, Fetched, OtherLength, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage, counted,
};
use super::error::CallError;
use super::wire::{PATH, decoded_key, etag, is_encoded, is_of_object, listed_key, retry_after, survives_xml};
use crate::escape::excerpt;
use crate::etag::ETag;
use crate::store::{ListPage, ListRequest, ListedObject, ObjectMeta, Precondition, PutOutput, StoreErrorKind};
use crate::timestamp::Timestamp;
use aws_sdk_s3::Client;
use aws_sdk_s3::client::customize::CustomizableOperation;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut as Received, BeforeTransmitInterceptorContextMut as Unsigned,
};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    ConfigBag, Intercept, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
};
use aws_sdk_s3::error::{BoxError, BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective,
    ObjectIdentifier,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::utf8_percent_encode;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// The requests of S3 through an `aws_sdk_s3::Client`: its credentials, its endpoint, its region, its HTTP stack.
///
/// - Each call is one request; what the client is configured to do about retries is not done, since the store above
///   tries again itself. Timeouts hold as configured.
/// - Every body goes with its SHA-256 and no other checksum; no body that comes is checked here.
/// - Headers are sent if they are UTF-8, and refused with [`StoreErrorKind::InvalidRequest`] if not. An answer with a
///   header that is not UTF-8 cannot be read through this client at all: it is [`StoreErrorKind::Corrupt`].
///
/// ```no_run
/// use posix_s3::store::StoreError;
/// use posix_s3::store::s3::{S3Options, S3Store, SdkCalls};
///
/// async fn open(client: aws_sdk_s3::Client) -> Result<S3Store<SdkCalls>, StoreError> {
///     S3Store::connect(SdkCalls::new(client, "photos"), S3Options::default()).await
/// }
/// ```
#[derive(Clone)]
pub struct SdkCalls {
    client: Client,
    bucket: Box<str>,
}

impl SdkCalls {
    /// The requests to one bucket; by its name, or by the ARN of an access point.
    #[must_use]
    pub fn new(client: Client, bucket: &str) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }
}

impl fmt::Debug for SdkCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkCalls").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl S3Calls for SdkCalls {
    async fn list(&self, request: &ListRequest) -> Result<ListPage, CallError> {
        let exchange = Exchange::new();
        let call = self
            .client
            .list_objects_v2()
            .bucket(&*self.bucket)
            .encoding_type(EncodingType::Url)
            .set_prefix((!request.prefix.is_empty()).then(|| request.prefix.clone()))
            .set_continuation_token(request.token.clone())
            .set_max_keys(request.max_keys.map(|max| i32::from(max.clamp(1, 1000))));
        let page = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        // The SDK takes XML that breaks off for XML that ends. A page that was cut must not pass for the last one.
        let found = page.contents().len();
        if let Some(count) = page.key_count().filter(|count| usize::try_from(*count) != Ok(found)) {
            return Err(CallError::unanswered(StoreErrorKind::Transient, OtherCount { count, found }));
        }
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let (mut objects, mut unreadable) = (Vec::with_capacity(found), Vec::new());
        for object in page.contents() {
            let size = present(object.size(), "Size")?;
            let size = u64::try_from(size).map_err(|_| Unreadable::new("Size", &size.to_string()))?;
            let etag = etag(present(object.e_tag(), "ETag")?);
            let last_modified = timestamp(present(object.last_modified(), "LastModified")?)?;
            match listed_key(decode(present(object.key(), "Key")?, encoded)?) {
                Ok(key) => objects.push(ListedObject { key, size, etag, last_modified }),
                Err(key) => unreadable.push(key),
            }
        }
        let next = if present(page.is_truncated(), "IsTruncated")? {
            Some(present(page.next_continuation_token(), "NextContinuationToken")?.to_owned())
        } else {
            None
        };
        Ok(ListPage::new(objects, next).with_unreadable(unreadable))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, CallError> {
        let exchange = Exchange::new();
        let call = self.client.head_object().bucket(&*self.bucket).key(key);
        exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        let answer = exchange.answer()?;
        let size = present(answer.content_length()?, "Content-Length")?;
        answer.meta(size)
    }

    async fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&ETag>,
        limit: u64,
    ) -> Result<Fetched, CallError> {
        let exchange = match range {
            // Some servers would answer the checksum of the whole.
            Some(_) => Exchange::new(),
            // The SDK would check the body itself if it were asked for the checksum, and fail in ways that cannot be told
            // apart. So it is the header that asks.
            None => Exchange::with_headers(&HeaderMap::from_iter([(
                CHECKSUM_MODE.clone(),
                HeaderValue::from_static("ENABLED"),
            )]))?,
        };
        let call = self
            .client
            .get_object()
            .bucket(&*self.bucket)
            .key(key)
            .set_range(range.as_ref().map(range_header).transpose()?)
            .set_if_match(if_match.map(|etag| etag.as_str().to_owned()));
        let output = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        let answer = exchange.answer()?;
        let (part, size) = answer.extent()?;
        let is_whole = range.is_none();
        let wanted = range.map_or(0..size, |range| range.start..range.end.min(size));
        if part != wanted {
            let ignored = answer.status != 206;
            let kind = if ignored { StoreErrorKind::Unsupported } else { StoreErrorKind::Corrupt };
            return Err(CallError::unanswered(kind, OtherRange { wanted, found: part }));
        }
        let meta = answer.meta(size)?;
        let sha256 = if is_whole { answer.sha256() } else { None };
        let length = part.end.saturating_sub(part.start);
        let body = match length > limit {
            true => Content::Pieces(counted(pieces(output.body), length)),
            false => Content::Whole(read(output.body, length).await?),
        };
        Ok(Fetched { meta, body, sha256 })
    }

    async fn put(
        &self,
        key: &str,
        body: &Payload,
        headers: &HeaderMap,
        precondition: &Precondition,
    ) -> Result<PutOutput, CallError> {
        let exchange = Exchange::with_headers(headers)?;
        let (if_match, if_none_match) = conditions(precondition);
        let call = self
            .client
            .put_object()
            .bucket(&*self.bucket)
            .key(key)
            .body(ByteStream::from(body.bytes().clone()))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64.encode(body.sha256()))
            .set_if_match(if_match)
            .set_if_none_match(if_none_match);
        exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        Ok(PutOutput { etag: exchange.answer()?.etag()?, last_modified: None })
    }

    async fn copy_onto_itself(
        &self,
        key: &str,
        headers: &HeaderMap,
        if_match: Option<&ETag>,
    ) -> Result<PutOutput, CallError> {
        let exchange = Exchange::with_headers(headers)?;
        let call = self
            .client
            .copy_object()
            .bucket(&*self.bucket)
            .key(key)
            .copy_source(copy_source(&self.bucket, key))
            .metadata_directive(MetadataDirective::Replace)
            .set_copy_source_if_match(if_match.map(|etag| etag.as_str().to_owned()));
        let output = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        let result = present(output.copy_object_result(), "CopyObjectResult")?;
        Ok(PutOutput {
            etag: etag(present(result.e_tag(), "ETag")?),
            last_modified: result.last_modified().map(timestamp).transpose()?,
        })
    }

    async fn delete(&self, key: &str, if_match: Option<&ETag>) -> Result<(), CallError> {
        let exchange = Exchange::new();
        let call = self
            .client
            .delete_object()
            .bucket(&*self.bucket)
            .key(key)
            .set_if_match(if_match.map(|etag| etag.as_str().to_owned()));
        match exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error)) {
            Ok(_) => Ok(()),
            Err(error) if if_match.is_none() && error.kind() == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_batch(&self, keys: &[Box<str>]) -> Result<Vec<Result<(), CallError>>, CallError> {
        let exchange = Exchange::new();
        let output;
        let mut refused = HashMap::new();
        let together: Vec<&str> = keys.iter().map(|key| &**key).filter(|key| survives_xml(key)).collect();
        if !together.is_empty() {
            let objects = together.iter().map(|key| ObjectIdentifier::builder().key(*key).build());
            let objects = objects.collect::<Result<Vec<_>, BuildError>>().map_err(unbuilt)?;
            let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(unbuilt)?;
            let call = self
                .client
                .delete_objects()
                .bucket(&*self.bucket)
                .delete(delete)
                .checksum_algorithm(ChecksumAlgorithm::Sha256);
            output = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
            refused.extend(output.errors().iter().map(|error| (error.key().unwrap_or_default(), error)));
            // An error that is said of none of the keys may be about any of them.
            if let Some((_, error)) = refused.iter().find(|(key, _)| !together.contains(key)) {
                return Err(exchange.refused_within(error));
            }
        }
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            answers.push(match refused.get(&**key) {
                _ if !survives_xml(key) => self.delete(key, None).await,
                None => Ok(()),
                Some(error) => match exchange.refused_within(error) {
                    error if error.kind() == StoreErrorKind::NotFound => Ok(()),
                    error => Err(error),
                },
            });
        }
        Ok(answers)
    }

    async fn create_upload(&self, key: &str, headers: &HeaderMap) -> Result<Box<str>, CallError> {
        let exchange = Exchange::with_headers(headers)?;
        let call = self
            .client
            .create_multipart_upload()
            .bucket(&*self.bucket)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256);
        let output = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        Ok(present(output.upload_id(), "UploadId")?.into())
    }

    async fn upload_part(&self, upload: Upload<'_>, number: u16, body: &Payload) -> Result<Part, CallError> {
        let exchange = Exchange::new();
        let call = self
            .client
            .upload_part()
            .bucket(&*self.bucket)
            .key(upload.key)
            .upload_id(upload.id)
            .part_number(i32::from(number))
            .body(ByteStream::from(body.bytes().clone()))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64.encode(body.sha256()));
        exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        let answer = exchange.answer()?;
        Ok(Part { number, etag: answer.etag()?, sha256: answer.text(&CHECKSUM_SHA256).map(Into::into) })
    }

    async fn copy_part(
        &self,
        upload: Upload<'_>,
        number: u16,
        range: Range<u64>,
        if_match: &ETag,
    ) -> Result<Part, CallError> {
        // The SDK says nothing of a body that is empty, and some servers refuse a part that does not.
        let length = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        let exchange = Exchange::with_headers(&length)?;
        let call = self
            .client
            .upload_part_copy()
            .bucket(&*self.bucket)
            .key(upload.key)
            .upload_id(upload.id)
            .part_number(i32::from(number))
            .copy_source(copy_source(&self.bucket, upload.key))
            .copy_source_range(range_header(&range)?)
            .copy_source_if_match(if_match.as_str());
        let output = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        let result = present(output.copy_part_result(), "CopyPartResult")?;
        Ok(Part {
            number,
            etag: etag(present(result.e_tag(), "ETag")?),
            sha256: result.checksum_sha256().map(Into::into),
        })
    }

    async fn complete_upload(
        &self,
        upload: Upload<'_>,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Result<PutOutput, CallError> {
        let exchange = Exchange::new();
        let (if_match, if_none_match) = conditions(precondition);
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(i32::from(part.number))
                .e_tag(part.etag.as_str())
                .set_checksum_sha256(part.sha256.as_deref().map(str::to_owned))
                .build()
        });
        let call = self
            .client
            .complete_multipart_upload()
            .bucket(&*self.bucket)
            .key(upload.key)
            .upload_id(upload.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build())
            .set_if_match(if_match)
            .set_if_none_match(if_none_match);
        let output = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        Ok(PutOutput { etag: etag(present(output.e_tag(), "ETag")?), last_modified: None })
    }

    async fn abort_upload(&self, upload: Upload<'_>) -> Result<(), CallError> {
        let exchange = Exchange::new();
        let call = self.client.abort_multipart_upload().bucket(&*self.bucket).key(upload.key).upload_id(upload.id);
        match exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error)) {
            Ok(_) => Ok(()),
            Err(error) if error.answer().is_some_and(|answer| answer.code() == "NoSuchUpload") => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list_uploads(&self, prefix: &str, after: Option<&UnfinishedUpload>) -> Result<UploadPage, CallError> {
        let exchange = Exchange::new();
        let call = self
            .client
            .list_multipart_uploads()
            .bucket(&*self.bucket)
            .encoding_type(EncodingType::Url)
            .set_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
            .set_key_marker(after.map(|upload| upload.key.clone()))
            .set_upload_id_marker(after.map(|upload| upload.id.clone()));
        let page = exchange.on(call.customize()).send().await.map_err(|error| exchange.failure(error))?;
        let said = page.encoding_type() == Some(&EncodingType::Url);
        let encoded = is_encoded(said, page.uploads().iter().filter_map(|upload| upload.key()));
        let uploads = page.uploads().iter().map(|upload| {
            Ok(UnfinishedUpload {
                key: decoded_text(present(upload.key(), "Key")?, encoded)?,
                id: present(upload.upload_id(), "UploadId")?.to_owned(),
                initiated: timestamp(present(upload.initiated(), "Initiated")?)?,
            })
        });
        let uploads = uploads.collect::<Result<Vec<_>, CallError>>()?;
        let is_last = !present(page.is_truncated(), "IsTruncated")?;
        if !is_last {
            // The next page starts behind the last upload of this one.
            present(uploads.last(), "Upload")?;
        }
        Ok(UploadPage { uploads, is_last })
    }

    async fn sleep(&self, duration: Duration) {
        futures_timer::Delay::new(duration).await;
    }
}

static CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
static CHECKSUM_SHA256: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
static BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
static CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// One request and its answer, as far as this crate and not the SDK sees to their headers.
#[derive(Clone, Debug)]
struct Exchange {
    /// The headers of the object, in place of those that the SDK thinks it should have.
    object: Option<Arc<[(String, String)]>>,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl Exchange {
    /// A request with no headers but those of the SDK.
    fn new() -> Self {
        Self { object: None, answer: Arc::default() }
    }

    /// A request with these headers besides. The SDK carries UTF-8 only.
    fn with_headers(headers: &HeaderMap) -> Result<Self, CallError> {
        let object = headers.iter().map(|(name, value)| match str::from_utf8(value.as_bytes()) {
            Ok(value) => Ok((name.as_str().to_owned(), value.to_owned())),
            Err(_) => Err(UnsentHeader { name: name.as_str().into(), value: excerpt(value.as_bytes()) }.into()),
        });
        Ok(Self { object: Some(object.collect::<Result<_, CallError>>()?), ..Self::new() })
    }

    /// Makes the operation one request with the headers of this exchange, which then holds its answer.
    fn on<T, E, B>(&self, operation: CustomizableOperation<T, E, B>) -> CustomizableOperation<T, E, B> {
        let config = aws_sdk_s3::config::Config::builder()
            .retry_config(RetryConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        operation.config_override(config).interceptor(self.clone())
    }

    fn answer(&self) -> Result<Answer, CallError> {
        // Invariant: an operation succeeds only after its answer went through the interceptor.
        present(self.heard(), "answer")
    }

    fn heard(&self) -> Option<Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the failure of the operation is to the store.
    fn failure<E>(&self, error: SdkError<E, HttpResponse>) -> CallError
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        if let (SdkError::ServiceError(error), Some(answer)) = (&error, self.heard()) {
            let (code, message) = (error.err().code(), error.err().message().unwrap_or_default());
            // With neither an error in the status nor one in the body, it is an answer that the SDK could not read.
            if !answer.is_success() || code.is_some() {
                return answer.refused(code.unwrap_or_default(), message);
            }
        }
        if let Some(unreadable) = unreadable_header(&error) {
            return unreadable.into();
        }
        let kind = match &error {
            SdkError::ConstructionFailure(_) => StoreErrorKind::InvalidRequest,
            SdkError::DispatchFailure(failure) if failure.is_user() => StoreErrorKind::InvalidRequest,
            _ => StoreErrorKind::Transient,
        };
        CallError::unanswered(kind, error)
    }

    /// What is said of one key within an answer of 200.
    fn refused_within(&self, error: &aws_sdk_s3::types::Error) -> CallError {
        let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
        self.heard().unwrap_or_default().refused(code, message)
    }
}

impl Intercept for Exchange {
    fn name(&self) -> &'static str {
        "Exchange"
    }

    fn modify_before_signing(
        &self,
        context: &mut Unsigned<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(object) = &self.object else { return Ok(()) };
        let headers = context.request_mut().headers_mut();
        // Of a body that it knows nothing about the SDK says `application/octet-stream`.
        headers.remove(CONTENT_TYPE.as_str());
        for (name, _) in object.iter() {
            headers.remove(name);
        }
        for (name, value) in object.iter() {
            headers.try_append(name.clone(), value.clone())?;
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut Received<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let answer = Answer::new(response.status().as_u16(), response.headers());
        if answer.is_success() {
            // What is left is for the SDK itself: the framing of the body, and the clock.
            for name in answer.headers.keys().filter(|name| **name != CONTENT_LENGTH && **name != http::header::DATE) {
                response.headers_mut().remove(name);
            }
        }
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok(())
    }
}

/// Status and headers of an answer.
#[derive(Clone, Debug, Default)]
struct Answer {
    status: u16,
    headers: HeaderMap,
}

impl Answer {
    fn new<'a>(status: u16, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            // Both came in through types with the same rules.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
            {
                map.append(name, value);
            }
        }
        Self { status, headers: map }
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }

    fn refused(&self, code: &str, message: &str) -> CallError {
        let wait = self.text(&RETRY_AFTER).and_then(retry_after);
        let request_id = self.text(&REQUEST_ID).unwrap_or_default();
        let is_elsewhere = (300..400).contains(&self.status) || code == "AuthorizationHeaderMalformed";
        let message = match self.text(&BUCKET_REGION) {
            Some(region) if is_elsewhere => format!("{message} (the bucket is in the region {region})"),
            _ => message.to_owned(),
        };
        CallError::refused(self.status, code, message.trim(), request_id).with_retry_after(wait)
    }

    fn etag(&self) -> Result<ETag, CallError> {
        Ok(etag(present(self.text(&ETAG), "ETag")?))
    }

    fn content_length(&self) -> Result<Option<u64>, CallError> {
        let Some(text) = self.text(&CONTENT_LENGTH) else { return Ok(None) };
        Ok(Some(text.parse().map_err(|_| Unreadable::new("Content-Length", text))?))
    }

    /// Which bytes the body has, of how many.
    fn extent(&self) -> Result<(Range<u64>, u64), CallError> {
        let length = self.content_length()?;
        if self.status != 206 {
            let size = present(length, "Content-Length")?;
            return Ok((0..size, size));
        }
        let text = present(self.text(&CONTENT_RANGE), "Content-Range")?;
        let (part, size) = content_range(text).ok_or_else(|| Unreadable::new("Content-Range", text))?;
        match length {
            Some(length) if Some(length) != part.end.checked_sub(part.start) => {
                Err(Unreadable::new("Content-Length", &length.to_string()).into())
            }
            _ => Ok((part, size)),
        }
    }

    /// The checksum of the whole object; that of an object put in parts is of its parts, and says how many.
    fn sha256(&self) -> Option<[u8; 32]> {
        if self.text(&CHECKSUM_TYPE) == Some("COMPOSITE") {
            return None;
        }
        BASE64.decode(self.text(&CHECKSUM_SHA256)?).ok()?.try_into().ok()
    }

    fn meta(&self, size: u64) -> Result<ObjectMeta, CallError> {
        let modified = present(self.text(&LAST_MODIFIED), "Last-Modified")?;
        let time = DateTime::from_str(modified, DateTimeFormat::HttpDate);
        let time = time.map_err(|_| Unreadable::new("Last-Modified", modified))?;
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| is_of_object(name.as_str())) {
            headers.append(name, value.clone());
        }
        Ok(ObjectMeta { size, etag: self.etag()?, last_modified: timestamp(&time)?, headers })
    }
}

/// The bytes of a body whose length is known.
async fn read(mut body: ByteStream, length: u64) -> Result<Bytes, CallError> {
    // A server that only says that a body is large gets no more memory than this for it.
    const AT_ONCE: u64 = 1 << 24;
    let mut whole = BytesMut::with_capacity(usize::try_from(length.min(AT_ONCE)).unwrap_or(0));
    let found = |whole: &BytesMut| OtherLength { expected: length, found: whole.len() as u64 };
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| CallError::unanswered(StoreErrorKind::Transient, error))?;
        whole.extend_from_slice(&piece);
        if whole.len() as u64 > length {
            return Err(CallError::unanswered(StoreErrorKind::Corrupt, found(&whole)));
        }
    }
    if (whole.len() as u64) < length {
        return Err(CallError::unanswered(StoreErrorKind::Transient, found(&whole)));
    }
    Ok(whole.freeze())
}

/// A body as it comes.
fn pieces(body: ByteStream) -> impl Stream<Item = Result<Bytes, CallError>> + Send + Unpin {
    let pieces = stream::unfold(body, |mut body| async move {
        let piece = body.next().await?;
        Some((piece.map_err(|error| CallError::unanswered(StoreErrorKind::Transient, error)), body))
    });
    pieces.boxed()
}

/// `bucket/key` as `x-amz-copy-source` takes it.
fn copy_source(bucket: &str, key: &str) -> String {
    let between = if bucket.starts_with("arn:") { "/object/" } else { "/" };
    format!("{}{between}{}", utf8_percent_encode(bucket, PATH), utf8_percent_encode(key, PATH))
}

/// The bytes of the key that a listing names. Where the server did not say that it encoded, it did not.
fn decode(text: &str, encoded: bool) -> Result<Vec<u8>, CallError> {
    if !encoded {
        return Ok(text.as_bytes().to_vec());
    }
    Ok(decoded_key(text).ok_or_else(|| Unreadable::new("Key", text))?)
}

fn decoded_text(text: &str, encoded: bool) -> Result<String, CallError> {
    Ok(listed_key(decode(text, encoded)?).map_err(|_| Unreadable::new("Key", text))?)
}

fn range_header(range: &Range<u64>) -> Result<String, CallError> {
    match range.end.checked_sub(1) {
        Some(last) if last >= range.start => Ok(format!("bytes={}-{last}", range.start)),
        // S3 answers the whole object.
        _ => Err(CallError::unanswered(StoreErrorKind::InvalidRequest, EmptyRange { range: range.clone() })),
    }
}

/// `bytes 0-9/100`: which part, and the size of the whole.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (part, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = part.split_once('-')?;
    let (start, last, size): (u64, u64, u64) = (start.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (start <= last && last < size).then(|| (start..last.saturating_add(1), size))
}

/// The version that a text names; without the quotes that it has in a header, it is the same.
/// `If-Match` and `If-None-Match`.
fn conditions(precondition: &Precondition) -> (Option<String>, Option<String>) {
    match precondition {
        Precondition::None => (None, None),
        Precondition::Match(etag) => (Some(etag.as_str().to_owned()), None),
        Precondition::Absent => (None, Some("*".to_owned())),
    }
}

/// A time, to the second: `Last-Modified` has no more, and what a listing adds to it no head answers.
fn timestamp(time: &DateTime) -> Result<Timestamp, CallError> {
    Timestamp::from_unix(time.secs(), 0).ok_or_else(|| Unreadable::new("time", &time.to_string()).into())
}

fn unbuilt(error: BuildError) -> CallError {
    CallError::unanswered(StoreErrorKind::InvalidRequest, error)
}

/// What must be in an answer.
fn present<T>(value: Option<T>, what: &'static str) -> Result<T, CallError> {
    value.ok_or_else(|| CallError::unanswered(StoreErrorKind::Corrupt, Absent { what }))
}

/// The HTTP stack of the SDK throws away an answer with a header that is not UTF-8, and only the text of its error says
/// that this was why.
fn unreadable_header(error: &(dyn StdError + 'static)) -> Option<Unreadable> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if text.starts_with("header `") && text.contains("non-UTF8") {
            return Some(Unreadable::new("header", &text));
        }
        cause = error.source();
    }
    None
}

#[derive(Debug, Error)]
#[error("expected {what} in the answer, found none")]
struct Absent {
    what: &'static str,
}

#[derive(Debug, Error)]
#[error("expected a readable {what} in the answer, found \"{text}\"")]
struct Unreadable {
    what: &'static str,
    text: Box<str>,
}

impl Unreadable {
    fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: excerpt(text.as_bytes()) }
    }
}

impl From<Unreadable> for CallError {
    fn from(error: Unreadable) -> Self {
        Self::unanswered(StoreErrorKind::Corrupt, error)
    }
}

#[derive(Debug, Error)]
#[error("expected a page of {count} keys, found {found}")]
struct OtherCount {
    count: i32,
    found: usize,
}

#[derive(Debug, Error)]
#[error("expected the bytes {wanted:?} in the answer, found {found:?}")]
struct OtherRange {
    wanted: Range<u64>,
    found: Range<u64>,
}

#[derive(Debug, Error)]
#[error("expected a range of at least one byte, found {range:?}")]
struct EmptyRange {
    range: Range<u64>,
}

#[derive(Debug, Error)]
#[error("expected a header of UTF-8, which is all that this client sends, found {name}: \"{value}\"")]
struct UnsentHeader {
    name: Box<str>,
    value: Box<str>,
}

impl From<UnsentHeader> for CallError {
    fn from(error: UnsentHeader) -> Self {
        Self::unanswered(StoreErrorKind::InvalidRequest, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::error::ErrorMetadata;
    use aws_sdk_s3::operation::head_object::HeadObjectError;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
        Answer::new(status, headers.iter().copied())
    }

    fn source(error: &CallError) -> String {
        error.source().unwrap().to_string()
    }

    #[test]
    fn keys_of_a_listing_are_decoded_once_and_only_if_encoded() {
        assert_eq!(decoded_text("a+b%2Bc%2541%C3%A9%0A", true).unwrap(), "a b+c%41é\n");
        assert_eq!(decoded_text("a+b%2B", false).unwrap(), "a+b%2B");
        assert_eq!(decoded_text(" x ", true).unwrap(), " x ");
        assert_eq!(decode("100%", true).unwrap_err().kind(), StoreErrorKind::Corrupt);
        let error = decoded_text("caf%E9", true).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert_eq!(source(&error), "expected a readable Key in the answer, found \"caf%E9\"");
    }

    #[test]
    fn a_copy_source_is_encoded_but_for_its_slashes() {
        assert_eq!(copy_source("my.bucket", "a//../é +%\n~"), "my.bucket/a//../%C3%A9%20%2B%25%0A~");
        let arn = "arn:aws:s3:us-east-1:1:accesspoint/p";
        assert_eq!(copy_source(arn, "k"), "arn%3Aaws%3As3%3Aus-east-1%3A1%3Aaccesspoint/p/object/k");
    }

    #[test]
    fn ranges_as_headers_say_them() {
        assert_eq!(range_header(&(5..10)).unwrap(), "bytes=5-9");
        for range in [Range { start: 5, end: 5 }, Range { start: 0, end: 0 }, Range { start: 6, end: 5 }] {
            assert_eq!(range_header(&range).unwrap_err().kind(), StoreErrorKind::InvalidRequest);
        }
        assert_eq!(content_range("bytes 5-9/100"), Some((5..10, 100)));
        for text in ["bytes 5-9/*", "bytes */100", "5-9/100", "bytes 9-5/100", "bytes 5-100/100", "bytes a-9/100"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    #[test]
    fn size_is_that_of_the_whole_object() {
        let whole = answer(200, &[("content-length", "5")]);
        assert_eq!(whole.extent().unwrap(), (0..5, 5));
        let part = answer(206, &[("content-length", "2"), ("content-range", "bytes 1-2/5")]);
        assert_eq!(part.extent().unwrap(), (1..3, 5));
        let other = answer(206, &[("content-length", "3"), ("content-range", "bytes 1-2/5")]);
        assert_eq!(other.extent().unwrap_err().kind(), StoreErrorKind::Corrupt);
        let unknown = answer(200, &[]).extent().unwrap_err();
        assert_eq!(source(&unknown), "expected Content-Length in the answer, found none");
    }

    #[test]
    fn headers_are_kept_as_they_came() {
        let answer = answer(
            200,
            &[
                ("etag", "\"a\""),
                ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
                ("content-type", "text/plain"),
                ("x-amz-meta-file-owner", "1"),
                ("x-amz-meta-file-owner", "2"),
                ("x-amz-meta-name", "é"),
                ("x-amz-missing-meta", "1"),
                ("x-amz-storage-class", "GLACIER"),
                ("x-amz-request-id", "RID"),
                ("cache-control", "no-store"),
            ],
        );
        let meta = answer.meta(7).unwrap();
        assert_eq!((meta.size, meta.last_modified.seconds()), (7, 1_767_225_600));
        assert_eq!(meta.headers.len(), 6);
        assert_eq!(meta.headers.get_all("x-amz-meta-file-owner").iter().count(), 2);
        assert_eq!(meta.headers["x-amz-meta-name"].as_bytes(), "é".as_bytes());
    }

    #[test]
    fn a_version_is_the_same_with_and_without_quotes() {
        assert_eq!(etag("abc"), etag("\"abc\""));
        assert_eq!(etag("W/\"abc\"").as_str(), "W/\"abc\"");
    }

    #[test]
    fn the_checksum_of_parts_is_not_that_of_the_object() {
        let whole = answer(200, &[("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=")]);
        assert_eq!(whole.sha256(), Some(*Payload::new(Bytes::from_static(b"hello")).sha256()));
        let parts = answer(200, &[("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=-2")]);
        assert_eq!(parts.sha256(), None);
    }

    #[test]
    fn a_body_is_as_long_as_it_was_said_to_be() {
        let body = || ByteStream::from_static(b"hello");
        let read = |length| futures_executor::block_on(read(body(), length)).map_err(|error| error.kind());
        assert_eq!(read(5), Ok(Bytes::from_static(b"hello")));
        assert_eq!(read(6), Err(StoreErrorKind::Transient));
        assert_eq!(read(4), Err(StoreErrorKind::Corrupt));
    }

    #[test]
    fn a_header_that_is_not_utf8_is_refused_before_it_is_sent() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_bytes(b"caf\xe9").unwrap())]);
        let error = Exchange::with_headers(&headers).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::InvalidRequest);
        assert_eq!(
            source(&error),
            "expected a header of UTF-8, which is all that this client sends, found content-type: \"caf\\xe9\""
        );
    }

    #[test]
    fn failures() {
        let failed = |status: u16, headers: &[(&'static str, &'static str)], code: Option<&str>| {
            let exchange = Exchange::new();
            *exchange.answer.lock().unwrap() = Some(answer(status, headers));
            let mut meta = ErrorMetadata::builder();
            if let Some(code) = code {
                meta = meta.code(code).message("said");
            }
            let response = HttpResponse::new(status.try_into().unwrap(), "".into());
            exchange.failure(SdkError::service_error(HeadObjectError::generic(meta.build()), response))
        };
        let error = failed(503, &[("retry-after", "7"), ("x-amz-request-id", "RID")], Some("SlowDown"));
        assert_eq!((error.kind(), error.retry_after()), (StoreErrorKind::Throttled, Some(Duration::from_secs(7))));
        assert_eq!(error.answer().map(|answer| answer.request_id()), Some("RID"));
        assert_eq!(source(&error), "the answer was 503 SlowDown: said");
        assert_eq!(failed(403, &[], None).kind(), StoreErrorKind::Denied);
        assert_eq!(failed(200, &[], Some("InternalError")).kind(), StoreErrorKind::Transient);
        // An answer that could not be read: nobody knows what it said.
        let error = failed(200, &[], None);
        assert_eq!((error.kind(), error.answer(), error.is_unheard()), (StoreErrorKind::Transient, None, true));
        let unbuilt = SdkError::<HeadObjectError, HttpResponse>::construction_failure("no key");
        assert_eq!(Exchange::new().failure(unbuilt).kind(), StoreErrorKind::InvalidRequest);
        let late = SdkError::<HeadObjectError, HttpResponse>::timeout_error("late");
        assert_eq!(Exchange::new().failure(late).kind(), StoreErrorKind::Transient);
        let unread = "header `x-amz-meta-a=\u{fffd}` contains non-UTF8 octet at index 0";
        let unread = SdkError::<HeadObjectError, HttpResponse>::timeout_error(unread);
        assert_eq!(Exchange::new().failure(unread).kind(), StoreErrorKind::Corrupt);
    }
}
