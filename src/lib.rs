#![doc = "placeholder"]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod content_type;
#[cfg(feature = "engine")]
pub mod engine;
mod entry;
mod escape;
mod key;
mod metadata;
mod mode;
mod owner;
pub mod plan;
mod profile;
#[cfg(all(feature = "local", target_os = "linux"))]
mod sparse;
#[cfg(feature = "engine")]
pub mod store;
mod symlink;
mod timestamp;
#[cfg(feature = "engine")]
pub mod tree;

pub use content_type::ContentTypes;
pub use entry::{DecodedHead, Entry, EntryKind, Finding, KindMismatch, ObjectHead, Refusal};
pub use escape::{Escaped, escape};
pub use key::{InvalidKey, Key, KeyFault, Prefix};
pub use metadata::{
    Attributes, DecodedAttributes, Distorted, FILE_ATIME, FILE_GROUP, FILE_MTIME, FILE_OWNER, FILE_PERMISSIONS,
    Fallback, Field, FieldFault, Fields, InvalidField, InvalidMetadata, MISSING_META, Origin, Origins, USER_AGENT,
    USER_METADATA_LIMIT, USER_METADATA_PREFIX, user_metadata_size,
};
pub use mode::{FileType, InvalidMode, Mode, ModeFault, Permissions};
pub use owner::{Gid, IdFault, InvalidId, Uid};
pub use profile::{Atime, Attitude, Clash, Damage, Defaults, LinkTargets, Profile, Service, SetId};
pub use symlink::{InvalidTarget, SymlinkTarget};
pub use timestamp::{InvalidTimestamp, OutOfRange, Timestamp, TimestampFault};
