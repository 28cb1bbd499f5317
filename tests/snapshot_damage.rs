//! Snapshots that are cut, flipped, spliced or made by hand: each is refused, and the error says where.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test"
)]

mod snapshots;

use posix_s3::snapshot::{
    Age, Damage, Header, Identity, Local, Names, Part, Record, RowFault, Rows, SnapshotError, SnapshotReader,
    SnapshotStream, SnapshotWriter,
};
use posix_s3::{FileType, Gid, KeyFault, Permissions, Timestamp, Uid};
use snapshots::{blocks, forge, forge_header, header, many, write};
use std::io::Cursor;

/// Every way in which a whole file can be read, from the laxest one.
fn read(bytes: &[u8]) -> Result<Vec<Record>, SnapshotError> {
    let mut stream = SnapshotStream::open(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = stream.next()? {
        records.push(record);
    }
    Ok(records)
}

fn verify(bytes: &[u8]) -> Result<u64, SnapshotError> {
    let mut reader = SnapshotReader::open(Cursor::new(bytes))?;
    reader.verify()?;
    Ok(reader.len())
}

fn read_blocks(bytes: &[u8]) -> Result<usize, SnapshotError> {
    let (mut stream, mut rows, mut count) = (SnapshotStream::open(bytes)?, Rows::new(), 0);
    while stream.read_block(&mut rows)? {
        count += rows.len();
    }
    Ok(count)
}

/// Three blocks of a few records.
fn small() -> Vec<u8> {
    let (records, _) = many();
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    for part in [&records[..3], &records[3..4], &records[4..6]] {
        writer.append(&mut SnapshotStream::open(&write(part)[..]).unwrap()).unwrap();
    }
    let bytes = writer.finish().unwrap();
    assert_eq!((read(&bytes).unwrap().len(), verify(&bytes).unwrap(), blocks(&bytes).len()), (6, 6, 3));
    bytes
}

fn is_refused(bytes: &[u8], what: &str) {
    assert!(read(bytes).is_err(), "read: {what}");
    assert!(verify(bytes).is_err(), "verified: {what}");
    assert!(read_blocks(bytes).is_err(), "read by blocks: {what}");
}

#[test]
fn every_flipped_bit_is_found() {
    let mut bytes = small();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            is_refused(&bytes, &format!("bit {bit} of byte {at} of {}", bytes.len()));
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn every_cut_is_found_and_so_is_what_is_too_much() {
    let bytes = small();
    for end in 0..bytes.len() {
        is_refused(&bytes[..end], &format!("{end} bytes of {}", bytes.len()));
    }
    is_refused(&[&bytes[..], b"\0"].concat(), "a byte more");
    is_refused(&[&bytes[..], &bytes[..]].concat(), "twice");
    let trailer = &bytes[bytes.len() - 64..];
    is_refused(&[&bytes[..], trailer].concat(), "two trailers");
}

#[test]
fn every_cut_at_the_front_or_in_the_middle_is_found() {
    let bytes = small();
    for start in 1..bytes.len() {
        is_refused(&bytes[start..], &format!("from byte {start}"));
    }
    for at in 0..bytes.len() - 1 {
        is_refused(&[&bytes[..at], &bytes[at + 1..]].concat(), &format!("without byte {at}"));
    }
}

#[test]
fn blocks_that_are_swapped_left_out_repeated_or_of_another_file_are_found() {
    let bytes = small();
    let parts = blocks(&bytes);
    let [first, second, third] = [0, 1, 2].map(|number| &bytes[parts[number].clone()]);
    let (head, tail) = (&bytes[..parts[0].start], &bytes[parts[2].end..]);
    let with = |blocks: &[&[u8]]| [head, &blocks.concat(), tail].concat();
    assert_eq!(with(&[first, second, third]), bytes);
    is_refused(&with(&[second, first, third]), "swapped");
    is_refused(&with(&[first, third]), "left out");
    is_refused(&with(&[first, second]), "the last one left out");
    is_refused(&with(&[first, second, second, third]), "repeated");
    is_refused(&with(&[]), "all left out");

    // The same records of another scan: the payloads are equal, and still none fits.
    let mut other_header = header();
    other_header.recorded = Timestamp::EPOCH;
    let mut writer = SnapshotWriter::new(Vec::new(), &other_header).unwrap();
    writer.append(&mut SnapshotStream::open(&bytes[..]).unwrap()).unwrap();
    let other = writer.finish().unwrap();
    assert_eq!(blocks(&other), parts);
    assert_eq!(other[parts[1].start + 28..parts[1].end], second[28..]);
    is_refused(&with(&[first, &other[parts[1].clone()], third]), "a block of another file");
    for (parts, what) in [
        ([&other[..72], &bytes[72..]], "a header of another file"),
        ([&bytes[..parts[2].end], &other[parts[2].end..]], "an end of another file"),
    ] {
        is_refused(&parts.concat(), what);
        assert!(SnapshotReader::open(Cursor::new(parts.concat())).is_err(), "opened: {what}");
    }
    let empty = |header| SnapshotWriter::new(Vec::new(), header).unwrap().finish().unwrap();
    is_refused(&[&empty(&other_header)[..72], &empty(&header())[72..]].concat(), "an empty file of two");
}

#[test]
fn damage_behind_the_key_that_is_sought_is_found_when_it_is_read() {
    let (records, bytes) = many();
    let parts = blocks(bytes);
    let mut damaged = bytes.clone();
    damaged[parts[1].end - 1] ^= 1;
    let mut reader = SnapshotReader::open(Cursor::new(&damaged[..])).unwrap();
    reader.seek(records[8000].key.as_str()).unwrap();
    assert_eq!(reader.next().unwrap().as_ref(), Some(&records[8000]));
    reader.seek("").unwrap();
    let error = loop {
        match reader.next() {
            Ok(record) => assert!(record.is_some()),
            Err(error) => break error,
        }
    };
    let offset = parts[1].start as u64;
    assert!(
        matches!(error, SnapshotError::Damaged { part: Part::Block(1), offset: at, damage: Damage::Checksum { .. } } if at == offset),
        "{error}"
    );
    assert!(matches!(reader.next(), Err(SnapshotError::Abandoned)));
    reader.seek(records[8000].key.as_str()).unwrap();
    assert_eq!(reader.next().unwrap().as_ref(), Some(&records[8000]));
    assert!(matches!(reader.verify(), Err(SnapshotError::Damaged { part: Part::Block(1), .. })));
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(message(b""), "not a snapshot: expected `PSX3SNAP`, found \"\" at byte 0");
    assert_eq!(
        message(b"PK\x03\x04 and more"),
        "not a snapshot: expected `PSX3SNAP`, found \"PK\\u{3}\\u{4} and\" at byte 0"
    );
    assert_eq!(message(b"PSX3SNAP"), "damaged snapshot: header at byte 0: expected more bytes, found the end");
    assert_eq!(message(&forge_header(2, 0)[..12]), "expected a snapshot of version 1, found version 2");
    assert!(matches!(verify(&forge_header(2, 0)), Err(SnapshotError::Version { found: 2 })));
    assert_eq!(
        message(&forge_header(1, 1_000_000_000)),
        "damaged snapshot: header at byte 0: expected nanoseconds up to 999999999, found 1000000000"
    );
}

// ---- Rows by hand, with checksums that are right.

/// A row: tag of a key of its own, with the bits given, then the key, then the rest.
fn row(bits: u8, key: &str, rest: &[u8]) -> Vec<u8> {
    let length = u8::try_from(key.len()).unwrap();
    [&[length << 3 | bits], key.as_bytes(), rest].concat()
}

/// A short number.
fn n(number: u8) -> u8 {
    assert!(number < 128);
    number << 1 | 1
}

/// A number of nine bytes.
fn long(number: u64) -> Vec<u8> {
    [&[0][..], &number.to_le_bytes()].concat()
}

const SAME_META: u8 = 1;
const SAME_SHARED: u8 = 2;
const SAME_FLAGS: u8 = 4;
/// Flags of two bytes: no local side, with or without others.
fn flags(flags: u16) -> Vec<u8> {
    (flags << 2 | 2).to_le_bytes().to_vec()
}
const NO_LOCAL: u16 = 1 << 5;

/// A row without sides.
fn placeholder(key: &str) -> Vec<u8> {
    row(SAME_META | SAME_SHARED, key, &flags(NO_LOCAL))
}

/// A local side: entry 0 of the dictionary with this mode and these ids, size, mtime, inode.
fn local(mode: u64, uid: u64, gid: u64) -> Vec<u8> {
    let meta = [vec![n(0)], long(mode), long(uid), long(gid)].concat();
    [flags(1), meta, vec![n(5), n(6), n(7)]].concat()
}

#[track_caller]
fn is_fault(first: &str, rows: &[Vec<u8>], place: u32, fault: RowFault) {
    let count = u32::try_from(rows.len()).unwrap();
    let bytes = forge(&[(first, count, rows.concat())]);
    for error in [read(&bytes).unwrap_err(), read_blocks(&bytes).map(|_| ()).unwrap_err()] {
        match error {
            SnapshotError::Row { block: 0, row, fault: found } => assert_eq!((row, found), (place, fault)),
            _ => panic!("{error}"),
        }
    }
}

#[test]
fn what_is_made_by_hand_as_the_page_says_is_read() {
    let second = row(SAME_META | SAME_FLAGS, "c", &[]);
    let second = [&second[..1], &[n(1)], &second[1..]].concat();
    let bytes = forge(&[
        ("ab", 2, [placeholder("ab"), second].concat()),
        ("b", 1, row(SAME_SHARED, "b", &local(0o100_644, 1000, 4_294_967_294))),
    ]);
    assert_eq!(verify(&bytes).unwrap(), 3);
    let records = read(&bytes).unwrap();
    let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["ab", "ac", "b"]);
    let local = records[2].local.unwrap();
    assert_eq!((local.size, local.mtime.nanoseconds(), local.inode), (5, 3, u64::MAX - 3));
    assert_eq!((local.permissions.bits(), local.gid.get()), (0o644, 4_294_967_294));
    assert_eq!(local.mtime, local.ctime);
}

/// The bytes of the example on the page: what stands in its lines before three spaces.
fn example() -> Vec<u8> {
    let page = include_str!("../src/docs/snapshot.md");
    let (_, example) = page.split_once("# An example").unwrap();
    let (_, lines) = example.split_once("```text\n").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let bytes = lines.lines().flat_map(|line| line.split("   ").next().unwrap().split_whitespace());
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn the_example_on_the_page_is_what_is_written() {
    let time = Timestamp::from_unix(1, 0).unwrap();
    let local = Local {
        file_type: FileType::Directory,
        size: 0,
        permissions: Permissions::from_mode(0o755),
        uid: Uid::ROOT,
        gid: Gid::ROOT,
        mtime: time,
        ctime: time,
        inode: 5,
        age: Age::Settled,
        names: Names::Recorded,
    };
    let record = |key: &str, local| Record { key: key.parse().unwrap(), local, remote: None };
    let records = [record("a/", Some(local)), record("a/b", None)];
    let header = Header { identity: Identity::default(), recorded: Timestamp::EPOCH };
    let mut writer = SnapshotWriter::new(Vec::new(), &header).unwrap();
    for record in &records {
        writer.push(record).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), example());
    assert_eq!(read(&example()).unwrap(), records);
}

#[test]
fn the_numbers_on_the_page_are_written_so() {
    for (number, bytes) in [(5, &[0x0b_u64][..]), (127, &[0xff]), (128, &[0x02, 0x02]), (300, &[0xb2, 0x04])] {
        let word = number << bytes.len() | 1 << (bytes.len() - 1);
        assert_eq!(word, bytes.iter().rev().fold(0, |word, byte| word << 8 | byte));
    }
}

#[test]
fn keys_that_are_out_of_order_or_none_are_refused() {
    is_fault("b", &[placeholder("b"), placeholder("a")], 1, RowFault::Order);
    is_fault("b", &[placeholder("b"), placeholder("b")], 1, RowFault::Order);
    is_fault("b", &[placeholder("b"), placeholder("")], 1, RowFault::Order);
    // Larger, but it does not say all that it shares.
    is_fault("b", &[placeholder("b"), placeholder("bc")], 1, RowFault::Order);
    is_fault("a/../b", &[placeholder("a/../b")], 0, RowFault::Key(KeyFault::DotDot));
    is_fault("/", &[placeholder("/")], 0, RowFault::Key(KeyFault::EmptySegment));
    is_fault("a\0", &[placeholder("a\0")], 0, RowFault::Key(KeyFault::Nul));

    let blocks = [("b", 1, placeholder("b")), ("a", 1, placeholder("a"))];
    assert!(matches!(read(&forge(&blocks)), Err(SnapshotError::Row { block: 1, row: 0, fault: RowFault::Order })));
    assert!(matches!(
        verify(&forge(&blocks)),
        Err(SnapshotError::Damaged { part: Part::Index, damage: Damage::Order, .. })
    ));
    assert!(matches!(
        verify(&forge(&[("..", 1, placeholder(".."))])),
        Err(SnapshotError::Damaged { part: Part::Index, damage: Damage::Key(KeyFault::DotDot), .. })
    ));
    let not_utf8 = [&[8 | SAME_META | SAME_SHARED, 0xff], &flags(NO_LOCAL)[..]].concat();
    let error = read(&forge(&[("\u{ff}", 1, not_utf8)])).unwrap_err();
    assert!(matches!(error, SnapshotError::Row { fault: RowFault::Key(KeyFault::NotUtf8), .. }), "{error}");
}

#[test]
fn a_key_shares_no_more_than_there_is_and_does_not_grow_without_end() {
    let sharing = |shared: &[u8]| [&[8 | SAME_META | SAME_FLAGS], shared, b"c"].concat();
    is_fault("ab", &[placeholder("ab"), sharing(&[n(3)])], 1, RowFault::Shared { most: 2, found: 3 });
    let fault = RowFault::Shared { most: 2, found: u64::MAX };
    is_fault("ab", &[placeholder("ab"), sharing(&long(u64::MAX))], 1, fault);
    let endless = |length: u64| [&[31 << 3 | SAME_META | SAME_SHARED][..], &long(length), b"abc"].concat();
    for length in [994, u64::MAX] {
        let bytes = forge(&[("ab", 2, [placeholder("ab"), endless(length)].concat())]);
        let error = read(&bytes).unwrap_err();
        assert!(matches!(error, SnapshotError::Row { fault: RowFault::Key(KeyFault::TooLong), .. }), "{error}");
    }
}

#[test]
fn values_that_the_types_cannot_hold_are_refused() {
    let faulty = |rest: &[u8], fault| is_fault("a", &[row(SAME_SHARED, "a", rest)], 0, fault);
    faulty(&local(0o100_644, 4_294_967_295, 0), RowFault::Id(4_294_967_295));
    faulty(&local(0o100_644, 0, 4_294_967_295), RowFault::Id(4_294_967_295));
    faulty(&local(0o100_644, 1 << 32, 0), RowFault::Id(1 << 32));
    faulty(&local(0o644, 0, 0), RowFault::Mode(0o644));
    faulty(&local(0o1_100_644, 0, 0), RowFault::Mode(0o1_100_644));

    let wide = |nanos: u32| {
        let meta = [vec![n(0)], long(0o100_644), vec![n(0), n(0), n(5)]].concat();
        [flags(1 << 12 | 1), meta, 1_i64.to_le_bytes().to_vec(), nanos.to_le_bytes().to_vec(), vec![n(0)]].concat()
    };
    let good = read(&forge(&[("a", 1, row(SAME_SHARED, "a", &wide(999_999_999)))])).unwrap();
    assert_eq!(good[0].local.unwrap().ctime, Timestamp::from_unix(1, 999_999_999).unwrap());
    faulty(&wide(1_000_000_000), RowFault::Nanoseconds(1_000_000_000));
    let remote =
        |nanos: u64| [flags(NO_LOCAL | 1 << 2 | 1 << 3 | 1 << 8 | 1 << 10), vec![n(9), n(8)], long(nanos)].concat();
    let good = read(&forge(&[("a", 1, row(SAME_SHARED, "a", &remote(7)))])).unwrap();
    assert_eq!(good[0].remote.as_ref().unwrap().last_modified, Timestamp::from_unix(4, 7));
    faulty(&remote(1_000_000_000), RowFault::Nanoseconds(1_000_000_000));
    faulty(&remote(1 << 32), RowFault::Nanoseconds(1 << 32));

    let etag = |length: u64, text: &[u8]| {
        [flags(NO_LOCAL | 1 << 2 | 3 << 3 | 1 << 8 | 1 << 9), long(length), text.to_vec(), vec![n(0)]].concat()
    };
    assert_eq!(read(&forge(&[("a", 1, row(SAME_SHARED, "a", &etag(1, b"x")))])).unwrap().len(), 1);
    faulty(&etag(65_536, b"x"), RowFault::LongETag(65_536));
    faulty(&etag(u64::MAX, b"x"), RowFault::LongETag(u64::MAX));
    faulty(&etag(1, b"\xff"), RowFault::ETag);
    faulty(&etag(60_000, b"x"), RowFault::Ends);
}

#[test]
fn what_has_no_meaning_is_refused() {
    let faulty = |bits: u8, rest: &[u8], fault| is_fault("a", &[row(bits, "a", rest)], 0, fault);
    for unsound in [1 << 13, NO_LOCAL | 1, NO_LOCAL | 1 << 12, 1 << 8, 3 << 3, NO_LOCAL | 1 << 2, 1 << 2 | 3 << 9] {
        faulty(SAME_SHARED, &flags(unsound), RowFault::Flags(unsound.into()));
    }
    faulty(SAME_SHARED, &long(1 << 16), RowFault::Flags(1 << 16));
    let entry = |id| [flags(1), vec![n(id), n(0), n(0), n(0)]].concat();
    faulty(SAME_SHARED, &entry(1), RowFault::Dictionary { most: 0, found: 1 });
    faulty(
        SAME_SHARED | SAME_META,
        &[flags(1), vec![n(5)]].concat(),
        RowFault::Dictionary { most: 0, found: u64::MAX },
    );
    faulty(SAME_SHARED, &local(0o100_644, 0, 0)[..32], RowFault::Ends);
    faulty(SAME_SHARED | SAME_META, &[flags(NO_LOCAL), vec![1, 2]].concat(), RowFault::GoesOn(2));

    let block = |count, payload| forge(&[("a", count, payload)]);
    let error = read(&block(2, placeholder("a"))).unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::Row { row: 1, fault: RowFault::Ends | RowFault::Shared { .. } | RowFault::Order, .. }
        ),
        "{error}"
    );
    for count in [0, 4097] {
        let error = read(&block(count, placeholder("a"))).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { part: Part::Block(0), damage: Damage::Number { .. }, .. }));
        assert!(verify(&block(count, placeholder("a"))).is_err());
    }
    // The index speaks of another first key than the block.
    let error = read(&forge(&[("b", 1, placeholder("a"))])).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { part: Part::Index, .. }), "{error}");
    assert!(verify(&forge(&[("b", 1, placeholder("a"))])).is_err());
    // The index speaks of another place than the block has; its own sum is right, as is the trailer's.
    let mut elsewhere = block(1, placeholder("a"));
    let (index, trailer) = (elsewhere.len() - 64 - 35, elsewhere.len() - 64);
    elsewhere[index + 3] += 1;
    let sum = snapshots::sum(&elsewhere[index..trailer]);
    elsewhere[trailer + 32..trailer + 40].copy_from_slice(&sum);
    let sum = snapshots::sum(&elsewhere[trailer..trailer + 48]);
    elsewhere[trailer + 48..trailer + 56].copy_from_slice(&sum);
    is_refused(&elsewhere, "a block elsewhere");
    assert!(SnapshotReader::open(Cursor::new(&elsewhere)).is_err());
    // A length that nobody has the memory for.
    let mut endless = block(1, placeholder("a"));
    endless[72 + 8..72 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    is_refused(&endless, "a length of 4 GiB");
}
