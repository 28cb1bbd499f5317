//! Bodies that a check puts: [`Pieces`] of which the reading takes its time, or fails.

use super::super::{Body, Source, SourceError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// What the error of a body that cannot be read says, to be found among the causes of the store's error.
pub(super) const UNREADABLE: &str = "the conformance check lets this body fail";

/// How large a body is that hardly any store takes in one piece.
pub(super) const SEVERAL_PIECES: usize = (2 << 20) + 12_345;

/// What is wrong with a body.
#[derive(Clone, Copy)]
pub(super) enum Flaw {
    None,
    /// Bytes from this one on cannot be read.
    FailsFrom(u64),
    /// Each read answers a byte less than it was asked for.
    TooFew,
    /// Each read answers a byte more.
    TooMany,
}

struct Pieces {
    bytes: Bytes,
    flaw: Flaw,
}

impl Source for Pieces {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        Box::pin(async move {
            // So that another future gets a turn between any two pieces.
            step_aside().await;
            let end = offset.saturating_add(length as u64);
            let length = match self.flaw {
                Flaw::FailsFrom(first) if end > first => return Err(UNREADABLE.into()),
                Flaw::None | Flaw::FailsFrom(_) => length,
                Flaw::TooFew => length.saturating_sub(1),
                Flaw::TooMany => return Ok(pattern(length.saturating_add(1), 0)),
            };
            let rest = usize::try_from(offset).ok().filter(|_| end <= self.size()).and_then(|at| self.bytes.get(at..));
            let piece = rest.and_then(|rest| rest.get(..length)).map(Bytes::copy_from_slice);
            piece.ok_or_else(|| "the store has read beyond the end of the body".into())
        })
    }
}

/// Bytes in memory.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Body::Bytes(bytes.into())
}

/// Bytes that are read piece by piece, with a pause before each.
pub(super) fn pieces(bytes: impl Into<Bytes>) -> Body {
    flawed(bytes, Flaw::None)
}

/// Bytes that cannot be read as they should.
pub(super) fn flawed(bytes: impl Into<Bytes>, flaw: Flaw) -> Body {
    Body::Source(Arc::new(Pieces { bytes: bytes.into(), flaw }))
}

/// Bytes that differ from place to place, and from seed to seed at every place. The period is a prime, so that pieces
/// in the wrong order are seen.
pub(super) fn pattern(length: usize, seed: u8) -> Bytes {
    const PERIOD: usize = 251;
    let period: Vec<u8> = (0..251).cycle().skip(usize::from(seed)).take(PERIOD).collect();
    let mut bytes = period.repeat(length.div_ceil(PERIOD));
    bytes.truncate(length);
    bytes.into()
}

/// Gives the others a turn.
async fn step_aside() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a call some times and drops it, wherever it has come to.
pub(super) async fn drop_after<F: Future>(polls: usize, call: F) {
    let mut call = pin!(call);
    poll_fn(|context| {
        for _ in 0..polls {
            if call.as_mut().poll(context).is_ready() {
                break;
            }
        }
        Poll::Ready(())
    })
    .await;
}
