//! Whom a file or directory has to be from, and who may change it, for this process to be led by it.

use rustix::fs::Stat;

/// Whether an owner is the superuser or this user.
pub(crate) fn is_trusted(uid: u32) -> bool {
    is_root_or(rustix::process::geteuid().as_raw(), uid)
}

const fn is_root_or(user: u32, uid: u32) -> bool {
    uid == 0 || uid == user
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn root_and_this_user_are_trusted_and_nobody_else() {
        assert!(is_root_or(7, 0) && is_root_or(7, 7) && is_root_or(0, 0));
        assert!(!is_root_or(7, 8) && !is_root_or(0, 7));
        let user = rustix::process::geteuid().as_raw();
        assert!(is_trusted(0) && is_trusted(user) && !is_trusted(user + 1));
    }

    #[test]
    fn what_only_its_owner_may_write_to_is_kept_if_he_is_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let stat = |mode| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            rustix::fs::fstat(File::open(directory.path()).unwrap()).unwrap()
        };
        for (mode, kept) in
            [(0o700, true), (0o755, true), (0o1755, true), (0o720, false), (0o702, false), (0o777, false)]
        {
            assert_eq!(is_kept(&stat(mode)), kept, "{mode:o}");
        }
        let mut foreign = stat(0o700);
        foreign.st_uid += 1;
        assert!(!is_kept(&foreign));
    }
}
