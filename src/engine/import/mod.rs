//! [`import`]: from a bucket to a tree.
//!
//! The order, and why:
//!
//! 1. Directories and files. A directory with an object is open to the caller alone, so that its final mode cannot keep
//!    out what is below; one without is made, with its attributes, for the first object below it that is accepted.
//! 2. Links, once every directory and file is there: no key can then pass through one. What is gone from the bucket is
//!    removed after them, since a directory that a link is put into is not empty; and then comes what takes its place.
//! 3. The attributes of directories, deepest first, since everything before changes their times.
//!
//! What has to wait for 2 and 3 waits in a [`Spool`], so that memory does not grow with it.

mod budget;
mod directory;
mod halfway;
mod object;
mod plan;
mod remove;
#[cfg_attr(not(feature = "repository"), allow(dead_code, reason = "events are part of the data repository"))]
mod touched;

pub use plan::plan_import;

use self::budget::BytesLeft;
use self::remove::{Late, Waiting};
use self::touched::LeftOut;
pub(super) use self::touched::{Takes, Touched};
use super::agreed::{age_of, fresh_since, is_recorded, remote_of, same_time};
use super::cancel::{Cancel, Stop, and};
use super::cause::Cause;
use super::contents::{Contents, Dubious};
use super::export::SameTimes;
use super::journal::Urgency;
use super::listing::{Item, Listed, Listing, ROOT, Stretch, Use};
use super::report::{Direction, Ended, Jobs, Outcome, Progress, Reason, Recorder, Report, RunError, RunErrorKind};
use super::selection::{Selection, in_path};
use super::session::{Seen, Session, StateError};
use super::spool::{Deferred, Rule, Spool};
use super::state::StateStore;
use super::turns::Turns;
use crate::entry::{Chain, DecodedHead, Entry, ObjectHead, Refusal};
use crate::key::{Key, Prefix};
use crate::metadata::Fields;
use crate::plan::{Claim, Deletes, Existing, OnConflict};
use crate::profile::Profile;
use crate::snapshot::{Age, Edit, Local, Record, Remote};
use crate::status::Status;
use crate::store::{Counted, ObjectMeta, ObjectStore, StoreError, StoreErrorKind, Support};
use crate::timestamp::Timestamp;
use crate::tree::{Applied, Tree, TreeError, TreeErrorKind};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How an import is done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The rules of the mapping.
    pub profile: Profile,
    /// Where in the bucket; the whole of it by default.
    pub prefix: Prefix,
    /// How many entries at once.
    pub jobs: Jobs,
    /// What happens to files that are there and differ, without a state.
    pub existing: Existing,
    /// Which part of the tree.
    pub selection: Selection,
    /// What happens to files whose objects are gone. Needs a state.
    pub deletes: Deletes,
    /// What happens to files that have changed as well. Needs a state.
    pub on_conflict: OnConflict,
    /// What the bucket is called; see [`ExportOptions::bucket`](super::ExportOptions::bucket).
    pub bucket: Box<str>,
    /// Tells the run to come to an end.
    pub cancel: Cancel,
    /// When the data of files is fetched.
    pub data: Fetch,
}

/// When the data of files is fetched. Directories and links are always made whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Fetch {
    /// With the import. A placeholder whose object has not changed stays one.
    #[default]
    Now,
    /// When it is asked for, with [`restore`](super::restore) or [`read`](super::read): a file is a placeholder of the right
    /// size with its attributes. So is one whose object has changed, in the place of the file that was there. An empty file
    /// is whole.
    OnDemand,
}

impl ImportOptions {
    /// From the whole bucket, by the rules of a profile. Without a state, objects replace files that differ; with one,
    /// nothing is deleted, and what changed on both sides is left alone.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            prefix: Prefix::default(),
            jobs: Jobs::default(),
            existing: Existing::default(),
            selection: Selection::default(),
            deletes: Deletes::default(),
            on_conflict: OnConflict::default(),
            bucket: "".into(),
            cancel: Cancel::default(),
            data: Fetch::default(),
        }
    }

    /// When the data of files is fetched.
    #[must_use]
    pub const fn with_data(mut self, data: Fetch) -> Self {
        self.data = data;
        self
    }

    /// From below a prefix.
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

    /// What happens to files that are there and differ, without a state.
    #[must_use]
    pub const fn with_existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// This part of the tree. Directories around it that are not there get the defaults.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// What happens to files whose objects are gone.
    #[must_use]
    pub const fn with_deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }

    /// What happens to files that have changed as well.
    #[must_use]
    pub const fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// What the bucket is called.
    #[must_use]
    pub fn with_bucket(mut self, bucket: &str) -> Self {
        self.bucket = bucket.into();
        self
    }

    /// What tells the run to come to an end.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }
}

