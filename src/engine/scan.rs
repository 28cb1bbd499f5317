//! [`Scan`]: a tree beside the snapshot of it, in key order: what is as it was recorded is counted, everything else is
//! handed out.
//!
//! Four problems and their answers:
//!
//! 1. *Reading directories costs a fifth of a walk.* A directory that is as it was recorded, was old enough then, and whose
//!    names were all recorded holds those names still. They come from the snapshot, and only what each is now is looked
//!    at.
//! 2. *A look costs a system call, and most of a scan is looks.* All keys of a block of the snapshot are looked at in one
//!    call to the tree, several blocks side by side, before it is known which directories have to be read: what a recorded
//!    name is now has to be known either way.
//! 3. *What is gone has to be told from what was not seen.* A recorded name is gone if its directory was read to the end and
//!    does not hold it. Below what could not be read nothing is known, and nothing is said.
//! 4. *A path among many must not cost its neighbours.* Of what is recorded around a path nothing is looked at, and nothing
//!    is read beyond the blocks in which it stands. As `a` and `a/` may stand far apart, they are two [`Part`]s.

use super::selection::{Selection, in_path};
use super::session::{Reader, Session, StateError};
use crate::key::{Key, KeyList};
use crate::mode::FileType;
use crate::snapshot::{Age, Names, Record, Rows};
use crate::status::Status;
use crate::timestamp::Timestamp;
use crate::tree::{Look, NameList, Place, SkipReason, Tree, TreeError, TreeErrorKind, Visit};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How many names that are new are looked at in one call.
const BATCH: usize = 1024;
/// How many blocks of the record wait for a thread that looks, beside those that are looked at.
const WAITING: usize = 14;
/// So few paths are looked at where the scan is: asking another thread takes longer.
const FEW: usize = 64;
/// How many entries that are as recorded are counted before the count is handed out.
const COUNTED: u64 = 4096;

/// What a scan comes upon.
#[derive(Debug)]
pub(super) enum Sight {
    /// So many entries are as they were recorded.
    Unchanged(u64),
    /// Something that is not recorded, or perhaps not as it was.
    Present {
        key: Key,
        status: Status,
        /// What is recorded of it.
        record: Option<Record>,
        /// Of a directory, whether every name in it is going to be recorded.
        names: Names,
        /// The latest of its ctime and those of the directories around it, as far as the scan came by them: whatever has
        /// been renamed, it had this path no later.
        moved: Timestamp,
    },
    /// Something that is recorded and not there any more.
    Gone(Record),
    /// Something that has no object.
    Skipped { path: Box<[u8]>, reason: SkipReason, recorded: Recorded },
    /// Something that could not be looked at or read.
    Failed { path: Box<[u8]>, error: TreeError, recorded: Recorded },
}

/// Whether a name has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    Yes,
    No,
}

/// What the names in unchanged directories are believed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Directories {
    /// A directory whose own times and inode are as recorded is not read: its names are those recorded. Where the tree says
    /// that its file system keeps the times of directories exactly; elsewhere as [`Read`](Self::Read).
    #[default]
    Recorded,
    /// Every directory is read.
    Read,
}

pub(super) struct Scan<'r, T> {
    tree: &'r T,
    session: Option<&'r Session<'r>>,
    selection: &'r Selection,
    directories: Directories,
    /// How many blocks are looked at side by side, and where.
    lookers: usize,
    place: Place,
    /// The parts that are still to come; `None` for the whole tree.
    parts: VecDeque<Option<Part>>,
    /// The part at hand; `None` for the whole tree.
    part: Option<Part>,
    /// What stands at the coming paths.
    standing: VecDeque<Look>,
    /// What the path at hand is.
    is: Is,
    /// What becomes of paths that are neither there nor recorded.
    nowhere: Nowhere,
    reader: Option<Arc<Mutex<Reader>>>,
    blocks: Option<BoxStream<'r, Result<Block, StateError>>>,
    block: Option<Block>,
    /// The directories from the root to where the scan stands.
    levels: Vec<Level>,
    /// Where nothing is to be asked of what is recorded.
    closed: Option<Closed>,
    /// The path at hand, as long as it is neither there nor recorded.
    absent: Option<Box<str>>,
    unchanged: u64,
    /// What was found on the way and is handed out first.
    ready: VecDeque<Sight>,
}

