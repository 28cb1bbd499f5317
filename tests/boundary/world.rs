//! What there is outside of a process: a tree, a bucket, a state, and requests that are on their way.

use super::disk::{Disk, Left};
use super::{Boundary, Edge, Plan, Request, run};
use futures_util::FutureExt;
use posix_s3::engine::{
    ExportOptions, ImportOptions, Jobs, Outcome, Report, RunError, Silent, export_since, import_since,
};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{ListRequest, MemoryStore, ObjectStore};
use posix_s3::tree::{MemoryTree, Tree};
use posix_s3::{Entry, Profile, Timestamp};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Which way runs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Export,
    Import,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) tree: Arc<MemoryTree>,
    pub(crate) store: Arc<MemoryStore>,
    /// The clock of the bucket, and what it shows.
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) time: i64,
    pub(crate) state: Left,
    pub(crate) on_the_way: Vec<Request>,
}

/// What came of a run.
pub(crate) struct Ran<R> {
    pub(crate) result: R,
    pub(crate) world: World,
    pub(crate) boundary: Arc<Boundary>,
}

/// A problem as a report tells it.
pub(crate) type Told = (String, Outcome, String);

/// What a run comes to, whatever it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outturn {
    /// Keys, ETags, sizes and headers.
    pub(crate) bucket: Vec<(String, String)>,
    pub(crate) tree: Vec<(Entry, bytes::Bytes)>,
    pub(crate) told: BTreeSet<Told>,
}

pub(crate) fn told(report: &Report) -> BTreeSet<Told> {
    let tell =
        |problem: &posix_s3::engine::Problem| (problem.key.to_string(), problem.outcome, problem.reason.to_string());
    report.problems.iter().map(tell).collect()
}

pub(crate) fn exporting(jobs: usize) -> ExportOptions {
    ExportOptions::new(Profile::fsx())
        .with_bucket("bucket")
        .with_jobs(Jobs::new(jobs).unwrap())
        .with_lookers(Jobs::new(1).unwrap())
        .with_deletes(Deletes::Apply(Brake::RELEASED))
}

