//! [`Call`]: something that is asked of a tree, or done to it by a user, and the answer in words that two trees share.

use crate::sim::edit::Edit;
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::StreamExt;
use futures_util::stream;
use posix_s3::tree::{
    Applied, Data, Fingerprint, Look, Place, Present, Residence, SourceError, Standing, Tree, TreeError, TreeOp,
    UnseenUsers,
};
use posix_s3::{Attributes, ETag, Entry, EntryKind, FileType, Key, KeyList, Released, Status, Timestamp};
use rustix::io::Errno;
use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Edit(Edit),
    Lookup(Key),
    List(Option<Key>),
    Look(Vec<Key>),
    /// Opens a file and reads so many bytes from there.
    Open(Key, u64, usize),
    /// With `fails` the body breaks off.
    Write {
        entry: Entry,
        body: Vec<Vec<u8>>,
        fails: bool,
        standing: Stands,
    },
    CreateDirectory {
        key: Key,
        attributes: Option<Attributes>,
    },
    CreateSymlink {
        entry: Entry,
        standing: Stands,
    },
    Place {
        entry: Entry,
        standing: Stands,
    },
    Release {
        key: Key,
        found: Version,
    },
    SetAttributes {
        entry: Entry,
        found: Version,
    },
    SetTimes {
        key: Key,
        atime: Timestamp,
        mtime: Timestamp,
        found: Version,
    },
    Remove {
        key: Key,
        found: Version,
    },
    Rename {
        key: Key,
        to: Key,
        found: Version,
    },
    Begin,
    Sync,
    Finish,
}

impl Call {
    /// What is asked for.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Edit(edit) => edit.name(),
            Self::Lookup(_) => "Lookup",
            Self::List(_) => "List",
            Self::Look(_) => "Look",
            Self::Open(..) => "Open",
            Self::Write { .. } => "WriteFile",
            Self::CreateDirectory { .. } => "CreateDirectory",
            Self::CreateSymlink { .. } => "CreateSymlink",
            Self::Place { .. } => "CreatePlaceholder",
            Self::Release { .. } => "Release",
            Self::SetAttributes { .. } => "SetAttributes",
            Self::SetTimes { .. } => "SetTimes",
            Self::Remove { .. } => "Remove",
            Self::Rename { .. } => "Rename",
            Self::Begin => "begin",
            Self::Sync => "sync",
            Self::Finish => "finish",
        }
    }
}

/// What may stand there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stands {
    Nothing,
    Replaceable,
    Version(Version),
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    /// What is there now.
    Now,
    /// What was seen at some other time, there or elsewhere.
    Seen(usize),
    /// What is there now, but that its size is another.
    Wrong,
}

/// Whether the numbers of inodes that are gone come again, where nobody can say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    Fresh,
    Reused,
}

/// A tree, and what was seen of it.
pub(crate) struct Side<'t, T> {
    pub(crate) tree: &'t T,
    pub(crate) numbers: Numbers,
    seen: Vec<Status>,
}

impl<'t, T: Tree> Side<'t, T> {
    pub(crate) fn new(tree: &'t T, numbers: Numbers) -> Self {
        Self { tree, numbers, seen: Vec::new() }
    }

