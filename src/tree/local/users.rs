//! Who has a file open, as far as Linux tells: the descriptors of every thread and the mappings of every process.
//!
//! What is not seen: processes of other machines and other PID namespaces, descriptors on their way through a socket or held by
//! the kernel itself. A process that is seen and may not be looked into is told of.
//!
//! A lease would tell it as well; but whoever opens the file while it is held has the kernel send a signal that ends this
//! process, and a library does not set signal handlers.

#![allow(
    clippy::disallowed_methods,
    reason = "the kernel's own paths, of processes below /proc; what is open is looked at and never opened"
)]

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Who uses a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Users {
    /// Somebody has it open or mapped, this process included.
    pub(super) any: bool,
    /// Somebody who may write to it has.
    pub(super) writes: bool,
    /// There is a process that the caller may not look into.
    pub(super) unseen: bool,
}

/// Whose users are asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The end of its path.
    pub(super) path: Vec<u8>,
    /// The number of its inode, where others may have such a path.
    pub(super) inode: Option<u64>,
}

impl Asked {
    /// Whether an open file with its path is another one after all. Where that cannot be told, it is not.
    fn is_another(&self, open: Option<&Path>) -> bool {
        let (Some(open), Some(inode)) = (open, self.inode) else { return false };
        fs::metadata(open).is_ok_and(|open| open.ino() != inode)
    }
}

/// Who has some files open or mapped.
///
/// # Errors
/// When the processes cannot be listed.
pub(super) fn in_use(files: &[Asked]) -> io::Result<Vec<Users>> {
    look(Path::new("/proc"), files)
}

fn look(proc: &Path, files: &[Asked]) -> io::Result<Vec<Users>> {
    let mut used = vec![Users::default(); files.len()];
    let mut meet = |path: &[u8], open: Option<&Path>, writes: &dyn Fn() -> bool| {
        // What lost its name since.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        for (file, users) in files.iter().zip(&mut used) {
            if !path.ends_with(&file.path) || file.is_another(open) {
                continue;
            }
            users.any = true;
            users.writes |= writes();
        }
    };
    let (mut unseen, mut first) = (false, false);
    for process in fs::read_dir(proc)? {
        let process = process?;
        if !process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // Every PID namespace has it. Where it is not listed, neither are others.
        first |= process.file_name() == "1";
        unseen |= !sees(&process.path(), &mut meet);
    }
    unseen |= !first;
    used.iter_mut().for_each(|users| users.unseen = unseen);
    Ok(used)
}

/// Is told of a path, where the open file itself can be looked at, and whether it may be written to.
type Meet<'m> = dyn FnMut(&[u8], Option<&Path>, &dyn Fn() -> bool) + 'm;

/// Looks into a process; says whether all of it was seen.
fn sees(process: &Path, meet: &mut Meet<'_>) -> bool {
    // The first thread may have ended before others, and each may have descriptors of its own.
    let threads = match fs::read_dir(process.join("task")) {
        Ok(threads) => threads,
        Err(error) => return has_ended(&error),
    };
    let (mut all, mut mapped) = (true, false);
    for thread in threads {
        let thread = match thread {
            Ok(thread) => thread.path(),
            Err(error) => {
                all &= has_ended(&error);
                break;
            }
        };
        let seen = descriptors(&thread, meet).and_then(|()| {
            // Threads share them.
            mapped = mapped || mappings(&thread, meet)?;
            Ok(())
        });
        all &= seen.is_ok() || seen.is_err_and(|error| has_ended(&error)) || has_no_files(&thread);
    }
    all
}

fn has_ended(error: &io::Error) -> bool {
    // ESRCH, of a process that has ended since its directory was opened, has no kind.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Whether a thread is one of the kernel, or has ended and waits for that to be noticed. It says so itself, in proc_pid_stat(5).
fn has_no_files(thread: &Path) -> bool {
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let stat = match fs::read(thread.join("stat")) {
        Ok(stat) => stat,
        Err(error) => return has_ended(&error),
    };
    // The name is in parentheses and may hold some: state, six numbers, flags follow the last of them.
    let Some(after) = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at.saturating_add(1)..))
    else {
        return false;
    };
    let after = String::from_utf8_lossy(after);
    let mut words = after.split_ascii_whitespace();
    let state = words.next();
    let flags = words.nth(5).and_then(|flags| flags.parse::<u64>().ok());
    matches!(state, Some("Z" | "X")) || flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

