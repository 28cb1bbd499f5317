//! An answer, and how it is written.

use crate::request::Body;
use posix_s3_bench::text::http_time;
use posix_s3_bench::wire::Wire;
use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes of an object: one piece for each part that it was uploaded in.
pub(crate) type Pieces = Arc<[Arc<Vec<u8>>]>;

/// What is sent back.
pub(crate) struct Answer {
    status: u16,
    lines: Vec<u8>,
    content: Content,
}

enum Content {
    Text(Vec<u8>),
    Part(Pieces, Range<usize>),
}

impl Answer {
    pub(crate) const fn new(status: u16) -> Self {
        Self { status, lines: Vec::new(), content: Content::Text(Vec::new()) }
    }

    pub(crate) fn xml(root: &str, inside: &str) -> Self {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inside}</{root}>"
        );
        Self { content: Content::Text(text.into_bytes()), ..Self::new(200) }.with("content-type", "application/xml")
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let text = format!("<Error><Code>{code}</Code><Message>{code}</Message><RequestId>0</RequestId></Error>");
        Self { content: Content::Text(text.into_bytes()), ..Self::new(status) }.with("content-type", "application/xml")
    }

    pub(crate) fn json(text: String) -> Self {
        Self { content: Content::Text(text.into_bytes()), ..Self::new(200) }.with("content-type", "application/json")
    }

    pub(crate) fn part(status: u16, pieces: Pieces, range: Range<usize>) -> Self {
        Self { content: Content::Part(pieces, range), ..Self::new(status) }
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), b": ", value.as_ref(), b"\r\n"] {
            self.lines.extend_from_slice(part);
        }
        self
    }

    /// Lines that are ready.
    pub(crate) fn with_lines(mut self, lines: &[u8]) -> Self {
        self.lines.extend_from_slice(lines);
        self
    }

    pub(crate) fn write(&self, wire: &mut Wire, out: &mut Vec<u8>, body: Body) -> io::Result<()> {
        out.clear();
        write!(out, "HTTP/1.1 {} {}\r\nx-amz-request-id: 0\r\ndate: ", self.status, reason(self.status))?;
        push_date(out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.lines);
        if !matches!(self.status, 204 | 304) {
            write!(out, "content-length: {}\r\n", self.content.length())?;
        }
        out.extend_from_slice(b"\r\n");
        match &self.content {
            _ if body == Body::Kept || self.status == 304 => wire.write(out, b""),
            Content::Text(text) => wire.write(out, text),
            Content::Part(pieces, range) => {
                let mut from = 0;
                for piece in pieces.iter() {
                    let wanted = range.start.max(from)..range.end.min(from + piece.len());
                    if !wanted.is_empty() {
                        wire.write(out, &piece[wanted.start - from..wanted.end - from])?;
                        out.clear();
                    }
                    from += piece.len();
                }
                if out.is_empty() { Ok(()) } else { wire.write(out, b"") }
            }
        }
    }
}

impl Content {
    fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Part(_, range) => range.len(),
        }
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        404 => "Not Found",
        412 => "Precondition Failed",
        _ => "Refused",
    }
}

/// The time, which is written once a second.
fn push_date(out: &mut Vec<u8>) {
    thread_local!(static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(then, text)| {
        if *then != second {
            (*then, *text) = (second, http_time(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}
