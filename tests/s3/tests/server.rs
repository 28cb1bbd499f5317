//! The server is what S3 is, as far as a client that is not of the crate can tell.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective,
    ObjectIdentifier, ServerSideEncryption, StorageClass,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use posix_s3_s3_tests::client::{client, config};
use posix_s3_s3_tests::server::{
    ACCESS_KEY, Algorithm, BUCKET, Lack, MIN_PART, Operation, REGION, Refusal, SECRET_KEY, Server,
};
use std::time::Duration;

/// Keys that some client or server folds, trims or decodes.
const HOSTILE: [&str; 19] = [
    "dir",
    "dir/",
    "dir/x",
    "a//b",
    "a/./b",
    "a/../b",
    "..",
    "/lead",
    " sp ",
    "a b+c%d",
    "e\u{301}",
    "ctl\u{1}x",
    "nl\nx",
    "cr\r\nx",
    "del\u{7f}",
    "k?q=1#f",
    "a\\b",
    "q'\"<&>",
    "*~|",
];

fn started() -> (Server, Client) {
    lacking([])
}

fn lacking(lacks: impl IntoIterator<Item = Lack>) -> (Server, Client) {
    let server = Server::lacking(lacks);
    let client = client(&server.endpoint());
    (server, client)
}

/// Status and code of a refusal.
fn refused<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String) {
    let error = result.expect_err("it is refused");
    let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
    (status, error.code().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn put(client: &Client, key: &str, body: &'static str) -> String {
    let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(body.as_bytes()));
    put.send().await.unwrap().e_tag.unwrap()
}

fn copy_source(key: &str) -> String {
    format!("{BUCKET}/{}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

/// Decodes what `encoding-type=url` encodes.
fn decoded(shown: &str) -> String {
    percent_decode_str(&shown.replace('+', " ")).decode_utf8().unwrap().into_owned()
}

async fn listed(client: &Client) -> Vec<String> {
    let page = client.list_objects_v2().bucket(BUCKET).encoding_type(EncodingType::Url).send().await.unwrap();
    page.contents().iter().map(|object| decoded(object.key().unwrap())).collect()
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let (server, _) = started();
    let wrong =
        |access, secret: &str, region| Client::from_conf(config(&server.endpoint(), region, access, secret).build());
    let with_secret = wrong(ACCESS_KEY, &SECRET_KEY.to_lowercase(), REGION);
    for key in ["a", "a/../b", "\u{e9} +/"] {
        let put = with_secret.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await;
        assert_eq!(refused(put), is(403, "SignatureDoesNotMatch"));
        let list = with_secret.list_objects_v2().bucket(BUCKET).prefix(key).send().await;
        assert_eq!(refused(list), is(403, "SignatureDoesNotMatch"));
    }
    let stranger = wrong("somebody", SECRET_KEY, REGION).list_objects_v2().bucket(BUCKET).send().await;
    assert_eq!(refused(stranger).0, 403);
    let elsewhere = wrong(ACCESS_KEY, SECRET_KEY, "us-east-1").list_objects_v2().bucket(BUCKET).send().await;
    assert_eq!(refused(elsewhere), is(400, "AuthorizationHeaderMalformed"));
    assert!(server.keys().is_empty());
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told() {
    let (_server, client) = started();
    let get = client.get_object().bucket("another").key("a").send().await;
    assert_eq!(refused(get), is(404, "NoSuchBucket"));
    assert_eq!(refused(client.head_bucket().bucket("another").send().await).0, 404);
    client.head_bucket().bucket(BUCKET).send().await.unwrap();
}

#[tokio::test]
async fn hostile_keys_survive_every_request() {
    let (server, client) = started();
    for (number, key) in HOSTILE.into_iter().enumerate() {
        let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(key.as_bytes().to_vec()));
        put.metadata("number", number.to_string()).metadata("step", "put").send().await.unwrap();
        let head = client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["step"], "put", "{key:?}");
        let copy = client.copy_object().bucket(BUCKET).key(key).copy_source(copy_source(key));
        let copy = copy.copy_source_if_match(head.e_tag().unwrap()).metadata_directive(MetadataDirective::Replace);
        copy.metadata("number", number.to_string()).metadata("step", "copy").send().await.unwrap();
    }
    for (number, key) in HOSTILE.into_iter().enumerate() {
        let got = client.get_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(got.metadata().unwrap()["number"], number.to_string(), "{key:?}");
        assert_eq!(got.metadata().unwrap()["step"], "copy", "{key:?}");
        assert_eq!(got.body.collect().await.unwrap().to_vec(), key.as_bytes(), "{key:?}");
    }
    let mut sorted = HOSTILE.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(server.keys(), sorted);
    assert_eq!(listed(&client).await, sorted);
    for key in HOSTILE {
        client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
        sorted.retain(|left| left != key);
        assert_eq!(server.keys(), sorted);
    }
}

#[tokio::test]
async fn several_are_deleted_at_once() {
    let (server, client) = started();
    // What XML 1.0 cannot say is what a client has to delete one by one.
    let keys = HOSTILE.into_iter().filter(|key| !key.contains(['\u{1}', '\u{7f}', '\r']));
    let keys: Vec<&str> = keys.collect();
    for key in &keys {
        put(&client, key, "x").await;
    }
    put(&client, "left", "x").await;
    let objects = keys.iter().chain(&["missing"]).map(|key| ObjectIdentifier::builder().key(*key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.collect())).build().unwrap();
    let deleted = client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(deleted.deleted().len(), keys.len() + 1);
    assert!(deleted.errors().is_empty());
    assert_eq!(server.keys(), ["left"]);
    let wrong = ObjectIdentifier::builder().key("left").e_tag("\"0\"").build().unwrap();
    let delete = Delete::builder().objects(wrong).quiet(true).build().unwrap();
    let deleted = client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(deleted.errors()[0].code(), Some("PreconditionFailed"));
    assert_eq!(server.keys(), ["left"]);
}

#[tokio::test]
async fn listings_come_in_order_and_in_pages() {
    let (server, client) = started();
    let mut keys: Vec<String> = (0..1005).map(|number| format!("p{number}")).collect();
    keys.extend(["p/".into(), "p0/".into(), "p0-".into(), "q".into(), "\u{10000}".into(), "\u{ffff}".into()]);
    for key in &keys {
        server.insert(key, "x", HeaderMap::new());
    }
    keys.sort();
    let of_p: Vec<String> = keys.iter().filter(|key| key.starts_with('p')).cloned().collect();
    let list = || client.list_objects_v2().bucket(BUCKET).encoding_type(EncodingType::Url).prefix("p");
    let first = list().send().await.unwrap();
    assert_eq!((first.key_count(), first.is_truncated()), (Some(1000), Some(true)));
    let token = first.next_continuation_token().unwrap();
    for _ in 0..2 {
        let last = list().continuation_token(token).start_after("p9").send().await.unwrap();
        assert_eq!((last.key_count(), last.is_truncated()), (Some(8), Some(false)));
        assert!(last.next_continuation_token().is_none());
        let shown = first.contents().iter().chain(last.contents()).map(|object| decoded(object.key().unwrap()));
        assert_eq!(shown.collect::<Vec<_>>(), of_p);
    }
    let after = list().start_after("p998").max_keys(2).send().await.unwrap();
    let shown: Vec<_> = after.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!((shown, after.is_truncated()), (vec!["p999"], Some(false)));
    assert_eq!(list().max_keys(0).send().await.unwrap().key_count(), Some(0));
    assert_eq!(list().max_keys(5000).send().await.unwrap().key_count(), Some(1000));
    let wrong = list().continuation_token(token.to_lowercase()).send().await;
    assert_eq!(refused(wrong), is(400, "InvalidArgument"));
    assert_eq!(refused(list().max_keys(-1).send().await), is(400, "InvalidArgument"));
}

#[tokio::test]
async fn puts_keep_their_preconditions() {
    let (server, client) = started();
    let put_if = |key: &str| client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"new"));
    assert_eq!(refused(put_if("a").if_match("\"0\"").send().await), is(404, "NoSuchKey"));
    put_if("a").if_none_match("*").send().await.unwrap();
    assert_eq!(refused(put_if("a").if_none_match("*").send().await), is(412, "PreconditionFailed"));
    assert_eq!(refused(put_if("a").if_match("\"0\"").send().await), is(412, "PreconditionFailed"));
    let etag = put(&client, "a", "old").await;
    let put = put_if("a").if_match(&etag).send().await.unwrap();
    assert_ne!(put.e_tag(), Some(etag.as_str()));
    assert_eq!(refused(put_if("a").if_none_match("\"0\"").send().await), is(501, "NotImplemented"));

    let delete = |key: &str| client.delete_object().bucket(BUCKET).key(key);
    assert_eq!(refused(delete("a").if_match(&etag).send().await), is(412, "PreconditionFailed"));
    assert_eq!(refused(delete("b").if_match(&etag).send().await), is(404, "NoSuchKey"));
    assert_eq!(server.keys(), ["a"]);
    delete("a").if_match(put.e_tag().unwrap()).send().await.unwrap();
    delete("a").send().await.unwrap();
    assert!(server.keys().is_empty());
}

