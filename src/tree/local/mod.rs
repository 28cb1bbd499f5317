//! [`LocalTree`]: a directory of Linux, safe against whoever else writes to it.
//!
//! Five problems and their answers:
//!
//! 1. *A path can be bent by a link planted in it.* Paths are never handed to the kernel. A directory is reached one name at a
//!    time from the root's descriptor, each opened without following; see [`sys`].
//! 2. *What was checked a moment ago may be something else now.* Nothing is remembered by name: [`directories`] keeps open
//!    descriptors, and attributes are read and set through the descriptor of the very inode.
//! 3. *A half-written file must never show.* New inodes grow in a private directory and are renamed into place with
//!    their final attributes; see [`staging`].
//! 4. *Another file system may be mounted inside.* Every directory that is opened is compared with the root.
//! 5. *The path to the root may be bent before anything begins.* See [`LocalTree::open`].

mod buffers;
mod directories;
mod disk;
mod exchange;
mod look;
mod mark;
mod staging;
mod sys;
mod threads;
mod users;
mod whole;

use self::buffers::Buffers;
use self::directories::Directories;
use self::exchange::{Exchange, Exchanged};
use self::mark::Marks;
use self::staging::{StagedFile, Staging};
use self::sys::{Mount, Name, Stat, failed};
use self::threads::Threads;
use self::users::{Asked, Users};
use self::whole::{Wanted, Whole};
use super::{
    Applied, Around, Data, Fingerprint, Found, NameList, OpenFile, Place, Present, Residence, Shortfall, SourceError,
    Standing, Tree, TreeError, TreeErrorKind, TreeOp, UnseenUsers, Visit,
};
use crate::entry::{Entry, EntryKind};
use crate::escape::{escape, excerpt};
use crate::io::root::{self, OpenRootError};
use crate::key::{Key, KeyList};
use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::released::Released;
use crate::status::Status;
use crate::symlink::SymlinkTarget;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use disk::Disk;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many keys are looked at where the future is polled; more of them on a thread that may wait.
const LOOKED_AT_INLINE: usize = 32;

/// What is tried when directories are made.
const MAKING: &str = "making";

/// A directory of Linux as a tree.
///
/// - Nothing outside the root is read or changed: no link is followed below it, no mount point is crossed.
/// - Files and links appear under their names whole, with owner, mode and times.
/// - System calls are made where a future is polled; they block that thread for as long as the disk takes.
///
/// ```
/// use posix_s3::{Key, tree::{LocalTree, Tree}};
///
/// let directory = tempfile::tempdir()?;
/// std::os::unix::fs::symlink("/etc", directory.path().join("link"))?;
/// let tree = LocalTree::open(directory.path())?;
/// futures_executor::block_on(async {
///     assert!(tree.lookup(&Key::parse("link").unwrap()).await.unwrap().entry().is_some());
///     assert!(tree.lookup(&Key::parse("link/passwd").unwrap()).await.is_err()); // not through the link
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct LocalTree {
    root: Arc<OwnedFd>,
    disk: Disk,
    mount: Mount,
    directories: Mutex<Directories>,
    staging: Mutex<Option<Arc<Staging>>>,
    /// Names were removed or changed, which is not on the disk yet.
    unsynced: AtomicBool,
    threads: Threads,
    /// Memory to read directories in.
    buffer: Mutex<Vec<u8>>,
    buffers: Buffers,
    marks: Marks,
}

