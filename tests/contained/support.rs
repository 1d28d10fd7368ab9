//! Waiting for conditions, gates for commands, processes to keep an eye on, a lesson to talk to.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

use meanwhile::background::{BackgroundExecutor, Kind, Progress, Refusal, Status, Task, Watch};
use meanwhile::caught::is_caught;
use meanwhile::caught::lock;
use meanwhile::event::Events;
use meanwhile::interrupt::Interrupt;
use meanwhile::notification::{NotificationBus, TaskId};
use meanwhile::outcome::Outcome;
use meanwhile::process::{self, Handle};

pub use super::program::{PATIENCE, eventually as until};
use super::program::{clean_environment, program};

/// A time limit that no command here is to reach.
pub const NO_LIMIT: Duration = PATIENCE;

/// The variable that names another supervisor, for a test that runs alone.
pub const SUPERVISOR: &str = "MEANWHILE_TEST_SUPERVISOR";

/// Before the first command: these tests have a `main` that does not become a supervisor.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let other = std::env::var_os(SUPERVISOR).map(PathBuf::from);
        process::supervise_with(other.unwrap_or_else(|| program("s01_agent_loop")));
        // What a job's panic says is its outcome; what it says when it dies without a word, nothing.
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let quiet = thread::current()
                .name()
                .is_some_and(|name| name.starts_with("quiet"));
            if !is_caught() && !quiet {
                print(panic);
            }
        }));
    });
}

/// An executor whose tasks are commands, by their names.
pub struct Executor(Shared);

pub type Shared = Arc<Mutex<BackgroundExecutor>>;

pub fn executor(max_concurrent: usize) -> Executor {
    executor_over(NotificationBus::default(), max_concurrent)
}

pub fn executor_over(bus: NotificationBus, max_concurrent: usize) -> Executor {
    prepare();
    Executor(BackgroundExecutor::shared(bus, max_concurrent))
}

pub fn id(name: &str) -> TaskId {
    TaskId::new(name).expect("a name")
}

/// Runs a command and waits for it, as `bash` does.
pub fn run_blocking(command: &str, limit: Duration, interrupt: &Interrupt) -> (Outcome, usize) {
    process::run(&Handle::new(command), "".as_ref(), limit, interrupt)
}

impl Executor {
    pub fn shared(&self) -> &Shared {
        &self.0
    }

    /// A background command, as `bg_bash` submits it.
    pub fn submit_command(&self, name: &str, command: impl Into<String>) -> Result<(), Refusal> {
        let handle = Arc::new(Handle::new(&command.into()));
        let its = handle.clone();
        let job = move |_: &_| process::until_ended(&process::start(&its, "".as_ref()));
        self.submit_watched(name, handle, job)
    }

    pub fn submit(
        &self,
        name: &str,
        job: impl FnOnce(&Task) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        self.submit_watched(name, Arc::new(Progress::default()), job)
    }

    pub fn submit_watched(
        &self,
        name: &str,
        watch: Arc<dyn Watch>,
        job: impl FnOnce(&Task) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        let task = Task::new(Kind::Command, &id(name), watch, &Events::default());
        lock(&self.0).submit(task, job)
    }

    pub fn check(&self, name: &str) -> Result<Status, Refusal> {
        lock(&self.0).check(&id(name))
    }

    pub fn ids(&self) -> Vec<TaskId> {
        lock(&self.0).ids()
    }

    pub fn running(&self) -> Vec<TaskId> {
        lock(&self.0).running()
    }

    #[track_caller]
    pub fn stop(&self, name: &str) {
        let status = lock(&self.0).check(&id(name));
        status.expect("a known task").task.stop();
    }

    pub fn outcome(&self, name: &str) -> Option<Outcome> {
        self.check(name).expect("a known task").outcome
    }

    pub fn progress(&self, name: &str) -> String {
        let status = self.check(name).expect("a known task");
        assert_eq!(status.outcome, None, "{name} has ended");
        status.progress.line
    }

    #[track_caller]
    pub fn until_ended(&self, name: &str) -> Outcome {
        until(&format!("the end of {name}"), || {
            self.outcome(name).is_some()
        });
        self.outcome(name).expect("it has ended")
    }
}

/// A folder for commands: its gates, and the list of processes that they enter themselves in.
pub struct Place(pub TempDir);