#[tokio::test]
async fn one_of_several_that_create_a_key_wins() {
    let (_server, client) = started();
    for round in 0..10 {
        let put = |_| {
            let put = client.put_object().bucket(BUCKET).key(format!("race-{round}")).if_none_match("*");
            put.body(ByteStream::from_static(b"x")).send()
        };
        let results = futures_util::future::join_all((0..8).map(put)).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    }
}

#[tokio::test]
async fn gets_answer_ranges_and_versions() {
    let (_server, client) = started();
    let etag = put(&client, "a", "0123456789").await;
    put(&client, "empty", "").await;
    let get = |key: &str, range: &str| client.get_object().bucket(BUCKET).key(key).range(range).send();
    for (range, expected, shown) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let got = get("a", range).await.unwrap();
        assert_eq!((got.content_range(), got.e_tag()), (Some(shown), Some(etag.as_str())));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), expected.as_bytes());
    }
    for (key, range) in [("a", "bytes=10-"), ("a", "bytes=10-12"), ("a", "bytes=-0"), ("empty", "bytes=0-0")] {
        assert_eq!(refused(get(key, range).await), is(416, "InvalidRange"));
    }
    for ignored in ["bytes=5-2", "bytes=", "lines=0-1"] {
        let got = get("a", ignored).await.unwrap();
        assert_eq!((got.content_range(), got.content_length()), (None, Some(10)));
    }
    let get = || client.get_object().bucket(BUCKET).key("a");
    assert_eq!(refused(get().if_match("\"0\"").send().await), is(412, "PreconditionFailed"));
    get().if_match(&etag).send().await.unwrap();
    assert_eq!(refused(get().if_none_match(&etag).send().await).0, 304);
    assert_eq!(refused(client.get_object().bucket(BUCKET).key("b").send().await), is(404, "NoSuchKey"));
    assert_eq!(refused(client.head_object().bucket(BUCKET).key("b").send().await).0, 404);
    let head = client.head_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!((head.content_length(), head.content_type()), (Some(10), Some("application/octet-stream")));
    assert_eq!(head.e_tag(), Some("\"781e5e245d69b566979b86e28d23f2c7\""));
    assert_eq!(head.last_modified().unwrap().subsec_nanos(), 0);
}

