//! [`DirectoryStore`]: a bucket in a directory.
//!
//! Four problems and their answers:
//!
//! 1. *Any key has to become a file name, and listing has to come in key order.* A key is cut at its slashes; each
//!    segment becomes a name in which every byte other than letters, digits, `-`, `_`, `.` stands as `%XX`. The name of
//!    an object ends in `@`, the name of a directory that stands for "segment and slash" in `+`, so that `a`, `a/` and
//!    `a/b` are `a@`, `a+/@` and `a+/b@`. A segment is cut into pieces of exactly 80 bytes, all but the last of which are
//!    directories ending in `~`. Sorting one directory by decoded names, with the slash of `+`, gives key order.
//! 2. *Body and headers have to change together.* Both are in one file: the body, then the headers as lines of text, then a
//!    footer of fixed length. A new version is written beside, synced and renamed into place.
//! 3. *Others must not have it lead elsewhere.* The way to the directory is gone as that to the root of a tree, the directory
//!    has to be one that nobody else can write to, and everything is done from its descriptor; see [`disk`].
//! 4. *Preconditions have to hold between processes.* Every change is committed under an exclusive lock of the bucket's lock
//!    file; bodies are written before it is taken.

mod disk;
mod names;
mod object;

use self::disk::{Root, names, open_directory, open_file, open_own};
use self::names::{KeyWalk, names_of};
use self::object::{StoredObject, trailer_of};
use super::memory::{foreign_token, next_moment};
use super::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, ObjectMeta, ObjectStore,
    Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, check_key, check_precondition,
    check_put, check_range, page_size,
};
use crate::io::SparseFile;
use crate::io::root::{self, Missing, OpenRootError};
use crate::io::trust::{is_kept, is_trusted};
use crate::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use md5::{Digest, Md5};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use thiserror::Error;

/// The file that marks a directory as a bucket, and what it says.
const MARKER: &str = ".posix-s3-bucket";
const MARKER_TEXT: &str = "posix-s3 bucket 1\n";
const LOCK: &str = ".lock";
const STAGING: &str = ".tmp";

/// Numbers what this process stages and the pages it lists, over all its buckets.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The pieces in which bodies are read and written, in bytes.
const PIECE: usize = 1 << 20;

/// A bucket in a directory: nothing to install, and it survives a restart.
///
/// It takes every key that S3 takes, keeps headers, ETag (the MD5 of the body) and Last-Modified, honours preconditions
/// between processes, and replaces objects as a whole. A put is on the disk when it is acknowledged. Ranges of zeros are
/// kept sparse. The directory belongs to the bucket; what else is put there is reported as damage.
///
/// The directory is held from when it is opened on: one that is moved meanwhile is still the bucket, and what takes its place is
/// not touched.
///
/// Objects can be read by their owner alone, whatever modes their metadata tells of. A bucket that the caller may only
/// read is opened all the same, and changes to it are denied.
///
/// ```
/// use posix_s3::store::{Body, DirectoryStore, ObjectStore, PutOptions};
///
/// let directory = tempfile::tempdir()?;
/// let store = DirectoryStore::open(directory.path().join("bucket"))?;
/// futures_executor::block_on(store.put("a", Body::from(bytes::Bytes::from("x")), &PutOptions::default()))?;
/// drop(store);
///
/// let again = DirectoryStore::open(directory.path().join("bucket"))?;
/// assert_eq!(futures_executor::block_on(again.head("a"))?.size, 1);
///
/// assert!(DirectoryStore::open("/etc").is_err()); // holds other things
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DirectoryStore {
    root: Root,
    /// As it was given, to be shown.
    path: PathBuf,
    /// Without it the bucket can only be read.
    writing: Option<Writing>,
    /// Walks that stopped at the end of a page, by the token that continues them.
    walks: Mutex<VecDeque<(String, KeyWalk)>>,
}

/// What changes need.
struct Writing {
    lock: Mutex<File>,
    staging: Arc<OwnedFd>,
}

