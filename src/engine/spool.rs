//! [`Spool`]: what an import puts off to its end, kept in a file once it is more than a little.

use super::bytes::{put_bytes, put_time, take, take_bytes, take_time};
use super::cause::Cause;
use super::journal::{put_record, put_remote, take_record, take_remote};
use super::report::{Outcome, Reason};
use crate::entry::{Entry, EntryKind};
use crate::key::Key;
use crate::metadata::Attributes;
use crate::mode::Permissions;
use crate::owner::{Gid, Uid};
use crate::snapshot::{Record, Remote};
use crate::symlink::SymlinkTarget;
use crate::timestamp::Timestamp;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use tempfile::SpooledTempFile;

/// How many bytes are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// An entry that is finished at the end of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deferred {
    /// The entry as it is to be.
    pub(super) entry: Entry,
    /// How it ends if the rest succeeds; `None` for a directory without an object, which is no entry of the report.
    pub(super) outcome: Option<Outcome>,
    /// What there is to say about it.
    pub(super) reasons: Vec<Reason>,
    /// The inode of a directory: only that one gets the attributes. Of a link the inode that it replaces, 0 for none.
    pub(super) inode: u64,
    /// When the inode that a link replaces had last changed.
    pub(super) ctime: Timestamp,
    /// The object, where both sides agree on it once this is finished.
    pub(super) remote: Option<Remote>,
    /// Whose attributes a directory gets.
    pub(super) rule: Rule,
}

/// Whose attributes a directory gets in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Those of its object, or the defaults.
    Object,
    /// Its own: only its times are put back to what they were.
    Keep,
    /// The defaults: it has no object, and both sides agree on that.
    Implied,
}

impl Deferred {
    /// A directory that gets these attributes, with nothing to say about it.
    pub(super) const fn directory(entry: Entry, outcome: Option<Outcome>, inode: u64) -> Self {
        Self { entry, outcome, reasons: Vec::new(), inode, ctime: Timestamp::EPOCH, remote: None, rule: Rule::Object }
    }
}

/// What a spool can hold.
pub(super) trait Spooled: Sized {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(rest: &mut &[u8]) -> Option<Self>;
}

/// A stack and queue whose memory does not grow with their number.
///
/// Each record has its length before and behind it, so that it can be read from either end.
pub(super) struct Spool<T> {
    file: SpooledTempFile,
    end: u64,
    count: u64,
    holds: PhantomData<fn() -> T>,
}

impl<T: Spooled> Spool<T> {
    pub(super) fn new() -> Self {
        Self { file: SpooledTempFile::new(IN_MEMORY), end: 0, count: 0, holds: PhantomData }
    }

    /// How many are in it.
    pub(super) const fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn push(&mut self, deferred: &T) -> io::Result<()> {
        let mut record = Vec::with_capacity(128);
        deferred.encode(&mut record);
        self.count = self.count.saturating_add(1);
        let length = u32::try_from(record.len()).map_err(io::Error::other)?.to_le_bytes();
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&length)?;
        self.file.write_all(&record)?;
        self.file.write_all(&length)?;
        self.end = self.end.saturating_add(record.len() as u64).saturating_add(8);
        Ok(())
    }

    /// Takes the last one.
    pub(super) fn pop(&mut self) -> io::Result<Option<T>> {
        let Some(at) = self.end.checked_sub(4) else { return Ok(None) };
        let length = self.length_at(at)?;
        let start = at.checked_sub(length).ok_or_else(cut)?;
        let deferred = self.record_at(start, length)?;
        self.end = start.checked_sub(4).ok_or_else(cut)?;
        self.count = self.count.saturating_sub(1);
        Ok(Some(deferred))
    }

    /// Reads the one at `position`, which starts at 0 and is moved on.
    pub(super) fn next(&mut self, position: &mut u64) -> io::Result<Option<T>> {
        if *position >= self.end {
            return Ok(None);
        }
        let length = self.length_at(*position)?;
        let deferred = self.record_at(position.saturating_add(4), length)?;
        *position = position.saturating_add(length).saturating_add(8);
        Ok(Some(deferred))
    }

    fn length_at(&mut self, at: u64) -> io::Result<u64> {
        let mut length = [0; 4];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut length)?;
        Ok(u32::from_le_bytes(length).into())
    }

    fn record_at(&mut self, start: u64, length: u64) -> io::Result<T> {
        let mut record = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut record)?;
        T::decode(&mut record.as_slice()).ok_or_else(cut)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record of the temporary file is damaged")
}

impl Spooled for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        put_record(self, out);
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        take_record(rest)
    }
}

impl Spooled for Deferred {
    fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        decode(rest)
    }
}

