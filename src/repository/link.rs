//! The link of a whole file system to a bucket, as made with it.

use super::error::{ApiError, ErrorCode};
use super::path::{FileSystemPath, InvalidPath, Mapping, RepositoryPath};
use super::policy::{AutoImportPolicyType, Open};
use crate::escape::excerpt;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::num::NonZeroU32;
use thiserror::Error;

/// What a file system is asked to be linked to when it is made: the members of `CreateFileSystemLustreConfiguration` that
/// have to do with it. Nothing in it is checked; [`Link::new`] does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateFileSystemLustreConfiguration {
    /// The bucket, or the part of it, whose objects are imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_path: Option<String>,
    /// Where exports go: in the same bucket. Nothing for a new prefix; the bucket alone for the place of the import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_path: Option<String>,
    /// How much of an imported file is on one disk, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_file_chunk_size: Option<i64>,
    /// What is imported by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_import_policy: Option<Open<AutoImportPolicyType>>,
    /// The other members, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A change of what a link imports: the members of `UpdateFileSystemLustreConfiguration` that have to do with it, and the
/// size of chunks, which that does not have and an association's update does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateFileSystemLustreConfiguration {
    /// What is imported by itself from now on; nothing for what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_import_policy: Option<Open<AutoImportPolicyType>>,
    /// How much of a file imported from now on is on one disk, in MiB; nothing for what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_file_chunk_size: Option<i64>,
    /// The other members, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A file system linked to a bucket: the original form, made together with the file system.
///
/// - Export and import are in one bucket.
/// - The root of the file system is what is mapped, both ways.
///
/// ```
/// use posix_s3::Timestamp;
/// use posix_s3::repository::{CreateFileSystemLustreConfiguration, Link};
///
/// let request: CreateFileSystemLustreConfiguration = serde_json::from_str(r#"{"ImportPath": "s3://sample-data/in"}"#)?;
/// let link = Link::new(&request, Timestamp::from_unix(1_541_456_592, 0).unwrap())?;
/// assert_eq!(link.export_path().without_slash(), "s3://sample-data/FSxLustre20181105T222312Z");
///
/// let request = CreateFileSystemLustreConfiguration { export_path: Some("s3://other".into()), ..request };
/// let refused = Link::new(&request, Timestamp::EPOCH).unwrap_err().to_api();
/// assert_eq!(refused.code().name(), "InvalidExportPath");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub struct Link {
    import: Mapping,
    export: Mapping,
    chunk_size: ImportedFileChunkSize,
    policy: AutoImportPolicyType,
}

impl Link {
    /// From what was asked for, at the time at which it was.
    ///
    /// Where no export path is named, it is a prefix of its own in the bucket of the import: `FSxLustre` and the time.
    ///
    /// # Errors
    /// [`InvalidLink`].
    pub fn new(request: &CreateFileSystemLustreConfiguration, now: Timestamp) -> Result<Self, InvalidLink> {
        let import_path = request.import_path.as_deref().ok_or(InvalidLink::NoImportPath)?;
        let import_path = RepositoryPath::parse(import_path).map_err(InvalidLink::ImportPath)?;
        let export_path = match &request.export_path {
            Some(path) => RepositoryPath::parse(path).map_err(InvalidLink::ExportPath)?,
            None => {
                let path = format!(
                    "s3://{}/FSxLustre{}",
                    import_path.bucket(),
                    compact(now).ok_or(InvalidLink::Time { time: now })?
                );
                RepositoryPath::parse(&path).map_err(InvalidLink::ExportPath)?
            }
        };
        let chunk_size = ImportedFileChunkSize::from_request(request.imported_file_chunk_size)?.unwrap_or_default();
        let policy = known_policy(request.auto_import_policy.as_ref())?.unwrap_or_default();
        Self::from_parts(import_path, export_path, chunk_size, policy)
    }

