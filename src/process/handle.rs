//! foundation · A running command, seen from outside: to look at it, and to stop it.

use std::sync::{Arc, Mutex, MutexGuard};

use super::heard::Heard;
use super::output::{Output, last_line};
use super::pool::Control;
use super::supervisor;
use crate::caught::lock;
use crate::outcome::{End, Outcome};

/// How a running command stands, or another job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does: the command, or the prompt of an agent.
    pub what: String,
    /// If a command's shell has exited but what it started still runs: how many processes.
    pub left_running: Option<usize>,
    /// Its own words, in one line; empty if it has none.
    pub line: String,
    /// What it has printed or done of late; of a command's output 8 KiB at most.
    pub recent: String,
    /// What is worth telling even of one that has ended; empty if nothing is.
    pub remark: String,
    /// What an agent has cost by now.
    pub tokens: u64,
}

/// How a command or another job lets itself be looked at and stopped from outside, while it runs.
pub trait Watch: Send + Sync {
    /// Returns how it stands.
    fn look(&self) -> Progress;
    /// Asks it to end. Returns at once.
    fn stop(&self);
}

/// How something stood last that has ended.
impl Watch for Progress {
    fn look(&self) -> Progress {
        self.clone()
    }

    fn stop(&self) {}
}

/// A command, to start it, to look at it while it runs, and to stop it. Dropping it changes nothing
/// for the command.
#[derive(Clone)]
pub struct Handle {
    /// What runs, for whoever looks at it.
    pub command: Arc<str>,
    state: Arc<Mutex<State>>,
}

/// Shared by the handles of a command and the thread that attends to it.
#[derive(Default)]
pub(super) struct State {
    pub output: Output,
    pub left_running: Option<usize>,
    pub heard: Option<Heard>,
    /// Why it is to end. Kept even while there is no supervisor that could be told.
    pub stop: Option<End>,
    /// The way to the supervisor that has the command. Taken away, under this lock, before that is
    /// reaped: a signal must not go to another process that gets its id.
    control: Option<Arc<Control>>,
}

impl Handle {
    /// A command that has not begun. If it is stopped before that, it ends at once.
    pub fn new(command: &str) -> Self {
        Handle {
            command: command.into(),
            state: Arc::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn stop_because(&self, why: End) {
        let mut state = self.state();
        state.stop.get_or_insert(why);
        if let Some(control) = &state.control {
            control.send(supervisor::TERMINATE);
        }
    }

    /// Gives the command to a supervisor, if it was not stopped before that.
    pub(super) fn send(&self, order: &[u8], control: &Arc<Control>) -> Result<(), String> {
        let mut state = self.state();
        if state.stop.is_some() {
            return Err("it was stopped before it began".to_string());
        }
        control.send(order);
        state.control = Some(control.clone());
        Ok(())
    }
}

impl Watch for Handle {
    /// How much it has printed so far, what it has printed last, and who is left.
    fn look(&self) -> Progress {
        let state = self.state();
        let (left_running, recent) = (state.left_running, state.output.end());
        let left = left_running.map_or(String::new(), |left| format!("{left} still running; "));
        let last = match last_line(&recent) {
            "" => String::new(),
            line => format!("; last line: {line:.200}"),
        };
        Progress {
            what: self.command.to_string(),
            left_running,
            line: format!("{left}{} bytes of output{last}", state.output.bytes),
            recent,
            ..Progress::default()
        }
    }

    /// Ends the command and all it started: SIGTERM now, SIGKILL after two seconds.
    fn stop(&self) {
        self.stop_because(End::Killed);
    }
}

/// A command that is shown in the words of somebody else.
impl<F: Fn() -> String + Send + Sync> Watch for (Handle, F) {
    fn look(&self) -> Progress {
        let (line, shown) = (self.1(), self.0.look());
        Progress { line, ..shown }
    }

    fn stop(&self) {
        self.0.stop();
    }
}

impl State {
    /// The outcome. From now on, stopping has no effect.
    pub fn end(&mut self, end: End) -> Outcome {
        (self.control, self.left_running) = (None, None);
        self.end_of_pipe();
        self.outcome(end)
    }

    /// What the outcome is if the command ends like this.
    pub fn outcome(&self, end: End) -> Outcome {
        let end = self.stop.clone().unwrap_or(end);
        Outcome::new(end, self.output.render())
    }
}
