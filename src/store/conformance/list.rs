//! Listings: key order, prefixes, pages.

use super::super::{ListRequest, StoreErrorKind};
use super::case::{Case, Checked, expect, expect_kind, expect_same, expect_same_keys, owner};
use super::source::whole;
use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check!(list_is_in_key_order, [OrderedListing], "keys come in the byte order of the whole key"),
    check!(list_order_is_that_of_utf_8, [OrderedListing], "characters come in the order of their UTF-8, not UTF-16"),
    check!(list_order_goes_on_across_pages, [OrderedListing], "a page begins behind the page before"),
    check!(list_shows_each_key_once, [], "no key comes twice, on one page or on two"),
    check!(list_shows_keys_only, [], "what lies between two slashes is not listed unless it is an object"),
    check!(list_pages_join_to_the_whole, [], "pages of any size hold the same keys together"),
    check!(list_page_is_no_longer_than_asked, [], "a page holds at most as many keys as asked for"),
    check!(list_of_nothing_is_empty, [], "a prefix without keys is an empty listing, not an error"),
    check!(list_prefix_is_text, [], "a prefix ends anywhere: `a` also finds `a-b`"),
    check!(list_prefix_is_compared_exactly, [], "no character of a prefix is a pattern or stands for another"),
    check!(list_prefix_finds_the_key_itself, [], "a key starts with itself"),
    check!(list_shows_size_and_etag, [], "a listing says of each object what head says"),
    check!(list_and_head_agree_on_last_modified, [], "a listing has the same Last-Modified as head, to the second"),
    check!(list_token_goes_on_after_the_last_key_was_deleted, [], "a page goes on where the one before has ended"),
    check!(list_token_can_be_used_again, [], "a page whose answer was lost can be asked for again"),
    check!(list_token_of_no_store_is_refused, [], "a token that the store has not made is an invalid request"),
    check!(list_holds_what_was_there_all_along, [], "keys that come and go hide no others"),
    check!(listings_do_not_disturb_each_other, [], "two listings can be read in turns"),
];

/// Keys whose order is easily got wrong, in key order.
const SIBLINGS: [&str; 14] = ["A", "a", "a b", "a!", "a-", "a-b", "a.b", "a/", "a//", "a/b", "a/b/c", "a0", "aa", "b"];

async fn put_all(case: &Case<'_>, tails: &[&str]) -> Checked {
    // Not in order, so that a store which lists by age is found out.
    for tail in tails.iter().rev().step_by(2).chain(tails.iter().rev().skip(1).step_by(2)) {
        case.put(tail, "x").await?;
    }
    Ok(())
}

async fn list_is_in_key_order(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    expect_same("the keys in order,", SIBLINGS.as_slice(), strs(&case.tails("", None).await?).as_slice())
}

async fn list_order_is_that_of_utf_8(case: &Case<'_>) -> Checked {
    let tails = ["\u{7f}", "e\u{301}", "\u{e9}", "\u{d7ff}", "\u{e000}", "\u{ff5e}", "\u{10000}", "\u{1f600}"];
    // Invariant: `sorted` sorts bytes, as the comparison of strings does.
    let mut sorted = tails;
    sorted.sort_unstable();
    put_all(case, &tails).await?;
    expect_same("the keys in order,", sorted.as_slice(), strs(&case.tails("", None).await?).as_slice())
}

async fn list_order_goes_on_across_pages(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    for size in [1, 2, 5] {
        let found = case.tails("", Some(size)).await?;
        expect_same("the keys in order,", SIBLINGS.as_slice(), strs(&found).as_slice())?;
    }
    Ok(())
}

async fn list_shows_each_key_once(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    for tail in ["a", "a/"] {
        case.put(tail, "put once more").await?;
    }
    for size in [None, Some(1), Some(3)] {
        let mut found = case.tails("", size).await?;
        found.sort_unstable();
        let twice = found.iter().zip(found.iter().skip(1)).find(|(left, right)| left == right);
        expect(twice.is_none(), "each key once", || format!("{found:?}"))?;
    }
    Ok(())
}

async fn list_shows_keys_only(case: &Case<'_>) -> Checked {
    case.put("a/b/c", "x").await?;
    case.expect_keys(&["a/b/c"]).await?;
    case.put("a/b/d/e", "x").await?;
    case.delete("a/b/c").await?;
    case.expect_keys(&["a/b/d/e"]).await
}

async fn list_pages_join_to_the_whole(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    for size in [None, Some(1), Some(2), Some(3), Some(7), Some(13), Some(14), Some(15), Some(1000)] {
        expect_same_keys(&SIBLINGS, &case.tails("", size).await?)?;
    }
    expect_same_keys(&["a/", "a//", "a/b", "a/b/c"], &case.tails("a/", Some(1)).await?)
}

async fn list_page_is_no_longer_than_asked(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    for size in [1, 2, 13] {
        for page in case.pages("", Some(size)).await? {
            let found = page.objects.len();
            expect(found <= usize::from(size), &format!("at most {size} keys on a page"), || found.to_string())?;
        }
    }
    Ok(())
}

async fn list_of_nothing_is_empty(case: &Case<'_>) -> Checked {
    case.expect_keys(&[]).await?;
    case.put("a", "x").await?;
    expect_same_keys(&[], &case.tails("b", None).await?)?;
    expect_same_keys(&[], &case.tails("a/", Some(1)).await?)
}

async fn list_prefix_is_text(case: &Case<'_>) -> Checked {
    put_all(case, &["a", "a-b", "a/", "a/x", "ab/c", "b", "b/a"]).await?;
    expect_same_keys(&["a", "a-b", "a/", "a/x", "ab/c"], &case.tails("a", Some(2)).await?)?;
    expect_same_keys(&["a/", "a/x"], &case.tails("a/", Some(1)).await?)?;
    expect_same_keys(&["ab/c"], &case.tails("ab/", None).await?)?;
    expect_same_keys(&["b/a"], &case.tails("b/a", None).await?)
}

