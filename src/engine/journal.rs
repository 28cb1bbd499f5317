//! [`Journal`]: what a run is about to do and what it has done, so that a crash loses at most the requests in flight.
//!
//! Three kinds of line:
//!
//! - *Intent*: an object is about to be put. It is on the disk before the request is sent, so that a later run can tell its
//!   own late write from a stranger's.
//! - *Record* or *removal*: what both sides agree on from now. It is written after the store has acknowledged, never
//!   before.
//! - *End*: every entry was seen. Without it, a directory that was recorded may hold names that were not.
//!
//! Lines are chained by their checksums. A tail that does not fit the chain was being written when the run ended, and is
//! cut off. A journal belongs to one snapshot: the one it starts from. With any other it has been merged already, and only what
//! was intended still says something.

use super::bytes::{put_bytes, put_time, take, take_bytes, take_time};
use super::state::{Part, StateStore, StateWrite, Syncer};
use crate::etag::ETag;
use crate::key::Key;
use crate::mode::{FileType, Permissions};
use crate::owner::{Gid, Uid};
use crate::snapshot::{Age, Edit, Identity, Local, Names, Record, Remote};
use crate::timestamp::Timestamp;
use futures_util::lock::Mutex as AsyncMutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use twox_hash::XxHash3_64;

const MAGIC: [u8; 8] = *b"PSX3JRNL";
const VERSION: u32 = 1;
/// The longest line that is read: a record with a key of 1,024 bytes and whatever a store calls an `ETag`.
const LONGEST: usize = 1 << 20;
/// How many bytes of lines that nobody waits for are gathered before they are written.
const GATHERED: usize = 1 << 16;
/// How many lines are sorted in memory.
const SORTED: usize = 1 << 14;

/// What a journal starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) identity: Identity,
    /// What tells the snapshot from every other; 0 for none.
    pub(super) snapshot: u64,
    /// When the run began, by the clock of the tree.
    pub(super) started: Timestamp,
}

/// A line of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The object of a key is about to become what this inode is.
    Intent { key: Key, local: Local },
    /// Both sides agree on this.
    Record(Record),
    /// Nothing is left of this key on either side.
    Removed(Key),
    /// Every entry was seen.
    End,
}

/// When a line has to be in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Before the call returns: what it says has cost a request.
    Now,
    /// Some time: what it says can be found out again.
    Later,
}

/// The journal of a run, begun when its first line is written.
pub(super) struct Journal<'s> {
    state: &'s dyn StateStore,
    base: Base,
    lines: Mutex<Lines>,
    /// How many lines are on the disk.
    synced: AsyncMutex<u64>,
}

#[derive(Default)]
struct Lines {
    file: Option<(Box<dyn StateWrite>, Syncer)>,
    gathered: Vec<u8>,
    chain: u64,
    count: u64,
    /// A write failed, or waiting for the disk: what is in the file behind it would not be read.
    broken: bool,
}

