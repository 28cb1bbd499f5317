//! Which paths have changed and wait to be exported.
