//! [`FidPaths`]: where inodes are, as far as the records have told.

use super::fid::Fid;
use super::record::{ChangelogRecord, RenameSource};
use crate::key::Key;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Whoever can say where an inode is: `lfs fid2path`, say.
pub trait FidResolver {
    /// All paths of an inode at this moment, from the root of the file system, with or without a slash at the start; none
    /// when it is gone. `None` when that cannot be said.
    fn resolve(&mut self, fid: Fid) -> Option<Vec<Box<[u8]>>>;
}

/// A [`FidResolver`] that can say nothing: what the records themselves do not tell leads to a look at everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unresolved;

impl FidResolver for Unresolved {
    fn resolve(&mut self, _: Fid) -> Option<Vec<Box<[u8]>>> {
        None
    }
}

/// Where inodes are, as far as the records have told.
///
/// - What it says is a path below the root of the link, or nothing: names like `..`, with a slash or not of UTF-8 lead
///   nowhere.
/// - It is a help, not a truth: forgetting all of it costs questions to a [`FidResolver`], and no correctness. It forgets all
///   of it at [`FidPaths::LIMIT`] inodes, and what it was told of directories at a tenth of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FidPaths {
    root: Fid,
    /// Where the root of the link is in the file system; empty, or with a slash at its end.
    base: Box<str>,
    pub(super) known: HashMap<Fid, Names>,
    /// Directories of which somebody has said where they are: paths without slashes at their ends.
    pub(super) resolved: HashMap<Fid, Box<str>>,
}

/// The names of an inode that records have told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    names: BTreeSet<(Fid, Box<str>)>,
    /// Whether they are all.
    all: bool,
}

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// At these keys; nowhere in the tree when there is none.
    At(Vec<Key>),
    /// In a directory that is gone by now, wherever it was.
    In(Fid),
    /// Nobody can say.
    Unknown,
}

/// Where a directory is.
pub(super) enum Directory {
    /// Its path without a slash at the end, empty for the root.
    At(Box<str>),
    Elsewhere,
    /// It is gone by now, or the directory around it is, or one around that, which is this one.
    Gone(Fid),
    /// Nobody can say.
    Unknown,
}

impl FidPaths {
    /// How many inodes are known at most.
    pub const LIMIT: usize = 1 << 20;

    /// Nothing but the root of the link, and where that is in the file system: an empty path for its root.
    #[must_use]
    pub fn new(root: Fid, base: &str) -> Self {
        let base = base.trim_matches('/');
        let base = if base.is_empty() { "".into() } else { format!("{base}/").into() };
        Self { root, base, known: HashMap::new(), resolved: HashMap::new() }
    }

    /// Forgets everything but the root.
    pub fn clear(&mut self) {
        self.known.clear();
        self.resolved.clear();
    }

