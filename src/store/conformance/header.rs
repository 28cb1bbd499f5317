//! Headers: `Content-Type` and user metadata, kept with the object.

use super::super::{GetOptions, StoreErrorKind};
use super::case::{Case, Checked, expect, expect_headers, expect_kind, expect_same, headers, kept, owner};
use super::source::whole;
use super::{Check, check};
use crate::metadata::{MISSING_META, USER_METADATA_LIMIT, user_metadata_size};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

pub(super) const CHECKS: &[Check] = &[
    check!(header_values_are_kept_byte_for_byte, [], "a value of printable ASCII comes back as it was put"),
    check!(empty_header_values_are_kept, [], "a value may be empty, which is not the same as absent"),
    check!(header_values_beyond_ascii_are_not_falsified, [], "a value is kept, refused or seen to be distorted"),
    check!(header_names_ignore_case, [], "a name in capitals is the same name"),
    check!(several_user_metadata_are_kept, [], "each of many user metadata is kept"),
    check!(
        repeated_header_names_lose_no_value,
        [],
        "values of one name come back all, each by itself or joined by commas"
    ),
    check!(content_type_is_kept, [], "`Content-Type` comes back as it was put"),
    check!(no_user_metadata_is_made_up, [], "an object that was put without user metadata has none"),
    check!(directories_keep_their_headers, [], "a key that ends in a slash has headers of its own"),
    check!(user_metadata_of_2_kb_is_taken, [], "names and values of user metadata may sum up to 2,048 bytes"),
    check!(user_metadata_over_2_kb_is_refused, [], "they may not sum up to more"),
    check!(put_replaces_headers_as_a_whole, [], "nothing of the headers before is left after a put"),
    check!(put_without_headers_removes_them, [], "a put without headers leaves none"),
    check!(put_of_the_same_bytes_replaces_headers, [], "headers are replaced when the bytes are the same"),
    check!(head_and_get_show_the_same_headers, [], "head and get answer the same"),
];

const EVERY_FIELD: [(&str, &[u8]); 6] = [
    ("x-amz-meta-file-permissions", b"0100644"),
    ("x-amz-meta-file-owner", b"500"),
    ("x-amz-meta-file-group", b"4294967294"),
    ("x-amz-meta-file-atime", b"1595002920000000000ns"),
    ("x-amz-meta-file-mtime", b"-1ns"),
    ("x-amz-meta-user-agent", b"aws-fsx-lustre"),
];

/// Puts an object with these headers and finds them again.
async fn expect_kept(case: &Case<'_>, put: &HeaderMap) -> Checked {
    case.put_with("a", whole("x"), put).await?;
    case.expect_object("a", b"x", put).await
}

async fn header_values_are_kept_byte_for_byte(case: &Case<'_>) -> Checked {
    let printable: Vec<u8> = (b'!'..=b'~').collect();
    for value in
        [printable.as_slice(), b"0", b"0100644", b"two  spaces", b"a,b", b"a, \"b\"", b"%41+%20", b"a=b; c", b": x"]
    {
        expect_kept(case, &headers(&[("x-amz-meta-a", value)])?).await?;
    }
    Ok(())
}

async fn empty_header_values_are_kept(case: &Case<'_>) -> Checked {
    expect_kept(case, &headers(&[("x-amz-meta-a", b""), ("x-amz-meta-b", b"b")])?).await
}

/// HTTP has no agreed meaning for such bytes, and S3 answers them as encoded words or says that it held them back.
async fn header_values_beyond_ascii_are_not_falsified(case: &Case<'_>) -> Checked {
    for value in ["caf\u{e9}".as_bytes(), b"caf\xe9", b"\xff", b"a\tb"] {
        let put = headers(&[("x-amz-meta-a", value)])?;
        match case.put_with("a", whole("x"), &put).await {
            Err(error) if error.kind() == StoreErrorKind::InvalidRequest => continue,
            other => other?,
        };
        let found = case.head("a").await?.headers;
        let held_back = found.contains_key(&MISSING_META);
        let encoded = found.get("x-amz-meta-a").is_some_and(|found| is_encoded_word(found.as_bytes()));
        let whole = kept(&found) == kept(&put);
        expect(whole || encoded || held_back, &format!("{put:?}, an encoded word or {MISSING_META}"), || {
            format!("{found:?}")
        })?;
    }
    Ok(())
}

fn is_encoded_word(value: &[u8]) -> bool {
    value.starts_with(b"=?") && value.ends_with(b"?=")
}

async fn header_names_ignore_case(case: &Case<'_>) -> Checked {
    let put = headers(&[("X-Amz-Meta-File-Owner", b"500"), ("CONTENT-TYPE", b"text/plain")])?;
    case.put_with("a", whole("x"), &put).await?;
    case.expect_object("a", b"x", &headers(&[("x-amz-meta-file-owner", b"500"), ("content-type", b"text/plain")])?)
        .await
}

