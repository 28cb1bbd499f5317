//! [`MessageStream`]: messages one after the other, from a file or a pipe.

use super::message::{InvalidMessage, MessageFault, MessagePosition, Notice, read_message};
use crate::escape::found_byte;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use thiserror::Error;

/// How deep brackets may be in each other.
const DEPTH: usize = 64;

/// Messages one after the other, each JSON, with whatever white space between them: a line each, or printed over many.
///
/// - Each message is read as [`read_message`] does.
/// - A message has at most [`LIMIT`](Self::LIMIT) bytes, and of what is in it [`read_message`] reads only so much. So memory is
///   bounded: one message is held at a time, with what it brings, in less than 100 MiB for the worst that a stranger can
///   send.
/// - A message that cannot be read is an error that says where it begins, and the next one is read. The next one begins at
///   a line whose first byte is `{`; after a message that ends within a text, at the next line.
///
/// ```
/// use posix_s3::repository::MessageStream;
///
/// let input = "{\"Event\": \"s3:TestEvent\"}\n{\"Records\":\n[]}\nnonsense\n{\"Event\": \"s3:TestEvent\"}\n";
/// let read: Vec<_> = MessageStream::new(input.as_bytes()).collect();
/// assert_eq!(read.iter().filter(|notice| notice.is_ok()).count(), 2);
/// let error = read[1].as_ref().unwrap_err();
/// assert_eq!(error.to_string(), "invalid message in line 4 (byte 42): expected JSON, found `n`");
/// ```
#[derive(Debug)]
pub struct MessageStream<R> {
    input: BufReader<R>,
    ready: VecDeque<Result<Notice, InvalidMessage>>,
    at: MessagePosition,
    /// Whether the last byte ended a line.
    at_line_start: bool,
    ended: bool,
}

/// A stream that failed, or a message in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The input could not be read on. Nothing more comes.
    #[error("the messages could not be read on")]
    Io(#[from] io::Error),
    /// A message, or a part of one, could not be read.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
}

/// A message that was cut out of the stream.
struct Cut {
    position: MessagePosition,
    text: Result<Vec<u8>, MessageFault>,
}

/// What stands around a byte of a message.
#[derive(Default)]
struct Scan {
    /// The brackets that are open, by whether they are those of an object.
    open: Vec<bool>,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// Goes on by a byte. Answers whether the message ends with it.
    fn step(&mut self, byte: u8) -> bool {
        if self.in_text {
            let was_escaped = std::mem::take(&mut self.escaped);
            match byte {
                b'\\' => self.escaped = !was_escaped,
                b'"' => self.in_text = was_escaped,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.open.push(byte == b'{'),
            b'}' | b']' => {
                self.open.pop();
                return self.open.is_empty();
            }
            _ => {}
        }
        false
    }

    /// Whether a line that begins with `{` can only be that of the next message. In a list of messages it is one of them.
    fn ends_before_an_object(&self) -> bool {
        !self.in_text && !matches!(*self.open, [false])
    }
}

impl<R: Read> MessageStream<R> {
    /// The most bytes of a message: 4 MiB, which is room for the ten messages of an answer of SQS with all their escapes.
    pub const LIMIT: usize = 4 << 20;

    /// Begins at the start of the input.
    pub fn new(input: R) -> Self {
        Self {
            input: BufReader::new(input),
            ready: VecDeque::new(),
            at: MessagePosition { line: 1, byte: 0 },
            at_line_start: true,
            ended: false,
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn pass(&mut self, byte: u8) {
        self.input.consume(1);
        self.at.byte = self.at.byte.saturating_add(1);
        self.at_line_start = byte == b'\n';
        if self.at_line_start {
            self.at.line = self.at.line.saturating_add(1);
        }
    }

    /// Passes over the rest of a line.
    fn pass_line(&mut self) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            self.pass(byte);
            if self.at_line_start {
                break;
            }
        }
        Ok(())
    }

