//! [`Reading`]: the bytes of an object on their way to whoever reads them.

use super::calls::{Content, Fetched, S3Calls};
use super::error::{CallError, Checksum};
use super::room::Held;
use super::store::{Inner, PARTS_AT_ONCE, parts, payload};
use crate::etag::ETag;
use crate::store::{GetOptions, GetOutput, Operation, StoreError, StoreErrorKind};
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, BoxStream, FuturesOrdered};
use futures_util::{FutureExt, StreamExt};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;
use thiserror::Error;

/// Bodies up to here are fetched whole, checked, and fetched again if need be before any of it is handed out, in bytes: 1 MiB.
/// It is what a processor has near at hand; larger ones pass by in pieces.
const WHOLE: u64 = 1 << 20;
/// Objects of up to so many parts are fetched in one request.
const PARTS_IN_ONE: u64 = 4;
/// How much has to be read for the tries to be counted anew, in bytes: a body that breaks off again and again, and gets on, is
/// not given up.
const ENOUGH: u64 = 1 << 20;
/// Digests of less are taken where it is read.
const MANY: usize = 128 << 10;

/// The bytes of one version that are still to be read.
///
/// 1. One range of it is read now: in pieces, as they are asked for. Broken off, it is gone on with from where it was.
/// 2. Behind it, parts are fetched before their turn, as far as there is memory. Each is tried once, and waits for nobody: one
///    that fails is read as 1, in its turn.
///
/// Invariant: `at..until`, the parts before their turn, `rest` follow each other without a gap.
///
/// Nothing is held while nobody asks but connections and the memory of 2. A place among the requests is given back once the
/// head of an answer is there.
pub(super) struct Reading<C> {
    inner: Arc<Inner<C>>,
    key: String,
    etag: ETag,
    /// The next byte to be handed out.
    at: u64,
    /// Where the range that is read now ends.
    until: u64,
    /// That range, if it is under way.
    pieces: Option<BoxStream<'static, Result<Bytes, CallError>>>,
    /// Whether more comes in these pieces than is wanted of them.
    is_cut: bool,
    tries: u32,
    /// Where the tries were last counted from.
    tried_from: u64,
    ahead: FuturesOrdered<BoxFuture<'static, Part>>,
    ready: VecDeque<Part>,
    /// What nobody has begun to fetch.
    rest: Range<u64>,
    digest: Option<Running>,
    /// Whether it was asked for by its version.
    is_named: bool,
}

/// A part that was fetched before its turn.
struct Part {
    end: u64,
    bytes: Result<Bytes, CallError>,
}

