//! [`Watched`]: a tree whose every call waits for its turn, may fail, and is taken down.

use super::chance::Chance;
use super::ground::Ground;
use super::schedule::Schedule;
use crate::model;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use posix_s3::tree::{
    Applied, Data, Found, Look, NameList, OpenFile, Place, Present, Residence, SourceError, Standing, Tree, TreeError,
    TreeErrorKind, TreeOp, Visit,
};
use posix_s3::{Entry, FileType, Key, KeyList, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

/// An operation of an engine that changed the tree: what was there before.
pub(crate) struct Changed {
    pub(crate) what: String,
    pub(crate) before: model::Tree,
    pub(crate) after: model::Tree,
    pub(crate) is_rename: bool,
}

/// What an engine was told of a path, in the order in which it was told.
/// What an engine was told.
#[derive(Default)]
pub(crate) struct Told {
    /// By key: how often in a row it was told that there is no such thing.
    absent: HashMap<String, u32>,
}

impl Told {
    /// How often in a row, at last, it was told that there is nothing of a key.
    pub(crate) fn absent(&self, key: &str) -> u32 {
        self.absent.get(key).copied().unwrap_or(0)
    }

    fn told(&mut self, path: &str, is_file: bool, is_directory: bool) {
        for (key, is_there) in [(path.to_owned(), is_file), (format!("{path}/"), is_directory)] {
            let count = self.absent.entry(key).or_default();
            *count = if is_there { 0 } else { *count + 1 };
        }
    }

    /// What is below what is no directory is gone.
    fn is_no_directory(&mut self, path: &str, known: &BTreeSet<String>) {
        let below = format!("{path}/");
        for path in known.iter().filter(|path| path.starts_with(&below)) {
            self.told(path, false, false);
        }
    }

    fn looked_at(&mut self, path: &str, look: &Look, known: &BTreeSet<String>) {
        match look {
            Look::Found(status) if status.file_type == FileType::Directory => {}
            Look::Nothing | Look::Found(_) => self.is_no_directory(path, known),
            Look::Failed(_) | Look::Skipped(_) => {}
        }
        match look {
            Look::Nothing => self.told(path, false, false),
            Look::Found(status) if status.file_type == FileType::Directory => self.told(path, false, true),
            Look::Found(_) => self.told(path, true, false),
            Look::Failed(error) if error.kind() == TreeErrorKind::Conflict => self.told(path, false, false),
            Look::Failed(_) | Look::Skipped(_) => self.told(path, true, true),
        }
    }

    fn listed(&mut self, directory: Option<&Key>, names: &NameList, known: &BTreeSet<String>) {
        let names: HashSet<&[u8]> = (0..names.len()).filter_map(|at| names.get(at)).map(without_slash).collect();
        for path in known {
            let rest = match directory {
                None => Some(path.as_str()),
                Some(directory) => path.strip_prefix(directory.path()).and_then(|rest| rest.strip_prefix('/')),
            };
            let name = rest.and_then(|rest| rest.split('/').next());
            if name.is_some_and(|name| !names.contains(name.as_bytes())) {
                self.told(path, false, false);
            }
        }
    }
}

fn without_slash(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"/").unwrap_or(name)
}

pub(crate) struct Log {
    pub(crate) changed: Vec<Changed>,
    pub(crate) told: Told,
    /// All paths that were ever of interest.
    pub(crate) known: BTreeSet<String>,
    /// The path about which an engine has asked last.
    pub(crate) last: Option<String>,
    chance: Chance,
    /// In thousandths of the calls.
    failing: usize,
    is_calm: bool,
    pub(crate) faults: u64,
}

pub(crate) struct Watched<T> {
    pub(crate) tree: Arc<T>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) log: Arc<Mutex<Log>>,
}

impl Log {
    pub(crate) fn new(failing: usize, chance: Chance) -> Self {
        let (changed, told, known) = (Vec::new(), Told::default(), BTreeSet::new());
        Self { changed, told, known, last: None, chance, failing, is_calm: false, faults: 0 }
    }