/// Imports everything below a prefix: every object becomes a file, directory or link.
///
/// - A file that shows its object already, by kind, size, mtime, permissions and owner, is not fetched again.
/// - Names appear whole, with their attributes; nothing outside the tree is touched.
/// - Nothing is deleted.
/// - An object that is refused or fails is one problem of the report, and the run goes on.
///
/// # Errors
/// [`RunError`] when the bucket cannot be listed to the end or its listing cannot be trusted, and when the tree cannot be
/// brought to the disk. What was imported by then is complete.
///
/// ```
/// use posix_s3::engine::{ImportOptions, Silent, import};
/// use posix_s3::{Profile, store::MemoryStore, tree::MemoryTree};
///
/// let (bucket, tree) = (MemoryStore::new(), MemoryTree::new());
/// let options = ImportOptions::new(Profile::untrusted());
/// let report = futures_executor::block_on(import(&bucket, &tree, &options, &Silent))?;
/// assert_eq!(report.entries, 0);
/// # Ok::<(), posix_s3::engine::RunError>(())
/// ```
pub async fn import<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    run(store, tree, None, options, progress, None).await
}

/// Imports what was created or modified in the bucket, data or metadata, since the last import from or export to it.
///
/// What both sides last agreed on is in `state`. A first run finds nothing there, and compares with the tree.
///
/// - What is listed as it is recorded costs no further request. If only the metadata of an object has changed, its data is
///   not fetched again.
/// - A file that has changed here as well, or was deleted, is left as it is, but for what
///   [`ImportOptions::on_conflict`] says. What has changed here alone is no business of an import.
/// - What is gone from the bucket is deleted as [`ImportOptions::deletes`] says, when the listing has come to its end.
/// - A run that is cut short anywhere loses nothing, and the next one fetches nothing again.
///
/// # Errors
/// As [`import`]; also when the state fails.
pub async fn import_since<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: &dyn StateStore,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    run(store, tree, Some(state), options, progress, None).await
}

/// Imports as [`import_since`] does, but looks only at these keys and at what depends on them.
#[cfg(feature = "repository")]
pub(super) async fn import_touched<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: &dyn StateStore,
    options: &ImportOptions,
    touched: Touched<'_>,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    run(store, tree, Some(state), options, progress, Some(touched)).await
}

async fn run<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: Option<&dyn StateStore>,
    options: &ImportOptions,
    progress: &dyn Progress,
    touched: Option<Touched<'_>>,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Import, progress);
    let imported = async {
        let session = Session::of(tree, state, &options.bucket, &options.prefix).await?;
        let takes = touched.as_ref().map_or(Takes::ALL, |touched| touched.takes);
        let run = &Import { takes, ..Import::new(store, tree, session.as_ref(), options, progress) };
        let imported = run.all(touched, &mut recorder).await;
        // What was done is recorded once it is on the disk, and not before.
        let finished = tree.finish().await.map_err(RunErrorKind::Tree);
        // After a sync that failed, nobody knows what is on the disk, whatever a later one says.
        let synced = finished.is_ok() && !matches!(imported, Err(RunErrorKind::Tree(_)));
        let recorded = if synced { run.record_done().map_err(RunErrorKind::State) } else { Ok(()) };
        let seen = if imported.is_ok() { Seen::Everything } else { Seen::Part };
        let closed = match session {
            Some(session) => session.finish(seen, tree.now()).await.map_err(RunErrorKind::State),
            None => Ok(()),
        };
        and(and(imported, finished), and(recorded, closed))
    };
    let imported: Result<(), RunErrorKind> = imported.await;
    recorder.finish(store.calls(), imported)
}

pub(super) struct Import<'r, S: ?Sized, T> {
    store: &'r Counted<&'r S>,
    tree: &'r T,
    session: Option<&'r Session<'r>>,
    options: &'r ImportOptions,
    progress: &'r dyn Progress,
    contents: Contents<'r, T>,
    stop: Stop,
    started: Timestamp,
    /// Which changes of the bucket are taken over.
    takes: Takes,
    /// What is done and not yet known to be on the disk.
    done: Mutex<Vec<Edit>>,
    /// What listed keys have in common that are not UTF-8, as far as it is: each may stand for any key that starts so.
    unreadable: Mutex<Option<Box<str>>>,
    budget: BytesLeft,
    /// How many files and links have given way to directories, since the recorder was told.
    gave_way: AtomicU64,
}

