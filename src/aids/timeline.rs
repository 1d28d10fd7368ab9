//! aids · What happened when: a reader of the event stream that keeps the last turn for a picture,
//! and writes the whole session as a trace.
//!
//! The trace is in the Trace Event format (JSON array) that Perfetto and `chrome://tracing` open:
//! a track for the main thread, one for each sub-agent, one for each background task. Every record
//! is a line of its own and is written when it happens, so that the file is of use while the
//! program runs, and when it was killed: the format allows the closing bracket to be missing.

pub mod chart;
mod record;
mod svg;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::event::{Event, Stamped};
use crate::screen::describe;
use chart::Chart;
pub use record::{Kind, Record, spans};

/// The name of the main thread's track.
pub const MAIN: &str = "main";

/// Bounds the memory of one turn: a span that begins later is kept only until it ends.
const MAX_RECORDS: usize = 10_000;
/// Characters of an input or a result that are recorded.
const MAX_TEXT: usize = 120;

/// Collects records. Clones are the same timeline.
#[derive(Clone)]
pub struct Timeline(Arc<Mutex<Recorder>>);

struct Recorder {
    started: Instant,
    /// The time of the last record. Threads race for the lock; in a trace, time does not go back.
    now: u64,
    /// Tracks are numbered through the whole session, though old ones are forgotten.
    last_tid: usize,
    /// The last turn that has anything in it, and what runs on from earlier ones. Only names have
    /// their arguments here; the file has all of them.
    records: Vec<Record>,
    /// Spans that were not kept.
    dropped: usize,
    /// The trace; an error if it could not be written any further.
    file: Option<io::Result<File>>,
}

/// A track's owner: `thread`, `agent` or `task`, and its name. (A task may be called like an
/// agent, or "main".) It stands in the arguments of the record that names the track.
type Owner<'a> = (&'static str, &'a str);

const MAIN_THREAD: Owner<'static> = ("thread", MAIN);

impl Default for Timeline {
    fn default() -> Self {
        Timeline(Arc::new(Mutex::new(Recorder {
            started: Instant::now(),
            now: 0,
            last_tid: 0,
            records: Vec::new(),
            dropped: 0,
            file: None,
        })))
    }
}

