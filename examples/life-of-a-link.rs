//! The life of a link, told as it happens: created, imported, changed, exported, misconfigured, healed, released, restored,
//! deleted.
//!
//! ```sh
//! cargo run --example life-of-a-link
//! ```
//!
//! A directory and a bucket in another directory, both temporary, stand for a file system and S3; nothing is left behind.
//! With an argument, the story is told in that directory instead, which must be empty, and stays there.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use async_io::block_on;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use posix_s3::engine::{
    DataRepository, Fetch, FileState, FirstImport, Linked, ReleaseMode, Report, RepositoryError, RepositoryOptions,
    Selection, Silent, States, SystemClock,
};
use posix_s3::repository::describe::DataRepositoryConfiguration;
use posix_s3::repository::{
    Backlog, CreateFileSystemLustreConfiguration, CreateTask, Link, LinkOf, Loss, TaskId, TaskType,
    check_bucket_deletion, read_message,
};
use posix_s3::store::{Body, DirectoryStore, ObjectStore, Precondition, PutOptions, StoreError};
use posix_s3::tree::{LocalTree, UnseenUsers};
use posix_s3::{FILE_MTIME, FILE_PERMISSIONS, Key, Profile, Timestamp};
use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

type Told = Result<(), Box<dyn Error>>;
type Repository = DataRepository<LocalTree, DirectoryStore>;

