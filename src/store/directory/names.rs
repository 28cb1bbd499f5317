//! The names of the files of a bucket, and the walk over them in key order.

use super::disk::Root;
use super::object::damaged;
use super::{LOCK, MARKER, STAGING, is_absent};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// How many bytes of a segment one name holds. Each becomes at most three, and the ending makes 241 of 255.
const SEGMENT_PIECE: usize = 80;

/// The names of the file of a key, below the root.
pub(super) fn names_of(key: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut segments = key.as_bytes().split(|&byte| byte == b'/').peekable();
    while let Some(mut segment) = segments.next() {
        while let Some((piece, rest)) = segment.split_at_checked(SEGMENT_PIECE) {
            names.push(encode(piece, '~'));
            segment = rest;
        }
        names.push(encode(segment, if segments.peek().is_some() { '+' } else { '@' }));
    }
    names
}

fn encode(piece: &[u8], ending: char) -> String {
    let mut name = String::with_capacity(piece.len().saturating_add(1));
    for &byte in piece {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name.push(ending);
    name
}

/// What a name in the bucket's directory stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Object,
    Segment,
    Piece,
}

/// What a name stands for; `None` when it is none that [`names_of`] makes.
fn decode(name: &OsStr) -> Option<(Vec<u8>, NameKind)> {
    let (&ending, encoded) = name.as_bytes().split_last()?;
    let kind = match ending {
        b'@' => NameKind::Object,
        b'+' => NameKind::Segment,
        b'~' => NameKind::Piece,
        _ => return None,
    };
    let mut text = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' {
            let digits = [*bytes.next()?, *bytes.next()?];
            text.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            text.push(byte);
        }
    }
    // One spelling only, or two files would be one key.
    let is_ours = encode(&text, char::from(ending)).as_bytes() == name.as_bytes();
    let fits = if kind == NameKind::Piece { text.len() == SEGMENT_PIECE } else { text.len() < SEGMENT_PIECE };
    (is_ours && fits).then_some((text, kind))
}

/// Walks the files of a bucket in key order.
pub(super) struct KeyWalk {
    root: Root,
    pub(super) prefix: String,
    /// Only keys behind this one.
    after: Option<String>,
    stack: Vec<Level>,
}

/// A directory of which some names are still to come, next one last.
struct Level {
    path: PathBuf,
    names: Vec<(Vec<u8>, NameKind, PathBuf)>,
}

impl KeyWalk {
    pub(super) fn new(root: Root, prefix: String, after: Option<String>) -> io::Result<Self> {
        let mut walk = Self { root, prefix, after, stack: Vec::new() };
        walk.descend(PathBuf::new(), &[])?;
        Ok(walk)
    }

    /// The next key, which need not be UTF-8, and the path of its file below the root.
    pub(super) fn next_key(&mut self) -> io::Result<Option<(Vec<u8>, PathBuf)>> {
        while let Some(level) = self.stack.last_mut() {
            let Some((key, kind, name)) = level.names.pop() else {
                self.stack.pop();
                continue;
            };
            let path = level.path.join(name);
            if kind == NameKind::Object {
                return Ok(Some((key, path)));
            }
            self.descend(path, &key)?;
        }
        Ok(None)
    }

    fn descend(&mut self, path: PathBuf, key: &[u8]) -> io::Result<()> {
        let found = match self.root.names(&path) {
            // Emptied and removed since its name was read.
            Err(error) if is_absent(&error) => return Ok(()),
            other => other?,
        };
        let mut names = Vec::new();
        for name in found {
            let own =
                || [LOCK, STAGING].iter().any(|own| name == *own) || name.as_bytes().starts_with(MARKER.as_bytes());
            if path.as_os_str().is_empty() && own() {
                continue;
            }
            let Some((text, kind)) = decode(&name) else {
                let name = crate::escape::escape(name.as_bytes()).to_string();
                return Err(damaged(&format!("of the name \"{name}\", which is no key")));
            };
            let mut whole = key.to_vec();
            whole.extend_from_slice(&text);
            if kind == NameKind::Segment {
                whole.push(b'/');
            }
            if self.wants(&whole, kind) {
                names.push((whole, kind, PathBuf::from(name)));
            }
        }
        names.sort_unstable_by(|(left, ..), (right, ..)| right.cmp(left));
        self.stack.push(Level { path, names });
        Ok(())
    }

    /// Whether a key, or any key that starts so, is part of this walk.
    fn wants(&self, key: &[u8], kind: NameKind) -> bool {
        let prefix = self.prefix.as_bytes();
        let after = self.after.as_deref().map(str::as_bytes);
        if kind == NameKind::Object {
            return key.starts_with(prefix) && after.is_none_or(|after| key > after);
        }
        let below_prefix = key.starts_with(prefix) || prefix.starts_with(key);
        below_prefix && after.is_none_or(|after| key > after || after.starts_with(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_what_they_hold() {
        assert_eq!(names_of("a/b.txt"), ["a+", "b.txt@"]);
        assert_eq!(names_of("a//"), ["a+", "+", "@"]);
        assert_eq!(names_of("../é"), ["..+", "%C3%A9@"]);
        let long = "x".repeat(80);
        assert_eq!(
            names_of(&format!("{long}/{long}y")),
            [format!("{long}~"), "+".into(), format!("{long}~"), "y@".into()]
        );
    }
}
