//! One shell command, contained.
//!
//! What is promised of every command, in the foreground and in the background:
//!
//! - It has no terminal and no input: what wants to ask gets end of file at once.
//! - It runs where the program is when it starts, and sees no `ANTHROPIC_` variable.
//! - Its output is kept in bounded memory ([`output`]).
//! - It can be ended with everything it started: SIGTERM, and SIGKILL two seconds later.
//! - When this program is gone, however it went, nothing the command started is running.
//! - The moment its shell exits is known, and whether others of it still run then.
//!
//! All of that is the work of one small process per command, the [`supervisor`], where the limits
//! of these promises are written down. One spare supervisor is kept waiting, so that a command
//! does not wait for one to start.
//!
//! This program takes in the orphans of a supervisor that was killed, and kills them. So it must
//! not have children of its own: whoever uses this module starts all of them through it.

mod handle;
pub mod output;
mod pool;
pub mod supervisor;
mod tree;

pub use handle::{Handle, Snapshot};
pub use pool::supervise_with;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{after, never, select, tick, unbounded};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::interrupt::Interrupt;
use crate::outcome::Outcome;
use handle::Stop;
use pool::Supervisor;

/// As much as a pipe ever holds.
const PIPE_CAPACITY: usize = 1024 * 1024;

/// How often somebody who watches is shown how a command stands.
const LOOK: Duration = Duration::from_millis(200);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command and waits until its shell exits, the time limit passes or the person interrupts;
/// in the last two cases, until all of it has been ended. The number is that of the processes
/// which the shell left running: they go on, at most until the program ends.
pub fn run_blocking(command: &str, limit: Duration, interrupt: &Interrupt) -> (Outcome, usize) {
    run_watched(command, limit, interrupt, |_| {})
}

/// The same, for somebody who wants to see how it stands meanwhile: `watch` is called about five
/// times a second, on this thread.
pub fn run_watched(
    command: &str,
    limit: Duration,
    interrupt: &Interrupt,
    mut watch: impl FnMut(Snapshot),
) -> (Outcome, usize) {
    enum News {
        Started(Handle),
        ShellExited(Outcome, usize),
        Ended(Outcome),
    }
    let (tell, news) = unbounded();
    let command = command.to_string();
    let attend = move || {
        let started = |handle| drop(tell.send(News::Started(handle)));
        let exited = |so_far, left| drop(tell.send(News::ShellExited(so_far, left)));
        let outcome = run_telling(&command, started, exited);
        let _ = tell.send(News::Ended(outcome));
    };
    if let Err(error) = thread::Builder::new().name("command".into()).spawn(attend) {
        return (
            Outcome::Failed {
                message: format!("no thread for the command: {error}"),
            },
            0,
        );
    }
    let mut handle: Option<Handle> = None;
    let mut deadline = after(limit);
    let mut interrupted = interrupt.receiver();
    let mut stop = None; // kept until there is a handle
    let look = tick(LOOK);
    loop {
        select! {
            recv(news) -> news => match news {
                Ok(News::Started(started)) => handle = Some(started),
                Ok(News::ShellExited(so_far, left)) => return (so_far, left),
                Ok(News::Ended(outcome)) => return (outcome, 0),
                Err(_) => return (Outcome::Lost, 0),
            },
            recv(deadline) -> _ => {
                stop.get_or_insert(Stop::TimeLimit);
                deadline = never();
            },
            recv(interrupted) -> _ => {
                stop.get_or_insert(Stop::Asked);
                interrupted = never();
            },
            recv(look) -> _ => handle.iter().for_each(|handle| watch(handle.look())),
        }
        if let Some(handle) = &handle
            && let Some(why) = stop.take()
        {
            handle.stop_because(why);
        }
    }
}

/// Runs a command to the end of everything it starts, on this thread. `on_start` gets the handle
/// to look at it and to stop it.
pub fn run_to_end(command: &str, on_start: impl FnOnce(Handle)) -> Outcome {
    run_telling(command, on_start, |_, _| {})
}

