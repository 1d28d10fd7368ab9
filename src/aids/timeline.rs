//! aids · What happened when: a reader of the event stream that keeps the session for pictures and
//! for a page to play it, and writes it as a trace.
//!
//! The trace is in the Trace Event format (JSON array) that Perfetto and `chrome://tracing` open:
//! a track for the main thread, one for each sub-agent, one for each background task. Every record
//! is a line of its own and is written when it happens, so that the file is of use while the
//! program runs, and when it was killed: the format allows the closing bracket to be missing.

pub mod chart;
mod mates;
pub mod page;
mod record;
mod svg;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::caught::lock;
use crate::event::{Event, Stamped};
use crate::options::Options;
use crate::screen::{describe, visible};
use chart::Chart;
use page::Run;
pub use record::{Kind, MAIN, Record, Span, Trace};

/// Bounds the memory of a session: of more spans, the oldest are forgotten.
const MAX_SPANS: usize = 5_000;

/// Characters and lines that are kept of a text.
const MAX_TEXT: (usize, usize) = (600, 12);

/// Collects records. Clones are the same timeline.
#[derive(Clone, Default)]
pub struct Timeline(Arc<Mutex<Recorder>>);

#[derive(Default)]
struct Recorder {
    /// When the first event happened, from which all times are counted.
    started: Option<Instant>,
    /// The time of the last record. Threads race for the lock; in a trace, time does not go back.
    now: u64,
    /// The track of every owner in this session. They are numbered from 1 on.
    tracks: HashMap<Owner, usize>,
    /// The session.
    trace: Trace,
    /// What the model has said so far, by the track of its request.
    said: HashMap<usize, String>,
    /// The trace; an error if it could not be written any further.
    file: Option<io::Result<File>>,
}

