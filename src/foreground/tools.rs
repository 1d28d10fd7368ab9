//! s11 · `bash`, which can be sent to the background, and `task`, which can be waited for.

use serde::Deserialize;
use serde_json::json;

use super::{Foreground, LIMIT};
use crate::agent::Agent;
use crate::background::Executor;
use crate::background_agent::{self, delegation, start};
use crate::caught::lock;
use crate::notification::TaskId;
use crate::process::output::text_or;
use crate::subagent::{Definitions, Input};
use crate::terminal::fit;
use crate::tool::{Access, Context, Tool};
use crate::tools::bash;

/// Columns of a command's name.
const NAME_WIDTH: usize = 24;

/// What `bash` is given.
#[derive(Default, Deserialize)]
pub(super) struct Command {
    pub command: String,
    pub description: Option<String>,
    pub timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(flatten)]
    task: Input,
    #[serde(default)]
    wait: bool,
}

impl Foreground {
    /// Both tools. They take the place of those that the agent has; its sub-agents keep theirs.
    pub fn tools(&self, agent: &Agent, definitions: &Definitions) -> [Tool; 2] {
        [self.bash(), self.task(agent, definitions)]
    }

    fn bash(&self) -> Tool {
        let (it, mut old) = (self.clone(), bash::tool());
        let properties = &mut old.input_schema["properties"];
        properties["description"] = json!({ "type": "string", "description": "What it does, in two or three words: its name in the background" });
        properties["timeout_seconds"] =
            json!({ "type": "integer", "minimum": 0, "description": "How long to wait for it" });
        let description = format!(
            "Run a shell command and wait until it has ended. Returns its output, standard error included. What takes longer \
             than timeout_seconds ({} if not given) goes on in the background; its result comes by itself then.",
            LIMIT.as_secs()
        );
        let run = move |input: Command, context: &Context| it.run(&input, context);
        Tool::new("bash", description, old.input_schema, Access::Ask, run)
    }

    fn task(&self, agent: &Agent, definitions: &Definitions) -> Tool {
        let (it, delegation) = (self.clone(), delegation(agent, definitions));
        let mut old = background_agent::tool(agent, definitions, &self.executor);
        old.input_schema["properties"]["wait"] = json!({ "type": "boolean", "description": "Wait for the result: it is returned then. The sub-agent can ask the user meanwhile." });
        let run = move |Task { task, wait }: Task, context: &Context| match wait {
            true => it.delegate(&delegation, task, context),
            false => start(&it.executor, &delegation, task, context),
        };
        Tool::new("task", old.description, old.input_schema, Access::Free, run)
    }
}

/// A name that is not taken, of so many words of a text.
///
/// # Errors
/// When no name can be made of them.
pub fn free_name(executor: &Executor, text: &str, count: usize) -> Result<TaskId, String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).take(count).collect();
    let (name, _) = fit(&words.join("-"), NAME_WIDTH);
    let name = text_or(name.trim_end_matches('-'), "bash");
    let (mut id, mut number) = (TaskId::new(&name)?, 1);
    while lock(executor).expect_new(&id).is_err() {
        number += 1;
        id = TaskId::new(&format!("{name}-{number}"))?;
    }
    Ok(id)
}
