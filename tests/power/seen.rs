//! [`Seen`]: what somebody sees who looks at a directory, and a [`Disk`] made into one.

use super::disk::{Disk, Kind, Number, Time};
use super::replay::marks;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// One entry, without what differs between two file systems.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: Option<Time>,
    /// The bytes of a file, the target of a link.
    pub(crate) content: Vec<u8>,
    pub(crate) marks: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, mode, owner: (uid, gid), mtime, content, marks } = self;
        let start = content[..content.len().min(24)].escape_ascii();
        let marks: Vec<_> = marks.keys().map(|name| name.escape_ascii().to_string()).collect();
        write!(f, "{kind} {mode:04o} {uid}:{gid} {mtime:?} {} \"{start}\" {marks:?}", content.len())
    }
}

/// Everything below a directory, by path.
pub(crate) type View = BTreeMap<Vec<u8>, Seen>;

/// What is below a directory of the real file system.
pub(crate) fn look(root: &Path) -> View {
    let mut view = View::new();
    look_below(root, &[], &mut view);
    view
}

fn look_below(directory: &Path, prefix: &[u8], view: &mut View) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        let name = [prefix, path.file_name().unwrap().as_bytes()].concat();
        let (kind, content) = match stat.file_type() {
            kind if kind.is_dir() => ('d', Vec::new()),
            kind if kind.is_symlink() => ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()),
            _ => ('f', fs::read(&path).unwrap()),
        };
        let marks = if kind == 'l' { BTreeMap::new() } else { marks(&path) };
        let mode = if kind == 'l' { 0o777 } else { stat.mode() & 0o7777 };
        let (owner, mtime) = ((stat.uid(), stat.gid()), Some((stat.mtime(), stat.mtime_nsec())));
        view.insert(name.clone(), Seen { kind, mode, owner, mtime, content, marks });
        if kind == 'd' {
            look_below(&path, &[&name, &b"/"[..]].concat(), view);
        }
    }
}

/// What is below a directory of the model.
pub(crate) fn look_at(disk: &Disk, root: Number) -> View {
    let mut view = View::new();
    look_at_below(disk, root, &[], &mut view);
    view
}

fn look_at_below(disk: &Disk, directory: Number, prefix: &[u8], view: &mut View) {
    for (name, number) in disk.names(directory).unwrap() {
        let (path, inode) = ([prefix, name].concat(), &disk.inodes[*number]);
        let (kind, content) = match &inode.kind {
            Kind::Directory(_) => ('d', Vec::new()),
            Kind::Link(target) => ('l', target.clone()),
            Kind::File(content) => ('f', content.to_vec()),
        };
        let (mode, owner, mtime) = (if kind == 'l' { 0o777 } else { inode.mode }, inode.owner, inode.mtime);
        view.insert(path.clone(), Seen { kind, mode, owner, mtime, content, marks: inode.marks.clone() });
        if kind == 'd' {
            look_at_below(disk, *number, &[&path, &b"/"[..]].concat(), view);
        }
    }
}

/// An inode of the real file system that stands for one of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stands {
    pub(crate) told: u64,
    pub(crate) ctime: Time,
    pub(crate) real_ctime: Time,
}

/// Makes what the model holds, in a directory that is empty. Answers what stands for what, by the number of the inode.
pub(crate) fn make(disk: &Disk, base: &Path) -> HashMap<u64, Stands> {
    let mut made = Made { disk, paths: HashMap::new(), notes: Vec::new() };
    made.below(0, base);
    let stands = |paths: &HashMap<Number, PathBuf>| -> HashMap<u64, Stands> {
        let stands = paths.iter().map(|(number, path)| {
            let (stat, inode) = (fs::symlink_metadata(path).unwrap(), &disk.inodes[*number]);
            let real_ctime = (stat.ctime(), stat.ctime_nsec());
            (stat.ino(), Stands { told: inode.told, ctime: inode.ctime, real_ctime })
        });
        stands.collect()
    };
    if !made.notes.is_empty() {
        // A note tells of inodes by their numbers.
        let numbers: HashMap<u64, u64> =
            stands(&made.paths).iter().map(|(real, stands)| (stands.told, *real)).collect();
        for (number, path, times) in std::mem::take(&mut made.notes) {
            let Kind::Link(target) = &disk.inodes[number].kind else { continue };
            let text = String::from_utf8(target.clone()).unwrap();
            let words = text.splitn(7, ' ').enumerate().map(|(at, word)| match (at, word.parse::<u64>()) {
                (0 | 3, Ok(told)) => numbers.get(&told).copied().unwrap_or(told).to_string(),
                _ => word.to_owned(),
            });
            let words: Vec<String> = words.collect();
            fs::remove_file(&path).unwrap();
            symlink(words.join(" "), &path).unwrap();
            let around = path.parent().unwrap();
            rustix::fs::utimensat(CWD, around, &times, AtFlags::empty()).unwrap();
        }
    }
    stands(&made.paths)
}

struct Made<'d> {
    disk: &'d Disk,
    paths: HashMap<Number, PathBuf>,
    notes: Vec<(Number, PathBuf, Timestamps)>,
}

impl Made<'_> {
    fn below(&mut self, directory: Number, path: &Path) {
        for (name, number) in self.disk.names(directory).unwrap() {
            let path = path.join(OsStr::from_bytes(name));
            let inode = &self.disk.inodes[*number];
            if let Some(other) = self.paths.get(number) {
                fs::hard_link(other, &path).unwrap();
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let (uid, gid) = (Uid::from_raw(inode.owner.0), Gid::from_raw(inode.owner.1));
            match &inode.kind {
                Kind::Link(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
                Kind::Directory(_) => {
                    fs::create_dir(&path).unwrap();
                    self.below(*number, &path);
                }
                Kind::File(content) => {
                    let mut file = File::create(&path).unwrap();
                    if content.iter().all(|byte| *byte == 0) {
                        file.set_len(content.len() as u64).unwrap();
                    } else {
                        file.write_all(content).unwrap();
                    }
                }
            }
            rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), flags).unwrap();
            if !matches!(inode.kind, Kind::Link(_)) {
                rustix::fs::chmod(&path, Mode::from_raw_mode(inode.mode)).unwrap();
                for (name, value) in &inode.marks {
                    rustix::fs::setxattr(&path, name.as_slice(), value, XattrFlags::empty()).unwrap();
                }
            }
            let mtime = inode.mtime.unwrap_or((1_700_000_000, 1));
            let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &path, &times, flags).unwrap();
            if matches!(inode.kind, Kind::Link(_)) && name.ends_with(b".exchanged") {
                self.notes.push((*number, path.clone(), times));
            }
            self.paths.insert(*number, path);
        }
    }
}
