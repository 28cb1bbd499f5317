//! Memory, descriptors and what is read stay bounded, however many keys there are, however deep, and whatever is sent.
//! What ten million keys take is measured by `benches/bounds.rs`.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test"
)]

mod figures;
mod synthetic;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue};
use posix_s3::engine::{self, EndedEntry, ExportOptions, Fetch, ImportOptions, Jobs, Progress, Silent};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore,
    Precondition, PutOptions, PutOutput, StoreError,
};
use posix_s3::tree::{LocalTree, MemoryTree, NameList, Tree};
use posix_s3::{Key, Prefix, Profile};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use synthetic::{Bucket, Nowhere, Shape};

/// Whoever counts descriptors, which are those of the process, or opens some.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---------------------------------------------------------------------------------------------------- memory

fn options() -> ImportOptions {
    ImportOptions::new(Profile::fsx()).with_data(Fetch::OnDemand)
}

fn audit(bucket: &Bucket) -> u64 {
    block_on(engine::audit(bucket, &Prefix::default(), &Profile::fsx(), |_| ())).unwrap().objects
}

fn plan(bucket: &Bucket) -> u64 {
    block_on(engine::plan_import(bucket, &Nowhere::default(), None, &options(), |_| ())).unwrap().entries
}

fn import(bucket: &Bucket) -> u64 {
    block_on(engine::import(bucket, &Nowhere::default(), &options(), &Silent)).unwrap().entries
}

/// The most that this thread has had allocated at once.
fn peak(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).bytes_max
}

