//! The link between a directory and a store, as AWS describes one.

use crate::place::{Place, Purpose};
use crate::{Failure, Options, open_tree, print_json, print_json_line, print_problems};
use posix_s3::engine::{
    Access, Clock, DataRepository, FileState, FirstImport, LinkDocument, Linked, Part, Report, RepositoryError,
    RepositoryOptions, Silent, StateStore, States, SystemClock, check_link,
};
use posix_s3::repository::describe::{
    DataRepositoryConfiguration, DescribeFileSystemsResponse, FileSystem, LustreFileSystemConfiguration,
};
use posix_s3::repository::{
    AutoImportPolicyType, Backlog, CreateFileSystemLustreConfiguration, Lifecycle, Link, LinkState, MessageStream,
    Misconfiguration, StreamError, UpdateFileSystemLustreConfiguration,
};
use posix_s3::store::DynObjectStore;
use posix_s3::tree::LocalTree;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Prints the link as `describe-file-systems` does. Says whether it is available.
///
/// It is the link that the state knows, in the state in which it was left; without one, the link that would be made. The
/// store is looked at, and nothing is changed.
pub(crate) fn status(store: &str, state: Option<&Path>, options: &Options) -> Result<bool, Failure> {
    let place = Place::parse(store)?;
    let known = state.map(read_link).transpose()?.flatten();
    let linked = match &known {
        Some(document) => document.linked().clone(),
        None => one_to_one(&place, options)?,
    };
    if known.is_none() {
        eprintln!("posix-s3: no link was made yet; this is the one that would be");
    }
    let Linked::Link(link) = &linked else {
        return Err(Failure::of("--state", "it is that of an association"));
    };
    let now = SystemClock.now();
    let mut link_state = known.map_or_else(|| LinkState::creating(now), |document| document.state().clone());
    let failed = |error: &dyn std::error::Error| Failure::from_error(store, error);
    let checked = match place.open(Purpose::Read, linked.import_prefix()) {
        Ok(opened) => {
            async_io::block_on(check_link(&opened, &linked, Access::ReadOnly)).map_err(|error| failed(&error))?
        }
        // A bucket in a directory that is not there cannot be opened, and so not be asked.
        Err(Failure(text)) if place.is_missing() => {
            let broken = link_state.broken(Misconfiguration::NoSuchBucket, text, now);
            broken.map_err(|error| failed(&error))?;
            None
        }
        Err(failure) => return Err(failure),
    };
    let followed = match (checked, link_state.lifecycle()) {
        (Some((cause, error)), Lifecycle::Creating | Lifecycle::Available | Lifecycle::Updating) => {
            let Failure(text) = Failure::from_error("the store", &error);
            link_state.broken(cause, text, now)
        }
        (None, Lifecycle::Creating | Lifecycle::Updating) => link_state.built(now),
        _ => Ok(()),
    };
    followed.map_err(|error| failed(&error))?;
    print_json(&describe(link, &link_state))?;
    Ok(link_state.lifecycle() == Lifecycle::Available)
}

/// What `describe-file-systems` answers of a file system that has this link.
fn describe(link: &Link, state: &LinkState) -> DescribeFileSystemsResponse {
    let configuration = DataRepositoryConfiguration::new(link, state);
    let lustre = LustreFileSystemConfiguration {
        data_repository_configuration: Some(configuration),
        ..LustreFileSystemConfiguration::default()
    };
    let file_system = FileSystem {
        file_system_type: Some("LUSTRE".into()),
        lustre_configuration: Some(lustre),
        ..FileSystem::default()
    };
    DescribeFileSystemsResponse { file_systems: Some(vec![file_system]), ..DescribeFileSystemsResponse::default() }
}

