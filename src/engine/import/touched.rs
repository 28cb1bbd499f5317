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
//! Each of these questions is one short listing, so that a key takes at most as many requests as it is deep, and two more,
//! however many keys are beside it. Directories that keys have in common are asked about once, and one not at all where the
//! listing of a directory around it has answered: if that begins with a key below it, it has no object, and begins with the
//! same; and if there is nothing in the one, there is nothing in the other.

use super::{Around, Done, Import, lock};
use crate::engine::cause::Cause;
use crate::engine::listing::{Listed, Pages, ROOT, Stretch, look};
use crate::engine::report::{Ended, Outcome, Recorder, RunErrorKind};
use crate::engine::spool::{Deferred, Rule};
use crate::escape::escape;
use crate::key::Key;
use crate::profile::Clash;
use crate::store::{ListedObject, ObjectStore};
use crate::tree::{Present, Tree};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

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
///
/// Of a key that is deep there are many directories, and the first in each is mostly the same. So names are shared, and of
/// what is first there is one object however often it is.
#[derive(Default)]
struct Seen {
    /// The objects of keys; `None` for those that have none.
    objects: BTreeMap<Arc<str>, Option<ListedObject>>,
    /// By directory, slash and all: the key of the first object in it, its own left out.
    first_in: BTreeMap<Arc<str>, Option<Arc<str>>>,
    /// What is first in some directory.
    firsts: BTreeMap<Arc<str>, First>,
}

/// The first object in a directory, its own left out.
struct First {
    object: ListedObject,
    /// How long the name is of the outermost directory in whose listing it was the first.
    of: usize,
}

impl Seen {
    /// Whether a key is known to have an object.
    fn has(&self, key: &str) -> bool {
        self.object(key).is_some()
    }

    fn object(&self, key: &str) -> Option<&ListedObject> {
        self.objects.get(key).and_then(Option::as_ref)
    }

    /// Whether anything is below a directory that may become an entry.
    fn holds(&self, directory: &str) -> bool {
        self.first_in.get(directory).is_some_and(Option::is_some)
    }

    /// The first object below a directory that may become an entry.
    fn first_in(&self, directory: &str) -> Option<(&Arc<str>, &ListedObject)> {
        let first = self.first_in.get(directory)?.as_ref()?;
        Some((first, &self.firsts.get(first)?.object))
    }

    /// Takes down what the listing of a directory begins with.
    fn listed(&mut self, directory: Arc<str>, own: Option<ListedObject>, first: Option<(String, ListedObject)>) {
        let first = first.map(|(key, object)| {
            let of = directory.len();
            match self.firsts.get_key_value(&*key) {
                Some((shared, _)) => {
                    let shared = Arc::clone(shared);
                    if let Some(first) = self.firsts.get_mut(&shared) {
                        first.of = first.of.min(of);
                    }
                    shared
                }
                None => {
                    let key: Arc<str> = key.into();
                    self.firsts.insert(Arc::clone(&key), First { object, of });
                    key
                }
            }
        });
        self.objects.insert(Arc::clone(&directory), own);
        self.first_in.insert(directory, first);
    }

    /// Whether nothing that may become an entry is around a path, so that there is nothing at it either.
    fn is_nowhere(&self, path: &str) -> bool {
        let around = path.rfind('/').and_then(|slash| path.get(..=slash));
        around.is_some_and(|around| self.first_in.get(around).is_some_and(Option::is_none))
    }

    /// Takes down what a directory begins with if the listing of one around it says so.
    fn infer(&mut self, directory: &Arc<str>) -> bool {
        if self.is_nowhere(path(directory)) {
            self.objects.insert(Arc::clone(directory), None);
            self.first_in.insert(Arc::clone(directory), None);
            return true;
        }
        let from_there = (Bound::Included(&**directory), Bound::Unbounded);
        let mut from_there = self.firsts.range::<str, _>(from_there);
        // Its own object would come before whatever is below it.
        let is_first = |(key, first): &(&Arc<str>, &First)| {
            key.len() > directory.len() && key.starts_with(&**directory) && first.of < directory.len()
        };
        let Some((first, _)) = from_there.next().filter(is_first) else { return false };
        let first = Arc::clone(first);
        self.objects.insert(Arc::clone(directory), None);
        self.first_in.insert(Arc::clone(directory), Some(first));
        true
    }
}

/// What a run is going to go through.
#[derive(Default)]
struct Plan {
    keys: BTreeMap<Box<str>, Option<ListedObject>>,
    /// Objects that only tell what becomes of others.
    context: BTreeMap<Arc<str>, ListedObject>,
    /// Directories of which everything is gone through.
    below: BTreeSet<Box<str>>,
}

impl Plan {
    fn add(&mut self, key: &str, seen: &Seen) {
        if let Some(object) = seen.objects.get(key) {
            self.keys.insert(key.into(), object.clone());
        }
    }

    fn tell(&mut self, (key, object): (&Arc<str>, &ListedObject)) {
        if !self.context.contains_key(key) {
            self.context.insert(Arc::clone(key), object.clone());
        }
    }

