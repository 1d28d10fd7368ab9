//! s01 · The agent loop: one loop and one tool are an agent.

use std::process::ExitCode;

use meanwhile::agent::Agent;
use meanwhile::message::{Message, push_user};
use meanwhile::model::ModelError;
use meanwhile::tools::bash;

const SYSTEM: &str = "You are a coding agent at work in the current directory. \
    Use your tools to do what the user asks, then say in a sentence what you did.";

fn main() -> ExitCode {
    let options = meanwhile::start(include_str!("README.md"));
    let mut repl = meanwhile::prompt(&options);
    let model = meanwhile::connect(&options);
    repl.greet(&*model);
    let mut agent = Agent::new(model, SYSTEM, repl.context());
    agent.toolbox.add([bash::tool()]);

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
        match line.as_str() {
            "/clear" => messages.clear(),
            line if meanwhile::show(&repl, line, &messages) => {}
            prompt => {
                push_user(&mut messages, prompt);
                repl.report(turn(&mut messages));
            }
        }
    }
    repl.leave()
}
