#![cfg_attr(all(feature = "local", target_os = "linux"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "local", target_os = "linux")),
    doc = "POSIX metadata of files, directories and symbolic links in S3 objects."
)]
//!
//! # Reading order
//!
//! The vocabulary, pure: [`Key`], [`Mode`], [`Timestamp`], [`Uid`] and [`Gid`], [`Attributes`] and their headers,
//! [`SymlinkTarget`], [`Entry`], [`Status`], [`Profile`]. The decisions, pure: [`snapshot`], [`plan`]. The edges: `store` and `tree`. What moves
//! decisions to the edges: `engine`. Why it is so: [`docs`].
#![cfg_attr(docsrs, feature(doc_cfg))]

// The vocabulary: what a file is in the bucket. Pure.
mod budget;
mod content_type;
mod entry;
mod escape;
mod etag;
mod hsm;
mod key;
mod metadata;
mod mode;
mod owner;
mod profile;
mod released;
mod status;
mod symlink;
mod timestamp;

// The decisions: what has to be done. Pure.
pub mod plan;
#[cfg(feature = "repository")]
pub mod repository;
pub mod snapshot;

// The edges.
#[cfg(feature = "engine")]
mod io;
#[cfg(feature = "engine")]
pub mod store;
#[cfg(feature = "engine")]
pub mod tree;

// What moves decisions to the edges.
#[cfg(feature = "engine")]
pub mod engine;

pub mod docs;

pub use budget::{Budget, Spent};
pub use content_type::ContentTypes;
pub use entry::{DecodedHead, Entry, EntryKind, Finding, KindMismatch, ObjectHead, Refusal};
pub use escape::{Escaped, escape};
pub use etag::ETag;
pub use hsm::{Caller, HsmFault, HsmRefusal, HsmState, HsmStatus, IllegalHsmState, InUse, InvalidHsmStatus};
pub use key::{InvalidKey, Key, KeyFault, KeyList, Prefix};
pub use metadata::{
    Attributes, DecodedAttributes, Distorted, FILE_ATIME, FILE_GROUP, FILE_MTIME, FILE_OWNER, FILE_PERMISSIONS,
    Fallback, Field, FieldFault, Fields, InvalidField, InvalidMetadata, MISSING_META, Origin, Origins, USER_AGENT,
    USER_METADATA_LIMIT, USER_METADATA_PREFIX, user_metadata_size,
};
pub use mode::{FileType, InvalidMode, Mode, ModeFault, Permissions};
pub use owner::{Gid, IdFault, InvalidId, Uid};
pub use profile::{Atime, Attitude, Clash, Damage, Defaults, LinkTargets, Profile, Service, SetId};
pub use released::{InvalidReleased, Released, TRUSTED_ATTRIBUTE, USER_ATTRIBUTE};
pub use status::Status;
pub use symlink::{InvalidTarget, SymlinkTarget};
pub use timestamp::{InvalidTimestamp, OutOfRange, Timestamp, TimestampFault};