/// The link that a state knows.
fn read_link(state: &Path) -> Result<Option<LinkDocument>, Failure> {
    let mut path = state.as_os_str().to_owned();
    path.push(".link");
    let path = Path::new(&path);
    match File::open(path) {
        Ok(file) => LinkDocument::read(file).map(Some).map_err(|error| Failure::from_error(path.display(), &error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::from_error(path.display(), &error)),
    }
}

/// The link of a whole directory to a store, both ways.
pub(crate) fn one_to_one(place: &Place, options: &Options) -> Result<Linked, Failure> {
    let path = format!("s3://{}/{}", place.bucket(), place.prefix(&options.prefix)?.as_str());
    let request = CreateFileSystemLustreConfiguration {
        import_path: Some(path.clone()),
        export_path: Some(path.clone()),
        ..CreateFileSystemLustreConfiguration::default()
    };
    let link = Link::new(&request, SystemClock.now()).map_err(|error| Failure::from_error(path, &error))?;
    Ok(link.into())
}

/// Opens the link of a directory that a state knows, or makes one.
pub(crate) fn open(
    place: &Place,
    dir: &Path,
    state: FileState,
    policy: AutoImportPolicyType,
    options: &Options,
    repository: RepositoryOptions,
    store: Arc<dyn DynObjectStore>,
) -> Result<DataRepository<LocalTree, Arc<dyn DynObjectStore>>, Failure> {
    let failed = |error: RepositoryError| Failure::from_error("the link", &error);
    let state: Arc<dyn StateStore> = Arc::new(state);
    let known = match state.open(Part::Link) {
        Ok(document) => {
            document.map(LinkDocument::read).transpose().map_err(|error| Failure::from_error("--state", &error))?
        }
        Err(error) => return Err(Failure::from_error("--state", &error)),
    };
    let wanted = with_policy(one_to_one(place, options)?, policy)?;
    let (states, clock) = (States::one(state), Arc::new(SystemClock));
    let tree = open_tree(dir)?;
    let Some(known) = known else {
        let created = DataRepository::create(tree, store, states, wanted, repository, clock, FirstImport::None);
        let link = async_io::block_on(created).map_err(failed)?;
        async_io::block_on(link.check(&Silent)).map_err(failed)?;
        return Ok(link);
    };
    let link = async_io::block_on(DataRepository::open(tree, store, states, repository, clock)).map_err(failed)?;
    if known.linked().import_path() != wanted.import_path() {
        let found = known.linked().import_path();
        return Err(Failure::of(
            "--state",
            format!("it is that of a link to {found}, not to {}", wanted.import_path()),
        ));
    }
    if known.linked().auto_import() != wanted.auto_import() {
        async_io::block_on(link.update(wanted)).map_err(failed)?;
    } else {
        async_io::block_on(link.check(&Silent)).map_err(failed)?;
    }
    Ok(link)
}

fn with_policy(linked: Linked, policy: AutoImportPolicyType) -> Result<Linked, Failure> {
    let Linked::Link(mut link) = linked else { return Ok(linked) };
    let request = UpdateFileSystemLustreConfiguration {
        auto_import_policy: Some(policy.into()),
        ..UpdateFileSystemLustreConfiguration::default()
    };
    link.update(&request).map_err(|error| Failure::from_error("--policy", &error))?;
    Ok(link.into())
}

/// How many messages are read before what they tell is taken over, if more wait.
const MESSAGES: usize = 10_000;

/// Takes over events as they come, until there are no more. Says whether all went well.
pub(crate) fn watch(
    link: &DataRepository<LocalTree, Arc<dyn DynObjectStore>>,
    bucket: &str,
    events: impl Read + Send + 'static,
    json: bool,
) -> Result<bool, Failure> {
    let mut backlog = Backlog::new(bucket, link.linked().import_prefix().clone());
    // Reading waits, and what has come by then is taken over meanwhile.
    let (sender, receiver) = mpsc::sync_channel(MESSAGES);
    let reader = thread::spawn(move || {
        for message in MessageStream::new(events) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let mut sound = true;
    while let Ok(first) = receiver.recv() {
        for message in std::iter::once(first).chain(receiver.try_iter().take(MESSAGES)) {
            match message {
                Ok(notice) => backlog.note(notice),
                Err(StreamError::Message(error)) => {
                    sound = false;
                    eprintln!("posix-s3: {error}");
                }
                Err(error) => return Err(Failure::from_error("the events", &error)),
            }
        }
        while backlog.untried() > 0 {
            sound &= take_over(link, &mut backlog, json)?;
        }
    }
    reader.join().map_err(|_| Failure::of("the events", "whoever read them has stopped"))?;
    for _ in 0..TRIES {
        if backlog.is_empty() {
            break;
        }
        thread::sleep(Duration::from_secs(1));
        take_over(link, &mut backlog, json)?;
    }
    let counts = backlog.counts();
    let aside = counts.elsewhere.saturating_add(counts.outside).saturating_add(counts.irrelevant);
    if !json {
        println!(
            "{} events, {} of them set aside: {} of another bucket, {} of other keys, {} that change nothing; {} wait",
            counts.events,
            aside,
            counts.elsewhere,
            counts.outside,
            counts.irrelevant,
            backlog.len()
        );
    }
    if counts.elsewhere > 0 {
        eprintln!("posix-s3: {} events name another bucket than {bucket:?}; see --bucket", counts.elsewhere);
    }
    Ok(sound && backlog.is_empty() && counts.elsewhere == 0)
}

/// How often what failed is tried again when no more events come.
const TRIES: u32 = 3;

fn take_over(
    link: &DataRepository<LocalTree, Arc<dyn DynObjectStore>>,
    backlog: &mut Backlog,
    json: bool,
) -> Result<bool, Failure> {
    if backlog.is_empty() {
        return Ok(true);
    }
    let applied = async_io::block_on(link.apply(backlog, &Silent));
    let report = applied.map_err(|error| Failure::from_error("the events", &error))?;
    if json {
        print_json_line(&report)?;
    } else {
        print_problems(&report.problems, report.problems_omitted);
        let Report { entries, written, metadata_only, deleted, failed, conflicts, .. } = report;
        println!(
            "{entries} entries looked at: {written} written, {metadata_only} metadata only, {deleted} deleted, {failed} failed, {conflicts} in conflict"
        );
    }
    Ok(report.is_complete())
}
