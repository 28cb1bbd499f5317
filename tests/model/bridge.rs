//! Between the model and the crate: one's worlds as the other's, and a judge that reads a real tree on its own.

use super::{Bucket, Clash, Kind, Node, Object, Rules, SetId, Tree, Trust, Verdict};
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::engine::{
    self, ExportOptions, ImportOptions, Jobs, Outcome, Problem, Progress, Report, RunError, Silent,
};
use posix_s3::store::{Body, GetOptions, ListRequest, MemoryStore, ObjectStore, PutOptions};
use posix_s3::tree::{MemoryTree, Tree as PosixTree};
use posix_s3::{
    Attitude, Attributes, Entry, EntryKind, Gid, Key, Permissions, Prefix, Profile, Service, SymlinkTarget, Timestamp,
    Uid, escape,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

pub fn time(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanoseconds(nanoseconds).expect("a time of the model fits")
}

pub fn profile(rules: &Rules) -> Profile {
    let service = match rules.set_id {
        SetId::BothDropped => Service::Fsx2020,
        SetId::SetUidDropped => Service::Fsx2022,
    };
    let attitude = match rules.trust {
        Trust::Fsx => Attitude::Fsx,
        Trust::Untrusted => Attitude::Untrusted,
    };
    let mut profile = Profile::new(service, attitude);
    profile.clash = match rules.clash {
        Clash::DirectoryWins => posix_s3::Clash::DirectoryWins,
        Clash::FirstWins => posix_s3::Clash::FirstWins,
    };
    profile
}

// ----------------------------------------------------------------------------------------------------- trees

pub fn memory_tree(tree: &Tree) -> MemoryTree {
    let memory = MemoryTree::new();
    for (path, node) in tree {
        let attributes = Attributes {
            permissions: Permissions::from_bits(node.mode).unwrap(),
            uid: Uid::new(node.uid).unwrap(),
            gid: Gid::new(node.gid).unwrap(),
            atime: time(node.atime),
            mtime: time(node.mtime),
        };
        let key = |text: &str| Key::parse(text).unwrap();
        match &node.kind {
            Kind::File(content) => memory.insert_file(key(path), content.clone(), attributes).unwrap(),
            Kind::Directory => {
                let entry = Entry::new(key(&format!("{path}/")), EntryKind::Directory, attributes).unwrap();
                memory.insert(entry).unwrap();
            }
            Kind::Link(target) => {
                let target = SymlinkTarget::parse(target).unwrap();
                memory.insert(Entry::new(key(path), EntryKind::Symlink { target }, attributes).unwrap()).unwrap();
            }
        }
    }
    memory
}

pub fn node(entry: &Entry, content: &[u8]) -> Node {
    let attributes = entry.attributes();
    Node {
        kind: match entry.kind() {
            EntryKind::File { size } => {
                assert_eq!(*size, content.len() as u64, "{}", entry.key());
                Kind::File(content.to_vec())
            }
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink { target } => Kind::Link(target.as_bytes().to_vec()),
        },
        mode: attributes.permissions.bits(),
        uid: attributes.uid.get(),
        gid: attributes.gid.get(),
        atime: attributes.atime.nanoseconds(),
        mtime: attributes.mtime.nanoseconds(),
    }
}

pub fn tree_of(memory: &MemoryTree) -> Tree {
    let entries = memory.entries();
    entries.iter().map(|(entry, content)| (entry.key().path().to_owned(), node(entry, content))).collect()
}

/// Reads a real tree without the crate. Each name is looked at before it is read, so that reading changes no time seen.
pub fn read_disk(root: &Path) -> Tree {
    let mut tree = Tree::new();
    read_directory(root, "", &mut tree);
    tree
}

fn read_directory(root: &Path, directory: &str, tree: &mut Tree) {
    for entry in fs::read_dir(root.join(directory)).unwrap() {
        let name = entry.unwrap().file_name().into_string().expect("a name of the model is UTF-8");
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        let whole = root.join(&path);
        let stat = fs::symlink_metadata(&whole).unwrap();
        let nanoseconds = |seconds: i64, within: i64| i128::from(seconds) * 1_000_000_000 + i128::from(within);
        let kind = if stat.is_dir() {
            Kind::Directory
        } else if stat.is_symlink() {
            Kind::Link(fs::read_link(&whole).unwrap().into_os_string().into_vec())
        } else {
            assert!(stat.is_file(), "{whole:?} is neither file, directory nor link");
            Kind::File(read_quietly(&whole))
        };
        let is_directory = kind == Kind::Directory;
        let node = Node {
            kind,
            mode: stat.mode() & 0o7777,
            uid: stat.uid(),
            gid: stat.gid(),
            atime: nanoseconds(stat.atime(), stat.atime_nsec()),
            mtime: nanoseconds(stat.mtime(), stat.mtime_nsec()),
        };
        tree.insert(path.clone(), node);
        if is_directory {
            read_directory(root, &path, tree);
        }
    }
}

/// The bytes of a file; its access time stays.
fn read_quietly(path: &Path) -> Vec<u8> {
    let quietly = i32::try_from(rustix::fs::OFlags::NOATIME.bits()).unwrap();
    let mut content = Vec::new();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(quietly).open(path).unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}

/// The path of a name that need not be text.
pub fn below(root: &Path, name: &[u8]) -> std::path::PathBuf {
    root.join(OsStr::from_bytes(name))
}

/// Whether these tests run as the superuser, who alone can give files away.
pub fn is_superuser() -> bool {
    tempfile::tempfile().unwrap().metadata().unwrap().uid() == 0
}

/// The place that real trees are made for.
pub fn disk() -> super::generate::Place {
    if is_superuser() { super::generate::Place::Disk } else { super::generate::Place::OwnDisk }
}

/// A tree as Linux keeps it: the permissions of links mean nothing, and only the superuser gives files away.
pub fn as_linux_keeps(tree: &Tree, root: &Path) -> Tree {
    let mine = fs::metadata(root).unwrap();
    let mut kept = tree.clone();
    for node in kept.values_mut() {
        if matches!(node.kind, Kind::Link(_)) {
            node.mode = 0o777;
        }
        let mine = (mine.uid(), mine.gid());
        if !is_superuser() && (node.uid, node.gid) != mine {
            (node.uid, node.gid) = mine;
            // Mapping decision: a set-id bit is meant for the owner that could not be applied, and would serve another.
            node.mode &= 0o1777;
        }
    }
    kept
}

// --------------------------------------------------------------------------------------------------- buckets

/// A clock that stands where it is put.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<i128>>);

impl Clock {
    pub fn set(&self, now: i128) {
        *self.0.lock().unwrap() = now;
    }

    pub fn get(&self) -> i128 {
        *self.0.lock().unwrap()
    }
}

pub fn header_map(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &object.headers {
        let name: HeaderName = name.parse().unwrap();
        // Two headers of one name are the same as one whose values are joined by a comma and a space (RFC 9110, 5.2).
        for value in value.split(", ") {
            headers.append(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    headers
}

pub fn memory_store(bucket: &Bucket) -> MemoryStore {
    let clock = Clock::default();
    let ticking = clock.clone();
    let store = MemoryStore::with_clock(move || time(*ticking.0.lock().unwrap()));
    for (key, object) in bucket {
        clock.set(object.last_modified);
        put(&store, key, object);
    }
    store
}

pub fn put(store: &impl ObjectStore, key: &str, object: &Object) {
    let options = PutOptions { headers: header_map(object), ..PutOptions::default() };
    block_on(store.put(key, Body::from(Bytes::from(object.body.clone())), &options)).unwrap();
}

/// Everything in a store, without `Content-Type` and, since stores date by their own clocks, without Last-Modified.
pub fn bucket_of(store: &impl ObjectStore) -> Bucket {
    let mut bucket = Bucket::new();
    let mut request = ListRequest::default();
    loop {
        let page = block_on(store.list(&request)).unwrap();
        for listed in page.objects {
            bucket.insert(listed.key.clone(), Object { last_modified: 0, ..object_of(store, &listed.key) });
        }
        request.token = page.next;
        if request.token.is_none() {
            return bucket;
        }
    }
}

/// An object without `Content-Type`.
pub fn object_of(store: &impl ObjectStore, key: &str) -> Object {
    let mut answer = block_on(store.get(key, &GetOptions::default())).unwrap();
    let mut headers = BTreeMap::<String, String>::new();
    answer.meta.headers.remove("content-type");
    for (name, value) in &answer.meta.headers {
        let value = String::from_utf8(value.as_bytes().to_vec()).unwrap();
        headers.entry(name.to_string()).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
    }
    let mut body = Vec::new();
    while let Some(piece) = block_on(answer.body.next()) {
        body.extend_from_slice(&piece.unwrap());
    }
    Object { headers, body, last_modified: answer.meta.last_modified.nanoseconds() }
}

// ------------------------------------------------------------------------------------------------------ runs

/// Takes down how every entry ended.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<(String, Outcome)>>);

impl Progress for Recorder {
    fn ended(&self, key: &str, outcome: Outcome) {
        self.0.lock().unwrap().push((key.to_owned(), outcome));
    }

    fn problem(&self, problem: &Problem) {
        assert!(!problem.reason.is_empty(), "{problem:?}");
    }
}

impl Recorder {
    /// Each entry with its outcome, sorted.
    pub fn ended(self) -> Vec<(String, Outcome)> {
        let mut ended = self.0.into_inner().unwrap();
        ended.sort();
        ended
    }
}

/// A run with what it said of each entry.
pub struct Run {
    pub report: Report,
    pub ended: Vec<(String, Outcome)>,
}

impl Run {
    fn new(report: Report, recorder: Recorder) -> Self {
        let run = Self { report, ended: recorder.ended() };
        run.check_sums();
        run
    }

    /// Entries are the sum of the outcomes, and every one that is not unchanged or written has a problem.
    fn check_sums(&self) {
        let Report { entries, unchanged, written, metadata_only, skipped, failed, conflicts, .. } = self.report;
        assert_eq!(entries, unchanged + written + metadata_only + skipped + failed + conflicts, "{:?}", self.report);
        assert_eq!(entries, self.ended.len() as u64, "{:?}", self.report);
        for (outcome, count) in [
            (Outcome::Unchanged, unchanged),
            (Outcome::Written, written),
            (Outcome::MetadataOnly, metadata_only),
            (Outcome::Skipped, skipped),
            (Outcome::Failed, failed),
            (Outcome::Conflict, conflicts),
        ] {
            let recorded = self.ended.iter().filter(|(_, ended)| *ended == outcome).count();
            assert_eq!(recorded as u64, count, "{outcome}: {:?}", self.report);
        }
        assert_eq!(self.report.deleted, 0);
        for (key, outcome) in &self.ended {
            let is_plain = matches!(outcome, Outcome::Unchanged | Outcome::Written | Outcome::MetadataOnly);
            let is_said =
                self.report.problems.iter().any(|problem| problem.key.as_ref() == key && problem.outcome == *outcome);
            assert!(is_plain || is_said, "{key} is {outcome} without a reason");
        }
        assert!(self.report.problems.is_sorted(), "problems come in key order");
    }
}

pub fn export<T: PosixTree>(tree: &T, store: &impl ObjectStore, prefix: &str, rules: &Rules) -> Run {
    let recorder = Recorder::default();
    let options = ExportOptions::new(profile(rules)).with_prefix(Prefix::parse(prefix).unwrap());
    let report = block_on(engine::export(tree, store, &options, &recorder)).unwrap();
    Run::new(report, recorder)
}

pub fn import<T: PosixTree>(store: &impl ObjectStore, tree: &T, prefix: &str, rules: &Rules) -> Run {
    let recorder = Recorder::default();
    let report = block_on(engine::import(store, tree, &import_options(prefix, rules), &recorder)).unwrap();
    Run::new(report, recorder)
}

/// An import that is to stop.
pub fn import_stops<T: PosixTree>(store: &impl ObjectStore, tree: &T, prefix: &str, rules: &Rules) -> RunError {
    block_on(engine::import(store, tree, &import_options(prefix, rules), &Silent)).unwrap_err()
}

pub fn import_options(prefix: &str, rules: &Rules) -> ImportOptions {
    // An odd number, so that batches and pages do not end together.
    let jobs = Jobs::new(3).unwrap();
    ImportOptions::new(profile(rules)).with_prefix(Prefix::parse(prefix).unwrap()).with_jobs(jobs)
}

/// The verdicts of the model as a [`Recorder`] takes them down.
pub fn outcomes(verdicts: &[(String, Verdict)], prefix: &str) -> Vec<(String, Outcome)> {
    let outcome = |verdict: &Verdict| match verdict {
        Verdict::Unchanged => Outcome::Unchanged,
        Verdict::Written => Outcome::Written,
        Verdict::MetadataOnly => Outcome::MetadataOnly,
        Verdict::Skipped(_) => Outcome::Skipped,
        Verdict::Failed(_) => Outcome::Failed,
        Verdict::Conflict(_) => Outcome::Conflict,
    };
    // The object of the prefix has no key of its own and is shown whole.
    let shown = |key: &str| escape(if key.is_empty() { prefix } else { key }.as_bytes()).to_string();
    let mut outcomes: Vec<_> = verdicts.iter().map(|(key, verdict)| (shown(key), outcome(verdict))).collect();
    outcomes.sort();
    outcomes
}
