//! [`Case`]: a recorded run, and what has to hold of everything that a power loss may leave of it.

use super::disk::{Disk, History, Number};
use super::replay::{self, Replay};
use super::seen::{self, Seen, View};
use super::stand_in::StandIn;
use super::trace;
use super::workload::{Ended, Place, Way, Workload};
use futures_util::StreamExt;
use posix_s3::store::{DirectoryStore, GetOptions, ListRequest, ObjectStore};
use posix_s3::tree::{LocalTree, Tree};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Everything in a bucket, by key: the headers and the bytes.
type Objects = BTreeMap<String, (Vec<(String, String)>, Vec<u8>)>;

const STAGED: &[u8] = b".posix-s3-staging-";

pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) start: Disk,
    pub(crate) history: History,
    /// How many calls changed anything or asked for it to be on the disk.
    pub(crate) moments: usize,
    pub(crate) end: Disk,
    identity: [u8; 16],
    bucket: String,
    old: View,
    new: View,
    old_objects: Objects,
    new_objects: Objects,
}

impl Case {
    /// Records a run in an empty directory.
    pub(crate) fn record(workload: Workload, base: &Path) -> Self {
        let place = Place::new(base);
        workload.prepare(&place);
        let (tree, bucket) = (place.path("tree"), place.path("bucket"));
        let identity = LocalTree::open(&tree).unwrap().identity().unwrap();
        let (start, old, old_objects) = (replay::read(&place.base), seen::look(&tree), objects(&bucket).unwrap());
        let arguments = workload.arguments(&place);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = base.with_extension("log");
        let (output, calls) = trace::record(&workload.program(&place), &arguments, &log);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", workload.name);
        let replay = Replay::of(&place.base, &start, &calls);
        let case = Self {
            workload,
            history: replay.history,
            moments: 0,
            end: replay.disk,
            identity,
            bucket: place.bucket(),
            old,
            new: seen::look(&tree),
            old_objects,
            new_objects: objects(&bucket).unwrap(),
            start,
        };
        case.agrees(&place);
        Self { moments: case.history.moments + 1, ..case }
    }

    /// The model ends where the kernel did, in everything but times that nobody has set.
    fn agrees(&self, place: &Place) {
        for (name, number) in self.end.names(0).unwrap() {
            let real = seen::look(&place.path(std::str::from_utf8(name).unwrap()));
            let mut model = seen::look_at(&self.end, *number);
            for (path, seen) in &mut model {
                seen.mtime = seen.mtime.or_else(|| real.get(path).and_then(|real| real.mtime));
            }
            assert_eq!(model, real, "{}: the model is wrong", self.workload.name);
        }
    }

    fn root(&self, disk: &Disk, name: &str) -> Number {
        disk.names(0).unwrap()[name.as_bytes()]
    }

    /// Checks what a power loss has left, in an empty directory.
    ///
    /// Where a file system keeps no order, a name can be there before the attributes of the link or directory that has it,
    /// which nothing but a `syncfs` for each would prevent. What a run says of that is taken as it is; but no file is torn, no
    /// object, no state, nothing is lost, and nothing is deleted that was not to be.
    pub(crate) fn check(&self, disk: &Disk, in_order: bool, base: &Path) -> Result<(), String> {
        self.check_names(disk, in_order)?;
        let stands = seen::make(disk, base);
        let (tree, bucket) = (base.join("tree"), base.join("bucket"));
        self.check_objects(&bucket)?;
        let fresh = || StandIn::new(&tree, self.identity, stands.clone());
        let (others, before) = match self.workload.way {
            Way::Export => (&tree, seen::look(&tree)),
            _ => (&bucket, seen::look(&bucket)),
        };
        let resumed = fresh();
        let sent = match self.workload.run(&resumed, base, &self.bucket) {
            Ok(sent) => sent,
            Err(Ended::Incomplete(_)) if !in_order && self.workload.way != Way::Export => {
                let now = seen::look(&tree);
                same("the bucket that was imported", &but(before), &but(seen::look(others)))?;
                return self.check_view(&now, false).map_err(|error| format!("after the next run: {error}"));
            }
            Err(error) => return Err(format!("the next run: {error:?}")),
        };
        let in_place = ["SetAttributes", "SetTimes", "Remove"];
        let is_staged = |said: &String| !in_place.iter().any(|in_place| said.starts_with(in_place));
        let changed = resumed.said.lock().unwrap().iter().any(is_staged);
        if self.workload.way == Way::Export {
            same("the tree that was exported", &before, &seen::look(others))?;
            same("the bucket after the next run", &self.new_objects, &objects(&bucket)?)?;
            let staged = fs::read_dir(bucket.join(".tmp")).unwrap().count();
            if staged > 0 {
                return Err(format!("{staged} versions are left in the bucket after the next run"));
            }
        } else {
            same("the bucket that was imported", &but(before), &but(seen::look(others)))?;
            let now = seen::look(&tree);
            let left = now.keys().any(|path| path.starts_with(STAGED));
            if left && changed && in_order {
                return Err("what was staged is left after a run that has staged something".into());
            }
            let mut without: View = now.into_iter().filter(|(path, _)| !path.starts_with(STAGED)).collect();
            if matches!(self.workload.way, Way::Restore | Way::Release) {
                self.forgive_times(&mut without);
            }
            same("the tree after the next run", &self.new, &without)?;
        }
        let again = fresh();
        let sent_again =
            self.workload.run(&again, base, &self.bucket).map_err(|error| format!("the run after: {error:?}"))?;
        let said = again.said.lock().unwrap();
        if sent_again > 0 || !said.is_empty() {
            let first = resumed.said.lock().unwrap();
            return Err(format!(
                "the run after: {sent_again} requests and {said:?}; the one before: {sent} and {first:?}"
            ));
        }
        Ok(())
    }

