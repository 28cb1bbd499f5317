//! [`ChangelogRecord`]: a change as the metadata server of a Lustre file system writes it down, and as `lfs changelog` prints
//! it; [`Changelog`]: what such records say has to be exported.
//!
//! A line is a record:
//!
//! ```text
//! 16 08RENME 02:52:19.805772855 2026.03.16 0x0 t=[0:0x0:0x0] j=mv.1000 ef=0xf u=1000:1000 nid=172.31.39.56@tcp
//!    p=[0x200000401:0x2:0x0] new name s=[0x200000401:0x3:0x0] sp=[0x200000401:0x2:0x0] old name
//! ```
//!
//! number, type, time and date (UTC), flags, `t=` target, `j=` job, `ef=` which of the following there are, `u=` who did it,
//! `nid=` from where, `m=` how it was opened, `x=` which attribute, `p=` the directory around the name, the name itself, and
//! of a rename what it was: `s=` inode, `sp=` directory, name. Names stand as they are, also with spaces in them.
//!
//! Sources: `lfs_changelog()` in `lustre/utils/lfs.c` and `enum changelog_rec_type` in
//! `lustre/include/uapi/linux/lustre/lustre_user.h` of Lustre 2.13 (github.com/lustre/lustre-release); the Lustre Operations
//! Manual, "Lustre Changelogs"; `lfs-changelog(1)`. What FSx for Lustre 2.15 prints was seen, not documented: names that
//! went come as whole paths from the root of the file system (`p=[…] /dir/name`), and no `CLOSE` is recorded.
//!
//! Two things this text cannot say, and what is made of them:
//!
//! 1. *A name may hold a line feed*, and what follows it may look like a record. It is a line that is none, or one whose
//!    number does not follow: both lead to a look at everything.
//! 2. *A name may hold ` s=[…] sp=[…] `*. Where a rename can be read in two ways it is refused, which leads there as well.

use super::feed::{ChangeKind, FeedBatch, FeedChange};
use crate::escape::{escape, excerpt};
use crate::key::Key;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use time::{Date, Month, OffsetDateTime, Time};

/// The name of an inode of a Lustre file system, which stays when its path changes and is never given twice.
///
/// ```
/// use posix_s3::repository::Fid;
///
/// let fid: Fid = "[0x200000007:0x1:0x0]".parse()?;
/// assert_eq!(fid, Fid::ROOT);
/// assert_eq!(fid.to_string(), "0x200000007:0x1:0x0");
/// assert!("0x200000007:0x1".parse::<Fid>().is_err());
/// # Ok::<(), posix_s3::repository::InvalidFid>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fid {
    /// The sequence, which the server gave to a client.
    pub sequence: u64,
    /// The number in the sequence.
    pub object: u32,
    /// The version; 0.
    pub version: u32,
}

impl Fid {
    /// None: what stands where a record has no inode to name.
    pub const ZERO: Self = Self { sequence: 0, object: 0, version: 0 };
    /// The root of every file system.
    pub const ROOT: Self = Self { sequence: 0x2_0000_0007, object: 1, version: 0 };

    /// Whether it names nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.sequence == 0 && self.object == 0
    }
}

impl fmt::Display for Fid {
    /// As Lustre prints it, without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, object, version } = self;
        // `%#llx` of zero has no `0x`.
        if *sequence == 0 {
            f.write_str("0")?
        } else {
            write!(f, "{sequence:#x}")?
        }
        write!(f, ":{object:#x}:{version:#x}")
    }
}

/// A text that is no FID.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid FID \"{found}\": expected three hexadecimal numbers as in 0x200000007:0x1:0x0, in brackets or not")]
pub struct InvalidFid {
    found: Box<str>,
}

impl FromStr for Fid {
    type Err = InvalidFid;

    fn from_str(text: &str) -> Result<Self, InvalidFid> {
        let invalid = || InvalidFid { found: excerpt(text.as_bytes()) };
        let inner = match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(invalid)?,
            None => text,
        };
        let mut parts = inner.split(':').map(hexadecimal);
        let mut part = || parts.next().flatten().ok_or_else(invalid);
        let (sequence, object, version) = (part()?, part()?, part()?);
        let narrow = |number: u64| u32::try_from(number).map_err(|_| invalid());
        let fid = Self { sequence, object: narrow(object)?, version: narrow(version)? };
        if parts.next().is_some() { Err(invalid()) } else { Ok(fid) }
    }
}

/// `0x` and up to sixteen digits, or a bare zero.
fn hexadecimal(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let digits = text.strip_prefix("0x")?;
    let plain = !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

impl Serialize for Fid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

macro_rules! record_types {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal,)*) => {
        /// What kind of change a record is about, and what that means for an export.
        ///
        /// The numbers and names are Lustre's (`enum changelog_rec_type`, `changelog_type2str()`).
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RecordType {
            $($(#[$doc])* $variant,)*
            /// One that this version does not know: what it names is looked at.
            Other {
                /// Its number.
                number: u32,
                /// Its name.
                name: Box<str>,
            },
        }

        impl RecordType {
            /// All that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)*];

            fn of(number: u32, name: &str) -> Self {
                match (number, name) {
                    $(($number, $name) => Self::$variant,)*
                    _ => Self::Other { number, name: name.into() },
                }
            }

            /// The number.
            #[must_use]
            pub const fn number(&self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other { number, .. } => *number,
                }
            }

            /// The name.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other { name, .. } => name,
                }
            }
        }
    };
}

record_types! {
    /// Recording was switched on or off. Nothing to export.
    Mark = 0 "MARK",
    /// A file was made. It is new; its writer is at it until it is closed.
    Create = 1 "CREAT",
    /// A directory was made.
    MakeDirectory = 2 "MKDIR",
    /// A file got a further name, which is an object of its own.
    HardLink = 3 "HLINK",
    /// A symbolic link was made.
    SoftLink = 4 "SLINK",
    /// A file, or a device, pipe or socket, was made without being opened.
    MakeNode = 5 "MKNOD",
    /// A name of a file or link was removed. Flag 0x1: it was the last one.
    Unlink = 6 "UNLNK",
    /// An empty directory was removed.
    RemoveDirectory = 7 "RMDIR",
    /// Something was given another name: the old one is removed, with all that was below it, and the new one is made. What
    /// stood there before is the target; it is removed by the same record.
    Rename = 8 "RENME",
    /// The second half of a rename, as servers before 2.4 wrote it.
    RenameTo = 9 "RNMTO",
    /// A file was opened. If for writing, what waits to be sent waits on.
    Open = 10 "OPEN",
    /// A file was closed; written only for files that were open for writing, unless opening is recorded as well. The writer
    /// is done.
    Close = 11 "CLOSE",
    /// Where the data of a file lies has changed, as happens at the first write.
    Layout = 12 "LYOUT",
    /// A file was cut or grown.
    Truncate = 13 "TRUNC",
    /// Owner, group, permissions or size were set. The flags tell which; times alone start nothing.
    SetAttributes = 14 "SATTR",
    /// An extended attribute was set. None is exported; an access control list may change the permissions.
    SetExtendedAttribute = 15 "XATTR",
    /// Something happened between the file and its archive. Nothing to export.
    Hsm = 16 "HSM",
    /// The time of modification was set, and nothing of which there is a record of its own; see [`MtimeRecords`].
    Mtime = 17 "MTIME",
    /// The time of change was set, and nothing else. It is not exported.
    Ctime = 18 "CTIME",
    /// The time of access was set, and nothing else. It goes with the next change.
    Atime = 19 "ATIME",
    /// An inode went to another server and is a new one of the same content. Nothing to export.
    Migrate = 20 "MIGRT",
    /// A file with mirrors was written for the first time since they were in step.
    MirrorWrite = 21 "FLRW",
    /// The mirrors of a file are in step again. Nothing to export.
    Resync = 22 "RESYNC",
    /// An extended attribute was read. Nothing to export.
    GetExtendedAttribute = 23 "GXATR",
    /// Somebody was not allowed to open a file. Nothing to export.
    DeniedOpen = 24 "NOPEN",
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}{}", self.number(), escape(self.name().as_bytes()))
    }
}

