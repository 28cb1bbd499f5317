//! The link of a whole file system to a bucket, as made with it.
