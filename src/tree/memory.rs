//! [`MemoryTree`]: a tree in memory, under the same contract as one on a disk.

use super::{
    Applied, Data, Fingerprint, Found, Look, NameList, OpenFile, Place, Present, Residence, SourceError, Standing,
    Tree, TreeError, TreeErrorKind, TreeOp, Visit,
};
use crate::entry::{Entry, EntryKind};
use crate::key::{Key, KeyList};
use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::owner::{Gid, Uid};
use crate::released::Released;
use crate::status::Status;
use crate::timestamp::Timestamp;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A tree in memory: the contract of [`Tree`] without a disk, for tests and examples.
///
/// - Names and inodes are two things, as on a disk: a file may have several names, and one that is renamed or changed in
///   place stays the inode that it was.
/// - Each change moves the ctime of the inodes that it changes, a directory's too when a name in it comes, goes or stands
///   for another inode. It moves no mtime but that of [`set_content`](Self::set_content): a directory has the mtime that
///   it was given.
/// - Its clock stands still between changes. Each comes ten seconds after the one before, or as long after as
///   [`with_tick`](Self::with_tick) says.
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
pub struct MemoryTree {
    world: Arc<Mutex<World>>,
    identity: u64,
}

#[derive(Clone)]
struct World {
    /// The inodes of the names, which have a trailing slash where they are directories; the root is not in it.
    names: BTreeMap<Key, u64>,
    /// By number. One that has lost its last name is not in it.
    inodes: HashMap<u64, Inode>,
    /// How many inodes there ever were.
    made: u64,
    /// The time of the last change, and how long after it the next one comes.
    time: Timestamp,
    tick: Duration,
    /// A placeholder was put into place.
    has_placeholders: bool,
}

#[derive(Clone)]
struct Inode {
    kind: EntryKind,
    content: Bytes,
    attributes: Attributes,
    ctime: Timestamp,
    links: u64,
    /// Of a file that was released, where its content is. Whoever writes to it leaves this as it is.
    released: Option<Released>,
}

impl Inode {
    fn data(&self) -> Data {
        if self.content.is_empty() { Data::None } else { Data::Some }
    }
}

/// Tells the trees of this process apart.
static TREES: AtomicU64 = AtomicU64::new(0);

impl Default for MemoryTree {
    fn default() -> Self {
        Self::with_tick(Duration::from_secs(10))
    }
}

impl MemoryTree {
    /// An empty tree, in which each change comes ten seconds after the one before.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty tree in which each change comes so long after the one before; with [`Duration::ZERO`] all of them happen in
    /// one moment.
    #[must_use]
    pub fn with_tick(tick: Duration) -> Self {
        let (names, inodes) = (BTreeMap::new(), HashMap::new());
        let world = World { names, inodes, made: 0, time: Timestamp::EPOCH, tick, has_placeholders: false };
        Self { world: Arc::new(Mutex::new(world)), identity: TREES.fetch_add(1, Ordering::Relaxed) }
    }