/// How many entries are done before they are brought to the disk and recorded.
const UNRECORDED: usize = 4096;

/// A claim, and for a directory's object its head. Heads are asked for side by side; what they decide is decided in order.
enum Headed {
    Item(Item),
    Directory { key: Key, listed: Listed, head: Option<Result<ObjectMeta, StoreError>> },
    LeftOut { key: Key, listed: Listed, left_out: LeftOut },
}

/// A claim after the part of it that must be done in order.
#[allow(clippy::large_enum_variant, reason = "there are as many as jobs")]
enum Prepared {
    Done(Done),
    FileOrLink { key: Key, listed: Listed, around: Vec<Missing> },
}

/// What is left of a claim when its work is done.
#[derive(Default)]
struct Done {
    deferred: Vec<Deferred>,
    ended: Option<Ended>,
    /// What both sides agree on from now on.
    edit: Option<Edit>,
    /// Something was removed to make way.
    removed: Removals,
    /// It can be done only when what is gone was removed.
    late: Option<Late>,
}

impl From<Ended> for Done {
    fn from(ended: Ended) -> Self {
        Self { ended: Some(ended), ..Self::default() }
    }
}

/// A directory that is not there, and whose attributes it gets if it is made.
#[derive(Clone, Debug)]
struct Missing {
    entry: Entry,
    rule: Rule,
    /// Its object, where that is what it is made by.
    remote: Option<Remote>,
    /// The file or link of its name that it replaces.
    instead_of: Option<Record>,
}

/// What is known of the directories around the current key.
#[derive(Default)]
struct Around {
    /// Those that are not there and have no object, or none that is accepted, outermost first. They are made, with their
    /// defaults, for the first object below them that is accepted.
    missing: Vec<Missing>,
    /// One that could not be looked at, or whose head could not be read: nothing can be put below it, since nobody knows
    /// what its permissions are or have to be.
    unknown: Option<Key>,
    /// Files and links of an earlier run that give way to the directories of their names, once those are made.
    giving_way: Vec<Record>,
}

impl Around {
    /// Lets go of the directories that do not hold a key.
    fn move_to(&mut self, key: &Key) {
        self.missing.retain(|directory| directory.entry.key().holds(key));
        self.unknown = self.unknown.take().filter(|directory| directory.holds(key));
        self.giving_way.retain(|record| in_path(record.key.as_str(), key.as_str()));
    }

    /// Takes down a directory that is not there, if there can be one.
    fn miss(&mut self, missing: impl Into<Option<Missing>>) {
        let Some(missing) = missing.into() else { return };
        let instead_of = self.gives_way_to(missing.entry.key()).cloned();
        self.missing.push(Missing { instead_of, ..missing });
    }

    /// What gives way to a directory.
    fn gives_way_to(&self, directory: &Key) -> Option<&Record> {
        self.giving_way.iter().find(|record| record.key.as_str() == directory.path())
    }
}

/// Whether something gives way to one of these directories.
fn replaces_something(missing: &[Missing]) -> bool {
    missing.iter().any(|missing| missing.instead_of.is_some())
}

impl<'r, S: ObjectStore + ?Sized, T: Tree> Import<'r, S, T> {
    fn new(
        store: &'r Counted<&'r S>,
        tree: &'r T,
        session: Option<&'r Session<'r>>,
        options: &'r ImportOptions,
        progress: &'r dyn Progress,
    ) -> Self {
        let started = tree.now();
        let stop = Stop::new(&options.cancel);
        // Where one side wins, what is here is only compared, whatever it is.
        let dubious = match options.on_conflict {
            OnConflict::Store | OnConflict::Local => Dubious::Compare,
            _ => Dubious::Refuse,
        };
        let contents = Contents::new(tree, Support::No, SameTimes::Compare, fresh_since(started)).with_dubious(dubious);
        let takes = Takes::ALL;
        let (done, unreadable) = (Mutex::default(), Mutex::default());
        let budget = BytesLeft::new(options.profile.budget.bytes);
        let gave_way = AtomicU64::new(0);
        Self {
            store,
            tree,
            session,
            options,
            progress,
            contents,
            stop,
            started,
            takes,
            done,
            unreadable,
            budget,
            gave_way,
        }
    }

