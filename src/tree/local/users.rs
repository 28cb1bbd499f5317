//! Who has a file open, as far as Linux tells: the descriptors and the mappings of every process that the caller may look
//! into.
//!
//! A lease would tell it as well; but whoever opens the file while it is held has the kernel send a signal that ends this
//! process, and a library does not set signal handlers.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Which of some files are open or mapped, this process included. A file is told by the end of its path.
///
/// A process of somebody else is not seen by an ordinary user, nor one on another machine by anybody.
pub(super) fn in_use(files: &[Vec<u8>]) -> io::Result<Vec<bool>> {
    let mut used = vec![false; files.len()];
    let mut meet = |path: &[u8]| {
        // What lost its name since.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        for (file, used) in files.iter().zip(&mut used) {
            *used |= path.ends_with(file);
        }
    };
    for process in fs::read_dir("/proc")? {
        let process = process?;
        if !process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // It may end at any moment, and it may be somebody else's.
        let _ = descriptors(&process.path(), &mut meet);
        let _ = mappings(&process.path(), &mut meet);
    }
    Ok(used)
}

fn descriptors(process: &Path, meet: &mut impl FnMut(&[u8])) -> io::Result<()> {
    for descriptor in fs::read_dir(process.join("fd"))? {
        if let Ok(path) = fs::read_link(descriptor?.path()) {
            meet(path.as_os_str().as_bytes());
        }
    }
    Ok(())
}

fn mappings(process: &Path, meet: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let maps = fs::read(process.join("maps"))?;
    for line in maps.split(|byte| *byte == b'\n') {
        // Range, rights, offset, device, inode, and the path, in which a line feed is written as `\012`.
        if let Some(at) = line.iter().position(|byte| *byte == b'/') {
            meet(line.get(at..).unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn an_open_file_is_told_from_a_closed_one() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["open", "closed", "removed"].map(|name| directory.path().join(name));
        let mut open: Vec<File> = files.iter().map(|path| File::create(path).unwrap()).collect();
        open.remove(1);
        fs::remove_file(&files[2]).unwrap();
        let ends = files.map(|path| path.as_os_str().as_bytes().to_vec());
        assert_eq!(in_use(&ends).unwrap(), [true, false, true]);
    }
}
