//! [`Disk`]: what waits for the disk waits together.
//!
//! Going to another thread and back takes longer than most of what is done there. So whoever comes while a thread is busy
//! is part of its next turn, and one turn is for all who have come by then.

use super::staging::StagedFile;
use super::sys::{self, Stat};
use super::users::{self, Asked, Users};
use super::whole::Whole;
use crate::mode::FileType;
use crate::timestamp::Timestamp;
use crate::tree::Applied;
use futures_channel::oneshot;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Files on their way to the disk.
pub(super) struct Disk {
    root: Arc<OwnedFd>,
    trusts: Arc<Trusts>,
    settled: Arc<Mutex<Settled>>,
    staged: Turns<StagedFile, io::Result<StagedFile>>,
    whole: Turns<Whole, io::Result<Applied>>,
    opened: Turns<File, (File, io::Result<Stat>)>,
    used: Turns<Asked, io::Result<Users>>,
}

impl Disk {
    pub(super) fn new(root: Arc<OwnedFd>) -> Self {
        // One, so that as many as possible go together; a few, since one slow file holds up those in its turn.
        let trusts = Arc::new(Trusts::new(sys::syncfs_tells()));
        let settled = Arc::new(Mutex::new(Settled::Never));
        Self {
            root,
            trusts,
            settled,
            staged: Turns::new(1, 1024, GATHERED),
            // While one waits for the disk the other writes.
            whole: Turns::new(2, 256, Duration::ZERO),
            opened: Turns::new(4, 16, Duration::ZERO),
            used: Turns::new(1, 1024, GATHERED),
        }
    }

    /// Brings a file to the disk: it gets its name only then. After an error it is gone: what was lost is not known.
    pub(super) async fn bring(&self, file: StagedFile) -> io::Result<StagedFile> {
        let (root, trusts) = (Arc::clone(&self.root), Arc::clone(&self.trusts));
        self.staged
            .take(file, move |batch, answer| bring(&root, &trusts, batch, answer))
            .await
            .unwrap_or_else(|| Err(panicked()))
    }

    /// Writes a small file, brings it to the disk and gives it its name.
    pub(super) async fn place(&self, file: Whole) -> io::Result<Applied> {
        let (root, trusts) = (Arc::clone(&self.root), Arc::clone(&self.trusts));
        let _holding = file.wanted.hold();
        self.whole
            .take(file, move |batch, answer| place(&root, &trusts, batch, answer))
            .await
            .unwrap_or_else(|| Err(panicked()))
    }

    /// Who has a file open. Finding out is a look at every process, for all who ask together.
    pub(super) async fn in_use(&self, file: Asked) -> io::Result<Users> {
        let look = |files: Vec<Asked>, answer: Answer<'_, io::Result<Users>>| match users::in_use(&files) {
            Ok(used) => used.into_iter().enumerate().for_each(|(place, used)| answer(place, Ok(used))),
            Err(error) => (0..files.len()).for_each(|place| answer(place, Err(error.kind().into()))),
        };
        self.used.take(file, look).await.unwrap_or_else(|| Err(panicked()))
    }

    /// A run begins. What was brought to the disk before says nothing about it.
    pub(super) fn begin(&self) {
        *self.settled() = Settled::AtFirst;
    }

    /// A run ends.
    pub(super) fn finish(&self) {
        *self.settled() = Settled::Never;
    }

    fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a file behind whatever mappings have written to it so far: that is in its times, and what they write from
    /// here on will move them again. At something else than a file it looks as it is.
    ///
    /// A mapping moves the times with the first store to a page that is on the disk, and with no other until it is there
    /// again. So once everything is brought to the disk, a file that has not changed since is as good as brought there by
    /// itself, without the disk being told to empty its cache each time.
    pub(super) async fn look(&self, file: File) -> io::Result<(File, Stat)> {
        /// How far the times of a file system may be behind the clock, and more.
        const GRAIN: i128 = 1_000_000_000;
        // Before the look: what is said of a time holds for looks from then on.
        let settled = *self.settled();
        let look = sys::look(&file)?;
        if look.file_type() != Some(FileType::File) {
            return Ok((file, look));
        }
        if let Settled::At(time) = settled {
            let since = look.status().map(|status| time.nanoseconds().saturating_sub(status.ctime.nanoseconds()));
            if since.is_ok_and(|since| since > GRAIN) {
                return Ok((file, look));
            }
        }
        let (root, trusts, state) = (Arc::clone(&self.root), Arc::clone(&self.trusts), Arc::clone(&self.settled));
        let look = move |batch: Vec<File>, answer: Answer<'_, (File, io::Result<Stat>)>| {
            settle(&root, &trusts, &state);
            for (place, file) in batch.into_iter().enumerate() {
                // A file system that cannot do this has no such file; it is read all the same.
                let _ = rustix::fs::fdatasync(&file);
                let look = sys::look(&file);
                answer(place, (file, look));
            }
        };
        let (file, look) = self.opened.take(file, look).await.ok_or_else(panicked)?;
        Ok((file, look?))
    }
}

