//! s13 · What stands in the file of a session: one record a line, and what they come to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::journal;
use crate::message::{ContentBlock, Message, Role, Usage};

/// Of the records below. A file with a higher number is refused.
pub const FORMAT: u64 = 1;
/// How many forks may hang one on the other.
const FORKS: usize = 100;

/// A line. Times are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
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

/// By whom and where it was opened.
#[derive(Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
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
#[allow(missing_docs)]
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
#[allow(missing_docs)]
pub struct Past {
    pub messages: Vec<Message>,
    /// Those of which nothing was delivered, by their ids.
    pub tasks: BTreeMap<String, Task>,
    pub name: Option<String>,
    /// The process that opened it last.
    pub process: u32,
    pub lines: usize,
    /// Where the last line ends.
    pub end: u64,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

impl Past {
    /// Reads so many lines of a session; of a fork, first those that it comes from.
    ///
    /// # Errors
    /// When it is not there, is no session, or is of a newer format.
    pub fn read(id: &str, most: usize, depth: usize) -> io::Result<Self> {
        let (mut past, mut lines) = (Past::default(), 0);
        let (end, torn) = journal::read(&path(id), |record| {
            lines += 1;
            match record {
                Ok(Record::Opened(it)) if lines == 1 && it.format == FORMAT && depth < FORKS => {
                    if let Some((parent, lines)) = &it.parent {
                        past = Past::read(parent, *lines, depth + 1)?;
                        past.name = None;
                    }
                    past.add(Record::Opened(it));
                }
                _ if lines == 1 => {
                    let why = "it is no session, or one of a newer program";
                    return Err(io::Error::other(why));
                }
                Ok(record) => past.add(record),
                Err(why) => {
                    let skipped = format!("Line {lines} of {id} was skipped: {why}.");
                    past.problems.push(skipped);
                }
            }
            Ok(lines < most)
        })?;
        if torn {
            let torn = "Its last line is torn, and was dropped.";
            past.problems.push(torn.to_string());
        }
        (past.lines, past.end) = (lines, end);
        Ok(past)
    }

    /// One more record.
    pub fn add(&mut self, record: Record) {
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

/// On the wire a note is a text; in the file it must not become what the person said. This makes
/// one form of the other.
pub fn swap_notes(mut message: Message) -> Message {
    for block in &mut message.content {
        match block {
            ContentBlock::Note { text } => {
                *block = ContentBlock::Other(json!({ "type": "note", "text": text }));
            }
            ContentBlock::Other(value) if value["type"] == "note" => {
                let text = value["text"].as_str().unwrap_or_default().to_string();
                *block = ContentBlock::Note { text };
            }
            _ => {}
        }
    }
    message
}

/// The id of the session that is called so, or that alone begins so.
///
/// # Errors
/// When there is none, or more than one: in a sentence.
pub fn find(word: &str) -> Result<String, String> {
    let (mut exact, mut begin) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(super::FOLDER).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = file.strip_suffix(".jsonl") else {
            continue;
        };
        let lines = File::open(entry.path()).map(|it| BufReader::new(it).split(b'\n'));
        let lines = lines.into_iter().flat_map(|it| it.map_while(Result::ok));
        let named = lines.filter(|it| it.starts_with(b"{\"name\":")).last();
        let name = match serde_json::from_slice(&named.unwrap_or_default()) {
            Ok(Record::Name(name)) => name,
            _ => id.to_string(),
        };
        if [id, &name].contains(&word) {
            exact.push(id.to_string());
        } else if id.starts_with(word) || name.starts_with(word) {
            begin.push(id.to_string());
        }
    }
    let found = if exact.is_empty() { begin } else { exact };
    match &found[..] {
        [id] => Ok(id.clone()),
        [] => Err(format!("There is no session {word:?}. /resume lists them.")),
        ids => Err(format!("Several are called so: {}.", ids.join(", "))),
    }
}
