//! Whom a file or directory has to be from, and who may change it, for this process to be led by it.

use rustix::fs::Stat;

/// Whether an owner is the superuser or this user.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Whether the permissions have anybody but the owner write.
///
/// The group counts, whichever it is: who is in it is not known here, and where there is an access list, its bits are those
/// of the list's mask.
pub(crate) const fn others_may_write(mode: u32) -> bool {
    mode & 0o022 != 0
}

/// Whether nobody but the superuser and this user can change what it is or holds.
pub(crate) fn is_kept(stat: &Stat) -> bool {
    is_trusted(stat.st_uid) && !others_may_write(stat.st_mode)
}
