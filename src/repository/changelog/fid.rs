//! [`Fid`]: the name of an inode of a Lustre file system.

use crate::escape::excerpt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The name of an inode of a Lustre file system, which stays when its path changes and is never given twice.
///
/// ```
/// use posix_s3::repository::Fid;
///
/// let fid: Fid = "[0x200000007:0x1:0x0]".parse()?;
/// assert_eq!(fid, Fid::ROOT);
/// assert_eq!(fid.to_string(), "0x200000007:0x1:0x0");
/// assert!("0x200000007:0x1".parse::<Fid>().is_err());
/// # Ok::<(), posix_s3::repository::InvalidFid>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fid {
    /// The sequence, which the server gave to a client.
    pub sequence: u64,
    /// The number in the sequence.
    pub object: u32,
    /// The version; 0.
    pub version: u32,
}

impl Fid {
    /// None: what stands where a record has no inode to name.
    pub const ZERO: Self = Self { sequence: 0, object: 0, version: 0 };
    /// The root of every file system.
    pub const ROOT: Self = Self { sequence: 0x2_0000_0007, object: 1, version: 0 };

    /// Whether it names nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.sequence == 0 && self.object == 0
    }
}

impl fmt::Display for Fid {
    /// As Lustre prints it, without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, object, version } = self;
        // `%#llx` of zero has no `0x`.
        if *sequence == 0 {
            f.write_str("0")?
        } else {
            write!(f, "{sequence:#x}")?
        }
        write!(f, ":{object:#x}:{version:#x}")
    }
}

/// A text that is no FID.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid FID \"{found}\": expected three hexadecimal numbers as in 0x200000007:0x1:0x0, in brackets or not")]
pub struct InvalidFid {
    found: Box<str>,
}

impl FromStr for Fid {
    type Err = InvalidFid;

    fn from_str(text: &str) -> Result<Self, InvalidFid> {
        let invalid = || InvalidFid { found: excerpt(text.as_bytes()) };
        let inner = match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(invalid)?,
            None => text,
        };
        let mut parts = inner.split(':').map(hexadecimal);
        let mut part = || parts.next().flatten().ok_or_else(invalid);
        let (sequence, object, version) = (part()?, part()?, part()?);
        let narrow = |number: u64| u32::try_from(number).map_err(|_| invalid());
        let fid = Self { sequence, object: narrow(object)?, version: narrow(version)? };
        if parts.next().is_some() { Err(invalid()) } else { Ok(fid) }
    }
}

/// `0x` and up to sixteen digits, or a bare zero.
pub(super) fn hexadecimal(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let digits = text.strip_prefix("0x")?;
    let plain = !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

impl Serialize for Fid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
