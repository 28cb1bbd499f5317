//! The front door: a tree and a bucket, linked.
