//! [`Server`]: an exact S3 in memory, in process, on a loopback port.
//!
//! Signatures are checked by `s3s`; everything behind that is here, so that headers, listings and errors are those of S3,
//! byte for byte where a client could tell. What servers that only resemble S3 lack can be taken away: [`Lack`].

mod bucket;
mod checksum;
mod operation;
mod query;
mod refusal;
mod route;
mod xml;

pub use bucket::{MIN_PART, Object};
pub use checksum::{Algorithm, Checksum};
pub use operation::Operation;
pub use refusal::Refusal;

use bucket::Bucket;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use route::Route;
use s3s::S3;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The one bucket that there is.
pub const BUCKET: &str = "a-bucket";
/// Where it is.
pub const REGION: &str = "eu-central-1";
/// Who may use it.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// By which it is known that it is them.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Something that S3 does and that a server may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lack {
    /// `If-Match` and `If-None-Match` of changes are ignored.
    Preconditions,
    /// A change with a precondition is answered with 501.
    PreconditionsRefused,
    /// `If-Match` of `DeleteObject` is ignored.
    DeletePreconditions,
    /// `x-amz-copy-source-if-match` is ignored.
    CopyPreconditions,
    /// Preconditions of `CompleteMultipartUpload` are ignored.
    CompletePreconditions,
    /// `CopyObject` is answered with 501.
    Copy,
    /// `x-amz-metadata-directive: REPLACE` is ignored; the answer is 200 all the same.
    Replace,
    /// A copy onto itself leaves Last-Modified as it was.
    LastModified,
    /// Checksums are neither verified, kept nor answered, nor is that of the body that was signed.
    Checksums,
    /// `encoding-type` is ignored.
    UrlEncoding,
    /// The ETag is no MD5, although it looks like one.
    Md5ETags,
    /// Listings come in no order.
    Order,
    /// User metadata may be as large as it likes.
    MetadataLimit,
    /// `Range` is ignored; the answer is the whole object.
    Ranges,
    /// `DeleteObjects` is answered with 501.
    BatchDelete,
    /// Multipart uploads are answered with 501.
    Multipart,
}

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// How many requests of one kind were made, and how many ran side by side at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// By operation; one that was never asked for is not there. Those that were refused count.
    pub made: BTreeMap<Operation, u64>,
    /// The most that were under way at the same time.
    pub peak: usize,
    running: usize,
}

impl Requests {
    /// How many of this operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.made.get(&operation).copied().unwrap_or(0)
    }

    /// How many at all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.made.values().sum()
    }
}

/// What the server and its connections have in common.
#[derive(Debug, Default)]
struct Shared {
    bucket: Mutex<Bucket>,
    requests: Mutex<Requests>,
    settings: Mutex<Settings>,
}

#[derive(Debug, Default)]
struct Settings {
    lacks: BTreeSet<Lack>,
    latency: Duration,
    /// What is to be refused, and how often.
    refusals: Vec<(Operation, Refusal, usize)>,
    /// The keys that nobody may delete.
    kept: BTreeSet<String>,
}

impl Shared {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().expect("no request panics")
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().expect("no request panics")
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().expect("no request panics")
    }

    /// The refusal that was ordered for this operation.
    fn refusal(&self, operation: Operation) -> Option<Refusal> {
        let mut settings = self.settings();
        let (_, refusal, times) = settings.refusals.iter_mut().find(|(of, _, times)| *of == operation && *times > 0)?;
        *times -= 1;
        Some(refusal.clone())
    }
}

/// One request under way.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>, operation: Operation) -> Self {
        let mut requests = shared.requests();
        *requests.made.entry(operation).or_default() += 1;
        requests.running += 1;
        requests.peak = requests.peak.max(requests.running);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.requests().running -= 1;
    }
}

/// Every request is answered by the route before it comes here.
struct Unreached;

