//! foundation · The small process between the program and the shell, drawn in `README.md` beside it.
//!
//! The program starts itself again with a private argument. That process makes a session of its
//! own (no terminal, so nothing below it can read the person's keys), becomes the parent of every
//! orphan below it, runs a command, and reports what becomes of it. When nothing of the command is
//! left, it reports that, and waits for the next one: no command begins beside the remains of
//! another. When the program's end of the socket closes, for whatever reason the program went, it
//! kills everything below it and removes the files with long outputs.
//!
//! Orders and status share one socket, because nobody can open a socket through `/proc/PID/fd`. What
//! the loader or a library prints goes to standard output or error, never into the protocol.
//!
//! If the supervisor itself is killed with SIGKILL, its orphans go to the program, which kills them:
//! see [`process`](super). An ordinary user's commands can open neither memory nor environment nor
//! descriptors of program and supervisor. Not promised are:
//!
//! - that against commands that run as root, which read the key and take descriptors; nor against
//!   one that attaches to a new supervisor, in which no key is, before that has hidden itself;
//! - processes that somebody else starts for us (`systemd-run`, a container engine, `at`), and
//!   processes that became another user's (`sudo`): they are given up after ten seconds;
//! - anything, if program and supervisor are killed with SIGKILL in the same instant, or if a command
//!   keeps stopping its supervisor (`while :; do kill -STOP $PPID; done`) until the program is gone;
//! - that a command leaves its supervisor as it was: a changed priority, limit or pipe size
//!   (`renice`, `prlimit`, `F_SETPIPE_SZ`) stays for the commands that this supervisor runs next;
//! - that only the command writes to its output: a process elsewhere that was handed the pipe (or
//!   is root's) can write into the next command's. What it writes between two reaches neither;
//! - on systems without subreapers (macOS), that a child which makes its own session is found.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, setsid};
use serde::{Deserialize, Serialize};
use signal_hook::flag;

use super::{PERSISTENCE, output, tree};
use crate::caught::spawn;

/// The private first argument. The second is the program's scratch folder.
pub(super) const ARGUMENT: &str = "__supervisor";

/// The order to end everything, politely first; no other is followed after it. Every other one is a
/// folder, a command, and `apart` if its standard error is; each with a NUL at its end.
pub(super) const TERMINATE: &[u8] = b"terminate\0";

/// The time from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// What a supervisor reports, as JSON.
#[derive(Serialize, Deserialize)]
pub(super) enum Status {
    /// The shell runs; the number is its process id and its group's.
    Started(i32),
    /// The exit code of the shell, and how many processes it left running; sent again when they
    /// get fewer.
    Exited(i32, usize),
    /// The command could not be started.
    Failed(String),
}

/// Reports. An error means that the program is gone, which `serve` notices itself.
fn say(mut control: &UnixStream, status: &Status) {
    let _ = control.write_all(&serde_json::to_vec(status).unwrap_or_default());
}

/// Becomes a supervisor, for good, if that is what this process was started for. Every program
/// that runs commands calls this first thing in `main`.
pub fn become_supervisor_if_asked() {
    tree::hide();
    // What the program was started with: below who blocks SIGTERM, nothing would hear it; and a
    // file that may grow no further is an error, not the end.
    let _ = SigSet::empty().thread_set_mask();
    let _ = flag::register(Signal::SIGXFSZ as i32, Arc::default());
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) {
        let scratch = arguments.next().unwrap_or_default();
        let served = serve(Path::new(&scratch));
        exit(i32::from(served.is_err()));
    }
}

/// Runs one command after the other until the program is gone.
fn serve(scratch: &Path) -> io::Result<()> {
    let _ = setsid();
    // Where it is ignored, nobody can be waited for.
    let _ = flag::register(Signal::SIGCHLD as i32, Arc::default());
    tree::adopt_orphans();
    tree::prepare_supervisor();
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let status = control.try_clone()?;
    let (begin, begun) = mpsc::channel();
    let reap_all = move || begun.iter().for_each(|shell| reap(shell, &status));
    // Started before the first command: if there can be no thread, nothing has to be ended.
    let reaper = spawn("reaper", reap_all).inspect_err(|error| {
        let why = format!("no thread for the command's supervisor: {error}");
        say(&control, &Status::Failed(why));
    })?;

    let mut orders = BufReader::new(&control);
    let mut last = None;
    while let Some([folder, command, apart]) = next_command(&mut orders, last) {
        match start_shell(&folder, &command, &apart) {
            Err(why) => say(&control, &Status::Failed(why)),
            Ok(shell) => {
                say(&control, &Status::Started(shell.as_raw()));
                last = Some(shell);
                let _ = begin.send(shell); // the reaper ends only when `begin` is dropped
            }
        }
    }
    drop(begin);
    // Again and again: while one is killed another may fork, and a look may miss one that moves.
    let deadline = Instant::now() + PERSISTENCE;
    while !reaper.is_finished() && Instant::now() < deadline {
        tree::signal(everyone(last), Signal::SIGKILL);
        thread::sleep(Duration::from_millis(1));
    }
    // After a TERMINATE the program still runs, and needs its files.
    let _ = io::copy(&mut orders, &mut io::sink());
    // Whatever we were told to remove: nothing but a folder of that kind.
    let name = scratch.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with(output::SCRATCH) {
        let _ = std::fs::remove_dir_all(scratch);
    }
    Ok(())
}

