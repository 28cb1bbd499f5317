//! The bad inputs of `docs::reliability`, each by its number: keys K, metadata headers H, bodies B, local trees T, replies of
//! servers R, and state records S. Keys and headers are data, in `tests/bad_inputs/*.json`.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "a test"
)]

mod named;
mod namespace;

mod bad_inputs {
    mod bodies;
    #[allow(dead_code, reason = "some of it is for the tests over HTTP")]
    mod cases;
    mod headers;
    mod keys;
    mod rows;
    mod run;
    mod trees;
}
