//! s11 · `/tasks`, `/tasks ID`, `/stop ID`: all that was started in this session, as a person
//! reads it.

use super::Foreground;
use crate::background::{Kind, Refusal, Status, lock};
use crate::notification::TaskId;

/// Lines of output or transcript that are shown of one task.
const SHOWN_LINES: usize = 20;
/// Characters of a task's status that are shown.
const SHOWN_STATUS: usize = 40;

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
        let rows = self.rows();
        match id {
            "" if rows.is_empty() => "No tasks so far.".to_string(),
            "" => table(&rows),
            id => match rows.iter().find(|row| row.id.to_string() == id) {
                Some(row) => row.whole(),
                None => self.unknown(id),
            },
        }
    }

    /// Stops a task, waited for or not.
    pub fn stop(&self, id: &str) -> String {
        if let Some((current, _)) = &*self.current()
            && current.id.to_string() == id
        {
            current.watch.stop();
            return format!("{id}: told to stop.");
        }
        let rows = self.rows();
        match rows.into_iter().find(|row| row.id.to_string() == id) {
            Some(row) if row.status.outcome.is_some() => format!("{id} has ended already."),
            Some(row) => {
                if let Ok(task) = lock(&self.executor).find(&row.id) {
                    task.control.stop();
                }
                format!("{id}: told to stop.")
            }
            None if id.is_empty() => "Which one? /stop ID; /tasks lists them.".to_string(),
            None => self.unknown(id),
        }
    }

    fn unknown(&self, id: &str) -> String {
        let known = self.rows().into_iter().map(|row| row.id).collect();
        let unknown = |id| Refusal::UnknownId(id, known).into();
        let text: String = TaskId::new(id).map_or_else(|empty| empty, unknown);
        let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    }

    /// Those that run, then those that have ended; each oldest first.
    fn rows(&self) -> Vec<Row> {
        let (mut rows, current) = (Vec::new(), self.current());
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

impl Row {
    /// Its id, kind, status and time.
    fn cells(&self) -> [String; 4] {
        let kind = match self.kind {
            Kind::Command => "command",
            Kind::Agent(_) => "agent",
            Kind::Monitor => "monitor",
            Kind::Timer => "timer",
        };
        let status = match &self.status.outcome {
            None if self.in_foreground => "in the foreground".to_string(),
            None if self.status.progress.left_running.is_some() => "shell exited".to_string(),
            None => "running".to_string(),
            Some(outcome) if outcome.error().is_none() => "finished".to_string(),
            Some(outcome) => outcome.to_string(),
        };
        let status = status.lines().next().unwrap_or_default();
        [
            self.id.to_string(),
            kind.to_string(),
            status.chars().take(SHOWN_STATUS).collect(),
            format!("{:.1} s", self.status.elapsed.as_secs_f64()),
        ]
    }

    fn whole(&self) -> String {
        // What an agent has said last stands at the end of what it did; what a monitor told, in its output.
        let text = match (&self.status.outcome, self.kind) {
            (Some(outcome), Kind::Command | Kind::Timer) => &outcome.output,
            _ => &self.status.progress.recent,
        };
        let mut lines: Vec<&str> = text.trim_end().lines().collect();
        let shown = lines.split_off(lines.len().saturating_sub(SHOWN_LINES));
        let mut answer = format!("{}  {}", self.cells().join("  "), self.status.progress.line);
        if !lines.is_empty() {
            answer += &format!("\n  … {} lines before these", lines.len());
        }
        shown
            .iter()
            .for_each(|line| answer += &format!("\n  {line}"));
        answer
    }
}

fn table(rows: &[Row]) -> String {
    let mut widths = [0; 4];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Row| {
        let cells = row.cells().into_iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}  "));
        let line = cells.collect::<String>() + &row.status.progress.line;
        line.trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
