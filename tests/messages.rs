//! Every error of the engine and the edges says what is wrong in these words. The parsers' messages are asserted beside
//! the parsers.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use posix_s3::engine::{ExportOptions, ImportOptions, MemoryState, Part, RunErrorKind, Silent, export_since, import};
use posix_s3::plan::{Claims, ExportRefusal, put};
use posix_s3::store::{
    Body, GetOptions, MemoryStore, ObjectStore, Operation, Precondition, PutOptions, StoreError, StoreErrorKind,
};
use posix_s3::tree::{LocalTree, MemoryTree, Shortfall, SkipReason, Tree, TreeError, TreeErrorKind, TreeOp};
use posix_s3::{
    Attitude, Attributes, Clash, Entry, EntryKind, Fields, FileType, Gid, Key, ObjectHead, Permissions, Prefix,
    Profile, Service, SymlinkTarget, Timestamp, Uid,
};
use std::error::Error;

fn key(key: &str) -> Key {
    key.parse().unwrap()
}

fn attributes() -> Attributes {
    Attributes {
        permissions: Permissions::from_mode(0o644),
        uid: Uid::ROOT,
        gid: Gid::ROOT,
        atime: Timestamp::EPOCH,
        mtime: Timestamp::EPOCH,
    }
}

/// An error and everything behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[test]
fn of_every_kind_of_store_error() {
    let messages = [
        (StoreErrorKind::NotFound, "get of \"a\\n\" failed: there is no such object"),
        (StoreErrorKind::PreconditionFailed, "get of \"a\\n\" failed: the object is not the version expected"),
        (StoreErrorKind::Denied, "get of \"a\\n\" failed: access denied"),
        (StoreErrorKind::Throttled, "get of \"a\\n\" failed: the store is throttling"),
        (StoreErrorKind::Transient, "get of \"a\\n\" failed: a passing failure"),
        (StoreErrorKind::Unsupported, "get of \"a\\n\" failed: the store does not support it"),
        (StoreErrorKind::Corrupt, "get of \"a\\n\" failed: the answer is damaged"),
        (StoreErrorKind::InvalidRequest, "get of \"a\\n\" failed: the request is not valid"),
        (StoreErrorKind::Body, "get of \"a\\n\" failed: the body could not be read"),
        (StoreErrorKind::Other, "get of \"a\\n\" failed: the store failed"),
    ];
    for (kind, message) in messages {
        assert_eq!(StoreError::new(Operation::Get, "a\n", kind).to_string(), message);
    }
    let operations = [Operation::List, Operation::Head, Operation::Put, Operation::ReplaceMetadata, Operation::Delete];
    let names = operations.map(|operation| operation.to_string());
    assert_eq!(names, ["list", "head", "put", "replacing the metadata", "delete"]);
}

#[test]
fn of_every_request_that_s3_does_not_take() {
    let store = MemoryStore::new();
    let put = |key: &str, headers| {
        let options = PutOptions { headers, ..PutOptions::default() };
        chain(&block_on(store.put(key, Body::empty(), &options)).unwrap_err())
    };
    assert_eq!(
        put("", http::HeaderMap::new()),
        "put of \"\" failed: the request is not valid: expected a key of 1 to 1024 bytes, found 0"
    );
    let mut headers = http::HeaderMap::new();
    headers.insert("x-amz-meta-a", "x".repeat(2048).parse().unwrap());
    assert_eq!(
        put("a", headers),
        "put of \"a\" failed: the request is not valid: expected at most 2048 bytes of user metadata, found 2049"
    );
    let options = GetOptions { range: Some(3..4), ..GetOptions::default() };
    block_on(store.put("a", Bytes::from("abc").into(), &PutOptions::default())).unwrap();
    assert_eq!(
        chain(&block_on(store.get("a", &options)).unwrap_err()),
        "get of \"a\" failed: the request is not valid: expected a range that starts below the size of 3, found 3"
    );
    let request = posix_s3::store::ListRequest { prefix: "b".into(), token: Some("a".into()), max_keys: None };
    assert_eq!(
        chain(&block_on(store.list(&request)).unwrap_err()),
        "list of \"b\" failed: the request is not valid: expected a token of this store, found \"a\""
    );
    block_on(store.delete("missing", &Precondition::None)).unwrap();
}

