//! What a server lacks is found out, and nothing is taken for granted that it lacks, also over a network that fails.

use posix_s3::store::s3::{RetryPolicy, S3Options};
use posix_s3::store::{Capabilities, DynObjectStore, StoreError, Support};
use posix_s3_s3_tests::door::{Door, Place};
use posix_s3_s3_tests::proxy::{Answer, Fault, Proxy, first_tries, seeded};
use posix_s3_s3_tests::server::{Lack, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

fn open(door: Door, place: &Place) -> Result<Arc<dyn DynObjectStore>, StoreError> {
    let retries = RetryPolicy::new(6, Duration::from_millis(2), Duration::from_millis(50));
    Runtime::new().unwrap().block_on(door.open(place, S3Options::default().with_retries(retries)))
}

/// Each lack, and what becomes of a store that can do everything.
fn lacks() -> Vec<(Lack, Capabilities)> {
    let all = Capabilities::ALL;
    let conditional = all.with_preconditions(Support::No);
    vec![
        (Lack::Preconditions, conditional),
        (Lack::PreconditionsRefused, conditional),
        (Lack::DeletePreconditions, conditional),
        (Lack::CopyPreconditions, conditional),
        // That of a copy cannot be tried then.
        (Lack::Copy, all.with_replace_metadata(Support::No)),
        (Lack::Replace, all.with_replace_metadata(Support::No)),
        (Lack::Checksums, all.with_checksums(Support::No)),
        (Lack::Md5ETags, all.with_md5_etags(Support::No)),
        (Lack::Order, all.with_ordered_listing(Support::No)),
    ]
}

#[test]
fn what_is_lacking_is_found_out() {
    for door in Door::ALL {
        let server = Server::new();
        let place = Place::of(&server);
        assert_eq!(open(door, &place).unwrap().boxed_capabilities(), Capabilities::ALL, "{door}");
        for (lack, expected) in lacks() {
            server.set_lacks([lack]);
            assert_eq!(open(door, &place).unwrap().boxed_capabilities(), expected, "{door} without {lack:?}");
        }
        assert_eq!((server.keys(), server.uploads()), (vec![], vec![]), "{door} leaves nothing behind");
    }
}

#[test]
fn over_a_bad_network_no_store_is_taken_for_more_than_it_is() {
    let faults = [
        Fault::ResetEarly,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::CutReply,
        Fault::Twice,
        Fault::Answer(Answer::SLOW_DOWN),
        Fault::AnswerAfter(Answer::INTERNAL_ERROR),
    ];
    for door in Door::ALL {
        let (mut found_out, mut refused) = (0, 0);
        for (lack, expected) in lacks() {
            let server = Server::lacking([lack]);
            let proxy = Proxy::new(&server.endpoint(), |_| Fault::None);
            let place = Place::of(&server).by(proxy.endpoint());
            for (number, fault) in faults.into_iter().enumerate() {
                if number % 2 == 0 {
                    proxy.set_schedule(first_tries(1, fault, |_| true));
                } else {
                    proxy.set_schedule(seeded(number as u64, 3, vec![fault]));
                }
                match open(door, &place) {
                    Ok(store) => {
                        let found = store.boxed_capabilities();
                        let claims = |found, expected| found == Support::Yes && expected == Support::No;
                        let too_much = claims(found.ordered_listing, expected.ordered_listing)
                            || claims(found.preconditions, expected.preconditions)
                            || claims(found.replace_metadata, expected.replace_metadata)
                            || claims(found.md5_etags, expected.md5_etags)
                            || claims(found.checksums, expected.checksums);
                        assert!(!too_much, "{door} without {lack:?}, with {fault:?}: {found:?}");
                        found_out += usize::from(found == expected);
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        println!("{door}: {found_out} found out exactly, {refused} not opened, of {}", lacks().len() * faults.len());
    }
}
