//! s11 · `/tasks`, `/tasks ID`, `/stop ID`: all that was started in this session, as a person
//! reads it.

use unicode_width::UnicodeWidthStr;

use super::Foreground;
use crate::background::{Kind, Refusal, Status};
use crate::caught::lock;
use crate::notification::TaskId;
use crate::screen::count;
use crate::terminal::{short, size};

/// Lines of output or transcript that are shown of one task.
const SHOWN_LINES: usize = 20;
/// Columns of a cell of the list.
const CELL: usize = 30;

/// A task as it stands now.
struct Row {
    id: TaskId,
    kind: Kind,
    in_foreground: bool,
    status: Status,
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
        let id = match named(self.rows(), id) {
            _ if id.is_empty() => return "Which one? /stop ID; /tasks lists them.".to_string(),
            Err(why) => return why,
            Ok(row) if row.status.outcome.is_some() => {
                return format!("{} has ended already.", row.id);
            }
            Ok(row) => row.id,
        };
        match &*lock(&self.current) {
            Some((current, _)) if current.id == id => current.watch.stop(),
            _ => {
                if let Ok(task) = lock(&self.executor).find(&id) {
                    task.control.stop();
                }
            }
        }
        format!("{id}: told to stop.")
    }

    /// Those that run, then those that have ended; each oldest first.
    fn rows(&self) -> Vec<Row> {
        let (mut rows, current) = (Vec::new(), lock(&self.current));
        let mut executor = lock(&self.executor);
        for id in executor.ids() {
            if let (Ok(status), Ok(task)) = (executor.check(&id), executor.find(&id)) {
                let (kind, in_foreground) = (task.kind, false);
                rows.push(Row {
                    id,
                    kind,
                    in_foreground,
                    status,
                });
            }
        }
        if let Some((current, _)) = &*current {
            rows.push(Row {
                id: current.id.clone(),
                kind: current.kind,
                in_foreground: true,
                status: Status {
                    elapsed: current.started.elapsed(),
                    progress: current.watch.look(),
                    outcome: None,
                },
            });
        }
        rows.sort_by_key(|row| row.status.outcome.is_some());
        rows
    }
}

/// The task of that name, or else the only one whose name begins like this.
fn named(mut rows: Vec<Row>, id: &str) -> Result<Row, String> {
    let known = rows.iter().map(|row| row.id.clone()).collect();
    rows.retain(|row| row.id.to_string().starts_with(id));
    let exact = rows.iter().position(|row| row.id.to_string() == id);
    if exact.is_some() || rows.len() == 1 {
        return Ok(rows.swap_remove(exact.unwrap_or(0)));
    }
    if !rows.is_empty() {
        let names: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
        return Err(format!(
            "{id}: one of {}? Type more of it.",
            names.join(", ")
        ));
    }
    let text: String = Refusal::UnknownId(TaskId::new(id)?, known).into();
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    Err(first.to_uppercase() + rest)
}

impl Row {
    /// Its id, kind, status and time, and what it does.
    fn cells(&self) -> [String; 5] {
        let kind = match self.kind {
            Kind::Command => "command",
            Kind::Agent(_) => "agent",
            Kind::Other(name) | Kind::Waiting(name) => name,
        };
        let status = match &self.status.outcome {
            None if self.in_foreground => "in the foreground".to_string(),
            None if self.status.progress.left_running.is_some() => "shell exited".to_string(),
            None => "running".to_string(),
            Some(outcome) if outcome.error().is_none() => "finished".to_string(),
            Some(outcome) => outcome.to_string(),
        };
        let cells = [
            self.id.to_string(),
            kind.to_string(),
            status.lines().next().unwrap_or_default().to_string(),
            format!("{:.1} s", self.status.elapsed.as_secs_f64()),
            self.status.progress.what.clone(),
        ];
        cells.map(|cell| short(&cell, CELL))
    }

    fn whole(&self) -> String {
        // What an agent has said last stands at the end of what it did; what a monitor told, in its output.
        let text = match (&self.status.outcome, self.kind) {
            (Some(outcome), Kind::Command) => &outcome.output,
            _ => &self.status.progress.recent,
        };
        let mut lines: Vec<&str> = text.trim_end().lines().collect();
        let shown = lines.split_off(lines.len().saturating_sub(SHOWN_LINES));
        let (cells, now) = (self.cells(), &self.status.progress);
        let mut answer = format!("{}  {}", cells[..4].join("  "), now.line);
        answer += &format!("\n  > {}", now.what.trim().replace('\n', "\n    "));
        if !lines.is_empty() {
            answer += &format!("\n  … {} before these", count(lines.len() as u64, "line"));
        }
        shown
            .iter()
            .for_each(|line| answer += &format!("\n  {line}"));
        answer
    }
}

/// As wide as the terminal; how they stand comes last and is cut.
fn table(rows: &[Row]) -> String {
    let columns = size().map_or(usize::MAX, |(columns, _)| columns);
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = cell.width().max(*width);
        }
    }
    let line = |row: &Row| {
        let cells = row.cells().into_iter().zip(widths);
        let pad =
            |(cell, width): (String, usize)| cell.clone() + &" ".repeat(width - cell.width() + 2);
        let line = cells.map(pad).collect::<String>() + &row.status.progress.line;
        short(line.trim_end(), columns)
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
