//! Law: whatever a server answers, each request has a value or an error of it, and no panic. What is accepted keeps its
//! word: a page shown again as a listing reads back the same, sizes are those of the bodies, each key of a batch has its
//! answer, an upload has an id; and what an error says is safe to print.
//!
//! Input: a line with the request's letter, the status and `-` when the body was too long to be read whole, and comes in
//! pieces; headers as `headers` reads them; an empty line; the body.

#![no_main]

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use http::Response;
use libfuzzer_sys::fuzz_target;
use posix_s3::ETag;
use posix_s3::store::s3::{Addressing, Bucket, CallError, Content, Exchange, HttpError, Payload, Upload};
use posix_s3::store::{ListPage, ListRequest, Precondition};
use posix_s3_fuzz::{encoded, split_once};
use std::fmt::Write as _;
use std::time::Duration;

type Answer = Response<Content<HttpError>>;

/// The body of an answer as it came from the server.
struct Said<'a> {
    body: &'a [u8],
    is_whole: bool,
}

impl Said<'_> {
    /// As a client hands it out.
    fn content(&self, limit: u64) -> Content<HttpError> {
        if self.is_whole && self.body.len() as u64 <= limit {
            return Content::Whole(Bytes::copy_from_slice(self.body));
        }
        let pieces: Vec<_> = self.body.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Content::Pieces(stream::iter(pieces).boxed())
    }
}

/// What a body comes to: its bytes, and whether it ended well.
fn drained(content: Content) -> (Vec<u8>, bool) {
    let (mut bytes, mut pieces) = (Vec::new(), content.into_pieces());
    while let Some(piece) = pieces.next().now_or_never().expect("nothing is waited for") {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

/// The value that an answer is accepted as; of one that is not, that the error is fit to be shown.
fn read<T>(exchange: Result<Exchange<T>, CallError>, answer: &Response<Said<'_>>) -> Option<T> {
    // An upload that is not there need not be aborted.
    let is_gone = answer.body().body.windows(12).any(|word| word == b"NoSuchUpload");
    let is_right = answer.status().is_success() || is_gone;
    let (_, limit, read) = exchange.expect("a request").into_parts();
    let mut said: Answer = Response::new(answer.body().content(limit));
    *said.status_mut() = answer.status();
    answer.headers().clone_into(said.headers_mut());
    match read(said) {
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
    let is_whole = words.next() != Some("-");
    let cut = rest.windows(2).position(|pair| pair == b"\n\n");
    let (lines, body) = cut.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 2..]));
    let Ok(mut answer) = Response::builder().status(status).body(Said { body, is_whole }) else { return };
    *answer.headers_mut() = posix_s3_fuzz::headers(lines);

    let bucket = Bucket::new(&"http://localhost".parse().expect("an endpoint"), "bucket", Addressing::Path);
    let bucket = bucket.expect("a bucket");
    let headers = http::HeaderMap::new();
    let answer = &answer;
    let (payload, etag) = (Payload::new(Bytes::from_static(b"body")), ETag::new("\"e\""));
    let upload = Upload { key: "a", id: "u" };
    match which {
        "l" => {
            let list = || bucket.list(&ListRequest::default());
            if let Some(page) = read(list(), answer) {
                assert!(page.objects.len() <= body.len() / "<Contents></Contents>".len());
                assert!(page.next.as_ref().is_none_or(|token| !token.is_empty()));
                let again = Response::new(Content::Whole(Bytes::from(shown(&page))));
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
            if let Some(fetched) = read(bucket.get("a", None, None, 16), answer) {
                let whole = fetched.body.whole().is_some();
                let (bytes, is_well) = drained(fetched.body);
                assert_eq!(is_well, bytes.len() as u64 == fetched.meta.size && bytes == body);
                assert!(body.starts_with(&bytes) && (is_well || !whole));
            }
        }
        "r" => {
            if let Some(fetched) = read(bucket.get("a", Some(2..6), None, 4), answer) {
                assert!(fetched.meta.size > 2);
                let (bytes, is_well) = drained(fetched.body);
                let length = fetched.meta.size.min(6) - 2;
                assert!(bytes.len() as u64 <= length && is_well == (bytes.len() as u64 == length && bytes == body));
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
