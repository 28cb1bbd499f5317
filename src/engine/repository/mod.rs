//! [`DataRepository`], the front door: a tree and a bucket, linked.
//!
//! Whatever is asked of a link goes through here, and is done if the state of the link allows it. What the store answers
//! decides the state: a bucket that is not there, or does not let the link in, makes it misconfigured, and a check that
//! passes makes it available again. State and configuration are kept in the state store of the link, so that a restart finds
//! them.

mod automatic;
mod check;
mod data;
mod kept;
mod linked;
mod tasks;

pub use check::check_link;
pub use kept::{LinkDocument, LinkDocumentError};
pub use linked::Linked;

use self::check::{Checked, Reads, check, is_suspicious};
use self::data::count_released;
use self::tasks::AtWork;
use super::automatic::FenceError;
use super::clock::Clock;
use super::export::{ExportOptions, Imported, export_since, plan_export};
use super::hsm::{ReadError, ReleaseError};
use super::import::{ImportOptions, import_since};
use super::report::{Direction, Outcome, Progress, Report, RunError, RunErrorKind, Silent};
use super::selection::Selection;
use super::session::StateError;
use super::state::{Part, StateStore};
use crate::entry::Chain;
use crate::profile::Profile;
use crate::repository::{
    Action, DeletionRefused, Happening, IllegalTransition, Lifecycle, LinkState, Loss, NotAllowed, Overdue, Queueing,
    TaskRefused, Tasks, Unsent, check_deletion,
};
use crate::store::{ObjectStore, StoreError};
use crate::timestamp::Timestamp;
use crate::tree::{Tree, TreeError, UnseenUsers};
use futures_util::future::{BoxFuture, Shared};
use futures_util::lock::Mutex as Turn;
use futures_util::{FutureExt, TryFutureExt};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// A tree and a part of a bucket, linked: the front door of the engine.
///
/// - What the state of the link does not allow is refused; see [`Lifecycle::allows`].
/// - One run is at work at a time; another one waits for it. The state can be asked for meanwhile.
/// - A change of state is on the disk before anything that depends on it is begun.
///
/// ```
/// use posix_s3::engine::{
///     DataRepository, FirstImport, Linked, MemoryState, RepositoryOptions, Selection, Silent, States, SystemClock,
/// };
/// use posix_s3::repository::{CreateFileSystemLustreConfiguration, Lifecycle, Link};
/// use posix_s3::{Profile, Timestamp, store::MemoryStore, tree::MemoryTree};
/// use std::sync::Arc;
///
/// # futures_executor::block_on(async {
/// let request: CreateFileSystemLustreConfiguration =
///     serde_json::from_str(r#"{"ImportPath": "s3://bucket", "ExportPath": "s3://bucket"}"#)?;
/// let linked = Linked::from(Link::new(&request, Timestamp::EPOCH)?);
/// let repository = DataRepository::create(
///     MemoryTree::new(),
///     MemoryStore::new(),
///     States::one(Arc::new(MemoryState::new())),
///     linked,
///     RepositoryOptions::new(Profile::fsx(), "bucket"),
///     Arc::new(SystemClock),
///     FirstImport::None,
/// )
/// .await?;
/// assert_eq!(repository.state().lifecycle(), Lifecycle::Creating);
/// assert_eq!(repository.check(&Silent).await?.state.lifecycle(), Lifecycle::Available);
/// let report = repository.export(&Selection::all(), &Silent).await?;
/// assert_eq!(report.entries, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct DataRepository<T, S> {
    tree: T,
    store: S,
    states: States,
    options: RepositoryOptions,
    clock: Arc<dyn Clock>,
    kept: Mutex<LinkDocument>,
    /// Held by the run that is at work.
    turn: Turn<()>,
    at_work: Mutex<Option<AtWork>>,
    /// Held by the change that is being kept, with the save itself.
    saving: Turn<Option<Save>>,
}

/// A document on its way to the disk.
type Save = Shared<BoxFuture<'static, Result<(), Arc<std::io::Error>>>>;

