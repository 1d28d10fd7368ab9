//! s13 · The session that is being kept: its file, and what that says by now.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::mem::take;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::record::{Opened, Past, Record, Said, path, to_file};
use crate::message::{Message, Usage};
use crate::tools::files::make_own_folder;
use crate::worktree::exclude;

#[derive(Default)]
pub struct Kept {
    pub folder: PathBuf,
    pub id: String,
    /// What the first line will say.
    pub opened: Opened,
    /// What the file says.
    pub past: Past,
    /// Locked by whoever keeps it, and never unlinked: the kernel lets go of the lock when that
    /// program ends, however it ends. `None` until something is to be kept.
    file: Option<File>,
    /// Tasks whose results were put into the conversation since the last record of it.
    pub delivered: Vec<String>,
    /// A turn began: what is said next is on disk before it is sent.
    pub is_first: bool,
    /// Why something could not be written, until it is told.
    pub trouble: Option<String>,
}

impl Kept {
    /// A new session, without a file.
    pub fn new(folder: PathBuf, opened: Opened) -> Self {
        let mut random = RandomState::new().build_hasher().finish();
        let letter = |_| {
            random /= 16;
            char::from(b'k' + (random % 16) as u8) // never taken for a number
        };
        Kept {
            folder,
            id: (0..8).map(letter).collect(),
            opened,
            is_first: true,
            ..Kept::default()
        }
    }

    /// Another new session of the same program, perhaps a fork of another one.
    pub fn another(&self, parent: Option<(String, usize)>) -> Self {
        let opened = self.opened.clone();
        Kept::new(self.folder.clone(), Opened { parent, ..opened })
    }

    /// Goes on with a session that is there.
    ///
    /// # Errors
    /// When it cannot be read, or another program has it.
    pub fn open(&mut self) -> io::Result<()> {
        let path = path(&self.folder, &self.id);
        let file = OpenOptions::new().append(true).open(path)?;
        let held = file.try_lock();
        self.past = Past::read(&self.folder, &self.id, usize::MAX, 0)?;
        if let Err(TryLockError::WouldBlock) = held {
            let why = format!("process {} has it", self.past.process);
            return Err(io::Error::other(why));
        }
        file.set_len(self.past.bytes)?; // without a torn line
        self.file = Some(file);
        let begun = self.write(self.begins());
        begun.inspect_err(|_| self.file = None)
    }

    /// Makes the file. A fork then has what its parent says.
    pub fn create(&mut self) -> io::Result<()> {
        make_own_folder(&self.folder)?;
        exclude(".sessions/");
        let path = path(&self.folder, &self.id);
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).open(path)?;
        self.open()?;
        if self.opened.parent.is_some() {
            self.past = Past::read(&self.folder, &self.id, usize::MAX, 0)?;
        }
        File::open(&self.folder)?.sync_all()
    }

    fn begins(&self) -> Record {
        let opened = self.opened.clone();
        let (time, process) = (now(), std::process::id());
        let folder = std::env::current_dir().unwrap_or_default();
        Record::Opened(Opened {
            time,
            process,
            folder,
            ..opened
        })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.past.name.as_deref().unwrap_or(&self.id)
    }

    /// Writes a record, in one write. If that fails, it is told with the next request.
    pub fn put(&mut self, record: Record) -> bool {
        let written = self.write(record);
        if let Err(why) = &written {
            let path = path(&self.folder, &self.id);
            self.trouble = Some(format!("{} is not written: {why}.", path.display()));
        }
        written.is_ok()
    }

    fn write(&mut self, record: Record) -> io::Result<()> {
        if self.file.is_none() {
            self.create()?;
        }
        let line = serde_json::to_string(&record)? + "\n";
        if let Some(file) = &mut self.file {
            let written = file.write_all(line.as_bytes());
            written.inspect_err(|_| drop(file.set_len(self.past.bytes)))?; // no half of a line
        }
        self.past.lines += 1;
        self.past.bytes += line.len() as u64;
        self.past.add(record);
        Ok(())
    }

    /// Everything that was written is on disk when this returns.
    pub fn sync(&self) {
        let _ = self.file.as_ref().map(File::sync_data);
    }

    /// Writes what of the conversation the file does not have, in one record.
    pub fn keep(&mut self, messages: &[Message], usage: Option<Usage>) {
        let written = &self.past.messages;
        let pairs = messages.iter().zip(written);
        let at = pairs.take_while(|(new, old)| new == old).count();
        let same = at == written.len().max(messages.len());
        if same && self.delivered.is_empty() {
            return;
        }
        let said = Said {
            at,
            time: now(),
            messages: messages[at..].iter().map(to_file).collect(),
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

    /// From now on, tasks of the session before are told here.
    pub fn take_over(&mut self, before: &mut Kept) {
        for (id, (what, result)) in before.past.tasks.clone() {
            self.put(Record::Task(id.clone(), what));
            if let Some(result) = result {
                self.put(Record::Ended(id.clone(), result));
            }
            before.put(Record::Moved(id, self.id.clone()));
        }
    }
}

/// In milliseconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
