//! [`ApiError`]: what the API answers when it refuses.

use crate::escape::escape;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fmt;
use thiserror::Error;

/// An error as the API names it, with a message for the one who asked.
///
/// - The message has 1 to 256 characters and can be printed.
///
/// Serialized, it is the body of the answer, whose status is [`ApiError::status`].
///
/// ```
/// use posix_s3::repository::{ApiError, ErrorCode};
///
/// let error = ApiError::new(ErrorCode::FileSystemNotFound, "there is no fs-0a1b2c3d4e5f60718");
/// assert_eq!(
///     serde_json::to_string(&error)?,
///     r#"{"__type":"FileSystemNotFound","Message":"there is no fs-0a1b2c3d4e5f60718"}"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {message}", .code.name())]
pub struct ApiError {
    code: ErrorCode,
    message: Box<str>,
}

impl ApiError {
    /// The most characters of a message: 256.
    pub const MAX: usize = 256;

    /// From a code and whatever is to be said: what cannot be printed is escaped, and what is too long is cut.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: line(&message.to_string()) }
    }

    /// Which error it is.
    #[must_use]
    pub const fn code(&self) -> &ErrorCode {
        &self.code
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status of the answer: 500 for a fault of the server, else 400.
    #[must_use]
    pub const fn status(&self) -> u16 {
        if matches!(self.code, ErrorCode::InternalServerError) { 500 } else { 400 }
    }
}

impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("__type", self.code.name())?;
        match &self.code {
            ErrorCode::IncompatibleParameterError { parameter } => map.serialize_entry("Parameter", parameter)?,
            ErrorCode::ServiceLimitExceeded { limit } => map.serialize_entry("Limit", limit)?,
            _ => {}
        }
        map.serialize_entry("Message", &self.message)?;
        map.end()
    }
}

/// The errors of the API that have to do with links, their tasks and their deletion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is not one, or not now.
    BadRequest,
    /// There is no association of that id.
    DataRepositoryAssociationNotFound,
    /// The task has ended.
    DataRepositoryTaskEnded,
    /// A task is at work that has to end first.
    DataRepositoryTaskExecuting,
    /// There is no task of that id.
    DataRepositoryTaskNotFound,
    /// There is no file system of that id.
    FileSystemNotFound,
    /// A parameter does not go with another, or with an earlier request of the same token.
    IncompatibleParameterError {
        /// Its name.
        parameter: Box<str>,
    },
    /// The server is at fault.
    InternalServerError,
    /// The repository is of a kind that the request is not for.
    InvalidDataRepositoryType,
    /// The export path is not one, or not one of this link.
    InvalidExportPath,
    /// The import path is not one.
    InvalidImportPath,
    /// There are as many as there may be.
    ServiceLimitExceeded {
        /// The name of the limit: `ServiceLimit` of the API, which has none for associations.
        limit: Box<str>,
    },
    /// The request is not for this kind of file system.
    UnsupportedOperation,
}

impl ErrorCode {
    /// The name in documents.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::DataRepositoryAssociationNotFound => "DataRepositoryAssociationNotFound",
            Self::DataRepositoryTaskEnded => "DataRepositoryTaskEnded",
            Self::DataRepositoryTaskExecuting => "DataRepositoryTaskExecuting",
            Self::DataRepositoryTaskNotFound => "DataRepositoryTaskNotFound",
            Self::FileSystemNotFound => "FileSystemNotFound",
            Self::IncompatibleParameterError { .. } => "IncompatibleParameterError",
            Self::InternalServerError => "InternalServerError",
            Self::InvalidDataRepositoryType => "InvalidDataRepositoryType",
            Self::InvalidExportPath => "InvalidExportPath",
            Self::InvalidImportPath => "InvalidImportPath",
            Self::ServiceLimitExceeded { .. } => "ServiceLimitExceeded",
            Self::UnsupportedOperation => "UnsupportedOperation",
        }
    }
}

/// A message of 1 to 256 characters. Quotes and backslashes stay: the errors of this crate have escaped what needs it, and
/// JSON does it once more.
fn line(text: &str) -> Box<str> {
    let mut safe = String::new();
    for piece in text.split_inclusive(['"', '\\']) {
        let (rest, mark) = match piece.char_indices().next_back() {
            Some((at, mark @ ('"' | '\\'))) => (piece.get(..at).unwrap_or_default(), Some(mark)),
            _ => (piece, None),
        };
        safe.push_str(&escape(rest.as_bytes()).to_string());
        safe.extend(mark);
    }
    if safe.is_empty() {
        safe.push_str("unknown");
    } else if safe.chars().nth(ApiError::MAX).is_some() {
        safe = safe.chars().take(ApiError::MAX.saturating_sub(1)).chain(['…']).collect();
    }
    safe.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_the_members_that_the_api_requires() {
        let code = ErrorCode::IncompatibleParameterError { parameter: "ExportPath".into() };
        let error = ApiError::new(code, "needs an ImportPath");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"__type":"IncompatibleParameterError","Parameter":"ExportPath","Message":"needs an ImportPath"}"#
        );
        let error = ApiError::new(ErrorCode::ServiceLimitExceeded { limit: "FILE_SYSTEM_COUNT".into() }, "100 of 100");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"__type":"ServiceLimitExceeded","Limit":"FILE_SYSTEM_COUNT","Message":"100 of 100"}"#
        );
        assert_eq!(error.to_string(), "ServiceLimitExceeded: 100 of 100");
        assert_eq!((error.status(), ApiError::new(ErrorCode::InternalServerError, "").status()), (400, 500));
    }

    #[test]
    fn a_message_has_1_to_256_characters() {
        assert_eq!(ApiError::new(ErrorCode::BadRequest, "").message(), "unknown");
        assert_eq!(ApiError::new(ErrorCode::BadRequest, "é".repeat(1000)).message().chars().count(), 256);
        assert_eq!(ApiError::new(ErrorCode::BadRequest, "a\nb").message(), "a\\nb");
        assert_eq!(ApiError::new(ErrorCode::BadRequest, r#"found "a\n"\"#).message(), r#"found "a\n"\"#);
    }
}