fn main() -> ExitCode {
    let told = match std::env::args_os().nth(1) {
        Some(directory) => tell(Path::new(&directory)),
        None => tempfile::tempdir().map_err(Into::into).and_then(|directory| tell(directory.path())),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("life-of-a-link: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

/// The places of the story.
struct Places {
    tree: PathBuf,
    bucket: PathBuf,
    state: PathBuf,
}

fn tell(directory: &Path) -> Told {
    let places =
        Places { tree: directory.join("fs"), bucket: directory.join("bucket"), state: directory.join("state") };
    fs::create_dir(&places.tree)?;
    let store = DirectoryStore::open(&places.bucket)?;

    chapter("A bucket has data");
    block_on(put(&store, "raw/", "", "0040750"))?;
    block_on(put(&store, "raw/readings.csv", "t,v\n0,1\n1,2\n", "0100640"))?;
    block_on(put(&store, "raw/huge.bin", &"x".repeat(1 << 20), "0100644"))?;
    block_on(put(&store, "raw/../escape", "a key that can be no path", "0100644"))?;
    say("four objects, two of them files, one a directory, and one whose key is no path");

    chapter("A file system is linked to it");
    let mut repository = create(&places, store)?;
    describe(&repository)?;
    say(format!("the bucket is looked at, and the link is {}", block_on(repository.check(&Silent))?.state.lifecycle()));

    chapter("It is imported, metadata first");
    let report = block_on(repository.import(&Selection::all(), &Silent))?;
    told(&report);
    list(&places.tree)?;

    chapter("A file is read, and its data comes");
    let key = Key::parse("raw/readings.csv")?;
    say(format!("before: {}", block_on(repository.hsm_state(&key))?));
    let file = block_on(repository.read(&key))?;
    let bytes = block_on(file.read(0, 1 << 16))?;
    drop(file);
    say(format!("{} bytes were read; after: {}", bytes.len(), block_on(repository.hsm_state(&key))?));

    chapter("The bucket changes, and says so");
    block_on(put(repository.store(), "raw/late.csv", "t,v\n2,3\n", "0100640"))?;
    let mut backlog = repository.backlog();
    for notice in read_message(&event("ObjectCreated:Put", "raw/late.csv")) {
        backlog.note(notice?);
    }
    told(&block_on(repository.apply(&mut backlog, &Silent))?);

    chapter("The work is done: files are made and changed");
    fs::write(places.tree.join("result.csv"), "t,answer\n0,42\n".repeat(1 << 16))?;
    fs::set_permissions(places.tree.join("raw/readings.csv"), fs::Permissions::from_mode(0o600))?;
    say("result.csv is new, readings.csv has other permissions");
    say(format!("not in the bucket yet: {}", block_on(repository.unsent())?));
    let (back, refused) = match block_on(repository.delete(Loss::Refused)) {
        Err(refused) => refused,
        Ok(()) => return Err("a link with unsent work was deleted".into()),
    };
    repository = back;
    say(format!("deleting the link now is refused: {}", reason(&refused)));

    chapter("It is exported, as a task");
    let task = CreateTask::new(TaskType::ExportToRepository);
    block_on(repository.create_task(&task, TaskId::from_number(1)))?;
    if let Some((task, outcome)) = block_on(repository.run_task(&Silent))? {
        say(format!(
            "{} {}: {} succeeded, {} failed",
            task.task_id, task.lifecycle, task.status.succeeded_count, task.status.failed_count
        ));
        outcome.report.iter().for_each(told);
    }
    let head = block_on(repository.store().head("raw/readings.csv"))?;
    let mode = head.headers.get(&FILE_PERMISSIONS).map(|mode| mode.to_str()).transpose()?.unwrap_or_default();
    say(format!("in the bucket, readings.csv says {mode} now, and its data was not sent again"));

    chapter("Somebody takes the bucket away");
    // A copy is kept elsewhere: a bucket that is only moved stays the bucket for whoever has it open.
    let away = places.bucket.with_extension("away");
    std::process::Command::new("cp").arg("-a").args([&places.bucket, &away]).status()?;
    fs::remove_dir_all(&places.bucket)?;
    if let Err(error) = block_on(repository.import(&Selection::all(), &Silent)) {
        say(format!("an import fails: {}", reason(&error)));
    }
    describe(&repository)?;
    let mut backlog = repository.backlog();
    for notice in read_message(&event("ObjectRemoved:Delete", "raw/late.csv")) {
        backlog.note(notice?);
    }
    if let Err(error) = block_on(repository.apply(&mut backlog, &Silent)) {
        say(format!("events wait: {}", reason(&error)));
    }

    chapter("Everything stops and starts again");
    // What waits is kept, as a queue would keep it.
    let waiting = serde_json::to_string(&backlog)?;
    drop(repository);
    fs::rename(&away, &places.bucket)?;
    repository = open(&places)?;
    say(format!("the link is still {}, although the bucket is back", repository.state().lifecycle()));
    say(format!("a check passes, and it is {}", block_on(repository.check(&Silent))?.state.lifecycle()));

    block_on(repository.store().delete("raw/late.csv", &Precondition::None))?;
    let mut backlog: Backlog = serde_json::from_str(&waiting)?;
    say("the events that waited are taken over:");
    told(&block_on(repository.apply(&mut backlog, &Silent))?);

    chapter("Space is given back");
    let before = blocks(&places.tree)?;
    // What was changed this very moment is taken to be in use.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let released = block_on(repository.release(&Selection::all(), 0, ReleaseMode::Release, &Silent))?;
    say(format!(
        "{} files released, {} had been before, {} entry stays",
        released.released, released.already, released.kept
    ));
    released.reasons.iter().for_each(|kept| say(format!("    {kept}")));
    say(format!(
        "the files took {before} KiB on the disk and take {} now; their sizes and times are as they were",
        blocks(&places.tree)?
    ));
    list(&places.tree)?;

    chapter("And fetched when it is wanted");
    let report = block_on(repository.restore(&Selection::all(), &Silent))?;
    told(&report);
    let result = fs::read_to_string(places.tree.join("result.csv"))?;
    say(format!("result.csv has {} lines again, the first one {:?}", result.lines().count(), result.lines().next()));

    chapter("The end");
    let linked = repository.linked();
    if let Linked::Link(link) = &linked
        && let Err(in_use) =
            check_bucket_deletion(link.bucket(), [LinkOf::link("fs-0123456789abcdef0", link, &repository.state())])
    {
        say(format!("the bucket is not to be deleted yet: {in_use}"));
    }
    match block_on(repository.delete(Loss::Refused)) {
        Ok(()) => say("nothing is unsent, and the link is deleted; the files and the objects stay"),
        Err((_, error)) => return Err(error.into()),
    }
    Ok(())
}

fn create(places: &Places, store: DirectoryStore) -> Result<Repository, Box<dyn Error>> {
    let request: CreateFileSystemLustreConfiguration = serde_json::from_str(
        r#"{"ImportPath": "s3://sample-data", "ExportPath": "s3://sample-data", "AutoImportPolicy": "NEW_CHANGED_DELETED"}"#,
    )?;
    let link = Link::new(&request, Timestamp::from(std::time::SystemTime::now()))?;
    let states = States::one(Arc::new(FileState::open(&places.state)?));
    let (tree, clock) = (LocalTree::open(&places.tree)?, Arc::new(SystemClock));
    let created = DataRepository::create(tree, store, states, link.into(), options(), clock, FirstImport::None);
    Ok(block_on(created)?)
}

fn open(places: &Places) -> Result<Repository, Box<dyn Error>> {
    let states = States::one(Arc::new(FileState::open(&places.state)?));
    let (tree, store) = (LocalTree::open(&places.tree)?, DirectoryStore::open_existing(&places.bucket)?);
    Ok(block_on(DataRepository::open(tree, store, states, options(), Arc::new(SystemClock)))?)
}

fn options() -> RepositoryOptions {
    let mut options = RepositoryOptions::new(Profile::untrusted(), "sample-data");
    options.import = options.import.with_data(Fetch::OnDemand);
    // The directory is this program's own, so whoever cannot be looked into has nothing open there.
    options.with_unseen_users(UnseenUsers::Accept)
}

async fn put(store: &DirectoryStore, key: &str, body: &str, mode: &str) -> Told {
    let mut headers = HeaderMap::new();
    headers.insert(&FILE_PERMISSIONS, HeaderValue::from_str(mode)?);
    headers.insert(&FILE_MTIME, HeaderValue::from_static("1595002920000000000ns"));
    let body = Body::from(Bytes::from(body.to_owned()));
    store.put(key, body, &PutOptions { headers, ..PutOptions::default() }).await?;
    Ok(())
}

/// What S3 would send.
fn event(name: &str, key: &str) -> Vec<u8> {
    let record = serde_json::json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {"bucket": {"name": "sample-data"}, "object": {"key": key, "sequencer": "0055AED6DCD90281E5"}},
    });
    serde_json::json!({ "Records": [record] }).to_string().into_bytes()
}

fn chapter(title: &str) {
    println!("\n{title}");
}

fn say(text: impl std::fmt::Display) {
    println!("  {text}");
}

fn told(report: &Report) {
    let Report { entries, written, metadata_only, unchanged, deleted, skipped, .. } = report;
    say(format!(
        "{entries} entries: {written} written, {metadata_only} metadata only, {unchanged} unchanged, {skipped} skipped; {deleted} deleted"
    ));
    for problem in &report.problems {
        say(format!("    {}: {}", problem.key, problem.reason));
    }
}

fn describe(repository: &Repository) -> Told {
    if let Linked::Link(link) = repository.linked() {
        let configuration = DataRepositoryConfiguration::new(&link, &repository.state());
        let text = serde_json::to_string_pretty(&configuration)?;
        text.lines().for_each(say);
    }
    Ok(())
}

/// What an error comes down to: what the store says, or the innermost cause.
fn reason(error: &RepositoryError) -> String {
    let mut reason: &dyn Error = error;
    loop {
        if let Some(error) = reason.downcast_ref::<StoreError>() {
            return error.kind().to_string();
        }
        match reason.source() {
            Some(cause) => reason = cause,
            None => return reason.to_string(),
        }
    }
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How many KiB the files take on the disk.
fn blocks(directory: &Path) -> Result<u64, std::io::Error> {
    let files = files(directory)?;
    let blocks: Result<Vec<u64>, _> = files.iter().map(|file| Ok(fs::metadata(file)?.blocks())).collect();
    blocks.map(|blocks: Vec<u64>| blocks.iter().sum::<u64>() / 2)
}

fn list(directory: &Path) -> Told {
    for file in files(directory)? {
        let status = fs::metadata(&file)?;
        let name = file.strip_prefix(directory)?.display().to_string();
        say(format!(
            "    {:o}  {:>8} bytes, {:>5} KiB on the disk  {name}",
            status.mode() & 0o7777,
            status.len(),
            status.blocks() / 2
        ));
    }
    Ok(())
}
