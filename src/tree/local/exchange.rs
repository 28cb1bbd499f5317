//! [`Exchanged`]: an old file and a new one that have changed places, until it is known that nobody needs the old one.
//!
//! From then on nobody can come to the old inode any more, which is in the staging directory, so that who has it open then is
//! all who ever will. Two rules:
//!
//! 1. *No inode is removed that anybody may have written to.* If it cannot get its name back, it gets one beside.
//! 2. *That holds after a crash as well.* A note is made before they change places, by which the next run goes.

use super::Around;
use super::staging::{Staged, keep_beside};
use super::sys::{self, Name, Stat};
use super::users::{self, Asked};
use crate::key::Key;
use crate::status::Status;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What has come of trying to change places.
pub(super) enum Exchange<'r> {
    Done(Box<Exchanged<'r>>),
    /// What has the name is another version than was found.
    Changed,
    /// The file system cannot do that. What was staged still is.
    Unsupported(Staged, io::Error),
}

/// An old file that is staged, and a new one that has its name. They change back unless the old one is let go: also when
/// whoever waits for it to be looked at is dropped.
pub(super) struct Exchanged<'r> {
    /// The old one.
    staged: Option<Staged>,
    parent: &'r OwnedFd,
    name: Name<'r>,
    /// The old one as it was right after.
    held: Option<Status>,
    /// The new one as it was before.
    placed: Status,
    /// The new one as it was right after, if it still had the name.
    made: Option<Stat>,
    around: Option<Around>,
}

impl<'r> Exchanged<'r> {
    /// Has a new file change places with the one that was found, if that still has the name.
    pub(super) fn begin(staged: Staged, parent: &'r OwnedFd, key: &'r Key, found: &Status) -> io::Result<Exchange<'r>> {
        let name = Name::last_of(key)?;
        let placed = staged.look()?.status().map_err(io::Error::other)?;
        let standing = sys::look_at(parent, name)?.status();
        if !standing.is_ok_and(|standing| standing.is_same_version(found)) {
            return Ok(Exchange::Changed);
        }
        staged.note(&Note { old: Version::of(found), new: Version::of(&placed), path: key.path().to_owned() })?;
        let one_at_a_time = staged.one_exchange();
        let before = sys::look(parent);
        if let Err(error) = staged.exchange(parent, name) {
            drop(one_at_a_time);
            if !staged.look().is_ok_and(|still| still.fingerprint().inode == placed.inode) {
                // It may have been done all the same. The next run sees to it, by the note.
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
            let after = sys::look(parent)?;
            Ok(Around { before: before.fingerprint().ctime, after: after.fingerprint().ctime })
        });
        drop(one_at_a_time);
        let staged = staged.kept();
        // Nothing below may fail: from here on there is something to undo.
        let held = staged.look().ok().and_then(|held| held.status().ok());
        let made = sys::look_at(parent, name).ok().filter(|made| made.fingerprint().inode == placed.inode);
        let around = around.ok();
        Ok(Exchange::Done(Self { staged: Some(staged), parent, name, held, placed, made, around }.into()))
    }

    /// The old one, as its users are asked for.
    pub(super) fn asked(&self) -> Asked {
        Asked { path: self.staged.as_ref().map(Staged::path).unwrap_or_default(), inode: None }
    }

    /// The new one as it came to the name; `None` if somebody took it from there at once.
    pub(super) const fn made(&self) -> Option<&Stat> {
        self.made.as_ref()
    }

    /// The directory around.
    pub(super) const fn around(&self) -> Option<Around> {
        self.around
    }

    /// Whether the old one is what was found under the name, and nobody has done anything to it since. Changing places has
    /// moved its ctime.
    pub(super) fn holds(&self, found: &Status) -> bool {
        let now = self.staged.as_ref().and_then(|staged| staged.look().ok()?.status().ok());
        let (Some(now), Some(held)) = (now, self.held) else { return false };
        now.is_same_version(&held) && is_unchanged(found, &now)
    }

    /// Removes the old one.
    pub(super) fn let_go(&mut self) {
        if let Some(staged) = self.staged.take() {
            staged.discard();
        }
    }

    /// Has them change back. If anything else has the name by now, the old one gets another; and so does the new one, if
    /// somebody did anything to it or may yet write to it. Answers that other name.
    pub(super) fn undo(&mut self) -> io::Result<Option<String>> {
        let Some(staged) = self.staged.take() else { return Ok(None) };
        if !self.change_back(&staged) {
            return staged.keep_beside(self.parent, self.name).map(Some);
        }
        let now = staged.look()?.status();
        let untouched = now.is_ok_and(|now| is_unchanged(&self.placed, &now));
        let used = users::in_use(&[Asked { path: staged.path(), inode: None }]);
        // For the moment that it had the name, whoever is not seen is taken not to be there.
        let unused = used.is_ok_and(|used| used.first().is_some_and(|users| !users.writes));
        if untouched && unused {
            staged.discard();
            return Ok(None);
        }
        staged.keep_beside(self.parent, self.name).map(Some)
    }

    fn change_back(&self, staged: &Staged) -> bool {
        let standing = sys::look_at(self.parent, self.name).ok().and_then(|standing| standing.status().ok());
        let is_placed = standing.is_some_and(|standing| match self.made.and_then(|made| made.status().ok()) {
            Some(made) => standing.is_same_version(&made),
            None => is_unchanged(&self.placed, &standing),
        });
        is_placed && staged.exchange(self.parent, self.name).is_ok()
    }
}