    /// The same tree once more, with its inodes and its clock: what becomes of the one from here does not become of the other.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { world: Arc::new(Mutex::new(self.world().clone())), identity: self.identity }
    }

    /// From now on, each change comes so long after the one before.
    pub fn set_tick(&self, tick: Duration) {
        self.world().tick = tick;
    }

    /// Puts a file into place: a new inode, also where one stood.
    ///
    /// # Errors
    /// [`TreeErrorKind::Conflict`] when the parent is no directory, a directory stands there, or the key ends in `/`.
    pub fn insert_file(&self, key: Key, content: impl Into<Bytes>, attributes: Attributes) -> Result<(), TreeError> {
        let content = content.into();
        let kind = EntryKind::File { size: content.len() as u64 };
        self.world().insert("inserting", &new_entry(key, kind, attributes)?, content)
    }

    /// Puts a file into place that holds no bytes: a hole from its start to its end, as a copy of a placeholder is.
    ///
    /// # Errors
    /// As [`insert_file`](Self::insert_file).
    pub fn insert_hole(&self, key: Key, size: u64, attributes: Attributes) -> Result<(), TreeError> {
        let entry = new_entry(key, EntryKind::File { size }, attributes)?;
        self.world().insert("inserting", &entry, Bytes::new())
    }

    /// Puts a directory or link into place. A directory that is there keeps what is in it.
    ///
    /// # Errors
    /// As [`insert_file`](Self::insert_file); also for a file, which needs its content.
    pub fn insert(&self, entry: Entry) -> Result<(), TreeError> {
        if matches!(entry.kind(), EntryKind::File { .. }) {
            return Err(conflict("inserting", entry.key()));
        }
        self.world().insert("inserting", &entry, Bytes::new())
    }

    /// Removes whatever stands at a path, with all that is below it; says whether there was something.
    pub fn remove(&self, key: &Key) -> bool {
        let mut world = self.world();
        let Some((at, _)) = world.at(key.path()) else { return false };
        let below: Vec<Key> = world.names.keys().filter(|name| at.holds(name)).cloned().collect();
        world.tick();
        for name in below.iter().chain([&at]) {
            world.remove_name(name);
        }
        true
    }

    /// Gives a file, link or directory another name. A file or link replaces one that has it; the inode stays what it is.
    ///
    /// # Errors
    /// [`TreeErrorKind::NotFound`]; [`TreeErrorKind::Conflict`] when the new parent is no directory, or something stands
    /// there that cannot be replaced, or a directory would come into itself or get keys that are none.
    pub fn rename(&self, key: &Key, to: &Key) -> Result<(), TreeError> {
        const ATTEMPT: &str = "renaming";
        let mut world = self.world();
        let (from, inode) = world.present(ATTEMPT, key)?;
        let to = spelled(to, from.is_directory());
        let onto = world.at(to.path());
        if onto.as_ref().is_some_and(|(_, other)| *other == inode) {
            return Ok(());
        }
        let replaced = onto.is_none_or(|(onto, _)| !onto.is_directory() && !from.is_directory());
        if !replaced || from.holds(&to) || !world.has_parent(&to) {
            return Err(conflict(ATTEMPT, &to));
        }
        let mut renamed = vec![(from.clone(), to.clone())];
        for name in world.names.keys().filter(|name| from.holds(name)) {
            let rest = name.as_str().get(from.as_str().len()..).unwrap_or_default();
            let new = Key::try_from(format!("{to}{rest}", to = to.as_str()));
            renamed.push((name.clone(), new.map_err(|error| conflict(ATTEMPT, &to).with_source(error))?));
        }
        world.tick();
        world.remove_name(&to);
        for (name, new) in renamed {
            if let Some(inode) = world.names.remove(&name) {
                world.names.insert(new, inode);
            }
        }
        world.touch(inode);
        world.touch_parent(&from);
        world.touch_parent(&to);
        Ok(())
    }

    /// Gives a file or link a further name.
    ///
    /// # Errors
    /// [`TreeErrorKind::NotFound`]; [`TreeErrorKind::Conflict`] for a directory, when the new parent is none, or when
    /// something has that name.
    pub fn link(&self, existing: &Key, new: &Key) -> Result<(), TreeError> {
        const ATTEMPT: &str = "linking";
        let mut world = self.world();
        let (from, number) = world.present(ATTEMPT, existing)?;
        if from.is_directory() || new.is_directory() || world.at(new.path()).is_some() || !world.has_parent(new) {
            return Err(conflict(ATTEMPT, new));
        }
        world.tick();
        world.names.insert(new.clone(), number);
        world.touch_parent(new);
        world.change(number, |inode| inode.links = inode.links.saturating_add(1));
        Ok(())
    }

    /// Writes a file in place, under whatever names it has: its mtime is the time of that.
    ///
    /// # Errors
    /// [`TreeErrorKind::NotFound`]; [`TreeErrorKind::Conflict`] for what is no file.
    pub fn set_content(&self, key: &Key, content: impl Into<Bytes>) -> Result<(), TreeError> {
        const ATTEMPT: &str = "writing";
        let mut world = self.world();
        let (_, number) = world.present(ATTEMPT, key)?;
        if !world.inodes.get(&number).is_some_and(|inode| matches!(inode.kind, EntryKind::File { .. })) {
            return Err(conflict(ATTEMPT, key));
        }
        let content = content.into();
        world.tick();
        world.change(number, |inode| {
            inode.kind = EntryKind::File { size: content.len() as u64 };
            inode.content = content;
            inode.attributes.mtime = inode.ctime;
        });
        Ok(())
    }

    /// Changes the attributes of a file, directory or link in place, whatever they were.
    ///
    /// # Errors
    /// [`TreeErrorKind::NotFound`].
    pub fn set_attributes(&self, key: &Key, attributes: Attributes) -> Result<(), TreeError> {
        let mut world = self.world();
        let (_, number) = world.present("setting the attributes of", key)?;
        world.tick();
        world.change(number, |inode| inode.attributes = attributes);
        Ok(())
    }

    /// Where the content of a file is; `None` for what is no file.
    #[must_use]
    pub fn residence(&self, key: &Key) -> Option<Residence> {
        let world = self.world();
        let (at, number) = world.at(key.path())?;
        world.residence(&at, number)
    }

    /// Everything in the tree in key order, files with their content; one that is released has none here.
    #[must_use]
    pub fn entries(&self) -> Vec<(Entry, Bytes)> {
        let world = self.world();
        let content = |inode: &u64| world.inodes.get(inode).map(|inode| inode.content.clone());
        let entry = |(key, inode): (&Key, &u64)| Some((world.found(key, *inode)?.entry, content(inode)?));
        world.names.iter().filter_map(entry).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    // Nothing below panics between the parts of a change, so a panic elsewhere leaves nothing half done.
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryTree({} entries)", self.world().names.len())
    }
}

