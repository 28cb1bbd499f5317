//! [`Change`]: what has become of a name in the tree since the last agreement.

use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::profile::Profile;
use crate::snapshot::{Age, Local};
use crate::status::Status;
use std::fmt;

/// What has become of a name in the tree since the last agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Nothing is recorded of it.
    New,
    /// It is not in the tree any more.
    Gone,
    /// It could not be looked at, so that nothing is known of it.
    Unknown,
    /// It was something of another type.
    Kind {
        /// What it was.
        was: FileType,
        /// What it is.
        now: FileType,
    },
    /// It is what it was, with these differences.
    Same {
        /// Its content.
        data: Data,
        /// Its attributes, as far as they are stored.
        attributes: ChangedAttributes,
    },
}

/// What is known of the content of something whose type has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Data {
    /// It is as it was: nothing but a write moves the times that are recorded, and they have not moved.
    Same,
    /// Its size changed.
    Size {
        /// How many bytes it had.
        was: u64,
        /// How many it has.
        now: u64,
    },
    /// Its size is as it was and something else is not: only the content itself can tell.
    Doubtful(Doubt),
    /// It was compared, and it is another.
    Differs(Doubt),
    /// It was compared, and it is the same.
    Compared(Doubt),
}

/// Why the content has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// It was written, or its mtime was set.
    Mtime,
    /// It is another inode of this name.
    Inode,
    /// Its inode was changed and its mtime was not: an attribute, a name of it, or a write with the mtime put back.
    Ctime,
    /// When it was recorded it was so fresh that a later change may have left the times as they are.
    Racy,
}

/// The attributes that changed, each with the value that it had and the one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChangedAttributes {
    /// The permissions that are stored.
    pub permissions: Option<(Permissions, Permissions)>,
    /// The owner.
    pub uid: Option<(u32, u32)>,
    /// The group.
    pub gid: Option<(u32, u32)>,
    /// The time of the content.
    pub mtime: bool,
}

impl ChangedAttributes {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Change {
    /// Compares an inode with what is recorded of it.
    ///
    /// - The access time is not compared.
    /// - Attributes are compared as the profile stores them: a bit that it drops is no change.
    /// - The content of a directory is none.
    ///
    /// ```
    /// use posix_s3::plan::{Change, Data, Doubt};
    /// use posix_s3::snapshot::{Age, Local};
    /// use posix_s3::{Attributes, FileType, Gid, Permissions, Profile, Status, Timestamp, Uid};
    ///
    /// let (time, mode) = (Timestamp::EPOCH, Permissions::from_mode(0o644));
    /// let attributes = Attributes { permissions: mode, uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time };
    /// let before = Status { file_type: FileType::File, size: 5, attributes, inode: 1, ctime: time, links: 1 };
    /// let recorded = Local::new(&before, Age::Settled);
    ///
    /// let later = Timestamp::from_unix(1, 0).unwrap();
    /// let touched = Status { ctime: later, attributes: Attributes { mtime: later, ..attributes }, ..before };
    /// let Change::Same { data, attributes } = Change::of(&recorded, &touched, &Profile::fsx()) else { unreachable!() };
    /// assert_eq!(data, Data::Doubtful(Doubt::Mtime)); // written with as many bytes, or only touched
    /// assert!(attributes.mtime);
    /// ```
    #[must_use]
    pub fn of(recorded: &Local, now: &Status, profile: &Profile) -> Self {
        if recorded.file_type != now.file_type {
            return Self::Kind { was: recorded.file_type, now: now.file_type };
        }
        let Attributes { permissions, uid, gid, mtime, .. } = now.attributes;
        let stored = |permissions| profile.permissions(now.file_type, permissions);
        let (was, is) = (stored(recorded.permissions), stored(permissions));
        let attributes = ChangedAttributes {
            permissions: (was != is).then_some((was, is)),
            uid: (recorded.uid != uid).then_some((recorded.uid.get(), uid.get())),
            gid: (recorded.gid != gid).then_some((recorded.gid.get(), gid.get())),
            mtime: recorded.mtime != mtime,
        };
        let data = if now.file_type == FileType::Directory {
            Data::Same
        } else if recorded.size != now.size {
            Data::Size { was: recorded.size, now: now.size }
        } else if recorded.mtime != mtime {
            Data::Doubtful(Doubt::Mtime)
        } else if recorded.inode != now.inode {
            Data::Doubtful(Doubt::Inode)
        } else if recorded.ctime != now.ctime {
            Data::Doubtful(Doubt::Ctime)
        } else if recorded.age == Age::Racy {
            Data::Doubtful(Doubt::Racy)
        } else {
            Data::Same
        };
        Self::Same { data, attributes }
    }

