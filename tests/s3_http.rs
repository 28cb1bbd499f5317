//! What the client for S3 makes of servers that answer wrongly, by halves, or not at all: of each answer a value or an
//! error of the right kind, and of the next request nothing but what was asked for.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice, reason = "a test")]

#[path = "bad_inputs/cases.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of bad inputs use all of it")]
mod cases;
#[path = "s3_http/replies.rs"]
mod replies;
#[path = "s3_http/streams.rs"]
mod streams;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use http::{HeaderMap, HeaderValue};
use posix_s3::engine::{self, ImportOptions, RunErrorKind, Silent};
use posix_s3::store::s3::{
    Addressing, Bucket, CallError, Credentials, HttpCalls, HttpError, Keys, Part, Payload, Region, RetryPolicy,
    S3Calls, S3Options, S3Store, Signer, Upload,
};
use posix_s3::store::{
    Capabilities, GetOptions, ListRequest, ObjectStore, Precondition, StoreError, StoreErrorKind as Kind,
};
use posix_s3::tree::MemoryTree;
use posix_s3::{ETag, Prefix, Profile};
use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// What a server does once a request is answered.
enum Next {
    Keep,
    Close,
}

/// A request, as far as it was read, and the connection that it came over.
struct Heard<'a> {
    /// How many requests came before, over whatever connection.
    before: usize,
    head: String,
    stream: &'a mut TcpStream,
}

impl Heard<'_> {
    /// Reads the body; answers its length.
    fn read_body(&mut self) -> u64 {
        let length = self.head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let length = length.trim().parse().unwrap();
        std::io::copy(&mut self.stream.take(length), &mut std::io::sink()).unwrap()
    }

    /// Says something. Whoever has heard enough may have gone.
    fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }
}

/// A server that says what it is told to.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new(answer: impl Fn(&mut Heard<'_>) -> Next + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server =
            Self { address: listener.local_addr().unwrap(), connections: Arc::default(), requests: Arc::default() };
        let (connections, requests) = (Arc::clone(&server.connections), Arc::clone(&server.requests));
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                thread::spawn(move || {
                    while let Some(head) = read_head(&mut stream) {
                        let before = requests.fetch_add(1, Ordering::SeqCst);
                        let mut heard = Heard { before, head, stream: &mut stream };
                        if let Next::Close = answer(&mut heard) {
                            // Not before all was read, so that it is no reset that is heard.
                            let _ = stream.shutdown(Shutdown::Write);
                            let _ = std::io::copy(&mut stream, &mut std::io::sink());
                            return;
                        }
                    }
                });
            }
        });
        server
    }

    /// One that reads requests, answers each alike, and closes the connection.
    fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |heard| {
            heard.read_body();
            heard.say(&answer);
            Next::Close
        })
    }

    /// One that answers each request with the next of these, the last of them again and again.
    fn saying_each(answers: &[String]) -> Self {
        let answers = answers.to_vec();
        Self::new(move |heard| {
            heard.read_body();
            heard.say(&answers[heard.before.min(answers.len() - 1)]);
            Next::Keep
        })
    }

    fn calls(&self) -> HttpCalls {
        let endpoint = format!("http://{}", self.address).parse().unwrap();
        let bucket = Bucket::new(&endpoint, "bucket", Addressing::Path).unwrap();
        let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None).unwrap();
        HttpCalls::new(bucket, Signer::new(&Region::default(), &Credentials::Keys(keys)))
    }

    fn store(&self, retries: RetryPolicy) -> S3Store<HttpCalls> {
        let options = S3Options::default().with_retries(retries);
        S3Store::with_capabilities(self.calls(), options, Capabilities::ALL)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Runs something on two executors: one of which knows of the sockets, and one that has to be woken by another thread.
fn on_both<T>(test: impl AsyncFn() -> T) -> [T; 2] {
    [futures_executor::block_on(test()), async_io::block_on(test())]
}

/// What comes of an answer, on either executor.
fn call<T: Debug>(
    answer: impl Into<Vec<u8>>,
    call: impl AsyncFn(&HttpCalls) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let server = Server::saying(answer);
    let [one, other] = on_both(async || call(&server.calls()).await);
    let told =
        |result: &Result<T, CallError>| result.as_ref().map(|value| format!("{value:?}")).map_err(CallError::kind);
    assert_eq!(told(&one), told(&other));
    one
}

async fn get(calls: &HttpCalls) -> Result<Option<Bytes>, CallError> {
    calls.get("a", None, None, 1 << 20).await.map(|fetched| fetched.body.into_whole())
}

async fn list(calls: &HttpCalls) -> Result<Vec<String>, CallError> {
    let page = calls.list(&ListRequest::default()).await?;
    Ok(page.objects.into_iter().map(|object| object.key).collect())
}

async fn put(calls: &HttpCalls) -> Result<ETag, CallError> {
    let body = Payload::new(Bytes::from_static(b"body"));
    calls.put("a", &body, &HeaderMap::new(), &Precondition::None).await.map(|output| output.etag)
}

const META: &str = "ETag: \"e\"\r\nLast-Modified: Wed, 01 Jul 2026 00:00:00 GMT\r\n";

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// An answer of an object with this body.
fn object(body: &str) -> String {
    answer("200 OK", META, body)
}

/// A listing with this inside.
fn listing(inside: &str) -> String {
    let body = format!("<ListBucketResult><EncodingType>url</EncodingType>{inside}</ListBucketResult>");
    answer("200 OK", "", &body)
}

fn listed(key: &str) -> String {
    let rest = "<Size>1</Size><ETag>\"e\"</ETag><LastModified>2026-07-01T00:00:00.000Z</LastModified>";
    format!("<Contents><Key>{key}</Key>{rest}</Contents>")
}

const LAST: &str = "<IsTruncated>false</IsTruncated>";

/// An error and everything behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn http_error(error: &CallError) -> &HttpError {
    error.source().unwrap().downcast_ref().unwrap_or_else(|| panic!("{}", chain(error)))
}

/// That there is no whole answer.
fn assert_broken<T: Debug>(result: Result<T, CallError>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), Kind::Transient, "{what}");
    assert!(matches!(http_error(&error), HttpError::Broken(_)), "{what}: {}", chain(&error));
}

/// That the answer cannot be read.
fn assert_corrupt<T: Debug>(result: Result<T, CallError>, message: &str) {
    let error = result.expect_err(message);
    assert_eq!((error.kind(), chain(&error)), (Kind::Corrupt, format!("the answer is damaged: {message}")));
}

/// At every quarter of something, but not at its end.
fn quarters(of: &str) -> impl Iterator<Item = &str> {
    let cuts = [0, of.len() / 4, of.len() / 2, of.len() * 3 / 4, of.len() - 1];
    cuts.into_iter().map(move |at| &of[..at])
}

