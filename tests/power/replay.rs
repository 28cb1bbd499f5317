//! [`Replay`]: the calls of a program, done once more to a [`Disk`].

use super::disk::{Disk, Effect, History, Inode, Kind, Number, Wanted};
use super::trace::Call;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// The mask that the program runs under; `with_mask` sees to it.
const MASK: i64 = 0o022;

/// Numbers that no file system tells.
const UNTOLD: u64 = 1 << 40;

/// Reads what a directory holds. The file systems are the directories in it.
pub(crate) fn read(base: &Path) -> Disk {
    let mut disk = Disk::default();
    read_below(base, &mut disk, &mut HashMap::new());
    disk
}

fn read_below(path: &Path, disk: &mut Disk, known: &mut HashMap<u64, Number>) -> Number {
    let stat = fs::symlink_metadata(path).unwrap();
    if let Some(number) = known.get(&stat.ino()) {
        return *number;
    }
    let number = disk.inodes.len();
    known.insert(stat.ino(), number);
    let kind = match stat.file_type() {
        kind if kind.is_dir() => Kind::Directory(BTreeMap::new()),
        kind if kind.is_symlink() => Kind::Link(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()),
        _ => Kind::File(Arc::new(fs::read(path).unwrap())),
    };
    let marks = if matches!(kind, Kind::Link(_)) { BTreeMap::new() } else { marks(path) };
    disk.inodes.push(Inode {
        kind,
        mode: stat.mode() & 0o7777,
        owner: (stat.uid(), stat.gid()),
        mtime: Some((stat.mtime(), stat.mtime_nsec())),
        marks,
        told: stat.ino(),
        ctime: (stat.ctime(), stat.ctime_nsec()),
    });
    if stat.is_dir() {
        let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let names = names.iter().map(|name| (name.as_bytes().to_vec(), read_below(&path.join(name), disk, known)));
        let names: BTreeMap<_, _> = names.collect();
        disk.inodes[number].kind = Kind::Directory(names);
    }
    number
}

/// The extended attributes of a file or directory.
pub(crate) fn marks(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = Vec::with_capacity(1 << 12);
    rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)).unwrap();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !name.starts_with(b"security."));
    let value = |name: &[u8]| {
        let mut value = Vec::with_capacity(1 << 12);
        rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).unwrap();
        (name.to_vec(), value)
    };
    names.map(value).collect()
}

/// An open file.
struct Open {
    inode: Number,
    offset: u64,
    appends: bool,
}

pub(crate) struct Replay<'p> {
    base: &'p Path,
    /// What the program sees.
    pub(crate) disk: Disk,
    pub(crate) history: History,
    /// Which file system an inode is on.
    roots: Vec<usize>,
    last: HashMap<Number, usize>,
    open: HashMap<i64, Rc<RefCell<Open>>>,
    /// The directories that were opened on the way to the base.
    above: HashMap<i64, PathBuf>,
}

impl<'p> Replay<'p> {
    pub(crate) fn of(base: &'p Path, start: &Disk, calls: &[Call]) -> Self {
        let mut roots = vec![0; start.inodes.len()];
        for (root, number) in start.names(0).unwrap().values().enumerate() {
            spread(start, *number, root, &mut roots);
        }
        let (disk, history) = (start.clone(), History::default());
        let (last, open, above) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut replay = Self { base, disk, history, roots, last, open, above };
        // A descriptor is free as soon as it begins to be closed; everything else is done by its end.
        let order = |call: &Call| if call.name == "close" { call.begun } else { call.ended };
        let mut calls: Vec<&Call> = calls.iter().collect();
        calls.sort_by_key(|call| order(call));
        calls.into_iter().for_each(|call| replay.call(call));
        replay
    }

    fn inode(&mut self, kind: Kind, mode: i64, directory: Number) -> Number {
        let mode = u32::try_from(mode).unwrap();
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (mtime, marks, ctime) = (None, BTreeMap::new(), (0, 0));
        // Nobody has asked for its number yet.
        let told = UNTOLD + self.disk.inodes.len() as u64;
        let inode = Inode { kind, mode, owner, mtime, marks, told, ctime };
        self.history.born.push(inode.clone());
        self.disk.inodes.push(inode);
        self.roots.push(self.roots[directory]);
        self.disk.inodes.len() - 1
    }

