//! What the user guide of FSx for Lustre says of data repositories, sentence by sentence: S01 to S46 of the table in
//! `docs::semantics`. Each test is named after the sentence that it shows, and does what the sentence says with a real
//! directory.

#![cfg(all(feature = "repository", feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::unreachable,
    reason = "a test"
)]

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::engine::{
    DataRepository, ExportOptions, FirstImport, ImportOptions, LinkDocument, Linked, MemoryState, Outcome, Part,
    Report, RepositoryError, RepositoryOptions, Selection, Silent, States, SystemClock, export_since, import,
    import_since,
};
use posix_s3::repository::describe::{
    DataRepositoryConfiguration, DescribeFileSystemsResponse, FileSystem, LustreFileSystemConfiguration,
};
use posix_s3::repository::{
    Action, CreateFileSystemLustreConfiguration, EventType, Lifecycle, Link, LinkOf, LinkState, Loss, Notice,
    check_bucket_deletion, read_message,
};
use posix_s3::store::{Body, GetOptions, ListRequest, MemoryStore, ObjectMeta, ObjectStore, PutOptions};
use posix_s3::tree::LocalTree;
use posix_s3::{Profile, Timestamp};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory, a bucket, and what both sides last agreed on.
struct World {
    directory: tempfile::TempDir,
    tree: LocalTree,
    bucket: MemoryStore,
    state: MemoryState,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(directory.path()).unwrap();
        Self { directory, tree, bucket: MemoryStore::new(), state: MemoryState::new() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn export(&self) -> Report {
        self.export_with(|options| options)
    }

    fn export_with(&self, with: impl Fn(ExportOptions) -> ExportOptions) -> Report {
        let options = with(ExportOptions::new(Profile::fsx()).with_bucket("b"));
        block_on(export_since(&self.tree, &self.bucket, &self.state, &options, &Silent)).unwrap()
    }

    fn import(&self) -> Report {
        let options = ImportOptions::new(Profile::fsx()).with_bucket("b");
        block_on(import_since(&self.bucket, &self.tree, &self.state, &options, &Silent)).unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let page = block_on(self.bucket.list(&ListRequest::default())).unwrap();
        page.objects.into_iter().map(|object| object.key).collect()
    }

    fn head(&self, key: &str) -> ObjectMeta {
        block_on(self.bucket.head(key)).unwrap()
    }

    fn header(&self, key: &str, name: &str) -> String {
        let headers = self.head(key).headers;
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn body(&self, key: &str) -> Vec<u8> {
        let output = block_on(self.bucket.get(key, &GetOptions::default())).unwrap();
        block_on(output.body.try_collect::<Vec<Bytes>>()).unwrap().concat()
    }

    fn put(&self, key: &str, body: &str, headers: &[(&str, &str)]) {
        put(&self.bucket, key, body, headers);
    }

    /// What was said of a key, and how it ended.
    fn said(report: &Report, key: &str) -> (Outcome, String) {
        let problem = report.problems.iter().find(|problem| &*problem.key == key);
        problem
            .map(|problem| (problem.outcome, problem.reason.to_string()))
            .unwrap_or_else(|| panic!("{key}: {report:?}"))
    }
}

fn put(bucket: &MemoryStore, key: &str, body: &str, headers: &[(&str, &str)]) {
    let header =
        |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    let options = PutOptions { headers: headers.iter().map(header).collect::<HeaderMap>(), ..PutOptions::default() };
    block_on(bucket.put(key, Body::from(Bytes::from(body.to_owned())), &options)).unwrap();
}

fn status(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap()
}

/// Whether owners can be given away.
fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

/// The owner that a test can give a file: somebody else, if it may.
fn somebody() -> (u32, u32) {
    if is_superuser() {
        (1234, 5678)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }
}

const MODE: &str = "x-amz-meta-file-permissions";
const OWNER: &str = "x-amz-meta-file-owner";
const GROUP: &str = "x-amz-meta-file-group";
const ATIME: &str = "x-amz-meta-file-atime";
const MTIME: &str = "x-amz-meta-file-mtime";
const AGENT: &str = "x-amz-meta-user-agent";

#[test]
fn s09_files_and_their_metadata_are_exported_at_any_time() {
    let world = World::new();
    world.write("results/a", "one");
    assert_eq!(world.export().written, 2);
    assert_eq!((world.keys(), world.body("results/a")), (vec!["results/".into(), "results/a".into()], b"one".to_vec()));
    world.write("results/a", "two, later");
    world.export();
    assert_eq!(world.body("results/a"), b"two, later");
}

#[test]
fn s10_only_what_was_created_or_changed_since_the_last_export_moves() {
    let world = World::new();
    ["a", "b", "c", "d/e"].iter().for_each(|path| world.write(path, "old"));
    world.export();
    world.write("b", "new");
    world.write("f", "made");
    fs::set_permissions(world.path("c"), fs::Permissions::from_mode(0o600)).unwrap();
    let report = world.export();
    assert_eq!((report.written, report.metadata_only, report.unchanged), (2, 1, 3), "{report:?}");
    assert_eq!((report.store_calls.put, report.store_calls.copy), (2, 1));
    assert_eq!(world.export().store_calls.put, 0);
}

#[test]
fn s11_an_export_includes_posix_metadata() {
    let world = World::new();
    world.write("a", "x");
    fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o640)).unwrap();
    world.export();
    let headers = world.head("a").headers;
    let names: Vec<&str> =
        [MODE, OWNER, GROUP, ATIME, MTIME].into_iter().filter(|name| headers.contains_key(*name)).collect();
    assert_eq!(names, [MODE, OWNER, GROUP, ATIME, MTIME]);
}

