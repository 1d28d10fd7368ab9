//! s11 · `bash`, which can be sent to the background, and `task`, which can be waited for.

use serde::Deserialize;
use serde_json::json;

use super::{Foreground, TIME_LIMIT};
use crate::agent::Agent;
use crate::background_agent::{self, start};
use crate::subagent::Definitions;
use crate::tool::{Access, Tool};
use crate::tools::object;

#[derive(Deserialize)]
struct Command {
    command: String,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(flatten)]
    task: background_agent::Input,
    #[serde(default)]
    wait: bool,
}

impl Foreground {
    /// Both tools. They take the place of those that the agent has; its sub-agents keep theirs.
    pub fn tools(&self, agent: &Agent, definitions: &Definitions) -> [Tool; 2] {
        [self.bash(), self.task(agent, definitions)]
    }

    fn bash(&self) -> Tool {
        let command = json!({ "type": "string", "description": "Run by bash -c, without a terminal and without input." });
        let timeout =
            json!({ "type": "integer", "minimum": 0, "description": "How long to wait for it" });
        let properties = json!({ "command": command, "timeout_seconds": timeout });
        let description = format!(
            "Run a shell command and wait until it has ended. Returns its output, standard error included. What takes longer \
             than timeout_seconds ({TIME_LIMIT} if not given) goes on in the background; its result comes by itself then."
        );
        let it = self.clone();
        Tool::new(
            "bash",
            description,
            object(properties, &["command"]),
            Access::Ask,
            move |input: Command, context| {
                let limit = input.timeout_seconds.unwrap_or(TIME_LIMIT);
                it.run(&input.command, limit, context)
            },
        )
    }

    fn task(&self, agent: &Agent, definitions: &Definitions) -> Tool {
        let delegation = background_agent::delegation(agent, definitions);
        let mut properties = background_agent::properties();
        properties["wait"] = json!({ "type": "boolean", "description": "Wait for the result: it is returned then. The sub-agent can ask the user meanwhile." });
        let it = self.clone();
        Tool::new(
            "task",
            background_agent::description(&delegation),
            object(properties, &["description", "prompt"]),
            Access::Free,
            move |Task { task, wait }: Task, context| match wait {
                true => it.delegate(&delegation, task, context),
                false => start(&it.executor, &delegation, task, context),
            },
        )
    }
}
