//! What two trees have to agree on in the end, a line for each name.

use super::call::{checksum, time};
use super::editor::{ACCESS, DEFAULT, RealEditor};
use crate::sim::inodes::Kind;
use crate::sim::tree::SimTree;
use posix_s3::{FileType, Timestamp};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, StatxTimestamp};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// How much of a file is compared.
const LENGTH: usize = 20_000;

/// What is told of one name.
struct Told<'a> {
    path: &'a [u8],
    ino: u64,
    file_type: Option<FileType>,
    permissions: u32,
    ids: (u32, u32),
    size: u64,
    links: u64,
    atime: Timestamp,
    mtime: Timestamp,
    lists: (bool, bool),
    content: u64,
}

/// Tells, and remembers under which name an inode was met first.
fn line(told: &Told<'_>, first: &mut BTreeMap<u64, String>) -> String {
    let Told { path, ino, file_type, permissions, ids, size, links, atime, mtime, lists, content } = told;
    let path = path.escape_ascii().to_string();
    let first = first.entry(*ino).or_insert_with(|| path.clone());
    let atime = if *file_type == Some(FileType::File) { time(*atime) } else { String::new() };
    let mtime = time(*mtime);
    format!(
        "{path} {file_type:?} {permissions:o} {ids:?} {size} {links} a{atime} m{mtime} {lists:?} {content} is {first}"
    )
}

/// Of a tree that is made up.
pub(crate) fn simulated(tree: &SimTree) -> Vec<String> {
    let mut first = BTreeMap::new();
    let all = tree.all();
    let tell = |(path, stat): &(Vec<u8>, crate::sim::sys::Stat)| {
        let inode = &stat.inode;
        let content = match &inode.kind {
            Kind::File(content) => checksum(&content.read(0, LENGTH)),
            Kind::Symlink(target) => checksum(target),
            _ => 0,
        };
        let meta = &inode.meta;
        let told = Told {
            path,
            ino: stat.ino,
            file_type: Some(inode.file_type()),
            permissions: meta.permissions,
            ids: (meta.uid, meta.gid),
            size: inode.size(),
            links: inode.links,
            atime: meta.atime,
            mtime: meta.mtime,
            lists: (meta.access_list, meta.default_list),
            content,
        };
        line(&told, &mut first)
    };
    all.iter().map(tell).collect()
}

/// Of a real one.
pub(crate) fn real(editor: &RealEditor) -> Vec<String> {
    let (mut first, mut found) = (BTreeMap::new(), Vec::new());
    gather(editor.root(), &[], &mut found);
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    let tell = |(path, told): &(Vec<u8>, Told<'_>)| line(&Told { path, ..*told }, &mut first);
    found.iter().map(tell).collect()
}

fn gather(directory: &OwnedFd, around: &[u8], found: &mut Vec<(Vec<u8>, Told<'static>)>) {
    for entry in Dir::read_from(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let path = if around.is_empty() { name.to_bytes().to_vec() } else { [around, b"/", name.to_bytes()].concat() };
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).unwrap();
        let file_type = FileType::from_mode(stat.stx_mode.into());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOATIME;
        let opened = rustix::fs::openat(directory, name, flags, Mode::empty()).ok();
        let content = match (file_type, &opened) {
            (Some(FileType::File), Some(file)) => {
                let mut content = vec![0; LENGTH];
                let read = rustix::io::pread(file, &mut content, 0).unwrap();
                checksum(&content[..read])
            }
            (Some(FileType::Symlink), _) => {
                checksum(rustix::fs::readlinkat(directory, name, Vec::new()).unwrap().as_bytes())
            }
            _ => 0,
        };
        let has = |list| opened.as_ref().is_some_and(|opened| RealEditor::has_xattr(opened.as_fd(), list));
        let is_directory = file_type == Some(FileType::Directory);
        let time = |time: StatxTimestamp| Timestamp::from_unix(time.tv_sec, time.tv_nsec).unwrap();
        let told = Told {
            path: &[],
            ino: stat.stx_ino,
            file_type,
            permissions: u32::from(stat.stx_mode) & 0o7777,
            ids: (stat.stx_uid, stat.stx_gid),
            size: if is_directory || file_type == Some(FileType::Fifo) { 0 } else { stat.stx_size },
            links: stat.stx_nlink.into(),
            atime: time(stat.stx_atime),
            mtime: time(stat.stx_mtime),
            lists: (has(ACCESS), has(DEFAULT)),
            content,
        };
        found.push((path.clone(), told));
        if let Some(opened) = opened.filter(|_| is_directory) {
            gather(&opened, &path, found);
        }
    }
}
