//! Gets: one version of an object, whole or a range of it.

use super::super::{ETag, GetOptions, GetOutput, StoreErrorKind};
use super::case::{Case, Checked, expect_bytes, expect_headers, expect_kind, expect_same, owner};
use super::source::{SEVERAL_PIECES, pattern, pieces, whole};
use super::{Check, check};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::ops::Range;

pub(super) const CHECKS: &[Check] = &[
    check!(head_of_a_missing_key_is_not_found, [], "head of a key that holds nothing is NotFound"),
    check!(get_of_a_missing_key_is_not_found, [], "get of a key that holds nothing is NotFound"),
    check!(what_leads_to_a_key_is_no_object, [], "an object `a/b` makes neither `a` nor `a/` one"),
    check!(get_answers_the_range_asked_for, [], "a range has the bytes from its start to before its end"),
    check!(get_cuts_a_range_at_the_end, [], "a range that ends beyond the object ends with it"),
    check!(get_refuses_a_range_behind_the_end, [], "a range that starts at or behind the end is an invalid request"),
    check!(get_refuses_a_range_of_nothing, [], "an empty object has no range"),
    check!(get_of_a_range_shows_the_whole_object, [], "size, ETag and headers of a range are those of the object"),
    check!(get_ranges_join_to_the_whole, [], "ranges that follow each other are the whole"),
    check!(get_if_match_answers_the_version_named, [], "a version that is there is answered"),
    check!(get_if_match_refuses_another_version, [], "a version that is not there any more is not answered"),
    check!(get_if_match_of_a_missing_key_is_not_found, [], "a version of nothing is NotFound"),
    check!(a_get_during_an_overwrite_answers_one_version, [], "a body that is being read never turns into another"),
    check!(a_get_during_a_delete_answers_one_version, [], "a body that is being read ends whole or with an error"),
    check!(a_get_that_is_dropped_stands_in_no_way, [], "a body need not be read to its end"),
];

async fn head_of_a_missing_key_is_not_found(case: &Case<'_>) -> Checked {
    for tail in ["a", "a/", "a/b", "\u{e9} +%"] {
        expect_kind("head", case.head(tail).await, StoreErrorKind::NotFound)?;
    }
    Ok(())
}

async fn get_of_a_missing_key_is_not_found(case: &Case<'_>) -> Checked {
    for tail in ["a", "a/", "a/b", "\u{e9} +%"] {
        expect_kind("get", case.get(tail, &GetOptions::default()).await, StoreErrorKind::NotFound)?;
        expect_kind("get", case.get(tail, &range(0..1)).await, StoreErrorKind::NotFound)?;
    }
    Ok(())
}

async fn what_leads_to_a_key_is_no_object(case: &Case<'_>) -> Checked {
    case.put("a/b/c", "x").await?;
    for tail in ["a", "a/", "a/b", "a/b/", "a/b/c/", "a/b/c/d"] {
        case.expect_nothing(tail).await?;
    }
    Ok(())
}

fn range(range: Range<u64>) -> GetOptions {
    GetOptions { range: Some(range), ..GetOptions::default() }
}

async fn expect_range(case: &Case<'_>, asked: Range<u64>, expected: &[u8]) -> Checked {
    let (_, found) = case.read("a", &range(asked.clone())).await?;
    expect_bytes(&format!("the range {asked:?} to be"), expected, &found)
}

async fn get_answers_the_range_asked_for(case: &Case<'_>) -> Checked {
    case.put("a", "0123456789").await?;
    expect_range(case, 0..1, b"0").await?;
    expect_range(case, 0..4, b"0123").await?;
    expect_range(case, 3..7, b"3456").await?;
    expect_range(case, 9..10, b"9").await?;
    expect_range(case, 0..10, b"0123456789").await
}

async fn get_cuts_a_range_at_the_end(case: &Case<'_>) -> Checked {
    case.put("a", "0123456789").await?;
    expect_range(case, 7..11, b"789").await?;
    expect_range(case, 9..1000, b"9").await?;
    expect_range(case, 0..u64::MAX, b"0123456789").await
}

async fn get_refuses_a_range_behind_the_end(case: &Case<'_>) -> Checked {
    case.put("a", "0123456789").await?;
    for asked in [10..11, 10..20, 11..12, u64::MAX - 1..u64::MAX] {
        expect_kind("get", case.get("a", &range(asked)).await, StoreErrorKind::InvalidRequest)?;
    }
    Ok(())
}

async fn get_refuses_a_range_of_nothing(case: &Case<'_>) -> Checked {
    case.put("a", "").await?;
    expect_kind("get", case.get("a", &range(0..1)).await, StoreErrorKind::InvalidRequest)
}

