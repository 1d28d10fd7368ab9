//! foundation · One shell command, contained.
//!
//! What is promised of every command, in the foreground and in the background:
//!
//! - It has no terminal and no input: what wants to ask gets end of file at once.
//! - It runs in the folder it is given, and sees no `ANTHROPIC_` or `SLACK_` variable; outside the folder of the
//!   program, no `GIT_` variable either, which would lead git away from there.
//! - Its output is kept in bounded memory ([`output`]).
//! - It can be ended with everything it started: SIGTERM, and SIGKILL two seconds later.
//! - When this program is gone, however it went, nothing the command started is running.
//! - The moment its shell exits is known, and whether others of it still run then.
//!
//! All of that is the work of a small process above each command, the [`supervisor`], where the
//! limits of these promises are written down. A supervisor serves one command after the other.
//!
//! This program takes in the orphans of a supervisor that was killed, and kills them. So it must
//! not have children of its own: whoever uses this module starts all of them through it.

pub mod fed;
pub mod given;
mod handle;
pub mod heard;
pub mod output;
mod pool;
pub mod supervisor;
mod tree;

pub use handle::{Handle, Progress, Watch};
pub use pool::supervise_with;

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, never, select, unbounded};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::caught::spawn;
use crate::interrupt::Interrupt;
use crate::outcome::{End, Outcome};
use pool::Supervisor;
use supervisor::Status;

/// The most that a pipe holds.
const PIPE_CAPACITY: usize = 1024 * 1024;

/// How long to try to kill what does not die (a process of another user, say).
const PERSISTENCE: Duration = Duration::from_secs(10);

/// How many milliseconds a supervisor may take to start a shell: none holds up its caller for good.
const HANDSHAKE: u16 = 10_000;

/// What is heard of a command.
pub enum News {
    /// Its shell has exited and left so many processes running. The outcome is what it would be
    /// without them. Not told of a command that was stopped.
    ShellExited(Outcome, usize),
    /// Nothing of it is left. This is the last that is heard.
    Ended(Outcome),
}

/// Starts a command, once, in a folder (relative to where the program is) and returns at once.
/// Whatever goes wrong is heard as its end.
pub fn start(handle: &Handle, folder: &Path) -> Receiver<News> {
    let (handle, folder) = (handle.clone(), folder.to_path_buf());
    on_thread("command", move |tell| {
        let outcome = attend(&handle, &folder, tell);
        pool::replace_the_last();
        outcome
    })
}

/// Does work on a thread of its own. Whatever goes wrong, even a thread that could not be created,
/// is heard as its end.
pub fn on_thread(
    name: &str,
    work: impl FnOnce(&Sender<News>) -> Outcome + Send + 'static,
) -> Receiver<News> {
    let (tell, news) = unbounded();
    let teller = tell.clone();
    let run = move || {
        let outcome = Outcome::of(|| work(&teller));
        let _ = teller.send(News::Ended(outcome)); // perhaps nobody listens any more
    };
    if let Err(error) = spawn(name, run) {
        let message = format!("no thread could be started for it: {error}");
        let _ = tell.send(News::Ended(Outcome::new(End::Failed(message), "")));
    }
    news
}

/// Waits until nothing of the command is left.
pub fn until_ended(news: &Receiver<News>) -> Outcome {
    match news.iter().last() {
        Some(News::Ended(outcome)) => outcome,
        _ => Outcome::new(End::Lost, ""),
    }
}

/// Runs a command and waits until its shell exits, or until all of it has been ended because the
/// time limit passed or the person interrupted. The number is that of the processes which the shell
/// left running: they go on, at most until the program ends.
pub fn run(handle: &Handle, folder: &Path, limit: Duration, stop: &Interrupt) -> (Outcome, usize) {
    let news = start(handle, folder);
    let (deadline, mut interrupted) = (after(limit), stop.receiver());
    loop {
        select! {
            recv(news) -> news => return match news {
                Ok(News::ShellExited(so_far, left)) => (so_far, left),
                Ok(News::Ended(outcome)) => (outcome, 0),
                Err(_) => (Outcome::new(End::Lost, ""), 0),
            },
            recv(deadline) -> _ => handle.stop_because(End::TimedOut),
            recv(interrupted) -> _ => {
                handle.stop_because(End::Killed);
                interrupted = never();
            },
        }
    }
}

/// Follows output and status of a command until nothing of it is left.
fn attend(handle: &Handle, folder: &Path, tell: &Sender<News>) -> Outcome {
    let supervisor = match Supervisor::with_command(handle, folder) {
        Ok(supervisor) => supervisor,
        Err(why) => {
            let message = format!("the command could not be started: {why}");
            return handle.state().end(End::Failed(message));
        }
    };
    let mut buffer = vec![0; 64 * 1024];
    let mut shell = None;
    let end = loop {
        let [output, errors] = supervisor.outputs.each_ref().map(AsFd::as_fd);
        let fds = [supervisor.control.socket.as_fd(), output, errors];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let patience = shell.map_or(HANDSHAKE.into(), |_| PollTimeout::NONE);
        if poll(&mut fds, patience) == Ok(0) {
            break None;
        }
        let status = (fds[0].any() == Some(true)).then(|| supervisor.next_status());
        // What the shell has printed is in the pipe by the time its exit is reported. No more than
        // the pipe holds: what the shell left running may go on writing.
        for (mut pipe, is_error) in supervisor.outputs.iter().zip([false, true]) {
            for _ in 0..PIPE_CAPACITY / buffer.len() {
                match pipe.read(&mut buffer) {
                    Ok(count @ 1..) => handle.push(is_error, &buffer[..count]),
                    _ => break,
                }
            }
        }
        match status {
            None => {}
            Some(Ok(Status::Started(pid))) => shell = Some(Pid::from_raw(pid)),
            Some(Ok(Status::Exited(code, 0))) => break Some(End::Finished(Some(code))),
            Some(Ok(Status::Exited(code, left))) => {
                if handle.state().end_of_pipe() {
                    handle.stop_because(End::Killed); // nobody speaks with what it left
                }
                let mut state = handle.state();
                if state.left_running.replace(left).is_none() && state.stop.is_none() {
                    let so_far = state.outcome(End::Finished(Some(code)));
                    let _ = tell.send(News::ShellExited(so_far, left)); // perhaps nobody listens
                }
            }
            Some(Ok(Status::Failed(message))) => break Some(End::Failed(message)),
            Some(Err(_)) => break None,
        }
    };
    let was_killed = end.is_none();
    let end = end.unwrap_or_else(|| match shell {
        Some(_) => End::Lost,
        None if handle.state().output.bytes > 0 => End::Lost, // it was killed before its report
        None => End::Failed(
            "no supervisor came up; try again (is become_supervisor_if_asked in `main`?)".into(),
        ),
    });
    let outcome = handle.state().end(end);
    match outcome.end {
        _ if was_killed => supervisor.kill_with_orphans(shell),
        // Only one that has come through a command undisturbed serves another one.
        End::Finished(_) => supervisor.give_back(),
        _ => drop(supervisor),
    }
    outcome
}
