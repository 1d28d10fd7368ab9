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
    let command =
        json!({ "type": "string", "description": "Run by bash -c, without a terminal and without input." });
    let schema = object(json!({ "command": command }), &["command"]);
    let description = format!(
        "Run a shell command and wait until it has ended. Returns its output, standard error included. It is ended after {} s.",
        TIME_LIMIT.as_secs()
    );
    Tool::new("bash", description, schema, Access::Ask, |input: Input, context| {
        let watch = |now| context.events.emit(Event::Waiting { command: input.command.clone(), now });
        let (outcome, left_running) =
            process::run_watched(&input.command, TIME_LIMIT, &context.interrupt, watch);
        let interrupted = matches!(outcome, Outcome::Killed { .. });
        answer(&outcome, if interrupted { "interrupted by the user" } else { "" }, left_running)
    })
}

/// What the model reads.
fn answer(outcome: &Outcome, instead: &str, left_running: usize) -> ToolOutcome {
    let output = match outcome.output().trim_end() {
        "" => "(no output)",
        output => output,
    };
    let mut text = output.to_string();
    match left_running {
        0 => {}
        1 => {
            text += "\n[The shell has exited; 1 process that it started is still running. It ends when this program ends.]"
        }
        left => {
            text += &format!(
                "\n[The shell has exited; {left} processes that it started are still running. They end when this program ends.]"
            )
        }
    }
    match outcome {
        Outcome::Finished { exit_code: 0, .. } => Ok(text),
        Outcome::Killed { .. } => Err(ToolError(format!("{instead}\n{text}"))),
        Outcome::Failed { message } => Err(ToolError(message.clone())),
        _ => Err(ToolError(format!("{}\n{text}", outcome.to_string().trim_start_matches("ERROR: ")))),
    }
}
