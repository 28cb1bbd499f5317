//! [`ObjectEvent`]: something that happened to an object of the bucket, as S3 tells of it.

mod backlog;
mod message;
mod sequencer;
mod stream;

pub use backlog::{Backlog, BacklogCounts, InvalidBacklog, Overdue};
pub use message::{InvalidMessage, MessageFault, MessagePosition, Notice, read_message};
pub use sequencer::{InvalidSequencer, Sequencer};
pub use stream::{MessageStream, StreamError};

use crate::etag::ETag;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that happened to an object.
///
/// Events come at least once, usually within seconds, in no order; some do not come at all. So an event is taken as a hint
/// only: *look at this key now*. What has become of the object is asked of the bucket.
///
/// # What no event tells of
///
/// The subscription of FSx is to `s3:ObjectCreated:*` and `s3:ObjectRemoved:*`. Its user guide names what does not come
/// through that: what lifecycle rules expire, the permanent deletion of the current version in a bucket with versions, and
/// taking a deletion back there. Of these,
///
/// - an expiration is heard of if [`SUBSCRIPTION`](Self::SUBSCRIPTION) is subscribed to, which names its events too;
/// - a permanent deletion that comes as `ObjectRemoved:Delete` is no harm: the key is looked at, and whatever version is
///   the current one now is imported;
/// - of a deletion that was taken back S3 documents no event. The object is imported when its key is next heard of, or by a
///   [`sweep`](crate::engine::sweep).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ObjectEvent {
    /// The name of the bucket.
    pub bucket: Box<str>,
    /// The whole key, decoded.
    pub key: Box<str>,
    /// What happened.
    pub kind: EventKind,
    /// What happened, as it was found: `ObjectCreated:Put`, or `Object Created` from `EventBridge`.
    pub name: Box<str>,
    /// Which of two events of one key is the later one. Only what puts or deletes has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequencer: Option<Sequencer>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// The size of the object in bytes, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The version of its bytes, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// The version of the object in a bucket with versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<Box<str>>,
}

impl ObjectEvent {
    /// What to subscribe to, as the notification configuration of a bucket names it. The first two are those of FSx.
    pub const SUBSCRIPTION: [&'static str; 4] =
        ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*", "s3:ObjectRestore:Completed"];
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventKind {
    /// It was put, whether there was one before or not.
    Created(Creation),
    /// It was deleted.
    Removed(Removal),
    /// A lifecycle rule has deleted it.
    LifecycleExpiration(Removal),
    /// It is fetched from an archive, or its copy has gone again.
    Restore(Restoration),
    /// It was moved to another storage class or access tier.
    StorageClass,
    /// Its access control list was set.
    Acl,
    /// Its tags were set or removed.
    Tagging,
    /// Something about its replication.
    Replication,
    /// A copy of reduced redundancy was lost.
    ReducedRedundancyLost,
    /// Something that this version does not know; [`ObjectEvent::name`] says what.
    Other,
}

impl EventKind {
    /// Whether the object may be another now. What is not known may have changed it.
    #[must_use]
    pub const fn is_a_change(self) -> bool {
        match self {
            Self::Created(_) | Self::Removed(_) | Self::LifecycleExpiration(_) | Self::Restore(_) | Self::Other => true,
            Self::StorageClass | Self::Acl | Self::Tagging | Self::Replication | Self::ReducedRedundancyLost => false,
        }
    }

    /// From the name in a record of S3, such as `ObjectCreated:Put`. Some servers write `s3:` before it.
    fn of_name(name: &str) -> Self {
        let name = name.strip_prefix("s3:").unwrap_or(name);
        let (group, detail) = name.split_once(':').unwrap_or((name, ""));
        match group {
            "ObjectCreated" => Self::Created(match detail {
                "Put" => Creation::Put,
                "Post" => Creation::Post,
                "Copy" => Creation::Copy,
                "CompleteMultipartUpload" => Creation::CompleteMultipartUpload,
                _ => Creation::Other,
            }),
            "ObjectRemoved" => Self::Removed(Removal::of(detail)),
            "LifecycleExpiration" => Self::LifecycleExpiration(Removal::of(detail)),
            "ObjectRestore" => Self::Restore(match detail {
                "Post" => Restoration::Post,
                "Completed" => Restoration::Completed,
                "Delete" => Restoration::Delete,
                _ => Restoration::Other,
            }),
            "LifecycleTransition" | "IntelligentTiering" => Self::StorageClass,
            "ObjectAcl" => Self::Acl,
            "ObjectTagging" => Self::Tagging,
            "Replication" => Self::Replication,
            "ReducedRedundancyLostObject" => Self::ReducedRedundancyLost,
            _ => Self::Other,
        }
    }

    /// From the `detail-type` of an event of `EventBridge`, and what its detail says of the reason.
    fn of_detail(detail_type: &str, reason: &str, deletion_type: &str) -> Self {
        match detail_type {
            "Object Created" => Self::Created(match reason {
                "PutObject" => Creation::Put,
                "POST Object" => Creation::Post,
                "CopyObject" => Creation::Copy,
                "CompleteMultipartUpload" => Creation::CompleteMultipartUpload,
                _ => Creation::Other,
            }),
            "Object Deleted" => {
                let removal = match deletion_type {
                    "Permanently Deleted" => Removal::Delete,
                    "Delete Marker Created" => Removal::DeleteMarkerCreated,
                    _ => Removal::Other,
                };
                match reason {
                    "Lifecycle Expiration" => Self::LifecycleExpiration(removal),
                    _ => Self::Removed(removal),
                }
            }
            "Object Restore Initiated" => Self::Restore(Restoration::Post),
            "Object Restore Completed" => Self::Restore(Restoration::Completed),
            "Object Restore Expired" => Self::Restore(Restoration::Delete),
            "Object Storage Class Changed" | "Object Access Tier Changed" => Self::StorageClass,
            "Object ACL Updated" => Self::Acl,
            "Object Tags Added" | "Object Tags Deleted" => Self::Tagging,
            _ => Self::Other,
        }
    }
}

/// How an object was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Creation {
    /// In one piece.
    Put,
    /// From a form.
    Post,
    /// As a copy, also of itself with other metadata.
    Copy,
    /// In parts.
    CompleteMultipartUpload,
    /// In a way that this version does not know.
    Other,
}

/// How an object was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Removal {
    /// The object; in a bucket with versions one of them, for good.
    Delete,
    /// A marker says that it is deleted, and its versions are kept.
    DeleteMarkerCreated,
    /// In a way that this version does not know.
    Other,
}

