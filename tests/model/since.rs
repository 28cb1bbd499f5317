//! The slow and obvious reference for runs with a state: what both sides agreed on is a third map.
//!
//! It follows the parts "What has changed since" and "An import" of the page on the semantics. It needs no inode, no ctime
//! and no racy record: those are how an implementation finds out, without reading everything, what is said here of whole
//! contents.

use super::{Bucket, Kind, Node, Object, Rules, Tree, Verdict, ancestors, is_below, is_path, is_same_type, kept_bits};
use super::{is_shadowed, read_object};
use std::collections::{BTreeMap, BTreeSet};

/// Why a selected path is failed.
pub const NEITHER: &str = "neither there nor recorded";
/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// A bucket with the version of each object; keys are those behind the prefix.
pub type Versions = BTreeMap<String, Version>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its time is that of a head.
    pub object: Object,
    pub etag: String,
    /// The time that a listing shows.
    pub listed: i128,
}

/// What both sides last agreed on, by key.
pub type Record = BTreeMap<String, Agreed>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// What the tree held, with its content; nothing where the tree is to win whatever it holds.
    pub local: Option<Node>,
    /// What the bucket held; nothing for a directory that an import has made without an object of its own.
    pub remote: Option<Remote>,
}

/// An object as a listing tells one version of it from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub etag: String,
    pub size: usize,
    /// Nothing after a put, where its answer has no time.
    pub last_modified: Option<i128>,
}

impl Version {
    /// As a head shows it.
    pub fn remote(&self) -> Remote {
        let Self { object, etag, .. } = self;
        Remote { etag: etag.clone(), size: object.body.len(), last_modified: Some(object.last_modified) }
    }

    /// As a listing shows it.
    fn listed(&self) -> Remote {
        Remote { last_modified: Some(self.listed), ..self.remote() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Fail,
    Local,
    Store,
    Newest,
    KeepBoth,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub rules: Rules,
    pub policy: Policy,
    /// So many deletes, or so many percent of what is recorded; nothing without.
    pub deletes: Option<(u64, u8)>,
    /// A file, link or directory with all that is in it; everything without.
    pub path: Option<String>,
    /// The store replaces metadata without the body.
    pub in_place: bool,
    /// The ETag of an object is the MD5 of its body, so that it tells whether content is the same.
    pub etags_tell: bool,
    /// Times tell one change from the next, also that of a put in its answer.
    pub times_tell: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::FSX,
            policy: Policy::Fail,
            deletes: None,
            path: None,
            in_place: true,
            etags_tell: true,
            times_tell: true,
        }
    }
}

impl Options {
    fn selects(&self, key: &str) -> bool {
        // Mapping decision: a path selects what stands there, file or directory, with all that is in it.
        self.path.as_deref().is_none_or(|path| key == path || is_below(key, path))
    }

    /// Whether so many of so many may be deleted.
    fn permits(&self, deletes: usize, owned: usize) -> bool {
        let (count, percent) = self.deletes.unwrap_or_default();
        deletes as u64 <= count || deletes as u64 * 100 <= owned as u64 * u64::from(percent)
    }
}

/// What a run comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub put: BTreeSet<String>,
    pub copy: BTreeSet<String>,
    pub delete: BTreeSet<String>,
    pub get: BTreeSet<String>,
    /// How each entry ends.
    pub verdicts: BTreeMap<String, Verdict>,
    pub deleted: u64,
    pub gone: u64,
    pub braked: bool,
    /// Both sides afterwards.
    pub tree: Tree,
    pub bucket: Bucket,
    /// Of what both sides agree now.
    pub agreed: BTreeSet<String>,
    /// Whose objects were not looked at, and of which the record is brought up to date.
    pub refreshed: BTreeSet<String>,
    /// The object that the tree is to win over, of these.
    pub yielded: BTreeSet<String>,
    /// Directories that were made since something is in them.
    pub implied: BTreeSet<String>,
    /// What is gone from the tree and stays in the bucket.
    pub left: BTreeSet<String>,
    /// What is not recorded any more.
    pub forgotten: BTreeSet<String>,
}

