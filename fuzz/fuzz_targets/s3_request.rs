//! Law: of any key, header, version and id there is a request for just that, or none: its path decodes to the key, its query
//! has the parameters that were meant and no others, its headers are the caller's and those of the request, and a batch
//! names the keys. It is signed, with every header, or refused because of one that is no text.
//!
//! Input, cut at bytes 0xFE, which no text has: the key, the `ETag`, the id of an upload, the prefix, the token, two digits
//! for the range, and headers as `headers` reads them.

#![no_main]

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request};
use libfuzzer_sys::fuzz_target;
use posix_s3::ETag;
use posix_s3::store::s3::{
    Addressing, Bucket, CallError, Credentials, Exchange, Keys, Part, Payload, Region, SignError, Signer,
    UnfinishedUpload, Upload,
};
use posix_s3::store::{ListRequest, Precondition, StoreErrorKind};
use posix_s3_fuzz::decoded;
use std::time::{Duration, UNIX_EPOCH};

/// What a request may be.
struct Meant<'a> {
    method: Method,
    /// `None` for one to the bucket.
    key: Option<&'a str>,
    query: Vec<(&'a str, String)>,
    headers: &'a HeaderMap,
}

fn signer() -> Signer {
    let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Some("token"));
    Signer::new(&Region::default(), &Credentials::Keys(keys.expect("keys")))
}

/// The request, once it is signed, if there is one.
fn check<T>(root: &str, exchange: Result<Exchange<T>, CallError>, meant: &Meant<'_>) -> Option<Request<Bytes>> {
    let mut exchange = match exchange {
        Ok(exchange) => exchange,
        Err(error) => {
            assert!(matches!(error.kind(), StoreErrorKind::InvalidRequest | StoreErrorKind::Unsupported), "{error:?}");
            return None;
        }
    };
    let own = exchange.request().headers().clone();
    let is_text = own.values().all(|value| std::str::from_utf8(value.as_bytes()).is_ok());
    match signer().sign(&mut exchange, UNIX_EPOCH + Duration::from_secs(1_595_002_920)) {
        Ok(()) => assert!(is_text),
        Err(SignError::Header(name)) => assert!(!is_text && own.contains_key(&name)),
        Err(error) => panic!("{error:?}"),
    }
    let request = exchange.into_parts().0;
    assert_eq!(request.method(), meant.method);

    let path = request.uri().path().strip_prefix(root).expect("the bucket");
    match meant.key {
        Some(key) => assert_eq!(decoded(path.strip_prefix('/').expect("a slash")).as_deref(), Some(key)),
        None => assert!(matches!(path, "" | "/"), "{path}"),
    }
    let query: Vec<(String, String)> = match request.uri().query() {
        None => Vec::new(),
        Some(query) => {
            let pair = |text: &str| {
                let (name, value) = text.split_once('=').expect("a value");
                (decoded(name).expect("a name"), decoded(value).expect("a value"))
            };
            query.split('&').map(pair).collect()
        }
    };
    let expected: Vec<_> = meant.query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert_eq!(query, expected);

    for (name, value) in &own {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
    }
    // A header of the request has one value, and stands for any of the caller's.
    for name in meant.headers.keys() {
        let found: Vec<_> = own.get_all(name).iter().collect();
        let given: Vec<_> = meant.headers.get_all(name).iter().collect();
        assert!(found == given || found.len() == 1 || name == "x-amz-checksum-sha256", "{name}");
    }
    const OWN: [&str; 12] = [
        "content-md5",
        "content-type",
        "if-match",
        "if-none-match",
        "range",
        "x-amz-checksum-algorithm",
        "x-amz-checksum-mode",
        "x-amz-checksum-sha256",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-range",
        "x-amz-metadata-directive",
    ];
    assert!(own.keys().all(|name| meant.headers.contains_key(name) || OWN.contains(&name.as_str())), "{own:?}");
    if let Some(signature) = request.headers().get(AUTHORIZATION) {
        let signature = signature.to_str().expect("a signature");
        let (_, signed) = signature.split_once("SignedHeaders=").expect("the names that are signed");
        let signed: Vec<&str> = signed.split_once(',').expect("a signature").0.split(';').collect();
        for name in
            request.headers().keys().filter(|name| !matches!(name.as_str(), "authorization" | "user-agent" | "accept"))
        {
            assert!(signed.contains(&name.as_str()), "{name}");
        }
    }
    Some(request)
}

