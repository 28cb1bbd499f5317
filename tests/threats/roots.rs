//! The path to the root itself.

use crate::hostile::Surrounded;
use crate::model::bridge;
use crate::namespace::{is_inside, not_run};
use futures_executor::block_on;
use posix_s3::tree::{LocalTree, OpenRootError, Tree};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;

/// Whether the directory at `path` is the root of `place`.
fn leads_to_root(path: &Path, place: &Surrounded) -> Result<bool, OpenRootError> {
    let tree = LocalTree::open(path)?;
    Ok(tree.identity().unwrap() == LocalTree::open(place.root()).unwrap().identity().unwrap())
}

/// A place to which nobody else can write, whatever the umask is.
fn kept() -> Surrounded {
    let place = Surrounded::new();
    for directory in ["root", "a", "b"] {
        place.chmod(directory, 0o755);
    }
    place
}

#[test]
fn a17_links_that_only_this_user_or_root_can_have_put_there_are_followed() {
    let place = kept();
    let base = place.0.path();
    symlink("root", base.join("short")).unwrap();
    symlink(place.root(), base.join("absolute")).unwrap();
    symlink("absolute", base.join("twice")).unwrap();
    symlink("../short/", base.join("b/up")).unwrap();
    symlink(".", base.join("here")).unwrap();
    fs::create_dir(place.root().join("d")).unwrap();
    for path in [
        "root",
        "short",
        "absolute",
        "twice",
        "b/up",
        "here/here/root/",
        "root/.",
        "root/d/..",
        "short/d/../",
        "./root//",
        "a/../root",
    ] {
        assert!(leads_to_root(&base.join(path), &place).unwrap(), "{path}");
    }
    assert!(matches!(leads_to_root(&base.join("victim"), &place), Err(OpenRootError::Io { .. })));
    assert!(matches!(leads_to_root(&base.join("victim/x"), &place), Err(OpenRootError::Io { .. })));
    assert!(matches!(leads_to_root(Path::new(""), &place), Err(OpenRootError::Io { .. })));
    let error = leads_to_root(&base.join("missing/root"), &place).unwrap_err();
    assert!(error.to_string().contains("missing\" cannot be opened"), "{error}");
    assert_eq!(std::io::Error::from(error).raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
    symlink("loop", base.join("loop")).unwrap();
    let error = leads_to_root(&base.join("loop"), &place).unwrap_err();
    assert!(matches!(error, OpenRootError::TooManyLinks));
    assert_eq!(std::io::Error::from(error).raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
}

#[test]
fn a17_a_relative_path_begins_where_the_process_is() {
    let tree = LocalTree::open("tests").unwrap();
    // Where others may write to the checkout, they may move what is in it.
    let is_kept = [".", "src"].iter().all(|path| fs::metadata(path).unwrap().mode() & 0o022 == 0);
    match LocalTree::open("./src/../tests") {
        Ok(again) => assert!(is_kept && tree.identity().unwrap() == again.identity().unwrap()),
        Err(error) => {
            assert!(!is_kept && matches!(error, OpenRootError::UnsafeParent { .. }), "{error}");
            assert_eq!(
                error.to_string(),
                "\"src/..\" leads to where others may have moved a directory, and is not followed"
            );
        }
    }
    assert!(block_on(tree.lookup(&"threats/roots.rs".parse().unwrap())).unwrap().entry().is_some());
    LocalTree::open("/").unwrap();
    LocalTree::open(".").unwrap();
}

#[test]
fn a17_a_link_where_others_may_put_links_is_not_followed() {
    let place = kept();
    let base = place.0.path();
    fs::create_dir(base.join("shared")).unwrap();
    symlink("../root", base.join("shared/link")).unwrap();
    fs::hard_link(base.join("shared/link"), base.join("b/second")).unwrap();
    // A group may be anybody: what its bits are may be the mask of an access list.
    let modes = [(0o755, true), (0o1755, true), (0o777, false), (0o1777, false), (0o757, false), (0o775, false)];
    for (mode, follows) in modes {
        place.chmod("shared", mode);
        match leads_to_root(&base.join("shared/link"), &place) {
            Ok(there) => assert!(there && follows, "{mode:o}"),
            Err(error) => {
                assert!(!follows && matches!(error, OpenRootError::UnsafeLink { .. }), "{mode:o}: {error}");
                assert!(error.to_string().contains("shared/link"), "{error}");
                assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
            }
        }
    }
    // In a sticky directory nobody moves what is not his, but a link of anybody's may come into it from elsewhere.
    fs::remove_file(base.join("b/second")).unwrap();
    place.chmod("shared", 0o1777);
    assert!(matches!(leads_to_root(&base.join("shared/link"), &place), Err(OpenRootError::UnsafeLink { .. })));
    // A directory that others cannot write to comes from nowhere, and the link in it neither.
    fs::create_dir(base.join("shared/kept")).unwrap();
    symlink("../../root", base.join("shared/kept/link")).unwrap();
    for (mode, follows) in [(0o755, true), (0o1777, false), (0o775, false)] {
        place.chmod("shared/kept", mode);
        assert_eq!(leads_to_root(&base.join("shared/kept/link"), &place).is_ok(), follows, "{mode:o}");
    }
    // A directory is gone through whoever may write to it: it cannot lead further than to what they have.
    fs::create_dir(base.join("shared/real")).unwrap();
    place.chmod("shared", 0o777);
    LocalTree::open(base.join("shared/real")).unwrap();
}

#[test]
fn a17_a_link_that_somebody_else_has_planted_on_the_way_is_not_followed() {
    if !bridge::is_superuser() {
        return not_run("only the superuser gives links away");
    }
    let place = kept();
    let base = place.0.path();
    // As an import as root makes it: a directory for a user, who swaps a name in it.
    fs::create_dir_all(base.join("home/tree")).unwrap();
    lchown(base.join("home"), Some(1234), Some(1234)).unwrap();
    LocalTree::open(base.join("home/tree")).unwrap();
    fs::rename(base.join("home/tree"), base.join("home/old")).unwrap();
    symlink("../b", base.join("home/tree")).unwrap();
    lchown(base.join("home/tree"), Some(1234), Some(1234)).unwrap();
    for path in ["home/tree", "home/tree/", "home/tree/.", "home/tree/../root"] {
        let error = LocalTree::open(base.join(path)).unwrap_err();
        assert!(matches!(error, OpenRootError::ForeignLink { uid: 1234, .. }), "{path}: {error}");
        assert!(error.to_string().contains("home/tree\" on the way belongs to 1234"), "{error}");
    }
    // One of root's that he has moved there: an import makes links of any owner.
    symlink("../b", base.join("home/moved")).unwrap();
    assert!(matches!(LocalTree::open(base.join("home/moved")), Err(OpenRootError::UnsafeLink { .. })));
    // A link of his further on, behind one that is trusted.
    symlink("home/tree", base.join("trusted")).unwrap();
    assert!(matches!(LocalTree::open(base.join("trusted")), Err(OpenRootError::ForeignLink { .. })));
    // A group, whether it is root's or not.
    fs::create_dir(base.join("team")).unwrap();
    symlink("../root", base.join("team/link")).unwrap();
    lchown(base.join("team"), Some(0), Some(1234)).unwrap();
    place.chmod("team", 0o775);
    assert!(matches!(LocalTree::open(base.join("team/link")), Err(OpenRootError::UnsafeLink { .. })));
    lchown(base.join("team"), Some(0), Some(0)).unwrap();
    assert!(matches!(LocalTree::open(base.join("team/link")), Err(OpenRootError::UnsafeLink { .. })));
    place.chmod("team", 0o755);
    assert!(leads_to_root(&base.join("team/link"), &place).unwrap());
    // Who has opened it himself knows what it is.
    let opened = fs::File::open(base.join("home/tree")).unwrap();
    LocalTree::from_descriptor(opened.into()).unwrap();
}

#[test]
fn a17_a_link_or_parent_behind_a_directory_of_somebody_else_is_not_followed() {
    if !bridge::is_superuser() {
        return not_run("only the superuser gives directories away");
    }
    let place = kept();
    let base = place.0.path();
    // As an import as root makes it: all but the first is root's. The user of the first renames what is in it.
    fs::create_dir_all(base.join("l/d/real")).unwrap();
    symlink("../../root", base.join("l/d/root")).unwrap();
    lchown(base.join("l"), Some(1234), Some(1234)).unwrap();
    fs::rename(base.join("l/d"), base.join("l/app")).unwrap();
    for (owner, mode) in [(1234, 0o755), (0, 0o777), (0, 0o775)] {
        lchown(base.join("l"), Some(owner), Some(owner)).unwrap();
        place.chmod("l", mode);
        let error = LocalTree::open(base.join("l/app/root")).unwrap_err();
        assert!(matches!(error, OpenRootError::UnsafeLink { .. }), "{owner} {mode:o}: {error}");
        for path in ["l/..", "l/app/..", "l/app/real/../../../root"] {
            let error = LocalTree::open(base.join(path)).unwrap_err();
            assert!(matches!(error, OpenRootError::UnsafeParent { .. }), "{path}: {error}");
            assert!(error.to_string().contains("/..\" leads to where others may have moved"), "{error}");
            assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
        }
        // Gone through it is: what is in there is at worst another directory of theirs.
        LocalTree::open(base.join("l/app/real")).unwrap();
    }
    lchown(base.join("l"), Some(0), Some(0)).unwrap();
    place.chmod("l", 0o755);
    assert!(leads_to_root(&base.join("l/app/root"), &place).unwrap());
    assert!(leads_to_root(&base.join("l/app/../../root"), &place).unwrap());
}

#[test]
fn a17_a_group_that_an_access_list_lets_write_is_others() {
    if !bridge::is_superuser() {
        return not_run("only the superuser gives directories a group that is not his");
    }
    let place = kept();
    let base = place.0.path();
    fs::create_dir(base.join("listed")).unwrap();
    symlink("../root", base.join("listed/link")).unwrap();
    place.chmod("listed", 0o755);
    assert!(leads_to_root(&base.join("listed/link"), &place).unwrap());
    // user::rwx, user:1234:rwx, group::r-x, mask::rwx, other::r-x: the bits of the group are those of the mask.
    let none = u32::MAX;
    let entries = [(0x01_u16, 7_u16, none), (0x02, 7, 1234), (0x04, 5, none), (0x10, 7, none), (0x20, 5, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let directory = fs::File::open(base.join("listed")).unwrap();
    match rustix::fs::fsetxattr(&directory, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()) {
        Err(rustix::io::Errno::OPNOTSUPP) => return not_run("this file system has no access lists"),
        other => other.unwrap(),
    }
    assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o775);
    assert!(matches!(LocalTree::open(base.join("listed/link")), Err(OpenRootError::UnsafeLink { .. })));
}

#[test]
fn a17_a_link_of_procfs_is_not_taken_for_its_text() {
    let place = kept();
    let opened = fs::File::open(place.root()).unwrap();
    let descriptor = opened.as_raw_fd();
    let me = std::process::id();
    // What its text names is something else in another mount namespace, or by now.
    let paths = [
        format!("/proc/{me}/fd/{descriptor}"),
        format!("/proc/self/fd/{descriptor}"),
        format!("/dev/fd/{descriptor}"),
        format!("/proc/{me}/root"),
        format!("/proc/{me}/root/tmp"),
        "/proc/self/root".to_owned(),
        format!("/proc/{me}/cwd"),
    ];
    for path in paths {
        let error = LocalTree::open(&path).unwrap_err();
        assert!(matches!(error, OpenRootError::KernelLink { .. }), "{path}: {error}");
        assert!(error.to_string().contains("`LocalTree::from_descriptor`"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
    }
    LocalTree::from_descriptor(opened.into()).unwrap();
}

#[test]
fn a17_a_root_that_cannot_be_read_is_named_in_the_error() {
    let who = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    let command = if bridge::is_superuser() { &who[..] } else { &["env"] };
    if !is_inside("roots::a17_a_root_that_cannot_be_read_is_named_in_the_error", command) {
        return;
    }
    // In a process of its own: where it is holds for all of its threads.
    let place = kept();
    place.chmod("b", 0o300);
    std::env::set_current_dir(place.0.path().join("b")).unwrap();
    let error = LocalTree::open(".").unwrap_err();
    assert_eq!(error.to_string(), "\".\" cannot be opened");
}
