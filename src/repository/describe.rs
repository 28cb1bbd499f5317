//! The documents that describe file systems, associations and tasks.
//!
//! They are the answers and requests of the API, member by member and in the order of its model. Nothing in them is
//! checked: a document says what somebody else says. Members and values that this version does not know are kept, members
//! that are null are dropped, empty lists stay.

use super::association::Association;
use super::lifecycle::{FailureDetails, Lifecycle, LinkState};
use super::link::Link;
use super::policy::{AutoImportPolicyType, EventType, Open};
use super::task::{CompletionReport, ReleaseConfiguration, Task, TaskStatus};
use crate::escape::excerpt;
use crate::timestamp::Timestamp;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::fmt;
use thiserror::Error;

/// A time in a document: a number of seconds, `1549310341.483`, or the text that a program made of it,
/// `2019-02-04T19:59:01.483000+00:00`.
///
/// What was read is written back as it was. A time of ours is written as a number with at most three decimals, as the
/// service does.
///
/// ```
/// use posix_s3::Timestamp;
/// use posix_s3::repository::describe::ApiTimestamp;
///
/// let time = ApiTimestamp::from(Timestamp::from_unix(1_549_310_341, 483_000_000).unwrap());
/// assert_eq!(serde_json::to_string(&time)?, "1549310341.483");
/// let same: ApiTimestamp = serde_json::from_str(r#""2019-02-04T11:59:01.483-08:00""#)?;
/// assert_eq!(same.time(), time.time());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTimestamp {
    time: Timestamp,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Number(Number),
    Text(Box<str>),
}

impl ApiTimestamp {
    /// The time.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// Reads a text: a date and time of RFC 3339, or a number of seconds.
    ///
    /// # Errors
    /// [`InvalidApiTimestamp`].
    pub fn parse(text: &str) -> Result<Self, InvalidApiTimestamp> {
        let date = || time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok();
        match decimal(text).or_else(|| date().map(Timestamp::from)) {
            Some(time) => Ok(Self { time, form: Form::Text(text.into()) }),
            None => Err(InvalidApiTimestamp { found: excerpt(text.as_bytes()) }),
        }
    }

    fn from_number(number: Number) -> Result<Self, InvalidApiTimestamp> {
        let text = match number.as_f64() {
            // Without an exponent, unlike the number's own text.
            Some(seconds) if number.is_f64() => seconds.to_string(),
            _ => number.to_string(),
        };
        match decimal(&text) {
            Some(time) => Ok(Self { time, form: Form::Number(number) }),
            None => Err(InvalidApiTimestamp { found: text.into() }),
        }
    }
}

impl From<Timestamp> for ApiTimestamp {
    /// Rounded down to milliseconds.
    fn from(time: Timestamp) -> Self {
        let millis = time.subsecond_nanos() / 1_000_000;
        let nanoseconds = i128::from(millis).saturating_mul(1_000_000);
        let whole = i128::from(time.seconds()).saturating_mul(1_000_000_000).saturating_add(nanoseconds);
        let sign = if whole < 0 { "-" } else { "" };
        let magnitude = whole.unsigned_abs() / 1_000_000;
        let text = format!("{sign}{}.{:03}", magnitude / 1000, magnitude % 1000);
        let seconds = text.parse().ok().and_then(Number::from_f64);
        // Invariant: digits and a point are a number, and one of at most twenty digits is finite.
        let number = seconds.unwrap_or_else(|| Number::from(time.seconds()));
        Self { time: Timestamp::from_nanoseconds(whole).unwrap_or(time), form: Form::Number(number) }
    }
}

impl Default for ApiTimestamp {
    fn default() -> Self {
        Timestamp::EPOCH.into()
    }
}

impl Serialize for ApiTimestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.form {
            Form::Number(number) => number.serialize(serializer),
            Form::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for ApiTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Time;

