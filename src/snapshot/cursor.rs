//! [`RowCursor`], which goes through the rows of a block, and [`Row`], what one says.

use super::error::RowFault;
use super::format::{MAX_ETAG, number, unzigzag};
use super::row::{EMPTY_MD5, Meta, etag_of_parts, flags, narrow, tag};
use super::{Age, Local, Names, Remote};
use crate::etag::ETag;
use crate::key::{Key, KeyFault};
use crate::mode::{FileType, Permissions};
use crate::owner::{Gid, Uid};
use crate::status::Status;
use crate::timestamp::Timestamp;

/// A short suffix is copied as this many bytes, whatever its length; what is too much is overwritten by the next.
const WORD: usize = 16;

/// What a row says, without its key; what has no fixed length is a place in the payload.
///
/// - The values are those that the types of a [`Local`] and a [`Remote`] can hold.
/// - A side that the flags say is absent has what the rows before it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) flags: u16,
    mode: u16,
    uid: u32,
    gid: u32,
    /// Where the times stand that do not fit 64 bits.
    wide: u32,
    size: u64,
    mtime: i64,
    ctime: i64,
    inode: u64,
    remote_size: u64,
    modified: i64,
    modified_nanos: u32,
    etag: (u32, u32),
    xxh3: u32,
}

/// Goes through the rows of one block after the other.
#[derive(Debug)]
pub(super) struct RowCursor {
    key: Box<[u8; Key::MAX_BYTES + WORD]>,
    length: usize,
    shared: usize,
    pub(super) row: Row,
    dictionary: Vec<Meta>,
    at: usize,
    end: usize,
    count: u32,
    left: u32,
}

impl Default for RowCursor {
    fn default() -> Self {
        Self {
            key: Box::new([0; Key::MAX_BYTES + WORD]),
            length: 0,
            shared: 0,
            row: Row::default(),
            dictionary: Vec::new(),
            at: 0,
            end: 0,
            count: 0,
            left: 0,
        }
    }
}

impl RowCursor {
    /// Goes before the first row of a block of so many rows and bytes.
    pub(super) fn start(&mut self, count: u32, end: usize) {
        self.dictionary.clear();
        (self.length, self.shared, self.at) = (0, 0, 0);
        self.row = Row::default();
        (self.end, self.count, self.left) = (end, count, count);
    }

    /// The key of the row; whether it is fit to be one is for the caller to see.
    pub(super) fn key(&self) -> &[u8] {
        self.key.get(..self.length).unwrap_or_default()
    }

    /// The number of the row in its block, from 0.
    pub(super) const fn place(&self) -> u32 {
        self.count.saturating_sub(self.left).saturating_sub(1)
    }

    /// Whether there are rows and none was read.
    pub(super) const fn is_at_first_row(&self) -> bool {
        self.left > 0 && self.left == self.count
    }

    /// How many rows come after this one.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// Goes to the next row; `false` when there is none.
    ///
    /// `bytes` are the payload and at least nine bytes more.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<bool, RowFault> {
        let Some(left) = self.left.checked_sub(1) else {
            return match self.end.checked_sub(self.at) {
                Some(0) => Ok(false),
                more => Err(RowFault::GoesOn(more.and_then(|more| u32::try_from(more).ok()).unwrap_or_default())),
            };
        };
        self.left = left;
        let mut at = self.at;
        let Some(&tag) = bytes.get(at) else { return Err(RowFault::Ends) };
        at = at.wrapping_add(1);

        let mut shared = self.shared;
        if tag & tag::SAME_SHARED == 0 {
            let found = number(bytes, &mut at)?;
            shared = usize::try_from(found).unwrap_or(usize::MAX);
        }
        if shared > self.length {
            let most = u32::try_from(self.length).unwrap_or_default();
            return Err(RowFault::Shared { most, found: shared as u64 });
        }
        self.shared = shared;
        let mut length = usize::from(tag >> tag::SUFFIX_SHIFT);
        if length == tag::LONG_SUFFIX {
            length = usize::try_from(number(bytes, &mut at)?).unwrap_or(usize::MAX).saturating_add(length);
        }
        at = self.set_key(bytes, at, length)?;