impl LocalTree {
    /// Opens a directory as root.
    ///
    /// The path is the operator's, but others may be able to change what it leads to. So it is gone along one name at a time, and
    /// a link or `..` on it is followed only if nobody but root and this user can have made it lead where it does: the link has
    /// to belong to one of them, and so has every directory before it, and nobody else, no group either, may write to those. A
    /// sticky directory on the way, such as `/tmp`, is gone through, but a link in itself is not followed. Nor is one of procfs,
    /// whose text does not tell where it leads. Whoever knows better opens the root and uses
    /// [`from_descriptor`](Self::from_descriptor).
    ///
    /// # Errors
    /// [`OpenRootError`], which names the link that is not followed, or what cannot be opened or is no directory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenRootError> {
        let path = path.as_ref();
        let unread = |source| OpenRootError::Io { component: excerpt(path.as_os_str().as_bytes()), source };
        Self::from_descriptor(root::open(path, root::Missing::Fail)?).map_err(unread)
    }

    /// Takes an open directory as root.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn from_descriptor(root: OwnedFd) -> io::Result<Self> {
        let look = sys::look(&root)?;
        if !look.is_directory() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let root = Arc::new(root);
        Ok(Self {
            disk: Disk::new(Arc::clone(&root)),
            root,
            mount: look.mount(),
            directories: Mutex::default(),
            staging: Mutex::default(),
            unsynced: AtomicBool::new(false),
            threads: Threads::default(),
            buffer: Mutex::default(),
            buffers: Buffers::default(),
            marks: Marks::default(),
        })
    }

    fn directories(&self) -> MutexGuard<'_, Directories> {
        // Nothing but open descriptors is in there, each true by itself.
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor of a directory, given by its path; the root is the empty path.
    fn directory(&self, attempt: &'static str, path: &str) -> Result<Arc<OwnedFd>, TreeError> {
        self.directories().open(&self.root, self.mount, attempt, path)
    }

    /// The descriptor of the directory that holds a path, and the path's own name in it.
    fn parent<'k>(&self, attempt: &'static str, key: &'k Key) -> Result<(Arc<OwnedFd>, Name<'k>), TreeError> {
        let (parent, _) = key.path().rsplit_once('/').unwrap_or(("", key.path()));
        let name = Name::last_of(key).map_err(|error| failed(attempt, key.as_str().as_bytes(), error))?;
        Ok((self.directory(attempt, parent)?, name))
    }

    /// As [`parent`](Self::parent), and what is missing on the way is made.
    fn parent_made<'k>(&self, attempt: &'static str, key: &'k Key) -> Result<(Arc<OwnedFd>, Name<'k>), TreeError> {
        self.check_reserved(attempt, key)?;
        match self.parent(attempt, key) {
            Err(error) if error.kind() == TreeErrorKind::NotFound => {
                self.make_above(key)?;
                self.parent(attempt, key)
            }
            other => other,
        }
    }

    /// Makes what is missing above a path, outermost first. There may be hundreds: the stack does not grow with them.
    fn make_above(&self, key: &Key) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        let mut above = key.parent();
        while let Some(directory) = above {
            match self.directory(MAKING, directory.path()) {
                Err(error) if error.kind() == TreeErrorKind::NotFound => above = directory.parent(),
                other => {
                    other?;
                    break;
                }
            }
            missing.push(directory);
        }
        for directory in missing.iter().rev() {
            let (parent, name) = self.parent(MAKING, directory)?;
            self.make_in(&parent, name, directory, None)?;
        }
        Ok(())
    }

    fn make_directory(&self, key: &Key, attributes: Option<&Attributes>) -> Result<Applied, TreeError> {
        let (parent, name) = self.parent_made(MAKING, key)?;
        self.make_in(&parent, name, key, attributes)
    }

    fn make_in(
        &self,
        parent: &OwnedFd,
        name: Name<'_>,
        key: &Key,
        attributes: Option<&Attributes>,
    ) -> Result<Applied, TreeError> {
        let staging = self.staging()?;
        let make = || {
            let mut staged = staging.directory()?;
            let mut applied = Applied::default();
            if let Some(attributes) = attributes {
                // Open to the owner: an ordinary user moves and fills no other.
                let permissions = Permissions::from_mode(attributes.permissions.bits() | 0o700);
                applied = staged.set_directory_attributes(&Attributes { permissions, ..*attributes })?;
            }
            Ok(as_it_stands(applied, &staged.publish(parent, name, Standing::Nothing)?))
        };
        make().or_else(|error: io::Error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return self.directory(MAKING, key.path()).map(|_| Applied::default());
            }
            Err(failed(MAKING, key.as_str().as_bytes(), error))
        })
    }

    fn check_reserved(&self, attempt: &'static str, key: &Key) -> Result<(), TreeError> {
        if key.segments().next().is_some_and(|first| staging::is_reserved(first.as_bytes())) {
            return Err(TreeError::new(attempt, key.as_str().as_bytes(), TreeErrorKind::Reserved));
        }
        Ok(())
    }

    /// The staging directory of this run, made when it is first needed.
    fn staging(&self) -> Result<Arc<Staging>, TreeError> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = &*staging {
            return Ok(Arc::clone(staging));
        }
        let made = Staging::new(Arc::clone(&self.root)).map_err(|error| failed("staging in", b".", error))?;
        let made = Arc::new(made);
        *staging = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn write(
        &self,
        entry: &Entry,
        mut body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "writing";
        let path = entry.key().as_str().as_bytes();
        let (parent, _) = self.parent_made(ATTEMPT, entry.key())?;
        if entry.object_size() <= whole::LARGEST
            && matches!(self.replaced(ATTEMPT, entry, &parent, standing)?, Replaced::Any)
        {
            return self.write_whole(entry, body, parent, standing).await;
        }
        let mut staged = self.staging()?.file().map_err(|error| failed(ATTEMPT, path, error))?;
        while let Some(piece) = body.next().await {
            let unread = |error| TreeError::new(ATTEMPT, path, TreeErrorKind::Body).with_source(error);
            let piece = piece.map_err(unread)?;
            /// What is written where it arrives, in bytes. More may wait for the disk, if too much is waiting for it.
            const INLINE: usize = 256 << 10;
            let written = if piece.len() <= INLINE {
                staged.write(&piece)
            } else {
                let mut file = staged;
                let written;
                (staged, written) = blocking::unblock(move || {
                    let written = file.write(&piece);
                    (file, written)
                })
                .await;
                written
            };
            written.map_err(|error| failed(ATTEMPT, path, error))?;
            if staged.length() > entry.object_size() {
                break;
            }
        }
        check_length(ATTEMPT, entry, staged.length())?;
        let error = |error| failed(ATTEMPT, path, error);
        staged.end().map_err(error)?;
        let mut applied = set_attributes(staged.descriptor(), entry.attributes()).map_err(error)?;
        let replaced = self.replaced(ATTEMPT, entry, &parent, standing)?;
        if keep_extras(ATTEMPT, entry, &replaced, staged.descriptor())? {
            applied = set_attributes(staged.descriptor(), entry.attributes()).map_err(error)?;
        }
        let staged = self.disk.bring(staged).await.map_err(error)?;
        self.publish(ATTEMPT, entry.key(), staged, &parent, standing, replaced, applied).await
    }

    /// Writes a small file, in one go with others.
    async fn write_whole(
        &self,
        entry: &Entry,
        mut body: BoxStream<'_, Result<Bytes, SourceError>>,
        parent: Arc<OwnedFd>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "writing";
        let path = entry.key().as_str().as_bytes();
        let (mut pieces, mut length) = (Vec::new(), 0_u64);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| TreeError::new(ATTEMPT, path, TreeErrorKind::Body).with_source(error))?;
            length = length.saturating_add(piece.len() as u64);
            if length > entry.object_size() {
                break;
            }
            pieces.push(piece);
        }
        check_length(ATTEMPT, entry, length)?;
        let (staging, entry, wanted) = (self.staging()?, entry.clone(), Wanted::new());
        let whole = Whole { staging, pieces, entry, parent, standing, wanted };
        self.disk.place(whole).await.map_err(|error| failed(ATTEMPT, path, error))
    }

    /// What a file that is about to be published will replace.
    fn replaced(
        &self,
        attempt: &'static str,
        entry: &Entry,
        parent: &OwnedFd,
        standing: Standing,
    ) -> Result<Replaced, TreeError> {
        let error = |error| failed(attempt, entry.key().as_str().as_bytes(), error);
        let Standing::Version(found) = standing else { return Ok(Replaced::Any) };
        if found.file_type != FileType::File || !mark::is_marked(&*self.root).map_err(error)? {
            return Ok(Replaced::Any);
        }
        let file = match sys::open_file(parent, Name::last_of(entry.key()).map_err(error)?) {
            Ok(file) => file,
            // Nothing that could be lost; publishing finds out.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Replaced::Any),
            // It may be one all the same.
            Err(_) => return Ok(Replaced::Placeholder { file: None, found }),
        };
        if !mark::is_marked(&file).map_err(error)? {
            return Ok(Replaced::Any);
        }
        // What is not believed, or was written to, is not what the new file stands for.
        let residence = sys::look(&file).and_then(|stat| self.marks.residence(&file, &stat));
        let same = matches!(residence, Ok(Residence::Released(released))
            if (released.size, released.mtime) == (entry.object_size(), entry.attributes().mtime));
        Ok(Replaced::Placeholder { file: same.then_some(file), found })
    }

    /// Gives a staged file its name.
    #[allow(clippy::too_many_arguments, reason = "they are of one file")]
    async fn publish(
        &self,
        attempt: &'static str,
        key: &Key,
        mut staged: StagedFile,
        parent: &OwnedFd,
        standing: Standing,
        replaced: Replaced,
        applied: Applied,
    ) -> Result<Applied, TreeError> {
        let path = key.as_str().as_bytes();
        let error = |error| failed(attempt, path, error);
        let kind = |kind| TreeError::new(attempt, path, kind);
        let name = Name::last_of(key).map_err(error)?;
        let Replaced::Placeholder { found, .. } = replaced else {
            return Ok(as_it_stands(applied, &staged.publish(parent, name, standing).map_err(error)?));
        };
        // Nobody has it open any more who could be taken for a writer.
        let exchange = Exchanged::begin(staged.into_staged(), parent, key, &found).map_err(error)?;
        let mut exchanged = match exchange {
            Exchange::Done(exchanged) => exchanged,
            Exchange::Changed => return Err(kind(TreeErrorKind::Conflict)),
            Exchange::Unsupported(mut staged, _) => {
                return Ok(as_it_stands(applied, &staged.publish(parent, name, standing).map_err(error)?));
            }
        };
        self.unsynced.store(true, Ordering::Relaxed);
        // Whoever reads it reads zeros, and whoever is not seen is taken not to be there: else nothing could be fetched
        // where others are at work.
        match self.disk.in_use(exchanged.asked()).await {
            Ok(users) if users.writes => return Err(undone(kind(TreeErrorKind::InUse), exchanged.undo())),
            Ok(_) if exchanged.holds(&found) => exchanged.let_go(),
            Ok(_) => return Err(undone(kind(TreeErrorKind::Conflict), exchanged.undo())),
            Err(why) => return Err(undone(error(why), exchanged.undo())),
        }
        let made = exchanged.made().ok_or_else(|| kind(TreeErrorKind::Conflict))?;
        Ok(as_it_stands(Applied { around: exchanged.around(), ..applied }, made))
    }

    /// A placeholder that has no name yet: a hole, marked, with its attributes, on the disk.
    async fn hollow(
        &self,
        attempt: &'static str,
        entry: &Entry,
        released: &Released,
        replaced: &Replaced,
    ) -> Result<(StagedFile, Applied), TreeError> {
        let path = entry.key().as_str().as_bytes();
        let error = |error| failed(attempt, path, error);
        let unsupported = |why: io::Error| TreeError::new(attempt, path, TreeErrorKind::Unsupported).with_source(why);
        if *entry.kind() != (EntryKind::File { size: released.size }) {
            return Err(TreeError::new(attempt, path, TreeErrorKind::Conflict));
        }
        // Before there is any, so that no crash leaves one that nobody looks for.
        self.marks.set_on_root(&*self.root).map_err(unsupported)?;
        let staged = self.staging()?.file().map_err(error)?;
        let file = staged.descriptor();
        file.set_len(released.size).map_err(error)?;
        // What is marked is the mtime that is kept, and a mark is set by whoever may still write.
        sys::change_times(file, entry.attributes().atime, entry.attributes().mtime).map_err(error)?;
        let mtime = sys::look(file).map_err(error)?.mtime();
        self.marks.set(file, &Released { mtime, ..released.clone() }).map_err(unsupported)?;
        let mut applied = set_attributes(file, entry.attributes()).map_err(error)?;
        if keep_extras(attempt, entry, replaced, file)? {
            applied = set_attributes(file, entry.attributes()).map_err(error)?;
        }
        if mark::data(file).map_err(unsupported)? == Data::Some {
            return Err(unsupported(io::Error::other("the file system keeps no holes")));
        }
        Ok((self.disk.bring(staged).await.map_err(error)?, applied))
    }

    async fn place(&self, entry: &Entry, released: &Released, standing: Standing) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "placing";
        let (parent, _) = self.parent_made(ATTEMPT, entry.key())?;
        let replaced = self.replaced(ATTEMPT, entry, &parent, standing)?;
        let (staged, applied) = self.hollow(ATTEMPT, entry, released, &replaced).await?;
        self.publish(ATTEMPT, entry.key(), staged, &parent, standing, replaced, applied).await
    }

    /// Gives the data of a file back.
    ///
    /// The old inode and the placeholder change places. From then on nobody can come to the old one any more, which is in
    /// the staging directory, so that who has it open now is all who ever will. If it is open, or is not what was found,
    /// they change back; else it goes.
    async fn release(
        &self,
        entry: &Entry,
        released: &Released,
        found: &Status,
        unseen: UnseenUsers,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "releasing";
        let key = entry.key();
        let path = key.as_str().as_bytes();
        let error = |error| failed(ATTEMPT, path, error);
        let kind = |kind| TreeError::new(ATTEMPT, path, kind);
        if found.file_type != FileType::File || found.links > 1 {
            return Err(kind(TreeErrorKind::Conflict));
        }
        let (parent, before) = self.still(ATTEMPT, key, found)?;
        let before = before.disk_bytes();
        let name = Name::last_of(key).map_err(error)?;
        {
            let file = sys::open_file(&parent, name).map_err(error)?;
            if let Some(extra) = mark::extras(&file).map_err(error)?.first() {
                let why =
                    format!("it has the extended attribute \"{}\", which would be lost", escape(extra.as_bytes()));
                return Err(kind(TreeErrorKind::Unsupported).with_source(why));
            }
        }
        let in_use = |users: Users| match unseen {
            _ if users.any => Some(kind(TreeErrorKind::InUse)),
            UnseenUsers::Refuse if users.unseen => Some(kind(TreeErrorKind::InUse).with_source(UNSEEN)),
            _ => None,
        };
        // Most of what is open is found out before anything is moved.
        let asked = Asked { path: [b"/", key.path().as_bytes()].concat(), inode: Some(found.inode) };
        let used = self.disk.in_use(asked).await.map_err(error)?;
        if let Some(used) = in_use(used) {
            return Err(used);
        }
        let (staged, applied) = self.hollow(ATTEMPT, entry, released, &Replaced::Any).await?;
        let mut exchanged = match Exchanged::begin(staged.into_staged(), &parent, key, found).map_err(error)? {
            Exchange::Done(exchanged) => exchanged,
            Exchange::Changed => return Err(kind(TreeErrorKind::Changed)),
            Exchange::Unsupported(_, why) => return Err(kind(TreeErrorKind::Unsupported).with_source(why)),
        };
        self.unsynced.store(true, Ordering::Relaxed);
        let used = self.disk.in_use(exchanged.asked()).await;
        // Also a write of somebody who has closed it by now.
        match used.map(in_use) {
            Ok(Some(used)) => return Err(undone(used, exchanged.undo())),
            Ok(None) if exchanged.holds(found) => exchanged.let_go(),
            Ok(None) => return Err(undone(kind(TreeErrorKind::Changed), exchanged.undo())),
            Err(why) => return Err(undone(error(why), exchanged.undo())),
        }
        let applied = Applied { around: exchanged.around(), ..applied };
        // Somebody who has removed or renamed the placeholder at once has it, and no other.
        let Some(made) = exchanged.made() else { return Ok(applied) };
        Ok(Applied { freed: before.saturating_sub(made.disk_bytes()), ..as_it_stands(applied, made) })
    }

    fn symlink(&self, entry: &Entry, standing: Standing) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "linking";
        let path = entry.key().as_str().as_bytes();
        let EntryKind::Symlink { target } = entry.kind() else {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::Changed));
        };
        let (parent, name) = self.parent_made(ATTEMPT, entry.key())?;
        let staging = self.staging()?;
        let finish = || {
            let mut staged = staging.symlink(target)?;
            let applied = staged.set_link_attributes(entry.attributes())?;
            Ok(as_it_stands(applied, &staged.publish(&parent, name, standing)?))
        };
        finish().map_err(|error| failed(ATTEMPT, path, error))
    }

    fn set_attributes(&self, entry: &Entry, found: &Fingerprint) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "setting the attributes of";
        self.check_reserved(ATTEMPT, entry.key())?;
        let path = entry.key().as_str().as_bytes();
        let error = |error| failed(ATTEMPT, path, error);
        let anew = || TreeError::new(ATTEMPT, path, TreeErrorKind::NeedsNewInode);
        let changed = || TreeError::new(ATTEMPT, path, TreeErrorKind::Changed);
        let descriptor: Arc<OwnedFd> = match entry.kind() {
            EntryKind::Directory => self.directory(ATTEMPT, entry.key().path())?,
            EntryKind::Symlink { .. } => return Err(anew()),
            EntryKind::File { .. } => {
                let (parent, name) = self.parent(ATTEMPT, entry.key())?;
                match sys::open_file(&parent, name) {
                    Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => return Err(anew()),
                    other => Arc::new(other.map_err(error)?),
                }
            }
        };
        // What was decided about one inode is done to no other, whatever name that has by now.
        let look = sys::look(&descriptor).map_err(error)?;
        let is_file = look.file_type() == Some(FileType::File);
        let same = if is_file { look.fingerprint() == *found } else { look.fingerprint().inode == found.inode };
        if !same || look.file_type() != Some(entry.file_type()) {
            return Err(changed());
        }
        if is_file && (look.fingerprint().links > 1 || mark::is_marked(&descriptor).map_err(error)?) {
            return Err(anew());
        }
        // Several changes may have one time.
        if matches!(entry.kind(), EntryKind::File { size } if *size != look.size()) {
            return Err(changed());
        }
        let applied = set_attributes(&descriptor, entry.attributes()).map_err(error)?;
        rustix::fs::fsync(&descriptor).map_err(|errno| error(errno.into()))?;
        let look = sys::look(&descriptor).map_err(error)?;
        // It was removed meanwhile: what stands there now is something else.
        if look.fingerprint().links == 0 {
            return Err(changed());
        }
        Ok(as_it_stands(applied, &look))
    }

    fn set_times(
        &self,
        key: &Key,
        atime: Timestamp,
        mtime: Timestamp,
        found: &Fingerprint,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "setting the times of";
        self.check_reserved(ATTEMPT, key)?;
        let error = |error| failed(ATTEMPT, key.as_str().as_bytes(), error);
        let directory = self.directory(ATTEMPT, key.path())?;
        let now = sys::look(&directory).map_err(error)?.fingerprint();
        if (now.inode, now.ctime) != (found.inode, found.ctime) {
            return Err(TreeError::new(ATTEMPT, key.as_str().as_bytes(), TreeErrorKind::Changed));
        }
        sys::change_times(&directory, atime, mtime).map_err(error)?;
        self.unsynced.store(true, Ordering::Relaxed);
        Ok(as_it_stands(Applied::default(), &sys::look(&directory).map_err(error)?))
    }

    /// What has a name, if it is still what was found: of a directory the inode, of anything else the version.
    fn still(&self, attempt: &'static str, key: &Key, found: &Status) -> Result<(Arc<OwnedFd>, Stat), TreeError> {
        self.check_reserved(attempt, key)?;
        let path = key.as_str().as_bytes();
        let (parent, name) = self.parent(attempt, key)?;
        let stat = sys::look_at(&parent, name).map_err(|error| failed(attempt, path, error))?;
        if !self.mount.holds(&stat) {
            return Err(TreeError::new(attempt, path, TreeErrorKind::MountPoint));
        }
        let same = stat.status().is_ok_and(|now| match now.file_type {
            FileType::Directory => found.file_type == FileType::Directory && now.inode == found.inode,
            _ => now.is_same_version(found),
        });
        if same { Ok((parent, stat)) } else { Err(TreeError::new(attempt, path, TreeErrorKind::Changed)) }
    }

    fn remove(&self, key: &Key, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "removing";
        let (parent, stat) = self.still(ATTEMPT, key, found)?;
        let removed = Name::last_of(key).and_then(|name| {
            if stat.is_directory() { sys::remove_directory(&parent, name) } else { sys::remove(&parent, name) }
        });
        removed.map_err(|error| failed(ATTEMPT, key.as_str().as_bytes(), error))?;
        self.unsynced.store(true, Ordering::Relaxed);
        self.directories().let_go(key.path());
        Ok(Applied::default())
    }

    fn rename(&self, key: &Key, to: &Key, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "renaming";
        let error = |kind| TreeError::new(ATTEMPT, key.as_str().as_bytes(), kind);
        self.check_reserved(ATTEMPT, to)?;
        if key.parent() != to.parent() || found.file_type == FileType::Directory {
            return Err(error(TreeErrorKind::Conflict));
        }
        let (parent, before) = self.still(ATTEMPT, key, found)?;
        let rename = || {
            let (name, new) = (Name::last_of(key)?, Name::last_of(to)?);
            sys::rename_new(&parent, name, &parent, new)?;
            self.unsynced.store(true, Ordering::Relaxed);
            sys::look_at(&parent, new)
        };
        let after = rename().map_err(|error| failed(ATTEMPT, key.as_str().as_bytes(), error))?;
        if after.fingerprint().inode != before.fingerprint().inode {
            return Err(error(TreeErrorKind::Changed));
        }
        Ok(as_it_stands(Applied::default(), &after))
    }

    fn list_names(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        const ATTEMPT: &str = "listing";
        let path = directory.map_or("/", Key::as_str).as_bytes();
        let opened = match directory {
            None => sys::open_again(&self.root),
            Some(key) => {
                self.check_reserved(ATTEMPT, key)?;
                let (parent, name) = self.parent(ATTEMPT, key)?;
                sys::open_directory(&parent, name)
            }
        };
        let opened = opened.map_err(|error| failed(ATTEMPT, path, error))?;
        let stat = sys::look(&opened).map_err(|error| failed(ATTEMPT, path, error))?;
        if !self.mount.holds(&stat) {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::MountPoint));
        }
        // Who comes meanwhile has a buffer of his own.
        let mut buffer = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        let names = sys::list(&opened, &mut buffer);
        *self.buffer.lock().unwrap_or_else(PoisonError::into_inner) = buffer;
        Ok(names.map_err(|error| failed(ATTEMPT, path, error))?.of_directory(stat.fingerprint().inode))
    }

    fn look_up(&self, key: &Key) -> Result<Present, TreeError> {
        const ATTEMPT: &str = "looking up";
        self.check_reserved(ATTEMPT, key)?;
        let path = key.as_str().as_bytes();
        let (parent, name) = match self.parent(ATTEMPT, key) {
            Err(error) if error.kind() == TreeErrorKind::NotFound => return Ok(Present::Nothing),
            other => other?,
        };
        let look = match sys::look_at(&parent, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Nothing),
            other => other.map_err(|error| failed(ATTEMPT, path, error))?,
        };
        if !self.mount.holds(&look) {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::MountPoint));
        }
        let target = read_target(&parent, name, &look).map_err(|error| match error.raw_os_error() {
            // Something else has the name by now.
            Some(code) if code == rustix::io::Errno::INVAL.raw_os_error() => {
                TreeError::new(ATTEMPT, path, TreeErrorKind::Changed).with_source(error)
            }
            _ => failed(ATTEMPT, path, error),
        })?;
        Ok(found(key.path(), &look, target).map_or(Present::Other, Present::Entry))
    }

    async fn open_file(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        const ATTEMPT: &str = "opening";
        let path = key.as_str().as_bytes();
        let changed = || TreeError::new(ATTEMPT, path, TreeErrorKind::Changed);
        let (parent, name) = self.parent(ATTEMPT, key)?;
        let file = match sys::open_file(&parent, name) {
            // A link stands where a file stood.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(changed().with_source(error));
            }
            other => File::from(other.map_err(|error| failed(ATTEMPT, path, error))?),
        };
        let (file, look) = self.disk.look(file).await.map_err(|error| failed(ATTEMPT, path, error))?;
        if look.file_type() != Some(FileType::File) {
            return Err(changed());
        }
        let found = found(key.path(), &look, None).ok_or_else(changed)?;
        let residence = self.marks.residence(&file, &look).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => TreeError::new(ATTEMPT, path, TreeErrorKind::Mark).with_source(error),
            _ => failed(ATTEMPT, path, error),
        })?;
        Ok(Arc::new(LocalFile { file: Arc::new(file), buffers: self.buffers.clone(), found, residence }))
    }
}

