//! s07 · The task board: state that outlives the conversation.

use std::process::ExitCode;

use meanwhile::agent::{Agent, TurnError};
use meanwhile::compact::Compactor;
use meanwhile::message::{Message, push_user};
use meanwhile::model;
use meanwhile::repl::Repl;
use meanwhile::skill::{self, Skills};
use meanwhile::subagent::{self, Definitions};
use meanwhile::task_board::{self, TaskBoard};
use meanwhile::todo::{self, TodoList};
use meanwhile::tool::Toolbox;
use meanwhile::tools::{bash, files};

const SYSTEM: &str = "You are a coding agent at work in the current directory. \
    Use your tools to do what the user asks, then say in a sentence what you did.";

fn main() -> ExitCode {
    let options = meanwhile::start(include_str!("README.md"));
    let mut repl = Repl::new(&options);
    let model = model::connect();
    repl.greet(&*model);
    let mut agent = Agent::new(model, SYSTEM, Toolbox::new([bash::tool()]), repl.context());
    agent.toolbox.add(files::tools());
    agent.gate = repl.gate(&*agent.model);
    let todos = TodoList::shared();
    agent.toolbox.add([todo::tool(&todos)]);
    let skills = Skills::load("skills");
    repl.warn(&skills.problems);
    agent.system += &skills.listing();
    agent.toolbox.add([skill::tool(skills)]);
    agent
        .toolbox
        .add(task_board::tools(TaskBoard::open(".tasks")));
    let agents = Definitions::load(".claude/agents");
    repl.warn(&agents.problems);
    agent.toolbox.add([subagent::tool(&agent, agents.clone())]);
    if let Some(name) = &options.agent
        && let Err(error) = agents.become_agent(name, &mut agent)
    {
        repl.fail(error);
        return ExitCode::FAILURE;
    }
    let compactor = Compactor::new(100_000);
    repl.command("/compact", "summarise the conversation to make room");

    let turn = |messages: &mut Vec<Message>| -> Result<(), TurnError> {
        loop {
            compactor.make_room(&agent, messages)?;
            let reply = agent.ask(messages)?;
            if reply.tool_calls().is_empty() {
                return Ok(());
            }
            agent.run_tools(reply, messages);
            todo::remind(&todos, messages);
        }
    };

    let mut messages = Vec::new();
    while let Some(line) = repl.read() {
        match line.as_str() {
            "/clear" => messages.clear(),
            "/compact" => {
                if let Err(error) = compactor.compact(&agent, &mut messages) {
                    repl.fail(error);
                }
            }
            prompt => {
                push_user(&mut messages, prompt);
                if let Err(error) = turn(&mut messages) {
                    repl.fail(error);
                }
            }
        }
    }
    repl.leave()
}
