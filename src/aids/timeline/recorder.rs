//! From events to records: of the last turn in memory, of the whole session in a file.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::chart::{Chart, Kind};
use super::record::{Record, short};
use super::tracks::{Owner, Tracks};
use crate::event::{Event, Stamped};
use crate::screen::describe;

/// Records of one turn that are kept for the chart, without their arguments. The trace file has
/// them all.
const MAX_RECORDS: usize = 10_000;

/// A begin without its end, and whether it was kept for the chart.
#[derive(Clone)]
struct Open {
    begin: Record,
    kept: bool,
}

pub(super) struct Recorder {
    started: Instant,
    tracks: Tracks,
    /// Oldest first.
    open: Vec<Open>,
    turn: Vec<Record>,
    dropped: usize,
    /// The turn before, until something happens in this one: `/clear` is no turn to look at.
    before: Option<(Vec<Record>, usize)>,
    file: Option<File>,
    failure: Option<io::Error>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            started: Instant::now(),
            tracks: Tracks::default(),
            open: Vec::new(),
            turn: Vec::new(),
            dropped: 0,
            before: None,
            file: None,
            failure: None,
        }
    }
}

impl Recorder {
    pub fn write_to(&mut self, mut file: File, program: &str) -> io::Result<()> {
        let name = serde_json::to_string(&Record::name_of_process(program))?;
        file.write_all(format!("[\n{name}").as_bytes())?;
        self.file = Some(file);
        Ok(())
    }

    pub fn chart(&self) -> Chart {
        let end = self
            .turn
            .iter()
            .rev()
            .find(|record| record.ph == 'E' && record.is(Kind::Turn));
        let until = end.map_or_else(|| self.since(Instant::now()), |record| record.ts);
        let names = self.tracks.names();
        let records: Vec<Record> = names.chain(self.turn.iter().cloned()).collect();
        Chart::of(&records, until, self.dropped)
    }

    pub fn finish(&mut self) -> io::Result<()> {
        while let Some(open) = self.open.pop() {
            let args = json!({ "result": "still going on when the program ended" });
            self.close(Instant::now(), open, args);
        }
        if let Some(mut file) = self.file.take() {
            file.write_all(b"\n]\n")?;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    pub fn note(
        &mut self,
        Stamped {
            at,
            agent,
            in_background,
            event,
        }: Stamped<'_>,
    ) {
        let owner = match agent.map(str::to_string) {
            None => Owner::Main,
            // What a background agent does is drawn within its task, but what it did when it was
            // sent there ends where it began.
            Some(name) if in_background && !self.is_open(&Owner::Agent(name.clone())) => {
                Owner::Task(name)
            }
            Some(name) => Owner::Agent(name),
        };
        let task = |id: &String| Owner::Task(id.clone());
        match event {
            Event::TurnStarted(prompt) => {
                self.forget();
                self.begin(
                    at,
                    owner,
                    Kind::Turn,
                    "turn",
                    json!({ "prompt": short(prompt) }),
                );
            }
            Event::TurnFinished => {
                while self.open.iter().any(|open| open.begin.is(Kind::Turn)) {
                    self.end(at, &Owner::Main, Value::Null);
                }
                if let Some(before) = self.before.take() {
                    (self.turn, self.dropped) = before;
                }
            }
            Event::RequestStarted => self.begin(at, owner, Kind::Thinking, "thinking", Value::Null),
            Event::RequestFinished(Some(usage)) => self.end(at, &owner, json!(usage)),
            Event::RequestFinished(None) => self.end(at, &owner, json!({ "result": "no reply" })),
            Event::ToolStarted { name, input, .. } => {
                self.begin(
                    at,
                    owner,
                    Kind::Tool,
                    name,
                    json!({ "input": short(&describe(input)) }),
                );
            }
            Event::ToolFinished {
                output, is_error, ..
            } => {
                self.end(
                    at,
                    &owner,
                    json!({ "result": short(output), "is_error": is_error }),
                );
            }
            Event::TaskStarted { id, what } => {
                self.begin(
                    at,
                    task(id),
                    Kind::Task,
                    id,
                    json!({ "input": short(what) }),
                );
            }
            Event::TaskFinished { id, result } => {
                self.end(at, &task(id), json!({ "result": short(result) }))
            }
            Event::Delivered(line) => {
                let result = json!({ "result": short(line) });
                self.begin(at, owner.clone(), Kind::Delivered, "delivered", Value::Null);
                self.end(at, &owner, result);
            }
            Event::Text(_) | Event::Notice(_) | Event::Waiting { .. } => {}
        }
    }

    /// Another turn begins. What runs on from earlier ones is part of it.
    fn forget(&mut self) {
        self.open.iter_mut().for_each(|open| open.kept = true);
        let carried = self.open.iter().map(|open| open.begin.clone()).collect();
        self.before = Some((
            std::mem::replace(&mut self.turn, carried),
            std::mem::take(&mut self.dropped),
        ));
    }

    fn begin(&mut self, at: Instant, owner: Owner, kind: Kind, name: &str, args: Value) {
        if kind != Kind::Turn && self.before.take().is_some() {
            self.tracks.forget_tasks_but(&self.turn);
        }
        let now = self.since(at);
        let (track, new) = self.tracks.of(owner);
        let begin = Record::begin(track.tid, track.advance(now), kind, name);
        if let Some(name) = new {
            self.write(&name);
        }
        self.write(&Record {
            args,
            ..begin.clone()
        });
        // Every end of what is kept has its place, too.
        let kept =
            self.turn.len() + self.open.iter().filter(|open| open.kept).count() < MAX_RECORDS - 1;
        if kept {
            self.turn.push(begin.clone());
        }
        self.dropped += usize::from(!kept);
        self.open.push(Open { begin, kept });
    }

    /// Ends what began last on this track.
    fn end(&mut self, at: Instant, owner: &Owner, args: Value) {
        let Some(tid) = self.tracks.find(owner).map(|track| track.tid) else {
            return;
        };
        if let Some(index) = self.open.iter().rposition(|open| open.begin.tid == tid) {
            let open = self.open.remove(index);
            self.close(at, open, args);
        }
    }

    fn is_open(&self, owner: &Owner) -> bool {
        let track = self.tracks.find(owner);
        track.is_some_and(|track| self.open.iter().any(|open| open.begin.tid == track.tid))
    }

    fn close(&mut self, at: Instant, Open { begin, kept }: Open, args: Value) {
        let now = self.since(at);
        let ts = self
            .tracks
            .with_tid(begin.tid)
            .map_or(now, |track| track.advance(now));
        let end = Record {
            ph: 'E',
            ts,
            ..begin
        };
        self.write(&Record {
            args,
            ..end.clone()
        });
        if kept {
            self.turn.push(end);
        }
    }

    fn since(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let line = format!(",\n{}", serde_json::to_string(record).unwrap_or_default());
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.failure = Some(error); // the session is worth more than its trace
            self.file = None;
        }
    }
}
