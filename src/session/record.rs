//! s13 · What stands in the file of a session: one record a line, and what they come to.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::{self, Extent};
use crate::message::stored::swap_notes;
use crate::message::{Message, Role, Usage};

pub const FORMAT: u64 = 1; // of these records; another one is refused
const FORKS: usize = 100; // as many may hang one on the other

/// A line. Times are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A program has it from now on; always the first line.
    Opened(Opened),
    Said(Said),
    /// A request of a sub-agent: its name, and what it cost.
    Agent(String, Usage),
    /// A background task began, or ended: its id, what it does, and its result then.
    Task(String, (String, Option<String>)),
    /// What the person calls this session.
    Name(String),
    Extra(String, serde_json::Value), // what a later lesson keeps, under its name
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Opened {
    pub format: u64,
    pub time: u64,
    pub process: u32,
    pub lesson: String,
    pub model: String,
    pub folder: PathBuf,
    /// Of a fork: the session that it comes from, and how many lines of it.
    pub parent: Option<(String, usize)>,
}

/// Cut the conversation to `at` messages, then append these.
#[derive(Serialize, Deserialize)]
pub struct Said {
    pub at: usize,
    pub time: u64,
    pub messages: Vec<Message>,
    /// Tasks of which nothing more is to be told here.
    pub delivered: Vec<String>,
    pub usage: Option<Usage>,
}

/// What the lines of a session come to.
#[derive(Default)]
pub struct Past {
    pub messages: Vec<Message>,
    /// Those of which nothing was delivered, by their ids.
    pub tasks: BTreeMap<String, (String, Option<String>)>,
    pub name: Option<String>,
    pub extra: BTreeMap<String, serde_json::Value>,
    pub process: u32, // that opened it last
    pub extent: Extent,
    forks: usize, // of it that are being read
}

impl Past {
    /// Reads so many lines of a session. An error if it is none, or of a newer format.
    pub fn read(id: &str, most: usize, forks: usize) -> io::Result<Self> {
        let (mut past, path) = (Past::default(), path(id));
        past.forks = forks;
        let mut extent = journal::read(&path, most, |record| past.add(record))?;
        extent.problems.append(&mut past.extent.problems);
        if !(extent.lines == 0 && extent.problems.is_empty()) && past.process == 0 {
            return Err(io::Error::other("it is no session"));
        }
        Ok(Past { extent, ..past })
    }

    /// One more record. A fork begins with what it comes from.
    pub(super) fn add(&mut self, record: Record) -> io::Result<()> {
        match record {
            Record::Opened(it) if it.format == FORMAT && self.forks < FORKS => {
                if let Some((parent, lines)) = it.parent {
                    *self = Past::read(&parent, lines, self.forks + 1)?;
                    (self.name, self.extent.lines) = (None, 0);
                }
                self.process = it.process;
            }
            Record::Said(said) => {
                // An empty message stands for each that was in a line that was skipped.
                let missing = Message::new(Role::User, Vec::new());
                self.messages
                    .resize(said.at.min(self.messages.len() + 9_999), missing);
                self.messages
                    .extend(said.messages.into_iter().map(swap_notes));
                self.tasks.retain(|id, _| !said.delivered.contains(id));
            }
            Record::Task(id, task) => drop(self.tasks.insert(id, task)),
            Record::Name(name) => self.name = Some(name),
            Record::Extra(name, value) => drop(self.extra.insert(name, value)),
            Record::Agent(..) => {}
            _ => return Err(io::Error::other("it is of another format")),
        }
        self.extent.lines += 1;
        Ok(())
    }
}

/// Where a session is, in the current folder.
pub fn path(id: &str) -> PathBuf {
    Path::new(super::FOLDER).join(format!("{id}.jsonl"))
}