impl<C: S3Calls + 'static> Inner<C> {
    /// Fetches an object or a range of it.
    pub(super) async fn get(self: &Arc<Self>, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let at = |error: CallError| error.at(Operation::Get, key);
        let part = self.options.part_size;
        let most = part.saturating_mul(PARTS_IN_ONE);
        let expected = match &options.range {
            Some(range) if range.start >= range.end => {
                return Err(StoreError::new(Operation::Get, key, StoreErrorKind::InvalidRequest));
            }
            Some(range) => Some(range.end.saturating_sub(range.start)),
            None => options.expected_size,
        };
        let is_large = expected.is_some_and(|expected| expected > most);
        let asked = match &options.range {
            Some(range) if is_large => Some(range.start..range.start.saturating_add(part)),
            Some(range) => Some(range.clone()),
            None => is_large.then_some(0..part),
        };
        let held = match expected {
            Some(expected) if expected <= WHOLE => Some(self.memory.enter(expected).await),
            _ => None,
        };
        let mut first = self.fetch(key, asked.clone(), options).await;
        let mut is_ranged = asked.is_some();
        if options.range.is_none() && is_ranged && is_out_of_range(&first) {
            // It is empty by now.
            first = self.fetch(key, None, options).await;
            is_ranged = false;
        }
        let Fetched { meta, body, sha256 } = first.map_err(at)?;
        // Once it is handed out it is the reader's to account for.
        drop(held);
        let start = options.range.as_ref().map_or(0, |range| range.start);
        let end = options.range.as_ref().map_or(meta.size, |range| range.end.min(meta.size));
        // One that nobody has said to be large is fetched side by side from here on as well.
        let is_cut = !is_ranged && meta.size > most;
        let until = match asked.filter(|_| is_ranged) {
            Some(asked) => asked.end.min(end),
            None if is_cut => part,
            None => end,
        };
        if let Content::Whole(bytes) = &body
            && until >= end
        {
            let body = stream::iter((!bytes.is_empty()).then(|| Ok(bytes.clone())));
            return Ok(GetOutput { meta, body: body.boxed() });
        }
        let is_checked = !is_ranged && !is_cut;
        let reading = Reading {
            inner: Arc::clone(self),
            key: key.to_owned(),
            etag: meta.etag.clone(),
            at: start,
            until,
            pieces: Some(body.into_pieces()),
            is_cut,
            tries: 0,
            tried_from: start,
            ahead: FuturesOrdered::new(),
            ready: VecDeque::new(),
            rest: until..end.max(until),
            digest: sha256.filter(|_| is_checked).map(Running::new),
            is_named: options.if_match.is_some(),
        };
        let body = stream::unfold(reading, |mut reading| async move {
            let piece = reading.next().await?;
            Some((piece, reading))
        });
        Ok(GetOutput { meta, body: body.boxed() })
    }

    /// Fetches an object or a part of it in one request. What is whole is checked.
    async fn fetch(&self, key: &str, range: Option<Range<u64>>, options: &GetOptions) -> Result<Fetched, CallError> {
        self.made(|| async {
            let fetched = self.calls.get(key, range.clone(), options.if_match.as_ref(), WHOLE).await?;
            if let (Some(expected), Some(bytes)) = (fetched.sha256, fetched.body.whole()) {
                let found = payload(bytes.clone()).await;
                if *found.sha256() != expected {
                    return Err(CallError::unanswered(StoreErrorKind::Corrupt, Checksum));
                }
            }
            Ok(fetched)
        })
        .await
    }

    /// Fetches a range of a version: up to so many bytes whole.
    async fn fetch_range(&self, key: &str, range: Range<u64>, etag: &ETag, limit: u64) -> Result<Content, CallError> {
        let fetched = self.calls.get(key, Some(range), Some(etag), limit).await?;
        // There are servers that take no notice of the condition.
        if fetched.meta.etag != *etag {
            return Err(CallError::unanswered(StoreErrorKind::PreconditionFailed, Replaced));
        }
        Ok(fetched.body)
    }

    /// Fetches a part before its turn, once. The memory is given back with the last of its bytes.
    async fn fetch_part(&self, key: &str, range: Range<u64>, etag: &ETag, held: Held) -> Result<Bytes, CallError> {
        let length = range.end.saturating_sub(range.start);
        match self.once(|| self.fetch_range(key, range, etag, length)).await? {
            Content::Whole(bytes) if bytes.len() as u64 == length => {
                Ok(Bytes::from_owner(Accounted { bytes, _held: held }))
            }
            Content::Whole(_) | Content::Pieces(_) => Err(CallError::unanswered(StoreErrorKind::Corrupt, Cut)),
        }
    }
}

