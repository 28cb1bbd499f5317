//! S3 and the servers that speak its protocol: two doors, one behaviour.

mod calls;
mod error;
#[cfg(feature = "s3")]
mod http;

pub use calls::{Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
pub use error::{CallError, Refused};
#[cfg(feature = "s3")]
pub use http::{
    Addressing, Agent, Bucket, Exchange, HttpCalls, HttpClient, HttpError, InvalidBucket, SignError, Signer,
};