/// How much of a path a scan is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// What stands there, and not what is in it.
    Entry,
    /// Also what is in it.
    Below,
}

/// What becomes of paths that are neither there nor recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nowhere {
    /// Somebody has asked for them, so they are errors.
    Failed,
    /// They came and went.
    Passed,
}

/// What a path is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Directory,
    Other,
    Nothing,
    /// It could not be looked at.
    Unknown,
}

/// A part of the tree: what is no directory at a path, or what is one.
#[derive(Clone, Debug)]
struct Part {
    path: Box<str>,
    /// The key of it: the path, with a slash for the directory.
    key: Box<str>,
    reach: Reach,
}

impl Part {
    /// The two parts of a path.
    fn both(path: &str, reach: Reach) -> [Option<Self>; 2] {
        [path.into(), format!("{path}/").into()].map(|key| Some(Self { path: path.into(), key, reach }))
    }

    fn is_directory(&self) -> bool {
        self.key.len() > self.path.len()
    }

    fn holds(&self, key: &str) -> bool {
        let below = self.is_directory() && self.reach == Reach::Below && key.starts_with(&*self.key);
        below || *key == *self.key
    }

    /// Those of some keys that it holds, each with its place.
    fn among(&self, keys: &KeyList) -> (Arc<KeyList>, Vec<usize>) {
        let (mut held, mut places) = (KeyList::new(), Vec::new());
        for (place, key) in keys.iter().enumerate().filter(|(_, key)| self.holds(key)) {
            // Invariant: it comes from such a list.
            if held.push(key).is_ok() {
                places.push(place);
            }
        }
        (Arc::new(held), places)
    }
}

/// A block of the snapshot, each of its keys looked at.
struct Block {
    rows: Arc<Rows>,
    next: usize,
    /// What is not plainly as it was recorded, each with its place.
    differing: std::iter::Peekable<std::vec::IntoIter<(usize, Look)>>,
}

/// Sorts out on the spot what is plainly as it was recorded, which is nearly everything: so that neither memory nor another
/// processor ever sees it.
struct Differing {
    rows: Arc<Rows>,
    directories: Directories,
    /// Which rows are looked at; all of them without.
    places: Option<Vec<usize>>,
    found: Vec<(usize, Look)>,
}

impl Visit for Differing {
    fn visit(&mut self, at: usize, look: Look) {
        let Some(at) = self.places.as_ref().map_or(Some(at), |places| places.get(at).copied()) else { return };
        if !matches!(&look, Look::Found(status) if self.is_plain(at, status)) {
            self.found.push((at, look));
        }
    }
}

impl Differing {
    /// Whether there is nothing to do about a record whose inode has this status.
    fn is_plain(&self, at: usize, status: &Status) -> bool {
        let rows = &self.rows;
        let plain = rows.agrees(at, status) && rows.age(at) == Some(Age::Settled);
        plain && (status.file_type != FileType::Directory || is_trusted(rows, at, self.directories))
    }
}

/// Whether a directory that is as it was recorded need not be read.
fn is_trusted(rows: &Rows, at: usize, directories: Directories) -> bool {
    rows.names(at) == Names::Recorded && directories == Directories::Recorded
}

/// A directory of which something is still to come.
struct Level {
    /// Its key, with the slash; empty for the root.
    key: Box<str>,
    /// Its names as read; `None` when they are those recorded.
    listing: Option<Listing>,
    /// Where it is recorded, if its names are.
    record: Option<(Arc<Rows>, usize)>,
    /// Its ctime, if it was looked at; else that is the one recorded, or nobody knows.
    ctime: Option<Timestamp>,
}

