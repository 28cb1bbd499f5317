//! [`Door`]: the ways of the crate to a bucket, and [`Place`], where it is.

use crate::client;
use crate::server::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server};
use posix_s3::store::s3::{Addressing, Bucket, Credentials, HttpCalls, Keys, S3Options, S3Store, SdkCalls, Signer};
use posix_s3::store::{DynObjectStore, StoreError};
use std::env;
use std::fmt;
use std::sync::Arc;

/// Where a bucket is, and who asks.
#[derive(Clone, Debug)]
pub struct Place {
    /// What kind of server it is.
    pub server: String,
    /// `http://host:port`.
    pub endpoint: String,
    /// As the server calls it.
    pub region: String,
    /// Its name.
    pub bucket: String,
    /// Who.
    pub access_key: String,
    /// And by which it is known.
    pub secret_key: String,
}

impl Place {
    /// The bucket of the server in process.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        let [region, bucket, access_key, secret_key] = [REGION, BUCKET, ACCESS_KEY, SECRET_KEY].map(str::to_owned);
        Self { server: "in process".to_owned(), endpoint: server.endpoint(), region, bucket, access_key, secret_key }
    }

    /// The bucket that the environment names, by what `.ci/servers start` prints; `None` when it names no server.
    ///
    /// # Panics
    /// When it names a server and not all the rest.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let named = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let server = named("POSIX_S3_SERVER")?;
        let needed = |name| named(name).unwrap_or_else(|| panic!("POSIX_S3_SERVER is set, but not {name}"));
        Some(Self {
            server,
            endpoint: needed("AWS_ENDPOINT_URL"),
            region: needed("AWS_REGION"),
            bucket: needed("POSIX_S3_BUCKET"),
            access_key: needed("AWS_ACCESS_KEY_ID"),
            secret_key: needed("AWS_SECRET_ACCESS_KEY"),
        })
    }

    /// The same, by another endpoint: that of a proxy.
    #[must_use]
    pub fn by(&self, endpoint: String) -> Self {
        Self { endpoint, ..self.clone() }
    }

    /// A client of AWS for it.
    #[must_use]
    pub fn client(&self) -> aws_sdk_s3::Client {
        let config = client::config(&self.endpoint, &self.region, &self.access_key, &self.secret_key);
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// A way of the crate to a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Requests over HTTP of the crate's own.
    Http,
    /// A client of the AWS SDK.
    Sdk,
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Http, Self::Sdk];

    /// Goes through it. What it waits for is waited for on the runtime of whoever polls.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn open(self, place: &Place, options: S3Options) -> Result<Arc<dyn DynObjectStore>, StoreError> {
        match self {
            Self::Http => Ok(Arc::new(S3Store::connect(http(place), options).await?)),
            Self::Sdk => Ok(Arc::new(S3Store::connect(sdk(place), options).await?)),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "http",
            Self::Sdk => "sdk",
        })
    }
}

/// The requests through a client of the AWS SDK.
#[must_use]
pub fn sdk(place: &Place) -> SdkCalls {
    SdkCalls::new(place.client(), &place.bucket)
}

/// The requests of the crate's own.
///
/// # Panics
/// When the place is none: no URL, no name of a bucket.
#[must_use]
pub fn http(place: &Place) -> HttpCalls {
    let endpoint = place.endpoint.parse().expect("the endpoint is one");
    let bucket = Bucket::new(&endpoint, &place.bucket, Addressing::Path).expect("the name is one");
    let keys = Keys::new(&place.access_key, &place.secret_key, None).expect("the keys can be signed with");
    let region = place.region.parse().expect("the region is one");
    HttpCalls::new(bucket, Signer::new(&region, &Credentials::Keys(keys)))
}
