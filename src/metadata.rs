//! [`Attributes`] and the headers that hold them; the names of the headers stand here and nowhere else.

use crate::escape::escape;
use crate::mode::{FileType, InvalidMode, Mode, Permissions};
use crate::owner::{Gid, InvalidId, Uid};
use crate::timestamp::{InvalidTimestamp, Timestamp};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::error::Error as StdError;
use std::fmt;
use thiserror::Error;

/// What every user metadata header starts with.
pub const USER_METADATA_PREFIX: &str = "x-amz-meta-";
/// The header of type and permissions: octal `st_mode`.
pub static FILE_PERMISSIONS: HeaderName = HeaderName::from_static("x-amz-meta-file-permissions");
/// The header of the owner: decimal uid.
pub static FILE_OWNER: HeaderName = HeaderName::from_static("x-amz-meta-file-owner");
/// The header of the group: decimal gid.
pub static FILE_GROUP: HeaderName = HeaderName::from_static("x-amz-meta-file-group");
/// The header of the last access: nanoseconds with `ns`.
pub static FILE_ATIME: HeaderName = HeaderName::from_static("x-amz-meta-file-atime");
/// The header of the last modification: nanoseconds with `ns`.
pub static FILE_MTIME: HeaderName = HeaderName::from_static("x-amz-meta-file-mtime");
/// The header of the writer; ignored on import, since anyone may write it.
pub static USER_AGENT: HeaderName = HeaderName::from_static("x-amz-meta-user-agent");
/// How many metadata values S3 kept back because HTTP cannot carry them.
pub static MISSING_META: HeaderName = HeaderName::from_static("x-amz-missing-meta");

/// The most user metadata that S3 takes, in bytes: names without `x-amz-meta-`, and values, summed.
///
/// Source: S3 user guide, "Working with object metadata".
pub const USER_METADATA_LIMIT: usize = 2048;

/// The user metadata in `headers` as S3 counts it against [`USER_METADATA_LIMIT`], in bytes.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-amz-meta-file-owner", "500".parse()?);
/// headers.insert("content-type", "text/plain".parse()?);
/// assert_eq!(posix_s3::user_metadata_size(&headers), "file-owner".len() + "500".len());
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn user_metadata_size(headers: &HeaderMap) -> usize {
    headers.iter().fold(0, |sum: usize, (name, value)| match name.as_str().strip_prefix(USER_METADATA_PREFIX) {
        Some(name) => sum.saturating_add(name.len()).saturating_add(value.len()),
        None => sum,
    })
}

/// What POSIX keeps about a file, directory or link and the schema carries.
///
/// There is no ctime, no birth time, no ACL and no extended attribute: the schema has no header for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Attributes {
    /// Permissions, set-id bits and sticky bit.
    pub permissions: Permissions,
    /// The owner.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// The last access.
    pub atime: Timestamp,
    /// The last modification.
    pub mtime: Timestamp,
}

impl Attributes {
    /// Reads all five fields; nothing may be missing or damaged.
    ///
    /// Answers the type digits too, where the text had them.
    ///
    /// # Errors
    /// [`InvalidMetadata`] names the first field at fault.
    ///
    /// ```
    /// use posix_s3::{Attributes, Fields, FileType};
    ///
    /// let fields = Fields::from_user_metadata([
    ///     ("file-permissions", "0100664"), ("file-owner", "500"), ("file-group", "500"),
    ///     ("file-atime", "1595002920000000000ns"), ("file-mtime", "1595002920000000000ns"),
    /// ]);
    /// let (file_type, attributes) = Attributes::decode(&fields)?;
    /// assert_eq!(file_type, Some(FileType::File));
    /// assert_eq!(attributes.uid.get(), 500);
    ///
    /// let damaged = Fields::from_user_metadata([("file-permissions", "rw-r--r--")]);
    /// assert_eq!(Attributes::decode(&damaged).unwrap_err().to_string(), "invalid header x-amz-meta-file-permissions");
    /// # Ok::<(), posix_s3::InvalidMetadata>(())
    /// ```
    pub fn decode(fields: &Fields<'_>) -> Result<(Option<FileType>, Self), InvalidMetadata> {
        let mode = required(fields.mode(), Field::Permissions)?;
        let attributes = Self {
            permissions: mode.permissions(),
            uid: required(fields.uid(), Field::Owner)?,
            gid: required(fields.gid(), Field::Group)?,
            atime: required(fields.time(Field::Atime), Field::Atime)?,
            mtime: required(fields.time(Field::Mtime), Field::Mtime)?,
        };
        Ok((mode.file_type(), attributes))
    }

