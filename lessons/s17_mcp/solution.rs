//! s17 · Exercise: who waits for which answer.
//!
//! Fill the gaps: a desk at which many threads ask, and one thread hands out the answers as they come,
//! in any order. An answer that nobody waits for is passed over, and when the other side is gone,
//! everybody who waits hears that at once.
//!
//! This went wrong in modelcontextprotocol/python-sdk#332: a server died before it answered, and whoever
//! had asked waited for ever.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Who waits for what. Shared between those who ask, and the thread that reads.
#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    waiting: HashMap<u64, Sender<String>>,
    closed: bool,
}

impl Desk {
    /// A new question: its number, which no other question has, and where its answer will come. If
    /// the desk is closed, `recv` there fails at once.
    pub fn ask(&self) -> (u64, Receiver<String>) {
        let (sender, answer) = channel();
        let mut state = self.state.lock().unwrap();
        state.last_id += 1;
        let id = state.last_id;
        if !state.closed {
            state.waiting.insert(id, sender);
        }
        (id, answer)
    }

    /// Hands out an answer. False if nobody waits for it: it came twice, or was given up, or nobody
    /// asked.
    pub fn take(&self, id: u64, answer: String) -> bool {
        let sender = self.state.lock().unwrap().waiting.remove(&id);
        sender.is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// Nobody waits for this answer any more.
    pub fn give_up(&self, id: u64) {
        self.state.lock().unwrap().waiting.remove(&id);
    }

    /// The other side is gone: whoever waits, now or later, hears that at once.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap();
        state.closed = true;
        state.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn answers_in_any_order_reach_who_asked() {
        let desk = Desk::default();
        let (first, second) = (desk.ask(), desk.ask());
        assert_ne!(first.0, second.0, "each question has its own number");
        assert!(desk.take(second.0, "two".into()), "somebody waits for it");
        assert!(desk.take(first.0, "one".into()), "somebody waits for it");
        assert_eq!(first.1.recv_timeout(LIMIT).as_deref(), Ok("one"));
        assert_eq!(second.1.recv_timeout(LIMIT).as_deref(), Ok("two"));
    }

    #[test]
    fn an_answer_counts_once() {
        let desk = Desk::default();
        let (id, answer) = desk.ask();
        assert!(!desk.take(id + 1, "for nobody".into()), "nobody asked that");
        assert!(desk.take(id, "once".into()));
        assert!(!desk.take(id, "twice".into()), "it was answered before");
        assert_eq!(answer.recv_timeout(LIMIT).as_deref(), Ok("once"));
        assert!(
            answer.recv_timeout(LIMIT).is_err(),
            "there is no second one"
        );
    }

    #[test]
    fn what_was_given_up_is_not_answered() {
        let desk = Desk::default();
        let (id, answer) = desk.ask();
        desk.give_up(id);
        assert!(!desk.take(id, "late".into()), "nobody waits any more");
        assert!(answer.recv_timeout(LIMIT).is_err());
    }

    #[test]
    fn when_the_other_side_is_gone_everybody_hears_it() {
        let desk = Arc::new(Desk::default());
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let (_, answer) = desk.ask();
                thread::spawn(move || answer.recv())
            })
            .collect();
        desk.close();
        for thread in waiting {
            assert!(thread.join().unwrap().is_err(), "no answer will come");
        }
        let (id, late) = desk.ask();
        assert!(!desk.take(id, "from nobody".into()), "it is closed");
        let timeout = std::sync::mpsc::RecvTimeoutError::Timeout;
        assert!(late.recv_timeout(LIMIT).is_err_and(|why| why != timeout));
    }

    #[test]
    fn many_ask_at_once() {
        let desk = Arc::new(Desk::default());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let desk = desk.clone();
                thread::spawn(move || {
                    for _ in 0..500 {
                        let (id, answer) = desk.ask();
                        assert!(desk.take(id, id.to_string()));
                        assert_eq!(answer.recv_timeout(LIMIT), Ok(id.to_string()));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("each answer reached who asked");
        }
    }
}
