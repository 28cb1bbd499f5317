//! [`Agent`]: the HTTP client that comes with the crate.

use super::alarm::Alarm;
use super::client::{HttpClient, HttpError};
use super::connection::{Connection, Read, Rest};
use super::tls::{Tls, Untrusted};
use crate::store::s3::calls::Content;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// The HTTP client that comes with the crate: HTTP/1.1 by `hyper`, TLS by `rustls`, sockets by `async-io`. It keeps
/// connections and needs no runtime: on whichever executor it is polled, its sockets wake it.
///
/// On `async_io::block_on` requests are made, and answers read, by the thread that runs everything else, which costs the
/// least; elsewhere a thread of `async-io` wakes the executor.
///
/// - A connection takes 10 s at most. A head takes 90 s at most; anything else 90 s, and a second more for every 64 KiB of its
///   body and of the longest answer that is read whole, which is 8 MiB but for a get.
/// - A body that is handed out in pieces is waited for, in all, for 90 s and a second more for every 64 KiB that has come, and
///   never for more than 90 s without any. The time in which nobody asks for a piece does not count. A piece is of 256 KiB at
///   most, but for the first of a body of which no length was announced.
/// - A connection that was idle for 15 s is not used again.
/// - No proxy is used, whatever the environment says; whoever needs one hands in a client of their own.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    tls: Tls,
    limits: Limits,
    idle: Mutex<HashMap<(Scheme, Authority), Vec<Idle>>>,
}

struct Idle {
    open: Open,
    since: Instant,
}

/// A connection and what ends the wait for it.
struct Open {
    connection: Connection,
    alarm: Alarm,
}

/// How long things may take.
struct Limits {
    connect: Duration,
    /// For a request, apart from what its size allows. A copy of 5 GiB is made meanwhile.
    request: Duration,
    /// The least that has to go over the wire in a second, in bytes.
    slowest: u64,
    /// For a connection that is idle. Servers close those after some time, S3 after 20 s or so; a request on its way then
    /// is lost.
    kept: Duration,
}

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    request: Duration::from_secs(90),
    slowest: 64 << 10,
    kept: Duration::from_secs(15),
};
/// How many connections to a host are kept.
const CONNECTIONS: usize = 256;

impl Agent {
    /// A client that trusts the certificates of the web, those of Mozilla.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Tls::of_the_web(), LIMITS)
    }

    /// A client that trusts certificates of the caller's choice, in PEM form, in the place of Mozilla's. No variable is read.
    ///
    /// # Errors
    /// [`HttpError::Untrusted`] when a certificate cannot be read, or there is none.
    pub fn with_certificates(pem: &[u8]) -> Result<Self, HttpError> {
        Ok(Self::of(Tls::of_certificates(pem)?, LIMITS))
    }

    fn of(tls: Tls, limits: Limits) -> Self {
        Self { inner: Arc::new(Inner { tls, limits, idle: Mutex::default() }) }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, HashMap<(Scheme, Authority), Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, which is the one most likely to be open still.
    fn take(&self, place: &(Scheme, Authority)) -> Option<Open> {
        let mut idle = self.idle();
        let connections = idle.get_mut(place)?;
        while let Some(Idle { mut open, since }) = connections.pop() {
            if since.elapsed() < self.limits.kept && open.connection.is_open_still() {
                return Some(open);
            }
        }
        None
    }

    fn keep(&self, place: (Scheme, Authority), open: Open) {
        let mut idle = self.idle();
        let connections = idle.entry(place).or_default();
        // In the order in which they became idle. Those that a burst has left would stay, closed by the server.
        let stale = connections.partition_point(|idle| idle.since.elapsed() >= self.limits.kept);
        connections.drain(..stale);
        if connections.len() < CONNECTIONS {
            connections.push(Idle { open, since: Instant::now() });
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        request: Request<Bytes>,
        limit: u64,
        time: Duration,
    ) -> Result<Response<Content<HttpError>>, HttpError> {
        let uri = request.uri();
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(HttpError::Request("the address has no host".into()));
        };
        let place = (scheme.clone(), authority.clone());
        let mut open = match self.take(&place) {
            Some(open) => open,
            None => {
                let connecting = Connection::open(&place.0, &place.1, &self.tls);
                let connection = within(&mut Alarm::new(), self.limits.connect, connecting).await?;
                Open { connection, alarm: Alarm::new() }
            }
        };
        let response = within(&mut open.alarm, time, open.connection.exchange(request, limit)).await?;
        let (parts, read) = response.into_parts();
        let content = match read {
            Read::Whole(bytes) => {
                if open.connection.is_open() {
                    self.keep(place, open);
                }
                Content::Whole(bytes)
            }
            Read::Begun(rest) => {
                let pieces = Pieces { inner: Arc::clone(self), place, open, rest, left: self.limits.request };
                Content::Pieces(stream::unfold(Some(pieces), |pieces| async { pieces?.next().await }).boxed())
            }
        };
        Ok(Response::from_parts(parts, content))
    }
}

