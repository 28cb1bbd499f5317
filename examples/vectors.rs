//! Runs files of test vectors and prints one JSON object a line: `id`, `result`, `output` or `reason`, `pass`, and the
//! `problem` of a vector that does not pass.
//!
//! ```text
//! cargo run --example vectors -- tests/vectors/time.json
//! ```
//!
//! The exit status is 0 when every vector passes, 1 when one does not, 2 when a file cannot be read or is no vector
//! file. The form of the files is described in `tests/vectors/README.md`.

// A program for the command line speaks on both streams.
#![allow(clippy::print_stderr)]

#[path = "../tests/vectors/runner.rs"]
mod runner;

use clap::Parser;
use posix_s3::escape;
use runner::{Judged, Reasons};
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs files of test vectors, one JSON object a line for each vector.
#[derive(Parser)]
struct Arguments {
    /// Also compare the reasons of refusals; a file from elsewhere may have words of its own
    #[arg(long)]
    reasons: bool,
    /// Files of vectors
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let reasons = if arguments.reasons { Reasons::Compared } else { Reasons::PassedOver };
    let mut status = 0;
    for file in &arguments.files {
        let judged = match judge(file, reasons) {
            Ok(judged) => judged,
            Err(error) => {
                eprintln!("vectors: {}: {}", escape(file.as_os_str().as_encoded_bytes()), escape_error(&*error));
                status = 2;
                continue;
            }
        };
        if judged.iter().any(|vector| vector.problem.is_some()) {
            status = status.max(1);
        }
        if let Err(error) = print(&judged) {
            eprintln!("vectors: standard output: {error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::from(status)
}

fn judge(file: &Path, reasons: Reasons) -> Result<Vec<Judged>, Box<dyn Error>> {
    let text = std::fs::read(file)?;
    Ok(runner::judge_file(&serde_json::from_slice(&text)?, reasons)?)
}

/// An error may quote the file, which comes from elsewhere.
fn escape_error(error: &dyn Error) -> String {
    escape(error.to_string().as_bytes()).to_string()
}

fn print(judged: &[Judged]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for vector in judged {
        writeln!(out, "{}", vector.to_json())?;
    }
    out.flush()
}
