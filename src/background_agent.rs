//! s10 · Background agents: the same sub-agents, on the same executor and bus as commands.
//!
//! Each has a todo. Its state is not stored but read off the bus, so that it cannot be wrong:
//! `in_progress` while the agent runs, `resolved` when its result is there, `completed` when the
//! result was delivered to the main agent. There is no other way through these states.

pub(crate) mod at_work;

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::background::{Executor, Kind, Task};
use crate::caught::lock;
use crate::delivery::Deliveries;
use crate::notification::TaskId;
use crate::process::output::text_or;
use crate::subagent::{Definitions, Delegation, Input};
use crate::todo::TodoList;
use crate::tool::{Access, Context, Tool, ToolOutcome, Toolbox};
use crate::tools::object;
pub use at_work::AtWork;

/// What no sub-agent gets: sub-agents and background tasks of its own, and the plan of the agent
/// that delegates.
const WITHHELD: [&str; 6] = [
    "task",
    "todo",
    "todo_read",
    "bg_bash",
    "check_bg",
    "stop_bg",
];

/// Why a question of a background agent is not answered.
pub const ALONE: &str = "it needs the user's consent, and a background agent cannot ask. Do what you can without it, \
    and say in your report what is left; the main agent can do it in the foreground, or the user allow it for the session beforehand.";

/// What the main agent is told in its system prompt.
pub const SYSTEM: &str = "\n\nThe task tool starts a sub-agent in the background and returns at once. Meanwhile do work \
    that does not depend on it; keep dependent work for later. Its todo is in_progress until the result comes by itself; \
    then it is resolved. Look for resolved todos with todo_read. Never invent the result of an agent that still runs.";

/// Sub-agents of this agent, as it is now.
pub fn delegation(agent: &Agent, definitions: &Definitions) -> Delegation {
    Delegation::new(agent, definitions, &WITHHELD)
}

/// `task`, which returns at once.
pub fn tool(agent: &Agent, definitions: &Definitions, executor: &Executor) -> Tool {
    let (delegation, executor) = (delegation(agent, definitions), executor.clone());
    let about = format!(
        "Starts a sub-agent with a fresh context in the background and returns at once; its result comes by itself. \
         It sees only the prompt, so put everything it must know there. It cannot ask the user. {}",
        delegation.listing()
    );
    let properties = json!({
        "description": { "type": "string", "description": "The work in a few words: the name that people see, such as audit-auth. Not used before." },
        "prompt": { "type": "string", "description": "What to do, and what to report" },
        "priority": { "type": "string", "enum": ["high", "medium", "low"] },
        "agent": { "type": "string", "description": "The name of an agent" },
    });
    let schema = object(properties, &["description", "prompt"]);
    let run = move |input: Input, context: &Context| start(&executor, &delegation, input, context);
    Tool::new("task", about, schema, Access::Free, run)
}

impl Toolbox {
    /// Puts tools in the place of those with the same names.
    ///
    /// # Panics
    /// When there is none of that name.
    #[track_caller]
    pub fn replace(&mut self, tools: impl IntoIterator<Item = Tool>) {
        for tool in tools {
            let name = tool.name.clone();
            let old = self.tools.iter_mut().find(|old| old.name == name);
            *old.unwrap_or_else(|| panic!("there is no tool {name} to be replaced: add() it")) =
                Arc::new(tool);
        }
    }
}

/// Submits a sub-agent, which asks nobody and shows nothing.
///
/// # Errors
/// When there is no such agent, or the executor refuses it.
pub fn start(
    executor: &Executor,
    delegation: &Delegation,
    input: Input,
    context: &Context,
) -> ToolOutcome {
    let worker = delegation.worker(input.agent.as_deref(), context)?;
    let id = TaskId::new(&input.description)?;
    let kind = Kind::Agent(input.priority);
    let ask = Arc::new(|_: &str, _: &_| Err(ALONE.to_string()));
    let at_work = Arc::new(AtWork::new(worker, input, || false, ask));
    let task = Task::new(kind, &id, at_work.clone(), &context.events);
    lock(executor).submit(task, move |_| at_work.run())?;
    Ok(format!(
        "{id}: started in the background. Its todo is in_progress; the result will come by itself."
    ))
}

/// `todo_read`: the todos of agents, then those of the plan.
pub fn todo_read(deliveries: &Deliveries, todos: &Arc<Mutex<TodoList>>) -> Tool {
    let (deliveries, todos) = (deliveries.clone(), todos.clone());
    let about = "All todos: first those that are resolved, then by priority.";
    let run = move |_: Map<String, Value>, _: &Context| {
        let text = agent_todos(&deliveries) + &lock(&todos).by_priority();
        Ok(text_or(&text, "No todos."))
    };
    let schema = object(json!({}), &[]);
    Tool::new("todo_read", about, schema, Access::Free, run)
}

/// One line for each agent, resolved ones first, then by priority.
fn agent_todos(deliveries: &Deliveries) -> String {
    let [delivered, _] = deliveries.ended();
    let mut lines = Vec::new();
    for status in lock(&deliveries.executor).all() {
        let Task { id, kind, .. } = status.task;
        let Kind::Agent(priority) = kind else {
            continue;
        };
        let (rank, line) = match status.outcome {
            None => {
                let so_far = text_or(&status.progress.line, "it begins");
                (1, format!("[in_progress] {id} ({so_far})"))
            }
            Some(_) if delivered.contains(&id) => (2, format!("[completed] {id}")),
            Some(outcome) => {
                let result = match outcome.error() {
                    Some(error) => format!("Error: {error}"),
                    None => outcome.output,
                };
                (0, format!("[resolved] {id}: {result}"))
            }
        };
        lines.push((rank, priority, line + "\n"));
    }
    lines.sort_by_key(|(rank, priority, _)| (*rank, *priority));
    lines.into_iter().map(|(.., line)| line).collect()
}