impl Expected {
    /// The record after the run: what is agreed on is what both sides hold.
    pub fn record(&self, before: &Record, tree: &Tree, bucket: &Versions, options: &Options) -> Record {
        let mut record = before.clone();
        record.retain(|key, _| !self.forgotten.contains(key));
        for key in &self.refreshed {
            if let Some(agreed) = record.get_mut(key) {
                agreed.local = Some(tree[path_of(key)].clone());
            }
        }
        for key in &self.agreed {
            let local = Some(tree[path_of(key)].clone());
            let mut remote = bucket[key].remote();
            // Mapping decision: the answer to a copy says as much as a listing, which may be more than a head does.
            if self.copy.contains(key) {
                remote = bucket[key].listed();
            } else if self.put.contains(key) && !options.times_tell {
                remote.last_modified = None;
            }
            record.insert(key.clone(), Agreed { local, remote: Some(remote) });
        }
        // Mapping decision: the object is known now, and what the tree holds is not what it says.
        for key in &self.yielded {
            let remote = bucket.get(key).map(Version::remote);
            record.insert(key.clone(), Agreed { local: None, remote });
        }
        // Mapping decision: what is gone stays recorded as an object of ours; what comes back in its place is something new.
        for key in &self.left {
            // Where nobody knows when the object was put, only what was put tells whether it is still ours: that stays recorded.
            if let Some(agreed) = record.get_mut(key)
                && agreed.remote.as_ref().is_none_or(|remote| remote.last_modified.is_some())
            {
                agreed.local = None;
            }
        }
        let implied = self.implied.iter().filter(|key| !self.agreed.contains(*key));
        for key in implied {
            record.insert(key.clone(), Agreed { local: tree.get(path_of(key)).cloned(), remote: None });
        }
        record
    }

    fn end(&mut self, key: &str, verdict: Verdict) {
        let before = self.verdicts.insert(key.to_owned(), verdict);
        assert_eq!(before, None, "{key} ends twice");
    }

    fn agree(&mut self, key: &str, verdict: Verdict) {
        self.agreed.insert(key.to_owned());
        self.end(key, verdict);
    }
}

pub fn path_of(key: &str) -> &str {
    key.strip_suffix('/').unwrap_or(key)
}

pub fn key_of(path: &str, node: &Node) -> String {
    if node.kind == Kind::Directory { format!("{path}/") } else { path.to_owned() }
}

/// What stands in a tree under a key, slash and all.
fn at<'t>(tree: &'t Tree, key: &str) -> Option<&'t Node> {
    tree.get(path_of(key)).filter(|node| (node.kind == Kind::Directory) == key.ends_with('/'))
}

/// A node as it is stored: without the bits that are dropped, and whenever it was last read.
fn stored(node: &Node, rules: &Rules) -> Node {
    Node { mode: kept_bits(&node.kind, node.mode, rules), atime: 0, ..node.clone() }
}

fn length(kind: &Kind) -> usize {
    match kind {
        Kind::File(content) => content.len(),
        Kind::Directory => 0,
        Kind::Link(target) => target.len(),
    }
}

/// Whether an object, shown by a head or a listing, is the version that was agreed on, as far as can be told.
fn is_as_agreed(key: &str, held: &Version, shown: &Remote, known: &Agreed, rules: &Rules) -> bool {
    let Some(recorded) = &known.remote else { return false };
    if (&recorded.etag, recorded.size) != (&shown.etag, shown.size) {
        return false;
    }
    match (recorded.last_modified, &known.local) {
        (Some(time), _) => shown.last_modified.is_some_and(|shown| is_same_time(time, shown)),
        // Mapping decision: where nobody knows when it was put, it is as agreed on if it says what was put. The bits that
        // only some editions store say nothing.
        (None, Some(local)) => read_object(key, &held.object, rules, None).is_ok_and(|said| {
            let set = |node: &Node| (kept_bits(&node.kind, node.mode, &Rules::FSX), node.uid, node.gid, node.mtime);
            is_same_type(&said.kind, &local.kind) && set(&said) == set(local)
        }),
        (None, None) => true,
    }
}

/// Mapping decision: where one of two times has no fraction, seconds are compared.
fn is_same_time(one: i128, other: i128) -> bool {
    let seconds = |time: i128| time.div_euclid(SECOND);
    one == other || (!(has_fraction(one) && has_fraction(other)) && seconds(one) == seconds(other))
}

const fn has_fraction(time: i128) -> bool {
    time % SECOND != 0
}

