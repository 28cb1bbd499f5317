//! [`RealEditor`]: an [`Edit`] as system calls on a real directory.
//!
//! `RESOLVE_IN_ROOT` keeps links and `..` below the root, so that no target can lead a test astray.

use crate::sim::edit::{Edit, split};
use posix_s3::Timestamp;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) struct RealEditor {
    root: OwnedFd,
}

type Done<T = ()> = Result<T, Errno>;

pub(crate) const DEFAULT: &str = "system.posix_acl_default";
pub(crate) const ACCESS: &str = "system.posix_acl_access";

impl RealEditor {
    pub(crate) fn new(root: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self { root: rustix::fs::open(root, flags, Mode::empty()).unwrap() }
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Done<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = if flags.contains(OFlags::PATH) { flags - OFlags::NONBLOCK - OFlags::NOCTTY } else { flags };
        loop {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.root, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
                // Somebody has renamed something somewhere meanwhile.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    fn parent<'p>(&self, path: &'p [u8]) -> Done<(OwnedFd, &'p OsStr)> {
        let (around, name, slash) = split(path);
        // With its slash, if it has one.
        let start = path.len() - name.len() - usize::from(slash);
        let directory = self.open(around, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((directory, OsStr::from_bytes(&path[start..])))
    }

    /// As [`parent`](Self::parent), without the slash, which would have the last name followed.
    fn named<'p>(&self, path: &'p [u8]) -> Done<(OwnedFd, &'p OsStr)> {
        self.parent(path.strip_suffix(b"/").unwrap_or(path))
    }

    pub(crate) fn apply(&self, edit: &Edit) -> Done {
        let read = OFlags::RDONLY;
        match edit {
            Edit::Create { path, permissions } => {
                let (directory, name) = self.parent(path)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(*permissions)).map(drop)
            }
            Edit::Mkdir { path, permissions } => {
                let (directory, name) = self.parent(path)?;
                rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(*permissions))
            }
            Edit::Mkfifo { path, permissions } => {
                let (directory, name) = self.parent(path)?;
                rustix::fs::mknodat(directory, name, FileType::Fifo, Mode::from_raw_mode(*permissions), 0)
            }
            Edit::Symlink { path, target } => {
                let (directory, name) = match self.parent(path) {
                    // Such a target is refused before the path is looked at.
                    Err(_) if target.is_empty() => return Err(Errno::NOENT),
                    Err(_) if target.len() > 4095 => return Err(Errno::NAMETOOLONG),
                    other => other?,
                };
                rustix::fs::symlinkat(OsStr::from_bytes(target), directory, name)
            }
            Edit::Write { path, at, bytes } => {
                rustix::io::pwrite(self.open(path, OFlags::WRONLY)?, bytes, *at).map(drop)
            }
            Edit::Append { path, bytes } => {
                let file = self.open(path, OFlags::WRONLY)?;
                let size = rustix::fs::fstat(&file)?.st_size as u64;
                rustix::io::pwrite(file, bytes, size).map(drop)
            }
            Edit::Truncate { path, size } => rustix::fs::ftruncate(self.open(path, OFlags::WRONLY)?, *size),
            Edit::Chmod { path, permissions } => {
                rustix::fs::fchmod(self.open(path, read)?, Mode::from_raw_mode(*permissions))
            }
            Edit::Chown { path, uid, gid } => {
                let (directory, name) = self.named(path)?;
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
            Edit::Utimens { path, atime, mtime } => {
                let (directory, name) = self.named(path)?;
                let spec =
                    |time: Timestamp| Timespec { tv_sec: time.seconds(), tv_nsec: time.subsecond_nanos().into() };
                let times = Timestamps { last_access: spec(*atime), last_modification: spec(*mtime) };
                rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
            Edit::Rename { path, to } => {
                let ((from, name), (around, new)) = (self.parent(path)?, self.parent(to)?);
                rustix::fs::renameat(from, name, around, new)
            }
            Edit::Exchange { path, to } => {
                let ((from, name), (around, new)) = (self.parent(path)?, self.parent(to)?);
                rustix::fs::renameat_with(from, name, around, new, RenameFlags::EXCHANGE)
            }
            Edit::Link { path, to } => {
                let (from, name) = self.named(path)?;
                // Whether it is there is found out before where it is to go.
                rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let (around, new) = self.parent(to)?;
                rustix::fs::linkat(from, name, around, new, AtFlags::empty())
            }
            Edit::Unlink { path } => {
                let (directory, name) = self.parent(path)?;
                rustix::fs::unlinkat(directory, name, AtFlags::empty())
            }
            Edit::Rmdir { path } => {
                let (directory, name) = self.parent(path)?;
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
            }
            Edit::DefaultList { path, on } => {
                let directory = self.open(path, read | OFlags::DIRECTORY)?;
                // Whether taking away what is not there moves the ctime, each file system decides for itself.
                match *on {
                    true => rustix::fs::fsetxattr(directory, DEFAULT, &default_list(), XattrFlags::empty()),
                    false if Self::has_xattr(&directory, DEFAULT) => rustix::fs::fremovexattr(directory, DEFAULT),
                    false => Ok(()),
                }
            }
            Edit::SetXattr { path, name, value } => {
                rustix::fs::fsetxattr(self.open(path, read)?, name.as_str(), value, XattrFlags::empty())
            }
            Edit::Fsync { path } => rustix::fs::fsync(self.open(path, read)?),
        }
    }

    pub(crate) fn has_xattr(fd: impl AsFd, name: &str) -> bool {
        rustix::fs::fgetxattr(fd, name, &mut [0_u8; 256][..]).is_ok()
    }
}

/// Owner all, user 1,234 all, group to read and execute, mask all, others to read and execute: posix_acl_xattr(5).
fn default_list() -> Vec<u8> {
    const ANY: u32 = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [(0x01_u16, 7_u16, ANY), (0x02, 7, 1234), (0x04, 5, ANY), (0x10, 7, ANY), (0x20, 5, ANY)] {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}
