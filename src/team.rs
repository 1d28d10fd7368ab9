//! s20 · Parallel teams: a lead and its mates, each a process of its own with a conversation of its
//! own. They share the board, whose tasks each takes by itself, and the mailboxes.
//!
//! A mate is this program once more, a background task of the lead. It is unattended as in s10. When
//! the lead has gone, however it went, no mate is left.

mod member;
mod post;

use std::collections::BTreeSet;
use std::mem::take;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::agent::Agent;
use crate::background::{Kind, Progress, Task, Watch};
use crate::caught::lock;
use crate::delivery::Deliveries;
use crate::event::Events;
use crate::notification::TaskId;
use crate::options::Options;
use crate::pipeline::{claim, is_free};
use crate::process::given::{self, Given};
use crate::process::output::{last_line, text_or};
use crate::process::{Handle, until_ended};
use crate::repl::Repl;
use crate::task_board::TaskBoard;
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::files::failed;
use crate::tools::object;
use crate::worktree::exclude;
pub use member::{Own, enlist};
use post::{LEAD, Member};

const FOLDER: &str = ".team";
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
    own: Mutex<Option<Own>>,
    board: TaskBoard,
    deliveries: Deliveries,
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
struct Wanted {
    name: String,
    agent: Option<String>,
    prompt: Option<String>,
    worktree: bool,
    turns: Option<u64>,
}

type Started = (Wanted, Task, Given);
type Act = fn(&Team, Input, &Context) -> ToolOutcome;

