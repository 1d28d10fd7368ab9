//! The model that needs no key. It is no language model: it carries out the course's instruction
//! phrases, one tool call a reply. Like a real one it remembers nothing between requests: how far
//! it has come, it reads off the conversation.

use std::collections::HashMap;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use serde_json::{Value, json};

use crate::message::{ContentBlock, Message, Reply, Role, StopReason, Usage};
use crate::model::{Model, ModelError, Progress, Request};

mod phrases;
mod summary;
use phrases::{Action, Step, short};
use summary::summary;

/// To wait for background tasks is to ask again and again, but not more often than this.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Begins the id of every call; the number of the step ends it.
const ID: &str = "toolu_practice_";

/// Carries out instruction phrases.
pub struct Practice {
    /// How long it pretends to think before each reply.
    pub thinking: Duration,
}

impl Practice {
    /// Thinks for `MEANWHILE_THINKING_MS` milliseconds, or 300.
    pub fn from_env() -> Self {
        let millis = std::env::var("MEANWHILE_THINKING_MS")
            .ok()
            .and_then(|millis| millis.parse().ok());
        Practice {
            thinking: Duration::from_millis(millis.unwrap_or(300)),
        }
    }
}

impl Model for Practice {
    fn reply(
        &self,
        request: &Request<'_>,
        on_progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Reply, ModelError> {
        let (text, call, again) = answer(request);
        let pause = if again {
            self.thinking.max(POLL_PAUSE)
        } else {
            self.thinking
        };
        if let Err(RecvTimeoutError::Disconnected) =
            request.interrupt.receiver().recv_timeout(pause)
        {
            return Err(ModelError::Interrupted);
        }
        text.split_inclusive('\n')
            .for_each(|line| on_progress(Progress::Text(line)));
        let stop_reason = if call.is_some() {
            StopReason::ToolUse
        } else {
            StopReason::EndTurn
        };
        let text = (!text.is_empty()).then_some(ContentBlock::Text { text });
        Ok(Reply {
            content: text.into_iter().chain(call).collect(),
            stop_reason,
            usage: Usage::default(),
        })
    }

    fn describe(&self) -> String {
        "practice model: no key, no language model; it carries out instruction phrases (type `help`). For a real one, set ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL.".to_string()
    }

    fn is_practice(&self) -> bool {
        true
    }
}

/// What came of a step, and whether it is good.
type Ended = (String, bool);

/// Text, a call, and true if it asks again what it asked before.
fn answer(request: &Request<'_>) -> (String, Option<ContentBlock>, bool) {
    let say = |text| (text, None, false);
    if request.messages.last().is_some_and(is_cut) {
        let why = "This turn was compacted halfway, and from a summary I cannot tell how far I came. Look at what is done, then type the rest in shorter pieces.";
        return say(why.to_string());
    }
    let (turn, prompt) = current_turn(request.messages);
    let last = request
        .messages
        .last()
        .map_or(&[][..], std::slice::from_ref);
    let steps = match phrases::parse(prompt) {
        Ok(steps) => steps,
        // Compaction has more to say about it.
        Err(_)
            if prompt
                .to_lowercase()
                .starts_with("summarise this conversation") =>
        {
            return say(summary(request.messages));
        }
        Err(problem) => {
            let asked = last
                .iter()
                .flat_map(|message| &message.content)
                .any(ContentBlock::is_prompt);
            let news = news_text(last);
            let woken = !asked && !news.is_empty();
            return say(if woken {
                news
            } else {
                format!("{problem} {}", help(request))
            });
        }
    };
    let results = results(turn);
    let stopped = results
        .values()
        .any(|(text, _)| text.starts_with("ERROR: interrupted by the user"));
    if stopped && !news_text(last).is_empty() {
        return say(news_text(last)); // a result has woken me, and the prompt before was stopped
    }
    let mut ended = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let result = results.get(&index);
        match result {
            Some(&(text, ok)) if !ok || !goes_on(&step.action, text) => {
                ended.push((shorten(text), ok));
                continue;
            }
            _ => {}
        }
        if let Some(wait) = await_delivery(request, &step.action) {
            match wait {
                Ok(news) => ended.push((news, true)),
                Err(text) => return say(text),
            }
            continue;
        }
        match next_call(request, step, &ended) {
            Err(end) => ended.push(end),
            Ok((tool, input, remark)) => {
                let (id, name) = (fresh_id(request.messages, index), tool.to_string());
                let call = ContentBlock::ToolUse { id, name, input };
                return (remark.to_string(), Some(call), result.is_some());
            }
        }
    }
    let waits = steps
        .iter()
        .any(|step| matches!(step.action, Action::Wait(_)));
    let woken = !turn.is_empty() && !waits && self::results(last).is_empty();
    match news_text(last) {
        news if woken && !news.is_empty() => say(news),
        _ => say(report(&steps, &ended)),
    }
}

