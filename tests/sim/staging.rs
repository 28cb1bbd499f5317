//! Where files, links and directories of a [`SimTree`](super::tree::SimTree) grow, step by step as those of `LocalTree` do.

use super::disk::{Make, Move};
use super::inodes::{Ino, ROOT};
use super::sys::{Stat, Sys};
use super::tree::set_attributes;
use posix_s3::tree::{Applied, Shortfall, Standing};
use posix_s3::{Attributes, FileType, SymlinkTarget};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = ".posix-s3-staging-";
const MARKER: &[u8] = b"posix-s3-staging";
const NOTE: &str = ".exchanged";

pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

pub(crate) struct Staging {
    pub(crate) sys: Sys,
    name: String,
    pub(crate) directory: Ino,
    files: AtomicU64,
}

impl Staging {
    pub(crate) fn new(sys: &Sys) -> io::Result<Self> {
        remove_leftovers(sys)?;
        let name = {
            let mut disk = sys.disk();
            format!("{PREFIX}{:016x}{:016x}", disk.random(), disk.random())
        };
        sys.call(|disk| disk.make(ROOT, name.as_bytes(), &Make::Directory { permissions: 0o700 }))?;
        let directory = sys.open_directory(ROOT, name.as_bytes())?;
        sys.disk().locked.insert(directory);
        let take = || {
            sys.look(directory)?;
            sys.names(directory)?;
            sys.call(|disk| disk.chmod(directory, 0o700))?;
            sys.call(|disk| disk.remove_lists(directory))?;
            sys.call(|disk| disk.make(directory, MARKER, &Make::File { permissions: 0o600 }))
        };
        if let Err(error) = take() {
            // The lock goes with the descriptor.
            sys.disk().locked.remove(&directory);
            return Err(error);
        }
        Ok(Self { sys: sys.clone(), name, directory, files: AtomicU64::new(0) })
    }

    pub(crate) fn file(self: &Arc<Self>) -> io::Result<(Staged, Ino)> {
        let name = self.next_name();
        let make = Make::File { permissions: 0o600 };
        let file = self.sys.call(|disk| disk.make(self.directory, name.as_bytes(), &make))?;
        let staged = Staged { staging: Arc::clone(self), name, published: false };
        self.sys.look(file)?;
        Ok((staged, file))
    }

    pub(crate) fn symlink(self: &Arc<Self>, target: &SymlinkTarget) -> io::Result<Staged> {
        let name = self.next_name();
        let make = Make::Symlink { target: target.as_bytes() };
        self.sys.call(|disk| disk.make(self.directory, name.as_bytes(), &make))?;
        Ok(Staged { staging: Arc::clone(self), name, published: false })
    }

    pub(crate) fn directory(self: &Arc<Self>) -> io::Result<Staged> {
        let name = self.next_name();
        let make = Make::Directory { permissions: 0o700 };
        self.sys.call(|disk| disk.make(self.directory, name.as_bytes(), &make))?;
        let staged = Staged { staging: Arc::clone(self), name, published: false };
        let made = self.sys.open_directory(self.directory, staged.name.as_bytes())?;
        self.sys.call(|disk| disk.chmod(made, 0o700))?;
        self.sys.call(|disk| disk.remove_lists(made))?;
        Ok(staged)
    }

