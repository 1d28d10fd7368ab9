//! The program's side of its supervisors: start them, keep one spare, bury them, take care of the
//! orphans of one that was killed.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio, id};
use std::sync::{LazyLock, Mutex, Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::output::scratch_folder;
use super::{lock, supervisor, tree};

/// How long to try to kill orphans.
const PERSISTENCE: Duration = Duration::from_secs(10);

/// Until then, a spare is not missed.
const A_MOMENT: Duration = Duration::from_millis(10);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static SPARE: Mutex<Option<Supervisor>> = Mutex::new(None);

/// Supervisors that were started and not yet buried: the children that are no orphans.
static OURS: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

/// Names the program to start as a supervisor, instead of the one that runs; for programs, such as
/// tests, whose `main` does not call [`supervisor::become_supervisor_if_asked`]. The first call wins.
pub fn supervise_with(program: impl Into<PathBuf>) {
    let _ = PROGRAM.set(program.into());
}

/// A supervisor that waits for its command, or has got it.
pub(super) struct Supervisor {
    pub child: Child,
    pub control: ChildStdin,
    pub output: ChildStdout,
    pub status: ChildStderr,
    /// Where it was started: the program may have gone elsewhere since.
    folder: PathBuf,
}

impl Supervisor {
    /// The spare one, or a new one, with its order. Another spare is then made ready.
    pub fn with_command(command: &str) -> io::Result<Self> {
        let folder = current_folder()?;
        let spare = lock(&SPARE).take();
        let supervisor = match spare {
            Some(spare) if spare.folder == folder => spare.order(command),
            Some(spare) => Err(spare.discard("it waits in another folder")),
            None => Err(io::Error::other("none there")),
        };
        // A spare may also have been killed: that it was a spare is no reason to fail.
        let supervisor = supervisor.or_else(|_| Supervisor::start()?.order(command))?;
        tell_keeper(Task::MakeSpare);
        Ok(supervisor)
    }

    fn order(mut self, command: &str) -> io::Result<Self> {
        let sent = self.control.write_all(&[command.as_bytes(), &[0]].concat());
        // One that is being killed still takes bytes. What it has not read, it has not begun.
        match sent.and_then(|()| read_line(&mut self.status)) {
            Ok(line) if line == supervisor::TAKEN => Ok(self),
            said => Err(self.discard(&format!("the supervisor process was killed ({said:?})"))),
        }
    }

    /// There is nothing below it yet.
    fn discard(mut self, why: &str) -> io::Error {
        let _ = self.child.kill();
        bury(self.child, None);
        io::Error::other(why)
    }

    fn start() -> io::Result<Self> {
        static ONCE: Once = Once::new();
        ONCE.call_once(tree::adopt_orphans);
        let folder = current_folder()?;
        let program = PROGRAM.get().cloned().unwrap_or_else(tree::this_program);
        let mut command = Command::new(program);
        command
            .arg0("meanwhile-supervisor")
            .arg(supervisor::ARGUMENT)
            .arg(id().to_string())
            .arg(scratch_folder());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Nobody is there to answer: let what would ask fail at once, and page nothing.
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("SSH_ASKPASS_REQUIRE", "never");
        command.env("PAGER", "cat").env("GIT_PAGER", "cat");
        // The key is ours, not the command's.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANTHROPIC_"))
        {
            command.env_remove(name);
        }
        let mut ours = lock(&OURS);
        let mut child = without_ctrl_z(|| command.spawn())?;
        ours.insert(Pid::from_raw(child.id() as i32));
        drop(ours);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(control), Some(output), Some(status)) = pipes else {
            return Err(io::Error::other("a pipe is missing")); // cannot be: all three were asked for
        };
        let mut supervisor = Supervisor {
            child,
            control,
            output,
            status,
            folder,
        };
        // Before it is ready it may still be hit by signals that are meant for us.
        let why = match read_line(&mut supervisor.status) {
            Ok(said) if said == supervisor::READY => return Ok(supervisor),
            Err(error) => error.to_string(),
            Ok(said) => match said.strip_prefix("error ") {
                Some(why) => format!("its supervisor gave up: {why}"),
                None => format!(
                    "no supervisor came up ({said:?}); does `main` begin with become_supervisor_if_asked?"
                ),
            },
        };
        Err(supervisor.discard(&why))
    }
}

