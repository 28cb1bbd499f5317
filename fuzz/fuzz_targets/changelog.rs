//! Law: a record that parses prints and parses back the same; whatever a changelog and whoever is asked say, no path leaves
//! the root; and however the text is cut, it comes to the same changes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::repository::{
    ChangeKind, Changelog, ChangelogRecord, Debounce, Fid, FidPaths, FidResolver, Pending, Unresolved,
};
use posix_s3_fuzz::split_once;

/// Answers with the lines in front of the changelog, one after the other.
struct Lines<'l>(Vec<&'l [u8]>);

impl FidResolver for Lines<'_> {
    fn resolve(&mut self, _: Fid) -> Option<Vec<Box<[u8]>>> {
        let line = self.0.pop()?;
        Some(line.split(|byte| *byte == b'|').filter(|path| !path.is_empty()).map(Into::into).collect())
    }
}

fn stays_inside(key: &posix_s3::Key) {
    assert!(!key.as_str().starts_with('/'));
    assert!(key.segments().all(|segment| !segment.is_empty() && segment != "." && segment != ".."));
}

fuzz_target!(|input: &[u8]| {
    let (answers, text) = split_once(input, 0).unwrap_or((b"", input));
    for line in text.split(|byte| *byte == b'\n') {
        match ChangelogRecord::parse(line) {
            Ok(record) => {
                let mut printed = Vec::new();
                record.encode(&mut printed);
                assert_eq!(ChangelogRecord::parse(&printed).as_ref(), Ok(&record));
                posix_s3_fuzz::reads_back(&record.target);
                assert_eq!(record.target.to_string().parse(), Ok(record.target));
            }
            Err(error) => assert!(error.at() <= line.len() && !error.to_string().is_empty()),
        }
    }
    let base = if answers.len() % 2 == 0 { "" } else { "data/in" };
    let mut changelog = Changelog::new(FidPaths::new(Fid::ROOT, base));
    let read = changelog.read(text, &mut Lines(answers.split(|byte| *byte == b'\n').collect()));
    for change in &read.batch.changes {
        change.path.iter().for_each(stays_inside);
        if let ChangeKind::Renamed { from } = &change.kind {
            stays_inside(from);
        }
    }

    let mut whole = Changelog::new(FidPaths::new(Fid::ROOT, base));
    let mut cut = whole.clone();
    let whole = whole.read(text, &mut Unresolved);
    let (start, end) = text.split_at(text.len() / 2);
    let mut pieces = cut.read(start, &mut Unresolved);
    let rest = cut.read(end, &mut Unresolved);
    pieces.batch.changes.extend(rest.batch.changes);
    assert_eq!((&pieces.batch.changes, rest.batch.read_to), (&whole.batch.changes, whole.batch.read_to));

    let mut pending = Pending::new(Debounce::default()).with_limit(8);
    pending.take(read.batch);
    assert!(pending.len() <= 8 && pending.acknowledged() <= pending.read_to());
    let saved = serde_json::to_string(&pending).unwrap();
    assert_eq!(serde_json::from_str::<Pending>(&saved).unwrap(), pending);
});
