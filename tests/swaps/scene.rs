//! A tree whose names are swapped, and what is outside it.

use super::flipper::{Flipper, Swap};
use super::outside::Outside;
use posix_s3::tree::{LocalTree, Present, Tree};
use posix_s3::{Key, Status};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What every file inside holds at first.
pub(crate) const INSIDE: &[u8] = b"inside";

/// The text of a link to a file outside that is not there.
const MADE: &str = "../../outside/d/made";

/// Which name is swapped while an operation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// The directory around: `d`, for a link to the like of it outside.
    Parent,
    /// The file `f` in `p`, for a link to a file outside.
    File,
    /// The directory `s` in `p`, for a link to a directory outside.
    Directory,
    /// The empty directory `e` in `p`, for a link to one outside.
    Empty,
    /// The name `n` in `p`, which comes and goes as a link to a file outside.
    Absent,
}

impl Spot {
    /// The directory that an operation is done in, as keys begin.
    pub(crate) const fn around(self) -> &'static str {
        if matches!(self, Self::Parent) { "d/" } else { "p/" }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Parent => "d",
            Self::File => "f",
            Self::Directory => "s",
            Self::Empty => "e",
            Self::Absent => "n",
        }
    }
}

/// The root with `d` and `p`, each of which holds a file `f`, a directory `s` with a file `g`, and an empty directory `e`.
pub(crate) struct Scene {
    pub(crate) spot: Spot,
    pub(crate) outside: Outside,
    pub(crate) tree: LocalTree,
    /// The directory that the operation is done in, whatever name it has by now.
    pub(crate) around: OwnedFd,
    pub(crate) flipper: Flipper,
    pub(crate) root: PathBuf,
    root_fd: OwnedFd,
    /// The same directory as a tree of its own, in which nothing on the way is swapped.
    within: LocalTree,
    _base: tempfile::TempDir,
}

/// A place in memory if there is one, since a million swaps are to take no longer than they have to.
pub(crate) fn fast() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if fs::metadata(memory).is_ok_and(|found| found.is_dir()) && tempfile::tempdir_in(memory).is_ok() {
        return memory;
    }
    println!("NOT RUN in memory: there is no /dev/shm that can be written to; it takes longer");
    Path::new("/tmp")
}

impl Scene {
    pub(crate) fn new(place: &Path, spot: Spot) -> Self {
        let base = tempfile::Builder::new().prefix("posix-s3-races-").tempdir_in(place).unwrap();
        let outside = Outside::make(base.path().join("outside"), &["d"]);
        let root = base.path().join("root");
        for directory in ["d", "p"] {
            fs::create_dir_all(root.join(directory).join("s")).unwrap();
            fs::create_dir(root.join(directory).join("e")).unwrap();
            for file in ["f", "s/g"] {
                fs::write(root.join(directory).join(file), INSIDE).unwrap();
            }
        }
        let open = |path: &Path| File::open(path).map(OwnedFd::from).unwrap();
        let around = open(&root.join(spot.around()));
        let (root_fd, tree) = (open(&root), LocalTree::open(&root).unwrap());
        let within = LocalTree::open(root.join(spot.around())).unwrap();
        let scene = Self { spot, outside, tree, around, flipper: Flipper::new(), root, root_fd, within, _base: base };
        scene.link();
        scene
    }

    /// Makes the link that takes the place of what is swapped.
    fn link(&self) {
        let (inside, name) = match self.spot {
            Spot::Parent => ("../outside/d".to_owned(), "d~".to_owned()),
            Spot::Absent => (MADE.to_owned(), "n~".to_owned()),
            spot => (format!("../../outside/d/{}", spot.name()), format!("{}~", spot.name())),
        };
        symlinkat(&*inside, self.swapped_in(), &*name).unwrap();
    }

    fn swapped_in(&self) -> &OwnedFd {
        if self.spot == Spot::Parent { &self.root_fd } else { &self.around }
    }

