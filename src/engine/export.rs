//! [`export`] and [`export_since`]: from a tree to a bucket.
//!
//! What has to be done is decided in three steps: [`Scan`] tells what is not as it was recorded, [`Contents`] opens it and compares its content where only that can tell, and [`plan::step`] says what that takes. Then the bucket is
//! asked whether it still holds what is recorded, and the request is made under the condition that it does.

use super::contents::{Content, Contents, Subject, Unsent, unsent_by_store};
use super::journal::Urgency;
use super::report::{Direction, Ended, Jobs, Outcome, Progress, Recorder, Report, RunError, RunErrorKind};
use super::scan::{Directories, Recorded, Scan, ScanError, Sight, look};
use super::selection::Selection;
use super::session::{Seen, Session, StateError};
use super::spool::Spool;
use super::state::StateStore;
use crate::entry::Chain;
use crate::escape::escape;
use crate::etag::ETag;
use crate::key::{Key, Prefix};
use crate::metadata::{Attributes, Field, Fields};
use crate::mode::FileType;
use crate::plan::{self, Braked, Change, Deletes, MetadataChange, OnConflict, Payload, Step, StoreOp};
use crate::profile::Profile;
use crate::snapshot::{Age, Identity, Local, Names, Record, Remote};
use crate::status::Status;
use crate::store::{
    Body, Capabilities, Counted, ListRequest, ObjectMeta, ObjectStore, Precondition, PutOptions, PutOutput, StoreError,
    StoreErrorKind, Support,
};
use crate::timestamp::Timestamp;
use crate::tree::{Look, Tree, TreeErrorKind};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use std::sync::Arc;
use twox_hash::XxHash3_64;

/// How often a file that changes while it is read is tried, and a request whose condition failed.
const ATTEMPTS: u32 = 3;
/// How many entries are announced to the journal at once.
const ANNOUNCED: usize = 256;
/// Something is racy that was changed less than so many nanoseconds before a run began: 2 seconds, the coarsest clock that
/// file systems have.
const GRAIN: i128 = 2_000_000_000;

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
    /// How many threads look at the tree, at most; as many as the machine has processors by default.
    pub lookers: Jobs,
    /// Which part of the tree.
    pub selection: Selection,
    /// What happens to objects whose files are gone. Needs a state.
    pub deletes: Deletes,
    /// What happens to objects that have changed as well. Needs a state.
    pub on_conflict: OnConflict,
    /// Whether a file whose size and mtime are as recorded while its inode has changed is read.
    pub same_times: SameTimes,
    /// Whether directories that have not changed are read.
    pub directories: Directories,
    /// What the bucket is called, so that a state of another bucket is told from this one's. Any text that is the same in
    /// every run and differs from bucket to bucket, such as endpoint and name. Needed with a state.
    pub bucket: Box<str>,
}

/// What is thought of a file whose size and mtime are as recorded while its inode has changed: an attribute or a name of it,
/// or a write with the mtime put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SameTimes {
    /// Its content is compared. `chmod` of a large file then costs reading it, though not sending it.
    #[default]
    Compare,
    /// Its content is taken to be the same. A write with the mtime put back is missed then.
    Trust,
}

impl ExportOptions {
    /// To the whole bucket, by the rules of a profile; nothing is deleted, and what changed on both sides is left alone.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            prefix: Prefix::default(),
            jobs: Jobs::default(),
            lookers: std::thread::available_parallelism().map_or(Jobs::ONE, Jobs::from),
            selection: Selection::default(),
            deletes: Deletes::default(),
            on_conflict: OnConflict::default(),
            same_times: SameTimes::default(),
            directories: Directories::default(),
            bucket: "".into(),
        }
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

    /// So many threads that look at the tree, at most.
    #[must_use]
    pub const fn with_lookers(mut self, lookers: Jobs) -> Self {
        self.lookers = lookers;
        self
    }

    /// This part of the tree.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// What happens to objects whose files are gone.
    #[must_use]
    pub const fn with_deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }

    /// What happens to objects that have changed as well.
    #[must_use]
    pub const fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Whether a file whose size and mtime are as recorded while its inode has changed is read.
    #[must_use]
    pub const fn with_same_times(mut self, same_times: SameTimes) -> Self {
        self.same_times = same_times;
        self
    }

    /// Whether directories that have not changed are read.
    #[must_use]
    pub const fn with_directories(mut self, directories: Directories) -> Self {
        self.directories = directories;
        self
    }

    /// What the bucket is called.
    #[must_use]
    pub fn with_bucket(mut self, bucket: &str) -> Self {
        self.bucket = bucket.into();
        self
    }
}

/// Exports everything in a tree: every file, directory and link becomes an object.
///
/// - An object shows one version of its file: one that changes while it is read is read again, three times at most, and
///   then reported; the bucket keeps what it had.
/// - Whatever the bucket held under these keys is overwritten. Nothing is deleted.
/// - An entry that fails is one problem of the report, and the run goes on.
///
/// # Errors
/// [`RunError`] when the tree cannot be read at all.
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
    run(tree, store, None, options, progress).await
}

