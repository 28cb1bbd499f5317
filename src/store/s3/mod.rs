//! S3 and the servers that speak its protocol: two doors, one behaviour.

mod calls;
mod error;

pub use calls::{Fetched, Part, Payload, S3Calls, UnfinishedUpload, Upload, UploadPage};
pub use error::{CallError, Refused};
