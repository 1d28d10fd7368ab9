//! s08 · `bg_bash {id, command}` and `check_bg {id?}`: run a command and do not wait for it; ask
//! later how it stands.

use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::json;

use crate::background::{BackgroundExecutor, Progress, Refusal, Status, Watch, lock};
use crate::event::{Event, Events};
use crate::notification::TaskId;
use crate::outcome::Outcome;
use crate::process::{self, Handle};
use crate::tool::{Access, Tool, ToolError};
use crate::tools::object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    id: String,
    command: String,
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

/// The name of a task, as a model or a person wrote it.
///
/// # Errors
/// When it is empty.
pub fn task_id(name: &str) -> Result<TaskId, Refusal> {
    TaskId::new(name).ok_or(Refusal::EmptyId)
}

/// A command lets itself be watched.
impl Watch for Handle {
    fn look(&self) -> Progress {
        let now = Handle::look(self);
        let left = match now.left_running {
            None | Some(0) => String::new(),
            Some(1) => "1 process still running; ".to_string(),
            Some(left) => format!("{left} processes still running; "),
        };
        let last = match now.last_line.as_str() {
            "" => String::new(),
            line => format!("; last line: {line}"),
        };
        Progress {
            left_running: now.left_running.filter(|left| *left > 0),
            line: format!("{left}{} bytes of output{last}", now.bytes),
        }
    }

    fn recent(&self) -> String {
        self.output_end()
    }

    fn stop(&self) {
        Handle::stop(self);
    }
}

/// `bg_bash` and `check_bg`, over one executor.
pub fn tools(executor: &Arc<Mutex<BackgroundExecutor>>) -> [Tool; 2] {
    let advice = "Go on with other work; ask with check_bg.";
    [
        bg_bash(executor, advice),
        check_bg(executor, |line, outcome| {
            match outcome.output().trim_end() {
                "" => line,
                output => format!("{line}\n{output}"),
            }
        }),
    ]
}

/// `bg_bash`. The advice says how the model gets to the result.
pub fn bg_bash(executor: &Arc<Mutex<BackgroundExecutor>>, advice: &'static str) -> Tool {
    let executor = executor.clone();
    Tool::new(
        "bg_bash",
        format!(
            "Start a shell command in the background and return at once. For what takes long: builds, tests, servers. {advice}"
        ),
        object(
            json!({
                "id": { "type": "string", "description": "A short name of your choice that says what it is, such as build. Not used before." },
                "command": { "type": "string", "description": "Run by bash -c, without a terminal and without input." }
            }),
            &["id", "command"],
        ),
        Access::Ask,
        move |Start { id, command }: Start, context| {
            let id = task_id(&id)?;
            run_in_background(&mut lock(&executor), &id, command, &context.events)?;
            Ok(format!("{id}: started in the background. {advice}"))
        },
    )
}

/// `check_bg`. What is said of a task that has ended is made from its line and its outcome.
pub fn check_bg(
    executor: &Arc<Mutex<BackgroundExecutor>>,
    ended: impl Fn(String, &Outcome) -> String + Send + Sync + 'static,
) -> Tool {
    let executor = executor.clone();
    Tool::new(
        "check_bg",
        "Ask how a background task stands: [running] (for how long, its last line of output so far), \
         finished (exit code, output), or ERROR. Without an id: all tasks, one line each.",
        object(
            json!({ "id": { "type": "string", "description": "The task's name; leave it out for all." } }),
            &[],
        ),
        Access::Free,
        move |Check { id }: Check, _| {
            let mut executor = lock(&executor);
            let Some(id) = id else {
                let ids = executor.ids().into_iter();
                let line = |id: TaskId| Ok(format!("{id}: {}", executor.check(&id)?));
                let lines: Result<Vec<_>, Refusal> = ids.map(line).collect();
                let lines = lines?.join("\n");
                return Ok(if lines.is_empty() {
                    "No background tasks.".into()
                } else {
                    lines
                });
            };
            let id = task_id(&id)?;
            let status = executor.check(&id)?;
            let line = format!("{id}: {status}");
            Ok(match status {
                Status::Running { .. } => line,
                Status::Ended { outcome, .. } => ended(line, &outcome),
            })
        },
    )
}

/// The counterpart of [`process::run_watched`]: submits the same work instead of waiting for it.
fn run_in_background(
    executor: &mut BackgroundExecutor,
    id: &TaskId,
    command: String,
    events: &Events,
) -> Result<(), Refusal> {
    let (events, name) = (events.clone(), id.clone());
    executor.submit(id, move |control| {
        announced(&events, &name, &command, || {
            process::run_to_end(&command, |handle| control.attach(Arc::new(handle)))
        })
    })
}

/// Does the work of a task between its `TaskStarted` and its `TaskFinished`, even if it panics.
pub fn announced(
    events: &Events,
    id: &TaskId,
    what: &str,
    work: impl FnOnce() -> Outcome,
) -> Outcome {
    let (id, what) = (id.to_string(), what.to_string());
    events.emit(Event::TaskStarted {
        id: id.clone(),
        what,
    });
    let outcome = Outcome::of(work);
    let result = outcome.to_string();
    events.emit(Event::TaskFinished { id, result });
    outcome
}
