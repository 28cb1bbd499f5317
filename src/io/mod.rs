//! What both edges are made of: bodies, files with holes, and the way to a directory that somebody has named. Neither store nor tree knows the other.

mod body;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) mod root;
#[cfg(all(feature = "local", target_os = "linux"))]
mod sparse;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) mod trust;

pub use body::{Body, Source, SourceError};
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use sparse::SparseFile;
