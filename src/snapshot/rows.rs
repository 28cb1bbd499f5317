//! [`Rows`]: the records of a block, in little memory.

use super::cursor::Row;
use super::error::RowFault;
use super::{Age, Local, Names, Record, Remote};
use crate::key::{Key, KeyFault, KeyList};
use crate::status::Status;
use std::sync::Arc;

/// Records that stand behind each other in a snapshot, as they came from its bytes: for whoever compares thousands of
/// them with what there is, and needs few of them as a [`Record`].
///
/// - There are at most 4,096, in the order of their keys.
/// - None takes an allocation of its own.
///
/// ```
/// use posix_s3::snapshot::{Header, Identity, Record, Rows, SnapshotStream, SnapshotWriter};
///
/// let header = Header { identity: Identity::default(), recorded: "0ns".parse()? };
/// let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
/// writer.push(&Record { key: "a".parse()?, local: None, remote: None })?;
/// let bytes = writer.finish()?;
///
/// let (mut stream, mut rows) = (SnapshotStream::open(&bytes[..])?, Rows::new());
/// assert!(stream.read_block(&mut rows)?);
/// assert_eq!(rows.keys().get(0), Some("a"));
/// assert!(!rows.has_local(0));
/// assert!(!stream.read_block(&mut rows)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Rows {
    keys: Arc<KeyList>,
    rows: Vec<Row>,
    payload: Vec<u8>,
}

impl Rows {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Their keys, which stay what they are as long as somebody has them.
    #[must_use]
    pub const fn keys(&self) -> &Arc<KeyList> {
        &self.keys
    }

    /// Whether there is a local side at a place.
    #[must_use]
    pub fn has_local(&self, index: usize) -> bool {
        self.rows.get(index).is_some_and(Row::has_local)
    }

    /// Whether there is a remote side at a place.
    #[must_use]
    pub fn has_remote(&self, index: usize) -> bool {
        self.rows.get(index).is_some_and(Row::has_remote)
    }

    /// Whether there is a local side at a place and an inode is as it says: what [`Local::agrees`] says.
    #[must_use]
    pub fn agrees(&self, index: usize, status: &Status) -> bool {
        self.rows.get(index).is_some_and(|row| row.agrees(status, &self.payload))
    }

    /// The age of the local side at a place; `None` without one.
    #[must_use]
    pub fn age(&self, index: usize) -> Option<Age> {
        self.rows.get(index).filter(|row| row.has_local()).map(Row::local_age)
    }

    /// What is known of the names in what stands at a place; [`Names::Unknown`] without a local side.
    #[must_use]
    pub fn names(&self, index: usize) -> Names {
        self.rows.get(index).map_or(Names::Unknown, Row::names)
    }

    /// The local side at a place.
    #[must_use]
    pub fn local(&self, index: usize) -> Option<Local> {
        self.rows.get(index)?.local(&self.payload)
    }

    /// The remote side at a place.
    #[must_use]
    pub fn remote(&self, index: usize) -> Option<Remote> {
        self.rows.get(index)?.remote(&self.payload)
    }

    /// The record at a place; `None` beyond the last.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<Record> {
        let key = Key::parse(self.keys.get(index)?).ok()?;
        Some(Record { key, local: self.local(index), remote: self.remote(index) })
    }

    pub(super) fn clear(&mut self) {
        match Arc::get_mut(&mut self.keys) {
            Some(keys) => keys.clear(),
            // Somebody still has the keys; they get to keep them.
            None => self.keys = Arc::default(),
        }
        self.rows.clear();
    }

    /// Invariant: nobody else has the keys between [`clear`](Self::clear) and the last push, as `self` is borrowed.
    pub(super) fn push(&mut self, key: &[u8], row: Row) -> Result<(), RowFault> {
        let text = std::str::from_utf8(key).map_err(|_| RowFault::Key(KeyFault::NotUtf8))?;
        Arc::make_mut(&mut self.keys).push(text).map_err(|error| RowFault::Key(error.fault()))?;
        self.rows.push(row);
        Ok(())
    }

    pub(super) const fn take_payload(&mut self, bytes: &mut Vec<u8>) {
        std::mem::swap(&mut self.payload, bytes);
    }
}