/// Where results come by themselves, waiting is to end the turn: the words for that, or what has
/// come. `None` where that is not so, or for a task that was never started.
fn await_delivery(request: &Request<'_>, action: &Action) -> Option<Result<String, String>> {
    let (Action::Wait(input), true) = (action, is_offered(request, "stop_bg")) else {
        return None;
    };
    let started = started(request.messages);
    let wanted: Vec<&str> = match input["id"].as_str() {
        Some(id) => started
            .into_iter()
            .filter(|task| *task == id.trim())
            .collect(),
        None => started,
    };
    let news = news(request.messages);
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|task| !news.iter().any(|(id, _)| id == task))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    if !missing.is_empty() {
        return Some(Err(format!(
            "I wait for {}: the result comes by itself.",
            missing.join(", ")
        )));
    }
    let of_wanted = news
        .into_iter()
        .filter(|(id, _)| wanted.contains(id))
        .map(|(_, text)| text);
    Some(Ok(of_wanted.collect::<Vec<_>>().join("\n")))
}

/// The background tasks that were started.
fn started(messages: &[Message]) -> Vec<&str> {
    let blocks = messages.iter().flat_map(|message| &message.content);
    let lines = blocks.filter_map(|block| match block {
        ContentBlock::ToolResult {
            content,
            is_error: false,
            ..
        } => {
            let moved = || {
                content
                    .strip_prefix("moved to the background as ")?
                    .split_once([' ', ','])
            };
            content
                .split_once(": started in the background.")
                .or_else(moved)
                .map(|(id, _)| id)
        }
        _ => None,
    });
    lines.collect()
}

/// What came by itself: the task, and the text about it.
fn news(messages: &[Message]) -> Vec<(&str, &str)> {
    let blocks = messages
        .iter()
        .flat_map(|message| &message.content)
        .filter_map(ContentBlock::as_text);
    let news = blocks.filter_map(|text| {
        let (id, rest) = text
            .strip_prefix("<task-notification task=\"")?
            .split_once("\">\n")?;
        Some((id, rest.split_once("\n</task-notification>")?.0))
    });
    news.collect()
}

fn news_text(messages: &[Message]) -> String {
    news(messages)
        .into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join("\n")
}

/// True if a summary has taken the place of the results of this turn: to begin again would be to
/// do everything twice.
fn is_cut(message: &Message) -> bool {
    let begins = |block: Option<&ContentBlock>, tag| {
        block
            .and_then(ContentBlock::as_text)
            .is_some_and(|text| text.starts_with(tag))
    };
    begins(message.content.first(), "<summary>")
        && begins(message.content.last(), "<system-reminder>")
}

/// The last prompt, and the messages after it.
fn current_turn(messages: &[Message]) -> (&[Message], &str) {
    let users = messages
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, message)| message.role == Role::User);
    let mut prompts = users.filter_map(|(at, message)| {
        let prompt = message
            .content
            .iter()
            .rfind(|block| block.is_prompt())?
            .as_text();
        Some((&messages[at + 1..], prompt?.trim()))
    });
    prompts.next().unwrap_or_default()
}

/// The last result of each step, and whether it is good.
fn results(turn: &[Message]) -> HashMap<usize, (&str, bool)> {
    let blocks = turn.iter().flat_map(|message| &message.content);
    let results = blocks.filter_map(|block| {
        let ContentBlock::ToolResult {
            tool_use_id,
            content,
            is_error,
        } = block
        else {
            return None;
        };
        let (_, step) = tool_use_id.strip_prefix(ID)?.rsplit_once('_')?;
        Some((step.parse().ok()?, (content.as_str(), !is_error)))
    });
    results.collect()
}

/// True if the step waits for a task that still runs. In an answer about one task, output follows
/// the first line; in one about all, each line is a task.
fn goes_on(action: &Action, result: &str) -> bool {
    let Action::Wait(input) = action else {
        return false;
    };
    let lines = if input["id"].is_null() { usize::MAX } else { 1 };
    result
        .lines()
        .take(lines)
        .any(|line| line.contains("still running"))
}

/// An id that the conversation does not hold yet.
fn fresh_id(messages: &[Message], step: usize) -> String {
    let held = |new: &String| {
        let mut blocks = messages.iter().flat_map(|message| &message.content);
        blocks.any(|block| matches!(block, ContentBlock::ToolUse { id, .. } if id == new))
    };
    let mut ids = (messages.len()..).map(|number| format!("{ID}{number}_{step}"));
    ids.find(|id| !held(id)).unwrap_or_default()
}

