//! aids · The lines of a trace, and the spans that they add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a stretch of time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// From a prompt to the next. Not drawn: the picture is that long.
    Turn,
    /// A model is waited for.
    Thinking,
    /// A tool is waited for.
    Tool,
    /// A background task runs.
    Task,
    /// The instant at which a result is put into the conversation. Not drawn.
    Delivered,
}

/// A span begins or ends, or a track gets its name. The field names are the format's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// `B` for a begin, `E` for an end, `M` for a name.
    pub ph: char,
    /// Microseconds since the start of the program.
    pub ts: u64,
    /// Always 1.
    pub pid: u32,
    /// The track. That of the main thread is 1.
    pub tid: usize,
    /// The kind of span; a name has none.
    #[serde(rename = "cat", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What begins or ends; of an `M`, what gets a name.
    pub name: String,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
}

/// A stretch of time on a track.
#[derive(Debug, Clone)]
pub struct Span {
    /// The record that began it.
    pub begin: Record,
    /// When it ended, in microseconds, if it has.
    pub end: Option<u64>,
}

impl Span {
    /// True if it is of that kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.begin.kind == Some(kind)
    }
}

/// What the records so far add up to.
#[derive(Debug, Default)]
pub struct Trace {
    /// In the order in which they began.
    pub spans: Vec<Span>,
    /// The names of tracks.
    pub tracks: BTreeMap<usize, String>,
}

impl Trace {
    /// Takes the next record.
    pub fn add(&mut self, record: Record) {
        if record.ph == 'B' {
            let (begin, end) = (record, None);
            self.spans.push(Span { begin, end });
        } else if record.ph == 'E' {
            if let Some(open) = self.open(record.tid) {
                self.spans[open].end = Some(record.ts);
            }
        } else if let ("thread_name", Some(name)) = (&*record.name, record.args["name"].as_str()) {
            self.tracks.insert(record.tid, name.to_string());
        }
    }

    /// Where the span stands that an end on this track belongs to: the last that has none.
    pub fn open(&self, tid: usize) -> Option<usize> {
        let is_open = |span: &Span| span.begin.tid == tid && span.end.is_none();
        self.spans.iter().rposition(is_open)
    }

    /// When the last turn ended that has an end.
    pub fn turn_end(&self) -> Option<u64> {
        let mut turns = self.spans.iter().rev().filter(|span| span.is(Kind::Turn));
        turns.find_map(|turn| turn.end)
    }
}
