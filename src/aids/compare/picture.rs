//! aids · What a comparison shows: charts on one time scale, and the table.

use std::collections::BTreeSet;
use std::io::{Write, stdout};

use meanwhile::aids::timeline::chart::{Chart, legend_line};
use meanwhile::aids::timeline::{Kind, MAIN, Span};
use meanwhile::terminal::fit;

use crate::run::Run;
use crate::scene::Scene;

/// Columns of what the table's rows are called, and of the cells of each row.
const LABEL: usize = 34;
const CELLS: usize = 30;

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
    let charts: Vec<Chart> = runs.iter().map(Run::chart).collect();
    text + &legend_line(&charts.iter().collect::<Vec<_>>()) + "\n"
}

/// Another page of the terminal, without a cursor; the first one comes back when this is dropped.
pub struct Screen;

impl Screen {
    pub fn open() -> Self {
        show("\x1b[?1049h\x1b[?25l");
        Screen
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

impl Drop for Screen {
    fn drop(&mut self) {
        show("\x1b[?25h\x1b[?1049l");
    }
}

/// Prints. That nobody reads it, as behind `| true`, is no reason to complain.
pub fn show(text: &str) {
    let mut out = stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The rows of the table. The first cell of each is its label.
pub fn rows(runs: &[Run], scene: &Scene) -> Vec<Vec<String>> {
    let columns: Vec<_> = runs.iter().map(scene.figures).collect();
    let labels = columns[0].iter().map(|(label, _)| label.to_string());
    let row = |(at, label): (usize, String)| -> Vec<String> {
        let cells = columns.iter().map(|column| column[at].1.clone());
        [label].into_iter().chain(cells).collect()
    };
    let names = runs.iter().map(|run| run.name().to_string());
    let names: Vec<String> = [String::new()].into_iter().chain(names).collect();
    [names]
        .into_iter()
        .chain(labels.enumerate().map(row))
        .collect()
}

/// The table in Markdown.
pub fn table(rows: &[Vec<String>]) -> String {
    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        let width = CELLS / (row.len() - 1);
        let cells = row[1..].iter().map(|cell| format!(" {cell:>width$} |"));
        table += &format!("| {:<LABEL$} |{}\n", row[0], cells.collect::<String>());
        if index == 0 {
            let rule = format!("{}:|", "-".repeat(width + 1)).repeat(row.len() - 1);
            table += &format!("|{}|{rule}\n", "-".repeat(LABEL + 2));
        }
    }
    table
}

/// Figures of the scene with commands.
pub fn commands(run: &Run) -> Vec<(&'static str, String)> {
    let spans = &run.trace.spans;
    // When the first result was there to be handed over.
    let first = spans.iter().filter_map(|call| {
        let found = |task: &Span| task.is_asked_by(call) && task.end <= call.end;
        let found = |task: &Span| task.end.is_some() && found(task);
        let hands_over = match &*call.begin.name {
            "check_bg" => spans.iter().any(found),
            name => matches!(name, "bash" | "delivered"),
        };
        call.end.filter(|_| hands_over)
    });
    let polls = spans.iter().filter(|span| span.is(Kind::Poll)).count();
    vec![
        ("wall time", seconds(run.time().end - run.time().start)),
        ("main thread blocked on tools", seconds(blocked(run))),
        (
            "first result in the model's hands",
            handed(run, first.min()),
        ),
        ("requests to the model", requests(run)),
        ("of those, polls that found nothing", polls.to_string()),
    ]
}

/// Figures of the scene with sub-agents.
pub fn agents(run: &Run) -> Vec<(&'static str, String)> {
    let (spans, start) = (&run.trace.spans, run.time().start);
    // Where there are background tasks, `task` only starts one.
    let waits = !spans.iter().any(|span| span.is(Kind::Task));
    let hands_over = |call: &&Span| call.is(Kind::Delivered) || waits && call.begin.name == "task";
    let first = spans.iter().filter(hands_over).filter_map(|call| call.end);
    let asked = run.asked.map_or(0, |asked| asked.as_micros() as u64);
    let answered = run
        .answered()
        .map_or("never".to_string(), |at| seconds(at - start));
    vec![
        ("question typed", seconds(asked)),
        ("question answered", answered),
        (
            "first result in the model's hands",
            handed(run, first.min()),
        ),
        ("all done", seconds(run.time().end - start)),
        ("main thread blocked on tools", seconds(blocked(run))),
        ("requests, sub-agents included", requests(run)),
    ]
}

/// Figures of the scene with a team.
pub fn team(run: &Run) -> Vec<(&'static str, String)> {
    let (spans, start) = (&run.trace.spans, run.time().start);
    // One agent has each result when its command has ended; to the others they come by themselves.
    let waits = !spans.iter().any(|span| span.is(Kind::Task));
    let own = spans.iter().filter(|call| call.begin.tid == MAIN);
    let hands_over = |call: &&Span| call.is(Kind::Delivered) || waits && call.begin.name == "bash";
    let first = own.filter(hands_over).filter_map(|call| call.end);
    let processes: BTreeSet<u32> = spans.iter().map(|span| span.begin.pid).collect();
    let asked = spans.iter().filter(|span| span.is(Kind::Thinking));
    let contexts: BTreeSet<usize> = asked.map(|span| span.begin.tid).collect();
    vec![
        ("all done", seconds(run.time().end - start)),
        (
            "first result in the model's hands",
            handed(run, first.min()),
        ),
        ("main thread blocked on tools", seconds(blocked(run))),
        ("processes with a model", processes.len().to_string()),
        ("conversations", contexts.len().to_string()),
        ("requests, all conversations", requests(run)),
    ]
}

fn seconds(micros: u64) -> String {
    format!("{:.1} s", micros as f64 / 1e6)
}

/// How long the main thread waited for tools, in microseconds.
fn blocked(run: &Run) -> u64 {
    let calls = run.trace.spans.iter().filter(|call| call.begin.tid == MAIN);
    let calls = calls.filter(|call| call.is(Kind::Tool) || call.is(Kind::Poll));
    calls
        .filter_map(|call| Some(call.end? - call.begin.ts))
        .sum()
}

fn requests(run: &Run) -> String {
    let spans = run.trace.spans.iter();
    spans
        .filter(|span| span.is(Kind::Thinking))
        .count()
        .to_string()
}

/// When the main agent's model was given what had come by then.
fn handed(run: &Run, come: Option<u64>) -> String {
    let is_own = |span: &&Span| span.is(Kind::Thinking) && span.begin.tid == MAIN;
    let mut requests = run.trace.spans.iter().filter(is_own);
    let request = come.and_then(|come| requests.find(|request| request.begin.ts >= come));
    request.map_or("never".to_string(), |it| {
        seconds(it.begin.ts - run.time().start)
    })
}
