//! Deletes that come together go together, and each is answered for itself.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use posix_s3::store::s3::{S3Calls, S3Store};
use posix_s3::store::{Body, ObjectStore as _, Precondition, PutOptions, StoreError, StoreErrorKind};
use posix_s3_s3_tests::door::Place;
use posix_s3_s3_tests::on_both_doors;
use posix_s3_s3_tests::proxy::{Answer, Fault, first_tries};
use posix_s3_s3_tests::server::{Lack, Operation};
use posix_s3_s3_tests::world::World;
use std::collections::BTreeSet;
use std::time::Duration;

on_both_doors! {
    |test| World::lacking([], test) =>
    many_deletes_are_few_requests
    each_key_has_a_result_of_its_own
    keys_that_xml_cannot_carry_are_deleted
    a_store_without_batches_deletes_one_by_one
    deletes_are_made_again
    deletes_that_are_dropped_delete_nothing_later_and_hold_up_nobody
    a_leader_that_is_dropped_before_it_knows_holds_up_nobody;
}

const LATENCY: Duration = Duration::from_millis(20);

fn keys(world: &World, count: usize) -> Vec<String> {
    (0..count).map(|number| world.key(&format!("{number:04}"))).collect()
}

fn plant(world: &World, keys: &[String]) {
    for key in keys {
        world.server().insert(key, "x", http::HeaderMap::new());
    }
}

async fn delete<C: S3Calls + 'static>(store: &S3Store<C>, key: &str) -> Result<(), StoreError> {
    store.delete(key, &Precondition::None).await
}

async fn ends<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nobody is held up")
}

fn made(world: &World) -> u64 {
    let requests = world.server().requests();
    requests.of(Operation::DeleteObject) + requests.of(Operation::DeleteObjects)
}

async fn many_deletes_are_few_requests<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    for count in [1, 2, 100, 2500] {
        let keys = keys(&world, count);
        plant(&world, &keys);
        world.server().set_latency(LATENCY);
        world.server().reset_requests();
        for deleted in ends(join_all(keys.iter().map(|key| delete(&store, key)))).await {
            deleted.unwrap();
        }
        world.server().set_latency(Duration::ZERO);
        assert_eq!(world.server().keys(), Vec::<String>::new());
        assert!(made(&world) <= 4 + (count as u64).div_ceil(1000), "{count}: {:?}", world.server().requests());
    }
}

async fn each_key_has_a_result_of_its_own<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    let keys = keys(&world, 200);
    plant(&world, &keys);
    // One that leads a batch may be among them, and one that is not there.
    let denied: BTreeSet<&String> = [4, 100, 199].into_iter().map(|at| &keys[at]).collect();
    denied.iter().for_each(|key| world.server().deny_delete(key));
    world.server().remove(&keys[50]);
    world.server().set_latency(LATENCY);
    let deleted = ends(join_all(keys.iter().map(|key| delete(&store, key)))).await;
    for (key, deleted) in keys.iter().zip(deleted) {
        let kind = deleted.err().map(|error| (error.kind(), error.key().to_owned()));
        assert_eq!(kind, denied.contains(key).then(|| (StoreErrorKind::Denied, key.clone())), "{key}");
    }
    assert_eq!(world.server().keys().iter().collect::<BTreeSet<_>>(), denied);
    assert!(made(&world) < 20, "{:?}", world.server().requests());
}

async fn keys_that_xml_cannot_carry_are_deleted<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    let names =
        ["a\u{1}b", "a\nb", "a\rb", " a", "a ", "\u{ffff}", "<&>\"'", "a\u{7f}", "\u{85}", "a/../b", "a//", "%41+ "];
    let others = ["ab", "a b", "a", "a/b", "b", "A", "<&amp;>"];
    let keys: Vec<String> = names.iter().map(|name| world.key(name)).chain(keys(&world, 50)).collect();
    let others: Vec<String> = others.iter().map(|name| world.key(name)).collect();
    plant(&world, &keys);
    plant(&world, &others);
    world.server().set_latency(LATENCY);
    // Those that wait go together.
    for deleted in ends(join_all(keys.iter().rev().map(|key| delete(&store, key)))).await {
        deleted.unwrap();
    }
    assert_eq!(world.server().keys().into_iter().collect::<BTreeSet<_>>(), others.into_iter().collect());
}