/// Which times alone are set by a `SATTR`: flags are the low bits of `la_valid` (`LA_ATIME`, `LA_MTIME`, `LA_CTIME` in
/// `lustre_idl.h`).
const TIMES: u32 = 0b111;

/// What a rename was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameSource {
    /// What was renamed.
    pub fid: Fid,
    /// The directory in which it was.
    pub parent: Fid,
    /// Its name there.
    pub name: Box<[u8]>,
}

/// A record of a changelog.
///
/// - Names have at least one byte and no line feed. They are not checked otherwise: what is made of them is for
///   [`Changelog`] to say.
/// - What a later Lustre adds is kept: types in [`RecordType::Other`], fields in `other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogRecord {
    /// The number, which grows by one from record to record of a server, 1 or more.
    pub number: u64,
    /// The kind of change.
    pub kind: RecordType,
    /// When it happened, by the clock of the server.
    pub time: Timestamp,
    /// Twelve bits whose meaning depends on the type.
    pub flags: u32,
    /// What was changed; zero where a rename replaced nothing.
    pub target: Fid,
    /// Fields that this version does not know, each with its value, in the order in which they came.
    pub other: Vec<(Box<str>, Box<[u8]>)>,
    /// The job of the process, as the file system was told to name it.
    pub job: Option<Box<[u8]>>,
    /// Which fields there are, as the server says.
    pub extra_flags: Option<u64>,
    /// User and group of the process.
    pub owner: Option<(u64, u64)>,
    /// The network address of the client.
    pub nid: Option<Box<[u8]>>,
    /// How a file was opened: `r`, `w` and `x` or dashes.
    pub mode: Option<Box<[u8]>>,
    /// The name of an extended attribute.
    pub xattr: Option<Box<[u8]>>,
    /// The directory around the name.
    pub parent: Option<Fid>,
    /// The name in it.
    pub name: Option<Box<[u8]>>,
    /// What a rename was before.
    pub source: Option<RenameSource>,
}

/// A line that is no record: what was expected, what was found, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found {found} at byte {at}")]
pub struct InvalidRecord {
    expected: &'static str,
    found: Box<str>,
    at: usize,
}

impl InvalidRecord {
    /// What should have stood there.
    #[must_use]
    pub const fn expected(&self) -> &'static str {
        self.expected
    }

    /// The byte at which the fault stands, from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// A line that is read from its start.
struct Line<'l> {
    whole: &'l [u8],
    rest: &'l [u8],
}

impl<'l> Line<'l> {
    fn invalid(&self, expected: &'static str, found: &[u8]) -> InvalidRecord {
        let found = if found.is_empty() { "nothing".into() } else { format!("\"{}\"", excerpt(found)).into() };
        InvalidRecord { expected, found, at: self.whole.len().saturating_sub(self.rest.len()) }
    }

    /// What stands before the next space, without taking it.
    fn peek(&self) -> &'l [u8] {
        self.rest.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Reads what stands before the next space, and takes both.
    fn word<T>(&mut self, expected: &'static str, read: impl FnOnce(&'l str) -> Option<T>) -> Result<T, InvalidRecord> {
        let word = self.peek();
        let value = std::str::from_utf8(word).ok().and_then(read).ok_or_else(|| self.invalid(expected, word))?;
        self.skip(word.len());
        self.rest = self.rest.strip_prefix(b" ").unwrap_or(self.rest);
        Ok(value)
    }
}

/// What may follow the name of a job, which may have spaces in it.
const BEHIND_JOB: [&[u8]; 6] = [b" ef=0x", b" u=", b" nid=", b" m=", b" x=", b" p=["];
const SOURCE: &[u8] = b" s=[";

impl ChangelogRecord {
    /// Reads a line, without the line feed at its end.
    ///
    /// ```
    /// use posix_s3::repository::{ChangelogRecord, Fid, RecordType};
    ///
    /// let line = b"2 01CREAT 15:15:36.687592024 2018.01.09 0x0 t=[0x200000402:0x2:0x0] j=cp.500 ef=0xf \
    ///              u=500:500 nid=10.128.11.159@tcp p=[0x200000007:0x1:0x0] a cat.jpg";
    /// let record = ChangelogRecord::parse(line)?;
    /// assert_eq!((record.number, record.kind, record.parent), (2, RecordType::Create, Some(Fid::ROOT)));
    /// assert_eq!(record.name.as_deref(), Some(&b"a cat.jpg"[..]));
    ///
    /// let refused = ChangelogRecord::parse(b"2 01CREAT yesterday").unwrap_err();
    /// assert_eq!(refused.to_string(), "expected a time as in 15:15:36.687592024, found \"yesterday\" at byte 10");
    /// # Ok::<(), posix_s3::repository::InvalidRecord>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidRecord`] with the first fault met from the left.
    pub fn parse(line: &[u8]) -> Result<Self, InvalidRecord> {
        let mut line = Line { whole: line, rest: line };
        if let Some(at) = line.whole.iter().position(|byte| *byte == b'\n') {
            line.skip(at);
            return Err(line.invalid("one line", b"\n"));
        }
        let number = line.word("the number of a record, from 1", |word| decimal(word).filter(|number| *number > 0))?;
        let kind = line.word("a type as in 01CREAT", record_type)?;
        let time = line.word("a time as in 15:15:36.687592024", time_of_day)?;
        let date = line.word("a date as in 2018.01.09", date)?;
        let flags = line.word("flags as in 0x1, of 12 bits", flags)?;
        let target = line.word("a target as in t=[0x200000402:0x2:0x0]", |word| bracketed(word.strip_prefix("t=")?))?;
        let mut record = Self {
            number,
            kind,
            time: Timestamp::from(OffsetDateTime::new_utc(date, time)),
            flags,
            target,
            other: Vec::new(),
            job: None,
            extra_flags: None,
            owner: None,
            nid: None,
            mode: None,
            xattr: None,
            parent: None,
            name: None,
            source: None,
        };
        while record.read_field(&mut line)? {}
        if line.rest.starts_with(b"p=[") {
            let parent = line.word("a directory as in p=[0x200000007:0x1:0x0]", |word| bracketed(word.get(2..)?))?;
            record.parent = Some(parent);
        }
        record.read_names(&mut line)?;
        Ok(record)
    }