fn current_folder() -> io::Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        let text =
            format!("the working directory is gone ({error}); start again in one that is there");
        io::Error::new(error.kind(), text)
    })
}

/// The next line, and not a byte more.
fn read_line(status: &mut ChildStderr) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while status.read(&mut byte)? > 0 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

enum Task {
    MakeSpare,
    Bury(Child, Option<ChildStdin>),
}

/// Dismisses a supervisor that is not needed any more and waits for its end, on another thread.
pub(super) fn bury(child: Child, control: Option<ChildStdin>) {
    tell_keeper(Task::Bury(child, control));
}

/// Starts a child that Ctrl+Z cannot stop: one that is stopped before it has become a program of its
/// own holds up this thread, which then cannot be stopped either, and the shell waits for ever.
fn without_ctrl_z<T>(start: impl FnOnce() -> T) -> T {
    let before = SigSet::thread_get_mask();
    let _ = SigSet::from_iter([Signal::SIGTSTP]).thread_block();
    let child = start();
    let _ = before.and_then(|mask| mask.thread_set_mask());
    child
}

/// Has the keeper's thread do it; if there can be no thread, this one does what cannot be left out.
fn tell_keeper(task: Task) {
    static KEEPER: Mutex<Option<Sender<Task>>> = Mutex::new(None);
    let mut keeper = lock(&KEEPER);
    if keeper.is_none() {
        let (sender, tasks) = unbounded();
        let work = move || keep(&tasks);
        let started = thread::Builder::new()
            .name("supervisors".into())
            .spawn(work);
        *keeper = started.is_ok().then_some(sender);
    }
    let sender = keeper.clone();
    drop(keeper);
    match (sender, task) {
        (Some(sender), task) => drop(sender.send(task)),
        (None, Task::MakeSpare) => {}
        (None, Task::Bury(child, control)) => wait_for(child, control),
    }
}

/// The keeper. A spare is made when a command has ended, or runs longer than a moment: at its very
/// start, it is the more urgent one.
fn keep(tasks: &Receiver<Task>) {
    let mut wanted = false;
    loop {
        let patience = if wanted { A_MOMENT } else { Duration::MAX };
        match tasks.recv_timeout(patience) {
            Ok(Task::MakeSpare) => {
                wanted = true;
                continue;
            }
            Ok(Task::Bury(child, control)) => {
                // One must be there at any time, to clean up when the program goes.
                let is_last = lock(&OURS).len() == 1;
                if wanted && is_last {
                    make_spare();
                }
                wait_for(child, control);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Not while others wait for their end: they hold processes and descriptors.
        if wanted && tasks.is_empty() {
            make_spare();
            wanted = false;
        }
    }
}

fn make_spare() {
    let missing = lock(&SPARE).is_none();
    if missing && let Ok(spare) = Supervisor::start() {
        *lock(&SPARE) = Some(spare);
    }
}

fn wait_for(mut supervisor: Child, control: Option<ChildStdin>) {
    if let Some(mut control) = control {
        let _ = control.write_all(supervisor::DISMISS);
    }
    let _ = supervisor.wait();
    lock(&OURS).remove(&Pid::from_raw(supervisor.id() as i32));
}

/// Kills what a supervisor left behind when it was killed itself. Its orphans have become our
/// children; where that does not happen, the shell's group is all that can be reached.
pub(super) fn kill_orphans_of(mut supervisor: Child, group: Option<Pid>) {
    let _ = supervisor.wait(); // from here on, its orphans are ours
    let mut ours = lock(&OURS);
    ours.remove(&Pid::from_raw(supervisor.id() as i32));
    kill_each(tree::group(group));
    let deadline = Instant::now() + PERSISTENCE;
    let mut none_seen = 0; // one look may miss somebody, while another child is being buried
    while none_seen < 2 && Instant::now() < deadline {
        let orphans: Vec<Pid> = tree::children(getpid())
            .into_iter()
            .filter(|pid| !ours.contains(pid))
            .collect();
        none_seen = if orphans.is_empty() { none_seen + 1 } else { 0 };
        for orphan in orphans {
            kill_each(tree::descendants(orphan).into_iter().chain([orphan]));
            if waitpid(orphan, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn kill_each(pids: impl IntoIterator<Item = Pid>) {
    for pid in pids {
        let _ = kill(pid, Signal::SIGKILL);
    }
}
