//! The path to the root itself.

use crate::hostile::Surrounded;
use crate::model::bridge;
use crate::namespace::not_run;
use futures_executor::block_on;
use posix_s3::tree::{LocalTree, OpenError, Tree};
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;

/// Whether the directory at `path` is the root of `place`.
fn leads_to_root(path: &Path, place: &Surrounded) -> Result<bool, OpenError> {
    let tree = LocalTree::open(path)?;
    Ok(tree.identity().unwrap() == LocalTree::open(place.root()).unwrap().identity().unwrap())
}

#[test]
fn a17_links_that_only_this_user_or_root_can_have_put_there_are_followed() {
    let place = Surrounded::new();
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
    assert!(matches!(leads_to_root(&base.join("victim"), &place), Err(OpenError::Io { .. })));
    assert!(matches!(leads_to_root(&base.join("victim/x"), &place), Err(OpenError::Io { .. })));
    assert!(matches!(leads_to_root(Path::new(""), &place), Err(OpenError::Io { .. })));
    let error = leads_to_root(&base.join("missing/root"), &place).unwrap_err();
    assert!(error.to_string().contains("missing\" cannot be opened"), "{error}");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    symlink("loop", base.join("loop")).unwrap();
    assert!(matches!(leads_to_root(&base.join("loop"), &place), Err(OpenError::TooManyLinks)));
}

#[test]
fn a17_a_relative_path_begins_where_the_process_is() {
    let tree = LocalTree::open("tests").unwrap();
    let again = LocalTree::open("./src/../tests").unwrap();
    assert_eq!(tree.identity().unwrap(), again.identity().unwrap());
    assert!(block_on(tree.lookup(&"threats/roots.rs".parse().unwrap())).unwrap().entry().is_some());
    LocalTree::open("/").unwrap();
    LocalTree::open(".").unwrap();
    LocalTree::open("..").unwrap();
}

#[test]
fn a17_a_link_where_others_may_put_links_is_not_followed() {
    let place = Surrounded::new();
    let base = place.0.path();
    fs::create_dir(base.join("shared")).unwrap();
    symlink("../root", base.join("shared/link")).unwrap();
    fs::hard_link(base.join("shared/link"), base.join("b/second")).unwrap();
    for (mode, follows) in [(0o755, true), (0o777, false), (0o1777, false), (0o757, false)] {
        place.chmod("shared", mode);
        match leads_to_root(&base.join("shared/link"), &place) {
            Ok(there) => assert!(there && follows, "{mode:o}"),
            Err(error) => {
                assert!(!follows && matches!(error, OpenError::UnsafeLink { .. }), "{mode:o}: {error}");
                assert!(error.to_string().contains("shared/link"), "{error}");
                assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
            }
        }
    }
    // In a sticky directory nobody moves what is not his; with one name it came from nowhere else.
    fs::remove_file(base.join("b/second")).unwrap();
    place.chmod("shared", 0o1777);
    assert!(leads_to_root(&base.join("shared/link"), &place).unwrap());
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
    let place = Surrounded::new();
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
        assert!(matches!(error, OpenError::ForeignLink { uid: 1234, .. }), "{path}: {error}");
        assert!(error.to_string().contains("home/tree\" on the way belongs to 1234"), "{error}");
    }
    // One of root's that he has moved there: an import makes links of any owner.
    symlink("../b", base.join("home/moved")).unwrap();
    assert!(matches!(LocalTree::open(base.join("home/moved")), Err(OpenError::UnsafeLink { .. })));
    // A link of his further on, behind one that is trusted.
    symlink("home/tree", base.join("trusted")).unwrap();
    assert!(matches!(LocalTree::open(base.join("trusted")), Err(OpenError::ForeignLink { .. })));
    // A group that is neither root's nor this user's.
    fs::create_dir(base.join("team")).unwrap();
    symlink("../root", base.join("team/link")).unwrap();
    lchown(base.join("team"), Some(0), Some(1234)).unwrap();
    place.chmod("team", 0o775);
    assert!(matches!(LocalTree::open(base.join("team/link")), Err(OpenError::UnsafeLink { .. })));
    lchown(base.join("team"), Some(0), Some(0)).unwrap();
    assert!(leads_to_root(&base.join("team/link"), &place).unwrap());
    // Who has opened it himself knows what it is.
    let opened = fs::File::open(base.join("home/tree")).unwrap();
    LocalTree::from_descriptor(opened.into()).unwrap();
}
