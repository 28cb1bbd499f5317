//! Calls that a real tree and one that is made up are both asked for, and what is compared of the answers.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod call;
pub(crate) mod editor;
pub(crate) mod generate;
pub(crate) mod judge;
pub(crate) mod tally;
