//! [`Timestamp`]: exact nanoseconds since the Unix epoch.

use crate::escape::{excerpt, found_byte};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use thiserror::Error;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;

/// A point in time as a file system keeps it: nanoseconds since 1970-01-01T00:00:00Z, before it negative.
///
/// - The seconds, rounded down, fit an `i64`; the nanoseconds within the second are 0 to 999,999,999.
/// - The text form is a decimal number of nanoseconds and `ns`: `1595002920000000000ns`.
///
/// Reading takes an optional `-`, ASCII digits and an optional `ns`; without it the number counts milliseconds.
/// Arithmetic is exact and wide: nothing wraps, nothing passes through floating point. A value out of range is
/// refused, not clamped. Source: FSx for Lustre user guide, "POSIX metadata support".
///
/// ```
/// use posix_s3::Timestamp;
///
/// let time: Timestamp = "1595002920000000000ns".parse()?;
/// assert_eq!(time, "1595002920000".parse()?); // milliseconds
/// assert_eq!(time.to_string(), "1595002920000000000ns");
///
/// let refused = "15950s".parse::<Timestamp>().unwrap_err();
/// assert_eq!(refused.to_string(), "invalid timestamp \"15950s\": expected digits and an optional `ns`, found `s` at byte 5");
/// # Ok::<(), posix_s3::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { seconds: 0, nanos: 0 };

    /// A timestamp from seconds, rounded down, and the nanoseconds within the second (0 to 999,999,999).
    ///
    /// ```
    /// # use posix_s3::Timestamp;
    /// assert_eq!(Timestamp::from_unix(-1, 999_999_999).unwrap().nanoseconds(), -1);
    /// assert!(Timestamp::from_unix(0, 1_000_000_000).is_none());
    /// ```
    #[must_use]
    pub const fn from_unix(seconds: i64, nanos: u32) -> Option<Self> {
        if nanos < 1_000_000_000 { Some(Self { seconds, nanos }) } else { None }
    }

    /// A timestamp from nanoseconds, or `None` beyond the range of the seconds.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: i128) -> Option<Self> {
        let seconds = i64::try_from(nanoseconds.div_euclid(NANOS_PER_SECOND)).ok()?;
        let nanos = u32::try_from(nanoseconds.rem_euclid(NANOS_PER_SECOND)).ok()?;
        Some(Self { seconds, nanos })
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn nanoseconds(self) -> i128 {
        i128::from(self.seconds).saturating_mul(NANOS_PER_SECOND).saturating_add(i128::from(self.nanos))
    }

    /// Seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    #[must_use]
    pub const fn subsecond_nanos(self) -> u32 {
        self.nanos
    }

    /// Reads the text of a header.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] with what was expected, what was found and where.
    #[inline]
    pub fn parse(text: &[u8]) -> Result<Self, InvalidTimestamp> {
        let fault = |fault, at| InvalidTimestamp { text: excerpt(text), fault, at };
        let (negative, digits) = match text.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (digits, unit) = match digits.strip_suffix(b"ns") {
            Some(digits) => (digits, 1),
            // Mapping decision: milliseconds when there is no suffix; the user guide says so.
            None => (digits, NANOS_PER_MILLI),
        };
        // Nineteen digits always fit a u64, which covers every time from 1677 to 2262 without wide arithmetic.
        if let (1..=19, Some(value)) = (digits.len(), decimal(digits)) {
            return Ok(match unit {
                1 => Self::from_parts(negative, value / 1_000_000_000, value % 1_000_000_000),
                _ => Self::from_parts(negative, value / 1000, (value % 1000).wrapping_mul(1_000_000)),
            });
        }
        let start = usize::from(negative);
        if digits.is_empty() {
            return Err(match text.get(start) {
                Some(&byte) => fault(TimestampFault::NotDecimal(byte), start),
                None => fault(TimestampFault::Empty, start),
            });
        }
        if let Some(at) = digits.iter().position(|byte| !byte.is_ascii_digit()) {
            let byte = digits.get(at).copied().unwrap_or_default();
            return Err(fault(TimestampFault::NotDecimal(byte), start.saturating_add(at)));
        }
        let value = wide_decimal(digits)
            .and_then(|magnitude| if negative { magnitude.checked_neg() } else { Some(magnitude) })
            .and_then(|value| value.checked_mul(unit));
        value.and_then(Self::from_nanoseconds).ok_or_else(|| fault(TimestampFault::OutOfRange, start))
    }

    /// The time that far before or after the epoch; invariant: `seconds` fits an `i64`, `nanos` is below 10^9.
    fn from_parts(negative: bool, seconds: u64, nanos: u64) -> Self {
        let (seconds, nanos) = (seconds.cast_signed(), u32::try_from(nanos).unwrap_or_default());
        match (negative, nanos) {
            (false, _) => Self { seconds, nanos },
            (true, 0) => Self { seconds: seconds.wrapping_neg(), nanos },
            // Rounded down: `!seconds` is one below `-seconds`.
            (true, _) => Self { seconds: !seconds, nanos: 1_000_000_000_u32.wrapping_sub(nanos) },
        }
    }

    /// The time that far after the epoch, or as an error before it; beyond the range of the seconds the nearest there is.
    fn from_distance(distance: Result<Duration, Duration>) -> Self {
        let nanoseconds = |distance: Duration| i128::try_from(distance.as_nanos()).ok();
        match distance {
            Ok(after) => nanoseconds(after)
                .and_then(Self::from_nanoseconds)
                .unwrap_or(Self { seconds: i64::MAX, nanos: 999_999_999 }),
            Err(before) => nanoseconds(before)
                .and_then(i128::checked_neg)
                .and_then(Self::from_nanoseconds)
                .unwrap_or(Self { seconds: i64::MIN, nanos: 0 }),
        }
    }

    /// Appends the text form to a buffer of the caller.
    ///
    /// ```
    /// # use posix_s3::Timestamp;
    /// let mut buffer = Vec::new();
    /// Timestamp::from_unix(1, 5).unwrap().encode(&mut buffer);
    /// assert_eq!(buffer, b"1000000005ns");
    /// ```
    pub fn encode(self, buffer: &mut Vec<u8>) {
        let nanoseconds = self.nanoseconds();
        let mut digits = itoa::Buffer::new();
        // Times from 1677 to 2262 fit 64 bits, whose digits are made several times faster.
        let digits = match i64::try_from(nanoseconds) {
            Ok(nanoseconds) => digits.format(nanoseconds),
            Err(_) => digits.format(nanoseconds),
        };
        buffer.extend_from_slice(digits.as_bytes());
        buffer.extend_from_slice(b"ns");
    }
}

