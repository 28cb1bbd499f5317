//! [`Connection`]: one connection to a server, over which one request goes at a time.

use super::client::HttpError;
use super::socket::{Again, Socket};
use super::tls::Tls;
use async_io::Async;
use bytes::{Bytes, BytesMut};
use futures_util::future::{Fuse, FusedFuture};
use futures_util::{AsyncRead, AsyncWrite, FutureExt};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use smol_hyper::rt::FuturesIo;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use thiserror::Error;

pub(super) struct Connection {
    requests: http1::SendRequest<Pieces>,
    /// What moves bytes. It is polled with each request, and not in between.
    driver: Fuse<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    again: Again,
}

/// The most headers of an answer. What S3 takes as user metadata, 2 KB, has far fewer but by design.
const HEADERS: usize = 256;
/// The most bytes of the head of an answer.
const HEAD: usize = 64 << 10;

/// Up to so many bytes of an answer whose length was not announced are read whole: 8 MiB.
const UNANNOUNCED: u64 = 8 << 20;
/// The most bytes that are made room for on the word of a server alone.
const RESERVED: u64 = 64 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection {
    pub(super) async fn open(scheme: &Scheme, authority: &Authority, tls: &Tls) -> Result<Self, HttpError> {
        let broken = |error: io::Error| HttpError::Broken(error.into());
        let is_tls = *scheme == Scheme::HTTPS;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = authority.host();
        let again = Again::default();
        let socket = Socket::new(connect(host, port).await.map_err(broken)?, again.clone());
        let stream: Box<dyn Stream> =
            if is_tls { Box::new(tls.connect(host, socket).await?.map_err(of_tls)?) } else { Box::new(socket) };
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS).max_header_size(HEAD).max_buf_size(PIECE);
        let made = builder.handshake(FuturesIo::new(stream)).await;
        let (requests, driver) = made.map_err(of_hyper)?;
        Ok(Self { requests, driver: driver.boxed().fuse(), again })
    }

    /// Whether a request can be sent after an idle time. What the server has said meanwhile, such as that it closes, is heard
    /// here.
    pub(super) fn is_open_still(&mut self) -> bool {
        self.again.ask();
        self.is_open()
    }

    /// Whether another request can be sent after an answer.
    pub(super) fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !self.driver.is_terminated() && self.driver.poll_unpin(&mut context).is_pending() && self.requests.is_ready()
    }

    /// Sends a request and reads the answer, the body as far as it is not too long.
    pub(super) async fn exchange(&mut self, request: Request<Bytes>, limit: u64) -> Result<Response<Read>, HttpError> {
        let is_head = *request.method() == Method::HEAD;
        let request = in_origin_form(request)?;
        let response = pin!(self.requests.send_request(request));
        let response = self.driven(response).await?.map_err(of_hyper)?;
        let (parts, body) = response.into_parts();
        let body = if is_head { Read::Whole(Bytes::new()) } else { self.read(&parts.headers, body, limit).await? };
        Ok(Response::from_parts(parts, body))
    }

    /// Reads a body to its end, if it is not too long.
    async fn read(&mut self, headers: &HeaderMap, body: Incoming, limit: u64) -> Result<Read, HttpError> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        // Of one that was not announced the size is known when it is there.
        let limit = if announced.is_none() { limit.max(UNANNOUNCED) } else { limit };
        let mut rest = Rest { first: Bytes::new(), body, announced, length: 0 };
        if announced.is_some_and(|announced| announced > limit) {
            return Ok(Read::Begun(rest));
        }
        let mut whole = Bytes::new();
        let mut pieces = BytesMut::new();
        while let Some(piece) = self.piece(&mut rest).await? {
            if whole.is_empty() && pieces.is_empty() {
                whole = piece;
            } else {
                if pieces.is_empty() {
                    let size = usize::try_from(announced.unwrap_or(0).min(RESERVED)).unwrap_or(0);
                    pieces.reserve(size.max(whole.len()));
                    pieces.extend_from_slice(&std::mem::take(&mut whole));
                }
                pieces.extend_from_slice(&piece);
            }
            if rest.length > limit {
                rest.first = if pieces.is_empty() { whole } else { pieces.freeze() };
                return Ok(Read::Begun(rest));
            }
        }
        Ok(Read::Whole(if pieces.is_empty() { whole } else { pieces.freeze() }))
    }

    /// The next piece of a body; `None` behind the last.
    pub(super) async fn piece(&mut self, rest: &mut Rest) -> Result<Option<Bytes>, HttpError> {
        if !rest.first.is_empty() {
            return Ok(Some(std::mem::take(&mut rest.first)));
        }
        while let Some(frame) = self.driven(rest.body.frame()).await? {
            let Ok(piece) = frame.map_err(of_hyper)?.into_data() else { continue };
            rest.length = rest.length.saturating_add(piece.len() as u64);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        let Rest { announced, length, .. } = *rest;
        match announced {
            Some(announced) if announced != length => Err(HttpError::Broken(Box::new(Cut { announced, length }))),
            _ => Ok(None),
        }
    }

    /// Polls something that waits for the connection, and the connection itself.
    async fn driven<F: Future + Unpin>(&mut self, mut future: F) -> Result<F::Output, HttpError> {
        poll_fn(|context| {
            if let Poll::Ready(output) = future.poll_unpin(context) {
                return Poll::Ready(Ok(output));
            }
            let ended = match self.driver.is_terminated() {
                true => Poll::Ready(Ok(())),
                false => self.driver.poll_unpin(context),
            };
            // It may have brought what is waited for.
            if let Poll::Ready(output) = future.poll_unpin(context) {
                return Poll::Ready(Ok(output));
            }
            ended.map(|ended| match ended {
                Err(error) => Err(of_hyper(error)),
                Ok(()) => Err(HttpError::Broken("the connection was closed".into())),
            })
        })
        .await
    }
}