    pub(crate) fn calm_down(&mut self) {
        self.is_calm = true;
    }

    fn call(&mut self, name: &'static str, key: &str) -> Result<(), TreeError> {
        if let Ok(key) = Key::parse(key) {
            self.last = Some(key.path().to_owned());
        }
        if self.is_calm || self.failing == 0 || self.chance.below(1000) >= self.failing {
            return Ok(());
        }
        self.faults += 1;
        let kinds = [TreeErrorKind::Other, TreeErrorKind::Denied, TreeErrorKind::NoSpace];
        Err(TreeError::new(name, key.as_bytes(), *self.chance.pick(&kinds)))
    }
}

impl<T: Ground> Watched<T> {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    async fn call<R>(
        &self,
        name: &'static str,
        key: &str,
        call: impl Future<Output = Result<R, TreeError>>,
    ) -> Result<R, TreeError> {
        self.schedule.turn().await;
        self.log().call(name, key)?;
        let answer = call.await;
        self.schedule.turn().await;
        answer
    }

    async fn change<R>(
        &self,
        what: String,
        is_rename: bool,
        call: impl Future<Output = Result<R, TreeError>>,
    ) -> Result<R, TreeError> {
        self.schedule.turn().await;
        self.log().call("changing", "")?;
        // Others change the tree while it waits, and never while it is at work.
        let mut call = std::pin::pin!(call);
        let answer = std::future::poll_fn(|context| {
            let before = self.tree.see();
            let answer = call.as_mut().poll(context);
            let after = self.tree.see();
            if before != after {
                self.log().changed.push(Changed { what: what.clone(), before, after, is_rename });
            }
            answer
        })
        .await;
        self.schedule.turn().await;
        answer
    }
}

struct WatchedFile {
    file: Arc<dyn OpenFile>,
    schedule: Arc<Schedule>,
    log: Arc<Mutex<Log>>,
}

impl WatchedFile {
    async fn call(&self, name: &'static str) -> Result<(), TreeError> {
        self.schedule.turn().await;
        self.log.lock().unwrap().call(name, self.file.found().entry.key().as_str())
    }
}

impl OpenFile for WatchedFile {
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

impl<T: Ground> Tree for Watched<T> {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        let key = directory.map_or("", Key::as_str);
        self.schedule.turn().await;
        self.log().call("listing", key)?;
        let answer = self.tree.list(directory).await;
        if let Ok(names) = &answer {
            let Log { told, known, .. } = &mut *self.log();
            told.listed(directory, names, known);
        } else if let (Some(directory), Err(error)) = (directory, &answer)
            && matches!(error.kind(), TreeErrorKind::NotFound | TreeErrorKind::Conflict)
        {
            let Log { told, known, .. } = &mut *self.log();
            told.is_no_directory(directory.path(), known);
        }
        self.schedule.turn().await;
        answer
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, mut visitor: V) -> V {
        self.schedule.turn().await;
        let called = self.log().call("looking at", keys.iter().last().unwrap_or_default());
        if called.is_err() {
            for (at, key) in keys.iter().enumerate() {
                let error = TreeError::new("looking at", key.as_bytes(), TreeErrorKind::Other);
                visitor.visit(at, Look::Failed(error));
            }
            return visitor;
        }
        let looks = self.tree.look(keys.clone(), place, Vec::new()).await;
        for ((at, key), look) in keys.iter().enumerate().zip(looks) {
            let Log { told, known, .. } = &mut *self.log();
            told.looked_at(key.trim_end_matches('/'), &look, known);
            visitor.visit(at, look);
        }
        self.schedule.turn().await;
        visitor
    }

    fn now(&self) -> Timestamp {
        self.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        Ok([7; 16])
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
        Ok(Arc::new(WatchedFile { file, schedule: Arc::clone(&self.schedule), log: Arc::clone(&self.log) }))
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.change(format!("write {}", entry.key()), false, self.tree.write_file(entry, body, standing)).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        self.change(format!("{op:?}"), matches!(op, TreeOp::Rename { .. }), self.tree.apply(op)).await
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