    fn from_parts(
        import_path: RepositoryPath,
        export_path: RepositoryPath,
        chunk_size: ImportedFileChunkSize,
        policy: AutoImportPolicyType,
    ) -> Result<Self, InvalidLink> {
        if import_path.bucket() != export_path.bucket() {
            let (expected, found) = (import_path.bucket().into(), export_path.bucket().into());
            return Err(InvalidLink::OtherBucket { expected, found });
        }
        let import = Mapping::new(FileSystemPath::root(), import_path);
        let export = Mapping::new(FileSystemPath::root(), export_path);
        Ok(Self { import, export, chunk_size, policy })
    }

    /// Changes what is imported. What is on disk stays as it is.
    ///
    /// # Errors
    /// [`InvalidLink`]; the link is then as it was.
    pub fn update(&mut self, request: &UpdateFileSystemLustreConfiguration) -> Result<(), InvalidLink> {
        let chunk_size = ImportedFileChunkSize::from_request(request.imported_file_chunk_size)?;
        let policy = known_policy(request.auto_import_policy.as_ref())?;
        self.chunk_size = chunk_size.unwrap_or(self.chunk_size);
        self.policy = policy.unwrap_or(self.policy);
        Ok(())
    }

    /// What is imported.
    #[must_use]
    pub const fn import_path(&self) -> &RepositoryPath {
        self.import.repository()
    }

    /// Where exports go.
    #[must_use]
    pub const fn export_path(&self) -> &RepositoryPath {
        self.export.repository()
    }

    /// The bucket, which is one for both.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.import_path().bucket()
    }

    /// How objects become paths.
    #[must_use]
    pub const fn import(&self) -> &Mapping {
        &self.import
    }

    /// How paths become objects.
    #[must_use]
    pub const fn export(&self) -> &Mapping {
        &self.export
    }

    /// Whether an export writes over what was imported.
    #[must_use]
    pub fn is_one_to_one(&self) -> bool {
        self.import_path() == self.export_path()
    }

    /// How much of an imported file is on one disk.
    #[must_use]
    pub const fn imported_file_chunk_size(&self) -> ImportedFileChunkSize {
        self.chunk_size
    }

    /// What is imported by itself.
    #[must_use]
    pub const fn auto_import_policy(&self) -> AutoImportPolicyType {
        self.policy
    }
}

/// A link as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Members {
    import_path: RepositoryPath,
    export_path: RepositoryPath,
    imported_file_chunk_size: ImportedFileChunkSize,
    auto_import_policy: AutoImportPolicyType,
}

impl TryFrom<Members> for Link {
    type Error = InvalidLink;

    fn try_from(members: Members) -> Result<Self, InvalidLink> {
        let Members { import_path, export_path, imported_file_chunk_size, auto_import_policy } = members;
        Self::from_parts(import_path, export_path, imported_file_chunk_size, auto_import_policy)
    }
}

impl From<Link> for Members {
    fn from(link: Link) -> Self {
        Self {
            import_path: link.import_path().clone(),
            export_path: link.export_path().clone(),
            imported_file_chunk_size: link.chunk_size,
            auto_import_policy: link.policy,
        }
    }
}

/// How much of an imported file is on one disk, in MiB: 1 to 512,000, and 1,024 when nothing is said.
///
/// ```
/// use posix_s3::repository::ImportedFileChunkSize;
/// use std::num::NonZeroU32;
///
/// // The user guide's example: 6 disks, files of 2.4 GiB.
/// let size = ImportedFileChunkSize::new(400)?;
/// assert_eq!(size.stripe_count(2_576_980_378, NonZeroU32::new(6).unwrap()).get(), 6);
/// assert!(ImportedFileChunkSize::new(512_001).is_err());
/// # Ok::<(), posix_s3::repository::InvalidChunkSize>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct ImportedFileChunkSize(u32);

impl ImportedFileChunkSize {
    /// The smallest, in MiB.
    pub const MIN: u32 = 1;
    /// The largest, in MiB.
    pub const MAX: u32 = 512_000;

