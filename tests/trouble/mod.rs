//! A bucket, a tree and a state whose every call is a step: a run over them can be stopped at any step, any call can fail,
//! and requests that were on their way when a run was stopped can arrive later.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod restamped;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use posix_s3::engine::{MemoryState, Part, StateRead, StateStore, StateWrite, Syncer};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta, ObjectStore, Operation,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{
    Applied, Data, Found, Look, MemoryTree, NameList, OpenFile, Place, Present, Residence, SourceError, Standing, Tree,
    TreeError, TreeErrorKind, TreeOp, Visit,
};
use posix_s3::{Entry, Key, KeyList, Timestamp};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Store,
    Tree,
    State,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Store(StoreErrorKind),
    /// It happens, and the answer is lost.
    LostReply,
    Tree(TreeErrorKind),
    State(io::ErrorKind),
}

/// A request that changes the bucket.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) key: String,
    body: Bytes,
    options: PutOptions,
}

impl PartialEq for Request {
    /// Whether both make the same version; under which condition does not matter.
    fn eq(&self, other: &Self) -> bool {
        let version = |request: &Self| (request.operation, request.key.clone(), request.body.clone());
        version(self) == version(other) && self.options.headers == other.options.headers
    }
}

impl Request {
    /// Whether it puts bytes that are zero.
    pub(crate) fn holds_zeros(&self) -> bool {
        self.body.contains(&0)
    }

    /// Arrives at a bucket; whatever comes of it.
    pub(crate) fn arrive(&self, store: &impl ObjectStore) {
        let Self { operation, key, body, options } = self;
        match operation {
            Operation::Put => drop(store.put(key, Body::Bytes(body.clone()), options).now_or_never().unwrap()),
            Operation::Delete => drop(store.delete(key, &options.precondition).now_or_never().unwrap()),
            _ => drop(store.replace_metadata(key, options).now_or_never().unwrap()),
        }
    }
}

type Hook = Box<dyn FnMut(Operation, &str) + Send>;
type Event = Box<dyn FnOnce() + Send>;

/// What happens to a run.
pub(crate) struct Trouble {
    steps: AtomicUsize,
    /// At this step everything stands still.
    end: usize,
    /// Makes waits of one or of several turns, so that what is side by side goes on in another order.
    seed: usize,
    calls: [AtomicUsize; 3],
    failing: Option<(Side, usize, Fault)>,
    log: Mutex<Log>,
    /// Something that happens at a step.
    event: Mutex<Option<(usize, Event)>>,
    /// Something that happens before a call arrives at the bucket.
    hook: Mutex<Option<Hook>>,
    /// How much of the journal is on the disk.
    durable: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct Log {
    /// The call that failed.
    pub(crate) failed: Option<String>,
    /// How many changes were asked for by then.
    pub(crate) sent_before: usize,
    pub(crate) sent: Vec<Request>,
    /// They were on their way when the run ended.
    pub(crate) on_the_way: Vec<Request>,
    /// They have happened.
    pub(crate) happened: Vec<Request>,
    /// The run was told that they have.
    pub(crate) acknowledged: Vec<Request>,
    pub(crate) gets: usize,
    /// What was done to the tree.
    pub(crate) tree_changes: Vec<String>,
}

impl Trouble {
    pub(crate) fn none() -> Self {
        Self {
            steps: AtomicUsize::new(0),
            end: usize::MAX,
            seed: 0,
            calls: Default::default(),
            failing: None,
            log: Mutex::default(),
            event: Mutex::default(),
            hook: Mutex::default(),
            durable: AtomicUsize::new(0),
        }
    }

    pub(crate) fn cut_at(step: usize, seed: usize) -> Self {
        Self { end: step, seed, ..Self::none() }
    }

    pub(crate) fn failing(side: Side, call: usize, fault: Fault) -> Self {
        Self { failing: Some((side, call, fault)), ..Self::none() }
    }

    pub(crate) fn with_event(self, step: usize, event: impl FnOnce() + Send + 'static) -> Self {
        *self.event.lock().unwrap() = Some((step, Box::new(event)));
        self
    }