fn new_entry(key: Key, kind: EntryKind, attributes: Attributes) -> Result<Entry, TreeError> {
    let path = key.clone();
    Entry::new(key, kind, attributes).map_err(|error| conflict("inserting", &path).with_source(error))
}

fn failed(attempt: &'static str, key: &Key, kind: TreeErrorKind) -> TreeError {
    TreeError::new(attempt, key.as_str().as_bytes(), kind)
}

fn conflict(attempt: &'static str, key: &Key) -> TreeError {
    failed(attempt, key, TreeErrorKind::Conflict)
}

/// The key of a path as a directory's or another's. What would be too long with its slash stays as it is.
fn spelled(key: &Key, directory: bool) -> Key {
    let path = if directory { format!("{}/", key.path()) } else { key.path().to_owned() };
    Key::try_from(path).unwrap_or_else(|_| key.clone())
}

impl World {
    /// What stands at a path, as a file or as a directory: its name, and its inode.
    fn at(&self, path: &str) -> Option<(Key, u64)> {
        let spelled = |text: &str| {
            let key = Key::parse(text).ok()?;
            self.names.get(&key).copied().map(|inode| (key, inode))
        };
        spelled(path).or_else(|| spelled(&format!("{path}/")))
    }

    fn present(&self, attempt: &'static str, key: &Key) -> Result<(Key, u64), TreeError> {
        self.check_parents(attempt, key)?;
        self.at(key.path()).ok_or_else(|| failed(attempt, key, TreeErrorKind::NotFound))
    }

    fn found(&self, key: &Key, number: u64) -> Option<Found> {
        let inode = self.inodes.get(&number)?;
        let entry = Entry::new(key.clone(), inode.kind.clone(), inode.attributes).ok()?;
        Some(Found { entry, fingerprint: Fingerprint { inode: number, ctime: inode.ctime, links: inode.links } })
    }

    fn look_up(&self, attempt: &'static str, key: &Key) -> Result<Option<Found>, TreeError> {
        self.check_parents(attempt, key)?;
        Ok(self.at(key.path()).and_then(|(key, inode)| self.found(&key, inode)))
    }

    /// What stands at a path, if it is still what was found: of a directory the inode, of anything else the version.
    fn still(&self, attempt: &'static str, key: &Key, found: &Status) -> Result<(Key, u64), TreeError> {
        let (at, number) = self.present(attempt, key)?;
        let same = self.found(&at, number).is_some_and(|now| match now.entry.file_type() {
            FileType::Directory => found.file_type == FileType::Directory && found.inode == number,
            _ => now.status().is_same_version(found),
        });
        if same { Ok((at, number)) } else { Err(failed(attempt, key, TreeErrorKind::Changed)) }
    }

    /// Refuses a path through something that is no directory. A parent that is missing is no obstacle.
    fn check_parents(&self, attempt: &'static str, key: &Key) -> Result<(), TreeError> {
        let mut parent = key.parent();
        while let Some(directory) = parent {
            if self.at(directory.path()).is_some_and(|(name, _)| !name.is_directory()) {
                return Err(conflict(attempt, key));
            }
            parent = directory.parent();
        }
        Ok(())
    }

    fn has_parent(&self, key: &Key) -> bool {
        key.parent().is_none_or(|parent| self.names.contains_key(&parent))
    }

