//! Sub-agents that nobody waits for: the same sub-agents, on the same executor and bus as commands.
//!
//! Each has a todo. Its state is not stored but read off the bus, so that it cannot be wrong:
//! `in_progress` while the agent runs, `resolved` when its result is there, `completed` when the
//! result was delivered to the main agent. There is no other way through these states.

mod at_work;

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::attendance::Attendance;
use crate::background::{BackgroundExecutor, Control, Label, Status, lock};
use crate::event::Events;
use crate::outcome::Outcome;
use crate::subagent::{Definitions, Delegation, run};
use crate::todo::{Priority, TodoList};
use crate::tool::{Access, Tool, ToolError, ToolOutcome};
use crate::tools::object;
use at_work::AtWork;

/// What an agent may read and write in all.
const MAX_TOKENS: u64 = 500_000;
/// The kind of these tasks.
const KIND: &str = "agent";

/// What the main agent is told in its system prompt.
pub const SYSTEM: &str = "\n\nThe task tool starts a sub-agent in the background and returns at once. Meanwhile do work \
    that does not depend on it; keep dependent work for later. Its todo is in_progress until the result comes by itself; \
    then it is resolved. Look for resolved todos with todo_read. Never invent the result of an agent that still runs.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    pub description: String,
    pub prompt: String,
    #[serde(default)]
    pub priority: Priority,
    pub agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `task`, which returns at once, and `todo_read`.
pub fn tools(
    agent: &Agent,
    definitions: &Definitions,
    executor: &Arc<Mutex<BackgroundExecutor>>,
    todos: &Arc<Mutex<TodoList>>,
) -> [Tool; 2] {
    let delegation = Delegation::new(agent, definitions);
    let schema = object(properties(), &["description", "prompt"]);
    let (starts, executor, todos) = (executor.clone(), executor.clone(), todos.clone());
    let task = Tool::new(
        "task",
        description(&delegation),
        schema,
        Access::Free,
        move |input: Input, context| {
            let worker = delegation.worker(input.agent.as_deref())?;
            start(&starts, worker, input, &context.events)
        },
    );
    let about = "All todos: first those that are resolved, then by priority.";
    let read = Tool::new(
        "todo_read",
        about,
        object(json!({}), &[]),
        Access::Free,
        move |Nothing {}, _| {
            let agents = agent_todos(&mut lock(&executor));
            let text = agents
                + &todos
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .by_priority();
            Ok(if text.is_empty() {
                "No todos.".to_string()
            } else {
                text.trim_end().to_string()
            })
        },
    );
    [task, read]
}

/// What a model is told of `task`.
pub(crate) fn description(delegation: &Delegation) -> String {
    format!(
        "Starts a sub-agent with a fresh context in the background and returns at once; its result comes by itself. \
         It sees only the prompt, so put everything it must know there. It cannot ask the user. {}",
        delegation.listing()
    )
}

/// The fields of its input.
pub(crate) fn properties() -> Value {
    json!({
        "description": { "type": "string", "description": "The work in a few words: the name that people see, such as audit-auth. Not used before." },
        "prompt": { "type": "string", "description": "What to do, and what to report" },
        "priority": { "type": "string", "enum": ["high", "medium", "low"] },
        "agent": { "type": "string", "description": "The name of an agent" },
    })
}

pub(crate) fn start(
    executor: &Mutex<BackgroundExecutor>,
    worker: Agent,
    Input {
        description: id,
        prompt,
        priority,
        ..
    }: Input,
    events: &Events,
) -> ToolOutcome {
    let id = id.trim();
    let attendance = Attendance::new(id, &prompt, events, false);
    let job = job(worker, id, prompt, events, attendance);
    lock(executor).submit_as(label(priority), id, job)?;
    Ok(format!(
        "{id}: started in the background. Its todo is in_progress; the result will come by itself."
    ))
}

/// What the executor is told of an agent.
pub(crate) fn label(priority: Priority) -> Label {
    Label {
        kind: KIND,
        rank: priority as u8,
    }
}

/// A sub-agent as a job. As long as nobody waits for it, it asks nothing and shows nothing.
pub(crate) fn job(
    mut worker: Agent,
    id: &str,
    prompt: String,
    events: &Events,
    attendance: Attendance,
) -> impl FnOnce(&Control) -> Outcome + Send + 'static {
    let at_work = AtWork::default();
    worker.gate = worker.gate.attended(&attendance);
    worker.context.interrupt = at_work.interrupt.clone();
    worker.context.events =
        events.of_task(id, attendance.in_background().clone(), at_work.reader());
    move |control| {
        control.attach(at_work.clone());
        let used_up = || at_work.tokens() > MAX_TOKENS;
        attendance.during(|| match run(&worker, prompt, used_up) {
            Ok(output) => Outcome::Finished {
                exit_code: 0,
                output,
            },
            Err(ToolError(output)) if at_work.interrupt.is_triggered() => {
                Outcome::Killed { output }
            }
            Err(ToolError(message)) => Outcome::Failed { message },
        })
    }
}

/// A todo that an agent works on.
enum AgentTodo {
    InProgress {
        progress: String,
    },
    /// The result, or `Error: …`.
    Resolved {
        result: String,
    },
    Completed,
}

/// One line for each, resolved ones first, then by priority.
fn agent_todos(executor: &mut BackgroundExecutor) -> String {
    let mut lines = Vec::new();
    for id in executor.ids() {
        let Some(Label { kind: KIND, rank }) = executor.label(&id) else {
            continue;
        };
        let todo = match executor.check(&id.to_string()) {
            Ok(Status::Running { progress, .. }) => AgentTodo::InProgress { progress },
            Ok(Status::Ended { .. }) if executor.bus().is_delivered(&id) => AgentTodo::Completed,
            Ok(Status::Ended { outcome, .. }) => {
                let text = outcome.to_string();
                let result = match text.strip_prefix("ERROR: ") {
                    Some(error) => format!("Error: {error}"),
                    None => outcome.output().to_string(),
                };
                AgentTodo::Resolved { result }
            }
            Err(_) => continue,
        };
        let line = match &todo {
            AgentTodo::Resolved { result } => (0, format!("[resolved] {id}: {result}\n")),
            AgentTodo::InProgress { progress } => (1, format!("[in_progress] {id} ({progress})\n")),
            AgentTodo::Completed => (2, format!("[completed] {id}\n")),
        };
        lines.push((line.0, rank, line.1));
    }
    lines.sort_by_key(|(state, rank, _)| (*state, *rank));
    lines.into_iter().map(|(_, _, line)| line).collect()
}
