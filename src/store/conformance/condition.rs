//! Preconditions: a change happens in the state of the key that it names, or not at all.

use super::super::{ETag, Precondition, StoreError, StoreErrorKind};
use super::case::{Case, Checked, expect, expect_kind, expect_same, owner};
use super::source::{pieces, whole};
use super::{Check, Violation, check, with_causes};
use futures_util::future::join;
use http::HeaderMap;

pub(super) const CHECKS: &[Check] = &[
    check!(put_if_absent_makes_an_object, [Preconditions], "a key that holds nothing is put"),
    check!(put_if_absent_refuses_a_key_that_is_there, [Preconditions], "a key that holds something stays as it is"),
    check!(put_if_absent_goes_on_after_a_delete, [Preconditions], "a key that was deleted holds nothing"),
    check!(put_if_absent_knows_directories_apart, [Preconditions], "`dir/x` and `dir` say nothing about `dir/`"),
    check!(put_if_match_replaces_the_version_named, [Preconditions], "the version that is there is replaced"),
    check!(put_if_match_refuses_another_version, [Preconditions], "a version that came in between is not overwritten"),
    check!(put_if_match_refuses_a_missing_key, [Preconditions], "a version of nothing is not there"),
    check!(delete_if_match_deletes_the_version_named, [Preconditions], "the version that is there is deleted"),
    check!(delete_if_match_refuses_another_version, [Preconditions], "a version that came in between is not deleted"),
    check!(delete_if_match_refuses_a_missing_key, [Preconditions], "a version of nothing is not there"),
    check!(
        delete_if_absent_deletes_nothing,
        [Preconditions],
        "what is there is not absent; what is not needs no delete"
    ),
    check!(
        replace_metadata_if_match_replaces_the_version_named,
        [ReplaceMetadata, Preconditions],
        "headers are replaced while the bytes are those of the version"
    ),
    check!(
        replace_metadata_if_match_refuses_another_version,
        [ReplaceMetadata, Preconditions],
        "headers do not go to bytes that came in between"
    ),
    check!(
        replace_metadata_if_match_refuses_a_missing_key,
        [ReplaceMetadata, Preconditions],
        "a version of nothing is not there"
    ),
    check!(
        replace_metadata_if_absent_is_refused,
        [ReplaceMetadata, Preconditions],
        "there is no metadata to replace where there is nothing"
    ),
    check!(replaced_metadata_is_the_same_version, [ReplaceMetadata, Preconditions], "a version is of bytes"),
    check!(of_two_puts_if_absent_one_happens, [Preconditions], "of two at once, exactly one makes the object"),
    check!(of_two_puts_if_match_one_happens, [Preconditions], "of two at once, exactly one replaces the version"),
    check!(of_a_put_and_a_delete_if_match_one_happens, [Preconditions], "of two at once, exactly one happens"),
];

const FAILED: StoreErrorKind = StoreErrorKind::PreconditionFailed;

/// A version that the key has had, and has no more.
async fn outdated(case: &Case<'_>) -> Result<ETag, StoreError> {
    let outdated = case.put("a", "outdated").await?;
    case.put_with("a", whole("current"), &owner("current")).await?;
    Ok(outdated)
}

/// The key is as [`outdated`] has left it.
async fn expect_untouched(case: &Case<'_>) -> Checked {
    case.expect_object("a", b"current", &owner("current")).await
}

async fn put_if_absent_makes_an_object(case: &Case<'_>) -> Checked {
    for tail in ["a", "a/", "a/b"] {
        case.put_if(tail, whole("new"), Precondition::Absent).await?;
        case.expect_object(tail, b"new", &HeaderMap::new()).await?;
    }
    Ok(())
}

async fn put_if_absent_refuses_a_key_that_is_there(case: &Case<'_>) -> Checked {
    outdated(case).await?;
    for body in [whole("new"), pieces("new"), whole("current")] {
        expect_kind("put", case.put_if("a", body, Precondition::Absent).await, FAILED)?;
        expect_untouched(case).await?;
    }
    Ok(())
}

