//! Export, import and audit: what moves the decisions of [`plan`](crate::plan) between a [`Tree`](crate::tree::Tree)
//! and an [`ObjectStore`](crate::store::ObjectStore).
//!
//! It is async code over those two traits, tied to no runtime; it reads no clock and decides nothing. Concurrency and memory
//! are bounded by [`Jobs`]. Dropping a future stops a run at once; nothing half done shows, and running again is safe.

mod agreed;
mod audit;
mod beside;
mod bytes;
mod cancel;
mod cause;
mod clock;
mod contents;
mod digest;
mod export;
mod import;
mod journal;
mod listing;
mod placeholder;
mod report;
mod scan;
mod selection;
mod session;
mod spool;
mod state;
mod turns;
mod walk;

#[cfg(feature = "repository")]
mod automatic;
#[cfg(feature = "repository")]
mod events;
mod hsm;
#[cfg(feature = "repository")]
mod repository;
#[cfg(feature = "repository")]
mod task;

pub use audit::{Audit, Remark, Verdict, audit};
#[cfg(feature = "repository")]
pub use automatic::{FenceError, Fenced, Mark, UnsentPath, export_changes, fence};
pub use cancel::Cancel;
pub use cause::Cause;
pub use clock::{Clock, SystemClock};
#[cfg(feature = "repository")]
pub use events::{Drift, apply_events, sweep};
pub use export::{ExportOptions, Imported, Planned, SameTimes, export, export_since, plan_export};
pub use hsm::{
    DataOptions, Kept, KeptCause, ReadError, ReleaseError, ReleaseMode, ReleaseOptions, ReleaseReport, archive,
    hsm_state, read, release, restore,
};
pub use import::{Fetch, ImportOptions, import, import_since, plan_import};
pub use report::{Direction, EndedEntry, Jobs, Outcome, Problem, Progress, Report, RunError, RunErrorKind, Silent};
#[cfg(feature = "repository")]
pub use repository::{
    Access, Checkup, DataRepository, FirstImport, LinkDocument, LinkDocumentError, Linked, RepositoryError,
    RepositoryOptions, States, check_link,
};
pub use scan::Directories;
pub use selection::{InvalidPattern, Selection};
pub use session::StateError;
#[cfg(all(feature = "local", target_os = "linux"))]
pub use state::{FileState, OpenStateError};
pub use state::{MemoryState, Part, StateRead, StateStore, StateWrite, Syncer};
#[cfg(feature = "repository")]
pub use task::{Completion, CompletionError, ReleaseRequest, Released, Releaser, TaskOptions, TaskOutcome, TaskRun};
pub use walk::walk;
