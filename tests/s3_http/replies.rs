//! Replies of the table of bad inputs, each by its number, as an import or the client meets them.

use super::cases::{self, Hearing};
use super::*;
use posix_s3::Profile;
use posix_s3::engine::{
    ImportOptions, MemoryState, Outcome, Report, RunError, RunErrorKind, Silent, audit, import, import_since,
};
use posix_s3::plan::{Brake, Cause, Deletes};
use posix_s3::tree::MemoryTree;
use posix_s3::{Key, Prefix};

/// A server with this listing, and for every other request what a function says to its first line.
fn bucket(listed: String, other: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
    Server::new(move |heard| {
        heard.read_body();
        let line = heard.head.lines().next().unwrap().to_owned();
        let is_list = line.contains("list-type=2");
        let said = if is_list { listed.clone() } else { other(&line) };
        // What answers a head has no body.
        let said = if line.starts_with("HEAD") { said[..said.find("\r\n\r\n").unwrap() + 4].to_owned() } else { said };
        heard.say(&said);
        Next::Keep
    })
}

fn imported(server: &Server, tree: &MemoryTree) -> Result<(Report, Vec<cases::Heard>), RunError> {
    let hearing = Hearing::default();
    let options = ImportOptions::new(Profile::fsx());
    let report = async_io::block_on(import(&server.store(RetryPolicy::NEVER), tree, &options, &hearing))?;
    Ok((report, hearing.into_heard()))
}

fn outcome(heard: &[cases::Heard], key: &str) -> Outcome {
    heard.iter().find(|heard| heard.key == key).unwrap_or_else(|| panic!("{key}: {heard:?}")).outcome
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

#[test]
fn k23_k24_k25_keys_that_are_not_utf8_are_refused_and_the_others_imported() {
    let keys = ["a", "%C0%AE%C0%AE/x", "%ED%A0%80", "%FF%FE", "z"].map(listed).concat();
    let server = bucket(listing(&format!("{keys}{LAST}")), |_| object("b"));
    let tree = MemoryTree::new();
    let (report, heard) = imported(&server, &tree).unwrap();
    assert_eq!((report.entries, report.written, report.skipped), (5, 2, 3), "{report:?}");
    for key in ["\\xc0\\xae\\xc0\\xae/x", "\\xed\\xa0\\x80", "\\xff\\xfe"] {
        assert_eq!(outcome(&heard, key), Outcome::Skipped);
        let problem = report.problems.iter().find(|problem| &*problem.key == key).unwrap();
        assert_eq!(problem.cause, Cause::NotUtf8, "{problem:?}");
    }
    let names: Vec<String> = tree.entries().iter().map(|(entry, _)| entry.key().as_str().to_owned()).collect();
    assert_eq!(names, ["a", "z"]);
    let mut refused = 0;
    let store = server.store(RetryPolicy::NEVER);
    let audit = async_io::block_on(audit(&store, &Prefix::default(), &Profile::fsx(), |remark| {
        refused += usize::from(remark.reason.contains("expected UTF-8, found other bytes"));
    }));
    assert_eq!((audit.unwrap().refused, refused), (3, 3));
}

#[test]
fn k30_k31_k33_a_listing_is_decoded_once() {
    let cases = cases::read(cases::KEYS);
    let encoded = cases.iter().filter(|case| !case.wire.is_empty() && !case.objects.is_empty());
    let mut seen = Vec::new();
    for case in encoded {
        seen.push(&*case.id);
        for (wire, object) in case.wire.iter().zip(&case.objects) {
            let page = call(listing(&format!("{}{LAST}", listed(wire))), async |calls| {
                calls.list(&ListRequest::default()).await
            });
            let page = page.unwrap();
            let text = page.objects.iter().map(|object| object.key.as_bytes());
            let found: Vec<&[u8]> = text.chain(page.unreadable.iter().map(|key| &**key)).collect();
            assert_eq!(found, [object.key()], "{}: {wire}", case.id);
        }
    }
    assert_eq!(seen, ["K23", "K24", "K25", "K30", "K31", "K33"]);
}

#[test]
fn k32_what_is_not_encoded_ends_the_run() {
    let case = cases::read(cases::KEYS).into_iter().find(|case| case.id == "K32").unwrap();
    assert_eq!(case.wire.len(), 3);
    for wire in &case.wire {
        let server = bucket(listing(&format!("{}{}{LAST}", listed("a"), listed(wire))), |_| object("b"));
        let error = imported(&server, &MemoryTree::new()).unwrap_err();
        assert!(
            matches!(error.kind(), RunErrorKind::List(error) if error.kind() == Kind::Corrupt),
            "{:?}",
            error.kind()
        );
    }
}

#[test]
fn b16_b18_a_body_that_is_not_what_its_checksum_says_is_tried_again_and_failed() {
    // The SHA-256 of `b`, and two bodies that are not: one bit is another, or the framing of the upload was stored with it.
    let checksum = format!("{META}x-amz-checksum-sha256: PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3Purtjfu14=\r\n");
    for body in ["c", "1;chunk-signature=0123456789abcdef\r\nb\r\n0;chunk-signature=0\r\n\r\n"] {
        let keys = format!(
            "<Contents><Key>a</Key><Size>{}</Size><ETag>\"e\"</ETag><LastModified>2026-07-01T00:00:00.000Z</LastModified></Contents>",
            body.len()
        );
        let said = answer("200 OK", &checksum, body);
        let gets = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&gets);
        let server = bucket(listing(&format!("{keys}{LAST}")), move |line| {
            counted.fetch_add(usize::from(line.starts_with("GET ")), Ordering::SeqCst);
            said.clone()
        });
        let tree = MemoryTree::new();
        let options = ImportOptions::new(Profile::fsx());
        let retries = RetryPolicy::new(5, Duration::ZERO, Duration::ZERO);
        let report = async_io::block_on(import(&server.store(retries), &tree, &options, &Silent)).unwrap();
        assert_eq!((report.failed, tree.entries().len()), (1, 0), "{report:?}");
        assert_eq!(report.problems[0].cause, Cause::Corrupt, "{report:?}");
        let gets = gets.load(Ordering::SeqCst);
        assert!((2..=3).contains(&gets), "it is tried again, {gets} times in all");
    }
}

