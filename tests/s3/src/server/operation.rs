//! [`Operation`]: what a request asks for.

use super::query::Query;
use http::{HeaderMap, Method, Uri};

/// The operations of S3, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "S3 documents them")]
pub enum Operation {
    HeadBucket,
    GetBucketLocation,
    ListObjectsV2,
    ListMultipartUploads,
    DeleteObjects,
    HeadObject,
    GetObject,
    PutObject,
    CopyObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    /// One that this server does not know.
    Other,
}

/// Parameters that ask for something else than the object or the bucket. None of them is known here.
const OTHERS: [&str; 14] = [
    "acl",
    "attributes",
    "cors",
    "lifecycle",
    "legal-hold",
    "policy",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "versionId",
    "versioning",
    "versions",
];

impl Operation {
    /// What this request asks for.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let query = Query::of(uri);
        if OTHERS.iter().any(|name| query.get(name).is_some()) {
            return Self::Other;
        }
        let names_object = uri.path().trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
        let has = |name| query.get(name).is_some();
        let copies = headers.contains_key("x-amz-copy-source");
        match (method.as_str(), names_object) {
            ("HEAD", false) => Self::HeadBucket,
            ("GET", false) if has("location") => Self::GetBucketLocation,
            ("GET", false) if has("uploads") => Self::ListMultipartUploads,
            ("GET", false) if query.get("list-type") == Some("2") => Self::ListObjectsV2,
            ("POST", false) if has("delete") => Self::DeleteObjects,
            ("HEAD", true) if !has("partNumber") => Self::HeadObject,
            ("GET", true) if has("uploadId") => Self::ListParts,
            ("GET", true) if !has("partNumber") => Self::GetObject,
            ("PUT", true) if has("uploadId") && copies => Self::UploadPartCopy,
            ("PUT", true) if has("uploadId") => Self::UploadPart,
            ("PUT", true) if copies => Self::CopyObject,
            ("PUT", true) => Self::PutObject,
            ("DELETE", true) if has("uploadId") => Self::AbortMultipartUpload,
            ("DELETE", true) => Self::DeleteObject,
            ("POST", true) if has("uploads") => Self::CreateMultipartUpload,
            ("POST", true) if has("uploadId") => Self::CompleteMultipartUpload,
            _ => Self::Other,
        }
    }
}