/// Whose track it is: a `thread`, an `agent` or a `task`, and its name. (A task may have the name
/// of an agent, or be called "main".)
type Owner = (&'static str, String);

impl Timeline {
    /// Writes the session to a file from now on. To be called before the first event.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn trace_to(&self, path: &Path, program: &str) -> io::Result<()> {
        let mut file = File::create(path)?;
        let first = json!({ "ph": "M", "ts": 0, "pid": 1, "tid": 1, "name": "process_name",
            "args": { "name": program } });
        file.write_all(format!("[\n{first}\n").as_bytes())?;
        self.lock().file = Some(Ok(file));
        Ok(())
    }

    /// Takes an event from the stream.
    pub fn note(&self, stamped: Stamped<'_>) {
        self.lock().note(stamped);
    }

    /// The last turn, as far as it has come, with what led to it.
    pub fn chart(&self) -> Chart {
        let (trace, now) = self.trace();
        Chart::of(&trace, trace.last_turn(now))
    }

    /// The last turn as text, or with `all` the whole session, its lanes at most `width` characters
    /// wide; or a sentence if there is nothing to draw.
    pub fn text(&self, width: usize, which: &str) -> String {
        let chart = match which {
            "" => self.chart(),
            "all" => self.session(Chart::of),
            _ => return "/timeline draws the last turn, /timeline all the session.".to_string(),
        };
        if chart.lanes.is_empty() {
            return "Nothing to draw: no request and no tool call so far.".to_string();
        }
        chart.draw(width, chart.seconds) + &chart.legend()
    }

    fn session<T>(&self, make: impl FnOnce(&Trace, Range<u64>) -> T) -> T {
        let (trace, now) = self.trace();
        make(&trace, trace.session(now))
    }

    /// All that happened so far, in the mates of a team as well, and the time.
    fn trace(&self) -> (Trace, u64) {
        let mut recorder = self.lock();
        let now = recorder.since_start(Instant::now());
        let trace = recorder.trace.clone();
        drop(recorder); // files are read next, and threads that emit would wait
        (trace.with_mates("".as_ref()), now)
    }

    /// Writes the files that the options ask for. Returns a sentence for each that is not there,
    /// or not complete.
    pub fn finish(&self, options: &Options) -> Vec<String> {
        let title = &options.title;
        let chart = |path: &PathBuf| std::fs::write(path, self.chart().svg(title));
        let page = |path: &PathBuf| {
            let run = self
                .session(|trace, time| Run::of("", Chart::of(trace, time.clone()), trace, time));
            std::fs::write(path, page::html(title, &[run], &[]))
        };
        let written = [
            ("chart", &options.chart, options.chart.as_ref().map(chart)),
            ("page", &options.html, options.html.as_ref().map(page)),
            ("trace", &options.trace, Some(self.end_trace())),
        ];
        let problems = written.into_iter().filter_map(|(what, path, written)| {
            let (path, error) = (path.as_ref()?.display(), written?.err()?);
            Some(format!(
                "The {what} could not be written to {path}: {error}."
            ))
        });
        problems.collect()
    }

    /// Ends in the file what is still open, and the file.
    fn end_trace(&self) -> io::Result<()> {
        let mut recorder = self.lock();
        recorder.now = recorder.since_start(Instant::now()).max(recorder.now);
        let args = json!({ "result": "still going on when the program ended" });
        while let Some(span) = recorder.trace.spans.iter().rfind(|it| it.end.is_none()) {
            let tid = span.begin.tid;
            recorder.end(tid, args.clone());
        }
        match recorder.file.take() {
            Some(Ok(mut file)) => file.write_all(b"]\n"),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        lock(&self.0)
    }
}

impl Recorder {
    fn note(&mut self, stamped: Stamped<'_>) {
        let (what, name) = match (stamped.event, stamped.agent) {
            (Event::TaskStarted { id, .. } | Event::TaskFinished { id, .. }, _) => ("task", &**id),
            (_, None) => ("thread", "main"),
            // What a background agent does is drawn within its task, but what it did when it was
            // sent there ends where it began.
            (_, Some(name)) if stamped.in_background && !self.is_busy("agent", name) => {
                ("task", name)
            }
            (_, Some(name)) => ("agent", name),
        };
        self.now = self.since_start(stamped.at).max(self.now);
        let tid = self.track(what, name);
        let text = |what: &str, text: &str| json!({ what: shorten(text) });
        match stamped.event {
            Event::TurnStarted(prompt) => {
                self.begin(tid, Kind::Turn, "turn", text("prompt", prompt));
            }
            Event::RequestStarted => self.begin(tid, Kind::Thinking, "thinking", Value::Null),
            Event::ToolStarted { name, input } => {
                let id = input.get("id").or(input.get("name"));
                let args = json!({ "input": shorten(&describe(input)), "id": id });
                self.begin(tid, Kind::Tool, name, args);
            }
            Event::TaskStarted { id, what } => {
                self.begin(tid, Kind::Task, id, text("input", what));
            }
            Event::Delivered(id, line) | Event::Told(id, line) => {
                self.begin(tid, Kind::Delivered, "delivered", json!({ "id": id }));
                self.end(tid, text("result", line));
            }
            Event::Text(text) => {
                let said = self.said.entry(tid).or_default();
                if said.chars().count() <= MAX_TEXT.0 {
                    *said += text;
                }
            }
            Event::RequestFinished(usage) => {
                let no_reply = json!({ "result": "no reply" });
                let mut args = usage.map_or(no_reply, |usage| json!(usage));
                args["text"] = self.said.remove(&tid).map(|said| shorten(&said)).into();
                self.end(tid, args);
            }
            Event::ToolFinished { output, .. } => self.end(tid, text("result", output)),
            Event::TaskFinished { result, .. } => self.end(tid, text("result", result)),
            Event::TurnFinished => self.end(tid, Value::Null),
            Event::Notice(_) | Event::Tokens(_) | Event::Waiting { .. } => {}
        }
    }

    fn begin(&mut self, tid: usize, kind: Kind, name: &str, args: Value) {
        if self.trace.spans.len() >= MAX_SPANS {
            self.trace.forget(MAX_SPANS / 5);
        }
        self.record('B', tid, Some(kind), name, args);
    }

    /// Ends what began last on this track.
    fn end(&mut self, tid: usize, args: Value) {
        let Some(at) = self.trace.open(tid) else {
            return;
        };
        let Record { kind, name, .. } = self.trace.spans[at].begin.clone();
        self.record('E', tid, kind, &name, args);
    }

    fn is_busy(&self, what: &'static str, name: &str) -> bool {
        let tid = self.tracks.get(&(what, name.to_string()));
        tid.is_some_and(|tid| self.trace.open(*tid).is_some())
    }

    fn track(&mut self, what: &'static str, name: &str) -> usize {
        let (owner, new) = ((what, name.to_string()), self.tracks.len() + 1);
        if let Some(tid) = self.tracks.get(&owner) {
            return *tid;
        }
        self.tracks.insert(owner, new);
        let label = match self.trace.tracks.values().any(|label| label == name) {
            true => format!("{name} ({what})"),
            false => name.to_string(),
        };
        let late = self.since_start(Instant::now()).saturating_sub(self.now);
        let clock = UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as u64 - late;
        let args = json!({ "name": label, "clock": clock });
        self.record('M', new, None, "thread_name", args);
        new
    }

    fn since_start(&mut self, at: Instant) -> u64 {
        let started = *self.started.get_or_insert(at);
        at.saturating_duration_since(started).as_micros() as u64
    }

    /// Writes a record as a line, which whoever reads the file meanwhile has at once; and keeps it.
    fn record(&mut self, ph: char, tid: usize, kind: Option<Kind>, name: &str, args: Value) {
        let (ts, pid, name) = (self.now, 1, name.to_string());
        let record = Record {
            ph,
            ts,
            pid,
            tid,
            kind,
            name,
            args,
        };
        if let Some(Ok(file)) = &mut self.file {
            let line = serde_json::to_string(&record).unwrap_or_default();
            if let Err(error) = file.write_all(format!(",{line}\n").as_bytes()) {
                self.file = Some(Err(error)); // the session is worth more than its trace
            }
        }
        self.trace.add(record);
    }
}

/// The beginning of a text, made harmless.
fn shorten(text: &str) -> String {
    let (characters, lines) = MAX_TEXT;
    let start = text.split_inclusive('\n').take(lines).flat_map(str::chars);
    let start: String = start.take(characters).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    visible(&start).trim_end().to_string() + more
}