/// Exports what was created or modified, data or metadata, since the last export to or import from this bucket.
///
/// What both sides last agreed on is in `state`. A first run finds nothing there: it exports everything, and looks at each
/// object that is in the bucket already.
///
/// - What has not changed costs no request. If only attributes have changed, the data is not sent again.
/// - An object that somebody else has changed or deleted meanwhile is neither overwritten nor deleted, but for what
///   [`ExportOptions::on_conflict`] says.
/// - What is gone from the tree is deleted as [`ExportOptions::deletes`] says, last of all.
/// - A run that is cut short anywhere loses nothing: the next one goes on where it stopped, and sends nothing again that
///   the store has acknowledged.
///
/// A state that is damaged, or that of another directory or bucket, says nothing: each object is looked at, nothing is
/// deleted, and a problem of the report says so.
///
/// # Errors
/// [`RunError`] when the tree cannot be read at all or the state fails. What was done by then is recorded.
pub async fn export_since<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    run(tree, store, Some(state), options, progress).await
}

/// What an export would do about a key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Planned {
    /// The key, safe to print.
    pub key: Box<str>,
    /// What would be done.
    pub step: Step,
    /// Why, in words.
    pub reason: Box<str>,
}

impl std::fmt::Display for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8}  {}  ({})", self.step, self.key, self.reason)
    }
}

/// Says what an export would do, and does nothing to tree and bucket.
///
/// `each` gets every key that would change, in key order, as a stream: memory does not grow with their number. The report
/// counts what would come of it. Of a state only what an earlier run left undone is tidied up.
///
/// # Errors
/// As [`export_since`].
pub async fn plan_export<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: Option<&dyn StateStore>,
    options: &ExportOptions,
    mut each: impl FnMut(Planned) + Send,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Export, &super::report::Silent);
    let planned = async {
        let session = begin(tree, state, options).await?;
        let run = &Export::new(tree, store, session.as_ref(), options, &super::report::Silent).await?;
        if let Some(session) = &session {
            session.say_disbelief(&mut recorder);
        }
        let mut gone = Spool::new();
        let mut decided = run.scan().sights().map(|sight| run.foresee(sight)).buffered(options.jobs.get()).boxed();
        while let Some(foreseen) = decided.next().await {
            match foreseen? {
                Foreseen::Counted(count) => recorder.unchanged(count),
                Foreseen::Ended(ended) => recorder.end(ended),
                Foreseen::Planned(planned, ended) => {
                    each(planned);
                    recorder.end(ended);
                }
                Foreseen::Gone(record) => gone.push(&record)?,
                Foreseen::Nothing => {}
            }
        }
        // Last, as in a run: only now it is known how many they are.
        let checked = session.as_ref().and_then(|session| run.may_delete(session, &gone));
        if let Some(Err(braked)) = checked {
            recorder.braked(braked);
        }
        let (step, reason) = match checked {
            Some(Ok(())) => (Step::Delete, "gone from the tree"),
            Some(Err(_)) => (Step::Nothing, "gone from the tree; it stays, since too much would be deleted at once"),
            None => (Step::Nothing, "gone from the tree; it stays, since nothing is deleted"),
        };
        let mut position = 0;
        while let Some(Record { key, .. }) = gone.next(&mut position)? {
            if step == Step::Delete {
                recorder.deleted()
            } else {
                recorder.gone()
            }
            each(Planned { key: key.to_string().into(), step, reason: reason.into() });
        }
        Ok(())
    };
    let planned: Result<(), RunErrorKind> = planned.await;
    let finished = planned.and(tree.finish().await.map_err(RunErrorKind::Tree));
    let report = recorder.finish(store.calls());
    finished.map(|()| report.clone()).map_err(|kind| RunError::new(kind, report))
}

async fn run<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: Option<&dyn StateStore>,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Export, progress);
    let exported = async {
        let session = begin(tree, state, options).await?;
        let exported = match Export::new(tree, store, session.as_ref(), options, progress).await {
            Ok(run) => run.all(&mut recorder).await,
            Err(error) => Err(error),
        };
        let seen = if exported.is_ok() { Seen::Everything } else { Seen::Part };
        if let Some(session) = session {
            exported.and(session.finish(seen, tree.now()).await.map_err(RunErrorKind::State))
        } else {
            exported
        }
    };
    let exported: Result<(), RunErrorKind> = exported.await;
    let finished = exported.and(tree.finish().await.map_err(RunErrorKind::Tree));
    let report = recorder.finish(store.calls());
    match finished {
        Ok(()) => Ok(report),
        Err(kind) => Err(RunError::new(kind, report)),
    }
}

async fn begin<'s, T: Tree>(
    tree: &T,
    state: Option<&'s dyn StateStore>,
    options: &ExportOptions,
) -> Result<Option<Session<'s>>, RunErrorKind> {
    tree.begin().await?;
    let Some(state) = state else { return Ok(None) };
    let identity = identity(tree, &options.bucket, &options.prefix)?;
    Ok(Some(Session::begin(state, identity, tree.now()).await?))
}

/// What tells the link between a tree and a part of a bucket from every other.
pub(super) fn identity(tree: &impl Tree, bucket: &str, prefix: &Prefix) -> Result<Identity, RunErrorKind> {
    if bucket.is_empty() {
        return Err(RunErrorKind::Unnamed);
    }
    let name = format!("{bucket}\0{}", prefix.as_str());
    let mut link = [0; 16];
    let halves = [0, 1].map(|seed| XxHash3_64::oneshot_with_seed(seed, name.as_bytes()).to_le_bytes());
    for (byte, half) in link.iter_mut().zip(halves.as_flattened()) {
        *byte = *half;
    }
    Ok(Identity { link, root: tree.identity()? })
}