// Bodies.

#[test]
fn an_answer_that_breaks_off() {
    let whole = object(&"x".repeat(1000));
    for cut in quarters(&whole) {
        assert_broken(call(cut, get), &format!("after {} bytes", cut.len()));
    }
    // In the body: the head is 100 bytes or so.
    for body in quarters(&"x".repeat(1000)) {
        let cut = &whole[..whole.len() - 1000 + body.len()];
        assert_broken(call(cut, get), &format!("after {} bytes of the body", body.len()));
    }
    assert_eq!(call(whole, get).unwrap().unwrap().len(), 1000);
}

#[test]
fn tar_rs_441_what_follows_a_body_is_not_the_next_answer() {
    let server = Server::new(|heard| {
        let is_first = heard.before % 2 == 0;
        heard.say(if is_first { format!("{}{}", object("first"), object("evil")) } else { object("next") });
        Next::Keep
    });
    on_both(async || {
        let calls = server.calls();
        assert_eq!(get(&calls).await.unwrap().unwrap(), "first");
        assert_eq!(get(&calls).await.unwrap().unwrap(), "next");
    });
    assert_eq!(server.connections(), 4);
}

#[test]
fn a_body_in_chunks() {
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{META}\r\n");
    let whole = "4\r\nbody\r\n6;x=y\r\n chunk\r\n0\r\nx-trailer: z\r\n\r\n";
    assert_eq!(call(format!("{head}{whole}"), get).unwrap().unwrap(), "body chunk");
    for cut in quarters(whole) {
        assert_broken(call(format!("{head}{cut}"), get), cut);
    }
    let error = call(format!("{head}zz\r\nbody\r\n0\r\n\r\n"), get).unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
}

#[test]
fn a_body_over_the_limit_is_not_waited_for() {
    let few = async |calls: &HttpCalls| calls.get("a", None, None, 100_000).await;
    // Announced.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{META}\r\n", 1_u64 << 40);
    let fetched = call(format!("{head}some"), few).unwrap();
    assert_eq!((fetched.meta.size, fetched.body.whole()), (1 << 40, None));
    // In chunks, without an end: the object's size is not known then.
    let server = Server::new(|heard| {
        heard.say(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{META}\r\n"));
        while heard.say(format!("4000\r\n{}\r\n", "x".repeat(0x4000))) {}
        Next::Close
    });
    on_both(async || assert_corrupt(few(&server.calls()).await, "expected Content-Length, found nothing"));
    // A document.
    let endless = Server::new(|heard| {
        heard.say("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult>");
        while heard.say("<Contents></Contents>".repeat(1000)) {}
        Next::Close
    });
    on_both(async || {
        let listed = list(&endless.calls()).await;
        assert_corrupt(listed, "expected an answer that is not too long, found nothing");
    });
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    // Whether all of an object has come nobody knows then.
    let fetched = call(format!("HTTP/1.1 200 OK\r\n{META}\r\nbody"), async |calls| calls.get("a", None, None, 9).await);
    assert_corrupt(fetched, "expected Content-Length, found nothing");
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{META}\r\n4\r\nbody\r\n0\r\n\r\n");
    let fetched = call(chunked, async |calls| calls.get("a", None, None, 9).await).unwrap();
    assert_eq!((fetched.meta.size, &*fetched.body.into_whole().unwrap()), (4, b"body".as_slice()));
    // Of a part it is known how long it is; a document says itself where it ends.
    let part =
        async |calls: &HttpCalls| calls.get("a", Some(0..4), None, 4).await.map(|fetched| fetched.body.into_whole());
    let ranged = |body: &str| format!("HTTP/1.1 206 OK\r\nContent-Range: bytes 0-3/9\r\n{META}\r\n{body}");
    assert_eq!(call(ranged("body"), part).unwrap().unwrap(), "body");
    let wrong = "expected the range that was asked for, found \"bytes 0-3/9\"";
    assert_corrupt(call(ranged("bod"), part), wrong);
    let whole = format!("<ListBucketResult>{LAST}{}</ListBucketResult>", listed("a"));
    assert_eq!(call(format!("HTTP/1.0 200 OK\r\n\r\n{whole}"), list).unwrap(), ["a"]);
    for cut in quarters(&whole) {
        let error = call(format!("HTTP/1.1 200 OK\r\n\r\n{cut}"), list).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{cut}");
    }
}

#[test]
fn a_large_body_is_in_memory_once_or_twice() {
    const SIZE: u64 = 64 << 20;
    let server = Server::new(|heard| {
        heard.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n{META}\r\n"));
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            heard.say(&piece);
        }
        Next::Close
    });
    let calls = server.calls();
    let measured = allocation_counter::measure(|| {
        let fetched = async_io::block_on(calls.get("a", None, None, SIZE)).unwrap();
        assert_eq!(fetched.body.into_whole().unwrap().len() as u64, SIZE);
    });
    assert!(measured.bytes_max < 2 * SIZE + (8 << 20), "{measured:?}");
}

// Heads.

#[test]
fn a28_a_flood_of_headers_is_bounded() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-amz-meta-a: b\r\n".repeat(10_000));
    let long = format!("HTTP/1.1 200 OK\r\nx-amz-meta-a: {}\r\n\r\n", "b".repeat(1 << 20));
    for flood in [many, long] {
        let error = call(flood, get).unwrap_err();
        assert_eq!(error.kind(), Kind::Transient);
        assert!(matches!(http_error(&error), HttpError::Answer(_)), "{}", chain(&error));
    }
    // Without an end.
    for piece in ["x-amz-meta-a: b\r\n", "b"] {
        let said = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&said);
        let server = Server::new(move |heard| {
            heard.say("HTTP/1.1 200 OK\r\nx-amz-meta-b: ");
            while heard.say(piece.repeat(4096)) {
                counted.fetch_add(4096 * piece.len(), Ordering::SeqCst);
            }
            Next::Close
        });
        let error = async_io::block_on(get(&server.calls())).unwrap_err();
        assert!(matches!(http_error(&error), HttpError::Answer(_)), "{}", chain(&error));
        // What was sent, and not read, waits in the kernel.
        assert!(said.load(Ordering::SeqCst) < 64 << 20);
    }
    let some = format!("{META}{}", (0..250).map(|at| format!("x-amz-meta-{at}: b\r\n")).collect::<String>());
    let head = call(answer("200 OK", &some, ""), async |calls| calls.head("a").await).unwrap();
    assert_eq!(head.headers.len(), 250);
}

