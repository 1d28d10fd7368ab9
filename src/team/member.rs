//! s20 · A member, from inside: what it is to be told, and what it tells of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write, stdin, stdout};
use std::mem::take;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Team;
use super::mailbox::{LEAD, Mailbox};
use super::mate::Mate;
use crate::delivery::{Source, note};
use crate::event::{Event, Events};
use crate::held::Held;
use crate::message::{ContentBlock, Message, Reply, push_note};
use crate::model::{Model, ModelError, Request};
use crate::options::GIVEN;
use crate::pipeline::is_free;
use crate::task_board::{TaskBoard, join};
use crate::terminal::quit;
use crate::todo::Stage;

/// What a mate may cost, unless the lead says less.
const TURNS: u64 = 50;
const TOKENS: u64 = 500_000;

/// What the lead says of a mate, and the mate reads.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brief {
    pub name: String,
    pub agent: Option<String>,
    pub prompt: Option<String>,
    #[serde(default)]
    pub worktree: bool,
    pub turns: Option<u64>,
}

/// This process as a member of a team.
#[derive(Default)]
pub struct Member {
    pub mailbox: Mailbox,
    _held: Option<Held>,
    pub brief: Brief,
    /// Messages and free tasks of which it was told.
    told: BTreeSet<String>,
    /// Free tasks of which a mate is to be told: it may be woken for them, so they stay even if
    /// somebody takes them meanwhile.
    free: BTreeMap<String, u64>,
    /// Those of the tasks that it has claimed.
    pub leases: BTreeMap<u64, File>,
    /// True if its last calls may have changed the board.
    on_board: bool,
    done: u64,
    turns: u64,
    tokens: u64,
    /// Of the lead.
    pub mates: Vec<Mate>,
}

impl Member {
    /// Becomes that member.
    pub fn new(mailbox: Mailbox) -> io::Result<Self> {
        mailbox.make()?;
        let _held = Some(mailbox.hold()?);
        let member = Member {
            mailbox,
            _held,
            ..Member::default()
        };
        member.say("waits");
        Ok(member)
    }

    /// The same, of a mate: says that this process can no longer be looked into, then reads the line
    /// that holds what it was given in place of the environment.
    pub fn new_mate(mailbox: Mailbox) -> io::Result<Self> {
        let (mut mate, mut line) = (Self::new(mailbox)?, String::new());
        writeln!(stdout(), "ready")?;
        stdin().read_line(&mut line)?;
        let (given, brief) = serde_json::from_str(&line)?;
        let _ = GIVEN.set(given); // the key among others: it is in no file, and in no environment
        mate.brief = brief;
        Ok(mate)
    }

    fn is_mate(&self) -> bool {
        self.mailbox.name() != LEAD
    }

    fn say(&self, last: &str) {
        let (done, turns, tokens) = (self.done, self.turns, self.tokens);
        self.mailbox.say(&format!(
            "tasks done {done}, turns {turns}, tokens {tokens}; last: {last}"
        ));
    }

    /// Of a mate: tells the lead.
    pub fn report(&self, text: &str) {
        if self.is_mate() {
            let _ = self.mailbox.of(LEAD).deliver(self.mailbox.name(), text); // it may have ended
        }
    }

    /// What it has not been told of.
    fn news(&mut self, board: &TaskBoard) -> Vec<String> {
        let mut board_tasks = board.load().unwrap_or_default();
        // A mate is told what else is free when it has done what it was started for.
        board_tasks.retain(|_, _| self.is_mate() && self.turns > 0);
        for task in board_tasks.into_values().flatten() {
            let key = format!("board {} {:?}", task.id, task.other.get("attempts"));
            let lease = File::open(board.path(task.id).with_extension("lease"));
            let is_left = || lease.is_ok_and(|lease| lease.try_lock_shared().is_ok());
            let is_free = is_free(&task) && (task.status != Stage::InProgress || is_left());
            if is_free && !self.told.contains(&key) {
                self.free.insert(key, task.id);
            }
        }
        let mut news = self.mailbox.waiting();
        news.retain(|name| !self.told.contains(name));
        news
    }

