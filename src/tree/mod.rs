//! The POSIX side: [`Tree`], what its calls take and answer, and the trees that come with the crate.

#[cfg(all(feature = "local", target_os = "linux"))]
mod local;
mod memory;
pub(crate) mod names;

#[cfg(all(feature = "local", target_os = "linux"))]
pub use crate::io::root::OpenRootError;
#[cfg(all(feature = "local", target_os = "linux"))]
pub use local::LocalTree;
pub use memory::MemoryTree;
pub use names::NameList;

use crate::entry::Entry;
use crate::escape::excerpt;
pub use crate::io::SourceError;
use crate::key::{InvalidKey, Key, KeyList};
use crate::metadata::Attributes;
use crate::mode::FileType;
use crate::owner::{Gid, Uid};
use crate::released::Released;
use crate::status::Status;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::future::Future;
use std::sync::Arc;
use thiserror::Error;

/// A directory tree, as far as this crate needs one.
///
/// - Nothing outside the root is read or changed, whatever links the tree holds and whoever changes it meanwhile.
/// - No link is followed: a link is an entry, and a path through one is refused.
/// - A name shows the old file or the finished new one, with its attributes; never a part, never a wider mode first.
pub trait Tree: Send + Sync {
    /// Reads the names in a directory, in key order; without a key, those in the root.
    ///
    /// # Errors
    /// [`TreeErrorKind::NotFound`]; [`TreeErrorKind::Conflict`] when it, or a parent, is something else than a directory. A
    /// directory that cannot be read to its end is an error, never a shorter list.
    fn list(&self, directory: Option<&Key>) -> impl Future<Output = Result<NameList, TreeError>> + Send;

    /// Looks at many paths and reads nothing. The visitor is told of each, in the order of the keys, and comes back.
    ///
    /// - A trailing slash of a key does not matter to what is looked at: the status tells the type.
    /// - It is quickest in key order, in which what is in one directory stands together.
    fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> impl Future<Output = V> + Send;

    /// The time that a change made now would get. It is only compared with times of this tree.
    fn now(&self) -> Timestamp;

    /// What tells this tree's root from another one: the same as long as it is the same directory of the same file system.
    ///
    /// # Errors
    /// When that cannot be said.
    fn identity(&self) -> Result<[u8; 16], TreeError>;

    /// Whether a directory in which a name was made or removed always has another ctime than before, so that one whose times
    /// are as they were need not be read again.
    fn keeps_directory_times(&self) -> bool;

    /// Whether a placeholder was ever put into place in this tree, so that there may be some.
    ///
    /// # Errors
    /// When that cannot be said.
    fn may_have_placeholders(&self) -> Result<bool, TreeError>;

    /// What stands at a path now. A trailing slash of the key does not matter.
    ///
    /// # Errors
    /// [`TreeErrorKind::Conflict`] when a parent is something else than a directory; [`TreeErrorKind::Reserved`] for a name
    /// that is no entry's; [`TreeErrorKind::Changed`] when it became something else while it was looked at.
    fn lookup(&self, key: &Key) -> impl Future<Output = Result<Present, TreeError>> + Send;

    /// Opens a regular file to be read.
    ///
    /// # Errors
    /// [`TreeErrorKind::NotFound`]; [`TreeErrorKind::Changed`] when it is not a regular file any more.
    fn open(&self, key: &Key) -> impl Future<Output = Result<Arc<dyn OpenFile>, TreeError>> + Send;

    /// Puts a file into place whose bytes are those of `body`; missing parents are made, open to the caller alone.
    ///
    /// # Errors
    /// [`TreeErrorKind::Conflict`] when a directory stands there, or anything at all where `standing` says that nothing does;
    /// [`TreeErrorKind::Body`] when the body fails or is not exactly as long as the entry says. The name then shows what
    /// it showed before.
    fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> impl Future<Output = Result<Applied, TreeError>> + Send;

    /// Does anything that needs no body.
    ///
    /// # Errors
    /// [`TreeErrorKind::Conflict`] when something stands there that the operation does not replace;
    /// [`TreeErrorKind::Changed`] when it is not the version any more that was found.
    fn apply(&self, op: &TreeOp) -> impl Future<Output = Result<Applied, TreeError>> + Send;

    /// Begins a run: nothing that was held on to in an earlier one is used.
    ///
    /// # Errors
    /// When that cannot be said.
    fn begin(&self) -> impl Future<Output = Result<(), TreeError>> + Send;

    /// Sees to it that everything done by now is on the disk.
    ///
    /// # Errors
    /// When that cannot be said.
    fn sync(&self) -> impl Future<Output = Result<(), TreeError>> + Send;