#[test]
fn s14_metadata_of_files_directories_and_links_goes_both_ways() {
    let (world, other) = (World::new(), World::new());
    world.write("d/a", "x");
    symlink("a", world.path("d/l")).unwrap();
    let (uid, gid) = somebody();
    for path in ["d/a", "d"] {
        chown(world.path(path), Some(uid), Some(gid)).unwrap();
    }
    std::os::unix::fs::lchown(world.path("d/l"), Some(uid), Some(gid)).unwrap();
    fs::set_permissions(world.path("d/a"), fs::Permissions::from_mode(0o604)).unwrap();
    fs::set_permissions(world.path("d"), fs::Permissions::from_mode(0o1750)).unwrap();
    world.export();
    let options = ImportOptions::new(Profile::fsx());
    block_on(import(&world.bucket, &other.tree, &options, &Silent)).unwrap();
    for path in ["d", "d/a", "d/l"] {
        let (was, is) = (status(&world.path(path)), status(&other.path(path)));
        let of =
            |status: &fs::Metadata| (status.mode(), status.uid(), status.gid(), status.mtime(), status.mtime_nsec());
        assert_eq!(of(&was), of(&is), "{path}");
    }
}

#[test]
fn s15_changes_of_metadata_are_exported() {
    let world = World::new();
    world.write("a", "x");
    world.export();
    assert_eq!(world.header("a", MODE), "0100644");
    fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o400)).unwrap();
    let report = world.export();
    assert_eq!((report.written, report.metadata_only), (0, 1));
    assert_eq!(world.header("a", MODE), "0100400");
}

#[test]
fn s16_access_is_as_consistent_after_changes_on_either_side() {
    let world = World::new();
    world.write("a", "x");
    world.export();
    fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o600)).unwrap();
    world.export();
    assert_eq!(world.header("a", MODE), "0100600");
    let (uid, gid) = somebody();
    let time = world.header("a", MTIME);
    let (uid_text, gid_text) = (uid.to_string(), gid.to_string());
    let headers = [(MODE, "0100440"), (OWNER, &*uid_text), (GROUP, &*gid_text), (MTIME, &*time)];
    world.put("a", "x", &headers);
    world.import();
    let status = status(&world.path("a"));
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid()), (0o440, uid, gid));
}