impl Drop for Exchanged<'_> {
    fn drop(&mut self) {
        let _ = self.undo();
    }
}

/// Whether a file is as it was, but that it has had another name.
fn is_unchanged(before: &Status, now: &Status) -> bool {
    Status { ctime: now.ctime, ..*before }.is_same_version(now)
}

/// What is to be known of two files that change places, should whoever does it not come to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    old: Version,
    new: Version,
    /// The name, from the root.
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    size: u64,
    /// In nanoseconds.
    mtime: i128,
}

impl Version {
    fn of(status: &Status) -> Self {
        Self { inode: status.inode, size: status.size, mtime: status.attributes.mtime.nanoseconds() }
    }
}

impl Note {
    pub(super) fn encode(&self) -> String {
        let Self { old, new, path } = self;
        let version = |version: &Version| format!("{} {} {}", version.inode, version.size, version.mtime);
        format!("{} {} {path}", version(old), version(new))
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.splitn(7, ' ');
        let mut version = || {
            let (inode, size, mtime) = (words.next()?, words.next()?, words.next()?);
            Some(Version { inode: inode.parse().ok()?, size: size.parse().ok()?, mtime: mtime.parse().ok()? })
        };
        let (old, new) = (version()?, version()?);
        Some(Self { old, new, path: words.next()?.to_owned() })
    }
}

