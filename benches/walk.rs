//! A tree to measure on, and the least that any program has to do to look at all of it. Linux only.
//!
//! ```sh
//! cargo bench --bench walk -- make ROOT DIRECTORIES FILES
//! cargo bench --bench walk -- bare ROOT THREADS
//! ```
//!
//! `incremental.py` runs both; README.md says what the figures mean. Without arguments the program checks itself on a
//! small tree, which is what `cargo test --bench walk` does.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures: it prints, and its inputs are its own"
)]

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, Timespec, Timestamps, fchmod, mkdirat, openat, statx,
    symlinkat, utimensat,
};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

const USAGE: &str = "expected `make ROOT DIRECTORIES FILES` or `bare ROOT THREADS`";

fn main() -> ExitCode {
    // Cargo adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("walk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> io::Result<()> {
    match arguments {
        ["make", root, directories, files] => {
            let entries = make(Path::new(root), Shape { directories: number(directories)?, files: number(files)? })?;
            println!("{{\"entries\": {entries}}}");
        }
        ["bare", root, threads] => {
            let seen = bare(Path::new(root), number(threads)?)?;
            println!("{{\"entries\": {}, \"checksum\": \"{:016x}\"}}", seen.entries, seen.checksum);
        }
        [] => check_oneself()?,
        _ => return Err(io::Error::other(USAGE)),
    }
    Ok(())
}

fn number(text: &str) -> io::Result<u32> {
    text.parse().map_err(|error| io::Error::other(format!("{text:?}: {error}; {USAGE}")))
}

fn check_oneself() -> io::Result<()> {
    let shape = Shape { directories: 102, files: 60 };
    let mut all = Vec::new();
    for _ in 0..2 {
        let parent = tempfile::tempdir()?;
        let root = parent.path().join("tree");
        let entries = make(&root, shape)?;
        assert_eq!(entries, 2 + 102 + 102 * 60);
        for threads in [1, 3] {
            let seen = bare(&root, threads)?;
            assert_eq!(seen.entries, entries);
            all.push(seen);
        }
        assert!(make(&root, shape).is_err(), "a tree is made once");
    }
    assert!(all.iter().all(|seen| seen == &all[0]), "one shape, one tree, however many walk it: {all:?}");
    Ok(())
}

// ---- The tree.

/// How many leaf directories there are, and how many entries in each.
#[derive(Clone, Copy)]
struct Shape {
    directories: u32,
    files: u32,
}

/// How many leaf directories have one parent.
const SIBLINGS: u32 = 100;
/// One entry in so many is a link.
const LINK_EVERY: u32 = 50;
/// One file in so many holds a few bytes; a file system takes a whole block for each.
const FULL_EVERY: u64 = 8;
const MODES: [u32; 4] = [0o644, 0o600, 0o755, 0o640];
/// 2020-01-01T00:00:00Z, and five years.
const TIMES: (u64, u64) = (1_577_836_800, 5 * 365 * 86_400);

/// Makes the tree of a shape, always the same one, and says how many entries it has; the root is not among them.
fn make(root: &Path, shape: Shape) -> io::Result<u64> {
    std::fs::create_dir(root).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", root.display())))?;
    let root = open_directory(CWD, root)?;
    let mut random = Random(0x706f_7369_7873_3321);
    let mut entries = 0;
    let parents = (0..shape.directories).step_by(SIBLINGS as usize);
    for (parent, first) in parents.clone().enumerate() {
        let parent = make_directory(&root, &format!("part-{parent:03}"))?;
        let siblings = SIBLINGS.min(shape.directories - first);
        for sibling in random.shuffled(siblings) {
            let leaf = make_directory(&parent, &format!("dir-{:05}", first + sibling))?;
            for file in random.shuffled(shape.files) {
                make_entry(&leaf, file, &mut random)?;
                entries += 1;
            }
            set_time(&parent, &format!("dir-{:05}", first + sibling), &mut random)?;
            entries += 1;
        }
    }
    for (parent, _) in parents.enumerate() {
        set_time(&root, &format!("part-{parent:03}"), &mut random)?;
        entries += 1;
    }
    Ok(entries)
}

fn open_directory(parent: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, path, flags, Mode::empty())
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display())))
}

fn make_directory(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    mkdirat(&parent, name, Mode::RWXU)?;
    let directory = open_directory(parent, Path::new(name))?;
    fchmod(&directory, Mode::from_raw_mode(0o755))?; // whatever the umask says
    Ok(directory)
}

