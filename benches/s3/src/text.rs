//! Keys in URLs, digests in hex, times as HTTP and as S3 write them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode};
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// What stays as it is in a path, by the rules of the signature.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The same in a query, where a slash is no separator either.
const QUERY: &AsciiSet = &PATH.add(b'/');

/// A key as a path has it.
pub fn path_encode(key: &str) -> PercentEncode<'_> {
    utf8_percent_encode(key, PATH)
}

/// A value as a query has it.
pub fn query_encode(value: &str) -> PercentEncode<'_> {
    utf8_percent_encode(value, QUERY)
}

/// What was percent-encoded; none if that is no UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Bytes as pairs of digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(DIGITS[usize::from(half)])).collect()
}

/// As `Last-Modified` has it: `Fri, 17 Jul 2020 16:22:00 GMT`.
pub fn http_time(time: SystemTime) -> String {
    format(
        time,
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"),
    )
}

/// As a listing has it: `2020-07-17T16:22:00.000Z`.
pub fn listing_time(time: SystemTime) -> String {
    format(time, format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
}

/// As a signature has it: `20200717T162200Z`.
pub fn signing_time(time: SystemTime) -> String {
    format(time, format_description!("[year][month][day]T[hour][minute][second]Z"))
}

fn format(time: SystemTime, description: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from(time).format(description).expect("every part that is asked for is there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_written_as_s3_does() {
        let time = UNIX_EPOCH + Duration::from_millis(1_595_002_920_007);
        assert_eq!(http_time(time), "Fri, 17 Jul 2020 16:22:00 GMT");
        assert_eq!(listing_time(time), "2020-07-17T16:22:00.007Z");
        assert_eq!(signing_time(time), "20200717T162200Z");
    }

    #[test]
    fn keys_are_encoded_as_the_signature_wants_them() {
        assert_eq!(path_encode("a b/+~é").to_string(), "a%20b/%2B~%C3%A9");
        assert_eq!(query_encode("a/b").to_string(), "a%2Fb");
        assert_eq!(percent_decode("a%20b/%2B~%C3%A9").as_deref(), Some("a b/+~é"));
        assert_eq!(hex(&[0, 0xaf]), "00af");
    }
}
