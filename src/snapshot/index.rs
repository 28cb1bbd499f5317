//! [`Index`]: the blocks of a snapshot by their first keys, of which only some are held.

use super::blocks::read_part;
use super::error::{Damage, Part, SnapshotError};
use super::format::{BLOCK_HEADER_BYTES, HEADER_BYTES, INDEX_HEADER_BYTES, IndexEntry, Sum, Trailer};
use crate::key::Key;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The most entries that are held. Where there are more, every second, fourth, … is.
const MAX_SAMPLES: usize = 512;

/// A place in the index.
#[derive(Clone, Debug)]
struct Sample {
    first: Box<[u8]>,
    /// Where its entry stands in the index.
    at: u64,
    /// The number of the block.
    block: u64,
    /// How many records stand before the block, and the chain value that it continues.
    records: u64,
    chain: u64,
}

/// Where a block stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) offset: u64,
    /// The chain value of the block before.
    pub(super) chain: u64,
}

/// The index of a snapshot: enough of it in memory to find the rest, the same amount for any number of blocks.
#[derive(Debug)]
pub(super) struct Index {
    trailer: Trailer,
    samples: Vec<Sample>,
    /// One entry of so many is held.
    every: u64,
}

/// Reads entries one after the other.
struct Entries<R> {
    input: R,
    part: u64,
    left: u64,
}

impl<R: Read> Entries<R> {
    /// The next entry; its bytes, too, go to `sum`.
    fn next(&mut self, entry: &mut IndexEntry, sum: &mut impl FnMut(&[u8])) -> Result<bool, SnapshotError> {
        if self.left == 0 {
            return Ok(false);
        }
        let mut length = [0; 2];
        self.read(&mut length)?;
        sum(&length);
        entry.first.resize(u16::from_le_bytes(length).into(), 0);
        let mut key = std::mem::take(&mut entry.first);
        self.read(&mut key)?;
        sum(&key);
        entry.first = key;
        let mut numbers = [0; IndexEntry::FIXED_BYTES];
        self.read(&mut numbers)?;
        sum(&numbers);
        entry.decode_numbers(&numbers);
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        let Some(left) = self.left.checked_sub(buffer.len() as u64) else {
            return Err(SnapshotError::damaged(Part::Index, self.part, Damage::Ends));
        };
        self.left = left;
        read_part(&mut self.input, buffer, Part::Index, self.part)
    }
}

impl Index {
    /// Reads the index once and checks it: its sum, the order of its keys, that its blocks fill the file, and that each
    /// continues the one before.
    ///
    /// `chain` is the checksum of the header.
    pub(super) fn read<R: Read + Seek>(input: &mut R, trailer: Trailer, chain: u64) -> Result<Self, SnapshotError> {
        let damaged = |damage| SnapshotError::damaged(Part::Index, trailer.index_offset, damage);
        let mut index = Self { trailer, samples: Vec::new(), every: 1 };
        let mut entries = index.entries(input, 0)?;
        let mut sum = Sum::new();
        let mut entry = IndexEntry::default();
        let mut before: Vec<u8> = Vec::new();
        let (mut offset, mut chain) = (HEADER_BYTES as u64, chain);
        let (mut blocks, mut records, mut at) = (0_u64, 0_u64, 0);
        while entries.next(&mut entry, &mut |bytes| sum.add(bytes))? {
            let header = entry.header.chained(chain);
            Key::from_bytes(&entry.first).map_err(|error| damaged(Damage::Key(error.fault())))?;
            if entry.first <= before {
                return Err(damaged(Damage::Order));
            }
            if entry.offset != offset {
                return Err(damaged(Damage::Number { what: "a block at", expected: offset, found: entry.offset }));
            }
            if header != entry.header {
                return Err(damaged(Damage::Chain { expected: header.chain, found: entry.header.chain }));
            }
            if blocks.is_multiple_of(index.every) {
                index.samples.push(Sample { first: entry.first.as_slice().into(), at, block: blocks, records, chain });
            }
            if index.samples.len() > MAX_SAMPLES {
                index.every = index.every.saturating_mul(2);
                index.samples.retain(|sample| sample.block.is_multiple_of(index.every));
            }
            let length = (BLOCK_HEADER_BYTES as u64).saturating_add(header.length.into());
            (offset, chain) = (offset.saturating_add(length), header.chain);
            blocks = blocks.saturating_add(1);
            records = records.saturating_add(header.count.into());
            at = trailer.index_length.saturating_sub(entries.left);
            std::mem::swap(&mut before, &mut entry.first);
        }
        let found = sum.value();
        if found != trailer.index_checksum {
            return Err(damaged(Damage::Checksum { expected: trailer.index_checksum, found }));
        }
        for (what, expected, found) in [
            ("the last block to end at", trailer.index_offset, offset),
            ("a count of blocks of", trailer.blocks, blocks),
            ("a count of records of", trailer.records, records),
            ("a last chain value of", trailer.chain, chain),
        ] {
            if expected != found {
                return Err(damaged(Damage::Number { what, expected, found }));
            }
        }
        Ok(index)
    }

    pub(super) const fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// The entries from a place in the index on.
    fn entries<'a, R: Read + Seek>(
        &self,
        input: &'a mut R,
        at: u64,
    ) -> Result<Entries<BufReader<&'a mut R>>, SnapshotError> {
        let Trailer { index_offset, index_length, .. } = self.trailer;
        let start = index_offset.saturating_add(INDEX_HEADER_BYTES as u64).saturating_add(at);
        input.seek(SeekFrom::Start(start))?;
        let left = index_length.saturating_sub(at);
        Ok(Entries { input: BufReader::with_capacity(1 << 14, input), part: index_offset, left })
    }

    /// The last block whose first key is not behind `key`; `None` if that is none.
    pub(super) fn find<R: Read + Seek>(&self, input: &mut R, key: &[u8]) -> Result<Option<Place>, SnapshotError> {
        let behind = self.samples.partition_point(|sample| &*sample.first <= key);
        let Some(sample) = behind.checked_sub(1).and_then(|last| self.samples.get(last)) else { return Ok(None) };
        let mut entries = self.entries(input, sample.at)?;
        let mut entry = IndexEntry::default();
        let (mut block, mut chain) = (sample.block, sample.chain);
        let mut found = None;
        while entries.next(&mut entry, &mut |_| {})? && entry.first.as_slice() <= key {
            found = Some(Place { block, offset: entry.offset, chain });
            chain = entry.header.chain;
            block = block.saturating_add(1);
        }
        Ok(found)
    }

    /// Keys that cut the records into so many parts of about the same number, from what is held.
    pub(super) fn cut(&self, parts: usize) -> Vec<&[u8]> {
        let mut keys: Vec<&[u8]> = Vec::new();
        let mut last = 0;
        for part in 1..parts {
            let wanted = u128::from(self.trailer.records).saturating_mul(part as u128);
            let short = |sample: &Sample| u128::from(sample.records).saturating_mul(parts as u128) < wanted;
            let place = self.samples.partition_point(short);
            if let Some(sample) = self.samples.get(place)
                && place > last
            {
                keys.push(&sample.first);
                last = place;
            }
        }
        keys
    }
}
