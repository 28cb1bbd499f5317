//! S3 and the servers that speak its protocol.
//!
//! [`S3Store`] is the [`ObjectStore`](super::ObjectStore): parts, retries, limits, and what the server can do. Below it one of
//! two doors makes the requests ([`S3Calls`]):
//!
//! | you have | use | feature |
//! |---|---|---|
//! | AWS variables or a profile with keys | `HttpCalls::from_environment` | `s3` |
//! | an endpoint and keys, a certificate authority of your own, path style | `Bucket`, `Signer`, `Agent`, as below | `s3` |
//! | a public bucket | `Environment::load_with(Credentials::Anonymous)` | `s3` |
//! | keys that expire | `Signer::with_source` | `s3` |
//! | an HTTP client of your own, a proxy | `HttpCalls::with_client` and `HttpClient` | `s3` |
//! | roles, SSO, web identity, credentials of instances | an `aws_sdk_s3::Client`, and `SdkCalls` | `aws-sdk-s3` |
//! | a storage class, KMS, limits of memory and of requests | [`S3Options`] | either |
//!
//! ```no_run
//! # #[cfg(feature = "s3")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use posix_s3::store::s3::{
//!     Addressing, Agent, Bucket, Credentials, HttpCalls, Keys, Region, S3Options, S3Store, Signer,
//! };
//!
//! let bucket = Bucket::new(&"https://minio.example:9000".parse()?, "photos", Addressing::Path)?;
//! let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)?;
//! let signer = Signer::new(&Region::default(), &Credentials::Keys(keys));
//! let client = Agent::with_certificates(&std::fs::read("/etc/minio/ca.pem")?)?;
//! let options = S3Options::default()
//!     .with_probe_prefix("data/")
//!     .with_memory(256 << 20)
//!     .with_encryption("aws:kms", Some("alias/photos"))?;
//! async_io::block_on(async {
//!     let store = S3Store::connect(HttpCalls::with_client(bucket, signer, client), options).await?;
//!     store.lacks().iter().for_each(|lack| eprintln!("{lack}"));
//!     Ok(())
//! })
//! # }
//! # #[cfg(not(feature = "s3"))]
//! # fn main() {}
//! ```
//!
//! With a client of the AWS SDK, on the runtime that it needs:
//!
//! ```no_run
//! # #[cfg(feature = "aws-sdk-s3")]
//! # mod door {
//! use posix_s3::store::StoreError;
//! use posix_s3::store::s3::{S3Options, S3Store, SdkCalls};
//!
//! pub async fn open(client: aws_sdk_s3::Client) -> Result<S3Store<SdkCalls>, StoreError> {
//!     S3Store::connect(SdkCalls::new(client, "photos"), S3Options::default().with_probe_prefix("data/")).await
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! What is decided about S3 is on the page [`semantics`](crate::docs::semantics), and why it is so in
//! [`design`](crate::docs::design). A server that does less than S3 is found out by [`S3Store::connect`], which says what is
//! lacking; preconditions are relied on only where put, copy, delete and uploads in parts all honour them.
//!
//! Neither `object_store` nor `opendal` can serve as a door. Both change keys before they reach the wire: `object_store` 0.14
//! makes `dir` of `dir/`, refuses `a//b`, and fails a whole listing for one such key; `opendal` 0.59 trims keys, makes `a/b` of
//! `a//b`, and writes `dir/` without metadata. Neither replaces metadata by a copy. So the object of a directory, and with
//! it mode, owner and times, cannot be kept.

mod batch;
mod calls;
#[cfg(feature = "s3")]
mod credentials;
#[cfg(feature = "s3")]
mod endpoint;
#[cfg(feature = "s3")]
mod environment;
mod error;
#[cfg(feature = "s3")]
mod http;
mod log;
mod options;
mod probe;
#[cfg(feature = "s3")]
mod profiles;
mod reading;
#[cfg(feature = "s3")]
mod region;
mod retry;
mod room;
#[cfg(feature = "aws-sdk-s3")]
mod sdk;
mod store;
mod upload;
mod wire;

pub use calls::{Content, Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
#[cfg(feature = "s3")]
pub use credentials::{Credentials, KeyPart, Keys, KeysError};
#[cfg(feature = "s3")]
pub use endpoint::{Addressing, AddressingError, Endpoint, EndpointError};
#[cfg(feature = "s3")]
pub use environment::{Elsewhere, Environment, EnvironmentError};
pub use error::{CallError, Refused};
#[cfg(feature = "s3")]
pub use http::{Agent, Bucket, Exchange, HttpCalls, HttpClient, HttpError, InvalidBucket, SignError, Signer};
pub use log::{FileUploadLog, UploadLog};
pub use options::{S3Options, Writers};
pub use probe::Probed;
#[cfg(feature = "s3")]
pub use profiles::ProfileFileError;
#[cfg(feature = "s3")]
pub use region::{Region, RegionError};
pub use retry::RetryPolicy;
#[cfg(feature = "aws-sdk-s3")]
pub use sdk::SdkCalls;
pub use store::S3Store;
