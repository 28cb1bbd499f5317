//! Cases that once failed, each by its name.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use posix_s3::engine::{
    ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Report, Silent, export, import, import_since,
};
use posix_s3::store::{
    Body, Capabilities, DirectoryStore, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, MemoryStore,
    ObjectMeta, ObjectStore, Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{LocalTree, MemoryTree, Present, Standing, Tree, TreeErrorKind, TreeOp};
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Profile, Timestamp, Uid};
use std::fs::{self, File, Permissions};
use std::future::Future;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, UNIX_EPOCH};

/// A bucket that does something before it answers a head, a list or a put.
struct Hooked<H> {
    store: MemoryStore,
    hook: H,
}

impl<H: Fn(Operation, &str) -> Result<(), StoreError> + Send + Sync> ObjectStore for Hooked<H> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        (self.hook)(Operation::Head, key)?;
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        (self.hook)(Operation::Get, key)?;
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

fn headers(permissions: &str, id: u32) -> PutOptions {
    let mut options = PutOptions::default();
    for (name, value) in [
        ("x-amz-meta-file-permissions", permissions),
        ("x-amz-meta-file-owner", &id.to_string()),
        ("x-amz-meta-file-group", &id.to_string()),
        ("x-amz-meta-file-mtime", "1000000000000ns"),
    ] {
        options.headers.insert(name, value.parse().unwrap());
    }
    options
}

fn put(store: &impl ObjectStore, key: &str, body: &'static str, options: &PutOptions) {
    block_on(store.put(key, Bytes::from(body).into(), options)).unwrap();
}

fn import_all(store: &impl ObjectStore, root: &Path, profile: Profile) -> Report {
    let tree = LocalTree::open(root).unwrap();
    block_on(import(store, &tree, &ImportOptions::new(profile), &Silent)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn attributes_never_reach_a_file_that_took_the_name_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (public, secret) = (directory.path().join("public"), directory.path().join("secret"));
    fs::write(&public, "12345").unwrap();
    File::options().write(true).open(&public).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
    fs::write(&secret, "s3cr3").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let inode = fs::metadata(&secret).unwrap().ino();
    let held = File::open(&secret).unwrap();
    let swap = (secret, public.clone());
    let hook = move |operation, _: &str| {
        if operation == Operation::Head {
            fs::rename(&swap.0, &swap.1).unwrap();
        }
        Ok(())
    };
    let store = Hooked { store: MemoryStore::new(), hook };
    put(&store, "public", "12345", &headers("0100666", me()));
    let report = import_all(&store, directory.path(), Profile::untrusted());
    assert_eq!((report.written, report.metadata_only), (1, 0));
    assert_eq!(held.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_ne!(fs::metadata(&public).unwrap().ino(), inode);
}

#[test]
fn a_listing_from_the_start_does_not_go_on_with_what_an_abandoned_one_saw() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    put(&store, "a", "", &PutOptions::default());
    put(&store, "b", "", &PutOptions::default());
    let mut request = ListRequest { max_keys: Some(1), ..ListRequest::default() };
    block_on(store.list(&request)).unwrap();
    put(&store, "c", "", &PutOptions::default());
    let mut keys = Vec::new();
    loop {
        let page = block_on(store.list(&request)).unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        request.token = page.next;
        if request.token.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "c"]);
}