    /// From a number of MiB.
    ///
    /// # Errors
    /// [`InvalidChunkSize`] beyond 1 to 512,000.
    pub fn new(mib: i64) -> Result<Self, InvalidChunkSize> {
        match u32::try_from(mib) {
            Ok(size) if (Self::MIN..=Self::MAX).contains(&size) => Ok(Self(size)),
            _ => Err(InvalidChunkSize { found: mib }),
        }
    }

    pub(super) fn from_request(mib: Option<i64>) -> Result<Option<Self>, InvalidChunkSize> {
        mib.map(Self::new).transpose()
    }

    /// The number of MiB.
    #[must_use]
    pub const fn mib(self) -> u32 {
        self.0
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.0).saturating_mul(1 << 20)
    }

    /// Over how many disks a file of `size` bytes is laid: one more than the chunks that it fills, and at most all of them.
    #[must_use]
    pub fn stripe_count(self, size: u64, disks: NonZeroU32) -> NonZeroU32 {
        // Invariant: a size is at least one MiB.
        let filled = size.checked_div(self.bytes()).unwrap_or_default();
        let count = u32::try_from(filled).unwrap_or(u32::MAX).saturating_add(1);
        NonZeroU32::new(count).map_or(NonZeroU32::MIN, |count| count.min(disks))
    }
}

impl Default for ImportedFileChunkSize {
    fn default() -> Self {
        Self(1024)
    }
}

impl TryFrom<i64> for ImportedFileChunkSize {
    type Error = InvalidChunkSize;

    fn try_from(mib: i64) -> Result<Self, InvalidChunkSize> {
        Self::new(mib)
    }
}

impl From<ImportedFileChunkSize> for i64 {
    fn from(size: ImportedFileChunkSize) -> Self {
        size.0.into()
    }
}

impl fmt::Display for ImportedFileChunkSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

/// A size of chunks that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("invalid ImportedFileChunkSize: expected 1 to 512000 MiB, found {found}")]
pub struct InvalidChunkSize {
    /// What was found.
    pub found: i64,
}

/// Why a file system is not linked as was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidLink {
    /// No import path was named.
    #[error("invalid ImportPath: expected a bucket, found nothing")]
    NoImportPath,
    /// The import path is not one.
    #[error("invalid ImportPath")]
    ImportPath(#[source] InvalidPath),
    /// The export path is not one.
    #[error("invalid ExportPath")]
    ExportPath(#[source] InvalidPath),
    /// The export path is in another bucket than the import path.
    #[error("invalid ExportPath: expected one in the bucket of the import, {expected}, found one in {found}")]
    OtherBucket {
        /// The bucket of the import path.
        expected: Box<str>,
        /// The bucket of the export path.
        found: Box<str>,
    },
    /// The size of chunks is out of range.
    #[error(transparent)]
    ChunkSize(#[from] InvalidChunkSize),
    /// The policy is not one.
    #[error("invalid AutoImportPolicy: expected NONE, NEW, NEW_CHANGED or NEW_CHANGED_DELETED, found {found}")]
    Policy {
        /// What was found, safe to print.
        found: Box<str>,
    },
    /// No prefix can be named after the time.
    #[error("no prefix can be named after the time: expected a year of four digits, found {time}")]
    Time {
        /// The time.
        time: Timestamp,
    },
}

impl InvalidLink {
    /// The error that the API answers with.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        let (code, message) = match self {
            Self::NoImportPath => (ErrorCode::InvalidImportPath, self.to_string()),
            Self::ImportPath(why) => (ErrorCode::InvalidImportPath, format!("{self}: {why}")),
            Self::ExportPath(why) => (ErrorCode::InvalidExportPath, format!("{self}: {why}")),
            Self::OtherBucket { .. } => (ErrorCode::InvalidExportPath, self.to_string()),
            Self::ChunkSize(_) | Self::Policy { .. } => (ErrorCode::BadRequest, self.to_string()),
            Self::Time { .. } => (ErrorCode::InternalServerError, self.to_string()),
        };
        ApiError::new(code, message)
    }
}

