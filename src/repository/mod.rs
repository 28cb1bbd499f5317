//! The data repository as AWS describes it: a file system linked to a bucket, what state the link is in, what was asked of
//! it, and what became of that.
//!
//! The names and the documents are those of the Amazon FSx API, version 2018-03-01, so that a service can answer as FSx does
//! and a program can read what FSx answers. Nothing here does I/O or reads a clock; `engine` is what moves data.
//! Times are [`Timestamp`](crate::Timestamp)s that the caller hands in.

mod association;
mod changelog;
mod describe;
mod event;
mod feed;
mod guard;
mod hsm;
mod lifecycle;
mod link;
mod path;
mod policy;
mod report;
mod task;

pub use event::{
    Backlog, BacklogCounts, Creation, EventKind, InvalidMessage, InvalidSequencer, MessageFault, MessagePosition,
    MessageStream, Notice, ObjectEvent, Overdue, Removal, Restoration, Sequencer, StreamError, read_message,
};
pub use lifecycle::{
    Action, FailureDetails, Happening, IllegalTransition, Lifecycle, LinkState, Misconfiguration, NotAllowed,
};
pub use policy::{AutoImportPolicyType, EventType, EventTypes, Open};
