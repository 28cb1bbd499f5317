//! One connection that carries requests one way and answers the other.

use memchr::memmem;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

/// The longest head that is taken.
const LONGEST_HEAD: usize = 64 << 10;
/// What is read from the socket at once.
const BLOCK: usize = 256 << 10;
/// Bodies up to here are copied behind their head, so that both take one system call and fit into one packet.
pub const SMALL: usize = 64 << 10;

/// A socket, and what has been read from it ahead.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Wire {
    /// Answers and requests are written whole, so nothing is gained by waiting for more.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BLOCK].into(), from: 0, to: 0 })
    }

    /// The next head with its empty line; false at the end of the connection.
    pub fn read_head(&mut self, head: &mut Vec<u8>) -> io::Result<bool> {
        self.read_until(b"\r\n\r\n", head)
    }

    /// The next line with its end.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        self.read_until(b"\r\n", line)
    }

    fn read_until(&mut self, end: &[u8], into: &mut Vec<u8>) -> io::Result<bool> {
        into.clear();
        loop {
            let waiting = &self.buffer[self.from..self.to];
            if let Some(at) = memmem::find(waiting, end) {
                into.extend_from_slice(&waiting[..at + end.len()]);
                self.from += at + end.len();
                return Ok(true);
            }
            if waiting.len() > LONGEST_HEAD {
                return Err(io::Error::new(ErrorKind::InvalidData, "a head without an end"));
            }
            if !self.read_more()? {
                return Ok(false);
            }
        }
    }

    /// Appends the next bytes, so many.
    pub fn read_body(&mut self, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.reserve_exact(length);
        let ahead = length.min(self.to - self.from);
        into.extend_from_slice(&self.buffer[self.from..self.from + ahead]);
        self.from += ahead;
        let rest = (length - ahead) as u64;
        if (&self.stream).take(rest).read_to_end(into)? as u64 != rest {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Hands the next bytes on as they come, so many.
    pub fn pass_body(&mut self, length: usize, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.from == self.to && !self.read_more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let some = left.min(self.to - self.from);
            sink(&self.buffer[self.from..self.from + some])?;
            self.from += some;
            left -= some;
        }
        Ok(())
    }

    /// Reads once; false at the end of the connection.
    fn read_more(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        let count = self.stream.read(&mut self.buffer[self.to..])?;
        self.to += count;
        Ok(count > 0)
    }

    /// Sends a head and what belongs to it.
    pub fn write(&mut self, head: &mut Vec<u8>, body: &[u8]) -> io::Result<()> {
        if body.len() <= SMALL {
            head.extend_from_slice(body);
            return self.stream.write_all(head);
        }
        let sent = self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
        if let Some(rest) = head.get(sent..) {
            self.stream.write_all(rest)?;
        }
        self.stream.write_all(&body[sent.saturating_sub(head.len())..])
    }
}