/// What a step calls, with which input, and a remark on it; or how it ended without a call.
fn next_call<'a>(
    request: &Request<'_>,
    step: &'a Step,
    ended: &[Ended],
) -> Result<(&'a str, Value, &'a str), Ended> {
    let offered = |tool| is_offered(request, tool);
    let end = |text, ok| Err((text, ok));
    match &step.action {
        Action::Summary => end(summary(request.messages), true),
        Action::Help => end(help(request), true),
        Action::Call(input) if step.tool == "bg_bash" && !offered("bg_bash") && offered("bash") => {
            let remark =
                "There is no bg_bash here: this runs in the foreground, and I wait for it.";
            Ok(("bash", json!({ "command": input["command"] }), remark))
        }
        _ if step.tool == "check_bg" && !offered("bg_bash") && !offered("check_bg") => end(
            "nothing to check: it ran in the foreground and has ended".to_string(),
            true,
        ),
        _ if !offered(step.tool) => {
            let Step { tool, lesson, .. } = step;
            end(
                format!("it needs the tool {tool}, which is not offered here ({lesson} brings it)"),
                false,
            )
        }
        Action::Call(input) | Action::Wait(input) => {
            let mut fields = input.as_object().into_iter().flat_map(|input| input.keys());
            match fields.find(|field| !takes(request, step.tool, field)) {
                None => Ok((step.tool, input.clone(), "")),
                Some(field) => end(
                    format!(
                        "{} takes no {field} here ({} brings it)",
                        step.tool, step.lesson
                    ),
                    false,
                ),
            }
        }
        Action::Plan { items, done } => {
            // Each item stands between two updates: the one before item 0 is `2 * done` steps back.
            let is_over = |done: usize, item: usize| ended[ended.len() - 2 * (done - item) + 1].1;
            let todo = |(index, (content, priority)): (usize, &(String, &str))| {
                let status = match done {
                    Some(done) if index == *done => "in_progress",
                    Some(done) if index < *done && is_over(*done, index) => "completed",
                    _ => "pending",
                };
                json!({ "content": content, "status": status, "priority": priority })
            };
            let todos: Vec<Value> = items.iter().enumerate().map(todo).collect();
            let kept = "I keep this plan. What I can carry out are only my own phrases: `help` lists them.";
            Ok((
                step.tool,
                json!({ "todos": todos }),
                if done.is_none() { kept } else { "" },
            ))
        }
    }
}

fn is_offered(request: &Request<'_>, tool: &str) -> bool {
    request.tools.iter().any(|spec| spec.name == tool)
}

fn takes(request: &Request<'_>, tool: &str, field: &str) -> bool {
    let mut specs = request.tools.iter().filter(|spec| spec.name == tool);
    specs.any(|spec| {
        spec.input_schema
            .get("properties")
            .is_none_or(|known| known.get(field).is_some())
    })
}

fn help(request: &Request<'_>) -> String {
    let offered = |tool: &str, field: &str| match field {
        "" => is_offered(request, tool),
        field => takes(request, tool, field),
    };
    let phrases = phrases::list(offered);
    format!(
        "I am the practice model, no language model. I carry out these phrases, several of them joined by `, then`:{phrases}"
    )
}

/// The last words of a turn: the result, or a line for each step. Of the updates of a plan, only
/// the first is worth a line, and only if it failed.
fn report(steps: &[Step], ended: &[Ended]) -> String {
    let mut lines = Vec::new();
    for (
        Step {
            label,
            tool,
            action,
            ..
        },
        (text, ok),
    ) in steps.iter().zip(ended)
    {
        let failed = if *ok { "" } else { " failed" };
        if steps.len() == 1 {
            return if *ok {
                text.clone()
            } else {
                format!("{label}{failed}: {text}")
            };
        }
        if matches!(action, Action::Plan { done: Some(done), .. } if *ok || *done > 0) {
            continue;
        }
        let several = !ok || *tool == "check_bg";
        let start: Vec<&str> = text.lines().take(if several { 4 } else { 1 }).collect();
        let text = if tool.is_empty() {
            text
        } else {
            &short(&start.join(" · "), 200)
        };
        lines.push(format!("{}. {label}{failed}: {text}", lines.len() + 1));
    }
    lines.join("\n")
}

/// At most 20 lines and 2,000 characters, and not nothing.
fn shorten(text: &str) -> String {
    let text = text.trim_end();
    let lines: Vec<&str> = text.lines().take(20).collect();
    let start = lines.join("\n").chars().take(2000).collect();
    let more = text.lines().nth(20).is_some() || text.chars().nth(2000).is_some();
    match text {
        "" => "(no output)".to_string(),
        _ if more => start + "\n… (shortened)",
        _ => start,
    }
}
