//! The XML of answers: elements as they close, with their text; and that of requests.

use crate::store::StoreErrorKind;
use crate::store::s3::error::CallError;
use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use std::borrow::Cow;
use thiserror::Error;

/// What an answer is made of, in order.
pub(super) enum Step<'a> {
    Open(&'a str),
    /// The text is whatever stood between the element's own tags, untrimmed.
    Close {
        name: &'a str,
        text: &'a str,
    },
}

/// Why an answer could not be read.
#[derive(Debug, Error)]
pub(super) enum InvalidAnswer {
    #[error("expected XML")]
    Xml(#[source] Unreadable),
    #[error("expected a character reference, found {0:?}")]
    Reference(Box<str>),
    #[error("expected elements up to {MAX_DEPTH} deep")]
    Depth,
    #[error("expected the end of {0:?}")]
    Open(Box<str>),
    #[error("expected the end of the answer")]
    Behind,
    #[error("expected {what}, found {found:?}")]
    Value { what: &'static str, found: Box<str> },
    #[error("expected {0}, found nothing")]
    Missing(&'static str),
}

/// What the reader says, which shows what it has read: escaped, since that came from a server.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Unreadable(Box<str>);

fn unreadable(error: impl Into<quick_xml::Error>) -> InvalidAnswer {
    InvalidAnswer::Xml(Unreadable(crate::escape::excerpt(error.into().to_string().as_bytes())))
}

/// No answer of S3 is deeper than this.
const MAX_DEPTH: usize = 16;

impl From<InvalidAnswer> for CallError {
    fn from(error: InvalidAnswer) -> Self {
        Self::unanswered(StoreErrorKind::Corrupt, error)
    }
}

pub(super) fn invalid(what: &'static str, found: &str) -> InvalidAnswer {
    InvalidAnswer::Value { what, found: crate::escape::excerpt(found.as_bytes()) }
}

/// Reads XML from its start to its end.
pub(super) fn read(xml: &[u8], mut on: impl FnMut(Step<'_>) -> Result<(), InvalidAnswer>) -> Result<(), InvalidAnswer> {
    let mut reader = Reader::from_reader(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut is_over = false;
    loop {
        match reader.read_event().map_err(unreadable)? {
            // A second answer behind the first, or something else around it: not all of it was meant.
            Event::Start(_) if is_over => return Err(InvalidAnswer::Behind),
            Event::Text(part) if open.is_empty() && !part.trim_ascii().is_empty() => return Err(InvalidAnswer::Behind),
            Event::CData(_) | Event::GeneralRef(_) if open.is_empty() => return Err(InvalidAnswer::Behind),
            Event::Start(start) => {
                if open.len() >= MAX_DEPTH {
                    return Err(InvalidAnswer::Depth);
                }
                let name = start.local_name().as_ref().to_owned();
                on(Step::Open(&name))?;
                open.push(name);
                text.clear();
            }
            Event::End(_) => {
                // Invariant: the reader checks that what is closed was open.
                let Some(name) = open.pop() else { return Err(InvalidAnswer::Missing("an open element")) };
                on(Step::Close { name: &name, text: &text })?;
                text.clear();
                is_over = open.is_empty();
            }
            Event::Text(part) => text.push_str(writable(&part)?),
            Event::CData(part) => text.push_str(writable(&part)?),
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let character = reference.resolve_char_ref().map_err(unreadable)?;
                match (character, resolve_predefined_entity(name)) {
                    (Some(character), _) => text.push(character),
                    (None, Some(resolved)) => text.push_str(resolved),
                    (None, None) => return Err(InvalidAnswer::Reference(crate::escape::excerpt(name.as_bytes()))),
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match open.pop() {
        Some(name) => Err(InvalidAnswer::Open(crate::escape::excerpt(name.as_bytes()))),
        None => Ok(()),
    }
}

/// Text of an answer. A control character can only be one that the server has not encoded: what else it has changed, nobody
/// knows.
fn writable(text: &str) -> Result<&str, InvalidAnswer> {
    let is_control = |character: char| character < ' ' && !matches!(character, '\t' | '\n' | '\r');
    if text.contains(is_control) {
        return Err(invalid("no control characters", text));
    }
    Ok(text)
}

/// Text as it stands in XML; `None` when there is no way to write one of its characters.
pub(super) fn text(text: &str) -> Option<Cow<'_, str>> {
    let is_writable = |character: char| match character {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => character >= ' ',
    };
    if !text.chars().all(is_writable) {
        return None;
    }
    let escaped = escape(text);
    // As they are, a reader would fold them.
    if escaped.contains(['\t', '\n', '\r']) {
        let escaped = escaped.replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;");
        return Some(Cow::Owned(escaped));
    }
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(xml: &str) -> Result<Vec<(String, String)>, InvalidAnswer> {
        let mut found = Vec::new();
        read(xml.as_bytes(), |step| {
            if let Step::Close { name, text } = step {
                found.push((name.to_owned(), text.to_owned()));
            }
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn text_is_neither_trimmed_nor_folded() {
        let found = texts("<?xml version=\"1.0\"?>\n<a xmlns=\"urn:x\"><Key> sp &amp;&#x41;&#10;\u{e9} </Key><b/></a>")
            .unwrap();
        let expected = [("Key", " sp &A\n\u{e9} "), ("b", ""), ("a", "")];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (xml, message) in [
            ("<a>&lol;</a>", "expected a character reference, found \"lol\""),
            ("<a><b></b>", "expected the end of \"a\""),
            ("<a></b>", "expected XML"),
            ("<a/><a/>", "expected the end of the answer"),
            ("OK", "expected the end of the answer"),
            ("<a/>&amp;", "expected the end of the answer"),
            ("<![CDATA[x]]><a/>", "expected the end of the answer"),
            (&"<a>".repeat(17), "expected elements up to 16 deep"),
        ] {
            assert_eq!(texts(xml).unwrap_err().to_string(), message, "{xml}");
        }
    }

    #[test]
    fn what_a_server_says_is_escaped_in_the_error() {
        let refused = texts("<a></b\u{1b}[2J>").unwrap_err();
        let said = std::error::Error::source(&refused).unwrap().to_string();
        assert!(said.contains("b\\u{1b}[2J"), "{said}");
    }

    #[test]
    fn a_character_that_xml_has_not_is_not_written() {
        assert_eq!(text("a<&\u{e9}\n ").as_deref(), Some("a&lt;&amp;\u{e9}&#10; "));
        assert_eq!(text("a\u{1}"), None);
        assert_eq!(text("\u{ffff}"), None);
    }
}
