//! [`read_message`]: what a message says, whatever it was wrapped in on its way.
//!
//! S3 sends a document of records to SNS, SQS or Lambda, or an event each to `EventBridge`. SNS puts the document as text into
//! one of its own unless told not to, SQS hands either out as the body of a message, and Lambda gets several bodies in one
//! document. So a message is opened until there is no further text in it.

use super::{EventKind, ObjectEvent, Sequencer};
use crate::escape::{escape, excerpt};
use crate::etag::ETag;
use crate::timestamp::Timestamp;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The most bytes of a text that a service carries: 256 KiB, the limit of SNS and for long that of SQS. S3 itself sends at
/// most 64 KiB.
const CARRIED: usize = 256 << 10;
/// How many documents may be wrapped in each other, lists counted.
const DEPTH: u8 = 8;
/// The most events and errors of a message. S3 sends one event at a time, and an answer of SQS ten.
const ITEMS: usize = 10_000;
/// The most values of a document. A record of S3 has 26, and there are fewer than 6,000 in 4 MiB. A value takes a third of a
/// KiB at most, which is far more than it takes in the text.
const VALUES: usize = 200_000;

/// What a message brings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// An event of an object.
    Event(ObjectEvent),
    /// The `s3:TestEvent` that S3 sends when notifications are set up.
    Test {
        /// The bucket, if it is said.
        bucket: Option<Box<str>>,
    },
    /// SNS asks for a subscription to be confirmed, or says that it has ended. Until it is confirmed, no event comes.
    Subscription {
        /// `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
        request: Box<str>,
        /// The topic, if it is said.
        topic: Option<Box<str>>,
    },
}

/// A message, or a part of one, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid message{}: {fault}", stands(.position.as_ref(), .place))]
pub struct InvalidMessage {
    position: Option<MessagePosition>,
    place: Box<str>,
    fault: MessageFault,
}

