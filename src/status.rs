//! [`Status`]: what a file system says about an inode.

use crate::metadata::Attributes;
use crate::mode::FileType;
use crate::timestamp::Timestamp;

/// What a file system says about a file, directory or link without reading it: its type, size and attributes, and what
/// tells one version of it from another.
///
/// - A change of the content or of any attribute but the access time shows in at least one field, if the file system's
///   clock has moved since the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Status {
    /// What it is.
    pub file_type: FileType,
    /// How many bytes its object has: of a file its length, of a link the length of its target, of a directory 0.
    pub size: u64,
    /// Owner, permissions and times.
    pub attributes: Attributes,
    /// The number of the inode.
    pub inode: u64,
    /// When the inode was last changed in any way.
    pub ctime: Timestamp,
    /// How many names the inode has.
    pub links: u64,
}

impl Status {
    /// Whether this is the same version of the same inode as `other`: everything but the access time is equal.
    #[must_use]
    pub fn is_same_version(&self, other: &Self) -> bool {
        let attributes = Attributes { atime: other.attributes.atime, ..self.attributes };
        Self { attributes, ..*self } == *other
    }
}
