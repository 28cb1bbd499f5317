//! [`HttpClient`]: what sends the requests.

use crate::store::StoreErrorKind;
use crate::store::s3::calls::Content;
use bytes::Bytes;
use http::{Request, Response};
use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;
use thiserror::Error;

/// Sends HTTP requests, each once.
///
/// [`Agent`](super::Agent) comes with the crate. An own one is a few lines over any client that
///
/// - sends the path and the query of a request byte for byte: dot segments stay, nothing is encoded a second time. What
///   goes through the `url` crate does not, and turns `a/../b` into `b`;
/// - follows no redirect, asks for no compression of the answer, and hands on its headers as they came;
/// - has a limit on the time that a request takes. Of a body in pieces, the time in which nobody asks for one does not count.
pub trait HttpClient: Send + Sync {
    /// Sends a request and reads the answer, whatever its status.
    ///
    /// A body of at most `limit` bytes is read [whole](Content::Whole). A longer one is handed out in
    /// [pieces](Content::Pieces) as they come, and no more of it is read than is asked for.
    ///
    /// # Errors
    /// When there is no whole answer: no connection, a body that breaks off, too much time. Nobody knows then whether
    /// the request was heard. A body in pieces ends with such an error.
    fn send(
        &self,
        request: Request<Bytes>,
        limit: u64,
    ) -> impl Future<Output = Result<Response<Content<HttpError>>, HttpError>> + Send;

    /// Waits, for the time between two tries.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// Why there is no answer to a request.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent")]
    Request(#[source] Box<dyn StdError + Send + Sync>),
    /// There is no connection, or it broke off.
    #[error("there is no whole answer")]
    Broken(#[source] Box<dyn StdError + Send + Sync>),
    /// The answer did not come in time.
    #[error("the answer did not come in time")]
    Timeout(#[source] Box<dyn StdError + Send + Sync>),
    /// The answer is no HTTP.
    #[error("the answer cannot be read")]
    Answer(#[source] Box<dyn StdError + Send + Sync>),
    /// The certificate of the server is not trusted, or there is no common way to encrypt.
    #[error("there is no trusted connection")]
    Untrusted(#[source] Box<dyn StdError + Send + Sync>),
}

impl HttpError {
    /// What kind of failure it is for a store.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Broken(_) | Self::Timeout(_) | Self::Answer(_) => StoreErrorKind::Transient,
            Self::Request(_) => StoreErrorKind::InvalidRequest,
            Self::Untrusted(_) => StoreErrorKind::Denied,
        }
    }
}
