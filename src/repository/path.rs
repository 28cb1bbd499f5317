//! Where things are: in a bucket, and in a file system.
