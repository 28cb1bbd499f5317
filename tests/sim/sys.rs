//! [`Sys`]: the system calls of the tree, which may fail where a test says so.

use super::disk::{Disk, Done};
use super::inodes::{Ino, Inode};
use posix_s3::Status;
use posix_s3::tree::{TreeError, TreeErrorKind};
use rustix::io::Errno;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk that several processes and a user see.
#[derive(Clone)]
pub(crate) struct Sys(pub(crate) Arc<Mutex<Disk>>);

/// An inode as it was looked at.
#[derive(Clone)]
pub(crate) struct Stat {
    pub(crate) ino: Ino,
    pub(crate) inode: Arc<Inode>,
}

impl Stat {
    pub(crate) fn status(&self) -> Option<Status> {
        self.inode.status(self.ino)
    }
}

impl Sys {
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of the tree.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut Disk) -> Done<T>) -> io::Result<T> {
        let mut disk = self.disk();
        disk.watched = true;
        let done = disk.begin_call().and_then(|()| call(&mut disk));
        disk.watched = false;
        done.map_err(|errno| io::Error::from_raw_os_error(errno.raw_os_error()))
    }

    pub(crate) fn look(&self, ino: Ino) -> io::Result<Stat> {
        Ok(Stat { ino, inode: self.call(|disk| disk.look(ino))? })
    }

    pub(crate) fn look_at(&self, directory: Ino, name: &[u8]) -> io::Result<Stat> {
        self.call(|disk| {
            let ino = disk.child(directory, name)?;
            Ok(Stat { ino, inode: Arc::clone(disk.inode(ino)) })
        })
    }

    /// Opens a directory; a link is none.
    pub(crate) fn open_directory(&self, directory: Ino, name: &[u8]) -> io::Result<Ino> {
        self.call(|disk| {
            let ino = disk.child(directory, name)?;
            if disk.inode(ino).is_directory() { Ok(ino) } else { Err(Errno::NOTDIR) }
        })
    }

    /// Opens a file to be read; a link is not followed.
    pub(crate) fn open_file(&self, directory: Ino, name: &[u8]) -> io::Result<Ino> {
        self.call(|disk| {
            let ino = disk.child(directory, name)?;
            let is_link = matches!(disk.inode(ino).kind, super::inodes::Kind::Symlink(_));
            if is_link { Err(Errno::LOOP) } else { Ok(ino) }
        })
    }

    pub(crate) fn names(&self, directory: Ino) -> io::Result<Vec<Arc<[u8]>>> {
        Ok(self.call(|disk| disk.list(directory))?.into_iter().map(|(name, _)| name).collect())
    }
}

/// A failure of the operating system at a path, as `LocalTree` tells it.
pub(crate) fn failed(attempt: &'static str, path: &[u8], error: io::Error) -> TreeError {
    let kind = match error.kind() {
        _ if Errno::from_io_error(&error) == Some(Errno::LOOP) => TreeErrorKind::Conflict,
        io::ErrorKind::NotFound => TreeErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => TreeErrorKind::Denied,
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty => TreeErrorKind::Conflict,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TreeErrorKind::NoSpace,
        _ => TreeErrorKind::Other,
    };
    TreeError::new(attempt, path, kind).with_source(error)
}