    /// After a run that was cut short: names and keys show the old or the new, and what is only read is as it was.
    pub(crate) fn check_between(&self, place: &Place, complete: bool) -> Result<(), String> {
        self.check_others(place)?;
        if self.workload.way == Way::Export {
            return if complete { self.check_objects(&place.path("bucket")) } else { Ok(()) };
        }
        let now = seen::look(&place.path("tree"));
        let torn = self.check_view(&now, true);
        if complete || torn.as_ref().is_err_and(|error| !error.ends_with("is gone")) { torn } else { Ok(()) }
    }

    /// After a run that has done everything.
    pub(crate) fn check_ended(&self, place: &Place) -> Result<(), String> {
        self.check_others(place)?;
        if self.workload.way == Way::Export {
            return same("the bucket", &self.new_objects, &objects(&place.path("bucket"))?);
        }
        let now = seen::look(&place.path("tree"));
        let mut now: View = now.into_iter().filter(|(path, _)| !path.starts_with(STAGED)).collect();
        if self.workload.way == Way::Restore {
            self.forgive_times(&mut now);
        }
        same("the tree", &self.new, &now)
    }

    fn check_others(&self, place: &Place) -> Result<(), String> {
        match self.workload.way {
            Way::Export => same("the tree that is exported", &self.old, &seen::look(&place.path("tree"))),
            _ => same("the bucket that is imported", &self.old_objects, &objects(&place.path("bucket"))?),
        }
    }

    /// What changes places in a directory moves its times, which are put back at the end if they can be.
    fn forgive_times(&self, view: &mut View) {
        for (path, seen) in view.iter_mut().filter(|(_, seen)| seen.kind == 'd') {
            seen.mtime = self.new.get(path).and_then(|new| new.mtime);
        }
    }

    /// Each name shows the old file or the new one.
    fn check_names(&self, disk: &Disk, in_order: bool) -> Result<(), String> {
        self.check_view(&seen::look_at(disk, self.root(disk, "tree")), in_order)
    }