#[test]
fn a_store_that_reads_the_end_first_gets_no_mixture() {
    struct Backwards {
        path: std::path::PathBuf,
        got: Mutex<Option<(Bytes, Bytes)>>,
    }
    impl Backwards {
        fn refuse<T>(operation: Operation) -> Result<T, StoreError> {
            Err(StoreError::new(operation, "", StoreErrorKind::Unsupported))
        }
    }
    impl ObjectStore for Backwards {
        fn capabilities(&self) -> Capabilities {
            Capabilities::ALL
        }

        async fn list(&self, _: &ListRequest) -> Result<ListPage, StoreError> {
            Self::refuse(Operation::List)
        }

        async fn head(&self, _: &str) -> Result<ObjectMeta, StoreError> {
            Self::refuse(Operation::Head)
        }

        async fn get(&self, _: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
            Self::refuse(Operation::Get)
        }

        async fn put(&self, key: &str, body: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
            let unread = |error| StoreError::new(Operation::Put, key, StoreErrorKind::Body).with_source(error);
            let end = body.read(2 << 20, 2 << 20).await.map_err(unread)?;
            fs::write(&self.path, vec![b'B'; 4 << 20]).unwrap();
            let start = body.read(0, 2 << 20).await.map_err(unread)?;
            *self.got.lock().unwrap() = Some((start, end));
            Ok(PutOutput { etag: ETag::new("\"x\""), last_modified: None })
        }

        async fn replace_metadata(&self, _: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
            Self::refuse(Operation::ReplaceMetadata)
        }

        async fn delete(&self, _: &str, _: &Precondition) -> Result<(), StoreError> {
            Self::refuse(Operation::Delete)
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large");
    fs::write(&path, vec![b'A'; 4 << 20]).unwrap();
    let store = Backwards { path, got: Mutex::default() };
    let tree = LocalTree::open(directory.path()).unwrap();
    let report = block_on(export(&tree, &store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap();
    if let Some((start, end)) = &*store.got.lock().unwrap() {
        assert_eq!((start[0], end[0]), (b'B', b'B'));
    }
    assert_eq!(report.written + report.failed, 1);
}

#[test]
fn a_run_that_is_cut_anywhere_is_mended_by_the_next() {
    let wanted = |root: &Path| -> Vec<(String, u32)> {
        ["explicit", "explicit/implied", "explicit/implied/x", "plain"]
            .iter()
            .map(|path| ((*path).to_owned(), mode(&root.join(path))))
            .collect()
    };
    let store = MemoryStore::new();
    put(&store, "explicit/", "", &headers("0040555", me()));
    put(&store, "explicit/implied/x", "1", &headers("0100644", me()));
    put(&store, "plain/", "", &PutOptions::default());
    put(&store, "plain/y", "2", &PutOptions::default());
    let expected = tempfile::tempdir().unwrap();
    import_all(&store, expected.path(), Profile::fsx());
    for polls in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        {
            let tree = LocalTree::open(directory.path()).unwrap();
            let options = ImportOptions::new(Profile::fsx());
            let mut run = pin!(import(&store, &tree, &options, &Silent));
            for _ in 0..polls {
                if run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        }
        // What was handed to a thread before the cut still happens, and then nothing is left of the run.
        let staged = || {
            let mut names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.any(|name| name.to_string_lossy().starts_with(".posix-s3-staging-"))
        };
        let begun = std::time::Instant::now();
        while staged() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let report = import_all(&store, directory.path(), Profile::fsx());
        assert!(report.is_complete(), "{:?}", report.problems);
        assert_eq!(wanted(directory.path()), wanted(expected.path()), "cut after {polls} polls");
        fs::set_permissions(directory.path().join("explicit"), Permissions::from_mode(0o755)).unwrap();
        assert!(!staged(), "cut after {polls} polls");
    }
    fs::set_permissions(expected.path().join("explicit"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_head_that_fails_once_opens_no_private_directory() {
    let directory = tempfile::tempdir().unwrap();
    let failing = |operation, key: &str| match (operation, key) {
        (Operation::Head, "d/") => Err(StoreError::new(operation, key, StoreErrorKind::Transient)),
        _ => Ok(()),
    };
    let store = Hooked { store: MemoryStore::new(), hook: failing };
    put(&store, "d/", "", &headers("0040700", me()));
    put(&store, "d/x", "1", &headers("0100644", me()));
    let report = import_all(&store, directory.path(), Profile::untrusted());
    assert_eq!((report.failed, report.written), (2, 0));
    assert!(!directory.path().join("d").exists());
    assert_eq!(
        &*report.problems[1].reason,
        "nothing can be put into \"d/\", which could not be read or made, or whose object could not be read"
    );
    let report = import_all(&store.store, directory.path(), Profile::untrusted());
    assert_eq!((report.written, mode(&directory.path().join("d"))), (2, 0o700));
}

/// A file stands in the place of a directory when it is looked at, and is gone when something is put into it.
#[test]
fn a_directory_whose_place_was_taken_for_a_moment_is_made_as_its_object_says() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (known, implied) = (at("known"), at("implied"));
    let new = at("new");
    let hook = move |operation, key: &str| {
        match (operation, key) {
            (Operation::Head, "implie/") => fs::write(&implied, "").unwrap(),
            (Operation::Head, "implied/d/") => fs::remove_file(&implied).unwrap(),
            (Operation::Head, "known/d/") => fs::remove_file(&known).unwrap(),
            (Operation::Head, "new/") if !new.exists() => fs::write(&new, "").unwrap(),
            (Operation::Head, "new/d/") if new.is_file() => fs::remove_file(&new).unwrap(),
            _ => {}
        }
        Ok(())
    };
    let store = Hooked { store: MemoryStore::new(), hook };
    put(&store, "known/", "", &headers("0040750", me()));
    let tree = LocalTree::open(directory.path()).unwrap();
    let state = MemoryState::new();
    let options = ImportOptions::new(Profile::fsx()).with_bucket("b").with_jobs(Jobs::new(1).unwrap());
    let import = || block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
    assert_eq!(import().written, 1);
    fs::remove_dir(at("known")).unwrap();
    fs::write(at("known"), "").unwrap();
    for (key, permissions) in [
        ("implie/", "0040711"),
        ("implied/d/", "0040711"),
        ("known/d/", "0040711"),
        ("new/", "0040750"),
        ("new/d/", "0040711"),
    ] {
        put(&store, key, "", &headers(permissions, me()));
    }
    let report = import();
    assert_eq!((report.written, report.conflicts), (4, 1), "{:?}", report.problems);
    assert_eq!(report.problems[0].key.to_string(), "new/");
    let is_right = || {
        assert_eq!((mode(&at("known")), mode(&at("new"))), (0o750, 0o750));
        assert_eq!(mode(&at("implied")), Profile::fsx().defaults.directory.bits());
        for name in ["implied", "known", "new"] {
            assert_eq!(mode(&at(name).join("d")), 0o711, "{name}");
        }
    };
    is_right();
    // Nothing is said to have changed here, since nothing has.
    for _ in 0..2 {
        let report = import();
        assert_eq!((report.written, report.metadata_only, report.problems.len()), (0, 0, 0), "{:?}", report.problems);
        is_right();
    }
}

#[test]
fn a_foreign_directory_that_is_named_as_staging_keeps_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    put(&store, "a", "1", &PutOptions::default());
    for name in [".posix-s3-staging-mine", ".posix-s3-staging-00112233445566778899aabbccddeeff"] {
        let foreign = directory.path().join(name);
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, Permissions::from_mode(0o700)).unwrap();
        fs::write(foreign.join("precious"), "x").unwrap();
        import_all(&store, directory.path(), Profile::untrusted());
        assert!(foreign.join("precious").exists());
    }
}

#[test]
fn imports_into_one_tree_at_once_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let start = Arc::new(Barrier::new(4));
        let runs: Vec<_> = (0..4)
            .map(|run| {
                let (start, root) = (Arc::clone(&start), directory.path().to_owned());
                std::thread::spawn(move || {
                    let store = MemoryStore::new();
                    put(&store, &format!("{round}-{run}"), "1", &PutOptions::default());
                    start.wait();
                    import_all(&store, &root, Profile::fsx())
                })
            })
            .collect();
        for run in runs {
            let report = run.join().unwrap();
            assert_eq!(report.written, 1, "{:?}", report.problems);
        }
    }
}

#[test]
fn a_damaged_object_does_not_hide_the_others_and_can_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path().join("bucket")).unwrap();
    put(&store, "a", "hello", &PutOptions::default());
    put(&store, "b", "hello", &PutOptions::default());
    fs::write(directory.path().join("bucket/a@"), "cut").unwrap();
    let target = directory.path().join("target");
    fs::create_dir(&target).unwrap();
    let report = import_all(&store, &target, Profile::fsx());
    assert_eq!((report.written, report.failed), (1, 1));
    assert_eq!((report.problems[0].outcome, &*report.problems[0].key), (Outcome::Failed, "a"));
    put(&store, "a", "again", &PutOptions::default());
    assert_eq!(import_all(&store, &target, Profile::fsx()).written, 1);
    fs::write(directory.path().join("bucket/a@"), "cut").unwrap();
    block_on(store.delete("a", &Precondition::None)).unwrap();
    assert_eq!(block_on(store.head("a")).unwrap_err().kind(), StoreErrorKind::NotFound);
}

