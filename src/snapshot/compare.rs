//! [`compare`]: the records in which two snapshots differ.

use super::{Record, SnapshotError, SnapshotStream};
use std::cmp::Ordering;
use std::io::Read;

/// A key whose records differ in two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "it is handed over once and not kept by the thousand")]
pub enum Difference {
    /// Only the old one has the key.
    Removed(Record),
    /// Only the new one has the key.
    Added(Record),
    /// Both have the key, with different records.
    Changed {
        /// The record of the old one.
        old: Record,
        /// The record of the new one.
        new: Record,
    },
}

/// Calls `found` for each key whose records differ, in the order of the keys.
///
/// Blocks that are equal, byte by byte, are not looked into: what they hold is equal, whatever it is. So a fault in the
/// rows of both is not found, damage is. Memory is that of two blocks.
///
/// # Errors
/// [`SnapshotError`] where one of the snapshots is damaged or cannot be read; what `found` was told until then holds.
/// Whatever else `found` returns as an error ends the comparison.
///
/// ```
/// use posix_s3::snapshot::{Difference, Header, Identity, Record, SnapshotError, SnapshotStream, SnapshotWriter, compare};
///
/// let header = Header { identity: Identity::default(), recorded: "0ns".parse()? };
/// let write = |keys: &[&str]| {
///     let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
///     for key in keys {
///         writer.push(&Record { key: key.parse()?, local: None, remote: None })?;
///     }
///     Ok::<_, Box<dyn std::error::Error>>(writer.finish()?)
/// };
/// let (old, new) = (write(&["a", "b"])?, write(&["a", "c"])?);
///
/// let mut differences = Vec::new();
/// compare(&mut SnapshotStream::open(&old[..])?, &mut SnapshotStream::open(&new[..])?, |difference| {
///     differences.push(difference);
///     Ok::<_, SnapshotError>(())
/// })?;
/// assert!(matches!(&differences[..], [Difference::Removed(b), Difference::Added(c)]
///     if b.key.as_str() == "b" && c.key.as_str() == "c"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare<A: Read, B: Read, E: From<SnapshotError>>(
    old: &mut SnapshotStream<A>,
    new: &mut SnapshotStream<B>,
    mut found: impl FnMut(Difference) -> Result<(), E>,
) -> Result<(), E> {
    let (mut has_old, mut has_new) = (old.advance()?, new.advance()?);
    loop {
        let order = match (has_old, has_new) {
            (false, false) => return Ok(()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) if old.cursor.place() == 0 && new.cursor.place() == 0 && are_equal(old, new) => {
                old.skip_block()?;
                new.skip_block()?;
                (has_old, has_new) = (old.advance()?, new.advance()?);
                continue;
            }
            (true, true) => old.cursor.key().cmp(new.cursor.key()),
        };
        match order {
            Ordering::Less => {
                found(Difference::Removed(old.record()?))?;
                has_old = old.advance()?;
            }
            Ordering::Greater => {
                found(Difference::Added(new.record()?))?;
                has_new = new.advance()?;
            }
            Ordering::Equal => {
                if !old.cursor.row.reads_as(&old.block.bytes, &new.cursor.row, &new.block.bytes) {
                    // Other words for the same are no difference.
                    let (old, new) = (old.record()?, new.record()?);
                    if old != new {
                        found(Difference::Changed { old, new })?;
                    }
                }
                (has_old, has_new) = (old.advance()?, new.advance()?);
            }
        }
    }
}

/// Whether the blocks of two streams are the same, by their bytes: equal checksums can be made.
fn are_equal<A, B>(old: &SnapshotStream<A>, new: &SnapshotStream<B>) -> bool {
    old.block.header.resembles(new.block.header) && old.block.payload() == new.block.payload()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Header, Identity, SnapshotWriter};
    use crate::timestamp::Timestamp;

    #[test]
    fn blocks_of_equal_sums_and_other_bytes_are_not_equal() {
        let header = Header { identity: Identity::default(), recorded: Timestamp::EPOCH };
        let mut writer = SnapshotWriter::new(Vec::new(), &header).unwrap();
        writer.push(&Record { key: "a".parse().unwrap(), local: None, remote: None }).unwrap();
        let bytes = writer.finish().unwrap();
        let [mut old, mut new] = [&bytes, &bytes].map(|bytes| SnapshotStream::open(&bytes[..]).unwrap());
        assert!(old.load().unwrap() && new.load().unwrap());
        assert!(are_equal(&old, &new));
        // As if somebody had made two payloads of one sum.
        new.block.bytes[1] ^= 1;
        assert!(!are_equal(&old, &new));
    }
}