    async fn all(&self, touched: Option<Touched<'_>>, recorder: &mut Recorder<'_>) -> Result<(), RunErrorKind> {
        if let Some(session) = self.session {
            session.say_disbelief(recorder);
        }
        let ImportOptions { selection, prefix, profile, .. } = self.options;
        let stretches = match touched {
            Some(touched) => self.stretches(touched, recorder).await?,
            None => Stretch::of(selection),
        };
        let listing = Listing::new(self.store, self.session, stretches, selection, prefix, profile)?;
        // What was recorded and not listed comes out of the listing at its end, and only then.
        let absent = &Mutex::new(None);
        // The stream is boxed, so that the compiler can tell that the whole may go to another thread.
        let items = stream::unfold(Some(listing), |listing| async {
            let mut listing = listing?;
            match listing.next().await {
                Ok(Some(item)) => Some((Ok(item), Some(listing))),
                Ok(None) => {
                    *lock(absent) = Some(listing.into_absent());
                    None
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        let items = items.take_while(|_| ready(!self.stop.leaves_out() && self.budget.holds().is_ok()));
        let turns = &Turns::<Around>::new();
        let done = items.zip(stream::iter(0..)).map(|(item, number)| async move {
            let headed = self.head(item?).await;
            let mut around = turns.take(number).await;
            let prepared = self.prepare(headed, &mut around).await;
            turns.give(around);
            Ok(self.work(prepared).await)
        });
        let mut done: BoxStream<'_, Result<Done, RunErrorKind>> = done.buffered(self.options.jobs.get()).boxed();

        let (mut links, mut directories) = (Spool::new(), Spool::new());
        let (mut late, mut waiting) = (Spool::new(), Waiting::default());
        let mut listed = Ok(());
        while let Some(done) = done.next().await {
            match done {
                Ok(done) => {
                    if let Some(one) = done.late {
                        waiting.add(&one.key);
                        late.push(&one)?;
                    }
                    if done.removed == Removals::One {
                        recorder.deleted();
                    }
                    (0..self.gave_way.swap(0, Ordering::Relaxed)).for_each(|_| recorder.deleted());
                    for deferred in done.deferred {
                        if deferred.entry.key().is_directory() { &mut directories } else { &mut links }
                            .push(&deferred)?;
                    }
                    done.ended.into_iter().for_each(|ended| recorder.end(ended));
                    self.agree(done.edit).await?;
                }
                // What was made by now is finished all the same: nothing stays locked to the caller.
                Err(error) => listed = Err(error),
            }
        }
        drop(done);
        // Nothing can be concluded from what was not taken.
        listed = listed.and(self.budget.holds().map_err(RunErrorKind::Budget));
        // Before anything is removed: a directory that a link is put into is not empty.
        let mut position = 0;
        self.links(&mut links, &mut position, recorder).await?;
        let absent = lock(absent).take().filter(|_| listed.is_ok());
        if let Some(absent) = absent {
            self.remove_absent(absent, &waiting, recorder).await?;
        }
        let mut at = 0;
        // What is not taken any more is no entry of the report.
        while !self.stop.leaves_out()
            && self.budget.holds().is_ok()
            && let Some(late) = late.next(&mut at)?
        {
            let done = self.try_late(late, &listed).await;
            for deferred in done.deferred {
                if deferred.entry.key().is_directory() { &mut directories } else { &mut links }.push(&deferred)?;
            }
            done.ended.into_iter().for_each(|ended| recorder.end(ended));
            self.agree(done.edit).await?;
        }
        self.links(&mut links, &mut position, recorder).await?;
        while let Some(deferred) = directories.pop()? {
            let edit = self.directory_attributes(deferred, recorder).await;
            self.agree(edit).await?;
        }
        let within = self.budget.holds().map_err(RunErrorKind::Budget);
        and(and(listed, within), self.stop.ended())
    }

    /// Puts the links from a position on into place.
    async fn links(
        &self,
        links: &mut Spool<Deferred>,
        position: &mut u64,
        recorder: &mut Recorder<'_>,
    ) -> Result<(), RunErrorKind> {
        while let Some(deferred) = links.next(position)? {
            let (ended, edit) = self.link(deferred).await;
            recorder.end(ended);
            self.agree(edit).await?;
        }
        Ok(())
    }

    /// Takes down what both sides agree on. It is recorded when it is on the disk.
    async fn agree(&self, edit: Option<Edit>) -> Result<(), RunErrorKind> {
        if self.session.is_none() {
            return Ok(());
        }
        let full = {
            let mut done = lock(&self.done);
            done.extend(edit);
            done.len() >= UNRECORDED
        };
        if full {
            self.tree.sync().await?;
            self.record_done()?;
        }
        Ok(())
    }

    /// Records what is done. It has to be on the disk by now: a record of what a power loss takes back would make an old
    /// file look like a new one.
    fn record_done(&self) -> Result<(), StateError> {
        let Some(session) = self.session else { return Ok(()) };
        let done = std::mem::take(&mut *lock(&self.done));
        done.into_iter().try_for_each(|edit| match edit {
            Edit::Put(record) => session.record(record, Urgency::Later),
            Edit::Remove(key) => session.remove(&key, Urgency::Later),
        })
    }

    /// What is recorded of an inode that was made or looked at in this run.
    fn local(&self, status: &Status) -> Local {
        Local::new(status, age_of(status, self.started))
    }

    /// What is recorded of an object. One whose Last-Modified has whole seconds can change within the second that it
    /// shows; one that is recorded so for a while has not.
    fn remote(&self, meta: &ObjectMeta, before: Option<&Record>, xxh3: Option<[u8; 16]>) -> Remote {
        let mut remote = Remote { xxh3, ..remote_of(meta) };
        if let Some(before) = before.and_then(|record| record.remote.as_ref()) {
            let same_time = before.last_modified.is_some_and(|time| same_time(time, meta.last_modified));
            if same_time
                && before.etag == remote.etag
                && self.session.is_some_and(|session| session.is_older_than_grain(self.started))
            {
                remote.age = Age::Settled;
            }
            remote.xxh3 = remote.xxh3.or(before.xxh3.filter(|_| before.etag == remote.etag));
        }
        remote
    }

    /// Whether an object that was listed and looked at is the one that is recorded. A head may show whole seconds where the
    /// listing shows more, so it is asked only where nothing but the time is missing.
    fn is_recorded(&self, listed: &Listed, meta: &ObjectMeta) -> bool {
        let says = |Record { local, remote, .. }: &Record| {
            is_recorded(&self.options.profile, local.as_ref(), remote.as_ref(), Some(meta))
        };
        listed.seems_as_recorded() || (listed.may_be_as_recorded() && listed.record.as_ref().is_some_and(says))
    }

    async fn head(&self, item: Item) -> Headed {
        if matches!(&item, Item::Claim(Claim::Object { object, .. }) if object.use_for == Use::Context) {
            return Headed::Item(item);
        }
        let left_out = match &item {
            Item::Claim(Claim::Object { key, object }) => self.leaves_out(key, object).await,
            _ => None,
        };
        match (item, left_out) {
            (Item::Claim(Claim::Object { key, object: listed }), Some(left_out)) => {
                Headed::LeftOut { key, listed, left_out }
            }
            (Item::Claim(Claim::Object { key, object: listed }), None) if key.is_directory() => {
                let head = if listed.is_as_recorded() { None } else { Some(self.store.head(&listed.object.key).await) };
                Headed::Directory { key, listed, head }
            }
            (item, _) => Headed::Item(item),
        }
    }

    /// What has to be done in the order of the listing: directories stand before anything in them is begun.
    async fn prepare(&self, headed: Headed, around: &mut Around) -> Prepared {
        let claim = match headed {
            Headed::Directory { key, listed, head } => {
                around.move_to(&key);
                return Prepared::Done(match head {
                    Some(head) => self.directory(key, &listed, head, around).await,
                    None => self.known_directory(key, &listed, around).await,
                });
            }
            Headed::LeftOut { key, listed, left_out } => {
                around.move_to(&key);
                return Prepared::Done(self.left_out(key, &listed, left_out, around).await);
            }
            Headed::Item(Item::Replaced(record)) if !self.takes.replacements() => {
                return Prepared::Done(LeftOut::replaced(&record.key).into());
            }
            Headed::Item(Item::Replaced(record)) => return Prepared::Done(self.make_way(&record).await),
            Headed::Item(Item::Claim(Claim::Object { object: Listed { use_for: Use::Context, .. }, .. })) => {
                return Prepared::Done(Done::default());
            }
            Headed::Item(Item::Unreadable { key, error }) => {
                return Prepared::Done(self.unreadable(&key, &error).into());
            }
            Headed::Item(Item::Claim(claim)) => claim,
        };
        match claim {
            Claim::Object { key, object: listed } => {
                around.move_to(&key);
                match &around.unknown {
                    _ if listed.is_as_recorded() => Prepared::Done(Ended::new(&key, Outcome::Unchanged).into()),
                    Some(directory) => Prepared::Done(below_unknown(&key, directory).into()),
                    None => Prepared::FileOrLink { key, listed, around: around.missing.clone() },
                }
            }
            Claim::ImpliedDirectory { key, first } => {
                around.move_to(&key);
                if around.unknown.is_none() {
                    match self.standing_or_replaceable(&key, around).await {
                        Ok(Some(_)) => {}
                        Err(error) if !is_final(&error) => around.unknown = Some(key),
                        // What is wrong with the path is said of each entry below.
                        Ok(None) | Err(_) => {
                            around.miss(self.default_directory(&key, first.object.last_modified));
                        }
                    }
                }
                Prepared::Done(Done::default())
            }
            Claim::Root => {
                Prepared::Done(Ended::new(&self.options.prefix, Outcome::Skipped).because(Cause::Root, ROOT).into())
            }
            Claim::Refused { key, error } => {
                Prepared::Done(Ended::new(key.as_bytes(), Outcome::Skipped).because(&error, &error).into())
            }
            Claim::Shadowed { key, by, object } => Prepared::Done(self.shadow(&key, &by, &object, around).await),
        }
    }

    async fn work(&self, prepared: Prepared) -> Done {
        match prepared {
            Prepared::Done(done) => done,
            Prepared::FileOrLink { key, listed, around } => {
                self.file_or_link(&key, &listed, &around, Turn::First).await.unwrap_or_else(Done::from)
            }
        }
    }
}

/// Whether something was removed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Removals {
    #[default]
    None,
    One,
}

/// Whether what is gone has been removed by now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Last,
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    // Whatever is in it is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a lookup has told what is there, if only that it is in the way; else another try may tell more.
fn is_final(error: &TreeError) -> bool {
    matches!(error.kind(), TreeErrorKind::Conflict | TreeErrorKind::MountPoint | TreeErrorKind::Reserved)
}

fn below_unknown(key: &Key, directory: &Key) -> Ended {
    let reason = format!(
        "nothing can be put into \"{directory}\", which could not be read or made, or whose object could not be read"
    );
    Ended::new(key, Outcome::Failed).because(Cause::ParentFailed, reason)
}

impl From<Deferred> for Done {
    fn from(deferred: Deferred) -> Self {
        Self { deferred: vec![deferred], ..Self::default() }
    }
}

/// Why an entry that differs was left alone.
const KEPT: &str = "something that differs stands there and is kept";

pub(super) fn decode(
    key: &Key,
    meta: &ObjectMeta,
    profile: &Profile,
    current: Option<&Entry>,
) -> Result<DecodedHead, Refusal> {
    let fields = Fields::from_headers(&meta.headers);
    ObjectHead { key, fields, size: meta.size, last_modified: meta.last_modified }.decode(profile, current)
}

/// Reads the body of a link. Decoding has refused what is longer than a target; what is longer than was said is read no
/// further.
pub(super) async fn link_body(
    body: &mut BoxStream<'_, Result<Bytes, StoreError>>,
    size: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut target = Vec::new();
    while let Some(piece) = body.next().await {
        target.extend_from_slice(&piece?);
        if target.len() as u64 > size {
            break;
        }
    }
    Ok(target)
}

fn reasons_of(head: &DecodedHead) -> Vec<Reason> {
    head.findings.iter().map(|finding| Reason::new(finding, finding)).collect()
}

fn with_shortfalls(mut ended: Ended, applied: &Applied) -> Ended {
    ended.reasons.extend(applied.shortfalls.iter().map(|shortfall| Reason::new(shortfall, shortfall)));
    ended
}

fn refused(key: &Key, refusal: &Refusal) -> Ended {
    Ended::new(key, Outcome::Failed).because(refusal, Chain(refusal))
}

fn store_failure(key: &Key, error: &StoreError) -> Ended {
    match error.kind() {
        StoreErrorKind::NotFound => {
            Ended::new(key, Outcome::Skipped).because(Cause::ObjectNotFound, "it vanished before it was read")
        }
        _ => Ended::new(key, Outcome::Failed).because(error, Chain(error)),
    }
}

fn tree_failure(key: &Key, error: &TreeError) -> Ended {
    let outcome = match error.kind() {
        TreeErrorKind::Conflict => Outcome::Conflict,
        TreeErrorKind::Reserved => Outcome::Skipped,
        _ => Outcome::Failed,
    };
    Ended::new(key, outcome).because(error, Chain(error))
}
