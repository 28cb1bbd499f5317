//! Data on demand: restoring what was released, releasing what was exported.
