//! What the answers of S3 say.

use super::client::HttpError;
use super::xml::{InvalidAnswer, Step, invalid, read};
use crate::etag::ETag;
use crate::store::s3::calls::{Content, Fetched, OtherLength, Part, UnfinishedUpload, UploadPage, counted};
use crate::store::s3::error::CallError;
use crate::store::s3::wire::{decoded_key, etag, is_encoded, is_of_object, listed_key, retry_after};
use crate::store::{ListPage, ListedObject, ObjectMeta, PutOutput, StoreErrorKind};
use crate::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED, RETRY_AFTER, TRANSFER_ENCODING};
use http::{Response, StatusCode, Version};
use std::collections::HashMap;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// An answer as a client hands it out.
pub(super) type Answer = Response<Content<HttpError>>;

/// The head and the body of an answer that is none of failure.
fn accepted(answer: Answer) -> Result<(http::response::Parts, Content<HttpError>), CallError> {
    let (parts, body) = answer.into_parts();
    if parts.status.is_success() {
        return Ok((parts, body));
    }
    Err(refused(parts.status, &parts.headers, body.whole().map_or(b"", |body| body)))
}

/// The body of an answer that is XML, with this root. One of 200 may still tell of a failure.
fn document(answer: Answer, root: &'static str) -> Result<Bytes, CallError> {
    let (parts, body) = accepted(answer)?;
    let body = body.into_whole().ok_or(InvalidAnswer::Missing("an answer that is not too long"))?;
    match root_of(&body) {
        Some(found) if found == root => Ok(body),
        Some(found) if found == "Error" => Err(refused(parts.status, &parts.headers, &body)),
        Some(found) => Err(invalid(root, &found).into()),
        None => Err(InvalidAnswer::Missing(root).into()),
    }
}

/// The name of the root element. What cannot be read behind it is said by whoever reads it.
fn root_of(body: &[u8]) -> Option<String> {
    let mut root = None;
    let _ = read(body, |step| {
        if let Step::Open(name) = step {
            root = Some(name.to_owned());
        }
        Err(InvalidAnswer::Missing("nothing else"))
    });
    root
}

/// The head of an answer that has nothing to say in its body.
///
/// A failure may come with 200. And what a gateway shows to whoever is not logged in, with a status of 200 as well, does
/// not mean that something was put or deleted.
fn done(answer: Answer) -> Result<HeaderMap, CallError> {
    let (parts, body) = accepted(answer)?;
    let body = body.into_whole().ok_or(InvalidAnswer::Missing("an answer that is not too long"))?;
    if body.trim_ascii().is_empty() {
        return Ok(parts.headers);
    }
    match root_of(&body) {
        Some(found) if found == "Error" => Err(refused(parts.status, &parts.headers, &body)),
        // Some servers say in XML what the head says as well.
        Some(found) if !found.eq_ignore_ascii_case("html") => Ok(parts.headers),
        found => Err(invalid("an answer of S3", found.as_deref().unwrap_or("something else")).into()),
    }
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let mut found: HashMap<&'static str, String> = HashMap::new();
    // An answer that is no XML, such as that of a proxy, has its status.
    let _ = read(body, |step| {
        if let Step::Close { name, text } = step {
            for wanted in ["Code", "Message", "RequestId", "Region", "Endpoint"] {
                if name == wanted {
                    found.entry(wanted).or_insert_with(|| text.to_owned());
                }
            }
        }
        Ok(())
    });
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut message = found.remove("Message").unwrap_or_default();
    let region = found.remove("Region").unwrap_or_else(|| header("x-amz-bucket-region"));
    let code = found.remove("Code").unwrap_or_default();
    if status.is_redirection() || code == "AuthorizationHeaderMalformed" {
        // A redirect is not followed: requests are signed for one host, and to another goes nothing of ours.
        let place = found.remove("Endpoint").unwrap_or_else(|| header("location"));
        if !region.is_empty() {
            message = format!("{message} (the bucket is in the region {region})");
        } else if !place.is_empty() {
            message = format!("{message} (the answer points to {place})");
        }
    }
    let request_id = found.remove("RequestId").unwrap_or_else(|| header("x-amz-request-id"));
    let wait = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    CallError::refused(status.as_u16(), &code, message.trim(), &request_id).with_retry_after(wait)
}

