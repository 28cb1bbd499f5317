//! What users build on: futures that go to other threads, stores behind pointers, and runs on any executor.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use futures_executor::block_on;
use posix_s3::engine::{ExportOptions, ImportOptions, Silent, audit, export, import};
use posix_s3::store::{Counted, DirectoryStore, DynObjectStore, ListRequest, MemoryStore, ObjectStore};
use posix_s3::tree::{LocalTree, MemoryTree, Tree};
use posix_s3::{Key, Prefix, Profile};
use std::sync::Arc;

fn is_send<T: Send>(future: T) -> T {
    future
}

#[test]
fn runs_and_calls_can_be_sent_to_other_threads() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("tree")).unwrap();
    let (memory_store, memory_tree) = (MemoryStore::new(), MemoryTree::new());
    let directory_store = DirectoryStore::open(directory.path().join("bucket")).unwrap();
    let local_tree = LocalTree::open(directory.path().join("tree")).unwrap();
    let (exporting, importing) = (ExportOptions::new(Profile::fsx()), ImportOptions::new(Profile::untrusted()));
    let (prefix, profile) = (Prefix::default(), Profile::fsx());

    block_on(is_send(export(&local_tree, &directory_store, &exporting, &Silent))).unwrap();
    block_on(is_send(export(&memory_tree, &memory_store, &exporting, &Silent))).unwrap();
    block_on(is_send(import(&directory_store, &local_tree, &importing, &Silent))).unwrap();
    block_on(is_send(import(&memory_store, &memory_tree, &importing, &Silent))).unwrap();
    block_on(is_send(audit(&directory_store, &prefix, &profile, |_| {}))).unwrap();
    let key: Key = "a".parse().unwrap();
    block_on(is_send(local_tree.lookup(&key))).unwrap();
    block_on(is_send(directory_store.list(&ListRequest::default()))).unwrap();
}

#[test]
fn a_store_chosen_at_run_time_goes_wherever_a_store_goes() {
    let stores: [Arc<dyn DynObjectStore>; 2] =
        [Arc::new(MemoryStore::new()), Arc::new(Counted::new(MemoryStore::new()))];
    for store in stores {
        let options = ExportOptions::new(Profile::fsx());
        let tree = MemoryTree::new();
        let report = block_on(export(&tree, &store, &options, &Silent)).unwrap();
        assert_eq!(report.entries, 0);
        let report = block_on(export(&tree, &*store, &options, &Silent));
        assert!(report.unwrap().is_complete());
    }
}

/// The run's future is polled on one thread after another, as a work-stealing runtime would.
#[test]
fn a_run_may_move_between_threads() {
    let directory = tempfile::tempdir().unwrap();
    let source = Arc::new(LocalTree::open("src").unwrap());
    let store = Arc::new(DirectoryStore::open(directory.path()).unwrap());
    let report = std::thread::spawn(move || {
        block_on(async {
            let options = ExportOptions::new(Profile::fsx());
            export(&*source, &*store, &options, &Silent).await
        })
    });
    assert!(report.join().unwrap().unwrap().is_complete());
}
