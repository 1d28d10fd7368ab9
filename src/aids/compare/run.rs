//! aids · A lesson program at work, seen through its trace.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, exit, id};
use std::time::{Duration, Instant};

use meanwhile::aids::timeline::chart::{Bar, Chart, Lane};
use meanwhile::aids::timeline::{Kind, MAIN, Span, Trace};

use crate::scene::Script;

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
    /// What it and its mates have done.
    pub trace: Trace,
    /// What its own trace says.
    own: Trace,
    folder: PathBuf,
    child: Child,
    /// How it ended, if it has.
    pub status: Option<ExitStatus>,
    file: BufReader<File>,
    /// The last line of the file, which may not be complete yet.
    line: Vec<u8>,
    started: Instant,
    script: Script,
    /// When the question was typed, counted from the start.
    pub asked: Option<Duration>,
}

impl Run {
    /// Starts a program in a folder of its own below `work`. `scale` is for the practice model;
    /// without it, the model that the environment names is used.
    pub fn start(
        program: &str,
        title: &'static str,
        work: &Path,
        script: &Script,
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
        command.args(["--yes", "--trace", "trace.json"]);
        command.current_dir(&folder);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        match script.question {
            None => command.args(["-p", &script.prompt]).stdin(Stdio::null()),
            Some(_) => command.stdin(Stdio::piped()),
        };
        if let Some(scale) = scale {
            for name in ["API_KEY", "AUTH_TOKEN", "BASE_URL"] {
                command.env_remove(format!("ANTHROPIC_{name}"));
            }
            let thinking = format!("{:.0}", THINKING_TIME * 1000.0 / scale);
            command.env("MEANWHILE_THINKING_MS", thinking);
        }
        let mut run = Run {
            title,
            trace: Trace::default(),
            own: Trace::default(),
            folder,
            file: BufReader::new(File::open(&path)?),
            child: command.spawn()?,
            status: None,
            line: Vec::new(),
            started: Instant::now(),
            script: script.clone(),
            asked: None,
        };
        run.type_line(&script.prompt);
        Ok(run)
    }

    /// Into its standard input, where that is a pipe. A program that has gone is seen otherwise.
    fn type_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.child.stdin {
            let _ = writeln!(stdin, "{line}");
        }
    }

    /// Reads what has come into the trace since; types the question when its time has come, and ends
    /// the input when there is nothing more to come.
    pub fn update(&mut self) {
        // In this order: what it wrote before it ended is then not missed.
        self.status = self.status.or_else(|| self.child.try_wait().ok().flatten());
        while let Ok(1..) = self.file.read_until(b'\n', &mut self.line)
            && self.line.ends_with(b"\n")
        {
            self.own.add_line(&self.line);
            self.line.clear();
        }
        self.trace = self.own.clone().with_mates(&self.folder);
        let (now, question) = (self.started.elapsed(), self.script.question.clone());
        match question {
            Some((seconds, text)) if self.asked.is_none() && now.as_secs_f64() >= seconds => {
                self.type_line(&text);
                self.asked = Some(now);
            }
            _ if self.has_done_all() => self.child.stdin = None,
            _ => {}
        }
    }

    /// The turns that a line began: the instructions, then the question.
    pub fn turns(&self) -> impl Iterator<Item = &Span> {
        let turns = self.trace.spans.iter().filter(|span| span.is(Kind::Turn));
        turns.filter(|turn| turn.begin.tid == MAIN && turn.begin.args["prompt"] != "")
    }

    /// When the question was answered, in microseconds of the trace.
    pub fn answered(&self) -> Option<u64> {
        self.turns().nth(1)?.end
    }

    /// True if all lines were dealt with, and the results of all tasks were delivered.
    fn has_done_all(&self) -> bool {
        let spans = &self.trace.spans;
        let count = |kind| spans.iter().filter(|span| span.is(kind)).count();
        let lines = 1 + usize::from(self.script.question.is_some());
        self.turns().count() == lines
            && spans.iter().all(|span| span.end.is_some())
            && count(Kind::Task) == count(Kind::Delivered)
    }

    /// The short name of the lesson.
    pub fn name(&self) -> &'static str {
        self.title.split(' ').next().unwrap_or_default()
    }

    /// True if it came to its end, its turns did, and every request brought a reply.
    pub fn is_good(&self) -> bool {
        let ended = self.turns().filter(|turn| turn.end.is_some()).count();
        let mut requests = self.trace.spans.iter().filter(|it| it.is(Kind::Thinking));
        self.status.is_some_and(|status| status.success())
            && ended == 1 + usize::from(self.script.question.is_some())
            && requests.all(|request| request.result["input_tokens"].is_u64())
    }

    /// When it is over, how long it took; until then, how long it has taken. In microseconds.
    pub fn time(&self) -> Range<u64> {
        self.trace
            .session(self.started.elapsed().as_micros() as u64)
    }

    pub fn chart(&self) -> Chart {
        let mut chart = Chart::of(&self.trace, self.time());
        if let (Some(asked), Some((_, text))) = (self.asked, &self.script.question) {
            let since_start = |at: u64| (at - self.time().start) as f64 / 1e6;
            let waits = Bar {
                kind: Kind::Question,
                name: text.clone(),
                start: asked.as_secs_f64(),
                end: self.answered().map_or(chart.seconds, since_start),
            };
            let (label, bars) = ("you".to_string(), vec![waits]);
            chart.lanes.insert(0, Lane { label, bars });
        }
        chart
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
