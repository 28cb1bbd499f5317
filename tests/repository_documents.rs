//! Documents of others, read and written back: what the AWS CLI prints, and the examples of botocore.
//!
//! `tests/repository/botocore.json` holds the file systems of the examples of botocore 1.43.11 (`data/fsx/2018-03-01`,
//! Apache-2.0): those of `DescribeFileSystems`, `CreateFileSystem`, `UpdateFileSystem`, `CreateFileSystemFromBackup` and
//! `CopyBackup`. It has none for associations and tasks. The other files have the form in which AWS CLI 1.45.11 prints an
//! answer: four spaces, members in the order of the service's model. `.ci/botocore` does the same with all of botocore.

#![cfg(feature = "repository")]
#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use posix_s3::repository::describe::{
    DescribeDataRepositoryAssociationsResponse, DescribeDataRepositoryTasksResponse, DescribeFileSystemsResponse,
    FileSystemLifecycle,
};
use posix_s3::repository::{AutoImportPolicyType, Lifecycle, Open, RepositoryPath};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const MISCONFIGURED: &str = include_str!("repository/misconfigured.json");
const AVAILABLE: &str = include_str!("repository/available.json");
const UNLINKED: &str = include_str!("repository/unlinked.json");
const ASSOCIATIONS: &str = include_str!("repository/associations.json");
const TASKS: &str = include_str!("repository/tasks.json");
const BOTOCORE: &str = include_str!("repository/botocore.json");

/// As the CLI prints it.
fn print(document: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).unwrap();
    String::from_utf8(text).unwrap() + "\n"
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

#[test]
fn s46_what_describe_file_systems_prints_is_read_and_written_back_byte_by_byte() {
    for text in [MISCONFIGURED, AVAILABLE, UNLINKED] {
        assert_eq!(print(&read::<DescribeFileSystemsResponse>(text)), text);
    }
}

#[test]
fn what_the_cli_prints_of_associations_and_tasks_is_read_and_written_back_byte_by_byte() {
    assert_eq!(print(&read::<DescribeDataRepositoryAssociationsResponse>(ASSOCIATIONS)), ASSOCIATIONS);
    assert_eq!(print(&read::<DescribeDataRepositoryTasksResponse>(TASKS)), TASKS);
}

#[test]
fn the_examples_of_botocore_are_read_and_written_back_equal() {
    let answer: DescribeFileSystemsResponse = read(BOTOCORE);
    assert_eq!(answer.file_systems.as_ref().map(Vec::len), Some(5));
    assert_eq!(serde_json::to_value(&answer).unwrap(), read::<Value>(BOTOCORE));
}

#[test]
fn s39_s46_the_two_states_of_one_answer_are_told_apart() {
    let states = |text| {
        let answer: DescribeFileSystemsResponse = read(text);
        let file_system = answer.file_systems.unwrap().remove(0);
        let link = file_system.lustre_configuration.unwrap().data_repository_configuration;
        (file_system.lifecycle.unwrap(), link)
    };
    let (file_system, link) = states(MISCONFIGURED);
    let link = link.unwrap();
    assert_eq!(file_system, Open::Known(FileSystemLifecycle::Available));
    assert_eq!(link.lifecycle, Some(Open::Known(Lifecycle::Misconfigured)));
    assert_eq!(link.auto_import_policy, Some(Open::Known(AutoImportPolicyType::NewChanged)));
    assert_eq!(link.failure_details.unwrap().message.unwrap(), "event subscription FSx missing on sample-data");
    assert_eq!(RepositoryPath::parse(&link.import_path.unwrap()).unwrap().prefix().as_str(), "in/");
    let (_, link) = states(AVAILABLE);
    let link = link.unwrap();
    assert_eq!((link.lifecycle, link.failure_details), (Some(Open::Known(Lifecycle::Available)), None));
    assert_eq!(states(UNLINKED).1, None);
}

/// Members that no version has stand in every object, and values that none has in every list: all are there afterwards.
#[test]
fn members_of_a_later_version_are_kept_wherever_they_stand() {
    fn strange(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(strange);
                members.insert("Colour".into(), serde_json::json!({"Of": ["the", 1, 2.5, {"sky": null}]}));
            }
            Value::Array(items) => items.iter_mut().for_each(strange),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => {
                text.push_str("_2031");
            }
            _ => {}
        }
    }
    fn survives<T: Serialize + DeserializeOwned>(text: &str) {
        let mut value: Value = read(text);
        strange(&mut value);
        let document: T = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&document).unwrap(), value);
    }
    for text in [MISCONFIGURED, AVAILABLE, UNLINKED, BOTOCORE] {
        survives::<DescribeFileSystemsResponse>(text);
    }
    survives::<DescribeDataRepositoryAssociationsResponse>(ASSOCIATIONS);
    survives::<DescribeDataRepositoryTasksResponse>(TASKS);
}

#[test]
fn what_the_second_cli_prints_keeps_its_dates() {
    let text = TASKS
        .replace("1605090000.0", r#""2020-11-11T10:20:00+00:00""#)
        .replace("1605090004.25", r#""2020-11-11T11:20:04.250000+01:00""#);
    let answer: DescribeDataRepositoryTasksResponse = read(&text);
    assert_eq!(print(&answer), text);
    let task = &answer.data_repository_tasks.unwrap()[0];
    assert_eq!(task.creation_time.time().nanoseconds(), 1_605_090_000_000_000_000);
    assert_eq!(task.start_time.as_ref().unwrap().time().nanoseconds(), 1_605_090_004_250_000_000);
}

#[test]
fn an_answer_that_is_none_is_refused_with_its_place() {
    let wrong = TASKS.replace("1605090000.0", "\"soon\"");
    let error = serde_json::from_str::<DescribeDataRepositoryTasksResponse>(&wrong).unwrap_err().to_string();
    assert!(error.starts_with("invalid time \"soon\": expected a number of seconds"), "{error}");
    assert!(error.contains(" at line "), "{error}");
    let wrong = TASKS.replace("\"TaskId\"", "\"TaskNumber\"");
    let error = serde_json::from_str::<DescribeDataRepositoryTasksResponse>(&wrong).unwrap_err().to_string();
    assert!(error.starts_with("missing field `TaskId`"), "{error}");
}
