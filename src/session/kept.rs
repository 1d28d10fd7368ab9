//! s13 · The session that is being kept: its file, and what that says by now.

use std::io;
use std::mem::take;

use super::FOLDER;
use super::record::{FORMAT, Opened, Past, Record, Said, path};
use crate::journal::{Journal, new_name, now};
use crate::message::stored::swap_notes;
use crate::message::{Message, Usage};
use crate::notification::TaskId;
use crate::tools::files::make_own_folder;
use crate::worktree::exclude;

#[derive(Default)]
pub struct Kept {
    pub id: String,
    pub opened: Opened,
    /// What the file says.
    pub past: Past,
    /// `None` until something is to be kept.
    journal: Option<Journal>,
    /// Tasks whose results were put into the conversation since the last record of it.
    pub delivered: Vec<String>,
    /// A turn began: what is said next is on disk before it is sent.
    pub is_first: bool,
}

impl Kept {
    /// A new session. There is no file yet.
    pub fn new(opened: Opened) -> Self {
        let mut kept = Kept::default();
        (kept.id, kept.opened) = (new_name(), opened);
        kept
    }

    /// Goes on with the session of this id, or makes its file. Fails if another program has it.
    pub fn open(&mut self) -> io::Result<()> {
        make_own_folder(FOLDER.as_ref())?;
        let held = Journal::hold(&path(&self.id))?;
        self.past = Past::read(&self.id, usize::MAX, 0)?;
        let Some(journal) = held else {
            let why = format!("process {} has it", self.past.process);
            return Err(io::Error::other(why));
        };
        journal.cut(self.past.extent.end)?;
        self.journal = Some(journal);
        let mut opened = self.opened.clone();
        (opened.format, opened.time) = (FORMAT, now());
        (opened.process, opened.folder) = (std::process::id(), std::env::current_dir()?);
        let begun = self.put(Record::Opened(opened));
        begun.inspect_err(|_| self.journal = None)
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.past.name.as_deref().unwrap_or(&self.id)
    }

    /// Writes a record. Should that fail, what of the conversation is missing comes with the next.
    pub fn put(&mut self, record: Record) -> io::Result<()> {
        if self.journal.is_none() {
            self.open()?;
            let _ = exclude("".as_ref(), ".sessions/");
        }
        self.journal.iter().try_for_each(|it| it.append(&record))?;
        self.past.add(record)
    }

    /// Everything that was written is on disk when this returns.
    pub fn sync(&self) {
        let _ = self.journal.as_ref().map(Journal::sync);
    }

    /// Writes what of the conversation the file does not have, in one record.
    pub fn keep(&mut self, messages: &[Message], usage: Option<Usage>) -> io::Result<()> {
        let written = &self.past.messages;
        let pairs = messages.iter().zip(written);
        let at = pairs.take_while(|(new, old)| new == old).count();
        let is_same = at == written.len().max(messages.len());
        if is_same && self.delivered.is_empty() {
            return Ok(());
        }
        let (time, delivered) = (now(), self.delivered.clone());
        let messages = messages[at..].iter().cloned().map(swap_notes).collect();
        self.put(Record::Said(Said {
            at,
            time,
            messages,
            delivered,
            usage,
        }))?;
        self.delivered.clear();
        if take(&mut self.is_first) {
            self.sync();
        }
        Ok(())
    }

    /// Keeps what is about to be sent, and first that these tasks run: their threads may be late.
    pub fn send(&mut self, running: Vec<TaskId>, messages: &[Message]) -> io::Result<()> {
        for id in running.iter().map(TaskId::to_string) {
            if !self.past.tasks.contains_key(&id) {
                self.put(Record::Task(id, Default::default()))?;
            }
        }
        self.keep(messages, None)
    }

    /// From now on, the tasks of the session before are told here.
    pub fn take_over(&mut self, before: &mut Kept) -> io::Result<()> {
        for (id, task) in before.past.tasks.clone() {
            self.put(Record::Task(id.clone(), task))?;
            before.delivered.push(id);
        }
        before.keep(&before.past.messages.clone(), None)
    }
}
