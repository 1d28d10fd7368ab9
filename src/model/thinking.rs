//! foundation · Thinking: what the person sees while no word of the reply has come.

use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::Request;
use crate::event::Event;

/// How often it is said that the model still thinks.
pub const LOOK: Duration = Duration::from_millis(200);

impl Request<'_> {
    /// Says that the model thinks, and since when.
    pub fn thinks(&self, since: Instant) {
        self.events.emit(Event::Waiting {
            what: "thinking".to_string(),
            elapsed: since.elapsed(),
            progress: String::new(),
        });
    }

    /// Lets time pass. False if the interrupt came before it had.
    pub fn pause(&self, time: Duration) -> bool {
        let since = Instant::now();
        loop {
            let left = time.saturating_sub(since.elapsed());
            match self.interrupt.receiver().recv_timeout(left.min(LOOK)) {
                Err(RecvTimeoutError::Timeout) if left > LOOK => self.thinks(since),
                Err(RecvTimeoutError::Timeout) => return true,
                _ => return false,
            }
        }
    }
}
