//! Law: any bytes are read to an end or an error, from the front, by blocks, and from any key; what is read writes back
//! to the same records, and written once more to the same bytes; two snapshots of the same records do not differ.
//!
//! Input: the bytes of a file, or, behind `P`, payloads of blocks, each with its count and length before it, of which a
//! file with the right sums is made: else the fuzzer would have to find them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::snapshot::{Record, Rows, SnapshotError, SnapshotReader, SnapshotStream, SnapshotWriter, compare};
use std::io::Cursor;
use twox_hash::XxHash3_64;

fn sum(bytes: &[u8]) -> [u8; 8] {
    XxHash3_64::oneshot(bytes).to_le_bytes()
}

/// A file of blocks whose sums are right; the index is that of the blocks as far as their first keys can be told.
fn forge(mut input: &[u8]) -> Vec<u8> {
    let mut file = [&b"PSX3SNAP\x01\0\0\0\0\0\0\0"[..], &[1; 32], &[0; 16]].concat();
    file.extend(sum(&file));
    let mut chain: [u8; 8] = file[64..].try_into().unwrap();
    let (mut index, mut blocks, mut records) = (Vec::new(), 0_u64, 0_u64);
    while let [count, length, rest @ ..] = input {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        input = rest;
        let first = match payload {
            [tag, own @ ..] if tag >> 3 < 31 => &own[..own.len().min(usize::from(tag >> 3))],
            _ => &[],
        };
        let lengths = [u32::from(*count).to_le_bytes(), (payload.len() as u32).to_le_bytes()].concat();
        let numbers = [&lengths[..], &sum(payload)].concat();
        chain = sum(&[&chain[..], &numbers].concat());
        index.extend((first.len() as u16).to_le_bytes());
        index.extend([first, &(file.len() as u64).to_le_bytes(), &numbers, &chain].concat());
        file.extend([b"BLCK", &numbers[..], &chain, payload].concat());
        blocks += 1;
        records += u64::from(*count);
    }
    let offset = file.len() as u64;
    let trailer = [offset, index.len() as u64, blocks, records].map(u64::to_le_bytes).concat();
    let trailer = [&trailer[..], &sum(&index), &chain].concat();
    file.extend([&b"INDX"[..], &(index.len() as u64).to_le_bytes(), &index, &trailer, &sum(&trailer)].concat());
    file.extend(b"PSX3END.");
    file
}

/// The records until the end or an error.
fn read(bytes: &[u8]) -> (Vec<Record>, Result<(), SnapshotError>) {
    let mut records = Vec::new();
    let result = SnapshotStream::open(bytes).and_then(|mut stream| {
        while let Some(record) = stream.next()? {
            records.push(record);
        }
        Ok(())
    });
    (records, result)
}

fn write(records: &[Record]) -> Vec<u8> {
    let header = posix_s3::snapshot::Header {
        identity: posix_s3::snapshot::Identity::default(),
        recorded: posix_s3::Timestamp::EPOCH,
    };
    let mut writer = SnapshotWriter::new(Vec::new(), &header).unwrap();
    for record in records {
        writer.push(record).unwrap();
    }
    writer.finish().unwrap()
}

fuzz_target!(|input: &[u8]| {
    let file = match input.split_first() {
        Some((b'P', rest)) if !rest.starts_with(b"SX3") => forge(rest),
        _ => input.to_vec(),
    };
    let (records, result) = read(&file);
    if let Err(error) = &result {
        assert!(!error.to_string().is_empty());
    }

    // By blocks: the same records up to the block in which the error is.
    let (mut rows, mut place) = (Rows::new(), 0);
    if let Ok(mut stream) = SnapshotStream::open(&file[..]) {
        let by_blocks = loop {
            match stream.read_block(&mut rows) {
                Ok(true) => {
                    for index in 0..rows.len() {
                        assert_eq!(rows.record(index).as_ref(), records.get(place));
                        place += 1;
                    }
                }
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(by_blocks.is_ok(), result.is_ok());
    }

    if let Ok(mut reader) = SnapshotReader::open(Cursor::new(&file[..])) {
        let verified = reader.verify();
        assert!(verified.is_ok() || result.is_err());
        for key in ["", "a", "b/", "\u{10ffff}"] {
            if reader.seek(key).is_ok()
                && let Ok(found) = reader.next()
                && result.is_ok()
            {
                assert_eq!(found.as_ref(), records.iter().find(|record| record.key.as_str() >= key));
            }
        }
    } else {
        assert!(result.is_err());
    }

    // What was read up to an error is sound, too.
    let written = write(&records);
    let (again, written_result) = read(&written);
    written_result.unwrap();
    assert_eq!(again, records);
    assert_eq!(write(&again), written);
    if result.is_ok() {
        let (mut old, mut new) =
            (SnapshotStream::open(&file[..]).unwrap(), SnapshotStream::open(&written[..]).unwrap());
        compare(&mut old, &mut new, |difference| -> Result<(), SnapshotError> { panic!("{difference:?}") }).unwrap();
        let mut writer = SnapshotWriter::new(Vec::new(), old.header()).unwrap();
        writer.append(&mut SnapshotStream::open(&file[..]).unwrap()).unwrap();
        assert_eq!(read(&writer.finish().unwrap()).0, records);
    }
});
