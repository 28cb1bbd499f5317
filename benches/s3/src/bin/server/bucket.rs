//! Buckets, and what each request does to them.

use crate::Answered;
use crate::answer::{Answer, Pieces};
use crate::request::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};
use posix_s3_bench::text::{hex, http_time, listing_time, percent_decode, query_encode};
use quick_xml::escape::{escape, unescape};
use sha2::Sha256;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

/// What is larger is not hashed, unless everything is.
const HASHED: usize = 1 << 20;

/// Which bodies are hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hashing {
    Small,
    All,
}

/// Everything that is kept.
pub(crate) struct Server {
    buckets: RwLock<HashMap<String, Bucket>>,
    uploads: Mutex<BTreeMap<String, Upload>>,
    hashing: Hashing,
    /// Numbers that have been given out.
    numbers: AtomicU64,
    counts: Counts,
}

/// In the order of a listing.
type Bucket = BTreeMap<String, Arc<Object>>;

struct Object {
    pieces: Pieces,
    size: usize,
    etag: String,
    modified: SystemTime,
    /// The lines that a GET gives back as they are.
    headers: Vec<u8>,
    checksums: Vec<(String, Vec<u8>)>,
}

struct Upload {
    bucket: String,
    key: String,
    headers: Vec<u8>,
    parts: BTreeMap<u32, (Arc<Vec<u8>>, String)>,
}

/// How many requests of each kind there were.
#[derive(Default)]
struct Counts {
    put: AtomicU64,
    copy: AtomicU64,
    part: AtomicU64,
    get: AtomicU64,
    head: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    other: AtomicU64,
}

