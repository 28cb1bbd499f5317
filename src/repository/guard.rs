//! What must not be deleted yet.
