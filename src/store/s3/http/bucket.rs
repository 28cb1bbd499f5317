//! [`Bucket`]: the requests of S3 as values, and how to read what is answered.

use super::answer::{self, Answer};
use super::xml;
use crate::etag::ETag;
use crate::store::s3::calls::{Fetched, Part, Payload, UnfinishedUpload, Upload, UploadPage};
use crate::store::s3::endpoint::{Addressing, Endpoint};
use crate::store::s3::error::CallError;
use crate::store::s3::wire::{OWN_HEADERS, PATH};
use crate::store::{ListPage, ListRequest, ObjectMeta, Precondition, PutOutput, StoreErrorKind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{Method, Request};
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::{self, Write as _};
use std::ops::Range;
use thiserror::Error;

/// A bucket, as far as requests to it are concerned: they are made here, and answers read. No I/O is done.
///
/// Each method makes the request of its name; what it answers is in the [`Exchange`]. Keys go into the path with every
/// byte but letters, digits and `-._~/` percent-encoded, once. `http::Uri` leaves such a path alone, dot segments and all.
///
/// ```
/// use posix_s3::store::s3::{Addressing, Bucket};
///
/// let endpoint = "https://s3.eu-west-1.amazonaws.com".parse()?;
/// let bucket = Bucket::new(&endpoint, "data", Addressing::VirtualHosted)?;
/// let request = bucket.head("a/../b c/")?.into_parts().0;
/// assert_eq!(request.uri(), "https://data.s3.eu-west-1.amazonaws.com/a/../b%20c/");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bucket {
    name: Box<str>,
    /// What stands before the encoded key, with its slash.
    root: Box<str>,
    /// The address of the bucket itself.
    address: Box<str>,
}

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The most bytes of an answer in XML: a page of 1,000 keys of 1,024 bytes, all of them encoded, and as much again.
const DOCUMENT: u64 = 8 << 20;
/// The most bytes of an answer that says why there is no object, however few of the object are wanted.
const REFUSAL: u64 = 64 << 10;
/// The SHA-256 of no bytes.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A name that no bucket has.
#[derive(Debug, Error)]
#[error("invalid bucket name \"{name}\": expected {expected}")]
#[non_exhaustive]
pub struct InvalidBucket {
    /// The name, safe to print.
    pub name: Box<str>,
    /// What was expected.
    pub expected: &'static str,
}

impl Bucket {
    /// A bucket at an endpoint.
    ///
    /// # Errors
    /// [`InvalidBucket`]: a name before a host has 3 to 63 lower-case letters, digits, dots and hyphens; in a path also
    /// other characters, but no slash.
    pub fn new(endpoint: &Endpoint, name: &str, addressing: Addressing) -> Result<Self, InvalidBucket> {
        check_name(name, addressing)?;
        let (scheme, authority, base) = (endpoint.scheme(), endpoint.authority(), endpoint.base_path());
        let (root, address) = match addressing {
            Addressing::Path => {
                let address = format!("{scheme}://{authority}{base}/{}", utf8_percent_encode(name, QUERY));
                (format!("{address}/"), address)
            }
            Addressing::VirtualHosted => {
                let root = format!("{scheme}://{name}.{authority}{base}/");
                (root.clone(), root)
            }
        };
        Ok(Self { name: name.into(), root: root.into(), address: address.into() })
    }

