//! Puts: the body arrives whole, or the key keeps what it had.

use super::super::{Body, ETag, GetOptions, StoreError, StoreErrorKind, Support};
use super::case::{Case, Checked, expect, expect_kind, expect_same, headers, owner};
use super::source::{Flaw, SEVERAL_PIECES, UNREADABLE, drop_after, flawed, pattern, pieces, whole};
use super::{Check, Violation, check, with_causes};
use bytes::Bytes;
use http::HeaderMap;
use md5::{Digest, Md5};
use std::time::Instant;

pub(super) const CHECKS: &[Check] = &[
    check!(put_then_head_shows_size_etag_and_headers, [], "head tells of an object what was put"),
    check!(put_then_get_answers_the_bytes, [], "the bytes come back as they were put"),
    check!(put_takes_bytes_as_they_are, [], "no body is read as markup, chunks or text"),
    check!(put_takes_runs_of_zeros, [], "zeros at the start, in the middle and at the end are bytes like others"),
    check!(put_takes_an_empty_body, [], "an object may have no bytes"),
    check!(put_takes_an_empty_source, [], "an object may have no bytes to read"),
    check!(put_reads_a_source_in_pieces, [], "a body that is read piece by piece arrives whole"),
    check!(put_takes_a_body_for_a_directory, [], "a key that ends in a slash may have a body"),
    check!(put_replaces_the_bytes_as_a_whole, [], "a shorter body leaves nothing of a longer one, nor a longer one"),
    check!(put_is_seen_at_once, [], "list, head and get see a put that was acknowledged, also when it overwrites"),
    check!(put_moves_last_modified, [], "Last-Modified says when the object was put"),
    check!(last_modified_does_not_go_back, [], "of two changes, one after the other, the second is not the older"),
    check!(put_answers_the_etag_that_is_seen, [], "put, head, get and list name a version alike"),
    check!(put_answers_the_last_modified_that_is_seen, [], "if put says when that was, head says the same"),
    check!(etag_is_the_md5_of_the_body, [Md5ETags], "of an object put in one piece the ETag is the MD5"),
    check!(etag_changes_with_the_bytes, [], "other bytes of the same size are another version"),
    check!(a_body_that_fails_puts_nothing, [], "a body that cannot be read makes no object"),
    check!(a_body_that_fails_leaves_the_old_object, [], "a body that cannot be read replaces no object"),
    check!(a_body_that_fails_late_leaves_the_old_object, [], "a body that breaks off replaces no object"),
    check!(a_body_that_fails_is_the_cause_of_the_error, [], "the error of the body is found among the causes"),
    check!(a_source_that_answers_too_few_bytes_puts_nothing, [], "a body is put in its whole size or not at all"),
    check!(a_source_that_answers_too_many_bytes_puts_nothing, [], "a body is put in its own size or not at all"),
    check!(a_refused_put_leaves_the_old_object, [], "a put that is not valid changes nothing"),
    check!(a_put_that_is_dropped_leaves_old_or_new, [], "dropping a put leaves the old object or the new one, whole"),
    check!(a_put_that_is_dropped_stands_in_no_way, [], "after a put was dropped the key can be put and deleted"),
    check!(puts_side_by_side_leave_one_of_them, [], "of two puts at once one is there in the end, whole"),
    check!(capabilities_do_not_change, [], "what a store can do is the same at any time"),
];

async fn put_then_head_shows_size_etag_and_headers(case: &Case<'_>) -> Checked {
    for tail in ["a", "dir/", "dir/x"] {
        let etag = case.put_with(tail, whole("hello"), &owner(tail)).await?;
        let head = case.head(tail).await?;
        expect_same("size and ETag", &(5, etag), &(head.size, head.etag))?;
        case.expect_object(tail, b"hello", &owner(tail)).await?;
    }
    Ok(())
}

async fn put_then_get_answers_the_bytes(case: &Case<'_>) -> Checked {
    let body = pattern(10_000, 3);
    case.put_with("a", whole(body.clone()), &HeaderMap::new()).await?;
    case.expect_object("a", &body, &HeaderMap::new()).await
}

async fn put_takes_bytes_as_they_are(case: &Case<'_>) -> Checked {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let bodies: [&[u8]; 8] = [
        &all,
        b"\0",
        b"\n",
        b"\xef\xbb\xbfx\r\n",
        b"0\r\n\r\n",
        b"\x1f\x8b\x08",
        b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>",
        b"posix-s3 object 1 00000000\n",
    ];
    for body in bodies {
        case.put_with("a", whole(body.to_vec()), &owner("a")).await?;
        case.expect_object("a", body, &owner("a")).await?;
    }
    Ok(())
}

async fn put_takes_runs_of_zeros(case: &Case<'_>) -> Checked {
    let zeros = vec![0; SEVERAL_PIECES];
    case.put_with("zeros", pieces(zeros.clone()), &owner("zeros")).await?;
    case.expect_object("zeros", &zeros, &owner("zeros")).await?;
    let mixed = [zeros.as_slice(), b"in the middle", &zeros].concat();
    case.put_with("mixed", pieces(mixed.clone()), &owner("mixed")).await?;
    case.expect_object("mixed", &mixed, &owner("mixed")).await
}

