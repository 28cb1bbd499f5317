//! Metadata replaced in place: the bytes and their version stay.

use super::super::StoreErrorKind;
use super::case::{Case, Checked, expect, expect_kind, expect_same, headers, owner};
use super::source::{SEVERAL_PIECES, drop_after, pattern, pieces, whole};
use super::{Check, check};
use crate::metadata::USER_METADATA_LIMIT;
use futures_util::future::join;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use std::time::Instant;

pub(super) const CHECKS: &[Check] = &[
    check!(replace_metadata_keeps_bytes_and_etag, [ReplaceMetadata], "the bytes and their version stay"),
    check!(replace_metadata_replaces_headers_as_a_whole, [ReplaceMetadata], "nothing of the headers before is left"),
    check!(replace_metadata_may_remove_all_headers, [ReplaceMetadata], "replacing by nothing leaves nothing"),
    check!(replace_metadata_may_change_nothing, [ReplaceMetadata], "the same headers once more are no error"),
    check!(
        replace_metadata_moves_last_modified,
        [ReplaceMetadata],
        "Last-Modified says when the metadata was replaced"
    ),
    check!(
        replace_metadata_answers_the_last_modified_that_is_seen,
        [ReplaceMetadata],
        "if it says when that was, head says the same"
    ),
    check!(replace_metadata_is_seen_at_once, [ReplaceMetadata], "list, head and get see it once it was acknowledged"),
    check!(replace_metadata_of_a_missing_key_is_not_found, [ReplaceMetadata], "it makes no object"),
    check!(replace_metadata_of_a_directory_is_its_own, [ReplaceMetadata], "`dir/` changes, `dir` and `dir/x` do not"),
    check!(replace_metadata_takes_2_kb, [ReplaceMetadata], "as much user metadata is taken as by a put"),
    check!(replace_metadata_refuses_more_than_2_kb, [ReplaceMetadata], "more is refused and changes nothing"),
    check!(replace_metadata_that_is_dropped_leaves_old_or_new, [ReplaceMetadata], "the headers before or the new ones"),
    check!(replace_metadata_beside_a_put_mixes_nothing, [ReplaceMetadata], "the bytes that were put last are there"),
];

async fn replace_metadata_keeps_bytes_and_etag(case: &Case<'_>) -> Checked {
    let large = pattern(SEVERAL_PIECES, 0);
    for body in [whole("some bytes"), whole(""), pieces(large)] {
        let put = case.put_with("a", body, &owner("old")).await?;
        let (_, bytes) = case.read("a", &Default::default()).await?;
        let replaced = case.replace("a", &owner("new")).await?;
        expect_same("the ETag", &put, &replaced)?;
        expect_same("the ETag", &put, &case.head("a").await?.etag)?;
        case.expect_object("a", &bytes, &owner("new")).await?;
    }
    Ok(())
}

async fn replace_metadata_replaces_headers_as_a_whole(case: &Case<'_>) -> Checked {
    let old = headers(&[("x-amz-meta-a", b"1"), ("x-amz-meta-b", b"1"), ("content-type", b"text/x-old")])?;
    case.put_with("a", whole("x"), &old).await?;
    let new = headers(&[("x-amz-meta-b", b"2"), ("x-amz-meta-c", b"2"), ("content-type", b"text/x-new")])?;
    case.replace("a", &new).await?;
    case.expect_object("a", b"x", &new).await
}

async fn replace_metadata_may_remove_all_headers(case: &Case<'_>) -> Checked {
    let old = headers(&[("x-amz-meta-a", b"1"), ("content-type", b"text/x-old")])?;
    case.put_with("a", whole("x"), &old).await?;
    case.replace("a", &HeaderMap::new()).await?;
    case.expect_object("a", b"x", &HeaderMap::new()).await?;
    let found = case.head("a").await?.headers;
    expect(found.get(CONTENT_TYPE) != old.get(CONTENT_TYPE), "no content type text/x-old", || format!("{found:?}"))
}

async fn replace_metadata_may_change_nothing(case: &Case<'_>) -> Checked {
    case.put_with("a", whole("x"), &owner("same")).await?;
    for _ in 0..2 {
        case.replace("a", &owner("same")).await?;
        case.expect_object("a", b"x", &owner("same")).await?;
    }
    Ok(())
}

