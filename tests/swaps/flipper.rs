//! Whoever swaps two names, again and again, as fast as the kernel does it.

use rustix::fs::{RenameFlags, renameat_with};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// What is swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// Two names change places, so that there is no moment without the name.
    Places,
    /// A name comes and goes: what has the other name takes it, and gives it back.
    Presence,
}

/// Swaps `name` and `name~` in a directory until it is told to stop.
pub(crate) struct Flipper {
    stop: AtomicBool,
    pause: AtomicBool,
    paused: AtomicBool,
    flips: AtomicU64,
}

impl Flipper {
    pub(crate) const fn new() -> Self {
        let (stop, pause, paused) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        Self { stop, pause, paused, flips: AtomicU64::new(0) }
    }

    /// How many swaps have been made.
    pub(crate) fn flips(&self) -> u64 {
        self.flips.load(Ordering::Relaxed)
    }

    /// Counts swaps of another.
    pub(crate) fn add(&self, flips: u64) {
        self.flips.fetch_add(flips, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Does something while nothing is swapped.
    pub(crate) fn still<V>(&self, then: impl FnOnce() -> V) -> V {
        self.pause.store(true, Ordering::SeqCst);
        while !self.paused.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let value = then();
        self.pause.store(false, Ordering::SeqCst);
        while self.paused.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        value
    }

    pub(crate) fn run(&self, directory: &OwnedFd, name: &str, swap: Swap) {
        let other = format!("{name}~");
        self.run_with(|| {
            let (from, to, flags) = match swap {
                Swap::Places => (name, &*other, RenameFlags::EXCHANGE),
                Swap::Presence => (name, &*other, RenameFlags::NOREPLACE),
            };
            let mut made = 0;
            for _ in 0..8 {
                made += u64::from(renameat_with(directory, from, directory, to, flags).is_ok());
                made += u64::from(renameat_with(directory, to, directory, from, flags).is_ok());
            }
            made
        });
    }

    /// Calls something that swaps and says how often it has.
    pub(crate) fn run_with(&self, mut swap: impl FnMut() -> u64) {
        while !self.stop.load(Ordering::Relaxed) {
            if self.pause.load(Ordering::SeqCst) {
                self.paused.store(true, Ordering::SeqCst);
                while self.pause.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                self.paused.store(false, Ordering::SeqCst);
                continue;
            }
            self.flips.fetch_add(swap(), Ordering::Relaxed);
        }
    }
}

/// Stops it when dropped, also when an assertion fails.
pub(crate) struct Stop<'f>(pub(crate) &'f Flipper);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