/// Where in a stream a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessagePosition {
    /// The line, from 1.
    pub line: u64,
    /// The byte, from 0.
    pub byte: u64,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageFault {
    /// It is no JSON.
    #[error("expected JSON, found {found}")]
    Json {
        /// What was found, and where in the text.
        found: Box<str>,
    },
    /// It is larger than it may be.
    #[error("expected at most {limit} bytes, found more")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too much is wrapped in each other.
    #[error("expected at most {limit} levels, found more")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// There is too much in it.
    #[error("expected at most {limit} {what}, found more")]
    TooMany {
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// It ends before it is complete.
    #[error("expected the rest of a message, found {found}")]
    Unfinished {
        /// What comes instead.
        found: &'static str,
    },
    /// It is none of the documents that are known.
    #[error("expected an S3 event, or a message of SNS, SQS or EventBridge that holds one, found {found}")]
    Shape {
        /// What was found.
        found: Box<str>,
    },
    /// A field is missing, or has another type.
    #[error("expected {expected}, found {found}")]
    Field {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: Box<str>,
    },
    /// The format is another one.
    #[error("expected version 2, found \"{found}\"")]
    Version {
        /// The version.
        found: Box<str>,
    },
}

fn stands(position: Option<&MessagePosition>, place: &str) -> String {
    let line =
        position.map(|MessagePosition { line, byte }| format!(" in line {line} (byte {byte})")).unwrap_or_default();
    if place.is_empty() { line } else { format!("{line} at {place}") }
}

impl InvalidMessage {
    pub(super) const fn new(position: Option<MessagePosition>, place: Box<str>, fault: MessageFault) -> Self {
        Self { position, place, fault }
    }

    pub(super) const fn at(mut self, position: MessagePosition) -> Self {
        self.position = Some(position);
        self
    }

    /// Where in a stream the message begins.
    #[must_use]
    pub const fn position(&self) -> Option<MessagePosition> {
        self.position
    }

    /// Where in the message, such as `Messages[0].Body.Records[1].s3.object.key`; safe to print.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong.
    #[must_use]
    pub const fn fault(&self) -> &MessageFault {
        &self.fault
    }
}

/// Reads a message: a document of S3, or of SNS, SQS, Lambda or `EventBridge` with one in it, also several times over.
///
/// - Records of S3 of any version 2 are read. Fields that are not known are passed over, and events that are not known are
///   kept as [`EventKind::Other`].
/// - Keys are decoded as each form requires: in records of S3 a space is `+` and other characters are escaped with `%`; in
///   events of `EventBridge` they are as they are.
/// - A record that cannot be read is one error, and those beside it are read all the same. Nothing is passed over in
///   silence.
/// - A text within a message has at most 256 KiB; documents are wrapped in each other at most 8 times.
/// - A document has at most 200,000 values, and a message brings at most 10,000 events and errors. The one that is too many
///   is the last error, and what comes after it is not read.
///
/// ```
/// use posix_s3::repository::{Notice, read_message};
///
/// let record = r#"{"Records": [{"eventVersion": "2.6", "eventName": "ObjectCreated:Put",
///     "s3": {"bucket": {"name": "data"}, "object": {"key": "a+b"}}}]}"#;
/// let message = serde_json::json!({"Type": "Notification", "Message": record}).to_string();
/// let notices: Vec<_> = read_message(message.as_bytes()).into_iter().collect::<Result<_, _>>().unwrap();
/// let [Notice::Event(event)] = &notices[..] else { panic!() };
/// assert_eq!((&*event.bucket, &*event.key), ("data", "a b"));
/// ```
#[must_use]
pub fn read_message(text: &[u8]) -> Vec<Result<Notice, InvalidMessage>> {
    let mut reading = Reading::default();
    reading.json(text, "", 0);
    reading.found
}

#[derive(Default)]
struct Reading {
    found: Vec<Result<Notice, InvalidMessage>>,
}

impl Reading {
    fn fault(&mut self, place: &str, fault: MessageFault) {
        self.take(place, Err(InvalidMessage::new(None, place.into(), fault)));
    }

    fn notice(&mut self, notice: Notice) {
        self.take("", Ok(notice));
    }

    fn take(&mut self, place: &str, found: Result<Notice, InvalidMessage>) {
        match self.found.len().cmp(&ITEMS) {
            Ordering::Less => self.found.push(found),
            Ordering::Equal => {
                let fault = MessageFault::TooMany { limit: ITEMS, what: "events and errors" };
                self.found.push(Err(InvalidMessage::new(None, place.into(), fault)));
            }
            Ordering::Greater => {}
        }
    }

    /// Whether nothing more is read.
    fn is_full(&self) -> bool {
        self.found.len() > ITEMS
    }

    /// What is in a list.
    fn items(&mut self, items: &[Value], place: &str, depth: u8) {
        for (at, item) in items.iter().enumerate() {
            if self.is_full() {
                break;
            }
            self.value(item, &format!("{place}[{at}]"), depth);
        }
    }

    /// A text that a service carries.
    fn carried(&mut self, map: &Map<String, Value>, name: &'static str, place: &str, depth: u8) {
        let place = within(place, name);
        match map.get(name) {
            Some(Value::String(text)) if text.len() > CARRIED => {
                self.fault(&place, MessageFault::TooLong { limit: CARRIED });
            }
            Some(Value::String(text)) => self.json(text.as_bytes(), &place, depth),
            // A document that somebody has put in as it is.
            Some(value @ Value::Object(_)) => self.value(value, &place, depth),
            other => self.fault(&place, field("a text", other)),
        }
    }

    fn json(&mut self, text: &[u8], place: &str, depth: u8) {
        match parse(text) {
            Ok(value) => self.value(&value, place, depth),
            Err(fault) => self.fault(place, fault),
        }
    }

    fn value(&mut self, value: &Value, place: &str, depth: u8) {
        let Some(deeper) = depth.checked_add(1).filter(|deeper| *deeper <= DEPTH) else {
            return self.fault(place, MessageFault::TooDeep { limit: DEPTH.into() });
        };
        match value {
            Value::Array(items) => self.items(items, place, deeper),
            Value::Object(map) => self.document(map, place, deeper),
            other => self.fault(place, MessageFault::Shape { found: kind(Some(other)) }),
        }
    }

    fn document(&mut self, map: &Map<String, Value>, place: &str, depth: u8) {
        let says = |name: &str| map.get(name).and_then(Value::as_str);
        if map.contains_key("Records") {
            self.list(map, "Records", place, depth);
        } else if map.contains_key("Messages") {
            self.list(map, "Messages", place, depth);
        } else if says("Event") == Some("s3:TestEvent") {
            self.notice(Notice::Test { bucket: says("Bucket").map(Into::into) });
        } else if let Some(request @ ("SubscriptionConfirmation" | "UnsubscribeConfirmation")) = says("Type") {
            self.notice(Notice::Subscription { request: request.into(), topic: says("TopicArn").map(Into::into) });
        } else if says("Type") == Some("Notification") {
            self.carried(map, "Message", place, depth);
        } else if let Some(Value::Object(sns)) = map.get("Sns") {
            self.carried(sns, "Message", &within(place, "Sns"), depth);
        } else if map.contains_key("Body") {
            self.carried(map, "Body", place, depth);
        } else if map.contains_key("body") {
            self.carried(map, "body", place, depth);
        } else if map.contains_key("detail-type") {
            let read = bridge_event(map, place);
            self.take(place, read.map(Notice::Event));
        } else if map.contains_key("s3") {
            let read = record(map, place);
            self.take(place, read.map(Notice::Event));
        } else {
            let names: Vec<&str> = map.keys().take(8).map(String::as_str).collect();
            let found = format!("an object with the fields \"{}\"", excerpt(names.join(", ").as_bytes()));
            self.fault(place, MessageFault::Shape { found: found.into() });
        }
    }

    fn list(&mut self, map: &Map<String, Value>, name: &'static str, place: &str, depth: u8) {
        let place = within(place, name);
        match map.get(name) {
            Some(Value::Array(items)) => self.items(items, &place, depth),
            other => self.fault(&place, field("a list", other)),
        }
    }
}

/// A document, if there is not too much in it.
fn parse(text: &[u8]) -> Result<Value, MessageFault> {
    let left = Cell::new(Some(VALUES));
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = Counted { left: &left }.deserialize(&mut deserializer);
    match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) if left.get().is_none() => Err(MessageFault::TooMany { limit: VALUES, what: "values" }),
        // It quotes nothing of the text.
        Err(error) => Err(MessageFault::Json { found: error.to_string().into() }),
    }
}