/// The value of up to nineteen bytes, or `None` when one is no ASCII digit.
fn decimal(digits: &[u8]) -> Option<u64> {
    let (eights, rest) = digits.as_chunks::<8>();
    let mut value: u64 = 0;
    for eight in eights {
        value = value.wrapping_mul(100_000_000).wrapping_add(eight_digits(*eight)?);
    }
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(value)
}

/// Eight digits at once: neighbours become numbers below 100, those below 10,000, those the value.
fn eight_digits(digits: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(digits);
    let tens = 0xf0f0_f0f0_f0f0_f0f0;
    // A byte is a digit when its upper half is 3, also after adding 6.
    let above = word.wrapping_add(0x0606_0606_0606_0606);
    if word & tens != 0x3030_3030_3030_3030 || above & tens != 0x3030_3030_3030_3030 {
        return None;
    }
    let word = word & 0x0f0f_0f0f_0f0f_0f0f;
    let word = word.wrapping_mul(10).wrapping_add(word >> 8) & 0x00ff_00ff_00ff_00ff;
    let word = word.wrapping_mul(100).wrapping_add(word >> 16) & 0x0000_ffff_0000_ffff;
    Some(word.wrapping_mul(10_000).wrapping_add(word >> 32) & 0xffff_ffff)
}

