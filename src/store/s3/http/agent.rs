//! [`Agent`]: the HTTP client that comes with the crate.

use super::client::{HttpClient, HttpError};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use std::io::{self, Read};
use std::time::Duration;
use thiserror::Error;

/// The HTTP client that comes with the crate: `ureq` on threads of the `blocking` pool. It keeps connections, speaks TLS by
/// `rustls` and needs no runtime.
///
/// - A read or a write that nothing comes of takes 30 s at most, a connection 10 s. How long a name may take to resolve is
///   the system's to say.
/// - Sending a body and receiving one take 30 s each at most, and a second more for every 64 KiB; the head of an answer
///   comes within 60 s.
/// - A proxy is taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug)]
pub struct Agent {
    agent: ureq::Agent,
}

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// How long a body may take, apart from what its size allows.
const BODY: Duration = Duration::from_secs(30);
/// How long the head of an answer may take. A copy of 5 GiB is made meanwhile.
const ANSWER: Duration = Duration::from_secs(60);
/// The least that has to go over the wire in a second, in bytes.
const SLOWEST: u64 = 64 << 10;
/// How many connections are kept. More are not used at once by a store.
const CONNECTIONS: usize = 256;

impl Agent {
    /// A client that trusts the certificates of the web.
    #[must_use]
    pub fn new() -> Self {
        Self::of(ureq::config::Config::builder())
    }

    /// A client that trusts certificates of the caller's choice, in PEM form, as `AWS_CA_BUNDLE` names them.
    ///
    /// # Errors
    /// [`HttpError::Untrusted`] when a certificate cannot be read, or there is none.
    pub fn with_certificates(pem: &[u8]) -> Result<Self, HttpError> {
        use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
        let mut certificates = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| HttpError::Untrusted(error.into()))? {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() {
            return Err(HttpError::Untrusted("there is no certificate in it".into()));
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::from(certificates)).build();
        Ok(Self::of(ureq::config::Config::builder().tls_config(tls)))
    }

    fn of(config: ureq::config::ConfigBuilder<ureq::typestate::AgentScope>) -> Self {
        let config = config
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("posix-s3/", env!("CARGO_PKG_VERSION")))
            .accept("")
            .timeout_connect(Some(CONNECT))
            .timeout_send_request(Some(SILENCE))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .build();
        Self { agent: config.new_agent() }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient for Agent {
    async fn send(&self, request: Request<Bytes>, limit: u64) -> Result<Response<Option<Bytes>>, HttpError> {
        let agent = self.agent.clone();
        blocking::unblock(move || send(&agent, request, limit)).await
    }

    async fn sleep(&self, duration: Duration) {
        futures_timer::Delay::new(duration).await;
    }
}

fn send(agent: &ureq::Agent, request: Request<Bytes>, limit: u64) -> Result<Response<Option<Bytes>>, HttpError> {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let time = |bytes: u64| BODY.saturating_add(Duration::from_secs(bytes.checked_div(SLOWEST).unwrap_or(0)));
    // None for the request as a whole: each would be resolved on a thread of its own, to be able to give up.
    let (sending, receiving) = (Some(time(body.len() as u64)), Some(time(limit)));
    let response = if parts.method == Method::PUT || parts.method == Method::POST {
        let request = Request::from_parts(parts, &*body);
        let request = agent.configure_request(request).timeout_send_body(sending).timeout_recv_body(receiving);
        agent.run(request.build())
    } else {
        let request = Request::from_parts(parts, ());
        agent.run(agent.configure_request(request).timeout_recv_body(receiving).build())
    };
    let (parts, body) = response.map_err(of_ureq)?.into_parts();
    let body = if is_head { Some(Bytes::new()) } else { read(&parts.headers, body.into_reader(), limit)? };
    Ok(Response::from_parts(parts, body))
}

/// Reads a body to its end, if it is not too long.
fn read(headers: &http::HeaderMap, body: impl Read, limit: u64) -> Result<Option<Bytes>, HttpError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit) {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
    // One byte more, which a body of unknown length may have.
    body.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(of_io)?;
    let length = bytes.len() as u64;
    match announced {
        Some(announced) if announced != length => Err(HttpError::Broken(Box::new(Cut { announced, length }))),
        _ if length > limit => Ok(None),
        _ => Ok(Some(bytes.into())),
    }
}

/// A body that is not as long as its head said.
#[derive(Debug, Error)]
#[error("expected {announced} bytes, found {length}")]
struct Cut {
    announced: u64,
    length: u64,
}

fn of_ureq(error: ureq::Error) -> HttpError {
    match error {
        ureq::Error::Timeout(_) => HttpError::Timeout(error.into()),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => HttpError::Untrusted(error.into()),
        ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => {
            HttpError::Request(error.into())
        }
        ureq::Error::Protocol(_) => HttpError::Answer(error.into()),
        ureq::Error::Io(error) => of_io(error),
        _ => HttpError::Broken(error.into()),
    }
}

fn of_io(error: io::Error) -> HttpError {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => HttpError::Timeout(error.into()),
        _ => HttpError::Broken(error.into()),
    }
}
