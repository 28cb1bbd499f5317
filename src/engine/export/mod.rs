//! [`export`] and [`export_since`]: from a tree to a bucket.
//!
//! What has to be done is decided in three steps: [`Scan`] tells what is not as it was recorded, [`Contents`] opens it and
//! compares its content where only that can tell, and [`plan::step`](crate::plan::step) says what that takes. Then the
//! bucket is asked whether it still holds what is recorded, and the request is made under the condition that it does.

mod delete;
mod imported;
mod needed;
mod plan;
mod put;

pub use imported::Imported;
pub use plan::{Planned, plan_export};

use self::imported::AsImported;
use self::needed::{Needed, Replace};
use self::put::Copies;
use crate::engine::agreed::fresh_since;
use crate::engine::beside::Beside;
use crate::engine::cancel::{Cancel, Stop, and};
use crate::engine::cause::Cause;
use crate::engine::contents::{Contents, Dubious, Subject, Unsent};
use crate::engine::journal::Urgency;
use crate::engine::report::{Direction, Ended, Jobs, Outcome, Progress, Recorder, Report, RunError, RunErrorKind};
use crate::engine::scan::{Directories, Reach, Recorded, Scan, ScanError, Sight, look};
use crate::engine::selection::Selection;
use crate::engine::session::{Seen, Session, StateError};
use crate::engine::spool::Spool;
use crate::engine::state::StateStore;
use crate::entry::Chain;
use crate::key::{Key, Prefix};
use crate::mode::FileType;
use crate::plan::{Change, Deletes, MetadataChange, OnConflict, Step};
use crate::profile::Profile;
use crate::snapshot::{Names, Record, Remote};
use crate::status::Status;
use crate::store::{Capabilities, Counted, ListRequest, ObjectStore, Support};
use crate::timestamp::Timestamp;
use crate::tree::{Look, Tree};
use futures_util::{StreamExt, stream};
use std::future::ready;
use std::sync::{Mutex, PoisonError};

/// How often a file that changes while it is read is tried, and a request whose condition failed.
const ATTEMPTS: u32 = 3;

/// How many entries are announced to the journal at once.
const ANNOUNCED: usize = 256;

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
    /// What imports from another part of the bucket have brought, and is not exported. Needs a state.
    pub imported: Option<Imported>,
    /// Tells the run to come to an end.
    pub cancel: Cancel,
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
            imported: None,
            cancel: Cancel::default(),
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

    /// What imports from another part of the bucket have brought.
    #[must_use]
    pub fn with_imported(mut self, imported: Imported) -> Self {
        self.imported = Some(imported);
        self
    }

    /// What tells the run to come to an end.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
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
    run(tree, store, None, options, None, progress).await
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
    run(tree, store, Some(state), options, None, progress).await
}

/// What an export of changes is about.
#[derive(Debug)]
#[cfg_attr(not(feature = "repository"), allow(dead_code, reason = "only a data repository knows changes"))]
pub(super) struct Among {
    /// Paths that have changed, without slashes at their ends, none in a directory of which all is looked at; all of the
    /// selection without.
    pub(super) paths: Option<Vec<(Box<str>, Reach)>>,
    /// Whether what has no object yet is sent.
    pub(super) new: Wanted,
    /// Whether what has one is brought up to date.
    pub(super) changed: Wanted,
}

/// Whether something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "repository"), allow(dead_code, reason = "only a data repository knows changes"))]
pub(super) enum Wanted {
    Yes,
    No,
}

/// [`export_since`], of paths that are known to have changed.
#[cfg(feature = "repository")]
pub(super) async fn export_among<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ExportOptions,
    among: &Among,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    run(tree, store, Some(state), options, Some(among), progress).await
}

async fn run<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: Option<&dyn StateStore>,
    options: &ExportOptions,
    among: Option<&Among>,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Export, progress);
    recorder.lacking(store.capabilities());
    let exported = async {
        let session = Session::of(tree, state, &options.bucket, &options.prefix).await?;
        let exported = match Export::new(tree, store, session.as_ref(), options, progress).await {
            Ok(run) => Export { among, ..run }.all(&mut recorder).await,
            Err(error) => Err(error),
        };
        let seen = if exported.is_ok() { Seen::Everything } else { Seen::Part };
        if let Some(session) = session {
            and(exported, session.finish(seen, tree.now()).await.map_err(RunErrorKind::State))
        } else {
            exported
        }
    };
    let exported: Result<(), RunErrorKind> = exported.await;
    let finished = and(exported, tree.finish().await.map_err(RunErrorKind::Tree));
    recorder.finish(store.calls(), finished)
}

