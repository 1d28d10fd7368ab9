//! aids · Spans as bars, lane by lane: drawn with characters here, as a picture in [`svg`](super::svg).

use std::collections::BTreeMap;

use super::{Kind, Record, spans};
use crate::terminal::fit;

/// Columns for a lane's name.
const LABEL: usize = 12;

/// What is drawn, with which character, and what it means.
pub const LEGEND: [(Kind, char, &str); 3] = [
    (Kind::Thinking, '░', "thinking"),
    (Kind::Tool, '█', "waiting for a tool"),
    (Kind::Task, '═', "running in the background"),
];

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
#[derive(Debug, Clone, PartialEq, Default)]
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
    pub fn of(records: &[Record], until: u64) -> Chart {
        let mut spans = spans(records);
        spans.retain(|(begin, _)| begin.ts <= until);
        let turn = spans.iter().find(|(begin, _)| begin.is(Kind::Turn));
        let start = turn.or(spans.first()).map_or(until, |(begin, _)| begin.ts);
        let seconds = |ts: u64| ts.clamp(start, until).saturating_sub(start) as f64 / 1e6;
        let mut lanes: BTreeMap<usize, Lane> = BTreeMap::new();
        for (begin, end) in spans {
            let drawn = LEGEND.into_iter().find(|(kind, ..)| begin.is(*kind));
            let bar = drawn.map(|(kind, ..)| Bar {
                kind,
                name: begin.name.clone(),
                start: seconds(begin.ts),
                end: seconds(end.map_or(until, |end| end.ts)),
            });
            lanes.entry(begin.tid).or_default().bars.extend(bar);
        }
        lanes.retain(|_, lane| !lane.bars.is_empty());
        for record in records {
            if let (Some(name), Some(lane)) = (record.track_name(), lanes.get_mut(&record.tid)) {
                lane.label = name.to_string();
            }
        }
        Chart {
            lanes: lanes.into_values().collect(),
            seconds: seconds(until),
            dropped: 0,
        }
    }

    /// The lanes as text, at most `width` characters wide, with a time axis of `seconds`.
    pub fn draw(&self, width: usize, seconds: f64) -> String {
        let columns = width.saturating_sub(LABEL + 12).max(10);
        let (end, axis) = (format!("{seconds:.1} s"), columns - 3);
        let mut text = format!("  {:LABEL$} 0 s{end:>axis$}\n", "");
        for lane in &self.lanes {
            let (label, used) = fit(&lane.label, LABEL);
            let label = label + &" ".repeat(LABEL - used);
            let row = lane.row(columns, seconds);
            let busy = format!("{:.1} s", lane.busy());
            text += format!("  {label} {row} {busy:>8}").trim_end();
            text.push('\n');
        }
        text
    }

    /// What the characters mean, and what is missing; in lines of at most `width` characters.
    pub fn legend(&self, width: usize) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (_, character, meaning) in LEGEND {
            let entry = format!("  {character} {meaning}");
            match lines.last_mut() {
                Some(line) if line.chars().count() + entry.chars().count() < width => {
                    *line += &format!(" {entry}");
                }
                _ => lines.push(entry),
            }
        }
        lines.extend(self.dropped_note().map(|note| format!("  {note}")));
        lines.join("\n")
    }

    /// A sentence on what is not in the picture.
    pub fn dropped_note(&self) -> Option<String> {
        let count = Some(self.dropped).filter(|count| *count > 0)?;
        Some(format!(
            "{count} later spans are left out; --trace FILE keeps them all."
        ))
    }
}

impl Lane {
    /// A character for each column: that of the kind which took most of its time.
    fn row(&self, columns: usize, seconds: f64) -> String {
        let column = seconds.max(1e-9) / columns as f64;
        let within = |bar: &Bar, left: f64| bar.end.min(left + column) - bar.start.max(left);
        let character = |index| {
            let left = index as f64 * column;
            let shares = LEGEND.map(|(kind, character, _)| {
                let bars = self.bars.iter().filter(|bar| bar.kind == kind);
                let share: f64 = bars.map(|bar| within(bar, left).max(0.0)).sum();
                (share, character)
            });
            let most = shares.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
            most.filter(|most| most.0 > 0.0).map_or(' ', |most| most.1)
        };
        (0..columns).map(character).collect()
    }

    /// How long something went on, in seconds. What happens within something else does not count
    /// twice.
    pub fn busy(&self) -> f64 {
        let (mut sum, mut reached) = (0.0, 0.0_f64);
        for bar in &self.bars {
            sum += (bar.end - bar.start.max(reached)).max(0.0);
            reached = reached.max(bar.end);
        }
        sum
    }
}
