//! aids · What the practice model reads off a conversation: the ids, names and inputs of calls,
//! their results, marks in square brackets at fixed places, and marked blocks. Never a sentence.

use serde_json::Value;

use super::short;
use crate::message::{ContentBlock, Message, Role, ToolCall};
use crate::suggestion::ASK;

/// The beginning of every call's id; the number of the step is its end.
const ID: &str = "toolu_practice_";

/// A call and its result.
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
            "bg_bash" | "monitor" | "timer" => self.input["id"].as_str(),
            "dispatch" => self.input["name"].as_str(),
            "task" if self.input["wait"] != true => self.input["description"].as_str(),
            "task" | "bash" => marked(self.result.lines().next(), ": [running] ")
                .or_else(|| marked(self.result.lines().last(), ": [shell exited] ")),
            _ => None,
        };
        task.map(str::trim)
    }

    /// The mates that it started.
    pub fn mates(&self) -> Vec<&'a str> {
        let team = (self.name == "team" && !self.is_error).then_some(&self.input["mates"]);
        let mates = team.and_then(Value::as_array).into_iter().flatten();
        mates.filter_map(|mate| mate["name"].as_str()).collect()
    }

    /// True if this is a look that finds a task running, one of all where it is at all: then each
    /// line is a task, otherwise output follows the first line. `tasks` are those that are known,
    /// as an id may look like a mark.
    pub fn says_running(&self, tasks: &[&str]) -> bool {
        let id = self.input["id"].as_str().map(str::trim);
        let count = if id.is_some() { 1 } else { usize::MAX };
        let mut states = self.result.lines().take(count).filter_map(|line| {
            let known = tasks.iter().copied().chain(id);
            let known = known.filter_map(|id| line.strip_prefix(id)?.strip_prefix(": "));
            let unknown = || line.split_once(": ").map(|(_, state)| state);
            known.min_by_key(|state| state.len()).or_else(unknown)
        });
        let runs =
            |state: &str| state.starts_with("[running] ") || state.starts_with("[shell exited] ");
        self.name == "check_bg" && !self.is_error && states.any(runs)
    }
}

/// All calls.
pub fn calls(messages: &[Message]) -> Vec<Call<'_>> {
    let mut calls: Vec<Call<'_>> = Vec::new();
    for block in messages.iter().flat_map(|message| &message.content) {
        match block {
            ContentBlock::ToolUse(ToolCall { id, name, input }) => calls.push(Call {
                id,
                name,
                input,
                result: "",
                is_error: false,
            }),
            ContentBlock::ToolResult {
                tool_use_id,
                content,
                is_error,
            } => {
                if let Some(call) = calls.iter_mut().rfind(|call| call.id == tool_use_id) {
                    (call.result, call.is_error) = (content, *is_error);
                }
            }
            _ => {}
        }
    }
    calls
}

/// The text of what the harness said, if it begins with this tag.
fn marked<'a>(block: &'a ContentBlock, tag: &str) -> Option<&'a str> {
    match block {
        ContentBlock::Note { text } => text.strip_prefix(tag),
        _ => None,
    }
}

/// The results that came by themselves: the task, and the text about it.
pub fn news<'a>(blocks: impl IntoIterator<Item = &'a ContentBlock>) -> Vec<(&'a str, &'a str)> {
    let news = blocks.into_iter().filter_map(|block| {
        let (id, rest) = marked(block, "<task-notification task=\"")?.split_once("\">\n")?;
        Some((id, rest.split_once("\n</task-notification>")?.0))
    });
    news.collect()
}

/// The results that an agent of a pipeline was given with its prompt.
pub fn results(messages: &[Message]) -> String {
    let blocks = messages.iter().flat_map(|message| &message.content);
    let prompt = blocks.filter_map(ContentBlock::as_text).next();
    let parts = prompt.unwrap_or_default().split("\n<task-result ").skip(1);
    let results = parts.filter_map(|part| {
        let (_, text) = part.split_once(">\n")?;
        Some(text.rsplit_once("\n</task-result>")?.0)
    });
    match results.collect::<Vec<_>>().join("\n") {
        none if none.is_empty() => "I was given no results.".to_string(),
        results => results,
    }
}

/// The texts of such results.
pub fn texts(news: &[(&str, &str)]) -> String {
    let texts: Vec<&str> = news.iter().map(|(_, text)| *text).collect();
    texts.join("\n")
}

/// The last prompt, and the messages after it.
pub fn current_turn(messages: &[Message]) -> (&[Message], &str) {
    let turn = messages.iter().enumerate().rev().find_map(|(at, message)| {
        let is_prompt = |block: &&ContentBlock| message.role == Role::User && block.is_prompt();
        let prompt = message.content.iter().rfind(is_prompt)?.as_text()?;
        // Results that it was given stand behind it, and so does what was said in a thread.
        let prompt = prompt.split("<task-result ").next()?;
        let prompt = prompt.split("<slack-thread>").next()?;
        Some((&messages[at + 1..], prompt.trim()))
    });
    turn.unwrap_or_default()
}

