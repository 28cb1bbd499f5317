//! [`Route`]: answers requests whose signature is right.

use super::bucket::{Bucket, MIN_PART, Object, Part, Upload, hex, no_md5};
use super::checksum::{Algorithm, Checksum, Of};
use super::operation::Operation;
use super::query::Query;
use super::refusal::Refusal;
use super::xml::{Element, element, url_encode};
use super::{BUCKET, Lack, REGION, Shared};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE, TRANSFER_ENCODING,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode_str;
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

/// The most that user metadata may sum up to, names and values.
const METADATA_LIMIT: usize = 2048;
/// The most that one page shows.
const PAGE: usize = 1000;

/// Headers that are kept with an object besides its user metadata.
const KEPT: [HeaderName; 7] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_DISPOSITION,
    CONTENT_LANGUAGE,
    CACHE_CONTROL,
    EXPIRES,
    HeaderName::from_static("x-amz-website-redirect-location"),
];
const META: &str = "x-amz-meta-";
const ENCRYPTION: &str = "x-amz-server-side-encryption";
const ENCRYPTION_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const STORAGE_CLASS: &str = "x-amz-storage-class";
const COPY_SOURCE: &str = "x-amz-copy-source";
const COPY_SOURCE_IF_MATCH: &str = "x-amz-copy-source-if-match";
const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";
const CHECKSUM_TYPE: &str = "x-amz-checksum-type";
const STORAGE_CLASSES: [&str; 9] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
];

type Answer = Result<Response<Body>, Refusal>;

pub(super) struct Route {
    shared: Arc<Shared>,
}

impl Route {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait::async_trait]
impl S3Route for Route {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let operation = Operation::of(&request.method, &request.uri, &request.headers);
        let takes_any = self.shared.settings().lacks.contains(&Lack::Checksums);
        let answer = match Request::read(request, takes_any).await {
            Ok(request) => match self.shared.refusal(operation) {
                Some(refusal) => Err(refusal),
                None => request.answer(operation, &self.shared),
            },
            Err(refusal) => Err(refusal),
        };
        let (mut parts, body) = answer.unwrap_or_else(Refusal::into_answer).into_parts();
        parts.headers.entry("x-amz-request-id").or_insert(HeaderValue::from_static("0A49CE4060975EAC"));
        Ok(S3Response { status: Some(parts.status), headers: parts.headers, ..S3Response::new(body) })
    }
}

/// A request, wholly read.
struct Request {
    bucket: String,
    key: String,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    region: Option<String>,
}

