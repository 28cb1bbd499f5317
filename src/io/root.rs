//! From a path to the directory that it names, past links that somebody has planted on the way.

use super::trust::{is_kept, is_trusted};
use crate::escape::excerpt;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a path cannot be opened as the root of a tree or bucket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenRootError {
    /// A link on the way belongs to somebody who is neither root nor this user.
    #[error("the link \"{link}\" on the way belongs to {uid}, and is not followed")]
    ForeignLink {
        /// Where the link stands, safe to print.
        link: Box<str>,
        /// Its owner.
        uid: u32,
    },
    /// A directory that was gone through before a link belongs to somebody else, or others may write to it: the link may have
    /// been put there by anybody.
    #[error("the link \"{link}\" on the way stands where others may put links, and is not followed")]
    UnsafeLink {
        /// Where the link stands, safe to print.
        link: Box<str>,
    },
    /// A directory that was gone through before a `..` belongs to somebody else, or others may write to it: what is above may
    /// be what anybody wants it to be.
    #[error("\"{path}\" leads to where others may have moved a directory, and is not followed")]
    UnsafeParent {
        /// The path up to the `..`, safe to print.
        path: Box<str>,
    },
    /// A link on the way is one of procfs, whose text does not tell where it leads. Whoever wants what it leads to opens that,
    /// and uses [`LocalTree::from_descriptor`](crate::tree::LocalTree::from_descriptor).
    #[error(
        "the link \"{link}\" on the way is one of procfs, and is not followed: expected a path, or for a tree an open directory (`LocalTree::from_descriptor`)"
    )]
    KernelLink {
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

/// Keeps the number of an error of the system, and not what could not be opened.
impl From<OpenRootError> for io::Error {
    fn from(error: OpenRootError) -> Self {
        match error {
            OpenRootError::Io { source, .. } => source,
            OpenRootError::TooManyLinks => Errno::LOOP.into(),
            OpenRootError::ForeignLink { .. }
            | OpenRootError::UnsafeLink { .. }
            | OpenRootError::UnsafeParent { .. }
            | OpenRootError::KernelLink { .. } => Self::new(io::ErrorKind::PermissionDenied, error),
        }
    }
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// What is done about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Fail,
    /// It is made, and is on the disk.
    Make,
}

/// Opens the directory of a path, one name at a time. A link or `..` is followed only if nobody but root and this user can
/// have made it lead where it does.
pub(crate) fn open(path: &Path, missing: Missing) -> Result<OwnedFd, OpenRootError> {
    let mut walk = Walk::begin(path)?;
    walk.push(path);
    let mut links = 0_usize;
    while let Some(component) = walk.rest.pop() {
        if component == ".." {
            walk.climb()?;
            continue;
        }
        let Some(target) = walk.descend(&component, missing)? else { continue };
        links = links.saturating_add(1);
        if links > MAX_LINKS {
            return Err(OpenRootError::TooManyLinks);
        }
        if target.has_root() {
            walk.restart()?;
        }
        walk.push(&target);
    }
    open_to_read(&walk.at).map_err(|errno| unopened(&walk.shown, errno))
}

struct Walk {
    /// The directory that was reached.
    at: OwnedFd,
    /// Who could have had it reached, or put what is in it.
    standing: Standing,
    /// Its path, to be shown.
    shown: PathBuf,
    /// The names that are still to come, the next one last.
    rest: Vec<OsString>,
}

/// Who may have decided what a walk finds from a directory on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Root and this user alone: theirs is every directory on the way, and nobody else may write to it.
    Kept,
    /// The same, but others may put names into the last one, which is sticky. What is theirs they cannot move, and a
    /// directory they cannot write to they cannot move to another; a link they can.
    Sticky,
    /// Anybody: somebody else may have moved what is from here on, whoever it belongs to.
    Anybodys,
}

impl Standing {
    /// What it is in the next directory.
    fn after(self, directory: &Stat) -> Self {
        let is_sticky = is_trusted(directory.st_uid) && directory.st_mode & 0o1000 != 0;
        match self {
            Self::Kept | Self::Sticky if is_kept(directory) => Self::Kept,
            Self::Kept if is_sticky => Self::Sticky,
            _ => Self::Anybodys,
        }
    }
}