        impl Visitor<'_> for Time {
            type Value = ApiTimestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<ApiTimestamp, E> {
                let number = Number::from_f64(seconds).ok_or_else(|| E::custom("expected a time, found no number"))?;
                ApiTimestamp::from_number(number).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<ApiTimestamp, E> {
                ApiTimestamp::from_number(seconds.into()).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<ApiTimestamp, E> {
                ApiTimestamp::from_number(seconds.into()).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ApiTimestamp, E> {
                ApiTimestamp::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Time)
    }
}

/// A time in a document that is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid time \"{found}\": expected a number of seconds, or a date and time with its offset")]
pub struct InvalidApiTimestamp {
    found: Box<str>,
}

/// The time of a decimal number of seconds. Decimals after the ninth are dropped.
fn decimal(text: &str) -> Option<Timestamp> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let magnitude = whole.parse::<i128>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)?;
    Timestamp::from_nanoseconds(if negative { magnitude.checked_neg()? } else { magnitude })
}

/// The state of a file system, which is not that of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileSystemLifecycle {
    /// It can be used.
    Available,
    /// It is being made.
    Creating,
    /// It is beyond repair.
    Failed,
    /// It is being deleted.
    Deleting,
    /// It can be used, and something is wrong.
    Misconfigured,
    /// A change is under way.
    Updating,
    /// It cannot be used, since something is wrong.
    MisconfiguredUnavailable,
}

/// Why something failed: `FileSystemFailureDetails`, `DataRepositoryFailureDetails` and `DataRepositoryTaskFailureDetails`
/// of the API, which are alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FailureMessage {
    /// The message, 1 to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl From<&FailureDetails> for FailureMessage {
    fn from(details: &FailureDetails) -> Self {
        Self { message: Some(details.message.clone().into()), ..Self::default() }
    }
}

