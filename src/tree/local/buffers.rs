//! [`Buffers`]: memory for parts of large files, used again.
//!
//! Parts are of one size, many, and let go of by other threads than took them. Left to the allocator, each would be taken
//! from the system and cleared anew, or stay with a thread that needs no more.

use std::sync::{Arc, Mutex, PoisonError};

/// Memory that is not in use at the moment.
#[derive(Clone, Default)]
pub(super) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// How many bytes are kept, at most.
const KEPT: usize = 64 << 20;

impl Buffers {
    /// Memory of `length` bytes, whatever is in them.
    pub(super) fn take(&self, length: usize) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The last part of a file is shorter; it does with more.
        let fit = free.iter().position(|buffer| buffer.len() >= length);
        let bytes = fit.map(|at| free.swap_remove(at));
        drop(free);
        Buffer { bytes: bytes.unwrap_or_else(|| vec![0; length]), length, free: self.clone() }
    }
}

/// Memory in use, given back when dropped.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    free: Buffers,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.free.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = free.iter().map(Vec::len).sum();
        if kept.saturating_add(self.bytes.len()) <= KEPT {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn memory_is_used_again_and_bounded() {
        let buffers = Buffers::default();
        let mut first = buffers.take(1000);
        first.as_mut().fill(7);
        let bytes = Bytes::from_owner(first).slice(..10);
        let address = bytes.as_ptr();
        assert_eq!(bytes, [7; 10].as_slice());
        drop(bytes);
        let second = buffers.take(500);
        assert_eq!((second.as_ref().as_ptr(), second.as_ref().len()), (address, 500));
        let all: Vec<Buffer> = (0..5).map(|_| buffers.take(KEPT / 4)).collect();
        drop(all);
        assert_eq!(buffers.free.lock().unwrap().len(), 4);
    }
}