    pub(crate) fn with_hook(self, hook: impl FnMut(Operation, &str) + Send + 'static) -> Self {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
        self
    }

    pub(crate) fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn durable(&self) -> usize {
        self.durable.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.steps() > self.end
    }

    /// One step: lets everything else have a turn, or never comes back.
    async fn step(&self) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let event = self.event.lock().unwrap().take_if(|(at, _)| step >= *at);
        if let Some((_, event)) = event {
            event();
        }
        let mut turns = if self.seed == 0 { 1 } else { 1 + (step * 7 + self.seed * 13) % 5 };
        poll_fn(|context| {
            if self.is_over() {
                return Poll::Pending;
            }
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Counts a call; the fault that befalls it.
    fn befalls(&self, side: Side, call: impl FnOnce() -> String) -> Option<Fault> {
        let number = self.calls[side as usize].fetch_add(1, Ordering::Relaxed);
        let (_, _, fault) = self.failing.filter(|(whose, at, _)| *whose == side && *at == number)?;
        let mut log = self.log();
        log.failed = Some(call());
        log.sent_before = log.sent.len();
        Some(fault)
    }

    /// Runs until it ends, or until everything stands still.
    pub(crate) fn run<T>(&self, run: impl Future<Output = T>) -> Option<T> {
        let mut run = pin!(run);
        for _ in 0..1_000_000 {
            match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => return Some(value),
                Poll::Pending if self.is_over() => return None,
                Poll::Pending => {}
            }
        }
        panic!("nobody goes on");
    }
}

// --------------------------------------------------------------------------------------------------- the store

/// A bucket in trouble, which lists a few keys at a time.
pub(crate) struct TroubledStore<S = MemoryStore> {
    pub(crate) store: Arc<S>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) capabilities: Capabilities,
}

/// A request on its way.
struct OnTheWay {
    trouble: Arc<Trouble>,
    request: Option<Request>,
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.trouble.log().on_the_way.extend(self.request.take());
    }
}

impl<S: ObjectStore> TroubledStore<S> {
    async fn before(&self, operation: Operation, key: &str) -> Result<Option<Fault>, StoreError> {
        self.trouble.step().await;
        if let Some(hook) = &mut *self.trouble.hook.lock().unwrap() {
            hook(operation, key);
        }
        match self.trouble.befalls(Side::Store, || format!("{operation} {key}")) {
            Some(Fault::Store(kind)) => Err(StoreError::new(operation, key, kind)),
            fault => Ok(fault),
        }
    }

    async fn read<T>(
        &self,
        operation: Operation,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let fault = self.before(operation, key).await?;
        let answer = call.await;
        self.trouble.step().await;
        if fault.is_some() { Err(StoreError::new(operation, key, StoreErrorKind::Transient)) } else { answer }
    }

    async fn change<T>(
        &self,
        request: Request,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Request { operation, key, .. } = request.clone();
        self.trouble.log().sent.push(request.clone());
        let mut on_the_way = OnTheWay { trouble: Arc::clone(&self.trouble), request: Some(request.clone()) };
        let fault = self.before(operation, &key).await;
        on_the_way.request = None;
        let fault = fault?;
        let answer = call.await;
        if answer.is_ok() {
            self.trouble.log().happened.push(request.clone());
        }
        self.trouble.step().await;
        if fault.is_some() {
            return Err(StoreError::new(operation, &key, StoreErrorKind::Transient));
        }
        if answer.is_ok() {
            self.trouble.log().acknowledged.push(request);
        }
        answer
    }
}

async fn whole(body: &Body) -> Bytes {
    body.read(0, usize::MAX).await.unwrap()
}

