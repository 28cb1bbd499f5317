//! [`Uid`] and [`Gid`]: owners as decimal text.

use crate::escape::{excerpt, found_byte};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The largest id. `u32::MAX` means "leave unchanged" to chown(2) and is no id.
const MAX: u32 = u32::MAX - 1;
/// The most digits of an id.
const MAX_DIGITS: usize = 10;

/// The id of a user, the value of `x-amz-meta-file-owner`.
///
/// - The value is 0 to 4,294,967,294, so it can be handed to chown(2) and never means "leave unchanged".
/// - The text form is decimal without leading zeros.
///
/// Reading takes 1 to 10 ASCII digits; names, signs, hexadecimal and spaces are refused.
/// Source: FSx for Lustre user guide (an integer); Storage Gateway API (the range).
///
/// ```
/// use posix_s3::Uid;
///
/// assert_eq!("1000".parse::<Uid>()?.get(), 1000);
///
/// let refused = "ubuntu".parse::<Uid>().unwrap_err();
/// assert_eq!(refused.to_string(), "invalid id \"ubuntu\": expected a decimal digit, found `u` at byte 0");
/// # Ok::<(), posix_s3::InvalidId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "u32", into = "u32"))]
pub struct Uid(u32);

/// The id of a group, the value of `x-amz-meta-file-group`.
///
/// The guarantees are those of [`Uid`].
///
/// ```
/// use posix_s3::Gid;
///
/// assert_eq!("4294967294".parse::<Gid>()?.get(), 4_294_967_294);
/// assert!("4294967295".parse::<Gid>().is_err());
/// # Ok::<(), posix_s3::InvalidId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "u32", into = "u32"))]
pub struct Gid(u32);

impl Uid {
    /// The superuser, 0.
    pub const ROOT: Self = Self(0);
    /// The user "nobody", 65534.
    pub const NOBODY: Self = Self(65_534);
}

impl Gid {
    /// The group of the superuser, 0.
    pub const ROOT: Self = Self(0);
    /// The group "nobody", 65534.
    pub const NOBODY: Self = Self(65_534);
}

/// The same behaviour for the two types; they differ in their meaning alone.
macro_rules! id {
    ($id:ident) => {
        impl $id {
            /// Takes a number, or answers `None` for 4,294,967,295.
            #[must_use]
            pub const fn new(id: u32) -> Option<Self> {
                if id <= MAX { Some(Self(id)) } else { None }
            }

            /// Reads the text of a header.
            ///
            /// # Errors
            /// [`InvalidId`] with what was expected, what was found and where.
            pub fn parse(text: &[u8]) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $id {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text.as_bytes())
            }
        }

        impl TryFrom<u32> for $id {
            type Error = InvalidId;

            fn try_from(id: u32) -> Result<Self, InvalidId> {
                Self::new(id).ok_or_else(|| InvalidId {
                    text: id.to_string().into(),
                    fault: IdFault::OutOfRange,
                    at: 0,
                })
            }
        }

        impl From<$id> for u32 {
            fn from(id: $id) -> Self {
                id.0
            }
        }
    };
}

id!(Uid);
id!(Gid);

fn parse(text: &[u8]) -> Result<u32, InvalidId> {
    let fault = |fault, at| InvalidId { text: excerpt(text), fault, at };
    if text.is_empty() {
        return Err(fault(IdFault::Empty, 0));
    }
    let mut id: u64 = 0;
    for (at, &byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(fault(IdFault::NotDecimal(byte), at));
        }
        if at >= MAX_DIGITS {
            return Err(fault(IdFault::TooManyDigits, at));
        }
        // Ten digits fit a u64.
        id = id.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    match u32::try_from(id) {
        Ok(id) if id <= MAX => Ok(id),
        _ => Err(fault(IdFault::OutOfRange, 0)),
    }
}

/// A `file-owner` or `file-group` value that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid id \"{text}\": {fault} at byte {at}")]
pub struct InvalidId {
    text: Box<str>,
    fault: IdFault,
    at: usize,
}

impl InvalidId {
    /// Why the text is refused.
    #[must_use]
    pub const fn fault(&self) -> IdFault {
        self.fault
    }

    /// The byte at which the fault stands, from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// Why an id is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum IdFault {
    /// There is no text.
    #[error("expected decimal digits, found nothing")]
    Empty,
    /// A byte is no decimal digit.
    #[error("expected a decimal digit, found {}", found_byte(*.0))]
    NotDecimal(u8),
    /// The text has more than ten digits.
    #[error("expected at most 10 digits, found more")]
    TooManyDigits,
    /// The value exceeds 4,294,967,294.
    #[error("expected at most 4294967294, found more")]
    OutOfRange,
}

impl IdFault {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotDecimal(_) => "not-decimal",
            Self::TooManyDigits | Self::OutOfRange => "out-of-range",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal_and_not_octal() {
        assert_eq!("01000".parse::<Uid>().unwrap().get(), 1000);
        assert_eq!("0000000007".parse::<Uid>().unwrap().get(), 7);
    }

    #[test]
    fn the_id_that_means_unchanged_cannot_be_built() {
        assert_eq!("4294967294".parse::<Uid>().unwrap().get(), MAX);
        assert!("4294967295".parse::<Uid>().is_err());
        assert_eq!(Uid::new(u32::MAX), None);
        assert!(Gid::try_from(u32::MAX).is_err());
    }

    #[test]
    fn an_id_is_a_number_and_its_text_the_digits_of_it() {
        let (uid, gid) = (Uid::try_from(1000).unwrap(), Gid::try_from(1000).unwrap());
        assert_eq!((uid.get(), u32::from(uid), uid.to_string().as_str()), (1000, 1000, "1000"));
        assert_eq!((gid.get(), u32::from(gid), gid.to_string().as_str()), (1000, 1000, "1000"));
        assert_eq!(Uid::new(MAX).map(Uid::get), Some(4_294_967_294));
        assert_eq!((Uid::ROOT.get(), Gid::ROOT.get(), Uid::NOBODY.get(), Gid::NOBODY.get()), (0, 0, 65_534, 65_534));
    }

    #[test]
    fn a_fault_says_where_it_stands_and_has_its_code() {
        let refused = |text: &str| {
            let refused = text.parse::<Uid>().unwrap_err();
            (refused.at(), refused.fault().code())
        };
        assert_eq!(refused(""), (0, "empty"));
        assert_eq!(refused("12a"), (2, "not-decimal"));
        assert_eq!(refused("1:"), (1, "not-decimal"));
        assert_eq!(refused("12345678901"), (10, "out-of-range"));
        assert_eq!(refused("4294967295"), (0, "out-of-range"));
    }

    #[test]
    fn messages() {
        let message = |text: &str| text.parse::<Gid>().unwrap_err().to_string();
        assert_eq!(message(""), "invalid id \"\": expected decimal digits, found nothing at byte 0");
        assert_eq!(message("7 "), "invalid id \"7 \": expected a decimal digit, found byte 0x20 at byte 1");
        assert_eq!(message("-1"), "invalid id \"-1\": expected a decimal digit, found `-` at byte 0");
        assert_eq!(
            message("00000000007"),
            "invalid id \"00000000007\": expected at most 10 digits, found more at byte 10"
        );
        assert_eq!(
            message("4294967296"),
            "invalid id \"4294967296\": expected at most 4294967294, found more at byte 0"
        );
    }
}
