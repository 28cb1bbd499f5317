//! The bad keys, K1 to K67.

use super::cases::{self, Case, Hearing, Stranger};
use super::run::{MOUNTS, Place, SHELL, child, in_a_child, is_superuser, open, run_all};
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use posix_s3::engine::{
    FileState, ImportOptions, MemoryState, Outcome, RunErrorKind, Silent, audit, import, import_since,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, MemoryStore, ObjectMeta,
    ObjectStore, Precondition, PutOptions, PutOutput, StoreError,
};
use posix_s3::{Prefix, Profile, Timestamp};
use std::fs;
use std::sync::Mutex;

#[test]
fn every_bad_key_ends_as_the_table_says_and_an_audit_says_so_in_one_line() {
    let cases = cases::read(cases::KEYS);
    assert_eq!(run_all(&cases), Vec::<String>::new());
}

fn case(id: &str) -> Case {
    cases::read(cases::KEYS).into_iter().find(|case| case.id == id).unwrap()
}

/// A store that lists keys beside its own that are not UTF-8.
struct Mangled {
    store: MemoryStore,
    unreadable: Mutex<Vec<&'static [u8]>>,
}

impl ObjectStore for Mangled {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = self.store.list(request).await?;
        let unreadable = self.unreadable.lock().unwrap();
        let asked_for = unreadable.iter().filter(|key| key.starts_with(request.prefix.as_bytes()));
        page.unreadable = asked_for.map(|key| (*key).into()).collect();
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.get(key, options).await
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

fn put(store: &MemoryStore, key: &str) {
    block_on(store.put(key, Body::from(Bytes::from_static(b"x")), &PutOptions::default())).unwrap();
}

#[test]
fn what_a_key_that_is_not_utf8_may_stand_for_is_not_deleted() {
    let store = Mangled { store: MemoryStore::new(), unreadable: Mutex::default() };
    let keys = ["d/caf\u{e9}", "d/caf\u{e9}s", "d/cake", "e", "f"];
    keys.iter().for_each(|key| put(&store.store, key));
    let place = Place::new();
    let (tree, state) = (open(&place.root()), MemoryState::new());
    let options = ImportOptions::new(Profile::fsx()).with_bucket("b").with_deletes(Deletes::Apply(Brake::RELEASED));
    block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();

    // A server that has come to show Latin-1: by its own name nothing is found any more.
    for key in keys {
        block_on(store.store.delete(key, &Precondition::None)).unwrap();
    }
    // What takes the path of a file is not put there either, as long as the file may be in the bucket.
    put(&store.store, "d/caf\u{e9}/x");
    *store.unreadable.lock().unwrap() = vec![b"d/caf\xe9", b"d/caf\xe9s"];
    let planned = block_on(posix_s3::engine::plan_import(&store, &tree, Some(&state), &options, |_| {})).unwrap();
    let hearing = Hearing::default();
    let report = block_on(import_since(&store, &tree, &state, &options, &hearing)).unwrap();
    let heard = hearing.into_heard();
    let outcome = |key: &str| heard.iter().find(|heard| heard.key == key).map(|heard| heard.outcome);
    assert_eq!(outcome("d/caf\\xe9"), Some(Outcome::Skipped), "{heard:?}");
    assert_eq!(outcome("d/caf\u{e9}"), Some(Outcome::Skipped), "{heard:?}");
    assert_eq!(outcome("d/caf\u{e9}s"), Some(Outcome::Skipped), "{heard:?}");
    // `d/cake` begins otherwise than any of them.
    assert_eq!((report.deleted, planned.deleted), (3, 3), "{report:?}");
    for (name, is_there) in
        [("d/caf\u{e9}", true), ("d/caf\u{e9}s", true), ("d/cake", false), ("e", false), ("f", false)]
    {
        assert_eq!(fs::symlink_metadata(place.root().join(name)).is_ok(), is_there, "{name}");
    }
}

#[test]
fn keys_that_are_not_utf8_have_to_be_in_order_and_asked_for() {
    let import = |unreadable: Vec<&'static [u8]>, prefix: &str| {
        let store = Mangled { store: MemoryStore::new(), unreadable: Mutex::new(unreadable) };
        let options = ImportOptions::new(Profile::fsx()).with_prefix(Prefix::parse(prefix).unwrap());
        block_on(import(&store, &posix_s3::tree::MemoryTree::new(), &options, &Silent))
    };
    assert_eq!(import(vec![b"a\xff", b"b\xff"], "").unwrap().skipped, 2);
    assert_eq!(import(vec![b"p/\xff"], "p/").unwrap().skipped, 1);
    for unreadable in [vec![&b"b\xff"[..], b"a\xff"], vec![&b"a\xff"[..], b"a\xff"]] {
        let error = import(unreadable, "").unwrap_err();
        assert!(matches!(error.kind(), RunErrorKind::Disorder(_)), "{:?}", error.kind());
    }
}

