//! What a server lacks is found out and said, and nothing of finding out is left behind; what keeps a store from being opened
//! is told apart.

use posix_s3::store::s3::{S3Calls, S3Store};
use posix_s3::store::{Capabilities, ObjectStore as _, StoreError, StoreErrorKind, Support};
use posix_s3_s3_tests::door::Place;
use posix_s3_s3_tests::on_both_doors;
use posix_s3_s3_tests::server::{Lack, Operation};
use posix_s3_s3_tests::world::World;
use std::error::Error as _;

on_both_doors! {
    |test| World::lacking([], test) =>
    what_is_lacking_is_said
    opening_to_read_changes_nothing
    what_keeps_a_store_from_being_opened_is_told_apart;
}

const NO_COPY: &str = "metadata is not replaced in place; objects are put again instead";
const NO_PARTS: &str = "there are no uploads in parts; objects larger than a part cannot be put";
const NO_RANGES: &str =
    "ranges are not honoured; objects larger than four parts cannot be fetched, nor the rest of one that breaks off";
const NO_MD5: &str = "ETags are not the MD5 of the bytes; digests are kept instead";
const NO_ORDER: &str = "listings do not have each key, as it was put, in key order";
const NO_CHECKSUMS: &str = "checksums are not checked; a body that is damaged on the way is stored";

fn no_preconditions(what: &str) -> String {
    format!("preconditions are not honoured ({what}); a change by somebody else at the same moment is not noticed")
}

async fn what_is_lacking_is_said<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let all = Capabilities::ALL;
    let without_preconditions = all.with_preconditions(Support::No);
    let every = "If-None-Match on put, If-Match on put, x-amz-copy-source-if-match, If-None-Match on what is put in parts, \
        If-Match on delete";
    let (checksums, has_checksums) = (vec![NO_CHECKSUMS.to_owned()], Support::No);
    let said = |text: &str| vec![text.to_owned()];
    for (lacks, capabilities, expected) in [
        (vec![], all, vec![]),
        (vec![Lack::Preconditions], without_preconditions, vec![no_preconditions(every)]),
        (vec![Lack::PreconditionsRefused], without_preconditions, vec![no_preconditions(every)]),
        (vec![Lack::DeletePreconditions], without_preconditions, vec![no_preconditions("If-Match on delete")]),
        (vec![Lack::CopyPreconditions], without_preconditions, vec![no_preconditions("x-amz-copy-source-if-match")]),
        (
            vec![Lack::CompletePreconditions],
            without_preconditions,
            vec![no_preconditions("If-None-Match on what is put in parts")],
        ),
        (vec![Lack::Copy], all.with_replace_metadata(Support::No), said(NO_COPY)),
        (vec![Lack::Replace], all.with_replace_metadata(Support::No), said(NO_COPY)),
        (vec![Lack::Checksums], all.with_checksums(has_checksums), checksums),
        (vec![Lack::Md5ETags], all.with_md5_etags(Support::No), said(NO_MD5)),
        (vec![Lack::Order], all.with_ordered_listing(Support::No), said(NO_ORDER)),
        (vec![Lack::Ranges], all, said(NO_RANGES)),
        (vec![Lack::Multipart], all, said(NO_PARTS)),
        // These are no lacks to whoever uses the store: keys come as they are, deletes go one by one, more metadata is not
        // sent. That Last-Modified does not move is not tried, since it would take a second to see.
        (vec![Lack::UrlEncoding, Lack::BatchDelete, Lack::MetadataLimit, Lack::LastModified], all, vec![]),
        (
            vec![Lack::Preconditions, Lack::Copy, Lack::Md5ETags, Lack::Multipart],
            without_preconditions.with_replace_metadata(Support::No).with_md5_etags(Support::No),
            vec![
                NO_MD5.to_owned(),
                NO_COPY.to_owned(),
                NO_PARTS.to_owned(),
                no_preconditions("If-None-Match on put, If-Match on put, If-Match on delete"),
            ],
        ),
    ] {
        world.server().set_lacks(lacks.clone());
        let store = world.connect(door, world.options()).await;
        let found: Vec<String> = store.lacks().iter().map(|lack| lack.to_string()).collect();
        assert_eq!((store.capabilities(), found), (capabilities, expected), "{lacks:?}");
        assert_eq!(world.server().keys(), Vec::<String>::new(), "{lacks:?}");
        assert_eq!(world.server().uploads(), [], "{lacks:?}");
    }
}

async fn opening_to_read_changes_nothing<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = S3Store::connect_to_read(door(&world.place), world.options()).await.unwrap();
    let requests = world.server().requests();
    assert_eq!(requests.total(), requests.of(Operation::ListObjectsV2), "{requests:?}");
    assert!(requests.total() <= 2, "{requests:?}");
    assert_eq!(store.capabilities(), Capabilities::NONE.with_ordered_listing(Support::Yes));
    assert!(store.lacks().is_empty(), "{:?}", store.lacks());
}

/// An error and its causes on one line.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn what_keeps_a_store_from_being_opened_is_told_apart<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let place = || world.place.clone();
    let text = str::to_owned;
    for (place, kind, message, code) in [
        (
            Place { bucket: text("another"), ..place() },
            StoreErrorKind::NoSuchBucket,
            "there is no such bucket",
            "404 NoSuchBucket: The specified bucket does not exist",
        ),
        (
            Place { secret_key: text("another"), ..place() },
            StoreErrorKind::Denied,
            "access denied",
            "403 SignatureDoesNotMatch",
        ),
        (Place { access_key: text("AKIAANOTHER"), ..place() }, StoreErrorKind::Denied, "access denied", "403 "),
        (
            Place { region: text("us-west-2"), ..place() },
            StoreErrorKind::WrongRegion,
            "the bucket is in another region",
            "expecting 'eu-central-1'",
        ),
    ] {
        world.server().reset_requests();
        let opened = S3Store::connect_to_read(door(&place), world.options()).await;
        let error = opened.err().unwrap_or_else(|| panic!("it is opened: {message}"));
        assert_eq!(error.kind(), kind, "{}", chain(&error));
        assert!(error.to_string().ends_with(message), "{error}");
        assert!(chain(&error).contains(code), "{}", chain(&error));
        let error = S3Store::connect(door(&place), world.options()).await.expect_err("it is not opened");
        assert_eq!(error.kind(), kind, "{}", chain(&error));
        // What is refused for good is not asked for again, and nothing is put where nothing can be listed.
        assert!(world.server().requests().total() <= 2, "{:?}", world.server().requests());
    }
}