    /// The name of the bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn object(&self, key: &str, query: &str) -> Result<String, CallError> {
        if key.is_empty() {
            // Its address is that of the bucket, which is then what is deleted.
            return Err(CallError::unanswered(StoreErrorKind::InvalidRequest, "expected a key, found none"));
        }
        let mut uri = String::with_capacity(
            self.root.len().saturating_add(key.len()).saturating_add(query.len()).saturating_add(16),
        );
        uri.push_str(&self.root);
        uri.extend(utf8_percent_encode(key, PATH));
        if !query.is_empty() {
            uri.push('?');
            uri.push_str(query);
        }
        Ok(uri)
    }

    fn upload(&self, upload: Upload<'_>, part: Option<u16>) -> Result<String, CallError> {
        if upload.id.is_empty() {
            // Servers take it for a request to the object itself.
            return Err(CallError::unanswered(
                StoreErrorKind::InvalidRequest,
                "expected the id of an upload, found none",
            ));
        }
        let id = utf8_percent_encode(upload.id, QUERY);
        match part {
            Some(number) => self.object(upload.key, &format!("partNumber={number}&uploadId={id}")),
            None => self.object(upload.key, &format!("uploadId={id}")),
        }
    }

    /// `ListObjectsV2`.
    ///
    /// # Errors
    /// None but that of a request that cannot be made, as everywhere here.
    pub fn list(&self, request: &ListRequest) -> Result<Exchange<ListPage>, CallError> {
        let mut uri = format!("{}?", self.address);
        // In the order in which they are signed.
        if let Some(token) = &request.token {
            let _ = write!(uri, "continuation-token={}&", utf8_percent_encode(token, QUERY));
        }
        uri.push_str("encoding-type=url&list-type=2");
        if let Some(max) = request.max_keys {
            let _ = write!(uri, "&max-keys={}", max.clamp(1, 1000));
        }
        let _ = write!(uri, "&prefix={}", utf8_percent_encode(&request.prefix, QUERY));
        Exchange::new(Method::GET, &uri, None, DOCUMENT, answer::list)
    }

    /// `HeadObject`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn head(&self, key: &str) -> Result<Exchange<ObjectMeta>, CallError> {
        Exchange::new(Method::HEAD, &self.object(key, "")?, None, 0, answer::head)
    }

    /// `GetObject`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&ETag>,
        limit: u64,
    ) -> Result<Exchange<Fetched>, CallError> {
        let asked = range.clone();
        let read = move |answer: Answer| answer::fetched(answer, asked.as_ref());
        let mut exchange = Exchange::new(Method::GET, &self.object(key, "")?, None, limit.max(REFUSAL), read)?;
        match range {
            Some(range) => {
                let last = range.end.saturating_sub(1);
                exchange.set(RANGE, &format!("bytes={}-{last}", range.start))?;
            }
            None => exchange.set(HeaderName::from_static("x-amz-checksum-mode"), "ENABLED")?,
        }
        if let Some(etag) = if_match {
            exchange.set(IF_MATCH, etag.as_str())?;
        }
        Ok(exchange)
    }

    /// `PutObject`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn put(
        &self,
        key: &str,
        body: &Payload,
        headers: &HeaderMap,
        precondition: &Precondition,
    ) -> Result<Exchange<PutOutput>, CallError> {
        let checksum = BASE64_STANDARD.encode(body.sha256());
        let sent = checksum.clone();
        let read = move |answer: Answer| answer::put(answer, &sent);
        let mut exchange = Exchange::new(Method::PUT, &self.object(key, "")?, Some(body), DOCUMENT, read)?;
        exchange.set(CHECKSUM, &checksum)?;
        exchange.add(headers)?;
        exchange.require(precondition)?;
        Ok(exchange)
    }

    /// `CopyObject` of an object onto itself, with new headers.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn copy_onto_itself(
        &self,
        key: &str,
        headers: &HeaderMap,
        if_match: Option<&ETag>,
    ) -> Result<Exchange<PutOutput>, CallError> {
        let mut exchange = Exchange::new(Method::PUT, &self.object(key, "")?, None, DOCUMENT, answer::copied)?;
        exchange.add(headers)?;
        exchange.set(COPY_SOURCE, &self.source(key))?;
        exchange.set(METADATA_DIRECTIVE, "REPLACE")?;
        if let Some(etag) = if_match {
            exchange.set(COPY_SOURCE_IF_MATCH, etag.as_str())?;
        }
        Ok(exchange)
    }

    fn source(&self, key: &str) -> String {
        format!("/{}/{}", utf8_percent_encode(&self.name, PATH), utf8_percent_encode(key, PATH))
    }

    /// `DeleteObject`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn delete(&self, key: &str, if_match: Option<&ETag>) -> Result<Exchange<()>, CallError> {
        let mut exchange = Exchange::new(Method::DELETE, &self.object(key, "")?, None, DOCUMENT, answer::nothing)?;
        if let Some(etag) = if_match {
            exchange.set(IF_MATCH, etag.as_str())?;
        }
        Ok(exchange)
    }

    /// `DeleteObjects`.
    ///
    /// # Errors
    /// As for [`list`](Self::list), and [`StoreErrorKind::Unsupported`] for a key with a character that XML has not.
    pub fn delete_batch(&self, keys: &[Box<str>]) -> Result<Exchange<Vec<Result<(), CallError>>>, CallError> {
        let mut body = String::from("<Delete><Quiet>true</Quiet>");
        for key in keys {
            let key = xml::text(key).ok_or_else(|| {
                CallError::unanswered(StoreErrorKind::Unsupported, "a key has a character that XML has not")
            })?;
            let _ = write!(body, "<Object><Key>{key}</Key></Object>");
        }
        body.push_str("</Delete>");
        let body = Payload::new(body.into());
        let md5 = BASE64_STANDARD.encode(Md5::digest(body.bytes()));
        let asked: Vec<Box<str>> = keys.to_vec();
        let read = move |answer: Answer| answer::deleted(answer, &asked);
        let uri = format!("{}?delete=", self.address);
        let mut exchange = Exchange::new(Method::POST, &uri, Some(&body), DOCUMENT, read)?;
        exchange.set(HeaderName::from_static("content-md5"), &md5)?;
        exchange.set(CONTENT_TYPE, "application/xml")?;
        Ok(exchange)
    }

    /// `CreateMultipartUpload`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn create_upload(&self, key: &str, headers: &HeaderMap) -> Result<Exchange<Box<str>>, CallError> {
        let uri = self.object(key, "uploads=")?;
        let mut exchange = Exchange::new(Method::POST, &uri, None, DOCUMENT, answer::upload_id)?;
        exchange.add(headers)?;
        exchange.set(HeaderName::from_static("x-amz-checksum-algorithm"), "SHA256")?;
        Ok(exchange)
    }

    /// `UploadPart`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn upload_part(&self, upload: Upload<'_>, number: u16, body: &Payload) -> Result<Exchange<Part>, CallError> {
        let uri = self.upload(upload, Some(number))?;
        let checksum = BASE64_STANDARD.encode(body.sha256());
        let kept = checksum.clone().into_boxed_str();
        let read = move |answer: Answer| answer::part(answer, number, kept);
        let mut exchange = Exchange::new(Method::PUT, &uri, Some(body), DOCUMENT, read)?;
        exchange.set(CHECKSUM, &checksum)?;
        Ok(exchange)
    }

    /// `UploadPartCopy`, of a part of what the key holds now.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn copy_part(
        &self,
        upload: Upload<'_>,
        number: u16,
        range: Range<u64>,
        if_match: &ETag,
    ) -> Result<Exchange<Part>, CallError> {
        let uri = self.upload(upload, Some(number))?;
        let read = move |answer: Answer| answer::copied_part(answer, number);
        let mut exchange = Exchange::new(Method::PUT, &uri, None, DOCUMENT, read)?;
        exchange.set(COPY_SOURCE, &self.source(upload.key))?;
        let last = range.end.saturating_sub(1);
        let range = format!("bytes={}-{last}", range.start);
        exchange.set(HeaderName::from_static("x-amz-copy-source-range"), &range)?;
        exchange.set(COPY_SOURCE_IF_MATCH, if_match.as_str())?;
        Ok(exchange)
    }

    /// `CompleteMultipartUpload`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn complete_upload(
        &self,
        upload: Upload<'_>,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Result<Exchange<PutOutput>, CallError> {
        let mut body = String::from("<CompleteMultipartUpload>");
        for part in parts {
            let etag = quick_xml::escape::escape(part.etag.as_str());
            let _ = write!(body, "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag>", part.number);
            if let Some(checksum) = &part.sha256 {
                let checksum = quick_xml::escape::escape(&**checksum);
                let _ = write!(body, "<ChecksumSHA256>{checksum}</ChecksumSHA256>");
            }
            body.push_str("</Part>");
        }
        body.push_str("</CompleteMultipartUpload>");
        let uri = self.upload(upload, None)?;
        let body = Payload::new(body.into());
        let mut exchange = Exchange::new(Method::POST, &uri, Some(&body), DOCUMENT, answer::completed)?;
        exchange.set(CONTENT_TYPE, "application/xml")?;
        exchange.require(precondition)?;
        Ok(exchange)
    }

    /// `AbortMultipartUpload`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn abort_upload(&self, upload: Upload<'_>) -> Result<Exchange<()>, CallError> {
        let uri = self.upload(upload, None)?;
        let read = |answer: Answer| match answer::nothing(answer) {
            Err(error) if error.answer().is_some_and(|answer| answer.code() == "NoSuchUpload") => Ok(()),
            other => other,
        };
        Exchange::new(Method::DELETE, &uri, None, DOCUMENT, read)
    }

    /// `ListMultipartUploads`.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn list_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
    ) -> Result<Exchange<UploadPage>, CallError> {
        let mut uri = format!("{}?encoding-type=url", self.address);
        if let Some(after) = after {
            let _ = write!(uri, "&key-marker={}", utf8_percent_encode(&after.key, QUERY));
        }
        let _ = write!(uri, "&prefix={}", utf8_percent_encode(prefix, QUERY));
        if let Some(after) = after {
            let _ = write!(uri, "&upload-id-marker={}", utf8_percent_encode(&after.id, QUERY));
        }
        uri.push_str("&uploads=");
        Exchange::new(Method::GET, &uri, None, DOCUMENT, answer::uploads)
    }
}

