//! Spans as bars, lane by lane: drawn with characters here, as a picture in [`svg`](super::svg).

use super::{MAIN, Record, THINKING, TURN};

/// Characters of a lane's name that are drawn.
const LABEL: usize = 12;

/// What a stretch of time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A model is waited for.
    Thinking,
    /// A tool is waited for.
    Tool,
    /// A background task runs.
    Task,
}

impl Kind {
    /// All of them, with what they are drawn with and what they mean.
    pub const LEGEND: [(Kind, char, &str); 3] = [
        (Kind::Thinking, '░', "thinking"),
        (Kind::Tool, '█', "waiting for a tool"),
        (Kind::Task, '═', "running in the background"),
    ];

    fn character(self) -> char {
        Self::LEGEND.iter().find(|(kind, ..)| *kind == self).map_or(' ', |(_, character, _)| *character)
    }
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
    /// Makes bars of records: from the first of them to `until`, in microseconds. `tracks` are
    /// names by `tid`. What has not ended goes on to the right edge, what began earlier starts at
    /// the left edge.
    pub fn of(records: &[Record], tracks: &[String], until: u64, dropped: usize) -> Chart {
        let turn = records.iter().find(|record| record.ph == 'B' && record.name == TURN);
        let start = turn.or(records.first()).map_or(until, |record| record.ts);
        let seconds = |ts: u64| ts.clamp(start, until.max(start)).saturating_sub(start) as f64 / 1e6;
        let mut lanes: Vec<Lane> =
            tracks.iter().map(|label| Lane { label: label.clone(), bars: Vec::new() }).collect();
        for record in records.iter().filter(|record| record.name != TURN && record.ts <= until) {
            let Some(lane) = lanes.get_mut(record.tid) else { continue };
            let (name, end) = (record.name.clone(), seconds(until));
            match record.ph {
                'B' => {
                    let kind = match name.as_str() {
                        THINKING => Kind::Thinking,
                        name if name == lane.label && name != MAIN => Kind::Task,
                        _ => Kind::Tool,
                    };
                    lane.bars.push(Bar { kind, name, start: seconds(record.ts), end });
                }
                'E' => {
                    let open = |bar: &&mut Bar| bar.name == name && bar.end == end;
                    if let Some(bar) = lane.bars.iter_mut().rev().find(open) {
                        bar.end = seconds(record.ts);
                    }
                }
                _ => {}
            }
        }
        lanes.retain(|lane| !lane.bars.is_empty());
        Chart { lanes, seconds: seconds(until), dropped }
    }

    /// The lanes as text, at most `width` characters wide, with a time axis of `seconds`.
    pub fn draw(&self, width: usize, seconds: f64) -> String {
        let columns = width.saturating_sub(LABEL + 12).max(10);
        let column = |time: f64| ((time / seconds.max(1e-9)) * columns as f64) as usize;
        let end = format!("{seconds:.1} s");
        let mut text = format!("  {:LABEL$} 0 s{end:>axis$}\n", "", axis = columns.saturating_sub(3));
        for lane in &self.lanes {
            let mut row = vec![' '; columns];
            for bar in &lane.bars {
                let first = column(bar.start).min(columns - 1);
                let last = column(bar.end).clamp(first + 1, columns);
                row[first..last].fill(bar.kind.character());
            }
            let label: String = lane.label.chars().take(LABEL).collect();
            let busy = format!("{:.1} s", busy(lane));
            text += &format!("  {label:<LABEL$} {} {busy:>8}", row.into_iter().collect::<String>());
            text = text.trim_end().to_string() + "\n";
        }
        text
    }

    /// What the characters mean, and what is missing.
    pub fn legend(&self) -> String {
        let meanings = Kind::LEGEND.map(|(_, character, meaning)| format!("{character} {meaning}"));
        let dropped = match self.dropped {
            0 => String::new(),
            count => format!("  ({count} later spans are left out; --trace FILE keeps all)"),
        };
        format!("  {}{dropped}", meanings.join("   "))
    }
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