impl<'s> Journal<'s> {
    pub(super) fn new(state: &'s dyn StateStore, base: Base) -> Self {
        Self { state, base, lines: Mutex::default(), synced: AsyncMutex::new(0) }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no line was written.
    pub(super) fn is_empty(&self) -> bool {
        self.lines().count == 0
    }

    /// Appends a line.
    pub(super) fn append(&self, line: &Line, urgency: Urgency) -> io::Result<()> {
        let mut payload = Vec::with_capacity(256);
        encode_line(line, &mut payload);
        let mut lines = self.lines();
        lines.is_whole()?;
        if lines.file.is_none() {
            let mut file = self.state.create(Part::Journal)?;
            let header = encode_header(&self.base);
            file.write_all(&header)?;
            lines.chain = checksum(0, &header);
            let syncer = file.syncer();
            lines.file = Some((file, syncer));
        }
        lines.chain = checksum(lines.chain, &payload);
        let chain = lines.chain;
        frame(chain, &payload, &mut lines.gathered);
        lines.count = lines.count.saturating_add(1);
        if urgency == Urgency::Now || lines.gathered.len() >= GATHERED { lines.write() } else { Ok(()) }
    }

    /// An error if something could not be written before.
    pub(super) fn check(&self) -> io::Result<()> {
        self.lines().is_whole()
    }

    /// Waits until everything appended by now is on the disk. Those who wait at the same time wait together.
    pub(super) async fn sync(&self) -> io::Result<()> {
        let wanted = self.lines().count;
        let mut synced = self.synced.lock().await;
        if *synced >= wanted {
            return Ok(());
        }
        let (count, syncer) = {
            let mut lines = self.lines();
            lines.write()?;
            (lines.count, lines.file.as_ref().map(|(_, syncer)| std::sync::Arc::clone(syncer)))
        };
        if let Some(syncer) = syncer {
            // A second try would succeed without what was lost by the first.
            syncer().await.inspect_err(|_| self.lines().broken = true)?;
        }
        *synced = count;
        Ok(())
    }
}

impl Lines {
    /// An error if a line was lost: whoever waits for lines to be on the disk would wait for that one.
    fn is_whole(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("the journal could not be written before")) } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.is_whole()?;
        let Some((file, _)) = &mut self.file else { return Ok(()) };
        let written = file.write_all(&self.gathered).and_then(|()| file.flush());
        self.gathered.clear();
        self.broken |= written.is_err();
        written
    }
}

/// What a journal says.
pub(super) struct Replay {
    /// What became of each key, by its last line; `None` where the snapshot is not the one that the journal starts from, so
    /// that it has been merged already.
    pub(super) changes: Option<Sorted>,
    /// What was intended and is not known to have happened, nor not to.
    pub(super) intents: Intents,
}

/// Whether a record says what an object is. One without an object says nothing about what was intended for it, and one of
/// what is gone from the tree only what it was when somebody last looked.
pub(super) const fn is_agreement(record: &Record) -> bool {
    record.local.is_some() && record.remote.is_some()
}

/// What may have become of the objects of keys, without anybody knowing.
pub(super) type Intents = HashMap<Key, Vec<Local>>;

/// Reads the journal of a link. `None` when there is none, or one of another link.
///
/// What was intended is told in any case: a run may have stopped between merging its journal and beginning the next.
pub(super) fn replay(state: &dyn StateStore, identity: Identity, snapshot: u64) -> io::Result<Option<Replay>> {
    let Some(file) = state.open(Part::Journal)? else { return Ok(None) };
    let mut file = BufReader::new(file);
    let Some((base, mut chain)) = read_header(&mut file)? else { return Ok(None) };
    if base.identity != identity {
        return Ok(None);
    }
    let is_merged = base.snapshot != snapshot;
    let mut sorter = Sorter::default();
    let mut intents = Intents::new();
    let mut names = Names::Unknown;
    while let Some(line) = read_line(&mut file, &mut chain)? {
        match line {
            Line::Intent { key, local } => intents.entry(key).or_default().push(local),
            Line::Record(record) => {
                if is_agreement(&record) {
                    intents.remove(&record.key);
                }
                if !is_merged {
                    sorter.push(record.key.clone(), Some(record))?;
                }
            }
            Line::Removed(key) => {
                intents.remove(&key);
                if !is_merged {
                    sorter.push(key, None)?;
                }
            }
            Line::End => names = Names::Recorded,
        }
    }
    let changes = if is_merged { None } else { Some(sorter.finish(names)?) };
    Ok(Some(Replay { changes, intents }))
}

// ------------------------------------------------------------------------------------------------- sorting

/// The last line of each key, in key order.
///
/// What does not fit in memory is sorted in pieces, each in an anonymous file, and the pieces are merged.
#[derive(Default)]
struct Sorter {
    piece: Vec<Change>,
    pieces: Vec<File>,
    count: u64,
}

