//! The leaf operations of a tree, each as somebody swaps names for links under it.

use super::outside::{SECRET, SECRET_NAME, SECRET_SIZE};
use super::scene::{Scene, Spot};
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use posix_s3::tree::{
    Applied, Fingerprint, Look, Place, Present, Standing, Tree, TreeError, TreeErrorKind, TreeOp, UnseenUsers,
};
use posix_s3::{
    Attributes, ETag, Entry, EntryKind, FileType, Gid, Key, KeyList, Permissions, Released, Status, SymlinkTarget,
    Timestamp, Uid,
};
use std::sync::Arc;

/// What an operation has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// What stands inside; it was done.
    Inside,
    /// The link, or another version; it was refused, or the link was told of as one, or replaced itself.
    Swapped,
    /// Something else: a moment in which the test itself was changing things.
    Else,
}

pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// What is swapped besides the directory around.
    pub(crate) leaf: Spot,
    pub(crate) run: fn(&Scene, u64) -> Met,
}

pub(crate) const OPERATIONS: [Operation; 17] = [
    Operation { name: "lookup", leaf: Spot::File, run: lookup },
    Operation { name: "list", leaf: Spot::Directory, run: list },
    Operation { name: "look", leaf: Spot::Directory, run: look },
    Operation { name: "open and read", leaf: Spot::File, run: open_and_read },
    Operation { name: "write a new file", leaf: Spot::Absent, run: write_new },
    Operation { name: "write over a file", leaf: Spot::File, run: write_over },
    Operation { name: "create a directory", leaf: Spot::Directory, run: create_directory },
    Operation { name: "create a link", leaf: Spot::Absent, run: create_symlink },
    Operation { name: "set attributes of a file", leaf: Spot::File, run: set_attributes_of_file },
    Operation { name: "set attributes of a directory", leaf: Spot::Directory, run: set_attributes_of_directory },
    Operation { name: "set times of a directory", leaf: Spot::Directory, run: set_times },
    Operation { name: "remove a file", leaf: Spot::File, run: remove_file },
    Operation { name: "remove a directory", leaf: Spot::Empty, run: remove_directory },
    Operation { name: "rename", leaf: Spot::File, run: rename },
    Operation { name: "create a placeholder", leaf: Spot::Absent, run: create_placeholder },
    Operation { name: "release", leaf: Spot::File, run: release },
    Operation { name: "begin, stage and finish", leaf: Spot::File, run: begin_and_finish },
];

fn attributes(turn: u64) -> Attributes {
    // Some that cannot be those of what is outside.
    let mode = [0o600, 0o640, 0o755, 0o1777, 0o6755][usize::try_from(turn % 5).unwrap()];
    let mtime = Timestamp::from_unix(1_000_000_000 + i64::try_from(turn % 1000).unwrap(), 1).unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Another owner for the superuser.
    let uid = if uid == 0 && turn.is_multiple_of(2) { 4711 } else { uid };
    let (uid, gid) = (Uid::new(uid).unwrap(), Gid::new(gid).unwrap());
    Attributes { permissions: Permissions::from_mode(mode), uid, gid, atime: mtime, mtime }
}

fn entry(key: &Key, kind: EntryKind, turn: u64) -> Entry {
    Entry::new(key.clone(), kind, attributes(turn)).unwrap()
}

fn fingerprint(status: &Status) -> Fingerprint {
    Fingerprint { inode: status.inode, ctime: status.ctime, links: status.links }
}

fn begin(scene: &Scene) {
    // Else the directory around is held open from the first time on, and not opened through its name.
    block_on(scene.tree.begin()).unwrap();
}

/// What a failure comes from.
fn refused(error: &TreeError) -> Met {
    match error.kind() {
        TreeErrorKind::Conflict | TreeErrorKind::Changed | TreeErrorKind::NeedsNewInode => Met::Swapped,
        TreeErrorKind::Other => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            assert!(cause.contains("taken by somebody else"), "{error}: {cause}");
            Met::Swapped
        }
        TreeErrorKind::NotFound | TreeErrorKind::InUse => Met::Else,
        _ => panic!("{error}: {:?}", std::error::Error::source(error)),
    }
}

/// What a change has met, after which everything is put as it was.
fn changed(scene: &Scene, result: &Result<Applied, TreeError>) -> Met {
    match result {
        Ok(_) => {
            let replaced_link = scene.restore();
            if replaced_link { Met::Swapped } else { Met::Inside }
        }
        Err(error) => refused(error),
    }
}

