//! [`Blocks`]: the file block by block, with every check that needs no row to be read.

use super::error::{Damage, Part, RowFault, SnapshotError};
use super::format::{
    BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES, INDEX_HEADER_BYTES, IndexEntry, MAX_PAYLOAD, MAX_RECORDS, Section,
    Sum, TRAILER_BYTES, Trailer, checksum,
};
use super::row::tag;
use super::{Header, format::number};
use std::io::{self, Read};

/// A block as it stands in the file.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Its number, from 0.
    pub(super) number: u64,
    pub(super) header: BlockHeader,
    /// The payload and what follows it in the file: rows are read with a look at some bytes more.
    pub(super) bytes: Vec<u8>,
}

impl Block {
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(..self.header.payload_length()).unwrap_or_default()
    }

    /// The bytes of the first key, which stands there whole.
    pub(super) fn first_key(&self) -> Result<&[u8], SnapshotError> {
        let key = || {
            let payload = self.payload();
            let tag = *payload.first()?;
            let mut at = 1;
            if tag & tag::SAME_SHARED == 0 && number(&self.bytes, &mut at).ok()? != 0 {
                return None;
            }
            let mut length = usize::from(tag >> tag::SUFFIX_SHIFT);
            if length == tag::LONG_SUFFIX {
                length = usize::try_from(number(&self.bytes, &mut at).ok()?).ok()?.checked_add(length)?;
            }
            payload.get(at..)?.get(..length)
        };
        key().ok_or(SnapshotError::Row { block: self.number, row: 0, fault: RowFault::Ends })
    }
}

/// What was seen of the file, for comparison with what its end says.
#[derive(Clone, Debug)]
struct Seen {
    blocks: u64,
    records: u64,
    /// Of the index that belongs to the blocks seen.
    index: Sum,
    entry: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A header is ahead, of a block or of the index.
    Reading,
    Ended,
    Failed,
}

/// Reads blocks one after the other.
#[derive(Debug)]
pub(super) struct Blocks<R> {
    pub(super) input: R,
    header: Header,
    state: State,
    /// Where the bytes ahead stand in the file.
    offset: u64,
    ahead: [u8; BLOCK_HEADER_BYTES],
    /// The number of the block ahead, and the chain value of the one before.
    next: u64,
    chain: u64,
    /// `None` where reading did not start at the first block.
    seen: Option<Seen>,
    /// What the end of the file says, if it is known to be sound.
    trailer: Option<Trailer>,
}

