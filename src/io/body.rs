//! [`Body`]: bytes to put, which can be read again.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The body of a put. It has a known size and can be read from any place more than once, so that a store can try again
/// and can read parts side by side.
#[derive(Clone)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that are read piece by piece.
    Source(Arc<dyn Source>),
}

/// Why a body could not be read.
pub type SourceError = Box<dyn StdError + Send + Sync>;

/// Bytes that are read piece by piece, such as a file.
pub trait Source: Send + Sync {
    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Reads `length` bytes from `offset`: all of them, as long as `offset + length` is within the size.
    ///
    /// # Errors
    /// When they cannot be read, or when the source finds that it is no longer what it was. A store that gets an error
    /// puts nothing.
    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, SourceError>>;
}

impl Body {
    /// No bytes: the body of a directory.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// How many bytes there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Source(source) => source.size(),
        }
    }

    /// Reads `length` bytes from `offset`, fewer at the end.
    ///
    /// # Errors
    /// Those of the source; also when it answers another number of bytes than it has.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let left = self.size().saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let bytes = match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                bytes.slice(start..start.saturating_add(length).min(bytes.len()))
            }
            Self::Source(source) => source.read(offset, length).await?,
        };
        if bytes.len() != length {
            return Err(format!("expected {length} bytes at {offset}, found {}", bytes.len()).into());
        }
        Ok(bytes)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.size())
    }
}
