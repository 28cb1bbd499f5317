//! [`Key`] and [`Prefix`]: the names of objects, fit to be paths.

use crate::escape::{escape, excerpt};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// An object key relative to the link's prefix that is fit to be a path below a root.
///
/// Holding a `Key` means:
///
/// - It is 1 to 1,024 bytes of UTF-8.
/// - Its segments, the parts between slashes, are 1 to 255 bytes each; none is `.` or `..`; none holds NUL.
/// - It does not start with `/`. It ends in `/` exactly when it names a directory.
/// - It is kept as it was given: nothing is folded, trimmed or normalised, so two keys never become one path.
///
/// Keys order by their bytes, which is the order in which a bucket lists them. A directory's key comes directly
/// before the keys below it.
///
/// Source: S3 user guide, "Naming Amazon S3 objects" (1,024 bytes of UTF-8); FSx for Lustre user guide (keys with
/// `.` and `..` are not imported; names over 255 bytes are refused).
///
/// ```
/// use posix_s3::Key;
///
/// let key: Key = "test/mydir/".parse()?;
/// assert!(key.is_directory());
/// assert_eq!(key.path(), "test/mydir");
///
/// let refused = Key::parse("test/../passwd").unwrap_err();
/// assert_eq!(refused.to_string(), "invalid key \"test/../passwd\": expected a name, found `..` at byte 5");
/// # Ok::<(), posix_s3::InvalidKey>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The longest key, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 1024;
    /// The longest segment, in bytes: the longest name of a Linux file system.
    pub const MAX_SEGMENT_BYTES: usize = 255;

    /// Checks a key.
    ///
    /// # Errors
    /// [`InvalidKey`] with the first reason met from the left and the byte at which it stands.
    pub fn parse(key: &str) -> Result<Self, InvalidKey> {
        check(key)?;
        Ok(Self(key.into()))
    }

    /// Checks a key that comes as bytes, such as a name from a directory.
    ///
    /// # Errors
    /// As [`Key::parse`], and [`KeyFault::NotUtf8`].
    pub fn from_bytes(key: &[u8]) -> Result<Self, InvalidKey> {
        match std::str::from_utf8(key) {
            Ok(key) => Self::parse(key),
            Err(error) => Err(InvalidKey::new(key, KeyFault::NotUtf8, error.valid_up_to())),
        }
    }

    /// The key as text, with the trailing slash of a directory.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the key names a directory, that is, ends in `/`.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.0.ends_with('/')
    }

    /// The path that the key names: the key without the trailing slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or(&self.0)
    }

    /// The segments of the path, outermost first; at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.path().split('/')
    }

    /// The last segment of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path().rsplit_once('/').map_or(self.path(), |(_, name)| name)
    }

    /// The directory that holds this path, or `None` directly below the root.
    ///
    /// ```
    /// # use posix_s3::Key;
    /// assert_eq!(Key::parse("a/b/")?.parent(), Some(Key::parse("a/")?));
    /// assert_eq!(Key::parse("a")?.parent(), None);
    /// # Ok::<(), posix_s3::InvalidKey>(())
    /// ```
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.path().rsplit_once('/')?;
        Some(Self(format!("{parent}/").into_boxed_str()))
    }

    /// How many directories stand above this path; 0 directly below the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path().bytes().filter(|&byte| byte == b'/').count()
    }

    /// Whether this key is a directory that holds `other`, at any depth.
    ///
    /// ```
    /// # use posix_s3::Key;
    /// let directory = Key::parse("a/")?;
    /// assert!(directory.holds(&Key::parse("a/b/c")?));
    /// assert!(!directory.holds(&Key::parse("a-b")?));
    /// # Ok::<(), posix_s3::InvalidKey>(())
    /// ```
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.is_directory() && other.0.len() > self.0.len() && other.0.starts_with(&*self.0)
    }
}

impl fmt::Display for Key {
    /// Prints the key safely for people; see [`escape`]. The key itself is [`Key::as_str`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0.as_bytes()).fmt(f)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(key: &str) -> Result<Self, InvalidKey> {
        Self::parse(key)
    }
}

impl TryFrom<&str> for Key {
    type Error = InvalidKey;