/// A directory that could not be opened as a bucket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no bucket, and none was to be made.
    #[error("there is no bucket in {}", .path.display())]
    NoBucket {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds other things than a bucket.
    #[error("{} is neither empty nor a bucket", .path.display())]
    NotABucket {
        /// The directory.
        path: PathBuf,
    },
    /// The bucket has a form that this version does not know.
    #[error("{} is a bucket of another version", .path.display())]
    OtherVersion {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else could have it lead elsewhere, by links in the place of what it holds.
    #[error("{} is not used as a bucket: expected a directory of this user or the superuser that nobody else can write to, found {found}", .path.display())]
    Foreign {
        /// The directory, or what is wrong in it.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The path to the directory is one that somebody else could have lead elsewhere.
    #[error("{} is not used as a bucket: the path is not followed", .path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// What on it.
        source: OpenRootError,
    },
    /// The directory cannot be used.
    #[error("{} cannot be used as a bucket", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl DirectoryStore {
    /// Opens the bucket in a directory, which is made when it is not there.
    ///
    /// The path is gone as by [`LocalTree::open`](crate::tree::LocalTree::open), and the directory has to be of this user or the
    /// superuser, and one that nobody else can write to.
    ///
    /// # Errors
    /// [`OpenError`], also when the directory holds anything that is not a bucket.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |source| OpenError::Io { path: path.into(), source };
        let root = Root::new(root::open(path, Missing::Make).map_err(|error| unopened(path, error))?);
        match Self::open_root(path, root.clone()) {
            Err(OpenError::NoBucket { .. }) => {}
            other => return other,
        }
        for name in root.names(Path::new("")).map_err(failed)? {
            // Somebody else may be at it this very moment.
            if !name.as_bytes().starts_with(MARKER.as_bytes()) {
                return Err(OpenError::NotABucket { path: path.into() });
            }
        }
        write_marker(&root).map_err(failed)?;
        Self::open_root(path, root)
    }

    /// Opens the bucket in a directory; a bucket that is not there is an error and not made.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        match root::open(path, Missing::Fail) {
            Err(OpenRootError::Io { source, .. }) if is_absent(&source) => {
                Err(OpenError::NoBucket { path: path.into() })
            }
            other => Self::open_root(path, Root::new(other.map_err(|error| unopened(path, error))?)),
        }
    }

    fn open_root(path: &Path, root: Root) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.into(), source };
        check_kept(path, &root)?;
        let marker = match open_own(&root, MARKER, OFlags::RDONLY) {
            Err(error) if is_absent(&error) => return Err(OpenError::NoBucket { path: path.into() }),
            other => other.map_err(failed)?.ok_or_else(|| something_else(path, MARKER))?,
        };
        let mut text = Vec::new();
        marker.take(MARKER_TEXT.len().saturating_add(1) as u64).read_to_end(&mut text).map_err(failed)?;
        if text != MARKER_TEXT.as_bytes() {
            return Err(OpenError::OtherVersion { path: path.into() });
        }
        let writing = match prepare_writing(path, &root) {
            Ok(writing) => Some(writing),
            Err(OpenError::Io { source, .. }) if is_read_only(&source) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { root, path: path.into(), writing, walks: Mutex::default() })
    }

    fn writing(&self) -> io::Result<&Writing> {
        self.writing.as_ref().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// Holds all other changes off, in this process and in others, until the guard is dropped.
    fn commit(&self) -> io::Result<Commit<'_>> {
        let lock = self.writing()?.lock.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::fs::flock(&*lock, FlockOperation::LockExclusive)?;
        Ok(Commit(lock))
    }

    /// A failure of the disk as one of the store. Where the bucket itself is gone, that is said: what cannot be read is not
    /// absent.
    fn io_error(&self, operation: Operation, key: &str, error: io::Error) -> StoreError {
        if is_absent(&error)
            && let Err(gone) = self.check_bucket(operation, key)
        {
            return gone;
        }
        io_error(operation, key, error)
    }

    /// Refuses to go on where there is no bucket any more.
    fn check_bucket(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        match self.root.has(MARKER) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let source = io::Error::from(io::ErrorKind::NotFound);
                Err(StoreError::new(operation, key, StoreErrorKind::NoSuchBucket).with_source(source))
            }
            Err(error) => Err(io_error(operation, key, error)),
        }
    }

    fn open_object(&self, operation: Operation, key: &str) -> Result<(File, StoredObject), StoreError> {
        check_key(operation, key)?;
        let file = self.root.open_object(&path_of(key)).map_err(|error| self.io_error(operation, key, error))?;
        let object = StoredObject::read(&file).map_err(|error| self.io_error(operation, key, error))?;
        Ok((file, object))
    }

    /// What the key holds now, if the change may happen. A damaged object has no version, but it can be replaced.
    fn check_current(
        &self,
        operation: Operation,
        key: &str,
        precondition: &Precondition,
    ) -> Result<Current, StoreError> {
        let current = match self.open_object(operation, key) {
            Ok((_, object)) => Current::Object(object.meta),
            Err(error) if error.kind() == StoreErrorKind::NotFound => Current::Nothing,
            Err(error) if error.kind() == StoreErrorKind::Corrupt && *precondition == Precondition::None => {
                return Ok(Current::Damaged);
            }
            Err(error) => return Err(error),
        };
        let etag = match &current {
            Current::Object(meta) => Some(&meta.etag),
            Current::Nothing | Current::Damaged => None,
        };
        check_precondition(operation, key, precondition, etag)?;
        Ok(current)
    }

    /// Starts a new version of an object in the staging directory, locked as long as it is being written.
    fn stage(&self) -> io::Result<Staged> {
        let staging = &self.writing()?.staging;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = format!("{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
            let file = match rustix::fs::openat(&**staging, &name, flags, Mode::RUSR | Mode::WUSR) {
                // Of another process that has the same number in its own namespace.
                Err(Errno::EXIST) => continue,
                other => File::from(other?),
            };
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            // Someone who opened the bucket before the lock was taken may have removed the file as a leftover.
            if file.metadata()?.nlink() == 1 {
                return Ok(Staged {
                    file: SparseFile::new(file),
                    staging: Arc::clone(staging),
                    name,
                    published: false,
                });
            }
        }
    }

    /// Puts a finished version into place, under the bucket's lock, and answers its Last-Modified.
    async fn publish(
        &self,
        operation: Operation,
        key: &str,
        mut version: Version,
        precondition: &Precondition,
    ) -> Result<Timestamp, StoreError> {
        let failed = |error| self.io_error(operation, key, error);
        let path = path_of(key);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        let parent = {
            let _commit = self.commit().map_err(failed)?;
            if let Current::Object(current) = self.check_current(operation, key, precondition)? {
                // The clock stood still or went back, or another version overtook this one: time goes on all the same.
                if current.last_modified >= version.meta.last_modified {
                    version.meta.last_modified = next_moment(current.last_modified);
                    version.write_trailer().map_err(failed)?;
                }
            }
            let parent = self.root.make_directories(parent).map_err(failed)?;
            let Staged { staging, name: staged, .. } = &version.staged;
            rustix::fs::renameat(&**staging, staged, &parent, name).map_err(|errno| failed(errno.into()))?;
            version.staged.published = true;
            parent
        };
        let last_modified = version.meta.last_modified;
        blocking::unblock(move || rustix::fs::fsync(parent)).await.map_err(|errno| failed(errno.into()))?;
        Ok(last_modified)
    }

    /// Puts the bytes of the present version under new headers; fails its precondition when another comes in between.
    async fn try_replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        const OPERATION: Operation = Operation::ReplaceMetadata;
        let failed = |error| self.io_error(OPERATION, key, error);
        let (old, object) = self.open_object(OPERATION, key)?;
        check_precondition(OPERATION, key, &options.precondition, Some(&object.meta.etag))?;
        let mut staged = self.stage().map_err(failed)?;
        let mut offset = 0;
        while offset < object.meta.size {
            let piece = read_piece(&old, offset..object.meta.size).map_err(failed)?;
            staged.file.write(&piece).map_err(failed)?;
            offset = offset.saturating_add(piece.len() as u64);
        }
        let meta =
            ObjectMeta { headers: options.headers.clone(), last_modified: SystemTime::now().into(), ..object.meta };
        let etag = meta.etag.clone();
        let version = staged.finish(meta).await.map_err(failed)?;
        let last_modified = Some(self.publish(OPERATION, key, version, &Precondition::Match(etag.clone())).await?);
        Ok(PutOutput { etag, last_modified })
    }

    /// The walk that goes on behind a page: the one that made the page, or a new one.
    fn walk_from(&self, request: &ListRequest) -> Result<KeyWalk, StoreError> {
        let mut after = None;
        if let Some(token) = &request.token {
            let (_, key) = token.split_once(':').ok_or_else(|| foreign_token(request, token))?;
            if !key.starts_with(&request.prefix) {
                return Err(foreign_token(request, token));
            }
            let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
            let known = walks.iter().position(|(of, walk)| of == token && walk.prefix == request.prefix);
            if let Some((_, walk)) = known.and_then(|at| walks.remove(at)) {
                return Ok(walk);
            }
            after = Some(key.to_owned());
        }
        let walk = KeyWalk::new(self.root.clone(), request.prefix.clone(), after);
        walk.map_err(|error| self.io_error(Operation::List, &request.prefix, error))
    }

    /// Keeps a walk for the next page, and answers the token of it: the key behind which it goes on, and a number that no
    /// other walk has, so that a listing begun later does not go on with what an earlier one saw.
    fn keep_walk(&self, last: &str, walk: KeyWalk) -> String {
        const KEPT: usize = 4;
        let token = format!("{}-{}:{last}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        walks.push_back((token.clone(), walk));
        if walks.len() > KEPT {
            walks.pop_front();
        }
        token
    }
}