/// The answer to `DescribeFileSystems`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeFileSystemsResponse {
    /// The file systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_systems: Option<Vec<FileSystem>>,
    /// Where the next page starts; nothing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileSystem {
    /// The account that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<ApiTimestamp>,
    /// Its name, `fs-` and hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_id: Option<String>,
    /// `LUSTRE`, or another kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_type: Option<String>,
    /// Its state, which is not that of its link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Open<FileSystemLifecycle>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureMessage>,
    /// Its size, in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_capacity: Option<i64>,
    /// `SSD`, `HDD` or `INTELLIGENT_TIERING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
    /// The network that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// The subnets that it can be reached from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_ids: Option<Vec<String>>,
    /// The interfaces of its servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_interface_ids: Option<Vec<String>>,
    /// The name to mount it by.
    #[serde(rename = "DNSName", skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// The key that it is encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Its full name.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    /// Of another kind of file system, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows_configuration: Option<Value>,
    /// What only Lustre has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lustre_configuration: Option<LustreFileSystemConfiguration>,
    /// Changes under way, as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub administrative_actions: Option<Value>,
    /// Of another kind of file system, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ontap_configuration: Option<Value>,
    /// The version of Lustre.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_type_version: Option<String>,
    /// Of another kind of file system, as it is.
    #[serde(rename = "OpenZFSConfiguration", skip_serializing_if = "Option::is_none")]
    pub open_zfs_configuration: Option<Value>,
    /// `IPV4` or `DUAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What only a Lustre file system has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LustreFileSystemConfiguration {
    /// `d:HH:MM`, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly_maintenance_start_time: Option<String>,
    /// Its link, where that was made with it. Nothing when it has none, or associations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_repository_configuration: Option<DataRepositoryConfiguration>,
    /// `SCRATCH_1`, `SCRATCH_2`, `PERSISTENT_1` or `PERSISTENT_2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_type: Option<String>,
    /// In MB/s a TiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_unit_storage_throughput: Option<i64>,
    /// What is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_name: Option<String>,
    /// `HH:MM`, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_automatic_backup_start_time: Option<String>,
    /// In days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic_backup_retention_days: Option<i64>,
    /// Whether backups get its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_tags_to_backups: Option<bool>,
    /// `NONE` or `READ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drive_cache_type: Option<String>,
    /// `NONE` or `LZ4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_compression_type: Option<String>,
    /// Where events are logged, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<Value>,
    /// Who root of a client is, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_squash_configuration: Option<Value>,
    /// The speed of its metadata, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_configuration: Option<Value>,
    /// Whether it can be reached by EFA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efa_enabled: Option<bool>,
    /// In MB/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_capacity: Option<i64>,
    /// Its cache, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_read_cache_configuration: Option<Value>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The link of a file system, where it was made with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataRepositoryConfiguration {
    /// Its state, which is not that of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Open<Lifecycle>>,
    /// What is imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_path: Option<String>,
    /// Where exports go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_path: Option<String>,
    /// In MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_file_chunk_size: Option<i64>,
    /// What is imported by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_import_policy: Option<Open<AutoImportPolicyType>>,
    /// Why it is misconfigured or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureMessage>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The answer to `DescribeDataRepositoryAssociations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeDataRepositoryAssociationsResponse {
    /// The associations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub associations: Option<Vec<DataRepositoryAssociation>>,
    /// Where the next page starts; nothing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An association.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataRepositoryAssociation {
    /// Its name, `dra-` and hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub association_id: Option<String>,
    /// Its full name.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// The file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_id: Option<String>,
    /// Its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Open<Lifecycle>>,
    /// Why it is misconfigured or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureMessage>,
    /// The directory of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_path: Option<String>,
    /// The part of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_repository_path: Option<String>,
    /// Whether metadata of everything is imported when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_import_meta_data_on_create: Option<bool>,
    /// In MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_file_chunk_size: Option<i64>,
    /// What goes over by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3DataRepositoryConfiguration>,
    /// Its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<ApiTimestamp>,
    /// Of a cache, the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_cache_id: Option<String>,
    /// Of a cache, the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_cache_path: Option<String>,
    /// Of a cache, the exports of an NFS server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_repository_subdirectories: Option<Vec<String>>,
    /// Of a cache, how to reach an NFS server, as it is.
    #[serde(rename = "NFS", skip_serializing_if = "Option::is_none")]
    pub nfs: Option<Value>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What an association imports and exports by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct S3DataRepositoryConfiguration {
    /// Changes of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_import_policy: Option<AutoImportPolicy>,
    /// Changes of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_export_policy: Option<AutoExportPolicy>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Which changes of the bucket are imported by themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutoImportPolicy {
    /// At most three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Open<EventType>>>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Which changes of the file system are exported by themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutoExportPolicy {
    /// At most three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Open<EventType>>>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The answer to `DescribeDataRepositoryTasks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeDataRepositoryTasksResponse {
    /// The tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_repository_tasks: Option<Vec<DataRepositoryTask>>,
    /// Where the next page starts; nothing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A task, whoever's. A [`Task`] of ours becomes one with [`DataRepositoryTask::new`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataRepositoryTask {
    /// Its name, `task-` and hexadecimal digits.
    pub task_id: String,
    /// `PENDING`, `EXECUTING`, `FAILED`, `SUCCEEDED`, `CANCELED` or `CANCELING`.
    pub lifecycle: String,
    /// `EXPORT_TO_REPOSITORY`, `IMPORT_METADATA_FROM_REPOSITORY`, `RELEASE_DATA_FROM_FILESYSTEM` or `AUTO_RELEASE_DATA`.
    pub r#type: String,
    /// When it was asked for.
    pub creation_time: ApiTimestamp,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<ApiTimestamp>,
    /// When it had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<ApiTimestamp>,
    /// Its full name.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    /// The file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_id: Option<String>,
    /// What it is about; nothing for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Why it failed; only when it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureMessage>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DataRepositoryTaskStatus>,
    /// Where its report goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<CompletionReport>,
    /// Of a cache, in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_to_release: Option<i64>,
    /// Of a cache, the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_cache_id: Option<String>,
    /// Which files give their space back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_configuration: Option<ReleaseConfiguration>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How far a task is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataRepositoryTaskStatus {
    /// How many files it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_count: Option<i64>,
    /// How many are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded_count: Option<i64>,
    /// How many failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_count: Option<i64>,
    /// When this was so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated_time: Option<ApiTimestamp>,
    /// In GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_capacity: Option<i64>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
/// The answer to `CreateFileSystem`, and to `UpdateFileSystem`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateFileSystemResponse {
    /// The file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<FileSystem>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The answer to `CreateDataRepositoryAssociation`, and to `UpdateDataRepositoryAssociation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateDataRepositoryAssociationResponse {
    /// The association.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub association: Option<DataRepositoryAssociation>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The answer to `CreateDataRepositoryTask`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateDataRepositoryTaskResponse {
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_repository_task: Option<DataRepositoryTask>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What `DescribeFileSystems` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeFileSystemsRequest {
    /// These; nothing for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_ids: Option<Vec<String>>,
    /// How many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    /// From where, as the answer before said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What `DescribeDataRepositoryAssociations` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeDataRepositoryAssociationsRequest {
    /// These; nothing for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub association_ids: Option<Vec<String>>,
    /// Only what all of these let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<Filter>>,
    /// How many at once, 1 to 25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    /// From where, as the answer before said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What `DescribeDataRepositoryTasks` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeDataRepositoryTasksRequest {
    /// These; nothing for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<String>>,
    /// Only what all of these let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<Filter>>,
    /// How many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    /// From where, as the answer before said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A filter: `Filter` and `DataRepositoryTaskFilter` of the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filter {
    /// What is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What `CreateDataRepositoryAssociation` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateDataRepositoryAssociationRequest {
    /// The file system.
    pub file_system_id: String,
    /// The directory of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_path: Option<String>,
    /// The part of the bucket.
    pub data_repository_path: String,
    /// Whether metadata of everything is imported at once; nothing for no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_import_meta_data_on_create: Option<bool>,
    /// In MiB; nothing for 1,024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_file_chunk_size: Option<i64>,
    /// What goes over by itself; nothing for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3DataRepositoryConfiguration>,
    /// By which a request that is sent again is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_token: Option<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What `UpdateDataRepositoryAssociation` asks for. What is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateDataRepositoryAssociationRequest {
    /// The association.
    pub association_id: String,
    /// By which a request that is sent again is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_token: Option<String>,
    /// In MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_file_chunk_size: Option<i64>,
    /// The policies that are changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3DataRepositoryConfiguration>,
    /// Members of a later version of the API, as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DataRepositoryConfiguration {
    /// Of a link in its state.
    #[must_use]
    pub fn new(link: &Link, state: &LinkState) -> Self {
        Self {
            lifecycle: Some(state.lifecycle().into()),
            import_path: Some(link.import_path().without_slash().into()),
            export_path: Some(link.export_path().without_slash().into()),
            imported_file_chunk_size: Some(link.imported_file_chunk_size().into()),
            auto_import_policy: Some(link.auto_import_policy().into()),
            failure_details: state.failure().map(Into::into),
            ..Self::default()
        }
    }
}

impl DataRepositoryAssociation {
    /// Of an association in its state.
    #[must_use]
    pub fn new(association: &Association, state: &LinkState, owner: &Owner) -> Self {
        Self {
            association_id: Some(association.id().as_str().into()),
            resource_arn: Some(owner.association_arn(association.id().as_str())),
            file_system_id: Some(owner.file_system_id.clone()),
            lifecycle: Some(state.lifecycle().into()),
            failure_details: state.failure().map(Into::into),
            file_system_path: Some(association.file_system_path().as_str().into()),
            data_repository_path: Some(association.data_repository_path().as_str().into()),
            batch_import_meta_data_on_create: Some(association.batch_import_meta_data_on_create()),
            imported_file_chunk_size: Some(association.imported_file_chunk_size().into()),
            s3: Some(association.s3()),
            creation_time: Some(association.creation_time().into()),
            ..Self::default()
        }
    }
}

impl DataRepositoryTask {
    /// Of a task of a file system.
    #[must_use]
    pub fn new(task: &Task, owner: &Owner) -> Self {
        let resource_arn = Some(owner.task_arn(task.task_id.as_str()));
        Self { resource_arn, file_system_id: Some(owner.file_system_id.clone()), ..task.into() }
    }
}

impl From<&Task> for DataRepositoryTask {
    /// Of a task whose owner nobody knows.
    fn from(task: &Task) -> Self {
        let mut other = task.rest.clone();
        Self {
            task_id: task.task_id.as_str().into(),
            lifecycle: task.lifecycle.name().into(),
            r#type: task.r#type.name().into(),
            creation_time: task.creation_time.into(),
            start_time: task.start_time.map(Into::into),
            end_time: task.end_time.map(Into::into),
            resource_arn: member(&mut other, "ResourceARN"),
            // No list of the model is empty.
            tags: member(&mut other, "Tags").filter(|tags: &Vec<Tag>| !tags.is_empty()),
            file_system_id: task.file_system_id.clone().map(Into::into),
            paths: Some(task.paths.iter().map(Into::into).collect()).filter(|paths: &Vec<String>| !paths.is_empty()),
            failure_details: task.failure_details.as_ref().map(Into::into),
            status: Some(task.status.into()),
            report: Some(task.report.clone()),
            capacity_to_release: member(&mut other, "CapacityToRelease"),
            file_cache_id: member(&mut other, "FileCacheId"),
            release_configuration: task.release_configuration.clone(),
            other,
        }
    }
}

/// Takes a member out, if it is what it should be.
fn member<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) -> Option<T> {
    let found = members.get(name).and_then(|value| T::deserialize(value).ok())?;
    members.remove(name);
    Some(found)
}