    fn next_name(&self) -> String {
        self.files.fetch_add(1, Ordering::Relaxed).to_string()
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        let names = self.sys.names(self.directory)?;
        if names.iter().any(|name| name.ends_with(NOTE.as_bytes())) {
            return Ok(());
        }
        for name in names.iter().filter(|name| ***name != *MARKER) {
            let unlinked = self.sys.call(|disk| disk.unlink(self.directory, name));
            unlinked.or_else(|_| self.sys.call(|disk| disk.rmdir(self.directory, name)))?;
        }
        match self.sys.call(|disk| disk.unlink(self.directory, MARKER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sys.call(|disk| disk.rmdir(ROOT, self.name.as_bytes())),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.remove();
        self.sys.disk().locked.remove(&self.directory);
    }
}

pub(crate) fn is_staging(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}

fn remove_leftovers(sys: &Sys) -> io::Result<()> {
    for name in sys.names(ROOT)?.into_iter().filter(|name| is_staging(name)) {
        let Ok(directory) = sys.open_directory(ROOT, &name) else { continue };
        if sys.disk().locked.contains(&directory) {
            continue;
        }
        let meta = sys.look(directory)?.inode.meta.clone();
        if meta.uid != 0 || meta.permissions & !0o2700 != 0 {
            continue;
        }
        let marker = sys.look_at(directory, MARKER).ok().filter(|marker| {
            let Stat { inode, .. } = marker;
            let is_file = inode.file_type() == FileType::File;
            inode.meta.uid == 0 && is_file && inode.size() == 0 && inode.links == 1
        });
        if marker.is_some() {
            if recover_all(sys, directory).is_err() {
                continue;
            }
            for staged in sys.names(directory)?.into_iter().filter(|staged| **staged != *MARKER) {
                if sys.call(|disk| disk.unlink(directory, &staged)).is_err() {
                    let _ = sys.call(|disk| disk.rmdir(directory, &staged));
                }
            }
            let _ = sys.call(|disk| disk.unlink(directory, MARKER));
        }
        let _ = sys.call(|disk| disk.rmdir(ROOT, &name));
    }
    Ok(())
}

fn recover_all(sys: &Sys, directory: Ino) -> io::Result<()> {
    for note_name in sys.names(directory)? {
        let Some(file) = note_name.strip_suffix(NOTE.as_bytes()) else { continue };
        let note = sys.look_at(directory, &note_name)?;
        let text = sys.call(|disk| disk.read_link(note.ino)).unwrap_or_default();
        super::exchange::recover(sys, directory, file, &text)?;
        sys.call(|disk| disk.unlink(directory, &note_name))?;
    }
    Ok(())
}

/// Something that is not yet in place; dropped before, it is gone.
pub(crate) struct Staged {
    pub(crate) staging: Arc<Staging>,
    pub(crate) name: String,
    published: bool,
}

impl Staged {
    fn sys(&self) -> &Sys {
        &self.staging.sys
    }

    pub(crate) fn publish(&mut self, parent: Ino, name: &[u8], standing: Standing) -> io::Result<Stat> {
        let (sys, staged, from) = (self.sys(), self.name.as_bytes(), self.staging.directory);
        sys.look_at(from, staged)?;
        let how = match standing {
            Standing::Nothing => Move::New,
            Standing::Replaceable => Move::Replace,
            Standing::Version(version) => {
                let standing = sys.look_at(parent, name)?;
                if !standing.status().is_some_and(|standing| standing.is_same_version(&version)) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Move::Replace
            }
        };
        sys.call(|disk| disk.rename(from, staged, parent, name, how))?;
        self.published = true;
        self.sys().look_at(parent, name)
    }

    pub(crate) fn look(&self) -> io::Result<Stat> {
        self.sys().look_at(self.staging.directory, self.name.as_bytes())
    }

    pub(crate) fn exchange(&self, parent: Ino, name: &[u8]) -> io::Result<()> {
        self.sys().call(|disk| disk.rename(self.staging.directory, self.name.as_bytes(), parent, name, Move::Exchange))
    }

    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        let (name, make) = (self.note_name(), Make::Symlink { target: text.as_bytes() });
        self.sys().call(|disk| disk.make(self.staging.directory, name.as_bytes(), &make)).map(drop)
    }

    pub(crate) fn forget_note(&self) {
        let name = self.note_name();
        let _ = self.sys().call(|disk| disk.unlink(self.staging.directory, name.as_bytes()));
    }

    fn note_name(&self) -> String {
        format!("{}{NOTE}", self.name)
    }

    pub(crate) fn kept(mut self) -> Self {
        self.published = true;
        self
    }

    pub(crate) fn discard(mut self) {
        self.published = true;
        if self.sys().call(|disk| disk.unlink(self.staging.directory, self.name.as_bytes())).is_ok() {
            self.forget_note();
        }
    }

    pub(crate) fn keep_beside(self, parent: Ino, name: &[u8]) -> io::Result<String> {
        let staged = self.kept();
        let kept = keep_beside(staged.sys(), staged.staging.directory, staged.name.as_bytes(), parent, name)?;
        staged.forget_note();
        Ok(kept)
    }

    pub(crate) fn set_directory_attributes(&self, attributes: &Attributes) -> io::Result<Applied> {
        let directory = self.sys().open_directory(self.staging.directory, self.name.as_bytes())?;
        set_attributes(self.sys(), directory, attributes)
    }

    pub(crate) fn set_link_attributes(&self, attributes: &Attributes) -> io::Result<Applied> {
        let (sys, link) = (self.sys(), self.look()?.ino);
        let mut shortfalls = Vec::new();
        let (uid, gid) = (attributes.uid, attributes.gid);
        match sys.call(|disk| disk.chown(link, Some(uid.get()), Some(gid.get()))) {
            Ok(()) => {}
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::INVAL)) => {
                let _ = sys.call(|disk| disk.chown(link, None, Some(gid.get())));
                shortfalls.push(Shortfall::Owner { uid, gid });
            }
            Err(error) => return Err(error),
        }
        sys.call(|disk| disk.set_times(link, attributes.atime, attributes.mtime))?;
        let kept = sys.look(link)?.inode.meta.mtime;
        if kept != attributes.mtime {
            shortfalls.push(Shortfall::Mtime { wanted: attributes.mtime, kept });
        }
        Ok(Applied { shortfalls, ..Applied::default() })
    }
}

pub(crate) fn keep_beside(sys: &Sys, staging: Ino, staged: &[u8], parent: Ino, name: &[u8]) -> io::Result<String> {
    let mtime = sys.look_at(staging, staged)?.inode.meta.mtime.nanoseconds();
    let mut failed = io::Error::from(io::ErrorKind::AlreadyExists);
    for directory in [parent, ROOT] {
        for number in 0..1000 {
            let number = if number == 0 { String::new() } else { format!("-{number}") };
            let end = format!(".local-{mtime}{number}");
            let mut beside = String::from_utf8_lossy(name).into_owned();
            while beside.len() + end.len() > 255 && beside.pop().is_some() {}
            beside += &end;
            match sys.call(|disk| disk.rename(staging, staged, directory, beside.as_bytes(), Move::New)) {
                Ok(()) => return Ok(beside),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    failed = error;
                    break;
                }
            }
        }
    }
    Err(failed)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let (sys, directory, name) = (self.sys(), self.staging.directory, self.name.as_bytes());
        if sys.call(|disk| disk.unlink(directory, name)).is_err() {
            let _ = sys.call(|disk| disk.rmdir(directory, name));
        }
    }
}
