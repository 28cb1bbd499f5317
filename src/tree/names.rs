//! [`NameList`]: the names in a directory.

use std::fmt;

/// What the name of every staging directory starts with. Names that do are neither exported nor imported.
pub(crate) const STAGING: &str = ".posix-s3-staging-";

/// Whether a name directly below the root is kept for staging.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(STAGING.as_bytes())
}

/// The names in a directory, in key order, in one piece of memory.
///
/// - The names of directories end in `/`, which counts in the order: `a-`, `a/`, `a0`.
/// - They are as the directory has them: a name need not be UTF-8, nor make a key.
/// - A list says which directory was read, where the tree can tell: by the time it is looked at, its path may be another's.
///
/// ```
/// use posix_s3::tree::NameList;
///
/// let names: NameList = ["a0", "a/", "a-"].into_iter().collect();
/// assert_eq!(names.iter().collect::<Vec<_>>(), [b"a-", b"a/", b"a0"]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NameList {
    names: Box<[u8]>,
    ends: Box<[usize]>,
    directory: Option<u64>,
}

impl NameList {
    /// Says which directory the names are in, by the number of its inode.
    #[must_use]
    pub const fn of_directory(mut self, inode: u64) -> Self {
        self.directory = Some(inode);
        self
    }

    /// The number of the inode of the directory that was read; `None` where the tree cannot tell.
    #[must_use]
    pub const fn directory(&self) -> Option<u64> {
        self.directory
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.names.get(start..*self.ends.get(index)?)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| self.names.get(std::mem::replace(&mut start, end)..end))
    }
}

impl fmt::Debug for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for name in self.iter() {
            list.entry(&format_args!("{}", crate::escape(name)));
        }
        list.finish()
    }
}

impl<N: AsRef<[u8]>> FromIterator<N> for NameList {
    /// Sorts names, in which a trailing slash says that it is a directory's.
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        let mut unsorted = Unsorted::default();
        for name in names {
            unsorted.push(name.as_ref());
        }
        unsorted.sort()
    }
}

/// Names in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    names: Vec<u8>,
    ends: Vec<usize>,
}

impl Unsorted {
    pub(super) fn push(&mut self, name: &[u8]) {
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
    }

    /// Makes the name last pushed that of a directory.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(super) fn push_slash(&mut self) {
        if let Some(end) = self.ends.last_mut() {
            self.names.push(b'/');
            *end = self.names.len();
        }
    }

    /// Sorts by comparing names. Sixteen bytes of each as a number to sort by were no faster below 100,000 names.
    pub(super) fn sort(self) -> NameList {
        let mut names = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for &end in &self.ends {
            names.push(self.names.get(start..end).unwrap_or_default());
            start = end;
        }
        names.sort_unstable();
        let mut ends = self.ends.clone();
        let mut sorted = Vec::with_capacity(self.names.len());
        for (name, end) in names.iter().zip(&mut ends) {
            sorted.extend_from_slice(name);
            *end = sorted.len();
        }
        NameList { names: sorted.into(), ends: ends.into(), directory: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_counts_in_the_order() {
        let names: NameList = ["a0", "a/", "a", "a.", "a-", "a!/"].into_iter().collect();
        let sorted: [&[u8]; 6] = [b"a", b"a!/", b"a-", b"a.", b"a/", b"a0"];
        assert_eq!(names.iter().collect::<Vec<_>>(), sorted);
        assert_eq!(
            (names.len(), names.get(1), names.get(5), names.get(6)),
            (6, Some(sorted[1]), Some(sorted[5]), None)
        );
    }

    #[test]
    fn a_list_says_what_is_in_it_and_of_which_directory_it_is() {
        let names: NameList = ["b/", "a"].into_iter().collect();
        assert_eq!((names.directory(), names.is_empty(), format!("{names:?}").as_str()), (None, false, "[a, b/]"));
        assert_eq!(names.clone().of_directory(7).directory(), Some(7));
        assert_eq!(names.clone().of_directory(7).iter().collect::<Vec<_>>(), [&b"a"[..], b"b/"]);
        assert_eq!((names.get(0), NameList::default().get(0)), (Some(&b"a"[..]), None));
        assert!(NameList::default().is_empty());
    }

    #[test]
    fn a_name_of_a_staging_directory_is_reserved_and_one_that_holds_it_is_not() {
        assert!(is_reserved(b".posix-s3-staging-1a"));
        assert!(!is_reserved(b"a.posix-s3-staging-1a") && !is_reserved(b".posix-s3") && !is_reserved(b""));
    }

    #[cfg(all(feature = "local", target_os = "linux"))]
    #[test]
    fn a_slash_is_put_behind_the_name_last_pushed() {
        let mut names = Unsorted::default();
        names.push_slash();
        for name in [&b"b"[..], b"a"] {
            names.push(name);
        }
        names.push_slash();
        names.push(b"c");
        assert_eq!(names.sort().iter().collect::<Vec<_>>(), [&b"a/"[..], b"b", b"c"]);
    }
}
