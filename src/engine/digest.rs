//! [`Running`]: the digest of a body while it goes by.

use bytes::Bytes;
use md5::{Digest, Md5};
use std::sync::{Arc, Mutex, PoisonError};

/// The MD5 of a body that goes by piece by piece.
#[derive(Clone, Default)]
pub(super) struct Running {
    /// How many bytes from the start on have gone by without a gap, and their digest so far.
    state: Arc<Mutex<(u64, Md5)>>,
}

impl Running {
    /// Takes a piece. One that does not follow the last is left out, and so is all behind it.
    pub(super) async fn take(&self, offset: u64, piece: &Bytes) {
        /// What is digested where it came by, in bytes. More takes long enough for others to wait for it.
        const INLINE: usize = 256 << 10;
        if piece.len() <= INLINE {
            self.take_here(offset, piece);
        } else {
            let (running, piece) = (self.clone(), piece.clone());
            blocking::unblock(move || running.take_here(offset, &piece)).await;
        }
    }

    fn take_here(&self, offset: u64, piece: &Bytes) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            *state = (0, Md5::new());
        }
        if offset == state.0 {
            state.0 = offset.saturating_add(piece.len() as u64);
            state.1.update(piece);
        }
    }

    /// How many bytes have gone by.
    pub(super) fn length(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The digest, if all of `size` bytes have gone by in order.
    pub(super) fn of(&self, size: u64) -> Option<[u8; 16]> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0 == size).then(|| state.1.clone().finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;

    #[test]
    fn a_body_in_order_has_a_digest() {
        let (small, large) = (Bytes::from_static(b"hello "), Bytes::from(vec![7; 1 << 20]));
        let running = Running::default();
        block_on(async {
            running.take(3, &small).await;
            assert_eq!(running.of(9), None, "there is a gap in front");
            running.take(0, &small).await;
            running.take(6, &large).await;
        });
        let whole: Vec<u8> = [&small[..], &large[..]].concat();
        assert_eq!(running.of(whole.len() as u64), Some(Md5::digest(&whole).into()));
        assert_eq!(running.of(6), None);
    }
}
