//! s20 · This process as a member of a team: what it does, what it is to be told, what it may cost.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::post::{Me, Member};
use super::{LEAD, Team, Wanted};
use crate::background_agent::at_work::Tally;
use crate::caught::lock;
use crate::delivery::{Source, note};
use crate::event::{Event, Events, Stamped};
use crate::held::{Held, is_held};
use crate::message::{ContentBlock, Message, Role, push_note};
use crate::options::Options;
use crate::pipeline::is_free;
use crate::process::given::{self, Given};
use crate::process::output::text_or;
use crate::task_board::BoardTask;
use crate::terminal::quit;
use crate::todo::Stage;

/// What a mate may cost, unless the lead says less.
const TURNS: u64 = 50;
const TOKENS: u64 = 500_000;
/// The tools that change the board.
const BOARD: [&str; 2] = ["task_create", "task_update"];
pub(super) const SYSTEM: &str = "\n\nYou are a mate in a team. The last text of each of your turns goes to the lead by itself. Mail and free board tasks \
    come by themselves: end your turn to wait for them. Nobody is there to be asked. Work is taken with task_claim, and done when task_update says completed.";

/// How it stands.
#[derive(Default)]
pub(super) struct State {
    tally: Tally,
    turns: u64,
    /// Board tasks that it has completed.
    done: u64,
    pub leases: BTreeMap<u64, Held>,
    /// The free tasks of the board, as a mate was woken for them and as it was told of them.
    pub free: [String; 2],
    /// Of the lead: the inputs of its mates, which leave when theirs ends.
    pub inputs: Vec<Given>,
}

/// The second line of `main`. Where this process was started as a mate, it becomes that, and what
/// the lead gives it takes the place of the environment; or the program ends.
pub fn enlist(options: &Options) -> Option<(Me, Wanted)> {
    let me = Member(options.mate.clone()?).hold().unwrap_or_else(end);
    Some((me, given::wait().unwrap_or_else(end)))
}

/// Ends a mate that cannot be one. The lead is told the last line.
pub(super) fn end<T>(why: impl Display) -> T {
    eprintln!("{why}");
    quit(1)
}

impl Team {
    /// From now on the bell wakes the prompt, which looks at what there is.
    pub(super) fn join(&self, me: Me) -> io::Result<&Member> {
        let bus = lock(&self.executor).bus().notifier();
        me.listen(move || bus.hook.get().into_iter().for_each(|hook| hook()))?;
        Ok(&self.me.get_or_init(|| me).member)
    }

    /// Of a mate: tells the lead.
    pub(super) fn tell(&self, text: &str) {
        if let (Some(me), Some(_), false) = (self.me.get(), &self.wanted, text.is_empty()) {
            let _ = me.member.send(LEAD, text.trim_start()); // the lead may have ended
        }
    }

    /// Writes how it stands, for who looks.
    fn show(&self, me: &Me, does: &str) {
        let state = lock(&self.state);
        let (turns, done, cost) = (state.turns, state.done, state.tally.line());
        me.show(&format!("{does}, tasks done {done}, turns {turns}, {cost}"));
    }

    /// Reads what the agent does. After a change of the board, everybody looks at it, and what is
    /// no longer in progress is let go of.
    pub(super) fn count(&self, Stamped { event, agent, .. }: Stamped<'_>) {
        let me = self.me.get().filter(|_| agent.is_none());
        let Some(me) = me else { return };
        let mut state = lock(&self.state);
        state.tally.count(event);
        match event {
            Event::RequestFinished(Some(_)) => me.confirm(), // the session has it, and the model
            Event::ToolFinished { .. } if BOARD.contains(&&*state.tally.tool) => {
                let State { leases, done, .. } = &mut *state;
                leases.retain(|id, _| {
                    let status = self.board.read(*id).map(|task| task.status);
                    *done += u64::from(status == Ok(Stage::Completed));
                    status == Ok(Stage::InProgress)
                });
                me.member.ring_all();
            }
            Event::RequestStarted | Event::ToolStarted { .. } => {}
            _ => return,
        }
        drop(state);
        self.show(me, "works");
    }

    /// A turn has ended. Of a mate the last text, or what went wrong, goes to the lead.
    pub fn report<E: Display>(&self, end: Result<(), E>, messages: &[Message]) -> Result<(), E> {
        let last = messages.last().filter(|it| it.role == Role::Assistant);
        let blocks = last.into_iter().flat_map(|it| &it.content);
        let texts: Vec<_> = blocks.filter_map(ContentBlock::as_text).collect();
        if let Some(me) = self.me.get() {
            lock(&self.state).turns += 1;
            self.show(me, "waits");
        }
        match &end {
            Ok(()) => self.tell(&texts.join("\n")),
            Err(why) => self.tell(&format!("ERROR: {why}")),
        }
        end
    }

    /// The board tasks that can be had, a line for each: no lease of one in progress is held.
    fn free(&self) -> String {
        let is_taken = |task: &BoardTask| {
            let lease = File::open(self.board.path(task.id).with_extension("lease"));
            task.status == Stage::InProgress && lease.is_ok_and(|lease| is_held(&lease))
        };
        let line = |task: BoardTask| match task.other.get("attempts") {
            Some(begun) => format!("{task} (begun {begun} times)"),
            None => task.to_string(),
        };
        let tasks = self.board.load().unwrap_or_default().into_values();
        let free = tasks.flatten().filter(|it| is_free(it) && !is_taken(it));
        free.map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Source for Arc<Team> {
    fn news(&self) -> Vec<String> {
        let mut state = lock(&self.state);
        if self.wanted.is_some() && state.turns > 0 {
            state.free[0] = text_or(&self.free(), &state.free[0]);
        }
        let [free, told] = &state.free;
        let board = (free != told).then(|| free.clone());
        let mail = self.me.get().into_iter().flat_map(|me| me.news());
        mail.chain(board).collect()
    }

    /// First the conversation has a message, then the session and the model, and only then it is
    /// confirmed. If the process ends in between, the session that goes on has it, and it is not told again.
    fn deliver(&self, events: &Events, messages: &mut Vec<Message>) {
        let Some(me) = self.me.get() else { return };
        let mut state = lock(&self.state);
        let most = self.wanted.as_ref().map(|it| it.turns.unwrap_or(TURNS));
        if most.is_some_and(|most| state.turns >= most || state.tally.tokens >= TOKENS) {
            let (line, left) = (me.member.line(), self.folder.leave());
            let why = "It has used up what it may, and leaves";
            self.tell(&format!("{why}. {line}{left}"));
            quit(1);
        }
        let mut news = me.take();
        news.retain(|(name, _)| {
            let start: String = note(name, "").lines().take(1).collect();
            let mut texts = messages.iter().flat_map(|it| &it.content);
            !texts.any(|it| it.as_text().is_some_and(|text| text.starts_with(&start)))
        });
        let [free, told] = &mut state.free;
        if free != told {
            told.clone_from(free);
            let text = format!("Free tasks on the board:\n{free}");
            news.push(("board".to_string(), text));
        }
        drop(state); // who reads events looks here
        for (name, text) in news {
            push_note(messages, note(&name, &text));
            events.emit(Event::Told(name, text));
        }
    }
}
