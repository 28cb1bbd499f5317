//! [`export_changes`]: what a feed says has changed goes to the store; [`fence`]: waits until it is there.

use super::cause::Cause;
use super::export::{Among, ExportOptions, Wanted, export_among};
use super::report::{Direction, EndedEntry, Outcome, Overheard, Problem, Progress, Recorder, Report, RunError};
use super::scan::Reach;
use super::state::StateStore;
use crate::entry::Chain;
use crate::escape::escape;
use crate::plan::{Brake, Deletes};
use crate::repository::{Depth, EventType, EventTypes, Pending};
use crate::store::{ObjectStore, StoreCalls};
use crate::timestamp::Timestamp;
use crate::tree::Tree;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// How many of the paths that are not in the store a [`FenceError`] names.
const NAMED: usize = 1000;

/// Sends what is ripe among the changes that wait: an [`export_since`](super::export_since) of those paths alone, with the same outcome for them.
///
/// - `policy` says what is sent: what has no object yet ([`EventType::New`]), what has one ([`EventType::Changed`]), and
///   whether objects are deleted whose files are gone ([`EventType::Deleted`]). What the policy leaves out is skipped and does
///   not wait any longer. A rename is the one name gone and the other new.
/// - A path costs a look at it and at what is recorded of it, not at what is beside it, and a directory whose attributes have
///   changed not a look at what is in it.
/// - Deletes need no brake, as each was told, found to be gone, and is ours. Where everything has to be looked at, since
///   events were missed, the brake of [`ExportOptions::deletes`] holds, or [`Brake::default`].
/// - A path stays in `pending` until the store has acknowledged it and the state says so, with the number of tries and why the
///   last one failed. Nothing is taken from it when the run fails or its future is dropped.
///
/// What failed is tried again by the next call, after what was not tried yet; when that is made is for the caller to say.
///
/// The changes that wait have to be saved before the feed is told that it may forget: see [`Pending::read_to`] and
/// [`Pending::acknowledged`].
///
/// # Errors
/// As [`export_since`](super::export_since); what was to be sent waits on then.
#[allow(clippy::too_many_arguments, reason = "an export has five of them")]
pub async fn export_changes<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ExportOptions,
    policy: EventTypes,
    pending: &mut Pending,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let ripe = pending.ripe(now);
    send(tree, store, state, options, policy, pending, ripe, progress).await
}

#[allow(clippy::too_many_arguments, reason = "as above")]
async fn send<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ExportOptions,
    policy: EventTypes,
    pending: &mut Pending,
    mut paths: Vec<(Box<str>, Depth)>,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    if paths.is_empty() {
        return Recorder::new(Direction::Export, progress).finish(StoreCalls::default(), Ok(()));
    }
    let wanted = |event| if policy.contains(event) { Wanted::Yes } else { Wanted::No };
    let is_everything = paths.iter().any(|(path, _)| path.is_empty());
    let deletes = match (wanted(EventType::Deleted), options.deletes) {
        (Wanted::No, _) => Deletes::Never,
        (Wanted::Yes, Deletes::Apply(brake)) if is_everything => Deletes::Apply(brake),
        (Wanted::Yes, _) if is_everything => Deletes::Apply(Brake::default()),
        (Wanted::Yes, _) => Deletes::Apply(Brake::RELEASED),
    };
    // In the order of keys, in which the record is read.
    paths.sort_unstable();
    let reach = |depth| if depth == Depth::Entry { Reach::Entry } else { Reach::Below };
    let among = Among {
        paths: (!is_everything).then(|| paths.iter().map(|(path, depth)| (path.clone(), reach(*depth))).collect()),
        new: wanted(EventType::New),
        changed: wanted(EventType::Changed),
    };
    let options = options.clone().with_deletes(deletes);
    let watch = Watch::new(&paths);
    let overheard = Overheard { progress, hear: |entry: &EndedEntry<'_>| watch.hear(entry) };
    let report = export_among(tree, store, state, &options, &among, &overheard).await;
    let mut failed = watch.failed();
    match &report {
        Ok(report) => {
            if let Some(braked) = &report.braked {
                failed.insert(0, braked.to_string().into());
            }
        }
        Err(error) => {
            let why: Box<str> = Chain(error).to_string().into();
            for at in 0..paths.len() {
                failed.entry(at).or_insert_with(|| why.clone());
            }
        }
    }
    for (path, why) in paths.iter().enumerate().filter_map(|(at, (path, _))| Some((path, failed.get(&at)?))) {
        pending.failed(path, why);
    }
    let sent = paths.iter().enumerate().filter(|(at, _)| !failed.contains_key(at));
    pending.sent(sent.map(|(_, (path, _))| &**path));
    report
}

/// Sees which of the paths fail.
struct Watch {
    /// The paths without trailing slashes, each with its place.
    paths: HashMap<Box<str>, (usize, Depth)>,
    failed: Mutex<HashMap<usize, Box<str>>>,
}

impl Watch {
    fn new(paths: &[(Box<str>, Depth)]) -> Self {
        let paths = paths.iter().enumerate().map(|(at, (path, depth))| (path.clone(), (at, *depth))).collect();
        Self { paths, failed: Mutex::default() }
    }

    /// Which of the paths a key belongs to.
    fn owners(&self, key: &[u8]) -> Vec<usize> {
        let owners: Option<Vec<usize>> = str::from_utf8(key).ok().map(|key| {
            let path = key.strip_suffix('/').unwrap_or(key);
            let above = path.match_indices('/').filter_map(|(slash, _)| path.get(..slash)).chain([""]);
            let around = above.filter_map(|path| self.paths.get(path)).filter(|(_, depth)| *depth == Depth::Subtree);
            self.paths.get(path).into_iter().chain(around).map(|(at, _)| *at).collect()
        });
        match owners {
            Some(owners) if !owners.is_empty() => owners,
            // It has to be somebody's.
            _ => (0..self.paths.len()).collect(),
        }
    }