struct Listing {
    names: NameList,
    next: usize,
    /// What some of the coming names are, each with its place.
    looks: VecDeque<(usize, Look)>,
}

/// A directory of which what is recorded below it needs no look any more.
struct Closed {
    key: Box<str>,
    why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is gone, and so is all that was in it.
    Gone,
    /// It could not be read, or is not selected: nothing is said about what is in it.
    Unknown,
}

impl<'r, T: Tree> Scan<'r, T> {
    pub(super) fn new(
        tree: &'r T,
        session: Option<&'r Session<'r>>,
        selection: &'r Selection,
        directories: Directories,
        lookers: usize,
    ) -> Self {
        let parts: VecDeque<Option<Part>> =
            selection.paths().into_iter().flat_map(|path| Part::both(path, Reach::Below)).collect();
        let parts = if parts.is_empty() { VecDeque::from([None]) } else { parts };
        let directories = if tree.keeps_directory_times() { directories } else { Directories::Read };
        Self {
            tree,
            session,
            selection,
            directories,
            lookers,
            place: if lookers > 1 { Place::Aside { threads: lookers } } else { Place::Here },
            parts,
            part: None,
            standing: VecDeque::new(),
            is: Is::Unknown,
            nowhere: Nowhere::Failed,
            reader: None,
            blocks: None,
            block: None,
            levels: Vec::new(),
            closed: None,
            absent: None,
            unchanged: 0,
            ready: VecDeque::new(),
        }
    }

    /// The same, of what is selected of these paths alone: paths without slashes at their ends, and fit to be keys. It is
    /// quickest in the order of the paths.
    pub(super) fn among(mut self, paths: &[(Box<str>, Reach)]) -> Self {
        self.parts.clear();
        for (path, reach) in paths {
            if self.selection.holds(path) {
                self.parts.extend(Part::both(path, *reach));
            } else if *reach == Reach::Below {
                let selected = self.selection.paths().into_iter().filter(|selected| in_path(path, selected));
                self.parts.extend(selected.flat_map(|selected| Part::both(selected, Reach::Below)));
            }
        }
        self.nowhere = Nowhere::Passed;
        self
    }

