//! Requests over one connection.

use crate::sign::{Signer, Unsigned};
use posix_s3_bench::text::{path_encode, percent_decode, query_encode};
use posix_s3_bench::wire::Wire;
use quick_xml::escape::unescape;
use std::env;
use std::fmt::Write;
use std::io;
use std::net::TcpStream;
use std::ops::Range;

/// Whatever went wrong; the program ends with it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A bucket, and who asks for it.
pub(crate) struct Client {
    host: String,
    bucket: String,
    signer: Signer,
}

/// One connection of a client.
pub(crate) struct Connection<'a> {
    client: &'a Client,
    wire: Wire,
    head: Vec<u8>,
    out: Vec<u8>,
    closes: bool,
}

/// An object in a listing.
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
}

/// What is told of an answer besides its body.
#[derive(Default)]
struct Told {
    status: u16,
    etag: String,
}

/// What is asked; the parts that are left out are empty.
#[derive(Default)]
struct Ask<'a> {
    method: &'a str,
    key: &'a str,
    /// Encoded, in the order of the names.
    query: &'a str,
    headers: &'a [(&'a str, String)],
    body: &'a [u8],
    range: Option<Range<u64>>,
}

impl Client {
    pub(crate) fn from_env(bucket: String) -> Result<Self, Failure> {
        let value = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
        let endpoint = value("AWS_ENDPOINT_URL")?;
        let host = endpoint.strip_prefix("http://").ok_or("expected AWS_ENDPOINT_URL to begin with http://")?;
        let host = host.trim_end_matches('/').to_owned();
        let region = value("AWS_REGION").or_else(|_| value("AWS_DEFAULT_REGION")).unwrap_or("us-east-1".to_owned());
        let signer = Signer::new(value("AWS_ACCESS_KEY_ID")?, &value("AWS_SECRET_ACCESS_KEY")?, &region);
        Ok(Self { host, bucket, signer })
    }

    pub(crate) fn connect(&self) -> Result<Connection<'_>, Failure> {
        let wire = self.wire()?;
        Ok(Connection { client: self, wire, head: Vec::new(), out: Vec::with_capacity(8 << 10), closes: false })
    }

    fn wire(&self) -> io::Result<Wire> {
        Wire::new(TcpStream::connect(&self.host)?)
    }
}

