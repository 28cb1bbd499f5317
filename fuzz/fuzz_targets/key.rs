//! Law: bytes are a key exactly when a slow specification says so, the fault is one that it finds and stands where the
//! key is first unfit, and a key prints and parses back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::{Key, Prefix};

/// Every rule that the bytes break, read off the key fenced with slashes.
fn specification(key: &[u8]) -> Vec<&'static str> {
    let Ok(key) = std::str::from_utf8(key) else { return vec!["not-utf-8"] };
    let fenced = if key.ends_with('/') { format!("/{key}") } else { format!("/{key}/") };
    let slashes: Vec<usize> = fenced.match_indices('/').map(|(at, _)| at).collect();
    let rules = [
        ("empty", key.is_empty()),
        ("key-too-long", key.len() > 1024),
        ("nul", key.contains('\0')),
        ("empty-segment", fenced.contains("//")),
        ("dot-segment", fenced.contains("/./") || fenced.contains("/../")),
        ("segment-too-long", slashes.windows(2).any(|pair| pair[1] - pair[0] > 256)),
    ];
    rules.into_iter().filter(|(_, broken)| *broken).map(|(code, _)| code).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let faults = specification(bytes);
    let key = match Key::from_bytes(bytes) {
        Ok(key) => key,
        Err(error) => {
            let code = error.fault().code();
            assert!(faults.contains(&code), "{code}, not {faults:?}");
            let before = &bytes[..error.at()];
            if ["empty-segment", "dot-segment", "segment-too-long"].contains(&code) {
                assert!(before.is_empty() || (before.ends_with(b"/") && specification(before).is_empty()));
            }
            return;
        }
    };
    assert_eq!(faults, [""; 0]);
    assert_eq!(key.as_str().as_bytes(), bytes);
    assert_eq!(Key::parse(key.as_str()).unwrap(), key);
    posix_s3_fuzz::reads_back(&key);

    let names: Vec<&str> = key.segments().collect();
    assert_eq!(names.join("/"), key.path());
    assert_eq!(names.len(), key.depth() + 1);
    if let Some(parent) = key.parent() {
        assert!(parent.holds(&key));
        assert_eq!(Key::parse(parent.as_str()).unwrap(), parent);
    }
    if let Ok(prefix) = Prefix::parse(key.as_str()) {
        assert_eq!(prefix.as_str().trim_end_matches('/'), key.path());
        posix_s3_fuzz::reads_back(&prefix);
        if let Ok(object) = prefix.object_key(&key) {
            assert_eq!(prefix.relative(&object), Some(key.as_str()));
        }
    }
});
