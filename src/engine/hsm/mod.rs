//! Data on demand: [`restore`] and [`read`] fetch what is in the store alone, [`release`] gives back the space of what is in
//! the store as well, [`hsm_state`] tells which is which.
//!
//! Three problems and their answers:
//!
//! 1. *The only copy must never be lost.* A file is released only if the record says that the store holds exactly this
//!    version, and the store has just said so too. Its data goes when the placeholder is on the disk and has the name, and
//!    the record follows. After a crash between any two of these the next run sees the placeholder, which says itself where
//!    its data is.
//! 2. *Somebody may be writing.* The tree looks for that when nobody new can come to the old inode any more; see
//!    [`TreeOp::Release`].
//! 3. *A file that has become another inode has not changed*, nor has the directory around it: that gets its times back, unless
//!    somebody else has changed it meanwhile.

mod options;
mod report;

pub use options::{DataOptions, ReleaseMode, ReleaseOptions};
pub use report::{Kept, KeptCause, ReleaseError, ReleaseReport};

use self::report::Ending;
use super::agreed::{age_of, fresh_since};
use super::beside::Beside;
use super::cancel::Stop;
use super::cause::Cause;
use super::contents::{Contents, Unsent, WRITTEN};
use super::export::{ExportOptions, SameTimes, export_since};
use super::journal::Urgency;
use super::placeholder::{Fetched, Places, fetch_back};
use super::report::{Direction, Ended, Outcome, Progress, Reason, Recorder, Report, RunError, RunErrorKind};
use super::scan::{Directories, Scan, ScanError, Sight};
use super::selection::Selection;
use super::session::{Seen, Session};
use super::state::StateStore;
use crate::entry::{Chain, Entry, EntryKind};
use crate::escape::escape;
use crate::hsm::HsmState;
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{Change, MetadataChange, Step, step};
use crate::released::Released;
use crate::snapshot::{Local, Record, Remote};
use crate::status::Status;
use crate::store::{Counted, ObjectStore, StoreErrorKind, Support};
use crate::timestamp::Timestamp;
use crate::tree::{Around, Fingerprint, Found, OpenFile, Present, Residence, Tree, TreeError, TreeErrorKind, TreeOp};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use thiserror::Error;

/// How often a file is tried that changes meanwhile.
const ATTEMPTS: u32 = 3;

/// How many files are done before they are brought to the disk and recorded.
const UNRECORDED: usize = 4096;

/// Why a file could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The tree failed.
    #[error("the tree failed")]
    Tree(#[from] TreeError),
    /// The state or the store failed as a whole.
    #[error("the data could not be fetched")]
    Run(#[source] Box<RunErrorKind>),
    /// Its data is not here and could not be fetched.
    #[error("the data of \"{key}\" could not be fetched: {reason}")]
    Unavailable {
        /// The key, safe to print.
        key: Box<str>,
        /// Why, in words.
        reason: Box<str>,
    },
}

/// Fetches the data of every selected file that is in the store alone.
///
/// - A file whose data is here is unchanged, and costs no request.
/// - The bytes are those of the version that the placeholder stands for. If its object is gone, the file is marked as lost; if it
///   is another version, that is a conflict. The placeholder stays either way.
/// - A placeholder that somebody wrote to is a conflict.
///
/// A state, if there is one, is told that the file has not changed.
///
/// # Errors
/// [`RunError`] when the tree cannot be read at all or the state fails. What was fetched by then is whole.
pub async fn restore<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: Option<&dyn StateStore>,
    options: &DataOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Import, progress);
    let restored = async {
        let session = Session::of(tree, state, &options.bucket, &options.prefix).await?;
        let run = Data::new(tree, store, session.as_ref(), options, progress);
        let restored = run.restore_all(&mut recorder).await;
        close(session, tree, restored).await
    };
    let restored: Result<(), RunErrorKind> = restored.await;
    recorder.finish(store.calls(), restored)
}

