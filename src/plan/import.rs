//! From a listing to what is done in the tree.
//!
//! Three problems and their answers:
//!
//! 1. *Which keys may become paths.* Each is parsed once; what is refused is said with its reason.
//! 2. *A file `a` and a directory `a/…` both exist, and millions of keys such as `a-x` may lie between.* In key order
//!    the keys between `a` and `a/` all start with `a`. So the files that may still turn out to be directories are a chain
//!    of prefixes of the current key, and a small stack holds them back until their turn has passed.
//! 3. *A directory may have no object of its own.* It is implied by the first key below it, and said to be so once.

use crate::entry::{Entry, EntryKind};
use crate::key::{InvalidKey, Key};
use crate::metadata::Attributes;
use crate::mode::FileType;
use crate::profile::Clash;
use std::mem;
use thiserror::Error;

/// What becomes of the keys of a listing, as a stream: [`Claims::next`] takes them in key order, relative to the prefix.
///
/// `O` is what the caller knows about an object; it comes back with the claim. Memory grows with the depth of the
/// tree, not with the number of keys.
///
/// ```
/// use posix_s3::plan::{Claim, Claims};
/// use posix_s3::Clash;
///
/// let mut claims = Claims::new(Clash::DirectoryWins);
/// for key in ["a", "a-b", "a/x"] {
///     claims.next(key, ())?;
/// }
/// let made: Vec<String> = claims.finish().into_iter().map(|claim| claim.to_string()).collect();
/// assert_eq!(made, ["make a-b", "leave out a, since a/ is a directory", "make the directory a/ for what is in it", "make a/x"]);
/// # Ok::<(), posix_s3::plan::Disorder>(())
/// ```
#[derive(Debug)]
pub struct Claims<O> {
    clash: Clash,
    /// How many names a path may have.
    depth: usize,
    last: Option<Box<str>>,
    /// Files that may still turn out to be directories, each a prefix of the next.
    pending: Vec<(Key, O)>,
    /// With [`Clash::FirstWins`]: the files that keep directories of their name away, each a prefix of the next.
    winners: Vec<Key>,
    /// The directories around the current key, outermost first.
    directories: Vec<Key>,
    ready: Vec<Claim<O>>,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim<O> {
    /// The object is imported, unless its head says otherwise.
    Object {
        /// Its key.
        key: Key,
        /// What the caller knows about it.
        object: O,
    },
    /// A directory without an object of its own is made.
    ImpliedDirectory {
        /// Its key.
        key: Key,
        /// What the caller knows about the first object below it.
        first: O,
    },
    /// The key is not fit to be a path.
    Refused {
        /// The key, relative to the prefix.
        key: Box<str>,
        /// Why.
        error: InvalidKey,
    },
    /// Another key has the path.
    Shadowed {
        /// The key that gives way.
        key: Key,
        /// The one that has the path.
        by: Key,
        /// What the caller knows about the object that gives way.
        object: O,
    },
    /// The object of the prefix itself, which is not an entry.
    Root,
}

impl<O> std::fmt::Display for Claim<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object { key, .. } => write!(f, "make {key}"),
            Self::ImpliedDirectory { key, .. } => write!(f, "make the directory {key} for what is in it"),
            Self::Refused { error, .. } => write!(f, "leave out: {error}"),
            Self::Shadowed { key, by, .. } if by.is_directory() => {
                write!(f, "leave out {key}, since {by} is a directory")
            }
            Self::Shadowed { key, by, .. } => write!(f, "leave out {key}, since {by} is not a directory"),
            Self::Root => f.write_str("leave out the object of the prefix itself"),
        }
    }
}

/// A listing that is not in key order, from which nothing can be concluded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the listing is out of order: expected a key behind \"{last}\", found \"{key}\"")]
pub struct Disorder {
    last: String,
    key: String,
}

impl Disorder {
    pub(crate) fn new(last: &[u8], key: &[u8]) -> Self {
        let shown = |key: &[u8]| crate::escape::escape(key).to_string();
        Self { last: shown(last), key: shown(key) }
    }
}