pub(super) struct Export<'r, T, S: ?Sized> {
    tree: &'r T,
    store: &'r Counted<&'r S>,
    session: Option<&'r Session<'r>>,
    options: &'r ExportOptions,
    progress: &'r dyn Progress,
    contents: Contents<'r, T>,
    capabilities: Capabilities,
    /// Nothing is known of a bucket that is not empty: each object is looked at before it is put.
    verify: bool,
    started: Timestamp,
}

/// What a sight has come to.
enum Taken {
    Counted(u64),
    Ended(Ended),
    Gone(Record),
    Nothing,
}

/// What a sight would come to.
enum Foreseen {
    Counted(u64),
    Ended(Ended),
    Planned(Planned, Ended),
    Gone(Record),
    Nothing,
}

/// What is to be done about something that is there.
struct Decision {
    subject: Subject,
    change: Change,
    step: Step,
    remote: Option<Remote>,
    record: Option<Record>,
    names: Names,
}

impl<'r, T: Tree, S: ObjectStore + ?Sized> Export<'r, T, S> {
    async fn new(
        tree: &'r T,
        store: &'r Counted<&'r S>,
        session: Option<&'r Session<'r>>,
        options: &'r ExportOptions,
        progress: &'r dyn Progress,
    ) -> Result<Self, RunErrorKind> {
        let started = tree.now();
        let capabilities = store.capabilities();
        let verify = match session {
            Some(session) if session.records().is_none() => {
                let prefix = options.prefix.as_str().to_owned();
                let request = ListRequest { prefix, max_keys: Some(1), ..ListRequest::default() };
                let page = store.list(&request).await?;
                !page.objects.is_empty() || page.next.is_some()
            }
            _ => false,
        };
        let md5 = if capabilities.md5_etags == Support::Yes { Support::No } else { Support::Yes };
        let contents = Contents::new(tree, md5, options.same_times, fresh_since(started));
        Ok(Self { tree, store, session, options, progress, contents, capabilities, verify, started })
    }