async fn replace_metadata_moves_last_modified(case: &Case<'_>) -> Checked {
    case.put("a", "x").await?;
    let (before, since) = (case.head("a").await?.last_modified, Instant::now());
    while !case.has_moved("a", before, since).await? {
        case.replace("a", &owner("new")).await?;
    }
    Ok(())
}

async fn replace_metadata_answers_the_last_modified_that_is_seen(case: &Case<'_>) -> Checked {
    case.put("a", "x").await?;
    let answered = case.replace_answer("a", &owner("new")).await?.last_modified;
    let seen = case.head("a").await?.last_modified;
    expect(answered.is_none_or(|answered| answered == seen), "the time that head answers", || {
        format!("{answered:?}, and head answers {seen}")
    })
}

async fn replace_metadata_is_seen_at_once(case: &Case<'_>) -> Checked {
    case.put_with("a", whole("x"), &owner("0")).await?;
    for text in ["1", "2", "3"] {
        case.replace("a", &owner(text)).await?;
        case.expect_object("a", b"x", &owner(text)).await?;
        let head = case.head("a").await?;
        let listed = case.objects("a", None).await?;
        let listed: Vec<_> = listed.into_iter().map(|object| (object.etag, object.last_modified.seconds())).collect();
        expect_same("a listing of", &vec![(head.etag, head.last_modified.seconds())], &listed)?;
    }
    case.expect_keys(&["a"]).await
}

async fn replace_metadata_of_a_missing_key_is_not_found(case: &Case<'_>) -> Checked {
    case.put("dir/x", "x").await?;
    for tail in ["a", "dir", "dir/", "dir/x/"] {
        expect_kind("replacing the metadata", case.replace(tail, &owner(tail)).await, StoreErrorKind::NotFound)?;
        case.expect_nothing(tail).await?;
    }
    case.expect_keys(&["dir/x"]).await
}

async fn replace_metadata_of_a_directory_is_its_own(case: &Case<'_>) -> Checked {
    for tail in ["dir", "dir/", "dir/x"] {
        case.put_with(tail, whole(tail), &owner(tail)).await?;
    }
    case.replace("dir/", &owner("new")).await?;
    case.expect_object("dir/", b"dir/", &owner("new")).await?;
    case.expect_object("dir", b"dir", &owner("dir")).await?;
    case.expect_object("dir/x", b"dir/x", &owner("dir/x")).await
}

/// User metadata of a size, as S3 counts it, in one header.
fn user_metadata_of(bytes: usize) -> Checked<HeaderMap> {
    headers(&[("x-amz-meta-a", vec![b'x'; bytes.saturating_sub(1)].as_slice())])
}

async fn replace_metadata_takes_2_kb(case: &Case<'_>) -> Checked {
    case.put("a", "x").await?;
    let most = user_metadata_of(USER_METADATA_LIMIT)?;
    case.replace("a", &most).await?;
    case.expect_object("a", b"x", &most).await
}

async fn replace_metadata_refuses_more_than_2_kb(case: &Case<'_>) -> Checked {
    case.put_with("a", whole("x"), &owner("old")).await?;
    let replaced = case.replace("a", &user_metadata_of(USER_METADATA_LIMIT + 1)?).await;
    expect_kind("replacing the metadata", replaced, StoreErrorKind::InvalidRequest)?;
    case.expect_object("a", b"x", &owner("old")).await
}

async fn replace_metadata_that_is_dropped_leaves_old_or_new(case: &Case<'_>) -> Checked {
    for polls in 1..4 {
        case.put_with("a", whole("x"), &owner("old")).await?;
        drop_after(polls, case.replace("a", &owner("new"))).await;
        case.expect_one_of("a", &[(b"x", &owner("old")), (b"x", &owner("new"))]).await?;
        case.replace("a", &owner("next")).await?;
        case.expect_object("a", b"x", &owner("next")).await?;
    }
    Ok(())
}

async fn replace_metadata_beside_a_put_mixes_nothing(case: &Case<'_>) -> Checked {
    let (put_headers, replaced_headers) = (owner("put"), owner("replaced"));
    case.put_with("a", whole("old"), &owner("old")).await?;
    let (put, replaced) =
        join(case.put_with("a", pieces("new"), &put_headers), case.replace("a", &replaced_headers)).await;
    put?;
    if let Err(error) = replaced
        && error.kind() != StoreErrorKind::PreconditionFailed
        && !error.kind().is_retryable()
    {
        return Err(error.into());
    }
    case.expect_one_of("a", &[(b"new", &put_headers), (b"new", &replaced_headers)]).await
}