impl fmt::Debug for LocalTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalTree").field(&self.root).finish()
    }
}

impl Tree for LocalTree {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.list_names(directory)
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        match place {
            Place::Aside { threads } if keys.len() > LOOKED_AT_INLINE => {
                let (root, mount) = (Arc::clone(&self.root), self.mount);
                self.threads.run(threads, move || look::look(&root, mount, &keys, visitor)).await
            }
            Place::Here | Place::Aside { .. } => look::look(&self.root, self.mount, &keys, visitor),
        }
    }

    fn now(&self) -> Timestamp {
        sys::now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        sys::identity(&self.root).map_err(|error| failed("identifying", b"/", error))
    }

    fn keeps_directory_times(&self) -> bool {
        // Where it cannot be told, directories are read.
        sys::is_local(&self.root).unwrap_or(false)
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        mark::is_marked(&*self.root).map_err(|error| failed("looking for the mark of", b"/", error))
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.look_up(key)
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        self.open_file(key).await
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.write(entry, body, standing).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        match op {
            TreeOp::CreateDirectory { key, attributes } => self.make_directory(key, attributes.as_ref()),
            TreeOp::CreateSymlink { entry, standing } => self.symlink(entry, *standing),
            TreeOp::CreatePlaceholder { entry, released, standing } => self.place(entry, released, *standing).await,
            TreeOp::Release { entry, released, found, unseen } => self.release(entry, released, found, *unseen).await,
            TreeOp::SetAttributes { entry, found } => self.set_attributes(entry, found),
            TreeOp::SetTimes { key, atime, mtime, found } => self.set_times(key, *atime, *mtime, found),
            TreeOp::Remove { key, found } => self.remove(key, found),
            TreeOp::Rename { key, to, found } => self.rename(key, to, found),
        }
    }

    async fn begin(&self) -> Result<(), TreeError> {
        // Directories that an earlier run held may have other names by now.
        self.directories().clear();
        self.disk.begin();
        Ok(())
    }

    async fn sync(&self) -> Result<(), TreeError> {
        let root = Arc::clone(&self.root);
        // The names that were made and moved, in however many directories.
        let synced = blocking::unblock(move || rustix::fs::syncfs(&root)).await;
        synced.map_err(|errno| failed("bringing to the disk", b".", errno.into()))
    }

    async fn finish(&self) -> Result<(), TreeError> {
        let error = |error| failed("finishing", b".", error);
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.directories().clear();
        self.disk.finish();
        if self.unsynced.load(Ordering::Relaxed) || staging.is_some() {
            self.sync().await?;
            self.unsynced.store(false, Ordering::Relaxed);
        }
        let Some(staging) = staging else { return Ok(()) };
        match Arc::try_unwrap(staging) {
            Ok(staging) => staging.remove().map_err(error),
            // Another run on this tree is at work in it, or a thread with a file that nobody wants any more; whoever lets go of it
            // last removes it.
            Err(_) => Ok(()),
        }
    }
}