/// A28, R33: a mebibyte of one header, and a hundred thousand headers.
#[test]
fn a_flood_of_headers_takes_little_memory() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-amz-meta-a: b\r\n".repeat(100_000));
    let long = format!("HTTP/1.1 200 OK\r\nx-amz-meta-a: {}\r\n\r\n", "b".repeat(1 << 20));
    for flood in [many, long] {
        let server = Server::saying(flood);
        let calls = server.calls();
        let measured = allocation_counter::measure(|| {
            let error = async_io::block_on(get(&calls)).unwrap_err();
            assert!(matches!(http_error(&error), HttpError::Answer(_)), "{}", chain(&error));
        });
        assert!(measured.bytes_max < 1 << 20, "{measured:?}");
    }
}

#[test]
fn what_is_no_http() {
    for garbage in [
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "\0\u{1}\u{2}",
    ] {
        let error = call(garbage, get).unwrap_err();
        assert_eq!(error.kind(), Kind::Transient, "{garbage}");
        let known = matches!(http_error(&error), HttpError::Answer(_) | HttpError::Broken(_));
        assert!(known, "{garbage}: {}", chain(&error));
    }
    assert_broken(call("", get), "nothing");
    for head in ["Content-Length: 4\r\nContent-Length: 5\r\n", "Content-Length: x\r\n", "Content-Length: -1\r\n"] {
        let error = call(format!("HTTP/1.1 200 OK\r\n{META}{head}\r\nbody"), get).unwrap_err();
        assert_eq!(error.kind(), Kind::Transient, "{head}");
    }
}

#[test]
fn interim_answers_are_not_the_answer() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nETag: \"other\"\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    assert_eq!(call(format!("{interim}{}", object("body")), get).unwrap().unwrap(), "body");
    let stored = answer("200 OK", "ETag: \"e\"\r\n", "");
    assert_eq!(call(format!("{interim}{stored}"), put).unwrap().as_str(), "\"e\"");
    // Nobody asked for another protocol.
    let error = call("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", get).unwrap_err();
    assert_eq!(error.kind(), Kind::Other);
}

#[test]
fn the_answer_to_a_head_has_no_body_whatever_it_announces() {
    let server = Server::saying_each(&[
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{META}\r\n"),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 300\r\n\r\n".into(),
        object("body"),
    ]);
    async_io::block_on(async {
        let calls = server.calls();
        assert_eq!(calls.head("a").await.unwrap().size, 1000);
        assert_eq!(calls.head("a").await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(get(&calls).await.unwrap().unwrap(), "body");
    });
    assert_eq!(server.connections(), 1);
    // Whoever sends it all the same is not listened to any longer.
    let server = Server::saying_each(&[object("evil"), object("body")]);
    futures_executor::block_on(async {
        let calls = server.calls();
        assert_eq!(calls.head("a").await.unwrap().size, 4);
        assert_eq!(get(&calls).await.unwrap().unwrap(), "body");
    });
    assert_eq!(server.connections(), 2);
}

#[test]
fn headers_are_kept_as_bytes() {
    let mut said = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{META}").into_bytes();
    said.extend(
        b"x-amz-meta-a: one\r\nX-AMZ-META-A: \xff\xfe\r\nx-amz-meta-b:\r\nx-amz-missing-meta: 3\r\nServer: x\r\n\r\n",
    );
    let head = call(said.clone(), async |calls| calls.head("a").await).unwrap();
    let fetched = call(said, async |calls| calls.get("a", None, None, 9).await).unwrap();
    for headers in [head.headers, fetched.meta.headers] {
        let values: Vec<_> = headers.get_all("x-amz-meta-a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [b"one".as_slice(), b"\xff\xfe"]);
        assert_eq!(headers["x-amz-meta-b"], "");
        assert_eq!(headers["x-amz-missing-meta"], "3");
        assert_eq!(headers.len(), 4);
    }
}

#[test]
fn an_object_has_a_version_a_time_and_a_size() {
    let (etag, time) = META.split_once("\r\n").unwrap();
    for (headers, message) in [
        (format!("{time}Content-Length: 0\r\n"), "expected an ETag, found nothing"),
        (format!("{etag}\r\nContent-Length: 0\r\n"), "expected Last-Modified, found nothing"),
        (format!("{META}Transfer-Encoding: chunked\r\n"), "expected Content-Length, found nothing"),
        (
            format!("{etag}\r\nContent-Length: 0\r\nLast-Modified: yesterday\r\n"),
            "expected a time of HTTP, found \"yesterday\"",
        ),
    ] {
        assert_corrupt(call(format!("HTTP/1.1 200 OK\r\n{headers}\r\n"), async |calls| calls.head("a").await), message);
    }
    assert_corrupt(call(answer("200 OK", "", ""), put), "expected an ETag, found nothing");
}

#[test]
fn arrow_609_another_part_than_the_one_asked_for() {
    let part =
        async |calls: &HttpCalls| calls.get("a", Some(2..6), None, 4).await.map(|fetched| fetched.body.into_whole());
    let ranged = |range: &str, body: &str| answer("206 Partial Content", &format!("{META}{range}"), body);
    let right = ranged("Content-Range: bytes 2-5/9\r\n", "body");
    assert_eq!(call(right, part).unwrap().unwrap(), "body");
    // Shorter, where the object ends.
    assert_eq!(call(ranged("Content-Range: bytes 2-3/4\r\n", "bo"), part).unwrap().unwrap(), "bo");
    for (range, body) in [
        ("bytes 0-3/9", "body"),
        ("bytes 2-5/9", "bod"),
        ("bytes 2-4/9", "bod"),
        ("bytes 2-6/9", "bodyb"),
        ("bytes 5-2/9", "body"),
        ("bytes 2-5", "body"),
        ("2-5/9", "body"),
    ] {
        let message = format!("expected the range that was asked for, found \"{range}\"");
        assert_corrupt(call(ranged(&format!("Content-Range: {range}\r\n"), body), part), &message);
    }
    for (range, message) in [
        ("Content-Range: bytes 2-5/*\r\n", "expected a size, found \"*\""),
        ("Content-Range: bytes 2-18446744073709551616/9\r\n", "expected a range, found \"18446744073709551616\""),
        ("", "expected Content-Range, found nothing"),
    ] {
        assert_corrupt(call(ranged(range, "body"), part), message);
    }
    // The whole object instead is never taken for a part of it, nor a part for the whole.
    assert_corrupt(call(object("body"), part), "expected a part of the object, found \"200\"");
    let message = "expected the range that was asked for, found \"bytes 0-3/9\"";
    assert_corrupt(call(ranged("Content-Range: bytes 0-3/9\r\n", "body"), get), message);
}

// Connections.

#[test]
fn a_connection_is_used_again() {
    let server = Server::saying_each(&[object("body")]);
    let both = on_both(async || {
        let calls = server.calls();
        for _ in 0..5 {
            assert_eq!(get(&calls).await.unwrap().unwrap(), "body");
        }
        let refused = list(&calls).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt);
        server.connections()
    });
    assert_eq!((both, server.requests()), ([1, 2], 12));
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_not_used() {
    for closing in ["", "Connection: close\r\n"] {
        let said = answer("200 OK", &format!("{META}{closing}"), "body");
        let server = Server::saying(said);
        let both = on_both(async || {
            let calls = server.calls();
            for _ in 0..3 {
                assert_eq!(get(&calls).await.unwrap().unwrap(), "body");
                // That it is closed has to arrive.
                async_io::Timer::after(Duration::from_millis(30)).await;
            }
            server.connections()
        });
        assert_eq!(both, [3, 6], "{closing}");
    }
}

#[test]
fn an_answer_may_come_before_the_request_is_sent() {
    let body = Payload::new(Bytes::from(vec![0; 16 << 20]));
    let large = async |calls: &HttpCalls| calls.put("a", &body, &HeaderMap::new(), &Precondition::None).await;
    let denied = answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>");
    // One that reads on, and one that does not.
    for reads in [true, false] {
        let denied = denied.clone();
        let server = Server::new(move |heard| {
            heard.say(&denied);
            if reads {
                heard.read_body();
            } else {
                thread::sleep(Duration::from_millis(300));
            }
            Next::Close
        });
        on_both(async || assert_eq!(large(&server.calls()).await.unwrap_err().kind(), Kind::Denied, "{reads}"));
    }
}

#[test]
fn a_request_that_is_dropped_takes_its_connection_along() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&closed);
    let server = Server::new(move |heard| {
        if heard.head.contains("/slow ") {
            heard.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n{META}\r\nhalf"));
            let ended = heard.stream.read(&mut [0; 1]);
            assert!(matches!(ended, Ok(0) | Err(_)));
            counted.fetch_add(1, Ordering::SeqCst);
            return Next::Close;
        }
        heard.say(object("body"));
        Next::Keep
    });
    on_both(async || {
        let calls = server.calls();
        get(&calls).await.unwrap();
        let (before, closed_before) = (server.requests(), closed.load(Ordering::SeqCst));
        {
            let mut slow = pin!(calls.get("slow", None, None, 1000));
            while server.requests() == before {
                let tick = pin!(async_io::Timer::after(Duration::from_millis(5)));
                let Either::Right(_) = select(slow.as_mut(), tick).await else { panic!("there is no whole answer") };
            }
        }
        let begun = Instant::now();
        while closed.load(Ordering::SeqCst) == closed_before {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is still open");
            async_io::Timer::after(Duration::from_millis(1)).await;
        }
        assert_eq!(get(&calls).await.unwrap().unwrap(), "body");
    });
    assert_eq!(server.connections(), 4);
}