/// Whether an object is what an export of this would put, as far as can be told.
fn is_what_would_be_put(key: &str, node: &Node, version: &Version, options: &Options) -> bool {
    let Ok(held) = read_object(key, &version.object, &options.rules, None) else { return false };
    let (held, node) = (stored(&held, &options.rules), stored(node, &options.rules));
    // Mapping decision: the content is compared as far as the ETag tells; where it tells nothing, size and mtime do.
    let same_content = if version.object.body.len() != length(&node.kind) {
        false
    } else if options.etags_tell {
        held.kind == node.kind
    } else {
        is_same_type(&held.kind, &node.kind) && length(&held.kind) == length(&node.kind)
    };
    same_content && Node { kind: node.kind.clone(), ..held } == node
}

// ---------------------------------------------------------------------------------------------------- export

/// What an export comes to. Without a record nothing is known.
pub fn export_since(tree: &Tree, bucket: &Versions, record: Option<&Record>, options: &Options) -> Expected {
    let mut expected = Expected {
        tree: tree.clone(),
        bucket: bucket.iter().map(|(key, version)| (key.clone(), version.object.clone())).collect(),
        ..Expected::default()
    };
    let nothing = Record::new();
    let known = record.unwrap_or(&nothing);
    let keys: BTreeSet<String> =
        tree.iter().map(|(path, node)| key_of(path, node)).chain(known.keys().cloned()).collect();
    let mut gone = Vec::new();
    for key in keys.iter().filter(|key| options.selects(key)) {
        match at(tree, key) {
            // Mapping decision: a directory that never had an object has none to delete.
            None if known[key].remote.is_none() => _ = expected.forgotten.insert(key.clone()),
            None => gone.push(key),
            Some(node) => export_one(key, node, bucket.get(key), known.get(key), options, &mut expected),
        }
    }
    // Mapping decision: a path that is neither there nor recorded is failed.
    if let Some(path) = &options.path
        && !keys.iter().any(|key| options.selects(key))
    {
        expected.end(path, Verdict::Failed(NEITHER));
    }
    // Mapping decision: deletes come last, and beyond the brake there are none.
    expected.braked = options.deletes.is_some() && !options.permits(gone.len(), known.len());
    for key in gone {
        if options.deletes.is_none() || expected.braked {
            expected.gone += 1;
            expected.left.insert(key.clone());
        } else {
            delete_object(key, bucket.get(key), &known[key], options, &mut expected);
        }
    }
    expected
}

fn export_one(
    key: &str,
    node: &Node,
    held: Option<&Version>,
    known: Option<&Agreed>,
    options: &Options,
    expected: &mut Expected,
) {
    let was = known.and_then(|known| known.local.as_ref()).map(|was| stored(was, &options.rules));
    let now = stored(node, &options.rules);
    // Mapping decision: whether content is the same is decided by the content; times, size and inode only tell how to find
    // out.
    let same_content = was.as_ref().is_some_and(|was| was.kind == now.kind);
    if was.as_ref() == Some(&now) {
        // Mapping decision: what has not changed here is no business of an export, whatever has become of its object. The
        // bits that are not stored are brought up to date: a later run may go by an edition that stores them.
        expected.refreshed.insert(key.to_owned());
        return expected.end(key, Verdict::Unchanged);
    }
    let as_recorded = known
        .is_some_and(|known| held.is_some_and(|held| is_as_agreed(key, held, &held.remote(), known, &options.rules)));
    // Mapping decision: where the tree is to win whatever it holds, it is put also if the object is gone.
    let is_new = held.is_none() && known.is_none_or(|known| known.remote.is_none() || known.local.is_none());
    if !as_recorded && !is_new {
        if held.is_some_and(|held| is_what_would_be_put(key, node, held, options)) {
            return expected.agree(key, Verdict::Unchanged);
        }
        match export_wins(node, held, options) {
            None => return expected.end(key, Verdict::Conflict("changed on both sides")),
            Some(false) => return expected.end(key, Verdict::Skipped("the object stays")),
            Some(true) => {}
        }
    }
    let name = key.to_owned();
    // Mapping decision: the headers alone are replaced where the content is what was agreed on, and so is the object's.
    // Where another object is overwritten, it is overwritten as a whole.
    let verdict = if same_content && as_recorded && options.in_place {
        expected.copy.insert(name.clone());
        Verdict::MetadataOnly
    } else {
        expected.put.insert(name.clone());
        Verdict::Written
    };
    let made = super::export(&Tree::from([(path_of(key).to_owned(), node.clone())]), "", &options.rules);
    for (key, mut object) in made {
        if let (Verdict::MetadataOnly, Some(held)) = (verdict, held) {
            object.body.clone_from(&held.object.body);
        }
        expected.bucket.insert(key, object);
    }
    expected.agree(key, verdict);
}

