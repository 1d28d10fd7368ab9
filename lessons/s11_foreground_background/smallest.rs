//! s11 · Moving to the background in its smallest form: the receiver gets another owner.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// Waits for the work. What takes longer than `limit` goes on in the background.
pub fn run(
    work: impl FnOnce() -> String + Send + 'static,
    limit: Duration,
    bus: Sender<String>,
) -> String {
    let (tell, outcome) = channel();
    thread::spawn(move || tell.send(work()));
    if let Ok(result) = outcome.recv_timeout(limit) {
        return result;
    }
    thread::spawn(move || bus.send(outcome.recv().unwrap_or("it died".to_string())));
    "moved to the background; its result will come by itself".to_string()
}
