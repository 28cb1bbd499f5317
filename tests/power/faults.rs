//! [`Site`]: a system call of the program that is made to fail, and with what.

use super::workload::{Place, Workload};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

/// What each call can fail with; what is not listed touches nothing that matters (`fcntl`, `ioctl`, `mmap`, `execve`).
const ERRORS: [(&[&str], &str); 13] = [
    (
        &["open", "openat"],
        "EIO ENOSPC EDQUOT EROFS EACCES EPERM ENOENT EEXIST ELOOP ENOTDIR EMFILE ENFILE ENOMEM EINTR ESTALE ENAMETOOLONG",
    ),
    (&["statx", "newfstatat", "fstat", "access"], "EIO EACCES ENOENT ELOOP ENOTDIR ENOMEM ESTALE ENAMETOOLONG"),
    (&["getdents64"], "EIO ENOENT ENOTDIR ESTALE ENOMEM"),
    (&["read", "pread64"], "EIO EINTR EISDIR ESTALE ENOMEM"),
    (&["write", "pwrite64"], "EIO ENOSPC EDQUOT EFBIG EINTR EPERM ESTALE"),
    (&["ftruncate"], "EIO ENOSPC EDQUOT EFBIG EINTR EROFS EPERM"),
    (
        &["mkdir", "mkdirat", "symlinkat", "linkat", "rename", "renameat", "renameat2"],
        "EIO ENOSPC EDQUOT EROFS EACCES EPERM ENOENT EEXIST ELOOP ENOTDIR EMLINK ENOMEM EXDEV ENAMETOOLONG ESTALE EBUSY",
    ),
    (
        &["unlink", "unlinkat", "rmdir"],
        "EIO EROFS EACCES EPERM ENOENT ELOOP ENOTDIR EBUSY ENOTEMPTY ENOMEM ESTALE EISDIR",
    ),
    (&["fchmod", "fchown", "fchownat", "utimensat"], "EIO EROFS EACCES EPERM ENOENT ENOMEM EDQUOT ESTALE ENOSPC"),
    (
        &["fsetxattr", "fremovexattr", "fgetxattr", "flistxattr"],
        "EIO ENOSPC EDQUOT EROFS EPERM EACCES ENODATA EOPNOTSUPP E2BIG ERANGE ENOMEM ESTALE",
    ),
    (&["fsync", "fdatasync", "syncfs"], "EIO ENOSPC EDQUOT EINTR EROFS ESTALE"),
    (&["flock"], "EINTR ENOLCK EAGAIN EIO"),
    (&["lseek", "fstatfs", "statfs", "readlinkat", "close", "chdir"], "EIO EINTR ENOMEM ESTALE EACCES"),
];

fn errors(call: &str) -> Vec<&'static str> {
    let row = ERRORS.iter().find(|(calls, _)| calls.contains(&call));
    row.map(|(_, errors)| errors.split(' ').collect()).unwrap_or_default()
}

/// One call that fails.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) call: String,
    pub(crate) error: &'static str,
    /// Which of the calls of its thread.
    pub(crate) number: usize,
    /// Whether all behind it fail as well.
    pub(crate) for_good: bool,
}

impl Site {
    fn inject(&self) -> String {
        let more = match self.for_good {
            false => String::new(),
            // In the end the program writes to whoever has begun it, which is another matter.
            true if self.call == "write" => format!("..{}", self.number + 3),
            true => "+".to_owned(),
        };
        format!("inject={}:error={}:when={}{more}", self.call, self.error, self.number)
    }
}

/// Which calls of an untroubled run touch the directories: by call, their numbers in their threads. And all the places at
/// which one may fail.
pub(crate) fn sites(workload: &Workload, place: &Place, log: &Path) -> (BTreeMap<String, Vec<usize>>, Vec<Site>) {
    let output = trace(workload, place, &["-y", "-xx", "-s", "4096"], log);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let base: String = place.base.as_os_str().as_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if call.contains([' ', '<', '+', '-']) {
            continue;
        }
        let count = counts.entry((thread.to_owned(), call.to_owned())).or_default();
        *count += 1;
        // What is relative is relative to a descriptor, whose path is shown.
        if arguments.contains(&base) && !errors(call).is_empty() {
            let numbers = numbers.entry(call.to_owned()).or_default();
            if !numbers.contains(count) {
                numbers.push(*count);
            }
        }
    }
    let mut sites = Vec::new();
    for (call, numbers) in &numbers {
        for error in errors(call) {
            for number in numbers.iter().copied() {
                // No signal interrupts every call; whoever is interrupted tries again.
                for for_good in [false, true].into_iter().filter(|for_good| !for_good || error != "EINTR") {
                    sites.push(Site { call: call.clone(), error, number, for_good });
                }
            }
        }
    }
    (numbers, sites)
}

fn trace(workload: &Workload, place: &Place, options: &[&str], log: &Path) -> Output {
    let mut strace = Command::new("timeout");
    strace.args(["-k", "5", "60", "strace", "-f", "--seccomp-bpf", "-o"]).arg(log).args(options);
    strace.arg(workload.program(place)).args(workload.arguments(place)).current_dir("/");
    super::output(&mut strace)
}

/// Runs the program with a call that fails. Says whether it came to that.
pub(crate) fn run(workload: &Workload, place: &Place, site: &Site, log: &Path) -> (Output, bool) {
    let calls =
        if site.call.contains("sync") { "fsync,fdatasync,syncfs,openat,open,close" } else { site.call.as_str() };
    let output = trace(workload, place, &["-y", "-e", &format!("trace={calls}"), "-e", &site.inject()], log);
    let text = fs::read_to_string(log).unwrap();
    let mut failed = text.lines().filter(|line| line.contains("(INJECTED)")).peekable();
    let happened = failed.peek().is_some();
    // Threads wake one another by writing to a descriptor of the kernel's.
    let is_elsewhere = |line: &str| site.call == "write" && !line.contains(place.base.to_str().unwrap());
    (output, happened && !failed.any(is_elsewhere))
}

/// The descriptor that was synced once more after that had failed; by then what was lost is forgotten.
pub(crate) fn synced_again(log: &Path) -> Option<String> {
    let mut failed = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((_, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        let descriptor = arguments.split([')', ',', ' ']).next().unwrap_or_default().to_owned();
        match call {
            "close" => failed.retain(|failed| *failed != descriptor),
            "fsync" | "fdatasync" if failed.contains(&descriptor) => return Some(line.to_owned()),
            "fsync" | "fdatasync" if rest.contains("(INJECTED)") && !rest.contains("EINTR") => failed.push(descriptor),
            _ => {}
        }
    }
    None
}

/// The inode and ctime of everything below a directory: what tells that nothing was done to it.
pub(crate) fn inodes(directory: &Path) -> BTreeMap<Vec<u8>, (u64, i64, i64)> {
    let mut inodes = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            inodes.insert(path.as_os_str().as_bytes().to_vec(), (stat.ino(), stat.ctime(), stat.ctime_nsec()));
            if stat.is_dir() {
                waiting.push(path);
            }
        }
    }
    inodes
}
