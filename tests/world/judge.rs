//! [`Judge`]: sees every change on both sides, and says at once when one was not to be.

use super::store::{Bucket, Conditions, Event, Version, Writer};
use super::watched::{Changed, Log};
use crate::model::{self, Kind, Node, Object, Rules, Tree};
use posix_s3::plan::OnConflict;
use posix_s3::snapshot::{Local, SnapshotReader};
use posix_s3::store::{Operation, Precondition};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::sync::Arc;

/// The rules of a game.
#[derive(Clone, Debug)]
pub(crate) struct Rulebook {
    pub(crate) prefix: String,
    /// Several changes may have one time.
    pub(crate) is_coarse: bool,
    /// Each ETag is a digest, so that what is in a file tells whether it has changed.
    pub(crate) is_digest: bool,
    /// Runs keep a state.
    pub(crate) has_state: bool,
    pub(crate) exports: OnConflict,
    pub(crate) imports: OnConflict,
    /// The most that a run may delete, whatever its share.
    pub(crate) brake: Option<u64>,
}

/// What is known of an engine and its tree.
#[derive(Default)]
pub(crate) struct Facts {
    /// Each thing that ever stood at a path.
    gens: HashMap<String, Vec<Node>>,
    /// What the engine itself has made.
    made: HashMap<String, Vec<Node>>,
    /// Paths that somebody edited here.
    pub(crate) local: BTreeSet<String>,
    /// Paths whose objects somebody else has changed.
    pub(crate) remote: BTreeSet<String>,
    /// Paths whose objects were changed by a request that was overtaken.
    pub(crate) late: BTreeSet<String>,
    /// Paths that a run has changed here without coming to its end.
    pub(crate) unrecorded: BTreeSet<String>,
    pub(crate) run: u64,
    /// Changes of bucket and tree in this run.
    pub(crate) changes: u64,
    deletes: u64,
    written: BTreeSet<String>,
    /// Paths that somebody edited here since the run began.
    fresh: BTreeSet<String>,
}

pub(crate) struct Judge {
    pub(crate) rules: Rulebook,
    pub(crate) engines: Vec<Facts>,
    /// Each version that ever was under a key, behind the prefix.
    versions: HashMap<String, Vec<Arc<Version>>>,
    /// What happened last, for whoever has to find out.
    pub(crate) story: Vec<String>,
}

pub(crate) fn path_of(key: &str) -> &str {
    key.strip_suffix('/').unwrap_or(key)
}

/// Whether one of some paths is a path, around it or in it.
pub(crate) fn covers(paths: &BTreeSet<String>, path: &str) -> bool {
    let below = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
    paths.iter().any(|other| other == path || below(other, path) || below(path, other))
}

