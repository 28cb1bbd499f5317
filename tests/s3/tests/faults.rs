//! Runs over a network that fails: each ends right or says exactly what failed, nothing is ever torn, and the next run over
//! a network that is well ends where an untroubled one does.
//!
//! The server is the one in process, or the one that the environment names, as for the conformance run.

use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;
use posix_s3::engine::{
    ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Report, RunError, Silent, export_since, import_since,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::DynObjectStore;
use posix_s3::store::s3::{FileUploadLog, RetryPolicy, S3Options, Writers};
use posix_s3::tree::LocalTree;
use posix_s3::{Prefix, Profile};
use posix_s3_s3_tests::door::{Door, Place};
use posix_s3_s3_tests::proxy::{Answer, Fault, Proxy, RequestInfo, first_tries, seeded};
use posix_s3_s3_tests::server::{Operation, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// More than one part, and no whole number of them.
const LARGE: usize = (17 << 20) + 5;

/// How long a change is thought of as recent.
const JUST_CHANGED: Duration = Duration::from_secs(3);

/// A schedule of faults.
type Schedule = Box<dyn Fn(&RequestInfo) -> Fault + Send + Sync>;

/// The classes of faults, each with what it is called.
fn classes() -> Vec<(&'static str, Schedule)> {
    let short = Duration::from_millis(3);
    let first = |fault| -> Schedule { Box::new(first_tries(1, fault, |_| true)) };
    let first_of = |operations: &'static [Operation], fault| -> Schedule {
        Box::new(first_tries(1, fault, move |request| operations.contains(&request.operation)))
    };
    let some = |seed, one_in, faults| -> Schedule { Box::new(seeded(seed, one_in, faults)) };
    let mixed = vec![
        Fault::Latency(short),
        Fault::ResetEarly,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::CutReply,
        Fault::Answer(Answer::INTERNAL_ERROR),
        Fault::AnswerAfter(Answer::INTERNAL_ERROR),
        Fault::Answer(Answer::SLOW_DOWN),
    ];
    vec![
        ("latency", some(1, 2, vec![Fault::Latency(Duration::from_millis(20))])),
        ("reset-early", first(Fault::ResetEarly)),
        ("reset-before", first(Fault::ResetBefore)),
        ("reset-after", first(Fault::ResetAfter)),
        ("cut-replies", first(Fault::CutReply)),
        // Of an upload that is begun twice only one is ever told of; the other is for a rule of the bucket to end.
        (
            "twice",
            Box::new(|request| match request.operation {
                Operation::CreateMultipartUpload => Fault::None,
                _ => Fault::Twice,
            }),
        ),
        ("500", first(Fault::Answer(Answer::INTERNAL_ERROR))),
        ("500-after", first(Fault::AnswerAfter(Answer::INTERNAL_ERROR))),
        ("slow-down", first(Fault::Answer(Answer::SLOW_DOWN))),
        (
            "slow-down-burst",
            Box::new(|request| match request.number {
                20..60 => Fault::Answer(Answer::SLOW_DOWN),
                _ => Fault::None,
            }),
        ),
        ("retry-after", some(2, 16, vec![Fault::Answer(Answer::SLOW_DOWN.with_retry_after(1))])),
        ("drip", some(3, 4, vec![Fault::Drip { piece: 256 << 10, pause: short }])),
        // What is damaged in a listing, or in a part of an object that was put in parts, has no checksum of its own to tell
        // it. There is TLS for that.
        (
            "corrupt",
            Box::new(first_tries(1, Fault::Corrupt, |request| {
                request.operation == Operation::GetObject && !request.path.contains("large")
            })),
        ),
        ("corrupt-requests", first_of(&[Operation::PutObject, Operation::UploadPart], Fault::CorruptRequest)),
        ("mixed-1", some(4, 3, mixed.clone())),
        ("mixed-2", some(5, 3, mixed.clone())),
        ("mixed-3", some(6, 2, mixed)),
        (
            "half-dead",
            Box::new(|request| match request.number {
                15.. => Fault::ResetBefore,
                _ => Fault::None,
            }),
        ),
        ("dead", Box::new(|_| Fault::ResetBefore)),
    ]
}

/// What is where: a directory, a file, a link.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory { mode: u32, mtime: (i64, i64) },
    File { mode: u32, mtime: (i64, i64), content: Vec<u8> },
    Link { target: String, mtime: (i64, i64) },
}

