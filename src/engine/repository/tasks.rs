//! The tasks of a link.

use super::check::{Reads, is_suspicious};
use super::data::OfTask;
use super::{DataRepository, RepositoryError};
use crate::engine::cancel::Cancel;
use crate::engine::report::Progress;
use crate::engine::selection::Selection;
use crate::engine::task::{TaskOptions, TaskOutcome, TaskRun};
use crate::repository::{Action, CreateTask, Task, TaskId, TaskLifecycle, TaskType, Tasks};
use crate::store::ObjectStore;
use crate::tree::Tree;
use std::sync::{MutexGuard, PoisonError};

/// The task that is at work, and what tells it to come to an end.
#[derive(Debug)]
pub(super) struct AtWork {
    id: TaskId,
    cancel: Cancel,
}

impl<T: Tree, S: ObjectStore> DataRepository<T, S> {
    /// The tasks of the last 14 days, and those that have not ended.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        let mut tasks = self.kept().tasks.clone();
        tasks.expire(self.clock.now());
        tasks
    }

    /// Takes a request for a task: `CreateDataRepositoryTask` of the API. It waits until [`run_task`](Self::run_task).
    ///
    /// # Errors
    /// [`RepositoryError::NotAllowed`] in a state that does not allow what it does; [`RepositoryError::Task`] when it is
    /// refused.
    pub async fn create_task(&self, request: &CreateTask, id: TaskId) -> Result<Task, RepositoryError> {
        self.commit(|kept| {
            kept.state.permit(action(request.r#type))?;
            let (automatic, now) = (kept.linked.auto_export(), self.clock.now());
            kept.tasks.expire(now);
            let task = kept.tasks.create(request, id, automatic, now)?;
            Ok::<_, RepositoryError>(task.clone())
        })
        .await
    }

    /// Cancels a task: `CancelDataRepositoryTask` of the API. What is in process is finished, and nothing is undone.
    ///
    /// # Errors
    /// [`RepositoryError::Task`] when there is none, or it has ended.
    pub async fn cancel_task(&self, id: &TaskId) -> Result<TaskLifecycle, RepositoryError> {
        // Whoever has no task at work while nobody else has the turn had one whose future was dropped.
        let turn = self.turn.try_lock();
        self.commit(|kept| {
            if turn.is_some() {
                kept.tasks.restart(self.clock.now());
            }
            let lifecycle = kept.tasks.cancel(id, self.clock.now())?;
            if let Some(at_work) = self.at_work().as_ref().filter(|at_work| at_work.id == *id) {
                at_work.cancel.cancel();
            }
            Ok::<_, RepositoryError>(lifecycle)
        })
        .await
    }

    /// Works on the task that is next, if one waits. Its numbers can be asked for meanwhile, from [`tasks`](Self::tasks).
    ///
    /// # Errors
    /// When the state could not be written. What the task could not do is in what came of it.
    pub async fn run_task(&self, progress: &dyn Progress) -> Result<Option<(Task, TaskOutcome)>, RepositoryError> {
        let _turn = self.turn.lock().await;
        let cancel = Cancel::default();
        let started = self.commit(|kept| {
            let now = self.clock.now();
            // Whatever is at work has this turn; a task that is said to be was dropped.
            kept.tasks.restart(now);
            kept.tasks.expire(now);
            let task = kept.tasks.start_next(now);
            *self.at_work() = task.as_ref().map(|task| AtWork { id: task.task_id.clone(), cancel: cancel.clone() });
            Ok::<_, RepositoryError>(task.map(|task| {
                let permitted = kept.state.permit(action(task.r#type));
                (task, permitted)
            }))
        });
        let Some((task, permitted)) = started.await? else { return Ok(None) };
        let outcome = match permitted {
            Ok(()) => self.work_on(&task, &cancel, progress).await,
            Err(refused) => TaskOutcome::refused(&refused),
        };
        let ended = self.commit(|kept| {
            *self.at_work() = None;
            let ended = kept.tasks.end(&task.task_id, outcome.end.clone(), self.clock.now())?;
            Ok::<_, RepositoryError>(ended.clone())
        });
        let ended = ended.await?;
        if outcome.report.as_ref().is_some_and(|report| is_suspicious(Ok(report))) || outcome.end.failure.is_some() {
            self.follow(Reads::Unproven).await?;
        }
        Ok(Some((ended, outcome)))
    }

    async fn work_on(&self, task: &Task, cancel: &Cancel, progress: &dyn Progress) -> TaskOutcome {
        let linked = self.linked();
        let (export, import) = (self.export_options(&Selection::all()), self.import_options(&Selection::all()));
        let options = TaskOptions::new(linked.directory().as_str(), linked.import_path().bucket(), export, import);
        let state = match task.r#type {
            TaskType::ImportMetadataFromRepository => self.states.imports(),
            _ => &self.states.exports,
        };
        let releaser = OfTask(self);
        let updates = |status| {
            // One that was cancelled and has ended meanwhile has its last numbers.
            let _ = self.kept().tasks.progress(&task.task_id, status, self.clock.now());
        };
        let run = TaskRun::new(&self.tree, &self.store, &**state, &options)
            .with_cancel(cancel)
            .with_clock(&*self.clock)
            .with_progress(progress)
            .with_updates(&updates)
            .with_releaser(&releaser);
        run.run(task).await
    }
}

impl<T, S> DataRepository<T, S> {
    fn at_work(&self) -> MutexGuard<'_, Option<AtWork>> {
        // Whatever is in it is whole after every statement.
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task asks of its link.
const fn action(of: TaskType) -> Action {
    match of {
        TaskType::ExportToRepository => Action::Export,
        TaskType::ImportMetadataFromRepository => Action::Import,
        TaskType::ReleaseDataFromFilesystem | TaskType::AutoReleaseData => Action::Release,
    }
}
