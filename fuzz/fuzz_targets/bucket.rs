//! Law: whatever a bucket holds, whatever stands in the tree and however long the pages are, an import comes to the tree and
//! the outcomes of the model; each key ends once, and the outcomes are as many as the entries; a second import changes
//! nothing.
//!
//! Input: as [`worlds`] reads it: the rules, the prefix, the keys of a page, how many nodes stand there, these, and objects.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3_fuzz::choices::Choices;
use posix_s3_fuzz::model;
use posix_s3_fuzz::model::bridge::{self, memory_store, memory_tree, outcomes, tree_of};
use posix_s3_fuzz::model::generate::Place;
use posix_s3_fuzz::paged::Paged;
use posix_s3_fuzz::worlds;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let (rules, prefix) = (worlds::rules(&mut choices), worlds::prefix(&mut choices));
    let most = choices.of(&[1000, 1, 2, 3]);
    let nodes = usize::from(choices.byte() % 8);
    let existing = worlds::tree(&mut choices, nodes, Place::Memory);
    let bucket = worlds::bucket(&mut choices, prefix, Place::Memory);

    let (expected, verdicts) = model::import(&bucket, prefix, &rules, &existing);
    let (store, tree) = (Paged { store: memory_store(&bucket), most }, memory_tree(&existing));
    let run = bridge::import(&store, &tree, prefix, &rules);
    assert_eq!(run.ended, outcomes(&verdicts, prefix));
    assert_eq!(tree_of(&tree), expected);

    let (again, verdicts) = model::import(&bucket, prefix, &rules, &expected);
    assert_eq!(again, expected, "the model does not settle");
    let run = bridge::import(&store, &tree, prefix, &rules);
    assert_eq!(run.ended, outcomes(&verdicts, prefix));
    assert_eq!(run.report.written + run.report.metadata_only, 0);
    assert_eq!(tree_of(&tree), expected);
});
