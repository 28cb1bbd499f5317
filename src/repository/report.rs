//! The completion report of a task: what could not be done, in the form of FSx, and how everything ended, in a form of our
//! own.

use super::policy::Open;
use super::task::TaskType;
use crate::escape::excerpt;
use crate::plan::Cause;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Write};
use thiserror::Error;

/// Why a file is in a completion report: the sixteen codes that the documents of FSx know.
///
/// Source: Amazon FSx for Lustre user guide, "Troubleshooting data repository tasks" and "Data repository event logs", in
/// their editions from 2020 to 2026.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReportCode {
    /// The key would be longer than 1,024 bytes.
    PathSizeTooLong,
    /// The file is larger than 5 TiB.
    FileSizeTooLarge,
    /// The store does not permit it.
    S3AccessDenied,
    /// Any other error of the store.
    S3Error,
    /// The file is in use.
    ResourceBusy,
    /// A fault in the file system.
    InternalError,
    /// The key can be no path.
    S3ObjectPathNotPosixCompliant,
    /// What the data would come from is gone.
    S3FileDeleted,
    /// There is no such object.
    S3ObjectNotFound,
    /// The object is archived, so that only its metadata was imported.
    S3ObjectInUnsupportedTier,
    /// The object of a link is archived, so that its target is not known.
    S3SymlinkInUnsupportedTier,
    /// A file is where a directory stands, or the reverse.
    S3ObjectTypeMismatch,
    /// Another spelling of [`InternalError`](Self::InternalError), which is read and never written.
    #[serde(rename = "INTERNAL_ERROR")]
    InternalErrorOfExport,
    /// It is not exported as it is, and so not released.
    OperationNotPermitted,
    /// Its rename is still on its way to the bucket.
    S3ObjectUpdateInProgressFromFileRename,
    /// The object that would have to keep the data is gone.
    SourceObjectDeletedBeforeReleasing,
}

/// Whether another try helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// Not as it is: its name, size or type has to change.
    No,
    /// Yes, at any time.
    Yes,
    /// Yes, when nobody uses the file any more.
    Later,
    /// Perhaps.
    Maybe,
    /// When it is permitted.
    AfterPermission,
    /// When the object was restored from the archive.
    AfterRestore,
    /// When the file was exported.
    AfterExport,
}

