//! A link as a whole: what is asked of it at its front door, in every state.

#![cfg(all(feature = "repository", feature = "local", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use bytes::Bytes;
use futures_executor::block_on;
use posix_s3::engine::{
    ExportOptions, ImportOptions, Imported, MemoryState, Report, Silent, export_since, import_since, plan_export,
};
use posix_s3::store::{Body, ListRequest, MemoryStore, ObjectStore, PutOptions};
use posix_s3::tree::LocalTree;
use posix_s3::{Prefix, Profile};
use std::path::Path;
use std::sync::Arc;

fn keys(store: &impl ObjectStore) -> Vec<String> {
    let page = block_on(store.list(&ListRequest::default())).unwrap();
    page.objects.into_iter().map(|object| object.key).collect()
}

fn put(store: &impl ObjectStore, key: &str, body: &str) {
    block_on(store.put(key, Body::from(Bytes::from(body.to_owned())), &PutOptions::default())).unwrap();
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A directory that imports from `in/` and exports to `out/`.
struct Apart {
    directory: tempfile::TempDir,
    tree: LocalTree,
    store: MemoryStore,
    imports: Arc<MemoryState>,
    exports: MemoryState,
}

impl Apart {
    fn new(objects: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        let store = MemoryStore::new();
        objects.iter().for_each(|(key, body)| put(&store, key, body));
        let (imports, exports) = (Arc::new(MemoryState::new()), MemoryState::new());
        Self { directory, tree, store, imports, exports }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn import(&self) -> Report {
        let options = ImportOptions::new(Profile::fsx()).with_prefix(prefix("in/")).with_bucket("b");
        block_on(import_since(&self.store, &self.tree, &*self.imports, &options, &Silent)).unwrap()
    }

    fn options(&self) -> ExportOptions {
        let imported = Imported::new(self.imports.clone(), prefix("in/"));
        ExportOptions::new(Profile::fsx()).with_prefix(prefix("out/")).with_bucket("b").with_imported(imported)
    }

    fn export(&self) -> Report {
        block_on(export_since(&self.tree, &self.store, &self.exports, &self.options(), &Silent)).unwrap()
    }
}

#[test]
fn s10_what_was_imported_and_not_touched_is_not_exported_to_another_prefix() {
    let link = Apart::new(&[("in/d/", ""), ("in/d/a", "one"), ("in/d/b", "two"), ("in/e/f/c", "three")]);
    link.import();
    std::fs::write(link.path().join("d/b"), "TWO").unwrap();
    std::fs::write(link.path().join("new"), "new").unwrap();
    let mut planned = Vec::new();
    block_on(plan_export(&link.tree, &link.store, Some(&link.exports), &link.options(), |one| planned.push(one)))
        .unwrap();
    let planned: Vec<&str> = planned.iter().map(|planned| &*planned.key).collect();
    assert_eq!(planned, ["d/b", "new"]);
    let report = link.export();
    assert_eq!((report.written, report.unchanged), (2, 5), "{report:?}");
    assert_eq!(keys(&link.store), ["in/d/", "in/d/a", "in/d/b", "in/e/f/c", "out/d/b", "out/new"]);
    assert_eq!(link.export().written, 0);
}

#[test]
fn what_was_exported_and_then_imported_anew_is_not_exported_again() {
    let link = Apart::new(&[("in/a", "one")]);
    link.import();
    std::fs::write(link.path().join("a"), "mine").unwrap();
    assert_eq!(link.export().written, 1);
    // The bucket wins: what is imported over it is in the bucket.
    put(&link.store, "in/a", "theirs");
    let options = ImportOptions::new(Profile::fsx()).with_prefix(prefix("in/")).with_bucket("b");
    let options = options.with_on_conflict(posix_s3::plan::OnConflict::Store);
    block_on(import_since(&link.store, &link.tree, &*link.imports, &options, &Silent)).unwrap();
    assert_eq!(std::fs::read_to_string(link.path().join("a")).unwrap(), "theirs");
    let report = link.export();
    assert_eq!((report.written, report.unchanged, report.problems.len()), (0, 1, 0), "{report:?}");
    std::fs::write(link.path().join("a"), "mine again").unwrap();
    assert_eq!(link.export().written, 1);
    assert_eq!(keys(&link.store), ["in/a", "out/a"]);
}