    /// Reads a field between target and name; `false` when there is none.
    fn read_field(&mut self, line: &mut Line<'_>) -> Result<bool, InvalidRecord> {
        const ONCE: &str = "each field once";
        let word = line.peek();
        let Some(equals) = word.iter().position(|byte| *byte == b'=') else { return Ok(false) };
        let (name, value) = (word.get(..equals).unwrap_or_default(), word.get(equals.saturating_add(1)..));
        let value = value.unwrap_or_default();
        let text = |slot: &mut Option<Box<[u8]>>, value: &[u8]| slot.replace(value.into()).is_some();
        let mut taken = word.len();
        let doubled = match name {
            b"p" if value.starts_with(b"[") => return Ok(false),
            b"j" => {
                let job = line.rest.get(2..).unwrap_or_default();
                let end = BEHIND_JOB.iter().filter_map(|field| position(job, field)).min().unwrap_or(job.len());
                taken = end.saturating_add(2);
                text(&mut self.job, job.get(..end).unwrap_or_default())
            }
            b"ef" => {
                let read = |word: &str| hexadecimal(word.strip_prefix("ef=")?);
                let found = Line { ..*line }.word("fields as in ef=0xf", read)?;
                self.extra_flags.replace(found).is_some()
            }
            b"u" => {
                let read = |word: &str| word.strip_prefix("u=")?.split_once(':').map(both);
                let found = Line { ..*line }.word("user and group as in u=500:500", |word| read(word)?)?;
                self.owner.replace(found).is_some()
            }
            b"nid" => text(&mut self.nid, value),
            b"m" => text(&mut self.mode, value),
            b"x" => text(&mut self.xattr, value),
            name if !name.is_empty() && name.len() <= 8 && name.iter().all(u8::is_ascii_lowercase) => {
                let name = String::from_utf8_lossy(name).into();
                self.other.push((name, value.into()));
                false
            }
            _ => return Ok(false),
        };
        if doubled {
            return Err(line.invalid(ONCE, word));
        }
        line.skip(taken);
        line.rest = line.rest.strip_prefix(b" ").unwrap_or(line.rest);
        Ok(true)
    }

    /// Reads the name, and of a rename the one before.
    fn read_names(&mut self, line: &mut Line<'_>) -> Result<(), InvalidRecord> {
        let names = line.rest;
        let mut end = names.len();
        if matches!(self.kind, RecordType::Rename | RecordType::Migrate) {
            let starts = names.windows(SOURCE.len()).enumerate().filter(|(_, window)| *window == SOURCE);
            let sources = starts.filter_map(|(at, _)| Some((at, source(names.get(at..)?)?)));
            for (at, source) in sources {
                if self.source.replace(source).is_some() {
                    line.skip(at);
                    return Err(line.invalid("one old name", line.rest));
                }
                end = at;
            }
        }
        self.name = names.get(..end).filter(|name| !name.is_empty()).map(Into::into);
        Ok(())
    }

    /// Appends the line as `lfs changelog` prints it, without a line feed.
    pub fn encode(&self, line: &mut Vec<u8>) {
        let time = OffsetDateTime::try_from(self.time).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (hour, minute, second, nanosecond) = time.time().as_hms_nano();
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        let Self { number, flags, target, .. } = self;
        line.extend(format!("{number} {:02}{} ", self.kind.number(), self.kind.name()).into_bytes());
        line.extend(format!("{hour:02}:{minute:02}:{second:02}.{nanosecond:09} ").into_bytes());
        line.extend(format!("{year:04}.{month:02}.{day:02} {flags:#x} t=[{target}]").into_bytes());
        let mut field = |name: &[u8], value: &[u8]| {
            line.push(b' ');
            line.extend(name);
            line.extend(value);
        };
        self.other.iter().for_each(|(name, value)| field(format!("{name}=").as_bytes(), value));
        self.job.iter().for_each(|job| field(b"j=", job));
        self.extra_flags.iter().for_each(|flags| field(b"ef=", format!("{flags:#x}").as_bytes()));
        self.owner.iter().for_each(|(uid, gid)| field(b"u=", format!("{uid}:{gid}").as_bytes()));
        self.nid.iter().for_each(|nid| field(b"nid=", nid));
        self.mode.iter().for_each(|mode| field(b"m=", mode));
        self.xattr.iter().for_each(|xattr| field(b"x=", xattr));
        self.parent.iter().for_each(|parent| field(b"p=", format!("[{parent}]").as_bytes()));
        self.name.iter().for_each(|name| field(b"", name));
        if let Some(RenameSource { fid, parent, name }) = &self.source {
            if self.name.is_none() {
                field(b"", b"");
            }
            field(b"s=", format!("[{fid}]").as_bytes());
            field(b"sp=", format!("[{parent}]").as_bytes());
            field(b"", name);
        }
    }

    /// Whether it sets times and nothing else.
    fn is_about_times(&self) -> bool {
        self.flags != 0 && self.flags & !TIMES == 0
    }
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn decimal(word: &str) -> Option<u64> {
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    if plain { word.parse().ok() } else { None }
}

fn both((first, second): (&str, &str)) -> Option<(u64, u64)> {
    Some((decimal(first)?, decimal(second)?))
}

fn record_type(word: &str) -> Option<RecordType> {
    let name = word.trim_start_matches(|byte: char| byte.is_ascii_digit());
    let number = decimal(word.strip_suffix(name)?)?;
    if name.is_empty() { None } else { Some(RecordType::of(u32::try_from(number).ok()?, name)) }
}

fn flags(word: &str) -> Option<u32> {
    u32::try_from(hexadecimal(word)?).ok().filter(|flags| *flags < 0x1000)
}

fn bracketed(word: &str) -> Option<Fid> {
    if word.starts_with('[') { word.parse().ok() } else { None }
}

fn time_of_day(word: &str) -> Option<Time> {
    let (clock, nanoseconds) = word.split_once('.')?;
    let mut parts = clock.split(':').map(|part| decimal(part).filter(|_| part.len() == 2));
    let mut part = || u8::try_from(parts.next()??).ok();
    let (hour, minute, second) = (part()?, part()?, part()?);
    // Older versions print at least six digits, newer ones nine: the number of nanoseconds in either case.
    let nanoseconds = decimal(nanoseconds).filter(|_| (6..=9).contains(&nanoseconds.len()))?;
    if parts.next().is_some() {
        return None;
    }
    Time::from_hms_nano(hour, minute, second, u32::try_from(nanoseconds).ok()?).ok()
}

fn date(word: &str) -> Option<Date> {
    let mut parts = word.split('.');
    let mut part = |digits| parts.next().filter(|part| part.len() == digits).and_then(decimal);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok();
    date.filter(|_| parts.next().is_none())
}

/// ` s=[…] sp=[…] name`, to the end of the line.
fn source(text: &[u8]) -> Option<RenameSource> {
    let mut line = Line { whole: text, rest: text.strip_prefix(b" ")? };
    let fid = line.word("", |word| bracketed(word.strip_prefix("s=")?)).ok()?;
    let parent = line.word("", |word| bracketed(word.strip_prefix("sp=")?)).ok()?;
    if line.rest.is_empty() { None } else { Some(RenameSource { fid, parent, name: line.rest.into() }) }
}

/// Whoever can say where an inode is: `lfs fid2path`, say.
pub trait FidResolver {
    /// All paths of an inode at this moment, from the root of the file system, with or without a slash at the start; none
    /// when it is gone. `None` when that cannot be said.
    fn resolve(&mut self, fid: Fid) -> Option<Vec<Box<[u8]>>>;
}

/// A [`FidResolver`] that can say nothing: what the records themselves do not tell leads to a look at everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unresolved;

impl FidResolver for Unresolved {
    fn resolve(&mut self, _: Fid) -> Option<Vec<Box<[u8]>>> {
        None
    }
}

/// Where inodes are, as far as the records have told.
///
/// - What it says is a path below the root of the link, or nothing: names like `..`, with a slash or not of UTF-8 lead
///   nowhere.
/// - It is a help, not a truth: forgetting all of it costs questions to a [`FidResolver`], and no correctness. It forgets all
///   of it at [`FidPaths::LIMIT`] inodes, and what it was told of directories at a tenth of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FidPaths {
    root: Fid,
    /// Where the root of the link is in the file system; empty, or with a slash at its end.
    base: Box<str>,
    known: HashMap<Fid, Names>,
    /// Directories of which somebody has said where they are: paths without slashes at their ends.
    resolved: HashMap<Fid, Box<str>>,
}

