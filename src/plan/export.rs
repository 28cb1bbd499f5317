//! From a change in the tree to what is done in the bucket.

use super::change::{Change, Data};
use crate::entry::{Entry, EntryKind};
use crate::key::{InvalidKey, Prefix};
use crate::profile::Profile;
use crate::symlink::{InvalidTarget, SymlinkTarget};
use http::HeaderMap;
use thiserror::Error;

/// The largest object that S3 holds, in bytes: 5 TiB.
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// What is to be done in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreOp {
    /// An object is put.
    Put {
        /// Its whole key.
        object_key: String,
        /// Its headers.
        headers: HeaderMap,
        /// Where its body comes from.
        payload: Payload,
    },
}

/// What is done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Step {
    /// The object is put, body and headers.
    Put,
    /// The headers are replaced in place; the body is not sent again. On an import, only the attributes are set.
    ReplaceMetadata,
    /// On an import, the file, link or directory is written.
    Write,
    /// The object is deleted, or on an import the file, if deletes are wanted.
    Delete,
    /// Nothing.
    Nothing,
}

impl Step {
    /// The name in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Write => "write",
            Self::ReplaceMetadata => "metadata",
            Self::Delete => "delete",
            Self::Nothing => "nothing",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How a store changes the headers of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetadataChange {
    /// In place.
    InPlace,
    /// Only with the body.
    ByPut,
}

/// What a change in the tree takes, when the bucket holds what is recorded of it, if anything is.
///
/// Content that is still in doubt is sent.
///
/// ```
/// use posix_s3::plan::{Change, MetadataChange, Step, step};
///
/// assert_eq!(step(&Change::New, MetadataChange::InPlace), Step::Put);
/// assert_eq!(step(&Change::Gone, MetadataChange::InPlace), Step::Delete);
/// assert_eq!(step(&Change::Unknown, MetadataChange::InPlace), Step::Nothing); // unknown is not gone
/// ```
#[must_use]
pub fn step(change: &Change, metadata: MetadataChange) -> Step {
    match change {
        Change::New | Change::Kind { .. } => Step::Put,
        Change::Gone => Step::Delete,
        Change::Unknown => Step::Nothing,
        Change::Same { data: Data::Size { .. } | Data::Differs(_) | Data::Doubtful(_), .. } => Step::Put,
        Change::Same { attributes, .. } if attributes.is_empty() => Step::Nothing,
        Change::Same { .. } if metadata == MetadataChange::InPlace => Step::ReplaceMetadata,
        Change::Same { .. } => Step::Put,
    }
}

/// Where the body of an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is none: a directory.
    Empty,
    /// The text of a link.
    Target(SymlinkTarget),
    /// The bytes of the file at the entry's key.
    File {
        /// How many there are.
        size: u64,
    },
}

/// Why an entry is not exported.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExportRefusal {
    /// Prefix and key are longer than S3 takes.
    #[error("the object's key would be too long")]
    Key(#[from] InvalidKey),
    /// The link's target is longer than the profile takes.
    #[error("the link cannot be stored")]
    Target(#[from] InvalidTarget),
    /// The file is larger than S3 takes.
    #[error("expected a file of at most {MAX_OBJECT_BYTES} bytes, found {size}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
}

/// What putting an entry into the bucket takes.
///
/// # Errors
/// [`ExportRefusal`] when S3 or the profile cannot hold it.
pub fn put(entry: &Entry, prefix: &Prefix, profile: &Profile) -> Result<StoreOp, ExportRefusal> {
    let object_key = prefix.object_key(entry.key())?;
    let payload = match entry.kind() {
        EntryKind::Directory => Payload::Empty,
        EntryKind::Symlink { target } => {
            let most = profile.link_target_bytes;
            if target.size() > most as u64 {
                return Err(InvalidTarget::TooLong { bytes: target.size(), most }.into());
            }
            Payload::Target(target.clone())
        }
        EntryKind::File { size } if *size > MAX_OBJECT_BYTES => return Err(ExportRefusal::TooLarge { size: *size }),
        EntryKind::File { size } => Payload::File { size: *size },
    };
    Ok(StoreOp::Put { object_key, headers: entry.encode(profile), payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Attributes;
    use crate::mode::Permissions;
    use crate::owner::{Gid, Uid};
    use crate::plan::{ChangedAttributes, Doubt};
    use crate::profile::{Attitude, Service};
    use crate::timestamp::Timestamp;

    fn put_kind(key: &str, kind: EntryKind) -> Result<StoreOp, ExportRefusal> {
        let (permissions, time) = (Permissions::from_mode(0o755), Timestamp::EPOCH);
        let attributes = Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time };
        let entry = Entry::new(key.parse().unwrap(), kind, attributes).unwrap();
        put(&entry, &"p/".parse().unwrap(), &Profile::new(Service::S3Files, Attitude::Fsx))
    }

    #[test]
    fn what_the_store_cannot_hold_is_refused_and_not_sent() {
        let file = |size| put_kind("f", EntryKind::File { size });
        assert_eq!(MAX_OBJECT_BYTES, 5_497_558_138_880);
        let StoreOp::Put { object_key, payload, .. } = file(MAX_OBJECT_BYTES).unwrap();
        assert_eq!((object_key.as_str(), payload), ("p/f", Payload::File { size: MAX_OBJECT_BYTES }));
        let size = MAX_OBJECT_BYTES + 1;
        assert_eq!(file(size).unwrap_err(), ExportRefusal::TooLarge { size });
        let link =
            |bytes| put_kind("l", EntryKind::Symlink { target: SymlinkTarget::parse(&vec![b'x'; bytes]).unwrap() });
        assert!(link(4080).is_ok());
        let most = 4080;
        assert_eq!(link(4081).unwrap_err(), InvalidTarget::TooLong { bytes: 4081, most }.into());
        let StoreOp::Put { payload, .. } = put_kind("d/", EntryKind::Directory).unwrap();
        assert_eq!(payload, Payload::Empty);
    }

    #[test]
    fn a_body_is_sent_when_it_may_have_changed_and_headers_alone_when_only_they_did() {
        let mtime = ChangedAttributes { mtime: true, ..ChangedAttributes::default() };
        let same = |data, attributes| {
            let change = Change::Same { data, attributes };
            (step(&change, MetadataChange::InPlace), step(&change, MetadataChange::ByPut))
        };
        for data in [Data::Same, Data::Compared(Doubt::Mtime)] {
            assert_eq!(same(data, ChangedAttributes::default()), (Step::Nothing, Step::Nothing));
            assert_eq!(same(data, mtime), (Step::ReplaceMetadata, Step::Put));
        }
        for data in [Data::Size { was: 1, now: 2 }, Data::Doubtful(Doubt::Racy), Data::Differs(Doubt::Ctime)] {
            assert_eq!(same(data, ChangedAttributes::default()), (Step::Put, Step::Put));
        }
    }

    #[test]
    fn every_step_has_its_name_in_plans() {
        let steps = [Step::Put, Step::Write, Step::ReplaceMetadata, Step::Delete, Step::Nothing];
        assert_eq!(steps.map(Step::name), ["put", "write", "metadata", "delete", "nothing"]);
        assert_eq!(format!("{:>8}|", Step::Put), "     put|");
    }
}
