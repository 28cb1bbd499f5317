//! Keys that are no paths, or not the paths that they look like.

use crate::figures;
use crate::hostile::{Liar, Surrounded, bucket, import_into, object};
use crate::model::bridge::{self, memory_store, read_disk, tree_of};
use crate::model::{Bucket, Rules};
use posix_s3::engine::Outcome;
use posix_s3::tree::MemoryTree;
use posix_s3::{Key, escape};
use std::fs;

/// The rule for keys in ten lines that share nothing with the crate.
fn is_path(key: &[u8]) -> bool {
    if key.is_empty() || key.contains(&0) {
        return false;
    }
    let path = key.strip_suffix(b"/").unwrap_or(key);
    path.split(|&byte| byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

const ALPHABET: [u8; 6] = [b'a', b'.', b'/', 0, b'%', b'\\'];

/// Calls for each key over the alphabet of up to so many bytes, the empty one included.
fn each_key(longest: usize, mut each: impl FnMut(&[u8])) {
    let mut keys = vec![Vec::new()];
    while let Some(key) = keys.pop() {
        each(&key);
        if key.len() < longest {
            keys.extend(ALPHABET.map(|byte| [&key[..], &[byte]].concat()));
        }
    }
}

#[test]
fn a01_of_all_keys_up_to_eight_bytes_those_are_taken_that_are_paths_as_they_are() {
    let mut tried = 0;
    each_key(8, |key| {
        tried += 1;
        match Key::from_bytes(key) {
            Ok(parsed) => {
                assert!(is_path(key), "{}", escape(key));
                // Nothing is folded, so two keys never become one path.
                assert_eq!(parsed.as_str().as_bytes(), key);
                assert_eq!(parsed.is_directory(), key.ends_with(b"/"));
            }
            Err(_) => assert!(!is_path(key), "{}", escape(key)),
        }
    });
    figures::record("keys against the rule", tried, 2_000_000);
}

#[test]
fn a01_what_is_no_path_is_counted_and_costs_no_request_and_the_run_goes_on() {
    let mut objects = Bucket::new();
    each_key(4, |key| {
        if !key.is_empty() {
            objects.insert(String::from_utf8(key.to_vec()).unwrap(), object("0100644", b"x"));
        }
    });
    let refused = objects.keys().filter(|key| !is_path(key.as_bytes())).count();
    let bad: Bucket =
        objects.iter().filter(|(key, _)| !is_path(key.as_bytes())).map(|(k, o)| (k.clone(), o.clone())).collect();
    let tree = MemoryTree::new();
    let run = bridge::import(&memory_store(&bad), &tree, "", &Rules::UNTRUSTED);
    assert_eq!((run.report.skipped, run.report.entries), (refused as u64, refused as u64));
    assert_eq!((run.report.store_calls.head, run.report.store_calls.get), (0, 0));
    assert!(tree_of(&tree).is_empty());
    // With the others among them, on a disk.
    let place = Surrounded::new();
    let run = import_into(&place, &objects);
    assert!(run.report.skipped >= refused as u64 && run.report.written > 0);
    assert_eq!(run.report.failed + run.report.conflicts, 0, "{:?}", run.report.problems);
}

#[test]
fn a02_dots_and_slashes_in_any_code_are_the_text_that_they_are() {
    let names = [
        "%2e%2e/x",
        "%252e%252e/x",
        "%2E%2E%2Fx",
        "..%2fx",
        "\u{ff0e}\u{ff0e}/x",
        "\u{2024}\u{2024}/x",
        "\u{2025}/x",
        "\u{2026}/x",
        "\u{2215}x",
        "\u{ff0f}x",
        "..\u{2215}x",
        "..\\x",
        "a\\..\\..\\x",
        "..%c0%afx",
        "%00",
        "\\u002e\\u002e/x",
    ];
    let place = Surrounded::new();
    let bucket: Bucket = names.map(|name| (name.to_owned(), object("0100644", b"x"))).into();
    let run = import_into(&place, &bucket);
    assert_eq!(run.report.written, names.len() as u64, "{:?}", run.report.problems);
    let made = read_disk(&place.root());
    for name in names {
        assert!(made.contains_key(name), "{name}");
    }
    // Overlong forms of a dot and a slash, and half a pair.
    for bytes in [&b"\xc0\xae\xc0\xae/x"[..], b"\xc0\xaf", b"\xe0\x80\xae", b"\xed\xa0\x80", b"\xff\xfe"] {
        let refused = Key::from_bytes(bytes).unwrap_err();
        assert_eq!(refused.fault().code(), "not-utf-8");
    }
}

#[test]
fn a23_no_text_from_outside_acts_on_a_terminal() {
    let acts = |character: char| {
        let bidi = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        character.is_control() || bidi || matches!(character, '\u{2028}' | '\u{2029}')
    };
    for character in '\0'..=char::MAX {
        let shown = escape(character.to_string().as_bytes()).to_string();
        assert!(!shown.chars().any(acts), "{:x}: {shown}", u32::from(character));
    }
    for first in 0x80..=0xff {
        for second in 0..=0xff_u8 {
            assert!(!escape(&[first, second]).to_string().chars().any(acts), "{first:x} {second:x}");
        }
    }
    assert!(escape(&[0xff; 100_000]).to_string().len() < 512 * 4 + 100);
    // Wherever a name can come up: refused, shadowed, failed, in conflict, written.
    let evil = "\u{1b}[2J\r\n\u{202e}\u{9b}\u{2028}";
    let place = Surrounded::new();
    fs::create_dir(place.root().join(format!("{evil}d"))).unwrap();
    let keys = ["x", "x/y", "../x", "d", "link", "\0"].map(|key| format!("{evil}{key}"));
    let bucket: Bucket = keys
        .iter()
        .map(|key| {
            let mut object = object(if key.ends_with("link") { "0120777" } else { "0100644" }, evil.as_bytes());
            object.headers.insert("x-amz-meta-file-owner".to_owned(), "\u{202e}0".to_owned());
            (key.clone(), object)
        })
        .collect();
    let run = import_into(&place, &bucket);
    let said = run.report.problems.iter().flat_map(|problem| [&problem.key, &problem.reason]);
    for text in said.map(|text| &**text).chain(run.ended.iter().map(|(key, _)| key.as_str())) {
        assert!(!text.chars().any(acts), "{text:?}");
    }
    assert!(run.report.problems.len() >= 4);
    let listing = Liar::with_pages(&bucket, &[&["a", evil]]);
    let error = bridge::import_stops(&listing, &MemoryTree::new(), "", &Rules::FSX);
    assert!(!format!("{error} {}", error.kind()).chars().any(acts));
}

#[test]
fn a29_a_path_that_is_too_deep_is_refused_by_itself() {
    let deep = |names: usize| vec!["d"; names].join("/");
    let objects = bucket([
        (&deep(3), object("0100644", b"x")),
        (&format!("e/{}", deep(3)), object("0100644", b"x")),
        (&format!("f/{}/", deep(3)), object("0040755", b"")),
        ("e-file", object("0100644", b"x")),
    ]);
    let mut options = bridge::import_options("", &Rules::UNTRUSTED);
    options.profile.budget.depth = 3;
    let tree = MemoryTree::new();
    let report = futures_executor::block_on(posix_s3::engine::import(
        &memory_store(&objects),
        &tree,
        &options,
        &posix_s3::engine::Silent,
    ))
    .unwrap();
    assert_eq!((report.written, report.skipped), (2, 2));
    let reasons: Vec<&str> = report.problems.iter().map(|problem| &*problem.reason).collect();
    assert_eq!(reasons[0], "invalid key \"e/d/d/d\": expected at most 3 names, found more at byte 5");
    assert!(report.problems.iter().all(|problem| problem.outcome == Outcome::Skipped));
    // Nothing was made for them.
    let paths: Vec<String> = tree_of(&tree).into_keys().collect();
    assert_eq!(paths, ["d", "d/d", "d/d/d", "e-file"]);
}
