//! The link between a directory and a store, as AWS describes one.

use crate::place::{Place, Purpose};
use crate::{Failure, Options, print_json};
use posix_s3::engine::{Access, Clock, LinkDocument, Linked, SystemClock, check_link};
use posix_s3::repository::describe::{
    DataRepositoryConfiguration, DescribeFileSystemsResponse, FileSystem, LustreFileSystemConfiguration,
};
use posix_s3::repository::{CreateFileSystemLustreConfiguration, Lifecycle, Link, LinkState, Misconfiguration};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

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
