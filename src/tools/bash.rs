//! `bash {command}`: run a command and wait for it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::event::Event;
use crate::outcome::Outcome;
use crate::process;
use crate::tool::{Access, Tool, ToolError, ToolOutcome};
use crate::tools::object;

/// A command that takes longer is ended.
const TIME_LIMIT: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    command: String,
}

/// The tool.
pub fn tool() -> Tool {
    let command = json!({ "type": "string", "description": "Run by bash -c, without a terminal and without input." });
    let schema = object(json!({ "command": command }), &["command"]);
    let description = format!(
        "Run a shell command and wait until it has ended. Returns its output, standard error included. It is ended after {} s.",
        TIME_LIMIT.as_secs()
    );
    Tool::new(
        "bash",
        description,
        schema,
        Access::Ask,
        |input: Input, context| {
            let watch = |now: process::Snapshot| {
                let (what, progress) = (input.command.clone(), now.last_line);
                context.events.emit(Event::Waiting {
                    what,
                    elapsed: now.elapsed,
                    progress,
                });
            };
            let (outcome, left_running) =
                process::run_watched(&input.command, TIME_LIMIT, &context.interrupt, watch);
            answer(&outcome, left_running, None)
        },
    )
}

/// What the model reads of a command that it has waited for. If the shell left others running, the
/// last line says so; with the name of the background task that they are now, if they are one.
pub(crate) fn answer(outcome: &Outcome, left_running: usize, task: Option<&str>) -> ToolOutcome {
    let output = match outcome.output().trim_end() {
        "" => "(no output)",
        output => output,
    };
    let count = match left_running {
        1 => "1 process that it started is".to_string(),
        left => format!("{left} processes that it started are"),
    };
    let rest = match task {
        _ if left_running == 0 => String::new(),
        Some(id) => format!("\n{id}: [shell exited] {count} still running in the background."),
        None => format!(
            "\n[The shell has exited; {count} still running, at most until this program ends.]"
        ),
    };
    match outcome {
        Outcome::Finished { exit_code: 0, .. } => Ok(format!("{output}{rest}")),
        Outcome::Killed { .. } => Err(ToolError(format!(
            "[interrupted] by the user\n{output}{rest}"
        ))),
        Outcome::Failed { message } => Err(ToolError(message.clone())),
        _ => {
            let why = outcome.to_string();
            Err(ToolError(format!(
                "{}\n{output}{rest}",
                why.trim_start_matches("ERROR: ")
            )))
        }
    }
}
