//! [`Case`]: a row of the tables of bad keys and headers, and how what came of it is judged.

use futures_util::StreamExt;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::engine::{EndedEntry, Outcome, Progress, Remark};
use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, ObjectMeta, ObjectStore,
    Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::{Profile, Timestamp, escape};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;

pub const KEYS: &str = include_str!("keys.json");
pub const HEADERS: &str = include_str!("headers.json");

/// A row, or a part of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub id: String,
    #[serde(rename = "input")]
    _input: String,
    pub stated: String,
    pub objects: Vec<Object>,
    /// The keys as a listing with `encoding-type=url` writes them.
    #[serde(default)]
    pub wire: Vec<String>,
    #[serde(default)]
    pub prefix: String,
    /// Why the run stops, if it does.
    pub stops: Option<String>,
    /// `memory` or `disk`, where the other has no part in it.
    pub only: Option<String>,
    /// The test that shows it.
    pub elsewhere: Option<String>,
    pub differs: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
    /// What stands in the root before: a link with its target, or a file.
    #[serde(default)]
    pub planted: BTreeMap<String, Option<String>>,
    /// How many directories are implied and files made, where their names are too long to be written down.
    pub implied: Option<usize>,
    pub files: Option<usize>,
    both: Option<Wanted>,
    #[serde(rename = "U")]
    untrusted: Option<Wanted>,
    #[serde(rename = "P")]
    fsx: Option<Wanted>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    pub key: Option<String>,
    pub hex: Option<String>,
    pub headers: Option<Vec<(String, String)>>,
    #[serde(default)]
    pub body: String,
}

impl Object {
    pub fn key(&self) -> Vec<u8> {
        match (&self.key, &self.hex) {
            (Some(key), None) => key.as_bytes().to_vec(),
            (None, Some(hex)) => {
                let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                (0..hex.len()).step_by(2).map(digit).collect()
            }
            _ => panic!("an object has one key: {self:?}"),
        }
    }
}

/// What has to come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub ends: BTreeMap<String, String>,
    pub audit: BTreeMap<String, String>,
    pub tree: Option<BTreeMap<String, String>>,
}

/// A whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "about")]
    _about: String,
    plain: BTreeMap<String, Vec<(String, String)>>,
    cases: Vec<Case>,
}

/// The cases of a table, each object with its headers.
pub fn read(text: &str) -> Vec<Case> {
    let Table { plain, mut cases, .. } = serde_json::from_str(text).unwrap();
    for case in &mut cases {
        for object in &mut case.objects {
            let kind = if object.key().ends_with(b"/") { "directory" } else { "file" };
            object.headers.get_or_insert_with(|| plain[kind].clone());
        }
    }
    cases
}

/// The same case with these of its objects alone, where they do not depend on the others.
pub fn with_only(case: &Case, is_there: impl Fn(&Object) -> bool) -> Case {
    let mut case = case.clone();
    let all = case.objects.len();
    case.objects.retain(is_there);
    if case.objects.len() == all {
        return case;
    }
    let shown: Vec<String> = case.objects.iter().map(|object| escape(&object.key()).to_string()).collect();
    let keys: Vec<String> =
        case.objects.iter().map(|object| String::from_utf8_lossy(&object.key()).into_owned()).collect();
    for wanted in [&mut case.both, &mut case.untrusted, &mut case.fsx].into_iter().flatten() {
        wanted.ends.retain(|key, _| shown.contains(key));
        wanted
            .audit
            .retain(|key, _| shown.iter().any(|shown| shown == key || (key.ends_with('/') && shown.starts_with(key))));
        if let Some(tree) = &mut wanted.tree {
            let has = |path: &str| {
                keys.iter().any(|key| key.trim_end_matches('/') == path || key.starts_with(&format!("{path}/")))
            };
            tree.retain(|path, _| has(path) || case.planted.contains_key(path));
        }
    }
    case
}

