//! aids · From events to records: of the last turn in memory, of the whole session in a file.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::chart::Chart;
use super::{Kind, MAIN, Record, spans};
use crate::event::{Event, Stamped};
use crate::permission::describe;

/// Bounds the memory of one turn: what begins later is kept only until it ends.
const MAX_RECORDS: usize = 10_000;
/// Characters of an input or a result that are recorded.
const MAX_TEXT: usize = 120;

/// A track's owner: `thread`, `agent` or `task`, and its name. (A task may be called like an
/// agent, or "main".) It stands in the arguments of the record that names the track.
type Owner<'a> = (&'static str, &'a str);

const MAIN_THREAD: Owner<'static> = ("thread", MAIN);

pub struct Recorder {
    started: Instant,
    /// The time of the last record. Threads race for the lock; in a trace, time does not go back.
    now: u64,
    /// Tracks are numbered through the whole session, though old ones are forgotten.
    last_tid: usize,
    /// The last turn that has anything in it, and what runs on from earlier ones: without
    /// arguments, which only the file has.
    records: Vec<Record>,
    /// Spans that were not kept.
    dropped: usize,
    /// The trace; an error if it could not be written any further.
    file: Option<io::Result<File>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (what, name) = MAIN_THREAD;
        Recorder {
            started: Instant::now(),
            now: 0,
            last_tid: 1,
            records: vec![Record::naming(
                "thread_name",
                1,
                json!({ "name": name, (what): name }),
            )],
            dropped: 0,
            file: None,
        }
    }
}

impl Recorder {
    pub fn write_to(&mut self, mut file: File, program: &str) -> io::Result<()> {
        let name = Record::naming("process_name", 1, json!({ "name": program }));
        file.write_all(format!("[\n{}\n", serde_json::to_string(&name)?).as_bytes())?;
        self.file = Some(Ok(file));
        self.write(&self.records[0].clone());
        Ok(())
    }

    pub fn chart(&self) -> Chart {
        let is_end = |record: &&Record| record.ph == 'E' && record.is(Kind::Turn);
        let end = self.records.iter().rfind(is_end).map(|record| record.ts);
        let until = end.unwrap_or_else(|| self.since_start(Instant::now()));
        let mut chart = Chart::of(&self.records, until);
        chart.dropped = self.dropped;
        chart
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.now = self.now.max(self.since_start(Instant::now()));
        let args = json!({ "result": "still going on when the program ended" });
        for begin in self.unended().into_iter().rev() {
            self.write(&Record {
                ph: 'E',
                ts: self.now,
                args: args.clone(),
                ..begin
            });
        }
        match self.file.take() {
            Some(Ok(mut file)) => file.write_all(b"]\n"),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        }
    }

    pub fn note(&mut self, stamped: Stamped<'_>) {
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
        match stamped.event {
            Event::TurnStarted { prompt } => {
                self.begin(
                    MAIN_THREAD,
                    Kind::Turn,
                    "turn",
                    json!({ "prompt": short(prompt) }),
                );
            }
            // Whatever was left open in it ends with it.
            Event::TurnFinished => {
                while self.last_turn().is_some_and(|record| record.ph == 'B') {
                    self.end(MAIN_THREAD, Value::Null);
                }
            }
            Event::RequestStarted => self.begin(owner, Kind::Thinking, "thinking", Value::Null),
            Event::RequestFinished { usage, .. } => self.end(owner, json!(usage)),
            Event::RequestFailed => self.end(owner, json!({ "result": "no reply" })),
            Event::ToolStarted { name, input, .. } => {
                let args = json!({ "input": short(&describe(input)), "id": input["id"] });
                self.begin(owner, Kind::Tool, name, args);
            }
            Event::ToolFinished {
                output, is_error, ..
            } => {
                self.end(
                    owner,
                    json!({ "result": short(output), "is_error": is_error }),
                );
            }
            Event::TaskStarted { id, what } => {
                self.begin(
                    ("task", id),
                    Kind::Task,
                    id,
                    json!({ "input": short(what) }),
                );
            }
            Event::TaskFinished { id, result } => {
                self.end(("task", id), json!({ "result": short(result) }));
            }
            Event::Delivered(line) => {
                self.begin(owner, Kind::Delivered, "delivered", Value::Null);
                self.end(owner, json!({ "result": short(line) }));
            }
            Event::Text(_) | Event::Notice(_) | Event::Waiting { .. } => {}
        }
    }

