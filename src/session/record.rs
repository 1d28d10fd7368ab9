//! s13 · What stands in a session file: one record a line, and the conversation that they make.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::message::{ContentBlock, Message, Role, Usage, push_note};

/// Of the records below; a file with a higher number is refused.
pub const FORMAT: u64 = 1;
/// How many forks may hang one behind the other.
const FORKS: usize = 100;
const NO_RESULT: &str =
    "ERROR: the program ended before this ran, or before its result could be kept.";
const NO_START: &str =
    "<system-reminder>What was said before this could not be read.</system-reminder>";

/// A line. Times are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The first line. Of a fork: which session it comes from, and how many lines of that.
    Session {
        format: u64,
        folder: PathBuf,
        parent: Option<(String, usize)>,
    },
    /// A program has it from now on.
    Opened {
        time: u64,
        lesson: String,
        model: String,
        process: u32,
    },
    /// Cut the conversation to `at` messages, then append these. The results of the tasks named in
    /// `delivered` stand in it from now on.
    Said {
        at: usize,
        time: u64,
        messages: Vec<Message>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        delivered: Vec<String>,
        /// Of a reply.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// A request of a sub-agent.
    Agent {
        name: String,
        time: u64,
        usage: Usage,
    },
    /// A background task began.
    Task { id: String, what: String },
    /// It ended.
    Ended { id: String, result: String },
    /// Its result will go to another session.
    Moved { ids: Vec<String>, to: String },
    /// What the person calls this session.
    Name(String),
}

/// A background task of which nothing was delivered: what it does and, if it ended, its result.
pub type Task = (String, Option<String>);

/// What a session file says.
#[derive(Default)]
pub struct Past {
    pub messages: Vec<Message>,
    /// By their ids.
    pub tasks: BTreeMap<String, Task>,
    pub name: Option<String>,
    pub parent: Option<(String, usize)>,
    /// The first prompt.
    pub first: String,
    /// Turns that came to their end.
    pub turns: usize,
    /// When something was said last.
    pub time: u64,
    /// Who opened it last.
    pub process: u32,
    /// How many whole lines there are, and how many bytes.
    pub size: (usize, u64),
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

impl Past {
    /// Reads a session, and of a fork what it comes from.
    ///
    /// # Errors
    /// When it is not there, is no session, or is of a newer format.
    pub fn read(folder: &Path, id: &str) -> Result<Self, String> {
        Self::begin(folder, id, usize::MAX, FORKS)
    }

    /// Reads so many lines.
    fn begin(folder: &Path, id: &str, most: usize, forks: usize) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("session {id} cannot be read: {why}.");
        let file = File::open(path(folder, id)).map_err(|error| failed(&error))?;
        let (mut file, mut line, mut past) = (BufReader::new(file), Vec::new(), Past::default());
        while past.size.0 < most {
            line.clear();
            let count = file.read_until(b'\n', &mut line);
            let count = count.map_err(|error| failed(&error))?;
            if line.last() != Some(&b'\n') {
                if count > 0 {
                    let text = "Its last line was not written to its end, and is dropped.";
                    past.problems.push(text.to_string());
                }
                break;
            }
            let number = past.size.0 + 1;
            let record = serde_json::from_slice(&line);
            if number == 1 {
                let parent = match record {
                    Ok(Record::Session {
                        format: FORMAT,
                        parent,
                        ..
                    }) => parent,
                    _ => return Err(failed(&not_ours(&line))),
                };
                if let Some((id, lines)) = &parent {
                    if forks == 0 {
                        return Err(failed(&"its forks go in a circle"));
                    }
                    past = Self::begin(folder, id, *lines, forks - 1)?;
                }
                (past.parent, past.name, past.size) = (parent, None, (0, 0));
            } else {
                match record {
                    Ok(record) => past.add(record),
                    Err(error) => {
                        let text = format!("Line {number} of {id} is skipped: {error}.");
                        past.problems.push(text);
                    }
                }
            }
            past.size = (number, past.size.1 + count as u64);
        }
        match past.size.0 {
            0 => Err(failed(&"it is empty")),
            _ => Ok(past),
        }
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Session { .. } | Record::Agent { .. } => {}
            Record::Opened { time, process, .. } => (self.time, self.process) = (time, process),
            Record::Name(name) => self.name = Some(name),
            Record::Task { id, what } => drop(self.tasks.insert(id, (what, None))),
            Record::Ended { id, result } => {
                self.tasks.entry(id).or_default().1 = Some(result);
            }
            Record::Moved { ids, .. } => self.tasks.retain(|id, _| !ids.contains(id)),
            Record::Said {
                at,
                time,
                messages,
                delivered,
                usage,
            } => {
                let messages = messages.into_iter().map(from_file);
                // Where a line was skipped, an empty message stands for each that is missing.
                self.messages
                    .resize(at, Message::new(Role::User, Vec::new()));
                self.messages.extend(messages);
                self.tasks.retain(|id, _| !delivered.contains(id));
                self.time = time;
                let last = self.messages.last();
                let is_end = |last: &Message| calls(last).is_empty();
                self.turns += usize::from(usage.is_some() && last.is_some_and(is_end));
                let mut blocks = self.messages.iter().flat_map(|message| &message.content);
                if self.first.is_empty()
                    && let Some(prompt) = blocks.find(|block| block.is_prompt())
                {
                    self.first = prompt.as_text().unwrap_or_default().to_string();
                }
            }
        }
    }
}

