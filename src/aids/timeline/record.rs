//! aids · The lines of a trace, and the spans that they add up to.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The track of the main thread: the first that gets a name.
pub const MAIN: usize = 1;

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
    /// A look at background tasks that found one running, or none at all. In a file it is a tool's:
    /// only its end shows that it was in vain.
    Poll,
    /// A background task runs.
    Task,
    /// A person waits for an answer. No program writes it: whoever typed the question knows.
    Question,
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
    /// 1 in a file. Where mates are put beside their lead, each has a number of its own.
    pub pid: u32,
    /// The track.
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
    /// What its end says.
    pub result: Value,
}

impl Span {
    /// True if it is of that kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.begin.kind == Some(kind)
    }

    /// True if this is a task that the call asks about: the one that it names, or any.
    pub fn is_asked_by(&self, call: &Span) -> bool {
        let id = call.begin.args["id"].as_str().map(str::trim);
        self.is(Kind::Task) && id.is_none_or(|id| id == self.begin.name)
    }
}

/// What the records so far add up to.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// In the order in which they began.
    pub spans: Vec<Span>,
    /// The names of tracks.
    pub tracks: BTreeMap<usize, String>,
    /// The time of day at its zero, in microseconds since 1970: puts two traces side by side.
    pub zero: u64,
    /// When the last of those ended that were forgotten, in microseconds.
    pub kept_from: u64,
}

impl Trace {
    /// Takes the next line of a file. One that is no record is passed over.
    pub fn add_line(&mut self, line: &[u8]) {
        if let Ok(record) = serde_json::from_slice(line.strip_prefix(b",").unwrap_or(line)) {
            self.add(record);
        }
    }

    /// Takes the next record.
    pub fn add(&mut self, record: Record) {
        if record.ph == 'B' {
            self.spans.push(Span {
                begin: record,
                end: None,
                result: Value::Null,
            });
        } else if record.ph == 'E' {
            let Some(open) = self.open(record.tid) else {
                return;
            };
            if self.spans[open].begin.name == "check_bg" && self.is_in_vain(open) {
                self.spans[open].begin.kind = Some(Kind::Poll);
            }
            (self.spans[open].end, self.spans[open].result) = (Some(record.ts), record.args);
        } else if let ("thread_name", Some(name)) = (&*record.name, record.args["name"].as_str()) {
            self.tracks.insert(record.tid, name.to_string());
            let clock = record.args["clock"].as_u64().unwrap_or_default();
            if self.zero == 0 {
                self.zero = clock.saturating_sub(record.ts); // later the clock may have been set
            }
        }
    }

    /// True if not all tasks have ended that the call asks about, or none is there. (One whose thread
    /// has not begun is not there yet.)
    fn is_in_vain(&self, call: usize) -> bool {
        let mut asked = self
            .spans
            .iter()
            .filter(|task| task.is_asked_by(&self.spans[call]));
        let found = asked.next().is_some_and(|task| task.end.is_some());
        !found || asked.any(|task| task.end.is_none())
    }

    /// Where the span stands that an end on this track belongs to: the last that has none.
    pub fn open(&self, tid: usize) -> Option<usize> {
        let is_open = |span: &Span| span.begin.tid == tid && span.end.is_none();
        self.spans.iter().rposition(is_open)
    }

    /// Forgets so many of the spans that have ended: the oldest.
    pub fn forget(&mut self, mut count: usize) {
        self.spans.retain(|span| match span.end {
            Some(end) if count > 0 => {
                count -= 1;
                self.kept_from = self.kept_from.max(end);
                false
            }
            _ => true,
        });
    }

    /// The time of the last turn with anything in it, from the start of the tasks that were
    /// delivered in it. In microseconds, as everywhere here.
    pub fn last_turn(&self, now: u64) -> Range<u64> {
        let spans = || self.spans.iter().rev();
        let mut in_it = false;
        let mut own = spans().filter(|span| span.begin.tid == MAIN);
        let turn = own.find(|span| {
            let found = in_it && span.is(Kind::Turn);
            in_it = !span.is(Kind::Turn);
            found
        });
        let Some(turn) = turn else { return now..now };
        let (start, end) = (turn.begin.ts, turn.end.unwrap_or(now));
        let within = |span: &&Span| (start..=end).contains(&span.begin.ts);
        let delivered = spans()
            .filter(|span| span.is(Kind::Delivered))
            .filter(within);
        let tasks = delivered.filter_map(|news| spans().find(|task| task.is_asked_by(news)));
        let started = tasks.map(|task| task.begin.ts).min();
        started.map_or(start, |led_to_it| start.min(led_to_it))..end
    }

    /// The time of the whole session, as far as anything happened in it.
    pub fn session(&self, now: u64) -> Range<u64> {
        let start = self.spans.first().map_or(now, |first| first.begin.ts);
        let ends = self.spans.iter().map(|span| span.end.unwrap_or(now));
        start..ends.max().unwrap_or(now)
    }
}