        let mut row = self.row;
        if tag & tag::SAME_FLAGS == 0 {
            let found = number(bytes, &mut at)?;
            match u16::try_from(found) {
                Ok(flags) if flags::are_sound(flags) => row.flags = flags,
                _ => return Err(RowFault::Flags(found)),
            }
        }
        if row.flags & flags::NO_LOCAL == 0 {
            if tag & tag::SAME_META == 0 {
                (row.mode, row.uid, row.gid) = self.meta(bytes, &mut at)?;
            } else if self.dictionary.is_empty() {
                return Err(RowFault::Dictionary { most: 0, found: u64::MAX });
            }
            row.size = number(bytes, &mut at)?;
            if row.flags & flags::WIDE == 0 {
                row.mtime = row.mtime.wrapping_add(unzigzag(number(bytes, &mut at)?));
                row.ctime = match row.flags & flags::SAME_TIMES {
                    0 => row.ctime.wrapping_add(unzigzag(number(bytes, &mut at)?)),
                    _ => row.mtime,
                };
            } else {
                row.wide = u32::try_from(at).unwrap_or_default();
                let times = if row.flags & flags::SAME_TIMES == 0 { 2 } else { 1 };
                for _ in 0..times {
                    plain_time(bytes, &mut at)?;
                }
            }
            row.inode = row.inode.wrapping_add_signed(unzigzag(number(bytes, &mut at)?));
        }
        if row.flags & flags::REMOTE != 0 {
            at = row.read_remote(bytes, at)?;
        }
        if at > self.end {
            return Err(RowFault::Ends);
        }
        self.row = row;
        self.at = at;
        Ok(true)
    }

    /// Takes what is its own of the key, which has to make it larger.
    #[inline]
    fn set_key(&mut self, bytes: &[u8], at: usize, length: usize) -> Result<usize, RowFault> {
        let (shared, before) = (self.shared, self.length);
        let whole = shared.saturating_add(length);
        if whole > Key::MAX_BYTES {
            return Err(RowFault::Key(KeyFault::TooLong));
        }
        let own = bytes.get(at..).unwrap_or_default();
        let Some(room) = self.key.get_mut(shared..) else { return Err(RowFault::Order) };
        // What is shared is all that is equal, so one byte decides. It is compared before it is overwritten.
        let larger = match (own.first(), room.first()) {
            (Some(own), Some(old)) => length > 0 && (shared == before || own > old),
            _ => false,
        };
        if !larger {
            return Err(RowFault::Order);
        }
        if let (true, Some(to), Some(from)) = (length <= WORD, room.first_chunk_mut(), own.first_chunk::<WORD>()) {
            *to = *from;
        } else {
            match (room.get_mut(..length), own.get(..length)) {
                (Some(to), Some(from)) => to.copy_from_slice(from),
                _ => return Err(RowFault::Ends),
            }
        }
        self.length = whole;
        Ok(at.wrapping_add(length))
    }

    /// Reads an entry of the dictionary, or one that is new.
    fn meta(&mut self, bytes: &[u8], at: &mut usize) -> Result<Meta, RowFault> {
        let id = number(bytes, at)?;
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        if let Some(meta) = self.dictionary.get(place) {
            return Ok(*meta);
        }
        if place != self.dictionary.len() {
            let most = u32::try_from(self.dictionary.len()).unwrap_or_default();
            return Err(RowFault::Dictionary { most, found: id });
        }
        let mode = number(bytes, at)?;
        let mode = match u16::try_from(mode) {
            Ok(bits) if FileType::from_mode(bits.into()).is_some() => bits,
            _ => return Err(RowFault::Mode(mode)),
        };
        let mut id = || {
            let found = number(bytes, at)?;
            u32::try_from(found).ok().filter(|id| Uid::new(*id).is_some()).ok_or(RowFault::Id(found))
        };
        let meta = (mode, id()?, id()?);
        self.dictionary.push(meta);
        Ok(meta)
    }
}

