//! Snapshots: what is written is read, from any key; what was not written is refused; comparing and overlaying agree
//! with a map.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test")]

mod snapshots;

use posix_s3::snapshot::{
    Age, Difference, Edit, Header, Identity, Local, Names, Record, Remote, Rows, SnapshotError, SnapshotReader,
    SnapshotStream, SnapshotWriter, compare, overlay,
};
use posix_s3::{Attributes, ETag, FileType, Gid, Key, Permissions, Status, Timestamp, Uid};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use snapshots::{any_local, any_record, any_remote, header, is_many_blocks, many, records_in_order, write};
use std::collections::BTreeMap;
use std::io::Cursor;

type Model = BTreeMap<Key, Record>;

fn read(bytes: &[u8]) -> Result<Vec<Record>, SnapshotError> {
    let mut stream = SnapshotStream::open(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = stream.next()? {
        records.push(record);
    }
    Ok(records)
}

fn reader(bytes: &[u8]) -> SnapshotReader<Cursor<&[u8]>> {
    SnapshotReader::open(Cursor::new(bytes)).unwrap()
}

fn stream(bytes: &[u8]) -> SnapshotStream<&[u8]> {
    SnapshotStream::open(bytes).unwrap()
}

fn differences(old: &[u8], new: &[u8]) -> Vec<Difference> {
    let mut found = Vec::new();
    let result = compare(&mut stream(old), &mut stream(new), |difference| {
        found.push(difference);
        Ok::<_, SnapshotError>(())
    });
    result.unwrap();
    found
}

fn differences_of_models(old: &Model, new: &Model) -> Vec<Difference> {
    let mut keys: Vec<&Key> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let difference = |key| match (old.get(key).cloned(), new.get(key).cloned()) {
        (Some(old), None) => Some(Difference::Removed(old)),
        (None, Some(new)) => Some(Difference::Added(new)),
        (Some(old), Some(new)) if old != new => Some(Difference::Changed { old, new }),
        _ => None,
    };
    keys.into_iter().filter_map(difference).collect()
}

fn model(records: &[Record]) -> Model {
    records.iter().map(|record| (record.key.clone(), record.clone())).collect()
}

fn records(model: &Model) -> Vec<Record> {
    model.values().cloned().collect()
}

/// What an edit does to one of many records, by its number.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Put(Option<Local>, Option<Remote>),
    PutBehind(Option<Local>, Option<Remote>),
}

fn changes() -> impl Strategy<Value = BTreeMap<usize, Change>> {
    let sides = || (proptest::option::of(any_local()), proptest::option::of(any_remote()));
    let change = prop_oneof![
        Just(Change::Remove),
        sides().prop_map(|(local, remote)| Change::Put(local, remote)),
        sides().prop_map(|(local, remote)| Change::PutBehind(local, remote)),
    ];
    // Near each other or far apart, up to the ends.
    (btree_map(0_usize..9000, change, 0..12), 0_usize..9000, 1_usize..300).prop_map(|(changes, at, span)| {
        let place = |number: usize| if number.is_multiple_of(3) { (at + number % span).min(8999) } else { number };
        changes.into_iter().map(|(number, change)| (place(number), change)).collect()
    })
}

/// The first and the last records of the blocks of the many.
fn borders() -> Vec<usize> {
    let bytes = &many().1;
    let counts = snapshots::blocks(bytes).into_iter().map(|block| snapshots::number_at(bytes, block.start + 4, 4));
    let mut next = 0;
    let ends = counts.flat_map(|count| {
        let first = next;
        next += usize::try_from(count).unwrap();
        [first, next - 1]
    });
    ends.collect()
}

fn edits(base: &[Record], changes: &BTreeMap<usize, Change>) -> Vec<Edit> {
    let borders = borders();
    let edit = |(&number, change): (&usize, &Change)| {
        // Every fourth one at a border, where blocks come apart and together again.
        let number = if number.is_multiple_of(4) { borders[number / 4 % borders.len()] } else { number };
        let key = base[number].key.clone();
        match change {
            Change::Remove => Edit::Remove(key),
            Change::Put(local, remote) => Edit::Put(Record { key, local: *local, remote: remote.clone() }),
            Change::PutBehind(local, remote) => {
                let key = format!("{key}\u{1}").parse().unwrap();
                Edit::Put(Record { key, local: *local, remote: remote.clone() })
            }
        }
    };
    let mut edits: Vec<Edit> = changes.iter().map(edit).collect();
    edits.sort_by(|one, other| one.key().cmp(other.key()));
    edits.dedup_by(|one, other| one.key() == other.key());
    edits
}

