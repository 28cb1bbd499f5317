//! What the crate does not do: look at a path, find it right, and use it.

use super::outside::{SECRET, SECRET_NAME, SECRET_SIZE};
use super::scene::{Scene, Spot};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

/// One of them. It answers whether it was told of what lies outside; what it has changed there is seen there.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) spot: Spot,
    /// Whether names are made or removed, and have to be put back.
    pub(crate) moves: bool,
    pub(crate) run: fn(&Scene) -> bool,
}

pub(crate) const WAYS: [Way; 19] = [
    Way { name: "stat, parent", spot: Spot::Parent, moves: false, run: stat },
    Way { name: "read_dir, parent", spot: Spot::Parent, moves: false, run: read_dir },
    Way { name: "read_dir, leaf", spot: Spot::Directory, moves: false, run: read_dir },
    Way { name: "read, parent", spot: Spot::Parent, moves: false, run: read },
    Way { name: "read, leaf", spot: Spot::File, moves: false, run: read },
    Way { name: "write a new file, parent", spot: Spot::Parent, moves: true, run: write_new },
    Way { name: "write a new file, leaf", spot: Spot::Absent, moves: true, run: write_new },
    Way { name: "write over a file, parent", spot: Spot::Parent, moves: false, run: write_over },
    Way { name: "write over a file, leaf", spot: Spot::File, moves: false, run: write_over },
    Way { name: "create_dir, parent", spot: Spot::Parent, moves: true, run: create_dir },
    Way { name: "symlink, parent", spot: Spot::Parent, moves: true, run: create_symlink },
    Way { name: "set_permissions, parent", spot: Spot::Parent, moves: false, run: set_permissions },
    Way { name: "set_permissions, leaf", spot: Spot::File, moves: false, run: set_permissions },
    Way { name: "chown, leaf", spot: Spot::File, moves: false, run: change_owner },
    Way { name: "set_times, parent", spot: Spot::Parent, moves: false, run: set_times },
    Way {
        name: "set_permissions of a directory, leaf",
        spot: Spot::Directory,
        moves: false,
        run: set_permissions_of_directory,
    },
    Way { name: "remove_file, parent", spot: Spot::Parent, moves: true, run: remove_file },
    Way { name: "remove_dir, parent", spot: Spot::Parent, moves: true, run: remove_dir },
    Way { name: "rename, parent", spot: Spot::Parent, moves: true, run: rename },
];

/// The path of a name, if everything on it is found to be what it should.
fn checked(scene: &Scene, name: &str) -> Option<PathBuf> {
    let around = scene.root.join(scene.spot.around());
    let is_link = |path: &str| fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let path = around.join(name);
    let right = !is_link(around.to_str()?.trim_end_matches('/')) && !is_link(path.to_str()?);
    right.then_some(path)
}

fn stat(scene: &Scene) -> bool {
    checked(scene, "f").is_some_and(|path| fs::metadata(path).is_ok_and(|found| found.len() == SECRET_SIZE))
}

fn read_dir(scene: &Scene) -> bool {
    let Some(path) = checked(scene, "s") else { return false };
    fs::read_dir(path).is_ok_and(|names| names.flatten().any(|name| name.file_name() == SECRET_NAME))
}

fn read(scene: &Scene) -> bool {
    checked(scene, "f").is_some_and(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(SECRET)))
}

fn write_new(scene: &Scene) -> bool {
    let _ = checked(scene, "n").map(|path| fs::write(path, "written"));
    false
}

fn write_over(scene: &Scene) -> bool {
    let _ = checked(scene, "f").map(|path| fs::write(path, "written"));
    false
}

fn create_dir(scene: &Scene) -> bool {
    let _ = checked(scene, "n").map(fs::create_dir);
    false
}

fn create_symlink(scene: &Scene) -> bool {
    let _ = checked(scene, "n").map(|path| symlink("f", path));
    false
}

fn set_permissions(scene: &Scene) -> bool {
    let _ = checked(scene, "f").map(|path| fs::set_permissions(path, Permissions::from_mode(0o666)));
    false
}

fn set_permissions_of_directory(scene: &Scene) -> bool {
    let _ = checked(scene, "s").map(|path| fs::set_permissions(path, Permissions::from_mode(0o777)));
    false
}

fn change_owner(scene: &Scene) -> bool {
    // One's own, so that anybody may; the ctime tells.
    let _ = checked(scene, "f").map(|path| chown(path, Some(rustix::process::geteuid().as_raw()), None));
    false
}

fn set_times(scene: &Scene) -> bool {
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1));
    let _ = checked(scene, "f").map(|path| File::open(path).and_then(|file| file.set_times(times)));
    false
}

fn remove_file(scene: &Scene) -> bool {
    let _ = checked(scene, "f").map(fs::remove_file);
    false
}

fn remove_dir(scene: &Scene) -> bool {
    let _ = checked(scene, "e").map(fs::remove_dir);
    false
}

fn rename(scene: &Scene) -> bool {
    let _ = checked(scene, "f").map(|path| fs::rename(&path, path.with_file_name("r")));
    false
}
