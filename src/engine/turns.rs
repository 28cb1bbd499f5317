//! [`Turns`]: what has to be done in order, among futures that run side by side.

use std::future::poll_fn;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A value that goes from hand to hand: the future with number 0 has it first, then 1, and so on.
///
/// All of them are polled by one stream. A stream within a stream would not do: when the outer one is full, nobody
/// polls the inner one, and what its futures hold, such as a connection, the outer ones may be waiting for.
pub(super) struct Turns<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    next: u64,
    value: T,
    waiting: Vec<Waker>,
}

impl<T: Default> Turns<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { next: 0, value: T::default(), waiting: Vec::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a number and takes the value, which has to be given back.
    pub(super) async fn take(&self, number: u64) -> T {
        poll_fn(|context| {
            let mut state = self.state();
            if state.next == number {
                return Poll::Ready(mem::take(&mut state.value));
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Gives the value to the next number.
    pub(super) fn give(&self, value: T) {
        let mut state = self.state();
        state.next = state.next.saturating_add(1);
        state.value = value;
        state.waiting.drain(..).for_each(Waker::wake);
    }
}