impl ReportCode {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::PathSizeTooLong,
        Self::FileSizeTooLarge,
        Self::S3AccessDenied,
        Self::S3Error,
        Self::ResourceBusy,
        Self::InternalError,
        Self::S3ObjectPathNotPosixCompliant,
        Self::S3FileDeleted,
        Self::S3ObjectNotFound,
        Self::S3ObjectInUnsupportedTier,
        Self::S3SymlinkInUnsupportedTier,
        Self::S3ObjectTypeMismatch,
        Self::InternalErrorOfExport,
        Self::OperationNotPermitted,
        Self::S3ObjectUpdateInProgressFromFileRename,
        Self::SourceObjectDeletedBeforeReleasing,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PathSizeTooLong => "PathSizeTooLong",
            Self::FileSizeTooLarge => "FileSizeTooLarge",
            Self::S3AccessDenied => "S3AccessDenied",
            Self::S3Error => "S3Error",
            Self::ResourceBusy => "ResourceBusy",
            Self::InternalError => "InternalError",
            Self::S3ObjectPathNotPosixCompliant => "S3ObjectPathNotPosixCompliant",
            Self::S3FileDeleted => "S3FileDeleted",
            Self::S3ObjectNotFound => "S3ObjectNotFound",
            Self::S3ObjectInUnsupportedTier => "S3ObjectInUnsupportedTier",
            Self::S3SymlinkInUnsupportedTier => "S3SymlinkInUnsupportedTier",
            Self::S3ObjectTypeMismatch => "S3ObjectTypeMismatch",
            Self::InternalErrorOfExport => "INTERNAL_ERROR",
            Self::OperationNotPermitted => "OperationNotPermitted",
            Self::S3ObjectUpdateInProgressFromFileRename => "S3ObjectUpdateInProgressFromFileRename",
            Self::SourceObjectDeletedBeforeReleasing => "SourceObjectDeletedBeforeReleasing",
        }
    }

    /// The status that FSx reports with it.
    #[must_use]
    pub const fn status(self) -> FileStatus {
        match self {
            Self::S3ObjectInUnsupportedTier => FileStatus::SucceededWithWarning,
            _ => FileStatus::Failed,
        }
    }

    /// Whether another try helps.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::PathSizeTooLong
            | Self::FileSizeTooLarge
            | Self::S3ObjectPathNotPosixCompliant
            | Self::S3FileDeleted
            | Self::S3ObjectNotFound
            | Self::S3ObjectTypeMismatch
            | Self::SourceObjectDeletedBeforeReleasing => Retry::No,
            Self::S3AccessDenied => Retry::AfterPermission,
            Self::S3Error | Self::S3ObjectUpdateInProgressFromFileRename => Retry::Yes,
            Self::ResourceBusy => Retry::Later,
            Self::InternalError | Self::InternalErrorOfExport => Retry::Maybe,
            Self::S3ObjectInUnsupportedTier | Self::S3SymlinkInUnsupportedTier => Retry::AfterRestore,
            Self::OperationNotPermitted => Retry::AfterExport,
        }
    }

    /// Whether the documents name it for such tasks.
    #[must_use]
    pub const fn is_of(self, task: TaskType) -> bool {
        let (export, import, release) = match self {
            Self::PathSizeTooLong | Self::FileSizeTooLarge | Self::InternalErrorOfExport => (true, false, false),
            Self::S3AccessDenied | Self::S3Error | Self::S3ObjectNotFound | Self::S3FileDeleted => (true, true, false),
            Self::ResourceBusy => (true, false, true),
            Self::InternalError => (true, true, true),
            Self::S3ObjectPathNotPosixCompliant
            | Self::S3ObjectInUnsupportedTier
            | Self::S3SymlinkInUnsupportedTier
            | Self::S3ObjectTypeMismatch => (false, true, false),
            Self::OperationNotPermitted
            | Self::S3ObjectUpdateInProgressFromFileRename
            | Self::SourceObjectDeletedBeforeReleasing => (false, false, true),
        };
        match task {
            TaskType::ExportToRepository => export,
            TaskType::ImportMetadataFromRepository => import,
            TaskType::ReleaseDataFromFilesystem | TaskType::AutoReleaseData => release,
        }
    }

    /// The code for what a task could not do. It is one that the documents name for such a task: what none of them is meant
    /// for is an `S3Error` if it has to do with the store, else an `InternalError`.
    #[must_use]
    pub const fn of(task: TaskType, cause: Cause) -> Self {
        match task {
            TaskType::ExportToRepository => Self::of_export(cause),
            TaskType::ImportMetadataFromRepository => Self::of_import(cause),
            TaskType::ReleaseDataFromFilesystem | TaskType::AutoReleaseData => Self::of_release(cause),
        }
    }

    const fn of_export(cause: Cause) -> Self {
        match cause {
            Cause::KeyTooLong | Cause::NameTooLong => Self::PathSizeTooLong,
            Cause::TooLarge => Self::FileSizeTooLarge,
            Cause::AccessDenied => Self::S3AccessDenied,
            Cause::Busy => Self::ResourceBusy,
            Cause::ObjectNotFound => Self::S3ObjectNotFound,
            Cause::ReleasedSourceGone | Cause::SourceDeleted => Self::S3FileDeleted,
            // S3 cannot hold them, or not now.
            Cause::NotUtf8
            | Cause::KeyNotPosix
            | Cause::Unstorable
            | Cause::Archived
            | Cause::ArchivedLink
            | Cause::Conflict
            | Cause::LostRace => Self::S3Error,
            _ if is_of_store(cause) => Self::S3Error,
            _ => Self::InternalError,
        }
    }

    const fn of_import(cause: Cause) -> Self {
        match cause {
            Cause::KeyNotPosix | Cause::KeyTooLong | Cause::NameTooLong | Cause::NotUtf8 => {
                Self::S3ObjectPathNotPosixCompliant
            }
            Cause::KindMismatch | Cause::Shadowed | Cause::Special => Self::S3ObjectTypeMismatch,
            Cause::AccessDenied => Self::S3AccessDenied,
            Cause::ObjectNotFound => Self::S3ObjectNotFound,
            Cause::ReleasedSourceGone | Cause::SourceDeleted => Self::S3FileDeleted,
            Cause::Archived => Self::S3ObjectInUnsupportedTier,
            Cause::ArchivedLink => Self::S3SymlinkInUnsupportedTier,
            Cause::MetadataWithheld | Cause::LostRace => Self::S3Error,
            _ if is_of_store(cause) => Self::S3Error,
            _ => Self::InternalError,
        }
    }

    const fn of_release(cause: Cause) -> Self {
        match cause {
            Cause::NotExported | Cause::NotReleasable | Cause::PermissionDenied => Self::OperationNotPermitted,
            Cause::Busy => Self::ResourceBusy,
            Cause::RenameInProgress => Self::S3ObjectUpdateInProgressFromFileRename,
            Cause::ObjectNotFound | Cause::SourceDeleted | Cause::ReleasedSourceGone => {
                Self::SourceObjectDeletedBeforeReleasing
            }
            _ => Self::InternalError,
        }
    }
}

