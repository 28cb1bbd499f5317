//! [`Proxy`]: injects faults between a client and any server.
//!
//! A client is given the endpoint of the proxy for that of the server. What it sends is forwarded byte for byte, so that
//! signatures hold: they cover the `Host` that it sent, which a server takes for its own. Which request meets which fault
//! is said by a schedule, a function of the request alone; see [`first_tries`] and [`seeded`].

mod wire;

use crate::server::Operation;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use wire::{Message, Wire};

/// What happens to a request or to its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// The request is held back for so long.
    Latency(Duration),
    /// The connection is reset when the head of the request has been read, and nothing is forwarded.
    ResetEarly,
    /// The connection is reset when the whole request has been read, and nothing is forwarded.
    ResetBefore,
    /// The server does what it is asked to, but the connection is reset in place of the reply.
    ResetAfter,
    /// The reply ends in the middle: of its body, or of its head if it has no body.
    CutReply,
    /// The request reaches the server twice, one after the other; the reply is that to the second.
    Twice,
    /// The proxy answers itself, and nothing is forwarded.
    Answer(Answer),
    /// The server does what it is asked to, but the answer is this one.
    AnswerAfter(Answer),
    /// The body of the reply comes in pieces of so many bytes, with this pause before each.
    Drip {
        /// The bytes of a piece.
        piece: usize,
        /// How long each takes.
        pause: Duration,
    },
    /// A bit in the middle of the body of the reply is another one.
    Corrupt,
    /// A bit in the middle of the body of the request is another one.
    CorruptRequest,
}

/// An answer of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Such as 503.
    pub status: u16,
    /// Such as `SlowDown`.
    pub code: &'static str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl Answer {
    /// What S3 says when it does not know better.
    pub const INTERNAL_ERROR: Self = Self { status: 500, code: "InternalError", retry_after: None };
    /// What S3 says when there are too many requests.
    pub const SLOW_DOWN: Self = Self { status: 503, code: "SlowDown", retry_after: None };

    /// The same, with how long to wait.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// A request that passes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// From 0, in the order in which their heads arrived.
    pub number: u64,
    /// How many of the same method, path and query were before it: 0 for the first try.
    pub tries: u64,
    /// What it asks for.
    pub operation: Operation,
    /// As it is sent.
    pub method: String,
    /// Path and query as they are sent.
    pub path: String,
}

/// Which request meets which fault.
type Schedule = Arc<dyn Fn(&RequestInfo) -> Fault + Send + Sync>;

/// A running proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    /// Host and port of the server.
    server: String,
    schedule: Mutex<Schedule>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    tries: HashMap<(String, String), u64>,
    log: Vec<(RequestInfo, Fault)>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The first so many tries of every request that is chosen meet the fault, whatever the order of the requests.
pub fn first_tries(
    times: u64,
    fault: Fault,
    chosen: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static,
) -> impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static {
    move |request| if request.tries < times && chosen(request) { fault } else { Fault::None }
}

/// About one in so many requests meets one of the faults. The seed, what is asked for and the number of the try decide.
pub fn seeded(seed: u64, one_in: u64, faults: Vec<Fault>) -> impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static {
    move |request| {
        // FNV-1a, and a last mix, since its upper bits move late.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
        let name = [request.method.as_bytes(), request.path.as_bytes(), &request.tries.to_le_bytes()];
        for byte in name.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        if !hash.is_multiple_of(one_in) {
            return Fault::None;
        }
        let chosen = (hash / one_in) as usize % faults.len().max(1);
        faults.get(chosen).copied().unwrap_or(Fault::None)
    }
}

