//! [`Disk`]: what a file system holds, what is done to it, and what of that a power loss leaves.
//!
//! A file system promises only what it was asked for: `fsync` of a file brings its bytes and attributes to the disk, `fsync`
//! of a directory the names in it, `syncfs` all of its file system. Everything else may be there after a power loss or not,
//! each effect for itself. A rename is one effect.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub(crate) type Number = usize;
pub(crate) type Time = (i64, i64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    File(Arc<Vec<u8>>),
    Directory(BTreeMap<Vec<u8>, Number>),
    Link(Vec<u8>),
}

/// An inode.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// `None` for a moment that nobody has set.
    pub(crate) mtime: Option<Time>,
    pub(crate) marks: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the program was told: the number, and the ctime of every state that it has seen.
    pub(crate) told: u64,
    pub(crate) ctime: Time,
}

/// Something that was done.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Write { inode: Number, at: u64, bytes: Arc<Vec<u8>> },
    Length { inode: Number, length: u64 },
    Mode { inode: Number, mode: u32 },
    Owner { inode: Number, uid: Option<u32>, gid: Option<u32> },
    Mtime { inode: Number, mtime: Time },
    Mark { inode: Number, name: Vec<u8>, value: Option<Vec<u8>> },
    Enter { directory: Number, name: Vec<u8>, inode: Number },
    Leave { directory: Number, name: Vec<u8>, inode: Number },
    Move { from: (Number, Vec<u8>), to: (Number, Vec<u8>), inode: Number },
    Swap { one: (Number, Vec<u8>, Number), other: (Number, Vec<u8>, Number) },
}

impl Effect {
    /// The inodes whose times it moves.
    pub(crate) fn touches(&self) -> Vec<Number> {
        match self {
            Self::Write { inode, .. }
            | Self::Length { inode, .. }
            | Self::Mode { inode, .. }
            | Self::Owner { inode, .. }
            | Self::Mtime { inode, .. }
            | Self::Mark { inode, .. } => vec![*inode],
            Self::Enter { directory, inode, .. } | Self::Leave { directory, inode, .. } => vec![*directory, *inode],
            Self::Move { from, to, inode } => vec![from.0, to.0, *inode],
            Self::Swap { one, other } => vec![one.0, one.2, other.0, other.2],
        }
    }

    pub(crate) fn is_data(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Length { .. })
    }

    /// Whether it is brought to the disk with the bytes of an inode.
    fn is_data_of(&self, number: Number) -> bool {
        matches!(self, Self::Write { inode, .. } | Self::Length { inode, .. } if *inode == number)
    }

    /// Whether it is brought to the disk with an inode: its bytes and attributes, and of a directory the names.
    fn is_of(&self, number: Number) -> bool {
        match self {
            Self::Enter { directory, .. } | Self::Leave { directory, .. } => *directory == number,
            Self::Move { from, to, .. } => from.0 == number || to.0 == number,
            Self::Swap { one, other } => one.0 == number || other.0 == number,
            Self::Write { inode, .. }
            | Self::Length { inode, .. }
            | Self::Mode { inode, .. }
            | Self::Owner { inode, .. }
            | Self::Mtime { inode, .. }
            | Self::Mark { inode, .. } => *inode == number,
        }
    }

    /// The same, but only half of what was written.
    pub(crate) fn torn(&self, part: usize, of: usize) -> Self {
        match self {
            Self::Write { inode, at, bytes } => {
                let bytes = Arc::new(bytes[..bytes.len() * part / of].to_vec());
                Self::Write { inode: *inode, at: *at, bytes }
            }
            other => other.clone(),
        }
    }
}

/// What is asked to be brought to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    Data(Number),
    All(Number),
    /// Everything on the file system of this root.
    FileSystem(usize),
}

/// What was done, in its order, and when it was on the disk for sure.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) effects: Vec<Done>,
    /// The inodes that were made, as they were then.
    pub(crate) born: Vec<Inode>,
    /// What a state of an inode is told by: the effect after which it was looked at.
    pub(crate) ctimes: BTreeMap<(Number, usize), Time>,
    /// How many moments there are at which power can fail: after each effect and each time something is on the disk.
    pub(crate) moments: usize,
    /// What was asked to be on the disk: when, what, and from which line on it says nothing.
    syncs: Vec<(usize, Wanted, usize)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) effect: Effect,
    /// The root of its file system.
    pub(crate) root: usize,
    /// From this moment on it may be on the disk.
    pub(crate) since: usize,
    /// From this moment on it is.
    pub(crate) durable: usize,
    /// The line of the log at which it was done.
    pub(crate) line: usize,
}

impl History {
    pub(crate) fn push(&mut self, effect: Effect, root: usize, line: usize) {
        self.moments += 1;
        self.effects.push(Done { effect, root, since: self.moments, durable: usize::MAX, line });
    }

    /// Says that what was done before a line is on the disk now.
    pub(crate) fn sync(&mut self, wanted: Wanted, before: usize) {
        self.moments += 1;
        self.syncs.push((self.moments, wanted, before));
        self.bring(self.moments, wanted, before);
    }

    /// The same run of a program that does not wait for some of it.
    pub(crate) fn without(&self, is_left_out: impl Fn(Wanted) -> bool) -> Self {
        let mut history = self.clone();
        history.effects.iter_mut().for_each(|done| done.durable = usize::MAX);
        for (now, wanted, before) in self.syncs.iter().filter(|(_, wanted, _)| !is_left_out(*wanted)) {
            history.bring(*now, *wanted, *before);
        }
        history
    }