impl Request {
    /// Reads the body to its end; one that is not what the signature says only where nothing is verified.
    async fn read(request: S3Request<Body>, takes_any: bool) -> Result<Self, Refusal> {
        let decode = |text: &str| {
            let invalid = |_| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI.");
            percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(invalid)
        };
        let path = request.uri.path().strip_prefix('/').unwrap_or_default();
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, key) = (decode(bucket)?, decode(key)?);
        let mut headers = request.headers;
        // Also of a body that is empty.
        let is_put = request.method == Method::PUT && !headers.contains_key(COPY_SOURCE);
        let has_length = headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING);
        if is_put && !has_length && !headers.contains_key("x-amz-decoded-content-length") {
            return Err(Refusal::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header."));
        }
        let body = read_body(request.input, takes_any).await?;
        // What was announced to come after the body.
        if let Some(trailers) = request.trailing_headers.and_then(|trailers| trailers.take()) {
            headers.extend(trailers);
        }
        let query = Query::of(&request.uri);
        let region = request.region.map(|region| region.as_str().to_owned());
        Ok(Self { bucket, key, query, headers, body, region })
    }

    fn answer(&self, operation: Operation, shared: &Shared) -> Answer {
        if let Some(region) = self.region.as_deref().filter(|region| *region != REGION) {
            let message =
                format!("The authorization header is malformed; the region '{region}' is wrong; expecting '{REGION}'");
            return Err(
                Refusal::new(400, "AuthorizationHeaderMalformed", message).with_header("x-amz-bucket-region", REGION)
            );
        }
        if self.bucket != BUCKET {
            return Err(Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist"));
        }
        // From here on nothing waits, so that a request happens as a whole.
        let (lacks, kept) = {
            let settings = shared.settings();
            (settings.lacks.clone(), settings.kept.clone())
        };
        let mut bucket = shared.bucket();
        let lacks = &|lack| lacks.contains(&lack);
        let mut call = Call { request: self, bucket: &mut bucket, lacks, kept: &kept };
        match operation {
            Operation::HeadBucket => Ok(answer(StatusCode::OK, [("x-amz-bucket-region", REGION)], Body::empty())),
            Operation::GetBucketLocation => Ok(document("LocationConstraint", REGION)),
            Operation::ListObjectsV2 => call.list(),
            Operation::ListMultipartUploads => call.list_uploads(),
            Operation::DeleteObjects => call.delete_batch(),
            Operation::HeadObject => call.read(None),
            Operation::GetObject => call.read(Some(self.headers.get(RANGE))),
            Operation::PutObject => call.put(),
            Operation::CopyObject => call.copy(),
            Operation::DeleteObject => call.delete(),
            Operation::CreateMultipartUpload => call.create_upload(),
            Operation::UploadPart => call.upload_part(),
            Operation::UploadPartCopy => call.copy_part(),
            Operation::CompleteMultipartUpload => call.complete_upload(),
            Operation::AbortMultipartUpload => call.abort_upload(),
            Operation::ListParts => call.list_parts(),
            Operation::Other => Err(Refusal::not_implemented("this request")),
        }
    }

    /// A header that is text.
    fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, if it is what its checksums say, and the one of them that is kept.
    fn checked_body(&self, lacks: &dyn Fn(Lack) -> bool) -> Result<Option<Checksum>, Refusal> {
        if lacks(Lack::Checksums) {
            return Ok(None);
        }
        if let Some(expected) = self.header("content-md5") {
            let invalid = || Refusal::new(400, "InvalidDigest", "The Content-MD5 you specified was invalid.");
            let expected = STANDARD.decode(expected).ok().filter(|md5| md5.len() == 16).ok_or_else(invalid)?;
            if expected != Md5::digest(&self.body).to_vec() {
                let message = "The Content-MD5 you specified did not match what we received.";
                return Err(Refusal::new(400, "BadDigest", message));
            }
        }
        let mut checksum = None;
        for algorithm in Algorithm::ALL {
            let Some(expected) = self.header(algorithm.header()) else { continue };
            if checksum.is_some() {
                let message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
                return Err(Refusal::invalid_request(message));
            }
            let found = Checksum::new(algorithm, &self.body);
            if STANDARD.decode(expected).ok().map(|digest| digest.len())
                != STANDARD.decode(&found.value).ok().map(|digest| digest.len())
            {
                let message = format!("Value for {} header is invalid.", algorithm.header());
                return Err(Refusal::invalid_request(message));
            }
            if expected != found.value {
                let message = format!("The {} you specified did not match the calculated checksum.", algorithm.name());
                return Err(Refusal::new(400, "BadDigest", message));
            }
            checksum = Some(found);
        }
        Ok(checksum)
    }

    /// The headers that a put, a copy or an upload keeps.
    fn kept_headers(&self, lacks: &dyn Fn(Lack) -> bool) -> Result<HeaderMap, Refusal> {
        let mut kept = HeaderMap::new();
        for name in &KEPT {
            let Some(value) = self.headers.get(name) else { continue };
            if *name == CONTENT_ENCODING {
                // This one says how the request was sent, not what the object is.
                let codings = value.to_str().unwrap_or_default().split(',').map(str::trim);
                let codings: Vec<&str> =
                    codings.filter(|coding| !coding.is_empty() && *coding != "aws-chunked").collect();
                if let (false, Ok(value)) = (codings.is_empty(), HeaderValue::from_str(&codings.join(","))) {
                    kept.insert(name, value);
                }
            } else {
                kept.insert(name, value.clone());
            }
        }
        let mut size = 0;
        for name in self.headers.keys().filter(|name| name.as_str().starts_with(META)) {
            let values: Vec<&[u8]> = self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            let value = values.join(&b","[..]);
            size += name.as_str().len() - META.len() + value.len();
            kept.insert(name, printable(&value));
        }
        if size > METADATA_LIMIT && !lacks(Lack::MetadataLimit) {
            let message = "Your metadata headers exceed the maximum allowed metadata size";
            return Err(Refusal::new(400, "MetadataTooLarge", message));
        }
        kept.insert(ENCRYPTION, self.headers.get(ENCRYPTION).cloned().unwrap_or(HeaderValue::from_static("AES256")));
        if let Some(key) = self.headers.get(ENCRYPTION_KEY) {
            kept.insert(ENCRYPTION_KEY, key.clone());
        }
        Ok(kept)
    }

    fn storage_class(&self) -> Result<String, Refusal> {
        match self.header(STORAGE_CLASS) {
            None => Ok("STANDARD".to_owned()),
            Some(class) if STORAGE_CLASSES.contains(&class) => Ok(class.to_owned()),
            Some(_) => Err(Refusal::new(400, "InvalidStorageClass", "The storage class you specified is not valid")),
        }
    }

    fn is_url_encoded(&self, lacks: &dyn Fn(Lack) -> bool) -> Result<bool, Refusal> {
        match self.query.get("encoding-type") {
            None => Ok(false),
            Some("url") => Ok(!lacks(Lack::UrlEncoding)),
            Some(_) => Err(Refusal::invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    fn part_number(&self) -> Result<u16, Refusal> {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        let number = self.query.get("partNumber").and_then(|number| number.parse().ok());
        number.filter(|number| (1..=10_000).contains(number)).ok_or_else(|| Refusal::invalid_argument(message))
    }

    fn upload(&self) -> (String, String) {
        (self.key.clone(), self.query.get("uploadId").unwrap_or_default().to_owned())
    }
}

async fn read_body(mut body: Body, takes_any: bool) -> Result<Bytes, Refusal> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| error.to_string()) {
            Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            // It comes when all bytes have come.
            Err(error) if error.contains("Sha256Mismatch") => {
                if takes_any {
                    break;
                }
                let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
                return Err(Refusal::new(400, "XAmzContentSHA256Mismatch", message));
            }
            Err(error) if error.contains("SignatureMismatch") => {
                let message = "The signature of a chunk does not match.";
                return Err(Refusal::new(403, "SignatureDoesNotMatch", message));
            }
            Err(error) => {
                return Err(Refusal::new(400, "IncompleteBody", format!("The body was not read to its end: {error}")));
            }
        }
    }
    Ok(read.freeze())
}