impl Proxy {
    /// Starts a proxy before the server of this endpoint, `http://host:port`, on a port of its own.
    #[must_use]
    pub fn new(endpoint: &str, schedule: impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static) -> Self {
        let server = endpoint.strip_prefix("http://").expect("a proxy cannot look into TLS").trim_end_matches('/');
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be had");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("it can wait");
        let schedule: Schedule = Arc::new(schedule);
        let shared = Shared { server: server.to_owned(), schedule: Mutex::new(schedule), seen: Mutex::default() };
        let shared = Arc::new(shared);
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// What a client is given as endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the schedule, from the next request on; tries and numbers count from 0 again, and the log is empty.
    pub fn set_schedule(&self, schedule: impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static) {
        *self.shared.schedule.lock().expect("no schedule panics") = Arc::new(schedule);
        *self.shared.seen.lock().expect("no schedule panics") = Seen::default();
    }

    /// The requests until now, and what became of each.
    #[must_use]
    pub fn log(&self) -> Vec<(RequestInfo, Fault)> {
        self.shared.seen.lock().expect("no schedule panics").log.clone()
    }

    /// How many requests met a fault.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.log().iter().filter(|(_, fault)| *fault != Fault::None).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// The next request and its fault.
    fn next(&self, head: &Message) -> io::Result<(RequestInfo, Fault)> {
        let (method, path) = head.first.clone();
        let invalid = |error: http::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let uri = path.parse::<Uri>().map_err(|error| invalid(error.into()))?;
        let mut headers = HeaderMap::new();
        if head.header("x-amz-copy-source").is_some() {
            headers.insert(HeaderName::from_static("x-amz-copy-source"), HeaderValue::from_static(""));
        }
        let parsed = Method::from_bytes(method.as_bytes()).map_err(|error| invalid(error.into()))?;
        let operation = Operation::of(&parsed, &uri, &headers);
        let schedule = Arc::clone(&self.schedule.lock().expect("no schedule panics"));
        let mut seen = self.seen.lock().expect("no schedule panics");
        let number = seen.log.len() as u64;
        let tries = seen.tries.entry((method.clone(), path.clone())).or_default();
        let request = RequestInfo { number, tries: *tries, operation, method, path };
        *tries += 1;
        let fault = schedule(&request);
        seen.log.push((request.clone(), fault));
        Ok((request, fault))
    }

    /// Sends a whole request and reads the whole reply.
    async fn forward(&self, request: &Message) -> io::Result<Message> {
        let mut server = Wire::new(TcpStream::connect(&self.server).await?);
        server.stream.write_all(&request.head).await?;
        server.stream.write_all(&request.body).await?;
        loop {
            let mut reply = server.read_reply_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if reply.is_interim() {
                continue;
            }
            let has_body = request.first.0 != "HEAD" && !matches!(reply.first.1.as_str(), "204" | "304");
            if has_body {
                server.read_body(&mut reply).await?;
            }
            return Ok(reply);
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut client = Wire::new(stream);
            if let Ok(End::Reset) | Err(_) = serve(&mut client, &shared).await {
                // What is still to be sent is thrown away, and the client is told so.
                let _ = client.stream.set_zero_linger();
            }
        });
    }
}

/// How a connection ends.
enum End {
    Closed,
    Reset,
}

/// Forwards the requests of one connection until it ends.
async fn serve(client: &mut Wire, shared: &Shared) -> io::Result<End> {
    while let Some(mut request) = client.read_request_head().await? {
        let (_, fault) = shared.next(&request)?;
        if fault == Fault::ResetEarly {
            return Ok(End::Reset);
        }
        if request.header("expect").is_some() {
            client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        client.read_body(&mut request).await?;
        match fault {
            Fault::ResetBefore => return Ok(End::Reset),
            Fault::Latency(latency) => tokio::time::sleep(latency).await,
            Fault::CorruptRequest => request.corrupt(),
            Fault::Twice => drop(shared.forward(&request).await?),
            Fault::Answer(answer) => {
                client.stream.write_all(&own(answer, &request)).await?;
                continue;
            }
            _ => {}
        }
        let mut reply = shared.forward(&request).await?;
        match fault {
            Fault::ResetAfter => return Ok(End::Reset),
            Fault::AnswerAfter(answer) => {
                client.stream.write_all(&own(answer, &request)).await?;
                continue;
            }
            Fault::CutReply => {
                let cut = if reply.body.is_empty() { reply.head.len() / 2 } else { reply.head.len() };
                client.stream.write_all(reply.head.get(..cut).unwrap_or_default()).await?;
                client.stream.write_all(reply.body.get(..reply.body.len() / 2).unwrap_or_default()).await?;
                client.stream.flush().await?;
                return Ok(End::Closed);
            }
            Fault::Drip { piece, pause } => {
                client.stream.write_all(&reply.head).await?;
                for piece in reply.body.chunks(piece.max(1)) {
                    tokio::time::sleep(pause).await;
                    client.stream.write_all(piece).await?;
                }
                continue;
            }
            Fault::Corrupt => reply.corrupt(),
            _ => {}
        }
        client.stream.write_all(&reply.head).await?;
        client.stream.write_all(&reply.body).await?;
        if reply.closes() {
            break;
        }
    }
    Ok(End::Closed)
}

/// A whole answer of the proxy's own.
fn own(answer: Answer, request: &Message) -> Vec<u8> {
    let Answer { status, code, retry_after } = answer;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>Please try again.</Message>\
         <RequestId>656C76696E6727732072</RequestId></Error>"
    );
    let retry_after = retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    let mut whole = format!(
        "HTTP/1.1 {status} \r\ncontent-type: application/xml\r\ncontent-length: {}\r\n{retry_after}\r\n",
        body.len()
    );
    if request.first.0 != "HEAD" {
        whole.push_str(&body);
    }
    whole.into_bytes()
}
