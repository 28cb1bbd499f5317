//! A stranger's bucket: every bad key and every bad metadata header of the crate's tables, put on a server by raw HTTP, and
//! imported as root. What the server refuses or changes is said; what it keeps ends as the table states, and an audit explains
//! it in one line.
//!
//! The server is the one in process, or the one that the environment names, as for the conformance run.

#![allow(clippy::indexing_slicing, reason = "a test")]

#[path = "../../bad_inputs/cases.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "the crate's own tests use all of it"
)]
mod cases;

#[path = "../../namespace/mod.rs"]
mod namespace;
#[path = "stranger/raw.rs"]
mod raw;

use cases::{Case, Heard, Hearing, attitudes, nodes_on_disk, with_only};
use posix_s3::engine::{ImportOptions, Remark, audit, import};
use posix_s3::store::DynObjectStore;
use posix_s3::store::s3::S3Options;
use posix_s3::tree::LocalTree;
use posix_s3::{Prefix, Profile, escape};
use posix_s3_s3_tests::door::{Door, Place};
use posix_s3_s3_tests::server::{Lack, Server};
use raw::Raw;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

/// What a server does with a row that it seems to take.
const KNOWN: &[(&str, &str, &str)] = &[
    ("moto", "K23", "what is not UTF-8 is kept as U+FFFD"),
    ("moto", "K24", "what is not UTF-8 is kept as U+FFFD"),
    ("moto", "K25", "what is not UTF-8 is kept as U+FFFD"),
];

/// Which rows each server does not keep whole: some of their objects are refused or changed.
const LOST: &[(&str, &str)] = &[
    ("in process", "K23 K24 K25 K38 K40 H16 H17 H26 H42 H43 H48"),
    ("moto", "K21 K23 K24 K25 H16 H26 H43 H48"),
    ("garage", "K23 K24 K25 H16 H26 H43 H48"),
    ("radosgw", "K20 K23 K24 K25 K38 K40 H16 H26 H43 H48"),
];

/// How many rows of the tables can be put.
const KEYS: usize = 60;
const HEADERS: usize = 51;

/// Where the same is said to people.
const PAGE: &str = include_str!("../../../src/docs/reliability.md");

/// A case as it is in the bucket.
struct Put {
    case: Case,
    /// What its keys start with, behind the prefix of the test.
    at: String,
    /// What was not kept, and why.
    lost: Vec<String>,
}

