//! [`Cancel`]: how a run is told to take nothing new.

use super::report::RunErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a run to come to an end: it takes nothing new, finishes what is in process, and undoes nothing.
///
/// - Clones are the same one, also that in a clone of the options that hold it.
/// - A run that has left something out for it ends with [`RunErrorKind::Cancelled`] and the report of what it has done. One
///   that had come to its end by then ends as ever.
/// - What was done is recorded, so that the next run does the rest and nothing twice. Once cancelled, a run deletes nothing
///   more; one that is cancelled before it has seen everything deletes nothing at all.
/// - It stays cancelled: the next run needs another one.
///
/// Dropping the future of a run stops it at once instead; what was in process then is looked at anew by the next run.
///
/// ```
/// use posix_s3::engine::Cancel;
///
/// let cancel = Cancel::default();
/// cancel.clone().cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Cancels, once and for all. From any thread.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a run does about a [`Cancel`].
#[derive(Debug, Default)]
pub(super) struct Stop {
    cancel: Cancel,
    /// Whether anything was left out for it.
    left_out: AtomicBool,
}

impl Stop {
    pub(super) fn new(cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), left_out: AtomicBool::new(false) }
    }

    /// Whether what comes now is left out. Asked only of something that is there to be done.
    pub(super) fn leaves_out(&self) -> bool {
        let cancelled = self.cancel.is_cancelled();
        if cancelled {
            self.left_out.store(true, Ordering::Relaxed);
        }
        cancelled
    }

    /// How a run ends that would have ended well.
    pub(super) fn ended(&self) -> Result<(), RunErrorKind> {
        if self.left_out.load(Ordering::Relaxed) { Err(RunErrorKind::Cancelled) } else { Ok(()) }
    }
}

/// How a run ends of which one part has ended so, and what comes after it so. That it was cancelled hides no failure.
pub(super) fn and(run: Result<(), RunErrorKind>, then: Result<(), RunErrorKind>) -> Result<(), RunErrorKind> {
    match (run, then) {
        (Err(RunErrorKind::Cancelled), Err(failure)) => Err(failure),
        (run, then) => run.and(then),
    }
}
