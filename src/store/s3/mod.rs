//! S3 and the servers that speak its protocol: two doors, one behaviour.

mod batch;
mod calls;
mod error;
#[cfg(feature = "s3")]
mod http;
mod log;
mod options;
mod probe;
mod retry;
mod room;
#[cfg(feature = "aws-sdk-s3")]
mod sdk;
mod store;
mod upload;

pub use calls::{Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
pub use error::{CallError, Refused};
#[cfg(feature = "s3")]
pub use http::{
    Addressing, Agent, Bucket, Exchange, HttpCalls, HttpClient, HttpError, InvalidBucket, SignError, Signer,
};
pub use log::{FileUploadLog, UploadLog};
pub use options::S3Options;
pub use retry::RetryPolicy;
#[cfg(feature = "aws-sdk-s3")]
pub use sdk::SdkCalls;
pub use store::S3Store;
