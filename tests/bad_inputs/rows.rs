//! The table of all bad inputs, and which test shows each.

use super::cases;
use crate::named::tests_in;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A body, a tree, a reply or a state record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    #[serde(rename = "input")]
    _input: String,
    #[serde(rename = "stated")]
    _stated: String,
    /// Each `FILE::TEST`, with the file relative to `tests` or, if it is one of `src`, to the crate.
    tests: Vec<String>,
    /// Why the outcome is another than the one stated.
    differs: Option<String>,
    /// What is not shown, and why.
    left: Option<String>,
}

fn source(file: &str) -> String {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = if file.starts_with("src/") { crate_root.join(file) } else { crate_root.join("tests").join(file) };
    fs::read_to_string(path.with_extension("rs")).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Whether a file has such a test.
fn has_test(file: &str, test: &str) -> bool {
    tests_in(&source(file)).contains(test)
}

#[test]
fn every_row_has_its_test() {
    let mut found = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for case in cases::read(cases::KEYS).into_iter().chain(cases::read(cases::HEADERS)) {
        assert!(!case.stated.is_empty());
        assert_eq!(case.objects.is_empty(), case.elsewhere.is_some(), "{}: it is run, or shown elsewhere", case.id);
        if let Some(elsewhere) = &case.elsewhere {
            let (file, test) = elsewhere.rsplit_once("::").unwrap();
            if !has_test(&file.replace("::", "/"), test) {
                wrong.push(format!("{}: there is no {elsewhere}", case.id));
            }
        }
        if let Some(differs) = &case.differs {
            assert!(differs.len() > 10, "{}: a reason", case.id);
        }
        *found.entry(case.id).or_default() += 1;
    }
    let rows: Vec<Row> = serde_json::from_str(include_str!("rows.json")).unwrap();
    let mut left = Vec::new();
    for row in &rows {
        for test in &row.tests {
            let (file, name) = test.rsplit_once("::").unwrap();
            if !has_test(file, name) {
                wrong.push(format!("{}: there is no {test}", row.id));
            }
        }
        assert!(!row.tests.is_empty() || row.left.is_some(), "{}: no test, and no reason", row.id);
        assert!(row.differs.is_none() || row.left.is_none(), "{}", row.id);
        left.extend(row.left.as_ref().map(|_| row.id.as_str()));
        assert_eq!(found.insert(row.id.clone(), 1), None, "{} is there twice", row.id);
    }
    assert_eq!(wrong, Vec::<String>::new());
    let tables = [("K", 67), ("H", 52), ("B", 22), ("T", 46), ("R", 50), ("S", 10)];
    let all: BTreeSet<String> =
        tables.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}"))).collect();
    assert_eq!(all.len(), 247);
    assert_eq!(found.into_keys().collect::<BTreeSet<String>>(), all);
    // A row that is shown is taken from this list.
    assert_eq!(left, ["T9", "T32", "T34", "R47"]);
}
