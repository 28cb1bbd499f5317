//! An association of a file-system path with a part of a bucket, as newer file systems have several.

use super::describe::{
    AutoExportPolicy, AutoImportPolicy, CreateDataRepositoryAssociationRequest, S3DataRepositoryConfiguration,
    UpdateDataRepositoryAssociationRequest,
};
use super::error::{ApiError, ErrorCode};
use super::link::{ImportedFileChunkSize, InvalidChunkSize};
use super::path::{FileSystemPath, InvalidPath, Mapping, Place, RepositoryPath};
use super::policy::{EventType, EventTypes, Open};
use crate::escape::excerpt;
use crate::key::InvalidKey;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The name of an association: `dra-` and 9 to 19 lower-case hexadecimal digits; those made now have 17.
///
/// Source: Amazon FSx API, `DataRepositoryAssociationId`.
///
/// ```
/// use posix_s3::repository::AssociationId;
///
/// let id = AssociationId::from_random(0x0a1b_2c3d_4e5f_6071_8);
/// assert_eq!(id.as_str(), "dra-0a1b2c3d4e5f60718");
/// let refused = "dra-0A".parse::<AssociationId>().unwrap_err();
/// assert_eq!(refused.to_string(), "invalid id \"dra-0A\": expected `dra-` and 9 to 19 lower-case hexadecimal digits");
/// # Ok::<(), posix_s3::repository::InvalidAssociationId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AssociationId(Box<str>);

impl AssociationId {
    const START: &str = "dra-";

