//! What can become of four names in two levels, on either side.

use crate::boundary::world::{Way, World};
use bytes::Bytes;
use futures_util::FutureExt;
use posix_s3::store::{MemoryStore, ObjectStore, Precondition, PutOptions};
use posix_s3::tree::{MemoryTree, Present, Tree};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, SymlinkTarget, Timestamp, Uid};

pub(crate) const NAMES: [&str; 4] = ["a", "b", "b/a", "b/b"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    Create(&'static str),
    /// As many bytes as before.
    Write(&'static str),
    Append(&'static str),
    Truncate(&'static str),
    Chmod(&'static str),
    Chown(&'static str),
    Utimens(&'static str),
    /// To a name that is free, or in the place of a file or link.
    Rename(&'static str, &'static str),
    /// By a new file that is given its name.
    Replace(&'static str),
    Link(&'static str, &'static str),
    Unlink(&'static str),
    Mkdir(&'static str),
    Rmdir(&'static str),
    Symlink(&'static str),
    Retarget(&'static str),
    RemotePut(&'static str),
    RemoteDelete(&'static str),
    RemoteMetadata(&'static str),
}

use Mutation::*;

/// All of them, whether or not they can be done.
pub(crate) fn all() -> Vec<Mutation> {
    let kinds = [
        Create,
        Write,
        Append,
        Truncate,
        Chmod,
        Chown,
        Utimens,
        Replace,
        Unlink,
        Mkdir,
        Rmdir,
        Symlink,
        Retarget,
        RemotePut,
        RemoteDelete,
        RemoteMetadata,
    ];
    let one = kinds.into_iter().flat_map(|kind: fn(&'static str) -> Mutation| NAMES.map(kind));
    let pairs = NAMES.into_iter().flat_map(|from| NAMES.map(|to| (from, to))).filter(|(from, to)| from != to);
    let two = pairs.flat_map(|(from, to)| [Rename(from, to), Link(from, to)]);
    one.chain(two).collect()
}

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

pub(crate) fn attributes(mode: u32, seconds: i64) -> Attributes {
    let time = Timestamp::from_unix(seconds, 7).unwrap();
    let (uid, gid) = (Uid::new(1000).unwrap(), Gid::new(1001).unwrap());
    Attributes { permissions: Permissions::from_mode(mode), uid, gid, atime: time, mtime: time }
}

pub(crate) fn directory(name: &str) -> Entry {
    Entry::new(key(&format!("{name}/")), EntryKind::Directory, attributes(0o750, 6)).unwrap()
}

pub(crate) fn link(name: &str, target: &str) -> Entry {
    let target = SymlinkTarget::parse(target.as_bytes()).unwrap();
    Entry::new(key(name), EntryKind::Symlink { target }, attributes(0o777, 4)).unwrap()
}

fn present(tree: &MemoryTree, name: &str) -> Option<Entry> {
    match tree.lookup(&key(name)).now_or_never().unwrap() {
        Ok(Present::Entry(found)) => Some(found.entry),
        _ => None,
    }
}

fn content(tree: &MemoryTree, name: &str) -> Option<Vec<u8>> {
    let entry = present(tree, name)?;
    matches!(entry.kind(), EntryKind::File { .. }).then_some(())?;
    let file = tree.open(&key(name)).now_or_never().unwrap().unwrap();
    Some(file.read(0, 1 << 10).now_or_never().unwrap().unwrap().to_vec())
}

/// The key of an object of this name, if there is one.
fn object(store: &MemoryStore, name: &str) -> Option<String> {
    let is_there = |key: &String| store.head(key).now_or_never().unwrap().is_ok();
    [name.to_owned(), format!("{name}/")].into_iter().find(is_there)
}

fn headers(mode: &str, mtime: u32) -> PutOptions {
    let mut options = PutOptions::default();
    let mtime = format!("{mtime}000000000ns");
    for (name, value) in
        [("permissions", mode), ("owner", "1000"), ("group", "1001"), ("mtime", &mtime), ("atime", &mtime)]
    {
        let name = http::HeaderName::try_from(format!("x-amz-meta-file-{name}")).unwrap();
        options.headers.insert(name, value.parse().unwrap());
    }
    options
}

impl Mutation {
    pub(crate) const fn is_remote(self) -> bool {
        matches!(self, RemotePut(_) | RemoteDelete(_) | RemoteMetadata(_))
    }

    /// Is done, as the one of this number; says whether it could be.
    pub(crate) fn apply(self, world: &mut World, number: u8) -> bool {
        if self.is_remote() { self.apply_to_bucket(world, number) } else { self.apply_to_tree(&world.tree, number) }
    }

    /// Gives an object's key something new on the side that runs of this way read, and says whether its bytes are new.
    pub(crate) fn renew(world: &mut World, way: Way, key: &str) -> Option<bool> {
        const NUMBER: u8 = 77;
        let name = NAMES.into_iter().find(|name| *name == key.trim_end_matches('/'))?;
        let tries: &[Self] = match way {
            Way::Export => &[Write(name), Retarget(name), Create(name), Chmod(name)],
            Way::Import => &[RemotePut(name)],
        };
        let done = tries.iter().find(|mutation| mutation.apply(world, NUMBER))?;
        Some(!matches!(done, Chmod(_)))
    }

    fn apply_to_tree(self, tree: &MemoryTree, number: u8) -> bool {
        let rewrite = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let Some(mut bytes) = content(tree, name) else { return false };
            let before = bytes.clone();
            change(&mut bytes);
            bytes != before && tree.set_content(&key(name), bytes).is_ok()
        };
        let set = |name: &str, change: &dyn Fn(&mut Attributes)| {
            let Some(entry) = present(tree, name) else { return false };
            let mut attributes = *entry.attributes();
            change(&mut attributes);
            tree.set_attributes(entry.key(), attributes).is_ok()
        };
        let (mode, time) = (0o640 + u32::from(number), 1000 + i64::from(number));
        let kind = |name: &str| present(tree, name).map(|entry| entry.kind().clone());
        match self {
            Create(name) => {
                kind(name).is_none()
                    && tree.insert_file(key(name), format!("created {number}"), attributes(mode, time)).is_ok()
            }
            Write(name) => rewrite(name, &|bytes| bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(number))),
            Append(name) => rewrite(name, &|bytes| bytes.push(b'+')),
            Truncate(name) => rewrite(name, &|bytes| bytes.truncate(bytes.len() / 2)),
            Chmod(name) => set(name, &|attributes| attributes.permissions = Permissions::from_mode(mode)),
            Chown(name) => set(name, &|attributes| attributes.uid = Uid::new(2000 + u32::from(number)).unwrap()),
            Utimens(name) => set(name, &|attributes| attributes.mtime = Timestamp::from_unix(time, 0).unwrap()),
            Rename(from, to) => kind(from).is_some() && tree.rename(&key(from), &key(to)).is_ok(),
            Replace(name) => {
                matches!(kind(name), Some(EntryKind::File { .. } | EntryKind::Symlink { .. }))
                    && tree.insert_file(key(name), format!("replaced {number}"), attributes(mode, time)).is_ok()
            }
            Link(from, to) => kind(from).is_some() && tree.link(&key(from), &key(to)).is_ok(),
            Unlink(name) => !matches!(kind(name), None | Some(EntryKind::Directory)) && tree.remove(&key(name)),
            Mkdir(name) => kind(name).is_none() && tree.insert(directory(name)).is_ok(),
            Rmdir(name) => {
                let is_empty =
                    || !NAMES.iter().any(|other| other.starts_with(&format!("{name}/")) && kind(other).is_some());
                kind(name) == Some(EntryKind::Directory) && is_empty() && tree.remove(&key(name))
            }
            Symlink(name) => kind(name).is_none() && tree.insert(link(name, "somewhere")).is_ok(),
            Retarget(name) => {
                matches!(kind(name), Some(EntryKind::Symlink { .. }))
                    && tree.insert(link(name, &format!("elsewhere {number}"))).is_ok()
            }
            RemotePut(_) | RemoteDelete(_) | RemoteMetadata(_) => false,
        }
    }

    /// Puts an object as another client does.
    pub(crate) fn put_into(store: &MemoryStore, key: &str, number: u8) -> bool {
        let (mode, body) =
            if key.ends_with('/') { ("0040755", String::new()) } else { ("0100600", format!("remote {number}")) };
        let options = headers(mode, 70 + u32::from(number));
        store.put(key, Bytes::from(body).into(), &options).now_or_never().unwrap().is_ok()
    }

    fn apply_to_bucket(self, world: &mut World, number: u8) -> bool {
        world.change_bucket(|store| match self {
            RemotePut(name) => {
                let key = object(store, name).unwrap_or_else(|| name.to_owned());
                Self::put_into(store, &key, number)
            }
            RemoteDelete(name) => object(store, name)
                .is_some_and(|key| store.delete(&key, &Precondition::None).now_or_never().unwrap().is_ok()),
            RemoteMetadata(name) => object(store, name).is_some_and(|key| {
                let meta = store.head(&key).now_or_never().unwrap().unwrap();
                let mut options = PutOptions { headers: meta.headers, ..PutOptions::default() };
                let mtime = format!("{}000000000ns", 900 + u32::from(number));
                options.headers.insert("x-amz-meta-file-mtime", mtime.parse().unwrap());
                store.replace_metadata(&key, &options).now_or_never().unwrap().is_ok()
            }),
            _ => false,
        })
    }
}
