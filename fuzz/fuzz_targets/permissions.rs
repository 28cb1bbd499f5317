//! Law: a `file-permissions` value is read exactly when its digits, looked at as text, are seven or fewer behind the
//! leading zeros and start with those of a type; what is read prints as those seven digits and parses back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::{FileType, Mode};

/// The seven digits, found by looking at the text alone.
fn specification(text: &[u8]) -> Option<String> {
    let text = String::from_utf8(text.to_vec()).ok().filter(|text| !text.is_empty())?;
    let seven = format!("{:0>7}", text.trim_start_matches('0'));
    let is_type = ["000", "001", "002", "004", "006", "010", "012", "014"].contains(&seven.get(..3)?);
    (seven.len() == 7 && seven.chars().all(|digit| ('0'..='7').contains(&digit)) && is_type).then_some(seven)
}

fuzz_target!(|text: &[u8]| {
    let parsed = Mode::parse(text);
    assert_eq!(parsed.as_ref().ok().map(Mode::to_string), specification(text));
    match parsed {
        Ok(mode) => {
            assert_eq!(mode.encode(), mode.to_string().as_bytes());
            assert_eq!(Mode::parse(&mode.encode()).unwrap(), mode);
            assert_eq!(FileType::from_mode(mode.bits()), mode.file_type());
            posix_s3_fuzz::reads_back(&mode);
            posix_s3_fuzz::reads_back(&mode.permissions());
        }
        Err(error) => assert!(error.at() <= text.len() && !error.to_string().is_empty()),
    }
});