#[test]
fn two_hundred_requests_at_once() {
    const MANY: usize = 200;
    let barrier = Barrier::new(MANY);
    let server = Server::new(move |heard| {
        let (_, rest) = heard.head.split_once("/bucket/").unwrap();
        let key = rest.split(' ').next().unwrap().to_owned();
        // None is answered before all are heard.
        barrier.wait();
        heard.say(object(&key));
        Next::Keep
    });
    on_both(async || {
        let calls = server.calls();
        for _ in 0..2 {
            let all = (0..MANY).map(|at| {
                let calls = &calls;
                async move {
                    let fetched = calls.get(&at.to_string(), None, None, 9).await.unwrap();
                    assert_eq!(fetched.body.into_whole().unwrap(), at.to_string());
                }
            });
            join_all(all).await;
        }
    });
    assert_eq!((server.requests(), server.connections()), (4 * MANY, 2 * MANY));
}

// What S3 says.

#[test]
fn of_each_status_a_kind() {
    for (status, code, kind) in [
        ("301 Moved Permanently", "PermanentRedirect", Kind::WrongRegion),
        ("307 Temporary Redirect", "TemporaryRedirect", Kind::WrongRegion),
        ("400 Bad Request", "InvalidArgument", Kind::InvalidRequest),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Kind::WrongRegion),
        ("400 Bad Request", "RequestTimeout", Kind::Transient),
        ("403 Forbidden", "AccessDenied", Kind::Denied),
        ("403 Forbidden", "SignatureDoesNotMatch", Kind::Denied),
        ("403 Forbidden", "InvalidObjectState", Kind::Archived),
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::Denied),
        ("404 Not Found", "NoSuchKey", Kind::NotFound),
        ("404 Not Found", "NoSuchBucket", Kind::NoSuchBucket),
        ("409 Conflict", "ConditionalRequestConflict", Kind::Transient),
        ("412 Precondition Failed", "PreconditionFailed", Kind::PreconditionFailed),
        ("416 Range Not Satisfiable", "InvalidRange", Kind::InvalidRequest),
        ("429 Too Many Requests", "", Kind::Throttled),
        ("500 Internal Server Error", "InternalError", Kind::Transient),
        ("501 Not Implemented", "NotImplemented", Kind::Unsupported),
        ("503 Service Unavailable", "SlowDown", Kind::Throttled),
    ] {
        let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><RequestId>7</RequestId></Error>");
        let said = answer(status, "Retry-After: 7\r\n", &body);
        // However few bytes of the object are wanted, what is said of it is heard.
        let small = async |calls: &HttpCalls| calls.get("a", Some(0..1), None, 1).await;
        for error in [call(&*said, small).unwrap_err(), call(&*said, put).unwrap_err(), call(&*said, list).unwrap_err()]
        {
            assert_eq!((error.kind(), error.retry_after()), (kind, Some(Duration::from_secs(7))), "{status} {code}");
            let answer = error.answer().unwrap();
            assert_eq!((answer.code(), answer.request_id()), (code, "7"));
            assert!(status.starts_with(&answer.status().to_string()));
        }
    }
    // The answer to a head has its status only.
    for (status, kind) in [
        ("301 x", Kind::WrongRegion),
        ("403 x", Kind::Denied),
        ("404 x", Kind::NotFound),
        ("412 x", Kind::PreconditionFailed),
        ("503 x", Kind::Throttled),
    ] {
        let said = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nx-amz-request-id: 7\r\n\r\n");
        let error = call(said, async |calls| calls.head("a").await).unwrap_err();
        assert_eq!((error.kind(), error.answer().unwrap().request_id()), (kind, "7"), "{status}");
    }
}