/// Gives the data of files back that the store holds as well: of every selected file that is in the store exactly as it is
/// here, and of nothing else.
///
/// - A file is released only if the state says that it was exported so, and it has not changed since, and its object is still
///   that version, and nobody has it open, and it was not used for more than the minimum age. `now` is the time that ages
///   count from.
/// - Where other users' processes run, only the superuser sees whether they have it open. Anybody else releases nothing there,
///   unless [`ReleaseOptions::unseen_users`] says that nobody else writes.
/// - It stays as it is in every other case, and the report says why.
///
/// ```
/// use posix_s3::engine::{DataOptions, MemoryState, ReleaseOptions, Silent, release};
/// use posix_s3::{Profile, Timestamp, store::MemoryStore, tree::MemoryTree};
///
/// let (tree, bucket, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
/// let options = ReleaseOptions::new(DataOptions::new(Profile::fsx()).with_bucket("s3://bucket"));
/// let released = release(&tree, &bucket, &state, &options, Timestamp::EPOCH, &Silent);
/// assert_eq!(futures_executor::block_on(released)?.released, 0);
/// # Ok::<(), posix_s3::engine::ReleaseError>(())
/// ```
///
/// # Errors
/// When the tree cannot be read at all, the state fails, or the run was cancelled. What was released by then is in the store.
pub async fn release<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ReleaseOptions,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<ReleaseReport, ReleaseError> {
    let store = &Counted::new(store);
    let mut report = ReleaseReport::default();
    let released = async {
        let session = Session::of(tree, Some(state), &options.data.bucket, &options.data.prefix).await?;
        let run = Data::new(tree, store, session.as_ref(), &options.data, progress);
        let released = run.release_all(options, now, &mut report).await;
        close(session, tree, released).await
    };
    let released: Result<(), RunErrorKind> = released.await;
    report.store_calls = store.calls();
    report.reasons.sort_by(|one, other| one.key.cmp(&other.key));
    match released {
        Ok(()) => Ok(report),
        Err(kind) => Err(ReleaseError { kind, report: Box::new(report) }),
    }
}

/// Opens a file to be read, with its data: if that is in the store alone, it is fetched first.
///
/// # Errors
/// [`ReadError`]: what [`Tree::open`] answers, and when the data cannot be fetched.
pub async fn read<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: Option<&dyn StateStore>,
    options: &DataOptions,
    key: &Key,
) -> Result<Arc<dyn OpenFile>, ReadError> {
    let mut reason: Box<str> = "it changed at every try".into();
    for _ in 0..ATTEMPTS {
        let file = tree.open(key).await?;
        match file.residence() {
            Residence::Here => return Ok(file),
            Residence::Written(_) => {
                reason = WRITTEN.into();
                break;
            }
            Residence::Released(_) => {}
        }
        drop(file);
        let options = DataOptions { selection: Selection::all().with_path(key.clone()), ..options.clone() };
        let restored = restore(tree, store, state, &options, &super::report::Silent).await;
        let report = restored.map_err(|error| ReadError::Run(Box::new(error.into_kind())))?;
        if let Some(problem) = report.problems.into_iter().find(|_| report.failed > 0 || report.conflicts > 0) {
            reason = problem.reason;
            break;
        }
    }
    Err(ReadError::Unavailable { key: key.to_string().into(), reason })
}

/// The state of a file as Lustre would show it: what is here, what is in the store, and whether that is current. The store is
/// not asked.
///
/// # Errors
/// When the file cannot be opened or the state fails.
pub async fn hsm_state<T: Tree>(
    tree: &T,
    state: &dyn StateStore,
    options: &DataOptions,
    key: &Key,
) -> Result<HsmState, RunErrorKind> {
    let session = Session::of(tree, Some(state), &options.bucket, &options.prefix).await?;
    let found = async {
        let file = tree.open(key).await?;
        let status = file.found().status();
        match file.residence() {
            Residence::Released(Released { lost: false, .. }) => return Ok(HsmState::ON_DEMAND),
            Residence::Released(_) => return Ok(HsmState::ON_DEMAND.lost().unwrap_or(HsmState::ON_DEMAND)),
            Residence::Written(_) => return Ok(HsmState::CHANGED),
            Residence::Here => {}
        }
        drop(file);
        let record = session.as_ref().map(|session| session.find(key)).transpose()?.flatten();
        let Some(Record { local, remote: Some(remote), .. }) = record else { return Ok(HsmState::NONE) };
        let Some(local) = local else { return Ok(HsmState::CHANGED) };
        let contents = Contents::new(tree, Support::No, SameTimes::Compare, fresh_since(tree.now()));
        let change = |status: &Status| Change::of(&local, status, &options.profile);
        let metadata = MetadataChange::InPlace;
        let same = match contents.open(key, status, change, metadata, Some(&remote)).await {
            Ok((_, change)) => step(&change, metadata) == Step::Nothing,
            Err(_) => false,
        };
        Ok(if same { HsmState::SYNCED } else { HsmState::CHANGED })
    };
    let found: Result<HsmState, RunErrorKind> = found.await;
    close(session, tree, Ok(())).await?;
    found
}

