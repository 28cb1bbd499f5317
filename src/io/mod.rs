//! What both edges are made of: bodies, and files with holes. Neither store nor tree knows the other.

mod body;
#[cfg(all(feature = "local", target_os = "linux"))]
mod sparse;

pub use body::{Body, Source, SourceError};
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use sparse::SparseFile;
