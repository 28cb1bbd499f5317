//! Prints what a service of one's own would answer to the three describing requests of the API: one JSON object with the
//! pages of each answer, and in them a file system, an association or a task in every state. Given a file and the name of an
//! operation, it reads that answer instead and prints it back.
//!
//! ```text
//! cargo run --example describe
//! aws fsx describe-file-systems > answer.json
//! cargo run --example describe -- answer.json DescribeFileSystems
//! ```
//!
//! The exit status is 2 when the file cannot be read or is no such answer.

// A program for the command line speaks on both streams.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use clap::{Parser, ValueEnum};
use posix_s3::Timestamp;
use posix_s3::repository::describe::{
    CreateDataRepositoryAssociationRequest, DataRepositoryAssociation, DataRepositoryConfiguration, DataRepositoryTask,
    DescribeDataRepositoryAssociationsRequest, DescribeDataRepositoryAssociationsResponse,
    DescribeDataRepositoryTasksRequest, DescribeDataRepositoryTasksResponse, DescribeFileSystemsRequest,
    DescribeFileSystemsResponse, FileSystem, FileSystemLifecycle, LustreFileSystemConfiguration, Owner, Tag,
};
use posix_s3::repository::{
    Association, AssociationId, CompletionReport, CreateFileSystemLustreConfiguration, CreateTask, EventTypes, Link,
    LinkState, Misconfiguration, ReleaseConfiguration, TaskEnd, TaskId, TaskStatus, TaskType, Tasks,
    describe_data_repository_associations, describe_data_repository_tasks, describe_file_systems,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints answers to the describing requests of the Amazon FSx API.
#[derive(Parser)]
struct Arguments {
    /// An answer to read and print back
    #[arg(requires = "operation")]
    file: Option<PathBuf>,
    /// What it is an answer to
    operation: Option<Operation>,
}

// The names are those of the API.
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Operation {
    DescribeFileSystems,
    DescribeDataRepositoryAssociations,
    DescribeDataRepositoryTasks,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let printed = match (arguments.file, arguments.operation) {
        (Some(file), Some(operation)) => read_back(&file, operation),
        _ => describe_all(),
    };
    match printed {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("describe: {error}");
            ExitCode::from(2)
        }
    }
}

fn read_back(file: &Path, operation: Operation) -> Result<String, Box<dyn Error>> {
    fn through<T: Serialize + DeserializeOwned>(text: &str) -> Result<String, Box<dyn Error>> {
        Ok(serde_json::to_string_pretty(&serde_json::from_str::<T>(text)?)?)
    }
    let text = std::fs::read_to_string(file)?;
    match operation {
        Operation::DescribeFileSystems => through::<DescribeFileSystemsResponse>(&text),
        Operation::DescribeDataRepositoryAssociations => through::<DescribeDataRepositoryAssociationsResponse>(&text),
        Operation::DescribeDataRepositoryTasks => through::<DescribeDataRepositoryTasksResponse>(&text),
    }
}

/// The answers, page by page.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answers {
    describe_file_systems: Vec<DescribeFileSystemsResponse>,
    describe_data_repository_associations: Vec<DescribeDataRepositoryAssociationsResponse>,
    describe_data_repository_tasks: Vec<DescribeDataRepositoryTasksResponse>,
}

fn describe_all() -> Result<String, Box<dyn Error>> {
    let file_systems = describe_file_systems(&file_systems()?, &DescribeFileSystemsRequest::default())?;
    let associations = associations()?;
    let mut request = DescribeDataRepositoryAssociationsRequest { max_results: Some(4), ..Default::default() };
    let first = describe_data_repository_associations(&associations, &request)?;
    request.next_token.clone_from(&first.next_token);
    let second = describe_data_repository_associations(&associations, &request)?;
    let tasks =
        describe_data_repository_tasks(&tasks()?, &DescribeDataRepositoryTasksRequest::default(), |_, _| false)?;
    Ok(serde_json::to_string_pretty(&Answers {
        describe_file_systems: vec![file_systems],
        describe_data_repository_associations: vec![first, second],
        describe_data_repository_tasks: vec![tasks],
    })?)
}

