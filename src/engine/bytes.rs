//! Numbers and texts as bytes, and back: what the journal and the spool are made of.

use crate::timestamp::Timestamp;

/// A length and the bytes.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // Keys, targets, reasons and ETags are a few KiB at most.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn take_bytes<'r>(rest: &mut &'r [u8]) -> Option<&'r [u8]> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(bytes)
}

pub(super) fn put_time(time: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&time.seconds().to_le_bytes());
    out.extend_from_slice(&time.subsecond_nanos().to_le_bytes());
}

pub(super) fn take_time(rest: &mut &[u8]) -> Option<Timestamp> {
    Timestamp::from_unix(i64::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?))
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*bytes)
}