async fn put_if_absent_goes_on_after_a_delete(case: &Case<'_>) -> Checked {
    case.put_if("a", whole("old"), Precondition::Absent).await?;
    case.delete("a").await?;
    case.put_if("a", whole("new"), Precondition::Absent).await?;
    case.expect_object("a", b"new", &HeaderMap::new()).await
}

async fn put_if_absent_knows_directories_apart(case: &Case<'_>) -> Checked {
    for tail in ["dir/x", "dir", "dir/"] {
        case.put_if(tail, whole(tail), Precondition::Absent).await?;
    }
    expect_kind("put", case.put_if("dir/", whole("again"), Precondition::Absent).await, FAILED)?;
    case.expect_object("dir/", b"dir/", &HeaderMap::new()).await
}

async fn put_if_match_replaces_the_version_named(case: &Case<'_>) -> Checked {
    let mut etag = case.put("a", "first").await?;
    for body in ["second", "third", ""] {
        etag = case.put_if("a", pieces(body), Precondition::Match(etag)).await?;
        case.expect_object("a", body.as_bytes(), &HeaderMap::new()).await?;
    }
    Ok(())
}

async fn put_if_match_refuses_another_version(case: &Case<'_>) -> Checked {
    let outdated = outdated(case).await?;
    for body in [whole("new"), pieces("new")] {
        expect_kind("put", case.put_if("a", body, Precondition::Match(outdated.clone())).await, FAILED)?;
        expect_untouched(case).await?;
    }
    Ok(())
}

async fn put_if_match_refuses_a_missing_key(case: &Case<'_>) -> Checked {
    let etag = case.put("a", "x").await?;
    case.delete("a").await?;
    for tail in ["a", "a/"] {
        expect_kind("put", case.put_if(tail, whole("new"), Precondition::Match(etag.clone())).await, FAILED)?;
        case.expect_nothing(tail).await?;
    }
    Ok(())
}

async fn delete_if_match_deletes_the_version_named(case: &Case<'_>) -> Checked {
    case.put("a", "old").await?;
    let etag = case.put("a", "new").await?;
    case.delete_if("a", Precondition::Match(etag)).await?;
    case.expect_nothing("a").await
}

async fn delete_if_match_refuses_another_version(case: &Case<'_>) -> Checked {
    let outdated = outdated(case).await?;
    expect_kind("delete", case.delete_if("a", Precondition::Match(outdated)).await, FAILED)?;
    expect_untouched(case).await
}

async fn delete_if_match_refuses_a_missing_key(case: &Case<'_>) -> Checked {
    let etag = case.put("a", "x").await?;
    case.delete("a").await?;
    expect_kind("delete", case.delete_if("a", Precondition::Match(etag)).await, FAILED)
}

async fn delete_if_absent_deletes_nothing(case: &Case<'_>) -> Checked {
    case.delete_if("a", Precondition::Absent).await?;
    outdated(case).await?;
    expect_kind("delete", case.delete_if("a", Precondition::Absent).await, FAILED)?;
    expect_untouched(case).await
}

async fn replace_metadata_if_match_replaces_the_version_named(case: &Case<'_>) -> Checked {
    let etag = case.put_with("a", whole("x"), &owner("old")).await?;
    let replaced = case.replace_if("a", &owner("new"), Precondition::Match(etag.clone())).await?;
    expect_same("the ETag", &etag, &replaced)?;
    case.expect_object("a", b"x", &owner("new")).await
}

async fn replace_metadata_if_match_refuses_another_version(case: &Case<'_>) -> Checked {
    let outdated = outdated(case).await?;
    let replaced = case.replace_if("a", &owner("new"), Precondition::Match(outdated)).await;
    expect_kind("replacing the metadata", replaced, FAILED)?;
    expect_untouched(case).await
}

