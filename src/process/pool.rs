//! foundation · The program's side of its supervisors: starts them, keeps a few idle ones for the
//! next commands, and cleans up after those that were killed.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use serde::Deserialize;
use serde_json::Deserializer;

use super::output::scratch_folder;
use super::supervisor::{self, Status};
use super::{HANDSHAKE, Handle, PERSISTENCE, tree};
use crate::caught::lock;

/// How many supervisors are kept for the next commands.
const MAX_IDLE: usize = 2;

/// The most that Linux takes as one argument, less a few bytes. It also fits into an empty socket.
const MAX_COMMAND: usize = 127 * 1024;

/// How many commands may run, or have left something running: each holds a thread and four
/// descriptors, of which a process has 1,024 as a rule.
const MAX_BUSY: usize = 200;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Nothing is below these, and their output pipes are empty.
static IDLE: Mutex<Vec<Supervisor>> = Mutex::new(Vec::new());

/// All supervisors, the children of ours that are no orphans, and what each was given last.
static OURS: LazyLock<Mutex<HashMap<Pid, Arc<str>>>> = LazyLock::new(Mutex::default);

/// Names the program to start as a supervisor, instead of the one that runs; for programs, such as
/// tests, whose `main` does not call [`supervisor::become_supervisor_if_asked`]. The first call wins.
pub fn supervise_with(program: impl Into<PathBuf>) {
    let _ = PROGRAM.set(program.into());
}

/// A supervisor, and our ends of its socket and its output pipes. Dropping it kills it.
pub(super) struct Supervisor {
    child: Child,
    pub control: Arc<Control>,
    /// Never wait: they are read until they are empty. The second is for what is kept apart.
    pub outputs: [PipeReader; 2],
}

/// The socket that a supervisor gets its orders through, and reports through.
pub(super) struct Control {
    supervisor: Pid,
    pub socket: UnixStream,
}

impl Control {
    /// Sends an order. An error means that the supervisor is dead, which its status tells as well.
    pub fn send(&self, order: &[u8]) {
        let _ = (&self.socket).write_all(order);
        let _ = kill(self.supervisor, Signal::SIGCONT); // somebody may have stopped it
    }
}

impl Supervisor {
    /// An idle supervisor or a new one, which has been sent the command. If there is an error,
    /// nothing of the command has begun.
    pub fn with_command(handle: &Handle, folder: &Path) -> Result<Self, String> {
        let command = &*handle.command;
        let here = std::env::current_dir().map_err(|error| {
            format!("the working directory is gone ({error}); start again in one that is there")
        })?;
        let folder = here.join(folder).into_os_string();
        let apart = handle.state().heard.as_ref().map_or(&b""[..], |_| b"apart");
        let order = [folder.as_bytes(), command.as_bytes(), apart, b""].join(&0);
        if command.contains('\0') {
            return Err("it holds a NUL character; leave that out".to_string());
        }
        if command.len() > MAX_COMMAND {
            return Err("it is too long; write it to a file and run that".to_string());
        }
        let start = || Supervisor::start().map_err(|error| error.to_string());
        let supervisor = take_idle().map_or_else(start, Ok)?;
        lock(&OURS).insert(supervisor.control.supervisor, handle.command.clone());
        handle.send(&order, &supervisor.control)?;
        Ok(supervisor)
    }

    /// The next thing that it reports, and not a byte more: serde reads one by one.
    pub fn next_status(&self) -> serde_json::Result<Status> {
        Status::deserialize(&mut Deserializer::from_reader(&self.control.socket))
    }

    /// Keeps it for the next command; nothing of the last one may be left.
    pub fn give_back(self) {
        let mut idle = lock(&IDLE);
        // Where we cannot see all there is below it, something may be left.
        if tree::ADOPTS && idle.len() < MAX_IDLE {
            idle.push(self);
        }
    }

