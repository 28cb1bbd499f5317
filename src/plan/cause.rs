//! [`Cause`]: why an entry did not end as it should, for programs.

use std::fmt;

macro_rules! causes {
    ($($(#[doc = $doc:expr])+ $cause:ident = $name:literal,)+) => {
        /// Why an entry was left out, failed, is in conflict, or did not come out exactly: what a reason says in words, as
        /// one of a few dozen names.
        ///
        /// - It is as fine as the error codes of an FSx completion report need, and finer where another one is to do
        ///   something about it.
        /// - The names are stable. A name that a later version has added reads as [`Other`](Self::Other).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
        #[non_exhaustive]
        pub enum Cause {
            $($(#[doc = $doc])+ $cause,)+
            /// None of these; the reason tells.
            #[default]
            #[cfg_attr(feature = "serde", serde(other))]
            Other,
        }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$cause,)+ Self::Other];

            /// The name in documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$cause => $name,)+
                    Self::Other => "other",
                }
            }
        }
    };
}

causes! {
    /// The key of the object can be no path.
    KeyNotPosix = "key-not-posix",
    /// The key would be longer than the 1,024 bytes that S3 takes.
    KeyTooLong = "key-too-long",
    /// A part of the path is longer than the 255 bytes that a file system takes.
    NameTooLong = "name-too-long",
    /// The path is not UTF-8, so it can be no key.
    NotUtf8 = "not-utf8",
    /// The object is that of the prefix itself.
    Root = "root",
    /// The file is larger than S3 takes.
    TooLarge = "too-large",
    /// A directory stands where a file belongs or the reverse, or something else stands in the path.
    KindMismatch = "kind-mismatch",
    /// Another key has the same path.
    Shadowed = "shadowed",
    /// It is a device, pipe or socket.
    Special = "special",
    /// Another file system is mounted there.
    MountPoint = "mount-point",
    /// The name is one that imports use for themselves.
    Reserved = "reserved",
    /// No object can hold its owner.
    Unstorable = "unstorable",
    /// The target of a link is none, or too long.
    LinkTarget = "link-target",
    /// The target of a link leaves the root.
    LinkLeavesRoot = "link-leaves-root",
    /// A field of the metadata is damaged.
    MetadataDamaged = "metadata-damaged",
    /// S3 kept metadata back.
    MetadataWithheld = "metadata-withheld",
    /// Something odd about the object was put right.
    Repaired = "repaired",
    /// An attribute could not be applied.
    Shortfall = "shortfall",
    /// The store does not permit it.
    AccessDenied = "access-denied",
    /// There is no such object, or not any more.
    ObjectNotFound = "object-not-found",
    /// There is no such bucket.
    NoSuchBucket = "no-such-bucket",
    /// The bucket is in another region.
    WrongRegion = "wrong-region",
    /// The object is archived and cannot be read before it is restored.
    Archived = "archived",
    /// The object of a link is archived, so that nobody knows its target.
    ArchivedLink = "archived-link",
    /// The store asks for fewer requests.
    Throttled = "throttled",
    /// The request may succeed when it is made again.
    Transient = "transient",
    /// What arrived is not what was stored.
    Corrupt = "corrupt",
    /// The store failed in another way.
    Store = "store",
    /// The file system does not permit it.
    PermissionDenied = "permission-denied",
    /// There is no such file, or not any more.
    FileNotFound = "file-not-found",
    /// The file changed while it was read or written, or is in use.
    Busy = "busy",
    /// The file system has no room left.
    NoSpace = "no-space",
    /// The file system failed in another way.
    Tree = "tree",
    /// Both sides have changed.
    Conflict = "conflict",
    /// Somebody else changed the object at every try.
    LostRace = "lost-race",
    /// Something stands there and is kept.
    Kept = "kept",
    /// It was gone and has come back.
    CameBack = "came-back",
    /// A directory whose object is gone is not empty.
    NotEmpty = "not-empty",
    /// The budget of the run is spent.
    Budget = "budget",
    /// The directory around it could not be made or looked at.
    ParentFailed = "parent-failed",
    /// Too much would have been deleted at once.
    Braked = "braked",
    /// What was recorded cannot be believed.
    StateDistrusted = "state-distrusted",
    /// It has not been exported as it is.
    NotExported = "not-exported",
    /// It may not be released.
    NotReleasable = "not-releasable",
    /// Its rename is still on its way to the bucket.
    RenameInProgress = "rename-in-progress",
    /// The object that would have to keep the data of a file is gone or another one.
    SourceDeleted = "source-deleted",
    /// The object has the only copy of another file's data, and stays.
    OnlyCopy = "only-copy",
    /// The file has a size and no data, or zeros alone, as a copy of a placeholder has.
    Hole = "hole",
    /// The policy of the link does not take changes of this kind over by themselves.
    LeftToPolicy = "left-to-policy",
    /// It is not in what is linked.
    NotLinked = "not-linked",
    /// The data of a file was released, and its object is gone.
    ReleasedSourceGone = "released-source-gone",
}

impl Cause {
    /// Whether the same may come to another end later, without anybody changing the entry: what was busy, full, throttled or
    /// refused may not be for ever.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::AccessDenied
                | Self::NoSuchBucket
                | Self::WrongRegion
                | Self::Throttled
                | Self::Transient
                | Self::Corrupt
                | Self::Store
                | Self::PermissionDenied
                | Self::Busy
                | Self::NoSpace
                | Self::Tree
                | Self::LostRace
                | Self::ParentFailed
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_those_of_the_documents() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_string(cause).unwrap(), format!("\"{cause}\""));
        }
        let names: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
    }

    #[test]
    fn what_was_busy_is_tried_again_and_what_is_wrong_is_not() {
        for cause in [Cause::Throttled, Cause::Transient, Cause::Busy, Cause::NoSpace, Cause::LostRace] {
            assert!(cause.may_pass(), "{cause}");
        }
        for cause in [Cause::NotLinked, Cause::Hole, Cause::ReleasedSourceGone, Cause::Other] {
            assert!(!cause.may_pass(), "{cause}");
        }
    }

    #[test]
    fn a_cause_of_a_later_version_is_another_one() {
        assert_eq!(serde_json::from_str::<Cause>("\"moon-phase\"").unwrap(), Cause::Other);
    }
}