    /// Why the content has to be compared before anything can be decided; `None` when nothing depends on it.
    #[must_use]
    pub const fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Same { data: Data::Doubtful(doubt), .. } => Some(*doubt),
            _ => None,
        }
    }

    /// The same change, with what a look at the content has told.
    #[must_use]
    pub fn compared(self, same: bool) -> Self {
        match self {
            Self::Same { data: Data::Doubtful(doubt), attributes } => {
                let data = if same { Data::Compared(doubt) } else { Data::Differs(doubt) };
                Self::Same { data, attributes }
            }
            other => other,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Gone => f.write_str("gone from the tree"),
            Self::Unknown => f.write_str("it could not be looked at"),
            Self::Kind { was, now } => write!(f, "it was a {was} and is a {now}"),
            Self::Same { data, attributes } => {
                let mut parts = Vec::new();
                match data {
                    Data::Same | Data::Compared(_) => {}
                    Data::Size { was, now } => parts.push(format!("size {was} -> {now}")),
                    Data::Differs(_) => parts.push("other content of the same size".to_owned()),
                    Data::Doubtful(doubt) => parts.push(format!("perhaps other content: {doubt}")),
                }
                if let Some((was, now)) = attributes.permissions {
                    parts.push(format!("permissions {was} -> {now}"));
                }
                if let Some((was, now)) = attributes.uid {
                    parts.push(format!("owner {was} -> {now}"));
                }
                if let Some((was, now)) = attributes.gid {
                    parts.push(format!("group {was} -> {now}"));
                }
                if attributes.mtime {
                    parts.push("mtime".to_owned());
                }
                if parts.is_empty() {
                    parts.push("nothing that is stored".to_owned());
                }
                f.write_str(&parts.join(", "))
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mtime => "its mtime moved",
            Self::Inode => "another inode has the name",
            Self::Ctime => "its ctime moved and its mtime did not",
            Self::Racy => "it was too fresh for its times to tell",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::{Gid, Uid};
    use crate::timestamp::Timestamp;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0).unwrap()
    }

    fn status() -> Status {
        let permissions = Permissions::from_mode(0o644);
        let attributes = Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: time(1), mtime: time(1) };
        Status { file_type: FileType::File, size: 5, attributes, inode: 7, ctime: time(2), links: 1 }
    }

    fn of(age: Age, change: impl FnOnce(&mut Status)) -> String {
        let mut now = status();
        change(&mut now);
        Change::of(&Local::new(&status(), age), &now, &Profile::fsx()).to_string()
    }

    #[test]
    fn each_field_is_told_from_the_others() {
        let settled = |change: fn(&mut Status)| of(Age::Settled, change);
        assert_eq!(settled(|_| {}), "nothing that is stored");
        assert_eq!(settled(|now| now.attributes.atime = time(9)), "nothing that is stored");
        assert_eq!(settled(|now| now.size = 6), "size 5 -> 6");
        assert_eq!(settled(|now| now.attributes.mtime = time(9)), "perhaps other content: its mtime moved, mtime");
        assert_eq!(settled(|now| now.inode = 8), "perhaps other content: another inode has the name");
        assert_eq!(
            settled(|now| (now.ctime, now.attributes.permissions) = (time(9), Permissions::from_mode(0o600))),
            "perhaps other content: its ctime moved and its mtime did not, permissions 0644 -> 0600"
        );
        assert_eq!(settled(|now| now.file_type = FileType::Symlink), "it was a file and is a symlink");
        assert_eq!(of(Age::Racy, |_| {}), "perhaps other content: it was too fresh for its times to tell");
    }

    #[test]
    fn owners_are_told_one_from_the_other() {
        let (one, two) = (Uid::new(1).unwrap(), Gid::new(2).unwrap());
        assert_eq!(of(Age::Settled, |now| now.attributes.uid = one), "owner 0 -> 1");
        assert_eq!(of(Age::Settled, |now| now.attributes.gid = two), "group 0 -> 2");
        assert_eq!(Change::New.to_string(), "new");
        assert_eq!(Change::Gone.to_string(), "gone from the tree");
        assert_eq!(Change::Unknown.to_string(), "it could not be looked at");
    }

    #[test]
    fn a_doubt_ends_with_the_look_at_the_content() {
        let attributes = ChangedAttributes::default();
        let doubtful = Change::Same { data: Data::Doubtful(Doubt::Inode), attributes };
        assert_eq!(doubtful.doubt(), Some(Doubt::Inode));
        for (same, data, shown) in [
            (true, Data::Compared(Doubt::Inode), "nothing that is stored"),
            (false, Data::Differs(Doubt::Inode), "other content of the same size"),
        ] {
            let compared = doubtful.compared(same);
            assert_eq!(compared, Change::Same { data, attributes });
            assert_eq!((compared.doubt(), compared.to_string().as_str()), (None, shown));
        }
        assert_eq!(Change::New.compared(true), Change::New);
    }

    #[test]
    fn a_bit_that_the_profile_drops_is_no_change() {
        let now = Status {
            attributes: Attributes { permissions: Permissions::from_mode(0o4644), ..status().attributes },
            ..status()
        };
        let Change::Same { attributes, .. } = Change::of(&Local::new(&status(), Age::Settled), &now, &Profile::fsx())
        else {
            panic!("it is the same file");
        };
        assert!(attributes.is_empty());
    }

    #[test]
    fn a_directory_has_no_content_to_doubt() {
        let now = Status { file_type: FileType::Directory, size: 0, ..status() };
        let later = Status { attributes: Attributes { mtime: time(9), ..now.attributes }, ctime: time(9), ..now };
        let change = Change::of(&Local::new(&now, Age::Racy), &later, &Profile::fsx());
        assert_eq!(change.doubt(), None);
        assert_eq!(change.to_string(), "mtime");
    }
}
