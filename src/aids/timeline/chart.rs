//! Spans as bars, lane by lane: drawn with characters here, as a picture in [`svg`](super::svg).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Record;
use crate::terminal::fit;

/// Columns for a lane's name.
const LABEL: usize = 12;

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

impl Kind {
    fn is_drawn(self) -> bool {
        Self::LEGEND.iter().any(|(kind, ..)| *kind == self)
    }

    /// What is drawn, with which character, and what it means.
    pub const LEGEND: [(Kind, char, &str); 3] = [
        (Kind::Thinking, '░', "thinking"),
        (Kind::Tool, '█', "waiting for a tool"),
        (Kind::Task, '═', "running in the background"),
    ];
}

/// A stretch of time, in seconds.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Bar {
    pub kind: Kind,
    pub name: String,
    pub start: f64,
    pub end: f64,
}

/// A row of the chart.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Lane {
    pub label: String,
    /// Sorted by start; later ones are drawn over earlier ones.
    pub bars: Vec<Bar>,
}

/// A picture of some time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// The main thread, then sub-agents and tasks in the order in which they began.
    pub lanes: Vec<Lane>,
    /// The length of the picture, in seconds.
    pub seconds: f64,
    /// Spans that are not in the picture, because there were too many.
    pub dropped: usize,
}

impl Chart {
    /// Makes bars of records: from the first turn in them to `until`, in microseconds. What has
    /// not ended goes on to the right edge, what began earlier starts at the left edge.
    pub fn of(records: &[Record], until: u64, dropped: usize) -> Chart {
        let mut spans = records.iter().filter(|record| record.ph == 'B');
        let turn = spans
            .clone()
            .find(|record| record.is(Kind::Turn))
            .or(spans.next());
        let start = turn.map_or(until, |record| record.ts);
        let seconds =
            |ts: u64| ts.clamp(start, until.max(start)).saturating_sub(start) as f64 / 1e6;
        let mut lanes = BTreeMap::new();
        for record in records.iter().filter(|record| record.ts <= until) {
            if let Some(name) = record.track_name() {
                let lane = Lane {
                    label: name.to_string(),
                    bars: Vec::new(),
                };
                lanes.insert(record.tid, (lane, Vec::new()));
            }
            let Some(kind) = record.cat.filter(|kind| kind.is_drawn()) else {
                continue;
            };
            let Some((lane, open)) = lanes.get_mut(&record.tid) else {
                continue;
            };
            if record.ph == 'B' {
                open.push(lane.bars.len());
                let (start, end) = (seconds(record.ts), seconds(until));
                lane.bars.push(Bar {
                    kind,
                    name: record.name.clone(),
                    start,
                    end,
                });
            } else if let Some(bar) = open.pop().and_then(|index: usize| lane.bars.get_mut(index)) {
                bar.end = seconds(record.ts);
            }
        }
        let lanes = lanes
            .into_values()
            .map(|(lane, _)| lane)
            .filter(|lane| !lane.bars.is_empty());
        Chart {
            lanes: lanes.collect(),
            seconds: seconds(until),
            dropped,
        }
    }

    /// The lanes as text, at most `width` characters wide, with a time axis of `seconds`.
    pub fn draw(&self, width: usize, seconds: f64) -> String {
        let columns = width.saturating_sub(LABEL + 12).max(10);
        let end = format!("{seconds:.1} s");
        let mut text = format!(
            "  {:LABEL$} 0 s{end:>axis$}\n",
            "",
            axis = columns.saturating_sub(3)
        );
        for lane in &self.lanes {
            let row = row(lane, columns, seconds);
            let (label, used) = fit(&lane.label, LABEL);
            let label = label + &" ".repeat(LABEL - used);
            let busy = format!("{:.1} s", busy(lane));
            text += &format!("  {label} {row} {busy:>8}");
            text = text.trim_end().to_string() + "\n";
        }
        text
    }

    /// What the characters mean, and what is missing; in lines of at most `width` characters.
    pub fn legend(&self, width: usize) -> String {
        let mut text = String::new();
        let mut used = 0;
        for (_, character, meaning) in Kind::LEGEND {
            let entry = format!("  {character} {meaning} ");
            if used > 0 && used + entry.chars().count() > width {
                text = text.trim_end().to_string() + "\n";
                used = 0;
            }
            used += entry.chars().count();
            text += &entry;
        }
        text = text.trim_end().to_string();
        match self.dropped_note() {
            Some(note) => format!("{text}\n  {note}"),
            None => text,
        }
    }

    /// A sentence on what is not in the picture.
    pub fn dropped_note(&self) -> Option<String> {
        let note = || {
            format!(
                "{} later spans are left out; --trace FILE keeps them all.",
                self.dropped
            )
        };
        (self.dropped > 0).then(note)
    }
}

/// A character for each column: that of the kind which took most of its time.
fn row(lane: &Lane, columns: usize, seconds: f64) -> String {
    let column = seconds.max(1e-9) / columns as f64;
    let mut shares = vec![[0.0_f64; Kind::LEGEND.len()]; columns];
    for bar in &lane.bars {
        let kind = Kind::LEGEND
            .iter()
            .position(|(kind, ..)| *kind == bar.kind)
            .unwrap_or_default();
        let first = (bar.start / column) as usize;
        let last = columns.min((bar.end / column).ceil() as usize);
        for (index, share) in shares.iter_mut().enumerate().take(last).skip(first) {
            let left = index as f64 * column;
            share[kind] += bar.end.min(left + column) - bar.start.max(left);
        }
    }
    let character = |shares: [f64; Kind::LEGEND.len()]| {
        let most = (0..shares.len())
            .max_by(|a, b| shares[*a].total_cmp(&shares[*b]))
            .unwrap_or_default();
        if shares[most] > 0.0 {
            Kind::LEGEND[most].1
        } else {
            ' '
        }
    };
    shares.into_iter().map(character).collect()
}

/// How long something went on in a lane, in seconds. What happens within something else does not
/// count twice.
pub fn busy(lane: &Lane) -> f64 {
    let (mut sum, mut reached) = (0.0, 0.0_f64);
    for bar in &lane.bars {
        sum += (bar.end - bar.start.max(reached)).max(0.0);
        reached = reached.max(bar.end);
    }
    sum
}
