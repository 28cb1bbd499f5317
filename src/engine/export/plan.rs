//! [`plan_export`]: what an export would do.

use super::imported::AsImported;
use super::{Decision, Export, ExportOptions, Found, no_entry, unstable};
use crate::engine::contents::Unsent;
use crate::engine::report::{Direction, Ended, Outcome, Recorder, Report, RunError, RunErrorKind, Silent};
use crate::engine::scan::Sight;
use crate::engine::session::Session;
use crate::engine::spool::Spool;
use crate::engine::state::StateStore;
use crate::entry::Chain;
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{self, Change, Step};
use crate::snapshot::Record;
use crate::store::{Counted, ObjectStore};
use crate::tree::Tree;
use futures_util::StreamExt;
use std::future::ready;

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
/// As [`export_since`](super::export_since).
pub async fn plan_export<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: Option<&dyn StateStore>,
    options: &ExportOptions,
    mut each: impl FnMut(Planned) + Send,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Export, &Silent);
    let planned = async {
        let session = Session::of(tree, state, &options.bucket, &options.prefix).await?;
        let run = &Export::new(tree, store, session.as_ref(), options, &Silent).await?;
        if let Some(session) = &session {
            session.say_disbelief(&mut recorder);
        }
        let mut gone = Spool::new();
        let sights = run.scan().sights().take_while(|_| ready(!run.stop.leaves_out()));
        let found = sights.map(|sight| run.beside(vec![sight]).map(|found| found.into_iter().next()));
        let found = found.filter_map(|found| ready(found.map_err(RunErrorKind::from).transpose()));
        let mut decided = found.map(|found| run.foresee(found)).buffered(options.jobs.get()).boxed();
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
        run.stop.ended()?;
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
    recorder.finish(store.calls(), finished)
}

/// What a sight would come to.
enum Foreseen {
    Counted(u64),
    Ended(Ended),
    Planned(Planned, Ended),
    Gone(Record),
    Nothing,
}

impl<T: Tree, S: ObjectStore + ?Sized> Export<'_, T, S> {
    /// Says what a sight would take.
    async fn foresee(&self, found: Result<Found, RunErrorKind>) -> Result<Foreseen, RunErrorKind> {
        let (sight, imported) = found??;
        if let (Some(imported), Sight::Present { key, status, .. }) = (&imported, &sight) {
            match self.as_imported(key, *status, imported).await {
                AsImported::Yes(_) => return Ok(Foreseen::Ended(Ended::new(key, Outcome::Unchanged))),
                AsImported::Unknown(ended) => return Ok(Foreseen::Ended(ended)),
                AsImported::No => {}
            }
        }
        Ok(match sight {
            Sight::Unchanged(count) => Foreseen::Counted(count),
            Sight::Gone(record) if record.remote.is_none() => Foreseen::Nothing,
            Sight::Gone(record) => Foreseen::Gone(record),
            Sight::Present { key, status, record, names, .. } => match self.decide(&key, status, record, names).await {
                Ok(decision) => self.foreseen(&key, decision).await,
                Err(Unsent::Ended(ended) | Unsent::Condition(ended) | Unsent::Unheard(ended)) => Foreseen::Ended(ended),
                Err(Unsent::Changed) => Foreseen::Ended(unstable(&key)),
            },
            other => Foreseen::Ended(no_entry(other).1),
        })
    }

    async fn foreseen(&self, key: &Key, decision: Decision) -> Foreseen {
        if let Err(refusal) = plan::put(&decision.subject.entry, &self.options.prefix, &self.options.profile) {
            return Foreseen::Ended(Ended::new(key, Outcome::Skipped).because(&refusal, Chain(&refusal)));
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
}