    /// Reads an id.
    ///
    /// # Errors
    /// [`InvalidAssociationId`].
    pub fn parse(text: &str) -> Result<Self, InvalidAssociationId> {
        let is_id = text.strip_prefix(Self::START).is_some_and(|digits| {
            (9..=19).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        if is_id { Ok(Self(text.into())) } else { Err(InvalidAssociationId { found: excerpt(text.as_bytes()) }) }
    }

    /// A new one, from random bits, of which 68 are used.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{}{:017x}", Self::START, bits & ((1 << 68) - 1)).into_boxed_str())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AssociationId {
    type Err = InvalidAssociationId;

    fn from_str(text: &str) -> Result<Self, InvalidAssociationId> {
        Self::parse(text)
    }
}

impl TryFrom<String> for AssociationId {
    type Error = InvalidAssociationId;

    fn try_from(text: String) -> Result<Self, InvalidAssociationId> {
        Self::parse(&text)
    }
}

impl From<AssociationId> for String {
    fn from(id: AssociationId) -> Self {
        id.0.into_string()
    }
}

/// The name of an association that is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid id \"{found}\": expected `dra-` and 9 to 19 lower-case hexadecimal digits")]
pub struct InvalidAssociationId {
    found: Box<str>,
}

/// A directory of a file system that is linked to a part of a bucket.
///
/// - Neither path changes: another path takes another association.
/// - Import and export go to the same place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Members", into = "Members")]
pub struct Association {
    id: AssociationId,
    mapping: Mapping,
    batch_import: bool,
    chunk_size: ImportedFileChunkSize,
    auto_import: EventTypes,
    auto_export: EventTypes,
    creation_time: Timestamp,
}

impl Association {
    /// From what was asked for, at the time at which it was. That it goes with the others is for
    /// [`Associations::create`] to see.
    ///
    /// The file system, the tags and the token of the request are left to whoever serves it: they say nothing of what is
    /// linked. Tags go into the document, which has a member for them.
    ///
    /// # Errors
    /// [`InvalidAssociation`].
    pub fn new(
        request: &CreateDataRepositoryAssociationRequest,
        id: AssociationId,
        now: Timestamp,
    ) -> Result<Self, InvalidAssociation> {
        let directory = request.file_system_path.as_deref().ok_or(InvalidAssociation::NoFileSystemPath)?;
        let directory = FileSystemPath::parse(directory).map_err(InvalidAssociation::FileSystemPath)?;
        let repository =
            RepositoryPath::parse(&request.data_repository_path).map_err(InvalidAssociation::DataRepositoryPath)?;
        let (auto_import, auto_export) = events(request.s3.as_ref())?;
        Ok(Self {
            id,
            mapping: Mapping::new(directory, repository),
            batch_import: request.batch_import_meta_data_on_create.unwrap_or_default(),
            chunk_size: ImportedFileChunkSize::from_request(request.imported_file_chunk_size)?.unwrap_or_default(),
            auto_import: auto_import.unwrap_or_default(),
            auto_export: auto_export.unwrap_or_default(),
            creation_time: now,
        })
    }

    /// Changes the policies that the request names and the size of chunks. What is on disk stays as it is.
    ///
    /// # Errors
    /// [`InvalidAssociation`]; the association is then as it was. To change a path is one.
    pub fn update(&mut self, request: &UpdateDataRepositoryAssociationRequest) -> Result<(), InvalidAssociation> {
        for member in ["FileSystemPath", "DataRepositoryPath"] {
            if request.other.contains_key(member) {
                return Err(InvalidAssociation::PathChanged { member });
            }
        }
        let chunk_size = ImportedFileChunkSize::from_request(request.imported_file_chunk_size)?;
        let (auto_import, auto_export) = events(request.s3.as_ref())?;
        self.chunk_size = chunk_size.unwrap_or(self.chunk_size);
        self.auto_import = auto_import.unwrap_or(self.auto_import);
        self.auto_export = auto_export.unwrap_or(self.auto_export);
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &AssociationId {
        &self.id
    }

    /// The directory of the file system.
    #[must_use]
    pub const fn file_system_path(&self) -> &FileSystemPath {
        self.mapping.directory()
    }

    /// The part of the bucket.
    #[must_use]
    pub const fn data_repository_path(&self) -> &RepositoryPath {
        self.mapping.repository()
    }

    /// How objects become paths, and paths objects.
    #[must_use]
    pub const fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Whether metadata of everything is imported when it is made.
    #[must_use]
    pub const fn batch_import_meta_data_on_create(&self) -> bool {
        self.batch_import
    }

    /// How much of an imported file is on one disk.
    #[must_use]
    pub const fn imported_file_chunk_size(&self) -> ImportedFileChunkSize {
        self.chunk_size
    }

    /// Which changes of the bucket are imported by themselves.
    #[must_use]
    pub const fn auto_import(&self) -> EventTypes {
        self.auto_import
    }

    /// Which changes of the file system are exported by themselves.
    #[must_use]
    pub const fn auto_export(&self) -> EventTypes {
        self.auto_export
    }

    /// When it was asked for.
    #[must_use]
    pub const fn creation_time(&self) -> Timestamp {
        self.creation_time
    }

    /// The policies as a document has them.
    #[must_use]
    pub fn s3(&self) -> S3DataRepositoryConfiguration {
        let list = |events: EventTypes| Some(Vec::<EventType>::from(events).into_iter().map(Open::Known).collect());
        S3DataRepositoryConfiguration {
            auto_import_policy: Some(AutoImportPolicy { events: list(self.auto_import), ..Default::default() }),
            auto_export_policy: Some(AutoExportPolicy { events: list(self.auto_export), ..Default::default() }),
            ..Default::default()
        }
    }
}

/// An association as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Members {
    association_id: AssociationId,
    file_system_path: FileSystemPath,
    data_repository_path: RepositoryPath,
    batch_import_meta_data_on_create: bool,
    imported_file_chunk_size: ImportedFileChunkSize,
    auto_import: EventTypes,
    auto_export: EventTypes,
    creation_time: Timestamp,
}

impl From<Members> for Association {
    fn from(members: Members) -> Self {
        Self {
            id: members.association_id,
            mapping: Mapping::new(members.file_system_path, members.data_repository_path),
            batch_import: members.batch_import_meta_data_on_create,
            chunk_size: members.imported_file_chunk_size,
            auto_import: members.auto_import,
            auto_export: members.auto_export,
            creation_time: members.creation_time,
        }
    }
}

impl From<Association> for Members {
    fn from(association: Association) -> Self {
        Self {
            file_system_path: association.file_system_path().clone(),
            data_repository_path: association.data_repository_path().clone(),
            association_id: association.id,
            batch_import_meta_data_on_create: association.batch_import,
            imported_file_chunk_size: association.chunk_size,
            auto_import: association.auto_import,
            auto_export: association.auto_export,
            creation_time: association.creation_time,
        }
    }
}

/// The associations of one file system.
///
/// - There are at most 8, each with an id of its own.
/// - No two share a directory or a part of a bucket, by whole parts; so one of the root is the only one.
///
/// One that is being deleted stays among them until its deletion has ended and it is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Association>", into = "Vec<Association>")]
pub struct Associations(Vec<Association>);

impl Associations {
    /// The most that a file system has.
    pub const MAX: usize = 8;

    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes another.
    ///
    /// # Errors
    /// [`InvalidAssociation`]; they are then as they were.
    pub fn create(
        &mut self,
        request: &CreateDataRepositoryAssociationRequest,
        id: AssociationId,
        now: Timestamp,
    ) -> Result<Association, InvalidAssociation> {
        let association = Association::new(request, id, now)?;
        self.add(association.clone())?;
        Ok(association)
    }

    fn add(&mut self, association: Association) -> Result<(), InvalidAssociation> {
        for other in &self.0 {
            let id = || other.id.clone();
            if other.id == association.id {
                return Err(InvalidAssociation::SameId { id: id() });
            }
            let (ours, theirs) = (association.file_system_path(), other.file_system_path());
            if ours.overlaps(theirs) {
                return Err(InvalidAssociation::FileSystemPathTaken {
                    path: ours.clone(),
                    by: id(),
                    at: theirs.clone(),
                });
            }
            let (ours, theirs) = (association.data_repository_path(), other.data_repository_path());
            if ours.overlaps(theirs) {
                return Err(InvalidAssociation::DataRepositoryPathTaken {
                    path: ours.clone(),
                    by: id(),
                    at: theirs.clone(),
                });
            }
        }
        if self.0.len() >= Self::MAX {
            return Err(InvalidAssociation::TooMany);
        }
        self.0.push(association);
        Ok(())
    }

    /// Changes the one that the request names.
    ///
    /// # Errors
    /// [`InvalidAssociation`]; they are then as they were.
    pub fn update(
        &mut self,
        request: &UpdateDataRepositoryAssociationRequest,
    ) -> Result<&Association, InvalidAssociation> {
        let found = self.0.iter_mut().find(|one| one.id.as_str() == request.association_id);
        let association =
            found.ok_or_else(|| InvalidAssociation::NotFound { found: excerpt(request.association_id.as_bytes()) })?;
        association.update(request)?;
        Ok(association)
    }

    /// Removes one whose deletion has ended; `None` when there is none of that id.
    pub fn remove(&mut self, id: &AssociationId) -> Option<Association> {
        let at = self.0.iter().position(|one| one.id == *id)?;
        Some(self.0.remove(at))
    }

    /// The one of an id.
    #[must_use]
    pub fn get(&self, id: &AssociationId) -> Option<&Association> {
        self.0.iter().find(|one| one.id == *id)
    }

    /// All of them, in the order in which they were made.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Association> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that an absolute path of the file system belongs to, and where in it; that of a directory ends in `/`.
    ///
    /// # Errors
    /// [`InvalidKey`] when it belongs to one, and cannot be a key.
    pub fn of_path(&self, path: &str) -> Result<Option<(&Association, Place)>, InvalidKey> {
        // No two overlap, so the first is the only one.
        for association in &self.0 {
            if let Some(place) = association.mapping.place_of_path(path)? {
                return Ok(Some((association, place)));
            }
        }
        Ok(None)
    }

    /// The one that an object belongs to, and where in it.
    ///
    /// # Errors
    /// [`InvalidKey`] when it belongs to one, and its key is not fit to be a path.
    pub fn of_object(&self, bucket: &str, object_key: &str) -> Result<Option<(&Association, Place)>, InvalidKey> {
        for association in self.0.iter().filter(|one| one.data_repository_path().bucket() == bucket) {
            if let Some(place) = association.mapping.place_of_object(object_key)? {
                return Ok(Some((association, place)));
            }
        }
        Ok(None)
    }
}

impl TryFrom<Vec<Association>> for Associations {
    type Error = InvalidAssociation;

    fn try_from(list: Vec<Association>) -> Result<Self, InvalidAssociation> {
        let mut associations = Self::new();
        list.into_iter().try_for_each(|association| associations.add(association))?;
        Ok(associations)
    }
}

impl From<Associations> for Vec<Association> {
    fn from(associations: Associations) -> Self {
        associations.0
    }
}

/// Why an association is not made or changed as was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidAssociation {
    /// No directory was named.
    #[error("invalid FileSystemPath: expected a directory, found nothing")]
    NoFileSystemPath,
    /// The directory is not one.
    #[error("invalid FileSystemPath")]
    FileSystemPath(#[source] InvalidPath),
    /// The part of a bucket is not one.
    #[error("invalid DataRepositoryPath")]
    DataRepositoryPath(#[source] InvalidPath),
    /// The size of chunks is out of range.
    #[error(transparent)]
    ChunkSize(#[from] InvalidChunkSize),
    /// A policy names a kind of change that there is not.
    #[error("invalid {policy}: expected NEW, CHANGED and DELETED, found {found}")]
    Event {
        /// Which policy.
        policy: &'static str,
        /// What was found, safe to print.
        found: Box<str>,
    },
    /// A policy names more kinds of change than there are.
    #[error("invalid {policy}: expected at most 3 events, found {found}")]
    TooManyEvents {
        /// Which policy.
        policy: &'static str,
        /// How many there are.
        found: usize,
    },
    /// The directory holds, or is held by, that of another.
    #[error("invalid FileSystemPath: {path} overlaps with {at} of {by}")]
    FileSystemPathTaken {
        /// The directory.
        path: FileSystemPath,
        /// The other association.
        by: AssociationId,
        /// Its directory.
        at: FileSystemPath,
    },
    /// The part of a bucket holds, or is held by, that of another.
    #[error("invalid DataRepositoryPath: {path} overlaps with {at} of {by}")]
    DataRepositoryPathTaken {
        /// The part of a bucket.
        path: RepositoryPath,
        /// The other association.
        by: AssociationId,
        /// Its part of a bucket.
        at: RepositoryPath,
    },
    /// There are as many as there may be.
    #[error("expected at most {} associations of a file system, found another", Associations::MAX)]
    TooMany,
    /// There is one of that id.
    #[error("expected a new id, found {id}, which is taken")]
    SameId {
        /// The id.
        id: AssociationId,
    },
    /// There is none of that id.
    #[error("there is no association {found}")]
    NotFound {
        /// What was found, safe to print.
        found: Box<str>,
    },
    /// A path was to be changed.
    #[error("the {member} of an association cannot be changed: delete it and make another")]
    PathChanged {
        /// Which path.
        member: &'static str,
    },
}

impl InvalidAssociation {
    /// The error that the API answers with.
    ///
    /// That there are too many is `BadRequest` as well: `ServiceLimitExceeded` requires the name of a limit, and the API has
    /// none for associations.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::FileSystemPath(why) | Self::DataRepositoryPath(why) => {
                ApiError::new(ErrorCode::BadRequest, format_args!("{self}: {why}"))
            }
            Self::NotFound { .. } => ApiError::new(ErrorCode::DataRepositoryAssociationNotFound, self),
            Self::SameId { .. } => ApiError::new(ErrorCode::InternalServerError, self),
            _ => ApiError::new(ErrorCode::BadRequest, self),
        }
    }
}

type Policies = (Option<EventTypes>, Option<EventTypes>);

fn events(s3: Option<&S3DataRepositoryConfiguration>) -> Result<Policies, InvalidAssociation> {
    let Some(s3) = s3 else { return Ok((None, None)) };
    let import = s3.auto_import_policy.as_ref().map(|policy| policy.events.as_deref());
    let export = s3.auto_export_policy.as_ref().map(|policy| policy.events.as_deref());
    let import = import.map(|list| event_types("AutoImportPolicy", list)).transpose()?;
    let export = export.map(|list| event_types("AutoExportPolicy", list)).transpose()?;
    Ok((import, export))
}

fn event_types(policy: &'static str, list: Option<&[Open<EventType>]>) -> Result<EventTypes, InvalidAssociation> {
    let list = list.unwrap_or_default();
    if list.len() > 3 {
        return Err(InvalidAssociation::TooManyEvents { policy, found: list.len() });
    }
    list.iter().try_fold(EventTypes::NONE, |events, event| match event {
        Open::Known(event) => Ok(events.with(*event)),
        Open::Other(text) => Err(InvalidAssociation::Event { policy, found: excerpt(text.as_bytes()) }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyFault;
    use proptest::prelude::*;

    fn id(number: u128) -> AssociationId {
        AssociationId::from_random(number)
    }

    fn request(directory: &str, repository: &str) -> CreateDataRepositoryAssociationRequest {
        CreateDataRepositoryAssociationRequest {
            file_system_path: Some(directory.into()),
            data_repository_path: repository.into(),
            ..Default::default()
        }
    }

    fn with(pairs: &[(&str, &str)]) -> Result<Associations, InvalidAssociation> {
        let mut associations = Associations::new();
        for (number, (directory, repository)) in (0..).zip(pairs) {
            associations.create(&request(directory, repository), id(number), Timestamp::EPOCH)?;
        }
        Ok(associations)
    }

    #[test]
    fn ids_are_those_of_the_api() {
        assert_eq!(id(0).as_str(), "dra-00000000000000000");
        assert_eq!(id(u128::MAX).as_str(), "dra-fffffffffffffffff");
        for good in ["dra-012345678", "dra-0a1b2c3d4e5f60718", "dra-0123456789abcdef012"] {
            assert_eq!(AssociationId::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["", "dra-", "dra-01234567", "dra-0123456789abcdef0123", "dra-0A1b2c3d4e5f60718", "fs-0a1b2c3d4e5f60718"]
        {
            assert!(AssociationId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_association_has_what_was_asked_for_and_the_defaults_of_the_api() {
        let mut body = request("/ns1/", "s3://bucket/in");
        let plain = Association::new(&body, id(1), Timestamp::EPOCH).unwrap();
        assert_eq!(plain.file_system_path().as_str(), "/ns1");
        assert_eq!(plain.data_repository_path().as_str(), "s3://bucket/in/");
        assert!(!plain.batch_import_meta_data_on_create());
        assert_eq!(plain.imported_file_chunk_size().mib(), 1024);
        assert!(plain.auto_import().is_empty() && plain.auto_export().is_empty());
        body.s3 = serde_json::from_str(r#"{"AutoImportPolicy":{"Events":["DELETED","NEW"]}}"#).unwrap();
        let policies = Association::new(&body, id(1), Timestamp::EPOCH).unwrap();
        assert_eq!(policies.auto_import(), EventTypes::NONE.with(EventType::New).with(EventType::Deleted));
        assert!(policies.auto_export().is_empty());
    }

    #[test]
    fn what_is_no_association_is_refused() {
        let mut refusals = vec![
            (
                request("ns1", "s3://bucket"),
                "invalid FileSystemPath: invalid path \"ns1\": expected a leading `/`, found none at byte 0",
            ),
            (
                request("/ns1", "bucket"),
                "invalid DataRepositoryPath: invalid path \"bucket\": expected `s3://` and a bucket, found something else at byte 0",
            ),
        ];
        let good = || request("/ns1", "s3://bucket");
        refusals.push((
            CreateDataRepositoryAssociationRequest { file_system_path: None, ..good() },
            "invalid FileSystemPath: expected a directory, found nothing",
        ));
        refusals.push((
            CreateDataRepositoryAssociationRequest { imported_file_chunk_size: Some(0), ..good() },
            "invalid ImportedFileChunkSize: expected 1 to 512000 MiB, found 0",
        ));
        let s3 = |text| CreateDataRepositoryAssociationRequest { s3: serde_json::from_str(text).unwrap(), ..good() };
        refusals.push((
            s3(r#"{"AutoExportPolicy":{"Events":["MOVED"]}}"#),
            "invalid AutoExportPolicy: expected NEW, CHANGED and DELETED, found MOVED",
        ));
        refusals.push((
            s3(r#"{"AutoImportPolicy":{"Events":["NEW","NEW","NEW","NEW"]}}"#),
            "invalid AutoImportPolicy: expected at most 3 events, found 4",
        ));
        for (request, message) in refusals {
            let error = Association::new(&request, id(1), Timestamp::EPOCH).unwrap_err().to_api();
            assert_eq!((error.code(), error.message()), (&ErrorCode::BadRequest, message));
        }
    }

    #[test]
    fn no_two_overlap_in_either_direction_by_whole_parts() {
        assert!(with(&[("/ns1", "s3://bucket/p"), ("/ns10", "s3://bucket/p2"), ("/ns2", "s3://bucket2")]).is_ok());
        let clashes = [
            [("/ns1", "s3://bucket/p"), ("/ns1/ns2", "s3://bucket/q")],
            [("/ns1/ns2", "s3://bucket/p"), ("/ns1", "s3://bucket/q")],
            [("/ns1", "s3://bucket/p"), ("/ns1/", "s3://bucket/q")],
            [("/", "s3://bucket/p"), ("/ns1", "s3://bucket/q")],
            [("/ns1", "s3://bucket/p"), ("/", "s3://bucket/q")],
        ];
        for clash in clashes {
            assert!(matches!(with(&clash).unwrap_err(), InvalidAssociation::FileSystemPathTaken { .. }), "{clash:?}");
        }
        let clashes = [
            [("/a", "s3://bucket/p"), ("/b", "s3://bucket/p/q")],
            [("/a", "s3://bucket/p/q/"), ("/b", "s3://bucket/p")],
            [("/a", "s3://bucket"), ("/b", "s3://bucket/p")],
        ];
        for clash in clashes {
            assert!(
                matches!(with(&clash).unwrap_err(), InvalidAssociation::DataRepositoryPathTaken { .. }),
                "{clash:?}"
            );
        }
        let error = with(&[("/ns1", "s3://bucket/p"), ("/ns1/ns2", "s3://bucket/q")]).unwrap_err();
        assert_eq!(error.to_string(), "invalid FileSystemPath: /ns1/ns2 overlaps with /ns1 of dra-00000000000000000");
    }

    #[test]
    fn a_file_system_has_at_most_eight() {
        let pairs: Vec<_> = (0..9).map(|number| (format!("/ns{number}"), format!("s3://bucket{number}"))).collect();
        let pairs: Vec<_> = pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
        let mut eight = with(&pairs[..8]).unwrap();
        assert_eq!(eight.len(), 8);
        let ninth = request("/ns8", "s3://bucket8");
        let error = eight.create(&ninth, id(8), Timestamp::EPOCH).unwrap_err();
        assert_eq!(error.to_string(), "expected at most 8 associations of a file system, found another");
        assert_eq!(error.to_api().code(), &ErrorCode::BadRequest);
        eight.remove(&id(0)).unwrap();
        eight.create(&ninth, id(8), Timestamp::EPOCH).unwrap();
        let error = Associations::new().update(&UpdateDataRepositoryAssociationRequest::default()).unwrap_err();
        assert_eq!(error.to_api().code().name(), "DataRepositoryAssociationNotFound");
    }

    #[test]
    fn a_path_cannot_be_changed_and_the_policies_can() {
        let mut associations = with(&[("/ns1", "s3://bucket")]).unwrap();
        let update = |text: &str| {
            let text = format!(r#"{{"AssociationId":"dra-00000000000000000",{text}}}"#);
            serde_json::from_str::<UpdateDataRepositoryAssociationRequest>(&text).unwrap()
        };
        for member in ["FileSystemPath", "DataRepositoryPath"] {
            let error = associations.update(&update(&format!(r#""{member}":"/ns2""#))).unwrap_err();
            assert_eq!(error, InvalidAssociation::PathChanged { member });
        }
        associations.update(&update(r#""S3":{"AutoExportPolicy":{"Events":["NEW"]}}"#)).unwrap();
        associations
            .update(&update(r#""S3":{"AutoImportPolicy":{"Events":["CHANGED"]}},"ImportedFileChunkSize":5"#))
            .unwrap();
        let one = associations.get(&id(0)).unwrap();
        assert_eq!(one.auto_export(), EventTypes::NONE.with(EventType::New));
        assert_eq!(one.auto_import(), EventTypes::NONE.with(EventType::Changed));
        assert_eq!(one.imported_file_chunk_size().mib(), 5);
        // A policy that is named and empty is switched off; what is wrong changes nothing.
        assert!(associations.update(&update(r#""S3":{"AutoExportPolicy":{}},"ImportedFileChunkSize":0"#)).is_err());
        assert!(!associations.get(&id(0)).unwrap().auto_export().is_empty());
        associations.update(&update(r#""S3":{"AutoExportPolicy":{}}"#)).unwrap();
        assert!(associations.get(&id(0)).unwrap().auto_export().is_empty());
    }

    #[test]
    fn a_path_and_an_object_belong_to_one() {
        let associations =
            with(&[("/ns1", "s3://bucket/p"), ("/ns10", "s3://bucket/p2"), ("/a/b", "s3://other")]).unwrap();
        let (one, place) = associations.of_path("/ns10/x/").unwrap().unwrap();
        assert_eq!(one.mapping().object_key(&place).unwrap().as_deref(), Some("p2/x/"));
        let (one, place) = associations.of_object("other", "x").unwrap().unwrap();
        assert_eq!(one.mapping().path(&place), "/a/b/x");
        let (_, place) = associations.of_path("/ns1").unwrap().unwrap();
        assert_eq!(place, Place::Root);
        assert!(associations.of_path("/a/c").unwrap().is_none());
        assert!(associations.of_object("bucket", "q").unwrap().is_none());
        assert!(associations.of_object("third", "p/x").unwrap().is_none());
        assert_eq!(associations.of_object("bucket", "p/../x").unwrap_err().fault(), KeyFault::DotDot);
    }

    /// Paths of few parts that are starts of each other, as text and by parts.
    fn parts() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["a", "aa", "a-", "b"]), 0..3)
    }

    /// One holds the other when its parts are the first of the other's: the slow and obvious reading of the rule.
    fn clash(one: &[&str], other: &[&str]) -> bool {
        one.starts_with(other) || other.starts_with(one)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// However associations are made, each object and each path belongs to one at most, and what is imported from
        /// somewhere is exported to there.
        #[test]
        fn what_comes_from_an_object_goes_back_to_it(
            wishes in prop::collection::vec((parts(), prop::sample::select(vec!["one", "two"]), parts()), 1..12),
            keys in prop::collection::vec((prop::sample::select(vec!["one", "two", "six"]), parts(), any::<bool>()), 1..12),
        ) {
            let mut associations = Associations::new();
            let mut made: Vec<(Vec<&str>, &str, Vec<&str>)> = Vec::new();
            for (number, (directory, bucket, prefix)) in (0..).zip(wishes) {
                let request = request(&format!("/{}", directory.join("/")), &format!("s3://{bucket}/{}", prefix.join("/")));
                let taken = made.iter().any(|(other, in_bucket, below)| {
                    clash(&directory, other) || (bucket == *in_bucket && clash(&prefix, below))
                });
                let result = associations.create(&request, id(number), Timestamp::EPOCH);
                prop_assert_eq!(result.is_err(), taken || made.len() == Associations::MAX);
                if result.is_ok() {
                    made.push((directory, bucket, prefix));
                }
            }
            for (bucket, segments, is_directory) in keys {
                let slash = if is_directory && !segments.is_empty() { "/" } else { "" };
                let object_key = segments.join("/") + slash;
                let holds = |one: &&Association| one.data_repository_path().holds(bucket, &object_key);
                let holders: Vec<_> = associations.iter().filter(holds).collect();
                prop_assert!(holders.len() <= 1);
                let found = associations.of_object(bucket, &object_key).unwrap();
                prop_assert_eq!(found.as_ref().map(|(one, _)| *one), holders.first().copied());
                if let Some((association, place)) = found {
                    let path = association.mapping().path(&place);
                    prop_assert_eq!(associations.of_path(&path).unwrap(), Some((association, place.clone())));
                    let back = association.mapping().object_key(&place).unwrap();
                    prop_assert_eq!(back.unwrap_or_default(), object_key);
                }
            }
        }
    }

    #[test]
    fn they_are_kept_as_they_are_and_checked_when_they_are_read() {
        let associations = with(&[("/ns1", "s3://bucket/p"), ("/ns2", "s3://bucket/q")]).unwrap();
        let text = serde_json::to_string(&associations).unwrap();
        assert_eq!(serde_json::from_str::<Associations>(&text).unwrap(), associations);
        let error = serde_json::from_str::<Associations>(&text.replace("/ns2", "/ns1/x")).unwrap_err();
        assert!(error.to_string().contains("overlaps with /ns1"), "{error}");
    }
}
