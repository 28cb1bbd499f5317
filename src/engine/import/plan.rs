//! [`plan_import`]: what an import would do, and why.

use super::object::{Decision, Why};
use super::remove::not_seen_to_be_gone;
use super::{Import, ImportOptions, Turn, decode, refused, store_failure, tree_failure};
use crate::engine::cause::Cause;
use crate::engine::export::Planned;
use crate::engine::listing::{Item, Listed, Listing, ROOT, Stretch, shadowed};
use crate::engine::report::{Direction, Ended, Outcome, Recorder, Report, RunError, RunErrorKind, Silent};
use crate::engine::selection::in_path;
use crate::engine::session::Session;
use crate::engine::state::StateStore;
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{Claim, Deletes, ImportStep, Step, compare};
use crate::snapshot::Record;
use crate::store::{Counted, ObjectStore};
use crate::tree::{Present, Tree, TreeErrorKind};

/// Says what an import would do, and does nothing to bucket and tree.
///
/// `each` gets every entry that would change, as a stream: memory does not grow with their number. The report counts what
/// would come of it; what is only known when an object is fetched, such as a link's target, it cannot tell. Of a state only
/// what an earlier run left undone is tidied up.
///
/// # Errors
/// As [`import_since`](super::import_since).
pub async fn plan_import<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    state: Option<&dyn StateStore>,
    options: &ImportOptions,
    mut each: impl FnMut(Planned) + Send,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let mut recorder = Recorder::new(Direction::Import, &Silent);
    let planned = async {
        let session = Session::of(tree, state, &options.bucket, &options.prefix).await?;
        let run = &Import::new(store, tree, session.as_ref(), options, &Silent);
        if let Some(session) = &session {
            session.say_disbelief(&mut recorder);
        }
        let ImportOptions { selection, prefix, profile, .. } = options;
        let stretches = Stretch::of(selection);
        let mut listing = Listing::new(store, session.as_ref(), stretches, selection, prefix, profile)?;
        let mut giving_way = Vec::new();
        while let Some(item) = listing.next().await? {
            if run.stop.leaves_out() {
                return Err(RunErrorKind::Cancelled);
            }
            let (planned, ended) = run.foresee(item, &mut giving_way).await;
            for planned in planned {
                if planned.step == Step::Delete {
                    recorder.deleted();
                }
                each(planned);
            }
            ended.into_iter().for_each(|ended| recorder.end(ended));
        }
        let mut absent = listing.into_absent();
        let owned = session.as_ref().and_then(|session| session.records()).unwrap_or(0);
        let checked = match options.deletes {
            Deletes::Never => None,
            Deletes::Apply(brake) => Some(brake.check(absent.len(), owned)),
        };
        if let Some(Err(braked)) = checked {
            recorder.braked(braked);
        }
        let mut position = 0;
        while let Some(Record { key, .. }) = absent.next(&mut position)? {
            if run.may_be_unreadable(&key) {
                recorder.end(not_seen_to_be_gone(&key));
                continue;
            }
            let (step, reason) = if checked == Some(Ok(())) {
                recorder.deleted();
                (Step::Delete, "its object is gone")
            } else {
                recorder.gone();
                let why = match checked {
                    Some(_) => "its object is gone; it stays, since too much would be deleted at once",
                    None => "its object is gone; it stays, since nothing is deleted",
                };
                (Step::Nothing, why)
            };
            each(planned(&key, step, reason));
        }
        Ok(())
    };
    let planned: Result<(), RunErrorKind> = planned.await;
    recorder.finish(store.calls(), planned)
}

/// A file or link that gives way to a directory, once something is put into that.
struct GivingWay {
    key: Key,
    is_said: bool,
}

