//! [`Touched`]: an import that looks only at some keys, and at what depends on them.
//!
//! It comes to what an import of everything would come to, if what is not looked at is as both sides agreed on. That a key
//! came or went can change what becomes of others, and in few ways:
//!
//! 1. *What is around it.* The directories on the way to a key have objects, whose attributes they get if they have to be
//!    made; without one a directory gets its times from the first object in it. A directory whose own object is gone can be
//!    removed when the last name in it is.
//! 2. *A file and a directory of one name.* One shadows the other, and comes to light when that is gone. So the object `a` is
//!    looked at when the last key of `a/` has gone; and all of `a/` when `a` is gone, since none of it could be made.
//!
//! Each of these questions is one short listing, so that a key takes as many requests as it is deep, however many keys are
//! beside it. Directories that keys have in common are asked about once.

use super::{Around, Done, Import};
use crate::engine::cause::Cause;
use crate::engine::listing::{Listed, Pages, ROOT, Stretch, look};
use crate::engine::report::{Ended, Outcome, Recorder, RunErrorKind};
use crate::engine::spool::{Deferred, Rule};
use crate::escape::escape;
use crate::key::Key;
use crate::profile::Clash;
use crate::store::{ListedObject, ObjectStore};
use crate::tree::{Present, Tree, TreeErrorKind};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that somebody may have changed, and what is to be taken over of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Touched<'k> {
    /// Whole keys of the bucket.
    pub(in crate::engine) keys: &'k BTreeSet<&'k str>,
    pub(in crate::engine) takes: Takes,
}

/// Which changes of the bucket are taken over; deletions are a matter of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Takes {
    /// Objects that were not there.
    pub(in crate::engine) new: bool,
    /// Other data or metadata of objects that were.
    pub(in crate::engine) changed: bool,
    /// That an object is gone.
    pub(in crate::engine) deleted: bool,
}

impl Takes {
    pub(super) const ALL: Self = Self { new: true, changed: true, deleted: true };

    /// Whether a file may give way to a directory of its name.
    pub(super) const fn replacements(self) -> bool {
        self.changed || self.deleted
    }
}

/// An object that is not taken over, and how its entry ends for it.
pub(super) struct LeftOut {
    ended: Ended,
    is_known: bool,
}

impl LeftOut {
    /// A file whose path is that of a directory now.
    pub(super) fn replaced(key: &Key) -> Ended {
        Ended::new(key, Outcome::Skipped)
            .because(Cause::LeftToPolicy, "its object is gone; the policy leaves out what was deleted")
    }
}

/// What is found in a bucket around the keys.
#[derive(Default)]
struct Seen {
    /// The objects of keys; `None` for those that have none.
    objects: BTreeMap<Box<str>, Option<ListedObject>>,
    /// By directory, slash and all: the first object in it, its own left out.
    first_in: BTreeMap<Box<str>, Option<(Box<str>, ListedObject)>>,
}

impl Seen {
    /// Whether a key is known to have an object.
    fn has(&self, key: &str) -> bool {
        self.object(key).is_some()
    }

    fn object(&self, key: &str) -> Option<&ListedObject> {
        self.objects.get(key).and_then(Option::as_ref)
    }

    /// The first object below a directory that may become an entry.
    fn first_in(&self, directory: &str) -> Option<&(Box<str>, ListedObject)> {
        self.first_in.get(directory).and_then(Option::as_ref)
    }
}

/// What a run is going to go through.
#[derive(Default)]
struct Plan {
    keys: BTreeMap<Box<str>, Option<ListedObject>>,
    /// Objects that only tell what becomes of others.
    context: BTreeMap<Box<str>, ListedObject>,
    /// Directories of which everything is gone through.
    below: BTreeSet<Box<str>>,
}

impl Plan {
    fn add(&mut self, key: &str, seen: &Seen) {
        if let Some(object) = seen.objects.get(key) {
            self.keys.insert(key.into(), object.clone());
        }
    }

    fn tell(&mut self, (key, object): &(Box<str>, ListedObject)) {
        self.context.insert(key.clone(), object.clone());
    }

    /// None of them overlaps another.
    fn into_stretches(self) -> Vec<Stretch> {
        let Self { keys, context, below } = self;
        let is_covered = |key: &str| directories(key).any(|around| below.contains(around));
        let is_within = |key: &str| directories(key).any(|around| around != key && below.contains(around));
        let context = context.into_iter().filter(|(key, _)| !keys.contains_key(key) && !is_covered(key));
        let context: Vec<Stretch> = context.map(|(key, object)| Stretch::Context(key, object)).collect();
        let keys = keys.into_iter().filter(|(key, _)| !is_covered(key));
        let keys = keys.map(|(key, object)| Stretch::Looked(key, object));
        let below_alone = below.iter().filter(|key| !is_within(key)).map(|key| Stretch::Below(key.clone()));
        context.into_iter().chain(keys).chain(below_alone).collect()
    }
}

/// The directories on the way to a key, outermost first, each with its slash; of a directory, itself as well.
fn directories(key: &str) -> impl DoubleEndedIterator<Item = &str> {
    key.match_indices('/').filter_map(|(slash, _)| key.get(..=slash))
}