/// What a staged file is to replace.
enum Replaced {
    /// Nothing, or what no more is done about.
    Any,
    /// A placeholder, or what may be one. The file is the placeholder itself, if the new one stands for the same content.
    Placeholder { file: Option<OwnedFd>, found: Status },
}

/// Why a file may be in use of which that cannot be told.
const UNSEEN: &str = "a process that cannot be looked into may have it open";

/// A failure after which files have changed back, and where one of them is if it could not.
fn undone(error: TreeError, undone: io::Result<Option<String>>) -> TreeError {
    match undone {
        Ok(None) => error,
        Ok(Some(beside)) => {
            error.with_source(format!("what it was, or was written to it, is in \"{}\"", escape(beside.as_bytes())))
        }
        Err(why) => {
            error.with_source(format!("what it was is in the staging directory, and the next run sees to it: {why}"))
        }
    }
}

/// Gives a staged file the extended attributes and access lists of the placeholder that it is to replace. Says whether there
/// are any: then permissions and times are to be set once more.
fn keep_extras(attempt: &'static str, entry: &Entry, replaced: &Replaced, staged: &File) -> Result<bool, TreeError> {
    let Replaced::Placeholder { file: Some(file), .. } = replaced else { return Ok(false) };
    let path = entry.key().as_str().as_bytes();
    let extras = mark::extras(file).map_err(|error| failed(attempt, path, error))?;
    for name in &extras {
        mark::copy(name, file, staged).map_err(|why| {
            let why = format!("its extended attribute \"{}\" would be lost: {why}", escape(name.as_bytes()));
            TreeError::new(attempt, path, TreeErrorKind::Unsupported).with_source(why)
        })?;
    }
    Ok(!extras.is_empty())
}