/// A tree by the keys of its entries.
type Nodes = BTreeMap<String, Node>;
/// Objects by key: user metadata and type, and the body.
type Objects = BTreeMap<String, (BTreeMap<String, String>, Vec<u8>)>;

fn content(seed: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8).collect()
}

/// Writes a file whose times say nothing of when that was.
fn write(root: &Path, path: &str, content: &[u8], seconds: u64) {
    fs::write(root.join(path), content).unwrap();
    date(&root.join(path), seconds);
}

fn date(path: &Path, seconds: u64) {
    let mtime = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000 + seconds, 123_456_789);
    let times = FileTimes::new().set_modified(mtime).set_accessed(SystemTime::now());
    File::open(path).unwrap().set_times(times).unwrap();
}

/// A few dozen entries: directories with and without contents, files of many sizes, links, and one in several parts.
fn plant(root: &Path) {
    let directories = ["a", "a/b", "a/b/c", "d", "empty"];
    for directory in directories {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for number in 0..24 {
        let directory = ["", "a/", "a/b/", "a/b/c/", "d/", "d/"][number % 6];
        let path = format!("{directory}file-{number}");
        write(root, &path, &content(number, number * number * 100), number as u64);
        let mode = 0o600 + (number as u32 & 7);
        fs::set_permissions(root.join(&path), Permissions::from_mode(mode)).unwrap();
    }
    write(root, "a/large", &content(99, LARGE), 99);
    for number in 0..4 {
        symlink("../somewhere", root.join(format!("{}link-{number}", ["", "a/b/"][number % 2]))).unwrap();
    }
    for (number, directory) in directories.iter().enumerate().rev() {
        fs::set_permissions(root.join(directory), Permissions::from_mode(0o755 - number as u32)).unwrap();
        date(&root.join(directory), 1000 + number as u64);
    }
}

/// Changes a bit of everything: contents, modes, also of the large file, and what is there at all.
fn change(root: &Path) {
    for (number, path) in ["file-0", "a/file-7", "a/b/c/file-9"].into_iter().enumerate() {
        write(root, path, &content(1000 + number, 5000), 2000);
    }
    for path in ["file-12", "d/file-4", "a/large", "a/b"] {
        fs::set_permissions(root.join(path), Permissions::from_mode(0o711)).unwrap();
    }
    for path in ["file-18", "d/file-5", "d/file-11"] {
        fs::remove_file(root.join(path)).unwrap();
    }
    write(root, "d/new", b"new", 3000);
    date(&root.join("d"), 3001);
}

fn read(root: &Path) -> Nodes {
    let mut nodes = Nodes::new();
    let mut waiting = vec![String::new()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let path = format!("{directory}{}", entry.unwrap().file_name().into_string().unwrap());
            let (at, meta) = (root.join(&path), root.join(&path).symlink_metadata().unwrap());
            let (mode, mtime) = (meta.mode() & 0o7777, (meta.mtime(), meta.mtime_nsec()));
            if meta.is_dir() {
                waiting.push(format!("{path}/"));
                nodes.insert(format!("{path}/"), Node::Directory { mode, mtime });
            } else if meta.is_symlink() {
                let target = fs::read_link(at).unwrap().into_os_string().into_string().unwrap();
                nodes.insert(path, Node::Link { target, mtime });
            } else {
                nodes.insert(path, Node::File { mode, mtime, content: fs::read(at).unwrap() });
            }
        }
    }
    nodes
}

/// Everything of one test: a server, a proxy before it, and a store that goes by it.
struct World {
    runtime: Runtime,
    place: Place,
    proxy: Proxy,
    door: Door,
    prefix: String,
    log: TempDir,
    _server: Option<Server>,
}

impl World {
    fn new(door: Door, class: &str) -> Self {
        let (place, server) = match Place::from_environment() {
            Some(place) => (place, None),
            None => {
                let server = Server::new();
                (Place::of(&server), Some(server))
            }
        };
        let proxy = Proxy::new(&place.endpoint, |_| Fault::None);
        let runtime = Runtime::new().unwrap();
        let world = Self {
            runtime,
            place,
            proxy,
            door,
            prefix: format!("faults/{door}/{class}/"),
            log: tempfile::tempdir().unwrap(),
            _server: server,
        };
        world.clear();
        world
    }

