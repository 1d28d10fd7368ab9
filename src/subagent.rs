//! s04 · Sub-agents: a piece of work with its own conversation, of which only the last text comes
//! back. An agent is a Markdown file: name, description and tools in front, its system prompt below.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::agent::Agent;
use crate::event::{Events, Stamped};
use crate::front_matter::{self, Document};
use crate::message::{Message, StopReason};
use crate::repl::Repl;
use crate::todo::Priority;
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::object;

/// Requests after which a sub-agent is stopped.
const MAX_ROUNDS: usize = 30;

const BUILT_IN: [&str; 2] = [
    include_str!("subagent/explore.md"),
    include_str!("subagent/plan.md"),
];

/// Claude Code's names for ours, so that files written for it work here.
const ALIASES: [(&str, &str); 4] = [
    ("Read", "read_file"),
    ("Write", "write_file"),
    ("Edit", "edit_file"),
    ("Bash", "bash"),
];
/// The plan belongs to the agent that delegates.
const WITHHELD: [&str; 1] = ["todo"];

const CUT: &str = "\n[cut off at the token limit]";
const GENERAL: &str = "You are a sub-agent: you do one piece of work for another agent.";
const ALONE: &str = "\n\nYou work alone: nobody watches and nobody answers questions. Decide for yourself, \
    finish the work, then reply without a tool call. That last text is all that is returned. It must hold \
    the result, what you changed, and what you could not do.";

/// The agents that have a name.
#[derive(Clone, Default)]
pub struct Definitions {
    list: Vec<Document>,
    /// A sentence for each file that cannot be used.
    pub problems: Vec<String>,
}

/// The tools that an agent names, by our names; `None`: every tool there is.
fn tools(agent: &Document) -> Option<Vec<&str>> {
    let ours = |name| {
        let alias = ALIASES.iter().find(|it| it.0 == name);
        alias.map_or(name, |it| it.1)
    };
    let between = |c: char| c.is_whitespace() || ",[]".contains(c);
    let names = agent.tools.as_ref()?.split(between);
    Some(names.filter(|name| !name.is_empty()).map(ours).collect())
}

impl Definitions {
    /// The built-in agents and those in `dir/*.md`, as [`front_matter::load`] reads them.
    pub fn load(dir: impl AsRef<Path>) -> Self {
        let file = |path: PathBuf| (path.extension()? == "md").then_some(path);
        let (list, problems) = front_matter::load(&BUILT_IN, dir.as_ref(), file);
        Definitions { list, problems }
    }

    /// Says what cannot be used, and adds `/agents`.
    pub fn attach(&self, repl: &mut Repl) {
        self.problems.iter().for_each(|problem| repl.say(problem));
        let listing = self.listing();
        let list = move |_: &str| listing.clone();
        repl.action("/agents", "the agents and their tools", list);
    }

    /// A line for each, with its tools.
    fn listing(&self) -> String {
        let line = |agent: &Document| {
            let tools = tools(agent).map_or("all tools".to_string(), |it| it.join(", "));
            format!("{} ({tools}): {}", agent.name, agent.description)
        };
        self.list.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Turns an agent into the named one, if a name is given: its system prompt, and of the tools
    /// that are there by now only its own. Tools that are not there are told.
    ///
    /// # Errors
    /// When there is no such agent, or none of its tools: in a sentence.
    pub fn become_agent(&self, name: Option<&str>, agent: &mut Agent) -> Result<(), String> {
        let Some(name) = name else { return Ok(()) };
        if name.is_empty() {
            let agents = self.listing();
            return Err(format!("The agents, for --agent NAME:\n{agents}"));
        }
        let definition = front_matter::find(&self.list, "agent", name)?;
        agent.system.clone_from(&definition.body);
        if let Some(named) = tools(definition) {
            let mut unknown = named.clone();
            unknown.retain(|name| agent.toolbox.get(name).is_err());
            let is_named = |tool: &Arc<Tool>| named.contains(&tool.name.as_ref());
            agent.toolbox.tools.retain(is_named);
            let unknown = unknown.join(", ");
            if !named.is_empty() && agent.toolbox.tools.is_empty() {
                return Err(format!(
                    "the agent {name} has no tool that is here, only {unknown}."
                ));
            } else if !unknown.is_empty() {
                let events = &agent.context.events;
                events.notice(format!("The agent {name} goes without: {unknown}."));
            }
        }
        Ok(())
    }
}

/// What `task` is given.
#[derive(Default, Deserialize)]
#[allow(missing_docs)]
pub struct Input {
    /// For the person who watches; the sub-agent is given the prompt alone.
    pub description: String,
    pub prompt: String,
    /// Counts where several work at the same time.
    #[serde(default)]
    pub priority: Priority,
    pub agent: Option<String>,
}

/// What sub-agents are made of: the model, the gate and the tools of an agent.
pub struct Delegation {
    general: Agent,
    definitions: Definitions,
}

impl Delegation {
    /// Sub-agents of this agent, as it is now, without the tools that are `withheld`.
    pub fn new(agent: &Agent, definitions: &Definitions, withheld: &[&str]) -> Self {
        let mut general = agent.clone();
        general.system = GENERAL.to_string();
        let tools = &mut general.toolbox.tools;
        tools.retain(|tool| !withheld.contains(&tool.name.as_ref()));
        Delegation {
            general,
            definitions: definitions.clone(),
        }
    }

