//! Tests that need what only root, or a mount namespace of one's own, can have.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// Set for the process that does the work of a test.
const INSIDE: &str = "POSIX_S3_INSIDE";

/// Says loudly that a test or a part of it is not run, and why; where `POSIX_S3_MUST_RUN` is set that is a failure. It is told
/// past the test harness, which keeps to itself what a test that passes prints; and once, however often it is said.
pub(crate) fn not_run(why: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    assert!(env::var_os("POSIX_S3_MUST_RUN").is_none(), "NOT RUN: {why}");
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(why.to_owned()) {
        io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes()).unwrap();
    }
}

/// Says as loudly that a part of a test is not run that is run elsewhere, so that it is no failure anywhere.
pub(crate) fn left_out(why: &str) {
    io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes()).unwrap();
}

/// Tells what a test in another process has said that it did not run.
pub(crate) fn pass_on(said: &str) {
    for line in said.lines().filter(|line| line.starts_with("NOT RUN: ")) {
        io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// A directory on ext4 that can be written to: the one that `POSIX_S3_EXT4` names, or one where it usually is.
pub(crate) fn ext4() -> Option<PathBuf> {
    let places = [env::temp_dir(), "/tmp".into(), "/var/tmp".into(), env!("CARGO_TARGET_TMPDIR").into()];
    directory_on(0xef53, "POSIX_S3_EXT4", &places)
}

/// A directory in memory that can be written to: the one that `POSIX_S3_TMPFS` names, or one where it usually is.
pub(crate) fn tmpfs() -> Option<PathBuf> {
    let places = ["/dev/shm".into(), env::temp_dir(), "/tmp".into(), "/run".into()];
    directory_on(0x0102_1994, "POSIX_S3_TMPFS", &places)
}

fn directory_on(magic: u64, variable: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let is_on = |place: &PathBuf| rustix::fs::statfs(place).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(magic));
    if let Some(named) = env::var_os(variable).map(PathBuf::from) {
        assert!(is_on(&named), "{variable} is {named:?}, which is on something else");
        return Some(named);
    }
    places.iter().find(|place| is_on(place) && tempfile::tempdir_in(place).is_ok()).cloned()
}

/// Runs this test, by its whole name, once more behind a command, such as `unshare -m`. Answers `true` in that process, which is to
/// do the work, and `false` when it is done. Where the command cannot be run, the test is not.
pub(crate) fn is_inside(test: &str, command: &[&str]) -> bool {
    if env::var(INSIDE).as_deref() == Ok(test) {
        return true;
    }
    let (program, arguments) = command.split_first().unwrap();
    let probe = Command::new(program).args(arguments).arg("true").output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        not_run(&format!("`{}` cannot be run here: {probe:?}", command.join(" ")));
        return false;
    }
    let mut inside = Command::new(program);
    inside.args(arguments).arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    assert_passed(test, &inside.output().unwrap());
    false
}

/// Runs this test, by its whole name, once more as an ordinary user, if the superuser runs it: in a place of its own, where that
/// user may run it. Answers `true` for an ordinary user, who is to do the work, and `false` when it is done.
pub(crate) fn is_ordinary_user(test: &str) -> bool {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let program = place.path().join("test");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    std::os::unix::fs::chown(&program, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut inside = Command::new(&program);
    inside.args(["--exact", test, "--nocapture"]).env("TMPDIR", place.path()).current_dir(place.path());
    assert_passed(test, &inside.uid(NOBODY).gid(NOBODY).output().unwrap());
    false
}

fn assert_passed(test: &str, output: &Output) {
    let [said, told] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {said}{told}");
    pass_on(&told);
}

/// Runs a command that has to succeed.
pub(crate) fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
