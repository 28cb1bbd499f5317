//! [`Whole`]: a small file that is written, brought to the disk and given its name on one thread, among others.
//!
//! Small files wait for the disk together anyway, on a thread of their own. What comes before and behind that is done there
//! as well, so that whoever fetches them goes on fetching.

use super::super::{Applied, Standing};
use super::staging::{StagedFile, Staging};
use super::sys::Name;
use super::{as_it_stands, set_attributes};
use crate::entry::Entry;
use bytes::Bytes;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest of them, in bytes.
pub(super) const LARGEST: u64 = 256 << 10;

/// All that a small file takes.
pub(super) struct Whole {
    pub(super) staging: Arc<Staging>,
    pub(super) pieces: Vec<Bytes>,
    pub(super) entry: Entry,
    pub(super) parent: Arc<OwnedFd>,
    pub(super) standing: Standing,
    pub(super) wanted: Wanted,
}

/// Whether a file is still wanted. It gets its name while that is held still: whoever gives it up knows from then on that it
/// gets none.
#[derive(Clone)]
pub(super) struct Wanted(Arc<Mutex<bool>>);

impl Wanted {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    /// Gives the file up when dropped.
    pub(super) fn hold(&self) -> Holding {
        Holding(self.clone())
    }

    fn if_wanted<T>(&self, then: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *wanted { then() } else { Err(io::Error::other("nobody wants it any more")) }
    }
}

/// Somebody who wants a file.
pub(super) struct Holding(Wanted);

impl Drop for Holding {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Whole {
    /// Writes it, with its attributes, under no name that anybody looks for.
    pub(super) fn staged(&self) -> io::Result<(StagedFile, Applied)> {
        // Most often it is; what is not is not worth the disk.
        let mut staged = self.wanted.if_wanted(|| self.staging.file())?;
        for piece in &self.pieces {
            staged.write(piece)?;
        }
        staged.end()?;
        let applied = set_attributes(staged.descriptor(), self.entry.attributes())?;
        Ok((staged, applied))
    }

    /// Gives it its name.
    pub(super) fn publish(self, mut staged: StagedFile, applied: Applied) -> io::Result<Applied> {
        let name = Name::last_of(self.entry.key())?;
        let now = self.wanted.if_wanted(|| staged.publish(&*self.parent, name, self.standing))?;
        Ok(as_it_stands(applied, &now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryKind;
    use crate::{Attributes, Gid, Key, Permissions, Timestamp, Uid};
    use std::fs::File;
    use std::path::Path;

    fn whole(root: &Path, wanted: &Wanted) -> Whole {
        let open = || -> OwnedFd { File::open(root).unwrap().into() };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let attributes = Attributes {
            permissions: Permissions::from_mode(0o640),
            uid: Uid::new(uid).unwrap(),
            gid: Gid::new(gid).unwrap(),
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
        };
        Whole {
            staging: Arc::new(Staging::new(Arc::new(open())).unwrap()),
            pieces: vec![Bytes::from_static(b"one "), Bytes::from_static(b"two")],
            entry: Entry::new(Key::parse("a").unwrap(), EntryKind::File { size: 7 }, attributes).unwrap(),
            parent: Arc::new(open()),
            standing: Standing::Nothing,
            wanted: wanted.clone(),
        }
    }

    #[test]
    fn it_is_whole_when_it_has_its_name() {
        let root = tempfile::tempdir().unwrap();
        let wanted = Wanted::new();
        let _holding = wanted.hold();
        let whole = whole(root.path(), &wanted);
        let (staged, applied) = whole.staged().unwrap();
        assert!(!root.path().join("a").exists());
        let applied = whole.publish(staged, applied).unwrap();
        let made = applied.made.unwrap();
        assert_eq!((made.size, made.attributes.mtime, applied.shortfalls), (7, Timestamp::EPOCH, vec![]));
        assert_eq!(std::fs::read(root.path().join("a")).unwrap(), b"one two");
    }

    #[test]
    fn what_was_given_up_gets_no_name() {
        let root = tempfile::tempdir().unwrap();
        let wanted = Wanted::new();
        let holding = wanted.hold();
        let whole = whole(root.path(), &wanted);
        let (staged, applied) = whole.staged().unwrap();
        drop(holding);
        assert!(whole.staged().is_err() && whole.publish(staged, applied).is_err());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
