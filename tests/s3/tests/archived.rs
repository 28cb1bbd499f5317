//! Objects in an archive: they cannot be read, which is said of each, and stops nothing else.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::engine::{ExportOptions, ImportOptions, Outcome, Report, Silent, Verdict, audit, export, import};
use posix_s3::store::s3::{S3Calls, S3Store};
use posix_s3::store::{Body, GetOptions, ObjectStore as _, PutOptions, StoreErrorKind};
use posix_s3::tree::LocalTree;
use posix_s3::{Prefix, Profile};
use posix_s3_s3_tests::door::Place;
use posix_s3_s3_tests::on_both_doors;
use posix_s3_s3_tests::world::World;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

on_both_doors! {
    |test| World::lacking([], test) =>
    what_is_archived_is_of_a_kind_of_its_own
    an_import_says_what_is_archived_and_goes_on
    an_audit_says_what_is_archived;
}

async fn what_is_archived_is_of_a_kind_of_its_own<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    for size in [0, 5, (8 << 20) + 1] {
        let key = world.key(&size.to_string());
        store.put(&key, Body::Bytes(vec![1; size].into()), &PutOptions::default()).await.unwrap();
        assert!(!store.head(&key).await.unwrap().is_archived());
        assert!(world.server().archive(&key));
        let size = size as u64;
        for expected_size in [None, Some(size)] {
            let options = GetOptions { expected_size, ..GetOptions::default() };
            assert_eq!(store.get(&key, &options).await.unwrap_err().kind(), StoreErrorKind::Archived);
        }
        let meta = store.head(&key).await.unwrap();
        assert!(meta.is_archived());
        assert_eq!(meta.size, size);
        let replaced = store.replace_metadata(&key, &PutOptions::default()).await;
        assert_eq!(replaced.unwrap_err().kind(), StoreErrorKind::Archived);
        // What was restored can be read for a while.
        let restored =
            HeaderValue::from_static("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2029 00:00:00 GMT\"");
        assert!(world.server().append_header(&key, HeaderName::from_static("x-amz-restore"), restored));
        assert!(!store.head(&key).await.unwrap().is_archived());
    }
}

fn prefix(world: &World) -> Prefix {
    world.prefix.parse().unwrap()
}

/// A tree of which a file, a link, a directory and an object without metadata are archived.
async fn export_and_archive<C: S3Calls + 'static>(world: &World, store: &S3Store<C>, root: &Path) {
    fs::create_dir_all(root.join("directory")).unwrap();
    for name in ["directory/archived", "directory/kept", "kept", "archived"] {
        fs::write(root.join(name), name).unwrap();
    }
    symlink("kept", root.join("archived-link")).unwrap();
    symlink("kept", root.join("kept-link")).unwrap();
    let options = ExportOptions::new(Profile::fsx()).with_prefix(prefix(world));
    let report = export(&LocalTree::open(root).unwrap(), store, &options, &Silent).await.unwrap();
    assert_eq!((report.failed, report.skipped, report.conflicts), (0, 0, 0), "{:?}", report.problems);
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    world.server().insert(&world.key("archived-plain"), "plain", headers);
    for name in ["archived", "archived-link", "archived-plain", "directory/", "directory/archived"] {
        assert!(world.server().archive(&world.key(name)), "{name}");
    }
}

const ARCHIVED: [&str; 4] = ["archived", "archived-link", "archived-plain", "directory/archived"];

async fn an_import_says_what_is_archived_and_goes_on<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    let place = tempfile::tempdir().unwrap();
    let (source, target) = (place.path().join("source"), place.path().join("target"));
    fs::create_dir(&target).unwrap();
    export_and_archive(&world, &store, &source).await;
    let options = ImportOptions::new(Profile::fsx()).with_prefix(prefix(&world));
    let tree = LocalTree::open(&target).unwrap();
    let report: Report = import(&store, &tree, &options, &Silent).await.unwrap();
    let failed = report.problems.iter().filter(|problem| problem.outcome == Outcome::Failed);
    let failed: Vec<(&str, &str)> = failed.map(|problem| (&*problem.key, &*problem.reason)).collect();
    assert_eq!(failed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ARCHIVED);
    for (key, reason) in failed {
        let expected = format!("get of \"{}\" failed: the object is archived", world.key(key));
        assert!(reason.starts_with(&expected), "{reason}");
    }
    assert_eq!(report.failed, 4);
    for name in ["kept", "directory/kept"] {
        assert_eq!(fs::read_to_string(target.join(name)).unwrap(), name);
    }
    assert_eq!(fs::read_link(target.join("kept-link")).unwrap(), Path::new("kept"));
    for name in ARCHIVED {
        assert!(fs::symlink_metadata(target.join(name)).is_err(), "{name}");
    }
}

async fn an_audit_says_what_is_archived<C: S3Calls + 'static>(world: World, door: fn(&Place) -> C) {
    let store = world.open(door, world.options()).await;
    let place = tempfile::tempdir().unwrap();
    export_and_archive(&world, &store, &place.path().join("source")).await;
    let mut remarks = Vec::new();
    let audited = audit(&store, &prefix(&world), &Profile::fsx(), |remark| remarks.push(remark)).await.unwrap();
    // They come in the order of names, which is not quite that of keys.
    remarks.sort_by(|one, other| one.key.cmp(&other.key));
    let failed = remarks.iter().filter(|remark| remark.verdict == Verdict::Failed);
    let failed: Vec<(&str, &str)> = failed.map(|remark| (&*remark.key, &*remark.reason)).collect();
    assert_eq!(failed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ARCHIVED);
    for (key, reason) in failed {
        assert_eq!(reason, format!("get of \"{}\" failed: the object is archived", world.key(key)));
    }
    assert_eq!((audited.failed, audited.files, audited.symlinks), (4, 2, 1), "{audited:?}");
    // Nothing of a directory is read but its headers.
    assert_eq!(audited.directories, 1, "{audited:?}");
}