/// Whether the tree wins a conflict; nothing where nobody does.
fn export_wins(node: &Node, held: Option<&Version>, options: &Options) -> Option<bool> {
    match options.policy {
        Policy::Fail | Policy::KeepBoth => None,
        Policy::Local => Some(true),
        Policy::Store => Some(false),
        Policy::Newest => Some(held.is_none_or(|held| node.mtime >= mtime_of(&held.object))),
    }
}

/// The `file-mtime` of an object, or its Last-Modified without one.
fn mtime_of(object: &Object) -> i128 {
    let said = object.headers.get("x-amz-meta-file-mtime").and_then(|text| super::read_time(text));
    said.unwrap_or(object.last_modified)
}

fn delete_object(key: &str, held: Option<&Version>, known: &Agreed, options: &Options, expected: &mut Expected) {
    match held {
        // Mapping decision: what is gone from both sides is agreed on, and nothing was deleted.
        None => {}
        // Mapping decision: a delete of an object that has changed is a conflict but under `Local`.
        Some(held)
            if !is_as_agreed(key, held, &held.remote(), known, &options.rules) && options.policy != Policy::Local =>
        {
            expected.left.insert(key.to_owned());
            return expected.end(key, Verdict::Conflict("gone here and changed there"));
        }
        Some(_) => {
            expected.delete.insert(key.to_owned());
            expected.bucket.remove(key);
            expected.deleted += 1;
        }
    }
    expected.forgotten.insert(key.to_owned());
}

// ---------------------------------------------------------------------------------------------------- import

/// What an import comes to. `links` tells how many names a file has.
pub fn import_since(
    tree: &Tree,
    links: &BTreeMap<String, u64>,
    bucket: &Versions,
    record: &Record,
    options: &Options,
) -> Expected {
    let mut expected = Expected {
        tree: tree.clone(),
        bucket: bucket.iter().map(|(key, version)| (key.clone(), version.object.clone())).collect(),
        ..Expected::default()
    };
    let listed: BTreeSet<&str> = bucket.keys().map(String::as_str).filter(|key| options.selects(key)).collect();
    let valid: Vec<&str> = listed.iter().copied().filter(|key| is_path(key)).collect();
    make_way(bucket, record, &valid, options, &mut expected);
    let mut late = Vec::new();
    for &key in &listed {
        let version = &bucket[key];
        if !is_path(key) {
            expected.end(key, Verdict::Skipped("no path"));
        } else if is_shadowed(key, &valid, &options.rules) {
            expected.end(key, Verdict::Skipped("shadowed"));
        } else if is_left_alone(key, version, record.get(key), options, &mut expected) {
            // Mapping decision: what is listed as recorded is left alone, whatever has become of it in the tree.
            expected.end(key, Verdict::Unchanged);
        } else if ancestors(path_of(key)).any(|above| is_no_directory(&expected.tree, above)) {
            expected.end(key, Verdict::Conflict("nothing is written through what is no directory"));
        } else if key.ends_with('/') {
            import_directory(key, version, record.get(key), options, &mut expected);
        } else if expected.tree.get(key).is_some_and(|node| node.kind == Kind::Directory) {
            late.push(key);
        } else {
            import_one(key, links, version, record.get(key), options, &mut expected);
        }
    }
    imply_directories(bucket, &valid, options, &mut expected);
    delete_files(bucket, record, &late, options, &mut expected);
    for key in late {
        // Mapping decision: a file that takes the place of a directory waits for the deletes.
        if expected.tree.contains_key(key) {
            expected.end(key, Verdict::Conflict("a directory stands there"));
        } else {
            import_one(key, links, &bucket[key], record.get(key), options, &mut expected);
        }
    }
    imply_directories(bucket, &valid, options, &mut expected);
    expected
}

/// Whether an import leaves an object alone, since both sides agreed on it or only the tree has changed.
fn is_left_alone(
    key: &str,
    version: &Version,
    known: Option<&Agreed>,
    options: &Options,
    expected: &mut Expected,
) -> bool {
    let as_agreed = |known: &&Agreed| is_as_agreed(key, version, &version.listed(), known, &options.rules);
    let Some(known) = known.filter(as_agreed) else { return false };
    // Mapping decision: where times do not tell one change from the next, what was not touched here is looked at once more.
    let recorded = known.remote.as_ref().and_then(|remote| remote.last_modified);
    let tells = options.times_tell || recorded.is_some_and(has_fraction);
    tells || !is_as_recorded(key, at(&expected.tree, key), Some(known), &options.rules)
}