fn known_policy(policy: Option<&Open<AutoImportPolicyType>>) -> Result<Option<AutoImportPolicyType>, InvalidLink> {
    match policy {
        None => Ok(None),
        Some(Open::Known(policy)) => Ok(Some(*policy)),
        Some(Open::Other(text)) => Err(InvalidLink::Policy { found: excerpt(text.as_bytes()) }),
    }
}

/// A time as AWS puts it into names: `20181105T222312Z`.
fn compact(time: Timestamp) -> Option<String> {
    let date = time::OffsetDateTime::try_from(time).ok().filter(|date| (0..=9999).contains(&date.year()))?;
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second) = date.to_hms();
    Some(format!("{:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z", date.year()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Place;
    use std::error::Error as _;

    const NOVEMBER: Option<Timestamp> = Timestamp::from_unix(1_541_456_592, 999_999_999);

    fn request(import_path: &str, export_path: Option<&str>) -> CreateFileSystemLustreConfiguration {
        CreateFileSystemLustreConfiguration {
            import_path: Some(import_path.into()),
            export_path: export_path.map(Into::into),
            ..Default::default()
        }
    }

    fn link(import_path: &str, export_path: Option<&str>) -> Result<Link, InvalidLink> {
        Link::new(&request(import_path, export_path), NOVEMBER.unwrap())
    }

    #[test]
    fn s05_a_link_is_made_with_the_file_system() {
        let body = r#"{"ImportPath":"s3://bucket/in","DeploymentType":"SCRATCH_2","PerUnitStorageThroughput":200}"#;
        let request: CreateFileSystemLustreConfiguration = serde_json::from_str(body).unwrap();
        let link = Link::new(&request, NOVEMBER.unwrap()).unwrap();
        assert_eq!(link.bucket(), "bucket");
        assert_eq!(link.import_path().as_str(), "s3://bucket/in/");
        assert_eq!(link.imported_file_chunk_size().mib(), 1024);
        assert_eq!(link.auto_import_policy(), AutoImportPolicyType::None);
        let place = link.import().place_of_object("in/a/b").unwrap().unwrap();
        assert_eq!(link.import().path(&place), "/a/b");
        let object_key = link.export().object_key(&place).unwrap().unwrap();
        assert_eq!(object_key, "FSxLustre20181105T222312Z/a/b");
        // What the request says besides is kept.
        let written: Value = serde_json::to_value(&request).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(body).unwrap());
    }

    #[test]
    fn s05_exports_go_to_a_new_prefix_to_the_import_or_to_a_prefix_of_their_own() {
        let generated = link("s3://bucket/in", None).unwrap();
        assert_eq!(generated.export_path().without_slash(), "s3://bucket/FSxLustre20181105T222312Z");
        let bare = link("s3://bucket", Some("s3://bucket")).unwrap();
        assert!(bare.is_one_to_one());
        let same = link("s3://bucket/in/", Some("s3://bucket/in")).unwrap();
        assert!(same.is_one_to_one());
        let own = link("s3://bucket/in", Some("s3://bucket/out")).unwrap();
        assert!(!own.is_one_to_one());
        assert_eq!(own.export().place_of_object("out/").unwrap(), Some(Place::Root));
    }

    #[test]
    fn s05_what_cannot_be_linked_is_refused_with_the_name_that_the_api_has_for_it() {
        let nothing = Link::new(&CreateFileSystemLustreConfiguration::default(), Timestamp::EPOCH);
        let with = |size, policy: Option<&str>| {
            let auto_import_policy = policy.map(|policy| Open::Other(policy.into()));
            let request = CreateFileSystemLustreConfiguration {
                imported_file_chunk_size: size,
                auto_import_policy,
                ..request("s3://bucket", None)
            };
            Link::new(&request, Timestamp::EPOCH)
        };
        let refusals = [
            (nothing, "InvalidImportPath", "invalid ImportPath: expected a bucket, found nothing"),
            (
                link("s3://b", None),
                "InvalidImportPath",
                "invalid ImportPath: invalid path \"s3://b\": expected a bucket of 3 to 63 characters, found 1 at byte 5",
            ),
            (
                link("s3://bucket", Some("bucket/out")),
                "InvalidExportPath",
                "invalid ExportPath: invalid path \"bucket/out\": expected `s3://` and a bucket, found something else at byte 0",
            ),
            (
                link("s3://bucket/in", Some("s3://other/out")),
                "InvalidExportPath",
                "invalid ExportPath: expected one in the bucket of the import, bucket, found one in other",
            ),
            (with(Some(0), None), "BadRequest", "invalid ImportedFileChunkSize: expected 1 to 512000 MiB, found 0"),
            (
                with(Some(512_001), None),
                "BadRequest",
                "invalid ImportedFileChunkSize: expected 1 to 512000 MiB, found 512001",
            ),
            (
                with(None, Some("SOME\n")),
                "BadRequest",
                "invalid AutoImportPolicy: expected NONE, NEW, NEW_CHANGED or NEW_CHANGED_DELETED, found SOME\\n",
            ),
        ];
        for (result, code, message) in refusals {
            let error = result.unwrap_err().to_api();
            assert_eq!((error.code().name(), error.message()), (code, message));
        }
        assert!(link("x", None).unwrap_err().source().is_some());
    }

    #[test]
    fn a_time_without_a_date_names_no_prefix() {
        let far = Timestamp::from_unix(i64::MAX, 0).unwrap();
        let error = Link::new(&request("s3://bucket", None), far).unwrap_err();
        assert_eq!(error, InvalidLink::Time { time: far });
        assert!(Link::new(&request("s3://bucket", Some("s3://bucket")), far).is_ok());
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let mut link = link("s3://bucket", None).unwrap();
        let update: UpdateFileSystemLustreConfiguration =
            serde_json::from_str(r#"{"AutoImportPolicy":"NEW_CHANGED"}"#).unwrap();
        link.update(&update).unwrap();
        let chunk = UpdateFileSystemLustreConfiguration { imported_file_chunk_size: Some(7), ..Default::default() };
        link.update(&chunk).unwrap();
        assert_eq!(link.auto_import_policy(), AutoImportPolicyType::NewChanged);
        assert_eq!(link.imported_file_chunk_size().mib(), 7);
        let before = link.clone();
        let half_bad = UpdateFileSystemLustreConfiguration {
            auto_import_policy: Some(AutoImportPolicyType::None.into()),
            imported_file_chunk_size: Some(-1),
            ..Default::default()
        };
        assert!(link.update(&half_bad).is_err());
        assert_eq!(link, before);
    }

    #[test]
    fn stripes() {
        let disks = NonZeroU32::new(4).unwrap();
        let count = |size| ImportedFileChunkSize::default().stripe_count(size, disks).get();
        let gib = 1 << 30;
        assert_eq!([0, gib - 1, gib, 3 * gib, 5 * gib, u64::MAX].map(count), [1, 1, 2, 4, 4, 4]);
        let one = ImportedFileChunkSize::new(1).unwrap();
        assert_eq!(one.stripe_count(u64::MAX, NonZeroU32::MAX).get(), u32::MAX);
    }

    #[test]
    fn a_link_is_kept_as_it_is_and_checked_when_it_is_read() {
        let link = link("s3://bucket/in", None).unwrap();
        let text = serde_json::to_string(&link).unwrap();
        assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), link);
        let error = serde_json::from_str::<Link>(&text.replacen("bucket", "other", 1)).unwrap_err();
        assert!(error.to_string().contains("expected one in the bucket of the import"), "{error}");
    }
}
