//! Where things are: in a bucket, and in a file system; and how the one is found from the other.

use crate::escape::excerpt;
use crate::key::{InvalidKey, Key, KeyFault, Prefix};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

const SCHEME: &str = "s3://";

/// A bucket, or the part of it below a prefix: `ArchivePath` of the API.
///
/// - It is `s3://`, the name of a bucket, `/`, and a [`Prefix`], which is empty or ends in `/`.
/// - The bucket has 3 to 63 characters: lower-case letters, digits, `.` and `-`. It starts and ends with a letter or a
///   digit, has no two dots in a row, and is no IPv4 address.
/// - What was read had 3 to 4,357 characters, and none of NUL, CR, LF, U+0085, U+2028 and U+2029.
///
/// A missing trailing slash is added, so that one place has one spelling.
/// Source: Amazon FSx API, `ArchivePath` and `DataRepositoryPath`; S3 user guide, "General purpose bucket naming rules".
///
/// ```
/// use posix_s3::repository::RepositoryPath;
///
/// let path: RepositoryPath = "s3://sample-data/in".parse()?;
/// assert_eq!(path.as_str(), "s3://sample-data/in/");
/// assert_eq!((path.bucket(), path.prefix().as_str()), ("sample-data", "in/"));
///
/// let refused = "s3://Sample/in".parse::<RepositoryPath>().unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "invalid path \"s3://Sample/in\": expected a bucket of lower-case letters, digits, `.` and `-`, found another character at byte 5",
/// );
/// # Ok::<(), posix_s3::repository::InvalidPath>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryPath {
    bucket: Box<str>,
    prefix: Prefix,
    text: Box<str>,
}

impl RepositoryPath {
    /// The fewest characters.
    pub const MIN: usize = 3;
    /// The most characters.
    pub const MAX: usize = 4357;

    /// Reads a path.
    ///
    /// # Errors
    /// [`InvalidPath`] with what was expected, what was found, and the byte at which it stands.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let fault = |fault, at| InvalidPath::new(text, fault, at);
        check_characters(text, Self::MIN, Self::MAX)?;
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| fault(PathFault::NoScheme, 0))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some((why, at)) = bucket_fault(bucket) {
            return Err(fault(why, at.saturating_add(SCHEME.len())));
        }
        let prefix = Prefix::parse(key).map_err(|error| {
            let before = SCHEME.len().saturating_add(bucket.len()).saturating_add(1);
            fault(PathFault::Name(error.fault()), error.at().saturating_add(before))
        })?;
        Ok(Self::new(bucket, prefix))
    }

    fn new(bucket: &str, prefix: Prefix) -> Self {
        let text = format!("{SCHEME}{bucket}/{}", prefix.as_str()).into_boxed_str();
        Self { bucket: bucket.into(), prefix, text }
    }

    /// The path below this one that a name leads to.
    ///
    /// # Errors
    /// [`InvalidPath`] when the name is not fit to be one, or when no room is left for a key.
    pub fn join(&self, name: &str) -> Result<Self, InvalidPath> {
        Self::parse(&format!("{}{name}", self.text))
    }

    /// The path with its trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without the trailing slash, as the original form of a link is described.
    #[must_use]
    pub fn without_slash(&self) -> &str {
        self.text.strip_suffix('/').unwrap_or(&self.text)
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The part of the bucket, empty for all of it.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Whether an object of a bucket is in this part of it.
    #[must_use]
    pub fn holds(&self, bucket: &str, object_key: &str) -> bool {
        *self.bucket == *bucket && self.prefix.relative(object_key).is_some()
    }

    /// Whether one of the two holds the other, by whole parts: `s3://b/p/` and `s3://b/p/q/` overlap, `s3://b/p/` and
    /// `s3://b/p2/` do not.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // Both end in a slash, so a part is never taken for the start of another.
        self.text.starts_with(&*other.text) || other.text.starts_with(&*self.text)
    }
}

impl fmt::Display for RepositoryPath {
    /// Prints the path safely for people. The path itself is [`RepositoryPath::as_str`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::escape(self.text.as_bytes()).fmt(f)
    }
}

