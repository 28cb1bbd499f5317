//! Looking at many paths that come in key order.
//!
//! From one path to the next only the names in which they differ are opened. A path is never put together: each directory
//! is opened relative to the one around it, and each name looked at relative to its own.

use super::super::{Look, SkipReason, TreeError, TreeErrorKind, Visit};
use super::staging;
use super::sys::{self, Mount, Name, Stat, failed};
use crate::key::KeyList;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

const ATTEMPT: &str = "looking at";

/// How many directories are held open. Only who climbs further than that has to begin at the root again.
const HELD: usize = 8;

/// Looks at paths, and tells the visitor of each.
pub(super) fn look<V: Visit>(root: &OwnedFd, mount: Mount, keys: &KeyList, mut visitor: V) -> V {
    let mut way = Way { root, mount, levels: VecDeque::with_capacity(HELD) };
    let mut before: &[u8] = b"";
    let mut keys = keys.iter().map(str::as_bytes).enumerate().peekable();
    while let Some((at, key)) = keys.next() {
        way.climb(before, key);
        let enters = key.ends_with(b"/") && keys.peek().is_some_and(|(_, next)| next.starts_with(key));
        visitor.visit(at, way.look(key, enters));
        before = key;
    }
    visitor
}

/// The directories on the way from the root to a path.
struct Way<'r> {
    root: &'r OwnedFd,
    mount: Mount,
    /// The deepest of them, deepest last: each is the directory around the next one. The root is not among them.
    levels: VecDeque<Level>,
}

struct Level {
    /// How long its key is, with the slash.
    length: usize,
    directory: Directory,
}

enum Directory {
    Open(OwnedFd),
    Closed(Obstacle),
}

/// Why nothing can be looked at below something.
#[derive(Clone, Copy)]
enum Obstacle {
    /// It is not there, so nothing is below it.
    Nothing,
    MountPoint,
    /// It is a file, link or whatever else that is no directory.
    NotDirectory,
    /// It could not be opened.
    Failed {
        kind: TreeErrorKind,
        cause: Option<i32>,
    },
}

impl Way<'_> {
    /// Goes back to the nearest directory that holds a path and is held; `before` is the path looked at before.
    fn climb(&mut self, before: &[u8], key: &[u8]) {
        let holds = |level: &Level| level.length < key.len() && before.get(..level.length) == key.get(..level.length);
        while self.levels.back().is_some_and(|level| !holds(level)) {
            self.levels.pop_back();
        }
    }

    /// Looks at a path. With `enters` it is a directory's if anything, and what is in it comes next.
    fn look(&mut self, key: &[u8], enters: bool) -> Look {
        let mut length = self.levels.back().map_or(0, |level| level.length);
        if length == 0 && staging::is_reserved(key) {
            return Look::Skipped(SkipReason::Reserved);
        }
        loop {
            let directory = match self.levels.back() {
                None => self.root,
                Some(Level { directory: Directory::Open(directory), .. }) => directory,
                Some(Level { directory: Directory::Closed(obstacle), .. }) => return obstacle.look(key),
            };
            // Invariant: a segment of a key is a name.
            let Some((name, rest)) = key.get(length..).and_then(Name::first_of) else {
                return Obstacle::NotDirectory.look(key);
            };
            let is_last = rest.len() <= 1;
            if is_last && !enters {
                return self.answer(key, sys::look_at(directory, name));
            }
            length = key.len().saturating_sub(rest.len()).saturating_add(1);
            let opened = sys::open_path(directory, name).and_then(|opened| Ok((sys::look(&opened)?, opened)));
            let (directory, stat) = match opened {
                Ok((stat, opened)) => (self.enter(&stat, opened), Ok(stat)),
                Err(error) => (Directory::Closed(Obstacle::new(key, &error)), Err(error)),
            };
            if self.levels.len() >= HELD {
                self.levels.pop_front();
            }
            self.levels.push_back(Level { length, directory });
            if is_last {
                return self.answer(key, stat);
            }
        }
    }

    fn enter(&self, stat: &Stat, opened: OwnedFd) -> Directory {
        match stat {
            _ if !self.mount.holds(stat) => Directory::Closed(Obstacle::MountPoint),
            _ if !stat.is_directory() => Directory::Closed(Obstacle::NotDirectory),
            _ => Directory::Open(opened),
        }
    }

    fn answer(&self, key: &[u8], stat: io::Result<Stat>) -> Look {
        match stat {
            Ok(stat) if !self.mount.holds(&stat) => Look::Skipped(SkipReason::MountPoint),
            Ok(stat) => stat.status().map_or_else(Look::Skipped, Look::Found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Nothing,
            Err(error) => Look::Failed(failed(ATTEMPT, key, error)),
        }
    }
}

impl Obstacle {
    fn new(key: &[u8], error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Nothing,
            _ => {
                let cause = error.raw_os_error();
                let same = cause.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                Self::Failed { kind: failed(ATTEMPT, key, same).kind(), cause }
            }
        }
    }

    /// What is said of a path below it.
    fn look(self, key: &[u8]) -> Look {
        let error = |kind| TreeError::new(ATTEMPT, key, kind);
        match self {
            Self::Nothing => Look::Nothing,
            Self::MountPoint => Look::Skipped(SkipReason::MountPoint),
            Self::NotDirectory => Look::Failed(error(TreeErrorKind::Conflict)),
            Self::Failed { kind, cause: None } => Look::Failed(error(kind)),
            Self::Failed { kind, cause: Some(cause) } => {
                Look::Failed(error(kind).with_source(io::Error::from_raw_os_error(cause)))
            }
        }
    }
}
