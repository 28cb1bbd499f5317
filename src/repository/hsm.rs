//! The state of a file whose data may be in the store alone.