fn planned(key: &Key, step: Step, reason: &str) -> Planned {
    Planned { key: key.to_string().into(), step, reason: reason.into() }
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    /// What an item would come to: steps, unless there is nothing to do, and an outcome, if it is an entry. What gives way to
    /// a directory does so once something would be put there.
    async fn foresee(&self, item: Item, giving_way: &mut Vec<GivingWay>) -> (Vec<Planned>, Option<Ended>) {
        let none = Vec::new;
        let skipped = |key: &[u8], cause: Cause, why: String| {
            (none(), Some(Ended::new(key, Outcome::Skipped).because(cause, why)))
        };
        match item {
            Item::Replaced(record) if self.may_be_unreadable(&record.key) => {
                (none(), Some(not_seen_to_be_gone(&record.key)))
            }
            Item::Replaced(record) => (
                vec![planned(&record.key, Step::Delete, "its object is gone, and its path is that of a directory")],
                None,
            ),
            Item::Unreadable { key, error } => (none(), Some(self.unreadable(&key, &error))),
            Item::Claim(Claim::ImpliedDirectory { .. }) => (none(), None),
            Item::Claim(Claim::Root) => skipped(self.options.prefix.as_str().as_bytes(), Cause::Root, ROOT.to_owned()),
            Item::Claim(Claim::Refused { key, error }) => skipped(key.as_bytes(), (&error).into(), error.to_string()),
            Item::Claim(Claim::Shadowed { key, by, object }) => {
                match self.giving_way(&by, &object).await {
                    Ok(record) => {
                        giving_way.extend(record.map(|record| GivingWay { key: record.key.clone(), is_said: false }))
                    }
                    Err(failed) => return (none(), Some(failed)),
                }
                skipped(key.as_str().as_bytes(), Cause::Shadowed, shadowed(&by))
            }
            Item::Claim(Claim::Object { key, object: listed }) => {
                giving_way.retain(|file| in_path(file.key.as_str(), key.as_str()));
                if listed.is_as_recorded() {
                    return (none(), Some(Ended::new(&key, Outcome::Unchanged)));
                }
                let foreseen = if key.is_directory() {
                    self.foresee_directory(&key, &listed, giving_way).await
                } else {
                    self.foresee_object(&key, &listed, !giving_way.is_empty()).await
                };
                let (step, reason) = match foreseen {
                    Ok(foreseen) => foreseen,
                    Err(ended) => return (none(), Some(ended)),
                };
                let outcome = match step {
                    Step::Write => Outcome::Written,
                    Step::ReplaceMetadata => Outcome::MetadataOnly,
                    _ => return (none(), Some(Ended::new(&key, Outcome::Unchanged))),
                };
                let bytes = if step == Step::Write { listed.object.size } else { 0 };
                let replaced = giving_way.iter_mut().filter(|file| step == Step::Write && !file.is_said);
                let replaced = replaced.map(|file| {
                    file.is_said = true;
                    planned(&file.key, Step::Delete, "its path is that of a directory")
                });
                let steps = replaced.chain([planned(&key, step, reason)]).collect();
                (steps, Some(Ended { bytes, ..Ended::new(&key, outcome) }))
            }
        }
    }

    async fn foresee_directory(
        &self,
        key: &Key,
        listed: &Listed,
        giving_way: &[GivingWay],
    ) -> Result<(Step, &'static str), Ended> {
        let before = match self.standing_directory(key).await {
            Err(error) if error.kind() == TreeErrorKind::Conflict && !giving_way.is_empty() => Ok(None),
            before => before,
        };
        let meta = self.store.head(&listed.object.key).await.map_err(|error| store_failure(key, &error))?;
        let record = listed.record.as_ref();
        let as_recorded = self.is_recorded(listed, &meta);
        if as_recorded && self.is_another_since(record, &before) {
            return Ok((Step::Nothing, ""));
        }
        let before = before.map_err(|error| tree_failure(key, &error))?;
        let current = before.as_ref().map(|found| &found.entry);
        let head = decode(key, &meta, &self.options.profile, current).map_err(|refusal| refused(key, &refusal))?;
        let comparable = current.map(|entry| self.comparable(entry));
        Ok(match compare(FileType::Directory, 0, &head.attributes, comparable.as_ref()) {
            ImportStep::Nothing => (Step::Nothing, ""),
            ImportStep::SetAttributes => (Step::ReplaceMetadata, "other attributes"),
            ImportStep::Write => (Step::Write, "new"),
        })
    }

    async fn foresee_object(&self, key: &Key, listed: &Listed, gives_way: bool) -> Result<(Step, &'static str), Ended> {
        Ok(match self.decide(key, listed, gives_way, Turn::First).await? {
            Decision::Agree { .. } => (Step::Nothing, ""),
            Decision::SetAttributes { .. } => (Step::ReplaceMetadata, "other attributes"),
            Decision::Fetch { why: Why::New, .. } => (Step::Write, "new"),
            Decision::Fetch { why: Why::Changed, present: Present::Other } => {
                (Step::Write, "in the place of what has no object")
            }
            Decision::Fetch { why: Why::Changed, .. } => (Step::Write, "the object has changed"),
            Decision::Fetch { why: Why::Wins, .. } => (Step::Write, "changed on both sides; the object wins"),
            Decision::FetchBeside { .. } => (Step::Write, "changed on both sides; the file gets another name"),
            Decision::Late => (Step::Write, "in the place of a directory, if that is removed"),
            Decision::Yield { ended, .. } => return Err(ended),
        })
    }
}
