//! s20 · Parallel teams: a lead and its mates, each a process of its own with a conversation of its
//! own. They share the board, whose tasks each takes by itself, and the mailboxes.
//!
//! A mate is this program once more, a background task of the lead. It is unattended as in s10. When
//! the lead has gone, however it went, no mate is left.

mod mate;
mod news;
mod post;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::agent::Agent;
use crate::background::BackgroundExecutor;
use crate::background_agent::ALONE;
use crate::bell;
use crate::caught::lock;
use crate::delivery::Deliveries;
use crate::held::Held;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::pipeline::{claim, is_free};
use crate::process::fed::quote;
use crate::process::output::text_or;
use crate::repl::Repl;
use crate::task_board::TaskBoard;
use crate::terminal::quit;
use crate::tool::{Context, ToolOutcome};
use crate::worktree::{Tree, exclude};
use mate::{Brief, Member, START, Started};
use post::{LEAD, Post, State};
use tools::Start;

const FOLDER: &str = ".team";
/// What a mate may cost, unless the lead says less.
const TURNS: u64 = 50;
const TOKENS: u64 = 500_000;
const NO_TEAM: &str = "there is no team here. `team` starts one.";
/// What a mate is told that is told nothing else.
const PROMPT: &str = "Take tasks from the board, one after the other, until none is free: task_claim gives you the next one, task_update completes it.";
const SYSTEM: &str = "\n\nYou are a mate in a team. The last text of each of your turns goes to the lead by itself. Mail and free board tasks \
    come by themselves: end your turn to wait for them. Nobody is there to be asked. Work is taken with task_claim, and done when task_update says completed.";

/// This process in its team, if it is in one. Clones are the same.
#[derive(Clone)]
pub struct Team(Arc<Mutex<Option<Own>>>, TaskBoard);

struct Own {
    post: Post,
    name: String,
    _held: Held,
    brief: Brief,
    state: State,
    /// Messages that are in the conversation and have not been moved.
    taken: BTreeSet<String>,
    /// Free tasks of which a mate is to be told: it may be woken for them, so they stay even if
    /// somebody takes them meanwhile.
    free: BTreeMap<String, u64>,
    /// Those of which it has been told, with how often they were begun.
    told: BTreeSet<String>,
    leases: BTreeMap<u64, File>,
    /// Of the lead.
    mates: BTreeMap<String, Started>,
}

impl Own {
    fn new(post: Post, name: &str) -> std::io::Result<Self> {
        post.add(name)?;
        let mut own = Own {
            _held: post.hold(name)?,
            name: name.to_string(),
            brief: Brief::default(),
            state: post.state(name),
            post,
            taken: BTreeSet::new(),
            free: BTreeMap::new(),
            told: BTreeSet::new(),
            leases: BTreeMap::new(),
            mates: BTreeMap::new(),
        };
        (own.state.process, own.state.doing) = (std::process::id(), "waits".to_string());
        (own.state.turns, own.state.tokens) = (0, 0);
        own.post.set_state(name, &own.state);
        Ok(own)
    }
}

impl Team {
    /// The second line of `main`. Where this process was started as a mate, it becomes that, and
    /// what the lead gives it takes the place of the environment; or the program ends.
    pub fn enlist(options: &Options) -> Self {
        let enlist = |place: &PathBuf| {
            let name = place.file_name()?.to_str()?;
            let own = Own::new(Post(place.parent()?.to_path_buf()), name);
            let mut own = own.inspect_err(|why| eprintln!("{why}")).ok()?;
            own.brief = Brief::read()?;
            Some(own)
        };
        let own = options.mate.as_ref().map(enlist);
        let own = own.map(|own| own.unwrap_or_else(|| quit(1)));
        Team(Arc::new(Mutex::new(own)), TaskBoard::open(".tasks"))
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
        for name in ["task_create", "task_update"] {
            agent.toolbox.replace(self.ringing(agent, name));
        }
        agent.toolbox.add(self.tools());
        let _ = deliveries.beside.set(Box::new(self.clone()));
        let team = self.clone();
        let list = move |_: &str| team.status().unwrap_or_else(|why| why);
        repl.action("/team", "who is in the team, and does what", list);
        let mut own = lock(&self.0);
        let Some(own) = &mut *own else {
            agent.toolbox.add(self.lead_tools(executor, options.yes));
            return;
        };
        agent.system += &format!("{SYSTEM} Your name is {}.", own.name);
        let (post, name) = (own.post.clone(), own.name.clone());
        agent.context.ask = Arc::new(move |question, _| {
            let denied = format!("It asked for consent, which was denied: {question}");
            let _ = mate::send(&post, &name, LEAD, &denied); // the lead may have ended
            Err(ALONE.to_string())
        });
        let tree = (own.brief.worktree).then(|| Tree::add(&own.name, &agent.context));
        match tree {
            Some(Ok((tree, _))) => agent.context.folder = Arc::new(tree),
            Some(Err(why)) => {
                let _ = mate::send(&own.post, &own.name, LEAD, &format!("ERROR: {why}"));
                quit(1)
            }
            None => {}
        }
        self.listen(own, executor);
    }

    /// The agent whose conversation is that of the member.
    pub fn keep(&self, agent: Agent) -> Agent {
        let (model, team) = (agent.model.clone(), self.clone());
        let model = Arc::new(Member { model, team });
        Agent { model, ..agent }
    }

    fn listen(&self, own: &Own, executor: &Mutex<BackgroundExecutor>) {
        let bus = lock(executor).bus().notifier();
        let woken = move || bus.hook.get().into_iter().for_each(|hook| hook());
        if let Err(why) = bell::listen(&own.post.bell(&own.name), woken) {
            eprintln!("no bell: {why}");
        }
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
        let line = |name: &str| {
            format!(
                "{name}: started in the background.
"
            )
        };
        let lines: String = started.into_iter().map(line).collect();
        Ok(lines + "What they say comes by itself.")
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

    fn status(&self) -> ToolOutcome {
        let own = lock(&self.0);
        let post = &own.as_ref().ok_or(NO_TEAM)?.post;
        let lines = post.members().into_iter().map(|it| post.line(&it));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}
