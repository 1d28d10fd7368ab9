//! s20 · Parallel teams: a lead and its mates, each a process of its own with a conversation of its
//! own. They share the board, whose tasks each takes by itself, and the mailboxes.
//!
//! A mate is this program once more, a background task of the lead. It is unattended as in s10. When
//! the lead has gone, however it went, no mate is left.

mod member;
mod post;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::agent::Agent;
use crate::background::{Executor, Kind, Task, Watch};
use crate::background_agent::ALONE;
use crate::caught::{lock, spawn};
use crate::delivery::Deliveries;
use crate::event::Events;
use crate::notification::TaskId;
use crate::options::Options;
use crate::pipeline::{claim, is_free};
use crate::process::given::{self, Given};
use crate::process::output::{last_line, text_or};
use crate::process::until_ended;
use crate::repl::Repl;
use crate::task_board::TaskBoard;
use crate::tool::{Access, Context, Folder, Tool, ToolOutcome};
use crate::tools::files::failed;
use crate::tools::object;
use crate::worktree::{Tree, exclude};
pub use member::enlist;
use member::{SYSTEM, State, end};
use post::{Me, Member};

const FOLDER: &str = ".team";
/// The first member of each team.
const LEAD: &str = "lead";
/// How long a mate may take to end its turn when it is to leave.
const GRACE: Duration = Duration::from_secs(60);
const CLAIM: &str = "Takes the next free task of the board: it is yours until it is completed, or your process ends.";
const SEND: &str = "Sends a message to a member of your team, or to several with commas. They are told of it before their next request, or woken by it.";
const STATUS: &str = "Shows who is in your team, and what each does.";
const TEAM: &str = "Starts mates, each a process of its own with a fresh conversation, and returns at once. They share the board with you, \
    and mailboxes. The last text of each of their turns comes to you by itself, and so does their end. They cannot ask the user. \
    A mate needs a name that was not used before. It can be an agent of yours, and work in a git worktree, .worktrees/NAME. \
    Without a prompt it takes tasks from the board until none is free; without a limit it may take 50 turns.";
const STOP: &str = "Asks all mates to leave when they have ended their turn; after a minute they are ended. Their ends come by themselves.";
/// What a mate is told that is told nothing else.
const PROMPT: &str = "Take tasks from the board, one after the other, until none is free: task_claim gives you the next one, task_update completes it.";

/// This process in its team, once it is in one.
pub struct Team {
    me: OnceLock<Me>,
    /// Of a mate: as the lead wants it.
    wanted: Option<Wanted>,
    state: Mutex<State>,
    board: TaskBoard,
    executor: Executor,
    /// Where its agent works.
    folder: Arc<dyn Folder>,
    /// What the person allows the lead, they allow its mates.
    yes: bool,
}

/// What one of the tools is given.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    name: String,
    mates: Vec<Wanted>,
    to: String,
    text: String,
}

/// A mate as the lead wants it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    name: String,
    agent: Option<String>,
    prompt: Option<String>,
    worktree: bool,
    turns: Option<u64>,
}

type Act = fn(&Team, Input, &Context) -> ToolOutcome;

/// Gives an agent the tools, and its mail to the deliveries. Of a mate it is the only agent.
pub fn attach(
    own: Option<(Me, Wanted)>,
    options: &Options,
    agent: &mut Agent,
    deliveries: &Deliveries,
    repl: &mut Repl,
) -> Arc<Team> {
    if let Some((me, wanted)) = &own {
        agent.system += &format!("{SYSTEM} Your name is {}.", me.member.name());
        if wanted.worktree {
            let tree = Tree::go_on(me.member.name(), &agent.context);
            agent.context.folder = Arc::new(tree.unwrap_or_else(end));
        }
    }
    let (me, wanted) = own.unzip();
    let team = Arc::new(Team {
        me: OnceLock::new(),
        wanted,
        state: Mutex::default(),
        board: TaskBoard::open(".tasks"),
        executor: deliveries.executor.clone(),
        folder: agent.context.folder.clone(),
        yes: options.yes,
    });
    let [counts, shown, asks, leaves] = [(); 4].map(|()| team.clone());
    let events = agent.context.events.clone();
    agent.context.events = events.with(Box::new(move |it| counts.count(it)));
    lock(&deliveries.sources).push(Box::new(team.clone()));
    let list = move |_: &str| shown.me().map_or_else(|why| why, |me| me.lines());
    repl.action("/team", "who is in the team, and does what", list);
    let count = if me.is_some() { 3 } else { 5 };
    agent.toolbox.add(team.tools().into_iter().take(count));
    if let Some(me) = me {
        team.join(me).unwrap_or_else(end);
        agent.context.ask = Arc::new(move |question, _| {
            let denied = "It asked for consent, which was denied";
            asks.tell(&format!("{denied}: {question}"));
            Err(ALONE.to_string())
        });
        repl.at_end(move |_| leaves.tell(&leaves.folder.leave()));
    }
    team
}