    /// Reads each field by itself; one that is missing or damaged takes its value from `fallback`.
    ///
    /// Allocates nothing unless a field is damaged.
    #[must_use]
    pub fn decode_or_default(fields: &Fields<'_>, fallback: &Fallback) -> DecodedAttributes {
        Self::decode_with_mode(fields.mode(), fields, fallback)
    }

    /// The same, for whoever has read the permissions already, to learn the type on which the fallback depends.
    pub(crate) fn decode_with_mode(
        mode: Result<Option<Mode>, InvalidField>,
        fields: &Fields<'_>,
        fallback: &Fallback,
    ) -> DecodedAttributes {
        let mut damaged = Vec::new();
        let mut report = |error| damaged.push(error);
        let mode = or_report(mode, &mut report);
        let uid = or_report(fields.uid(), &mut report);
        let gid = or_report(fields.gid(), &mut report);
        let atime = or_report(fields.time(Field::Atime), &mut report);
        let mtime = or_report(fields.time(Field::Mtime), &mut report);
        let attributes = Self {
            permissions: mode.map_or(fallback.permissions, Mode::permissions),
            uid: uid.unwrap_or(fallback.uid),
            gid: gid.unwrap_or(fallback.gid),
            atime: atime.or(mtime).unwrap_or(fallback.modified),
            mtime: mtime.unwrap_or(fallback.modified),
        };
        let origin = |present: bool| if present { Origin::Header } else { fallback.origin };
        let origins = Origins {
            permissions: origin(mode.is_some()),
            uid: origin(uid.is_some()),
            gid: origin(gid.is_some()),
            atime: match (atime, mtime) {
                (Some(_), _) => Origin::Header,
                (None, Some(_)) => Origin::Mtime,
                (None, None) => Origin::LastModified,
            },
            mtime: if mtime.is_some() { Origin::Header } else { Origin::LastModified },
        };
        DecodedAttributes { attributes, file_type: mode.and_then(Mode::file_type), origins, damaged }
    }

    /// The five headers, with the type digits of `file_type`.
    ///
    /// It cannot fail, since a value that could not be written cannot be built. What a profile strips and adds
    /// ([`Entry::encode`](crate::Entry::encode)) is not done here.
    #[must_use]
    pub fn encode(&self, file_type: FileType) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        self.encode_into(file_type, &mut headers);
        headers
    }

    pub(crate) fn encode_into(&self, file_type: FileType, headers: &mut HeaderMap) {
        // One buffer for all five values; each header holds a slice of it.
        let mut text = Vec::with_capacity(128);
        let mut ends = [0_usize; 5];
        let [permissions, owner, group, atime, mtime] = &mut ends;
        text.extend_from_slice(&Mode::new(Some(file_type), self.permissions).encode());
        *permissions = text.len();
        text.extend_from_slice(itoa::Buffer::new().format(self.uid.get()).as_bytes());
        *owner = text.len();
        text.extend_from_slice(itoa::Buffer::new().format(self.gid.get()).as_bytes());
        *group = text.len();
        self.atime.encode(&mut text);
        *atime = text.len();
        self.mtime.encode(&mut text);
        *mtime = text.len();
        let mut text = Bytes::from(text);
        let mut start = 0;
        let names = [&FILE_PERMISSIONS, &FILE_OWNER, &FILE_GROUP, &FILE_ATIME, &FILE_MTIME];
        for (name, end) in names.into_iter().zip(ends) {
            let value = text.split_to(end.saturating_sub(start));
            start = end;
            // Invariant: digits, a sign and `ns` are always a valid header value.
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.insert(name.clone(), value);
            }
        }
    }
}

fn required<T>(value: Result<Option<T>, InvalidField>, field: Field) -> Result<T, InvalidMetadata> {
    match value {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(InvalidMetadata::Missing { field }),
        Err(damaged) => Err(InvalidMetadata::Damaged(damaged)),
    }
}

