//! aids · The obvious way to run sub-agents side by side, for `compare --scene agents`: threads, and
//! a turn that waits for all of them (elsewhere it is `Promise.all`). Otherwise this is s04.

use std::process::ExitCode;
use std::thread;

use meanwhile::agent::Agent;
use meanwhile::message::{Message, push_user};
use meanwhile::model::ModelError;
use meanwhile::permission;
use meanwhile::subagent::{Definitions, Delegation, of_agent, run};
use meanwhile::tool::{Access, Context, Tool};
use meanwhile::tools::{bash, files};
use serde::Deserialize;
use serde_json::json;

const SYSTEM: &str = "You are a coding agent at work in the current directory. \
    Use your tools to do what the user asks, then say in a sentence what you did.";

/// What stands between two sub-agents in the prompt of a call.
const BESIDE: &str = " ‖ ";

fn main() -> ExitCode {
    let options =
        meanwhile::start("# all · Sub-agents side by side; the turn waits for all of them");
    let mut repl = meanwhile::prompt(&options);
    let model = meanwhile::connect(&options);
    repl.greet(&*model);
    let mut agent = Agent::new(model, SYSTEM, repl.context());
    agent.toolbox.add([bash::tool()]);
    agent.toolbox.add(files::tools("."));
    agent.gate = permission::gate(options.yes || agent.model.is_practice());
    agent.toolbox.add([task(&agent)]);

    let turn = |messages: &mut Vec<Message>| -> Result<(), ModelError> {
        loop {
            let reply = agent.ask(messages)?;
            if reply.tool_calls().is_empty() {
                return Ok(());
            }
            agent.run_tools(reply, messages);
        }
    };

    let mut messages = Vec::new();
    while let Some(line) = repl.read() {
        push_user(&mut messages, line);
        repl.report(turn(&mut messages));
    }
    repl.leave()
}

#[derive(Deserialize)]
struct Input {
    #[serde(rename = "description")]
    _description: String,
    prompt: String,
}

/// `task`, which starts several sub-agents and waits for all of them.
fn task(agent: &Agent) -> Tool {
    let delegation = Delegation::new(agent, &Definitions::default(), &[]);
    let schema = json!({
        "type": "object",
        "properties": {
            "description": { "type": "string", "description": "The work in three to five words" },
            "prompt": { "type": "string", "description": format!("`NAME: what to do, and what to report` for each sub-agent, with `{BESIDE}` between two of them") },
        },
        "required": ["description", "prompt"],
        "additionalProperties": false,
    });
    let description = "Delegates work to sub-agents that work side by side, and waits for all of them. Each sees only its part of the prompt; you see only their last texts.";
    let start = move |input: Input, context: &Context| {
        thread::scope(|scope| {
            let one = |part: &str| {
                let (name, prompt) = part.split_once(": ").unwrap_or(("sub-agent", part));
                let (worker, prompt) = (delegation.worker(None, context), prompt.to_string());
                let events = of_agent(&context.events, name);
                events.notice("It starts."); // here, so that they stand in order
                scope.spawn(move || {
                    let (mut worker, context) = (worker?, context.clone());
                    worker.context = Context { events, ..context };
                    run(&worker, prompt, || false)
                })
            };
            let agents: Vec<_> = input.prompt.split(BESIDE).map(one).collect();
            // Here the first result waits for the last.
            let results = agents.into_iter().map(|agent| match agent.join() {
                Ok(Ok(result)) => result,
                Ok(Err(why)) => format!("ERROR: {why}"),
                Err(_) => "ERROR: the sub-agent broke down.".to_string(),
            });
            Ok(results.collect::<Vec<_>>().join("\n"))
        })
    };
    Tool::new("task", description, schema, Access::Free, start)
}