    fn check_view(&self, now: &View, in_order: bool) -> Result<(), String> {
        for (path, seen) in now.iter().filter(|(path, _)| !path.starts_with(STAGED)) {
            let shown = path.escape_ascii();
            let (old, new) = (self.old.get(path), self.new.get(path));
            if seen.mode & 0o6000 != 0 && old.is_none_or(|old| old.mode & 0o6000 == 0) {
                return Err(format!("{shown} is set-id: {seen:?}"));
            }
            let whole = [old, new].into_iter().flatten().any(|whole| match seen.kind {
                'd' => {
                    let modes = [whole.mode, whole.mode | 0o700, 0o700, whole.mode & 0o700];
                    whole.kind == 'd' && (modes.contains(&seen.mode) || self.is_in_between(seen, old, new))
                }
                'l' if !in_order => whole.content == seen.content,
                _ => whole == seen,
            });
            if !in_order && seen.kind == 'd' {
                continue;
            }
            if !whole && !self.is_in_between(seen, old, new) {
                return Err(format!("{shown} is torn: found {seen:?}, expected {old:?} or {new:?}"));
            }
        }
        let there = |path: &Vec<u8>| now.contains_key(path);
        let types = |path: &Vec<u8>| (self.old[path].kind, self.new[path].kind);
        // A directory that was put into place and is not there yet takes along what is in it.
        let around = |path: &[u8]| path.iter().rposition(|byte| *byte == b'/').map(|end| path[..end].to_vec());
        let is_below = |path: &Vec<u8>| around(path).is_some_and(|around| !now.contains_key(&around));
        let gone = self.old.keys().filter(|path| self.new.contains_key(*path) && !there(path) && !is_below(path));
        // What changes its type is away for a moment.
        match gone.into_iter().find(|path| !matches!(types(path), ('d', 'f' | 'l') | ('f' | 'l', 'd'))) {
            Some(path) => Err(format!("{} is gone", path.escape_ascii())),
            None => Ok(()),
        }
    }

    /// Whether only attributes differ, on their way from the old ones to the new.
    fn is_in_between(&self, seen: &Seen, old: Option<&Seen>, new: Option<&Seen>) -> bool {
        let (Some(old), Some(new)) = (old, new) else { return false };
        let common = old.mode & new.mode & 0o700;
        let narrow = if seen.mode & !common & 0o7777 == 0 { true } else { old.owner == new.owner };
        let mode = [old.mode, new.mode, common].contains(&seen.mode);
        let owner = seen.owner == old.owner || seen.owner == new.owner;
        let fits = narrow
            || (seen.owner == old.owner && seen.mode == old.mode)
            || (seen.owner == new.owner && seen.mode == new.mode);
        seen.kind == old.kind
            && seen.kind == new.kind
            && seen.kind != 'l'
            && old.content == new.content
            && seen.content == new.content
            && (seen.mtime == old.mtime || seen.mtime == new.mtime || seen.kind == 'd')
            && mode
            && owner
            && fits
    }

    /// Each key holds the old version or the new one, whole.
    fn check_objects(&self, bucket: &Path) -> Result<(), String> {
        let now = objects(bucket)?;
        for (key, version) in &now {
            let whole = [self.old_objects.get(key), self.new_objects.get(key)];
            if !whole.contains(&Some(version)) {
                return Err(format!("the object {key:?} is neither the old one nor the new one: {version:?}"));
            }
        }
        let kept = self.old_objects.keys().filter(|key| self.new_objects.contains_key(*key));
        match kept.into_iter().find(|key| !now.contains_key(*key)) {
            Some(key) => Err(format!("the object {key:?} is gone")),
            None => Ok(()),
        }
    }
}

/// Without what a bucket keeps for its own work.
fn but(view: View) -> View {
    view.into_iter().filter(|(path, _)| !path.starts_with(b".tmp")).collect()
}

fn same<V: PartialEq + std::fmt::Debug, K: Ord + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Result<(), String> {
    let differs = |one: &BTreeMap<K, V>, other: &BTreeMap<K, V>| -> Vec<String> {
        let differing = one.iter().filter(|(key, value)| other.get(key) != Some(value));
        differing.map(|(key, value)| format!("{key:?}: {value:?}")).collect()
    };
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {:#?}, found {:#?}", differs(expected, found), differs(found, expected)))
}

/// What a bucket holds; nothing where there is none.
fn objects(bucket: &Path) -> Result<Objects, String> {
    if !bucket.join(".posix-s3-bucket").exists() {
        return Ok(Objects::new());
    }
    let store = DirectoryStore::open_existing(bucket).map_err(|error| error.to_string())?;
    let mut objects = Objects::new();
    async_io::block_on(async {
        let failed = |error: posix_s3::store::StoreError| format!("the bucket: {error}: {error:?}");
        for listed in store.list(&ListRequest::default()).await.map_err(failed)?.objects {
            let mut got = store.get(&listed.key, &GetOptions::default()).await.map_err(failed)?;
            let mut bytes = Vec::new();
            while let Some(piece) = got.body.next().await {
                bytes.extend_from_slice(&piece.map_err(failed)?);
            }
            let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = got.meta.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
            let mut headers: Vec<_> = headers.filter(|(name, _)| !name.contains("atime")).collect();
            headers.sort();
            objects.insert(listed.key, (headers, bytes));
        }
        Ok(objects)
    })
}