fn etag_of(headers: &HeaderMap) -> Result<ETag, InvalidAnswer> {
    let text = headers.get(ETAG).and_then(|value| value.to_str().ok()).ok_or(InvalidAnswer::Missing("an ETag"))?;
    Ok(etag(text))
}

/// A time, to the second: `Last-Modified` has no more, and what a listing adds to it no head answers.
fn seconds(time: OffsetDateTime) -> Timestamp {
    Timestamp::from_unix(time.unix_timestamp(), 0).unwrap_or(Timestamp::EPOCH)
}

fn time_of_header(text: &str) -> Result<Timestamp, InvalidAnswer> {
    OffsetDateTime::parse(text, &Rfc2822).map(seconds).map_err(|_| invalid("a time of HTTP", text))
}

fn time_of_xml(text: &str) -> Result<Timestamp, InvalidAnswer> {
    OffsetDateTime::parse(text, &Rfc3339).map(seconds).map_err(|_| invalid("a time", text))
}

fn number(what: &'static str, text: &str) -> Result<u64, InvalidAnswer> {
    text.trim().parse().map_err(|_| invalid(what, text))
}

/// The size of an object, as far as a signed number goes: there is no larger one anywhere.
fn size(text: &str) -> Result<u64, InvalidAnswer> {
    let size = number("a size", text)?;
    i64::try_from(size).map_err(|_| invalid("a size", text))?;
    Ok(size)
}

fn meta(headers: &HeaderMap, size: u64) -> Result<ObjectMeta, InvalidAnswer> {
    let time = headers.get(LAST_MODIFIED).and_then(|value| value.to_str().ok());
    let last_modified = time_of_header(time.ok_or(InvalidAnswer::Missing("Last-Modified"))?)?;
    let mut kept = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_of_object(name.as_str())) {
        kept.append(name, value.clone());
    }
    Ok(ObjectMeta { size, etag: etag_of(headers)?, last_modified, headers: kept })
}

fn header_number(headers: &HeaderMap) -> Result<u64, InvalidAnswer> {
    let text = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    number("a length", text.ok_or(InvalidAnswer::Missing("Content-Length"))?)
}

pub(super) fn head(answer: Answer) -> Result<ObjectMeta, CallError> {
    let (parts, _) = accepted(answer)?;
    Ok(meta(&parts.headers, header_number(&parts.headers)?)?)
}

