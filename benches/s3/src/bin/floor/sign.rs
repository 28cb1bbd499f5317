//! Signature version 4, with the body in it.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use hmac::{Hmac, Mac};
use posix_s3_bench::text::{hex, signing_time};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::ops::Range;
use std::time::SystemTime;

/// What signs the requests of one run, which is not to go on past midnight.
pub(crate) struct Signer {
    access_key: String,
    /// `20200717/us-east-1/s3/aws4_request`
    scope: String,
    keyed: Hmac<Sha256>,
}

/// A request that is to be signed.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// Encoded.
    pub(crate) path: &'a str,
    /// Encoded, in the order of the names.
    pub(crate) query: &'a str,
    /// In the order of the names, which come after `x-amz-date`.
    pub(crate) headers: &'a [(&'a str, String)],
    pub(crate) body: &'a [u8],
    /// Goes along without being signed.
    pub(crate) range: Option<&'a Range<u64>>,
}

impl Signer {
    pub(crate) fn new(access_key: String, secret: &str, region: &str) -> Self {
        let now = signing_time(SystemTime::now());
        let day = &now[..8];
        let step = |key: Hmac<Sha256>, text: &str| keyed(&key.chain_update(text).finalize().into_bytes());
        let key = step(keyed(format!("AWS4{secret}").as_bytes()), day);
        let keyed = step(step(step(key, region), "s3"), "aws4_request");
        Self { access_key, scope: format!("{day}/{region}/s3/aws4_request"), keyed }
    }

    /// Appends the head of the request, with its signature.
    pub(crate) fn sign(&self, request: &Unsigned<'_>, out: &mut Vec<u8>) {
        let time = signing_time(SystemTime::now());
        let Unsigned { method, host, path, query, headers, body, range } = request;
        let digest = hex(&Sha256::digest(body));
        let mut lines = format!("host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{time}\n");
        let mut names = "host;x-amz-content-sha256;x-amz-date".to_owned();
        for (name, value) in *headers {
            for part in [name, ":", value, "\n"] {
                lines.push_str(part);
            }
            names.push(';');
            names.push_str(name);
        }
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
        let canonical = hex(&Sha256::digest(canonical));
        let signed = self.keyed.clone();
        let signed = signed.chain_update(format!("AWS4-HMAC-SHA256\n{time}\n{}\n{canonical}", self.scope));
        let signature = hex(&signed.finalize().into_bytes());

        let mark = if query.is_empty() { "" } else { "?" };
        let mut push = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a Vec takes everything");
        push(format_args!("{method} {path}{mark}{query} HTTP/1.1\r\nhost: {host}\r\n"));
        push(format_args!("x-amz-content-sha256: {digest}\r\nx-amz-date: {time}\r\n"));
        for (name, value) in *headers {
            push(format_args!("{name}: {value}\r\n"));
        }
        if matches!(*method, "PUT" | "POST") {
            push(format_args!("content-length: {}\r\n", body.len()));
        }
        if let Some(range) = range {
            push(format_args!("range: bytes={}-{}\r\n", range.start, range.end - 1));
        }
        let (access_key, scope) = (&self.access_key, &self.scope);
        push(format_args!("authorization: AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "));
        push(format_args!("SignedHeaders={names}, Signature={signature}\r\n\r\n"));
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length will do")
}
