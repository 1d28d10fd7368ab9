//! s20 · This process as a member of a team: what it does, what it is to be told, what it may cost.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::mem::take;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

use serde_json::Value;

use super::post::{LEAD, Member};
use super::{Team, Wanted};
use crate::agent::Agent;
use crate::background::Task;
use crate::background_agent::ALONE;
use crate::background_agent::at_work::Tally;
use crate::bell;
use crate::caught::lock;
use crate::delivery::{Source, note};
use crate::event::{Event, Events, Stamped};
use crate::held::Held;
use crate::message::{ContentBlock, Message, Role, push_note};
use crate::options::Options;
use crate::pipeline::is_free;
use crate::process::given::{self, Given};
use crate::task_board::BoardTask;
use crate::terminal::quit;
use crate::todo::Stage;
use crate::tool::Folder;
use crate::worktree::Tree;

/// What a mate may cost, unless the lead says less.
const TURNS: u64 = 50;
const TOKENS: u64 = 500_000;
/// The tools that change the board.
const BOARD: [&str; 2] = ["task_create", "task_update"];
const SYSTEM: &str = "\n\nYou are a mate in a team. The last text of each of your turns goes to the lead by itself. Mail and free board tasks \
    come by themselves: end your turn to wait for them. Nobody is there to be asked. Work is taken with task_claim, and done when task_update says completed.";

/// This process in its team.
#[derive(Default)]
pub struct Own {
    pub(super) me: Member,
    held: Option<Held>,
    /// What the lead wants of it, if it is a mate.
    wanted: Option<Wanted>,
    /// Where it works, once it does.
    folder: Option<Arc<dyn Folder>>,
    tally: Tally,
    turns: u64,
    /// Board tasks that it has completed.
    done: u64,
    /// Messages that are in the conversation, and have not moved.
    told: Vec<String>,
    /// The free tasks of the board, as a mate was woken for them and as it was told of them.
    pub(super) free: [String; 2],
    pub(super) leases: BTreeMap<u64, Held>,
    /// Of the lead: by what its mates are stopped, and what they read.
    pub(super) mates: Vec<(Task, Given)>,
}

/// The second line of `main`. Where this process was started as a mate, it becomes that, and what
/// the lead gives it takes the place of the environment; or the program ends.
pub fn enlist(options: &Options) -> Option<Own> {
    let read = |place: PathBuf| {
        let mut own = Own::new(Member(place))?;
        own.wanted = given::wait()?;
        io::Result::Ok(own)
    };
    Some(read(options.mate.clone()?).unwrap_or_else(end))
}

/// Ends a mate that cannot be one. The lead is told the last line.
pub(super) fn end<T>(why: io::Error) -> T {
    eprintln!("{why}");
    quit(1)
}

impl Own {
    pub(super) fn new(me: Member) -> io::Result<Self> {
        let (held, rest) = (Some(me.hold()?), Own::default());
        let own = Own { me, held, ..rest };
        own.show("waits");
        Ok(own)
    }

    /// Makes an agent a mate, which asks nobody.
    pub(super) fn settle(&mut self, agent: &mut Agent) {
        let (me, name) = (self.me.clone(), self.me.name());
        agent.system += &format!("{SYSTEM} Your name is {name}.");
        agent.context.ask = Arc::new(move |question, _| {
            let denied = format!("It asked for consent, which was denied: {question}");
            let _ = me.send(LEAD, &denied); // the lead may have ended
            Err(ALONE.to_string())
        });
        if self.wanted.as_ref().is_some_and(|it| it.worktree) {
            let tree = Tree::go_on(name, &agent.context);
            let tree = tree.map_err(|why| self.tell(format!("ERROR: {why}")));
            agent.context.folder = Arc::new(tree.unwrap_or_else(|()| quit(1)));
        }
        self.folder = Some(agent.context.folder.clone());
    }

    /// What is in its worktree, if it has one, on a line below others.
    pub(super) fn leave(&self) -> String {
        self.folder.iter().map(|it| it.leave()).collect()
    }

    /// The messages that are to be told.
    fn waiting(&self) -> Vec<String> {
        let mut waiting = self.me.waiting();
        waiting.retain(|name| !self.told.contains(name));
        waiting
    }

    /// Of a mate: tells the lead.
    pub(super) fn tell(&self, text: String) {
        if self.wanted.is_some() && !text.is_empty() {
            let _ = self.me.send(LEAD, text.trim_start()); // the lead may have ended
        }
    }

    /// Writes how it stands into the file that it holds, for who looks.
    fn show(&self, does: &str) {
        let (id, turns, done) = (process::id(), self.turns, self.done);
        let cost = self.tally.line().trim_end().to_string();
        let text = format!("{id}, {does}, tasks done {done}, turns {turns}, {cost}");
        if let Some(held) = &self.held {
            let written = held.write_at(text.as_bytes(), 0);
            let _ = written.and_then(|length| held.set_len(length as u64));
        }
    }
}

