//! s20 · The tools of a team: those of each member, and those of the lead.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem::take;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::mate::{self, Brief, START};
use super::post::{LEAD, Post};
use super::{FOLDER, Own, Team};
use crate::agent::Agent;
use crate::background::BackgroundExecutor;
use crate::caught::lock;
use crate::interrupt::Interrupt;
use crate::pipeline::{claim, is_free};
use crate::process::fed::quote;
use crate::process::output::text_or;
use crate::todo::Stage;
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::object;
use crate::worktree::exclude;

/// What a mate may cost, unless the lead says less.
const TURNS: u64 = 50;
const TOKENS: u64 = 500_000;
const NO_TEAM: &str = "there is no team here. `team` starts one.";
/// What a mate is told that is told nothing else.
const PROMPT: &str = "Take tasks from the board, one after the other, until none is free: task_claim gives you the next one, task_update completes it.";

#[derive(Deserialize)]
struct Start {
    name: String,
    mates: Vec<MateInput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MateInput {
    name: String,
    agent: Option<String>,
    prompt: Option<String>,
    #[serde(default)]
    worktree: bool,
    turns: Option<u64>,
}

#[derive(Deserialize)]
struct Send {
    to: String,
    text: String,
}

impl Team {
    /// A tool of the board, after which everybody looks at it.
    pub fn ringing(&self, agent: &Agent, name: &'static str) -> Tool {
        let (team, toolbox) = (self.clone(), agent.toolbox.clone());
        let old = toolbox.get(name).unwrap_or_else(|why| panic!("{why}"));
        let (about, schema, access) = (
            old.description.clone(),
            old.input_schema.clone(),
            old.access,
        );
        let call = move |input: Map<String, Value>, context: &Context| {
            let completes = input.get("status").is_some_and(|it| it == "completed");
            let answer = toolbox.get(name)?.call(input.into(), context)?;
            team.note(|state| state.done += u64::from(completes));
            if let Some(own) = &mut *lock(&team.0) {
                own.leases.retain(|id, _| {
                    let task = team.1.read(*id);
                    task.is_ok_and(|task| task.status == Stage::InProgress)
                });
                own.post.ring_all();
            }
            Ok(answer)
        };
        Tool::new(name, about, schema, access, call)
    }

    /// What each member has.
    pub fn tools(&self) -> [Tool; 3] {
        let text = json!({ "type": "string" });
        let to = json!({ "type": "string", "description": "A member of your team, or several with commas" });
        let to = object(json!({ "to": to, "text": text }), &["to", "text"]);
        let [claims, sends, asks] = [(); 3].map(|()| self.clone());
        let nothing = || object(json!({}), &[]);
        [
            Tool::new(
                "task_claim",
                "Takes the next free task of the board: it is yours until it is completed, or your process ends.",
                nothing(),
                Access::Free,
                move |_: Map<String, Value>, context| claims.claim(&context.interrupt),
            ),
            Tool::new(
                "send",
                "Sends a message to a member of your team, which is told of it before its next request, or woken by it.",
                to,
                Access::Free,
                move |Send { to, text }, _| match &*lock(&sends.0) {
                    Some(own) => mate::send(&own.post, &own.name, &to, &text),
                    None => Err(NO_TEAM.to_string()),
                },
            ),
            Tool::new(
                "team_status",
                "Shows who is in your team, and what each does.",
                nothing(),
                Access::Free,
                move |_: Map<String, Value>, _| asks.status(),
            ),
        ]
    }

    /// What only the lead has.
    pub fn lead_tools(&self, executor: &Arc<Mutex<BackgroundExecutor>>, yes: bool) -> [Tool; 2] {
        let text = |what: &str| json!({ "type": "string", "description": what });
        let mate = object(
            json!({
                "name": text("A short name that was not used before"),
                "agent": text("The name of an agent"),
                "prompt": text("What it is told at its start; without it: to take tasks from the board until none is free"),
                "worktree": { "type": "boolean", "description": "Work in a git worktree of its own, .worktrees/NAME" },
                "turns": { "type": "integer", "minimum": 1, "description": "How many it may take; without it: 50" }
            }),
            &["name"],
        );
        let mates = json!({ "type": "array", "items": mate, "minItems": 1 });
        let schema = object(
            json!({ "name": text("The name of the team"), "mates": mates }),
            &["name", "mates"],
        );
        let about = "Starts mates, each a process of its own with a fresh conversation, and returns at once. They share the board with you, \
            and mailboxes. The last text of each of their turns comes to you by itself, and so does their end. They cannot ask the user.";
        let (team, stops, executor) = (self.clone(), self.clone(), executor.clone());
        [
            Tool::new(
                "team",
                about,
                schema,
                Access::Ask,
                move |it: Start, context| team.start(it, &executor, yes, context),
            ),
            Tool::new(
                "team_stop",
                "Asks all mates to leave when they have ended their turn; after a minute they are ended. Their ends come by themselves.",
                object(json!({}), &[]),
                Access::Free,
                move |_: Map<String, Value>, _| match &mut *lock(&stops.0) {
                    Some(own) => Ok(format!(
                        "told to leave: {} mates.",
                        take(&mut own.mates).len()
                    )),
                    None => Err(NO_TEAM.to_string()),
                },
            ),
        ]
    }

