//! A row, the form of a record in a block: its flags, and how a record is written as one.

use super::format::{FULL_PAYLOAD, MAX_ETAG, MAX_RECORDS, is_border, put_number, zigzag};
use super::{Age, Local, Names, Record, Remote, SnapshotError};
use crate::escape::excerpt;
use crate::etag::ETag;
use crate::timestamp::Timestamp;

/// The bits of a row's first byte; the other five are the length of what is its own of the key.
pub(super) mod tag {
    /// Type, permissions, owner and group are those of the row before.
    pub(in crate::snapshot) const SAME_META: u8 = 1;
    /// It shares as many bytes with the key before as the row before did.
    pub(in crate::snapshot) const SAME_SHARED: u8 = 2;
    /// The flags are those of the row before.
    pub(in crate::snapshot) const SAME_FLAGS: u8 = 4;
    pub(in crate::snapshot) const SUFFIX_SHIFT: u32 = 3;
    /// From this on, the rest of the length follows as a number.
    pub(in crate::snapshot) const LONG_SUFFIX: usize = 31;
}

/// What a row has and how it is written. Those that differ from row to row come first: they fit one byte.
pub(super) mod flags {
    /// ctime equals mtime.
    pub(in crate::snapshot) const SAME_TIMES: u16 = 1;
    /// [`Names::Recorded`](super::Names::Recorded).
    pub(in crate::snapshot) const NAMES: u16 = 1 << 1;
    /// There is a remote side.
    pub(in crate::snapshot) const REMOTE: u16 = 1 << 2;
    /// How the `ETag` is written: one of the four below.
    pub(in crate::snapshot) const ETAG: u16 = 3 << 3;
    /// As the 16 bytes of an MD5.
    pub(in crate::snapshot) const ETAG_MD5: u16 = 0;
    /// Not at all: it is the MD5 of nothing.
    pub(in crate::snapshot) const ETAG_EMPTY: u16 = 1 << 3;
    /// As the 16 bytes of an MD5 and a number of parts.
    pub(in crate::snapshot) const ETAG_PARTS: u16 = 2 << 3;
    /// As text.
    pub(in crate::snapshot) const ETAG_TEXT: u16 = 3 << 3;
    /// There is no local side.
    pub(in crate::snapshot) const NO_LOCAL: u16 = 1 << 5;
    /// The local side is racy.
    pub(in crate::snapshot) const LOCAL_RACY: u16 = 1 << 6;
    /// The remote side is racy.
    pub(in crate::snapshot) const REMOTE_RACY: u16 = 1 << 7;
    /// The size of the remote side is not that of the local one, or there is no local one.
    pub(in crate::snapshot) const OWN_SIZE: u16 = 1 << 8;
    /// There is no Last-Modified.
    pub(in crate::snapshot) const NO_MODIFIED: u16 = 1 << 9;
    /// Last-Modified has nanoseconds.
    pub(in crate::snapshot) const MODIFIED_NANOS: u16 = 1 << 10;
    /// The XXH3 of the body is recorded.
    pub(in crate::snapshot) const XXH3: u16 = 1 << 11;
    /// mtime and ctime are written as seconds and nanoseconds.
    pub(in crate::snapshot) const WIDE: u16 = 1 << 12;

    const OF_LOCAL: u16 = SAME_TIMES | NAMES | LOCAL_RACY | WIDE;
    const OF_REMOTE: u16 = ETAG | REMOTE_RACY | OWN_SIZE | NO_MODIFIED | MODIFIED_NANOS | XXH3;

    /// Whether a reader knows what they mean together.
    pub(in crate::snapshot) const fn are_sound(flags: u16) -> bool {
        let known = flags < WIDE << 1;
        let local = flags & NO_LOCAL == 0 || flags & OF_LOCAL == 0;
        let remote =
            if flags & REMOTE == 0 { flags & OF_REMOTE == 0 } else { flags & NO_LOCAL == 0 || flags & OWN_SIZE != 0 };
        known && local && remote && flags & (NO_MODIFIED | MODIFIED_NANOS) != NO_MODIFIED | MODIFIED_NANOS
    }
}

/// The MD5 of nothing.
pub(super) const EMPTY_MD5: [u8; 16] =
    [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e];

/// Type and permissions as `st_mode`, owner, group.
pub(super) type Meta = (u16, u32, u32);

/// A time as nanoseconds in 64 bits, which reach from 1677 to 2262.
pub(super) fn narrow(time: Timestamp) -> Option<i64> {
    time.seconds().checked_mul(1_000_000_000)?.checked_add(time.subsecond_nanos().into())
}

/// The digest and the number of parts in the `ETag` of an object that was put in parts, if it has the form of one.
fn md5_and_parts(etag: &ETag) -> Option<([u8; 16], u64)> {
    let (md5, parts) = etag.as_str().strip_suffix('"')?.split_once('-')?;
    let number: u64 = parts.parse().ok()?;
    // One spelling only: `+2` and `02` are text.
    if number.to_string() != parts {
        return None;
    }
    Some((ETag::new(&format!("{md5}\"")).md5()?, number))
}

