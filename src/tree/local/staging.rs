//! The private directory in which new files and links grow until they are renamed into place.

use super::super::{Applied, Shortfall, Standing};
use super::sys::{self, Name, Stat};
use crate::io::SparseFile;
use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::status::Status;
use crate::symlink::SymlinkTarget;
use rustix::fs::FlockOperation;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the name of every staging directory starts with. Names that do are neither exported nor imported.
const PREFIX: &str = ".posix-s3-staging-";

/// Whether a name directly below the root is kept for staging.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// A directory in the root: 0700, ours, without access-control lists, on the same file system.
///
/// It is locked as long as it is in use, so that one a crash left behind can be told from one at work.
pub(super) struct Staging {
    root: Arc<OwnedFd>,
    name: String,
    directory: OwnedFd,
    files: AtomicU64,
}

impl Staging {
    pub(super) fn new(root: Arc<OwnedFd>) -> io::Result<Self> {
        remove_leftovers(&root)?;
        loop {
            let name = random_name()?;
            sys::create_directory(&root, checked(&name)?)?;
            match Self::take(&root, &name) {
                Ok(directory) => return Ok(Self { root, name, directory, files: AtomicU64::new(0) }),
                // Before it was locked, another run took it for a leftover.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens, locks and marks the directory just made, unless somebody has put another in its place.
    fn take(root: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        let directory = sys::open_directory(root, checked(name)?)?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        let look = sys::look(&directory)?;
        if look.fingerprint().links == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !is_ours(&look) || !sys::names(&directory)?.is_empty() {
            return Err(io::Error::other("the staging directory was exchanged while it was made"));
        }
        sys::change_permissions(&directory, Permissions::from_mode(0o700))?;
        sys::remove_inherited_lists(&directory)?;
        sys::create_file(&directory, checked(MARKER)?)?;
        Ok(directory)
    }

    /// Starts a new file.
    pub(super) fn file(self: &Arc<Self>) -> io::Result<StagedFile> {
        let name = self.next_name();
        let file = sys::create_file(&self.directory, checked(&name)?)?;
        let staged = Staged { staging: Arc::clone(self), name, published: false };
        let look = sys::look(&file)?;
        if look.file_type() != Some(FileType::File) || look.fingerprint().links != 1 {
            return Err(io::Error::other("the staged file was exchanged while it was made"));
        }
        Ok(StagedFile { staged, file: SparseFile::new(file.into()) })
    }

    /// Makes a new link.
    pub(super) fn symlink(self: &Arc<Self>, target: &SymlinkTarget) -> io::Result<Staged> {
        let name = self.next_name();
        sys::create_symlink(&self.directory, checked(&name)?, target.as_bytes())?;
        Ok(Staged { staging: Arc::clone(self), name, published: false })
    }

    /// Makes a new directory, open to the caller alone and without access-control lists.
    pub(super) fn directory(self: &Arc<Self>) -> io::Result<Staged> {
        let name = self.next_name();
        sys::create_directory(&self.directory, checked(&name)?)?;
        let staged = Staged { staging: Arc::clone(self), name, published: false };
        let made = sys::open_directory(&self.directory, checked(&staged.name)?)?;
        // Not set-group-ID after the staging directory, whatever that inherited.
        sys::change_permissions(&made, Permissions::from_mode(0o700))?;
        sys::remove_inherited_lists(&made)?;
        Ok(staged)
    }

    fn next_name(&self) -> String {
        self.files.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Removes the directory, in which nothing but the marker is left once every staged file is published or dropped.
    pub(super) fn remove(&self) -> io::Result<()> {
        match sys::remove(&self.directory, checked(MARKER)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sys::remove_directory(&self.root, checked(&self.name)?),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A run that was cut short in a process that goes on leaves nothing; after `remove` there is nothing to do.
        let _ = self.remove();
    }
}

fn random_name() -> io::Result<String> {
    let mut random = [0_u8; 16];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let mut name = String::from(PREFIX);
    for byte in random {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}

fn checked(name: &str) -> io::Result<Name<'_>> {
    Name::new(name.as_bytes()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Removes staging directories that a crash left behind: named so, ours, with our marker, and locked by nobody.
///
/// Without the marker it may be anybody's directory that was given the name, and goes only if it is empty. What cannot be
/// removed stays, and so does the whole.
fn remove_leftovers(root: impl AsFd) -> io::Result<()> {
    for name in sys::names(&root)? {
        let Some(name) = Name::new(&name).filter(|name| is_staging(name.as_bytes())) else { continue };
        let Ok(directory) = sys::open_directory(&root, name) else { continue };
        let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !locked || !is_ours(&sys::look(&directory)?) {
            continue;
        }
        let marker = sys::look_at(&directory, checked(MARKER)?).ok().filter(is_marker);
        if marker.is_some() {
            for staged in sys::names(&directory)?.into_iter().filter(|staged| **staged != *MARKER.as_bytes()) {
                let Some(staged) = Name::new(&staged) else { continue };
                if sys::remove(&directory, staged).is_err() {
                    let _ = sys::remove_directory(&directory, staged);
                }
            }
            // Last, so that a removal that is cut short can be gone on with.
            let _ = sys::remove(&directory, checked(MARKER)?);
        }
        let _ = sys::remove_directory(&root, name);
    }
    Ok(())
}

/// The file that shows that a directory was made for staging.
const MARKER: &str = "posix-s3-staging";

/// Made by this user for nobody else; set-group-ID is inherited from the root.
fn is_ours(look: &Stat) -> bool {
    look.ids().0 == rustix::process::geteuid().as_raw() && look.permissions().without(0o2700).bits() == 0
}

fn is_marker(look: &Stat) -> bool {
    let ours = look.ids().0 == rustix::process::geteuid().as_raw();
    ours && look.file_type() == Some(FileType::File) && look.size() == 0 && look.fingerprint().links == 1
}

/// Whether a name is one that [`random_name`] makes.
fn is_staging(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// A file or link that is not yet in place; dropped before, it is gone.
pub(super) struct Staged {
    staging: Arc<Staging>,
    name: String,
    /// It has its own name now, and there is nothing of this one.
    published: bool,
}

impl Staged {
    /// Moves it to its name and makes sure that it is what the name shows.
    pub(super) fn publish(&mut self, parent: impl AsFd, name: Name<'_>, standing: Standing) -> io::Result<Stat> {
        let staged = checked(&self.name)?;
        let before = sys::look_at(&self.staging.directory, staged)?;
        match standing {
            Standing::Nothing => sys::rename_new(&self.staging.directory, staged, &parent, name)?,
            Standing::Replaceable => sys::rename(&self.staging.directory, staged, &parent, name)?,
            Standing::Version(version) => {
                let standing = sys::look_at(&parent, name)?.status();
                if !standing.is_ok_and(|standing| standing.is_same_version(&version)) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                sys::rename(&self.staging.directory, staged, &parent, name)?;
            }
        }
        self.published = true;
        let after = sys::look_at(&parent, name)?;
        if after.fingerprint().inode != before.fingerprint().inode {
            return Err(io::Error::other("the name was taken by somebody else at once"));
        }
        Ok(after)
    }

    /// Changes places with a file, if that is the version that was found; `None` if it is not. Answers what has the name now.
    pub(super) fn exchange(&self, parent: impl AsFd, name: Name<'_>, found: &Status) -> io::Result<Option<Stat>> {
        let staged = checked(&self.name)?;
        let standing = sys::look_at(&parent, name)?.status();
        if !standing.is_ok_and(|standing| standing.is_same_version(found)) {
            return Ok(None);
        }
        sys::exchange(&self.staging.directory, staged, &parent, name)?;
        sys::look_at(&parent, name).map(Some)
    }

    /// Whether what is staged now is a file that was found under its own name, and nobody has written to it. Changing
    /// places has moved its ctime.
    pub(super) fn holds(&self, found: &Status) -> bool {
        let now = checked(&self.name).and_then(|name| sys::look_at(&self.staging.directory, name));
        now.ok()
            .and_then(|now| now.status().ok())
            .is_some_and(|now| Status { ctime: now.ctime, ..*found }.is_same_version(&now))
    }

    /// Changes back, if what has the name is still what came there; what was written to it would be lost.
    pub(super) fn exchange_back(&self, parent: impl AsFd, name: Name<'_>, placed: &Status) -> io::Result<bool> {
        let standing = sys::look_at(&parent, name)?.status();
        if !standing.is_ok_and(|standing| standing.is_same_version(placed)) {
            return Ok(false);
        }
        sys::exchange(&self.staging.directory, checked(&self.name)?, &parent, name)?;
        Ok(true)
    }

    /// Moves it to a name that must not be taken.
    pub(super) fn keep_as(mut self, parent: impl AsFd, name: Name<'_>) -> io::Result<()> {
        // Whatever comes of it, it is not removed here.
        self.published = true;
        sys::rename_new(&self.staging.directory, checked(&self.name)?, &parent, name)
    }

    /// The end of the path that it has in the file system.
    pub(super) fn path(&self) -> Vec<u8> {
        format!("/{}/{}", self.staging.name, self.name).into_bytes()
    }

    /// Sets the attributes of a directory.
    pub(super) fn set_directory_attributes(&self, attributes: &Attributes) -> io::Result<Applied> {
        let directory = sys::open_directory(&self.staging.directory, checked(&self.name)?)?;
        super::set_attributes(directory, attributes)
    }

    /// Sets owner and times of a link. Its permissions mean nothing to Linux and are never set.
    pub(super) fn set_link_attributes(&self, attributes: &Attributes) -> io::Result<Applied> {
        let (directory, name) = (&self.staging.directory, checked(&self.name)?);
        let mut shortfalls = Vec::new();
        if !sys::change_owner_of_link(directory, name, attributes.uid, attributes.gid)? {
            shortfalls.push(Shortfall::Owner { uid: attributes.uid, gid: attributes.gid });
        }
        sys::change_times_of_link(directory, name, attributes)?;
        let kept = sys::look_at(directory, name)?;
        if kept.mtime() != attributes.mtime {
            shortfalls.push(Shortfall::Mtime { wanted: attributes.mtime, kept: kept.mtime() });
        }
        Ok(Applied { shortfalls, ..Applied::default() })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Ok(name) = checked(&self.name) {
            // A directory is removed as one.
            if sys::remove(&self.staging.directory, name).is_err() {
                let _ = sys::remove_directory(&self.staging.directory, name);
            }
        }
    }
}

/// A file that is being written.
pub(super) struct StagedFile {
    staged: Staged,
    file: SparseFile,
}

impl StagedFile {
    /// Appends a piece.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write(piece)
    }

    /// How many bytes were written.
    pub(super) const fn length(&self) -> u64 {
        self.file.length()
    }

    /// Ends the writing; attributes come after it.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.file.end().map(|_| ())
    }

    /// Closes it, and leaves it staged.
    pub(super) fn into_staged(self) -> Staged {
        self.staged
    }

    pub(super) const fn descriptor(&self) -> &File {
        self.file.file()
    }

    /// Brings the file to the disk. After an error it must be thrown away: what was lost is not known.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.descriptor().sync_all()
    }

    /// Moves it to its name.
    pub(super) fn publish(&mut self, parent: impl AsFd, name: Name<'_>, standing: Standing) -> io::Result<Stat> {
        self.staged.publish(parent, name, standing)
    }
}
