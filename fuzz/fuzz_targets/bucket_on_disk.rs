//! Law: whatever a bucket holds and whatever links stand in a real root, an import changes nothing outside of it, and each
//! key ends once. The superuser, who can give files away, finds the tree and the outcomes of the model; and a second
//! import changes nothing.
//!
//! Input: as [`worlds`] reads it: the rules, the prefix, three bytes for the links, and objects.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::tree::LocalTree;
use posix_s3_fuzz::choices::Choices;
use posix_s3_fuzz::model::bridge::{self, as_linux_keeps, memory_store, outcomes, read_disk};
use posix_s3_fuzz::model::generate::Place;
use posix_s3_fuzz::model::{self, Kind, Tree};
use posix_s3_fuzz::surrounded::Surrounded;
use posix_s3_fuzz::worlds;
use std::os::unix::fs::symlink;
use std::sync::OnceLock;

/// Reading a directory or a link sets its access time.
fn without_read_times(mut tree: Tree) -> Tree {
    for node in tree.values_mut().filter(|node| !matches!(node.kind, Kind::File(_))) {
        node.atime = 0;
    }
    tree
}

fuzz_target!(|input: &[u8]| {
    static PLACE: OnceLock<Surrounded> = OnceLock::new();
    let place = PLACE.get_or_init(Surrounded::new);
    let root = place.new_root();
    let mut choices = Choices::new(input);
    let (rules, prefix) = (worlds::rules(&mut choices), worlds::prefix(&mut choices));
    for name in ["a", "a-", "b"] {
        let above = place.path().to_str().expect("a path of text");
        let targets = [
            None,
            None,
            Some(format!("../{name}")),
            Some(format!("{above}/a")),
            Some("../new".into()),
            Some("b".into()),
        ];
        if let Some(target) = choices.of(&targets) {
            symlink(target, root.join(name)).expect("a link");
        }
    }
    let bucket = worlds::bucket(&mut choices, prefix, Place::Disk);

    let local = LocalTree::open(&root).expect("the root");
    let mut existing = read_disk(&root);
    for turn in 0..if bridge::is_superuser() { 2 } else { 1 } {
        let (expected, verdicts) = model::import(&bucket, prefix, &rules, &existing);
        let run = bridge::import(&memory_store(&bucket), &local, prefix, &rules);
        place.assert_untouched();
        if bridge::is_superuser() {
            assert_eq!(run.ended, outcomes(&verdicts, prefix));
            let (found, kept) = (read_disk(&root), as_linux_keeps(&expected, &root));
            assert_eq!(without_read_times(found), without_read_times(kept));
            assert!(turn == 0 || run.report.written + run.report.metadata_only == 0, "{:?}", run.report);
        }
        existing = expected;
    }
});
