//! The bad bodies, B1 to B22, but for those of [`rows`](super::rows) that other tests show.

use super::run::{MOUNTS, Place, child, in_a_child, is_superuser, open};
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::Profile;
use posix_s3::engine::{ImportOptions, Outcome, Report, Silent, import};
use posix_s3::plan::Cause;
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore,
    Precondition, PutOptions, PutOutput, StoreError,
};
use posix_s3::tree::MemoryTree;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn put(store: &MemoryStore, key: &str, permissions: &'static str, body: &[u8], more: &[(&'static str, &'static str)]) {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-meta-file-permissions", HeaderValue::from_static(permissions));
    for (name, value) in more {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let options = PutOptions { headers, ..PutOptions::default() };
    block_on(store.put(key, Body::from(Bytes::copy_from_slice(body)), &options)).unwrap();
}

#[test]
fn b1_b2_b3_b6_b7_b8_b9_b10_b11_b12_targets_of_links() {
    use Outcome::{Failed, Written};
    let long = vec![b'x'; 4095];
    let too_long = vec![b'x'; 4096];
    let climbs_late = [b"a/../".repeat(800), b"../../outside".to_vec()].concat();
    let rows: [(&str, &[u8], Outcome, Outcome); 10] = [
        ("B1", b"", Failed, Failed),
        ("B2", &long, Written, Written),
        ("B3", &too_long, Failed, Failed),
        ("B6", b"a\0b", Failed, Failed),
        ("B7", b"a\n", Written, Written),
        ("B8", b"\xff\xfe", Written, Written),
        ("B9", b"/etc/passwd", Failed, Written),
        ("B10", b"../outside/sentinel", Failed, Written),
        ("B11", b"../root/x", Failed, Written),
        ("B12", &climbs_late, Failed, Written),
    ];
    for (id, target, untrusted, fsx) in rows {
        for (profile, expected) in [(Profile::untrusted(), untrusted), (Profile::fsx(), fsx)] {
            let (place, store) = (Place::new(), MemoryStore::new());
            let before = place.outside();
            put(&store, "link", "0120777", target, &[]);
            let report = block_on(import(&store, &open(&place.root()), &ImportOptions::new(profile), &Silent)).unwrap();
            let link = fs::read_link(place.root().join("link")).ok();
            assert_eq!(
                (report.written, report.failed),
                if expected == Written { (1, 0) } else { (0, 1) },
                "{id}: {report:?}"
            );
            let made = link.as_ref().map(|link| link.as_os_str().as_bytes());
            assert_eq!(made, (expected == Written).then_some(target), "{id}");
            assert_eq!(place.outside(), before, "{id}");
        }
    }
}

#[test]
fn b13_links_in_a_circle_are_made_and_not_resolved() {
    let (place, store) = (Place::new(), MemoryStore::new());
    put(&store, "a", "0120777", b"b", &[]);
    put(&store, "b", "0120777", b"a", &[]);
    for written in [2, 0] {
        let options = ImportOptions::new(Profile::untrusted());
        let report = block_on(import(&store, &open(&place.root()), &options, &Silent)).unwrap();
        assert_eq!((report.written, report.failed), (written, 0), "{report:?}");
    }
    assert_eq!(fs::read_link(place.root().join("a")).unwrap().as_os_str(), "b");
}

#[test]
fn b17_b21_a_body_is_taken_as_it_is_and_may_be_empty() {
    let (place, store) = (Place::new(), MemoryStore::new());
    let gzip = b"\x1f\x8b\x08 not unpacked";
    put(&store, "packed", "0100644", gzip, &[("content-encoding", "gzip")]);
    put(&store, "empty", "0100600", b"", &[("x-amz-meta-file-mtime", "5000000000ns")]);
    block_on(import(&store, &open(&place.root()), &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
    assert_eq!(fs::read(place.root().join("packed")).unwrap(), gzip);
    let empty = fs::metadata(place.root().join("empty")).unwrap();
    let modified = empty.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((empty.len(), modified.as_secs()), (0, 5));
}

/// A store that announces a body and never comes to its end.
struct Streaming {
    store: MemoryStore,
    sent: Arc<AtomicUsize>,
}

impl ObjectStore for Streaming {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
        let (meta, sent) = (self.store.head(key).await?, Arc::clone(&self.sent));
        let body = stream::repeat_with(move || {
            sent.fetch_add(64, Ordering::Relaxed);
            Ok(Bytes::from_static(&[b'x'; 64]))
        });
        Ok(GetOutput { meta, body: body.boxed() })
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

#[test]
fn b5_b15_a_body_that_never_ends_is_read_no_further_than_it_was_announced() {
    for (permissions, most) in [("0120777", 4096), ("0100644", 4096)] {
        let store = Streaming { store: MemoryStore::new(), sent: Arc::default() };
        put(&store.store, "a", permissions, b"ten bytes.", &[]);
        let tree = MemoryTree::new();
        let report = block_on(import(&store, &tree, &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
        assert_eq!((report.failed, tree.entries().len()), (1, 0), "{report:?}");
        assert!(store.sent.load(Ordering::Relaxed) <= most, "{permissions}: {:?} bytes read", store.sent);
    }
}

#[test]
fn b22_a_disk_that_is_full_at_the_last_byte_keeps_the_old_file() {
    const TEST: &str = "bad_inputs::bodies::b22_a_disk_that_is_full_at_the_last_byte_keeps_the_old_file";
    let Some(place) = child() else {
        if is_superuser("a disk that is full") {
            let place = Place::new();
            fs::create_dir(place.root().join("disk")).unwrap();
            in_a_child(TEST, MOUNTS, "mount -t tmpfs -o size=1m none disk", &place.root());
        }
        return;
    };
    let root = place.join("disk");
    fs::write(root.join("f"), "old").unwrap();
    let names = || fs::read_dir(&root).unwrap().count();
    // There are 256 pages, of which the old file has one: it is the last byte that does not fit, or the last page.
    for size in [(1 << 20) - 4095, 1 << 20, (1 << 20) + 1] {
        let store = MemoryStore::new();
        put(&store, "f", "0100644", &vec![b'x'; size], &[]);
        let report: Report =
            block_on(import(&store, &open(&root), &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
        assert_eq!((report.failed, report.problems[0].cause), (1, Cause::NoSpace), "{size}: {report:?}");
        assert_eq!((fs::read_to_string(root.join("f")).unwrap(), names()), ("old".to_owned(), 1), "{size}");
    }
}
