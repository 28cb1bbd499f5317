//! [`SnapshotStream`]: the records of a snapshot from the front.

use super::blocks::{Block, Blocks};
use super::cursor::RowCursor;
use super::error::{RowFault, SnapshotError};
use super::format::BlockHeader;
use super::rows::Rows;
use super::{Header, Record};
use crate::key::Key;
use std::io::Read;

/// Reads a snapshot from the front, from anything that can be read.
///
/// - Records come in the order of their keys, and as they were written.
/// - Damage is found where it is met: bytes that are not those written are an error before any row of their block is
///   taken for true, and an end that comes too early is an error, not an end.
/// - Memory is that of one block, whatever the number of records.
///
/// It reads whole blocks, so that an input needs no buffer of its own.
///
/// ```
/// use posix_s3::snapshot::{Header, Identity, Record, SnapshotStream, SnapshotWriter};
///
/// let header = Header { identity: Identity::default(), recorded: "0ns".parse()? };
/// let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
/// writer.push(&Record { key: "a".parse()?, local: None, remote: None })?;
/// let bytes = writer.finish()?;
///
/// let mut stream = SnapshotStream::open(&bytes[..])?;
/// assert_eq!(stream.next()?.map(|record| record.key), Some("a".parse()?));
/// assert_eq!(stream.next()?, None);
///
/// let mut cut = SnapshotStream::open(&bytes[..bytes.len() - 1])?;
/// assert!(cut.next().is_ok());
/// assert!(cut.next().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SnapshotStream<R> {
    pub(super) blocks: Blocks<R>,
    pub(super) block: Block,
    pub(super) cursor: RowCursor,
    /// Whether the row at the cursor is still to be given.
    held: bool,
    /// A key that the next block has to come after.
    before: Vec<u8>,
}

impl<R: Read> SnapshotStream<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`SnapshotError`] where there is none that can be read.
    pub fn open(input: R) -> Result<Self, SnapshotError> {
        let blocks = Blocks::open(input)?;
        Ok(Self { blocks, block: Block::default(), cursor: RowCursor::default(), held: false, before: Vec::new() })
    }

    /// What the snapshot says about itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.blocks.header()
    }

    /// The next record; `None` behind the last one, once the end of the file has been found sound.
    ///
    /// # Errors
    /// [`SnapshotError`] where the file is damaged or cannot be read. There is nothing to be read behind an error.
    #[allow(clippy::should_implement_trait, reason = "an iterator would have to be told not to go on after an error")]
    pub fn next(&mut self) -> Result<Option<Record>, SnapshotError> {
        if !self.advance()? {
            return Ok(None);
        }
        self.record().map(Some)
    }

    /// Reads the rest of the block that is being read, or else the next block; `false` at the end, where `rows` are
    /// none.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn read_block(&mut self, rows: &mut Rows) -> Result<bool, SnapshotError> {
        rows.clear();
        let read = self.read_rows(rows);
        if read.is_err() {
            rows.clear();
        }
        read
    }

    fn read_rows(&mut self, rows: &mut Rows) -> Result<bool, SnapshotError> {
        while self.advance()? {
            if let Err(fault) = rows.push(self.cursor.key(), self.cursor.row) {
                return Err(self.fail(fault));
            }
            if self.cursor.left() == 0 {
                self.end_block()?;
                // The rows need the payload, and this no longer does.
                rows.take_payload(&mut self.block.bytes);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops what was read of a block: the next row is the first one behind the place to which `blocks` has gone.
    pub(super) fn forget_block(&mut self) {
        self.cursor.start(0, 0);
        self.held = false;
        self.before.clear();
    }

    /// Drops a block of which no row was read.
    pub(super) fn skip_block(&mut self) -> Result<(), SnapshotError> {
        self.before.clear();
        self.before.extend_from_slice(self.block.first_key()?);
        self.cursor.start(0, 0);
        Ok(())
    }

    /// Whether a block has been read and none of its rows.
    pub(super) const fn is_at_first_row(&self) -> bool {
        !self.held && self.cursor.is_at_first_row()
    }

    /// Gives the row at the cursor once more.
    pub(super) const fn hold(&mut self) {
        self.held = true;
    }

    /// Whether the next row is the first of a block, or there is none.
    pub(super) const fn is_at_border(&self) -> bool {
        !self.held && self.cursor.left() == 0
    }

    /// Goes to the next row, if need be in the next block.
    pub(super) fn advance(&mut self) -> Result<bool, SnapshotError> {
        if self.held {
            self.held = false;
            return Ok(true);
        }
        loop {
            if self.cursor.left() > 0 {
                return match self.cursor.advance(&self.block.bytes) {
                    Ok(_) => Ok(true),
                    Err(fault) => Err(self.fail(fault)),
                };
            }
            if !self.load()? {
                return Ok(false);
            }
        }
    }

    /// Reads the next block and goes before its first row.
    pub(super) fn load(&mut self) -> Result<bool, SnapshotError> {
        self.end_block()?;
        if !self.blocks.next(&mut self.block)? {
            self.cursor.start(0, 0);
            return Ok(false);
        }
        self.start_block()?;
        Ok(true)
    }

    /// Takes a block that was read ahead, and goes before its first row.
    pub(super) fn begin(&mut self, ahead: &mut Block) -> Result<(), SnapshotError> {
        self.end_block()?;
        std::mem::swap(&mut self.block, ahead);
        self.start_block()
    }

    /// Leaves a block of which all rows were read.
    fn end_block(&mut self) -> Result<(), SnapshotError> {
        if let Err(fault) = self.cursor.advance(&self.block.bytes) {
            return Err(self.fail(fault));
        }
        if !self.cursor.key().is_empty() {
            self.before.clear();
            self.before.extend_from_slice(self.cursor.key());
        }
        Ok(())
    }

    fn start_block(&mut self) -> Result<(), SnapshotError> {
        let BlockHeader { count, .. } = self.block.header;
        self.cursor.start(count, self.block.header.payload_length());
        if self.block.first_key()? <= &self.before[..] {
            return Err(self.fail(RowFault::Order));
        }
        Ok(())
    }

    /// The record at the cursor.
    pub(super) fn record(&mut self) -> Result<Record, SnapshotError> {
        let (row, bytes) = (&self.cursor.row, &self.block.bytes);
        let key = match Key::from_bytes(self.cursor.key()) {
            Ok(key) => key,
            Err(error) => return Err(self.fail(RowFault::Key(error.fault()))),
        };
        Ok(Record { key, local: row.local(bytes), remote: row.remote(bytes) })
    }

    /// The error for the row at the cursor, behind which nothing is read.
    pub(super) fn fail(&mut self, fault: RowFault) -> SnapshotError {
        let error = SnapshotError::Row { block: self.block.number, row: self.cursor.place(), fault };
        self.blocks.fail();
        self.cursor.start(0, 0);
        self.held = false;
        error
    }
}