impl Walk {
    fn begin(path: &Path) -> Result<Self, OpenRootError> {
        if path.as_os_str().is_empty() {
            return Err(unopened(path, Errno::NOENT));
        }
        let start = if path.has_root() { "/" } else { "." };
        let failed = |errno| unopened(Path::new(start), errno);
        let at = open_path(CWD, OsStr::new(start)).map_err(failed)?;
        let standing = Standing::Kept.after(&rustix::fs::fstat(&at).map_err(failed)?);
        let shown = if path.has_root() { PathBuf::from("/") } else { PathBuf::new() };
        Ok(Self { at, standing, shown, rest: Vec::new() })
    }

    /// Begins again at the top, and with what is known of it.
    fn restart(&mut self) -> Result<(), OpenRootError> {
        let Self { at, standing, shown, .. } = Self::begin(Path::new("/"))?;
        (self.at, self.standing, self.shown) = (at, standing, shown);
        Ok(())
    }

    /// Puts the names of a path before those that are still to come.
    fn push(&mut self, path: &Path) {
        let names = path.as_os_str().as_bytes().split(|&byte| byte == b'/').rev();
        self.rest.extend(names.filter(|name| !matches!(*name, b"" | b".")).map(|name| OsStr::from_bytes(name).into()));
    }

    /// Goes to the directory above, as the kernel knows it: behind a link that is the one above its target.
    fn climb(&mut self) -> Result<(), OpenRootError> {
        let shown = self.shown.join("..");
        if self.standing == Standing::Anybodys {
            return Err(OpenRootError::UnsafeParent { path: excerpt(shown.as_os_str().as_bytes()) });
        }
        let above = open_path(&self.at, OsStr::new("..")).map_err(|errno| unopened(&shown, errno))?;
        // Above a directory that is kept, or kept and sticky, is the one that it is kept in.
        self.enter(above, Standing::Kept, shown)
    }

    fn enter(&mut self, directory: OwnedFd, before: Standing, shown: PathBuf) -> Result<(), OpenRootError> {
        self.standing = before.after(&rustix::fs::fstat(&directory).map_err(|errno| unopened(&shown, errno))?);
        (self.at, self.shown) = (directory, shown);
        Ok(())
    }

