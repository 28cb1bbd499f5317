//! Snapshots written, read and compared, each case in a process of its own, so that its memory is its own.
//!
//! `cargo bench --bench snapshot --no-default-features`; README.md says how to read the tables and holds figures.
//! Words behind `--`: numbers of records (`10_000 10_000_000`), or directories whose records are to be counted in bytes.
//! Without the `--bench` that Cargo passes, it goes once through few records: enough to see that it still works.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that measures: it prints, and its inputs are its own"
)]

use posix_s3::snapshot::*;
use posix_s3::*;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How often each case is measured; cases take turns.
const ROUNDS: usize = 5;
/// A case with few records is repeated in its process until it has gone through so many.
const ENOUGH: u64 = 2_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--case", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return case(&rest[0], Path::new(&rest[1]), rest[2].parse().unwrap());
    }
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let number = |word: &&str| word.replace('_', "").parse().ok();
    let mut sizes: Vec<u64> = words.iter().filter_map(number).collect();
    let directories: Vec<&str> = words.into_iter().filter(|word| number(word).is_none()).collect();
    if sizes.is_empty() && directories.is_empty() {
        sizes = if measuring { vec![10_000, 100_000, 1_000_000, 10_000_000] } else { vec![5_000] };
    }
    if !directories.is_empty() {
        println!("| tree | records | key | local side | and remote, put in order | and remote, put in any order |");
        println!("|---|---:|---:|---:|---:|---:|");
    }
    for directory in directories {
        bytes_a_record(Path::new(directory));
    }
    if !sizes.is_empty() {
        let home = std::env::temp_dir().join(format!("snapshot-bench-{}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        speed(&sizes, &home, if measuring { ROUNDS } else { 1 });
        std::fs::remove_dir_all(&home).unwrap();
    }
}

// ---- Speed and memory.

const CASES: [&str; 10] = [
    "write",
    "records",
    "blocks",
    "blocks, both sides",
    "verify",
    "compare equal",
    "compare 1 %",
    "compare 1 %, both sides",
    "overlay 100",
    "open and seek, a call",
];

fn speed(sizes: &[u64], home: &Path, rounds: usize) {
    println!(
        "| case | records | ns a record (range) | records a second | ns / ns at {} | peak memory, MiB |",
        sizes[0]
    );
    println!("|---|---:|---:|---:|---:|---:|");
    let mut first = [0.0; CASES.len()];
    for &size in sizes {
        for (name, changed, both) in FILES {
            write(&home.join(name), size, changed, both);
        }
        let mut results = [(); CASES.len()].map(|()| Vec::new());
        for round in 0..rounds {
            for turn in 0..CASES.len() {
                let at = (round + turn) % CASES.len();
                results[at].push(run(CASES[at], home, size));
            }
        }
        for ((case, results), first) in CASES.iter().zip(results).zip(&mut first) {
            let mut nanoseconds: Vec<f64> = results.iter().map(|(nanoseconds, _)| *nanoseconds).collect();
            nanoseconds.sort_by(f64::total_cmp);
            let memory = results.iter().map(|(_, memory)| *memory).fold(0.0, f64::max);
            let [least, median, most] = [0, nanoseconds.len() / 2, nanoseconds.len() - 1].map(|at| nanoseconds[at]);
            if *first == 0.0 {
                *first = median;
            }
            let ratio = median / *first;
            let second = if case.ends_with("a call") { String::new() } else { format!("{:.1} M", 1e3 / median) };
            println!(
                "| {case} | {size} | **{median:.1}** ({least:.1}..{most:.1}) | {second} | {ratio:.2} | {memory:.1} |"
            );
        }
    }
}

/// The snapshots that cases read: how many of a million records are changed, and whether they have both sides.
const FILES: [(&str, u64, bool); 5] =
    [("old", 0, false), ("same", 0, false), ("new", 10_000, false), ("old+", 0, true), ("new+", 10_000, true)];

/// Runs a case in a process of its own: nanoseconds a record, and the most memory it had.
fn run(case: &str, home: &Path, size: u64) -> (f64, f64) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg("--case").arg(case).arg(home).arg(size.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

fn case(name: &str, home: &Path, size: u64) {
    let passes = (ENOUGH / size).max(1);
    let (passes, units) = if name.ends_with("a call") { (100, 100) } else { (passes, passes * size) };
    if size <= ENOUGH {
        once(name, home, size);
    }
    let start = Instant::now();
    for _ in 0..passes {
        once(name, home, size);
    }
    let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / units as f64;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    println!("{nanoseconds} {}", peak.unwrap_or(0.0) / 1024.0);
}

fn once(name: &str, home: &Path, size: u64) {
    let open = |name: &str| SnapshotStream::open(File::open(home.join(name)).unwrap()).unwrap();
    let count = match name {
        "write" => {
            write(&home.join("written"), size, 0, false);
            size
        }
        "records" => {
            let (mut stream, mut count) = (open("old"), 0);
            while stream.next().unwrap().is_some() {
                count += 1;
            }
            count
        }
        "blocks" | "blocks, both sides" => {
            let (mut rows, mut count) = (Rows::new(), 0);
            let mut stream = open(if name == "blocks" { "old" } else { "old+" });
            while stream.read_block(&mut rows).unwrap() {
                count += rows.len() as u64;
            }
            count
        }
        "verify" => {
            let mut reader = SnapshotReader::open(File::open(home.join("old")).unwrap()).unwrap();
            reader.verify().unwrap();
            reader.len()
        }
        "compare equal" => {
            assert_eq!(count_differences(open("old"), open("same")), 0);
            size
        }
        "compare 1 %" | "compare 1 %, both sides" => {
            let both = if name == "compare 1 %" { "" } else { "+" };
            let found = count_differences(open(&format!("old{both}")), open(&format!("new{both}")));
            assert!((size / 200..size / 50).contains(&found), "{found}");
            size
        }
        "overlay 100" => {
            let mut synthetic = Synthetic::new();
            let edits = (0..100).map(|number| {
                let mut record = synthetic.record(size / 100 * number, true);
                record.local = None;
                Ok::<_, SnapshotError>(Edit::Put(record))
            });
            let output = File::create(home.join("overlaid")).unwrap();
            let mut writer = SnapshotWriter::new(output, &header()).unwrap();
            overlay(&mut open("old"), edits, &mut writer).unwrap();
            let count = writer.len();
            writer.finish().unwrap();
            count
        }
        "open and seek, a call" => {
            let mut reader = SnapshotReader::open(File::open(home.join("old")).unwrap()).unwrap();
            let mut synthetic = Synthetic::new();
            let record = synthetic.record(size / 3, false);
            reader.seek(record.key.as_str()).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().key, record.key);
            size
        }
        _ => panic!("{name}"),
    };
    assert_eq!(count, size);
}

fn count_differences(mut old: SnapshotStream<File>, mut new: SnapshotStream<File>) -> u64 {
    let mut found = 0;
    let result = compare(&mut old, &mut new, |_| {
        found += 1;
        Ok::<_, SnapshotError>(())
    });
    result.unwrap();
    found
}

fn header() -> Header {
    Header { identity: Identity::default(), recorded: Timestamp::EPOCH }
}

fn write(path: &Path, size: u64, changed_in_a_million: u64, both: bool) {
    let mut writer = SnapshotWriter::new(File::create(path).unwrap(), &header()).unwrap();
    let mut synthetic = Synthetic::new();
    for number in 0..size {
        let mut record = synthetic.record(number, both);
        if mix(number ^ 0x9e37) % 1_000_000 < changed_in_a_million {
            let local = record.local.as_mut().unwrap();
            local.size += 1;
            local.mtime = Timestamp::from_unix(1_760_000_000, (number % 1_000_000_000) as u32).unwrap();
            local.ctime = local.mtime;
        }
        writer.push(&record).unwrap();
    }
    writer.finish().unwrap();
}

/// Records of a data set: directories of a thousand images, written once, one after the other.
struct Synthetic {
    mtime: i64,
    key: String,
}

impl Synthetic {
    const fn new() -> Self {
        Self { mtime: 0, key: String::new() }
    }

    fn record(&mut self, number: u64, both: bool) -> Record {
        let random = mix(number);
        let directory = number / 1000;
        if number.is_multiple_of(1000) || self.mtime == 0 {
            self.mtime = 1_600_000_000_000_000_000 + (mix(directory) % 30_000_000) as i64 * 1_000_000_000;
        }
        self.mtime += 5_000_000 + (random % 45_000_000) as i64;
        let size = 4096_u64 << ((random >> 40) % 10);
        self.key.clear();
        write!(self.key, "train/shard-{directory:06}/img_{number:09}.jpg").unwrap();
        let mtime = Timestamp::from_nanoseconds(self.mtime.into()).unwrap();
        let local = Local {
            file_type: FileType::File,
            size: size + (random >> 20) % size,
            permissions: Permissions::from_mode(0o644),
            uid: Uid::new(1000).unwrap(),
            gid: Gid::new(1000).unwrap(),
            mtime,
            ctime: mtime,
            inode: 10_000_000 + number,
            age: Age::Settled,
            names: Names::Unknown,
        };
        let remote = both.then(|| remote(number, local.size, 1_760_000_000 + (number * 3600 / 10_000_000) as i64));
        Record { key: Key::parse(&self.key).unwrap(), local: Some(local), remote }
    }
}

/// An object put in one piece within some seconds.
fn remote(number: u64, size: u64, second: i64) -> Remote {
    let md5 = (u128::from(mix(number)) << 64 | u128::from(mix(!number))).to_le_bytes();
    Remote {
        etag: ETag::from_md5(md5),
        size,
        last_modified: Timestamp::from_unix(second + (mix(number ^ 1) % 3) as i64, 0),
        xxh3: None,
        age: Age::Settled,
    }
}

const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

// ---- Bytes a record.

fn bytes_a_record(root: &Path) {
    let mut records = Vec::new();
    walk(root, root, &mut records);
    records.sort_by(|one, other| one.key.cmp(&other.key));
    let key_bytes = records.iter().map(|record| record.key.as_str().len()).sum::<usize>();
    let local = snapshot_bytes(&records);
    // Put within an hour: one after the other, then in any order.
    let mut put = |second: &dyn Fn(u64) -> u64| {
        for (number, record) in (0_u64..).zip(&mut records) {
            let size = record.local.as_ref().map_or(0, |local| local.size);
            record.remote = Some(remote(number, size, 1_760_000_000 + second(number) as i64));
        }
        snapshot_bytes(&records)
    };
    let (in_order, in_any) = (put(&|number| number / 1000 % 3600), put(&|number| mix(!number ^ 7) % 3600));
    let count = records.len();
    let [keys, local, in_order, in_any] =
        [key_bytes, local, in_order, in_any].map(|bytes| format!("{:.1}", bytes as f64 / count as f64));
    println!("| `{}` | {count} | {keys} | **{local}** | **{in_order}** | {in_any} |", root.display());
}

fn snapshot_bytes(records: &[Record]) -> usize {
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    for record in records {
        writer.push(record).unwrap();
    }
    writer.finish().unwrap().len()
}

#[cfg(unix)]
fn walk(root: &Path, directory: &Path, records: &mut Vec<Record>) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(names) = std::fs::read_dir(directory) else { return };
    for name in names.flatten() {
        let path: PathBuf = name.path();
        let (Ok(metadata), Some(text)) = (path.symlink_metadata(), path.strip_prefix(root).unwrap().to_str()) else {
            continue;
        };
        let file_type = FileType::from_mode(metadata.mode()).unwrap();
        let directory = file_type == FileType::Directory;
        let key = if directory { format!("{text}/") } else { text.to_owned() };
        let Ok(key) = Key::try_from(key) else { continue };
        let local = Local {
            file_type,
            size: if directory { 0 } else { metadata.size() },
            permissions: Permissions::from_mode(metadata.mode()),
            uid: Uid::new(metadata.uid()).unwrap(),
            gid: Gid::new(metadata.gid()).unwrap(),
            mtime: Timestamp::from_unix(metadata.mtime(), metadata.mtime_nsec() as u32).unwrap(),
            ctime: Timestamp::from_unix(metadata.ctime(), metadata.ctime_nsec() as u32).unwrap(),
            inode: metadata.ino(),
            age: Age::Settled,
            names: if directory { Names::Recorded } else { Names::Unknown },
        };
        records.push(Record { key, local: Some(local), remote: None });
        if directory {
            walk(root, &path, records);
        }
    }
}

#[cfg(not(unix))]
fn walk(_: &Path, _: &Path, _: &mut Vec<Record>) {}
