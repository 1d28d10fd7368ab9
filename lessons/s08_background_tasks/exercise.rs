//! s08, in small: `submit` starts a job on a thread of its own and returns at once; `check` asks the
//! bus how a task stands. Fill the three gaps marked `todo!()`: `NotificationBus::check`, the `drop`
//! of `Report`, and `BackgroundExecutor::submit`. Five tests at the end say whether it works: a
//! result, a failure, a panic, the limit, and two ends at once.
//!
//! This went wrong in frankbria/codeframe#722: the work of a thread failed before it had begun, the
//! thread told nobody, and the task was in progress for ever.

// As long as there are gaps, some of this is not used.
#![allow(unused)]

use std::collections::HashMap;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Completed(String),
    Failed(String),
    /// Its thread ended without a report.
    Lost,
}

/// The log of ends: every thread has a sender, and the bus has the one receiver.
struct NotificationBus {
    sender: Sender<(String, Outcome)>,
    receiver: Receiver<(String, Outcome)>,
    ended: HashMap<String, Outcome>,
}

impl NotificationBus {
    fn new() -> Self {
        let (sender, receiver) = unbounded();
        let ended = HashMap::new();
        NotificationBus {
            sender,
            receiver,
            ended,
        }
    }

    /// How the task ended; `None` if that was not reported yet. Never waits. Asking again gives the
    /// same answer again.
    fn check(&mut self, id: &str) -> Option<Outcome> {
        todo!("take what has arrived, keep it, and look the task up")
    }
}

/// Owned by the thread of a job. However the thread ends, this is dropped, and reports.
struct Report {
    id: String,
    sender: Sender<(String, Outcome)>,
    /// `None` until the job has returned.
    outcome: Option<Outcome>,
}

impl Drop for Report {
    /// Sends the outcome; `Lost` if there is none.
    fn drop(&mut self) {
        todo!("send the id and the outcome")
    }
}

struct BackgroundExecutor {
    bus: NotificationBus,
    limit: usize,
    /// All that were ever started.
    ids: Vec<String>,
}

impl BackgroundExecutor {
    fn new(limit: usize) -> Self {
        let (bus, ids) = (NotificationBus::new(), Vec::new());
        BackgroundExecutor { bus, limit, ids }
    }

    /// How many tasks have not ended.
    fn running(&mut self) -> usize {
        let bus = &mut self.bus;
        self.ids.iter().filter(|id| bus.check(id).is_none()).count()
    }

    /// Starts the job on a thread of its own and returns at once. Refuses with `Err`, and starts
    /// nothing, if `limit` tasks are running.
    fn submit(
        &mut self,
        id: &str,
        job: impl FnOnce() -> Result<String, String> + Send + 'static,
    ) -> Result<(), String> {
        todo!("refuse, or start a thread that runs the job and owns its report")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::RecvTimeoutError;
    use std::time::{Duration, Instant};

    /// Only a test that fails waits so long.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// A job that waits until the test opens its gate, by sending or by dropping the sender.
    fn gated() -> (
        Sender<()>,
        impl FnOnce() -> Result<String, String> + Send + 'static,
    ) {
        let (open, gate) = unbounded();
        let job = move || match gate.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => Err("the gate stayed shut".to_string()),
            _ => Ok("built".to_string()),
        };
        (open, job)
    }

    /// Asks again and again until the task has ended.
    #[track_caller]
    fn end_of(executor: &mut BackgroundExecutor, id: &str) -> Outcome {
        let started = Instant::now();
        loop {
            if let Some(outcome) = executor.bus.check(id) {
                return outcome;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the job of {id:?} is over, but check(\"{id}\") still answers None: its report was not sent, or was lost on the way"
            );
            thread::yield_now();
        }
    }

    #[test]
    fn a_result_waits_on_the_bus() {
        let mut executor = BackgroundExecutor::new(4);
        let (open, job) = gated();
        executor
            .submit("build", job)
            .expect("the first task is not refused");
        assert_eq!(
            executor.bus.check("build"),
            None,
            "submit returns at once, so the job is still waiting at its gate and check says None"
        );
        drop(open);
        let completed = Outcome::Completed("built".to_string());
        assert_eq!(
            end_of(&mut executor, "build"),
            completed,
            "what the job returned is its outcome"
        );
        assert_eq!(
            executor.bus.check("build"),
            Some(completed),
            "check was asked a second time: the answer stays on the bus"
        );
    }

    #[test]
    fn a_failure_is_an_outcome_too() {
        let mut executor = BackgroundExecutor::new(4);
        let job = || Err("exit code 1".to_string());
        executor
            .submit("tests", job)
            .expect("the first task is not refused");
        assert_eq!(
            end_of(&mut executor, "tests"),
            Outcome::Failed("exit code 1".to_string()),
            "the job returned an Err, and its words are in the outcome"
        );
    }

    #[test]
    fn a_panic_is_reported_by_the_guard() {
        let mut executor = BackgroundExecutor::new(4);
        let job = || panic!("this panic is a part of the test");
        executor
            .submit("docs", job)
            .expect("the first task is not refused");
        assert_eq!(
            end_of(&mut executor, "docs"),
            Outcome::Lost,
            "the job panicked: nobody set an outcome, so the guard reports Lost"
        );
    }

    #[test]
    fn the_limit_counts_only_what_runs() {
        let mut executor = BackgroundExecutor::new(2);
        let (open_first, first) = gated();
        let (_open_second, second) = gated();
        executor
            .submit("first", first)
            .expect("the first of two is not refused");
        executor
            .submit("second", second)
            .expect("the second of two is not refused");
        let (started, starts) = unbounded();
        let third = move || {
            let _ = started.send(()); // nobody listens if all is well
            Ok(String::new())
        };
        assert!(
            executor.submit("third", third).is_err(),
            "two tasks run, and two are the limit: `submit` must refuse the third (does `running` know of the first two?)"
        );
        assert!(
            starts.recv_timeout(PATIENCE).is_err(),
            "a job that `submit` has to refuse was started"
        );
        drop(open_first);
        end_of(&mut executor, "first");
        assert!(
            executor.submit("fourth", || Ok(String::new())).is_ok(),
            "the first task has ended, so there is room for another one"
        );
    }

    #[test]
    fn two_ends_at_once_are_two_ends() {
        let mut executor = BackgroundExecutor::new(4);
        let mut submit = |id| {
            let (open, job) = gated();
            executor.submit(id, job).expect("four may run");
            open
        };
        let gates = [submit("one"), submit("two")];
        // Both have reported before anybody asks.
        for (waiting, open) in (1..).zip(gates) {
            drop(open);
            let started = Instant::now();
            while executor.bus.receiver.len() < waiting {
                assert!(
                    started.elapsed() < PATIENCE,
                    "a job is over, but no report of it waits on the bus"
                );
                thread::yield_now();
            }
        }
        let built = Outcome::Completed("built".to_string());
        for id in ["two", "one"] {
            assert_eq!(
                executor.bus.check(id),
                Some(built.clone()),
                "two reports wait on the bus, and {id:?} is asked about: what check takes from the bus, it keeps for the next question"
            );
        }
    }
}
