//! The fixed parts of the file: header, block header, entry of the index, trailer; and how numbers are written.

use super::error::{Damage, Part, RowFault, SnapshotError};
use crate::escape::excerpt;
use crate::timestamp::Timestamp;
use std::fmt;
use std::hash::Hasher as _;
use twox_hash::XxHash3_64;

pub(super) const VERSION: u32 = 1;
/// The most records of a block.
pub(super) const MAX_RECORDS: u32 = 4096;
/// A block ends when its payload has come to this, whatever its records.
pub(super) const FULL_PAYLOAD: usize = 1 << 20;
/// The longest payload: one that was nearly full, and a row with the longest key and `ETag`.
pub(super) const MAX_PAYLOAD: usize = FULL_PAYLOAD + (128 << 10);
/// The longest `ETag` of a record.
pub(super) const MAX_ETAG: usize = 65_535;

pub(super) const HEADER_BYTES: usize = 72;
pub(super) const BLOCK_HEADER_BYTES: usize = 28;
pub(super) const INDEX_HEADER_BYTES: usize = 12;
pub(super) const TRAILER_BYTES: usize = 64;

pub(crate) const MAGIC: [u8; 8] = *b"PSX3SNAP";
const BLOCK_MARKER: [u8; 4] = *b"BLCK";
const INDEX_MARKER: [u8; 4] = *b"INDX";
const END_MAGIC: [u8; 8] = *b"PSX3END.";

pub(super) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// The checksum of bytes that come piece by piece.
#[derive(Clone)]
pub(super) struct Sum(XxHash3_64);

impl Sum {
    pub(super) fn new() -> Self {
        Self(XxHash3_64::new())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.finish()
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sum({:016x})", self.value())
    }
}

/// Whether a block ends after the record of this key. It depends on the key alone, so that a record that comes or goes
/// moves no border but its own.
pub(super) fn is_border(key: &[u8]) -> bool {
    checksum(key).trailing_zeros() >= 10
}

/// Which link and which tree a snapshot belongs to. The bytes are the caller's; here they are only compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The link.
    pub link: [u8; 16],
    /// The root of the tree.
    pub root: [u8; 16],
}

/// What a snapshot says about itself as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Whose records these are.
    pub identity: Identity,
    /// When it was written, by the clock of the tree: no record is later.
    pub recorded: Timestamp,
}

/// Takes the next `N` bytes of a part whose length is fixed.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

impl Header {
    /// The bytes of the header and its checksum, with which the chain starts.
    pub(super) fn encode(&self) -> (Vec<u8>, u64) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.identity.link);
        bytes.extend(self.identity.root);
        bytes.extend(self.recorded.seconds().to_le_bytes());
        bytes.extend(self.recorded.subsecond_nanos().to_le_bytes());
        bytes.extend([0; 4]);
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        (bytes, sum)
    }

    /// Reads as many bytes as there were, up to the length of a header.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, u64), SnapshotError> {
        let damaged = |damage| SnapshotError::damaged(Part::Header, 0, damage);
        let mut rest = bytes;
        let version = match (take(&mut rest), take(&mut rest)) {
            (Some(MAGIC), Some(version)) => u32::from_le_bytes(version),
            (Some(MAGIC), None) => return Err(damaged(Damage::Ends)),
            _ => {
                let found = excerpt(bytes.get(..MAGIC.len()).unwrap_or(bytes));
                return Err(SnapshotError::NotASnapshot { found });
            }
        };
        // Before the checksum: of another version nothing is known but that it says so here.
        if version != VERSION {
            return Err(SnapshotError::Version { found: version });
        }
        let mut fields = || {
            let reserved = u64::from(u32::from_le_bytes(take(&mut rest)?));
            let identity = Identity { link: take(&mut rest)?, root: take(&mut rest)? };
            let seconds = i64::from_le_bytes(take(&mut rest)?);
            let nanos = u32::from_le_bytes(take(&mut rest)?);
            let reserved = reserved | u64::from(u32::from_le_bytes(take(&mut rest)?));
            Some((reserved, identity, seconds, nanos, u64::from_le_bytes(take(&mut rest)?)))
        };
        let Some((reserved, identity, seconds, nanos, expected)) = fields() else { return Err(damaged(Damage::Ends)) };
        let found = bytes.get(..HEADER_BYTES.saturating_sub(8)).map(checksum).unwrap_or_default();
        if found != expected {
            return Err(damaged(Damage::Checksum { expected, found }));
        }
        if reserved != 0 {
            return Err(damaged(Damage::Number { what: "reserved bytes", expected: 0, found: reserved }));
        }
        let recorded = Timestamp::from_unix(seconds, nanos).ok_or_else(|| {
            damaged(Damage::Number { what: "nanoseconds up to", expected: 999_999_999, found: nanos.into() })
        })?;
        Ok((Self { identity, recorded }, found))
    }
}