    /// What of a path of the file system is below the root of the link.
    pub(super) fn relative<'p>(&self, path: &'p [u8]) -> Option<&'p str> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        std::str::from_utf8(path).ok()?.strip_prefix(&*self.base)
    }

    pub(super) fn directory(&mut self, fid: Fid, resolver: &mut dyn FidResolver) -> Directory {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut at = fid;
        let above: Box<str> = loop {
            if at == self.root {
                break "".into();
            }
            // A path is no longer, so it is a circle.
            if names.len() > Key::MAX_BYTES {
                return Directory::Unknown;
            }
            if let Some(path) = self.resolved.get(&at) {
                break path.clone();
            }
            match self.known.get(&at) {
                // Invariant: a directory has one name.
                Some(Names { names: known, .. }) if known.len() == 1 => {
                    let Some((parent, name)) = known.first() else { return Directory::Unknown };
                    names.push(name.clone());
                    at = *parent;
                }
                Some(Names { names, all: true }) if names.is_empty() => return Directory::Elsewhere,
                _ => {
                    let Some(paths) = resolver.resolve(at) else { return Directory::Unknown };
                    if paths.is_empty() {
                        return Directory::Gone(at);
                    }
                    let path = paths.iter().find_map(|path| self.relative(path));
                    let Some(path) = path.map(|path| path.trim_end_matches('/')) else { return Directory::Elsewhere };
                    if !path.is_empty() && Key::parse(path).is_err() {
                        return Directory::Elsewhere;
                    }
                    let path: Box<str> = path.into();
                    if self.resolved.len() >= Self::LIMIT.div_euclid(10) {
                        self.resolved.clear();
                    }
                    self.resolved.insert(at, path.clone());
                    break path;
                }
            }
        };
        let mut path = above.into_string();
        for name in names.iter().rev() {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
        }
        Directory::At(path.into())
    }

    /// Where a name in a directory is.
    pub(super) fn named(
        &mut self,
        parent: Option<Fid>,
        name: Option<&[u8]>,
        resolver: &mut dyn FidResolver,
    ) -> Whereabouts {
        let (Some(parent), Some(name)) = (parent, name) else { return Whereabouts::Unknown };
        if name.starts_with(b"/") {
            let key = self.relative(name).and_then(|path| Key::parse(path).ok());
            return Whereabouts::At(key.into_iter().collect());
        }
        let Some(name) = segment(name) else { return Whereabouts::At(Vec::new()) };
        match self.directory(parent, resolver) {
            Directory::At(directory) => Whereabouts::At(join(&directory, name).into_iter().collect()),
            Directory::Elsewhere => Whereabouts::At(Vec::new()),
            Directory::Gone(directory) => Whereabouts::In(directory),
            Directory::Unknown => Whereabouts::Unknown,
        }
    }

    /// Where an inode is, under all of its names.
    pub(super) fn inode(&mut self, fid: Fid, resolver: &mut dyn FidResolver) -> Whereabouts {
        if fid.is_zero() || fid == self.root {
            return Whereabouts::At(Vec::new());
        }
        if let Some(Names { names, all: true }) = self.known.get(&fid) {
            let mut keys = Vec::new();
            for (parent, name) in names.clone() {
                match self.directory(parent, resolver) {
                    Directory::At(directory) => keys.extend(join(&directory, &name)),
                    Directory::Elsewhere | Directory::Gone(_) => {}
                    Directory::Unknown => return Whereabouts::Unknown,
                }
            }
            return Whereabouts::At(keys);
        }
        let Some(paths) = resolver.resolve(fid) else { return Whereabouts::Unknown };
        let keys = paths.iter().filter_map(|path| Key::parse(self.relative(path)?).ok());
        Whereabouts::At(keys.collect())
    }

    pub(super) fn keep(&mut self, fid: Fid, names: Names) {
        if self.known.len() >= Self::LIMIT && !self.known.contains_key(&fid) {
            self.clear();
        }
        self.resolved.remove(&fid);
        self.known.insert(fid, names);
    }

    /// Something was made under its first name.
    pub(super) fn made(&mut self, record: &ChangelogRecord) {
        if record.target.is_zero() {
            return;
        }
        // What has a name that is no key's is nowhere in the tree, and so is what is below it.
        let name = record.parent.zip(record.name.as_deref().and_then(segment));
        let names = name.map(|(parent, name)| (parent, name.into())).into_iter().collect();
        self.keep(record.target, Names { names, all: true });
    }

    /// A file got a further name.
    pub(super) fn linked(&mut self, record: &ChangelogRecord) {
        let Some((parent, name)) = record.parent.zip(record.name.as_deref().and_then(segment)) else { return };
        match self.known.get_mut(&record.target) {
            Some(Names { names, .. }) => {
                names.insert((parent, name.into()));
            }
            None => {
                let names = BTreeSet::from([(parent, name.into())]);
                self.keep(record.target, Names { names, all: false });
            }
        }
    }

    /// A name was removed.
    pub(super) fn unlinked(&mut self, fid: Fid, parent: Option<Fid>, name: Option<&[u8]>) {
        self.resolved.remove(&fid);
        if let Some(Names { names, .. }) = self.known.get_mut(&fid) {
            let name = name.and_then(|name| segment(name.rsplit(|byte| *byte == b'/').next()?));
            if let (Some(parent), Some(name)) = (parent, name) {
                names.remove(&(parent, name.into()));
            }
            if !names.is_empty() {
                return;
            }
        }
        self.known.remove(&fid);
    }

    /// Something got another name; `from` is where it was.
    pub(super) fn renamed(&mut self, record: &ChangelogRecord, source: &RenameSource, from: &Whereabouts) {
        if !record.target.is_zero() {
            self.unlinked(record.target, record.parent, record.name.as_deref());
        }
        // What was said to be below it is elsewhere now.
        self.resolved.retain(|_, path| match from {
            Whereabouts::At(from) => {
                !from.iter().any(|from| path.strip_prefix(from.path()).is_some_and(|rest| rest.starts_with('/')))
            }
            Whereabouts::In(_) | Whereabouts::Unknown => false,
        });
        let old = segment(source.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        let new = record.parent.zip(record.name.as_deref().and_then(segment));
        let new = new.map(|(parent, name)| (parent, name.into()));
        let is_directory = self.resolved.contains_key(&source.fid);
        let names = match self.known.remove(&source.fid) {
            Some(Names { mut names, all }) => {
                if let Some(old) = old {
                    names.remove(&(source.parent, old.into()));
                }
                names.extend(new);
                Names { names, all }
            }
            None => Names { names: new.into_iter().collect(), all: is_directory },
        };
        self.keep(source.fid, names);
    }
}

/// A name that can be part of a key.
pub(super) fn segment(name: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(name).ok().filter(|name| !name.contains('/'))?;
    Key::parse(key).ok().map(|_| key)
}

pub(super) fn join(directory: &str, name: &str) -> Option<Key> {
    if directory.is_empty() { Key::parse(name).ok() } else { Key::try_from(format!("{directory}/{name}")).ok() }
}
