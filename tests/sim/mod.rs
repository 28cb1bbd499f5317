//! A tree and a bucket that are made up, so that what may happen to them can be tried many thousand times.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod crash;
pub(crate) mod disk;
pub(crate) mod edit;
pub(crate) mod exchange;
pub(crate) mod inodes;
pub(crate) mod staging;
pub(crate) mod sys;
pub(crate) mod tree;