/// The path of a directory.
fn path(directory: &str) -> &str {
    directory.strip_suffix('/').unwrap_or(directory)
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    /// What has to be gone through because of keys that were touched.
    pub(super) async fn stretches(
        &self,
        touched: Touched<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Vec<Stretch>, RunErrorKind> {
        let keys = self.entries(touched, recorder);
        let first_wins = self.options.profile.clash == Clash::FirstWins;
        let mut seen = Seen::default();
        // What the keys are; whether anything is below them; and the directories on the way.
        let looked = keys.iter().copied().filter(|key| !key.ends_with('/')).map(Into::into).collect();
        let around: BTreeSet<Box<str>> = keys
            .iter()
            .flat_map(|key| directories(key).map(str::to_owned).chain((!key.ends_with('/')).then(|| format!("{key}/"))))
            .filter(|directory| self.is_meant(directory))
            .map(Into::into)
            .collect();
        self.look_at(looked, &mut seen).await?;
        self.look_into(around, &mut seen).await?;
        // Files of the names of directories on the way, where they may matter.
        let mut files = BTreeSet::new();
        let mut in_the_way = BTreeSet::new();
        for directory in keys.iter().flat_map(|key| directories(key)).collect::<BTreeSet<_>>() {
            let file = path(directory);
            if !self.is_meant(file) || seen.objects.contains_key(file) {
                continue;
            }
            let is_in_the_way = self.is_in_the_way(file).await;
            if first_wins || is_in_the_way || (seen.first_in(directory).is_none() && !seen.has(directory)) {
                files.insert(file.into());
            }
            if is_in_the_way {
                in_the_way.insert(file);
            }
        }
        self.look_at(files, &mut seen).await?;

        let mut plan = Plan::default();
        for key in keys {
            plan.add(key, &seen);
            self.plan_around(key, &seen, &mut plan).await;
            if !seen.has(key) {
                plan_above(key, &seen, &mut plan);
            }
            for directory in directories(key) {
                let file = path(directory);
                if in_the_way.contains(file) && !seen.has(file) {
                    plan.add(file, &seen);
                    plan.below.insert(directory.into());
                } else if first_wins && seen.has(file) {
                    plan.add(file, &seen);
                }
            }
            if !key.ends_with('/') {
                plan_of_name(key, &seen, &mut plan);
            }
        }
        Ok(plan.into_stretches())
    }

    /// The keys that may become entries, relative to the prefix. Of the others the recorder is told.
    fn entries<'k>(&self, touched: Touched<'k>, recorder: &mut Recorder<'_>) -> BTreeSet<&'k str> {
        let prefix = &self.options.prefix;
        let mut entries = BTreeSet::new();
        for whole in touched.keys {
            let Some(key) = prefix.relative(whole) else {
                let reason = format!("it is not below \"{prefix}\"");
                recorder.remark(escape(whole.as_bytes()), Outcome::Skipped, Cause::NotLinked, reason);
                continue;
            };
            if key.is_empty() {
                recorder.end(Ended::new(prefix, Outcome::Skipped).because(Cause::Root, ROOT));
                continue;
            }
            match Key::parse(key) {
                Ok(_) if self.is_meant(key) => _ = entries.insert(key),
                Ok(_) => {}
                Err(error) => recorder.end(Ended::new(key.as_bytes(), Outcome::Skipped).because(&error, &error)),
            }
        }
        entries
    }

    fn is_meant(&self, key: &str) -> bool {
        self.options.selection.selects(key)
    }

    /// Looks at keys side by side.
    async fn look_at(&self, keys: BTreeSet<Box<str>>, seen: &mut Seen) -> Result<(), RunErrorKind> {
        let looks = stream::iter(keys).map(|key: Box<str>| async move {
            let object = look(self.store, &self.options.prefix, &key).await?;
            Ok((key, object))
        });
        // Boxed, so that the compiler can tell that the whole may go to another thread.
        let mut looks: BoxStream<'_, Result<_, RunErrorKind>> = looks.buffer_unordered(self.options.jobs.get()).boxed();
        while let Some((key, object)) = looks.next().await.transpose()? {
            seen.objects.insert(key, object);
        }
        Ok(())
    }

    /// Looks for the objects of directories, and for the first object in each, side by side.
    async fn look_into(&self, directories: BTreeSet<Box<str>>, seen: &mut Seen) -> Result<(), RunErrorKind> {
        let looks = stream::iter(directories).map(|directory: Box<str>| async move {
            let (own, first) = self.first_in(&directory).await?;
            Ok((directory, own, first))
        });
        let mut looks: BoxStream<'_, Result<_, RunErrorKind>> = looks.buffer_unordered(self.options.jobs.get()).boxed();
        while let Some((directory, own, first)) = looks.next().await.transpose()? {
            seen.objects.insert(directory.clone(), own);
            seen.first_in.insert(directory, first);
        }
        Ok(())
    }

    /// The object of a directory, and the first one in it that may become an entry.
    async fn first_in(
        &self,
        directory: &str,
    ) -> Result<(Option<ListedObject>, Option<(Box<str>, ListedObject)>), RunErrorKind> {
        let mut own = None;
        // The directory's own object comes first, and then usually what is looked for.
        let mut pages = Pages::new(self.store, &self.options.prefix, directory, Some(2));
        while let Some(page) = pages.next().await? {
            for (key, object) in page {
                if key == directory {
                    own = Some(object);
                } else if Key::parse(&key).is_ok() && self.is_meant(&key) {
                    return Ok((own, Some((key.into(), object))));
                }
            }
            // Keys that are no paths.
            pages.in_long_pages();
        }
        Ok((own, None))
    }

    /// Whether something that is no directory stands at a path.
    async fn is_in_the_way(&self, path: &str) -> bool {
        let Ok(key) = Key::parse(path) else { return false };
        matches!(self.tree.lookup(&key).await, Ok(Present::Entry(found)) if !found.entry.key().is_directory())
    }

    /// What tells how the directories around an object are made.
    async fn plan_around(&self, key: &str, seen: &Seen, plan: &mut Plan) {
        for directory in directories(key).filter(|directory| *directory != key) {
            if seen.has(directory) {
                plan.add(directory, seen);
            } else if let Some(first) = seen.first_in(directory)
                && let Ok(directory) = Key::parse(directory)
                && !matches!(self.standing_directory(&directory).await, Ok(Some(_)))
            {
                plan.tell(first);
            }
        }
    }

    /// Whether an object is not to be taken over.
    pub(super) async fn leaves_out(&self, key: &Key, listed: &Listed) -> Option<LeftOut> {
        let Takes { new, changed, .. } = self.takes;
        if (new && changed) || listed.is_as_recorded() {
            return None;
        }
        let is_known = match &listed.record {
            Some(record) => record.remote.is_some(),
            None => {
                let present = self.tree.lookup(key).await;
                matches!(present, Ok(Present::Entry(found)) if found.entry.key().is_directory() == key.is_directory())
            }
        };
        let skipped = |why: &str| Ended::new(key, Outcome::Skipped).because(Cause::LeftToPolicy, why);
        let ended = match is_known {
            true if changed => return None,
            true if listed.seems_as_recorded() || listed.may_be_as_recorded() => Ended::new(key, Outcome::Unchanged),
            true => skipped("its object has changed; the policy leaves out what has changed"),
            false if new => return None,
            false => skipped("its object is new; the policy leaves out what is new"),
        };
        Some(LeftOut { ended, is_known })
    }

    /// What becomes of an object that is not taken over. What is put into a directory moves its times all the same.
    pub(super) async fn left_out(&self, key: Key, listed: &Listed, left_out: LeftOut, around: &mut Around) -> Done {
        let LeftOut { ended, is_known } = left_out;
        if !key.is_directory() {
            return ended.into();
        }
        if is_known && listed.record.is_some() {
            let mut done = self.known_directory(key, listed, around).await;
            for deferred in done.deferred.iter_mut().filter(|deferred| deferred.outcome == Some(Outcome::Unchanged)) {
                (deferred.outcome, deferred.reasons) = (Some(ended.outcome), ended.reasons.clone());
            }
            if done.ended.as_ref().is_some_and(|done| done.outcome == Outcome::Unchanged) {
                done.ended = Some(ended);
            }
            return done;
        }
        match self.standing_directory(&key).await {
            Ok(Some(found)) => {
                let inode = found.fingerprint.inode;
                let deferred = Deferred::directory(found.entry, Some(ended.outcome), inode);
                Deferred { rule: Rule::Keep, reasons: ended.reasons, ..deferred }.into()
            }
            Ok(None) => {
                around.missing.extend(self.default_directory(&key, listed.object.last_modified));
                ended.into()
            }
            Err(error) => {
                around.unknown = (error.kind() != TreeErrorKind::Conflict && !super::is_final(&error)).then_some(key);
                ended.into()
            }
        }
    }
}

/// What may be removed, or come to light, since a key is gone: the directories around it whose objects are gone as well, up
/// to the first that has one.
fn plan_above(key: &str, seen: &Seen, plan: &mut Plan) {
    for directory in directories(key).rev() {
        plan.add(directory, seen);
        if seen.has(directory) {
            return;
        }
        if seen.first_in(directory).is_none() {
            let file = path(directory);
            if seen.has(file) {
                plan.add(file, seen);
            }
        }
    }
}

/// What becomes of a file and a directory of one name.
fn plan_of_name(file: &str, seen: &Seen, plan: &mut Plan) {
    let directory = format!("{file}/");
    match (seen.has(file), seen.first_in(&directory)) {
        // What it kept away can be made now.
        (false, Some(_)) => _ = plan.below.insert(directory.into()),
        (false, None) if seen.has(&directory) => plan.add(&directory, seen),
        // It is shadowed.
        (true, _) if seen.has(&directory) => plan.add(&directory, seen),
        (true, Some(first)) => plan.tell(first),
        (_, None) => {}
    }
}