const fn is_of_store(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::NoSuchBucket | Cause::WrongRegion | Cause::Throttled | Cause::Transient | Cause::Corrupt | Cause::Store
    )
}

impl fmt::Display for ReportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of a file in a completion report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileStatus {
    /// It was not done.
    #[serde(rename = "failed")]
    Failed,
    /// It was done, and not all of it.
    #[serde(rename = "succeeded with warning")]
    SucceededWithWarning,
}

impl FileStatus {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::SucceededWithWarning => "succeeded with warning",
        }
    }
}

impl fmt::Display for FileStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A row of a completion report. It is not safe to print: its path is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow<'r> {
    /// The path of the file, relative to the mount.
    pub path: Cow<'r, str>,
    /// What became of it.
    pub status: Open<FileStatus>,
    /// Why.
    pub code: Open<ReportCode>,
}

impl<'r> ReportRow<'r> {
    /// A row of what is known to this version. Bytes of a path that are not UTF-8 stand as U+FFFD, since the report is text.
    #[must_use]
    pub fn new(path: &'r [u8], status: FileStatus, code: ReportCode) -> Self {
        Self { path: String::from_utf8_lossy(path), status: status.into(), code: code.into() }
    }
}

/// Writes a completion report in the format `REPORT_CSV_20191124`, row by row.
///
/// - The columns are FilePath, FileStatus, ErrorCode, without a header; each row ends in `\n`.
/// - It is the CSV of RFC 4180: a field that holds `"`, `,`, CR or LF stands in quotes, and a quote in it is doubled.
/// - A path that begins with `@`, `+`, `-` or `=` has a pair of quotes of its own around it, so that no spreadsheet takes it
///   for a formula: `@filename.txt` is written `"""@filename.txt"""`. One that would look like that already gets another
///   pair, so that every path can be read back.
/// - It is UTF-8.
///
/// Whatever it writes to should be buffered: a row is a few small writes.
///
/// ```
/// use posix_s3::repository::{FileStatus, ReportCode, ReportRow, ReportWriter};
///
/// let mut report = ReportWriter::new(Vec::new());
/// report.write(&ReportRow::new(b"file\"name.txt", FileStatus::Failed, ReportCode::S3AccessDenied))?;
/// assert_eq!(report.into_inner(), b"\"file\"\"name.txt\",failed,S3AccessDenied\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ReportWriter<W> {
    out: W,
    rows: u64,
}

impl<W: Write> ReportWriter<W> {
    /// Begins a report.
    pub const fn new(out: W) -> Self {
        Self { out, rows: 0 }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, row: &ReportRow<'_>) -> io::Result<()> {
        if is_guarded(&row.path) {
            self.field(&format!("\"{}\"", row.path))?;
        } else {
            self.field(&row.path)?;
        }
        self.out.write_all(b",")?;
        self.field(named(&row.status, FileStatus::name))?;
        self.out.write_all(b",")?;
        self.field(named(&row.code, ReportCode::name))?;
        self.out.write_all(b"\n")?;
        self.rows = self.rows.saturating_add(1);
        Ok(())
    }

