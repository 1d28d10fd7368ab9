//! s13 · The session that is being kept: its file, and what stands in it by now.
//!
//! Whoever keeps it holds a lock on the file, which is never unlinked. The kernel lets go of it when
//! the program ends, however it ends.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::record::{FORMAT, Past, Record, Task, path, repair, to_file};
use crate::message::{Message, Role, Usage};
use crate::tools::files::make_own_folder;
use crate::worktree::exclude;

/// What a new record says of its program.
#[derive(Clone, Default)]
pub struct Program {
    pub folder: PathBuf,
    pub lesson: String,
    pub model: String,
}

/// A session, and what it has been told. Each record is one write.
#[derive(Default)]
pub struct Kept {
    pub program: Program,
    pub id: String,
    pub name: Option<String>,
    pub parent: Option<(String, usize)>,
    /// `None` until there is something to be kept.
    pub file: Option<File>,
    /// Lines and bytes.
    pub size: (usize, u64),
    /// The conversation, as the file has it.
    pub written: Vec<Message>,
    /// Tasks whose results were put into the conversation since.
    pub delivered: Vec<String>,
    /// Tasks whose results were not.
    pub tasks: BTreeMap<String, Task>,
    /// The next that is said is to be synced: it is the first of a turn.
    pub is_first: bool,
    /// Something was written and not synced.
    is_dirty: bool,
    /// Why something could not be kept, until it is said.
    pub trouble: Option<String>,
}

impl Kept {
    /// A new one, of which there is no file yet.
    pub fn new(program: &Program) -> Self {
        // A random number; letters from k on, so that it is never taken for the number of a row.
        let mut number = RandomState::new().build_hasher().finish();
        let letter = |_| {
            number /= 16;
            char::from(b'k' + (number % 16) as u8)
        };
        Kept {
            program: program.clone(),
            id: (0..8).map(letter).collect(),
            is_first: true,
            ..Kept::default()
        }
    }

    /// One that is there, from where it ends; and what the person is to know.
    ///
    /// # Errors
    /// When it cannot be read, or somebody else has it.
    pub fn open(program: &Program, id: &str) -> Result<(Self, Past), String> {
        let failed = |error| format!("session {id} cannot be opened: {error}.");
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .append(true)
            .open(path(&program.folder, id));
        let file = file.map_err(failed)?;
        let held = file.try_lock();
        let mut past = Past::read(&program.folder, id)?;
        if let Err(TryLockError::WouldBlock) = held {
            let process = past.process;
            return Err(format!(
                "session {id} is in use, by process {process}. Leave it there, or fork it there with /fork."
            ));
        }
        file.set_len(past.size.1).map_err(failed)?;
        let mut kept = Kept {
            id: id.to_string(),
            name: past.name.clone(),
            parent: past.parent.clone(),
            file: Some(file),
            size: past.size,
            written: past.messages.clone(),
            ..Kept::new(program)
        };
        kept.write(&kept.opened());
        past.messages = repair(std::mem::take(&mut past.messages));
        Ok((kept, past))
    }

    fn opened(&self) -> Record {
        let Program { lesson, model, .. } = self.program.clone();
        let (time, process) = (now(), std::process::id());
        Record::Opened {
            time,
            lesson,
            model,
            process,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Makes the file, with all that it is to begin with.
    pub fn create(&mut self) {
        let made = self.make_file().map(|file| self.file = Some(file));
        if let Err(why) = made {
            self.fails(&why);
            return;
        }
        let (format, parent) = (FORMAT, self.parent.clone());
        let folder = std::env::current_dir().unwrap_or_default();
        self.write(&Record::Session {
            format,
            folder,
            parent,
        });
        self.write(&self.opened());
        if let Some(name) = self.name.clone() {
            self.write(&Record::Name(name));
        }
    }

    fn make_file(&self) -> io::Result<File> {
        make_own_folder(&self.program.folder)?;
        exclude(".sessions/");
        let mut options = OpenOptions::new();
        let options = options.append(true).create_new(true).mode(0o600);
        let file = options.open(path(&self.program.folder, &self.id))?;
        let _ = file.try_lock(); // where there are no locks, go on without
        File::open(&self.program.folder)?.sync_all()?; // its name is to be there, too
        Ok(file)
    }

    fn fails(&mut self, why: &io::Error) {
        let path = path(&self.program.folder, &self.id);
        let (path, again) = (path.display(), "It is tried again with the next request.");
        self.trouble = Some(format!("{path} cannot be written: {why}. {again}"));
    }

    /// Writes a record; false if that failed.
    pub fn write(&mut self, record: &Record) -> bool {
        if self.file.is_none() {
            self.create();
        }
        let line = serde_json::to_string(record).map(|line| line + "\n");
        let (Some(file), Ok(line)) = (&mut self.file, line) else {
            return false;
        };
        if let Err(why) = file.write_all(line.as_bytes()) {
            let _ = file.set_len(self.size.1); // no half of a line in front of the next one
            self.fails(&why);
            return false;
        }
        self.size = (self.size.0 + 1, self.size.1 + line.len() as u64);
        self.is_dirty = true;
        true
    }

    /// Everything that was written is on disk when this returns.
    pub fn sync(&mut self) {
        if let Some(file) = &self.file
            && std::mem::take(&mut self.is_dirty)
            && let Err(why) = file.sync_data()
        {
            self.fails(&why);
        }
    }

    /// Writes what of the conversation does not stand in the file, in one record.
    pub fn keep(&mut self, messages: &[Message]) {
        let pairs = messages.iter().zip(&self.written);
        let at = pairs.take_while(|(new, old)| new == old).count();
        if at < self.written.len().max(messages.len()) || !self.delivered.is_empty() {
            self.say(at, &messages[at..], None);
        }
    }

    /// Writes a reply, which joins the last message if that is its beginning.
    pub fn reply(&mut self, mut reply: Message, usage: Usage) {
        let mut at = self.written.len();
        if let Some(last) = self.written.last()
            && last.role == Role::Assistant
        {
            at -= 1;
            reply.content.splice(..0, last.content.clone());
        }
        self.say(at, &[reply], Some(usage));
    }

    fn say(&mut self, at: usize, messages: &[Message], usage: Option<Usage>) {
        let delivered = std::mem::take(&mut self.delivered);
        let record = Record::Said {
            at,
            time: now(),
            messages: messages.iter().map(to_file).collect(),
            delivered: delivered.clone(),
            usage,
        };
        if self.write(&record) {
            self.written.truncate(at);
            self.written.extend_from_slice(messages);
            if std::mem::take(&mut self.is_first) {
                self.sync();
            }
        } else {
            self.delivered = delivered;
        }
    }

    /// Takes over the tasks of the session before, which says where they went.
    pub fn take_over(&mut self, before: &mut Kept) {
        let tasks = std::mem::take(&mut before.tasks);
        if tasks.is_empty() {
            return;
        }
        for (id, (what, result)) in &tasks {
            let (id, what) = (id.clone(), what.clone());
            self.write(&Record::Task {
                id: id.clone(),
                what,
            });
            if let Some(result) = result.clone() {
                self.write(&Record::Ended { id, result });
            }
        }
        let (ids, to) = (tasks.keys().cloned().collect(), self.id.clone());
        before.write(&Record::Moved { ids, to });
        self.tasks = tasks;
    }
}

/// In milliseconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