fn encode(deferred: &Deferred, record: &mut Vec<u8>) {
    let attributes = deferred.entry.attributes();
    put_bytes(deferred.entry.key().as_str().as_bytes(), record);
    match deferred.entry.kind() {
        EntryKind::Symlink { target } => put_bytes(target.as_bytes(), record),
        EntryKind::Directory | EntryKind::File { .. } => put_bytes(b"", record),
    }
    record.extend_from_slice(&attributes.permissions.bits().to_le_bytes());
    record.extend_from_slice(&attributes.uid.get().to_le_bytes());
    record.extend_from_slice(&attributes.gid.get().to_le_bytes());
    record.extend_from_slice(&attributes.atime.nanoseconds().to_le_bytes());
    record.extend_from_slice(&attributes.mtime.nanoseconds().to_le_bytes());
    record.push(match deferred.outcome {
        None => 0,
        Some(Outcome::Unchanged) => 1,
        Some(Outcome::Written) => 2,
        Some(Outcome::MetadataOnly) => 3,
        Some(Outcome::Skipped) => 4,
        Some(Outcome::Failed) => 5,
        Some(Outcome::Conflict) => 6,
    });
    record.extend_from_slice(&deferred.inode.to_le_bytes());
    put_time(deferred.ctime, record);
    let rule = match deferred.rule {
        Rule::Object => 0,
        Rule::Keep => 1,
        Rule::Implied => 2,
    };
    record.extend_from_slice(&[rule, u8::from(deferred.remote.is_some())]);
    deferred.remote.iter().for_each(|remote| put_remote(remote, record));
    for reason in &deferred.reasons {
        put_bytes(reason.cause.name().as_bytes(), record);
        put_bytes(reason.text.as_bytes(), record);
    }
}

fn decode(record: &mut &[u8]) -> Option<Deferred> {
    let key = Key::from_bytes(take_bytes(record)?).ok()?;
    let target = take_bytes(record)?;
    let kind = if key.is_directory() {
        EntryKind::Directory
    } else {
        EntryKind::Symlink { target: SymlinkTarget::parse(target).ok()? }
    };
    let attributes = Attributes {
        permissions: Permissions::from_bits(u32::from_le_bytes(take(record)?))?,
        uid: Uid::new(u32::from_le_bytes(take(record)?))?,
        gid: Gid::new(u32::from_le_bytes(take(record)?))?,
        atime: Timestamp::from_nanoseconds(i128::from_le_bytes(take(record)?))?,
        mtime: Timestamp::from_nanoseconds(i128::from_le_bytes(take(record)?))?,
    };
    let [outcome] = take(record)?;
    let outcome = match outcome {
        0 => None,
        1 => Some(Outcome::Unchanged),
        2 => Some(Outcome::Written),
        3 => Some(Outcome::MetadataOnly),
        4 => Some(Outcome::Skipped),
        5 => Some(Outcome::Failed),
        6 => Some(Outcome::Conflict),
        _ => return None,
    };
    let inode = u64::from_le_bytes(take(record)?);
    let ctime = take_time(record)?;
    let [rule, has_remote @ 0..=1] = take(record)? else { return None };
    let rule = match rule {
        0 => Rule::Object,
        1 => Rule::Keep,
        2 => Rule::Implied,
        _ => return None,
    };
    let remote = if has_remote == 1 { Some(take_remote(record)?) } else { None };
    let mut reasons = Vec::new();
    while !record.is_empty() {
        let name = take_bytes(record)?;
        let cause = Cause::ALL.iter().find(|cause| cause.name().as_bytes() == name)?;
        reasons.push(Reason::new(*cause, std::str::from_utf8(take_bytes(record)?).ok()?));
    }
    let entry = Entry::new(key, kind, attributes).ok()?;
    Some(Deferred { entry, outcome, reasons, inode, ctime, remote, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferred(key: &str, number: i64) -> Deferred {
        let attributes = Attributes {
            permissions: Permissions::from_mode(0o1755),
            uid: Uid::NOBODY,
            gid: Gid::ROOT,
            atime: Timestamp::from_unix(number.wrapping_neg(), 1).unwrap(),
            mtime: Timestamp::from_unix(number, 999_999_999).unwrap(),
        };
        let kind = if key.ends_with('/') {
            EntryKind::Directory
        } else {
            EntryKind::Symlink { target: SymlinkTarget::parse(b"\xff/x").unwrap() }
        };
        Deferred {
            entry: Entry::new(key.parse().unwrap(), kind, attributes).unwrap(),
            outcome: Some(Outcome::Written),
            reasons: vec![Reason::new(Cause::Kept, "one"), Reason::new(Cause::Other, "two")],
            inode: number.unsigned_abs(),
            ctime: Timestamp::from_unix(number, 5).unwrap(),
            remote: None,
            rule: Rule::Keep,
        }
    }

    #[test]
    fn records_come_back_from_either_end() {
        let all: Vec<Deferred> = (0..20_000).map(|number| deferred("a/link", number)).collect();
        let mut spool = Spool::new();
        for one in &all {
            spool.push(one).unwrap();
        }
        assert!(spool.file.is_rolled());
        let mut position = 0;
        for one in &all {
            assert_eq!(spool.next(&mut position).unwrap().as_ref(), Some(one));
        }
        assert_eq!(spool.next(&mut position).unwrap(), None);
        for one in all.iter().rev() {
            assert_eq!(spool.pop().unwrap().as_ref(), Some(one));
        }
        assert_eq!(spool.pop().unwrap(), None);
        spool.push(&deferred("d/", 1)).unwrap();
        assert_eq!(spool.pop().unwrap(), Some(deferred("d/", 1)));
    }
}