    fn try_from(key: &str) -> Result<Self, InvalidKey> {
        Self::parse(key)
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;

    fn try_from(key: String) -> Result<Self, InvalidKey> {
        check(&key)?;
        Ok(Self(key.into_boxed_str()))
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.into_string()
    }
}

/// The part of a bucket that a link maps: empty for the whole bucket, else a directory key.
///
/// - It is empty or ends in `/`; its segments obey the rules of [`Key`].
/// - It leaves room for at least one byte of key.
///
/// ```
/// use posix_s3::{Key, Prefix};
///
/// let prefix: Prefix = "data/in".parse()?; // the slash is part of the meaning, not of the spelling
/// assert_eq!(prefix.as_str(), "data/in/");
/// assert_eq!(prefix.relative("data/in/a"), Some("a"));
/// assert_eq!(prefix.relative("data/inner"), None);
/// assert!("data//in".parse::<Prefix>().is_err());
/// # Ok::<(), posix_s3::InvalidKey>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// Checks a prefix; a missing trailing slash is implied, as in a link of FSx.
    ///
    /// # Errors
    /// [`InvalidKey`], as for [`Key::parse`]; also when no byte is left for a key.
    pub fn parse(prefix: &str) -> Result<Self, InvalidKey> {
        if prefix.is_empty() {
            return Ok(Self::default());
        }
        check(prefix)?;
        let prefix = if prefix.ends_with('/') { prefix.into() } else { format!("{prefix}/").into_boxed_str() };
        if prefix.len() >= Key::MAX_BYTES {
            return Err(InvalidKey::new(prefix.as_bytes(), KeyFault::TooLong, Key::MAX_BYTES));
        }
        Ok(Self(prefix))
    }

    /// The prefix as text: empty, or with its trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole object key of `key` in the bucket.
    ///
    /// # Errors
    /// [`KeyFault::TooLong`] when prefix and key together exceed 1,024 bytes: the entry cannot be exported.
    pub fn object_key(&self, key: &Key) -> Result<String, InvalidKey> {
        let mut object_key = String::with_capacity(self.0.len().saturating_add(key.0.len()));
        object_key.push_str(&self.0);
        object_key.push_str(&key.0);
        if object_key.len() > Key::MAX_BYTES {
            return Err(InvalidKey::new(object_key.as_bytes(), KeyFault::TooLong, Key::MAX_BYTES));
        }
        Ok(object_key)
    }

    /// What of an object key follows the prefix, or `None` when the object is not below it.
    #[must_use]
    pub fn relative<'a>(&self, object_key: &'a str) -> Option<&'a str> {
        object_key.strip_prefix(&*self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0.as_bytes()).fmt(f)
    }
}

impl FromStr for Prefix {
    type Err = InvalidKey;

    fn from_str(prefix: &str) -> Result<Self, InvalidKey> {
        Self::parse(prefix)
    }
}

impl TryFrom<String> for Prefix {
    type Error = InvalidKey;

    fn try_from(prefix: String) -> Result<Self, InvalidKey> {
        Self::parse(&prefix)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0.into_string()
    }
}

/// A key that is not fit to be a path, with the reason and the place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid key \"{key}\": {fault} at byte {at}")]
pub struct InvalidKey {
    key: Box<str>,
    fault: KeyFault,
    at: usize,
}

impl InvalidKey {
    fn new(key: &[u8], fault: KeyFault, at: usize) -> Self {
        Self { key: excerpt(key), fault, at }
    }

    /// A key that is fit to be a path and has more names than it may have here.
    pub(crate) fn too_deep(key: &Key, most: usize) -> Self {
        let slash = key.as_str().match_indices('/').nth(most.saturating_sub(1));
        Self::new(key.as_str().as_bytes(), KeyFault::TooDeep { most }, slash.map_or(0, |(at, _)| at))
    }

    /// Why the key is refused.
    #[must_use]
    pub const fn fault(&self) -> KeyFault {
        self.fault
    }