impl Team {
    fn tools(self: &Arc<Self>) -> [Tool; 5] {
        use Access::{Ask, Free};
        let tool = |name, about, input, required: &[&str], access, act: Act| {
            let (team, schema) = (self.clone(), object(input, required));
            let act = move |input: Input, context: &Context| act(&team, input, context);
            Tool::new(name, about, schema, access, act)
        };
        let [text, flag, number] = ["string", "boolean", "integer"].map(|it| json!({ "type": it }));
        let message = json!({ "to": text, "text": text });
        let mate = json!({ "name": text, "agent": text, "prompt": text, "worktree": flag, "turns": number });
        let mates = json!({ "type": "array", "items": object(mate, &["name"]), "minItems": 1 });
        let team = json!({ "name": text, "mates": mates });
        let send: Act = |team, it, _| team.me()?.send(&it.to, &it.text);
        let status: Act = |team, _, _| Ok(team.me()?.lines());
        [
            tool("task_claim", CLAIM, json!({}), &[], Free, Self::claim),
            tool("send", SEND, message, &["to", "text"], Free, send),
            tool("team_status", STATUS, json!({}), &[], Free, status),
            tool("team", TEAM, team, &["name", "mates"], Ask, Self::start),
            tool("team_stop", STOP, json!({}), &[], Free, Self::stop),
        ]
    }

    fn me(&self) -> Result<&Member, String> {
        let me = self.me.get().map(|me| &me.member);
        me.ok_or("there is no team here. `team` starts one.".to_string())
    }

    /// The lease is held until the task is no longer in progress.
    fn claim(&self, _: Input, context: &Context) -> ToolOutcome {
        self.me()?;
        let free = self.board.load()?.into_values().flatten();
        for task in free.filter(is_free) {
            if let Some((lease, task)) = claim(&self.board, task.id, &context.interrupt)? {
                lock(&self.state).leases.insert(task.id, lease);
                return Ok(text_or(&format!("{task}\n{}", task.description), ""));
            }
        }
        // Should one have become free meanwhile, it is told again.
        lock(&self.state).free = Default::default();
        Ok("No task is free. End your turn: you are woken when one is.".to_string())
    }

    fn start(&self, Input { name, mates, .. }: Input, context: &Context) -> ToolOutcome {
        let mut names = BTreeSet::from([LEAD]);
        for it in &mates {
            Member::of(FOLDER, &name, &it.name)?;
            lock(&self.executor).expect_new(&TaskId::new(&it.name)?)?;
            if !names.insert(&it.name) {
                return Err("each mate needs a name of its own: none begins.".to_string());
            }
        }
        let lead = self.lead(&name)?;
        let start = |mate| self.start_mate(lead, mate, &context.events);
        let begun: Vec<Given> = mates.iter().map(start).collect::<Result<_, String>>()?;
        // All of them live before one is told to begin: so each can write to each.
        for (mate, given) in mates.iter().zip(&begun) {
            let ready = given.until_ready(&mate.name, &context.interrupt);
            ready.map_err(|why| format!("{why}: none begins."))?;
        }
        let mut lines = String::new();
        for (mate, mut given) in mates.iter().zip(begun) {
            let (name, prompt) = (&mate.name, mate.prompt.as_deref().unwrap_or(PROMPT));
            // It begins with the name: so it is no command of the prompt, whatever it says.
            let prompt = format!("{name}: {}", prompt.replace(['\n', '\r'], " "));
            let told = given.give(mate, &prompt);
            told.map_err(|why| format!("{lines}{name} was not told to begin: {why}."))?;
            lines += &format!("{name}: started in the background.\n");
            lock(&self.state).inputs.push(given);
        }
        Ok(lines + "What they say comes by itself.")
    }

    /// From now on this process leads that team, and no other.
    fn lead(&self, team: &str) -> Result<&Member, String> {
        let lead = Member::of(FOLDER, team, LEAD)?;
        match self.me() {
            Ok(me) if *me == lead => return Ok(me),
            Ok(me) => return Err(format!("you lead a team already: {}.", me.0.display())),
            Err(_) => drop(exclude("".as_ref(), ".team/")),
        }
        let joined = lead.hold().and_then(|me| self.join(me));
        joined.map_err(|why| format!("no team {team}: {why}."))
    }

    /// Starts a mate, as a background task that takes no place. It has no key yet, and waits for what
    /// it is given. When that is dropped, it ends its turn and leaves.
    fn start_mate(&self, lead: &Member, it: &Wanted, events: &Events) -> Result<Given, String> {
        let (id, member) = (TaskId::new(&it.name)?, lead.other(&it.name));
        let mut options = vec!["--mate".to_string(), member.0.display().to_string()];
        options.extend(it.agent.iter().map(|name| format!("--agent={name}")));
        options.extend(self.yes.then(|| "--yes".to_string()));
        let started = given::start(&options).map_err(failed("started", &it.name));
        let (mate, news, given) = started?;
        let shown = member.clone();
        let mate = Arc::new((mate, move || shown.line()));
        let task = Task::new(Kind::Other("mate"), &id, mate, events);
        let job = move |_: &_| {
            let mut outcome = until_ended(&news);
            let why = outcome.error().map_or("", |_| last_line(&outcome.output));
            outcome.output = text_or(&format!("{}\n{why}", member.line()), "");
            member.give_back(LEAD);
            member.ring_all(); // its tasks are free again
            outcome
        };
        lock(&self.executor).start(task, job)?;
        Ok(given)
    }

    fn stop(&self, _: Input, _: &Context) -> ToolOutcome {
        self.me()?;
        let mut mates = lock(&self.executor).all();
        mates.retain(|it| it.task.kind == Kind::Other("mate") && it.outcome.is_none());
        lock(&self.state).inputs.clear();
        let names: Vec<_> = mates.iter().map(|mate| mate.task.id.to_string()).collect();
        let told = format!("told to leave: {}.", text_or(&names.join(", "), "nobody"));
        let late = move || {
            thread::sleep(GRACE);
            mates.iter().for_each(|mate| mate.task.stop());
        };
        spawn("grace", late)
            .map_err(|why| format!("{told} Nobody ends those that stay: {why}."))?;
        Ok(told)
    }
}
