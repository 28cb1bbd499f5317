//! [`Raw`]: requests as bytes on a socket, signed here. The target is sent as it is given, and nothing is normalised.

use posix_s3_s3_tests::door::Place;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::macros::format_description;

/// A server, and who asks.
pub(crate) struct Raw {
    place: Place,
    authority: String,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Answer {
    /// The code of an error of S3.
    pub(crate) fn code(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        code.map_or_else(
            || body.chars().take(60).filter(|character| !character.is_control()).collect(),
            |(code, _)| code.to_owned(),
        )
    }
}

impl Raw {
    pub(crate) fn new(place: &Place) -> Self {
        let authority = place.endpoint.strip_prefix("http://").expect("no TLS here").trim_end_matches('/').to_owned();
        Self { place: place.clone(), authority }
    }

    pub(crate) fn put(&self, key: &[u8], headers: &[(String, String)], body: &str) -> Answer {
        self.request("PUT", key, headers, body.as_bytes())
    }

    pub(crate) fn head(&self, key: &[u8]) -> Answer {
        self.request("HEAD", key, &[], b"")
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Answer {
        self.request("DELETE", key, &[], b"")
    }

    fn request(&self, method: &str, key: &[u8], headers: &[(String, String)], body: &[u8]) -> Answer {
        let mut target = format!("/{}/", self.place.bucket);
        for byte in key {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    target.push(char::from(*byte))
                }
                _ => write!(target, "%{byte:02X}").unwrap(),
            }
        }
        let now = OffsetDateTime::from(SystemTime::now());
        let stamp = now.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap();
        let checksum = hex(&Sha256::digest(body));
        let mut sent: Vec<(String, String)> = vec![
            ("host".to_owned(), self.authority.clone()),
            ("x-amz-content-sha256".to_owned(), checksum.clone()),
            ("x-amz-date".to_owned(), stamp.clone()),
        ];
        sent.extend(headers.iter().cloned());
        let authorization = self.sign(method, &target, &sent, &checksum, &stamp);

        let mut wire = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &sent {
            wire.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        wire.extend(
            format!("authorization: {authorization}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
                .into_bytes(),
        );
        wire.extend(body);
        let mut stream = TcpStream::connect(&self.authority).expect("the server is there");
        stream.write_all(&wire).unwrap();
        let mut answer = Vec::new();
        // A server that refuses the head may reset the rest.
        let _ = stream.read_to_end(&mut answer);
        parse(&answer)
    }

    fn sign(&self, method: &str, target: &str, headers: &[(String, String)], checksum: &str, stamp: &str) -> String {
        let mut canonical: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| {
                (name.to_lowercase(), value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
            })
            .collect();
        canonical.sort();
        let names = canonical.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let lines: String =
            canonical.iter().fold(String::new(), |lines, (name, value)| lines + name + ":" + value + "\n");
        let request = format!("{method}\n{target}\n\n{lines}\n{names}\n{checksum}");
        let day = &stamp[..8];
        let scope = format!("{day}/{}/s3/aws4_request", self.place.region);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
        let mut key = format!("AWS4{}", self.place.secret_key).into_bytes();
        for part in [day, &self.place.region, "s3", "aws4_request", &text] {
            key = hmac(&key, part.as_bytes());
        }
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.place.access_key,
            hex(&key)
        )
    }
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let mut lines = answer[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let status =
        lines.next().and_then(|line| std::str::from_utf8(line.split(|byte| *byte == b' ').nth(1)?).ok()?.parse().ok());
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    });
    // No answer at all is one of its own.
    Answer {
        status: status.unwrap_or(0),
        headers: headers.collect(),
        body: answer.get(end + 4..).unwrap_or_default().to_vec(),
    }
}
