//! Automatic import: from events of the bucket to the tree.
