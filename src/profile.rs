//! [`Profile`]: the named choices where services, editions and attitudes differ.

use crate::budget::Budget;
use crate::content_type::ContentTypes;
use crate::mode::{FileType, Permissions};
use crate::owner::{Gid, Uid};
use crate::symlink::SymlinkTarget;
use http::HeaderValue;

/// The choices of the mapping that are not the same everywhere.
///
/// It is made by [`Profile::new`] from a service and an attitude, both of which have to be named; single choices can be
/// changed afterwards. There is no default: whoever imports says whether the bucket is trusted.
///
/// ```
/// use posix_s3::{Attitude, Profile, Service};
///
/// let profile = Profile::new(Service::DataSync, Attitude::Untrusted);
/// assert_eq!(profile.defaults.uid.get(), 65534);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// Whose rules these are.
    pub service: Service,
    /// Whether the bucket is trusted.
    pub attitude: Attitude,
    /// What an object without metadata gets.
    pub defaults: Defaults,
    /// Which set-id bits are dropped, on export and on import.
    pub set_id: SetId,
    /// What happens when `a` and `a/…` both exist.
    pub clash: Clash,
    /// What happens to an object with a damaged field.
    pub damage: Damage,
    /// Which link targets are made.
    pub link_targets: LinkTargets,
    /// How much one run of an import takes.
    pub budget: Budget,
    /// The longest link target that is taken, in bytes, at most [`SymlinkTarget::MAX_BYTES`].
    pub link_target_bytes: usize,
    /// Whether an export writes the access time.
    pub atime: Atime,
    /// The value of `x-amz-meta-user-agent` on export; never looked at on import.
    pub user_agent: HeaderValue,
    /// The `Content-Type` on export.
    pub content_types: ContentTypes,
}

/// A service that keeps POSIX metadata by this schema, or an edition of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Service {
    /// FSx for Lustre and File Cache as documented until 2021: neither set-id bit is kept. The rules of this crate
    /// where nothing else is said.
    Fsx2020,
    /// FSx for Lustre as documented in 2022: only setuid is dropped.
    Fsx2022,
    /// FSx for Lustre as documented in 2026; the mapping is that of 2022.
    Fsx2026,
    /// S3 Files: files without metadata are 0644, link targets end at 4,080 bytes, no access time is written.
    S3Files,
    /// DataSync with an S3 source: objects without metadata belong to 65534.
    DataSync,
    /// S3 File Gateway: objects without metadata belong to nobody, with 0666 and 0777.
    FileGateway,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 6] =
        [Self::Fsx2020, Self::Fsx2022, Self::Fsx2026, Self::S3Files, Self::DataSync, Self::FileGateway];

    /// The name in vectors and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fsx2020 => "fsx-2020",
            Self::Fsx2022 => "fsx-2022",
            Self::Fsx2026 => "fsx-2026",
            Self::S3Files => "s3-files",
            Self::DataSync => "datasync",
            Self::FileGateway => "file-gateway",
        }
    }
}

/// Whether the bucket is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Attitude {
    /// As FSx does: link targets are kept verbatim, a damaged field falls back by itself.
    Fsx,
    /// Strangers write to the bucket: link targets that leave the root are refused, and so is an object with a
    /// damaged field; no set-id bit is ever applied, and a run takes no more than [`Budget::UNTRUSTED`].
    Untrusted,
}

/// What an object without metadata gets. Each field falls back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The permissions of a file or link.
    pub file: Permissions,
    /// The permissions of a directory, also of one that has no object of its own.
    pub directory: Permissions,
    /// The owner.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
}

impl Defaults {
    /// The permissions for a type.
    #[must_use]
    pub const fn permissions(&self, file_type: FileType) -> Permissions {
        match file_type {
            FileType::Directory => self.directory,
            _ => self.file,
        }
    }
}

/// Which set-id bits are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetId {
    /// setuid and setgid.
    DropBoth,
    /// setuid only; setgid is written and applied.
    DropSetUid,
}

/// What happens when a file or link `a` and a directory `a/…` both exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clash {
    /// The directory is made, the file is reported.
    DirectoryWins,
    /// Whichever comes first in key order is made, which is the file; everything below the directory is reported.
    FirstWins,
}

/// What happens to an object with a damaged field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// The field falls back as if it were absent, and the report says so.
    FallBack,
    /// The object is refused.
    Refuse,
}

/// Which link targets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkTargets {
    /// Any, verbatim. No link is ever followed or written through.
    Any,
    /// Only those that stay below the root; see [`SymlinkTarget::leaves_root`].
    WithinRoot,
}

/// Whether an export writes the access time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Atime {
    /// Written.
    Written,
    /// Left out; an import then takes mtime for it.
    LeftOut,
}