    /// A sub-agent of that name; without a name, a general one. It works in the context of the call.
    ///
    /// # Errors
    /// When there is no such agent: a sentence with the known names.
    pub fn worker(&self, name: Option<&str>, context: &Context) -> Result<Agent, String> {
        let mut worker = self.general.clone();
        worker.context = context.clone();
        self.definitions.become_agent(name, &mut worker)?;
        worker.system += ALONE;
        Ok(worker)
    }

    /// The agents there are, for the description of a tool.
    pub fn listing(&self) -> String {
        let agents = self.definitions.listing();
        format!("Without `agent` it is a general one. The agents:\n{agents}")
    }
}

/// The tool `task`: runs a sub-agent to its end.
pub fn tool(agent: &Agent, definitions: &Definitions) -> Tool {
    let delegation = Delegation::new(agent, definitions, &WITHHELD);
    let description = format!(
        "Delegates work to a sub-agent with a fresh context and waits for it. It sees only the prompt, so put \
         everything it must know there; you see only its last text. {}",
        delegation.listing()
    );
    let input = json!({
        "description": { "type": "string", "description": "The work in three to five words" },
        "prompt": { "type": "string", "description": "What to do, and what to report" },
        "agent": { "type": "string", "description": "The name of an agent" },
    });
    let schema = object(input, &["description", "prompt"]);
    let delegate = move |input: Input, context: &Context| {
        let mut worker = delegation.worker(input.agent.as_deref(), context)?;
        let name = input.agent.as_deref().unwrap_or("sub-agent");
        worker.context.events = of_agent(&context.events, name);
        run(&worker, input.prompt, || false)
    };
    // Free: whatever the sub-agent calls passes the gate itself.
    Tool::new("task", description, schema, Access::Free, delegate)
}

/// A stream whose events join the other one, marked as that agent's.
pub fn of_agent(events: &Events, name: &str) -> Events {
    let (all, name) = (events.clone(), name.to_string());
    Events::default().with(Box::new(move |stamped| {
        let agent = Some(name.as_str());
        all.tell(Stamped { agent, ..stamped });
    }))
}

/// A whole turn that nobody watches: from the prompt to the last text. It ends early, with what was
/// said so far, after 30 rounds, or once `used_up` says so.
pub fn run(worker: &Agent, prompt: String, used_up: impl Fn() -> bool) -> ToolOutcome {
    if prompt.trim().is_empty() {
        return Err("the prompt is empty: say what the sub-agent should do.".into());
    }
    let mut messages = vec![Message::user(prompt)];
    let mut said = "It said nothing.".to_string();
    let unfinished = |why: &str, said: &str| format!("the sub-agent did not finish. {why} {said}");
    for _ in 0..MAX_ROUNDS {
        let reply = worker.ask(&mut messages);
        let reply = reply.map_err(|why| unfinished(&why.to_string(), &said))?;
        let text = reply.text();
        match (reply.tool_calls().is_empty(), text.is_empty()) {
            (true, true) => return Err(unfinished("Its last reply held no text.", &said)),
            (true, false) if reply.stop_reason == StopReason::MaxTokens => return Ok(text + CUT),
            (true, false) => return Ok(text),
            (false, true) => {}
            (false, false) => said = format!("It said last: {text}"),
        }
        if used_up() {
            let why = "It had used up its tokens; delegate smaller pieces.";
            return Err(unfinished(why, &said));
        }
        worker.run_tools(reply, &mut messages);
    }
    let why = format!("It was stopped after {MAX_ROUNDS} rounds; delegate smaller pieces.");
    Err(unfinished(&why, &said))
}