    fn insert(&mut self, attempt: &'static str, entry: &Entry, content: Bytes) -> Result<(), TreeError> {
        let standing = self.at(entry.key().path());
        let replaced = standing.as_ref().is_none_or(|(name, _)| name.is_directory() == entry.key().is_directory());
        if !replaced || !self.has_parent(entry.key()) {
            return Err(conflict(attempt, entry.key()));
        }
        self.put(entry, content);
        Ok(())
    }

    /// A new inode at a path.
    fn put(&mut self, entry: &Entry, content: Bytes) -> Option<Status> {
        self.put_marked(entry, content, None)
    }

    fn put_marked(&mut self, entry: &Entry, content: Bytes, released: Option<Released>) -> Option<Status> {
        self.tick();
        self.remove_name(entry.key());
        self.made = self.made.saturating_add(1);
        let (kind, attributes) = (entry.kind().clone(), *entry.attributes());
        self.inodes.insert(self.made, Inode { kind, content, attributes, ctime: self.time, links: 1, released });
        self.names.insert(entry.key().clone(), self.made);
        self.touch_parent(entry.key());
        self.status(entry.key())
    }

    fn status(&self, key: &Key) -> Option<Status> {
        self.found(key, *self.names.get(key)?).map(|found| found.status())
    }

    fn residence(&self, key: &Key, number: u64) -> Option<Residence> {
        let status = self.found(key, number)?.status();
        let inode = self.inodes.get(&number).filter(|_| status.file_type == FileType::File)?;
        let marked = inode.released.clone().map(|released| Residence::of(released, &status, inode.data()));
        Some(marked.unwrap_or(Residence::Here))
    }

    /// The next change is now.
    fn tick(&mut self) {
        self.time = self.next();
    }

    /// The time of the next change.
    fn next(&self) -> Timestamp {
        let tick = i128::try_from(self.tick.as_nanos()).unwrap_or(i128::MAX);
        Timestamp::from_nanoseconds(self.time.nanoseconds().saturating_add(tick)).unwrap_or(self.time)
    }