async fn list_prefix_is_compared_exactly(case: &Case<'_>) -> Checked {
    let tails = ["A/x", "a/x", "a//x", "a/./x", "%61/x", "a b/x", "a+b/x", "a*/x", "ab/x", "\u{e9}/x", "e\u{301}/x"];
    put_all(case, &tails).await?;
    for tail in tails {
        let (directory, _) = tail.split_at(tail.len().saturating_sub(1));
        expect_same_keys(&starting_with(directory, &tails), &case.tails(directory, Some(1)).await?)?;
    }
    expect_same_keys(&starting_with("a*", &tails), &case.tails("a*", None).await?)
}

fn starting_with<'a>(prefix: &str, tails: &[&'a str]) -> Vec<&'a str> {
    tails.iter().copied().filter(|tail| tail.starts_with(prefix)).collect()
}

async fn list_prefix_finds_the_key_itself(case: &Case<'_>) -> Checked {
    put_all(case, &["", "a", "a/"]).await?;
    case.expect_keys(&["", "a", "a/"]).await?;
    expect_same_keys(&["a/"], &case.tails("a/", None).await?)
}

async fn list_shows_size_and_etag(case: &Case<'_>) -> Checked {
    for (tail, body) in [("a", "some"), ("b", ""), ("dir/", ""), ("dir/x", "other bytes")] {
        let etag = case.put_with(tail, whole(body), &owner(tail)).await?;
        let listed = case.objects(tail, None).await?;
        let tails = case.tails_of(&listed)?;
        let found = listed.into_iter().zip(tails).find(|(_, found)| found == tail);
        let found = found.map(|(object, _)| (object.size, object.etag));
        expect_same(&format!("size and ETag of {tail:?}"), &Some((body.len() as u64, etag)), &found)?;
    }
    Ok(())
}

async fn list_and_head_agree_on_last_modified(case: &Case<'_>) -> Checked {
    for tail in ["a", "dir/"] {
        case.put(tail, "x").await?;
        let head = case.head(tail).await?.last_modified.seconds();
        let listed = case.objects(tail, None).await?;
        let listed: Vec<i64> = listed.iter().map(|object| object.last_modified.seconds()).collect();
        expect_same("a Last-Modified in seconds of", &vec![head], &listed)?;
    }
    Ok(())
}

async fn list_token_goes_on_after_the_last_key_was_deleted(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    let mut found: Vec<String> = Vec::new();
    let mut token = None;
    loop {
        let page = case.page("", token, Some(2)).await?;
        let tails = case.tails_of(&page.objects)?;
        for tail in &tails {
            case.delete(tail).await?;
        }
        found.extend(tails);
        token = page.next;
        if token.is_none() || found.len() > SIBLINGS.len() {
            return expect_same_keys(&SIBLINGS, &found);
        }
    }
}

async fn list_token_can_be_used_again(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    let token = case.page("", None, Some(3)).await?.next;
    let once = case.page("", token.clone(), Some(3)).await?;
    case.page("", once.next, Some(3)).await?;
    let again = case.page("", token, Some(3)).await?;
    expect_same("the same page again,", &case.tails_of(&once.objects)?, &case.tails_of(&again.objects)?)
}

async fn list_token_of_no_store_is_refused(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    let token = Some("no token\u{1}\u{10ffff} of any store".to_owned());
    let request = ListRequest { prefix: case.key(""), token, max_keys: None };
    expect_kind("list", case.store().boxed_list(&request).await, StoreErrorKind::InvalidRequest)
}

async fn list_holds_what_was_there_all_along(case: &Case<'_>) -> Checked {
    let steady = ["b", "b/", "b/a", "c", "d/e/f", "d0", "e"];
    put_all(case, &steady).await?;
    put_all(case, &["a", "b/b", "d/e/a", "f"]).await?;
    let mut found: Vec<String> = Vec::new();
    let mut token = None;
    for (gone, come) in
        [("a", "0"), ("b/b", "b/c"), ("d/e/a", "d/e/a/"), ("f", "g"), ("g", "a"), ("0", "d"), ("d", "f")]
    {
        let page = case.page("", token, Some(2)).await?;
        found.extend(case.tails_of(&page.objects)?);
        case.delete(gone).await?;
        case.put(come, "x").await?;
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    while token.is_some() {
        let page = case.page("", token, None).await?;
        found.extend(case.tails_of(&page.objects)?);
        token = page.next;
    }
    found.retain(|tail| steady.contains(&tail.as_str()));
    expect_same_keys(&steady, &found)
}

async fn listings_do_not_disturb_each_other(case: &Case<'_>) -> Checked {
    put_all(case, &SIBLINGS).await?;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let first = case.page("", None, Some(3)).await?;
    let second = case.page("a", None, Some(3)).await?;
    let (mut left_token, mut right_token) = (first.next, second.next);
    left.extend(case.tails_of(&first.objects)?);
    right.extend(case.tails_of(&second.objects)?);
    while left_token.is_some() || right_token.is_some() {
        for (prefix, token, found) in [("", &mut left_token, &mut left), ("a", &mut right_token, &mut right)] {
            if token.is_some() && found.len() <= SIBLINGS.len() {
                let page = case.page(prefix, token.take(), Some(3)).await?;
                found.extend(case.tails_of(&page.objects)?);
                *token = page.next;
            } else {
                *token = None;
            }
        }
    }
    expect_same_keys(&SIBLINGS, &left)?;
    expect_same_keys(&starting_with("a", &SIBLINGS), &right)
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
