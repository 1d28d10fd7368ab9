//! s14 · Session memory: a summary that is kept up to date beside the conversation, so that
//! compaction is done before it is asked for.
//!
//! What a memory does not cover stays word for word: one that is late costs tokens, and no facts.

use std::iter::once;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::{from_value, json};

use crate::agent::Agent;
use crate::caught::{catch, lock, spawn};
use crate::compact::{Compactor, ask_about, estimate, head};
use crate::delivery::block;
use crate::message::{ContentBlock, Message, Role, Usage, append, push_note};
use crate::model::ModelError;
use crate::repl::Repl;
use crate::session::{FOLDER, Past, Record, Session};
use crate::tool::Context;

/// The record in the session, and the agent in its statistics.
const NAME: &str = "memory";
/// What tells of all that is running and planned: it is read anew when room is made.
const STATE: [&str; 3] = ["check_bg", "todo_read", "task_list"];
const ASK: &str = "Summarise this session as the memory that will stand in its place. If it begins with an older \
    memory, bring that up to date: keep what still counts, add what is new. Write four sections, each under its \
    heading, Status: (what is being worked on, and how far it is), Completed work: (what was done, with names of \
    files and commands), Discussion: (what the user wants, in their own words where it matters; what was decided \
    and why), Work log: (one line a step, oldest first). Leave out running background tasks, todos and the task \
    board: they are read anew. Reply with the memory only, in at most 600 words.";

/// What is remembered of a conversation. Without a text: nothing.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Remembered {
    text: String,
    /// How many messages it covers. 0 if it stands at their beginning: they were compacted.
    covers: usize,
    /// Of which messages: see [`mark`].
    mark: Option<u64>,
    /// How many updates there were, and the tokens that they read and wrote.
    cost: (u64, u64, u64),
}

/// Text, `covers` and `mark` of what is to be remembered.
type New = (String, usize, Option<u64>);

/// The one update that may run.
enum Job {
    Idle,
    Running,
    Failed(String),
}

/// Keeps the memory of a session up to date, and makes room with it.
pub struct Memory {
    compactor: Compactor,
    session: Session,
    /// Tokens at which it is made, and of what is new at which it is brought up to date.
    due: [usize; 2],
    job: Mutex<Job>,
}

impl Memory {
    /// A memory of this session. Where there is none yet, the compactor makes room.
    pub fn new(compactor: Compactor, session: &Session, due: [usize; 2]) -> Arc<Self> {
        Arc::new(Memory {
            compactor,
            session: session.clone(),
            due,
            job: Mutex::new(Job::Idle),
        })
    }

    /// Adds `/memory`.
    pub fn attach(self: &Arc<Self>, repl: &mut Repl) {
        let (memory, what) = (self.clone(), "what is remembered, and what that cost");
        repl.action("/memory", what, move |_| memory.text());
    }

    /// To be called after a turn. If the conversation has grown enough, an update begins on a thread
    /// of its own, and nobody waits for it. It is void if the conversation is replaced meanwhile.
    pub fn update(self: &Arc<Self>, agent: &Agent, messages: &[Message]) {
        let (old, id) = (self.remembered(messages), lock(&self.session.0).id.clone());
        let input = old.carry(messages);
        let new = estimate(&input).saturating_sub(old.text.len() / 4);
        let is_due = new >= self.due[usize::from(!old.text.is_empty())];
        let mut job = lock(&self.job);
        if !is_due || !may_cut(messages) || matches!(*job, Job::Running) {
            return;
        }
        *job = Job::Running;
        let (memory, covers) = (self.clone(), messages.len());
        let (mut worker, mark) = (agent.clone(), mark(messages, covers));
        worker.context = Context::default(); // shows nothing, and Ctrl+C is not for it
        let work = move || {
            let asked = catch(|| ask_about(worker, &input, ASK));
            let asked = asked.unwrap_or_else(|panic| Err(ModelError::Failed(panic)));
            let mut job = lock(&memory.job); // before the session: so `text` finds both, or neither
            let landed = match asked {
                Ok(reply) => {
                    let text = head(&reply.text(), memory.compactor.limit / 2).to_string();
                    land(&memory.session, &id, (text, covers, mark), reply.usage)
                }
                Err(why) => Err(why.to_string()),
            };
            *job = landed.map_or_else(Job::Failed, |()| Job::Idle);
        };
        if let Err(why) = spawn(NAME, work) {
            *job = Job::Failed(why.to_string());
        }
    }

    /// To be called before each request, in place of the compactor's. Above half of the limit, where
    /// results would be shortened, the memory takes the place of what it covers.
    ///
    /// # Errors
    /// As [`Compactor::compact`].
    pub fn make_room(&self, agent: &Agent, messages: &mut Vec<Message>) -> Result<(), ModelError> {
        if estimate(messages) > self.compactor.limit / 2 {
            self.put_in_place(agent, messages);
        }
        self.compactor.make_room(agent, messages)
    }

    /// Puts the memory in place of what it covers; the rest follows word for word. That takes no
    /// request. Without a memory, a summary is asked for.
    ///
    /// # Errors
    /// As [`Compactor::compact`].
    pub fn compact(&self, agent: &Agent, messages: &mut Vec<Message>) -> Result<(), ModelError> {
        if self.put_in_place(agent, messages) {
            return Ok(());
        }
        let (memory, events) = (self.remembered(messages), &agent.context.events);
        if memory.text.is_empty() {
            events.notice("There is no memory of this conversation yet.");
            return self.compactor.compact(agent, messages);
        }
        events.notice("Nothing to compact: what follows the memory stays word for word.");
        Ok(())
    }