fn or_report<T>(value: Result<Option<T>, InvalidField>, report: &mut impl FnMut(InvalidField)) -> Option<T> {
    value.unwrap_or_else(|damaged| {
        report(damaged);
        None
    })
}

/// What stands in for fields that an object does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// For missing permissions.
    pub permissions: Permissions,
    /// For a missing owner.
    pub uid: Uid,
    /// For a missing group.
    pub gid: Gid,
    /// For a missing mtime: when the object was last modified. A missing atime is taken from mtime.
    pub modified: Timestamp,
    /// Where permissions and ids come from: [`Origin::Default`] or [`Origin::Kept`].
    pub origin: Origin,
}

/// The result of [`Attributes::decode_or_default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedAttributes {
    /// The attributes, complete.
    pub attributes: Attributes,
    /// The type digits, where the text had them.
    pub file_type: Option<FileType>,
    /// Where each field came from.
    pub origins: Origins,
    /// The fields that were present and damaged.
    pub damaged: Vec<InvalidField>,
}

/// Where the value of a field came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Origin {
    /// The object's own header.
    Header,
    /// The profile's default.
    Default,
    /// The file as it is now: a changed object that lost its metadata keeps it.
    Kept,
    /// The object's Last-Modified, for a missing mtime.
    LastModified,
    /// The mtime, for a missing atime.
    Mtime,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header",
            Self::Default => "the default",
            Self::Kept => "the file as it is",
            Self::LastModified => "Last-Modified",
            Self::Mtime => "mtime",
        })
    }
}

/// Where each field came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Origins {
    /// Of the permissions.
    pub permissions: Origin,
    /// Of the owner.
    pub uid: Origin,
    /// Of the group.
    pub gid: Origin,
    /// Of the access time.
    pub atime: Origin,
    /// Of the modification time.
    pub mtime: Origin,
}

impl Origins {
    /// The names of the fields that did not come from a header, sorted.
    pub fn defaulted(&self) -> impl Iterator<Item = &'static str> + use<> {
        let fields = [
            ("atime", self.atime),
            ("gid", self.gid),
            ("mtime", self.mtime),
            ("permissions", self.permissions),
            ("uid", self.uid),
        ];
        fields.into_iter().filter(|&(_, origin)| origin != Origin::Header).map(|(name, _)| name)
    }

    /// The origin of one field.
    #[must_use]
    pub const fn of(&self, field: Field) -> Origin {
        match field {
            Field::Permissions => self.permissions,
            Field::Owner => self.uid,
            Field::Group => self.gid,
            Field::Atime => self.atime,
            Field::Mtime => self.mtime,
        }
    }
}

/// One of the five fields of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Field {
    /// `file-permissions`
    Permissions,
    /// `file-owner`
    Owner,
    /// `file-group`
    Group,
    /// `file-atime`
    Atime,
    /// `file-mtime`
    Mtime,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Permissions, Self::Owner, Self::Group, Self::Atime, Self::Mtime];

    /// The name of the header.
    #[must_use]
    pub fn header(self) -> &'static HeaderName {
        match self {
            Self::Permissions => &FILE_PERMISSIONS,
            Self::Owner => &FILE_OWNER,
            Self::Group => &FILE_GROUP,
            Self::Atime => &FILE_ATIME,
            Self::Mtime => &FILE_MTIME,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header().as_str())
    }
}

