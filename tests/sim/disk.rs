//! [`Disk`]: what the kernel does on one name in one directory, as root on ext4, and what of it is on the disk.

mod attributes;
mod data;

use super::crash::{Change, Crash, Effect, NameChange, Random, survivors};
use super::inodes::{Content, Ino, Inode, Inodes, Kind, Meta, Names, ROOT};
use posix_s3::Timestamp;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The longest name and the longest target of a link, in bytes.
const NAME: usize = 255;
pub(crate) const TARGET: usize = 4095;

/// What kind of file system it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Names that are equal in small letters are one.
    pub(crate) folds_case: bool,
    /// What could not be brought to the disk once is not tried again, and nobody is told a second time.
    pub(crate) drops_pages: bool,
    /// The number of an inode that is gone is given to the next one, as on ext4.
    pub(crate) reuses_inodes: bool,
    /// There is one journal: what brings an inode to the disk brings all names and attributes that were changed before, as
    /// on ext4 and XFS. Without one it brings that inode alone, and what it cannot be without; Btrfs is in between.
    pub(crate) has_journal: bool,
    /// The first and the last second that it keeps.
    pub(crate) seconds: (i64, i64),
    /// How far the clock goes with each change, in nanoseconds.
    pub(crate) tick: i128,
}

impl Options {
    pub(crate) const EXT4: Self = Self {
        folds_case: false,
        drops_pages: false,
        reuses_inodes: true,
        has_journal: true,
        seconds: (-(1 << 31), 15_032_385_535),
        tick: 1_000_000,
    };
    /// A file system that keeps no more order than it must.
    pub(crate) const UNORDERED: Self = Self { has_journal: false, ..Self::EXT4 };
    pub(crate) const TMPFS: Self = Self { reuses_inodes: false, seconds: (i64::MIN, i64::MAX), ..Self::EXT4 };
}

/// An errno that calls of the tree are to fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) errno: Errno,
    /// Which of the calls that can fail so, from 0 on.
    pub(crate) at: u64,
    /// All that come after it as well.
    pub(crate) lasting: bool,
}

/// What a call does, as far as that says how it can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    /// It changes names or attributes.
    Change,
    /// It also needs room.
    Grow,
    /// It brings something to the disk.
    Sync,
}

impl Call {
    fn can_fail_with(self, errno: Errno) -> bool {
        match errno {
            Errno::NOSPC | Errno::DQUOT => matches!(self, Self::Grow | Self::Sync),
            Errno::PERM | Errno::ROFS => matches!(self, Self::Change | Self::Grow),
            _ => true,
        }
    }
}

/// How a name is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Replace,
    /// Nothing may have the new name.
    New,
    Exchange,
}

/// What is to be made.
pub(crate) enum Make<'a> {
    File { permissions: u32 },
    Directory { permissions: u32 },
    Fifo { permissions: u32 },
    Symlink { target: &'a [u8] },
}

pub(crate) type Done<T = ()> = Result<T, Errno>;

/// A name in a directory, and how it is to be spelled and what it is to stand for.
type Naming<'n> = (Ino, &'n [u8], Option<(Arc<[u8]>, Ino)>);

#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) options: Options,
    /// As everybody sees it.
    pub(crate) inodes: Inodes,
    /// As it is on the disk, if nothing of what is pending is.
    durable: Inodes,
    pub(crate) pending: Vec<Effect>,
    pub(crate) time: Timestamp,
    next: Ino,
    free: BTreeSet<Ino>,
    /// Who has a file open: readers and writers.
    pub(crate) open: HashMap<Ino, (u32, u32)>,
    /// Staging directories of runs that have not ended.
    pub(crate) locked: BTreeSet<Ino>,
    pub(crate) fault: Option<Fault>,
    /// So many calls could have failed with it, and so many have.
    pub(crate) met: u64,
    pub(crate) failed: u64,
    /// Calls are the tree's, and may fail.
    pub(crate) watched: bool,
    /// How many calls of the tree there were.
    pub(crate) calls: u64,
    /// The call before which the process ends.
    pub(crate) stop_at: Option<u64>,
    /// What there was then.
    pub(crate) stopped: Option<Box<Disk>>,
    random: Random,
}

impl Disk {
    pub(crate) fn new(options: Options) -> Self {
        let time = Timestamp::from_unix(1_700_000_000, 0).unwrap();
        let root = Inode { kind: Kind::Directory(Names::new()), meta: meta(0o755, 0, time), links: 2, around: ROOT };
        let inodes = Inodes::from([(ROOT, Arc::new(root))]);
        Self {
            options,
            durable: inodes.clone(),
            inodes,
            pending: Vec::new(),
            time,
            next: 11,
            free: BTreeSet::new(),
            open: HashMap::new(),
            locked: BTreeSet::new(),
            fault: None,
            met: 0,
            failed: 0,
            watched: false,
            calls: 0,
            stop_at: None,
            stopped: None,
            random: Random(0),
        }
    }