    fn scan(&self) -> Scan<'r, T> {
        let ExportOptions { selection, directories, lookers, .. } = self.options;
        Scan::new(self.tree, self.session, selection, *directories, lookers.get())
    }

    async fn all(&self, recorder: &mut Recorder<'_>) -> Result<(), RunErrorKind> {
        if let Some(session) = self.session {
            session.say_disbelief(recorder);
        }
        let mut gone = Spool::new();
        let announced = self.scan().sights().ready_chunks(ANNOUNCED).then(|sights| async {
            // What could not be announced is not put.
            let announced = self.announce(&sights).await;
            stream::iter(announced.map_or_else(|error| vec![Err(error.into())], |()| sights))
        });
        let sights = announced.flatten().map(|sight| self.take(sight));
        let mut taken = sights.buffer_unordered(self.options.jobs.get()).boxed();
        while let Some(taken) = taken.next().await {
            match taken? {
                Taken::Counted(count) => recorder.unchanged(count),
                Taken::Ended(ended) => recorder.end(ended),
                Taken::Gone(record) => gone.push(&record)?,
                Taken::Nothing => {}
            }
        }
        drop(taken);
        self.delete(gone, recorder).await
    }

    /// Says of all that is new and comes now that it is about to be put, in one go: waiting for the disk costs more than a
    /// request to a store that is near.
    async fn announce(&self, sights: &[Result<Sight, ScanError>]) -> Result<(), StateError> {
        let Some(session) = self.session else { return Ok(()) };
        let new = sights.iter().filter_map(|sight| match sight {
            Ok(Sight::Present { key, status, record: None, names }) => Some((key, self.local(status, *names))),
            _ => None,
        });
        session.intend(new).await
    }

    /// Does what a sight takes.
    async fn take(&self, sight: Result<Sight, ScanError>) -> Result<Taken, RunErrorKind> {
        match sight? {
            Sight::Unchanged(count) => Ok(Taken::Counted(count)),
            Sight::Present { key, status, record, names } => {
                let known = record.is_some();
                let ended = self.present(&key, status, record, names).await?;
                self.session.inspect(|session| session.withdraw(&key));
                if !known && matches!(ended.outcome, Outcome::Skipped | Outcome::Failed | Outcome::Conflict) {
                    self.name_only(key)?;
                }
                Ok(Taken::Ended(ended))
            }
            Sight::Gone(record) if record.remote.is_none() => {
                self.session.map_or(Ok(()), |session| session.remove(&record.key, Urgency::Later))?;
                Ok(Taken::Nothing)
            }
            Sight::Gone(record) => Ok(Taken::Gone(record)),
            other => {
                let (path, ended, recorded) = no_entry(other);
                if let (Recorded::No, Ok(key)) = (recorded, Key::from_bytes(&path)) {
                    self.name_only(key)?;
                }
                Ok(Taken::Ended(ended))
            }
        }
    }

    /// Records that a name is there, so that the directory around it need not be read for it to be looked at again.
    fn name_only(&self, key: Key) -> Result<(), StateError> {
        let Some(session) = self.session else { return Ok(()) };
        session.record(Record { key, local: None, remote: None }, Urgency::Later)
    }

    /// Says what a sight would take.
    async fn foresee(&self, sight: Result<Sight, ScanError>) -> Result<Foreseen, RunErrorKind> {
        Ok(match sight? {
            Sight::Unchanged(count) => Foreseen::Counted(count),
            Sight::Gone(record) if record.remote.is_none() => Foreseen::Nothing,
            Sight::Gone(record) => Foreseen::Gone(record),
            Sight::Present { key, status, record, names } => match self.decide(&key, status, record, names).await {
                Ok(decision) => self.foreseen(&key, decision).await,
                Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => Foreseen::Ended(ended),
                Err(Unsent::Changed) => Foreseen::Ended(unstable(&key)),
            },
            other => Foreseen::Ended(no_entry(other).1),
        })
    }

    async fn foreseen(&self, key: &Key, decision: Decision) -> Foreseen {
        if let Err(refusal) = plan::put(&decision.subject.entry, &self.options.prefix, &self.options.profile) {
            return Foreseen::Ended(Ended::new(key, Outcome::Skipped).because(Chain(&refusal)));
        }
        let ended = |outcome| Ended { bytes: 0, ..Ended::new(key, outcome) };
        let outcome = match decision.step {
            Step::Put => Outcome::Written,
            Step::ReplaceMetadata => Outcome::MetadataOnly,
            _ => return Foreseen::Ended(ended(Outcome::Unchanged)),
        };
        if self.verify && self.is_there(key, &decision).await {
            return Foreseen::Ended(ended(Outcome::Unchanged));
        }
        let mut reason = decision.change.to_string();
        if matches!(decision.change, Change::New) && decision.subject.status.file_type != FileType::Directory {
            let size = decision.subject.entry.object_size();
            reason.push_str(&format!(", {size} byte{}", if size == 1 { "" } else { "s" }));
        }
        let planned = Planned { key: key.to_string().into(), step: decision.step, reason: reason.into() };
        let bytes = if outcome == Outcome::Written { decision.subject.entry.object_size() } else { 0 };
        Foreseen::Planned(planned, Ended { bytes, ..ended(outcome) })
    }

    /// Whether the bucket holds what would be put. A failed look is a difference.
    async fn is_there(&self, key: &Key, decision: &Decision) -> bool {
        let Ok(object_key) = self.options.prefix.object_key(key) else { return false };
        match self.store.head(&object_key).await {
            Ok(meta) => self.is_same(&decision.subject, &meta).await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Exports something that is there, and tries again when it changes meanwhile.
    async fn present(
        &self,
        key: &Key,
        status: Status,
        record: Option<Record>,
        names: Names,
    ) -> Result<Ended, StateError> {
        let mut status = status;
        for _ in 0..ATTEMPTS {
            let done = match self.decide(key, status, record.clone(), names).await {
                Ok(decision) => self.carry_out(key, decision).await?,
                Err(unsent) => Err(unsent),
            };
            match done {
                Ok(ended) | Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => {
                    return Ok(ended);
                }
                // A directory or link is looked at anew; a file is when it is opened.
                Err(Unsent::Changed) => {
                    if let Some(now) = self.look_again(key).await {
                        status = now;
                    }
                }
            }
        }
        Ok(unstable(key))
    }

    async fn look_again(&self, key: &Key) -> Option<Status> {
        match look(self.tree, key.as_str()).await {
            Look::Found(status) if (status.file_type == FileType::Directory) == key.is_directory() => Some(status),
            _ => None,
        }
    }

    /// Decides what is to be done about something that is there.
    async fn decide(
        &self,
        key: &Key,
        status: Status,
        record: Option<Record>,
        names: Names,
    ) -> Result<Decision, Unsent> {
        let (local, remote) = record.as_ref().map_or((None, None), |record| (record.local, record.remote.clone()));
        // Without an object, and as it was recorded, it is a directory that an import has made for what is in it.
        let change = |status: &Status| match &local {
            Some(local) => Change::of(local, status, &self.options.profile),
            None => Change::New,
        };
        let metadata = match (self.capabilities.replace_metadata, &remote) {
            (Support::Yes, Some(_)) => MetadataChange::InPlace,
            _ => MetadataChange::ByPut,
        };
        let body_md5 = remote.as_ref().and_then(Remote::body_md5);
        let (subject, change) = self.contents.open(key, status, change, metadata, body_md5).await?;
        let step = plan::step(&change, metadata);
        Ok(Decision { subject, change, step, remote, record, names })
    }

    async fn carry_out(&self, key: &Key, decision: Decision) -> Result<Result<Ended, Unsent>, StateError> {
        let local = self.local(&decision.subject.status, decision.names);
        let is_something = matches!(decision.step, Step::Put | Step::ReplaceMetadata);
        // What nobody heard of may have changed the object while the tree has come back to what is recorded.
        if !is_something && !self.session.is_some_and(|session| session.is_uncertain(key)) {
            let updated = Record { key: key.clone(), local: Some(local), remote: decision.remote };
            if let Some(session) = self.session.filter(|_| decision.record.as_ref() != Some(&updated)) {
                session.record(updated, Urgency::Later)?;
            }
            return Ok(Ok(Ended::new(key, Outcome::Unchanged)));
        }
        let refused = |refusal: &dyn std::error::Error| Ended::new(key, Outcome::Skipped).because(Chain(refusal));
        let StoreOp::Put { object_key, headers, payload } =
            match plan::put(&decision.subject.entry, &self.options.prefix, &self.options.profile) {
                Ok(put) => put,
                Err(refusal) => return Ok(Ok(refused(&refusal))),
            };
        let Some(session) = self.session else {
            let put = self.put(&object_key, headers, payload, &decision.subject, Precondition::None).await;
            return Ok(put.map(|_| written(&decision.subject, Outcome::Written)));
        };
        self.settle(session, key, &object_key, headers, payload, decision, local).await
    }

    /// Brings the object to what the subject is, unless somebody else has changed it.
    #[allow(clippy::too_many_arguments, reason = "one straight story, told in one place")]
    async fn settle(
        &self,
        session: &Session<'_>,
        key: &Key,
        object_key: &str,
        headers: HeaderMap,
        payload: Payload,
        decision: Decision,
        local: Local,
    ) -> Result<Result<Ended, Unsent>, StateError> {
        let Decision { mut subject, mut step, remote, record, .. } = decision;
        // It was gone from the tree before, and was to be deleted.
        let given_up = record.is_some_and(|record| record.local.is_none());
        let mut asked = remote.is_some()
            || self.verify
            || session.is_uncertain(key)
            || self.capabilities.preconditions == Support::No;
        for _ in 0..ATTEMPTS {
            let current = if asked {
                match self.store.head(object_key).await {
                    Ok(meta) => Some(meta),
                    Err(error) if error.kind() == StoreErrorKind::NotFound => None,
                    Err(error) => return Ok(Ok(failed(key, &error))),
                }
            } else {
                None
            };
            let as_recorded = is_recorded(remote.as_ref(), current.as_ref());
            if as_recorded && !matches!(step, Step::Put | Step::ReplaceMetadata) {
                if remote.as_ref().is_some_and(|remote| remote.last_modified.is_some()) {
                    session.record(Record { key: key.clone(), local: Some(local), remote }, Urgency::Later)?;
                    return Ok(Ok(Ended::new(key, Outcome::Unchanged)));
                }
                // Without Last-Modified, nothing tells whether its headers are those recorded.
                step = Step::Put;
            }
            if !as_recorded {
                if let Some(meta) = &current {
                    match self.is_same(&subject, meta).await {
                        Ok(true) => {
                            let remote = remote_of(meta);
                            session.record(
                                Record { key: key.clone(), local: Some(local), remote: Some(remote) },
                                Urgency::Now,
                            )?;
                            return Ok(Ok(Ended::new(key, Outcome::Unchanged)));
                        }
                        Ok(false) => {}
                        Err(unsent) => return Ok(Err(unsent)),
                    }
                }
                let ours = current.as_ref().is_some_and(|meta| self.is_ours(session, key, meta));
                let ours = ours || (given_up && current.is_none());
                if !ours && let Some(ended) = self.conflict(key, &subject, remote.as_ref(), current.as_ref()) {
                    return Ok(Ok(ended));
                }
                // What the object holds now is not what was compared with.
                step = Step::Put;
            }
            let precondition = match (&current, self.capabilities.preconditions) {
                (_, Support::No) => Precondition::None,
                (Some(meta), Support::Yes) => Precondition::Match(meta.etag.clone()),
                (None, Support::Yes) => Precondition::Absent,
            };
            session.intend([(key, local)]).await?;
            let (done, outcome) = if step == Step::ReplaceMetadata {
                let options = PutOptions { headers: headers.clone(), precondition };
                let replaced = self.store.replace_metadata(object_key, &options).await;
                (replaced.map_err(|error| unsent_by_store(key, &error)), Outcome::MetadataOnly)
            } else {
                if let Err(unsent) = self.contents.ensure(key, &mut subject).await {
                    return Ok(Err(unsent));
                }
                let put = self.put(object_key, headers.clone(), payload.clone(), &subject, precondition).await;
                (put, Outcome::Written)
            };
            match done {
                Ok(output) => {
                    let remote = self.remote_after(&output, outcome, remote, &subject);
                    let record = Record { key: key.clone(), local: Some(local), remote: Some(remote) };
                    session.record(record, Urgency::Now)?;
                    return Ok(Ok(written(&subject, outcome)));
                }
                Err(Unsent::Condition(_)) => asked = true,
                Err(unsent) => {
                    if matches!(unsent, Unsent::Unheard(_)) {
                        session.doubt(key, local);
                    }
                    return Ok(Err(unsent));
                }
            }
        }
        let reason = "the object changed at every try, each time before the request arrived";
        Ok(Ok(Ended::new(key, Outcome::Conflict).because(reason)))
    }

    async fn put(
        &self,
        object_key: &str,
        headers: HeaderMap,
        payload: Payload,
        subject: &Subject,
        precondition: Precondition,
    ) -> Result<PutOutput, Unsent> {
        let key = subject.entry.key();
        let body = match (&payload, &subject.content) {
            (Payload::Target(target), _) => Body::Bytes(Bytes::copy_from_slice(target.as_bytes())),
            (Payload::Empty, _) => Body::empty(),
            (Payload::File { .. }, Content::Bytes(bytes)) => Body::Bytes(bytes.clone()),
            (Payload::File { .. }, Content::File(file)) => Body::Source(Arc::clone(file) as Arc<_>),
            (Payload::File { .. }, Content::None) => return Err(Unsent::Changed),
        };
        let output = self.store.put(object_key, body, &PutOptions { headers, precondition }).await;
        let output = output.map_err(|error| unsent_by_store(key, &error))?;
        if subject.status.file_type == FileType::File {
            self.progress.bytes(subject.entry.object_size());
        }
        Ok(output)
    }

    /// What is recorded of an inode that was looked at in this run.
    fn local(&self, status: &Status, names: Names) -> Local {
        Local { names, ..Local::new(status, age_of(status, self.started)) }
    }

    fn remote_after(&self, output: &PutOutput, outcome: Outcome, before: Option<Remote>, subject: &Subject) -> Remote {
        // Replacing metadata leaves the body as it is, also one that the object of a directory should not have.
        let (size, md5) = match (outcome, before) {
            (Outcome::MetadataOnly, Some(before)) => (before.size, before.md5),
            _ => (subject.entry.object_size(), self.digest(&output.etag, subject)),
        };
        let last_modified = output.last_modified;
        Remote { etag: output.etag.clone(), size, last_modified, md5, age: age_of_object(last_modified) }
    }

    /// The digest that is recorded of what was put, where the `ETag` is none.
    fn digest(&self, etag: &ETag, subject: &Subject) -> Option<[u8; 16]> {
        let tells = self.capabilities.md5_etags == Support::Yes && etag.md5().is_some();
        if tells { None } else { subject.known_md5() }
    }

    /// Whether an object is what would be put: kind, size, stored attributes but for the access time, and the content as far
    /// as its `ETag` tells.
    async fn is_same(&self, subject: &Subject, meta: &ObjectMeta) -> Result<bool, Unsent> {
        let wanted = subject.entry.encode(&self.options.profile);
        if meta.size != subject.entry.object_size() || !same_fields(&wanted, &meta.headers) {
            return Ok(false);
        }
        match meta.etag.md5().filter(|_| self.capabilities.md5_etags == Support::Yes) {
            Some(md5) => Ok(self.contents.md5(subject).await?.is_none_or(|found| found == md5)),
            None => Ok(true),
        }
    }

    /// Whether an object is what an earlier run, or an earlier try, intended to put and did not hear of.
    fn is_ours(&self, session: &Session<'_>, key: &Key, meta: &ObjectMeta) -> bool {
        is_ours(session, &self.options.profile, key, meta)
    }

    /// What becomes of an entry whose object is not the one recorded; `None` when it is sent all the same.
    fn conflict(
        &self,
        key: &Key,
        subject: &Subject,
        recorded: Option<&Remote>,
        current: Option<&ObjectMeta>,
    ) -> Option<Ended> {
        let what = match (recorded, current) {
            // Nothing is recorded and nothing is there.
            (None, None) => return None,
            (None, Some(_)) => "the bucket holds another object of this key, which this link has not put",
            (Some(_), Some(_)) => "the object has changed as well",
            (Some(_), None) => "the object was deleted",
        };
        let ended = |outcome, then: &str| Some(Ended::new(key, outcome).because(format!("{what}; {then}")));
        match self.options.on_conflict {
            OnConflict::Local => None,
            OnConflict::Newest if current.is_none_or(|meta| subject.status.attributes.mtime >= mtime_of(meta)) => None,
            OnConflict::Store => ended(Outcome::Skipped, "the bucket wins"),
            OnConflict::Newest => ended(Outcome::Skipped, "it is newer"),
            OnConflict::KeepBoth => ended(Outcome::Conflict, "an import keeps both"),
            OnConflict::Fail => ended(Outcome::Conflict, "both sides keep what they have"),
        }
    }

    // ------------------------------------------------------------------------------------------------- deletes

    /// Whether what is gone may be deleted; `None` when that is not wanted.
    fn may_delete(&self, session: &Session<'_>, gone: &Spool<Record>) -> Option<Result<(), Braked>> {
        match self.options.deletes {
            Deletes::Never => None,
            Deletes::Apply(brake) => Some(brake.check(gone.len(), session.records().unwrap_or(0))),
        }
    }

    /// Deletes what is gone, or records that it is.
    async fn delete(&self, gone: Spool<Record>, recorder: &mut Recorder<'_>) -> Result<(), RunErrorKind> {
        let Some(session) = self.session else { return Ok(()) };
        let braked = self.may_delete(session, &gone);
        let gone = stream::try_unfold((gone, 0), |(mut gone, mut position)| async move {
            let record: Option<Record> = gone.next(&mut position).map_err(StateError::from)?;
            Ok::<_, StateError>(record.map(|record| (record, (gone, position))))
        });
        if let Some(Ok(())) = braked {
            let mut ended = gone
                .map(|record| async { self.delete_one(session, record?).await })
                .buffer_unordered(self.options.jobs.get())
                .boxed();
            while let Some(deleted) = ended.next().await {
                match deleted? {
                    Deleted::Yes => recorder.deleted(),
                    Deleted::No(ended) => recorder.end(ended),
                    Deleted::Before => {}
                }
            }
            drop(ended);
            return Ok(self.settle_unheard(session, recorder).await?);
        }
        let mut gone = gone.boxed();
        while let Some(record) = gone.next().await {
            recorder.gone();
            self.keep(session, record?).await?;
        }
        if let Some(Err(braked)) = braked {
            recorder.braked(braked);
        }
        Ok(self.settle_unheard(session, recorder).await?)
    }

    /// Records that something is gone from the tree and still in the bucket.
    async fn keep(&self, session: &Session<'_>, record: Record) -> Result<(), StateError> {
        if session.is_uncertain(&record.key) {
            return self.settle_gone(session, record).await.map(|_| ());
        }
        if record.local.is_none() {
            return Ok(());
        }
        session.record(Record { local: None, ..record }, Urgency::Later)
    }

    /// Finds out what has become of the object of a name that is gone, and that a run may have put without hearing of it.
    /// Says whether there is one that is ours.
    async fn settle_gone(&self, session: &Session<'_>, record: Record) -> Result<bool, StateError> {
        let Ok(object_key) = self.options.prefix.object_key(&record.key) else { return Ok(false) };
        match self.store.head(&object_key).await {
            Ok(meta)
                if self.is_ours(session, &record.key, &meta) || is_recorded(record.remote.as_ref(), Some(&meta)) =>
            {
                let (key, remote) = (record.key.clone(), Some(remote_of(&meta)));
                session.record(Record { local: None, remote, ..record }, Urgency::Later)?;
                session.is_certain(&key);
                Ok(true)
            }
            // Somebody else's; what was recorded is not there any more.
            Ok(_) if record.remote.is_none() => {
                session.remove(&record.key, Urgency::Later)?;
                Ok(false)
            }
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                session.remove(&record.key, Urgency::Later)?;
                Ok(false)
            }
            // Nobody knows yet; a later run looks again.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// What was intended for names that were never recorded and are gone: if their objects were put after all, they are
    /// recorded now, so that the next run can delete them.
    async fn settle_unheard(&self, session: &Session<'_>, recorder: &mut Recorder<'_>) -> Result<(), StateError> {
        for key in session.uncertain_keys() {
            if !self.options.selection.selects(key.as_str()) {
                continue;
            }
            let is_gone = match look(self.tree, key.as_str()).await {
                Look::Nothing => true,
                Look::Found(status) => (status.file_type == FileType::Directory) != key.is_directory(),
                // Of what is below something else than a directory there is nothing.
                Look::Failed(error) => error.kind() == TreeErrorKind::Conflict,
                Look::Skipped(_) => false,
            };
            if is_gone && self.settle_gone(session, Record { key, local: None, remote: None }).await? {
                recorder.gone();
            }
        }
        Ok(())
    }

    async fn delete_one(&self, session: &Session<'_>, record: Record) -> Result<Deleted, StateError> {
        let key = &record.key;
        let not = |outcome, why: &dyn std::fmt::Display| Deleted::No(Ended::new(key, outcome).because(why));
        let (Some(remote), Ok(object_key)) = (&record.remote, self.options.prefix.object_key(key)) else {
            return Ok(Deleted::Before);
        };
        match look(self.tree, key.as_str()).await {
            Look::Nothing => {}
            Look::Found(status) if (status.file_type == FileType::Directory) != key.is_directory() => {}
            // What was a directory above is none any more, so nothing is in it.
            Look::Failed(error) if error.kind() == TreeErrorKind::Conflict => {}
            Look::Failed(error) => {
                self.keep(session, record.clone()).await?;
                return Ok(not(Outcome::Failed, &Chain(&error)));
            }
            Look::Found(_) | Look::Skipped(_) => {
                return Ok(not(Outcome::Skipped, &"it was gone from the tree and has come back"));
            }
        }
        let current = match self.store.head(&object_key).await {
            Ok(meta) => meta,
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                session.remove(key, Urgency::Later)?;
                return Ok(Deleted::Before);
            }
            Err(error) => {
                self.keep(session, record.clone()).await?;
                return Ok(not(Outcome::Failed, &Chain(&error)));
            }
        };
        let ours = is_recorded(Some(remote), Some(&current)) || self.is_ours(session, key, &current);
        if !ours && self.options.on_conflict != OnConflict::Local {
            self.keep(session, record.clone()).await?;
            return Ok(not(Outcome::Conflict, &"gone from the tree, but the object has changed and is kept"));
        }
        // So that a later run knows that it was this one who has deleted it.
        session.give_up(Record { local: None, remote: Some(remote_of(&current)), ..record.clone() }).await?;
        let precondition = match self.capabilities.preconditions {
            Support::Yes => Precondition::Match(current.etag),
            Support::No => Precondition::None,
        };
        match self.store.delete(&object_key, &precondition).await {
            Ok(()) => {
                session.remove(key, Urgency::Now)?;
                Ok(Deleted::Yes)
            }
            Err(error) if error.kind() == StoreErrorKind::PreconditionFailed && self.is_gone(&object_key).await => {
                session.remove(key, Urgency::Later)?;
                Ok(Deleted::Before)
            }
            Err(error) => {
                let outcome = match error.kind() {
                    StoreErrorKind::PreconditionFailed => Outcome::Conflict,
                    _ => Outcome::Failed,
                };
                Ok(not(outcome, &Chain(&error)))
            }
        }
    }

    /// Whether there is no object, after a request for it failed: somebody else, or a request of an earlier run or try
    /// that arrived late, has deleted it.
    async fn is_gone(&self, object_key: &str) -> bool {
        matches!(self.store.head(object_key).await, Err(error) if error.kind() == StoreErrorKind::NotFound)
    }
}

enum Deleted {
    Yes,
    No(Ended),
    /// Somebody else has.
    Before,
}

impl From<ScanError> for RunErrorKind {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Root(error) => Self::Tree(error),
            ScanError::State(error) => Self::State(error),
        }
    }
}

