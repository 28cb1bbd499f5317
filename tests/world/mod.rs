//! A simulated world: a bucket, a tree and a state whose every call waits for its turn, and who gives the turns.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod chance;
pub(crate) mod ground;
pub(crate) mod judge;
pub(crate) mod neighbours;
pub(crate) mod play;
pub(crate) mod schedule;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod watched;
