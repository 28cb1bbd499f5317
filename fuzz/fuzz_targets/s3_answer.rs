//! Law: whatever a server answers, each request has a value or an error of it, and no panic. What is accepted keeps its
//! word: a page shown again as a listing reads back the same, sizes are those of the bodies, each key of a batch has its
//! answer, an upload has an id; and what an error says is safe to print.
//!
//! Input: a line with the request's letter, the status and `-` when the body was too long to be read; headers as `headers`
//! reads them; an empty line; the body.

#![no_main]

use bytes::Bytes;
use http::Response;
use libfuzzer_sys::fuzz_target;
use posix_s3::ETag;
use posix_s3::store::s3::{Addressing, Bucket, CallError, Exchange, Payload, Upload};
use posix_s3::store::{ListPage, ListRequest, Precondition};
use posix_s3_fuzz::{encoded, split_once};
use std::fmt::Write as _;
use std::time::Duration;

type Answer = Response<Option<Bytes>>;

/// The value that an answer is accepted as; of one that is not, that the error is fit to be shown.
fn read<T>(exchange: Result<Exchange<T>, CallError>, answer: Answer) -> Option<T> {
    // An upload that is not there need not be aborted.
    let is_gone = |body: &Bytes| body.windows(12).any(|word| word == b"NoSuchUpload");
    let is_right = answer.status().is_success() || answer.body().as_ref().is_some_and(is_gone);
    let (_, limit, read) = exchange.expect("a request").into_parts();
    // No client hands out more.
    let (parts, body) = answer.into_parts();
    let body = body.filter(|body| body.len() as u64 <= limit);
    match read(Response::from_parts(parts, body)) {
        Ok(value) => {
            assert!(is_right);
            Some(value)
        }
        Err(error) => {
            assert!(error.retry_after().unwrap_or_default() <= Duration::from_secs(300));
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                let text = cause.to_string();
                assert!(!text.contains(char::is_control), "{text:?}");
                source = cause.source();
            }
            None
        }
    }
}

/// Text of which no character is lost on the way. That no reference stands for a NUL is an answer's to know.
fn referred(text: &str) -> String {
    let reference = |character: char| match character {
        '\0' => character.to_string(),
        _ => format!("&#{};", u32::from(character)),
    };
    text.chars().map(reference).collect()
}

/// A page as a server shows it, but for the times.
fn shown(page: &ListPage) -> String {
    let mut shown = String::from("<ListBucketResult><EncodingType>url</EncodingType>");
    for object in &page.objects {
        let (key, size) = (encoded(&object.key), object.size);
        let etag = referred(object.etag.as_str());
        let _ = write!(shown, "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{etag}</ETag>");
        let _ = write!(shown, "<LastModified>2026-07-01T00:00:00Z</LastModified></Contents>");
    }
    let _ = write!(shown, "<IsTruncated>{}</IsTruncated>", page.next.is_some());
    if let Some(token) = &page.next {
        let token = referred(token);
        let _ = write!(shown, "<NextContinuationToken>{token}</NextContinuationToken>");
    }
    shown.push_str("</ListBucketResult>");
    shown
}

fuzz_target!(|input: &[u8]| {
    let Some((line, rest)) = split_once(input, b'\n') else { return };
    let Ok(line) = std::str::from_utf8(line) else { return };
    let mut words = line.split(' ');
    let (Some(which), Some(Ok(status))) = (words.next(), words.next().map(str::parse::<u16>)) else { return };
    let is_read = words.next() != Some("-");
    let cut = rest.windows(2).position(|pair| pair == b"\n\n");
    let (lines, body) = cut.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 2..]));
    let Ok(mut answer) = Response::builder().status(status).body(is_read.then(|| Bytes::copy_from_slice(body))) else {
        return;
    };
    *answer.headers_mut() = posix_s3_fuzz::headers(lines);

    let bucket = Bucket::new(&"http://localhost".parse().expect("an endpoint"), "bucket", Addressing::Path);
    let bucket = bucket.expect("a bucket");
    let headers = http::HeaderMap::new();
    let (payload, etag) = (Payload::new(Bytes::from_static(b"body")), ETag::new("\"e\""));
    let upload = Upload { key: "a", id: "u" };
    match which {
        "l" => {
            let list = || bucket.list(&ListRequest::default());
            if let Some(page) = read(list(), answer) {
                assert!(page.objects.len() <= body.len() / "<Contents></Contents>".len());
                assert!(page.next.as_ref().is_none_or(|token| !token.is_empty()));
                let again = Response::new(Some(Bytes::from(shown(&page))));
                let (_, _, read) = list().expect("a request").into_parts();
                let again = read(again).expect("a listing");
                assert_eq!(again.next, page.next);
                assert_eq!(again.objects.len(), page.objects.len());
                for (again, object) in again.objects.iter().zip(&page.objects) {
                    assert_eq!((&again.key, again.size, &again.etag), (&object.key, object.size, &object.etag));
                }
            }
        }
        "h" => {
            let length = answer.headers().get("content-length").cloned();
            if let Some(meta) = read(bucket.head("a"), answer) {
                let length = length.expect("a length");
                assert_eq!(length.to_str().expect("digits").trim().parse(), Ok(meta.size));
            }
        }
        "g" => {
            if let Some(fetched) = read(bucket.get("a", None, None, 16), answer)
                && is_read
            {
                assert_eq!(fetched.meta.size, body.len() as u64);
                assert_eq!(fetched.bytes.as_deref(), (body.len() <= 16).then_some(body));
            }
        }
        "r" => {
            if let Some(fetched) = read(bucket.get("a", Some(2..6), None, 4), answer)
                && let Some(bytes) = fetched.bytes
            {
                assert!(fetched.meta.size > 2);
                assert_eq!(bytes.len() as u64, fetched.meta.size.min(6) - 2);
            }
        }
        "p" => drop(read(bucket.put("a", &payload, &headers, &Precondition::None), answer)),
        "c" => drop(read(bucket.copy_onto_itself("a", &headers, None), answer)),
        "d" => drop(read(bucket.delete("a", None), answer)),
        "b" => {
            if let Some(answered) = read(bucket.delete_batch(&["a".into(), "b".into()]), answer) {
                assert_eq!(answered.len(), 2);
            }
        }
        "u" => {
            if let Some(id) = read(bucket.create_upload("a", &headers), answer) {
                assert!(!id.is_empty());
            }
        }
        "t" => {
            if let Some(part) = read(bucket.upload_part(upload, 7, &payload), answer) {
                assert_eq!(part.number, 7);
            }
        }
        "o" => drop(read(bucket.copy_part(upload, 7, 0..9, &etag), answer)),
        "f" => drop(read(bucket.complete_upload(upload, &[], &Precondition::None), answer)),
        "a" => drop(read(bucket.abort_upload(upload), answer)),
        "m" => {
            if let Some(page) = read(bucket.list_uploads("", None), answer) {
                assert!(page.uploads.iter().all(|upload| !upload.id.is_empty()));
            }
        }
        _ => {}
    }
});
