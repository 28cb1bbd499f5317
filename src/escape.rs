//! The one way in which text from outside is shown.
//!
//! Keys, names and header values come from strangers. Shown raw, they can move a terminal's cursor, forge log lines
//! or reverse the reading order. Every error and report of this crate shows them through [`escape`].

use std::fmt::{self, Write as _};

/// The longest text shown, in bytes of the original; what follows is cut and counted.
pub(crate) const SHOWN_BYTES: usize = 512;

/// Shows bytes from outside so that they cannot act on a terminal or a log.
///
/// - Control characters (C0, DEL, C1), bidirectional controls, line and paragraph separators, zero-width and other
///   invisible format characters stand as `\n`, `\t`, `\r`, `\u{..}`.
/// - Bytes that are not UTF-8 stand as `\xNN`.
/// - `\` and `"` are escaped, so that the text can be quoted and read back.
/// - At most 512 bytes are shown, then how many were left out.
///
/// ```
/// assert_eq!(posix_s3::escape(b"caf\xc3\xa9").to_string(), "café");
/// assert_eq!(posix_s3::escape(b"a\nb\x1b[2J\xff").to_string(), r"a\nb\u{1b}[2J\xff");
/// ```
#[must_use]
pub const fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// Text from outside, safe to print; made by [`escape`].
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown: usize = 0;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if shown.saturating_add(character.len_utf8()) > SHOWN_BYTES {
                    return self.write_rest(f, shown);
                }
                shown = shown.saturating_add(character.len_utf8());
                write_character(f, character)?;
            }
            for byte in chunk.invalid() {
                if shown >= SHOWN_BYTES {
                    return self.write_rest(f, shown);
                }
                shown = shown.saturating_add(1);
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl Escaped<'_> {
    fn write_rest(&self, f: &mut fmt::Formatter<'_>, shown: usize) -> fmt::Result {
        write!(f, "… ({} bytes more)", self.0.len().saturating_sub(shown))
    }
}

fn write_character(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\\' | '"' => {
            f.write_char('\\')?;
            f.write_char(character)
        }
        _ if character.is_control() || is_invisible(character) => write!(f, "\\u{{{:x}}}", u32::from(character)),
        _ => f.write_char(character),
    }
}

/// Characters that are not controls by category and still change what a reader sees.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A short owned excerpt of a value for an error message.
pub(crate) fn excerpt(bytes: &[u8]) -> Box<str> {
    escape(bytes).to_string().into_boxed_str()
}

/// One byte of a value as an error message shows it: `` `8` `` or `byte 0xff`.
pub(crate) fn found_byte(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("`{}`", char::from(byte)) } else { format!("byte 0x{byte:02x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_direction_marks_are_escaped() {
        let text = "a\u{7f}\u{9b}\u{202e}\u{2028}\u{200d}b".as_bytes();
        assert_eq!(escape(text).to_string(), r"a\u{7f}\u{9b}\u{202e}\u{2028}\u{200d}b");
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(escape(br#"a\"b"#).to_string(), r#"a\\\"b"#);
    }

    #[test]
    fn long_text_is_cut_and_counted() {
        let shown = escape(&[b'x'; 600]).to_string();
        assert_eq!(shown, format!("{}… (88 bytes more)", "x".repeat(512)));
    }

    #[test]
    fn line_breaks_and_tabs_have_their_short_form() {
        assert_eq!(escape(b"a\nb\rc\td").to_string(), r"a\nb\rc\td");
    }

    #[test]
    fn the_cut_counts_bytes_and_splits_no_character() {
        assert_eq!(escape(&[b'x'; 512]).to_string(), "x".repeat(512));
        assert_eq!(escape(&[0xff; 512]).to_string(), r"\xff".repeat(512));
        assert_eq!(escape(&[0xff; 514]).to_string(), format!("{}… (2 bytes more)", r"\xff".repeat(512)));
        let text = format!("{}\u{4e2d}\u{4e2d}", "x".repeat(508));
        assert_eq!(escape(text.as_bytes()).to_string(), format!("{}\u{4e2d}… (3 bytes more)", "x".repeat(508)));
    }

    #[test]
    fn a_byte_that_cannot_be_seen_is_shown_as_a_number() {
        assert_eq!((found_byte(b'8').as_str(), found_byte(b' ').as_str()), ("`8`", "byte 0x20"));
        assert_eq!(excerpt(b"a\xff").as_ref(), r"a\xff");
    }

    #[test]
    fn invalid_bytes_are_shown_one_by_one() {
        assert_eq!(escape(b"\xc0\xae/\xed\xa0\x80").to_string(), r"\xc0\xae/\xed\xa0\x80");
    }
}