async fn a_store_without_batches_deletes_one_by_one<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    let keys = keys(&world, 100);
    plant(&world, &keys);
    world.server().set_lacks([Lack::BatchDelete]);
    world.server().set_latency(Duration::from_millis(2));
    for deleted in ends(join_all(keys.iter().map(|key| delete(&store, key)))).await {
        deleted.unwrap();
    }
    assert_eq!(world.server().keys(), Vec::<String>::new());
}

async fn deletes_are_made_again<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    let keys = keys(&world, 100);
    for fault in [
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::CutReply,
        Fault::Answer(Answer::INTERNAL_ERROR),
        Fault::Answer(Answer::SLOW_DOWN),
    ] {
        plant(&world, &keys);
        world.proxy.set_schedule(first_tries(2, fault, |_| true));
        for deleted in ends(join_all(keys.iter().map(|key| delete(&store, key)))).await {
            deleted.unwrap();
        }
        assert_eq!(world.server().keys(), Vec::<String>::new(), "{fault:?}");
    }
}

async fn deletes_that_are_dropped_delete_nothing_later_and_hold_up_nobody<C: S3Calls + 'static>(
    world: World,
    door: fn(&Place) -> C,
) {
    let store = world.open(door, world.options()).await;
    let keys = keys(&world, 100);
    plant(&world, &keys);
    world.server().set_latency(LATENCY);
    let mut deletes: Vec<_> = keys.iter().map(|key| Box::pin(delete(&store, key))).collect();
    for delete in &mut deletes {
        assert!(delete.now_or_never().is_none());
    }
    // The first four are under way, and are not called back; the others wait for them, and half of those are dropped.
    let (mut waited, mut dropped) = (Vec::new(), Vec::new());
    for (number, delete) in deletes.into_iter().enumerate() {
        match number {
            0..4 => waited.push(delete),
            _ if number % 2 == 0 => dropped.push(number),
            _ => waited.push(delete),
        }
    }
    for deleted in ends(join_all(waited)).await {
        deleted.unwrap();
    }
    let left: Vec<String> = dropped.iter().map(|number| keys[*number].clone()).collect();
    assert_eq!(world.server().keys(), left);

    // Dropped while they are under way, they leave their places to others.
    for round in 0..20 {
        plant(&world, &keys);
        let all = join_all(keys.iter().map(|key| delete(&store, key)));
        let _ = tokio::time::timeout(Duration::from_millis(3 * round), all).await;
    }
    let options = PutOptions::default();
    ends(store.put(&keys[0], Body::empty(), &options)).await.unwrap();
    for deleted in ends(join_all(keys.iter().map(|key| delete(&store, key)))).await {
        deleted.unwrap();
    }
    assert_eq!(world.server().keys(), Vec::<String>::new());
}

/// Whoever waits may be told that the next request is theirs, and be dropped before they look.
async fn a_leader_that_is_dropped_before_it_knows_holds_up_nobody<C: S3Calls + 'static>(
    world: World,
    door: fn(&Place) -> C,
) {
    let store = world.open(door, world.options()).await;
    let keys = keys(&world, 12);
    plant(&world, &keys);
    world.server().set_latency(LATENCY);
    for _ in 0..5 {
        let mut deletes: Vec<_> = keys.iter().map(|key| Box::pin(delete(&store, key))).collect();
        for delete in &mut deletes {
            assert!(delete.now_or_never().is_none());
        }
        let waiting = deletes.split_off(4);
        // Nobody looks at those who wait while the four before them end.
        for deleted in ends(join_all(deletes)).await {
            deleted.unwrap();
        }
        drop(waiting);
    }
    for deleted in ends(join_all(keys.iter().map(|key| delete(&store, key)))).await {
        deleted.unwrap();
    }
    assert_eq!(world.server().keys(), Vec::<String>::new());
}