fn is_no_directory(tree: &Tree, path: &str) -> bool {
    tree.get(path).is_some_and(|node| node.kind != Kind::Directory)
}

/// Whether what stands there is what was recorded: of a directory, as far as somebody set it.
fn is_as_recorded(key: &str, now: Option<&Node>, known: Option<&Agreed>, rules: &Rules) -> bool {
    match (now, known.and_then(|known| known.local.as_ref())) {
        (Some(now), Some(was)) if key.ends_with('/') => is_directory_alike(now, was, rules),
        (Some(now), Some(was)) => stored(now, rules) == stored(was, rules),
        _ => false,
    }
}

/// Names that come and go move the mtime of a directory; nobody has set it then.
fn is_directory_alike(one: &Node, other: &Node, rules: &Rules) -> bool {
    let set = |node: &Node| (kept_bits(&node.kind, node.mode, rules), node.uid, node.gid);
    one.kind == other.kind && set(one) == set(other)
}

/// Removes recorded files whose path is that of a directory now.
fn make_way(bucket: &Versions, record: &Record, valid: &[&str], options: &Options, expected: &mut Expected) {
    for (key, known) in record {
        let is_taken = !key.ends_with('/') && valid.iter().any(|other| is_below(other, key));
        if !is_taken || !options.selects(key) || known.remote.is_none() || bucket.contains_key(key) {
            continue;
        }
        // Mapping decision: deletes need not be wanted for that.
        delete_file(key, known, options, expected);
    }
}

fn import_directory(key: &str, version: &Version, known: Option<&Agreed>, options: &Options, expected: &mut Expected) {
    let path = path_of(key);
    let now = expected.tree.get(path).cloned();
    if now.as_ref().is_some_and(|now| now.kind != Kind::Directory) {
        return expected.end(key, Verdict::Conflict("something else stands there"));
    }
    let read = match read_object(key, &version.object, &options.rules, now.as_ref()) {
        Ok(read) => read,
        Err(reason) => return expected.end(key, Verdict::Failed(reason)),
    };
    let verdict = match &now {
        None => Verdict::Written,
        Some(now) if stored(now, &options.rules) == stored(&read, &options.rules) => {
            return expected.agree(key, Verdict::Unchanged);
        }
        Some(_) => Verdict::MetadataOnly,
    };
    // Mapping decision: permissions and owner that were changed here and there are a conflict, times are none.
    let is_free = match &now {
        None => !was_agreed_on(known),
        Some(now) => {
            is_as_recorded(key, Some(now), known, &options.rules)
                || is_directory_alike(now, &read, &options.rules)
                || match known.and_then(|known| known.local.as_ref()) {
                    Some(was) => is_being_set(was, now, &read),
                    // Mapping decision: as an import makes a directory, to fill it, is no attribute that somebody has set.
                    None => (now.uid, now.gid, now.mode) == (read.uid, read.gid, read.mode | 0o700),
                }
        }
    };
    // Mapping decision: of a directory, `KeepBoth` keeps the attributes of the tree.
    let keeps = options.policy == Policy::KeepBoth && now.is_some();
    match import_wins(now.as_ref(), version, options) {
        _ if is_free => {}
        Some(_) if keeps => return yield_to_tree(key, expected),
        Some(true) => {}
        Some(false) => return yield_to_tree(key, expected),
        None => return expected.end(key, Verdict::Conflict("changed on both sides")),
    }
    expected.tree.insert(path.to_owned(), read);
    expected.agree(key, verdict);
}