fn apply(model: &mut Model, edits: &[Edit]) {
    for edit in edits {
        match edit {
            Edit::Put(record) => model.insert(record.key.clone(), record.clone()),
            Edit::Remove(key) => model.remove(key),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_record_reads_back_as_it_was(records in records_in_order(0..40)) {
        let bytes = write(&records);
        prop_assert_eq!(&read(&bytes).unwrap(), &records);
        let mut reader = reader(&bytes);
        reader.verify().unwrap();
        prop_assert_eq!(reader.len(), records.len() as u64);
        prop_assert_eq!(reader.header(), &header());
        let mut rows = Rows::new();
        let mut place = 0;
        while reader.read_block(&mut rows).unwrap() {
            for index in 0..rows.len() {
                let record = &records[place];
                place += 1;
                prop_assert_eq!(rows.record(index), Some(record.clone()));
                prop_assert_eq!(rows.keys().get(index), Some(record.key.as_str()));
                prop_assert_eq!(rows.has_local(index), record.local.is_some());
                prop_assert_eq!(rows.has_remote(index), record.remote.is_some());
                prop_assert_eq!(rows.age(index), record.local.map(|local| local.age));
                prop_assert_eq!(rows.names(index), record.local.map_or(Names::Unknown, |local| local.names));
            }
            prop_assert_eq!(rows.record(rows.len()), None);
        }
        prop_assert_eq!((place, rows.len()), (records.len(), 0));
    }

    #[test]
    fn rows_agree_with_an_inode_exactly_when_the_record_does(
        record in any_record("a".parse().unwrap()),
        other in any_local(),
        changed in 0_usize..9,
    ) {
        let bytes = write(std::slice::from_ref(&record));
        let mut rows = Rows::new();
        stream(&bytes).read_block(&mut rows).unwrap();
        let mut local = record.local.unwrap_or(other);
        match changed {
            0 => local.file_type = other.file_type,
            1 => local.size = other.size,
            2 => local.permissions = other.permissions,
            3 => local.uid = other.uid,
            4 => local.gid = other.gid,
            5 => local.mtime = other.mtime,
            6 => local.ctime = other.ctime,
            7 => local.inode = other.inode,
            _ => {}
        }
        let Local { file_type, size, permissions, uid, gid, mtime, ctime, inode, .. } = local;
        let attributes = Attributes { permissions, uid, gid, mtime, atime: Timestamp::EPOCH };
        let status = Status { file_type, size, attributes, inode, ctime, links: 1 };
        prop_assert_eq!(rows.agrees(0, &status), record.local.is_some_and(|local| local.agrees(&status)));
        prop_assert!(!rows.agrees(1, &status));
    }

    #[test]
    fn small_snapshots_compare_as_maps_do(old in records_in_order(0..12), new in records_in_order(0..12)) {
        let found = differences(&write(&old), &write(&new));
        prop_assert_eq!(found, differences_of_models(&model(&old), &model(&new)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn seeking_gives_what_is_left_of_the_whole(numbers in btree_set(0_usize..9000, 1..6), behind in any::<bool>()) {
        let (records, bytes) = many();
        let mut reader = reader(bytes);
        for number in numbers.into_iter().rev() {
            let behind = usize::from(behind);
            let key = format!("{}{}", records[number].key.as_str(), "\u{1}".repeat(behind));
            let expected = &records[number + behind..];
            reader.seek(&key).unwrap();
            for record in expected.iter().take(3) {
                prop_assert_eq!(reader.next().unwrap(), Some(record.clone()));
            }
            reader.seek(&key).unwrap();
            let (mut rows, mut place) = (Rows::new(), number + behind);
            while reader.read_block(&mut rows).unwrap() {
                for index in 0..rows.len() {
                    prop_assert_eq!(rows.keys().get(index), Some(records[place].key.as_str()));
                    place += 1;
                }
            }
            prop_assert_eq!(place, records.len());
        }
    }

    #[test]
    fn neighbouring_ranges_make_the_whole(cuts in btree_set(0_usize..=9000, 0..5)) {
        let (records, _) = many();
        let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
        let mut start = 0;
        for end in cuts.into_iter().chain([9000]) {
            writer.append(&mut stream(&write(&records[start..end]))).unwrap();
            start = end;
        }
        prop_assert_eq!(writer.len(), 9000);
        let bytes = writer.finish().unwrap();
        reader(&bytes).verify().unwrap();
        prop_assert_eq!(&read(&bytes).unwrap(), records);
    }

    #[test]
    fn what_is_left_of_a_snapshot_is_appended(start in 0_usize..9000, pushed in 0_usize..3) {
        let (records, bytes) = many();
        let mut reader = reader(bytes);
        reader.seek(records[start].key.as_str()).unwrap();
        let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
        for record in &records[start..(start + pushed).min(9000)] {
            reader.next().unwrap();
            writer.push(record).unwrap();
        }
        writer.append(reader.stream()).unwrap();
        prop_assert_eq!(&read(&writer.finish().unwrap()).unwrap()[..], &records[start..]);
    }

    #[test]
    fn overlay_writes_what_a_map_with_the_edits_would_be(changes in changes()) {
        let (records_before, bytes) = many();
        let edits = edits(records_before, &changes);
        let mut model = model(records_before);
        apply(&mut model, &edits);
        let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
        overlay(&mut stream(bytes), edits.into_iter().map(Ok::<_, SnapshotError>), &mut writer).unwrap();
        let overlaid = writer.finish().unwrap();
        prop_assert_eq!(&read(&overlaid).unwrap(), &records(&model));
        // Not only the same records: the borders are where they would be.
        prop_assert!(overlaid == write(&records(&model)));
    }

    #[test]
    fn large_snapshots_compare_as_maps_do(changes in changes()) {
        let (records_before, bytes) = many();
        let old = model(records_before);
        let mut new = old.clone();
        apply(&mut new, &edits(records_before, &changes));
        let new_bytes = write(&records(&new));
        prop_assert_eq!(differences(bytes, &new_bytes), differences_of_models(&old, &new));
        prop_assert_eq!(differences(&new_bytes, bytes), differences_of_models(&new, &old));
    }
}

#[test]
fn many_records_are_many_blocks_and_an_insertion_moves_one() {
    let (records, bytes) = many();
    is_many_blocks(bytes);
    let mut more = model(records);
    let key: Key = format!("{}\u{1}", records[2000].key).parse().unwrap();
    more.insert(key.clone(), Record { key, local: None, remote: None });
    let more = write(&more.into_values().collect::<Vec<_>>());
    let payloads = |bytes: &[u8]| -> Vec<Vec<u8>> { snapshots::payloads(bytes) };
    let (before, after) = (payloads(bytes), payloads(&more));
    assert_eq!(before.len(), after.len());
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
}

#[test]
fn blocks_end_where_the_page_says() {
    let (records, _) = many();
    let borders = borders();
    for (number, record) in records[..8999].iter().enumerate() {
        let sum = u64::from_le_bytes(snapshots::sum(record.key.as_str().as_bytes()));
        assert_eq!(borders.iter().skip(1).step_by(2).any(|end| *end == number), sum & 1023 == 0, "{number}");
    }
    let without_border = |number: &u32| {
        let key = format!("{number:06}");
        u64::from_le_bytes(snapshots::sum(key.as_bytes())) & 1023 != 0
    };
    let records: Vec<Record> = (0..5000)
        .filter(without_border)
        .map(|number| Record { key: format!("{number:06}").parse().unwrap(), local: None, remote: None })
        .collect();
    let bytes = write(&records);
    let counts: Vec<u64> =
        snapshots::blocks(&bytes).into_iter().map(|block| snapshots::number_at(&bytes, block.start + 4, 4)).collect();
    assert_eq!(counts, [4096, records.len() as u64 - 4096]);
}

#[test]
fn every_field_that_differs_is_a_difference() {
    let records = &many().0[..3];
    let (mut local, mut remote) = (records[1].local.unwrap(), records[1].remote.clone().unwrap());
    let later = Timestamp::from_unix(1, 1);
    (local.ctime, remote.xxh3) = (later.unwrap(), Some([1; 16]));
    let of_local = |change: fn(&mut Local)| {
        let mut changed = local;
        change(&mut changed);
        (Some(changed), Some(remote.clone()))
    };
    let of_remote = |change: fn(&mut Remote)| {
        let mut changed = remote.clone();
        change(&mut changed);
        (Some(local), Some(changed))
    };
    let sides = [
        (Some(local), Some(remote.clone())),
        (None, Some(remote.clone())),
        (Some(local), None),
        (None, None),
        of_local(|local| local.file_type = FileType::Symlink),
        of_local(|local| local.size += 1),
        of_local(|local| local.permissions = Permissions::from_mode(0)),
        of_local(|local| local.uid = Uid::ROOT),
        of_local(|local| local.gid = Gid::ROOT),
        of_local(|local| local.mtime = Timestamp::EPOCH),
        of_local(|local| local.ctime = Timestamp::EPOCH),
        of_local(|local| local.ctime = Timestamp::from_unix(i64::MAX, 0).unwrap()),
        of_local(|local| local.inode += 1),
        of_local(|local| local.age = Age::Racy),
        of_local(|local| local.names = Names::Recorded),
        of_remote(|remote| remote.etag = ETag::from_md5([0; 16])),
        of_remote(|remote| remote.etag = ETag::new("\"00000000000000000000000000000000-2\"")),
        of_remote(|remote| remote.etag = ETag::new("\"00000000000000000000000000000000-3\"")),
        of_remote(|remote| remote.etag = ETag::new("x")),
        of_remote(|remote| remote.etag = ETag::new("y")),
        of_remote(|remote| remote.size += 1),
        of_remote(|remote| remote.last_modified = None),
        of_remote(|remote| remote.last_modified = Some(Timestamp::EPOCH)),
        of_remote(|remote| remote.last_modified = Timestamp::from_unix(0, 1)),
        of_remote(|remote| remote.xxh3 = None),
        of_remote(|remote| remote.xxh3 = Some([2; 16])),
        of_remote(|remote| remote.age = Age::Racy),
    ];
    let with = |(local, remote): (Option<Local>, Option<Remote>)| {
        let middle = Record { key: records[1].key.clone(), local, remote };
        write(&[records[0].clone(), middle, records[2].clone()])
    };
    for (one_place, one) in sides.iter().enumerate() {
        for (other_place, other) in sides.iter().enumerate() {
            let found = differences(&with(one.clone()), &with(other.clone()));
            assert_eq!(found.len(), usize::from(one_place != other_place), "{one_place} {other_place}");
        }
    }
}

#[test]
fn an_overlay_behind_what_was_written_is_refused() {
    let (records, bytes) = many();
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    writer.append(&mut stream(&write(&records[5..6]))).unwrap();
    let error = overlay(&mut stream(bytes), std::iter::empty::<Result<Edit, SnapshotError>>(), &mut writer);
    assert!(matches!(error, Err(SnapshotError::Disorder { .. })));
}

#[test]
fn an_empty_snapshot_is_a_snapshot() {
    let bytes = write(&[]);
    assert_eq!(read(&bytes).unwrap(), []);
    let mut reader = reader(&bytes);
    assert!(reader.is_empty());
    reader.verify().unwrap();
    reader.seek("a").unwrap();
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.cut(4), []);
    assert_eq!(differences(&bytes, &bytes), []);
}

#[test]
fn cuts_share_the_records_out() {
    let (records, bytes) = many();
    for parts in 2..5 {
        let cuts = reader(bytes).cut(parts);
        assert!(!cuts.is_empty() && cuts.len() < parts && cuts.is_sorted());
        for cut in &cuts {
            let before = records.iter().filter(|record| record.key < *cut).count();
            let fits = |part| before.checked_sub(records.len() * part / parts).is_some_and(|more| more < 4096);
            assert!((1..parts).any(fits), "{before} records before {cut}");
        }
    }
    assert_eq!(reader(bytes).cut(0), []);
    assert_eq!(reader(bytes).cut(1), []);
    assert!(reader(bytes).cut(1_000_000).len() < 100);
}

#[test]
fn every_block_is_found_where_not_every_one_is_held() {
    let (records, _) = many();
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    for record in &records[..1500] {
        writer.append(&mut stream(&write(std::slice::from_ref(record)))).unwrap();
    }
    let bytes = writer.finish().unwrap();
    assert_eq!(snapshots::payloads(&bytes).len(), 1500);
    let mut reader = reader(&bytes);
    for pair in records[..1500].windows(2) {
        reader.seek(pair[0].key.as_str()).unwrap();
        assert_eq!(reader.next().unwrap().as_ref(), Some(&pair[0]));
        assert_eq!(reader.next().unwrap().as_ref(), Some(&pair[1]));
    }
    assert_eq!(reader.cut(100).len(), 99);
}

/// Takes so many bytes and then no more.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_is_written_behind_a_failure() {
    let (records, bytes) = many();
    for room in [0, 71, 72, 100, 60_000, bytes.len() - 65, bytes.len() - 1] {
        let written = SnapshotWriter::new(Full(room), &header()).and_then(|mut writer| {
            let failed = records.iter().position(|record| writer.push(record).is_err());
            if failed.is_some() {
                assert!(matches!(writer.finish(), Err(SnapshotError::Abandoned)));
                return Err(SnapshotError::Abandoned);
            }
            writer.finish()
        });
        assert!(written.is_err(), "{room}");
    }
}

#[test]
fn keys_handed_out_stay_what_they_are() {
    let (records, bytes) = many();
    let (mut stream, mut rows) = (stream(bytes), Rows::new());
    stream.read_block(&mut rows).unwrap();
    let kept = rows.keys().clone();
    let copy = (*kept).clone();
    stream.read_block(&mut rows).unwrap();
    assert_eq!(*kept, copy);
    assert_eq!(rows.keys().len(), rows.len());
    assert_eq!(rows.record(0).as_ref(), records.get(kept.len()));
}

#[test]
fn records_out_of_order_are_refused_and_change_nothing() {
    let record = |key: &str| Record { key: key.parse().unwrap(), local: None, remote: None };
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    writer.push(&record("b/c")).unwrap();
    for key in ["b/c", "b/", "b", "a", "b/b", "b/bz"] {
        let error = writer.push(&record(key)).unwrap_err();
        assert_eq!(error.to_string(), format!("expected a key after \"b/c\", found \"{key}\""));
    }
    writer.push(&record("b0")).unwrap();
    assert_eq!(writer.len(), 2);

    let other = write(&[record("b0"), record("c")]);
    let error = writer.append(&mut stream(&other)).unwrap_err();
    assert_eq!(error.to_string(), "expected a snapshot of keys after \"b0\", found one with \"b0\"");
    assert_eq!(read(&writer.finish().unwrap()).unwrap(), [record("b/c"), record("b0")]);

    // Also where the last key has to be read out of a block that was copied.
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    writer.append(&mut stream(&other)).unwrap();
    assert!(matches!(writer.push(&record("c")), Err(SnapshotError::Disorder { .. })));
    assert!(matches!(writer.append(&mut stream(&other)), Err(SnapshotError::Overlap { .. })));
    writer.push(&record("d")).unwrap();
    assert_eq!(read(&writer.finish().unwrap()).unwrap(), [record("b0"), record("c"), record("d")]);
}

#[test]
fn edits_out_of_order_are_refused() {
    let base = write(&[]);
    for keys in [["b", "a"], ["a", "a"]] {
        let edits = keys.map(|key| Ok::<_, SnapshotError>(Edit::Remove(key.parse().unwrap())));
        let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
        let error = overlay(&mut stream(&base), edits, &mut writer).unwrap_err();
        assert!(matches!(error, SnapshotError::Disorder { .. }), "{error}");
    }
}

#[test]
fn an_error_of_the_edits_ends_the_overlay() {
    let edits = [Ok(Edit::Remove("a".parse().unwrap())), Err(SnapshotError::Abandoned)];
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    assert!(overlay(&mut stream(&write(&[])), edits, &mut writer).is_err());
}

#[test]
fn etags_have_a_limit() {
    let mut record = Record { key: "a".parse().unwrap(), local: None, remote: None };
    let remote = |bytes: usize| Remote {
        etag: ETag::new(&"e".repeat(bytes)),
        size: 0,
        last_modified: None,
        xxh3: None,
        age: Age::Settled,
    };
    record.remote = Some(remote(65_536));
    let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
    assert!(matches!(writer.push(&record), Err(SnapshotError::LongETag { bytes: 65_536, .. })));
    // Long ones end a block before it grows without bound.
    let records: Vec<Record> = (0..60)
        .map(|number| Record {
            key: format!("{number:02}").parse().unwrap(),
            remote: Some(remote(65_535)),
            local: None,
        })
        .collect();
    let bytes = write(&records);
    assert_eq!(read(&bytes).unwrap(), records);
    assert!(snapshots::payloads(&bytes).len() >= 3);
}

#[test]
fn snapshots_go_to_other_threads() {
    fn go<T: Send + Sync>() {}
    go::<SnapshotReader<std::fs::File>>();
    go::<SnapshotStream<std::fs::File>>();
    go::<SnapshotWriter<std::fs::File>>();
    go::<SnapshotError>();
    go::<Rows>();
    go::<Difference>();
    go::<Edit>();
}

#[test]
fn identity_and_start_are_kept() {
    let header = Header {
        identity: Identity { link: [7; 16], root: [0xff; 16] },
        recorded: Timestamp::from_unix(i64::MIN, 999_999_999).unwrap(),
    };
    let bytes = SnapshotWriter::new(Vec::new(), &header).unwrap().finish().unwrap();
    assert_eq!(stream(&bytes).header(), &header);
    assert_eq!(reader(&bytes).header(), &header);
}