/// A body on its way, and the connection that it comes over.
struct Pieces {
    inner: Arc<Inner>,
    place: (Scheme, Authority),
    open: Open,
    rest: Rest,
    /// How much longer it may be waited for. What comes adds to it.
    left: Duration,
}

impl Pieces {
    /// The next piece, and what brings those behind it.
    async fn next(mut self) -> Option<(Result<Bytes, HttpError>, Option<Self>)> {
        let since = Instant::now();
        let Open { connection, alarm } = &mut self.open;
        match within(alarm, self.left, connection.piece(&mut self.rest)).await {
            Ok(Some(piece)) => {
                let Limits { request: most, slowest, .. } = self.inner.limits;
                let earned = (piece.len() as u64).saturating_mul(1_000_000_000).checked_div(slowest).unwrap_or(0);
                let left = self.left.saturating_sub(since.elapsed());
                self.left = left.saturating_add(Duration::from_nanos(earned)).min(most);
                Some((Ok(piece), Some(self)))
            }
            Ok(None) => {
                if self.open.connection.is_open() {
                    self.inner.keep(self.place, self.open);
                }
                None
            }
            Err(HttpError::Timeout(_)) => {
                let slow = format!("it comes at less than {} bytes/s", self.inner.limits.slowest);
                Some((Err(HttpError::Timeout(slow.into())), None))
            }
            Err(error) => Some((Err(error), None)),
        }
    }
}

/// Waits for something, but not longer than so long.
async fn within<T>(
    alarm: &mut Alarm,
    time: Duration,
    future: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    alarm.set(time);
    let mut future = pin!(future);
    poll_fn(|context| {
        if let Poll::Ready(result) = future.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        alarm.poll(context).map(|()| Err(HttpError::Timeout(format!("it took more than {} s", time.as_secs()).into())))
    })
    .await
}