impl FromStr for RepositoryPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RepositoryPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::parse(&text)
    }
}

impl From<RepositoryPath> for String {
    fn from(path: RepositoryPath) -> Self {
        path.text.into_string()
    }
}

/// A directory of the file system, from its root: `Namespace` of the API.
///
/// - It is `/`, or `/` before each of its parts and no slash at its end.
/// - A part has 1 to 255 bytes, is neither `.` nor `..`, and holds no NUL.
/// - What was read had 1 to 4,096 characters, and none of NUL, CR, LF, U+0085, U+2028 and U+2029.
///
/// A slash at the end is taken and not kept, so that one directory has one spelling.
/// Source: Amazon FSx API, `Namespace` and `FileSystemPath`.
///
/// ```
/// use posix_s3::repository::FileSystemPath;
///
/// let path: FileSystemPath = "/ns1/".parse()?;
/// assert_eq!(path.as_str(), "/ns1");
/// assert!(path.overlaps(&"/ns1/ns2".parse()?));
/// assert!(!path.overlaps(&"/ns10".parse()?));
///
/// let refused = "ns1".parse::<FileSystemPath>().unwrap_err();
/// assert_eq!(refused.to_string(), "invalid path \"ns1\": expected a leading `/`, found none at byte 0");
/// # Ok::<(), posix_s3::repository::InvalidPath>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileSystemPath(Box<str>);

impl FileSystemPath {
    /// The fewest characters.
    pub const MIN: usize = 1;
    /// The most characters.
    pub const MAX: usize = 4096;

    /// Reads a path.
    ///
    /// # Errors
    /// [`InvalidPath`] with what was expected, what was found, and the byte at which it stands.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let fault = |fault, at| InvalidPath::new(text, fault, at);
        check_characters(text, Self::MIN, Self::MAX)?;
        let below = text.strip_prefix('/').ok_or_else(|| fault(PathFault::NoSlash, 0))?;
        if below.is_empty() {
            return Ok(Self::root());
        }
        let below = below.strip_suffix('/').unwrap_or(below);
        let mut at: usize = 1;
        for part in below.split('/') {
            let why = match part {
                "" => Some(KeyFault::EmptySegment),
                "." => Some(KeyFault::Dot),
                ".." => Some(KeyFault::DotDot),
                _ if part.len() > Key::MAX_SEGMENT_BYTES => Some(KeyFault::SegmentTooLong),
                _ => None,
            };
            if let Some(why) = why {
                return Err(fault(PathFault::Name(why), at));
            }
            at = at.saturating_add(part.len()).saturating_add(1);
        }
        Ok(Self(format!("/{below}").into_boxed_str()))
    }

    /// The root of the file system.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path: `/`, or without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The parts, outermost first; none for the root.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// What of an absolute path stands below this one: empty for this directory itself, with or without a slash at its
    /// end; `None` when it is not below.
    #[must_use]
    pub fn relative<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = if self.is_root() { path } else { path.strip_prefix(&*self.0)? };
        match rest.strip_prefix('/') {
            Some(below) => Some(below),
            None => (rest.is_empty() && !self.is_root()).then_some(rest),
        }
    }

    /// Whether one of the two holds the other, by whole parts: `/ns1` and `/ns1/ns2` overlap, `/ns1` and `/ns10` do not.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.relative(&other.0).is_some() || other.relative(&self.0).is_some()
    }
}

impl fmt::Display for FileSystemPath {
    /// Prints the path safely for people. The path itself is [`FileSystemPath::as_str`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::escape(self.0.as_bytes()).fmt(f)
    }
}

impl FromStr for FileSystemPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        Self::parse(text)
    }
}

impl TryFrom<String> for FileSystemPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::parse(&text)
    }
}

impl From<FileSystemPath> for String {
    fn from(path: FileSystemPath) -> Self {
        path.0.into_string()
    }
}

/// Where something is, seen from a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The linked directory itself, whose object is the prefix.
    Root,
    /// Something below it.
    Below(Key),
}

impl Place {
    /// The key relative to the link, or nothing for the linked directory itself.
    #[must_use]
    pub const fn key(&self) -> Option<&Key> {
        match self {
            Self::Root => None,
            Self::Below(key) => Some(key),
        }
    }

