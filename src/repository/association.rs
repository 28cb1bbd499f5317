//! An association of a file-system path with a part of a bucket, as newer file systems have several.
