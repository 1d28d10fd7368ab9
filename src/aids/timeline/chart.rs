//! aids · Spans as bars, lane by lane: drawn with characters here, as a picture in `svg.rs`.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::{Kind, Trace};
use crate::terminal::fit;

/// Columns for a lane's name.
const LABEL: usize = 12;

/// What is drawn, with which character, and what it means.
const LEGEND: [(Kind, char, &str); 5] = [
    (Kind::Thinking, '░', "thinking"),
    (Kind::Poll, '?', "asking in vain"),
    (Kind::Tool, '█', "waiting for a tool"),
    (Kind::Task, '═', "in the background"),
    (Kind::Question, '·', "you wait"),
];

/// What is drawn in these charts, with which character, and what it means.
pub fn legend(charts: &[&Chart]) -> Vec<(Kind, char, &'static str)> {
    let lanes = charts.iter().flat_map(|chart| &chart.lanes);
    let bars: Vec<&Bar> = lanes.flat_map(|lane| &lane.bars).collect();
    let is_drawn = |(kind, ..): &(Kind, _, _)| bars.iter().any(|bar| bar.kind == *kind);
    LEGEND.into_iter().filter(is_drawn).collect()
}

/// A stretch of time, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Bar {
    pub kind: Kind,
    pub name: String,
    pub start: f64,
    pub end: f64,
}

/// A row of the chart.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Lane {
    pub label: String,
    /// Sorted by start; later ones are drawn over earlier ones.
    pub bars: Vec<Bar>,
}

/// A picture of some time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Chart {
    /// The main thread, then sub-agents and tasks in the order in which they began.
    pub lanes: Vec<Lane>,
    /// The length of the picture, in seconds.
    pub seconds: f64,
    /// A sentence to stand below it; may be empty.
    pub note: &'static str,
}

impl Chart {
    /// Makes bars of the spans of some time, in microseconds. What has not ended goes on to the
    /// right edge, what began earlier starts at the left edge.
    pub fn of(trace: &Trace, Range { start, end }: Range<u64>) -> Chart {
        let seconds = |ts: u64| ts.min(end).saturating_sub(start) as f64 / 1e6;
        let mut lanes: BTreeMap<usize, Lane> = BTreeMap::new();
        for span in &trace.spans {
            let begin = &span.begin;
            let is_before = begin.ts < start && span.end.is_some_and(|end| end <= start);
            if is_before || begin.ts > end {
                continue;
            }
            let Some((kind, ..)) = LEGEND.into_iter().find(|(kind, ..)| span.is(*kind)) else {
                continue;
            };
            let lane = lanes.entry(begin.tid).or_default();
            lane.label = trace.tracks.get(&begin.tid).cloned().unwrap_or_default();
            lane.bars.push(Bar {
                kind,
                name: begin.name.clone(),
                start: seconds(begin.ts),
                end: seconds(span.end.unwrap_or(end)),
            });
        }
        lanes.values_mut().for_each(Lane::mark_requests);
        Chart {
            lanes: lanes.into_values().collect(),
            seconds: seconds(end),
            note: match trace.kept_from > start {
                true => "Earlier spans are left out; --trace FILE keeps them all.",
                false => "",
            },
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
        format!("{}\n  {}", legend_line(&[self]), self.note)
            .trim_end()
            .to_string()
    }
}

/// What the characters in these charts mean, as one line.
pub fn legend_line(charts: &[&Chart]) -> String {
    let entries = legend(charts).into_iter();
    let entries = entries.map(|(_, character, meaning)| format!("  {character} {meaning}"));
    entries.collect()
}

impl Lane {
    /// A request that brought nothing but polls in vain is drawn as they are.
    fn mark_requests(&mut self) {
        let mut in_vain = None; // until a call of the request is met
        for bar in self.bars.iter_mut().rev() {
            match bar.kind {
                Kind::Thinking if in_vain.take() == Some(true) => bar.kind = Kind::Poll,
                Kind::Thinking => {}
                Kind::Poll => in_vain = Some(in_vain != Some(false)),
                _ => in_vain = Some(false),
            }
        }
    }

    /// A character for each column.
    fn row(&self, columns: usize, seconds: f64) -> String {
        let scale = columns as f64 / seconds.max(1e-9);
        let column = |time: f64| columns.min((time * scale).round() as usize);
        let mut row = vec![' '; columns + 1];
        // Polls in vain last, so that none is hidden, however short.
        let is_poll = |bar: &&Bar| bar.kind == Kind::Poll;
        let (polls, others): (Vec<_>, Vec<_>) = self.bars.iter().partition(is_poll);
        for bar in others.into_iter().chain(polls) {
            let drawn = LEGEND.iter().find(|(kind, ..)| *kind == bar.kind);
            let character = drawn.map_or(' ', |(_, character, _)| *character);
            let (start, end) = (column(bar.start), column(bar.end));
            row[start..end].fill(character);
            if row[start] == ' ' || bar.kind == Kind::Poll {
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
