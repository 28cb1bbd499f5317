//! Law: whatever the bytes, what is shown holds nothing that acts on a terminal, a log or the reading order, is of
//! bounded length, and reads back as the bytes, or as their beginning when it was cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::escape;

/// Controls, bidirectional controls, line and paragraph separators, zero-width characters.
fn acts(character: char) -> bool {
    let direction =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let invisible =
        matches!(character, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    character.is_control() || direction || invisible
}

fn unescaped(mut text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((plain, escape)) = text.split_once('\\') {
        let (kind, behind) = escape.split_at(1);
        bytes.extend(plain.bytes());
        text = behind;
        match kind {
            "n" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "x" => {
                bytes.push(u8::from_str_radix(&behind[..2], 16).unwrap());
                text = &behind[2..];
            }
            "u" => {
                let (number, behind) = behind[1..].split_once('}').unwrap();
                let character = char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap();
                bytes.extend(character.to_string().bytes());
                text = behind;
            }
            quoted => bytes.extend(quoted.bytes()),
        }
    }
    bytes.extend(text.bytes());
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let shown = escape(bytes).to_string();
    assert!(!shown.contains(acts));
    assert!(shown.len() <= 512 * 6 + 40);
    if bytes.len() <= 512 {
        assert_eq!(unescaped(&shown), bytes);
    } else {
        let (start, count) = shown.rsplit_once("… (").unwrap();
        let left_out: usize = count.strip_suffix(" bytes more)").unwrap().parse().unwrap();
        assert_eq!(unescaped(start), bytes[..bytes.len() - left_out]);
        assert!(bytes.len() - left_out <= 512);
    }
});
