//! [`Signer`]: requests become those of somebody.

use super::bucket::Exchange;
use crate::store::s3::credentials::{Credentials, Keys};
use crate::store::s3::region::Region;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{HOST, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::SystemTime;
use thiserror::Error;

/// Signs requests by AWS Signature Version 4, as S3 wants it: the path as it is, and the SHA-256 of the body with it.
pub struct Signer {
    region: Region,
    source: Option<Box<Source>>,
    settings: SigningSettings,
}

/// Where the keys of each request come from.
type Source = dyn Fn() -> Result<Keys, Box<dyn StdError + Send + Sync>> + Send + Sync;

impl Signer {
    /// Signs in the name of these credentials; anonymous requests are not signed.
    #[must_use]
    pub fn new(region: &Region, credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Anonymous => Self { region: region.clone(), source: None, settings: settings() },
            Credentials::Keys(keys) => {
                let keys = keys.clone();
                Self::with_source(region, move || Ok(keys.clone()))
            }
        }
    }

    /// Signs with keys that are asked for before each request, for those that expire.
    ///
    /// It should answer at once: what it fetches it fetches elsewhere.
    pub fn with_source(
        region: &Region,
        source: impl Fn() -> Result<Keys, Box<dyn StdError + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        Self { region: region.clone(), source: Some(Box::new(source)), settings: settings() }
    }

    /// Adds the headers that sign a request.
    ///
    /// # Errors
    /// [`SignError::Credentials`] when there are none, [`SignError::Header`] when a header is no UTF-8.
    pub fn sign<T>(&self, exchange: &mut Exchange<T>, now: SystemTime) -> Result<(), SignError> {
        let Some(source) = &self.source else { return Ok(()) };
        let keys = source().map_err(SignError::Credentials)?;
        let identity = keys.as_signer().clone().into();
        let checksum = exchange.sha256_hex();
        let request = exchange.request_mut();
        if let Some(authority) = request.uri().authority() {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|error| SignError::Request(error.into()))?;
            request.headers_mut().insert(HOST, host);
        }
        let signed = {
            let mut headers = Vec::with_capacity(request.headers().len());
            for (name, value) in request.headers() {
                let value = std::str::from_utf8(value.as_bytes()).map_err(|_| SignError::Header(name.clone()))?;
                headers.push((name.as_str(), value));
            }
            let params: SigningParams<'_> = v4::SigningParams::builder()
                .identity(&identity)
                .region(self.region.as_str())
                .name("s3")
                .time(now)
                .settings(self.settings.clone())
                .build()
                .map_err(|error| SignError::Request(error.into()))?
                .into();
            let uri = request.uri().to_string();
            let signable = SignableRequest::new(
                request.method().as_str(),
                &uri,
                headers.into_iter(),
                SignableBody::Precomputed(checksum),
            )
            .map_err(|error| SignError::Request(error.into()))?;
            let (instructions, _) =
                sign(signable, &params).map_err(|error| SignError::Request(error.into()))?.into_parts();
            instructions.into_parts().0
        };
        for header in signed {
            let mut value = HeaderValue::from_str(header.value()).map_err(|error| SignError::Request(error.into()))?;
            value.set_sensitive(header.sensitive());
            request.headers_mut().insert(HeaderName::from_static(header.name()), value);
        }
        Ok(())
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    // Keys are signed as they go over the wire: encoded once, and with their dot segments.
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    // Headers that a proxy may change or drop.
    settings.excluded_headers = Some(vec![Cow::Borrowed("user-agent"), Cow::Borrowed("accept")]);
    settings
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anonymous = self.source.is_none();
        f.debug_struct("Signer").field("region", &self.region).field("anonymous", &anonymous).finish_non_exhaustive()
    }
}

/// Why a request could not be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// There are no credentials.
    #[error("there are no credentials")]
    Credentials(#[source] Box<dyn StdError + Send + Sync>),
    /// A signature covers text only.
    #[error("the header {0} is not UTF-8, and cannot be signed")]
    Header(HeaderName),
    /// The request is not one that can be signed.
    #[error("the request cannot be signed")]
    Request(#[source] Box<dyn StdError + Send + Sync>),
}