    /// The scan as a stream; after an error there is nothing more.
    pub(super) fn sights(self) -> BoxStream<'r, Result<Sight, ScanError>> {
        stream::try_unfold(self, |mut scan| async move { Ok(scan.next().await?.map(|sight| (sight, scan))) }).boxed()
    }

    async fn next(&mut self) -> Result<Option<Sight>, ScanError> {
        loop {
            if let Some(sight) = self.ready.pop_front() {
                return Ok(Some(sight));
            }
            if self.unchanged >= COUNTED {
                return Ok(Some(Sight::Unchanged(std::mem::take(&mut self.unchanged))));
            }
            if !self.step().await? {
                let counted = std::mem::take(&mut self.unchanged);
                return Ok((counted > 0).then_some(Sight::Unchanged(counted)));
            }
        }
    }

    /// Goes on over records that are plainly as they were, in directories that are not read: nearly all of a scan, and so
    /// without anything that is not needed for them.
    fn coast(&mut self) {
        let Some(block) = &mut self.block else { return };
        let key = block.rows.keys().get(block.next).unwrap_or_default();
        self.closed = self.closed.take().filter(|closed| key <= &*closed.key || key.starts_with(&*closed.key));
        if self.part.is_some() || self.closed.is_some() || !self.selection.has_no_patterns() {
            return;
        }
        let stop = block.differing.peek().map_or(usize::MAX, |(differing, _)| *differing);
        while block.next < stop {
            let Some(level) = self.levels.last().filter(|level| level.listing.is_none()) else { return };
            let Some(key) = block.rows.keys().get(block.next) else { return };
            let Some(rest) = key.strip_prefix(&*level.key) else {
                self.levels.pop();
                continue;
            };
            match rest.as_bytes().iter().position(|byte| *byte == b'/') {
                None => {}
                Some(slash) if slash.saturating_add(1) == rest.len() => {
                    self.levels.push(Level::recorded(key, &block.rows, block.next));
                }
                Some(_) => return,
            }
            block.next = block.next.saturating_add(1);
            self.unchanged = self.unchanged.saturating_add(1);
        }
    }

    /// Goes on by one name, one record or one directory; `false` at the end.
    async fn step(&mut self) -> Result<bool, ScanError> {
        self.coast();
        self.load().await?;
        let Some(level) = self.levels.last() else { return self.begin().await };
        let rest = self.block.as_ref().and_then(Block::key).and_then(|key| key.strip_prefix(&*level.key));
        let name = level.listing.as_ref().and_then(|listing| listing.names.get(listing.next));
        match (name, rest) {
            (Some(name), Some(rest)) => match name.cmp(rest.as_bytes()) {
                Ordering::Less => self.new_name().await,
                Ordering::Equal => {
                    if let Some(listing) = self.levels.last_mut().and_then(|level| level.listing.as_mut()) {
                        listing.next = listing.next.saturating_add(1);
                    }
                    self.recorded().await;
                }
                Ordering::Greater => self.missing(Why::Gone),
            },
            (Some(_), None) => self.new_name().await,
            (None, Some(_)) if level.listing.is_some() => self.missing(Why::Gone),
            (None, Some(rest)) => match rest.find('/') {
                // A record below a directory that has none itself, in one all of whose names are recorded: it is gone.
                Some(slash) if slash.saturating_add(1) < rest.len() => self.missing(Why::Gone),
                _ => self.recorded().await,
            },
            (None, None) => {
                self.levels.pop();
            }
        }
        Ok(true)
    }

    /// Begins with the next of the parts; `false` when there is none.
    async fn begin(&mut self) -> Result<bool, ScanError> {
        let part = self.parts.pop_front();
        // Whether a path is recorded is known after both of its parts.
        let goes_on = matches!(&part, Some(Some(part)) if part.is_directory());
        if let Some(path) = self.absent.take_if(|_| !goes_on) {
            let error = TreeError::new("looking for", path.as_bytes(), TreeErrorKind::NotFound);
            self.ready.push_back(Sight::Failed { path: path.as_bytes().into(), error, recorded: Recorded::Yes });
        }
        (self.blocks, self.block, self.closed) = (None, None, None);
        let Some(part) = part else { return Ok(!self.ready.is_empty()) };
        let level = match &part {
            None => Level::read("", self.tree.list(None).await.map_err(ScanError::Root)?),
            Some(part) => {
                if !part.is_directory() {
                    self.stand(part).await;
                }
                match self.around(part) {
                    Some(level) => level,
                    None => return Ok(true),
                }
            }
        };
        self.levels.push(level);
        if self.reader.is_none() {
            let reader = self.session.map(Session::reader).transpose()?.flatten();
            self.reader = reader.map(|reader| Arc::new(Mutex::new(reader)));
        }
        if let Some(reader) = &self.reader {
            self.blocks = Some(self.blocks(Arc::clone(reader), part.clone())?);
        }
        self.part = part;
        Ok(true)
    }

    /// Looks at what stands at a path, and at the paths after it in the same call.
    async fn stand(&mut self, part: &Part) {
        if self.standing.is_empty() {
            let mut keys = KeyList::new();
            let coming = self.parts.iter().flatten().filter(|part| !part.is_directory());
            for path in std::iter::once(part).chain(coming).take(BATCH).map(|part| &part.path) {
                // Invariant: it is the path of a key.
                let _ = keys.push(path);
            }
            let place = self.place(keys.len());
            self.standing = self.tree.look(Arc::new(keys), place, Vec::new()).await.into();
        }
        let look = self.standing.pop_front().unwrap_or(Look::Nothing);
        self.is = match look {
            _ if self.selection.leaves_out(&part.path) => Is::Unknown,
            Look::Found(status) if status.file_type == FileType::Directory => Is::Directory,
            Look::Found(_) | Look::Skipped(_) => Is::Other,
            Look::Nothing => Is::Nothing,
            // What was a directory above is none any more, so nothing is in it.
            Look::Failed(error) if error.kind() == TreeErrorKind::Conflict => Is::Nothing,
            Look::Failed(error) => {
                let path = part.path.as_bytes().into();
                self.ready.push_back(Sight::Failed { path, error, recorded: Recorded::Yes });
                Is::Unknown
            }
        };
        // It may have been recorded; else it is an error.
        let is_error = self.is == Is::Nothing && self.nowhere == Nowhere::Failed;
        self.absent = is_error.then(|| part.path.clone());
    }

    /// The directory around a path, with no other name in it; `None` when nothing can be said about it.
    fn around(&self, part: &Part) -> Option<Level> {
        let (above, name) = part.path.rsplit_once('/').unwrap_or(("", &part.path));
        let stands = match self.is {
            Is::Unknown => return None,
            Is::Nothing => false,
            Is::Directory => part.is_directory(),
            Is::Other => !part.is_directory(),
        };
        let name = if part.is_directory() { format!("{name}/") } else { name.to_owned() };
        let key = if above.is_empty() { String::new() } else { format!("{above}/") };
        Some(Level::read(&key, stands.then_some(name).into_iter().collect()))
    }

    fn place(&self, looks: usize) -> Place {
        if looks < FEW { Place::Here } else { self.place }
    }

    /// The blocks of the snapshot in which a part stands, or all, and what each of their keys is that belong to it.
    fn blocks(
        &self,
        reader: Arc<Mutex<Reader>>,
        part: Option<Part>,
    ) -> Result<BoxStream<'r, Result<Block, StateError>>, StateError> {
        if let Some(part) = &part {
            lock(&reader).seek(&part.key)?;
        }
        let (tree, directories, place, lookers) = (self.tree, self.directories, self.place, self.lookers);
        let part = Arc::new(part);
        let looked_for = Arc::clone(&part);
        let rows = stream::try_unfold((reader, false), move |(reader, is_end)| {
            let part = Arc::clone(&part);
            async move {
                let mut rows = Rows::default();
                if is_end || !lock(&reader).read_block(&mut rows)? {
                    return Ok::<_, StateError>(None);
                }
                let last = rows.len().checked_sub(1).and_then(|last| rows.keys().get(last)).unwrap_or_default();
                let is_end = (*part)
                    .as_ref()
                    .is_some_and(|part| *last >= *part.key && !(part.reach == Reach::Below && part.holds(last)));
                Ok(Some((Arc::new(rows), (reader, is_end))))
            }
        });
        let looked = rows.map_ok(move |rows| {
            let part = Arc::clone(&looked_for);
            async move {
                let (keys, places) = match &*part {
                    None => (Arc::clone(rows.keys()), None),
                    Some(part) => {
                        let (keys, places) = part.among(rows.keys());
                        (keys, Some(places))
                    }
                };
                let place = if keys.len() < FEW { Place::Here } else { place };
                let differing = Differing { rows: Arc::clone(&rows), directories, places, found: Vec::new() };
                let differing = tree.look(keys, place, differing).await;
                Ok(Block { rows, next: 0, differing: differing.found.into_iter().peekable() })
            }
        });
        // Some wait for a thread, so that none waits for the scan: waking it takes as long as looking at a tenth of a block.
        let under_way = if lookers > 1 { lookers.saturating_add(WAITING) } else { 1 };
        Ok(looked.try_buffered(under_way).boxed())
    }

    /// Sees to it that the next record is at hand, if there is one.
    async fn load(&mut self) -> Result<(), StateError> {
        loop {
            let key = self.block.as_ref().and_then(Block::key);
            match (key, &self.part) {
                (Some(_), None) => return Ok(()),
                (Some(key), Some(part)) if part.holds(key) => {
                    self.absent = None;
                    return Ok(());
                }
                (Some(key), Some(part)) if *key < *part.key => self.advance(),
                (Some(_), Some(_)) => (self.blocks, self.block) = (None, None),
                (None, _) => {
                    let Some(blocks) = &mut self.blocks else { return Ok(()) };
                    match blocks.next().await {
                        Some(block) => self.block = Some(block?),
                        None => (self.blocks, self.block) = (None, None),
                    }
                }
            }
        }
    }

    fn advance(&mut self) {
        if let Some(block) = &mut self.block {
            block.next = block.next.saturating_add(1);
        }
    }

    /// Takes the record at hand, of which nothing was found.
    fn missing(&mut self, why: Why) {
        let Some(block) = &self.block else { return };
        let key = block.key().unwrap_or_default();
        let why = match self.closed.as_ref().filter(|closed| key.starts_with(&*closed.key)) {
            // What is not selected stays, also below what is gone.
            Some(closed) if closed.why == Why::Gone && self.selection.leaves_out(key) => Why::Unknown,
            Some(closed) => closed.why,
            None => {
                let why = if self.selection.leaves_out(key) { Why::Unknown } else { why };
                if key.ends_with('/') {
                    self.closed = Some(Closed { key: key.into(), why });
                }
                why
            }
        };
        if why == Why::Gone {
            self.ready.extend(block.rows.record(block.next).map(Sight::Gone));
        }
        self.advance();
    }

    /// Takes the record at hand, whose name is there.
    async fn recorded(&mut self) {
        let Some(block) = &mut self.block else { return };
        let at = block.next;
        let rows = Arc::clone(&block.rows);
        let Some(key) = rows.keys().get(at) else { return };
        block.next = at.saturating_add(1);
        let look = block.take_differing(at);
        if self.selection.excludes(key) {
            self.closed = key.ends_with('/').then(|| Closed { key: key.into(), why: Why::Unknown });
            return;
        }
        let is_directory = key.ends_with('/');
        let Some(look) = look else {
            if is_directory {
                self.levels.push(Level::recorded(key, &rows, at));
            }
            self.unchanged = self.unchanged.saturating_add(1);
            return;
        };
        let status = match look {
            Look::Found(status) if (status.file_type == FileType::Directory) == is_directory => status,
            // It was gone already when the directory, which is still as it was, was last read; or it is going just now.
            Look::Nothing | Look::Found(_)
                if !rows.has_local(at) || is_still_as_recorded(self.tree, self.levels.last()).await =>
            {
                self.closed = is_directory.then(|| Closed { key: key.into(), why: Why::Gone });
                self.ready.extend(rows.record(at).map(Sight::Gone));
                return;
            }
            other => {
                let key = key.to_owned();
                self.unseen(key.as_bytes(), other, Recorded::Yes);
                return;
            }
        };
        let settled = rows.agrees(at, &status) && rows.age(at) == Some(Age::Settled);
        let trusted = is_directory && settled && is_trusted(&rows, at, self.directories);
        if trusted {
            self.levels.push(Level::recorded(key, &rows, at));
        }
        let Some(record) = rows.record(at) else { return };
        let key = record.key.clone();
        let names = match trusted {
            true => Some(Names::Recorded),
            false if self.is_about_entry() => Some(Names::Unknown),
            false => self.enter(&key, &status, Recorded::Yes).await,
        };
        if let Some(names) = names {
            let moved = self.moved(&status);
            self.ready.push_back(Sight::Present { key, status, record: Some(record), names, moved });
        }
    }

    /// Takes the name at hand, which is not recorded.
    async fn new_name(&mut self) {
        let Some(level) = self.levels.last_mut() else { return };
        let Level { key: directory, listing: Some(listing), .. } = level else { return };
        let at = listing.next;
        listing.next = at.saturating_add(1);
        let mut path = directory.as_bytes().to_vec();
        path.extend_from_slice(listing.names.get(at).unwrap_or_default());
        let key = match Key::from_bytes(&path) {
            Ok(key) => key,
            Err(invalid) => {
                let path = path.into_boxed_slice();
                self.ready.push_back(Sight::Skipped {
                    path,
                    reason: SkipReason::Key(invalid),
                    recorded: Recorded::Yes,
                });
                return;
            }
        };
        if self.selection.excludes(key.as_str()) {
            self.close(key.as_str());
            return;
        }
        while listing.looks.front().is_some_and(|(looked, _)| *looked < at) {
            listing.looks.pop_front();
        }
        if listing.looks.is_empty() {
            let rest = self.block.as_ref().and_then(Block::key).and_then(|row| row.strip_prefix(&**directory));
            let (places, keys) = listing.coming(directory, at, rest);
            let looks = self.tree.look(keys, self.place, Vec::new()).await;
            listing.looks = places.into_iter().zip(looks).collect();
        }
        let look = listing.looks.pop_front().map_or(Look::Nothing, |(_, look)| look);
        let is_directory = key.is_directory();
        let status = match look {
            Look::Found(status) if (status.file_type == FileType::Directory) == is_directory => status,
            other => return self.unseen(key.as_str().as_bytes(), other, Recorded::No),
        };
        let reads = is_directory && !self.is_about_entry();
        let names = if reads { self.enter(&key, &status, Recorded::No).await } else { Some(Names::Unknown) };
        if let Some(names) = names {
            let moved = self.moved(&status);
            self.ready.push_back(Sight::Present { key, status, record: None, names, moved });
        }
    }

    /// When something, or a directory around it, last changed.
    fn moved(&self, status: &Status) -> Timestamp {
        self.levels.iter().filter_map(Level::ctime).fold(status.ctime, Timestamp::max)
    }

    /// Whether what is in a directory is another matter.
    fn is_about_entry(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.reach == Reach::Entry)
    }

    /// Reads a directory, in which the scan goes on. `None` when it cannot be read, which has been said then. Of anything
    /// else, nothing is done.
    async fn enter(&mut self, key: &Key, status: &Status, recorded: Recorded) -> Option<Names> {
        if !key.is_directory() {
            return Some(Names::Unknown);
        }
        match self.tree.list(Some(key)).await {
            Ok(names) => {
                // Another directory may have taken its path since; then these names are not those of the one recorded.
                let is_that_one = names.directory().is_none_or(|inode| inode == status.inode);
                let known = if is_that_one { self.recordable(key.as_str(), &names) } else { Names::Unknown };
                self.levels.push(Level { ctime: Some(status.ctime), ..Level::read(key.as_str(), names) });
                Some(known)
            }
            // Before the entry is handed out: a directory that cannot be read is not an entry but a failure.
            Err(error) => {
                let look = if error.kind() == TreeErrorKind::NotFound { Look::Nothing } else { Look::Failed(error) };
                self.unseen(key.as_str().as_bytes(), look, recorded);
                None
            }
        }
    }

    /// Whether every name in a directory is going to have a record.
    fn recordable(&self, directory: &str, names: &NameList) -> Names {
        let all = names.iter().all(|name| {
            std::str::from_utf8(name).is_ok_and(|name| {
                let fits = directory.len().saturating_add(name.len()) <= Key::MAX_BYTES;
                fits && (self.selection.has_no_patterns() || !self.selection.excludes(&format!("{directory}{name}")))
            })
        });
        if all { Names::Recorded } else { Names::Unknown }
    }

    /// Says why something is no entry. Nothing is said about what is below it.
    fn unseen(&mut self, path: &[u8], look: Look, recorded: Recorded) {
        if let Ok(key) = std::str::from_utf8(path) {
            self.close(key);
        }
        let path = path.into();
        self.ready.push_back(match look {
            Look::Failed(error) => Sight::Failed { path, error, recorded },
            Look::Skipped(reason) => Sight::Skipped { path, reason, recorded },
            // A name that has become a directory, or is none any more, would come at the wrong place.
            Look::Nothing | Look::Found(_) => Sight::Skipped { path, reason: SkipReason::Vanished, recorded },
        });
    }

    /// Leaves out what is recorded below a directory.
    fn close(&mut self, key: &str) {
        if key.ends_with('/') {
            self.closed = Some(Closed { key: key.into(), why: Why::Unknown });
        }
    }
}

fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    // Whatever is in it can be sought anew.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a directory was not read, and is now what it was when its names were recorded.
async fn is_still_as_recorded(tree: &impl Tree, level: Option<&Level>) -> bool {
    let Some(Level { key, record: Some((rows, at)), .. }) = level else { return false };
    matches!(look(tree, key).await, Look::Found(status) if rows.agrees(*at, &status))
}

/// Looks at one key, or at what its path is.
pub(super) async fn look(tree: &impl Tree, key: &str) -> Look {
    let mut keys = KeyList::new();
    // Invariant: it is a Key, or the path of one, and so fit for a list of keys.
    let _ = keys.push(key);
    tree.look(Arc::new(keys), Place::Here, Vec::new()).await.into_iter().next().unwrap_or(Look::Nothing)
}

impl Block {
    /// The key of the record at hand.
    fn key(&self) -> Option<&str> {
        self.rows.keys().get(self.next)
    }

    /// What was found of the record at a place; `None` when that is plainly as it was recorded.
    fn take_differing(&mut self, at: usize) -> Option<Look> {
        // What was passed over was not asked about.
        while self.differing.next_if(|(differing, _)| *differing < at).is_some() {}
        self.differing.next_if(|(differing, _)| *differing == at).map(|(_, look)| look)
    }
}

