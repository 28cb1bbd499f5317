//! What both doors read and write alike.

use crate::etag::ETag;
use crate::metadata::{MISSING_META, USER_METADATA_PREFIX};
use http::header::{self, CONTENT_TYPE, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str};
use std::borrow::Cow;
use std::time::Duration;

/// What is encoded in a path: everything but what RFC 3986 calls unreserved, and the slash.
pub(super) const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a header of a request may not be, since it is said by the request itself.
pub(super) const OWN_HEADERS: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::AUTHORIZATION,
    header::EXPECT,
    header::RANGE,
];

/// An `ETag`, which has quotes, also where a listing has left them out.
pub(super) fn etag(text: &str) -> ETag {
    if text.starts_with('"') || text.starts_with("W/") { ETag::new(text) } else { ETag::new(&format!("\"{text}\"")) }
}

/// A key as a listing shows it: text, or bytes that are none.
pub(super) fn listed_key(bytes: Vec<u8>) -> Result<String, Box<[u8]>> {
    String::from_utf8(bytes).map_err(|error| error.into_bytes().into())
}

/// The bytes of a key as a listing with `encoding-type=url` shows it; `None` when it is not encoded like that: `%zz` is not
/// taken for itself, which is `%25zz`.
///
/// The encoding is that of forms: `+` is a space, and a plus is `%2B`. Servers that write a space as `%20` are understood
/// as well.
pub(super) fn decoded_key(text: &str) -> Option<Vec<u8>> {
    let is_digit = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
    if !text.split('%').skip(1).map(str::as_bytes).all(|rest| is_digit(rest.first()) && is_digit(rest.get(1))) {
        return None;
    }
    let text = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    Some(percent_decode_str(&text).collect())
}

/// Whether the keys of a listing of uploads are encoded: as the listing says, or as it looks where it says nothing. radosgw
/// encodes them and does not say so; other servers say nothing and encode nothing.
pub(super) fn is_encoded<'a>(said: bool, mut keys: impl Iterator<Item = &'a str> + Clone) -> bool {
    let is_left = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/*+%".contains(&byte);
    let has_escape = |key: &str| {
        let digits = |rest: &str| rest.as_bytes().get(..2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let mut escapes = key.split('%').skip(1).peekable();
        escapes.peek().is_some() && escapes.all(digits)
    };
    said || keys.clone().all(|key| key.bytes().all(is_left)) && keys.any(has_escape)
}

/// Whether a header belongs to the object, and not to the answer.
pub(super) fn is_of_object(name: &str) -> bool {
    name == CONTENT_TYPE.as_str()
        || name == MISSING_META.as_str()
        || name.starts_with(USER_METADATA_PREFIX)
        || name.starts_with("x-amz-server-side-encryption")
        || matches!(name, "x-amz-storage-class" | "x-amz-restore" | "x-amz-archive-status")
}

/// Whether a key comes out of XML as it went in, at any server: XML has no control characters, ends of lines are
/// normalised, and what reads it may trim.
pub(super) fn survives_xml(key: &str) -> bool {
    let is_lost = |character: char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}' | '\u{2028}');
    key.trim() == key && !key.contains(is_lost)
}

/// `Retry-After` in seconds; a date, which S3 does not send, says nothing here.
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    /// The longest wait that is taken from an answer.
    const LONGEST: u64 = 300;
    Some(Duration::from_secs(text.trim().parse::<u64>().ok()?.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_listing_are_decoded_as_forms_are() {
        for (text, key) in [
            ("a+b", "a b"),
            ("a%20b", "a b"),
            ("a%2Bb", "a+b"),
            ("%C3%A9%01%0A", "\u{e9}\u{1}\n"),
            ("a/%2F%25", "a//%"),
        ] {
            assert_eq!(decoded_key(text).map(listed_key), Some(Ok(key.to_owned())), "{text}");
        }
        let unreadable: Box<[u8]> = b"caf\xe9".as_slice().into();
        assert_eq!(decoded_key("caf%E9").map(listed_key), Some(Err(unreadable)));
        for text in ["%", "a%4", "%zz", "%4%41", "%+1"] {
            assert_eq!(decoded_key(text), None, "{text}");
        }
    }

    #[test]
    fn keys_of_uploads_that_look_encoded_are() {
        for (keys, expected) in [
            (vec!["a%20b/", "a"], true),
            (vec!["a%3Ab"], true),
            (vec!["a%3Ab", "a:b"], false),
            (vec!["100%"], false),
            (vec!["a b"], false),
            (vec!["a"], false),
            (vec![], false),
        ] {
            assert_eq!(is_encoded(false, keys.iter().copied()), expected, "{keys:?}");
            assert!(is_encoded(true, keys.iter().copied()));
        }
    }

    #[test]
    fn an_etag_has_quotes() {
        assert_eq!(etag("abc").as_str(), "\"abc\"");
        assert_eq!(etag("\"abc\"").as_str(), "\"abc\"");
        assert_eq!(etag("W/\"abc\"").as_str(), "W/\"abc\"");
    }

    #[test]
    fn a_key_that_xml_would_change_goes_alone() {
        for key in ["a", "a b", "<&>\"'", "\u{e9}\u{200b}", "a//../b"] {
            assert!(survives_xml(key), "{key:?}");
        }
        for key in [" a", "a ", "a\nb", "a\r", "\u{1}", "\u{85}", "\u{2028}", "\u{ffff}", "\0"] {
            assert!(!survives_xml(key), "{key:?}");
        }
    }

    #[test]
    fn a28_a_wait_has_a_limit() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("86400"), Some(Duration::from_secs(300)));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