fn descriptors(thread: &Path, meet: &mut Meet<'_>) -> io::Result<()> {
    for descriptor in fs::read_dir(thread.join("fd"))? {
        let descriptor = descriptor?.path();
        match fs::read_link(&descriptor) {
            // The permissions of the link are those of the descriptor. One that is closed meanwhile may have written.
            Ok(path) => meet(path.as_os_str().as_bytes(), Some(&descriptor), &|| {
                fs::symlink_metadata(&descriptor).map_or(true, |link| link.permissions().mode() & 0o200 != 0)
            }),
            Err(error) if has_ended(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says whether there are any.
fn mappings(thread: &Path, meet: &mut Meet<'_>) -> io::Result<bool> {
    let maps = fs::read(thread.join("maps"))?;
    for line in maps.split(|byte| *byte == b'\n') {
        // Range, rights, offset, device, inode, and the path, in which a line feed is written as `\012`.
        if let Some(at) = line.iter().position(|byte| *byte == b'/') {
            // A mapping that is shared and cannot be written through may become one that can.
            let is_shared = line.split(|byte| *byte == b' ').nth(1).is_some_and(|rights| rights.ends_with(b"s"));
            meet(line.get(at..).unwrap_or_default(), None, &|| is_shared);
        }
    }
    Ok(!maps.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn an_open_file_is_told_from_a_closed_one_and_a_writer_from_a_reader() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["open", "closed", "removed", "read"].map(|name| directory.path().join(name));
        let mut open: Vec<File> = files.iter().map(|path| File::create(path).unwrap()).collect();
        open.remove(1);
        open.pop();
        open.push(File::open(&files[3]).unwrap());
        fs::remove_file(&files[2]).unwrap();
        let asked = files.map(|path| Asked { path: path.as_os_str().as_bytes().to_vec(), inode: None });
        let used = |asked: &[Asked]| in_use(asked).unwrap().into_iter().map(|users| (users.any, users.writes));
        assert!(used(&asked).eq([(true, true), (false, false), (true, true), (true, false)]));
        // Another file with such a path is not meant.
        let inode = open[0].metadata().unwrap().ino();
        let of = |inode| Asked { inode: Some(inode), ..asked[0].clone() };
        assert!(used(&[of(inode), of(inode + 1)]).eq([(true, true), (false, false)]));
    }

    fn asked(path: &[u8]) -> Asked {
        Asked { path: path.to_vec(), inode: None }
    }

    /// A thread of a made-up `/proc`, with a descriptor of this path.
    fn thread(proc: &Path, process: &str, thread: &str, open: Option<&str>) {
        let thread = proc.join(process).join("task").join(thread);
        fs::create_dir_all(thread.join("fd")).unwrap();
        fs::write(thread.join("maps"), "").unwrap();
        if let Some(path) = open {
            std::os::unix::fs::symlink(path, thread.join("fd/3")).unwrap();
        }
    }

    #[test]
    fn every_thread_of_a_process_is_asked() {
        let proc = tempfile::tempdir().unwrap();
        thread(proc.path(), "1", "1", None);
        thread(proc.path(), "1", "7", Some("/x/a"));
        let used = look(proc.path(), &[asked(b"/a"), asked(b"/b")]).unwrap();
        assert!(used[0].any && used[0].writes && !used[1].any && !used[0].unseen);
    }

    #[test]
    fn what_cannot_be_looked_into_is_told_of() {
        let proc = tempfile::tempdir().unwrap();
        let unseen = || look(proc.path(), &[asked(b"/a")]).unwrap()[0].unseen;
        assert!(unseen(), "the first process is not listed");
        thread(proc.path(), "1", "1", None);
        assert!(!unseen());
        // It has no directory of descriptors that can be read: it is there, and something else than gone.
        thread(proc.path(), "2", "2", None);
        let fd = proc.path().join("2/task/2/fd");
        fs::remove_dir(&fd).unwrap();
        fs::write(&fd, "").unwrap();
        fs::write(proc.path().join("2/task/2/stat"), "2 (a) b) S 0 0 0 0 -1 4194304 0").unwrap();
        assert!(unseen());
        // A thread of the kernel, and one that has ended, have none.
        for stat in ["2 (kthreadd) S 0 0 0 0 -1 2129984 0", "2 (a) b) Z 0 0 0 0 -1 4194304 0"] {
            fs::write(proc.path().join("2/task/2/stat"), stat).unwrap();
            assert!(!unseen(), "{stat}");
        }
    }
}