    /// A store by the proxy, as a new process would open it.
    fn open(&self) -> Arc<dyn DynObjectStore> {
        self.proxy.set_schedule(|_| Fault::None);
        let log = FileUploadLog::open(self.log.path().join("uploads"), "bucket").unwrap();
        let retries = RetryPolicy::new(6, Duration::from_millis(2), Duration::from_millis(50));
        let options = S3Options::default().with_retries(retries).with_upload_log(Arc::new(log));
        let options = options.with_probe_prefix(&self.prefix).with_writers(Writers::One);
        self.runtime.block_on(self.door.open(&self.place.by(self.proxy.endpoint()), options)).unwrap()
    }

    fn export(&self, store: &dyn DynObjectStore, root: &Path, state: &MemoryState) -> Result<Report, RunError> {
        let tree = LocalTree::open(root).unwrap();
        let options = ExportOptions::new(Profile::fsx()).with_bucket("bucket").with_prefix(self.prefix());
        let options = options.with_jobs(Jobs::new(8).unwrap()).with_deletes(Deletes::Apply(Brake::RELEASED));
        self.runtime.block_on(export_since(&tree, store, state, &options, &Silent))
    }

    fn import(&self, store: &dyn DynObjectStore, root: &Path, state: &MemoryState) -> Result<Report, RunError> {
        let tree = LocalTree::open(root).unwrap();
        let options = ImportOptions::new(Profile::fsx()).with_bucket("bucket").with_prefix(self.prefix());
        let options = options.with_jobs(Jobs::new(8).unwrap()).with_deletes(Deletes::Apply(Brake::RELEASED));
        self.runtime.block_on(import_since(store, &tree, state, &options, &Silent))
    }

    fn prefix(&self) -> Prefix {
        self.prefix.parse().unwrap()
    }

    /// What the bucket holds below the prefix, seen past the proxy and the crate.
    fn objects(&self) -> Objects {
        let client = self.place.client();
        self.runtime.block_on(async {
            let mut objects = Objects::new();
            for key in self.keys(&client).await {
                let got = client.get_object().bucket(&self.place.bucket).key(&key).send().await.unwrap();
                let mut headers: BTreeMap<String, String> =
                    got.metadata.clone().unwrap_or_default().into_iter().collect();
                // Whoever reads a tree may change it.
                headers.remove("file-atime");
                headers.extend(got.content_type.clone().map(|value| ("content-type".to_owned(), value)));
                let body = got.body.collect().await.unwrap().to_vec();
                objects.insert(key.strip_prefix(&self.prefix).unwrap().to_owned(), (headers, body));
            }
            objects
        })
    }

    async fn keys(&self, client: &aws_sdk_s3::Client) -> Vec<String> {
        let list = client.list_objects_v2().bucket(&self.place.bucket).prefix(&self.prefix);
        let page = list.encoding_type(EncodingType::Url).send().await.unwrap();
        assert_ne!(page.is_truncated(), Some(true));
        let key = |key: &str| percent_decode_str(&key.replace('+', " ")).decode_utf8().unwrap().into_owned();
        page.contents().iter().map(|object| key(object.key().unwrap())).collect()
    }

    fn uploads(&self) -> Vec<(String, String)> {
        let client = self.place.client();
        let list = client.list_multipart_uploads().bucket(&self.place.bucket).prefix(&self.prefix);
        let page = self.runtime.block_on(list.send()).unwrap();
        let ids = |upload: &aws_sdk_s3::types::MultipartUpload| {
            (upload.key().unwrap().to_owned(), upload.upload_id().unwrap().to_owned())
        };
        page.uploads().iter().map(ids).collect()
    }

    /// Removes what an earlier run may have left on a server that lives longer.
    fn clear(&self) {
        let client = self.place.client();
        self.runtime.block_on(async {
            for key in self.keys(&client).await {
                client.delete_object().bucket(&self.place.bucket).key(key).send().await.unwrap();
            }
        });
        for (key, id) in self.uploads() {
            let abort = client.abort_multipart_upload().bucket(&self.place.bucket).key(key).upload_id(id);
            self.runtime.block_on(abort.send()).unwrap();
        }
    }
}

