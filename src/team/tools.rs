//! s20 · The tools of a team: those of each member, and those of the lead.

use std::mem::take;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{NO_TEAM, Team, mate};
use crate::agent::Agent;
use crate::background::BackgroundExecutor;
use crate::caught::lock;
use crate::todo::Stage;
use crate::tool::{Access, Context, Tool};
use crate::tools::object;

#[derive(Deserialize)]
pub struct Start {
    pub name: String,
    pub mates: Vec<MateInput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MateInput {
    pub name: String,
    pub agent: Option<String>,
    pub prompt: Option<String>,
    #[serde(default)]
    pub worktree: bool,
    pub turns: Option<u64>,
}

#[derive(Deserialize)]
struct Send {
    to: String,
    text: String,
}

impl Team {
    /// A tool of the board, after which everybody looks at it; none for an agent that goes without.
    pub(super) fn ringing(&self, agent: &Agent, name: &'static str) -> Option<Tool> {
        let (team, toolbox) = (self.clone(), agent.toolbox.clone());
        let old = toolbox.get(name).ok()?;
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
        Some(Tool::new(name, about, schema, access, call))
    }

    pub(super) fn tools(&self) -> [Tool; 3] {
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

    pub(super) fn lead_tools(
        &self,
        executor: &Arc<Mutex<BackgroundExecutor>>,
        yes: bool,
    ) -> [Tool; 2] {
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
}
