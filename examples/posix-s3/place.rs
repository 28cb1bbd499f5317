//! Where a bucket is: the STORE of the command line.

use crate::{Failure, real_path};
use posix_s3::Prefix;
use posix_s3::store::{DirectoryStore, DynObjectStore, MemoryStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    #[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "nobody asks for it"))]
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
    /// Objects are put and deleted. Uploads are noted down beside the state, if there is one.
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
    fn environment(&self) -> Result<posix_s3::store::s3::Environment, Failure> {
        use posix_s3::store::s3::{Credentials, Environment};
        let environment = match std::env::var_os("POSIX_S3_NO_SIGN_REQUEST") {
            Some(_) => Environment::load_with(Credentials::Anonymous),
            None => Environment::load(),
        };
        environment.map_err(|error| Failure::from_error(&self.text, &error))
    }

    fn name(&self) -> Result<String, Failure> {
        Ok(format!("{}/{}", self.environment()?.endpoint(), self.bucket))
    }

    fn open(&self, purpose: Purpose<'_>, prefix: &Prefix) -> Result<Arc<dyn DynObjectStore>, Failure> {
        use posix_s3::store::Capabilities;
        use posix_s3::store::s3::{FileUploadLog, HttpCalls, S3Options, S3Store};
        let environment = self.environment()?;
        let calls = HttpCalls::from_environment(&environment, &self.bucket)
            .map_err(|error| Failure::from_error(&self.text, &error))?;
        let mut options = S3Options::default().with_probe_prefix(prefix.as_str());
        let store = async_io::block_on(async {
            match purpose {
                Purpose::Read => S3Store::connect_to_read(calls, options).await,
                Purpose::Plan => Ok(S3Store::with_capabilities(calls, options, Capabilities::ALL)),
                Purpose::Write(state) => {
                    if let Some(state) = state {
                        let mut log = state.as_os_str().to_owned();
                        log.push(".uploads");
                        let log = FileUploadLog::open(Path::new(&log))
                            .map_err(|error| Failure::from_error("--state", &error));
                        match log {
                            Ok(log) => options = options.with_upload_log(Arc::new(log)),
                            Err(failure) => return Ok(Err(failure)),
                        }
                    }
                    S3Store::connect(calls, options).await
                }
            }
            .map(Ok)
        });
        let store = store.map_err(|error| Failure::from_error(&self.text, &error))??;
        for lack in store.lacks() {
            eprintln!("posix-s3: {}: {lack}", self.text);
        }
        Ok(Arc::new(store))
    }
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
