//! [`Region`]: the name of a region, as it stands in signatures and host names.

use crate::escape::excerpt;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The name of a region.
///
/// - It is a host label: 1 to 63 ASCII letters, digits and hyphens, with no hyphen at either end, and not digits alone. So
///   nothing that a file or a variable says can make another host of `s3.REGION.amazonaws.com`.
///
/// ```
/// use posix_s3::store::s3::Region;
///
/// assert_eq!("eu-central-1".parse::<Region>()?.as_str(), "eu-central-1");
/// assert!("eu-central-1.example.com/".parse::<Region>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region(Box<str>);

impl Region {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain below which AWS serves the regions of this one's partition.
    pub(super) fn domain(&self) -> &'static str {
        // <https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html>
        const PARTITIONS: [(&str, &str); 6] = [
            ("cn-", "amazonaws.com.cn"),
            ("us-iso-", "c2s.ic.gov"),
            ("us-isob-", "sc2s.sgov.gov"),
            ("us-isof-", "csp.hci.ic.gov"),
            ("eu-isoe-", "cloud.adc-e.uk"),
            ("eusc-", "amazonaws.eu"),
        ];
        let partition = PARTITIONS.iter().find(|(start, _)| self.0.starts_with(start));
        partition.map_or("amazonaws.com", |(_, domain)| domain)
    }
}

/// `us-east-1`, which AWS's own tools take for S3 when none is named, and which most other servers answer to.
impl Default for Region {
    fn default() -> Self {
        Self("us-east-1".into())
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        let is_label = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.bytes().all(|byte| byte.is_ascii_digit());
        if is_label { Ok(Self(text.into())) } else { Err(RegionError { found: excerpt(text.as_bytes()) }) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a region.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "invalid region \"{found}\": expected 1 to 63 letters, digits and hyphens, no hyphen at either end, such as `eu-central-1`"
)]
#[non_exhaustive]
pub struct RegionError {
    /// The text, safe to print.
    pub found: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(
            "eu-west-1 # home".parse::<Region>().unwrap_err().to_string(),
            "invalid region \"eu-west-1 # home\": expected 1 to 63 letters, digits and hyphens, no hyphen at either end, \
             such as `eu-central-1`"
        );
    }

    #[test]
    fn a_region_is_a_host_label() {
        for good in ["us-east-1", "garage", "A", "eu-isoe-west-1", &"r".repeat(63)] {
            assert_eq!(good.parse::<Region>().unwrap().to_string(), good);
        }
        for bad in ["", "-a", "a-", "1", "a.b", "a/b", "a_b", "ü", "a\n", &"r".repeat(64)] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }
}
