//! Attributes that a run was setting when it was cut short.

use crate::metadata::Attributes;
use crate::mode::Permissions;
use crate::snapshot::Local;

/// Whether an inode is on its way from what both sides agreed on to what its object says now.
///
/// The times come last. Before them come the permissions, and before those the owner, who is changed while the inode has no
/// more than the permissions of its owner that the old and the new ones share; see [`Tree`](crate::tree::Tree). Nobody else
/// is likely to come by just that, and if he does, the object says what the inode is to be. Where the times are set already,
/// all before them was, and what is different is somebody's wish.
pub(super) fn is_being_set(old: &Local, now: &Attributes, wanted: &Attributes) -> bool {
    let (before, after, owner) = ((old.uid, old.gid), (wanted.uid, wanted.gid), (now.uid, now.gid));
    let shared = Permissions::from_mode(old.permissions.bits() & wanted.permissions.bits() & 0o700);
    let is_over = now.mtime == wanted.mtime && old.mtime != wanted.mtime;
    let is_between = !is_over && before != after && (owner == before || owner == after) && now.permissions == shared;
    is_between || (owner == after && now.permissions == wanted.permissions)
}

/// Whether a directory is as it is made, to be filled: it may have more for its owner than its object says.
pub(super) fn is_being_filled(now: &Attributes, wanted: &Attributes) -> bool {
    let open = Permissions::from_mode(wanted.permissions.bits() | 0o700);
    (now.uid, now.gid, now.permissions) == (wanted.uid, wanted.gid, open)
}
