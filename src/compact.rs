//! s06 · Making room: old tool results are shortened, and a conversation that nears its limit goes
//! on from a summary. Whatever is done, the conversation stays valid.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use crate::agent::Agent;
use crate::message::{ContentBlock, Message, Reply, Role, push_note, push_user};
use crate::model::ModelError;
use crate::subagent::of_agent;
use crate::tool::Toolbox;
use crate::tools::files::make_own_folder;

/// How many of the last results stay whole at first.
const KEEP_RESULTS: usize = 3;
/// Results above `LONG` bytes are cut to `HEAD` and a remark: below `LONG`, so never cut twice.
const LONG: usize = 400;
const HEAD: usize = 200;

const ASK: &str = "Summarise this conversation, so that the work can go on from the summary alone: what the user \
    wants, in their own words where it matters; what was done and found, with names of files, commands and \
    tasks; what was decided and why; what is open. Reply with the summary only, in at most 400 words.";
const NO_SUMMARY: &str = "No summary came back. Wait a little, then say it again.";
const GO_ON: &str =
    "<system-reminder>The summary says what is done already. Go on.</system-reminder>";

/// Keeps conversations below a limit.
#[derive(Debug)]
pub struct Compactor {
    /// In tokens, as [`estimate`] counts them.
    pub limit: usize,
    /// Where transcripts are kept: what a summary replaces is not lost.
    dir: PathBuf,
    /// The size that the last summary, or none, could not bring below the limit, or 0: no further
    /// try is made until the conversation has grown, as each costs a request.
    stuck: AtomicUsize,
}

impl Compactor {
    /// Keeps conversations below so many tokens, and their transcripts in that folder.
    pub fn new(limit_tokens: usize, dir: impl Into<PathBuf>) -> Self {
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
            self.stuck.store(0, Relaxed);
        } else if size > self.stuck.load(Relaxed) + self.limit / 2 {
            let compacted = self.compact(agent, messages);
            compacted.inspect_err(|_| self.stuck.store(size, Relaxed))?;
            let size = estimate(messages);
            if size > self.limit {
                self.stuck.store(size, Relaxed);
                let what = "should the server refuse, begin anew with /clear.";
                let notice = format!("Still about {size} tokens; {what}");
                agent.context.events.notice(notice);
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
        if messages.len() > 1 && !(earlier.is_empty() && fits) {
            turn = go_on_from(&self.summarise(agent, messages)?, turn, fits);
        }
        let notice = if turn == *messages {
            "Nothing to compact yet.".to_string()
        } else {
            let kept = match self.keep(messages) {
                Ok(path) => format!("What was said before is in {}.", path.display()),
                Err(why) => {
                    let dir = self.dir.display();
                    format!("No transcript could be kept in {dir}: {why}.")
                }
            };
            let (before, after) = (estimate(messages), estimate(&turn));
            format!("Compacted: about {before} tokens before, {after} now. {kept}")
        };
        agent.context.events.notice(notice);
        *messages = turn;
        Ok(())
    }

    /// At most an eighth of the limit comes back.
    fn summarise(&self, agent: &Agent, messages: &[Message]) -> Result<String, ModelError> {
        let (mut worker, count) = (agent.clone(), messages.len());
        let note = format!("Compacting: {count} messages are being summarised.");
        agent.context.events.notice(note);
        worker.context.events = of_agent(&agent.context.events, "compact");
        let reply = ask_about(worker, messages, ASK)?;
        Ok(head(&reply.text(), (self.limit / 2).max(HEAD)).to_string())
    }

    /// Writes the conversation, one message a line, to a file that only its owner may read.
    fn keep(&self, messages: &[Message]) -> io::Result<PathBuf> {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let name = format!("transcript-{now}-{}.jsonl", process::id());
        let path = self.dir.join(name);
        let mut lines = String::new();
        for message in messages {
            lines += &(serde_json::to_string(message)? + "\n");
        }
        make_own_folder(&self.dir)?;
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(lines.as_bytes()).map(|()| path)
    }
}

/// Asks for a summary, without tools, on a copy. An error if no text comes back.
pub fn ask_about(mut agent: Agent, of: &[Message], ask: &str) -> Result<Reply, ModelError> {
    agent.toolbox = Toolbox::default();
    let mut copy = of.to_vec();
    push_user(&mut copy, ask);
    match agent.ask(&mut copy) {
        Ok(reply) if !reply.text().is_empty() => Ok(reply),
        Ok(_) | Err(ModelError::Refused) => Err(ModelError::Failed(NO_SUMMARY.to_string())),
        other => other,
    }
}

/// A conversation in tokens, roughly: four bytes are one.
pub fn estimate(messages: &[Message]) -> usize {
    let blocks = messages.iter().flat_map(|message| &message.content);
    let bytes = blocks.map(|block| match block {
        ContentBlock::Text { text } | ContentBlock::Note { text } => text.len(),
        ContentBlock::ToolResult { content, .. } => content.len(),
        ContentBlock::ToolUse(call) => call.input.to_string().len(),
        ContentBlock::Other(value) => value.to_string().len(),
    });
    bytes.sum::<usize>() / 4
}

/// The longest beginning of a text that has at most so many bytes.
pub fn head(text: &str, bytes: usize) -> &str {
    text.split_at(text.floor_char_boundary(bytes)).0
}

/// Shortens long results of tools, but not the last `keep`, and none that the model has not seen.
fn shorten(messages: &mut [Message], mut keep: usize) {
    for (age, message) in messages.iter_mut().rev().enumerate() {
        for block in message.content.iter_mut().rev() {
            let ContentBlock::ToolResult { content, .. } = block else {
                continue;
            };
            let (bytes, seen) = (content.len(), age > 0);
            if seen && keep == 0 && bytes > LONG {
                let start = head(content, HEAD);
                *content = format!(
                    "{start}\n[… shortened, {bytes} bytes; run the tool again if you need it]"
                );
            }
            keep = keep.saturating_sub(1);
        }
    }
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

/// The summary, then the turn as it is or, if that does not fit, its prompt and the notes at its end:
/// the model has not read those, as the request that was to bring them failed.
fn go_on_from(summary: &str, mut turn: Vec<Message>, fits: bool) -> Vec<Message> {
    let mut compacted = Vec::new();
    push_note(&mut compacted, format!("<summary>\n{summary}\n</summary>"));
    let mut rest = turn.split_off(turn.len().min(1));
    let prompt = turn.into_iter().flat_map(|message| message.content);
    let content = &mut compacted[0].content;
    content.extend(prompt.filter(|block| match block {
        ContentBlock::ToolResult { .. } => false, // its call is gone
        _ => fits || rest.is_empty() || block.is_prompt(),
    }));
    if fits {
        compacted.extend(rest);
    } else if let Some(last) = rest.pop() {
        let is_note = |block: &ContentBlock| matches!(block, ContentBlock::Note { .. });
        content.extend(last.content.into_iter().filter(is_note));
        push_note(&mut compacted, GO_ON);
    }
    compacted
}