/// Reads a time in seconds and nanoseconds.
fn plain_time(bytes: &[u8], at: &mut usize) -> Result<Timestamp, RowFault> {
    let Some(chunk) = bytes.get(*at..).and_then(<[u8]>::first_chunk::<12>) else { return Err(RowFault::Ends) };
    let [seconds @ .., a, b, c, d] = *chunk;
    let nanos = u32::from_le_bytes([a, b, c, d]);
    *at = at.wrapping_add(12);
    Timestamp::from_unix(i64::from_le_bytes(seconds), nanos).ok_or(RowFault::Nanoseconds(nanos.into()))
}

impl Row {
    fn read_remote(&mut self, bytes: &[u8], mut at: usize) -> Result<usize, RowFault> {
        let mut length = 0;
        if self.flags & flags::ETAG == flags::ETAG_TEXT {
            let found = number(bytes, &mut at)?;
            length = usize::try_from(found).unwrap_or(usize::MAX);
            if length > MAX_ETAG {
                return Err(RowFault::LongETag(found));
            }
        }
        let start = at;
        at = match self.flags & flags::ETAG {
            flags::ETAG_EMPTY => at,
            flags::ETAG_MD5 => at.wrapping_add(16),
            flags::ETAG_PARTS => {
                at = at.wrapping_add(16);
                number(bytes, &mut at)?;
                at
            }
            _ => {
                let text = bytes.get(at..).and_then(|rest| rest.get(..length)).ok_or(RowFault::Ends)?;
                std::str::from_utf8(text).map_err(|_| RowFault::ETag)?;
                at.wrapping_add(length)
            }
        };
        let place = |at: usize| u32::try_from(at).unwrap_or_default();
        self.etag = (place(start), place(at));
        self.remote_size = if self.flags & flags::OWN_SIZE == 0 { self.size } else { number(bytes, &mut at)? };
        self.modified_nanos = 0;
        if self.flags & flags::NO_MODIFIED == 0 {
            self.modified = self.modified.wrapping_add(unzigzag(number(bytes, &mut at)?));
            if self.flags & flags::MODIFIED_NANOS != 0 {
                let found = number(bytes, &mut at)?;
                self.modified_nanos = u32::try_from(found).unwrap_or(u32::MAX);
                Timestamp::from_unix(0, self.modified_nanos).ok_or(RowFault::Nanoseconds(found))?;
            }
        }
        if self.flags & flags::XXH3 != 0 {
            self.xxh3 = place(at);
            at = at.wrapping_add(16);
        }
        Ok(at)
    }

    pub(super) const fn has_local(&self) -> bool {
        self.flags & flags::NO_LOCAL == 0
    }

    pub(super) const fn has_remote(&self) -> bool {
        self.flags & flags::REMOTE != 0
    }

    pub(super) const fn local_age(&self) -> Age {
        if self.flags & flags::LOCAL_RACY == 0 { Age::Settled } else { Age::Racy }
    }

    pub(super) const fn names(&self) -> Names {
        if self.flags & flags::NAMES == 0 { Names::Unknown } else { Names::Recorded }
    }

    fn times(&self, payload: &[u8]) -> Option<(Timestamp, Timestamp)> {
        if self.flags & flags::WIDE == 0 {
            let time = |nanoseconds: i64| Timestamp::from_nanoseconds(nanoseconds.into());
            return Some((time(self.mtime)?, time(self.ctime)?));
        }
        let mut at = self.wide as usize;
        let mtime = plain_time(payload, &mut at).ok()?;
        let same = self.flags & flags::SAME_TIMES != 0;
        Some((mtime, if same { mtime } else { plain_time(payload, &mut at).ok()? }))
    }

