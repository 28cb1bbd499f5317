//! [`ETag`]: the version of an object's bytes.

use crate::escape::escape;
use std::fmt;

/// The version of an object's bytes, as the store names it. It is compared; what it says is read in one case only:
/// [`ETag::md5`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ETag(Box<str>);

impl ETag {
    /// Takes the text of an `ETag` header as it is, with its quotes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The `ETag` that S3 gives to an object put in one piece: the MD5 of its body as hexadecimal digits, in quotes.
    #[must_use]
    pub fn from_md5(md5: [u8; 16]) -> Self {
        let mut text = String::with_capacity(34);
        text.push('"');
        for byte in md5 {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        text.push('"');
        Self(text.into())
    }

    /// The text, with its quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest that it would be if it were the MD5 of the body: 32 lower-case hexadecimal digits in quotes.
    ///
    /// Whether it is one depends on the store and on how the object was put. That a body has this digest proves that it
    /// is the object's; that it has another proves nothing.
    ///
    /// ```
    /// use posix_s3::ETag;
    ///
    /// let empty = ETag::new("\"d41d8cd98f00b204e9800998ecf8427e\"");
    /// assert_eq!(empty, ETag::from_md5(empty.md5().unwrap()));
    /// assert_eq!(ETag::new("\"d41d8cd98f00b204e9800998ecf8427e-2\"").md5(), None); // of an object put in parts
    /// ```
    #[must_use]
    pub fn md5(&self) -> Option<[u8; 16]> {
        let digits = self.0.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit & 15),
            b'a'..=b'f' => digit.checked_sub(b'a' - 10),
            _ => None,
        };
        let mut md5 = [0; 16];
        if digits.len() != 32 {
            return None;
        }
        for (byte, pair) in md5.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = *pair else { return None };
            *byte = value(high)?.saturating_mul(16).saturating_add(value(low)?);
        }
        Some(md5)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0.as_bytes()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_a_digest() {
        let md5 = [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0, 0xb2, 4, 0xe9, 0x80, 9, 0x98, 0xec, 0xf8, 0x42, 0x7e];
        assert_eq!(ETag::from_md5(md5).as_str(), "\"d41d8cd98f00b204e9800998ecf8427e\"");
        assert_eq!(ETag::from_md5(md5).md5(), Some(md5));
        for text in ["", "\"", "\"\"", "d41d8cd98f00b204e9800998ecf8427e", "W/\"d41d8cd98f00b204e9800998ecf8427e\""] {
            assert_eq!(ETag::new(text).md5(), None, "{text}");
        }
        for text in ["\"D41D8CD98F00B204E9800998ECF8427E\"", "\"d41d8cd98f00b204e9800998ecf8427g\""] {
            assert_eq!(ETag::new(text).md5(), None, "{text}");
        }
    }

    #[test]
    fn what_a_store_calls_a_version_is_shown_safely() {
        assert_eq!(ETag::new("\"a\x1b[2J\"").to_string(), r#"\"a\u{1b}[2J\""#);
    }
}