    /// Ends a run: what was staged is removed, and everything done is on the disk when this returns.
    ///
    /// # Errors
    /// When that cannot be said.
    fn finish(&self) -> impl Future<Output = Result<(), TreeError>> + Send;
}

/// Whoever is told what a look has found.
pub trait Visit: Send + 'static {
    /// The key at this place of the list was looked at.
    fn visit(&mut self, at: usize, look: Look);
}

impl Visit for Vec<Look> {
    fn visit(&mut self, _: usize, look: Look) {
        self.push(look);
    }
}

/// Where looking is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Where the future is polled; that thread waits for as long as it takes.
    Here,
    /// On one of several other threads, if the tree has some, so that looks go on side by side. More may be asked for than
    /// there are threads: the others wait for their turn.
    Aside {
        /// How many threads there are, at most; 1 or more.
        threads: usize,
    },
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// Nothing.
    Nothing,
    /// A file, directory or link.
    Entry(Found),
    /// Something that has no object: a device, pipe or socket.
    Other,
}

impl Present {
    /// The entry, if it is one.
    #[must_use]
    pub const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(found) => Some(&found.entry),
            Self::Nothing | Self::Other => None,
        }
    }
}

/// An entry as it was found, with what tells a later version of it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// What tells versions apart.
    pub fingerprint: Fingerprint,
}

/// What tells versions of a file apart besides its attributes and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The number of the inode.
    pub inode: u64,
    /// When the inode was last changed in any way.
    pub ctime: Timestamp,
    /// How many names the inode has.
    pub links: u64,
}

impl Found {
    /// The same without what has to be read: of a link, only the length of its target.
    #[must_use]
    pub fn status(&self) -> Status {
        let Fingerprint { inode, ctime, links } = self.fingerprint;
        let (file_type, size) = (self.entry.file_type(), self.entry.object_size());
        Status { file_type, size, attributes: *self.entry.attributes(), inode, ctime, links }
    }

    /// Whether this is the same version of the same file as `other`: everything but the access time is equal.
    #[must_use]
    pub fn is_same_version(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.entry.attributes(), other.entry.attributes());
        self.fingerprint == other.fingerprint
            && self.entry.kind() == other.entry.kind()
            && mine.mtime == theirs.mtime
            && mine.permissions == theirs.permissions
            && (mine.uid, mine.gid) == (theirs.uid, theirs.gid)
    }
}

/// What a look at a path tells.
#[derive(Debug)]
pub enum Look {
    /// A file, directory or link.
    Found(Status),
    /// Nothing stands there.
    Nothing,
    /// Something stands there, or on the way there, that has no object.
    Skipped(SkipReason),
    /// It could not be looked at: what stands there is unknown. [`TreeErrorKind::Conflict`] when a parent is something else
    /// than a directory.
    Failed(TreeError),
}

/// One step of a [`walk`](crate::engine::walk).
#[derive(Debug)]
pub enum Walked {
    /// A file, directory or link.
    Found(Found),
    /// Something that has no object: it is reported and left out, with all that is below it.
    Skipped {
        /// Its path relative to the root, as bytes.
        path: Box<[u8]>,
        /// Why.
        reason: SkipReason,
    },
    /// Something that could not be read. What is below it is unknown, not absent.
    Failed {
        /// Its path relative to the root, as bytes; empty for the root itself.
        path: Box<[u8]>,
        /// Why.
        error: TreeError,
    },
}

/// Why something in a tree has no object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// A device, pipe or socket.
    #[error("a {file_type} has no object")]
    Special {
        /// Its type.
        file_type: FileType,
    },
    /// The path is no key: not UTF-8, or longer than 1,024 bytes, say.
    #[error("the path is no key")]
    Key(#[from] InvalidKey),
    /// Another file system is mounted here.
    #[error("another file system is mounted here")]
    MountPoint,
    /// The name is the one under which imports stage their work.
    #[error("the name is reserved for files being imported")]
    Reserved,
    /// It was gone, or something else, when its turn came.
    #[error("it vanished during the walk")]
    Vanished,
    /// The owner is 4,294,967,295, which no object can hold.
    #[error("its owner {id} cannot be stored")]
    Owner {
        /// The id.
        id: u32,
    },
}

/// A regular file that is open to be read.
pub trait OpenFile: Send + Sync {
    /// The file as it was when it was opened.
    fn found(&self) -> &Found;

    /// Where its content was when it was opened. What [`read`](Self::read) answers of a file that is released, or was
    /// written to since, is not the file's content.
    fn residence(&self) -> &Residence;

