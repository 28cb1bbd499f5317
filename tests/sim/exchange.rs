//! A placeholder and the file it stands for change places, as in `LocalTree`.

use super::inodes::{Ino, ROOT};
use super::staging::{Staged, keep_beside};
use super::sys::{Stat, Sys};
use posix_s3::tree::Around;
use posix_s3::{Key, Status};
use rustix::io::Errno;
use std::io;

pub(crate) enum Exchange {
    Done(Box<Exchanged>),
    Changed,
    Unsupported(Staged, io::Error),
}

pub(crate) struct Exchanged {
    sys: Sys,
    staged: Option<Staged>,
    parent: Ino,
    name: Vec<u8>,
    held: Option<Status>,
    placed: Status,
    pub(crate) made: Option<Stat>,
    pub(crate) around: Option<Around>,
}

impl Exchanged {
    pub(crate) fn begin(staged: Staged, parent: Ino, key: &Key, found: &Status) -> io::Result<Exchange> {
        let (sys, name) = (staged.staging.sys.clone(), key.name().as_bytes());
        let placed = staged.look()?.status().ok_or_else(|| io::Error::other("not a file"))?;
        let standing = sys.look_at(parent, name)?.status();
        if !standing.is_some_and(|standing| standing.is_same_version(found)) {
            return Ok(Exchange::Changed);
        }
        staged.note(&format!("{} {} {}", version(found), version(&placed), key.path()))?;
        let before = sys.look(parent);
        if let Err(error) = staged.exchange(parent, name) {
            if !staged.look().is_ok_and(|still| still.ino == placed.inode) {
                drop(staged.kept());
                return Err(error);
            }
            staged.forget_note();
            return match Errno::from_io_error(&error) {
                Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(Exchange::Unsupported(staged, error)),
                _ => Err(error),
            };
        }
        let around = before.and_then(|before| {
            Ok(Around { before: before.inode.meta.ctime, after: sys.look(parent)?.inode.meta.ctime })
        });
        let staged = staged.kept();
        let held = staged.look().ok().and_then(|held| held.status());
        let made = sys.look_at(parent, name).ok().filter(|made| made.ino == placed.inode);
        let (name, around) = (name.to_vec(), around.ok());
        Ok(Exchange::Done(Self { sys, staged: Some(staged), parent, name, held, placed, made, around }.into()))
    }

    /// Whether anybody has the old one open, and whether anybody does who may write.
    pub(crate) fn users(&self) -> io::Result<(bool, bool)> {
        let old = self.staged.as_ref().map(Staged::look).transpose()?;
        Ok(users(&self.sys, old.map(|old| old.ino)))
    }

    pub(crate) fn holds(&self, found: &Status) -> bool {
        let now = self.staged.as_ref().and_then(|staged| staged.look().ok()?.status());
        let (Some(now), Some(held)) = (now, self.held) else { return false };
        now.is_same_version(&held) && is_unchanged(found, &now)
    }

    pub(crate) fn let_go(&mut self) {
        if let Some(staged) = self.staged.take() {
            staged.discard();
        }
    }

    pub(crate) fn undo(&mut self) -> io::Result<Option<String>> {
        let Some(staged) = self.staged.take() else { return Ok(None) };
        if !self.change_back(&staged) {
            return staged.keep_beside(self.parent, &self.name).map(Some);
        }
        let now = staged.look()?;
        let untouched = now.status().is_some_and(|now| is_unchanged(&self.placed, &now));
        if untouched && !users(&self.sys, Some(now.ino)).1 {
            staged.discard();
            return Ok(None);
        }
        staged.keep_beside(self.parent, &self.name).map(Some)
    }

    fn change_back(&self, staged: &Staged) -> bool {
        let standing = self.sys.look_at(self.parent, &self.name).ok().and_then(|standing| standing.status());
        let is_placed = standing.is_some_and(|standing| match self.made.as_ref().and_then(Stat::status) {
            Some(made) => standing.is_same_version(&made),
            None => is_unchanged(&self.placed, &standing),
        });
        is_placed && staged.exchange(self.parent, &self.name).is_ok()
    }
}

impl Drop for Exchanged {
    fn drop(&mut self) {
        let _ = self.undo();
    }
}

/// Who has an inode open, and who may write to it.
pub(crate) fn users(sys: &Sys, ino: Option<Ino>) -> (bool, bool) {
    let (readers, writers) = ino.and_then(|ino| sys.disk().open.get(&ino).copied()).unwrap_or_default();
    (readers + writers > 0, writers > 0)
}

fn is_unchanged(before: &Status, now: &Status) -> bool {
    Status { ctime: now.ctime, ..*before }.is_same_version(now)
}

fn version(status: &Status) -> String {
    format!("{} {} {}", status.inode, status.size, status.attributes.mtime.nanoseconds())
}

/// Sees to a file that had changed places when a run was cut short.
pub(crate) fn recover(sys: &Sys, staging: Ino, name: &[u8], note: &[u8]) -> io::Result<()> {
    let now = match sys.look_at(staging, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        now => now?,
    };
    let note = String::from_utf8_lossy(note);
    let words: Vec<&str> = note.splitn(7, ' ').collect();
    if let Some(status) = now.status()
        && words.len() == 7
        && [words[..3].join(" "), words[3..6].join(" ")].contains(&version(&status))
        && !users(sys, Some(now.ino)).1
    {
        return sys.call(|disk| disk.unlink(staging, name));
    }
    let path = words.get(6).unwrap_or(&"file");
    let (around, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut parent = Ok(ROOT);
    for name in around.split('/').filter(|name| !name.is_empty()) {
        parent = parent.and_then(|parent| sys.open_directory(parent, name.as_bytes()));
    }
    keep_beside(sys, staging, name, parent.unwrap_or(ROOT), last.as_bytes()).map(drop)
}
