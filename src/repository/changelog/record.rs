//! [`ChangelogRecord`]: a change as a line of text, and back.

use super::fid::{Fid, hexadecimal};
use crate::escape::{escape, excerpt};
use crate::timestamp::Timestamp;
use std::fmt;
use thiserror::Error;
use time::{Date, Month, OffsetDateTime, Time};

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

            pub(super) fn of(number: u32, name: &str) -> Self {
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
    /// The time of modification was set, and nothing of which there is a record of its own; see [`MtimeRecords`](super::MtimeRecords).
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
pub(super) const TIMES: u32 = 0b111;

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
///   [`Changelog`](super::Changelog) to say.
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
pub(super) struct Line<'l> {
    pub(super) whole: &'l [u8],
    pub(super) rest: &'l [u8],
}

impl<'l> Line<'l> {
    pub(super) fn invalid(&self, expected: &'static str, found: &[u8]) -> InvalidRecord {
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
    pub(super) fn is_about_times(&self) -> bool {
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
