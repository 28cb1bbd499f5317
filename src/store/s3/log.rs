//! [`UploadLog`]: which multipart uploads were begun, so that none is left behind.

#![allow(clippy::disallowed_methods, reason = "the directory of the log is the operator's; what is written is new")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// An [`UploadLog`] in a file, which exists only as long as there is something in it. It is of one store and for one process
/// at a time. Those that begin at the same time wait for the disk together.
#[derive(Debug)]
pub struct FileUploadLog {
    path: PathBuf,
    /// The first line, which says whose uploads they are.
    store: String,
    state: Mutex<State>,
    /// Held by who waits for the disk, for all that was written by then.
    syncing: Mutex<()>,
    /// How many of the lines are on the disk.
    synced: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    open: BTreeSet<(String, String)>,
    /// How many lines were written since the log was opened.
    lines: u64,
}

impl FileUploadLog {
    /// Reads the file, if there is one. The name of the store is what the caller calls it, the same each time.
    ///
    /// # Errors
    /// Those of the disk, and [`io::ErrorKind::InvalidData`] for a file that is something else, or that of another store:
    /// what it says cannot be found in this one.
    pub fn open(path: impl AsRef<Path>, store: &str) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let store = format!("posix-s3 uploads of {}\n", BASE64_STANDARD_NO_PAD.encode(store));
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{} is {what}", path.display()));
        let mut open = BTreeSet::new();
        match std::fs::read(&path) {
            Ok(bytes) if !bytes.starts_with(b"posix-s3 uploads of ") => return Err(wrong("no upload log")),
            Ok(bytes) => {
                let rest =
                    bytes.strip_prefix(store.as_bytes()).ok_or_else(|| wrong("the upload log of another store"))?;
                // A line that is broken was being written when the process stopped or the disk was full. Nothing was begun by it.
                for line in rest.split(|byte| *byte == b'\n') {
                    match std::str::from_utf8(line).ok().and_then(entry) {
                        Some(('+', upload)) => drop(open.insert(upload)),
                        Some((_, upload)) => drop(open.remove(&upload)),
                        None => {}
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let state = Mutex::new(State { open, ..State::default() });
        Ok(Self { path, store, state, syncing: Mutex::default(), synced: AtomicU64::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line about what is open now, and answers how many lines there are.
    fn write(&self, state: &mut State, line: &str) -> io::Result<u64> {
        state.lines = state.lines.saturating_add(1);
        // After an error nobody knows what the file holds; the next line begins a new one.
        state.file = Some(match state.file.take() {
            Some(file) => {
                (&*file).write_all(line.as_bytes())?;
                file
            }
            None => {
                let file = Arc::new(self.rewritten(&state.open)?);
                self.synced.fetch_max(state.lines, Ordering::SeqCst);
                file
            }
        });
        Ok(state.lines)
    }

    /// Waits until so many lines are on the disk.
    fn sync(&self, lines: u64) -> io::Result<()> {
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.synced.load(Ordering::SeqCst) >= lines {
            return Ok(());
        }
        let (file, written) = {
            let state = self.state();
            (state.file.clone(), state.lines)
        };
        let file = file.ok_or_else(|| io::Error::other("another line could not be written"))?;
        if let Err(error) = file.sync_data() {
            self.state().file = None;
            return Err(error);
        }
        self.synced.fetch_max(written, Ordering::SeqCst);
        Ok(())
    }

    /// A file with what is still open, in the place of the old one.
    fn rewritten(&self, open: &BTreeSet<(String, String)>) -> io::Result<File> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        // What is left there goes, and is never written to: it may be a link.
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).open(&name)?;
        let lines = std::iter::once(self.store.clone()).chain(open.iter().map(|(key, id)| line('+', key, id)));
        file.write_all(lines.collect::<String>().as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&name, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(file)
    }
}

impl UploadLog for FileUploadLog {
    fn begun(&self, key: &str, id: &str) -> io::Result<()> {
        let upload = (key.to_owned(), id.to_owned());
        let written = {
            let mut state = self.state();
            state.open.insert(upload.clone());
            self.write(&mut state, &line('+', key, id))
        };
        let synced = written.and_then(|lines| self.sync(lines));
        if synced.is_err() {
            self.state().open.remove(&upload);
        }
        synced
    }

    fn ended(&self, key: &str, id: &str) -> io::Result<()> {
        let mut state = self.state();
        state.open.remove(&(key.to_owned(), id.to_owned()));
        if state.open.is_empty() {
            state.file = None;
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        self.write(&mut state, &line('-', key, id)).map(drop)
    }

    fn unfinished(&self) -> Vec<(String, String)> {
        self.state().open.iter().cloned().collect()
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

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_the_next_log_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("uploads"), directory.path().join("other"));
        std::fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, directory.path().join("uploads.new")).unwrap();
        FileUploadLog::open(&path, "bucket").unwrap().begun("a", "1").unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
        assert!(!std::fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn what_was_begun_and_not_ended_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uploads");
        let log = FileUploadLog::open(&path, "bucket").unwrap();
        assert!(!path.exists());
        log.begun("a b\n", "1").unwrap();
        log.begun("c", "2").unwrap();
        log.ended("a b\n", "1").unwrap();
        log.begun("a b\n", "3").unwrap();
        drop(log);
        let log = FileUploadLog::open(&path, "bucket").unwrap();
        let expected = [("a b\n".to_owned(), "3".to_owned()), ("c".to_owned(), "2".to_owned())];
        assert_eq!(log.unfinished(), expected);
        log.ended("c", "2").unwrap();
        log.ended("a b\n", "3").unwrap();
        assert!(!path.exists(), "nothing is left to be noted");
    }

    #[test]
    fn those_that_begin_at_the_same_time_are_all_noted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uploads");
        let log = FileUploadLog::open(&path, "bucket").unwrap();
        std::thread::scope(|scope| {
            for key in 0..16 {
                let log = &log;
                scope.spawn(move || {
                    for id in 0..8 {
                        log.begun(&key.to_string(), &id.to_string()).unwrap();
                        if id % 2 == 0 {
                            log.ended(&key.to_string(), &id.to_string()).unwrap();
                        }
                    }
                });
            }
        });
        drop(log);
        assert_eq!(FileUploadLog::open(&path, "bucket").unwrap().unfinished().len(), 16 * 4);
    }

    #[test]
    fn an_upload_that_cannot_be_noted_is_not_open() {
        let directory = tempfile::tempdir().unwrap();
        let log = FileUploadLog::open(directory.path().join("gone").join("uploads"), "bucket").unwrap();
        assert_eq!(log.begun("a", "1").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(log.unfinished(), []);
    }

    #[test]
    fn a_line_that_was_cut_is_no_upload() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uploads");
        std::fs::write(&path, format!("posix-s3 uploads of YnVja2V0\n{}+ YQ", line('+', "a", "1"))).unwrap();
        let log = FileUploadLog::open(&path, "bucket").unwrap();
        log.begun("b", "2").unwrap();
        drop(log);
        assert_eq!(FileUploadLog::open(&path, "bucket").unwrap().unfinished().len(), 2);
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        for text in ["my notes\n", "my notes", "+ YQ\n", ""] {
            std::fs::write(&path, text).unwrap();
            let refused = FileUploadLog::open(&path, "bucket").unwrap_err();
            assert_eq!(refused.to_string(), format!("{} is no upload log", path.display()));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        FileUploadLog::open(&path, "bucket").unwrap().begun("a", "1").unwrap();
        let refused = FileUploadLog::open(&path, "another").unwrap_err();
        assert_eq!(refused.to_string(), format!("{} is the upload log of another store", path.display()));
    }
}
