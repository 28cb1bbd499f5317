//! The bad metadata headers, H1 to H52.

use super::cases::{self, Case, Hearing, Stranger};
use super::run::{Place, is_superuser, open, run_all};
use crate::namespace::{self, not_run};
use futures_executor::block_on;
use posix_s3::engine::{
    ExportOptions, ImportOptions, MemoryState, Outcome, Silent, export_since, import, import_since,
};
use posix_s3::store::{Body, MemoryStore, ObjectStore, PutOptions};
use posix_s3::{Profile, Uid};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

#[test]
fn every_bad_header_ends_as_the_table_says_and_an_audit_says_so_in_one_line() {
    let cases = cases::read(cases::HEADERS);
    assert_eq!(run_all(&cases), Vec::<String>::new());
}

fn case(id: &str) -> Case {
    cases::read(cases::HEADERS).into_iter().find(|case| case.id == id).unwrap()
}

#[test]
fn h1_an_existing_file_keeps_its_metadata() {
    if !is_superuser("an existing file keeps its metadata") {
        return;
    }
    let place = Place::new();
    let file = place.root().join("f");
    fs::write(&file, "other bytes").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&file, Some(5), Some(6)).unwrap();
    let options = ImportOptions::new(Profile::fsx());
    let report = block_on(import(&Stranger::new(&case("H1")), &open(&place.root()), &options, &Silent)).unwrap();
    let stat = fs::metadata(&file).unwrap();
    assert_eq!((report.written, stat.len()), (1, 0));
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o640, 5, 6));
}

#[test]
fn h23_a_damaged_owner_is_the_default_and_nothing_else() {
    // The default is not root here, so that an owner that wrapped to root would show.
    let mut profile = Profile::fsx();
    profile.defaults.uid = Uid::new(65_534).unwrap();
    for case in cases::read(cases::HEADERS).iter().filter(|case| ["H22", "H23", "H24", "H25"].contains(&&*case.id)) {
        let tree = posix_s3::tree::MemoryTree::new();
        let options = ImportOptions::new(profile.clone());
        block_on(import(&Stranger::new(case), &tree, &options, &Hearing::default())).unwrap();
        let entries = tree.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].0.attributes().uid.get(), 65_534, "{:?}", case.objects);
    }
}

#[test]
fn h39_h40_a_time_beyond_the_file_system_is_said_and_not_exported_again() {
    if !is_superuser("times beyond the file system") {
        return;
    }
    // Its times end in 2446; others keep all.
    let ground = namespace::ext4().unwrap_or_else(std::env::temp_dir);
    for id in ["H39", "H40"] {
        let place = Place::on(&ground);
        let (tree, state, bucket) = (open(&place.root()), MemoryState::new(), MemoryStore::new());
        let headers = case(id).objects[0].headers.clone().unwrap();
        let header = |(name, value): &(String, String)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
        };
        let wanted: i64 = headers.iter().find(|(name, _)| name.ends_with("mtime")).unwrap().1.parse().unwrap();
        let options = PutOptions { headers: headers.iter().map(header).collect(), ..PutOptions::default() };
        block_on(bucket.put("f", Body::from(bytes::Bytes::from_static(b"x")), &options)).unwrap();

        let options = ImportOptions::new(Profile::fsx()).with_bucket("b");
        let hearing = Hearing::default();
        block_on(import_since(&bucket, &tree, &state, &options, &hearing)).unwrap();
        let heard = hearing.into_heard();
        let stat = fs::metadata(place.root().join("f")).unwrap();
        let is_kept = stat.mtime() == wanted / 1000;
        assert_eq!((heard.len(), heard[0].outcome), (1, Outcome::Written));
        let is_said = heard[0].reasons.iter().any(|reason| reason.contains("mtime") || reason.contains("time"));
        assert_eq!(is_said, !is_kept, "{id}: {} kept: {heard:?}", stat.mtime());
        if is_kept {
            not_run(&format!("{id}: this file system keeps {wanted} ms"));
        }

        let options = ExportOptions::new(Profile::fsx()).with_bucket("b");
        let report = block_on(export_since(&tree, &bucket, &state, &options, &Silent)).unwrap();
        let calls = report.store_calls;
        assert_eq!((calls.put, calls.copy, calls.delete), (0, 0, 0), "{id}: {report:?}");
        let options = ImportOptions::new(Profile::fsx()).with_bucket("b");
        let report = block_on(import_since(&bucket, &tree, &state, &options, &Silent)).unwrap();
        assert_eq!(report.store_calls.get, 0, "{id}: {report:?}");
    }
}