impl<O: Clone> Claims<O> {
    /// Starts before the first key.
    #[must_use]
    pub const fn new(clash: Clash) -> Self {
        Self {
            clash,
            depth: usize::MAX,
            last: None,
            pending: Vec::new(),
            winners: Vec::new(),
            directories: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Refuses keys whose paths have more than so many names.
    #[must_use]
    pub const fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Takes the next key.
    ///
    /// # Errors
    /// [`Disorder`] when it is not behind the one before.
    pub fn next(&mut self, key: &str, object: O) -> Result<(), Disorder> {
        if let Some(last) = self.last.as_deref().filter(|last| *last >= key) {
            return Err(Disorder::new(last.as_bytes(), key.as_bytes()));
        }
        self.last = Some(key.into());
        if key.is_empty() {
            self.ready.push(Claim::Root);
            return Ok(());
        }
        self.release(key);
        match Key::parse(key) {
            Ok(key) if key.depth() >= self.depth => {
                let error = InvalidKey::too_deep(&key, self.depth);
                self.ready.push(Claim::Refused { key: key.as_str().into(), error });
            }
            Ok(key) => self.claim(key, object),
            Err(error) => self.ready.push(Claim::Refused { key: key.into(), error }),
        }
        Ok(())
    }

    /// Ends the listing and hands out everything that is left.
    #[must_use]
    pub fn finish(mut self) -> Vec<Claim<O>> {
        while let Some((key, object)) = self.pending.pop() {
            self.ready.push(Claim::Object { key, object });
        }
        self.ready
    }

    /// What is decided so far and was not handed out yet.
    pub fn ready(&mut self) -> Vec<Claim<O>> {
        mem::take(&mut self.ready)
    }

    /// Lets go of everything that no later key can touch.
    fn release(&mut self, key: &str) {
        while self.pending.last().is_some_and(|(file, _)| !key.starts_with(file.as_str())) {
            if let Some((key, object)) = self.pending.pop() {
                self.ready.push(Claim::Object { key, object });
            }
        }
        while self.winners.last().is_some_and(|file| !key.starts_with(file.as_str())) {
            self.winners.pop();
        }
    }

    fn claim(&mut self, key: Key, object: O) {
        let lies_below =
            |file: &Key| key.as_str().strip_prefix(file.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if let Some(winner) = self.winners.iter().find(|winner| lies_below(winner)) {
            let by = winner.clone();
            self.ready.push(Claim::Shadowed { key, by, object });
            return;
        }
        // At most one of the chain has the path of a directory around this key that is not known yet.
        while let Some(at) = self.pending.iter().rposition(|(file, _)| lies_below(file)) {
            let (file, object) = self.pending.remove(at);
            if let Ok(by) = Key::parse(&format!("{}/", file.as_str())) {
                self.ready.push(Claim::Shadowed { key: file, by, object });
            }
        }
        self.imply_parents(&key, &object);
        if key.is_directory() {
            self.directories.push(key.clone());
            self.ready.push(Claim::Object { key, object });
        } else if self.clash == Clash::FirstWins {
            self.winners.push(key.clone());
            self.ready.push(Claim::Object { key, object });
        } else {
            self.pending.push((key, object));
        }
    }

    /// Says which directories around a key have not been said yet, outermost first.
    fn imply_parents(&mut self, key: &Key, object: &O) {
        while self.directories.last().is_some_and(|directory| !directory.holds(key)) {
            self.directories.pop();
        }
        let mut missing = Vec::new();
        let mut parent = key.parent();
        while let Some(directory) = parent.filter(|directory| self.directories.last() != Some(directory)) {
            parent = directory.parent();
            missing.push(directory);
        }
        for directory in missing.into_iter().rev() {
            self.ready.push(Claim::ImpliedDirectory { key: directory.clone(), first: object.clone() });
            self.directories.push(directory);
        }
    }
}

/// What happens to an entry of the tree that differs from its object, when there is no record of who changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Existing {
    /// The object replaces it, as FSx does. A directory is never replaced; it gets the attributes of its object.
    #[default]
    Replace,
    /// It stays as it is, and the report names the conflict; also a directory of which only attributes differ.
    Keep,
}

/// What has to be done so that the tree shows an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImportStep {
    /// Nothing: it does.
    Nothing,
    /// Only attributes differ.
    SetAttributes,
    /// The object is fetched and put into place.
    Write,
}

/// Compares what an object says with what stands in the tree.
///
/// The size and mtime of a file or link tell whether its bytes are the same, as usual where there is no record. The
/// access time alone is no difference. The permissions of links mean nothing and are not compared.
#[must_use]
pub fn compare(file_type: FileType, size: u64, attributes: &Attributes, current: Option<&Entry>) -> ImportStep {
    let Some(current) = current.filter(|current| current.file_type() == file_type) else { return ImportStep::Write };
    let now = current.attributes();
    let is_directory = *current.kind() == EntryKind::Directory;
    if !is_directory && (current.object_size() != size || now.mtime != attributes.mtime) {
        return ImportStep::Write;
    }
    let same_owner = (now.uid, now.gid) == (attributes.uid, attributes.gid);
    let same_permissions = now.permissions == attributes.permissions || file_type == FileType::Symlink;
    if same_owner && same_permissions && now.mtime == attributes.mtime {
        ImportStep::Nothing
    } else {
        ImportStep::SetAttributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Permissions;
    use crate::owner::{Gid, Uid};
    use crate::symlink::SymlinkTarget;
    use crate::timestamp::Timestamp;

    fn claims(clash: Clash, keys: &[&str]) -> Vec<String> {
        let mut claims = Claims::new(clash);
        for key in keys {
            claims.next(key, ()).unwrap();
        }
        claims.finish().iter().map(ToString::to_string).collect()
    }

    fn attributes() -> Attributes {
        let (permissions, time) = (Permissions::from_mode(0o755), Timestamp::EPOCH);
        Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time }
    }

    /// Every way in which one attribute differs, the access time aside.
    fn differing() -> [Attributes; 4] {
        [
            Attributes { permissions: Permissions::from_mode(0o700), ..attributes() },
            Attributes { uid: Uid::NOBODY, ..attributes() },
            Attributes { gid: Gid::NOBODY, ..attributes() },
            Attributes { mtime: Timestamp::from_unix(1, 0).unwrap(), ..attributes() },
        ]
    }

    #[test]
    fn bytes_are_fetched_again_when_size_or_mtime_or_type_differ() {
        let file = Entry::new("f".parse().unwrap(), EntryKind::File { size: 5 }, attributes()).unwrap();
        let step = |size, attributes: &Attributes| compare(FileType::File, size, attributes, Some(&file));
        assert_eq!(step(5, &attributes()), ImportStep::Nothing);
        assert_eq!(step(6, &attributes()), ImportStep::Write);
        let [permissions, uid, gid, mtime] = differing();
        for differs in [permissions, uid, gid] {
            assert_eq!(step(5, &differs), ImportStep::SetAttributes, "{differs:?}");
        }
        assert_eq!(step(5, &mtime), ImportStep::Write);
        assert_eq!(compare(FileType::Symlink, 5, &attributes(), Some(&file)), ImportStep::Write);
        assert_eq!(compare(FileType::File, 5, &attributes(), None), ImportStep::Write);
        // The access time alone is no difference.
        let read = Attributes { atime: Timestamp::from_unix(9, 0).unwrap(), ..attributes() };
        assert_eq!(step(5, &read), ImportStep::Nothing);
    }

    #[test]
    fn a_directory_is_never_fetched_and_the_permissions_of_a_link_mean_nothing() {
        let directory = Entry::new("d/".parse().unwrap(), EntryKind::Directory, attributes()).unwrap();
        let step = |size, attributes: &Attributes| compare(FileType::Directory, size, attributes, Some(&directory));
        assert_eq!((step(0, &attributes()), step(9, &attributes())), (ImportStep::Nothing, ImportStep::Nothing));
        for differs in differing() {
            assert_eq!(step(0, &differs), ImportStep::SetAttributes, "{differs:?}");
        }
        let target = SymlinkTarget::parse(b"x").unwrap();
        let link = Entry::new("l".parse().unwrap(), EntryKind::Symlink { target }, attributes()).unwrap();
        let [permissions, uid, ..] = differing();
        let step = |attributes: &Attributes| compare(FileType::Symlink, 1, attributes, Some(&link));
        assert_eq!((step(&permissions), step(&uid)), (ImportStep::Nothing, ImportStep::SetAttributes));
    }

    #[test]
    fn a_path_with_more_names_than_the_budget_allows_is_refused() {
        let mut claims = Claims::new(Clash::DirectoryWins).with_depth(2);
        for key in ["a/b", "c/d/e", "f/g/"] {
            claims.next(key, ()).unwrap();
        }
        let made: Vec<String> = claims.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            made,
            [
                "make the directory a/ for what is in it",
                "make a/b",
                "leave out: invalid key \"c/d/e\": expected at most 2 names, found more at byte 3",
                "make the directory f/ for what is in it",
                "make f/g/"
            ]
        );
    }