async fn put_takes_an_empty_body(case: &Case<'_>) -> Checked {
    for tail in ["a", "dir/"] {
        case.put_with(tail, whole(""), &owner(tail)).await?;
        case.expect_object(tail, b"", &owner(tail)).await?;
    }
    case.expect_keys(&["a", "dir/"]).await
}

async fn put_takes_an_empty_source(case: &Case<'_>) -> Checked {
    case.put_with("a", pieces(""), &owner("a")).await?;
    case.expect_object("a", b"", &owner("a")).await
}

async fn put_reads_a_source_in_pieces(case: &Case<'_>) -> Checked {
    let body = pattern(SEVERAL_PIECES, 0);
    let etag = case.put_with("a", pieces(body.clone()), &owner("a")).await?;
    expect_same("the ETag", &etag, &case.head("a").await?.etag)?;
    case.expect_object("a", &body, &owner("a")).await
}

async fn put_takes_a_body_for_a_directory(case: &Case<'_>) -> Checked {
    case.put_with("dir/", whole("not read by an import"), &owner("dir/")).await?;
    case.put("dir/x", "x").await?;
    case.expect_object("dir/", b"not read by an import", &owner("dir/")).await
}

async fn put_replaces_the_bytes_as_a_whole(case: &Case<'_>) -> Checked {
    for body in ["short", "much longer than before", "s", "", "long again"] {
        case.put("a", body).await?;
        case.expect_object("a", body.as_bytes(), &HeaderMap::new()).await?;
    }
    case.expect_keys(&["a"]).await
}

async fn put_is_seen_at_once(case: &Case<'_>) -> Checked {
    for (body, headers) in [("first", owner("1")), ("the second", owner("2")), ("last", HeaderMap::new())] {
        let etag = case.put_with("a", whole(body), &headers).await?;
        case.expect_object("a", body.as_bytes(), &headers).await?;
        let listed = case.objects("a", None).await?;
        let listed: Vec<(u64, ETag)> = listed.into_iter().map(|object| (object.size, object.etag)).collect();
        expect_same("a listing of", &vec![(body.len() as u64, etag)], &listed)?;
    }
    Ok(())
}

async fn put_moves_last_modified(case: &Case<'_>) -> Checked {
    case.put("a", "first").await?;
    let (before, since) = (case.head("a").await?.last_modified, Instant::now());
    while !case.has_moved("a", before, since).await? {
        case.put("a", "again").await?;
    }
    Ok(())
}

async fn last_modified_does_not_go_back(case: &Case<'_>) -> Checked {
    let mut times = Vec::new();
    for text in ["1", "2", "3"] {
        case.put("a", text).await?;
        times.push(case.head("a").await?.last_modified);
        if case.capabilities().replace_metadata == Support::Yes {
            case.replace("a", &owner(text)).await?;
            times.push(case.head("a").await?.last_modified);
        }
    }
    expect(times.is_sorted(), "times in order", || format!("{times:?}"))
}

async fn put_answers_the_etag_that_is_seen(case: &Case<'_>) -> Checked {
    for body in ["one", "", "another"] {
        let put = case.put("a", body).await?;
        let (meta, _) = case.read("a", &GetOptions::default()).await?;
        let listed: Vec<ETag> = case.objects("a", None).await?.into_iter().map(|object| object.etag).collect();
        let seen = [vec![case.head("a").await?.etag, meta.etag], listed].concat();
        expect_same("head, get and list to answer", &vec![put; 3], &seen)?;
    }
    Ok(())
}

async fn put_answers_the_last_modified_that_is_seen(case: &Case<'_>) -> Checked {
    for body in ["one", "another"] {
        let answered = case.put_answer("a", whole(body)).await?.last_modified;
        let seen = case.head("a").await?.last_modified;
        expect(answered.is_none_or(|answered| answered == seen), "the time that head answers", || {
            format!("{answered:?}, and head answers {seen}")
        })?;
    }
    Ok(())
}

async fn etag_is_the_md5_of_the_body(case: &Case<'_>) -> Checked {
    for body in [Bytes::new(), Bytes::from("hello"), pattern(10_000, 7)] {
        let expected = ETag::from_md5(Md5::digest(&body).into());
        expect_same("the ETag", &expected, &case.put_with("a", whole(body), &HeaderMap::new()).await?)?;
    }
    Ok(())
}

async fn etag_changes_with_the_bytes(case: &Case<'_>) -> Checked {
    let one = case.put("a", "one").await?;
    let two = case.put("a", "two").await?;
    expect(one != two, "another ETag for other bytes", || format!("{two} again"))?;
    let head = case.head("a").await?.etag;
    expect_same("the ETag", &two, &head)
}

