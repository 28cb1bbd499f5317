//! Files that give way to directories of their names, and halves of steps that are none.

use crate::hostile::{Hooked, object};
use crate::model::bridge::{memory_store, put, tree_of};
use crate::model::{Kind, Object};
use futures_executor::block_on;
use posix_s3::engine::{ImportOptions, Jobs, MemoryState, Report, Silent, import_since, plan_import};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, Support,
};
use posix_s3::tree::{MemoryTree, Present, Tree as _};
use posix_s3::{Attributes, Budget, Key, Permissions, Profile};

/// A store whose `ETag`s are no digests.
struct Opaque(MemoryStore);

impl ObjectStore for Opaque {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().with_md5_etags(Support::No)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.0.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.0.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.0.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.0.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.0.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.0.delete(key, precondition).await
    }
}

fn dated(object: Object, mtime: &str) -> Object {
    let mut object = object;
    object.headers.insert("x-amz-meta-file-mtime".to_owned(), mtime.to_owned());
    object
}

fn options() -> ImportOptions {
    ImportOptions::new(Profile::untrusted()).with_bucket("b").with_jobs(Jobs::ONE)
}

#[test]
fn old_bytes_with_the_permissions_of_another_object_are_no_half_step_to_it() {
    let (store, tree, state) = (Opaque(MemoryStore::new()), MemoryTree::new(), MemoryState::new());
    let import = || block_on(import_since(&store, &tree, &state, &options(), &Silent)).unwrap();
    put(&store, "f", &dated(object("0100644", b"bytes"), "1000000000000000000ns"));
    assert_eq!(import().written, 1);
    let key: Key = "f".parse().unwrap();
    let Present::Entry(found) = block_on(tree.lookup(&key)).unwrap() else { panic!("nothing was made") };
    let permissions = Permissions::from_mode(0o600);
    tree.set_attributes(&key, Attributes { permissions, ..*found.entry.attributes() }).unwrap();
    put(&store, "f", &dated(object("0100600", b"other"), "2000000000000000000ns"));
    let report = import();
    assert_eq!((report.conflicts, report.metadata_only), (1, 0), "{:?}", report.problems);
    // Nor are they taken for the object from then on.
    assert_eq!(import().conflicts, 1);
    assert_eq!(tree_of(&tree)["f"].mtime, 1_000_000_000_000_000_000);
}

/// Files that an import has made, each of one byte.
fn imported(count: usize) -> (MemoryStore, MemoryTree, MemoryState) {
    let files = (0..count).map(|at| (format!("d{at}"), object("0100644", b"x"))).collect();
    let (store, tree, state) = (memory_store(&files), MemoryTree::new(), MemoryState::new());
    assert_eq!(run(&store, &tree, &state, &options()).written, count as u64);
    (store, tree, state)
}

fn run(store: &impl ObjectStore, tree: &MemoryTree, state: &MemoryState, options: &ImportOptions) -> Report {
    block_on(import_since(store, tree, state, options, &Silent)).unwrap()
}

fn are_files(tree: &MemoryTree, count: usize) {
    let tree = tree_of(tree);
    assert_eq!(tree.len(), count, "{tree:?}");
    assert!(tree.values().all(|node| node.kind == Kind::File(b"x".to_vec())), "{tree:?}");
}

#[test]
fn a_file_whose_object_is_there_does_not_give_way_to_objects_that_are_refused() {
    const MANY: usize = 1200;
    let junk: [(&str, Object); 4] = [
        ("/x", object("0020644", b"a device")),
        ("/x", object("nonsense", b"a damaged field")),
        ("/deep/er/x", object("0120777", b"/etc/passwd")),
        ("/", object("nonsense", b"")),
    ];
    for (below, object) in junk {
        let (store, tree, state) = imported(MANY);
        (0..MANY).for_each(|at| put(&store, &format!("d{at}{below}"), &object));
        for _ in 0..2 {
            let report = run(&store, &tree, &state, &options());
            assert_eq!((report.deleted, report.written), (0, 0), "{below}: {:?}", report.problems);
            are_files(&tree, MANY);
        }
    }
}

#[test]
fn a_file_does_not_give_way_when_the_budget_ends_the_run_before_its_directory_is_made() {
    let (store, tree, state) = imported(1);
    put(&store, "d0/x", &object("0100644", b"more"));
    put(&store, "a", &object("0100644", b"four"));
    let mut within = options();
    within.profile.budget = Budget { bytes: 7, ..Budget::UNTRUSTED };
    block_on(import_since(&store, &tree, &state, &within, &Silent)).unwrap_err();
    assert_eq!(tree_of(&tree)["d0"].kind, Kind::File(b"x".to_vec()));
}

#[test]
fn a_file_gives_way_to_what_is_accepted_below_its_name_and_is_counted() {
    for jobs in [1, 16] {
        let (store, tree, state) = imported(1);
        put(&store, "d0/a", &object("nonsense", b"refused"));
        (0..20).for_each(|at| put(&store, &format!("d0/e/{at}"), &object("0100644", b"y")));
        put(&store, "d0/link", &object("0120777", b"e"));
        let options = options().with_jobs(Jobs::new(jobs).unwrap());
        let mut steps = Vec::new();
        let plan = block_on(plan_import(&store, &tree, Some(&state), &options, |step| steps.push(step))).unwrap();
        // A plan takes what it does not fetch for good.
        assert_eq!((plan.deleted, plan.written, plan.conflicts), (1, 22, 0), "{steps:?}");
        let report = run(&store, &tree, &state, &options);
        assert_eq!((report.deleted, report.written, report.failed), (1, 21, 1), "{:?}", report.problems);
        assert_eq!(tree_of(&tree)["d0"].kind, Kind::Directory);
        assert_eq!(run(&store, &tree, &state, &options).unchanged, 21);
    }
}

#[test]
fn a_file_that_is_edited_while_what_takes_its_place_is_fetched_stays() {
    let (store, tree, state) = imported(1);
    put(&store, "d0/x", &object("0100644", b"new"));
    let hook = |operation, key: &str| {
        if operation == Operation::Get && key == "d0/x" {
            tree.set_content(&"d0".parse().unwrap(), &b"edited"[..]).unwrap();
        }
    };
    let report = run(&Hooked { store, hook }, &tree, &state, &options());
    assert_eq!((report.conflicts, report.deleted), (1, 0), "{:?}", report.problems);
    assert_eq!(tree_of(&tree)["d0"].kind, Kind::File(b"edited".to_vec()));
}
