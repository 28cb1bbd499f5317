//! [`SimTree`]: a tree on a disk that is made up, and that behaves as `LocalTree` does on ext4 as root.
//!
//! ```ignore
//! let tree = SimTree::new(Options::EXT4);             // or UNORDERED, or Options { folds_case: true, ..Options::EXT4 }
//! tree.edit(&Edit::Create { path: "a".into(), permissions: 0o644 })?;  // a user, past the library
//! tree.fail(Fault { errno: Errno::NOSPC, at: 3, lasting: false });     // the fourth call that can fail so does
//! tree.stop_at(17);                                   // before its 18th system call the process stands still:
//!                                                     // the future of the run stays pending, `has_stopped` tells
//! block_on(import(&tree, …));
//! let next = tree.crash(Crash { metadata: Survives::Prefix(5), data: Survives::Some(seed) });  // the machine ends
//! let next = tree.end_of_process();                   // the process ends, and all that it did is seen
//! for (path, seen) in next.all() { … }                // what there is, without the staging directory
//! ```
//!
//! - A crash takes the disk as it is at that moment, and leaves the tree as it is, so that one run can crash in many ways;
//!   [`SimTree::pending`] says how many effects there are to choose from.
//! - Where a test owns the clock: [`SimTree::advance`]. Each change takes a tick of [`Options`].
//! - [`SimTree::hold`] has a file open as a user would.
//! - [`SimTree::begin_process`] is another process on the same disk.
//!
//! It is written after `LocalTree`, call by call. `tests/sim_tree.rs` compares what the two answer and what there is in the end,
//! on tmpfs and on ext4. When something is brought to the disk it does not compare, and there the two differ: `LocalTree` brings
//! four files or more that come together by one `syncfs`, and this tree each by itself. When the real one does so, and that it is
//! enough, is shown from its system calls by `tests/power_loss.rs`.

mod open;
mod placeholders;

use super::crash::{Crash, Effect};
use super::disk::{Disk, Done, Fault, Options};
use super::edit::{Edit, walk};
use super::exchange::{Exchange, Exchanged};
use super::inodes::{Ino, Kind, ROOT};
use super::staging::{Staged, Staging, is_reserved, is_staging};
use super::sys::{Stat, Sys, failed};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use open::Held;
use placeholders::undone;
use posix_s3::tree::{
    Applied, Fingerprint, Found, Look, NameList, OpenFile, Place, Present, Residence, Shortfall, SkipReason,
    SourceError, Standing, Tree, TreeError, TreeErrorKind, TreeOp, UnseenUsers, Visit,
};
use posix_s3::{Attributes, Entry, EntryKind, FileType, Key, KeyList, Permissions, Status, SymlinkTarget, Timestamp};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct SimTree {
    sys: Sys,
    run: Mutex<Run>,
    staging: Mutex<Option<Arc<Staging>>>,
}

/// What a process knows.
struct Run {
    /// Directories that are held open, by their path, and when they were last used.
    held: HashMap<String, (Ino, u64)>,
    used: u64,
    unsynced: bool,
    marked_root: bool,
    trusts: bool,
    settled: Settled,
}

#[derive(Clone, Copy)]
enum Settled {
    Never,
    AtFirst,
    At(Timestamp),
}

impl SimTree {
    pub(crate) fn new(options: Options) -> Self {
        Self::on(Disk::new(options))
    }

    fn on(disk: Disk) -> Self {
        Self::process(Sys(Arc::new(Mutex::new(disk))))
    }

    fn process(sys: Sys) -> Self {
        let run = Run {
            held: HashMap::new(),
            used: 0,
            unsynced: false,
            marked_root: false,
            trusts: true,
            settled: Settled::Never,
        };
        Self { sys, run: Mutex::new(run), staging: Mutex::new(None) }
    }

    /// Another process on the same disk.
    pub(crate) fn begin_process(&self) -> Self {
        Self::process(self.sys.clone())
    }

    /// The disk after a crash of the machine now.
    pub(crate) fn crash(&self, how: Crash) -> Self {
        Self::on(self.disk().crash(how))
    }

    /// The disk when the process was ended, while the machine goes on.
    pub(crate) fn end_of_process(&self) -> Self {
        Self::on(self.disk().end_of_process())
    }