/// Seconds into the life of these file systems.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_605_083_142_i64.saturating_add(seconds), 615_000_000).unwrap_or(Timestamp::EPOCH)
}

fn owner(number: u32) -> Owner {
    Owner {
        partition: "aws".into(),
        region: "eu-west-1".into(),
        account: "123456789012".into(),
        file_system_id: format!("fs-0a1b2c3d4e5f6{number:04x}"),
    }
}

/// A state of each kind that a link can be in.
fn states() -> Result<Vec<LinkState>, Box<dyn Error>> {
    let creating = LinkState::creating(at(0));
    let mut available = creating.clone();
    available.built(at(60))?;
    let [mut updating, mut misconfigured, mut deleting, mut failed] = [(); 4].map(|()| available.clone());
    updating.update(at(120))?;
    misconfigured.broken(Misconfiguration::AccessDenied, "GetObject on \"sample-data\" answers 403\n", at(120))?;
    deleting.delete(at(120))?;
    failed.lost("there is no bucket sample-data any more", at(120))?;
    Ok(vec![creating, available, updating, misconfigured, deleting, failed])
}

/// One linked to a bucket in each state, and one that is not.
fn file_systems() -> Result<Vec<FileSystem>, Box<dyn Error>> {
    let requests = [
        r#"{"ImportPath": "s3://sample-data"}"#,
        r#"{"ImportPath": "s3://sample-data/in/", "AutoImportPolicy": "NEW"}"#,
        r#"{"ImportPath": "s3://sample-data/in", "ExportPath": "s3://sample-data", "AutoImportPolicy": "NEW_CHANGED"}"#,
        r#"{"ImportPath": "s3://sample-data/é ü", "ExportPath": "s3://sample-data/out", "ImportedFileChunkSize": 1}"#,
        r#"{"ImportPath": "s3://sample-data", "ImportedFileChunkSize": 512000, "AutoImportPolicy": "NEW_CHANGED_DELETED"}"#,
    ];
    let mut file_systems = Vec::new();
    for (state, request) in states()?.iter().zip(requests.iter().cycle()) {
        let request: CreateFileSystemLustreConfiguration = serde_json::from_str(request)?;
        let link = Link::new(&request, at(0))?;
        file_systems.push(Some(DataRepositoryConfiguration::new(&link, state)));
    }
    file_systems.push(None);
    Ok((0..).zip(file_systems).map(|(number, link)| file_system(&owner(number), link)).collect())
}

fn file_system(owner: &Owner, link: Option<DataRepositoryConfiguration>) -> FileSystem {
    FileSystem {
        owner_id: Some(owner.account.clone()),
        creation_time: Some(at(0).into()),
        file_system_id: Some(owner.file_system_id.clone()),
        file_system_type: Some("LUSTRE".into()),
        lifecycle: Some(FileSystemLifecycle::Available.into()),
        storage_capacity: Some(1200),
        storage_type: Some("SSD".into()),
        vpc_id: Some("vpc-0f00ba11".into()),
        subnet_ids: Some(vec!["subnet-0c0ffee0".into()]),
        network_interface_ids: Some(vec!["eni-0decade0".into(), "eni-0facade1".into()]),
        dns_name: Some(format!("{}.fsx.{}.amazonaws.com", owner.file_system_id, owner.region)),
        kms_key_id: Some("arn:aws:kms:eu-west-1:123456789012:key/00000000-1111-2222-3333-444444444444".into()),
        resource_arn: Some(owner.file_system_arn()),
        tags: Some(vec![Tag { key: "Name".into(), value: "burst-17".into(), ..Default::default() }]),
        lustre_configuration: Some(LustreFileSystemConfiguration {
            weekly_maintenance_start_time: Some("7:03:30".into()),
            data_repository_configuration: link,
            deployment_type: Some("PERSISTENT_1".into()),
            per_unit_storage_throughput: Some(200),
            mount_name: Some("k3x9abcd".into()),
            copy_tags_to_backups: Some(false),
            data_compression_type: Some("NONE".into()),
            ..Default::default()
        }),
        file_system_type_version: Some("2.12".into()),
        ..Default::default()
    }
}