/// What was read of a body.
pub(super) enum Read {
    Whole(Bytes),
    /// It is longer than was to be read.
    Begun(Rest),
}

/// What is still to be read of a body.
pub(super) struct Rest {
    /// What was read before it was known how long it is.
    first: Bytes,
    body: Incoming,
    announced: Option<u64>,
    /// How much has been read.
    length: u64,
}

/// A body in pieces, of which one at a time is copied behind what is still to be sent: a small one goes with its head in one
/// write, and of a large one no second copy is made.
struct Pieces(Bytes);

/// The largest piece either way, in bytes: what is read at once, and written by others while it is in the caches.
const PIECE: usize = 256 << 10;

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.len().min(PIECE);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.0.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// The request as it goes over the wire: with the path alone, and the host as a header.
fn in_origin_form(request: Request<Bytes>) -> Result<Request<Pieces>, HttpError> {
    let wrong = |error: http::Error| HttpError::Request(error.into());
    let (mut parts, body) = request.into_parts();
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(authority) = uri.authority.take().filter(|_| !parts.headers.contains_key(HOST)) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| wrong(error.into()))?;
        parts.headers.insert(HOST, host);
    }
    if body.is_empty() && [Method::PUT, Method::POST].contains(&parts.method) {
        // What is empty is not announced by itself, and there are servers that answer 411 then.
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    // What is compressed on its way is not what was put. It is no part of the signature, since gateways change it.
    parts.headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    uri.scheme = None;
    parts.uri = Uri::from_parts(uri).map_err(|error| wrong(error.into()))?;
    Ok(Request::from_parts(parts, Pieces(body)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_of_nothing_announces_that_it_is_empty() {
        let sent = |method: Method, body: &'static [u8]| {
            let request =
                Request::builder().method(method).uri("http://host/a").body(Bytes::from_static(body)).unwrap();
            in_origin_form(request).unwrap().headers().get(CONTENT_LENGTH).cloned()
        };
        assert_eq!(sent(Method::PUT, b"").unwrap(), "0");
        assert_eq!(sent(Method::PUT, b"x"), None, "the length of what there is comes with it");
        assert_eq!(sent(Method::GET, b""), None);
    }
}
