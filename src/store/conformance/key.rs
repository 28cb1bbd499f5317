//! Keys: any text of 1 to 1,024 bytes, kept exactly.

use super::super::{GetOptions, PutOptions, StoreErrorKind, Support};
use super::case::{Case, Checked, expect, expect_kind, owner};
use super::source::whole;
use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check!(a_key_and_the_key_with_a_slash_are_two_objects, [], "`a`, `a/` and `a/x` are three objects"),
    check!(keys_keep_dot_segments, [], "`.` and `..` are segments like others and lead nowhere"),
    check!(keys_keep_empty_segments, [], "`a//b` is not `a/b`"),
    check!(keys_keep_leading_slashes, [], "`/a` is not `a`"),
    check!(keys_keep_spaces_at_the_ends, [], "no key is trimmed"),
    check!(keys_keep_control_characters, [], "control characters stand for themselves"),
    check!(keys_keep_line_breaks, [], "line feeds and carriage returns stand for themselves"),
    check!(keys_with_nul_are_kept_or_refused, [], "a key is not cut at a NUL"),
    check!(keys_keep_percent_and_plus, [], "no key is taken for an encoded one"),
    check!(keys_keep_question_marks_and_hashes, [], "no part of a key is taken for a query or a fragment"),
    check!(keys_keep_backslashes, [], "a backslash is no slash and escapes nothing"),
    check!(keys_keep_quotes_and_markup, [], "characters that XML and JSON escape stand for themselves"),
    check!(keys_keep_wildcards, [], "characters that shells and patterns know stand for themselves"),
    check!(keys_keep_names_that_mean_something_elsewhere, [], "no name is reserved"),
    check!(keys_keep_their_normal_form, [], "composed and decomposed characters are different keys"),
    check!(keys_keep_all_of_unicode, [], "invisible, unassigned and four-byte characters stand for themselves"),
    check!(keys_differ_in_case, [], "`A` is not `a`"),
    check!(keys_of_1024_bytes_are_kept, [], "a key may have 1,024 bytes"),
    check!(keys_of_1024_wide_bytes_are_kept, [], "a key may have 1,024 bytes in characters of several"),
    check!(keys_of_many_segments_are_kept, [], "a key may have as many segments as fit"),
    check!(keys_of_long_segments_are_kept, [], "a segment may be longer than a file name"),
    check!(keys_over_1024_bytes_are_refused, [], "a key has no more than 1,024 bytes"),
    check!(the_key_limit_counts_bytes, [], "the limit of a key is in bytes, not in characters"),
    check!(an_empty_key_is_refused, [], "there is no empty key"),
];

async fn a_key_and_the_key_with_a_slash_are_two_objects(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["dir", "dir/", "dir/x"]).await
}

async fn keys_keep_dot_segments(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["b", "a/b", "a/./b", "a/../b", ".", "..", "./b", "../b", "a/.", "a/..", "a/../", "..."])
        .await
}

async fn keys_keep_empty_segments(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["a", "a/", "a//", "a/b", "a//b", "a///b", "a//b//"]).await
}

async fn keys_keep_leading_slashes(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["lead", "/lead", "//lead", "/", "//"]).await
}

async fn keys_keep_spaces_at_the_ends(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["sp", " sp", "sp ", " sp ", " ", "  ", "a /b", "a/ b", "a/b"]).await
}

async fn keys_keep_control_characters(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["ctlx", "ctl\u{1}x", "ctl\u{1f}x", "del\u{7f}", "del", "tab\tx", "tab x", "\u{1b}[31m"])
        .await
}

async fn keys_keep_line_breaks(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["nl\nx", "nlx", "nl\r\nx", "nl\rx", "nl\n", "nl", "\n"]).await
}

async fn keys_with_nul_are_kept_or_refused(case: &Case<'_>) -> Checked {
    case.put("nul", "cut").await?;
    match case.put("nul\0x", "whole").await {
        Err(error) if error.kind() == StoreErrorKind::InvalidRequest => case.expect_keys(&["nul"]).await,
        Err(error) => Err(error.into()),
        Ok(_) => case.expect_kept_apart(&["nul", "nul\0x", "nul\0", "\0"]).await,
    }
}

async fn keys_keep_percent_and_plus(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["a b+c%d", "a+b", "a b", "a%20b", "a%2Bb", "a%2Fb", "a%2fb", "a/b", "a%252Fb", "%", "%zz"])
        .await
}

async fn keys_keep_question_marks_and_hashes(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["k", "k?", "k?q=1#f", "k#f", "k?acl", "?versionId=null", "k&a=b", "k;a", "s3://k"]).await
}

async fn keys_keep_backslashes(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["a\\b", "a/b", "ab", "\\", "\\\\", "a\\", "a\\n", "C:\\x"]).await
}

