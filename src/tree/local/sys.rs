//! System calls on one name in one open directory.
//!
//! Everything that touches the disk goes through here, and every call takes a held descriptor and a [`Name`], which
//! cannot hold a slash. So no call can walk a path, and a trailing slash cannot void `O_NOFOLLOW`.

use super::super::names::Unsorted;
use super::super::{Fingerprint, NameList, SkipReason, TreeError, TreeErrorKind};
use crate::key::Key;
use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::owner::{Gid, Uid};
use crate::status::Status;
use crate::timestamp::Timestamp;
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RawDir, RenameFlags, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// One name in a directory.
///
/// - It is not empty, not `.` and not `..`, and holds neither a slash nor NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks a name.
    pub(super) fn new(name: &'a [u8]) -> Option<Self> {
        let usable = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
        usable.then_some(Self(name))
    }

    /// The last name of a key's path.
    pub(super) fn last_of(key: &'a Key) -> io::Result<Self> {
        // Invariant: a segment of a Key is always a name.
        Self::new(key.name().as_bytes()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// The first name of a path that is relative, and what follows it from its slash on.
    #[inline]
    pub(super) fn first_of(path: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let end = path.iter().position(|&byte| byte == b'/' || byte == 0).unwrap_or(path.len());
        let (name, rest) = path.split_at_checked(end)?;
        let usable = !matches!(name, b"" | b"." | b"..") && rest.first() != Some(&0);
        usable.then_some((Self(name), rest))
    }

    pub(super) const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// What a look at an inode tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    stat: Statx,
}

/// A file system as seen from here: the device, and the mount where the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    device: (u32, u32),
    mount: Option<u64>,
}

impl Mount {
    /// Whether an inode is of this file system and not of one mounted in it.
    ///
    /// Of a directory both have to agree. Other inodes of an overlay have the device of the layer they come from, so the
    /// mount decides where it is known.
    #[inline]
    pub(super) fn holds(self, look: &Stat) -> bool {
        let other = look.mount();
        match (self.mount, other.mount) {
            (Some(mine), Some(theirs)) if !look.is_directory() => mine == theirs,
            _ => self == other,
        }
    }
}

impl Stat {
    #[inline]
    pub(super) fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.stat.stx_mode.into())
    }

    #[inline]
    pub(super) fn is_directory(&self) -> bool {
        self.file_type() == Some(FileType::Directory)
    }

    #[inline]
    pub(super) fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.stat.stx_mode.into())
    }

    #[inline]
    pub(super) const fn size(&self) -> u64 {
        self.stat.stx_size
    }

    /// How many bytes it takes on the disk, its extended attributes included where they have a block of their own.
    #[inline]
    pub(super) const fn disk_bytes(&self) -> u64 {
        self.stat.stx_blocks.saturating_mul(512)
    }

    /// The owner and group as the kernel has them.
    #[inline]
    pub(super) const fn ids(&self) -> (u32, u32) {
        (self.stat.stx_uid, self.stat.stx_gid)
    }

    #[inline]
    pub(super) fn mtime(&self) -> Timestamp {
        timestamp(self.stat.stx_mtime)
    }

    #[inline]
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            inode: self.stat.stx_ino,
            ctime: timestamp(self.stat.stx_ctime),
            links: self.stat.stx_nlink.into(),
        }
    }

    /// The attributes, or the id that no object can hold.
    #[inline]
    pub(super) fn attributes(&self) -> Result<Attributes, u32> {
        let (uid, gid) = self.ids();
        Ok(Attributes {
            permissions: self.permissions(),
            uid: Uid::new(uid).ok_or(uid)?,
            gid: Gid::new(gid).ok_or(gid)?,
            atime: timestamp(self.stat.stx_atime),
            mtime: self.mtime(),
        })
    }

    /// What an entry can be made of, or why none can.
    #[inline]
    pub(super) fn status(&self) -> Result<Status, SkipReason> {
        let file_type = self.file_type().ok_or(SkipReason::Vanished)?;
        let size = match file_type {
            FileType::File | FileType::Symlink => self.size(),
            FileType::Directory => 0,
            _ => return Err(SkipReason::Special { file_type }),
        };
        let attributes = self.attributes().map_err(|id| SkipReason::Owner { id })?;
        let Fingerprint { inode, ctime, links } = self.fingerprint();
        Ok(Status { file_type, size, attributes, inode, ctime, links })
    }

    #[inline]
    pub(super) fn mount(&self) -> Mount {
        let knows_mount = self.stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Mount {
            device: (self.stat.stx_dev_major, self.stat.stx_dev_minor),
            mount: knows_mount.then_some(self.stat.stx_mnt_id),
        }
    }
}