#[test]
fn a_flood_of_refused_keys_takes_bounded_memory() {
    const KEYS: usize = 110_000;
    struct Flood;
    impl Flood {
        fn refuse<T>(operation: Operation) -> Result<T, StoreError> {
            Err(StoreError::new(operation, "", StoreErrorKind::NotFound))
        }
    }
    impl ObjectStore for Flood {
        fn capabilities(&self) -> Capabilities {
            Capabilities::ALL
        }

        async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
            let start: usize = request.token.as_deref().map_or(0, |token| token.parse().unwrap());
            let end = (start + 1000).min(KEYS);
            let object = |number| ListedObject {
                key: format!("{number:08}{}//", "\u{1}".repeat(900)),
                size: 0,
                etag: ETag::new("\"x\""),
                last_modified: Timestamp::EPOCH,
            };
            let next = (end < KEYS).then(|| end.to_string());
            Ok(ListPage::new((start..end).map(object).collect(), next))
        }

        async fn head(&self, _: &str) -> Result<ObjectMeta, StoreError> {
            Self::refuse(Operation::Head)
        }

        async fn get(&self, _: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
            Self::refuse(Operation::Get)
        }

        async fn put(&self, _: &str, _: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
            Self::refuse(Operation::Put)
        }

        async fn replace_metadata(&self, _: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
            Self::refuse(Operation::ReplaceMetadata)
        }

        async fn delete(&self, _: &str, _: &Precondition) -> Result<(), StoreError> {
            Self::refuse(Operation::Delete)
        }
    }
    let options = ImportOptions::new(Profile::untrusted());
    let report = block_on(import(&Flood, &MemoryTree::new(), &options, &Silent)).unwrap();
    let text: usize = report.problems.iter().map(|problem| problem.key.len() + problem.reason.len()).sum();
    assert!(text <= Report::PROBLEM_BYTES);
    assert_eq!((report.skipped, report.problems.len() as u64 + report.problems_omitted), (110_000, 110_000));
}

