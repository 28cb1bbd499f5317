//! [`Edit`]: what a user of the tree does to it, past the library: system calls on paths below the root, as root.

use super::disk::{Disk, Done, Make, Move, TARGET};
use super::inodes::{Ino, Kind, ROOT};
use posix_s3::Timestamp;
use rustix::io::Errno;

/// One system call.
///
/// Links on the way are followed, and lead nowhere but below the root (`RESOLVE_IN_ROOT`). The last name is not, but by
/// those that open: `Write`, `Append`, `Truncate`, `Chmod`, `DefaultList` and `SetXattr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Makes an empty file, if nothing has the name.
    Create {
        path: Vec<u8>,
        permissions: u32,
    },
    Mkdir {
        path: Vec<u8>,
        permissions: u32,
    },
    Mkfifo {
        path: Vec<u8>,
        permissions: u32,
    },
    Symlink {
        path: Vec<u8>,
        target: Vec<u8>,
    },
    Write {
        path: Vec<u8>,
        at: u64,
        bytes: Vec<u8>,
    },
    Append {
        path: Vec<u8>,
        bytes: Vec<u8>,
    },
    Truncate {
        path: Vec<u8>,
        size: u64,
    },
    Chmod {
        path: Vec<u8>,
        permissions: u32,
    },
    Chown {
        path: Vec<u8>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Utimens {
        path: Vec<u8>,
        atime: Timestamp,
        mtime: Timestamp,
    },
    Rename {
        path: Vec<u8>,
        to: Vec<u8>,
    },
    Exchange {
        path: Vec<u8>,
        to: Vec<u8>,
    },
    Link {
        path: Vec<u8>,
        to: Vec<u8>,
    },
    Unlink {
        path: Vec<u8>,
    },
    Rmdir {
        path: Vec<u8>,
    },
    /// Gives a directory a default list, or takes it away.
    DefaultList {
        path: Vec<u8>,
        on: bool,
    },
    SetXattr {
        path: Vec<u8>,
        name: String,
        value: Vec<u8>,
    },
    /// Brings a file or directory to the disk.
    Fsync {
        path: Vec<u8>,
    },
}

impl Edit {
    /// The system call.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Mkdir { .. } => "mkdir",
            Self::Mkfifo { .. } => "mkfifo",
            Self::Symlink { .. } => "symlink",
            Self::Write { .. } => "write",
            Self::Append { .. } => "append",
            Self::Truncate { .. } => "truncate",
            Self::Chmod { .. } => "chmod",
            Self::Chown { .. } => "chown",
            Self::Utimens { .. } => "utimens",
            Self::Rename { .. } => "rename",
            Self::Exchange { .. } => "exchange",
            Self::Link { .. } => "link",
            Self::Unlink { .. } => "unlink",
            Self::Rmdir { .. } => "rmdir",
            Self::DefaultList { .. } => "default list",
            Self::SetXattr { .. } => "setxattr",
            Self::Fsync { .. } => "fsync",
        }
    }

    /// Does it.
    pub(crate) fn apply(&self, disk: &mut Disk) -> Done {
        let watched = std::mem::replace(&mut disk.watched, false);
        let done = self.apply_unwatched(disk);
        disk.watched = watched;
        done
    }

    fn apply_unwatched(&self, disk: &mut Disk) -> Done {
        match self {
            Self::Create { path, permissions } => {
                let (directory, name, slash) = parent(disk, path)?;
                if slash {
                    return Err(Errno::ISDIR);
                }
                disk.make(directory, name, &Make::File { permissions: *permissions }).map(drop)
            }
            Self::Mkdir { path, permissions } => {
                let (directory, name, _) = parent(disk, path)?;
                disk.make(directory, name, &Make::Directory { permissions: *permissions }).map(drop)
            }
            Self::Mkfifo { path, permissions } => {
                let (directory, name) = new_parent(disk, path)?;
                disk.make(directory, name, &Make::Fifo { permissions: *permissions }).map(drop)
            }
            Self::Symlink { path, target } => {
                match target.len() {
                    0 => return Err(Errno::NOENT),
                    1..=TARGET => {}
                    _ => return Err(Errno::NAMETOOLONG),
                }
                let (directory, name) = new_parent(disk, path)?;
                disk.make(directory, name, &Make::Symlink { target }).map(drop)
            }
            Self::Write { path, at, bytes } => {
                let ino = opened_to_write(disk, path)?;
                disk.write(ino, *at, bytes)
            }
            Self::Append { path, bytes } => {
                let ino = opened_to_write(disk, path)?;
                let size = disk.inode(ino).size();
                disk.write(ino, size, bytes)
            }
            Self::Truncate { path, size } => {
                let ino = opened_to_write(disk, path)?;
                disk.truncate(ino, *size)
            }
            Self::Chmod { path, permissions } => {
                let ino = walk(disk, path)?;
                disk.chmod(ino, *permissions)
            }
            Self::Chown { path, uid, gid } => {
                let ino = named(disk, path)?;
                disk.chown(ino, *uid, *gid)
            }
            Self::Utimens { path, atime, mtime } => {
                let ino = named(disk, path)?;
                disk.set_times(ino, *atime, *mtime)
            }
            Self::Rename { path, to } => rename(disk, path, to, Move::Replace),
            Self::Exchange { path, to } => rename(disk, path, to, Move::Exchange),
            Self::Link { path, to } => {
                let ino = named(disk, path)?;
                let (directory, name) = new_parent(disk, to)?;
                disk.link(ino, directory, name)
            }
            Self::Unlink { path } => {
                let (directory, name, slash) = parent(disk, path)?;
                if slash {
                    let ino = disk.child(directory, name)?;
                    return Err(if disk.inode(ino).is_directory() { Errno::ISDIR } else { Errno::NOTDIR });
                }
                disk.unlink(directory, name)
            }
            Self::Rmdir { path } => {
                let (directory, name, _) = parent(disk, path)?;
                disk.rmdir(directory, name)
            }
            Self::DefaultList { path, on } => {
                let ino = walk(disk, path)?;
                if !disk.inode(ino).is_directory() {
                    return Err(Errno::NOTDIR);
                }
                disk.set_default_list(ino, *on)
            }
            Self::SetXattr { path, name, value } => {
                let ino = walk(disk, path)?;
                disk.set_xattr(ino, name, value)
            }
            Self::Fsync { path } => {
                let ino = walk(disk, path)?;
                disk.fsync(ino)
            }
        }
    }
}

