//! s13 · Sessions: nothing said is lost. The conversation is kept in a file, from which it can go on
//! after the program has ended, however it ended.
//!
//! A session is a decorator of the model and a reader of events. What is sent stands in the file
//! before it is sent; and a result is delivered when it stands there, so each is told once.

mod kept;
mod list;
mod record;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::Agent;
use crate::delivery::note;
use crate::event::{Event, Stamped};
use crate::message::{Message, Reply, Role, StopReason, push_note};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::repl::Repl;
use kept::{Kept, Program};
use list::{age, count, find, numbered};
use record::Record;

const FOLDER: &str = ".sessions";
/// What is told of a task whose end was not kept.
const ENDED: &str = "ERROR: ended with the program";

/// The session that is being kept. Clones are the same.
#[derive(Clone)]
pub struct Session {
    kept: Arc<Mutex<Kept>>,
    /// What `--resume` names.
    resume: Option<String>,
}

impl Session {
    /// A new session, which reads what happens in contexts that are taken from now on.
    pub fn open(options: &Options, repl: &mut Repl) -> Self {
        let program = Program {
            folder: FOLDER.into(),
            lesson: options.name.clone(),
            model: String::new(),
        };
        let session = Session {
            kept: Arc::new(Mutex::new(Kept::new(&program))),
            resume: options.resume.clone(),
        };
        let reader = session.clone();
        repl.add_reader(Box::new(move |stamped| reader.note(stamped)));
        repl.command(
            "/resume [NAME]",
            "go on with another session; alone: list them",
        );
        repl.command("/rename NAME", "name this session");
        repl.command("/fork [NAME]", "go on in a copy of this session");
        session
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event from the stream. Must emit none.
    fn note(&self, stamped: Stamped<'_>) {
        let mut kept = self.kept();
        match (stamped.event, stamped.agent) {
            (Event::TurnStarted(_), None) => kept.is_first = true,
            (Event::TurnFinished, None) => kept.sync(),
            (Event::TaskStarted { id, what }, _) => {
                let (id, what) = (id.clone(), what.clone());
                kept.tasks.insert(id.clone(), (what.clone(), None));
                kept.write(&Record::Task { id, what });
            }
            (Event::TaskFinished { id, result }, _) => {
                let (id, result) = (id.clone(), result.clone());
                kept.tasks.entry(id.clone()).or_default().1 = Some(result.clone());
                kept.write(&Record::Ended { id, result });
            }
            (Event::Delivered(id, _), _) => {
                kept.tasks.remove(id);
                kept.delivered.push(id.clone());
            }
            (Event::RequestFinished(Some(usage)), Some(agent)) => {
                let (name, time, usage) = (agent.to_string(), kept::now(), *usage);
                kept.write(&Record::Agent { name, time, usage });
            }
            _ => {}
        }
    }

    /// The agent whose conversation is kept. Agents that were made of it before are not.
    pub fn keep(&self, agent: &Agent) -> Agent {
        self.kept().program.model = agent.model.describe();
        let (session, model) = (self.clone(), agent.model.clone());
        let model = Arc::new(Keeper { session, model });
        Agent {
            model,
            ..agent.clone()
        }
    }

    /// The conversation to begin with. `None` if the one that `--resume` names cannot be had, or is
    /// only to be looked for; that is said.
    pub fn begin(&self, repl: &Repl) -> Option<Vec<Message>> {
        let mut messages = Vec::new();
        match self.resume.as_deref() {
            None => Some(messages),
            Some("") => {
                repl.say(numbered(Path::new(FOLDER)) + "\nTo go on with one: --resume NAME");
                None
            }
            Some(name) => {
                let resumed = self.resume(name, &mut messages);
                let went_well = resumed.is_ok();
                repl.say(resumed.unwrap_or_else(|why| why));
                went_well.then_some(messages)
            }
        }
    }

    /// Carries out `/clear`, `/resume`, `/rename` and `/fork`. False if the line is something else.
    /// Whatever it is, what was added to the conversation between turns is kept.
    pub fn command(&self, repl: &Repl, line: &str, messages: &mut Vec<Message>) -> bool {
        self.kept().keep(messages);
        let (command, name) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.trim();
        let said = match command {
            "/clear" => Ok(self.clear(messages)),
            "/resume" if name.is_empty() => {
                Ok(numbered(Path::new(FOLDER)) + "\nTo go on with one: /resume NAME")
            }
            "/resume" => self.resume(name, messages),
            "/rename" => self.rename(name),
            "/fork" => self.fork(name),
            _ => return false,
        };
        repl.say(said.unwrap_or_else(|why| why));
        true
    }

    /// Keeps what was added last, and says how to come back.
    pub fn close(&self, repl: &Repl, messages: &[Message]) {
        let mut kept = self.kept();
        kept.keep(messages);
        kept.sync();
        if kept.file.is_some() {
            let name = kept.name();
            repl.say(format!("To go on with this session: --resume {name}"));
        }
    }

    fn clear(&self, messages: &mut Vec<Message>) -> String {
        let mut kept = self.kept();
        let mut new = Kept::new(&kept.program);
        new.take_over(&mut kept);
        let back = match &kept.file {
            Some(_) => format!(" To come back to the last one: /resume {}", kept.name()),
            None => String::new(),
        };
        *kept = new;
        messages.clear();
        format!("A new session.{back}")
    }

    fn resume(&self, name: &str, messages: &mut Vec<Message>) -> Result<String, String> {
        let id = find(Path::new(FOLDER), name)?;
        let mut kept = self.kept();
        if kept.id == id {
            return Err("This is that session.".to_string());
        }
        let (mut new, past) = Kept::open(&kept.program, &id)?;
        let (turns, age) = (count(past.turns, "turn"), age(past.time));
        let mut said = vec![format!("{}: {turns}, the last one {age}.", new.name())];
        said.extend(past.problems);
        *messages = past.messages;
        for (id, (_, result)) in past.tasks {
            let text = format!("{id}: {}", result.as_deref().unwrap_or(ENDED));
            said.push(format!("◆ {}", text.lines().next().unwrap_or_default()));
            push_note(messages, note(&id, &text));
            new.delivered.push(id);
        }
        new.keep(messages);
        new.take_over(&mut kept);
        *kept = new;
        Ok(said.join("\n"))
    }

    fn rename(&self, name: &str) -> Result<String, String> {
        let mut kept = self.kept();
        expect_new(name, &kept.id)?;
        kept.name = Some(name.to_string());
        if kept.file.is_some() {
            kept.write(&Record::Name(name.to_string()));
        }
        Ok(format!("This session is {name}."))
    }

    fn fork(&self, name: &str) -> Result<String, String> {
        let mut kept = self.kept();
        if kept.file.is_none() {
            return Err("Nothing was said so far that a fork could begin from.".to_string());
        }
        let mut fork = Kept::new(&kept.program);
        if !name.is_empty() {
            expect_new(name, &fork.id)?;
            fork.name = Some(name.to_string());
        }
        fork.parent = Some((kept.id.clone(), kept.size.0));
        fork.written.clone_from(&kept.written);
        fork.create();
        fork.take_over(&mut kept);
        let (name, parent) = (fork.name().to_string(), kept.name().to_string());
        *kept = fork;
        Ok(format!(
            "This is {name}, a fork. {parent} stays as it is: /resume {parent}"
        ))
    }
}

/// Looks whether a name can be given to this session.
fn expect_new(name: &str, id: &str) -> Result<(), String> {
    let (rows, _) = list::all(Path::new(FOLDER));
    match rows.iter().find(|row| row.id != id && row.name() == name) {
        _ if name.is_empty() => Err("Which name? For example: /rename theme".to_string()),
        Some(_) => Err(format!(
            "Another session is called {name}. Choose another name."
        )),
        None => Ok(()),
    }
}

/// The model of the main conversation.
struct Keeper {
    session: Session,
    model: Arc<dyn Model>,
}

impl Model for Keeper {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let mut kept = self.session.kept();
        kept.keep(request.messages);
        let trouble = kept.trouble.take();
        drop(kept);
        trouble
            .into_iter()
            .for_each(|text| request.events.notice(text));
        let reply = self.model.reply(request)?;
        let mut kept = self.session.kept();
        let is_said = reply.stop_reason != StopReason::Refusal && !reply.content.is_empty();
        if is_said && kept.written.len() == request.messages.len() {
            let message = Message::new(Role::Assistant, reply.content.clone());
            kept.reply(message, reply.usage);
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