/// Times from here on are too fresh to tell a later change.
pub(super) fn fresh_since(started: Timestamp) -> Timestamp {
    Timestamp::from_nanoseconds(started.nanoseconds().saturating_sub(GRAIN)).unwrap_or(Timestamp::EPOCH)
}

/// Whether an inode that was looked at in a run since `started` can change later without its times telling.
///
/// The ctime alone says so: every change moves it, while an mtime can be set to anything.
pub(super) fn age_of(status: &Status, started: Timestamp) -> Age {
    if status.ctime > fresh_since(started) { Age::Racy } else { Age::Settled }
}

/// Whether an object can be changed without its Last-Modified telling: where that has whole seconds, a second change in the
/// same second has the same.
pub(super) fn age_of_object(last_modified: Option<Timestamp>) -> Age {
    match last_modified {
        Some(time) if time.subsecond_nanos() > 0 => Age::Settled,
        _ => Age::Racy,
    }
}

/// What is recorded of an object that was looked at. What its bytes are is known from its `ETag` alone.
fn remote_of(meta: &ObjectMeta) -> Remote {
    let last_modified = Some(meta.last_modified);
    let age = age_of_object(last_modified);
    Remote { etag: meta.etag.clone(), size: meta.size, last_modified, md5: None, age }
}