#[test]
fn s17_objects_with_keys_that_are_paths_are_imported() {
    let world = World::new();
    ["test/", "test/mydir/", "mydir/myfile1"].iter().for_each(|key| world.put(key, "", &[]));
    assert_eq!(world.import().failed, 0);
    assert!(world.path("test/mydir").is_dir() && world.path("mydir/myfile1").is_file());
}

#[test]
fn s18_keys_that_are_no_paths_are_not_imported() {
    let world = World::new();
    let keys = [".", "..", "test/.", "test/..", "./x", "../x", "a/../b", "a//b"];
    keys.iter().for_each(|key| world.put(key, "x", &[]));
    world.put("good", "x", &[]);
    let report = world.import();
    assert_eq!((report.written, report.skipped), (1, keys.len() as u64), "{report:?}");
    for key in keys {
        assert_eq!(World::said(&report, key).0, Outcome::Skipped);
    }
    let names: Vec<_> = fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["good"]);
}

#[test]
fn s19_directories_and_links_are_objects_of_their_own() {
    let world = World::new();
    world.write("d/a", "x");
    symlink("a", world.path("d/l")).unwrap();
    world.export();
    assert_eq!(world.keys(), ["d/", "d/a", "d/l"]);
}

#[test]
fn s20_a_directory_becomes_an_object_whose_key_ends_in_a_slash() {
    let world = World::new();
    fs::create_dir(world.path("d")).unwrap();
    world.export();
    assert_eq!((world.keys(), world.head("d/").size), (vec!["d/".to_owned()], 0));
}

#[test]
fn s21_a_nested_directory_keeps_its_path_both_ways() {
    let (world, other) = (World::new(), World::new());
    fs::create_dir_all(world.path("test/mydir")).unwrap();
    world.export();
    assert_eq!(world.keys(), ["test/", "test/mydir/"]);
    other.put("test/mydir/", "", &[]);
    other.import();
    assert!(other.path("test/mydir").is_dir());
}

#[test]
fn s22_a_directory_keeps_its_path_both_ways() {
    let (world, other) = (World::new(), World::new());
    fs::create_dir(world.path("test")).unwrap();
    world.export();
    assert_eq!(world.keys(), ["test/"]);
    other.put("test/", "", &[]);
    other.import();
    assert!(other.path("test").is_dir());
}

/// A link as DataSync leaves it in a bucket.
const DATASYNC_LINK: [(&str, &str); 6] = [
    (MODE, "0120777"),
    (OWNER, "0"),
    (GROUP, "0"),
    (ATIME, "1595002920000000000ns"),
    (MTIME, "1595002920000000000ns"),
    (AGENT, "aws-datasync"),
];

#[test]
fn s23_a_link_is_laid_out_as_datasync_does() {
    let world = World::new();
    world.put("d/l", "../target", &DATASYNC_LINK);
    world.import();
    assert_eq!(fs::read_link(world.path("d/l")).unwrap(), Path::new("../target"));
    let other = World::new();
    fs::create_dir(other.path("d")).unwrap();
    symlink("../target", other.path("d/l")).unwrap();
    other.export();
    assert_eq!((other.body("d/l"), other.header("d/l", MODE)), (b"../target".to_vec(), "0120777".to_owned()));
}

#[test]
fn s24_the_key_of_a_link_is_its_path() {
    let world = World::new();
    fs::create_dir_all(world.path("a/b")).unwrap();
    symlink("anywhere", world.path("a/b/l")).unwrap();
    world.export_with(|options| options.with_prefix("link/".parse().unwrap()));
    assert_eq!(world.keys(), ["link/a/", "link/a/b/", "link/a/b/l"]);
}

