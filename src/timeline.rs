//! What happened when: a reader of the event stream that keeps the last turn for a chart, and
//! writes the whole session as a trace.
//!
//! The trace is in the Trace Event format (JSON array) that Perfetto and `chrome://tracing` open:
//! a track for the main thread, one for each sub-agent, one for each background task. Every line
//! is written when it happens, so that the file is of use while the program runs, and when it was
//! killed.

pub mod chart;
pub mod svg;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::{Event, Stamped};
use crate::permission::describe;
use chart::Chart;

/// Records of one turn that are kept for the chart. The trace file has them all.
const MAX_RECORDS: usize = 10_000;
/// Characters of an input or a result that are recorded.
const MAX_TEXT: usize = 120;
/// The name of the main thread's track.
pub const MAIN: &str = "main";
/// The name of the spans in which a model is waited for.
pub const THINKING: &str = "thinking";
/// The name of the span around a turn.
pub const TURN: &str = "turn";

/// A line of a trace: a span begins or ends, or a track gets its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// `B` for a begin, `E` for an end, `M` for a name.
    pub ph: char,
    /// Microseconds since the start of the program.
    #[serde(default)]
    pub ts: u64,
    /// Always 1.
    pub pid: u32,
    /// The track.
    pub tid: usize,
    /// What begins or ends; of an `M`, always `thread_name`.
    pub name: String,
    /// What is worth knowing about it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
}

/// Collects records. Clones are the same timeline.
#[derive(Clone)]
pub struct Timeline(Arc<Mutex<Recorder>>);

struct Recorder {
    started: Instant,
    /// Names, by `tid`.
    tracks: Vec<String>,
    /// Begins without an end, oldest first.
    open: Vec<Record>,
    turn: Vec<Record>,
    dropped: usize,
    file: Option<File>,
}

impl Default for Timeline {
    fn default() -> Self {
        let recorder = Recorder {
            started: Instant::now(),
            tracks: Vec::new(),
            open: Vec::new(),
            turn: Vec::new(),
            dropped: 0,
            file: None,
        };
        Timeline(Arc::new(Mutex::new(recorder)))
    }
}

impl Timeline {
    /// Writes the session to a file from now on. Call before the first event.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn trace_to(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(b"[")?;
        self.lock().file = Some(file);
        Ok(())
    }

    /// Takes an event from the stream.
    pub fn note(&self, stamped: Stamped<'_>) {
        self.lock().note(stamped);
    }

    /// The last turn, as far as it has come.
    pub fn chart(&self) -> Chart {
        let recorder = self.lock();
        let now = recorder.started.elapsed().as_micros() as u64;
        let end = recorder.turn.iter().rev().find(|record| record.ph == 'E' && record.name == TURN);
        let until = end.map_or(now, |record| record.ts);
        Chart::of(&recorder.turn, &recorder.tracks, until, recorder.dropped)
    }

    /// Ends what is still open, and the file.
    pub fn finish(&self) {
        let mut recorder = self.lock();
        let now = recorder.started.elapsed().as_micros() as u64;
        while let Some(open) = recorder.open.pop() {
            let args = json!({ "result": "still going on when the program ended" });
            recorder.record(Record { ph: 'E', ts: now, args, ..open });
        }
        if let Some(mut file) = recorder.file.take() {
            let _ = file.write_all(b"\n]\n");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    fn note(&mut self, Stamped { at, agent, event }: Stamped<'_>) {
        let track = agent.unwrap_or(MAIN);
        match event {
            Event::TurnStarted { prompt } => {
                // What runs on from earlier turns is part of this one.
                self.turn = self.open.clone();
                self.dropped = 0;
                self.begin(at, track, TURN, json!({ "prompt": short(prompt) }));
            }
            Event::TurnFinished => self.end(at, track, Value::Null),
            Event::RequestStarted => self.begin(at, track, THINKING, Value::Null),
            Event::RequestFinished { usage, .. } => self.end(at, track, json!(usage)),
            Event::RequestFailed => self.end(at, track, json!({ "result": "no reply" })),
            Event::ToolStarted { name, input, .. } => {
                self.begin(at, track, name, json!({ "input": short(&describe(input)) }));
            }
            Event::ToolFinished { output, is_error, .. } => {
                self.end(at, track, json!({ "result": short(output), "is_error": is_error }));
            }
            Event::TaskStarted { id, what } => self.begin(at, id, id, json!({ "input": short(what) })),
            Event::TaskFinished { id, result } => self.end(at, id, json!({ "result": short(result) })),
            Event::Text(_) | Event::Notice(_) => {}
        }
    }

    fn tid(&mut self, track: &str) -> usize {
        let known = self.tracks.iter().position(|name| name == track);
        known.unwrap_or_else(|| {
            let tid = self.tracks.len();
            self.tracks.push(track.to_string());
            let args = json!({ "name": track });
            self.write(&Record { ph: 'M', ts: 0, pid: 1, tid, name: "thread_name".to_string(), args });
            tid
        })
    }

    fn begin(&mut self, at: Instant, track: &str, name: &str, args: Value) {
        let record = Record {
            ph: 'B',
            ts: self.since(at),
            pid: 1,
            tid: self.tid(track),
            name: name.to_string(),
            args,
        };
        self.open.push(record.clone());
        self.record(record);
    }

    /// Ends what began last on this track.
    fn end(&mut self, at: Instant, track: &str, args: Value) {
        let (ts, tid) = (self.since(at), self.tid(track));
        if let Some(index) = self.open.iter().rposition(|open| open.tid == tid) {
            let name = self.open.remove(index).name;
            self.record(Record { ph: 'E', ts, pid: 1, tid, name, args });
        }
    }

    fn since(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    fn record(&mut self, record: Record) {
        self.write(&record);
        // An end is always kept: without it, its begin would never stop.
        if self.turn.len() < MAX_RECORDS || record.ph == 'E' && self.began(&record) {
            self.turn.push(record);
        } else {
            self.dropped += usize::from(record.ph == 'B');
        }
    }

    /// True if the begin of this end was kept.
    fn began(&self, end: &Record) -> bool {
        let of_span = |record: &&Record| (record.tid, &record.name) == (end.tid, &end.name);
        self.turn.iter().rev().find(of_span).is_some_and(|record| record.ph == 'B')
    }

    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let separator = if record.ph == 'M' && record.tid == 0 { "\n" } else { ",\n" };
        let line = format!("{separator}{}", serde_json::to_string(record).unwrap_or_default());
        if file.write_all(line.as_bytes()).is_err() {
            self.file = None; // the disk is full: the session is worth more than its trace
        }
    }
}

/// The beginning of the first line.
fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(MAX_TEXT).collect()
}
