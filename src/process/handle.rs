//! A running command, seen from outside: to look at it, and to stop it.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::output::Output;
use super::{lock, supervisor};
use crate::outcome::Outcome;

/// A command as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Since its start.
    pub elapsed: Duration,
    /// Of output, so far.
    pub bytes: u64,
    /// The last line of output that is not blank, up to 200 characters.
    pub last_line: String,
    /// If its shell has exited: the number of processes that it left running.
    pub left_running: Option<usize>,
}

/// To look at a running command, and to stop it. Dropping it changes nothing for the command.
#[derive(Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
    started: Instant,
}

/// What is known of a command.
pub(super) struct State {
    pub output: Output,
    /// Exit code of the shell, and how many run on without it.
    pub exited: Option<(i32, usize)>,
    pub stopped: Option<Stop>,
    pub error: Option<String>,
    /// The shell's process group.
    pub group: Option<Pid>,
    pub supervisor: Pid,
    /// Taken when nothing is left that could be stopped. Until then, the supervisor's id is good.
    pub control: Option<ChildStdin>,
}

/// Why a command was stopped.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    TimeLimit,
    Asked,
}

impl Handle {
    pub(super) fn new(supervisor: Pid, control: ChildStdin) -> Self {
        let state = State {
            output: Output::default(),
            exited: None,
            stopped: None,
            error: None,
            group: None,
            supervisor,
            control: Some(control),
        };
        Handle {
            state: Arc::new(Mutex::new(state)),
            started: Instant::now(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Ends the command and all it started: SIGTERM now, SIGKILL after two seconds. Returns at once.
    pub fn stop(&self) {
        self.stop_because(Stop::Asked);
    }

    pub(super) fn stop_because(&self, why: Stop) {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(control) = &mut state.control {
            let _ = control.write_all(supervisor::TERMINATE);
            let _ = kill(state.supervisor, Signal::SIGCONT); // the command may have stopped it
            state.stopped.get_or_insert(why);
        }
    }

    /// How it stands.
    pub fn look(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            elapsed: self.started.elapsed(),
            bytes: state.output.bytes(),
            last_line: state.output.last_line(200),
            left_running: state.exited.map(|(_, left)| left),
        }
    }

    /// The end of its output so far, 4 KiB at most.
    pub fn output_end(&self) -> String {
        self.state().output.end()
    }

    /// The outcome as it stands, and how many run on without the shell.
    pub(super) fn outcome(&self) -> (Outcome, usize) {
        let state = self.state();
        let output = state.output.render();
        let left = state.exited.map_or(0, |(_, left)| left);
        let outcome = match (&state.error, state.stopped, state.exited) {
            (Some(message), ..) => Outcome::Failed {
                message: message.clone(),
            },
            (_, Some(Stop::TimeLimit), _) => Outcome::TimedOut { output },
            (_, Some(Stop::Asked), _) => Outcome::Killed { output },
            (_, _, Some((exit_code, _))) => Outcome::Finished { exit_code, output },
            _ => Outcome::Failed {
                message: format!(
                    "its supervisor was killed from outside; all that it had started has been ended. Output until then:\n{output}"
                ),
            },
        };
        (outcome, left)
    }
}

impl State {
    /// Notes a line of the supervisor's.
    pub fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match word {
            "started" => self.group = Some(Pid::from_raw(number())),
            "exit" => self.exited = Some((number(), number() as usize)),
            "left" => self.exited = self.exited.map(|(code, _)| (code, number() as usize)),
            "error" => self.error = Some(line.trim().trim_start_matches("error ").to_string()),
            _ => {}
        }
    }
}
