//! [`Entry`]: the noun between a tree and a bucket, and its two ways to and from an object.

use crate::key::Key;
use crate::metadata::{
    Attributes, DecodedAttributes, Fallback, Field, Fields, InvalidField, Origin, Origins, USER_AGENT,
};
use crate::mode::{FileType, Mode, Permissions};
use crate::profile::{Atime, Damage, LinkTargets, Profile};
use crate::symlink::{InvalidTarget, SymlinkTarget};
use crate::timestamp::Timestamp;
use http::header::{CONTENT_TYPE, HeaderMap};
use std::fmt;
use thiserror::Error;

/// A file, directory or symbolic link: its key, what it is, its attributes.
///
/// - The key ends in `/` exactly when the entry is a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Parts", into = "Parts"))]
pub struct Entry {
    key: Key,
    kind: EntryKind,
    attributes: Attributes,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: SymlinkTarget,
    },
}

impl EntryKind {
    /// The type.
    #[must_use]
    pub const fn file_type(&self) -> FileType {
        match self {
            Self::File { .. } => FileType::File,
            Self::Directory => FileType::Directory,
            Self::Symlink { .. } => FileType::Symlink,
        }
    }
}

/// The public parts of an entry, for its text form.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Parts {
    key: Key,
    kind: EntryKind,
    #[serde(flatten)]
    attributes: Attributes,
}

#[cfg(feature = "serde")]
impl TryFrom<Parts> for Entry {
    type Error = KindMismatch;

    fn try_from(parts: Parts) -> Result<Self, KindMismatch> {
        Self::new(parts.key, parts.kind, parts.attributes)
    }
}

#[cfg(feature = "serde")]
impl From<Entry> for Parts {
    fn from(entry: Entry) -> Self {
        Self { key: entry.key, kind: entry.kind, attributes: entry.attributes }
    }
}

impl Entry {
    /// Puts an entry together.
    ///
    /// # Errors
    /// [`KindMismatch`] when the key ends in `/` and the kind is no directory, or the other way round.
    ///
    /// ```
    /// use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Timestamp, Uid};
    ///
    /// let attributes = Attributes {
    ///     permissions: Permissions::from_mode(0o755), uid: Uid::ROOT, gid: Gid::ROOT,
    ///     atime: Timestamp::EPOCH, mtime: Timestamp::EPOCH,
    /// };
    /// assert!(Entry::new(Key::parse("d/")?, EntryKind::Directory, attributes).is_ok());
    ///
    /// let refused = Entry::new(Key::parse("d")?, EntryKind::Directory, attributes).unwrap_err();
    /// assert_eq!(refused.to_string(), "the key \"d\" cannot name a directory");
    /// # Ok::<(), posix_s3::InvalidKey>(())
    /// ```
    pub fn new(key: Key, kind: EntryKind, attributes: Attributes) -> Result<Self, KindMismatch> {
        if key.is_directory() != (kind == EntryKind::Directory) {
            return Err(KindMismatch { key, file_type: kind.file_type() });
        }
        Ok(Self { key, kind, attributes })
    }

    /// The key relative to the link's prefix.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// What the entry is.
    #[must_use]
    pub const fn kind(&self) -> &EntryKind {
        &self.kind
    }

    /// The type.
    #[must_use]
    pub const fn file_type(&self) -> FileType {
        self.kind.file_type()
    }

    /// The attributes.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The size of the object's body in bytes: of a file its length, of a link the length of its target, else 0.
    #[must_use]
    pub fn object_size(&self) -> u64 {
        match &self.kind {
            EntryKind::File { size } => *size,
            EntryKind::Directory => 0,
            EntryKind::Symlink { target } => target.size(),
        }
    }

    /// The same entry as a profile stores and restores it: without the permission bits that it drops, and with mtime for
    /// an access time that it leaves out.
    ///
    /// What an export writes and what an import makes are equal exactly when this is.
    #[must_use]
    pub fn normalized(mut self, profile: &Profile) -> Self {
        self.attributes.permissions = profile.permissions(self.file_type(), self.attributes.permissions);
        if profile.atime == Atime::LeftOut {
            self.attributes.atime = self.attributes.mtime;
        }
        self
    }

