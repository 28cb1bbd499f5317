//! Checks that every store has to pass.
