//! Whether a store lets a link do what it is for.

use super::{Access, Linked};
use crate::engine::Cause;
use crate::engine::report::{Report, RunErrorKind};
use crate::repository::Misconfiguration;
use crate::store::{
    Body, ETag, ListRequest, ObjectStore, Operation, Precondition, PutOptions, StoreError, StoreErrorKind, Support,
};
use bytes::Bytes;

/// What a check has found.
#[derive(Debug)]
pub(super) enum Checked {
    /// It is as it should be.
    Sound,
    /// It is not, and why.
    Broken(Misconfiguration, StoreError),
    /// It could not be found out.
    Unknown(StoreError),
}

/// Whether it is known that objects can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Some were, a moment ago.
    Proven,
    Unproven,
}

/// How many objects are looked at before it is said that none can be read. They are taken from all over the first page.
const SAMPLES: usize = 8;
/// The key below the export path at which it is tried whether objects may be put. None is: the request asks for a version
/// that no object has.
const TRIED: &str = ".posix-s3-check";
/// A version that no object has.
const NO_VERSION: &str = "\"00000000000000000000000000000000\"";

/// Looks whether a store lets a link do what it is for: whether it can be listed, whether objects can be read and, unless
/// [`Access::ReadOnly`] says otherwise, put. Nothing is changed by it: the put asks for a version that no object has, and is
/// left out where the store has no preconditions. `None` when nothing is wrong.
///
/// # Errors
/// When it could not be found out.
pub async fn check_link<S: ObjectStore>(
    store: &S,
    linked: &Linked,
    access: Access,
) -> Result<Option<(Misconfiguration, StoreError)>, StoreError> {
    match check(store, linked, access, Reads::Unproven).await {
        Checked::Sound => Ok(None),
        Checked::Broken(cause, error) => Ok(Some((cause, error))),
        Checked::Unknown(error) => Err(error),
    }
}

/// Lists, looks at and, where that is wanted, tries to put an object. Nothing is changed by it.
pub(super) async fn check<S: ObjectStore>(store: &S, linked: &Linked, access: Access, reads: Reads) -> Checked {
    match try_check(store, linked, access, reads).await {
        Ok(()) => Checked::Sound,
        Err(error) => match misconfiguration(&error) {
            Some(cause) => Checked::Broken(cause, error),
            None => Checked::Unknown(error),
        },
    }
}

async fn try_check<S: ObjectStore>(store: &S, linked: &Linked, access: Access, reads: Reads) -> Result<(), StoreError> {
    let request = ListRequest { prefix: linked.import_prefix().as_str().to_owned(), ..ListRequest::default() };
    let page = store.list(&request).await?;
    let step = page.objects.len().div_ceil(SAMPLES).max(1);
    let mut denied = None;
    for object in page.objects.iter().step_by(step).filter(|_| reads == Reads::Unproven) {
        match store.head(&object.key).await {
            Ok(_) => {
                denied = None;
                break;
            }
            // One that is somebody else's says nothing of the others.
            Err(error) if error.kind() == StoreErrorKind::Denied => denied = Some(error),
            // Deleted since, or odd in itself.
            Err(error) if misconfiguration(&error).is_none() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = denied {
        return Err(error);
    }
    if access == Access::ReadOnly || store.capabilities().preconditions == Support::No {
        return Ok(());
    }
    let key = format!("{}{TRIED}", linked.export_prefix().as_str());
    let options = PutOptions { precondition: Precondition::Match(ETag::new(NO_VERSION)), ..PutOptions::default() };
    match store.put(&key, Body::from(Bytes::new()), &options).await {
        Err(error) if misconfiguration(&error).is_some() => Err(error),
        _ => Ok(()),
    }
}

/// What is wrong with a link whose store answers this, if it is the link.
pub(super) fn misconfiguration(error: &StoreError) -> Option<Misconfiguration> {
    match (error.kind(), error.operation()) {
        (StoreErrorKind::NoSuchBucket, _) => Some(Misconfiguration::NoSuchBucket),
        (StoreErrorKind::WrongRegion, _) => Some(Misconfiguration::WrongRegion),
        (StoreErrorKind::Denied, Operation::List) => Some(Misconfiguration::ListingDenied),
        (StoreErrorKind::Denied, _) => Some(Misconfiguration::AccessDenied),
        _ => None,
    }
}

/// Whether what became of a run is a reason to look at the store.
pub(super) fn is_suspicious(ended: Result<&Report, &RunErrorKind>) -> bool {
    match ended {
        Ok(report) => report
            .problems
            .iter()
            .any(|problem| matches!(problem.cause, Cause::NoSuchBucket | Cause::WrongRegion | Cause::AccessDenied)),
        Err(RunErrorKind::List(error)) => misconfiguration(error).is_some(),
        Err(_) => false,
    }
}
