//! What both sides agree on, as it is recorded, and what has to be true of it.

use crate::engine::report::RunErrorKind;
use crate::engine::session::Session;
use crate::key::{Key, Prefix};
use crate::metadata::{Attributes, Field, Fields};
use crate::profile::Profile;
use crate::snapshot::{Age, Identity, Local, Remote};
use crate::status::Status;
use crate::store::ObjectMeta;
use crate::timestamp::Timestamp;
use crate::tree::Tree;
use http::HeaderMap;
use twox_hash::XxHash3_64;

/// Something is racy that was changed less than so many nanoseconds before a run began: 2 seconds, the coarsest clock that
/// file systems have.
const GRAIN: i128 = 2_000_000_000;

/// What tells the link between a tree and a part of a bucket from every other.
pub(super) fn identity(tree: &impl Tree, bucket: &str, prefix: &Prefix) -> Result<Identity, RunErrorKind> {
    if bucket.is_empty() {
        return Err(RunErrorKind::Unnamed);
    }
    let name = format!("{bucket}\0{}", prefix.as_str());
    let mut link = [0; 16];
    let halves = [0, 1].map(|seed| XxHash3_64::oneshot_with_seed(seed, name.as_bytes()).to_le_bytes());
    for (byte, half) in link.iter_mut().zip(halves.as_flattened()) {
        *byte = *half;
    }
    Ok(Identity { link, root: tree.identity()? })
}

/// Times from here on are too fresh to tell a later change.
pub(super) fn fresh_since(started: Timestamp) -> Timestamp {
    Timestamp::from_nanoseconds(started.nanoseconds().saturating_sub(GRAIN)).unwrap_or(Timestamp::EPOCH)
}

/// Whether an inode that was looked at in a run since `started` can change later without its times telling.
///
/// The ctime alone says so: every change moves it, while an mtime can be set to anything.
pub(super) fn age_of(status: &Status, started: Timestamp) -> Age {
    if status.ctime > fresh_since(started) { Age::Racy } else { Age::Settled }
}

/// Whether an object can be changed without its Last-Modified telling: where that has whole seconds, a second change in the
/// same second has the same.
pub(super) fn age_of_object(last_modified: Option<Timestamp>) -> Age {
    match last_modified {
        Some(time) if time.subsecond_nanos() > 0 => Age::Settled,
        _ => Age::Racy,
    }
}

/// What is recorded of an object that was looked at. What its bytes are is known from its `ETag` alone.
pub(super) fn remote_of(meta: &ObjectMeta) -> Remote {
    let last_modified = Some(meta.last_modified);
    let age = age_of_object(last_modified);
    Remote { etag: meta.etag.clone(), size: meta.size, last_modified, md5: None, age }
}

/// Whether an object is the version that is recorded, or is missing where none is. Last-Modified is compared as far as it
/// is known; it tells of changed metadata, which the `ETag` does not.
pub(super) fn is_recorded(recorded: Option<&Remote>, current: Option<&ObjectMeta>) -> bool {
    match (recorded, current) {
        (None, None) => true,
        (Some(recorded), Some(current)) => {
            let time = recorded.last_modified.is_none_or(|time| time == current.last_modified);
            time && recorded.etag == current.etag && recorded.size == current.size
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether an object is what an earlier run, or an earlier try, intended to put and did not hear of.
pub(super) fn is_ours(session: &Session<'_>, profile: &Profile, key: &Key, meta: &ObjectMeta) -> bool {
    session.uncertain(key).iter().any(|local| was_intended(profile, local, meta))
}

fn was_intended(profile: &Profile, local: &Local, meta: &ObjectMeta) -> bool {
    let Local { permissions, uid, gid, mtime, file_type, .. } = *local;
    let permissions = profile.permissions(file_type, permissions);
    let attributes = Attributes { permissions, uid, gid, atime: mtime, mtime };
    let mut wanted = HeaderMap::new();
    attributes.encode_into(file_type, &mut wanted);
    meta.size == local.size && same_fields(&wanted, &meta.headers)
}

/// When the content of an object last changed: what it says, else when it was put.
pub(super) fn mtime_of(meta: &ObjectMeta) -> Timestamp {
    let text = Fields::from_headers(&meta.headers);
    text.text(Field::Mtime).and_then(|text| Timestamp::parse(text).ok()).unwrap_or(meta.last_modified)
}

/// Whether two sets of headers say the same of kind, permissions, owner, group and mtime.
pub(super) fn same_fields(wanted: &HeaderMap, found: &HeaderMap) -> bool {
    [Field::Permissions, Field::Owner, Field::Group, Field::Mtime]
        .into_iter()
        .all(|field| wanted.get(field.header()) == found.get(field.header()))
}