/// What is done with a bucket.
type Run = (&'static str, fn(&Bucket) -> u64);
const AUDIT: Run = ("audit", audit);
const PLAN: Run = ("plan", plan);
const IMPORT: Run = ("import", import);

/// What is allocated is the same to the byte, or nearly. Few are so many that what is kept up to a limit, such as what is put off
/// before it goes to a file, is at its limit.
#[test]
fn of_a_key_not_one_byte_is_kept() {
    let _alone = alone();
    let runs: [(Shape, Run, u64, u64, u64); 14] = [
        // In pages of so many keys, few, and many.
        (Shape::Flat, AUDIT, 1000, 5_000, 20_000),
        (Shape::Flat, PLAN, 1000, 5_000, 20_000),
        (Shape::Flat, IMPORT, 1000, 5_000, 20_000),
        (Shape::Wide, AUDIT, 1000, 5_000, 20_000),
        (Shape::Wide, PLAN, 1000, 5_000, 20_000),
        (Shape::Links, AUDIT, 1000, 5_000, 20_000),
        (Shape::Links, IMPORT, 1000, 20_000, 30_000),
        (Shape::Deep, AUDIT, 100, 400, 1_600),
        (Shape::Deep, PLAN, 100, 400, 1_600),
        (Shape::Deep, IMPORT, 100, 400, 1_600),
        (Shape::Apart, AUDIT, 20, 60, 180),
        (Shape::Apart, PLAN, 20, 60, 180),
        (Shape::Refused, AUDIT, 1000, 5_000, 20_000),
        (Shape::Prefixes, AUDIT, 1000, 12_000, 24_000),
    ];
    for (shape, (name, run), per_page, few, many) in runs {
        let many = few + (many - few) * figures::effort();
        let bucket = |count| Bucket::new(shape, count).in_pages(per_page);
        let [before, after] = [few, many].map(|count| peak(|| assert_eq!(run(&bucket(count)), count)));
        let shape = shape.name();
        println!("{name}, {shape}: {before} bytes, and then {after}");
        // One of `Apart` is all the keys of a path.
        assert!(after < before + (many - few), "{name}, {shape}: {before} bytes, and then {after}");
        assert!(after < MOST, "{name}, {shape}: {after} bytes");
    }
}

/// What is put off, and what could not be done, is kept in memory up to a limit, which these are far from.
#[test]
fn what_is_put_off_is_kept_in_memory_up_to_a_limit() {
    let _alone = alone();
    for (shape, most) in [(Shape::Wide, 2 << 20), (Shape::Prefixes, 2 << 20), (Shape::Refused, 16 << 20)] {
        let [few, many] = [2_000, 10_000 * figures::effort()]
            .map(|count| peak(|| assert_eq!(import(&Bucket::new(shape, count)), count)));
        assert!(many < few + most, "{}: {few} bytes, and then {many}", shape.name());
        assert!(many < MOST, "{}: {many} bytes", shape.name());
    }
}

/// I8, and no parts, since nothing is fetched.
const MOST: u64 = 64 << 20;

/// If this many bytes of each key were kept by whichever thread, that would be seen.
const LEAK: u64 = 4;

const CHILD: &str = "POSIX_S3_TEST_BOUNDS";

/// The same of a whole process, with all its threads, as the kernel counts it.
#[test]
fn of_a_million_keys_a_process_keeps_not_four_bytes_each() {
    const FEW: u64 = 20_000;
    const THIS: &str = "of_a_million_keys_a_process_keeps_not_four_bytes_each";
    let runs = [(Shape::Flat, AUDIT, 1_000_000), (Shape::Flat, IMPORT, 150_000)];
    if let Some(chosen) = std::env::var(CHILD).ok().and_then(|text| text.parse::<usize>().ok()) {
        let (shape, (_, run), many) = runs[chosen];
        for count in [FEW, many * figures::effort()] {
            assert_eq!(run(&Bucket::new(shape, count)), count);
            println!("\npeak: {}", resident());
        }
        return;
    }
    for (chosen, (shape, (name, _), many)) in runs.into_iter().enumerate() {
        let many = many * figures::effort();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", THIS, "--nocapture"]).env(CHILD, chosen.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
        let peaks: Vec<u64> = said.lines().filter_map(|line| line.strip_prefix("peak: ")?.parse().ok()).collect();
        let [before, after] = peaks[..] else { panic!("{said}") };
        assert!(after < before + (many - FEW) * LEAK, "{name}, {}: {before} bytes, and then {after}", shape.name());
        figures::record_at_most(
            &format!("peak memory of a process, {name} of {} keys, KiB", shape.name()),
            after >> 10,
            MOST >> 10,
        );
    }
}

/// The most memory that this process has had, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A page of a thousand keys of 500 directories each took a gigabyte, since all of it was decided about at once.
#[test]
fn a_page_of_deep_keys_is_taken_key_by_key() {
    let _alone = alone();
    let bucket = || Bucket::new(Shape::Apart, 100);
    assert!(peak(|| assert_eq!(audit(&bucket()), 100)) < 8 << 20);
    let [short, long] = [1, 1000].map(|per_page| peak(|| assert_eq!(plan(&bucket().in_pages(per_page)), 100)));
    assert!(long < short + (2 << 20), "{short} bytes, and then {long}");
}

/// T34: a directory is sorted in memory. While that is done each name takes twice its length, up to twice that where memory
/// grows, and 40 bytes; then its length and 8 bytes.
#[test]
fn a_directory_takes_so_many_bytes_a_name() {
    const NAMES: u64 = 200_000;
    let mut names = NameList::default();
    let sorting = peak(|| names = (0..NAMES).map(|at| format!("{at:08}")).collect());
    assert_eq!(names.len() as u64, NAMES);
    let mut copy = NameList::default();
    let kept = peak(|| copy = names.clone());
    assert_eq!(copy, names);
    figures::record_at_most(
        "bytes for each name of 8 while a directory is sorted",
        sorting / NAMES,
        2 * 8 + 2 * 8 + 40,
    );
    figures::record_at_most("bytes for each name of 8 while a directory is walked", kept / NAMES, 8 + 8);
}

// ----------------------------------------------------------------------------------------------- descriptors

/// The most descriptors that were open at once.
#[derive(Clone, Default)]
struct Descriptors(Arc<AtomicUsize>);

impl Descriptors {
    fn count(&self) {
        // One is that of the directory that is read here.
        let open = fs::read_dir("/proc/self/fd").map_or(0, |open| open.count() - 1);
        self.0.fetch_max(open, Ordering::Relaxed);
    }

    /// What `run` had open besides what was open before.
    fn during(run: impl FnOnce(&Self)) -> u64 {
        let (before, counted, ended) = (Self::default(), Self::default(), AtomicBool::new(false));
        before.count();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    counted.count();
                    thread::sleep(Duration::from_micros(200));
                }
            });
            run(&counted);
            ended.store(true, Ordering::Relaxed);
        });
        let [before, peak] = [before, counted].map(|counted| counted.0.load(Ordering::Relaxed) as u64);
        peak - before
    }
}

impl Progress for Descriptors {
    fn entry(&self, _: &EndedEntry<'_>) {
        self.count();
    }
}

fn object(permissions: &str) -> PutOptions {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-meta-file-permissions", HeaderValue::from_str(permissions).unwrap());
    headers.insert("x-amz-meta-file-mtime", HeaderValue::from_static("1595002920000000002ns"));
    PutOptions { headers, ..PutOptions::default() }
}

fn keys(store: &MemoryStore) -> Vec<String> {
    let (mut keys, mut request) = (Vec::new(), ListRequest::default());
    loop {
        let page = block_on(store.list(&request)).unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        request.token = page.next;
        if request.token.is_none() {
            return keys;
        }
    }
}

