//! The decisions: what has to be done, as values.
//!
//! Nothing here does I/O or reads a clock, so a dry run prints the same values that a run carries out, and a test
//! compares them.

mod brake;
mod cause;
mod change;
mod conflict;
mod export;
mod import;

pub use brake::{Brake, Braked, Deletes};
pub use cause::Cause;
pub use change::{Change, ChangedAttributes, Data, Doubt};
pub use conflict::OnConflict;
pub use export::{ExportRefusal, MAX_OBJECT_BYTES, MetadataChange, Payload, Step, StoreOp, put, step};
pub use import::{Claim, Claims, Disorder, Existing, ImportStep, compare};