/// The texts of the five fields as an object has them, borrowed and not yet read.
///
/// It sees through what S3 and its clients do to headers: names in any case, a header given twice, two headers
/// merged into one with a comma, an RFC 2047 word in place of text, values kept back by S3.
///
/// ```
/// use posix_s3::Fields;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("X-Amz-Meta-File-Owner", "500".parse()?);
/// assert_eq!(Fields::from_headers(&headers).uid()?.map(|uid| uid.get()), Some(500));
///
/// headers.insert("x-amz-meta-file-owner", "500,0".parse()?);
/// assert!(Fields::from_headers(&headers).uid().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    permissions: Text<'a>,
    owner: Text<'a>,
    group: Text<'a>,
    atime: Text<'a>,
    mtime: Text<'a>,
    missing: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Text<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    /// The header stood there more than once; the first value is kept for the message.
    Repeated(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// Takes the fields out of the headers of an answer, in one pass and without allocating.
    #[must_use]
    pub fn from_headers(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            match name.strip_prefix(USER_METADATA_PREFIX) {
                Some(name) => fields.add(name, value.as_bytes()),
                None if name == "x-amz-missing-meta" => fields.missing = Some(value.as_bytes()),
                None => {}
            }
        }
        fields
    }

    /// Takes the fields out of a map as SDKs hand it out: names without `x-amz-meta-`, in any case.
    pub fn from_user_metadata<V: AsRef<[u8]> + ?Sized + 'a>(pairs: impl IntoIterator<Item = (&'a str, &'a V)>) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            let known = ["file-permissions", "file-owner", "file-group", "file-atime", "file-mtime"];
            if let Some(known) = known.into_iter().find(|known| known.eq_ignore_ascii_case(name)) {
                fields.add(known, value.as_ref());
            }
        }
        fields
    }

    fn add(&mut self, name: &str, value: &'a [u8]) {
        let text = match name {
            "file-permissions" => &mut self.permissions,
            "file-owner" => &mut self.owner,
            "file-group" => &mut self.group,
            "file-atime" => &mut self.atime,
            "file-mtime" => &mut self.mtime,
            _ => return,
        };
        *text = match *text {
            Text::Absent => Text::Once(value),
            Text::Once(first) | Text::Repeated(first) => Text::Repeated(first),
        };
    }

    /// The text of a field, when it is there exactly once.
    #[must_use]
    pub const fn text(&self, field: Field) -> Option<&'a [u8]> {
        match self.slot(field) {
            Text::Once(text) => Some(text),
            Text::Absent | Text::Repeated(_) => None,
        }
    }

    const fn slot(&self, field: Field) -> Text<'a> {
        match field {
            Field::Permissions => self.permissions,
            Field::Owner => self.owner,
            Field::Group => self.group,
            Field::Atime => self.atime,
            Field::Mtime => self.mtime,
        }
    }

    /// The `file-permissions` field, or `None` when it is absent.
    ///
    /// # Errors
    /// [`InvalidField`] when it is damaged.
    pub fn mode(&self) -> Result<Option<Mode>, InvalidField> {
        self.read(Field::Permissions, Mode::parse, FieldFault::Permissions)
    }

    /// The `file-owner` field, or `None` when it is absent.
    ///
    /// # Errors
    /// [`InvalidField`] when it is damaged.
    pub fn uid(&self) -> Result<Option<Uid>, InvalidField> {
        self.read(Field::Owner, Uid::parse, FieldFault::Id)
    }

    /// The `file-group` field, or `None` when it is absent. It is never a copy of the owner.
    ///
    /// # Errors
    /// [`InvalidField`] when it is damaged.
    pub fn gid(&self) -> Result<Option<Gid>, InvalidField> {
        self.read(Field::Group, Gid::parse, FieldFault::Id)
    }

    /// The `file-atime` or `file-mtime` field, or `None` when it is absent.
    ///
    /// # Errors
    /// [`InvalidField`] when it is damaged.
    pub fn time(&self, field: Field) -> Result<Option<Timestamp>, InvalidField> {
        self.read(field, Timestamp::parse, FieldFault::Time)
    }

    /// How many values S3 kept back: the number in `x-amz-missing-meta`, 1 if it is no number.
    #[must_use]
    pub fn missing(&self) -> usize {
        let Some(text) = self.missing else { return 0 };
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
    }

    fn read<T, E>(
        &self,
        field: Field,
        parse: impl Fn(&[u8]) -> Result<T, E>,
        fault: impl FnOnce(E) -> FieldFault,
    ) -> Result<Option<T>, InvalidField> {
        let text = match self.slot(field) {
            Text::Absent => return Ok(None),
            Text::Once(text) => text,
            Text::Repeated(first) => {
                return Err(InvalidField { field, fault: FieldFault::Repeated(Distorted::new(first)) });
            }
        };
        parse(text).map(Some).map_err(|error| {
            // The distortions are told apart only once the value has turned out to be none.
            let mut values = text.split(|&byte| byte == b',');
            let fault = if text.contains(&b',') && values.all(|value| parse(value.trim_ascii()).is_ok()) {
                FieldFault::Repeated(Distorted::new(text))
            } else if text.starts_with(b"=?") && text.ends_with(b"?=") {
                FieldFault::EncodedWord(Distorted::new(text))
            } else {
                fault(error)
            };
            InvalidField { field, fault }
        })
    }
}