#[test]
fn an_error_page_has_its_status() {
    let page = "<!DOCTYPE html><html><head><meta charset=utf-8><title>No</title></head><body>&nbsp;<br></body></html>";
    for (status, kind) in
        [("403 Forbidden", Kind::Denied), ("502 Bad Gateway", Kind::Transient), ("503 Unavailable", Kind::Throttled)]
    {
        let said = answer(status, "Content-Type: text/html\r\n", page);
        assert_eq!(call(&*said, get).unwrap_err().kind(), kind);
        assert_eq!(call(&*said, list).unwrap_err().kind(), kind);
    }
}

#[test]
fn a_page_that_asks_to_log_in_does_nothing_that_was_asked() {
    let put_part = async |calls: &HttpCalls| {
        let body = Payload::new(Bytes::from_static(b"body"));
        calls.upload_part(Upload { key: "a", id: "u" }, 1, &body).await.map(|_| ())
    };
    for page in ["<!DOCTYPE html><html><body>Log in<br></body></html>", "<HTML/>", "OK", "{}"] {
        let said = answer("200 OK", META, page);
        let deleted = call(&*said, async |calls| calls.delete("a", None).await);
        let aborted = call(&*said, async |calls| calls.abort_upload(Upload { key: "a", id: "u" }).await);
        for result in
            [deleted, aborted, call(&*said, put).map(|_| ()), call(&*said, put_part), call(&*said, list).map(|_| ())]
        {
            assert_eq!(result.unwrap_err().kind(), Kind::Corrupt, "{page}");
        }
    }
    let said = answer("204 No Content", "", "");
    call(said.replace("Content-Length: 0\r\n", ""), async |calls| calls.delete("a", None).await).unwrap();
    call(answer("200 OK", META, "<PutObjectResult/>"), put).unwrap();
}

#[test]
fn minio_go_2305_an_error_in_an_answer_of_200() {
    let upload = Upload { key: "a", id: "u" };
    let part = Part { number: 1, etag: ETag::new("\"e\""), sha256: None };
    for (code, kind) in [
        ("InternalError", Kind::Transient),
        ("SlowDown", Kind::Throttled),
        ("AccessDenied", Kind::Denied),
        ("New", Kind::Other),
    ] {
        // Blanks keep the connection open until it is known.
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n   \n<Error><Code>{code}</Code></Error>");
        let said = answer("200 OK", META, &body);
        let etag = ETag::new("\"e\"");
        let results = [
            call(&*said, list).map(|_| ()),
            call(&*said, put).map(|_| ()),
            call(&*said, async |calls| calls.copy_onto_itself("a", &HeaderMap::new(), None).await.map(|_| ())),
            call(&*said, async |calls| calls.copy_part(upload, 1, 0..9, &etag).await.map(|_| ())),
            call(&*said, async |calls| {
                calls.complete_upload(upload, std::slice::from_ref(&part), &Precondition::None).await.map(|_| ())
            }),
            call(&*said, async |calls| calls.create_upload("a", &HeaderMap::new()).await.map(|_| ())),
            call(&*said, async |calls| calls.delete("a", None).await),
            call(&*said, async |calls| calls.delete_batch(&["a".into()]).await.map(|_| ())),
            call(&*said, async |calls| calls.list_uploads("", None).await.map(|_| ())),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.answer().unwrap().status()), (kind, 200), "{code}");
        }
    }
}

#[test]
fn a30_a_redirect_is_not_followed() {
    let other = Server::saying(object("body"));
    let location = format!("Location: http://{}/bucket/a\r\n", other.address);
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let region = format!("{location}x-amz-bucket-region: eu-west-1\r\n");
        let error = call(answer(status, &region, ""), get).unwrap_err();
        assert_eq!(error.kind(), if status.starts_with("302") { Kind::Other } else { Kind::WrongRegion });
        assert!(chain(&error).ends_with("(the bucket is in the region eu-west-1)"), "{}", chain(&error));
        let error = call(answer(status, &location, ""), get).unwrap_err();
        assert!(chain(&error).ends_with(&format!("(the answer points to http://{}/bucket/a)", other.address)));
    }
    let body =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>no</Message><Region>eu-west-1</Region></Error>";
    let error = call(answer("400 Bad Request", "", body), get).unwrap_err();
    let message = "the answer was 400 AuthorizationHeaderMalformed: no (the bucket is in the region eu-west-1)";
    assert_eq!((error.kind(), error.answer().unwrap().to_string()), (Kind::WrongRegion, message.into()));
    assert_eq!(other.connections(), 0);
}

#[test]
fn a26_a_listing_that_does_not_say_how_it_goes_on() {
    let page = |inside: &str| call(listing(&format!("{}{inside}", listed("a"))), list);
    assert_eq!(page(LAST).unwrap(), ["a"]);
    let token = "<NextContinuationToken>t</NextContinuationToken>";
    // A token on the last page is none.
    let last =
        call(listing(&format!("{LAST}{token}")), async |calls| calls.list(&ListRequest::default()).await).unwrap();
    assert_eq!(last.next, None);
    assert_corrupt(page("<IsTruncated>true</IsTruncated>"), "expected a NextContinuationToken, found nothing");
    let empty = "<IsTruncated>true</IsTruncated><NextContinuationToken/>";
    assert_corrupt(page(empty), "expected a NextContinuationToken, found nothing");
    assert_corrupt(page(""), "expected IsTruncated, found nothing");
    for unknown in ["", "True", "1", "maybe"] {
        let message = format!("expected `true` or `false`, found \"{unknown}\"");
        assert_corrupt(page(&format!("<IsTruncated>{unknown}</IsTruncated>{token}")), &message);
    }
}

/// A26, R4: pages without keys, each with a token of its own.
#[test]
fn pages_without_an_end_take_little_memory_and_stop_a_run() {
    let server = Server::new(|heard| {
        let token = format!("<NextContinuationToken>{}</NextContinuationToken>", heard.before);
        heard.say(listing(&format!("<IsTruncated>true</IsTruncated>{token}")));
        Next::Keep
    });
    let store = server.store(RetryPolicy::default());
    let measured = allocation_counter::measure(|| {
        let (prefix, profile) = (Prefix::default(), Profile::untrusted());
        let error = async_io::block_on(engine::audit(&store, &prefix, &profile, |_| ())).unwrap_err();
        assert!(matches!(error, RunErrorKind::Endless { .. }), "{}", chain(&error));
    });
    assert!(measured.bytes_max < 1 << 20, "{measured:?}");
    assert_eq!(server.requests(), 1001);
}

