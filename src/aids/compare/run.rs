//! aids · A lesson program at work, seen through its trace.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio, exit, id};
use std::time::Instant;

use meanwhile::aids::timeline::Trace;
use meanwhile::aids::timeline::chart::Chart;

/// The practice model's thinking time in seconds at full scale: what a real one takes.
const THINKING_TIME: f64 = 2.0;

/// The private first argument; then come our process id, the program and its arguments.
const ARGUMENT: &str = "__program";

/// Becomes a lesson program, if that is what this process was started for: one that is ended when
/// the comparison is gone, whatever ended it. (On Linux. Elsewhere a comparison that was killed
/// with SIGKILL leaves its programs to come to the end of their turn.)
pub fn become_program_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    let parent = arguments.next();
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
    if parent.is_none_or(|parent| *parent != *parent_id().to_string()) {
        exit(1); // too late: it has gone already
    }
    let program = arguments.next().unwrap_or_default();
    let _ = Command::new(program).args(arguments).exec(); // returns only if it failed
    exit(1)
}

pub struct Run {
    pub title: &'static str,
    pub trace: Trace,
    child: Child,
    /// How it ended, if it has.
    pub status: Option<ExitStatus>,
    file: BufReader<File>,
    /// The last line of the file, which may not be complete yet.
    line: Vec<u8>,
    started: Instant,
}

impl Run {
    /// Starts a program in a folder of its own below `work`. `scale` is for the practice model;
    /// without it, the model that the environment names is used.
    pub fn start(
        program: &str,
        title: &'static str,
        work: &Path,
        instructions: &str,
        scale: Option<f64>,
    ) -> io::Result<Run> {
        let me = std::env::current_exe()?;
        let (folder, program) = (work.join(program), me.with_file_name(program));
        if !program.exists() {
            return Err(io::Error::other("run `cargo build`, then this again"));
        }
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("trace.json");
        File::create(&path)?;
        let mut command = Command::new(me);
        command.arg(ARGUMENT).arg(id().to_string()).arg(program);
        command.args(["--yes", "-p", instructions, "--trace", "trace.json"]);
        command.current_dir(&folder).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(scale) = scale {
            for name in ["API_KEY", "AUTH_TOKEN", "BASE_URL"] {
                command.env_remove(format!("ANTHROPIC_{name}"));
            }
            let thinking = format!("{:.0}", THINKING_TIME * 1000.0 / scale);
            command.env("MEANWHILE_THINKING_MS", thinking);
        }
        Ok(Run {
            title,
            trace: Trace::default(),
            file: BufReader::new(File::open(&path)?),
            child: command.spawn()?,
            status: None,
            line: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Reads what has come into the trace since.
    pub fn update(&mut self) {
        // In this order: what it wrote before it ended is then not missed.
        self.status = self.status.or_else(|| self.child.try_wait().ok().flatten());
        while let Ok(1..) = self.file.read_until(b'\n', &mut self.line)
            && self.line.ends_with(b"\n")
        {
            let record = self.line.strip_prefix(b",").unwrap_or(&self.line);
            if let Ok(record) = serde_json::from_slice(record) {
                self.trace.add(record);
            }
            self.line.clear();
        }
    }

    /// The short name of the lesson.
    pub fn name(&self) -> &'static str {
        self.title.split(' ').next().unwrap_or_default()
    }

    /// True if it came to its end, and its turn did.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| status.success()) && self.trace.turn_end().is_some()
    }

    pub fn chart(&self) -> Chart {
        let now = self.started.elapsed().as_micros() as u64;
        let end = self.trace.turn_end().filter(|_| self.status.is_some());
        Chart::of(&self.trace, end.unwrap_or(now))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