    fn remembered(&self, messages: &[Message]) -> Remembered {
        Remembered::of(&lock(&self.session.0).past, messages)
    }

    /// False if it covers nothing.
    fn put_in_place(&self, agent: &Agent, messages: &mut Vec<Message>) -> bool {
        let mut memory = self.remembered(messages);
        let (covers, before) = (memory.covers, estimate(messages));
        let (rest, mut state) = (messages.len() - covers, String::new());
        if covers == 0 {
            return false;
        }
        *messages = memory.carry(messages);
        for name in STATE {
            let tool = agent.toolbox.get(name);
            let told = tool.and_then(|it| it.call(json!({}), &agent.context));
            state += &told.map_or(String::new(), |told| format!("{name}:\n{told}\n"));
        }
        if !state.is_empty() {
            let text = block("state", "", state.trim_end());
            messages[0].content.insert(1, ContentBlock::Note { text });
        }
        (memory.covers, memory.mark) = (0, mark(messages, 0));
        let mut kept = lock(&self.session.0);
        let written = kept.keep(messages, None);
        let _ = written.and_then(|()| kept.put(memory.record())); // the next request says why
        let (id, after) = (kept.id.clone(), estimate(messages));
        drop(kept); // whoever is told may look at the session
        agent.context.events.notice(format!(
            "Compacted without a request: about {before} tokens before, {after} now. A memory stands for {covers} messages, {rest} follow word for word. All are in {FOLDER}/{id}.jsonl."
        ));
        true
    }

    /// What `/memory` shows.
    pub fn text(&self) -> String {
        let job = lock(&self.job);
        let what_runs = match &*job {
            Job::Idle => String::new(),
            Job::Running => " It is being brought up to date.".to_string(),
            Job::Failed(why) => format!(" The last update failed: {why}"),
        };
        let kept = lock(&self.session.0);
        let messages = &kept.past.messages;
        let memory = Remembered::of(&kept.past, messages);
        let (count, rest) = (messages.len(), estimate(&messages[memory.covers..]));
        if memory.text.is_empty() {
            let due = self.due[0];
            return format!(
                "No memory yet: the first one is made at {due} tokens. By now there are about {rest}, in {count} messages.{what_runs}"
            );
        }
        let what = match memory.covers {
            0 => format!("what was compacted; with it, the conversation has about {rest} tokens"),
            covers => {
                format!("{covers} of {count} messages; about {rest} tokens follow word for word")
            }
        };
        let (text, (updates, read, wrote)) = (memory.text, memory.cost);
        format!(
            "The memory covers {what}.{what_runs}\nUpdates so far: {updates}, {read} tokens read, {wrote} written.\n{text}"
        )
    }
}

/// An update came. It counts if the conversation still begins with what it covers.
fn land(session: &Session, id: &str, new: New, usage: Usage) -> Result<(), String> {
    let mut kept = lock(&session.0);
    if kept.id != id {
        return Ok(());
    }
    let messages = &kept.past.messages;
    let mut memory = Remembered::of(&kept.past, messages);
    let (updates, read, wrote) = &mut memory.cost;
    *updates += 1;
    *read += usage.input_tokens + usage.cache_creation_input_tokens;
    *read += usage.cache_read_input_tokens;
    *wrote += usage.output_tokens;
    if mark(messages, new.1) == new.2 {
        (memory.text, memory.covers, memory.mark) = new;
    }
    let written = kept.put(Record::Agent(NAME.to_string(), usage));
    let written = written.and_then(|()| kept.put(memory.record()));
    written.map_err(|why| why.to_string())
}

impl Remembered {
    /// What the session remembers of this conversation.
    fn of(past: &Past, messages: &[Message]) -> Self {
        let kept = past.extra.get(NAME).cloned();
        let mut memory: Self = kept.and_then(|it| from_value(it).ok()).unwrap_or_default();
        if memory.covers > messages.len() || memory.mark != mark(messages, memory.covers) {
            (memory.text, memory.covers) = Default::default(); // what it cost, it cost
        }
        memory
    }

    /// The memory, and after it what it does not cover.
    fn carry(&self, messages: &[Message]) -> Vec<Message> {
        let mut carried = Vec::new();
        if self.covers > 0 {
            push_note(&mut carried, block(NAME, "", &self.text));
        }
        for message in &messages[self.covers..] {
            append(&mut carried, message.role, message.content.clone());
        }
        carried
    }

    fn record(&self) -> Record {
        Record::Extra(NAME.to_string(), json!(self))
    }
}

/// True after a reply without calls: there, a cut does not part a call from its result.
fn may_cut(messages: &[Message]) -> bool {
    let is_call = |block: &ContentBlock| block.as_call().is_some();
    let last = messages.last().filter(|it| it.role == Role::Assistant);
    last.is_some_and(|it| !it.content.iter().any(is_call))
}

/// A number for how a conversation begins, and for so many of its messages: FNV-1a. Results of tools
/// do not count, as they may be shortened. `None` if there are not so many.
fn mark(messages: &[Message], count: usize) -> Option<u64> {
    let first = messages.first()?.content.first()?;
    let covered = messages.get(..count)?.iter().flat_map(|it| &it.content);
    let counts = |block: &&ContentBlock| !matches!(block, ContentBlock::ToolResult { .. });
    let texts = once(first).chain(covered).filter(counts);
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let add = |hash, it| json!(it).to_string().bytes().fold(hash, step);
    Some(texts.fold(0xcbf2_9ce4_8422_2325, add))
}