    fn field(&mut self, text: &str) -> io::Result<()> {
        if !text.contains(['"', ',', '\r', '\n']) {
            return self.out.write_all(text.as_bytes());
        }
        self.out.write_all(b"\"")?;
        self.out.write_all(text.replace('"', "\"\"").as_bytes())?;
        self.out.write_all(b"\"")
    }

    /// How many rows there are.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// What it was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

fn named<T: Copy>(value: &Open<T>, name: impl Fn(T) -> &'static str) -> &str {
    match value {
        Open::Known(value) => name(*value),
        Open::Other(text) => text,
    }
}

/// Whether a path has a pair of quotes of its own around it in a report.
fn is_guarded(mut path: &str) -> bool {
    loop {
        if path.starts_with(['@', '+', '-', '=']) {
            return true;
        }
        match path.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) => path = inner,
            None => return false,
        }
    }
}

/// Reads a completion report, row by row. Rows may end in CR LF as well, and the last one need not end in either.
///
/// A status or code that this version does not know is kept. After an error there is nothing more.
///
/// ```
/// use posix_s3::repository::{ReportCode, ReportReader};
///
/// let report = "\"\"\"@filename.txt\"\"\",failed,S3Error\n";
/// let rows = ReportReader::new(report.as_bytes()).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(rows[0].path, "@filename.txt");
/// assert_eq!(rows[0].code.known(), Some(ReportCode::S3Error));
/// # Ok::<(), posix_s3::repository::InvalidReport>(())
/// ```
#[derive(Debug)]
pub struct ReportReader<R> {
    input: R,
    row: u64,
    ended: bool,
}

impl<R: BufRead> ReportReader<R> {
    /// The longest row, in bytes: 1 MiB.
    pub const LONGEST: usize = 1 << 20;

    /// Reads from the start of a report.
    pub const fn new(input: R) -> Self {
        Self { input, row: 0, ended: false }
    }

    fn read(&mut self) -> Result<Option<ReportRow<'static>>, InvalidReport> {
        let row = self.row.saturating_add(1);
        self.row = row;
        let Some(fields) = self.fields(row)? else { return Ok(None) };
        let found = fields.len();
        let [path, status, code] =
            <[String; 3]>::try_from(fields).map_err(|_| InvalidReport::Columns { row, found })?;
        let path = match path.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) if is_guarded(inner) => inner.to_owned(),
            _ => path,
        };
        let known = [FileStatus::Failed, FileStatus::SucceededWithWarning].into_iter();
        let status = open(status, known, FileStatus::name);
        Ok(Some(ReportRow {
            path: path.into(),
            status,
            code: open(code, ReportCode::ALL.into_iter(), ReportCode::name),
        }))
    }

    /// The fields of the next row; nothing at the end.
    fn fields(&mut self, row: u64) -> Result<Option<Vec<String>>, InvalidReport> {
        let (mut line, mut is_open) = (Vec::new(), false);
        // A row goes on as long as a quote is open, however many lines that takes.
        loop {
            let before = line.len();
            let room = Self::LONGEST.saturating_add(1).saturating_sub(before) as u64;
            io::Read::take(&mut self.input, room).read_until(b'\n', &mut line)?;
            if line.len() > Self::LONGEST {
                return Err(InvalidReport::TooLong { row });
            }
            let read = line.get(before..).unwrap_or_default();
            is_open ^= read.iter().filter(|byte| **byte == b'"').count() & 1 == 1;
            match (line.len() == before, is_open) {
                (true, true) => return Err(InvalidReport::Quote { row, expected: "a closing quote" }),
                (true, false) if line.is_empty() => return Ok(None),
                (_, false) => break,
                (false, true) => {}
            }
        }
        let text = String::from_utf8(line).map_err(|_| InvalidReport::NotUtf8 { row })?;
        let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        split(text, row).map(Some)
    }
}

/// The fields of a row, decoded.
fn split(text: &str, row: u64) -> Result<Vec<String>, InvalidReport> {
    let (mut fields, mut rest) = (Vec::new(), text);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted, row)?,
            None => {
                let (field, after) = rest.split_at_checked(rest.find(',').unwrap_or(rest.len())).unwrap_or((rest, ""));
                if field.contains('"') {
                    return Err(InvalidReport::Quote { row, expected: "a quote only in a quoted field" });
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(InvalidReport::Quote { row, expected: "a comma after a closing quote" }),
        }
    }
}

