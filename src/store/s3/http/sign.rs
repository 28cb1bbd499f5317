//! [`Signer`]: requests become those of somebody.

use super::bucket::Exchange;
use aws_credential_types::Credentials;
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
    region: Box<str>,
    credentials: Option<Box<Source>>,
    settings: SigningSettings,
}

/// Where the credentials of each request come from.
type Source = dyn Fn() -> Result<Credentials, Box<dyn StdError + Send + Sync>> + Send + Sync;

impl Signer {
    /// Signs as whoever has these keys; the session token goes with temporary ones.
    #[must_use]
    pub fn new(region: &str, access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Self {
        let token = session_token.map(str::to_owned);
        let credentials = Credentials::new(access_key_id, secret_access_key, token, None, "posix-s3");
        Self::with_source(region, move || Ok(credentials.clone()))
    }

    /// Signs with credentials that are asked for before each request, for those that expire.
    ///
    /// It should answer at once: what it fetches it fetches elsewhere.
    pub fn with_source(
        region: &str,
        source: impl Fn() -> Result<Credentials, Box<dyn StdError + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        Self { region: region.into(), credentials: Some(Box::new(source)), settings: settings() }
    }

    /// Signs nothing: requests are nobody's, for public buckets.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { region: "".into(), credentials: None, settings: settings() }
    }

    /// Adds the headers that sign a request.
    ///
    /// # Errors
    /// [`SignError::Credentials`] when there are none, [`SignError::Header`] when a header is no UTF-8.
    pub fn sign<T>(&self, exchange: &mut Exchange<T>, now: SystemTime) -> Result<(), SignError> {
        let Some(source) = &self.credentials else { return Ok(()) };
        let identity = source().map_err(SignError::Credentials)?.into();
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
                .region(&self.region)
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
        let anonymous = self.credentials.is_none();
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