#[test]
fn b17_a_packed_body_is_not_unpacked() {
    let packed = answer("200 OK", &format!("{META}Content-Encoding: gzip\r\n"), "no gzip at all");
    assert_eq!(call(packed, get).unwrap().unwrap(), "no gzip at all");
}

#[test]
fn r3_tokens_that_go_in_a_circle_stop_the_run() {
    let page = |key: &str, token: &str| {
        let more = format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>");
        listing(&format!("{}{more}", listed(key)))
    };
    let (first, second, third) = (page("a", "A"), page("b", "B"), page("c", "A"));
    let server = Server::new(move |heard| {
        heard.read_body();
        let line = heard.head.lines().next().unwrap().to_owned();
        let said = match &*line {
            line if line.contains("continuation-token=A") => second.clone(),
            line if line.contains("continuation-token=B") => third.clone(),
            line if line.contains("list-type=2") => first.clone(),
            _ => NOT_FOUND.to_owned(),
        };
        heard.say(said);
        Next::Keep
    });
    let error = imported(&server, &MemoryTree::new()).unwrap_err();
    assert!(matches!(error.kind(), RunErrorKind::Disorder(_)), "{:?}", error.kind());
    assert!(server.requests() < 20);
}

#[test]
fn r11_a_control_character_in_xml_ends_the_call() {
    for character in ["\u{1}", "\0", "\u{b}", "\u{1f}"] {
        for inside in
            [format!("{}{LAST}", listed(&format!("a{character}b"))), format!("{LAST}<Name>{character}</Name>")]
        {
            let error = call(listing(&inside), list).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{}", chain(&error));
            assert!(!chain(&error).contains(character), "it is escaped");
        }
        let data = listing(&format!("{}{LAST}", listed(&format!("<![CDATA[a{character}b]]>"))));
        assert_eq!(call(data, list).unwrap_err().kind(), Kind::Corrupt);
    }
}

#[test]
fn r12_r20_r37_a_key_that_is_not_there_by_its_name_is_said_and_deletes_nothing() {
    // The listing shows `b` as what it is not called, and `c`, which is gone when it is fetched.
    let keys = format!("{}{}{}{LAST}", listed("a"), listed("b%EF%BF%BD"), listed("c"));
    let server = bucket(listing(&keys), |line| match line {
        line if line.contains("/bucket/a ") => object("b"),
        line if line.starts_with("HEAD") && line.contains("/bucket/c ") => object("b"),
        _ => NOT_FOUND.to_owned(),
    });
    let tree = MemoryTree::new();
    let state = MemoryState::new();
    let options = ImportOptions::new(Profile::fsx()).with_bucket("b").with_deletes(Deletes::Apply(Brake::RELEASED));
    for _ in 0..2 {
        let hearing = Hearing::default();
        let store = server.store(RetryPolicy::NEVER);
        let report = async_io::block_on(import_since(&store, &tree, &state, &options, &hearing)).unwrap();
        let heard = hearing.into_heard();
        assert_eq!((report.deleted, report.gone, report.failed), (0, 0, 0), "{report:?}");
        assert_eq!((outcome(&heard, "b\u{fffd}"), outcome(&heard, "c")), (Outcome::Skipped, Outcome::Skipped));
        assert!(heard.iter().flat_map(|heard| &heard.reasons).all(|reason| reason.contains("vanished")), "{heard:?}");
    }
    assert_eq!(tree.entries().len(), 1);
}