    fn begin(&mut self, owner: Owner<'_>, kind: Kind, name: &str, args: Value) {
        let last = self.records.iter().rfind(|record| record.ph == 'B');
        if kind != Kind::Turn && last.is_some_and(|last| last.is(Kind::Turn)) {
            self.forget();
        }
        let tid = self.track(owner).unwrap_or_else(|| self.new_track(owner));
        let begin = Record {
            ph: 'B',
            ts: self.now,
            pid: 1,
            tid,
            kind: Some(kind),
            name: name.to_string(),
            args,
        };
        self.write(&begin);
        self.records.push(Record {
            args: Value::Null,
            ..begin
        });
    }

    /// Ends what began last on this track.
    fn end(&mut self, owner: Owner<'_>, args: Value) {
        let Some(begin) = self.open(owner) else {
            return;
        };
        let end = Record {
            ph: 'E',
            ts: self.now,
            args,
            ..self.records[begin].clone()
        };
        self.write(&end);
        let begun_since = self.records[begin + 1..]
            .iter()
            .any(|record| record.ph == 'B');
        let is_kept = match end.is(Kind::Turn) {
            true => begun_since, // `/clear` is no turn to look at
            false => begin < MAX_RECORDS,
        };
        if is_kept {
            self.records.push(Record {
                args: Value::Null,
                ..end
            });
        } else {
            self.records.remove(begin);
            self.dropped += usize::from(!end.is(Kind::Turn));
        }
    }

    /// The first thing happens in a new turn: of what was before, only what runs on is part of it.
    fn forget(&mut self) {
        let open = self.unended();
        let goes_on = |name: &Record| open.iter().any(|begin| begin.tid == name.tid);
        // A task that has ended never comes again, a thread or an agent may.
        self.records.retain(|record| {
            record.ph == 'M' && (record.args["task"].is_null() || goes_on(record))
        });
        self.records.extend(open);
        self.dropped = 0;
    }

    /// All begins without an end, oldest first.
    fn unended(&self) -> Vec<Record> {
        let spans = spans(&self.records).into_iter();
        let open = spans.filter(|(_, end)| end.is_none());
        open.map(|(begin, _)| begin.clone()).collect()
    }

    /// Where on this track the last begin without an end stands.
    fn open(&self, owner: Owner<'_>) -> Option<usize> {
        let tid = self.track(owner)?;
        let mut ended = 0;
        self.records.iter().rposition(|record| {
            match record.ph {
                _ if record.tid != tid => return false,
                'B' if ended == 0 => return true,
                'B' => ended -= 1,
                'E' => ended += 1,
                _ => {}
            }
            false
        })
    }

    fn track(&self, (what, name): Owner<'_>) -> Option<usize> {
        let is_its_name = |record: &&Record| record.ph == 'M' && record.args[what] == name;
        self.records
            .iter()
            .find(is_its_name)
            .map(|record| record.tid)
    }

    fn new_track(&mut self, (what, name): Owner<'_>) -> usize {
        let mut names = self.records.iter().filter_map(Record::track_name);
        let label = match names.any(|taken| taken == name) {
            true => format!("{name} ({what})"),
            false => name.to_string(),
        };
        self.last_tid += 1;
        let args = json!({ "name": label, (what): name });
        let record = Record::naming("thread_name", self.last_tid, args);
        self.write(&record);
        self.records.push(record);
        self.last_tid
    }

    fn last_turn(&self) -> Option<&Record> {
        self.records.iter().rfind(|record| record.is(Kind::Turn))
    }

    fn since_start(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    /// A line for each record: whoever reads the file meanwhile has it as soon as it is written.
    fn write(&mut self, record: &Record) {
        let Some(Ok(file)) = &mut self.file else {
            return;
        };
        let line = format!(",{}\n", serde_json::to_string(record).unwrap_or_default());
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.file = Some(Err(error)); // the session is worth more than its trace
        }
    }
}

/// The beginning of the first line.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MAX_TEXT).collect()
}