async fn keys_keep_quotes_and_markup(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["q'\"<&>", "&amp;", "&", "&#38;", "</Key>", "]]>", "\"", "\"q\"", "{\"a\":1}"]).await
}

async fn keys_keep_wildcards(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["*~|", "*", "a*", "ab", "[ab]", "a?", "$HOME", "`a`", "!a", "^a$", "a,b", "@=:"]).await
}

async fn keys_keep_names_that_mean_something_elsewhere(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["CON", "nul.txt", "a:b", "a.", "a", ".tmp", ".lock", "-rf", "a@", "a+/b", "a~", "a.meta"])
        .await
}

async fn keys_keep_their_normal_form(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&[
        "\u{e9}",
        "e\u{301}",
        "e",
        "\u{212b}",
        "\u{c5}",
        "A\u{30a}",
        "\u{fb01}",
        "fi",
        "\u{1100}\u{1161}",
    ])
    .await
}

async fn keys_keep_all_of_unicode(case: &Case<'_>) -> Checked {
    let invisible = ["x", "\u{feff}x", "x\u{200b}", "x\u{202e}", "x\u{a0}", "x\u{85}", "x\u{2028}"];
    case.expect_kept_apart(&invisible).await?;
    case.expect_kept_apart(&[
        "\u{1f600}",
        "\u{65e5}\u{672c}/\u{1f600}/",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{10ffff}",
    ])
    .await
}

async fn keys_differ_in_case(case: &Case<'_>) -> Checked {
    case.expect_kept_apart(&["A", "a", "Dir/x", "dir/x", "dir/X", "\u{df}", "SS", "ss", "\u{130}", "i"]).await
}

async fn keys_of_1024_bytes_are_kept(case: &Case<'_>) -> Checked {
    let longest = case.tail_to_fill("k", 1024);
    let shorter = case.tail_to_fill("k", 1023);
    case.expect_kept_apart(&[&longest, &shorter, &format!("{shorter}l")]).await
}

async fn keys_of_1024_wide_bytes_are_kept(case: &Case<'_>) -> Checked {
    let (twos, fours) = (case.tail_to_fill("\u{e9}", 1024), case.tail_to_fill("\u{1f600}", 1024));
    case.expect_kept_apart(&[&twos, &fours, &case.tail_to_fill("\u{1f600}", 1020)]).await
}

async fn keys_of_many_segments_are_kept(case: &Case<'_>) -> Checked {
    let (segments, slashes) = (case.tail_to_fill("a/", 1024), case.tail_to_fill("/", 1024));
    case.expect_kept_apart(&[&segments, &slashes, &case.tail_to_fill("/", 1023)]).await
}

async fn keys_of_long_segments_are_kept(case: &Case<'_>) -> Checked {
    let (name, longer) = ("n".repeat(255), "n".repeat(256));
    let under = format!("{longer}/{name}/x");
    case.expect_kept_apart(&[&name, &longer, &format!("{name}/"), &under, &format!("{longer}%"), &"\u{e9}".repeat(200)])
        .await
}

async fn keys_over_1024_bytes_are_refused(case: &Case<'_>) -> Checked {
    expect_refused(case, &case.key(&case.tail_to_fill("k", 1025))).await?;
    case.expect_keys(&[]).await
}

async fn the_key_limit_counts_bytes(case: &Case<'_>) -> Checked {
    // Either an even or an odd number of bytes is left behind the prefix, so that one of them ends in `k`.
    for bytes in [1025, 1026] {
        expect_refused(case, &case.key(&case.tail_to_fill("\u{e9}", bytes))).await?;
    }
    case.expect_keys(&[]).await
}

/// An empty key would be the bucket itself. It is not deleted here, since that might be what happens.
async fn an_empty_key_is_refused(case: &Case<'_>) -> Checked {
    expect_refused(case, "").await?;
    let head = case.store().boxed_head("").await;
    expect(head.is_err(), "head of an empty key to fail", || format!("{head:?}"))?;
    let get = case.store().boxed_get("", &GetOptions::default()).await;
    expect(get.is_err(), "get of an empty key to fail", || format!("{get:?}"))
}

/// What writes to this key is not valid.
async fn expect_refused(case: &Case<'_>, key: &str) -> Checked {
    let options = PutOptions { headers: owner(key), ..PutOptions::default() };
    let put = case.store().boxed_put(key, whole("x"), &options).await;
    expect_kind("put", put, StoreErrorKind::InvalidRequest)?;
    if case.capabilities().replace_metadata == Support::Yes {
        let replaced = case.store().boxed_replace_metadata(key, &options).await;
        expect_kind("replacing the metadata", replaced, StoreErrorKind::InvalidRequest)?;
    }
    Ok(())
}
