//! [`Marks`]: what an inode says about where its data is, as an extended attribute.
//!
//! Two attributes, since neither does for everybody:
//!
//! - `trusted.posix-s3.hsm` is set, seen and removed by the superuser alone. It decides for whoever sees such attributes:
//!   a user who marks a file of his own with somebody else's object does not get that object's bytes.
//! - `user.posix-s3.hsm` is set by whoever may write the file. The superuser sets it as well, so that an ordinary user who
//!   exports knows that there is nothing to read; for one who cannot set the other it is all there is.

use super::super::{Data, Residence};
use super::sys::Stat;
use crate::released::{Released, TRUSTED_ATTRIBUTE, USER_ATTRIBUTE};
use rustix::fs::{SeekFrom, XattrFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest value: no key and `ETag` of S3 make a longer one.
const LONGEST: usize = 4096;

/// How marks are set and believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The caller sees and sets what only the superuser does, and believes nothing else.
    Superuser,
    /// The caller, or the file system, knows only of what whoever may write a file sets.
    Anybody,
}

/// The marks of a file system, as far as the caller sees them.
#[derive(Default)]
pub(super) struct Marks {
    trust: OnceLock<Trust>,
    /// The root is marked, and that is on the disk.
    on_root: AtomicBool,
}

impl Marks {
    #[cfg(test)]
    pub(super) fn with_trust(trust: Trust) -> Self {
        Self { trust: trust.into(), on_root: AtomicBool::new(false) }
    }

    fn trust(&self, fd: impl AsFd) -> Trust {
        /// Removing what was never there tells whether one may: the right to is asked for first.
        const PROBE: &str = "trusted.posix-s3.probe";
        *self.trust.get_or_init(|| match rustix::fs::fremovexattr(fd, PROBE) {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS) => Trust::Anybody,
            // Also where it cannot be told, since nothing can be written: what is not believed does no harm.
            _ => Trust::Superuser,
        })
    }

    /// Marks an inode that has no name yet, and that its owner may write.
    pub(super) fn set(&self, fd: impl AsFd, released: &Released) -> io::Result<()> {
        self.set_value(fd, &released.encode())
    }

    /// Marks the root of a tree as one in which there may be placeholders, and waits until that is on the disk.
    pub(super) fn set_on_root(&self, root: impl AsFd) -> io::Result<()> {
        if self.on_root.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !is_marked(&root)? {
            self.set_value(&root, b"placeholders")?;
        }
        rustix::fs::fsync(&root)?;
        self.on_root.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn set_value(&self, fd: impl AsFd, value: &[u8]) -> io::Result<()> {
        let set = |name: &str| rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty());
        if self.trust(&fd) == Trust::Superuser {
            set(TRUSTED_ATTRIBUTE)?;
            return match set(USER_ATTRIBUTE) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        Ok(set(USER_ATTRIBUTE)?)
    }

    /// Where the content of a file is.
    pub(super) fn residence(&self, fd: impl AsFd, stat: &Stat) -> io::Result<Residence> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let value = match read(&fd, TRUSTED_ATTRIBUTE)? {
            Some(value) => value,
            None if self.trust(&fd) == Trust::Superuser => {
                if !is_set(&fd, USER_ATTRIBUTE)? {
                    return Ok(Residence::Here);
                }
                let why = "it was marked by a user, who may have written anything, and not by the superuser";
                return Err(invalid(why.into()));
            }
            None => match read(&fd, USER_ATTRIBUTE)? {
                None => return Ok(Residence::Here),
                Some(value) => value,
            },
        };
        let released = Released::decode(&value)
            .map_err(|error| invalid(Box::<dyn std::error::Error + Send + Sync>::from(error)))?;
        let status = stat.status().map_err(|error| invalid(error.into()))?;
        Ok(Residence::of(released, &status, data(&fd)?))
    }
}

/// The value of an attribute; `None` where it is not set or cannot be seen.
fn read(fd: impl AsFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    // Hardly any file has one, and every file is asked.
    if !is_set(&fd, name)? {
        return Ok(None);
    }
    let mut value = Vec::with_capacity(LONGEST);
    match rustix::fs::fgetxattr(fd, name, rustix::buffer::spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(Errno::RANGE) => {
            let why = format!("its attribute \"{name}\" has more than {LONGEST} bytes, and is no mark");
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an attribute is set, whatever its value and however long that is.
fn is_set(fd: impl AsFd, name: &str) -> io::Result<bool> {
    let mut nothing: [u8; 0] = [];
    match rustix::fs::fgetxattr(fd, name, &mut nothing[..]) {
        Ok(_) | Err(Errno::RANGE) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a file is marked at all, whatever its mark says.
pub(super) fn is_marked(fd: impl AsFd) -> io::Result<bool> {
    Ok(is_set(&fd, TRUSTED_ATTRIBUTE)? || is_set(&fd, USER_ATTRIBUTE)?)
}

/// Whether a file holds any bytes. A file system that keeps no holes says that all do.
pub(super) fn data(fd: impl AsFd) -> io::Result<Data> {
    match rustix::fs::seek(fd, SeekFrom::Data(0)) {
        Ok(_) => Ok(Data::Some),
        Err(Errno::NXIO) => Ok(Data::None),
        Err(error) => Err(error.into()),
    }
}

/// The extended attributes and access lists that a new inode would not have. A label that the kernel gives to every new inode
/// is none.
pub(super) fn extras(fd: impl AsFd) -> io::Result<Vec<String>> {
    let mut names = Vec::with_capacity(1 << 16);
    match rustix::fs::flistxattr(fd, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let ours = [TRUSTED_ATTRIBUTE, USER_ATTRIBUTE];
    let given = |name: &str| name.is_empty() || ours.contains(&name) || name == "security.selinux";
    let names = names.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    Ok(names.map(|name| name.into_owned()).filter(|name| !given(name)).collect())
}

/// Gives a file an extended attribute of another.
pub(super) fn copy(name: &str, from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    // The longest that Linux keeps: XATTR_SIZE_MAX.
    let mut value = Vec::with_capacity(1 << 16);
    match rustix::fs::fgetxattr(from, name, rustix::buffer::spare_capacity(&mut value)) {
        Ok(_) => Ok(rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty())?),
        // It was removed meanwhile.
        Err(Errno::NODATA) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
