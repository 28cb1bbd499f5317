//! System calls on what is in a bucket's directory, from its descriptor.
//!
//! A path is one of names below the root, and is gone along without following a link, so that it leads nowhere else whatever
//! is done to the names on the way to the root or below.

use super::is_absent;
use super::object::damaged;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};
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
        Ok(self.reach(path, OFlags::RDONLY)?)
    }

    /// Opens a directory past no link: by one call if the way is long and the kernel has it, else name by name.
    fn reach(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        const LONG: usize = 8;
        if path.iter().count() > LONG {
            let how = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let only = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
            match retry_on_intr(|| rustix::fs::openat2(&self.0, path, how, Mode::empty(), only)) {
                // An older kernel, or a filter that does not let the call through.
                Err(Errno::NOSYS | Errno::PERM) => {}
                Err(Errno::LOOP) => return Err(Errno::NOTDIR),
                other => return other,
            }
        }
        let mut at = open_directory(&self.0, OsStr::new("."), flags)?;
        for name in path {
            at = open_directory(&at, name, flags)?;
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
                    sync(&at)?;
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
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.reach(path.parent().unwrap_or(Path::new("")), OFlags::PATH)?, name))
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
    retry_on_intr(|| rustix::fs::openat(&directory, name, OFlags::RDONLY | ALWAYS, Mode::empty()))
}

/// Opens a file of the bucket's own, which is made if the flags say so; `None` for a link and whatever else is no file.
pub(super) fn open_own(root: &Root, name: &str, flags: OFlags, mode: Mode) -> io::Result<Option<File>> {
    match retry_on_intr(|| rustix::fs::openat(root, name, flags | ALWAYS, mode)) {
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
    retry_on_intr(|| rustix::fs::openat(&directory, name, flags, Mode::empty()))
}

/// Brings the names in a directory to the disk.
pub(super) fn sync(directory: impl AsFd) -> io::Result<()> {
    Ok(retry_on_intr(|| rustix::fs::fsync(&directory))?)
}

/// Removes a file that may be gone.
pub(super) fn remove(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(io::Error::from) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::PathBuf;

    /// Short ways are gone name by name, long ones by one call.
    #[test]
    fn a_way_of_any_length_is_gone_past_no_link_and_to_a_directory_only() {
        for length in [1, 2, 7, 8, 9, 30] {
            let place = tempfile::tempdir().unwrap();
            let way: PathBuf = std::iter::repeat_n("d", length).collect();
            let at = place.path().join(&way);
            fs::create_dir_all(at.join("below")).unwrap();
            fs::write(at.join("file"), "text").unwrap();
            // To the directory itself, and to where the way begins.
            symlink(".", at.join("link")).unwrap();
            symlink("d", place.path().join("l")).unwrap();
            let root = Root::new(File::open(place.path()).unwrap().into());
            let reached = root.directory(&way).unwrap();
            assert_eq!(rustix::fs::fstat(&reached).unwrap().st_ino, at.metadata().unwrap().ino());
            assert_eq!(fcntl_getfd(&reached).unwrap(), FdFlags::CLOEXEC);
            let mut names = root.names(&way).unwrap();
            names.sort();
            assert_eq!(names, ["below", "file", "link"]);
            let kind = |path: &Path| root.directory(path).unwrap_err().kind();
            assert_eq!(kind(&way.join("none")), io::ErrorKind::NotFound);
            let behind: PathBuf = std::iter::once("l").chain(std::iter::repeat_n("d", length - 1)).collect();
            for refused in [way.join("file"), way.join("link"), way.join("link/below"), way.join("file/below"), behind]
            {
                assert_eq!(kind(&refused), io::ErrorKind::NotADirectory, "{}", refused.display());
            }
            root.open_object(&way.join("file")).unwrap();
            assert!(root.open_object(&way.join("link/file")).is_err());
            // What is gone through need not be readable.
            let file = way.join("file");
            let (parent, name) = root.parent_of(&file).unwrap();
            assert!(rustix::fs::fcntl_getfl(&parent).unwrap().contains(OFlags::PATH) && name == "file");
            assert_eq!(fcntl_getfd(&parent).unwrap(), FdFlags::CLOEXEC);
        }
    }

    #[test]
    fn what_is_gone_is_removed_already_and_what_cannot_be_removed_or_synced_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let root = File::open(place.path()).unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        fs::write(place.path().join("f"), "").unwrap();
        remove(&root, OsStr::new("f")).unwrap();
        remove(&root, OsStr::new("f")).unwrap();
        assert_eq!(remove(&root, OsStr::new("d")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        sync(&root).unwrap();
        // The kernel syncs no device that has nothing to sync.
        assert_eq!(sync(File::open("/dev/null").unwrap()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