/// K39, A29: as many names as a key has room for, with 256 descriptors, and of those no more than 64 and 8 for each job.
#[test]
fn trees_512_deep_come_and_go_with_256_descriptors() {
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..limit }).unwrap();
    let store = MemoryStore::new();
    let mut expected = Vec::new();
    for top in ["a", "b", "c", "d"] {
        let directory = format!("{top}/{}", "d/".repeat(511));
        assert_eq!((directory.len(), directory.matches('/').count()), (1024, 512));
        block_on(store.put(&directory, Body::empty(), &object("0040755"))).unwrap();
        expected.extend(directory.match_indices('/').map(|(at, _)| directory[..=at].to_owned()));
        for at in [1, 100, 300, 511] {
            let file = format!("{top}/{}f", "d/".repeat(at - 1));
            block_on(store.put(&file, Body::from(Bytes::from_static(b"content")), &object("0100644"))).unwrap();
            let link = format!("{top}/{}l", "d/".repeat(at - 1));
            block_on(store.put(&link, Body::from(Bytes::from_static(b"f")), &object("0120777"))).unwrap();
            expected.extend([file, link]);
        }
    }
    expected.sort();
    let place = tempfile::tempdir().unwrap();
    for jobs in [1, 16] {
        let (jobs, most) = (Jobs::new(jobs).unwrap(), 64 + 8 * jobs as u64);
        let root = place.path().join(jobs.get().to_string());
        fs::create_dir(&root).unwrap();
        let options = ImportOptions::new(Profile::fsx()).with_jobs(jobs);
        let open = Descriptors::during(|counted| {
            let tree = LocalTree::open(&root).unwrap();
            for _ in 0..2 {
                let report = block_on(engine::import(&store, &tree, &options, counted)).unwrap();
                assert_eq!((report.entries, report.problems), (36, vec![]));
            }
        });
        figures::record_at_most(&format!("descriptors of an import of {} jobs", jobs.get()), open, most);

        let (exported, options) = (MemoryStore::new(), ExportOptions::new(Profile::fsx()).with_jobs(jobs));
        let open = Descriptors::during(|counted| {
            let tree = LocalTree::open(&root).unwrap();
            let report = block_on(engine::export(&tree, &exported, &options, counted)).unwrap();
            assert_eq!(report.problems, vec![]);
        });
        figures::record_at_most(&format!("descriptors of an export of {} jobs", jobs.get()), open, most);
        assert_eq!(keys(&exported), expected);
    }
    // Those who remove it hold a descriptor for each level.
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A deep path whose directories are not there does not take a deep stack either.
#[test]
fn directories_512_deep_are_made_with_little_stack() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let made = thread::Builder::new().stack_size(512 << 10).spawn({
        let root = root.path().to_owned();
        move || {
            let tree = LocalTree::open(root).unwrap();
            let key = Key::parse(&"d/".repeat(512)).unwrap();
            let op = posix_s3::tree::TreeOp::CreateDirectory { key: key.clone(), attributes: None };
            block_on(tree.apply(&op)).unwrap();
            assert!(block_on(tree.lookup(&key)).unwrap().entry().is_some());
            block_on(tree.finish()).unwrap();
        }
    });
    made.unwrap().join().unwrap();
}

// ------------------------------------------------------------------------------------------------ what is read

/// A store whose bodies go on for ever, byte by byte, whatever was announced.
struct Endless {
    announced: u64,
    read: Arc<AtomicU64>,
}

impl ObjectStore for Endless {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, _: &ListRequest) -> Result<ListPage, StoreError> {
        let meta = self.head("link").await?;
        let object = posix_s3::store::ListedObject {
            key: "link".to_owned(),
            size: 10,
            etag: meta.etag,
            last_modified: meta.last_modified,
        };
        Ok(ListPage::new(vec![object], None))
    }

    async fn head(&self, _: &str) -> Result<ObjectMeta, StoreError> {
        let headers = object("0120777").headers;
        let etag = posix_s3::ETag::new("\"e\"");
        Ok(ObjectMeta { size: self.announced, etag, last_modified: posix_s3::Timestamp::EPOCH, headers })
    }

    async fn get(&self, key: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
        let read = Arc::clone(&self.read);
        let body = stream::repeat_with(move || {
            read.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(b"x"))
        });
        Ok(GetOutput { meta: self.head(key).await?, body: body.boxed() })
    }

    async fn put(&self, _: &str, _: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
        unreachable!("it is only read")
    }

    async fn replace_metadata(&self, _: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
        unreachable!("it is only read")
    }

    async fn delete(&self, _: &str, _: &Precondition) -> Result<(), StoreError> {
        unreachable!("it is only read")
    }
}

/// A25, B4, B5.
#[test]
fn of_a_link_that_never_ends_4096_bytes_are_read_at_most() {
    for (announced, most) in [(1, 2), (10, 11), (4095, 4096), (4096, 0), (5_000_000_000, 0), (u64::MAX, 0)] {
        let read = Arc::new(AtomicU64::new(0));
        let store = Endless { announced, read: Arc::clone(&read) };
        let tree = MemoryTree::new();
        let report = block_on(engine::import(&store, &tree, &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
        assert_eq!((report.entries, report.failed), (1, 1), "{announced}");
        assert!(tree.entries().is_empty());
        assert!(read.swap(0, Ordering::Relaxed) <= most, "{announced}");
        let audit = block_on(engine::audit(&store, &Prefix::default(), &Profile::fsx(), |_| ())).unwrap();
        assert_eq!((audit.objects, audit.symlinks), (1, 0), "{announced}");
        assert!(read.load(Ordering::Relaxed) <= most, "{announced}");
    }
}