    /// Kills what a supervisor left behind that was killed itself. Its orphans have become our
    /// children; where that does not happen, the shell's group is all that can be reached.
    pub fn kill_with_orphans(self, group: Option<Pid>) {
        drop(self); // also for its descriptors: we may have hit the limit, and need some below
        let ours = lock(&OURS); // keeps others from starting one that would look like an orphan
        tree::signal(tree::group(group), Signal::SIGKILL);
        let deadline = Instant::now() + PERSISTENCE;
        let mut none_seen = 0; // one look may miss somebody, while another child is being reaped
        while none_seen < 2 && Instant::now() < deadline {
            let mut orphans = tree::children(getpid());
            orphans.retain(|pid| !ours.contains_key(pid));
            none_seen = if orphans.is_empty() { none_seen + 1 } else { 0 };
            for orphan in orphans {
                let family = tree::descendants(orphan).into_iter().chain([orphan]);
                tree::signal(family, Signal::SIGKILL);
                if waitpid(orphan, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn start() -> io::Result<Self> {
        tree::adopt_orphans();
        let (socket, their_socket) = UnixStream::pair()?;
        socket.set_write_timeout(Some(Duration::from_millis(HANDSHAKE.into())))?;
        let [(output, their_output), (errors, their_errors)] = [io::pipe()?, io::pipe()?];
        let outputs = [output, errors];
        for pipe in &outputs {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let mut ours = lock(&OURS);
        if ours.len() >= MAX_BUSY {
            let some = ours.values().take(3).map(|it| format!("`{it:.40}`"));
            let some = some.collect::<Vec<_>>().join(", ");
            return Err(io::Error::other(format!(
                "{MAX_BUSY} commands run, or have left something running; stop some first, such as {some}"
            )));
        }
        let child = spawn(their_socket, their_output, their_errors)?;
        let supervisor = Pid::from_raw(child.id() as i32);
        ours.insert(supervisor, Arc::default());
        let control = Arc::new(Control { supervisor, socket });
        Ok(Supervisor {
            child,
            control,
            outputs,
        })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Before its socket closes: that would tell it that the program is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        lock(&OURS).remove(&self.control.supervisor);
    }
}

fn spawn(control: UnixStream, output: PipeWriter, errors: PipeWriter) -> io::Result<Child> {
    let program = PROGRAM.get().cloned().unwrap_or_else(tree::this_program);
    let mut command = Command::new(program);
    command
        .arg0("meanwhile-supervisor")
        .arg(supervisor::ARGUMENT)
        .arg(scratch_folder())
        .stdin(OwnedFd::from(control))
        .stdout(output)
        .stderr(errors)
        // Nobody is there to answer: let what would ask fail at once, and page nothing.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("PAGER", "cat")
        .env("GIT_PAGER", "cat");
    for (name, _) in std::env::vars_os() {
        let ours = [&b"ANTHROPIC_"[..], b"SLACK_"]; // the keys are not the command's
        if ours.iter().any(|start| name.as_bytes().starts_with(start)) {
            command.env_remove(name);
        }
    }
    // Ctrl+Z must not stop it before it has become a program of its own: that would hold up this
    // thread, which then could not be stopped either, and the shell would wait for ever.
    let before = SigSet::thread_get_mask();
    let _ = SigSet::from_iter([Signal::SIGTSTP]).thread_block();
    let child = command.spawn();
    let _ = before.and_then(|mask| mask.thread_set_mask());
    child
}

/// One that is as it was left. A pipe that can be read has closed, as the supervisor was killed; or
/// it holds what somebody wrote who got away, and will write again.
fn take_idle() -> Option<Supervisor> {
    let mut idle = std::iter::from_fn(|| lock(&IDLE).pop());
    let is_quiet = |mut pipe: &PipeReader| pipe.read(&mut [0]).is_err();
    idle.find(|idle| idle.outputs.iter().all(is_quiet))
}

/// At least one supervisor is always alive, so that somebody cleans up when the program goes.
pub(super) fn replace_the_last() {
    let none_left = lock(&OURS).is_empty();
    if none_left && let Ok(supervisor) = Supervisor::start() {
        lock(&IDLE).push(supervisor);
    }
}