    /// None of them overlaps another.
    fn into_stretches(self) -> Vec<Stretch> {
        let Self { keys, context, below } = self;
        let is_covered = |key: &str| directories(key).any(|around| below.contains(around));
        let is_within = |key: &str| directories(key).any(|around| around != key && below.contains(around));
        let context = context.into_iter().filter(|(key, _)| !keys.contains_key(&**key) && !is_covered(key));
        let context: Vec<Stretch> = context.map(|(key, object)| Stretch::Context((&*key).into(), object)).collect();
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
        let files = keys.iter().filter(|key| !key.ends_with('/')).map(|key| format!("{key}/"));
        let on_the_way: BTreeSet<&str> = keys.iter().flat_map(|key| directories(key)).collect();
        let around = on_the_way.iter().map(|directory| Arc::from(*directory)).chain(files.map(Arc::from));
        let around: BTreeSet<Arc<str>> = around.filter(|directory| self.is_meant(directory)).collect();
        self.look_at(looked, &mut seen).await?;
        self.look_into(around, &mut seen).await?;
        // Files of the names of directories on the way, where they may matter.
        let mut files = BTreeSet::new();
        let mut in_the_way = BTreeSet::new();
        for directory in on_the_way {
            let file = path(directory);
            if !self.is_meant(file) || seen.objects.contains_key(file) {
                continue;
            }
            let is_in_the_way = self.is_in_the_way(file).await;
            if first_wins || is_in_the_way || !(seen.holds(directory) || seen.has(directory)) {
                if seen.is_nowhere(file) {
                    seen.objects.insert(file.into(), None);
                } else {
                    files.insert(file.into());
                }
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
                if in_the_way.contains(file) {
                    plan.add(file, &seen);
                    if !seen.has(file) {
                        plan.below.insert(directory.into());
                    }
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
    async fn look_at(&self, keys: BTreeSet<Arc<str>>, seen: &mut Seen) -> Result<(), RunErrorKind> {
        let looks = stream::iter(keys).map(|key: Arc<str>| async move {
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

    /// Looks for the objects of directories, and for the first object in each, side by side, outermost first.
    async fn look_into(&self, directories: BTreeSet<Arc<str>>, seen: &mut Seen) -> Result<(), RunErrorKind> {
        let shared = &Mutex::new(seen);
        let looks = stream::iter(directories).map(|directory: Arc<str>| async move {
            // Asked when its turn has come.
            if lock(shared).infer(&directory) {
                return Ok(());
            }
            let (own, first) = self.first_in(&directory).await?;
            lock(shared).listed(directory, own, first);
            Ok(())
        });
        let mut looks: BoxStream<'_, Result<_, RunErrorKind>> = looks.buffer_unordered(self.options.jobs.get()).boxed();
        while looks.next().await.transpose()?.is_some() {}
        Ok(())
    }

    /// The object of a directory, and the first one in it that may become an entry.
    async fn first_in(
        &self,
        directory: &str,
    ) -> Result<(Option<ListedObject>, Option<(String, ListedObject)>), RunErrorKind> {
        let mut own = None;
        // The directory's own object comes first, and then usually what is looked for.
        let mut pages = Pages::new(self.store, &self.options.prefix, directory, Some(2));
        while let Some(page) = pages.next().await? {
            for (key, object) in page.objects {
                if key == directory {
                    own = Some(object);
                } else if Key::parse(&key).is_ok() && self.is_meant(&key) {
                    return Ok((own, Some((key, object))));
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
        match self.standing_or_replaceable(&key, around).await {
            Ok(Some(found)) => {
                let inode = found.fingerprint.inode;
                let deferred = Deferred::directory(found.entry, Some(ended.outcome), inode);
                Deferred { rule: Rule::Keep, reasons: ended.reasons, ..deferred }.into()
            }
            Ok(None) => {
                around.miss(self.default_directory(&key, listed.object.last_modified));
                ended.into()
            }
            Err(error) => {
                if super::is_final(&error) {
                    around.miss(self.default_directory(&key, listed.object.last_modified));
                } else {
                    around.unknown = Some(key);
                }
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
        if !seen.holds(directory) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;
    use crate::timestamp::Timestamp;

    fn object(key: &str) -> ListedObject {
        ListedObject { key: key.into(), size: 0, last_modified: Timestamp::EPOCH, etag: ETag::new("\"e\"") }
    }

    #[test]
    fn what_a_listing_begins_with_is_known_of_all_directories_on_the_way_and_held_once() {
        let mut seen = Seen::default();
        let deep = format!("a/b/{}f", "c/".repeat(500));
        seen.listed("a/".into(), Some(object("a/")), Some((deep.clone(), object(&deep))));
        for directory in directories(&deep).skip(1) {
            assert!(seen.infer(&directory.into()), "{directory}");
            assert!(!seen.has(directory) && seen.holds(directory));
        }
        assert_eq!((seen.firsts.len(), seen.first_in.len()), (1, 502));
        assert_eq!(seen.first_in("a/b/c/").map(|(key, _)| &**key), Some(&*deep));
        // What comes after it in the listing may be anything.
        assert!(!seen.infer(&"a/z/".into()) && !seen.infer(&"b/".into()));
    }

    #[test]
    fn what_is_not_known_of_a_directory_is_asked() {
        let mut seen = Seen::default();
        // Its own object comes first.
        seen.listed("a/".into(), None, Some(("a/b/".into(), object("a/b/"))));
        assert!(!seen.infer(&"a/b/".into()));
        // That a key is the first in a directory says nothing of those around it.
        seen.listed("a/b/".into(), Some(object("a/b/")), Some(("a/b/c/d".into(), object("a/b/c/d"))));
        assert!(seen.infer(&"a/b/c/".into()));
        let mut seen = Seen::default();
        seen.listed("a/b/".into(), None, Some(("a/b/c".into(), object("a/b/c"))));
        assert!(!seen.infer(&"a/".into()) && !seen.infer(&"a/b/".into()));
        // In nothing there is nothing.
        seen.listed("n/".into(), Some(object("n/")), None);
        assert!(seen.infer(&"n/m/".into()) && seen.infer(&"n/m/o/".into()));
        assert!(!seen.holds("n/m/o/") && !seen.has("n/m/") && seen.is_nowhere("n/m") && !seen.is_nowhere("n"));
    }
}
