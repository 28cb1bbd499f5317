//! [`walk`]: everything in a tree, in key order.
//!
//! The names of a directory are in key order, a slash counting with those of directories; a depth-first walk then comes out
//! in the byte order of whole keys, which is the order in which a bucket lists.

use crate::entry::{Entry, EntryKind};
use crate::key::{InvalidKey, Key, KeyList};
use crate::mode::FileType;
use crate::status::Status;
use crate::tree::{
    Fingerprint, Found, Look, NameList, Place, Present, SkipReason, Tree, TreeError, TreeErrorKind, Walked,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::sync::Arc;

const ATTEMPT: &str = "walking";

/// How many names are looked at at once.
const RUN: usize = 256;

/// Walks everything below the root in key order.
///
/// - Each name ends in exactly one [`Walked`]. The root itself is not an entry.
/// - What cannot be read is said to be so, and the walk goes on.
/// - Memory grows with the depth and the widest directory, not with the number of entries.
///
/// ```
/// use futures_util::StreamExt;
/// use posix_s3::{engine, tree::MemoryTree};
///
/// let tree = MemoryTree::new();
/// assert!(futures_executor::block_on(engine::walk(&tree).next()).is_none());
/// ```
pub fn walk<T: Tree>(tree: &T) -> BoxStream<'_, Walked> {
    let walk = Walk { tree, start: true, levels: Vec::new(), run: VecDeque::new() };
    stream::unfold(walk, |mut walk| async move { Some((walk.next().await?, walk)) }).boxed()
}

struct Walk<'t, T> {
    tree: &'t T,
    /// The root is still to be read.
    start: bool,
    /// The directories from the root to where the walk stands.
    levels: Vec<Level>,
    /// What was looked at ahead. A directory is the last of it, so that one is looked at when its turn has come.
    run: VecDeque<Looked>,
}

/// A directory of which some names are still to come.
struct Level {
    /// Its key; empty for the root.
    path: Box<[u8]>,
    names: NameList,
    next: usize,
}

/// A path, and what a look at it has told, or why it is no key.
struct Looked {
    path: Box<[u8]>,
    look: Result<(Key, Look), InvalidKey>,
}

impl<T: Tree> Walk<'_, T> {
    async fn next(&mut self) -> Option<Walked> {
        if std::mem::take(&mut self.start) {
            match self.tree.list(None).await {
                Ok(names) => self.levels.push(Level { path: Box::default(), names, next: 0 }),
                Err(error) => return Some(Walked::Failed { path: Box::default(), error }),
            }
        }
        loop {
            if let Some(Looked { path, look }) = self.run.pop_front() {
                return Some(match look {
                    Ok((key, look)) => self.step(key, look).await,
                    Err(invalid) => Walked::Skipped { path, reason: SkipReason::Key(invalid) },
                });
            }
            let level = self.levels.last_mut()?;
            let paths = level.run();
            if paths.is_empty() {
                self.levels.pop();
            } else {
                self.run = self.look(paths).await;
            }
        }
    }

    async fn look(&self, paths: Vec<Box<[u8]>>) -> VecDeque<Looked> {
        let mut list = KeyList::new();
        let mut keys = Vec::with_capacity(paths.len());
        for path in &paths {
            let key = Key::from_bytes(path);
            keys.push(key.and_then(|key| list.push(key.as_str()).map(|()| key)));
        }
        let mut looks = self.tree.look(Arc::new(list), Place::Here, Vec::new()).await.into_iter();
        let looked = paths.into_iter().zip(keys).map(|(path, key)| {
            // Invariant: one answer a key. A tree that gives fewer has not looked at the others.
            let unknown = || Look::Failed(TreeError::new(ATTEMPT, &path, TreeErrorKind::Other));
            let look = key.map(|key| (key, looks.next().unwrap_or_else(unknown)));
            Looked { path, look }
        });
        looked.collect()
    }

    async fn step(&mut self, key: Key, look: Look) -> Walked {
        let path = || key.as_str().as_bytes().into();
        let status = match look {
            Look::Found(status) => status,
            Look::Nothing => return Walked::Skipped { path: path(), reason: SkipReason::Vanished },
            Look::Skipped(reason) => return Walked::Skipped { path: path(), reason },
            Look::Failed(error) => return Walked::Failed { path: path(), error },
        };
        // A name that has become a directory, or is none any more, would come at the wrong place.
        if (status.file_type == FileType::Directory) != key.is_directory() {
            return Walked::Skipped { path: path(), reason: SkipReason::Vanished };
        }
        match self.found(&key, &status).await {
            Ok(Some(found)) => Walked::Found(found),
            Ok(None) => Walked::Skipped { path: path(), reason: SkipReason::Vanished },
            Err(error) if error.kind() == TreeErrorKind::NotFound => {
                Walked::Skipped { path: path(), reason: SkipReason::Vanished }
            }
            Err(error) => Walked::Failed { path: path(), error },
        }
    }

    /// Reads what a look does not tell: a link's target, and a directory's names, among which the walk goes on.
    async fn found(&mut self, key: &Key, status: &Status) -> Result<Option<Found>, TreeError> {
        let changed = || TreeError::new(ATTEMPT, key.as_str().as_bytes(), TreeErrorKind::Changed);
        let kind = match status.file_type {
            FileType::File => EntryKind::File { size: status.size },
            FileType::Directory => {
                // Before the entry is handed out: one that cannot be read is not an entry but a failure.
                let names = self.tree.list(Some(key)).await?;
                self.levels.push(Level { path: key.as_str().as_bytes().into(), names, next: 0 });
                EntryKind::Directory
            }
            _ => {
                return match self.tree.lookup(key).await? {
                    Present::Entry(found) => Ok(Some(found).filter(|found| !found.entry.key().is_directory())),
                    Present::Nothing => Ok(None),
                    Present::Other => Err(changed()),
                };
            }
        };
        let Status { attributes, inode, ctime, links, .. } = *status;
        let entry = Entry::new(key.clone(), kind, attributes).map_err(|error| changed().with_source(error))?;
        Ok(Some(Found { entry, fingerprint: Fingerprint { inode, ctime, links } }))
    }
}

impl Level {
    /// The paths that come next, up to that of a directory.
    fn run(&mut self) -> Vec<Box<[u8]>> {
        let mut paths = Vec::new();
        while let Some(name) = self.names.get(self.next) {
            self.next = self.next.saturating_add(1);
            paths.push([&*self.path, name].concat().into());
            if name.ends_with(b"/") || paths.len() >= RUN {
                break;
            }
        }
        paths
    }
}