impl<S: ObjectStore> ObjectStore for TroubledStore<S> {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let shorter = ListRequest { max_keys: Some(request.max_keys.unwrap_or(3)), ..request.clone() };
        self.read(Operation::List, &request.prefix, self.store.list(&shorter)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.read(Operation::Head, key, self.store.head(key)).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.trouble.log().gets += 1;
        self.read(Operation::Get, key, self.store.get(key, options)).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let bytes = whole(&body).await;
        let (operation, options) = (Operation::Put, options.clone());
        let request = Request { operation, key: key.into(), body: bytes, options: options.clone() };
        self.change(request, self.store.put(key, body, &options)).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let (operation, options) = (Operation::ReplaceMetadata, options.clone());
        let request = Request { operation, key: key.into(), body: Bytes::new(), options: options.clone() };
        self.change(request, self.store.replace_metadata(key, &options)).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        let options = PutOptions { precondition: precondition.clone(), ..PutOptions::default() };
        let request = Request { operation: Operation::Delete, key: key.into(), body: Bytes::new(), options };
        self.change(request, self.store.delete(key, precondition)).await
    }
}

// ---------------------------------------------------------------------------------------------------- the tree

/// A tree in trouble, which is taken for the same one as every other of its number.
pub(crate) struct TroubledTree {
    pub(crate) tree: Arc<MemoryTree>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) identity: u8,
}

impl TroubledTree {
    async fn call<T>(
        &self,
        name: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, TreeError>>,
    ) -> Result<T, TreeError> {
        self.trouble.step().await;
        if let Some(Fault::Tree(kind)) = self.trouble.befalls(Side::Tree, || format!("{name} {key}")) {
            return Err(TreeError::new(name, key.as_bytes(), kind));
        }
        let answer = call.await;
        self.trouble.step().await;
        answer
    }

    fn changes(&self, what: String) {
        self.trouble.log().tree_changes.push(what);
    }
}

struct TroubledFile {
    file: Arc<dyn OpenFile>,
    trouble: Arc<Trouble>,
}

impl TroubledFile {
    async fn call(&self, name: &'static str) -> Result<(), TreeError> {
        let key = self.file.found().entry.key().as_str();
        self.trouble.step().await;
        match self.trouble.befalls(Side::Tree, || format!("{name} {key}")) {
            Some(Fault::Tree(kind)) => Err(TreeError::new(name, key.as_bytes(), kind)),
            _ => Ok(()),
        }
    }
}

impl OpenFile for TroubledFile {
    fn found(&self) -> &Found {
        self.file.found()
    }

    fn residence(&self) -> &Residence {
        self.file.residence()
    }

    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>> {
        Box::pin(async {
            self.call("looking into").await?;
            self.file.data().await
        })
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        Box::pin(async {
            self.call("looking again at").await?;
            self.file.again().await
        })
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        Box::pin(async move {
            self.call("reading").await?;
            self.file.read(offset, length).await
        })
    }
}

