//! [`Disk`]: files are brought to the disk together.
//!
//! A file has its name only when its bytes and attributes are on the disk. Waiting for that one by one would be most of an
//! import of small files. So whoever comes while the disk is busy waits for the next turn, and one turn is for all of them.

use super::staging::StagedFile;
use super::sys;
use futures_channel::oneshot;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct Disk {
    root: Arc<OwnedFd>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    busy: bool,
}

struct Waiting {
    file: StagedFile,
    answer: oneshot::Sender<io::Result<StagedFile>>,
}

/// Fewer than these are brought to the disk one by one, since `syncfs` takes all that anybody has written along.
const TOGETHER: usize = 4;

impl Disk {
    pub(super) fn new(root: Arc<OwnedFd>) -> Self {
        Self { root, state: Arc::default() }
    }

    /// Brings a file to the disk. After an error it is gone: what was lost is not known.
    pub(super) async fn take(&self, file: StagedFile) -> io::Result<StagedFile> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut state = lock(&self.state);
            state.waiting.push(Waiting { file, answer });
            !std::mem::replace(&mut state.busy, true)
        };
        if begins {
            let (root, state) = (Arc::clone(&self.root), Arc::clone(&self.state));
            // It goes on when whoever began it is dropped: others wait for it.
            blocking::unblock(move || turns(&root, &state)).detach();
        }
        // Invariant: each turn answers everyone it is for.
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the thread that brought it to the disk has panicked")))
    }
}

/// Turn after turn, until nobody waits.
fn turns(root: &OwnedFd, state: &Mutex<State>) {
    let mut busy = Busy(state, true);
    loop {
        let batch = {
            let mut state = lock(state);
            if state.waiting.is_empty() {
                state.busy = false;
                busy.1 = false;
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        let together = batch.len() >= TOGETHER
            && sys::is_local(root).unwrap_or(false)
            // An error may be that of somebody else's file; each file's own tells.
            && rustix::fs::syncfs(root).is_ok();
        for Waiting { file, answer } in batch {
            let synced = if together { Ok(()) } else { file.sync() };
            // Whoever does not wait any more lets the file go.
            let _ = answer.send(synced.map(|()| file));
        }
    }
}

/// Should a turn panic, the next file begins anew.
struct Busy<'a>(&'a Mutex<State>, bool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.1 {
            lock(self.0).busy = false;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
