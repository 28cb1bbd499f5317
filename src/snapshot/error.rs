//! [`SnapshotError`]: why a snapshot cannot be written or read, and where.

use crate::escape::excerpt;
use crate::key::KeyFault;
use std::io;
use thiserror::Error;

/// Why a snapshot cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// What holds the bytes failed.
    #[error("cannot read or write the snapshot")]
    Io(#[from] io::Error),
    /// The bytes are no snapshot.
    #[error("not a snapshot: expected `PSX3SNAP`, found \"{found}\" at byte 0")]
    NotASnapshot {
        /// The first bytes, safe to print.
        found: Box<str>,
    },
    /// The snapshot is of a version that this one cannot read.
    #[error("expected a snapshot of version 1, found version {found}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The bytes are not those that were written.
    #[error("damaged snapshot: {part} at byte {offset}: {damage}")]
    Damaged {
        /// Which part of the file.
        part: Part,
        /// Where that part starts.
        offset: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The bytes are those that were written, but no writer of this format writes such a row.
    #[error("invalid snapshot: row {row} of block {block}: {fault}")]
    Row {
        /// The number of the block, from 0.
        block: u64,
        /// The number of the row in it, from 0.
        row: u32,
        /// What is wrong with it.
        fault: RowFault,
    },
    /// Records, or changes, were not given in the order of their keys.
    #[error("expected a key after \"{before}\", found \"{key}\"")]
    Disorder {
        /// The key that came before, safe to print.
        before: Box<str>,
        /// The key that came too late, safe to print.
        key: Box<str>,
    },
    /// A snapshot was appended to one that reaches into its range.
    #[error("expected a snapshot of keys after \"{before}\", found one with \"{key}\"")]
    Overlap {
        /// The last key written, safe to print.
        before: Box<str>,
        /// The first key of the snapshot to be appended, safe to print.
        key: Box<str>,
    },
    /// The `ETag` of a record is longer than a snapshot can hold.
    #[error("cannot record \"{key}\": expected an ETag of at most 65535 bytes, found {bytes}")]
    LongETag {
        /// The key of the record, safe to print.
        key: Box<str>,
        /// The length of its `ETag`.
        bytes: usize,
    },
    /// The snapshot was read or written on after an error.
    #[error("expected no more reading or writing after an error")]
    Abandoned,
}

impl SnapshotError {
    pub(super) const fn damaged(part: Part, offset: u64, damage: Damage) -> Self {
        Self::Damaged { part, offset, damage }
    }

    pub(super) fn disorder(before: &[u8], key: &[u8]) -> Self {
        Self::Disorder { before: excerpt(before), key: excerpt(key) }
    }

    pub(super) fn overlap(before: &[u8], key: &[u8]) -> Self {
        Self::Overlap { before: excerpt(before), key: excerpt(key) }
    }
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Part {
    /// What the file starts with.
    #[error("header")]
    Header,
    /// A block of records, by its number from 0.
    #[error("block {0}")]
    Block(u64),
    /// The index of the blocks.
    #[error("index")]
    Index,
    /// What the file ends with.
    #[error("trailer")]
    Trailer,
}

/// What is wrong with a part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file ends within it.
    #[error("expected more bytes, found the end")]
    Ends,
    /// The file goes on behind it.
    #[error("expected the end, found more bytes")]
    GoesOn,
    /// It does not start, or end, with its marker.
    #[error("expected its marker, found {found:#010x}")]
    Marker {
        /// What stands there.
        found: u32,
    },
    /// Its bytes have another checksum than the one noted.
    #[error("expected checksum {expected:016x}, found {found:016x}")]
    Checksum {
        /// The checksum noted.
        expected: u64,
        /// The checksum of what was read.
        found: u64,
    },
    /// It does not continue what stands before it in this file.
    #[error("expected chain value {expected:016x}, found {found:016x}")]
    Chain {
        /// What follows from all that stands before.
        expected: u64,
        /// The value noted.
        found: u64,
    },
    /// A number in it is impossible, or contradicts another part of the file.
    #[error("expected {what} {expected}, found {found}")]
    Number {
        /// What the number says.
        what: &'static str,
        /// What it should be, or the most that it may be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// It holds a key that is none.
    #[error("a key in it: {0}")]
    Key(KeyFault),
    /// Its keys are not in order.
    #[error("expected keys in order, found others")]
    Order,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowFault {
    /// It reaches beyond the end of its block.
    #[error("expected more bytes, found the end of the block")]
    Ends,
    /// Bytes follow the last row of the block.
    #[error("expected the end of the block, found {0} bytes more")]
    GoesOn(u32),
    /// It shares more bytes with the key before than that key has.
    #[error("expected at most {most} bytes of the key before, found {found}")]
    Shared {
        /// The length of the key before.
        most: u32,
        /// What is shared with it.
        found: u64,
    },
    /// Its key does not come after the one before, or shares more with it than it says.
    #[error("expected a key after the one before")]
    Order,
    /// Its key is none.
    #[error("invalid key: {0}")]
    Key(KeyFault),
    /// It has flags that have no meaning, alone or together.
    #[error("expected known flags, found {0:#x}")]
    Flags(u64),
    /// It names an entry of the dictionary that there is not.
    #[error("expected an entry of the dictionary up to {most}, found {found}")]
    Dictionary {
        /// The number of the entry that would be the next.
        most: u32,
        /// The number found.
        found: u64,
    },
    /// Type and permissions are no `st_mode`.
    #[error("expected a mode, found {0:#o}")]
    Mode(u64),
    /// A number is no id.
    #[error("expected an id up to 4294967294, found {0}")]
    Id(u64),
    /// A number is too large for nanoseconds within a second.
    #[error("expected nanoseconds up to 999999999, found {0}")]
    Nanoseconds(u64),
    /// An `ETag` is too long.
    #[error("expected an ETag of at most 65535 bytes, found {0}")]
    LongETag(u64),
    /// An `ETag` is not UTF-8.
    #[error("expected an ETag in UTF-8, found other bytes")]
    ETag,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let damaged = |part, damage| SnapshotError::damaged(part, 72, damage).to_string();
        for (part, damage, message) in [
            (Part::Header, Damage::Ends, "header at byte 72: expected more bytes, found the end"),
            (Part::Trailer, Damage::GoesOn, "trailer at byte 72: expected the end, found more bytes"),
            (Part::Block(3), Damage::Marker { found: 7 }, "block 3 at byte 72: expected its marker, found 0x00000007"),
            (
                Part::Index,
                Damage::Checksum { expected: 1, found: 2 },
                "index at byte 72: expected checksum 0000000000000001, found 0000000000000002",
            ),
            (
                Part::Block(0),
                Damage::Chain { expected: 1, found: 2 },
                "block 0 at byte 72: expected chain value 0000000000000001, found 0000000000000002",
            ),
            (
                Part::Trailer,
                Damage::Number { what: "a count of blocks of", expected: 1, found: 2 },
                "trailer at byte 72: expected a count of blocks of 1, found 2",
            ),
            (Part::Index, Damage::Key(KeyFault::Dot), "index at byte 72: a key in it: expected a name, found `.`"),
            (Part::Index, Damage::Order, "index at byte 72: expected keys in order, found others"),
        ] {
            assert_eq!(damaged(part, damage), format!("damaged snapshot: {message}"));
        }
        for (fault, message) in [
            (RowFault::Ends, "expected more bytes, found the end of the block"),
            (RowFault::GoesOn(2), "expected the end of the block, found 2 bytes more"),
            (RowFault::Shared { most: 2, found: 3 }, "expected at most 2 bytes of the key before, found 3"),
            (RowFault::Order, "expected a key after the one before"),
            (RowFault::Key(KeyFault::Empty), "invalid key: expected a name, found nothing"),
            (RowFault::Flags(1 << 13), "expected known flags, found 0x2000"),
            (RowFault::Dictionary { most: 0, found: 1 }, "expected an entry of the dictionary up to 0, found 1"),
            (RowFault::Mode(0o644), "expected a mode, found 0o644"),
            (RowFault::Id(4_294_967_295), "expected an id up to 4294967294, found 4294967295"),
            (RowFault::Nanoseconds(1_000_000_000), "expected nanoseconds up to 999999999, found 1000000000"),
            (RowFault::LongETag(65_536), "expected an ETag of at most 65535 bytes, found 65536"),
            (RowFault::ETag, "expected an ETag in UTF-8, found other bytes"),
        ] {
            let error = SnapshotError::Row { block: 1, row: 2, fault };
            assert_eq!(error.to_string(), format!("invalid snapshot: row 2 of block 1: {message}"));
        }
        let failed = SnapshotError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failed.to_string(), "cannot read or write the snapshot");
        assert!(std::error::Error::source(&failed).is_some());
        let long = SnapshotError::LongETag { key: "a".into(), bytes: 65_536 };
        assert_eq!(long.to_string(), "cannot record \"a\": expected an ETag of at most 65535 bytes, found 65536");
        assert_eq!(SnapshotError::Abandoned.to_string(), "expected no more reading or writing after an error");
    }
}