/// Reads a value as serde_json would, as long as there are any left.
#[derive(Clone, Copy)]
struct Counted<'c> {
    /// How many more there may be; nothing when there were more.
    left: &'c Cell<Option<usize>>,
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.left.set(self.left.get().and_then(|left| left.checked_sub(1)));
        match self.left.get() {
            Some(_) => deserializer.deserialize_any(self),
            None => Err(de::Error::custom("too many values")),
        }
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            map.insert(name, object.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

fn within(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn kind(value: Option<&Value>) -> Box<str> {
    match value {
        None => "nothing".into(),
        Some(Value::Null) => "null".into(),
        Some(Value::Bool(_)) => "a truth value".into(),
        Some(Value::Number(number)) => format!("the number {number}").into(),
        Some(Value::String(text)) => format!("\"{}\"", excerpt(text.as_bytes())).into(),
        Some(Value::Array(_)) => "a list".into(),
        Some(Value::Object(_)) => "an object".into(),
    }
}

fn field(expected: &'static str, found: Option<&Value>) -> MessageFault {
    MessageFault::Field { expected, found: kind(found) }
}

/// An object of a document, and where it stands.
struct Fields<'v> {
    map: &'v Map<String, Value>,
    place: String,
}

impl<'v> Fields<'v> {
    fn new(map: &'v Map<String, Value>, place: &str) -> Self {
        Self { map, place: place.to_owned() }
    }

    fn fault(&self, name: &str, fault: MessageFault) -> InvalidMessage {
        InvalidMessage::new(None, within(&self.place, name).into(), fault)
    }

    /// An object in it.
    fn fields(&self, name: &str) -> Result<Self, InvalidMessage> {
        match self.map.get(name) {
            Some(Value::Object(map)) => Ok(Self { map, place: within(&self.place, name) }),
            other => Err(self.fault(name, field("an object", other))),
        }
    }

    fn text(&self, name: &str) -> Result<&'v str, InvalidMessage> {
        self.optional(name)?.ok_or_else(|| self.fault(name, field("a text", None)))
    }

    fn optional(&self, name: &str) -> Result<Option<&'v str>, InvalidMessage> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            other => Err(self.fault(name, field("a text", other))),
        }
    }

    fn size(&self, name: &str) -> Result<Option<u64>, InvalidMessage> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) => Ok(Some(size)),
                None => Err(self.fault(name, field("a number of bytes", Some(value)))),
            },
        }
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, InvalidMessage> {
        let Some(text) = self.optional(name)? else { return Ok(None) };
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => Ok(Some(time.into())),
            Err(_) => Err(self.fault(name, field("a time such as 2026-01-31T12:00:00.000Z", self.map.get(name)))),
        }
    }

    /// A number that some servers leave empty.
    fn sequencer(&self, name: &str) -> Result<Option<Sequencer>, InvalidMessage> {
        let Some(text) = self.optional(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        match text.parse() {
            Ok(sequencer) => Ok(Some(sequencer)),
            Err(_) => Err(self.fault(name, field("hexadecimal digits", self.map.get(name)))),
        }
    }

    /// An `ETag`, which messages tell without its quotes.
    fn etag(&self, name: &str) -> Result<Option<ETag>, InvalidMessage> {
        let text = self.optional(name)?.filter(|text| !text.is_empty());
        Ok(text.map(|text| ETag::new(&format!("\"{}\"", text.trim_matches('"')))))
    }
}

