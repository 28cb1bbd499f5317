//! The random histories of the crate's own tests, through both doors to a bucket on S3: after each run, tree, bucket and
//! report are what the model says, and no other calls were made than those that it says.
//!
//! The server is the one in process, or the one that the environment names, as for the conformance run.

#[path = "../../histories/mod.rs"]
mod histories;
#[path = "../../model/mod.rs"]
mod model;

use futures_executor::block_on;
use histories::{InMemory, OnDisk, Times, World, assert_converges, in_a_world};
use model::generate;
use model::since::{Options, Policy};
use posix_s3::engine::{MemoryState, StateStore};
use posix_s3::store::s3::S3Options;
use posix_s3::store::{
    Body, Capabilities, DynObjectStore, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, ObjectStore,
    Precondition, PutOptions, PutOutput, StoreError,
};
use posix_s3_s3_tests::door::{Door, Place};
use posix_s3_s3_tests::server::{Lack, Server};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

/// The door under test as a store, of whatever kind.
struct Opened(Arc<dyn DynObjectStore>);

impl ObjectStore for Opened {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.0.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.0.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.0.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.0.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.0.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.0.delete(key, precondition).await
    }
}

/// A bucket behind a door, for one history after the other.
struct Bucket {
    runtime: Runtime,
    door: Door,
    store: Arc<dyn DynObjectStore>,
    place: Place,
    _server: Option<Server>,
}

impl Bucket {
    /// That of the environment, or one in process.
    fn new(door: Door) -> Self {
        Place::from_environment().map_or_else(|| Self::lacking(door, []), |place| Self::open(door, place, None))
    }

    /// One in process that can do less.
    fn lacking(door: Door, lacks: impl IntoIterator<Item = Lack>) -> Self {
        let server = Server::lacking(lacks);
        Self::open(door, Place::of(&server), Some(server))
    }

    fn open(door: Door, place: Place, server: Option<Server>) -> Self {
        let runtime = Runtime::new().unwrap();
        let options = S3Options::default().with_probe_prefix("histories/");
        let store = runtime.block_on(door.open(&place, options)).unwrap();
        Self { runtime, door, store, place, _server: server }
    }

    /// Where nobody has been before.
    fn fresh_prefix() -> String {
        static BEGUN: LazyLock<u128> =
            LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("histories/{}/{}/", *BEGUN, COUNT.fetch_add(1, Ordering::Relaxed))
    }

    fn world<P: histories::Place>(&self, place: P, state: Box<dyn StateStore>) -> World<P, Opened> {
        let mut world = World::new(place, Opened(Arc::clone(&self.store)), state, self.store.boxed_capabilities());
        world.store.times = Times::OfServer;
        world.store.prefix = Self::fresh_prefix();
        world.store.is_tame = true;
        world
    }

    /// A tree whose clock stands still, so that it does not run ahead of the server's: what is settled is told by it.
    fn in_memory(&self) -> World<InMemory, Opened> {
        self.world(InMemory::racy(), Box::new(MemoryState::new()))
    }

    fn on_disk(&self) -> World<OnDisk, Opened> {
        let place = OnDisk::new();
        let state = place.state();
        self.world(place, Box::new(state))
    }

    /// Goes through histories, as many as the environment says or so many by default.
    fn each<T: std::fmt::Debug>(&self, default: u32, strategy: impl Strategy<Value = T>, test: impl Fn(T)) {
        let _guard = self.runtime.enter();
        let config = generate::cases(default);
        let cases = config.cases;
        let config = ProptestConfig { max_shrink_iters: 200, ..config };
        let tested = TestRunner::new(config).run(&strategy, |value| {
            test(value);
            Ok(())
        });
        tested.unwrap_or_else(|error| panic!("{}, {}: {error}", self.place.server, self.door));
        println!("{}, {}: {cases} histories", self.place.server, self.door);
    }
}

/// Takes from the bucket what a history has left, so that listings of a server that lives longer stay small.
fn clear<P>(world: &World<P, Opened>) {
    let request = ListRequest { prefix: world.store.prefix.clone(), ..ListRequest::default() };
    block_on(async {
        for object in world.store.inner.list(&request).await.unwrap().objects {
            world.store.inner.delete(&object.key, &Precondition::None).await.unwrap();
        }
    });
}

fn on_both_doors(test: impl Fn(&Bucket)) {
    Door::ALL.into_iter().for_each(|door| test(&Bucket::new(door)));
}

#[test]
fn exports_among_strangers_make_the_calls_of_the_model() {
    on_both_doors(|bucket| {
        bucket.each(12, histories::exports_among_strangers(), |history| {
            clear(&in_a_world(bucket.in_memory(), &history));
        });
    });
}

#[test]
fn runs_of_both_directions_among_strangers_are_those_of_the_model() {
    on_both_doors(|bucket| {
        bucket.each(12, histories::histories(), |history| clear(&in_a_world(bucket.in_memory(), &history)));
    });
}

#[test]
fn runs_of_a_real_directory_are_those_of_the_model() {
    // Whoever cannot give files away sees other owners than the model.
    if model::bridge::is_superuser() {
        on_both_doors(|bucket| {
            bucket.each(12, histories::histories(), |history| clear(&in_a_world(bucket.on_disk(), &history)));
        });
    }
}

#[test]
fn exports_alone_end_with_nothing_to_do() {
    on_both_doors(|bucket| {
        bucket.each(12, histories::undisturbed(), |history| {
            let mut world = in_a_world(bucket.in_memory(), &history);
            let options = Options { policy: Policy::Local, deletes: Some((u64::MAX, 100)), ..Options::default() };
            world.export(&options);
            world.assert_exported();
            world.export(&options);
            world.assert_quiet(&options);
            clear(&world);
        });
    });
}

#[test]
fn both_sides_come_to_hold_the_same() {
    on_both_doors(|bucket| {
        bucket.each(12, histories::histories(), |history| {
            let mut world = in_a_world(bucket.in_memory(), &history);
            assert_converges(&mut world);
            clear(&world);
        });
    });
}

/// In process, where it can be chosen what a server lacks.
#[test]
fn runs_are_those_of_the_model_where_the_server_can_do_less() {
    for lacks in
        [vec![Lack::Preconditions], vec![Lack::Copy], vec![Lack::Md5ETags], vec![Lack::Replace, Lack::Md5ETags]]
    {
        for door in Door::ALL {
            let bucket = Bucket::lacking(door, lacks.clone());
            bucket.each(4, histories::histories(), |history| clear(&in_a_world(bucket.in_memory(), &history)));
        }
    }
}