/// A metadata field that is present and damaged. The cause is its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    field: Field,
    fault: FieldFault,
}

impl InvalidField {
    /// Which field.
    #[must_use]
    pub const fn field(&self) -> Field {
        self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn fault(&self) -> &FieldFault {
        &self.fault
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid header {}", self.field)
    }
}

impl StdError for InvalidField {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(match &self.fault {
            FieldFault::Permissions(error) => error,
            FieldFault::Id(error) => error,
            FieldFault::Time(error) => error,
            FieldFault::Repeated(error) | FieldFault::EncodedWord(error) => error,
        })
    }
}

/// What is wrong with a metadata field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldFault {
    /// The text is no `st_mode`.
    Permissions(InvalidMode),
    /// The text is no id.
    Id(InvalidId),
    /// The text is no time.
    Time(InvalidTimestamp),
    /// The header stood there more than once, or was merged from several with a comma.
    Repeated(Distorted),
    /// S3 answered an RFC 2047 word, as it does for values that are not ASCII; a field of the schema never is that.
    EncodedWord(Distorted),
}

impl FieldFault {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Permissions(error) => error.fault().code(),
            Self::Id(error) => error.fault().code(),
            Self::Time(error) => error.fault().code(),
            Self::Repeated(_) => "repeated-header",
            Self::EncodedWord(_) => "encoded-word",
        }
    }
}

/// A value that something on the way has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected one plain value, found \"{text}\"")]
pub struct Distorted {
    text: Box<str>,
}

impl Distorted {
    fn new(text: &[u8]) -> Self {
        Self { text: escape(text).to_string().into() }
    }
}

