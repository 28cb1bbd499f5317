//! Law: an error is an error, whatever the status of the answer, whichever request it answers and however it is written; what
//! it says is fit to be shown. An answer that says that something was done is believed only as a whole: cut at any byte, or
//! of another name, it is none.
//!
//! Input: the request, the status, how it is written, then code, message and resource, then where it is cut.

#![no_main]

use bytes::Bytes;
use http::{HeaderMap, Response};
use libfuzzer_sys::fuzz_target;
use posix_s3::ETag;
use posix_s3::store::s3::{Addressing, Bucket, CallError, Content, Upload};
use posix_s3::store::{ListRequest, Precondition};
use posix_s3_fuzz::choices::Choices;
use std::error::Error;
use std::fmt::Write as _;

/// The requests whose answer is a document; and the document that says that it was done.
const DONE: [&str; 7] = [
    "<CopyObjectResult><ETag>\"e\"</ETag><LastModified>2026-07-01T00:00:00.000Z</LastModified></CopyObjectResult>",
    "<CopyPartResult><ETag>\"e\"</ETag></CopyPartResult>",
    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>",
    "<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>",
    "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
    "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
];

/// Reads an answer to a request; of what was done, only that.
fn read(which: usize, status: u16, body: &[u8]) -> Result<(), CallError> {
    let bucket = Bucket::new(&"http://localhost".parse().expect("an endpoint"), "bucket", Addressing::Path);
    let bucket = bucket.expect("a bucket");
    let (upload, headers, etag) = (Upload { key: "a", id: "u" }, HeaderMap::new(), ETag::new("\"e\""));
    let answer =
        Response::builder().status(status).body(Content::Whole(Bytes::copy_from_slice(body))).expect("an answer");
    match which {
        0 => bucket.copy_onto_itself("a", &headers, None).expect("a request").into_parts().2(answer).map(drop),
        1 => bucket.copy_part(upload, 7, 0..9, &etag).expect("a request").into_parts().2(answer).map(drop),
        2 => bucket.create_upload("a", &headers).expect("a request").into_parts().2(answer).map(drop),
        3 => {
            let complete = bucket.complete_upload(upload, &[], &Precondition::None);
            complete.expect("a request").into_parts().2(answer).map(drop)
        }
        4 => {
            let answered = bucket.delete_batch(&["a".into()]).expect("a request").into_parts().2(answer)?;
            answered.into_iter().next().expect("an answer for the key").map(drop)
        }
        5 => bucket.list(&ListRequest::default()).expect("a request").into_parts().2(answer).map(drop),
        _ => bucket.list_uploads("", None).expect("a request").into_parts().2(answer).map(drop),
    }
}

/// Text as it stands in XML; what that has not is left out.
fn written(text: &str) -> String {
    let mut written = String::new();
    for character in text.chars().filter(|&character| character != '\0') {
        let _ = write!(written, "&#{};", u32::from(character));
    }
    written
}

fn is_fit_to_be_shown(error: &CallError) {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        assert!(text.len() < 4096 && !text.contains(char::is_control), "{text:?}");
        source = cause.source();
    }
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let which = usize::from(choices.byte()) % DONE.len();
    let status = choices.of(&[200, 200, 204, 206, 400, 403, 404, 409, 412, 500, 503, 301, 307]);
    let prolog = choices.of(&["", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "\n\n\n", " "]);
    let namespace = choices.of(&["", " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""]);
    let cut = choices.number();
    let code = match choices.byte() {
        at @ 0..=199 => {
            let codes =
                ["InternalError", "SlowDown", "NoSuchKey", "PreconditionFailed", "AccessDenied", "RequestTimeout"];
            codes[usize::from(at) % codes.len()].to_owned()
        }
        _ => choices.text(60),
    };
    let (message, resource) = (choices.text(60), choices.text(60));
    let mut fields = format!("<Code>{}</Code><Message>{}</Message>", written(&code), written(&message));
    let _ = write!(fields, "<Resource>{}</Resource>", written(&resource));
    // Of a batch also an error of the key alone.
    let error = match choices.byte() % 4 {
        3 if which == 4 => {
            format!("{prolog}<DeleteResult{namespace}><Error><Key>a</Key>{fields}</Error></DeleteResult>")
        }
        _ => format!("{prolog}<Error{namespace}>{fields}</Error>"),
    };
    match read(which, status, error.as_bytes()) {
        // What is not there need not be deleted.
        Ok(()) if which == 4 && code == "NoSuchKey" && error.contains("<DeleteResult") => {}
        Ok(()) => panic!("{status} {error} was taken for {}", DONE[which]),
        Err(error) => is_fit_to_be_shown(&error),
    }

    let done = format!("{prolog}{}", DONE[which]);
    read(which, 200, done.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {done}"));
    let cut = usize::try_from(cut % done.len() as u64).expect("a place");
    is_fit_to_be_shown(&read(which, 200, &done.as_bytes()[..cut]).expect_err("a part is not the whole"));
    let other = usize::from(choices.byte()) % DONE.len();
    if other != which {
        is_fit_to_be_shown(&read(which, 200, DONE[other].as_bytes()).expect_err("the answer to something else"));
    }
});