#[tokio::test]
async fn headers_are_kept() {
    let (server, client) = started();
    let put = client.put_object().bucket(BUCKET).key("a").body(ByteStream::from_static(b"x"));
    let put = put.content_type("text/plain; charset=utf-8").content_encoding("gzip").cache_control("no-cache");
    let put = put.content_disposition("inline").content_language("de").storage_class(StorageClass::StandardIa);
    let put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id("key");
    let put = put.metadata("empty", "").metadata("file-owner", "500").send().await.unwrap();
    assert_eq!(put.server_side_encryption(), Some(&ServerSideEncryption::AwsKms));
    let head = client.head_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!(head.content_type(), Some("text/plain; charset=utf-8"));
    assert_eq!(head.content_encoding(), Some("gzip"));
    assert_eq!(head.cache_control(), Some("no-cache"));
    assert_eq!(head.content_disposition(), Some("inline"));
    assert_eq!(head.content_language(), Some("de"));
    assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(head.ssekms_key_id(), Some("key"));
    assert_eq!(head.metadata().unwrap().len(), 2);
    assert_eq!(head.metadata().unwrap()["empty"], "");
    assert_ne!(head.e_tag(), Some("\"9dd4e461268c8034f5c8564e155c67a6\""), "encrypted by a key it is no MD5");

    // All of a copy is what the copy says.
    let copy = client.copy_object().bucket(BUCKET).key("a").copy_source(copy_source("a"));
    copy.metadata_directive(MetadataDirective::Replace).send().await.unwrap();
    let head = client.head_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!((head.content_type(), head.content_encoding()), (Some("binary/octet-stream"), None));
    assert_eq!((head.storage_class(), head.metadata().map_or(0, |metadata| metadata.len())), (None, 0));
    assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::Aes256));
    assert_eq!(head.e_tag(), Some("\"9dd4e461268c8034f5c8564e155c67a6\""));
    assert_eq!(server.object("a").unwrap().storage_class, "STANDARD");

    let wrong = client.put_object().bucket(BUCKET).key("a").storage_class(StorageClass::from("COLD"));
    assert_eq!(refused(wrong.send().await), is(400, "InvalidStorageClass"));
}