    /// The byte at which the fault stands, from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// Keys one behind the other in one piece of memory, for whoever has thousands of them in hand at once.
///
/// - Each is fit to be a path, as a [`Key`] is.
///
/// ```
/// use posix_s3::KeyList;
///
/// let mut keys = KeyList::new();
/// keys.push("a/")?;
/// keys.push("a/b")?;
/// assert_eq!(keys.iter().collect::<Vec<_>>(), ["a/", "a/b"]);
/// assert!(keys.push("a/../b").is_err());
/// # Ok::<(), posix_s3::InvalidKey>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyList {
    text: String,
    ends: Vec<usize>,
}

impl KeyList {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: String::new(), ends: Vec::new() }
    }

    /// Appends a key.
    ///
    /// # Errors
    /// As [`Key::parse`].
    pub fn push(&mut self, key: &str) -> Result<(), InvalidKey> {
        check(key)?;
        self.text.push_str(key);
        self.ends.push(self.text.len());
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..*self.ends.get(index)?)
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| self.text.get(std::mem::replace(&mut start, end)..end))
    }

    /// Removes all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The key has no bytes.
    #[error("expected a name, found nothing")]
    Empty,
    /// The key is longer than 1,024 bytes.
    #[error("expected at most 1024 bytes, found more")]
    TooLong,
    /// The bytes are not UTF-8, so they can be no key of S3.
    #[error("expected UTF-8, found other bytes")]
    NotUtf8,
    /// A segment is empty: `/a`, `a//b`, `/`.
    #[error("expected a name, found an empty segment")]
    EmptySegment,
    /// A segment is `.`.
    #[error("expected a name, found `.`")]
    Dot,
    /// A segment is `..`.
    #[error("expected a name, found `..`")]
    DotDot,
    /// A segment is longer than 255 bytes.
    #[error("expected a segment of at most 255 bytes, found a longer one")]
    SegmentTooLong,
    /// The key holds a NUL byte.
    #[error("expected no NUL, found one")]
    Nul,
    /// The path has more names than the budget of an import allows; of a [`Key`] by itself that is no fault.
    #[error("expected at most {most} names, found more")]
    TooDeep {
        /// How many names a path may have.
        most: usize,
    },
}

impl KeyFault {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "key-too-long",
            Self::NotUtf8 => "not-utf-8",
            Self::EmptySegment => "empty-segment",
            Self::Dot | Self::DotDot => "dot-segment",
            Self::SegmentTooLong => "segment-too-long",
            Self::Nul => "nul",
            Self::TooDeep { .. } => "too-deep",
        }
    }
}

fn check(key: &str) -> Result<(), InvalidKey> {
    if looks_plain(key.as_bytes()) {
        return Ok(());
    }
    match first_fault(key) {
        Some((fault, at)) => Err(InvalidKey::new(key.as_bytes(), fault, at)),
        None => Ok(()),
    }
}

/// The quick half of the check: passes without branches that see whether anything deserves the exact half.
///
/// `false` says nothing; `true` means that no rule can be broken. A slash followed by a slash, a name that starts with
/// `./` or `..`, a NUL, or a length that a segment limit could matter for sends the key to [`first_fault`].
fn looks_plain(key: &[u8]) -> bool {
    if key.is_empty() || key.len() > Key::MAX_BYTES {
        return false;
    }
    (no_name_is_hidden(key) || hidden_names_are_names(key)) && segments_fit(key)
}

/// Most keys: no NUL, no empty name, and no name that starts with a dot.
fn no_name_is_hidden(key: &[u8]) -> bool {
    let next = key.get(1..).unwrap_or_default();
    let mut odd = matches!(key, [b'/' | b'.' | 0, ..]);
    for (&byte, &next) in key.iter().zip(next) {
        odd |= next == 0;
        odd |= (byte == b'/') & (next == b'/');
        odd |= (byte == b'/') & (next == b'.');
    }
    !odd
}

/// The same for keys with names that start with one dot, which is neither the whole name nor followed by another.
fn hidden_names_are_names(key: &[u8]) -> bool {
    let next = key.get(1..).unwrap_or_default();
    let after = key.get(2..).unwrap_or_default();
    let mut odd = matches!(key, [b'/' | 0, ..] | [b'.'] | [b'.', b'/' | b'.', ..]);
    odd |= matches!(key, [.., 0] | [.., b'/', b'/' | b'.']);
    for ((&byte, &next), &after) in key.iter().zip(next).zip(after) {
        let dot = (byte == b'/') & (next == b'.');
        odd |= next == 0;
        odd |= (byte == b'/') & (next == b'/');
        odd |= dot & (after == b'/');
        odd |= dot & (after == b'.');
    }
    !odd
}

