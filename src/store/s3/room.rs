//! [`Room`]: how much may be under way at once, in whatever unit; and [`Limiter`], which finds out how much a store takes.

use futures_channel::oneshot;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A room of a size that may change. Whoever does not fit waits, first come, first served.
pub(super) struct Room {
    state: Mutex<State>,
}

struct State {
    size: u64,
    held: u64,
    waiting: VecDeque<(u64, oneshot::Sender<Held>)>,
}

/// A place in a room, given back when dropped.
pub(super) struct Held {
    room: Arc<Room>,
    weight: u64,
}

impl Room {
    pub(super) fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { size, held: 0, waiting: VecDeque::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place. What is larger than the room waits until it is empty.
    pub(super) async fn enter(self: &Arc<Self>, weight: u64) -> Held {
        let receiver = {
            let mut state = self.state();
            if state.waiting.is_empty() && state.fits(weight) {
                return state.hold(self, weight);
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back((weight, sender));
            receiver
        };
        // Invariant: a sender leaves the queue only to send.
        receiver.await.unwrap_or_else(|_| Held { room: Arc::clone(self), weight: 0 })
    }

    /// A place, if there is one now and nobody waits for it.
    pub(super) fn try_enter(self: &Arc<Self>, weight: u64) -> Option<Held> {
        let mut state = self.state();
        let is_free = state.waiting.is_empty() && state.fits(weight);
        is_free.then(|| state.hold(self, weight))
    }

    fn resize(self: &Arc<Self>, size: u64) {
        self.state().size = size;
        self.admit();
    }

    fn give_back(&self, weight: u64) {
        let mut state = self.state();
        state.held = state.held.saturating_sub(weight);
    }

    /// Lets in whoever fits now.
    fn admit(self: &Arc<Self>) {
        loop {
            let (weight, sender) = {
                let mut state = self.state();
                match state.waiting.front() {
                    Some((weight, _)) if state.fits(*weight) => {}
                    _ => return,
                }
                let Some(first) = state.waiting.pop_front() else { return };
                state.held = state.held.saturating_add(first.0);
                first
            };
            if let Err(mut unwanted) = sender.send(Held { room: Arc::clone(self), weight }) {
                // Nobody waits for it any more. It is given back here, since dropping it would come here once more.
                self.give_back(std::mem::take(&mut unwanted.weight));
            }
        }
    }
}

impl State {
    fn hold(&mut self, room: &Arc<Room>, weight: u64) -> Held {
        self.held = self.held.saturating_add(weight);
        Held { room: Arc::clone(room), weight }
    }

    const fn fits(&self, weight: u64) -> bool {
        self.held == 0 || self.held.saturating_add(weight) <= self.size
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.weight > 0 {
            self.room.give_back(self.weight);
            self.room.admit();
        }
    }
}

/// How many requests are made at once: as many as allowed, until the store asks for fewer. Halved then, and one more after
/// each round of requests that went well.
pub(super) struct Limiter {
    room: Arc<Room>,
    most: u64,
    pace: Mutex<Pace>,
}

struct Pace {
    limit: u64,
    /// How many requests went well since the limit last moved.
    well: u64,
    cut: Option<Instant>,
}

impl Limiter {
    pub(super) fn new(most: u64) -> Self {
        let pace = Pace { limit: most, well: 0, cut: None };
        Self { room: Room::new(most), most, pace: Mutex::new(pace) }
    }

    pub(super) async fn enter(&self) -> Held {
        self.room.enter(1).await
    }

    /// Whether another request may be made for whoever has so many under way and can do without: the store takes as many as are
    /// allowed, and nobody waits for a place.
    pub(super) fn has_room(&self, under_way: usize) -> bool {
        let Pace { limit, .. } = *self.pace();
        limit >= self.most && (under_way as u64) < self.most && self.room.try_enter(1).is_some()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request went well.
    pub(super) fn well(&self) {
        let mut pace = self.pace();
        if pace.limit >= self.most {
            return;
        }
        pace.well = pace.well.saturating_add(1);
        if pace.well >= pace.limit {
            pace.well = 0;
            pace.limit = pace.limit.saturating_add(1).min(self.most);
            self.room.resize(pace.limit);
        }
    }

    /// The store asks for fewer requests, in its answer to one that was begun then.
    pub(super) fn throttled(&self, begun: Instant, now: Instant) {
        let mut pace = self.pace();
        // What was begun before the limit was cut says nothing about the new one.
        if pace.cut.is_some_and(|cut| begun < cut) {
            return;
        }
        pace.cut = Some(now);
        pace.well = 0;
        pace.limit = (pace.limit / 2).max(1);
        self.room.resize(pace.limit);
    }

    #[cfg(test)]
    fn limit(&self) -> u64 {
        self.pace().limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::join3;
    use std::time::Duration;

    #[test]
    fn who_does_not_fit_waits_for_those_before() {
        futures_executor::block_on(async {
            let room = Room::new(10);
            let first = room.enter(8).await;
            let mut second = Box::pin(room.enter(5));
            let mut third = Box::pin(room.enter(1));
            assert!((&mut second).now_or_never().is_none());
            assert!((&mut third).now_or_never().is_none(), "it would fit, and waits for its turn");
            drop(first);
            drop(second.await);
            drop(third.await);
            assert_eq!(room.state().held, 0);
        });
    }

    #[test]
    fn a_wait_that_is_given_up_holds_nothing() {
        futures_executor::block_on(async {
            let room = Room::new(1);
            let first = room.enter(1).await;
            let mut given_up = Box::pin(room.enter(1));
            assert!((&mut given_up).now_or_never().is_none());
            drop(first);
            // The place was sent to it, and is dropped with it.
            drop(given_up);
            drop(room.enter(1).await);
            assert_eq!(room.state().held, 0);
        });
    }

    #[test]
    fn what_is_larger_than_the_room_is_alone_in_it() {
        futures_executor::block_on(async {
            let room = Room::new(4);
            let (one, large, other) = join3(
                async { drop(room.enter(2).await) },
                async {
                    assert_eq!(
                        {
                            let held = room.enter(9).await;
                            held.room.state().held
                        },
                        9
                    )
                },
                async { drop(room.enter(2).await) },
            )
            .await;
            let ((), (), ()) = (one, large, other);
            assert_eq!(room.state().held, 0);
        });
    }

    #[test]
    fn who_cannot_wait_gets_what_is_free() {
        let room = Room::new(10);
        let first = room.try_enter(8);
        assert!(first.is_some() && room.try_enter(5).is_none());
        drop(first);
        let second = room.try_enter(12);
        assert!(second.is_some(), "what is larger than the room, alone");
        assert!(room.try_enter(1).is_none());
        drop(second);
        assert_eq!(room.state().held, 0);
    }

    #[test]
    fn nothing_is_asked_for_before_its_turn_of_a_store_that_throttles() {
        let limiter = Limiter::new(4);
        assert!(limiter.has_room(3) && !limiter.has_room(4));
        let all: Vec<_> = (0..4).map(|_| limiter.enter().now_or_never().unwrap()).collect();
        assert!(!limiter.has_room(1), "others are under way");
        drop(all);
        let now = Instant::now();
        limiter.throttled(now, now);
        assert!(!limiter.has_room(1));
        for _ in 0..2 + 3 {
            limiter.well();
        }
        assert!(limiter.has_room(1));
    }

    #[test]
    fn the_limit_halves_and_comes_back() {
        let limiter = Limiter::new(16);
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        limiter.throttled(start, later(5));
        limiter.throttled(later(4), later(6));
        assert_eq!(limiter.limit(), 8, "one complaint");
        for second in 7..16 {
            limiter.throttled(later(second), later(second));
        }
        assert_eq!(limiter.limit(), 1);
        for _ in 0..1 + 2 + 3 {
            limiter.well();
        }
        assert_eq!(limiter.limit(), 4);
        for _ in 0..1000 {
            limiter.well();
        }
        assert_eq!(limiter.limit(), 16);
    }
}
