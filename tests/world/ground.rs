//! [`Ground`]: a tree that can be seen and changed from outside.

use super::chance::Chance;
use crate::model::bridge::{time, tree_of};
use crate::model::{self, Kind, Node};
use crate::sim::crash::{Crash, Survives};
use crate::sim::edit::Edit;
use crate::sim::inodes;
use crate::sim::tree::SimTree;
use posix_s3::tree::{MemoryTree, Tree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, SymlinkTarget, Uid};
use std::sync::Arc;
use std::time::Duration;

/// What a tree stands on: it can be seen and changed from outside, and loses what it may when the process or the machine
/// stops.
///
/// What cannot be done from outside is not done; each says whether it was.
pub(crate) trait Ground: Tree + 'static {
    fn see(&self) -> model::Tree;
    /// A new inode.
    fn put(&self, path: &str, node: &Node) -> bool;
    /// In place.
    fn write(&self, path: &str, content: Vec<u8>) -> bool;
    fn set(&self, path: &str, attributes: Attributes) -> bool;
    fn rename(&self, from: &str, to: &str) -> bool;
    fn link(&self, from: &str, to: &str) -> bool;
    fn remove(&self, path: &str) -> bool;
    /// From now on each change comes so long after the one before.
    fn set_tick(&self, tick: Duration);
    /// What is left when the process, or the machine, has stopped.
    fn crash(self: &Arc<Self>, power: bool, chance: &mut Chance) -> Arc<Self>;
}

impl Ground for MemoryTree {
    fn see(&self) -> model::Tree {
        tree_of(self)
    }

    fn put(&self, path: &str, node: &Node) -> bool {
        let attributes = attributes_of(node);
        let entry = |path: &str, kind| Entry::new(key(path), kind, attributes).unwrap();
        match &node.kind {
            Kind::File(content) => self.insert_file(key(path), content.clone(), attributes).is_ok(),
            Kind::Directory => self.insert(entry(&format!("{path}/"), EntryKind::Directory)).is_ok(),
            Kind::Link(target) => {
                let target = SymlinkTarget::parse(target).unwrap();
                self.insert(entry(path, EntryKind::Symlink { target })).is_ok()
            }
        }
    }

    fn write(&self, path: &str, content: Vec<u8>) -> bool {
        self.set_content(&key(path), content).is_ok()
    }

    fn set(&self, path: &str, attributes: Attributes) -> bool {
        self.set_attributes(&key(path), attributes).is_ok()
    }

    fn rename(&self, from: &str, to: &str) -> bool {
        MemoryTree::rename(self, &key(from), &key(to)).is_ok()
    }

    fn link(&self, from: &str, to: &str) -> bool {
        MemoryTree::link(self, &key(from), &key(to)).is_ok()
    }

    fn remove(&self, path: &str) -> bool {
        MemoryTree::remove(self, &key(path))
    }

    fn set_tick(&self, tick: Duration) {
        MemoryTree::set_tick(self, tick);
    }

    // Whatever was done is done.
    fn crash(self: &Arc<Self>, _: bool, _: &mut Chance) -> Arc<Self> {
        Arc::clone(self)
    }
}

fn key(path: &str) -> Key {
    Key::parse(path).unwrap()
}

pub(crate) fn attributes_of(node: &Node) -> Attributes {
    Attributes {
        permissions: Permissions::from_bits(node.mode).unwrap(),
        uid: Uid::new(node.uid).unwrap(),
        gid: Gid::new(node.gid).unwrap(),
        atime: time(node.atime),
        mtime: time(node.mtime),
    }
}

impl Ground for SimTree {
    fn see(&self) -> model::Tree {
        let all = self.all();
        let disk = self.disk();
        let mut tree = model::Tree::new();
        for (path, stat) in all {
            let inode = disk.inode(stat.ino);
            let kind = match &inode.kind {
                inodes::Kind::File(content) => Kind::File(content.read(0, usize::MAX)),
                inodes::Kind::Directory(_) => Kind::Directory,
                inodes::Kind::Symlink(target) => Kind::Link(target.to_vec()),
                inodes::Kind::Fifo => continue,
            };
            let inodes::Meta { permissions, uid, gid, atime, mtime, .. } = inode.meta;
            let (atime, mtime) = (atime.nanoseconds(), mtime.nanoseconds());
            let node = Node { kind, mode: permissions, uid, gid, atime, mtime };
            tree.insert(String::from_utf8(path).unwrap(), node);
        }
        tree
    }