impl Counts {
    fn all(&self) -> [(&'static str, &AtomicU64); 8] {
        [
            ("put", &self.put),
            ("copy", &self.copy),
            ("part", &self.part),
            ("get", &self.get),
            ("head", &self.head),
            ("list", &self.list),
            ("delete", &self.delete),
            ("other", &self.other),
        ]
    }

    fn json(&self) -> String {
        let counts = self.all().map(|(name, count)| format!("\"{name}\": {}", count.load(Ordering::Relaxed)));
        format!("{{{}}}", counts.join(", "))
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Server {
    pub(crate) fn new(bucket: String, hashing: Hashing) -> Self {
        Self {
            buckets: RwLock::new(HashMap::from([(bucket, Bucket::new())])),
            uploads: Mutex::default(),
            hashing,
            numbers: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    pub(crate) fn answer(&self, request: &mut Request<'_>) -> Answer {
        let answered = match (request.bucket.as_str(), request.key.as_str()) {
            ("", _) => self.about_all(request),
            (_, "") => self.about_bucket(request),
            _ => self.about_object(request),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    // Invariant: nothing panics while it holds a lock, so a poisoned one is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Bucket>> {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn uploads(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn about_all(&self, request: &Request<'_>) -> Answered {
        if request.query("counts").is_some() {
            return Ok(Answer::json(self.counts.json()));
        }
        count(&self.counts.other);
        let mut inside = String::from("<Owner><ID>0</ID></Owner><Buckets>");
        for name in self.read().keys() {
            let created = listing_time(SystemTime::UNIX_EPOCH);
            push(
                &mut inside,
                format_args!("<Bucket><Name>{name}</Name><CreationDate>{created}</CreationDate></Bucket>"),
            );
        }
        inside.push_str("</Buckets>");
        Ok(Answer::xml("ListAllMyBucketsResult", &inside))
    }

    fn about_bucket(&self, request: &Request<'_>) -> Answered {
        let asks = |name| request.query(name).is_some();
        if request.method == "PUT" {
            count(&self.counts.other);
            self.write().entry(request.bucket.clone()).or_default();
            return Ok(Answer::new(200));
        }
        let buckets = self.read();
        let bucket = buckets.get(&request.bucket).ok_or_else(no_such_bucket)?;
        match request.method {
            "GET" if asks("location") => {
                count(&self.counts.other);
                Ok(Answer::xml("LocationConstraint", ""))
            }
            "GET" if asks("versioning") => {
                count(&self.counts.other);
                Ok(Answer::xml("VersioningConfiguration", ""))
            }
            "GET" if asks("uploads") => {
                // Whoever has both locks has taken that of the uploads first.
                drop(buckets);
                count(&self.counts.list);
                Ok(self.list_uploads(request))
            }
            "GET" => {
                count(&self.counts.list);
                list(bucket, request)
            }
            "HEAD" => {
                count(&self.counts.other);
                Ok(Answer::new(200))
            }
            "POST" if asks("delete") => {
                drop(buckets);
                count(&self.counts.delete);
                self.delete_many(request)
            }
            _ => request.not_implemented(),
        }
    }

    fn about_object(&self, request: &mut Request<'_>) -> Answered {
        let counts = &self.counts;
        let upload = request.query("uploadId");
        let (counter, answer): (_, fn(&Self, &mut Request<'_>) -> Answered) = match request.method {
            "PUT" if request.query("tagging").or(request.query("acl")).is_some() => {
                (&counts.other, |_, _| Ok(Answer::new(200)))
            }
            "PUT" if request.header("x-amz-copy-source").is_some() => (&counts.copy, Self::copy),
            "PUT" if upload.is_some() => (&counts.part, Self::put_part),
            "PUT" => (&counts.put, Self::put),
            "GET" if upload.is_some() => (&counts.list, Self::list_parts),
            "GET" if request.query("tagging").is_some() => {
                (&counts.other, |_, _| Ok(Answer::xml("Tagging", "<TagSet></TagSet>")))
            }
            "GET" => (&counts.get, Self::get),
            "HEAD" => (&counts.head, Self::get),
            "DELETE" if upload.is_some() => (&counts.other, Self::abort),
            "DELETE" => (&counts.delete, Self::delete),
            "POST" if request.query("uploads").is_some() => (&counts.other, Self::begin),
            "POST" if upload.is_some() => (&counts.other, Self::complete),
            _ => (&counts.other, |_, request| request.not_implemented()),
        };
        count(counter);
        answer(self, request)
    }

    // ---- Objects.

    fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, Answer> {
        let buckets = self.read();
        let objects = buckets.get(bucket).ok_or_else(no_such_bucket)?;
        objects.get(key).cloned().ok_or_else(|| Answer::error(404, "NoSuchKey"))
    }

    /// Puts an object in its place if the request's preconditions hold.
    fn insert(&self, request: &Request<'_>, object: Object) -> Result<(), Answer> {
        let mut buckets = self.write();
        let bucket = buckets.get_mut(&request.bucket).ok_or_else(no_such_bucket)?;
        request.allows(bucket.get(&request.key).map(|object| object.etag.as_str()))?;
        bucket.insert(request.key.clone(), Arc::new(object));
        Ok(())
    }

    fn get(&self, request: &mut Request<'_>) -> Answered {
        let object = self.object(&request.bucket, &request.key)?;
        request.allows(Some(&object.etag))?;
        let (status, range) = match request.range(object.size)? {
            Some(range) => (206, range),
            None => (200, 0..object.size),
        };
        let mut answer = Answer::part(status, Arc::clone(&object.pieces), range.clone());
        if status == 206 {
            let last = range.end - 1;
            answer = answer.with("content-range", format!("bytes {}-{last}/{}", range.start, object.size));
        }
        if request.header("x-amz-checksum-mode").is_some() && status == 200 {
            answer = object.checksums.iter().fold(answer, |answer, (name, value)| answer.with(name, value));
        }
        Ok(answer
            .with("accept-ranges", "bytes")
            .with("last-modified", http_time(object.modified))
            .with("etag", format!("\"{}\"", object.etag))
            .with_lines(&object.headers))
    }

    fn put(&self, request: &mut Request<'_>) -> Answered {
        let body = Arc::new(self.checked_body(request)?);
        let etag = self.etag(&body).unwrap_or_else(|| format!("{:032x}-1", self.number()));
        let checksums: Vec<_> = request.checksums().map(|(name, value)| (name, value.to_vec())).collect();
        let answer = Answer::new(200).with("etag", format!("\"{etag}\""));
        let answer = checksums.iter().fold(answer, |answer, (name, value)| answer.with(name, value));
        let headers = request.kept_headers();
        let (size, modified) = (body.len(), SystemTime::now());
        self.insert(request, Object { pieces: [body].into(), size, etag, modified, headers, checksums })?;
        Ok(answer)
    }

    fn copy(&self, request: &mut Request<'_>) -> Answered {
        if request.query("uploadId").is_some() {
            return request.not_implemented();
        }
        let source = request.header("x-amz-copy-source").and_then(percent_decode).unwrap_or_default();
        let (bucket, key) = source.trim_start_matches('/').split_once('/').unwrap_or_default();
        let object = self.object(bucket, key)?;
        let wanted = request.header("x-amz-copy-source-if-match");
        if wanted.is_some_and(|etag| etag.trim_matches('"') != object.etag) {
            return Err(Answer::error(412, "PreconditionFailed"));
        }
        let directive = request.header("x-amz-metadata-directive").unwrap_or("COPY");
        let headers = if directive.eq_ignore_ascii_case("REPLACE") {
            request.kept_headers()
        } else if (bucket, key) == (&request.bucket, &request.key) {
            return Err(Answer::error(400, "InvalidRequest"));
        } else {
            object.headers.clone()
        };
        let (etag, modified) = (object.etag.clone(), SystemTime::now());
        let checksums = object.checksums.clone();
        let pieces = Arc::clone(&object.pieces);
        self.insert(request, Object { pieces, size: object.size, etag: etag.clone(), modified, headers, checksums })?;
        let modified = listing_time(modified);
        let inside = format!("<LastModified>{modified}</LastModified><ETag>&quot;{etag}&quot;</ETag>");
        Ok(Answer::xml("CopyObjectResult", &inside))
    }

    fn delete(&self, request: &mut Request<'_>) -> Answered {
        let mut buckets = self.write();
        let bucket = buckets.get_mut(&request.bucket).ok_or_else(no_such_bucket)?;
        if let Some(object) = bucket.get(&request.key) {
            request.allows(Some(&object.etag))?;
        }
        bucket.remove(&request.key);
        Ok(Answer::new(204))
    }

    fn delete_many(&self, request: &Request<'_>) -> Answered {
        let malformed = || Answer::error(400, "MalformedXML");
        let text = std::str::from_utf8(&request.body).map_err(|_| malformed())?;
        let quiet = inside_of(text, "Quiet").next() == Some("true");
        let mut buckets = self.write();
        let bucket = buckets.get_mut(&request.bucket).ok_or_else(no_such_bucket)?;
        let mut inside = String::new();
        for key in inside_of(text, "Key") {
            bucket.remove(unescape(key).map_err(|_| malformed())?.as_ref());
            if !quiet {
                push(&mut inside, format_args!("<Deleted><Key>{key}</Key></Deleted>"));
            }
        }
        Ok(Answer::xml("DeleteResult", &inside))
    }

    // ---- Bodies.

    fn hashes(&self, body: &[u8]) -> bool {
        self.hashing == Hashing::All || body.len() <= HASHED
    }

    /// The MD5, if the body is hashed.
    fn etag(&self, body: &[u8]) -> Option<String> {
        self.hashes(body).then(|| hex(&Md5::digest(body)))
    }

    fn checked_body(&self, request: &mut Request<'_>) -> Result<Vec<u8>, Answer> {
        let body = std::mem::take(&mut request.body);
        if self.hashes(&body) {
            for (name, value) in request.checksums() {
                let right = match name.as_str() {
                    "x-amz-checksum-crc32" => BASE64.encode(crc32fast::hash(&body).to_be_bytes()),
                    "x-amz-checksum-sha256" => BASE64.encode(Sha256::digest(&body)),
                    _ => continue,
                };
                if right.as_bytes() != value {
                    return Err(Answer::error(400, "BadDigest"));
                }
            }
            let md5 = request.header("content-md5");
            if md5.is_some_and(|md5| md5 != BASE64.encode(Md5::digest(&body))) {
                return Err(Answer::error(400, "BadDigest"));
            }
        }
        Ok(body)
    }

    // ---- Uploads in parts.

    fn begin(&self, request: &mut Request<'_>) -> Answered {
        if !self.read().contains_key(&request.bucket) {
            return Err(no_such_bucket());
        }
        let id = format!("upload-{:016x}", self.number());
        let (bucket, key) = (request.bucket.clone(), request.key.clone());
        let inside = format!("<Bucket>{bucket}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>", escape(key.as_str()));
        let upload = Upload { bucket, key, headers: request.kept_headers(), parts: BTreeMap::new() };
        self.uploads().insert(id, upload);
        Ok(Answer::xml("InitiateMultipartUploadResult", &inside))
    }

    fn put_part(&self, request: &mut Request<'_>) -> Answered {
        let number = request.query("partNumber").and_then(|number| number.parse().ok());
        let number: u32 = number.ok_or_else(|| Answer::error(400, "InvalidArgument"))?;
        let body = self.checked_body(request)?;
        let etag = self.etag(&body).unwrap_or_else(|| format!("{:032x}", self.number()));
        let answer = Answer::new(200).with("etag", format!("\"{etag}\""));
        let answer = request.checksums().fold(answer, |answer, (name, value)| answer.with(&name, value));
        let mut uploads = self.uploads();
        upload_of(&mut uploads, request)?.parts.insert(number, (Arc::new(body), etag));
        Ok(answer)
    }

    fn complete(&self, request: &mut Request<'_>) -> Answered {
        let text = std::str::from_utf8(&request.body).map_err(|_| Answer::error(400, "MalformedXML"))?;
        let mut uploads = self.uploads();
        let upload = upload_of(&mut uploads, request)?;
        let (mut pieces, mut sums) = (Vec::new(), Md5::new());
        let mut last = 0;
        for part in inside_of(text, "Part") {
            let number =
                inside_of(part, "PartNumber").next().and_then(|number| number.trim().parse().ok()).unwrap_or(0);
            if number <= last {
                return Err(Answer::error(400, "InvalidPartOrder"));
            }
            last = number;
            let etag = inside_of(part, "ETag").next().and_then(|etag| unescape(etag).ok()).unwrap_or_default();
            match upload.parts.get(&number) {
                Some((body, right)) if etag.trim().trim_matches('"') == right => {
                    pieces.push(Arc::clone(body));
                    sums.update(u128::from_str_radix(right, 16).unwrap_or(0).to_be_bytes());
                }
                _ => return Err(Answer::error(400, "InvalidPart")),
            }
        }
        if pieces.is_empty() {
            return Err(Answer::error(400, "MalformedXML"));
        }
        let etag = format!("{}-{}", hex(&sums.finalize()), pieces.len());
        let size = pieces.iter().map(|piece| piece.len()).sum();
        let (headers, modified) = (upload.headers.clone(), SystemTime::now());
        let pieces = pieces.into();
        self.insert(request, Object { pieces, size, etag: etag.clone(), modified, headers, checksums: Vec::new() })?;
        uploads.remove(request.query("uploadId").unwrap_or_default());
        let (bucket, key) = (&request.bucket, escape(request.key.as_str()));
        let inside = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>&quot;{etag}&quot;</ETag>");
        Ok(Answer::xml("CompleteMultipartUploadResult", &inside))
    }

    fn abort(&self, request: &mut Request<'_>) -> Answered {
        let mut uploads = self.uploads();
        upload_of(&mut uploads, request)?;
        uploads.remove(request.query("uploadId").unwrap_or_default());
        Ok(Answer::new(204))
    }

    fn list_parts(&self, request: &mut Request<'_>) -> Answered {
        let mut uploads = self.uploads();
        let upload = upload_of(&mut uploads, request)?;
        let mut inside = String::from("<IsTruncated>false</IsTruncated>");
        for (number, (body, etag)) in &upload.parts {
            let size = body.len();
            push(
                &mut inside,
                format_args!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Part>"
                ),
            );
        }
        Ok(Answer::xml("ListPartsResult", &inside))
    }

    fn list_uploads(&self, request: &Request<'_>) -> Answer {
        let names = Names::of(request);
        let prefix = request.query("prefix").unwrap_or_default();
        let mut inside = format!("<Bucket>{}</Bucket><IsTruncated>false</IsTruncated>", request.bucket);
        let created = listing_time(SystemTime::now());
        for (id, upload) in self.uploads().iter() {
            if upload.bucket == request.bucket && upload.key.starts_with(prefix) {
                let key = names.write(&upload.key);
                push(
                    &mut inside,
                    format_args!(
                        "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{created}</Initiated></Upload>"
                    ),
                );
            }
        }
        Answer::xml("ListMultipartUploadsResult", &inside)
    }
}

fn no_such_bucket() -> Answer {
    Answer::error(404, "NoSuchBucket")
}

fn upload_of<'a>(uploads: &'a mut BTreeMap<String, Upload>, request: &Request<'_>) -> Result<&'a mut Upload, Answer> {
    let upload = uploads.get_mut(request.query("uploadId").unwrap_or_default());
    let upload = upload.filter(|upload| (&upload.bucket, &upload.key) == (&request.bucket, &request.key));
    upload.ok_or_else(|| Answer::error(404, "NoSuchUpload"))
}

/// The texts of all elements of a name, which hold none of that name.
fn inside_of<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_once(&open)?;
        let (inside, after) = from.split_once(&close)?;
        rest = after;
        Some(inside)
    })
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes everything");
}

// ---- Listings.

/// How a listing writes names.
#[derive(Clone, Copy)]
enum Names {
    Url,
    Xml,
}

impl Names {
    fn of(request: &Request<'_>) -> Self {
        if request.query("encoding-type") == Some("url") { Self::Url } else { Self::Xml }
    }

    fn write(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Url => posix_s3_bench::text::path_encode(name).into(),
            Self::Xml => escape(name),
        }
    }
}

/// Both versions: they differ in what the place to go on from is called.
fn list(bucket: &Bucket, request: &Request<'_>) -> Answered {
    let second = request.query("list-type") == Some("2");
    let names = Names::of(request);
    let prefix = request.query("prefix").unwrap_or_default();
    let delimiter = request.query("delimiter").filter(|delimiter| !delimiter.is_empty());
    if delimiter.is_some_and(|delimiter| delimiter != "/") {
        return request.not_implemented();
    }
    let most = request.query("max-keys").and_then(|most| most.parse().ok()).unwrap_or(1_000).min(1_000);
    let after = if second {
        request.query("continuation-token").and_then(percent_decode).or(request.query("start-after").map(str::to_owned))
    } else {
        request.query("marker").map(str::to_owned)
    };

    let from = match after {
        // What goes on behind a common prefix leaves out all that it stands for.
        Some(after) if delimiter.is_some() && after.ends_with('/') && after.len() > prefix.len() => {
            Bound::Included(behind(&after))
        }
        Some(after) if after.as_str() >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix.to_owned()),
    };
    let (mut contents, mut prefixes) = (String::new(), String::new());
    let (mut count, mut last, mut truncated) = (0, "", false);
    let mut objects = bucket.range((from, Bound::Unbounded));
    while let Some((key, object)) = objects.next() {
        let Some(rest) = key.strip_prefix(prefix) else { break };
        if count == most {
            truncated = true;
            break;
        }
        count += 1;
        if let Some(at) = delimiter.and_then(|_| rest.find('/')) {
            last = &key[..=prefix.len() + at];
            let common = names.write(last);
            push(&mut prefixes, format_args!("<CommonPrefixes><Prefix>{common}</Prefix></CommonPrefixes>"));
            objects = bucket.range(behind(last)..);
            continue;
        }
        last = key;
        let (key, etag, size) = (names.write(key), &object.etag, object.size);
        let modified = listing_time(object.modified);
        push(
            &mut contents,
            format_args!(
                "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;{etag}&quot;</ETag>\
                 <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            ),
        );
    }

    let mut inside = format!("<Name>{}</Name><Prefix>{}</Prefix>", request.bucket, names.write(prefix));
    push(&mut inside, format_args!("<MaxKeys>{most}</MaxKeys><IsTruncated>{truncated}</IsTruncated>"));
    if second {
        push(&mut inside, format_args!("<KeyCount>{count}</KeyCount>"));
    }
    if truncated && second {
        let token = query_encode(last);
        push(&mut inside, format_args!("<NextContinuationToken>{token}</NextContinuationToken>"));
    } else if truncated {
        push(&mut inside, format_args!("<NextMarker>{}</NextMarker>", names.write(last)));
    }
    if let Some(delimiter) = delimiter {
        push(&mut inside, format_args!("<Delimiter>{delimiter}</Delimiter>"));
    }
    if matches!(names, Names::Url) {
        inside.push_str("<EncodingType>url</EncodingType>");
    }
    Ok(Answer::xml("ListBucketResult", &(inside + &contents + &prefixes)))
}

/// The least text behind all that begin with this one, which ends with a slash.
fn behind(common: &str) -> String {
    format!("{}0", &common[..common.len() - 1])
}
