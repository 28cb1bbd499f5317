//! A tree, a bucket and a state behind one boundary, of which every call is counted: at each, what there is can be taken
//! down, requests can arrive that were long on their way, and a call can fail, once or from then on.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod disk;
mod edges;
pub(crate) mod world;

use bytes::Bytes;
use disk::Disk;
use futures_util::FutureExt;
use posix_s3::engine::Part;
use posix_s3::store::{Body, MemoryStore, ObjectStore, Operation, PutOptions, StoreErrorKind};
use posix_s3::tree::{MemoryTree, TreeErrorKind};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A call, as far as faults tell calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Call {
    Store(&'static str),
    Tree(&'static str),
    State(&'static str),
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Store(StoreErrorKind),
    /// It happens, and the answer is lost.
    LostReply,
    /// With the error of the system behind it, if there is one.
    Tree(TreeErrorKind, Option<i32>),
    State(io::ErrorKind),
}

/// A request that changes the bucket.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) key: String,
    pub(crate) body: Bytes,
    pub(crate) options: PutOptions,
}

impl Request {
    /// Arrives at a bucket, whatever comes of it.
    pub(crate) fn arrive(&self, store: &MemoryStore) {
        let Self { operation, key, body, options } = self;
        match operation {
            Operation::Put => drop(store.put(key, Body::Bytes(body.clone()), options).now_or_never().unwrap()),
            Operation::Delete => drop(store.delete(key, &options.precondition).now_or_never().unwrap()),
            _ => drop(store.replace_metadata(key, options).now_or_never().unwrap()),
        }
    }
}

/// What is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    /// Which of the calls of its kind.
    pub(crate) number: u64,
    pub(crate) call: Call,
    pub(crate) fault: Fault,
    /// Every later call of that kind fails as well.
    pub(crate) for_good: bool,
}

/// What happens at the boundary, besides the calls.
pub(crate) enum Plan {
    Nothing,
    /// At each place at which there is something new, it is taken down.
    TakeDown(Box<dyn FnMut(&Boundary) + Send>),
    /// These requests arrive right before the call of this number.
    Arrive(u64, Vec<Request>),
    Fail(Failing),
    /// Somebody else changes something right before the call of this number, while calls of a kind fail.
    Meanwhile {
        at: u64,
        change: Option<Change>,
        failing: Option<Failing>,
        calls: Vec<Made>,
    },
}

/// What somebody else does.
pub(crate) type Change = Box<dyn FnOnce(&Boundary) + Send>;

/// A call that was made, and on what.
pub(crate) type Made = (Call, String);

/// What is on both sides of a run, with what is on its way between them.
pub(crate) struct Boundary {
    pub(crate) tree: Arc<MemoryTree>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) disk: Mutex<Disk>,
    /// Sent, and not there yet.
    pub(crate) on_the_way: Mutex<BTreeMap<u64, Request>>,
    plan: Mutex<Plan>,
    /// Whether calls take turns, so that several are under way.
    turns: bool,
    calls: AtomicU64,
    /// How often anything changed: world, state or what is on its way.
    changes: AtomicU64,
    taken_down: AtomicU64,
    /// Calls that are to change something, and how many of them did.
    tree_changes: AtomicU64,
    store_changes: AtomicU64,
    effects: AtomicU64,
    /// How many calls of each kind there were.
    kinds: Mutex<BTreeMap<Call, u64>>,
    /// What failed first, by name.
    failed: Mutex<Option<String>>,
}

/// One side of the boundary, whichever is asked for.
#[derive(Clone)]
pub(crate) struct Edge(pub(crate) Arc<Boundary>);

impl Boundary {
    pub(crate) fn new(
        tree: Arc<MemoryTree>,
        store: Arc<MemoryStore>,
        clock: Arc<AtomicI64>,
        disk: Disk,
        turns: bool,
        plan: Plan,
    ) -> Arc<Self> {
        Arc::new(Self {
            tree,
            store,
            clock,
            disk: Mutex::new(disk),
            on_the_way: Mutex::default(),
            plan: Mutex::new(plan),
            turns,
            calls: AtomicU64::new(0),
            changes: AtomicU64::new(1),
            taken_down: AtomicU64::new(0),
            tree_changes: AtomicU64::new(0),
            store_changes: AtomicU64::new(0),
            effects: AtomicU64::new(0),
            kinds: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    pub(crate) fn tree_changes(&self) -> u64 {
        self.tree_changes.load(Relaxed)
    }

    pub(crate) fn store_changes(&self) -> u64 {
        self.store_changes.load(Relaxed)
    }

    pub(crate) fn effects(&self) -> u64 {
        self.effects.load(Relaxed)
    }

    pub(crate) fn kinds(&self) -> BTreeMap<Call, u64> {
        self.kinds.lock().unwrap().clone()
    }

    pub(crate) fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap().clone()
    }

    /// The calls that were made, and whether what was to happen meanwhile has.
    pub(crate) fn seen(&self) -> (Vec<Made>, bool) {
        match &*self.plan.lock().unwrap() {
            Plan::Meanwhile { change, calls, .. } => (calls.clone(), change.is_none()),
            _ => panic!("nobody looked"),
        }
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    fn place(&self, plan: &mut Plan) {
        if let Plan::TakeDown(take_down) = plan {
            let changes = self.changes.load(Relaxed);
            if self.taken_down.swap(changes, Relaxed) != changes {
                take_down(self);
            }
        }
    }

    /// Right before a call: the fault that befalls it.
    fn before(&self, call: Call, on: &str) -> Option<Fault> {
        let number = self.calls.fetch_add(1, Relaxed);
        let mut plan = self.plan.lock().unwrap();
        match &mut *plan {
            Plan::Nothing => None,
            Plan::TakeDown(_) => {
                self.place(&mut plan);
                None
            }
            Plan::Arrive(at, requests) => {
                if number >= *at {
                    requests.drain(..).for_each(|request| request.arrive(&self.store));
                }
                None
            }
            Plan::Meanwhile { at, change, failing, calls } => {
                calls.push((call, on.to_owned()));
                if number >= *at
                    && let Some(change) = change.take()
                {
                    change(self);
                }
                failing.filter(|failing| failing.call == call).map(|failing| failing.fault)
            }
            Plan::Fail(failing) => {
                let mut kinds = self.kinds.lock().unwrap();
                let of_kind = kinds.entry(call).or_default();
                let number = std::mem::replace(of_kind, *of_kind + 1);
                let fails =
                    call == failing.call && (number == failing.number || failing.for_good && number > failing.number);
                if !fails {
                    return None;
                }
                self.failed.lock().unwrap().get_or_insert_with(|| on.to_owned());
                Some(failing.fault)
            }
        }
    }

    /// Right after a call, of which nobody knows yet.
    fn after(&self) {
        self.place(&mut self.plan.lock().unwrap());
    }

    /// Lets everything else have a turn.
    async fn turn(&self) {
        let mut waits = self.turns;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    fn part(&self, part: Part) -> Option<Vec<u8>> {
        self.disk.lock().unwrap().bytes(part).map(<[u8]>::to_vec)
    }
}

/// Runs to the end.
pub(crate) fn run<T>(run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
    panic!("nobody goes on");
}