/// Nothing of what lies outside is told.
fn assert_inside(status: &Status, what: &str) {
    assert_ne!(status.size, SECRET_SIZE, "{what} tells of what lies outside");
}

fn lookup(scene: &Scene, _: u64) -> Met {
    begin(scene);
    match block_on(scene.tree.lookup(&scene.key("f"))) {
        Ok(Present::Entry(found)) => {
            assert_inside(&found.status(), "lookup");
            if found.entry.file_type() == FileType::Symlink { Met::Swapped } else { Met::Inside }
        }
        Ok(_) => Met::Else,
        Err(error) => refused(&error),
    }
}

fn list(scene: &Scene, _: u64) -> Met {
    begin(scene);
    match block_on(scene.tree.list(Some(&scene.key("s/")))) {
        Ok(names) => {
            let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            assert!(!names.iter().any(|name| name.contains(SECRET_NAME)), "list tells of what lies outside: {names:?}");
            assert_eq!(names, ["g"]);
            Met::Inside
        }
        Err(error) => refused(&error),
    }
}

fn look(scene: &Scene, turn: u64) -> Met {
    // Every directory on the way is opened anew in each look.
    let mut keys = KeyList::new();
    for name in ["s/", "s/g", "s/secret-name"] {
        keys.push(scene.key(name).as_str()).unwrap();
    }
    // Now and then on other threads, for which there have to be many keys.
    let aside = turn.is_multiple_of(64);
    for number in 0..if aside { 64 } else { 0 } {
        keys.push(scene.key(&format!("s/t{number}")).as_str()).unwrap();
    }
    let place = if aside { Place::Aside { threads: 2 } } else { Place::Here };
    let looks = block_on(scene.tree.look(Arc::new(keys), place, Vec::new()));
    let mut met = Met::Else;
    for (at, look) in looks.iter().enumerate() {
        match look {
            Look::Found(status) => {
                assert_inside(status, "look");
                assert_ne!(at, 2, "look tells of a name that is only outside");
                if at == 1 && status.size == 6 {
                    met = Met::Inside;
                }
            }
            Look::Failed(error) if at == 1 => met = refused(error),
            Look::Failed(_) | Look::Nothing | Look::Skipped(_) => {}
        }
    }
    met
}

fn open_and_read(scene: &Scene, _: u64) -> Met {
    begin(scene);
    match block_on(scene.tree.open(&scene.key("f"))) {
        Ok(file) => {
            let content = block_on(file.read(0, 4096)).unwrap();
            let content = String::from_utf8_lossy(&content);
            assert!(!content.contains(SECRET), "what lies outside was read");
            assert_eq!(content, "inside");
            assert_inside(&file.found().status(), "open");
            assert_inside(&block_on(file.again()).unwrap().status(), "again");
            Met::Inside
        }
        Err(error) => refused(&error),
    }
}

fn write(scene: &Scene, name: &str, turn: u64, standing: Standing) -> Result<Applied, TreeError> {
    begin(scene);
    let entry = entry(&scene.key(name), EntryKind::File { size: 7 }, turn);
    block_on(scene.tree.write_file(&entry, stream::iter([Ok(Bytes::from_static(b"written"))]).boxed(), standing))
}

fn write_new(scene: &Scene, turn: u64) -> Met {
    // In every fourth turn, over the link.
    let standing = if turn.is_multiple_of(4) { Standing::Replaceable } else { Standing::Nothing };
    changed(scene, &write(scene, "n", turn, standing))
}

fn write_over(scene: &Scene, turn: u64) -> Met {
    let standing = match scene.inside("f") {
        Some(found) if turn.is_multiple_of(2) => Standing::Version(found),
        _ => Standing::Replaceable,
    };
    changed(scene, &write(scene, "f", turn, standing))
}

fn create_directory(scene: &Scene, turn: u64) -> Met {
    begin(scene);
    let name = match scene.spot {
        Spot::Parent => "n/",
        _ if turn.is_multiple_of(2) => "s/",
        _ => "s/x/",
    };
    let attributes = (!turn.is_multiple_of(3)).then(|| attributes(turn));
    let op = TreeOp::CreateDirectory { key: scene.key(name), attributes };
    changed(scene, &block_on(scene.tree.apply(&op)))
}