#[test]
fn k39_at_most_256_descriptors() {
    let Some(place) = child() else {
        let place = Place::new();
        in_a_child("bad_inputs::keys::k39_at_most_256_descriptors", SHELL, "ulimit -n 256", &place.root());
        return;
    };
    let options = ImportOptions::new(Profile::fsx());
    let report = block_on(import(&Stranger::new(&case("K39")), &open(&place), &options, &Silent)).unwrap();
    assert_eq!((report.written, report.failed), (1, 0), "{:?}", report.problems);
}

#[test]
fn k55_an_object_of_the_name_of_a_state_in_the_root_is_not_believed() {
    let (place, bucket) = (Place::new(), MemoryStore::new());
    let path = place.root().join("state");
    let options = ImportOptions::new(Profile::fsx()).with_bucket("b").with_deletes(Deletes::Apply(Brake::RELEASED));
    let run = || {
        let state = FileState::open(&path).unwrap();
        block_on(import_since(&bucket, &open(&place.root()), &state, &options, &Silent)).unwrap()
    };
    put(&bucket, "kept");
    run();
    // A state of another root and another bucket, in which nothing is as it is here.
    let (other, elsewhere) = (Place::new(), MemoryStore::new());
    put(&elsewhere, "other");
    let forged = other.root().join("forged");
    block_on(import_since(&elsewhere, &open(&other.root()), &FileState::open(&forged).unwrap(), &options, &Silent))
        .unwrap();
    let forged = Bytes::from(fs::read(forged).unwrap());
    for name in ["state", "state.journal", "state.previous"] {
        block_on(bucket.put(name, Body::from(forged.clone()), &PutOptions::default())).unwrap();
    }
    for _ in 0..3 {
        let report = run();
        assert_eq!((report.deleted, report.gone), (0, 0), "{report:?}");
        assert_eq!(fs::read(place.root().join("kept")).unwrap(), b"x");
    }
}

#[test]
fn k66_nothing_is_put_under_a_mount_point() {
    const TEST: &str = "bad_inputs::keys::k66_nothing_is_put_under_a_mount_point";
    let Some(place) = child() else {
        if is_superuser("a mount point below the root") {
            let place = Place::new();
            fs::create_dir(place.root().join("m")).unwrap();
            in_a_child(TEST, MOUNTS, "mount -t tmpfs none m", &place.root());
        }
        return;
    };
    let mut case = case("K45");
    case.objects[0].key = Some("m/x".to_owned());
    let hearing = Hearing::default();
    let options = ImportOptions::new(Profile::fsx());
    block_on(import(&Stranger::new(&case), &open(&place), &options, &hearing)).unwrap();
    let heard = hearing.into_heard();
    assert_eq!((heard.len(), heard[0].outcome), (1, Outcome::Failed), "{heard:?}");
    assert!(heard[0].reasons[0].contains("another file system is mounted there"), "{heard:?}");
    assert_eq!(fs::read_dir(place.join("m")).unwrap().count(), 0);
}

/// A bucket of so many keys, each made when its page is asked for.
struct Endless {
    keys: u64,
    name: fn(u64) -> String,
}

impl ObjectStore for Endless {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let start = request.token.as_ref().map_or(0, |token| token.parse().unwrap());
        let end = self.keys.min(start + 1000);
        let object = |number| ListedObject {
            key: (self.name)(number),
            size: 0,
            etag: ETag::new("\"e\""),
            last_modified: Timestamp::EPOCH,
        };
        let next = (end < self.keys).then(|| end.to_string());
        Ok(ListPage::new((start..end).map(object).collect(), next))
    }

    async fn head(&self, _: &str) -> Result<ObjectMeta, StoreError> {
        let (etag, headers) = (ETag::new("\"e\""), HeaderMap::new());
        Ok(ObjectMeta { size: 0, etag, last_modified: Timestamp::EPOCH, headers })
    }

    async fn get(&self, key: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
        Ok(GetOutput { meta: self.head(key).await?, body: stream::iter([]).boxed() })
    }

    async fn put(&self, _: &str, _: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
        panic!("nothing is put")
    }

    async fn replace_metadata(&self, _: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
        panic!("nothing is put")
    }

    async fn delete(&self, _: &str, _: &Precondition) -> Result<(), StoreError> {
        panic!("nothing is deleted")
    }
}

#[test]
fn k61_k62_memory_does_not_grow_with_the_number_of_keys() {
    // One directory of files, many directories, and as many of which only keys below are listed.
    let names: [fn(u64) -> String; 3] =
        [|number| format!("d/{number:08}"), |number| format!("{number:08}/"), |number| format!("{number:08}/x")];
    for name in names {
        let most = |keys| {
            let mut found = 0;
            let used = allocation_counter::measure(|| {
                let store = Endless { keys, name };
                found = block_on(audit(&store, &Prefix::default(), &Profile::fsx(), |_| {})).unwrap().objects;
            });
            assert_eq!(found, keys);
            used.bytes_max
        };
        let (few, many) = (most(5_000), most(100_000));
        assert!(many < few + (64 << 10), "{few} bytes for 5,000 keys, {many} for 100,000");
    }
}