/// Exports one file, link or directory with all that is in it, if it has changed.
///
/// # Errors
/// As [`export_since`].
pub async fn archive<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ExportOptions,
    key: &Key,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let options = options.clone().with_selection(Selection::all().with_path(key.clone()));
    export_since(tree, store, state, &options, progress).await
}

/// Ends a run: what was done is on the disk already, and recorded.
async fn close<T: Tree>(
    session: Option<Session<'_>>,
    tree: &T,
    done: Result<(), RunErrorKind>,
) -> Result<(), RunErrorKind> {
    let finished = tree.finish().await.map_err(RunErrorKind::Tree);
    let closed = match session {
        // Other names were not looked at.
        Some(session) => session.finish(Seen::Part, tree.now()).await.map_err(RunErrorKind::State),
        None => Ok(()),
    };
    done.and(finished).and(closed)
}

struct Data<'r, T, S: ?Sized> {
    tree: &'r T,
    store: &'r Counted<&'r S>,
    session: Option<&'r Session<'r>>,
    options: &'r DataOptions,
    progress: &'r dyn Progress,
    contents: Contents<'r, T>,
    started: Timestamp,
}

/// Something that a scan came upon, with what is recorded of it.
#[allow(clippy::large_enum_variant, reason = "there are as many as jobs")]
enum Item {
    Entry { key: Key, status: Status, record: Option<Record>, around: Option<Arc<Found>> },
    Not { path: Box<[u8]>, cause: Cause, why: Box<str>, failed: bool },
}

/// What has become of an item.
struct Done<E> {
    ended: E,
    /// What both sides agree on from now on.
    record: Option<Record>,
    /// The directory in which an inode was exchanged, as it was before.
    around: Option<Arc<Found>>,
    /// How that has changed it.
    moved: Option<Around>,
}

/// A directory in which inodes were exchanged.
struct Touched {
    /// As it was before.
    before: Arc<Found>,
    moves: Vec<Around>,
}

impl<'r, T: Tree, S: ObjectStore + ?Sized> Data<'r, T, S> {
    fn new(
        tree: &'r T,
        store: &'r Counted<&'r S>,
        session: Option<&'r Session<'r>>,
        options: &'r DataOptions,
        progress: &'r dyn Progress,
    ) -> Self {
        let started = tree.now();
        let contents = Contents::new(tree, Support::No, SameTimes::Compare, fresh_since(started));
        Self { tree, store, session, options, progress, contents, started }
    }

