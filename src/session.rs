//! s13 · Sessions: nothing said is lost. The conversation is kept in a file, and goes on from there
//! after the program has ended, however it ended.
//!
//! A session is a decorator of the model and a reader of events. What is sent stands in the file
//! before it is sent. A result is delivered when it stands there, so it is told once.

mod kept;
mod record;

use std::mem::{replace, take};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::Agent;
use crate::delivery::note;
use crate::event::{Event, Stamped};
use crate::journal::now;
use crate::message::stored::{append, repair};
use crate::message::{Message, Reply, Role, StopReason, push_note};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::repl::Repl;
use crate::terminal::quit;
use kept::Kept;
use record::{Opened, path};
pub use record::{Past, Record};

/// Where sessions are, in the current folder.
pub const FOLDER: &str = ".sessions";
/// What is told of a task whose end was not kept.
const ENDED: &str = "ERROR: ended with the program";

/// The session that is being kept. Clones are the same.
#[derive(Clone)]
pub struct Session(Arc<Mutex<Kept>>);

impl Session {
    /// A new session, without a file as long as nothing is said.
    #[expect(
        clippy::new_without_default,
        reason = "its id is another one each time"
    )]
    pub fn new() -> Self {
        let kept = Kept::new(Opened::default(), None);
        Session(Arc::new(Mutex::new(kept)))
    }

    /// The same, which reads what happens in contexts that are taken from now on.
    pub fn attach(options: &Options, repl: &mut Repl) -> Self {
        let session = Session::new();
        session.kept().opened.lesson.clone_from(&options.name);
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
                kept.put(Record::Agent(agent.to_string(), now(), *usage));
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

    /// The conversation to begin with: that of `--resume`, or none. If it cannot be had, this says
    /// why, and the program ends.
    pub fn begin(&self, options: &Options, repl: &Repl) -> Vec<Message> {
        let mut messages = Vec::new();
        let resumed = options.resume.as_ref();
        match resumed.map(|id| self.resume(id, &mut messages)) {
            None => {}
            Some(Ok(said)) => repl.say(said),
            Some(Err(why)) => {
                repl.say(why);
                quit(1)
            }
        }
        messages
    }

    /// Carries out `/clear`, `/resume`, `/rename` and `/fork`. False if the line is something else.
    /// What was added to the conversation between turns is kept.
    pub fn command(&self, repl: &Repl, line: &str, messages: &mut Vec<Message>) -> bool {
        self.kept().keep(messages, None);
        let (command, name) = line.split_once(' ').unwrap_or((line, ""));
        let done = match (command, name.trim()) {
            ("/clear", _) => self.go_on(self.another(None), messages),
            ("/resume", id) => self.resume(id, messages),
            ("/rename", "") => Err("Which name? For example: /rename theme".to_string()),
            ("/rename", name) => self.rename(name),
            ("/fork", name) => self.fork(name, messages),
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
        if kept.past.extent.lines > 0 {
            let name = kept.name();
            repl.say(format!("To go on with this session: --resume {name}"));
        }
    }

    fn rename(&self, name: &str) -> Result<String, String> {
        self.kept().put(Record::Name(name.to_string()));
        Ok(format!("This session is {name}."))
    }

    fn fork(&self, name: &str, messages: &mut Vec<Message>) -> Result<String, String> {
        let (id, lines) = (self.kept().id.clone(), self.kept().past.extent.lines);
        if lines == 0 {
            return Err("Nothing was said so far.".to_string());
        }
        let said = self.go_on(self.another(Some((id, lines))), messages)?;
        match name {
            "" => Ok(said),
            name => self.rename(name).map(|_| said),
        }
    }

    /// Goes on with the session of this id; its conversation takes the place of this one.
    ///
    /// # Errors
    /// When it cannot be had: in a sentence. Nothing has changed then.
    pub fn resume(&self, id: &str, messages: &mut Vec<Message>) -> Result<String, String> {
        let mut new = self.another(None);
        new.id = id.to_string();
        match path(id).is_file() {
            _ if id == self.kept().id => Err("This is that session.".to_string()),
            true => self.go_on(new, messages),
            false => Err(format!("There is no session {id:?}. /resume lists them.")),
        }
    }

    fn another(&self, parent: Option<(String, usize)>) -> Kept {
        Kept::new(self.kept().opened.clone(), parent)
    }

    /// Goes on in a new session, in a fork, or in one that is there. Says which, and what became of
    /// the background tasks of the last.
    fn go_on(&self, mut new: Kept, messages: &mut Vec<Message>) -> Result<String, String> {
        let is_fork = new.opened.parent.is_some();
        if is_fork || path(&new.id).is_file() {
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
        new.keep(messages, None);
        let mut kept = self.kept();
        new.take_over(&mut kept);
        let old = replace(&mut *kept, new);
        let (new, old, count) = (kept.name(), old.name(), messages.len());
        told.insert(
            0,
            format!("Session {new}, {count} messages. To go back: /resume {old}"),
        );
        Ok(told.join("\n"))
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
