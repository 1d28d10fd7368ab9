//! aids · The lines of a trace, and the spans that they make.

use std::collections::HashMap;

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
    #[serde(default)]
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

impl Record {
    pub(super) fn new(ph: char, tid: usize, name: &str, args: Value) -> Self {
        Record {
            ph,
            ts: 0,
            pid: 1,
            tid,
            kind: None,
            name: name.to_string(),
            args,
        }
    }

    /// The end of the span that this begins.
    pub(super) fn end(self, ts: u64, args: Value) -> Self {
        let ph = 'E';
        Record {
            ph,
            ts,
            args,
            ..self
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// True if it is of a span of that kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == Some(kind)
    }

    /// The name that it gives to its track.
    pub fn track_name(&self) -> Option<&str> {
        (self.name == "thread_name").then(|| self.args["name"].as_str())?
    }
}

/// Every begin with its end, if that has come. On a track, an end belongs to the last begin.
pub fn spans(records: &[Record]) -> Vec<(&Record, Option<&Record>)> {
    let mut spans = Vec::new();
    let mut open: HashMap<usize, Vec<usize>> = HashMap::new();
    for record in records {
        let open = open.entry(record.tid).or_default();
        match record.ph {
            'B' => {
                open.push(spans.len());
                spans.push((record, None));
            }
            'E' => open
                .pop()
                .into_iter()
                .for_each(|span| spans[span].1 = Some(record)),
            _ => {}
        }
    }
    spans
}
