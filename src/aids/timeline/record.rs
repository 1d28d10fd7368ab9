//! One line of a trace.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chart::Kind;

/// Characters of an input or a result that are recorded.
const MAX_TEXT: usize = 120;

/// A span begins or ends, or something gets its name. The field names are the format's.
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
    /// What kind of span it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cat: Option<Kind>,
    /// What begins or ends; of an `M`, what gets a name.
    pub name: String,
    /// What is worth knowing about it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
}

impl Record {
    pub(super) fn begin(tid: usize, ts: u64, kind: Kind, name: &str) -> Self {
        Record {
            ph: 'B',
            ts,
            pid: 1,
            tid,
            cat: Some(kind),
            name: name.to_string(),
            args: Value::Null,
        }
    }

    pub(super) fn name_of_track(tid: usize, name: &str) -> Self {
        Self::naming("thread_name", tid, name)
    }

    pub(super) fn name_of_process(name: &str) -> Self {
        Self::naming("process_name", 1, name)
    }

    fn naming(what: &str, tid: usize, name: &str) -> Self {
        let args = json!({ "name": name });
        Record {
            ph: 'M',
            ts: 0,
            pid: 1,
            tid,
            cat: None,
            name: what.to_string(),
            args,
        }
    }

    /// True if it is of a span of that kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.cat == Some(kind)
    }

    /// The name that it gives to its track.
    pub fn track_name(&self) -> Option<&str> {
        (self.ph == 'M' && self.name == "thread_name").then(|| self.args["name"].as_str())?
    }
}

/// The beginning of the first line.
pub(super) fn short(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(MAX_TEXT)
        .collect()
}
