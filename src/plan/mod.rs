//! The decisions: what has to be done, as values.
//!
//! Nothing here does I/O or reads a clock, so a dry run prints the same values that a run carries out, and a test
//! compares them.

mod export;
mod import;

pub use export::{ExportRefusal, MAX_OBJECT_BYTES, Payload, StoreOp, put};
pub use import::{Claim, Claims, Disorder, Existing, ImportStep, compare};