    /// The same disk after a crash.
    pub(crate) fn crash(&self, how: Crash) -> Self {
        if let Some(stopped) = &self.stopped {
            return stopped.crash(how);
        }
        let inodes = survivors(&self.durable, &self.pending, how);
        let (open, locked) = (HashMap::new(), BTreeSet::new());
        let next = self.next;
        Self {
            free: (11..next).filter(|ino| !inodes.contains_key(ino)).collect(),
            durable: inodes.clone(),
            inodes,
            pending: Vec::new(),
            open,
            locked,
            fault: None,
            watched: false,
            stop_at: None,
            ..self.clone()
        }
    }

    /// The same disk when the process has ended, and nothing else has.
    pub(crate) fn end_of_process(&self) -> Self {
        if let Some(stopped) = &self.stopped {
            return stopped.end_of_process();
        }
        let mut disk = Self { fault: None, watched: false, stop_at: None, ..self.clone() };
        disk.locked.clear();
        disk.open.clear();
        let unnamed: Vec<Ino> = disk.inodes.iter().filter(|(_, inode)| inode.links == 0).map(|(ino, _)| *ino).collect();
        unnamed.into_iter().for_each(|ino| disk.forget(ino));
        disk
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// The time of the next change.
    pub(crate) fn next_time(&self) -> Timestamp {
        Timestamp::from_nanoseconds(self.time.nanoseconds() + self.options.tick).unwrap()
    }

    fn tick(&mut self) -> Timestamp {
        self.time = self.next_time();
        self.time
    }

    /// A call of the tree begins. At the one that a test has chosen, everything stands still.
    pub(crate) fn begin_call(&mut self) -> Done {
        self.calls += 1;
        if self.stop_at == Some(self.calls - 1) {
            self.stopped = Some(Box::new(Self { stop_at: None, ..self.clone() }));
        }
        // What comes after it does not happen.
        if self.stopped.is_some() { Err(Errno::IO) } else { Ok(()) }
    }

    fn step(&mut self, call: Call) -> Done {
        let Some(fault) = self.fault.filter(|fault| self.watched && call.can_fail_with(fault.errno)) else {
            return Ok(());
        };
        let at = self.met;
        self.met += 1;
        if at == fault.at || fault.lasting && at > fault.at {
            self.failed += 1;
            return Err(fault.errno);
        }
        Ok(())
    }

    // What is there.

    pub(crate) fn inode(&self, ino: Ino) -> &Arc<Inode> {
        self.inodes.get(&ino).unwrap_or_else(|| panic!("inode {ino} is used and is not there"))
    }

    fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        Arc::make_mut(self.inodes.get_mut(&ino).unwrap())
    }

    pub(crate) fn look(&mut self, ino: Ino) -> Done<Arc<Inode>> {
        self.step(Call::Read)?;
        Ok(Arc::clone(self.inode(ino)))
    }

    fn key(&self, name: &[u8]) -> Arc<[u8]> {
        match std::str::from_utf8(name) {
            Ok(name) if self.options.folds_case => name.to_lowercase().into_bytes().into(),
            _ => name.into(),
        }
    }

    /// What has a name.
    pub(crate) fn child(&mut self, directory: Ino, name: &[u8]) -> Done<Ino> {
        self.step(Call::Read)?;
        self.entry(directory, name)?.ok_or(Errno::NOENT)
    }

