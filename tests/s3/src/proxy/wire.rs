//! [`Wire`]: HTTP/1.1 messages as they are sent, byte for byte.

use bytes::BytesMut;
use std::io;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// More than any client or server sends.
const MAX_HEADERS: usize = 500;

/// One side of the proxy.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    read: BytesMut,
}

/// A request or a reply.
pub(super) struct Message {
    /// Method and target, or version and status.
    pub(super) first: (String, String),
    /// The first line and the headers, with the empty line behind them.
    pub(super) head: Vec<u8>,
    /// The body with its framing, if it comes in chunks.
    pub(super) body: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Message {
    fn new(first: (String, String), head: Vec<u8>, headers: &[httparse::Header<'_>]) -> Self {
        let headers = headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()));
        Self { first, head, body: Vec::new(), headers: headers.collect() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    fn says(&self, name: &str, word: &str) -> bool {
        self.header(name).is_some_and(|value| value.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether the reply proper is still to come.
    pub(super) fn is_interim(&self) -> bool {
        self.first.1.starts_with('1')
    }

    /// Whether nothing comes after it.
    pub(super) fn closes(&self) -> bool {
        self.says("connection", "close") || self.first.0 == "HTTP/1.0"
    }

    /// Flips a bit in the middle of the body.
    pub(super) fn corrupt(&mut self) {
        let middle = self.body.len() / 2;
        if let Some(byte) = self.body.get_mut(middle) {
            *byte ^= 1;
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, read: BytesMut::new() }
    }

    /// The next request, without its body; `None` when there is none.
    pub(super) async fn read_request_head(&mut self) -> io::Result<Option<Message>> {
        self.read_head(|read| {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            let length = match request.parse(read).map_err(|_| invalid("a request that is no HTTP"))? {
                httparse::Status::Complete(length) => length,
                httparse::Status::Partial => return Ok(None),
            };
            let first = (request.method.unwrap_or_default().to_owned(), request.path.unwrap_or_default().to_owned());
            Ok(Some(Message::new(first, read.get(..length).unwrap_or_default().to_vec(), request.headers)))
        })
        .await
    }

    /// The next reply, without its body; `None` when there is none.
    pub(super) async fn read_reply_head(&mut self) -> io::Result<Option<Message>> {
        self.read_head(|read| {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut reply = httparse::Response::new(&mut headers);
            let length = match reply.parse(read).map_err(|_| invalid("a reply that is no HTTP"))? {
                httparse::Status::Complete(length) => length,
                httparse::Status::Partial => return Ok(None),
            };
            let version = format!("HTTP/1.{}", reply.version.unwrap_or(1));
            let first = (version, reply.code.unwrap_or_default().to_string());
            Ok(Some(Message::new(first, read.get(..length).unwrap_or_default().to_vec(), reply.headers)))
        })
        .await
    }

    async fn read_head(&mut self, parse: impl Fn(&[u8]) -> io::Result<Option<Message>>) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = parse(&self.read)? {
                let _ = self.read.split_to(message.head.len());
                return Ok(Some(message));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return if self.read.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads what belongs to this message.
    pub(super) async fn read_body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.says("transfer-encoding", "chunked") {
            return self.read_chunks(&mut message.body).await;
        }
        let is_reply = message.first.0.starts_with("HTTP/");
        match message.header("content-length") {
            Some(length) => {
                let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse().ok());
                self.take(length.ok_or_else(|| invalid("a length that is no number"))?, &mut message.body).await
            }
            None if is_reply => {
                // It ends where the connection does.
                message.body.extend_from_slice(&self.read.split());
                self.stream.read_to_end(&mut message.body).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Moves so many bytes to the end of the body.
    async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        while self.read.len() < length {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.extend_from_slice(&self.read.split_to(length));
        Ok(())
    }

    /// Reads chunks to the last one and the trailers behind it, with all that frames them.
    async fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.take_line(body).await?;
            let size = line.split(|byte| matches!(byte, b';' | b'\r' | b' ')).next().unwrap_or_default();
            let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            match size.ok_or_else(|| invalid("a chunk without a size"))? {
                0 => break,
                size => self.take(size.saturating_add(2), body).await?,
            }
        }
        while self.take_line(body).await? != b"\r\n" {}
        Ok(())
    }

    async fn take_line(&mut self, body: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.read.split_to(end + 2).to_vec();
                body.extend_from_slice(&line);
                return Ok(line);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