/// The value of ASCII digits, or `None` when it does not fit.
fn wide_decimal(digits: &[u8]) -> Option<i128> {
    digits.iter().try_fold(0_i128, |value, &byte| value.checked_mul(10)?.checked_add(i128::from(byte & 0x0f)))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.nanoseconds())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        Self::parse(text.as_bytes())
    }
}

impl From<SystemTime> for Timestamp {
    /// Every `SystemTime` of a Unix system has seconds of 64 bits and is kept exactly; beyond, the nearest end.
    fn from(time: SystemTime) -> Self {
        Self::from_distance(time.duration_since(SystemTime::UNIX_EPOCH).map_err(|before| before.duration()))
    }
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = OutOfRange;

    fn try_from(time: Timestamp) -> Result<Self, OutOfRange> {
        let seconds = Duration::from_secs(time.seconds.unsigned_abs());
        let whole = match time.seconds {
            ..0 => Self::UNIX_EPOCH.checked_sub(seconds),
            0.. => Self::UNIX_EPOCH.checked_add(seconds),
        };
        whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanos.into()))).ok_or(OutOfRange { time })
    }
}

#[cfg(feature = "time")]
impl From<time::OffsetDateTime> for Timestamp {
    fn from(time: time::OffsetDateTime) -> Self {
        // Invariant: `nanosecond` is below 10^9.
        Self { seconds: time.unix_timestamp(), nanos: time.nanosecond() }
    }
}

#[cfg(feature = "time")]
impl TryFrom<Timestamp> for time::OffsetDateTime {
    type Error = OutOfRange;

    fn try_from(time: Timestamp) -> Result<Self, OutOfRange> {
        Self::from_unix_timestamp_nanos(time.nanoseconds()).map_err(|_| OutOfRange { time })
    }
}

/// A timestamp that the target type cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the timestamp {time} is out of the range of the type asked for")]
pub struct OutOfRange {
    time: Timestamp,
}

/// A `file-atime` or `file-mtime` value that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid timestamp \"{text}\": {fault} at byte {at}")]
pub struct InvalidTimestamp {
    text: Box<str>,
    fault: TimestampFault,
    at: usize,
}

impl InvalidTimestamp {
    /// Why the text is refused.
    #[must_use]
    pub const fn fault(&self) -> TimestampFault {
        self.fault
    }

    /// The byte at which the fault stands, from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// Why a time is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TimestampFault {
    /// There are no digits.
    #[error("expected digits and an optional `ns`, found nothing")]
    Empty,
    /// A byte is no decimal digit.
    #[error("expected digits and an optional `ns`, found {}", found_byte(*.0))]
    NotDecimal(u8),
    /// The value has more seconds than 64 bits hold.
    #[error("expected seconds that fit 64 bits, found more")]
    OutOfRange,
}

impl TimestampFault {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotDecimal(_) => "not-a-time",
            Self::OutOfRange => "out-of-range",
        }
    }
}

#[cfg(feature = "serde")]
mod text {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    impl Serialize for Timestamp {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Timestamp {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> i128 {
        text.parse::<Timestamp>().unwrap().nanoseconds()
    }

    #[test]
    fn mtime_before_epoch() {
        assert_eq!(ns("-1ns"), -1);
        assert_eq!(ns("-1500"), -1_500_000_000);
        let time: Timestamp = "-1ns".parse().unwrap();
        assert_eq!((time.seconds(), time.subsecond_nanos()), (-1, 999_999_999));
    }

    #[test]
    fn values_beyond_64_bits_of_nanoseconds_are_exact() {
        assert_eq!(ns("9223372036854775808ns"), 9_223_372_036_854_775_808);
        assert_eq!(ns("9223372036854775807999999999ns"), i128::from(i64::MAX) * 1_000_000_000 + 999_999_999);
        assert_eq!(ns("-9223372036854775808000000000ns"), i128::from(i64::MIN) * 1_000_000_000);
    }