pub(super) struct Export<'r, T, S: ?Sized> {
    tree: &'r T,
    store: &'r Counted<&'r S>,
    session: Option<&'r Session<'r>>,
    options: &'r ExportOptions,
    /// The paths that it is about; all of the selection without.
    among: Option<&'r Among>,
    progress: &'r dyn Progress,
    contents: Contents<'r, T>,
    imported: Mutex<Option<Beside>>,
    copies: Mutex<Copies>,
    capabilities: Capabilities,
    stop: Stop,
    /// Nothing is known of a bucket that is not empty: each object is looked at before it is put.
    verify: bool,
    started: Timestamp,
}

/// What a scan has come upon, and what was imported of it.
type Found = Result<(Sight, Option<Record>), ScanError>;

/// What a sight has come to.
enum Taken {
    Counted(u64),
    Ended(Ended),
    Gone(Record),
    /// It may be sent after another look for what needs its object.
    Later(Record),
    Nothing,
}

/// What has become of something that is there.
enum Sent {
    Ended(Ended),
    Later,
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
                !page.objects.is_empty() || !page.unreadable.is_empty() || page.next.is_some()
            }
            _ => false,
        };
        let digests = if capabilities.md5_etags == Support::Yes { Support::No } else { Support::Yes };
        let stop = Stop::new(&options.cancel);
        let dubious = if options.on_conflict == OnConflict::Local { Dubious::Send } else { Dubious::Refuse };
        let contents = Contents::new(tree, digests, options.same_times, fresh_since(started)).with_dubious(dubious);
        let imported = match &options.imported {
            Some(imported) => imported.open(tree, &options.bucket).await?,
            None => None,
        };
        let imported = Mutex::new(imported);
        let (among, copies) = (None, Mutex::default());
        let this = Self {
            tree,
            store,
            session,
            options,
            among,
            progress,
            contents,
            imported,
            copies,
            capabilities,
            stop,
            verify,
            started,
        };
        Ok(this)
    }

    fn scan(&self) -> Scan<'r, T> {
        let ExportOptions { selection, directories, lookers, .. } = self.options;
        let scan = Scan::new(self.tree, self.session, selection, *directories, lookers.get());
        match self.among.and_then(|among| among.paths.as_ref()) {
            Some(paths) => scan.among(paths),
            None => scan,
        }
    }

    /// Why something that is there is not sent although it may have changed.
    fn unwanted(&self, record: Option<&Record>) -> Option<&'static str> {
        let among = self.among?;
        match record.and_then(|record| record.remote.as_ref()) {
            None if among.new == Wanted::No => Some("the policy does not export what is new"),
            Some(_) if among.changed == Wanted::No => Some("the policy does not export what has changed"),
            _ => None,
        }
    }

    async fn all(&self, recorder: &mut Recorder<'_>) -> Result<(), RunErrorKind> {
        if let Some(session) = self.session {
            session.say_disbelief(recorder);
        }
        let needed = &self.look_for_needed().await?;
        let (mut gone, mut later) = (Spool::new(), Spool::new());
        let sights = self.scan().sights().take_while(|_| ready(!self.stop.leaves_out()));
        let announced = sights.ready_chunks(ANNOUNCED).then(|sights| async {
            // What could not be announced is not put.
            let announced = match self.beside(sights) {
                Ok(sights) => self.announce(&sights).await.map(|()| sights),
                Err(error) => Err(error),
            };
            stream::iter(announced.unwrap_or_else(|error| vec![Err(error.into())]))
        });
        let sights = announced.flatten().map(|sight| self.take(sight, needed));
        let mut taken = sights.buffer_unordered(self.options.jobs.get()).boxed();
        while let Some(taken) = taken.next().await {
            match taken? {
                Taken::Counted(count) => recorder.unchanged(count),
                Taken::Ended(ended) => recorder.end(ended),
                Taken::Gone(record) => gone.push(&record)?,
                Taken::Later(record) => later.push(&record)?,
                Taken::Nothing => {}
            }
        }
        drop(taken);
        if let Some(session) = self.session {
            self.record_marked(session).await?;
        }
        // Of what was not seen nobody knows what is gone.
        self.stop.ended()?;
        let mut needed = if gone.len() > 0 || later.len() > 0 { self.look_for_needed().await? } else { Needed::None };
        let mut position = 0;
        while let Some(record) = later.next(&mut position)? {
            recorder.end(self.send_late(record, &needed).await?);
        }
        if let Some(session) = self.session {
            self.record_marked(session).await?;
        }
        if !self.copies().is_empty() {
            needed = self.look_for_needed().await?;
        }
        self.delete(gone, &needed, recorder).await?;
        self.stop.ended()
    }

    /// Puts what was imported of each beside what comes now.
    fn beside(&self, sights: Vec<Result<Sight, ScanError>>) -> Result<Vec<Found>, StateError> {
        // Whatever is in it is whole after every statement.
        let mut imported = self.imported.lock().unwrap_or_else(PoisonError::into_inner);
        let mut beside = |sight| {
            let imported = match (&sight, &mut *imported) {
                (Ok(Sight::Present { key, .. }), Some(imported)) => imported.find(key)?,
                _ => None,
            };
            Ok(sight.map(|sight| (sight, imported)))
        };
        sights.into_iter().map(&mut beside).collect()
    }

    /// Exports what had to wait for another look.
    async fn send_late(&self, record: Record, needed: &Needed) -> Result<Ended, StateError> {
        let key = record.key.clone();
        let Some(status) = self.look_again(&key).await else {
            return Ok(
                Ended::new(&key, Outcome::Skipped).because(Cause::FileNotFound, "it vanished before it was read")
            );
        };
        let sent = self.present(&key, status, Some(record), Names::Unknown, needed).await?;
        self.session.inspect(|session| session.withdraw(&key));
        Ok(match sent {
            Sent::Ended(ended) => ended,
            Sent::Later => {
                let why = "it changed a moment ago, where placeholders may have been renamed; the next run sends it";
                Ended::new(&key, Outcome::Skipped).because(Cause::Busy, why)
            }
        })
    }

    /// Whether a decision can be carried out without losing the only copy of another file.
    async fn may_carry_out(&self, decision: &Decision, needed: &Needed) -> Result<Replace, StateError> {
        let is_new = decision.record.as_ref().is_none_or(|record| record.remote.is_none());
        // Nothing but an object that is not there becomes one.
        let makes = is_new
            && !self.verify
            && self.capabilities.preconditions == Support::Yes
            && self.options.on_conflict == OnConflict::Fail
            && self.session.is_some_and(|session| !session.is_uncertain(decision.subject.entry.key()));
        if makes || !matches!(decision.step, Step::Put | Step::ReplaceMetadata) {
            return Ok(Replace::Yes);
        }
        self.may_replace(needed, &decision.subject, decision.remote.as_ref()).await
    }

    /// Says of all that is new and comes now that it is about to be put, in one go: waiting for the disk costs more than a
    /// request to a store that is near.
    async fn announce(&self, sights: &[Found]) -> Result<(), StateError> {
        let Some(session) = self.session else { return Ok(()) };
        let new = sights.iter().filter_map(|sight| match sight {
            Ok((Sight::Present { key, status, record: None, names, .. }, None)) => {
                Some((key, self.local(status, *names)))
            }
            _ => None,
        });
        session.intend(new).await
    }

    /// Does what a sight takes.
    async fn take(&self, found: Found, needed: &Needed) -> Result<Taken, RunErrorKind> {
        let (sight, imported) = found?;
        if let (Some(imported), Sight::Present { key, status, record, names, .. }) = (&imported, &sight) {
            match self.as_imported(key, *status, imported).await {
                AsImported::Yes(status) => {
                    self.record_imported(key, &status, record.clone(), *names)?;
                    return Ok(Taken::Ended(Ended::new(key, Outcome::Unchanged)));
                }
                AsImported::Unknown(ended) => return Ok(Taken::Ended(ended)),
                AsImported::No => {}
            }
        }
        match sight {
            Sight::Unchanged(count) => Ok(Taken::Counted(count)),
            // It was announced, and nothing has come of it.
            Sight::Present { key, .. } if self.stop.leaves_out() => {
                self.session.inspect(|session| session.withdraw(&key));
                Ok(Taken::Nothing)
            }
            Sight::Present { key, status, record, names, .. } => {
                let known = record.is_some();
                let sent = match self.unwanted(record.as_ref()) {
                    Some(why) => Sent::Ended(Ended::new(&key, Outcome::Skipped).because(Cause::LeftToPolicy, why)),
                    None => self.present(&key, status, record.clone(), names, needed).await?,
                };
                self.session.inspect(|session| session.withdraw(&key));
                let ended = match sent {
                    Sent::Ended(ended) => ended,
                    Sent::Later => {
                        let nothing = Record { key, local: None, remote: None };
                        return Ok(Taken::Later(record.unwrap_or(nothing)));
                    }
                };
                if !known && matches!(ended.outcome, Outcome::Skipped | Outcome::Failed | Outcome::Conflict) {
                    self.name_only(key)?;
                }
                Ok(Taken::Ended(ended))
            }
            Sight::Gone(record) if record.remote.is_none() => {
                // What may have been put without anybody hearing of it is settled at the end.
                if let Some(session) = self.session.filter(|session| !session.is_uncertain(&record.key)) {
                    session.remove(&record.key, Urgency::Later)?;
                }
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

    /// Exports something that is there, and tries again when it changes meanwhile.
    async fn present(
        &self,
        key: &Key,
        status: Status,
        record: Option<Record>,
        names: Names,
        needed: &Needed,
    ) -> Result<Sent, StateError> {
        let mut status = status;
        for _ in 0..ATTEMPTS {
            let done = match self.decide(key, status, record.clone(), names).await {
                Ok(decision) => match self.may_carry_out(&decision, needed).await? {
                    Replace::Yes => self.carry_out(key, decision).await?,
                    Replace::Later => return Ok(Sent::Later),
                    Replace::No(why) => Ok(Ended::new(key, Outcome::Conflict).because(Cause::OnlyCopy, why)),
                },
                Err(unsent) => Err(unsent),
            };
            match done {
                Ok(ended) | Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => {
                    return Ok(Sent::Ended(ended));
                }
                // A directory or link is looked at anew; a file is when it is opened.
                Err(Unsent::Changed) => {
                    if let Some(now) = self.look_again(key).await {
                        status = now;
                    }
                }
            }
        }
        Ok(Sent::Ended(unstable(key)))
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
        let (subject, change) = self.contents.open(key, status, change, metadata, remote.as_ref()).await?;
        let step = crate::plan::step(&change, metadata);
        Ok(Decision { subject, change, step, remote, record, names })
    }
}

impl From<ScanError> for RunErrorKind {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Root(error) => Self::Tree(error),
            ScanError::State(error) => Self::State(error),
        }
    }
}

/// How something that is no entry ends.
fn no_entry(sight: Sight) -> (Box<[u8]>, Ended, Recorded) {
    match sight {
        Sight::Skipped { path, reason, recorded } => {
            let ended = Ended::new(&*path, Outcome::Skipped).because(&reason, Chain(&reason));
            (path, ended, recorded)
        }
        Sight::Failed { path, error, recorded } => {
            let ended = Ended::new(&*path, Outcome::Failed).because(&error, Chain(&error));
            (path, ended, recorded)
        }
        Sight::Unchanged(_) | Sight::Present { .. } | Sight::Gone(_) => {
            (Box::default(), Ended::new(b"".as_slice(), Outcome::Unchanged), Recorded::Yes)
        }
    }
}

fn unstable(key: &Key) -> Ended {
    let reason = format!("unstable: it changed while it was read, {ATTEMPTS} times over; the bucket keeps what it had");
    Ended::new(key, Outcome::Failed).because(Cause::Busy, reason)
}