impl From<TaskStatus> for DataRepositoryTaskStatus {
    fn from(status: TaskStatus) -> Self {
        let number = |count: u64| Some(i64::try_from(count).unwrap_or(i64::MAX));
        Self {
            total_count: number(status.total_count),
            succeeded_count: number(status.succeeded_count),
            failed_count: number(status.failed_count),
            last_updated_time: status.last_updated_time.map(Into::into),
            released_capacity: status.released_capacity.and_then(number),
            ..Self::default()
        }
    }
}

/// The file system that associations and tasks belong to, and all that their full names are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `aws`, or another part of the world.
    pub partition: String,
    /// The region.
    pub region: String,
    /// The account, twelve digits.
    pub account: String,
    /// The file system.
    pub file_system_id: String,
}

impl Owner {
    /// The full name of the file system.
    #[must_use]
    pub fn file_system_arn(&self) -> String {
        self.arn(format_args!("file-system/{}", self.file_system_id))
    }

    /// The full name of an association.
    #[must_use]
    pub fn association_arn(&self, id: &str) -> String {
        self.arn(format_args!("association/{}/{id}", self.file_system_id))
    }

    /// The full name of a task.
    #[must_use]
    pub fn task_arn(&self, id: &str) -> String {
        self.arn(format_args!("task/{id}"))
    }

