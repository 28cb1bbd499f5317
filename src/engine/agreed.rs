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
    Remote { etag: meta.etag.clone(), size: meta.size, last_modified, xxh3: None, age }
}

/// Whether two times of one object are the same, as far as both are known: a head shows whole seconds, a listing or the
/// answer to a copy may show more.
pub(super) fn same_time(one: Timestamp, other: Timestamp) -> bool {
    let whole = one.subsecond_nanos() == 0 || other.subsecond_nanos() == 0;
    if whole { one.seconds() == other.seconds() } else { one == other }
}

/// Whether an object is the version that is recorded, or is missing where none is. Last-Modified tells of changed metadata,
/// which the `ETag` does not; where it is not known, since the answer to a put has none, the object has to say what was put.
pub(super) fn is_recorded(
    profile: &Profile,
    local: Option<&Local>,
    recorded: Option<&Remote>,
    current: Option<&ObjectMeta>,
) -> bool {
    match (recorded, current) {
        (None, None) => true,
        (Some(recorded), Some(current)) => {
            let same_metadata = match recorded.last_modified {
                Some(time) => same_time(time, current.last_modified),
                None => local.is_none_or(|local| says(profile, local, current)),
            };
            same_metadata && recorded.etag == current.etag && recorded.size == current.size
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether the headers of an object are those that were put, when this was. Bits that only some editions store do not
/// count, since the last run may have gone by another one.
fn says(profile: &Profile, local: &Local, meta: &ObjectMeta) -> bool {
    const SET_ID: u32 = 0o6000;
    let wanted = headers_of(profile, local);
    let mode = |headers: &HeaderMap| {
        let mode = Fields::from_headers(headers).mode().ok().flatten()?;
        Some((mode.file_type(), mode.permissions().without(SET_ID)))
    };
    let same = |field: Field| wanted.get(field.header()) == meta.headers.get(field.header());
    mode(&wanted) == mode(&meta.headers) && [Field::Owner, Field::Group, Field::Mtime].into_iter().all(same)
}

/// Whether an object is what an earlier run, or an earlier try, intended to put and did not hear of.
pub(super) fn is_ours(session: &Session<'_>, profile: &Profile, key: &Key, meta: &ObjectMeta) -> bool {
    session.uncertain(key).iter().any(|local| was_intended(profile, local, meta))
}

fn was_intended(profile: &Profile, local: &Local, meta: &ObjectMeta) -> bool {
    meta.size == local.size && same_fields(&headers_of(profile, local), &meta.headers)
}

/// What is put of this, but for the access time.
fn headers_of(profile: &Profile, local: &Local) -> HeaderMap {
    let Local { permissions, uid, gid, mtime, file_type, .. } = *local;
    let permissions = profile.permissions(file_type, permissions);
    let attributes = Attributes { permissions, uid, gid, atime: mtime, mtime };
    let mut headers = HeaderMap::new();
    attributes.encode_into(file_type, &mut headers);
    headers
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