/// The `ETag` of an object put in parts.
pub(super) fn etag_of_parts(md5: [u8; 16], parts: u64) -> ETag {
    let whole = ETag::from_md5(md5);
    ETag::new(&format!("{}-{parts}\"", whole.as_str().trim_end_matches('"')))
}

/// The longest common start.
pub(super) fn shared_length(one: &[u8], other: &[u8]) -> usize {
    let mut shared: usize = 0;
    for (one, other) in one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0) {
        let differing = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differing != 0 {
            return shared.wrapping_add(differing.trailing_zeros() as usize / 8);
        }
        shared = shared.wrapping_add(8);
    }
    let rest = one.get(shared..).unwrap_or_default().iter().zip(other.get(shared..).unwrap_or_default());
    shared.wrapping_add(rest.take_while(|(one, other)| one == other).count())
}

/// Writes the rows of one block after the other.
#[derive(Debug, Default)]
pub(super) struct RowEncoder {
    /// The payload so far.
    pub(super) payload: Vec<u8>,
    pub(super) count: u32,
    /// The first key of the block.
    pub(super) first: Vec<u8>,
    /// The last key, also that of the block before.
    pub(super) last: Vec<u8>,
    dictionary: Vec<Meta>,
    meta: usize,
    shared: usize,
    flags: u16,
    mtime: i64,
    ctime: i64,
    inode: u64,
    modified: i64,
}

impl RowEncoder {
    /// Begins the next block; every one can be read without those before it.
    pub(super) fn restart(&mut self) {
        self.payload.clear();
        self.dictionary.clear();
        self.count = 0;
        // No entry, so that the first row names one.
        self.meta = usize::MAX;
        (self.shared, self.flags) = (0, 0);
        (self.mtime, self.ctime, self.inode, self.modified) = (0, 0, 0, 0);
    }

    /// Appends a row, and answers whether the block ends behind it.
    pub(super) fn push(&mut self, record: &Record) -> Result<bool, SnapshotError> {
        let key = record.key.as_str().as_bytes();
        let common = shared_length(&self.last, key);
        // A key that is the start of the one before, or the same one, is not behind it.
        if key.get(common) <= self.last.get(common) {
            return Err(SnapshotError::disorder(&self.last, key));
        }
        if let Some(bytes) = record.remote.as_ref().map(|remote| remote.etag.as_str().len())
            && bytes > MAX_ETAG
        {
            return Err(SnapshotError::LongETag { key: excerpt(key), bytes });
        }
        if self.count == 0 {
            self.restart();
            self.first.clear();
            self.first.extend_from_slice(key);
        }
        let shared = if self.count == 0 { 0 } else { common };
        let suffix = key.get(shared..).unwrap_or_default();
        let parts = record.remote.as_ref().map(|remote| md5_and_parts(&remote.etag)).unwrap_or_default();
        let flags = flags_of(record, parts.is_some());
        let meta = record.local.as_ref().map(meta_of);
        let id = match meta {
            Some(meta) if self.dictionary.get(self.meta) != Some(&meta) => {
                self.dictionary.iter().position(|entry| *entry == meta).unwrap_or(self.dictionary.len())
            }
            _ => self.meta,
        };

        let place = self.payload.len();
        self.payload.push(0);
        let mut tag = u8::try_from(suffix.len().min(tag::LONG_SUFFIX)).unwrap_or_default() << tag::SUFFIX_SHIFT;
        if shared == self.shared {
            tag |= tag::SAME_SHARED;
        } else {
            put_number(&mut self.payload, shared as u64);
        }
        if let Some(rest) = suffix.len().checked_sub(tag::LONG_SUFFIX) {
            put_number(&mut self.payload, rest as u64);
        }
        self.payload.extend_from_slice(suffix);
        if flags == self.flags {
            tag |= tag::SAME_FLAGS;
        } else {
            put_number(&mut self.payload, flags.into());
        }
        if id == self.meta {
            tag |= tag::SAME_META;
        } else if let Some(meta) = meta {
            put_number(&mut self.payload, id as u64);
            if id == self.dictionary.len() {
                self.dictionary.push(meta);
                put_number(&mut self.payload, meta.0.into());
                put_number(&mut self.payload, meta.1.into());
                put_number(&mut self.payload, meta.2.into());
            }
        }
        if let Some(byte) = self.payload.get_mut(place) {
            *byte = tag;
        }
        (self.meta, self.shared, self.flags) = (id, shared, flags);
        if let Some(local) = &record.local {
            self.push_local(local, flags);
        }
        if let Some(remote) = &record.remote {
            self.push_remote(remote, flags, parts);
        }

        self.last.truncate(common);
        self.last.extend_from_slice(key.get(common..).unwrap_or_default());
        self.count = self.count.wrapping_add(1);
        Ok(self.count >= MAX_RECORDS || self.payload.len() >= FULL_PAYLOAD || is_border(key))
    }

