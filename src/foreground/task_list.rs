//! s11 · `/tasks`, `/tasks ID`, `/stop ID`: all that was started in this session, as a person
//! reads it.

use unicode_width::UnicodeWidthStr;

use super::Foreground;
use crate::background::{Kind, Refusal, Status};
use crate::caught::lock;
use crate::delivery::stop;
use crate::notification::TaskId;
use crate::screen::count;
use crate::terminal::{short, size};

/// Lines of output or transcript that are shown of one task.
const SHOWN_LINES: usize = 20;
/// Columns of a cell of the list.
const CELL: usize = 30;

/// A task as it stands now.
struct Row {
    status: Status,
    /// In the foreground.
    waited: bool,
}

impl Foreground {
    /// One task, with the end of its output or of its transcript; without an id a line for each
    /// task, first those that run.
    pub fn list(&self, id: &str) -> String {
        match self.rows() {
            rows if !id.is_empty() => named(rows, id).map_or_else(|why| why, |row| row.whole()),
            rows if rows.is_empty() => "No tasks so far.".to_string(),
            rows => table(&rows),
        }
    }

    /// Stops a task, waited for or not.
    pub fn stop(&self, id: &str) -> String {
        match named(self.rows(), id) {
            _ if id.is_empty() => "Which one? /stop ID; /tasks lists them.".to_string(),
            Err(why) => why,
            Ok(row) => stop(&row.status),
        }
    }

    /// Those that run, then those that have ended; each oldest first.
    fn rows(&self) -> Vec<Row> {
        let (current, all) = (lock(&self.current), lock(&self.executor).all());
        let current = current.iter().map(|(task, _)| (task.status(None), true));
        let servers = lock(&self.servers);
        let servers = servers.iter().map(|task| (task.status(None), false));
        let rows = all.into_iter().map(|status| (status, false));
        let row = |(status, waited)| Row { status, waited };
        let mut rows: Vec<Row> = rows.chain(current).chain(servers).map(row).collect();
        rows.sort_by_key(|row| row.status.outcome.is_some());
        rows
    }
}

/// The task of that name, or else the only one whose name begins like this.
fn named(mut rows: Vec<Row>, id: &str) -> Result<Row, String> {
    let known = rows.iter().map(|row| row.status.task.id.clone()).collect();
    let name = |row: &Row| row.status.task.id.to_string();
    rows.retain(|row| name(row).starts_with(id));
    let exact = rows.iter().position(|row| name(row) == id);
    if exact.is_some() || rows.len() == 1 {
        return Ok(rows.swap_remove(exact.unwrap_or(0)));
    }
    if !rows.is_empty() {
        let names = rows.iter().map(name).collect::<Vec<_>>().join(", ");
        return Err(format!("{id}: one of {names}? Type more of it."));
    }
    let text: String = Refusal::UnknownId(TaskId::new(id)?, known).into();
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    Err(first.to_uppercase() + rest)
}

impl Row {
    /// Its id, kind, status and time, and what it does.
    fn cells(&self) -> [String; 5] {
        let kind = match self.status.task.kind {
            Kind::Command => "command",
            Kind::Agent(_) => "agent",
            Kind::Other(kind) => kind,
        };
        let status = match &self.status.outcome {
            None if self.waited => "in the foreground".to_string(),
            None if self.status.progress.left_running.is_some() => "shell exited".to_string(),
            None => "running".to_string(),
            Some(outcome) if outcome.error().is_none() => "finished".to_string(),
            Some(outcome) => outcome.to_string(),
        };
        let cells = [
            self.status.task.id.to_string(),
            kind.to_string(),
            status.lines().next().unwrap_or_default().to_string(),
            format!("{:.1} s", self.status.elapsed.as_secs_f64()),
            self.status.progress.what.clone(),
        ];
        cells.map(|cell| short(&cell, CELL))
    }

    fn whole(&self) -> String {
        // What an agent has said last, its output, stands at the end of what it did.
        let text = match (&self.status.outcome, self.status.task.kind) {
            (Some(outcome), Kind::Command) => &outcome.output,
            _ => &self.status.progress.recent,
        };
        let mut lines: Vec<&str> = text.trim_end().lines().collect();
        let shown = lines.split_off(lines.len().saturating_sub(SHOWN_LINES));
        let (cells, now) = (self.cells(), &self.status.progress);
        let mut told = vec![format!("{}  {}", cells[..4].join("  "), now.line)];
        told.push(format!("> {}", now.what.trim().replace('\n', "\n    ")));
        if !lines.is_empty() {
            let before = count(lines.len() as u64, "line");
            told.push(format!("… {before} before these"));
        }
        told.extend(shown.into_iter().map(str::to_string));
        told.join("\n  ")
    }
}

/// As wide as the terminal; how they stand comes last and is cut. Several agents are several bills.
fn table(rows: &[Row]) -> String {
    let columns = size().map_or(usize::MAX, |(columns, _)| columns);
    let widest = |at: usize| rows.iter().map(move |row| row.cells()[at].width()).max();
    let widths: [usize; 5] = std::array::from_fn(|at| widest(at).unwrap_or(0));
    let line = |row: &Row| {
        let mut line = String::new();
        for (cell, width) in row.cells().iter().zip(widths) {
            line += &format!("{cell}{}  ", " ".repeat(width - cell.width()));
        }
        short((line + &row.status.progress.line).trim_end(), columns)
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    let bills = rows.iter().map(|row| row.status.progress.tokens);
    let bills: Vec<u64> = bills.filter(|tokens| *tokens > 0).collect();
    if bills.len() > 1 {
        let all = count(bills.iter().sum(), "token");
        lines.push(format!("{} agents, {all} in all", bills.len()));
    }
    lines.join("\n")
}
