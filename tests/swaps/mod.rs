//! A tree in which somebody swaps names for links that lead outside, while something is done in it.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod flipper;
pub(crate) mod operations;
pub(crate) mod outside;
pub(crate) mod runs;
pub(crate) mod scene;
pub(crate) mod unsafe_ways;