#[test]
fn a_bucket_that_may_only_be_read_is_read() {
    const CHILD: &str = "POSIX_S3_TEST_READ_ONLY_BUCKET";
    let read = |bucket: &Path| {
        let store = DirectoryStore::open_existing(bucket).unwrap();
        assert_eq!(block_on(store.head("a")).unwrap().size, 5);
        let error = block_on(store.put("b", Body::empty(), &PutOptions::default())).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied);
        let error = block_on(store.delete("a", &Precondition::None)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied);
    };
    if let Some(bucket) = std::env::var_os(CHILD) {
        return read(Path::new(&bucket));
    }
    let directory = tempfile::tempdir().unwrap();
    let bucket = directory.path().join("bucket");
    put(&DirectoryStore::open(&bucket).unwrap(), "a", "hello", &PutOptions::default());
    fs::set_permissions(bucket.join("a@"), Permissions::from_mode(0o644)).unwrap();
    if me() != 0 {
        for path in [bucket.join(".lock"), bucket.join(".tmp"), bucket.clone()] {
            fs::set_permissions(path, Permissions::from_mode(0o500)).unwrap();
        }
        read(&bucket);
        for path in [bucket.join(".tmp"), bucket.clone()] {
            fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
        }
        return;
    }
    // The superuser may write everywhere: the test goes on as somebody else.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut child = std::process::Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut child, 65534);
    let arguments = ["--exact", "a_bucket_that_may_only_be_read_is_read"];
    assert!(child.args(arguments).env(CHILD, &bucket).current_dir("/").status().unwrap().success());
}

/// A store that makes one call at a time, as a client with one connection does.
#[test]
fn an_import_needs_no_more_than_one_connection() {
    struct OneAtATime {
        store: MemoryStore,
        connection: futures_util::lock::Mutex<()>,
    }
    impl OneAtATime {
        /// Waits for the connection, and then for an answer.
        async fn call(&self) -> futures_util::lock::MutexGuard<'_, ()> {
            let guard = self.connection.lock().await;
            let mut waited = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut waited, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            guard
        }
    }
    impl ObjectStore for OneAtATime {
        fn capabilities(&self) -> Capabilities {
            self.store.capabilities()
        }

        async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
            let _connection = self.call().await;
            self.store.list(&ListRequest { max_keys: Some(7), ..request.clone() }).await
        }

        async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
            let _connection = self.call().await;
            self.store.head(key).await
        }

        async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
            let _connection = self.call().await;
            self.store.get(key, options).await
        }

        async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
            let _connection = self.call().await;
            self.store.put(key, body, options).await
        }

        async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
            let _connection = self.call().await;
            self.store.replace_metadata(key, options).await
        }

        async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
            let _connection = self.call().await;
            self.store.delete(key, precondition).await
        }
    }
    for jobs in [1, 2, 3, 16] {
        let store = OneAtATime { store: MemoryStore::new(), connection: futures_util::lock::Mutex::new(()) };
        for number in 0..60 {
            put(&store, &format!("d{number}/"), "", &headers("0040755", me()));
            put(&store, &format!("d{number}/file"), "1", &headers("0100644", me()));
        }
        put(&store, "a", "1", &headers("0100644", me()));
        let tree = MemoryTree::new();
        let options = ImportOptions::new(Profile::fsx()).with_jobs(posix_s3::engine::Jobs::new(jobs).unwrap());
        for unchanged in [0, 121] {
            let mut run = pin!(import(&store, &tree, &options, &Silent));
            let mut polls = 0;
            let report = loop {
                polls += 1;
                assert!(polls < 100_000, "stands still with {jobs} jobs");
                if let std::task::Poll::Ready(result) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    break result.unwrap();
                }
            };
            assert_eq!((report.unchanged, report.entries), (unchanged, 121));
        }
    }
}

