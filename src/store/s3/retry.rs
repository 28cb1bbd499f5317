//! [`Retries`]: what is tried again, when, and how often.

use super::error::CallError;
use crate::store::StoreErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How requests that failed are made again.
///
/// A request is made again when the store is throttling, when nobody knows whether it was heard, and when the answer was
/// damaged. Before that comes a wait of random length, up to twice as long each time ("full jitter"), behind what
/// `Retry-After` says. A budget that all requests share keeps an outage from multiplying the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts: u32,
    first: Duration,
    longest: Duration,
}

impl RetryPolicy {
    /// Every request is made once.
    pub const NEVER: Self = Self { attempts: 1, first: Duration::ZERO, longest: Duration::ZERO };

    /// Up to `attempts` tries in all, 1 or more; of a damaged answer 3 at most. The wait before the second try is of random
    /// length up to `first`, each further one up to twice as long, but `longest` at most. `Retry-After`, of which up to 300 s
    /// count, comes on top.
    ///
    /// The budget is 1,000 retries for a store and its clones, and one more for five requests that go well; what the store
    /// throttles costs none of it.
    #[must_use]
    pub const fn new(attempts: u32, first: Duration, longest: Duration) -> Self {
        Self { attempts: if attempts == 0 { 1 } else { attempts }, first, longest }
    }
}

impl Default for RetryPolicy {
    /// 8 tries; waits of up to 100 ms, 200 ms and so on to 20 s.
    fn default() -> Self {
        Self::new(8, Duration::from_millis(100), Duration::from_secs(20))
    }
}

/// What the budget holds at most.
const BUDGET: u32 = 5000;
/// What a retry costs. A request that goes well gives 1 back.
const COST: u32 = 5;
/// How often an answer that is damaged is asked for.
const DAMAGED: u32 = 3;

pub(super) struct Retries {
    policy: RetryPolicy,
    budget: AtomicU32,
}

impl Retries {
    pub(super) const fn new(policy: RetryPolicy) -> Self {
        Self { policy, budget: AtomicU32::new(BUDGET) }
    }

    /// A request went well.
    pub(super) fn well(&self) {
        let refilled = |budget: u32| (budget < BUDGET).then(|| budget.saturating_add(1));
        let _ = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refilled);
    }

    /// How long to wait before the next try after `tries` of them; `None` when there is none. `random` is in 0..1.
    pub(super) fn wait(&self, error: &CallError, tries: u32, random: f64) -> Option<Duration> {
        let attempts = match error.kind() {
            // The whole upload has to be made again, by whoever put the object.
            _ if error.answer().is_some_and(|answer| answer.code() == "NoSuchUpload") => 1,
            StoreErrorKind::Throttled | StoreErrorKind::Transient => self.policy.attempts,
            StoreErrorKind::Corrupt => self.policy.attempts.min(DAMAGED),
            _ => 1,
        };
        if tries >= attempts {
            return None;
        }
        // A store that asks for fewer requests gets fewer; see `Limiter`.
        if error.kind() != StoreErrorKind::Throttled {
            let spend = |budget: u32| budget.checked_sub(COST);
            self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).ok()?;
        }
        let doubled = self.policy.first.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
        let wait = doubled.min(self.policy.longest).mul_f64(random.clamp(0.0, 1.0));
        // At random as well, so that those who are told the same time do not come back together.
        Some(error.retry_after().map_or(wait, |asked| asked.saturating_add(wait)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16) -> CallError {
        CallError::refused(status, "", "", "")
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let retries = Retries::new(RetryPolicy::default());
        let waits: Vec<_> = (1..=8).map(|tries| retries.wait(&error(500), tries, 1.0)).collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 6400].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(waits.split_last(), Some((&None, expected.as_slice())));
        assert_eq!(retries.wait(&error(500), 1, 0.25), Some(Duration::from_millis(25)));
    }

    #[test]
    fn a_wait_is_no_shorter_than_the_store_asks_for() {
        let retries = Retries::new(RetryPolicy::default());
        let asked = error(503).with_retry_after(Some(Duration::from_secs(7)));
        assert_eq!(retries.wait(&asked, 1, 0.5), Some(Duration::from_millis(7050)));
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        let retries = Retries::new(RetryPolicy::default());
        for status in [301, 400, 403, 404, 412, 501] {
            assert_eq!(retries.wait(&error(status), 1, 0.5), None, "{status}");
        }
        let unknown = CallError::refused(404, "NoSuchUpload", "", "");
        assert_eq!(retries.wait(&unknown, 1, 0.5), None);
        assert_eq!(Retries::new(RetryPolicy::NEVER).wait(&error(500), 1, 0.5), None);
    }

    #[test]
    fn an_outage_uses_up_the_budget() {
        let retries = Retries::new(RetryPolicy::default());
        let tried = (0..9999).filter(|_| retries.wait(&error(500), 1, 0.0).is_some()).count();
        assert_eq!(tried, 1000);
        for _ in 0..5 {
            retries.well();
        }
        assert!(retries.wait(&error(500), 1, 0.0).is_some());
        assert!(retries.wait(&error(500), 1, 0.0).is_none());
    }
}