    /// Asks for it, and says what has come of it.
    pub(crate) fn ask(&mut self, call: &Call) -> String {
        match call {
            Call::Edit(_) => unreachable!("a user does it"),
            Call::Lookup(key) => match block_on(self.tree.lookup(key)) {
                Ok(Present::Nothing) => "nothing".into(),
                Ok(Present::Other) => "other".into(),
                Ok(Present::Entry(found)) => {
                    let target = match found.entry.kind() {
                        EntryKind::Symlink { target } => {
                            format!(" to {:?}", target.as_bytes().escape_ascii().to_string())
                        }
                        _ => String::new(),
                    };
                    format!("{:?}{target} {}", found.entry.key().as_str(), self.see(found.status()))
                }
                Err(error) => told(&error),
            },
            Call::List(key) => match block_on(self.tree.list(key.as_ref())) {
                Ok(names) => {
                    let name = |name: &[u8]| match name.starts_with(b".posix-s3-staging-") && name.len() > 40 {
                        true => "staging".to_owned(),
                        false => name.escape_ascii().to_string(),
                    };
                    names.iter().map(name).collect::<Vec<_>>().join(" ")
                }
                Err(error) => told(&error),
            },
            Call::Look(keys) => {
                let mut list = KeyList::new();
                keys.iter().for_each(|key| list.push(key.as_str()).unwrap());
                let looks = block_on(self.tree.look(Arc::new(list), Place::Here, Vec::new()));
                let mut text = String::new();
                for look in looks {
                    match look {
                        Look::Found(status) => text += &self.see(status),
                        Look::Nothing => text += "nothing",
                        Look::Skipped(reason) => write!(text, "{reason:?}").unwrap(),
                        Look::Failed(error) => text += &told(&error),
                    }
                    text.push_str("; ");
                }
                text
            }
            Call::Open(key, offset, length) => match block_on(self.tree.open(key)) {
                Ok(file) => {
                    let read = block_on(file.read(*offset, *length)).unwrap();
                    let data = block_on(file.data()).unwrap() == Data::Some;
                    let again = block_on(file.again()).unwrap();
                    let residence = match file.residence() {
                        Residence::Here => "here",
                        Residence::Released(_) => "released",
                        Residence::Written(_) => "written",
                    };
                    let found = self.see(file.found().status());
                    format!("{found} {residence} data {data} {} {:?}", read.len(), checksum(&read))
                        + &self.see(again.status())
                }
                Err(error) => told(&error),
            },
            Call::Write { entry, body, fails, standing } => {
                let Some(standing) = self.standing(entry.key(), standing) else { return "not seen".into() };
                let pieces = body.iter().map(|piece| Ok(Bytes::from(piece.clone())));
                let end = fails.then(|| Err(SourceError::from("made to fail")));
                let body = stream::iter(pieces.chain(end).collect::<Vec<_>>()).boxed();
                let written = block_on(self.tree.write_file(entry, body, standing));
                self.applied(written)
            }
            Call::CreateDirectory { key, attributes } => {
                self.apply(&TreeOp::CreateDirectory { key: key.clone(), attributes: *attributes })
            }
            Call::CreateSymlink { entry, standing } => {
                let Some(standing) = self.standing(entry.key(), standing) else { return "not seen".into() };
                self.apply(&TreeOp::CreateSymlink { entry: entry.clone(), standing })
            }
            Call::Place { entry, standing } => {
                let Some(standing) = self.standing(entry.key(), standing) else { return "not seen".into() };
                let released = released(entry.key(), entry.object_size(), entry.attributes().mtime);
                self.apply(&TreeOp::CreatePlaceholder { entry: entry.clone(), released, standing })
            }
            Call::Release { key, found } => {
                let Some(found) = self.version(key, found) else { return "not seen".into() };
                let kind = EntryKind::File { size: found.size };
                let Ok(entry) = Entry::new(key.clone(), kind, found.attributes) else { return "no file".into() };
                let released = released(key, found.size, found.attributes.mtime);
                self.apply(&TreeOp::Release { entry, released, found, unseen: UnseenUsers::Accept })
            }
            Call::SetAttributes { entry, found } => {
                let is_directory = entry.kind() == &EntryKind::Directory;
                let found = match found {
                    Version::Seen(_) if is_directory && self.numbers == Numbers::Reused => Version::Now,
                    found => *found,
                };
                let Some(found) = self.version(entry.key(), &found) else { return "not seen".into() };
                self.apply(&TreeOp::SetAttributes { entry: entry.clone(), found: fingerprint(&found) })
            }
            Call::SetTimes { key, atime, mtime, found } => {
                let Some(found) = self.version(key, found) else { return "not seen".into() };
                let (key, found) = (key.clone(), fingerprint(&found));
                self.apply(&TreeOp::SetTimes { key, atime: *atime, mtime: *mtime, found })
            }
            Call::Remove { key, found } => {
                let Some(found) = self.version(key, found) else { return "not seen".into() };
                self.apply(&TreeOp::Remove { key: key.clone(), found })
            }
            Call::Rename { key, to, found } => {
                let Some(found) = self.version(key, found) else { return "not seen".into() };
                self.apply(&TreeOp::Rename { key: key.clone(), to: to.clone(), found })
            }
            Call::Begin => done(block_on(self.tree.begin())),
            Call::Sync => done(block_on(self.tree.sync())),
            Call::Finish => done(block_on(self.tree.finish())),
        }
    }

