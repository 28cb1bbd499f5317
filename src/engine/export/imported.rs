//! [`Imported`]: what an import from another part of the bucket has brought need not be exported.

use super::Export;
use crate::engine::beside::Beside;
use crate::engine::contents::Unsent;
use crate::engine::journal::Urgency;
use crate::engine::report::{Ended, RunErrorKind};
use crate::engine::session::{Session, StateError};
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

    /// Opens the records; `None` where nothing was imported, or nothing that can be believed.
    pub(super) async fn open<T: Tree>(&self, tree: &T, bucket: &str) -> Result<Option<Beside>, RunErrorKind> {
        let session = Session::of(tree, Some(&*self.state), bucket, &self.prefix).await?;
        let reader = session.as_ref().map(Session::reader).transpose()?.flatten();
        Ok(reader.map(Beside::new))
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