#[test]
fn of_every_kind_of_tree_error() {
    let messages = [
        (TreeErrorKind::NotFound, "opening \"a\\xff\" failed: there is no such file or directory"),
        (TreeErrorKind::Conflict, "opening \"a\\xff\" failed: something else stands there"),
        (TreeErrorKind::Denied, "opening \"a\\xff\" failed: permission denied"),
        (TreeErrorKind::Changed, "opening \"a\\xff\" failed: it changed meanwhile"),
        (TreeErrorKind::MountPoint, "opening \"a\\xff\" failed: another file system is mounted there"),
        (TreeErrorKind::Reserved, "opening \"a\\xff\" failed: the name is reserved"),
        (TreeErrorKind::NeedsNewInode, "opening \"a\\xff\" failed: it has to be written anew"),
        (TreeErrorKind::NoSpace, "opening \"a\\xff\" failed: no space left"),
        (TreeErrorKind::Body, "opening \"a\\xff\" failed: the body is not what was announced"),
        (TreeErrorKind::Other, "opening \"a\\xff\" failed: the file system failed"),
    ];
    for (kind, message) in messages {
        assert_eq!(TreeError::new("opening", b"a\xff", kind).to_string(), message);
    }
}

#[test]
fn of_what_a_local_tree_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let tree = LocalTree::open(directory.path()).unwrap();
    let made = |key: &str| {
        let op = TreeOp::CreateDirectory { key: key.parse().unwrap(), attributes: None };
        block_on(tree.apply(&op)).map(|_| ()).map_err(|error| chain(&error))
    };
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink(".", directory.path().join("link")).unwrap();
    assert_eq!(made("directory/below/"), Ok(()));
    assert_eq!(
        made("file/").unwrap_err(),
        "making \"file\" failed: something else stands there: Not a directory (os error 20)"
    );
    assert_eq!(
        made("link/below/").unwrap_err(),
        "making \"link\" failed: something else stands there: Not a directory (os error 20)"
    );
    assert_eq!(
        made(".posix-s3-staging-1/").unwrap_err(),
        "making \".posix-s3-staging-1/\" failed: the name is reserved"
    );
    let entry = Entry::new(key("short"), EntryKind::File { size: 5 }, attributes()).unwrap();
    let write = |piece: &'static str| {
        let body = stream::iter([Ok(Bytes::from(piece))]).boxed();
        block_on(tree.write_file(&entry, body, posix_s3::tree::Standing::Nothing))
            .map(|_| ())
            .map_err(|error| chain(&error))
    };
    let short = "writing \"short\" failed: the body is not what was announced: expected 5 bytes, found 4";
    assert_eq!(write("four").unwrap_err(), short);
    assert_eq!(write("five5"), Ok(()));
    let taken = "writing \"short\" failed: something else stands there: File exists (os error 17)";
    assert_eq!(write("again").unwrap_err(), taken);
}

#[test]
fn of_what_is_left_out_or_falls_short() {
    let invalid = Key::from_bytes(b"\xff").unwrap_err();
    let reasons = [
        (SkipReason::Special { file_type: FileType::Fifo }, "a fifo has no object"),
        (SkipReason::Key(invalid), "the path is no key"),
        (SkipReason::MountPoint, "another file system is mounted here"),
        (SkipReason::Reserved, "the name is reserved for files being imported"),
        (SkipReason::Vanished, "it vanished during the walk"),
        (SkipReason::Owner { id: u32::MAX }, "its owner 4294967295 cannot be stored"),
    ];
    for (reason, message) in reasons {
        assert_eq!(reason.to_string(), message);
    }
    let (wanted, kept) = (Timestamp::from_unix(9, 0).unwrap(), Timestamp::EPOCH);
    let shortfalls = [
        (Shortfall::Owner { uid: Uid::ROOT, gid: Gid::NOBODY }, "the owner 0:65534 could not be applied"),
        (Shortfall::Mtime { wanted, kept }, "the mtime 9000000000ns was kept as 0ns"),
        (
            Shortfall::Permissions { wanted: Permissions::from_mode(0o2755), kept: Permissions::from_mode(0o755) },
            "the permissions 2755 were kept as 0755",
        ),
    ];
    for (shortfall, message) in shortfalls {
        assert_eq!(shortfall.to_string(), message);
    }
    let names = ["file", "directory", "symlink", "fifo", "character device", "block device", "socket"];
    let types = [
        FileType::File,
        FileType::Directory,
        FileType::Symlink,
        FileType::Fifo,
        FileType::CharacterDevice,
        FileType::BlockDevice,
        FileType::Socket,
    ];
    assert_eq!(types.map(|file_type| file_type.to_string()), names);
}

