//! [`Bucket`]: what is held.

use super::checksum::{Algorithm, Checksum, Of};
use bytes::Bytes;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// The least that a part has to hold, unless it is the last.
pub const MIN_PART: usize = 5 << 20;

/// The objects and uploads of the bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<String, Object>,
    /// By key, then id; ids grow with time.
    pub(super) uploads: BTreeMap<(String, String), Upload>,
    begun: u64,
    latest: u64,
}

/// An object as it is held.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub body: Bytes,
    /// Without its quotes.
    pub etag: String,
    /// In seconds since 1970: S3 keeps no more.
    pub last_modified: u64,
    /// What a head answers besides: system headers, user metadata, encryption.
    pub headers: HeaderMap,
    /// `STANDARD` if nothing else was asked for.
    pub storage_class: String,
    /// What is kept to verify it by.
    pub checksum: Option<Checksum>,
}

impl Object {
    /// Whether it has to be restored before it can be read.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        matches!(self.storage_class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
    }
}

/// An upload in parts.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) initiated: u64,
    pub(super) headers: HeaderMap,
    pub(super) storage_class: String,
    pub(super) checksum: Option<(Algorithm, Of)>,
    pub(super) parts: BTreeMap<u16, Part>,
}

#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) last_modified: u64,
    pub(super) checksum: Option<Checksum>,
}

impl Bucket {
    /// The time, which never goes back.
    pub(super) fn now(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.latest = self.latest.max(now);
        self.latest
    }

    pub(super) fn insert(&mut self, key: &str, body: Bytes, headers: HeaderMap, md5: bool) {
        let object = Object {
            etag: if md5 { hex(&Md5::digest(&body)) } else { no_md5(&body) },
            checksum: None,
            last_modified: self.now(),
            body,
            headers,
            storage_class: "STANDARD".to_owned(),
        };
        self.objects.insert(key.to_owned(), object);
    }

    pub(super) fn next_upload(&mut self) -> String {
        self.begun += 1;
        // Ids of S3 are long, and of characters that need no encoding.
        format!("{:08}.{}", self.begun, hex(&Md5::digest(self.begun.to_le_bytes())))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What looks like an MD5 and is none, but differs when the bytes do.
pub(super) fn no_md5(body: &[u8]) -> String {
    let mut hash = Md5::new();
    hash.update(b"no MD5 of the body");
    hash.update(body);
    hex(&hash.finalize())
}
