//! s13 · Sessions: nothing said is lost. The conversation is kept in a file, and goes on from there
//! after the program has ended, however it ended.
//!
//! A session is a decorator of the model and a reader of events. What is sent stands in the file
//! before it is sent. A result is delivered when it stands there, so it is told once.

mod kept;
mod record;

use std::mem::replace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::Agent;
use crate::delivery::note;
use crate::event::{Event, Stamped};
use crate::message::repair::{append, repair};
use crate::message::{Message, Reply, Role, StopReason, push_note};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::repl::Repl;
use kept::Kept;
use record::{Opened, find};
pub use record::{Past, Record};

/// Where sessions are, in the current folder.
pub const FOLDER: &str = ".sessions";
/// What is told of a task whose end was not kept.
const ENDED: &str = "ERROR: ended with the program";

/// The session that is being kept. Clones are the same.
#[derive(Clone)]
pub struct Session(Arc<Mutex<Kept>>);

impl Session {
    /// A new session, of this lesson.
    pub fn new(lesson: &str) -> Self {
        let lesson = lesson.to_string();
        let opened = Opened {
            lesson,
            ..Opened::default()
        };
        Session(Arc::new(Mutex::new(Kept::new(&opened, None))))
    }

    /// The same, which reads what happens in contexts that are taken from now on.
    pub fn attach(options: &Options, repl: &mut Repl) -> Self {
        let session = Session::new(&options.name);
        let reader = session.clone();
        repl.add_reader(Box::new(move |stamped| reader.note(stamped)));
        repl.command("/resume [NAME]", "go on with another session");
        repl.command("/rename NAME", "name this session");
        repl.command("/fork [NAME]", "go on in a copy of this session");
        session
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event from the stream. Emits none, as it would wait for itself.
    pub fn note(&self, stamped: Stamped<'_>) {
        let mut kept = self.kept();
        match (stamped.event, stamped.agent) {
            (Event::TurnStarted(_), None) => kept.is_first = true,
            (Event::TurnFinished, None) => kept.sync(),
            (Event::TaskStarted { id, what }, _) => {
                kept.put(Record::Task(id.clone(), (what.clone(), None)));
            }
            (Event::TaskFinished { id, result }, _) => {
                let (what, _) = kept.past.tasks.get(id).cloned().unwrap_or_default();
                kept.put(Record::Task(id.clone(), (what, Some(result.clone()))));
            }
            (Event::Delivered(id, _), _) => kept.delivered.push(id.clone()),
            (Event::RequestFinished(Some(usage)), Some(agent)) => {
                kept.put(Record::Agent(agent.to_string(), kept::now(), *usage));
            }
            _ => {}
        }
    }

    /// The agent whose conversation is kept. Sub-agents that were made of it before are not.
    pub fn keep(&self, agent: &Agent) -> Agent {
        self.kept().opened.model = agent.model.describe();
        let (mut agent, session) = (agent.clone(), self.clone());
        let model = agent.model;
        agent.model = Arc::new(Keeper { model, session });
        agent
    }

    /// The conversation to begin with: that of `--resume`, or none. `None` if it cannot be had, which
    /// is said.
    pub fn begin(&self, options: &Options, repl: &Repl) -> Option<Vec<Message>> {
        let mut messages = Vec::new();
        if let Some(name) = &options.resume {
            let resumed = self.resume(name, &mut messages);
            let failed = resumed.is_err();
            repl.say(resumed.unwrap_or_else(|why| why));
            if failed {
                return None;
            }
        }
        Some(messages)
    }

    /// Carries out `/clear`, `/resume`, `/rename` and `/fork`. False if the line is something else.
    /// What was added to the conversation between turns is kept.
    pub fn command(&self, repl: &Repl, line: &str, messages: &mut Vec<Message>) -> bool {
        self.kept().keep(messages, None);
        let (command, name) = line.split_once(' ').unwrap_or((line, ""));
        let done = match (command, name.trim()) {
            ("/clear", _) => Ok(self.clear(messages)),
            ("/resume", name) => self.resume(name, messages),
            ("/rename", "") => Err("Which name? For example: /rename theme".to_string()),
            ("/rename", name) => Ok(self.rename(name)),
            ("/fork", name) => self.fork(name),
            _ => return false,
        };
        repl.say(done.unwrap_or_else(|why| why));
        true
    }

    /// Keeps what was added last, and says how to come back.
    pub fn close(&self, repl: &Repl, messages: &[Message]) {
        let mut kept = self.kept();
        kept.keep(messages, None);
        kept.sync();
        if kept.past.lines > 0 {
            repl.say(format!(
                "To go on with this session: --resume {}",
                kept.name()
            ));
        }
    }

    fn clear(&self, messages: &mut Vec<Message>) -> String {
        messages.clear();
        let mut kept = self.kept();
        let mut new = Kept::new(&kept.opened, None);
        new.take_over(&mut kept);
        let old = replace(&mut *kept, new);
        let name = old.name();
        format!("A new session. /resume {name} goes back to the last one.")
    }

    /// Goes on with another session, whose conversation takes the place of this one. What became of
    /// its background tasks joins it, and is part of the text for the person.
    ///
    /// # Errors
    /// When it cannot be had: in a sentence. Nothing has changed then.
    pub fn resume(&self, name: &str, messages: &mut Vec<Message>) -> Result<String, String> {
        let mut kept = self.kept();
        let mut new = Kept::new(&kept.opened, None);
        new.id = find(name)?;
        if new.id == kept.id {
            return Err("This is that session.".to_string());
        }
        let failed = |why| format!("{name} cannot be resumed: {why}.");
        new.open().map_err(failed)?;
        *messages = repair(new.past.messages.clone());
        let mut said = vec![format!("{}: {} messages.", new.name(), messages.len())];
        said.append(&mut new.past.problems);
        for (id, (_, result)) in &new.past.tasks {
            let text = format!("{id}: {}", result.as_deref().unwrap_or(ENDED));
            said.push(format!("◆ {}", text.lines().next().unwrap_or_default()));
            push_note(messages, note(id, &text));
            new.delivered.push(id.clone());
        }
        new.keep(messages, None);
        new.take_over(&mut kept);
        *kept = new;
        Ok(said.join("\n"))
    }

    fn rename(&self, name: &str) -> String {
        let mut kept = self.kept();
        kept.put(Record::Name(name.to_string()));
        format!("This session is {name}.")
    }

    fn fork(&self, name: &str) -> Result<String, String> {
        let mut kept = self.kept();
        let mut fork = Kept::new(&kept.opened, Some((kept.id.clone(), kept.past.lines)));
        let made = fork.open();
        made.map_err(|why| format!("The fork cannot be written: {why}."))?;
        if !name.is_empty() {
            fork.put(Record::Name(name.to_string()));
        }
        fork.take_over(&mut kept);
        let parent = replace(&mut *kept, fork);
        let (fork, parent) = (kept.name(), parent.name());
        Ok(format!(
            "This is {fork}, a fork of {parent}, which stays as it is."
        ))
    }
}

/// The model of the main conversation.
struct Keeper {
    model: Arc<dyn Model>,
    session: Session,
}

impl Model for Keeper {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let mut messages = request.messages.to_vec();
        let mut kept = self.session.kept();
        kept.keep(&messages, None);
        let trouble = kept.trouble.take();
        drop(kept);
        trouble.into_iter().for_each(|it| request.events.notice(it));
        let reply = self.model.reply(request)?;
        if reply.stop_reason != StopReason::Refusal {
            append(&mut messages, Role::Assistant, reply.content.clone());
            self.session.kept().keep(&messages, Some(reply.usage));
        }
        Ok(reply)
    }

    fn describe(&self) -> String {
        self.model.describe()
    }

    fn is_practice(&self) -> bool {
        self.model.is_practice()
    }
}
