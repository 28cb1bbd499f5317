//! [`export`]: from a tree to a bucket.

use super::report::{Direction, Ended, Jobs, Outcome, Progress, Recorder, Report, RunError, RunErrorKind};
use super::walk::walk;
use crate::entry::{Chain, Entry};
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::plan::{self, Payload, StoreOp};
use crate::profile::Profile;
use crate::store::{Body, Counted, ObjectStore, PutOptions, Source, SourceError, StoreError, StoreErrorKind};
use crate::tree::{Found, OpenFile, Tree, TreeError, TreeErrorKind, Walked};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use std::sync::Arc;

/// Files up to this size, in bytes, are read before they are sent; larger ones while they are sent.
const BUFFERED: u64 = 1 << 20;
/// How often a file that changes while it is read is tried.
const ATTEMPTS: u32 = 3;

/// How an export is done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The rules of the mapping.
    pub profile: Profile,
    /// Where in the bucket; the whole of it by default.
    pub prefix: Prefix,
    /// How many entries at once.
    pub jobs: Jobs,
}

impl ExportOptions {
    /// To the whole bucket, by the rules of a profile.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { profile, prefix: Prefix::default(), jobs: Jobs::default() }
    }

    /// Below a prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// So many entries at once.
    #[must_use]
    pub const fn with_jobs(mut self, jobs: Jobs) -> Self {
        self.jobs = jobs;
        self
    }
}

/// Exports everything in a tree: every file, directory and link becomes an object.
///
/// - An object shows one version of its file: one that changes while it is read is read again, three times at most, and
///   then reported; the bucket keeps what it had.
/// - Nothing is deleted.
/// - An entry that fails is one problem of the report, and the run goes on.
///
/// # Errors
/// [`RunError`] when the tree cannot be walked at all.
///
/// ```
/// use posix_s3::engine::{ExportOptions, Silent, export};
/// use posix_s3::{Profile, store::MemoryStore, tree::MemoryTree};
///
/// let (tree, bucket) = (MemoryTree::new(), MemoryStore::new());
/// let options = ExportOptions::new(Profile::fsx());
/// let report = futures_executor::block_on(export(&tree, &bucket, &options, &Silent))?;
/// assert_eq!(report.entries, 0);
/// # Ok::<(), posix_s3::engine::RunError>(())
/// ```
pub async fn export<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let run = &Export { tree, store, options, progress };
    let mut recorder = Recorder::new(Direction::Export, progress);
    let mut walked = tree.begin().await;
    let entries = if walked.is_ok() { walk(tree) } else { stream::empty().boxed() };
    let mut ended = entries.map(|walked| run.entry(walked)).buffered(options.jobs.get()).boxed();
    while let Some(entry) = ended.next().await {
        match entry {
            Ok(entry) => recorder.end(entry),
            Err(error) => walked = Err(error),
        }
    }
    drop(ended);
    let finished = walked.and(tree.finish().await);
    let report = recorder.finish(store.calls());
    match finished {
        Ok(()) => Ok(report),
        Err(error) => Err(RunError::new(RunErrorKind::Tree(error), report)),
    }
}

struct Export<'r, T, S: ?Sized> {
    tree: &'r T,
    store: &'r Counted<&'r S>,
    options: &'r ExportOptions,
    progress: &'r dyn Progress,
}

