//! [`Needed`]: the objects that hold the only copy of a file that has another name than theirs.
//!
//! Whoever renames or copies a placeholder has a file whose data is in the object of another name. Before that object is
//! deleted or overwritten, the file has to be fetched:
//!
//! 1. *Before anything is sent*, all that is not plainly as recorded is looked at, in the whole tree. A placeholder under
//!    another name is fetched if it is selected; else its object is left alone.
//!    A rename may have gone behind the look; so all that has changed since it began is looked at once more, until no
//!    placeholder has come to it. Only one that is renamed behind two looks in a row is missed.
//! 2. *A file that got its path since* does not replace an object: what had the path may be a placeholder that was renamed
//!    behind the look. Its own ctime tells of a name of its own; that a directory around it was renamed is told by the ctime
//!    and the inode of that. It has its turn after a second look.
//! 3. *Deletes come after the second look* as well.
//! 4. *A copy of metadata may give an object another `ETag`*. Links and copies of its placeholder that were made meanwhile have
//!    the mark from before; a look after the copies marks them anew.

use super::{Export, Imported};
use crate::engine::agreed::fresh_since;
use crate::engine::contents::Subject;
use crate::engine::placeholder::{Fetched, Places, fetch_back};
use crate::engine::report::RunErrorKind;
use crate::engine::scan::{Scan, ScanError, Sight};
use crate::engine::selection::Selection;
use crate::engine::session::StateError;
use crate::entry::Chain;
use crate::key::{Key, KeyList};
use crate::mode::FileType;
use crate::snapshot::Remote;
use crate::status::Status;
use crate::store::ObjectStore;
use crate::timestamp::Timestamp;
use crate::tree::{Look as LookedAt, Place, Residence, Standing, Tree, TreeErrorKind, TreeOp};
use futures_util::StreamExt;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

/// What is known of a tree with placeholders.
pub(super) enum Needed {
    /// There are none.
    None,
    /// They were looked for.
    Since(Since),
    /// Something could not be looked at, and any object may be needed.
    Unknown(Box<str>),
}

/// What a look has found.
pub(super) struct Since {
    began: Timestamp,
    /// The objects by their keys, each with a file that has its data there.
    files: HashMap<Key, Key>,
    /// The inodes of directories that were not plainly as recorded at the first look; not of all where there are too many.
    directories: HashMap<Key, u64>,
    /// Files that may not be read, one of each size: each may be a placeholder, whose object is as large.
    unreadable: HashMap<u64, Key>,
}

/// Whether an object may be deleted or overwritten.
pub(super) enum Replace {
    Yes,
    /// Not before another look.
    Later,
    /// Why not.
    No(String),
}

impl Needed {
    /// Whether an object may be deleted; its size is what is recorded.
    pub(super) fn deletes(&self, key: &Key, size: Option<u64>) -> Replace {
        match self {
            Self::Since(since) => match (since.files.get(key), since.unreadable_of(size)) {
                (Some(file), _) => Replace::No(format!(
                    "the file \"{file}\" has its data in this object alone, which stays until that file was sent itself"
                )),
                (None, Some(file)) if !key.is_directory() => Replace::No(format!(
                    "the file \"{file}\" is as large and may not be read, so that it may have its data in this object \
                     alone, which stays until that file can be read"
                )),
                (None, _) => Replace::Yes,
            },
            Self::Unknown(why) if !key.is_directory() => {
                Replace::No(format!("a file may have its data in this object alone: {why}"))
            }
            Self::None | Self::Unknown(_) => Replace::Yes,
        }
    }
}

impl Since {
    /// A file that may not be read and may have its data in an object of this size, which may be unknown.
    fn unreadable_of(&self, size: Option<u64>) -> Option<&Key> {
        match size {
            Some(size) => self.unreadable.get(&size),
            None => self.unreadable.values().next(),
        }
    }
}

