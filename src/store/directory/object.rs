//! The file of an object: its body, then its headers as lines, then a footer of fixed length.

use super::super::{ETag, ObjectMeta};
use crate::timestamp::Timestamp;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The last bytes of every object file: the form and the length of the lines before it.
const FOOTER_BYTES: usize = "posix-s3 object 1 00000000\n".len();
const FOOTER_START: &str = "posix-s3 object 1 ";

/// An object as its file holds it.
pub(super) struct StoredObject {
    pub(super) meta: ObjectMeta,
}

pub(super) fn trailer_of(meta: &ObjectMeta) -> Vec<u8> {
    let mut trailer = format!("etag: {}\nlast-modified: {}\n", meta.etag.as_str(), meta.last_modified).into_bytes();
    for (name, value) in &meta.headers {
        // Header values hold no line feed.
        trailer.extend_from_slice(b"header ");
        trailer.extend_from_slice(name.as_str().as_bytes());
        trailer.extend_from_slice(b": ");
        trailer.extend_from_slice(value.as_bytes());
        trailer.push(b'\n');
    }
    let footer = format!("{FOOTER_START}{:08x}\n", trailer.len());
    trailer.extend_from_slice(footer.as_bytes());
    trailer
}

impl StoredObject {
    pub(super) fn read(file: &File) -> io::Result<Self> {
        const USUAL: u64 = 1024;
        let length = file.metadata()?.len();
        let usual = length.min(USUAL);
        let mut tail = vec![0; usize::try_from(usual).unwrap_or(0)];
        file.read_exact_at(&mut tail, length.saturating_sub(usual))?;
        let lines = lines_before_footer(&tail)?;
        let whole = lines.saturating_add(FOOTER_BYTES);
        let size = length.checked_sub(whole as u64).ok_or_else(|| damaged("shorter than its headers"))?;
        if whole > tail.len() {
            tail = vec![0; whole];
            file.read_exact_at(&mut tail, size)?;
        }
        let start = tail.len().saturating_sub(whole);
        let end = tail.len().saturating_sub(FOOTER_BYTES);
        let lines = tail.get(start..end).unwrap_or_default();
        Ok(Self { meta: parse_lines(lines, size)? })
    }
}

pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected an object, found a file {what}"))
}

fn lines_before_footer(tail: &[u8]) -> io::Result<usize> {
    let footer = tail.len().checked_sub(FOOTER_BYTES).and_then(|start| tail.get(start..));
    let digits = footer.and_then(|footer| footer.strip_prefix(FOOTER_START.as_bytes())?.strip_suffix(b"\n"));
    let lines = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    lines.and_then(|lines| usize::try_from(lines).ok()).ok_or_else(|| damaged("without its footer"))
}

fn parse_lines(lines: &[u8], size: u64) -> io::Result<ObjectMeta> {
    let mut etag = None;
    let mut last_modified = None;
    let mut headers = HeaderMap::new();
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").ok_or_else(|| damaged("with a cut line"))?;
        if let Some(text) = line.strip_prefix(b"etag: ") {
            etag = std::str::from_utf8(text).ok().map(ETag::new);
        } else if let Some(text) = line.strip_prefix(b"last-modified: ") {
            last_modified = Timestamp::parse(text).ok();
        } else {
            let (name, value) = parse_header(line).ok_or_else(|| damaged("with a line that is no header"))?;
            headers.append(name, value);
        }
    }
    match (etag, last_modified) {
        (Some(etag), Some(last_modified)) => Ok(ObjectMeta { size, etag, last_modified, headers }),
        _ => Err(damaged("without ETag or Last-Modified")),
    }
}

fn parse_header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let line = line.strip_prefix(b"header ")?;
    let colon = line.windows(2).position(|pair| pair == b": ")?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value.get(2..)?).ok()?))
}