/// Why a file was not sent.
enum Unsent {
    /// It changed while it was read; another try may succeed.
    Changed,
    Ended(Ended),
}

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    /// Ends an entry; an error is that of the root, without which there is nothing to export.
    async fn entry(&self, walked: Walked) -> Result<Ended, TreeError> {
        Ok(match walked {
            Walked::Failed { path, error } if path.is_empty() => return Err(error),
            Walked::Skipped { path, reason } => Ended::new(escape(&path), Outcome::Skipped).because(Chain(&reason)),
            Walked::Failed { path, error } => Ended::new(escape(&path), Outcome::Failed).because(Chain(&error)),
            Walked::Found(Found { entry, .. }) if entry.file_type() == crate::FileType::File => {
                self.file(entry.key()).await
            }
            Walked::Found(Found { entry, .. }) => self.small(&entry).await,
        })
    }

    /// A directory or link: the entry holds all there is.
    async fn small(&self, entry: &Entry) -> Ended {
        match plan::put(entry, &self.options.prefix, &self.options.profile) {
            Ok(StoreOp::Put { object_key, headers, payload }) => {
                let body = match &payload {
                    Payload::Target(target) => Body::Bytes(Bytes::copy_from_slice(target.as_bytes())),
                    Payload::Empty | Payload::File { .. } => Body::empty(),
                };
                let options = PutOptions { headers, ..PutOptions::default() };
                match self.store.put(&object_key, body, &options).await {
                    Ok(_) => written(entry),
                    Err(error) => failed(entry.key(), &error),
                }
            }
            Err(refusal) => skipped(entry.key(), &refusal),
        }
    }

    async fn file(&self, key: &Key) -> Ended {
        for _ in 0..ATTEMPTS {
            match self.try_file(key).await {
                Ok(ended) | Err(Unsent::Ended(ended)) => return ended,
                Err(Unsent::Changed) => {}
            }
        }
        let reason = format!("it changed while it was read, {ATTEMPTS} times over; the bucket keeps what it had");
        Ended::new(key, Outcome::Failed).because(reason)
    }

    async fn try_file(&self, key: &Key) -> Result<Ended, Unsent> {
        let file = match self.tree.open(key).await {
            Ok(file) => file,
            Err(error) => return Err(unsent(key, &error)),
        };
        let entry = &file.found().entry;
        let StoreOp::Put { object_key, headers, .. } = plan::put(entry, &self.options.prefix, &self.options.profile)
            .map_err(|refusal| Unsent::Ended(skipped(key, &refusal)))?;
        let source = Stable { file: Arc::clone(&file) };
        let body = if source.size() <= BUFFERED {
            let length = usize::try_from(source.size()).unwrap_or(0);
            Body::Bytes(source.read(0, length).await.map_err(|error| unread(key, error))?)
        } else {
            Body::Source(Arc::new(source))
        };
        let options = PutOptions { headers, ..PutOptions::default() };
        match self.store.put(&object_key, body, &options).await {
            Ok(_) => {
                self.progress.bytes(entry.object_size());
                Ok(written(entry))
            }
            Err(error) if error.kind() == StoreErrorKind::Body => Err(unread_by_store(key, error)),
            Err(error) => Err(Unsent::Ended(failed(key, &error))),
        }
    }
}

fn written(entry: &Entry) -> Ended {
    Ended { bytes: entry.object_size(), ..Ended::new(entry.key(), Outcome::Written) }
}

fn skipped(key: &Key, reason: &dyn std::error::Error) -> Ended {
    Ended::new(key, Outcome::Skipped).because(Chain(reason))
}

fn failed(key: &Key, error: &dyn std::error::Error) -> Ended {
    Ended::new(key, Outcome::Failed).because(Chain(error))
}

fn unsent(key: &Key, error: &TreeError) -> Unsent {
    match error.kind() {
        TreeErrorKind::Changed => Unsent::Changed,
        TreeErrorKind::NotFound => {
            Unsent::Ended(Ended::new(key, Outcome::Skipped).because("it vanished before it was read"))
        }
        _ => Unsent::Ended(failed(key, error)),
    }
}

fn unread(key: &Key, error: SourceError) -> Unsent {
    match error.downcast::<TreeError>() {
        Ok(error) => unsent(key, &error),
        Err(error) => Unsent::Ended(Ended::new(key, Outcome::Failed).because(Chain(&*error))),
    }
}

/// What the store says of a body that it could not read: the tree's own error is the cause.
fn unread_by_store(key: &Key, error: StoreError) -> Unsent {
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<TreeError>());
    match cause {
        Some(cause) => unsent(key, cause),
        None => Unsent::Ended(failed(key, &error)),
    }
}

/// A file that is one version from the first byte to the last, or an error.
///
/// Whoever reads any part also looks at the file again, in whatever order a store reads, so that none has all bytes of a
/// file that changed.
struct Stable {
    file: Arc<dyn OpenFile>,
}

impl Source for Stable {
    fn size(&self) -> u64 {
        self.file.found().entry.object_size()
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        Box::pin(async move {
            let key = self.file.found().entry.key();
            let changed = || TreeError::new("reading", key.as_str().as_bytes(), TreeErrorKind::Changed);
            let bytes = self.file.read(offset, length).await?;
            if bytes.len() != length {
                return Err(changed().into());
            }
            if !self.file.again().await?.is_same_version(self.file.found()) {
                return Err(changed().into());
            }
            Ok(bytes)
        })
    }
}
