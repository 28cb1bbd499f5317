//! The least that any client of S3 has to do: the limit that others are compared with.
//!
//! ```sh
//! floor put DIR s3://BUCKET/PREFIX [--connections N]
//! floor get s3://BUCKET/PREFIX DIR [--connections N] [--durable]
//! floor list s3://BUCKET/PREFIX
//! floor delete s3://BUCKET/PREFIX
//! ```
//!
//! The endpoint, which has to be `http://`, and the credentials come from `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY` and `AWS_REGION`. A thread has a connection, 16 of them unless told otherwise, and does one
//! file after the other; files above 16 MiB go over in parts of that size, as many at a time as there are connections.
//! Bodies are signed. With each object go the six headers of its file, which is all that becomes of metadata: links
//! and directories stay behind, and what is fetched is owned by whoever fetches it, as of now. `--durable` waits in the
//! end until everything is on the disk.
//!
//! It is no client to use: it tries nothing twice and checks nothing that it fetches but its length.

mod client;
mod sign;

use client::{Client, Failure, Listed};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const USAGE: &str = "expected `put DIR s3://BUCKET/PREFIX`, `get s3://BUCKET/PREFIX DIR`, `list s3://BUCKET/PREFIX` or \
                     `delete s3://BUCKET/PREFIX`, then --connections N or --durable";
/// The longest body of a request, and of an answer.
const PART: u64 = 16 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("floor: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let (mut connections, mut durable, mut words) = (16, false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--durable" => durable = true,
            "--connections" => connections = arguments.next().ok_or(USAGE)?.parse()?,
            _ => words.push(argument),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let place = |url: &str| -> Result<(String, String), Failure> {
        let (bucket, prefix) = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).ok_or(USAGE)?;
        // Names are appended to it.
        let prefix = if prefix.is_empty() { String::new() } else { format!("{}/", prefix.trim_end_matches('/')) };
        Ok((bucket.to_owned(), prefix))
    };
    match words[..] {
        ["put", dir, url] => {
            let (bucket, prefix) = place(url)?;
            put(&Client::from_env(bucket)?, Path::new(dir), &prefix, connections)
        }
        ["get", url, dir] => {
            let (bucket, prefix) = place(url)?;
            get(&Client::from_env(bucket)?, &prefix, Path::new(dir), connections)?;
            if durable {
                rustix::fs::syncfs(File::open(dir)?).map_err(std::io::Error::from)?;
            }
            Ok(())
        }
        ["list", url] => {
            let (bucket, prefix) = place(url)?;
            println!("{}", Client::from_env(bucket)?.connect()?.list(&prefix)?.len());
            Ok(())
        }
        ["delete", url] => {
            let (bucket, prefix) = place(url)?;
            let client = Client::from_env(bucket)?;
            let all = client.connect()?.list(&prefix)?;
            in_parallel(connections, &all, || client.connect(), |connection, object| connection.delete(&object.key))
        }
        _ => Err(USAGE.into()),
    }
}