    /// The headers of the object: `Content-Type`, the fields of the schema, the user agent of the profile.
    ///
    /// Permission bits that the profile drops are not written.
    #[must_use]
    pub fn encode(&self, profile: &Profile) -> HeaderMap {
        let file_type = self.file_type();
        let mut headers = HeaderMap::with_capacity(8);
        let permissions = profile.permissions(file_type, self.attributes.permissions);
        Attributes { permissions, ..self.attributes }.encode_into(file_type, &mut headers);
        if profile.atime == Atime::LeftOut {
            headers.remove(Field::Atime.header());
        }
        headers.insert(USER_AGENT.clone(), profile.user_agent.clone());
        headers.insert(CONTENT_TYPE, profile.content_types.of(&self.key, file_type));
        headers
    }
}

/// A key and a kind that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the key \"{key}\" cannot name a {file_type}")]
pub struct KindMismatch {
    key: Key,
    file_type: FileType,
}

/// What a bucket says about an object, without its body.
#[derive(Clone, Copy, Debug)]
pub struct ObjectHead<'a> {
    /// The key relative to the link's prefix.
    pub key: &'a Key,
    /// The fields of the schema.
    pub fields: Fields<'a>,
    /// The size of the body in bytes.
    pub size: u64,
    /// When the object was last modified.
    pub last_modified: Timestamp,
}

impl ObjectHead<'_> {
    /// Decides what the object is and which attributes it has.
    ///
    /// `current` is what stands where the object goes, if anything does: a changed object that lost its metadata keeps the
    /// permissions and ids of an entry of its own type. Else the profile's defaults apply.
    ///
    /// The kind: a trailing `/` is a directory whatever the type digits say; else link digits make a link; file digits
    /// or none a file; the digits of a directory or of a special file are refused.
    ///
    /// # Errors
    /// [`Refusal`], when the object is not imported.
    pub fn decode(&self, profile: &Profile, current: Option<&Entry>) -> Result<DecodedHead, Refusal> {
        let mode = self.fields.mode();
        let digits = mode.as_ref().ok().copied().flatten().and_then(Mode::file_type);
        let (file_type, ignored) = match (self.key.is_directory(), digits) {
            (true, Some(digits)) if digits != FileType::Directory => (FileType::Directory, Some(digits)),
            (true, _) => (FileType::Directory, None),
            (false, None | Some(FileType::File)) => (FileType::File, None),
            (false, Some(FileType::Symlink)) => (FileType::Symlink, None),
            (false, Some(FileType::Directory)) => return Err(Refusal::DirectoryWithoutSlash),
            (false, Some(file_type)) => return Err(Refusal::UnsupportedType { file_type }),
        };
        let kept = current.filter(|current| current.file_type() == file_type).map(Entry::attributes);
        let (permissions, uid, gid, origin) = match kept {
            Some(kept) => (kept.permissions, kept.uid, kept.gid, Origin::Kept),
            None => {
                let defaults = &profile.defaults;
                (defaults.permissions(file_type), defaults.uid, defaults.gid, Origin::Default)
            }
        };
        let fallback = Fallback { permissions, uid, gid, modified: self.last_modified, origin };
        let DecodedAttributes { mut attributes, origins, damaged, .. } =
            Attributes::decode_with_mode(mode, &self.fields, &fallback);
        let mut findings: Vec<Finding> = ignored.map(|digits| Finding::TypeIgnored { digits }).into_iter().collect();
        if profile.damage == Damage::Refuse {
            if let Some(damaged) = damaged.into_iter().next() {
                return Err(Refusal::Damaged(damaged));
            }
            if self.fields.missing() > 0 {
                return Err(Refusal::MetadataWithheld { values: self.fields.missing() });
            }
        } else {
            findings
                .extend(damaged.into_iter().map(|error| Finding::Damaged { used: origins.of(error.field()), error }));
            if self.fields.missing() > 0 {
                findings.push(Finding::MetadataWithheld { values: self.fields.missing() });
            }
        }
        if file_type == FileType::Symlink && self.size > profile.link_target_bytes as u64 {
            let most = profile.link_target_bytes;
            return Err(Refusal::Target(InvalidTarget::TooLong { bytes: self.size, most }));
        }
        if file_type == FileType::Directory && self.size > 0 {
            findings.push(Finding::BodyIgnored { bytes: self.size });
        }
        let applied = profile.permissions(file_type, attributes.permissions);
        if applied != attributes.permissions {
            findings.push(Finding::BitsDropped { found: attributes.permissions, applied });
        }
        attributes.permissions = applied;
        findings.extend([Field::Atime, Field::Mtime].into_iter().filter_map(|field| self.unit_slip(field)));
        Ok(DecodedHead { file_type, size: self.size, attributes, origins, findings })
    }

    /// A bare number whose size suggests that its writer meant another unit. It is still read as milliseconds.
    fn unit_slip(&self, field: Field) -> Option<Finding> {
        let text = self.fields.text(field)?;
        if text.ends_with(b"ns") {
            return None;
        }
        let milliseconds = Timestamp::parse(text).ok()?.nanoseconds().checked_div(1_000_000)?;
        match milliseconds {
            // As seconds: 1973 to 5138. As milliseconds: the first months of 1970.
            100_000_000..=99_999_999_999 => Some(Finding::UnitSlip { field, unit: "seconds" }),
            // As nanoseconds: from 1973. As milliseconds: beyond the year three million.
            100_000_000_000_000_000.. => Some(Finding::UnitSlip { field, unit: "nanoseconds" }),
            _ => None,
        }
    }
}