    fn parse(relative: &str) -> Result<Self, InvalidKey> {
        if relative.is_empty() { Ok(Self::Root) } else { Key::parse(relative).map(Self::Below) }
    }
}

/// A directory of the file system and the part of a bucket that belongs to it; what is below the one has the same name
/// below the other.
///
/// ```
/// use posix_s3::repository::Mapping;
///
/// let mapping = Mapping::new("/ns1".parse()?, "s3://sample-data/in/".parse()?);
/// let place = mapping.place_of_object("in/a/b")?.unwrap();
/// assert_eq!(mapping.path(&place), "/ns1/a/b");
/// assert_eq!(mapping.place_of_path("/ns1/a/b")?, Some(place));
/// assert_eq!(mapping.place_of_path("/ns10/a")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    directory: FileSystemPath,
    repository: RepositoryPath,
}

impl Mapping {
    /// Of a directory and a part of a bucket.
    #[must_use]
    pub const fn new(directory: FileSystemPath, repository: RepositoryPath) -> Self {
        Self { directory, repository }
    }

    /// The directory of the file system.
    #[must_use]
    pub const fn directory(&self) -> &FileSystemPath {
        &self.directory
    }

    /// The part of the bucket.
    #[must_use]
    pub const fn repository(&self) -> &RepositoryPath {
        &self.repository
    }

    /// Where an object of the bucket is; `None` when it is not below the prefix.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is, and its key is not fit to be a path. Bytes are counted from the end of the prefix.
    pub fn place_of_object(&self, object_key: &str) -> Result<Option<Place>, InvalidKey> {
        self.repository.prefix.relative(object_key).map(Place::parse).transpose()
    }

    /// Where an absolute path of the file system is; `None` when it is not below the directory. That of a directory ends in
    /// `/`, except that of the linked directory, which may.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is, and cannot be a key. Bytes are counted from the end of the directory.
    pub fn place_of_path(&self, path: &str) -> Result<Option<Place>, InvalidKey> {
        self.directory.relative(path).map(Place::parse).transpose()
    }

    /// The whole key of the object; `None` for the linked directory when the whole bucket is linked, which has no object.
    ///
    /// # Errors
    /// [`KeyFault::TooLong`] when prefix and key together exceed 1,024 bytes.
    pub fn object_key(&self, place: &Place) -> Result<Option<String>, InvalidKey> {
        match place {
            Place::Root => {
                let prefix = self.repository.prefix.as_str();
                Ok((!prefix.is_empty()).then(|| prefix.to_owned()))
            }
            Place::Below(key) => self.repository.prefix.object_key(key).map(Some),
        }
    }

    /// The absolute path in the file system; that of a directory ends in `/`.
    #[must_use]
    pub fn path(&self, place: &Place) -> String {
        let directory = self.directory.0.strip_suffix('/').unwrap_or(&self.directory.0);
        match place {
            Place::Root => format!("{directory}/"),
            Place::Below(key) => format!("{directory}/{}", key.as_str()),
        }
    }
}

/// A path that is not one, with the reason and the place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid path \"{path}\": {fault} at byte {at}")]
pub struct InvalidPath {
    path: Box<str>,
    fault: PathFault,
    at: usize,
}

impl InvalidPath {
    fn new(path: &str, fault: PathFault, at: usize) -> Self {
        Self { path: excerpt(path.as_bytes()), fault, at }
    }

    /// Why it is refused.
    #[must_use]
    pub const fn fault(&self) -> PathFault {
        self.fault
    }

