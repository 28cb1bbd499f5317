//! [`StateStore`]: where a link keeps the record of its last agreement between runs.
//!
//! Five parts, each a file: the snapshot, the one before it, the one that is being written, the journal of the run at work,
//! and the link. What is in them is the business of [`snapshot`](crate::snapshot), of the journal and of the link; here is
//! only how they are kept.

#[cfg(all(feature = "local", target_os = "linux"))]
mod file;

#[cfg(all(feature = "local", target_os = "linux"))]
pub use file::{FileState, OpenStateError};

use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Cursor, Read, Seek, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A part of the state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The record of the last agreement.
    Snapshot,
    /// The record before it. It is kept for people; no run reads it.
    Previous,
    /// The record that is being written.
    Next,
    /// What the run at work has done since the snapshot.
    Journal,
    /// What the link is, and how it stands: a document of its own, written anew as a whole.
    Link,
}

/// Where the state of a link is kept. It belongs to one run at a time.
///
/// The calls block for as long as the disk takes, but for waiting until something is on it.
pub trait StateStore: Send + Sync {
    /// Opens a part to be read; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>>;

    /// Makes a part anew, empty. It takes the place of the one before when it is first brought to the disk; its name is on the
    /// disk then as well. Of a state that outlives the process, the one before stays until then: a journal is begun with what
    /// the one before left open, and a crash meanwhile must not lose that.
    ///
    /// # Errors
    /// When it cannot be made.
    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>>;

    /// Removes a part. That it is not there is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&self, part: Part) -> io::Result<()>;

    /// Makes [`Part::Next`] the snapshot and the snapshot the previous one. After a crash at any moment the snapshot is
    /// the old one or the new one, whole.
    ///
    /// # Errors
    /// When it could not be done; the snapshot is then the one it was.
    fn publish(&self) -> io::Result<()>;
}

/// A part that is read.
pub trait StateRead: Read + Seek + Send {}

impl<R: Read + Seek + Send> StateRead for R {}

/// A part that is written.
pub trait StateWrite: Write + Send {
    /// What brings everything written by then to the disk.
    fn syncer(&self) -> Syncer;
}

/// Brings what was written to the disk, without holding up whoever writes on.
pub type Syncer = Arc<dyn Fn() -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

/// A state in memory, gone with the process: for tests and examples.
///
/// ```
/// use posix_s3::engine::{ExportOptions, MemoryState, Silent, export_since};
/// use posix_s3::{Profile, store::MemoryStore, tree::MemoryTree};
///
/// let (tree, bucket, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
/// let options = ExportOptions::new(Profile::fsx()).with_bucket("s3://bucket");
/// let report = futures_executor::block_on(export_since(&tree, &bucket, &state, &options, &Silent))?;
/// assert_eq!(report.entries, 0);
/// # Ok::<(), posix_s3::engine::RunError>(())
/// ```
#[derive(Default)]
pub struct MemoryState {
    parts: Mutex<HashMap<Part, Arc<Mutex<Vec<u8>>>>>,
}

impl MemoryState {
    /// A state in which nothing is recorded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of a part.
    #[must_use]
    pub fn get(&self, part: Part) -> Option<Vec<u8>> {
        self.parts().get(&part).map(|bytes| lock(bytes).clone())
    }

    /// Puts bytes in the place of a part.
    pub fn set(&self, part: Part, bytes: Vec<u8>) {
        self.parts().insert(part, Arc::new(Mutex::new(bytes)));
    }

    fn parts(&self) -> MutexGuard<'_, HashMap<Part, Arc<Mutex<Vec<u8>>>>> {
        lock(&self.parts)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is in it is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_map();
        for (part, bytes) in self.parts().iter() {
            parts.entry(part, &lock(bytes).len());
        }
        parts.finish()
    }
}

impl StateStore for MemoryState {
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>> {
        Ok(self.get(part).map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn StateRead>))
    }

    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>> {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        self.parts().insert(part, Arc::clone(&bytes));
        Ok(Box::new(MemoryPart { bytes }))
    }

    fn remove(&self, part: Part) -> io::Result<()> {
        self.parts().remove(&part);
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        let mut parts = self.parts();
        let next = parts.remove(&Part::Next).ok_or(io::ErrorKind::NotFound)?;
        if let Some(snapshot) = parts.insert(Part::Snapshot, next) {
            parts.insert(Part::Previous, snapshot);
        }
        Ok(())
    }
}

struct MemoryPart {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Write for MemoryPart {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        lock(&self.bytes).extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StateWrite for MemoryPart {
    fn syncer(&self) -> Syncer {
        Arc::new(|| Box::pin(async { Ok(()) }))
    }
}
