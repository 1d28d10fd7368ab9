//! aids · Spans as bars, lane by lane: drawn with characters here, as a picture in `svg.rs`.

use std::collections::BTreeMap;

use super::{Kind, Trace};
use unicode_width::UnicodeWidthStr;

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
    /// A sentence to stand below it; may be empty.
    pub note: &'static str,
}

impl Chart {
    /// Makes bars of spans: from the first turn in them to `until`, in microseconds. What has not
    /// ended goes on to the right edge, what began earlier starts at the left edge.
    pub fn of(trace: &Trace, until: u64) -> Chart {
        let turn = trace.spans.iter().find(|span| span.is(Kind::Turn));
        let start = turn.or(trace.spans.first()).map_or(until, |it| it.begin.ts);
        let seconds = |ts: u64| ts.min(until).saturating_sub(start) as f64 / 1e6;
        let mut lanes: BTreeMap<usize, Lane> = BTreeMap::new();
        for span in trace.spans.iter().filter(|it| it.begin.ts <= until) {
            let begin = &span.begin;
            let Some((kind, ..)) = LEGEND.into_iter().find(|(kind, ..)| span.is(*kind)) else {
                continue;
            };
            let lane = lanes.entry(begin.tid).or_default();
            lane.label = trace.tracks.get(&begin.tid).cloned().unwrap_or_default();
            lane.bars.push(Bar {
                kind,
                name: begin.name.clone(),
                start: seconds(begin.ts),
                end: seconds(span.end.unwrap_or(until)),
            });
        }
        Chart {
            lanes: lanes.into_values().collect(),
            seconds: seconds(until),
            note: "",
        }
    }

    /// The lanes as text, at most `width` characters wide, with a time axis of `seconds`.
    pub fn draw(&self, width: usize, seconds: f64) -> String {
        let columns = width.saturating_sub(LABEL + 12).max(10);
        let (end, axis) = (format!("{seconds:.1} s"), columns - 3);
        let mut text = format!("  {:LABEL$} 0 s{end:>axis$}\n", "");
        for lane in &self.lanes {
            let (label, _) = fit(&lane.label, LABEL);
            let used = UnicodeWidthStr::width(label.as_str());
            let label = label + &" ".repeat(LABEL - used);
            let row = lane.row(columns, seconds);
            let busy = format!("{:.1} s", lane.busy());
            text += format!("  {label} {row} {busy:>8}").trim_end();
            text.push('\n');
        }
        text
    }

    /// What the characters mean, and the note.
    pub fn legend(&self) -> String {
        let entries = LEGEND.map(|(_, character, meaning)| format!("  {character} {meaning}"));
        let text = format!("{}\n  {}", entries.join(" "), self.note);
        text.trim_end().to_string()
    }
}

impl Lane {
    /// A character for each column.
    fn row(&self, columns: usize, seconds: f64) -> String {
        let scale = columns as f64 / seconds.max(1e-9);
        let column = |time: f64| columns.min((time * scale).round() as usize);
        let mut row = vec![' '; columns + 1];
        for bar in &self.bars {
            let drawn = LEGEND.iter().find(|(kind, ..)| *kind == bar.kind);
            let character = drawn.map_or(' ', |(_, character, _)| *character);
            let (start, end) = (column(bar.start), column(bar.end));
            row[start..end].fill(character);
            if row[start] == ' ' {
                row[start] = character; // it is too short to fill a column
            }
        }
        row[..columns].iter().collect()
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