    /// Whether it holds any bytes now, or is a hole from its start to its end. A file system that keeps no holes says that
    /// all files hold some.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>>;

    /// The file as it is now, by its descriptor.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>>;

    /// Reads up to `length` bytes from `offset`; fewer only at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>>;
}

/// Where the content of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Residence {
    /// Here, all of it.
    Here,
    /// In the store alone. Here is a placeholder of the same size, a hole from its start to its end.
    Released(Released),
    /// Some in the store and some here, or here alone: somebody wrote to a placeholder, or set its mtime or size. Whether
    /// every byte was written cannot be told from outside.
    Written(Released),
}

impl Residence {
    /// What a marked file is, given what it is now.
    #[must_use]
    pub fn of(released: Released, status: &Status, data: Data) -> Self {
        let is_hollow = data == Data::None;
        let untouched = (status.size, status.attributes.mtime) == (released.size, released.mtime);
        if is_hollow && untouched { Self::Released(released) } else { Self::Written(released) }
    }
}

/// Whether a file holds any bytes, or is a hole from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// A hole.
    None,
    /// Some.
    Some,
}

/// What is to be done to a tree. Files are written by [`Tree::write_file`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeOp {
    /// Makes a directory; missing parents too, open to the caller alone. One that is there stays as it is.
    CreateDirectory {
        /// Its key.
        key: Key,
        /// The attributes that it has from the first moment, but that the owner may do everything in it until they are
        /// set once more; without them it is open to the caller alone.
        attributes: Option<Attributes>,
    },
    /// Puts a link into place, with its attributes; missing parents are made.
    CreateSymlink {
        /// The link.
        entry: Entry,
        /// What may stand there.
        standing: Standing,
    },
    /// Puts a file into place whose content is in the store alone: a hole of the entry's size, marked before it gets its
    /// name; missing parents are made. What is marked is the mtime that the file system keeps.
    ///
    /// Where that cannot be, since the file system keeps no holes or no marks, it is [`TreeErrorKind::Unsupported`].
    CreatePlaceholder {
        /// The file, with its size.
        entry: Entry,
        /// Where its content is; of the same size.
        released: Released,
        /// What may stand there.
        standing: Standing,
    },
    /// Puts a placeholder into the place of a file that is there, and gives its data back, if it is the version that was
    /// found, has one name, and nobody has it open.
    ///
    /// What was there is looked at once more when no new user can come to it any more, and gets its name back if it
    /// changed meanwhile or is in use: [`TreeErrorKind::Changed`], [`TreeErrorKind::InUse`]. A file with extended
    /// attributes or access lists, which a new inode would not have, is [`TreeErrorKind::Unsupported`].
    ///
    /// What cannot get its name back, since somebody gave that to something else, gets another beside it, as does a
    /// placeholder that somebody has begun to write to by then; the source of the error says which.
    Release {
        /// The file as it is to be: of the same size and mtime.
        entry: Entry,
        /// Where its content is.
        released: Released,
        /// What was found there when this was decided.
        found: Status,
        /// What is done where processes run that may have it open and cannot be looked into.
        unseen: UnseenUsers,
    },
    /// Sets the attributes of a file or directory that is there. A file whose content is in the store needs a new inode, and
    /// so a new mark: [`TreeErrorKind::NeedsNewInode`]. Another inode than the one that was found is left
    /// alone, and so is a file whose inode has changed since, or that has another size than the entry; that is
    /// [`TreeErrorKind::Changed`].
    SetAttributes {
        /// The entry as it is to be.
        entry: Entry,
        /// What was found there when this was decided.
        found: Fingerprint,
    },
    /// Sets the times of a directory and nothing else, if it is the inode that was found and has not changed since;
    /// [`TreeErrorKind::Changed`] if it is not.
    SetTimes {
        /// Its key.
        key: Key,
        /// When it was last read.
        atime: Timestamp,
        /// When names in it last changed.
        mtime: Timestamp,
        /// What is to be there.
        found: Fingerprint,
    },
    /// Removes a file, link or empty directory that is there, if it is what was found: of a file or link the same version,
    /// of a directory the same inode. Anything else is [`TreeErrorKind::Changed`], and a directory that is not empty
    /// [`TreeErrorKind::Conflict`].
    Remove {
        /// Its key.
        key: Key,
        /// What was found there when this was decided.
        found: Status,
    },
    /// Gives a file or link another name in its directory, never one that is taken, if it is the version that was found.
    Rename {
        /// Its key.
        key: Key,
        /// Its key from then on; of the same directory, or it is [`TreeErrorKind::Conflict`].
        to: Key,
        /// What was found there when this was decided.
        found: Status,
    },
}