fn make_entry(directory: impl AsFd, number: u32, random: &mut Random) -> io::Result<()> {
    let directory = directory.as_fd();
    if number % LINK_EVERY == LINK_EVERY - 1 {
        let name = format!("link-{number:06}");
        symlinkat(format!("file-{:06}.dat", number - 1), directory, &name)?;
        return set_time(directory, &name, random);
    }
    let name = format!("file-{number:06}.dat");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
    if random.below(FULL_EVERY) == 0 {
        file.write_all(&b"sixteen bytes, ."[..1 + random.below(16) as usize])?;
    }
    fchmod(&file, Mode::from_raw_mode(MODES[random.below(4) as usize]))?;
    set_time(directory, &name, random)
}

fn set_time(directory: impl AsFd, name: &str, random: &mut Random) -> io::Result<()> {
    let (first, span) = TIMES;
    let seconds = (first + random.below(span)).cast_signed();
    let time = Timespec { tv_sec: seconds, tv_nsec: random.below(1_000_000_000).cast_signed() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Even enough for limits this small.
    const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// The numbers below a count, so that the order of creation, and of inodes, is not the order of names.
    fn shuffled(&mut self, count: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..count).collect();
        for last in (1..numbers.len()).rev() {
            numbers.swap(last, self.below(last as u64 + 1) as usize);
        }
        numbers
    }
}

// ---- The bare walk.

/// What a walk saw, in whatever order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// How many entries, the root not among them.
    entries: u64,
    /// Over mode and time of each, and over the size of what is no directory; so that the compiler leaves nothing out.
    checksum: u64,
}

impl Seen {
    const fn and(self, other: Self) -> Self {
        let entries = self.entries + other.entries;
        Self { entries, checksum: self.checksum.wrapping_add(other.checksum) }
    }
}

/// A directory that is to be read. It is opened only when its turn comes, since its siblings may be many.
struct Directory {
    parent: Arc<OwnedFd>,
    name: CString,
}

/// The directories that are to be read, last in, first out.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Directory>,
    /// How many directories are being read, each of which may hold others.
    being_read: usize,
    /// How many threads wait for one of those; to wake nobody is a system call too.
    asleep: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next directory; none if there will be no more.
    fn next(&self) -> Option<Directory> {
        let mut state = self.lock();
        while state.waiting.is_empty() && state.being_read > 0 {
            state.asleep += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
        let directory = state.waiting.pop()?;
        state.being_read += 1;
        Some(directory)
    }

    /// A directory has been read, and these were in it.
    fn done(&self, found: &mut Vec<Directory>) {
        let mut state = self.lock();
        state.waiting.append(found);
        state.being_read -= 1;
        if state.asleep > 0 {
            self.changed.notify_all();
        }
    }
}

/// Opens, reads and stats everything below a root.
fn bare(root: &Path, threads: u32) -> io::Result<Seen> {
    let root = Directory { parent: Arc::new(open_directory(CWD, root)?), name: c".".into() };
    let queue = Queue::default();
    queue.lock().waiting.push(root);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| work(&queue))).collect();
        let mut all = work(&queue)?;
        for other in others {
            all = all.and(other.join().map_err(|_| io::Error::other("a thread panicked"))??);
        }
        Ok(all)
    })
}

/// Reads directories until there are no more. After an error it goes on, so that the other threads come to an end.
fn work(queue: &Queue) -> io::Result<Seen> {
    let mut buffer = Vec::with_capacity(256 << 10);
    let mut found = Vec::new();
    let mut all = Ok(Seen::default());
    while let Some(directory) = queue.next() {
        let seen = read(&directory, &mut buffer, &mut found);
        queue.done(&mut found);
        all = all.and_then(|all| Ok(all.and(seen?)));
    }
    all
}

fn read(directory: &Directory, buffer: &mut Vec<u8>, found: &mut Vec<Directory>) -> io::Result<Seen> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = Arc::new(openat(&directory.parent, &directory.name, flags, Mode::empty())?);
    let descriptor: BorrowedFd<'_> = opened.as_fd();
    let mut entries = RawDir::new(descriptor, buffer.spare_capacity_mut());
    let mut seen = Seen::default();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statx(descriptor, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        let is_directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        if is_directory {
            found.push(Directory { parent: Arc::clone(&opened), name: name.to_owned() });
        }
        // The size of a directory is the file system's own business.
        let size = if is_directory { 0 } else { stat.stx_size };
        let time = [stat.stx_mtime.tv_sec.cast_unsigned(), stat.stx_mtime.tv_nsec.into()];
        seen = seen.and(Seen { entries: 1, checksum: mixed([stat.stx_mode.into(), size, time[0], time[1]]) });
    }
    Ok(seen)
}

fn mixed(words: [u64; 4]) -> u64 {
    words.into_iter().fold(0, |mixed, word| (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}