    /// Everything that is selected, in key order, beside what is recorded of it.
    fn items(&self) -> Result<BoxStream<'r, Result<Item, RunErrorKind>>, RunErrorKind> {
        let reader = self.session.map(Session::reader).transpose()?.flatten();
        let (tree, records) = (self.tree, reader.map(Beside::new));
        let sights = Scan::new(tree, None, &self.options.selection, Directories::Read, 1).sights();
        let around: Vec<Arc<Found>> = Vec::new();
        let items =
            stream::unfold((sights, records, around), move |(mut sights, mut records, mut around)| async move {
                let item = match sights.next().await? {
                    Ok(Sight::Present { key, status, .. }) => {
                        let record = records.as_mut().map(|records| records.find(&key)).transpose();
                        match record {
                            Ok(record) => {
                                let record = record.flatten();
                                let around = directory_around(tree, &key, &status, &mut around).await;
                                Ok(Item::Entry { key, status, record, around })
                            }
                            Err(error) => Err(error.into()),
                        }
                    }
                    Ok(Sight::Skipped { path, reason, .. }) => Ok(not(&path, &reason, &Chain(&reason), false)),
                    Ok(Sight::Failed { path, error, .. }) => Ok(not(&path, &error, &Chain(&error), true)),
                    // Beside no record, nothing is unchanged or gone.
                    Ok(Sight::Unchanged(_) | Sight::Gone(_)) => Ok(not(b"", Cause::Other, &"nothing", false)),
                    Err(ScanError::Root(error)) => Err(error.into()),
                    Err(ScanError::State(error)) => Err(error.into()),
                };
                Some((item, (sights, records, around)))
            });
        Ok(items.boxed())
    }

    async fn restore_all(&self, recorder: &mut Recorder<'_>) -> Result<(), RunErrorKind> {
        let (run, stop) = (self, Stop::new(&self.options.cancel));
        let items = self.items()?.take_while(|_| ready(!stop.leaves_out()));
        let mut done = items.map(|item| async { run.restore(item?).await }).buffered(run.options.jobs.get()).boxed();
        let (mut unrecorded, mut exchanged) = (Vec::new(), Vec::new());
        while let Some(done) = done.next().await {
            let Done { ended, record, around, moved } = done?;
            recorder.end(ended);
            unrecorded.extend(record);
            run.put_back(&mut exchanged, around, moved).await;
            if unrecorded.len() >= UNRECORDED {
                run.record(&mut unrecorded).await?;
            }
        }
        drop(done);
        run.put_all_back(exchanged).await;
        run.record(&mut unrecorded).await?;
        stop.ended()
    }

    async fn restore(&self, item: Item) -> Result<Done<Ended>, RunErrorKind> {
        let (key, mut status, record, around) = match item {
            Item::Entry { key, status, record, around } => (key, status, record, around),
            Item::Not { path, cause, why, failed } => {
                let outcome = if failed { Outcome::Failed } else { Outcome::Skipped };
                return Ok(Ended::new(&*path, outcome).because(cause, why).into());
            }
        };
        if status.file_type != FileType::File || !self.tree.may_have_placeholders()? {
            return Ok(Ended::new(&key, Outcome::Unchanged).into());
        }
        for _ in 0..ATTEMPTS {
            let released = match self.contents.residence(&key, &status).await {
                Ok(Residence::Here) => return Ok(Ended::new(&key, Outcome::Unchanged).into()),
                Ok(Residence::Written(_)) => {
                    return Ok(Ended::new(&key, Outcome::Conflict).because(Cause::Conflict, WRITTEN).into());
                }
                Ok(Residence::Released(released)) => released,
                Err(Unsent::Changed) => match self.tree.lookup(&key).await {
                    Ok(Present::Entry(found)) if found.entry.file_type() == FileType::File => {
                        status = found.status();
                        continue;
                    }
                    Ok(_) => break,
                    Err(error) => return Ok(Ended::new(&key, Outcome::Failed).because(&error, Chain(&error)).into()),
                },
                Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => {
                    return Ok(ended.into());
                }
            };
            let Some(entry) = file_entry(&key, &status) else { break };
            let file = (&entry, &status);
            let places = Places { own: &self.options.prefix, imports: self.options.imports.as_ref() };
            match fetch_back(self.tree, self.store, places, file, &released, self.progress).await {
                Fetched::Here { applied, digest } => {
                    let reasons =
                        applied.shortfalls.iter().map(|shortfall| Reason::new(shortfall, shortfall)).collect();
                    let ended = Ended { bytes: released.size, reasons, ..Ended::new(&key, Outcome::Written) };
                    let moved = applied.around;
                    let record = record.zip(applied.made).and_then(|(record, made)| {
                        let local = self.unchanged(&record, &status, &released, &made)?;
                        let remote = record.remote.map(|remote| Remote { xxh3: remote.xxh3.or(digest), ..remote });
                        Some(Record { local: Some(local), remote, ..record })
                    });
                    return Ok(Done { ended, record, around, moved });
                }
                Fetched::Changed => {}
                Fetched::Lost(ended) => return Ok(ended.into()),
                Fetched::Not(ended) => return Ok(ended.into()),
            }
        }
        Ok(Ended::new(&key, Outcome::Failed).because(Cause::Busy, "it changed at every try").into())
    }

    /// What is recorded of an inode that took the place of another, if that was as recorded. What was changed before is
    /// still to be exported, and the record stays.
    fn unchanged(&self, record: &Record, before: &Status, released: &Released, made: &Status) -> Option<Local> {
        let (local, remote) = (record.local.as_ref()?, record.remote.as_ref()?);
        let change = Change::of(local, before, &self.options.profile);
        let change = change.compared(released.is_of(&record.key, &remote.etag, remote.size));
        let same = step(&change, MetadataChange::InPlace) == Step::Nothing;
        same.then(|| Local::new(made, age_of(made, self.started)))
    }

    async fn release_all(
        &self,
        options: &ReleaseOptions,
        now: Timestamp,
        report: &mut ReleaseReport,
    ) -> Result<(), RunErrorKind> {
        let (run, stop) = (self, Stop::new(&self.options.cancel));
        let items = self.items()?.take_while(|_| ready(!stop.leaves_out()));
        let released = items.map(|item| async { run.release(item?, options, now).await });
        let mut released = released.buffered(run.options.jobs.get()).boxed();
        let (mut unrecorded, mut exchanged) = (Vec::new(), Vec::new());
        while let Some(done) = released.next().await {
            let Done { ended, record, around, moved } = done?;
            report.end(ended, run.progress);
            unrecorded.extend(record);
            run.put_back(&mut exchanged, around, moved).await;
            if unrecorded.len() >= UNRECORDED {
                run.record(&mut unrecorded).await?;
            }
        }
        drop(released);
        run.put_all_back(exchanged).await;
        run.record(&mut unrecorded).await?;
        stop.ended()
    }

    async fn release(
        &self,
        item: Item,
        options: &ReleaseOptions,
        now: Timestamp,
    ) -> Result<Done<Ending>, RunErrorKind> {
        let (key, status, record, around) = match item {
            Item::Entry { key, status, record, around } => (key, status, record, around),
            Item::Not { path, why, failed, .. } => {
                let key = escape(&path).to_string().into();
                let cause = if failed { KeptCause::TreeFailed } else { KeptCause::NotAFile };
                return Ok(Ending::Kept(Kept { key, cause, detail: why, path }).into());
            }
        };
        let (local, remote) = match self.may_release(&key, &status, record, options.minimum_days, now).await {
            Ok(agreed) => agreed,
            Err(ending) => return Ok(ending.into()),
        };
        if options.mode == ReleaseMode::Foresee {
            return Ok(Ending::Released { key, bytes: status.size }.into());
        }
        let Some(entry) = file_entry(&key, &status) else {
            return Ok(Ending::Kept(Kept::new(&key, KeptCause::NotAFile)).into());
        };
        let (etag, size, mtime) = (remote.etag.clone(), status.size, status.attributes.mtime);
        let released = Released { key: key.clone(), etag, size, mtime, lost: false };
        let unseen = options.unseen_users;
        match self.tree.apply(&TreeOp::Release { entry, released, found: status, unseen }).await {
            Ok(applied) => {
                let ended = Ending::Released { key: key.clone(), bytes: applied.freed };
                let moved = applied.around;
                let record = applied.made.map(|made| {
                    let made = Local { names: local.names, ..Local::new(&made, age_of(&made, self.started)) };
                    Record { key, local: Some(made), remote: Some(remote) }
                });
                Ok(Done { ended, record, around, moved })
            }
            Err(error) => {
                let cause = match error.kind() {
                    TreeErrorKind::Changed | TreeErrorKind::NotFound => KeptCause::Dirty,
                    TreeErrorKind::InUse => KeptCause::InUse,
                    TreeErrorKind::Unsupported => KeptCause::Unsupported,
                    _ => KeptCause::TreeFailed,
                };
                Ok(Ending::Kept(Kept::new(&key, cause).because(Chain(&error))).into())
            }
        }
    }

    /// Whether a file may be released: what is recorded of it, if the store holds exactly what is here.
    async fn may_release(
        &self,
        key: &Key,
        status: &Status,
        record: Option<Record>,
        minimum_days: u64,
        now: Timestamp,
    ) -> Result<(Local, Remote), Ending> {
        let kept = |cause| Ending::Kept(Kept::new(key, cause));
        if status.file_type != FileType::File {
            return Err(kept(KeptCause::NotAFile));
        }
        if status.size == 0 {
            return Err(kept(KeptCause::Empty));
        }
        match self.contents.residence(key, status).await {
            Ok(Residence::Here) => {}
            Ok(Residence::Released(_)) => return Err(Ending::Already { key: key.clone() }),
            Ok(Residence::Written(_)) => return Err(Ending::Kept(Kept::new(key, KeptCause::Dirty).because(WRITTEN))),
            Err(unsent) => return Err(unsure(key, unsent)),
        }
        if !is_old_enough(status, minimum_days, now) {
            return Err(kept(KeptCause::Recent));
        }
        let Some(Record { local, remote: Some(remote), .. }) = record else {
            return Err(kept(KeptCause::NeverExported));
        };
        let Some(local) = local else { return Err(kept(KeptCause::Dirty)) };
        if status.links > 1 {
            return Err(kept(KeptCause::HardLinked));
        }
        // So fresh that the times do not tell the next change, or a request of which nobody has heard.
        let is_fresh = age_of(status, self.started) == crate::snapshot::Age::Racy;
        if is_fresh || self.session.is_some_and(|session| session.is_uncertain(key)) {
            return Err(kept(KeptCause::InUse));
        }
        let change = |status: &Status| Change::of(&local, status, &self.options.profile);
        let metadata = MetadataChange::InPlace;
        match self.contents.open(key, *status, change, metadata, Some(&remote)).await {
            Ok((subject, _)) if !subject.status.is_same_version(status) => return Err(kept(KeptCause::Dirty)),
            Ok((_, change)) if step(&change, metadata) != Step::Nothing => {
                return Err(Ending::Kept(Kept::new(key, KeptCause::Dirty).because(change)));
            }
            Ok(_) => {}
            Err(unsent) => return Err(unsure(key, unsent)),
        }
        self.holds(key, status, &remote).await?;
        Ok((local, remote))
    }

    /// Asks the store whether it holds what is recorded.
    async fn holds(&self, key: &Key, status: &Status, remote: &Remote) -> Result<(), Ending> {
        let kept = |cause| Ending::Kept(Kept::new(key, cause));
        let object_key = self.options.prefix.object_key(key);
        let object_key = object_key.map_err(|_| kept(KeptCause::NeverExported))?;
        let meta = self.store.head(&object_key).await.map_err(|error| {
            let cause = match error.kind() {
                StoreErrorKind::NotFound => KeptCause::ObjectGone,
                StoreErrorKind::Denied => KeptCause::StoreDenied,
                _ => KeptCause::StoreFailed,
            };
            Ending::Kept(Kept::new(key, cause).because(Chain(&error)))
        })?;
        if (&meta.etag, meta.size) != (&remote.etag, remote.size) || meta.size != status.size {
            return Err(kept(KeptCause::ObjectChanged));
        }
        if meta.is_archived() { Err(kept(KeptCause::ObjectArchived)) } else { Ok(()) }
    }

    /// Records what is done, once it is on the disk: a record of what a power loss takes back would make an old file look
    /// like a new one.
    async fn record(&self, records: &mut Vec<Record>) -> Result<(), RunErrorKind> {
        if records.is_empty() {
            return Ok(());
        }
        self.tree.sync().await?;
        let Some(session) = self.session else { return Ok(()) };
        for record in records.drain(..) {
            session.record(record, Urgency::Later)?;
        }
        Ok(())
    }

    /// Gives those directories their times back in which nothing more comes, and remembers what was done in one more.
    async fn put_back(&self, exchanged: &mut Vec<Touched>, around: Option<Arc<Found>>, moved: Option<Around>) {
        let (Some(around), Some(moved)) = (around, moved) else { return };
        let is_within = |last: &Touched| {
            let (last, key) = (last.before.entry.key(), around.entry.key());
            last == key || last.holds(key)
        };
        while let Some(last) = exchanged.pop_if(|last| !is_within(last)) {
            put_times_back(self.tree, last).await;
        }
        match exchanged.last_mut().filter(|last| last.before.entry.key() == around.entry.key()) {
            Some(last) => last.moves.push(moved),
            None => exchanged.push(Touched { before: around, moves: vec![moved] }),
        }
    }

    async fn put_all_back(&self, mut exchanged: Vec<Touched>) {
        while let Some(last) = exchanged.pop() {
            put_times_back(self.tree, last).await;
        }
    }
}