impl fmt::Debug for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirectoryStore").field(&self.path).finish()
    }
}

impl ObjectStore for DirectoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let failed = |error| self.io_error(Operation::List, &request.prefix, error);
        let mut walk = self.walk_from(request)?;
        let (mut objects, mut unreadable): (Vec<ListedObject>, Vec<Box<[u8]>>) = Default::default();
        while objects.len() < page_size(request) {
            let Some((key, path)) = walk.next_key().map_err(failed)? else {
                self.check_bucket(Operation::List, &request.prefix)?;
                return Ok(ListPage::new(objects, None).with_unreadable(unreadable));
            };
            let key = match String::from_utf8(key) {
                Ok(key) => key,
                Err(error) => {
                    unreadable.push(error.into_bytes().into());
                    continue;
                }
            };
            match self.root.open_object(&path).and_then(|file| StoredObject::read(&file)) {
                Ok(StoredObject { meta: ObjectMeta { size, etag, last_modified, .. }, .. }) => {
                    objects.push(ListedObject { key, size, etag, last_modified });
                }
                // Deleted since its directory was read.
                Err(error) if is_absent(&error) => {}
                Err(error) => match self.io_error(Operation::List, &key, error) {
                    // One damaged object must not hide the others; whoever asks for it is told.
                    error if error.kind() == StoreErrorKind::Corrupt => {
                        let (etag, last_modified) = (ETag::new(""), Timestamp::EPOCH);
                        objects.push(ListedObject { key, size: 0, etag, last_modified });
                    }
                    error => return Err(error),
                },
            }
        }
        let next = objects.last().map(|last| self.keep_walk(&last.key, walk));
        Ok(ListPage::new(objects, next).with_unreadable(unreadable))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.open_object(Operation::Head, key).map(|(_, object)| object.meta)
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let (file, object) = self.open_object(Operation::Get, key)?;
        if let Some(wanted) = &options.if_match {
            check_precondition(Operation::Get, key, &Precondition::Match(wanted.clone()), Some(&object.meta.etag))?;
        }
        let range = check_range(key, options, object.meta.size)?;
        let whole = range == (0..object.meta.size);
        let reader = Reader {
            file,
            key: key.to_owned(),
            range,
            checksum: whole.then(|| (Md5::new(), object.meta.etag.clone())),
        };
        let body = stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next_piece() {
                Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(GetOutput { meta: object.meta, body: body.boxed() })
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        check_put(Operation::Put, key, options)?;
        let failed = |error| self.io_error(Operation::Put, key, error);
        let mut staged = self.stage().map_err(failed)?;
        let mut checksum = Md5::new();
        let mut offset: u64 = 0;
        while offset < body.size() {
            let unread = |error| StoreError::new(Operation::Put, key, StoreErrorKind::Body).with_source(error);
            let piece = body.read(offset, PIECE).await.map_err(unread)?;
            checksum.update(&piece);
            staged.file.write(&piece).map_err(failed)?;
            offset = offset.saturating_add(piece.len() as u64);
        }
        let meta = ObjectMeta {
            size: offset,
            etag: ETag::from_md5(checksum.finalize().into()),
            last_modified: SystemTime::now().into(),
            headers: options.headers.clone(),
        };
        let etag = meta.etag.clone();
        let version = staged.finish(meta).await.map_err(failed)?;
        let last_modified = Some(self.publish(Operation::Put, key, version, &options.precondition).await?);
        Ok(PutOutput { etag, last_modified })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        check_put(Operation::ReplaceMetadata, key, options)?;
        loop {
            match self.try_replace_metadata(key, options).await {
                // Another version came in between; it is what the new headers go to.
                Err(error)
                    if error.kind() == StoreErrorKind::PreconditionFailed
                        && options.precondition == Precondition::None => {}
                other => return other,
            }
        }
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        const OPERATION: Operation = Operation::Delete;
        check_key(OPERATION, key)?;
        let failed = |error| self.io_error(OPERATION, key, error);
        let _commit = self.commit().map_err(failed)?;
        if let Current::Nothing = self.check_current(OPERATION, key, precondition)? {
            self.check_bucket(OPERATION, key)?;
            return Ok(());
        }
        let path = path_of(key);
        self.root.remove_file(&path).map_err(failed)?;
        // Directories that hold nothing any more go with their last object; the first one that holds something stays.
        let mut directory = path.parent().unwrap_or(Path::new(""));
        while let Some(above) = directory.parent() {
            if self.root.remove_directory(directory).is_err() {
                break;
            }
            directory = above;
        }
        let synced = self.root.directory(directory).and_then(|directory| Ok(rustix::fs::fsync(directory)?));
        synced.map_err(failed)
    }
}