impl Level {
    fn read(key: &str, names: NameList) -> Self {
        let listing = Listing { names, next: 0, looks: VecDeque::new() };
        Self { key: key.into(), listing: Some(listing), record: None, ctime: None }
    }

    fn recorded(key: &str, rows: &Arc<Rows>, at: usize) -> Self {
        Self { key: key.into(), listing: None, record: Some((Arc::clone(rows), at)), ctime: None }
    }

    fn ctime(&self) -> Option<Timestamp> {
        let recorded = || self.record.as_ref().and_then(|(rows, at)| rows.local(*at)).map(|local| local.ctime);
        self.ctime.or_else(recorded)
    }
}

impl Listing {
    /// The names from a place on that are new for sure, as keys, each with its place: those before what of the next record
    /// is behind the directory.
    fn coming(&self, directory: &str, from: usize, rest: Option<&str>) -> (Vec<usize>, Arc<KeyList>) {
        let (mut places, mut keys) = (Vec::new(), KeyList::new());
        let mut key = String::new();
        for at in from..self.names.len() {
            let Some(name) = self.names.get(at) else { break };
            if places.len() >= BATCH || rest.is_some_and(|rest| name >= rest.as_bytes()) {
                break;
            }
            let Ok(name) = std::str::from_utf8(name) else { continue };
            key.clear();
            key.push_str(directory);
            key.push_str(name);
            if keys.push(&key).is_ok() {
                places.push(at);
            }
        }
        (places, Arc::new(keys))
    }
}

/// Why a scan had to stop.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The root could not be read.
    Root(TreeError),
    State(StateError),
}

impl From<StateError> for ScanError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}