/// The names of an inode that records have told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Names {
    names: BTreeSet<(Fid, Box<str>)>,
    /// Whether they are all.
    all: bool,
}

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whereabouts {
    /// At these keys; nowhere in the tree when there is none.
    At(Vec<Key>),
    /// In a directory that is gone by now, wherever it was.
    In(Fid),
    /// Nobody can say.
    Unknown,
}

/// Where a directory is.
enum Directory {
    /// Its path without a slash at the end, empty for the root.
    At(Box<str>),
    Elsewhere,
    /// It is gone by now, or the directory around it is, or one around that, which is this one.
    Gone(Fid),
    /// Nobody can say.
    Unknown,
}

impl FidPaths {
    /// How many inodes are known at most.
    pub const LIMIT: usize = 1 << 20;

    /// Nothing but the root of the link, and where that is in the file system: an empty path for its root.
    #[must_use]
    pub fn new(root: Fid, base: &str) -> Self {
        let base = base.trim_matches('/');
        let base = if base.is_empty() { "".into() } else { format!("{base}/").into() };
        Self { root, base, known: HashMap::new(), resolved: HashMap::new() }
    }

    /// Forgets everything but the root.
    pub fn clear(&mut self) {
        self.known.clear();
        self.resolved.clear();
    }

    /// What of a path of the file system is below the root of the link.
    fn relative<'p>(&self, path: &'p [u8]) -> Option<&'p str> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        std::str::from_utf8(path).ok()?.strip_prefix(&*self.base)
    }

    fn directory(&mut self, fid: Fid, resolver: &mut dyn FidResolver) -> Directory {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut at = fid;
        let above: Box<str> = loop {
            if at == self.root {
                break "".into();
            }
            // A path is no longer, so it is a circle.
            if names.len() > Key::MAX_BYTES {
                return Directory::Unknown;
            }
            if let Some(path) = self.resolved.get(&at) {
                break path.clone();
            }
            match self.known.get(&at) {
                // Invariant: a directory has one name.
                Some(Names { names: known, .. }) if known.len() == 1 => {
                    let Some((parent, name)) = known.first() else { return Directory::Unknown };
                    names.push(name.clone());
                    at = *parent;
                }
                Some(Names { names, all: true }) if names.is_empty() => return Directory::Elsewhere,
                _ => {
                    let Some(paths) = resolver.resolve(at) else { return Directory::Unknown };
                    if paths.is_empty() {
                        return Directory::Gone(at);
                    }
                    let path = paths.iter().find_map(|path| self.relative(path));
                    let Some(path) = path.map(|path| path.trim_end_matches('/')) else { return Directory::Elsewhere };
                    if !path.is_empty() && Key::parse(path).is_err() {
                        return Directory::Elsewhere;
                    }
                    let path: Box<str> = path.into();
                    if self.resolved.len() >= Self::LIMIT.div_euclid(10) {
                        self.resolved.clear();
                    }
                    self.resolved.insert(at, path.clone());
                    break path;
                }
            }
        };
        let mut path = above.into_string();
        for name in names.iter().rev() {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
        }
        Directory::At(path.into())
    }

    /// Where a name in a directory is.
    fn named(&mut self, parent: Option<Fid>, name: Option<&[u8]>, resolver: &mut dyn FidResolver) -> Whereabouts {
        let (Some(parent), Some(name)) = (parent, name) else { return Whereabouts::Unknown };
        if name.starts_with(b"/") {
            let key = self.relative(name).and_then(|path| Key::parse(path).ok());
            return Whereabouts::At(key.into_iter().collect());
        }
        let Some(name) = segment(name) else { return Whereabouts::At(Vec::new()) };
        match self.directory(parent, resolver) {
            Directory::At(directory) => Whereabouts::At(join(&directory, name).into_iter().collect()),
            Directory::Elsewhere => Whereabouts::At(Vec::new()),
            Directory::Gone(directory) => Whereabouts::In(directory),
            Directory::Unknown => Whereabouts::Unknown,
        }
    }

    /// Where an inode is, under all of its names.
    fn inode(&mut self, fid: Fid, resolver: &mut dyn FidResolver) -> Whereabouts {
        if fid.is_zero() || fid == self.root {
            return Whereabouts::At(Vec::new());
        }
        if let Some(Names { names, all: true }) = self.known.get(&fid) {
            let mut keys = Vec::new();
            for (parent, name) in names.clone() {
                match self.directory(parent, resolver) {
                    Directory::At(directory) => keys.extend(join(&directory, &name)),
                    Directory::Elsewhere | Directory::Gone(_) => {}
                    Directory::Unknown => return Whereabouts::Unknown,
                }
            }
            return Whereabouts::At(keys);
        }
        let Some(paths) = resolver.resolve(fid) else { return Whereabouts::Unknown };
        let keys = paths.iter().filter_map(|path| Key::parse(self.relative(path)?).ok());
        Whereabouts::At(keys.collect())
    }

    fn keep(&mut self, fid: Fid, names: Names) {
        if self.known.len() >= Self::LIMIT && !self.known.contains_key(&fid) {
            self.clear();
        }
        self.resolved.remove(&fid);
        self.known.insert(fid, names);
    }

    /// Something was made under its first name.
    fn made(&mut self, record: &ChangelogRecord) {
        if record.target.is_zero() {
            return;
        }
        // What has a name that is no key's is nowhere in the tree, and so is what is below it.
        let name = record.parent.zip(record.name.as_deref().and_then(segment));
        let names = name.map(|(parent, name)| (parent, name.into())).into_iter().collect();
        self.keep(record.target, Names { names, all: true });
    }

    /// A file got a further name.
    fn linked(&mut self, record: &ChangelogRecord) {
        let Some((parent, name)) = record.parent.zip(record.name.as_deref().and_then(segment)) else { return };
        match self.known.get_mut(&record.target) {
            Some(Names { names, .. }) => {
                names.insert((parent, name.into()));
            }
            None => {
                let names = BTreeSet::from([(parent, name.into())]);
                self.keep(record.target, Names { names, all: false });
            }
        }
    }

    /// A name was removed.
    fn unlinked(&mut self, fid: Fid, parent: Option<Fid>, name: Option<&[u8]>) {
        self.resolved.remove(&fid);
        if let Some(Names { names, .. }) = self.known.get_mut(&fid) {
            let name = name.and_then(|name| segment(name.rsplit(|byte| *byte == b'/').next()?));
            if let (Some(parent), Some(name)) = (parent, name) {
                names.remove(&(parent, name.into()));
            }
            if !names.is_empty() {
                return;
            }
        }
        self.known.remove(&fid);
    }

    /// Something got another name; `from` is where it was.
    fn renamed(&mut self, record: &ChangelogRecord, source: &RenameSource, from: &Whereabouts) {
        if !record.target.is_zero() {
            self.unlinked(record.target, record.parent, record.name.as_deref());
        }
        // What was said to be below it is elsewhere now.
        self.resolved.retain(|_, path| match from {
            Whereabouts::At(from) => {
                !from.iter().any(|from| path.strip_prefix(from.path()).is_some_and(|rest| rest.starts_with('/')))
            }
            Whereabouts::In(_) | Whereabouts::Unknown => false,
        });
        let old = segment(source.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        let new = record.parent.zip(record.name.as_deref().and_then(segment));
        let new = new.map(|(parent, name)| (parent, name.into()));
        let is_directory = self.resolved.contains_key(&source.fid);
        let names = match self.known.remove(&source.fid) {
            Some(Names { mut names, all }) => {
                if let Some(old) = old {
                    names.remove(&(source.parent, old.into()));
                }
                names.extend(new);
                Names { names, all }
            }
            None => Names { names: new.into_iter().collect(), all: is_directory },
        };
        self.keep(source.fid, names);
    }
}

