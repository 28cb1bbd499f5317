//! [`Budget`]: how much an import takes from a bucket at most.

use std::fmt;

/// How much one run of an import takes from a bucket at most, so that strangers cannot fill the disk in one.
///
/// It bounds a run and not the disk: runs add up, and each batch of events is one. Placeholders cost no bytes, but have the
/// size of their objects, and what they take when their data is asked for is not bounded here. Who needs a bound for the disk
/// sets a quota.
///
/// - An entry is every name that a listing brings and that is not as it is recorded: an object, a key that is refused or left
///   out by the selection, a directory that is only implied.
/// - Bytes are those of files and links that are fetched. What is in agreement is not, and a placeholder holds none.
/// - The depth is the number of names in a path, its own included.
///
/// A run that would exceed the entries or bytes takes nothing more, deletes nothing, and ends with an error and the report
/// of what it has done, which stays. A key that is too deep, or an object larger than all the bytes, is refused by itself,
/// and the run goes on. Unlimited is the largest number, or [`Budget::DEEPEST`].
///
/// ```
/// use posix_s3::{Budget, Profile};
///
/// assert_eq!(Profile::fsx().budget, Budget::UNLIMITED);
/// let mut profile = Profile::untrusted();
/// profile.budget = Budget { bytes: 10 << 40, ..Budget::UNTRUSTED };
/// assert_eq!(profile.budget.to_string(), "20000000 entries, 10995116277760 bytes, 512 names deep");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Budget {
    /// How many entries: names in a listing.
    pub entries: u64,
    /// How many bytes of the bodies of objects.
    pub bytes: u64,
    /// How many names a path may have.
    pub depth: usize,
}

impl Budget {
    /// The most names that a key of 1,024 bytes can have.
    pub const DEEPEST: usize = 512;
    /// As much as there is.
    pub const UNLIMITED: Self = Self { entries: u64::MAX, bytes: u64::MAX, depth: Self::DEEPEST };
    /// For a bucket that strangers write to: 20 million entries, 1 TiB, any depth that a key can have.
    pub const UNTRUSTED: Self = Self { entries: 20_000_000, bytes: 1 << 40, depth: Self::DEEPEST };
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, bytes, depth } = self;
        write!(f, "{entries} entries, {bytes} bytes, {depth} names deep")
    }
}

/// What a budget is spent of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spent {
    /// There are more entries.
    Entries {
        /// How many there may be.
        most: u64,
    },
    /// There are more bytes to fetch.
    Bytes {
        /// How many there may be.
        most: u64,
    },
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries { most } => write!(f, "the budget of {most} entries is spent"),
            Self::Bytes { most } => write!(f, "the budget of {most} bytes is spent"),
        }
    }
}
