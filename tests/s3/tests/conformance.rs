//! Both doors keep every promise of a store, on the server in process and on the one that the environment names.
//!
//! A server that is not S3 may break promises that no client can keep for it. They are listed in [`KNOWN`]; one that is
//! broken and not listed fails the run, and so does one that is listed and kept.

use posix_s3::store::DynObjectStore;
use posix_s3::store::conformance::{Outcome, PREFIXES, checks, run_all};
use posix_s3::store::s3::S3Options;
use posix_s3_s3_tests::door::{Door, Place};
use posix_s3_s3_tests::server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Runtime;

/// The promises that servers break: server, or server and door, check, why.
const KNOWN: &[(&str, &str, &str)] = &[
    ("radosgw", "list_token_of_no_store_is_refused", "any text is a token"),
    (
        "radosgw, sdk",
        "keys_keep_all_of_unicode",
        "a listing has U+FFFE as it is, which is no XML, and the SDK reads none of the page",
    ),
    ("moto", "keys_keep_line_breaks", "a line feed in a key is answered with 404"),
    ("moto", "list_token_of_no_store_is_refused", "a token that is none is answered with 500"),
];
const LATE: &str = "a request is not called back, and may reach the server after it was dropped";

/// The prefixes under which a server keeps next to nothing: server, prefix, why.
const KNOWN_PREFIXES: &[(&str, &str, &str)] = &[("garage", "/", "a slash at the start of a key is dropped")];

/// The promises that now and then are broken, on one server or on any, `*`: server, check, why.
const RACES: &[(&str, &str, &str)] = &[
    ("*", "a_delete_that_is_dropped_leaves_the_object_or_nothing", LATE),
    ("*", "a_put_that_is_dropped_stands_in_no_way", LATE),
    (
        "radosgw",
        "replace_metadata_beside_a_put_mixes_nothing",
        "it does not know of copy-source-if-match, so that nothing tells of a put between the head and the copy",
    ),
    (
        "garage",
        "replace_metadata_beside_a_put_mixes_nothing",
        "it compares copy-source-if-match and then copies, so that a put in between is lost",
    ),
];

/// How one run over all prefixes ended.
#[derive(Default)]
struct Ended {
    passed: usize,
    skipped: BTreeMap<String, usize>,
    /// Check, prefix, and what was found.
    failed: Vec<(&'static str, &'static str, String)>,
}

async fn run(store: &dyn DynObjectStore) -> Ended {
    let mut ended = Ended::default();
    for prefix in PREFIXES {
        let outcomes = run_all(store, prefix).await;
        assert_eq!(outcomes.len(), checks().len(), "every check runs");
        for (check, outcome) in outcomes {
            match outcome {
                Outcome::Passed => ended.passed += 1,
                Outcome::Skipped(missing) => *ended.skipped.entry(missing.to_string()).or_default() += 1,
                other => ended.failed.push((check, prefix, other.to_string())),
            }
        }
    }
    ended
}

/// What is wrong about a run, after what is known of the server.
fn judge(server: &str, door: Door, ended: &Ended) -> Vec<String> {
    let by_door = format!("{server}, {door}");
    let is_of = |of: &str| of == server || of == by_door;
    let (mut wrong, mut met) = (Vec::new(), BTreeMap::<(&str, &str), usize>::new());
    for (check, prefix, found) in &ended.failed {
        let known = KNOWN_PREFIXES.iter().find(|(of, known, _)| (*of, *known) == (server, *prefix));
        let known = known.or_else(|| KNOWN.iter().find(|(of, known, _)| is_of(of) && known == check));
        let known = known.or_else(|| RACES.iter().find(|(of, known, _)| [server, "*"].contains(of) && known == check));
        match known {
            Some((_, what, why)) => *met.entry((*what, *why)).or_default() += 1,
            None => wrong.push(format!("{check} under {prefix:?} {found}")),
        }
    }
    for ((what, why), times) in &met {
        println!("    known: {what}: {why} ({times} times)");
    }
    for (of, what, why) in KNOWN.iter().chain(KNOWN_PREFIXES) {
        if is_of(of) && !met.contains_key(&(*what, *why)) {
            wrong.push(format!("{what}: fixed: remove it from the list"));
        }
    }
    let names: BTreeSet<&str> = checks().iter().map(|check| check.name()).collect();
    let listed = KNOWN.iter().chain(RACES).map(|(_, check, _)| check);
    wrong
        .extend(listed.filter(|check| !names.contains(*check)).map(|check| format!("{check}: there is no such check")));
    wrong
}

/// Runs every check under every prefix.
fn conforms(door: Door, place: &Place) {
    let runtime = Runtime::new().expect("threads can be had");
    let ended = runtime.block_on(async {
        let store = door.open(place, S3Options::default()).await.expect("the bucket is there");
        println!("{}, {door}: {:?}", place.server, store.boxed_capabilities());
        run(&*store).await
    });
    println!(
        "{}, {door}: {} passed, {} skipped, {} failed, of {} checks under {} prefixes",
        place.server,
        ended.passed,
        ended.skipped.values().sum::<usize>(),
        ended.failed.len(),
        checks().len(),
        PREFIXES.len(),
    );
    for (missing, count) in &ended.skipped {
        println!("    skipped without {missing}: {count}");
    }
    let wrong = judge(&place.server, door, &ended);
    assert!(wrong.is_empty(), "{}, {door}:\n{}", place.server, wrong.join("\n"));
}

/// On the server in process.
fn conforms_in_process(door: Door) {
    let server = Server::new();
    conforms(door, &Place::of(&server));
    // What was dropped may arrive when its check has cleared up.
    let is_late = |key: &String| key.contains("_that_is_dropped_");
    let left: Vec<String> = server.keys().into_iter().filter(|key| !is_late(key)).collect();
    assert_eq!(left, Vec::<String>::new(), "the checks leave nothing behind");
    assert_eq!(server.uploads(), [], "nor unfinished uploads");
    let requests = server.requests();
    println!("in process, {door}: {} requests: {:?}", requests.total(), requests.made);
}

/// On the server that the environment names, if it names one.
fn conforms_elsewhere(door: Door) {
    /// Both doors lead to one bucket, and the checks of the one would see what those of the other do.
    static ONE_BUCKET: Mutex<()> = Mutex::new(());
    let _turn = ONE_BUCKET.lock().unwrap_or_else(PoisonError::into_inner);
    match Place::from_environment() {
        Some(place) => conforms(door, &place),
        None => println!("{door}: not run on another server, since POSIX_S3_SERVER names none"),
    }
}

#[test]
fn http_conforms_in_process() {
    conforms_in_process(Door::Http);
}

#[test]
fn sdk_conforms_in_process() {
    conforms_in_process(Door::Sdk);
}

#[test]
fn sdk_conforms_elsewhere() {
    conforms_elsewhere(Door::Sdk);
}

#[test]
fn http_conforms_elsewhere() {
    conforms_elsewhere(Door::Http);
}