#[inline]
fn timestamp(time: StatxTimestamp) -> Timestamp {
    // The kernel keeps nanoseconds below 10^9.
    Timestamp::from_unix(time.tv_sec, time.tv_nsec).unwrap_or(Timestamp::EPOCH)
}

fn flags() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::MNT_ID
}

/// Looks at an inode by its descriptor.
pub(super) fn look(fd: impl AsFd) -> io::Result<Stat> {
    Ok(Stat { stat: rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, flags())? })
}

/// Looks at a name without following it.
#[inline]
pub(super) fn look_at(directory: impl AsFd, name: Name<'_>) -> io::Result<Stat> {
    // A look must not mount anything.
    let how = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(Stat { stat: rustix::fs::statx(directory, name.0, how, flags())? })
}

/// Opens the directory of a name; a link is refused.
pub(super) fn open_directory(directory: impl AsFd, name: Name<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name.0, flags, Mode::empty())?)
}

/// Opens whatever has a name, to be looked at or into and no more: a link is not followed, nothing is mounted, no device
/// is touched. Unlike to read a directory, it takes no permission of its own.
pub(super) fn open_path(directory: impl AsFd, name: Name<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name.0, flags, Mode::empty())?)
}

/// Opens an open directory once more: each descriptor reads from its own place.
pub(super) fn open_again(directory: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, ".", flags, Mode::empty())?)
}

/// Opens a name to be read, without waiting for a pipe's other end and, where permitted, without touching its atime.
pub(super) fn open_file(directory: impl AsFd, name: Name<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::openat(&directory, name.0, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner and the superuser may leave the access time alone.
        Err(Errno::PERM) => Ok(rustix::fs::openat(directory, name.0, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Makes a new file, open to the caller alone.
pub(super) fn create_file(directory: impl AsFd, name: Name<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name.0, flags, Mode::RUSR | Mode::WUSR)?)
}

/// Makes a new directory, open to the caller alone.
pub(super) fn create_directory(directory: impl AsFd, name: Name<'_>) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(directory, name.0, Mode::RWXU)?)
}

/// Makes a link; its target is text.
pub(super) fn create_symlink(directory: impl AsFd, name: Name<'_>, target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, directory, name.0)?)
}

/// Reads a link's text.
pub(super) fn read_link(directory: impl AsFd, name: Name<'_>) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, name.0, Vec::new())?.into_bytes())
}

/// Moves a name over whatever file or link stands at the other.
pub(super) fn rename(from: impl AsFd, name: Name<'_>, to: impl AsFd, new: Name<'_>) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name.0, to, new.0)?)
}

/// Has two names change places.
pub(super) fn exchange(from: impl AsFd, name: Name<'_>, to: impl AsFd, other: Name<'_>) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(from, name.0, to, other.0, RenameFlags::EXCHANGE)?)
}

/// Moves a name to another that must not exist.
pub(super) fn rename_new(from: impl AsFd, name: Name<'_>, to: impl AsFd, new: Name<'_>) -> io::Result<()> {
    let renamed = rustix::fs::renameat_with(&from, name.0, &to, new.0, RenameFlags::NOREPLACE);
    or_look_first(renamed, || look_at(&to, new), || rename(&from, name, &to, new))
}

/// Where the file system does not know the flag, looks first, which leaves a moment in between.
fn or_look_first(
    renamed: rustix::io::Result<()>,
    look: impl FnOnce() -> io::Result<Stat>,
    rename: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    match renamed {
        Err(Errno::INVAL | Errno::NOSYS) => match look() {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => rename(),
            Err(error) => Err(error),
        },
        other => Ok(other?),
    }
}

/// Removes a file or link.
pub(super) fn remove(directory: impl AsFd, name: Name<'_>) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(directory, name.0, AtFlags::empty())?)
}

/// Removes a directory that is empty.
pub(super) fn remove_directory(directory: impl AsFd, name: Name<'_>) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(directory, name.0, AtFlags::REMOVEDIR)?)
}