pub(crate) fn object(version: &Version) -> Object {
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in &version.headers {
        if name != "content-type" {
            headers.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    Object { headers, body: version.body.to_vec(), last_modified: version.modified.nanoseconds() }
}

/// As it is stored, whenever it was last read.
pub(crate) fn stored(node: &Node) -> Node {
    let one = Tree::from([("x".to_owned(), node.clone())]);
    let mut node = model::normalise(&one, "", &Rules::FSX).remove("x").unwrap();
    node.atime = 0;
    if matches!(node.kind, Kind::Link(_)) {
        node.mode = 0;
    }
    node
}

/// What an object is as a node, and whether it says all of it itself.
pub(crate) fn decoded(key: &str, version: &Version) -> Option<(Node, bool)> {
    let name = if key.ends_with('/') { "x/" } else { "x" };
    let bucket = BTreeMap::from([(name.to_owned(), object(version))]);
    let (mut tree, _) = model::import(&bucket, "", &Rules::FSX, &Tree::new());
    let node = tree.remove("x")?;
    let again = encoded(key, &node);
    let said = object(version);
    let says = |name: &str| {
        let (one, other) = (again.headers.get(name), said.headers.get(name));
        one == other || name == "x-amz-meta-file-permissions" && other.is_some_and(|text| text.len() == 7)
    };
    let whole = ["permissions", "owner", "group", "mtime"].iter().all(|name| says(&format!("x-amz-meta-file-{name}")));
    Some((node, whole))
}

/// The object of a node, without its access time.
fn encoded(key: &str, node: &Node) -> Object {
    let one = Tree::from([(path_of(key).to_owned(), node.clone())]);
    let mut object = model::export(&one, "", &Rules::FSX).into_values().next().unwrap();
    object.headers.remove("x-amz-meta-file-atime");
    object
}

fn without_atime(version: &Version) -> Object {
    let mut object = object(version);
    object.headers.remove("x-amz-meta-file-atime");
    object.last_modified = 0;
    object
}

/// Whether a version is what an export of a node puts.
pub(crate) fn is_encoded(key: &str, node: &Node, version: &Version) -> bool {
    (node.kind == Kind::Directory) == key.ends_with('/') && encoded(key, node) == without_atime(version)
}

impl Judge {
    pub(crate) fn new(rules: Rulebook, engines: usize) -> Self {
        let engines = (0..engines).map(|_| Facts::default()).collect();
        Self { rules, engines, versions: HashMap::new(), story: Vec::new() }
    }

    pub(crate) fn tells(&mut self, what: impl FnOnce() -> String) {
        self.story.push(what());
    }

    /// A tree is like this now.
    pub(crate) fn sees(&mut self, engine: usize, tree: &Tree, log: &mut Log) {
        let facts = &mut self.engines[engine];
        for (path, node) in tree {
            let gens = facts.gens.entry(path.clone()).or_insert_with(|| {
                log.known.insert(path.clone());
                Vec::new()
            });
            if gens.last() != Some(node) {
                gens.push(node.clone());
            }
        }
    }

    /// Somebody has edited a tree.
    pub(crate) fn edited(&mut self, engine: usize, before: &Tree, after: &Tree, log: &mut Log) {
        let differ = |path: &&String| before.get(*path) != after.get(*path);
        let paths: BTreeSet<String> = before.keys().chain(after.keys()).filter(differ).cloned().collect();
        self.tells(|| format!("edit of {engine}: {paths:?}"));
        self.engines[engine].fresh.extend(paths.iter().cloned());
        self.engines[engine].local.extend(paths);
        self.sees(engine, after, log);
    }

    /// A crash has taken something back, which is nobody's doing.
    pub(crate) fn lost(&mut self, engine: usize, before: &Tree, after: &Tree, log: &mut Log) {
        for (path, node) in after.iter().filter(|(path, node)| before.get(*path) != Some(*node)) {
            // What was written may be on the disk while its time is not; nobody can tell that it has changed.
            let gens = self.engines[engine].gens.get(path).map_or(&[][..], Vec::as_slice);
            if gens.iter().any(|other| other.mtime == node.mtime && other.kind != node.kind) {
                self.engines[engine].late.insert(path.clone());
            }
            self.engines[engine].made.entry(path.clone()).or_default().push(node.clone());
        }
        let lost: Vec<&String> = before.keys().filter(|path| before.get(*path) != after.get(*path)).collect();
        self.tells(|| format!("lost by {engine}: {lost:?}"));
        self.sees(engine, after, log);
    }

    pub(crate) fn begins(&mut self, engine: usize, run: u64) {
        let facts = &mut self.engines[engine];
        (facts.run, facts.changes, facts.deletes) = (run, 0, 0);
        facts.written.clear();
        facts.fresh.clear();
    }

    /// A run has ended, or was cut.
    pub(crate) fn ends(&mut self, engine: usize, whole: bool) {
        let facts = &mut self.engines[engine];
        let written = std::mem::take(&mut facts.written);
        if !whole {
            facts.unrecorded.extend(written);
        }
    }

    // ------------------------------------------------------------------------------------------- the bucket

    pub(crate) fn happened(&mut self, event: Event, bucket: &Bucket, logs: &[&Log]) {
        let Event { writer, operation, key, after, .. } = &event;
        self.tells(|| {
            let late = if event.is_overtaken { ", overtaken" } else { "" };
            let version = after.as_ref().map(|after| (after.etag.to_string(), format!("{:?}", object(after))));
            format!("{writer:?}: {operation} {key} if {:?}{late}: {version:?}", event.condition)
        });
        let Some(behind) = key.strip_prefix(&self.rules.prefix).map(str::to_owned) else {
            assert_eq!(*writer, Writer::Stranger, "X2: {key} is outside the prefix and was changed");
            return;
        };
        let path = path_of(&behind).to_owned();
        for (number, facts) in self.engines.iter_mut().enumerate() {
            if *writer != Writer::Engine(number) {
                facts.remote.insert(path.clone());
            } else if event.is_overtaken {
                facts.late.insert(path.clone());
            }
        }
        if let Writer::Engine(number) = *writer {
            self.engines[number].changes += 1;
            self.no_torn_version(number, &behind, &event, bucket);
            self.nothing_is_lost(number, &behind, &event, bucket);
            if *operation == Operation::Delete {
                self.deletes_are_due(number, &behind, &event, logs[number]);
            }
        }
        if let Some(after) = event.after {
            self.versions.entry(behind).or_default().push(after);
        }
    }

    /// X1: what becomes visible is one generation of one file.
    fn no_torn_version(&self, engine: usize, key: &str, event: &Event, bucket: &Bucket) {
        let Some(after) = &event.after else { return };
        let gens = self.engines[engine].gens.get(path_of(key)).map_or(&[][..], Vec::as_slice);
        let honours = bucket.knobs.conditions == Conditions::Honoured;
        let of_one = gens.iter().any(|node| is_encoded(key, node, after));
        // The body of a directory's object is nobody's; and without preconditions the bytes may be another's by then.
        let bytes_are_anothers = event.operation == Operation::ReplaceMetadata && (!honours || key.ends_with('/'));
        let headers = |node: &Node| encoded(key, node).headers == without_atime(after).headers;
        let fits = of_one || ((bytes_are_anothers || self.rules.is_coarse) && gens.iter().any(headers));
        assert!(fits, "X1: {key} became what no generation of it was: {:?}; {gens:?}", object(after));
    }

    /// X7: a version of somebody else goes only if the tree has had it.
    fn nothing_is_lost(&self, engine: usize, key: &str, event: &Event, bucket: &Bucket) {
        let yields = |policy| matches!(policy, OnConflict::Local | OnConflict::Newest);
        let Rulebook { exports, imports, has_state, .. } = self.rules;
        let Some(before) = event.before.as_ref().filter(|before| before.writer != event.writer) else { return };
        if !has_state || yields(exports) || yields(imports) || imports == OnConflict::KeepBoth {
            return;
        }
        // At its path or, if somebody moved a directory meanwhile, at another.
        let was_here = decoded(key, before).is_some_and(|(lost, whole)| {
            let (lost, here) = (stored(&lost), self.engines[engine].gens.get(path_of(key)));
            let same_time = |node: &Node| node.mtime == lost.mtime || !whole;
            let mut gens = self.engines[engine].gens.values().filter(|_| whole).chain(here).flatten();
            gens.any(|node| node.kind == lost.kind && same_time(node))
        });
        let is_same = event.after.as_ref().is_some_and(|after| without_atime(after) == without_atime(before));
        let was_shown = matches!(&event.shown, Some(Some(shown)) if Arc::ptr_eq(shown, before));
        let in_the_gap = match (&event.condition, bucket.knobs.conditions) {
            // Between the look and the request, metadata may be replaced unseen: the ETag is the same.
            (Precondition::Match(etag), Conditions::Honoured) => *etag == before.etag && !was_shown,
            (_, Conditions::Honoured) => false,
            // A store that is said to refuse what is there is not asked first.
            (Precondition::Absent, _) => true,
            _ => !was_shown,
        };
        // Where times have whole seconds, a second change of metadata in the same second does not show.
        let same_second = |other: &Arc<Version>| {
            !Arc::ptr_eq(other, before)
                && other.etag == before.etag
                && other.modified.seconds() == before.modified.seconds()
        };
        let versions = self.versions.get(key).map_or(&[][..], Vec::as_slice);
        let is_hidden = bucket.knobs.whole_seconds && versions.iter().any(same_second);
        assert!(
            was_here || is_same || in_the_gap || is_hidden,
            "X7: {key} was lost, which {:?} has put: {:?}, by {:?} if {:?} (shown: {was_shown})",
            before.writer,
            object(before),
            event.operation,
            event.condition
        );
    }

    /// X6: what is deleted was seen to be gone twice, and is not too much.
    fn deletes_are_due(&mut self, engine: usize, key: &str, event: &Event, log: &Log) {
        let facts = &mut self.engines[engine];
        if event.run != facts.run || event.is_overtaken {
            return;
        }
        facts.deletes += 1;
        let absent = log.told.absent(key);
        assert!(absent >= 2, "X6: {key} was deleted, and {absent} looks at last have found that it is gone");
        if let Some(brake) = self.rules.brake {
            let deletes = facts.deletes;
            assert!(deletes <= brake, "X6: {deletes} were deleted in one run, and {brake} is the most");
        }
        assert!(self.rules.has_state, "X6: {key} was deleted without a state");
    }

    // --------------------------------------------------------------------------------------------- the tree

    /// I5: what goes from a tree was in the bucket, or was made by the engine.
    pub(crate) fn changed(&mut self, engine: usize, change: Changed, log: &mut Log) {
        let Changed { what, before, after, is_rename } = change;
        self.tells(|| format!("{engine} in its tree: {what}"));
        let replaces = |policy| matches!(policy, OnConflict::Store | OnConflict::Newest);
        let facts = &self.engines[engine];
        let looks = self.rules.has_state && !replaces(self.rules.imports);
        for (path, node) in before.iter().filter(|(path, node)| looks && after.get(*path) != Some(*node)) {
            let key = if node.kind == Kind::Directory { format!("{path}/") } else { path.clone() };
            let alike = |one: &Node, other: &Node| {
                let (mut one, mut other) = (stored(one), stored(other));
                if one.kind == Kind::Directory {
                    (one.mtime, other.mtime) = (0, 0);
                }
                one == other
            };
            let made = facts.made.get(path).is_some_and(|made| made.iter().any(|other| alike(node, other)));
            let held = |(key, versions): (&String, &Vec<Arc<Version>>)| {
                versions.iter().filter_map(|version| decoded(key, version)).any(|(other, _)| alike(node, &other))
            };
            // Under its key or, if somebody moved a directory meanwhile, under another.
            let sent = self.versions.get_key_value(&key).is_some_and(held) || self.versions.iter().any(held);
            let kept = is_rename && after.values().any(|other| other == node);
            let stays = after.get(path).is_some_and(|now| alike(now, node));
            // What is done to a directory while a run is at it is undone where the object rules, and said to be so.
            let both = node.kind == Kind::Directory && after.get(path).is_some_and(|now| now.kind == Kind::Directory);
            // One that goes is empty and the same inode, which is all that is known of it.
            let goes = node.kind == Kind::Directory && !after.contains_key(path);
            // What is done to a file in the tick in which it was looked at does not show.
            let undone = (both || goes || self.rules.is_coarse) && facts.fresh.contains(path);
            // Who has owner and permissions of the object, and a time that was sent, may be what a run that was cut has left.
            let had_time = |version: &Arc<Version>| {
                decoded(&key, version).is_some_and(|(other, _)| stored(&other).mtime == stored(node).mtime)
            };
            let is_halfway = self.versions.get(&key).is_some_and(|versions| versions.iter().any(had_time))
                && after.get(path).is_some_and(|now| alike(&Node { mtime: now.mtime, ..node.clone() }, now));
            // Where an ETag is no digest, other content of the same size and time was taken for what was sent.
            let is_twin = !self.rules.is_digest && self.has_twins(engine, path, node);
            assert!(
                made || sent || kept || stays || undone || is_halfway || is_twin,
                "I5: {path} was lost, which nobody has sent: {node:?}, by {what}"
            );
        }
        let facts = &mut self.engines[engine];
        facts.changes += 1;
        let differ = |(path, node): &(&String, &Node)| before.get(*path) != Some(*node);
        for (path, node) in after.iter().filter(differ) {
            facts.made.entry(path.clone()).or_default().push(node.clone());
            assert!(
                node.mode & 0o6000 == 0 || is_rename || before.contains_key(path),
                "I3: {path} has {:o}",
                node.mode
            );
        }
        let touched = before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path));
        facts.written.extend(touched.cloned());
        self.sees(engine, &after, log);
    }

    // -------------------------------------------------------------------------------------------- the state

    /// X3: each record is about something that was.
    pub(crate) fn records(&self, engine: usize, snapshot: Option<Vec<u8>>, tells_etags: bool) -> u64 {
        let Some(mut reader) = snapshot.and_then(|bytes| SnapshotReader::open(Cursor::new(bytes)).ok()) else {
            return 0;
        };
        if reader.verify().is_err() {
            return 0;
        }
        let mut count = 0;
        reader.seek("").unwrap();
        while let Some(record) = reader.next().unwrap() {
            count += 1;
            let key = record.key.as_str();
            let Some(remote) = record.remote.filter(|_| tells_etags) else { continue };
            let versions = self.versions.get(key).map_or(&[][..], Vec::as_slice);
            let mut meant = versions.iter().filter(|version| version.etag == remote.etag).peekable();
            assert!(meant.peek().is_some(), "X3: {key} is recorded as {remote:?}, which it never was");
            let Some(local) = record.local else { continue };
            let gens = self.engines[engine].gens.get(path_of(key)).map_or(&[][..], Vec::as_slice);
            // What was made in a directory that somebody moved meanwhile is elsewhere.
            let facts = &self.engines[engine];
            let anywhere = || facts.gens.values().flatten().any(|node| is_recorded(&local, node, true));
            let moved = covers(&facts.local, path_of(key)) && (gens.is_empty() || anywhere());
            assert!(
                moved || gens.iter().any(|node| is_recorded(&local, node, true)),
                "X3: {key} is recorded as {local:?}, which it never was: {gens:?}"
            );
            let agreed = meant.filter_map(|version| decoded(key, version)).any(|(node, whole)| {
                !whole || is_recorded(&local, &node, false) || (key.ends_with('/') && node.kind == Kind::Directory)
            });
            assert!(agreed, "X3: {key} is recorded as agreed on, and never was: {local:?} and {remote:?}");
        }
        count
    }

    /// Whether a path ever had other content of the same size and time as now.
    pub(crate) fn has_twins(&self, engine: usize, path: &str, now: &Node) -> bool {
        let gens = self.engines[engine].gens.get(path).map_or(&[][..], Vec::as_slice);
        gens.iter().any(|node| node.mtime == now.mtime && node.kind != now.kind)
    }

    /// Whether an object ever was this node.
    pub(crate) fn was_ever(&self, key: &str, node: &Node) -> bool {
        let versions = self.versions.get(key).map_or(&[][..], Vec::as_slice);
        versions.iter().filter_map(|version| decoded(key, version)).any(|(other, _)| stored(&other) == stored(node))
    }

    /// Whether a path was ever of two kinds, on either side.
    pub(crate) fn had_two_kinds(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        let below = |key: &String| key.starts_with(&directory);
        let as_file = self.versions.contains_key(path);
        let as_directory = self.versions.keys().any(below);
        let here = |facts: &Facts| {
            let gens = facts.gens.get(path).map_or(&[][..], Vec::as_slice);
            let files = gens.iter().any(|node| node.kind != Kind::Directory);
            (files, files != gens.iter().all(|node| node.kind != Kind::Directory) || (files && as_directory))
        };
        (as_file && as_directory) || self.engines.iter().any(|facts| here(facts).1)
    }
}

fn is_recorded(local: &Local, node: &Node, exactly: bool) -> bool {
    let size = match &node.kind {
        Kind::File(content) => content.len(),
        Kind::Directory => 0,
        Kind::Link(target) => target.len(),
    };
    let mode = |mode: u32| if exactly { mode } else { mode & 0o777 };
    let is_link = matches!(node.kind, Kind::Link(_));
    local.size == size as u64
        && (is_link || mode(local.permissions.bits()) == mode(node.mode))
        && (local.uid.get(), local.gid.get()) == (node.uid, node.gid)
        && local.mtime.nanoseconds() == node.mtime
}
