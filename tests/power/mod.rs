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
