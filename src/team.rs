//! s20 · Parallel teams: a lead and its mates, each a process of its own with a conversation of its
//! own. They share the board, whose tasks each takes by itself, and the mailboxes.
//!
//! A mate is this program once more, a background task of the lead. It is unattended as in s10. When
//! the lead has gone, however it went, no mate is left.

mod mailbox;
mod mate;
mod member;

use std::mem::take;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::background::BackgroundExecutor;
use crate::background_agent::ALONE;
use crate::bell;
use crate::caught::lock;
use crate::delivery::Deliveries;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::pipeline::{claim, is_free};
use crate::process::fed::quote;
use crate::repl::Repl;
use crate::task_board::TaskBoard;
use crate::terminal::quit;
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::object;
use crate::worktree::{Tree, exclude};
use mailbox::{FOLDER, LEAD, Mailbox};
use mate::Mate;
use member::{Brief, Counted, Member};

/// How long a mate may take to end its turn when it is to leave.
const GRACE: Duration = Duration::from_secs(60);
const NO_TEAM: &str = "there is no team here. `team` starts one.";
const SYSTEM: &str = "\n\nYou are a mate in a team. The last text of each of your turns goes to the lead by itself. Mail and free board tasks \
    come by themselves: end your turn to wait for them. Nobody is there to be asked. Work is taken with task_claim, and done when task_update says completed.";

/// This process in its team, if it is in one. Clones are the same.
#[derive(Clone)]
pub struct Team {
    member: Arc<Mutex<Option<Member>>>,
    board: TaskBoard,
}

#[derive(Deserialize)]
struct Start {
    name: String,
    mates: Vec<Brief>,
}

#[derive(Deserialize)]
struct Send {
    to: String,
    text: String,
}

impl Team {
    /// The second line of `main`. Where this process was started as a mate, it becomes that, and
    /// what the lead gives it takes the place of the environment; or the program ends.
    pub fn enlist(options: &Options) -> Self {
        let mailbox = options.mate.clone().map(Mailbox);
        let member = mailbox.map(|it| Member::new_mate(it).map_err(|why| eprintln!("{why}")));
        let member = member.map(|it| it.unwrap_or_else(|()| quit(1)));
        Team {
            member: Arc::new(Mutex::new(member)),
            board: TaskBoard::open(".tasks"),
        }
    }

    /// Gives an agent the tools, and its mail to the deliveries.
    pub fn attach(
        &self,
        options: &Options,
        agent: &mut Agent,
        executor: &Arc<Mutex<BackgroundExecutor>>,
        deliveries: &Deliveries,
        repl: &mut Repl,
    ) {
        let _ = deliveries.beside.set(Box::new(self.clone()));
        let team = self.clone();
        let list = move |_: &str| team.status().unwrap_or_else(|why| why);
        repl.action("/team", "who is in the team, and does what", list);
        let me = self.with(|me| (me.mailbox.clone(), me.brief.worktree));
        let tools = self.tools(executor, options.yes).into_iter();
        agent
            .toolbox
            .add(tools.take(if me.is_some() { 3 } else { 5 }));
        let Some((mailbox, worktree)) = me else {
            return;
        };
        agent.system += &format!("{SYSTEM} Your name is {}.", mailbox.name());
        if worktree {
            match Tree::add(mailbox.name(), &agent.context) {
                Ok((tree, _)) => agent.context.folder = Arc::new(tree),
                Err(why) => {
                    self.with(|me| me.report(&format!("ERROR: {why}")));
                    quit(1)
                }
            }
        }
        listen(&mailbox, executor);
        let team = self.clone();
        agent.context.ask = Arc::new(move |question, _| {
            let denied = format!("It asked for consent, which was denied: {question}");
            team.with(|me| me.report(&denied));
            Err(ALONE.to_string())
        });
    }

    /// The agent whose conversation is that of the member.
    pub fn keep(&self, agent: Agent) -> Agent {
        let model = Arc::new(Counted(agent.model.clone(), self.clone()));
        Agent { model, ..agent }
    }

    /// What the member says, if this process is one.
    fn with<T>(&self, ask: impl FnOnce(&mut Member) -> T) -> Option<T> {
        lock(&self.member).as_mut().map(ask)
    }

