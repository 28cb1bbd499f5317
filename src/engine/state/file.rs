//! [`FileState`]: the state of a link in files.

#![allow(
    clippy::disallowed_methods,
    reason = "the directory of the state is the operator's; links and files of others are refused in it"
)]

use super::{Part, StateRead, StateStore, StateWrite, Syncer};
use crate::io::trust::{is_trusted, others_may_write};
use crate::snapshot::MAGIC;
use rustix::fs::{FlockOperation, OFlags};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// The state of a link in a file and others beside it: `FILE` is the snapshot, `FILE.previous` the one before,
/// `FILE.next` the one being written, `FILE.journal` the journal, `FILE.link` the link, and `FILE.lock` is held as long as this is open. A part that
/// is not on the disk yet ends in `.new`.
///
/// - One process at a time has it open.
/// - What it reads was written by this user or the superuser: a link, a file of somebody else or one that others can write to is refused,
///   since whoever writes a state decides what is deleted. So is a file that is no snapshot, which would be replaced.
/// - The directory that the files are in is the operator's, and taken as it is.
///
/// ```
/// use posix_s3::engine::FileState;
///
/// let directory = tempfile::tempdir()?;
/// let state = FileState::open(directory.path().join("state"))?;
/// assert!(FileState::open(directory.path().join("state")).is_err()); // in use
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileState {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// A state that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenStateError {
    /// Another run has it open.
    #[error("the state \"{path}\" is in use by another run", path = .path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A file of it is none that this user would have written.
    #[error("the state file \"{path}\" is not used: expected a snapshot in a file of this user or the superuser that nobody else can write to, found {found}", path = .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A file of it could not be opened.
    #[error("the state file \"{path}\" cannot be opened", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FileState {
    /// Opens the state at a path, where there need not be any yet.
    ///
    /// # Errors
    /// [`OpenStateError`] when another run has it open, or a file of it is not trustworthy.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenStateError> {
        let path = path.into();
        let lock_path = beside(&path, ".lock");
        let failed = |path: &Path, source| OpenStateError::Io { path: path.to_owned(), source };
        check(&lock_path)?;
        let lock =
            options().create(true).truncate(false).open(&lock_path).map_err(|error| failed(&lock_path, error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenStateError::InUse { path }),
            other => other.map_err(|errno| failed(&lock_path, errno.into()))?,
        }
        let state = Self { path, _lock: lock };
        for part in [Part::Snapshot, Part::Previous, Part::Next, Part::Journal, Part::Link] {
            check(&state.path_of(part))?;
        }
        // Damage is one thing; a file that was never a snapshot is somebody's, and would be replaced.
        match looks_like_a_snapshot(&state.path) {
            Ok(true) => Ok(state),
            Ok(false) => Err(OpenStateError::Foreign { path: state.path, found: "a file that is no snapshot" }),
            Err(error) => Err(failed(&state.path, error)),
        }
    }

    fn path_of(&self, part: Part) -> PathBuf {
        beside(
            &self.path,
            match part {
                Part::Snapshot => "",
                Part::Previous => ".previous",
                Part::Next => ".next",
                Part::Journal => ".journal",
                Part::Link => ".link",
            },
        )
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// For this user alone, and not through a link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    options.read(true).write(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

/// Whether there is no file yet, or one that may have been a snapshot: its first bytes say so, or are lost.
fn looks_like_a_snapshot(path: &Path) -> io::Result<bool> {
    let file = match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    let mut start = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(MAGIC.starts_with(&start) || start.iter().all(|byte| *byte == 0))
}

fn check(path: &Path) -> Result<(), OpenStateError> {
    let stat = match fs::symlink_metadata(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(OpenStateError::Io { path: path.to_owned(), source }),
    };
    let found = if stat.is_symlink() {
        "a link"
    } else if !stat.is_file() {
        "something else"
    } else if !is_trusted(stat.uid()) {
        "a file of somebody else"
    } else if others_may_write(stat.mode()) {
        "a file that others can write to"
    } else {
        return Ok(());
    };
    Err(OpenStateError::Foreign { path: path.to_owned(), found })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl StateStore for FileState {
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>> {
        match options().write(false).open(self.path_of(part)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>> {
        let path = self.path_of(part);
        let beside = beside(&path, ".new");
        remove(&beside)?;
        let file = Arc::new(options().create_new(true).open(&beside)?);
        Ok(Box::new(FilePart { file, unnamed: Arc::new(Mutex::new(Some(Unnamed { beside, path }))) }))
    }

    fn remove(&self, part: Part) -> io::Result<()> {
        remove(&self.path_of(part))
    }

    fn publish(&self) -> io::Result<()> {
        let (snapshot, previous) = (self.path_of(Part::Snapshot), self.path_of(Part::Previous));
        remove(&previous)?;
        // A second name, so that there is a snapshot at every moment.
        match fs::hard_link(&snapshot, &previous) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file system without second names.
            Err(_) => fs::copy(&snapshot, &previous).map(|_| ())?,
            Ok(()) => {}
        }
        fs::rename(self.path_of(Part::Next), &snapshot)?;
        sync_directory_of(&snapshot)
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

struct FilePart {
    file: Arc<File>,
    /// As long as it has not its own name.
    unnamed: Arc<Mutex<Option<Unnamed>>>,
}

/// What has to be renamed, and to what, once its content is on the disk.
struct Unnamed {
    beside: PathBuf,
    path: PathBuf,
}

impl Unnamed {
    fn take_name(&self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)?;
        sync_directory_of(&self.path)
    }
}

impl Write for FilePart {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        (&*self.file).write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StateWrite for FilePart {
    fn syncer(&self) -> Syncer {
        let (file, unnamed) = (Arc::clone(&self.file), Arc::clone(&self.unnamed));
        Arc::new(move || {
            let (file, unnamed) = (Arc::clone(&file), Arc::clone(&unnamed));
            Box::pin(blocking::unblock(move || {
                file.sync_data()?;
                let mut unnamed = unnamed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(part) = &*unnamed {
                    part.take_name()?;
                    *unnamed = None;
                }
                Ok(())
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn read(state: &FileState, part: Part) -> Option<String> {
        let mut text = String::new();
        StateStore::open(state, part).unwrap()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    fn write(state: &FileState, text: &str) {
        let mut next = state.create(Part::Next).unwrap();
        next.write_all(text.as_bytes()).unwrap();
        assert_eq!(read(state, Part::Next), None, "it has no name before it is on the disk");
        futures_executor::block_on(next.syncer()()).unwrap();
        state.publish().unwrap();
    }

    #[test]
    fn one_earlier_generation_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let state = FileState::open(directory.path().join("state")).unwrap();
        assert_eq!(read(&state, Part::Snapshot), None);
        for text in ["one", "two", "three"] {
            write(&state, text);
        }
        assert_eq!(read(&state, Part::Snapshot).as_deref(), Some("three"));
        assert_eq!(read(&state, Part::Previous).as_deref(), Some("two"));
        assert_eq!(read(&state, Part::Next), None);
    }

    #[test]
    fn a_second_run_is_refused_and_a_later_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = FileState::open(&path).unwrap();
        let error = FileState::open(&path).unwrap_err();
        assert!(
            matches!(error, OpenStateError::InUse { .. }) && error.to_string().ends_with("is in use by another run")
        );
        drop(first);
        FileState::open(&path).unwrap();
    }

    #[test]
    fn a_state_that_somebody_else_may_have_written_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("state"), directory.path().join("other"));
        fs::write(&other, "").unwrap();
        for suffix in ["", ".journal", ".previous", ".next", ".lock"] {
            let part = beside(&path, suffix);
            remove(&part).unwrap();
            symlink(&other, &part).unwrap();
            let error = FileState::open(&path).unwrap_err();
            assert!(error.to_string().ends_with("found a link"), "{suffix}: {error}");
            fs::remove_file(&part).unwrap();
            fs::write(&part, "").unwrap();
            fs::set_permissions(&part, fs::Permissions::from_mode(0o620)).unwrap();
            let error = FileState::open(&path).unwrap_err();
            assert!(error.to_string().ends_with("found a file that others can write to"), "{suffix}: {error}");
            fs::remove_file(&part).unwrap();
        }
        fs::create_dir(&path).unwrap();
        assert!(FileState::open(&path).unwrap_err().to_string().ends_with("found something else"));
    }

    #[test]
    fn a_file_that_was_never_a_snapshot_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        for (text, is_somebodys) in [("to do", true), ("PSX4SNAP", true), ("PSX3SNAP and more", false), ("PSX3", false)]
        {
            fs::write(&path, text).unwrap();
            match FileState::open(&path) {
                Ok(_) => assert!(!is_somebodys, "{text}"),
                Err(error) => {
                    assert!(is_somebodys && error.to_string().ends_with("found a file that is no snapshot"), "{error}");
                }
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
