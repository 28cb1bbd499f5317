//! S3 and the servers that speak its protocol: two doors, one behaviour.

mod calls;
mod error;
#[cfg(feature = "aws-sdk-s3")]
mod sdk;

pub use calls::{Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
pub use error::{CallError, Refused};
#[cfg(feature = "aws-sdk-s3")]
pub use sdk::SdkCalls;
