//! What several targets share: how an input is read, and how a text form is checked.

pub mod choices;
#[path = "../../tests/model/mod.rs"]
pub mod model;
pub mod paged;
pub mod surrounded;
pub mod worlds;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, from_value, to_value};
use std::fmt::Debug;

/// Reads headers from lines `name:value`; lines that HTTP does not allow are left out.
///
/// One letter stands for a name of the schema, so that the fuzzer has little to find: `p`, `o`, `g`, `a` and `m` are
/// the five fields, `u` is the user agent, `x` the count of values kept back. Of an answer `e` is the version, `t` the time,
/// `l` the length, `r` the range and `s` the checksum.
pub fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let Some((name, value)) = split_once(line, b':') else { continue };
        let name: &[u8] = match name {
            b"p" => b"x-amz-meta-file-permissions",
            b"o" => b"x-amz-meta-file-owner",
            b"g" => b"x-amz-meta-file-group",
            b"a" => b"x-amz-meta-file-atime",
            b"m" => b"x-amz-meta-file-mtime",
            b"u" => b"x-amz-meta-user-agent",
            b"x" => b"x-amz-missing-meta",
            b"e" => b"etag",
            b"t" => b"last-modified",
            b"l" => b"content-length",
            b"r" => b"content-range",
            b"s" => b"x-amz-checksum-sha256",
            name => name,
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Cuts at the first `byte`, which is left out.
pub fn split_once(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&other| other == byte)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Checks that the text form of a value is text and reads back as the value.
pub fn reads_back<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = to_value(value).unwrap();
    assert!(matches!(text, Value::String(_) | Value::Number(_) | Value::Object(_)));
    assert_eq!(&from_value::<T>(text).unwrap(), value);
}

/// Text as it stands in an address, with every byte but letters and digits encoded.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// What stands in an address, decoded once; `None` for a byte that an address has not as it is.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'/' => byte,
            _ => return None,
        });
    }
    String::from_utf8(decoded).ok()
}