    pub(crate) fn flip(&self) {
        let swap = if self.spot == Spot::Absent { Swap::Presence } else { Swap::Places };
        self.flipper.run(self.swapped_in(), self.spot.name(), swap);
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::parse(&format!("{}{name}", self.spot.around())).unwrap()
    }

    /// What stands at a name in the directory itself, once it is what stands there when nobody swaps.
    pub(crate) fn inside(&self, name: &str) -> Option<Status> {
        let link = |present: Present| match present {
            Present::Entry(found) if found.entry.file_type() != posix_s3::FileType::Symlink => Some(found.status()),
            _ => None,
        };
        let (slash, base) = if name.ends_with('/') { ("/", name.trim_end_matches('/')) } else { ("", name) };
        for _ in 0..1000 {
            for name in [format!("{base}{slash}"), format!("{base}~{slash}")] {
                let found = futures_executor::block_on(self.within.lookup(&Key::parse(&name).unwrap()));
                if let Some(found) = found.ok().and_then(link) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Puts everything as it was at first, where the operation has changed it. Says whether the link that is swapped in was
    /// taken away, so that the operation has met it.
    pub(crate) fn restore(&self) -> bool {
        self.flipper.still(|| {
            let mut met = false;
            for name in ["n", "r", "made"] {
                if self.spot != Spot::Absent || name != "n" {
                    remove(&self.around, name);
                }
            }
            if self.spot == Spot::Absent {
                match ["n", "n~"].map(|name| kind(&self.around, name).is_some()) {
                    [false, true] => {}
                    // Made beside the link.
                    [true, true] => remove(&self.around, "n"),
                    _ => {
                        let target = readlinkat(&self.around, "n", Vec::new());
                        if !target.is_ok_and(|target| target.as_bytes() == MADE.as_bytes()) {
                            met = true;
                            remove(&self.around, "n");
                            self.link();
                        }
                    }
                }
            }
            for (name, wanted) in [("f", FileType::RegularFile), ("s", FileType::Directory), ("e", FileType::Directory)]
            {
                let is_swapped = self.spot != Spot::Parent && self.spot.name() == name;
                let other = format!("{name}~");
                let kinds = [kind(&self.around, name), kind(&self.around, &other)];
                let right = if is_swapped {
                    let link = Some(FileType::Symlink);
                    let places = [[Some(wanted), link], [link, Some(wanted)]];
                    met |= kinds.iter().all(|kind| *kind != link);
                    places.contains(&kinds)
                } else {
                    kinds == [Some(wanted), None]
                };
                if !right {
                    remove(&self.around, name);
                    remove(&self.around, &other);
                    self.make(name, wanted);
                    if is_swapped {
                        self.link();
                    }
                }
            }
            met
        })
    }

    /// Makes the file anew, so that nothing is left of what an operation has set on it.
    pub(crate) fn renew_file(&self) -> bool {
        self.flipper.still(|| {
            for name in ["f", "f~"] {
                if kind(&self.around, name) == Some(FileType::RegularFile) {
                    remove(&self.around, name);
                }
            }
        });
        self.restore()
    }

    fn make(&self, name: &str, wanted: FileType) {
        if wanted == FileType::Directory {
            mkdirat(&self.around, name, Mode::RWXU).unwrap();
            if name == "s" {
                let directory = openat(&self.around, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
                write(&directory, "g");
            }
        } else {
            write(&self.around, name);
        }
    }
}

fn kind(directory: &OwnedFd, name: &str) -> Option<FileType> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

fn write(directory: impl AsFd, name: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
    File::from(file).write_all(INSIDE).unwrap();
}

fn remove(directory: &OwnedFd, name: &str) {
    if kind(directory, name) == Some(FileType::Directory) {
        let inner = openat(directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        for file in ["g", "x/y", "x"] {
            if let Ok(inner) = &inner {
                let _ = unlinkat(inner, file, AtFlags::empty());
                let _ = unlinkat(inner, file, AtFlags::REMOVEDIR);
            }
        }
        unlinkat(directory, name, AtFlags::REMOVEDIR).unwrap();
    } else {
        let _ = unlinkat(directory, name, AtFlags::empty());
    }
}
