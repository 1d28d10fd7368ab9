//! s01 · `bash {command}`: run a command and wait for it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::outcome::{End, Outcome};
use crate::process::output::{last_line, text_or};
use crate::process::{self, Handle, Watch};
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::object;

/// A command that takes longer is ended.
const TIME_LIMIT: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
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
    let run = |input: Input, context: &Context| {
        let handle = Handle::new(&input.command);
        let watch = handle.clone();
        context.events.waiting(move || {
            let now = watch.look();
            (now.what, last_line(&now.recent).to_string())
        });
        let (folder, interrupt) = (context.folder.path(), &context.interrupt);
        let (outcome, left) = process::run(&handle, folder, TIME_LIMIT, interrupt);
        let still = left_running(left);
        let still = format!("\n[The shell has exited; {still}, at most until this program ends.]");
        answer(&outcome, if left > 0 { &still } else { "" })
    };
    Tool::new("bash", description, schema, Access::Ask, run)
}

/// What the model reads of a command that it has waited for, and a remark below.
pub fn answer(outcome: &Outcome, remark: &str) -> ToolOutcome {
    let output = text_or(&outcome.output, "(no output)");
    match (&outcome.end, outcome.error()) {
        (_, None) => Ok(format!("{output}{remark}")),
        (End::Failed(why), _) if outcome.output.is_empty() => Err(why.clone()),
        (End::Killed, _) => Err(format!("[interrupted] by the user\n{output}{remark}")),
        (_, Some(error)) => Err(format!("{error}\n{output}{remark}")),
    }
}

/// What is said of the processes that a shell left running.
pub fn left_running(count: usize) -> String {
    match count {
        1 => "1 process that it started is still running".to_string(),
        count => format!("{count} processes that it started are still running"),
    }
}
