//! s13 · Sessions: nothing said is lost. The conversation is kept in a file, and goes on from there
//! after the program has ended, however it ended.
//!
//! A session is a decorator of the model and a reader of events. What is sent stands in the file
//! before it is sent. A result is delivered when it stands there, so it is told once.

mod kept;
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::Agent;
use crate::delivery::note;
use crate::event::{Event, Stamped};
use crate::message::{Message, Reply, Role, StopReason, push_note};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::repl::Repl;
use kept::Kept;
use record::append;
pub use record::{Past, Record};

/// Where sessions are, in the current folder.
pub const FOLDER: &str = ".sessions";
/// What is told of a task whose end was not kept.
const ENDED: &str = "ERROR: ended with the program";

/// The session that is being kept. Clones are the same.
#[derive(Clone)]
pub struct Session(Arc<Mutex<Kept>>);

impl Session {
    /// A new session in this folder.
    pub fn new(folder: impl Into<PathBuf>, lesson: &str) -> Self {
        let mut kept = Kept::new(&Kept::default());
        (kept.folder, kept.lesson) = (folder.into(), lesson.to_string());
        Session(Arc::new(Mutex::new(kept)))
    }

    /// The same, which reads what happens in contexts that are taken from now on.
    pub fn attach(options: &Options, repl: &mut Repl) -> Self {
        let session = Session::new(FOLDER, &options.name);
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
                kept.tasks.insert(id.clone(), (what.clone(), None));
                kept.write(&Record::Task(id.clone(), what.clone()));
            }
            (Event::TaskFinished { id, result }, _) => {
                kept.tasks.entry(id.clone()).or_default().1 = Some(result.clone());
                kept.write(&Record::Ended(id.clone(), result.clone()));
            }
            (Event::Delivered(id, _), _) => {
                kept.tasks.remove(id);
                kept.delivered.push(id.clone());
            }
            (Event::RequestFinished(Some(usage)), Some(agent)) => {
                kept.write(&Record::Agent(agent.to_string(), kept::now(), *usage));
            }
            _ => {}
        }
    }

    /// The agent whose conversation is kept. Sub-agents that were made of it before are not.
    pub fn keep(&self, agent: &Agent) -> Agent {
        self.kept().model = agent.model.describe();
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
            ("/clear", _) => self.clear(messages),
            ("/resume", name) => self.resume(name, messages),
            ("/rename", "") => Err("Which name? For example: /rename theme".to_string()),
            ("/rename", name) => self.rename(name),
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
        if kept.lines > 0 {
            repl.say(format!(
                "To go on with this session: --resume {}",
                kept.name()
            ));
        }
    }

    fn clear(&self, messages: &mut Vec<Message>) -> Result<String, String> {
        let mut kept = self.kept();
        let mut new = Kept::new(&kept);
        new.take_over(&mut kept);
        messages.clear();
        let old = std::mem::replace(&mut *kept, new);
        Ok(format!(
            "A new session. /resume {} goes back to the last one.",
            old.name()
        ))
    }

    /// Goes on with another session, whose conversation takes the place of this one. What became of
    /// its background tasks joins that, and is part of the text for the person.
    ///
    /// # Errors
    /// When it cannot be had: in a sentence. Nothing has changed then.
    pub fn resume(&self, name: &str, messages: &mut Vec<Message>) -> Result<String, String> {
        let mut kept = self.kept();
        let id = find(&kept.folder, name)?;
        if id == kept.id {
            return Err("This is that session.".to_string());
        }
        let (mut new, past) = Kept::open(&kept, &id)?;
        let count = past.messages.len();
        let mut said = vec![format!("{}: {count} messages.", new.name())];
        said.extend(past.problems);
        *messages = past.messages;
        for (id, (_, result)) in past.tasks {
            let text = format!("{id}: {}", result.as_deref().unwrap_or(ENDED));
            said.push(format!("◆ {}", text.lines().next().unwrap_or_default()));
            push_note(messages, note(&id, &text));
            new.delivered.push(id);
        }
        new.keep(messages, None);
        new.take_over(&mut kept);
        *kept = new;
        Ok(said.join("\n"))
    }

    fn rename(&self, name: &str) -> Result<String, String> {
        let mut kept = self.kept();
        kept.name = Some(name.to_string());
        kept.write(&Record::Name(name.to_string()));
        Ok(format!("This session is {name}."))
    }

    fn fork(&self, name: &str) -> Result<String, String> {
        let mut kept = self.kept();
        let mut fork = Kept::new(&kept);
        fork.name = (!name.is_empty()).then(|| name.to_string());
        fork.written.clone_from(&kept.written);
        let made = fork.create(Some((kept.id.clone(), kept.lines)));
        made.map_err(|why| format!("The fork cannot be written: {why}."))?;
        fork.take_over(&mut kept);
        let parent = std::mem::replace(&mut *kept, fork);
        let (fork, parent) = (kept.name(), parent.name());
        Ok(format!(
            "This is {fork}, a fork of {parent}, which stays as it is."
        ))
    }
}

/// The id of the session with this name or id, or with one that begins so.
fn find(folder: &Path, word: &str) -> Result<String, String> {
    let (mut exact, mut begin) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = file.strip_suffix(".jsonl") else {
            continue;
        };
        let name = Past::read(folder, id, &mut |_| {}).map(|past| past.name);
        let name = name.ok().flatten().unwrap_or_default();
        if id == word || name == word {
            exact.push(id.to_string());
        } else if id.starts_with(word) || name.starts_with(word) {
            begin.push(id.to_string());
        }
    }
    let found = if exact.is_empty() { begin } else { exact };
    match &found[..] {
        [id] => Ok(id.clone()),
        [] => Err(format!("There is no session {word:?}. /resume lists them.")),
        ids => Err(format!(
            "Several sessions are called so: {}.",
            ids.join(", ")
        )),
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