/// A name that can be part of a key.
fn segment(name: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(name).ok().filter(|name| !name.contains('/'))?;
    Key::parse(key).ok().map(|_| key)
}

fn join(directory: &str, name: &str) -> Option<Key> {
    if directory.is_empty() { Key::parse(name).ok() } else { Key::try_from(format!("{directory}/{name}")).ok() }
}

/// Whether the numbers of the records follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Numbering {
    /// Each is one more than the one before. Where one is missing, records were purged before they were read.
    #[default]
    Whole,
    /// Some are missing, since the changelog is read through a mask that leaves types of records out.
    Filtered,
}

/// What a record `MTIME` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum MtimeRecords {
    /// That a time was set, which alone starts nothing. Right where `CLOSE` is recorded, as it is by default.
    #[default]
    Times,
    /// That a file was written. Right where `CLOSE` is left out by the mask.
    Writes,
}

/// Something about a changelog that was read, after which everything has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangelogTrouble {
    /// A line is no record.
    #[error("line {line} is no record")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// Why.
        #[source]
        source: InvalidRecord,
    },
    /// Records are missing.
    #[error("line {line}: expected record {expected}, found {found}: records were purged before they were read")]
    Gap {
        /// The number of the line, from 1.
        line: u64,
        /// The number of the record that should have come.
        expected: u64,
        /// The number of the one that came.
        found: u64,
    },
}

/// What was read of a changelog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangelogBatch {
    /// The changes, and up to where they go.
    pub batch: FeedBatch,
    /// What was odd about it; among the changes is a look at everything then.
    pub troubles: Vec<ChangelogTrouble>,
}

/// Reads the text of a changelog, of one metadata server, as it comes.
///
/// ```
/// use posix_s3::repository::{Changelog, ChangeKind, Fid, FidPaths, Unresolved};
///
/// let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, ""));
/// let text = b"7 02MKDIR 15:15:21.977666834 2018.01.09 0x0 t=[0x200000402:0x1:0x0] p=[0x200000007:0x1:0x0] pics\n\
///              8 01CREAT 15:15:36.687592024 2018.01.09 0x0 t=[0x200000402:0x2:0x0] p=[0x200000402:0x1:0x0] a.jpg\n";
/// let read = changelog.read(text, &mut Unresolved);
/// assert!(read.troubles.is_empty());
/// assert_eq!(read.batch.read_to, 8);
/// let created = &read.batch.changes[1];
/// assert_eq!((created.path.as_ref().unwrap().as_str(), &created.kind), ("pics/a.jpg", &ChangeKind::Created));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changelog {
    paths: FidPaths,
    numbering: Numbering,
    mtime: MtimeRecords,
    /// The number of the last record that was read; 0 before the first.
    last: u64,
    /// When the record that was read last happened.
    time: Timestamp,
    /// How many lines were read.
    lines: u64,
    /// A line of which the end has not come yet.
    partial: Vec<u8>,
    /// Directories that were gone before it was known where they were, each with the number of the first record of something
    /// that was removed from it. The record of their own removal is still to come, and says where that was.
    gone: BTreeMap<Fid, u64>,
}

impl Changelog {
    /// For how many records it is waited that a directory's removal is told.
    const PATIENCE: u64 = 100_000;
    /// For how many directories.
    const GONE: usize = 10_000;
    /// The longest line, in bytes: two names of 255 bytes, the name of an attribute, and all fields fit twice over.
    pub const LINE_BYTES: usize = 4096;

    /// Nothing is read yet. The first record may have any number, as records that were cleared do not come again; to have a
    /// gap there found as well, say [`after`](Self::after) which one was the last.
    #[must_use]
    pub fn new(paths: FidPaths) -> Self {
        let (numbering, mtime) = (Numbering::default(), MtimeRecords::default());
        let time = Timestamp::EPOCH;
        Self { paths, numbering, mtime, last: 0, time, lines: 0, partial: Vec::new(), gone: BTreeMap::new() }
    }

    /// The same, but that the record of this number was the last one that was read.
    #[must_use]
    pub const fn after(mut self, number: u64) -> Self {
        self.last = number;
        self
    }

    /// The same with this numbering.
    #[must_use]
    pub const fn with_numbering(mut self, numbering: Numbering) -> Self {
        self.numbering = numbering;
        self
    }

    /// The same with this meaning of `MTIME`.
    #[must_use]
    pub const fn with_mtime(mut self, mtime: MtimeRecords) -> Self {
        self.mtime = mtime;
        self
    }

    /// The number of the last record that was read; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Up to which number it is known what the records were about. It may lag behind the last: what was removed from a
    /// directory that is gone by now is known once that one's removal was read. Whoever has lost the rest of what is kept
    /// here reads on after this number.
    #[must_use]
    pub fn read_to(&self) -> u64 {
        let open = self.gone.values().min();
        open.map_or(self.last, |first| first.saturating_sub(1).min(self.last))
    }

    /// Reads on. What comes behind the last line feed waits for its rest.
    ///
    /// A record that comes again is read again, which does no harm.
    pub fn read(&mut self, text: &[u8], resolver: &mut dyn FidResolver) -> ChangelogBatch {
        let mut read = ChangelogBatch::default();
        let mut lines = text.split(|byte| *byte == b'\n');
        let tail = lines.next_back().unwrap_or_default();
        for line in lines {
            if self.partial.is_empty() {
                self.line(line, resolver, &mut read);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend(line);
                self.line(&whole, resolver, &mut read);
            }
        }
        // One byte more than a line has is enough to see that it is none.
        let room = Self::LINE_BYTES.saturating_add(1).saturating_sub(self.partial.len());
        self.partial.extend(tail.iter().take(room));
        read.batch.read_to = self.read_to();
        read
    }