const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
const METADATA_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-metadata-directive");

fn check_name(name: &str, addressing: Addressing) -> Result<(), InvalidBucket> {
    let wrong = |expected| InvalidBucket { name: crate::escape::excerpt(name.as_bytes()), expected };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    match addressing {
        Addressing::VirtualHosted if !(3..=63).contains(&name.len()) || !name.bytes().all(is_plain) => {
            Err(wrong("3 to 63 lower-case letters, digits, dots and hyphens"))
        }
        _ if name.is_empty()
            || name.contains('/')
            || name == "."
            || name == ".."
            || name.chars().any(char::is_control) =>
        {
            Err(wrong("a name without slashes and control characters"))
        }
        _ => Ok(()),
    }
}

/// A request and what is made of its answer: of a value `T`, or an error.
pub struct Exchange<T> {
    request: Request<Bytes>,
    sha256: Option<[u8; 32]>,
    limit: u64,
    read: Read<T>,
}

/// Reads an answer.
type Read<T> = Box<dyn FnOnce(Answer) -> Result<T, CallError> + Send>;

impl<T> Exchange<T> {
    fn new(
        method: Method,
        uri: &str,
        body: Option<&Payload>,
        limit: u64,
        read: impl FnOnce(Answer) -> Result<T, CallError> + Send + 'static,
    ) -> Result<Self, CallError> {
        let bytes = body.map(|body| body.bytes().clone()).unwrap_or_default();
        let request = Request::builder().method(method).uri(uri).body(bytes).map_err(unfit)?;
        Ok(Self { request, sha256: body.map(|body| *body.sha256()), limit, read: Box::new(read) })
    }

