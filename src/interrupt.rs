//! foundation · A latch that anything can wait on: Ctrl+C, a stopped task, a deadline.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::caught::lock;

/// A shared latch. Clones are the same latch.
///
/// It is a channel on which nothing is sent: [`trigger`](Self::trigger) drops the sender, and from
/// then on every receiver is ready, for ever and for all who wait. Unlike a message, that cannot
/// be taken by one waiter from another.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Mutex<Ends>>);

/// The sender is `None` from `trigger` to `reset`.
#[derive(Debug)]
struct Ends(Option<Sender<Infallible>>, Receiver<Infallible>);

impl Default for Ends {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        Ends(Some(sender), receiver)
    }
}

impl Interrupt {
    /// Interrupts everything that waits now or later, until [`reset`](Self::reset).
    pub fn trigger(&self) {
        lock(&self.0).0 = None;
    }

    /// Makes the latch good for another turn.
    pub fn reset(&self) {
        *lock(&self.0) = Ends::default();
    }

    /// True from `trigger` to `reset`.
    pub fn is_triggered(&self) -> bool {
        lock(&self.0).0.is_none()
    }

    /// Lets time pass. False if the interrupt came before it had.
    pub fn pause(&self, time: Duration) -> bool {
        self.receiver().recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }

    /// For `select!`: becomes ready (disconnected) with `trigger`.
    pub fn receiver(&self) -> Receiver<Infallible> {
        lock(&self.0).1.clone()
    }
}
