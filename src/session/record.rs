//! s13 · What stands in the file of a session: one record a line, and what they come to.
#![allow(
    missing_docs,
    reason = "the fields are the file's, and named for what they hold"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::{self, Extent};
use crate::message::stored::swap_notes;
use crate::message::{Message, Role, Usage};

/// Of the records below. A file with a higher number is refused.
pub const FORMAT: u64 = 1;
/// How many forks may hang one on the other.
const FORKS: usize = 100;

/// A line. Times are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A program has it from now on; always the first line.
    Opened(Opened),
    Said(Said),
    /// A request of a sub-agent: its name, the time, what it cost.
    Agent(String, u64, Usage),
    /// A background task began, or ended: its id.
    Task(String, Task),
    /// What the person calls this session.
    Name(String),
}

/// What a background task does and, if it ended, its result.
pub type Task = (String, Option<String>);

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
    /// Of a reply.
    pub usage: Option<Usage>,
}

/// What the lines of a session come to.
#[derive(Default)]
pub struct Past {
    pub messages: Vec<Message>,
    /// Those of which nothing was delivered, by their ids.
    pub tasks: BTreeMap<String, Task>,
    pub name: Option<String>,
    /// The process that opened it last.
    pub process: u32,
    pub extent: Extent,
}

impl Past {
    /// Reads so many lines of a session; of a fork, first those that it comes from.
    ///
    /// # Errors
    /// When it is not there, is no session, or is of a newer format.
    pub fn read(id: &str, most: usize, depth: usize) -> io::Result<Self> {
        let (mut past, mut is_first) = (Past::default(), true);
        let mut extent = journal::read(&path(id), most, |record| {
            match (std::mem::take(&mut is_first), record) {
                (false, record) => past.add(record),
                (true, Record::Opened(it)) if it.format == FORMAT && depth < FORKS => {
                    if let Some((parent, lines)) = &it.parent {
                        past = Past::read(parent, *lines, depth + 1)?;
                        past.name = None;
                    }
                    past.add(Record::Opened(it));
                }
                _ => {
                    let why = "it is no session, or one of a newer program";
                    return Err(io::Error::other(why));
                }
            }
            Ok(())
        })?;
        extent.problems.append(&mut past.extent.problems);
        Ok(Past { extent, ..past })
    }

    /// One more record.
    pub fn add(&mut self, record: Record) {
        self.extent.lines += 1;
        match record {
            Record::Opened(opened) => self.process = opened.process,
            Record::Said(said) => {
                // An empty message stands for each that was in a line that was skipped.
                let missing = Message::new(Role::User, Vec::new());
                self.messages.resize(said.at, missing);
                self.messages
                    .extend(said.messages.into_iter().map(swap_notes));
                self.tasks.retain(|id, _| !said.delivered.contains(id));
            }
            Record::Agent(..) => {}
            Record::Task(id, task) => drop(self.tasks.insert(id, task)),
            Record::Name(name) => self.name = Some(name),
        }
    }
}

/// Where a session is, in the current folder.
pub fn path(id: &str) -> PathBuf {
    Path::new(super::FOLDER).join(format!("{id}.jsonl"))
}