/// Where a session is.
pub fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.jsonl"))
}

/// Why a first line is none that we read.
fn not_ours(line: &[u8]) -> String {
    let line: Value = serde_json::from_slice(line).unwrap_or_default();
    match line["session"]["format"].as_u64() {
        Some(format) if format > FORMAT => {
            format!("it is of format {format}, and this program knows {FORMAT}; use a newer one")
        }
        _ => "it is not a session".to_string(),
    }
}

/// A message as it stands in the file, where a note is told from what the person said.
pub fn to_file(message: &Message) -> Message {
    let blocks = message.content.iter().map(|block| match block {
        ContentBlock::Note { text } => ContentBlock::Other(json!({ "type": "note", "text": text })),
        block => block.clone(),
    });
    Message::new(message.role, blocks.collect())
}

fn from_file(mut message: Message) -> Message {
    for block in &mut message.content {
        if let ContentBlock::Other(value) = block
            && let ("note", Some(text)) =
                (value["type"].as_str().unwrap_or(""), value["text"].as_str())
        {
            let text = text.to_string();
            *block = ContentBlock::Note { text };
        }
    }
    message
}

/// The ids of a message's calls.
fn calls(message: &Message) -> Vec<&str> {
    let calls = message.content.iter().filter_map(|block| match block {
        ContentBlock::ToolUse(call) => Some(call.id.as_str()),
        _ => None,
    });
    calls.collect()
}

/// The conversation as a model takes it, whatever is missing: the roles alternate, and each call
/// has its result.
pub fn repair(messages: Vec<Message>) -> Vec<Message> {
    let mut whole = Vec::new();
    for Message { role, content } in messages {
        let is_result = |block: &ContentBlock| matches!(block, ContentBlock::ToolResult { .. });
        let (results, rest): (Vec<_>, _) = content.into_iter().partition(is_result);
        match role {
            Role::User => answer(&mut whole, results),
            Role::Assistant if rest.is_empty() => continue,
            Role::Assistant => {
                answer(&mut whole, Vec::new());
                if whole.is_empty() {
                    push_note(&mut whole, NO_START);
                }
            }
        }
        append(&mut whole, role, rest);
    }
    answer(&mut whole, Vec::new());
    whole
}

/// Gives each call of the last message its result.
fn answer(whole: &mut Vec<Message>, mut results: Vec<ContentBlock>) {
    let calls = whole.last().map_or(Vec::new(), calls).into_iter();
    let answers = calls.map(|call| {
        let is_its = |block: &ContentBlock| matches!(block, ContentBlock::ToolResult { tool_use_id, .. } if tool_use_id == call);
        match results.iter().position(is_its) {
            Some(at) => results.swap_remove(at),
            None => ContentBlock::ToolResult {
                tool_use_id: call.to_string(),
                content: NO_RESULT.to_string(),
                is_error: true,
            },
        }
    });
    let answers = answers.collect();
    append(whole, Role::User, answers);
}

fn append(whole: &mut Vec<Message>, role: Role, content: Vec<ContentBlock>) {
    match whole.last_mut() {
        _ if content.is_empty() => {}
        Some(last) if last.role == role => last.content.extend(content),
        _ => whole.push(Message::new(role, content)),
    }
}
