//! [`MemoryTree`]: a tree in memory, under the same contract as one on a disk.

use super::{
    Applied, Fingerprint, Found, OpenFile, Present, SourceError, Standing, Tree, TreeError, TreeErrorKind, TreeOp,
    Walked,
};
use crate::entry::{Entry, EntryKind};
use crate::key::Key;
use crate::metadata::Attributes;
use crate::mode::Permissions;
use crate::owner::{Gid, Uid};
use crate::timestamp::Timestamp;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A tree in memory: the contract of [`Tree`] without a disk, for tests and examples.
///
/// ```
/// use posix_s3::{Attributes, Gid, Key, Permissions, Timestamp, Uid, tree::MemoryTree};
///
/// let attributes = Attributes {
///     permissions: Permissions::from_mode(0o644), uid: Uid::ROOT, gid: Gid::ROOT,
///     atime: Timestamp::EPOCH, mtime: Timestamp::EPOCH,
/// };
/// let tree = MemoryTree::new();
/// tree.insert_file(Key::parse("a")?, "hello", attributes)?;
/// assert!(tree.insert_file(Key::parse("a/b")?, "", attributes).is_err()); // `a` is no directory
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct MemoryTree {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    /// By path without a trailing slash; the root is not in it.
    nodes: BTreeMap<Key, Node>,
    /// Counts the changes: the clock of ctime and the source of inode numbers.
    changes: u64,
}

#[derive(Clone)]
struct Node {
    found: Found,
    content: Bytes,
}

impl MemoryTree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file into place.
    ///
    /// # Errors
    /// [`TreeErrorKind::Conflict`] when the parent is no directory, a directory stands there, or the key ends in `/`.
    pub fn insert_file(&self, key: Key, content: impl Into<Bytes>, attributes: Attributes) -> Result<(), TreeError> {
        let content = content.into();
        let kind = EntryKind::File { size: content.len() as u64 };
        self.world().insert("inserting", new_entry(key, kind, attributes)?, content)
    }

    /// Puts a directory or link into place.
    ///
    /// # Errors
    /// As [`insert_file`](Self::insert_file); also for a file, which needs its content.
    pub fn insert(&self, entry: Entry) -> Result<(), TreeError> {
        if matches!(entry.kind(), EntryKind::File { .. }) {
            return Err(conflict("inserting", entry.key()));
        }
        self.world().insert("inserting", entry, Bytes::new())
    }

    /// Removes whatever stands at a path, with all that is below it; says whether there was something.
    pub fn remove(&self, key: &Key) -> bool {
        let mut world = self.world();
        let before = world.nodes.len();
        world.nodes.retain(|at, _| at.path() != key.path() && !at.path().starts_with(&format!("{}/", key.path())));
        world.nodes.len() != before
    }

    /// Everything in the tree in key order, files with their content.
    #[must_use]
    pub fn entries(&self) -> Vec<(Entry, Bytes)> {
        let world = self.world();
        world.nodes.values().map(|node| (node.found.entry.clone(), node.content.clone())).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // Every change below is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryTree({} entries)", self.world().nodes.len())
    }
}

fn new_entry(key: Key, kind: EntryKind, attributes: Attributes) -> Result<Entry, TreeError> {
    let path = key.clone();
    Entry::new(key, kind, attributes).map_err(|error| conflict("inserting", &path).with_source(error))
}

fn conflict(attempt: &'static str, key: &Key) -> TreeError {
    TreeError::new(attempt, key.as_str().as_bytes(), TreeErrorKind::Conflict)
}

impl World {
    /// What stands at a path, as a file or as a directory.
    fn at(&self, path: &str) -> Option<&Node> {
        let spelled = |text: &str| Key::parse(text).ok().and_then(|key| self.nodes.get(&key));
        spelled(path).or_else(|| spelled(&format!("{path}/")))
    }

    /// Refuses a path through something that is no directory. A parent that is missing is no obstacle.
    fn check_parents(&self, attempt: &'static str, key: &Key) -> Result<(), TreeError> {
        let mut parent = key.parent();
        while let Some(directory) = parent {
            if self.at(directory.path()).is_some_and(|node| *node.found.entry.kind() != EntryKind::Directory) {
                return Err(conflict(attempt, key));
            }
            parent = directory.parent();
        }
        Ok(())
    }

    fn insert(&mut self, attempt: &'static str, entry: Entry, content: Bytes) -> Result<(), TreeError> {
        if entry.key().parent().is_some_and(|parent| !self.nodes.contains_key(&parent)) {
            return Err(conflict(attempt, entry.key()));
        }
        let standing = self.at(entry.key().path()).map(|node| node.found.entry.kind().clone());
        if standing.is_some_and(|standing| (standing == EntryKind::Directory) != entry.key().is_directory()) {
            return Err(conflict(attempt, entry.key()));
        }
        self.put(entry, content);
        Ok(())
    }

    /// A new inode at a path.
    fn put(&mut self, entry: Entry, content: Bytes) -> Fingerprint {
        self.changes = self.changes.saturating_add(1);
        let fingerprint = Fingerprint { inode: self.changes, ctime: self.now(), links: 1 };
        self.nodes.insert(entry.key().clone(), Node { found: Found { entry, fingerprint }, content });
        fingerprint
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanoseconds(self.changes.into()).unwrap_or(Timestamp::EPOCH)
    }

