//! `bg_bash {id, command}` and `check_bg {id?}`: run a command and do not wait for it; ask later.

use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::json;

use crate::background::{BackgroundExecutor, Refusal, Status, Watch, lock};
use crate::event::{Event, Events};
use crate::process::{self, Handle};
use crate::tool::{Access, Tool, ToolError, ToolOutcome};
use crate::tools::object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    id: String,
    command: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    id: Option<String>,
}

impl From<Refusal> for ToolError {
    fn from(refusal: Refusal) -> Self {
        ToolError(format!("{refusal}."))
    }
}

impl Watch for Handle {
    fn look(&self) -> String {
        let now = Handle::look(self);
        let count = match now.left_running {
            None | Some(0) => String::new(),
            Some(1) => "shell exited, 1 process still running; ".to_string(),
            Some(left) => format!("shell exited, {left} processes still running; "),
        };
        let last = match now.last_line.as_str() {
            "" => String::new(),
            line => format!("; last line: {line}"),
        };
        format!("{count}{} bytes of output{last}", now.bytes)
    }

    fn details(&self) -> String {
        format!("{}\n{}", Watch::look(self), self.output_end())
    }

    fn stop(&self) {
        Handle::stop(self);
    }
}

/// How the results of background tasks get to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Results {
    /// It asks with `check_bg` (s08).
    Polled,
    /// They come by themselves (s09), so `check_bg` leaves them out: nothing is told twice.
    Delivered,
}

impl Results {
    fn advice(self) -> &'static str {
        match self {
            Results::Polled => "Go on with other work; ask with check_bg.",
            Results::Delivered => "Go on with other work; the result will come by itself.",
        }
    }
}

/// `bg_bash` and `check_bg`, over one executor.
pub fn tools(executor: &Arc<Mutex<BackgroundExecutor>>, results: Results) -> [Tool; 2] {
    let (starts, checks) = (executor.clone(), executor.clone());
    let bg_bash = Tool::new(
        "bg_bash",
        format!(
            "Start a shell command in the background and return at once. For what takes long: builds, tests, servers. {}",
            results.advice()
        ),
        object(
            json!({
                "id": { "type": "string", "description": "A short name of your choice that says what it is, such as build. Not used before." },
                "command": { "type": "string", "description": "Run by bash -c, without a terminal and without input." }
            }),
            &["id", "command"],
        ),
        Access::Ask,
        move |input: Start, context| {
            run_in_background(
                &mut lock(&starts),
                &input.id,
                input.command,
                &context.events,
            )?;
            Ok(format!(
                "{}: started in the background. {}",
                input.id.trim(),
                results.advice()
            ))
        },
    );
    let check_bg = Tool::new(
        "check_bg",
        "Ask how a background task stands: [running] (for how long, its last line of output so far), \
         [shell exited] (others that it started run on), finished (exit code, output), or ERROR. Without an id: all tasks, one line each.",
        object(
            json!({ "id": { "type": "string", "description": "The task's name; leave it out for all." } }),
            &[],
        ),
        Access::Free,
        move |input: Check, _| match input.id {
            Some(id) => check_one(&mut lock(&checks), &id, results),
            None => check_all(&mut lock(&checks)),
        },
    );
    [bg_bash, check_bg]
}

/// `stop_bg {id}`: end what was begun.
pub fn stop_tool(executor: &Arc<Mutex<BackgroundExecutor>>) -> Tool {
    let executor = executor.clone();
    Tool::new(
        "stop_bg",
        "Stop a background task and everything it started. Its output so far is delivered like any result.",
        object(
            json!({ "id": { "type": "string", "description": "The task's name." } }),
            &["id"],
        ),
        Access::Free,
        move |Stop { id }: Stop, _| {
            let mut executor = lock(&executor);
            if let Status::Ended { .. } = executor.check(&id)? {
                return Ok(format!("{} has ended already.", id.trim()));
            }
            executor.stop(&id)?;
            Ok(format!("{}: told to stop.", id.trim()))
        },
    )
}

/// The counterpart of [`process::run_watched`]: submits the same work instead of waiting for it.
fn run_in_background(
    executor: &mut BackgroundExecutor,
    id: &str,
    command: String,
    events: &Events,
) -> Result<(), Refusal> {
    let (events, name) = (events.clone(), id.trim().to_string());
    executor.submit(id, move |control| {
        events.emit(Event::TaskStarted {
            id: name.clone(),
            what: command.clone(),
        });
        let outcome = process::run_to_end(&command, |handle| control.attach(handle));
        events.emit(Event::TaskFinished {
            id: name,
            result: outcome.to_string(),
        });
        outcome
    })
}

fn check_one(executor: &mut BackgroundExecutor, id: &str, results: Results) -> ToolOutcome {
    let status = executor.check(id)?;
    let line = format!("{}: {}", id.trim(), describe(executor, id, &status));
    match status {
        Status::Ended { .. } if results == Results::Delivered => {
            Ok(format!("{line}. Its output is delivered by itself."))
        }
        Status::Ended { outcome, .. } if !outcome.output().trim().is_empty() => {
            Ok(format!("{line}\n{}", outcome.output().trim_end()))
        }
        _ => Ok(line),
    }
}

fn check_all(executor: &mut BackgroundExecutor) -> ToolOutcome {
    let mut ids = executor.ids();
    ids.retain(|id| !executor.in_foreground(id));
    if ids.is_empty() {
        return Ok("No background tasks.".to_string());
    }
    let line = |id: String| {
        let status = executor.check(&id)?;
        Ok(format!("{id}: {}", describe(executor, &id, &status)))
    };
    let lines: Result<Vec<String>, ToolError> =
        ids.iter().map(ToString::to_string).map(line).collect();
    Ok(lines?.join("\n"))
}

fn describe(executor: &BackgroundExecutor, id: &str, status: &Status) -> String {
    match status {
        Status::Running { elapsed, progress } => {
            let seconds = elapsed.as_secs_f64();
            match progress.strip_prefix("shell exited, ") {
                Some(rest) => format!("[shell exited] {seconds:.1} s; {rest}"),
                None if progress.is_empty() => format!("[running] {seconds:.1} s"),
                None => format!("[running] {seconds:.1} s; {progress}"),
            }
        }
        Status::Ended { elapsed, outcome } => executor.tell(id, *elapsed, outcome),
    }
}
