//! Law: a time is read exactly when a comparison of its digits as text says so, is never rounded, prints as
//! nanoseconds and parses back; as `SystemTime` and as `OffsetDateTime` it is the same or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::Timestamp;
use std::time::SystemTime;
use time::OffsetDateTime;

/// The nanoseconds without leading zeros, scaled by writing zeros behind them and compared as text.
fn specification(text: &[u8]) -> Option<String> {
    let text = String::from_utf8(text.to_vec()).ok()?;
    let (sign, number) = text.strip_prefix('-').map_or(("", text.as_str()), |number| ("-", number));
    let (number, zeros) = number.strip_suffix("ns").map_or((number, "000000"), |number| (number, ""));
    if number.is_empty() || !number.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = format!("{number}{zeros}");
    let most = if sign.is_empty() { "9223372036854775807999999999" } else { "9223372036854775808000000000" };
    match number.trim_start_matches('0') {
        "" => Some("0ns".into()),
        number if (number.len(), number) <= (most.len(), most) => Some(format!("{sign}{number}ns")),
        _ => None,
    }
}

fuzz_target!(|text: &[u8]| {
    let parsed = Timestamp::parse(text);
    assert_eq!(parsed.as_ref().ok().map(Timestamp::to_string), specification(text));
    let time = match parsed {
        Ok(time) => time,
        Err(error) => return assert!(error.at() <= text.len() && !error.to_string().is_empty()),
    };
    assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    assert_eq!(Timestamp::from_nanoseconds(time.nanoseconds()), Some(time));
    let mut encoded = Vec::new();
    time.encode(&mut encoded);
    assert_eq!(encoded, time.to_string().as_bytes());
    posix_s3_fuzz::reads_back(&time);
    if let Ok(system) = SystemTime::try_from(time) {
        assert_eq!(Timestamp::from(system), time);
    }
    if let Ok(date) = OffsetDateTime::try_from(time) {
        assert_eq!(date.unix_timestamp_nanos(), time.nanoseconds());
        assert_eq!(Timestamp::from(date), time);
    }
});
