//! Fetching the data of a file that is released, for whoever needs it: a restore, a reader, or an export under another name.

use super::cause::Cause;
use super::digest::Running;
use super::report::{Ended, Outcome, Progress};
use crate::entry::{Chain, Entry};
use crate::key::Prefix;
use crate::released::Released;
use crate::status::Status;
use crate::store::{GetOptions, ObjectStore, StoreError, StoreErrorKind, Support};
use crate::tree::{Applied, Standing, Tree, TreeErrorKind, TreeOp};
use futures_util::StreamExt;

/// What came of fetching.
pub(super) enum Fetched {
    /// The file is here: what has its name now, and the digest of its body if the `ETag` does not tell it.
    Here { applied: Applied, digest: Option<[u8; 16]> },
    /// The placeholder is another by now, or none.
    Changed,
    /// The object is gone; the placeholder says so from now on.
    Lost(Ended),
    /// It could not be fetched.
    Not(Ended),
}

/// Where in a bucket the objects of a tree are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'p> {
    pub(super) own: &'p Prefix,
    /// Where imports come from, if that is another part.
    pub(super) imports: Option<&'p Prefix>,
}

/// Why a file has no data any more.
const LOST: &str = "its data is lost: it was in the store alone, and its object is gone";

/// Fetches the data of a placeholder, which is replaced by a whole file if it is still what was looked at.
///
/// The bytes are those of the very version that is marked, wherever of the places it is found. Nothing is published before
/// all of them are on the disk.
pub(super) async fn fetch_back<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    places: Places<'_>,
    (entry, status): (&Entry, &Status),
    released: &Released,
    progress: &dyn Progress,
) -> Fetched {
    let key = entry.key();
    let not =
        |outcome, cause: Cause, why: &dyn std::fmt::Display| Fetched::Not(Ended::new(key, outcome).because(cause, why));
    let Released { etag, size, .. } = released;
    let options = GetOptions { if_match: Some(etag.clone()), expected_size: Some(*size), ..GetOptions::default() };
    let (mut found, mut is_another) = (None, false);
    for prefix in [Some(places.own), places.imports].into_iter().flatten() {
        let object_key = match prefix.object_key(&released.key) {
            Ok(object_key) => object_key,
            Err(error) => return not(Outcome::Failed, (&error).into(), &Chain(&error)),
        };
        match store.get(&object_key, &options).await {
            Ok(output) if (&output.meta.etag, output.meta.size) == (etag, *size) => {
                found = Some(output);
                break;
            }
            Ok(_) => is_another = true,
            Err(error) => match error.kind() {
                StoreErrorKind::NotFound => {}
                StoreErrorKind::PreconditionFailed => is_another = true,
                _ => return not(Outcome::Failed, (&error).into(), &Chain(&error)),
            },
        }
    }
    let output = match found {
        Some(output) => output,
        None if is_another => return not(Outcome::Conflict, Cause::Conflict, &another(released)),
        None => return lose(tree, entry, status, released).await,
    };
    // Where the ETag does not tell it, whoever records the file has to know.
    let tells = store.capabilities().md5_etags == Support::Yes && etag.md5().is_some();
    let digest = (!tells).then(Running::default);
    let body = output.body.then(|piece| async {
        let piece = piece?;
        if let Some(digest) = &digest {
            digest.take(digest.length(), &piece).await;
        }
        progress.bytes(piece.len() as u64);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(piece)
    });
    match tree.write_file(entry, body.boxed(), Standing::Version(*status)).await {
        Ok(applied) => Fetched::Here { applied, digest: digest.and_then(|digest| digest.of(*size)) },
        Err(error) => match error.kind() {
            TreeErrorKind::Conflict | TreeErrorKind::Changed | TreeErrorKind::NotFound => Fetched::Changed,
            TreeErrorKind::Body if was_replaced(&error) => not(Outcome::Conflict, Cause::Conflict, &another(released)),
            _ => not(Outcome::Failed, (&error).into(), &Chain(&error)),
        },
    }
}

/// A store that fetches in parts may find out only on the way that the object was replaced.
fn was_replaced(error: &dyn std::error::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<StoreError>());
    cause.is_some_and(|cause| cause.kind() == StoreErrorKind::PreconditionFailed)
}

fn another(released: &Released) -> String {
    format!(
        "its data is in version {} of the object \"{}\", which holds another one now",
        crate::escape::escape(released.etag.as_str().as_bytes()),
        released.key
    )
}

/// Marks a placeholder as one whose object is gone. Should the object come back, it can be fetched all the same.
async fn lose<T: Tree>(tree: &T, entry: &Entry, status: &Status, released: &Released) -> Fetched {
    let ended = Ended::new(entry.key(), Outcome::Failed).because(Cause::ReleasedSourceGone, LOST);
    if !released.lost {
        let released = Released { lost: true, ..released.clone() };
        let standing = Standing::Version(*status);
        let op = TreeOp::CreatePlaceholder { entry: entry.clone(), released, standing };
        match tree.apply(&op).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), TreeErrorKind::Conflict | TreeErrorKind::NotFound) => {
                return Fetched::Changed;
            }
            // It is lost, whether or not it says so.
            Err(error) => return Fetched::Lost(ended.because(&error, Chain(&error))),
        }
    }
    Fetched::Lost(ended)
}

/// Why an import says something about an object that it could not read.
pub(super) const ARCHIVED: &str = "its object is archived: its data can be read when it was restored in the store";