    fn make_directories(
        &mut self,
        attempt: &'static str,
        directory: &Key,
        attributes: Option<Attributes>,
    ) -> Result<Option<Fingerprint>, TreeError> {
        self.check_parents(attempt, directory)?;
        match self.at(directory.path()) {
            Some(node) if *node.found.entry.kind() == EntryKind::Directory => return Ok(None),
            Some(_) => return Err(conflict(attempt, directory)),
            None => {}
        }
        if let Some(parent) = directory.parent() {
            self.make_directories(attempt, &parent, None)?;
        }
        let attributes = attributes.unwrap_or(Attributes {
            permissions: Permissions::from_mode(0o700),
            uid: Uid::ROOT,
            gid: Gid::ROOT,
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
        });
        Ok(Some(self.put(new_entry(directory.clone(), EntryKind::Directory, attributes)?, Bytes::new())))
    }

    /// Puts a file or link into place where `standing` permits it.
    fn publish(
        &mut self,
        attempt: &'static str,
        entry: &Entry,
        content: Bytes,
        standing: Standing,
    ) -> Result<(), TreeError> {
        if let Some(parent) = entry.key().parent() {
            self.make_directories(attempt, &parent, None)?;
        }
        match self.at(entry.key().path()) {
            Some(_) if standing == Standing::Nothing => return Err(conflict(attempt, entry.key())),
            Some(node) if *node.found.entry.kind() == EntryKind::Directory => {
                return Err(conflict(attempt, entry.key()));
            }
            _ => {}
        }
        self.put(entry.clone(), content);
        Ok(())
    }

    /// The first node behind `after`, in key order.
    fn next(&self, after: Option<&Key>) -> Option<&Node> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.nodes.range((start, Bound::Unbounded)).next().map(|(_, node)| node)
    }
}

impl Tree for MemoryTree {
    fn walk(&self) -> BoxStream<'_, Walked> {
        stream::unfold(None, move |after: Option<Key>| async move {
            let found = self.world().next(after.as_ref())?.found.clone();
            let key = found.entry.key().clone();
            Some((Walked::Found(found), Some(key)))
        })
        .boxed()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        let world = self.world();
        world.check_parents("looking up", key)?;
        Ok(world.at(key.path()).map_or(Present::Nothing, |node| Present::Entry(node.found.clone())))
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        let error = |kind| TreeError::new("opening", key.as_str().as_bytes(), kind);
        let world = self.world();
        let node = world.at(key.path()).ok_or_else(|| error(TreeErrorKind::NotFound))?;
        if !matches!(node.found.entry.kind(), EntryKind::File { .. }) {
            return Err(error(TreeErrorKind::Changed));
        }
        Ok(Arc::new(OpenNode { node: node.clone(), world: Arc::clone(&self.world) }))
    }

    async fn write_file(
        &self,
        entry: &Entry,
        mut body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        let error = || TreeError::new("writing", entry.key().as_str().as_bytes(), TreeErrorKind::Body);
        let mut content = BytesMut::new();
        while let Some(piece) = body.next().await {
            content.extend_from_slice(&piece.map_err(|cause| error().with_source(cause))?);
            if content.len() as u64 > entry.object_size() {
                break;
            }
        }
        if content.len() as u64 != entry.object_size() {
            return Err(error());
        }
        self.world().publish("writing", entry, content.freeze(), standing)?;
        Ok(Applied::default())
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        let mut world = self.world();
        let mut applied = Applied::default();
        match op {
            TreeOp::CreateDirectory { key, attributes } => {
                applied.made = world.make_directories("making", key, *attributes)?;
            }
            TreeOp::CreateSymlink { entry, standing } => world.publish("linking", entry, Bytes::new(), *standing)?,
            TreeOp::SetAttributes { entry, found } => {
                let same = |node: &&Node| {
                    let now = &node.found;
                    let same_file = now.fingerprint == *found || *entry.kind() == EntryKind::Directory;
                    now.entry.kind() == entry.kind() && now.fingerprint.inode == found.inode && same_file
                };
                let Some(node) = world.nodes.get(entry.key()).filter(same).cloned() else {
                    let path = entry.key().as_str().as_bytes();
                    return Err(TreeError::new("setting the attributes of", path, TreeErrorKind::Changed));
                };
                world.changes = world.changes.saturating_add(1);
                let fingerprint = Fingerprint { ctime: world.now(), ..node.found.fingerprint };
                let found = Found { entry: entry.clone(), fingerprint };
                world.nodes.insert(entry.key().clone(), Node { found, ..node });
            }
        }
        Ok(applied)
    }

    async fn begin(&self) -> Result<(), TreeError> {
        Ok(())
    }

    async fn finish(&self) -> Result<(), TreeError> {
        Ok(())
    }
}

/// A file that is open: its bytes stay readable, as those of an inode do.
struct OpenNode {
    node: Node,
    world: Arc<Mutex<World>>,
}

impl OpenFile for OpenNode {
    fn found(&self) -> &Found {
        &self.node.found
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let inode = self.node.found.fingerprint.inode;
        let now = world.nodes.get(self.node.found.entry.key()).map(|node| node.found.clone());
        // A name that holds another inode now says nothing about the one that is open.
        let now = now.filter(|now| now.fingerprint.inode == inode).unwrap_or_else(|| self.node.found.clone());
        Box::pin(async { Ok(now) })
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        let content = &self.node.content;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let piece = content.slice(start..start.saturating_add(length).min(content.len()));
        Box::pin(async { Ok(piece) })
    }
}
