//! s10 · Exercise: a state that nobody has to keep up to date.
//!
//! Fill the three gaps: collect what has ended, tell the state of an agent, and deliver. No field
//! says `InProgress`; the state follows from the log and the cursor whenever somebody asks. An agent
//! that panics has ended, too, and its outcome is an error like any other.
//!
//! This went wrong in anthropics/claude-code#18390: the status of a background task was stored, and
//! when the task crashed, nobody changed it. More than 12 hours later it still said `running`.

#![allow(unused, reason = "not everything is used before the gaps are filled")]

use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

/// Its report, or why there is none.
pub type Outcome = Result<String, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The agent works.
    InProgress,
    /// It has ended, and the main agent has not been told.
    Resolved(Outcome),
    /// The main agent has been told.
    Completed,
}

#[derive(Default)]
pub struct Agents {
    /// Those whose outcome is not in the log yet, by name. The thread has the other end, which is
    /// dropped with the thread, even if the agent panics.
    pub at_work: Vec<(String, Receiver<Outcome>)>,
    /// Who has ended and how, in the order in which that was seen. It only grows.
    pub log: Vec<(String, Outcome)>,
    /// The cursor: all entries of the log before it have been delivered.
    pub delivered: usize,
}

impl Agents {
    /// Starts an agent on a thread of its own.
    pub fn start(
        &mut self,
        name: &str,
        agent: impl FnOnce() -> Outcome + Send + 'static,
    ) -> JoinHandle<()> {
        let (tell, outcome) = bounded(1);
        self.at_work.push((name.to_string(), outcome));
        thread::spawn(move || {
            let _ = tell.send(agent());
        })
    }

    /// Moves those that have ended from `at_work` into the log. Does not wait for the others.
    pub fn collect(&mut self) {
        todo!("ask each receiver without waiting: there are three possible answers")
    }

    /// The state of an agent; `None` if there was no agent of that name.
    pub fn state(&mut self, name: &str) -> Option<State> {
        todo!("collect, then read the state off `at_work`, `log` and `delivered`")
    }

    /// What has ended and was not delivered before. From now on it counts as delivered.
    pub fn deliver(&mut self) -> Vec<(String, Outcome)> {
        todo!("collect, return what the cursor has not passed, and move it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Completed, InProgress, Resolved};
    use crossbeam_channel::RecvTimeoutError::Timeout;
    use std::panic::resume_unwind;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(5);

    fn found(report: &str) -> Outcome {
        Ok(report.to_string())
    }

    /// Starts an agent that works until it is told to go. Returns what lets it go and waits for it.
    fn agent(agents: &mut Agents, name: &str, report: Outcome) -> impl FnOnce() + use<> {
        let (gate, go) = bounded::<()>(0);
        let work = agents.start(name, move || match go.recv_timeout(LONG) {
            Err(Timeout) => Err("5 s have passed: does `collect` wait for an agent?".into()),
            _ => report,
        });
        move || {
            drop(gate);
            work.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    }

    #[test]
    fn a_todo_goes_through_its_states_in_order() {
        let mut agents = Agents::default();
        let end = agent(&mut agents, "look", found("3 files"));
        let message = "nobody has let the agent go, so it is still at work";
        assert_eq!(agents.state("look"), Some(InProgress), "{message}");
        assert_eq!(agents.deliver(), [], "nothing has ended yet");
        end();
        let resolved = Some(Resolved(found("3 files")));
        let message = "the agent has ended, and its outcome was not delivered yet";
        assert_eq!(agents.state("look"), resolved, "{message}");
        let message = "to ask for the state must not change it";
        assert_eq!(agents.state("look"), resolved, "{message}");
        let news = [("look".to_string(), found("3 files"))];
        let message = "its outcome must be delivered, though its state was asked for before";
        assert_eq!(agents.deliver(), news, "{message}");
        let message = "its outcome was delivered, so its todo is done";
        assert_eq!(agents.state("look"), Some(Completed), "{message}");
        assert_eq!(agents.deliver(), [], "an outcome was delivered twice");
        assert_eq!(agents.state("nobody"), None, "there is no such agent");
    }

    #[test]
    fn an_agent_that_panics_has_ended() {
        let mut agents = Agents::default();
        let dies = agents.start("look", || panic!("this panic is part of the test"));
        assert!(dies.join().is_err());
        let state = agents.state("look");
        let message = "the agent has panicked, and its todo stays in progress for ever";
        assert_ne!(state, Some(InProgress), "{message}");
        let error = matches!(state, Some(Resolved(Err(_))));
        assert!(error, "a panic is an error for the main agent: {state:?}");
        let news = agents.deliver().len();
        assert_eq!(news, 1, "the main agent must be told of the panic, once");
        assert_eq!(agents.state("look"), Some(Completed), "it was told");
    }

    #[test]
    fn an_agent_that_failed_is_no_agent_that_works() {
        let mut agents = Agents::default();
        let failed = Err("no network".to_string());
        agent(&mut agents, "look", failed.clone())();
        let message = "the agent has failed: that is an outcome, and must be seen";
        assert_eq!(agents.state("look"), Some(Resolved(failed)), "{message}");
    }

    #[test]
    fn each_end_stands_in_the_log_once() {
        let mut agents = Agents::default();
        agent(&mut agents, "look", found("3 files"))();
        (0..3).for_each(|_| agents.collect());
        let message = "`look` has ended once, and was collected three times";
        let log = [("look".to_string(), found("3 files"))];
        assert_eq!(agents.log, log, "{message}");
    }

    #[test]
    fn the_cursor_counts_ends_and_not_starts() {
        let mut agents = Agents::default();
        let end_first = agent(&mut agents, "first", found("1"));
        let end_second = agent(&mut agents, "second", found("2"));
        end_second();
        let news = [("second".to_string(), found("2"))];
        assert_eq!(agents.deliver(), news, "only `second` has ended");
        let message = "`first` was started first, but it still works";
        assert_eq!(agents.state("first"), Some(InProgress), "{message}");
        let message = "`second` has been delivered, though it was started last";
        assert_eq!(agents.state("second"), Some(Completed), "{message}");
        end_first();
        let message = "`first` has ended after the delivery: nobody was told of it yet";
        let resolved = Some(Resolved(found("1")));
        assert_eq!(agents.state("first"), resolved, "{message}");
    }
}