/// The answer to a get; `range` is what was asked for.
pub(super) fn fetched(answer: Answer, range: Option<&std::ops::Range<u64>>) -> Result<Fetched, CallError> {
    let (parts, body) = accepted(answer)?;
    let headers = &parts.headers;
    let whole = body.whole().map(|bytes| bytes.len() as u64);
    let (length, size) = if parts.status == StatusCode::PARTIAL_CONTENT {
        let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let text = text.ok_or(InvalidAnswer::Missing("Content-Range"))?;
        let wrong = || invalid("the range that was asked for", text);
        let (first, rest) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('-')).ok_or_else(wrong)?;
        let (last, size) = rest.split_once('/').ok_or_else(wrong)?;
        let (first, last) = (number("a range", first)?, number("a range", last)?);
        let size = number("a size", size)?;
        let end = last.saturating_add(1);
        let asked = range.is_some_and(|range| range.start == first && range.end.min(size) == end);
        let length = end.checked_sub(first).filter(|_| asked).ok_or_else(wrong)?;
        // Of a body in pieces, what was announced; it need not be.
        let found = whole.or_else(|| header_number(headers).ok());
        if found.is_some_and(|found| found != length) {
            return Err(wrong().into());
        }
        (length, size)
    } else if range.is_some() {
        return Err(invalid("a part of the object", parts.status.as_str()).into());
    } else {
        // One that only its connection ends may have been cut.
        let has_end = headers.contains_key(TRANSFER_ENCODING) || parts.version > Version::HTTP_11;
        let size = match (whole, header_number(headers)) {
            (Some(found), Ok(expected)) if found != expected => {
                return Err(CallError::unanswered(StoreErrorKind::Transient, OtherLength { expected, found }));
            }
            (Some(found), Err(_)) if has_end => found,
            (_, announced) => announced?,
        };
        (size, size)
    };
    let checksum = headers.get("x-amz-checksum-sha256").and_then(|value| value.to_str().ok());
    let is_whole = !matches!(headers.get("x-amz-checksum-type"), Some(kind) if kind == "COMPOSITE");
    // That of an object put in parts is no checksum of its bytes, and ends in their number.
    let sha256 = checksum.filter(|text| range.is_none() && is_whole && !text.contains('-')).and_then(digest);
    let body = match body {
        Content::Whole(bytes) => Content::Whole(bytes),
        Content::Pieces(pieces) => {
            let pieces = pieces.map_err(|error| CallError::unanswered(error.kind(), error));
            Content::Pieces(counted(pieces, length))
        }
    };
    Ok(Fetched { meta: meta(headers, size)?, body, sha256 })
}

fn digest(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// Whether the store keeps the checksum that was sent; it keeps no other.
fn is_kept(headers: &HeaderMap, sent: &str) -> Result<bool, InvalidAnswer> {
    match headers.get("x-amz-checksum-sha256") {
        None => Ok(false),
        Some(kept) if kept == sent => Ok(true),
        Some(kept) => Err(invalid("the checksum that was sent", &String::from_utf8_lossy(kept.as_bytes()))),
    }
}

/// The answer to a put of what has this checksum.
pub(super) fn put(answer: Answer, sha256: &str) -> Result<PutOutput, CallError> {
    let headers = done(answer)?;
    is_kept(&headers, sha256)?;
    Ok(PutOutput { etag: etag_of(&headers)?, last_modified: None })
}

pub(super) fn part(answer: Answer, number: u16, sha256: Box<str>) -> Result<Part, CallError> {
    let headers = done(answer)?;
    let is_kept = is_kept(&headers, &sha256)?;
    Ok(Part { number, etag: etag_of(&headers)?, sha256: is_kept.then_some(sha256) })
}

pub(super) fn nothing(answer: Answer) -> Result<(), CallError> {
    done(answer).map(|_| ())
}

/// The elements of an answer by name, without those inside others of a name.
fn fields(body: &[u8]) -> Result<HashMap<String, String>, InvalidAnswer> {
    let mut found = HashMap::new();
    read(body, |step| {
        if let Step::Close { name, text } = step {
            found.entry(name.to_owned()).or_insert_with(|| text.to_owned());
        }
        Ok(())
    })?;
    Ok(found)
}

pub(super) fn copied(answer: Answer) -> Result<PutOutput, CallError> {
    let fields = fields(&document(answer, "CopyObjectResult")?)?;
    let found = fields.get("ETag").ok_or(InvalidAnswer::Missing("an ETag"))?;
    let last_modified = fields.get("LastModified").map(|text| time_of_xml(text)).transpose()?;
    Ok(PutOutput { etag: etag(found), last_modified })
}

pub(super) fn copied_part(answer: Answer, number: u16) -> Result<Part, CallError> {
    let mut fields = fields(&document(answer, "CopyPartResult")?)?;
    let found = fields.remove("ETag").ok_or(InvalidAnswer::Missing("an ETag"))?;
    Ok(Part { number, etag: etag(&found), sha256: fields.remove("ChecksumSHA256").map(Into::into) })
}

pub(super) fn upload_id(answer: Answer) -> Result<Box<str>, CallError> {
    let mut fields = fields(&document(answer, "InitiateMultipartUploadResult")?)?;
    let id = fields.remove("UploadId").filter(|id| !id.is_empty());
    Ok(id.ok_or(InvalidAnswer::Missing("an UploadId"))?.into())
}

pub(super) fn completed(answer: Answer) -> Result<PutOutput, CallError> {
    let fields = fields(&document(answer, "CompleteMultipartUploadResult")?)?;
    let found = fields.get("ETag").ok_or(InvalidAnswer::Missing("an ETag"))?;
    Ok(PutOutput { etag: etag(found), last_modified: None })
}

/// The bytes of a key as a listing shows it.
fn key(text: &str, is_encoded: bool) -> Result<Vec<u8>, InvalidAnswer> {
    if !is_encoded {
        return Ok(text.as_bytes().to_vec());
    }
    decoded_key(text).ok_or_else(|| invalid("an encoded key", text))
}

#[derive(Default)]
struct ListedFields {
    key: Option<String>,
    size: Option<u64>,
    etag: Option<ETag>,
    last_modified: Option<Timestamp>,
}

/// Whether keys are encoded. An encoding that is unknown would be taken for the keys themselves.
fn encoding(text: &str) -> Result<bool, InvalidAnswer> {
    match text {
        "url" => Ok(true),
        "" => Ok(false),
        _ => Err(invalid("the encoding `url`", text)),
    }
}

fn truth(text: &str) -> Result<bool, InvalidAnswer> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid("`true` or `false`", text)),
    }
}

