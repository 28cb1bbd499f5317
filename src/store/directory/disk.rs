//! System calls on what is in a bucket's directory, from its descriptor.
//!
//! A path is one of names below the root, and each is opened by itself and without following, so that it leads nowhere else
//! whatever is done to the names on the way to the root or below.

use super::is_absent;
use super::object::damaged;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The directory of a bucket, held open.
#[derive(Clone)]
pub(super) struct Root(Arc<OwnedFd>);

impl Root {
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self(Arc::new(directory))
    }

    /// Opens the file of an object, which is no link, and waits for no pipe.
    pub(super) fn open_object(&self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.parent_of(path)?;
        let file = match open_file(&parent, name) {
            Err(Errno::LOOP) => return Err(damaged("that is a link")),
            Err(Errno::NXIO) => return Err(damaged("that holds no bytes")),
            other => File::from(other?),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(damaged("that holds no bytes")) }
    }

    /// Whether the root has a name.
    pub(super) fn has(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            other => Ok(other.map(|_| true)?),
        }
    }

    /// The names in a directory.
    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        names(&self.directory(path)?)
    }

    /// Opens a directory to be read or synced.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut at = open_directory(&self.0, OsStr::new("."), OFlags::RDONLY)?;
        for name in path {
            at = open_directory(&at, name, OFlags::RDONLY)?;
        }
        Ok(at)
    }

    /// Opens a directory to be synced, and makes it and those above it that are not there.
    pub(super) fn make_directories(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut at = open_directory(&self.0, OsStr::new("."), OFlags::RDONLY)?;
        for name in path {
            at = match open_directory(&at, name, OFlags::RDONLY) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755))?;
                    rustix::fs::fsync(&at)?;
                    open_directory(&at, name, OFlags::RDONLY)?
                }
                other => other?,
            };
        }
        Ok(at)
    }

    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    pub(super) fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    /// The directory that a path's last name is in, to go on from, and that name.
    fn parent_of<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let mut at = open_directory(&self.0, OsStr::new("."), OFlags::PATH)?;
        let mut names = path.iter();
        let last = names.next_back().ok_or(io::ErrorKind::InvalidInput)?;
        for name in names {
            at = open_directory(&at, name, OFlags::PATH)?;
        }
        Ok((at, last))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The names in an open directory, from where its descriptor stands.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Opens a file to read, waiting for nobody; a link is refused.
pub(super) fn open_file(directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, OFlags::RDONLY | ALWAYS, Mode::empty())
}

/// Opens a file of the bucket's own, which is made if the flags say so; `None` for a link and whatever else is no file.
pub(super) fn open_own(root: &Root, name: &str, flags: OFlags) -> io::Result<Option<File>> {
    match rustix::fs::openat(root, name, flags | ALWAYS, Mode::RUSR | Mode::WUSR) {
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => Ok(None),
        other => {
            let file = other?;
            let is_file = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile;
            Ok(is_file.then(|| file.into()))
        }
    }
}

/// Opens the directory of a name; a link is none.
pub(super) fn open_directory(directory: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Removes a file that may be gone.
pub(super) fn remove(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(io::Error::from) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
