//! Law: an export of any tree makes the bucket of the model, and accounts for each entry; an import of that into nothing is
//! the tree, normalised; a second import finds nothing to do, and an export of what was imported makes the same bucket.
//!
//! Input: as [`worlds`] reads it: the rules, the prefix, and nodes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::store::MemoryStore;
use posix_s3::tree::MemoryTree;
use posix_s3_fuzz::choices::Choices;
use posix_s3_fuzz::model;
use posix_s3_fuzz::model::Trust;
use posix_s3_fuzz::model::bridge::{self, bucket_of, memory_tree, tree_of};
use posix_s3_fuzz::model::generate::Place;
use posix_s3_fuzz::worlds;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let (rules, prefix) = (worlds::rules(&mut choices), worlds::prefix(&mut choices));
    // Whoever does not trust a bucket does not take back every link.
    let rules = model::Rules { trust: Trust::Fsx, ..rules };
    let tree = worlds::tree(&mut choices, 24, Place::Memory);

    let (store, expected) = (MemoryStore::new(), model::export(&tree, prefix, &rules));
    let run = bridge::export(&memory_tree(&tree), &store, prefix, &rules);
    assert_eq!(bucket_of(&store), expected);
    assert_eq!(run.report.entries, tree.len() as u64);
    assert_eq!(run.report.written, expected.len() as u64);
    assert_eq!(run.report.skipped, run.report.entries - run.report.written);

    let imported = MemoryTree::new();
    let run = bridge::import(&store, &imported, prefix, &rules);
    assert_eq!(tree_of(&imported), model::normalise(&tree, prefix, &rules));
    assert_eq!(run.report.written, run.report.entries);
    let again = bridge::import(&store, &imported, prefix, &rules);
    assert_eq!(again.report.unchanged, again.report.entries);
    assert_eq!(again.report.store_calls.get, 0);

    let exported = MemoryStore::new();
    bridge::export(&imported, &exported, prefix, &rules);
    assert_eq!(bucket_of(&exported), expected);
});