    /// Changes an inode now.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut Inode)) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.ctime = self.time;
            change(inode);
        }
    }

    fn touch(&mut self, number: u64) {
        self.change(number, |_| {});
    }

    fn touch_parent(&mut self, key: &Key) {
        if let Some(&parent) = key.parent().and_then(|parent| self.names.get(&parent)) {
            self.touch(parent);
        }
    }

    /// Removes a name, and with its last name an inode.
    fn remove_name(&mut self, key: &Key) {
        let Some(number) = self.names.remove(key) else { return };
        self.touch_parent(key);
        self.change(number, |inode| inode.links = inode.links.saturating_sub(1));
        if self.inodes.get(&number).is_some_and(|inode| inode.links == 0) {
            self.inodes.remove(&number);
        }
    }

    fn make_directories(
        &mut self,
        attempt: &'static str,
        directory: &Key,
        attributes: Option<Attributes>,
    ) -> Result<Option<Status>, TreeError> {
        self.check_parents(attempt, directory)?;
        match self.at(directory.path()) {
            Some((name, _)) if name.is_directory() => return Ok(None),
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
        Ok(self.put(&new_entry(directory.clone(), EntryKind::Directory, attributes)?, Bytes::new()))
    }

    /// Puts a file or link into place where `standing` permits it.
    fn publish(
        &mut self,
        attempt: &'static str,
        entry: &Entry,
        content: Bytes,
        released: Option<Released>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        if let Some(parent) = entry.key().parent() {
            self.make_directories(attempt, &parent, None)?;
        }
        match self.at(entry.key().path()) {
            Some(_) if standing == Standing::Nothing => return Err(conflict(attempt, entry.key())),
            Some((name, _)) if name.is_directory() => return Err(conflict(attempt, entry.key())),
            standing_now => {
                if let Standing::Version(version) = standing {
                    let now = standing_now.and_then(|(name, number)| self.found(&name, number));
                    if !now.is_some_and(|now| now.status().is_same_version(&version)) {
                        return Err(conflict(attempt, entry.key()));
                    }
                }
            }
        }
        Ok(Applied { made: self.put_marked(entry, content, released), ..Applied::default() })
    }

    fn place(&mut self, entry: &Entry, released: &Released, standing: Standing) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "placing";
        if *entry.kind() != (EntryKind::File { size: released.size }) {
            return Err(conflict(ATTEMPT, entry.key()));
        }
        let released = Released { mtime: entry.attributes().mtime, ..released.clone() };
        self.has_placeholders = true;
        self.publish(ATTEMPT, entry, Bytes::new(), Some(released), standing)
    }

    fn release(&mut self, entry: &Entry, released: &Released, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "releasing";
        self.still(ATTEMPT, entry.key(), found)?;
        if found.file_type != FileType::File || found.links > 1 {
            return Err(conflict(ATTEMPT, entry.key()));
        }
        let freed = found.size;
        Ok(Applied { freed, ..self.place(entry, released, Standing::Version(*found))? })
    }

    fn set_attributes(&mut self, entry: &Entry, found: &Fingerprint) -> Result<Applied, TreeError> {
        let error = |kind| failed("setting the attributes of", entry.key(), kind);
        let number = *self.names.get(entry.key()).ok_or_else(|| error(TreeErrorKind::Changed))?;
        let now = self.found(entry.key(), number).ok_or_else(|| error(TreeErrorKind::Changed))?;
        let is_directory = *entry.kind() == EntryKind::Directory;
        let same_file = now.fingerprint == *found || is_directory;
        if now.entry.kind() != entry.kind() || number != found.inode || !same_file {
            return Err(error(TreeErrorKind::Changed));
        }
        let is_marked = self.inodes.get(&number).is_some_and(|inode| inode.released.is_some());
        if is_marked || (!is_directory && now.fingerprint.links > 1) {
            return Err(error(TreeErrorKind::NeedsNewInode));
        }
        self.tick();
        self.change(number, |inode| inode.attributes = *entry.attributes());
        Ok(Applied { made: self.status(entry.key()), ..Applied::default() })
    }

    fn set_times(
        &mut self,
        key: &Key,
        atime: Timestamp,
        mtime: Timestamp,
        found: &Fingerprint,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "setting the times of";
        let (at, number) = self.present(ATTEMPT, key)?;
        if !at.is_directory() {
            return Err(conflict(ATTEMPT, key));
        }
        let now = self.inodes.get(&number).map(|inode| (number, inode.ctime));
        if now != Some((found.inode, found.ctime)) {
            return Err(failed(ATTEMPT, key, TreeErrorKind::Changed));
        }
        self.tick();
        self.change(number, |inode| {
            inode.attributes.atime = atime;
            inode.attributes.mtime = mtime;
        });
        Ok(Applied { made: self.status(&at), ..Applied::default() })
    }

    fn remove(&mut self, key: &Key, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "removing";
        let (at, _) = self.still(ATTEMPT, key, found)?;
        if self.names.keys().any(|name| at.holds(name)) {
            return Err(conflict(ATTEMPT, key));
        }
        self.tick();
        self.remove_name(&at);
        Ok(Applied::default())
    }

    fn rename(&mut self, key: &Key, to: &Key, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "renaming";
        let plain = found.file_type != FileType::Directory && !to.is_directory();
        if !plain || key.parent() != to.parent() {
            return Err(conflict(ATTEMPT, key));
        }
        let (at, number) = self.still(ATTEMPT, key, found)?;
        if self.at(to.path()).is_some() {
            return Err(conflict(ATTEMPT, key));
        }
        self.tick();
        self.names.remove(&at);
        self.names.insert(to.clone(), number);
        self.touch(number);
        self.touch_parent(to);
        Ok(Applied { made: self.status(to), ..Applied::default() })
    }
}