/// A25, B5: the listing says ten bytes, and the answer is five gigabytes that are sent for as long as anybody listens.
#[test]
fn a_link_of_five_gigabytes_is_not_read() {
    let said = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&said);
    let server = Server::new(move |heard| {
        if heard.head.contains("list-type=2") {
            heard.say(listing(&format!("{LAST}{}", listed("l"))));
            return Next::Keep;
        }
        let link = "x-amz-meta-file-permissions: 0120777\r\n";
        heard.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n{META}{link}\r\n"));
        while heard.say([b'x'; 4096]) {
            counted.fetch_add(4096, Ordering::SeqCst);
        }
        Next::Close
    });
    let (store, tree) = (server.store(RetryPolicy::default()), MemoryTree::new());
    let measured = allocation_counter::measure(|| {
        let options = ImportOptions::new(Profile::fsx());
        let report = async_io::block_on(engine::import(&store, &tree, &options, &Silent)).unwrap();
        assert_eq!((report.entries, report.failed), (1, 1), "{report:?}");
    });
    assert!(measured.bytes_max < 1 << 20, "{measured:?}");
    assert!(tree.entries().is_empty());
    // What was sent, and not read, waits in the kernel.
    assert!(said.load(Ordering::SeqCst) < 64 << 20);
}

#[test]
fn a02_a_listed_key_that_is_none() {
    for (key, message) in [
        ("%zz", "expected an encoded key, found \"%zz\""),
        ("%4", "expected an encoded key, found \"%4\""),
        ("a%", "expected an encoded key, found \"a%\""),
        ("&nbsp;", "expected a character reference, found \"nbsp\""),
    ] {
        assert_corrupt(call(listing(&format!("{}{LAST}", listed(key))), list), message);
    }
    let encoding = listing(LAST).replace(">url<", ">URL<").replace("Length: ", "Length: 0");
    assert_corrupt(call(encoding, list), "expected the encoding `url`, found \"URL\"");
    let mut raw =
        b"HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>\xff".to_vec();
    raw.extend(b"</Key></Contents></ListBucketResult>");
    assert_eq!(call(raw, list).unwrap_err().kind(), Kind::Corrupt);
    for (field, message) in [
        ("<Size>-1</Size>", "expected a size, found \"-1\""),
        ("<Size>18446744073709551616</Size>", "expected a size, found \"18446744073709551616\""),
        ("<LastModified>2026</LastModified>", "expected a time, found \"2026\""),
        ("<Key>a</Key>", "expected a Size, found nothing"),
    ] {
        assert_corrupt(call(listing(&format!("<Contents>{field}</Contents>{LAST}")), list), message);
    }
}