    /// How many effects are pending: of names and attributes, and of content.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let disk = self.disk();
        let pending = &disk.stopped.as_deref().unwrap_or(&disk).pending;
        let metadata = pending.iter().filter(|effect| matches!(effect, Effect::Metadata(_))).count();
        (metadata, pending.len() - metadata)
    }

    /// Does what a user does.
    pub(crate) fn edit(&self, edit: &Edit) -> Done {
        edit.apply(&mut self.disk())
    }

    /// Has calls of the tree fail.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut disk = self.disk();
        (disk.fault, disk.met, disk.failed) = (Some(fault), 0, 0);
    }

    /// No call fails from here on. Answers how many could have, and how many have.
    pub(crate) fn mend(&self) -> (u64, u64) {
        let mut disk = self.disk();
        disk.fault = None;
        (disk.met, disk.failed)
    }

    /// How many system calls the tree has made.
    pub(crate) fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// Has the process stand still before this call of the tree, counted from 0.
    pub(crate) fn stop_at(&self, call: u64) {
        self.disk().stop_at = Some(call);
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.disk().stopped.is_some()
    }

    pub(crate) fn time(&self) -> Timestamp {
        self.disk().time
    }

    /// Has time go by.
    pub(crate) fn advance(&self, nanoseconds: i128) {
        let mut disk = self.disk();
        disk.time = Timestamp::from_nanoseconds(disk.time.nanoseconds() + nanoseconds).unwrap();
    }

    /// Has a file open as a user would, until what is returned is dropped.
    pub(crate) fn hold(&self, path: &[u8], writes: bool) -> Done<Held> {
        let mut disk = self.disk();
        let ino = walk(&mut disk, path)?;
        drop(disk);
        Ok(Held::new(&self.sys, ino, writes))
    }

    /// Everything there is by its path, in order, but what is staged.
    pub(crate) fn all(&self) -> Vec<(Vec<u8>, Stat)> {
        let disk = self.disk();
        let (mut all, mut waiting) = (Vec::new(), vec![(Vec::new(), ROOT)]);
        while let Some((path, directory)) = waiting.pop() {
            let Kind::Directory(names) = &disk.inode(directory).kind else { continue };
            for (name, ino) in names.values().filter(|(name, _)| !(path.is_empty() && is_staging(name))) {
                let path = if path.is_empty() { name.to_vec() } else { [&path, &b"/"[..], name].concat() };
                waiting.push((path.clone(), *ino));
                all.push((path, Stat { ino: *ino, inode: Arc::clone(disk.inode(*ino)) }));
            }
        }
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        all
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.sys.disk()
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes back with an answer, unless the process stands still by now.
    async fn answer<T>(&self, answer: T) -> T {
        if self.has_stopped() {
            std::future::pending::<()>().await;
        }
        answer
    }

    // As LocalTree.

    fn directory(&self, attempt: &'static str, path: &str) -> Result<Ino, TreeError> {
        const HELD: usize = 64;
        let (mut directory, mut rest) = (ROOT, path);
        {
            let mut run = self.run();
            run.used += 1;
            let (used, mut above) = (run.used, path);
            while !above.is_empty() {
                if let Some((held, when)) = run.held.get_mut(above) {
                    *when = used;
                    let below = path.strip_prefix(above).unwrap();
                    (directory, rest) = (*held, below.strip_prefix('/').unwrap_or(below));
                    break;
                }
                above = above.rsplit_once('/').map_or("", |(above, _)| above);
            }
        }
        while !rest.is_empty() {
            let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
            let error = |error| failed(attempt, path.as_bytes(), error);
            directory = self.sys.open_directory(directory, name.as_bytes()).map_err(error)?;
            self.sys.look(directory).map_err(error)?;
            let opened = path.strip_suffix(below).unwrap().trim_end_matches('/');
            let mut run = self.run();
            if run.held.len() >= HELD {
                let oldest = run.held.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
                oldest.and_then(|oldest| run.held.remove(&oldest));
            }
            run.used += 1;
            let used = run.used;
            run.held.insert(opened.to_owned(), (directory, used));
            rest = below;
        }
        Ok(directory)
    }

    fn parent<'k>(&self, attempt: &'static str, key: &'k Key) -> Result<(Ino, &'k [u8]), TreeError> {
        let (parent, _) = key.path().rsplit_once('/').unwrap_or(("", key.path()));
        Ok((self.directory(attempt, parent)?, key.name().as_bytes()))
    }

    fn parent_made<'k>(&self, attempt: &'static str, key: &'k Key) -> Result<(Ino, &'k [u8]), TreeError> {
        check_reserved(attempt, key)?;
        match self.parent(attempt, key) {
            Err(error) if error.kind() == TreeErrorKind::NotFound => {
                if let Some(parent) = key.parent() {
                    self.make_directory(&parent, None)?;
                }
                self.parent(attempt, key)
            }
            other => other,
        }
    }

    fn make_directory(&self, key: &Key, attributes: Option<&Attributes>) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "making";
        let (parent, name) = self.parent_made(ATTEMPT, key)?;
        let staging = self.staging()?;
        let make = || {
            let mut staged = staging.directory()?;
            let mut applied = Applied::default();
            if let Some(attributes) = attributes {
                let permissions = Permissions::from_mode(attributes.permissions.bits() | 0o700);
                applied = staged.set_directory_attributes(&Attributes { permissions, ..*attributes })?;
            }
            Ok(as_it_stands(applied, &staged.publish(parent, name, Standing::Nothing)?))
        };
        make().or_else(|error: io::Error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return self.directory(ATTEMPT, key.path()).map(|_| Applied::default());
            }
            Err(failed(ATTEMPT, key.as_str().as_bytes(), error))
        })
    }

    fn staging(&self) -> Result<Arc<Staging>, TreeError> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = &*staging {
            return Ok(Arc::clone(staging));
        }
        let made = Arc::new(Staging::new(&self.sys).map_err(|error| failed("staging in", b".", error))?);
        *staging = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn write(
        &self,
        entry: &Entry,
        mut body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "writing";
        let path = entry.key().as_str().as_bytes();
        let error = |error| failed(ATTEMPT, path, error);
        let (parent, _) = self.parent_made(ATTEMPT, entry.key())?;
        // All of what is small is there before anything is made of it.
        let is_small =
            entry.object_size() <= SMALL && matches!(self.replaced(ATTEMPT, entry, parent, standing)?, Replaced::Any);
        if is_small {
            let unread = |error| TreeError::new(ATTEMPT, path, TreeErrorKind::Body).with_source(error);
            let mut pieces = Vec::new();
            while let Some(piece) = body.next().await {
                pieces.push(piece.map_err(unread)?);
                if pieces.iter().map(Bytes::len).sum::<usize>() as u64 > entry.object_size() {
                    break;
                }
            }
            check_length(ATTEMPT, entry, pieces.iter().map(Bytes::len).sum::<usize>() as u64)?;
            body = stream::iter(pieces.into_iter().map(Ok)).boxed();
        }
        let (staged, file) = self.staging()?.file().map_err(error)?;
        let mut length = 0;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| TreeError::new(ATTEMPT, path, TreeErrorKind::Body).with_source(error))?;
            /// What is a hole if there are only zeros.
            const STRETCH: usize = 64 << 10;
            for stretch in piece.chunks(STRETCH) {
                if stretch.iter().any(|byte| *byte != 0) {
                    self.sys.call(|disk| disk.write(file, length, stretch)).map_err(error)?;
                }
                length += stretch.len() as u64;
            }
            if length > entry.object_size() {
                break;
            }
        }
        check_length(ATTEMPT, entry, length)?;
        self.sys.call(|disk| disk.truncate(file, length)).map_err(error)?;
        let mut applied = set_attributes(&self.sys, file, entry.attributes()).map_err(error)?;
        let replaced = self.replaced(ATTEMPT, entry, parent, standing)?;
        if self.keep_extras(&replaced, file).map_err(error)? {
            applied = set_attributes(&self.sys, file, entry.attributes()).map_err(error)?;
        }
        self.sys.call(|disk| disk.fsync(file)).map_err(error)?;
        self.publish(ATTEMPT, entry.key(), staged, parent, standing, &replaced, applied)
    }

    fn replaced(
        &self,
        attempt: &'static str,
        entry: &Entry,
        parent: Ino,
        standing: Standing,
    ) -> Result<Replaced, TreeError> {
        let error = |error| failed(attempt, entry.key().as_str().as_bytes(), error);
        let Standing::Version(found) = standing else { return Ok(Replaced::Any) };
        if found.file_type != FileType::File || !self.is_marked(ROOT).map_err(error)? {
            return Ok(Replaced::Any);
        }
        let file = match self.sys.open_file(parent, entry.key().name().as_bytes()) {
            Ok(file) => file,
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Replaced::Any),
            Err(_) => return Ok(Replaced::Placeholder { file: None, found }),
        };
        if !self.is_marked(file).map_err(error)? {
            return Ok(Replaced::Any);
        }
        let residence = self.sys.look(file).and_then(|stat| self.residence(&stat));
        let same = matches!(residence, Ok(Residence::Released(released))
            if (released.size, released.mtime) == (entry.object_size(), entry.attributes().mtime));
        Ok(Replaced::Placeholder { file: same.then_some(file), found })
    }

    #[allow(clippy::too_many_arguments, reason = "they are of one file")]
    fn publish(
        &self,
        attempt: &'static str,
        key: &Key,
        mut staged: Staged,
        parent: Ino,
        standing: Standing,
        replaced: &Replaced,
        applied: Applied,
    ) -> Result<Applied, TreeError> {
        let (path, name) = (key.as_str().as_bytes(), key.name().as_bytes());
        let error = |error| failed(attempt, path, error);
        let kind = |kind| TreeError::new(attempt, path, kind);
        let Replaced::Placeholder { found, .. } = replaced else {
            return Ok(as_it_stands(applied, &staged.publish(parent, name, standing).map_err(error)?));
        };
        let mut exchanged = match Exchanged::begin(staged, parent, key, found).map_err(error)? {
            Exchange::Done(exchanged) => exchanged,
            Exchange::Changed => return Err(kind(TreeErrorKind::Conflict)),
            Exchange::Unsupported(mut staged, _) => {
                return Ok(as_it_stands(applied, &staged.publish(parent, name, standing).map_err(error)?));
            }
        };
        self.run().unsynced = true;
        match exchanged.users() {
            Ok((_, true)) => return Err(undone(kind(TreeErrorKind::InUse), exchanged.undo())),
            Ok(_) if exchanged.holds(found) => exchanged.let_go(),
            Ok(_) => return Err(undone(kind(TreeErrorKind::Conflict), exchanged.undo())),
            Err(why) => return Err(undone(error(why), exchanged.undo())),
        }
        let made = exchanged.made.as_ref().ok_or_else(|| kind(TreeErrorKind::Conflict))?;
        Ok(as_it_stands(Applied { around: exchanged.around, ..applied }, made))
    }

    fn symlink(&self, entry: &Entry, standing: Standing) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "linking";
        let path = entry.key().as_str().as_bytes();
        let EntryKind::Symlink { target } = entry.kind() else {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::Changed));
        };
        let (parent, name) = self.parent_made(ATTEMPT, entry.key())?;
        let staging = self.staging()?;
        let finish = || {
            let mut staged = staging.symlink(target)?;
            let applied = staged.set_link_attributes(entry.attributes())?;
            Ok(as_it_stands(applied, &staged.publish(parent, name, standing)?))
        };
        finish().map_err(|error| failed(ATTEMPT, path, error))
    }

    fn set_attributes(&self, entry: &Entry, found: &Fingerprint) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "setting the attributes of";
        check_reserved(ATTEMPT, entry.key())?;
        let path = entry.key().as_str().as_bytes();
        let error = |error| failed(ATTEMPT, path, error);
        let anew = || TreeError::new(ATTEMPT, path, TreeErrorKind::NeedsNewInode);
        let ino = match entry.kind() {
            EntryKind::Directory => self.directory(ATTEMPT, entry.key().path())?,
            EntryKind::Symlink { .. } => return Err(anew()),
            EntryKind::File { .. } => {
                let (parent, name) = self.parent(ATTEMPT, entry.key())?;
                match self.sys.open_file(parent, name) {
                    Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => return Err(anew()),
                    other => other.map_err(error)?,
                }
            }
        };
        let look = self.sys.look(ino).map_err(error)?;
        let is_file = look.inode.file_type() == FileType::File;
        let same = if is_file { look.inode.fingerprint(ino) == *found } else { ino == found.inode };
        if !same || look.inode.file_type() != entry.file_type() {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::Changed));
        }
        if is_file && (look.inode.links > 1 || self.is_marked(ino).map_err(error)?) {
            return Err(anew());
        }
        if matches!(entry.kind(), EntryKind::File { size } if *size != look.inode.size()) {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::Changed));
        }
        let applied = set_attributes(&self.sys, ino, entry.attributes()).map_err(error)?;
        self.sys.call(|disk| disk.fsync(ino)).map_err(error)?;
        let look = self.sys.look(ino).map_err(error)?;
        if look.inode.links == 0 {
            return Err(TreeError::new(ATTEMPT, path, TreeErrorKind::Changed));
        }
        Ok(as_it_stands(applied, &look))
    }

    fn set_times(
        &self,
        key: &Key,
        atime: Timestamp,
        mtime: Timestamp,
        found: &Fingerprint,
    ) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "setting the times of";
        check_reserved(ATTEMPT, key)?;
        let error = |error| failed(ATTEMPT, key.as_str().as_bytes(), error);
        let directory = self.directory(ATTEMPT, key.path())?;
        let now = self.sys.look(directory).map_err(error)?;
        if (directory, now.inode.meta.ctime) != (found.inode, found.ctime) {
            return Err(TreeError::new(ATTEMPT, key.as_str().as_bytes(), TreeErrorKind::Changed));
        }
        self.sys.call(|disk| disk.set_times(directory, atime, mtime)).map_err(error)?;
        self.run().unsynced = true;
        Ok(as_it_stands(Applied::default(), &self.sys.look(directory).map_err(error)?))
    }

    fn still(&self, attempt: &'static str, key: &Key, found: &Status) -> Result<(Ino, Stat), TreeError> {
        check_reserved(attempt, key)?;
        let path = key.as_str().as_bytes();
        let (parent, name) = self.parent(attempt, key)?;
        let stat = self.sys.look_at(parent, name).map_err(|error| failed(attempt, path, error))?;
        let same = stat.status().is_some_and(|now| match now.file_type {
            FileType::Directory => found.file_type == FileType::Directory && now.inode == found.inode,
            _ => now.is_same_version(found),
        });
        if same { Ok((parent, stat)) } else { Err(TreeError::new(attempt, path, TreeErrorKind::Changed)) }
    }

    fn remove(&self, key: &Key, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "removing";
        let (parent, stat) = self.still(ATTEMPT, key, found)?;
        let name = key.name().as_bytes();
        let removed = self
            .sys
            .call(|disk| if stat.inode.is_directory() { disk.rmdir(parent, name) } else { disk.unlink(parent, name) });
        removed.map_err(|error| failed(ATTEMPT, key.as_str().as_bytes(), error))?;
        let mut run = self.run();
        run.unsynced = true;
        run.held.retain(|held, _| {
            held.strip_prefix(key.path()).is_none_or(|rest| !(rest.is_empty() || rest.starts_with('/')))
        });
        Ok(Applied::default())
    }

    fn rename(&self, key: &Key, to: &Key, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "renaming";
        let error = |kind| TreeError::new(ATTEMPT, key.as_str().as_bytes(), kind);
        check_reserved(ATTEMPT, to)?;
        if key.parent() != to.parent() || found.file_type == FileType::Directory {
            return Err(error(TreeErrorKind::Conflict));
        }
        let (parent, _) = self.still(ATTEMPT, key, found)?;
        let (name, new) = (key.name().as_bytes(), to.name().as_bytes());
        let rename = || {
            self.sys.call(|disk| disk.rename(parent, name, parent, new, super::disk::Move::New))?;
            self.run().unsynced = true;
            self.sys.look_at(parent, new)
        };
        let after = rename().map_err(|error| failed(ATTEMPT, key.as_str().as_bytes(), error))?;
        Ok(as_it_stands(Applied::default(), &after))
    }

    fn list_names(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        const ATTEMPT: &str = "listing";
        let error = |error| failed(ATTEMPT, directory.map_or("/", Key::as_str).as_bytes(), error);
        let ino = match directory {
            None => ROOT,
            Some(key) => {
                check_reserved(ATTEMPT, key)?;
                let (parent, name) = self.parent(ATTEMPT, key)?;
                self.sys.open_directory(parent, name).map_err(error)?
            }
        };
        let names = self.sys.call(|disk| disk.list(ino)).map_err(error)?;
        let slashed = |(name, is_directory): (Arc<[u8]>, bool)| {
            let slash: &[u8] = if is_directory { b"/" } else { b"" };
            [&name, slash].concat()
        };
        Ok(names.into_iter().map(slashed).collect::<NameList>().of_directory(ino))
    }

    fn look_up(&self, key: &Key) -> Result<Present, TreeError> {
        const ATTEMPT: &str = "looking up";
        check_reserved(ATTEMPT, key)?;
        let error = |error| failed(ATTEMPT, key.as_str().as_bytes(), error);
        let (parent, name) = match self.parent(ATTEMPT, key) {
            Err(error) if error.kind() == TreeErrorKind::NotFound => return Ok(Present::Nothing),
            other => other?,
        };
        let look = match self.sys.look_at(parent, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Nothing),
            other => other.map_err(error)?,
        };
        let target = match look.inode.kind {
            Kind::Symlink(_) => Some(self.sys.call(|disk| disk.read_link(look.ino)).map_err(error)?),
            _ => None,
        };
        Ok(found(key.path(), &look, target.as_deref()).map_or(Present::Other, Present::Entry))
    }

    fn look_at_one(&self, key: &str) -> Look {
        const ATTEMPT: &str = "looking at";
        let path = key.as_bytes();
        if is_reserved(path) {
            return Look::Skipped(SkipReason::Reserved);
        }
        let (mut directory, mut rest) = (ROOT, key.strip_suffix('/').unwrap_or(key));
        while let Some((name, below)) = rest.split_once('/') {
            match self.sys.look_at(directory, name.as_bytes()) {
                Ok(stat) if stat.inode.is_directory() => (directory, rest) = (stat.ino, below),
                Ok(_) => return Look::Failed(TreeError::new(ATTEMPT, path, TreeErrorKind::Conflict)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Look::Nothing,
                Err(error) => return Look::Failed(failed(ATTEMPT, path, error)),
            }
        }
        match self.sys.look_at(directory, rest.as_bytes()) {
            Ok(stat) => stat
                .status()
                .map_or_else(|| Look::Skipped(SkipReason::Special { file_type: stat.inode.file_type() }), Look::Found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Nothing,
            Err(error) => Look::Failed(failed(ATTEMPT, path, error)),
        }
    }
}

impl Tree for SimTree {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.answer(self.list_names(directory)).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, _: Place, mut visitor: V) -> V {
        for (at, key) in keys.iter().enumerate() {
            let look = self.look_at_one(key);
            visitor.visit(at, self.answer(look).await);
        }
        visitor
    }

    fn now(&self) -> Timestamp {
        self.disk().next_time()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        Ok(u128::from(ROOT).to_be_bytes())
    }

    fn keeps_directory_times(&self) -> bool {
        true
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.is_marked(ROOT).map_err(|error| failed("looking for the mark of", b"/", error))
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.answer(self.look_up(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        self.answer(self.open_file(key)).await
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        let written = self.write(entry, body, standing).await;
        self.answer(written).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        let applied = match op {
            TreeOp::CreateDirectory { key, attributes } => self.make_directory(key, attributes.as_ref()),
            TreeOp::CreateSymlink { entry, standing } => self.symlink(entry, *standing),
            TreeOp::CreatePlaceholder { entry, released, standing } => self.place(entry, released, *standing),
            // Every process can be looked into.
            TreeOp::Release { entry, released, found, unseen: UnseenUsers::Refuse | UnseenUsers::Accept } => {
                self.release(entry, released, found)
            }
            TreeOp::SetAttributes { entry, found } => self.set_attributes(entry, found),
            TreeOp::SetTimes { key, atime, mtime, found } => self.set_times(key, *atime, *mtime, found),
            TreeOp::Remove { key, found } => self.remove(key, found),
            TreeOp::Rename { key, to, found } => self.rename(key, to, found),
            other => panic!("not simulated: {other:?}"),
        };
        self.answer(applied).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        let mut run = self.run();
        run.held.clear();
        run.settled = Settled::AtFirst;
        Ok(())
    }

    async fn sync(&self) -> Result<(), TreeError> {
        let synced = self.sys.call(Disk::sync).map_err(|error| failed("bringing to the disk", b".", error));
        self.answer(synced).await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner).take();
        let unsynced = {
            let mut run = self.run();
            run.held.clear();
            run.settled = Settled::Never;
            run.unsynced
        };
        if unsynced || staging.is_some() {
            self.sync().await?;
            self.run().unsynced = false;
        }
        let removed = match staging.map(Arc::try_unwrap) {
            Some(Ok(staging)) => staging.remove().map_err(|error| failed("finishing", b".", error)),
            None | Some(Err(_)) => Ok(()),
        };
        self.answer(removed).await
    }
}

/// What a staged file is to replace.
enum Replaced {
    Any,
    Placeholder { file: Option<Ino>, found: Status },
}

fn check_reserved(attempt: &'static str, key: &Key) -> Result<(), TreeError> {
    if key.segments().next().is_some_and(|first| is_reserved(first.as_bytes())) {
        return Err(TreeError::new(attempt, key.as_str().as_bytes(), TreeErrorKind::Reserved));
    }
    Ok(())
}

/// What is written in one go, in bytes, as `LocalTree` does.
const SMALL: u64 = 256 << 10;

/// Whether as many bytes came as were announced.
fn check_length(attempt: &'static str, entry: &Entry, length: u64) -> Result<(), TreeError> {
    if length == entry.object_size() {
        return Ok(());
    }
    let source = format!("expected {} bytes, found {length}", entry.object_size());
    Err(TreeError::new(attempt, entry.key().as_str().as_bytes(), TreeErrorKind::Body).with_source(source))
}

fn as_it_stands(applied: Applied, now: &Stat) -> Applied {
    Applied { made: now.status(), ..applied }
}

fn found(path: &str, look: &Stat, target: Option<&[u8]>) -> Option<Found> {
    let (key, kind) = match look.inode.file_type() {
        FileType::File => (path.to_owned(), EntryKind::File { size: look.inode.size() }),
        FileType::Directory => (format!("{path}/"), EntryKind::Directory),
        FileType::Symlink => (path.to_owned(), EntryKind::Symlink { target: SymlinkTarget::parse(target?).ok()? }),
        _ => return None,
    };
    let entry = Entry::new(Key::parse(&key).ok()?, kind, look.inode.attributes()).ok()?;
    Some(Found { entry, fingerprint: look.inode.fingerprint(look.ino) })
}

/// Sets owner, permissions and times, in the order of `LocalTree`.
pub(crate) fn set_attributes(sys: &Sys, ino: Ino, attributes: &Attributes) -> io::Result<Applied> {
    let mut shortfalls = Vec::new();
    let mut permissions = attributes.permissions;
    let before = sys.look(ino)?.inode.meta.clone();
    let chmod = |permissions: u32| sys.call(|disk| disk.chmod(ino, permissions));
    let (uid, gid) = (attributes.uid, attributes.gid);
    if (before.uid, before.gid) != (uid.get(), gid.get()) {
        chmod(before.permissions & permissions.bits() & 0o700)?;
        match sys.call(|disk| disk.chown(ino, Some(uid.get()), Some(gid.get()))) {
            Ok(()) => {}
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::INVAL)) => {
                let _ = sys.call(|disk| disk.chown(ino, None, Some(gid.get())));
                shortfalls.push(Shortfall::Owner { uid, gid });
                permissions = permissions.without(Permissions::SET_UID | Permissions::SET_GID);
            }
            Err(error) => {
                chmod(before.permissions)?;
                return Err(error);
            }
        }
    }
    chmod(permissions.bits())?;
    sys.call(|disk| disk.set_times(ino, attributes.atime, attributes.mtime))?;
    let kept = sys.look(ino)?.inode.meta.clone();
    if kept.permissions != attributes.permissions.bits() {
        let kept = Permissions::from_mode(kept.permissions);
        shortfalls.push(Shortfall::Permissions { wanted: attributes.permissions, kept });
    }
    if kept.mtime != attributes.mtime {
        shortfalls.push(Shortfall::Mtime { wanted: attributes.mtime, kept: kept.mtime });
    }
    Ok(Applied { shortfalls, ..Applied::default() })
}