async fn a_body_that_fails_puts_nothing(case: &Case<'_>) -> Checked {
    let put = case.put_with("a", flawed("unread", Flaw::FailsFrom(0)), &owner("a")).await;
    expect_kind("put", put, StoreErrorKind::Body)?;
    case.expect_nothing("a").await
}

async fn a_body_that_fails_leaves_the_old_object(case: &Case<'_>) -> Checked {
    expect_old_object_after(case, flawed("unread", Flaw::FailsFrom(0))).await
}

async fn a_body_that_fails_late_leaves_the_old_object(case: &Case<'_>) -> Checked {
    const LATE: Flaw = Flaw::FailsFrom(2 << 20);
    expect_old_object_after(case, flawed(pattern(SEVERAL_PIECES, 0), LATE)).await
}

async fn a_source_that_answers_too_few_bytes_puts_nothing(case: &Case<'_>) -> Checked {
    expect_old_object_after(case, flawed("ten bytes.", Flaw::TooFew)).await
}

async fn a_source_that_answers_too_many_bytes_puts_nothing(case: &Case<'_>) -> Checked {
    expect_old_object_after(case, flawed("ten bytes.", Flaw::TooMany)).await
}

/// A put of this body fails, over an object and where there is none, and nothing has changed.
async fn expect_old_object_after(case: &Case<'_>, body: Body) -> Checked {
    let etag = case.put_with("old", whole("old"), &owner("old")).await?;
    for tail in ["old", "new"] {
        let put = case.put_with(tail, body.clone(), &owner("new")).await;
        expect_kind("put", put, StoreErrorKind::Body)?;
    }
    case.expect_object("old", b"old", &owner("old")).await?;
    expect_same("the ETag", &etag, &case.head("old").await?.etag)?;
    case.expect_nothing("new").await?;
    case.expect_keys(&["old"]).await
}

async fn a_body_that_fails_is_the_cause_of_the_error(case: &Case<'_>) -> Checked {
    match case.put_with("a", flawed("unread", Flaw::FailsFrom(0)), &HeaderMap::new()).await {
        Ok(_) => Err(Violation::new("put to fail", "no error")),
        Err(error) => {
            let causes = with_causes(&error);
            expect(causes.contains(UNREADABLE), "the error of the body among the causes", || causes.clone())
        }
    }
}

async fn a_refused_put_leaves_the_old_object(case: &Case<'_>) -> Checked {
    case.put_with("a", whole("old"), &owner("old")).await?;
    let too_much = headers(&[("x-amz-meta-a", &[b'x'; 3000])])?;
    let put = case.put_with("a", whole("new"), &too_much).await;
    expect_kind("put", put, StoreErrorKind::InvalidRequest)?;
    case.expect_object("a", b"old", &owner("old")).await?;
    case.expect_keys(&["a"]).await
}

async fn a_put_that_is_dropped_leaves_old_or_new(case: &Case<'_>) -> Checked {
    let new = pattern(SEVERAL_PIECES, 1);
    for polls in 1..6 {
        case.put_with("a", whole("old"), &owner("old")).await?;
        drop_after(polls, case.put_with("a", pieces(new.clone()), &owner("new"))).await;
        case.expect_one_of("a", &[(b"old", &owner("old")), (&new, &owner("new"))]).await?;
        case.expect_keys(&["a"]).await?;
    }
    Ok(())
}

async fn a_put_that_is_dropped_stands_in_no_way(case: &Case<'_>) -> Checked {
    for polls in 1..4 {
        drop_after(polls, case.put_with("a", pieces(pattern(SEVERAL_PIECES, 1)), &owner("dropped"))).await;
        case.put_with("a", whole("next"), &owner("next")).await?;
        case.expect_object("a", b"next", &owner("next")).await?;
        case.delete("a").await?;
        case.expect_nothing("a").await?;
    }
    Ok(())
}

async fn puts_side_by_side_leave_one_of_them(case: &Case<'_>) -> Checked {
    let (left, right) = (pattern(SEVERAL_PIECES, 1), pattern(SEVERAL_PIECES, 2));
    let put = |body: &Bytes, text: &'static str| {
        let body = pieces(body.clone());
        async move { case.put_with("a", body, &owner(text)).await }
    };
    let (one, other) = futures_util::future::join(put(&left, "left"), put(&right, "right")).await;
    let etags: Vec<ETag> = [one, other].into_iter().collect::<Result<_, StoreError>>()?;
    case.expect_one_of("a", &[(&left, &owner("left")), (&right, &owner("right"))]).await?;
    let head = case.head("a").await?.etag;
    expect(etags.contains(&head), "the ETag of one of the puts", || head.to_string())
}

async fn capabilities_do_not_change(case: &Case<'_>) -> Checked {
    let before = case.capabilities();
    case.put("a", "x").await?;
    expect_same("the capabilities", &before, &case.capabilities())?;
    case.delete("a").await?;
    expect_same("the capabilities", &before, &case.capabilities())
}
