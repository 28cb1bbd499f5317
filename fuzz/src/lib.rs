//! What several targets share: how an input is read, and how a text form is checked.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, from_value, to_value};
use std::fmt::Debug;

/// Reads headers from lines `name:value`; lines that HTTP does not allow are left out.
///
/// One letter stands for a name of the schema, so that the fuzzer has little to find: `p`, `o`, `g`, `a` and `m` are
/// the five fields, `u` is the user agent, `x` the count of values kept back.
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
