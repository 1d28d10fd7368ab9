//! aids · What the practice model reads off a conversation: the ids, names and inputs of calls, their results,
//! marks in square brackets at fixed places, and marked blocks. Never a sentence.

use std::collections::HashMap;

use serde_json::Value;

use crate::message::{ContentBlock, Message, Role};

/// The beginning of every call's id; the number of the step is its end.
const ID: &str = "toolu_practice_";

/// A call that was answered.
pub struct Call<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub input: &'a Value,
    pub result: &'a str,
    pub is_error: bool,
}

impl<'a> Call<'a> {
    /// The step that made the call.
    pub fn step(&self) -> Option<usize> {
        let (_, step) = self.id.strip_prefix(ID)?.rsplit_once('_')?;
        step.parse().ok()
    }

    /// True if the person broke it off.
    pub fn was_interrupted(&self) -> bool {
        self.is_error && self.result.starts_with("ERROR: [interrupted]")
    }

    /// The background task that it started, or that was made of it.
    pub fn task(&self) -> Option<&'a str> {
        let marked = |line: Option<&'a str>, mark| Some(line?.split_once(mark)?.0);
        let task = match self.name {
            _ if self.is_error => None,
            "bg_bash" => self.input["id"].as_str(),
            "task" if self.input["wait"] != true => self.input["description"].as_str(),
            "task" | "bash" => marked(self.result.lines().next(), ": [running] ")
                .or_else(|| marked(self.result.lines().last(), ": [shell exited] ")),
            _ => None,
        };
        task.map(str::trim)
    }

    /// True if this answer of `check_bg` says that a task still runs, one of all where it was
    /// asked about all: then each line is a task, otherwise output follows the first line. `tasks`
    /// are those that are known, as an id may look like a mark.
    pub fn says_running(&self, tasks: &[&str]) -> bool {
        let after = |line: &'a str, id: &str| line.strip_prefix(id)?.strip_prefix(": ");
        let runs =
            |rest: &str| rest.starts_with("[running] ") || rest.starts_with("[shell exited] ");
        if let Some(id) = self.input["id"].as_str() {
            return after(self.result, id.trim()).is_some_and(runs);
        }
        let mut lines = self.result.lines().filter_map(|line| {
            let known = tasks.iter().filter_map(|id| after(line, id));
            let unknown = || line.split_once(": ").map(|(_, rest)| rest);
            known.min_by_key(|rest| rest.len()).or_else(unknown)
        });
        lines.any(runs)
    }
}

/// All calls that were answered.
pub fn calls(messages: &[Message]) -> Vec<Call<'_>> {
    let (mut asked, mut calls) = (HashMap::new(), Vec::new());
    for block in messages.iter().flat_map(|message| &message.content) {
        if let ContentBlock::ToolUse { id, name, input } = block {
            asked.insert(id, (name, input));
        } else if let ContentBlock::ToolResult {
            tool_use_id: id,
            content: result,
            is_error,
        } = block
            && let Some(&(name, input)) = asked.get(id)
        {
            calls.push(Call {
                id,
                name,
                input,
                result,
                is_error: *is_error,
            });
        }
    }
    calls
}

/// The results that came by themselves: the task, and the text about it.
pub fn news<'a>(blocks: impl IntoIterator<Item = &'a ContentBlock>) -> Vec<(&'a str, &'a str)> {
    let news = blocks.into_iter().filter_map(|block| {
        let text = block
            .as_text()?
            .strip_prefix("<task-notification task=\"")?;
        let (id, rest) = text.split_once("\">\n")?;
        Some((id, rest.split_once("\n</task-notification>")?.0))
    });
    news.collect()
}

/// The texts of such results.
pub fn texts(news: &[(&str, &str)]) -> String {
    let texts: Vec<&str> = news.iter().map(|(_, text)| *text).collect();
    texts.join("\n")
}

/// The last prompt, and the messages after it.
pub fn current_turn(messages: &[Message]) -> (&[Message], &str) {
    let turn = messages.iter().enumerate().rev().find_map(|(at, message)| {
        let mut blocks = message
            .content
            .iter()
            .filter(|_| message.role == Role::User);
        let prompt = blocks.rfind(|block| block.is_prompt())?.as_text()?;
        Some((&messages[at + 1..], prompt.trim()))
    });
    turn.unwrap_or_default()
}

/// True if a summary has taken the place of the results of this turn: to begin again would be to
/// do everything twice.
pub fn is_cut(last: &[ContentBlock]) -> bool {
    let begins = |block: Option<&ContentBlock>, tag| {
        let text = block.and_then(ContentBlock::as_text);
        text.is_some_and(|text| text.starts_with(tag))
    };
    begins(last.first(), "<summary>") && begins(last.last(), "<system-reminder>")
}

/// An id for a call of that step, which the conversation does not hold yet.
pub fn fresh_id(messages: &[Message], step: usize) -> String {
    let calls = calls(messages);
    let mut ids = (messages.len()..).map(|number| format!("{ID}{number}_{step}"));
    let is_fresh = |new: &String| calls.iter().all(|call| call.id != new);
    ids.find(is_fresh).unwrap_or_default()
}
