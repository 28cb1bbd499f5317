//! Automatic export: from a feed of changed paths to the bucket.
