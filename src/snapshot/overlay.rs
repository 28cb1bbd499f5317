//! [`overlay`]: a snapshot with changes laid over it.

use super::blocks::Block;
use super::{Record, SnapshotError, SnapshotStream, SnapshotWriter};
use crate::key::Key;
use std::io::{Read, Write};

/// A change of what is recorded of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "most changes are the large one")]
pub enum Edit {
    /// The key has this record from now on.
    Put(Record),
    /// The key has none from now on.
    Remove(Key),
}

impl Edit {
    /// The key whose record changes.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(record) => &record.key,
            Self::Remove(key) => key,
        }
    }
}

/// Writes what is left of a snapshot with edits applied to it. Edits come in the order of their keys, each key once; to
/// remove a key that has no record changes nothing.
///
/// Blocks in which nothing changes are copied as they are; what is written is what would be if every record were pushed
/// to `writer`, if `base` was written so and is read from its start.
///
/// # Errors
/// [`SnapshotError::Disorder`] where the edits are not in order, those of reading and writing, and those that the edits
/// come with. What was written is then of no use.
///
/// ```
/// use posix_s3::snapshot::{Edit, Header, Identity, Record, SnapshotError, SnapshotStream, SnapshotWriter, overlay};
///
/// let header = Header { identity: Identity::default(), recorded: "0ns".parse()? };
/// let record = |key: &str| Ok::<_, posix_s3::InvalidKey>(Record { key: key.parse()?, local: None, remote: None });
/// let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
/// writer.push(&record("a")?)?;
/// writer.push(&record("b")?)?;
/// let base = writer.finish()?;
///
/// let edits = [Edit::Remove("a".parse()?), Edit::Put(record("c")?)];
/// let mut writer = SnapshotWriter::new(Vec::new(), &header)?;
/// overlay(&mut SnapshotStream::open(&base[..])?, edits.map(Ok::<_, SnapshotError>), &mut writer)?;
/// let bytes = writer.finish()?;
///
/// let mut stream = SnapshotStream::open(&bytes[..])?;
/// assert_eq!(stream.next()?, Some(record("b")?));
/// assert_eq!(stream.next()?, Some(record("c")?));
/// assert_eq!(stream.next()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn overlay<R: Read, W: Write, E: From<SnapshotError>>(
    base: &mut SnapshotStream<R>,
    edits: impl IntoIterator<Item = Result<Edit, E>>,
    writer: &mut SnapshotWriter<W>,
) -> Result<(), E> {
    let mut edits = Edits { edits: edits.into_iter(), next: None };
    edits.go_on()?;
    // A block is read ahead: where the next one starts tells which edits fall into the one before.
    let mut ahead = Block::default();
    let mut has_ahead = base.blocks.next(&mut ahead)?;
    loop {
        let end = if has_ahead { Some(ahead.first_key()?) } else { None };
        if base.is_at_first_row() && writer.is_at_border() && !edits.fall_before(end) {
            writer.copy(base)?;
        }
        while !base.is_at_border() {
            base.advance()?;
            edits.put_before(Some(base.cursor.key()), writer)?;
            if !edits.replace(base.cursor.key(), writer)? {
                writer.push(&base.record()?)?;
            }
        }
        edits.put_before(end, writer)?;
        if !has_ahead {
            return Ok(());
        }
        base.begin(&mut ahead)?;
        has_ahead = base.blocks.next(&mut ahead)?;
    }
}

/// The edits that are still to be applied, and a look at the next one.
struct Edits<I> {
    edits: I,
    next: Option<Edit>,
}

impl<E: From<SnapshotError>, I: Iterator<Item = Result<Edit, E>>> Edits<I> {
    fn go_on(&mut self) -> Result<Option<Edit>, E> {
        let next = self.edits.next().transpose()?;
        if let (Some(last), Some(next)) = (&self.next, &next)
            && last.key() >= next.key()
        {
            let (before, key) = (last.key().as_str(), next.key().as_str());
            return Err(SnapshotError::disorder(before.as_bytes(), key.as_bytes()).into());
        }
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Whether the next edit comes before a key; before the end of all, any does.
    fn fall_before(&self, end: Option<&[u8]>) -> bool {
        let next = self.next.as_ref().map(|edit| edit.key().as_str().as_bytes());
        next.is_some_and(|next| end.is_none_or(|end| next < end))
    }

    /// Applies the edits before a key, where the base has no record.
    fn put_before<W: Write>(&mut self, end: Option<&[u8]>, writer: &mut SnapshotWriter<W>) -> Result<(), E> {
        while self.fall_before(end) {
            if let Some(Edit::Put(record)) = self.go_on()? {
                writer.push(&record)?;
            }
        }
        Ok(())
    }

    /// Applies the edit of a key, if there is one.
    fn replace<W: Write>(&mut self, key: &[u8], writer: &mut SnapshotWriter<W>) -> Result<bool, E> {
        if self.next.as_ref().is_none_or(|edit| edit.key().as_str().as_bytes() != key) {
            return Ok(false);
        }
        if let Some(Edit::Put(record)) = self.go_on()? {
            writer.push(&record)?;
        }
        Ok(true)
    }
}