async fn get_of_a_range_shows_the_whole_object(case: &Case<'_>) -> Checked {
    let etag = case.put_with("a", whole("0123456789"), &owner("a")).await?;
    for asked in [0..1, 3..7, 9..100] {
        let (meta, _) = case.read("a", &range(asked)).await?;
        expect_same("size and ETag", &(10, &etag), &(meta.size, &meta.etag))?;
        expect_headers("get to answer", &owner("a"), &meta.headers)?;
    }
    Ok(())
}

async fn get_ranges_join_to_the_whole(case: &Case<'_>) -> Checked {
    let body = pattern(SEVERAL_PIECES, 0);
    case.put_with("a", whole(body.clone()), &owner("a")).await?;
    const STEP: u64 = (1 << 20) - 1;
    let (mut joined, mut start) = (BytesMut::new(), 0_u64);
    while start < body.len() as u64 {
        let end = start.saturating_add(STEP);
        joined.extend_from_slice(&case.read("a", &range(start..end)).await?.1);
        start = end;
    }
    expect_bytes("the ranges to join to", &body, &joined)
}

fn version(etag: &ETag) -> GetOptions {
    GetOptions { if_match: Some(etag.clone()), ..GetOptions::default() }
}

async fn get_if_match_answers_the_version_named(case: &Case<'_>) -> Checked {
    case.put("a", "old").await?;
    let etag = case.put("a", "new").await?;
    let (meta, found) = case.read("a", &version(&etag)).await?;
    expect_same("the ETag", &etag, &meta.etag)?;
    expect_bytes("get to answer", b"new", &found)?;
    let (_, found) = case.read("a", &GetOptions { range: Some(1..2), ..version(&etag) }).await?;
    expect_bytes("get to answer", b"e", &found)
}

async fn get_if_match_refuses_another_version(case: &Case<'_>) -> Checked {
    let old = case.put("a", "old").await?;
    let other = case.put("b", "other").await?;
    case.put("a", "new").await?;
    for etag in [old, other] {
        expect_kind("get", case.get("a", &version(&etag)).await, StoreErrorKind::PreconditionFailed)?;
    }
    Ok(())
}

async fn get_if_match_of_a_missing_key_is_not_found(case: &Case<'_>) -> Checked {
    let etag = case.put("a", "x").await?;
    case.delete("a").await?;
    expect_kind("get", case.get("a", &version(&etag)).await, StoreErrorKind::NotFound)
}

async fn a_get_during_an_overwrite_answers_one_version(case: &Case<'_>) -> Checked {
    let (old, new) = (pattern(SEVERAL_PIECES, 1), pattern(SEVERAL_PIECES, 2));
    for first in [Begun::Headers, Begun::Piece] {
        case.put_with("a", whole(old.clone()), &owner("old")).await?;
        let reading = begin(case, &first).await?;
        case.put_with("a", pieces(new.clone()), &owner("new")).await?;
        expect_one_version(reading, &old).await?;
        case.expect_object("a", &new, &owner("new")).await?;
    }
    Ok(())
}

async fn a_get_during_a_delete_answers_one_version(case: &Case<'_>) -> Checked {
    let old = pattern(SEVERAL_PIECES, 1);
    for first in [Begun::Headers, Begun::Piece] {
        case.put_with("a", whole(old.clone()), &owner("old")).await?;
        let reading = begin(case, &first).await?;
        case.delete("a").await?;
        expect_one_version(reading, &old).await?;
        case.expect_nothing("a").await?;
    }
    Ok(())
}

/// How far a get has come before something else happens.
enum Begun {
    Headers,
    Piece,
}

/// A get under way, and its bytes so far.
async fn begin(case: &Case<'_>, until: &Begun) -> Checked<(GetOutput, BytesMut)> {
    let mut output = case.get("a", &GetOptions::default()).await?;
    let mut bytes = BytesMut::new();
    if matches!(until, Begun::Piece)
        && let Some(piece) = output.body.next().await
    {
        bytes.extend_from_slice(&piece?);
    }
    Ok((output, bytes))
}

/// The get ends with the whole of the version it began with, or with an error behind a part of it.
async fn expect_one_version((mut output, mut bytes): (GetOutput, BytesMut), version: &Bytes) -> Checked {
    expect_same("the size", &(version.len() as u64), &output.meta.size)?;
    while let Some(piece) = output.body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(_) => {
                let part = version.get(..bytes.len()).unwrap_or_default();
                return expect_bytes("before the error", part, &bytes);
            }
        }
    }
    expect_bytes("the version that the get began with,", version, &bytes)
}

async fn a_get_that_is_dropped_stands_in_no_way(case: &Case<'_>) -> Checked {
    for first in [Begun::Headers, Begun::Piece] {
        case.put_with("a", whole(pattern(SEVERAL_PIECES, 1)), &owner("old")).await?;
        drop(begin(case, &first).await?);
        case.put_with("a", whole("new"), &owner("new")).await?;
        case.expect_object("a", b"new", &owner("new")).await?;
    }
    Ok(())
}