impl<T, S> fmt::Debug for DataRepository<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataRepository").field("kept", &*self.kept()).finish_non_exhaustive()
    }
}

/// Where a link keeps what both sides last agreed on.
#[derive(Clone)]
pub struct States {
    exports: Arc<dyn StateStore>,
    imports: Option<Arc<dyn StateStore>>,
}

impl States {
    /// One for both ways: of a link that imports from and exports to the same part of a bucket.
    #[must_use]
    pub fn one(state: Arc<dyn StateStore>) -> Self {
        Self { exports: state, imports: None }
    }

    /// One for each way: of a link whose exports go somewhere else than its imports come from. The link itself is kept
    /// with that of the exports.
    #[must_use]
    pub fn apart(exports: Arc<dyn StateStore>, imports: Arc<dyn StateStore>) -> Self {
        Self { exports, imports: Some(imports) }
    }

    fn imports(&self) -> &Arc<dyn StateStore> {
        self.imports.as_ref().unwrap_or(&self.exports)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("apart", &self.imports.is_some()).finish_non_exhaustive()
    }
}

/// What a link may do in its bucket, as far as it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Access {
    /// List, read and put objects.
    #[default]
    ReadWrite,
    /// List and read them. Whatever is exported fails.
    ReadOnly,
}

/// How a link does its work. The parts of the bucket, and what of the tree is meant, are set by the link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepositoryOptions {
    /// How it imports.
    pub import: ImportOptions,
    /// How it exports.
    pub export: ExportOptions,
    /// What it may do.
    pub access: Access,
    /// The file system, as the API calls it; empty where it has no such name.
    pub file_system_id: Box<str>,
    /// Whether a task may wait for another one.
    pub queueing: Queueing,
    /// What a release does where processes run that cannot be looked into; see [`ReleaseOptions`](crate::engine::ReleaseOptions).
    pub unseen_users: UnseenUsers,
}

impl RepositoryOptions {
    /// By the rules of a profile. `bucket` is any text that is the same in every run and differs from bucket to bucket, such
    /// as endpoint and name.
    #[must_use]
    pub fn new(profile: Profile, bucket: &str) -> Self {
        Self {
            import: ImportOptions::new(profile.clone()).with_bucket(bucket),
            export: ExportOptions::new(profile).with_bucket(bucket),
            access: Access::default(),
            file_system_id: "".into(),
            queueing: Queueing::default(),
            unseen_users: UnseenUsers::default(),
        }
    }

    /// What a release does where processes run that cannot be looked into.
    #[must_use]
    pub const fn with_unseen_users(mut self, unseen: UnseenUsers) -> Self {
        self.unseen_users = unseen;
        self
    }

    /// What the file system is called.
    #[must_use]
    pub fn with_file_system_id(mut self, file_system_id: &str) -> Self {
        self.file_system_id = file_system_id.into();
        self
    }

    /// What it may do.
    #[must_use]
    pub const fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

/// What is imported before a new link is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FirstImport {
    /// Nothing.
    None,
    /// Everything that [`RepositoryOptions::import`] says.
    All,
}

/// What came of a [`check`](DataRepository::check).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checkup {
    /// The state after it.
    pub state: LinkState,
    /// The report of the first import, if it was made now.
    pub first_import: Option<Report>,
}

