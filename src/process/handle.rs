//! foundation · A running command, seen from outside: to look at it, and to stop it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::output::Output;
use super::pool::Control;
use super::supervisor;
use crate::caught::lock;
use crate::outcome::{End, Outcome};

/// A command as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The time since its start.
    pub elapsed: Duration,
    /// The amount of output so far.
    pub bytes: u64,
    /// The last line of output that is not blank, up to 200 characters.
    pub last_line: String,
    /// The number of processes that the shell left running, once it has exited.
    pub left_running: Option<usize>,
}

/// To look at a running command, and to stop it. Dropping it changes nothing for the command.
#[derive(Clone)]
pub struct Handle {
    /// What runs, for whoever looks at it.
    pub command: Arc<str>,
    state: Arc<Mutex<State>>,
    started: Instant,
}

/// Shared by the handles of a command and the thread that attends to it.
#[derive(Default)]
pub(super) struct State {
    pub output: Output,
    pub left_running: Option<usize>,
    /// Why it is to end. Kept even while there is no supervisor that could be told.
    pub stop: Option<End>,
    /// The way to the supervisor that has the command. Taken away, under this lock, before that is
    /// reaped: a signal must not go to another process that gets its id.
    control: Option<Arc<Control>>,
}

impl Handle {
    pub(super) fn new(command: &str) -> Self {
        Handle {
            command: command.into(),
            state: Arc::default(),
            started: Instant::now(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Ends the command and all it started: SIGTERM now, SIGKILL after two seconds. Returns at once.
    pub fn stop(&self) {
        self.stop_because(End::Killed);
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

    /// The time since its start, its output so far, and who is left.
    pub fn look(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            elapsed: self.started.elapsed(),
            bytes: state.output.bytes(),
            last_line: state.output.last_line(200),
            left_running: state.left_running,
        }
    }

    /// The end of its output so far, 4 KiB at most.
    pub fn output_end(&self) -> String {
        self.state().output.end()
    }
}

impl State {
    /// The outcome. From now on, stopping has no effect.
    pub fn end(&mut self, end: End) -> Outcome {
        self.control = None;
        self.outcome(end)
    }

    /// What the outcome is if the command ends like this.
    pub fn outcome(&self, end: End) -> Outcome {
        let end = self.stop.clone().unwrap_or(end);
        Outcome::new(end, self.output.render())
    }
}
