//! [`S3Options`]: the choices of a store on S3.

use super::log::UploadLog;
use super::retry::RetryPolicy;
use http::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use std::sync::Arc;

/// The choices of a store on S3.
#[derive(Clone, Debug)]
pub struct S3Options {
    pub(super) part_size: u64,
    pub(super) memory: u64,
    pub(super) requests: u64,
    pub(super) copy_limit: u64,
    pub(super) retries: RetryPolicy,
    pub(super) headers: HeaderMap,
    pub(super) log: Option<Arc<dyn UploadLog>>,
    pub(super) probe_prefix: String,
    pub(super) writers: Writers,
}

/// Who puts large objects to the keys of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Writers {
    /// Others may do so as well, at the same time and to the same keys.
    #[default]
    Several,
    /// Nobody else does. When the answer to `CreateMultipartUpload` was lost and the request was made again, the upload that
    /// nobody was told of is found by its key and time, and aborted.
    One,
}

/// Parts are no smaller than this, in bytes: 8 MiB. Objects up to this size have the MD5 of their bytes as `ETag`.
const LEAST_PART: u64 = 8 << 20;
/// What S3 copies in one request, in bytes: 5 GiB. It is also the largest part.
const MOST_AT_ONCE: u64 = 5 << 30;

impl S3Options {
    /// Objects of up to `bytes` are put in one request, larger ones in parts of this size; those of up to four times as many are
    /// fetched in one, larger ones in such parts. 8 MiB, which is also the least, and 5 GiB at most: what lies outside is brought
    /// inside. S3 takes
    /// [10,000 parts](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html), so those of objects over 80 GiB are
    /// larger.
    #[must_use]
    pub fn with_part_size(mut self, bytes: u64) -> Self {
        self.part_size = bytes.clamp(LEAST_PART, MOST_AT_ONCE);
        self
    }

    /// How many bytes of bodies that are put, or fetched whole, are in memory at most, if no part is larger; 64 MiB. As many again
    /// of parts that are fetched before their turn, until whoever reads has dropped their bytes. A body that comes in pieces
    /// takes about half a MiB on top of it, however large it is.
    #[must_use]
    pub const fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How many requests are under way at most, 1 or more; 64. It is less as long as the store asks for fewer.
    ///
    /// What is fetched counts until it is whole, or until its head is there if it comes in pieces: whoever reads those takes as long
    /// as they like. Parts before their turn, no more than these for one object, are begun only while there is a place free.
    #[must_use]
    pub const fn with_requests(mut self, requests: u16) -> Self {
        self.requests = if requests == 0 { 1 } else { requests as u64 };
        self
    }

    /// The metadata of objects of up to `bytes` is replaced by one copy, that of larger ones by a copy in parts; 5 GiB,
    /// which is also the most that S3 takes.
    #[must_use]
    pub fn with_copy_limit(mut self, bytes: u64) -> Self {
        self.copy_limit = bytes.clamp(LEAST_PART, MOST_AT_ONCE);
        self
    }

    /// How requests that failed are made again.
    #[must_use]
    pub const fn with_retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// The storage class of all that is put, files, links and directories, such as `STANDARD_IA`; `STANDARD` by default, as S3
    /// has it. Replacing metadata leaves that of an object as it is.
    ///
    /// Of an archive class (`GLACIER`, `DEEP_ARCHIVE`) neither a link could be imported nor an attribute be changed in place; a
    /// rule of the bucket's lifecycle for large objects serves better.
    ///
    /// # Errors
    /// When it is no text for a header.
    pub fn with_storage_class(mut self, class: &str) -> Result<Self, InvalidHeaderValue> {
        self.headers.insert(STORAGE_CLASS, HeaderValue::from_str(class)?);
        Ok(self)
    }

    /// How the store encrypts what is put: `AES256`, or `aws:kms` with the id, ARN or alias of a key, or with that of the account;
    /// as the bucket says by default. Replacing metadata leaves that of an object as it is. Keys of the customer's own (SSE-C)
    /// are not supported. See [AWS](https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html).
    ///
    /// # Errors
    /// When it is no text for a header.
    pub fn with_encryption(mut self, algorithm: &str, kms_key_id: Option<&str>) -> Result<Self, InvalidHeaderValue> {
        self.headers.insert(ENCRYPTION, HeaderValue::from_str(algorithm)?);
        if let Some(id) = kms_key_id {
            self.headers.insert(ENCRYPTION_KEY, HeaderValue::from_str(id)?);
        }
        Ok(self)
    }

    /// Where multipart uploads are noted down, so that one that a crash has left behind is found again and aborted.
    #[must_use]
    pub fn with_upload_log(mut self, log: Arc<dyn UploadLog>) -> Self {
        self.log = Some(log);
        self
    }

    /// Whether others put large objects to the same keys; `Several` by default.
    #[must_use]
    pub const fn with_writers(mut self, writers: Writers) -> Self {
        self.writers = writers;
        self
    }

    /// Below which prefix [`connect`](super::S3Store::connect) puts the five objects `.posix-s3-probe-…/…` by which it finds out
    /// what the store can do; the root of the bucket by default. They are deleted again, unless the process is stopped. It
    /// takes the rights to list, get, put and delete there.
    #[must_use]
    pub fn with_probe_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.probe_prefix);
        self
    }
}

pub(super) const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");
pub(super) const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
pub(super) const ENCRYPTION_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");

impl Default for S3Options {
    fn default() -> Self {
        Self {
            part_size: LEAST_PART,
            memory: 64 << 20,
            requests: 64,
            copy_limit: MOST_AT_ONCE,
            retries: RetryPolicy::default(),
            headers: HeaderMap::new(),
            log: None,
            probe_prefix: String::new(),
            writers: Writers::default(),
        }
    }
}