impl Tree for MemoryTree {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        const ATTEMPT: &str = "listing";
        let world = self.world();
        let Some(directory) = directory else {
            let path = |key: &Key| (key.depth() == 0).then(|| key.as_str().to_owned());
            return Ok(world.names.keys().filter_map(path).collect());
        };
        let (at, _) = world.present(ATTEMPT, directory)?;
        if !at.is_directory() {
            return Err(conflict(ATTEMPT, directory));
        }
        let below = world.names.range((Bound::Excluded(&at), Bound::Unbounded)).map(|(key, _)| key);
        let names = below.take_while(|key| at.holds(key)).filter_map(|key| {
            let name = key.as_str().get(at.as_str().len()..)?;
            (!name.trim_end_matches('/').contains('/')).then_some(name)
        });
        Ok(names.collect())
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, _: Place, mut visitor: V) -> V {
        let world = self.world();
        let look = |key: &str| {
            // Invariant: what is in a KeyList is a key.
            let Ok(key) = Key::parse(key) else { return Look::Nothing };
            match world.look_up("looking at", &key) {
                Ok(found) => found.map_or(Look::Nothing, |found| Look::Found(found.status())),
                Err(error) => Look::Failed(error),
            }
        };
        keys.iter().map(look).enumerate().for_each(|(at, look)| visitor.visit(at, look));
        visitor
    }

    fn now(&self) -> Timestamp {
        self.world().next()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        Ok(u128::from(self.identity).to_be_bytes())
    }

    fn keeps_directory_times(&self) -> bool {
        true
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        Ok(self.world().has_placeholders)
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        let found = self.world().look_up("looking up", key)?;
        Ok(found.map_or(Present::Nothing, Present::Entry))
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        let world = self.world();
        let (at, number) = world.present("opening", key)?;
        let found = world.found(&at, number).filter(|found| found.entry.file_type() == FileType::File);
        let content = world.inodes.get(&number).map(|inode| inode.content.clone());
        match (found, content, world.residence(&at, number)) {
            (Some(found), Some(content), Some(residence)) => {
                Ok(Arc::new(OpenInode { found, residence, content, world: Arc::clone(&self.world) }))
            }
            _ => Err(failed("opening", key, TreeErrorKind::Changed)),
        }
    }

    async fn write_file(
        &self,
        entry: &Entry,
        mut body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        let error = || failed("writing", entry.key(), TreeErrorKind::Body);
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
        self.world().publish("writing", entry, content.freeze(), None, standing)
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        let mut world = self.world();
        match op {
            TreeOp::CreateDirectory { key, attributes } => {
                let made = world.make_directories("making", key, *attributes)?;
                Ok(Applied { made, ..Applied::default() })
            }
            TreeOp::CreateSymlink { entry, standing } => world.publish("linking", entry, Bytes::new(), None, *standing),
            TreeOp::CreatePlaceholder { entry, released, standing } => world.place(entry, released, *standing),
            // There are no processes.
            TreeOp::Release { entry, released, found, unseen: _ } => world.release(entry, released, found),
            TreeOp::SetAttributes { entry, found } => world.set_attributes(entry, found),
            TreeOp::SetTimes { key, atime, mtime, found } => world.set_times(key, *atime, *mtime, found),
            TreeOp::Remove { key, found } => world.remove(key, found),
            TreeOp::Rename { key, to, found } => world.rename(key, to, found),
        }
    }

    async fn begin(&self) -> Result<(), TreeError> {
        Ok(())
    }

    async fn sync(&self) -> Result<(), TreeError> {
        Ok(())
    }

    async fn finish(&self) -> Result<(), TreeError> {
        Ok(())
    }
}

/// A file that is open: its inode can be read, whatever becomes of its name.
struct OpenInode {
    found: Found,
    residence: Residence,
    /// Its bytes when it was opened, which are those of an inode without a name.
    content: Bytes,
    world: Arc<Mutex<World>>,
}

impl OpenFile for OpenInode {
    fn found(&self) -> &Found {
        &self.found
    }

    fn residence(&self) -> &Residence {
        &self.residence
    }

    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>> {
        let world = lock(&self.world);
        let without = if self.content.is_empty() { Data::None } else { Data::Some };
        let data = world.inodes.get(&self.found.fingerprint.inode).map_or(without, Inode::data);
        Box::pin(async move { Ok(data) })
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        let world = lock(&self.world);
        let now = world.found(self.found.entry.key(), self.found.fingerprint.inode);
        // It has lost its last name.
        let without = || Found {
            fingerprint: Fingerprint { ctime: world.time, links: 0, ..self.found.fingerprint },
            ..self.found.clone()
        };
        let now = now.unwrap_or_else(without);
        Box::pin(async { Ok(now) })
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        let world = lock(&self.world);
        let now = world.inodes.get(&self.found.fingerprint.inode);
        let content = now.map_or(&self.content, |inode| &inode.content);
        let size = match now.map(|inode| &inode.kind) {
            Some(EntryKind::File { size }) => *size,
            _ => self.found.entry.object_size(),
        };
        let end = offset.saturating_add(length as u64).min(size);
        let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(length);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let piece = content.slice(start..start.saturating_add(length).min(content.len()));
        if piece.len() == length {
            return Box::pin(async { Ok(piece) });
        }
        // A hole reads as zeros.
        let mut filled = BytesMut::from(piece);
        filled.resize(length, 0);
        Box::pin(async { Ok(filled.freeze()) })
    }
}