    /// The request, unless it was signed an unsigned one.
    #[must_use]
    pub const fn request(&self) -> &Request<Bytes> {
        &self.request
    }

    /// The request, to add to it; for signers.
    pub const fn request_mut(&mut self) -> &mut Request<Bytes> {
        &mut self.request
    }

    /// The SHA-256 of the body, as hexadecimal digits.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        let Some(sha256) = self.sha256 else { return EMPTY_SHA256.to_owned() };
        let mut text = String::with_capacity(64);
        for byte in sha256 {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        text
    }

    /// The request, the most bytes of an answer that are to be read whole, and what makes a value of it.
    ///
    /// The body of a get may be longer, and comes in pieces then; for any other that is an error.
    #[must_use]
    pub fn into_parts(self) -> (Request<Bytes>, u64, Read<T>) {
        (self.request, self.limit, self.read)
    }

    fn set(&mut self, name: HeaderName, value: &str) -> Result<(), CallError> {
        self.request.headers_mut().insert(name, HeaderValue::from_str(value).map_err(unfit)?);
        Ok(())
    }

    fn add(&mut self, headers: &HeaderMap) -> Result<(), CallError> {
        for (name, value) in headers {
            if OWN_HEADERS.contains(name) {
                return Err(CallError::unanswered(
                    StoreErrorKind::InvalidRequest,
                    format!("the header {name} is not one of the object"),
                ));
            }
            self.request.headers_mut().append(name, value.clone());
        }
        Ok(())
    }

