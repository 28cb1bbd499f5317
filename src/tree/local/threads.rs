//! [`Threads`]: where batches of looks are done side by side.
//!
//! A look waits for memory and, on a cold or distant file system, for the disk, and does hardly anything else; so several
//! batches take as long together as one. The pool of the crate `blocking` is for work that comes and goes: it starts a
//! second thread only when many tasks are waiting, which a scan with few batches under way never has.

use futures_channel::oneshot;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that are started as they are needed and end with the last use of this.
#[derive(Default)]
pub(super) struct Threads {
    pool: Mutex<Option<Pool>>,
}

struct Pool {
    jobs: Sender<Job>,
    waiting: Arc<Mutex<Receiver<Job>>>,
    /// How many threads there are.
    threads: usize,
    /// How many jobs are waiting or being done.
    under_way: Arc<()>,
}

/// The most threads there are, whatever is asked for.
const MOST: usize = 64;

impl Threads {
    /// Does something on one of so many threads, or here if the system has none to give.
    pub(super) async fn run<V: Send + 'static>(&self, most: usize, job: impl FnOnce() -> V + Send + 'static) -> V {
        let (answer, answered) = oneshot::channel();
        self.begin(most.min(MOST), move || {
            // Whoever has stopped waiting needs no answer.
            let _ = answer.send(job());
        });
        match answered.await {
            Ok(value) => value,
            // The job has panicked, and its panic goes on here as it would have without a thread.
            Err(_) => std::panic::resume_unwind(Box::new("a job on another thread panicked")),
        }
    }

    fn begin(&self, most: usize, job: impl FnOnce() + Send + 'static) {
        let mut guard = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = guard.get_or_insert_with(Pool::new);
        let counted = Arc::clone(&pool.under_way);
        let job: Job = Box::new(move || {
            job();
            drop(counted);
        });
        // One for each job that is under way, this one included.
        let busy = Arc::strong_count(&pool.under_way).saturating_sub(1);
        if busy > pool.threads && pool.threads < most {
            pool.start();
        }
        if pool.threads > 0 {
            // Invariant: the pool keeps the other end itself.
            let _ = pool.jobs.send(job);
        } else {
            drop(guard);
            job();
        }
    }
}

impl Pool {
    fn new() -> Self {
        let (jobs, waiting) = channel();
        Self { jobs, waiting: Arc::new(Mutex::new(waiting)), threads: 0, under_way: Arc::new(()) }
    }

    fn start(&mut self) {
        let waiting = Arc::clone(&self.waiting);
        let work = move || {
            loop {
                let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                match job {
                    Ok(job) => job(),
                    // The tree is gone.
                    Err(_) => return,
                }
            }
        };
        if std::thread::Builder::new().name("posix-s3 look".to_owned()).spawn(work).is_ok() {
            self.threads = self.threads.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;
    use std::sync::Barrier;

    #[test]
    fn jobs_under_way_together_have_a_thread_each() {
        let (threads, barrier) = (Threads::default(), Arc::new(Barrier::new(3)));
        let jobs = (0..3).map(|number| {
            let barrier = Arc::clone(&barrier);
            threads.run(4, move || {
                barrier.wait();
                number
            })
        });
        let answers = block_on(futures_util::future::join_all(jobs));
        assert_eq!(answers, [0, 1, 2]);
        // One after the other needs no further thread.
        assert_eq!(block_on(threads.run(1, || 3)), 3);
        assert_eq!(threads.pool.lock().unwrap().as_ref().map(|pool| pool.threads), Some(3));
    }
}