    /// Passes over everything before the next line that begins with `{`.
    fn pass_message(&mut self) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            if self.at_line_start && byte == b'{' {
                break;
            }
            self.pass(byte);
        }
        Ok(())
    }

    /// The next message; `None` at the end.
    fn cut(&mut self) -> io::Result<Option<Cut>> {
        let first = loop {
            match self.peek()? {
                None => return Ok(None),
                // Also the mark before each text of a JSON sequence (RFC 7464).
                Some(byte) if byte.is_ascii_whitespace() || byte == 0x1e => self.pass(byte),
                Some(byte) => break byte,
            }
        };
        let position = self.at;
        let failed = |fault| Ok(Some(Cut { position, text: Err(fault) }));
        if !matches!(first, b'{' | b'[') {
            self.pass_line()?;
            return failed(MessageFault::Json { found: found_byte(first).into() });
        }
        let (mut text, mut scan) = (Vec::new(), Scan::default());
        loop {
            let Some(byte) = self.peek()? else {
                return failed(MessageFault::Unfinished { found: "the end" });
            };
            if self.at_line_start && byte == b'{' && !text.is_empty() && scan.ends_before_an_object() {
                return failed(MessageFault::Unfinished { found: "another message" });
            }
            self.pass(byte);
            text.push(byte);
            if scan.in_text && byte == b'\n' {
                return failed(MessageFault::Unfinished { found: "the end of the line within a text" });
            }
            if scan.step(byte) {
                return Ok(Some(Cut { position, text: Ok(text) }));
            }
            if text.len() >= Self::LIMIT {
                self.pass_message()?;
                return failed(MessageFault::TooLong { limit: Self::LIMIT });
            }
            if scan.open.len() > DEPTH {
                self.pass_message()?;
                return failed(MessageFault::TooDeep { limit: DEPTH });
            }
        }
    }
}

impl<R: Read> Iterator for MessageStream<R> {
    type Item = Result<Notice, StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready.map_err(StreamError::from));
            }
            if self.ended {
                return None;
            }
            match self.cut() {
                Ok(Some(Cut { position, text: Ok(text) })) => {
                    let read = read_message(&text).into_iter();
                    self.ready.extend(read.map(|notice| notice.map_err(|error| error.at(position))));
                }
                Ok(Some(Cut { position, text: Err(fault) })) => {
                    return Some(Err(InvalidMessage::new(Some(position), "".into(), fault).into()));
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"data"}"#;

    /// `t` for a test event, else what is wrong.
    fn read(input: &str) -> Vec<String> {
        MessageStream::new(input.as_bytes())
            .map(|notice| match notice {
                Ok(Notice::Test { .. }) => "t".to_owned(),
                Ok(other) => format!("{other:?}"),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    #[test]
    fn messages_may_stand_in_lines_or_over_many() {
        let pretty = "{\n    \"Event\": \"s3:TestEvent\",\n    \"Brackets\": \"{[\\\"\\\\\"\n}";
        for input in [
            format!("{TEST}\n{TEST}\n"),
            format!("{TEST}{TEST}"),
            format!("\r\n {TEST} \t\u{1e}{TEST}\r\n"),
            format!("{pretty}\n{pretty}\n"),
            format!("[{TEST},{TEST}]"),
            format!("[\n{TEST},\n{TEST}\n]\n"),
        ] {
            assert_eq!(read(&input), ["t", "t"], "{input}");
        }
        assert_eq!(read(""), Vec::<String>::new());
    }

    #[test]
    fn a_bad_message_is_one_error_and_the_next_is_read() {
        for (bad, fault) in [
            ("nonsense {", "in line 2 (byte 63): expected JSON, found `n`"),
            (r#"{"Records":[{"#, "in line 2 (byte 63): expected the rest of a message, found another message"),
            (
                r#"{"Records":[{"ev"#,
                "in line 2 (byte 63): expected the rest of a message, found the end of the line within a text",
            ),
            (r#"{"a" 7}"#, "in line 2 (byte 63): expected JSON, found expected `:` at line 1 column 6"),
            (
                "[7]",
                "in line 2 (byte 63) at [0]: expected an S3 event, or a message of SNS, SQS or EventBridge that holds one, found the number 7",
            ),
        ] {
            let input = format!("{TEST}\n{bad}\n{TEST}\n");
            assert_eq!(read(&input), ["t", &format!("invalid message {fault}"), "t"], "{bad}");
        }
        assert_eq!(
            read(r#"{"a":"#),
            ["invalid message in line 1 (byte 0): expected the rest of a message, found the end"]
        );
    }

    #[test]
    fn a_message_that_is_too_large_or_too_deep_is_passed_over() {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MessageStream::<&[u8]>::LIMIT));
        let deep = format!("{{\"a\":{}", "[".repeat(65));
        let expected = |what: &str| vec![format!("invalid message in line 1 (byte 0): {what}"), "t".to_owned()];
        assert_eq!(read(&format!("{large}\n{TEST}")), expected("expected at most 4194304 bytes, found more"));
        assert_eq!(read(&format!("{deep}\n{TEST}")), expected("expected at most 64 levels, found more"));
    }

    #[test]
    fn an_input_that_fails_ends_the_stream() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let mut stream = MessageStream::new(TEST.as_bytes().chain(Fails));
        assert!(matches!(stream.next(), Some(Ok(Notice::Test { .. }))));
        assert_eq!(stream.next().unwrap().unwrap_err().to_string(), "the messages could not be read on");
        assert!(stream.next().is_none());
    }
}
