//! [`Agent`]: the HTTP client that comes with the crate.

use super::client::{HttpClient, HttpError};
use super::connection::Connection;
use super::tls::{Tls, Untrusted};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The HTTP client that comes with the crate: HTTP/1.1 by `hyper`, TLS by `rustls`, sockets by `async-io`. It keeps
/// connections and needs no runtime: on whichever executor it is polled, its sockets wake it.
///
/// On `async_io::block_on` requests are made, and answers read, by the thread that runs everything else, which costs the
/// least; elsewhere a thread of `async-io` wakes the executor.
///
/// - A connection takes 10 s at most. A request takes 90 s at most, and a second more for every 64 KiB of its body and of
///   the answer that is wanted.
/// - A connection that was idle for 15 s is not used again.
/// - No proxy is used, whatever the environment says; whoever needs one hands in a client of their own.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    tls: Tls,
    idle: Mutex<HashMap<(Scheme, Authority), Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take, apart from what its size allows. A copy of 5 GiB is made meanwhile.
const REQUEST: Duration = Duration::from_secs(90);
/// The least that has to go over the wire in a second, in bytes.
const SLOWEST: u64 = 64 << 10;
/// Servers close what is idle after some time, S3 after 20 s or so; a request on its way then is lost.
const KEPT: Duration = Duration::from_secs(15);
/// How many connections to a host are kept.
const CONNECTIONS: usize = 256;

impl Agent {
    /// A client that trusts the certificates of the web, those of Mozilla.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Tls::of_the_web())
    }

    /// A client that trusts certificates of the caller's choice, in PEM form, as `AWS_CA_BUNDLE` names them.
    ///
    /// # Errors
    /// [`HttpError::Untrusted`] when a certificate cannot be read, or there is none.
    pub fn with_certificates(pem: &[u8]) -> Result<Self, HttpError> {
        Ok(Self::of(Tls::of_certificates(pem).map_err(|error| HttpError::Untrusted(error.into()))?))
    }

    fn of(tls: Tls) -> Self {
        Self { inner: Arc::new(Inner { tls, idle: Mutex::default() }) }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, HashMap<(Scheme, Authority), Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, which is the one most likely to be open still.
    fn take(&self, place: &(Scheme, Authority)) -> Option<Connection> {
        let mut idle = self.idle();
        let connections = idle.get_mut(place)?;
        while let Some(Idle { mut connection, since }) = connections.pop() {
            if since.elapsed() < KEPT && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, place: (Scheme, Authority), connection: Connection) {
        let mut idle = self.idle();
        let connections = idle.entry(place).or_default();
        if connections.len() < CONNECTIONS {
            connections.push(Idle { connection, since: Instant::now() });
        }
    }

    async fn exchange(&self, request: Request<Bytes>, limit: u64) -> Result<Response<Option<Bytes>>, HttpError> {
        let uri = request.uri();
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(HttpError::Request("the address has no host".into()));
        };
        let place = (scheme.clone(), authority.clone());
        let mut connection = match self.take(&place) {
            Some(connection) => connection,
            None => {
                let connecting = Connection::open(&place.0, &place.1, &self.tls);
                within(CONNECT, connecting).await?
            }
        };
        let response = connection.exchange(request, limit).await?;
        // Of an answer that was not read to its end the rest is still to come.
        if response.body().is_some() && connection.is_open() {
            self.keep(place, connection);
        }
        Ok(response)
    }
}

/// Waits for something, but not longer than so long.
async fn within<T>(time: Duration, future: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    let (future, timer) = (pin!(future), async_io::Timer::after(time));
    match select(future, timer).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(HttpError::Timeout(format!("nothing came for {} s", time.as_secs()).into())),
    }
}

impl HttpClient for Agent {
    async fn send(&self, request: Request<Bytes>, limit: u64) -> Result<Response<Option<Bytes>>, HttpError> {
        let bytes = limit.saturating_add(request.body().len() as u64);
        let time = REQUEST.saturating_add(Duration::from_secs(bytes.checked_div(SLOWEST).unwrap_or(0)));
        within(time, self.inner.exchange(request, limit)).await
    }

    async fn sleep(&self, duration: Duration) {
        async_io::Timer::after(duration).await;
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

impl From<Untrusted> for HttpError {
    fn from(error: Untrusted) -> Self {
        Self::Untrusted(error.into())
    }
}
