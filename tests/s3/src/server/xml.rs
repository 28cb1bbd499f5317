//! XML, as S3 writes and reads it.

use super::refusal::Refusal;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::fmt::Write as _;

/// Text for a document. Control characters are references, of which XML 1.0 allows only three.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(escaped, "&#x{:x};", u32::from(character));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// What `encoding-type=url` leaves as it is; a space becomes `+`.
const LEFT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

/// A key as `encoding-type=url` shows it.
pub(super) fn url_encode(text: &str) -> String {
    utf8_percent_encode(text, LEFT).to_string().replace(' ', "+")
}

/// An element with a text, ready to be written.
pub(super) fn element(name: &str, text: impl ToString) -> String {
    format!("<{name}>{}</{name}>", escape(&text.to_string()))
}

/// An element of a request: its name, its text, what is in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The text of the first child of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    /// Reads a whole document.
    pub(super) fn parse(document: &[u8]) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::malformed_xml();
        let document = std::str::from_utf8(document).map_err(|_| Refusal::malformed_xml())?;
        let mut reader = Reader::from_str(document);
        let mut open = vec![Self::default()];
        loop {
            let top = open.last_mut().ok_or_else(Refusal::malformed_xml)?;
            match reader.read_event().map_err(malformed)? {
                Event::Start(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    open.push(Self { name, ..Self::default() });
                }
                Event::Empty(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    top.children.push(Self { name, ..Self::default() });
                }
                Event::End(_) => {
                    let closed = open.pop().ok_or_else(Refusal::malformed_xml)?;
                    open.last_mut().ok_or_else(Refusal::malformed_xml)?.children.push(closed);
                }
                // Line ends that are not written as references are read as one line feed each.
                Event::Text(text) => top.text.push_str(&text.xml10_content()),
                Event::CData(text) => top.text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = match reference.resolve_char_ref().map_err(malformed)? {
                        Some(character) => character,
                        None => match &*reference {
                            "amp" => '&',
                            "lt" => '<',
                            "gt" => '>',
                            "quot" => '"',
                            "apos" => '\'',
                            _ => return Err(Refusal::malformed_xml()),
                        },
                    };
                    top.text.push(character);
                }
                Event::Eof => break,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(mut document), true) if document.children.len() == 1 => {
                document.children.pop().ok_or_else(Refusal::malformed_xml)
            }
            _ => Err(Refusal::malformed_xml()),
        }
    }
}