    /// Those of each member, then those of the lead.
    fn tools(&self, executor: &Arc<Mutex<BackgroundExecutor>>, yes: bool) -> [Tool; 5] {
        let text = |what: &str| json!({ "type": "string", "description": what });
        let to = text("A member of your team, or several with commas");
        let send = object(
            json!({ "to": to, "text": { "type": "string" } }),
            &["to", "text"],
        );
        let mate = json!({
            "name": text("A short name that was not used before"),
            "agent": text("The name of an agent"),
            "prompt": text("What it is told at its start; without it: to take tasks from the board until none is free"),
            "worktree": { "type": "boolean", "description": "Work in a git worktree of its own, .worktrees/NAME" },
            "turns": { "type": "integer", "minimum": 1, "description": "How many it may take; without it: 50" }
        });
        let mates = json!({ "type": "array", "items": object(mate, &["name"]), "minItems": 1 });
        let name = text("The name of the team");
        let team = object(json!({ "name": name, "mates": mates }), &["name", "mates"]);
        let about = "Starts mates, each a process of its own with a fresh conversation, and returns at once. They share the board with you, \
            and mailboxes. The last text of each of their turns comes to you by itself, and so does their end. They cannot ask the user.";
        let (nothing, executor) = (object(json!({}), &[]), executor.clone());
        let [claims, sends, asks, starts, stops] = [(); 5].map(|()| self.clone());
        [
            Tool::new(
                "task_claim",
                "Takes the next free task of the board: it is yours until it is completed, or your process ends.",
                nothing.clone(),
                Access::Free,
                move |_: Map<String, Value>, context| claims.claim(&context.interrupt),
            ),
            Tool::new(
                "send",
                "Sends a message to a member of your team, which is told of it before its next request, or woken by it.",
                send,
                Access::Free,
                move |input, _| sends.send(input),
            ),
            Tool::new(
                "team_status",
                "Shows who is in your team, and what each does.",
                nothing.clone(),
                Access::Free,
                move |_: Map<String, Value>, _| asks.status(),
            ),
            Tool::new("team", about, team, Access::Ask, move |input, context| {
                starts.start(input, &executor, yes, context)
            }),
            Tool::new(
                "team_stop",
                "Asks all mates to leave when they have ended their turn; after a minute they are ended. Their ends come by themselves.",
                nothing,
                Access::Free,
                move |_: Map<String, Value>, _| stops.stop(),
            ),
        ]
    }

    fn start(
        &self,
        Start { name: team, mates }: Start,
        executor: &Arc<Mutex<BackgroundExecutor>>,
        yes: bool,
        context: &Context,
    ) -> ToolOutcome {
        for name in mates.iter().map(|mate| &mate.name).chain([&team]) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || name == LEAD || !name.chars().all(plain) {
                return Err(format!(
                    "{name:?} is no name for it: letters, digits, - and _."
                ));
            }
        }
        let lead = Mailbox(Path::new(FOLDER).join(&team).join(LEAD));
        match self.with(|lead| lead.mailbox.0.clone()) {
            Some(own) if own != lead.0 => return Err("you lead another team already.".to_string()),
            Some(_) => {}
            None => {
                let member = Member::new(lead.clone());
                let member = member.map_err(|why| format!("no team {team}: {why}."))?;
                exclude(&format!("{FOLDER}/"));
                listen(&lead, executor);
                *lock(&self.member) = Some(member);
            }
        }
        let mut begun = Vec::new();
        for brief in mates {
            let mut options = if yes { " --yes" } else { "" }.to_string();
            if let Some(agent) = &brief.agent {
                options += &format!(" --agent={}", quote(agent));
            }
            let mate = Mate::start(executor, &context.events, lead.of(&brief.name), &options)?;
            begun.push((brief, mate));
        }
        // All of them live before one is told to begin: so each can write to each.
        for (brief, mate) in &mut begun {
            mate.wait(&brief.name)?;
        }
        let mut lines = String::new();
        for (brief, mut mate) in begun {
            mate.begin(&brief)?;
            lines += &format!("{}: started in the background.\n", brief.name);
            self.with(|lead| lead.mates.push(mate));
        }
        Ok(lines + "What they say comes by itself.")
    }

    /// Ends the input of all mates, and after a while those that have not left by then.
    fn stop(&self) -> ToolOutcome {
        let mates = self.with(|lead| take(&mut lead.mates)).ok_or(NO_TEAM)?;
        let told = format!("told to leave: {} mates.", mates.len());
        let late: Vec<_> = mates.into_iter().map(|mate| mate.control).collect();
        let _ = thread::Builder::new().spawn(move || {
            thread::sleep(GRACE);
            late.iter().for_each(|control| control.stop());
        });
        Ok(told)
    }

    /// The lease is held until the task is no longer in progress.
    fn claim(&self, stop: &Interrupt) -> ToolOutcome {
        self.with(|_| ()).ok_or(NO_TEAM)?;
        for task in self.board.load()?.into_values().flatten().filter(is_free) {
            if let Some((lease, task)) = claim(&self.board, task.id, stop)? {
                self.with(|me| me.leases.insert(task.id, lease));
                let said = format!("{task}\n{}", task.description);
                return Ok(said.trim_end().to_string());
            }
        }
        Ok("No task is free. End your turn: you are woken when one is.".to_string())
    }

    /// To several, of which each gets it or is named.
    fn send(&self, Send { to, text }: Send) -> ToolOutcome {
        let own = self.with(|me| me.mailbox.clone()).ok_or(NO_TEAM)?;
        let sent = to
            .split(',')
            .map(|to| own.of(to.trim()).deliver(own.name(), &text));
        let problems: Vec<String> = sent.filter_map(Result::err).collect();
        match problems.is_empty() {
            true => Ok(format!("sent to {to}; an answer comes by itself.")),
            false => Err(format!("{}.", problems.join("; "))),
        }
    }

    fn status(&self) -> ToolOutcome {
        let own = self.with(|me| me.mailbox.clone()).ok_or(NO_TEAM)?;
        let lines: Vec<String> = own.all().iter().map(Mailbox::line).collect();
        Ok(lines.join("\n"))
    }
}

/// From now on its bell wakes whoever waits for what has ended.
fn listen(mailbox: &Mailbox, executor: &Mutex<BackgroundExecutor>) {
    let bus = lock(executor).bus().notifier();
    let woken = move || bus.hook.get().into_iter().for_each(|hook| hook());
    if let Err(why) = bell::listen(&mailbox.bell(), woken) {
        eprintln!("Nothing wakes {}: {why}.", mailbox.name());
    }
}
