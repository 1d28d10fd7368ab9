//! s03 · The plan as data: a list that the model keeps, and a reminder when it forgets to.

use std::fmt;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::caught::lock;
use crate::message::{Message, push_note};
use crate::tool::{Access, Tool, ToolOutcome};
use crate::tools::object;

const MAX_ITEMS: usize = 20;
/// How many rounds of tools may go by without an update.
const PATIENCE: usize = 3;

/// How far a todo or a board task is.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    #[default]
    Pending,
    InProgress,
    Completed,
    Failed,
}

impl Stage {
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Stage::Pending => "[ ]",
            Stage::InProgress => "[>]",
            Stage::Completed => "[x]",
            Stage::Failed => "[!]",
        }
    }
}

/// How urgent a todo is. The order of the variants is the order of the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Priority {
    High,
    #[default]
    Medium,
    Low,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Todo {
    content: String,
    status: Stage,
    #[serde(default)]
    priority: Priority,
}

impl fmt::Display for Todo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let priority = match self.priority {
            Priority::High => " (high)",
            Priority::Medium => "",
            Priority::Low => " (low)",
        };
        write!(f, "{} {}{priority}", self.status.mark(), self.content)
    }
}

/// The input of the tool `todo`.
#[derive(Deserialize)]
struct Plan {
    todos: Vec<Todo>,
}

/// The plan. Displayed as one line for each todo, and how many are completed.
#[derive(Default)]
pub struct TodoList {
    items: Vec<Todo>,
    /// Rounds of tools since the last update or reminder, the round it came in included.
    rounds: usize,
}

impl TodoList {
    /// An empty list, for the tool that writes it and the loop that reads it.
    pub fn shared() -> Arc<Mutex<TodoList>> {
        Arc::default()
    }

    /// Replaces the whole list, or refuses and leaves it as it is.
    fn replace(&mut self, Plan { todos: mut items }: Plan) -> ToolOutcome {
        for item in &mut items {
            item.content = one_line(&item.content);
        }
        let running = count(&items, Stage::InProgress);
        let why = if let Some(index) = items.iter().position(|item| item.content.is_empty()) {
            format!("todo {} has no content", index + 1)
        } else if items.len() > MAX_ITEMS {
            format!("{} todos are too many: at most {MAX_ITEMS}", items.len())
        } else if running > 1 {
            format!("{running} todos are in_progress: at most one may be")
        } else {
            *self = TodoList { items, rounds: 0 };
            return Ok(self.to_string());
        };
        Err(format!(
            "{why}. The list was not changed; send it again as a whole."
        ))
    }

    /// One line for each, high before medium before low, otherwise in the order of the plan.
    pub fn by_priority(&self) -> String {
        let mut items: Vec<&Todo> = self.items.iter().collect();
        items.sort_by_key(|item| item.priority);
        items.into_iter().map(|item| format!("{item}\n")).collect()
    }
}

impl fmt::Display for TodoList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            writeln!(f, "{item}")?;
        }
        let completed = count(&self.items, Stage::Completed);
        write!(f, "({completed}/{} completed)", self.items.len())
    }
}

fn count(items: &[Todo], stage: Stage) -> usize {
    items.iter().filter(|item| item.status == stage).count()
}

/// The text without line breaks and doubled blanks: lists show an entry on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The tool `todo`.
pub fn tool(todos: &Arc<Mutex<TodoList>>) -> Tool {
    let todos = todos.clone();
    let status = json!({ "type": "string", "enum": ["pending", "in_progress", "completed"] });
    let priority = json!({ "type": "string", "enum": ["high", "medium", "low"] });
    let todo = json!({ "content": { "type": "string" }, "status": status, "priority": priority });
    let list = json!({ "type": "array", "maxItems": MAX_ITEMS, "items": object(todo, &["content", "status"]) });
    let schema = object(json!({ "todos": list }), &["todos"]);
    let about = "Your plan for work of several steps. Send the whole list each time: it replaces the old one. At most one todo is in_progress.";
    Tool::new("todo", about, schema, Access::Free, move |plan, _| {
        let mut todos = lock(&todos);
        todos.replace(plan)
    })
}

/// Counts a round of tools. After the third in a row that left the list alone, and only while
/// there is something to do on it, says so to the model, in the message with the results.
pub fn remind(todos: &Mutex<TodoList>, messages: &mut Vec<Message>) {
    let mut todos = lock(todos);
    todos.rounds += 1;
    let open = todos.items.len() - count(&todos.items, Stage::Completed);
    if todos.rounds > PATIENCE && open > 0 {
        todos.rounds = 1;
        let reminder = format!(
            "<system-reminder>Update your todos with the todo tool: {PATIENCE} rounds of tools went by without it. This reminder is automatic, not from the user.\n{todos}</system-reminder>"
        );
        push_note(messages, reminder);
    }
}
