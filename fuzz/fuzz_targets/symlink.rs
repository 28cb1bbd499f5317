//! Law: a body is a target exactly when it is 1 to 4,095 bytes without NUL, and it is kept byte for byte, also in its
//! text form; it leaves the root exactly when some beginning of it, shortened step by step, starts with `..`.
//!
//! Input: a byte for the depth of the link, then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::{Key, SymlinkTarget};

/// Takes a name and the `..` behind it out until nothing can be taken out any more.
fn leaves(target: &[u8], depth: usize) -> bool {
    let mut steps: Vec<&[u8]> = vec![b"above"; depth];
    target.starts_with(b"/")
        || target.split(|&byte| byte == b'/').any(|step| {
            steps.push(step);
            steps.retain(|step| ![&b""[..], b"."].contains(step));
            while let Some(at) = steps.windows(2).position(|pair| pair[0] != b".." && pair[1] == b"..") {
                steps.drain(at..at + 2);
            }
            steps.first() == Some(&&b".."[..])
        })
}

fuzz_target!(|input: &[u8]| {
    let Some((&depth, body)) = input.split_first() else { return };
    let depth = usize::from(depth % 8);
    let fits = (1..=4095).contains(&body.len()) && !body.contains(&0);
    match SymlinkTarget::parse(body) {
        Ok(target) => {
            assert!(fits);
            assert_eq!(target.as_bytes(), body);
            assert_eq!(target.size(), body.len() as u64);
            posix_s3_fuzz::reads_back(&target);
            let link = Key::parse(&format!("{}link", "d/".repeat(depth))).unwrap();
            assert_eq!(target.leaves_root(&link), leaves(body, depth));
        }
        Err(error) => assert!(!fits && !error.to_string().is_empty()),
    }
    // Any text is read as a text form or refused, and what is read is written as text again.
    let text = String::from_utf8_lossy(body).into_owned();
    if let Ok(target) = serde_json::from_value::<SymlinkTarget>(text.into()) {
        posix_s3_fuzz::reads_back(&target);
    }
});
