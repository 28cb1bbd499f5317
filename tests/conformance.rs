//! Every store of this crate passes every check, and every check is failed by a store that breaks its promise.

// A test may fail loudly, also in the functions that it calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![cfg(feature = "engine")]

#[path = "conformance/broken.rs"]
mod broken;

use broken::{Broken, Fault};
use futures_executor::block_on;
use posix_s3::store::conformance::{Capability, Outcome, PREFIXES, checks, run_all};
use posix_s3::store::{
    Body, Capabilities, Counted, DynObjectStore, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta,
    ObjectStore, Precondition, PutOptions, PutOutput, StoreError, Support,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every check passes under every prefix, and none is skipped.
fn assert_conforms(name: &str, store: &dyn DynObjectStore) {
    let (mut passed, mut problems) = (0, Vec::new());
    for prefix in PREFIXES {
        let outcomes = block_on(run_all(store, prefix));
        assert_eq!(outcomes.len(), checks().len(), "{name}: every check runs");
        for (check, outcome) in outcomes {
            match outcome {
                Outcome::Passed => passed += 1,
                other => problems.push(format!("{check} under {prefix:?} {other}")),
            }
        }
    }
    println!("{name}: {passed} passed, {} did not", problems.len());
    assert!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
}

#[test]
fn memory_store_conforms() {
    assert_conforms("MemoryStore", &MemoryStore::new());
}

#[test]
fn memory_store_conforms_behind_a_reference() {
    assert_conforms("&MemoryStore", &&MemoryStore::new());
}

#[test]
fn memory_store_conforms_behind_an_arc() {
    let store: Arc<dyn DynObjectStore> = Arc::new(MemoryStore::new());
    assert_conforms("Arc<dyn DynObjectStore>", &store);
    assert_conforms("dyn DynObjectStore", &*store);
}

#[test]
fn counted_store_conforms_and_counts() {
    let store = Counted::new(MemoryStore::new());
    assert_conforms("Counted<MemoryStore>", &store);
    let calls = store.calls();
    for count in [calls.list, calls.head, calls.get, calls.put, calls.copy, calls.delete] {
        assert!(count > 0, "{calls:?}");
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
mod directory {
    use super::*;
    use posix_s3::store::DirectoryStore;

    #[test]
    fn directory_store_conforms() {
        let directory = tempfile::tempdir().unwrap();
        assert_conforms("DirectoryStore", &DirectoryStore::open(directory.path()).unwrap());
    }

    #[test]
    fn directory_store_conforms_through_two_handles() {
        let directory = tempfile::tempdir().unwrap();
        let open = || DirectoryStore::open(directory.path()).unwrap();
        assert_conforms("two handles of one DirectoryStore", &Alternating::new(open(), open()));
    }

    #[test]
    fn directory_store_is_empty_after_the_checks() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        block_on(run_all(&store, "a/"));
        assert_eq!(block_on(store.list(&ListRequest::default())).unwrap().objects, []);
        let left = std::fs::read_dir(directory.path().join(".tmp")).unwrap().count();
        assert_eq!(left, 0, "what was staged is gone");
    }
}

/// Two handles of one bucket, used in turns: what one has done the other sees.
#[cfg(all(feature = "local", target_os = "linux"))]
struct Alternating<S> {
    handles: [S; 2],
    calls: std::sync::atomic::AtomicUsize,
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl<S: ObjectStore> Alternating<S> {
    fn new(one: S, other: S) -> Self {
        Self { handles: [one, other], calls: std::sync::atomic::AtomicUsize::new(0) }
    }

    fn next(&self) -> &S {
        &self.handles[self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2]
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl<S: ObjectStore> ObjectStore for Alternating<S> {
    fn capabilities(&self) -> Capabilities {
        self.next().capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.next().list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.next().head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.next().get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.next().put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.next().replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.next().delete(key, precondition).await
    }
}

#[test]
fn names_are_sentences_and_unique() {
    let names: Vec<&str> = checks().iter().map(|check| check.name()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for check in checks() {
        let name = check.name();
        assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
        // A key of 1,024 bytes has to have room for segments of 255 bytes behind it.
        assert!(name.len() <= 80, "{name}");
        assert!(!check.guarantee().is_empty() && !check.guarantee().ends_with('.'), "{name}");
    }
    println!("{} checks", names.len());
}

#[test]
fn checks_leave_everything_else_alone() {
    let store = MemoryStore::new();
    let others = ["a", "p", "p/other", "p/list_is_in_key_order", "q", "conformance"];
    for key in others {
        block_on(store.put(key, Body::empty(), &PutOptions::default())).unwrap();
    }
    block_on(run_all(&store, "p/"));
    let left = block_on(store.list(&ListRequest::default())).unwrap().objects;
    assert_eq!(left.iter().map(|object| object.key.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(others));
}

#[test]
fn checks_start_afresh_where_others_were_cut_off() {
    let store = MemoryStore::new();
    for check in checks() {
        for tail in ["", "a", "dir/", "zzz"] {
            let key = format!("p/{}/{tail}", check.name());
            block_on(store.put(&key, Body::empty(), &PutOptions::default())).unwrap();
        }
        assert_eq!(block_on(check.run(&store, "p/")), Outcome::Passed, "{}", check.name());
    }
}

#[test]
fn checks_run_side_by_side() {
    let store = MemoryStore::new();
    let checks = checks();
    let all = futures_util::future::join_all(checks.iter().map(|check| check.run(&store, "p/")));
    for (check, outcome) in checks.iter().zip(block_on(all)) {
        assert_eq!(outcome, Outcome::Passed, "{}", check.name());
    }
}

#[test]
fn checks_can_run_on_any_thread() {
    let store: Arc<dyn DynObjectStore> = Arc::new(MemoryStore::new());
    let run = async move { run_all(&*store, "").await.len() };
    assert_eq!(std::thread::spawn(|| block_on(run)).join().unwrap(), checks().len());
}

#[test]
fn what_a_store_is_not_capable_of_is_skipped() {
    let capabilities = [Capability::OrderedListing, Capability::Preconditions, Capability::ReplaceMetadata];
    for missing in capabilities {
        let mut able = Capabilities::ALL;
        *match missing {
            Capability::OrderedListing => &mut able.ordered_listing,
            Capability::Preconditions => &mut able.preconditions,
            Capability::ReplaceMetadata => &mut able.replace_metadata,
            _ => panic!("a capability without a test: {missing}"),
        } = Support::No;
        let store = Broken::with_capabilities(Fault::lack_of(missing), able);
        let outcomes = block_on(run_all(&store, ""));
        let mut skipped = 0;
        for (check, (name, outcome)) in checks().iter().zip(outcomes) {
            let expected = if check.needs().contains(&missing) {
                skipped += 1;
                Outcome::Skipped(missing)
            } else {
                Outcome::Passed
            };
            assert_eq!(outcome, expected, "{name} without {missing}");
        }
        println!("without {missing}: {skipped} skipped");
        assert!(skipped > 0);
    }
}

/// The names of the checks that a store with this fault fails.
fn failed(fault: Fault) -> BTreeSet<&'static str> {
    let outcomes = block_on(run_all(&Broken::new(fault), fault.prefix()));
    outcomes.into_iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).map(|(name, _)| name).collect()
}

#[test]
fn each_fault_is_caught_by_the_checks_that_name_it_and_each_check_catches_one() {
    let names: BTreeSet<&str> = checks().iter().map(|check| check.name()).collect();
    let (mut caught, mut named, mut problems) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (fault, expected) in broken::FAULTS {
        let failed = failed(*fault);
        for name in *expected {
            assert!(names.contains(name), "{fault:?} names {name}, which is no check");
            if !failed.contains(name) {
                problems.push(format!("{fault:?} is not caught by {name}, but by {failed:?}"));
            }
            named.insert(*name);
        }
        caught.extend(failed);
    }
    println!("{} faults, {} checks named, {} checks failed", broken::FAULTS.len(), named.len(), caught.len());
    let idle: Vec<_> = names.difference(&named).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(idle.is_empty(), "checks that no fault names: {idle:#?}");
}

#[test]
fn a_store_without_a_fault_passes() {
    assert_eq!(failed(Fault::None), BTreeSet::new());
}