/// The keys of which a run says that they are not as they should be; `None` when it stopped before its end.
fn reported(result: &Result<Report, RunError>) -> Option<BTreeSet<&str>> {
    let report = result.as_ref().unwrap_or_else(RunError::report);
    let ends = report.unchanged + report.written + report.metadata_only + report.skipped;
    assert_eq!(report.entries, ends + report.failed + report.conflicts, "the sums agree: {report:?}");
    let bad = report.problems.iter().filter(|problem| matches!(problem.outcome, Outcome::Failed | Outcome::Conflict));
    let bad: BTreeSet<&str> = bad.map(|problem| &*problem.key).collect();
    assert_eq!(bad.len() as u64, report.failed + report.conflicts, "each is said: {:?}", report.problems);
    result.is_ok().then_some(bad)
}

/// Every object is one of these versions, and those of which nothing is said are the newest.
fn objects_are_whole(found: &Objects, old: &Objects, new: &Objects, bad: Option<&BTreeSet<&str>>, what: &str) {
    for (key, object) in found {
        let versions = [old.get(key), new.get(key)];
        assert!(versions.contains(&Some(object)), "{what}: {key} is torn: {:?}, {} bytes", object.0, object.1.len());
    }
    for (key, object) in new {
        if bad.is_some_and(|bad| !bad.contains(key.as_str())) {
            assert!(found.get(key) == Some(object), "{what}: nothing is said of {key}, but it is not there");
        }
    }
}

fn differing<T: PartialEq>(one: &BTreeMap<String, T>, other: &BTreeMap<String, T>) -> Vec<String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// A run that has nothing to do.
fn has_nothing_to_do(report: &Report, what: &str) {
    let counts = (report.unchanged, report.deleted, report.failed, report.conflicts);
    assert_eq!(counts, (report.entries, 0, 0, 0), "{what}: {report:?}");
}

/// Runs again without faults until both sides agree, which takes one run.
fn settle(result: Result<Report, RunError>, what: &str) -> Report {
    let report = result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let bad = (report.failed, report.conflicts, report.skipped, report.braked);
    assert_eq!(bad, (0, 0, 0, None), "{what}: {:?}", report.problems);
    report
}

/// What an untroubled export makes of a tree.
fn untroubled(door: Door, class: &str, root: &Path) -> Objects {
    let world = World::new(door, &format!("{class}-untroubled"));
    let store = world.open();
    settle(world.export(&*store, root, &MemoryState::new()), class);
    let objects = world.objects();
    world.clear();
    objects
}

/// Exports a tree, and exports its changes, over a network with these faults.
fn exports_converge(door: Door, class: &str, make: impl Fn() -> Schedule) {
    let world = World::new(door, class);
    let (place, state) = (tempfile::tempdir().unwrap(), MemoryState::new());
    let root = place.path();
    plant(root);
    let mut changed = Instant::now();
    let mut old = Objects::new();
    for round in ["first", "second"] {
        let new = untroubled(door, class, root);
        let store = world.open();
        world.proxy.set_schedule(make());
        let result = world.export(&*store, root, &state);
        let faults = world.proxy.faults();
        let what = format!("{door}, {class}, {round} export");
        let bad = reported(&result);
        objects_are_whole(&world.objects(), &old, &new, bad.as_ref(), &what);
        let said = bad.map_or("stopped".to_owned(), |bad| format!("{} failed", bad.len()));
        println!("{what}: {faults} faults of {} requests, {said}", world.proxy.log().len());
        assert!(faults > 0, "{what}: no fault");
        drop(store);

        // What has only just changed may change again with the same times, and so is looked at once more by the run after.
        std::thread::sleep(JUST_CHANGED.saturating_sub(changed.elapsed()));
        let store = world.open();
        settle(world.export(&*store, root, &state), &what);
        let found = world.objects();
        assert!(found == new, "{what} does not converge: {:?}", differing(&found, &new));
        has_nothing_to_do(&settle(world.export(&*store, root, &state), &what), &what);
        assert_eq!(world.uploads(), [], "{what}: uploads are left");
        old = new;
        if round == "first" {
            change(root);
            changed = Instant::now();
        }
    }
    world.clear();
}