    fn put(&self, path: &str, node: &Node) -> bool {
        let stands = self.see().get(path).map(|node| node.kind == Kind::Directory);
        let is_directory = node.kind == Kind::Directory;
        if stands.is_some_and(|stands| stands != is_directory) {
            return false;
        }
        let path = path.as_bytes().to_vec();
        // Under another name at first, as editors do.
        let beside = if is_directory { path.clone() } else { [&path, &b"~"[..]].concat() };
        let made = match &node.kind {
            Kind::Directory if stands.is_some() => Ok(()),
            Kind::Directory => self.edit(&Edit::Mkdir { path: beside.clone(), permissions: 0o700 }),
            Kind::Link(target) => self.edit(&Edit::Symlink { path: beside.clone(), target: target.clone() }),
            Kind::File(content) => self
                .edit(&Edit::Create { path: beside.clone(), permissions: 0o600 })
                .and_then(|()| self.edit(&Edit::Write { path: beside.clone(), at: 0, bytes: content.clone() })),
        };
        made.is_ok()
            && set(self, &beside, attributes_of(node), matches!(node.kind, Kind::Link(_)))
            && (is_directory || self.edit(&Edit::Rename { path: beside, to: path }).is_ok())
    }

    fn write(&self, path: &str, content: Vec<u8>) -> bool {
        let is_file = self.see().get(path).is_some_and(|node| matches!(node.kind, Kind::File(_)));
        let path = path.as_bytes().to_vec();
        is_file
            && self.edit(&Edit::Truncate { path: path.clone(), size: 0 }).is_ok()
            && self.edit(&Edit::Write { path, at: 0, bytes: content }).is_ok()
    }

    fn set(&self, path: &str, attributes: Attributes) -> bool {
        let is_link = self.see().get(path).is_some_and(|node| matches!(node.kind, Kind::Link(_)));
        set(self, path.as_bytes(), attributes, is_link)
    }

    fn rename(&self, from: &str, to: &str) -> bool {
        self.edit(&Edit::Rename { path: from.into(), to: to.into() }).is_ok()
    }

    fn link(&self, from: &str, to: &str) -> bool {
        self.edit(&Edit::Link { path: from.into(), to: to.into() }).is_ok()
    }

    fn remove(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let tree = self.see();
        let all = tree.iter().rev().filter(|(other, _)| *other == path || other.starts_with(&below));
        let mut removed = false;
        for (path, node) in all {
            let path = path.as_bytes().to_vec();
            let edit = if node.kind == Kind::Directory { Edit::Rmdir { path } } else { Edit::Unlink { path } };
            removed = self.edit(&edit).is_ok();
        }
        removed
    }

    fn set_tick(&self, tick: Duration) {
        self.disk().options.tick = i128::try_from(tick.as_nanos()).unwrap();
    }

    fn crash(self: &Arc<Self>, power: bool, chance: &mut Chance) -> Arc<Self> {
        if !power {
            return Arc::new(self.end_of_process());
        }
        let (metadata, data) = self.pending();
        let mut survives = |pending: usize| match chance.below(5) {
            0 => Survives::Nothing,
            1 => Survives::Everything,
            2 => Survives::Prefix(chance.below(pending + 1)),
            3 => Survives::AllBut(chance.below(pending + 1)),
            _ => Survives::Some(chance.next()),
        };
        let (metadata, data) = (survives(metadata), survives(data));
        Arc::new(SimTree::crash(self, Crash { metadata, data }))
    }
}

fn set(tree: &SimTree, path: &[u8], attributes: Attributes, is_link: bool) -> bool {
    let Attributes { permissions, uid, gid, atime, mtime } = attributes;
    let path = path.to_vec();
    let (uid, gid, permissions) = (Some(uid.get()), Some(gid.get()), permissions.bits());
    tree.edit(&Edit::Chown { path: path.clone(), uid, gid }).is_ok()
        && (is_link || tree.edit(&Edit::Chmod { path: path.clone(), permissions }).is_ok())
        && tree.edit(&Edit::Utimens { path, atime, mtime }).is_ok()
}
