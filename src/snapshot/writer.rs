//! [`SnapshotWriter`]: records in key order to the bytes of a snapshot.

use super::blocks::Block;
use super::cursor::RowCursor;
use super::error::SnapshotError;
use super::format::{BLOCK_HEADER_BYTES, BlockHeader, IndexEntry, Trailer, checksum, index_header};
use super::row::RowEncoder;
use super::stream::SnapshotStream;
use super::{Header, Record};
use std::io::{Read, Write};

/// Writes a snapshot, record by record, to anything that can be written.
///
/// - Records have to come in the order of their keys, each key once; what does not is refused and not written.
/// - The bytes are a snapshot only once [`finish`](Self::finish) has returned; whoever reads less sees that it is.
/// - The bytes depend on the header and the records alone, if all were pushed.
/// - It holds one block, and of each block written some hundred bytes for the index.
///
/// It writes whole blocks, so that an output needs no buffer of its own.
///
/// ```
/// use posix_s3::snapshot::{Header, Identity, Record, SnapshotError, SnapshotWriter};
///
/// let header = Header { identity: Identity::default(), recorded: "0ns".parse()? };
/// let record = |key: &str| Ok::<_, posix_s3::InvalidKey>(Record { key: key.parse()?, local: None, remote: None });
///
/// let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
/// writer.push(&record("b")?)?;
/// assert!(matches!(writer.push(&record("a")?), Err(SnapshotError::Disorder { .. })));
/// let bytes = writer.finish()?;
/// assert!(bytes.starts_with(b"PSX3SNAP"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    output: W,
    /// How many bytes are written.
    offset: u64,
    chain: u64,
    blocks: u64,
    records: u64,
    index: Vec<u8>,
    encoder: RowEncoder,
    /// The block that was copied last, if nothing was pushed since: its last key is still to be read.
    copied: Option<Block>,
    scratch: Vec<u8>,
    /// Whether the output failed, so that nobody knows what it holds.
    failed: bool,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn new(mut output: W, header: &Header) -> Result<Self, SnapshotError> {
        let (bytes, chain) = header.encode();
        output.write_all(&bytes)?;
        Ok(Self {
            output,
            offset: bytes.len() as u64,
            chain,
            blocks: 0,
            records: 0,
            index: Vec::new(),
            encoder: RowEncoder::default(),
            copied: None,
            scratch: Vec::new(),
            failed: false,
        })
    }

    /// How many records are in it so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.records.saturating_add(self.encoder.count as u64)
    }

    /// Whether no record is in it so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`SnapshotError::Disorder`] or [`SnapshotError::LongETag`] for a record that cannot be appended; others can still
    /// be. [`SnapshotError::Io`] when the output failed, and [`SnapshotError::Abandoned`] ever after.
    pub fn push(&mut self, record: &Record) -> Result<(), SnapshotError> {
        self.read_last_key()?;
        if self.encoder.push(record)? {
            self.end_block()?;
        }
        Ok(())
    }

    /// Appends what is left of a snapshot whose keys all come after those written: the snapshots of neighbouring ranges
    /// make that of the whole. Its blocks are copied as they are; that it is of the same link and scan is not asked.
    ///
    /// # Errors
    /// [`SnapshotError::Overlap`] when the first key does not come after the last one written; those of reading.
    pub fn append<R: Read>(&mut self, other: &mut SnapshotStream<R>) -> Result<(), SnapshotError> {
        self.read_last_key()?;
        let mut first = true;
        // What is left of a block of which rows were read; the others are whole.
        while !other.is_at_border() {
            if !other.advance()? {
                return Ok(());
            }
            self.check_range(other.cursor.key(), first)?;
            first = false;
            self.push(&other.record()?)?;
        }
        while other.load()? {
            self.check_range(other.block.first_key()?, first)?;
            first = false;
            self.copy(other)?;
        }
        Ok(())
    }

    fn check_range(&self, key: &[u8], first: bool) -> Result<(), SnapshotError> {
        match first && key <= self.last_key() {
            true => Err(SnapshotError::overlap(self.last_key(), key)),
            false => Ok(()),
        }
    }

    fn last_key(&self) -> &[u8] {
        &self.encoder.last
    }

    /// Whether no block is begun, so that one can be copied.
    pub(super) const fn is_at_border(&self) -> bool {
        self.encoder.count == 0
    }

    /// Copies the block that a stream has read, and of which it has given no row.
    ///
    /// Behind a block that was copied, too, only their first keys are compared: that the blocks of one snapshot do not
    /// reach into each other is seen when it is read.
    pub(super) fn copy<R: Read>(&mut self, other: &mut SnapshotStream<R>) -> Result<(), SnapshotError> {
        let before = match &self.copied {
            Some(block) => block.first_key()?,
            None => self.last_key(),
        };
        if other.block.first_key()? <= before {
            return Err(SnapshotError::disorder(before, other.block.first_key()?));
        }
        self.end_block()?;
        let header = other.block.header.chained(self.chain);
        self.write_block(header, Some(&other.block))?;
        other.skip_block()?;
        std::mem::swap(self.copied.get_or_insert_default(), &mut other.block);
        Ok(())
    }

    /// Reads the last key of the block that was copied.
    pub(super) fn read_last_key(&mut self) -> Result<(), SnapshotError> {
        let Some(block) = self.copied.take() else { return Ok(()) };
        let mut cursor = RowCursor::default();
        cursor.start(block.header.count, block.header.payload_length());
        loop {
            match cursor.advance(&block.bytes) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => return Err(SnapshotError::Row { block: block.number, row: cursor.place(), fault }),
            }
        }
        self.encoder.last.clear();
        self.encoder.last.extend_from_slice(cursor.key());
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), SnapshotError> {
        if self.encoder.count > 0 {
            let header = BlockHeader::new(self.chain, self.encoder.count, &self.encoder.payload);
            self.write_block(header, None)?;
            self.encoder.restart();
        }
        Ok(())
    }

    /// Writes a block that was copied, or the one that was encoded.
    fn write_block(&mut self, header: BlockHeader, copied: Option<&Block>) -> Result<(), SnapshotError> {
        let (first, payload) = match copied {
            Some(block) => (block.first_key()?, block.payload()),
            None => (&self.encoder.first[..], &self.encoder.payload[..]),
        };
        if self.failed {
            return Err(SnapshotError::Abandoned);
        }
        self.scratch.clear();
        header.encode(&mut self.scratch);
        self.scratch.extend_from_slice(payload);
        self.failed = true;
        self.output.write_all(&self.scratch)?;
        self.failed = false;
        IndexEntry::encode(first, self.offset, header, &mut self.index);
        let length = BLOCK_HEADER_BYTES.saturating_add(payload.len());
        self.offset = self.offset.saturating_add(length as u64);
        self.chain = header.chain;
        self.blocks = self.blocks.saturating_add(1);
        self.records = self.records.saturating_add(header.count.into());
        Ok(())
    }

    /// Writes the index and the trailer, flushes, and gives the output back.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn finish(mut self) -> Result<W, SnapshotError> {
        self.end_block()?;
        if self.failed {
            return Err(SnapshotError::Abandoned);
        }
        let trailer = Trailer {
            index_offset: self.offset,
            index_length: self.index.len() as u64,
            blocks: self.blocks,
            records: self.records,
            index_checksum: checksum(&self.index),
            chain: self.chain,
        };
        self.output.write_all(&index_header(trailer.index_length))?;
        self.output.write_all(&self.index)?;
        self.output.write_all(&trailer.encode())?;
        self.output.flush()?;
        Ok(self.output)
    }
}