/// A key, the number of its line, and what is recorded of it.
type Change = (Key, u64, Option<Record>);

impl Sorter {
    fn push(&mut self, key: Key, record: Option<Record>) -> io::Result<()> {
        self.count = self.count.saturating_add(1);
        self.piece.push((key, self.count, record));
        if self.piece.len() >= SORTED { self.spill() } else { Ok(()) }
    }

    fn sort(&mut self) {
        self.piece.sort_unstable_by(|(left, earlier, _), (right, later, _)| left.cmp(right).then(earlier.cmp(later)));
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut file = BufWriter::new(tempfile::tempfile()?);
        let mut framed = Vec::new();
        for (key, number, record) in self.piece.drain(..) {
            let line = record.map_or_else(|| Line::Removed(key), Line::Record);
            let mut payload = number.to_le_bytes().to_vec();
            encode_line(&line, &mut payload);
            framed.clear();
            frame(0, &payload, &mut framed);
            file.write_all(&framed)?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        self.pieces.push(file);
        Ok(())
    }

    fn finish(mut self, names: Names) -> io::Result<Sorted> {
        self.sort();
        let mut pieces: Vec<Piece> = self
            .pieces
            .into_iter()
            .map(|file| Piece::File(Box::new(BufReader::with_capacity(1 << 16, file))))
            .collect();
        pieces.push(Piece::Memory(self.piece.into_iter()));
        let mut sorted = Sorted { pieces, heads: BinaryHeap::new(), names };
        for index in 0..sorted.pieces.len() {
            sorted.advance(index)?;
        }
        Ok(sorted)
    }
}

enum Piece {
    File(Box<BufReader<File>>),
    Memory(std::vec::IntoIter<Change>),
}

/// The last line of each key, in key order.
pub(super) struct Sorted {
    pieces: Vec<Piece>,
    /// The next line of each piece, smallest first.
    heads: BinaryHeap<Reverse<Head>>,
    /// Without an end, a directory may hold names that were not recorded.
    names: Names,
}

struct Head {
    key: Key,
    number: u64,
    record: Option<Record>,
    piece: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key).then(self.number.cmp(&other.number))
    }
}

impl Sorted {
    fn advance(&mut self, piece: usize) -> io::Result<()> {
        let next = match self.pieces.get_mut(piece) {
            Some(Piece::Memory(changes)) => changes.next(),
            Some(Piece::File(file)) => match read_frame(file)? {
                Some((_, payload)) => Some(spilled(&payload).ok_or_else(damaged)?),
                None => None,
            },
            None => None,
        };
        self.heads.extend(next.map(|(key, number, record)| Reverse(Head { key, number, record, piece })));
        Ok(())
    }