impl Profile {
    /// The choices of a service under an attitude.
    #[must_use]
    pub fn new(service: Service, attitude: Attitude) -> Self {
        let (file, directory, uid, gid) = match service {
            Service::Fsx2020 | Service::Fsx2022 | Service::Fsx2026 => (0o755, 0o755, Uid::ROOT, Gid::ROOT),
            Service::S3Files => (0o644, 0o755, Uid::ROOT, Gid::ROOT),
            Service::DataSync => (0o755, 0o755, Uid::NOBODY, Gid::NOBODY),
            Service::FileGateway => (0o666, 0o777, Uid::NOBODY, Gid::NOBODY),
        };
        let user_agent = match service {
            Service::Fsx2020 | Service::Fsx2022 | Service::Fsx2026 => "aws-fsx-lustre",
            Service::S3Files => "aws-s3-files",
            Service::DataSync => "aws-datasync",
            Service::FileGateway => "aws-storage-gateway",
        };
        Self {
            service,
            attitude,
            defaults: Defaults {
                file: Permissions::from_mode(file),
                directory: Permissions::from_mode(directory),
                uid,
                gid,
            },
            set_id: match (service, attitude) {
                (Service::Fsx2022 | Service::Fsx2026, Attitude::Fsx) => SetId::DropSetUid,
                // Strangers give no privilege, whatever the edition.
                _ => SetId::DropBoth,
            },
            clash: Clash::DirectoryWins,
            damage: match attitude {
                Attitude::Fsx => Damage::FallBack,
                Attitude::Untrusted => Damage::Refuse,
            },
            link_targets: match attitude {
                Attitude::Fsx => LinkTargets::Any,
                Attitude::Untrusted => LinkTargets::WithinRoot,
            },
            budget: match attitude {
                Attitude::Fsx => Budget::UNLIMITED,
                Attitude::Untrusted => Budget::UNTRUSTED,
            },
            link_target_bytes: match service {
                Service::S3Files => 4080,
                _ => SymlinkTarget::MAX_BYTES,
            },
            atime: match service {
                Service::S3Files => Atime::LeftOut,
                _ => Atime::Written,
            },
            user_agent: HeaderValue::from_static(user_agent),
            content_types: ContentTypes::default(),
        }
    }

    /// The rules of FSx for Lustre, with its trust in the bucket.
    #[must_use]
    pub fn fsx() -> Self {
        Self::new(Service::Fsx2020, Attitude::Fsx)
    }

    /// The rules of FSx for Lustre, for a bucket that strangers write to.
    #[must_use]
    pub fn untrusted() -> Self {
        Self::new(Service::Fsx2020, Attitude::Untrusted)
    }

    /// The permissions that are stored and applied for a type: without the set-id bits that the profile drops, and
    /// with the sticky bit on directories only.
    ///
    /// ```
    /// use posix_s3::{FileType, Permissions, Profile};
    ///
    /// let all = Permissions::from_mode(0o7777);
    /// assert_eq!(Profile::fsx().permissions(FileType::File, all).bits(), 0o777);
    /// assert_eq!(Profile::fsx().permissions(FileType::Directory, all).bits(), 0o1777);
    /// ```
    #[must_use]
    pub const fn permissions(&self, file_type: FileType, permissions: Permissions) -> Permissions {
        let permissions = match self.set_id {
            SetId::DropBoth => permissions.without(Permissions::SET_UID | Permissions::SET_GID),
            SetId::DropSetUid => permissions.without(Permissions::SET_UID),
        };
        match file_type {
            FileType::Directory => permissions,
            _ => permissions.without(Permissions::STICKY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editions_differ_in_the_set_id_rule() {
        let bits = |service, file_type| {
            Profile::new(service, Attitude::Fsx).permissions(file_type, Permissions::from_mode(0o7777)).bits()
        };
        assert_eq!(bits(Service::Fsx2020, FileType::File), 0o0777);
        assert_eq!(bits(Service::Fsx2022, FileType::File), 0o2777);
        assert_eq!(bits(Service::Fsx2026, FileType::Directory), 0o3777);
    }

    #[test]
    fn defaults_of_the_services() {
        let defaults = |service| {
            let defaults = Profile::new(service, Attitude::Fsx).defaults;
            (defaults.uid.get(), defaults.gid.get(), defaults.file.bits(), defaults.directory.bits())
        };
        assert_eq!(defaults(Service::Fsx2020), (0, 0, 0o755, 0o755));
        assert_eq!(defaults(Service::S3Files), (0, 0, 0o644, 0o755));
        assert_eq!(defaults(Service::DataSync), (65534, 65534, 0o755, 0o755));
        assert_eq!(defaults(Service::FileGateway), (65534, 65534, 0o666, 0o777));
    }
}
