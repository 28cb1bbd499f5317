//! Whole runs over a tree whose directories are swapped for links outside.

use super::flipper::{Flipper, Stop};
use super::outside::{Outside, SECRET, SECRET_NAME, SECRET_SIZE};
use futures_executor::block_on;
use futures_util::TryStreamExt;
use posix_s3::engine::{
    DataOptions, ExportOptions, Fetch, ImportOptions, MemoryState, Silent, export, import, import_since, restore,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::store::{GetOptions, ListRequest, MemoryStore, ObjectStore};
use posix_s3::tree::LocalTree;
use posix_s3::{Attitude, Profile, Service};
use rustix::fs::{RenameFlags, renameat_with};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The directories that are swapped.
const DIRECTORIES: [&str; 3] = ["a", "b", "b/s"];

/// What has come of the runs.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) flips: u64,
    pub(crate) runs: u64,
    /// Entries that were taken over.
    pub(crate) written: u64,
    /// Entries that were not, since they met a link.
    pub(crate) refused: u64,
}

/// A tree with the directories that are outside as well, with files of its own.
fn fill(root: &Path, round: u64) {
    for directory in ["a", "a/s", "a/e", "b", "b/s", "b/e"] {
        fs::create_dir_all(root.join(directory)).unwrap();
        for file in ["f", "g", "n"] {
            fs::write(root.join(directory).join(file), format!("inside {}", round % 7)).unwrap();
        }
    }
}

/// Swaps each of the directories for a link to the like of it outside.
fn flip(flipper: &Flipper, root: &File, within: &File) {
    let pairs = [(root, "a", "a~"), (root, "b", "b~"), (within, "s", "s~")];
    flipper.run_with(|| {
        let swap = |(directory, name, other): &(&File, &str, &str)| {
            renameat_with(*directory, *name, *directory, *other, RenameFlags::EXCHANGE).is_ok()
        };
        pairs.iter().chain(&pairs).map(|pair| u64::from(swap(pair))).sum()
    });
}

struct Swapped {
    base: tempfile::TempDir,
    outside: Outside,
}

impl Swapped {
    fn new(place: &Path) -> Self {
        let base = tempfile::Builder::new().prefix("posix-s3-races-").tempdir_in(place).unwrap();
        let outside = Outside::make(base.path().join("outside"), &DIRECTORIES);
        let swapped = Self { base, outside };
        fs::create_dir(swapped.root()).unwrap();
        swapped.restore(0);
        swapped
    }

    fn root(&self) -> std::path::PathBuf {
        self.base.path().join("root")
    }

    /// Puts directories and links to where they were; only while nothing is swapped.
    fn restore(&self, round: u64) {
        for directory in DIRECTORIES {
            let path = self.root().join(directory);
            let other = self.root().join(format!("{directory}~"));
            let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
            if !is_directory(&path) && is_directory(&other) {
                let _ = fs::remove_file(&path);
                fs::rename(&other, &path).unwrap();
            } else if !is_directory(&path) {
                let _ = fs::remove_file(&path);
                fs::create_dir(&path).unwrap();
            }
            if is_directory(&other) {
                fs::remove_dir_all(&other).unwrap();
            }
            if !fs::symlink_metadata(&other).is_ok_and(|found| found.is_symlink()) {
                let _ = fs::remove_file(&other);
                symlink(self.outside.path.join(directory), &other).unwrap();
            }
        }
        fill(&self.root(), round);
    }