    fn start(
        &self,
        input: Start,
        executor: &Arc<Mutex<BackgroundExecutor>>,
        yes: bool,
        context: &Context,
    ) -> ToolOutcome {
        let names = input.mates.iter().map(|mate| &mate.name);
        for name in names.chain([&input.name]) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || name == LEAD || !name.chars().all(plain) {
                return Err(format!(
                    "{name:?} is no name for it: letters, digits, - and _."
                ));
            }
        }
        let mut own = lock(&self.0);
        let post = Post(Path::new(FOLDER).join(&input.name));
        match &*own {
            Some(own) if own.post.0 != post.0 => {
                return Err(format!(
                    "you lead a team already: {}.",
                    own.post.0.display()
                ));
            }
            Some(_) => {}
            None => {
                let lead = Own::new(post.clone(), LEAD);
                let lead = lead.map_err(|why| format!("no team {}: {why}.", input.name))?;
                exclude(&format!("{FOLDER}/"));
                self.listen(&lead, executor);
                *own = Some(lead);
            }
        }
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(text);
        let is_ours = |name: &str| name.starts_with("ANTHROPIC_") || name == "MODEL_ID";
        let variables: BTreeMap<_, _> = variables.filter(|(name, _)| is_ours(name)).collect();
        let (mut begun, mut problems) = (Vec::new(), Vec::new());
        for mate in &input.mates {
            let mut options = if yes { " --yes" } else { "" }.to_string();
            if let Some(agent) = &mate.agent {
                options += &format!(" --agent={}", quote(agent));
            }
            let place = (post.clone(), &*mate.name);
            let made = post.add(&mate.name).map_err(|why| why.to_string());
            let executor = &mut lock(executor);
            let line =
                made.and_then(|()| mate::start(executor, context.events.clone(), place, &options));
            match line {
                Ok(line) => begun.push((mate, line)),
                Err(why) => problems.push(why),
            }
        }
        // All of them live before one is told to begin: so each can write to each.
        begun.retain_mut(|(mate, line)| {
            let ready = line.feed.is_ready(START);
            let why = (!ready).then(|| format!("{} did not come up.", mate.name));
            problems.extend(why);
            ready
        });
        let mut started = Vec::new();
        for (mate, mut line) in begun {
            let brief = Brief {
                variables: variables.clone(),
                worktree: mate.worktree,
                turns: mate.turns.unwrap_or(TURNS),
                tokens: TOKENS,
            };
            let brief = serde_json::to_string(&brief).unwrap_or_default();
            let prompt = mate.prompt.as_deref().unwrap_or(PROMPT);
            // It begins with the name: so it is no command of the prompt, whatever it says.
            let prompt = format!("{}: {}", mate.name, prompt.replace(['\n', '\r'], " "));
            let said = line.feed.say(&brief).and_then(|()| line.feed.say(&prompt));
            problems.extend(said.err().map(|why| format!("{}: {why}.", mate.name)));
            started.push(mate.name.as_str());
            let own = own.as_mut().map(|own| &mut own.mates);
            own.and_then(|mates| mates.insert(mate.name.clone(), line));
        }
        if !problems.is_empty() {
            let started = text_or(&started.join(", "), "none");
            return Err(format!("{} Started: {started}.", problems.join(" ")));
        }
        let started = started.join(", ");
        Ok(format!(
            "{started}: started in the background. What they say comes by itself."
        ))
    }

    /// The lease is held until the task is no longer in progress.
    fn claim(&self, stop: &Interrupt) -> ToolOutcome {
        let mut own = lock(&self.0);
        let own = own.as_mut().ok_or(NO_TEAM)?;
        let free = self.1.load()?.into_values().flatten();
        for task in free.filter(is_free) {
            if let Some((lease, task)) = claim(&self.1, task.id, stop)? {
                own.leases.insert(task.id, lease);
                return Ok(format!("{task}\n{}", task.description)
                    .trim_end()
                    .to_string());
            }
        }
        Ok("No task is free. End your turn: you are woken when one is.".to_string())
    }

    /// A line for each member.
    pub fn status(&self) -> ToolOutcome {
        let own = lock(&self.0);
        let post = &own.as_ref().ok_or(NO_TEAM)?.post;
        let lines = post.members().into_iter().map(|it| post.line(&it));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}
