//! Where a bucket is: the STORE of the command line.

use crate::{Failure, real_path};
use posix_s3::Prefix;
#[cfg(feature = "s3")]
use posix_s3::store::Capabilities;
#[cfg(feature = "s3")]
use posix_s3::store::s3::{Agent, Credentials, Environment, FileUploadLog, HttpCalls, Probed, S3Options, S3Store};
use posix_s3::store::{DirectoryStore, DynObjectStore, MemoryStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "s3")]
use std::time::{SystemTime, UNIX_EPOCH};

/// A bucket, as the command line names it.
pub(crate) enum Place {
    /// `memory:`.
    Memory,
    /// `dir:PATH`.
    Directory(PathBuf),
    /// `s3://BUCKET/PREFIX`.
    S3(S3Place),
}

pub(crate) struct S3Place {
    text: String,
    bucket: String,
    prefix: Prefix,
}

/// What a bucket is opened for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// Nothing in it is changed, and it has to be there.
    Read,
    /// Nothing in it is changed, and what would be changed is said as if it did all that S3 does.
    Plan,
    /// Objects are put and deleted. Uploads, and what was found out about the store, are noted down beside the state, if
    /// there is one.
    #[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "only S3 has something to note down"))]
    Write(Option<&'a Path>),
}

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("dir:").filter(|path| !path.is_empty()) {
            return Ok(Self::Directory(path.into()));
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(Failure::of(text, "expected `s3://BUCKET/PREFIX`, found no bucket"));
            }
            let prefix =
                if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
            let prefix = Prefix::parse(&prefix).map_err(|error| Failure::from_error(text, &error))?;
            return Ok(Self::S3(S3Place { text: text.to_owned(), bucket: bucket.to_owned(), prefix }));
        }
        Err(Failure::of(format!("{text:?}"), "expected a store, `dir:PATH`, `s3://BUCKET/PREFIX` or `memory:`"))
    }

    /// The part of the bucket that is meant: the place's own, and what is asked for below it.
    pub(crate) fn prefix(&self, below: &Prefix) -> Result<Prefix, Failure> {
        match self {
            Self::S3(place) => {
                let whole = format!("{}{}", place.prefix.as_str(), below.as_str());
                Prefix::parse(&whole).map_err(|error| Failure::from_error("--prefix", &error))
            }
            Self::Memory | Self::Directory(_) => Ok(below.clone()),
        }
    }

    /// The name of the bucket. One in a directory has no name that S3 would take, and one is made of the directory's.
    pub(crate) fn bucket(&self) -> String {
        let name = match self {
            Self::S3(place) => return place.bucket.clone(),
            Self::Memory => "memory".into(),
            Self::Directory(path) => path.file_name().unwrap_or_default().to_string_lossy().to_lowercase(),
        };
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        format!("local-{letters}").trim_end_matches('-').to_owned()
    }

    /// Whether it is a bucket in a directory, and there is none.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Directory(path) => !path.join(".posix-s3-bucket").exists(),
            Self::Memory | Self::S3(_) => false,
        }
    }

    /// What the bucket is called in a state: the same whatever way leads to it.
    pub(crate) fn name(&self) -> Result<String, Failure> {
        match self {
            Self::Memory => Ok("memory:".to_owned()),
            Self::Directory(path) => {
                let real = real_path(path).map_err(|error| Failure::from_error(path.display(), &error))?;
                Ok(format!("dir:{}", real.display()))
            }
            Self::S3(place) => place.name(),
        }
    }

    pub(crate) fn open(&self, purpose: Purpose<'_>, prefix: &Prefix) -> Result<Arc<dyn DynObjectStore>, Failure> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryStore::new())),
            Self::Directory(path) => {
                let opened = match purpose {
                    Purpose::Write(_) => DirectoryStore::open(path),
                    Purpose::Read | Purpose::Plan => DirectoryStore::open_existing(path),
                };
                let failed = |error| Failure::from_error(format!("dir:{}", path.display()), &error);
                Ok(Arc::new(opened.map_err(failed)?))
            }
            Self::S3(place) => place.open(purpose, prefix),
        }
    }
}