/// Sees to a file that had changed places when a run was cut short: `name` in the directory `staging`, which the root knows
/// as `path`. It goes if it is as it was noted and nobody may yet write to it; else it gets a name beside the one that it had.
pub(super) fn recover(
    root: &OwnedFd,
    staging: &OwnedFd,
    name: Name<'_>,
    path: &[u8],
    note: Option<&Note>,
) -> io::Result<()> {
    let now = match sys::look_at(staging, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        now => now?,
    };
    let version = now.status().ok().map(|status| Version::of(&status));
    let as_noted = note.is_some_and(|note| [Some(note.old), Some(note.new)].contains(&version));
    if as_noted {
        // Who is not seen now was seen when they changed places, or accepted.
        let used = users::in_use(&[Asked { path: path.to_vec(), inode: None }])?;
        if used.first().is_some_and(|users| !users.writes) {
            return sys::remove(staging, name);
        }
    }
    let (around, last) = note.map_or(("", "file"), |note| note.path.rsplit_once('/').unwrap_or(("", &note.path)));
    let parent = open_along(root, around).or_else(|_| sys::open_again(root))?;
    let last = Name::new(last.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?;
    keep_beside(staging, name, &parent, root, last).map(|_| ())
}

/// The directory of a path, each name opened without following.
fn open_along(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let mut directory = sys::open_again(root)?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let name = Name::new(name.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?;
        directory = sys::open_directory(directory.as_fd(), name)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::super::{LocalTree, Replaced};
    use super::*;
    use crate::entry::{Entry, EntryKind};
    use crate::etag::ETag;
    use crate::released::Released;
    use crate::tree::Tree;
    use futures_executor::block_on;
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::Path;

    #[test]
    fn a_note_says_what_was_noted() {
        let version = |inode| Version { inode, size: u64::MAX, mtime: -5 };
        for path in ["a", "d/ e f/\n"] {
            let note = Note { old: version(1), new: version(2), path: path.to_owned() };
            assert_eq!(Note::decode(note.encode().as_bytes()), Some(note));
        }
        for text in ["", "1 2 3 4 5 6", "1 2 3 4 5 x a", "-1 2 3 4 5 6 a"] {
            assert_eq!(Note::decode(text.as_bytes()), None, "{text}");
        }
    }

    const HELLO: &str = "hello";

    /// Every file in a directory but those that are staged, with its content.
    fn contents(directory: &Path) -> BTreeMap<String, String> {
        let files = fs::read_dir(directory).unwrap().flatten().filter(|entry| entry.path().is_file());
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())).collect()
    }

    fn version(path: &Path) -> Status {
        let directory = sys::open_again(File::open(path.parent().unwrap()).unwrap()).unwrap();
        let name = path.file_name().unwrap().as_encoded_bytes();
        sys::look_at(directory, Name::new(name).unwrap()).unwrap().status().unwrap()
    }

    /// Has a file of that name, with `hello` in it, change places with its placeholder.
    fn with_exchanged<V>(
        tree: &LocalTree,
        root: &Path,
        key: &Key,
        then: impl FnOnce(Box<Exchanged<'_>>, &Status) -> V,
    ) -> V {
        let path = root.join(key.as_str());
        fs::write(&path, HELLO).unwrap();
        let found = version(&path);
        let entry = Entry::new(key.clone(), EntryKind::File { size: 5 }, found.attributes).unwrap();
        let (etag, mtime) = (ETag::new("\"e\""), found.attributes.mtime);
        let released = Released { key: key.clone(), etag, size: 5, mtime, lost: false };
        let (staged, _) = block_on(tree.hollow("testing", &entry, &released, &Replaced::Any)).unwrap();
        let (parent, _) = tree.parent("testing", key).unwrap();
        match Exchanged::begin(staged.into_staged(), &parent, key, &found).unwrap() {
            Exchange::Done(exchanged) => then(exchanged, &found),
            _ => panic!("not exchanged"),
        }
    }

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn a_file_whose_placeholder_is_taken_away_at_once_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        with_exchanged(&tree, directory.path(), &key("a"), |mut exchanged, found| {
            fs::rename(directory.path().join("a"), directory.path().join("b")).unwrap();
            // As if that had been before the first look.
            exchanged.made = None;
            assert!(exchanged.holds(found));
        });
        let contents = contents(directory.path());
        assert_eq!(contents.values().filter(|content| *content == HELLO).count(), 1, "{contents:?}");
        block_on(tree.finish()).unwrap();
    }

    #[test]
    fn a_placeholder_that_somebody_has_begun_to_write_to_keeps_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        for closes in [false, true] {
            let path = directory.path().join("a");
            let writer = with_exchanged(&tree, directory.path(), &key("a"), |mut exchanged, _| {
                let writer = File::options().write(true).open(&path).unwrap();
                if closes {
                    // Behind the last look at the name: what comes there is not what was placed.
                    writer.write_at(b"HELLO", 0).unwrap();
                    exchanged.made = sys::look(&writer).ok();
                }
                let beside = exchanged.undo().unwrap().unwrap();
                assert!(directory.path().join(beside).exists());
                writer
            });
            writer.write_at(b"HELLO", 0).unwrap();
            let contents = contents(directory.path());
            assert_eq!(writer.metadata().unwrap().nlink(), 1);
            assert!(contents["a"] == HELLO && contents.values().any(|content| content == "HELLO"), "{contents:?}");
        }
        block_on(tree.finish()).unwrap();
        assert!(fs::read_dir(directory.path()).unwrap().flatten().all(|entry| entry.path().is_file()));
    }

    #[test]
    fn what_a_killed_run_had_exchanged_is_removed_only_if_nobody_wrote_to_it() {
        for (written, open) in [(false, false), (true, false), (false, true)] {
            let directory = tempfile::tempdir().unwrap();
            let tree = LocalTree::open(directory.path()).unwrap();
            fs::create_dir(directory.path().join("d")).unwrap();
            fs::write(directory.path().join("d/a"), "").unwrap();
            let old = File::options().write(true).open(directory.path().join("d/a")).unwrap();
            with_exchanged(&tree, directory.path(), &key("d/a"), |exchanged, _| std::mem::forget(exchanged));
            tree.staging().unwrap().unlock();
            std::mem::forget(tree);
            if written {
                old.write_at(b"HELLO", 0).unwrap();
            }
            let open = open.then_some(old);
            let next = LocalTree::open(directory.path()).unwrap();
            next.staging().unwrap();
            let found: Vec<String> = contents(&directory.path().join("d")).into_values().collect();
            let placeholder = "\0".repeat(5);
            match (written, &open) {
                (true, _) => assert!(found.contains(&"HELLO".to_owned())),
                (false, Some(open)) => {
                    assert!(found.contains(&HELLO.to_owned()) && open.metadata().unwrap().nlink() == 1)
                }
                (false, None) => assert_eq!(found, std::slice::from_ref(&placeholder)),
            }
            assert!(found.contains(&placeholder));
            block_on(next.finish()).unwrap();
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is staged any more");
        }
    }

    #[test]
    fn a_file_with_the_longest_name_is_kept_beside_another_and_so_is_one_whose_directory_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let long = "n".repeat(255);
        for _ in 0..2 {
            with_exchanged(&tree, directory.path(), &key(&long), |mut exchanged, found| {
                let path = directory.path().join(&long);
                fs::remove_file(&path).unwrap();
                fs::write(&path, "new").unwrap();
                let beside = exchanged.undo().unwrap().unwrap();
                assert_eq!(version(&directory.path().join(&beside)).inode, found.inode);
                assert_eq!(fs::read_to_string(directory.path().join(beside)).unwrap(), HELLO);
                assert_eq!(fs::read_to_string(path).unwrap(), "new");
            });
        }
        fs::create_dir(directory.path().join("d")).unwrap();
        with_exchanged(&tree, directory.path(), &key("d/a"), |mut exchanged, _| {
            fs::remove_dir_all(directory.path().join("d")).unwrap();
            let beside = exchanged.undo().unwrap().unwrap();
            assert_eq!(fs::read_to_string(directory.path().join(beside)).unwrap(), HELLO);
        });
        block_on(tree.finish()).unwrap();
        assert!(fs::read_dir(directory.path()).unwrap().flatten().all(|entry| entry.path().is_file()));
    }
}