fn rename(disk: &mut Disk, path: &[u8], to: &[u8], how: Move) -> Done {
    let (from, name, slash) = parent(disk, path)?;
    let (around, new, new_slash) = parent(disk, to)?;
    let ino = disk.child(from, name)?;
    let other = match disk.child(around, new) {
        Err(Errno::NOENT) if disk.inode(around).links > 0 => None,
        other => Some(other?),
    };
    if how == Move::Exchange {
        let other = other.ok_or(Errno::NOENT)?;
        if new_slash && !disk.inode(other).is_directory() {
            return Err(Errno::NOTDIR);
        }
    }
    if !disk.inode(ino).is_directory() && (slash || how != Move::Exchange && new_slash) {
        return Err(Errno::NOTDIR);
    }
    disk.rename(from, name, around, new, how)
}

/// The directory that holds a path, the path's own name in it, and whether a slash follows it.
fn parent<'p>(disk: &mut Disk, path: &'p [u8]) -> Done<(Ino, &'p [u8], bool)> {
    let (around, name, slash) = split(path);
    let directory = walk(disk, around)?;
    if !disk.inode(directory).is_directory() {
        return Err(Errno::NOTDIR);
    }
    Ok((directory, name, slash))
}

/// What holds a path, the path's own name in it, and whether a slash follows that.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8], bool) {
    let (path, slash) = path.strip_suffix(b"/").map_or((path, false), |path| (path, true));
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..], slash),
        None => (b".", path, slash),
    }
}

/// As [`parent`], of something new that is no directory.
fn new_parent<'p>(disk: &mut Disk, path: &'p [u8]) -> Done<(Ino, &'p [u8])> {
    let (directory, name, slash) = parent(disk, path)?;
    match disk.child(directory, name) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) if !slash => Ok((directory, name)),
        Err(error) => Err(error),
    }
}

/// What has a path itself, if that is a link.
fn named(disk: &mut Disk, path: &[u8]) -> Done<Ino> {
    let (directory, name, _) = parent(disk, path)?;
    if name == b"." { Ok(directory) } else { disk.child(directory, name) }
}

fn opened_to_write(disk: &mut Disk, path: &[u8]) -> Done<Ino> {
    let ino = walk(disk, path)?;
    match disk.inode(ino).kind {
        Kind::File(_) => Ok(ino),
        Kind::Directory(_) => Err(Errno::ISDIR),
        // A pipe that nobody reads.
        Kind::Fifo | Kind::Symlink(_) => Err(Errno::NXIO),
    }
}

/// Where a path leads, if every link is followed and none leads out.
pub(crate) fn walk(disk: &mut Disk, path: &[u8]) -> Done<Ino> {
    /// How many links are followed.
    const LINKS: usize = 40;
    let (mut at, mut links) = (ROOT, 0);
    let mut rest: Vec<Vec<u8>> = Vec::new();
    let push = |rest: &mut Vec<Vec<u8>>, path: &[u8]| {
        // A trailing slash asks for a directory, as `.` does.
        let ends = if path.ends_with(b"/") { &b"."[..] } else { b"" };
        let names = path.split(|&byte| byte == b'/').chain([ends]).filter(|name| !name.is_empty());
        rest.extend(names.map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter().rev());
    };
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    push(&mut rest, path);
    while let Some(name) = rest.pop() {
        if !disk.inode(at).is_directory() {
            return Err(Errno::NOTDIR);
        }
        match &*name {
            b"." => continue,
            b".." => {
                at = disk.inode(at).around;
                continue;
            }
            _ => {}
        }
        let child = disk.child(at, &name)?;
        if let Kind::Symlink(target) = &disk.inode(child).kind {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            let target = target.clone();
            if target.starts_with(b"/") {
                at = ROOT;
            }
            push(&mut rest, &target);
            continue;
        }
        at = child;
    }
    Ok(at)
}
