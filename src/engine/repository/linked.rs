//! [`Linked`]: what is linked, in either form.

use crate::key::Prefix;
use crate::repository::{Association, EventTypes, FileSystemPath, Link, RepositoryPath};
use serde::{Deserialize, Serialize};

/// What is linked, and how: in the form that is made with a file system, or as one of its associations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Linked {
    /// A whole file system, linked when it was made.
    Link(Link),
    /// A directory of one.
    Association(Association),
}

impl From<Link> for Linked {
    fn from(link: Link) -> Self {
        Self::Link(link)
    }
}

impl From<Association> for Linked {
    fn from(association: Association) -> Self {
        Self::Association(association)
    }
}

impl Linked {
    /// What it is called in messages: the name of the association, or where imports come from.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Link(link) => link.import_path().without_slash(),
            Self::Association(association) => association.id().as_str(),
        }
    }

    /// Where imports come from.
    #[must_use]
    pub const fn import_path(&self) -> &RepositoryPath {
        match self {
            Self::Link(link) => link.import_path(),
            Self::Association(association) => association.data_repository_path(),
        }
    }

    /// Where exports go to.
    #[must_use]
    pub const fn export_path(&self) -> &RepositoryPath {
        match self {
            Self::Link(link) => link.export_path(),
            Self::Association(association) => association.data_repository_path(),
        }
    }

    /// What is linked, from the root of the file system.
    #[must_use]
    pub const fn directory(&self) -> &FileSystemPath {
        match self {
            Self::Link(link) => link.import().directory(),
            Self::Association(association) => association.file_system_path(),
        }
    }

    /// The part of the bucket that is imported.
    #[must_use]
    pub const fn import_prefix(&self) -> &Prefix {
        self.import_path().prefix()
    }

    /// The part of the bucket that is exported to.
    #[must_use]
    pub const fn export_prefix(&self) -> &Prefix {
        self.export_path().prefix()
    }

    /// Whether the other one links the same directory to the same part of a bucket.
    pub(super) fn is_of_the_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(link), Self::Link(other)) => {
                (link.import_path(), link.export_path()) == (other.import_path(), other.export_path())
            }
            (Self::Association(one), Self::Association(other)) => {
                one.id() == other.id() && one.mapping() == other.mapping()
            }
            (Self::Link(_), Self::Association(_)) | (Self::Association(_), Self::Link(_)) => false,
        }
    }

    /// What is imported by itself.
    #[must_use]
    pub const fn auto_import(&self) -> EventTypes {
        match self {
            Self::Link(link) => link.auto_import_policy().events(),
            Self::Association(association) => association.auto_import(),
        }
    }

    /// What is exported by itself; nothing, of a link made with its file system.
    #[must_use]
    pub const fn auto_export(&self) -> EventTypes {
        match self {
            Self::Link(_) => EventTypes::NONE,
            Self::Association(association) => association.auto_export(),
        }
    }
}
