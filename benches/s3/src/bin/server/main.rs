//! A bucket in memory, on loopback, as cheap as can be: what is measured against it is the client.
//!
//! ```sh
//! cargo run --release --bin server -- [--port PORT] [--bucket NAME] [--hash-all]
//! ```
//!
//! It says where it listens, and keeps everything until it is killed. A thread serves a connection; there is no TLS.
//!
//! It answers what clients of S3 ask while they copy: PUT, GET with ranges, HEAD, DELETE, listings of both versions,
//! copies with kept or replaced metadata, batch deletes, multipart uploads; `If-Match` and `If-None-Match`; user
//! metadata and content headers, as they came.
//!
//! It is no S3:
//!
//! - **Signatures are not checked.** Whoever reaches the port may do anything.
//! - Bodies above 1 MiB are not hashed, unless `--hash-all` is given. Their `ETag` is a fresh number in the form that a
//!   multipart upload has, which S3 gives to encrypted objects as well; their checksums are believed. The `ETag` of all
//!   others is their MD5, and CRC32 and SHA-256 are checked. Checksums of other kinds are always believed.
//! - There are no limits on keys, metadata and parts, no versions, no access control.
//!
//! `GET /?counts` says how many requests of each kind there were, as JSON.

mod answer;
mod bucket;
mod request;

use answer::Answer;
use bucket::{Hashing, Server};
use posix_s3_bench::wire::Wire;
use request::Request;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

const USAGE: &str = "usage: server [--port PORT] [--bucket NAME] [--hash-all]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let wrong = |what: &str| io::Error::other(format!("{what}; {USAGE}"));
    let (mut port, mut bucket, mut hashing) = (0, "bench".to_owned(), Hashing::Small);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| wrong(&format!("{argument} needs a value")));
        match argument.as_str() {
            "--port" => port = value()?.parse().map_err(|error| wrong(&format!("--port: {error}")))?,
            "--bucket" => bucket = value()?,
            "--hash-all" => hashing = Hashing::All,
            other => return Err(wrong(&format!("unexpected {other:?}"))),
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let server = Arc::new(Server::new(bucket, hashing));
    println!("http://{}", listener.local_addr()?);
    io::stdout().flush()?;
    for stream in listener.incoming() {
        let (stream, server) = (stream?, Arc::clone(&server));
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            if let Err(error) = serve(&server, stream) {
                // Clients that are done, or have lost patience, close as they like.
                if !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
                    eprintln!("server: {error}");
                }
            }
        })?;
    }
    Ok(())
}

/// Answers what comes over a connection until it ends.
fn serve(server: &Server, stream: TcpStream) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    let (mut head, mut out) = (Vec::new(), Vec::new());
    while wire.read_head(&mut head)? {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let (request, answer) = match Request::read(&head, &mut headers, &mut wire)? {
            Ok(mut request) => {
                let answer = server.answer(&mut request);
                (request.what_matters(), answer)
            }
            Err(refused) => (request::WhatMatters::REFUSED, refused),
        };
        answer.write(&mut wire, &mut out, request.body)?;
        if request.closes {
            break;
        }
    }
    Ok(())
}

/// The answer, or one that says what is wrong.
type Answered = Result<Answer, Answer>;