impl Team {
    /// Does something with the member, if there is a team.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Own) -> T) -> Option<T> {
        lock(&self.own).as_mut().map(act)
    }

    /// From now on the bell wakes the prompt, which looks at what there is.
    pub(super) fn join(&self, own: Own) -> io::Result<()> {
        let bus = lock(&self.deliveries.executor).bus().notifier();
        let woken = move || bus.hook.get().into_iter().for_each(|hook| hook());
        bell::listen(&own.me.0.join("bell"), woken)?;
        *lock(&self.own) = Some(own);
        Ok(())
    }

    /// Reads what the agent does. After a change of the board, everybody looks at it, and what is
    /// no longer in progress is let go of.
    pub(super) fn count(&self, stamped: Stamped<'_>) {
        self.with(|own| {
            if stamped.agent.is_none() {
                own.tally.count(stamped.event);
            }
            match stamped.event {
                Event::RequestFinished(Some(_)) if stamped.agent.is_none() => {
                    let told = take(&mut own.told); // the session has them, and the model
                    told.iter().for_each(|name| own.me.keep(name));
                }
                Event::ToolFinished { .. } if BOARD.contains(&&*own.tally.tool) => {
                    own.leases.retain(|id, _| {
                        let status = self.board.read(*id).map(|task| task.status);
                        own.done += u64::from(status == Ok(Stage::Completed));
                        status == Ok(Stage::InProgress)
                    });
                    own.me.ring_all();
                }
                Event::ToolStarted { .. } => {}
                _ => return,
            }
            own.show("works");
        });
    }

    /// A turn has ended. Of a mate the last text, or what went wrong, goes to the lead.
    pub fn report<E: Display>(&self, end: Result<(), E>, messages: &[Message]) -> Result<(), E> {
        let last = messages.last().filter(|it| it.role == Role::Assistant);
        let blocks = last.into_iter().flat_map(|it| &it.content);
        let texts = blocks.filter_map(ContentBlock::as_text);
        let text = match &end {
            Ok(()) => texts.collect::<Vec<_>>().join("\n"),
            Err(why) => format!("ERROR: {why}"),
        };
        self.with(|own| {
            own.turns += 1;
            own.show("waits");
            own.tell(text);
        });
        end
    }
}

impl Source for Arc<Team> {
    /// A task in progress is free when nobody holds its lease.
    fn news(&self) -> Vec<String> {
        let can_be_had = |task: &&BoardTask| {
            let lease = File::open(self.board.path(task.id).with_extension("lease"));
            let left = || lease.is_ok_and(|lease| lease.try_lock_shared().is_ok());
            is_free(task) && (task.status != Stage::InProgress || left())
        };
        let line = |task: &BoardTask| {
            let begun = task.other.get("attempts").and_then(Value::as_u64);
            format!("{task} (begun {} times)", begun.unwrap_or(0))
        };
        let look = |own: &mut Own| {
            if own.wanted.is_some() && own.turns > 0 {
                let tasks = self.board.load().unwrap_or_default();
                let free = tasks.values().flatten().filter(can_be_had);
                match free.map(line).collect::<Vec<_>>().join("\n") {
                    free if free.is_empty() => {}
                    free => own.free[0] = free,
                }
            }
            let [free, told] = &own.free;
            let news = Some(free.clone()).filter(|free| free != told);
            own.waiting().into_iter().chain(news).collect()
        };
        self.with(look).unwrap_or_default()
    }

    /// First the conversation has a message, then the session and the model, and only then it is
    /// moved. If the process ends in between, the session that goes on has it, and it is not told again.
    fn deliver(&self, events: &Events, messages: &mut Vec<Message>) {
        let mut own = lock(&self.own);
        let Some(it) = &mut *own else { return };
        if let Some(wanted) = &it.wanted
            && (it.turns >= wanted.turns.unwrap_or(TURNS) || it.tally.tokens >= TOKENS)
        {
            let (line, left) = (it.me.line(), it.leave());
            it.tell(format!(
                "It has used up what it may, and leaves. {line}{left}"
            ));
            quit(1);
        }
        it.show("works");
        let mut told = Vec::new();
        for name in it.waiting() {
            let block = note(&name, "");
            let start = block.lines().next().unwrap_or_default();
            let mut texts = messages.iter().flat_map(|it| &it.content);
            it.told.push(name.clone());
            if !texts.any(|it| it.as_text().is_some_and(|text| text.starts_with(start))) {
                let text = it.me.read(&name);
                told.push((name, text));
            }
        }
        let [free, old] = &mut it.free;
        if free != old {
            let text = format!("Free tasks on the board:\n{free}");
            told.push(("board".to_string(), text));
            old.clone_from(free);
        }
        drop(own); // who reads events looks here
        for (name, text) in told {
            push_note(messages, note(&name, &text));
            events.emit(Event::Told(name, text));
        }
    }
}