/// What stands before each block's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) count: u32,
    pub(super) length: u32,
    pub(super) checksum: u64,
    pub(super) chain: u64,
}

/// What may follow a block.
pub(super) enum Section {
    Block(BlockHeader),
    /// The index, with its length in bytes.
    Index(u64),
    /// Neither, with what stands in place of the marker.
    Other(u32),
}

impl BlockHeader {
    /// The header of a block behind one whose chain value is `before`.
    pub(super) fn new(before: u64, count: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self { count, length, checksum: checksum(payload), chain: 0 }.chained(before)
    }

    /// The same block behind another one.
    pub(super) fn chained(self, before: u64) -> Self {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend(before.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.checksum.to_le_bytes());
        Self { chain: checksum(&bytes), ..self }
    }

    pub(super) fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend(BLOCK_MARKER);
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.checksum.to_le_bytes());
        bytes.extend(self.chain.to_le_bytes());
    }

    /// Whether another block holds the same, as far as checksums tell.
    pub(super) const fn resembles(self, other: Self) -> bool {
        self.count == other.count && self.length == other.length && self.checksum == other.checksum
    }

    pub(super) const fn payload_length(self) -> usize {
        self.length as usize
    }
}

impl Section {
    /// Reads what follows a block, from as many bytes as every section has.
    pub(super) fn decode(bytes: [u8; BLOCK_HEADER_BYTES]) -> Self {
        let mut rest: &[u8] = &bytes;
        let marker: [u8; 4] = take(&mut rest).unwrap_or_default();
        let mut numbers = || {
            Some(match marker {
                BLOCK_MARKER => Self::Block(BlockHeader {
                    count: u32::from_le_bytes(take(&mut rest)?),
                    length: u32::from_le_bytes(take(&mut rest)?),
                    checksum: u64::from_le_bytes(take(&mut rest)?),
                    chain: u64::from_le_bytes(take(&mut rest)?),
                }),
                INDEX_MARKER => Self::Index(u64::from_le_bytes(take(&mut rest)?)),
                _ => return None,
            })
        };
        numbers().unwrap_or_else(|| Self::Other(u32::from_be_bytes(marker)))
    }
}

/// What stands before the index.
pub(super) fn index_header(length: u64) -> Vec<u8> {
    [&INDEX_MARKER[..], &length.to_le_bytes()].concat()
}

/// A block in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) first: Vec<u8>,
    pub(super) offset: u64,
    pub(super) header: BlockHeader,
}

impl IndexEntry {
    /// The bytes of an entry behind the bytes of its key.
    pub(super) const FIXED_BYTES: usize = 32;

