//! [`Cause`]: what the errors of the edges and the refusals of the mapping come to.

pub use crate::plan::Cause;

use crate::entry::{Finding, Refusal};
use crate::key::{InvalidKey, KeyFault};
use crate::plan::ExportRefusal;
use crate::store::{StoreError, StoreErrorKind};
use crate::tree::{Shortfall, SkipReason, TreeError, TreeErrorKind};
use std::error::Error as StdError;

impl From<&StoreError> for Cause {
    fn from(error: &StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::NotFound => Self::ObjectNotFound,
            StoreErrorKind::PreconditionFailed => Self::LostRace,
            StoreErrorKind::NoSuchBucket => Self::NoSuchBucket,
            StoreErrorKind::WrongRegion => Self::WrongRegion,
            StoreErrorKind::Archived => Self::Archived,
            StoreErrorKind::Denied => Self::AccessDenied,
            StoreErrorKind::Throttled => Self::Throttled,
            StoreErrorKind::Transient => Self::Transient,
            StoreErrorKind::Corrupt => Self::Corrupt,
            StoreErrorKind::Body => {
                let tree = error.source().and_then(|source| source.downcast_ref::<TreeError>());
                tree.map_or(Self::Store, Self::from)
            }
            StoreErrorKind::Unsupported | StoreErrorKind::InvalidRequest | StoreErrorKind::Other => Self::Store,
        }
    }
}

impl From<&TreeError> for Cause {
    fn from(error: &TreeError) -> Self {
        match error.kind() {
            TreeErrorKind::NotFound => Self::FileNotFound,
            TreeErrorKind::Conflict => Self::KindMismatch,
            TreeErrorKind::Denied => Self::PermissionDenied,
            TreeErrorKind::Changed | TreeErrorKind::InUse => Self::Busy,
            TreeErrorKind::MountPoint => Self::MountPoint,
            TreeErrorKind::Reserved => Self::Reserved,
            TreeErrorKind::NoSpace => Self::NoSpace,
            TreeErrorKind::Body => {
                let store = error.source().and_then(|source| source.downcast_ref::<StoreError>());
                store.map_or(Self::Corrupt, Self::from)
            }
            TreeErrorKind::Mark => Self::MetadataDamaged,
            TreeErrorKind::NeedsNewInode | TreeErrorKind::Unsupported | TreeErrorKind::Other => Self::Tree,
        }
    }
}

impl From<&InvalidKey> for Cause {
    fn from(error: &InvalidKey) -> Self {
        match error.fault() {
            KeyFault::TooLong => Self::KeyTooLong,
            KeyFault::SegmentTooLong => Self::NameTooLong,
            KeyFault::NotUtf8 => Self::NotUtf8,
            _ => Self::KeyNotPosix,
        }
    }
}

impl From<&SkipReason> for Cause {
    fn from(reason: &SkipReason) -> Self {
        match reason {
            SkipReason::Special { .. } => Self::Special,
            SkipReason::Key(error) => error.into(),
            SkipReason::MountPoint => Self::MountPoint,
            SkipReason::Reserved => Self::Reserved,
            SkipReason::Vanished => Self::FileNotFound,
            SkipReason::Owner { .. } => Self::Unstorable,
        }
    }
}

impl From<&ExportRefusal> for Cause {
    fn from(refusal: &ExportRefusal) -> Self {
        match refusal {
            ExportRefusal::Key(error) => error.into(),
            ExportRefusal::Target(_) => Self::LinkTarget,
            ExportRefusal::TooLarge { .. } => Self::TooLarge,
        }
    }
}

impl From<&Refusal> for Cause {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::UnsupportedType { .. } => Self::Special,
            Refusal::DirectoryWithoutSlash => Self::KindMismatch,
            Refusal::Damaged(_) => Self::MetadataDamaged,
            Refusal::MetadataWithheld { .. } => Self::MetadataWithheld,
            Refusal::Target(_) => Self::LinkTarget,
            Refusal::TargetLeavesRoot { .. } => Self::LinkLeavesRoot,
        }
    }
}

impl From<&Finding> for Cause {
    fn from(finding: &Finding) -> Self {
        match finding {
            Finding::Damaged { .. } => Self::MetadataDamaged,
            Finding::MetadataWithheld { .. } => Self::MetadataWithheld,
            Finding::BitsDropped { .. }
            | Finding::TypeIgnored { .. }
            | Finding::BodyIgnored { .. }
            | Finding::UnitSlip { .. } => Self::Repaired,
        }
    }
}

impl From<&Shortfall> for Cause {
    fn from(_: &Shortfall) -> Self {
        Self::Shortfall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Operation;

    #[test]
    fn a_body_that_fails_has_the_cause_of_its_source() {
        let store = StoreError::new(Operation::Get, "a", StoreErrorKind::Denied);
        let tree = TreeError::new("writing", b"a", TreeErrorKind::Body);
        assert_eq!(Cause::from(&tree), Cause::Corrupt);
        assert_eq!(Cause::from(&tree.with_source(store)), Cause::AccessDenied);
        let tree = TreeError::new("reading", b"a", TreeErrorKind::Denied);
        let store = StoreError::new(Operation::Put, "a", StoreErrorKind::Body).with_source(tree);
        assert_eq!(Cause::from(&store), Cause::PermissionDenied);
    }
}