    #[test]
    fn what_is_decided_is_handed_out_once() {
        let mut claims = Claims::new(Clash::DirectoryWins);
        claims.next("a", ()).unwrap();
        // It may still turn out to be a directory.
        assert_eq!(claims.ready(), []);
        claims.next("b", ()).unwrap();
        assert_eq!(claims.ready(), [Claim::Object { key: "a".parse().unwrap(), object: () }]);
        assert_eq!(claims.ready(), []);
        assert_eq!(claims.finish(), [Claim::Object { key: "b".parse().unwrap(), object: () }]);
    }

    #[test]
    fn file_and_directory_of_one_name() {
        assert_eq!(claims(Clash::DirectoryWins, &["a", "a/"]), ["leave out a, since a/ is a directory", "make a/"]);
        assert_eq!(
            claims(Clash::FirstWins, &["a", "a-", "a/", "a/b", "b"]),
            [
                "make a",
                "make a-",
                "leave out a/, since a is not a directory",
                "leave out a/b, since a is not a directory",
                "make b"
            ]
        );
    }

    #[test]
    fn a_chain_of_files_that_turn_out_to_be_directories() {
        assert_eq!(
            claims(Clash::DirectoryWins, &["a", "a!", "a!/", "a!/x", "a/", "a/x"]),
            [
                "leave out a!, since a!/ is a directory",
                "make a!/",
                "make a!/x",
                "leave out a, since a/ is a directory",
                "make a/",
                "make a/x"
            ]
        );
    }

