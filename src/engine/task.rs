//! The work of a data repository task.