#[cfg(feature = "s3")]
impl S3Place {
    fn environment(&self) -> Result<Environment, Failure> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let environment = match named("POSIX_S3_NO_SIGN_REQUEST") {
            Some(_) => Environment::load_with(Credentials::Anonymous),
            None => Environment::load(),
        };
        environment.map_err(|error| Failure::from_error(&self.text, &error))
    }

    fn name(&self) -> Result<String, Failure> {
        Ok(format!("{}/{}", self.environment()?.endpoint(), self.bucket))
    }

    fn open(&self, purpose: Purpose<'_>, prefix: &Prefix) -> Result<Arc<dyn DynObjectStore>, Failure> {
        let failed = |error| Failure::from_error(&self.text, &error);
        let environment = self.environment()?;
        let client = match std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
            Some(path) => {
                let pem = std::fs::read(&path).map_err(|error| Failure::from_error("AWS_CA_BUNDLE", &error))?;
                Agent::with_certificates(&pem).map_err(|error| Failure::from_error("AWS_CA_BUNDLE", &error))?
            }
            None => Agent::new(),
        };
        let calls = HttpCalls::from_environment_with(&environment, &self.bucket, client)
            .map_err(|error| Failure::from_error(&self.text, &error))?;
        let options = S3Options::default().with_probe_prefix(prefix.as_str());
        let store = match purpose {
            Purpose::Read => async_io::block_on(S3Store::connect_to_read(calls, options)).map_err(failed)?,
            Purpose::Plan => S3Store::with_capabilities(calls, options, Capabilities::ALL),
            Purpose::Write(None) => async_io::block_on(S3Store::connect(calls, options)).map_err(failed)?,
            Purpose::Write(Some(state)) => {
                let log = FileUploadLog::open(beside(state, ".uploads"), &self.name()?);
                let log = log.map_err(|error| Failure::from_error("--state", &error))?;
                self.connect(calls, options.with_upload_log(Arc::new(log)), &beside(state, ".store"))?
            }
        };
        for lack in store.lacks() {
            eprintln!("posix-s3: {}: {lack}", self.text);
        }
        Ok(Arc::new(store))
    }

    /// Tries a store out, unless that was done within the last day. What came of it is kept in a file.
    fn connect(&self, calls: HttpCalls, options: S3Options, kept: &Path) -> Result<S3Store<HttpCalls>, Failure> {
        const FRESH: u64 = 24 * 60 * 60;
        let (failed, name) = (|error| Failure::from_error(&self.text, &error), self.name()?);
        // A file that cannot be read, or is about another store, is no reason not to try it out.
        let before = std::fs::read(kept).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let is_fresh = |kept: &Kept| now.checked_sub(kept.since).is_some_and(|age| age < FRESH);
        let fresh = before.filter(|kept| kept.store == name && is_fresh(kept));
        if let Some(Kept { probed, .. }) = fresh {
            let store = S3Store::with_probed(calls, options, probed);
            async_io::block_on(store.tidy()).map_err(failed)?;
            return Ok(store);
        }
        let store = async_io::block_on(S3Store::connect(calls, options)).map_err(failed)?;
        let found = Kept { store: name, since: now, probed: store.probed().clone() };
        let text = serde_json::to_string_pretty(&found).map_err(|error| Failure::from_error("--state", &error))?;
        std::fs::write(kept, text).map_err(|error| Failure::from_error("--state", &error))?;
        Ok(store)
    }
}

/// What was found out about a store, as it is kept beside a state.
#[cfg(feature = "s3")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    store: String,
    /// When, in seconds of Unix time.
    since: u64,
    probed: Probed,
}

#[cfg(feature = "s3")]
fn beside(state: &Path, end: &str) -> PathBuf {
    let mut path = state.as_os_str().to_owned();
    path.push(end);
    path.into()
}

#[cfg(not(feature = "s3"))]
impl S3Place {
    fn name(&self) -> Result<String, Failure> {
        Err(Failure::of(&self.text, "this program was built without S3; build it with `--features s3`"))
    }

    fn open(&self, _: Purpose<'_>, _: &Prefix) -> Result<Arc<dyn DynObjectStore>, Failure> {
        self.name().and_then(|name| Err(Failure::of(name, "there is no way to open it")))
    }
}
