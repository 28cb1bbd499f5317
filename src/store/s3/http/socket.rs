//! [`Socket`]: a connection of TCP, read only when there is something.

use async_io::Async;
use futures_util::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// Whoever reads asks each time that they are polled, and most often there is nothing yet. Once the system has said so, it is
/// not asked again before it has told that there is something, or [`Again`] asks for it.
pub(super) struct Socket {
    stream: Async<TcpStream>,
    /// There is nothing to be read until told otherwise.
    is_empty: bool,
    again: Again,
}

/// Has the system asked until there is nothing more, for whoever wants to know what has come by now and cannot wait to be told.
#[derive(Clone, Default)]
pub(super) struct Again(Arc<AtomicBool>);

impl Again {
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Socket {
    pub(super) const fn new(stream: Async<TcpStream>, again: Again) -> Self {
        Self { stream, is_empty: false, again }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.is_empty && !self.again.0.load(Ordering::Relaxed) {
                ready!(self.stream.poll_readable(context))?;
                self.is_empty = false;
            }
            match self.stream.get_ref().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_empty = true;
                    self.again.0.store(false, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) if length > 0 && length < buffer.len() => {
                    // All that had come. What comes later, or came meanwhile, is told.
                    self.is_empty = true;
                    return Poll::Ready(Ok(length));
                }
                read => return Poll::Ready(read),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
