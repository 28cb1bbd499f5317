//! The threat model of `docs::reliability`, row by row: A01 to A38, and every advisory on the same ground. Each test does the
//! attack itself, in the form in which it would reach an import, and is named by the row or the advisory.
//!
//! What needs a server that lies is in `tests/s3_http.rs`, under the same names.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../hostile/mod.rs"]
mod hostile;
#[path = "../model/mod.rs"]
mod model;
#[path = "../named/mod.rs"]
mod named;
#[path = "../namespace/mod.rs"]
mod namespace;

mod advisories;
mod answers;
mod attributes;
mod keys;
mod links;
mod listing;
mod mounts;
mod names;
mod roots;
mod shadows;
mod table;