#[tokio::test]
async fn user_metadata_has_a_limit() {
    let (server, client) = started();
    let put = |size| client.put_object().bucket(BUCKET).key("a").metadata("n", "v".repeat(size)).send();
    put(2047).await.unwrap();
    assert_eq!(refused(put(2048).await), is(400, "MetadataTooLarge"));
    server.set_lacks([Lack::MetadataLimit]);
    put(2048).await.unwrap();
}

#[tokio::test]
async fn headers_past_the_protocol_are_answered_as_they_are() {
    let (server, client) = started();
    server.insert("a", "x", HeaderMap::new());
    let name = HeaderName::from_static("x-amz-meta-name");
    assert!(server.append_header("a", name.clone(), HeaderValue::from_static("1")));
    assert!(server.append_header("a", name.clone(), HeaderValue::from_bytes(b"\xff").unwrap()));
    let head = client.head_object().bucket(BUCKET).key("a").send().await;
    // This client does not take it, which is why its door has to look at the answer itself.
    assert!(head.is_err());
    let request = server.requests();
    assert_eq!(request.of(Operation::HeadObject), 1);
    assert!(!server.append_header("b", name, HeaderValue::from_static("1")));
}

#[tokio::test]
async fn keys_are_limited() {
    let (_server, client) = started();
    put(&client, &"k".repeat(1024), "x").await;
    put(&client, &"\u{20ac}".repeat(341), "x").await;
    let put = client.put_object().bucket(BUCKET).key("k".repeat(1025)).body(ByteStream::from_static(b"x"));
    assert_eq!(refused(put.send().await), is(400, "KeyTooLongError"));
}

#[tokio::test]
async fn checksums_are_verified_and_kept() {
    let (server, client) = started();
    let put = |body: &'static [u8]| client.put_object().bucket(BUCKET).key("a").body(ByteStream::from_static(body));
    let of_x = "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=";
    let answered = put(b"x").checksum_sha256(of_x).send().await.unwrap();
    assert_eq!(answered.checksum_sha256(), Some(of_x));
    let head = client.head_object().bucket(BUCKET).key("a");
    assert_eq!(head.clone().send().await.unwrap().checksum_sha256(), None);
    let head = head.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(head.checksum_sha256(), Some(of_x));
    let get = client.get_object().bucket(BUCKET).key("a").checksum_mode(ChecksumMode::Enabled);
    assert_eq!(get.send().await.unwrap().checksum_sha256(), Some(of_x));
    assert_eq!(refused(put(b"y").checksum_sha256(of_x).send().await), is(400, "BadDigest"));
    assert_eq!(refused(put(b"x").checksum_sha256("x").send().await), is(400, "InvalidRequest"));
    let md5 = STANDARD.encode([0; 16]);
    assert_eq!(refused(put(b"x").content_md5(&md5).send().await), is(400, "BadDigest"));
    assert_eq!(refused(put(b"x").content_md5("x").send().await), is(400, "InvalidDigest"));
    for algorithm in
        [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Sha256]
    {
        put(b"x").checksum_algorithm(algorithm.clone()).send().await.unwrap();
        let kept = server.object("a").unwrap().checksum.unwrap();
        assert_eq!(kept.algorithm.name(), algorithm.as_str());
    }
    server.set_lacks([Lack::Checksums]);
    put(b"y").checksum_sha256(of_x).send().await.unwrap();
    assert_eq!(server.object("a").unwrap().checksum, None);
}