    /// The byte at which the fault stands, from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum PathFault {
    /// Too few or too many characters.
    #[error("expected {min} to {max} characters, found {found}")]
    Length {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// A character that the API bars.
    #[error("expected neither NUL nor the end of a line, found U+{:04X}", u32::from(*.0))]
    Barred(char),
    /// It does not start with `s3://`.
    #[error("expected `s3://` and a bucket, found something else")]
    NoScheme,
    /// The name of the bucket is too short or too long.
    #[error("expected a bucket of 3 to 63 characters, found {0}")]
    BucketLength(usize),
    /// The name of the bucket has a character that none has.
    #[error("expected a bucket of lower-case letters, digits, `.` and `-`, found another character")]
    BucketCharacter,
    /// The name of the bucket starts or ends with `.` or `-`.
    #[error("expected a bucket that starts and ends with a letter or a digit, found `.` or `-`")]
    BucketEnd,
    /// The name of the bucket has two dots in a row.
    #[error("expected a bucket without two dots in a row, found them")]
    BucketDots,
    /// The name of the bucket is an IPv4 address.
    #[error("expected a bucket, found an IPv4 address")]
    BucketAddress,
    /// It does not start with `/`.
    #[error("expected a leading `/`, found none")]
    NoSlash,
    /// A part of it is not fit to be a name, or all of it is too long for a key.
    #[error(transparent)]
    Name(KeyFault),
}

/// The rules that the API has for both kinds of path.
fn check_characters(text: &str, min: usize, max: usize) -> Result<(), InvalidPath> {
    let found = text.chars().count();
    if !(min..=max).contains(&found) {
        let at = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
        return Err(InvalidPath::new(text, PathFault::Length { min, max, found }, at));
    }
    let barred = |character| matches!(character, '\0' | '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
    match text.char_indices().find(|&(_, character)| barred(character)) {
        Some((at, character)) => Err(InvalidPath::new(text, PathFault::Barred(character), at)),
        None => Ok(()),
    }
}

fn bucket_fault(bucket: &str) -> Option<(PathFault, usize)> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if let Some(at) = bucket.bytes().position(|byte| !plain(byte) && byte != b'.' && byte != b'-') {
        return Some((PathFault::BucketCharacter, at));
    }
    if !(3..=63).contains(&bucket.len()) {
        return Some((PathFault::BucketLength(bucket.len()), 0));
    }
    if !bucket.bytes().next().is_some_and(plain) {
        return Some((PathFault::BucketEnd, 0));
    }
    if !bucket.bytes().next_back().is_some_and(plain) {
        return Some((PathFault::BucketEnd, bucket.len().saturating_sub(1)));
    }
    if let Some(at) = bucket.find("..") {
        return Some((PathFault::BucketDots, at));
    }
    bucket.parse::<std::net::Ipv4Addr>().is_ok().then_some((PathFault::BucketAddress, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repository(text: &str) -> RepositoryPath {
        RepositoryPath::parse(text).unwrap()
    }

    fn directory(text: &str) -> FileSystemPath {
        FileSystemPath::parse(text).unwrap()
    }

    #[test]
    fn a_place_in_a_bucket_has_one_spelling() {
        for text in ["s3://sample-data", "s3://sample-data/"] {
            assert_eq!(repository(text).as_str(), "s3://sample-data/");
            assert_eq!(repository(text).without_slash(), "s3://sample-data");
            assert_eq!(repository(text).prefix().as_str(), "");
        }
        assert_eq!(repository("s3://a.b-1/x y/é"), repository("s3://a.b-1/x y/é/"));
        assert_eq!(repository("s3://bucket/in").join("x").unwrap().as_str(), "s3://bucket/in/x/");
    }

    #[test]
    fn what_is_no_place_in_a_bucket() {
        let refusals = [
            ("", "expected 3 to 4357 characters, found 0 at byte 0"),
            ("/ns1", "expected `s3://` and a bucket, found something else at byte 0"),
            ("S3://bucket", "expected `s3://` and a bucket, found something else at byte 0"),
            ("s3://ab", "expected a bucket of 3 to 63 characters, found 2 at byte 5"),
            ("s3:///in", "expected a bucket of 3 to 63 characters, found 0 at byte 5"),
            (
                "s3://a_b/",
                "expected a bucket of lower-case letters, digits, `.` and `-`, found another character at byte 6",
            ),
            (
                "s3://bucket-/",
                "expected a bucket that starts and ends with a letter or a digit, found `.` or `-` at byte 11",
            ),
            (
                "s3://.bucket",
                "expected a bucket that starts and ends with a letter or a digit, found `.` or `-` at byte 5",
            ),
            ("s3://buc..ket", "expected a bucket without two dots in a row, found them at byte 8"),
            ("s3://192.168.5.4/in", "expected a bucket, found an IPv4 address at byte 5"),
            ("s3://bucket/a//b", "expected a name, found an empty segment at byte 14"),
            ("s3://bucket/../b", "expected a name, found `..` at byte 12"),
            ("s3://bucket/a\nb", "expected neither NUL nor the end of a line, found U+000A at byte 13"),
            ("s3://bucket/a\u{2028}", "expected neither NUL nor the end of a line, found U+2028 at byte 13"),
        ];
        for (text, why) in refusals {
            let error = RepositoryPath::parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid path \"{}\": {why}", crate::escape(text.as_bytes())));
        }
        let long = format!("s3://bucket/{}", "a/".repeat(4357));
        assert!(matches!(RepositoryPath::parse(&long).unwrap_err().fault(), PathFault::Length { found: 8726, .. }));
        let long = format!("s3://bucket/{}", "a/".repeat(512));
        assert_eq!(RepositoryPath::parse(&long).unwrap_err().fault(), PathFault::Name(KeyFault::TooLong));
        assert_eq!(
            RepositoryPath::parse(&format!("s3://{}", "a".repeat(64))).unwrap_err().fault(),
            PathFault::BucketLength(64)
        );
    }

    #[test]
    fn what_is_no_directory() {
        let refusals = [
            ("", "expected 1 to 4096 characters, found 0 at byte 0"),
            ("ns1/", "expected a leading `/`, found none at byte 0"),
            ("//", "expected a name, found an empty segment at byte 1"),
            ("/a//b", "expected a name, found an empty segment at byte 3"),
            ("/a/./b", "expected a name, found `.` at byte 3"),
            ("/a/..", "expected a name, found `..` at byte 3"),
            ("/a\0", "expected neither NUL nor the end of a line, found U+0000 at byte 2"),
        ];
        for (text, why) in refusals {
            let error = FileSystemPath::parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid path \"{}\": {why}", crate::escape(text.as_bytes())));
        }
        assert!(FileSystemPath::parse(&format!("/{}", "a/".repeat(2047))).is_ok());
        let error = FileSystemPath::parse(&format!("/{}", "é/".repeat(2048))).unwrap_err();
        assert_eq!((error.fault(), error.at()), (PathFault::Length { min: 1, max: 4096, found: 4097 }, 6144));
        let error = FileSystemPath::parse(&format!("/a/{}", "b".repeat(256))).unwrap_err();
        assert_eq!((error.fault(), error.at()), (PathFault::Name(KeyFault::SegmentTooLong), 3));
    }

    #[test]
    fn overlap_is_by_whole_parts_and_in_both_directions() {
        let overlap = [("/ns1", "/ns1/ns2"), ("/ns1", "/ns1/"), ("/", "/ns1"), ("/", "/")];
        let apart = [("/ns1", "/ns10"), ("/ns1/a", "/ns1/b"), ("/a", "/b")];
        for (expected, pairs) in [(true, &overlap[..]), (false, &apart[..])] {
            for (one, other) in pairs {
                let (one, other) = (directory(one), directory(other));
                assert_eq!((one.overlaps(&other), other.overlaps(&one)), (expected, expected), "{one} {other}");
            }
        }
        let overlap = [("s3://bbb/p", "s3://bbb/p/q"), ("s3://bbb", "s3://bbb/p"), ("s3://bbb/p", "s3://bbb/p/")];
        let apart = [("s3://bbb/p", "s3://bbb/p2"), ("s3://bbb", "s3://bbb2"), ("s3://bbb/p/q", "s3://bbb/p/r")];
        for (expected, pairs) in [(true, &overlap[..]), (false, &apart[..])] {
            for (one, other) in pairs {
                let (one, other) = (repository(one), repository(other));
                assert_eq!((one.overlaps(&other), other.overlaps(&one)), (expected, expected), "{one} {other}");
            }
        }
    }

    proptest! {
        /// What is taken keeps its promises, and reads as itself when it is printed; what is not is refused, with a place in
        /// it.
        #[test]
        fn a_path_that_is_taken_reads_as_itself(
            pieces in prop::collection::vec(prop::sample::select(vec!["s3://", "a", "b-1", "/", "..", ".", "é", "\0", "\n", "A"]), 0..9),
            start in prop::sample::select(vec!["", "/", "s3://", "s3://bucket", "s3://bucket/"]),
        ) {
            let text = start.to_owned() + &pieces.concat();
            match RepositoryPath::parse(&text) {
                Ok(path) => {
                    prop_assert!(path.as_str() == text || path.without_slash() == text);
                    prop_assert_eq!(&RepositoryPath::parse(path.as_str()).unwrap(), &path);
                    prop_assert_eq!(&RepositoryPath::parse(path.without_slash()).unwrap(), &path);
                    prop_assert_eq!(path.as_str(), format!("s3://{}/{}", path.bucket(), path.prefix().as_str()));
                }
                Err(error) => prop_assert!(error.at() <= text.len()),
            }
            match FileSystemPath::parse(&text) {
                Ok(path) => {
                    prop_assert_eq!(&FileSystemPath::parse(path.as_str()).unwrap(), &path);
                    prop_assert_eq!(format!("/{}", path.parts().collect::<Vec<_>>().join("/")), path.as_str());
                    prop_assert!(path.parts().all(|part| part != "." && part != ".."));
                }
                Err(error) => prop_assert!(error.at() <= text.len()),
            }
        }
    }

    #[test]
    fn a_name_is_the_same_on_both_sides() {
        let cases =
            [("/", "s3://bucket/"), ("/", "s3://bucket/in"), ("/ns1/a", "s3://bucket/"), ("/ns1", "s3://bucket/in")];
        for (at, path) in cases {
            let mapping = Mapping::new(directory(at), repository(path));
            for name in ["a", "a/", "a/b c", "ns1/", ".x", "é"] {
                let place = Place::Below(Key::parse(name).unwrap());
                let object_key = mapping.object_key(&place).unwrap().unwrap();
                assert_eq!(object_key, format!("{}{name}", mapping.repository().prefix().as_str()));
                assert_eq!(mapping.place_of_object(&object_key).unwrap().as_ref(), Some(&place));
                assert_eq!(mapping.place_of_path(&mapping.path(&place)).unwrap(), Some(place));
            }
        }
    }

    #[test]
    fn the_linked_directory_has_the_prefix_for_an_object() {
        let mapping = Mapping::new(directory("/ns1"), repository("s3://bucket/in"));
        assert_eq!(mapping.place_of_object("in/").unwrap(), Some(Place::Root));
        assert_eq!(mapping.place_of_path("/ns1").unwrap(), Some(Place::Root));
        assert_eq!(mapping.place_of_path("/ns1/").unwrap(), Some(Place::Root));
        assert_eq!(mapping.object_key(&Place::Root).unwrap().as_deref(), Some("in/"));
        assert_eq!(mapping.path(&Place::Root), "/ns1/");
        let whole = Mapping::new(FileSystemPath::root(), repository("s3://bucket"));
        assert_eq!(whole.object_key(&Place::Root).unwrap(), None);
        assert_eq!(whole.path(&Place::Root), "/");
    }

    #[test]
    fn what_is_outside_is_told_from_what_is_unfit() {
        let mapping = Mapping::new(directory("/ns1"), repository("s3://bucket/in"));
        for outside in ["inner/a", "in", "x", ""] {
            assert_eq!(mapping.place_of_object(outside).unwrap(), None, "{outside}");
        }
        assert_eq!(mapping.place_of_object("in/a/../b").unwrap_err().fault(), KeyFault::DotDot);
        assert_eq!(mapping.place_of_object("in//").unwrap_err().fault(), KeyFault::EmptySegment);
        for outside in ["/ns10", "/ns10/a", "/", "ns1/a", ""] {
            assert_eq!(mapping.place_of_path(outside).unwrap(), None, "{outside}");
        }
        let long = Place::Below(Key::parse(&"a/".repeat(511)).unwrap());
        assert_eq!(mapping.object_key(&long).unwrap_err().fault(), KeyFault::TooLong);
    }
}