#[test]
fn r21_a_key_that_may_not_be_read_fails_alone() {
    let keys = format!("{}{}{}{LAST}", listed("a"), listed("b"), listed("c"));
    let server = bucket(listing(&keys), |line| match line.contains("/bucket/b ") {
        true => answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>"),
        false => object("x"),
    });
    let tree = MemoryTree::new();
    let (report, heard) = imported(&server, &tree).unwrap();
    assert_eq!((report.written, report.failed), (2, 1), "{report:?}");
    assert_eq!(outcome(&heard, "b"), Outcome::Failed);
    assert_eq!(report.problems.iter().map(|problem| problem.cause).collect::<Vec<_>>(), [Cause::AccessDenied]);
}

#[test]
fn r24_r25_what_has_expired_is_said_and_not_tried_again() {
    let at_once = RetryPolicy::new(5, Duration::ZERO, Duration::ZERO);
    for code in ["ExpiredToken", "RequestTimeTooSkewed"] {
        let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        let (result, requests) = tried(&[answer("403 Forbidden", "", &body)], at_once, store_get);
        let error = result.unwrap_err();
        assert_eq!((error.kind(), requests), (Kind::Denied, 1));
        assert!(chain(&error).contains(code), "{}", chain(&error));
    }
    // Keys are asked for before each request.
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::saying_each(&[answer("503 Slow Down", "", ""), object("b")]);
    let endpoint = format!("http://{}", server.address).parse().unwrap();
    let bucket = Bucket::new(&endpoint, "bucket", Addressing::Path).unwrap();
    let signer = Signer::with_source(&Region::default(), move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Keys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None).unwrap())
    });
    let options = S3Options::default().with_retries(at_once);
    let store = S3Store::with_capabilities(HttpCalls::new(bucket, signer), options, Capabilities::ALL);
    assert_eq!(async_io::block_on(store_get(store)).unwrap(), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn r31_a_size_that_no_object_has() {
    for size in ["9223372036854775808", "-1", "ten", ""] {
        let said = listing(&format!("{}{LAST}", listed("a").replace(">1<", &format!(">{size}<"))));
        assert_corrupt(call(said, list), &format!("expected a size, found \"{size}\""));
    }
}

#[test]
fn r36_what_a_listing_omits_is_kept_when_a_head_finds_it() {
    let is_whole = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let whole = Arc::clone(&is_whole);
    let server = Server::new(move |heard| {
        heard.read_body();
        let line = heard.head.lines().next().unwrap().to_owned();
        let keys = if whole.load(Ordering::SeqCst) { listed("a") + &listed("b") } else { listed("a") };
        let said = if line.contains("list-type=2") { listing(&format!("{keys}{LAST}")) } else { object("x") };
        let said = if line.starts_with("HEAD") { said[..said.find("\r\n\r\n").unwrap() + 4].to_owned() } else { said };
        heard.say(&said);
        Next::Keep
    });
    let (tree, state) = (MemoryTree::new(), MemoryState::new());
    let options = ImportOptions::new(Profile::fsx()).with_bucket("b").with_deletes(Deletes::Apply(Brake::RELEASED));
    for whole in [true, false, false] {
        is_whole.store(whole, Ordering::SeqCst);
        let store = server.store(RetryPolicy::NEVER);
        let report = async_io::block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
        assert_eq!((report.deleted, tree.entries().len()), (0, 2), "{report:?}");
        let came_back = report.problems.iter().filter(|problem| problem.cause == Cause::CameBack).count();
        assert_eq!(came_back, usize::from(!whole), "{report:?}");
    }
}

#[test]
fn r38_r41_headers_and_bytes_come_from_one_answer() {
    // A head tells of one version and a get of another, with other bytes and another owner.
    let with = |etag: &str, owner: u32, body: &str| {
        let headers = format!(
            "ETag: \"{etag}\"\r\nLast-Modified: Wed, 01 Jul 2026 00:00:00 GMT\r\nx-amz-meta-file-owner: {owner}\r\n"
        );
        answer("200 OK", &headers, body)
    };
    let (head, got) = (with("new", 7, "n"), with("old", 5, "o"));
    let server = bucket(listing(&format!("{}{LAST}", listed("a"))), move |line| {
        if line.starts_with("HEAD") { head.clone() } else { got.clone() }
    });
    let tree = MemoryTree::new();
    imported(&server, &tree).unwrap();
    let entries = tree.entries();
    assert_eq!(entries.len(), 1);
    let (entry, content) = &entries[0];
    assert_eq!(entry.key(), &Key::parse("a").unwrap());
    assert_eq!((entry.attributes().uid.get(), &content[..]), (5, &b"o"[..]));
}