/// What [`ObjectHead::decode`] decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedHead {
    /// File, directory or symlink.
    pub file_type: FileType,
    /// The size of the body in bytes.
    pub size: u64,
    /// The attributes to apply.
    pub attributes: Attributes,
    /// Where each came from.
    pub origins: Origins,
    /// What was odd about the object and did not keep it from being imported.
    pub findings: Vec<Finding>,
}

impl DecodedHead {
    /// The entry, for which a link needs its body.
    ///
    /// # Errors
    /// [`Refusal`] when the body is no target, or one that the profile does not make.
    pub fn into_entry(self, key: &Key, body: &[u8], profile: &Profile) -> Result<Entry, Refusal> {
        let kind = match self.file_type {
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink { target: check_target(key, body, profile)? },
            _ => EntryKind::File { size: self.size },
        };
        // Invariant: `decode` made a directory exactly of a key with a slash.
        Ok(Entry { key: key.clone(), kind, attributes: self.attributes })
    }
}

fn check_target(link: &Key, body: &[u8], profile: &Profile) -> Result<SymlinkTarget, Refusal> {
    let target = SymlinkTarget::parse(body)?;
    if body.len() > profile.link_target_bytes {
        return Err(InvalidTarget::TooLong { bytes: target.size(), most: profile.link_target_bytes }.into());
    }
    if profile.link_targets == LinkTargets::WithinRoot && target.leaves_root(link) {
        return Err(Refusal::TargetLeavesRoot { target });
    }
    Ok(target)
}

/// Something odd about an object that is imported all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A field is damaged; another value was used.
    Damaged {
        /// The field and what is wrong with it.
        error: InvalidField,
        /// Where the value that was used came from.
        used: Origin,
    },
    /// Set-id bits, or the sticky bit of a file, were dropped.
    BitsDropped {
        /// The permissions of the header.
        found: Permissions,
        /// The permissions that apply.
        applied: Permissions,
    },
    /// The key ends in `/`, so the object is a directory; its type digits say something else.
    TypeIgnored {
        /// The type of the digits.
        digits: FileType,
    },
    /// A directory's object has a body, which is not read.
    BodyIgnored {
        /// Its size in bytes.
        bytes: u64,
    },
    /// S3 kept values back that HTTP cannot carry.
    MetadataWithheld {
        /// How many.
        values: usize,
    },
    /// A time without `ns` was read as milliseconds and looks as if another unit was meant.
    UnitSlip {
        /// Which field.
        field: Field,
        /// What it looks like.
        unit: &'static str,
    },
}

impl Finding {
    /// The name of the finding, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Damaged { error, .. } => error.fault().code(),
            Self::BitsDropped { .. } => "bits-dropped",
            Self::TypeIgnored { .. } => "type-ignored",
            Self::BodyIgnored { .. } => "body-ignored",
            Self::MetadataWithheld { .. } => "metadata-withheld",
            Self::UnitSlip { .. } => "unit-slip",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { error, used } => write!(f, "{}; used {used}", Chain(error)),
            Self::BitsDropped { found, applied } => write!(f, "permissions {found} applied as {applied}"),
            Self::TypeIgnored { digits } => write!(f, "a directory by its slash, a {digits} by its type digits"),
            Self::BodyIgnored { bytes } => write!(f, "a directory with a body of {bytes} bytes, which is not kept"),
            Self::MetadataWithheld { values } => write!(f, "S3 kept back {values} metadata values"),
            Self::UnitSlip { field, unit } => {
                write!(f, "header {field} has no unit and is read as milliseconds, but looks like {unit}")
            }
        }
    }
}

