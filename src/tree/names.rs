//! [`NameList`]: the names in a directory.

use std::fmt;

/// The names in a directory, in key order, in one piece of memory.
///
/// - The names of directories end in `/`, which counts in the order: `a-`, `a/`, `a0`.
/// - They are as the directory has them: a name need not be UTF-8, nor make a key.
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
}

impl NameList {
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
        f.debug_list().entries(self.iter().map(crate::escape)).finish()
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

    /// Sorts by sixteen bytes after what all names have in common, as one number; only where those are equal the names
    /// themselves are compared. That takes half the time of comparing names.
    pub(super) fn sort(self) -> NameList {
        let mut names = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for &end in &self.ends {
            names.push(self.names.get(start..end).unwrap_or_default());
            start = end;
        }
        let common = common_prefix(&names);
        let mut keyed: Vec<(u128, &[u8])> = names.iter().map(|name| (leading(name, common), *name)).collect();
        if !keyed.is_sorted() {
            keyed.sort_unstable();
        }
        let mut sorted = Vec::with_capacity(self.names.len());
        let mut ends = self.ends.clone();
        for ((_, name), end) in keyed.iter().zip(&mut ends) {
            sorted.extend_from_slice(name);
            *end = sorted.len();
        }
        NameList { names: sorted.into(), ends: ends.into() }
    }
}

/// How many bytes all names begin with.
fn common_prefix(names: &[&[u8]]) -> usize {
    let Some((first, others)) = names.split_first() else { return 0 };
    others.iter().fold(first.len(), |common, name| {
        let first = first.get(..common).unwrap_or(first);
        if name.starts_with(first) {
            return common;
        }
        first.iter().zip(*name).take_while(|(one, other)| one == other).count()
    })
}

/// The sixteen bytes from a place on, as a number that orders as they do. A name that ends before orders as if NUL
/// followed, which no name holds.
fn leading(name: &[u8], from: usize) -> u128 {
    let rest = name.get(from..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk() {
        return u128::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(rest).for_each(|(byte, &of_name)| *byte = of_name);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn names_are_in_the_order_of_their_bytes(
            prefix in vec(1..=255_u8, 0..20),
            ends in vec(vec(prop_oneof![Just(b'a'), Just(b'/'), 1..=255_u8], 0..20), 0..20),
        ) {
            let mut names: Vec<Vec<u8>> = ends.iter().map(|end| [&*prefix, end].concat()).collect();
            let sorted: NameList = names.iter().collect();
            names.sort();
            prop_assert_eq!(sorted.iter().collect::<Vec<_>>(), names);
        }
    }
}
