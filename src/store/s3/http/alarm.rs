//! [`Alarm`]: the end of a wait, without a timer for each.

use async_io::Timer;
use futures_util::task::AtomicWaker;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Rings when a time is over. Set again before, which is what happens nearly always, it costs two looks at the clock: the
/// timer of the first wait stays as it is, and is moved when it goes off too early.
///
/// A timer for each request would wake, each time, the thread that waits for all of them.
pub(super) struct Alarm {
    deadline: Option<Instant>,
    /// Goes off at the deadline or before.
    timer: Option<(Timer, Instant)>,
    waiting: Arc<Waiting>,
    /// What the timer wakes, whoever waits: it would be set anew for another.
    waker: Waker,
}

#[derive(Default)]
struct Waiting(AtomicWaker);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl Alarm {
    pub(super) fn new() -> Self {
        let waiting = Arc::<Waiting>::default();
        Self { deadline: None, timer: None, waker: Arc::clone(&waiting).into(), waiting }
    }

    /// It is to ring so long from now; never, if that is beyond the clock.
    pub(super) fn set(&mut self, time: Duration) {
        self.deadline = Instant::now().checked_add(time);
    }

    /// Ready once it rings.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        self.waiting.0.register(context.waker());
        loop {
            let (timer, when) = match &mut self.timer {
                Some(timer) if timer.1 <= deadline => timer,
                _ => self.timer.insert((Timer::at(deadline), deadline)),
            };
            let when = *when;
            if Pin::new(timer).poll(&mut Context::from_waker(&self.waker)).is_pending() {
                return Poll::Pending;
            }
            // It goes off once.
            self.timer = None;
            if when == deadline {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_io::block_on;
    use std::future::poll_fn;

    const SHORT: Duration = Duration::from_millis(30);

    /// How long it takes to ring.
    fn rings(alarm: &mut Alarm) -> Duration {
        let since = Instant::now();
        block_on(poll_fn(|context| alarm.poll(context)));
        since.elapsed()
    }

    #[test]
    fn it_rings_when_the_time_is_over_and_not_before() {
        let mut alarm = Alarm::new();
        for _ in 0..3 {
            alarm.set(SHORT);
            assert!(rings(&mut alarm) >= SHORT - Duration::from_millis(1));
        }
    }

    #[test]
    fn it_is_moved_either_way() {
        let mut alarm = Alarm::new();
        let pending = |alarm: &mut Alarm| alarm.poll(&mut Context::from_waker(Waker::noop())).is_pending();
        alarm.set(SHORT);
        assert!(pending(&mut alarm));
        alarm.set(SHORT.saturating_mul(3));
        assert!(rings(&mut alarm) >= SHORT.saturating_mul(2), "it rang for the wait before");
        alarm.set(Duration::from_secs(3600));
        assert!(pending(&mut alarm));
        alarm.set(SHORT);
        assert!(rings(&mut alarm) < Duration::from_secs(60), "it waits for the wait before");
    }

    #[test]
    fn a_time_beyond_the_clock_does_not_come() {
        let mut alarm = Alarm::new();
        alarm.set(Duration::MAX);
        assert!(alarm.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}