impl Connection<'_> {
    pub(crate) fn put(&mut self, key: &str, headers: &[(&str, String)], body: &[u8]) -> Result<(), Failure> {
        self.ask(&Ask { method: "PUT", key, headers, body, ..Ask::default() }, |_| Ok(())).map(drop)
    }

    /// The part's `ETag`.
    pub(crate) fn put_part(&mut self, key: &str, id: &str, number: u64, body: &[u8]) -> Result<String, Failure> {
        let query = format!("partNumber={number}&uploadId={}", query_encode(id));
        let ask = Ask { method: "PUT", key, query: &query, body, ..Ask::default() };
        Ok(self.ask(&ask, |_| Ok(()))?.etag)
    }

    /// The upload's id.
    pub(crate) fn begin(&mut self, key: &str, headers: &[(&str, String)]) -> Result<String, Failure> {
        let answer = self.text(&Ask { method: "POST", key, query: "uploads=", headers, ..Ask::default() })?;
        Ok(between(&answer, "<UploadId>", "</UploadId>").ok_or("an upload without an id")?.to_owned())
    }

    pub(crate) fn complete(&mut self, key: &str, id: &str, etags: &[String]) -> Result<(), Failure> {
        let mut body = String::from("<CompleteMultipartUpload>");
        for (etag, number) in etags.iter().zip(1..) {
            write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")?;
        }
        body.push_str("</CompleteMultipartUpload>");
        let query = format!("uploadId={}", query_encode(id));
        let ask = Ask { method: "POST", key, query: &query, body: body.as_bytes(), ..Ask::default() };
        let answer = self.text(&ask)?;
        // What went wrong after the first byte had to be sent comes with a status of 200.
        if answer.contains("<CompleteMultipartUploadResult") { Ok(()) } else { Err(answer.into()) }
    }

    pub(crate) fn get(
        &mut self,
        key: &str,
        range: Option<Range<u64>>,
        sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        self.ask(&Ask { method: "GET", key, range, ..Ask::default() }, sink).map(drop)
    }

    pub(crate) fn delete(&mut self, key: &str) -> Result<(), Failure> {
        self.ask(&Ask { method: "DELETE", key, ..Ask::default() }, |_| Ok(())).map(drop)
    }

    pub(crate) fn list(&mut self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let query = format!("{token}encoding-type=url&list-type=2&prefix={}", query_encode(prefix));
            let page = self.text(&Ask { method: "GET", query: &query, ..Ask::default() })?;
            for object in page.split("<Contents>").skip(1) {
                let key =
                    between(object, "<Key>", "</Key>").and_then(percent_decode).ok_or("an object without a key")?;
                let size = between(object, "<Size>", "</Size>").ok_or("an object without a size")?.parse()?;
                all.push(Listed { key, size });
            }
            match between(&page, "<NextContinuationToken>", "</NextContinuationToken>") {
                None => return Ok(all),
                Some(next) => token = format!("continuation-token={}&", query_encode(&unescape(next)?)),
            }
        }
    }

    fn text(&mut self, ask: &Ask<'_>) -> Result<String, Failure> {
        let mut answer = Vec::new();
        self.ask(ask, |bytes| {
            answer.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(String::from_utf8(answer)?)
    }

    /// Sends a request and takes its answer, the body of which goes to the sink.
    fn ask(&mut self, ask: &Ask<'_>, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<Told, Failure> {
        let client = self.client;
        if self.closes {
            self.wire = client.wire()?;
        }
        let mut path = format!("/{}", client.bucket);
        if !ask.key.is_empty() {
            write!(path, "/{}", path_encode(ask.key))?;
        }
        let (method, host, path, query) = (ask.method, client.host.as_str(), path.as_str(), ask.query);
        self.out.clear();
        let unsigned =
            Unsigned { method, host, path, query, headers: ask.headers, body: ask.body, range: ask.range.as_ref() };
        client.signer.sign(&unsigned, &mut self.out);
        self.wire.write(&mut self.out, ask.body)?;

        if !self.wire.read_head(&mut self.head)? {
            return Err("the connection ended before an answer".into());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        answer.parse(&self.head)?;
        let header = |name: &str| {
            let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let told = Told { status: answer.code.unwrap_or(0), etag: header("etag").unwrap_or_default().to_owned() };
        self.closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = match header("content-length") {
            Some(length) => length.parse()?,
            None if chunked || told.status == 204 => 0,
            None => return Err("an answer without a length".into()),
        };
        let mut refusal = Vec::new();
        let refused = told.status >= 300;
        let mut body = |bytes: &[u8]| {
            if refused {
                refusal.extend_from_slice(bytes);
                return Ok(());
            }
            sink(bytes)
        };
        if chunked {
            pass_chunks(&mut self.wire, &mut body)?;
        } else {
            self.wire.pass_body(length, &mut body)?;
        }
        if refused {
            let why = String::from_utf8_lossy(&refusal);
            return Err(format!("{method} {path}?{query}: status {}: {why}", told.status).into());
        }
        Ok(told)
    }
}

/// A body that is sent as it is made: some servers list like that.
fn pass_chunks(wire: &mut Wire, sink: &mut impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        wire.read_line(&mut line)?;
        let length = std::str::from_utf8(&line)?.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(length.trim(), 16)?;
        wire.pass_body(length, &mut *sink)?;
        wire.read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, from) = text.split_once(open)?;
    Some(from.split_once(close)?.0)
}