#[test]
fn of_every_export_refusal() {
    let profile = Profile::new(Service::S3Files, Attitude::Fsx);
    let refused = |entry: Result<Entry, _>, prefix: &Prefix| -> String {
        let entry: Entry = entry.map_err(|error: posix_s3::KindMismatch| error).unwrap();
        let refusal: ExportRefusal = put(&entry, prefix, &profile).unwrap_err();
        chain(&refusal)
    };
    let whole = Prefix::default();
    let large = EntryKind::File { size: (5 << 40) + 1 };
    assert_eq!(
        refused(Entry::new(key("a"), large, attributes()), &whole),
        "expected a file of at most 5497558138880 bytes, found 5497558138881"
    );
    let target = SymlinkTarget::parse(&[b'x'; 4081]).unwrap();
    assert_eq!(
        refused(Entry::new(key("a"), EntryKind::Symlink { target }, attributes()), &whole),
        "the link cannot be stored: invalid link target: expected at most 4080 bytes, found 4081"
    );
    let long = ["a".repeat(250), "b".repeat(250), "c".repeat(250), "d".repeat(250)].join("/");
    let prefix: Prefix = "a prefix of more than 21 bytes".parse().unwrap();
    let message = refused(Entry::new(key(&long), EntryKind::File { size: 0 }, attributes()), &prefix);
    assert!(
        message.starts_with("the object's key would be too long: invalid key \"a prefix of more than 21 bytes/aaa")
    );
    assert!(message.ends_with("expected at most 1024 bytes, found more at byte 1024"));
}

fn refusal(key_text: &str, pairs: &[(&'static str, &'static str)], body: &[u8], profile: &Profile) -> String {
    let key = key(key_text);
    let fields = Fields::from_user_metadata(pairs.iter().map(|(name, value)| (*name, *value)));
    let head = ObjectHead { key: &key, fields, size: body.len() as u64, last_modified: Timestamp::EPOCH };
    let refusal = head.decode(profile, None).and_then(|head| head.into_entry(&key, body, profile)).unwrap_err();
    format!("{} [{}]", chain(&refusal), refusal.code())
}

#[test]
fn of_every_refusal_of_an_object() {
    let (fsx, untrusted) = (Profile::fsx(), Profile::untrusted());
    let link = [("file-permissions", "0120777")];
    assert_eq!(
        refusal("a", &[("file-permissions", "0020666")], b"", &fsx),
        "the type digits are those of a character device [unsupported-file-type]"
    );
    assert_eq!(
        refusal("a", &[("file-permissions", "0040755")], b"", &fsx),
        "the type digits are those of a directory, but the key does not end in a slash [directory-without-slash]"
    );
    assert_eq!(
        refusal("a", &[("file-owner", "root")], b"", &untrusted),
        "the metadata is damaged: invalid header x-amz-meta-file-owner: invalid id \"root\": expected a decimal digit, \
         found `r` at byte 0 [not-decimal]"
    );
    assert_eq!(
        refusal("a", &link, b"", &fsx),
        "the body is no link target: invalid link target: expected 1 to 4095 bytes, found none [empty]"
    );
    assert_eq!(
        refusal("a", &link, &[b'x'; 4096], &fsx),
        "the body is no link target: invalid link target: expected at most 4095 bytes, found 4096 [too-long]"
    );
    assert_eq!(
        refusal("a", &link, b"/etc/passwd", &untrusted),
        "the link target \"/etc/passwd\" leaves the root [leaves-root]"
    );
    let mut headers = http::HeaderMap::new();
    headers.insert("x-amz-missing-meta", "2".parse().unwrap());
    let (fields, key) = (Fields::from_headers(&headers), key("a"));
    let head = ObjectHead { key: &key, fields, size: 0, last_modified: Timestamp::EPOCH };
    assert_eq!(head.decode(&untrusted, None).unwrap_err().to_string(), "S3 kept back 2 metadata values");
    assert_eq!(head.decode(&fsx, None).unwrap().findings[0].to_string(), "S3 kept back 2 metadata values");
}

