//! [`Batches`]: deletions that come while one is under way go together in the next request.

use super::calls::S3Calls;
use super::error::CallError;
use super::store::S3Store;
use super::wire::survives_xml;
use futures_channel::oneshot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What S3 takes in one request.
const MOST: usize = 1000;

#[derive(Clone, Default)]
pub(super) struct Batches {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// How many requests are under way, for which the others wait.
    running: usize,
}

/// A key, and whoever waits for it to be deleted.
type Waiting = (Box<str>, oneshot::Sender<Turn>);

/// What comes of waiting.
enum Turn {
    /// The key was part of a request.
    Answered(Result<(), CallError>),
    /// The one that waited makes the next request: of its own key and of those of others.
    Lead(Box<str>, Vec<Waiting>, Running),
}

/// How many requests are made side by side. Few, so that each has many keys.
const SIDE_BY_SIDE: usize = 4;

/// A place among those that make requests. When it is given back, the next request is made.
struct Running {
    batches: Option<Batches>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(batches) = self.batches.take() {
            batches.hand_on();
        }
    }
}

impl Batches {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the next request to the first of those who still wait for it.
    fn hand_on(self) {
        let mut batches = Some(self);
        while let Some(this) = batches.take() {
            let mut state = this.state();
            if state.waiting.is_empty() {
                state.running = state.running.saturating_sub(1);
                return;
            }
            let many = state.waiting.len().min(MOST);
            let mut batch = state.waiting.drain(..many);
            let Some((key, leader)) = batch.next() else { return };
            let rest: Vec<Waiting> = batch.collect();
            drop(state);
            let running = Running { batches: Some(this) };
            if let Err(Turn::Lead(_, mut rest, mut running)) = leader.send(Turn::Lead(key, rest, running)) {
                // It was dropped while it waited: its key is not deleted, and the others go on waiting.
                batches = running.batches.take();
                if let Some(this) = &batches {
                    let mut state = this.state();
                    rest.append(&mut state.waiting);
                    state.waiting = rest;
                }
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
            let _running = Running { batches: Some(batches.clone()) };
            return inner.made(|| inner.calls.delete(key, None)).await;
        };
        match receiver.await {
            Ok(Turn::Answered(result)) => result,
            Ok(Turn::Lead(key, others, _running)) => self.delete_all(key, others).await,
            // Whoever made the request was dropped; it may have been heard or not.
            Err(_) => inner.made(|| inner.calls.delete(key, None)).await,
        }
    }

    /// Deletes a key and those of others, and tells them.
    async fn delete_all(&self, key: Box<str>, others: Vec<Waiting>) -> Result<(), CallError> {
        let inner = &self.inner;
        if others.is_empty() {
            return inner.made(|| inner.calls.delete(&key, None)).await;
        }
        let mut keys = vec![key.clone()];
        keys.extend(others.iter().map(|(key, _)| key.clone()));
        let answered = inner.made(|| inner.calls.delete_batch(&keys)).await;
        let answered = answered.ok().filter(|answered| answered.len() == keys.len());
        let mut answers = answered.into_iter().flatten();
        let own = self.delete_unless(&key, answers.next()).await;
        for (key, sender) in others {
            let result = self.delete_unless(&key, answers.next()).await;
            let _ = sender.send(Turn::Answered(result));
        }
        own
    }

    /// Deletes a key by itself, unless a batch has done so. A store that has no batches, a batch that failed as a whole and a
    /// key of it that failed: a request for the key alone says best why.
    async fn delete_unless(&self, key: &str, answer: Option<Result<(), CallError>>) -> Result<(), CallError> {
        let inner = &self.inner;
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => inner.made(|| inner.calls.delete(key, None)).await,
        }
    }
}
