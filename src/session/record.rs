//! s13 · What stands in a session file: one record a line, and what they come to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{from_slice, json};

use crate::message::{ContentBlock, Message, Role, Usage, push_note};

/// Of the records below. A file with a higher number is refused.
pub const FORMAT: u64 = 1;
/// How many forks may hang one on the other.
const FORKS: usize = 100;
const NO_RESULT: &str = "ERROR: the program ended before this ran, or before its result was kept.";
const NO_START: &str = "<system-reminder>What was said before could not be read.</system-reminder>";

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Record {
    /// A program has it from now on; always the first line.
    Opened(Opened),
    Said(Said),
    /// A request of a sub-agent: its name, the time, what it cost.
    Agent(String, u64, Usage),
    /// A background task began: its id, and what it does.
    Task(String, String),
    /// It ended: its id, and its result.
    Ended(String, String),
    /// A task whose result goes to another session from now on, and the id of that.
    Moved(String, String),
    /// What the person calls this session.
    Name(String),
}

/// By whom, when (in milliseconds since 1970, as everywhere here) and where it was opened.
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
    /// Tasks whose results stand in the conversation from now on.
    pub delivered: Vec<String>,
    /// Of a reply.
    pub usage: Option<Usage>,
}

/// What the lines of a session come to.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Past {
    pub messages: Vec<Message>,
    /// Background tasks of which nothing was delivered: what each does, and its result if it ended.
    pub tasks: BTreeMap<String, (String, Option<String>)>,
    pub name: Option<String>,
    /// The process that opened it last.
    pub process: u32,
    pub lines: usize,
    /// Of all whole lines.
    pub bytes: u64,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

impl Past {
    /// Reads so many lines of a session; of a fork, first those that it comes from.
    ///
    /// # Errors
    /// When it is not there, is no session, or is of a newer format.
    pub fn read(folder: &Path, id: &str, most: usize, depth: usize) -> io::Result<Self> {
        let file = File::open(path(folder, id))?;
        let (mut file, mut line, mut past) = (BufReader::new(file), Vec::new(), Past::default());
        while past.lines < most && file.read_until(b'\n', &mut line)? > 0 {
            if !line.ends_with(b"\n") {
                let torn = "Its last line is torn, and was dropped.";
                past.problems.push(torn.to_string());
                break;
            }
            let (lines, bytes) = (past.lines + 1, past.bytes + line.len() as u64);
            match from_slice(&line) {
                Ok(Record::Opened(first))
                    if lines == 1 && first.format == FORMAT && depth < FORKS =>
                {
                    if let Some((parent, lines)) = first.parent {
                        past = Past::read(folder, &parent, lines, depth + 1)?;
                        past.name = None;
                    }
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
            (past.lines, past.bytes) = (lines, bytes);
            line.clear();
        }
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
                    .extend(said.messages.into_iter().map(from_file));
                self.tasks.retain(|id, _| !said.delivered.contains(id));
            }
            Record::Agent(..) => {}
            Record::Task(id, what) => drop(self.tasks.insert(id, (what, None))),
            Record::Ended(id, result) => self.tasks.entry(id).or_default().1 = Some(result),
            Record::Moved(id, _) => drop(self.tasks.remove(&id)),
            Record::Name(name) => self.name = Some(name),
        }
    }
}

/// The id of the session that is called so, or that alone begins so.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(folder: &Path, word: &str) -> Result<String, String> {
    let (mut exact, mut begin) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (file, path) = (entry.file_name(), entry.path());
        let Some(id) = file.to_str().and_then(|it| it.strip_suffix(".jsonl")) else {
            continue;
        };
        let lines = File::open(path).map(|file| BufReader::new(file).split(b'\n'));
        let lines = lines.into_iter().flatten().flatten();
        let named = lines.filter(|line| line.starts_with(b"{\"name\"")).last();
        let name = match from_slice(&named.unwrap_or_default()) {
            Ok(Record::Name(name)) => name,
            _ => String::new(),
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
        ids => Err(format!(
            "Several sessions are called so: {}.",
            ids.join(", ")
        )),
    }
}

/// Where a session is.
pub fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.jsonl"))
}

/// A message as the file has it: there, a note is not like what the person said.
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
            && value["type"] == "note"
        {
            let text = value["text"].as_str().unwrap_or_default().to_string();
            *block = ContentBlock::Note { text };
        }
    }
    message
}

/// The conversation as a model takes it, whatever is missing: the roles alternate, and each call
/// has its result.
pub fn repair(messages: Vec<Message>) -> Vec<Message> {
    let mut whole = Vec::new();
    for Message { role, content } in messages {
        let is_result = |block: &_| matches!(block, ContentBlock::ToolResult { .. });
        let (results, rest) = content.into_iter().partition(is_result);
        answer(&mut whole, results);
        if whole.is_empty() && role == Role::Assistant {
            push_note(&mut whole, NO_START);
        }
        append(&mut whole, role, rest);
    }
    answer(&mut whole, Vec::new());
    whole
}

/// Gives each call of the last message its result.
fn answer(whole: &mut Vec<Message>, mut results: Vec<ContentBlock>) {
    let mut answers = Vec::new();
    for block in whole.last().iter().flat_map(|last| &last.content) {
        if let ContentBlock::ToolUse(call) = block {
            let tool_use_id = call.id.clone();
            let is_its = |it: &_| matches!(it, ContentBlock::ToolResult { tool_use_id: id, .. } if *id == tool_use_id);
            let found = results.iter().position(is_its);
            let (content, is_error) = (NO_RESULT.to_string(), true);
            answers.push(match found {
                Some(at) => results.swap_remove(at),
                None => ContentBlock::ToolResult {
                    tool_use_id,
                    content,
                    is_error,
                },
            });
        }
    }
    append(whole, Role::User, answers);
}

/// Appends blocks to the last message, if that is of the same role.
pub fn append(whole: &mut Vec<Message>, role: Role, content: Vec<ContentBlock>) {
    match whole.last_mut() {
        _ if content.is_empty() => {}
        Some(last) if last.role == role => last.content.extend(content),
        _ => whole.push(Message::new(role, content)),
    }
}