fn import_one(
    key: &str,
    links: &BTreeMap<String, u64>,
    version: &Version,
    known: Option<&Agreed>,
    options: &Options,
    expected: &mut Expected,
) {
    let now = expected.tree.get(key).cloned();
    let wins = import_wins(now.as_ref(), version, options);
    // Mapping decision: nobody asks what an object says that is not going to be made.
    let stays_removed = now.is_none() && was_agreed_on(known) && wins != Some(true);
    let mut read = match read_object(key, &version.object, &options.rules, now.as_ref()) {
        Ok(read) => read,
        Err(_) if stays_removed && wins.is_some() => return yield_to_tree(key, expected),
        Err(_) if stays_removed => return expected.end(key, Verdict::Conflict("removed here and changed there")),
        Err(reason) => return expected.end(key, Verdict::Failed(reason)),
    };
    let as_recorded = is_as_recorded(key, now.as_ref(), known, &options.rules);
    let same_etag = known.and_then(|known| known.remote.as_ref()).is_some_and(|remote| remote.etag == version.etag);
    let is_file = |node: &Node| matches!(node.kind, Kind::File(_));
    let is_same = now.as_ref().is_some_and(|now| {
        let (now, read) = (stored(now, &options.rules), stored(&read, &options.rules));
        let alike = is_same_type(&now.kind, &read.kind) && length(&now.kind) == length(&read.kind);
        let attributes = Node { kind: read.kind.clone(), ..now.clone() } == read;
        attributes && if options.etags_tell { now.kind == read.kind } else { alike }
    });
    // Mapping decision: what is as recorded and has another object is fetched without a look at it; of what has changed
    // here, both sides may hold the same by now.
    let same_object = as_recorded && same_etag && now.as_ref().is_some_and(|now| is_same_type(&now.kind, &read.kind));
    let has_bytes = same_object && is_file(&read);
    if is_same && (!as_recorded || same_object) {
        return expected.agree(key, Verdict::Unchanged);
    }
    // Mapping decision: attributes that are on their way to those of the object are what an import that was cut short has set.
    let is_unfinished = now.as_ref().zip(known.and_then(|known| known.local.as_ref())).is_some_and(|(now, was)| {
        let content = if options.etags_tell { now.kind == read.kind } else { length(&now.kind) == length(&read.kind) };
        let is_file = is_file(now) && is_file(&read) && length(&now.kind) == length(&was.kind);
        !as_recorded
            && is_file
            && content
            && [was.mtime, read.mtime].contains(&now.mtime)
            && is_being_set(was, now, &read)
    });
    let is_free = is_unfinished || as_recorded || !was_agreed_on(known) && now.is_none();
    let has_bytes = has_bytes || is_unfinished;
    match wins {
        _ if is_free => {}
        None => return expected.end(key, Verdict::Conflict("changed on both sides")),
        Some(false) => return yield_to_tree(key, expected),
        Some(true) => {}
    }
    if let (false, Policy::KeepBoth, Some(now)) = (is_free, options.policy, &now) {
        // Mapping decision: the file goes beside, under a name that tells when it was written.
        expected.tree.insert(format!("{key}.local-{}", now.mtime), now.clone());
        // Mapping decision: nothing stands there then, whose values an object without metadata could keep.
        read = read_object(key, &version.object, &options.rules, None).unwrap_or(read);
    }
    let several = links.get(key).is_some_and(|&links| links > 1);
    // Mapping decision: a file as recorded whose object has the ETag recorded has its bytes already; one of several names is
    // written anew all the same, since the others keep what they have.
    if has_bytes && !several {
        expected.tree.insert(key.to_owned(), read);
        return expected.agree(key, Verdict::MetadataOnly);
    }
    expected.get.insert(key.to_owned());
    if let Kind::Link(target) = &read.kind
        && (target.is_empty() || target.len() > 4095 || target.contains(&0))
    {
        if let (false, Policy::KeepBoth, Some(now)) = (is_free, options.policy, &now) {
            // Mapping decision: the file keeps its name when the object that wants it cannot be had.
            expected.tree.remove(&format!("{key}.local-{}", now.mtime));
        }
        return expected.end(key, Verdict::Failed("no link target"));
    }
    expected.tree.insert(key.to_owned(), read);
    expected.agree(key, Verdict::Written);
}

/// Whether something is on its way from what was agreed on to what its object says: owner and permissions, then times.
fn is_being_set(was: &Node, now: &Node, read: &Node) -> bool {
    let owner = |node: &Node| (node.uid, node.gid);
    // Where the times are as they are to be, all was set, and what is different is somebody's wish.
    let is_over = now.mtime == read.mtime && was.mtime != read.mtime;
    let is_between = !is_over
        && owner(was) != owner(read)
        && [owner(was), owner(read)].contains(&owner(now))
        && now.mode & 0o7777 == was.mode & read.mode & 0o700;
    is_between || (owner(now) == owner(read) && now.mode & 0o7777 == read.mode & 0o7777)
}