    /// An entry has ended.
    fn hear(&self, entry: &EndedEntry<'_>) {
        let waits = |problem: &Problem| matches!(problem.cause, Cause::Busy | Cause::OnlyCopy);
        match entry.outcome {
            Outcome::Failed | Outcome::Conflict => {}
            // It is to be sent, and was not yet.
            Outcome::Skipped if entry.problems.iter().any(waits) => {}
            _ => return,
        }
        let why = entry.problems.first().map(|problem| problem.reason.clone()).unwrap_or_default();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in self.owners(entry.key) {
            failed.entry(owner).or_insert_with(|| why.clone());
        }
    }

    fn failed(self) -> HashMap<usize, Box<str>> {
        self.failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to where a [`fence`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Everything that was read of the feed by now.
    Now,
    /// Every event up to this number.
    Sequence(u64),
}

/// A path of which not everything is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsentPath {
    /// The path; safe to print, and empty for all of the tree.
    pub path: Box<str>,
    /// Whether all that is below it is meant as well.
    pub depth: Depth,
    /// The number of the first change that is not in the store.
    pub sequence: u64,
    /// When that happened.
    pub since: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed; nothing where there was none. Safe to print.
    pub why: Option<Box<str>>,
}

/// Why a [`fence`] does not stand.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The feed was not read that far, so nothing can be said.
    #[error("the feed was read up to event {read_to}, not up to {mark}")]
    Unread {
        /// Up to where the fence was to go.
        mark: u64,
        /// Up to where the feed was read.
        read_to: u64,
    },
    /// Not everything is in the store.
    #[error("{count} path{} not in the store: {}", if *.count == 1 { " is" } else { "s are" }, shown(.unsent, *.count))]
    Unsent {
        /// How many paths.
        count: usize,
        /// The first thousand of them, oldest first.
        unsent: Vec<UnsentPath>,
        /// Why the last run failed as a whole, if it did.
        #[source]
        source: Option<Box<RunError>>,
    },
}

fn shown(unsent: &[UnsentPath], count: usize) -> String {
    let mut text = String::new();
    for (at, unsent) in unsent.iter().take(3).enumerate() {
        let (comma, path) = (if at == 0 { "" } else { ", " }, if unsent.path.is_empty() { "." } else { &unsent.path });
        let why = unsent.why.as_deref().unwrap_or("not tried");
        text.push_str(&format!("{comma}\"{path}\" ({why})"));
    }
    if count > 3 {
        text.push_str(", …");
    }
    text
}

/// What stands behind a [`fence`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fenced {
    /// Up to this number everything is in the store.
    pub acknowledged: u64,
    /// What each run did.
    pub reports: Vec<Report>,
}

/// Sees to it that everything up to a mark is in the store, whether it is ripe or not.
///
/// It sends what has changed by an event up to the mark, and tries what fails again, `tries` times in all, without waiting in
/// between; the store's own retries come on top. A file that is being written is sent as it is. What the policy leaves out
/// is not waited for.
///
/// The feed has to be read up to the mark before: what nobody has told of cannot be waited for, and
/// [`FeedBatch::read_to`](crate::repository::FeedBatch::read_to) says how far everything was told. A mark of a changelog is the
/// number that `lctl get_param mdd.*.changelog_users` shows as its current index.
///
/// # Errors
/// [`FenceError`], which names what is not in the store; all else is.
#[allow(clippy::too_many_arguments, reason = "an export has five of them")]
pub async fn fence<T: Tree, S: ObjectStore + ?Sized>(
    tree: &T,
    store: &S,
    state: &dyn StateStore,
    options: &ExportOptions,
    policy: EventTypes,
    pending: &mut Pending,
    mark: Mark,
    tries: u32,
    progress: &dyn Progress,
) -> Result<Fenced, FenceError> {
    let read_to = pending.read_to();
    let mark = match mark {
        Mark::Now => u64::MAX,
        Mark::Sequence(mark) if mark > read_to => return Err(FenceError::Unread { mark, read_to }),
        Mark::Sequence(mark) => mark,
    };
    let mut reports = Vec::new();
    let mut source = None;
    // Every path is tried so often, in as many runs as that takes.
    let before: HashMap<Box<str>, u32> =
        pending.iter().map(|(path, waiting)| (path.into(), waiting.attempts)).collect();
    loop {
        let due = pending.choose(|path, waiting| {
            let tried = waiting.attempts.saturating_sub(before.get(path).copied().unwrap_or(0));
            waiting.first <= mark && tried < tries
        });
        if due.is_empty() {
            break;
        }
        match send(tree, store, state, options, policy, pending, due, progress).await {
            Ok(report) => reports.push(report),
            Err(error) => source = Some(Box::new(error)),
        }
    }
    let mut unsent: Vec<UnsentPath> = pending
        .iter()
        .filter(|(_, waiting)| waiting.first <= mark)
        .map(|(path, waiting)| UnsentPath {
            path: escape(path.as_bytes()).to_string().into(),
            depth: waiting.depth,
            sequence: waiting.first,
            since: waiting.since,
            attempts: waiting.attempts,
            why: waiting.why.clone(),
        })
        .collect();
    if unsent.is_empty() {
        return Ok(Fenced { acknowledged: pending.acknowledged(), reports });
    }
    unsent.sort_by_key(|unsent| unsent.sequence);
    let count = unsent.len();
    unsent.truncate(NAMED);
    Err(FenceError::Unsent { count, unsent, source })
}
