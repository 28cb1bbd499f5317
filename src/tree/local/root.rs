//! From a path to the root of a tree, past links that somebody has planted in it.

use super::sys::Name;
use crate::escape::excerpt;
use rustix::fs::{CWD, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a path cannot be opened as the root of a tree.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A link on the way belongs to somebody who is neither root nor this user.
    #[error("the link \"{link}\" on the way belongs to {uid}, and is not followed")]
    ForeignLink {
        /// Where the link stands, safe to print.
        link: Box<str>,
        /// Its owner.
        uid: u32,
    },
    /// The directory around a link on the way belongs to somebody else, or others may write to it: the link may have been put
    /// there by anybody.
    #[error("the link \"{link}\" on the way stands where others may put links, and is not followed")]
    UnsafeLink {
        /// Where the link stands, safe to print.
        link: Box<str>,
    },
    /// There are more links on the way than Linux follows.
    #[error("there are more than {MAX_LINKS} links on the way")]
    TooManyLinks,
    /// Something on the way cannot be opened, or is no directory.
    #[error("\"{component}\" cannot be opened")]
    Io {
        /// What cannot be opened, safe to print.
        component: Box<str>,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::ForeignLink { .. } | OpenError::UnsafeLink { .. } => io::ErrorKind::PermissionDenied,
            OpenError::TooManyLinks => io::ErrorKind::InvalidInput,
            OpenError::Io { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// Opens the directory of a path, one name at a time. A link is followed only if nobody but root and this user can have put
/// it there.
pub(super) fn open(path: &Path) -> Result<OwnedFd, OpenError> {
    let mut walk = Walk::begin(path)?;
    walk.push(path);
    let mut links = 0_usize;
    while let Some(component) = walk.rest.pop() {
        if component == ".." {
            walk.climb()?;
            continue;
        }
        let Some(target) = walk.descend(&component)? else { continue };
        links = links.saturating_add(1);
        if links > MAX_LINKS {
            return Err(OpenError::TooManyLinks);
        }
        if target.has_root() {
            walk.restart()?;
        }
        walk.push(&target);
    }
    rustix::fs::openat(&walk.at, ".", READ, Mode::empty()).map_err(|errno| unopened(&walk.shown, errno))
}

struct Walk {
    /// The directory that was reached.
    at: OwnedFd,
    /// Its path, to be shown.
    shown: PathBuf,
    /// The names that are still to come, the next one last.
    rest: Vec<OsString>,
}

impl Walk {
    fn begin(path: &Path) -> Result<Self, OpenError> {
        if path.as_os_str().is_empty() {
            return Err(unopened(path, Errno::NOENT));
        }
        let start = if path.has_root() { "/" } else { "." };
        let at = open_path(CWD, OsStr::new(start)).map_err(|errno| unopened(Path::new(start), errno))?;
        let shown = if path.has_root() { PathBuf::from("/") } else { PathBuf::new() };
        Ok(Self { at, shown, rest: Vec::new() })
    }

    fn restart(&mut self) -> Result<(), OpenError> {
        let Self { at, shown, .. } = Self::begin(Path::new("/"))?;
        (self.at, self.shown) = (at, shown);
        Ok(())
    }

    /// Puts the names of a path before those that are still to come.
    fn push(&mut self, path: &Path) {
        let names = path.as_os_str().as_bytes().split(|&byte| byte == b'/').rev();
        self.rest.extend(names.filter(|name| !matches!(*name, b"" | b".")).map(|name| OsStr::from_bytes(name).into()));
    }

    /// Goes to the directory above, as the kernel knows it: behind a link that is the one above its target.
    fn climb(&mut self) -> Result<(), OpenError> {
        self.shown.push("..");
        self.at = open_path(&self.at, OsStr::new("..")).map_err(|errno| unopened(&self.shown, errno))?;
        Ok(())
    }

    /// Goes into the directory of a name, or answers where the link leads that has it.
    fn descend(&mut self, name: &OsStr) -> Result<Option<PathBuf>, OpenError> {
        let shown = self.shown.join(name);
        let failed = |errno| unopened(&shown, errno);
        let name = Name::new(name.as_bytes()).ok_or_else(|| failed(Errno::INVAL))?;
        let name = OsStr::from_bytes(name.as_bytes());
        match open_path(&self.at, name) {
            Ok(directory) => {
                (self.at, self.shown) = (directory, shown);
                Ok(None)
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let link = rustix::fs::openat(&self.at, name, FLAGS, Mode::empty()).map_err(failed)?;
                let stat = rustix::fs::fstat(&link).map_err(failed)?;
                if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Symlink {
                    return Err(failed(Errno::NOTDIR));
                }
                let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                check_link(&shown, &stat, &rustix::fs::fstat(&self.at).map_err(failed)?, user)?;
                // Of the very link that was looked at.
                let target = rustix::fs::readlinkat(&link, "", Vec::new()).map_err(failed)?;
                Ok(Some(OsString::from_vec(target.into_bytes()).into()))
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FLAGS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory to go on from. Unlike without `O_DIRECTORY`, what is mounted when it is asked for is mounted.
fn open_path(directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, FLAGS.union(OFlags::DIRECTORY), Mode::empty())
}

/// Whether a link is one that only root or this user, given by its ids, can have put where it stands.
///
/// The owner alone does not tell: an import makes links that belong to whom an object says, and whoever has the directory may
/// move them. So the directory has to be theirs too, and others may write to it only where it is sticky, so that nobody moves
/// what belongs to others.
fn check_link(shown: &Path, link: &Stat, around: &Stat, (user, group): (u32, u32)) -> Result<(), OpenError> {
    let is_trusted = |uid: u32| uid == 0 || uid == user;
    let path = || excerpt(shown.as_os_str().as_bytes());
    if !is_trusted(link.st_uid) {
        return Err(OpenError::ForeignLink { link: path(), uid: link.st_uid });
    }
    // A group that is this user's own has nobody else in it, as a rule.
    let others = if [0, group].contains(&around.st_gid) { 0o002 } else { 0o022 };
    let is_shared = around.st_mode & others != 0;
    // In a sticky directory a second name of a link that is somewhere else could be put.
    let is_kept = around.st_mode & 0o1000 != 0 && link.st_nlink == 1;
    if !is_trusted(around.st_uid) || (is_shared && !is_kept) {
        return Err(OpenError::UnsafeLink { link: path() });
    }
    Ok(())
}

fn unopened(component: &Path, errno: Errno) -> OpenError {
    OpenError::Io { component: excerpt(component.as_os_str().as_bytes()), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    /// The verdict on a link of `uid` with `links` names, in a directory of `owner` with `mode`, for the user 1000 of the
    /// group 100.
    fn verdict(uid: u32, links: u8, owner: (u32, u32), mode: u32) -> &'static str {
        let directory = tempfile::tempdir().unwrap();
        let stat = rustix::fs::stat(directory.path()).unwrap();
        let (mut link, mut around) = (stat, stat);
        (link.st_uid, link.st_nlink) = (uid, links.into());
        (around.st_uid, around.st_gid, around.st_mode) = (owner.0, owner.1, 0o040_000 | mode);
        match check_link(Path::new("l"), &link, &around, (1000, 100)) {
            Ok(()) => "followed",
            Err(OpenError::ForeignLink { uid: found, .. }) if found == uid => "foreign",
            Err(OpenError::UnsafeLink { .. }) => "unsafe",
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_link_is_followed_only_where_nobody_else_can_have_put_it() {
        for trusted in [0, 1000] {
            for owner in [0, 1000] {
                assert_eq!(verdict(trusted, 1, (owner, 5), 0o755), "followed");
            }
            assert_eq!(verdict(trusted, 1, (7, 5), 0o755), "unsafe");
        }
        assert_eq!(verdict(7, 1, (0, 0), 0o755), "foreign");
        assert_eq!(verdict(7, 1, (7, 0), 0o755), "foreign");
    }

    #[test]
    fn others_who_may_write_around_a_link_make_it_unsafe_unless_the_directory_is_sticky() {
        assert_eq!(verdict(0, 1, (0, 0), 0o777), "unsafe");
        assert_eq!(verdict(0, 1, (0, 0), 0o1777), "followed");
        // Its second name may be one that somebody else made here.
        assert_eq!(verdict(0, 2, (0, 0), 0o1777), "unsafe");
        assert_eq!(verdict(0, 2, (0, 0), 0o755), "followed");
        // Sticky, and of somebody who may do anything in it.
        assert_eq!(verdict(0, 1, (7, 0), 0o1777), "unsafe");
    }

    #[test]
    fn a_group_that_is_ones_own_or_roots_may_write_and_another_may_not() {
        for group in [0, 100] {
            assert_eq!(verdict(0, 1, (0, group), 0o775), "followed");
            assert_eq!(verdict(0, 1, (0, group), 0o777), "unsafe");
        }
        assert_eq!(verdict(0, 1, (0, 5), 0o775), "unsafe");
        assert_eq!(verdict(0, 1, (0, 5), 0o757), "unsafe");
        assert_eq!(verdict(0, 1, (0, 5), 0o1775), "followed");
    }

    #[test]
    fn a_path_leads_where_the_kernel_would_go() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("c")).unwrap();
        fs::write(root.join("f"), "").unwrap();
        symlink("a/b", root.join("relative")).unwrap();
        symlink(root.join("a/b"), root.join("absolute")).unwrap();
        symlink("f", root.join("to-f")).unwrap();
        let inode = |path: &Path| rustix::fs::fstat(open(path).unwrap()).unwrap().st_ino;
        for path in ["a/b", "./a//b/", "c/../a/b", "relative", "absolute", "relative/../b", "absolute/../../c/../a/b"] {
            assert_eq!(inode(&root.join(path)), root.join("a/b").metadata().unwrap().ino(), "{path}");
        }
        assert_eq!(inode(Path::new("/")), fs::metadata("/").unwrap().ino());
        assert_eq!(inode(Path::new(".")), fs::metadata(".").unwrap().ino());
        let kind = |path: &Path| io::Error::from(open(path).unwrap_err()).kind();
        assert_eq!(kind(&root.join("f")), io::ErrorKind::NotADirectory);
        assert_eq!(kind(&root.join("to-f")), io::ErrorKind::NotADirectory);
        assert_eq!(kind(&root.join("none")), io::ErrorKind::NotFound);
        assert_eq!(kind(Path::new("")), io::ErrorKind::NotFound);
        let shown = open(&root.join("a/none")).unwrap_err().to_string();
        assert_eq!(shown, format!("\"{}\" cannot be opened", root.join("a/none").display()));
    }

    #[test]
    fn as_many_links_are_followed_as_linux_follows() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("l0")).unwrap();
        for link in 1..=41 {
            symlink(format!("l{}", link - 1), root.join(format!("l{link}"))).unwrap();
        }
        assert!(open(&root.join("l40")).is_ok());
        let refused = open(&root.join("l41")).unwrap_err();
        assert!(matches!(refused, OpenError::TooManyLinks), "{refused}");
        assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::InvalidInput);
        let refused = OpenError::UnsafeLink { link: "l".into() };
        assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::PermissionDenied);
    }
}
