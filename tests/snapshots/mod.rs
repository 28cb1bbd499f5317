//! Snapshots for tests: any records, many records, and files made by hand from the page of the format.

#![allow(dead_code, reason = "each test takes what it needs")]

use posix_s3::snapshot::{Age, Header, Identity, Local, Names, Record, Remote, SnapshotWriter};
use posix_s3::{ETag, FileType, Gid, Key, Permissions, Timestamp, Uid};
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use std::sync::OnceLock;
use twox_hash::XxHash3_64;

pub(crate) fn header() -> Header {
    let identity = Identity { link: *b"link-0123456789a", root: *b"root-0123456789a" };
    Header { identity, recorded: Timestamp::from_unix(1_700_000_000, 5).unwrap() }
}

pub(crate) fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    for record in records {
        writer.push(record).unwrap();
    }
    writer.finish().unwrap()
}

// ---- Any records. Boxed, since they are large and a test's stack is not.

fn any_key() -> BoxedStrategy<Key> {
    let long = "x".repeat(254);
    let segment = prop_oneof![
        4 => prop::sample::select(vec!["a", "a-", "a.", "b", "aa", "..a", "é", "è", "\u{1}", "中", "𝄞"]).prop_map(String::from),
        1 => prop::sample::select(vec!["y".repeat(30), "y".repeat(31), "z".repeat(32), format!("{long}a"), format!("{long}b")]),
    ];
    (prop::collection::vec(segment, 1..4), any::<bool>())
        .prop_map(|(segments, directory)| {
            let mut key = segments.join("/");
            if directory {
                key.push('/');
            }
            key.parse().unwrap()
        })
        .boxed()
}

fn any_time() -> BoxedStrategy<Timestamp> {
    let seconds = prop_oneof![
        4 => 1_700_000_000_i64..1_700_000_100,
        1 => Just(-1_i64),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 9_223_372_036, 9_223_372_037, -9_223_372_037, -9_223_372_036]),
        1 => any::<i64>(),
    ];
    let nanos = prop_oneof![Just(0_u32), Just(999_999_999), 0_u32..1_000_000_000, Just(145_224_192), Just(145_224_191)];
    (seconds, nanos).prop_map(|(seconds, nanos)| Timestamp::from_unix(seconds, nanos).unwrap()).boxed()
}

fn any_number() -> BoxedStrategy<u64> {
    prop_oneof![0_u64..3, Just(u64::MAX), any::<u64>(), (0_u32..64).prop_map(|shift| 1 << shift)].boxed()
}

fn any_id() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0_u32), Just(1000), Just(u32::MAX - 1), 0..u32::MAX]
}

fn any_age() -> impl Strategy<Value = Age> {
    prop_oneof![4 => Just(Age::Settled), 1 => Just(Age::Racy)]
}

pub(crate) fn any_local() -> BoxedStrategy<Local> {
    let file_type = prop::sample::select(vec![
        FileType::File,
        FileType::Directory,
        FileType::Symlink,
        FileType::Fifo,
        FileType::CharacterDevice,
        FileType::BlockDevice,
        FileType::Socket,
    ]);
    let meta = (file_type, prop_oneof![Just(0o644_u32), 0_u32..0o10_000], any_id(), any_id());
    let names = prop_oneof![4 => Just(Names::Unknown), 1 => Just(Names::Recorded)];
    (meta, any_number(), any_time(), option::of(any_time()), any_number(), any_age(), names)
        .prop_map(|((file_type, bits, uid, gid), size, mtime, ctime, inode, age, names)| Local {
            file_type,
            size,
            permissions: Permissions::from_bits(bits).unwrap(),
            uid: Uid::new(uid).unwrap(),
            gid: Gid::new(gid).unwrap(),
            mtime,
            ctime: ctime.unwrap_or(mtime),
            inode,
            age,
            names,
        })
        .boxed()
}

pub(crate) fn any_remote() -> BoxedStrategy<Remote> {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    let odd = ["-0", "-1", "-00", "-+1", "-18446744073709551615", "-18446744073709551616", "-", ""];
    let mut odd: Vec<String> = odd.iter().map(|end| format!("\"{digits}{end}\"")).collect();
    odd.extend(["", "\"", "W/\"a\"", "é", digits, "\"D41D8CD98F00B204E9800998ECF8427E\""].map(String::from));
    let etag = prop_oneof![
        any::<[u8; 16]>().prop_map(ETag::from_md5),
        (any::<[u8; 16]>(), any_number()).prop_map(|(md5, parts)| {
            ETag::new(&format!("{}-{parts}\"", ETag::from_md5(md5).as_str().trim_end_matches('"')))
        }),
        prop::sample::select(odd).prop_map(|text| ETag::new(&text)),
        "\\PC{0,40}".prop_map(|text| ETag::new(&text)),
    ];
    (etag, any_number(), option::of(any_time()), option::of(any::<[u8; 16]>()), any_age())
        .prop_map(|(etag, size, last_modified, xxh3, age)| Remote { etag, size, last_modified, xxh3, age })
        .boxed()
}

