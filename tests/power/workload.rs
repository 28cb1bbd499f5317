//! [`Workload`]: a run of the example program on a small tree that is awkward, and the same run with the library.

use super::trace;
use posix_s3::engine::{
    DataOptions, ExportOptions, Fetch, FileState, ImportOptions, Jobs, KeptCause, ReleaseOptions, Report, Silent,
    export_since, import_since, release, restore,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::DirectoryStore;
use posix_s3::tree::{Tree, UnseenUsers};
use posix_s3::{Profile, Timestamp};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Export,
    Import(Fetch),
    Restore,
    Release,
}

/// A run that did not do everything.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    Failed(String),
    Incomplete(Vec<String>),
}

/// A run, and what is there before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) jobs: usize,
    /// How many states are tried with an effort of 1. Whether a file is in use takes a look at every process.
    pub(crate) states: u64,
    before: fn(&Place),
}

pub(crate) const WORKLOADS: [Workload; 10] = [
    Workload { name: "first import", way: Way::Import(Fetch::Now), jobs: 1, states: 160, before: a_full_bucket },
    Workload {
        name: "first import side by side",
        way: Way::Import(Fetch::Now),
        jobs: 8,
        states: 160,
        before: a_full_bucket,
    },
    Workload {
        name: "import of changes",
        way: Way::Import(Fetch::Now),
        jobs: 1,
        states: 160,
        before: an_imported_tree_and_changes,
    },
    Workload {
        name: "import of attributes",
        way: Way::Import(Fetch::Now),
        jobs: 1,
        states: 160,
        before: an_imported_tree_and_attributes,
    },
    Workload { name: "first export", way: Way::Export, jobs: 1, states: 160, before: a_full_tree },
    Workload {
        name: "export of changes",
        way: Way::Export,
        jobs: 1,
        states: 160,
        before: an_exported_tree_and_changes,
    },
    Workload {
        name: "export of changes side by side",
        way: Way::Export,
        jobs: 8,
        states: 160,
        before: an_exported_tree_and_changes,
    },
    Workload {
        name: "import without data",
        way: Way::Import(Fetch::OnDemand),
        jobs: 1,
        states: 160,
        before: a_full_bucket,
    },
    Workload { name: "restore", way: Way::Restore, jobs: 1, states: 20, before: a_tree_of_placeholders },
    Workload { name: "release", way: Way::Release, jobs: 1, states: 20, before: a_tree_to_be_released },
];

/// The three directories: `tree`, `bucket` and `state`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) base: PathBuf,
    program: PathBuf,
}

