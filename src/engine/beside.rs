//! [`Beside`]: the records of a snapshot, for keys that mostly come in order.

use super::session::{Reader, StateError};
use crate::key::Key;
use crate::snapshot::Record;

/// How many records are passed over before it is quicker to seek.
const PASSED: usize = 512;

/// The records of a snapshot, beside which a run goes on.
pub(super) struct Beside {
    reader: Reader,
    /// The first record that is not before the last key that was asked for.
    next: Option<Record>,
    last: Option<Key>,
}

impl Beside {
    pub(super) const fn new(reader: Reader) -> Self {
        Self { reader, next: None, last: None }
    }

    /// The record of a key. Keys are best asked for in their order.
    pub(super) fn find(&mut self, key: &Key) -> Result<Option<Record>, StateError> {
        if self.last.as_ref().is_none_or(|last| key < last) {
            self.seek(key)?;
        }
        self.last = Some(key.clone());
        for _ in 0..PASSED {
            if !self.is_before(key) {
                return Ok(self.found(key));
            }
            self.next = self.reader.next()?;
        }
        if self.is_before(key) {
            self.seek(key)?;
        }
        Ok(self.found(key))
    }

    fn is_before(&self, key: &Key) -> bool {
        self.next.as_ref().is_some_and(|record| record.key < *key)
    }

    fn found(&self, key: &Key) -> Option<Record> {
        self.next.clone().filter(|record| record.key == *key)
    }

    fn seek(&mut self, key: &Key) -> Result<(), StateError> {
        self.reader.seek(key.as_str())?;
        self.next = self.reader.next()?;
        Ok(())
    }
}