#[test]
fn s25_the_body_of_a_link_is_its_target() {
    let world = World::new();
    let targets = ["/absolute/path", "../../up", "name with spaces\n", "é"];
    for (number, target) in targets.iter().enumerate() {
        symlink(target, world.path(&format!("l{number}"))).unwrap();
    }
    world.export();
    for (number, target) in targets.iter().enumerate() {
        assert_eq!(world.body(&format!("l{number}")), target.as_bytes());
    }
}

#[test]
fn s26_the_metadata_of_a_link_is_its_own() {
    let world = World::new();
    world.write("target", "x");
    symlink("target", world.path("l")).unwrap();
    let (uid, gid) = somebody();
    std::os::unix::fs::lchown(world.path("l"), Some(uid), Some(gid)).unwrap();
    world.export();
    assert_eq!(world.header("l", OWNER), uid.to_string());
    assert_eq!(world.header("l", MODE), "0120777");
    assert_eq!(world.header("target", OWNER), status(&world.path("target")).uid().to_string());
}

#[test]
fn s27_owner_permissions_and_times_are_in_the_metadata() {
    let world = World::new();
    world.write("d/a", "x");
    symlink("a", world.path("d/l")).unwrap();
    world.export();
    for (key, path) in [("d/", "d"), ("d/a", "d/a"), ("d/l", "d/l")] {
        let status = status(&world.path(path));
        assert_eq!(world.header(key, MODE), format!("{:07o}", status.mode()), "{key}");
        assert_eq!(world.header(key, OWNER), status.uid().to_string(), "{key}");
        assert_eq!(world.header(key, GROUP), status.gid().to_string(), "{key}");
        assert_eq!(world.header(key, MTIME), format!("{}{:09}ns", status.mtime(), status.mtime_nsec()), "{key}");
    }
}

#[test]
fn s28_the_content_type_is_stored() {
    let world = World::new();
    ["a.txt", "a.bin", "a.json"].iter().for_each(|path| world.write(path, "x"));
    world.export();
    let types: Vec<String> = ["a.txt", "a.json"].iter().map(|key| world.header(key, "content-type")).collect();
    assert_eq!(types, ["text/plain", "application/json"]);
    assert!(!world.header("a.bin", "content-type").is_empty());
}

#[test]
fn s29_permissions_are_the_octal_type_and_mask() {
    let world = World::new();
    world.write("d/a", "x");
    fs::set_permissions(world.path("d/a"), fs::Permissions::from_mode(0o664)).unwrap();
    fs::set_permissions(world.path("d"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a", world.path("l")).unwrap();
    world.export();
    let modes: Vec<String> = ["d/", "d/a", "l"].iter().map(|key| world.header(key, MODE)).collect();
    assert_eq!(modes, ["0040755", "0100664", "0120777"]);
}

#[test]
fn s30_permissions_are_those_of_stat() {
    let world = World::new();
    for bits in [0o000, 0o001, 0o070, 0o644, 0o755, 0o777] {
        let path = format!("m{bits:o}");
        world.write(&path, "");
        fs::set_permissions(world.path(&path), fs::Permissions::from_mode(bits)).unwrap();
    }
    world.export();
    for key in world.keys() {
        let mode = u32::from_str_radix(&world.header(&key, MODE), 8).unwrap();
        assert_eq!(mode, status(&world.path(&key)).mode(), "{key}");
    }
}

#[test]
fn s31_setuid_and_setgid_are_neither_exported_nor_imported() {
    let world = World::new();
    world.write("a", "x");
    fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o6755)).unwrap();
    world.export();
    assert_eq!(world.header("a", MODE), "0100755");
    world.put("b", "x", &[(MODE, "0106755")]);
    world.import();
    assert_eq!(status(&world.path("b")).mode() & 0o7777, 0o755);
}

