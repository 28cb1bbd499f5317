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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn open(directories: &mut Directories, root: &Arc<OwnedFd>, path: &str) -> Result<Arc<OwnedFd>, TreeError> {
        let mount = sys::look(root).unwrap().mount();
        directories.open(root, mount, "look", path)
    }

    fn root(names: &[&str]) -> (tempfile::TempDir, Arc<OwnedFd>) {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let root = Arc::new(fs::File::open(directory.path()).unwrap().into());
        (directory, root)
    }

    fn held(directories: &Directories) -> Vec<&str> {
        let mut held: Vec<&str> = directories.open.keys().map(|path| &**path).collect();
        held.sort_unstable();
        held
    }

    #[test]
    fn a_directory_that_is_held_is_not_walked_to_again() {
        let (temporary, root) = root(&["a/b/c", "ab"]);
        let mut directories = Directories::default();
        let first = open(&mut directories, &root, "a/b").unwrap();
        assert_eq!(held(&directories), ["a", "a/b"]);
        // Somebody puts a link in its place: whoever holds the old one goes on in it.
        fs::rename(temporary.path().join("a"), temporary.path().join("moved")).unwrap();
        symlink("/", temporary.path().join("a")).unwrap();
        assert!(Arc::ptr_eq(&first, &open(&mut directories, &root, "a/b").unwrap()));
        assert!(open(&mut directories, &root, "a/b/c").is_ok());
        assert_eq!(held(&directories), ["a", "a/b", "a/b/c"]);
        assert!(Arc::ptr_eq(&root, &open(&mut directories, &root, "").unwrap()));
        directories.clear();
        assert_eq!(held(&directories), [""; 0]);
        assert_eq!(open(&mut directories, &root, "a/b").unwrap_err().kind(), TreeErrorKind::Conflict);
        assert_eq!(open(&mut directories, &root, "../a").unwrap_err().kind(), TreeErrorKind::Conflict);
    }

    #[test]
    fn what_is_let_go_is_the_directory_and_what_was_in_it() {
        let (_temporary, root) = root(&["a/b", "ab", "c/a"]);
        let mut directories = Directories::default();
        for path in ["a/b", "ab", "c/a"] {
            open(&mut directories, &root, path).unwrap();
        }
        directories.let_go("a");
        assert_eq!(held(&directories), ["ab", "c", "c/a"]);
    }

    #[test]
    fn of_too_many_the_one_used_longest_ago_goes_first() {
        let names: Vec<String> = (0..HELD + 2).map(|at| format!("d{at}")).collect();
        let (_temporary, root) = root(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut directories = Directories::default();
        for name in &names[..HELD] {
            open(&mut directories, &root, name).unwrap();
        }
        assert_eq!(directories.open.len(), HELD);
        // The first is used once more, so that the second and third are the oldest.
        open(&mut directories, &root, "d0").unwrap();
        for name in &names[HELD..] {
            open(&mut directories, &root, name).unwrap();
            assert_eq!(directories.open.len(), HELD);
        }
        let gone: Vec<&String> = names.iter().filter(|name| !directories.open.contains_key(name.as_str())).collect();
        assert_eq!(gone, ["d1", "d2"]);
    }

    #[test]
    fn a_file_system_mounted_in_the_tree_is_not_entered() {
        let root = Arc::new(fs::File::open("/").unwrap().into());
        let refused = open(&mut Directories::default(), &root, "proc").unwrap_err();
        assert_eq!(refused.kind(), TreeErrorKind::MountPoint);
    }
}
