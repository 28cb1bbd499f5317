//! How much a test tries, and what it has tried: the figures of `docs::reliability`.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// How many times the usual amount is tried: `POSIX_S3_EFFORT`, 1 without it.
pub(crate) fn effort() -> u64 {
    let Ok(text) = env::var("POSIX_S3_EFFORT") else { return 1 };
    text.parse().unwrap_or_else(|error| panic!("POSIX_S3_EFFORT is \"{text}\": {error}"))
}

/// The seed of a run that is to be seen again: `POSIX_S3_SEED`.
pub(crate) fn seed() -> Option<u64> {
    let text = env::var("POSIX_S3_SEED").ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("POSIX_S3_SEED is \"{text}\": {error}")))
}

/// Holds a count to the least that it may be, and writes it down in the directory that `POSIX_S3_FIGURES` names, if it
/// names one: a file for each name, with one line.
pub(crate) fn record(name: &str, count: u64, at_least: u64) {
    assert!(count >= at_least, "{name}: {count}, and at least {at_least} are promised");
    write_down(name, count);
}

/// The same of something that is to be small: it is held to the most that it may be.
pub(crate) fn record_at_most(name: &str, count: u64, at_most: u64) {
    assert!(count <= at_most, "{name}: {count}, and at most {at_most} are promised");
    write_down(name, count);
}

fn write_down(name: &str, count: u64) {
    let mut line = String::new();
    writeln!(line, "{name}: {count}").unwrap();
    print!("{line}");
    if let Some(directory) = env::var_os("POSIX_S3_FIGURES") {
        fs::create_dir_all(&directory).unwrap();
        fs::write(Path::new(&directory).join(name.replace(' ', "-")), line).unwrap();
    }
}
