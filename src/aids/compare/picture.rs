//! aids · What a comparison shows: charts on one time scale, and the table.

use std::io::{Write, stdout};

use meanwhile::aids::timeline::chart::Chart;
use meanwhile::aids::timeline::{Kind, Span};
use meanwhile::terminal::fit;

use crate::run::Run;

/// Columns of what the table's rows are called, and of their cells.
const LABEL: usize = 34;
const CELL: usize = 10;

/// The longest run so far, in seconds.
pub fn longest(runs: &[Run]) -> f64 {
    let seconds = runs.iter().map(|run| run.chart().seconds);
    seconds.fold(0.1, f64::max)
}

/// All charts on one time scale.
pub fn charts(runs: &[Run], width: usize, seconds: f64) -> String {
    let mut text = String::new();
    for run in runs {
        let (title, chart) = (run.title, run.chart());
        let more = if run.status.is_some() { "" } else { " …" };
        let lanes = chart.draw(width, seconds);
        text += &format!("{title}: {:.1} s{more}\n{lanes}\n", chart.seconds);
    }
    text + &Chart::default().legend() + "\n"
}

/// Another page of the terminal, without a cursor; the first one comes back when this is dropped.
pub struct Page;

impl Page {
    pub fn open() -> Self {
        show("\x1b[?1049h\x1b[?25l");
        Page
    }

    /// What does not fit is cut off.
    pub fn draw(&self, runs: &[Run], (columns, rows): (usize, usize)) {
        let columns = columns.saturating_sub(1);
        // The scale changes now and then, not with every frame.
        let text = charts(runs, columns, (longest(runs) / 5.0).ceil() * 5.0);
        let lines = text.lines().take(rows.saturating_sub(1));
        let lines: Vec<String> = lines.map(|line| fit(line, columns).0).collect();
        show(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n")));
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        show("\x1b[?25h\x1b[?1049l");
    }
}

/// Prints. That nobody reads it, as behind `| true`, is no reason to complain.
pub fn show(text: &str) {
    let mut out = stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The table in Markdown.
pub fn table(runs: &[Run]) -> String {
    let columns: Vec<_> = runs.iter().map(figures).collect();
    let mut table = String::new();
    for (row, (label, _)) in columns[0].iter().enumerate() {
        let cells = columns.iter().map(|it| format!(" {:>CELL$} |", it[row].1));
        table += &format!("| {label:<LABEL$} |{}\n", cells.collect::<String>());
        if row == 0 {
            let rule = format!("{}:|", "-".repeat(CELL + 1)).repeat(columns.len());
            table += &format!("|{}|{rule}\n", "-".repeat(LABEL + 2));
        }
    }
    table
}

/// A program's column, with the labels of its rows.
fn figures(run: &Run) -> [(&'static str, String); 6] {
    let spans = &run.trace.spans;
    let of = |kind| spans.iter().filter(move |span| span.is(kind));
    let seconds = |micros: u64| format!("{:.1} s", micros as f64 / 1e6);
    let waits = of(Kind::Tool).filter(|call| call.begin.tid == 1);
    let waits = waits.filter_map(|call| Some(call.end? - call.begin.ts));
    // When the first result was there to be handed over, and how many looks found something that
    // still ran.
    let (mut first, mut in_vain) = (u64::MAX, 0);
    for call in of(Kind::Tool).chain(of(Kind::Delivered)) {
        let (name, Some(at)) = (&*call.begin.name, call.end) else {
            continue;
        };
        let id = call.begin.args["id"].as_str().map(str::trim);
        let asked = of(Kind::Task).filter(|task| id.is_none_or(|id| id == task.begin.name));
        let begun = asked.filter(|task| task.begin.ts <= at);
        let ended = |task: &Span| task.end.is_some_and(|end| end <= at);
        let (ended, running): (Vec<&Span>, Vec<&Span>) = begun.partition(|task| ended(task));
        in_vain += usize::from(name == "check_bg" && !running.is_empty());
        if matches!(name, "bash" | "delivered") || name == "check_bg" && !ended.is_empty() {
            first = first.min(at);
        }
    }
    let requests = of(Kind::Thinking).count();
    let start = of(Kind::Turn).next().map_or(0, |turn| turn.begin.ts);
    let handed = of(Kind::Thinking).find(|request| request.begin.ts >= first);
    let handed = handed.map_or("never".into(), |it| seconds(it.begin.ts - start));
    [
        ("", run.name().to_string()),
        ("wall time", format!("{:.1} s", run.chart().seconds)),
        ("main thread blocked on tools", seconds(waits.sum())),
        ("first result in the model's hands", handed),
        ("requests to the model", requests.to_string()),
        ("of those, polls that found nothing", in_vain.to_string()),
    ]
}
