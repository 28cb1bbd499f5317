//! [`Imported`]: what an import from another part of the bucket has brought need not be exported.

use super::Export;
use crate::engine::contents::Unsent;
use crate::engine::journal::Urgency;
use crate::engine::report::{Ended, RunErrorKind};
use crate::engine::session::{Reader, Session, StateError};
use crate::engine::state::StateStore;
use crate::key::{Key, Prefix};
use crate::plan::{self, Change, MetadataChange, Step};
use crate::snapshot::{Names, Record};
use crate::status::Status;
use crate::store::ObjectStore;
use crate::tree::Tree;
use std::fmt;
use std::sync::Arc;

/// The state of the imports of a link that imports from one part of a bucket and exports to another, as a link of FSx does
/// by default.
///
/// What is in the tree as an import has made it is in the bucket, and an export does not put it there a second time: only
/// what was created or modified since goes over.
#[derive(Clone)]
pub struct Imported {
    state: Arc<dyn StateStore>,
    prefix: Prefix,
}

impl Imported {
    /// From the state and the prefix of the imports.
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>, prefix: Prefix) -> Self {
        Self { state, prefix }
    }

    /// The part of the bucket.
    pub(super) const fn prefix(&self) -> &Prefix {
        &self.prefix
    }
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The records of an import, beside which an export goes on.
pub(super) struct Beside {
    reader: Reader,
    /// The first record that is not behind the last key that was asked for.
    next: Option<Record>,
    last: Option<Key>,
}

impl Beside {
    /// Opens the records; `None` where nothing was imported, or nothing that can be believed.
    pub(super) async fn open<T: Tree>(
        imported: &Imported,
        tree: &T,
        bucket: &str,
    ) -> Result<Option<Self>, RunErrorKind> {
        let session = Session::of(tree, Some(&*imported.state), bucket, &imported.prefix).await?;
        let Some(mut reader) = session.as_ref().map(Session::reader).transpose()?.flatten() else { return Ok(None) };
        let next = reader.next().map_err(StateError::from)?;
        Ok(Some(Self { reader, next, last: None }))
    }

    /// The record of a key. Keys are best asked for in their order.
    pub(super) fn find(&mut self, key: &Key) -> Result<Option<Record>, StateError> {
        if self.last.as_ref().is_some_and(|last| key < last) {
            self.reader.seek(key.as_str())?;
            self.next = self.reader.next()?;
        }
        while self.next.as_ref().is_some_and(|record| record.key < *key) {
            self.next = self.reader.next()?;
        }
        self.last = Some(key.clone());
        Ok(self.next.clone().filter(|record| record.key == *key))
    }
}

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    /// Whether something is as an import has made it, or how it ends since that cannot be said.
    pub(super) async fn as_imported(&self, key: &Key, status: Status, imported: &Record) -> AsImported {
        let Some(before) = imported.local else { return AsImported::No };
        let change = |status: &Status| Change::of(&before, status, &self.options.profile);
        match self.contents.open(key, status, change, MetadataChange::InPlace, imported.remote.as_ref()).await {
            Ok((subject, change)) if plan::step(&change, MetadataChange::InPlace) == Step::Nothing => {
                AsImported::Yes(subject.status)
            }
            Ok(_) | Err(Unsent::Changed) => AsImported::No,
            Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => AsImported::Unknown(ended),
        }
    }

    /// Records what is as an import has made it, so that it need not be compared again. What has an object of ours beside
    /// that, which is another version by now, keeps the record of it.
    pub(super) fn record_imported(
        &self,
        key: &Key,
        status: &Status,
        record: Option<Record>,
        names: Names,
    ) -> Result<(), StateError> {
        let Some(session) = self.session else { return Ok(()) };
        if record.is_some_and(|record| record.remote.is_some()) {
            return Ok(());
        }
        let local = Some(self.local(status, names));
        session.record(Record { key: key.clone(), local, remote: None }, Urgency::Later)
    }
}

/// What has become of something that was imported.
pub(super) enum AsImported {
    /// It is as it was imported, with this status.
    Yes(Status),
    /// It has changed since.
    No,
    /// It could not be looked at.
    Unknown(Ended),
}