/// True if a summary has taken the place of the results of this turn: to begin again would be to
/// do everything twice.
pub fn is_cut(last: &[ContentBlock]) -> bool {
    let begins = |block: Option<&_>, tag| block.is_some_and(|block| marked(block, tag).is_some());
    begins(last.first(), "<summary>") && begins(last.last(), "<system-reminder>")
}

/// An id for a call of that step, which the conversation does not hold yet.
pub fn fresh_id(messages: &[Message], step: usize) -> String {
    let calls = calls(messages);
    let mut ids = (messages.len()..).map(|number| format!("{ID}{number}_{step}"));
    let is_fresh = |new: &String| calls.iter().all(|call| call.id != new);
    ids.find(is_fresh).unwrap_or_default()
}

/// What the model remembers of a conversation that is compacted: the prompts before the current
/// one, in order, each with its calls and the first line of the last result; before them, what an
/// earlier summary held. At most 100 lines: the oldest go.
pub fn summary(messages: &[Message]) -> String {
    let (mut lines, mut result) = (Vec::new(), None);
    for message in messages {
        for block in &message.content {
            match block {
                ContentBlock::Text { text } if message.role == Role::User => {
                    lines.extend(result.take());
                    lines.push(format!("- The user said: {}", short(text.trim(), 200)));
                }
                ContentBlock::ToolUse(ToolCall { name, input, .. }) => {
                    let call = format!("  called {name} {}", short(&input.to_string(), 60));
                    // A task is asked about again and again.
                    if lines.last() != Some(&call) {
                        lines.push(call);
                    }
                }
                ContentBlock::ToolResult { content, .. } => {
                    let first = content.lines().next().unwrap_or_default();
                    result = Some(format!("  last result: {}", short(first, 120)));
                }
                note => {
                    let summary = marked(note, "<summary>\n").or(marked(note, "<memory>\n"));
                    let earlier = summary.unwrap_or_default().lines();
                    let earlier = earlier.filter(|line| !line.starts_with("</"));
                    lines.extend(earlier.map(str::to_string));
                }
            }
        }
    }
    if result.is_none() {
        lines.pop(); // The prompt that asks for this.
    }
    lines.extend(result);
    if lines.is_empty() {
        lines.push("Nothing has been said or done yet.".to_string());
    }
    lines.split_off(lines.len().saturating_sub(100)).join("\n")
}

/// The headings of a session's memory.
const SECTIONS: [&str; 4] = ["Status:", "Completed work:", "Discussion:", "Work log:"];

/// True if a summary with these sections is asked for.
pub fn wants_memory(prompt: &str) -> bool {
    SECTIONS.iter().all(|heading| prompt.contains(heading))
}

/// What the model remembers of a session: what an older memory held, and behind it what was said and
/// done since. At most 40 lines a section: the oldest go.
pub fn memory(messages: &[Message]) -> String {
    let mut sections = [(); 4].map(|()| Vec::new());
    let blocks = || messages.iter().flat_map(|message| &message.content);
    for old in blocks().filter_map(|block| marked(block, "<memory>\n")) {
        let mut at = 0;
        for line in old.lines() {
            match SECTIONS.iter().position(|heading| *heading == line) {
                Some(section) => at = section,
                None if line.starts_with("- ") => sections[at].push(line.to_string()),
                None => {}
            }
        }
    }
    let [status, completed, discussion, log] = &mut sections;
    status.clear(); // it is another one now
    let said = messages.iter().filter(|message| message.role == Role::User);
    let said = said.flat_map(|message| &message.content);
    let mut said: Vec<_> = said.filter(|block| block.is_prompt()).collect();
    said.pop(); // the prompt that asks for this
    let said = said.into_iter().filter_map(ContentBlock::as_text);
    discussion.extend(said.map(|text| format!("- The user said: {}", short(text.trim(), 200))));
    for call in calls(messages) {
        let what = format!("- {} {}", call.name, short(&call.input.to_string(), 60));
        let first = short(call.result.lines().next().unwrap_or_default(), 80);
        log.push(format!("{what}: {first}"));
        if !call.is_error {
            completed.push(what);
        }
    }
    status.extend(discussion.last().cloned());
    status.extend(log.last().cloned());
    let texts = SECTIONS.iter().zip(sections).map(|(heading, mut lines)| {
        let lines = lines.split_off(lines.len().saturating_sub(40));
        format!("{heading}\n{}", lines.join("\n"))
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// True if the next line is asked for.
pub fn wants_suggestion(messages: &[Message]) -> bool {
    let last = messages.last().and_then(|message| message.content.last());
    last.and_then(ContentBlock::as_text) == Some(ASK)
}

/// The line of the page after the one that was said last.
pub fn suggestion(lines: &[String], messages: &[Message]) -> String {
    let blocks = messages.iter().flat_map(|message| &message.content).rev();
    let said = blocks.filter(|block| block.is_prompt());
    let mut said = said.filter_map(ContentBlock::as_text);
    let last = said.find_map(|text| lines.iter().rposition(|line| line.trim() == text.trim()));
    let next = lines.get(last.map_or(0, |at| at + 1));
    next.map_or("-".to_string(), String::clone)
}
