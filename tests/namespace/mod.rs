//! Tests that need what only root, or a mount namespace of one's own, can have.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::env;
use std::process::Command;

/// Set for the process that does the work of a test.
const INSIDE: &str = "POSIX_S3_INSIDE";

/// Says loudly that a test is not run, and why; with `POSIX_S3_MUST_RUN=1` that is a failure.
pub(crate) fn not_run(why: &str) {
    assert_ne!(env::var("POSIX_S3_MUST_RUN").as_deref(), Ok("1"), "NOT RUN: {why}");
    eprintln!("NOT RUN: {why}");
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
    let output = inside.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Runs a command that has to succeed.
pub(crate) fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