/// Why an object is not imported.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The type digits are those of a device, pipe or socket.
    #[error("the type digits are those of a {file_type}")]
    UnsupportedType {
        /// The type.
        file_type: FileType,
    },
    /// The type digits are those of a directory, but the key does not end in `/`.
    #[error("the type digits are those of a directory, but the key does not end in a slash")]
    DirectoryWithoutSlash,
    /// A field is damaged, and the profile refuses such objects.
    #[error("the metadata is damaged")]
    Damaged(#[source] InvalidField),
    /// S3 kept metadata values back, and the profile refuses such objects.
    #[error("S3 kept back {values} metadata values")]
    MetadataWithheld {
        /// How many.
        values: usize,
    },
    /// The body is no link target.
    #[error("the body is no link target")]
    Target(#[from] InvalidTarget),
    /// The target leaves the root, and the profile refuses that.
    #[error("the link target \"{target}\" leaves the root")]
    TargetLeavesRoot {
        /// The target.
        target: SymlinkTarget,
    },
}

impl Refusal {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedType { .. } => "unsupported-file-type",
            Self::DirectoryWithoutSlash => "directory-without-slash",
            Self::Damaged(error) => error.fault().code(),
            Self::MetadataWithheld { .. } => "metadata-withheld",
            Self::Target(error) => error.code(),
            Self::TargetLeavesRoot { .. } => "leaves-root",
        }
    }
}