fn create_symlink(scene: &Scene, turn: u64) -> Met {
    begin(scene);
    let target = SymlinkTarget::parse(b"../../outside/d/f").unwrap();
    let entry = entry(&scene.key("n"), EntryKind::Symlink { target }, turn);
    let op = TreeOp::CreateSymlink { entry, standing: Standing::Nothing };
    changed(scene, &block_on(scene.tree.apply(&op)))
}

fn set_attributes_of_file(scene: &Scene, turn: u64) -> Met {
    let Some(found) = scene.inside("f") else { return Met::Else };
    begin(scene);
    let entry = entry(&scene.key("f"), EntryKind::File { size: found.size }, turn);
    match block_on(scene.tree.apply(&TreeOp::SetAttributes { entry, found: fingerprint(&found) })) {
        Ok(_) => Met::Inside,
        Err(error) => refused(&error),
    }
}

fn set_attributes_of_directory(scene: &Scene, turn: u64) -> Met {
    let Some(found) = scene.inside("s/") else { return Met::Else };
    begin(scene);
    let entry = entry(&scene.key("s/"), EntryKind::Directory, turn);
    match block_on(scene.tree.apply(&TreeOp::SetAttributes { entry, found: fingerprint(&found) })) {
        Ok(_) => Met::Inside,
        Err(error) => refused(&error),
    }
}

fn set_times(scene: &Scene, turn: u64) -> Met {
    let Some(found) = scene.inside("s/") else { return Met::Else };
    begin(scene);
    let Attributes { atime, mtime, .. } = attributes(turn);
    let op = TreeOp::SetTimes { key: scene.key("s/"), atime, mtime, found: fingerprint(&found) };
    match block_on(scene.tree.apply(&op)) {
        Ok(_) => Met::Inside,
        Err(error) => refused(&error),
    }
}

fn remove(scene: &Scene, name: &str) -> Met {
    let Some(found) = scene.inside(name) else { return Met::Else };
    begin(scene);
    changed(scene, &block_on(scene.tree.apply(&TreeOp::Remove { key: scene.key(name), found })))
}

fn remove_file(scene: &Scene, _: u64) -> Met {
    remove(scene, "f")
}

fn remove_directory(scene: &Scene, _: u64) -> Met {
    remove(scene, "e/")
}

fn rename(scene: &Scene, _: u64) -> Met {
    let Some(found) = scene.inside("f") else { return Met::Else };
    begin(scene);
    let op = TreeOp::Rename { key: scene.key("f"), to: scene.key("r"), found };
    let result = block_on(scene.tree.apply(&op));
    let met = changed(scene, &result);
    // What was renamed is told to be another: the link, which has its new name and is put back.
    if result.is_err() {
        scene.restore();
    }
    met
}

fn released(entry: &Entry) -> Released {
    let (size, mtime) = (entry.object_size(), entry.attributes().mtime);
    Released { key: entry.key().clone(), etag: ETag::new("\"e\""), size, mtime, lost: false }
}

fn create_placeholder(scene: &Scene, turn: u64) -> Met {
    begin(scene);
    let entry = entry(&scene.key("n"), EntryKind::File { size: 1 << 30 }, turn);
    let standing = if turn.is_multiple_of(4) { Standing::Replaceable } else { Standing::Nothing };
    let op = TreeOp::CreatePlaceholder { released: released(&entry), entry, standing };
    changed(scene, &block_on(scene.tree.apply(&op)))
}

fn release(scene: &Scene, turn: u64) -> Met {
    begin(scene);
    let once = || {
        let found = scene.inside("f")?;
        let entry = Entry::new(scene.key("f"), EntryKind::File { size: found.size }, found.attributes).unwrap();
        let op = TreeOp::Release { released: released(&entry), entry, found, unseen: UnseenUsers::Accept };
        Some(block_on(scene.tree.apply(&op)))
    };
    // A swap moves the ctime, and is what a release looks at four times, with all processes in between: it would hardly ever
    // come to its end if nobody ever rested. After some that did, rests are few: they are what such a race takes its time for.
    let is_rest = turn % 8 == 7 && (turn < 64 || turn % 128 == 127);
    let result = if is_rest { scene.flipper.still(once) } else { once() };
    match result {
        None => Met::Else,
        Some(Ok(_)) => {
            scene.renew_file();
            Met::Inside
        }
        Some(Err(error)) => {
            scene.restore();
            refused(&error)
        }
    }
}

fn begin_and_finish(scene: &Scene, turn: u64) -> Met {
    let met = write_over(scene, turn);
    block_on(scene.tree.finish()).unwrap();
    met
}
