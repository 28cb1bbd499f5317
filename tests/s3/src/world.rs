//! [`World`]: everything of one test, a bucket and a proxy before it.

use crate::door::Place;
use crate::proxy::{Fault, Proxy};
use crate::server::{Lack, Server};
use posix_s3::store::s3::{RetryPolicy, S3Calls, S3Options, S3Store};
use posix_s3::store::{ListRequest, ObjectStore, Precondition};
use std::time::Duration;

/// A bucket, a proxy before it, and a prefix of the test's own.
#[derive(Debug)]
pub struct World {
    /// The bucket, past the proxy.
    pub place: Place,
    /// The proxy, which does nothing until it is told.
    pub proxy: Proxy,
    /// What the keys of the test start with.
    pub prefix: String,
    /// The server, if it is the one in process.
    server: Option<Server>,
}

impl World {
    /// On the server that the environment names, or else on one in process.
    #[must_use]
    pub fn new(test: &str) -> Self {
        match Place::from_environment() {
            Some(place) => Self::at(place, None, test),
            None => Self::lacking([], test),
        }
    }

    /// On a server in process that lacks this.
    #[must_use]
    pub fn lacking(lacks: impl IntoIterator<Item = Lack>, test: &str) -> Self {
        let server = Server::lacking(lacks);
        Self::at(Place::of(&server), Some(server), test)
    }

    fn at(place: Place, server: Option<Server>, test: &str) -> Self {
        let proxy = Proxy::new(&place.endpoint, |_| Fault::None);
        Self { place, proxy, prefix: format!("{test}/"), server }
    }

    /// The server in process.
    ///
    /// # Panics
    /// When it is another one.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the test is for the server in process")
    }

    /// A key of the test's own.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Options that wait little.
    #[must_use]
    pub fn options(&self) -> S3Options {
        let retries = RetryPolicy::new(6, Duration::from_millis(2), Duration::from_millis(50));
        S3Options::default().with_retries(retries).with_probe_prefix(&self.prefix)
    }

    /// A store by the proxy, of a bucket that holds nothing of this test.
    pub async fn open<C: S3Calls + 'static>(&self, door: fn(&Place) -> C, options: S3Options) -> S3Store<C> {
        let store = self.connect(door, options).await;
        self.clear(&store).await;
        store
    }

    /// A store by the proxy, as another process would open it.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn connect<C: S3Calls + 'static>(&self, door: fn(&Place) -> C, options: S3Options) -> S3Store<C> {
        let place = self.place.by(self.proxy.endpoint());
        S3Store::connect(door(&place), options).await.expect("the bucket is there")
    }

    /// Removes what an earlier run may have left on a server that lives longer.
    async fn clear<C: S3Calls + 'static>(&self, store: &S3Store<C>) {
        let request = ListRequest { prefix: self.prefix.clone(), ..ListRequest::default() };
        for object in store.list(&request).await.expect("it can be listed").objects {
            store.delete(&object.key, &Precondition::None).await.expect("it can be deleted");
        }
        for upload in store.unfinished_uploads(&self.prefix).await.expect("they can be listed") {
            store.abort_upload(&upload).await.expect("it can be aborted");
        }
    }
}

/// Runs each test on both doors. A test is an `async fn` of a [`World`], made from its name as it is said, and of what goes
/// through the door.
#[macro_export]
macro_rules! on_both_doors {
    ($($world:expr => $($name:ident)*;)*) => {
        mod over_http {
            use super::*;

            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = ($world)(concat!(module_path!(), "/", stringify!($name)));
                super::$name(world, $crate::door::http).await;
            })*)*
        }

        mod over_sdk {
            use super::*;

            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = ($world)(concat!(module_path!(), "/", stringify!($name)));
                super::$name(world, $crate::door::sdk).await;
            })*)*
        }
    };
}