    fn next_line(&mut self) -> io::Result<Option<Head>> {
        let Some(Reverse(head)) = self.heads.pop() else { return Ok(None) };
        self.advance(head.piece)?;
        Ok(Some(head))
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Edit>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut last = match self.next_line().transpose()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        while self.heads.peek().is_some_and(|Reverse(next)| next.key == last.key) {
            match self.next_line() {
                Ok(Some(later)) => last = later,
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        if self.names == Names::Unknown {
            let local = last.record.as_mut().and_then(|record| record.local.as_mut());
            local.into_iter().for_each(|local| local.names = Names::Unknown);
        }
        Some(Ok(last.record.map_or_else(|| Edit::Remove(last.key), Edit::Put)))
    }
}

fn spilled(payload: &[u8]) -> Option<Change> {
    let mut rest = payload;
    let number = u64::from_le_bytes(take(&mut rest)?);
    match decode_line(rest)? {
        Line::Record(record) => Some((record.key.clone(), number, Some(record))),
        Line::Removed(key) => Some((key, number, None)),
        Line::Intent { .. } | Line::End => None,
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line of a temporary file is damaged")
}

// -------------------------------------------------------------------------------------------------- format

fn checksum(chain: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(chain, bytes)
}

fn encode_header(base: &Base) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&base.identity.link);
    header.extend_from_slice(&base.identity.root);
    header.extend_from_slice(&base.snapshot.to_le_bytes());
    put_time(base.started, &mut header);
    let sum = checksum(0, &header);
    header.extend_from_slice(&sum.to_le_bytes());
    header
}

/// The header and the start of the chain; `None` for what is no journal of this version.
fn read_header(file: &mut impl Read) -> io::Result<Option<(Base, u64)>> {
    let mut header = Vec::new();
    let length = 8 + 4 + 16 + 16 + 8 + 12;
    file.take(length + 8).read_to_end(&mut header)?;
    let Some((fields, mut sum)) = header.split_at_checked(usize::try_from(length).unwrap_or_default()) else {
        return Ok(None);
    };
    let mut rest = fields;
    let mut read = || -> Option<Base> {
        let sum = u64::from_le_bytes(take(&mut sum)?);
        let (magic, version) = (take::<8>(&mut rest)?, u32::from_le_bytes(take(&mut rest)?));
        let identity = Identity { link: take(&mut rest)?, root: take(&mut rest)? };
        let snapshot = u64::from_le_bytes(take(&mut rest)?);
        let started = take_time(&mut rest)?;
        let sound = magic == MAGIC && version == VERSION && sum == checksum(0, fields);
        sound.then_some(Base { identity, snapshot, started })
    };
    Ok(read().map(|base| (base, checksum(0, &header))))
}

/// A length, a checksum, the payload.
fn frame(chain: u64, payload: &[u8], framed: &mut Vec<u8>) {
    // A line is far shorter than 4 GiB.
    framed.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    framed.extend_from_slice(&chain.to_le_bytes());
    framed.extend_from_slice(payload);
}

/// The next frame, or `None` where the file ends, if in the middle of one.
fn read_frame(file: &mut impl Read) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut head = Vec::new();
    file.by_ref().take(12).read_to_end(&mut head)?;
    let mut rest = head.as_slice();
    let (Some(length), Some(chain)) = (take(&mut rest), take(&mut rest)) else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Ok(None);
    }
    let mut payload = Vec::new();
    file.by_ref().take(length as u64).read_to_end(&mut payload)?;
    Ok((payload.len() == length).then_some((u64::from_le_bytes(chain), payload)))
}

/// The next line that fits the chain. The first that does not was being written when the run ended.
fn read_line(file: &mut impl Read, chain: &mut u64) -> io::Result<Option<Line>> {
    let Some((stored, payload)) = read_frame(file)? else { return Ok(None) };
    *chain = checksum(*chain, &payload);
    Ok(if stored == *chain { decode_line(&payload) } else { None })
}

fn encode_line(line: &Line, payload: &mut Vec<u8>) {
    match line {
        Line::Intent { key, local } => {
            payload.push(1);
            put_bytes(key.as_str().as_bytes(), payload);
            put_local(local, payload);
        }
        Line::Record(record) => {
            payload.push(2);
            put_record(record, payload);
        }
        Line::Removed(key) => {
            payload.push(3);
            put_bytes(key.as_str().as_bytes(), payload);
        }
        Line::End => payload.push(4),
    }
}

fn decode_line(payload: &[u8]) -> Option<Line> {
    let mut rest = payload;
    let [tag] = take(&mut rest)?;
    let line = match tag {
        1 => Line::Intent { key: take_key(&mut rest)?, local: take_local(&mut rest)? },
        2 => Line::Record(take_record(&mut rest)?),
        3 => Line::Removed(take_key(&mut rest)?),
        4 => Line::End,
        _ => return None,
    };
    rest.is_empty().then_some(line)
}

