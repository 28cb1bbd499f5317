//! [`Sequencer`]: which of two events of one key is the later one.

use crate::escape::{escape, found_byte};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A hexadecimal number that grows with each put and delete of one key. Between keys it says nothing.
///
/// - The text is that of the number: upper-case digits without leading zeros. So the shorter of two is the smaller one, as
///   if it were padded with zeros, which is how S3 says to compare them.
///
/// ```
/// use posix_s3::repository::Sequencer;
///
/// let earlier: Sequencer = "0055AED6DCD90281E5".parse()?;
/// assert!(earlier < "55aed6dcd90281e6".parse()?);
/// assert_eq!(earlier, "55AED6DCD90281E5".parse()?);
/// let refused = "55AEG".parse::<Sequencer>().unwrap_err();
/// assert_eq!(refused.to_string(), "invalid sequencer \"55AEG\": expected a hexadecimal digit, found `G` at byte 4");
/// # Ok::<(), posix_s3::repository::InvalidSequencer>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "String")]
pub struct Sequencer(Box<str>);

/// A sequencer that is no hexadecimal number of 1 to 1,024 digits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid sequencer \"{text}\": expected {expected}")]
pub struct InvalidSequencer {
    text: Box<str>,
    expected: Box<str>,
}

impl Sequencer {
    /// The most digits that are read. Those of S3 have 18 or less.
    pub const MAX_DIGITS: usize = 1024;

    /// The digits, without leading zeros.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sequencer {
    type Err = InvalidSequencer;

    fn from_str(text: &str) -> Result<Self, InvalidSequencer> {
        let invalid = |expected: String| InvalidSequencer {
            text: escape(text.as_bytes()).to_string().into(),
            expected: expected.into(),
        };
        if let Some((at, byte)) = text.bytes().enumerate().find(|(_, byte)| !byte.is_ascii_hexdigit()) {
            return Err(invalid(format!("a hexadecimal digit, found {} at byte {at}", found_byte(byte))));
        }
        match text.len() {
            0 => Err(invalid("hexadecimal digits, found nothing".into())),
            1..=Self::MAX_DIGITS => Ok(Self(text.trim_start_matches('0').to_ascii_uppercase().into())),
            digits => Err(invalid(format!("at most {} digits, found {digits}", Self::MAX_DIGITS))),
        }
    }
}

impl TryFrom<Box<str>> for Sequencer {
    type Error = InvalidSequencer;

    fn try_from(text: Box<str>) -> Result<Self, InvalidSequencer> {
        text.parse()
    }
}

impl From<Sequencer> for String {
    fn from(sequencer: Sequencer) -> Self {
        sequencer.to_string()
    }
}

impl Ord for Sequencer {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Sequencer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.0.is_empty() { "0" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_texts_padded_with_zeros() {
        let texts = ["0", "00", "1", "0a", "A0", "00A1", "FFFF", "10000", "0055AED6DCD90281E5", "56AED6DCD90281E5"];
        for one in texts {
            for other in texts {
                let padded = |text: &str| format!("{text:0>20}").to_ascii_uppercase();
                let parsed = |text: &str| text.parse::<Sequencer>().unwrap();
                assert_eq!(parsed(one).cmp(&parsed(other)), padded(one).cmp(&padded(other)), "{one} {other}");
            }
        }
    }

    #[test]
    fn messages() {
        let message = |text: &str| text.parse::<Sequencer>().unwrap_err().to_string();
        assert_eq!(message(""), "invalid sequencer \"\": expected hexadecimal digits, found nothing");
        assert_eq!(
            message("0\u{e9}"),
            "invalid sequencer \"0\u{e9}\": expected a hexadecimal digit, found byte 0xc3 at byte 1"
        );
        assert!(message(&"0".repeat(1025)).ends_with("expected at most 1024 digits, found 1025"));
    }
}
