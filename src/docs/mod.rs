//! The long documents, as part of the documentation.

#[doc = include_str!("semantics.md")]
pub mod semantics {}

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("snapshot.md")]
pub mod snapshot {}

#[doc = include_str!("reliability.md")]
pub mod reliability {}
