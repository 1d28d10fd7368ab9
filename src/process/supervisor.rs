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
//! orphan below it, runs one command, and says on the status pipe what becomes of it. When nothing
//! is left below it, it waits to be dismissed. When the control pipe closes without that, for
//! whatever reason the program went, it kills all there is below it, and removes the files with
//! long outputs. So there is always one who does: none is dismissed before another one waits.
//!
//! Who kills the supervisor itself with SIGKILL hands its orphans to the program, which takes the
//! same care of them: see [`process`](super). What is not promised: processes that somebody else
//! starts on our behalf (a `systemd-run`, a container engine, `at`), processes that became another
//! user's, and anything at all if program and supervisor are killed with SIGKILL in the same
//! instant. Where there are no subreapers (macOS), a child that makes its own session is not found.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdout, getpid, getppid, setsid};

use super::{output, tree};

/// The private first argument. The others are the program's process id and its scratch folder.
pub(super) const ARGUMENT: &str = "__supervisor";

/// The first line on the status pipe.
pub(super) const READY: &str = "ready";

/// The line that says that the command was read.
pub(super) const TAKEN: &str = "taken";

/// On the control pipe, after the command: end everything, politely first.
pub(super) const TERMINATE: &[u8] = b"t";

/// On the control pipe, when nothing of the command is left: not needed any more.
pub(super) const DISMISS: &[u8] = b"d";

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long to try to kill what does not die (a process of another user, say).
const PERSISTENCE: Duration = Duration::from_secs(10);

/// Becomes a supervisor, for good, if that is what this process was started for. Every program
/// that runs commands calls this first thing in `main`.
pub fn become_supervisor_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|argument| argument == ARGUMENT)
    {
        let program = arguments
            .next()
            .and_then(|id| id.to_str()?.parse().ok())
            .unwrap_or(0);
        let scratch = arguments.next().unwrap_or_default();
        supervise(Pid::from_raw(program), Path::new(&scratch));
        exit(0);
    }
}

/// Never prints: when the program is gone, standard error is a broken pipe, and `eprintln!` panics.
fn say(status: impl std::fmt::Display) {
    let _ = io::stderr().write_all(format!("{status}\n").as_bytes());
}

fn supervise(program: Pid, scratch: &Path) {
    let _ = setsid();
    // The mask is inherited: below a thread that blocks SIGTERM, nothing would hear it.
    let _ = SigSet::empty().thread_set_mask();
    tree::adopt_orphans();
    tree::prepare_supervisor();
    // Before the command: where there is no thread to listen, nothing has been started yet.
    let (begin, begun) = mpsc::channel();
    let listen = move || {
        if let Ok((control, shell)) = begun.recv() {
            obey(control, shell);
            kill_all(shell);
        }
    };
    if let Err(error) = thread::Builder::new().spawn(listen) {
        return say(format_args!(
            "error no thread for the control pipe: {error}"
        ));
    }
    say(READY);

    let mut control = BufReader::new(io::stdin());
    let mut command = Vec::new();
    let _ = control.read_until(0, &mut command);
    if command.pop() == Some(0) {
        say(TAKEN);
        match start_shell(&String::from_utf8_lossy(&command)) {
            Err(error) => say(format_args!("error {}", explain(&error))),
            Ok(shell) => {
                if !tree::ADOPTS {
                    say(format_args!("started {shell}")); // the group is then all that can be reached
                }
                let _ = begin.send((control, shell));
                reap(shell);
            }
        }
    }
    let mut order = [0];
    while io::stdin().read(&mut order).is_ok_and(|count| count > 0) {
        if order == *DISMISS {
            return;
        }
    }
    clean_up_after(program, scratch);
}

/// Removes the scratch folder of a program that is going: its end of the control pipe closes a
/// moment before.
fn clean_up_after(program: Pid, scratch: &Path) {
    let mut a_moment = 0..1000;
    let gone = a_moment.any(|_| {
        thread::sleep(Duration::from_millis(1));
        getppid() != program
    });
    // Whatever we were told to remove: nothing but a folder of that kind.
    let ours = scratch
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(output::SCRATCH));
    if gone && ours {
        let _ = std::fs::remove_dir_all(scratch);
    }
}