/// Whether an object is the version that is recorded, or is missing where none is. Last-Modified is compared as far as it
/// is known; it tells of changed metadata, which the `ETag` does not.
pub(super) fn is_recorded(recorded: Option<&Remote>, current: Option<&ObjectMeta>) -> bool {
    match (recorded, current) {
        (None, None) => true,
        (Some(recorded), Some(current)) => {
            let time = recorded.last_modified.is_none_or(|time| time == current.last_modified);
            time && recorded.etag == current.etag && recorded.size == current.size
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether an object is what an earlier run, or an earlier try, intended to put and did not hear of.
pub(super) fn is_ours(session: &Session<'_>, profile: &Profile, key: &Key, meta: &ObjectMeta) -> bool {
    session.uncertain(key).iter().any(|local| was_intended(profile, local, meta))
}

fn was_intended(profile: &Profile, local: &Local, meta: &ObjectMeta) -> bool {
    let Local { permissions, uid, gid, mtime, file_type, .. } = *local;
    let permissions = profile.permissions(file_type, permissions);
    let attributes = Attributes { permissions, uid, gid, atime: mtime, mtime };
    let mut wanted = HeaderMap::new();
    attributes.encode_into(file_type, &mut wanted);
    meta.size == local.size && same_fields(&wanted, &meta.headers)
}

/// Whether two sets of headers say the same of kind, permissions, owner, group and mtime.
fn same_fields(wanted: &HeaderMap, found: &HeaderMap) -> bool {
    [Field::Permissions, Field::Owner, Field::Group, Field::Mtime]
        .into_iter()
        .all(|field| wanted.get(field.header()) == found.get(field.header()))
}

/// When the content of an object last changed: what it says, else when it was put.
pub(super) fn mtime_of(meta: &ObjectMeta) -> Timestamp {
    let text = Fields::from_headers(&meta.headers);
    text.text(Field::Mtime).and_then(|text| Timestamp::parse(text).ok()).unwrap_or(meta.last_modified)
}

fn written(subject: &Subject, outcome: Outcome) -> Ended {
    let bytes = if outcome == Outcome::Written { subject.entry.object_size() } else { 0 };
    Ended { bytes, ..Ended::new(subject.entry.key(), outcome) }
}

fn failed(key: &Key, error: &StoreError) -> Ended {
    Ended::new(key, Outcome::Failed).because(Chain(error))
}

fn unstable(key: &Key) -> Ended {
    let reason = format!("unstable: it changed while it was read, {ATTEMPTS} times over; the bucket keeps what it had");
    Ended::new(key, Outcome::Failed).because(reason)
}

/// How something that is no entry ends.
fn no_entry(sight: Sight) -> (Box<[u8]>, Ended, Recorded) {
    match sight {
        Sight::Skipped { path, reason, recorded } => {
            let ended = Ended::new(escape(&path), Outcome::Skipped).because(Chain(&reason));
            (path, ended, recorded)
        }
        Sight::Failed { path, error, recorded } => {
            let ended = Ended::new(escape(&path), Outcome::Failed).because(Chain(&error));
            (path, ended, recorded)
        }
        Sight::Unchanged(_) | Sight::Present { .. } | Sight::Gone(_) => {
            (Box::default(), Ended::new("", Outcome::Unchanged), Recorded::Yes)
        }
    }
}