    fn names(&self, directory: Ino) -> Done<&Names> {
        match &self.inode(directory).kind {
            Kind::Directory(names) => Ok(names),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn is_dead(&self, directory: Ino) -> bool {
        self.inode(directory).links == 0
    }

    fn entry(&self, directory: Ino, name: &[u8]) -> Done<Option<Ino>> {
        let names = self.names(directory)?;
        if self.is_dead(directory) {
            return Err(Errno::NOENT);
        }
        if name.len() > NAME {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(names.get(&self.key(name)).map(|(_, ino)| *ino))
    }

    /// The names in a directory, and whether they are directories'.
    pub(crate) fn list(&mut self, directory: Ino) -> Done<Vec<(Arc<[u8]>, bool)>> {
        self.step(Call::Read)?;
        let names = self.names(directory)?.values();
        Ok(names.map(|(name, ino)| (Arc::clone(name), self.inode(*ino).is_directory())).collect())
    }

    pub(crate) fn read(&mut self, ino: Ino, offset: u64, length: usize) -> Done<Vec<u8>> {
        self.step(Call::Read)?;
        match &self.inode(ino).kind {
            Kind::File(content) => Ok(content.read(offset, length)),
            _ => Err(Errno::ISDIR),
        }
    }

    /// Whether a file holds any bytes.
    pub(crate) fn has_data(&mut self, ino: Ino) -> Done<bool> {
        self.step(Call::Read)?;
        match &self.inode(ino).kind {
            Kind::File(content) => Ok(!content.pages.is_empty()),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn read_link(&mut self, ino: Ino) -> Done<Arc<[u8]>> {
        self.step(Call::Read)?;
        match &self.inode(ino).kind {
            Kind::Symlink(target) => Ok(Arc::clone(target)),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn xattr(&mut self, ino: Ino, name: &str) -> Done<Option<Vec<u8>>> {
        self.step(Call::Read)?;
        Ok(self.inode(ino).meta.xattrs.get(name).cloned())
    }

    // Names.

    /// Makes something new under a name that nothing has.
    pub(crate) fn make(&mut self, directory: Ino, name: &[u8], make: &Make<'_>) -> Done<Ino> {
        self.step(Call::Grow)?;
        if let Make::Symlink { target } = make {
            match target.len() {
                0 => return Err(Errno::NOENT),
                length if length > TARGET => return Err(Errno::NAMETOOLONG),
                _ => {}
            }
        }
        if self.entry(directory, name)?.is_some() {
            return Err(Errno::EXIST);
        }
        let time = self.tick();
        let around = &self.inode(directory).meta;
        let mut meta = meta(0o777, if around.permissions & 0o2000 == 0 { 0 } else { around.gid }, time);
        let sets_group = around.permissions & 0o2000;
        let lists = around.default_list;
        let (kind, permissions, is_directory) = match make {
            Make::File { permissions } => (Kind::File(Content::default()), *permissions, false),
            Make::Fifo { permissions } => (Kind::Fifo, *permissions, false),
            // Measured: a directory in one that is set-group-ID is that as well, whatever mode is asked for.
            Make::Directory { permissions } => {
                (Kind::Directory(Names::new()), *permissions & 0o1777 | sets_group, true)
            }
            Make::Symlink { target } => (Kind::Symlink((*target).into()), 0o777, false),
        };
        meta.permissions = permissions;
        if lists && !matches!(kind, Kind::Symlink(_)) {
            // The list that tests set: all but to write for others.
            meta.permissions &= DEFAULT_LIST | !0o777;
            meta.access_list = true;
            meta.default_list = is_directory;
        }
        let ino = self.number();
        let links = if is_directory { 2 } else { 1 };
        let inode = Arc::new(Inode { kind, meta, links, around: directory });
        self.inodes.insert(ino, Arc::clone(&inode));
        let change = self.set_names(&[(directory, name, Some((name.into(), ino)))], time);
        self.pending.push(Effect::Metadata(Change { born: Some((ino, inode)), ..change }));
        Ok(ino)
    }

    fn number(&mut self) -> Ino {
        if let Some(free) = self.free.pop_first().filter(|_| self.options.reuses_inodes) {
            return free;
        }
        self.next += 1;
        self.next - 1
    }

    /// Changes what names stand for.
    fn set_names(&mut self, names: &[Naming<'_>], time: Timestamp) -> Change {
        let mut change = Change::default();
        for (directory, name, entry) in names {
            let key = self.key(name);
            let mut links: i64 = 0;
            if let Some((_, ino)) = entry
                && self.inode(*ino).is_directory()
            {
                links += 1;
                self.inode_mut(*ino).around = *directory;
            }
            let Kind::Directory(of) = &mut self.inode_mut(*directory).kind else {
                panic!("names stand in directories")
            };
            let before = match entry {
                Some((spelled, ino)) => {
                    // Who had the name already keeps its spelling.
                    let spelled = of.get(&key).map_or(spelled, |(before, _)| before).clone();
                    of.insert(Arc::clone(&key), (spelled, *ino))
                }
                None => of.remove(&key),
            };
            if let Some((_, before)) = before {
                links -= i64::from(self.inode(before).is_directory());
                change.inodes.push(before);
            }
            let inode = self.inode_mut(*directory);
            inode.links = inode.links.checked_add_signed(links).unwrap();
            (inode.meta.mtime, inode.meta.ctime) = (time, time);
            change.names.push(NameChange { directory: *directory, key, entry: entry.clone(), time });
        }
        change
    }

    /// Something has lost a name; what had that alone is gone, once nobody has it open.
    fn lost_name(&mut self, ino: Ino, time: Timestamp) {
        let inode = self.inode_mut(ino);
        inode.meta.ctime = time;
        inode.links = if inode.is_directory() { 0 } else { inode.links - 1 };
        self.forget(ino);
    }

    /// Lets go of an inode that has no name and that nobody has open. A directory stays, since the tree may hold it.
    pub(crate) fn forget(&mut self, ino: Ino) {
        let inode = self.inode(ino);
        if inode.links == 0 && !inode.is_directory() && !self.open.contains_key(&ino) {
            self.inodes.remove(&ino);
            self.free.insert(ino);
        }
    }

    fn stamp(&mut self, ino: Ino, time: Timestamp) -> (Ino, Meta) {
        let meta = &mut self.inode_mut(ino).meta;
        meta.ctime = time;
        (ino, meta.clone())
    }

    pub(crate) fn rename(&mut self, from: Ino, name: &[u8], to: Ino, new: &[u8], how: Move) -> Done {
        self.step(Call::Grow)?;
        if self.names(from).is_err() || self.names(to).is_err() {
            return Err(Errno::NOTDIR);
        }
        let ino = self.entry(from, name)?.ok_or(Errno::NOENT)?;
        let other = self.entry(to, new)?;
        match (how, other) {
            (Move::New, Some(_)) => return Err(Errno::EXIST),
            (Move::Exchange, None) => return Err(Errno::NOENT),
            _ => {}
        }
        if self.is_above(ino, to) {
            return Err(Errno::INVAL);
        }
        if let Some(other) = other
            && self.is_above(other, from)
        {
            return Err(if how == Move::Exchange { Errno::INVAL } else { Errno::NOTEMPTY });
        }
        if other == Some(ino) {
            return Ok(());
        }
        let spelled = |name: &[u8]| Arc::<[u8]>::from(name);
        if how == Move::Exchange {
            let other = other.unwrap();
            let time = self.tick();
            let names = [(from, name, Some((spelled(name), other))), (to, new, Some((spelled(new), ino)))];
            let mut change = self.set_names(&names, time);
            change.metas = vec![self.stamp(ino, time), self.stamp(other, time)];
            self.pending.push(Effect::Metadata(change));
            return Ok(());
        }
        if let Some(other) = other {
            match (self.inode(ino).is_directory(), self.names(other)) {
                (false, Ok(_)) => return Err(Errno::ISDIR),
                (true, Err(_)) => return Err(Errno::NOTDIR),
                (true, Ok(names)) if !names.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
        }
        let time = self.tick();
        // In this order, since with folded case both may be one.
        let mut change = self.set_names(&[(from, name, None), (to, new, Some((spelled(new), ino)))], time);
        change.metas = vec![self.stamp(ino, time)];
        if let Some(other) = other {
            change.removed = self.inode(other).is_directory().then_some(other);
            self.lost_name(other, time);
        }
        self.pending.push(Effect::Metadata(change));
        Ok(())
    }

    /// Whether something is a directory, or one on the way to it.
    fn is_above(&self, ino: Ino, directory: Ino) -> bool {
        let mut at = directory;
        loop {
            if at == ino {
                return true;
            }
            if at == ROOT {
                return false;
            }
            at = self.inode(at).around;
        }
    }

    /// Gives a file or link another name.
    pub(crate) fn link(&mut self, ino: Ino, directory: Ino, name: &[u8]) -> Done {
        self.step(Call::Grow)?;
        if self.entry(directory, name)?.is_some() {
            return Err(Errno::EXIST);
        }
        if self.inode(ino).is_directory() {
            return Err(Errno::PERM);
        }
        let time = self.tick();
        self.inode_mut(ino).links += 1;
        let mut change = self.set_names(&[(directory, name, Some((name.into(), ino)))], time);
        change.metas = vec![self.stamp(ino, time)];
        self.pending.push(Effect::Metadata(change));
        Ok(())
    }

    pub(crate) fn unlink(&mut self, directory: Ino, name: &[u8]) -> Done {
        self.step(Call::Change)?;
        let ino = self.entry(directory, name)?.ok_or(Errno::NOENT)?;
        if self.inode(ino).is_directory() {
            return Err(Errno::ISDIR);
        }
        let time = self.tick();
        let mut change = self.set_names(&[(directory, name, None)], time);
        change.metas = vec![self.stamp(ino, time)];
        self.lost_name(ino, time);
        self.pending.push(Effect::Metadata(change));
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, directory: Ino, name: &[u8]) -> Done {
        self.step(Call::Change)?;
        let ino = self.entry(directory, name)?.ok_or(Errno::NOENT)?;
        if !self.names(ino)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let time = self.tick();
        let change = self.set_names(&[(directory, name, None)], time);
        self.lost_name(ino, time);
        self.pending.push(Effect::Metadata(Change { removed: Some(ino), ..change }));
        Ok(())
    }
}

/// What a default list, as tests set it, leaves of a mode.
pub(crate) const DEFAULT_LIST: u32 = 0o775;

fn meta(permissions: u32, gid: u32, time: Timestamp) -> Meta {
    Meta {
        permissions,
        uid: 0,
        gid,
        atime: time,
        mtime: time,
        ctime: time,
        access_list: false,
        default_list: false,
        xattrs: Arc::new(BTreeMap::new()),
    }
}
