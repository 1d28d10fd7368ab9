//! What a comparison shows: charts on one time scale, and the table.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};

use meanwhile::aids::timeline::Kind;
use meanwhile::aids::timeline::chart::Chart;
use meanwhile::aids::timeline::{MAIN, Record};
use meanwhile::terminal;

use crate::run::Run;

/// Columns of the table, and of what its rows are called.
const WIDTH: usize = 79;
const LABEL: usize = 34;

/// The longest run so far, in seconds.
pub fn longest(runs: &[Run]) -> f64 {
    runs.iter()
        .map(|run| run.chart().seconds)
        .fold(0.1, f64::max)
}

/// While it grows, the scale changes now and then, not with every frame.
fn round_up(seconds: f64) -> f64 {
    let steps = [
        5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0,
    ];
    steps
        .into_iter()
        .find(|step| *step >= seconds)
        .unwrap_or(seconds)
}

/// All charts on one time scale.
pub fn charts(runs: &[Run], width: usize, seconds: f64) -> String {
    let mut text = String::new();
    for run in runs {
        let chart = run.chart();
        let more = if run.is_over() { "" } else { " …" };
        let _ = writeln!(text, "{}: {:.1} s{more}", run.title, chart.seconds);
        let _ = writeln!(text, "{}", chart.draw(width, seconds));
    }
    text + &Chart::default().legend(width) + "\n"
}

/// Another page of the terminal, without a cursor; the first one comes back when this is dropped.
pub struct Page;

impl Page {
    pub fn open() -> Self {
        print!("\x1b[?1049h\x1b[?25l");
        Page
    }

    /// What does not fit is cut off.
    pub fn draw(&self, runs: &[Run], (columns, rows): (usize, usize)) {
        let text = charts(runs, columns.saturating_sub(1), round_up(longest(runs)));
        let lines = text.lines().take(rows.saturating_sub(1));
        let lines: Vec<String> = lines
            .map(|line| terminal::fit(line, columns.saturating_sub(1)).0)
            .collect();
        print!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n"));
        let _ = stdout().flush();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        print!("\x1b[?25h\x1b[?1049l");
        let _ = stdout().flush();
    }
}

struct Figures {
    wall: f64,
    blocked: f64,
    first: Option<f64>,
    requests: usize,
    in_vain: usize,
}

impl Figures {
    fn of(run: &Run) -> Self {
        let chart = run.chart();
        let main = chart
            .lanes
            .iter()
            .filter(|lane| lane.label == MAIN)
            .flat_map(|lane| &lane.bars);
        let waits = main.filter(|bar| bar.kind == Kind::Tool);
        let result = |record: &Record| match (record.ph, record.args["result"].as_str()) {
            ('E', Some(result)) => result.to_string(),
            _ => String::new(),
        };
        // A result is that of a command which was waited for, or of one that was asked about.
        let brings = |record: &&Record| match record.name.as_str() {
            "bash" | "delivered" => record.ph == 'E',
            "check_bg" => ["finished", "ERROR", "shell exited"]
                .iter()
                .any(|word| result(record).contains(word)),
            _ => false,
        };
        let in_vain = |record: &&Record| {
            record.name == "check_bg" && result(record).contains("still running")
        };
        let requests = || {
            run.records
                .iter()
                .filter(|record| record.ph == 'B' && record.is(Kind::Thinking))
        };
        let start = run
            .records
            .iter()
            .find(|record| record.is(Kind::Turn))
            .map_or(0, |record| record.ts);
        let first = run
            .records
            .iter()
            .find(brings)
            .map_or(u64::MAX, |record| record.ts);
        let handed = requests().find(|request| request.ts >= first);
        Figures {
            wall: chart.seconds,
            blocked: waits.map(|bar| bar.end - bar.start).sum(),
            first: handed.map(|request| (request.ts - start) as f64 / 1e6),
            requests: requests().count(),
            in_vain: run.records.iter().filter(in_vain).count(),
        }
    }
}

/// The table in Markdown, at most [`WIDTH`] columns wide.
pub fn table(runs: &[Run]) -> String {
    let figures: Vec<Figures> = runs.iter().map(Figures::of).collect();
    let width = ((WIDTH - LABEL - 4) / runs.len().max(1)).saturating_sub(3);
    let title = |run: &Run| {
        if run.title.len() <= width {
            run.title
        } else {
            run.name()
        }
    };
    let row = |what: &str, cells: Vec<String>| {
        let cells: String = cells
            .iter()
            .map(|cell| format!(" {cell:>width$} |"))
            .collect();
        format!("| {what:<LABEL$} |{cells}\n")
    };
    let figure = |what: &str, cell: &dyn Fn(&Figures) -> String| {
        row(what, figures.iter().map(cell).collect())
    };
    let line = format!("{}:|", "-".repeat(width + 1)).repeat(runs.len());
    row("", runs.iter().map(|run| title(run).to_string()).collect())
        + &format!("|{}|{line}\n", "-".repeat(LABEL + 2))
        + &figure("wall time", &|it| format!("{:.1} s", it.wall))
        + &figure("main thread blocked on tools", &|it| {
            format!("{:.1} s", it.blocked)
        })
        + &figure("first result in the model's hands", &|it| {
            it.first
                .map_or("never".to_string(), |first| format!("{first:.1} s"))
        })
        + &figure("requests to the model", &|it| it.requests.to_string())
        + &figure("of those, polls that found nothing", &|it| {
            it.in_vain.to_string()
        })
}
