//! A state that was cut short, with any of its bytes changed: a run ends, deletes nothing, overwrites nothing that somebody
//! else has put, and afterwards everything that is in the tree is in the bucket.

#![no_main]

use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;
use posix_s3::engine::{
    ExportOptions, MemoryState, Part, RunErrorKind, Silent, StateRead, StateStore, StateWrite, export_since,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{ListRequest, MemoryStore, ObjectStore, PutOptions};
use posix_s3::tree::MemoryTree;
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, Timestamp, Uid};
use std::io;

fn key(key: &str) -> Key {
    key.parse().expect("a key")
}

fn attributes() -> Attributes {
    let time = Timestamp::EPOCH;
    let permissions = Permissions::from_mode(0o755);
    Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time }
}

/// A state whose next snapshot cannot be put into place: the run ends there, as in a crash, and the journal stays.
struct Cut<'s>(&'s MemoryState);

impl StateStore for Cut<'_> {
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>> {
        self.0.open(part)
    }

    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>> {
        self.0.create(part)
    }

    fn remove(&self, part: Part) -> io::Result<()> {
        self.0.remove(part)
    }

    fn publish(&self) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
}

/// A tree of which half is recorded in the snapshot, and the rest in the journal, but for what is in conflict.
fn world() -> (MemoryTree, MemoryStore, MemoryState) {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    tree.insert(Entry::new(key("d/"), EntryKind::Directory, attributes()).expect("a directory")).expect("room");
    for name in ["a", "d/a", "d/b"] {
        tree.insert_file(key(name), name.to_owned(), attributes()).expect("room");
    }
    let options = ExportOptions::new(Profile::fsx()).with_bucket("bucket");
    block_on(export_since(&tree, &store, &state, &options, &Silent)).expect("a sound state");
    for name in ["b", "d/c", "d/d"] {
        tree.insert_file(key(name), name.to_owned(), attributes()).expect("room");
    }
    // A stranger's object is in the way of a file.
    block_on(store.put("d/d", bytes::Bytes::from("stranger").into(), &PutOptions::default())).expect("a put");
    block_on(export_since(&tree, &store, &Cut(&state), &options, &Silent)).expect_err("it is cut");
    (tree, store, state)
}

fuzz_target!(|input: (bool, Vec<(u16, u8)>, u16)| {
    let (journal, changes, length) = input;
    let (tree, store, state) = world();
    let part = if journal { Part::Journal } else { Part::Snapshot };
    let mut bytes = state.get(part).unwrap_or_default();
    for (at, byte) in changes {
        if let Some(there) = bytes.get_mut(usize::from(at)) {
            *there ^= byte;
        }
    }
    bytes.truncate(bytes.len().saturating_sub(usize::from(length % 512)));
    state.set(part, bytes);

    let options =
        ExportOptions::new(Profile::fsx()).with_bucket("bucket").with_deletes(Deletes::Apply(Brake::RELEASED));
    match block_on(export_since(&tree, &store, &state, &options, &Silent)) {
        Ok(report) => {
            assert_eq!((report.deleted, report.failed), (0, 0), "{report:?}");
            let keys = block_on(store.list(&ListRequest::default())).expect("a listing").objects;
            let keys: Vec<&str> = keys.iter().map(|object| object.key.as_str()).collect();
            assert_eq!(keys, ["a", "b", "d/", "d/a", "d/b", "d/c", "d/d"]);
        }
        // A later version is left alone.
        Err(error) => assert!(matches!(error.kind(), RunErrorKind::State(_)), "{error:?}"),
    }
    let head = block_on(store.head("d/d")).expect("the stranger's object");
    assert_eq!(head.size, 8, "a stranger's object was overwritten");
});