    fn done(&mut self, effect: Effect, call: &Call) {
        let at = self.history.effects.len();
        let touches = effect.touches();
        for touched in &touches {
            self.last.insert(*touched, at);
        }
        self.disk.apply(&effect, |_| (0, 0));
        // The one that is not new says on which file system it is.
        self.history.push(effect, self.roots[touches[0]], call.ended);
    }

    /// Where a path leads: the directory and the name in it, and what has that name. `None` for what is outside.
    fn find(&self, call: &Call, at: usize, path: usize) -> Option<(Number, Vec<u8>, Option<Number>)> {
        let start = call.arguments.get(at);
        let path = self.whole(call, at, path)?;
        let (mut directory, rest) = match path.strip_prefix(self.base.as_os_str().as_bytes()) {
            Some(rest) => (0, rest),
            None if path.starts_with(b"/") => return None,
            None => (self.open.get(&start?.parse().ok()?)?.borrow().inode, path.as_slice()),
        };
        let mut names: Vec<&[u8]> = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let Some(last) = names.pop() else { return Some((directory, Vec::new(), Some(directory))) };
        for name in names {
            directory = *self.disk.names(directory)?.get(name)?;
        }
        if last == b"." {
            return Some((directory, Vec::new(), Some(directory)));
        }
        if last == b".." {
            let holds = |number: &Number| {
                self.disk.names(*number).is_some_and(|names| names.values().any(|held| *held == directory))
            };
            let around = (0..self.disk.inodes.len()).find(holds)?;
            return Some((around, Vec::new(), Some(around)));
        }
        Some((directory, last.to_vec(), self.disk.names(directory)?.get(last).copied()))
    }

    /// A path, from the root on if it goes on from a directory above the base.
    fn whole(&self, call: &Call, at: usize, path: usize) -> Option<Vec<u8>> {
        let path = call.bytes(path)?;
        let start = call.arguments.get(at).and_then(|start| self.above.get(&start.parse().ok()?));
        Some(start.map_or(path.clone(), |start| start.join(OsStr::from_bytes(&path)).into_os_string().into_vec()))
    }

    fn opened(&self, call: &Call, at: usize) -> Option<Rc<RefCell<Open>>> {
        self.open.get(&call.arguments[at].parse().ok()?).cloned()
    }

    fn held(&self, call: &Call, at: usize) -> Option<Number> {
        self.opened(call, at).map(|open| open.borrow().inode)
    }