/// Whether both sides ever held it.
fn was_agreed_on(known: Option<&Agreed>) -> bool {
    known.is_some_and(|known| known.remote.is_some())
}

/// Whether the bucket wins a conflict; nothing where nobody does.
fn import_wins(now: Option<&Node>, version: &Version, options: &Options) -> Option<bool> {
    match options.policy {
        Policy::Fail => None,
        Policy::Local => Some(false),
        Policy::Store | Policy::KeepBoth => Some(true),
        // Mapping decision: what is there wins over what is gone, and the tree where both are equally old.
        Policy::Newest => Some(now.is_none_or(|now| now.mtime < mtime_of(&version.object))),
    }
}

/// The tree keeps what it has, and the next export overwrites the object.
fn yield_to_tree(key: &str, expected: &mut Expected) {
    expected.yielded.insert(key.to_owned());
    expected.end(key, Verdict::Skipped("the tree wins"));
}

/// Removes what is gone from the bucket, deepest first.
fn delete_files(bucket: &Versions, record: &Record, late: &[&str], options: &Options, expected: &mut Expected) {
    let is_done = |key: &String| expected.forgotten.contains(key) || expected.verdicts.contains_key(key);
    let is_gone = |key: &&String| !bucket.contains_key(*key) && !is_done(key);
    let was_there = record.iter().filter(|(_, known)| known.remote.is_some()).map(|(key, _)| key);
    let gone: Vec<&String> = was_there.filter(|key| options.selects(key)).filter(is_gone).collect();
    expected.braked = options.deletes.is_some() && !options.permits(gone.len(), record.len());
    for key in gone.into_iter().rev() {
        if options.deletes.is_none() || expected.braked {
            expected.gone += 1;
        } else if late.iter().any(|late| is_below(late, path_of(key)) && late.len() > key.len()) {
            // Mapping decision: a directory in which something waits for its place is not empty.
            expected.end(key, Verdict::Skipped("the directory is not empty"));
        } else {
            delete_file(key, &record[key], options, expected);
        }
    }
}

fn delete_file(key: &str, known: &Agreed, options: &Options, expected: &mut Expected) {
    let path = path_of(key);
    // Mapping decision: what is gone from both sides is agreed on, and nothing was deleted.
    let Some(now) = at(&expected.tree, key) else {
        expected.forgotten.insert(key.to_owned());
        return;
    };
    if !is_as_recorded(key, Some(now), Some(known), &options.rules) {
        match options.policy {
            Policy::Store => {}
            Policy::Fail => return expected.end(key, Verdict::Conflict("changed here and gone there")),
            // Mapping decision: what is there wins over what is gone, and there is only one to keep; the next export puts it.
            Policy::Local | Policy::Newest | Policy::KeepBoth => return yield_to_tree(key, expected),
        }
    }
    if expected.tree.keys().any(|other| is_below(other, path)) {
        return expected.end(key, Verdict::Skipped("the directory is not empty"));
    }
    expected.tree.remove(path);
    expected.forgotten.insert(key.to_owned());
    expected.deleted += 1;
}

/// A directory without an object of its own is there when something is in it, with the defaults and the Last-Modified of
/// the first object at or below it.
fn imply_directories(bucket: &Versions, valid: &[&str], options: &Options, expected: &mut Expected) {
    let rules = &options.rules;
    for path in expected.tree.clone().keys() {
        for directory in ancestors(path) {
            let first = valid.iter().find(|key| is_below(key, directory));
            if let (false, Some(first)) = (expected.tree.contains_key(directory), first) {
                let modified = bucket[*first].listed;
                let mode = kept_bits(&Kind::Directory, rules.default_mode, rules);
                let (uid, gid) = (rules.default_uid, rules.default_gid);
                let made = Node { kind: Kind::Directory, mode, uid, gid, atime: modified, mtime: modified };
                // Mapping decision: one that was removed here is made as its object says, once something is put into it.
                // One that is not selected gets the defaults.
                let key = format!("{directory}/");
                let own = bucket.get(&key).filter(|_| options.selects(&key));
                let own = own.map(|own| read_object(&key, &own.object, rules, None));
                match own.and_then(Result::ok) {
                    Some(own) => {
                        expected.tree.insert(directory.to_owned(), own);
                        expected.yielded.remove(&key);
                        expected.agreed.insert(key);
                    }
                    None => {
                        expected.tree.insert(directory.to_owned(), made);
                        expected.implied.insert(key);
                    }
                }
            }
        }
    }
}