/// Whether as many bytes came as were announced.
fn check_length(attempt: &'static str, entry: &Entry, length: u64) -> Result<(), TreeError> {
    if length == entry.object_size() {
        return Ok(());
    }
    let source = format!("expected {} bytes, found {length}", entry.object_size());
    Err(TreeError::new(attempt, entry.key().as_str().as_bytes(), TreeErrorKind::Body).with_source(source))
}

/// What was done to something, and what has come of it.
fn as_it_stands(applied: Applied, now: &Stat) -> Applied {
    Applied { made: now.status().ok(), ..applied }
}

/// The text of a link; `None` for anything else.
fn read_target(directory: impl AsFd, name: Name<'_>, look: &Stat) -> io::Result<Option<Vec<u8>>> {
    if look.file_type() == Some(FileType::Symlink) { sys::read_link(directory, name).map(Some) } else { Ok(None) }
}

/// What was looked at, as an entry; `None` when it is nothing that has an object.
fn found(path: &str, look: &Stat, target: Option<Vec<u8>>) -> Option<Found> {
    let (key, kind) = match look.file_type()? {
        FileType::File => (path.to_owned(), EntryKind::File { size: look.size() }),
        FileType::Directory => (format!("{path}/"), EntryKind::Directory),
        FileType::Symlink => (path.to_owned(), EntryKind::Symlink { target: SymlinkTarget::parse(&target?).ok()? }),
        _ => return None,
    };
    let entry = Entry::new(Key::try_from(key).ok()?, kind, look.attributes().ok()?).ok()?;
    Some(Found { entry, fingerprint: look.fingerprint() })
}

