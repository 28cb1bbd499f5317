//! Where the data of the files of a link is.

use super::{DataRepository, RepositoryError};
use crate::engine::hsm::{
    DataOptions, ReadError, ReleaseMode, ReleaseOptions, ReleaseReport, hsm_state, read, release, restore,
};
use crate::engine::report::{EndedEntry, Outcome, Progress, Report, RunErrorKind};
use crate::engine::selection::Selection;
use crate::engine::task::{ReleaseRequest, Released, Releaser};
use crate::hsm::HsmState;
use crate::key::Key;
use crate::repository::Action;
use crate::store::ObjectStore;
use crate::timestamp::Timestamp;
use crate::tree::{OpenFile, Tree};
use futures_util::future::BoxFuture;
use std::sync::Arc;

impl<T: Tree, S: ObjectStore> DataRepository<T, S> {
    /// Fetches the data of every selected file that is in the store alone; see [`restore()`].
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Run`] when it had to stop.
    pub async fn restore(&self, selection: &Selection, progress: &dyn Progress) -> Result<Report, RepositoryError> {
        let _turn = self.enter(Action::Restore).await?;
        let options = self.data_options(selection);
        let state = Some(&*self.states.exports);
        let ran = restore(&self.tree, &self.store, state, &options, progress).await;
        self.settle(ran).await
    }

    /// Opens a file to be read, with its data: if that is in the store alone, it is fetched first.
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Read`].
    pub async fn read(&self, key: &Key) -> Result<Arc<dyn OpenFile>, RepositoryError> {
        let _turn = self.enter(Action::Restore).await?;
        let options = self.data_options(&Selection::all());
        match read(&self.tree, &self.store, Some(&*self.states.exports), &options, key).await {
            Ok(file) => Ok(file),
            Err(error) => {
                if matches!(error, ReadError::Unavailable { .. }) {
                    self.follow().await?;
                }
                Err(error.into())
            }
        }
    }

    /// Gives back the space of selected files that are in the store exactly as they are here, and were not used for more than
    /// so many days; see [`release()`].
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Release`] when it had to stop.
    pub async fn release(
        &self,
        selection: &Selection,
        minimum_days: u64,
        mode: ReleaseMode,
        progress: &dyn Progress,
    ) -> Result<ReleaseReport, RepositoryError> {
        let _turn = self.enter(Action::Release).await?;
        let now = self.clock.now();
        self.release_now(selection, minimum_days, mode, now, progress).await.map_err(RepositoryError::Release)
    }

    /// What is in the store by an export, and what by an import, is known to different states where these go to different
    /// parts of the bucket.
    async fn release_now(
        &self,
        selection: &Selection,
        minimum_days: u64,
        mode: ReleaseMode,
        now: Timestamp,
        progress: &dyn Progress,
    ) -> Result<ReleaseReport, RunErrorKind> {
        let unseen = self.options.unseen_users;
        let options =
            |data| ReleaseOptions::new(data).with_minimum_days(minimum_days).with_mode(mode).with_unseen_users(unseen);
        let mut by_import = ReleaseReport::default();
        if let Some(state) = &self.states.imports {
            let prefix = self.kept().linked.import_prefix().clone();
            let options = options(self.data_options(selection).with_prefix(prefix));
            by_import = release(&self.tree, &self.store, &**state, &options, now, &OfReleased(progress)).await?;
        }
        let options = options(self.data_options(selection));
        let mut report = release(&self.tree, &self.store, &*self.states.exports, &options, now, progress).await?;
        report.add_earlier(&by_import, mode);
        Ok(report)
    }

    /// The state of a file as Lustre would show it; see [`hsm_state()`].
    ///
    /// # Errors
    /// [`RepositoryError::Release`] when the file cannot be opened, or the state fails.
    pub async fn hsm_state(&self, key: &Key) -> Result<HsmState, RepositoryError> {
        let _turn = self.turn.lock().await;
        let options = self.data_options(&Selection::all());
        if let Some(state) = &self.states.imports {
            let prefix = self.kept().linked.import_prefix().clone();
            let options = options.clone().with_prefix(prefix);
            let found = hsm_state(&self.tree, &**state, &options, key).await.map_err(RepositoryError::Release)?;
            if found == HsmState::SYNCED || found == HsmState::ON_DEMAND {
                return Ok(found);
            }
        }
        hsm_state(&self.tree, &*self.states.exports, &options, key).await.map_err(RepositoryError::Release)
    }

    fn data_options(&self, selection: &Selection) -> DataOptions {
        let linked = self.linked();
        let export = &self.options.export;
        let options = DataOptions::new(export.profile.clone())
            .with_prefix(linked.export_prefix().clone())
            .with_jobs(export.jobs)
            .with_selection(selection.clone())
            .with_bucket(&export.bucket);
        match &self.states.imports {
            Some(_) => options.with_imports(linked.import_prefix().clone()),
            None => options,
        }
    }
}

/// Releases what a task asks for.
pub(super) struct OfTask<'r, T, S>(pub(super) &'r DataRepository<T, S>);

impl<T: Tree, S: ObjectStore> Releaser for OfTask<'_, T, S> {
    fn release<'a>(&'a self, request: ReleaseRequest<'a>) -> BoxFuture<'a, Released> {
        Box::pin(async move {
            let ReleaseRequest { selection, configuration, creation_time, progress, .. } = request;
            let days = configuration.duration_since_last_access.map_or(0, |duration| duration.value);
            let released = self.0.release_now(&selection, days, ReleaseMode::Release, creation_time, progress).await;
            match released {
                Ok(report) => Released { bytes: report.bytes, ended: Ok(()) },
                Err(error) => Released { bytes: 0, ended: Err(error) },
            }
        })
    }
}

/// Tells of what is released, and leaves the rest to whoever comes after.
struct OfReleased<'p>(&'p dyn Progress);

impl Progress for OfReleased<'_> {
    fn ended(&self, key: &str, outcome: Outcome) {
        if outcome == Outcome::MetadataOnly {
            self.0.ended(key, outcome);
        }
    }

    fn entry(&self, entry: &EndedEntry<'_>) {
        if entry.outcome == Outcome::MetadataOnly {
            self.0.entry(entry);
        }
    }
}
