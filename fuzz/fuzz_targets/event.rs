//! Law: whatever a queue, a pipe or a file holds, every message in it ends in a notice or an error that says where it
//! begins, however the bytes come; no more comes out than went in; a key waits at most once, for the newest of its events;
//! and sequencers are in the order of the numbers that they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::Prefix;
use posix_s3::repository::{
    Backlog, InvalidMessage, MessageFault, MessageStream, Notice, Sequencer, StreamError, read_message,
};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::{self, Read};

/// A test event, on a line of its own.
const TEST: &[u8] = b"\n{\"Event\": \"s3:TestEvent\", \"Bucket\": \"the last\"}\n";

/// The most bytes that what is read of a message takes for each byte of it.
const GROWTH: usize = 16;

/// The most bytes of an error with all its words.
const ERROR: usize = 1024;

/// Hands out its bytes in pieces of no particular size.
struct Pieces<'i>(&'i [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = 1 + self.0.len() % 7;
        self.0.read(&mut buffer[..most])
    }
}

fn stream(input: impl Read) -> Vec<Result<Notice, InvalidMessage>> {
    MessageStream::new(input)
        .map(|read| {
            read.map_err(|error| match error {
                StreamError::Message(error) => error,
                other => panic!("{other}"),
            })
        })
        .collect()
}

/// Whether there is a list without anything in it, also in texts within texts: it is a message that brings nothing.
fn has_empty_list(value: &Value, depth: u8) -> bool {
    match value {
        Value::Array(items) => items.is_empty() || items.iter().any(|item| has_empty_list(item, depth)),
        Value::Object(map) => map.values().any(|value| has_empty_list(value, depth)),
        Value::String(text) if depth > 0 => {
            serde_json::from_str(text).is_ok_and(|value: Value| has_empty_list(&value, depth - 1))
        }
        _ => false,
    }
}

/// As it is compared by whoever has no types: padded with zeros, in one case.
fn padded(text: &str) -> String {
    format!("{text:0>width$}", width = Sequencer::MAX_DIGITS).to_ascii_lowercase()
}

fn sequencers(input: &[u8]) {
    let texts = input.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let parsed: Vec<(&str, Sequencer)> = texts.filter_map(|text| Some((text, text.parse().ok()?))).take(12).collect();
    for (text, sequencer) in &parsed {
        assert_eq!(sequencer.to_string().parse().as_ref(), Ok(sequencer));
        for (other_text, other) in &parsed {
            let order = sequencer.cmp(other);
            assert_eq!(order, padded(text).cmp(&padded(other_text)));
            assert_eq!((order, sequencer.partial_cmp(other)), (other.cmp(sequencer).reverse(), Some(order)));
            assert_eq!(sequencer == other, order == Ordering::Equal);
            for (_, third) in parsed.iter().filter(|_| order != Ordering::Greater) {
                assert!(other.cmp(third) == Ordering::Greater || sequencer.cmp(third) != Ordering::Greater);
            }
        }
    }
}

fn backlog(found: &[Result<Notice, InvalidMessage>]) {
    let notices = || found.iter().filter_map(|read| read.as_ref().ok());
    let events = || notices().filter_map(|notice| if let Notice::Event(event) = notice { Some(event) } else { None });
    let bucket = events().next().map_or("data", |event| &event.bucket);
    let mut all = Backlog::new(bucket, Prefix::default());
    notices().cloned().for_each(|notice| all.note(notice));
    let counts = all.counts();
    assert_eq!(counts.events + counts.tests + counts.subscriptions, notices().count() as u64);
    let set_aside = counts.elsewhere + counts.outside + counts.irrelevant;
    assert_eq!(counts.events, set_aside + counts.coalesced + all.len() as u64);
    let keys: BTreeSet<&str> = events().filter(|event| *event.bucket == *bucket).map(|event| &*event.key).collect();
    assert!(all.keys().all(|key| keys.contains(key)) && all.len() <= keys.len());
    for key in all.keys() {
        let newest = all.newest(key).unwrap();
        let of_key =
            || events().filter(|event| event.bucket == newest.bucket && *event.key == *key && event.kind.is_a_change());
        if of_key().all(|event| event.sequencer.is_some()) {
            assert_eq!(of_key().map(|event| &event.sequencer).max(), Some(&newest.sequencer));
        }
    }
    let (mut whole, mut rest) = (all.clone(), all);
    let taken = rest.take(whole.len() / 2);
    rest.merge(taken);
    assert_eq!(rest, whole);
    whole.retain(|_| false);
    assert!(whole.is_empty());
}

fuzz_target!(|input: &[u8]| {
    let alone = read_message(input);
    let value: Option<Value> = serde_json::from_slice(input).ok();
    match &value {
        None => assert!(matches!(&alone[..], [Err(error)] if matches!(error.fault(), MessageFault::Json { .. }))),
        Some(value) => assert!(!alone.is_empty() || has_empty_list(value, 9)),
    }
    // In one line, a message is the same in a stream.
    if let Some(value @ (Value::Object(_) | Value::Array(_))) = &value {
        let line = value.to_string();
        let streamed = stream(line.as_bytes());
        let is_too_deep = |read: &Result<_, InvalidMessage>| {
            read.as_ref().is_err_and(|error| matches!(error.fault(), MessageFault::TooDeep { .. }))
        };
        if !streamed.iter().any(is_too_deep) {
            let read = read_message(line.as_bytes());
            assert_eq!(read.len(), streamed.len());
            for (one, other) in read.iter().zip(&streamed) {
                match (one, other) {
                    (Ok(one), Ok(other)) => assert_eq!(one, other),
                    (Err(one), Err(other)) => assert_eq!((one.place(), one.fault()), (other.place(), other.fault())),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    let read = stream(input);
    assert_eq!(stream(Pieces(input)), read);
    assert!(read.len() <= input.len());
    let mut before = 0;
    for error in read.iter().filter_map(|read| read.as_ref().err()) {
        let position = error.position().unwrap();
        let at = usize::try_from(position.byte).unwrap();
        assert!(at >= before && !input[at].is_ascii_whitespace());
        assert_eq!(position.line, 1 + input[..at].iter().filter(|byte| **byte == b'\n').count() as u64);
        before = at;
    }
    let size = |read: &Result<Notice, InvalidMessage>| match read {
        Ok(Notice::Event(event)) => size_of_val(read) + event.bucket.len() + event.key.len() + event.name.len(),
        Ok(_) => size_of_val(read),
        Err(error) => size_of_val(read) + error.to_string().len(),
    };
    // Of one message; a stream holds no other at the same time.
    let errors = alone.iter().filter(|read| read.is_err()).count();
    assert!(alone.len() <= 10_001);
    assert!(alone.iter().map(size).sum::<usize>() <= GROWTH * input.len() + ERROR * errors);

    // What comes behind is read, unless it is taken for one of a list that has no end.
    let behind = stream(input.chain(TEST));
    match behind.last() {
        Some(Ok(Notice::Test { bucket })) => assert_eq!(bucket.as_deref(), Some("the last")),
        Some(Err(error)) => assert!(matches!(error.fault(), MessageFault::Unfinished { .. }) && input.contains(&b'[')),
        other => panic!("{other:?}"),
    }

    backlog(&read);
    sequencers(input);
});
