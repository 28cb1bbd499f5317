//! The documents that describe file systems, associations and tasks.
