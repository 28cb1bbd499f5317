//! [`Schedule`]: every call waits until it is given its turn, so that whoever gives them decides what happens next.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// The calls that wait for their turn.
#[derive(Default)]
pub(crate) struct Schedule {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    tickets: Vec<Ticket>,
    made: u64,
    given: u64,
}

struct Ticket {
    number: u64,
    waker: Option<Waker>,
    is_given: bool,
}

impl Schedule {
    /// Waits for a turn.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn {
        Turn { schedule: Arc::clone(self), number: None }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().tickets.iter().filter(|ticket| !ticket.is_given).count()
    }

    /// Gives the turn to one of those that wait.
    pub(crate) fn give(&self, at: usize) {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.given += 1;
        let ticket = waiting.tickets.iter_mut().filter(|ticket| !ticket.is_given).nth(at);
        let ticket = ticket.expect("somebody waits");
        ticket.is_given = true;
        if let Some(waker) = ticket.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }

    /// How many turns were given.
    pub(crate) fn given(&self) -> u64 {
        self.waiting.lock().unwrap().given
    }
}

pub(crate) struct Turn {
    schedule: Arc<Schedule>,
    number: Option<u64>,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut waiting = this.schedule.waiting.lock().unwrap();
        let number = *this.number.get_or_insert_with(|| {
            waiting.made += 1;
            let number = waiting.made;
            waiting.tickets.push(Ticket { number, waker: None, is_given: false });
            number
        });
        let at = waiting.tickets.iter().position(|ticket| ticket.number == number);
        match at {
            Some(at) if waiting.tickets[at].is_given => {
                waiting.tickets.remove(at);
                Poll::Ready(())
            }
            Some(at) => {
                waiting.tickets[at].waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.schedule.waiting.lock().unwrap().tickets.retain(|ticket| ticket.number != number);
        }
    }
}
