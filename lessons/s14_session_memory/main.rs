//! s14 · Session memory: compaction that is already done.

use std::process::ExitCode;

use meanwhile::agent::Agent;
use meanwhile::background::BackgroundExecutor;
use meanwhile::background_agent;
use meanwhile::compact::Compactor;
use meanwhile::delivery::{Deliveries, Input};
use meanwhile::foreground::Foreground;
use meanwhile::memory::Memory;
use meanwhile::message::{Message, push_user};
use meanwhile::model::ModelError;
use meanwhile::notification::NotificationBus;
use meanwhile::permission;
use meanwhile::session::Session;
use meanwhile::skill::{self, Skills};
use meanwhile::subagent::{self, Definitions};
use meanwhile::task_board::{self, TaskBoard};
use meanwhile::todo::{self, TodoList};
use meanwhile::tools::{bash, files};
use meanwhile::worktree;

const SYSTEM: &str = "You are a coding agent at work in the current directory. \
    Use your tools to do what the user asks, then say in a sentence what you did.";

fn main() -> ExitCode {
    let options = meanwhile::start(include_str!("README.md"));
    let mut repl = meanwhile::prompt(&options);
    let model = meanwhile::connect(&options);
    repl.greet(&*model);
    let session = Session::attach(&options, &mut repl);
    let mut agent = Agent::new(model, SYSTEM, repl.context());
    agent.toolbox.add([bash::tool()]);
    agent.toolbox.add(files::tools("."));
    agent.gate = permission::gate(options.yes || agent.model.is_practice());
    let todos = TodoList::shared();
    agent.toolbox.add([todo::tool(&todos)]);
    let skills = Skills::load("skills");
    skills.problems.iter().for_each(|problem| repl.say(problem));
    agent.toolbox.add([skill::tool(skills)]);
    agent
        .toolbox
        .add(task_board::tools(TaskBoard::open(".tasks")));
    let agents = Definitions::load(".claude/agents");
    agents.attach(&mut repl);
    agent.toolbox.add([subagent::tool(&agent, &agents)]);
    let executor = BackgroundExecutor::shared(NotificationBus::default(), 4);
    let deliveries = Deliveries::attach(&executor, &mut repl);
    agent.toolbox.add(deliveries.tools());
    let foreground = Foreground::attach(&executor, &mut repl);
    let task = background_agent::tool(&agent, &agents, &executor);
    agent.toolbox.replace([task]);
    let todo_read = background_agent::todo_read(&deliveries, &todos);
    agent.toolbox.add([todo_read]);
    agent.system += background_agent::SYSTEM;
    agent.toolbox.replace(foreground.tools(&agent, &agents));
    agent.toolbox.replace([worktree::task(&agent.toolbox)]);
    agent.toolbox.add(worktree::tools());
    worktree::attach(&mut repl);
    if let Err(error) = agents.become_agent(options.agent.as_deref(), &mut agent) {
        repl.say(error);
        return ExitCode::FAILURE;
    }
    let compactor = Compactor::new(100_000, ".transcripts");
    repl.command("/compact", "summarise the conversation to make room");
    let memory = Memory::new(compactor, &session, [10_000, 5_000]);
    memory.attach(&mut repl);
    let kept = session.keep(&agent, &executor);

    let turn = |messages: &mut Vec<Message>| -> Result<(), ModelError> {
        loop {
            memory.make_room(&agent, messages)?;
            deliveries.deliver(&agent.context.events, messages);
            let reply = kept.ask(messages)?;
            if reply.tool_calls().is_empty() {
                memory.update(&agent, messages);
                return Ok(());
            }
            agent.run_tools(reply, messages);
            todo::remind(&todos, messages);
        }
    };

    let mut messages = session.begin(&options, &repl);
    while let Some(input) = repl.wait() {
        let Input::Line(line) = input else {
            repl.report(turn(&mut messages));
            continue;
        };
        match line.as_str() {
            line if session.command(&repl, line, &mut messages) => {}
            line if meanwhile::show(&repl, line, &messages) => {}
            "/compact" => repl.report(memory.compact(&agent, &mut messages)),
            command if command.starts_with('!') => {
                repl.say(foreground.run_line(command, &mut messages))
            }
            prompt => {
                push_user(&mut messages, prompt);
                repl.report(turn(&mut messages));
            }
        }
    }
    session.close(&repl, &messages);
    repl.leave()
}