/// What may stand at a path before something is put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing. Whatever turns up all the same stays.
    Nothing,
    /// A file or link, which is replaced. A directory never is.
    Replaceable,
    /// This version of a file or link, which is replaced. Any other stays. Between the last look and the replacement there
    /// is a moment in which somebody else may still change it.
    ///
    /// A placeholder is looked at once more after it was replaced, when nobody can come to it any more. If somebody has
    /// written to it, or has it open and may, it gets its name back: [`TreeErrorKind::Conflict`],
    /// [`TreeErrorKind::InUse`]. The extended attributes and access lists that it has are kept by what replaces it, if that
    /// is of the size and mtime that it is marked with; one that cannot be is [`TreeErrorKind::Unsupported`].
    Version(Status),
}

/// What is done where processes run that the caller cannot look into: another user's, for one who is not the superuser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnseenUsers {
    /// They count as having every file open.
    #[default]
    Refuse,
    /// They count as having none open: the caller knows that nobody else writes here.
    Accept,
}

/// What came of an operation that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What could not be applied and was left as it is.
    pub shortfalls: Vec<Shortfall>,
    /// What was written, made or changed as it stands now, under its name and with its attributes. `None` for a directory
    /// that was there already and for what was removed.
    pub made: Option<Status>,
    /// How many bytes on the disk were given back by [`TreeOp::Release`].
    pub freed: u64,
    /// How the directory around has changed, if a file in it was exchanged for another.
    pub around: Option<Around>,
}

/// When a directory was last changed, right before and right after something was done in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Around {
    /// Its ctime before.
    pub before: Timestamp,
    /// Its ctime after.
    pub after: Timestamp,
}

/// An attribute that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Shortfall {
    /// The caller may not give files away.
    #[error("the owner {uid}:{gid} could not be applied")]
    Owner {
        /// The owner wanted.
        uid: Uid,
        /// The group wanted.
        gid: Gid,
    },
    /// The file system keeps another time than it was given.
    #[error("the mtime {wanted} was kept as {kept}")]
    Mtime {
        /// The time wanted.
        wanted: Timestamp,
        /// The time it has.
        kept: Timestamp,
    },
    /// The file system keeps other permissions than it was given.
    #[error("the permissions {wanted} were kept as {kept}")]
    Permissions {
        /// The permissions wanted.
        wanted: crate::mode::Permissions,
        /// The permissions it has.
        kept: crate::mode::Permissions,
    },
}

/// A call to a tree that failed: what kind of failure, at which path, and the cause as source.
#[derive(Debug, Error)]
#[error("{attempt} \"{path}\" failed: {kind}")]
pub struct TreeError {
    attempt: &'static str,
    path: Box<str>,
    kind: TreeErrorKind,
    #[source]
    source: Option<SourceError>,
}

impl TreeError {
    /// A failure without a further cause; `attempt` says what was tried, as in "opening".
    #[must_use]
    pub fn new(attempt: &'static str, path: &[u8], kind: TreeErrorKind) -> Self {
        Self { attempt, path: excerpt(path), kind, source: None }
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<SourceError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// At which path; safe to print.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> TreeErrorKind {
        self.kind
    }
}

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TreeErrorKind {
    /// There is nothing of this name.
    #[error("there is no such file or directory")]
    NotFound,
    /// Something else stands there, or in the path to it.
    #[error("something else stands there")]
    Conflict,
    /// The caller may not.
    #[error("permission denied")]
    Denied,
    /// The file changed while it was read, or is not what it was.
    #[error("it changed meanwhile")]
    Changed,
    /// The path leads into another file system.
    #[error("another file system is mounted there")]
    MountPoint,
    /// The name is the one under which imports stage their work.
    #[error("the name is reserved")]
    Reserved,
    /// Attributes can only be set on a new inode: the file has several names or cannot be opened.
    #[error("it has to be written anew")]
    NeedsNewInode,
    /// Somebody has the file open.
    #[error("somebody has it open")]
    InUse,
    /// It says that its data is in the store, and is not believed; the source tells why.
    #[error("what it says about where its data is cannot be believed")]
    Mark,
    /// The file system, or this file, is not such that it can be done; the source tells why.
    #[error("it cannot be done here")]
    Unsupported,
    /// There is no room left.
    #[error("no space left")]
    NoSpace,
    /// The body to write failed or has another length.
    #[error("the body is not what was announced")]
    Body,
    /// Anything else; the source tells.
    #[error("the file system failed")]
    Other,
}
