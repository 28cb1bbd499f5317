//! A run may be cut at every call to the store, and every call may fail: the next run ends where an untroubled one does.

#![cfg(feature = "engine")]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod workload;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::stream::BoxStream;
use posix_s3::engine::{ExportOptions, Jobs, Silent, export, import};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{
    Applied, MemoryTree, NameList, OpenFile, Place, Present, SourceError, Standing, Tree, TreeError, TreeErrorKind,
    TreeOp, Visit,
};
use posix_s3::{Entry, Key, KeyList, Profile, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use workload::{all_objects, bucket, cut, import_options, key, settle, tree, wait};

/// A store of which every call waits once before it does anything, and once after, and of which one call fails.
struct Troubled<'s> {
    store: &'s MemoryStore,
    calls: AtomicUsize,
    failing: Option<usize>,
}

impl<'s> Troubled<'s> {
    fn new(store: &'s MemoryStore, failing: Option<usize>) -> Self {
        Self { store, calls: AtomicUsize::new(0), failing }
    }

    async fn call(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        wait().await;
        if Some(self.calls.fetch_add(1, Ordering::Relaxed)) == self.failing {
            return Err(StoreError::new(operation, key, StoreErrorKind::Transient));
        }
        Ok(())
    }
}

/// A tree of which one call fails.
struct TroubledTree<'t> {
    tree: &'t MemoryTree,
    calls: AtomicUsize,
    failing: usize,
}

impl TroubledTree<'_> {
    async fn call(&self, key: &Key) -> Result<(), TreeError> {
        wait().await;
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.failing {
            return Err(TreeError::new("trying", key.as_str().as_bytes(), TreeErrorKind::Other));
        }
        Ok(())
    }
}

impl Tree for TroubledTree<'_> {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.tree.list(directory).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        self.tree.look(keys, place, visitor).await
    }

    fn now(&self) -> Timestamp {
        self.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        self.tree.identity()
    }

    fn keeps_directory_times(&self) -> bool {
        self.tree.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.tree.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.call(key).await?;
        self.tree.lookup(key).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        self.call(key).await?;
        self.tree.open(key).await
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.call(entry.key()).await?;
        self.tree.write_file(entry, body, standing).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        self.call(&key("op")).await?;
        self.tree.apply(op).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.tree.begin().await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.tree.sync().await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.tree.finish().await
    }
}

impl ObjectStore for Troubled<'_> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.call(Operation::List, &request.prefix).await?;
        let request = ListRequest { max_keys: Some(3), ..request.clone() };
        self.store.list(&request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.call(Operation::Head, key).await?;
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.call(Operation::Get, key).await?;
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.call(Operation::Put, key).await?;
        let output = self.store.put(key, body, options).await;
        // It has happened, and nobody knows yet.
        wait().await;
        output
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.call(Operation::ReplaceMetadata, key).await?;
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.call(Operation::Delete, key).await?;
        self.store.delete(key, precondition).await
    }
}

#[test]
fn an_export_that_is_cut_anywhere_is_completed_by_the_next() {
    let (tree, options) = (tree(), ExportOptions::new(Profile::fsx()).with_jobs(Jobs::new(3).unwrap()));
    let expected = MemoryStore::new();
    block_on(export(&tree, &expected, &options, &Silent)).unwrap();
    let expected = block_on(all_objects(&expected));
    for polls in 0.. {
        let store = MemoryStore::new();
        let going_on = cut(export(&tree, &Troubled::new(&store, None), &options, &Silent), polls);
        settle(block_on(export(&tree, &store, &options, &Silent)));
        assert_eq!(block_on(all_objects(&store)), expected, "cut after {polls} polls");
        if !going_on {
            return assert!(polls > 20, "only {polls} places to cut");
        }
    }
}

