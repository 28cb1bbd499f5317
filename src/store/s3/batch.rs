//! [`Batches`]: deletions that come while one is under way go together in the next request.

use super::calls::S3Calls;
use super::error::CallError;
use super::store::S3Store;
use super::wire::survives_xml;
use futures_channel::oneshot;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Keys that go together, each with whom to tell.
type Batch = Vec<(Box<str>, oneshot::Sender<Turn>)>;

/// What comes of waiting.
enum Turn {
    /// The key was part of a request.
    Answered(Result<(), CallError>),
    /// The one that waited makes the next request, of these keys.
    Lead(Batch, Running),
}

/// How many requests are made side by side. Few, so that each has many keys.
const SIDE_BY_SIDE: usize = 4;

/// A place among those that make requests, handed on when dropped: also by a leader that is dropped before it learns that
/// it is one.
struct Running(Option<Arc<Batches>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(batches) = self.0.take() {
            batches.hand_on();
        }
    }
}

impl Batches {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one; else the key waits.
    fn enter(self: &Arc<Self>, key: &str) -> Result<Running, oneshot::Receiver<Turn>> {
        let mut state = self.state();
        if state.running < SIDE_BY_SIDE {
            state.running = state.running.saturating_add(1);
            return Ok(Running(Some(Arc::clone(self))));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push((key.into(), sender));
        Err(receiver)
    }

    /// Hands a place to the first of those who wait for it and still wait, with the keys of the others.
    fn hand_on(self: Arc<Self>) {
        loop {
            let (leader, batch) = {
                let mut state = self.state();
                // Whoever was dropped while waiting: the key is not deleted.
                state.waiting.retain(|(_, sender)| !sender.is_canceled());
                let many = state.waiting.len().min(MOST);
                let mut batch: Batch = state.waiting.drain(..many).collect();
                let Some((_, sender)) = batch.first_mut() else {
                    state.running = state.running.saturating_sub(1);
                    return;
                };
                // The leader's own key stays in front, with nobody else to tell.
                let (unheard, _) = oneshot::channel();
                (std::mem::replace(sender, unheard), batch)
            };
            match leader.send(Turn::Lead(batch, Running(Some(Arc::clone(&self))))) {
                Err(Turn::Lead(mut batch, mut running)) => {
                    // It was dropped in between. The place is still to be handed on, and the others are first in line.
                    running.0 = None;
                    batch.remove(0);
                    let mut state = self.state();
                    batch.append(&mut state.waiting);
                    state.waiting = batch;
                }
                _ => return,
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
        let receiver = match batches.enter(key) {
            Ok(_running) => return inner.made(|| inner.calls.delete(key, None)).await,
            Err(receiver) => receiver,
        };
        match receiver.await {
            Ok(Turn::Answered(result)) => result,
            Ok(Turn::Lead(batch, _running)) => self.delete_all(batch).await,
            // Whoever made the request was dropped; it may have been heard or not.
            Err(_) => inner.made(|| inner.calls.delete(key, None)).await,
        }
    }

    /// Deletes a batch, tells the others, and answers what became of the first.
    async fn delete_all(&self, batch: Batch) -> Result<(), CallError> {
        let inner = &self.inner;
        let (keys, waiting): (Vec<Box<str>>, Vec<_>) = batch.into_iter().unzip();
        // A key whose future was dropped may be put again, and is not to be deleted by a later try.
        let is_wanted = |place: usize| place == 0 || waiting.get(place).is_some_and(|sender| !sender.is_canceled());
        let wanted = || (0..keys.len()).filter(|place| is_wanted(*place)).collect::<Vec<usize>>();
        let mut answers: Vec<Option<Result<(), CallError>>> = Vec::new();
        answers.resize_with(keys.len(), || None);
        if keys.len() > 1 {
            let answered = inner.made(|| async {
                let places = wanted();
                let named: Vec<Box<str>> = places.iter().filter_map(|place| keys.get(*place).cloned()).collect();
                let answered = inner.calls.delete_batch(&named).await?;
                Ok((places, answered))
            });
            // A store that has no batches, and one that failed as a whole: each on its own says best why.
            if let Ok((places, answered)) = answered.await
                && places.len() == answered.len()
            {
                for (place, answered) in places.into_iter().zip(answered) {
                    if let Some(answer) = answers.get_mut(place) {
                        *answer = Some(answered);
                    }
                }
            }
        }
        if keys.len() > 1 && answers.iter().all(Option::is_none) {
            // Side by side, by those who wait for it.
            let Some(key) = keys.first() else { return Ok(()) };
            drop(waiting);
            return inner.made(|| inner.calls.delete(key, None)).await;
        }
        let mut own = Ok(());
        for (place, ((key, sender), answer)) in keys.iter().zip(waiting).zip(answers).enumerate() {
            if place > 0 && sender.is_canceled() {
                continue;
            }
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
