//! Sub-agents that nobody waits for: the same sub-agents, on the same executor and bus as commands.
//!
//! Each has a todo. Its state is not stored but read off the bus, so that it cannot be wrong:
//! `in_progress` while the agent runs, `resolved` when its result is there, `completed` when the
//! result was delivered to the main agent. There is no other way through these states.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;

use crate::agent::Agent;
use crate::background::{BackgroundExecutor, Label, Status, Watch, lock};
use crate::event::{Event, Stamped};
use crate::interrupt::Interrupt;
use crate::outcome::Outcome;
use crate::permission::describe;
use crate::subagent::{Definitions, Delegation, run};
use crate::todo::{Priority, TodoList};
use crate::tool::{Access, Tool, ToolError, ToolOutcome};
use crate::tools::object;

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
struct Input {
    description: String,
    prompt: String,
    #[serde(default)]
    priority: Priority,
    agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What one agent has cost, and what it did last.
#[derive(Default)]
struct Tally {
    requests: u64,
    tokens: u64,
    calls: u64,
    last: String,
}

impl Tally {
    fn count(&mut self, event: &Event) {
        match event {
            Event::RequestStarted => self.requests += 1,
            Event::RequestFinished { usage, .. } => {
                self.tokens += usage.input_tokens + usage.output_tokens;
                self.tokens += usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
            }
            Event::ToolStarted { name, input, .. } => {
                self.calls += 1;
                self.last = format!("; last: {name} {}", describe(input)).chars().take(80).collect();
            }
            _ => {}
        }
    }
}

/// An agent at work, seen from outside.
struct AtWork {
    tally: Arc<Mutex<Tally>>,
    interrupt: Interrupt,
}

impl Watch for AtWork {
    fn look(&self) -> String {
        let Tally { requests, tokens, calls, last } =
            &*self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{requests} requests, {tokens} tokens, {calls} tool calls{last}")
    }

    fn stop(&self) {
        self.interrupt.trigger();
    }
}

/// `task`, which returns at once, and `todo_read`.
pub fn tools(
    agent: &Agent,
    definitions: &Definitions,
    executor: &Arc<Mutex<BackgroundExecutor>>,
    todos: &Arc<Mutex<TodoList>>,
) -> [Tool; 2] {
    let delegation = Delegation::new(agent, definitions);
    let description = format!(
        "Starts a sub-agent with a fresh context in the background and returns at once; its result comes by itself. \
         It sees only the prompt, so put everything it must know there. It cannot ask the user. {}",
        delegation.listing()
    );
    let input = json!({
        "description": { "type": "string", "description": "The work in a few words: the name that people see, such as audit-auth. Not used before." },
        "prompt": { "type": "string", "description": "What to do, and what to report" },
        "priority": { "type": "string", "enum": ["high", "medium", "low"] },
        "agent": { "type": "string", "description": "The name of an agent" },
    });
    let schema = object(input, &["description", "prompt"]);
    let (starts, executor, todos) = (executor.clone(), executor.clone(), todos.clone());
    let task = Tool::new("task", description, schema, Access::Free, move |input: Input, context| {
        let worker = delegation.worker(input.agent.as_deref())?;
        start(&starts, worker, input, &context.events)
    });
    let about = "All todos: first those that are resolved, then by priority.";
    let read = Tool::new("todo_read", about, object(json!({}), &[]), Access::Free, move |Nothing {}, _| {
        let agents = agent_todos(&mut lock(&executor));
        let text = agents + &todos.lock().unwrap_or_else(PoisonError::into_inner).by_priority();
        Ok(if text.is_empty() { "No todos.".to_string() } else { text.trim_end().to_string() })
    });
    [task, read]
}

fn start(
    executor: &Mutex<BackgroundExecutor>,
    mut worker: Agent,
    Input { description: id, prompt, priority, .. }: Input,
    events: &crate::event::Events,
) -> ToolOutcome {
    let id = id.trim().to_string();
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (counted, spent) = (tally.clone(), tally.clone());
    let count = move |stamped: Stamped<'_>| {
        counted.lock().unwrap_or_else(PoisonError::into_inner).count(stamped.event);
    };
    worker.gate = worker.gate.unattended();
    worker.context.interrupt = Interrupt::default();
    worker.context.events = events.of_background_agent(&id, Box::new(count));
    let used_up = move || spent.lock().unwrap_or_else(PoisonError::into_inner).tokens > MAX_TOKENS;

    let (name, events) = (id.clone(), events.clone());
    let label = Label { kind: KIND, rank: priority as u8 };
    lock(executor).submit_as(label, &id, move |control| {
        control.attach(AtWork { tally, interrupt: worker.context.interrupt.clone() });
        events.emit(Event::TaskStarted { id: name.clone(), what: prompt.clone() });
        let outcome = match run(&worker, prompt, used_up) {
            _ if worker.context.interrupt.is_triggered() => Outcome::Killed { output: String::new() },
            Ok(output) => Outcome::Finished { exit_code: 0, output },
            Err(ToolError(message)) => Outcome::Failed { message },
        };
        events.emit(Event::TaskFinished { id: name, result: outcome.to_string() });
        outcome
    })?;
    Ok(format!("{id}: started in the background. Its todo is in_progress; the result will come by itself."))
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
        let Some(Label { kind: KIND, rank }) = executor.label(&id) else { continue };
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
