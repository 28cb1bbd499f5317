//! S3 and the servers that speak its protocol: two doors, one behaviour.

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
#[cfg(feature = "s3")]
mod region;
mod retry;
mod room;
#[cfg(feature = "aws-sdk-s3")]
mod sdk;
mod store;
mod upload;
mod wire;

pub use calls::{Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
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
