//! What stands at a name already, or comes to stand there.

use crate::hostile::{Hooked, Surrounded, bucket, import_into, object, stat_of};
use crate::model::bridge::{self, memory_store, read_disk};
use crate::model::{Bucket, Kind, Rules};
use futures_executor::block_on;
use futures_util::stream::BoxStream;
use posix_s3::engine::{ImportOptions, Jobs, MemoryState, Outcome, Silent, import, import_since};
use posix_s3::plan::Existing;
use posix_s3::store::Operation;
use posix_s3::tree::{
    Applied, Found, LocalTree, MemoryTree, NameList, OpenFile, Place, Present, SourceError, Standing, Tree, TreeError,
    TreeOp, Visit,
};
use posix_s3::{Entry, Key, KeyList, Profile, Timestamp};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

#[test]
fn a09_what_stands_at_a_files_name_is_replaced_and_never_written_to() {
    for mode in ["0100644", "0120777"] {
        let place = Surrounded::new();
        let victim = place.0.path().join("victim");
        symlink(&victim, place.root().join("link")).unwrap();
        symlink("../new", place.root().join("dangling")).unwrap();
        assert!(Command::new("mkfifo").arg(place.root().join("pipe")).status().unwrap().success());
        fs::hard_link(&victim, place.root().join("hard")).unwrap();
        fs::write(place.root().join("open"), "old").unwrap();
        let names = ["link", "dangling", "pipe", "hard", "open"];
        let inode = |name: &str| fs::symlink_metadata(place.root().join(name)).unwrap().ino();
        let old = names.map(inode);
        let open = fs::File::open(place.root().join("open")).unwrap();

        let objects = names.map(|name| (name, object(mode, b"new content")));
        let before = (fs::read(&victim).unwrap(), fs::metadata(&victim).unwrap());
        let run =
            bridge::import(&memory_store(&bucket(objects)), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
        assert_eq!(run.report.written, 5, "{:?}", run.report);
        for (name, old) in names.into_iter().zip(old) {
            assert_ne!(inode(name), old, "{name} as {mode}");
            let path = place.root().join(name);
            let stat = fs::symlink_metadata(&path).unwrap();
            if mode == "0120777" {
                assert_eq!(fs::read_link(&path).unwrap(), Path::new("new content"));
            } else {
                assert_eq!((stat.mode(), fs::read(&path).unwrap()), (0o100_644, b"new content".to_vec()));
            }
        }
        assert!(!place.0.path().join("new").exists());
        assert_eq!(std::io::read_to_string(open).unwrap(), "old");
        let after = (fs::read(&victim).unwrap(), fs::metadata(&victim).unwrap());
        assert_eq!(after.0, before.0);
        assert_eq!(
            (after.1.ino(), after.1.mode(), after.1.mtime()),
            (before.1.ino(), before.1.mode(), before.1.mtime())
        );
        // Its other name is gone.
        assert_eq!(after.1.nlink(), 1);
    }
}

#[test]
fn a15_attributes_of_a_file_with_another_name_outside_are_set_on_a_new_inode() {
    let place = Surrounded::new();
    let store = bucket([("hard", object("0100600", b"the sentinel victim"))]);
    import_into(&place, &store);
    let imported = fs::metadata(place.root().join("hard")).unwrap();
    // The same bytes and mtime, so that only the permissions differ, and a second name outside.
    fs::hard_link(place.root().join("hard"), place.0.path().join("a/hard")).unwrap();
    let outside = fs::metadata(place.0.path().join("a/hard")).unwrap();
    let changed = bucket([("hard", object("0100644", b"the sentinel victim"))]);
    bridge::import(&memory_store(&changed), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    let after = fs::metadata(place.0.path().join("a/hard")).unwrap();
    assert_eq!((after.ino(), after.mode()), (outside.ino(), outside.mode()));
    let replaced = fs::metadata(place.root().join("hard")).unwrap();
    assert_eq!(replaced.mode(), 0o100_644);
    assert_ne!(replaced.ino(), imported.ino());
}

/// Staging names that an attacker can guess are those of the right form.
const STAGING: &str = ".posix-s3-staging-00112233445566778899aabbccddeeff";
const MARKER: &str = "posix-s3-staging";

#[test]
fn a16_names_like_those_of_staging_that_somebody_else_has_made_are_not_used_and_not_emptied() {
    type Plant = (&'static str, fn(&Surrounded));
    let plant: [Plant; 6] = [
        ("a link to a directory outside", |place| {
            fs::write(place.0.path().join("b").join(MARKER), "").unwrap();
            symlink("../b", place.root().join(STAGING)).unwrap();
        }),
        ("a dangling link", |place| symlink("../new", place.root().join(STAGING)).unwrap()),
        ("a file", |place| fs::write(place.root().join(STAGING), "precious").unwrap()),
        ("a directory that others may enter", |place| {
            fs::create_dir(place.root().join(STAGING)).unwrap();
            fs::write(place.root().join(STAGING).join(MARKER), "").unwrap();
            fs::write(place.root().join(STAGING).join("precious"), "precious").unwrap();
            place.chmod(&format!("root/{STAGING}"), 0o755);
        }),
        ("a directory whose marker is not one", |place| {
            fs::create_dir(place.root().join(STAGING)).unwrap();
            symlink("precious", place.root().join(STAGING).join(MARKER)).unwrap();
            fs::write(place.root().join(STAGING).join("precious"), "precious").unwrap();
            place.chmod(&format!("root/{STAGING}"), 0o700);
        }),
        ("somebody else's directory", |place| {
            fs::create_dir(place.root().join(STAGING)).unwrap();
            fs::write(place.root().join(STAGING).join(MARKER), "").unwrap();
            fs::write(place.root().join(STAGING).join("precious"), "precious").unwrap();
            place.chmod(&format!("root/{STAGING}"), 0o700);
            if bridge::is_superuser() {
                std::os::unix::fs::chown(place.root().join(STAGING), Some(1234), Some(1234)).unwrap();
            } else {
                place.chmod(&format!("root/{STAGING}"), 0o750);
            }
        }),
    ];
    for (what, plant) in plant {
        let place = Surrounded::new();
        plant(&place);
        let planted = place.root().join(STAGING);
        let before = stat_of(&fs::symlink_metadata(&planted).unwrap());
        let run = import_into(&place, &bucket([("a", object("0100644", b"x")), ("l", object("0120777", b"a"))]));
        assert_eq!(run.report.written, 2, "{what}: {:?}", run.report.problems);
        assert_eq!(stat_of(&fs::symlink_metadata(&planted).unwrap()), before, "{what}");
        if planted.is_dir() && !planted.is_symlink() {
            assert_eq!(fs::read(planted.join("precious")).unwrap(), b"precious", "{what}");
        }
        assert!(!place.0.path().join("new").exists());
        let left = fs::read_dir(place.root()).unwrap().flatten().map(|entry| entry.file_name());
        assert_eq!(left.filter(|name| name.as_encoded_bytes().starts_with(b".posix-s3-staging-")).count(), 1, "{what}");
    }
}

#[test]
fn a16_a_staging_directory_of_ours_that_a_crash_has_left_goes() {
    let place = Surrounded::new();
    fs::create_dir(place.root().join(STAGING)).unwrap();
    place.chmod(&format!("root/{STAGING}"), 0o700);
    fs::write(place.root().join(STAGING).join(MARKER), "").unwrap();
    fs::write(place.root().join(STAGING).join("0"), "half a file").unwrap();
    import_into(&place, &bucket([("a", object("0100644", b"x"))]));
    assert!(!place.root().join(STAGING).exists());
}

#[test]
fn a16_keys_like_the_names_of_staging_are_left_out() {
    let place = Surrounded::new();
    let keys = [STAGING.to_owned(), format!("{STAGING}/x"), ".posix-s3-staging-".to_owned(), format!("d/{STAGING}")];
    let objects: Bucket = keys.map(|key| (key, object("0100644", b"x"))).into();
    let run = import_into(&place, &objects);
    assert_eq!((run.report.skipped, run.report.written), (3, 1), "{:?}", run.report.problems);
}

#[test]
fn a22_what_turns_up_where_nothing_was_is_not_overwritten() {
    // As on a file system that folds names: the lookup said that there is nothing.
    type TurnUp = (&'static str, fn(&Path));
    let turn_up: [TurnUp; 4] = [
        ("a file", |path| fs::write(path, "theirs").unwrap()),
        ("a link", |path| symlink("../victim", path).unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a hard link", |path| fs::hard_link(path.parent().unwrap().join("other"), path).unwrap()),
    ];
    for (what, turn_up) in turn_up {
        let place = Surrounded::new();
        fs::write(place.root().join("other"), "other").unwrap();
        let before = place.outside();
        let path = place.root().join("a");
        let hook = move |operation, key: &str| {
            if operation == Operation::Get && key == "a" {
                turn_up(&path);
            }
        };
        let store = Hooked { store: memory_store(&bucket([("a", object("0100644", b"ours"))])), hook };
        let run = bridge::import(&store, &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
        assert_eq!(run.ended, [("a".to_owned(), Outcome::Conflict)], "{what}");
        let found = read_disk(&place.root());
        let theirs: [Option<Kind>; 1] = [found.get("a").map(|node| node.kind.clone())];
        assert!(!matches!(&theirs[0], Some(Kind::File(content)) if content == b"ours"), "{what}");
        assert!(found.contains_key("a") && place.outside() == before, "{what}");
    }
}

/// A tree that knows no capitals, as a directory that folds case.
struct Folding(MemoryTree);

fn folded(key: &Key) -> Key {
    Key::parse(&key.as_str().to_lowercase()).unwrap()
}

fn folded_entry(entry: &Entry) -> Entry {
    Entry::new(folded(entry.key()), entry.kind().clone(), *entry.attributes()).unwrap()
}

impl Tree for Folding {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        self.0.list(directory.map(folded).as_ref()).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        self.0.look(keys, place, visitor).await
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        self.0.identity()
    }

    fn keeps_directory_times(&self) -> bool {
        self.0.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.0.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        Ok(match self.0.lookup(&folded(key)).await? {
            Present::Entry(Found { entry, fingerprint }) => {
                let slash = if entry.key().is_directory() { "/" } else { "" };
                let asked = Key::parse(&format!("{}{slash}", key.path())).unwrap();
                let entry = Entry::new(asked, entry.kind().clone(), *entry.attributes()).unwrap();
                Present::Entry(Found { entry, fingerprint })
            }
            other => other,
        })
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        self.0.open(&folded(key)).await
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<bytes::Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.0.write_file(&folded_entry(entry), body, standing).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        let op = match op.clone() {
            TreeOp::CreateDirectory { key, attributes } => TreeOp::CreateDirectory { key: folded(&key), attributes },
            TreeOp::CreateSymlink { entry, standing } => {
                TreeOp::CreateSymlink { entry: folded_entry(&entry), standing }
            }
            TreeOp::SetAttributes { entry, found } => TreeOp::SetAttributes { entry: folded_entry(&entry), found },
            TreeOp::Remove { key, found } => TreeOp::Remove { key: folded(&key), found },
            other => other,
        };
        self.0.apply(&op).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.0.begin().await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.0.sync().await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.0.finish().await
    }
}

/// Two names that are one on such a file system, in each form in which they come.
fn folding() -> [Bucket; 4] {
    let file = |content: &[u8]| object("0100644", content);
    [
        bucket([("A", file(b"first")), ("a", file(b"second"))]),
        bucket([("A", object("0120777", b"first")), ("a", file(b"second"))]),
        bucket([("A/x", file(b"first")), ("a/x", file(b"second"))]),
        bucket([("D/X", file(b"first")), ("d/x", file(b"second"))]),
    ]
}

#[test]
fn a22_of_two_names_that_the_file_system_takes_for_one_the_first_stays() {
    for (number, objects) in folding().into_iter().enumerate() {
        let jobs = Jobs::ONE;
        let (tree, state) = (Folding(MemoryTree::new()), MemoryState::new());
        let options = ImportOptions::new(Profile::untrusted()).with_bucket("b").with_jobs(jobs);
        for _ in 0..2 {
            let report = block_on(import_since(&memory_store(&objects), &tree, &state, &options, &Silent)).unwrap();
            let entries = tree.0.entries();
            let contents: Vec<_> = entries.iter().filter(|(entry, _)| !entry.key().is_directory()).collect();
            assert_eq!(contents.len(), 1, "{number}: {entries:?}");
            assert!(report.conflicts + report.failed > 0 || number == 1, "{number}: {:?}", report.problems);
            if number != 1 {
                assert_eq!(&contents[0].1[..], b"first", "{number}: {:?}", report.problems);
            }
        }
        // Without a state nobody knows whose the first is; who says that what stands there is kept is heard.
        let tree = Folding(MemoryTree::new());
        let options = ImportOptions::new(Profile::untrusted()).with_existing(Existing::Keep).with_jobs(jobs);
        let report = block_on(import(&memory_store(&objects), &tree, &options, &Silent)).unwrap();
        assert!(report.conflicts > 0, "{number}: {:?}", report.problems);
    }
}
