//! What lies outside the root, and must stay as it is and unread.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, XattrFlags, lgetxattr, lsetxattr, openat, statx};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What stands in every file outside.
pub(crate) const SECRET: &str = "the-secret-that-lies-outside";
/// The name of a file in every directory outside, which no directory inside has.
pub(crate) const SECRET_NAME: &str = "secret-name";
/// How long the files outside are; none inside is.
pub(crate) const SECRET_SIZE: u64 = (SECRET.len() * 100) as u64;

/// A tree outside, and how it was.
pub(crate) struct Outside {
    pub(crate) path: PathBuf,
    before: BTreeMap<PathBuf, Node>,
}

/// Everything that can be told of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    mode: u16,
    owner: (u32, u32),
    size: u64,
    inode: u64,
    links: u32,
    times: [(i64, u32); 3],
    attribute: Option<Vec<u8>>,
    content: Vec<u8>,
}

impl Outside {
    /// Makes one with these directories, each with the names that those inside have: a file `f`, a directory `s` with a file
    /// `g`, an empty directory `e`.
    pub(crate) fn make(path: PathBuf, directories: &[&str]) -> Self {
        for directory in directories {
            let directory = path.join(directory);
            fs::create_dir_all(directory.join("s")).unwrap();
            fs::create_dir(directory.join("e")).unwrap();
            for file in ["f", "s/g", SECRET_NAME] {
                write_secret(&directory.join(file));
            }
            write_secret(&directory.join("s").join(SECRET_NAME));
            symlink(SECRET, directory.join("l")).unwrap();
            for (name, mode) in [("s", 0o711), ("e", 0o705), ("", 0o751)] {
                fs::set_permissions(directory.join(name), Permissions::from_mode(mode)).unwrap();
            }
        }
        // Looking reads directories, which may move their access times: once, as relatime has it.
        look(&path);
        let before = look(&path);
        Self { path, before }
    }

    /// What has changed, as text; nothing if all is as it was.
    pub(crate) fn changes(&self) -> Vec<String> {
        let now = look(&self.path);
        let names = self.before.keys().chain(now.keys()).collect::<std::collections::BTreeSet<_>>();
        let changed = names.into_iter().filter(|name| self.before.get(*name) != now.get(*name));
        changed.map(|name| format!("{name:?}: {:?} -> {:?}", self.before.get(name), now.get(name))).collect()
    }

    pub(crate) fn assert_unchanged(&self, by: &str) {
        let changes = self.changes();
        assert!(changes.is_empty(), "{by} has changed what lies outside: {changes:#?}");
    }
}

fn write_secret(path: &Path) {
    fs::write(path, SECRET.repeat(100)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
    // A file system without them has none to lose.
    let _ = lsetxattr(path, "user.outside", SECRET.as_bytes(), XattrFlags::empty());
}

fn look(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let stat = statx(CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).unwrap();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let mut content = Vec::new();
        if kind.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_file() {
            let file = openat(CWD, &path, OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC, Mode::empty()).unwrap();
            File::from(file).read_to_end(&mut content).unwrap();
        }
        let mut attribute = vec![0; 256];
        let attribute = lgetxattr(&path, "user.outside", attribute.as_mut_slice()).ok().map(|length| {
            attribute.truncate(length);
            attribute
        });
        let times = [stat.stx_atime, stat.stx_mtime, stat.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec));
        let (mode, owner, links) = (stat.stx_mode, (stat.stx_uid, stat.stx_gid), stat.stx_nlink);
        nodes.insert(
            path,
            Node { mode, owner, size: stat.stx_size, inode: stat.stx_ino, links, times, attribute, content },
        );
    }
    nodes
}