    fn push_local(&mut self, local: &Local, flags: u16) {
        let Self { payload, .. } = self;
        put_number(payload, local.size);
        if flags & flags::WIDE != 0 {
            let ctime = if flags & flags::SAME_TIMES == 0 { Some(local.ctime) } else { None };
            for time in [Some(local.mtime), ctime].into_iter().flatten() {
                payload.extend(time.seconds().to_le_bytes());
                payload.extend(time.subsecond_nanos().to_le_bytes());
            }
        } else if let (Some(mtime), Some(ctime)) = (narrow(local.mtime), narrow(local.ctime)) {
            put_number(payload, zigzag(mtime.wrapping_sub(self.mtime)));
            if flags & flags::SAME_TIMES == 0 {
                put_number(payload, zigzag(ctime.wrapping_sub(self.ctime)));
            }
            (self.mtime, self.ctime) = (mtime, ctime);
        }
        put_number(payload, zigzag(local.inode.wrapping_sub(self.inode).cast_signed()));
        self.inode = local.inode;
    }

    fn push_remote(&mut self, remote: &Remote, flags: u16, parts: Option<([u8; 16], u64)>) {
        let Self { payload, .. } = self;
        match flags & flags::ETAG {
            flags::ETAG_MD5 => payload.extend(remote.etag.md5().unwrap_or_default()),
            flags::ETAG_EMPTY => {}
            flags::ETAG_PARTS => {
                let (md5, parts) = parts.unwrap_or_default();
                payload.extend(md5);
                put_number(payload, parts);
            }
            _ => {
                put_number(payload, remote.etag.as_str().len() as u64);
                payload.extend(remote.etag.as_str().bytes());
            }
        }
        if flags & flags::OWN_SIZE != 0 {
            put_number(payload, remote.size);
        }
        if let Some(modified) = remote.last_modified {
            put_number(payload, zigzag(modified.seconds().wrapping_sub(self.modified)));
            self.modified = modified.seconds();
            if flags & flags::MODIFIED_NANOS != 0 {
                put_number(payload, modified.subsecond_nanos().into());
            }
        }
        payload.extend(remote.xxh3.into_iter().flatten());
    }
}

fn meta_of(local: &Local) -> Meta {
    let mode = local.file_type.bits() | local.permissions.bits();
    (u16::try_from(mode).unwrap_or_default(), local.uid.get(), local.gid.get())
}

fn flags_of(record: &Record, parts: bool) -> u16 {
    let mut flags = 0;
    let mut set = |flag, condition| {
        if condition {
            flags |= flag;
        }
    };
    match &record.local {
        None => set(flags::NO_LOCAL, true),
        Some(local) => {
            set(flags::SAME_TIMES, local.ctime == local.mtime);
            set(flags::NAMES, local.names == Names::Recorded);
            set(flags::LOCAL_RACY, local.age == Age::Racy);
            set(flags::WIDE, narrow(local.mtime).is_none() || narrow(local.ctime).is_none());
        }
    }
    if let Some(remote) = &record.remote {
        set(flags::REMOTE, true);
        match remote.etag.md5() {
            Some(EMPTY_MD5) => set(flags::ETAG_EMPTY, true),
            Some(_) => set(flags::ETAG_MD5, true),
            None if parts => set(flags::ETAG_PARTS, true),
            None => set(flags::ETAG_TEXT, true),
        }
        set(flags::REMOTE_RACY, remote.age == Age::Racy);
        set(flags::OWN_SIZE, record.local.as_ref().map(|local| local.size) != Some(remote.size));
        set(flags::NO_MODIFIED, remote.last_modified.is_none());
        set(flags::MODIFIED_NANOS, remote.last_modified.is_some_and(|time| time.subsecond_nanos() != 0));
        set(flags::XXH3, remote.xxh3.is_some());
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_etag_that_parts_make_is_written_as_parts() {
        let digits = "d41d8cd98f00b204e9800998ecf8427e";
        let etag = ETag::new(&format!("\"{digits}-12\""));
        assert_eq!(md5_and_parts(&etag), Some((EMPTY_MD5, 12)));
        assert_eq!(etag_of_parts(EMPTY_MD5, 12), etag);
        for text in ["-", "-01", "-+1", "--1", "-1-1", "-99999999999999999999", "-1 ", "+1"] {
            assert_eq!(md5_and_parts(&ETag::new(&format!("\"{digits}{text}\""))), None, "{text}");
        }
        assert_eq!(md5_and_parts(&ETag::new(&format!("{digits}-1"))), None);
    }

    #[test]
    fn the_common_start_is_the_longest() {
        let one = b"0123456789abcdef0123";
        for end in 0..one.len() {
            assert_eq!(shared_length(one, &[&one[..end], b"x"].concat()), end);
            assert_eq!(shared_length(one, &one[..end]), end);
        }
    }
}
