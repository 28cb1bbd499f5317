//! [`Surrounded`]: a real root with sentinels around it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A root with sentinels around it, where climbing targets lead; in memory, if that has a file system.
pub struct Surrounded {
    place: tempfile::TempDir,
    outside: Vec<String>,
}

impl Surrounded {
    /// Makes the sentinels.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let place = place.expect("a place");
        let path = |name: &str| place.path().join(name);
        for directory in ["a", "b", "a/a"] {
            fs::create_dir(path(directory)).expect("a directory");
        }
        for file in ["x", "a-", "a/x", "a/a/a", "a/b", "victim"] {
            fs::write(path(file), format!("the sentinel {file}")).expect("a file");
        }
        symlink("a", path("link")).expect("a link");
        fs::set_permissions(path("b"), fs::Permissions::from_mode(0o700)).expect("a mode");
        fs::set_permissions(path("a/x"), fs::Permissions::from_mode(0o4711)).expect("a mode");
        let mut surrounded = Self { place, outside: Vec::new() };
        surrounded.outside = surrounded.look();
        surrounded
    }

    /// Where the sentinels are.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// An empty root, in the place of the one before.
    pub fn new_root(&self) -> PathBuf {
        let root = self.place.path().join("root");
        if root.exists() {
            fs::remove_dir_all(&root).expect("to be removed");
        }
        fs::create_dir(&root).expect("a root");
        root
    }

    /// Everything about every sentinel is as it was, but the access times.
    pub fn assert_untouched(&self) {
        assert_eq!(self.look(), self.outside);
    }

    fn look(&self) -> Vec<String> {
        let (mut outside, mut directories) = (Vec::new(), vec![self.place.path().to_owned()]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("a name").path();
                if path == self.place.path().join("root") {
                    continue;
                }
                let stat = fs::symlink_metadata(&path).expect("a sentinel");
                let content = if stat.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
                let times = (stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
                let (inode, mode, links, owner) = (stat.ino(), stat.mode(), stat.nlink(), (stat.uid(), stat.gid()));
                outside.push(format!("{path:?} {inode} {mode:o} {links} {owner:?} {times:?} {content:?}"));
                if stat.is_dir() {
                    directories.push(path);
                }
            }
        }
        outside.sort();
        outside
    }
}

impl Default for Surrounded {
    fn default() -> Self {
        Self::new()
    }
}
