//! s09 · Exercise: a bell that loses no ring.
//!
//! Fill the four gaps: the channel of the bell, a report, what is new in the log, and the wait for
//! it. Any number of threads report, and a report never waits for anybody. The one reader sleeps
//! until there is something, and gets each result once, however many come while it is away.
//!
//! This went wrong in anthropics/claude-code#45581: of background agents that ended within seconds
//! of each other, some were never announced. In #76021 there, each was announced twice.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The end of a background task. Each thread has a clone.
#[derive(Clone)]
pub struct Reporter {
    pub log: Arc<Mutex<Vec<String>>>,
    pub bell: Sender<()>,
}

/// The end of whoever waits at the prompt.
pub struct Inbox {
    /// All that was ever reported. Nothing is taken out.
    pub log: Arc<Mutex<Vec<String>>>,
    pub bell: Receiver<()>,
    /// The cursor: everything in the log before it has been taken.
    pub next: usize,
}

/// Both ends. The bell says only that there is something to look at; the log says what.
pub fn inbox() -> (Reporter, Inbox) {
    let log = Arc::default();
    // One ring stands for all that was reported before it is heard.
    let (ring, bell) = bounded(1);
    let reporter = Reporter {
        log: Arc::clone(&log),
        bell: ring,
    };
    let next = 0;
    (reporter, Inbox { log, bell, next })
}

impl Reporter {
    /// Writes a result into the log and rings. Never waits, even if nobody ever looks.
    pub fn report(&self, result: &str) {
        self.log.lock().unwrap().push(result.to_string());
        // An error means that it rings already, or that nobody is there any more. Both are fine.
        let _ = self.bell.try_send(());
    }
}

impl Inbox {
    /// What was reported since the last call, oldest first. Does not wait.
    pub fn take(&mut self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let news = log[self.next..].to_vec();
        self.next = log.len();
        news
    }

    /// Sleeps until there is something new, and takes it. Empty if there is nothing after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        loop {
            let news = self.take();
            // The bell may still ring for what was taken before: then there is nothing new.
            if !news.is_empty() || self.bell.recv_deadline(deadline).is_err() {
                return news;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::RecvTimeoutError::Timeout;
    use std::sync::Barrier;
    use std::thread;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(100);

    /// Reports on a thread of its own, and complains if that takes long.
    #[track_caller]
    fn report(reporter: &Reporter, results: Vec<String>) {
        let (reporter, (done, reported)) = (reporter.clone(), bounded::<()>(0));
        let work = thread::spawn(move || {
            let _done = done;
            results.iter().for_each(|result| reporter.report(result));
        });
        let waits = reported.recv_timeout(LONG) == Err(Timeout);
        let message = "`report` waits until somebody hears the bell: a task that has ended hangs";
        assert!(!waits, "{message}");
        let message = "`report` panicked: see its message above";
        assert!(work.join().is_ok(), "{message}");
    }

    fn numbered(results: std::ops::Range<usize>) -> Vec<String> {
        results.map(|number| format!("result {number}")).collect()
    }

    #[test]
    fn one_ring_is_kept_and_stands_for_all() {
        let (reporter, mut inbox) = inbox();
        report(&reporter, numbered(0..1_000));
        let message = "the ring came while nobody waited, and was lost";
        assert!(inbox.bell.recv_timeout(SHORT).is_ok(), "{message}");
        let message = "rings pile up while nobody listens; one is enough, as the log has the rest";
        assert_eq!(inbox.bell.len(), 0, "{message}");
        report(&reporter, numbered(1_000..1_001));
        let news = inbox.wait(LONG).len();
        assert_eq!(
            news, 1_001,
            "1001 results were reported, and {news} arrived"
        );
    }

    #[test]
    fn each_result_is_taken_once() {
        let (reporter, mut inbox) = inbox();
        report(&reporter, numbered(0..2));
        let message = "two results were reported, and `take` must return both, oldest first";
        assert_eq!(inbox.take(), numbered(0..2), "{message}");
        let message = "these results were taken already: the cursor must move";
        assert_eq!(inbox.take(), numbered(0..0), "{message}");
        report(&reporter, numbered(2..3));
        let message = "one more was reported, and `take` must return that one only";
        assert_eq!(inbox.take(), numbered(2..3), "{message}");
        let log = inbox.log.lock().unwrap().len();
        assert_eq!(
            log, 3,
            "others read the log, too: nothing is taken out of it"
        );
    }

    #[test]
    fn a_ring_for_something_taken_already_is_not_news() {
        let (reporter, mut inbox) = inbox();
        report(&reporter, numbered(0..1));
        inbox.take(); // The bell still rings for it.
        let (woken, wakes) = bounded(1);
        let work = thread::spawn(move || {
            let _ = woken.send(inbox.wait(LONG));
        });
        let early = wakes.recv_timeout(SHORT);
        let message = "the bell rang for a result that was taken before, and `wait` returned \
                       with nothing: look at the log again, and sleep on";
        assert_eq!(early, Err(Timeout), "{message}");
        report(&reporter, numbered(1..2));
        let message = "something was reported while `wait` slept, and it did not wake up";
        assert_eq!(
            wakes.recv_timeout(LONG * 2),
            Ok(numbered(1..2)),
            "{message}"
        );
        work.join().unwrap();
    }

    #[test]
    fn the_result_is_written_before_the_bell_rings() {
        let (reporter, inbox) = inbox();
        let log = inbox.log.lock().unwrap(); // Nobody can write now.
        let work = thread::spawn(move || reporter.report("result"));
        let rang = inbox.bell.recv_timeout(SHORT).is_ok();
        drop(log);
        let message = "the bell rang before the result stood in the log: whoever wakes up finds \
                       nothing there, and sleeps on";
        assert!(!rang, "{message}");
        work.join().unwrap();
    }

    #[test]
    fn a_report_after_the_prompt_is_gone_is_no_panic() {
        let (reporter, inbox) = inbox();
        drop(inbox);
        report(&reporter, numbered(0..1));
    }

    #[test]
    fn nothing_is_lost_when_four_tasks_report_at_once() {
        let (reporter, mut inbox) = inbox();
        let round = Arc::new(Barrier::new(5));
        for _ in 0..4 {
            let (reporter, round) = (reporter.clone(), round.clone());
            thread::spawn(move || {
                for _ in 0..500 {
                    round.wait();
                    reporter.report("result");
                }
            });
        }
        for _ in 0..500 {
            round.wait();
            let mut arrived = 0;
            while arrived < 4 {
                let news = inbox.wait(LONG).len();
                let message = "of 4 results reported at once had arrived when `wait` said that \
                               there is no more";
                assert!(news > 0, "{arrived} {message}");
                arrived += news;
            }
            assert_eq!(arrived, 4, "4 results were reported");
        }
    }
}