    /// The local side, if there is one. Invariant: `payload` is the one that the row was read from.
    pub(super) fn local(&self, payload: &[u8]) -> Option<Local> {
        if !self.has_local() {
            return None;
        }
        let (mtime, ctime) = self.times(payload)?;
        Some(Local {
            file_type: FileType::from_mode(self.mode.into())?,
            size: self.size,
            permissions: Permissions::from_mode(self.mode.into()),
            uid: Uid::new(self.uid)?,
            gid: Gid::new(self.gid)?,
            mtime,
            ctime,
            inode: self.inode,
            age: self.local_age(),
            names: self.names(),
        })
    }

    /// Whether there is a local side and an inode is as it says; what [`Local::agrees`] says, in fewer steps.
    pub(super) fn agrees(&self, status: &Status, payload: &[u8]) -> bool {
        let attributes = &status.attributes;
        let mode = status.file_type.bits() | attributes.permissions.bits();
        let same = self.has_local()
            && u32::from(self.mode) == mode
            && self.uid == attributes.uid.get()
            && self.gid == attributes.gid.get()
            && self.size == status.size
            && self.inode == status.inode;
        if !same {
            return false;
        }
        match (self.flags & flags::WIDE, narrow(attributes.mtime), narrow(status.ctime)) {
            (0, Some(mtime), Some(ctime)) => self.mtime == mtime && self.ctime == ctime,
            _ => self.times(payload) == Some((attributes.mtime, status.ctime)),
        }
    }

    /// The remote side, if there is one. Invariant: as for [`Row::local`].
    pub(super) fn remote(&self, payload: &[u8]) -> Option<Remote> {
        if !self.has_remote() {
            return None;
        }
        let etag = payload.get(self.etag.0 as usize..self.etag.1 as usize)?;
        let etag = match self.flags & flags::ETAG {
            flags::ETAG_EMPTY => ETag::from_md5(EMPTY_MD5),
            flags::ETAG_MD5 => ETag::from_md5(*etag.first_chunk()?),
            flags::ETAG_PARTS => {
                let parts = number(payload, &mut (self.etag.0 as usize).wrapping_add(16)).ok()?;
                etag_of_parts(*etag.first_chunk()?, parts)
            }
            _ => ETag::new(std::str::from_utf8(etag).ok()?),
        };
        let racy = self.flags & flags::REMOTE_RACY != 0;
        let mut remote = Remote {
            etag,
            size: self.remote_size,
            last_modified: None,
            xxh3: None,
            age: if racy { Age::Racy } else { Age::Settled },
        };
        if self.flags & flags::NO_MODIFIED == 0 {
            remote.last_modified = Some(Timestamp::from_unix(self.modified, self.modified_nanos)?);
        }
        if self.flags & flags::XXH3 != 0 {
            remote.xxh3 = Some(*payload.get(self.xxh3 as usize..)?.first_chunk()?);
        }
        Some(remote)
    }

    /// Whether two rows say the same in the same words. If not they may still say the same.
    #[inline]
    pub(super) fn reads_as(&self, payload: &[u8], other: &Self, others: &[u8]) -> bool {
        if self.flags != other.flags || self.flags & flags::WIDE != 0 {
            return false;
        }
        let local = !self.has_local()
            || (self.mode, self.uid, self.gid, self.size) == (other.mode, other.uid, other.gid, other.size)
                && (self.mtime, self.ctime, self.inode) == (other.mtime, other.ctime, other.inode);
        local && (!self.has_remote() || self.remote_reads_as(payload, other, others))
    }

    fn remote_reads_as(&self, payload: &[u8], other: &Self, others: &[u8]) -> bool {
        let etag = |row: &Self, bytes| <[u8]>::get(bytes, row.etag.0 as usize..row.etag.1 as usize);
        let xxh3 = |row: &Self, bytes| <[u8]>::get(bytes, row.xxh3 as usize..).and_then(<[u8]>::first_chunk::<16>);
        let modified = self.flags & flags::NO_MODIFIED != 0
            || (self.modified, self.modified_nanos) == (other.modified, other.modified_nanos);
        self.remote_size == other.remote_size
            && modified
            && etag(self, payload) == etag(other, others)
            && (self.flags & flags::XXH3 == 0 || xxh3(self, payload) == xxh3(other, others))
    }
}
