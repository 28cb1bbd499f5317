//! What a link does by itself.

use super::check::Reads;
use super::{DataRepository, RepositoryError};
use crate::engine::automatic::{Fenced, Mark, export_changes, fence};
use crate::engine::events::{Drift, apply_events, sweep};
use crate::engine::report::{EndedEntry, Outcome, Overheard, Progress, Report};
use crate::engine::selection::Selection;
use crate::key::Key;
use crate::repository::{Action, Backlog, Misconfiguration, Overdue, Pending};
use crate::store::ObjectStore;
use crate::tree::Tree;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How much is looked at in one run, in parts of paths: what comes of it is recorded when it ends.
const BATCH: usize = 50_000;

impl<T: Tree, S: ObjectStore> DataRepository<T, S> {
    /// A backlog for the events of the part of the bucket that this link imports.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let linked = self.linked();
        Backlog::new(linked.import_path().bucket(), linked.import_prefix().clone())
    }

    /// Takes over what has happened in the bucket, as far as the link imports it by itself; see [`apply_events`]. Keys are taken
    /// out of the backlog, about 10,000 of usual depth; those whose failure may pass are put back behind the others. A message may be
    /// acknowledged when this has returned, or when the backlog was kept.
    ///
    /// Events that waited for more than 14 days are dropped with all that came after them, and the link is misconfigured.
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Overdue`];
    /// [`RepositoryError::Run`] when it had to stop, and the backlog is as it was.
    pub async fn apply(&self, backlog: &mut Backlog, progress: &dyn Progress) -> Result<Report, RepositoryError> {
        let _turn = self.enter(Action::AutomaticImport).await?;
        if let Err(overdue) = backlog.expire(self.clock.now()) {
            self.change(|state, now| state.broken(Overdue::MISCONFIGURATION, overdue, now)).await?;
            return Err(overdue.into());
        }
        let mut taken = Taken { batch: backlog.take(BATCH), backlog };
        let options = self.import_options(&Selection::all());
        let state = &**self.states.imports();
        // What may yet come to another end.
        let failed = Mutex::new(BTreeSet::<Box<[u8]>>::new());
        let hear = |entry: &EndedEntry<'_>| {
            let may_pass = entry.problems.iter().any(|problem| problem.cause.may_pass());
            if entry.outcome == Outcome::Failed && may_pass {
                // Whatever is in it is whole after every statement.
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.key.into());
            }
        };
        let overheard = Overheard { progress, hear };
        let policy = self.linked().auto_import();
        let ran = apply_events(&self.store, &self.tree, state, &options, policy, &taken.batch, &overheard).await;
        if ran.is_ok() {
            let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
            taken.tried(|key| options.prefix.relative(key).is_none_or(|key| !failed.contains(key.as_bytes())));
        }
        drop(taken);
        self.settle(ran).await
    }

    /// Sends what is ripe of the changes that a feed has told, as far as the link exports it by itself; see
    /// [`export_changes`].
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Run`] when it had to stop, and
    /// what was to be sent waits on.
    pub async fn send(&self, pending: &mut Pending, progress: &dyn Progress) -> Result<Report, RepositoryError> {
        let _turn = self.enter(Action::AutomaticExport).await?;
        let (options, policy) = (self.export_options(&Selection::all()), self.linked().auto_export());
        let (state, now) = (&*self.states.exports, self.clock.now());
        let ran = export_changes(&self.tree, &self.store, state, &options, policy, pending, now, progress).await;
        self.settle(ran).await
    }

    /// Sees to it that everything up to a mark is in the store, or names what is not; see [`fence()`].
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow it; [`RepositoryError::Fence`].
    pub async fn fence(
        &self,
        pending: &mut Pending,
        mark: Mark,
        tries: u32,
        progress: &dyn Progress,
    ) -> Result<Fenced, RepositoryError> {
        let _turn = self.enter(Action::AutomaticExport).await?;
        let (options, policy) = (self.export_options(&Selection::all()), self.linked().auto_export());
        let state = &*self.states.exports;
        let fenced = fence(&self.tree, &self.store, state, &options, policy, pending, mark, tries, progress).await;
        if fenced.is_err() {
            self.follow(Reads::Unproven).await?;
        }
        Ok(fenced?)
    }

    /// Says that events of the bucket were lost, or that it changes in ways of which no event tells. The link is
    /// misconfigured until it is updated; a [`sweep`](Self::sweep) finds what was missed.
    ///
    /// # Errors
    /// [`RepositoryError::Illegal`] in a state that does not go over to that; when it could not be written.
    pub async fn missed_events(&self, why: impl fmt::Display + Send) -> Result<(), RepositoryError> {
        let why = why.to_string();
        self.change(|state, now| state.broken(Misconfiguration::EventsMissed, why, now)).await
    }

    /// Compares the tree, or one path of it, with the bucket, and repairs what no event has told of; see [`sweep()`].
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub async fn sweep(&self, path: Option<&Key>, progress: &dyn Progress) -> Result<Drift, RepositoryError> {
        let _turn = self.enter(Action::Import).await?;
        let options = self.import_options(&Selection::all());
        let ran = sweep(&self.store, &self.tree, &**self.states.imports(), &options, path, progress).await;
        let (ran, repaired) = match ran {
            Ok(Drift { report, repaired }) => (Ok(report), repaired),
            Err(error) => (Err(error), Vec::new()),
        };
        let report = self.settle(ran).await?;
        Ok(Drift { report, repaired })
    }
}

/// Keys that were taken out of a backlog. Whatever is not done goes back, also when the run is dropped.
struct Taken<'b> {
    backlog: &'b mut Backlog,
    batch: Backlog,
}

impl Taken<'_> {
    /// They were all tried, and these are done.
    fn tried(&mut self, is_done: impl Fn(&str) -> bool) {
        let mut tried = self.batch.take(usize::MAX);
        tried.retain(|key| !is_done(key));
        self.backlog.put_back(tried);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let batch = self.batch.take(usize::MAX);
        self.backlog.merge(batch);
    }
}
