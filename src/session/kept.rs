//! s13 · The session that is being kept: its file, and what stands in that by now.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::mem::take;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::record::{FORMAT, Opened, Past, Record, Said, path, repair, to_file};
use crate::message::{Message, Usage};
use crate::tools::files::make_own_folder;
use crate::worktree::exclude;

#[derive(Default)]
pub struct Kept {
    pub folder: PathBuf,
    pub lesson: String,
    pub model: String,
    pub id: String,
    pub name: Option<String>,
    /// Locked by whoever keeps it, and never unlinked: the kernel lets go of the lock when that
    /// program ends, however it ends. `None` until something is to be kept.
    file: Option<File>,
    pub lines: usize,
    bytes: u64,
    /// The conversation as the file has it.
    pub written: Vec<Message>,
    /// Tasks whose results were put into the conversation since.
    pub delivered: Vec<String>,
    /// The other tasks, as in [`Past`].
    pub tasks: BTreeMap<String, (String, Option<String>)>,
    /// What is said next is to be on disk before anything else happens: it begins a turn.
    pub is_first: bool,
    /// Why something could not be written, until it is told.
    pub trouble: Option<String>,
}

impl Kept {
    /// A new session of the same program. There is no file yet.
    pub fn new(before: &Kept) -> Self {
        let mut random = RandomState::new().build_hasher().finish();
        let letter = |_| {
            random /= 16;
            char::from(b'k' + (random % 16) as u8) // never taken for a number
        };
        Kept {
            folder: before.folder.clone(),
            lesson: before.lesson.clone(),
            model: before.model.clone(),
            id: (0..8).map(letter).collect(),
            is_first: true,
            ..Kept::default()
        }
    }

    /// One that is there.
    ///
    /// # Errors
    /// When it cannot be read, or another program has it.
    pub fn open(before: &Kept, id: &str) -> Result<(Self, Past), String> {
        let failed = |why: io::Error| format!("session {id} cannot be opened: {why}.");
        let path = path(&before.folder, id);
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        let held = file.try_lock();
        let mut past = Past::read(&before.folder, id, &mut |_| {})?;
        if let Err(TryLockError::WouldBlock) = held {
            let process = past.process;
            return Err(format!("session {id} is in use, by process {process}."));
        }
        file.set_len(past.bytes).map_err(failed)?;
        let mut kept = Kept::new(before);
        (kept.id, kept.name, kept.file) = (id.to_string(), past.name.clone(), Some(file));
        (kept.lines, kept.bytes) = (past.lines, past.bytes);
        kept.written.clone_from(&past.messages);
        kept.write(&kept.opened(None));
        past.messages = repair(past.messages);
        Ok((kept, past))
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Makes the file. A fork begins with so many lines of its parent.
    pub fn create(&mut self, parent: Option<(String, usize)>) -> io::Result<()> {
        make_own_folder(&self.folder)?;
        exclude(".sessions/");
        let path = path(&self.folder, &self.id);
        let mut options = OpenOptions::new();
        let options = options.append(true).create_new(true).mode(0o600);
        let file = options.open(path)?;
        let _ = file.try_lock(); // where there are no locks, go on without
        File::open(&self.folder)?.sync_all()?;
        self.file = Some(file);
        self.write(&self.opened(parent));
        let name = self.name.clone().map(Record::Name);
        name.iter().all(|name| self.write(name));
        Ok(())
    }

    fn opened(&self, parent: Option<(String, usize)>) -> Record {
        Record::Opened(Opened {
            format: FORMAT,
            time: now(),
            process: std::process::id(),
            lesson: self.lesson.clone(),
            model: self.model.clone(),
            folder: std::env::current_dir().unwrap_or_default(),
            parent,
        })
    }

    /// Writes a record, in one write. False if that failed.
    pub fn write(&mut self, record: &Record) -> bool {
        let written = self.try_write(record);
        if let Err(why) = &written {
            let path = path(&self.folder, &self.id);
            self.trouble = Some(format!("{} is not written: {why}.", path.display()));
        }
        written.is_ok()
    }

    fn try_write(&mut self, record: &Record) -> io::Result<()> {
        if self.file.is_none() {
            self.create(None)?;
        }
        let line = serde_json::to_string(record)? + "\n";
        if let Some(file) = &mut self.file {
            let written = file.write_all(line.as_bytes());
            written.inspect_err(|_| drop(file.set_len(self.bytes)))?; // no half of a line
        }
        (self.lines, self.bytes) = (self.lines + 1, self.bytes + line.len() as u64);
        Ok(())
    }

    /// Everything that was written is on disk when this returns.
    pub fn sync(&self) {
        let _ = self.file.as_ref().map(File::sync_data);
    }

    /// Writes what of the conversation the file does not have, in one record.
    pub fn keep(&mut self, messages: &[Message], usage: Option<Usage>) {
        let pairs = messages.iter().zip(&self.written);
        let at = pairs.take_while(|(new, old)| new == old).count();
        let (new, same) = (
            &messages[at..],
            at == self.written.len().max(messages.len()),
        );
        if same && self.delivered.is_empty() {
            return;
        }
        let said = Said {
            at,
            time: now(),
            messages: new.iter().map(to_file).collect(),
            delivered: self.delivered.clone(),
            usage,
        };
        if self.write(&Record::Said(said)) {
            self.delivered.clear();
            self.written.truncate(at);
            self.written.extend_from_slice(new);
            if take(&mut self.is_first) {
                self.sync();
            }
        }
    }

    /// From now on, tasks of the session before are told here.
    pub fn take_over(&mut self, before: &mut Kept) {
        for (id, (what, result)) in take(&mut before.tasks) {
            self.write(&Record::Task(id.clone(), what.clone()));
            if let Some(result) = result.clone() {
                self.write(&Record::Ended(id.clone(), result));
            }
            before.write(&Record::Moved(id.clone(), self.id.clone()));
            self.tasks.insert(id, (what, result));
        }
    }
}

/// In milliseconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
