//! A latch that anything can wait on: Ctrl+C, a stopped task, a deadline.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

/// Nothing is ever sent: what counts is that the sender is dropped.
#[derive(Debug, Clone, Copy)]
pub enum Never {}

/// A shared latch. Clones are the same latch.
///
/// It is a channel on which nothing is sent: [`trigger`](Self::trigger) drops the sender, and from
/// then on every receiver is ready, for ever and for all who wait. Unlike a message, that cannot
/// be taken by one waiter from another.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<Mutex<Ends>>);

type Ends = (Option<Sender<Never>>, Receiver<Never>);

impl Default for Interrupt {
    fn default() -> Self {
        Interrupt(Arc::new(Mutex::new(Self::ends())))
    }
}

impl Interrupt {
    fn ends() -> Ends {
        let (sender, receiver) = unbounded();
        (Some(sender), receiver)
    }

    /// Interrupts everything that waits now or later, until [`reset`](Self::reset).
    pub fn trigger(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
    }

    /// Makes the latch good for another turn.
    pub fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Self::ends();
    }

    /// True from `trigger` to `reset`.
    pub fn is_triggered(&self) -> bool {
        matches!(self.receiver().try_recv(), Err(TryRecvError::Disconnected))
    }

    /// For `select!`: becomes ready (disconnected) with `trigger`.
    pub fn receiver(&self) -> Receiver<Never> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }
}
