//! Power loss at the level of system calls: a recorded run, a model of a disk, and the real thing made of what is left.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod check;
pub(crate) mod disk;
pub(crate) mod enumerate;
pub(crate) mod faults;
pub(crate) mod replay;
pub(crate) mod seen;
pub(crate) mod stand_in;
pub(crate) mod trace;
pub(crate) mod workload;

use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// A child that is about to be run holds the locks of its parent for a moment: none is begun while a store is open here.
static CHILDREN: RwLock<()> = RwLock::new(());

/// Held while stores are opened in this process.
pub(crate) fn in_this_process() -> RwLockReadGuard<'static, ()> {
    CHILDREN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program; it has left the descriptors of this process behind when this is over.
pub(crate) fn begin(program: &mut Command) -> Child {
    let _alone = CHILDREN.write().unwrap_or_else(PoisonError::into_inner);
    program.spawn().unwrap()
}

/// Runs a program to its end.
pub(crate) fn output(program: &mut Command) -> Output {
    let program = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    begin(program).wait_with_output().unwrap()
}

/// A directory on a file system that waits for no disk, if there is one that keeps extended attributes.
pub(crate) fn quick() -> tempfile::TempDir {
    let keeps_attributes = |directory: &tempfile::TempDir| {
        rustix::fs::setxattr(directory.path(), "user.test", b"x", rustix::fs::XattrFlags::empty()).is_ok()
    };
    let memory = tempfile::tempdir_in("/dev/shm").ok().filter(keeps_attributes);
    memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// Whether a test that needs strace and root runs. Says so if it does not, which is a failure where it has to.
pub(crate) fn may_run(what: &str) -> bool {
    let why = match () {
        () if !trace::works() => "strace is not there, or may not trace",
        () if !rustix::process::geteuid().is_root() => "only root gives files away",
        () => return true,
    };
    assert!(std::env::var_os("POSIX_S3_MUST_RUN").is_none(), "{what} has to run: {why}");
    println!("NOT RUN: {what}: {why}");
    eprintln!("NOT RUN: {what}: {why}");
    false
}
