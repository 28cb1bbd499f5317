//! Law: a listing that says of some keys what a server may say, in any of the ways in which XML can say it, reads back as
//! those keys and nothing else; cut at any byte it is no listing, and nor is one with something behind it.
//!
//! Input: how it is written, then the keys with their sizes, then where it is cut.

#![no_main]

use bytes::Bytes;
use http::Response;
use libfuzzer_sys::fuzz_target;
use posix_s3::store::s3::{Addressing, Bucket, CallError, Content};
use posix_s3::store::{ListPage, ListRequest};
use posix_s3_fuzz::choices::Choices;
use posix_s3_fuzz::encoded;
use std::fmt::Write as _;

fn read(body: &[u8]) -> Result<ListPage, CallError> {
    let bucket = Bucket::new(&"http://localhost".parse().expect("an endpoint"), "bucket", Addressing::Path);
    let exchange = bucket.expect("a bucket").list(&ListRequest::default()).expect("a request");
    exchange.into_parts().2(Response::new(Content::Whole(Bytes::copy_from_slice(body))))
}

/// Text as XML says it: one of several ways for each character.
fn written(text: &str, choices: &mut Choices<'_>) -> String {
    let mut written = String::new();
    for character in text.chars() {
        // What a reader would fold, and what ends a section, is referred to.
        let is_plain =
            character >= ' ' && !"<&>]".contains(character) && !['\u{fffe}', '\u{ffff}'].contains(&character);
        let _ = match choices.byte() % 8 {
            0..=4 if is_plain => write!(written, "{character}"),
            5 if is_plain => write!(written, "<![CDATA[{character}]]>"),
            6 if is_plain => write!(written, "<!-- & -->{character}"),
            7 => write!(written, "&#{};", u32::from(character)),
            _ => write!(written, "&#x{:x};", u32::from(character)),
        };
    }
    written
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let is_encoded = choices.one_in(2);
    let (prolog, namespace) = (
        choices.of(&["", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "<?xml version=\"1.0\"?>\n\n", " \n"]),
        choices.of(&["", " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"", " a='>'"]),
    );
    let between = choices.of(&["", "\n  ", "<Unknown/>", "<!-- <Contents> -->", "<Owner><ID>x</ID></Owner>", "\t"]);
    let next = choices.one_in(2).then(|| choices.text(20)).filter(|next| !next.is_empty() && !next.contains('\0'));
    let mut expected = Vec::new();
    let mut document = format!("{prolog}<ListBucketResult{namespace}>{between}");
    if is_encoded {
        document.push_str("<EncodingType>url</EncodingType>");
    }
    let behind = choices.of(&["<x/>", "<ListBucketResult/>", "&amp;", "text", "</a>", "<"]);
    let cut = choices.number();
    while !choices.is_over() && expected.len() < 20 {
        let key = choices.text(40);
        // No reference stands for a NUL.
        if key.is_empty() || (!is_encoded && key.contains('\0')) {
            continue;
        }
        // Larger ones are damage, of which this is not.
        let size = (choices.number() >> 1) >> (choices.byte() % 63);
        let shown = if is_encoded { encoded(&key) } else { key.clone() };
        let shown = written(&shown, &mut choices);
        let _ = write!(document, "<Contents><Key>{shown}</Key>{between}<Size>{size}</Size><ETag>&quot;e&quot;</ETag>");
        let _ = write!(document, "<LastModified>2026-07-01T00:00:00.000Z</LastModified></Contents>{between}");
        expected.push((key, size));
    }
    let _ = write!(document, "<IsTruncated>{}</IsTruncated>", next.is_some());
    if let Some(next) = &next {
        let _ = write!(document, "<NextContinuationToken>{}</NextContinuationToken>", written(next, &mut choices));
    }
    document.push_str("</ListBucketResult>");

    let page = read(document.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {document}"));
    assert_eq!(page.next, next);
    let found: Vec<_> = page.objects.into_iter().map(|object| (object.key, object.size)).collect();
    assert_eq!(found, expected);

    let cut = usize::try_from(cut % document.len() as u64).expect("a place");
    assert!(read(&document.as_bytes()[..cut]).is_err(), "cut at {cut}: {document}");
    assert!(read(format!("{document}{behind}").as_bytes()).is_err(), "{document}{behind}");
});
