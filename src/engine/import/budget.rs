//! [`BytesLeft`]: what a run may still fetch.

use crate::budget::Spent;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct BytesLeft {
    most: u64,
    left: AtomicU64,
    is_spent: AtomicBool,
}

impl BytesLeft {
    pub(super) const fn new(most: u64) -> Self {
        Self { most, left: AtomicU64::new(most), is_spent: AtomicBool::new(false) }
    }

    /// Whether an object of so many bytes could be taken at all.
    pub(super) fn fits(&self, bytes: u64) -> Result<(), String> {
        let most = self.most;
        if bytes <= most { Ok(()) } else { Err(format!("it has {bytes} bytes, and the budget of a run is {most}")) }
    }

    /// Takes so many bytes. After a refusal nothing is taken any more.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Spent> {
        self.holds()?;
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if taken.is_err() {
            self.is_spent.store(true, Ordering::Relaxed);
        }
        self.holds()
    }

    /// Whether nothing was refused so far.
    pub(super) fn holds(&self) -> Result<(), Spent> {
        if self.is_spent.load(Ordering::Relaxed) { Err(Spent::Bytes { most: self.most }) } else { Ok(()) }
    }
}