impl S3 for Unreached {}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Starts a server with an empty bucket, on a port of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::lacking([])
    }

    /// Starts one that lacks this.
    #[must_use]
    pub fn lacking(lacks: impl IntoIterator<Item = Lack>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be had");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("it can wait");
        let shared = Arc::new(Shared::default());
        shared.settings().lacks.extend(lacks);
        let accepting = accept(listener, Arc::clone(&shared));
        runtime.spawn(accepting);
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as clients are told.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces what it lacks, from the next request on.
    pub fn set_lacks(&self, lacks: impl IntoIterator<Item = Lack>) {
        self.shared.settings().lacks = lacks.into_iter().collect();
    }

    /// Lets every request wait this long before anything is done.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.settings().latency = latency;
    }

    /// Refuses the next so many requests of this operation, which then do nothing. A refusal of status 200 is one in the
    /// body, as long requests have them.
    pub fn refuse_next(&self, operation: Operation, times: usize, refusal: Refusal) {
        self.shared.settings().refusals.push((operation, refusal, times));
    }

    /// Denies every delete of this key, from the next request on.
    pub fn deny_delete(&self, key: &str) {
        self.shared.settings().kept.insert(key.to_owned());
    }

    /// The requests until now.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.shared.requests().clone()
    }

    /// Counts from zero again.
    pub fn reset_requests(&self) {
        let mut requests = self.shared.requests();
        *requests = Requests { running: requests.running, peak: requests.running, ..Requests::default() };
    }

    /// The keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.bucket().objects.keys().cloned().collect()
    }

    /// An object as it is held.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Object> {
        self.shared.bucket().objects.get(key).cloned()
    }

    /// Every object, in order of the keys.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.shared.bucket().objects.clone()
    }

    /// Puts an object past the protocol: nothing of it is checked, so that any header that HTTP can carry is possible.
    pub fn insert(&self, key: &str, body: impl Into<Bytes>, headers: HeaderMap) {
        let md5 = !self.shared.settings().lacks.contains(&Lack::Md5ETags);
        self.shared.bucket().insert(key, body.into(), headers, md5);
    }

    /// Answers the object with one more header from now on, also a second one of its name. Says whether there is such an
    /// object.
    pub fn append_header(&self, key: &str, name: HeaderName, value: HeaderValue) -> bool {
        let mut bucket = self.shared.bucket();
        bucket.objects.get_mut(key).map(|object| object.headers.append(name, value)).is_some()
    }

    /// Flips a bit of the body and leaves ETag and checksum as they are. Says whether there is such an object.
    pub fn damage(&self, key: &str, at: usize) -> bool {
        let mut bucket = self.shared.bucket();
        let Some(object) = bucket.objects.get_mut(key) else { return false };
        let mut body = object.body.to_vec();
        let Some(byte) = body.get_mut(at) else { return false };
        *byte ^= 1;
        object.body = body.into();
        true
    }

    /// Takes an object away.
    pub fn remove(&self, key: &str) -> bool {
        self.shared.bucket().objects.remove(key).is_some()
    }

    /// Moves an object to the archive, from where it cannot be read. Says whether there is such an object.
    pub fn archive(&self, key: &str) -> bool {
        let mut bucket = self.shared.bucket();
        bucket.objects.get_mut(key).map(|object| object.storage_class = "GLACIER".to_owned()).is_some()
    }

    /// Keys and ids of the uploads that were neither completed nor aborted.
    #[must_use]
    pub fn uploads(&self) -> Vec<(String, String)> {
        self.shared.bucket().uploads.keys().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that is dropped waits, which is not allowed in the tasks of another one.
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    let mut builder = S3ServiceBuilder::new(Unreached);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    builder.set_route(Route::new(Arc::clone(&shared)));
    let service = builder.build();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        let serve = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (service, shared) = (service.clone(), Arc::clone(&shared));
            async move {
                let operation = Operation::of(request.method(), request.uri(), request.headers());
                let running = Running::new(&shared, operation);
                let latency = shared.settings().latency;
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                let answer = match service.call(request.map(s3s::Body::from)).await {
                    Ok(answer) => answer,
                    Err(_) => Refusal::new(500, "InternalError", "We encountered an internal error.").into_answer(),
                };
                drop(running);
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = hyper::server::conn::http1::Builder::new();
        connection.timer(TokioTimer::new()).max_headers(500);
        tokio::spawn(async move {
            // A client that goes away is no fault of the server.
            let _ = connection.serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}