/// An error with everything behind it, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::user_metadata_size;
    use crate::owner::{Gid, Uid};
    use crate::profile::{Attitude, Service};

    fn attributes(permissions: u32) -> Attributes {
        Attributes {
            permissions: Permissions::from_mode(permissions),
            uid: Uid::new(500).unwrap(),
            gid: Gid::new(501).unwrap(),
            atime: Timestamp::from_unix(1, 0).unwrap(),
            mtime: Timestamp::from_unix(2, 0).unwrap(),
        }
    }

    fn entry(key: &str, kind: EntryKind) -> Entry {
        Entry::new(key.parse().unwrap(), kind, attributes(0o6755)).unwrap()
    }

    fn decode(
        key: &str,
        size: u64,
        pairs: &[(&'static str, &str)],
        attitude: Attitude,
        current: Option<&Entry>,
    ) -> Result<DecodedHead, Refusal> {
        let key = key.parse().unwrap();
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let last_modified = Timestamp::from_unix(9, 0).unwrap();
        let head = ObjectHead { key: &key, fields: Fields::from_headers(&headers), size, last_modified };
        head.decode(&Profile::new(Service::Fsx2020, attitude), current)
    }

    fn codes(decoded: Result<DecodedHead, Refusal>) -> Vec<&'static str> {
        match decoded {
            Ok(decoded) => decoded.findings.iter().map(Finding::code).collect(),
            Err(refused) => vec!["refused", refused.code()],
        }
    }

    const PERMISSIONS: &str = "x-amz-meta-file-permissions";

    #[test]
    fn an_entry_is_a_directory_exactly_when_its_key_says_so() {
        let target = SymlinkTarget::parse(b"abc").unwrap();
        let link = entry("l", EntryKind::Symlink { target: target.clone() });
        assert_eq!((link.file_type(), link.object_size()), (FileType::Symlink, 3));
        let file = entry("f", EntryKind::File { size: 7 });
        assert_eq!((file.file_type(), file.object_size(), file.key().as_str()), (FileType::File, 7, "f"));
        let directory = entry("d/", EntryKind::Directory);
        assert_eq!((directory.file_type(), directory.object_size()), (FileType::Directory, 0));
        for (key, kind) in
            [("d", EntryKind::Directory), ("f/", EntryKind::File { size: 0 }), ("l/", EntryKind::Symlink { target })]
        {
            assert!(Entry::new(key.parse().unwrap(), kind, attributes(0)).is_err(), "{key}");
        }
    }

    #[test]
    fn what_an_export_writes_is_the_entry_normalized() {
        for service in Service::ALL {
            let profile = Profile::new(service, Attitude::Fsx);
            for entry in [entry("f", EntryKind::File { size: 7 }), entry("d/", EntryKind::Directory)] {
                let normalized = entry.clone().normalized(&profile);
                let left_out = profile.atime == Atime::LeftOut;
                assert_eq!(normalized.attributes().atime.seconds(), if left_out { 2 } else { 1 });
                let headers = entry.encode(&profile);
                assert_eq!(headers.get(Field::Atime.header()).is_none(), left_out);
                assert_eq!(headers.get(USER_AGENT.clone()), Some(&profile.user_agent));
                assert!(headers.contains_key(CONTENT_TYPE) && user_metadata_size(&headers) > 0);
                let mode = Fields::from_headers(&headers).mode().unwrap().unwrap();
                assert_eq!(mode.permissions(), normalized.attributes().permissions);
                assert_eq!(mode.permissions(), profile.permissions(entry.file_type(), Permissions::from_mode(0o6755)));
            }
        }
    }

    #[test]
    fn the_slash_decides_and_type_digits_that_contradict_it_are_found_or_refused() {
        let kind = |key, mode| decode(key, 0, &[(PERMISSIONS, mode)], Attitude::Fsx, None);
        assert_eq!(kind("d/", "0040755").unwrap().file_type, FileType::Directory);
        assert_eq!(codes(kind("d/", "0040755")), [""; 0]);
        assert_eq!(codes(kind("d/", "0000755")), [""; 0]);
        assert_eq!(kind("d/", "0100755").unwrap().file_type, FileType::Directory);
        assert_eq!(codes(kind("d/", "0100755")), ["type-ignored"]);
        assert_eq!(kind("f", "0100755").unwrap().file_type, FileType::File);
        assert_eq!(kind("f", "0000755").unwrap().file_type, FileType::File);
        assert_eq!(kind("f", "0120755").unwrap().file_type, FileType::Symlink);
        assert_eq!(codes(kind("f", "0040755")), ["refused", "directory-without-slash"]);
        for special in ["0010644", "0020644", "0060644", "0140644"] {
            assert_eq!(codes(kind("f", special)), ["refused", "unsupported-file-type"]);
        }
    }

    #[test]
    fn an_object_that_lost_its_metadata_keeps_those_of_an_entry_of_its_own_type_only() {
        let file = entry("f", EntryKind::File { size: 7 });
        let kept = decode("f", 0, &[], Attitude::Fsx, Some(&file)).unwrap();
        assert_eq!((kept.attributes.uid.get(), kept.origins.uid), (500, Origin::Kept));
        let link = entry("f", EntryKind::Symlink { target: SymlinkTarget::parse(b"x").unwrap() });
        for current in [Some(&link), None] {
            let decoded = decode("f", 0, &[], Attitude::Fsx, current).unwrap();
            assert_eq!((decoded.attributes.uid, decoded.origins.uid), (Uid::ROOT, Origin::Default));
            assert_eq!(decoded.attributes.permissions.bits(), 0o755);
            assert_eq!(decoded.attributes.mtime.seconds(), 9);
        }
    }

    #[test]
    fn damage_is_found_in_a_trusted_bucket_and_refused_in_one_of_strangers() {
        let damaged = [("x-amz-meta-file-owner", "ubuntu")];
        assert_eq!(codes(decode("f", 0, &damaged, Attitude::Fsx, None)), ["not-decimal"]);
        assert_eq!(codes(decode("f", 0, &damaged, Attitude::Untrusted, None)), ["refused", "not-decimal"]);
        let withheld = [("x-amz-missing-meta", "2")];
        let found = decode("f", 0, &withheld, Attitude::Fsx, None).unwrap().findings;
        assert_eq!(found, [Finding::MetadataWithheld { values: 2 }]);
        let refused = decode("f", 0, &withheld, Attitude::Untrusted, None).unwrap_err();
        assert_eq!(refused, Refusal::MetadataWithheld { values: 2 });
        for attitude in [Attitude::Fsx, Attitude::Untrusted] {
            assert_eq!(codes(decode("f", 0, &[], attitude, None)), [""; 0]);
        }
    }

    #[test]
    fn a_link_is_as_long_as_its_profile_allows_and_only_a_link_is() {
        let size = |mode, size| codes(decode("f", size, &[(PERMISSIONS, mode)], Attitude::Fsx, None));
        assert_eq!(size("0120777", 4095), [""; 0]);
        assert_eq!(size("0120777", 4096), ["refused", "too-long"]);
        assert_eq!(size("0100644", 4096), [""; 0]);
        let directory = |size| codes(decode("d/", size, &[], Attitude::Fsx, None));
        assert_eq!((directory(0), directory(1)), (vec![], vec!["body-ignored"]));
    }

    #[test]
    fn set_id_bits_are_dropped_and_that_is_found() {
        let decoded = decode("f", 0, &[(PERMISSIONS, "0104755")], Attitude::Untrusted, None).unwrap();
        assert_eq!(decoded.attributes.permissions.bits(), 0o755);
        let (found, applied) = (Permissions::from_mode(0o4755), Permissions::from_mode(0o755));
        assert_eq!(decoded.findings, [Finding::BitsDropped { found, applied }]);
        assert_eq!(codes(decode("f", 0, &[(PERMISSIONS, "0100755")], Attitude::Untrusted, None)), [""; 0]);
    }

    #[test]
    fn a_number_without_unit_that_looks_like_another_is_found() {
        let unit = |text: &str| {
            let decoded = decode("f", 0, &[("x-amz-meta-file-mtime", text)], Attitude::Fsx, None).unwrap();
            match decoded.findings.as_slice() {
                [] => None,
                [Finding::UnitSlip { field: Field::Mtime, unit }] => Some(*unit),
                other => panic!("{other:?}"),
            }
        };
        for (text, expected) in [
            ("99999999", None),
            ("100000000", Some("seconds")),
            ("99999999999", Some("seconds")),
            ("100000000000", None),
            ("99999999999999999", None),
            ("100000000000000000", Some("nanoseconds")),
            ("100000000ns", None),
            ("1595002920000000000ns", None),
        ] {
            assert_eq!(unit(text), expected, "{text}");
        }
    }

    #[test]
    fn the_body_makes_the_target_and_the_attitude_says_which_targets() {
        let key: Key = "a/l".parse().unwrap();
        let made = |body: &[u8], attitude| {
            let head = decode("a/l", 1, &[(PERMISSIONS, "0120777")], attitude, None).unwrap();
            head.into_entry(&key, body, &Profile::new(Service::S3Files, attitude))
        };
        let target = |body: &[u8]| EntryKind::Symlink { target: SymlinkTarget::parse(body).unwrap() };
        assert_eq!(made(b"../b", Attitude::Untrusted).unwrap().kind(), &target(b"../b"));
        assert_eq!(made(b"../../b", Attitude::Untrusted).unwrap_err().code(), "leaves-root");
        assert_eq!(made(b"../../b", Attitude::Fsx).unwrap().kind(), &target(b"../../b"));
        assert_eq!(made(b"", Attitude::Fsx).unwrap_err().code(), "empty");
        // The service makes no longer ones, though Linux would.
        assert!(made(&[b'x'; 4080], Attitude::Fsx).is_ok());
        assert_eq!(made(&[b'x'; 4081], Attitude::Fsx).unwrap_err().code(), "too-long");
        let file = decode("f", 7, &[], Attitude::Fsx, None).unwrap();
        let profile = Profile::new(Service::Fsx2020, Attitude::Fsx);
        assert_eq!(file.into_entry(&"f".parse().unwrap(), b"", &profile).unwrap().kind(), &EntryKind::File { size: 7 });
        let directory = decode("d/", 0, &[], Attitude::Fsx, None).unwrap();
        assert_eq!(directory.into_entry(&"d/".parse().unwrap(), b"", &profile).unwrap().kind(), &EntryKind::Directory);
    }

    #[test]
    fn findings_say_what_was_found_and_what_was_done() {
        let found = |key: &str, size, pairs: &[(&'static str, &str)]| -> Vec<String> {
            let decoded = decode(key, size, pairs, Attitude::Fsx, None).unwrap();
            decoded.findings.iter().map(Finding::to_string).collect()
        };
        assert_eq!(
            found("f", 0, &[("x-amz-meta-file-owner", "ubuntu"), ("x-amz-missing-meta", "3")]),
            [
                "invalid header x-amz-meta-file-owner: invalid id \"ubuntu\": expected a decimal digit, found `u` at \
                 byte 0; used the default",
                "S3 kept back 3 metadata values"
            ]
        );
        assert_eq!(
            found("d/", 5, &[(PERMISSIONS, "0106755"), ("x-amz-meta-file-mtime", "1595002920")]),
            [
                "a directory by its slash, a file by its type digits",
                "a directory with a body of 5 bytes, which is not kept",
                "permissions 6755 applied as 0755",
                "header x-amz-meta-file-mtime has no unit and is read as milliseconds, but looks like seconds"
            ]
        );
    }
}