impl Place {
    pub(crate) fn new(base: &Path) -> Self {
        for name in ["tree", "bucket", "state"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        Self { base: base.canonicalize().unwrap(), program: trace::example() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn bucket(&self) -> String {
        format!("dir:{}", self.text("bucket"))
    }

    fn run(&self, arguments: &[&str]) {
        let output = super::output(Command::new(&self.program).args(arguments).current_dir("/"));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
    }

    /// Exports a tree of its own, and all that is to be there before.
    fn publish(&self, make: fn(&Path)) {
        let source = self.base.with_extension("source");
        if !source.exists() {
            fs::create_dir(&source).unwrap();
        }
        make(&source);
        let state = self.base.with_extension("source-state");
        let (source, state) = (source.to_str().unwrap(), state.to_str().unwrap());
        self.run(&["export", source, &self.bucket(), "--state", state, "--delete=all"]);
    }
}

impl Workload {
    /// Makes what is there before the run.
    pub(crate) fn prepare(&self, place: &Place) {
        (self.before)(place);
    }

    pub(crate) fn program(&self, place: &Place) -> PathBuf {
        place.program.clone()
    }

    /// What the example program is told.
    pub(crate) fn arguments(&self, place: &Place) -> Vec<String> {
        let (tree, bucket, state) = (place.text("tree"), place.bucket(), place.text("state/s"));
        let jobs = self.jobs.to_string();
        let words: Vec<&str> = match self.way {
            Way::Export => vec!["export", &tree, &bucket, "--delete=all", "--lookers", "1"],
            Way::Import(Fetch::OnDemand) => vec!["import", &bucket, &tree, "--metadata-only", "--delete=all"],
            Way::Import(_) => vec!["import", &bucket, &tree, "--delete=all"],
            Way::Restore => vec!["restore", &bucket, &tree],
            Way::Release => vec!["release", &tree, &bucket, "--accept-unseen-users"],
        };
        let more = ["--state", &state, "--jobs", &jobs];
        words.into_iter().chain(more).map(str::to_owned).collect()
    }

    /// The same run with the library, on a tree and what lies in another directory. Answers how many changes of the
    /// bucket there were.
    pub(crate) fn run(&self, tree: &impl Tree, base: &Path, bucket: &str) -> Result<u64, Ended> {
        let failed = |error: &dyn std::error::Error| Ended::Failed(format!("{error}: {error:?}"));
        let state = FileState::open(base.join("state/s")).map_err(|error| failed(&error))?;
        let path = base.join("bucket");
        let opened =
            if self.way == Way::Export { DirectoryStore::open(path) } else { DirectoryStore::open_existing(path) };
        let store = opened.map_err(|error| failed(&error))?;
        let (jobs, deletes) = (Jobs::new(self.jobs).unwrap(), Deletes::Apply(Brake::RELEASED));
        let data = DataOptions::new(Profile::fsx()).with_jobs(jobs).with_bucket(bucket);
        let ended = async_io::block_on(async {
            match self.way {
                Way::Export => {
                    let options = ExportOptions::new(Profile::fsx()).with_jobs(jobs).with_lookers(Jobs::ONE);
                    let options = options.with_deletes(deletes).with_bucket(bucket);
                    export_since(tree, &store, &state, &options, &Silent).await
                }
                Way::Import(fetch) => {
                    let options = ImportOptions::new(Profile::fsx()).with_jobs(jobs).with_data(fetch);
                    let options = options.with_deletes(deletes).with_bucket(bucket);
                    import_since(&store, tree, &state, &options, &Silent).await
                }
                Way::Restore => restore(tree, &store, Some(&state), &data, &Silent).await,
                Way::Release => {
                    let options = ReleaseOptions::new(data).with_unseen_users(UnseenUsers::Accept);
                    let now = Timestamp::from_unix(4_000_000_000, 0).unwrap();
                    let report = release(tree, &store, &state, &options, now, &Silent).await;
                    let report = report.map_err(|error| failed(&error))?;
                    // One that is empty has nothing to give back.
                    let kept =
                        report.reasons.iter().filter(|kept| kept.cause != KeptCause::NotAFile && &*kept.key != "b\\n");
                    let kept: Vec<String> = kept.map(ToString::to_string).collect();
                    return if kept.is_empty() { Ok(None) } else { Err(Ended::Incomplete(kept)) };
                }
            }
            .map(Some)
            .map_err(|error| failed(&error))
        });
        match ended? {
            Some(report) if !report.is_complete() => {
                Err(Ended::Incomplete(report.problems.iter().map(|problem| format!("{problem:?}")).collect()))
            }
            Some(Report { store_calls, .. }) => Ok(store_calls.put + store_calls.copy + store_calls.delete),
            None => Ok(0),
        }
    }
}

fn write(path: &Path, content: &[u8], mode: u32, (uid, gid): (u32, u32), mtime: i64) {
    fs::write(path, content).unwrap();
    finish(path, mode, (uid, gid), mtime);
}

fn finish(path: &Path, mode: u32, (uid, gid): (u32, u32), mtime: i64) {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(CWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags).unwrap();
    if !path.is_symlink() {
        rustix::fs::chmod(path, Mode::from_raw_mode(mode)).unwrap();
    }
    let time = Timespec { tv_sec: mtime, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, flags).unwrap();
}

/// Something of everything.
fn full(root: &Path) {
    let user = (1000, 1001);
    fs::create_dir_all(root.join("d/ e")).unwrap();
    fs::create_dir(root.join("d-")).unwrap();
    write(&root.join("a"), b"one", 0o644, (0, 0), 1_000_000_000);
    write(&root.join("-rf"), &[b'x'; 9000], 0o600, user, -5);
    write(&root.join("b\n"), b"", 0o000, user, 7);
    write(&root.join("d/\u{e4}"), b"set-id", 0o6755, (0, 7), 2_000_000_000);
    write(&root.join("d/ e/zeros"), &[vec![0; 70_000], b"x".to_vec()].concat(), 0o640, user, 1);
    write(&root.join("d-/f"), b"gone later", 0o666, user, 2);
    symlink("/etc/passwd", root.join("d/link")).unwrap();
    finish(&root.join("d/link"), 0o777, user, 3);
    symlink("../..", root.join("up")).unwrap();
    finish(&root.join("up"), 0o777, (0, 0), 4);
    for (name, mode) in [("d/ e", 0o500), ("d", 0o1777), ("d-", 0o755)] {
        finish(&root.join(name), mode, user, 1_500_000_000);
    }
}

/// What may become of it.
fn changes(root: &Path) {
    let user = (1000, 1001);
    write(&root.join("a"), b"two!", 0o640, user, 1_000_000_001);
    write(&root.join("d/ e/zeros"), &[b'y'; 5000], 0o640, user, 5);
    fs::remove_file(root.join("d-/f")).unwrap();
    fs::remove_dir(root.join("d-")).unwrap();
    write(&root.join("d-"), b"was a directory", 0o600, (0, 0), 6);
    fs::remove_file(root.join("up")).unwrap();
    fs::create_dir(root.join("up")).unwrap();
    write(&root.join("up/new"), b"below what was a link", 0o604, user, 8);
    finish(&root.join("up"), 0o711, user, 9);
    fs::remove_file(root.join("d/link")).unwrap();
    symlink("elsewhere", root.join("d/link")).unwrap();
    finish(&root.join("d/link"), 0o777, user, 10);
    fs::remove_file(root.join("b\n")).unwrap();
    finish(&root.join("d/\u{e4}"), 0o755, (7, 0), 2_000_000_000);
    finish(&root.join("d/ e"), 0o700, user, 1_500_000_000);
    finish(&root.join("d"), 0o755, user, 1_500_000_001);
}

/// Nothing but attributes.
fn attributes(root: &Path) {
    finish(&root.join("a"), 0o600, (1000, 7), 1_000_000_000);
    finish(&root.join("-rf"), 0o777, (1000, 1001), -5);
    finish(&root.join("b\n"), 0o444, (1, 1), 8);
    finish(&root.join("d/ e/zeros"), 0o640, (1000, 1001), 2);
    finish(&root.join("d/link"), 0o777, (1, 1), 3);
    finish(&root.join("d/ e"), 0o700, (1, 1), 1_500_000_000);
    finish(&root.join("d"), 0o711, (1000, 1001), 5);
}

fn a_full_bucket(place: &Place) {
    place.publish(full);
}

fn a_full_tree(place: &Place) {
    full(&place.path("tree"));
}

fn imported(place: &Place) {
    a_full_bucket(place);
    let (tree, state) = (place.text("tree"), place.text("state/s"));
    place.run(&["import", &place.bucket(), &tree, "--state", &state]);
}

fn an_imported_tree_and_changes(place: &Place) {
    imported(place);
    place.publish(changes);
}

fn an_imported_tree_and_attributes(place: &Place) {
    imported(place);
    place.publish(attributes);
}

fn an_exported_tree_and_changes(place: &Place) {
    full(&place.path("tree"));
    let (tree, state) = (place.text("tree"), place.text("state/s"));
    place.run(&["export", &tree, &place.bucket(), "--state", &state]);
    changes(&place.path("tree"));
}

fn a_tree_of_placeholders(place: &Place) {
    a_full_bucket(place);
    let (tree, state) = (place.text("tree"), place.text("state/s"));
    place.run(&["import", &place.bucket(), &tree, "--metadata-only", "--state", &state]);
}

fn a_tree_to_be_released(place: &Place) {
    imported(place);
    // What has just been written is not given back: it might change without its times telling.
    std::thread::sleep(Duration::from_millis(2100));
    let (tree, state) = (place.text("tree"), place.text("state/s"));
    place.run(&["export", &tree, &place.bucket(), "--state", &state]);
}