    /// Before a request.
    fn asks(&mut self, board: &TaskBoard) {
        let mut done = 0;
        self.leases.retain(|id, _| {
            let stage = board.read(*id).map(|task| task.status);
            done += u64::from(stage == Ok(Stage::Completed));
            stage == Ok(Stage::InProgress)
        });
        self.done += done;
        if take(&mut self.on_board) {
            self.mailbox.ring_all();
        }
        let most = self.brief.turns.unwrap_or(TURNS);
        if self.is_mate() && (self.turns >= most || self.tokens >= TOKENS) {
            let (turns, tokens) = (self.turns, self.tokens);
            self.report(&format!(
                "It has used up what it may: {turns} turns, {tokens} tokens. It leaves."
            ));
            quit(1);
        }
        self.say("thinks");
    }

    /// After a request: the session has by now what was told.
    fn was_answered(&mut self, reply: &Result<Reply, ModelError>) {
        let waiting = self.mailbox.waiting();
        let told = waiting.iter().filter(|name| self.told.contains(*name));
        told.for_each(|name| self.mailbox.keep(name));
        let reply = reply.as_ref();
        let text = reply.map_or_else(|why| format!("ERROR: {why}"), Reply::text);
        let calls = reply.map_or(Vec::new(), Reply::tool_calls);
        self.tokens += reply.map_or(0, |reply| reply.usage.total());
        self.on_board = calls.iter().any(|call| call.name.starts_with("task_"));
        if let Some(call) = calls.last() {
            return self.say(&format!("runs {}", call.name));
        }
        self.turns += 1;
        self.say("waits");
        if !text.is_empty() {
            self.report(&text);
        }
    }
}

/// A model whose conversation is that of a member.
pub struct Counted(pub Arc<dyn Model>, pub Team);

impl Model for Counted {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let Counted(model, team) = self;
        team.with(|member| member.asks(&team.board));
        let reply = model.reply(request);
        team.with(|member| member.was_answered(&reply));
        reply
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl Source for Team {
    fn news(&self) -> Vec<String> {
        let news = |member: &mut Member| {
            let mut news = member.news(&self.board);
            news.extend(member.free.keys().cloned());
            news
        };
        self.with(news).unwrap_or_default()
    }

    /// A message is moved when the session has it. If the process ends between the two, the message
    /// stands in the session that goes on, and is not told again.
    fn deliver(&self, events: &Events, messages: &mut Vec<Message>) {
        let news = |member: &mut Member| {
            let mut news = Vec::new();
            for name in member.news(&self.board) {
                let text = match member.mailbox.read(&name) {
                    _ if stands(messages, &name) => "this was told before".to_string(),
                    Ok(mail) if mail.to == member.mailbox.name() => {
                        format!("mail from {}: {}", mail.from, mail.text)
                    }
                    Ok(mail) => format!("came back, as {} has ended: {}", mail.to, mail.text),
                    Err(why) => why,
                };
                member.told.insert(name.clone());
                news.push((name, text));
            }
            let free = take(&mut member.free);
            if !free.is_empty() {
                let text = format!("Free tasks on the board: {}", join(free.values()));
                news.push(("board".to_string(), text));
                member.told.extend(free.into_keys());
            }
            news
        };
        for (name, text) in self.with(news).unwrap_or_default() {
            push_note(messages, note(&name, &text));
            events.emit(Event::Told(name, text));
        }
    }
}

/// True if the conversation has that message.
fn stands(messages: &[Message], name: &str) -> bool {
    let start = note(name, "")
        .lines()
        .next()
        .unwrap_or_default()
        .to_string();
    let mut blocks = messages.iter().flat_map(|message| &message.content);
    blocks.any(|block: &ContentBlock| block.as_text().is_some_and(|it| it.starts_with(&start)))
}
