//! [`Batches`]: deletions that come while one is under way go together in the next request.

use super::calls::S3Calls;
use super::error::CallError;
use super::store::S3Store;
use super::wire::survives_xml;
use futures_channel::oneshot;
use std::sync::{Mutex, PoisonError};

/// What S3 takes in one request.
const MOST: usize = 1000;

#[derive(Default)]
pub(super) struct Batches {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(Box<str>, oneshot::Sender<Turn>)>,
    /// How many requests are under way, for which the others wait.
    running: usize,
}

/// What comes of waiting.
enum Turn {
    /// The key was part of a request.
    Answered(Result<(), CallError>),
    /// The one that waited makes the next request, of these keys.
    Lead(Vec<(Box<str>, oneshot::Sender<Turn>)>),
}

/// How many requests are made side by side. Few, so that each has many keys.
const SIDE_BY_SIDE: usize = 4;

/// A place among those that make requests, given back when dropped.
struct Running<'a>(&'a Batches);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.next();
    }
}

impl Batches {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the next request to the first of those who wait for it and still wait.
    fn next(&self) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        while !state.waiting.is_empty() {
            let many = state.waiting.len().min(MOST);
            let mut batch: Vec<_> = state.waiting.drain(..many).collect();
            // The leader's own key stays in front, with nobody else to tell.
            let (key, leader) = batch.remove(0);
            let (unheard, _) = oneshot::channel();
            batch.insert(0, (key, unheard));
            match leader.send(Turn::Lead(batch)) {
                Ok(()) => {
                    state.running = state.running.saturating_add(1);
                    return;
                }
                Err(Turn::Lead(mut rest)) => {
                    // It was dropped while it waited: its key is not deleted.
                    rest.remove(0);
                    rest.append(&mut state.waiting);
                    state.waiting = rest;
                }
                Err(Turn::Answered(_)) => {}
            }
        }
    }
}

impl<C: S3Calls> S3Store<C> {
    /// Deletes a key, in one request with others that are deleted at the same time.
    pub(super) async fn delete_in_batch(&self, key: &str) -> Result<(), CallError> {
        let (inner, batches) = (&self.inner, &self.inner.batches);
        if !survives_xml(key) {
            return inner.made(|| inner.calls.delete(key, None)).await;
        }
        let receiver = {
            let mut state = batches.state();
            if state.running < SIDE_BY_SIDE {
                state.running = state.running.saturating_add(1);
                None
            } else {
                let (sender, receiver) = oneshot::channel();
                state.waiting.push((key.into(), sender));
                Some(receiver)
            }
        };
        let Some(receiver) = receiver else {
            let _running = Running(batches);
            return inner.made(|| inner.calls.delete(key, None)).await;
        };
        match receiver.await {
            Ok(Turn::Answered(result)) => result,
            Ok(Turn::Lead(batch)) => {
                let _running = Running(batches);
                self.delete_all(batch).await
            }
            // Whoever made the request was dropped; it may have been heard or not.
            Err(_) => inner.made(|| inner.calls.delete(key, None)).await,
        }
    }

    /// Deletes a batch, tells the others, and answers what became of the first.
    async fn delete_all(&self, batch: Vec<(Box<str>, oneshot::Sender<Turn>)>) -> Result<(), CallError> {
        let inner = &self.inner;
        let (keys, waiting): (Vec<Box<str>>, Vec<_>) = batch.into_iter().unzip();
        if let [key] = keys.as_slice() {
            return inner.made(|| inner.calls.delete(key, None)).await;
        }
        let answered = inner.made(|| inner.calls.delete_batch(&keys)).await;
        let mut answered = match answered {
            Ok(answered) if answered.len() == keys.len() => answered.into_iter().map(Some).collect(),
            // A store that has no batches, and one that failed as a whole: each on its own says best why.
            _ => Vec::new(),
        };
        answered.resize_with(keys.len(), || None);
        let mut own = Ok(());
        for (place, ((key, sender), answer)) in keys.iter().zip(waiting).zip(answered).enumerate() {
            let result = match answer {
                Some(Ok(())) => Ok(()),
                // A failure that may pass, and one that nobody told of.
                _ => inner.made(|| inner.calls.delete(key, None)).await,
            };
            if place == 0 {
                own = result;
            } else {
                let _ = sender.send(Turn::Answered(result));
            }
        }
        own
    }
}
