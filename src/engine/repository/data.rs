//! Where the data of the files of a link is.

use super::check::Reads;
use super::{DataRepository, RepositoryError};
use crate::engine::cancel::Cancel;
use crate::engine::hsm::{
    DataOptions, KeptCause, ReadError, ReleaseError, ReleaseMode, ReleaseOptions, ReleaseReport, hsm_state, read,
    release, restore,
};
use crate::engine::report::{EndedEntry, Outcome, Progress, Report};
use crate::engine::selection::Selection;
use crate::engine::task::{ReleaseRequest, Released, Releaser};
use crate::engine::walk::walk;
use crate::hsm::HsmState;
use crate::key::Key;
use crate::mode::FileType;
use crate::repository::Action;
use crate::store::ObjectStore;
use crate::timestamp::Timestamp;
use crate::tree::{OpenFile, Residence, Tree, TreeError, Walked};
use futures_util::StreamExt;
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
        self.kept().state.permit(Action::Restore)?;
        // What is here need not wait for whoever is at work.
        let file = self.tree.open(key).await?;
        if matches!(file.residence(), Residence::Here) {
            return Ok(file);
        }
        drop(file);
        let _turn = self.enter(Action::Restore).await?;
        let options = self.data_options(&Selection::all());
        match read(&self.tree, &self.store, Some(&*self.states.exports), &options, key).await {
            Ok(file) => Ok(file),
            Err(error) => {
                if matches!(error, ReadError::Unavailable { .. }) {
                    self.follow(Reads::Unproven).await?;
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
        let (now, cancel) = (self.clock.now(), Cancel::default());
        let released = self.release_now(selection, minimum_days, mode, now, &cancel, progress).await;
        let refused = |cause| matches!(cause, KeptCause::StoreFailed | KeptCause::StoreDenied);
        if released.as_ref().is_ok_and(|report| report.reasons.iter().any(|kept| refused(kept.cause))) {
            self.follow(Reads::Unproven).await?;
        }
        Ok(released?)
    }

    /// What is in the store by an export, and what by an import, is known to different states where these go to different
    /// parts of the bucket.
    async fn release_now(
        &self,
        selection: &Selection,
        minimum_days: u64,
        mode: ReleaseMode,
        now: Timestamp,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<ReleaseReport, ReleaseError> {
        let unseen = self.options.unseen_users;
        let options =
            |data| ReleaseOptions::new(data).with_minimum_days(minimum_days).with_mode(mode).with_unseen_users(unseen);
        let mut by_import = ReleaseReport::default();
        if let Some(state) = &self.states.imports {
            let prefix = self.kept().linked.import_prefix().clone();
            let options = options(self.data_options(selection).with_prefix(prefix).with_cancel(cancel));
            by_import = release(&self.tree, &self.store, &**state, &options, now, &OfReleased(progress)).await?;
        }
        let options = options(self.data_options(selection).with_cancel(cancel));
        match release(&self.tree, &self.store, &*self.states.exports, &options, now, progress).await {
            Ok(mut report) => {
                report.add_earlier(&by_import, mode);
                Ok(report)
            }
            Err(mut error) => {
                error.report.add_earlier(&by_import, mode);
                Err(error)
            }
        }
    }

    /// The state of a file as Lustre would show it; see [`hsm_state()`].
    ///
    /// # Errors
    /// [`RepositoryError::Hsm`] when the file cannot be opened, or the state fails.
    pub async fn hsm_state(&self, key: &Key) -> Result<HsmState, RepositoryError> {
        let _turn = self.turn.lock().await;
        let options = self.data_options(&Selection::all());
        if let Some(state) = &self.states.imports {
            let prefix = self.kept().linked.import_prefix().clone();
            let options = options.clone().with_prefix(prefix);
            let found = hsm_state(&self.tree, &**state, &options, key).await.map_err(RepositoryError::Hsm)?;
            if found == HsmState::SYNCED || found == HsmState::ON_DEMAND {
                return Ok(found);
            }
        }
        hsm_state(&self.tree, &*self.states.exports, &options, key).await.map_err(RepositoryError::Hsm)
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

/// How many files of a tree have their data in the store alone.
pub(super) async fn count_released<T: Tree>(tree: &T) -> Result<u64, TreeError> {
    let mut files: u64 = 0;
    if tree.may_have_placeholders()? {
        let mut walked = walk(tree);
        while let Some(step) = walked.next().await {
            let Walked::Found(found) = step else { continue };
            if found.entry.file_type() == FileType::File
                && let Ok(file) = tree.open(found.entry.key()).await
                && !matches!(file.residence(), Residence::Here)
            {
                files = files.saturating_add(1);
            }
        }
    }
    Ok(files)
}

/// Releases what a task asks for.
pub(super) struct OfTask<'r, T, S>(pub(super) &'r DataRepository<T, S>);

impl<T: Tree, S: ObjectStore> Releaser for OfTask<'_, T, S> {
    fn release<'a>(&'a self, request: ReleaseRequest<'a>) -> BoxFuture<'a, Released> {
        Box::pin(async move {
            let ReleaseRequest { selection, configuration, creation_time, progress, cancel } = request;
            let days = configuration.days();
            let mode = ReleaseMode::Release;
            match self.0.release_now(&selection, days, mode, creation_time, cancel, progress).await {
                Ok(report) => Released { bytes: report.bytes, ended: Ok(()) },
                Err(ReleaseError { kind, report }) => Released { bytes: report.bytes, ended: Err(kind) },
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