impl Tree for TroubledTree {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        let key = directory.map_or("", Key::as_str);
        self.call("listing", key, self.tree.list(directory)).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, mut visitor: V) -> V {
        self.trouble.step().await;
        let shown = || format!("looking at {}", keys.iter().collect::<Vec<_>>().join(" "));
        if let Some(Fault::Tree(kind)) = self.trouble.befalls(Side::Tree, shown) {
            for (at, key) in keys.iter().enumerate() {
                visitor.visit(at, Look::Failed(TreeError::new("looking at", key.as_bytes(), kind)));
            }
            return visitor;
        }
        let visitor = self.tree.look(keys, place, visitor).await;
        self.trouble.step().await;
        visitor
    }

    fn now(&self) -> Timestamp {
        self.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        Ok([self.identity; 16])
    }

    fn keeps_directory_times(&self) -> bool {
        self.tree.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.tree.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.call("looking up", key.as_str(), self.tree.lookup(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        let file = self.call("opening", key.as_str(), self.tree.open(key)).await?;
        Ok(Arc::new(TroubledFile { file, trouble: Arc::clone(&self.trouble) }))
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.changes(format!("write {}", entry.key()));
        self.call("writing", entry.key().as_str(), self.tree.write_file(entry, body, standing)).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        self.changes(format!("{op:?}"));
        self.call("applying", &format!("{op:?}"), self.tree.apply(op)).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.call("beginning", "", self.tree.begin()).await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.call("syncing", "", self.tree.sync()).await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.call("finishing", "", self.tree.finish()).await
    }
}

// --------------------------------------------------------------------------------------------------- the state

/// A state in trouble, which waits for its disk.
pub(crate) struct TroubledState {
    pub(crate) state: Arc<MemoryState>,
    pub(crate) trouble: Arc<Trouble>,
}

impl TroubledState {
    fn call(&self, name: &str, part: Part) -> io::Result<()> {
        call(&self.trouble, name, part)
    }
}

fn call(trouble: &Trouble, name: &str, part: Part) -> io::Result<()> {
    match trouble.befalls(Side::State, || format!("{name} {part:?}")) {
        Some(Fault::State(kind)) => Err(kind.into()),
        _ => Ok(()),
    }
}

impl StateStore for TroubledState {
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>> {
        self.call("open", part)?;
        let opened = StateStore::open(&*self.state, part)?;
        let trouble = Arc::clone(&self.trouble);
        Ok(opened.map(|read| Box::new(TroubledRead { read, trouble, part }) as Box<dyn StateRead>))
    }

    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>> {
        self.call("create", part)?;
        let mut file = File { state: Arc::clone(&self.state), part, write: None, unnamed: Vec::new() };
        if part == Part::Journal {
            self.trouble.durable.store(0, Ordering::Relaxed);
        }
        // A new file takes the place of the old one at once, or when it is first brought to the disk.
        if part != Part::Journal || self.trouble.seed % 3 == 1 {
            file.name()?;
        }
        let (trouble, written) = (Arc::clone(&self.trouble), Arc::new(AtomicUsize::new(0)));
        Ok(Box::new(TroubledWrite { file: Arc::new(Mutex::new(file)), trouble, part, written }))
    }

    fn remove(&self, part: Part) -> io::Result<()> {
        self.call("remove", part)?;
        self.state.remove(part)
    }

    fn publish(&self) -> io::Result<()> {
        self.call("publish", Part::Next)?;
        self.state.publish()
    }
}

struct TroubledRead {
    read: Box<dyn StateRead>,
    trouble: Arc<Trouble>,
    part: Part,
}

impl Read for TroubledRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        call(&self.trouble, "read", self.part)?;
        self.read.read(buffer)
    }
}

impl Seek for TroubledRead {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.read.seek(to)
    }
}

/// A file that has its name, or is going to have it.
struct File {
    state: Arc<MemoryState>,
    part: Part,
    write: Option<Box<dyn StateWrite>>,
    unnamed: Vec<u8>,
}

impl File {
    fn name(&mut self) -> io::Result<()> {
        if self.write.is_none() {
            self.write.insert(self.state.create(self.part)?).write_all(&std::mem::take(&mut self.unnamed))?;
        }
        Ok(())
    }
}

struct TroubledWrite {
    file: Arc<Mutex<File>>,
    trouble: Arc<Trouble>,
    part: Part,
    written: Arc<AtomicUsize>,
}

impl Write for TroubledWrite {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let called = call(&self.trouble, "write", self.part);
        let piece = if called.is_ok() { piece } else { &piece[..piece.len() / 2] };
        let mut file = self.file.lock().unwrap();
        match &mut file.write {
            Some(write) => write.write_all(piece)?,
            None => file.unnamed.extend_from_slice(piece),
        }
        called?;
        self.written.fetch_add(piece.len(), Ordering::Relaxed);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StateWrite for TroubledWrite {
    fn syncer(&self) -> Syncer {
        let (file, trouble, part, written) =
            (Arc::clone(&self.file), Arc::clone(&self.trouble), self.part, Arc::clone(&self.written));
        Arc::new(move || {
            let (file, trouble, written) = (Arc::clone(&file), Arc::clone(&trouble), Arc::clone(&written));
            Box::pin(async move {
                let by_now = written.load(Ordering::Relaxed);
                trouble.step().await;
                call(&trouble, "sync", part)?;
                file.lock().unwrap().name()?;
                if part == Part::Journal {
                    trouble.durable.store(by_now, Ordering::Relaxed);
                }
                trouble.step().await;
                Ok(())
            })
        })
    }
}
