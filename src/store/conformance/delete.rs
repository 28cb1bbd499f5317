//! Deletes: of one key, and of no other.

use super::super::{ETag, StoreErrorKind};
use super::case::{Case, Checked, expect_kind, owner};
use super::source::{drop_after, whole};
use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check!(delete_removes_the_object, [], "list, head and get see a delete that was acknowledged"),
    check!(delete_of_a_missing_key_is_no_error, [], "that there is nothing to delete is no error"),
    check!(delete_of_a_directory_leaves_its_contents, [], "deleting `dir/` leaves `dir` and `dir/x`"),
    check!(delete_of_the_contents_leaves_the_directory, [], "deleting the last `dir/x` leaves `dir/`"),
    check!(delete_is_of_one_key, [], "keys that start with the one that is deleted stay"),
    check!(delete_then_put_is_a_new_object, [], "nothing is left of an object that was deleted"),
    check!(a_delete_that_is_dropped_leaves_the_object_or_nothing, [], "dropping a delete leaves all or nothing"),
];

async fn put_all(case: &Case<'_>, tails: &[&'static str]) -> Checked {
    for &tail in tails {
        case.put_with(tail, whole(tail), &owner(tail)).await?;
    }
    Ok(())
}

/// The keys hold what [`put_all`] has put, and there are no others.
async fn expect_left(case: &Case<'_>, tails: &[&str]) -> Checked {
    for tail in tails {
        case.expect_object(tail, tail.as_bytes(), &owner(tail)).await?;
    }
    case.expect_keys(tails).await
}

async fn delete_removes_the_object(case: &Case<'_>) -> Checked {
    put_all(case, &["a", "b", "dir/"]).await?;
    for tail in ["a", "dir/"] {
        case.delete(tail).await?;
        case.expect_nothing(tail).await?;
    }
    expect_left(case, &["b"]).await
}

async fn delete_of_a_missing_key_is_no_error(case: &Case<'_>) -> Checked {
    put_all(case, &["dir/x", "b"]).await?;
    for tail in ["a", "a/", "a/b/c", "dir", "dir/", "dir/x/", "dir/x/y"] {
        case.delete(tail).await?;
    }
    case.delete("b").await?;
    case.delete("b").await?;
    expect_left(case, &["dir/x"]).await
}

async fn delete_of_a_directory_leaves_its_contents(case: &Case<'_>) -> Checked {
    put_all(case, &["dir", "dir/", "dir/x", "dir/y/"]).await?;
    case.delete("dir/").await?;
    expect_left(case, &["dir", "dir/x", "dir/y/"]).await?;
    case.delete("dir").await?;
    expect_left(case, &["dir/x", "dir/y/"]).await
}

async fn delete_of_the_contents_leaves_the_directory(case: &Case<'_>) -> Checked {
    put_all(case, &["dir/", "dir/x", "dir/y/z", "other/x"]).await?;
    for tail in ["dir/y/z", "dir/x", "other/x"] {
        case.delete(tail).await?;
    }
    expect_left(case, &["dir/"]).await
}

async fn delete_is_of_one_key(case: &Case<'_>) -> Checked {
    put_all(case, &["a", "ab", "a-", "a/b", "A", "*", "a*"]).await?;
    for tail in ["*", "a*", "a"] {
        case.delete(tail).await?;
    }
    expect_left(case, &["ab", "a-", "a/b", "A"]).await
}

async fn delete_then_put_is_a_new_object(case: &Case<'_>) -> Checked {
    case.put_with("a", whole("old and longer"), &owner("old")).await?;
    case.delete("a").await?;
    case.put("a", "new").await?;
    case.expect_object("a", b"new", &Default::default()).await?;
    case.expect_keys(&["a"]).await
}

async fn a_delete_that_is_dropped_leaves_the_object_or_nothing(case: &Case<'_>) -> Checked {
    for polls in 1..4 {
        put_all(case, &["a"]).await?;
        drop_after(polls, case.delete("a")).await;
        match case.head("a").await {
            Ok(_) => expect_left(case, &["a"]).await?,
            Err(error) => {
                expect_kind("head", Err::<ETag, _>(error), StoreErrorKind::NotFound)?;
                case.expect_nothing("a").await?;
            }
        }
    }
    Ok(())
}