#[test]
fn an_import_that_is_cut_anywhere_is_completed_by_the_next() {
    let store = bucket();
    for jobs in [1, 3, 16] {
        let expected = MemoryTree::new();
        let untroubled = settle(block_on(import(&store, &expected, &import_options(jobs), &Silent)));
        assert_eq!((untroubled.failed, untroubled.skipped), (2, 2));
        for polls in 0.. {
            let tree = MemoryTree::new();
            let going_on = cut(import(&Troubled::new(&store, None), &tree, &import_options(jobs), &Silent), polls);
            settle(block_on(import(&store, &tree, &import_options(jobs), &Silent)));
            assert_eq!(tree.entries(), expected.entries(), "cut after {polls} polls of {jobs} jobs");
            if !going_on {
                assert!(polls > 10, "only {polls} places to cut");
                break;
            }
        }
    }
}

#[test]
fn whichever_call_fails_is_reported_and_the_next_run_completes() {
    let (source, store) = (tree(), bucket());
    let exporting = ExportOptions::new(Profile::fsx());
    let expected_store = MemoryStore::new();
    block_on(export(&source, &expected_store, &exporting, &Silent)).unwrap();
    let expected_tree = MemoryTree::new();
    settle(block_on(import(&store, &expected_tree, &import_options(3), &Silent)));
    for failing in 0.. {
        let bucket = MemoryStore::new();
        let troubled = Troubled::new(&bucket, Some(failing));
        let report = settle(block_on(export(&source, &troubled, &exporting, &Silent)));
        let failed = failing < troubled.calls.into_inner();
        assert_eq!(report.failed, u64::from(failed), "call {failing} of the export");
        settle(block_on(export(&source, &bucket, &exporting, &Silent)));
        assert_eq!(block_on(all_objects(&bucket)), block_on(all_objects(&expected_store)));

        let tree = MemoryTree::new();
        let troubled = Troubled::new(&store, Some(failing));
        let result = block_on(import(&troubled, &tree, &import_options(3), &Silent));
        let stopped = result.is_err();
        let report = settle(result);
        let import_failed = failing < troubled.calls.into_inner();
        let said = report.problems.iter().any(|problem| problem.reason.contains("a passing failure"));
        assert_eq!(stopped || said, import_failed, "call {failing} of the import");
        settle(block_on(import(&store, &tree, &import_options(3), &Silent)));
        assert_eq!(tree.entries(), expected_tree.entries(), "call {failing} of the import");
        if !failed && !import_failed {
            return assert!(failing > 30, "only {failing} calls");
        }
    }
}

#[test]
fn whichever_call_to_the_tree_fails_is_reported_and_the_next_run_completes() {
    let store = bucket();
    for jobs in [1, 3] {
        let expected = MemoryTree::new();
        settle(block_on(import(&store, &expected, &import_options(jobs), &Silent)));
        for failing in 0.. {
            let tree = MemoryTree::new();
            let troubled = TroubledTree { tree: &tree, calls: AtomicUsize::new(0), failing };
            let report = settle(block_on(import(&store, &troubled, &import_options(jobs), &Silent)));
            let failed = failing < troubled.calls.into_inner();
            let said = report.problems.iter().any(|problem| {
                problem.reason.contains("the file system failed") || problem.reason.contains("nothing can be put into")
            });
            assert_eq!(said, failed, "call {failing} of {jobs} jobs: {:?}", report.problems);
            settle(block_on(import(&store, &tree, &import_options(jobs), &Silent)));
            assert_eq!(tree.entries(), expected.entries(), "call {failing} of {jobs} jobs");
            if !failed {
                assert!(failing > 40, "only {failing} calls");
                break;
            }
        }
    }
}

#[test]
fn whichever_file_cannot_be_opened_is_reported_and_the_next_export_completes() {
    let (tree, options) = (tree(), ExportOptions::new(Profile::fsx()));
    let expected = MemoryStore::new();
    block_on(export(&tree, &expected, &options, &Silent)).unwrap();
    for failing in 0..24 {
        let store = MemoryStore::new();
        let troubled = TroubledTree { tree: &tree, calls: AtomicUsize::new(0), failing };
        let report = settle(block_on(export(&troubled, &store, &options, &Silent)));
        assert_eq!(report.failed, 1);
        settle(block_on(export(&tree, &store, &options, &Silent)));
        assert_eq!(block_on(all_objects(&store)), block_on(all_objects(&expected)));
    }
}