impl Place {
    pub fn new() -> Self {
        prepare();
        Place(tempfile::tempdir().expect("a folder for the test"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command with `{}` for this folder.
    pub fn command(&self, command: &str) -> String {
        command.replace("{}", &self.0.path().display().to_string())
    }

    /// Where a command waits, with `read line < GATE`, until [`open`](Self::open).
    pub fn gate(&self, name: &str) {
        mkfifo(&self.path(name), Mode::S_IRWXU).expect("a gate");
    }

    /// Waits until a command stands at the gate; it goes on when the result is dropped.
    #[track_caller]
    pub fn open(&self, name: &str) -> fs::File {
        use std::os::unix::fs::OpenOptionsExt;
        let mut gate = None;
        until(&format!("a command at the gate {name}"), || {
            let nonblocking = nix::libc::O_NONBLOCK;
            gate = fs::OpenOptions::new()
                .write(true)
                .custom_flags(nonblocking)
                .open(self.path(name))
                .ok();
            gate.is_some()
        });
        gate.expect("it is open")
    }

    /// The processes that have entered themselves (`echo $BASHPID >> {}/pids`), once there are `count`.
    #[track_caller]
    pub fn pids(&self, count: usize) -> Vec<Pid> {
        let mut pids = Vec::new();
        until(&format!("{count} processes have started"), || {
            let list = fs::read_to_string(self.path("pids")).unwrap_or_default();
            let complete = list
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            pids = complete
                .map(|line| Pid::from_raw(line.trim().parse().expect("a process id")))
                .collect();
            pids.len() >= count
        });
        pids
    }
}

/// Waits until none of them runs: one that has died and waits to be buried does not.
#[track_caller]
pub fn until_gone(pids: &[Pid]) {
    for pid in pids {
        until(&format!("the end of process {pid}"), || !runs(*pid));
    }
}

/// One that has been killed looks dead while its other threads are still dying.
pub fn runs(pid: Pid) -> bool {
    let Some(stat) = stat(pid) else { return false };
    let threads: usize = stat
        .split(' ')
        .nth(17)
        .and_then(|count| count.parse().ok())
        .expect("a number");
    !stat.starts_with(['Z', 'X']) || threads > 1
}

pub fn state(pid: Pid) -> Option<char> {
    stat(pid)?.chars().next()
}

/// "STATE PARENT …"
fn stat(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_string())
}

pub fn kill(pid: Pid) {
    let killed = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    assert!(matches!(killed, Ok(()) | Err(Errno::ESRCH)), "{killed:?}");
}

pub fn children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        list.split_whitespace()
            .map(|pid| Pid::from_raw(pid.parse().expect("a process id")))
            .collect()
    };
    lists.flat_map(pids).collect()
}

/// Now and then somebody has died and is not yet buried; but nobody stays so. What is counted after
/// this can be compared.
#[track_caller]
pub fn until_only_idle_ones_are_there(parent: Pid) {
    until("only idle supervisors are its children", || {
        let children = children(parent);
        (1..=2).contains(&children.len())
            && children.iter().all(|pid| runs(*pid) && nobody_below(*pid))
    });
}

fn nobody_below(pid: Pid) -> bool {
    children(pid).is_empty()
}

pub fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .count()
}

/// A line of /proc/PID/status, in KiB: `VmHWM` is the most memory it ever had, `VmRSS` what it has.
pub fn memory(pid: Pid, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let fields: HashMap<_, _> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    fields[line]
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// Runs the rest of a test in a process of its own: for what is counted by process, and for the
/// environment. `name` is the test's.
#[track_caller]
pub fn alone(name: &str, variables: &[(&str, &str)], work: impl FnOnce(&Place)) {
    const MARK: &str = "MEANWHILE_TEST_ALONE";
    if std::env::var(MARK).is_ok_and(|alone| alone == name) {
        return work(&Place::new());
    }
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    clean_environment(&mut command, folder.path());
    command
        .args([name, "--exact", "--nocapture"])
        .env(MARK, name)
        .env("TMPDIR", folder.path());
    let output = command
        .envs(variables.iter().copied())
        .output()
        .expect("this program again");
    let text = String::from_utf8_lossy(&output.stdout);
    let aside = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains(" 1 passed"),
        "{text}\n{aside}"
    );
    text.lines()
        .filter(|line| line.starts_with("measured"))
        .for_each(|line| println!("{line}"));
    until("the scratch folder has gone with the program", || {
        fs::read_dir(folder.path()).expect("the folder").count() == 0
    });
}

/// What a program leaves behind comes to this one, as long as this one runs commands itself.
#[track_caller]
fn bury(orphans: &[Pid]) {
    for orphan in orphans {
        until(&format!("the end of process {orphan}"), || {
            waitpid(*orphan, Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive)
        });
    }
    until_gone(orphans);
}

/// A lesson that is talked to line by line.
pub struct Talk {
    pub folder: TempDir,
    pub child: Child,
    lines: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    prompt: String,
}

impl Talk {
    pub fn with(lesson: &str) -> Self {
        Self::through(lesson, |folder| {
            let mut command = Command::new(program(lesson));
            clean_environment(&mut command, folder);
            command
        })
    }

    /// `wrap` makes the command that becomes the lesson.
    pub fn through(lesson: &str, wrap: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut command = wrap(folder.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the lesson starts");
        let mut out = child.stdout.take().expect("a pipe");
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut buffer) {
                let _ = sender.send(buffer[..count].to_vec());
            }
        });
        let prompt = format!("\n{} >> ", lesson.split('_').next().unwrap_or_default());
        let lines = child.stdin.take();
        let mut talk = Talk {
            folder,
            child,
            lines,
            output,
            prompt,
        };
        talk.until_prompt();
        talk
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Types a line.
    pub fn send(&mut self, line: &str) {
        let lines = self.lines.as_mut().expect("it listens");
        lines
            .write_all(format!("{line}\n").as_bytes())
            .expect("it listens");
    }

    /// Types a line; what it shows until the next prompt.
    #[track_caller]
    pub fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.until_prompt()
    }

    #[track_caller]
    pub fn until_prompt(&mut self) -> String {
        let mut shown = Vec::new();
        while !shown.ends_with(self.prompt.as_bytes()) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(piece) => shown.extend(piece),
                Err(error) => panic!("no prompt ({error}):\n{}", String::from_utf8_lossy(&shown)),
            }
        }
        String::from_utf8(shown).expect("valid text")
    }

    /// End of file, and the program's end.
    #[track_caller]
    pub fn leave(&mut self) {
        let orphans = children(self.pid());
        self.lines = None;
        let status = self.child.wait().expect("it ends");
        bury(&orphans);
        assert!(status.success(), "{status}");
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
