//! [`Connection`]: one connection to a server, over which one request goes at a time.

use super::client::HttpError;
use super::tls::Tls;
use async_io::Async;
use bytes::{Bytes, BytesMut};
use futures_util::{AsyncRead, AsyncWrite, FutureExt};
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use smol_hyper::rt::FuturesIo;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use thiserror::Error;

pub(super) struct Connection {
    requests: http1::SendRequest<Full<Bytes>>,
    /// What moves bytes. It is polled with each request, and not in between.
    driver: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
}

/// The most headers of an answer. User metadata of 2 KB may have some hundred.
const HEADERS: usize = 512;
/// The most bytes of the head of an answer.
const HEAD: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection {
    pub(super) async fn open(scheme: &Scheme, authority: &Authority, tls: &Tls) -> Result<Self, HttpError> {
        let broken = |error: io::Error| HttpError::Broken(error.into());
        let is_tls = *scheme == Scheme::HTTPS;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = authority.host();
        let socket = connect(host, port).await.map_err(broken)?;
        let stream: Box<dyn Stream> =
            if is_tls { Box::new(tls.connect(host, socket).await?.map_err(of_tls)?) } else { Box::new(socket) };
        let made =
            http1::Builder::new().max_headers(HEADERS).max_header_size(HEAD).handshake(FuturesIo::new(stream)).await;
        let (requests, driver) = made.map_err(of_hyper)?;
        Ok(Self { requests, driver: Box::pin(driver) })
    }

    /// Whether a request can be sent. What the server has said meanwhile, such as that it closes, is heard here.
    pub(super) fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.driver.poll_unpin(&mut context).is_pending() && self.requests.is_ready()
    }

    /// Sends a request and reads the answer, the body only if it is not too long.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Bytes>,
        limit: u64,
    ) -> Result<Response<Option<Bytes>>, HttpError> {
        let is_head = *request.method() == Method::HEAD;
        let request = in_origin_form(request)?;
        let response = pin!(self.requests.send_request(request));
        let response = self.driven(response).await?.map_err(of_hyper)?;
        let (parts, body) = response.into_parts();
        let body = if is_head { Some(Bytes::new()) } else { self.read(&parts.headers, body, limit).await? };
        Ok(Response::from_parts(parts, body))
    }

    /// Reads a body to its end, if it is not too long.
    async fn read(&mut self, headers: &HeaderMap, mut body: Incoming, limit: u64) -> Result<Option<Bytes>, HttpError> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > limit) {
            return Ok(None);
        }
        let mut whole = Bytes::new();
        let mut pieces = BytesMut::new();
        while let Some(frame) = self.driven(body.frame()).await? {
            let Ok(piece) = frame.map_err(of_hyper)?.into_data() else { continue };
            if (pieces.len() as u64).saturating_add(piece.len() as u64) > limit {
                return Ok(None);
            }
            if whole.is_empty() && pieces.is_empty() {
                whole = piece;
                continue;
            }
            if pieces.is_empty() {
                let size = usize::try_from(announced.unwrap_or(0)).unwrap_or(0);
                pieces.reserve(size.max(whole.len()));
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&piece);
        }
        let read = if pieces.is_empty() { whole } else { pieces.freeze() };
        let length = read.len() as u64;
        match announced {
            Some(announced) if announced != length => Err(HttpError::Broken(Box::new(Cut { announced, length }))),
            _ if length > limit => Ok(None),
            _ => Ok(Some(read)),
        }
    }

    /// Polls something that waits for the connection, and the connection itself.
    async fn driven<F: Future + Unpin>(&mut self, mut future: F) -> Result<F::Output, HttpError> {
        let mut ended = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.poll_unpin(context) {
                return Poll::Ready(Ok(output));
            }
            if ended.is_none()
                && let Poll::Ready(result) = self.driver.poll_unpin(context)
            {
                ended = Some(result);
            }
            // It may have brought what is waited for.
            if let Poll::Ready(output) = future.poll_unpin(context) {
                return Poll::Ready(Ok(output));
            }
            match ended.take() {
                None => Poll::Pending,
                Some(Err(error)) => Poll::Ready(Err(of_hyper(error))),
                Some(Ok(())) => Poll::Ready(Err(HttpError::Broken("the connection was closed".into()))),
            }
        })
        .await
    }
}

/// The request as it goes over the wire: with the path alone, and the host as a header.
fn in_origin_form(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
    let wrong = |error: http::Error| HttpError::Request(error.into());
    let (mut parts, body) = request.into_parts();
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(authority) = uri.authority.take().filter(|_| !parts.headers.contains_key(HOST)) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| wrong(error.into()))?;
        parts.headers.insert(HOST, host);
    }
    // hyper says nothing of the length of a body that is empty, and S3 refuses a put that does not.
    if matches!(parts.method, Method::PUT | Method::POST) && body.is_empty() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    uri.scheme = None;
    parts.uri = Uri::from_parts(uri).map_err(|error| wrong(error.into()))?;
    Ok(Request::from_parts(parts, Full::new(body)))
}

/// A connection to the first address that takes one.
async fn connect(host: &str, port: u16) -> io::Result<Async<TcpStream>> {
    let name = (host.trim_matches(['[', ']']).to_owned(), port);
    let addresses: Vec<SocketAddr> = match name.0.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => blocking::unblock(move || name.to_socket_addrs()).await?.collect(),
    };
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match Async::<TcpStream>::connect(address).await {
            Ok(socket) => {
                socket.get_ref().set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A body that is not as long as its head said.
#[derive(Debug, Error)]
#[error("expected {announced} bytes, found {length}")]
struct Cut {
    announced: u64,
    length: u64,
}

fn of_tls(error: io::Error) -> HttpError {
    // What the other end says wrongly comes as invalid data; a connection that breaks is one as without TLS.
    match error.kind() {
        io::ErrorKind::InvalidData => HttpError::Untrusted(error.into()),
        _ => HttpError::Broken(error.into()),
    }
}

fn of_hyper(error: hyper::Error) -> HttpError {
    if error.is_parse() {
        HttpError::Answer(error.into())
    } else if error.is_user() {
        HttpError::Request(error.into())
    } else {
        HttpError::Broken(error.into())
    }
}
