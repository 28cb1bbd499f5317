//! A tree of some forty entries, a bucket of them with strangers' objects in it, and how runs over them are cut and checked.

#![allow(dead_code, reason = "each test takes what it needs")]

use bytes::Bytes;
use futures_executor::block_on;
use posix_s3::engine::{ExportOptions, ImportOptions, Jobs, Report, RunError, Silent, export};
use posix_s3::store::{GetOptions, ListRequest, MemoryStore, ObjectMeta, ObjectStore, PutOptions};
use posix_s3::tree::MemoryTree;
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, SymlinkTarget, Timestamp, Uid};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Lets everything else have a turn.
pub(crate) async fn wait() {
    let mut waited = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

pub(crate) fn attributes(mode: u32, seconds: i64) -> Attributes {
    let time = Timestamp::from_unix(seconds, 7).unwrap();
    let (uid, gid) = (Uid::new(1000).unwrap(), Gid::new(1001).unwrap());
    Attributes { permissions: Permissions::from_mode(mode), uid, gid, atime: time, mtime: time }
}

pub(crate) fn key(key: &str) -> Key {
    key.parse().unwrap()
}

/// Forty entries: directories with and without objects, files that clash, links, and what is refused.
pub(crate) fn tree() -> MemoryTree {
    let tree = MemoryTree::new();
    for directory in ["a/", "a/b/", "a/b/c/", "d/", "empty/"] {
        tree.insert(Entry::new(key(directory), EntryKind::Directory, attributes(0o750, 5)).unwrap()).unwrap();
    }
    for number in 0..24 {
        let (directory, mode) = (["", "a/", "a/b/", "a/b/c/", "d/", "d/"][number % 6], 0o600 + (number as u32 & 7));
        let content = vec![b'x'; number * 100];
        tree.insert_file(key(&format!("{directory}file-{number}")), content, attributes(mode, 9)).unwrap();
    }
    for number in 0..6 {
        let target = SymlinkTarget::parse(b"../somewhere").unwrap();
        let link = key(&format!("{}link-{number}", ["", "a/b/"][number % 2]));
        tree.insert(Entry::new(link, EntryKind::Symlink { target }, attributes(0o777, 3)).unwrap()).unwrap();
    }
    tree
}

pub(crate) async fn all_objects(store: &MemoryStore) -> Vec<(String, ObjectMeta, Bytes)> {
    let mut objects = Vec::new();
    for object in store.list(&ListRequest::default()).await.unwrap().objects {
        let mut output = store.get(&object.key, &GetOptions::default()).await.unwrap();
        let body = futures_util::StreamExt::next(&mut output.body).await.map(Result::unwrap).unwrap_or_default();
        let meta = ObjectMeta { last_modified: Timestamp::EPOCH, ..output.meta };
        objects.push((object.key, meta, body));
    }
    objects
}

/// The bucket of the tree, with strangers' objects in it.
pub(crate) fn bucket() -> MemoryStore {
    let store = MemoryStore::with_clock(|| Timestamp::from_unix(1_000_000, 0).unwrap());
    block_on(export(&tree(), &store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap();
    let mut pipe = PutOptions::default();
    pipe.headers.insert("x-amz-meta-file-permissions", "0010644".parse().unwrap());
    for (name, options) in [
        ("a/b", &PutOptions::default()),
        ("implied/below/file", &PutOptions::default()),
        ("implied/below/pipe", &pipe),
        ("refused/pipe", &pipe),
        ("a/../b", &PutOptions::default()),
    ] {
        block_on(store.put(name, Bytes::from("stranger").into(), options)).unwrap();
    }
    store
}

pub(crate) fn import_options(jobs: usize) -> ImportOptions {
    ImportOptions::new(Profile::fsx()).with_jobs(Jobs::new(jobs).unwrap()).with_bucket("bucket")
}

pub(crate) fn sums_agree(report: &Report) {
    let ends =
        [report.unchanged, report.written, report.metadata_only, report.skipped, report.failed, report.conflicts];
    assert_eq!(report.entries, ends.iter().sum::<u64>());
}

/// Polls a run some times and drops it; says whether it was still going on.
pub(crate) fn cut<T>(run: impl Future<Output = T>, polls: usize) -> bool {
    let mut run = pin!(run);
    (0..polls).all(|_| run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending())
}

/// Ends a run, whatever comes of it.
pub(crate) fn settle(result: Result<Report, RunError>) -> Report {
    let report = result.unwrap_or_else(|error| error.report().clone());
    sums_agree(&report);
    report
}