#[test]
fn a27_xml_that_is_made_to_hurt() {
    let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>";
    let inside = format!("<ListBucketResult>{LAST}{}</ListBucketResult>", listed("&b;"));
    assert_corrupt(
        call(answer("200 OK", "", &format!("{bomb}{inside}")), list),
        "expected a character reference, found \"b\"",
    );
    let deep = format!("<ListBucketResult>{}", "<a>".repeat(100_000));
    assert_corrupt(call(answer("200 OK", "", &deep), list), "expected elements up to 16 deep");
    let many = format!("<ListBucketResult {}>{LAST}</ListBucketResult>", "a=\"b\" ".repeat(1_000_000));
    let begun = Instant::now();
    assert_eq!(call(answer("200 OK", "", &many), list).unwrap(), [""; 0]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let twice = format!("<ListBucketResult>{LAST}</ListBucketResult>").repeat(2);
    assert_corrupt(call(answer("200 OK", "", &twice), list), "expected the end of the answer");
    let inner = format!("<Wrong><ListBucketResult>{LAST}</ListBucketResult></Wrong>");
    assert_corrupt(call(answer("200 OK", "", &inner), list), "expected ListBucketResult, found \"Wrong\"");
    assert_corrupt(call(answer("200 OK", "", ""), list), "expected ListBucketResult, found nothing");
    // What is unknown is passed over.
    let strange = format!(
        "\u{feff}<?xml version=\"1.0\"?><!-- x --><s:ListBucketResult xmlns:s=\"urn:x\"><New><Deep/></New>{LAST}{}</s:ListBucketResult>\n",
        listed("<![CDATA[a]]>&amp;&#98;")
    );
    assert_eq!(call(answer("200 OK", "", &strange), list).unwrap(), ["a&b"]);
}

#[test]
fn a_batch_is_answered_key_by_key() {
    let keys: [Box<str>; 2] = ["a".into(), "b".into()];
    let batch = async |calls: &HttpCalls| calls.delete_batch(&keys).await;
    let said = |inside: &str| answer("200 OK", "", &format!("<DeleteResult>{inside}</DeleteResult>"));
    let error = |key: &str, code: &str| format!("<Error><Key>{key}</Key><Code>{code}</Code></Error>");
    let answered = call(said(&error("b", "AccessDenied")), batch).unwrap();
    let kinds: Vec<_> = answered.iter().map(|one| one.as_ref().map_err(CallError::kind)).collect();
    assert_eq!(kinds, [Ok(&()), Err(Kind::Denied)]);
    assert!(call(said(&error("b", "NoSuchKey")), batch).unwrap().iter().all(Result::is_ok));
    // The key of the one that failed may have come back as another.
    assert_corrupt(call(said(&error("c", "AccessDenied")), batch), "expected a key of the request, found \"c\"");
    assert_corrupt(
        call(said("<Error><Code>InternalError</Code></Error>"), batch),
        "expected a key of the request, found \"\"",
    );
    let whole = said(&error("b", "AccessDenied"));
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    for cut in quarters(body) {
        assert_eq!(call(answer("200 OK", "", cut), batch).unwrap_err().kind(), Kind::Corrupt, "{head} {cut}");
    }
}

#[test]
fn an_upload_without_an_id_is_none() {
    let begun = answer("200 OK", "", "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>");
    let create = async |calls: &HttpCalls| calls.create_upload("a", &HeaderMap::new()).await;
    assert_corrupt(call(begun, create), "expected an UploadId, found nothing");
    let upload = "<Upload><Key>a</Key><UploadId/><Initiated>2026-07-01T00:00:00Z</Initiated></Upload>";
    let uploads = format!("<ListMultipartUploadsResult>{LAST}{upload}</ListMultipartUploadsResult>");
    let unfinished = async |calls: &HttpCalls| calls.list_uploads("", None).await;
    assert_corrupt(call(answer("200 OK", "", &uploads), unfinished), "expected an UploadId, found nothing");
}

#[test]
fn a_store_that_kept_something_else_is_not_believed() {
    let said = answer("200 OK", &format!("{META}x-amz-checksum-sha256: AAAA\r\n"), "");
    assert_corrupt(call(&*said, put), "expected the checksum that was sent, found \"AAAA\"");
    let body = Payload::new(Bytes::from_static(b"body"));
    let put_part = async |calls: &HttpCalls| calls.upload_part(Upload { key: "a", id: "u" }, 1, &body).await;
    assert_corrupt(call(&*said, put_part), "expected the checksum that was sent, found \"AAAA\"");
}

// The store above.

/// How often the store asks, and what comes of it.
fn tried<T, F>(
    answers: &[String],
    retries: RetryPolicy,
    op: impl Fn(S3Store<HttpCalls>) -> F,
) -> (Result<T, StoreError>, usize)
where
    F: Future<Output = Result<T, StoreError>>,
{
    let server = Server::saying_each(answers);
    let result = async_io::block_on(op(server.store(retries)));
    (result, server.requests())
}

async fn store_get(store: S3Store<HttpCalls>) -> Result<u64, StoreError> {
    store.get("a", &GetOptions::default()).await.map(|output| output.meta.size)
}

#[test]
fn what_may_go_well_is_tried_again_and_nothing_else() {
    let at_once = RetryPolicy::new(5, Duration::ZERO, Duration::ZERO);
    let busy = answer("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>");
    let broken = "HTTP/1.1 200 OK\r\n".repeat(70_000);
    let denied = answer("403 Forbidden", "", "");
    let damaged = answer("200 OK", "", "no object");
    let (result, requests) = tried(&[busy.clone(), broken.clone(), object("body")], at_once, store_get);
    assert_eq!((result.unwrap(), requests), (4, 3));
    for (answers, retries, kind, times) in [
        (&busy, RetryPolicy::NEVER, Kind::Throttled, 1),
        (&broken, RetryPolicy::NEVER, Kind::Transient, 1),
        (&damaged, RetryPolicy::NEVER, Kind::Corrupt, 1),
        (&busy, at_once, Kind::Throttled, 5),
        (&broken, at_once, Kind::Transient, 5),
        (&damaged, at_once, Kind::Corrupt, 3),
        (&denied, at_once, Kind::Denied, 1),
    ] {
        let (result, requests) = tried(std::slice::from_ref(answers), retries, store_get);
        assert_eq!((result.unwrap_err().kind(), requests), (kind, times), "{}", &answers[..20]);
    }
}

#[test]
fn a32_a_body_with_another_checksum_is_not_handed_out() {
    let said = answer("200 OK", &format!("{META}x-amz-checksum-sha256: {}=\r\n", "A".repeat(43)), "body");
    let (result, requests) = tried(&[said], RetryPolicy::NEVER, store_get);
    let error = result.unwrap_err();
    let message =
        "get of \"a\" failed: the answer is damaged: the SHA-256 of what was fetched is not that of what was put";
    assert_eq!((chain(&error), requests), (message.into(), 1));
}

#[test]
fn a_store_that_nobody_serves() {
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let endpoint = format!("http://{address}").parse().unwrap();
    let bucket = Bucket::new(&endpoint, "bucket", Addressing::Path).unwrap();
    let calls = HttpCalls::new(bucket, Signer::new(&Region::default(), &Credentials::Anonymous));
    on_both(async || assert_broken(calls.head("a").await, "nobody listens"));
}

// The rows of the threat model and the advisories that need a server; see `tests/threats`.

/// Keys that somebody between here and the server might take for others.
const AWKWARD: [&str; 14] = [
    "a/../b",
    "..",
    "a/%2e%2e/secret",
    "a/.%2E/s",
    "a//b/",
    "/a",
    "a?x=y#z",
    "a b+c",
    "a\\..\\b",
    "\u{e9}\u{ff0e}\u{ff0e}",
    "a\r\nx-evil: 1",
    "\u{1}\u{7f}",
    "%",
    "./.",
];

/// A key as it has to stand in a path: every byte that is not plain as `%XX`, in a loop that shares nothing with the crate.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    key.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The heads of the requests that something makes.
fn heads(call: impl AsyncFn(&HttpCalls, &str)) -> Vec<String> {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    let server = Server::new(move |heard| {
        heard.read_body();
        kept.lock().unwrap().push(heard.head.clone());
        heard.say(answer("200 OK", META, ""));
        Next::Keep
    });
    let calls = server.calls();
    for key in AWKWARD {
        async_io::block_on(call(&calls, key));
    }
    let heads = heard.lock().unwrap().clone();
    assert_eq!(heads.len(), AWKWARD.len());
    heads
}

#[test]
fn a03_a_key_arrives_at_the_server_byte_for_byte() {
    let gets = heads(async |calls, key| drop(calls.get(key, None, None, 9).await));
    for (key, head) in AWKWARD.iter().zip(gets) {
        assert_eq!(head.lines().next().unwrap(), format!("GET /bucket/{} HTTP/1.1", encoded(key)));
    }
}

#[test]
fn a24_no_name_adds_a_line_to_a_request() {
    let puts = heads(async |calls, key| {
        let body = Payload::new(Bytes::from_static(b"body"));
        drop(calls.put(key, &body, &HeaderMap::new(), &Precondition::None).await);
    });
    let lines: Vec<usize> = puts.iter().map(|head| head.split("\r\n").count()).collect();
    assert!(lines.iter().all(|count| *count == lines[0]), "{lines:?}");
    assert!(puts.iter().all(|head| !head.contains("\r\nx-evil")));
    for value in ["a\r\nb", "a\nb", "\u{1}", "\u{7f}"] {
        assert!(HeaderValue::from_str(value).is_err());
    }
}

#[test]
fn a33_an_answer_is_asked_for_as_it_is() {
    for head in heads(async |calls, key| drop(calls.get(key, None, None, 9).await)) {
        assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    }
    // And taken as it is, whatever it is labelled as.
    let body = "\u{1f}\u{8b}no gzip at all";
    let said = answer("200 OK", &format!("{META}Content-Encoding: gzip\r\n"), body);
    assert_eq!(call(said, get).unwrap().unwrap(), body);
}

#[test]
fn a02_a_key_that_was_encoded_once_is_decoded_once() {
    let more = ["%2E%2E%2Fx", "%252E%252E/x", "a+b", "a%2Bb", "\u{10ffff}", "&amp;", "<a>"];
    for key in AWKWARD.into_iter().chain(more) {
        let page = listing(&format!("{}{LAST}", listed(&encoded(key))));
        assert_eq!(call(page, list).unwrap(), [key]);
    }
}

#[test]
fn a32_of_a_body_every_bit_is_checked_that_a_checksum_was_offered_for() {
    const BODY: [u8; 64] = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let sum = checksum(&BODY).unwrap();
    let head = format!("{META}x-amz-checksum-sha256: {sum}\r\n");
    let bodies = (0..512_usize).map(|bit| {
        let mut body = BODY;
        body[bit / 8] ^= 1 << (bit % 8);
        body
    });
    let bodies: Vec<[u8; 64]> = bodies.collect();
    let server = Server::new(move |heard| {
        let mut said = format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n{head}\r\n").into_bytes();
        said.extend_from_slice(bodies.get(heard.before).unwrap_or(&BODY));
        heard.say(said);
        Next::Keep
    });
    let store = server.store(RetryPolicy::NEVER);
    for bit in 0..512 {
        let error = async_io::block_on(store_get(store.clone())).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "bit {bit}");
    }
    assert_eq!(async_io::block_on(store_get(store)).unwrap(), 64);
}