/// One request on the bucket.
struct Call<'a> {
    request: &'a Request,
    bucket: &'a mut Bucket,
    lacks: &'a dyn Fn(Lack) -> bool,
    /// The keys that nobody may delete.
    kept: &'a BTreeSet<String>,
}

impl Call<'_> {
    fn lacks(&self, lack: Lack) -> bool {
        (self.lacks)(lack)
    }

    fn object(&self, key: &str) -> Result<&Object, Refusal> {
        self.bucket.objects.get(key).ok_or_else(Refusal::no_such_key)
    }

    /// Head, or get with the range that is asked for.
    fn read(&self, get: Option<Option<&HeaderValue>>) -> Answer {
        let (request, object) = (self.request, self.object(&self.request.key)?);
        if request.header(IF_MATCH).is_some_and(|expected| !matches(expected, object)) {
            return Err(Refusal::precondition_failed());
        }
        if request.header(IF_NONE_MATCH).is_some_and(|other| matches(other, object)) {
            return Err(Refusal::new(304, "NotModified", "Not Modified"));
        }
        if get.is_some() && object.is_archived() {
            let message = "The operation is not valid for the object's storage class";
            return Err(Refusal::new(403, "InvalidObjectState", message));
        }
        let range = get.flatten().filter(|_| !self.lacks(Lack::Ranges)).and_then(parse_range);
        let size = object.body.len() as u64;
        let range = range.map(|(start, end)| satisfiable(start, end, size)).transpose()?;
        let mut answer = Response::new(Body::empty());
        let headers = answer.headers_mut();
        headers.extend(object.headers.clone());
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("binary/octet-stream"));
        headers.insert(ETAG, value(&quoted(&object.etag)));
        headers.insert(LAST_MODIFIED, value(&http_date(object.last_modified)));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if object.storage_class != "STANDARD" {
            headers.insert(STORAGE_CLASS, value(&object.storage_class));
        }
        // Of a part of the object it would say nothing.
        if request.header("x-amz-checksum-mode") == Some("ENABLED") && range.is_none() && !self.lacks(Lack::Checksums) {
            headers.extend(checksum_headers(object.checksum.as_ref()));
        }
        let body = match range {
            None => object.body.clone(),
            Some(range) => {
                let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                headers.insert(CONTENT_RANGE, value(&shown));
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                object.body.slice(range.start as usize..range.end as usize)
            }
        };
        answer.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        if get.is_some() {
            *answer.body_mut() = Body::from(body);
        }
        Ok(answer)
    }

    /// Whether a change of the key may happen.
    fn check_preconditions(&self, ignored: Option<Lack>) -> Result<(), Refusal> {
        let if_match = self.request.header(IF_MATCH);
        let if_none_match = self.request.header(IF_NONE_MATCH);
        if if_match.is_none() && if_none_match.is_none() {
            return Ok(());
        }
        if self.lacks(Lack::PreconditionsRefused) {
            return Err(Refusal::not_implemented("If-Match"));
        }
        if self.lacks(Lack::Preconditions) || ignored.is_some_and(|lack| self.lacks(lack)) {
            return Ok(());
        }
        let object = self.bucket.objects.get(&self.request.key);
        if let Some(expected) = if_match {
            let object = object.ok_or_else(Refusal::no_such_key)?;
            if !matches(expected, object) {
                return Err(Refusal::precondition_failed());
            }
        }
        match if_none_match {
            Some("*") if object.is_some() => Err(Refusal::precondition_failed()),
            None | Some("*") => Ok(()),
            Some(_) => Err(Refusal::not_implemented("If-None-Match")),
        }
    }

    /// The ETag of bytes that are put in one piece.
    fn etag(&self, body: &[u8], headers: &HeaderMap) -> String {
        // Encrypted by a key of KMS, it is none of the bytes themselves.
        let is_plain = headers.get(ENCRYPTION).is_none_or(|by| by == "AES256");
        if is_plain && !self.lacks(Lack::Md5ETags) { hex(&Md5::digest(body)) } else { no_md5(body) }
    }

    fn put(&mut self) -> Answer {
        let request = self.request;
        let checksum = request.checked_body(self.lacks)?;
        let headers = request.kept_headers(self.lacks)?;
        let storage_class = request.storage_class()?;
        self.check_preconditions(None)?;
        let checksum = match checksum {
            None if !self.lacks(Lack::Checksums) => Some(Checksum::new(Algorithm::Crc64Nvme, &request.body)),
            checksum => checksum,
        };
        let etag = self.etag(&request.body, &headers);
        let mut answer = answer(StatusCode::OK, [("etag", quoted(&etag).as_str())], Body::empty());
        answer.headers_mut().extend(encryption(&headers));
        answer.headers_mut().extend(checksum_headers(checksum.as_ref()));
        let last_modified = self.bucket.now();
        let body = request.body.clone();
        let object = Object { body, etag, last_modified, headers, storage_class, checksum };
        self.bucket.objects.insert(request.key.clone(), object);
        Ok(answer)
    }

    /// The object that `x-amz-copy-source` names, if it is the version that is asked for.
    fn copy_source(&self) -> Result<(String, &Object), Refusal> {
        let invalid = || Refusal::invalid_argument("Invalid copy source object key");
        let source = self.request.header(COPY_SOURCE).ok_or_else(invalid)?;
        if source.contains('?') {
            return Err(Refusal::not_implemented("versionId"));
        }
        let source = percent_decode_str(source).decode_utf8().map_err(|_| invalid())?;
        let (bucket, key) = source.strip_prefix('/').unwrap_or(&source).split_once('/').ok_or_else(invalid)?;
        if bucket != BUCKET {
            return Err(Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist"));
        }
        let object = self.object(key)?;
        if let Some(expected) = self.request.header(COPY_SOURCE_IF_MATCH) {
            if self.lacks(Lack::PreconditionsRefused) {
                return Err(Refusal::not_implemented(COPY_SOURCE_IF_MATCH));
            }
            let is_ignored = self.lacks(Lack::Preconditions) || self.lacks(Lack::CopyPreconditions);
            if !is_ignored && !matches(expected, object) {
                return Err(Refusal::precondition_failed());
            }
        }
        if object.is_archived() {
            let message = "Operation is not valid for the source object's storage class";
            return Err(Refusal::new(403, "InvalidObjectState", message));
        }
        Ok((key.to_owned(), object))
    }

    fn copy(&mut self) -> Answer {
        if self.lacks(Lack::Copy) {
            return Err(Refusal::not_implemented(COPY_SOURCE));
        }
        let request = self.request;
        let (source_key, source) = self.copy_source()?;
        let source = source.clone();
        let is_self = source_key == request.key;
        let replaces = match request.header("x-amz-metadata-directive") {
            None | Some("COPY") => false,
            Some("REPLACE") => true,
            Some(_) => return Err(Refusal::invalid_argument("Unknown metadata directive.")),
        };
        let changes = [STORAGE_CLASS, ENCRYPTION, "x-amz-website-redirect-location"];
        if is_self && !replaces && !changes.iter().any(|name| request.headers.contains_key(*name)) {
            let message = "This copy request is illegal because it is trying to copy an object to itself without \
                changing the object's metadata, storage class, website redirect location or encryption attributes.";
            return Err(Refusal::invalid_request(message));
        }
        let asked = request.kept_headers(self.lacks)?;
        let headers = if replaces && !self.lacks(Lack::Replace) {
            asked
        } else {
            let mut headers = source.headers.clone();
            headers.remove(ENCRYPTION_KEY);
            headers.extend(encryption(&asked));
            headers
        };
        let storage_class = request.storage_class()?;
        self.check_preconditions(Some(Lack::CopyPreconditions))?;
        let algorithm = request.header(CHECKSUM_ALGORITHM).and_then(Algorithm::named);
        let algorithm = algorithm.or(source.checksum.as_ref().map(|checksum| checksum.algorithm));
        let algorithm = algorithm.unwrap_or(Algorithm::Crc64Nvme);
        let checksum = (!self.lacks(Lack::Checksums)).then(|| Checksum::new(algorithm, &source.body));
        // An object that was put in parts is copied in one piece, and has the ETag of one.
        let etag = self.etag(&source.body, &headers);
        let last_modified =
            if is_self && self.lacks(Lack::LastModified) { source.last_modified } else { self.bucket.now() };
        let result = copied("CopyObjectResult", &etag, last_modified, checksum.as_ref());
        let mut answer = xml(&result);
        answer.headers_mut().extend(encryption(&headers));
        let object = Object { body: source.body, etag, last_modified, headers, storage_class, checksum };
        self.bucket.objects.insert(request.key.clone(), object);
        Ok(answer)
    }

    fn delete(&mut self) -> Answer {
        self.check_preconditions(Some(Lack::DeletePreconditions))?;
        self.remove(&self.request.key)?;
        Ok(answer(StatusCode::NO_CONTENT, [], Body::empty()))
    }

    fn delete_batch(&mut self) -> Answer {
        if self.lacks(Lack::BatchDelete) {
            return Err(Refusal::not_implemented("delete"));
        }
        let has_digest = self.request.headers.contains_key("content-md5")
            || Algorithm::ALL.iter().any(|algorithm| self.request.headers.contains_key(algorithm.header()));
        if !has_digest && !self.lacks(Lack::Checksums) {
            return Err(Refusal::invalid_request("Missing required header for this request: Content-MD5"));
        }
        self.request.checked_body(self.lacks)?;
        let document = Element::parse(&self.request.body)?;
        let objects: Vec<&Element> = document.children.iter().filter(|child| child.name == "Object").collect();
        if objects.is_empty() || objects.len() > PAGE {
            return Err(Refusal::malformed_xml());
        }
        let is_quiet = document.get("Quiet") == Some("true");
        let mut shown = String::new();
        for wanted in objects {
            let key = wanted.get("Key").filter(|key| !key.is_empty()).ok_or_else(Refusal::malformed_xml)?;
            match self.delete_one(key, wanted.get("ETag")) {
                Ok(()) if is_quiet => {}
                Ok(()) => shown.push_str(&format!("<Deleted>{}</Deleted>", element("Key", key))),
                Err(refusal) => shown.push_str(&format!(
                    "<Error>{}{}{}</Error>",
                    element("Key", key),
                    element("Code", refusal.code()),
                    element("Message", refusal.message())
                )),
            }
        }
        Ok(xml(&format!("<DeleteResult>{shown}</DeleteResult>")))
    }

    fn delete_one(&mut self, key: &str, expected: Option<&str>) -> Result<(), Refusal> {
        if let Some(expected) = expected
            && !matches(expected, self.object(key)?)
            && !self.lacks(Lack::DeletePreconditions)
        {
            return Err(Refusal::precondition_failed());
        }
        self.remove(key)
    }

    fn remove(&mut self, key: &str) -> Result<(), Refusal> {
        if self.kept.contains(key) {
            return Err(Refusal::new(403, "AccessDenied", "Access Denied"));
        }
        self.bucket.objects.remove(key);
        Ok(())
    }

    fn list(&self) -> Answer {
        let query = &self.request.query;
        if query.get("delimiter").is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(Refusal::not_implemented("delimiter"));
        }
        let is_encoded = self.request.is_url_encoded(self.lacks)?;
        let show = |key: &str| if is_encoded { url_encode(key) } else { key.to_owned() };
        let prefix = query.get("prefix").unwrap_or_default();
        let asked = query.number::<u32>("max-keys")?.unwrap_or(PAGE as u32);
        let most = (asked as usize).min(PAGE);
        let after = match query.get("continuation-token") {
            Some(token) => Some(decode_token(token)?),
            None => query.get("start-after").filter(|after| !after.is_empty()).map(str::to_owned),
        };
        let after = after.unwrap_or_default();
        let found = self.bucket.objects.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
        let mut found: Vec<(&String, &Object)> = found.take(most + 1).collect();
        let is_truncated = found.len() > most && most > 0;
        found.truncate(most);
        let next = found.last().filter(|_| is_truncated).map(|(key, _)| encode_token(key));
        if self.lacks(Lack::Order) {
            found.reverse();
        }
        let mut shown = format!("{}{}", element("Name", BUCKET), element("Prefix", show(prefix)));
        for (name, value) in
            [("ContinuationToken", query.get("continuation-token").map(str::to_owned)), ("NextContinuationToken", next)]
        {
            shown.extend(value.map(|value| element(name, value)));
        }
        shown.extend(query.get("start-after").map(|after| element("StartAfter", show(after))));
        shown.push_str(&element("KeyCount", found.len()));
        shown.push_str(&element("MaxKeys", most));
        if is_encoded {
            shown.push_str(&element("EncodingType", "url"));
        }
        shown.push_str(&element("IsTruncated", is_truncated));
        for (key, object) in found {
            let checksum = object.checksum.as_ref().filter(|_| !self.lacks(Lack::Checksums)).map(|checksum| {
                element("ChecksumAlgorithm", checksum.algorithm.name()) + &element("ChecksumType", checksum.of.name())
            });
            shown.push_str(&format!(
                "<Contents>{}{}{}{}{}{}</Contents>",
                element("Key", show(key)),
                element("LastModified", iso_date(object.last_modified)),
                element("ETag", quoted(&object.etag)),
                checksum.unwrap_or_default(),
                element("Size", object.body.len()),
                element("StorageClass", &object.storage_class),
            ));
        }
        Ok(xml(&format!("<ListBucketResult {NAMESPACE}>{shown}</ListBucketResult>")))
    }

    fn create_upload(&mut self) -> Answer {
        self.expect_multipart()?;
        let request = self.request;
        let headers = request.kept_headers(self.lacks)?;
        let storage_class = request.storage_class()?;
        let checksum = match request.header(CHECKSUM_ALGORITHM) {
            _ if self.lacks(Lack::Checksums) => None,
            None => None,
            Some(name) => {
                let invalid =
                    || Refusal::invalid_request("Checksum algorithm provided is unsupported. Please try again.");
                let algorithm = Algorithm::named(name).ok_or_else(invalid)?;
                let of = match (request.header(CHECKSUM_TYPE), algorithm) {
                    (Some("FULL_OBJECT"), Algorithm::Sha1 | Algorithm::Sha256)
                    | (Some("COMPOSITE"), Algorithm::Crc64Nvme) => {
                        let message = "The checksum type cannot be used with this checksum algorithm.";
                        return Err(Refusal::invalid_request(message));
                    }
                    (Some("FULL_OBJECT"), _) | (None, Algorithm::Crc64Nvme) => Of::Object,
                    _ => Of::Parts,
                };
                Some((algorithm, of))
            }
        };
        let id = self.bucket.next_upload();
        let shown = format!(
            "<InitiateMultipartUploadResult {NAMESPACE}>{}{}{}</InitiateMultipartUploadResult>",
            element("Bucket", BUCKET),
            element("Key", &request.key),
            element("UploadId", &id)
        );
        let mut answer = xml(&shown);
        answer.headers_mut().extend(encryption(&headers));
        if let Some((algorithm, of)) = checksum {
            answer.headers_mut().insert(CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.name()));
            answer.headers_mut().insert(CHECKSUM_TYPE, HeaderValue::from_static(of.name()));
        }
        let initiated = self.bucket.now();
        let upload = Upload { initiated, headers, storage_class, checksum, parts: BTreeMap::new() };
        self.bucket.uploads.insert((request.key.clone(), id), upload);
        Ok(answer)
    }

    fn expect_multipart(&self) -> Result<(), Refusal> {
        if self.lacks(Lack::Multipart) { Err(Refusal::not_implemented("uploads")) } else { Ok(()) }
    }

    fn put_part(&mut self, body: Bytes, checksum: Option<Checksum>) -> Result<Part, Refusal> {
        let number = self.request.part_number()?;
        let id = self.request.upload();
        let last_modified = self.bucket.now();
        let upload = self.bucket.uploads.get(&id).ok_or_else(Refusal::no_such_upload)?;
        let etag = self.etag(&body, &upload.headers);
        let checksum = match (upload.checksum, checksum) {
            (Some((algorithm, _)), None) => Some(Checksum::new(algorithm, &body)),
            (Some((expected, _)), Some(found)) if expected != found.algorithm => {
                return Err(mismatched(Some(expected), found.algorithm));
            }
            (None, Some(found)) if found.algorithm != Algorithm::Crc64Nvme => {
                return Err(mismatched(None, found.algorithm));
            }
            (_, checksum) => checksum,
        };
        let part = Part { body, etag, last_modified, checksum };
        let upload = self.bucket.uploads.get_mut(&id).ok_or_else(Refusal::no_such_upload)?;
        upload.parts.insert(number, part.clone());
        Ok(part)
    }

    fn upload_part(&mut self) -> Answer {
        let checksum = self.request.checked_body(self.lacks)?;
        let part = self.put_part(self.request.body.clone(), checksum)?;
        let mut answer = answer(StatusCode::OK, [("etag", quoted(&part.etag).as_str())], Body::empty());
        answer.headers_mut().extend(checksum_headers(part.checksum.as_ref()));
        answer.headers_mut().remove(CHECKSUM_TYPE);
        Ok(answer)
    }

    fn copy_part(&mut self) -> Answer {
        if self.lacks(Lack::Copy) {
            return Err(Refusal::not_implemented(COPY_SOURCE));
        }
        let (_, source) = self.copy_source()?;
        let body = match self.request.header("x-amz-copy-source-range") {
            None => source.body.clone(),
            Some(shown) => {
                let (start, end) = shown
                    .strip_prefix("bytes=")
                    .and_then(|range| range.split_once('-'))
                    .and_then(|(start, end)| Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?)))
                    .filter(|(start, end)| start <= end)
                    .ok_or_else(|| {
                        let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where \
                            first and last are the zero-based offsets of the first and last bytes to copy";
                        Refusal::invalid_argument(message)
                    })?;
                if end >= source.body.len() {
                    let size = source.body.len();
                    let message = format!("Range specified is not valid for source object of size: {size}");
                    return Err(Refusal::invalid_argument(message));
                }
                source.body.slice(start..=end)
            }
        };
        let part = self.put_part(body, None)?;
        Ok(xml(&copied("CopyPartResult", &part.etag, part.last_modified, part.checksum.as_ref())))
    }

    fn complete_upload(&mut self) -> Answer {
        let request = self.request;
        let id = request.upload();
        let upload = self.bucket.uploads.get(&id).cloned().ok_or_else(Refusal::no_such_upload)?;
        let document = Element::parse(&request.body)?;
        let asked: Vec<&Element> = document.children.iter().filter(|child| child.name == "Part").collect();
        if asked.is_empty() {
            return Err(Refusal::malformed_xml());
        }
        let (mut parts, mut latest): (Vec<&Part>, u16) = (Vec::new(), 0);
        for wanted in &asked {
            let number = wanted.get("PartNumber").and_then(|number| number.trim().parse::<u16>().ok());
            let number = number.ok_or_else(Refusal::malformed_xml)?;
            if number <= latest {
                let message = "The list of parts was not in ascending order. Parts must be ordered by part number.";
                return Err(Refusal::new(400, "InvalidPartOrder", message));
            }
            latest = number;
            let invalid = || {
                let message = "One or more of the specified parts could not be found. The part may not have been \
                    uploaded, or the specified entity tag may not match the part's entity tag.";
                Refusal::new(400, "InvalidPart", message)
            };
            let part = upload.parts.get(&number).ok_or_else(invalid)?;
            if wanted.get("ETag").map(|etag| etag.trim().trim_matches('"')) != Some(part.etag.as_str()) {
                return Err(invalid());
            }
            if let Some(checksum) = part.checksum.as_ref().filter(|_| !self.lacks(Lack::Checksums)) {
                match wanted.get(&checksum.algorithm.element()) {
                    Some(found) if found.trim() != checksum.value => return Err(invalid()),
                    None if matches!(upload.checksum, Some((_, Of::Parts))) => {
                        let algorithm = checksum.algorithm.name().to_ascii_lowercase();
                        let message = format!(
                            "The upload was created using a {algorithm} checksum. The complete request must include \
                             the checksum for each part. It was missing for part {number} in the request."
                        );
                        return Err(Refusal::invalid_request(message));
                    }
                    _ => {}
                }
            }
            parts.push(part);
        }
        let all_but_last = parts.get(..parts.len() - 1).unwrap_or_default();
        if all_but_last.iter().any(|part| part.body.len() < MIN_PART) {
            let message = "Your proposed upload is smaller than the minimum allowed size";
            return Err(Refusal::new(400, "EntityTooSmall", message));
        }
        self.check_preconditions(Some(Lack::CompletePreconditions))?;
        let bodies: Vec<&[u8]> = parts.iter().map(|part| &part.body[..]).collect();
        let body = Bytes::from(bodies.concat());
        let (algorithm, of) = upload.checksum.unwrap_or((Algorithm::Crc64Nvme, Of::Object));
        let checksum = (!self.lacks(Lack::Checksums)).then(|| match of {
            Of::Object => Checksum::new(algorithm, &body),
            Of::Parts => Checksum::of_parts(algorithm, bodies.iter().copied()),
        });
        let mut digests = Md5::new();
        for bytes in &bodies {
            digests.update(Md5::digest(bytes));
        }
        let etag = format!("{}-{}", hex(&digests.finalize()), parts.len());
        let shown = format!(
            "<CompleteMultipartUploadResult {NAMESPACE}>{}{}{}{}{}</CompleteMultipartUploadResult>",
            element("Location", format!("http://{BUCKET}.s3.{REGION}.amazonaws.com/{}", url_encode(&request.key))),
            element("Bucket", BUCKET),
            element("Key", &request.key),
            element("ETag", quoted(&etag)),
            checksum_elements(checksum.as_ref()),
        );
        let mut answer = xml(&shown);
        answer.headers_mut().extend(encryption(&upload.headers));
        let last_modified = self.bucket.now();
        let Upload { headers, storage_class, .. } = upload.clone();
        let object = Object { body, etag, last_modified, headers, storage_class, checksum };
        self.bucket.objects.insert(request.key.clone(), object);
        self.bucket.uploads.remove(&id);
        Ok(answer)
    }

    fn abort_upload(&mut self) -> Answer {
        self.bucket.uploads.remove(&self.request.upload()).ok_or_else(Refusal::no_such_upload)?;
        Ok(answer(StatusCode::NO_CONTENT, [], Body::empty()))
    }

    fn list_uploads(&self) -> Answer {
        self.expect_multipart()?;
        let query = &self.request.query;
        let is_encoded = self.request.is_url_encoded(self.lacks)?;
        let show = |key: &str| if is_encoded { url_encode(key) } else { key.to_owned() };
        let prefix = query.get("prefix").unwrap_or_default();
        let most = query.number::<u32>("max-uploads")?.map_or(PAGE, |most| (most as usize).clamp(1, PAGE));
        let key_marker = query.get("key-marker").filter(|marker| !marker.is_empty());
        let id_marker = query.get("upload-id-marker").filter(|marker| !marker.is_empty());
        let is_after = |key: &str, id: &str| match (key_marker, id_marker) {
            (None, _) => true,
            (Some(marker), None) => key > marker,
            (Some(marker), Some(id_marker)) => (key, id) > (marker, id_marker),
        };
        let found = self.bucket.uploads.iter().filter(|((key, id), _)| key.starts_with(prefix) && is_after(key, id));
        let mut found: Vec<_> = found.take(most + 1).collect();
        let is_truncated = found.len() > most;
        found.truncate(most);
        let mut shown = element("Bucket", BUCKET)
            + &element("KeyMarker", show(key_marker.unwrap_or_default()))
            + &element("UploadIdMarker", id_marker.unwrap_or_default());
        if let Some(((key, id), _)) = found.last().filter(|_| is_truncated) {
            shown.push_str(&element("NextKeyMarker", show(key)));
            shown.push_str(&element("NextUploadIdMarker", id));
        }
        shown.push_str(&element("Prefix", show(prefix)));
        shown.push_str(&element("MaxUploads", most));
        if is_encoded {
            shown.push_str(&element("EncodingType", "url"));
        }
        shown.push_str(&element("IsTruncated", is_truncated));
        for ((key, id), upload) in found {
            shown.push_str(&format!(
                "<Upload>{}{}{}{}</Upload>",
                element("Key", show(key)),
                element("UploadId", id),
                element("StorageClass", &upload.storage_class),
                element("Initiated", iso_date(upload.initiated)),
            ));
        }
        Ok(xml(&format!("<ListMultipartUploadsResult {NAMESPACE}>{shown}</ListMultipartUploadsResult>")))
    }

    fn list_parts(&self) -> Answer {
        let query = &self.request.query;
        let id = self.request.upload();
        let upload = self.bucket.uploads.get(&id).ok_or_else(Refusal::no_such_upload)?;
        let most = query.number::<u32>("max-parts")?.map_or(PAGE, |most| (most as usize).clamp(1, PAGE));
        let marker = query.number::<u16>("part-number-marker")?.unwrap_or(0);
        let mut found: Vec<_> = upload.parts.iter().filter(|(number, _)| **number > marker).take(most + 1).collect();
        let is_truncated = found.len() > most;
        found.truncate(most);
        let mut shown = element("Bucket", BUCKET)
            + &element("Key", &self.request.key)
            + &element("UploadId", &id.1)
            + &element("PartNumberMarker", marker)
            + &element("NextPartNumberMarker", found.last().map_or(0, |(number, _)| **number))
            + &element("MaxParts", most)
            + &element("IsTruncated", is_truncated)
            + &element("StorageClass", &upload.storage_class);
        for (number, part) in found {
            shown.push_str(&format!(
                "<Part>{}{}{}{}{}</Part>",
                element("PartNumber", number),
                element("LastModified", iso_date(part.last_modified)),
                element("ETag", quoted(&part.etag)),
                element("Size", part.body.len()),
                part.checksum.as_ref().map_or_else(String::new, |sum| element(&sum.algorithm.element(), &sum.value)),
            ));
        }
        Ok(xml(&format!("<ListPartsResult {NAMESPACE}>{shown}</ListPartsResult>")))
    }
}