pub(super) fn put_record(record: &Record, payload: &mut Vec<u8>) {
    put_bytes(record.key.as_str().as_bytes(), payload);
    payload.push(u8::from(record.local.is_some()) | u8::from(record.remote.is_some()) << 1);
    record.local.iter().for_each(|local| put_local(local, payload));
    record.remote.iter().for_each(|remote| put_remote(remote, payload));
}

pub(super) fn take_record(rest: &mut &[u8]) -> Option<Record> {
    let key = take_key(rest)?;
    let [sides @ 0..=3] = take(rest)? else { return None };
    let local = if sides & 1 != 0 { Some(take_local(rest)?) } else { None };
    let remote = if sides & 2 != 0 { Some(take_remote(rest)?) } else { None };
    Some(Record { key, local, remote })
}

fn put_local(local: &Local, payload: &mut Vec<u8>) {
    let file_type = match local.file_type {
        FileType::Directory => 1,
        FileType::Symlink => 2,
        _ => 0,
    };
    payload.extend_from_slice(&[file_type, age(local.age), u8::from(local.names == Names::Recorded)]);
    payload.extend_from_slice(&local.size.to_le_bytes());
    payload.extend_from_slice(&local.permissions.bits().to_le_bytes());
    payload.extend_from_slice(&local.uid.get().to_le_bytes());
    payload.extend_from_slice(&local.gid.get().to_le_bytes());
    put_time(local.mtime, payload);
    put_time(local.ctime, payload);
    payload.extend_from_slice(&local.inode.to_le_bytes());
}

fn take_local(rest: &mut &[u8]) -> Option<Local> {
    let [file_type, age, names] = take(rest)?;
    Some(Local {
        file_type: match file_type {
            0 => FileType::File,
            1 => FileType::Directory,
            2 => FileType::Symlink,
            _ => return None,
        },
        age: read_age(age)?,
        names: match names {
            0 => Names::Unknown,
            1 => Names::Recorded,
            _ => return None,
        },
        size: u64::from_le_bytes(take(rest)?),
        permissions: Permissions::from_bits(u32::from_le_bytes(take(rest)?))?,
        uid: Uid::new(u32::from_le_bytes(take(rest)?))?,
        gid: Gid::new(u32::from_le_bytes(take(rest)?))?,
        mtime: take_time(rest)?,
        ctime: take_time(rest)?,
        inode: u64::from_le_bytes(take(rest)?),
    })
}

pub(super) fn put_remote(remote: &Remote, payload: &mut Vec<u8>) {
    put_bytes(remote.etag.as_str().as_bytes(), payload);
    payload.extend_from_slice(&remote.size.to_le_bytes());
    payload.extend_from_slice(&[
        u8::from(remote.last_modified.is_some()),
        u8::from(remote.xxh3.is_some()),
        age(remote.age),
    ]);
    remote.last_modified.iter().for_each(|time| put_time(*time, payload));
    remote.xxh3.iter().for_each(|xxh3| payload.extend_from_slice(xxh3));
}

pub(super) fn take_remote(rest: &mut &[u8]) -> Option<Remote> {
    let etag = ETag::new(std::str::from_utf8(take_bytes(rest)?).ok()?);
    let size = u64::from_le_bytes(take(rest)?);
    let [has_time @ 0..=1, has_xxh3 @ 0..=1, age] = take(rest)? else { return None };
    let last_modified = if has_time == 1 { Some(take_time(rest)?) } else { None };
    let xxh3 = if has_xxh3 == 1 { Some(take(rest)?) } else { None };
    Some(Remote { etag, size, last_modified, xxh3, age: read_age(age)? })
}

const fn age(age: Age) -> u8 {
    match age {
        Age::Settled => 0,
        Age::Racy => 1,
    }
}

const fn read_age(age: u8) -> Option<Age> {
    match age {
        0 => Some(Age::Settled),
        1 => Some(Age::Racy),
        _ => None,
    }
}

fn take_key(rest: &mut &[u8]) -> Option<Key> {
    Key::from_bytes(take_bytes(rest)?).ok()
}
