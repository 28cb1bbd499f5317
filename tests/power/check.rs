//! [`Case`]: a recorded run, and what has to hold of everything that a power loss may leave of it.

use super::disk::{Disk, History, Number};
use super::replay::{self, Replay};
use super::seen::{self, Seen, View};
use super::stand_in::StandIn;
use super::trace;
use super::workload::{Place, Way, Workload};
use futures_util::StreamExt;
use posix_s3::store::{DirectoryStore, GetOptions, ListRequest, ObjectStore};
use posix_s3::tree::{LocalTree, Tree};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Everything in a bucket, by key: the headers and the bytes.
type Objects = BTreeMap<String, (Vec<(String, String)>, Vec<u8>)>;

const STAGED: &[u8] = b".posix-s3-staging-";

pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) start: Disk,
    pub(crate) history: History,
    /// How many calls changed anything or asked for it to be on the disk.
    pub(crate) moments: usize,
    end: Disk,
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
    pub(crate) fn check(&self, disk: &Disk, base: &Path) -> Result<(), String> {
        self.check_names(disk)?;
        let stands = seen::make(disk, base);
        let (tree, bucket) = (base.join("tree"), base.join("bucket"));
        self.check_objects(&bucket)?;
        let fresh = || StandIn::new(&tree, self.identity, stands.clone());
        let (others, before) = match self.workload.way {
            Way::Export => (&tree, seen::look(&tree)),
            _ => (&bucket, seen::look(&bucket)),
        };
        let resumed = fresh();
        let sent = self.workload.run(&resumed, base, &self.bucket).map_err(|error| format!("the next run: {error}"))?;
        let changed = resumed.changes.load(Ordering::Relaxed) > 0;
        if self.workload.way == Way::Export {
            same("the tree that was exported", &before, &seen::look(others))?;
            same("the bucket after the next run", &self.new_objects, &objects(&bucket)?)?;
            let staged = fs::read_dir(bucket.join(".tmp")).unwrap().count();
            if staged > 0 {
                return Err(format!("{staged} versions are left in the bucket after the next run"));
            }
        } else {
            let now = seen::look(others);
            let but = |view: View| -> View { view.into_iter().filter(|(path, _)| !path.starts_with(b".tmp")).collect() };
            same("the bucket that was imported", &but(before), &but(now))?;
            let now = seen::look(&tree);
            let left = now.keys().any(|path| path.starts_with(STAGED));
            if left && changed {
                return Err("what was staged is left after a run that has staged something".into());
            }
            let without: View = now.into_iter().filter(|(path, _)| !path.starts_with(STAGED)).collect();
            same("the tree after the next run", &self.new, &without)?;
        }
        let again = fresh();
        let sent_again = self.workload.run(&again, base, &self.bucket).map_err(|error| format!("the run after: {error}"))?;
        let said = again.said.lock().unwrap();
        if sent_again > 0 || !said.is_empty() {
            let first = resumed.said.lock().unwrap();
            return Err(format!("the run after: {sent_again} requests and {said:?}; the one before: {sent} and {first:?}"));
        }
        Ok(())
    }

    /// Each name shows the old file or the new one.
    fn check_names(&self, disk: &Disk) -> Result<(), String> {
        let root = self.root(disk, "tree");
        let now = seen::look_at(disk, root);
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
                _ => whole == seen,
            });
            if !whole && !self.is_in_between(seen, old, new) {
                return Err(format!("{shown} is torn: found {seen:?}, expected {old:?} or {new:?}"));
            }
        }
        let there = |path: &Vec<u8>| now.contains_key(path);
        let types = |path: &Vec<u8>| (self.old[path].kind, self.new[path].kind);
        let gone = self.old.keys().filter(|path| self.new.contains_key(*path) && !there(path));
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