#[test]
fn of_every_finding() {
    let findings = |key_text: &str, pairs: &[(&'static str, &'static str)], size| -> Vec<String> {
        let key = key(key_text);
        let fields = Fields::from_user_metadata(pairs.iter().map(|(name, value)| (*name, *value)));
        let head = ObjectHead { key: &key, fields, size, last_modified: Timestamp::EPOCH };
        let findings = head.decode(&Profile::fsx(), None).unwrap().findings;
        findings.iter().map(|finding| format!("{finding} [{}]", finding.code())).collect()
    };
    assert_eq!(
        findings("a", &[("file-permissions", "0104755"), ("file-group", "users")], 0),
        [
            "invalid header x-amz-meta-file-group: invalid id \"users\": expected a decimal digit, found `u` at byte 0; \
             used the default [not-decimal]",
            "permissions 4755 applied as 0755 [bits-dropped]",
        ]
    );
    assert_eq!(
        findings("a/", &[("file-permissions", "0100664")], 7),
        [
            "a directory by its slash, a file by its type digits [type-ignored]",
            "a directory with a body of 7 bytes, which is not kept [body-ignored]",
        ]
    );
    assert_eq!(
        findings("a", &[("file-mtime", "1595002920"), ("file-atime", "1595002920000000000")], 0),
        [
            "header x-amz-meta-file-atime has no unit and is read as milliseconds, but looks like nanoseconds [unit-slip]",
            "header x-amz-meta-file-mtime has no unit and is read as milliseconds, but looks like seconds [unit-slip]",
        ]
    );
    assert_eq!(
        findings("a", &[("file-mtime", "soon"), ("file-atime", "later")], 0),
        [
            "invalid header x-amz-meta-file-atime: invalid timestamp \"later\": expected digits and an optional `ns`, \
             found `l` at byte 0; used Last-Modified [not-a-time]",
            "invalid header x-amz-meta-file-mtime: invalid timestamp \"soon\": expected digits and an optional `ns`, \
             found `s` at byte 0; used Last-Modified [not-a-time]",
        ]
    );
}

#[test]
fn of_every_way_in_which_a_run_stops() {
    let mut claims = Claims::new(Clash::DirectoryWins);
    claims.next("b", ()).unwrap();
    let disorder = claims.next("a", ()).unwrap_err();
    let list = StoreError::new(Operation::List, "p/", StoreErrorKind::Denied);
    let tree = TreeError::new("finishing", b".", TreeErrorKind::NoSpace);
    let kinds = [
        (RunErrorKind::List(list), "the bucket could not be listed: list of \"p/\" failed: access denied"),
        (
            RunErrorKind::Disorder(disorder),
            "the listing cannot be trusted: the listing is out of order: expected a key behind \"b\", found \"a\"",
        ),
        (RunErrorKind::Unordered, "the store does not list in key order, which an import needs"),
        (RunErrorKind::Foreign { key: "x".into() }, "the listing holds the key \"x\", which was not asked for"),
        (RunErrorKind::Endless { pages: 1001 }, "the listing answered 1001 empty pages in a row"),
        (RunErrorKind::Tree(tree), "the tree failed: finishing \".\" failed: no space left"),
        (RunErrorKind::Spool(std::io::Error::other("full")), "the temporary file failed: full"),
    ];
    for (kind, message) in kinds {
        assert_eq!(chain(&kind), message);
    }
}

#[test]
fn of_a_run_that_stopped_says_why_once() {
    struct Closed;
    impl ObjectStore for Closed {
        fn capabilities(&self) -> posix_s3::store::Capabilities {
            posix_s3::store::Capabilities::ALL
        }

        async fn list(&self, request: &posix_s3::store::ListRequest) -> Result<posix_s3::store::ListPage, StoreError> {
            Err(StoreError::new(Operation::List, &request.prefix, StoreErrorKind::Denied))
        }

        async fn head(&self, key: &str) -> Result<posix_s3::store::ObjectMeta, StoreError> {
            Err(StoreError::new(Operation::Head, key, StoreErrorKind::Denied))
        }

        async fn get(&self, key: &str, _: &GetOptions) -> Result<posix_s3::store::GetOutput, StoreError> {
            Err(StoreError::new(Operation::Get, key, StoreErrorKind::Denied))
        }

        async fn put(&self, key: &str, _: Body, _: &PutOptions) -> Result<posix_s3::store::PutOutput, StoreError> {
            Err(StoreError::new(Operation::Put, key, StoreErrorKind::Denied))
        }

        async fn replace_metadata(&self, key: &str, _: &PutOptions) -> Result<posix_s3::store::PutOutput, StoreError> {
            Err(StoreError::new(Operation::ReplaceMetadata, key, StoreErrorKind::Denied))
        }

        async fn delete(&self, key: &str, _: &Precondition) -> Result<(), StoreError> {
            Err(StoreError::new(Operation::Delete, key, StoreErrorKind::Denied))
        }
    }
    let options = ImportOptions::new(Profile::fsx());
    let error = block_on(import(&Closed, &MemoryTree::new(), &options, &Silent)).unwrap_err();
    assert_eq!(chain(&error), "the import stopped: the bucket could not be listed: list of \"\" failed: access denied");
    assert_eq!(error.report().entries, 0);
}

