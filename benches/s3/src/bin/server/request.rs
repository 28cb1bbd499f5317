//! A request with its body, whatever form that came in.

use crate::Answered;
use crate::answer::Answer;
use posix_s3_bench::text::percent_decode;
use posix_s3_bench::wire::Wire;
use std::io;

/// What was asked.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Empty if the request is about all buckets.
    pub(crate) bucket: String,
    /// Empty if the request is about the bucket.
    pub(crate) key: String,
    query: Vec<(String, String)>,
    headers: &'a [httparse::Header<'a>],
    pub(crate) body: Vec<u8>,
}

/// Whether the body of an answer is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Sent,
    /// The request was a HEAD.
    Kept,
}

/// What has to be known of a request to write its answer.
pub(crate) struct WhatMatters {
    pub(crate) body: Body,
    pub(crate) closes: bool,
}

impl WhatMatters {
    /// Where the next request begins is not known.
    pub(crate) const REFUSED: Self = Self { body: Body::Sent, closes: true };
}

impl<'a> Request<'a> {
    /// Reads the body too. The inner error is for the client; after it, the connection is of no more use.
    pub(crate) fn read(
        head: &'a [u8],
        headers: &'a mut [httparse::Header<'a>],
        wire: &mut Wire,
    ) -> io::Result<Result<Self, Answer>> {
        let mut parsed = httparse::Request::new(headers);
        let (Ok(_), Some(method), Some(target)) = (parsed.parse(head), parsed.method, parsed.path) else {
            return Ok(Err(Answer::error(400, "InvalidRequest")));
        };
        let (method, headers): (&str, &[httparse::Header<'_>]) = (method, parsed.headers);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (Some(bucket), Some(key)) = (percent_decode(bucket), percent_decode(key)) else {
            return Ok(Err(Answer::error(400, "InvalidURI")));
        };
        let query = query.split('&').filter(|part| !part.is_empty()).filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((percent_decode(name)?, percent_decode(&value.replace('+', "%20"))?))
        });
        let query = query.collect();
        let mut request = Self { method, bucket, key, query, headers, body: Vec::new() };
        if request.header("transfer-encoding").is_some() {
            return Ok(Err(Answer::error(411, "MissingContentLength")));
        }
        if request.header("expect").is_some() {
            wire.write(&mut b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), b"")?;
        }
        let length = request.number("content-length").unwrap_or(0);
        if request.header("x-amz-content-sha256").is_some_and(|kind| kind.starts_with("STREAMING-")) {
            request.body.reserve_exact(request.number("x-amz-decoded-content-length").unwrap_or(0));
            read_chunks(wire, &mut request.body)?;
        } else {
            wire.read_body(length, &mut request.body)?;
        }
        Ok(Ok(request))
    }

    pub(crate) fn what_matters(&self) -> WhatMatters {
        WhatMatters {
            body: if self.method == "HEAD" { Body::Kept } else { Body::Sent },
            closes: self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        }
    }

    /// A header that can only be text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.header(name)?.parse().ok()
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The headers that a GET gives back, as it gives them: the content's own, and user metadata.
    pub(crate) fn kept_headers(&self) -> Vec<u8> {
        const KEPT: [&str; 8] = [
            "content-type",
            "cache-control",
            "content-disposition",
            "content-encoding",
            "content-language",
            "expires",
            "x-amz-storage-class",
            "x-amz-server-side-encryption",
        ];
        let mut lines = Vec::with_capacity(256);
        let mut typed = false;
        for header in self.headers {
            let name = header.name.to_ascii_lowercase();
            if !name.starts_with("x-amz-meta-") && !KEPT.contains(&name.as_str()) {
                continue;
            }
            let mut value = header.value;
            if name == "content-encoding" {
                // How the body travelled, not what it is.
                value = value.strip_prefix(b"aws-chunked").map_or(value, |rest| rest.trim_ascii_start());
                value = value.strip_prefix(b",").map_or(value, <[u8]>::trim_ascii_start);
            }
            if value.is_empty() && name == "content-encoding" || name == "x-amz-storage-class" && value == b"STANDARD" {
                continue;
            }
            typed |= name == "content-type";
            push_line(&mut lines, &name, value);
        }
        if !typed {
            push_line(&mut lines, "content-type", b"binary/octet-stream");
        }
        lines
    }

    /// Names and values of the checksums that came as headers.
    pub(crate) fn checksums(&self) -> impl Iterator<Item = (String, &'a [u8])> {
        let named = self.headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value));
        named.filter(|(name, _)| {
            name.strip_prefix("x-amz-checksum-").is_some_and(|kind| !matches!(kind, "mode" | "algorithm" | "type"))
        })
    }

    /// What `If-Match` and its like say of an object with this `ETag`, or of none.
    pub(crate) fn allows(&self, etag: Option<&str>) -> Result<(), Answer> {
        let names =
            |header: &str| header.split(',').any(|one| one.trim() == "*" || Some(one.trim().trim_matches('"')) == etag);
        match (self.header("if-match"), etag) {
            (Some(_), None) => return Err(Answer::error(404, "NoSuchKey")),
            (Some(header), Some(_)) if !names(header) => return Err(Answer::error(412, "PreconditionFailed")),
            _ => {}
        }
        match (self.header("if-none-match"), etag) {
            (Some(header), Some(etag)) if names(header) => Err(match self.method {
                "GET" | "HEAD" => Answer::new(304).with("etag", format!("\"{etag}\"")),
                _ => Answer::error(412, "PreconditionFailed"),
            }),
            _ => Ok(()),
        }
    }

    /// The part of a body that is wanted, and whether that was said.
    pub(crate) fn range(&self, size: usize) -> Result<Option<std::ops::Range<usize>>, Answer> {
        let Some((first, last)) = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        else {
            return Ok(None);
        };
        let range = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => first..size.min(last.saturating_add(1)),
            (Ok(first), Err(_)) => first..size,
            (Err(_), Ok(count)) => size.saturating_sub(count)..size,
            _ => return Ok(None),
        };
        if range.is_empty() {
            return Err(Answer::error(416, "InvalidRange").with("content-range", format!("bytes */{size}")));
        }
        Ok(Some(range))
    }
}

fn push_line(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

/// A body in chunks, each with its length and perhaps its signature in front, and perhaps lines behind the last.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>
fn read_chunks(wire: &mut Wire, body: &mut Vec<u8>) -> io::Result<()> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a chunk without a length");
    let mut line = Vec::new();
    loop {
        if !wire.read_line(&mut line)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let digits = line.split(|&byte| byte == b';' || byte == b'\r').next().ok_or_else(wrong)?;
        let length = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let length = length.ok_or_else(wrong)?;
        if length == 0 {
            break;
        }
        wire.read_body(length, body)?;
        wire.read_line(&mut line)?;
    }
    // A checksum, which is believed, and an empty line.
    while wire.read_line(&mut line)? && line != b"\r\n" {}
    Ok(())
}

impl Request<'_> {
    /// An answer for what the server does not do.
    pub(crate) fn not_implemented(&self) -> Answered {
        Err(Answer::error(501, "NotImplemented"))
    }
}
