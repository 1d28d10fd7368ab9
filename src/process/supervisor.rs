//! The small process between the program and the shell.
//!
//! ```text
//!   program ──control──▶ supervisor ──▶ bash -c COMMAND ──▶ everything it starts
//!           ◀──status───     │                                │
//!           ◀────────────────┴──────────output────────────────┘
//! ```
//!
//! The program starts itself again with a private argument. That process makes a session of its
//! own (no terminal, so nothing below it can read the person's keys), becomes the parent of every
//! orphan below it, runs one command, and says on the status pipe what becomes of it. It leaves
//! when nothing is left below it. When the control pipe closes, for whatever reason the program
//! went, it kills all there is below it.
//!
//! Who kills the supervisor itself with SIGKILL hands its orphans to the program, which takes the
//! same care of them: see [`process`](super). What is not promised: processes that somebody else
//! starts on our behalf (a `systemd-run`, a container engine, `at`), processes that became another
//! user's, and anything at all if program and supervisor are killed with SIGKILL in the same
//! instant. Where there are no subreapers (macOS), a child that makes its own session is not found.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio, exit};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdout, getpid, getppid, setsid};

use super::tree;

/// The private first argument. The others are the program's process id and its scratch folder.
pub(super) const ARGUMENT: &str = "__supervisor";

/// On the control pipe, after the command: end everything, politely first.
pub(super) const TERMINATE: &[u8] = b"t";

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long to try to kill what does not die (a process of another user, say).
const PERSISTENCE: Duration = Duration::from_secs(10);

/// Becomes a supervisor, for good, if that is what this process was started for. Every program
/// that runs commands calls this first thing in `main`.
pub fn become_supervisor_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|argument| argument == ARGUMENT) {
        let program = arguments.next().and_then(|id| id.to_str()?.parse().ok()).unwrap_or(0);
        let scratch = PathBuf::from(arguments.next().unwrap_or_default());
        supervise(Pid::from_raw(program), scratch);
        exit(0);
    }
}

/// Never prints: when the program is gone, standard error is a broken pipe, and `eprintln!` panics.
fn say(status: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{status}");
}

fn supervise(program: Pid, scratch: PathBuf) {
    // The pipe closes a moment before the program is gone.
    let clean_up = move || {
        let gone = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            getppid() != program
        });
        if gone {
            let _ = std::fs::remove_dir_all(&scratch);
        }
    };
    let _ = setsid();
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(c"supervisor"); // a `killall` of the program misses it
    tree::adopt_orphans();
    say("ready");

    let mut control = BufReader::new(io::stdin());
    let mut command = Vec::new();
    let _ = control.read_until(0, &mut command);
    if command.pop() != Some(0) {
        return clean_up(); // a spare whose program has gone
    }
    let shell = match start_shell(&String::from_utf8_lossy(&command)) {
        Ok(shell) => shell,
        Err(error) => return say(format_args!("error {error}")),
    };
    say(format_args!("started {shell}"));
    let listen = move || {
        obey(control, shell);
        kill_all(shell);
        clean_up();
    };
    if let Err(error) = thread::Builder::new().spawn(listen) {
        say(format_args!("error no thread: {error}"));
        return kill_all(shell);
    }
    reap(shell);
}

/// Runs the command with its output in our standard output, then lets go of that: the program is
/// to see its end when the last process below us has closed it.
fn start_shell(command: &str) -> io::Result<Pid> {
    let errors = io::stdout().as_fd().try_clone_to_owned()?;
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(command).stdin(Stdio::null()).stderr(errors).process_group(0);
    let shell = bash.spawn()?;
    dup2_stdout(std::fs::File::options().write(true).open("/dev/null")?)?;
    Ok(Pid::from_raw(shell.id() as i32))
}

/// Waits for everything below us, the shell and every orphan, and says what becomes of them.
fn reap(shell: Pid) {
    let mut shell_runs = true;
    let alive = || everyone(shell).len();
    loop {
        let mut exited = None;
        let mut gone = waitpid(None, None);
        while let Ok(status) = gone {
            if status.pid() == Some(shell) {
                exited = Some(status);
            }
            // Whoever else has died by now is not to be counted as running.
            gone = waitpid(None, Some(WaitPidFlag::WNOHANG)).and_then(|status| match status {
                WaitStatus::StillAlive => Err(Errno::EAGAIN),
                status => Ok(status),
            });
        }
        let childless = gone == Err(Errno::ECHILD);
        let left = if childless && tree::ADOPTS { 0 } else { alive() };
        match exited {
            Some(WaitStatus::Exited(_, code)) => say(format_args!("exit {code} {left}")),
            Some(WaitStatus::Signaled(_, signal, _)) => {
                say(format_args!("exit {} {left}", 128 + signal as i32))
            }
            _ if !shell_runs => say(format_args!("left {left}")),
            _ => {}
        }
        shell_runs &= exited.is_none();
        if childless {
            break;
        }
    }
    // Where orphans are not ours to wait for, all that can be done is to look now and then.
    while !tree::ADOPTS && alive() > 0 {
        thread::sleep(Duration::from_millis(50));
    }
}

/// Follows the control pipe until everything is to be killed: at once when the pipe closes, after
/// the grace period when an end was asked for.
fn obey(mut control: BufReader<io::Stdin>, shell: Pid) {
    let mut order = [0];
    if control.read(&mut order).unwrap_or(0) == 0 {
        return;
    }
    signal_all(shell, Signal::SIGTERM);
    signal_all(shell, Signal::SIGCONT); // one that is stopped would not hear it
    let deadline = Instant::now() + GRACE;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let mut fds = [PollFd::new(control.get_ref().as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, timeout).is_ok_and(|ready| ready > 0) && control.read(&mut order).unwrap_or(0) == 0
        {
            return;
        }
    }
}

/// All that runs below us; what `kill` takes.
fn everyone(shell: Pid) -> Vec<Pid> {
    tree::descendants(getpid()).into_iter().chain(tree::group(Some(shell))).collect()
}

fn signal_all(shell: Pid, signal: Signal) -> usize {
    let all = everyone(shell);
    for pid in &all {
        let _ = kill(*pid, signal);
    }
    all.len()
}

/// Again and again: while one is killed, another may fork. Meanwhile `reap` buries them, and ends
/// this process when nobody is left.
fn kill_all(shell: Pid) {
    let deadline = Instant::now() + PERSISTENCE;
    while signal_all(shell, Signal::SIGKILL) > 0 {
        thread::sleep(Duration::from_millis(1));
        if Instant::now() > deadline {
            exit(1);
        }
    }
}
