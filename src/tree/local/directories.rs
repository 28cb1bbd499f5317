//! The directories that are held open, so that a path is not walked anew for every name in it.

use super::super::{TreeError, TreeErrorKind};
use super::sys::{self, Mount, Name, failed};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How many descriptors are held besides the root's. With that, those of staging and of what is put off, and the files of a
/// job, a run of few jobs has 64 descriptors and 8 for each job at most.
const HELD: usize = 48;

/// Open directories by their path from the root.
///
/// What is kept is the descriptor, not the knowledge that a path was good: whoever renames a directory and puts a link
/// in its place changes nothing for those who hold the old one. At most [`HELD`] are open; the one used longest ago
/// goes first.
#[derive(Default)]
pub(super) struct Directories {
    open: HashMap<Box<str>, (Arc<OwnedFd>, u64)>,
    used: u64,
}

impl Directories {
    /// Opens the directory at a path, from the nearest one above it that is held, one name at a time.
    pub(super) fn open(
        &mut self,
        root: &Arc<OwnedFd>,
        mount: Mount,
        attempt: &'static str,
        path: &str,
    ) -> Result<Arc<OwnedFd>, TreeError> {
        let error = |kind| TreeError::new(attempt, path.as_bytes(), kind);
        let (mut directory, mut rest) = self.nearest(root, path);
        while !rest.is_empty() {
            let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
            let name = Name::new(name.as_bytes()).ok_or_else(|| error(TreeErrorKind::Conflict))?;
            let opened =
                sys::open_directory(&directory, name).map_err(|cause| failed(attempt, path.as_bytes(), cause))?;
            let look = sys::look(&opened).map_err(|cause| failed(attempt, path.as_bytes(), cause))?;
            if !mount.holds(&look) {
                return Err(error(TreeErrorKind::MountPoint));
            }
            directory = Arc::new(opened);
            let end = path.len().saturating_sub(below.len());
            let opened = path.get(..end).unwrap_or(path).trim_end_matches('/');
            self.hold(opened, &directory);
            rest = below;
        }
        Ok(directory)
    }

    /// The nearest held directory on the way to `path`, and what of the path is below it.
    fn nearest<'p>(&mut self, root: &Arc<OwnedFd>, path: &'p str) -> (Arc<OwnedFd>, &'p str) {
        self.used = self.used.saturating_add(1);
        let mut above = path;
        while !above.is_empty() {
            if let Some((directory, used)) = self.open.get_mut(above) {
                *used = self.used;
                let rest = path.get(above.len()..).unwrap_or_default();
                return (Arc::clone(directory), rest.strip_prefix('/').unwrap_or(rest));
            }
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
        }
        (Arc::clone(root), path)
    }

    fn hold(&mut self, path: &str, directory: &Arc<OwnedFd>) {
        if self.open.len() >= HELD {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|oldest| self.open.remove(&oldest));
        }
        self.used = self.used.saturating_add(1);
        self.open.insert(path.into(), (Arc::clone(directory), self.used));
    }

    /// Lets go of one that is removed, and of what was in it: others may be made under their names.
    pub(super) fn let_go(&mut self, path: &str) {
        let is_below =
            |held: &str| held.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.open.retain(|held, _| !is_below(held));
    }

    /// Lets go of all of them, so that the next run sees the tree as it is then.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}