    fn bring(&mut self, now: usize, wanted: Wanted, before: usize) {
        for done in self.effects.iter_mut().filter(|done| done.durable == usize::MAX && done.line < before) {
            let is_wanted = match wanted {
                Wanted::Data(inode) => done.effect.is_data_of(inode),
                Wanted::All(inode) => done.effect.is_of(inode),
                Wanted::FileSystem(root) => done.root == root,
            };
            if is_wanted {
                done.durable = now;
            }
        }
    }
}

/// What a file system holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) inodes: Vec<Inode>,
}

impl Disk {
    pub(crate) fn names(&self, directory: Number) -> Option<&BTreeMap<Vec<u8>, Number>> {
        match &self.inodes[directory].kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    fn names_mut(&mut self, directory: Number) -> Option<&mut BTreeMap<Vec<u8>, Number>> {
        let inode = &mut self.inodes[directory];
        inode.mtime = None;
        match &mut inode.kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// Does something, and says when.
    pub(crate) fn apply(&mut self, effect: &Effect, ctime: impl Fn(Number) -> Time) {
        for touched in effect.touches() {
            self.inodes[touched].ctime = ctime(touched);
        }
        match effect {
            Effect::Write { inode, at, bytes } => {
                self.inodes[*inode].mtime = None;
                if let Kind::File(content) = &mut self.inodes[*inode].kind {
                    let (content, start) = (Arc::make_mut(content), usize::try_from(*at).unwrap());
                    content.resize(content.len().max(start + bytes.len()), 0);
                    content[start..start + bytes.len()].copy_from_slice(bytes);
                }
            }
            Effect::Length { inode, length } => {
                self.inodes[*inode].mtime = None;
                if let Kind::File(content) = &mut self.inodes[*inode].kind {
                    Arc::make_mut(content).resize(usize::try_from(*length).unwrap(), 0);
                }
            }
            Effect::Mode { inode, mode } => self.inodes[*inode].mode = *mode,
            Effect::Owner { inode, uid, gid } => {
                let inode = &mut self.inodes[*inode];
                inode.owner = (uid.unwrap_or(inode.owner.0), gid.unwrap_or(inode.owner.1));
                // What chown of the superuser does to a file; see facts on Linux in docs::reliability.
                if matches!(inode.kind, Kind::File(_)) {
                    inode.mode &= if inode.mode & 0o010 != 0 { !0o6000 } else { !0o4000 };
                }
            }
            Effect::Mtime { inode, mtime } => self.inodes[*inode].mtime = Some(*mtime),
            Effect::Mark { inode, name, value } => {
                let marks = &mut self.inodes[*inode].marks;
                match value {
                    Some(value) => marks.insert(name.clone(), value.clone()),
                    None => marks.remove(name),
                };
            }
            Effect::Enter { directory, name, inode } => self.enter(*directory, name, *inode),
            Effect::Leave { directory, name, .. } => self.leave(*directory, name, None),
            Effect::Move { from, to, inode } => {
                self.leave(from.0, &from.1, Some(*inode));
                self.enter(to.0, &to.1, *inode);
            }
            Effect::Swap { one, other } => {
                self.enter(one.0, &one.1, other.2);
                self.enter(other.0, &other.1, one.2);
            }
        }
    }

    fn enter(&mut self, directory: Number, name: &[u8], inode: Number) {
        if let Some(names) = self.names_mut(directory) {
            names.insert(name.to_vec(), inode);
        }
    }

    /// Removes a name, if it is that of an inode where one is given.
    fn leave(&mut self, directory: Number, name: &[u8], inode: Option<Number>) {
        if let Some(names) = self.names_mut(directory)
            && inode.is_none_or(|inode| names.get(name) == Some(&inode))
        {
            names.remove(name);
        }
    }

    /// What the disk holds of a history with some of its effects; `torn` is the one of which only a part is there.
    pub(crate) fn with(
        &self,
        history: &History,
        is_there: impl Fn(usize) -> bool,
        torn: Option<(usize, usize)>,
    ) -> Self {
        let mut disk = self.clone();
        disk.inodes.extend(history.born.iter().cloned());
        for (at, done) in history.effects.iter().enumerate().filter(|(at, _)| is_there(*at)) {
            // A time that nobody was told is none that anybody has recorded.
            let untold = i64::try_from(at).unwrap();
            let ctime = |inode| history.ctimes.get(&(inode, at)).copied().unwrap_or((1, untold));
            match torn {
                Some((which, part)) if which == at => disk.apply(&done.effect.torn(part, 4), ctime),
                _ => disk.apply(&done.effect, ctime),
            }
        }
        disk
    }

    /// What tells one state from another: everything that can be reached from the first inode.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_below(0, &mut hasher);
        hasher.finish()
    }

    fn hash_below(&self, number: Number, hasher: &mut DefaultHasher) {
        let inode = &self.inodes[number];
        // One time that nobody was told is as good as another.
        let ctime = if inode.ctime.0 == 1 { (1, 0) } else { inode.ctime };
        (inode.mode, inode.owner, inode.mtime, &inode.marks, inode.told, ctime).hash(hasher);
        match &inode.kind {
            Kind::Directory(names) => {
                for (name, inode) in names {
                    name.hash(hasher);
                    self.hash_below(*inode, hasher);
                }
            }
            other => other.hash(hasher),
        }
    }
}
