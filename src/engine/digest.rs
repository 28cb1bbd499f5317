//! [`Running`]: the digest of a body while it goes by, and [`Algorithm`], which is chosen by what it is compared with.

use crate::snapshot::BodyDigest;
use bytes::Bytes;
use md5::{Digest, Md5};
use std::sync::{Arc, Mutex, PoisonError};
use twox_hash::XxHash3_128 as Xxh3;

/// How a digest is taken.
pub(super) enum Algorithm {
    Md5(Md5),
    // It is ten times as large.
    Xxh3(Box<Xxh3>),
}

impl Algorithm {
    /// The one that made a digest.
    pub(super) fn of(digest: &BodyDigest) -> Self {
        match digest {
            BodyDigest::Md5(_) => Self::Md5(Md5::new()),
            BodyDigest::Xxh3(_) => Self::Xxh3(Box::new(Xxh3::new())),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(digest) => digest.update(bytes),
            Self::Xxh3(digest) => digest.write(bytes),
        }
    }

    pub(super) fn finish(self) -> BodyDigest {
        match self {
            Self::Md5(digest) => BodyDigest::Md5(digest.finalize().into()),
            Self::Xxh3(digest) => BodyDigest::Xxh3(digest.finish_128().to_be_bytes()),
        }
    }

    /// The digest of all bytes at once.
    pub(super) fn digest(mut self, bytes: &[u8]) -> BodyDigest {
        self.update(bytes);
        self.finish()
    }
}

/// The digest that is recorded of bytes where the store tells none.
pub(super) fn recorded(bytes: &[u8]) -> [u8; 16] {
    Xxh3::oneshot(bytes).to_be_bytes()
}

/// The digest that is recorded of a body that goes by piece by piece.
#[derive(Clone, Default)]
pub(super) struct Running {
    /// How many bytes from the start on have gone by without a gap, and their digest so far.
    state: Arc<Mutex<(u64, Xxh3)>>,
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
            *state = (0, Xxh3::new());
        }
        if offset == state.0 {
            state.0 = offset.saturating_add(piece.len() as u64);
            state.1.write(piece);
        }
    }

    /// How many bytes have gone by.
    pub(super) fn length(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The digest, if all of `size` bytes have gone by in order.
    pub(super) fn of(&self, size: u64) -> Option<[u8; 16]> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0 == size).then(|| state.1.finish_128().to_be_bytes())
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
        assert_eq!(running.of(whole.len() as u64), Some(recorded(&whole)));
        assert_eq!(running.of(6), None);
    }

    #[test]
    fn digests_are_those_of_other_programs() {
        // printf hello | md5sum; printf hello | xxhsum -H2
        let (md5, xxh3) = ("5d41402abc4b2a76b9719d911017c592", "b5e9c1ad071b3e7fc779cfaa5e523818");
        let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (BodyDigest::Md5(digest) | BodyDigest::Xxh3(digest)) =
            Algorithm::of(&BodyDigest::Md5([0; 16])).digest(b"hello");
        assert_eq!(hex(&digest), md5);
        let (BodyDigest::Md5(digest) | BodyDigest::Xxh3(digest)) =
            Algorithm::of(&BodyDigest::Xxh3([0; 16])).digest(b"hello");
        assert_eq!((hex(&digest).as_str(), digest), (xxh3, recorded(b"hello")));
    }
}