    /// Reads a last line that has no line feed, if there is one.
    pub fn finish(&mut self, resolver: &mut dyn FidResolver) -> ChangelogBatch {
        let mut read = ChangelogBatch::default();
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.line(&line, resolver, &mut read);
        }
        read.batch.read_to = self.read_to();
        read
    }

    fn line(&mut self, line: &[u8], resolver: &mut dyn FidResolver, read: &mut ChangelogBatch) {
        self.lines = self.lines.saturating_add(1);
        let parsed = if line.len() > Self::LINE_BYTES {
            Err(Line { whole: line, rest: line }.invalid("at most 4096 bytes", line))
        } else {
            ChangelogRecord::parse(line)
        };
        match parsed {
            Ok(record) => self.record(&record, resolver, read),
            Err(source) => {
                read.troubles.push(ChangelogTrouble::Line { line: self.lines, source });
                self.lose(self.time, &mut read.batch.changes);
            }
        }
    }

    fn record(&mut self, record: &ChangelogRecord, resolver: &mut dyn FidResolver, read: &mut ChangelogBatch) {
        let expected = self.last.saturating_add(1);
        let is_gap = self.last != 0 && record.number > expected && self.numbering == Numbering::Whole;
        self.last = self.last.max(record.number);
        self.time = record.time;
        if is_gap {
            let (line, found) = (self.lines, record.number);
            read.troubles.push(ChangelogTrouble::Gap { line, expected, found });
            self.lose(record.time, &mut read.batch.changes);
        }
        let mut changes = Vec::new();
        let sequence = self.changes(record, resolver, &mut changes);
        let time = record.time;
        let changes = changes.into_iter().map(|(path, kind)| FeedChange { sequence, time, path, kind });
        read.batch.changes.extend(changes);
        if self.gone.len() > Self::GONE || self.last.saturating_sub(self.read_to()) > Self::PATIENCE {
            self.lose(time, &mut read.batch.changes);
        }
    }

    /// What happened was not read: anything may be anywhere.
    fn lose(&mut self, time: Timestamp, changes: &mut Vec<FeedChange>) {
        let sequence = self.gone.values().min().copied().unwrap_or(self.last).min(self.last);
        self.paths.clear();
        self.gone.clear();
        changes.push(FeedChange { sequence, time, path: None, kind: ChangeKind::Anything });
    }

    /// What a record says has changed, and since which one.
    fn changes(
        &mut self,
        record: &ChangelogRecord,
        resolver: &mut dyn FidResolver,
        changes: &mut Vec<(Option<Key>, ChangeKind)>,
    ) -> u64 {
        let Self { paths, mtime, gone, .. } = self;
        // What was removed from it before goes with it.
        let removed = match record.kind {
            RecordType::RemoveDirectory | RecordType::Rename => gone.remove(&record.target),
            _ => None,
        };
        let since = removed.unwrap_or(record.number).min(record.number);
        let mut remains = |whereabouts: &Whereabouts| {
            if let Whereabouts::In(directory) = whereabouts {
                let first = gone.entry(*directory).or_insert(since);
                *first = since.min(*first);
            }
        };
        let mut note = |whereabouts: Whereabouts, kind: ChangeKind| match whereabouts {
            Whereabouts::At(keys) => changes.extend(keys.into_iter().map(|key| (Some(key), kind.clone()))),
            // It went as well, which has a record of its own.
            Whereabouts::In(_) => {}
            Whereabouts::Unknown => changes.push((None, ChangeKind::Anything)),
        };
        let name = record.name.as_deref();
        match record.kind {
            RecordType::Create | RecordType::MakeNode => {
                paths.made(record);
                note(paths.named(record.parent, name, resolver), ChangeKind::Created);
            }
            RecordType::MakeDirectory | RecordType::SoftLink => {
                paths.made(record);
                note(paths.named(record.parent, name, resolver), ChangeKind::Made);
            }
            RecordType::HardLink => {
                paths.linked(record);
                note(paths.named(record.parent, name, resolver), ChangeKind::Made);
            }
            RecordType::Unlink | RecordType::RemoveDirectory => {
                let at = paths.named(record.parent, name, resolver);
                paths.unlinked(record.target, record.parent, name);
                remains(&at);
                note(at, ChangeKind::Removed);
            }
            RecordType::Rename if record.source.is_some() => {
                let Some(source) = &record.source else { return since };
                let from = paths.named(Some(source.parent), Some(&source.name), resolver);
                let to = paths.named(record.parent, name, resolver);
                paths.renamed(record, source, &from);
                remains(&from);
                let is_here = |at: &Whereabouts| matches!(at, Whereabouts::At(keys) if !keys.is_empty());
                match (from, to) {
                    (Whereabouts::Unknown, _) | (_, Whereabouts::Unknown) => {
                        note(Whereabouts::Unknown, ChangeKind::Anything);
                    }
                    (from, to) if !is_here(&to) => note(from, ChangeKind::Removed),
                    (Whereabouts::At(from), to) => match from.into_iter().next() {
                        Some(from) => note(to, ChangeKind::Renamed { from }),
                        // It came from elsewhere, with all that is in it.
                        None => note(to, ChangeKind::Anything),
                    },
                    (Whereabouts::In(_), to) => note(to, ChangeKind::Anything),
                }
            }
            RecordType::Rename | RecordType::RenameTo => {
                paths.clear();
                note(paths.named(record.parent, name, resolver), ChangeKind::Anything);
            }
            RecordType::Open => {
                // To an inode of which nothing is known nothing waits.
                let is_known = paths.known.contains_key(&record.target);
                if is_known && record.mode.as_deref().is_some_and(|mode| mode.contains(&b'w')) {
                    note(paths.inode(record.target, resolver), ChangeKind::Opened);
                }
            }
            RecordType::Close => note(paths.inode(record.target, resolver), ChangeKind::Closed),
            RecordType::Layout | RecordType::Truncate | RecordType::MirrorWrite => {
                note(paths.inode(record.target, resolver), ChangeKind::Written);
            }
            RecordType::SetAttributes if !record.is_about_times() => {
                note(paths.inode(record.target, resolver), ChangeKind::Attributes);
            }
            RecordType::SetExtendedAttribute
                if record.xattr.as_deref().is_none_or(|xattr| xattr == b"system.posix_acl_access") =>
            {
                note(paths.inode(record.target, resolver), ChangeKind::Attributes);
            }
            RecordType::Mtime if *mtime == MtimeRecords::Writes => {
                note(paths.inode(record.target, resolver), ChangeKind::Written);
            }
            RecordType::Migrate => {
                for fid in record.source.iter().map(|source| source.fid).chain([record.target]) {
                    paths.known.remove(&fid);
                    paths.resolved.remove(&fid);
                }
            }
            RecordType::Other { .. } => {
                if name.is_some() {
                    note(paths.named(record.parent, name, resolver), ChangeKind::Anything);
                }
                note(paths.inode(record.target, resolver), ChangeKind::Anything);
            }
            RecordType::Mark
            | RecordType::SetAttributes
            | RecordType::SetExtendedAttribute
            | RecordType::Hsm
            | RecordType::Mtime
            | RecordType::Ctime
            | RecordType::Atime
            | RecordType::Resync
            | RecordType::GetExtendedAttribute
            | RecordType::DeniedOpen => {}
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "p=[0x200000007:0x1:0x0]";

    fn record(number: u64, kind: &str, target: u32, rest: &str) -> String {
        format!("{number} {kind} 02:52:19.794688065 2026.03.16 0x0 t=[0x200000401:{target:#x}:0x0] {rest}\n")
    }

    fn inside(directory: u32, name: &str) -> String {
        format!("p=[0x200000401:{directory:#x}:0x0] {name}")
    }

    /// Reads records and shows what they come to.
    fn read_with(text: &str, resolver: &mut dyn FidResolver) -> Vec<String> {
        let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, ""));
        let read = changelog.read(text.as_bytes(), resolver);
        let troubles = read.troubles.iter().map(ToString::to_string);
        let changes = read.batch.changes.iter().map(|change| {
            let path = change.path.as_ref().map_or(".", Key::as_str);
            format!("{} {path} {:?}", change.sequence, change.kind)
        });
        troubles.chain(changes).collect()
    }

    fn read(text: &str) -> Vec<String> {
        read_with(text, &mut Unresolved)
    }

    struct At(&'static str);

    impl FidResolver for At {
        fn resolve(&mut self, _: Fid) -> Option<Vec<Box<[u8]>>> {
            let paths = self.0.split('|').filter(|path| !path.is_empty());
            Some(paths.map(|path| path.as_bytes().into()).collect())
        }
    }

    #[test]
    fn a_fid_is_read_as_lustre_prints_it() {
        for (text, canonical) in [
            ("[0x200000401:0x3:0x0]", "0x200000401:0x3:0x0"),
            ("0x200000401:0x3:0x0", "0x200000401:0x3:0x0"),
            ("[0:0x0:0x0]", "0:0x0:0x0"),
            ("0xFFFFFFFFFFFFFFFF:0xffffffff:0xffffffff", "0xffffffffffffffff:0xffffffff:0xffffffff"),
        ] {
            assert_eq!(text.parse::<Fid>().unwrap().to_string(), canonical);
        }
        for text in
            ["", "[", "[0x1:0x1:0x1", "0x1:0x1", "0x1:0x1:0x1:0x1", "0x1:0x100000000:0x0", "1:1:1", "0x:0x1:0x1"]
        {
            assert!(text.parse::<Fid>().is_err(), "{text}");
        }
        let error = "0x1\n".parse::<Fid>().unwrap_err().to_string();
        assert!(error.starts_with(r#"invalid FID "0x1\n": expected three hexadecimal numbers"#), "{error}");
    }

    #[test]
    fn names_keep_their_spaces_and_jobs_too() {
        let line = "16 08RENME 02:52:19.805772855 2026.03.16 0x0 t=[0:0x0:0x0] j=my mv.0 ef=0xf u=1:2 nid=1@tcp \
                    p=[0x200000401:0x2:0x0]  new  name  s=[0x200000401:0x3:0x0] sp=[0x200000401:0x2:0x0]  old ";
        let record = ChangelogRecord::parse(line.as_bytes()).unwrap();
        assert_eq!(record.job.as_deref(), Some(&b"my mv.0"[..]));
        assert_eq!(record.name.as_deref(), Some(&b" new  name "[..]));
        assert_eq!(&*record.source.as_ref().unwrap().name, b" old ");
        let mut printed = Vec::new();
        record.encode(&mut printed);
        assert_eq!(String::from_utf8(printed).unwrap(), line);
    }

    #[test]
    fn what_a_later_version_adds_is_kept() {
        let line = "1 25FANCY 02:52:19.805772855 2026.03.16 0x1 t=[0x1:0x1:0x0] zz=1 u=1:1 p=[0x1:0x2:0x0] a";
        let record = ChangelogRecord::parse(line.as_bytes()).unwrap();
        assert_eq!((record.kind.number(), record.kind.name()), (25, "FANCY"));
        let mut printed = Vec::new();
        record.encode(&mut printed);
        assert_eq!(String::from_utf8(printed).unwrap(), line);
        for kind in RecordType::KNOWN {
            assert_eq!(RecordType::of(kind.number(), kind.name()), *kind);
        }
    }

    #[test]
    fn a_line_that_is_no_record_says_what_was_expected_and_where() {
        for (line, message) in [
            ("", "expected the number of a record, from 1, found nothing at byte 0"),
            ("0 01CREAT", r#"expected the number of a record, from 1, found "0" at byte 0"#),
            ("1 CREAT", r#"expected a type as in 01CREAT, found "CREAT" at byte 2"#),
            (
                "1 01CREAT 25:00:00.000000000",
                r#"expected a time as in 15:15:36.687592024, found "25:00:00.000000000" at byte 10"#,
            ),
            (
                "1 01CREAT 05:00:00.000000000 2026.02.30",
                r#"expected a date as in 2018.01.09, found "2026.02.30" at byte 29"#,
            ),
            (
                "1 01CREAT 05:00:00.000000000 2026.02.03 0x1000",
                r#"expected flags as in 0x1, of 12 bits, found "0x1000" at byte 40"#,
            ),
            (
                "1 01CREAT 05:00:00.000000000 2026.02.03 0x1 p=",
                r#"expected a target as in t=[0x200000402:0x2:0x0], found "p=" at byte 44"#,
            ),
            (
                "1 01CREAT 05:00:00.000000000 2026.02.03 0x1 t=[0x1:0x1:0x0] u=1",
                r#"expected user and group as in u=500:500, found "u=1" at byte 60"#,
            ),
            (
                "1 01CREAT 05:00:00.000000000 2026.02.03 0x1 t=[0x1:0x1:0x0] m=r m=w",
                r#"expected each field once, found "m=w" at byte 64"#,
            ),
            (
                "1 08RENME 05:00:00.000000000 2026.02.03 0x0 t=[0:0x0:0x0] p=[0x1:0x1:0x0] a s=[0x1:0x2:0x0] sp=[0x1:0x1:0x0] b s=[0x1:0x2:0x0] sp=[0x1:0x1:0x0] c",
                r#"expected one old name, found " s=[0x1:0x2:0x0] sp=[0x1:0x1:0x0] c" at byte 110"#,
            ),
        ] {
            assert_eq!(ChangelogRecord::parse(line.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn paths_are_learned_from_the_records() {
        let text = [
            record(1, "02MKDIR", 1, &format!("{ROOT} a")),
            record(2, "02MKDIR", 2, &inside(1, "b")),
            record(3, "01CREAT", 3, &inside(2, "c d")),
            record(4, "11CLOSE", 3, ""),
            record(5, "03HLINK", 3, &inside(1, "hard")),
            record(6, "14SATTR", 3, ""),
        ];
        let expected = ["1 a Made", "2 a/b Made", "3 a/b/c d Created", "4 a/b/c d Closed", "5 a/hard Made"];
        let all = [&expected[..], &["6 a/hard Attributes", "6 a/b/c d Attributes"]].concat();
        assert_eq!(read(&text.concat()), all);
    }

    #[test]
    fn a_renamed_directory_takes_what_is_in_it_along() {
        let text = [
            record(1, "02MKDIR", 1, &format!("{ROOT} a")),
            record(2, "01CREAT", 2, &inside(1, "f")),
            format!(
                "3 08RENME 02:52:19.794688065 2026.03.16 0x0 t=[0:0x0:0x0] {ROOT} b s=[0x200000401:0x1:0x0] s{ROOT} a\n"
            ),
            record(4, "11CLOSE", 2, ""),
        ];
        let renamed = format!("3 b {:?}", ChangeKind::Renamed { from: Key::parse("a").unwrap() });
        assert_eq!(read(&text.concat()), ["1 a Made", "2 a/f Created", &renamed, "4 b/f Closed"]);
    }

    #[test]
    fn what_cannot_be_resolved_leads_to_a_look_at_everything() {
        assert_eq!(read(&record(1, "11CLOSE", 9, "")), ["1 . Anything"]);
        assert_eq!(read(&record(1, "01CREAT", 9, &inside(8, "a"))), ["1 . Anything"]);
        // A file of which only one name is known may have others.
        assert_eq!(
            read(&[record(1, "03HLINK", 9, &format!("{ROOT} a")), record(2, "11CLOSE", 9, "")].concat()),
            ["1 a Made", "2 . Anything"]
        );
        assert_eq!(read_with(&record(1, "11CLOSE", 9, ""), &mut At("d/x|/e/y")), ["1 d/x Closed", "1 e/y Closed"]);
        assert_eq!(read_with(&record(1, "01CREAT", 9, &inside(8, "a")), &mut At("d/e/")), ["1 d/e/a Created"]);
    }

    #[test]
    fn no_name_leads_outside() {
        for name in ["..", ".", "a/b", "../a", "/../a", "//a", "/a/../../b", "a\0"] {
            assert_eq!(read(&record(1, "01CREAT", 9, &format!("{ROOT} {name}"))), [""; 0], "{name:?}");
        }
        // What is in a directory of such a name is nowhere either.
        let text = [record(1, "02MKDIR", 1, &format!("{ROOT} ..")), record(2, "01CREAT", 2, &inside(1, "a"))];
        assert_eq!(read(&text.concat()), [""; 0]);
        for path in ["../d", "d/../..", "/", "d//e"] {
            assert_eq!(read_with(&record(1, "11CLOSE", 9, ""), &mut At(path)), [""; 0], "{path}");
        }
        // Directories that are in each other are nowhere anybody could say.
        let circle = [record(1, "02MKDIR", 1, &inside(2, "a")), record(2, "02MKDIR", 2, &inside(1, "b"))];
        assert!(read(&circle.concat()).iter().all(|change| change.ends_with(". Anything")));
    }

    #[test]
    fn a_link_of_a_part_of_the_file_system_sees_that_part() {
        let mut changelog = Changelog::new(FidPaths::new("0x1:0x1:0x0".parse().unwrap(), "/data/in"));
        let text = [
            "1 01CREAT 02:52:19.794688065 2026.03.16 0x0 t=[0x1:0x2:0x0] p=[0x1:0x1:0x0] a\n",
            "2 06UNLNK 02:52:19.794688065 2026.03.16 0x1 t=[0x1:0x3:0x0] p=[0x1:0x9:0x0] /data/in/d/b\n",
            "3 06UNLNK 02:52:19.794688065 2026.03.16 0x1 t=[0x1:0x4:0x0] p=[0x1:0x8:0x0] /data/out/c\n",
            "4 11CLOSE 02:52:19.794688065 2026.03.16 0x1 t=[0x1:0x7:0x0]\n",
        ];
        let read = changelog.read(text.concat().as_bytes(), &mut At("data/out/x"));
        let paths: Vec<&str> = read.batch.changes.iter().map(|change| change.path.as_ref().unwrap().as_str()).collect();
        assert_eq!((paths, read.batch.read_to), (vec!["a", "d/b"], 4));
    }

    #[test]
    fn a_gap_in_the_numbers_leads_to_a_look_at_everything() {
        let text =
            [record(1, "01CREAT", 1, &format!("{ROOT} a")), record(4, "01CREAT", 2, &format!("{ROOT} b"))].concat();
        assert_eq!(
            read(&text),
            [
                "line 2: expected record 2, found 4: records were purged before they were read",
                "1 a Created",
                "4 . Anything",
                "4 b Created",
            ]
        );
        let paths = || FidPaths::new(Fid::ROOT, "");
        let mut filtered = Changelog::new(paths()).with_numbering(Numbering::Filtered);
        assert_eq!(filtered.read(text.as_bytes(), &mut Unresolved).troubles, []);
        // Behind what was read before, one is seen at the first record; what comes again is none.
        let mut behind = Changelog::new(paths()).after(3);
        assert_eq!(behind.read(record(5, "01CREAT", 2, ROOT).as_bytes(), &mut Unresolved).troubles.len(), 1);
        let mut again = Changelog::new(paths()).after(3);
        let read = again.read(record(2, "01CREAT", 2, &format!("{ROOT} a")).as_bytes(), &mut Unresolved);
        assert_eq!((read.troubles.len(), read.batch.changes.len(), read.batch.read_to), (0, 1, 3));
    }

    #[test]
    fn a_line_that_is_no_record_leads_to_a_look_at_everything() {
        let text = [record(1, "01CREAT", 1, &format!("{ROOT} a\nb")), record(2, "01CREAT", 2, &format!("{ROOT} c"))];
        assert_eq!(read(&text.concat()), ["line 2 is no record", "1 a Created", "1 . Anything", "2 c Created"]);
        assert_eq!(read(&format!("{}\n", "x".repeat(5000))), ["line 1 is no record", "0 . Anything"]);
    }

    #[test]
    fn a_text_may_come_in_pieces() {
        let text = record(1, "01CREAT", 1, &format!("{ROOT} a b")).repeat(3);
        for size in [1, 7, 60, 1000] {
            let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, ""));
            let pieces = text.as_bytes().chunks(size);
            let read: usize = pieces.map(|piece| changelog.read(piece, &mut Unresolved).batch.changes.len()).sum();
            assert_eq!(read, 3, "{size}");
        }
        let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, ""));
        assert_eq!(changelog.read(text.trim_end().as_bytes(), &mut Unresolved).batch.changes.len(), 2);
        assert_eq!(changelog.finish(&mut Unresolved).batch.changes.len(), 1);
    }

    #[test]
    fn a_line_that_is_no_record_has_the_time_of_the_record_before_however_the_text_is_cut() {
        let record = record(1, "01CREAT", 1, &format!("{ROOT} a"));
        let text = format!("{record}nonsense\n");
        for at in [0, 1, record.len() - 1, record.len(), record.len() + 1, text.len()] {
            let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, ""));
            let (start, end) = text.as_bytes().split_at(at);
            let mut changes = changelog.read(start, &mut Unresolved).batch.changes;
            changes.extend(changelog.read(end, &mut Unresolved).batch.changes);
            assert_eq!(changes.len(), 2, "{at}");
            assert_eq!(changes[1].time, ChangelogRecord::parse(record.trim_end().as_bytes()).unwrap().time, "{at}");
        }
    }

    #[test]
    fn times_alone_start_nothing() {
        let touched = |kind, flags: u32| {
            let line = format!("1 {kind} 02:52:19.794688065 2026.03.16 {flags:#x} t=[0x200000401:0x9:0x0]\n");
            read_with(&line, &mut At("a")).len()
        };
        assert_eq!(
            (touched("17MTIME", 7), touched("18CTIME", 4), touched("19ATIME", 1), touched("14SATTR", 7)),
            (0, 0, 0, 0)
        );
        assert_eq!((touched("14SATTR", 0x14), touched("14SATTR", 0x44), touched("14SATTR", 0)), (1, 1, 1));
        let mut writes = Changelog::new(FidPaths::new(Fid::ROOT, "")).with_mtime(MtimeRecords::Writes);
        let line = b"1 17MTIME 02:52:19.794688065 2026.03.16 0x7 t=[0x200000401:0x9:0x0]\n";
        assert_eq!(writes.read(line, &mut At("a")).batch.changes.len(), 1);
    }

    #[test]
    fn what_was_removed_from_a_directory_that_is_gone_waits_for_the_record_of_that() {
        let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, "")).after(4);
        let read = changelog.read(record(5, "06UNLNK", 2, &inside(1, "a")).as_bytes(), &mut At(""));
        assert_eq!((read.batch.changes.len(), read.batch.read_to, changelog.last()), (0, 4, 5));
        let text = record(6, "07RMDIR", 1, &format!("{ROOT} d"));
        let read = changelog.read(text.as_bytes(), &mut At(""));
        let [removed] = &read.batch.changes[..] else { panic!("{read:?}") };
        assert_eq!((removed.sequence, removed.path.as_ref().unwrap().as_str(), read.batch.read_to), (5, "d", 6));
    }
}
