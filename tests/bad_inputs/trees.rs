//! The local trees that are bad to export, T1 to T46, but for those of [`rows`](super::rows) that other tests show.

use super::run::{MOUNTS, Place, child, in_a_child, is_superuser, open};
use crate::namespace::not_run;
use futures_executor::block_on;
use futures_util::StreamExt;
use posix_s3::engine::{
    ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Report, Silent, export, export_since, import,
};
use posix_s3::plan::{Brake, Cause, Deletes};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore,
    Precondition, PutOptions, PutOutput, StoreError,
};
use posix_s3::tree::{LocalTree, Tree, TreeErrorKind};
use posix_s3::{Key, Profile};
use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, OFlags, Timespec, Timestamps, ioctl_getflags, ioctl_setflags};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

fn exported(root: &Path, store: &impl ObjectStore) -> Report {
    block_on(export(&open(root), store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap()
}

fn keys(store: &MemoryStore) -> Vec<String> {
    let page = block_on(store.list(&ListRequest::default())).unwrap();
    page.objects.into_iter().map(|object| object.key).collect()
}

fn header(store: &MemoryStore, key: &str, name: &str) -> String {
    let headers = block_on(store.head(key)).unwrap_or_else(|error| panic!("{key}: {error}")).headers;
    headers[format!("x-amz-meta-file-{name}")].to_str().unwrap().to_owned()
}

fn body(store: &MemoryStore, key: &str) -> Option<Vec<u8>> {
    let mut output = block_on(store.get(key, &GetOptions::default())).ok()?;
    let mut body = Vec::new();
    while let Some(piece) = block_on(output.body.next()) {
        body.extend(piece.unwrap());
    }
    Some(body)
}

fn cause(report: &Report, key: &str) -> Option<(Outcome, Cause)> {
    let problem = report.problems.iter().find(|problem| &*problem.key == key)?;
    Some((problem.outcome, problem.cause))
}

#[test]
fn t1_t2_t3_what_is_special_is_skipped_and_not_opened() {
    let place = Place::new();
    let root = place.root();
    rustix::fs::mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let mut special = vec!["pipe", "socket"];
    if is_superuser("devices in a tree") {
        let device = |name, kind| rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o600), 0x0103);
        device("character", FileType::CharacterDevice).unwrap();
        device("block", FileType::BlockDevice).unwrap();
        special.extend(["block", "character"]);
    }
    fs::write(root.join("file"), "x").unwrap();
    let (store, begun) = (MemoryStore::new(), Instant::now());
    let report = exported(&root, &store);
    // Opening a pipe that nobody writes to would never end.
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(keys(&store), ["file"]);
    for name in special {
        assert_eq!(cause(&report, name), Some((Outcome::Skipped, Cause::Special)), "{report:?}");
    }
}

