//! Making room: old tool results are shortened, and a conversation that nears its limit goes on
//! from a summary. Whatever is done, the conversation stays valid.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use std::{fs, io, process};

use serde_json::Value;

use crate::agent::Agent;
use crate::message::{ContentBlock, Message, Role, push_user};
use crate::model::ModelError;
use crate::tool::Toolbox;

/// So many of the last results stay whole at first.
const KEEP_RESULTS: usize = 3;
/// Results above `LONG` bytes are cut to `HEAD` and a remark: below `LONG`, so never cut twice.
const LONG: usize = 400;
const HEAD: usize = 200;

const ASK: &str = "Summarise this conversation, so that the work can go on from the summary alone: what the user \
    wants, in their own words where it matters; what was done and found, with names of files, commands and \
    tasks; what was decided and why; what is open. Reply with the summary only, in at most 400 words.";
const GO_ON: &str =
    "<system-reminder>The summary says what is done already. Go on.</system-reminder>";

/// Keeps conversations below a limit.
#[derive(Debug)]
pub struct Compactor {
    /// In tokens, as [`estimate`] counts them.
    limit: usize,
    /// Where whole conversations are kept.
    dir: PathBuf,
    /// A size that could not be got below the limit: not worth a try in every round. Or 0.
    stuck: AtomicUsize,
}

impl Compactor {
    /// Keeps conversations below so many tokens, and their transcripts in `.transcripts`.
    pub fn new(limit_tokens: usize) -> Self {
        Self::with_dir(limit_tokens, ".transcripts")
    }

    /// The same, with transcripts in another folder.
    pub fn with_dir(limit_tokens: usize, dir: impl Into<PathBuf>) -> Self {
        Compactor {
            limit: limit_tokens,
            dir: dir.into(),
            stuck: AtomicUsize::new(0),
        }
    }

    /// To be called before each request. Above half of the limit, old tool results are shortened;
    /// above the limit, the conversation is compacted. What cannot be made to fit stays as it is.
    ///
    /// # Errors
    /// As [`compact`](Self::compact).
    pub fn make_room(&self, agent: &Agent, messages: &mut Vec<Message>) -> Result<(), ModelError> {
        if estimate(messages) > self.limit / 2 {
            shorten(messages, KEEP_RESULTS);
        }
        let size = estimate(messages);
        if size <= self.limit {
            self.stuck.store(0, Ordering::Relaxed);
        } else if size > self.stuck.load(Ordering::Relaxed) + self.limit / 2 {
            self.compact(agent, messages)?;
            let size = estimate(messages);
            if size > self.limit {
                self.stuck.store(size, Ordering::Relaxed);
                let still = format!(
                    "Still about {size} tokens; should the server refuse, begin anew with /clear."
                );
                agent.context.events.notice(still);
            }
        }
        Ok(())
    }

    /// Puts a summary in place of all before the current turn; between turns, of everything. A
    /// turn that is too long itself is summarised too, and its prompt repeated.
    ///
    /// # Errors
    /// When there is no summary. The conversation is as it was.
    pub fn compact(&self, agent: &Agent, messages: &mut Vec<Message>) -> Result<(), ModelError> {
        let (earlier, turn) = messages.split_at(turn_start(messages));
        let mut turn = turn.to_vec();
        let room = self.limit / 4 * 3; // The rest is for the summary and the next rounds.
        if estimate(&turn) > room {
            shorten(&mut turn, 0);
        }
        let fits = estimate(&turn) <= room;
        let compacted = if messages.len() < 2 || (earlier.is_empty() && fits) {
            turn
        } else {
            go_on_from(&self.summarise(agent, messages)?, turn, fits)
        };
        let notice = if compacted == *messages {
            "Nothing to compact yet.".to_string()
        } else {
            let kept = self.keep(messages).map_or_else(
                |why| {
                    format!(
                        "No transcript could be kept in {}: {why}.",
                        self.dir.display()
                    )
                },
                |path| format!("What was said before is in {}.", path.display()),
            );
            let (before, after) = (estimate(messages), estimate(&compacted));
            format!("Compacted: about {before} tokens before, {after} now. {kept}")
        };
        agent.context.events.notice(notice);
        *messages = compacted;
        Ok(())
    }