/// Both attitudes to a bucket.
pub fn attitudes() -> [(&'static str, Profile); 2] {
    [("U", Profile::untrusted()), ("P", Profile::fsx())]
}

impl Case {
    pub fn wanted(&self, attitude: &str) -> &Wanted {
        let own = if attitude == "U" { &self.untrusted } else { &self.fsx };
        own.as_ref().or(self.both.as_ref()).unwrap_or_else(|| panic!("{} says nothing of {attitude}", self.id))
    }

    /// Leaves out of the trees what matches, with what stands there.
    pub fn forget_nodes(&mut self, matches: impl Fn(&String) -> bool) {
        for wanted in [&mut self.both, &mut self.untrusted, &mut self.fsx].into_iter().flatten() {
            if wanted.tree.as_ref().is_some_and(|tree| tree.values().any(&matches)) {
                wanted.tree = None;
            }
        }
    }

    /// Puts into a root what stands there before. The planted links lead to a directory that holds `sentinel`.
    pub fn plant(&self, root: &Path) {
        for (name, target) in &self.planted {
            match target {
                Some(target) => symlink(target, root.join(name)).unwrap(),
                None => {
                    fs::write(root.join(name), "planted").unwrap();
                    fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
                }
            }
        }
    }

    /// What is wrong about how the keys below `at` ended.
    pub fn judge_ends(&self, attitude: &str, at: &str, heard: &[Heard]) -> Vec<String> {
        let wanted = &self.wanted(attitude).ends;
        let mut wrong = Vec::new();
        for Heard { key, outcome, reasons } in heard {
            let Some(expected) = key.strip_prefix(at).and_then(|key| wanted.get(key)) else {
                wrong.push(format!("nothing is said of \"{key}\", which is {outcome}: {reasons:?}"));
                continue;
            };
            let (end, words) = expected.split_once(": ").unwrap_or((expected, ""));
            let words = &words.replace("\"a/\"", &format!("\"{at}a/\""));
            if end != outcome.name() {
                wrong.push(format!("\"{key}\" is {outcome}, and not {end}: {reasons:?}"));
            }
            let found = reasons.join("; ");
            if words.split(" | ").any(|words| !found.contains(words))
                || (words.is_empty() && !expected.ends_with(": ")) != reasons.is_empty()
            {
                wrong.push(format!("\"{key}\": expected `{words}`, found {found}"));
            }
        }
        let ended = |key: &str| heard.iter().filter(|heard| heard.key == format!("{at}{key}")).count();
        wrong.extend(
            wanted.keys().filter(|key| ended(key) != 1).map(|key| format!("\"{key}\" ended {} times", ended(key))),
        );
        wrong
    }

    /// What is wrong about what an audit says of the keys below `at`: of each one line, or none where it is plain.
    pub fn judge_audit(&self, attitude: &str, at: &str, remarks: &[Remark]) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(implied) = self.implied {
            let all = remarks.iter().filter(|remark| remark.verdict.to_string() == "implied").count();
            if (all, remarks.len()) != (implied, implied) {
                wrong.push(format!("{implied} implied directories, found {all} of {} remarks", remarks.len()));
            }
            return wrong;
        }
        let wanted = &self.wanted(attitude).audit;
        for Remark { key, verdict, reason } in remarks {
            let line = format!("{verdict} {key}: {reason}");
            if line.contains(|character: char| character.is_control()) {
                wrong.push(format!("not one line: {line:?}"));
            }
            let Some(expected) = key.strip_prefix(at).and_then(|key| wanted.get(key)) else {
                wrong.push(format!("the audit says {line}"));
                continue;
            };
            let (expected_verdict, words) = expected.split_once(": ").unwrap();
            let words = &words.replace("\"a/\"", &format!("\"{at}a/\""));
            if expected_verdict != verdict.to_string() || words.split(" | ").any(|words| !reason.contains(words)) {
                wrong.push(format!("expected `{expected}`, the audit says {line}"));
            }
        }
        let said = |key: &str| remarks.iter().filter(|remark| *remark.key == format!("{at}{key}")).count();
        wrong
            .extend(wanted.keys().filter(|key| said(key) != 1).map(|key| format!("\"{key}\" has {} lines", said(key))));
        wrong
    }

    /// What is wrong about what stands in a tree.
    pub fn judge_tree(&self, attitude: &str, found: &BTreeMap<String, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        if let (Some(files), Some(directories)) = (self.files, self.implied) {
            let count = |kind: &str| found.values().filter(|node| node.starts_with(kind)).count();
            if (count("file"), count("directory")) != (files, directories) {
                wrong.push(format!("{files} files and {directories} directories, found {} nodes", found.len()));
            }
        }
        let Some(wanted) = &self.wanted(attitude).tree else { return wrong };
        for (path, node) in found {
            match wanted.get(path) {
                Some(wanted) if format!("{node} ").starts_with(&format!("{wanted} ")) => {}
                wanted => wrong.push(format!("\"{}\": expected {wanted:?}, found {node}", escape(path.as_bytes()))),
            }
        }
        let missing = wanted.keys().filter(|path| !found.contains_key(*path));
        wrong.extend(missing.map(|path| format!("\"{}\" is missing", escape(path.as_bytes()))));
        wrong
    }
}

/// A node as the tables write it.
pub fn node(kind: &str, what: &str, owner: (u32, u32), mtime: i128, atime: i128) -> String {
    format!("{kind} {what} {}:{} @{mtime} {atime}", owner.0, owner.1)
}

