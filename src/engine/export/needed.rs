//! [`Needed`]: the objects that hold the only copy of a file that has another name than theirs.
//!
//! Whoever renames or copies a placeholder has a file whose data is in the object of another name. Before that object is
//! deleted or overwritten, the file has to be fetched:
//!
//! 1. *Before anything is sent*, all that is not plainly as recorded is looked at, in the whole tree. A placeholder under
//!    another name is fetched if it is selected; else its object is left alone.
//!    A rename may have gone behind the look; so all that has changed since it began is looked at once more, until no
//!    placeholder has come to it. Only one that is renamed behind two looks in a row is missed.
//! 2. *A file that got its name since*, as its ctime tells, does not replace an object: what had the name may be a placeholder
//!    that was renamed behind the look. It has its turn after a second look.
//! 3. *Deletes come after the second look* as well.

use super::{Export, Imported};
use crate::engine::contents::Subject;
use crate::engine::placeholder::{Fetched, Places, fetch_back};
use crate::engine::report::RunErrorKind;
use crate::engine::scan::{Scan, ScanError, Sight};
use crate::engine::selection::Selection;
use crate::entry::Chain;
use crate::key::Key;
use crate::mode::FileType;
use crate::store::ObjectStore;
use crate::timestamp::Timestamp;
use crate::tree::{Residence, Tree, TreeErrorKind};
use futures_util::StreamExt;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What is known of a tree with placeholders.
pub(super) enum Needed {
    /// There are none.
    None,
    /// Looked for since a time: the objects by their keys, each with a file that has its data there.
    Since(Timestamp, HashMap<Key, Key>),
    /// Something could not be looked at, and any object may be needed.
    Unknown(Box<str>),
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
    /// Whether an object may be overwritten with a file that was found so.
    pub(super) fn overwrites(&self, key: &Key, ctime: Timestamp) -> Replace {
        match self {
            // The ctime of a coarse clock may be from before.
            Self::Since(since, _) if ctime >= *since => Replace::Later,
            Self::Since(since, _)
                if ctime.subsecond_nanos() == 0 && ctime >= crate::engine::agreed::fresh_since(*since) =>
            {
                Replace::Later
            }
            _ => self.deletes(key),
        }
    }

    /// Whether an object may be deleted.
    pub(super) fn deletes(&self, key: &Key) -> Replace {
        match self {
            Self::Since(_, files) => match files.get(key) {
                Some(file) => Replace::No(format!(
                    "the file \"{file}\" has its data in this object alone, which stays until that file was sent itself"
                )),
                None => Replace::Yes,
            },
            Self::Unknown(why) if !key.is_directory() => {
                Replace::No(format!("a file may have its data in this object alone: {why}"))
            }
            Self::None | Self::Unknown(_) => Replace::Yes,
        }
    }
}

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    /// Looks at all that is not plainly as it is recorded, and fetches what is selected and has its data elsewhere.
    pub(super) async fn look_for_needed(&self) -> Result<Needed, RunErrorKind> {
        /// How often it is looked again while placeholders are on the move.
        const LOOKS: u32 = 5;
        if !self.tree.may_have_placeholders()? {
            return Ok(Needed::None);
        }
        let began = self.tree.now();
        let (mut needed, mut fresh) = (HashMap::new(), HashSet::new());
        let (mut since, mut fetched) = (None, false);
        let mut settled = Ok(());
        for _ in 0..LOOKS {
            let now = self.tree.now();
            let looked = self.look_once(began, since, &mut needed, &mut fresh).await?;
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
            Ok(()) => Needed::Since(began, needed),
            Err(why) => Needed::Unknown(why),
        })
    }

    /// One look; at what has changed since a time, or at everything.
    async fn look_once(
        &self,
        began: Timestamp,
        since: Option<Timestamp>,
        needed: &mut HashMap<Key, Key>,
        fresh: &mut HashSet<(Key, Timestamp)>,
    ) -> Result<Look, RunErrorKind> {
        static ALL: LazyLock<Selection> = LazyLock::new(Selection::all);
        let lookers = self.options.lookers.get();
        let sights = Scan::new(self.tree, self.session, &ALL, self.options.directories, lookers).sights();
        let looked = sights.map(|sight| self.look_into(sight, since));
        let mut looked = looked.buffer_unordered(self.options.jobs.get()).boxed();
        let mut look = Look::default();
        while let Some(looked) = looked.next().await {
            match looked? {
                Looked::Marked { object, file, ctime } => {
                    // One that was here at the look before has not moved since.
                    look.moved |= ctime >= began && fresh.insert((file.clone(), ctime));
                    if object != file {
                        needed.insert(object, file);
                    }
                }
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
        let key = match sight? {
            Sight::Present { status, .. } if since.is_some_and(|since| status.ctime < since) => {
                return Ok(Looked::Nothing);
            }
            Sight::Present { key, status, .. } if status.file_type == FileType::File => key,
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
            Err(error) => return Ok(Looked::Unknown(Chain(&error).to_string().into())),
        };
        let (residence, found) = (file.residence().clone(), file.found().clone());
        drop(file);
        let status = found.status();
        let (released, is_whole) = match residence {
            Residence::Here => return Ok(Looked::Nothing),
            Residence::Released(released) => (released, true),
            Residence::Written(released) => (released, false),
        };
        if is_whole && released.key != key && self.options.selection.selects(key.as_str()) {
            let (places, file) = (self.places(), (&found.entry, &status));
            let fetched = fetch_back(self.tree, self.store, places, file, &released, self.progress).await;
            if matches!(fetched, Fetched::Here { .. }) {
                return Ok(Looked::Fetched);
            }
        }
        Ok(Looked::Marked { object: released.key, file: key, ctime: status.ctime })
    }

    /// Where the data of placeholders is.
    pub(super) fn places(&self) -> Places<'_> {
        Places { own: &self.options.prefix, imports: self.options.imported.as_ref().map(Imported::prefix) }
    }

    /// Whether the object of a subject may be replaced, in whole or in its headers.
    pub(super) fn may_replace(&self, needed: &Needed, subject: &Subject) -> Replace {
        let key = subject.entry.key();
        match subject.status.file_type {
            FileType::Directory => Replace::Yes,
            // Its headers alone are replaced.
            _ if subject.released().is_some() => needed.deletes(key),
            _ => needed.overwrites(key, subject.status.ctime),
        }
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
        ctime: Timestamp,
    },
    /// A file had its data in the object of another, and has it here now.
    Fetched,
    Unknown(Box<str>),
}
