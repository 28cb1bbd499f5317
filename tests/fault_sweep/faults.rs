//! Which errors a call can return.

use crate::boundary::{Call, Fault};
use posix_s3::store::StoreErrorKind;
use posix_s3::tree::TreeErrorKind;
use std::io::{self, ErrorKind};

/// The errors of the system, by name, as `tree::local` tells them.
const ERRNOS: [(&str, i32); 24] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EINTR", 4),
    ("EIO", 5),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("ENAMETOOLONG", 36),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ESTALE", 116),
];
const EDQUOT: (&str, i32) = ("EDQUOT", 122);

/// As `tree::local` does.
fn kind_of(errno: i32) -> TreeErrorKind {
    const ELOOP: i32 = 40;
    match io::Error::from_raw_os_error(errno).kind() {
        _ if errno == ELOOP => TreeErrorKind::Conflict,
        ErrorKind::NotFound => TreeErrorKind::NotFound,
        ErrorKind::PermissionDenied => TreeErrorKind::Denied,
        ErrorKind::AlreadyExists
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty => TreeErrorKind::Conflict,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => TreeErrorKind::NoSpace,
        _ => TreeErrorKind::Other,
    }
}

const STORE: [StoreErrorKind; 13] = [
    StoreErrorKind::NotFound,
    StoreErrorKind::PreconditionFailed,
    StoreErrorKind::NoSuchBucket,
    StoreErrorKind::WrongRegion,
    StoreErrorKind::Archived,
    StoreErrorKind::Denied,
    StoreErrorKind::Throttled,
    StoreErrorKind::Transient,
    StoreErrorKind::Unsupported,
    StoreErrorKind::Corrupt,
    StoreErrorKind::InvalidRequest,
    StoreErrorKind::Body,
    StoreErrorKind::Other,
];

const STATE: [ErrorKind; 10] = [
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::StorageFull,
    ErrorKind::QuotaExceeded,
    ErrorKind::ReadOnlyFilesystem,
    ErrorKind::StaleNetworkFileHandle,
    ErrorKind::TimedOut,
    ErrorKind::InvalidData,
    ErrorKind::Interrupted,
    ErrorKind::Other,
];

/// The calls of the three sides.
pub(crate) const CALLS: [Call; 33] = [
    Call::Store("list"),
    Call::Store("head"),
    Call::Store("get"),
    Call::Store("put"),
    Call::Store("replace_metadata"),
    Call::Store("delete"),
    Call::Tree("begin"),
    Call::Tree("sync"),
    Call::Tree("finish"),
    Call::Tree("identity"),
    Call::Tree("may_have_placeholders"),
    Call::Tree("list"),
    Call::Tree("look"),
    Call::Tree("lookup"),
    Call::Tree("open"),
    Call::Tree("again"),
    Call::Tree("read"),
    Call::Tree("write_file"),
    Call::Tree("create_directory"),
    Call::Tree("create_symlink"),
    Call::Tree("create_placeholder"),
    Call::Tree("release"),
    Call::Tree("set_attributes"),
    Call::Tree("data"),
    Call::Tree("remove"),
    Call::Tree("rename"),
    Call::State("open"),
    Call::State("create"),
    Call::State("write"),
    Call::State("sync"),
    Call::State("remove"),
    Call::State("publish"),
    Call::State("read"),
];

/// The kinds that a call to the tree gives of itself, without an error of the system.
fn own_kinds(call: &str) -> &'static [TreeErrorKind] {
    use TreeErrorKind::{
        Body, Changed, Conflict, InUse, Mark, MountPoint, NeedsNewInode, NotFound, Reserved, Unsupported,
    };
    match call {
        "list" | "look" | "lookup" => &[Conflict, NotFound, MountPoint, Reserved, Mark],
        "open" => &[NotFound, Conflict, Changed, MountPoint, Reserved, Mark],
        "data" | "again" | "read" => &[Changed],
        "write_file" => &[Conflict, Changed, MountPoint, Reserved, InUse, Mark, Unsupported, Body],
        "create_directory" | "create_symlink" => &[Conflict, Changed, MountPoint, Reserved],
        "create_placeholder" => &[Conflict, Changed, MountPoint, Reserved, Unsupported],
        "release" => &[Conflict, Changed, MountPoint, Reserved, InUse, Mark, Unsupported],
        "set_attributes" => &[Conflict, Changed, MountPoint, Reserved, NeedsNewInode, Mark],
        "remove" | "rename" => &[NotFound, Conflict, Changed, MountPoint, Reserved],
        _ => &[Changed],
    }
}

/// Every error that a call can return, each with its name.
pub(crate) fn of(call: Call) -> Vec<(String, Fault)> {
    match call {
        Call::Store(_) => {
            let kinds = STORE.into_iter().map(|kind| (format!("{kind:?}"), Fault::Store(kind)));
            kinds.chain([("lost reply".to_owned(), Fault::LostReply)]).collect()
        }
        Call::Tree(name) => {
            let of_system = ERRNOS.into_iter().chain([EDQUOT]);
            let of_system = of_system.map(|(name, errno)| (name.to_owned(), Fault::Tree(kind_of(errno), Some(errno))));
            let own = own_kinds(name).iter().map(|kind| (format!("{kind:?}"), Fault::Tree(*kind, None)));
            of_system.chain(own).collect()
        }
        Call::State(_) => STATE.into_iter().map(|kind| (format!("{kind:?}"), Fault::State(kind))).collect(),
    }
}

/// What an engine can tell of a fault: errors of the system of one kind are told apart by people alone.
pub(crate) fn kind(fault: Fault) -> String {
    match fault {
        Fault::Tree(kind, _) => format!("{kind:?}"),
        other => format!("{other:?}"),
    }
}

/// Whether it makes sense that a call fails so for good: whoever is interrupted tries again.
pub(crate) fn may_be_for_good(fault: Fault) -> bool {
    !matches!(fault, Fault::State(ErrorKind::Interrupted))
}

/// Whether that is an answer rather than a failure: it says that something is gone, and whoever asks has to believe it. Where
/// it is not true, as when a fault is made up, nothing may be lost by it; but what is forgotten since it is gone on both sides
/// is not put right by asking again. That something stands in the way says so only of what is to be removed.
pub(crate) fn is_answer(call: Call, fault: Fault, removes: bool) -> bool {
    match (call, fault) {
        (Call::Store("head"), Fault::Store(kind)) => kind == StoreErrorKind::NotFound,
        (Call::Tree("lookup" | "remove"), Fault::Tree(TreeErrorKind::NotFound, _)) => true,
        (Call::Tree("lookup"), Fault::Tree(TreeErrorKind::Conflict, _)) => removes,
        _ => false,
    }
}
