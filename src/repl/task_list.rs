//! `/tasks`, `/tasks ID`, `/stop ID`: all that was started in this session, as a person reads it.

use crate::background::{BackgroundExecutor, Refusal, Status};
use crate::notification::TaskId;

/// Lines of output or transcript that are shown of one task.
const SHOWN_LINES: usize = 20;

/// A line for each task, first those that run.
pub fn all(executor: &mut BackgroundExecutor) -> String {
    let ids = executor.ids();
    let mut rows: Vec<(bool, [String; 4], String)> =
        ids.iter().map(|id| row(executor, id)).collect();
    if rows.is_empty() {
        return "No tasks so far.".to_string();
    }
    rows.sort_by_key(|(has_ended, ..)| *has_ended);
    let mut widths = [0; 4];
    for (_, cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |(_, cells, progress): (bool, [String; 4], String)| {
        let cells = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line: String = cells.chain([progress]).collect::<Vec<_>>().join("  ");
        line.trim_end().to_string()
    };
    rows.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One task, with the end of its output or of its transcript.
pub fn one(executor: &mut BackgroundExecutor, id: &str) -> String {
    let (status, details) = match (executor.check(id), executor.details(id), TaskId::new(id)) {
        (Ok(status), Ok(details), _) => (status, details),
        (Err(refusal), ..) | (_, Err(refusal), _) => return format!("{}.", sentence(&refusal)),
    };
    let Some(task_id) = TaskId::new(id) else {
        return String::new();
    };
    let (_, cells, progress) = row(executor, &task_id);
    let text = match details.split_once('\n') {
        Some((_, text)) => text,
        None => "",
    };
    let output = match &status {
        // A transcript ends with what was said last, and that is the output.
        Status::Ended { outcome, .. }
            if !text.trim_end().ends_with(outcome.output().trim_end()) =>
        {
            outcome.output()
        }
        Status::Ended { .. } | Status::Running { .. } => "",
    };
    let mut lines: Vec<&str> = text
        .trim_end()
        .lines()
        .chain(output.trim_end().lines())
        .collect();
    let shown = lines.split_off(lines.len().saturating_sub(SHOWN_LINES));
    let mut answer = format!("{}  {progress}", cells.join("  "));
    if !lines.is_empty() {
        answer += &format!("\n  … {} lines before these", lines.len());
    }
    shown
        .iter()
        .for_each(|line| answer += &format!("\n  {line}"));
    answer
}

/// Stops a task.
pub fn stop(executor: &mut BackgroundExecutor, id: &str) -> String {
    match executor.check(id) {
        Ok(Status::Ended { .. }) => format!("{id} has ended already."),
        Ok(Status::Running { .. }) => {
            let _ = executor.stop(id);
            format!("{id}: told to stop.")
        }
        Err(_) if id.is_empty() => "Which one? /stop ID; /tasks lists them.".to_string(),
        Err(refusal) => format!("{}.", sentence(&refusal)),
    }
}

fn sentence(refusal: &Refusal) -> String {
    let text = refusal.to_string();
    let mut characters = text.chars();
    characters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(characters)
        .collect()
}

/// True if it has ended; its id, kind, status and time; how it stands.
fn row(executor: &mut BackgroundExecutor, id: &TaskId) -> (bool, [String; 4], String) {
    let kind = executor.label(id).map_or("", |label| label.kind);
    let name = id.to_string();
    let details = executor.details(&name).unwrap_or_default();
    let progress = details.lines().next().unwrap_or_default().to_string();
    let (has_ended, status, elapsed) = match executor.check(&name) {
        Ok(Status::Ended { elapsed, outcome }) => (true, outcome.to_string(), elapsed),
        Ok(Status::Running { elapsed, .. }) if executor.in_foreground(id) => {
            (false, "in the foreground".to_string(), elapsed)
        }
        Ok(Status::Running { elapsed, .. }) => (false, "running".to_string(), elapsed),
        Err(_) => (true, String::new(), std::time::Duration::ZERO),
    };
    let status = status.replace("finished with exit code 0", "finished");
    let status: String = status
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(40)
        .collect();
    (
        has_ended,
        [
            name,
            kind.to_string(),
            status,
            format!("{:.1} s", elapsed.as_secs_f64()),
        ],
        progress,
    )
}
