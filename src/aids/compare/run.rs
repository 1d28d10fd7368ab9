//! aids · A lesson program at work, seen through its trace.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio, exit, id};
use std::time::Instant;

use meanwhile::aids::timeline::Kind;
use meanwhile::aids::timeline::Record;
use meanwhile::aids::timeline::chart::Chart;

/// The practice model's thinking time in seconds at full scale: what a real one takes.
const THINKING_TIME: f64 = 2.0;

/// The private first argument; then come our process id, the program and its arguments.
const ARGUMENT: &str = "__program";

/// Becomes a lesson program, if that is what this process was started for: one that is ended when
/// the comparison is gone, whatever ended it. (On Linux. Elsewhere a comparison that was killed with
/// SIGKILL leaves its programs to come to the end of their turn.)
pub fn become_program_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    let parent = arguments.next();
    #[cfg(target_os = "linux")]
    {
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
        if parent.is_none_or(|parent| *parent != *nix::unistd::getppid().to_string()) {
            exit(1); // too late: it has gone already
        }
    }
    let error = Command::new(arguments.next().unwrap_or_default())
        .args(arguments)
        .exec();
    eprintln!("{error}");
    exit(1)
}

pub struct Run {
    pub title: &'static str,
    pub records: Vec<Record>,
    child: Child,
    status: Option<ExitStatus>,
    trace: File,
    /// The beginning of a line that is not complete.
    rest: Vec<u8>,
    started: Instant,
}

impl Run {
    /// Starts a program in a folder of its own below `work`. `scale` is for the practice model;
    /// without it, the model that the environment names is used.
    pub fn start(
        program: &Path,
        title: &'static str,
        work: &Path,
        instructions: &str,
        scale: Option<f64>,
    ) -> Result<Run, String> {
        let failed = |error: std::io::Error| format!("{title} cannot be started: {error}");
        let folder = work.join(program.file_name().unwrap_or_default());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let path = folder.join("trace.json");
        File::create(&path).map_err(failed)?;
        let trace = File::open(&path).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg(ARGUMENT).arg(id().to_string()).arg(program);
        command
            .args(["--yes", "-p", instructions, "--trace"])
            .arg(&path);
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
            records: Vec::new(),
            child: command.spawn().map_err(failed)?,
            status: None,
            trace,
            rest: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Reads what has come into the trace since.
    pub fn update(&mut self) {
        // In this order: what it wrote before it ended is then not missed.
        self.status = self.status.or_else(|| self.child.try_wait().ok().flatten());
        let _ = self.trace.read_to_end(&mut self.rest);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let record = line.strip_prefix(b",").unwrap_or(&line);
            self.records
                .extend(serde_json::from_slice::<Record>(record));
        }
    }

    /// The short name of the lesson.
    pub fn name(&self) -> &'static str {
        self.title.split(' ').next().unwrap_or_default()
    }

    pub fn is_over(&self) -> bool {
        self.status.is_some()
    }

    /// True if it came to its end, and its turn did.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| status.success()) && self.turn_end().is_some()
    }

    /// The end of the last turn.
    fn turn_end(&self) -> Option<u64> {
        let is_end = |record: &&Record| record.ph == 'E' && record.is(Kind::Turn);
        Some(self.records.iter().rfind(is_end)?.ts)
    }

    pub fn chart(&self) -> Chart {
        let now = self.started.elapsed().as_micros() as u64;
        let until = self.turn_end().filter(|_| self.is_over()).unwrap_or(now);
        Chart::of(&self.records, until)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