/// Gives an agent the tools, and its mail to the deliveries. Of a mate it is the only agent.
pub fn attach(
    own: Option<Own>,
    options: &Options,
    agent: &mut Agent,
    deliveries: &Deliveries,
    repl: &mut Repl,
) -> Arc<Team> {
    let team = Arc::new(Team {
        own: Mutex::default(),
        board: TaskBoard::open(".tasks"),
        deliveries: deliveries.clone(),
        yes: options.yes,
    });
    let [counts, shown] = [(); 2].map(|()| team.clone());
    let events = agent.context.events.clone();
    agent.context.events = events.with(Box::new(move |it| counts.count(it)));
    lock(&deliveries.sources).push(Box::new(team.clone()));
    let list = move |_: &str| shown.me().map_or_else(|why| why, |me| me.lines());
    repl.action("/team", "who is in the team, and does what", list);
    let count = if own.is_some() { 3 } else { 5 };
    agent.toolbox.add(team.tools().into_iter().take(count));
    if let Some(own) = own {
        team.join(own).unwrap_or_else(member::end);
        team.with(|own| own.settle(agent));
        let its = team.clone();
        repl.at_end(move |_| its.with(|own| own.tell(own.leave())).unwrap_or_default());
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

    fn me(&self) -> Result<Member, String> {
        let me = lock(&self.own).as_ref().map(|own| own.me.clone());
        me.ok_or("there is no team here. `team` starts one.".to_string())
    }

    /// The lease is held until the task is no longer in progress.
    fn claim(&self, _: Input, context: &Context) -> ToolOutcome {
        self.me()?;
        let free = self.board.load()?.into_values().flatten();
        for task in free.filter(is_free) {
            if let Some((lease, task)) = claim(&self.board, task.id, &context.interrupt)? {
                self.with(|own| own.leases.insert(task.id, lease));
                return Ok(text_or(&format!("{task}\n{}", task.description), ""));
            }
        }
        // Should one have become free meanwhile, it is told again.
        self.with(|own| own.free = Default::default());
        Ok("No task is free. End your turn: you are woken when one is.".to_string())
    }

    fn start(&self, input: Input, context: &Context) -> ToolOutcome {
        for name in input.mates.iter().map(|it| &it.name).chain([&input.name]) {
            let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c);
            if name.is_empty() || name == LEAD || name.contains(is_odd) {
                return Err(format!("{name:?} is no name: letters, digits, - and _."));
            }
        }
        let names: BTreeSet<_> = input.mates.iter().map(|it| &it.name).collect();
        if names.len() < input.mates.len() {
            return Err("each mate needs a name of its own: none begins.".to_string());
        }
        for name in names {
            lock(&self.deliveries.executor).expect_new(&TaskId::new(name)?)?;
        }
        let lead = self.lead(&input.name)?;
        let start = |mate| self.start_mate(&lead, mate, &context.events);
        let begun = input.mates.into_iter().map(start);
        let begun = begun.collect::<Result<Vec<_>, String>>()?;
        // All of them live before one is told to begin: so each can write to each.
        for (wanted, _, given) in &begun {
            let ready = given.until_ready(&wanted.name, &context.interrupt);
            ready.map_err(|why| format!("{why}: none begins."))?;
        }
        let mut lines = String::new();
        for (wanted, mate, mut given) in begun {
            let (name, prompt) = (&wanted.name, wanted.prompt.as_deref().unwrap_or(PROMPT));
            // It begins with the name: so it is no command of the prompt, whatever it says.
            let prompt = format!("{name}: {}", prompt.replace(['\n', '\r'], " "));
            let said = given.give(&wanted, &prompt);
            said.map_err(|why| format!("{lines}{name} was not told to begin: {why}."))?;
            self.with(|own| own.mates.push((mate, given)));
            lines += &format!("{name}: started in the background.\n");
        }
        Ok(lines + "What they say comes by itself.")
    }

    /// From now on this process leads that team, and no other.
    fn lead(&self, team: &str) -> Result<Member, String> {
        let lead = Member(Path::new(FOLDER).join(team).join(LEAD));
        match self.me() {
            Ok(me) if me == lead => return Ok(lead),
            Ok(me) => return Err(format!("you lead a team already: {}.", me.0.display())),
            Err(_) => exclude(".team/"),
        }
        let joined = Own::new(lead.clone()).and_then(|own| self.join(own));
        joined.map_err(|why| format!("no team {team}: {why}."))?;
        Ok(lead)
    }

    /// Starts a mate, as a background task that takes no place. It has no key yet, and waits for a
    /// line. When its input is dropped, it ends its turn and leaves.
    fn start_mate(&self, lead: &Member, it: Wanted, events: &Events) -> Result<Started, String> {
        let (id, member) = (TaskId::new(&it.name)?, lead.other(&it.name));
        let mut options = vec!["--mate".to_string(), member.0.display().to_string()];
        options.extend(it.agent.iter().map(|name| format!("--agent={name}")));
        options.extend(self.yes.then(|| "--yes".to_string()));
        let started = given::start(&options);
        let (handle, news, given) = started.map_err(failed("started", &it.name))?;
        let mate = Arc::new(Mate(handle, member.clone()));
        let task = Task::new(Kind::Other("mate"), &id, mate, events);
        let job = move |_: &_| {
            let mut outcome = until_ended(&news);
            let why = outcome.error().map_or("", |_| last_line(&outcome.output));
            outcome.output = text_or(&format!("{}\n{why}", member.line()), "");
            member.give_back();
            member.ring_all(); // its tasks are free again
            outcome
        };
        lock(&self.deliveries.executor).start(task.clone(), job)?;
        Ok((it, task, given))
    }

    fn stop(&self, _: Input, _: &Context) -> ToolOutcome {
        self.me()?;
        let mut mates = self.with(|own| take(&mut own.mates)).unwrap_or_default();
        let running = lock(&self.deliveries.executor).running();
        mates.retain(|(mate, _)| running.contains(&mate.id));
        let (mates, _leave): (Vec<Task>, Vec<Given>) = mates.into_iter().unzip();
        let names: Vec<_> = mates.iter().map(|mate| mate.id.to_string()).collect();
        let told = format!("told to leave: {}.", text_or(&names.join(", "), "nobody"));
        let late = move || {
            thread::sleep(GRACE);
            mates.iter().for_each(Watch::stop);
        };
        let late = thread::Builder::new().name("grace".into()).spawn(late);
        late.map_err(|why| format!("{told} Nobody ends those that stay: {why}."))?;
        Ok(told)
    }
}

/// A mate that runs: the process, and its folder.
struct Mate(Handle, Member);

impl Watch for Mate {
    fn look(&self) -> Progress {
        Progress {
            what: self.1.0.display().to_string(),
            line: self.1.line(),
            ..self.0.look()
        }
    }

    fn stop(&self) {
        self.0.stop();
    }
}
