//! [`record`]: what a program asks of the kernel, as strace writes it down.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;
use std::{env, fs};

/// A system call that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    /// `None` when it failed.
    pub(crate) result: Option<i64>,
    /// The lines at which it began and ended: what ended before another began is over by then.
    pub(crate) begun: usize,
    pub(crate) ended: usize,
}

/// Every call that changes a file system, and what it takes to know which file a descriptor stands for.
const TRACED: &str = "open,openat,openat2,creat,mkdir,mkdirat,rmdir,rename,renameat,renameat2,link,linkat,unlink,unlinkat,\
symlink,symlinkat,mknod,mknodat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,copy_file_range,sendfile,\
splice,chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,utime,utimes,futimesat,utimensat,setxattr,lsetxattr,fsetxattr,\
removexattr,lremovexattr,fremovexattr,fsync,fdatasync,syncfs,sync,sync_file_range,close,dup,dup2,dup3,fcntl,lseek,read,statx";

/// Runs a program under strace.
pub(crate) fn record(program: &Path, arguments: &[&str], log: &Path) -> (Output, Vec<Call>) {
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-v", "-xx", "-s", "1000000", "-e", &format!("trace={TRACED}"), "-o"]);
    let output = strace.arg(log).arg(program).args(arguments).current_dir("/").output().unwrap();
    (output, parse(&fs::read_to_string(log).unwrap()))
}

/// Whether strace is there and may trace.
pub(crate) fn works() -> bool {
    Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output().is_ok_and(|run| run.status.success())
}

/// The example program, built if it is older than what it is made of.
pub(crate) fn example() -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/posix-s3");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let newest = newest(&here.join("src")).max(newest(&here.join("examples")));
    if !fs::metadata(&program).is_ok_and(|built| built.modified().unwrap() >= newest) {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        let built = build.args(["build", "--locked", "--example", "posix-s3"]).current_dir(here).status().unwrap();
        assert!(built.success(), "the example program could not be built");
    }
    program
}

fn newest(directory: &Path) -> SystemTime {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let times = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads a log of `strace -f -xx`.
pub(crate) fn parse(log: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, (number, start.trim_end().to_owned()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>").unwrap();
            let (start, text) = begun.remove(thread).unwrap();
            calls.extend(call(&format!("{text}{end}"), start, number));
        } else {
            calls.extend(call(rest, number, number));
        }
    }
    calls
}

fn call(text: &str, begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    // Strings are in hexadecimal and hold no parenthesis; comments hold the only other ones.
    let end = rest.rfind(") ")?;
    let (arguments, result) = rest.split_at(end);
    let result = result.split_once("= ")?.1.split_whitespace().next()?;
    let result = result.parse().ok().filter(|result| *result >= 0);
    Some(Call { name: name.to_owned(), arguments: split(arguments), result, begun, ended })
}

/// The parts between the commas that are in no bracket.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
    for character in text.chars() {
        match character {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(part.trim().to_owned());
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(character);
    }
    parts.push(part.trim().to_owned());
    parts
}

impl Call {
    /// The bytes of an argument that is a string; `None` for `NULL`.
    pub(crate) fn bytes(&self, at: usize) -> Option<Vec<u8>> {
        let text = self.arguments[at].strip_prefix('"')?;
        let text = text.strip_suffix('"').unwrap_or_else(|| panic!("a string that was cut: {self:?}"));
        let digits = text.split("\\x").skip(1);
        Some(digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect())
    }

    pub(crate) fn number(&self, at: usize) -> i64 {
        let text = &self.arguments[at];
        match text.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).unwrap(),
            _ => text.parse().unwrap_or_else(|error| panic!("{error}: {self:?}")),
        }
    }

    pub(crate) fn has(&self, at: usize, flag: &str) -> bool {
        self.arguments.get(at).is_some_and(|flags| flags.split('|').any(|set| set == flag))
    }

    /// The seconds and nanoseconds behind the place where a text stands in an argument.
    pub(crate) fn time(&self, at: usize, behind: &str) -> Option<(i64, i64)> {
        let (_, rest) = self.arguments[at].split_once(behind)?;
        let (_, rest) = rest.split_once("tv_sec=")?;
        let (seconds, rest) = rest.split_once(", tv_nsec=")?;
        let (nanoseconds, _) = rest.split_once('}')?;
        Some((seconds.parse().unwrap(), nanoseconds.parse().unwrap()))
    }
}