const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

fn answer<const N: usize>(status: StatusCode, headers: [(&'static str, &str); N], body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    for (name, text) in headers {
        answer.headers_mut().insert(name, value(text));
    }
    answer
}

fn xml(document: &str) -> Response<Body> {
    let document = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}");
    answer(StatusCode::OK, [("content-type", "application/xml")], Body::from(document))
}

fn document(name: &str, text: &str) -> Response<Body> {
    xml(&element(name, text))
}

fn copied(name: &str, etag: &str, last_modified: u64, checksum: Option<&Checksum>) -> String {
    let shown = element("LastModified", iso_date(last_modified)) + &element("ETag", quoted(etag));
    format!("<{name} {NAMESPACE}>{shown}{}</{name}>", checksum_elements(checksum))
}

fn checksum_elements(checksum: Option<&Checksum>) -> String {
    checksum.map_or_else(String::new, |checksum| {
        element(&checksum.algorithm.element(), &checksum.value) + &element("ChecksumType", checksum.of.name())
    })
}

fn checksum_headers(checksum: Option<&Checksum>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(checksum) = checksum {
        headers.insert(checksum.algorithm.header(), value(&checksum.value));
        headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum.of.name()));
    }
    headers
}

fn encryption(headers: &HeaderMap) -> HeaderMap {
    let names = [ENCRYPTION, ENCRYPTION_KEY].map(HeaderName::from_static);
    names.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value))).collect()
}