/// Something that was asked of a link and not done, or not to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The state of the link does not allow it.
    #[error("the link does not do that now")]
    NotAllowed(#[from] NotAllowed),
    /// The state of the link does not go over to that.
    #[error("the state of the link stays")]
    Illegal(#[from] IllegalTransition),
    /// The run had to stop.
    #[error("the run had to stop")]
    Run(#[from] RunError),
    /// The document of the link.
    #[error("the link cannot be used")]
    Document(#[from] LinkDocumentError),
    /// It could not be found out whether the bucket lets the link in. The state is as it was.
    #[error("the bucket could not be looked at")]
    Store(#[from] StoreError),
    /// The tree could not be asked.
    #[error("the tree failed")]
    Tree(#[from] TreeError),
    /// The state could not be written.
    #[error("the state of the link failed")]
    State(#[from] StateError),
    /// Imports and exports of the link are about different parts of the bucket, and there is one state for both.
    #[error("expected a state for imports from \"{import}\" and another for exports to \"{export}\", found one", import = crate::escape(.import.as_bytes()), export = crate::escape(.export.as_bytes()))]
    StatesShared {
        /// Where imports come from.
        import: Box<str>,
        /// Where exports go to.
        export: Box<str>,
    },
    /// The tree is not the one that was linked.
    #[error("the directory is another one than was linked")]
    OtherDirectory,
    /// The data of files is in the bucket alone.
    #[error("{files} files have their data in the bucket alone: restore them first")]
    Released {
        /// How many.
        files: u64,
    },
    /// A link keeps its paths: another place is another link.
    #[error("the paths of a link do not change: delete it and make another one")]
    PathsChanged,
    /// The data of a file could not be had.
    #[error("the file cannot be read")]
    Read(#[from] ReadError),
    /// A release had to stop.
    #[error("the release had to stop")]
    Release(#[from] ReleaseError),
    /// The state of a file could not be told.
    #[error("the file could not be looked at")]
    Hsm(#[source] RunErrorKind),
    /// Not everything is in the store.
    #[error("the fence does not stand")]
    Fence(#[from] FenceError),
    /// Events had waited for too long and were dropped. The link is misconfigured until it is updated, and an import has to
    /// follow.
    #[error("the tree has not what the bucket has any more")]
    Overdue(#[from] Overdue),
    /// The task is refused.
    #[error("the task is refused")]
    Task(#[from] TaskRefused),
    /// Something would be lost with the link.
    #[error("the link stays")]
    Deletion(#[from] DeletionRefused),
}

impl<T: Tree, S: ObjectStore> DataRepository<T, S> {
    /// Makes a link: it is CREATING, and kept. Nothing is asked of the store: [`check`](Self::check) looks at it, imports
    /// what is to be imported first, and makes the link available.
    ///
    /// # Errors
    /// When there is a link in the state already, or the state does not fit: nothing is kept then.
    pub async fn create(
        tree: T,
        store: S,
        states: States,
        linked: Linked,
        options: RepositoryOptions,
        clock: Arc<dyn Clock>,
        first: FirstImport,
    ) -> Result<Self, RepositoryError> {
        check_states(&linked, &states)?;
        if LinkDocument::exists(&*states.exports)? {
            return Err(LinkDocumentError::Exists.into());
        }
        let kept = LinkDocument::new(linked, LinkState::creating(clock.now()), first, tree.identity()?)
            .with_tasks(Tasks::new(&options.file_system_id).with_queueing(options.queueing));
        let repository = Self::of(tree, store, states, options, clock, kept);
        repository.commit(|_| Ok::<_, RepositoryError>(())).await?;
        Ok(repository)
    }

    /// Opens a link that was made before, in the state in which it was left. Nothing is asked of the store; a
    /// [`check`](Self::check) goes on with what was begun.
    ///
    /// # Errors
    /// When there is no link in the state or it cannot be read; [`RepositoryError::OtherDirectory`] when the tree is not the
    /// one that was linked, such as a mount point on which nothing is mounted. Nothing has changed then; see
    /// [`abandon`](Self::abandon).
    pub async fn open(
        tree: T,
        store: S,
        states: States,
        options: RepositoryOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RepositoryError> {
        let mut kept = LinkDocument::load(&*states.exports)?;
        check_states(&kept.linked, &states)?;
        if kept.root != tree.identity()? {
            return Err(RepositoryError::OtherDirectory);
        }
        let now = clock.now();
        kept.tasks.restart(now);
        kept.tasks.expire(now);
        Ok(Self::of(tree, store, states, options, clock, kept))
    }

    /// Gives up a link whose directory is not there any more: it is FAILED from then on. What it kept of both sides stays,
    /// and so does the link, until it is deleted: open it then with the directory that is there now.
    ///
    /// # Errors
    /// When there is no link in the state, or it cannot be read or written.
    pub async fn abandon(tree: &T, states: &States, clock: &dyn Clock) -> Result<(), RepositoryError> {
        let mut kept = LinkDocument::load(&*states.exports)?;
        kept.state.lost("the linked directory is not there any more", clock.now())?;
        kept.root = tree.identity()?;
        kept.begin_save(&*states.exports)?.await.map_err(|error| LinkDocumentError::Save(Arc::new(error)))?;
        Ok(())
    }

    fn of(
        tree: T,
        store: S,
        states: States,
        options: RepositoryOptions,
        clock: Arc<dyn Clock>,
        kept: LinkDocument,
    ) -> Self {
        let (kept, turn, at_work, saving) = (Mutex::new(kept), Turn::default(), Mutex::default(), Turn::default());
        Self { tree, store, states, options, clock, kept, turn, at_work, saving }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.kept().state.clone()
    }

    /// What is linked, and how.
    #[must_use]
    pub fn linked(&self) -> Linked {
        self.kept().linked.clone()
    }

    /// The tree.
    #[must_use]
    pub const fn tree(&self) -> &T {
        &self.tree
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Looks whether the bucket lets the link do what it is for: whether it can be listed, objects can be read and, unless
    /// [`Access::ReadOnly`] says otherwise, put. The state follows. What was begun is gone on with: a link that is CREATING
    /// imports what is to be imported first, and that and one that is UPDATING is AVAILABLE then.
    ///
    /// A link that is not available does this every [`LinkState::RECHECK`] seconds; see [`LinkState::is_due`].
    ///
    /// # Errors
    /// [`RepositoryError::Store`] when that could not be found out, and the state is as it was; [`RepositoryError::Run`] when
    /// the first import had to stop; when the state could not be written.
    pub async fn check(&self, progress: &dyn Progress) -> Result<Checkup, RepositoryError> {
        let _turn = self.turn.lock().await;
        let first_import = self.check_now(Reads::Unproven, progress).await?;
        Ok(Checkup { state: self.state(), first_import })
    }

    async fn check_now(&self, reads: Reads, progress: &dyn Progress) -> Result<Option<Report>, RepositoryError> {
        let lifecycle = self.state().lifecycle();
        match self.look(reads).await {
            Checked::Broken(cause, error) if lifecycle.after(Happening::Broken).is_ok() => {
                self.change(|state, now| state.broken(cause, Chain(&error), now)).await?;
                Ok(None)
            }
            Checked::Sound => {
                let happening = match lifecycle {
                    Lifecycle::Creating | Lifecycle::Updating => LinkState::built,
                    Lifecycle::Misconfigured => LinkState::corrected,
                    Lifecycle::Available | Lifecycle::Deleting | Lifecycle::Failed => return Ok(None),
                };
                let first = self.import_first(progress).await?;
                self.commit(|kept| {
                    kept.first = FirstImport::None;
                    happening(&mut kept.state, self.clock.now())
                })
                .await?;
                Ok(first)
            }
            Checked::Broken(..) => Ok(None),
            Checked::Unknown(error) => {
                // On the disk it may stay as it is: after a restart it is looked at once more.
                self.kept().state.tried(self.clock.now());
                Err(error.into())
            }
        }
    }

    /// Imports what is to be imported before the link is available for the first time.
    async fn import_first(&self, progress: &dyn Progress) -> Result<Option<Report>, RepositoryError> {
        if self.kept().first == FirstImport::None {
            return Ok(None);
        }
        let options = self.import_options(&Selection::all());
        Ok(Some(import_since(&self.store, &self.tree, &**self.states.imports(), &options, progress).await?))
    }

    async fn look(&self, reads: Reads) -> Checked {
        let linked = self.linked();
        check(&self.store, &linked, self.options.access, reads).await
    }

    /// Imports what was created or changed in the bucket since the last import.
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Run`] when it had to stop, as
    /// [`import_since`].
    pub async fn import(&self, selection: &Selection, progress: &dyn Progress) -> Result<Report, RepositoryError> {
        let _turn = self.enter(Action::Import).await?;
        let options = self.import_options(selection);
        let ran = import_since(&self.store, &self.tree, &**self.states.imports(), &options, progress).await;
        self.settle(ran).await
    }

    /// Exports what was created or changed in the tree since the last export, or since the link was made.
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Run`] when it had to stop, as
    /// [`export_since`].
    pub async fn export(&self, selection: &Selection, progress: &dyn Progress) -> Result<Report, RepositoryError> {
        let _turn = self.enter(Action::Export).await?;
        let options = self.export_options(selection);
        let ran = export_since(&self.tree, &self.store, &*self.states.exports, &options, progress).await;
        self.settle(ran).await
    }

    /// What is in the tree and not in the bucket, or not as it is in the tree; also what can never be exported, such as a
    /// file whose name is not UTF-8, but not devices, pipes and sockets. What is gone from the tree counts if the exports of
    /// the link delete.
    ///
    /// # Errors
    /// When the tree or the state could not be read.
    pub async fn unsent(&self) -> Result<Unsent, RepositoryError> {
        let _turn = self.turn.lock().await;
        self.count_unsent().await
    }

    async fn count_unsent(&self) -> Result<Unsent, RepositoryError> {
        let options = self.export_options(&Selection::all());
        let state: &dyn StateStore = &*self.states.exports;
        let planned = plan_export(&self.tree, &self.store, Some(state), &options, |_| {}).await?;
        // What can never be exported is in the tree alone as well, but for what is not meant to be.
        let never = planned
            .problems
            .iter()
            .filter(|problem| problem.outcome == Outcome::Skipped && crate::engine::task::is_failure(problem.cause));
        let Report { written, metadata_only, failed, conflicts, deleted, problems_omitted, .. } = planned;
        let unlisted = [written, metadata_only, failed, conflicts, deleted, problems_omitted];
        let changes = unlisted.iter().fold(never.count() as u64, |sum, count| sum.saturating_add(*count));
        Ok(Unsent::Known { changes, oldest: None })
    }

    /// Changes how the link works: what it imports and exports by itself. It is UPDATING while that is under way, and
    /// AVAILABLE again when a check passes. This is also what makes a link available again that has missed events; an import
    /// has to follow.
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::PathsChanged`]. As
    /// [`check`](Self::check), which then goes on with the update.
    pub async fn update(&self, linked: Linked) -> Result<LinkState, RepositoryError> {
        let _turn = self.enter(Action::Update).await?;
        self.commit(|kept| {
            if !kept.linked.is_of_the_same_place(&linked) {
                return Err(RepositoryError::PathsChanged);
            }
            kept.state.update(self.clock.now())?;
            kept.linked = linked;
            Ok(())
        })
        .await?;
        self.check_now(Reads::Unproven, &Silent).await?;
        Ok(self.state())
    }

    /// Deletes the link. Tree and bucket keep what they have: what is not in the bucket then is in the tree alone, and what was
    /// released is in the bucket alone, with placeholders that nobody fetches the data of. Unless that is accepted, the link
    /// stays as long as there is either.
    ///
    /// A deletion that was cut short is gone on with by deleting once more.
    ///
    /// # Errors
    /// [`RepositoryError::Deletion`], and the link stays; when the state could not be removed, and the link is DELETING.
    pub async fn delete(self, loss: Loss) -> Result<(), (Self, RepositoryError)> {
        match self.try_delete(loss).await {
            Ok(()) => Ok(()),
            Err(error) => Err((self, error)),
        }
    }

    async fn try_delete(&self, loss: Loss) -> Result<(), RepositoryError> {
        let _turn = self.turn.lock().await;
        if self.state().lifecycle() != Lifecycle::Deleting {
            // Where it may be lost, it need not be known.
            let unsent = match loss {
                Loss::Refused => self.count_unsent().await?,
                Loss::Accepted => Unsent::Unknown,
            };
            if loss == Loss::Refused {
                let files = count_released(&self.tree).await?;
                if files > 0 {
                    return Err(RepositoryError::Released { files });
                }
            }
            self.commit(|kept| {
                // Whatever is at work has this turn; a task that is said to be was dropped.
                kept.tasks.restart(self.clock.now());
                let tasks = kept.tasks.iter().map(|task| (task.task_id.as_str(), task.lifecycle.name()));
                check_deletion(kept.linked.name(), tasks, unsent, loss)?;
                Ok::<_, RepositoryError>(kept.state.delete(self.clock.now())?)
            })
            .await?;
        }
        // The link goes last: as long as it is there, the deletion is gone on with.
        for state in self.states.imports.iter().chain([&self.states.exports]) {
            for part in [Part::Journal, Part::Next, Part::Previous, Part::Snapshot] {
                state.remove(part).map_err(StateError::from)?;
            }
        }
        Ok(self.states.exports.remove(Part::Link).map_err(StateError::from)?)
    }

    /// Waits for its turn, if the state allows it.
    async fn enter(&self, action: Action) -> Result<futures_util::lock::MutexGuard<'_, ()>, NotAllowed> {
        let turn = self.turn.lock().await;
        self.kept().state.permit(action)?;
        Ok(turn)
    }

    /// Draws the conclusions from what became of a run.
    async fn settle(&self, ran: Result<Report, RunError>) -> Result<Report, RepositoryError> {
        if is_suspicious(ran.as_ref().map_err(RunError::kind)) {
            let report = ran.as_ref().unwrap_or_else(RunError::report);
            let reads =
                report.direction == Direction::Import && report.written.saturating_add(report.metadata_only) > 0;
            self.follow(if reads { Reads::Proven } else { Reads::Unproven }).await?;
        }
        Ok(ran?)
    }

    /// Looks at the store, and has the state follow. What could not be found out is no reason to keep back what became of a
    /// run.
    async fn follow(&self, reads: Reads) -> Result<(), RepositoryError> {
        match self.check_now(reads, &Silent).await {
            Err(RepositoryError::Store(_) | RepositoryError::Run(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes the state, and keeps it.
    async fn change(
        &self,
        change: impl FnOnce(&mut LinkState, Timestamp) -> Result<(), IllegalTransition>,
    ) -> Result<(), RepositoryError> {
        self.commit(|kept| change(&mut kept.state, self.clock.now())).await
    }

    /// Changes what is kept: on the disk, and then here. One change comes after the other, whoever makes it.
    async fn commit<R, E>(&self, edit: impl FnOnce(&mut LinkDocument) -> Result<R, E>) -> Result<R, RepositoryError>
    where
        RepositoryError: From<E>,
    {
        let mut saving = self.saving.lock().await;
        // A save that was dropped goes on by itself, and what comes after it waits until it has ended.
        if let Some(before) = saving.take() {
            let _ = before.await;
        }
        let mut next = self.kept().clone();
        let answer = edit(&mut next)?;
        let save = next.begin_save(&*self.states.exports)?.map_err(Arc::new).boxed().shared();
        *saving = Some(save.clone());
        let saved = save.await;
        *saving = None;
        saved.map_err(LinkDocumentError::Save)?;
        *self.kept() = next;
        Ok(answer)
    }

    fn import_options(&self, selection: &Selection) -> ImportOptions {
        let prefix = self.kept().linked.import_prefix().clone();
        self.options.import.clone().with_prefix(prefix).with_selection(selection.clone())
    }

    fn export_options(&self, selection: &Selection) -> ExportOptions {
        let linked = self.linked();
        let options = self.options.export.clone().with_prefix(linked.export_prefix().clone());
        let options = options.with_selection(selection.clone());
        match &self.states.imports {
            Some(imports) => options.with_imported(Imported::new(imports.clone(), linked.import_prefix().clone())),
            None => options,
        }
    }
}

impl<T, S> DataRepository<T, S> {
    fn kept(&self) -> MutexGuard<'_, LinkDocument> {
        // Whatever is in it is whole after every statement.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_states(linked: &Linked, states: &States) -> Result<(), RepositoryError> {
    let (import, export) = (linked.import_prefix(), linked.export_prefix());
    if import != export && states.imports.is_none() {
        let text = |prefix: &crate::key::Prefix| prefix.as_str().into();
        return Err(RepositoryError::StatesShared { import: text(import), export: text(export) });
    }
    Ok(())
}
