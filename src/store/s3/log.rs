//! [`UploadLog`]: which multipart uploads were begun, so that none is left behind.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Notes down which multipart uploads were begun and not yet completed or aborted.
///
/// S3 keeps the parts of such an upload, and bills them, until somebody aborts it; nothing in a listing of objects shows
/// them. A listing of uploads does not tell whose they are, so the only ones that may be aborted are those noted down.
pub trait UploadLog: Send + Sync + fmt::Debug {
    /// An upload was begun. It is on disk when this returns.
    ///
    /// # Errors
    /// Those of the disk; the upload is aborted then.
    fn begun(&self, key: &str, id: &str) -> io::Result<()>;

    /// An upload was completed or aborted. It need not be on disk when this returns.
    ///
    /// # Errors
    /// Those of the disk; the upload is aborted once more at the next start, which does nothing.
    fn ended(&self, key: &str, id: &str) -> io::Result<()>;

    /// The key and the id of each upload that was begun and not ended, also by an earlier process.
    fn unfinished(&self) -> Vec<(String, String)>;
}

/// An [`UploadLog`] in a file, which exists only as long as there is something in it.
#[derive(Debug)]
pub struct FileUploadLog {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    open: BTreeSet<(String, String)>,
}

impl FileUploadLog {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// Those of the disk, and [`io::ErrorKind::InvalidData`] for a file that is something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut open = BTreeSet::new();
        match File::open(path) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                // A last line without an end was being written when the process stopped, and nothing was begun by it.
                let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
                for line in whole.lines() {
                    let (sign, upload) = entry(line).ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidData, format!("{} is no upload log", path.display()))
                    })?;
                    if sign == '+' {
                        open.insert(upload)
                    } else {
                        open.remove(&upload)
                    };
                }
                if text.is_empty() != whole.is_empty() && !text.starts_with(['+', '-']) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{} is no upload log", path.display()),
                    ));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { file: None, open }) })
    }

    fn write(&self, state: &mut State, line: &str) -> io::Result<()> {
        if state.file.is_none() {
            state.file = Some(self.rewritten(&state.open)?);
        }
        if let Some(file) = &mut state.file {
            file.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// A file with what is still open, in the place of the old one.
    fn rewritten(&self, open: &BTreeSet<(String, String)>) -> io::Result<File> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&name)?;
        let lines: String = open.iter().map(|(key, id)| line('+', key, id)).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&name, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(file)
    }
}

impl UploadLog for FileUploadLog {
    fn begun(&self, key: &str, id: &str) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut state, &line('+', key, id))?;
        if let Some(file) = &state.file {
            file.sync_data()?;
        }
        state.open.insert((key.to_owned(), id.to_owned()));
        Ok(())
    }

    fn ended(&self, key: &str, id: &str) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.remove(&(key.to_owned(), id.to_owned()));
        if state.open.is_empty() {
            state.file = None;
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        self.write(&mut state, &line('-', key, id))
    }

    fn unfinished(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open.iter().cloned().collect()
    }
}

fn line(sign: char, key: &str, id: &str) -> String {
    format!("{sign} {} {}\n", BASE64_STANDARD_NO_PAD.encode(key), BASE64_STANDARD_NO_PAD.encode(id))
}

fn entry(line: &str) -> Option<(char, (String, String))> {
    let mut fields = line.split(' ');
    let sign = fields.next().filter(|sign| matches!(*sign, "+" | "-"))?.chars().next()?;
    let mut text = || String::from_utf8(BASE64_STANDARD_NO_PAD.decode(fields.next()?).ok()?).ok();
    let upload = (text()?, text()?);
    fields.next().is_none().then_some((sign, upload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_and_not_ended_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uploads");
        let log = FileUploadLog::open(&path).unwrap();
        assert!(!path.exists());
        log.begun("a b\n", "1").unwrap();
        log.begun("c", "2").unwrap();
        log.ended("a b\n", "1").unwrap();
        log.begun("a b\n", "3").unwrap();
        drop(log);
        let log = FileUploadLog::open(&path).unwrap();
        let expected = [("a b\n".to_owned(), "3".to_owned()), ("c".to_owned(), "2".to_owned())];
        assert_eq!(log.unfinished(), expected);
        log.ended("c", "2").unwrap();
        log.ended("a b\n", "3").unwrap();
        assert!(!path.exists(), "nothing is left to be noted");
    }

    #[test]
    fn a_line_that_was_cut_is_no_upload() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uploads");
        std::fs::write(&path, format!("{}+ YQ", line('+', "a", "1"))).unwrap();
        let log = FileUploadLog::open(&path).unwrap();
        log.begun("b", "2").unwrap();
        drop(log);
        assert_eq!(FileUploadLog::open(&path).unwrap().unfinished().len(), 2);
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        for text in ["my notes\n", "my notes", "+ YQ\n"] {
            std::fs::write(&path, text).unwrap();
            let refused = FileUploadLog::open(&path).unwrap_err();
            assert_eq!(refused.to_string(), format!("{} is no upload log", path.display()));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
