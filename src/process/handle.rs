//! foundation · A running command, seen from outside: to look at it, and to stop it.

use std::io::Write;
use std::os::unix::net::UnixStream;
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
    state: Arc<Mutex<State>>,
    started: Instant,
}

/// Shared by the handles of a command and the thread that attends to it.
struct State {
    stage: Stage,
    output: Output,
    /// Kept from the first moment, even if there is nobody yet who could be told.
    stop: Option<Stop>,
    left_running: Option<usize>,
}

/// How far a command has come, as far as stopping it is concerned.
enum Stage {
    /// No supervisor has taken it; the one that was asked to may have to be woken.
    Offered(Option<Pid>),
    /// The process id is the supervisor's, which gets its orders through the socket.
    Taken(Pid, Arc<UnixStream>),
    /// Nothing is left to be stopped, and the supervisor may serve another command.
    Over,
}

/// Why a command was stopped.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    TimeLimit,
    Asked,
}

/// What became of a command, apart from its being stopped.
pub(super) enum End {
    Exited(i32),
    Failed(String),
    SupervisorKilled,
}

impl Handle {
    pub(super) fn new() -> Self {
        let state = State {
            stage: Stage::Offered(None),
            output: Output::default(),
            stop: None,
            left_running: None,
        };
        Handle {
            state: Arc::new(Mutex::new(state)),
            started: Instant::now(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Ends the command and all it started: SIGTERM now, SIGKILL after two seconds. Returns at once.
    pub fn stop(&self) {
        self.stop_because(Stop::Asked);
    }

    pub(super) fn stop_because(&self, why: Stop) {
        let mut state = self.state();
        if !matches!(state.stage, Stage::Over) {
            state.stop.get_or_insert(why);
        }
        state.pass_on_stop();
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

    pub(super) fn offered_to(&self, supervisor: Pid) {
        let mut state = self.state();
        state.stage = Stage::Offered(Some(supervisor));
        wake(supervisor); // it may have been stopped while it was idle
    }

    pub(super) fn taken_by(&self, supervisor: Pid, orders: Arc<UnixStream>) {
        let mut state = self.state();
        state.stage = Stage::Taken(supervisor, orders);
        state.pass_on_stop();
    }

    pub(super) fn push_output(&self, bytes: &[u8]) {
        self.state().output.push(bytes);
    }

    pub(super) fn shell_exited(&self, left_running: usize) {
        self.state().left_running = Some(left_running);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stop.is_some()
    }

    /// From now on, stopping has no effect.
    pub(super) fn close(&self) {
        self.state().stage = Stage::Over;
    }

    /// The outcome if the command ends like this.
    pub(super) fn outcome(&self, end: End) -> Outcome {
        let state = self.state();
        let output = state.output.render();
        match (state.stop, end) {
            (Some(Stop::TimeLimit), _) => Outcome::TimedOut { output },
            (Some(Stop::Asked), _) => Outcome::Killed { output },
            (None, End::Exited(exit_code)) => Outcome::Finished {
                exit_code: Some(exit_code),
                output,
            },
            (None, End::Failed(message)) => Outcome::Failed { message },
            (None, End::SupervisorKilled) => Outcome::Failed {
                message: format!(
                    "its supervisor was killed from outside; all that it had started has been ended. Output until then:\n{output}"
                ),
            },
        }
    }
}

impl State {
    fn pass_on_stop(&self) {
        match (&self.stage, self.stop) {
            (Stage::Offered(Some(supervisor)), Some(_)) => wake(*supervisor),
            (Stage::Taken(supervisor, orders), Some(_)) => {
                // An error means that it is dead, which whoever attends to it notices.
                let _ = (&**orders).write_all(supervisor::TERMINATE);
                wake(*supervisor);
            }
            _ => {}
        }
    }
}

/// One that was stopped (SIGSTOP), by its command say, would not hear us.
fn wake(supervisor: Pid) {
    let _ = kill(supervisor, Signal::SIGCONT);
}