#[test]
fn s32_the_owner_is_a_number() {
    let world = World::new();
    let (uid, _) = somebody();
    world.put("a", "x", &[(OWNER, &uid.to_string())]);
    world.import();
    assert_eq!(status(&world.path("a")).uid(), uid);
    world.write("b", "x");
    chown(world.path("b"), Some(uid), None).unwrap();
    world.export();
    assert_eq!(world.header("b", OWNER), uid.to_string());
    world.put("c", "x", &[(OWNER, "ubuntu")]);
    let report = world.import();
    assert!(World::said(&report, "c").1.contains("ubuntu"), "{report:?}");
}

#[test]
fn s33_the_group_is_a_number() {
    let world = World::new();
    let (_, gid) = somebody();
    world.put("a", "x", &[(GROUP, &gid.to_string())]);
    world.import();
    assert_eq!(status(&world.path("a")).gid(), gid);
    world.write("b", "x");
    chown(world.path("b"), None, Some(gid)).unwrap();
    world.export();
    assert_eq!(world.header("b", GROUP), gid.to_string());
}

#[test]
fn s34_the_access_time_is_in_nanoseconds_or_without_suffix_in_milliseconds() {
    let world = World::new();
    world.put("ns", "x", &[(ATIME, "1595002920123456789ns"), (MTIME, "0ns")]);
    world.put("ms", "x", &[(ATIME, "1595002920123"), (MTIME, "0ns")]);
    world.import();
    // A listing of names does not move it, and nothing has read the files.
    let atime = |path| (status(&world.path(path)).atime(), status(&world.path(path)).atime_nsec());
    assert_eq!((atime("ns"), atime("ms")), ((1_595_002_920, 123_456_789), (1_595_002_920, 123_000_000)));
}

#[test]
fn s35_the_modification_time_is_in_nanoseconds_or_without_suffix_in_milliseconds() {
    let world = World::new();
    world.put("ns", "x", &[(MTIME, "1595002920123456789ns")]);
    world.put("ms", "x", &[(MTIME, "1595002920123")]);
    world.import();
    let mtime = |path| (status(&world.path(path)).mtime(), status(&world.path(path)).mtime_nsec());
    assert_eq!((mtime("ns"), mtime("ms")), ((1_595_002_920, 123_456_789), (1_595_002_920, 123_000_000)));
    world.write("new", "x");
    world.export();
    assert!(world.header("new", MTIME).ends_with("ns"));
}

#[test]
fn s36_the_user_agent_is_ignored_on_import() {
    let (world, other) = (World::new(), World::new());
    world.put("a", "x", &[(MODE, "0100600"), (AGENT, "anything at all")]);
    other.put("a", "x", &[(MODE, "0100600")]);
    let (report, plain) = (world.import(), other.import());
    assert_eq!((report.written, report.problems), (plain.written, plain.problems));
    assert_eq!(status(&world.path("a")).mode(), status(&other.path("a")).mode());
}

#[test]
fn s37_the_user_agent_is_set_on_export() {
    let world = World::new();
    world.write("d/a", "x");
    symlink("a", world.path("l")).unwrap();
    world.export();
    for key in world.keys() {
        assert_eq!(world.header(&key, AGENT), "aws-fsx-lustre", "{key}");
    }
}

#[test]
fn s38_other_metadata_is_not_kept() {
    let world = World::new();
    world.put("a", "x", &[("x-amz-meta-project", "moon"), (MODE, "0100644")]);
    world.import();
    world.write("a", "changed");
    world.export();
    let headers: BTreeMap<String, String> = world
        .head("a")
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    assert!(!headers.contains_key("x-amz-meta-project") && headers.contains_key(MODE), "{headers:?}");
    assert_eq!(world.read("a"), "changed");
}

/// A directory and a bucket with a link between them, both ways in one place.
struct Linking {
    directory: tempfile::TempDir,
    bucket: Arc<MemoryStore>,
    state: Arc<MemoryState>,
}