    #[test]
    fn out_of_range_is_refused_and_not_clamped() {
        for text in [
            "9223372036854775808000000000ns",
            "-9223372036854775808000000001ns",
            "9223372036854775808000",
            "1234567890123456789012345678901234567890",
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap_err().fault(), TimestampFault::OutOfRange, "{text}");
        }
    }

    #[test]
    fn text_is_written_into_a_buffer_as_it_is_displayed() {
        for nanoseconds in [
            0,
            1,
            -1,
            999_999_999,
            1_000_000_000,
            1_000_000_001,
            -1_000_000_000,
            1_595_002_920_000_000_000,
            i128::from(i64::MIN) * NANOS_PER_SECOND,
            i128::from(i64::MAX) * NANOS_PER_SECOND + 999_999_999,
        ] {
            let time = Timestamp::from_nanoseconds(nanoseconds).unwrap();
            let mut buffer = Vec::new();
            time.encode(&mut buffer);
            assert_eq!(buffer, time.to_string().as_bytes());
        }
    }

    #[test]
    fn the_short_way_and_the_long_way_read_the_same() {
        // Nineteen digits go the short way, twenty the long one.
        for digits in ["1", "12345678", "123456789", "1234567890123456", "9999999999999999999", "18446744073709551615"]
        {
            let value: i128 = digits.parse().unwrap();
            for zeros in 0..20 {
                let text = format!("{}{digits}", "0".repeat(zeros));
                assert_eq!(ns(&format!("{text}ns")), value, "{text}");
                assert_eq!(ns(&format!("-{text}ns")), -value, "{text}");
                assert_eq!(ns(&text), value * NANOS_PER_MILLI, "{text}");
                assert_eq!(ns(&format!("-{text}")), -value * NANOS_PER_MILLI, "{text}");
            }
        }
    }

    #[test]
    fn the_short_way_takes_every_number_that_fits_it() {
        for length in 1..=19 {
            for text in ["1234567890123456789", "9999999999999999999", "0000000000000000000"] {
                let text = text.get(..length).unwrap();
                assert_eq!(decimal(text.as_bytes()), text.parse().ok(), "{text}");
            }
        }
        assert_eq!(eight_digits(*b"90123456"), Some(90_123_456));
    }

