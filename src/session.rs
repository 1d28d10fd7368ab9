//! s13 · Sessions: the conversation is kept in a file, and goes on from there after the program has
//! ended, however it ended. A session is a decorator of the model, and a reader of events.
#![allow(missing_docs)]

mod kept;
mod record;

use std::io;
use std::mem::{replace, take};
use std::sync::{Arc, Mutex};

use crate::agent::Agent;
use crate::background::Executor;
use crate::caught::lock;
use crate::delivery::note;
use crate::event::{Event, Stamped};
use crate::message::stored::repair;
use crate::message::{Message, Reply, Role, StopReason, append, push_note};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::repl::Repl;
use crate::terminal::quit;
use kept::Kept;
use record::{Opened, path};
pub use record::{Past, Record};

pub const FOLDER: &str = ".sessions"; // in the current one
const ENDED: &str = "ERROR: ended with the program"; // of a task whose end was not kept

/// Where to go on: in a new session, in a fork of that name, or in the session of that id.
pub enum To<'a> {
    New,
    Fork(&'a str),
    There(&'a str),
}

/// The session that is being kept. Clones are the same.
#[derive(Clone)]
pub struct Session(pub(crate) Arc<Mutex<Kept>>);

impl Session {
    /// A new session, which has no file as long as nothing is said.
    pub fn begun() -> Self {
        Session(Arc::new(Mutex::new(Kept::new(Opened::default()))))
    }

    /// The same, which reads what happens in contexts that are taken from now on.
    pub fn attach(options: &Options, repl: &mut Repl) -> Self {
        let session = Session::begun();
        lock(&session.0).opened.lesson.clone_from(&options.name);
        let reader = session.clone();
        repl.add_reader(Box::new(move |stamped| reader.note(stamped)));
        repl.command("/rename NAME", "name this session");
        repl.command("/fork [NAME]", "go on in a copy of this session");
        session
    }

    /// Takes an event from the stream. Emits none, as it would wait for itself.
    pub fn note(&self, stamped: Stamped<'_>) {
        let mut kept = lock(&self.0);
        let record = match (stamped.event, stamped.agent) {
            (Event::TurnStarted(_), None) => return kept.is_first = true,
            (Event::TurnFinished, None) => return kept.sync(),
            (Event::Delivered(id, _), _) => return kept.delivered.push(id.clone()),
            (Event::TaskStarted { id, what }, _) => Record::Task(id.clone(), (what.clone(), None)),
            (Event::TaskFinished { id, result }, _) => {
                let (what, _) = kept.past.tasks.remove(id).unwrap_or_default();
                Record::Task(id.clone(), (what, Some(result.clone())))
            }
            (Event::RequestFinished(Some(usage)), Some(agent)) => {
                Record::Agent(agent.to_string(), *usage)
            }
            _ => return,
        };
        let _ = kept.put(record); // should that go wrong, the next request says so
    }

    /// The agent whose conversation is kept. Sub-agents that were made of it before are not.
    pub fn keep(&self, agent: &Agent, executor: &Executor) -> Agent {
        lock(&self.0).opened.model = agent.model.name();
        let (mut agent, session, executor) = (agent.clone(), self.clone(), executor.clone());
        let model = agent.model;
        agent.model = Arc::new(Keeper {
            model,
            session,
            executor,
        });
        agent
    }

    /// The conversation to begin with: that of `--resume`, or the program ends; without it, none.
    pub fn begin(&self, options: &Options, repl: &Repl) -> Vec<Message> {
        let mut messages = Vec::new();
        if let Some(name) = &options.resume {
            let line = repl.carry_out(format!("/resume {name}"));
            line.map(|line| self.command(repl, &line, &mut messages));
            if lock(&self.0).past.extent.lines == 0 {
                quit(1); // why, was said
            }
        }
        messages
    }

    /// Carries out `/clear`, `/resume`, `/rename` and `/fork`. False for any other line.
    pub fn command(&self, repl: &Repl, line: &str, messages: &mut Vec<Message>) -> bool {
        let _ = lock(&self.0).keep(messages, None); // should that fail, the next request says so
        let (command, name) = line.split_once(' ').unwrap_or((line, ""));
        let done = match (command, name.trim()) {
            ("/clear", _) => self.go_on(To::New, messages),
            ("/fork", name) => self.go_on(To::Fork(name), messages),
            ("/resume", id) => self.go_on(To::There(id), messages),
            ("/rename", "") => Err("Which name? For example: /rename theme".to_string()),
            ("/rename", name) => {
                let named = lock(&self.0).put(Record::Name(name.to_string()));
                let named = named.map_err(unwritten);
                named.map(|()| format!("This session is {name}."))
            }
            _ => return false,
        };
        repl.say(done.unwrap_or_else(|why| why));
        true
    }

    /// Keeps what was added last, and says how to come back.
    pub fn close(&self, repl: &Repl, messages: &[Message]) {
        let mut kept = lock(&self.0);
        let written = kept.keep(messages, None);
        written.unwrap_or_else(|why| repl.say(unwritten(why)));
        if path(&kept.id).is_file() {
            let name = kept.name();
            repl.say(format!("To go on with this session: --resume {name}"));
        }
    }

    /// Goes on elsewhere: the conversation there takes the place of this one. Says where that is, and
    /// what became of its background tasks; or why it cannot be, and nothing has changed.
    pub fn go_on(&self, to: To<'_>, messages: &mut Vec<Message>) -> Result<String, String> {
        let (mut kept, is_fork) = (lock(&self.0), matches!(to, To::Fork(_)));
        let mut new = Kept::new(kept.opened.clone());
        let lines = kept.past.extent.lines;
        new.opened.parent = (is_fork && lines > 0).then(|| (kept.id.clone(), lines));
        if let To::There(id) = to {
            if id == kept.id || !path(id).is_file() {
                return Err(format!("There is no other session {id:?}."));
            }
            new.id = id.to_string();
        }
        if new.opened.parent.is_some() || matches!(to, To::There(_)) {
            let opened = new.open();
            opened.map_err(|why| format!("Session {} cannot be used: {why}.", new.id))?;
        }
        *messages = repair(new.past.messages.clone());
        let mut told = take(&mut new.past.extent.problems);
        // A fork's are not gone: they run.
        for (id, (_, result)) in new.past.tasks.iter().filter(|_| !is_fork) {
            let text = format!("{id}: {}", result.as_deref().unwrap_or(ENDED));
            told.push(format!("◆ {}", text.lines().next().unwrap_or_default()));
            push_note(messages, note(id, &text));
            new.delivered.push(id.clone());
        }
        let mut written = new.keep(messages, None);
        if let To::Fork(name) = to
            && !name.is_empty()
        {
            written = new.put(Record::Name(name.to_string()));
        }
        let written = written.and_then(|()| new.take_over(&mut kept));
        told.extend(written.err().map(unwritten));
        let old = replace(&mut *kept, new);
        let (new, old, count) = (kept.name(), old.name(), messages.len());
        let back = format!(" To go back: /resume {old}").repeat(lines.min(1));
        told.insert(0, format!("Session {new}, {count} messages.{back}"));
        Ok(told.join("\n"))
    }
}

fn unwritten(why: io::Error) -> String {
    format!("The session is not written: {why}.")
}

struct Keeper {
    model: Arc<dyn Model>,
    session: Session,
    executor: Executor,
}

impl Model for Keeper {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let mut messages = request.messages.to_vec();
        let running = lock(&self.executor).running();
        let written = lock(&self.session.0).send(running, &messages);
        written.unwrap_or_else(|why| request.events.notice(unwritten(why)));
        let reply = self.model.reply(request)?;
        if reply.stop_reason != StopReason::Refusal {
            append(&mut messages, Role::Assistant, reply.content.clone());
            let _ = lock(&self.session.0).keep(&messages, Some(reply.usage)); // as above
        }
        Ok(reply)
    }

    fn describe(&self) -> String {
        self.model.describe()
    }
}