async fn several_user_metadata_are_kept(case: &Case<'_>) -> Checked {
    expect_kept(case, &headers(&EVERY_FIELD)?).await?;
    let names: Vec<String> = (0..40).map(|number| format!("x-amz-meta-n{number}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    expect_kept(case, &headers(&many)?).await
}

async fn repeated_header_names_lose_no_value(case: &Case<'_>) -> Checked {
    let put =
        headers(&[("x-amz-meta-a", b"1"), ("x-amz-meta-b", b"b"), ("x-amz-meta-a", b"2"), ("x-amz-meta-a", b"1")])?;
    case.put_with("a", whole("x"), &put).await?;
    let found = case.head("a").await?.headers;
    let without_spaces = |headers: &HeaderMap| {
        let mut kept: Vec<(String, Vec<u8>)> =
            kept(headers).into_iter().map(|(name, value)| (name.into(), value)).collect();
        kept.iter_mut().for_each(|(_, value)| value.retain(|&byte| byte != b' '));
        kept
    };
    expect(without_spaces(&put) == without_spaces(&found), &format!("{put:?}"), || format!("{found:?}"))
}

async fn content_type_is_kept(case: &Case<'_>) -> Checked {
    for value in ["application/octet-stream", "text/plain; charset=utf-8", "application/x-directory", "inode/symlink"] {
        expect_kept(case, &headers(&[("content-type", value.as_bytes())])?).await?;
    }
    Ok(())
}

async fn no_user_metadata_is_made_up(case: &Case<'_>) -> Checked {
    for tail in ["a", "dir/"] {
        case.put(tail, "x").await?;
        case.expect_object(tail, b"x", &HeaderMap::new()).await?;
    }
    Ok(())
}

async fn directories_keep_their_headers(case: &Case<'_>) -> Checked {
    let directory = headers(&EVERY_FIELD)?;
    case.put_with("dir/", whole(""), &directory).await?;
    case.put_with("dir", whole(""), &owner("dir")).await?;
    case.put_with("dir/x", whole(""), &owner("dir/x")).await?;
    case.expect_object("dir/", b"", &directory).await?;
    case.expect_object("dir", b"", &owner("dir")).await
}

/// User metadata of a size, as S3 counts it, in two headers.
fn user_metadata_of(bytes: usize) -> Checked<HeaderMap> {
    const REST: usize = "first".len() + "second".len() + 100;
    let value = vec![b'x'; bytes.saturating_sub(REST)];
    let headers = headers(&[("x-amz-meta-first", &[b'y'; 100]), ("x-amz-meta-second", &value)])?;
    expect_same("user metadata of a size of", &bytes, &user_metadata_size(&headers))?;
    Ok(headers)
}

async fn user_metadata_of_2_kb_is_taken(case: &Case<'_>) -> Checked {
    let mut most = user_metadata_of(USER_METADATA_LIMIT)?;
    expect_kept(case, &most).await?;
    // Which does not count.
    most.extend(headers(&[("content-type", &[b'x'; 200])])?);
    expect_kept(case, &most).await
}

async fn user_metadata_over_2_kb_is_refused(case: &Case<'_>) -> Checked {
    for bytes in [USER_METADATA_LIMIT + 1, 2 * USER_METADATA_LIMIT] {
        let put = case.put_with("a", whole("x"), &user_metadata_of(bytes)?).await;
        expect_kind("put", put, StoreErrorKind::InvalidRequest)?;
    }
    case.expect_nothing("a").await
}

async fn put_replaces_headers_as_a_whole(case: &Case<'_>) -> Checked {
    let old = headers(&[("x-amz-meta-a", b"1"), ("x-amz-meta-b", b"1"), ("content-type", b"text/x-old")])?;
    case.put_with("a", whole("old"), &old).await?;
    let new = headers(&[("x-amz-meta-b", b"2"), ("x-amz-meta-c", b"2")])?;
    case.put_with("a", whole("new"), &new).await?;
    case.expect_object("a", b"new", &new).await?;
    expect_no_type(case, "text/x-old").await
}

/// The content type of `a` is not this one; a store may have a default for it.
async fn expect_no_type(case: &Case<'_>, old: &str) -> Checked {
    let found = case.head("a").await?.headers;
    let gone = found.get(CONTENT_TYPE).is_none_or(|found| found != old);
    expect(gone, &format!("no content type {old}"), || format!("{found:?}"))
}

async fn put_without_headers_removes_them(case: &Case<'_>) -> Checked {
    case.put_with("a", whole("old"), &headers(&[("x-amz-meta-a", b"1"), ("content-type", b"text/x-old")])?).await?;
    case.put("a", "new").await?;
    case.expect_object("a", b"new", &HeaderMap::new()).await?;
    expect_no_type(case, "text/x-old").await
}

async fn put_of_the_same_bytes_replaces_headers(case: &Case<'_>) -> Checked {
    for headers in [owner("first"), owner("second"), HeaderMap::new(), owner("third")] {
        expect_kept(case, &headers).await?;
    }
    Ok(())
}

async fn head_and_get_show_the_same_headers(case: &Case<'_>) -> Checked {
    for tail in ["a", "dir/"] {
        case.put_with(tail, whole("x"), &headers(&EVERY_FIELD)?).await?;
        let head = case.head(tail).await?;
        let range = GetOptions { range: Some(0..1), ..GetOptions::default() };
        for options in [GetOptions::default(), range] {
            let (get, _) = case.read(tail, &options).await?;
            expect_headers("the headers of head,", &head.headers, &get.headers)?;
            expect_same("size and ETag of head,", &(head.size, &head.etag), &(get.size, &get.etag))?;
        }
    }
    Ok(())
}
