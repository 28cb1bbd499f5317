//! The completion report of a task.
