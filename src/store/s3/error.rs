//! [`CallError`]: why a request to S3 failed, from whichever door.

use crate::escape::excerpt;
use crate::store::{Operation, StoreError, StoreErrorKind};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// A request to S3 that failed: what kind of failure it is, and what S3 answered or why there is no answer.
#[derive(Debug)]
pub struct CallError {
    kind: StoreErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// What S3 said of a request that it refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the answer was {status} {code}{}{message}", if .message.is_empty() { "" } else { ": " })]
pub struct Refused {
    status: u16,
    code: Box<str>,
    message: Box<str>,
    request_id: Box<str>,
}

impl Refused {
    /// The status of the answer. An error in the body of an answer of 200 has that.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The code, such as `SlowDown`; empty when the answer had none. Safe to print.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, in words. Safe to print.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The id by which whoever runs the store finds the request; may be empty. Safe to print.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

impl CallError {
    /// S3 refused the request.
    #[must_use]
    pub fn refused(status: u16, code: &str, message: &str, request_id: &str) -> Self {
        let text = |text: &str| excerpt(text.as_bytes());
        let refused = Refused { status, code: text(code), message: text(message), request_id: text(request_id) };
        Self { kind: kind_of(status, code), retry_after: None, source: Box::new(refused) }
    }

    /// There is no answer, or none that can be read.
    #[must_use]
    pub fn unanswered(kind: StoreErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, retry_after: None, source: source.into() }
    }

    /// The same, with how long S3 asks to wait.
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The same, of another kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: StoreErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// How long S3 asks to wait before the next try.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What S3 said, if it answered.
    #[must_use]
    pub fn answer(&self) -> Option<&Refused> {
        self.source.downcast_ref()
    }

    /// Whether S3 may have done what was asked although nobody heard of it.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        match self.answer() {
            // What it refuses it has not done; after an error of its own nobody knows.
            // That it is too busy, S3 says of what it has not begun; anybody on the way may say 503 of anything.
            Some(answer) => self.kind == StoreErrorKind::Transient || (answer.status == 503 && answer.code.is_empty()),
            None => self.kind != StoreErrorKind::InvalidRequest,
        }
    }

    pub(crate) fn at(self, operation: Operation, key: &str) -> StoreError {
        StoreError::new(operation, key, self.kind).with_source(self.source)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl StdError for CallError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// The bytes that were fetched are not those that were put.
#[derive(Debug, Error)]
#[error("the SHA-256 of what was fetched is not that of what was put")]
pub(super) struct Checksum;

/// What kind of failure an answer stands for. The code tells more than the status, where there is one; answers to `HEAD`
/// have none.
fn kind_of(status: u16, code: &str) -> StoreErrorKind {
    match code {
        "NoSuchKey" | "NoSuchVersion" => StoreErrorKind::NotFound,
        "NoSuchBucket" => StoreErrorKind::NoSuchBucket,
        "PreconditionFailed" => StoreErrorKind::PreconditionFailed,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "ServiceUnavailable"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => StoreErrorKind::Throttled,
        "InternalError" | "RequestTimeout" | "OperationAborted" | "ConditionalRequestConflict" | "IncompleteBody" => {
            StoreErrorKind::Transient
        }
        // An upload that is unknown was completed or aborted: the same request will not do better.
        "NoSuchUpload" | "InvalidPart" => StoreErrorKind::Other,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "XAmzContentChecksumMismatch" => {
            StoreErrorKind::Transient
        }
        // Of a single key it is said within an answer of 200. A clock that is wrong and credentials that have expired come
        // with 403 and 400.
        "AccessDenied"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => StoreErrorKind::Denied,
        "InvalidObjectState" => StoreErrorKind::Archived,
        "NotImplemented" | "MethodNotAllowed" => StoreErrorKind::Unsupported,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            StoreErrorKind::WrongRegion
        }
        "KeyTooLongError" | "MetadataTooLarge" | "InvalidRange" | "InvalidArgument" | "InvalidRequest"
        | "EntityTooLarge" | "EntityTooSmall" | "InvalidURI" | "InvalidPartOrder" => StoreErrorKind::InvalidRequest,
        _ => match status {
            301 | 307 | 308 => StoreErrorKind::WrongRegion,
            400 | 411 | 413 | 414 | 416 | 431 => StoreErrorKind::InvalidRequest,
            401 | 403 => StoreErrorKind::Denied,
            404 => StoreErrorKind::NotFound,
            405 | 501 => StoreErrorKind::Unsupported,
            408 | 409 | 425 | 500 | 502 | 504 => StoreErrorKind::Transient,
            412 => StoreErrorKind::PreconditionFailed,
            429 | 503 => StoreErrorKind::Throttled,
            status if status >= 500 => StoreErrorKind::Transient,
            _ => StoreErrorKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let error = CallError::refused(503, "SlowDown", "Please reduce your request rate.", "4442587FB7D0A2F9");
        assert_eq!(error.to_string(), "the store is throttling");
        let answer = error.answer().map(ToString::to_string);
        assert_eq!(answer.as_deref(), Some("the answer was 503 SlowDown: Please reduce your request rate."));
        assert_eq!(
            CallError::refused(404, "", "", "").answer().map(ToString::to_string).as_deref(),
            Some("the answer was 404 ")
        );
    }

    #[test]
    fn the_code_tells_more_than_the_status() {
        for (status, code, kind) in [
            (404, "NoSuchKey", StoreErrorKind::NotFound),
            (404, "NoSuchBucket", StoreErrorKind::NoSuchBucket),
            (404, "", StoreErrorKind::NotFound),
            (200, "InternalError", StoreErrorKind::Transient),
            (409, "ConditionalRequestConflict", StoreErrorKind::Transient),
            (412, "PreconditionFailed", StoreErrorKind::PreconditionFailed),
            (412, "", StoreErrorKind::PreconditionFailed),
            (503, "SlowDown", StoreErrorKind::Throttled),
            (403, "AccessDenied", StoreErrorKind::Denied),
            (200, "AccessDenied", StoreErrorKind::Denied),
            (403, "InvalidObjectState", StoreErrorKind::Archived),
            (301, "PermanentRedirect", StoreErrorKind::WrongRegion),
            (416, "InvalidRange", StoreErrorKind::InvalidRequest),
            (599, "", StoreErrorKind::Transient),
            (302, "", StoreErrorKind::Other),
        ] {
            assert_eq!(kind_of(status, code), kind, "{status} {code}");
        }
    }
}