    #[allow(clippy::too_many_lines, reason = "a line or two for each call")]
    fn call(&mut self, call: &Call) {
        let Some(result) = call.result else { return };
        match call.name.as_str() {
            "open" | "creat" => self.opens(call, path_only(), 0, result),
            "openat" => self.opens(call, 0, 1, result),
            "close" => {
                let descriptor = call.arguments[0].parse().unwrap();
                self.open.remove(&descriptor);
                self.above.remove(&descriptor);
            }
            "dup" | "dup2" | "dup3" => self.copies(call, result),
            "fcntl" => {
                if call.arguments[1].starts_with("F_DUPFD") {
                    self.copies(call, result);
                }
            }
            "read" => {
                let moved = u64::try_from(result).unwrap();
                self.opened(call, 0).into_iter().for_each(|open| open.borrow_mut().offset += moved);
            }
            "lseek" => {
                // SEEK_DATA and SEEK_HOLE move it as well.
                let moved = u64::try_from(result).unwrap();
                self.opened(call, 0).into_iter().for_each(|open| open.borrow_mut().offset = moved);
            }
            "write" | "pwrite64" => self.writes(call, result),
            "ftruncate" => {
                if let Some(inode) = self.held(call, 0) {
                    self.done(Effect::Length { inode, length: u64::try_from(call.number(1)).unwrap() }, call);
                }
            }
            "mkdir" => self.makes(call, path_only(), 0, Kind::Directory(BTreeMap::new()), call.number(1) & !MASK),
            "mkdirat" => self.makes(call, 0, 1, Kind::Directory(BTreeMap::new()), call.number(2) & !MASK),
            "symlink" | "symlinkat" => {
                let target = Kind::Link(call.bytes(0).unwrap());
                let (at, path) = if call.name == "symlink" { (path_only(), 1) } else { (1, 2) };
                self.makes(call, at, path, target, 0o777);
            }
            "link" => self.links(call, (path_only(), 0), (path_only(), 1)),
            "linkat" => self.links(call, (0, 1), (2, 3)),
            "rename" => self.renames(call, (path_only(), 0), (path_only(), 1)),
            "renameat" | "renameat2" => self.renames(call, (0, 1), (2, 3)),
            "unlink" | "rmdir" => self.removes(call, path_only(), 0),
            "unlinkat" => self.removes(call, 0, 1),
            "fchmod" => {
                if let Some(inode) = self.held(call, 0) {
                    self.done(Effect::Mode { inode, mode: u32::try_from(call.number(1)).unwrap() }, call);
                }
            }
            "fchown" => {
                if let Some(inode) = self.held(call, 0) {
                    self.owns(call, inode, 1);
                }
            }
            "fchownat" => {
                if let Some((_, _, Some(inode))) = self.find(call, 0, 1) {
                    self.owns(call, inode, 2);
                }
            }
            "utimensat" => {
                let inode = match call.arguments[1].as_str() {
                    "NULL" => self.held(call, 0),
                    _ => self.find(call, 0, 1).and_then(|(_, _, inode)| inode),
                };
                if let Some(inode) = inode {
                    // The second time is that of the last modification.
                    let mtime = call.time(2, "}").unwrap();
                    self.done(Effect::Mtime { inode, mtime }, call);
                }
            }
            "fsetxattr" => self.marks(call, call.bytes(2)),
            "fremovexattr" => self.marks(call, None),
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.held(call, 0) {
                    let wanted = if call.name == "fsync" { Wanted::All(inode) } else { Wanted::Data(inode) };
                    self.history.sync(wanted, call.begun);
                }
            }
            "syncfs" => {
                if let Some(inode) = self.held(call, 0) {
                    self.history.sync(Wanted::FileSystem(self.roots[inode]), call.begun);
                }
            }
            "statx" => self.looks(call),
            _ => self.is_elsewhere(call),
        }
    }

    /// A call that there is no model of must not be about anything here.
    fn is_elsewhere(&self, call: &Call) {
        let here = |at: usize| {
            let path = call.bytes(at).is_some_and(|path| path.starts_with(self.base.as_os_str().as_bytes()));
            path || self.held(call, at).is_some()
        };
        assert!(!(0..call.arguments.len()).any(here), "there is no model of this call: {call:?}");
    }

    fn opens(&mut self, call: &Call, at: usize, path: usize, result: i64) {
        self.open.remove(&result);
        self.above.remove(&result);
        let whole = self.whole(call, at, path).map(|path| PathBuf::from(OsString::from_vec(path)));
        if let Some(above) = whole.filter(|path| path.has_root() && path != self.base && self.base.starts_with(path)) {
            self.above.insert(result, above);
            return;
        }
        let Some((directory, name, found)) = self.find(call, at, path) else { return };
        let flags = path + 1;
        let inode = found.unwrap_or_else(|| {
            assert!(call.has(flags, "O_CREAT"), "the model has lost track: {call:?}");
            let inode = self.inode(Kind::File(Arc::default()), call.number(path + 2) & !MASK, directory);
            self.done(Effect::Enter { directory, name, inode }, call);
            inode
        });
        if call.has(flags, "O_TRUNC") && found.is_some() {
            self.done(Effect::Length { inode, length: 0 }, call);
        }
        let open = Open { inode, offset: 0, appends: call.has(flags, "O_APPEND") };
        self.open.insert(result, Rc::new(RefCell::new(open)));
    }

    fn copies(&mut self, call: &Call, result: i64) {
        match self.opened(call, 0) {
            Some(open) => self.open.insert(result, open),
            None => self.open.remove(&result),
        };
    }

    fn writes(&mut self, call: &Call, result: i64) {
        let Some(open) = self.opened(call, 0) else { return };
        let mut open = open.borrow_mut();
        let length = usize::try_from(result).unwrap();
        let mut bytes = call.bytes(1).unwrap();
        bytes.truncate(length);
        assert!(!open.appends, "there is no model of O_APPEND");
        let at = if call.name == "write" { open.offset } else { u64::try_from(call.number(3)).unwrap() };
        if call.name == "write" {
            open.offset += length as u64;
        }
        if !bytes.is_empty() {
            self.done(Effect::Write { inode: open.inode, at, bytes: Arc::new(bytes) }, call);
        }
    }

    fn makes(&mut self, call: &Call, at: usize, path: usize, kind: Kind, mode: i64) {
        let Some((directory, name, None)) = self.find(call, at, path) else { return };
        let inode = self.inode(kind, mode, directory);
        self.done(Effect::Enter { directory, name, inode }, call);
    }

    fn links(&mut self, call: &Call, from: (usize, usize), to: (usize, usize)) {
        let Some((_, _, Some(inode))) = self.find(call, from.0, from.1) else { return };
        let (directory, name, _) = self.find(call, to.0, to.1).unwrap();
        self.done(Effect::Enter { directory, name, inode }, call);
    }

    fn renames(&mut self, call: &Call, from: (usize, usize), to: (usize, usize)) {
        let Some((from, name, Some(inode))) = self.find(call, from.0, from.1) else { return };
        let (to, new, replaced) = self.find(call, to.0, to.1).unwrap();
        let effect = match (call.has(4, "RENAME_EXCHANGE"), replaced) {
            (true, Some(other)) => Effect::Swap { one: (from, name, inode), other: (to, new, other) },
            _ => Effect::Move { from: (from, name), to: (to, new), inode },
        };
        self.done(effect, call);
    }

    fn removes(&mut self, call: &Call, at: usize, path: usize) {
        let Some((directory, name, Some(inode))) = self.find(call, at, path) else { return };
        self.done(Effect::Leave { directory, name, inode }, call);
    }

    fn owns(&mut self, call: &Call, inode: Number, at: usize) {
        let id = |at| u32::try_from(call.number(at)).ok();
        self.done(Effect::Owner { inode, uid: id(at), gid: id(at + 1) }, call);
    }

    fn marks(&mut self, call: &Call, value: Option<Vec<u8>>) {
        let Some(inode) = self.held(call, 0) else { return };
        let name = call.bytes(1).unwrap();
        // That there was none to be removed is no effect.
        if value.is_some() || self.disk.inodes[inode].marks.contains_key(&name) {
            self.done(Effect::Mark { inode, name, value }, call);
        }
    }

    /// What the program is told of an inode is what it may record.
    fn looks(&mut self, call: &Call) {
        let inode = match call.bytes(1) {
            Some(path) if path.is_empty() => self.held(call, 0),
            _ => self.find(call, 0, 1).and_then(|(_, _, inode)| inode),
        };
        let Some(inode) = inode else { return };
        let told = call.arguments[4].split_once("stx_ino=").unwrap().1;
        let told = told.split(',').next().unwrap().parse().unwrap();
        let ctime = call.time(4, "stx_ctime=").unwrap();
        self.disk.inodes[inode].told = told;
        let old = self.disk.inodes.len() - self.history.born.len();
        if let Some(born) = inode.checked_sub(old) {
            self.history.born[born].told = told;
        }
        match self.last.get(&inode) {
            Some(last) => {
                self.history.ctimes.insert((inode, *last), ctime);
            }
            None => assert_eq!(self.disk.inodes[inode].ctime, ctime, "the model has lost track: {call:?}"),
        }
    }
}

/// In place of the argument that is a directory, where there is none.
const fn path_only() -> usize {
    usize::MAX
}

fn spread(disk: &Disk, number: Number, root: usize, roots: &mut Vec<usize>) {
    roots[number] = root;
    for inode in disk.names(number).into_iter().flat_map(BTreeMap::values) {
        spread(disk, *inode, root, roots);
    }
}