/// The lock of the bucket, held.
struct Commit<'a>(MutexGuard<'a, File>);

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // The lock goes with the descriptor at the latest.
        let _ = rustix::fs::flock(&*self.0, FlockOperation::Unlock);
    }
}

/// A new version of an object that is not yet in place; dropped before, it is gone.
struct Staged {
    file: SparseFile,
    staging: Arc<OwnedFd>,
    name: String,
    /// It has another name now, and its own may be somebody else's.
    published: bool,
}

/// What a key holds.
enum Current {
    Nothing,
    Object(ObjectMeta),
    Damaged,
}

impl Staged {
    /// Writes the headers behind the body and brings everything to the disk.
    async fn finish(self, meta: ObjectMeta) -> io::Result<Version> {
        let mut version = Version { staged: self, meta };
        blocking::unblock(move || version.write_trailer().map(|()| version)).await
    }
}

/// A new version of an object, body and headers, on the disk and not yet in place.
struct Version {
    staged: Staged,
    meta: ObjectMeta,
}

impl Version {
    fn write_trailer(&mut self) -> io::Result<()> {
        let trailer = trailer_of(&self.meta);
        let file = self.staged.file.end()?;
        file.write_all(&trailer)?;
        file.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _ = disk::remove(&*self.staging, OsStr::new(&self.name));
        }
    }
}

