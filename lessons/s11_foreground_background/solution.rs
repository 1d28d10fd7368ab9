//! s11 · Exercise: stop waiting, not the work.
//!
//! Fill the two gaps: wait for work in the foreground, and hand it over to the background. Whoever
//! owns the receiver of its outcome waits for it; Ctrl+B and the time limit move that receiver to
//! somebody else, and the work notices nothing. Ctrl+C alone asks the work to stop.
//!
//! This went wrong in two ways. In MoonshotAI/kimi-code#1591 a command that reached its time limit
//! was killed, and all it had done was lost; in anthropics/claude-code#71294 the key that interrupts
//! the foreground ended the agents in the background as well.

use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};

/// Work that goes on, on a thread of its own. Whoever owns this waits for it.
pub struct Work {
    pub name: String,
    /// Brings the outcome, once. Closed without one if the thread panicked.
    pub outcome: Receiver<String>,
    /// Asks the work to stop, and returns at once. Its outcome then says how far it came.
    pub stop: Box<dyn Fn() + Send>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// The work has ended: this is the tool result.
    Ended(String),
    /// It goes on in the background, for this reason.
    Moved(&'static str),
}

/// What a person presses while something runs in the foreground.
#[derive(Clone)]
pub struct Keys {
    pub ctrl_b: Receiver<()>,
    pub ctrl_c: Receiver<()>,
}

/// Where the background reports: the name of the work, and its outcome.
pub type Bus = Sender<(String, String)>;

/// What is told of work whose thread died.
pub const LOST: &str = "it ended without a word";

/// Starts work on a thread of its own.
pub fn start(
    name: &str,
    work: impl FnOnce() -> String + Send + 'static,
    stop: impl Fn() + Send + 'static,
) -> Work {
    let (tell, outcome) = bounded(1);
    thread::spawn(move || {
        let _ = tell.send(work());
    });
    let (name, stop) = (name.to_string(), Box::new(stop));
    Work {
        name,
        outcome,
        stop,
    }
}

/// Waits until the work has ended, Ctrl+B is pressed, or the limit passes. Work that has ended is
/// never moved, even if a key was pressed or the limit passed in the same moment.
///
/// Ctrl+C asks the work to stop, and the wait goes on until its outcome is there.
pub fn wait(work: Work, keys: &Keys, limit: Receiver<Instant>, bus: &Bus) -> Waited {
    let why = loop {
        select_biased! {
            recv(work.outcome) -> outcome => {
                return Waited::Ended(outcome.unwrap_or_else(|_| LOST.to_string()));
            }
            recv(keys.ctrl_b) -> _ => break "by the user",
            recv(limit) -> _ => break "as its time limit passed",
            recv(keys.ctrl_c) -> _ => (work.stop)(),
        }
    };
    hand_over(work, bus.clone());
    Waited::Moved(why)
}

/// From now on a thread in the background waits for the work, and reports its outcome on the bus.
pub fn hand_over(work: Work, bus: Bus) {
    thread::spawn(move || {
        let outcome = work.outcome.recv();
        let _ = bus.send((work.name, outcome.unwrap_or_else(|_| LOST.to_string())));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use Waited::{Ended, Moved};
    use crossbeam_channel::{RecvTimeoutError, after, never, unbounded};
    use std::panic::resume_unwind;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(100);

    /// A person at the keyboard, and the bus.
    struct Scene {
        press: (Sender<()>, Sender<()>),
        keys: Keys,
        bus: Bus,
        reports: Receiver<(String, String)>,
    }

    fn scene() -> Scene {
        let ((b, ctrl_b), (c, ctrl_c)) = (unbounded(), unbounded());
        let (press, keys) = ((b, c), Keys { ctrl_b, ctrl_c });
        let (bus, reports) = unbounded();
        Scene {
            press,
            keys,
            bus,
            reports,
        }
    }

    impl Scene {
        /// Calls `wait`, and fails with these words if it does not return.
        #[track_caller]
        fn wait(&self, work: Work, limit: Receiver<Instant>, hangs: &str) -> Waited {
            let (keys, bus) = (self.keys.clone(), self.bus.clone());
            within(hangs, move || wait(work, &keys, limit, &bus))
        }

        /// The next report on the bus, which must be this one.
        #[track_caller]
        fn expect_report(&self, outcome: &str, message: &str) {
            let report = self.reports.recv_timeout(LONG);
            let wanted = ("tests".to_string(), outcome.to_string());
            assert_eq!(report, Ok(wanted), "{message}");
        }
    }

    /// Runs this on a thread of its own, and fails with these words if it does not end.
    #[track_caller]
    fn within<T: Send + 'static>(hangs: &str, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, ended) = bounded(1);
        let thread = thread::spawn(move || done.send(job()));
        match ended.recv_timeout(LONG) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => panic!("{hangs}"),
            Err(RecvTimeoutError::Disconnected) => resume_unwind(thread.join().unwrap_err()),
        }
    }

    /// Tests that run until somebody sends what they say at their end.
    fn tests() -> (Work, Sender<&'static str>) {
        let (end, says) = unbounded();
        let stop = end.clone();
        let work = move || says.recv().unwrap_or("nobody let them end").to_string();
        let stop = move || stop.send("stopped after 40 of 100").unwrap_or_default();
        (start("tests", work, stop), end)
    }

    fn moved(waited: Waited, message: &str) {
        assert!(matches!(waited, Moved(_)), "{message}: {waited:?}");
    }

    #[test]
    fn what_ends_in_time_is_the_tool_result_and_no_report() {
        let scene = scene();
        let (work, end) = tests();
        end.send("100 passed").unwrap();
        let waited = scene.wait(work, never(), "the work has ended, and `wait` still waits");
        assert_eq!(waited, Ended("100 passed".to_string()));
        let message = "it was waited for, and yet reported in the background as well";
        let Scene { bus, reports, .. } = scene;
        drop(bus);
        let second = reports.recv_timeout(LONG);
        assert_eq!(second, Err(RecvTimeoutError::Disconnected), "{message}");
    }

    #[test]
    fn ctrl_b_ends_the_wait_and_not_the_work() {
        let scene = scene();
        let (work, end) = tests();
        scene.press.0.send(()).unwrap();
        let waited = scene.wait(work, never(), "Ctrl+B was pressed, and `wait` still waits");
        moved(
            waited,
            "Ctrl+B was pressed, so the work goes on in the background",
        );
        let _ = end.send("100 passed");
        let message = "the work went on to its end, and its outcome belongs on the bus";
        scene.expect_report("100 passed", message);
    }

    #[test]
    fn the_time_limit_ends_the_wait_and_not_the_work() {
        let scene = scene();
        let (work, end) = tests();
        let limit = after(Duration::ZERO);
        let waited = scene.wait(work, limit, "the time limit passed, and `wait` still waits");
        moved(
            waited,
            "the limit passed, so the work goes on in the background",
        );
        let _ = end.send("100 passed");
        let message = "the limit is for the wait: the work goes on to its end, and is reported";
        scene.expect_report("100 passed", message);
    }

    #[test]
    fn work_that_has_ended_is_never_moved() {
        within("all is ready, and yet `wait` waits", || {
            for _ in 0..100 {
                let (scene, (mut work, _end)) = (scene(), tests());
                let (tell, outcome) = bounded(1);
                tell.send("100 passed".to_string()).unwrap();
                work.outcome = outcome; // It is there already, and so are the key and the limit.
                scene.press.0.send(()).unwrap();
                let waited = wait(work, &scene.keys, after(Duration::ZERO), &scene.bus);
                let message = "its outcome was there already when the key was pressed: of several \
                               that are ready, which comes first?";
                assert_eq!(waited, Ended("100 passed".to_string()), "{message}");
            }
        });
    }

    #[test]
    fn ctrl_c_stops_what_is_in_the_foreground_and_that_only() {
        let scene = scene();
        let (work, end_background) = tests();
        scene.press.0.send(()).unwrap();
        let waited = scene.wait(work, never(), "Ctrl+B was pressed, and `wait` still waits");
        moved(
            waited,
            "Ctrl+B was pressed, so the work goes on in the background",
        );
        scene.press.1.send(()).unwrap();
        let report = scene.reports.recv_timeout(SHORT);
        let message = "Ctrl+C was pressed, and it ended what runs in the background";
        assert_eq!(report, Err(RecvTimeoutError::Timeout), "{message}");
        let (work, _end) = tests();
        let hangs = "Ctrl+C was pressed, and nothing asked the work to stop";
        let waited = scene.wait(work, never(), hangs);
        let message = "Ctrl+C stops the work, and what the work says then is the tool result";
        let stopped = Ended("stopped after 40 of 100".to_string());
        assert_eq!(waited, stopped, "{message}");
        let _ = end_background.send("100 passed");
        let message = "what was moved goes on to its end, even after Ctrl+C";
        scene.expect_report("100 passed", message);
    }

    #[test]
    fn work_that_dies_is_told_all_the_same() {
        let scene = scene();
        let dies = || start("tests", || panic!("this panic is part of the test"), || ());
        let hangs = "the thread of the work has panicked, and `wait` waits for ever";
        let waited = scene.wait(dies(), never(), hangs);
        assert_eq!(waited, Ended(LOST.to_string()));
        hand_over(dies(), scene.bus.clone());
        scene.expect_report(LOST, "it died in the background, and nobody was told");
    }
}