pub(super) fn list(answer: Answer) -> Result<ListPage, CallError> {
    let body = document(answer, "ListBucketResult")?;
    let (mut page, mut current) = (Vec::new(), None::<ListedFields>);
    let (mut is_encoded, mut is_truncated, mut next) = (false, None, None);
    read(&body, |step| {
        match (step, &mut current) {
            (Step::Open("Contents"), _) => current = Some(ListedFields::default()),
            (Step::Close { name: "Contents", .. }, Some(fields)) => {
                page.push((
                    fields.key.take().ok_or(InvalidAnswer::Missing("a Key"))?,
                    fields.size.ok_or(InvalidAnswer::Missing("a Size"))?,
                    fields.etag.take().ok_or(InvalidAnswer::Missing("an ETag"))?,
                    fields.last_modified.ok_or(InvalidAnswer::Missing("LastModified"))?,
                ));
                current = None;
            }
            (Step::Close { name: "Key", text }, Some(fields)) => fields.key = Some(text.to_owned()),
            (Step::Close { name: "Size", text }, Some(fields)) => fields.size = Some(size(text)?),
            (Step::Close { name: "ETag", text }, Some(fields)) => fields.etag = Some(etag(text)),
            (Step::Close { name: "LastModified", text }, Some(fields)) => {
                fields.last_modified = Some(time_of_xml(text)?);
            }
            (Step::Close { name: "EncodingType", text }, None) => is_encoded = encoding(text)?,
            (Step::Close { name: "IsTruncated", text }, None) => is_truncated = Some(truth(text)?),
            (Step::Close { name: "NextContinuationToken", text }, None) => next = Some(text.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    // A page that does not say so is not taken for the last: what is behind it would be taken for gone.
    let is_truncated = is_truncated.ok_or(InvalidAnswer::Missing("IsTruncated"))?;
    if is_truncated && next.as_ref().is_none_or(String::is_empty) {
        return Err(InvalidAnswer::Missing("a NextContinuationToken").into());
    }
    let (mut objects, mut unreadable) = (Vec::with_capacity(page.len()), Vec::new());
    for (listed, size, etag, last_modified) in page {
        match listed_key(key(&listed, is_encoded)?) {
            Ok(key) => objects.push(ListedObject { key, size, etag, last_modified }),
            Err(key) => unreadable.push(key),
        }
    }
    Ok(ListPage::new(objects, next.filter(|_| is_truncated)).with_unreadable(unreadable))
}

pub(super) fn uploads(answer: Answer) -> Result<UploadPage, CallError> {
    let body = document(answer, "ListMultipartUploadsResult")?;
    let mut page = Vec::new();
    let mut current = None::<(Option<String>, Option<String>, Option<Timestamp>)>;
    let (mut says_encoded, mut is_truncated) = (false, None);
    read(&body, |step| {
        match (step, &mut current) {
            (Step::Open("Upload"), _) => current = Some((None, None, None)),
            (Step::Close { name: "Upload", .. }, Some((key, id, initiated))) => {
                page.push((
                    key.take().ok_or(InvalidAnswer::Missing("a Key"))?,
                    id.take().filter(|id| !id.is_empty()).ok_or(InvalidAnswer::Missing("an UploadId"))?,
                    initiated.ok_or(InvalidAnswer::Missing("Initiated"))?,
                ));
                current = None;
            }
            (Step::Close { name: "Key", text }, Some((key, _, _))) => *key = Some(text.to_owned()),
            (Step::Close { name: "UploadId", text }, Some((_, id, _))) => *id = Some(text.to_owned()),
            (Step::Close { name: "Initiated", text }, Some((_, _, initiated))) => *initiated = Some(time_of_xml(text)?),
            (Step::Close { name: "EncodingType", text }, None) => says_encoded = encoding(text)?,
            (Step::Close { name: "IsTruncated", text }, None) => is_truncated = Some(truth(text)?),
            _ => {}
        }
        Ok(())
    })?;
    let is_truncated = is_truncated.ok_or(InvalidAnswer::Missing("IsTruncated"))?;
    let is_encoded = is_encoded(says_encoded, page.iter().map(|(key, _, _)| key.as_str()));
    let mut uploads = Vec::with_capacity(page.len());
    for (listed, id, initiated) in page {
        let key = listed_key(key(&listed, is_encoded)?).map_err(|_| invalid("a key of UTF-8", &listed))?;
        uploads.push(UnfinishedUpload { key, id, initiated });
    }
    Ok(UploadPage { uploads, is_last: !is_truncated })
}

/// What became of each key of a batch, in the order of the request.
pub(super) fn deleted(answer: Answer, keys: &[Box<str>]) -> Result<Vec<Result<(), CallError>>, CallError> {
    let body = document(answer, "DeleteResult")?;
    let mut failed: HashMap<String, (String, String)> = HashMap::new();
    let mut current = None::<(String, String, String)>;
    read(&body, |step| {
        match (step, &mut current) {
            (Step::Open("Error"), _) => current = Some(Default::default()),
            (Step::Close { name: "Error", .. }, Some((key, code, message))) => {
                failed.insert(std::mem::take(key), (std::mem::take(code), std::mem::take(message)));
                current = None;
            }
            (Step::Close { name: "Key", text }, Some((key, _, _))) => text.clone_into(key),
            (Step::Close { name: "Code", text }, Some((_, code, _))) => text.clone_into(code),
            (Step::Close { name: "Message", text }, Some((_, _, message))) => text.clone_into(message),
            _ => {}
        }
        Ok(())
    })?;
    let answered = keys.iter().map(|key| match failed.get(&**key) {
        None => Ok(()),
        Some((code, _)) if code == "NoSuchKey" => Ok(()),
        Some((code, message)) => Err(CallError::refused(StatusCode::OK.as_u16(), code, message, "")),
    });
    let answered: Vec<_> = answered.collect();
    let known = keys.iter().map(|key| &**key).collect::<std::collections::HashSet<&str>>();
    match failed.keys().find(|key| !known.contains(key.as_str())) {
        // An error of a key that was not asked about is one of a key whose name came back as another.
        Some(key) => Err(CallError::unanswered(StoreErrorKind::Corrupt, invalid("a key of the request", key))),
        None => Ok(answered),
    }
}