/// Whether every run of 256 bytes holds a slash, looked up from the far end of each run.
fn segments_fit(mut key: &[u8]) -> bool {
    while let Some(window) = key.get(..=Key::MAX_SEGMENT_BYTES) {
        let Some(slash) = window.iter().rposition(|&byte| byte == b'/') else { return false };
        key = key.get(slash.saturating_add(1)..).unwrap_or_default();
    }
    true
}

/// The exact half: the rules in words, from the left.
fn first_fault(key: &str) -> Option<(KeyFault, usize)> {
    if key.is_empty() {
        return Some((KeyFault::Empty, 0));
    }
    if key.len() > Key::MAX_BYTES {
        return Some((KeyFault::TooLong, Key::MAX_BYTES));
    }
    let mut at: usize = 0;
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let fault = match segment {
            // The empty piece after a directory's trailing slash is no segment.
            "" if segments.peek().is_none() => None,
            "" => Some(KeyFault::EmptySegment),
            "." => Some(KeyFault::Dot),
            ".." => Some(KeyFault::DotDot),
            _ if segment.len() > Key::MAX_SEGMENT_BYTES => Some(KeyFault::SegmentTooLong),
            _ => None,
        };
        if let Some(nul) = segment.bytes().position(|byte| byte == 0) {
            return Some((KeyFault::Nul, at.saturating_add(nul)));
        }
        if let Some(fault) = fault {
            return Some((fault, at));
        }
        at = at.saturating_add(segment.len()).saturating_add(1);
    }
    None
}

#[cfg(feature = "serde")]
mod text {
    use super::{Key, Prefix};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    impl Serialize for Key {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }

    impl Serialize for Prefix {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Prefix {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(key: &str) -> Option<KeyFault> {
        Key::parse(key).err().map(|error| error.fault())
    }

    #[test]
    fn names_with_dots_in_them_are_plain_names() {
        for key in ["...", "..a", "a..", ".a", "a.", "a/.b", "a/..b/", "a/..."] {
            assert_eq!(fault(key), None, "{key}");
        }
    }

    #[test]
    fn dot_segments_are_refused_wherever_they_stand() {
        for key in [".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "a/../", "./", "../"] {
            assert!(matches!(fault(key), Some(KeyFault::Dot | KeyFault::DotDot)), "{key}");
        }
    }

    #[test]
    fn empty_segments_are_refused_wherever_they_stand() {
        for key in ["/", "/a", "a//b", "a//", "//"] {
            assert_eq!(fault(key), Some(KeyFault::EmptySegment), "{key}");
        }
    }

    #[test]
    fn limits_count_bytes() {
        let three_bytes = "\u{4e2d}".repeat(86);
        assert_eq!(fault(&three_bytes), Some(KeyFault::SegmentTooLong));
        assert_eq!(fault(&"x".repeat(255)), None);
        assert_eq!(fault(&"x".repeat(256)), Some(KeyFault::SegmentTooLong));
        assert_eq!(fault(&"x/".repeat(512)), None);
        assert_eq!(fault(&format!("{}x", "x/".repeat(512))), Some(KeyFault::TooLong));
        assert_eq!(fault(&format!("a/{}/{}", "x".repeat(255), "y".repeat(256))), Some(KeyFault::SegmentTooLong));
    }

    #[test]
    fn the_quick_check_takes_every_short_key_without_fault_but_names_that_start_with_two_dots() {
        const ALPHABET: [char; 5] = ['a', '.', '/', '\0', '%'];
        let mut keys = vec![String::new()];
        assert!(!looks_plain(b""));
        for _ in 0..7 {
            keys = keys.iter().flat_map(|key| ALPHABET.iter().map(move |c| format!("{key}{c}"))).collect();
            for key in &keys {
                let fit = first_fault(key).is_none();
                let starts = |dots| key.split('/').any(|name| name.starts_with(dots));
                assert_eq!(no_name_is_hidden(key.as_bytes()), fit && !starts("."), "{key:?}");
                assert_eq!(hidden_names_are_names(key.as_bytes()), fit && !starts(".."), "{key:?}");
                assert_eq!(looks_plain(key.as_bytes()), fit && !starts(".."), "{key:?}");
            }
        }
    }