/// Sets owner, permissions and times, in the order in which none undoes another, and looks at what came of it.
fn set_attributes(fd: impl AsFd, attributes: &Attributes) -> io::Result<Applied> {
    let mut shortfalls = Vec::new();
    let mut permissions = attributes.permissions;
    let before = sys::look(&fd)?;
    if before.ids() != (attributes.uid.get(), attributes.gid.get()) {
        // Neither owner ever holds the permissions of the other.
        let common = before.permissions().bits() & permissions.bits() & 0o700;
        sys::change_permissions(&fd, Permissions::from_mode(common))?;
        match sys::change_owner(&fd, attributes.uid, attributes.gid) {
            Ok(true) => {}
            Ok(false) => {
                shortfalls.push(Shortfall::Owner { uid: attributes.uid, gid: attributes.gid });
                // A set-id bit is meant for that owner and would serve another.
                permissions = permissions.without(Permissions::SET_UID | Permissions::SET_GID);
            }
            Err(error) => {
                sys::change_permissions(&fd, before.permissions())?;
                return Err(error);
            }
        }
    }
    // After the owner: a change of owner clears bits on files, and does not on directories.
    sys::change_permissions(&fd, permissions)?;
    sys::change_times(&fd, attributes.atime, attributes.mtime)?;
    let kept = sys::look(&fd)?;
    if kept.permissions() != attributes.permissions {
        shortfalls.push(Shortfall::Permissions { wanted: attributes.permissions, kept: kept.permissions() });
    }
    if kept.mtime() != attributes.mtime {
        shortfalls.push(Shortfall::Mtime { wanted: attributes.mtime, kept: kept.mtime() });
    }
    Ok(Applied { shortfalls, ..Applied::default() })
}

/// A regular file, open to be read.
struct LocalFile {
    file: Arc<File>,
    buffers: Buffers,
    found: Found,
    residence: Residence,
}

impl OpenFile for LocalFile {
    fn found(&self) -> &Found {
        &self.found
    }

    fn residence(&self) -> &Residence {
        &self.residence
    }

    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>> {
        let path = self.found.entry.key().as_str().as_bytes();
        let data = mark::data(&*self.file).map_err(|error| failed("looking at", path, error));
        Box::pin(async { data })
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        let key = self.found.entry.key();
        let path = key.as_str().as_bytes();
        let again = sys::look(&self.file).map_err(|error| failed("looking at", path, error)).and_then(|look| {
            let changed = || TreeError::new("looking at", path, TreeErrorKind::Changed);
            found(key.path(), &look, None).ok_or_else(changed)
        });
        Box::pin(async { again })
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        /// What is read where it is asked for, in bytes: going to another thread and back takes longer.
        const INLINE: usize = 64 << 10;
        let path = self.found.entry.key().as_str().as_bytes();
        let (file, buffers) = (Arc::clone(&self.file), self.buffers.clone());
        Box::pin(async move {
            let read = if length <= INLINE {
                let mut buffer = vec![0; length];
                read_fully(&file, offset, &mut buffer).map(|read| {
                    buffer.truncate(read);
                    buffer.into()
                })
            } else {
                blocking::unblock(move || {
                    let mut buffer = buffers.take(length);
                    let read = read_fully(&file, offset, buffer.as_mut())?;
                    Ok(Bytes::from_owner(buffer).slice(..read))
                })
                .await
            };
            read.map_err(|error| failed("reading", path, error))
        })
    }
}