impl Removal {
    fn of(detail: &str) -> Self {
        match detail {
            "Delete" => Self::Delete,
            "DeleteMarkerCreated" => Self::DeleteMarkerCreated,
            _ => Self::Other,
        }
    }
}

/// What became of a copy from an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Restoration {
    /// It was asked for.
    Post,
    /// It is there, and the object can be read.
    Completed,
    /// Its time is over.
    Delete,
    /// Something that this version does not know.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_name_of_the_api_is_known() {
        for (name, kind) in [
            ("ReducedRedundancyLostObject", EventKind::ReducedRedundancyLost),
            ("ObjectCreated:Put", EventKind::Created(Creation::Put)),
            ("s3:ObjectCreated:Post", EventKind::Created(Creation::Post)),
            ("ObjectCreated:Copy", EventKind::Created(Creation::Copy)),
            ("ObjectCreated:CompleteMultipartUpload", EventKind::Created(Creation::CompleteMultipartUpload)),
            ("ObjectCreated:Teleport", EventKind::Created(Creation::Other)),
            ("ObjectRemoved:Delete", EventKind::Removed(Removal::Delete)),
            ("ObjectRemoved:DeleteMarkerCreated", EventKind::Removed(Removal::DeleteMarkerCreated)),
            ("ObjectRestore:Post", EventKind::Restore(Restoration::Post)),
            ("ObjectRestore:Completed", EventKind::Restore(Restoration::Completed)),
            ("ObjectRestore:Delete", EventKind::Restore(Restoration::Delete)),
            ("Replication:OperationNotTracked", EventKind::Replication),
            ("LifecycleTransition", EventKind::StorageClass),
            ("IntelligentTiering", EventKind::StorageClass),
            ("ObjectAcl:Put", EventKind::Acl),
            ("LifecycleExpiration:Delete", EventKind::LifecycleExpiration(Removal::Delete)),
            ("LifecycleExpiration:DeleteMarkerCreated", EventKind::LifecycleExpiration(Removal::DeleteMarkerCreated)),
            ("ObjectTagging:Put", EventKind::Tagging),
            ("ObjectTagging:Delete", EventKind::Tagging),
            ("ObjectDreamed:Of", EventKind::Other),
        ] {
            assert_eq!(EventKind::of_name(name), kind, "{name}");
        }
        assert!(EventKind::Other.is_a_change() && !EventKind::Tagging.is_a_change());
    }
}
