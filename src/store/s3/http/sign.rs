//! [`Signer`]: requests become those of somebody.

use super::bucket::Exchange;
use crate::store::s3::credentials::{Credentials, Keys};
use crate::store::s3::region::Region;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;

/// Signs requests by AWS Signature Version 4, as S3 wants it: the path as it is, and the SHA-256 of the body with it.
#[derive(Clone)]
pub struct Signer {
    region: Region,
    source: Option<Arc<Source>>,
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
    /// It is called for each try, on the thread that polls, and should answer at once: what it fetches it fetches elsewhere.
    /// Its error is [`StoreErrorKind::Denied`](crate::store::StoreErrorKind::Denied), and is not tried again.
    pub fn with_source(
        region: &Region,
        source: impl Fn() -> Result<Keys, Box<dyn StdError + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        Self { region: region.clone(), source: Some(Arc::new(source)), settings: settings() }
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
            // A signature is as good as the keys, for some minutes.
            value.set_sensitive(header.sensitive() || header.name() == AUTHORIZATION.as_str());
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
    // Headers that a proxy may change or drop, and the one that an earlier signature is in.
    settings.excluded_headers = Some(["user-agent", "accept", "authorization"].map(Cow::Borrowed).to_vec());
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test")]
mod tests {
    use super::*;
    use crate::store::s3::http::Bucket;
    use crate::store::s3::{Addressing, Payload};
    use crate::store::{ListRequest, Precondition};
    use bytes::Bytes;
    use http::HeaderMap;
    use http::header::DATE;
    use std::time::{Duration, UNIX_EPOCH};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TOKEN: &str = "FwoGZXIvYXdzEXAMPLETOKEN";

    /// 2013-05-24, which is today in the examples.
    fn today() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_369_353_600)
    }

    fn signer(token: Option<&str>) -> Signer {
        let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", SECRET, token).unwrap();
        Signer::new(&Region::default(), &Credentials::Keys(keys))
    }

    fn bucket() -> Bucket {
        Bucket::new(&"https://s3.amazonaws.com".parse().unwrap(), "examplebucket", Addressing::VirtualHosted).unwrap()
    }

    fn authorization<T>(mut exchange: Exchange<T>) -> String {
        signer(None).sign(&mut exchange, today()).unwrap();
        exchange.request().headers()[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    fn expected(headers: &str, signature: &str) -> String {
        let scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={headers}, Signature={signature}")
    }

    // The examples of <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

    #[test]
    fn the_example_of_a_get_of_a_range() {
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let exchange = bucket().get("test.txt", Some(0..10), None, 10).unwrap();
        assert_eq!(authorization(exchange), expected("host;range;x-amz-content-sha256;x-amz-date", signature));
    }

    #[test]
    fn the_example_of_a_put() {
        let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        let body = Payload::new(Bytes::from_static(b"Welcome to Amazon S3."));
        let headers = HeaderMap::from_iter([
            (DATE, HeaderValue::from_static("Fri, 24 May 2013 00:00:00 GMT")),
            (HeaderName::from_static("x-amz-storage-class"), HeaderValue::from_static("REDUCED_REDUNDANCY")),
        ]);
        let mut exchange = bucket().put("test$file.text", &body, &headers, &Precondition::None).unwrap();
        // The example is older than this header.
        exchange.request_mut().headers_mut().remove("x-amz-checksum-sha256").unwrap();
        let signed = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class";
        assert_eq!(authorization(exchange), expected(signed, signature));
    }

    #[test]
    fn the_examples_of_queries() {
        for (query, signature) in [
            ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let mut exchange = bucket().list(&ListRequest::default()).unwrap();
            let uri = format!("https://examplebucket.s3.amazonaws.com/?{query}");
            *exchange.request_mut().uri_mut() = uri.parse().unwrap();
            assert_eq!(authorization(exchange), expected("host;x-amz-content-sha256;x-amz-date", signature));
        }
    }

    #[test]
    fn a_session_token_is_signed_with_the_rest() {
        let mut exchange = bucket().head("a").unwrap();
        signer(Some(TOKEN)).sign(&mut exchange, today()).unwrap();
        let headers = exchange.request().headers();
        assert_eq!(headers["x-amz-security-token"], TOKEN);
        let authorization = headers[AUTHORIZATION].to_str().unwrap();
        assert!(authorization.contains(";x-amz-security-token,"), "{authorization}");
    }

    #[test]
    fn a_request_that_is_signed_again_is_signed_as_the_first_time() {
        let mut exchange = bucket().head("a").unwrap();
        let signer = signer(Some(TOKEN));
        signer.sign(&mut exchange, today() - Duration::from_secs(60)).unwrap();
        signer.sign(&mut exchange, today()).unwrap();
        let mut once = bucket().head("a").unwrap();
        signer.sign(&mut once, today()).unwrap();
        assert_eq!(exchange.request().headers(), once.request().headers());
    }

    #[test]
    fn every_value_of_a_name_is_signed() {
        let mut headers = HeaderMap::new();
        let mut signatures = Vec::new();
        for value in ["one", "two"] {
            headers.append("x-amz-meta-a", HeaderValue::from_static(value));
            let body = Payload::new(Bytes::new());
            signatures.push(authorization(bucket().put("a", &body, &headers, &Precondition::None).unwrap()));
        }
        assert_ne!(signatures[0], signatures[1]);
    }

    #[test]
    fn an_anonymous_request_stays_as_it_is() {
        let mut exchange = bucket().head("a").unwrap();
        Signer::new(&Region::default(), &Credentials::Anonymous).sign(&mut exchange, today()).unwrap();
        assert_eq!(exchange.request().headers(), &HeaderMap::new());
    }

    #[test]
    fn a_header_that_is_no_text_is_refused_by_name() {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-amz-meta-file-owner"),
            HeaderValue::from_bytes(b"\xff").unwrap(),
        )]);
        let body = Payload::new(Bytes::new());
        let mut exchange = bucket().put("a", &body, &headers, &Precondition::None).unwrap();
        let refused = signer(None).sign(&mut exchange, today()).unwrap_err();
        assert_eq!(refused.to_string(), "the header x-amz-meta-file-owner is not UTF-8, and cannot be signed");
        assert!(!exchange.request().headers().contains_key(AUTHORIZATION));
        // UTF-8 is signed as it is.
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-amz-meta-a"),
            HeaderValue::from_bytes("\u{e9}".as_bytes()).unwrap(),
        )]);
        let mut exchange = bucket().put("a", &body, &headers, &Precondition::None).unwrap();
        signer(None).sign(&mut exchange, today()).unwrap();
    }

    #[test]
    fn keys_that_are_missing_are_said_to_be() {
        let signer = Signer::with_source(&Region::default(), || Err("they are expired".into()));
        let refused = signer.sign(&mut bucket().head("a").unwrap(), today()).unwrap_err();
        assert_eq!(refused.to_string(), "there are no credentials");
        assert_eq!(refused.source().unwrap().to_string(), "they are expired");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let signer = signer(Some(TOKEN));
        let mut exchange = bucket().head("a").unwrap();
        signer.sign(&mut exchange, today()).unwrap();
        let printed = format!("{signer:?} {exchange:?} {:?}", exchange.request());
        assert!(printed.contains("us-east-1") && printed.contains("x-amz-security-token"), "{printed}");
        for secret in [SECRET, TOKEN, "Signature"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
