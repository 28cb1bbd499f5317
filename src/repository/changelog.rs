//! The changelog of Lustre, read as text.