impl Linking {
    fn new(objects: &[(&str, &str)]) -> Self {
        let bucket = Arc::new(MemoryStore::new());
        objects.iter().for_each(|(key, body)| put(&bucket, key, body, &[]));
        Self { directory: tempfile::tempdir().unwrap(), bucket, state: Arc::default() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn link(policy: &str) -> Linked {
        let request = format!(
            r#"{{"ImportPath": "s3://sample-data", "ExportPath": "s3://sample-data", "AutoImportPolicy": "{policy}"}}"#
        );
        Linked::from(Link::new(&serde_json::from_str(&request).unwrap(), Timestamp::EPOCH).unwrap())
    }

    fn create(&self, policy: &str, first: FirstImport) -> Repository {
        let tree = LocalTree::open(self.directory.path()).unwrap();
        let options = RepositoryOptions::new(Profile::fsx(), "sample-data");
        let (states, clock) = (States::one(self.state.clone()), Arc::new(SystemClock));
        let linked = Self::link(policy);
        let created = DataRepository::create(tree, self.bucket.clone(), states, linked, options, clock, first);
        let repository = block_on(created).unwrap();
        block_on(repository.check(&Silent)).unwrap();
        repository
    }

    fn open(&self) -> Repository {
        let tree = LocalTree::open(self.directory.path()).unwrap();
        let options = RepositoryOptions::new(Profile::fsx(), "sample-data");
        let (states, clock) = (States::one(self.state.clone()), Arc::new(SystemClock));
        block_on(DataRepository::open(tree, self.bucket.clone(), states, options, clock)).unwrap()
    }
}

type Repository = DataRepository<LocalTree, Arc<MemoryStore>>;

fn export_all(repository: &Repository) -> Report {
    block_on(repository.export(&Selection::all(), &Silent)).unwrap()
}

fn import_all(repository: &Repository) -> Report {
    block_on(repository.import(&Selection::all(), &Silent)).unwrap()
}

/// What `describe-file-systems` says of a link.
fn described(repository: &Repository) -> serde_json::Value {
    let Linked::Link(link) = repository.linked() else { unreachable!() };
    let configuration = DataRepositoryConfiguration::new(&link, &repository.state());
    let lustre = LustreFileSystemConfiguration {
        data_repository_configuration: Some(configuration),
        ..LustreFileSystemConfiguration::default()
    };
    let file_system = FileSystem { lustre_configuration: Some(lustre), ..FileSystem::default() };
    let answer = DescribeFileSystemsResponse { file_systems: Some(vec![file_system]), ..Default::default() };
    serde_json::to_value(&answer).unwrap()
}

/// An event of the bucket of a link.
fn event(name: &str, key: &str, sequencer: &str) -> Vec<Notice> {
    let message = format!(
        r#"{{"Records": [{{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "{name}", "s3":
        {{"bucket": {{"name": "sample-data"}}, "object": {{"key": "{key}", "sequencer": "{sequencer}"}}}}}}]}}"#
    );
    read_message(message.as_bytes()).into_iter().map(Result::unwrap).collect()
}

#[test]
fn s02_intermediate_results_are_written_to_the_store_periodically() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    for round in 1..=3 {
        fs::write(linking.path(&format!("result{round}")), round.to_string()).unwrap();
        fs::write(linking.path("latest"), "x".repeat(round)).unwrap();
        assert_eq!(export_all(&repository).written, 2);
    }
    assert_eq!(block_on(linking.bucket.head("latest")).unwrap().size, 3);
}

#[test]
fn s03_a_workload_starts_again_from_the_newest_data_in_the_store() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    fs::write(linking.path("checkpoint"), "step 7").unwrap();
    export_all(&repository);
    // Everything but the bucket is gone.
    let again = Linking { bucket: linking.bucket.clone(), ..Linking::new(&[]) };
    drop((repository, linking));
    again.create("NONE", FirstImport::All);
    assert_eq!(fs::read_to_string(again.path("checkpoint")).unwrap(), "step 7");
}