/// The same. If the shell exits before the others that it started, `on_shell_exit` gets the outcome
/// as it would be without them, and their number.
pub fn run_telling(
    command: &str,
    on_start: impl FnOnce(Handle),
    on_shell_exit: impl FnOnce(Outcome, usize),
) -> Outcome {
    match Process::start(command) {
        Ok(process) => {
            on_start(process.handle.clone());
            process.attend(on_shell_exit)
        }
        Err(error) => Outcome::Failed {
            message: format!("the command could not be started: {error}"),
        },
    }
}

/// A command that runs, with the pipes to its supervisor.
struct Process {
    handle: Handle,
    supervisor: Child,
    output: ChildStdout,
    status: ChildStderr,
}

impl Process {
    fn start(command: &str) -> io::Result<Process> {
        if command.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it holds a NUL character; leave that out",
            ));
        }
        let Supervisor {
            child,
            control,
            output,
            status,
            ..
        } = Supervisor::with_command(command)?;
        let handle = Handle::new(Pid::from_raw(child.id() as i32), control);
        Ok(Process {
            handle,
            supervisor: child,
            output,
            status,
        })
    }

    /// Follows both pipes until nothing of the command is left. `on_shell_exit` is called if
    /// others run on without the shell, and nobody has asked for their end.
    fn attend(mut self, on_shell_exit: impl FnOnce(Outcome, usize)) -> Outcome {
        let mut on_shell_exit = Some(on_shell_exit);
        let mut buffer = vec![0; 64 * 1024];
        let mut lines = Vec::new();
        let mut output_open = true;
        loop {
            let (output_ready, status_ready) = wait_for(
                output_open.then(|| self.output.as_fd()),
                self.status.as_fd(),
            );
            if output_ready {
                output_open = self.take_output(&mut buffer) > 0;
            }
            if !status_ready {
                continue;
            }
            let mut piece = [0; 256];
            let count = self.status.read(&mut piece).unwrap_or(0);
            lines.extend_from_slice(&piece[..count]);
            // What the shell has printed is in the pipe by the time its exit is reported.
            self.drain(&mut buffer);
            while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = lines.drain(..=end).collect();
                self.handle.state().note(&String::from_utf8_lossy(&line));
            }
            let state = self.handle.state();
            let (left, stopped) = (state.exited.map(|(_, left)| left), state.stopped.is_some());
            let failed = state.error.is_some();
            drop(state);
            if left == Some(0) || failed || count == 0 {
                return self.finish(left);
            }
            if left.is_some()
                && !stopped
                && let Some(tell) = on_shell_exit.take()
            {
                let (so_far, left) = self.handle.outcome();
                tell(so_far, left);
            }
        }
    }

    fn finish(self, left: Option<usize>) -> Outcome {
        let (group, control, failed) = {
            let mut state = self.handle.state();
            (state.group, state.control.take(), state.error.is_some())
        };
        if left == Some(0) || failed {
            pool::bury(self.supervisor, control);
        } else {
            drop((self.output, self.status)); // their descriptors may be the last to be had
            pool::kill_orphans_of(self.supervisor, group);
            self.handle.state().exited = None;
        }
        self.handle.outcome().0
    }

    fn take_output(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.output.read(buffer).unwrap_or(0);
        self.handle.state().output.push(&buffer[..count]);
        count
    }

    /// Takes what is in the pipe already, and does not wait for more.
    fn drain(&mut self, buffer: &mut [u8]) {
        let mut taken = 0;
        while taken < PIPE_CAPACITY && is_ready(self.output.as_fd()) {
            match self.take_output(buffer) {
                0 => break,
                count => taken += count,
            }
        }
    }
}

/// Blocks until at least one of the two can be read; says which.
fn wait_for(output: Option<BorrowedFd<'_>>, status: BorrowedFd<'_>) -> (bool, bool) {
    let mut fds = vec![PollFd::new(status, PollFlags::POLLIN)];
    fds.extend(output.map(|output| PollFd::new(output, PollFlags::POLLIN)));
    let _ = poll(&mut fds, PollTimeout::NONE);
    let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| fd.any().unwrap_or(false));
    (ready(fds.get(1)), ready(fds.first()))
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