#[tokio::test]
async fn copies_onto_themselves_change_something() {
    let (server, client) = started();
    let etag = put(&client, "a", "x").await;
    let copy = || client.copy_object().bucket(BUCKET).key("a").copy_source(copy_source("a"));
    assert_eq!(refused(copy().send().await), is(400, "InvalidRequest"));
    let replace = || copy().metadata_directive(MetadataDirective::Replace).metadata("n", "v");
    assert_eq!(refused(replace().copy_source_if_match("\"0\"").send().await), is(412, "PreconditionFailed"));
    let before = server.object("a").unwrap().last_modified;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let answered = replace().copy_source_if_match(&etag).send().await.unwrap();
    let result = answered.copy_object_result().unwrap();
    assert_eq!(result.e_tag(), Some(etag.as_str()));
    assert!(result.last_modified().unwrap().secs() > before as i64);
    assert_eq!(server.object("a").unwrap().last_modified as i64, result.last_modified().unwrap().secs());
    let missing = client.copy_object().bucket(BUCKET).key("b").copy_source(copy_source("c")).send().await;
    assert_eq!(refused(missing), is(404, "NoSuchKey"));
    client.copy_object().bucket(BUCKET).key("b").copy_source(copy_source("a")).send().await.unwrap();
    assert_eq!(server.object("b").unwrap().headers["x-amz-meta-n"], "v");
}

#[tokio::test]
async fn what_is_archived_cannot_be_read() {
    let (server, client) = started();
    put(&client, "a", "x").await;
    assert!(server.archive("a"));
    let get = client.get_object().bucket(BUCKET).key("a").send().await;
    assert_eq!(refused(get), is(403, "InvalidObjectState"));
    let head = client.head_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!(head.storage_class(), Some(&StorageClass::Glacier));
    let page = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(page.contents()[0].storage_class().unwrap().as_str(), "GLACIER");
    let copy = client.copy_object().bucket(BUCKET).key("a").copy_source(copy_source("a"));
    let copy = copy.metadata_directive(MetadataDirective::Replace).send().await;
    assert_eq!(refused(copy), is(403, "InvalidObjectState"));
}

/// Begins an upload and answers its id.
async fn begin(client: &Client, key: &str) -> String {
    let create = client.create_multipart_upload().bucket(BUCKET).key(key).metadata("n", "v");
    create.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap().upload_id.unwrap()
}

async fn upload_part(client: &Client, key: &str, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
    let part = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(number);
    let part = part.checksum_algorithm(ChecksumAlgorithm::Sha256).body(body.into()).send().await.unwrap();
    let completed = CompletedPart::builder().part_number(number).e_tag(part.e_tag.unwrap());
    completed.checksum_sha256(part.checksum_sha256.unwrap()).build()
}

#[tokio::test]
async fn uploads_in_parts_are_completed() {
    let (server, client) = started();
    let key = "a/../ +\u{e9}";
    let id = begin(&client, key).await;
    let complete = |parts: &[CompletedPart]| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
        client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(&id).multipart_upload(parts)
    };
    let small = upload_part(&client, key, &id, 1, vec![1; MIN_PART - 1]).await;
    let last = upload_part(&client, key, &id, 10_000, b"last".to_vec()).await;
    assert_eq!(refused(complete(&[small.clone(), last.clone()]).send().await), is(400, "EntityTooSmall"));
    let first = upload_part(&client, key, &id, 1, vec![1; MIN_PART]).await;
    assert_eq!(refused(complete(&[small, last.clone()]).send().await), is(400, "InvalidPart"));
    assert_eq!(refused(complete(&[last.clone(), first.clone()]).send().await), is(400, "InvalidPartOrder"));
    assert_eq!(refused(complete(&[]).send().await), is(400, "MalformedXML"));
    let bare = CompletedPart::builder().part_number(1).e_tag(first.e_tag().unwrap()).build();
    assert_eq!(refused(complete(&[bare]).send().await), is(400, "InvalidRequest"));
    let parts = client.list_parts().bucket(BUCKET).key(key).upload_id(&id).send().await.unwrap();
    let shown: Vec<_> = parts.parts().iter().map(|part| (part.part_number(), part.size())).collect();
    assert_eq!(shown, [(Some(1), Some(MIN_PART as i64)), (Some(10_000), Some(4))]);

    assert!(server.keys().is_empty());
    let parts = [first, last];
    assert_eq!(refused(complete(&parts).if_match("\"0\"").send().await), is(404, "NoSuchKey"));
    put(&client, key, "old").await;
    assert_eq!(refused(complete(&parts).if_none_match("*").send().await), is(412, "PreconditionFailed"));
    assert_eq!(refused(complete(&parts).if_match("\"0\"").send().await), is(412, "PreconditionFailed"));
    let completed = complete(&parts).send().await.unwrap();
    assert!(completed.checksum_sha256().unwrap().ends_with("-2"));
    assert_eq!(refused(complete(&parts).send().await), is(404, "NoSuchUpload"));

    let head = client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
    assert_eq!(head.e_tag(), completed.e_tag());
    assert!(head.e_tag().unwrap().ends_with("-2\""));
    assert_eq!(head.metadata().unwrap()["n"], "v");
    let object = server.object(key).unwrap();
    assert!(object.body.len() == MIN_PART + 4 && object.body.ends_with(b"\x01last"));
    assert_eq!(object.checksum.unwrap().algorithm, Algorithm::Sha256);
    assert!(server.uploads().is_empty());

    // What was put in parts and is copied in one piece is an object of one piece.
    let copy = client.copy_object().bucket(BUCKET).key(key).copy_source(copy_source(key));
    copy.metadata_directive(MetadataDirective::Replace).send().await.unwrap();
    assert!(!server.object(key).unwrap().etag.contains('-'));
}