/// One in each state.
fn associations() -> Result<Vec<DataRepositoryAssociation>, Box<dyn Error>> {
    let policies = [
        Value::Null,
        json!({"AutoImportPolicy": {"Events": ["NEW", "CHANGED", "DELETED"]}}),
        json!({"AutoImportPolicy": {"Events": ["NEW"]}, "AutoExportPolicy": {"Events": ["DELETED", "NEW"]}}),
    ];
    let owner = owner(6);
    let mut documents = Vec::new();
    for ((number, state), policy) in (1..).zip(states()?).zip(policies.iter().cycle()) {
        let request: CreateDataRepositoryAssociationRequest = serde_json::from_value(json!({
            "FileSystemId": owner.file_system_id,
            "FileSystemPath": format!("/ns{number}"),
            "DataRepositoryPath": format!("s3://sample-data/in/{number}"),
            "BatchImportMetaDataOnCreate": number % 2 == 0,
            "S3": policy,
        }))?;
        let association = Association::new(&request, AssociationId::from_random(number), at(0))?;
        documents.push(DataRepositoryAssociation::new(&association, &state, &owner));
    }
    Ok(documents)
}

/// One of each kind, and one in each state.
fn tasks() -> Result<Vec<DataRepositoryTask>, Box<dyn Error>> {
    let owner = self::owner(6);
    let mut tasks = Tasks::new(&owner.file_system_id);
    let report = CompletionReport::at("s3://sample-data/in/1/reports");
    let export = CreateTask::new(TaskType::ExportToRepository).with_report(report.clone());
    let import = CreateTask::new(TaskType::ImportMetadataFromRepository).with_report(report);
    let release = CreateTask::new(TaskType::ReleaseDataFromFilesystem)
        .with_release(ReleaseConfiguration::after_days(9))
        .with_paths(["ns1/results"]);
    let mut labelled = export.clone().with_paths(["ns1/results", "ns1/log"]).with_token("once");
    labelled.tags = Some(json!([{"Key": "Name", "Value": "burst-17"}]));
    let requests =
        [import.with_paths(["s3://sample-data/in/1"]), labelled, release, export.clone(), export.with_paths(["ns2"])];
    for (number, request) in (1..).zip(&requests) {
        tasks.create(request, TaskId::from_number(number), EventTypes::NONE, at(300))?;
    }
    let status = |failed_count| TaskStatus { succeeded_count: 1153, failed_count, ..TaskStatus::default() };
    let released = TaskStatus { released_capacity: Some(2), ..status(0) };
    // One that succeeds, one of which files fail, and one that somebody has stopped.
    for status in [status(0), status(3), released] {
        let task = tasks.start_next(at(304)).ok_or("no task waits")?;
        tasks.progress(&task.task_id, TaskStatus { total_count: 1156, ..status }, at(334))?;
        let cancelled = task.r#type == TaskType::ReleaseDataFromFilesystem;
        tasks.end(&task.task_id, TaskEnd { status, cancelled, ..TaskEnd::default() }, at(390))?;
    }
    // One at work, and one that waits.
    tasks.start_next(at(391)).ok_or("no task waits")?;
    let mut documents: Vec<_> = tasks.iter().map(|task| DataRepositoryTask::new(task, &owner)).collect();
    // And one of another file system that was cancelled and has something in hand.
    let owner = self::owner(7);
    let mut tasks = Tasks::new(&owner.file_system_id);
    let (import, id) = (CreateTask::new(TaskType::ImportMetadataFromRepository), TaskId::from_number(6));
    tasks.create(&import, id.clone(), EventTypes::NONE, at(300))?;
    tasks.start_next(at(304)).ok_or("no task waits")?;
    tasks.cancel(&id, at(305))?;
    documents.extend(tasks.iter().map(|task| DataRepositoryTask::new(task, &owner)));
    Ok(documents)
}