    #[test]
    fn the_quick_check_and_the_exact_check_agree_at_the_limits() {
        let long = |bytes| "x/".repeat(512).get(..bytes).unwrap().to_owned();
        for bytes in [1022, 1023, 1024] {
            assert!(looks_plain(long(bytes).as_bytes()), "{bytes}");
        }
        assert!(!looks_plain(&"x/x".repeat(342).as_bytes()[..1025]));
        for before in ["", "a/", "a/b/"] {
            for name in [1, 254, 255, 256, 257, 511, 512] {
                for after in ["", "/", "/c"] {
                    let key = format!("{before}{}{after}", "x".repeat(name));
                    assert_eq!(looks_plain(key.as_bytes()), first_fault(&key).is_none(), "{before} {name} {after}");
                    assert_eq!(looks_plain(key.as_bytes()), name <= 255, "{before} {name} {after}");
                }
            }
        }
    }

    #[test]
    fn names_that_start_with_two_dots_have_the_same_limits() {
        let name = |bytes: usize| format!("..{}", "x".repeat(bytes - 2));
        assert_eq!((fault(&name(255)), fault(&name(256))), (None, Some(KeyFault::SegmentTooLong)));
        let key = |bytes: usize| format!("..a/{}", "x/".repeat(512)).get(..bytes).unwrap().to_owned();
        assert_eq!((fault(&key(1024)), fault(&key(1025))), (None, Some(KeyFault::TooLong)));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_text_forms_are_those_of_the_parsers() {
        let key: Key = "a/b/".parse().unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"a/b/\"");
        assert_eq!(serde_json::from_str::<Key>("\"a/b/\"").unwrap(), key);
        let prefix: Prefix = "a/b/".parse().unwrap();
        assert_eq!(serde_json::to_string(&prefix).unwrap(), "\"a/b/\"");
        assert_eq!(serde_json::from_str::<Prefix>("\"a/b\"").unwrap(), prefix);
        assert!(serde_json::from_str::<Key>("\"../a\"").is_err());
        assert!(serde_json::from_str::<Prefix>("\"../a\"").is_err());
    }

    #[test]
    fn a_directory_holds_what_is_below_it_and_neither_itself_nor_its_neighbours() {
        let holds = |directory: &str, other: &str| directory.parse::<Key>().unwrap().holds(&other.parse().unwrap());
        assert!(holds("a/", "a/b") && holds("a/", "a/b/c/"));
        assert!(!holds("a/", "a/") && !holds("a/", "a") && !holds("a/", "b/c"));
        // A file holds nothing, whatever its name starts.
        assert!(!holds("a", "a/b") && !holds("a", "ab"));
    }

    #[test]
    fn a_key_is_given_back_as_it_came() {
        let key = Key::try_from("a/b/".to_owned()).unwrap();
        assert_eq!((key.as_str(), key.as_ref(), key.path(), key.name()), ("a/b/", "a/b/", "a/b", "b"));
        assert_eq!((key.depth(), key.segments().collect::<Vec<_>>()), (1, vec!["a", "b"]));
        assert_eq!(Key::parse("top").unwrap().name(), "top");
        assert_eq!(String::from(key), "a/b/");
        assert!(Key::try_from("a//".to_owned()).is_err());
        assert!(Key::try_from("..").is_err());
    }

    #[test]
    fn a_prefix_is_a_directory_whether_or_not_its_slash_was_written() {
        for text in ["data/in", "data/in/"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix, Prefix::try_from(text.to_owned()).unwrap());
            assert_eq!((prefix.as_str(), prefix.to_string().as_str()), ("data/in/", "data/in/"));
            assert_eq!(prefix.relative("data/in/a"), Some("a"));
            assert_eq!(prefix.relative("data/inner"), None);
            assert_eq!(String::from(prefix), "data/in/");
        }
        assert_eq!(Prefix::parse("").unwrap().relative("a"), Some("a"));
        assert!("../".parse::<Prefix>().is_err());
        assert!(Prefix::try_from("a//b".to_owned()).is_err());
    }