/// Runs the command with its output in our standard output, then lets go of that: the program is
/// to see its end when the last process below us has closed it.
fn start_shell(command: &str) -> io::Result<Pid> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    let errors = io::stdout().as_fd().try_clone_to_owned()?;
    let mut bash = Command::new("bash");
    bash.args(["-c", "--", command])
        .stdin(Stdio::null())
        .stderr(errors)
        .process_group(0);
    let shell = bash.spawn()?;
    dup2_stdout(nowhere)?;
    Ok(Pid::from_raw(shell.id() as i32))
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "bash was not found; install it, or put it into PATH".to_string(),
        ErrorKind::ArgumentListTooLong => {
            "the command is too long; write it to a file and run that".to_string()
        }
        _ => format!("bash could not be run: {error}"),
    }
}

/// Waits for everything below us, the shell and every orphan, and says what becomes of them.
fn reap(shell: Pid) {
    let mut shell_runs = true;
    loop {
        let mut exit_code = None;
        let mut news = waitpid(None, None);
        // Nobody is left only if nobody is left to wait for. Where a look finds nobody sooner, one
        // has died since, or has changed parents under our eyes: look again.
        let left = loop {
            match news {
                Ok(WaitStatus::Exited(pid, code)) if pid == shell => exit_code = Some(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == shell => {
                    exit_code = Some(128 + signal as i32)
                }
                Ok(WaitStatus::StillAlive) => match everyone(shell).len() {
                    0 => thread::yield_now(),
                    left => break left,
                },
                Err(Errno::ECHILD) => break 0,
                // Ended by a real-time signal, for which nix has no name.
                Err(Errno::EINVAL) if shell_runs && kill(shell, None).is_err() => {
                    exit_code = Some(128)
                }
                _ => {}
            }
            news = waitpid(None, Some(WaitPidFlag::WNOHANG));
        };
        let childless = left == 0;
        let left = if childless && !tree::ADOPTS {
            everyone(shell).len()
        } else {
            left
        };
        match exit_code {
            Some(code) => say(format_args!("exit {code} {left}")),
            None if !shell_runs => say(format_args!("left {left}")),
            None => {}
        }
        shell_runs &= exit_code.is_none();
        if childless {
            break;
        }
    }
    // Where orphans are not ours to wait for, all that can be done is to look now and then.
    if !tree::ADOPTS {
        while !everyone(shell).is_empty() {
            thread::sleep(Duration::from_millis(50));
        }
        say("left 0");
    }
}

/// Follows the control pipe until everything is to be killed: at once when the pipe closes, after
/// the grace period when an end was asked for. Once dismissed, it ends this process.
fn obey(mut control: BufReader<io::Stdin>, shell: Pid) {
    let mut order = [0];
    if control.read(&mut order).unwrap_or(0) == 0 {
        return;
    }
    if order == *DISMISS {
        exit(0);
    }
    signal_all(shell, Signal::SIGTERM);
    signal_all(shell, Signal::SIGCONT); // one that is stopped would not hear it
    let deadline = Instant::now() + GRACE;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let mut fds = [PollFd::new(control.get_ref().as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, timeout).is_ok_and(|ready| ready > 0) {
            match control.read(&mut order) {
                Ok(1..) if order == *DISMISS => exit(0),
                Ok(1..) => {}
                _ => return,
            }
        }
    }
}

/// All that runs below us; what `kill` takes.
fn everyone(shell: Pid) -> Vec<Pid> {
    tree::descendants(getpid())
        .into_iter()
        .chain(tree::group(Some(shell)))
        .collect()
}

fn signal_all(shell: Pid, signal: Signal) {
    for pid in everyone(shell) {
        let _ = kill(pid, signal);
    }
}

/// Again and again: while one is killed, another may fork, and a look may miss one that moves.
/// Meanwhile `reap` buries them, and ends this process when nobody is left.
fn kill_all(shell: Pid) -> ! {
    let deadline = Instant::now() + PERSISTENCE;
    while Instant::now() < deadline {
        signal_all(shell, Signal::SIGKILL);
        thread::sleep(Duration::from_millis(1));
    }
    exit(1)
}