/// Gives an inode to an owner. Where only the group may be changed, that is done.
///
/// Says whether both were applied.
pub(super) fn change_owner(fd: impl AsFd, uid: Uid, gid: Gid) -> io::Result<bool> {
    let (uid, gid) = (raw_uid(uid), raw_gid(gid));
    either_owner(|| rustix::fs::fchown(&fd, Some(uid), Some(gid)), || rustix::fs::fchown(&fd, None, Some(gid)))
}

/// As [`change_owner`], for a link, which has no descriptor of its own.
pub(super) fn change_owner_of_link(directory: impl AsFd, name: Name<'_>, uid: Uid, gid: Gid) -> io::Result<bool> {
    let (uid, gid, flags) = (raw_uid(uid), raw_gid(gid), AtFlags::SYMLINK_NOFOLLOW);
    either_owner(
        || rustix::fs::chownat(&directory, name.0, Some(uid), Some(gid), flags),
        || rustix::fs::chownat(&directory, name.0, None, Some(gid), flags),
    )
}

fn either_owner(
    both: impl FnOnce() -> rustix::io::Result<()>,
    group: impl FnOnce() -> rustix::io::Result<()>,
) -> io::Result<bool> {
    match both() {
        Ok(()) => Ok(true),
        // Not permitted, or, in a user namespace, an id that does not exist there. The group alone is a try: what is not
        // applied is reported either way.
        Err(Errno::PERM | Errno::INVAL) => {
            let _ = group();
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn raw_uid(uid: Uid) -> rustix::fs::Uid {
    // Invariant: a Uid is never the value that means "unchanged".
    rustix::fs::Uid::from_raw(uid.get())
}

fn raw_gid(gid: Gid) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(gid.get())
}

/// Sets the permissions of an inode.
pub(super) fn change_permissions(fd: impl AsFd, permissions: Permissions) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(permissions.bits()))?)
}

/// Sets the times of an inode.
pub(super) fn change_times(fd: impl AsFd, atime: Timestamp, mtime: Timestamp) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &times(atime, mtime))?)
}