/// Reads as much as there is, up to the length of the buffer.
pub(super) fn read_most(input: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let mut length: usize = 0;
    while !buffer.is_empty() {
        match input.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                length = length.saturating_add(read);
                buffer = buffer.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Reads all of the buffer; an end is damage of the part.
pub(super) fn read_part(
    input: &mut impl Read,
    buffer: &mut [u8],
    part: Part,
    offset: u64,
) -> Result<(), SnapshotError> {
    match read_most(input, buffer)? {
        read if read == buffer.len() => Ok(()),
        _ => Err(SnapshotError::damaged(part, offset, Damage::Ends)),
    }
}

impl<R: Read> Blocks<R> {
    /// Reads the header.
    pub(super) fn open(mut input: R) -> Result<Self, SnapshotError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = read_most(&mut input, &mut bytes)?;
        let (header, chain) = Header::decode(bytes.get(..read).unwrap_or_default())?;
        let mut blocks = Self {
            input,
            header,
            state: State::Failed,
            offset: 0,
            ahead: [0; BLOCK_HEADER_BYTES],
            next: 0,
            chain,
            seen: None,
            trailer: None,
        };
        blocks.restart(chain)?;
        Ok(blocks)
    }

    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    /// The chain value with which the next block starts.
    pub(super) const fn chain(&self) -> u64 {
        self.chain
    }

    /// Lets nothing more be read.
    pub(super) const fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// Takes the end of the file as read.
    pub(super) const fn know(&mut self, trailer: Trailer) {
        self.trailer = Some(trailer);
    }

    /// Begins with the first block; the input stands behind the header, whose checksum is `chain`.
    pub(super) fn restart(&mut self, chain: u64) -> Result<(), SnapshotError> {
        self.go_on(0, HEADER_BYTES as u64, chain)?;
        self.seen = Some(Seen { blocks: 0, records: 0, index: Sum::new(), entry: Vec::new() });
        Ok(())
    }

    /// Goes on with a block that the input stands before, behind one with that chain value.
    pub(super) fn go_on(&mut self, number: u64, offset: u64, chain: u64) -> Result<(), SnapshotError> {
        self.state = State::Failed;
        self.seen = None;
        (self.next, self.offset, self.chain) = (number, offset, chain);
        read_part(&mut self.input, &mut self.ahead, Part::Block(number), offset)?;
        self.state = State::Reading;
        Ok(())
    }

    /// Reads the next block into `block` and checks it; `false` at the end of the file, which is checked too.
    pub(super) fn next(&mut self, block: &mut Block) -> Result<bool, SnapshotError> {
        match self.state {
            State::Reading => {}
            State::Ended => return Ok(false),
            State::Failed => return Err(SnapshotError::Abandoned),
        }
        self.state = State::Failed;
        let part = Part::Block(self.next);
        let damaged = |damage| SnapshotError::damaged(part, self.offset, damage);
        let header = match Section::decode(self.ahead) {
            Section::Block(header) => header,
            Section::Index(length) => {
                self.end(length)?;
                self.state = State::Ended;
                return Ok(false);
            }
            Section::Other(found) => return Err(damaged(Damage::Marker { found })),
        };
        let chained = header.chained(self.chain);
        if header.chain != chained.chain {
            return Err(damaged(Damage::Chain { expected: chained.chain, found: header.chain }));
        }
        let number = |what, expected: u64, found: u32| damaged(Damage::Number { what, expected, found: found.into() });
        if header.count == 0 || header.count > MAX_RECORDS {
            return Err(number("a count of records up to", MAX_RECORDS.into(), header.count));
        }
        let length = header.payload_length();
        if length > MAX_PAYLOAD {
            return Err(number("a length up to", MAX_PAYLOAD as u64, header.length));
        }

        // In one read with what follows: another block, or the index and the trailer, which are longer than a header.
        let whole = length.saturating_add(BLOCK_HEADER_BYTES);
        if block.bytes.len() < whole {
            block.bytes.resize(whole, 0);
        }
        let buffer = block.bytes.get_mut(..whole).unwrap_or_default();
        if read_most(&mut self.input, buffer)? < whole {
            return Err(damaged(Damage::Ends));
        }
        let (payload, ahead) = buffer.split_last_chunk().ok_or_else(|| damaged(Damage::Ends))?;
        let found = checksum(payload);
        if found != header.checksum {
            return Err(damaged(Damage::Checksum { expected: header.checksum, found }));
        }
        (block.number, block.header) = (self.next, header);
        self.ahead = *ahead;
        if let Some(seen) = &mut self.seen {
            seen.blocks = seen.blocks.saturating_add(1);
            seen.records = seen.records.saturating_add(header.count.into());
            seen.entry.clear();
            IndexEntry::encode(block.first_key()?, self.offset, header, &mut seen.entry);
            seen.index.add(&seen.entry);
        }
        self.offset = self.offset.saturating_add(whole as u64);
        self.next = self.next.saturating_add(1);
        self.chain = header.chain;
        self.state = State::Reading;
        Ok(true)
    }

    /// Checks what stands behind the blocks, and that it speaks of the blocks that were seen.
    fn end(&mut self, length: u64) -> Result<(), SnapshotError> {
        let trailer = match self.trailer {
            Some(trailer) => trailer,
            None => self.read_end(length)?,
        };
        let contradicts = |what, expected, found| {
            let damage = Damage::Number { what, expected, found };
            Err(SnapshotError::damaged(Part::Trailer, self.offset, damage))
        };
        if trailer.index_offset != self.offset {
            return contradicts("the index at", self.offset, trailer.index_offset);
        }
        if trailer.index_length != length {
            return contradicts("an index of", length, trailer.index_length);
        }
        if trailer.chain != self.chain {
            return contradicts("a chain value of", self.chain, trailer.chain);
        }
        let Some(seen) = &self.seen else { return Ok(()) };
        if trailer.blocks != seen.blocks {
            return contradicts("a count of blocks of", seen.blocks, trailer.blocks);
        }
        if trailer.records != seen.records {
            return contradicts("a count of records of", seen.records, trailer.records);
        }
        let index = seen.index.value();
        if trailer.index_checksum != index {
            let damage = Damage::Checksum { expected: index, found: trailer.index_checksum };
            return Err(SnapshotError::damaged(Part::Index, self.offset, damage));
        }
        Ok(())
    }

    /// Reads the index, which is only summed, and the trailer, behind which the file has to end.
    fn read_end(&mut self, length: u64) -> Result<Trailer, SnapshotError> {
        let read = self.ahead.get(INDEX_HEADER_BYTES..).unwrap_or_default();
        let mut input = read.chain(&mut self.input);
        let mut index = Sum::new();
        let mut buffer = [0; 4096];
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..most).unwrap_or_default();
            read_part(&mut input, piece, Part::Index, self.offset)?;
            index.add(piece);
            left = left.saturating_sub(most as u64);
        }
        let offset = self.offset.saturating_add(INDEX_HEADER_BYTES as u64).saturating_add(length);
        let mut bytes = [0; TRAILER_BYTES];
        read_part(&mut input, &mut bytes, Part::Trailer, offset)?;
        let trailer =
            Trailer::decode(&bytes).map_err(|damage| SnapshotError::damaged(Part::Trailer, offset, damage))?;
        let found = index.value();
        if found != trailer.index_checksum {
            let damage = Damage::Checksum { expected: trailer.index_checksum, found };
            return Err(SnapshotError::damaged(Part::Index, self.offset, damage));
        }
        if read_most(&mut input, &mut [0])? > 0 {
            return Err(SnapshotError::damaged(Part::Trailer, offset, Damage::GoesOn));
        }
        Ok(trailer)
    }
}