    pub(super) fn encode(first: &[u8], offset: u64, header: BlockHeader, bytes: &mut Vec<u8>) {
        bytes.extend(u16::try_from(first.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(first);
        bytes.extend(offset.to_le_bytes());
        bytes.extend(header.count.to_le_bytes());
        bytes.extend(header.length.to_le_bytes());
        bytes.extend(header.checksum.to_le_bytes());
        bytes.extend(header.chain.to_le_bytes());
    }

    /// Takes what follows the key.
    pub(super) fn decode_numbers(&mut self, bytes: &[u8; Self::FIXED_BYTES]) {
        let mut rest: &[u8] = bytes;
        let mut numbers = || {
            let offset = u64::from_le_bytes(take(&mut rest)?);
            let count = u32::from_le_bytes(take(&mut rest)?);
            let length = u32::from_le_bytes(take(&mut rest)?);
            let checksum = u64::from_le_bytes(take(&mut rest)?);
            let chain = u64::from_le_bytes(take(&mut rest)?);
            Some((offset, BlockHeader { count, length, checksum, chain }))
        };
        (self.offset, self.header) = numbers().unwrap_or_default();
    }
}

/// What the file ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the header of the index stands.
    pub(super) index_offset: u64,
    /// How many bytes the entries of the index have.
    pub(super) index_length: u64,
    pub(super) blocks: u64,
    pub(super) records: u64,
    pub(super) index_checksum: u64,
    /// The chain value of the last block, or of the header.
    pub(super) chain: u64,
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TRAILER_BYTES);
        for number in [self.index_offset, self.index_length, self.blocks, self.records, self.index_checksum, self.chain]
        {
            bytes.extend(number.to_le_bytes());
        }
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(END_MAGIC);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; TRAILER_BYTES]) -> Result<Self, Damage> {
        let mut rest: &[u8] = bytes;
        let found = bytes.first_chunk::<48>().map(|numbers| checksum(numbers)).unwrap_or_default();
        let mut number = || take(&mut rest).map(u64::from_le_bytes).unwrap_or_default();
        let [index_offset, index_length, blocks, records, index_checksum, chain, expected, magic] =
            std::array::from_fn(|_| number());
        if magic != u64::from_le_bytes(END_MAGIC) {
            return Err(Damage::Marker {
                found: u32::from_be_bytes(magic.to_le_bytes().first_chunk().copied().unwrap_or_default()),
            });
        }
        if found != expected {
            return Err(Damage::Checksum { expected, found });
        }
        Ok(Self { index_offset, index_length, blocks, records, index_checksum, chain })
    }
}

// ---- Numbers of variable length.

/// Appends a number: as many zero bits as bytes follow the first one, a one bit, the number. Of nine bytes, the first
/// is zero and the others are the number.
pub(super) fn put_number(bytes: &mut Vec<u8>, number: u64) {
    let bits = 64_u32.wrapping_sub((number | 1).leading_zeros());
    let length = bits.div_ceil(7);
    if length <= 8 {
        let word = (number << length) | (1_u64 << length.wrapping_sub(1));
        bytes.extend_from_slice(word.to_le_bytes().get(..length as usize).unwrap_or_default());
    } else {
        bytes.push(0);
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads a number at a place and moves the place behind it.
///
/// It looks at nine bytes, so as many have to follow wherever a number may start; that it ended before the end of the
/// payload is for the caller to see.
#[inline]
pub(super) fn number(bytes: &[u8], at: &mut usize) -> Result<u64, RowFault> {
    let Some([first @ .., last]) = bytes.get(*at..).and_then(<[u8]>::first_chunk::<9>) else {
        return Err(RowFault::Ends);
    };
    let word = u64::from_le_bytes(*first);
    let length = word.trailing_zeros().wrapping_add(1);
    if length <= 8 {
        *at = at.wrapping_add(length as usize);
        let unused = 64_u32.wrapping_sub(length.wrapping_mul(8));
        Ok((word << unused) >> unused >> length)
    } else {
        *at = at.wrapping_add(9);
        Ok(word >> 8 | u64::from(*last) << 56)
    }
}

/// Numbers near zero of either sign as small numbers.
pub(super) const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_read_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift, !(1_u64 << shift)] {
                let mut bytes = Vec::new();
                put_number(&mut bytes, value);
                let length = bytes.len();
                assert_eq!(length, (64 - (value | 1).leading_zeros()).div_ceil(7).min(9) as usize);
                bytes.extend([0xff; 9]);
                let mut at = 0;
                assert_eq!((number(&bytes, &mut at), at), (Ok(value), length), "{value:#x}");
                let signed = value.cast_signed();
                assert_eq!(unzigzag(zigzag(signed)), signed);
            }
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_bytes() {
        assert_eq!(number(&[1; 8], &mut 0), Err(RowFault::Ends));
        assert_eq!(number(&[1; 9], &mut 10), Err(RowFault::Ends));
    }
}