fn path_of(key: &str) -> PathBuf {
    names_of(key).into_iter().collect()
}

/// Whoever can write to a bucket's directory can have names in it lead elsewhere, and this process with them.
fn check_kept(path: &Path, root: &Root) -> Result<(), OpenError> {
    let stat = rustix::fs::fstat(root).map_err(|errno| OpenError::Io { path: path.into(), source: errno.into() })?;
    if is_kept(&stat) {
        return Ok(());
    }
    let found = if is_trusted(stat.st_uid) { "one that others can write to" } else { "one of somebody else" };
    Err(OpenError::Foreign { path: path.into(), found })
}

fn something_else(path: &Path, own: &str) -> OpenError {
    OpenError::Foreign { path: path.join(own), found: "a link or something else in it" }
}

fn unopened(path: &Path, error: OpenRootError) -> OpenError {
    match error {
        OpenRootError::Io { source, .. } => OpenError::Io { path: path.into(), source },
        source => OpenError::Root { path: path.into(), source },
    }
}

/// What changes need: a place for new versions, without leftovers, and the lock.
fn prepare_writing(path: &Path, root: &Root) -> Result<Writing, OpenError> {
    let failed = |source| OpenError::Io { path: path.into(), source };
    match rustix::fs::mkdirat(root, STAGING, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let staging = match open_directory(root, OsStr::new(STAGING), OFlags::RDONLY) {
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(something_else(path, STAGING)),
        other => other.map_err(|errno| failed(errno.into()))?,
    };
    if !is_kept(&rustix::fs::fstat(&staging).map_err(|errno| failed(errno.into()))?) {
        return Err(OpenError::Foreign { path: path.join(STAGING), found: "one in it that others can write to" });
    }
    remove_leftovers(&staging).map_err(failed)?;
    let lock = open_own(root, LOCK, OFlags::WRONLY | OFlags::CREATE).map_err(failed)?;
    let lock = Mutex::new(lock.ok_or_else(|| something_else(path, LOCK))?);
    Ok(Writing { lock, staging: Arc::new(staging) })
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Removes versions that a crashed process left behind: those that nobody holds a lock on.
fn remove_leftovers(staging: &OwnedFd) -> io::Result<()> {
    for name in names(staging)? {
        let Ok(file) = open_file(staging, &name) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            disk::remove(staging, &name)?;
        }
    }
    Ok(())
}

/// Marks a directory as a bucket, at once and for good.
fn write_marker(root: &Root) -> io::Result<()> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let beside = format!("{MARKER}.{}-{number}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let mut file = open_own(root, &beside, flags)?.ok_or(io::ErrorKind::AlreadyExists)?;
    file.write_all(MARKER_TEXT.as_bytes())?;
    file.sync_all()?;
    rustix::fs::renameat(root, &beside, root, MARKER)?;
    rustix::fs::fsync(root)?;
    // The root itself is a name in its parent.
    Ok(rustix::fs::fsync(open_directory(root, OsStr::new(".."), OFlags::RDONLY)?)?)
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn io_error(operation: Operation, key: &str, error: io::Error) -> StoreError {
    let kind = match error.kind() {
        _ if is_absent(&error) => StoreErrorKind::NotFound,
        _ if is_read_only(&error) => StoreErrorKind::Denied,
        // A directory in the place of an object, or the other way round, is none that a bucket makes.
        io::ErrorKind::InvalidData
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    };
    StoreError::new(operation, key, kind).with_source(error)
}

/// Reads the bytes of an object, piece by piece, and checks them at the end.
struct Reader {
    file: File,
    key: String,
    range: Range<u64>,
    checksum: Option<(Md5, ETag)>,
}

impl Reader {
    fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.range.is_empty() {
            return self.verify().map(|()| None);
        }
        let piece = read_piece(&self.file, self.range.clone());
        let piece = piece.map_err(|error| io_error(Operation::Get, &self.key, error))?;
        self.range.start = self.range.start.saturating_add(piece.len() as u64);
        if let Some((checksum, _)) = &mut self.checksum {
            checksum.update(&piece);
        }
        Ok(Some(piece))
    }

    fn verify(&mut self) -> Result<(), StoreError> {
        let Some((checksum, etag)) = self.checksum.take() else { return Ok(()) };
        let found = ETag::from_md5(checksum.finalize().into());
        if found == etag {
            return Ok(());
        }
        let source = format!("expected bytes with the checksum {etag}, found {found}");
        Err(StoreError::new(Operation::Get, &self.key, StoreErrorKind::Corrupt).with_source(source))
    }
}

/// Reads the first piece of a range.
fn read_piece(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let left = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut piece = vec![0; left.min(PIECE)];
    file.read_exact_at(&mut piece, range.start)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn bucket() -> (tempfile::TempDir, DirectoryStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        (directory, store)
    }

    fn put(store: &DirectoryStore, key: &str, body: &'static str) {
        block_on(store.put(key, Bytes::from(body).into(), &PutOptions::default())).unwrap();
    }

    fn keys(store: &DirectoryStore, request: &ListRequest) -> Vec<String> {
        block_on(store.list(request)).unwrap().objects.into_iter().map(|object| object.key).collect()
    }

    #[test]
    fn long_segments_keep_key_order() {
        let (_directory, store) = bucket();
        let long = "x".repeat(79);
        let mut expected: Vec<String> =
            ["", "!", "/", "/a", "a", "a!", "a/", "aa", "\u{e9}"].iter().map(|tail| format!("{long}{tail}")).collect();
        for key in &expected {
            put(&store, key, "");
        }
        expected.sort();
        assert_eq!(keys(&store, &ListRequest::default()), expected);
    }

    #[test]
    fn a_page_goes_on_without_the_walk_that_made_it() {
        let (directory, store) = bucket();
        for key in ["a", "a/", "a/x", "a0", "b//c"] {
            put(&store, key, "");
        }
        let request = ListRequest { max_keys: Some(2), ..ListRequest::default() };
        let token = block_on(store.list(&request)).unwrap().next;
        let elsewhere = DirectoryStore::open(directory.path()).unwrap();
        assert_eq!(keys(&elsewhere, &ListRequest { token, ..ListRequest::default() }), ["a/x", "a0", "b//c"]);
    }

    #[test]
    fn deleting_the_last_object_leaves_no_directory() {
        let (directory, store) = bucket();
        put(&store, "a/b/c", "");
        block_on(store.delete("a/b/c", &Precondition::None)).unwrap();
        assert!(!directory.path().join("a+").exists());
        put(&store, "a/b/c", "");
    }

    #[test]
    fn a_flipped_bit_is_found_when_the_body_is_read() {
        let (directory, store) = bucket();
        put(&store, "a", "hello");
        let path = directory.path().join(path_of("a"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[1] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut body = block_on(store.get("a", &GetOptions::default())).unwrap().body;
        assert!(block_on(body.next()).unwrap().is_ok());
        let error = block_on(body.next()).unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }

    #[test]
    fn a_cut_object_is_reported_and_not_listed_as_something_else() {
        let (directory, store) = bucket();
        put(&store, "a", "hello");
        let path = directory.path().join(path_of("a"));
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = block_on(store.head("a")).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{length} bytes");
        }
    }

    #[test]
    fn a_put_that_fails_leaves_nothing_behind() {
        struct Broken;
        impl super::super::Source for Broken {
            fn size(&self) -> u64 {
                5
            }

            fn read(
                &self,
                _: u64,
                _: usize,
            ) -> futures_util::future::BoxFuture<'_, Result<Bytes, super::super::SourceError>> {
                Box::pin(async { Err("gone".into()) })
            }
        }
        let (directory, store) = bucket();
        put(&store, "a", "old");
        let error =
            block_on(store.put("a", Body::Source(std::sync::Arc::new(Broken)), &PutOptions::default())).unwrap_err();
        assert_eq!(error.to_string(), "put of \"a\" failed: the body could not be read");
        assert_eq!(block_on(store.head("a")).unwrap().size, 3);
        assert_eq!(fs::read_dir(directory.path().join(STAGING)).unwrap().count(), 0);
    }

    #[test]
    fn a_bucket_that_is_gone_is_not_an_empty_one() {
        let (directory, store) = bucket();
        put(&store, "a", "x");
        let away = directory.path().with_extension("away");
        fs::rename(directory.path(), &away).unwrap();
        // It is held, and stays the bucket; what is in its place now is not touched.
        fs::create_dir(directory.path()).unwrap();
        put(&store, "b", "x");
        assert_eq!(keys(&store, &ListRequest::default()), ["a", "b"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        fs::remove_dir_all(&away).unwrap();
        let gone = |kind| assert_eq!(kind, StoreErrorKind::NoSuchBucket);
        gone(block_on(store.list(&ListRequest::default())).unwrap_err().kind());
        gone(block_on(store.head("a")).unwrap_err().kind());
        gone(block_on(store.get("a", &GetOptions::default())).unwrap_err().kind());
        gone(block_on(store.put("b", Body::from(Bytes::new()), &PutOptions::default())).unwrap_err().kind());
        gone(block_on(store.replace_metadata("a", &PutOptions::default())).unwrap_err().kind());
        gone(block_on(store.delete("a", &Precondition::None)).unwrap_err().kind());
    }

    #[test]
    fn what_a_crashed_process_left_is_removed_and_what_is_being_written_stays() {
        let (directory, store) = bucket();
        fs::write(directory.path().join(STAGING).join("1-0"), "half").unwrap();
        let staged = store.stage().unwrap();
        let _again = DirectoryStore::open(directory.path()).unwrap();
        let left: Vec<_> =
            fs::read_dir(directory.path().join(STAGING)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [OsStr::new(&staged.name)]);
    }

    #[test]
    fn messages_of_open() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("something"), "").unwrap();
        let path = fs::canonicalize(directory.path()).unwrap();
        let message = |path: &Path| DirectoryStore::open(path).unwrap_err().to_string();
        assert_eq!(message(&path), format!("{} is neither empty nor a bucket", path.display()));
        fs::write(directory.path().join(MARKER), "posix-s3 bucket 2\n").unwrap();
        assert_eq!(message(&path), format!("{} is a bucket of another version", path.display()));
        let missing = path.join("missing");
        let error = DirectoryStore::open_existing(&missing).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no bucket in {}", missing.display()));
        assert!(!missing.exists());
        let file = path.join("something");
        assert_eq!(message(&file), format!("{} cannot be used as a bucket", file.display()));
    }

    #[test]
    fn a_bucket_that_somebody_else_could_have_lead_elsewhere_is_refused() {
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("file"), "").unwrap();
        for (own, target) in [(STAGING, other.path().to_owned()), (LOCK, other.path().join("made"))] {
            let (directory, store) = bucket();
            drop(store);
            let path = directory.path().join(own);
            let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
            symlink(target, path).unwrap();
            let error = DirectoryStore::open(directory.path()).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{own} is not used as a bucket: expected a directory of this user or the superuser that nobody else can write to, found a link or something else in it")), "{error}");
        }
        assert!(other.path().join("file").exists() && !other.path().join("made").exists());
        let (directory, _store) = bucket();
        for mode in [0o777, 0o1777, 0o775] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = DirectoryStore::open(directory.path()).unwrap_err().to_string();
            assert!(error.ends_with("found one that others can write to"), "{mode:o}: {error}");
        }
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
            chown(directory.path(), Some(4711), None).unwrap();
            let error = DirectoryStore::open(directory.path()).unwrap_err().to_string();
            assert!(error.ends_with("found one of somebody else"), "{error}");
        }
    }

    fn pipe(path: &Path) {
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn a_pipe_in_the_place_of_what_is_the_buckets_own_is_refused_and_not_waited_for() {
        for own in [LOCK, MARKER] {
            let (directory, store) = bucket();
            drop(store);
            let path = directory.path().join(own);
            fs::remove_file(&path).unwrap();
            pipe(&path);
            // With a reader at its other end, opening it to write succeeds.
            for has_reader in [false, true] {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                let _reader = has_reader.then(|| rustix::fs::open(&path, flags, Mode::empty()).unwrap());
                let (sender, receiver) = std::sync::mpsc::channel();
                let path = directory.path().to_owned();
                std::thread::spawn(move || sender.send(DirectoryStore::open(path).map(drop)));
                let error = receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("it hangs").unwrap_err();
                assert!(matches!(error, OpenError::Foreign { .. }), "{own}: {error}");
            }
        }
        let (directory, store) = bucket();
        put(&store, "b", "");
        pipe(&directory.path().join("a@"));
        assert_eq!(block_on(store.head("a")).unwrap_err().kind(), StoreErrorKind::Corrupt);
    }

    #[test]
    fn a_link_of_somebody_else_on_the_way_to_a_bucket_is_not_followed_and_nothing_is_made_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let (shared, victim) = (directory.path().join("shared"), directory.path().join("victim"));
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(&victim).unwrap();
        symlink(&victim, shared.join("link")).unwrap();
        for open in [DirectoryStore::open, DirectoryStore::open_existing] {
            for path in ["link", "link/made/below", "new/../../victim/made"] {
                let error = open(shared.join(path)).unwrap_err();
                let is_missing = matches!(error, OpenError::NoBucket { .. }) && path.starts_with("new");
                assert!(is_missing || matches!(error, OpenError::Root { .. }), "{path}: {error}");
                assert!(is_missing || error.to_string().ends_with("is not used as a bucket: the path is not followed"));
            }
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        // One that root or this user alone can have put there is.
        symlink(&victim, directory.path().join("own")).unwrap();
        drop(DirectoryStore::open(directory.path().join("own/made/below")).unwrap());
        DirectoryStore::open_existing(victim.join("made/below")).unwrap();
    }

    #[test]
    fn what_takes_the_place_of_the_staging_directory_gets_nothing() {
        let (directory, store) = bucket();
        let other = tempfile::tempdir().unwrap();
        fs::rename(directory.path().join(STAGING), directory.path().join("away+")).unwrap();
        symlink(other.path(), directory.path().join(STAGING)).unwrap();
        put(&store, "a", "x");
        let staged = store.stage().unwrap();
        assert!(directory.path().join("away+").join(&staged.name).exists());
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        let (directory, store) = bucket();
        drop(store);
        fs::set_permissions(directory.path().join(STAGING), fs::Permissions::from_mode(0o770)).unwrap();
        let error = DirectoryStore::open(directory.path()).unwrap_err().to_string();
        assert!(error.ends_with("found one in it that others can write to"), "{error}");
    }

    #[test]
    fn a_link_in_the_place_of_a_segment_is_damage() {
        let (directory, store) = bucket();
        let (other, theirs) = bucket();
        put(&theirs, "a", "secret");
        symlink(other.path(), directory.path().join("s+")).unwrap();
        assert_eq!(block_on(store.head("s/a")).unwrap_err().kind(), StoreErrorKind::Corrupt);
        let error = block_on(store.put("s/b", Body::from(Bytes::new()), &PutOptions::default())).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert_eq!(block_on(store.list(&ListRequest::default())).unwrap_err().kind(), StoreErrorKind::Corrupt);
        assert_eq!(keys(&theirs, &ListRequest::default()), ["a"]);
    }

    #[test]
    fn a_key_that_is_not_utf_8_is_unreadable_and_hides_no_other() {
        let (directory, store) = bucket();
        for key in ["a", "b/c", "z"] {
            put(&store, key, "");
        }
        for name in ["%FF@", "b+/%FE@"] {
            fs::copy(directory.path().join("a@"), directory.path().join(name)).unwrap();
        }
        let page = block_on(store.list(&ListRequest::default())).unwrap();
        assert_eq!(page.unreadable, [Box::from(*b"b/\xfe"), Box::<[u8]>::from(*b"\xff")]);
        assert_eq!(page.objects.iter().map(|object| &*object.key).collect::<Vec<_>>(), ["a", "b/c", "z"]);
        // By pages, whoever goes on with them.
        let (mut token, mut objects, mut unreadable) = (None, Vec::new(), Vec::new());
        loop {
            let store = DirectoryStore::open(directory.path()).unwrap();
            let request = ListRequest { max_keys: Some(1), token, ..ListRequest::default() };
            let mut page = block_on(store.list(&request)).unwrap();
            objects.extend(page.objects.into_iter().map(|object| object.key));
            unreadable.append(&mut page.unreadable);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!((objects.len(), unreadable.len()), (3, 2));
    }

    #[test]
    fn a_link_in_the_place_of_an_object_is_damage() {
        let (directory, store) = bucket();
        let (other, theirs) = bucket();
        put(&theirs, "a", "secret");
        std::os::unix::fs::symlink(other.path().join("a@"), directory.path().join("a@")).unwrap();
        let error = block_on(store.head("a")).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }

    #[test]
    fn a_stranger_among_the_objects_is_damage() {
        for name in ["notes.txt", "%61@", "x+", "%zz@", "short~"] {
            let (directory, store) = bucket();
            put(&store, "a", "");
            fs::write(directory.path().join(name), "").unwrap();
            let error = block_on(store.list(&ListRequest::default())).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}");
        }
    }
}