/// Imports a tree, and imports its changes, over a network with these faults.
fn imports_converge(door: Door, class: &str, make: impl Fn() -> Schedule) {
    let world = World::new(door, &format!("{class}-import"));
    let place = tempfile::tempdir().unwrap();
    let (source, target) = (place.path().join("source"), place.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    plant(&source);
    let (exported, imported) = (MemoryState::new(), MemoryState::new());
    let mut old = Nodes::new();
    for round in ["first", "second"] {
        let store = world.open();
        settle(world.export(&*store, &source, &exported), class);
        let new = read(&source);
        world.proxy.set_schedule(make());
        let result = world.import(&*store, &target, &imported);
        let faults = world.proxy.faults();
        let what = format!("{door}, {class}, {round} import");
        assert!(faults > 0, "{what}: no fault");
        let bad = reported(&result);
        let found = read(&target);
        nodes_are_whole(&found, &old, &new, bad.as_ref(), &what);
        let said = bad.map_or("stopped".to_owned(), |bad| format!("{} failed", bad.len()));
        println!("{what}: {faults} faults of {} requests, {said}", world.proxy.log().len());
        drop(store);

        let store = world.open();
        settle(world.import(&*store, &target, &imported), &what);
        let found = read(&target);
        assert!(found == new, "{what} does not converge: {:?}", differing(&found, &new));
        has_nothing_to_do(&settle(world.import(&*store, &target, &imported), &what), &what);
        old = new;
        if round == "first" {
            change(&source);
        }
    }
    world.clear();
}

/// Every file holds the whole of one version, and what nothing is said of is the newest.
fn nodes_are_whole(found: &Nodes, old: &Nodes, new: &Nodes, bad: Option<&BTreeSet<&str>>, what: &str) {
    for (key, node) in found {
        let content = |nodes: &Nodes| match nodes.get(key) {
            Some(Node::File { content, .. }) => Some(content.clone()),
            _ => None,
        };
        match node {
            Node::File { content: found, .. } => {
                let versions = [content(old), content(new)];
                assert!(versions.contains(&Some(found.clone())), "{what}: {key} is torn: {} bytes", found.len());
            }
            Node::Link { target, .. } => assert_eq!(target, "../somewhere", "{what}: {key}"),
            Node::Directory { .. } => assert!(new.contains_key(key), "{what}: {key} is of nobody"),
        }
    }
    for (key, node) in new {
        if bad.is_some_and(|bad| !bad.contains(key.as_str())) {
            assert!(found.get(key) == Some(node), "{what}: nothing is said of {key}, but it is not there");
        }
    }
}

/// Runs a test for the faults of one class.
fn with(class: &str, test: impl Fn(Door, &str, &dyn Fn() -> Schedule)) {
    let make = || classes().into_iter().find(|(name, _)| *name == class).expect("there is such a class").1;
    for door in Door::ALL {
        test(door, class, &make);
    }
}

macro_rules! classes {
    ($($name:ident: $class:literal $($direction:ident)*,)*) => {
        $(mod $name {
            $(#[test]
            fn $direction() {
                super::with($class, |door, class, make| super::$direction(door, class, make));
            })*
        })*

        #[test]
        fn every_class_is_tested() {
            let tested = [$($class),*];
            assert_eq!(classes().iter().map(|(class, _)| *class).collect::<Vec<_>>(), tested);
        }
    };
}

classes! {
    latency: "latency" exports_converge imports_converge,
    resets_of_heads: "reset-early" exports_converge imports_converge,
    resets_of_requests: "reset-before" exports_converge imports_converge,
    replies_that_are_lost: "reset-after" exports_converge imports_converge,
    replies_that_are_cut: "cut-replies" exports_converge imports_converge,
    requests_that_arrive_twice: "twice" exports_converge imports_converge,
    internal_errors: "500" exports_converge imports_converge,
    internal_errors_after_success: "500-after" exports_converge imports_converge,
    slow_down: "slow-down" exports_converge imports_converge,
    slow_down_in_a_burst: "slow-down-burst" exports_converge imports_converge,
    slow_down_with_a_time: "retry-after" exports_converge imports_converge,
    replies_that_drip: "drip" exports_converge imports_converge,
    bodies_that_are_damaged: "corrupt" imports_converge,
    requests_that_are_damaged: "corrupt-requests" exports_converge,
    a_mix: "mixed-1" exports_converge imports_converge,
    another_mix: "mixed-2" exports_converge imports_converge,
    a_mix_of_more: "mixed-3" exports_converge imports_converge,
    a_network_that_dies: "half-dead" exports_converge imports_converge,
    a_network_that_is_dead: "dead" exports_converge imports_converge,
}