    /// Asks for a summary, without tools, on a copy. At most an eighth of the limit comes back.
    fn summarise(&self, agent: &Agent, messages: &[Message]) -> Result<String, ModelError> {
        let mut worker = Agent {
            toolbox: Toolbox::default(),
            ..agent.clone()
        };
        worker.context.events = agent.context.events.of_agent("compact");
        let mut copy = messages.to_vec();
        push_user(&mut copy, ASK);
        match worker.ask(&mut copy).map(|reply| reply.text()) {
            Ok(text) if !text.is_empty() => Ok(head(&text, (self.limit / 2).max(HEAD)).to_string()),
            Ok(_) | Err(ModelError::Refused) => {
                let message = "no summary of the conversation came back".to_string();
                Err((ModelError::Api {
                    status: 200,
                    message,
                }))
            }
            other => other,
        }
    }

    /// Writes the conversation, one message a line, to a file that only its owner may read.
    fn keep(&self, messages: &[Message]) -> io::Result<PathBuf> {
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_secs());
        let path = self
            .dir
            .join(format!("transcript-{now}-{}.jsonl", process::id()));
        let lines = messages
            .iter()
            .map(|message| Ok(serde_json::to_string(message)? + "\n"));
        let lines = lines.collect::<io::Result<String>>()?;
        fs::create_dir_all(&self.dir)?;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(lines.as_bytes()).map(|()| path)
    }
}

/// A conversation in tokens, roughly: four bytes are one.
pub fn estimate(messages: &[Message]) -> usize {
    let blocks = messages.iter().flat_map(|message| &message.content);
    let bytes = blocks.map(|block| match block {
        ContentBlock::Text { text } => text.len(),
        ContentBlock::ToolUse { id, name, input } => id.len() + name.len() + size(input),
        ContentBlock::ToolResult {
            tool_use_id,
            content,
            ..
        } => tool_use_id.len() + content.len(),
        ContentBlock::Other(value) => size(value),
    });
    bytes.sum::<usize>() / 4
}

/// The bytes of a value, nearly.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| key.len() + size(value))
            .sum(),
        _ => 4,
    }
}

/// The longest beginning of a text that has at most so many bytes.
fn head(text: &str, bytes: usize) -> &str {
    text.split_at(text.floor_char_boundary(bytes)).0
}

/// Shortens long results of tools, but not the last `keep`, and none that the model has not seen.
fn shorten(messages: &mut [Message], keep: usize) {
    let Some((unseen, seen)) = messages.split_last_mut() else {
        return;
    };
    let keep = keep.saturating_sub(
        unseen
            .content
            .iter()
            .filter(|block| is_result(block))
            .count(),
    );
    let blocks = seen
        .iter_mut()
        .rev()
        .flat_map(|message| message.content.iter_mut().rev());
    for block in blocks.filter(|block| is_result(block)).skip(keep) {
        let ContentBlock::ToolResult { content, .. } = block else {
            continue;
        };
        let bytes = content.len();
        if bytes > LONG {
            let start = head(content, HEAD);
            *content =
                format!("{start}\n[… shortened, {bytes} bytes; run the tool again if you need it]");
        }
    }
}

fn is_result(block: &ContentBlock) -> bool {
    matches!(block, ContentBlock::ToolResult { .. })
}

/// Where the current turn begins: at the last message with a prompt; between turns, at the end.
fn turn_start(messages: &[Message]) -> usize {
    let prompts = |message: &Message| {
        message.role == Role::User && message.content.iter().any(ContentBlock::is_prompt)
    };
    match messages.last() {
        Some(last) if last.role == Role::User => messages.iter().rposition(prompts).unwrap_or(0),
        _ => messages.len(),
    }
}

/// The summary, then the turn as it is or, if that does not fit, its prompt.
fn go_on_from(summary: &str, mut turn: Vec<Message>, fits: bool) -> Vec<Message> {
    let mut first = Message::user(format!("<summary>\n{summary}\n</summary>"));
    let begun = turn.len() > 1;
    let prompt = turn
        .drain(..1.min(turn.len()))
        .flat_map(|message| message.content);
    if fits {
        // Results in front of the prompt belong to calls that are gone.
        first
            .content
            .extend(prompt.filter(|block| !is_result(block)));
    } else {
        let go_on = begun.then(|| ContentBlock::text(GO_ON));
        first
            .content
            .extend(prompt.filter(ContentBlock::is_prompt).chain(go_on));
        turn.clear();
    }
    turn.insert(0, first);
    turn
}