/// Everything in a real root, read without the crate.
pub fn nodes_on_disk(root: &Path) -> BTreeMap<String, String> {
    let mut nodes = BTreeMap::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().expect("no name is made that is not UTF-8");
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let stat = fs::symlink_metadata(root.join(&path)).unwrap();
            let nanoseconds = |seconds: i64, within: i64| i128::from(seconds) * 1_000_000_000 + i128::from(within);
            let mode = format!("{:04o}", stat.mode() & 0o7777);
            let (kind, what) = if stat.is_dir() {
                directories.push(path.clone());
                ("directory", mode)
            } else if stat.is_symlink() {
                ("link", fs::read_link(root.join(&path)).unwrap().to_string_lossy().into_owned())
            } else {
                assert!(stat.is_file(), "{path:?} is no file");
                ("file", mode)
            };
            let (mtime, atime) =
                (nanoseconds(stat.mtime(), stat.mtime_nsec()), nanoseconds(stat.atime(), stat.atime_nsec()));
            nodes.insert(path, node(kind, &what, (stat.uid(), stat.gid()), mtime, atime));
        }
    }
    nodes
}

/// How a key ended.
#[derive(Clone, Debug)]
pub struct Heard {
    /// As it is shown.
    pub key: String,
    pub outcome: Outcome,
    pub reasons: Vec<String>,
}

/// Takes down how every key ends.
#[derive(Default)]
pub struct Hearing(Mutex<Vec<Heard>>);

impl Hearing {
    pub fn into_heard(self) -> Vec<Heard> {
        self.0.into_inner().unwrap()
    }
}

impl Progress for Hearing {
    fn entry(&self, entry: &EndedEntry<'_>) {
        let reasons = entry.problems.iter().map(|problem| problem.reason.to_string()).collect();
        let key = escape(entry.key).to_string();
        self.0.lock().unwrap().push(Heard { key, outcome: entry.outcome, reasons });
    }
}

/// A bucket that holds what a stranger has put there, by whatever means, and lists it as it is told to.
pub struct Stranger {
    /// In the order of the listing.
    objects: Vec<(Vec<u8>, HeaderMap, String)>,
    /// Whether a listing answers what was not asked for as well.
    is_liar: bool,
    /// The keys whose bodies were asked for.
    pub read: Mutex<Vec<String>>,
}

impl Stranger {
    pub fn new(case: &Case) -> Self {
        let mut objects: Vec<_> = case
            .objects
            .iter()
            .map(|object| {
                let mut headers = HeaderMap::new();
                for (name, value) in object.headers.as_ref().unwrap() {
                    let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                    headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
                }
                (object.key(), headers, object.body.clone())
            })
            .collect();
        if case.stops.is_none() {
            objects.sort_by(|one, other| one.0.cmp(&other.0));
        }
        Self { objects, is_liar: case.stops.is_some(), read: Mutex::default() }
    }

    fn find(&self, operation: Operation, key: &str) -> Result<(ObjectMeta, String), StoreError> {
        let found = self.objects.iter().find(|object| object.0 == key.as_bytes());
        let (_, headers, body) = found.ok_or_else(|| StoreError::new(operation, key, StoreErrorKind::NotFound))?;
        let (size, headers) = (body.len() as u64, headers.clone());
        Ok((ObjectMeta { size, etag: ETag::new("\"e\""), last_modified: last_modified(), headers }, body.clone()))
    }
}

fn last_modified() -> Timestamp {
    Timestamp::from_nanoseconds(7_000_000_000).unwrap()
}

fn only_read() -> ! {
    panic!("an import changes nothing in a bucket")
}

impl ObjectStore for Stranger {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = ListPage::default();
        for (key, _, body) in &self.objects {
            if !self.is_liar && !key.starts_with(request.prefix.as_bytes()) {
                continue;
            }
            match String::from_utf8(key.clone()) {
                Ok(key) => page.objects.push(ListedObject {
                    key,
                    size: body.len() as u64,
                    etag: ETag::new("\"e\""),
                    last_modified: last_modified(),
                }),
                Err(error) => page.unreadable.push(error.into_bytes().into()),
            }
        }
        Ok(page)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.find(Operation::Head, key).map(|(meta, _)| meta)
    }

    async fn get(&self, key: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
        let (meta, body) = self.find(Operation::Get, key)?;
        self.read.lock().unwrap().push(key.to_owned());
        Ok(GetOutput { meta, body: stream::iter([Ok(body.into())]).boxed() })
    }

    async fn put(&self, _: &str, _: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
        only_read()
    }

    async fn replace_metadata(&self, _: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
        only_read()
    }

    async fn delete(&self, _: &str, _: &Precondition) -> Result<(), StoreError> {
        only_read()
    }
}