    fn apply(&mut self, op: &TreeOp) -> String {
        let applied = block_on(self.tree.apply(op));
        self.applied(applied)
    }

    fn applied(&mut self, applied: Result<Applied, TreeError>) -> String {
        match applied {
            // Whether the mark takes as much room as the file gave back, each file system decides for itself.
            Ok(Applied { shortfalls, made, freed: _, around }) => {
                let made = made.map_or("nothing".to_owned(), |made| self.see(made));
                format!("{made} {shortfalls:?} {}", around.is_some())
            }
            Err(error) => told(&error),
        }
    }

    /// Remembers what was seen. Says of an inode which of those seen before it is, if that can be told.
    fn see(&mut self, status: Status) -> String {
        let which = self.seen.iter().position(|seen| seen.inode == status.inode).unwrap_or(self.seen.len());
        self.seen.push(status);
        let number = if self.numbers == Numbers::Fresh { format!("#{which}") } else { String::new() };
        format!("{} {number}", described(&status))
    }

    fn standing(&self, key: &Key, stands: &Stands) -> Option<Standing> {
        Some(match stands {
            Stands::Nothing => Standing::Nothing,
            Stands::Replaceable => Standing::Replaceable,
            Stands::Version(version) => Standing::Version(self.version(key, version)?),
        })
    }

    fn version(&self, key: &Key, version: &Version) -> Option<Status> {
        let now = || {
            let mut list = KeyList::new();
            list.push(key.as_str()).unwrap();
            match block_on(self.tree.look(Arc::new(list), Place::Here, Vec::new())).pop() {
                Some(Look::Found(status)) => Some(status),
                _ => None,
            }
        };
        match version {
            Version::Now => now(),
            Version::Wrong => now().map(|status| Status { size: status.size + 1, ..status }),
            Version::Seen(place) => {
                let seen = *self.seen.get(place % self.seen.len().max(1))?;
                let is_directory = seen.file_type == FileType::Directory;
                if is_directory && self.numbers == Numbers::Reused { now() } else { Some(seen) }
            }
        }
    }
}

fn fingerprint(status: &Status) -> Fingerprint {
    Fingerprint { inode: status.inode, ctime: status.ctime, links: status.links }
}

fn released(key: &Key, size: u64, mtime: Timestamp) -> Released {
    let key = Key::parse(key.path()).unwrap();
    Released { key, etag: ETag::new("\"e\""), size, mtime, lost: false }
}

fn done(done: Result<(), TreeError>) -> String {
    done.map_or_else(|error| told(&error), |()| "done".into())
}

/// The kind of a failure, and the number that the system gave it.
fn told(error: &TreeError) -> String {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let errno = source.and_then(Errno::from_io_error);
    format!("{:?} {errno:?}", error.kind())
}

/// A status, but for what no two trees agree on.
pub(crate) fn described(status: &Status) -> String {
    let Status { file_type, size, attributes, links, .. } = status;
    let Attributes { permissions, uid, gid, atime, mtime } = attributes;
    // Whoever walks through a link or lists a directory sets its atime.
    let atime = if *file_type == FileType::File { time(*atime) } else { String::new() };
    format!("{file_type} {size} {permissions} {uid} {gid} a{atime} m{} {links}", time(*mtime))
}

/// A time that somebody set; all others are those of some clock.
pub(crate) fn time(time: Timestamp) -> String {
    const CLOCKS: std::ops::Range<i64> = 1_600_000_000..2_200_000_000;
    if CLOCKS.contains(&time.seconds()) { "now".into() } else { time.to_string() }
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