/// Whether something may have changed since a time. The ctime of a coarse clock may be from before.
fn is_since(since: Timestamp, ctime: Timestamp) -> bool {
    ctime >= since || (ctime.subsecond_nanos() == 0 && ctime >= fresh_since(since))
}

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    /// Looks at all that is not plainly as it is recorded, and fetches what is selected and has its data elsewhere.
    pub(super) async fn look_for_needed(&self) -> Result<Needed, RunErrorKind> {
        /// How often it is looked again while placeholders are on the move.
        const LOOKS: u32 = 5;
        if !self.tree.may_have_placeholders()? {
            return Ok(Needed::None);
        }
        let mut found = Since {
            began: self.tree.now(),
            files: HashMap::new(),
            directories: HashMap::new(),
            unreadable: HashMap::new(),
        };
        let mut fresh = HashSet::new();
        let (mut since, mut fetched) = (None, false);
        let mut settled = Ok(());
        for _ in 0..LOOKS {
            let now = self.tree.now();
            let looked = self.look_once(since, &mut found, &mut fresh).await?;
            fetched |= looked.fetched;
            if let Some(why) = looked.unknown {
                settled = Err(why);
                break;
            }
            if since.is_some() && !looked.moved {
                settled = Ok(());
                break;
            }
            since = Some(now);
            settled = Err("placeholders were renamed at every look".into());
        }
        if fetched {
            // The scan that comes is not to come upon what was staged.
            self.tree.finish().await?;
            self.tree.begin().await?;
        }
        Ok(match settled {
            Ok(()) => Needed::Since(found),
            Err(why) => Needed::Unknown(why),
        })
    }

    /// One look; at what has changed since a time, or at everything.
    async fn look_once(
        &self,
        since: Option<Timestamp>,
        found: &mut Since,
        fresh: &mut HashSet<(Key, u64, Timestamp)>,
    ) -> Result<Look, RunErrorKind> {
        /// Of how many directories the inodes are remembered; of others, a change in them counts as a rename.
        const DIRECTORIES: usize = 1 << 20;
        static ALL: LazyLock<Selection> = LazyLock::new(Selection::all);
        let lookers = self.options.lookers.get();
        let sights = Scan::new(self.tree, self.session, &ALL, self.options.directories, lookers).sights();
        let looked = sights.map(|sight| self.look_into(sight, since));
        let mut looked = looked.buffer_unordered(self.options.jobs.get()).boxed();
        let mut look = Look::default();
        while let Some(looked) = looked.next().await {
            match looked? {
                Looked::Marked { object, file, status, moved } => {
                    // One that was here at the look before has not moved since.
                    let is_fresh = is_since(found.began, moved);
                    look.moved |= is_fresh && fresh.insert((file.clone(), status.inode, status.ctime));
                    if object != file {
                        found.files.insert(object, file);
                    }
                }
                // A later look may have come too late to see where what was there before has gone.
                Looked::Directory { key, inode } if since.is_none() && found.directories.len() < DIRECTORIES => {
                    found.directories.insert(key, inode);
                }
                Looked::Directory { .. } => {}
                Looked::Unreadable { key, size } => _ = found.unreadable.insert(size, key),
                Looked::Fetched => (look.moved, look.fetched) = (true, true),
                Looked::Nothing => {}
                Looked::Unknown(why) => look.unknown = Some(why),
            }
        }
        Ok(look)
    }

    async fn look_into(
        &self,
        sight: Result<Sight, ScanError>,
        since: Option<Timestamp>,
    ) -> Result<Looked, RunErrorKind> {
        let (key, seen, moved) = match sight? {
            Sight::Present { key, status, .. } if status.file_type == FileType::Directory => {
                return Ok(Looked::Directory { key, inode: status.inode });
            }
            Sight::Present { moved, .. } if since.is_some_and(|since| !is_since(since, moved)) => {
                return Ok(Looked::Nothing);
            }
            // There is no placeholder without a size.
            Sight::Present { key, status, moved, .. } if status.file_type == FileType::File && status.size > 0 => {
                (key, status, moved)
            }
            Sight::Failed { error, .. } if error.kind() != TreeErrorKind::NotFound => {
                return Ok(Looked::Unknown(Chain(&error).to_string().into()));
            }
            _ => return Ok(Looked::Nothing),
        };
        let file = match self.tree.open(&key).await {
            Ok(file) => file,
            // It is gone or another by now, or says nothing that is believed.
            Err(error)
                if matches!(error.kind(), TreeErrorKind::NotFound | TreeErrorKind::Changed | TreeErrorKind::Mark) =>
            {
                return Ok(Looked::Nothing);
            }
            Err(error) if error.kind() == TreeErrorKind::Denied => {
                return Ok(Looked::Unreadable { key, size: seen.size });
            }
            Err(error) => return Ok(Looked::Unknown(Chain(&error).to_string().into())),
        };
        let (residence, found) = (file.residence().clone(), file.found().clone());
        drop(file);
        let status = found.status();
        let (mut released, is_whole) = match residence {
            Residence::Here => return Ok(Looked::Nothing),
            Residence::Released(released) => (released, true),
            Residence::Written(released) => (released, false),
        };
        let renewed = self.copies().now(&released).filter(|_| is_whole);
        if let Some(etag) = renewed {
            // A link or copy that was made behind the look, before a copy gave the object another ETag.
            released.etag = etag;
            let (entry, standing) = (found.entry.clone(), Standing::Version(status));
            let op = TreeOp::CreatePlaceholder { entry, released: released.clone(), standing };
            return Ok(match self.tree.apply(&op).await {
                // The next look sees what it is now.
                Ok(_) => Looked::Fetched,
                Err(error) if matches!(error.kind(), TreeErrorKind::Conflict | TreeErrorKind::NotFound) => {
                    Looked::Fetched
                }
                Err(error) => Looked::Unknown(Chain(&error).to_string().into()),
            });
        }
        if is_whole && released.key != key && self.options.selection.selects(key.as_str()) {
            let (places, file) = (self.places(), (&found.entry, &status));
            let fetched = fetch_back(self.tree, self.store, places, file, &released, self.progress).await;
            if matches!(fetched, Fetched::Here { .. }) {
                return Ok(Looked::Fetched);
            }
        }
        Ok(Looked::Marked { object: released.key, file: key, moved: moved.max(status.ctime), status })
    }

    /// Where the data of placeholders is.
    pub(super) fn places(&self) -> Places<'_> {
        Places { own: &self.options.prefix, imports: self.options.imported.as_ref().map(Imported::prefix) }
    }

    /// Whether the object of a subject may be replaced, in whole or in its headers.
    pub(super) async fn may_replace(
        &self,
        needed: &Needed,
        subject: &Subject,
        remote: Option<&Remote>,
    ) -> Result<Replace, StateError> {
        let (key, status) = (subject.entry.key(), &subject.status);
        if status.file_type == FileType::Directory {
            return Ok(Replace::Yes);
        }
        let replace = needed.deletes(key, remote.map(|remote| remote.size));
        match needed {
            Needed::Since(since) if matches!(replace, Replace::Yes) => {
                let came = is_since(since.began, status.ctime) || self.came_with_directory(since, key, status).await?;
                Ok(if came { Replace::Later } else { Replace::Yes })
            }
            _ => Ok(replace),
        }
    }

    /// Whether something may have come to its path since a look with a directory that was renamed. What is in a directory is
    /// what was in it unless its own names changed; so it is enough that the path leads by the same directories.
    ///
    /// Only what replaces an object asks, and only where there are placeholders: that costs a request anyway.
    async fn came_with_directory(&self, since: &Since, key: &Key, status: &Status) -> Result<bool, StateError> {
        let around: Vec<Key> = std::iter::successors(key.parent(), Key::parent).collect();
        if around.is_empty() {
            return Ok(false);
        }
        let mut keys = KeyList::new();
        for key in around.iter().chain([key]) {
            // Invariant: they are keys.
            let _ = keys.push(key.as_str());
        }
        // Itself last: whatever was opened has this path, or had it through another directory.
        let mut looks = self.tree.look(Arc::new(keys), Place::Here, Vec::new()).await;
        if !matches!(looks.pop(), Some(LookedAt::Found(now)) if now.inode == status.inode) {
            return Ok(true);
        }
        for (directory, look) in around.iter().zip(looks) {
            let LookedAt::Found(now) = look else { return Ok(true) };
            if is_since(since.began, now.ctime) && self.inode_then(since, directory)? != Some(now.inode) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The inode that a directory was at the first look, if that is known.
    fn inode_then(&self, since: &Since, directory: &Key) -> Result<Option<u64>, StateError> {
        if let Some(inode) = since.directories.get(directory) {
            return Ok(Some(*inode));
        }
        // It was plainly as it is recorded.
        let record = self.session.map(|session| session.find(directory)).transpose()?.flatten();
        Ok(record.and_then(|record| record.local).map(|local| local.inode))
    }
}

/// What came of a look.
#[derive(Default)]
struct Look {
    /// There are placeholders that were not there at the look before.
    moved: bool,
    fetched: bool,
    unknown: Option<Box<str>>,
}

enum Looked {
    Nothing,
    /// A placeholder, and the object that has its data.
    Marked {
        object: Key,
        file: Key,
        status: Status,
        /// When it may have come to its path.
        moved: Timestamp,
    },
    Directory {
        key: Key,
        inode: u64,
    },
    /// A file that may not be opened to be read.
    Unreadable {
        key: Key,
        size: u64,
    },
    /// A file had its data in the object of another, and has it here now.
    Fetched,
    Unknown(Box<str>),
}