#[tokio::test]
async fn parts_are_copied() {
    let (server, client) = started();
    let body: Vec<u8> = (0..2 * MIN_PART).map(|at| at.to_le_bytes()[1]).collect();
    server.insert("a", body.clone(), HeaderMap::new());
    let etag = format!("\"{}\"", server.object("a").unwrap().etag);
    let created = client.create_multipart_upload().bucket(BUCKET).key("a").send().await.unwrap();
    let id = created.upload_id().unwrap();
    let copy = |number, range: &str, etag: &str| {
        let copy = client.upload_part_copy().bucket(BUCKET).key("a").upload_id(id).part_number(number);
        copy.copy_source(copy_source("a")).copy_source_range(range).copy_source_if_match(etag).send()
    };
    let mut parts = Vec::new();
    for (number, range) in
        [(1, format!("bytes=0-{}", MIN_PART - 1)), (2, format!("bytes={MIN_PART}-{}", 2 * MIN_PART - 1))]
    {
        assert_eq!(refused(copy(number, &range, "\"0\"").await), is(412, "PreconditionFailed"));
        let copied = copy(number, &range, &etag).await.unwrap();
        let result = copied.copy_part_result().unwrap();
        let part = CompletedPart::builder().part_number(number).e_tag(result.e_tag().unwrap());
        parts.push(part.set_checksum_crc32(result.checksum_crc32().map(str::to_owned)).build());
    }
    let beyond = format!("bytes=0-{}", 2 * MIN_PART);
    assert_eq!(refused(copy(3, &beyond, &etag).await), is(400, "InvalidArgument"));
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("a").upload_id(id).multipart_upload(parts);
    complete.if_match(&etag).send().await.unwrap();
    let object = server.object("a").unwrap();
    assert!(object.body == body && object.etag.ends_with("-2"));
}

#[tokio::test]
async fn unfinished_uploads_are_listed_and_aborted() {
    let (server, client) = started();
    let mut begun = Vec::new();
    for key in ["p/b", "p/a", "p/a", "q", "p/\u{1} +"] {
        begun.push((key.to_owned(), begin(&client, key).await));
    }
    begun.sort();
    let list = || client.list_multipart_uploads().bucket(BUCKET).encoding_type(EncodingType::Url);
    let page = list().prefix("p/").max_uploads(2).send().await.unwrap();
    assert_eq!(page.is_truncated(), Some(true));
    let next = list().prefix("p/").key_marker(decoded(page.next_key_marker().unwrap()));
    let next = next.upload_id_marker(page.next_upload_id_marker().unwrap()).send().await.unwrap();
    assert_eq!(next.is_truncated(), Some(false));
    let shown = page.uploads().iter().chain(next.uploads());
    let shown: Vec<_> =
        shown.map(|upload| (decoded(upload.key().unwrap()), upload.upload_id().unwrap().to_owned())).collect();
    assert_eq!(shown, begun.iter().filter(|(key, _)| key != "q").cloned().collect::<Vec<_>>());
    for (key, id) in &begun {
        client.abort_multipart_upload().bucket(BUCKET).key(key).upload_id(id).send().await.unwrap();
        let again = client.abort_multipart_upload().bucket(BUCKET).key(key).upload_id(id).send().await;
        assert_eq!(refused(again), is(404, "NoSuchUpload"));
        let part = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(1).send().await;
        assert_eq!(refused(part), is(404, "NoSuchUpload"));
    }
    assert!(server.uploads().is_empty());
}