impl HttpClient for Agent {
    async fn send(&self, request: Request<Bytes>, limit: u64) -> Result<Response<Content<HttpError>>, HttpError> {
        let bytes = limit.saturating_add(request.body().len() as u64);
        let Limits { request: least, slowest, .. } = self.inner.limits;
        let time = least.saturating_add(Duration::from_secs(bytes.checked_div(slowest).unwrap_or(0)));
        self.inner.exchange(request, limit, time).await
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test")]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;
    use async_io::block_on;
    use futures_rustls::TlsAcceptor;
    use futures_rustls::pki_types::pem::PemObject;
    use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use futures_rustls::rustls::{ServerConfig, crypto};
    use futures_util::{AsyncReadExt, AsyncWriteExt};
    use std::error::Error;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const SHORT: Duration = Duration::from_millis(100);
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";

    /// A server of which a thread looks after each connection; answers how many there have been.
    fn serve(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, serve) = (listener.local_addr().unwrap(), Arc::new(serve));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream.unwrap()));
            }
        });
        (address, connections)
    }

    /// A request, which has no body.
    fn hear(stream: &mut std::net::TcpStream) {
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }

    fn get(agent: &Agent, uri: &str, limit: u64) -> Result<Option<Bytes>, HttpError> {
        sent(agent, uri, limit).map(Content::into_whole)
    }

    fn sent(agent: &Agent, uri: &str, limit: u64) -> Result<Content<HttpError>, HttpError> {
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        block_on(agent.send(request, limit)).map(Response::into_body)
    }

    fn chain(error: &dyn Error) -> String {
        let source = error.source().map(|source| format!(": {}", chain(source)));
        format!("{error}{}", source.unwrap_or_default())
    }

    #[test]
    fn a28_an_answer_that_does_not_come_is_not_waited_for() {
        let agent = Agent::of(Tls::of_the_web(), Limits { request: SHORT, ..LIMITS });
        // Nothing at all, a head without an end, and a body that drips.
        let silent = serve(|mut stream| drop(stream.read_to_end(&mut Vec::new()))).0;
        let begun = serve(|mut stream| {
            hear(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let dripping = serve(|mut stream| {
            hear(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(SHORT / 10);
            }
        });
        for address in [silent, begun.0, dripping.0] {
            let since = Instant::now();
            let error = get(&agent, &format!("http://{address}/"), 1000).unwrap_err();
            assert!(matches!(error, HttpError::Timeout(_)), "{}", chain(&error));
            assert_eq!(error.kind(), StoreErrorKind::Transient);
            assert!((SHORT..SHORT * 50).contains(&since.elapsed()));
        }
        assert!(agent.inner.idle().values().all(Vec::is_empty));
    }

    /// What comes of a body in pieces that is asked for with this pause in between.
    fn drain(content: Content<HttpError>, pause: Duration) -> (usize, Option<HttpError>) {
        let (mut pieces, mut length) = (content.into_pieces(), 0);
        block_on(async {
            loop {
                async_io::Timer::after(pause).await;
                match pieces.next().await {
                    Some(Ok(piece)) => length += piece.len(),
                    Some(Err(error)) => {
                        assert!(pieces.next().await.is_none());
                        return (length, Some(error));
                    }
                    None => return (length, None),
                }
            }
        })
    }

    #[test]
    fn a28_a_body_in_pieces_that_does_not_come_is_not_waited_for() {
        let agent = Agent::of(Tls::of_the_web(), Limits { request: SHORT, ..LIMITS });
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        let dripping = serve(|mut stream| {
            hear(&mut stream);
            stream.write_all(head).unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(SHORT / 10);
            }
        });
        let stopping = serve(|mut stream| {
            hear(&mut stream);
            stream.write_all(head).unwrap();
            stream.write_all(b"x").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        for address in [dripping.0, stopping.0] {
            let content = sent(&agent, &format!("http://{address}/"), 10).unwrap();
            let since = Instant::now();
            let (length, error) = drain(content, Duration::ZERO);
            let error = error.unwrap();
            assert!(matches!(error, HttpError::Timeout(_)), "{}", chain(&error));
            assert_eq!(error.kind(), StoreErrorKind::Transient);
            assert!(length < 1000 && (SHORT / 2..SHORT * 50).contains(&since.elapsed()));
        }
        assert!(agent.inner.idle().values().all(Vec::is_empty));
    }

    #[test]
    fn whoever_reads_slowly_is_not_taken_for_a_slow_network() {
        let large = serve(|mut stream| {
            hear(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n").unwrap();
            stream.write_all(&[0; 2_000_000]).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let agent = Agent::of(Tls::of_the_web(), Limits { request: SHORT * 5, ..LIMITS });
        let content = sent(&agent, &format!("http://{}/", large.0), 10).unwrap();
        let since = Instant::now();
        let (length, error) = drain(content, SHORT);
        assert!(error.is_none(), "{}", chain(&error.unwrap()));
        assert_eq!(length, 2_000_000);
        assert!(since.elapsed() > SHORT * 6, "it was slow");
        assert_eq!(agent.inner.idle().values().map(Vec::len).sum::<usize>(), 1);
    }

    #[test]
    fn a_large_answer_may_take_longer() {
        let slow = serve(|mut stream| {
            hear(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo").unwrap();
            thread::sleep(SHORT * 3);
            stream.write_all(b"dy").unwrap();
        });
        let agent = Agent::of(Tls::of_the_web(), Limits { request: SHORT, slowest: 100, ..LIMITS });
        let uri = format!("http://{}/", slow.0);
        assert_eq!(get(&agent, &uri, 10_000).unwrap().unwrap(), "body");
    }

    #[test]
    fn a_connection_that_does_not_come_is_not_waited_for() {
        let agent = Agent::of(Tls::of_the_web(), Limits { connect: SHORT, ..LIMITS });
        // It takes the connection, and says nothing of who it is.
        let silent = serve(|mut stream| drop(stream.read_to_end(&mut Vec::new()))).0;
        let error = get(&agent, &format!("https://localhost:{}/", silent.port()), 10).unwrap_err();
        assert!(matches!(error, HttpError::Timeout(_)), "{}", chain(&error));
    }

    /// Answers each request; closes a connection at the end.
    fn answering(mut stream: std::net::TcpStream) {
        while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) && stream.write_all(ANSWER).is_ok() {}
    }

    #[test]
    fn a_connection_that_was_idle_for_long_is_not_used() {
        let (address, connections) = serve(answering);
        let uri = format!("http://{address}/");
        let mut agent = Agent::new();
        for count in [1, 1, 2] {
            if count == 2 {
                never_kept(&mut agent);
            }
            get(&agent, &uri, 10).unwrap();
            assert_eq!(connections.load(Ordering::SeqCst), count);
        }
    }

    /// From now on, whatever is idle is too old.
    fn never_kept(agent: &mut Agent) {
        Arc::get_mut(&mut agent.inner).unwrap().limits.kept = Duration::ZERO;
    }

    #[test]
    fn what_a_burst_has_left_is_closed() {
        let (address, _) = serve(answering);
        let uri = format!("http://{address}/");
        let mut agent = Agent::new();
        let idle = |agent: &Agent| agent.inner.idle().values().map(Vec::len).sum::<usize>();
        let all = (0..20).map(|_| agent.send(Request::get(&uri).body(Bytes::new()).unwrap(), 10));
        for result in block_on(futures_util::future::join_all(all)) {
            result.unwrap();
        }
        assert_eq!(idle(&agent), 20);
        never_kept(&mut agent);
        get(&agent, &uri, 10).unwrap();
        assert_eq!(idle(&agent), 1);
    }

    #[test]
    fn no_room_is_made_for_what_is_only_announced() {
        let lying = serve(|mut stream| {
            hear(&mut stream);
            let piece = vec![b'x'; 100_000];
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 50).as_bytes()).unwrap();
            stream.write_all(&piece).unwrap();
            stream.write_all(&piece).unwrap();
        });
        let error = get(&Agent::new(), &format!("http://{}/", lying.0), u64::MAX).unwrap_err();
        assert!(matches!(error, HttpError::Broken(_)), "{}", chain(&error));
    }

    // TLS, with a certificate for `localhost` that nobody but these tests trusts.

    /// Answers one request over TLS, if there is one.
    fn answering_tls(stream: std::net::TcpStream) {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
        block_on(async {
            let Ok(mut stream) = acceptor.accept(async_io::Async::new(stream).unwrap()).await else { return };
            while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
                stream.write_all(ANSWER).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
    }

    #[test]
    fn a_certificate_that_is_trusted() {
        let (address, connections) = serve(answering_tls);
        let agent = Agent::with_certificates(CERTIFICATE.as_bytes()).unwrap();
        for _ in 0..3 {
            let body = get(&agent, &format!("https://localhost:{}/", address.port()), 10).unwrap();
            assert_eq!(body.unwrap(), "body");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_certificate_that_is_not_trusted_or_for_another_host() {
        let (address, _) = serve(answering_tls);
        let trusting = Agent::with_certificates(CERTIFICATE.as_bytes()).unwrap();
        let (right, wrong) = (format!("https://localhost:{}/", address.port()), format!("https://{address}/"));
        for (agent, uri, message) in [
            (&Agent::new(), &right, "there is no trusted connection: invalid peer certificate: UnknownIssuer"),
            (
                &trusting,
                &wrong,
                "there is no trusted connection: invalid peer certificate: certificate not valid for name \"127.0.0.1\"; \
                 certificate is only valid for DnsName(\"localhost\")",
            ),
        ] {
            let error = get(agent, uri, 10).unwrap_err();
            assert_eq!((chain(&error).as_str(), error.kind()), (message, StoreErrorKind::Denied));
        }
    }

    #[test]
    fn a_server_that_does_not_speak_tls() {
        let agent = Agent::with_certificates(CERTIFICATE.as_bytes()).unwrap();
        let (plain, _) = serve(answering);
        let error = get(&agent, &format!("https://localhost:{}/", plain.port()), 10).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied, "{}", chain(&error));
        let (closing, _) = serve(|mut stream| drop(stream.read(&mut [0; 9])));
        let error = get(&agent, &format!("https://localhost:{}/", closing.port()), 10).unwrap_err();
        assert!(matches!(error, HttpError::Broken(_)), "{}", chain(&error));
    }

    #[test]
    fn certificates_that_are_none() {
        for (pem, message) in [
            ("", "there is no trusted connection: there is no certificate"),
            (KEY, "there is no trusted connection: there is no certificate"),
            ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----", "a certificate cannot be read"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "a certificate cannot be trusted"),
        ] {
            let error = Agent::with_certificates(pem.as_bytes()).unwrap_err();
            assert!(chain(&error).contains(message), "{}", chain(&error));
        }
    }

    /// Valid until 2100.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBXTCCAQSgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv\n\
c3QwIBcNMDAwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM\n\
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABO3nEi7ydJasoNY6\n\
PzwJi1+X8ihN4verfZtdx7dfcF0kpAA8RMNebcO19KirNDUmX2gGXgQDIdR0smZQ\n\
GpBQ106jRTBDMAwGA1UdEwEB/wQCMAAwFAYDVR0RBA0wC4IJbG9jYWxob3N0MB0G\n\
A1UdDgQWBBS3pIxtlUMOwTSHMIIotjFhsKQTojAKBggqhkjOPQQDAgNHADBEAiA+\n\
Txq6uFT1jTeWNcZkZGZOlfvsNuVjNpJyIsspzVpQ8AIgXsq5ZsZng/DznN0zVwan\n\
4DTmtlaLb2G7BB/iYoQrVm0=\n\
-----END CERTIFICATE-----";

    /// The key to it.
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1q45O79K7S/htcKI\n\
6JLElluv3SwujvkY2ZQtaDIaYuChRANCAATt5xIu8nSWrKDWOj88CYtfl/IoTeL3\n\
q32bXce3X3BdJKQAPETDXm3DtfSoqzQ1Jl9oBl4EAyHUdLJmUBqQUNdO\n\
-----END PRIVATE KEY-----";
}
