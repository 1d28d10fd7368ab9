//! s13 · The session that is being kept: its file, and what that says by now.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::mem::take;
use std::time::UNIX_EPOCH;

use super::FOLDER;
use super::record::{FORMAT, Opened, Past, Record, Said, path, swap_notes};
use crate::journal::Journal;
use crate::message::{Message, Usage};
use crate::tools::files::make_own_folder;
use crate::worktree::exclude;

#[derive(Default)]
pub struct Kept {
    pub id: String,
    /// What the first line will say.
    pub opened: Opened,
    /// What the file says.
    pub past: Past,
    /// `None` until something is to be kept.
    journal: Option<Journal>,
    /// Tasks whose results were put into the conversation since the last record of it.
    pub delivered: Vec<String>,
    /// A turn began: what is said next is on disk before it is sent.
    pub is_first: bool,
    /// Why something could not be written, until it is told.
    pub trouble: Option<String>,
}

impl Kept {
    /// A new session, or a fork. There is no file yet.
    pub fn new(opened: &Opened, parent: Option<(String, usize)>) -> Self {
        let mut random = RandomState::new().build_hasher().finish();
        let letter = |_| {
            random /= 16;
            char::from(b'k' + (random % 16) as u8) // never taken for a number
        };
        let mut kept = Kept::default();
        kept.id = (0..8).map(letter).collect();
        kept.opened.clone_from(opened);
        (kept.opened.format, kept.opened.parent) = (FORMAT, parent);
        kept
    }

    /// Goes on with the session of this id, or makes its file.
    ///
    /// # Errors
    /// When it cannot be read or written, or another program has it.
    pub fn open(&mut self) -> io::Result<()> {
        make_own_folder(FOLDER.as_ref())?;
        let held = Journal::hold(&path(&self.id));
        self.past = Past::read(&self.id, usize::MAX, 0)?;
        let mut journal = held.map_err(|why| match why.kind() {
            ErrorKind::WouldBlock => {
                let why = format!("process {} has it", self.past.process);
                io::Error::other(why)
            }
            _ => why,
        })?;
        journal.cut(self.past.end)?;
        let mut opened = self.opened.clone();
        (opened.time, opened.process) = (now(), std::process::id());
        opened.folder = std::env::current_dir().unwrap_or_default();
        journal.append(&Record::Opened(opened))?;
        let problems = take(&mut self.past.problems);
        self.past = Past::read(&self.id, usize::MAX, 0)?;
        self.past.problems = problems;
        self.journal = Some(journal);
        Ok(())
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.past.name.as_deref().unwrap_or(&self.id)
    }

    /// Writes a record. If that fails, it is told with the next request.
    pub fn put(&mut self, record: Record) -> bool {
        let written = self.write(&record);
        match &written {
            Ok(()) => self.past.add(record),
            Err(why) => {
                let path = path(&self.id);
                self.trouble = Some(format!("{} is not written: {why}.", path.display()));
            }
        }
        written.is_ok()
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        if self.journal.is_none() {
            self.open()?;
            exclude(".sessions/");
            File::open(FOLDER)?.sync_all()?;
        }
        self.journal.iter_mut().try_for_each(|it| it.append(record))
    }

    /// Everything that was written is on disk when this returns.
    pub fn sync(&self) {
        let _ = self.journal.as_ref().map(Journal::sync);
    }

    /// Writes what of the conversation the file does not have, in one record.
    pub fn keep(&mut self, messages: &[Message], usage: Option<Usage>) {
        let written = &self.past.messages;
        let pairs = messages.iter().zip(written);
        let at = pairs.take_while(|(new, old)| new == old).count();
        let is_same = at == written.len().max(messages.len());
        if is_same && self.delivered.is_empty() {
            return;
        }
        let said = Said {
            at,
            time: now(),
            messages: messages[at..].iter().cloned().map(swap_notes).collect(),
            delivered: self.delivered.clone(),
            usage,
        };
        if self.put(Record::Said(said)) {
            self.delivered.clear();
            if take(&mut self.is_first) {
                self.sync();
            }
        }
    }

    /// From now on, the tasks of the session before are told here.
    pub fn take_over(&mut self, before: &mut Kept) {
        for (id, task) in before.past.tasks.clone() {
            self.put(Record::Task(id.clone(), task));
            before.delivered.push(id);
        }
        before.keep(&before.past.messages.clone(), None);
    }
}

/// In milliseconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