impl<C: S3Calls + 'static> Reading<C> {
    /// The next piece; `None` behind the last of them, and behind an error.
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        let piece = self.piece().await;
        if piece.is_err() {
            self.give_up();
        }
        piece.transpose().map(|piece| {
            piece.map_err(|error| match error.kind() {
                // Another version has taken its place.
                StoreErrorKind::PreconditionFailed | StoreErrorKind::NotFound => {
                    let kind = match self.is_named {
                        true => StoreErrorKind::PreconditionFailed,
                        false => StoreErrorKind::Transient,
                    };
                    StoreError::new(Operation::Get, &self.key, kind).with_source(error)
                }
                _ => error.at(Operation::Get, &self.key),
            })
        })
    }

    fn give_up(&mut self) {
        self.pieces = None;
        self.ahead.clear();
        self.ready.clear();
        (self.at, self.rest) = (self.until, self.until..self.until);
        self.digest = None;
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            self.fetch_ahead();
            let found = match &self.pieces {
                Some(_) if self.at < self.until => self.read().await,
                None if self.at < self.until => match self.open().await {
                    Ok(pieces) => {
                        self.pieces = Some(pieces);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                _ => {
                    self.end_range().await?;
                    match self.next_part().await {
                        Some(part) => {
                            self.until = part.end;
                            match part.bytes {
                                // Its time may be over since nobody has asked for long. Its turn has come only now.
                                Err(error) if error.is_unheard() => continue,
                                bytes => bytes,
                            }
                        }
                        None => match parts(self.rest.clone(), self.inner.options.part_size).next() {
                            Some(range) => {
                                (self.until, self.rest.start) = (range.end, range.end);
                                continue;
                            }
                            None => return Ok(None),
                        },
                    }
                }
            };
            match found {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return self.pass(piece).await.map(Some),
                Err(error) => {
                    self.pieces = None;
                    self.wait(error).await?;
                }
            }
        }
    }

    /// Begins to fetch parts before their turn, as far as there is memory and the store is not asked for too much.
    fn fetch_ahead(&mut self) {
        loop {
            let under_way = self.ahead.len().saturating_add(self.ready.len()).saturating_add(1);
            let Some(range) = parts(self.rest.clone(), self.inner.options.part_size).next() else { return };
            if under_way >= PARTS_AT_ONCE || !self.inner.limiter.has_room(under_way) {
                return;
            }
            let Some(held) = self.inner.ahead.try_enter(range.end.saturating_sub(range.start)) else { return };
            self.rest.start = range.end;
            let (inner, key, etag) = (Arc::clone(&self.inner), self.key.clone(), self.etag.clone());
            let part = async move { Part { end: range.end, bytes: inner.fetch_part(&key, range, &etag, held).await } };
            self.ahead.push_back(part.boxed());
        }
    }

    /// The next part that was fetched before its turn, if there is one.
    async fn next_part(&mut self) -> Option<Part> {
        match self.ready.pop_front() {
            Some(part) => Some(part),
            None => self.ahead.next().await,
        }
    }

    /// Asks for what is left of the range that is read now.
    async fn open(&mut self) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
        let Self { inner, key, etag, at, until, .. } = self;
        let content = inner.tried(|| inner.fetch_range(key, *at..*until, etag, 0)).await?;
        Ok(content.into_pieces())
    }

    /// The next piece of the range that is read now, no longer than what is left of it.
    async fn read(&mut self) -> Result<Bytes, CallError> {
        let left = usize::try_from(self.until.saturating_sub(self.at)).unwrap_or(usize::MAX);
        match self.received().await {
            Some(Ok(mut piece)) => {
                piece.truncate(left);
                Ok(piece)
            }
            Some(Err(error)) => Err(error),
            None => Err(CallError::unanswered(StoreErrorKind::Transient, Cut)),
        }
    }

    /// What comes next of the range that is read now. What is fetched before its turn goes on meanwhile.
    async fn received(&mut self) -> Option<Result<Bytes, CallError>> {
        let Self { pieces, ahead, ready, .. } = self;
        let pieces = pieces.as_mut()?;
        poll_fn(|context| {
            while let Poll::Ready(Some(part)) = ahead.poll_next_unpin(context) {
                ready.push_back(part);
            }
            pieces.poll_next_unpin(context)
        })
        .await
    }

    /// Leaves the connection of a range that was read to its end to others.
    async fn end_range(&mut self) -> Result<(), CallError> {
        while !self.is_cut
            && let Some(after) = self.received().await
        {
            match after {
                Err(error) if error.kind() == StoreErrorKind::Corrupt => return Err(error),
                // All of it is there.
                Err(_) => break,
                Ok(_) => {}
            }
        }
        (self.pieces, self.is_cut) = (None, false);
        Ok(())
    }

    /// Hands out a piece. The last one only if all of them are what was put.
    async fn pass(&mut self, piece: Bytes) -> Result<Bytes, CallError> {
        self.at = self.at.saturating_add(piece.len() as u64);
        if let Some(digest) = &mut self.digest {
            digest.take(&piece).await;
            if self.at >= self.until && !digest.is_right().await {
                return Err(CallError::unanswered(StoreErrorKind::Corrupt, Checksum));
            }
        }
        Ok(piece)
    }

    /// Waits before the next try.
    async fn wait(&mut self, error: CallError) -> Result<(), CallError> {
        if self.at.saturating_sub(self.tried_from) >= ENOUGH {
            (self.tries, self.tried_from) = (0, self.at);
        }
        self.tries = self.tries.saturating_add(1);
        let Some(wait) = self.inner.retries.wait(&error, self.tries, fastrand::f64()) else { return Err(error) };
        self.inner.calls.sleep(wait).await;
        Ok(())
    }
}

/// The SHA-256 of pieces, taken while they are being written.
struct Running {
    expected: [u8; 32],
    taken: BoxFuture<'static, Sha256>,
}

impl Running {
    fn new(expected: [u8; 32]) -> Self {
        Self { expected, taken: ready(Sha256::new()).boxed() }
    }

    async fn take(&mut self, piece: &Bytes) {
        let mut digest = (&mut self.taken).await;
        self.taken = if piece.len() < MANY {
            digest.update(piece);
            ready(digest).boxed()
        } else {
            let piece = piece.clone();
            blocking::unblock(move || {
                digest.update(&piece);
                digest
            })
            .boxed()
        };
    }

    /// Whether they are what was expected.
    async fn is_right(&mut self) -> bool {
        let digest = (&mut self.taken).await;
        self.taken = ready(digest.clone()).boxed();
        self.expected == <[u8; 32]>::from(digest.finalize())
    }
}

/// Bytes that are accounted for as long as anybody has them.
struct Accounted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn is_out_of_range(fetched: &Result<Fetched, CallError>) -> bool {
    matches!(fetched, Err(error) if error.answer().is_some_and(|answer| answer.status() == 416))
}

/// A version was asked for, and another one answered.
#[derive(Debug, Error)]
#[error("the object is another version by now")]
struct Replaced;

/// A range that ends before its end.
#[derive(Debug, Error)]
#[error("the body ends before its end")]
struct Cut;