/// As [`change_times`], for a link.
pub(super) fn change_times_of_link(directory: impl AsFd, name: Name<'_>, attributes: &Attributes) -> io::Result<()> {
    Ok(rustix::fs::utimensat(directory, name.0, &times(attributes.atime, attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(atime: Timestamp, mtime: Timestamp) -> Timestamps {
    // Invariant: a Timestamp's nanoseconds are below 10^9, so neither special value can come out of data.
    let spec = |time: Timestamp| Timespec { tv_sec: time.seconds(), tv_nsec: time.subsecond_nanos().into() };
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}

/// Removes access-control lists that an inode inherited from its directory.
pub(super) fn remove_inherited_lists(fd: impl AsFd) -> io::Result<()> {
    for list in ["system.posix_acl_access", "system.posix_acl_default"] {
        match rustix::fs::fremovexattr(&fd, list) {
            // There is none, the file system has none, or lists are somebody else's business there.
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How many bytes of names are asked for at once.
const NAMES: usize = 1 << 17;

/// Every name in a directory except `.` and `..`, from where its descriptor stands. The buffer is memory to work in.
pub(super) fn list(directory: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<NameList> {
    buffer.clear();
    buffer.reserve(NAMES);
    let mut names = Unsorted::default();
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(name) = Name::new(entry.file_name().to_bytes()) else { continue };
        names.push(name.0);
        if is_listed_as_directory(entry.file_type(), || look_at(directory, name)) {
            names.push_slash();
        }
    }
    Ok(names.sort())
}

fn is_listed_as_directory(file_type: rustix::fs::FileType, look: impl FnOnce() -> io::Result<Stat>) -> bool {
    match file_type {
        // The directory does not say. One that vanishes now is missed when its turn comes.
        rustix::fs::FileType::Unknown => look().is_ok_and(|stat| stat.is_directory()),
        file_type => file_type == rustix::fs::FileType::Directory,
    }
}

/// Every name in a directory except `.` and `..`, in no order.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<Box<[u8]>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        names.extend(Name::new(entry.file_name().to_bytes()).map(|name| Box::from(name.0)));
    }
    Ok(names)
}

/// What tells a directory from others: its number, and when it was made. Both stay over reboots, which the number of a
/// device need not; where the file system does not keep that time, its own number stands for it.
pub(super) fn identity(directory: impl AsFd) -> io::Result<[u8; 16]> {
    let stat = rustix::fs::statx(&directory, "", AtFlags::EMPTY_PATH, flags() | StatxFlags::BTIME)?;
    let made = if stat.stx_mask & StatxFlags::BTIME.bits() != 0 {
        let time = timestamp(stat.stx_btime);
        // As many different values as there are moments in 584 years.
        time.nanoseconds().to_le_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
    } else {
        rustix::fs::fstatvfs(&directory)?.f_fsid
    };
    Ok(((u128::from(made) << 64) | u128::from(stat.stx_ino)).to_be_bytes())
}

/// The time that file systems go by: that of the last tick, so that nothing changed from now on is older.
pub(super) fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    // The kernel keeps nanoseconds below 10^9.
    u32::try_from(now.tv_nsec)
        .ok()
        .and_then(|nanos| Timestamp::from_unix(now.tv_sec, nanos))
        .unwrap_or(Timestamp::EPOCH)
}

/// A failure of the operating system at a path.
pub(super) fn failed(attempt: &'static str, path: &[u8], error: io::Error) -> TreeError {
    let kind = match error.kind() {
        // A link where a directory or file was to be opened.
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => TreeErrorKind::Conflict,
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

/// Whether `syncfs` tells of data that could not be written: since Linux 5.8, says syncfs(2).
pub(super) fn syncfs_tells() -> bool {
    is_since_5_8(rustix::system::uname().release().to_str().unwrap_or_default())
}

fn is_since_5_8(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= (5, 8)
}

/// Whether the file system of a directory is a local one, by its number in statfs(2): it moves a directory's times with
/// every name made or removed in it, and `syncfs` brings it to the disk.
///
/// Network and stacked file systems may answer old times out of a cache, and may leave `syncfs` to whoever is behind.
pub(super) fn is_local(directory: impl AsFd) -> io::Result<bool> {
    use rustix::fs::FsWord;
    const EXT: FsWord = 0xef53;
    const XFS: FsWord = 0x5846_5342;
    const BTRFS: FsWord = 0x9123_683e;
    const F2FS: FsWord = 0xf2f5_2010;
    const TMPFS: FsWord = 0x0102_1994;
    let number = rustix::fs::fstatfs(directory)?.f_type & 0xffff_ffff;
    Ok([EXT, XFS, BTRFS, F2FS, TMPFS].contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    fn name(text: &str) -> Name<'_> {
        Name::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_one_step_and_never_a_path() {
        for usable in ["a", ".a", "..a", "...", "a.", "\u{e9}"] {
            assert_eq!(Name::new(usable.as_bytes()).map(Name::as_bytes), Some(usable.as_bytes()));
            let way = format!("{usable}/b/c");
            assert_eq!(Name::first_of(way.as_bytes()), Some((name(usable), &b"/b/c"[..])));
            assert_eq!(Name::first_of(usable.as_bytes()), Some((name(usable), &b""[..])));
        }
        for refused in [&b""[..], b".", b"..", b"a/b", b"/", b"a/", b"/a", b"a\0", b"\0"] {
            assert_eq!(Name::new(refused), None, "{refused:?}");
        }
        for refused in [&b""[..], b".", b"..", b"./a", b"../a", b"/a", b"a\0b", b"a\0/b"] {
            assert_eq!(Name::first_of(refused), None, "{refused:?}");
        }
        assert_eq!(Name::last_of(&"a/b/".parse().unwrap()).unwrap(), name("b"));
    }

    #[test]
    fn another_file_system_is_told_from_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("f"), "").unwrap();
        let root = File::open(directory.path()).unwrap();
        let mine = look(&root).unwrap().mount();
        assert!(mine.holds(&look(&root).unwrap()) && mine.holds(&look_at(&root, name("f")).unwrap()));
        for (at, is_directory) in [("/proc", true), ("/proc/version", false)] {
            let other = look(File::open(at).unwrap()).unwrap();
            assert_eq!(other.is_directory(), is_directory);
            assert!(!mine.holds(&other), "{at}");
        }
    }

    #[test]
    fn the_mount_decides_about_files_and_the_device_too_about_directories() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("f"), "").unwrap();
        let root = File::open(directory.path()).unwrap();
        let (around, file) = (look(&root).unwrap(), look_at(&root, name("f")).unwrap());
        let Mount { device: (major, minor), mount: Some(mount) } = around.mount() else { return };
        let other_device = Mount { device: (major, minor + 1), mount: Some(mount) };
        assert!(other_device.holds(&file) && !other_device.holds(&around));
        let other_mount = Mount { device: (major, minor), mount: Some(mount + 1) };
        assert!(!other_mount.holds(&file) && !other_mount.holds(&around));
        let unknown = Mount { device: (major, minor), mount: None };
        assert!(!unknown.holds(&file) && !unknown.holds(&around));
    }

    #[test]
    fn a_mount_is_known_where_the_kernel_tells_it() {
        let mut look = look(File::open("/").unwrap()).unwrap();
        look.stat.stx_mnt_id = 7;
        look.stat.stx_mask = StatxFlags::MNT_ID.bits();
        assert_eq!(look.mount().mount, Some(7));
        look.stat.stx_mask = !StatxFlags::MNT_ID.bits();
        assert_eq!(look.mount().mount, None);
    }

    #[test]
    fn a_look_tells_what_the_kernel_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, vec![7; 10_000]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("four", directory.path().join("l")).unwrap();
        let root = File::open(directory.path()).unwrap();
        // If this is the superuser, whose ids are both zero.
        let _ = std::os::unix::fs::chown(&path, Some(1234), Some(4321));
        let (look, metadata) = (look_at(&root, name("f")).unwrap(), fs::metadata(&path).unwrap());
        assert_eq!((look.size(), look.ids()), (10_000, (metadata.uid(), metadata.gid())));
        assert_eq!(look.disk_bytes(), metadata.blocks() * 512);
        let status = look.status().unwrap();
        assert_eq!((status.file_type, status.size, status.inode), (FileType::File, 10_000, metadata.ino()));
        assert_eq!((status.attributes.permissions.bits(), status.links), (0o640, 1));
        assert_eq!(status.attributes.mtime.seconds(), metadata.mtime());
        assert_eq!(i64::from(status.attributes.mtime.subsecond_nanos()), metadata.mtime_nsec());
        let link = look_at(&root, name("l")).unwrap().status().unwrap();
        assert_eq!((link.file_type, link.size), (FileType::Symlink, 4));
        let around = super::look(&root).unwrap().status().unwrap();
        assert_eq!((around.file_type, around.size), (FileType::Directory, 0));
        let null = super::look(File::open("/dev/null").unwrap()).unwrap().status();
        assert_eq!(null.unwrap_err(), SkipReason::Special { file_type: FileType::CharacterDevice });
    }

    #[test]
    fn links_are_neither_followed_nor_replaced_by_what_is_new() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("f"), "file").unwrap();
        let root = File::open(directory.path()).unwrap();
        create_symlink(&root, name("to-d"), b"d").unwrap();
        create_symlink(&root, name("to-f"), b"f").unwrap();
        assert_eq!(read_link(&root, name("to-f")).unwrap(), b"f");
        assert!(open_directory(&root, name("d")).is_ok() && open_directory(&root, name("to-d")).is_err());
        assert!(open_file(&root, name("f")).is_ok() && open_file(&root, name("to-f")).is_err());
        let link = look(open_path(&root, name("to-f")).unwrap()).unwrap();
        assert_eq!(link.file_type(), Some(FileType::Symlink));
        assert!(create_file(&root, name("to-f")).is_err() && create_file(&root, name("f")).is_err());
        assert!(create_directory(&root, name("to-d")).is_err());
        assert!(rename_new(&root, name("f"), &root, name("to-f")).is_err());
        rename_new(&root, name("f"), &root, name("new")).unwrap();
        exchange(&root, name("new"), &root, name("to-d")).unwrap();
        assert_eq!(read_link(&root, name("new")).unwrap(), b"d");
        assert!(remove(&root, name("d")).is_err());
        remove_directory(&root, name("d")).unwrap();
        let mut left = names(&root).unwrap();
        left.sort();
        assert_eq!(left, [Box::from(&b"new"[..]), Box::from(&b"to-d"[..]), Box::from(&b"to-f"[..])]);
        let listed = list(&root.into(), &mut Vec::new()).unwrap();
        assert_eq!(listed.iter().collect::<Vec<_>>(), [&b"new"[..], b"to-d", b"to-f"]);
    }

    #[test]
    fn without_the_flag_nothing_is_renamed_over_what_stands_there_or_may() {
        let (renamed, there) = (Cell::new(0), look(File::open("/").unwrap()).unwrap());
        let rename = || {
            renamed.set(renamed.get() + 1);
            Err(Errno::IO.into())
        };
        let errno = |result: io::Result<()>| result.map_err(|error| Errno::from_io_error(&error).unwrap());
        for unknown in [Errno::INVAL, Errno::NOSYS] {
            assert_eq!(errno(or_look_first(Err(unknown), || Ok(there), rename)), Err(Errno::EXIST));
            assert_eq!(errno(or_look_first(Err(unknown), || Err(Errno::ACCESS.into()), rename)), Err(Errno::ACCESS));
        }
        assert_eq!(errno(or_look_first(Err(Errno::EXIST), || panic!(), rename)), Err(Errno::EXIST));
        assert_eq!(errno(or_look_first(Ok(()), || panic!(), rename)), Ok(()));
        assert_eq!(renamed.get(), 0);
        assert_eq!(errno(or_look_first(Err(Errno::INVAL), || Err(Errno::NOENT.into()), rename)), Err(Errno::IO));
        assert_eq!(renamed.get(), 1);
    }

    #[test]
    fn a_name_of_which_the_directory_does_not_tell_the_type_is_looked_at() {
        use rustix::fs::FileType;
        let [directory, device] = ["/", "/dev/null"].map(|path| look(File::open(path).unwrap()).unwrap());
        assert!(is_listed_as_directory(FileType::Directory, || panic!()));
        assert!(!is_listed_as_directory(FileType::RegularFile, || panic!()));
        assert!(!is_listed_as_directory(FileType::Symlink, || panic!()));
        assert!(is_listed_as_directory(FileType::Unknown, || Ok(directory)));
        assert!(!is_listed_as_directory(FileType::Unknown, || Ok(device)));
        assert!(!is_listed_as_directory(FileType::Unknown, || Err(Errno::NOENT.into())));
    }

    #[test]
    fn no_descriptor_is_left_to_a_program_that_is_started() {
        use rustix::io::{FdFlags, fcntl_getfd};
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        let root = File::open(directory.path()).unwrap();
        for fd in [
            create_file(&root, name("f")).unwrap(),
            open_file(&root, name("f")).unwrap(),
            open_directory(&root, name("d")).unwrap(),
            open_path(&root, name("f")).unwrap(),
            open_again(&root).unwrap(),
            super::super::root::open(directory.path(), super::super::root::Missing::Fail).unwrap(),
        ] {
            assert_eq!(fcntl_getfd(&fd).unwrap(), FdFlags::CLOEXEC);
        }
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_no_file_taken_for_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = File::open(directory.path()).unwrap();
        rustix::fs::mkfifoat(&root, "pipe", Mode::RUSR | Mode::WUSR).unwrap();
        let pipe = open_file(&root, name("pipe")).unwrap();
        assert_eq!(look(&pipe).unwrap().file_type(), Some(FileType::Fifo));
        fs::write(directory.path().join("f"), "").unwrap();
        assert!(open_directory(&root, name("f")).is_err());
        assert!(open_again(File::open(directory.path().join("f")).unwrap()).is_err());
    }

    #[test]
    fn the_group_alone_is_a_try_where_the_owner_is_not_permitted() {
        let tried = Cell::new(0);
        let group = || {
            tried.set(tried.get() + 1);
            Err(Errno::PERM)
        };
        assert!(either_owner(|| Ok(()), group).unwrap());
        assert_eq!(tried.get(), 0);
        for refused in [Errno::PERM, Errno::INVAL] {
            assert!(!either_owner(|| Err(refused), group).unwrap());
        }
        assert_eq!(tried.get(), 2);
        assert!(either_owner(|| Err(Errno::IO), group).is_err());
        assert_eq!(tried.get(), 2);
    }

    #[test]
    fn times_and_permissions_reach_the_inode() {
        let directory = tempfile::tempdir().unwrap();
        symlink("x", directory.path().join("l")).unwrap();
        let root = File::open(directory.path()).unwrap();
        let file = create_file(&root, name("f")).unwrap();
        assert_eq!(look(&file).unwrap().permissions().bits(), 0o600);
        let (atime, mtime) = (Timestamp::from_unix(-5, 7).unwrap(), Timestamp::from_unix(9, 999_999_999).unwrap());
        change_permissions(&file, Permissions::from_mode(0o4751)).unwrap();
        change_times(&file, atime, mtime).unwrap();
        let attributes = look(&file).unwrap().attributes().unwrap();
        assert_eq!((attributes.permissions.bits(), attributes.atime, attributes.mtime), (0o4751, atime, mtime));
        change_times_of_link(&root, name("l"), &attributes).unwrap();
        assert_eq!(look_at(&root, name("l")).unwrap().mtime(), mtime);
        assert!(change_owner(&file, attributes.uid, attributes.gid).unwrap());
        assert!(change_owner_of_link(&root, name("l"), attributes.uid, attributes.gid).unwrap());
        // Another owner is a right of the superuser's.
        let uid = Uid::new(attributes.uid.get() + 1).unwrap();
        let (given, link) = (change_owner(&file, uid, attributes.gid), name("l"));
        assert_eq!(given.unwrap(), look(&file).unwrap().ids().0 == uid.get());
        let given = change_owner_of_link(&root, link, uid, attributes.gid).unwrap();
        assert_eq!(given, look_at(&root, link).unwrap().ids().0 == uid.get());
        remove_inherited_lists(&file).unwrap();
    }

    #[test]
    fn a_directory_is_known_again_and_told_from_another() {
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path| File::open(path).unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        let (one, other) = (open(directory.path()), open(&directory.path().join("d")));
        assert_eq!(identity(&one).unwrap(), identity(open(directory.path())).unwrap());
        assert_ne!(identity(&one).unwrap(), identity(&other).unwrap());
        let inode = directory.path().metadata().unwrap().ino();
        assert_eq!(identity(&one).unwrap()[8..], inode.to_be_bytes());
        assert_ne!(identity(&one).unwrap()[..8], [0; 8]);
        // The directory of the kernel has no time at which it was made.
        for path in [directory.path(), Path::new("/proc")] {
            let made = match path.metadata().unwrap().created() {
                Ok(made) => u64::try_from(made.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()).unwrap(),
                Err(_) => rustix::fs::statvfs(path).unwrap().f_fsid,
            };
            assert_eq!(identity(open(path)).unwrap()[..8], made.to_be_bytes(), "{}", path.display());
        }
        // Each descriptor reads from its own place.
        assert_eq!(names(open_again(&one).unwrap()).unwrap().len(), 1);
        assert_eq!(names(open_again(&one).unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn a_kernel_tells_its_age() {
        for release in ["5.8", "5.8.0", "5.8-rc1", "5.10.0-23-amd64", "6.0.1", "6.18.2+", "10.1"] {
            assert!(is_since_5_8(release), "{release}");
        }
        for release in ["5.7.19", "5.7-rc8", "4.19.0", "4.20", "5", "6", "", "x.9", "6.x"] {
            assert!(!is_since_5_8(release), "{release}");
        }
        assert_eq!(syncfs_tells(), is_since_5_8(rustix::system::uname().release().to_str().unwrap()));
    }

    #[test]
    fn a_file_system_of_the_kernel_is_not_a_local_one_and_memory_is() {
        assert!(!is_local(File::open("/proc").unwrap()).unwrap());
        if let Ok(memory) = File::open("/dev/shm") {
            assert!(is_local(memory).unwrap());
        }
    }

    #[test]
    fn the_clock_of_the_file_system_is_that_of_the_wall() {
        let (before, now) = (std::time::SystemTime::now(), now());
        let apart = Timestamp::from(before).nanoseconds() - now.nanoseconds();
        assert!(apart.abs() < 60_000_000_000, "{apart}");
    }

    #[test]
    fn failures_are_of_the_kind_that_decides_what_is_done() {
        let kind = |errno: Errno| failed("open", b"a", errno.into()).kind();
        for (errno, expected) in [
            (Errno::LOOP, TreeErrorKind::Conflict),
            (Errno::NOENT, TreeErrorKind::NotFound),
            (Errno::ACCESS, TreeErrorKind::Denied),
            (Errno::PERM, TreeErrorKind::Denied),
            (Errno::EXIST, TreeErrorKind::Conflict),
            (Errno::NOTDIR, TreeErrorKind::Conflict),
            (Errno::ISDIR, TreeErrorKind::Conflict),
            (Errno::NOTEMPTY, TreeErrorKind::Conflict),
            (Errno::NOSPC, TreeErrorKind::NoSpace),
            (Errno::DQUOT, TreeErrorKind::NoSpace),
            (Errno::IO, TreeErrorKind::Other),
        ] {
            assert_eq!(kind(errno), expected, "{errno}");
        }
    }
}