#[test]
fn s04_at_the_end_results_are_written_and_the_link_is_deleted() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    fs::write(linking.path("final"), "42").unwrap();
    let (repository, refused) = block_on(repository.delete(Loss::Refused)).unwrap_err();
    assert!(matches!(refused, RepositoryError::Deletion(_)), "what is not in the bucket would be lost");
    export_all(&repository);
    block_on(repository.delete(Loss::Refused)).unwrap();
    assert_eq!(block_on(linking.bucket.head("final")).unwrap().size, 2);
}

#[test]
fn s05_the_link_is_made_with_the_file_system() {
    let request = r#"{"ImportPath": "s3://sample-data/in"}"#;
    let created: CreateFileSystemLustreConfiguration = serde_json::from_str(request).unwrap();
    let link = Link::new(&created, Timestamp::from_unix(1_541_456_592, 0).unwrap()).unwrap();
    assert_eq!(link.import_path().as_str(), "s3://sample-data/in/");
    assert_eq!(link.export_path().as_str(), "s3://sample-data/FSxLustre20181105T222312Z/");
}

#[test]
fn s07_objects_are_reachable_with_no_extra_step() {
    let linking = Linking::new(&[("d/a", "data")]);
    let repository = linking.create("NEW", FirstImport::All);
    assert_eq!(fs::read_to_string(linking.path("d/a")).unwrap(), "data");
    put(&linking.bucket, "d/b", "later", &[]);
    let mut backlog = repository.backlog();
    event("ObjectCreated:Put", "d/b", "01").into_iter().for_each(|notice| backlog.note(notice));
    block_on(repository.apply(&mut backlog, &Silent)).unwrap();
    assert_eq!(fs::read_to_string(linking.path("d/b")).unwrap(), "later");
}

#[test]
fn s08_the_export_may_come_after_the_computation() {
    let linking = Linking::new(&[("in", "3")]);
    let repository = linking.create("NONE", FirstImport::All);
    fs::write(linking.path("out"), "9").unwrap();
    assert!(block_on(linking.bucket.head("out")).is_err());
    drop(repository);
    assert_eq!(export_all(&linking.open()).written, 1);
    assert_eq!(block_on(linking.bucket.head("out")).unwrap().size, 1);
}

#[test]
fn s13_the_bucket_of_a_linked_file_system_is_not_to_be_deleted() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    let Linked::Link(link) = repository.linked() else { unreachable!() };
    let state = repository.state();
    let in_use =
        check_bucket_deletion("sample-data", [LinkOf::link("fs-0123456789abcdef0", &link, &state)]).unwrap_err();
    assert!(in_use.to_string().contains("fs-0123456789abcdef0"), "{in_use}");
    check_bucket_deletion("other-data", [LinkOf::link("fs-0123456789abcdef0", &link, &state)]).unwrap();
}

#[test]
fn s39_the_lifecycle_reports_the_status_of_the_repository() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    assert_eq!(repository.state().lifecycle(), Lifecycle::Available);
    assert_eq!(linking.open().state(), repository.state(), "also after a restart");
}

#[test]
fn s40_while_it_is_created_the_repository_is_unavailable() {
    let state = LinkState::creating(Timestamp::EPOCH);
    assert_eq!(state.lifecycle(), Lifecycle::Creating);
    for action in [Action::Import, Action::Export, Action::AutomaticImport, Action::AutomaticExport, Action::Release] {
        let refused = state.permit(action).unwrap_err();
        assert_eq!(refused.to_string(), format!("no {action} while the link is CREATING"));
    }
}

#[test]
fn s41_an_available_repository_can_be_used() {
    let linking = Linking::new(&[("a", "x")]);
    let repository = linking.create("NEW_CHANGED", FirstImport::None);
    assert_eq!(import_all(&repository).written, 1);
    assert_eq!(export_all(&repository).failed, 0);
    let mut backlog = repository.backlog();
    assert_eq!(block_on(repository.apply(&mut backlog, &Silent)).unwrap().failed, 0);
}