/// Whether `syncfs` is taken at its word. Held while it is called: it tells of an error once, to whoever hears of it first, and
/// all others have to know before they take it at its word.
type Trusts = Mutex<bool>;

/// Brings everything to the disk. Says whether it is there.
fn sync_all(root: &OwnedFd, trusts: &Trusts) -> bool {
    let mut trusts = trusts.lock().unwrap_or_else(PoisonError::into_inner);
    // The error may be one of any file, also of one in a later turn. From here on each file tells for itself.
    *trusts = *trusts && sys::is_local(root).unwrap_or(false) && rustix::fs::syncfs(root).is_ok();
    *trusts
}

/// When everything was last brought to the disk in this run.
#[derive(Clone, Copy)]
enum Settled {
    /// It is not to be.
    Never,
    /// It is to be, once.
    AtFirst,
    /// What had changed by then is there.
    At(Timestamp),
}

/// Brings everything to the disk, the first time in a run. Whoever comes meanwhile does so file by file.
fn settle(root: &OwnedFd, trusts: &Trusts, settled: &Mutex<Settled>) {
    let settled = || settled.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut settled = settled();
        if !matches!(*settled, Settled::AtFirst) {
            return;
        }
        *settled = Settled::Never;
    }
    let now = sys::now();
    if sync_all(root, trusts) {
        *settled() = Settled::At(now);
    }
}

/// Brings so many files to the disk at once, if they are many. Says whether they are there.
fn together(root: &OwnedFd, trusts: &Trusts, files: usize) -> bool {
    /// Fewer than these are brought to the disk one by one, since `syncfs` takes all that anybody has written along.
    const TOGETHER: usize = 4;
    files >= TOGETHER && sync_all(root, trusts)
}

fn bring(root: &OwnedFd, trusts: &Trusts, batch: Vec<StagedFile>, answer: Answer<'_, io::Result<StagedFile>>) {
    let together = together(root, trusts, batch.len());
    for (place, file) in batch.into_iter().enumerate() {
        let synced = if together { Ok(()) } else { file.sync() };
        answer(place, synced.map(|()| file));
    }
}

/// Whoever has an answer may end the run: nothing of their file is held here by then.
fn place(root: &OwnedFd, trusts: &Trusts, batch: Vec<Whole>, answer: Answer<'_, io::Result<Applied>>) {
    let mut all = Vec::with_capacity(batch.len());
    for (place, file) in batch.into_iter().enumerate() {
        match file.staged() {
            Ok((staged, applied)) => all.push((place, file, staged, applied)),
            Err(error) => {
                drop(file);
                answer(place, Err(error));
            }
        }
    }
    let together = together(root, trusts, all.len());
    for (place, file, staged, applied) in all {
        let placed = match if together { Ok(()) } else { staged.sync() } {
            Ok(()) => file.publish(staged, applied),
            Err(error) => {
                drop((staged, file));
                Err(error)
            }
        };
        answer(place, placed);
    }
}

fn panicked() -> io::Error {
    io::Error::other("the thread that waited for the disk has panicked")
}

/// How long a turn waits for more to come, if more than one came last time: a moment beside a wait for the disk.
const GATHERED: Duration = Duration::from_millis(2);