#[test]
fn two_imports_on_one_tree_do_not_end_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let tree = Arc::new(LocalTree::open(directory.path()).unwrap());
    for round in 0..30 {
        let start = Arc::new(Barrier::new(2));
        let runs: Vec<_> = (0..2)
            .map(|run| {
                let (start, tree) = (Arc::clone(&start), Arc::clone(&tree));
                std::thread::spawn(move || {
                    let store = MemoryStore::new();
                    put(&store, &format!("{round}-{run}"), "1", &PutOptions::default());
                    start.wait();
                    block_on(import(&store, &*tree, &ImportOptions::new(Profile::fsx()), &Silent))
                })
            })
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap().unwrap().written, 1);
        }
    }
    let left = fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".posix-s3-staging-"));
    assert_eq!(left.count(), 0);
}

#[test]
fn directories_held_by_an_earlier_run_serve_no_later_one() {
    let directory = tempfile::tempdir().unwrap();
    let tree = LocalTree::open(directory.path()).unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    block_on(posix_s3::tree::Tree::lookup(&tree, &"d/x".parse().unwrap())).unwrap();
    fs::rename(directory.path().join("d"), directory.path().join("old")).unwrap();
    let store = MemoryStore::new();
    put(&store, "d/x", "1", &PutOptions::default());
    let report = block_on(import(&store, &tree, &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
    assert_eq!(report.written, 1);
    assert!(directory.path().join("d/x").exists() && !directory.path().join("old/x").exists());
}

#[test]
fn a_directory_that_is_kept_keeps_what_is_done_to_it_during_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("d");
    fs::create_dir(&kept).unwrap();
    fs::set_permissions(&kept, Permissions::from_mode(0o755)).unwrap();
    let closing = kept.clone();
    let hook = move |operation, _: &str| {
        if operation == Operation::Get {
            fs::set_permissions(&closing, Permissions::from_mode(0o700)).unwrap();
        }
        Ok(())
    };
    let store = Hooked { store: MemoryStore::new(), hook };
    put(&store, "d/", "", &headers("0040777", me()));
    put(&store, "d/x", "1", &headers("0100644", me()));
    let tree = LocalTree::open(directory.path()).unwrap();
    let options = ImportOptions::new(Profile::fsx()).with_existing(posix_s3::plan::Existing::Keep);
    let report = block_on(import(&store, &tree, &options, &Silent)).unwrap();
    assert_eq!((report.conflicts, report.written), (1, 1));
    assert_eq!(mode(&kept), 0o700);
}

/// A bucket whose Last-Modified has whole seconds, as that of S3.
struct WholeSeconds(MemoryStore);

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_nanoseconds(time.nanoseconds() - i128::from(time.subsecond_nanos())).unwrap()
}

impl ObjectStore for WholeSeconds {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = self.0.list(request).await?;
        page.objects.iter_mut().for_each(|object| object.last_modified = whole(object.last_modified));
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let meta = self.0.head(key).await?;
        Ok(ObjectMeta { last_modified: whole(meta.last_modified), ..meta })
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let mut got = self.0.get(key, options).await?;
        got.meta.last_modified = whole(got.meta.last_modified);
        Ok(got)
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let put = self.0.put(key, body, options).await?;
        Ok(PutOutput { last_modified: put.last_modified.map(whole), ..put })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let put = self.0.replace_metadata(key, options).await?;
        Ok(PutOutput { last_modified: put.last_modified.map(whole), ..put })
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.0.delete(key, precondition).await
    }
}