    #[test]
    fn a_prefix_leaves_a_byte_for_a_key() {
        let longest = "x/".repeat(511) + "x";
        assert_eq!(Prefix::parse(longest.strip_suffix("x").unwrap()).unwrap().as_str().len(), 1022);
        // With its slash it would be all of the 1,024 bytes.
        assert_eq!((longest.len(), Prefix::parse(&longest).unwrap_err().fault()), (1023, KeyFault::TooLong));
    }

    #[test]
    fn a_list_takes_only_keys_and_gives_each_back() {
        let mut keys = KeyList::new();
        assert!(keys.is_empty());
        for key in ["a/", "a/b", "c"] {
            keys.push(key).unwrap();
        }
        assert_eq!(keys.push("a/../c").unwrap_err().fault(), KeyFault::DotDot);
        assert!(!keys.is_empty());
        assert_eq!(keys.len(), 3);
        assert_eq!(keys.iter().collect::<Vec<_>>(), ["a/", "a/b", "c"]);
        assert_eq!([keys.get(0), keys.get(1), keys.get(2), keys.get(3)], [Some("a/"), Some("a/b"), Some("c"), None]);
        keys.clear();
        assert!(keys.is_empty() && keys.iter().next().is_none());
    }

    #[test]
    fn a_fault_says_where_it_stands_and_has_one_code() {
        let refused = Key::parse("ab/../c").unwrap_err();
        assert_eq!((refused.at(), refused.fault().code()), (3, "dot-segment"));
        let refused = Key::parse("ab/c\0").unwrap_err();
        assert_eq!((refused.at(), refused.fault().code()), (4, "nul"));
        let refused = InvalidKey::too_deep(&Key::parse("a/b/c").unwrap(), 2);
        assert_eq!(refused.to_string(), "invalid key \"a/b/c\": expected at most 2 names, found more at byte 3");
    }

    #[test]
    fn order_is_the_order_of_a_listing() {
        let mut keys: Vec<Key> =
            ["a0", "a/x", "a/", "a.b", "a-b", "a", "a!"].iter().map(|key| key.parse().unwrap()).collect();
        keys.sort();
        let sorted: Vec<&str> = keys.iter().map(Key::as_str).collect();
        assert_eq!(sorted, ["a", "a!", "a-b", "a.b", "a/", "a/x", "a0"]);
    }

    #[test]
    fn a_prefix_and_a_key_share_the_1024_bytes() {
        let prefix = Prefix::parse(&"p".repeat(200)).unwrap();
        let fits =
            Key::parse(&format!("{}/{}/{}/{}", "a".repeat(250), "b".repeat(250), "c".repeat(250), "d".repeat(70)));
        assert_eq!(prefix.object_key(&fits.unwrap()).unwrap().len(), 1024);
        let over =
            Key::parse(&format!("{}/{}/{}/{}", "a".repeat(250), "b".repeat(250), "c".repeat(250), "d".repeat(71)));
        assert_eq!(prefix.object_key(&over.unwrap()).unwrap_err().fault(), KeyFault::TooLong);
    }

    #[test]
    fn messages() {
        let message = |key: &[u8]| Key::from_bytes(key).unwrap_err().to_string();
        assert_eq!(message(b""), "invalid key \"\": expected a name, found nothing at byte 0");
        assert_eq!(message(b"a/./b"), "invalid key \"a/./b\": expected a name, found `.` at byte 2");
        assert_eq!(message(b".."), "invalid key \"..\": expected a name, found `..` at byte 0");
        assert_eq!(message(b"a//b"), "invalid key \"a//b\": expected a name, found an empty segment at byte 2");
        assert_eq!(message(b"a\0"), "invalid key \"a\\u{0}\": expected no NUL, found one at byte 1");
        assert_eq!(message(b"a\xff"), "invalid key \"a\\xff\": expected UTF-8, found other bytes at byte 1");
        assert!(
            message(&[b'a'; 256]).ends_with("expected a segment of at most 255 bytes, found a longer one at byte 0")
        );
        assert!(message(&[b'a'; 1025]).ends_with("expected at most 1024 bytes, found more at byte 1024"));
    }
}
