//! [`Released`]: what the inode of a file says whose data is in the store alone.

use crate::etag::ETag;
use crate::key::Key;
use crate::timestamp::Timestamp;
use thiserror::Error;

/// Where the data of a released file is, and what the file was when it was released.
///
/// It stands on the inode, so that it goes with the file through renames and outlives every state.
///
/// - A file that has another size or mtime, or any data, was written to since.
/// - [`encode`](Self::encode) and [`decode`](Self::decode) are exact opposites.
///
/// ```
/// use posix_s3::{ETag, Key, Released, Timestamp};
///
/// let key = Key::parse("data/a")?;
/// let released = Released { key, etag: ETag::new("\"etag\""), size: 5, mtime: Timestamp::EPOCH, lost: false };
/// assert_eq!(Released::decode(&released.encode())?, released);
/// assert!(Released::decode(b"2\0").is_err()); // of a later version
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Released {
    /// The key of the object that has its data, relative to the link.
    pub key: Key,
    /// The version of the object.
    pub etag: ETag,
    /// How many bytes there are.
    pub size: u64,
    /// The mtime that the file has as long as nobody has written to it.
    pub mtime: Timestamp,
    /// The object was not there any more when its data was to be fetched.
    pub lost: bool,
}

/// The extended attribute in which it is kept where only the superuser may set it: `trusted.posix-s3.hsm`.
pub const TRUSTED_ATTRIBUTE: &str = "trusted.posix-s3.hsm";
/// The extended attribute in which it is kept where anybody may set it who may write the file: `user.posix-s3.hsm`.
pub const USER_ATTRIBUTE: &str = "user.posix-s3.hsm";

const VERSION: &str = "1";
const LOST: &str = "lost";

impl Released {
    /// Whether the object that has its data is this one: of this key and version.
    #[must_use]
    pub fn is_of(&self, key: &Key, etag: &ETag, size: u64) -> bool {
        (&self.key, &self.etag, self.size) == (key, etag, size)
    }

    /// The value of the extended attribute: version, `lost` or nothing, size, mtime in nanoseconds, key and `ETag`, with a
    /// zero byte between each and the next.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let lost = if self.lost { LOST } else { "" };
        // No key has a zero byte, and the last field may have any.
        format!(
            "{VERSION}\0{lost}\0{}\0{}\0{}\0{}",
            self.size,
            self.mtime.nanoseconds(),
            self.key.as_str(),
            self.etag.as_str()
        )
        .into_bytes()
    }

    /// Reads the value of the extended attribute.
    ///
    /// # Errors
    /// [`InvalidReleased`] for anything that [`encode`](Self::encode) does not make.
    pub fn decode(value: &[u8]) -> Result<Self, InvalidReleased> {
        let text = str::from_utf8(value).map_err(|_| InvalidReleased { expected: "text" })?;
        let mut fields = text.splitn(6, '\0');
        let mut next = |expected| fields.next().ok_or(InvalidReleased { expected });
        if next("a version")? != VERSION {
            return Err(InvalidReleased { expected: "version 1" });
        }
        let lost = match next("`lost` or nothing")? {
            "" => false,
            LOST => true,
            _ => return Err(InvalidReleased { expected: "`lost` or nothing" }),
        };
        let size = next("a size")?.parse().map_err(|_| InvalidReleased { expected: "a size" })?;
        let mtime = next("an mtime")?.parse().ok().and_then(Timestamp::from_nanoseconds);
        let mtime = mtime.ok_or(InvalidReleased { expected: "an mtime in nanoseconds" })?;
        let key = Key::parse(next("a key")?).map_err(|_| InvalidReleased { expected: "a key" })?;
        let etag = ETag::new(next("an ETag")?);
        let released = Self { key, etag, size, mtime, lost };
        if released.encode() == value { Ok(released) } else { Err(InvalidReleased { expected: "plain numbers" }) }
    }
}

/// An extended attribute that does not say where the data of a file is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the attribute that says where its data is cannot be read: expected {expected}")]
pub struct InvalidReleased {
    expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn released(key: &str, etag: &str, size: u64, mtime: i128, lost: bool) -> Released {
        let mtime = Timestamp::from_nanoseconds(mtime).unwrap();
        Released { key: Key::parse(key).unwrap(), etag: ETag::new(etag), size, mtime, lost }
    }

    #[test]
    fn what_is_not_exactly_so_is_refused() {
        let value = released("a", "\"e\"", 5, 7, false).encode();
        assert_eq!(value, b"1\0\x005\x007\0a\0\"e\"");
        let refused = |value: &[u8]| Released::decode(value).unwrap_err().to_string();
        for (value, expected) in [
            (&b""[..], "version 1"),
            (b"1", "`lost` or nothing"),
            (b"1\0x\0", "`lost` or nothing"),
            (b"1\0\0-5\0", "a size"),
            (b"1\0\x005\0soon\0", "an mtime in nanoseconds"),
            (b"1\0\x005\x007\0../a\0", "a key"),
            (b"1\0\x005\x007\0a", "an ETag"),
            (b"1\0\x0005\x007\0a\0e", "plain numbers"),
            (b"\xff", "text"),
        ] {
            assert!(refused(value).ends_with(expected), "{}", refused(value));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(etag: String, size: u64, mtime: i64, lost: bool, key in "[a-z\n =]{1,9}(/[^/\0.]{1,4})?") {
            let released = released(&key, &etag, size, mtime.into(), lost);
            prop_assert_eq!(Released::decode(&released.encode()), Ok(released));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(value: Vec<u8>) {
            if let Ok(released) = Released::decode(&value) {
                prop_assert_eq!(released.encode(), value);
            }
        }
    }
}
