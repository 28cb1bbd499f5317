//! The walk in key order.
//!
//! A directory's names are sorted with a slash appended to those of directories; a depth-first walk then comes out in
//! the byte order of whole keys, which is the order in which a bucket lists.

use super::super::{SkipReason, TreeError, TreeErrorKind, Walked};
use super::sys::{self, Look, Name, failed};
use super::{LocalTree, found, read_target, staging};
use crate::key::{Key, KeyFault};
use crate::mode::FileType;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const ATTEMPT: &str = "walking";

pub(super) struct Walk<'t> {
    tree: &'t LocalTree,
    /// The directories from the root to where the walk stands.
    stack: Vec<Level>,
    /// The root, before it was read.
    start: bool,
}

/// A directory of which some names are still to come, next one last.
struct Level {
    /// Its key, with the slash; empty for the root.
    key: Box<str>,
    names: Vec<SortName>,
}

/// A name with the slash that a directory's name has for sorting.
type SortName = Box<[u8]>;

impl<'t> Walk<'t> {
    pub(super) const fn new(tree: &'t LocalTree) -> Self {
        Self { tree, stack: Vec::new(), start: true }
    }

    fn step(&mut self, parent: &str, sort_name: &[u8]) -> Walked {
        let mut path = parent.as_bytes().to_vec();
        path.extend_from_slice(sort_name);
        match self.look(parent, sort_name, &path) {
            Ok(walked) => walked,
            Err(error) if error.kind() == TreeErrorKind::NotFound => {
                Walked::Skipped { path: path.into(), reason: SkipReason::Vanished }
            }
            Err(error) => Walked::Failed { path: path.into(), error },
        }
    }

    fn look(&mut self, parent: &str, sort_name: &[u8], path: &[u8]) -> Result<Walked, TreeError> {
        let skipped = |reason| Ok(Walked::Skipped { path: path.into(), reason });
        let error = |cause| failed(ATTEMPT, path, cause);
        let name = sort_name.strip_suffix(b"/").unwrap_or(sort_name);
        if parent.is_empty() && staging::is_reserved(name) {
            return skipped(SkipReason::Reserved);
        }
        let name = Name::new(name).ok_or_else(|| error(io::ErrorKind::InvalidData.into()))?;
        let directory = self.tree.directory(ATTEMPT, parent.strip_suffix('/').unwrap_or(parent))?;
        let look = sys::look_at(&directory, name).map_err(error)?;
        // A name that has become a directory, or is none any more, would come at the wrong place.
        if look.is_directory() != sort_name.ends_with(b"/") {
            return skipped(SkipReason::Vanished);
        }
        if !self.tree.mount.holds(&look) {
            return skipped(SkipReason::MountPoint);
        }
        if let Some(reason) = unsupported(&look) {
            return skipped(reason);
        }
        let key = match Key::from_bytes(path) {
            Ok(key) => key,
            Err(invalid) if matches!(invalid.fault(), KeyFault::NotUtf8 | KeyFault::TooLong) => {
                return skipped(SkipReason::Key(invalid));
            }
            Err(invalid) => return Err(error(io::Error::new(io::ErrorKind::InvalidData, invalid))),
        };
        let target = read_target(&directory, name, &look).map_err(error)?;
        let found =
            found(key.path(), &look, target).ok_or_else(|| TreeError::new(ATTEMPT, path, TreeErrorKind::Changed))?;
        if key.is_directory() {
            // Before the entry is handed out: one that cannot be read is not an entry but a failure.
            let below = self.tree.directory(ATTEMPT, key.path())?;
            self.push(key.as_str().into(), &below).map_err(error)?;
        }
        Ok(Walked::Found(found))
    }

    /// Reads a directory whole; the walk goes on in it.
    fn push(&mut self, key: Box<str>, directory: &Arc<OwnedFd>) -> io::Result<()> {
        let mut names = Vec::new();
        for (name, is_directory) in sys::names(directory)? {
            let is_directory = match is_directory {
                Some(is_directory) => is_directory,
                // The directory does not say. One that vanishes now is reported when its turn comes.
                None => Name::new(&name)
                    .and_then(|name| sys::look_at(directory, name).ok())
                    .is_some_and(|look| look.is_directory()),
            };
            let mut sort_name = name.into_vec();
            if is_directory {
                sort_name.push(b'/');
            }
            names.push(sort_name.into_boxed_slice());
        }
        names.sort_unstable_by(|left: &SortName, right| right.cmp(left));
        self.stack.push(Level { key, names });
        Ok(())
    }
}

fn unsupported(look: &Look) -> Option<SkipReason> {
    match look.file_type() {
        Some(FileType::File | FileType::Directory | FileType::Symlink) => {
            look.attributes().err().map(|id| SkipReason::Owner { id })
        }
        Some(file_type) => Some(SkipReason::Special { file_type }),
        None => Some(SkipReason::Vanished),
    }
}

impl Iterator for Walk<'_> {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        if self.start {
            self.start = false;
            let root = Arc::clone(&self.tree.root);
            if let Err(error) = self.push("".into(), &root) {
                return Some(Walked::Failed { path: Box::default(), error: failed(ATTEMPT, b"/", error) });
            }
        }
        loop {
            let level = self.stack.last_mut()?;
            if let Some(sort_name) = level.names.pop() {
                let parent = level.key.clone();
                return Some(self.step(&parent, &sort_name));
            }
            self.stack.pop();
        }
    }
}