/// A record of S3.
fn record(map: &Map<String, Value>, place: &str) -> Result<ObjectEvent, InvalidMessage> {
    let record = Fields::new(map, place);
    let version = record.text("eventVersion")?;
    if version.split('.').next() != Some("2") {
        return Err(record.fault("eventVersion", MessageFault::Version { found: excerpt(version.as_bytes()) }));
    }
    let name = record.text("eventName")?;
    let s3 = record.fields("s3")?;
    let bucket = s3.fields("bucket")?.text("name")?;
    let object = s3.fields("object")?;
    let key = form_decoded(object.text("key")?).map_err(|found| {
        object.fault("key", MessageFault::Field { expected: "a key in the encoding of forms", found })
    })?;
    Ok(ObjectEvent {
        bucket: bucket.into(),
        key: not_empty(key, &object)?,
        kind: EventKind::of_name(name),
        name: name.into(),
        sequencer: object.sequencer("sequencer")?,
        event_time: record.time("eventTime")?,
        size: object.size("size")?,
        etag: object.etag("eTag")?,
        version_id: object.optional("versionId")?.map(Into::into),
    })
}

/// An event of `EventBridge`.
fn bridge_event(map: &Map<String, Value>, place: &str) -> Result<ObjectEvent, InvalidMessage> {
    let event = Fields::new(map, place);
    let detail_type = event.text("detail-type")?;
    match event.text("source")? {
        "aws.s3" => {}
        _ => return Err(event.fault("source", field("\"aws.s3\"", map.get("source")))),
    }
    let detail = event.fields("detail")?;
    let object = detail.fields("object")?;
    let reason = detail.optional("reason")?.unwrap_or_default();
    let deletion_type = detail.optional("deletion-type")?.unwrap_or_default();
    Ok(ObjectEvent {
        bucket: detail.fields("bucket")?.text("name")?.into(),
        key: not_empty(object.text("key")?.to_owned(), &object)?,
        kind: EventKind::of_detail(detail_type, reason, deletion_type),
        name: detail_type.into(),
        sequencer: object.sequencer("sequencer")?,
        event_time: event.time("time")?,
        size: object.size("size")?,
        etag: object.etag("etag")?,
        version_id: object.optional("version-id")?.map(Into::into),
    })
}

