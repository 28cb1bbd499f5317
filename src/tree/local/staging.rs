//! The private directory in which new files and links grow until they are renamed into place.

use super::super::{Applied, Shortfall, Standing};
use super::exchange::{Note, recover};
use super::sys::{self, Name, Stat};
use crate::escape::excerpt;
use crate::io::SparseFile;
use crate::metadata::Attributes;
use crate::mode::{FileType, Permissions};
use crate::symlink::SymlinkTarget;
use rustix::fs::FlockOperation;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

use crate::tree::names::STAGING as PREFIX;
pub(super) use crate::tree::names::is_reserved;

/// A directory in the root: 0700, ours, without access-control lists, on the same file system.
///
/// It is locked as long as it is in use, so that one a crash left behind can be told from one at work.
pub(super) struct Staging {
    root: Arc<OwnedFd>,
    name: String,
    directory: OwnedFd,
    files: AtomicU64,
    /// Held by who exchanges files, so that what a directory's times were before and after is of one exchange.
    exchanging: Mutex<()>,
}

impl Staging {
    pub(super) fn new(root: Arc<OwnedFd>) -> io::Result<Self> {
        remove_leftovers(&root)?;
        loop {
            let name = random_name()?;
            sys::create_directory(&root, checked(&name)?)?;
            match Self::take(&root, &name) {
                Ok(directory) => {
                    return Ok(Self { root, name, directory, files: AtomicU64::new(0), exchanging: Mutex::default() });
                }
                // Before it was locked, another run took it for a leftover.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens, locks and marks the directory just made, unless somebody has put another in its place.
    fn take(root: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        let directory = sys::open_directory(root, checked(name)?)?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        let look = sys::look(&directory)?;
        if look.fingerprint().links == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !is_ours(&look) || !sys::names(&directory)?.is_empty() {
            return Err(io::Error::other("the staging directory was exchanged while it was made"));
        }
        sys::change_permissions(&directory, Permissions::from_mode(0o700))?;
        sys::remove_inherited_lists(&directory)?;
        sys::create_file(&directory, checked(MARKER)?)?;
        Ok(directory)
    }

    /// Starts a new file.
    pub(super) fn file(self: &Arc<Self>) -> io::Result<StagedFile> {
        let name = self.next_name();
        let file = sys::create_file(&self.directory, checked(&name)?)?;
        let mut staged = Staged { staging: Arc::clone(self), name, inode: None, published: false };
        let look = sys::look(&file)?;
        if !is_file_of_one_name(&look) {
            return Err(io::Error::other("the staged file was exchanged while it was made"));
        }
        staged.inode = Some(look.fingerprint().inode);
        Ok(StagedFile { staged, file: SparseFile::new(file.into()) })
    }

    /// Makes a new link.
    pub(super) fn symlink(self: &Arc<Self>, target: &SymlinkTarget) -> io::Result<Staged> {
        let name = self.next_name();
        sys::create_symlink(&self.directory, checked(&name)?, target.as_bytes())?;
        Ok(Staged { staging: Arc::clone(self), name, inode: None, published: false })
    }

    /// Makes a new directory, open to the caller alone and without access-control lists.
    pub(super) fn directory(self: &Arc<Self>) -> io::Result<Staged> {
        let name = self.next_name();
        sys::create_directory(&self.directory, checked(&name)?)?;
        let staged = Staged { staging: Arc::clone(self), name, inode: None, published: false };
        let made = sys::open_directory(&self.directory, checked(&staged.name)?)?;
        // Not set-group-ID after the staging directory, whatever that inherited.
        sys::change_permissions(&made, Permissions::from_mode(0o700))?;
        sys::remove_inherited_lists(&made)?;
        Ok(staged)
    }

    /// As if this process had ended.
    #[cfg(test)]
    pub(super) fn unlock(&self) {
        rustix::fs::flock(&self.directory, FlockOperation::Unlock).unwrap();
    }

    fn next_name(&self) -> String {
        self.files.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Removes the directory, once every staged file is published or dropped. What could get no name stays in it, and is the
    /// next run's to see to.
    pub(super) fn remove(&self) -> io::Result<()> {
        let names = sys::names(&self.directory)?;
        if names.iter().any(|name| file_of_note(name).is_some()) {
            return Ok(());
        }
        // What could not be removed when it was dropped. The marker goes last, so that the next run knows what this is.
        for name in names.iter().filter(|name| ***name != *MARKER.as_bytes()).filter_map(|name| Name::new(name)) {
            remove_staged(&self.directory, name)?;
        }
        match sys::remove(&self.directory, checked(MARKER)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sys::remove_directory(&self.root, checked(&self.name)?),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A run that was cut short in a process that goes on leaves nothing; after `remove` there is nothing to do.
        let _ = self.remove();
    }
}

fn random_name() -> io::Result<String> {
    let mut random = [0_u8; 16];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let mut name = String::from(PREFIX);
    for byte in random {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}

fn checked(name: &str) -> io::Result<Name<'_>> {
    Name::new(name.as_bytes()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Removes what is staged under a name, whether a directory or not.
fn remove_staged(staging: &OwnedFd, name: Name<'_>) -> io::Result<()> {
    let removed = match sys::remove(staging, name) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => sys::remove_directory(staging, name),
        other => other,
    };
    removed.map_err(|source| io::Error::new(source.kind(), NotRemoved { name: excerpt(name.as_bytes()), source }))
}

/// Something staged that stays.
#[derive(Debug, Error)]
#[error("the staged \"{name}\" cannot be removed")]
struct NotRemoved {
    name: Box<str>,
    source: io::Error,
}

/// Removes staging directories that a crash left behind: named so, ours, with our marker, and locked by nobody.
///
/// Without the marker it may be anybody's directory that was given the name, and goes only if it is empty. What cannot be
/// removed stays, and so does the whole.
fn remove_leftovers(root: &OwnedFd) -> io::Result<()> {
    for name in sys::names(root)? {
        let Some(name) = Name::new(&name).filter(|name| is_staging(name.as_bytes())) else { continue };
        let Ok(directory) = sys::open_directory(root, name) else { continue };
        let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !locked || !is_ours(&sys::look(&directory)?) {
            continue;
        }
        let marker = sys::look_at(&directory, checked(MARKER)?).ok().filter(is_marker);
        if marker.is_some() {
            // What had changed places may be somebody's only copy. What cannot be seen to is left for a later run.
            if recover_all(root, &directory, name).is_err() {
                continue;
            }
            for staged in sys::names(&directory)?.into_iter().filter(|staged| **staged != *MARKER.as_bytes()) {
                let Some(staged) = Name::new(&staged) else { continue };
                if sys::remove(&directory, staged).is_err() {
                    let _ = sys::remove_directory(&directory, staged);
                }
            }
            // Last, so that a removal that is cut short can be gone on with.
            let _ = sys::remove(&directory, checked(MARKER)?);
        }
        let _ = sys::remove_directory(root, name);
    }
    Ok(())
}

/// Sees to every file in a staging directory of which there is a note, and removes the notes.
fn recover_all(root: &OwnedFd, directory: &OwnedFd, staging: Name<'_>) -> io::Result<()> {
    for name in sys::names(directory)? {
        let Some(file) = file_of_note(&name).and_then(Name::new) else { continue };
        let note_name = Name::new(&name).ok_or(io::ErrorKind::InvalidInput)?;
        let note = sys::read_link(directory, note_name).ok().and_then(|text| Note::decode(&text));
        let path = [b"/", staging.as_bytes(), b"/", file.as_bytes()].concat();
        recover(root, directory, file, &path, note.as_ref())?;
        sys::remove(directory, note_name)?;
    }
    Ok(())
}

/// What the name of a note ends in; before it comes that of the file. A note is a link, so that it is there whole or not.
const NOTE: &str = ".exchanged";

fn file_of_note(name: &[u8]) -> Option<&[u8]> {
    name.strip_suffix(NOTE.as_bytes())
}

/// The file that shows that a directory was made for staging.
const MARKER: &str = "posix-s3-staging";

/// Made by this user for nobody else; set-group-ID is inherited from the root.
fn is_ours(look: &Stat) -> bool {
    look.ids().0 == rustix::process::geteuid().as_raw() && look.permissions().without(0o2700).bits() == 0
}

fn is_marker(look: &Stat) -> bool {
    let ours = look.ids().0 == rustix::process::geteuid().as_raw();
    ours && is_file_of_one_name(look) && look.size() == 0
}

fn is_file_of_one_name(look: &Stat) -> bool {
    look.file_type() == Some(FileType::File) && look.fingerprint().links == 1
}

/// Whether a name is one that [`random_name`] makes.
fn is_staging(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// A file or link that is not yet in place; dropped before, it is gone.
pub(super) struct Staged {
    staging: Arc<Staging>,
    name: String,
    /// What it is, where a descriptor tells.
    inode: Option<u64>,
    /// It has its own name now, and there is nothing of this one.
    published: bool,
}

impl Staged {
    /// Moves it to its name and makes sure that it is what the name shows.
    pub(super) fn publish(&mut self, parent: impl AsFd, name: Name<'_>, standing: Standing) -> io::Result<Stat> {
        let staged = checked(&self.name)?;
        let inode = match self.inode {
            Some(inode) => inode,
            None => sys::look_at(&self.staging.directory, staged)?.fingerprint().inode,
        };
        match standing {
            Standing::Nothing => sys::rename_new(&self.staging.directory, staged, &parent, name)?,
            Standing::Replaceable => sys::rename(&self.staging.directory, staged, &parent, name)?,
            Standing::Version(version) => {
                let standing = sys::look_at(&parent, name)?.status();
                if !standing.is_ok_and(|standing| standing.is_same_version(&version)) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                sys::rename(&self.staging.directory, staged, &parent, name)?;
            }
        }
        self.published = true;
        let after = sys::look_at(&parent, name)?;
        if after.fingerprint().inode != inode {
            return Err(io::Error::other("the name was taken by somebody else at once"));
        }
        Ok(after)
    }

    /// What is staged now.
    pub(super) fn look(&self) -> io::Result<Stat> {
        sys::look_at(&self.staging.directory, checked(&self.name)?)
    }

    /// Changes places with whatever has a name.
    pub(super) fn exchange(&self, parent: impl AsFd, name: Name<'_>) -> io::Result<()> {
        sys::exchange(&self.staging.directory, checked(&self.name)?, parent, name)
    }

    /// Waits until nobody else exchanges files.
    pub(super) fn one_exchange(&self) -> MutexGuard<'_, ()> {
        self.staging.exchanging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it is to change places.
    pub(super) fn note(&self, note: &Note) -> io::Result<()> {
        sys::create_symlink(&self.staging.directory, checked(&self.note_name())?, note.encode().as_bytes())
    }

    /// Removes the note.
    pub(super) fn forget_note(&self) {
        // What is left of it is a note of nothing.
        let _ = checked(&self.note_name()).and_then(|note| sys::remove(&self.staging.directory, note));
    }

    fn note_name(&self) -> String {
        format!("{}{NOTE}", self.name)
    }

    /// From here on it is not removed when dropped.
    #[must_use]
    pub(super) fn kept(mut self) -> Self {
        self.published = true;
        self
    }

    /// Removes it, and the note of it.
    pub(super) fn discard(mut self) {
        self.published = true;
        // The note first would leave a file that nobody asks about. If it cannot be removed, the next run sees to it.
        if checked(&self.name).and_then(|name| sys::remove(&self.staging.directory, name)).is_ok() {
            self.forget_note();
        }
    }

    /// Moves it to a name like the one that it was to have; see [`keep_beside`]. If that fails, it stays, with its note.
    pub(super) fn keep_beside(self, parent: &OwnedFd, name: Name<'_>) -> io::Result<String> {
        let staged = self.kept();
        let kept = keep_beside(&staged.staging.directory, checked(&staged.name)?, parent, &staged.staging.root, name)?;
        staged.forget_note();
        Ok(kept)
    }

    /// The end of the path that it has in the file system.
    pub(super) fn path(&self) -> Vec<u8> {
        format!("/{}/{}", self.staging.name, self.name).into_bytes()
    }

    /// Sets the attributes of a directory.
    pub(super) fn set_directory_attributes(&self, attributes: &Attributes) -> io::Result<Applied> {
        let directory = sys::open_directory(&self.staging.directory, checked(&self.name)?)?;
        super::set_attributes(directory, attributes)
    }

    /// Sets owner and times of a link. Its permissions mean nothing to Linux and are never set.
    pub(super) fn set_link_attributes(&self, attributes: &Attributes) -> io::Result<Applied> {
        let (directory, name) = (&self.staging.directory, checked(&self.name)?);
        let mut shortfalls = Vec::new();
        if !sys::change_owner_of_link(directory, name, attributes.uid, attributes.gid)? {
            shortfalls.push(Shortfall::Owner { uid: attributes.uid, gid: attributes.gid });
        }
        sys::change_times_of_link(directory, name, attributes)?;
        let kept = sys::look_at(directory, name)?;
        if kept.mtime() != attributes.mtime {
            shortfalls.push(Shortfall::Mtime { wanted: attributes.mtime, kept: kept.mtime() });
        }
        Ok(Applied { shortfalls, ..Applied::default() })
    }
}

/// Moves a staged file to a name that nobody has, in the directory of `name`, or in the root if that directory is gone:
/// `NAME.local-MTIME`, with a number if that is taken. Answers the name.
pub(super) fn keep_beside(
    staging: &OwnedFd,
    staged: Name<'_>,
    parent: &OwnedFd,
    root: &OwnedFd,
    name: Name<'_>,
) -> io::Result<String> {
    /// How many names are tried.
    const TRIED: u32 = 1000;
    let mtime = sys::look_at(staging, staged)?.mtime().nanoseconds();
    let mut failed = io::Error::from(io::ErrorKind::AlreadyExists);
    for directory in [parent, root] {
        for number in 0..TRIED {
            let beside = beside(name, mtime, number);
            match sys::rename_new(staging, staged, directory, checked(&beside)?) {
                Ok(()) => return Ok(beside),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    failed = error;
                    break;
                }
            }
        }
    }
    Err(failed)
}

/// A name beside another, as long as a name may be at most.
fn beside(name: Name<'_>, mtime: i128, number: u32) -> String {
    /// The longest name, in bytes: `NAME_MAX` of Linux.
    const LONGEST: usize = 255;
    let number = if number == 0 { String::new() } else { format!("-{number}") };
    let end = format!(".local-{mtime}{number}");
    let mut stem = String::from_utf8_lossy(name.as_bytes()).into_owned();
    while stem.len().saturating_add(end.len()) > LONGEST && stem.pop().is_some() {}
    stem + &end
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Ok(name) = checked(&self.name) {
            // A directory is removed as one.
            if sys::remove(&self.staging.directory, name).is_err() {
                let _ = sys::remove_directory(&self.staging.directory, name);
            }
        }
    }
}

/// A file that is being written.
pub(super) struct StagedFile {
    staged: Staged,
    file: SparseFile,
}

impl StagedFile {
    /// Appends a piece.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write(piece)
    }

    /// How many bytes were written.
    pub(super) const fn length(&self) -> u64 {
        self.file.length()
    }

    /// Ends the writing; attributes come after it.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.file.end().map(|_| ())
    }

    /// Closes it, and leaves it staged.
    pub(super) fn into_staged(self) -> Staged {
        self.staged
    }

    pub(super) const fn descriptor(&self) -> &File {
        self.file.file()
    }

    /// Brings the file to the disk. After an error it must be thrown away: what was lost is not known.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.descriptor().sync_all()
    }

    /// Moves it to its name.
    pub(super) fn publish(&mut self, parent: impl AsFd, name: Name<'_>, standing: Standing) -> io::Result<Stat> {
        self.staged.publish(parent, name, standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    const LEFT: &str = ".posix-s3-staging-0123456789abcdef0123456789abcdef";

    fn staging(root: &Path) -> Arc<Staging> {
        Arc::new(Staging::new(Arc::new(File::open(root).unwrap().into())).unwrap())
    }

    /// Makes a directory of a name and mode, with a marker that has so much text, and a file.
    fn left(root: &Path, name: &str, mode: u32, marker: Option<&str>) {
        let directory = root.join(name);
        fs::create_dir(&directory).unwrap();
        if let Some(text) = marker {
            fs::write(directory.join(MARKER), text).unwrap();
        }
        fs::write(directory.join("0"), "half").unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Whether a run that starts leaves it.
    fn stays(name: &str, mode: u32, marker: Option<&str>) -> bool {
        let root = tempfile::tempdir().unwrap();
        left(root.path(), name, mode, marker);
        drop(staging(root.path()));
        let file = root.path().join(name).join("0");
        assert_eq!(file.exists(), root.path().join(name).exists());
        file.exists()
    }

    #[test]
    fn only_what_is_ours_and_marked_is_taken_for_a_leftover() {
        assert!(!stays(LEFT, 0o700, Some("")) && !stays(LEFT, 0o2700, Some("")));
        assert!(stays(LEFT, 0o700, None) && stays(LEFT, 0o700, Some("text")));
        for mode in [0o750, 0o705, 0o1700, 0o4700] {
            assert!(stays(LEFT, mode, Some("")), "{mode:o}");
        }
        let (short, long) = (LEFT.strip_suffix('f').unwrap(), format!("{LEFT}0"));
        let other = LEFT.replace('f', "g");
        for name in [short, &long, &other, LEFT.strip_prefix(PREFIX).unwrap()] {
            assert!(stays(name, 0o700, Some("")), "{name}");
        }
    }

    #[test]
    fn a_directory_with_the_name_that_is_empty_goes_and_one_at_work_stays() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(LEFT)).unwrap();
        fs::set_permissions(root.path().join(LEFT), fs::Permissions::from_mode(0o700)).unwrap();
        let at_work = staging(root.path());
        assert!(!root.path().join(LEFT).exists());
        let other = staging(root.path());
        let there = |staging: &Staging| root.path().join(&staging.name).join(MARKER).exists();
        assert!(there(&at_work) && there(&other) && at_work.name != other.name);
        assert!(is_staging(at_work.name.as_bytes()));
        assert_eq!(root.path().join(&at_work.name).metadata().unwrap().mode() & 0o7777, 0o700);
        drop((at_work, other));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_marker_with_a_second_name_marks_nothing() {
        let root = tempfile::tempdir().unwrap();
        left(root.path(), LEFT, 0o700, Some(""));
        fs::hard_link(root.path().join(LEFT).join(MARKER), root.path().join("second")).unwrap();
        drop(staging(root.path()));
        assert!(root.path().join(LEFT).join("0").exists());
    }

    #[test]
    fn a_directory_that_was_put_where_one_was_just_made_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let open = OwnedFd::from(File::open(root.path()).unwrap());
        left(root.path(), "full", 0o700, None);
        fs::create_dir(root.path().join("shared")).unwrap();
        fs::set_permissions(root.path().join("shared"), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["full", "shared"] {
            let refused = Staging::take(&open, name).unwrap_err();
            assert_eq!(refused.to_string(), "the staging directory was exchanged while it was made", "{name}");
            assert!(!root.path().join(name).join(MARKER).exists());
        }
        assert_eq!(root.path().join("shared").metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_staged_file_has_no_other_name_by_which_somebody_could_write_to_it() {
        let root = tempfile::tempdir().unwrap();
        let open = File::open(root.path()).unwrap();
        let is_alone = |name: &[u8]| is_file_of_one_name(&sys::look_at(&open, Name::new(name).unwrap()).unwrap());
        fs::write(root.path().join("a"), "").unwrap();
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        assert!(is_alone(b"a") && !is_alone(b"link"));
        fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
        assert!(!is_alone(b"a"));
    }

    #[test]
    fn without_its_marker_a_directory_goes_and_a_marker_that_cannot_be_removed_is_the_cause() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        let marker = root.path().join(&staging.name).join(MARKER);
        fs::remove_file(&marker).unwrap();
        fs::create_dir(&marker).unwrap();
        assert_eq!(staging.remove().unwrap_err().kind(), io::ErrorKind::IsADirectory);
        fs::remove_dir(&marker).unwrap();
        staging.remove().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_staged_file_ends_where_its_bytes_do_and_one_that_cannot_be_brought_to_the_disk_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        let mut file = staging.file().unwrap();
        file.write(&[0; 100_000]).unwrap();
        file.end().unwrap();
        assert_eq!(sys::look(file.descriptor()).unwrap().size(), 100_000);
        // The kernel syncs no device that has nothing to sync.
        let device = SparseFile::new(File::open("/dev/null").unwrap());
        let file = StagedFile { staged: staging.directory().unwrap(), file: device };
        assert_eq!(file.sync().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_staged_is_gone_unless_it_is_published() {
        let root = tempfile::tempdir().unwrap();
        let parent = File::open(root.path()).unwrap();
        let staging = staging(root.path());
        let staged = |text: &[u8]| {
            let mut file = staging.file().unwrap();
            file.write(text).unwrap();
            file.end().unwrap();
            assert_eq!(file.length(), text.len() as u64);
            file.sync().unwrap();
            file
        };
        let name = Name::new(b"a").unwrap();
        let (mut first, mut second, dropped) = (staged(b"first"), staged(b"second"), staged(b"dropped"));
        let published = first.publish(&parent, name, Standing::Nothing).unwrap();
        assert_eq!(published.fingerprint().inode, root.path().join("a").metadata().unwrap().ino());
        let taken = second.publish(&parent, name, Standing::Nothing).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(root.path().join("a")).unwrap(), b"first");
        second.publish(&parent, name, Standing::Replaceable).unwrap();
        assert_eq!(fs::read(root.path().join("a")).unwrap(), b"second");
        let link = staging.symlink(&SymlinkTarget::parse(b"t").unwrap()).unwrap();
        let directory = staging.directory().unwrap();
        assert!(directory.look().unwrap().is_directory());
        assert_eq!(link.look().unwrap().file_type(), Some(FileType::Symlink));
        assert!(link.path().starts_with(format!("/{}/", staging.name).as_bytes()));
        let kept = dropped.into_staged();
        drop((first, second, link, directory, kept));
        let left: Vec<_> = fs::read_dir(root.path().join(&staging.name)).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn only_the_version_that_was_looked_at_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let parent = File::open(root.path()).unwrap();
        let staging = staging(root.path());
        let name = Name::new(b"a").unwrap();
        fs::write(root.path().join("a"), "one").unwrap();
        let seen = sys::look_at(&parent, name).unwrap().status().unwrap();
        fs::write(root.path().join("a"), "another").unwrap();
        let refused = staging.file().unwrap().publish(&parent, name, Standing::Version(seen)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        let seen = sys::look_at(&parent, name).unwrap().status().unwrap();
        staging.file().unwrap().publish(&parent, name, Standing::Version(seen)).unwrap();
        assert_eq!(fs::read(root.path().join("a")).unwrap(), b"");
    }

    #[test]
    fn links_and_directories_have_their_attributes_before_they_have_their_names() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        let (link, directory) =
            (staging.symlink(&SymlinkTarget::parse(b"t").unwrap()).unwrap(), staging.directory().unwrap());
        let time = crate::Timestamp::from_unix(5, 0).unwrap();
        let mine = directory.look().unwrap().attributes().unwrap();
        assert_eq!(mine.permissions.bits(), 0o700);
        let wanted = Attributes { permissions: Permissions::from_mode(0o751), mtime: time, ..mine };
        assert_eq!(directory.set_directory_attributes(&wanted).unwrap().shortfalls, []);
        let made = directory.look().unwrap();
        assert_eq!((made.permissions().bits(), made.mtime()), (0o751, time));
        assert_eq!(link.set_link_attributes(&wanted).unwrap().shortfalls, []);
        assert_eq!(link.look().unwrap().mtime(), time);
        // Later than ext4 can say, and an owner that only the superuser can give.
        let far = crate::Timestamp::from_unix(1 << 40, 0).unwrap();
        let uid = crate::Uid::new(mine.uid.get() + 1).unwrap();
        let shortfalls = link.set_link_attributes(&Attributes { mtime: far, uid, ..mine }).unwrap().shortfalls;
        let now = link.look().unwrap();
        let mut expected = Vec::new();
        if now.ids().0 != uid.get() {
            expected.push(Shortfall::Owner { uid, gid: mine.gid });
        }
        if now.mtime() != far {
            expected.push(Shortfall::Mtime { wanted: far, kept: now.mtime() });
        }
        assert_eq!(shortfalls, expected);
    }

    #[test]
    fn what_keeps_its_note_keeps_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        sys::create_symlink(&staging.directory, Name::new(b"0.exchanged").unwrap(), b"note").unwrap();
        staging.remove().unwrap();
        let directory = root.path().join(&staging.name);
        assert!(directory.join(MARKER).exists());
        fs::remove_file(directory.join("0.exchanged")).unwrap();
        fs::write(directory.join("file"), "").unwrap();
        fs::create_dir(directory.join("directory")).unwrap();
        staging.remove().unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn what_is_kept_beside_takes_a_name_that_nobody_has() {
        let root = tempfile::tempdir().unwrap();
        let open = || -> OwnedFd { File::open(root.path()).unwrap().into() };
        fs::create_dir(root.path().join("gone")).unwrap();
        let gone: OwnedFd = File::open(root.path().join("gone")).unwrap().into();
        fs::remove_dir(root.path().join("gone")).unwrap();
        let staging = staging(root.path());
        let name = Name::new(b"a").unwrap();
        for (parent, expected) in [(open(), "a.local-5"), (open(), "a.local-5-1"), (gone, "a.local-5-2")] {
            let file = staging.file().unwrap();
            let time = crate::Timestamp::from_nanoseconds(5).unwrap();
            sys::change_times(file.descriptor(), time, time).unwrap();
            assert_eq!(file.into_staged().keep_beside(&parent, name).unwrap(), expected);
            assert!(root.path().join(expected).exists());
        }
    }

    #[test]
    fn what_finds_no_name_beside_is_told_why() {
        let place = tempfile::tempdir().unwrap();
        let staging = OwnedFd::from(File::open(place.path()).unwrap());
        fs::write(place.path().join("0"), "").unwrap();
        fs::create_dir(place.path().join("gone")).unwrap();
        let gone = OwnedFd::from(File::open(place.path().join("gone")).unwrap());
        fs::remove_dir(place.path().join("gone")).unwrap();
        let [staged, name] = [b"0", b"a"].map(|name| Name::new(name).unwrap());
        let error = keep_beside(&staging, staged, &gone, &gone, name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_name_beside_another_is_never_too_long() {
        let name = "\u{e4}".repeat(127);
        let long = beside(Name::new(name.as_bytes()).unwrap(), -1, 12);
        assert!(long.len() <= 255 && long.ends_with("\u{e4}.local--1-12"), "{long}");
        assert_eq!(beside(Name::new(b"a").unwrap(), 5, 0), "a.local-5");
        let fits = "a".repeat(255 - ".local-5".len());
        assert_eq!(beside(Name::new(fits.as_bytes()).unwrap(), 5, 0), format!("{fits}.local-5"));
    }

    #[test]
    fn a_staged_file_that_cannot_be_removed_is_named_with_the_cause() {
        use rustix::fs::{IFlags, ioctl_setflags};
        let place = tempfile::tempdir().unwrap();
        let root = Arc::new(OwnedFd::from(File::open(place.path()).unwrap()));
        let staging = Arc::new(Staging::new(root).unwrap());
        let made = staging.directory().unwrap();
        std::mem::forget(made);
        let staged = staging.file().unwrap();
        let name = staged.staged.name.clone();
        let file = sys::open_file(&staging.directory, checked(&name).unwrap()).unwrap();
        if let Err(errno) = ioctl_setflags(&file, IFlags::IMMUTABLE) {
            assert_ne!(std::env::var("POSIX_S3_MUST_RUN").as_deref(), Ok("1"), "NOT RUN: {errno}");
            eprintln!("NOT RUN: no file can be made immutable here: {errno}");
            return;
        }
        drop(staged);
        let error = staging.remove();
        ioctl_setflags(&file, IFlags::empty()).unwrap();
        let error = error.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(error.to_string(), format!("the staged \"{name}\" cannot be removed"));
        staging.remove().unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
