//! The record of the last agreement: per key, what a tree and a bucket held when both sides last agreed.
//!
//! A [`Record`] says what the inode was and what the object was. What differs from it in the tree is to be exported, what
//! differs from it in the bucket is to be imported. A snapshot is a file of records in key order; its format is on the
//! page [`docs::snapshot`](crate::docs::snapshot).

mod blocks;
mod compare;
mod cursor;
mod error;
mod format;
mod index;
mod overlay;
mod reader;
mod row;
mod rows;
mod stream;
mod writer;

pub use compare::{Difference, compare};
pub use error::{Damage, Part, RowFault, SnapshotError};
#[cfg(feature = "local")]
pub(crate) use format::MAGIC;
pub use format::{Header, Identity};
pub use overlay::{Edit, overlay};
pub use reader::SnapshotReader;
pub use rows::Rows;
pub use stream::SnapshotStream;
pub use writer::SnapshotWriter;

use crate::etag::ETag;
use crate::key::Key;
use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::owner::{Gid, Uid};
use crate::status::Status;
use crate::timestamp::Timestamp;

/// What both sides last agreed on about one key.
///
/// - Without `local`, nothing of this name was in the tree; without `remote`, no object of this key was in the bucket.
/// - Without both, the name was in the tree and nothing of it was ever exported: a name to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Record {
    /// The key relative to the link's prefix.
    pub key: Key,
    /// What the tree held.
    pub local: Option<Local>,
    /// What the bucket held.
    pub remote: Option<Remote>,
}

/// What an inode was, as far as it is compared. The access time is no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Local {
    /// What it was: a file, directory or link.
    pub file_type: FileType,
    /// How many bytes its object has; see [`Status::size`].
    pub size: u64,
    /// The permissions, before a profile dropped any bit.
    pub permissions: Permissions,
    /// The owner.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When the inode last changed.
    pub ctime: Timestamp,
    /// The number of the inode.
    pub inode: u64,
    /// Whether its times tell that it has not changed since.
    pub age: Age,
    /// Of a directory, whether every name in it has a record. Of anything else [`Names::Unknown`].
    pub names: Names,
}

/// Whether the times of something can be trusted to tell a later change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Age {
    /// It was old enough when it was looked at: whatever changes it later gives it another time.
    Settled,
    /// It was so fresh that a later change may have left it the same time.
    Racy,
}

/// Whether the names in a directory are those that have a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Names {
    /// All of them have one: as long as the directory is as it was, it need not be read.
    Recorded,
    /// Not known.
    Unknown,
}

/// What an object was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Remote {
    /// The version of its bytes.
    pub etag: ETag,
    /// How many bytes it had.
    pub size: u64,
    /// When it was last put or its metadata replaced, if the store has said so.
    pub last_modified: Option<Timestamp>,
    /// The XXH3 of its body, all 128 bits in canonical order, where that is known and the `ETag` does not tell the MD5.
    pub xxh3: Option<[u8; 16]>,
    /// Whether its Last-Modified tells that it has not changed since.
    pub age: Age,
}

impl Local {
    /// What is recorded of an inode.
    #[must_use]
    pub const fn new(status: &Status, age: Age) -> Self {
        let Attributes { permissions, uid, gid, mtime, .. } = status.attributes;
        let Status { file_type, size, ctime, inode, .. } = *status;
        Self { file_type, size, permissions, uid, gid, mtime, ctime, inode, age, names: Names::Unknown }
    }

    /// Whether an inode is as it was recorded, by all that is recorded of it. For one that was racy this proves nothing
    /// about its content.
    #[must_use]
    pub fn agrees(&self, status: &Status) -> bool {
        *self == Self { age: self.age, names: self.names, ..Self::new(status, Age::Settled) }
    }
}

impl Remote {
    /// The digest of the object's body: the one recorded, else the one that the `ETag` may be.
    #[must_use]
    pub fn body_digest(&self) -> Option<BodyDigest> {
        self.xxh3.map(BodyDigest::Xxh3).or_else(|| self.etag.md5().map(BodyDigest::Md5))
    }
}

/// A digest of the bytes of an object. Either tells bytes apart that nobody has made to be alike. Whoever may write to a file can
/// make other bytes of the same XXH3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyDigest {
    /// The one that S3 has as `ETag`.
    Md5([u8; 16]),
    /// The one that is recorded where the `ETag` is none: 128 bits in canonical order, without a seed or a secret.
    Xxh3([u8; 16]),
}