    /// Goes into the directory of a name, or answers where the link leads that has it.
    fn descend(&mut self, name: &OsStr, missing: Missing) -> Result<Option<PathBuf>, OpenRootError> {
        let shown = self.shown.join(name);
        let failed = |errno| unopened(&shown, errno);
        let found = match open_path(&self.at, name) {
            Err(Errno::NOENT) if missing == Missing::Make => {
                make(&self.at, name).map_err(failed)?;
                open_path(&self.at, name)
            }
            found => found,
        };
        match found {
            Ok(directory) => self.enter(directory, self.standing, shown).map(|()| None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let link = rustix::fs::openat(&self.at, name, FLAGS, Mode::empty()).map_err(failed)?;
                let stat = rustix::fs::fstat(&link).map_err(failed)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return Err(failed(Errno::NOTDIR));
                }
                let path = || excerpt(shown.as_os_str().as_bytes());
                if rustix::fs::fstatfs(&link).map_err(failed)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
                    return Err(OpenRootError::KernelLink { link: path() });
                }
                // The owner alone does not tell who put it there: an import makes links that belong to whom an object says,
                // and whoever has a directory on the way may move them, and what they are in.
                if !is_trusted(stat.st_uid) {
                    return Err(OpenRootError::ForeignLink { link: path(), uid: stat.st_uid });
                }
                if self.standing != Standing::Kept {
                    return Err(OpenRootError::UnsafeLink { link: path() });
                }
                // Of the very link that was looked at.
                let target = rustix::fs::readlinkat(&link, "", Vec::new()).map_err(failed)?;
                Ok(Some(OsString::from_vec(target.into_bytes()).into()))
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

const FLAGS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory to go on from. Unlike without `O_DIRECTORY`, what is mounted when it is asked for is mounted.
fn open_path(directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, FLAGS | OFlags::DIRECTORY, Mode::empty())
}

fn open_to_read(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a directory that others cannot write to, whatever the umask is, and brings its name to the disk.
fn make(directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
        // Somebody else was faster; what it is shows when it is opened.
        Err(Errno::EXIST) => return Ok(()),
        other => other?,
    }
    match open_to_read(directory) {
        Ok(directory) => rustix::fs::fsync(directory),
        // It may be written to and not read, and then no name in it is synced.
        Err(Errno::ACCESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn unopened(component: &Path, errno: Errno) -> OpenRootError {
    let component = match component.as_os_str().as_bytes() {
        b"" => b".",
        shown => shown,
    };
    OpenRootError::Io { component: excerpt(component), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

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
        let inode = |path: &Path| rustix::fs::fstat(open(path, Missing::Fail).unwrap()).unwrap().st_ino;
        for path in ["a/b", "./a//b/", "c/../a/b", "relative", "absolute", "relative/../b", "absolute/../../c/../a/b"] {
            assert_eq!(inode(&root.join(path)), root.join("a/b").metadata().unwrap().ino(), "{path}");
        }
        assert_eq!(inode(Path::new("/")), fs::metadata("/").unwrap().ino());
        assert_eq!(inode(Path::new(".")), fs::metadata(".").unwrap().ino());
        let kind = |path: &Path| io::Error::from(open(path, Missing::Fail).unwrap_err()).kind();
        assert_eq!(kind(&root.join("f")), io::ErrorKind::NotADirectory);
        assert_eq!(kind(&root.join("to-f")), io::ErrorKind::NotADirectory);
        assert_eq!(kind(&root.join("none")), io::ErrorKind::NotFound);
        assert_eq!(kind(Path::new("")), io::ErrorKind::NotFound);
        let shown = open(&root.join("a/none"), Missing::Fail).unwrap_err().to_string();
        assert_eq!(shown, format!("\"{}\" cannot be opened", root.join("a/none").display()));
    }

    #[test]
    fn what_is_missing_is_made_for_its_owner_to_write_to_and_only_if_that_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let way = root.join("a/b");
        assert!(matches!(open(&way, Missing::Fail), Err(OpenRootError::Io { .. })) && !root.join("a").exists());
        let made = rustix::fs::fstat(open(&way, Missing::Make).unwrap()).unwrap();
        assert_eq!((made.st_ino, made.st_mode & 0o7022), (way.metadata().unwrap().ino(), 0));
        assert_eq!(rustix::fs::fstat(open(&way, Missing::Make).unwrap()).unwrap().st_ino, made.st_ino);
        fs::write(root.join("f"), "").unwrap();
        assert_eq!(
            io::Error::from(open(&root.join("f/b"), Missing::Make).unwrap_err()).kind(),
            io::ErrorKind::NotADirectory
        );
    }

    #[test]
    fn who_may_have_decided_what_is_found_is_known_from_the_directories_gone_through() {
        use Standing::{Anybodys, Kept, Sticky};
        let user = rustix::process::geteuid().as_raw();
        let mut directory = rustix::fs::stat("/").unwrap();
        for (uid, mode, after) in [
            (0, 0o755, [Kept, Kept, Anybodys]),
            (user, 0o1700, [Kept, Kept, Anybodys]),
            (user, 0o1777, [Sticky, Anybodys, Anybodys]),
            (0, 0o777, [Anybodys; 3]),
            (user + 1, 0o755, [Anybodys; 3]),
            (user + 1, 0o1777, [Anybodys; 3]),
        ] {
            (directory.st_uid, directory.st_mode) = (uid, 0o40000 | mode);
            let standings = [Kept, Sticky, Anybodys].map(|before| before.after(&directory));
            assert!(standings == after, "{uid} {mode:o}");
        }
    }

    #[test]
    fn as_many_links_are_followed_as_linux_follows() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("l0")).unwrap();
        for link in 1..=41 {
            symlink(format!("l{}", link - 1), root.join(format!("l{link}"))).unwrap();
        }
        assert!(open(&root.join("l40"), Missing::Fail).is_ok());
        let refused = open(&root.join("l41"), Missing::Fail).unwrap_err();
        assert!(matches!(refused, OpenRootError::TooManyLinks), "{refused}");
        assert_eq!(io::Error::from(refused).raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }
}