impl<E> From<E> for Done<E> {
    fn from(ended: E) -> Self {
        Self { ended, record: None, around: None, moved: None }
    }
}

/// The directory around a file, as it was before anything in it was exchanged: it is looked at when its first file comes, and
/// kept until the scan has left it. `None` for one in the root, and for what is no file.
async fn directory_around<T: Tree>(
    tree: &T,
    key: &Key,
    status: &Status,
    around: &mut Vec<Arc<Found>>,
) -> Option<Arc<Found>> {
    around.retain(|directory| directory.entry.key().holds(key));
    let parent = key.parent().filter(|_| status.file_type == FileType::File)?;
    if let Some(last) = around.last().filter(|last| *last.entry.key() == parent) {
        return Some(Arc::clone(last));
    }
    match tree.lookup(&parent).await {
        Ok(Present::Entry(found)) => {
            let found = Arc::new(found);
            around.push(Arc::clone(&found));
            Some(found)
        }
        // It has no times that could be put back.
        _ => None,
    }
}

/// Puts the times of a directory back to what they were, if nobody else has changed it: each exchange found it as the one
/// before had left it, and so it is now. What is not put back only makes an export send them.
async fn put_times_back<T: Tree>(tree: &T, touched: Touched) {
    let Touched { before, mut moves } = touched;
    let Fingerprint { inode, mut ctime, links } = before.fingerprint;
    // They ended in another order than they were done.
    moves.sort_unstable();
    for Around { before, after } in moves {
        if before != ctime {
            return;
        }
        ctime = after;
    }
    let was = before.entry.attributes();
    let found = Fingerprint { inode, ctime, links };
    let op = TreeOp::SetTimes { key: before.entry.key().clone(), atime: was.atime, mtime: was.mtime, found };
    let _ = tree.apply(&op).await;
}