#[test]
fn of_a_state_that_is_not_believed_says_why_and_what_follows() {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    let options = ExportOptions::new(Profile::fsx()).with_bucket("bucket");
    let remarks = || {
        let report = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap();
        report.problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.reason)).collect::<Vec<_>>()
    };
    let then = "nothing is known, so everything is looked at and nothing is deleted";

    state.set(Part::Snapshot, b"something else".to_vec());
    assert_eq!(remarks(), [format!(".: not a snapshot: expected `PSX3SNAP`, found \"somethin\" at byte 0; {then}")]);

    tree.insert_file(key("a"), "x", attributes()).unwrap();
    let of = |tree: &MemoryTree, bucket: &str| {
        let state = MemoryState::new();
        let options = options.clone().with_bucket(bucket);
        block_on(export_since(tree, &MemoryStore::new(), &state, &options, &Silent)).unwrap();
        state.get(Part::Snapshot).unwrap()
    };
    state.set(Part::Snapshot, of(&tree, "another"));
    assert_eq!(remarks(), [format!(".: the snapshot is that of another link; {then}")]);
    let other = MemoryTree::new();
    other.insert_file(key("a"), "x", attributes()).unwrap();
    state.set(Part::Snapshot, of(&other, "bucket"));
    assert_eq!(remarks(), [format!(".: the snapshot is that of another directory; {then}")]);

    // A later version may know of things that would be lost.
    let mut later = of(&tree, "bucket");
    later[8] += 1;
    state.set(Part::Snapshot, later.clone());
    let error = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap_err();
    assert_eq!(
        chain(&error),
        "the export stopped: the state failed: the snapshot is of a later version: \
         expected a snapshot of version 1, found version 2"
    );
    assert_eq!(state.get(Part::Snapshot), Some(later));
}

#[test]
fn a_state_for_a_bucket_without_a_name_is_refused_before_anything_is_done() {
    let (tree, store, state) = (MemoryTree::new(), MemoryStore::new(), MemoryState::new());
    let options = ExportOptions::new(Profile::fsx());
    let error = block_on(export_since(&tree, &store, &state, &options, &Silent)).unwrap_err();
    let expected =
        "the export stopped: the bucket has no name: with a state, the options have to say what it is called";
    assert_eq!(chain(&error), expected);
    let calls = error.report().store_calls;
    assert_eq!((calls.list, calls.put), (0, 0));
}

#[test]
fn of_a_problem_is_also_there_for_programs() {
    let (store, tree) = (MemoryStore::new(), MemoryTree::new());
    let mut device = http::HeaderMap::new();
    device.insert("x-amz-meta-file-permissions", http::HeaderValue::from_static("0060644"));
    for (key, headers) in [
        ("a/../b", http::HeaderMap::new()),
        ("device", device),
        ("stands", http::HeaderMap::new()),
        ("x", http::HeaderMap::new()),
        ("x/y", http::HeaderMap::new()),
    ] {
        let options = PutOptions { headers, ..PutOptions::default() };
        block_on(store.put(key, Body::Bytes(Bytes::from_static(b"body")), &options)).unwrap();
    }
    tree.insert(Entry::new(key("stands/"), EntryKind::Directory, attributes()).unwrap()).unwrap();
    let report = block_on(import(&store, &tree, &ImportOptions::new(Profile::fsx()), &Silent)).unwrap();
    let problems = serde_json::to_value(&report.problems).unwrap();
    let of = |name: &str| {
        let problem = problems.as_array().unwrap().iter().find(|problem| problem["key"] == name).unwrap();
        (problem["outcome"].clone(), problem["cause"].clone())
    };
    assert_eq!(of("a/../b"), ("skipped".into(), "key-not-posix".into()));
    assert_eq!(of("device"), ("failed".into(), "special".into()));
    assert_eq!(of("stands"), ("conflict".into(), "kind-mismatch".into()));
    assert_eq!(of("x"), ("skipped".into(), "shadowed".into()));
}