/// The next command and its folder. `None` when everything is to be killed: at once when the socket
/// has closed, after the grace period when an end was ordered.
fn next_command(orders: &mut BufReader<&UnixStream>, last: Option<Pid>) -> Option<[OsString; 3]> {
    let mut word = || {
        let mut word = Vec::new();
        orders.read_until(0, &mut word).ok()?;
        (word.pop() == Some(0)).then(|| OsString::from_vec(word))
    };
    let folder = word()?;
    if folder.as_encoded_bytes() != &TERMINATE[..TERMINATE.len() - 1] {
        return Some([folder, word()?, word()?]);
    }
    tree::signal(everyone(last), Signal::SIGTERM);
    tree::signal(everyone(last), Signal::SIGCONT); // one that is stopped would not hear it
    // Until the time is up or the program is gone. A second TERMINATE stays unread; and a child
    // that ends interrupts `poll`.
    let deadline = Instant::now() + GRACE;
    let mut hang_up = [PollFd::new(orders.get_ref().as_fd(), PollFlags::empty())];
    while Instant::now() < deadline && poll(&mut hang_up, 10u8) != Ok(1) {}
    None
}

/// Starts the shell with its output where ours goes. We keep that open ourselves, so the program
/// learns from our status, not from an end of file, when nobody else can write any more.
fn start_shell(folder: &OsStr, command: &OsStr, apart: &OsStr) -> Result<Pid, String> {
    // Flags belong to everybody who holds the pipe, and the last command may have set some.
    let _ = fcntl(io::stdout(), FcntlArg::F_SETFL(OFlag::empty()));
    let _ = fcntl(io::stderr(), FcntlArg::F_SETFL(OFlag::empty()));
    let mut bash = Command::new("bash");
    if apart.is_empty() {
        bash.stderr(io::stdout());
    }
    bash.args(["-c", "--"]).arg(command).process_group(0);
    // Only if it differs: we may be in a folder that we could not enter again.
    if std::env::current_dir().ok().as_deref() != Some(Path::new(folder)) {
        bash.current_dir(folder);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GIT_") {
                bash.env_remove(name);
            }
        }
    }
    match bash.stdin(Stdio::null()).spawn() {
        Ok(shell) => Ok(Pid::from_raw(shell.id() as i32)),
        Err(_) if !Path::new(folder).is_dir() => Err(format!(
            "its folder is gone: {}",
            Path::new(folder).display()
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err("bash was not found; install it, or put it into PATH".to_string())
        }
        Err(error) => Err(format!("bash could not be run: {error}")),
    }
}

/// Waits for everything below us, the shell and every orphan, and reports what becomes of them.
fn reap(shell: Pid, control: &UnixStream) {
    let mut exit_code = None;
    let mut flag = None;
    loop {
        let news = waitpid(None, flag);
        flag = Some(WaitPidFlag::WNOHANG); // who else has died meanwhile?
        let code = match news {
            Ok(WaitStatus::Exited(pid, code)) if pid == shell => Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == shell => Some(128 + signal as i32),
            // Ended by a real-time signal, for which nix has no name.
            Err(Errno::EINVAL) if exit_code.is_none() && kill(shell, None).is_err() => Some(128),
            _ => None,
        };
        exit_code = exit_code.or(code);
        let left = match news {
            Ok(WaitStatus::StillAlive) => everyone(Some(shell)).len(),
            Err(Errno::ECHILD) => tree::group(Some(shell)).iter().count(),
            _ => continue,
        };
        // One has died since, or has changed parents under our eyes: look again.
        if left == 0 && news.is_ok() {
            thread::yield_now();
            continue;
        }
        if let Some(code) = exit_code {
            say(control, &Status::Exited(code, left));
        }
        match (news, left) {
            (Ok(_), _) => flag = None,
            (Err(_), 0) => return,
            // They are not ours to wait for: all we can do is to look now and then.
            (Err(_), _) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Everything that runs below us, as ids for `kill`.
fn everyone(shell: Option<Pid>) -> Vec<Pid> {
    let below = tree::descendants(getpid()).into_iter();
    below.chain(tree::group(shell)).collect()
}