    fn arn(&self, rest: fmt::Arguments<'_>) -> String {
        format!("arn:{}:fsx:{}:{}:{rest}", self.partition, self.region, self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{AssociationId, CreateFileSystemLustreConfiguration, Misconfiguration};

    const fn at(seconds: i64) -> Timestamp {
        match Timestamp::from_unix(seconds, 0) {
            Some(time) => time,
            None => Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_time_is_written_as_it_was_read() {
        let forms = [
            ("1549310341.483", 1_549_310_341_483_000_000),
            ("1500000000.0", 1_500_000_000_000_000_000),
            ("1500000000", 1_500_000_000_000_000_000),
            ("-1.5", -1_500_000_000),
            ("1651770333.1", 1_651_770_333_100_000_000),
            ("5.555555656e-7", 555),
            (r#""2019-02-04T19:59:01.483000+00:00""#, 1_549_310_341_483_000_000),
            (r#""2019-02-04T11:59:01.483-08:00""#, 1_549_310_341_483_000_000),
            (r#""2019-02-04T19:59:01Z""#, 1_549_310_341_000_000_000),
            (r#""1549310341.483""#, 1_549_310_341_483_000_000),
        ];
        for (text, nanoseconds) in forms {
            let time: ApiTimestamp = serde_json::from_str(text).unwrap();
            assert_eq!(time.time().nanoseconds(), nanoseconds, "{text}");
            assert_eq!(serde_json::to_string(&time).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["1e300", "-1e300", r#""""#, r#""-""#, r#"".5""#, r#""1.""#, r#""yesterday""#, r#""2019-02-04""#, "[]"]
        {
            assert!(serde_json::from_str::<ApiTimestamp>(text).is_err(), "{text}");
        }
        let error = serde_json::from_str::<ApiTimestamp>(r#""now\n""#).unwrap_err().to_string();
        let message = r#"invalid time "now\n": expected a number of seconds, or a date and time with its offset"#;
        assert!(error.starts_with(message), "{error}");
    }

    #[test]
    fn a_time_of_ours_has_milliseconds_and_reads_back_as_it_is() {
        let cases = [
            (0, 0, "0.0"),
            (1_500_000_000, 0, "1500000000.0"),
            (1_549_310_341, 483_999_999, "1549310341.483"),
            (1_549_310_341, 7_000_000, "1549310341.007"),
            (-1, 500_000_000, "-0.5"),
            (-2, 999_999_999, "-1.001"),
        ];
        for (seconds, nanos, text) in cases {
            let time = ApiTimestamp::from(Timestamp::from_unix(seconds, nanos).unwrap());
            assert_eq!(serde_json::to_string(&time).unwrap(), text);
            assert_eq!(serde_json::from_str::<ApiTimestamp>(text).unwrap(), time);
        }
        // As far as a time goes, there is a number for it.
        for seconds in [i64::MIN, i64::MAX] {
            assert!(serde_json::to_string(&ApiTimestamp::from(at(seconds))).unwrap().contains("9.22"));
        }
    }

    #[test]
    fn s39_s46_the_state_of_the_link_stands_in_its_configuration() {
        let request =
            CreateFileSystemLustreConfiguration { import_path: Some("s3://bucket/in/".into()), ..Default::default() };
        let link = Link::new(&request, at(1_605_083_142)).unwrap();
        let mut state = LinkState::creating(at(0));
        let describe =
            |state: &LinkState| serde_json::to_string(&DataRepositoryConfiguration::new(&link, state)).unwrap();
        let with = |lifecycle: &str, failure: &str| {
            format!(
                r#"{{"Lifecycle":"{lifecycle}","ImportPath":"s3://bucket/in","ExportPath":"s3://bucket/FSxLustre20201111T082542Z","ImportedFileChunkSize":1024,"AutoImportPolicy":"NONE"{failure}}}"#
            )
        };
        assert_eq!(describe(&state), with("CREATING", ""));
        state.built(at(1)).unwrap();
        assert_eq!(describe(&state), with("AVAILABLE", ""));
        state.update(at(2)).unwrap();
        assert_eq!(describe(&state), with("UPDATING", ""));
        state.broken(Misconfiguration::NoSuchBucket, "no such bucket", at(3)).unwrap();
        assert_eq!(describe(&state), with("MISCONFIGURED", r#","FailureDetails":{"Message":"no such bucket"}"#));
        state.corrected(at(4)).unwrap();
        assert_eq!(describe(&state), with("AVAILABLE", ""));
        state.lost("gone", at(5)).unwrap();
        assert_eq!(describe(&state), with("FAILED", r#","FailureDetails":{"Message":"gone"}"#));
        state.delete(at(6)).unwrap();
        assert_eq!(describe(&state), with("DELETING", ""));
    }

    #[test]
    fn an_association_is_described_in_the_order_of_the_model() {
        let request: CreateDataRepositoryAssociationRequest = serde_json::from_str(
            r#"{"FileSystemId":"fs-0a1b2c3d4e5f60718","FileSystemPath":"/ns1","DataRepositoryPath":"s3://bucket/in",
                "S3":{"AutoImportPolicy":{"Events":["NEW","DELETED"]}}}"#,
        )
        .unwrap();
        let association = Association::new(&request, AssociationId::from_random(1), at(1_651_770_333)).unwrap();
        let owner = Owner {
            partition: "aws".into(),
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            file_system_id: "fs-0a1b2c3d4e5f60718".into(),
        };
        let document = DataRepositoryAssociation::new(&association, &LinkState::creating(at(0)), &owner);
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            concat!(
                r#"{"AssociationId":"dra-00000000000000001","#,
                r#""ResourceARN":"arn:aws:fsx:eu-west-1:123456789012:association/fs-0a1b2c3d4e5f60718/dra-00000000000000001","#,
                r#""FileSystemId":"fs-0a1b2c3d4e5f60718","Lifecycle":"CREATING","FileSystemPath":"/ns1","#,
                r#""DataRepositoryPath":"s3://bucket/in/","BatchImportMetaDataOnCreate":false,"ImportedFileChunkSize":1024,"#,
                r#""S3":{"AutoImportPolicy":{"Events":["NEW","DELETED"]},"AutoExportPolicy":{"Events":[]}},"#,
                r#""CreationTime":1651770333.0}"#
            )
        );
    }

    #[test]
    fn a_task_is_described_in_the_order_of_the_model() {
        let mut task: Task = serde_json::from_str(
            r#"{"TaskId":"task-00000000000000001","Lifecycle":"FAILED","Type":"EXPORT_TO_REPOSITORY","CreationTime":1.5,
                "Paths":["a"],"FailureDetails":{"Message":"1 of 2 failed"},"Report":{"Enabled":false,"Colour":"blue"},
                "Status":{"TotalCount":2,"SucceededCount":1,"FailedCount":1,"LastUpdatedTime":3.0},
                "Tags":[{"Key":"k","Value":"v"}],"CapacityToRelease":"much","Zone":7}"#,
        )
        .unwrap();
        let owner = Owner {
            partition: "aws".into(),
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            file_system_id: "fs-0a1b2c3d4e5f60718".into(),
        };
        assert_eq!(
            serde_json::to_string(&DataRepositoryTask::new(&task, &owner)).unwrap(),
            concat!(
                r#"{"TaskId":"task-00000000000000001","Lifecycle":"FAILED","Type":"EXPORT_TO_REPOSITORY","CreationTime":1.5,"#,
                r#""ResourceARN":"arn:aws:fsx:eu-west-1:123456789012:task/task-00000000000000001","#,
                r#""Tags":[{"Key":"k","Value":"v"}],"FileSystemId":"fs-0a1b2c3d4e5f60718","Paths":["a"],"#,
                r#""FailureDetails":{"Message":"1 of 2 failed"},"#,
                r#""Status":{"TotalCount":2,"SucceededCount":1,"FailedCount":1,"LastUpdatedTime":3.0},"#,
                r#""Report":{"Enabled":false,"Colour":"blue"},"CapacityToRelease":"much","Zone":7}"#
            )
        );
        task.rest.insert("ResourceARN".into(), "arn".into());
        let document = DataRepositoryTask::from(&task);
        assert_eq!((document.resource_arn.as_deref(), document.file_system_id), (Some("arn"), None));
    }

    #[test]
    fn members_and_values_of_a_later_version_are_kept() {
        let text = r#"{"Lifecycle":"ASLEEP","AutoImportPolicy":"ALL","FailureDetails":{"Message":"m","Code":7},"Zone":{"a":[1.5,null]}}"#;
        let document: DataRepositoryConfiguration = serde_json::from_str(text).unwrap();
        assert_eq!(document.lifecycle, Some(Open::Other("ASLEEP".into())));
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
        // A number of more digits than it can hold is read to the nearest one, which then stays.
        let far = "55555555599999999999999999999999999999999999999999999999999999999999999999995555555555527777";
        let far: FailureMessage = serde_json::from_str(&format!(r#"{{"Far":{far}}}"#)).unwrap();
        let again: FailureMessage = serde_json::from_str(&serde_json::to_string(&far).unwrap()).unwrap();
        assert_eq!(again, far);
        // Null is no value; empty and false are.
        let text = r#"{"Associations":[{"AssociationId":null,"BatchImportMetaDataOnCreate":false,"Tags":[]}],"NextToken":null}"#;
        let document: DescribeDataRepositoryAssociationsResponse = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            r#"{"Associations":[{"BatchImportMetaDataOnCreate":false,"Tags":[]}]}"#
        );
    }
}
