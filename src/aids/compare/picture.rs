//! aids · What a comparison shows: charts on one time scale, and the table.

use std::io::{Write, stdout};

use meanwhile::aids::timeline::chart::Chart;
use meanwhile::aids::timeline::{Kind, MAIN, spans};
use meanwhile::terminal::fit;

use crate::run::Run;

/// Columns of the table, and of what its rows are called.
const WIDTH: usize = 79;
const LABEL: usize = 34;

/// The longest run so far, in seconds.
pub fn longest(runs: &[Run]) -> f64 {
    let seconds = runs.iter().map(|run| run.chart().seconds);
    seconds.fold(0.1, f64::max)
}

/// While the charts grow, the scale changes now and then, not with every frame.
fn round_up(seconds: f64) -> f64 {
    let steps = [5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0];
    let step = steps.into_iter().find(|step| *step >= seconds);
    step.unwrap_or((seconds / 600.0).ceil() * 600.0)
}

/// All charts on one time scale.
pub fn charts(runs: &[Run], width: usize, seconds: f64) -> String {
    let mut text = String::new();
    for run in runs {
        let (title, chart) = (run.title, run.chart());
        let more = if run.is_over() { "" } else { " …" };
        let lanes = chart.draw(width, seconds);
        text += &format!("{title}: {:.1} s{more}\n{lanes}\n", chart.seconds);
    }
    text + &Chart::default().legend(width) + "\n"
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
        let text = charts(runs, columns, round_up(longest(runs)));
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
        let main = chart.lanes.iter().filter(|lane| lane.label == MAIN);
        let waits = main.flat_map(|lane| &lane.bars);
        let waits = waits.filter(|bar| bar.kind == Kind::Tool);
        let spans = spans(&run.records);
        let of = |kind| spans.iter().filter(move |(begin, _)| begin.is(kind));
        let start = of(Kind::Turn).next().map_or(0, |(begin, _)| begin.ts);
        // When the first result was there to be handed over, and how many looks found something
        // that still ran.
        let (mut first, mut in_vain) = (u64::MAX, 0);
        for (call, end) in &spans {
            let Some(end) = end.map(|end| end.ts) else {
                continue;
            };
            match call.name.as_str() {
                "bash" | "delivered" => first = first.min(end),
                "check_bg" => {
                    let id = call.args["id"].as_str().map(str::trim);
                    let begun = of(Kind::Task).filter(|(task, _)| task.ts <= end);
                    let asked = begun.filter(|(task, _)| id.is_none_or(|id| id == task.name));
                    let ends = asked.map(|(_, task)| task.map_or(u64::MAX, |task| task.ts));
                    let (ended, running): (Vec<u64>, _) = ends.partition(|ts| *ts <= end);
                    first = if ended.is_empty() {
                        first
                    } else {
                        first.min(end)
                    };
                    in_vain += usize::from(!running.is_empty());
                }
                _ => {}
            }
        }
        let handed = of(Kind::Thinking).find(|(request, _)| request.ts >= first);
        Figures {
            wall: chart.seconds,
            blocked: waits.map(|bar| bar.end - bar.start).sum(),
            first: handed.map(|(request, _)| (request.ts - start) as f64 / 1e6),
            requests: of(Kind::Thinking).count(),
            in_vain,
        }
    }
}

/// The table in Markdown, at most [`WIDTH`] columns wide.
pub fn table(runs: &[Run]) -> String {
    let width = ((WIDTH - LABEL - 4) / runs.len().max(1)).saturating_sub(3);
    let row = |what: &str, cells: Vec<String>| {
        let cells = cells.iter().map(|cell| format!(" {cell:>width$} |"));
        format!("| {what:<LABEL$} |{}\n", cells.collect::<String>())
    };
    let figures: Vec<Figures> = runs.iter().map(Figures::of).collect();
    let figure = |what: &str, cell: &dyn Fn(&Figures) -> String| {
        row(what, figures.iter().map(cell).collect())
    };
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let line = format!("{}:|", "-".repeat(width + 1)).repeat(runs.len());
    let names = runs.iter().map(|run| run.name().to_string()).collect();
    [
        row("", names),
        format!("|{}|{line}\n", "-".repeat(LABEL + 2)),
        figure("wall time", &|it| seconds(it.wall)),
        figure("main thread blocked on tools", &|it| seconds(it.blocked)),
        figure("first result in the model's hands", &|it| {
            it.first.map_or("never".to_string(), seconds)
        }),
        figure("requests to the model", &|it| it.requests.to_string()),
        figure("of those, polls that found nothing", &|it| {
            it.in_vain.to_string()
        }),
    ]
    .concat()
}
