//! aids · The conversation on the screen: `/messages` shows it whenever it is asked for, `--step`
//! shows what is new in each request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::caught::lock;
use crate::message::{ContentBlock, Message, Reply, Role, ToolCall};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::repl::Repl;

/// Lines of a block in the list, and columns of such a line.
const LINES: usize = 3;
const COLUMNS: usize = 100;

/// Carries out `/messages`. False if the line is something else.
pub fn show(repl: &Repl, line: &str, messages: &[Message]) -> bool {
    let text = answer(line, messages);
    text.map(|text| repl.say(text)).is_some()
}

/// What `/messages`, `/messages all` or `/messages 3` shows; `None` for a line that is none of
/// these. A wrong argument is answered with a sentence.
fn answer(line: &str, messages: &[Message]) -> Option<String> {
    let argument = line.strip_prefix("/messages")?.trim();
    let count = messages.len();
    let number = argument.parse::<usize>().ok();
    Some(
        match number.and_then(|it| messages.get(it.checked_sub(1)?)) {
            _ if count == 0 => "The conversation is empty. Your next line begins it.".to_string(),
            Some(message) => serde_json::to_string_pretty(message).unwrap_or_default(), // cannot fail
            None if argument.is_empty() => list(messages, |_| true, LINES),
            None if argument == "all" => list(messages, |_| true, usize::MAX),
            None => format!(
                "There is no message {argument:.40}. Type /messages for the list, /messages all for the whole text, or a number from 1 to {count} for one message as JSON."
            ),
        },
    )
}

/// The messages at these places, each with its number and its role; below, a line or more for each
/// block: its kind, and the first lines of what it says.
fn list(messages: &[Message], at: impl Fn(usize) -> bool, lines: usize) -> String {
    let mut list = Vec::new();
    for (index, message) in messages.iter().enumerate().filter(|(index, _)| at(*index)) {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        list.push(format!("{} {role}", index + 1));
        let blocks = message.content.iter();
        list.extend(blocks.map(|block| describe(block, lines)));
    }
    list.join("\n")
}

fn describe(block: &ContentBlock, most: usize) -> String {
    let (kind, text) = match block {
        ContentBlock::Text { text } => ("text".to_string(), text.clone()),
        ContentBlock::Note { text } => ("text, from the harness".to_string(), text.clone()),
        ContentBlock::ToolUse(ToolCall { id, name, input }) => {
            (format!("tool_use {id}"), format!("{name} {input}"))
        }
        ContentBlock::ToolResult {
            tool_use_id,
            content,
            is_error,
        } => {
            let error = if *is_error { ", is_error" } else { "" };
            (format!("tool_result {tool_use_id}{error}"), content.clone())
        }
        ContentBlock::Other(value) => {
            let kind = value["type"].as_str().unwrap_or("unknown");
            (kind.to_string(), value.to_string())
        }
    };
    let (mut shown, mut rest) = (Vec::new(), text.lines());
    for line in rest.by_ref().take(most) {
        shown.push(match line.char_indices().nth(COLUMNS) {
            Some((end, _)) if most == LINES => format!("{} …", line.split_at(end).0),
            _ => line.to_string(),
        });
    }
    match rest.count() {
        0 => {}
        1 => shown.push("… 1 more line".to_string()),
        more => shown.push(format!("… {more} more lines, {} bytes in all", text.len())),
    }
    format!("  {kind}: {}", shown.join("\n    "))
}

/// A model that says, before each request, what is new in it since the last one of the same
/// conversation: for somebody who explains it to others.
struct Step {
    model: Arc<dyn Model>,
    /// The last request of each conversation. One is told from another, such as a sub-agent's, by
    /// its system prompt and its first message; so what has been compacted is a new one.
    sent: Mutex<HashMap<String, Vec<Message>>>,
}

/// The model, and with `--step` what is new in each request.
pub fn step(options: &Options, model: Arc<dyn Model>) -> Arc<dyn Model> {
    let sent = Mutex::default();
    match options.step {
        true => Arc::new(Step { model, sent }),
        false => model,
    }
}

impl Step {
    fn news(&self, request: &Request<'_>) -> String {
        let messages = request.messages;
        let first = serde_json::to_string(&messages.first()).unwrap_or_default();
        let key = format!("{}\n{first}", request.system);
        let mut sent = lock(&self.sent);
        let last = sent.insert(key, messages.to_vec()).unwrap_or_default();
        let is_new = |at: usize| last.get(at) != messages.get(at);
        // With nothing new, the conversation was begun again, or the request failed.
        let again = !(0..messages.len()).any(is_new);
        list(messages, |at| again || is_new(at), LINES)
    }
}

impl Model for Step {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let news = format!("new in this request:\n{}", self.news(request));
        request.events.notice(news);
        self.model.reply(request)
    }

    fn describe(&self) -> String {
        let who = self.model.describe();
        format!("{who}\nWith --step, Enter plays the next line.")
    }

    fn name(&self) -> String {
        self.model.name()
    }

    fn is_practice(&self) -> bool {
        self.model.is_practice()
    }
}