/// Both what is missing and what was named are reasons to fail.
async fn replace_metadata_if_match_refuses_a_missing_key(case: &Case<'_>) -> Checked {
    let etag = case.put("a", "x").await?;
    case.delete("a").await?;
    let replaced = case.replace_if("a", &owner("new"), Precondition::Match(etag)).await;
    if !matches!(&replaced, Err(error) if error.kind() == StoreErrorKind::NotFound) {
        expect_kind("replacing the metadata", replaced, FAILED)?;
    }
    case.expect_nothing("a").await
}

async fn replace_metadata_if_absent_is_refused(case: &Case<'_>) -> Checked {
    outdated(case).await?;
    let replaced = case.replace_if("a", &owner("new"), Precondition::Absent).await;
    expect_kind("replacing the metadata", replaced, FAILED)?;
    expect_untouched(case).await
}

async fn replaced_metadata_is_the_same_version(case: &Case<'_>) -> Checked {
    let etag = case.put("a", "x").await?;
    case.replace("a", &owner("new")).await?;
    let new = case.put_if("a", whole("y"), Precondition::Match(etag)).await?;
    case.replace("a", &owner("newer")).await?;
    case.delete_if("a", Precondition::Match(new)).await?;
    case.expect_nothing("a").await
}

/// Which of two calls happened; exactly one did. The other may also be told to try again.
fn winner<A, B>(left: Result<A, StoreError>, right: Result<B, StoreError>) -> Checked<Side> {
    let (error, side) = match (left.err(), right.err()) {
        (Some(error), None) => (error, Side::Right),
        (None, Some(error)) => (error, Side::Left),
        (None, None) => return Err(Violation::new("one call to happen", "both did")),
        (Some(error), Some(_)) => return Err(Violation::new("one call to happen", with_causes(&error))),
    };
    let lost = error.kind() == FAILED || error.kind().is_retryable();
    expect(lost, "the other to fail with PreconditionFailed", || with_causes(&error))?;
    Ok(side)
}

enum Side {
    Left,
    Right,
}

/// How often two calls are made at once; some stores let one be first more often than the other.
const ROUNDS: [&str; 3] = ["a", "b", "c/"];

async fn of_two_puts_if_absent_one_happens(case: &Case<'_>) -> Checked {
    for tail in ROUNDS {
        let put = |text: &'static str| case.put_if(tail, pieces(text), Precondition::Absent);
        let (left, right) = join(put("left"), put("right")).await;
        expect_winner(case, tail, &winner(left, right)?).await?;
    }
    Ok(())
}

async fn of_two_puts_if_match_one_happens(case: &Case<'_>) -> Checked {
    for tail in ROUNDS {
        let etag = case.put(tail, "before").await?;
        let put = |text: &'static str| case.put_if(tail, pieces(text), Precondition::Match(etag.clone()));
        let (left, right) = join(put("left"), put("right")).await;
        expect_winner(case, tail, &winner(left, right)?).await?;
    }
    Ok(())
}

async fn expect_winner(case: &Case<'_>, tail: &str, side: &Side) -> Checked {
    let body: &[u8] = match side {
        Side::Left => b"left",
        Side::Right => b"right",
    };
    case.expect_object(tail, body, &HeaderMap::new()).await
}

async fn of_a_put_and_a_delete_if_match_one_happens(case: &Case<'_>) -> Checked {
    for tail in ROUNDS {
        let etag = case.put(tail, "before").await?;
        let named = || Precondition::Match(etag.clone());
        let (put, delete) = join(case.put_if(tail, pieces("put"), named()), case.delete_if(tail, named())).await;
        match winner(put, delete)? {
            Side::Left => case.expect_object(tail, b"put", &HeaderMap::new()).await?,
            Side::Right => case.expect_nothing(tail).await?,
        }
    }
    Ok(())
}
