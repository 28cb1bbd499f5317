//! Law: an id is one to ten ASCII digits that, as text, are not behind `4294967294`; it prints without leading zeros
//! and parses back, and uid and gid read alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::{Gid, Uid};

/// The digits without leading zeros, compared with the largest as text.
fn specification(text: &[u8]) -> Option<String> {
    let text = String::from_utf8(text.to_vec()).ok().filter(|text| (1..=10).contains(&text.len()))?;
    let fits = text.chars().all(|digit| digit.is_ascii_digit()) && format!("{text:0>10}").as_str() <= "4294967294";
    let digits = text.trim_start_matches('0');
    fits.then(|| if digits.is_empty() { "0" } else { digits }.to_owned())
}

fuzz_target!(|text: &[u8]| {
    let parsed = Uid::parse(text);
    assert_eq!(parsed.as_ref().ok().map(Uid::to_string), specification(text));
    assert_eq!(parsed.as_ref().ok().map(|uid| uid.get()), Gid::parse(text).ok().map(Gid::get));
    match parsed {
        Ok(uid) => {
            assert_eq!(uid.to_string().parse::<Uid>().unwrap(), uid);
            assert_eq!(Uid::new(uid.get()), Some(uid));
            posix_s3_fuzz::reads_back(&uid);
        }
        Err(error) => assert!(error.at() <= text.len() && !error.to_string().is_empty()),
    }
});