/// A quoted field after its opening quote, and what comes after its closing one.
fn unquote(quoted: &str, row: u64) -> Result<(String, &str), InvalidReport> {
    let (mut field, mut rest) = (String::new(), quoted);
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err(InvalidReport::Quote { row, expected: "a closing quote" });
        };
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, after)),
        }
    }
}

fn open<T: Copy>(text: String, mut known: impl Iterator<Item = T>, name: impl Fn(T) -> &'static str) -> Open<T> {
    known.find(|value| name(*value) == text).map_or_else(|| Open::Other(text.into()), Open::Known)
}

impl<R: BufRead> Iterator for ReportReader<R> {
    type Item = Result<ReportRow<'static>, InvalidReport>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.read().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// A completion report that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidReport {
    /// It could not be read on.
    #[error("the report could not be read")]
    Io(#[from] io::Error),
    /// A row has more or fewer columns.
    #[error("expected 3 columns in row {row}, found {found}")]
    Columns {
        /// Which row, from 1.
        row: u64,
        /// How many it has.
        found: usize,
    },
    /// A quote is missing, or is where none can be.
    #[error("expected {expected} in row {row}, found something else")]
    Quote {
        /// Which row, from 1.
        row: u64,
        /// What was expected.
        expected: &'static str,
    },
    /// A row is not UTF-8.
    #[error("expected UTF-8 in row {row}, found other bytes")]
    NotUtf8 {
        /// Which row, from 1.
        row: u64,
    },
    /// A row has no end.
    #[error("expected at most 1 MiB in row {row}, found more")]
    TooLong {
        /// Which row, from 1.
        row: u64,
    },
}

/// How an entry has ended: a line of the JSON report, which lists what succeeded too.
///
/// What was as it should be already is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutcomeLine<'r> {
    /// The path, relative to the mount. JSON escapes what is not safe to print, except for a few characters that change how
    /// text reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'r, str>>,
    /// The path in hexadecimal digits, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hex: Option<String>,
    /// How it ended, as the report of the run names it.
    pub outcome: Cow<'r, str>,
    /// What became of it, where it is in the completion report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<FileStatus>,
    /// The code in the completion report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ReportCode>,
    /// Why, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'r, str>>,
    /// How many bytes of data were written.
    pub bytes: u64,
}

impl<'r> OutcomeLine<'r> {
    /// An entry with nothing to say about it.
    #[must_use]
    pub fn new(path: &'r [u8], outcome: &'r str, bytes: u64) -> Self {
        let (key, key_hex) = match std::str::from_utf8(path) {
            Ok(key) => (Some(key.into()), None),
            Err(_) => (None, Some(path.iter().map(|byte| format!("{byte:02x}")).collect())),
        };
        Self { key, key_hex, outcome: outcome.into(), status: None, code: None, cause: None, reason: None, bytes }
    }

    /// Writes it as one line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")
    }
}