    #[test]
    fn a_key_that_is_refused_makes_no_directory() {
        assert_eq!(
            claims(Clash::DirectoryWins, &["a", "a/../b"]),
            ["leave out: invalid key \"a/../b\": expected a name, found `..` at byte 2", "make a"]
        );
    }

    #[test]
    fn directories_are_implied_once() {
        assert_eq!(
            claims(Clash::DirectoryWins, &["a/b/c", "a/b/d", "a/c/", "a/c/d/e"]),
            [
                "make the directory a/ for what is in it",
                "make the directory a/b/ for what is in it",
                "make a/b/c",
                "make a/b/d",
                "make a/c/",
                "make the directory a/c/d/ for what is in it",
                "make a/c/d/e"
            ]
        );
    }

    #[test]
    fn the_object_of_the_prefix_is_no_entry() {
        assert_eq!(claims(Clash::DirectoryWins, &["", "a"]), ["leave out the object of the prefix itself", "make a"]);
    }

    #[test]
    fn disorder_is_an_error() {
        let mut claims = Claims::new(Clash::DirectoryWins);
        claims.next("a/", ()).unwrap();
        assert_eq!(
            claims.next("a", ()).unwrap_err().to_string(),
            "the listing is out of order: expected a key behind \"a/\", found \"a\""
        );
        assert!(claims.next("a/", ()).is_err());
    }
}
