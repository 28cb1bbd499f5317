//! [`SymlinkTarget`]: the text of a symbolic link, which is the body of its object.

use crate::escape::escape;
use crate::key::Key;
use std::fmt;
use thiserror::Error;

/// The target of a symbolic link, verbatim.
///
/// - It is 1 to 4,095 bytes and holds no NUL, so that Linux can make the link.
/// - It is kept byte for byte: not trimmed, not resolved, not required to be UTF-8.
///
/// It is text to store, never a path to open. Source: FSx for Lustre user guide (the body is the target path).
///
/// ```
/// use posix_s3::SymlinkTarget;
///
/// assert_eq!(SymlinkTarget::parse(b"../target")?.as_bytes(), b"../target");
///
/// let refused = SymlinkTarget::parse(b"").unwrap_err();
/// assert_eq!(refused.to_string(), "invalid link target: expected 1 to 4095 bytes, found none");
/// # Ok::<(), posix_s3::InvalidTarget>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymlinkTarget(Box<[u8]>);

impl SymlinkTarget {
    /// The longest target, in bytes: `PATH_MAX` of Linux less its NUL.
    pub const MAX_BYTES: usize = 4095;

    /// Checks the body of a link's object.
    ///
    /// # Errors
    /// [`InvalidTarget`] with the reason.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidTarget> {
        if body.is_empty() {
            return Err(InvalidTarget::Empty);
        }
        if body.len() > Self::MAX_BYTES {
            return Err(InvalidTarget::TooLong { bytes: body.len() as u64, most: Self::MAX_BYTES });
        }
        if let Some(at) = body.iter().position(|&byte| byte == 0) {
            return Err(InvalidTarget::Nul { at });
        }
        Ok(Self(body.into()))
    }

    /// The target as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes, 1 to 4,095: the size of the object.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether the target, read from where the link stands, names anything outside the root.
    ///
    /// Decided on the text alone: an absolute target leaves, and so does one that climbs above the root at any
    /// point, even if it comes back. Links that the target passes through are not looked at.
    ///
    /// ```
    /// use posix_s3::{Key, SymlinkTarget};
    ///
    /// let link = Key::parse("a/link")?;
    /// assert!(!SymlinkTarget::parse(b"../b")?.leaves_root(&link));
    /// assert!(SymlinkTarget::parse(b"../../b")?.leaves_root(&link));
    /// assert!(SymlinkTarget::parse(b"/etc/passwd")?.leaves_root(&link));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn leaves_root(&self, link: &Key) -> bool {
        if self.0.first() == Some(&b'/') {
            return true;
        }
        let mut depth = link.depth();
        for segment in self.0.split(|&byte| byte == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => match depth.checked_sub(1) {
                    Some(above) => depth = above,
                    None => return true,
                },
                _ => depth = depth.saturating_add(1),
            }
        }
        false
    }
}

impl fmt::Debug for SymlinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SymlinkTarget(\"{self}\")")
    }
}

impl fmt::Display for SymlinkTarget {
    /// Prints the target safely for people; see [`escape`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0).fmt(f)
    }
}

impl TryFrom<&[u8]> for SymlinkTarget {
    type Error = InvalidTarget;

    fn try_from(body: &[u8]) -> Result<Self, InvalidTarget> {
        Self::parse(body)
    }
}

/// A body that is no link target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidTarget {
    /// The body is empty; Linux refuses such a link.
    #[error("invalid link target: expected 1 to 4095 bytes, found none")]
    Empty,
    /// The body is longer than a link can be.
    #[error("invalid link target: expected at most {most} bytes, found {bytes}")]
    TooLong {
        /// The length of the body in bytes.
        bytes: u64,
        /// The limit in bytes: 4,095, or less where the profile says so.
        most: usize,
    },
    /// The body holds a NUL.
    #[error("invalid link target: expected no NUL, found one at byte {at}")]
    Nul {
        /// The byte at which it stands, from 0.
        at: usize,
    },
}

impl InvalidTarget {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong { .. } => "too-long",
            Self::Nul { .. } => "nul",
        }
    }
}

/// The text form keeps UTF-8 as it is; `%` and every other byte stand as `%` and two hexadecimal digits.
#[cfg(feature = "serde")]
mod text {
    use super::SymlinkTarget;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use std::fmt::Write as _;