    fn require(&mut self, precondition: &Precondition) -> Result<(), CallError> {
        match precondition {
            Precondition::None => Ok(()),
            Precondition::Match(etag) => self.set(IF_MATCH, etag.as_str()),
            Precondition::Absent => self.set(IF_NONE_MATCH, "*"),
        }
    }
}

impl<T> fmt::Debug for Exchange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, uri) = (self.request.method(), self.request.uri());
        f.debug_struct("Exchange").field("method", method).field("uri", uri).finish_non_exhaustive()
    }
}

fn unfit(error: impl Into<http::Error>) -> CallError {
    CallError::unanswered(StoreErrorKind::InvalidRequest, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    fn bucket(endpoint: &str, name: &str, addressing: Addressing) -> Result<Bucket, InvalidBucket> {
        Bucket::new(&endpoint.parse().unwrap(), name, addressing)
    }

    #[test]
    fn a03_a_key_is_in_the_path_byte_for_byte() {
        let bucket = bucket("http://127.0.0.1:9000/base", "my_bucket", Addressing::Path).unwrap();
        for (key, path) in [
            ("a", "/base/my_bucket/a"),
            ("a/", "/base/my_bucket/a/"),
            ("/a//b", "/base/my_bucket//a//b"),
            ("..", "/base/my_bucket/.."),
            ("a/../b", "/base/my_bucket/a/../b"),
            ("a b+%41?q#f", "/base/my_bucket/a%20b%2B%2541%3Fq%23f"),
            ("\u{e9}\u{1}\n", "/base/my_bucket/%C3%A9%01%0A"),
        ] {
            let exchange = bucket.head(key).unwrap();
            assert_eq!(exchange.request().uri().path(), path, "{key:?}");
            assert_eq!(exchange.request().uri().query(), None, "{key:?}");
        }
    }

    #[test]
    fn a_name_that_no_bucket_has_is_refused() {
        for (name, addressing) in [
            ("", Addressing::Path),
            ("a/b", Addressing::Path),
            ("..", Addressing::Path),
            ("a\nb", Addressing::Path),
            ("Upper", Addressing::VirtualHosted),
            ("ab", Addressing::VirtualHosted),
        ] {
            assert!(bucket("http://h", name, addressing).is_err(), "{name:?}");
        }
        let refused = bucket("http://h", "a/b", Addressing::Path).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "invalid bucket name \"a/b\": expected a name without slashes and control characters"
        );
    }

    #[test]
    fn what_would_address_something_else_is_no_request() {
        let bucket = bucket("http://h", "bucket", Addressing::Path).unwrap();
        let kind = |refused: CallError| refused.kind();
        assert_eq!(bucket.delete("", None).map_err(kind).unwrap_err(), StoreErrorKind::InvalidRequest);
        for upload in [Upload { key: "a", id: "" }, Upload { key: "", id: "a" }] {
            assert_eq!(bucket.abort_upload(upload).map_err(kind).unwrap_err(), StoreErrorKind::InvalidRequest);
        }
    }

    #[test]
    fn a_header_of_the_request_itself_is_not_one_of_the_object() {
        let bucket = bucket("http://h", "bucket", Addressing::Path).unwrap();
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("elsewhere"))]);
        let refused = bucket.put("a", &Payload::new(Bytes::new()), &headers, &Precondition::None).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::InvalidRequest);
    }
}
