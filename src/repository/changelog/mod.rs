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

mod fid;
mod paths;
mod record;

pub use fid::{Fid, InvalidFid};
pub use paths::{FidPaths, FidResolver, Unresolved};
pub use record::{ChangelogRecord, InvalidRecord, RecordType, RenameSource};

use self::paths::Whereabouts;
use self::record::Line;
use super::feed::{ChangeKind, FeedBatch, FeedChange};
use crate::key::Key;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

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