fn not_empty(key: String, object: &Fields<'_>) -> Result<Box<str>, InvalidMessage> {
    if key.is_empty() { Err(object.fault("key", field("a key", object.map.get("key")))) } else { Ok(key.into()) }
}

/// Undoes the encoding of forms: `+` is a space, `%` and two digits a byte. An error says what was found.
fn form_decoded(text: &str) -> Result<String, Box<str>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = after.get(..2).and_then(|digits| match digits {
                    [high, low] => Some((hex(*high)?, hex(*low)?)),
                    _ => None,
                });
                let Some((high, low)) = digits else {
                    let at = text.len().saturating_sub(after.len()).saturating_sub(1);
                    return Err(format!("\"{}\" with a bad escape at byte {at}", excerpt(text.as_bytes())).into());
                };
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("\"{}\", which is not UTF-8", excerpt(text.as_bytes())).into())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| escape(text.as_bytes()).to_string();
        match self {
            Self::Event(event) => {
                write!(f, "{} of \"{}\" in {}", shown(&event.name), shown(&event.key), shown(&event.bucket))
            }
            Self::Test { bucket } => write!(f, "a test of {}", shown(bucket.as_deref().unwrap_or("a bucket"))),
            Self::Subscription { request, topic } => {
                write!(f, "a {} of {}", shown(request), shown(topic.as_deref().unwrap_or("a topic")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_records_are_in_the_encoding_of_forms() {
        for (text, key) in [
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("a%20b%2fc", "a b/c"),
            ("%E2%82%AC", "\u{20ac}"),
            ("\u{20ac}", "\u{20ac}"),
            ("", ""),
        ] {
            assert_eq!(form_decoded(text).as_deref(), Ok(key), "{text}");
        }
        assert_eq!(form_decoded("ab%2").unwrap_err().as_ref(), "\"ab%2\" with a bad escape at byte 2");
        assert_eq!(form_decoded("%zz").unwrap_err().as_ref(), "\"%zz\" with a bad escape at byte 0");
        assert_eq!(form_decoded("a%ff").unwrap_err().as_ref(), "\"a%ff\", which is not UTF-8");
    }

    fn fault(text: &str) -> String {
        let found = read_message(text.as_bytes());
        let faults: Vec<String> = found.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
        faults.join("; ")
    }

    #[test]
    fn messages() {
        let record =
            |rest: &str| format!(r#"{{"Records":[{{"eventVersion":"2.1","eventName":"ObjectCreated:Put",{rest}}}]}}"#);
        assert_eq!(fault("{"), "invalid message: expected JSON, found EOF while parsing an object at line 1 column 1");
        assert_eq!(
            fault("[7]"),
            "invalid message at [0]: expected an S3 event, or a message of SNS, SQS or EventBridge that holds one, found the number 7"
        );
        assert_eq!(
            fault(r#"{"a":1,"b\n":2}"#),
            "invalid message: expected an S3 event, or a message of SNS, SQS or EventBridge that holds one, found an object with the fields \"a, b\\n\""
        );
        assert_eq!(
            fault(&record(r#""s3":{"bucket":{"name":"b"},"object":{}}"#)),
            "invalid message at Records[0].s3.object.key: expected a text, found nothing"
        );
        assert_eq!(
            fault(&record(r#""s3":{"bucket":{"name":"b"},"object":{"key":"%"}}"#)),
            "invalid message at Records[0].s3.object.key: expected a key in the encoding of forms, found \"%\" with a bad escape at byte 0"
        );
        assert_eq!(
            fault(&record(r#""eventTime":"yesterday","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}"#)),
            "invalid message at Records[0].eventTime: expected a time such as 2026-01-31T12:00:00.000Z, found \"yesterday\""
        );
        assert_eq!(
            fault(r#"{"Records":[{"eventVersion":"3.0","s3":{}}]}"#),
            "invalid message at Records[0].eventVersion: expected version 2, found \"3.0\""
        );
        assert_eq!(fault(r#"{"Messages":3}"#), "invalid message at Messages: expected a list, found the number 3");
        assert_eq!(
            fault(r#"{"Body":"{"}"#),
            "invalid message at Body: expected JSON, found EOF while parsing an object at line 1 column 1"
        );
        assert_eq!(
            fault(r#"{"detail-type":"Object Created","source":"aws.ec2"}"#),
            "invalid message at source: expected \"aws.s3\", found \"aws.ec2\""
        );
    }

    #[test]
    fn a_message_of_too_much_ends_with_one_error() {
        let zeros = |count: usize| format!("[{}0]", "0,".repeat(count.saturating_sub(1)));
        assert_eq!(read_message(zeros(ITEMS).as_bytes()).len(), ITEMS);
        let found = read_message(zeros(ITEMS + 5).as_bytes());
        assert_eq!(found.len(), ITEMS + 1);
        let last = found.last().unwrap().as_ref().unwrap_err();
        assert_eq!(
            last.to_string(),
            "invalid message at [10000]: expected at most 10000 events and errors, found more"
        );
        // Events and errors, and however deep they are, count together.
        let half = vec![r#"{"Event":"s3:TestEvent"},0"#; ITEMS / 4].join(",");
        let found = read_message(format!(r#"[{{"Records":[{half}]}},{{"Messages":[{half},0]}},[0,0]]"#).as_bytes());
        assert_eq!((found.len(), found.iter().filter(|found| found.is_ok()).count()), (ITEMS + 1, ITEMS / 2));
        assert_eq!(fault(&zeros(2_000_000)), "invalid message: expected at most 200000 values, found more");
        let empty = format!(r#"{{"Records":[],"Rest":{}}}"#, zeros(VALUES - 3));
        assert_eq!(fault(&empty), "");
    }

    #[test]
    fn a_long_text_is_quoted_in_part() {
        let long = "x".repeat(200_000);
        for message in [
            format!(r#"["{long}"]"#),
            format!(r#"{{"{long}":1}}"#),
            format!(
                r#"{{"s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{long}%"}}}},"eventVersion":"2.1","eventName":"a"}}"#
            ),
            format!(
                r#"{{"s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{long}%ff"}}}},"eventVersion":"2.1","eventName":"a"}}"#
            ),
        ] {
            let fault = fault(&message);
            assert!(fault.contains("xxx") && fault.len() < 1000, "{fault}");
        }
    }

    #[test]
    fn what_is_wrapped_too_often_or_too_large_is_refused() {
        let mut text = r#"{"Records":[]}"#.to_owned();
        for _ in 0..8 {
            text = serde_json::json!({ "Body": text }).to_string();
        }
        assert!(fault(&text).ends_with("expected at most 8 levels, found more"), "{}", fault(&text));
        let text = serde_json::json!({ "Body": "x".repeat(CARRIED + 1) }).to_string();
        assert_eq!(fault(&text), "invalid message at Body: expected at most 262144 bytes, found more");
        // The parser itself does not go down for ever either.
        assert!(
            fault(&"[".repeat(100_000)).starts_with("invalid message: expected JSON, found recursion limit exceeded")
        );
    }
}