/// The checksum as the crate itself sends it with a put.
fn checksum(body: &[u8]) -> Option<String> {
    let heard = Arc::new(std::sync::Mutex::new(None));
    let kept = Arc::clone(&heard);
    let server = Server::new(move |heard| {
        heard.read_body();
        let line = heard.head.lines().find_map(|line| line.strip_prefix("x-amz-checksum-sha256: ").map(str::to_owned));
        *kept.lock().unwrap() = line;
        heard.say(answer("200 OK", META, ""));
        Next::Close
    });
    let payload = Payload::new(Bytes::copy_from_slice(body));
    async_io::block_on(server.calls().put("a", &payload, &HeaderMap::new(), &Precondition::None)).unwrap();
    heard.lock().unwrap().clone()
}

#[test]
fn a31_every_part_is_of_the_version_of_the_first() {
    // The object is swapped once its first part was read.
    let conditions = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&conditions);
    let size = 40_usize << 20;
    let server = Server::new(move |heard| {
        let field =
            |name: &str| heard.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        let range = field("range").unwrap();
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        kept.lock().unwrap().push((first, field("if-match")));
        if first > 0 {
            heard.say(answer("412 Precondition Failed", "", ""));
        } else {
            let range = format!("{META}Content-Range: bytes {first}-{last}/{size}\r\n");
            heard.say(answer("206 Partial Content", &range, &"x".repeat(last + 1)));
        }
        Next::Keep
    });
    let store = server.store(RetryPolicy::NEVER);
    let options = GetOptions { expected_size: Some(size as u64), ..GetOptions::default() };
    let read = async_io::block_on(async {
        let output = store.get("a", &options).await.unwrap();
        futures_util::TryStreamExt::try_collect::<Vec<Bytes>>(output.body).await
    });
    assert_eq!(read.unwrap_err().kind(), Kind::Transient);
    let conditions = conditions.lock().unwrap();
    assert!(conditions.len() > 1);
    for (first, condition) in conditions.iter() {
        assert_eq!(condition.as_deref(), (*first > 0).then_some("\"e\""), "from {first}");
    }
}

#[test]
fn a35_a_listing_that_is_cut_at_any_byte_is_no_shorter_listing() {
    let keys: String = ["a", "a/b", "d/", "e%20f"].map(listed).concat();
    let whole = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType>{LAST}{keys}</ListBucketResult>"
    );
    let cuts = (0..whole.len()).map(|cut| answer("200 OK", "", &whole[..cut])).chain([answer("200 OK", "", &whole)]);
    let server = Server::saying_each(&cuts.collect::<Vec<_>>());
    let calls = server.calls();
    for cut in 0..whole.len() {
        let error = async_io::block_on(list(&calls)).expect_err(&whole[..cut]);
        assert_eq!(error.kind(), Kind::Corrupt, "{cut}");
    }
    assert_eq!(async_io::block_on(list(&calls)).unwrap(), ["a", "a/b", "d/", "e f"]);
}

#[test]
fn ghsa_8mxv_9xhp_86h4_what_a_redirect_points_to_hears_nothing() {
    let heard = Server::saying(object("body"));
    let places = [format!("http://{}/bucket/a", heard.address), format!("//{}/bucket/a", heard.address)];
    for (place, status) in
        places.iter().flat_map(|place| ["301 x", "302 x", "303 x", "307 x", "308 x"].map(|status| (place, status)))
    {
        let said = answer(status, &format!("Location: {place}\r\n"), "");
        for result in [call(&*said, get).map(|_| ()), call(&*said, put).map(|_| ()), call(&*said, list).map(|_| ())] {
            assert!(result.is_err(), "{status}");
        }
    }
    assert_eq!(heard.connections(), 0);
}

/// How long a listing with this inside takes to be read, whatever comes of it.
fn time_to_read(inside: &str) -> Duration {
    let server = Server::saying(answer("200 OK", "", &format!("<ListBucketResult>{inside}")));
    let calls = server.calls();
    let begun = Instant::now();
    let _ = async_io::block_on(list(&calls));
    begun.elapsed()
}

/// That four times as much takes no more than about four times as long.
fn assert_linear(of: impl Fn(usize) -> String) {
    let (small, large) = (of(100_000), of(400_000));
    let small = (0..3).map(|_| time_to_read(&small)).min().unwrap();
    let large = (0..3).map(|_| time_to_read(&large)).min().unwrap();
    // Quadratic time would be sixteen times as long, and seconds.
    assert!(large < small * 12 + Duration::from_millis(500), "{small:?} and {large:?}");
}

#[test]
fn rustsec_2026_0194_names_that_are_repeated_cost_no_more_than_others() {
    assert_linear(|count| format!("<a {}/>{LAST}", "b=\"c\" ".repeat(count)));
    assert_linear(|count| format!("<a {}/>{LAST}", (0..count).map(|at| format!("a{at}=\"\" ")).collect::<String>()));
}

#[test]
fn rustsec_2026_0195_namespaces_and_open_elements_do_not_pile_up() {
    assert_linear(|count| {
        format!("<a {}/>{LAST}", (0..count).map(|at| format!("xmlns:n{at}=\"u\" ")).collect::<String>())
    });
    assert_linear(|count| "<a>".repeat(count));
    assert_linear(|count| format!("<!--{}", "-".repeat(count * 4)));
    assert_linear(|count| "&".repeat(count * 4));
}

#[test]
fn cve_2025_62518_two_lengths_that_differ_are_no_answer() {
    for lengths in [
        "Content-Length: 4\r\nContent-Length: 40\r\n",
        "Content-Length: 40\r\nContent-Length: 4\r\n",
        "Content-Length: 4, 40\r\n",
        "Content-Length: +4\r\n",
    ] {
        let said = format!("HTTP/1.1 200 OK\r\n{lengths}{META}\r\nbody{}", object("evil"));
        assert!(call(said, get).is_err(), "{lengths}");
    }
    // In chunks and with a length: the chunks count, and what is behind them is not the next answer.
    let said =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n{META}\r\n2\r\nbo\r\n0\r\n\r\n");
    if let Ok(body) = call(said, get) {
        assert_eq!(body.unwrap(), "bo");
    }
}
