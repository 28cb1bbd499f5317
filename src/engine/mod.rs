//! Export, import and audit: what moves the decisions of [`plan`](crate::plan) between a [`Tree`](crate::tree::Tree)
//! and an [`ObjectStore`](crate::store::ObjectStore).
//!
//! It is async code over those two traits, tied to no runtime; it reads no clock and decides nothing. Concurrency and memory
//! are bounded by [`Jobs`]. Dropping a future stops a run at once; nothing half done shows, and running again is safe.

mod audit;
mod export;
mod import;
mod listing;
mod report;
mod spool;
mod turns;
mod walk;

pub use audit::{Audit, Remark, Verdict, audit};
pub use export::{ExportOptions, export};
pub use import::{ImportOptions, import};
pub use report::{Direction, Jobs, Outcome, Problem, Progress, Report, RunError, RunErrorKind, Silent};
pub use walk::walk;