/// Reads as much as there is, at most as much as fits.
fn read_fully(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled: usize = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::mark::Trust;
    use super::*;
    use crate::etag::ETag;
    use crate::owner::{Gid, Uid};
    use futures_executor::block_on;
    use futures_util::stream;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    fn entry(name: &str, size: u64) -> Entry {
        let mtime = Timestamp::from_unix(1_000_000_000, 123_456_789).unwrap();
        let (permissions, uid, gid) = (Permissions::from_mode(0o440), Uid::new(7).unwrap(), Gid::new(8).unwrap());
        let attributes = Attributes { permissions, uid, gid, atime: mtime, mtime };
        Entry::new(key(name), EntryKind::File { size }, attributes).unwrap()
    }

    fn released(entry: &Entry) -> Released {
        let (size, mtime) = (entry.object_size(), entry.attributes().mtime);
        Released { key: entry.key().clone(), etag: ETag::new("\"e\""), size, mtime, lost: false }
    }

    fn place(tree: &LocalTree, entry: &Entry) -> Result<Applied, TreeError> {
        let op = TreeOp::CreatePlaceholder {
            entry: entry.clone(),
            released: released(entry),
            standing: Standing::Replaceable,
        };
        block_on(tree.apply(&op))
    }

    fn residence(tree: &LocalTree, name: &str) -> Residence {
        block_on(tree.open(&key(name))).unwrap().residence().clone()
    }

    fn write(tree: &LocalTree, name: &str, bytes: &'static [u8]) -> Status {
        let body = stream::iter([Ok(Bytes::from_static(bytes))]).boxed();
        let entry = entry(name, bytes.len() as u64);
        block_on(tree.write_file(&entry, body, Standing::Replaceable)).unwrap().made.unwrap()
    }

    fn give_back(tree: &LocalTree, name: &str, found: Status) -> Result<Applied, TreeError> {
        let entry = entry(name, found.size);
        let unseen = UnseenUsers::Accept;
        block_on(tree.apply(&TreeOp::Release { released: released(&entry), entry, found, unseen }))
    }

    #[test]
    fn a_placeholder_has_size_and_attributes_and_no_data() {
        for trust in [Trust::Superuser, Trust::Anybody] {
            let directory = tempfile::tempdir().unwrap();
            let mut tree = LocalTree::open(directory.path()).unwrap();
            if rustix::process::geteuid().is_root() || trust == Trust::Anybody {
                tree.marks = Marks::with_trust(trust);
            }
            let entry = entry("d/a", 1 << 40);
            place(&tree, &entry).unwrap();
            let (path, metadata) = (directory.path().join("d/a"), directory.path().join("d/a").metadata().unwrap());
            // The mark may take a block.
            assert!(metadata.len() == 1 << 40 && metadata.blocks() <= 8);
            assert_eq!(metadata.mtime_nsec(), 123_456_789);
            assert_eq!(residence(&tree, "d/a"), Residence::Released(released(&entry)));
            // Neither another name nor other permissions make it anything else; a write does, and another mtime.
            fs::rename(&path, directory.path().join("b")).unwrap();
            fs::set_permissions(directory.path().join("b"), fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(residence(&tree, "b"), Residence::Released(released(&entry)));
            let file = File::options().write(true).open(directory.path().join("b")).unwrap();
            file.write_at(b"x", 1 << 30).unwrap();
            assert_eq!(residence(&tree, "b"), Residence::Written(released(&entry)));
            block_on(tree.finish()).unwrap();
        }
    }

    #[test]
    fn the_superuser_does_not_believe_what_a_user_has_marked() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = LocalTree::open(directory.path()).unwrap();
        tree.marks = Marks::with_trust(Trust::Anybody);
        place(&tree, &entry("a", 5)).unwrap();
        assert!(matches!(residence(&tree, "a"), Residence::Released(_)));
        tree.marks = Marks::with_trust(Trust::Superuser);
        let error = block_on(tree.open(&key("a"))).err().unwrap();
        assert_eq!(error.kind(), TreeErrorKind::Mark);
        // And whoever sees only what users set sees what the superuser has marked.
        if rustix::process::geteuid().is_root() {
            place(&tree, &entry("b", 5)).unwrap();
            let file = File::open(directory.path().join("b")).unwrap();
            rustix::fs::fremovexattr(&file, crate::released::TRUSTED_ATTRIBUTE).unwrap();
            tree.marks = Marks::with_trust(Trust::Anybody);
            assert!(matches!(residence(&tree, "b"), Residence::Released(_)));
        }
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn a_file_is_released_only_when_nobody_has_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let found = write(&tree, "a", b"hello");
        let open = File::open(directory.path().join("a")).unwrap();
        assert_eq!(give_back(&tree, "a", found).unwrap_err().kind(), TreeErrorKind::InUse);
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"hello");
        drop(open);
        let made = give_back(&tree, "a", found).unwrap().made.unwrap();
        assert_eq!((made.size, made.attributes), (found.size, found.attributes));
        assert!(directory.path().join("a").metadata().unwrap().blocks() <= 8);
        assert!(matches!(residence(&tree, "a"), Residence::Released(_)));
        // The data comes back as a new inode without the mark.
        write(&tree, "a", b"hello");
        assert_eq!(residence(&tree, "a"), Residence::Here);
        block_on(tree.finish()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_opened_before_it_changed_places_gets_its_name_back() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        for what in ["written", "let go", "other"] {
            let found = write(&tree, "a", b"hello");
            let old = File::options().write(true).open(directory.path().join("a")).unwrap();
            let entry = entry("a", 5);
            let (staged, _) = block_on(tree.hollow("testing", &entry, &released(&entry), &Replaced::Any)).unwrap();
            let (parent, _) = tree.parent("testing", entry.key()).unwrap();
            let exchange = Exchanged::begin(staged.into_staged(), &parent, entry.key(), &found).unwrap();
            let Exchange::Done(exchanged) = exchange else { panic!("not exchanged") };
            assert!(matches!(residence(&tree, "a"), Residence::Released(_)));
            let users = block_on(tree.disk.in_use(exchanged.asked())).unwrap();
            assert!(users.any && users.writes);
            old.write_at(b"H", 0).unwrap();
            assert!(!exchanged.holds(&found));
            if what == "other" {
                fs::write(directory.path().join("a"), "new").unwrap();
            }
            drop(exchanged);
            let names = fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.path());
            let contents: Vec<Vec<u8>> =
                names.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).collect();
            // Whatever happens, what was written is under some name.
            assert!(contents.contains(&b"Hello".to_vec()));
            assert_eq!(contents.contains(&b"new".to_vec()), what == "other");
        }
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn what_a_new_inode_would_not_have_is_not_released() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let mut found = write(&tree, "a", b"hello");
        let file = File::open(directory.path().join("a")).unwrap();
        rustix::fs::fsetxattr(&file, "user.mine", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        found.ctime = sys::look(&file).unwrap().fingerprint().ctime;
        drop(file);
        let error = give_back(&tree, "a", found).unwrap_err();
        assert_eq!(error.kind(), TreeErrorKind::Unsupported);
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("user.mine"));
        // Nor what has another name, or is not the version that was found.
        let found = write(&tree, "b", b"hello");
        fs::hard_link(directory.path().join("b"), directory.path().join("c")).unwrap();
        assert_eq!(give_back(&tree, "b", found).unwrap_err().kind(), TreeErrorKind::Changed);
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn the_attributes_of_a_placeholder_are_set_on_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let made = place(&tree, &entry("a", 5)).unwrap().made.unwrap();
        let found = Fingerprint { inode: made.inode, ctime: made.ctime, links: 1 };
        let op = TreeOp::SetAttributes { entry: entry("a", 5), found };
        assert_eq!(block_on(tree.apply(&op)).unwrap_err().kind(), TreeErrorKind::NeedsNewInode);
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn where_a_process_cannot_be_looked_into_a_release_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let found = write(&tree, "a", b"hello");
        let entry = entry("a", 5);
        let unseen = users::in_use(&[Asked { path: b"/a".to_vec(), inode: None }]).unwrap()[0].unseen;
        let op = TreeOp::Release { released: released(&entry), entry, found, unseen: UnseenUsers::Refuse };
        match block_on(tree.apply(&op)) {
            Ok(_) => assert!(!unseen),
            Err(error) => {
                assert!(unseen && error.kind() == TreeErrorKind::InUse, "{error:?}");
                assert_eq!(std::error::Error::source(&error).unwrap().to_string(), UNSEEN);
                assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"hello");
            }
        }
        block_on(tree.finish()).unwrap();
    }

    fn writer(path: std::path::PathBuf) -> File {
        File::options().write(true).open(path).unwrap()
    }

    #[test]
    fn a_placeholder_is_not_replaced_under_whoever_may_write_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let made = place(&tree, &entry("a", 5)).unwrap().made.unwrap();
        let restore = |found: Status| {
            let body = stream::iter([Ok(Bytes::from_static(b"hello"))]).boxed();
            block_on(tree.write_file(&entry("a", 5), body, Standing::Version(found)))
        };
        let mark_again = |found: Status| {
            let (entry, standing) = (entry("a", 5), Standing::Version(found));
            block_on(tree.apply(&TreeOp::CreatePlaceholder { released: released(&entry), entry, standing }))
        };
        let open = writer(directory.path().join("a"));
        assert_eq!(restore(made).unwrap_err().kind(), TreeErrorKind::InUse);
        let status = |file: &File| sys::look(file).unwrap().status().unwrap();
        assert_eq!(mark_again(status(&open)).unwrap_err().kind(), TreeErrorKind::InUse);
        // It has its name still, and what is written to it is there.
        open.write_at(b"HELLO", 0).unwrap();
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"HELLO");
        assert!(matches!(residence(&tree, "a"), Residence::Written(_)));
        // One that is read by somebody is.
        fs::remove_file(directory.path().join("a")).unwrap();
        let made = place(&tree, &entry("a", 5)).unwrap().made.unwrap();
        let _reader = File::open(directory.path().join("a")).unwrap();
        let applied = restore(made).unwrap();
        assert!(applied.around.is_some() && applied.made.is_some());
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"hello");
        block_on(tree.finish()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_set_on_a_placeholder_is_on_what_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        place(&tree, &entry("a", 5)).unwrap();
        let file = File::open(directory.path().join("a")).unwrap();
        let set = |name, value: &[u8]| rustix::fs::fsetxattr(&file, name, value, rustix::fs::XattrFlags::empty());
        set("user.mine", b"x").unwrap();
        let body = || stream::iter([Ok(Bytes::from_static(b"hello"))]).boxed();
        let found = sys::look(&file).unwrap().status().unwrap();
        let made = block_on(tree.write_file(&entry("a", 5), body(), Standing::Version(found))).unwrap().made.unwrap();
        assert_eq!((made.attributes, residence(&tree, "a")), (found.attributes, Residence::Here));
        let file = File::open(directory.path().join("a")).unwrap();
        assert_eq!(mark::extras(&file).unwrap(), ["user.mine"]);
        assert!(!mark::is_marked(&file).unwrap());
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn a_mark_that_is_too_long_is_no_mark() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = LocalTree::open(directory.path()).unwrap();
        write(&tree, "a", b"hello");
        let file = File::open(directory.path().join("a")).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        let set = rustix::fs::fsetxattr(&file, crate::released::USER_ATTRIBUTE, &[b'x'; 3000], flags);
        set.and_then(|()| rustix::fs::fsetxattr(&file, crate::released::USER_ATTRIBUTE, &[b'x'; 5000], flags))
            .or_else(|error| if error == rustix::io::Errno::NOSPC { Ok(()) } else { Err(error) })
            .unwrap();
        for trust in [Trust::Superuser, Trust::Anybody] {
            tree.marks = Marks::with_trust(trust);
            assert_eq!(block_on(tree.open(&key("a"))).err().unwrap().kind(), TreeErrorKind::Mark);
        }
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn the_times_of_a_directory_are_set_only_if_nobody_has_changed_it() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::create_dir(directory.path().join("d")).unwrap();
        let look = || block_on(tree.lookup(&key("d/"))).unwrap();
        let Present::Entry(found) = look() else { panic!("no entry") };
        let at = Timestamp::from_unix(1, 2).unwrap();
        let op = TreeOp::SetTimes { key: key("d/"), atime: at, mtime: at, found: found.fingerprint };
        let made = block_on(tree.apply(&op)).unwrap().made.unwrap();
        assert_eq!((made.attributes.mtime, made.attributes.permissions), (at, found.entry.attributes().permissions));
        // Until the clock of the file system has moved, that cannot be told.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::set_permissions(directory.path().join("d"), mode).unwrap();
        assert_eq!(block_on(tree.apply(&op)).unwrap_err().kind(), TreeErrorKind::Changed);
        block_on(tree.finish()).unwrap();
    }
}