#[test]
fn t4_t5_a_file_that_is_swapped_after_the_look_is_not_opened() {
    let place = Place::new();
    let (root, key) = (place.root(), Key::parse("f").unwrap());
    let tree = open(&root);
    fs::write(root.join("f"), "x").unwrap();
    assert!(block_on(tree.lookup(&key)).unwrap().entry().is_some());
    fs::remove_file(root.join("f")).unwrap();
    rustix::fs::mknodat(CWD, root.join("f"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert_eq!(block_on(tree.open(&key)).map(drop).unwrap_err().kind(), TreeErrorKind::Changed);
    fs::remove_file(root.join("f")).unwrap();
    symlink("../outside/sentinel", root.join("f")).unwrap();
    assert_eq!(block_on(tree.open(&key)).map(drop).unwrap_err().kind(), TreeErrorKind::Changed);
}

type Meddling<'m> = Box<dyn FnMut(&str) + Send + 'm>;

/// A store beside which something happens before each put.
struct Meddled<'m> {
    store: MemoryStore,
    before: Mutex<Meddling<'m>>,
}

impl<'m> Meddled<'m> {
    fn new(before: impl FnMut(&str) + Send + 'm) -> Self {
        Self { store: MemoryStore::new(), before: Mutex::new(Box::new(before)) }
    }
}

impl ObjectStore for Meddled<'_> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (self.before.lock().unwrap())(key);
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

/// More than is read before it is sent.
const LARGE: usize = 3 << 20;

#[test]
fn t6_t7_a_file_that_grows_or_shrinks_while_it_is_read_is_not_sent() {
    for by in [1, -1] {
        let place = Place::new();
        let file = place.root().join("f");
        fs::write(&file, vec![b'x'; LARGE]).unwrap();
        let mut tries = 0;
        let store = Meddled::new(|_| {
            tries += 1;
            let length = fs::metadata(&file).unwrap().len();
            File::options().write(true).open(&file).unwrap().set_len(length.saturating_add_signed(by)).unwrap();
        });
        let report = exported(&place.root(), &store);
        assert_eq!((report.failed, keys(&store.store).len()), (1, 0), "{report:?}");
        assert_eq!(cause(&report, "f").map(|(outcome, _)| outcome), Some(Outcome::Failed));
        drop(store);
        assert_eq!(tries, 3);
    }
}

#[test]
fn t10_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other_whole() {
    let place = Place::new();
    let root = place.root();
    fs::write(root.join("f"), vec![b'o'; LARGE]).unwrap();
    let mut is_first = true;
    let store = Meddled::new(|_| {
        if std::mem::take(&mut is_first) {
            fs::write(root.join("beside"), vec![b'n'; LARGE]).unwrap();
            fs::rename(root.join("beside"), root.join("f")).unwrap();
        }
    });
    exported(&place.root(), &store);
    let sent = body(&store.store, "f").unwrap();
    assert!(sent == vec![b'o'; LARGE] || sent == vec![b'n'; LARGE], "a mixture");
    exported(&place.root(), &store);
    assert_eq!(body(&store.store, "f").unwrap(), vec![b'n'; LARGE]);
}

#[test]
fn t11_what_vanishes_before_it_is_opened_keeps_its_object() {
    let place = Place::new();
    let root = place.root();
    for name in ["a", "b"] {
        fs::write(root.join(name), "old").unwrap();
    }
    let is_armed = std::sync::atomic::AtomicBool::new(false);
    let store = Meddled::new(|key| {
        if key == "a" && is_armed.load(std::sync::atomic::Ordering::Relaxed) {
            fs::remove_file(root.join("b")).unwrap();
        }
    });
    let (tree, state) = (open(&root), MemoryState::new());
    let options = ExportOptions::new(Profile::fsx())
        .with_bucket("b")
        .with_jobs(Jobs::ONE)
        .with_deletes(Deletes::Apply(Brake::RELEASED));
    block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    for name in ["a", "b"] {
        fs::write(root.join(name), "newer").unwrap();
    }
    is_armed.store(true, std::sync::atomic::Ordering::Relaxed);
    let report = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    assert_eq!((report.written, report.deleted), (1, 0), "{report:?}");
    assert_eq!(cause(&report, "b"), Some((Outcome::Skipped, Cause::FileNotFound)), "{report:?}");
    assert_eq!(body(&store.store, "b").as_deref(), Some(&b"old"[..]));
    // The next run sees that it is gone.
    is_armed.store(false, std::sync::atomic::Ordering::Relaxed);
    let report = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    assert_eq!((report.deleted, keys(&store.store)), (1, vec!["a".to_owned()]), "{report:?}");
}

#[test]
fn t15_a_directory_that_is_renamed_during_the_walk_loses_nothing() {
    let place = Place::new();
    let root = place.root();
    fs::create_dir(root.join("d")).unwrap();
    for name in ["a", "d/x", "z"] {
        fs::write(root.join(name), name).unwrap();
    }
    let is_armed = std::sync::atomic::AtomicBool::new(false);
    let store = Meddled::new(|key| {
        if key == "a" && is_armed.swap(false, std::sync::atomic::Ordering::Relaxed) {
            fs::rename(root.join("d"), root.join("e")).unwrap();
        }
    });
    let (tree, state) = (open(&root), MemoryState::new());
    let options = ExportOptions::new(Profile::fsx())
        .with_bucket("b")
        .with_jobs(Jobs::ONE)
        .with_deletes(Deletes::Apply(Brake::RELEASED));
    block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    fs::write(root.join("a"), "changed").unwrap();
    is_armed.store(true, std::sync::atomic::Ordering::Relaxed);
    block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    // The bytes are in the bucket by the one name or the other, at any time.
    assert!(body(&store.store, "d/x").or_else(|| body(&store.store, "e/x")).as_deref() == Some(b"d/x"));
    block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
    assert_eq!(keys(&store.store), ["a", "e/", "e/x", "z"]);
}

#[test]
fn t16_a_bind_mount_of_the_root_in_itself_is_not_crossed() {
    const TEST: &str = "bad_inputs::trees::t16_a_bind_mount_of_the_root_in_itself_is_not_crossed";
    let Some(root) = child() else {
        if is_superuser("a bind mount") {
            let place = Place::new();
            fs::create_dir(place.root().join("loop")).unwrap();
            fs::write(place.root().join("f"), "x").unwrap();
            in_a_child(TEST, MOUNTS, "mount --bind . loop", &place.root());
        }
        return;
    };
    assert!(root.join("loop/f").exists());
    let store = MemoryStore::new();
    let report = exported(&root, &store);
    assert_eq!(keys(&store), ["f"], "{report:?}");
    assert_eq!(
        cause(&report, "loop").or(cause(&report, "loop/")),
        Some((Outcome::Skipped, Cause::MountPoint)),
        "{report:?}"
    );
}

#[test]
fn t21_t24_t25_odd_names_and_empty_things_are_listed_back_identically() {
    let place = Place::new();
    let names =
        ["line\nbreak", "\u{1}\u{1f}\u{7f}", "100%", "%41", "a+b", "a?b", "a#b", "a\\b", "...", " ", "-rf", "empty"];
    for name in names {
        fs::write(place.root().join(name), if name == "empty" { "" } else { "x" }).unwrap();
    }
    fs::create_dir(place.root().join("directory")).unwrap();
    let store = MemoryStore::new();
    let report = exported(&place.root(), &store);
    assert_eq!((report.skipped, report.failed), (0, 0), "{report:?}");
    let mut expected: Vec<String> =
        names.iter().map(|name| (*name).to_owned()).chain(["directory/".to_owned()]).collect();
    expected.sort();
    assert_eq!(keys(&store), expected);
    assert_eq!((body(&store, "empty"), body(&store, "directory/")), (Some(Vec::new()), Some(Vec::new())));
}

#[test]
fn t26_t27_t28_t29_t30_t31_attributes_are_written_exactly() {
    if !is_superuser("owners and modes of all kinds") {
        return;
    }
    let place = Place::new();
    let root = place.root();
    let set_mode = |name: &str, mode| fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    for name in ["owner", "set-id", "closed", "future"] {
        fs::write(root.join(name), "x").unwrap();
    }
    chown(root.join("owner"), Some(4_294_967_294), Some(4_294_967_294)).unwrap();
    set_mode("set-id", 0o6755);
    set_mode("closed", 0);
    for (name, mode) in [("sticky", 0o1777), ("shut", 0)] {
        fs::create_dir(root.join(name)).unwrap();
        set_mode(name, mode);
    }
    // Seconds and nanoseconds, and what is to be written; what the file system does not keep is as it keeps it.
    let times: [(i64, i64); 5] =
        [(-1, 999_999_999), (0, 999_999_999), (-2_147_483_648, 0), (15_032_385_535, 0), (4_102_444_800, 1)];
    for (number, (seconds, nanos)) in times.iter().enumerate() {
        let name = format!("time-{number}");
        fs::write(root.join(&name), "x").unwrap();
        let time = Timespec { tv_sec: *seconds, tv_nsec: *nanos as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, root.join(&name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    let store = MemoryStore::new();
    let report = exported(&root, &store);
    assert_eq!((report.skipped, report.failed), (0, 0), "{report:?}");
    assert_eq!(
        (header(&store, "owner", "owner"), header(&store, "owner", "group")),
        ("4294967294".into(), "4294967294".into())
    );
    for (key, mode) in [("set-id", "0100755"), ("sticky/", "0041777"), ("closed", "0100000"), ("shut/", "0040000")] {
        assert_eq!(header(&store, key, "permissions"), mode, "{key}");
    }
    for (number, (seconds, nanos)) in times.iter().enumerate() {
        let stat = fs::metadata(root.join(format!("time-{number}"))).unwrap();
        use std::os::unix::fs::MetadataExt;
        if (stat.mtime(), stat.mtime_nsec()) != (*seconds, *nanos) {
            not_run(&format!("this file system does not keep {seconds} s"));
            continue;
        }
        let expected = i128::from(*seconds) * 1_000_000_000 + i128::from(*nanos);
        assert_eq!(header(&store, &format!("time-{number}"), "mtime"), format!("{expected}ns"));
    }
    // Nothing is to be done again, also where the future is concerned; and what is closed comes back closed.
    let (target, state) = (Place::new(), MemoryState::new());
    block_on(import(&store, &open(&target.root()), &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
    for name in ["closed", "shut"] {
        assert_eq!(fs::metadata(target.root().join(name)).unwrap().permissions().mode() & 0o7777, 0, "{name}");
    }
    let (tree, options) = (open(&root), ExportOptions::new(Profile::fsx()).with_bucket("b"));
    for _ in 0..2 {
        let report = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
        assert_eq!((report.store_calls.put, report.store_calls.copy), (0, 0), "{report:?}");
    }
}

#[test]
fn t35_three_thousand_nested_directories() {
    let place = Place::new();
    let mut directory = File::open(place.root()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&directory, "d", Mode::from_raw_mode(0o755)).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        directory = rustix::fs::openat(&directory, "d", flags, Mode::empty()).unwrap().into();
    }
    let store = MemoryStore::new();
    let report = exported(&place.root(), &store);
    // `d/` 512 times has 1,024 bytes.
    assert_eq!((keys(&store).len(), report.written, report.skipped), (512, 512, 1), "{report:?}");
    assert_eq!(report.problems[0].cause, Cause::KeyTooLong);
    // Nothing else removes so deep a tree without trouble.
    assert!(std::process::Command::new("rm").arg("-rf").arg(place.root().join("d")).status().unwrap().success());
}

#[test]
fn t37_an_immutable_file_is_exported() {
    let place = Place::new();
    let file = place.root().join("f");
    fs::write(&file, "x").unwrap();
    let store = MemoryStore::new();
    let report = match Immutable::make(&file) {
        Ok(_immutable) => exported(&place.root(), &store),
        Err(error) => return not_run(&format!("an immutable file: {error}")),
    };
    assert_eq!((report.written, body(&store, "f").as_deref()), (1, Some(&b"x"[..])), "{report:?}");
}

/// A file that nobody can change or remove, until this is dropped.
struct Immutable(File);

impl Immutable {
    fn make(file: &Path) -> rustix::io::Result<Self> {
        let file = File::open(file).unwrap();
        ioctl_setflags(&file, ioctl_getflags(&file)? | IFlags::IMMUTABLE)?;
        Ok(Self(file))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let flags = ioctl_getflags(&self.0).unwrap();
        ioctl_setflags(&self.0, flags - IFlags::IMMUTABLE).unwrap();
    }
}

#[test]
fn t44_a_target_of_4095_bytes_and_one_that_is_not_utf8() {
    let place = Place::new();
    let targets = BTreeMap::from([("long", vec![b'x'; 4095]), ("odd", b"\xff\xfe/\n".to_vec())]);
    for (name, target) in &targets {
        symlink(std::ffi::OsString::from_vec(target.clone()), place.root().join(name)).unwrap();
    }
    let store = MemoryStore::new();
    exported(&place.root(), &store);
    let again = Place::new();
    block_on(import(&store, &open(&again.root()), &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
    for (name, target) in targets {
        assert_eq!(body(&store, name).as_ref(), Some(&target), "{name}");
        assert_eq!(fs::read_link(again.root().join(name)).unwrap().as_os_str().as_bytes(), target, "{name}");
    }
}

#[test]
fn t45_what_a_crashed_import_has_left_is_not_exported() {
    let place = Place::new();
    fs::create_dir(place.root().join(".posix-s3-staging-0123456789abcdef")).unwrap();
    fs::write(place.root().join(".posix-s3-staging-0123456789abcdef/0"), "half a file").unwrap();
    fs::write(place.root().join("f"), "x").unwrap();
    let store = MemoryStore::new();
    let report = exported(&place.root(), &store);
    assert_eq!(keys(&store), ["f"], "{report:?}");
    assert!(report.problems.iter().any(|problem| problem.cause == Cause::Reserved), "{report:?}");
}

#[test]
fn t46_of_two_exporters_of_one_key_one_wins_and_the_other_says_so() {
    let (one, other) = (Place::new(), Place::new());
    let store = MemoryStore::new();
    let (states, options) =
        ([MemoryState::new(), MemoryState::new()], ExportOptions::new(Profile::fsx()).with_bucket("b"));
    let trees: Vec<LocalTree> = [&one, &other].iter().map(|place| open(&place.root())).collect();
    for (place, state, tree) in [(&one, &states[0], &trees[0]), (&other, &states[1], &trees[1])] {
        block_on(export_since(tree, &store, state, &options, &Silent)).unwrap();
        fs::write(place.root().join("f"), place.root().as_os_str().as_bytes()).unwrap();
    }
    let reports = [0, 1].map(|at| block_on(export_since(&trees[at], &store, &states[at], &options, &Silent)).unwrap());
    assert_eq!((reports[0].written, reports[1].conflicts), (1, 1), "{reports:?}");
    assert_eq!(body(&store, "f"), Some(one.root().as_os_str().as_bytes().to_vec()));
}
