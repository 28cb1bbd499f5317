//! [`Endpoint`]: where S3 is; [`Addressing`]: where in a request the bucket's name stands.

use super::region::Region;
use crate::escape::excerpt;
use http::Uri;
use http::uri::{Authority, InvalidUri, Scheme};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use thiserror::Error;

/// Where S3 is: scheme, host and port, and the path below which the buckets are.
///
/// - The scheme is `http` or `https`; there is a host, and no user and no password.
/// - The base path is empty, or begins with `/` and does not end with one. There is no query.
///
/// ```
/// use posix_s3::store::s3::Endpoint;
///
/// let endpoint: Endpoint = "http://localhost:9000/s3/".parse()?;
/// assert_eq!(endpoint.authority().as_str(), "localhost:9000");
/// assert_eq!(endpoint.base_path(), "/s3");
/// assert!("localhost:9000".parse::<Endpoint>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    base_path: Box<str>,
}

impl Endpoint {
    /// Where AWS serves a region: `https://s3.REGION.amazonaws.com`, with the domain of the region's partition.
    ///
    /// # Errors
    /// None that is known of: a region is a host label. It is left to the parser of URIs to say so.
    pub fn of_region(region: &Region) -> Result<Self, EndpointError> {
        format!("https://s3.{region}.{}", region.domain()).parse()
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host, and port if one is named.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What stands between the host and the bucket; empty, or begins with `/` and does not end with one.
    #[must_use]
    pub const fn base_path(&self) -> &str {
        &self.base_path
    }

    /// Whether the host is a number, before which no bucket's name can stand.
    fn is_address(&self) -> bool {
        let host = self.authority.host();
        host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (_, rest) = text.split_once("://").unwrap_or_default();
        // A password is not shown, whatever else is wrong.
        if text.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let found = || excerpt(text.as_bytes());
        if rest.contains(['?', '#']) {
            return Err(EndpointError::Query { found: found() });
        }
        let uri: Uri = text.parse().map_err(|source| EndpointError::Uri { found: found(), source })?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let (Some(scheme), Some(authority)) = (scheme, parts.authority) else {
            return Err(EndpointError::Scheme { found: found() });
        };
        if authority.host().is_empty() {
            return Err(EndpointError::Scheme { found: found() });
        }
        let path = parts.path_and_query.as_ref().map_or("", |path| path.path());
        Ok(Self { scheme, authority, base_path: path.trim_end_matches('/').into() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base_path)
    }
}

/// A text that does not say where S3 is.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the texts found, safe to print")]
pub enum EndpointError {
    /// It does not begin as it should.
    #[error("invalid endpoint \"{found}\": expected `http://` or `https://` and a host")]
    Scheme { found: Box<str> },
    /// It is no URI.
    #[error("invalid endpoint \"{found}\"")]
    Uri { found: Box<str>, source: InvalidUri },
    /// It holds what may be a password, and is not shown.
    #[error("invalid endpoint: expected no `@`; a user and a password do not belong there")]
    UserInfo,
    /// It has a query or a fragment.
    #[error("invalid endpoint \"{found}\": expected no query and no fragment")]
    Query { found: Box<str> },
}

/// Where in a request the bucket's name stands.
///
/// See [AWS's page on virtual hosting](https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// In the path: `https://s3.us-east-1.amazonaws.com/bucket/key`.
    Path,
    /// In the host: `https://bucket.s3.us-east-1.amazonaws.com/key`.
    VirtualHosted,
}

impl Addressing {
    /// How a bucket is addressed at an endpoint when this is wished for: names that cannot stand in a host, or not in one of a
    /// TLS certificate, go into the path, as with AWS's own tools.
    #[must_use]
    pub fn of_bucket(self, bucket: &str, endpoint: &Endpoint) -> Self {
        let is_label = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !bucket.starts_with('-')
            && !bucket.ends_with('-');
        if is_label && !endpoint.is_address() { self } else { Self::Path }
    }

    /// Reads `addressing_style`; `None` for `auto`.
    pub(super) fn parse_style(text: &str) -> Result<Option<Self>, AddressingError> {
        match text {
            "auto" => Ok(None),
            "path" => Ok(Some(Self::Path)),
            "virtual" => Ok(Some(Self::VirtualHosted)),
            _ => Err(AddressingError { found: excerpt(text.as_bytes()) }),
        }
    }
}

/// A text that is no `addressing_style`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid addressing style \"{found}\": expected `path`, `virtual` or `auto`")]
#[non_exhaustive]
pub struct AddressingError {
    /// The text, safe to print.
    pub found: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn messages() {
        let message = |text: &str| text.parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(
            message("localhost:9000"),
            "invalid endpoint \"localhost:9000\": expected `http://` or `https://` and a host"
        );
        assert_eq!(
            message("ftp://host"),
            "invalid endpoint \"ftp://host\": expected `http://` or `https://` and a host"
        );
        assert_eq!(message("http://a b"), "invalid endpoint \"http://a b\"");
        assert!("http://a b".parse::<Endpoint>().unwrap_err().source().is_some());
        assert_eq!(
            message("https://me:secret@host"),
            "invalid endpoint: expected no `@`; a user and a password do not belong there"
        );
        assert_eq!(
            message("https://host/?list"),
            "invalid endpoint \"https://host/?list\": expected no query and no fragment"
        );
        assert_eq!(
            Addressing::parse_style("Path").unwrap_err().to_string(),
            "invalid addressing style \"Path\": expected `path`, `virtual` or `auto`"
        );
    }

    #[test]
    fn an_endpoint_prints_as_it_was_written_but_for_a_slash_at_the_end() {
        for (text, printed) in [
            ("http://127.0.0.1:3900", "http://127.0.0.1:3900"),
            ("https://s3.example.com/", "https://s3.example.com"),
            ("https://example.com/a/b//", "https://example.com/a/b"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("HTTPS://Example.com", "https://Example.com"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), printed);
        }
        for bad in
            ["", "/", "http://", "http:///path", "host", "*", "https://host#x", "http://h\u{e9}.example", "http://:80"]
        {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_partition_has_its_domain() {
        for (region, endpoint) in [
            ("eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "https://s3.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
            ("us-isob-east-1", "https://s3.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", "https://s3.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(Endpoint::of_region(&region.parse().unwrap()).unwrap().to_string(), endpoint);
        }
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_host_goes_into_the_path() {
        let host: Endpoint = "https://s3.us-east-1.amazonaws.com".parse().unwrap();
        let number: Endpoint = "http://127.0.0.1:3900".parse().unwrap();
        let six: Endpoint = "http://[::1]:3900".parse().unwrap();
        let wished = Addressing::VirtualHosted;
        assert_eq!(wished.of_bucket("my-bucket", &host), Addressing::VirtualHosted);
        assert_eq!(wished.of_bucket("my-bucket", &number), Addressing::Path);
        assert_eq!(wished.of_bucket("my-bucket", &six), Addressing::Path);
        for bucket in ["my.bucket", "My-bucket", "ab", "-ab", "ab-", "under_score"] {
            assert_eq!(wished.of_bucket(bucket, &host), Addressing::Path, "{bucket}");
        }
        assert_eq!(Addressing::Path.of_bucket("my-bucket", &host), Addressing::Path);
    }
}
