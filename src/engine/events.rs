//! [`apply_events`]: what has happened in the bucket, taken over; [`sweep`]: what nobody was told of.

use super::import::{ImportOptions, Takes, Touched, import_touched};
use super::report::{Progress, Report, RunError};
use super::state::StateStore;
use crate::plan::{Brake, Deletes};
use crate::repository::{EventType, EventTypes};
use crate::store::ObjectStore;
use crate::tree::Tree;
use std::collections::BTreeSet;

/// x
pub async fn apply_events<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: &dyn StateStore,
    options: &ImportOptions,
    events: EventTypes,
    keys: &BTreeSet<Box<str>>,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let takes = Takes {
        new: events.contains(EventType::New),
        changed: events.contains(EventType::Changed),
        deleted: events.contains(EventType::Deleted),
    };
    let deletes = if takes.deleted { Deletes::Apply(Brake::RELEASED) } else { Deletes::Never };
    let options = options.clone().with_deletes(deletes);
    import_touched(store, tree, state, &options, Touched { keys, takes }, progress).await
}