/// Does all tasks in order, as many at a time as there are connections; the first failure ends it.
fn in_parallel<T: Sync, C>(
    connections: usize,
    tasks: &[T],
    connect: impl Fn() -> Result<C, Failure> + Sync,
    work: impl Fn(&mut C, &T) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let (next, failed, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let one = || -> Result<(), Failure> {
        let mut connection = connect()?;
        while let (Some(task), false) =
            (tasks.get(next.fetch_add(1, Ordering::Relaxed)), failed.load(Ordering::Relaxed))
        {
            work(&mut connection, task)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        for _ in 0..connections.min(tasks.len()) {
            scope.spawn(|| {
                if let Err(error) = one() {
                    failed.store(true, Ordering::Relaxed);
                    *failure.lock().expect("nothing panics with it in hand") = Some(error);
                }
            });
        }
    });
    failure.into_inner().expect("nothing panicked with it in hand").map_or(Ok(()), Err)
}

// ---- Up.

/// A file or a part of one that is to be sent.
struct Piece<'a> {
    path: &'a Path,
    key: String,
    /// The upload that it is a part of, and which.
    part: Option<(&'a Upload, u64)>,
}

struct Upload {
    key: String,
    id: String,
    /// By number, from 1.
    etags: Mutex<Vec<String>>,
}

fn put(client: &Client, dir: &Path, prefix: &str, connections: usize) -> Result<(), Failure> {
    let mut files = Vec::new();
    walk(dir, &mut files)?;
    let key = |path: &Path| -> Result<String, Failure> {
        Ok(format!("{prefix}{}", path.strip_prefix(dir)?.to_str().ok_or("a name that is no UTF-8")?))
    };
    let mut connection = client.connect()?;
    let mut uploads = Vec::new();
    for (path, size) in files.iter().filter(|(_, size)| *size > PART) {
        let key = key(path)?;
        let id = connection.begin(&key, &headers(&path.metadata()?))?;
        uploads.push((path, Upload { key, id, etags: Mutex::new(vec![String::new(); size.div_ceil(PART) as usize]) }));
    }
    let mut pieces = Vec::new();
    let whole = files.iter().filter(|(_, size)| *size <= PART);
    for (path, _) in whole {
        pieces.push(Piece { path, key: key(path)?, part: None });
    }
    for (path, upload) in &uploads {
        let parts = upload.etags.lock().expect("nobody has it").len() as u64;
        pieces.extend((0..parts).map(|part| Piece { path, key: upload.key.clone(), part: Some((upload, part)) }));
    }
    let connect = || Ok((client.connect()?, Vec::new()));
    in_parallel(connections, &pieces, connect, |(connection, body), piece| {
        body.clear();
        let mut file = File::open(piece.path)?;
        let metadata = file.metadata()?;
        match piece.part {
            None => {
                body.reserve_exact(metadata.len() as usize);
                (&mut file).take(PART).read_to_end(body)?;
                connection.put(&piece.key, &headers(&metadata), body)
            }
            Some((upload, part)) => {
                let size = PART.min(metadata.len().saturating_sub(part * PART));
                body.resize(size as usize, 0);
                file.read_exact_at(body, part * PART)?;
                let etag = connection.put_part(&piece.key, &upload.id, part + 1, body)?;
                upload.etags.lock().expect("nothing panics with it in hand")[part as usize] = etag;
                Ok(())
            }
        }
    })?;
    for (_, upload) in &uploads {
        connection.complete(&upload.key, &upload.id, &upload.etags.lock().expect("all threads have ended"))?;
    }
    Ok(())
}

/// All files with their sizes, in the order of their names.
fn walk(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<(), Failure> {
    let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(())
}

/// In the order in which they are signed.
fn headers(metadata: &fs::Metadata) -> [(&'static str, String); 6] {
    let time = |seconds: i64, nanoseconds: i64| {
        let time = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        format!("{time}ns")
    };
    [
        ("x-amz-meta-file-atime", time(metadata.atime(), metadata.atime_nsec())),
        ("x-amz-meta-file-group", metadata.gid().to_string()),
        ("x-amz-meta-file-mtime", time(metadata.mtime(), metadata.mtime_nsec())),
        ("x-amz-meta-file-owner", metadata.uid().to_string()),
        ("x-amz-meta-file-permissions", format!("{:07o}", metadata.mode())),
        ("x-amz-meta-user-agent", "posix-s3-floor".to_owned()),
    ]
}

// ---- Down.

/// What one request fetches.
struct Wanted<'a> {
    object: &'a Listed,
    path: PathBuf,
    /// Where the part begins, if it is one.
    from: Option<u64>,
}

fn get(client: &Client, prefix: &str, dir: &Path, connections: usize) -> Result<(), Failure> {
    let objects = client.connect()?.list(prefix)?;
    let mut wanted = Vec::new();
    let mut parents = BTreeSet::from([dir.to_owned()]);
    // What ends with a slash is somebody's directory.
    for object in objects.iter().filter(|object| !object.key.ends_with('/')) {
        let path = dir.join(object.key.strip_prefix(prefix).ok_or("a key that was not asked for")?);
        parents.extend(path.parent().map(Path::to_owned));
        if object.size <= PART {
            wanted.push(Wanted { object, path, from: None });
        } else {
            let parts = (0..object.size).step_by(PART as usize);
            wanted.extend(parts.map(|from| Wanted { object, path: path.clone(), from: Some(from) }));
        }
    }
    for parent in parents {
        fs::create_dir_all(parent)?;
    }
    in_parallel(
        connections,
        &wanted,
        || client.connect(),
        |connection, wanted| {
            let file = File::options().write(true).create(true).truncate(false).open(&wanted.path)?;
            let mut at = wanted.from.unwrap_or(0);
            let range = wanted.from.map(|from| from..(from + PART).min(wanted.object.size));
            let expected = range.as_ref().map_or(wanted.object.size, |range| range.end);
            connection.get(&wanted.object.key, range, |bytes| {
                file.write_all_at(bytes, at)?;
                at += bytes.len() as u64;
                Ok(())
            })?;
            if at == expected { Ok(()) } else { Err(format!("{}: another size than listed", wanted.object.key).into()) }
        },
    )
}