#[test]
fn s42_a_change_of_the_configuration_is_an_update() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    let state = block_on(repository.update(Linking::link("NEW_CHANGED_DELETED"))).unwrap();
    assert_eq!(state.lifecycle(), Lifecycle::Available);
    assert!(repository.linked().auto_import().contains(EventType::Deleted));
    let mut updating = repository.state();
    updating.update(Timestamp::EPOCH).unwrap();
    assert_eq!(updating.lifecycle(), Lifecycle::Updating);
    assert!(updating.permit(Action::Import).is_err() && updating.permit(Action::Restore).is_ok());
}

#[test]
fn s43_a_misconfigured_repository_imports_nothing_by_itself_until_it_is_corrected() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NEW_CHANGED_DELETED", FirstImport::None);
    block_on(repository.missed_events("the subscription was deleted")).unwrap();
    put(&linking.bucket, "a", "x", &[]);
    let mut backlog = repository.backlog();
    event("ObjectCreated:Put", "a", "01").into_iter().for_each(|notice| backlog.note(notice));
    let refused = block_on(repository.apply(&mut backlog, &Silent)).unwrap_err();
    assert!(matches!(refused, RepositoryError::NotAllowed(_)) && !linking.path("a").exists());
    // By hand it can still be imported; by itself only once it was corrected.
    assert_eq!(block_on(repository.check(&Silent)).unwrap().state.lifecycle(), Lifecycle::Misconfigured);
    block_on(repository.update(repository.linked())).unwrap();
    assert_eq!(block_on(repository.apply(&mut backlog, &Silent)).unwrap().written, 1);
    assert!(linking.path("a").exists());
}

#[test]
fn s44_the_state_can_be_asked_for() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NONE", FirstImport::None);
    block_on(repository.missed_events("the subscription was deleted")).unwrap();
    // By a program that has the link open, and by one that has only what it keeps.
    let kept = linking.state.get(Part::Link).unwrap();
    let document = LinkDocument::read(&*kept).unwrap();
    assert_eq!((document.state(), document.linked()), (&repository.state(), &repository.linked()));
    assert_eq!(document.state().failure().unwrap().message.as_ref(), "the subscription was deleted");
}

#[test]
fn s46_the_lifecycle_is_a_member_of_the_data_repository_configuration() {
    let linking = Linking::new(&[]);
    let repository = linking.create("NEW", FirstImport::None);
    let at = "/FileSystems/0/LustreConfiguration/DataRepositoryConfiguration/Lifecycle";
    assert_eq!(described(&repository).pointer(at).unwrap(), "AVAILABLE");
    block_on(repository.missed_events("the subscription was deleted")).unwrap();
    let answer = described(&repository);
    let configuration = answer.pointer("/FileSystems/0/LustreConfiguration/DataRepositoryConfiguration").unwrap();
    let expected = serde_json::json!({
        "Lifecycle": "MISCONFIGURED",
        "ImportPath": "s3://sample-data",
        "ExportPath": "s3://sample-data",
        "ImportedFileChunkSize": 1024,
        "AutoImportPolicy": "NEW",
        "FailureDetails": {"Message": "the subscription was deleted"},
    });
    assert_eq!(configuration, &expected);
}

#[test]
fn the_table_of_the_documentation_names_a_test_for_every_sentence_in_scope() {
    let page = include_str!("../src/docs/semantics.md");
    let tests = [include_str!("requirements.rs"), include_str!("hsm.rs")].concat();
    let out_of_scope = ["S06", "S12", "S45"];
    for number in 1..=46 {
        let row =
            page.lines().find(|line| line.starts_with(&format!("| S{number:02} |"))).expect("every sentence has a row");
        let named = row.split('`').find(|part| part.starts_with(&format!("s{number:02}_")));
        match named {
            Some(name) => assert!(tests.contains(&format!("fn {name}()")), "{name}"),
            None => assert!(out_of_scope.contains(&format!("S{number:02}").as_str()), "{row}"),
        }
    }
}