pub(crate) fn importing(jobs: usize) -> ImportOptions {
    ImportOptions::new(Profile::fsx())
        .with_bucket("bucket")
        .with_jobs(Jobs::new(jobs).unwrap())
        .with_deletes(Deletes::Apply(Brake::RELEASED))
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(0));
        let ticking = Arc::clone(&clock);
        // Each version is a millisecond younger than the one before.
        let now = move || {
            let now = ticking.fetch_add(1, Relaxed);
            Timestamp::from_nanoseconds(1_000_000_000_000_001 + i128::from(now) * 1_000_000).unwrap()
        };
        let (tree, store) = (Arc::new(MemoryTree::new()), Arc::new(MemoryStore::with_clock(now)));
        Self { tree, store, clock, time: 0, state: Left::default(), on_the_way: Vec::new() }
    }

    /// The same world once more, of which both sides may be changed.
    pub(crate) fn copy(&self) -> Self {
        Self { tree: Arc::new(self.tree.copy()), store: Arc::new(self.store.copy()), ..self.clone() }
    }

    /// Changes the bucket, on its own clock.
    pub(crate) fn change_bucket<T>(&mut self, change: impl FnOnce(&MemoryStore) -> T) -> T {
        self.clock.store(self.time, Relaxed);
        let changed = change(&self.store);
        self.time = self.clock.load(Relaxed);
        changed
    }

    /// The same world once more, in which a run may change what runs of its way change.
    fn copy_for(&self, way: Way) -> Self {
        match way {
            Way::Export => Self { store: Arc::new(self.store.copy()), ..self.clone() },
            Way::Import => Self { tree: Arc::new(self.tree.copy()), ..self.clone() },
        }
    }

    /// A run from here to its end. This world stays as it is.
    pub(crate) fn run(&self, way: Way, jobs: usize, plan: Plan) -> Ran<Result<Report, RunError>> {
        self.work(way, jobs > 1, plan, |edge| match way {
            Way::Export => run(export_since(&edge, &edge, &edge, &exporting(jobs), &Silent)),
            Way::Import => run(import_since(&edge, &edge, &edge, &importing(jobs), &Silent)),
        })
    }

    /// Any work from here to its end, which changes what runs of this way change.
    pub(crate) fn work<R>(&self, way: Way, turns: bool, plan: Plan, work: impl FnOnce(Edge) -> R) -> Ran<R> {
        let world = self.copy_for(way);
        world.clock.store(world.time, Relaxed);
        let (tree, store) = (Arc::clone(&world.tree), Arc::clone(&world.store));
        let boundary = Boundary::new(tree, store, Arc::clone(&world.clock), Disk::of(&world.state), turns, plan);
        let result = work(Edge(Arc::clone(&boundary)));
        let state = boundary.disk.lock().unwrap().written();
        let time = world.clock.load(Relaxed);
        Ran { result, world: Self { state, time, ..world }, boundary }
    }

    /// What would be there if the process died now: with all that was written, with what is on the disk alone, and with
    /// the tail of the journal torn at some bytes.
    pub(crate) fn crashed(&self, way: Way, boundary: &Boundary, tears: usize) -> Vec<Self> {
        let disk = boundary.disk.lock().unwrap();
        let mut on_the_way = self.on_the_way.clone();
        on_the_way.extend(boundary.on_the_way.lock().unwrap().values().cloned());
        let now = match way {
            Way::Export => Self { store: Arc::new(boundary.store.copy()), ..self.clone() },
            Way::Import => Self { tree: Arc::new(boundary.tree.copy()), ..self.clone() },
        };
        let now = Self { on_the_way, time: boundary.clock.load(Relaxed), ..now };
        let mut worlds = Vec::with_capacity(2);
        let synced = disk.synced();
        let written = disk.written();
        if synced != written {
            worlds.push(Self { state: synced, ..now.clone() });
        }
        let tail = disk.tail();
        for tear in 0..tears.min(tail.saturating_sub(1)) {
            let missing = 1 + tear * (tail - 1) / tears;
            worlds.push(Self { state: disk.torn(missing), ..now.clone() });
        }
        worlds.push(Self { state: written, ..now });
        worlds
    }

    /// Requests that were on their way arrive now.
    pub(crate) fn arrived(&self) -> Self {
        let mut world = self.copy_for(Way::Export);
        let requests = std::mem::take(&mut world.on_the_way);
        world.change_bucket(|store| requests.iter().for_each(|request| request.arrive(store)));
        world
    }

    pub(crate) fn bucket(&self) -> Vec<(String, String)> {
        let objects = self.store.list(&ListRequest::default()).now_or_never().unwrap().unwrap().objects;
        let shown = |key: &str| {
            let meta = self.store.head(key).now_or_never().unwrap().unwrap();
            let mut headers: Vec<_> =
                meta.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            headers.sort_unstable();
            let mut text = format!("{} {}", meta.etag.as_str(), meta.size);
            for (name, value) in headers {
                text.push('\n');
                text.push_str(name);
                text.push_str(": ");
                text.push_str(&String::from_utf8_lossy(value));
            }
            text
        };
        objects.into_iter().map(|object| (shown(&object.key), object.key)).map(|(text, key)| (key, text)).collect()
    }

    pub(crate) fn outturn(&self, report: &Report) -> Outturn {
        Outturn { bucket: self.bucket(), tree: self.tree.entries(), told: told(report) }
    }

    /// What tells this world from others: two of one number go on alike.
    pub(crate) fn number(&self, way: Way) -> u64 {
        let mut hasher = DefaultHasher::new();
        match way {
            Way::Export => {
                self.time.hash(&mut hasher);
                for object in self.store.list(&ListRequest::default()).now_or_never().unwrap().unwrap().objects {
                    (&object.key, object.etag.as_str(), object.last_modified).hash(&mut hasher);
                }
            }
            Way::Import => {
                self.tree.now().hash(&mut hasher);
                for (entry, content) in self.tree.entries() {
                    let found = self.tree.lookup(entry.key()).now_or_never().unwrap().unwrap();
                    format!("{found:?}").hash(&mut hasher);
                    content.hash(&mut hasher);
                }
            }
        }
        // No run reads the snapshot before, nor the next one.
        (&self.state[0], &self.state[3]).hash(&mut hasher);
        for request in &self.on_the_way {
            (&request.key, &request.body, request.operation, &format!("{:?}", request.options)).hash(&mut hasher);
        }
        hasher.finish()
    }
}
