//! [`SnapshotReader`]: a snapshot in which one can go to any key.

use super::blocks::{Block, read_part};
use super::error::{Part, SnapshotError};
use super::format::{HEADER_BYTES, INDEX_HEADER_BYTES, TRAILER_BYTES, Trailer};
use super::index::Index;
use super::rows::Rows;
use super::stream::SnapshotStream;
use super::{Damage, Header, Record};
use crate::key::Key;
use std::io::{Read, Seek, SeekFrom};

/// Reads a snapshot from a file: how many records there are, from any key on, or all.
///
/// - It says and gives what a [`SnapshotStream`] does.
/// - A file that is cut or longer, or whose start and end are of two files, is found when it is opened; what else is not
///   as it was written, at the latest when its block is read.
/// - Memory is that of a block and of 512 keys, whatever the number of records.
///
/// ```
/// use posix_s3::snapshot::{Header, Identity, Record, SnapshotReader, SnapshotWriter};
/// use std::io::Cursor;
///
/// let header = Header { identity: Identity::default(), recorded: "0ns".parse()? };
/// let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
/// for key in ["a", "b", "c"] {
///     writer.push(&Record { key: key.parse()?, local: None, remote: None })?;
/// }
/// let mut reader = SnapshotReader::open(Cursor::new(writer.finish()?))?;
/// assert_eq!(reader.len(), 3);
/// reader.verify()?;
/// reader.seek("aa")?;
/// assert_eq!(reader.next()?.map(|record| record.key), Some("b".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SnapshotReader<R> {
    stream: SnapshotStream<R>,
    index: Index,
    /// The checksum of the header, with which the chain starts.
    chain: u64,
}

impl<R: Read + Seek> SnapshotReader<R> {
    /// Reads and checks the header, the trailer and the index.
    ///
    /// # Errors
    /// [`SnapshotError`] where they are not those of one whole snapshot.
    pub fn open(mut input: R) -> Result<Self, SnapshotError> {
        input.seek(SeekFrom::Start(0))?;
        let mut stream = SnapshotStream::open(input)?;
        let chain = stream.blocks.chain();
        let input = &mut stream.blocks.input;
        let length = input.seek(SeekFrom::End(0))?;
        let Some(offset) = length.checked_sub(TRAILER_BYTES as u64) else {
            return Err(SnapshotError::damaged(Part::Trailer, length, Damage::Ends));
        };
        input.seek(SeekFrom::Start(offset))?;
        let mut bytes = [0; TRAILER_BYTES];
        read_part(input, &mut bytes, Part::Trailer, offset)?;
        let damaged = |damage| SnapshotError::damaged(Part::Trailer, offset, damage);
        let trailer = Trailer::decode(&bytes).map_err(damaged)?;
        let found =
            (trailer.index_offset.saturating_add(INDEX_HEADER_BYTES as u64)).saturating_add(trailer.index_length);
        if found != offset || trailer.index_offset < HEADER_BYTES as u64 {
            return Err(damaged(Damage::Number { what: "an index that ends at", expected: offset, found }));
        }
        let index = Index::read(input, trailer, chain)?;
        stream.blocks.know(trailer);
        let mut reader = Self { stream, index, chain };
        reader.rewind()?;
        Ok(reader)
    }

    /// What the snapshot says about itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.stream.header()
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.index.trailer().records
    }

    /// What tells this snapshot from every other of the same link: the checksum over all its blocks.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.index.trailer().chain
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads all of the file and compares every checksum. Afterwards the next record is the first.
    ///
    /// # Errors
    /// [`SnapshotError`] where a byte is not as it was written.
    pub fn verify(&mut self) -> Result<(), SnapshotError> {
        self.rewind()?;
        let mut block = Block::default();
        while self.stream.blocks.next(&mut block)? {}
        self.rewind()
    }

    /// The next record; `None` behind the last one.
    ///
    /// # Errors
    /// As [`SnapshotStream::next`].
    #[allow(clippy::should_implement_trait, reason = "as for the stream")]
    pub fn next(&mut self) -> Result<Option<Record>, SnapshotError> {
        self.stream.next()
    }

    /// Reads the rest of the block that is being read, or else the next block; as [`SnapshotStream::read_block`].
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn read_block(&mut self, rows: &mut Rows) -> Result<bool, SnapshotError> {
        self.stream.read_block(rows)
    }

    /// Goes to a key: the next record is the first whose key is not before it. It need not be the key of a record, nor
    /// fit to be one: the empty text goes to the first record.
    ///
    /// # Errors
    /// As [`next`](Self::next); one can still go elsewhere.
    pub fn seek(&mut self, key: &str) -> Result<(), SnapshotError> {
        let key = key.as_bytes();
        self.stream.forget_block();
        self.stream.blocks.fail();
        let Some(place) = self.index.find(&mut self.stream.blocks.input, key)? else { return self.rewind() };
        self.stream.blocks.input.seek(SeekFrom::Start(place.offset))?;
        self.stream.blocks.go_on(place.block, place.offset, place.chain)?;
        while self.stream.advance()? {
            if self.stream.cursor.key() >= key {
                self.stream.hold();
                break;
            }
        }
        Ok(())
    }

    /// Keys that cut the records into so many ranges of about the same number of records, for whoever shares the work.
    /// There are `parts - 1` of them, or fewer if there are not as many blocks; with 512 ranges and more they are rough.
    #[must_use]
    pub fn cut(&self, parts: usize) -> Vec<Key> {
        self.index.cut(parts).into_iter().filter_map(|key| Key::from_bytes(key).ok()).collect()
    }

    /// The rest of the records as a stream, for what takes one.
    pub const fn stream(&mut self) -> &mut SnapshotStream<R> {
        &mut self.stream
    }

    fn rewind(&mut self) -> Result<(), SnapshotError> {
        self.stream.forget_block();
        self.stream.blocks.fail();
        self.stream.blocks.input.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        self.stream.blocks.restart(self.chain)
    }
}