    #[test]
    fn a_clock_that_reaches_further_ends_at_the_nearest_time() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::from_distance(Ok(second)).nanoseconds(), NANOS_PER_SECOND);
        assert_eq!(Timestamp::from_distance(Err(second)).nanoseconds(), -NANOS_PER_SECOND);
        let (latest, earliest) = (Timestamp::from_unix(i64::MAX, 999_999_999), Timestamp::from_unix(i64::MIN, 0));
        assert_eq!(Some(Timestamp::from_distance(Ok(Duration::MAX))), latest);
        assert_eq!(Some(Timestamp::from_distance(Err(Duration::MAX))), earliest);
    }

    #[test]
    fn one_byte_that_is_no_digit_is_found_wherever_it_stands() {
        for digits in [7, 8, 9, 16, 17, 19, 20, 30] {
            for at in 0..digits {
                // The neighbours of the digits, and bytes that differ from a digit in one bit.
                for byte in [b'/', b':', b'?', b' ', b'p', 0xb0, 0x00, 0xff] {
                    let mut text = vec![b'9'; digits];
                    text[at] = byte;
                    let refused = Timestamp::parse(&text).unwrap_err();
                    assert_eq!((refused.fault(), refused.at()), (TimestampFault::NotDecimal(byte), at));
                }
            }
        }
    }

    #[test]
    fn a_second_has_a_thousand_million_nanoseconds() {
        let last = Timestamp::from_unix(5, 999_999_999).unwrap();
        assert_eq!((last.seconds(), last.subsecond_nanos(), last.nanoseconds()), (5, 999_999_999, 5_999_999_999));
        assert_eq!(Timestamp::from_unix(5, 1_000_000_000), None);
        assert_eq!(Timestamp::from_nanoseconds(5_999_999_999), Some(last));
        let most = i128::from(i64::MAX) * NANOS_PER_SECOND + 999_999_999;
        assert_eq!(Timestamp::from_nanoseconds(most).map(Timestamp::nanoseconds), Some(most));
        assert_eq!(Timestamp::from_nanoseconds(most + 1), None);
    }

    #[test]
    fn a_fault_has_its_code() {
        let code = |text: &str| text.parse::<Timestamp>().unwrap_err().fault().code();
        assert_eq!([code(""), code("x"), code("9223372036854775808000")], ["empty", "not-a-time", "out-of-range"]);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_text_form_is_nanoseconds() {
        let time = Timestamp::from_unix(1, 5).unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"1000000005ns\"");
        assert_eq!(serde_json::from_str::<Timestamp>("\"1000000005ns\"").unwrap(), time);
    }

    #[test]
    fn a_time_that_the_clock_of_the_system_cannot_hold_is_refused() {
        let time = Timestamp::from_unix(i64::MAX, 999_999_999).unwrap();
        match SystemTime::try_from(time) {
            Ok(held) => assert_eq!(Timestamp::from(held), time),
            Err(refused) => assert_eq!(refused, OutOfRange { time }),
        }
        let before = Timestamp::from_unix(-1, 1).unwrap();
        assert_eq!(SystemTime::try_from(before).unwrap(), SystemTime::UNIX_EPOCH - Duration::from_nanos(999_999_999));
    }

    #[test]
    fn system_time_goes_both_ways() {
        for nanoseconds in [-1_500_000_001, 0, 1_595_002_920_123_456_789] {
            let time = Timestamp::from_nanoseconds(nanoseconds).unwrap();
            assert_eq!(Timestamp::from(SystemTime::try_from(time).unwrap()), time);
        }
    }

    #[cfg(feature = "time")]
    #[test]
    fn offset_date_time_goes_both_ways() {
        let time: Timestamp = "1595002920000000000ns".parse().unwrap();
        let date = time::OffsetDateTime::try_from(time).unwrap();
        assert_eq!(
            (date.year(), u8::from(date.month()), date.day(), date.hour(), date.minute()),
            (2020, 7, 17, 16, 22)
        );
        assert_eq!(Timestamp::from(date), time);
        let before: Timestamp = "-1ns".parse().unwrap();
        assert_eq!(Timestamp::from(time::OffsetDateTime::try_from(before).unwrap()), before);
        let refused = time::OffsetDateTime::try_from(Timestamp::from_unix(i64::MAX, 0).unwrap()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the timestamp 9223372036854775807000000000ns is out of the range of the type asked for"
        );
    }

    #[test]
    fn messages() {
        let message = |text: &str| text.parse::<Timestamp>().unwrap_err().to_string();
        let expected = "expected digits and an optional `ns`, found";
        assert_eq!(message(""), format!("invalid timestamp \"\": {expected} nothing at byte 0"));
        assert_eq!(message("-"), format!("invalid timestamp \"-\": {expected} nothing at byte 1"));
        assert_eq!(message("ns"), format!("invalid timestamp \"ns\": {expected} `n` at byte 0"));
        assert_eq!(message("-ns"), format!("invalid timestamp \"-ns\": {expected} `n` at byte 1"));
        assert_eq!(message("5 ns"), format!("invalid timestamp \"5 ns\": {expected} byte 0x20 at byte 1"));
        assert_eq!(message("15NS"), format!("invalid timestamp \"15NS\": {expected} `N` at byte 2"));
        assert_eq!(message("--1"), format!("invalid timestamp \"--1\": {expected} `-` at byte 1"));
        assert_eq!(message("1.5"), format!("invalid timestamp \"1.5\": {expected} `.` at byte 1"));
        assert_eq!(
            message("9999999999999999999999999999ns"),
            "invalid timestamp \"9999999999999999999999999999ns\": expected seconds that fit 64 bits, found more at byte 0"
        );
    }
}