fn any_sides() -> BoxedStrategy<(Option<Local>, Option<Remote>)> {
    (option::of(any_local()), option::of(any_remote()), any::<bool>())
        .prop_map(|(local, mut remote, same)| {
            if let (Some(local), Some(remote), true) = (&local, &mut remote, same) {
                remote.size = local.size;
            }
            (local, remote)
        })
        .boxed()
}

pub(crate) fn any_record(key: Key) -> impl Strategy<Value = Record> {
    any_sides().prop_map(move |(local, remote)| Record { key: key.clone(), local, remote })
}

pub(crate) fn records_in_order(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Record>> {
    btree_map(any_key(), any_sides(), count)
        .prop_map(|records| records.into_iter().map(|(key, (local, remote))| Record { key, local, remote }).collect())
}

// ---- Many records.

/// 9,000 records and their bytes, several blocks.
pub(crate) fn many() -> &'static (Vec<Record>, Vec<u8>) {
    static MANY: OnceLock<(Vec<Record>, Vec<u8>)> = OnceLock::new();
    MANY.get_or_init(|| {
        let records: Vec<Record> = (0..9000).map(numbered).collect();
        let bytes = write(&records);
        (records, bytes)
    })
}

fn numbered(number: u32) -> Record {
    let time = |more: u32| Timestamp::from_unix(1_700_000_000 + i64::from(number + more), number * 7).unwrap();
    let md5 = (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes();
    let local = Local {
        file_type: FileType::File,
        size: u64::from(number % 100),
        permissions: Permissions::from_mode(0o644 + number / 3000),
        uid: Uid::new(1000).unwrap(),
        gid: Gid::new(1000).unwrap(),
        mtime: time(0),
        ctime: time(number % 2),
        inode: 5_000_000 + u64::from(number),
        age: Age::Settled,
        names: Names::Unknown,
    };
    let remote = Remote {
        etag: ETag::from_md5(md5),
        size: u64::from(number % 100),
        last_modified: Timestamp::from_unix(1_700_100_000 + i64::from(number / 100), 0),
        xxh3: None,
        age: Age::Settled,
    };
    Record {
        key: format!("d/{:03}/n{number:05}", number / 100).parse().unwrap(),
        local: Some(local),
        remote: Some(remote),
    }
}

pub(crate) fn is_many_blocks(bytes: &[u8]) {
    let blocks = payloads(bytes).len();
    assert!(blocks >= 5, "{blocks}");
}

// ---- Files by hand.

pub(crate) fn number_at(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Where the blocks stand, each from its header to its end.
pub(crate) fn blocks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut at = 72;
    let mut blocks = Vec::new();
    while &bytes[at..at + 4] == b"BLCK" {
        let end = at + 28 + usize::try_from(number_at(bytes, at + 8, 4)).unwrap();
        blocks.push(at..end);
        at = end;
    }
    assert_eq!(&bytes[at..at + 4], b"INDX");
    blocks
}

pub(crate) fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    blocks(bytes).into_iter().map(|block| bytes[block.start + 28..block.end].to_vec()).collect()
}

pub(crate) fn sum(bytes: &[u8]) -> [u8; 8] {
    XxHash3_64::oneshot(bytes).to_le_bytes()
}

/// The header of the file, of a version.
pub(crate) fn forge_header(version: u32, nanos: u32) -> Vec<u8> {
    let mut bytes = [&b"PSX3SNAP"[..], &version.to_le_bytes(), &[0; 4], &[1; 16], &[2; 16]].concat();
    bytes.extend([&1_700_000_000_i64.to_le_bytes()[..], &nanos.to_le_bytes(), &[0; 4]].concat());
    bytes.extend(sum(&bytes));
    bytes
}

/// A file in which every sum is right, of blocks with a first key, a count and a payload.
pub(crate) fn forge(blocks: &[(&str, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = forge_header(1, 0);
    let mut chain: [u8; 8] = bytes[64..].try_into().unwrap();
    let (mut index, mut records) = (Vec::new(), 0_u64);
    for (first, count, payload) in blocks {
        let length = u32::try_from(payload.len()).unwrap();
        let numbers = [&count.to_le_bytes()[..], &length.to_le_bytes(), &sum(payload)].concat();
        chain = sum(&[&chain[..], &numbers].concat());
        index.extend(u16::try_from(first.len()).unwrap().to_le_bytes());
        index.extend([first.as_bytes(), &(bytes.len() as u64).to_le_bytes(), &numbers, &chain].concat());
        bytes.extend([b"BLCK", &numbers[..], &chain, payload].concat());
        records += u64::from(*count);
    }
    let offset = bytes.len() as u64;
    bytes.extend([&b"INDX"[..], &(index.len() as u64).to_le_bytes(), &index].concat());
    let numbers = [offset, index.len() as u64, blocks.len() as u64, records].map(u64::to_le_bytes).concat();
    let trailer = [&numbers[..], &sum(&index), &chain].concat();
    bytes.extend([&trailer[..], &sum(&trailer), b"PSX3END."].concat());
    bytes
}