    /// Calls something again and again while directories are swapped.
    fn under_swaps(&self, flips: u64, runs: &mut Runs, mut run: impl FnMut(u64) -> (u64, u64)) {
        let flipper = Flipper::new();
        let begun = Instant::now();
        let mut round = 0;
        while flipper.flips() < flips || runs.written == 0 || runs.refused == 0 {
            self.restore(round);
            let (root, within) = (File::open(self.root()).unwrap(), File::open(self.root().join("b")).unwrap());
            let one = Flipper::new();
            thread::scope(|scope| {
                scope.spawn(|| flip(&one, &root, &within));
                let _stop = Stop(&one);
                for _ in 0..4 {
                    let (written, refused) = run(round);
                    runs.written += written;
                    runs.refused += refused;
                    runs.runs += 1;
                    round += 1;
                }
            });
            flipper.add(one.flips());
            self.outside.assert_unchanged("a run");
            assert!(begun.elapsed() < Duration::from_secs(600), "{runs:?} after {} swaps", flipper.flips());
        }
        runs.flips += flipper.flips();
    }
}

/// Imports, with and without a state, that write, change, delete and place, in both attitudes.
pub(crate) fn imports(place: &Path, flips: u64) -> Runs {
    let mut runs = Runs::default();
    for attitude in [Attitude::Fsx, Attitude::Untrusted] {
        let swapped = Swapped::new(place);
        let source = swapped.base.path().join("source");
        let store = MemoryStore::new();
        let profile = || Profile::new(Service::Fsx2026, attitude);
        let state = MemoryState::new();
        swapped.under_swaps(flips / 2, &mut runs, |round| {
            let _ = fs::remove_dir_all(&source);
            fs::create_dir(&source).unwrap();
            fill(&source, round);
            if round % 3 == 0 {
                fs::remove_dir_all(source.join("b/e")).unwrap();
                fs::remove_file(source.join("a/n")).unwrap();
            }
            let store = if round % 3 == 0 { &MemoryStore::new() } else { &store };
            block_on(export(&LocalTree::open(&source).unwrap(), store, &ExportOptions::new(Profile::fsx()), &Silent))
                .unwrap();
            let tree = LocalTree::open(swapped.root()).unwrap();
            let options = ImportOptions::new(profile())
                .with_on_conflict([OnConflict::KeepBoth, OnConflict::Store][usize::from(round / 2 % 2 == 0)])
                .with_deletes(Deletes::Apply(Brake::RELEASED))
                .with_data([Fetch::Now, Fetch::OnDemand][usize::from(round % 4 == 1)]);
            let report = if round % 2 == 0 {
                let options = ImportOptions::new(profile());
                block_on(import(store, &tree, &options, &Silent))
            } else {
                block_on(import_since(store, &tree, &state, &options, &Silent))
            };
            if round % 4 == 1 {
                let _ = block_on(restore(&tree, store, Some(&state), &DataOptions::new(profile()), &Silent));
            }
            report.map_or((0, 1), |report| (report.written, report.problems.len() as u64))
        });
    }
    runs
}

/// Exports, of which none may send what lies outside.
pub(crate) fn exports(place: &Path, flips: u64) -> Runs {
    let mut runs = Runs::default();
    let swapped = Swapped::new(place);
    swapped.under_swaps(flips, &mut runs, |_| {
        let store = MemoryStore::new();
        let tree = LocalTree::open(swapped.root()).unwrap();
        let report = block_on(export(&tree, &store, &ExportOptions::new(Profile::fsx()), &Silent)).unwrap();
        let page = block_on(store.list(&ListRequest::default())).unwrap();
        assert!(page.next.is_none());
        let links = page.objects.iter().filter(|object| object.key.ends_with('~')).count();
        for object in &page.objects {
            assert!(!object.key.contains(SECRET_NAME), "the name {} was sent", object.key);
            assert_ne!(object.size, SECRET_SIZE, "{} was sent", object.key);
            let got = block_on(store.get(&object.key, &GetOptions::default())).unwrap();
            let body: Vec<_> = block_on(got.body.try_collect()).unwrap();
            let body = String::from_utf8_lossy(&body.concat()).into_owned();
            assert!(!body.contains(SECRET), "what lies outside was sent as {}", object.key);
        }
        // A link that was met is sent as one, or what was to be below it is missing.
        let missing = 27_u64.saturating_sub(report.written);
        (report.written, missing + links as u64)
    });
    runs
}