/// Metadata that [`Attributes::decode`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidMetadata {
    /// A field is absent.
    #[error("missing header {field}")]
    Missing {
        /// Which field.
        field: Field,
    },
    /// A field is damaged.
    #[error(transparent)]
    Damaged(#[from] InvalidField),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn fallback() -> Fallback {
        Fallback {
            permissions: Permissions::from_mode(0o755),
            uid: Uid::ROOT,
            gid: Gid::ROOT,
            modified: Timestamp::EPOCH,
            origin: Origin::Default,
        }
    }

    #[test]
    fn six_headers_of_the_walkthrough() {
        let headers = headers(&[
            ("content-type", "text/plain"),
            ("x-amz-meta-file-permissions", "0100664"),
            ("x-amz-meta-file-owner", "500"),
            ("x-amz-meta-file-group", "501"),
            ("x-amz-meta-file-atime", "1595002920000000000ns"),
            ("x-amz-meta-file-mtime", "1595002920000000001ns"),
            ("x-amz-meta-user-agent", "aws-fsx-lustre"),
        ]);
        let (file_type, attributes) = Attributes::decode(&Fields::from_headers(&headers)).unwrap();
        assert_eq!(file_type, Some(FileType::File));
        assert_eq!(attributes.gid.get(), 501);
        assert_eq!(attributes.mtime.nanoseconds(), 1_595_002_920_000_000_001);
        let mut written = attributes.encode(FileType::File);
        assert_eq!(written.len(), 5);
        for (name, value) in written.drain() {
            assert_eq!(headers.get(name.unwrap()), Some(&value));
        }
    }

    #[test]
    fn each_field_falls_back_by_itself() {
        let headers = headers(&[
            ("x-amz-meta-file-permissions", "0100777"),
            ("x-amz-meta-file-owner", "ubuntu"),
            ("x-amz-meta-file-mtime", "5ns"),
        ]);
        let decoded = Attributes::decode_or_default(&Fields::from_headers(&headers), &fallback());
        assert_eq!(decoded.attributes.permissions.bits(), 0o777);
        assert_eq!(decoded.attributes.uid, Uid::ROOT);
        assert_eq!(decoded.attributes.atime.nanoseconds(), 5);
        assert_eq!(decoded.origins.atime, Origin::Mtime);
        assert_eq!(decoded.origins.defaulted().collect::<Vec<_>>(), ["atime", "gid", "uid"]);
        assert_eq!(decoded.damaged.len(), 1);
        assert_eq!(decoded.damaged[0].field(), Field::Owner);
        assert_eq!(decoded.damaged[0].fault().code(), "not-decimal");
    }

    #[test]
    fn distortions_of_the_way_are_named() {
        let code =
            |pairs: &[(&'static str, &str)]| Fields::from_headers(&headers(pairs)).mode().unwrap_err().fault().code();
        assert_eq!(code(&[("x-amz-meta-file-permissions", "0100644,0100755")]), "repeated-header");
        assert_eq!(
            code(&[("x-amz-meta-file-permissions", "0100644"), ("x-amz-meta-file-permissions", "0100644")]),
            "repeated-header"
        );
        assert_eq!(code(&[("x-amz-meta-file-permissions", "=?UTF-8?B?MDEwMDY0NA==?=")]), "encoded-word");
        // Only what has both ends of an RFC 2047 word is one.
        assert_eq!(code(&[("x-amz-meta-file-permissions", "=?UTF-8?B?MDEwMDY0NA==")]), "not-octal");
        assert_eq!(code(&[("x-amz-meta-file-permissions", "MDEwMDY0NA==?=")]), "not-octal");
        assert_eq!(code(&[("x-amz-meta-file-permissions", "0100644,rw")]), "not-octal");
        assert_eq!(Fields::from_headers(&headers(&[("x-amz-missing-meta", "3")])).missing(), 3);
        assert_eq!(Fields::from_headers(&headers(&[("content-length", "3")])).missing(), 0);
        assert_eq!(Fields::from_headers(&headers(&[("x-amz-missing-meta", "many")])).missing(), 1);
    }

    #[test]
    fn decoding_six_headers_allocates_nothing() {
        let mut all = Attributes {
            permissions: Permissions::from_mode(0o644),
            uid: Uid::NOBODY,
            gid: Gid::NOBODY,
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
        }
        .encode(FileType::File);
        all.insert(USER_AGENT.clone(), HeaderValue::from_static("aws-fsx-lustre"));
        let allocations = allocation_counter::measure(|| {
            let fields = Fields::from_headers(&all);
            std::hint::black_box(Attributes::decode(&fields)).unwrap();
            std::hint::black_box(Attributes::decode_or_default(&fields, &fallback()));
        });
        assert_eq!(allocations.count_total, 0);
    }

    #[test]
    fn the_largest_metadata_is_far_below_the_limit() {
        let largest = Attributes {
            permissions: Permissions::from_mode(0o7777),
            uid: Uid::new(u32::MAX - 1).unwrap(),
            gid: Gid::new(u32::MAX - 1).unwrap(),
            atime: Timestamp::from_unix(i64::MIN, 0).unwrap(),
            mtime: Timestamp::from_unix(i64::MIN, 0).unwrap(),
        };
        let mut headers = largest.encode(FileType::Symlink);
        headers.insert(USER_AGENT.clone(), HeaderValue::from_static("aws-fsx-lustre"));
        assert_eq!(user_metadata_size(&headers), 169);
    }

    #[test]
    fn messages() {
        let damaged = headers(&[("x-amz-meta-file-atime", "soon")]);
        let error = Fields::from_headers(&damaged).time(Field::Atime).unwrap_err();
        assert_eq!(error.to_string(), "invalid header x-amz-meta-file-atime");
        assert_eq!(
            error.source().unwrap().to_string(),
            "invalid timestamp \"soon\": expected digits and an optional `ns`, found `s` at byte 0"
        );
        let repeated = headers(&[("x-amz-meta-file-owner", "1, 2")]);
        let error = Fields::from_headers(&repeated).uid().unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "expected one plain value, found \"1, 2\"");
        let missing = Attributes::decode(&Fields::default()).unwrap_err();
        assert_eq!(missing.to_string(), "missing header x-amz-meta-file-permissions");
    }
}
