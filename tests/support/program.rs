//! Drives a lesson the way a pipe does: lines in, a transcript out, in a folder of its own.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

/// Long enough for a slow machine; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something has become true.
#[track_caller]
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_or(what, String::new, is_so);
}

/// The same; if it does not become true, this is said as well.
#[track_caller]
pub fn eventually_or(what: &str, why: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never so: {what}\n{}", why());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Where each thread of a process stands: its name, its state, and the place in the kernel where
/// it waits.
pub fn threads(process: Pid) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lines = tasks.map(|task| {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let (name, stat, place) = (read("comm"), read("stat"), read("wchan"));
        let state = stat
            .rsplit_once(") ")
            .map_or("?", |(_, rest)| rest.get(..1).unwrap_or("?"));
        format!("  thread {:<15} {state} {place}", name.trim_end())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A place where a command waits that reads from it (`cat NAME`), until something is written there.
pub fn gate(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    mkfifo(&path, Mode::S_IRWXU).expect("a gate");
    path
}

/// The user without rights; the same number on all systems we know.
const NOBODY: u32 = 65534;

/// From root nothing is hidden, and root can become somebody else.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

/// The program of that name, as Cargo built it for these tests.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_s01_agent_loop")).with_file_name(name)
}

/// Copies a program that is then to be run. Not `fs::copy`: a child that another test forks at the
/// same time would hold the copy open for writing, and it could not be run ("text file busy").
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "no copy of {}", from.display());
}

/// A lesson about to be run.
pub struct Lesson {
    pub folder: TempDir,
    command: Command,
    input: Vec<u8>,
}

/// What it did.
pub struct Transcript {
    pub folder: TempDir,
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

/// No key, no network, no thinking time, nothing of the person who runs the tests.
pub fn clean_environment(command: &mut Command, folder: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ANTHROPIC_") || text.starts_with("SLACK_") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("MODEL_ID")
        .env("MEANWHILE_THINKING_MS", "0");
    command
        .env("HOME", folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .current_dir(folder);
}

impl Lesson {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut command = Command::new(program(name));
        clean_environment(&mut command, folder.path());
        Lesson {
            folder,
            command,
            input: Vec::new(),
        }
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in another folder than its own.
    #[allow(dead_code)]
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// A file in the lesson's folder, before it starts.
    pub fn file(self, path: &str, content: &str) -> Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders for a file");
        std::fs::write(path, content).expect("a file for the test");
        self
    }

    /// A line to be typed.
    pub fn line(self, line: &str) -> Self {
        self.bytes(format!("{line}\n").as_bytes())
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.input.extend_from_slice(bytes);
        self
    }

    /// Lets another user run it, one to whom things can be forbidden, if these tests run as root.
    pub fn unprivileged(mut self) -> Self {
        let folder = self.folder.path();
        if std::fs::metadata(folder).expect("the folder").uid() == 0 {
            // By another process: a file that is open for writing here, or in a child of another
            // thread, cannot be run.
            let copy = folder.join("program");
            let copied = Command::new("cp")
                .arg(self.command.get_program())
                .arg(&copy)
                .status();
            assert!(copied.expect("cp runs").success(), "no copy of the program");
            chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may give a folder away");
            let mut command = Command::new(copy);
            command
                .args(self.command.get_args())
                .uid(NOBODY)
                .gid(NOBODY);
            clean_environment(&mut command, folder);
            self.command = command;
        }
        self
    }

    /// Runs it until it ends by itself at end of file.
    #[track_caller]
    pub fn run(mut self) -> Transcript {
        let mut child = self.start();
        let pid = Pid::from_raw(child.id() as i32);
        let (ended, watched) = channel::<()>();
        let watch = std::thread::spawn(move || {
            let late = watched.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            late && kill(pid, Signal::SIGKILL).is_ok()
        });
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = std::mem::take(&mut self.input);
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().expect("the program ran");
        drop(ended);
        writer.join().expect("the writer");
        let out = String::from_utf8(stdout).expect("valid text on standard output");
        assert!(
            !watch.join().expect("the watch"),
            "it did not end in {PATIENCE:?}\n--- it showed:\n{out}"
        );
        let err = String::from_utf8_lossy(&stderr).into_owned();
        Transcript {
            folder: self.folder,
            out,
            err,
            code: status.code(),
        }
    }

    /// Starts it and leaves the pipes to the caller.
    pub fn start(&mut self) -> Child {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.command.spawn().expect("the lesson program starts")
    }
}

impl Transcript {
    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(
            self.out.contains(text),
            "not shown: {text:?}\n--- it showed:\n{}\n--- aside:\n{}",
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    pub fn has_not(&self, text: &str) -> &Self {
        assert!(
            !self.out.contains(text),
            "shown: {text:?}\n--- it showed:\n{}",
            self.out
        );
        self
    }

    /// The texts occur in this order.
    #[track_caller]
    pub fn has_in_order(&self, texts: &[&str]) -> &Self {
        let mut rest = self.out.as_str();
        for text in texts {
            rest = match rest.split_once(text) {
                Some((_, rest)) => rest,
                None => panic!(
                    "not shown in this place: {text:?}\n--- it showed:\n{}",
                    self.out
                ),
            };
        }
        self
    }

    pub fn file(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join(path)).ok()
    }
}
