//! s20 · Parallel teams: a lead and its mates, each a process of its own with a conversation of its
//! own. They share the board, whose tasks each takes by itself, and the mailboxes.
//!
//! A mate is this program once more, a background task of the lead. It is unattended as in s10. When
//! the lead has gone, however it went, no mate is left.

mod mate;
mod post;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::mem::take;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::agent::Agent;
use crate::background::BackgroundExecutor;
use crate::background_agent::ALONE;
use crate::bell;
use crate::caught::lock;
use crate::delivery::{Deliveries, Source, note};
use crate::event::{Event, Events};
use crate::held::Held;
use crate::message::{ContentBlock, Message, push_note};
use crate::options::Options;
use crate::pipeline::is_free;
use crate::repl::Repl;
use crate::task_board::{BoardTask, TaskBoard, join};
use crate::terminal::quit;
use crate::todo::Stage;
use crate::worktree::Tree;
use mate::{Brief, Member, Started};
use post::{LEAD, Post, State};

const FOLDER: &str = ".team";
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
            agent.toolbox.replace([self.ringing(agent, name)]);
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

    /// Changes what this member says of itself.
    fn note(&self, change: impl FnOnce(&mut State)) {
        if let Some(own) = &mut *lock(&self.0) {
            change(&mut own.state);
            own.post.set_state(&own.name, &own.state);
        }
    }

    /// Of a mate: tells the lead.
    fn report(&self, text: &str) {
        if let Some(own) = lock(&self.0).as_ref().filter(|own| own.name != LEAD) {
            let _ = mate::send(&own.post, &own.name, LEAD, text); // the lead may have ended
        }
    }

    /// Of a mate that may not go on: why.
    fn used_up(&self) -> Option<String> {
        let own = lock(&self.0);
        let own = own.as_ref().filter(|own| own.name != LEAD)?;
        let (it, most) = (&own.state, &own.brief);
        let is_over = it.turns >= most.turns || it.tokens >= most.tokens;
        is_over.then(|| {
            let (turns, tokens) = (it.turns, it.tokens);
            format!("It has used up what it may: {turns} turns, {tokens} tokens. It leaves.")
        })
    }

    /// What was taken stands in the session.
    fn kept(&self) {
        if let Some(own) = &mut *lock(&self.0) {
            let taken = take(&mut own.taken).into_iter();
            taken.for_each(|name| own.post.keep(&own.name, &name));
        }
    }
}

impl Own {
    /// Free tasks of the board that a mate has not been told of. One in progress is free when nobody
    /// holds its lease.
    fn free_tasks(&self, board: &TaskBoard) -> BTreeMap<String, u64> {
        let is_free = |task: &BoardTask| {
            let lease = File::open(board.path(task.id).with_extension("lease"));
            let left = || lease.is_ok_and(|lease| lease.try_lock_shared().is_ok());
            is_free(task) && (task.status != Stage::InProgress || left())
        };
        let entries = board.load().unwrap_or_default().into_values().flatten();
        let free =
            entries.filter(|task| self.state.turns > 0 && self.name != LEAD && is_free(task));
        let begun = |task: &BoardTask| task.other.get("attempts").map(ToString::to_string);
        let mut free: BTreeMap<_, _> = free
            .map(|task| (format!("board {} {:?}", task.id, begun(&task)), task.id))
            .collect();
        free.retain(|key, _| !self.told.contains(key));
        free
    }
}

impl Source for Team {
    fn news(&self) -> Vec<String> {
        let mut own = lock(&self.0);
        let Some(own) = &mut *own else {
            return Vec::new();
        };
        own.free.extend(own.free_tasks(&self.1));
        let mut news = own.post.waiting(&own.name);
        news.retain(|name| !own.taken.contains(name));
        news.extend(own.free.keys().cloned());
        news
    }

    /// A message is moved when the session has it. If the process ends between the two, the message
    /// stands in the session that goes on, and is not told again.
    fn deliver(&self, events: &Events, messages: &mut Vec<Message>) {
        let mut own = lock(&self.0);
        let Some(own) = &mut *own else { return };
        let mut told = Vec::new();
        for name in own.post.waiting(&own.name) {
            let block = note(&name, "");
            let start = block.lines().next().unwrap_or_default();
            let mut blocks = messages.iter().flat_map(|message| &message.content);
            let has =
                |block: &ContentBlock| block.as_text().is_some_and(|it| it.starts_with(start));
            if own.taken.contains(&name) {
                continue;
            }
            let text = match own.post.read(&own.name, &name) {
                _ if blocks.any(has) => "this was told before".to_string(),
                Ok(mail) if mail.to == own.name => format!("{}: {}", mail.from, mail.text),
                Ok(mail) => format!("came back, as {} has ended: {}", mail.to, mail.text),
                Err(why) => why,
            };
            told.push((name.clone(), text));
            own.taken.insert(name);
        }
        let free = take(&mut own.free);
        if !free.is_empty() {
            let text = format!("Free tasks on the board: {}", join(free.values()));
            told.push(("board".to_string(), text));
            own.told.extend(free.into_keys());
        }
        for (name, text) in told {
            push_note(messages, note(&name, &text));
            events.emit(Event::Told(name, text));
        }
    }
}