fn mismatched(expected: Option<Algorithm>, found: Algorithm) -> Refusal {
    let expected = expected.map_or("null".to_owned(), |algorithm| algorithm.name().to_ascii_lowercase());
    let found = found.name().to_ascii_lowercase();
    let message =
        format!("Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {found}");
    Refusal::invalid_request(message)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("it is printable")
}

/// User metadata as it is answered: what is no printable ASCII comes as an encoded word.
fn printable(bytes: &[u8]) -> HeaderValue {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return HeaderValue::from_bytes(bytes).expect("it is printable");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    value(&format!("=?UTF-8?B?{}?=", STANDARD.encode(text)))
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn matches(expected: &str, object: &Object) -> bool {
    expected == "*" || expected.trim().trim_matches('"') == object.etag
}

/// First and last byte of a range; `None` for one that is not understood, which is then ignored.
fn parse_range(range: &HeaderValue) -> Option<(Option<u64>, Option<u64>)> {
    let (start, end) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    match (number(start)?, number(end)?) {
        (None, None) => None,
        (Some(start), Some(end)) if start > end => None,
        range => Some(range),
    }
}

fn satisfiable(start: Option<u64>, end: Option<u64>, size: u64) -> Result<Range<u64>, Refusal> {
    let range = match (start, end) {
        (Some(start), end) => start..end.map_or(size, |end| end.saturating_add(1).min(size)),
        (None, last) => size.saturating_sub(last.unwrap_or(0))..size,
    };
    if range.is_empty() {
        return Err(Refusal::new(416, "InvalidRange", "The requested range is not satisfiable"));
    }
    Ok(range)
}

/// A token means nothing to a client, and one that was changed is told.
fn encode_token(key: &str) -> String {
    let mut token = Md5::digest(key.as_bytes()).to_vec();
    token.truncate(4);
    token.extend(key.as_bytes());
    STANDARD.encode(token)
}

fn decode_token(token: &str) -> Result<String, Refusal> {
    let decoded = STANDARD.decode(token).ok().filter(|token| token.len() > 4);
    let key = decoded.and_then(|token| String::from_utf8(token.into_iter().skip(4).collect()).ok());
    key.filter(|key| encode_token(key) == token)
        .ok_or_else(|| Refusal::invalid_argument("The continuation token provided is incorrect"))
}

const HTTP_DATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const ISO_DATE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");

fn date(seconds: u64, format: &[FormatItem<'_>]) -> String {
    let date = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    date.and_then(|date| date.format(&format).ok()).expect("the clock is not that far ahead")
}

fn http_date(seconds: u64) -> String {
    date(seconds, HTTP_DATE)
}

fn iso_date(seconds: u64) -> String {
    date(seconds, ISO_DATE)
}