    impl Serialize for SymlinkTarget {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut text = String::with_capacity(self.0.len());
            for chunk in self.0.utf8_chunks() {
                text.push_str(&chunk.valid().replace('%', "%25"));
                for byte in chunk.invalid() {
                    write!(text, "%{byte:02x}").map_err(serde::ser::Error::custom)?;
                }
            }
            serializer.serialize_str(&text)
        }
    }

    impl<'de> Deserialize<'de> for SymlinkTarget {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let mut pieces = text.split('%');
            let mut body: Vec<u8> = pieces.next().unwrap_or_default().into();
            for piece in pieces {
                let digits = piece.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let digits = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let (Some(byte), Some(rest)) = (digits, piece.get(2..)) else {
                    return Err(de::Error::custom("invalid link target: expected two hexadecimal digits after `%`"));
                };
                body.push(byte);
                body.extend_from_slice(rest.as_bytes());
            }
            Self::parse(&body).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(target: &[u8], link: &str) -> bool {
        SymlinkTarget::parse(target).unwrap().leaves_root(&link.parse().unwrap())
    }

    #[test]
    fn targets_are_kept_byte_for_byte() {
        for body in [&b" target "[..], b"target\n", b"\xff\xfe", b"%41", &[b'x'; 4095]] {
            assert_eq!(SymlinkTarget::parse(body).unwrap().as_bytes(), body);
        }
    }

    #[test]
    fn out_and_back_in_counts_as_leaving() {
        assert!(leaves(b"../root/x", "link"));
        assert!(!leaves(b"../x", "a/link"));
        assert!(leaves(b"../../a/x", "a/link"));
        assert!(!leaves(b"./b/../../c", "a/link"));
        assert!(leaves(b"./b/../../../c", "a/link"));
        assert!(!leaves(b"..a/...", "link"));
    }

    #[test]
    fn a_climb_behind_4000_bytes_is_seen() {
        let mut target = b"a/../".repeat(815);
        target.extend_from_slice(b"../x");
        assert!(leaves(&target, "link"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_text_form_reads_back() {
        for body in [&b"a%b"[..], b"\xff%25", "caf\u{e9}".as_bytes()] {
            let target = SymlinkTarget::parse(body).unwrap();
            let text = serde_json::to_string(&target).unwrap();
            assert_eq!(serde_json::from_str::<SymlinkTarget>(&text).unwrap(), target);
        }
        for text in ["\"a%4\"", "\"%\"", "\"%4g\"", "\"%+1\"", "\"%00\"", "\"\""] {
            assert!(serde_json::from_str::<SymlinkTarget>(text).is_err(), "{text}");
        }
        let target = SymlinkTarget::parse(b"a%b\xff").unwrap();
        assert_eq!(serde_json::to_string(&target).unwrap(), "\"a%25b%ff\"");
    }

    #[test]
    fn an_absolute_target_leaves_and_a_slash_inside_does_not() {
        assert!(leaves(b"/", "a/b/link") && leaves(b"/a", "a/b/link"));
        assert!(!leaves(b"a//b/", "link") && !leaves(b".", "link") && !leaves(b"a/..", "link"));
        assert!(leaves(b"..", "link") && !leaves(b"..", "a/link"));
        assert!(leaves(b"a/../..", "link") && leaves(b"a//../..", "link") && leaves(b"a/./../..", "link"));
    }

    #[test]
    fn a_target_is_shown_safely_and_has_a_size() {
        let target = SymlinkTarget::try_from(&b"a\nb"[..]).unwrap();
        assert_eq!((target.size(), target.to_string().as_str()), (3, r"a\nb"));
        assert_eq!(format!("{target:?}"), r#"SymlinkTarget("a\nb")"#);
        let codes = [&b""[..], b"a\0", &[b'x'; 4096]].map(|body| SymlinkTarget::parse(body).unwrap_err().code());
        assert_eq!(codes, ["empty", "nul", "too-long"]);
    }

    #[test]
    fn messages() {
        let message = |body: &[u8]| SymlinkTarget::parse(body).unwrap_err().to_string();
        assert_eq!(message(b""), "invalid link target: expected 1 to 4095 bytes, found none");
        assert_eq!(message(&[b'x'; 4096]), "invalid link target: expected at most 4095 bytes, found 4096");
        assert_eq!(message(b"a\0"), "invalid link target: expected no NUL, found one at byte 1");
    }
}