impl fmt::Display for OutcomeLine<'_> {
    /// Prints it safely for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_deref().or(self.key_hex.as_deref()).unwrap_or_default();
        write!(f, "{}: {}", self.outcome, excerpt(key.as_bytes()))?;
        self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(path: &str) -> String {
        let mut report = ReportWriter::new(Vec::new());
        report.write(&ReportRow::new(path.as_bytes(), FileStatus::Failed, ReportCode::S3Error)).unwrap();
        String::from_utf8(report.into_inner()).unwrap().strip_suffix(",failed,S3Error\n").unwrap().to_owned()
    }

    fn read(text: &str) -> Result<Vec<ReportRow<'static>>, InvalidReport> {
        ReportReader::new(text.as_bytes()).collect()
    }

    #[test]
    fn paths_are_written_as_the_guide_shows() {
        for (path, expected) in [
            ("plain.txt", "plain.txt"),
            ("@filename.txt", r#""""@filename.txt""""#),
            ("+filename.txt", r#""""+filename.txt""""#),
            ("-filename.txt", r#""""-filename.txt""""#),
            ("=filename.txt", r#""""=filename.txt""""#),
            ("file\"name.txt", r#""file""name.txt""#),
            ("a,b", r#""a,b""#),
            ("=a,\"b", r#""""=a,""b""""#),
            ("a b", "a b"),
            ("d/@a", "d/@a"),
            ("\"@a\"", r#""""""@a""""""#),
            ("a\r\nb", "\"a\r\nb\""),
            ("é", "é"),
        ] {
            assert_eq!(written(path), expected, "{path}");
        }
        assert_eq!(ReportRow::new(b"a\xff", FileStatus::Failed, ReportCode::S3Error).path, "a\u{fffd}");
    }

    #[test]
    fn there_are_sixteen_codes_and_one_is_a_warning() {
        let warnings: Vec<_> =
            ReportCode::ALL.into_iter().filter(|code| code.status() == FileStatus::SucceededWithWarning).collect();
        assert_eq!(warnings, [ReportCode::S3ObjectInUnsupportedTier]);
        for code in ReportCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
        let names: std::collections::BTreeSet<_> = ReportCode::ALL.map(ReportCode::name).into();
        assert_eq!(names.len(), 16);
    }

    #[test]
    fn a_cause_has_a_code_of_its_task() {
        for task in TaskType::ALL {
            for cause in Cause::ALL {
                let code = ReportCode::of(task, *cause);
                assert!(code.is_of(task), "{task} {cause} {code}");
                assert_ne!(code, ReportCode::InternalErrorOfExport);
            }
        }
        // Every code but the other spelling has a cause.
        for code in ReportCode::ALL.into_iter().filter(|code| *code != ReportCode::InternalErrorOfExport) {
            let has_cause =
                |task| Cause::ALL.iter().any(|cause| ReportCode::of(task, *cause) == code) || !code.is_of(task);
            assert!(TaskType::ALL.into_iter().all(has_cause), "{code}");
        }
    }

    #[test]
    fn codes_are_those_of_the_guide() {
        use TaskType::{ExportToRepository, ImportMetadataFromRepository, ReleaseDataFromFilesystem};
        for (task, cause, code, retry) in [
            (ExportToRepository, Cause::KeyTooLong, "PathSizeTooLong", Retry::No),
            (ExportToRepository, Cause::TooLarge, "FileSizeTooLarge", Retry::No),
            (ExportToRepository, Cause::AccessDenied, "S3AccessDenied", Retry::AfterPermission),
            (ExportToRepository, Cause::Busy, "ResourceBusy", Retry::Later),
            (ExportToRepository, Cause::Throttled, "S3Error", Retry::Yes),
            (ExportToRepository, Cause::Tree, "InternalError", Retry::Maybe),
            (ExportToRepository, Cause::ReleasedSourceGone, "S3FileDeleted", Retry::No),
            (ImportMetadataFromRepository, Cause::KeyNotPosix, "S3ObjectPathNotPosixCompliant", Retry::No),
            (ImportMetadataFromRepository, Cause::KindMismatch, "S3ObjectTypeMismatch", Retry::No),
            (ImportMetadataFromRepository, Cause::Archived, "S3ObjectInUnsupportedTier", Retry::AfterRestore),
            (ImportMetadataFromRepository, Cause::ArchivedLink, "S3SymlinkInUnsupportedTier", Retry::AfterRestore),
            (ImportMetadataFromRepository, Cause::ObjectNotFound, "S3ObjectNotFound", Retry::No),
            (ReleaseDataFromFilesystem, Cause::NotExported, "OperationNotPermitted", Retry::AfterExport),
            (ReleaseDataFromFilesystem, Cause::RenameInProgress, "S3ObjectUpdateInProgressFromFileRename", Retry::Yes),
            (ReleaseDataFromFilesystem, Cause::SourceDeleted, "SourceObjectDeletedBeforeReleasing", Retry::No),
        ] {
            let found = ReportCode::of(task, cause);
            assert_eq!((found.name(), found.retry()), (code, retry), "{task} {cause}");
        }
    }

    #[test]
    fn a_report_says_where_it_is_damaged() {
        for (text, message) in [
            ("a,failed\n", "expected 3 columns in row 1, found 2"),
            ("a,failed,S3Error\nb,failed,S3Error,x\n", "expected 3 columns in row 2, found 4"),
            ("\"a,failed,S3Error\n", "expected a closing quote in row 1, found something else"),
            ("\"a\"b,failed,S3Error\n", "expected a comma after a closing quote in row 1, found something else"),
            ("a\"b\",failed,S3Error\n", "expected a quote only in a quoted field in row 1, found something else"),
            ("\n", "expected 3 columns in row 1, found 1"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), message, "{text:?}");
        }
        let error = ReportReader::new(b"\xff,failed,S3Error\n".as_slice()).next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "expected UTF-8 in row 1, found other bytes");
        let endless = io::BufReader::new(io::repeat(b'"'));
        let error = ReportReader::new(endless).next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "expected at most 1 MiB in row 1, found more");
        let mut after = ReportReader::new(b"a\nb,failed,S3Error\n".as_slice());
        assert!(after.next().unwrap().is_err() && after.next().is_none());
    }

    #[test]
    fn each_byte_of_a_row_of_many_lines_is_looked_at_once() {
        let path = "\n".repeat(1 << 19);
        let begun = std::time::Instant::now();
        let rows = read(&format!("\"{path}\",failed,S3Error\nb,failed,S3Error\n")).unwrap();
        assert_eq!((&*rows[0].path, &*rows[1].path), (&*path, "b"));
        // Were they counted again at each line, it would be minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_report_of_a_later_version_or_another_system_is_read() {
        let rows = read("a,postponed,S3MoonPhase\r\n\"b\",succeeded with warning,S3ObjectInUnsupportedTier").unwrap();
        assert_eq!(rows[0].status, Open::Other("postponed".into()));
        assert_eq!(rows[0].code, Open::Other("S3MoonPhase".into()));
        assert_eq!(rows[1].code.known(), Some(ReportCode::S3ObjectInUnsupportedTier));
        let mut again = ReportWriter::new(Vec::new());
        rows.iter().for_each(|row| again.write(row).unwrap());
        assert_eq!(read(std::str::from_utf8(&again.into_inner()).unwrap()).unwrap(), rows);
    }

    #[test]
    fn a_line_of_the_json_report_holds_any_path() {
        let mut out = Vec::new();
        let line = OutcomeLine {
            code: Some(ReportCode::S3Error),
            status: Some(FileStatus::Failed),
            cause: Some(Cause::NotUtf8),
            reason: Some("why".into()),
            ..OutcomeLine::new(b"a\xff", "failed", 0)
        };
        line.write(&mut out).unwrap();
        OutcomeLine::new("a\n\u{e9}".as_bytes(), "written", 3).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"key_hex\":\"61ff\",\"outcome\":\"failed\",\"status\":\"failed\",\"code\":\"S3Error\",\
             \"cause\":\"not-utf8\",\"reason\":\"why\",\"bytes\":0}\n\
             {\"key\":\"a\\né\",\"outcome\":\"written\",\"bytes\":3}\n"
        );
        assert_eq!(serde_json::from_str::<OutcomeLine<'_>>(text.lines().next().unwrap()).unwrap(), line);
        assert_eq!(line.to_string(), "failed: 61ff: why");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_path_is_read_back(paths in prop::collection::vec("[@+=,\"a\r\n é-]{0,6}|\\PC*", 0..8)) {
            let mut report = ReportWriter::new(Vec::new());
            let rows: Vec<_> = paths
                .iter()
                .map(|path| ReportRow::new(path.as_bytes(), FileStatus::Failed, ReportCode::ResourceBusy))
                .collect();
            rows.iter().for_each(|row| report.write(row).unwrap());
            prop_assert_eq!(report.rows(), rows.len() as u64);
            let text = String::from_utf8(report.into_inner()).unwrap();
            prop_assert_eq!(read(&text).unwrap(), rows);
        }

        #[test]
        fn no_cell_begins_like_a_formula(path in "[@+=\"a-]{0,6}") {
            // What a spreadsheet sees is the field without its outer quotes.
            let cell = split(&written(&path), 1).unwrap().remove(0);
            prop_assert!(!cell.starts_with(['@', '+', '-', '=']), "{}", cell);
        }

        #[test]
        fn whatever_is_read_does_no_harm(text in "[\",a\r\n]{0,24}") {
            let _ = read(&text);
        }
    }
}