/// Hands out what has become of one of a batch.
type Answer<'a, A> = &'a mut dyn FnMut(usize, A);

/// Work that is done in turns, by a few threads at most.
struct Turns<T, A> {
    state: Arc<Mutex<State<T, A>>>,
    threads: usize,
    /// How many are done in one turn, at most.
    most: usize,
    gathered: Duration,
}

struct State<T, A> {
    waiting: Vec<(T, oneshot::Sender<A>)>,
    /// How many threads are at work.
    busy: usize,
}

impl<T: Send + 'static, A: Send + 'static> Turns<T, A> {
    fn new(threads: usize, most: usize, gathered: Duration) -> Self {
        Self { state: Arc::new(Mutex::new(State { waiting: Vec::new(), busy: 0 })), threads, most, gathered }
    }

    /// Has something done in the next turn. There is no answer if that panics.
    async fn take(&self, item: T, work: impl Fn(Vec<T>, Answer<'_, A>) + Send + 'static) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut state = lock(&self.state);
            state.waiting.push((item, answer));
            let begins = state.busy < self.threads;
            if begins {
                state.busy = state.busy.saturating_add(1);
            }
            begins
        };
        if begins {
            let (state, most, gathered) = (Arc::clone(&self.state), self.most, self.gathered);
            // It goes on when whoever began it is dropped: others wait for it.
            blocking::unblock(move || turns(&state, most, gathered, work)).detach();
        }
        answered.await.ok()
    }
}

/// Turn after turn, until nobody waits.
fn turns<T, A>(state: &Mutex<State<T, A>>, most: usize, gathered: Duration, work: impl Fn(Vec<T>, Answer<'_, A>)) {
    let mut last = 0;
    loop {
        if last > 1 && !gathered.is_zero() {
            std::thread::sleep(gathered);
        }
        let batch: Vec<_> = {
            let mut state = lock(state);
            if state.waiting.is_empty() {
                state.busy = state.busy.saturating_sub(1);
                return;
            }
            let many = state.waiting.len().min(most);
            state.waiting.drain(..many).collect()
        };
        last = batch.len();
        let (items, answers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
        let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
        let mut answer = |place: usize, answer: A| {
            if let Some(sender) = answers.get_mut(place).and_then(Option::take) {
                // Whoever does not wait any more lets go of it.
                let _ = sender.send(answer);
            }
        };
        // Should it panic, whoever has no answer yet learns that there is none, and those who came meanwhile have their turn.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| work(items, &mut answer)));
    }
}

fn lock<T, A>(state: &Mutex<State<T, A>>) -> MutexGuard<'_, State<T, A>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    #[test]
    fn each_gets_an_answer_of_its_own() {
        let turns = Turns::new(2, 3, Duration::ZERO);
        let doubled = |batch: Vec<u32>, answer: Answer<'_, u32>| {
            batch.into_iter().enumerate().for_each(|(place, number)| answer(place, number * 2));
        };
        let answers = block_on(join_all((0..100).map(|number| turns.take(number, doubled))));
        assert!(answers.into_iter().eq((0..100).map(|number| Some(number * 2))));
    }

    #[test]
    fn a_wait_that_is_given_up_holds_up_nobody() {
        let turns = Turns::new(1, 8, Duration::from_millis(1));
        let same = |batch: Vec<u32>, answer: Answer<'_, u32>| {
            batch.into_iter().enumerate().for_each(|(place, number)| answer(place, number));
        };
        let _ = turns.take(1, same).now_or_never();
        assert_eq!(block_on(turns.take(2, same)), Some(2));
    }

    #[test]
    fn a_panic_is_no_answer_and_the_next_turn_is_made() {
        let turns = Turns::new(1, 1, Duration::ZERO);
        let picky = |batch: Vec<u32>, answer: Answer<'_, u32>| {
            for (place, number) in batch.into_iter().enumerate() {
                assert_ne!(number, 1, "made to panic");
                answer(place, number);
            }
        };
        assert_eq!(block_on(turns.take(1, picky)), None);
        assert_eq!(block_on(turns.take(2, picky)), Some(2));
    }
}