impl Timeline {
    /// Writes the session to a file from now on. To be called before the first event.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn trace_to(&self, path: &Path, program: &str) -> io::Result<()> {
        let mut file = File::create(path)?;
        let name = Record::new('M', 1, "process_name", json!({ "name": program }));
        file.write_all(format!("[\n{}\n", name.to_json()).as_bytes())?;
        self.lock().file = Some(Ok(file));
        Ok(())
    }

    /// Takes an event from the stream.
    pub fn note(&self, stamped: Stamped<'_>) {
        self.lock().note(stamped);
    }

    /// The last turn, as far as it has come.
    pub fn chart(&self) -> Chart {
        let recorder = self.lock();
        let is_end = |record: &&Record| record.ph == 'E' && record.is(Kind::Turn);
        let end = recorder.records.iter().rfind(is_end).map(|end| end.ts);
        let until = end.unwrap_or_else(|| recorder.since_start(Instant::now()));
        let mut chart = Chart::of(&recorder.records, until);
        chart.dropped = recorder.dropped;
        chart
    }

    /// The last turn in lines of at most `width` characters, or a sentence if there is nothing to
    /// draw.
    pub fn text(&self, width: usize) -> String {
        let chart = self.chart();
        let nothing =
            "Nothing to draw: no request and no tool call so far, or none in the last turn.";
        match chart.lanes.is_empty() {
            true => nothing.to_string(),
            false => chart.draw(width, chart.seconds) + &chart.legend(width),
        }
    }

    /// The last turn as the text of an SVG file.
    pub fn svg(&self, title: &str) -> String {
        self.chart().svg(title)
    }

    /// Ends in the file what is still open, and the file.
    ///
    /// # Errors
    /// When not all of the session could be written.
    pub fn finish(&self) -> io::Result<()> {
        let mut recorder = self.lock();
        let ts = recorder.now.max(recorder.since_start(Instant::now()));
        for begin in recorder.unended().into_iter().rev() {
            let args = json!({ "result": "still going on when the program ended" });
            recorder.write(&begin.end(ts, args));
        }
        match recorder.file.take() {
            Some(Ok(mut file)) => file.write_all(b"]\n"),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    fn note(&mut self, stamped: Stamped<'_>) {
        self.now = self.now.max(self.since_start(stamped.at));
        let owner = match stamped.agent {
            None => MAIN_THREAD,
            // What a background agent does is drawn within its task, but what it did when it was
            // sent there ends where it began.
            Some(name) if stamped.in_background && self.open(("agent", name)).is_none() => {
                ("task", name)
            }
            Some(name) => ("agent", name),
        };
        let text = |what: &str, text: &str| json!({ what: short(text) });
        match stamped.event {
            Event::TurnStarted(prompt) => {
                self.begin(owner, Kind::Turn, "turn", text("prompt", prompt));
            }
            Event::TurnFinished => self.end(owner, Value::Null),
            Event::RequestStarted => self.begin(owner, Kind::Thinking, "thinking", Value::Null),
            Event::RequestFinished(Some(usage)) => self.end(owner, json!(usage)),
            Event::RequestFinished(None) => self.end(owner, text("result", "no reply")),
            Event::ToolStarted { name, input, .. } => {
                let args = json!({ "input": short(&describe(input)), "id": input["id"] });
                self.begin(owner, Kind::Tool, name, args);
            }
            Event::ToolFinished { output, .. } => self.end(owner, text("result", output)),
            Event::TaskStarted { id, what } => {
                self.begin(("task", id), Kind::Task, id, text("input", what));
            }
            Event::TaskFinished { id, result } => self.end(("task", id), text("result", result)),
            Event::Delivered(line) => {
                self.begin(owner, Kind::Delivered, "delivered", Value::Null);
                self.end(owner, text("result", line));
            }
            Event::Text(_) | Event::Notice(_) | Event::Waiting { .. } => {}
        }
    }

    fn begin(&mut self, owner: Owner<'_>, kind: Kind, name: &str, args: Value) {
        let last = self.records.iter().rfind(|record| record.ph == 'B');
        if kind != Kind::Turn && last.is_some_and(|last| last.is(Kind::Turn)) {
            self.forget();
        }
        let tid = self.tid(owner).unwrap_or_else(|| self.new_track(owner));
        let mut begin = Record::new('B', tid, name, args);
        (begin.ts, begin.kind) = (self.now, Some(kind));
        self.push(begin);
    }

    /// Ends what began last on this track.
    fn end(&mut self, owner: Owner<'_>, args: Value) {
        let Some(at) = self.open(owner) else {
            return;
        };
        let is_turn = self.records[at].is(Kind::Turn);
        // `/clear` is no turn to look at.
        let is_empty = is_turn && self.records.iter().skip(at + 1).all(|it| it.ph != 'B');
        self.push(self.records[at].clone().end(self.now, args));
        if is_empty || !is_turn && at >= MAX_RECORDS {
            self.records.pop();
            self.records.remove(at);
            self.dropped += usize::from(!is_turn);
        }
    }

    /// The first thing happens in a new turn: of what was before, only what runs on is part of it.
    fn forget(&mut self) {
        let open = self.unended();
        let runs_on = |name: &Record| open.iter().any(|begin| begin.tid == name.tid);
        // A task that has ended never comes again; a thread or an agent may.
        let may_come = |name: &Record| name.args["task"].is_null() || runs_on(name);
        self.records.retain(|it| it.ph == 'M' && may_come(it));
        self.records.extend(open);
        self.dropped = 0;
    }

    /// All begins without an end, oldest first.
    fn unended(&self) -> Vec<Record> {
        let mut spans = spans(&self.records);
        spans.retain(|(_, end)| end.is_none());
        spans.into_iter().map(|(begin, _)| begin.clone()).collect()
    }

    /// Where on this track the last begin without an end stands.
    fn open(&self, owner: Owner<'_>) -> Option<usize> {
        let tid = self.tid(owner)?;
        let mut ended = 0;
        self.records.iter().rposition(|record| {
            match record.ph {
                'E' if record.tid == tid => ended += 1,
                'B' if record.tid == tid && ended == 0 => return true,
                'B' if record.tid == tid => ended -= 1,
                _ => {}
            }
            false
        })
    }

    fn tid(&self, (what, name): Owner<'_>) -> Option<usize> {
        let mut names = self.records.iter().filter(|record| record.ph == 'M');
        Some(names.find(|record| record.args[what] == name)?.tid)
    }

    fn new_track(&mut self, (what, name): Owner<'_>) -> usize {
        let mut labels = self.records.iter().filter_map(Record::track_name);
        let label = match labels.any(|label| label == name) {
            true => format!("{name} ({what})"),
            false => name.to_string(),
        };
        self.last_tid += 1;
        let args = json!({ "name": label, (what): name });
        self.push(Record::new('M', self.last_tid, "thread_name", args));
        self.last_tid
    }

    fn since_start(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    fn push(&mut self, mut record: Record) {
        self.write(&record);
        if record.ph != 'M' {
            record.args = Value::Null;
        }
        self.records.push(record);
    }

    /// A line for each record: whoever reads the file meanwhile has it as soon as it is written.
    fn write(&mut self, record: &Record) {
        if let Some(Ok(file)) = &mut self.file
            && let Err(error) = file.write_all(format!(",{}\n", record.to_json()).as_bytes())
        {
            self.file = Some(Err(error)); // the session is worth more than its trace
        }
    }
}

/// The beginning of the first line.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MAX_TEXT).collect()
}