#[test]
fn metadata_that_changes_twice_within_a_second_reaches_the_tree() {
    let (tree, state) = (MemoryTree::new(), MemoryState::new());
    let store =
        WholeSeconds(MemoryStore::with_clock(|| Timestamp::from_nanoseconds(1_600_000_000_000_000_000).unwrap()));
    let permissions = |mode: &'static str| PutOptions {
        headers: [("x-amz-meta-file-permissions".parse().unwrap(), mode.parse().unwrap())].into_iter().collect(),
        ..PutOptions::default()
    };
    block_on(store.put("a", Bytes::from("x").into(), &permissions("0100644"))).unwrap();
    let options = ImportOptions::new(Profile::fsx()).with_bucket("bucket");
    let import = || block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
    assert_eq!(import().written, 1);
    block_on(store.replace_metadata("a", &permissions("0100600"))).unwrap();
    let report = import();
    assert_eq!((report.metadata_only, report.store_calls.get), (1, 0));
    assert_eq!(tree.entries()[0].0.attributes().permissions, posix_s3::Permissions::from_mode(0o600));
}

#[test]
fn attributes_never_reach_a_file_that_got_another_size_in_the_same_tick() {
    let directory = tempfile::tempdir().unwrap();
    let tree = LocalTree::open(directory.path()).unwrap();
    let path = directory.path().join("a");
    fs::write(&path, "hello, world").unwrap();
    // What was found was shorter, and had the same time by chance.
    let Ok(Present::Entry(found)) = block_on(tree.lookup(&Key::parse("a").unwrap())) else { panic!("it is there") };
    let before = mode(&path);
    let attributes = Attributes { permissions: posix_s3::Permissions::from_mode(0o640), ..*found.entry.attributes() };
    let set = |size| {
        let entry = Entry::new(Key::parse("a").unwrap(), EntryKind::File { size }, attributes).unwrap();
        let op = TreeOp::SetAttributes { entry, found: found.fingerprint };
        block_on(tree.apply(&op)).map(drop).map_err(|error| error.kind())
    };
    assert_eq!(set(5), Err(TreeErrorKind::Changed));
    assert_eq!(mode(&path), before);
    assert_eq!(set(12), Ok(()));
    assert_eq!(mode(&path), 0o640);
    block_on(tree.finish()).unwrap();
}

#[test]
fn attributes_that_go_to_a_directory_that_was_removed_meanwhile_are_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let tree = LocalTree::open(directory.path()).unwrap();
    let path = directory.path().join("d");
    fs::create_dir(&path).unwrap();
    // It is held from here on.
    block_on(tree.lookup(&Key::parse("d/x").unwrap())).unwrap();
    let Ok(Present::Entry(found)) = block_on(tree.lookup(&Key::parse("d/").unwrap())) else { panic!("it is there") };
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    let op = TreeOp::SetAttributes { entry: found.entry.clone(), found: found.fingerprint };
    assert_eq!(block_on(tree.apply(&op)).unwrap_err().kind(), TreeErrorKind::Changed);
    block_on(tree.finish()).unwrap();
}

#[test]
fn what_could_not_be_removed_from_the_staging_directory_goes_with_it_in_the_end() {
    /// More than is written at once, when all of it is there.
    const LARGE: usize = 300_000;
    let directory = tempfile::tempdir().unwrap();
    let tree = LocalTree::open(directory.path()).unwrap();
    let root = directory.path().to_owned();
    // As if a file that came to nothing could not be removed then, since the disk failed for a moment.
    let body = stream::once(async move {
        let is_staging = |path: &std::path::PathBuf| path.to_string_lossy().contains(".posix-s3-staging-");
        let staging = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).find(is_staging).unwrap();
        fs::write(staging.join("7"), "left").unwrap();
        fs::create_dir(staging.join("8")).unwrap();
        Ok(Bytes::from(vec![7; LARGE]))
    });
    let attributes = Attributes {
        permissions: posix_s3::Permissions::from_mode(0o600),
        uid: Uid::new(me()).unwrap(),
        gid: Gid::new(directory.path().metadata().unwrap().gid()).unwrap(),
        atime: Timestamp::EPOCH,
        mtime: Timestamp::EPOCH,
    };
    let entry = Entry::new(Key::parse("a").unwrap(), EntryKind::File { size: LARGE as u64 }, attributes).unwrap();
    block_on(tree.write_file(&entry, body.boxed(), Standing::Nothing)).unwrap();
    block_on(tree.finish()).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