#[test]
fn a_strangers_bucket_is_imported_as_the_tables_state() {
    let (place, _server) = Place::from_environment().map_or_else(
        || {
            let server = Server::lacking([Lack::MetadataLimit]);
            (Place::of(&server), Some(server))
        },
        |place| (place, None),
    );
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        return namespace::not_run("the stranger's bucket is imported by the superuser alone");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let prefix = format!("stranger-{now}/");
    let raw = Raw::new(&place);
    let mut all = cases::read(cases::KEYS);
    all.extend(cases::read(cases::HEADERS));
    let mut times = BTreeMap::<String, usize>::new();
    let (mut puts, mut elsewhere) = (Vec::new(), Vec::new());
    for case in all {
        if case.objects.is_empty() || case.stops.as_deref() == Some("disorder") {
            elsewhere.push(case.id.clone());
            continue;
        }
        let number = times.entry(case.id.clone()).or_default();
        let at = format!("{}.{number}/", case.id);
        *number += 1;
        // What does not fit behind a prefix stands at the root of the bucket.
        let is_long = case.objects.iter().any(|object| prefix.len() + at.len() + object.key().len() > 1024);
        let at = if is_long { String::new() } else { at };
        puts.push(put(&raw, case, if is_long { "" } else { &prefix }, at));
    }

    let runtime = Runtime::new().unwrap();
    let mut wrong = Vec::new();
    for door in Door::ALL {
        let options = S3Options::default().with_probe_prefix(&prefix);
        let store = runtime.block_on(door.open(&place, options)).unwrap();
        for (attitude, profile) in attitudes() {
            let faults = runtime.block_on(imported(&store, &prefix, &puts, attitude, &profile));
            wrong.extend(faults.into_iter().map(|fault| format!("{door} {attitude} {fault}")));
        }
    }
    wrong.extend(kept(&place.server, &puts, &elsewhere));
    for (_, id, why) in KNOWN.iter().filter(|(server, _, _)| *server == place.server) {
        let found = wrong.len();
        wrong.retain(|fault| !fault.contains(&format!(" {id}: ")));
        println!("    {id}: known: {why}");
        if wrong.len() == found {
            wrong.push(format!("{id}: {why}: fixed: remove it from the list"));
        }
    }
    for put in &puts {
        let root = if put.at.is_empty() { "" } else { &*prefix };
        for object in &put.case.objects {
            raw.delete(&[root.as_bytes(), put.at.as_bytes(), &object.key()].concat());
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", place.server, wrong.join("\n"));
}

/// Puts the objects of a case, each as it is, and looks what the server has made of them.
fn put(raw: &Raw, case: Case, prefix: &str, at: String) -> Put {
    let mut lost = Vec::new();
    let mut kept = BTreeSet::new();
    for object in &case.objects {
        let key = [prefix.as_bytes(), at.as_bytes(), &object.key()].concat();
        let headers = object.headers.clone().unwrap();
        let shown = escape(&object.key()[..object.key().len().min(40)]).to_string();
        let answer = raw.put(&key, &headers, &object.body);
        if answer.status / 100 != 2 {
            lost.push(format!("\"{shown}\" is refused: {} {}", answer.status, answer.code()));
            continue;
        }
        let found = raw.head(&key);
        if found.status != 200 {
            lost.push(format!("\"{shown}\" is not there by its name: {}", found.status));
            continue;
        }
        let is_ours = |name: &str| name.starts_with("x-amz-meta-") || name == "x-amz-missing-meta";
        let changed = headers.iter().find_map(|(name, sent)| {
            let name = name.to_lowercase();
            let answered = found.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_slice());
            (is_ours(&name) && answered != Some(sent.as_bytes())).then(|| {
                let answered = answered.map(|value| escape(&value[..value.len().min(40)]).to_string());
                let sent = escape(&sent.as_bytes()[..sent.len().min(40)]).to_string();
                format!("\"{shown}\": {name} is sent as \"{sent}\" and answered as {answered:?}")
            })
        });
        match changed {
            Some(changed) => {
                lost.push(changed);
                raw.delete(&key);
            }
            None => _ = kept.insert(object.key()),
        }
    }
    Put { case: with_only(&case, |object| kept.contains(&object.key())), at, lost }
}

/// What is wrong about an import of everything, and about an audit of it.
async fn imported(
    store: &Arc<dyn DynObjectStore>,
    prefix: &str,
    puts: &[Put],
    attitude: &str,
    profile: &Profile,
) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let (root, outside) = (place.path().join("root"), place.path().join("root/outside"));
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("sentinel"), "untouched").unwrap();
    let is_alone =
        |put: &&Put| put.at.is_empty() || !put.case.prefix.is_empty() || ["K1", "K54"].contains(&&*put.case.id);
    let together: Vec<&Put> = puts.iter().filter(|put| !is_alone(put)).collect();
    let mut wrong = Vec::new();
    for put in together.iter().filter(|put| !put.case.planted.is_empty()) {
        fs::create_dir(root.join(&put.at)).unwrap();
        put.case.plant(&root.join(&put.at));
    }
    let before = nodes_on_disk(&outside);
    let (heard, remarks) = run(store, prefix, &root, profile).await;
    let nodes = nodes_on_disk(&root);
    for put in &together {
        let mut ends: Vec<Heard> = heard.iter().filter(|heard| heard.key.starts_with(&put.at)).cloned().collect();
        if put.case.only.is_some() {
            // A time beyond the file system.
            ends.iter_mut().for_each(|heard| heard.reasons.retain(|reason| !reason.contains("was kept as")));
        }
        let said = |remark: &&Remark| remark.key.starts_with(&put.at) && *remark.key != *put.at;
        let said: Vec<Remark> = remarks.iter().filter(said).cloned().collect();
        let here = nodes.iter().filter_map(|(path, node)| Some((path.strip_prefix(&put.at)?.to_owned(), node.clone())));
        let here: BTreeMap<String, String> = here.collect();
        let mut faults = put.case.judge_ends(attitude, &put.at, &ends);
        faults.extend(put.case.judge_audit(attitude, &put.at, &said));
        // Last-Modified is the server's, and the file system has its own range of times.
        if put.case.only.is_none() {
            let by_server = |node: &String| node.contains("@7000000000");
            let mut case = put.case.clone();
            case.forget_nodes(by_server);
            faults.extend(case.judge_tree(attitude, &here));
        }
        wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", put.case.id)));
    }
    if nodes_on_disk(&outside).len() != before.len()
        || fs::read_to_string(outside.join("sentinel")).unwrap() != "untouched"
    {
        wrong.push("something was written through a planted link".to_owned());
    }
    for put in puts.iter().filter(is_alone).filter(|put| !put.case.objects.is_empty()) {
        let root = place.path().join(format!("alone-{}", put.case.id));
        fs::create_dir(&root).unwrap();
        let first = String::from_utf8_lossy(&put.case.objects[0].key()).into_owned();
        let own = match &*put.at {
            // The first name of the key, so that nothing else in the bucket has a part in it.
            "" => format!("{}/", first.split('/').next().unwrap()),
            at => format!("{prefix}{at}{}", put.case.prefix),
        };
        let (heard, remarks) = run(store, &own, &root, profile).await;
        let nodes = nodes_on_disk(&root);
        let ends: Vec<_> = heard.iter().map(|heard| heard.outcome.name()).collect();
        // A key over the limit is not asked for; it stands below the same first name as the one that is as long as can be.
        let is_there = |id: &str| puts.iter().any(|put| put.case.id == id && !put.case.objects.is_empty());
        let (expected, implied, made_of): (&[&str], usize, usize) = match &*put.case.id {
            "K1" => (&["skipped"], 0, 0),
            "K37" | "K38" if is_there("K38") => (&["failed", "written"], 3, 3),
            "K37" => (&["written"], 3, 3),
            // The file is where the key over the limit has a directory.
            "K39" | "K40" if is_there("K40") => (&["failed", "skipped"], 511, 0),
            "K39" => (&["written"], 510, 510),
            "K54" => (&["skipped", "skipped"], 0, 0),
            "K56" => (&[], 0, 0),
            "K57" => (&["skipped", "written"], 0, 0),
            "K58" => (&["written"], 0, 0),
            id => panic!("{id} is not known"),
        };
        let mut ends = ends;
        ends.sort_unstable();
        let found = remarks.iter().filter(|remark| remark.verdict.to_string() == "implied").count();
        let made = nodes.values().filter(|node| node.starts_with("directory")).count();
        if ends != expected || (implied > 0 && (found, made) != (implied, made_of)) {
            wrong.push(format!("{}: {ends:?}, {found} implied directories, {made} made", put.case.id));
        }
    }
    wrong
}

