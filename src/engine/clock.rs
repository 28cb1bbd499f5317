//! [`Clock`]: what time it is, for what AWS dates.

use crate::timestamp::Timestamp;
use std::time::SystemTime;

/// What time it is. States and tasks are dated by it, so that a test, or a simulation, can say what time it is.
///
/// Runs go by the clock of the tree instead, since they compare with its times.
pub trait Clock: Send + Sync {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;
}

/// The clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}