#[tokio::test]
async fn what_a_server_lacks_is_lacking() {
    let (server, client) = lacking([Lack::Preconditions]);
    let put_if = |etag: &str| {
        client.put_object().bucket(BUCKET).key("a").if_match(etag).body(ByteStream::from_static(b"x")).send()
    };
    put_if("\"0\"").await.unwrap();
    server.set_lacks([Lack::PreconditionsRefused]);
    assert_eq!(refused(put_if("\"0\"").await), is(501, "NotImplemented"));
    let replace = || {
        let copy = client.copy_object().bucket(BUCKET).key("a").copy_source(copy_source("a"));
        copy.metadata_directive(MetadataDirective::Replace).metadata("n", "v")
    };
    server.set_lacks([Lack::Replace]);
    replace().send().await.unwrap();
    assert!(!server.object("a").unwrap().headers.contains_key("x-amz-meta-n"));
    server.set_lacks([Lack::Copy]);
    assert_eq!(refused(replace().send().await), is(501, "NotImplemented"));
    server.set_lacks([Lack::CopyPreconditions]);
    replace().copy_source_if_match("\"0\"").send().await.unwrap();
    server.set_lacks([Lack::DeletePreconditions]);
    client.delete_object().bucket(BUCKET).key("a").if_match("\"0\"").send().await.unwrap();
    server.set_lacks([Lack::Md5ETags, Lack::UrlEncoding, Lack::Order, Lack::Ranges]);
    assert_ne!(put(&client, "a b", "x").await, "\"9dd4e461268c8034f5c8564e155c67a6\"");
    put(&client, "b", "x").await;
    assert_eq!(listed(&client).await, ["b", "a b"]);
    let got = client.get_object().bucket(BUCKET).key("b").range("bytes=5-6").send().await.unwrap();
    assert_eq!(got.content_length(), Some(1));
    server.set_lacks([Lack::Multipart]);
    let create = client.create_multipart_upload().bucket(BUCKET).key("a").send().await;
    assert_eq!(refused(create), is(501, "NotImplemented"));
}

#[tokio::test]
async fn refusals_can_be_ordered_and_requests_are_counted() {
    let (server, client) = started();
    let slow_down = Refusal::new(503, "SlowDown", "Please reduce your request rate.").with_header("retry-after", "1");
    server.refuse_next(Operation::PutObject, 2, slow_down);
    for _ in 0..2 {
        let put = client.put_object().bucket(BUCKET).key("a").send().await;
        assert_eq!(refused(put), is(503, "SlowDown"));
    }
    assert!(server.keys().is_empty());
    put(&client, "a", "x").await;
    server.refuse_next(Operation::CopyObject, 1, Refusal::new(200, "InternalError", "Please try again."));
    let copy = client.copy_object().bucket(BUCKET).key("b").copy_source(copy_source("a")).send().await;
    assert_eq!(refused(copy).1, "InternalError");
    let requests = server.requests();
    assert_eq!((requests.of(Operation::PutObject), requests.of(Operation::CopyObject), requests.total()), (3, 1, 4));
    assert_eq!(requests.peak, 1);

    server.reset_requests();
    server.set_latency(Duration::from_millis(100));
    let heads = (0..5).map(|_| client.head_object().bucket(BUCKET).key("a").send());
    assert!(futures_util::future::join_all(heads).await.iter().all(Result::is_ok));
    assert_eq!((server.requests().peak, server.requests().total()), (5, 5));
}

#[tokio::test]
async fn damage_is_not_noticed_by_the_server() {
    let (server, client) = started();
    put(&client, "a", "0123").await;
    assert!(server.damage("a", 1));
    let got = client.get_object().bucket(BUCKET).key("a").send().await.unwrap();
    // The client asks for the checksum and compares it at the end of the body.
    assert!(got.body.collect().await.is_err());
    assert!(server.remove("a") && !server.remove("a") && !server.damage("a", 1));
}