/// The keys that a batch names.
fn named(body: &[u8]) -> Vec<String> {
    let body = std::str::from_utf8(body).expect("text");
    let parts = body.split("<Key>").skip(1);
    let unescaped = |text: &str| {
        let entities = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&apos;", "'"),
            ("&#9;", "\t"),
            ("&#10;", "\n"),
            ("&#13;", "\r"),
        ];
        let text = entities.into_iter().fold(text.to_owned(), |text, (entity, is)| text.replace(entity, is));
        text.replace("&amp;", "&")
    };
    parts.map(|part| unescaped(part.split_once("</Key>").expect("an end").0)).collect()
}

fuzz_target!(|input: &[u8]| {
    let mut fields = input.split(|&byte| byte == 0xfe);
    let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
    let (key, etag, id, prefix, token, digits) = (text(), text(), text(), text(), text(), text());
    let headers = posix_s3_fuzz::headers(fields.next().unwrap_or_default());
    let mut digits = digits.bytes().map(u64::from);
    let (start, length) = (digits.next().unwrap_or(0), digits.next().unwrap_or(1));
    let range = start..start + length;
    let (none, etag) = (HeaderMap::new(), ETag::new(&etag));
    let payload = Payload::new(Bytes::from_static(b"body"));
    let upload = Upload { key: &key, id: &id };
    let object = |method, query: &[(&'static str, &str)], headers| Meant {
        method,
        key: Some(&key),
        query: query.iter().map(|&(name, value)| (name, value.to_owned())).collect(),
        headers,
    };
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);

    for (addressing, root) in [(Addressing::Path, "/base/bucket"), (Addressing::VirtualHosted, "/base")] {
        let endpoint = "http://localhost:9000/base".parse().expect("an endpoint");
        let bucket = Bucket::new(&endpoint, "bucket", addressing).expect("a bucket");
        check(root, bucket.head(&key), &object(Method::HEAD, &[], &none));
        check(root, bucket.get(&key, None, Some(&etag), 9), &object(get.clone(), &[], &none));
        check(root, bucket.get(&key, Some(range.clone()), None, 9), &object(get.clone(), &[], &none));
        for precondition in [Precondition::None, Precondition::Absent, Precondition::Match(etag.clone())] {
            check(root, bucket.put(&key, &payload, &headers, &precondition), &object(put.clone(), &[], &headers));
        }
        check(root, bucket.copy_onto_itself(&key, &headers, Some(&etag)), &object(put.clone(), &[], &headers));
        check(root, bucket.delete(&key, Some(&etag)), &object(Method::DELETE, &[], &none));
        check(root, bucket.create_upload(&key, &headers), &object(post.clone(), &[("uploads", "")], &headers));
        let part = [("partNumber", "7"), ("uploadId", &*id)];
        check(root, bucket.upload_part(upload, 7, &payload), &object(put.clone(), &part, &none));
        check(root, bucket.copy_part(upload, 7, range.clone(), &etag), &object(put.clone(), &part, &none));
        let of_upload = [("uploadId", &*id)];
        let parts = [Part { number: 7, etag: etag.clone(), sha256: Some(token.clone().into()) }];
        let completed = bucket.complete_upload(upload, &parts, &Precondition::None);
        if let Some(request) = check(root, completed, &object(post.clone(), &of_upload, &none)) {
            let body = String::from_utf8_lossy(request.body()).into_owned();
            assert_eq!(body.matches("<Part>").count(), 1, "{body}");
        }
        check(root, bucket.abort_upload(upload), &object(Method::DELETE, &of_upload, &none));

        let to_bucket = |method, query: Vec<(&'static str, &str)>| Meant {
            method,
            key: None,
            query: query.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
            headers: &none,
        };
        let request = ListRequest { prefix: prefix.clone(), token: Some(token.clone()), max_keys: Some(5000) };
        let query = vec![
            ("continuation-token", &*token),
            ("encoding-type", "url"),
            ("list-type", "2"),
            ("max-keys", "1000"),
            ("prefix", &prefix),
        ];
        check(root, bucket.list(&request), &to_bucket(get.clone(), query));
        let after = UnfinishedUpload { key: key.clone(), id: id.clone(), initiated: posix_s3::Timestamp::EPOCH };
        let query = vec![
            ("encoding-type", "url"),
            ("key-marker", &*key),
            ("prefix", &prefix),
            ("upload-id-marker", &id),
            ("uploads", ""),
        ];
        check(root, bucket.list_uploads(&prefix, Some(&after)), &to_bucket(get.clone(), query));
        let keys: [Box<str>; 2] = [key.clone().into(), prefix.clone().into()];
        let batch = check(root, bucket.delete_batch(&keys), &to_bucket(post.clone(), vec![("delete", "")]));
        if let Some(request) = batch {
            assert_eq!(named(request.body()), [key.clone(), prefix.clone()]);
        }
    }
});