fn file_entry(key: &Key, status: &Status) -> Option<Entry> {
    Entry::new(key.clone(), EntryKind::File { size: status.size }, status.attributes).ok()
}

fn not(path: &[u8], cause: impl Into<Cause>, why: &dyn fmt::Display, failed: bool) -> Item {
    Item::Not { path: path.into(), cause: cause.into(), why: why.to_string().into(), failed }
}

fn unsure(key: &Key, unsent: Unsent) -> Ending {
    let kept = |cause| Kept::new(key, cause);
    Ending::Kept(match unsent {
        Unsent::Changed => kept(KeptCause::InUse),
        Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended) => {
            let cause = if ended.outcome == Outcome::Conflict { KeptCause::Dirty } else { KeptCause::TreeFailed };
            let reasons: Vec<&str> = ended.reasons.iter().map(|reason| &*reason.text).collect();
            kept(cause).because(reasons.join("; "))
        }
    })
}

/// Whether a file was not used for more than so many days.
fn is_old_enough(status: &Status, days: u64, now: Timestamp) -> bool {
    const DAY: i128 = 86_400_000_000_000;
    let used = status.attributes.atime.max(status.attributes.mtime).max(status.ctime);
    days == 0 || now.nanoseconds().saturating_sub(used.nanoseconds()) > i128::from(days).saturating_mul(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Attributes;
    use crate::mode::Permissions;
    use crate::owner::{Gid, Uid};

    #[test]
    fn exactly_the_minimum_age_is_too_young() {
        let time = |days: i64, nanos: u32| Timestamp::from_unix(days * 86_400, nanos).unwrap();
        let status = |atime, mtime, ctime| {
            let permissions = Permissions::from_mode(0o644);
            let attributes = Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime, mtime };
            Status { file_type: FileType::File, size: 1, attributes, inode: 1, ctime, links: 1 }
        };
        let now = time(20, 0);
        for used in 0..3 {
            let times = |last| std::array::from_fn::<_, 3, _>(|at| if at == used { last } else { time(1, 0) });
            let old_enough = |last| {
                let [atime, mtime, ctime] = times(last);
                is_old_enough(&status(atime, mtime, ctime), 9, now)
            };
            assert!(!old_enough(time(11, 0)), "nine days");
            assert!(old_enough(time(10, 999_999_999)), "more than nine days");
            assert!(!old_enough(time(30, 0)), "the future");
        }
        assert!(is_old_enough(&status(time(30, 0), time(30, 0), time(30, 0)), 0, now), "any age");
        assert!(!is_old_enough(&status(time(1, 0), time(1, 0), time(1, 0)), u64::MAX, now));
    }
}