/// Imports and audits what is below a prefix.
async fn run(
    store: &Arc<dyn DynObjectStore>,
    prefix: &str,
    root: &Path,
    profile: &Profile,
) -> (Vec<Heard>, Vec<Remark>) {
    let prefix = Prefix::parse(prefix).unwrap();
    let (hearing, tree) = (Hearing::default(), LocalTree::open(root).unwrap());
    let options = ImportOptions::new(profile.clone()).with_prefix(prefix.clone());
    let report = import(&**store, &tree, &options, &hearing).await.unwrap();
    let heard = hearing.into_heard();
    assert_eq!(report.entries, heard.len() as u64);
    let mut remarks = Vec::new();
    audit(&**store, &prefix, profile, |remark| remarks.push(remark)).await.unwrap();
    (heard, remarks)
}

/// Says which rows the server has not kept as they were sent, and what is wrong about that.
fn kept(server: &str, puts: &[Put], elsewhere: &[String]) -> Vec<String> {
    let (mut wrong, mut counts) = (Vec::new(), Vec::new());
    for (letter, rows) in [("K", KEYS), ("H", HEADERS)] {
        let of = puts.iter().filter(|put| put.case.id.starts_with(letter));
        let all: BTreeSet<&str> = of.clone().map(|put| &*put.case.id).collect();
        let is_known = |put: &&Put| KNOWN.iter().any(|(known, id, _)| *known == server && *id == put.case.id);
        let lost: BTreeSet<&str> =
            of.filter(|put| !put.lost.is_empty() || is_known(put)).map(|put| &*put.case.id).collect();
        let kept = all.len() - lost.len();
        counts.push(kept);
        let not_put = elsewhere.iter().filter(|id| id.starts_with(letter)).cloned().collect::<Vec<_>>().join(" ");
        println!("{server}, {letter}: {kept} kept whole, {} not or in part, not to be put: {not_put}", lost.len());
        if all.len() != rows {
            wrong.push(format!("{letter}: {} rows were put, and not {rows}", all.len()));
        }
        match LOST.iter().find(|(known, _)| *known == server) {
            Some((_, ids)) => {
                let expected: BTreeSet<&str> = ids.split(' ').filter(|id| id.starts_with(letter)).collect();
                if lost != expected {
                    wrong.push(format!("{letter}: not kept whole: {lost:?}, and expected: {expected:?}"));
                }
            }
            // A server that refuses whatever is awkward shows nothing.
            None => {
                let least = if letter == "K" { 50 } else { 45 };
                if kept < least {
                    wrong.push(format!("{letter}: {kept} rows were kept whole, and not at least {least}"));
                }
            }
        }
    }
    for put in puts {
        for lost in &put.lost {
            println!("    {}: {lost}", put.case.id);
        }
    }
    wrong.extend(not_in_the_page(server, &counts));
    wrong
}

/// What the page says otherwise of how many rows a server keeps whole.
fn not_in_the_page(server: &str, counts: &[usize]) -> Option<String> {
    if !LOST.iter().any(|(known, _)| *known == server) {
        return None;
    }
    let row = PAGE.lines().find(|line| line.starts_with(&format!("| {server} "))).unwrap();
    let told: Vec<usize> = row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
    (told != counts).then(|| format!("{counts:?} rows are kept whole, and the page says: {row}"))
}
