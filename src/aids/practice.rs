//! aids · The practice model, which needs no key. It is not a language model: it carries out the
//! course's instruction phrases, one tool call a reply or several `together`. Like a real one it
//! remembers nothing between requests: how far it has come, it reads off the conversation.

mod conversation;
mod phrases;
mod words;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::event::Event;
use crate::message::{ContentBlock, Reply, StopReason, ToolCall, Usage};
use crate::model::{Model, ModelError, Request};
use conversation::{
    Call, calls, current_turn, fresh_id, is_cut, memory, news, results, suggestion, summary, texts,
    wants_memory, wants_suggestion,
};
use phrases::Step;
pub use words::short;
use words::shorten;

/// How long to pause between two checks of the same background task.
const POLL_PAUSE: Duration = Duration::from_millis(100);

const CUT: &str = "This turn was compacted halfway, and from a summary I cannot tell how far I came. \
    Look at what is done, then type the rest in shorter pieces.";

/// Carries out instruction phrases.
pub struct Practice {
    /// How long it pretends to think before each reply.
    pub thinking: Duration,
    /// The "Try it" lines of the page, which it suggests.
    pub lines: Vec<String>,
}

impl Practice {
    /// Thinks for `MEANWHILE_THINKING_MS` milliseconds, or 300. Suggests these lines.
    pub fn from_env(lines: &[String]) -> Self {
        let millis = std::env::var("MEANWHILE_THINKING_MS").ok();
        let millis = millis.and_then(|millis| millis.parse().ok()).unwrap_or(300);
        let thinking = Duration::from_millis(millis);
        let lines = lines.to_vec();
        Practice { thinking, lines }
    }
}

impl Model for Practice {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let (text, uses) = match wants_suggestion(request.messages) {
            true => (suggestion(&self.lines, request.messages), Vec::new()),
            false => answer(request),
        };
        let recent = request.messages.rchunks(2).next().unwrap_or_default();
        let tasks = tasks(request);
        let again = calls(recent).iter().any(|look| look.says_running(&tasks));
        let least = if again { POLL_PAUSE } else { Duration::ZERO };
        if !request.interrupt.pause(self.thinking.max(least)) {
            return Err(ModelError::Interrupted);
        }
        for line in text.split_inclusive('\n') {
            request.events.emit(Event::Text(line.to_string()));
        }
        let stop_reason = match uses.is_empty() {
            true => StopReason::EndTurn,
            false => StopReason::ToolUse,
        };
        let text = (!text.is_empty()).then_some(ContentBlock::Text { text });
        Ok(Reply {
            content: text.into_iter().chain(uses).collect(),
            stop_reason,
            usage: Usage::default(),
        })
    }

    fn describe(&self) -> String {
        "practice model: no key, no language model; it carries out instruction phrases (type `help`). For a real one, set ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL.".to_string()
    }

    fn name(&self) -> String {
        "practice model".to_string()
    }

    fn is_practice(&self) -> bool {
        true
    }
}

/// What came of a step, and whether that is good.
type Ended = (String, bool);

/// The text of a reply, and its call, if it makes one: the tool and its input.
type Answer = (String, Option<(String, Value)>);

fn answer(request: &Request<'_>) -> (String, Vec<ContentBlock>) {
    let (messages, mut remarks, mut uses) = (request.messages, String::new(), Vec::new());
    let last = messages.last().map_or(&[][..], |message| &message.content);
    if is_cut(last) {
        return (CUT.to_string(), uses);
    }
    let (turn, prompt) = current_turn(messages);
    let (calls, news) = (calls(turn), texts(&news(last)));
    let woken = !news.is_empty() && !last.iter().any(ContentBlock::is_prompt);
    let steps = match phrases::parse(prompt) {
        Err(problem) if !woken => return (problem + &near(request, prompt), uses),
        Ok(steps) if !woken || !calls.iter().any(Call::was_interrupted) => {
            phrases::work(steps, &calls, woken && news.contains("board"))
        }
        _ => return (news, uses), // no prompt, or one that was stopped
    };
    let (tasks, mut ended) = (tasks(request), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let call = calls.iter().rfind(|call| call.step() == Some(index));
        let next = match call {
            _ if !step.together && !uses.is_empty() => break,
            Some(call) if step.verb != "wait" || !call.says_running(&tasks) => {
                Ok((shorten(call.result), !call.is_error))
            }
            _ => next(request, &steps, &ended),
        };
        match next {
            Ok(end) => ended.push(end),
            Err((text, None)) => return (remarks + &text, uses),
            Err((text, Some((name, input)))) => {
                let id = fresh_id(messages, index);
                uses.push(ContentBlock::ToolUse(ToolCall { id, name, input }));
                ended.push(Ended::default());
                remarks += &text;
            }
        }
    }
    let is_result = |block: &_| matches!(block, ContentBlock::ToolResult { .. });
    let goes_on = last.iter().any(is_result) || steps.iter().any(|step| step.verb == "wait");
    match woken && !goes_on {
        _ if !uses.is_empty() => (remarks, uses),
        true => (news, uses),
        false => (report(&steps, &ended), uses),
    }
}

/// The background tasks that were started. (A `task` without a priority is waited for.)
fn tasks<'a>(request: &Request<'a>) -> Vec<&'a str> {
    let mut calls = calls(request.messages);
    calls.retain(|call| call.name != "task" || offers(request, "task", Some("priority")));
    let mates = calls.iter().flat_map(Call::mates);
    calls.iter().filter_map(Call::task).chain(mates).collect()
}

/// What comes of the next step without a further call, or the reply that goes on with it.
fn next(request: &Request<'_>, steps: &[Step], ended: &[Ended]) -> Result<Ended, Answer> {
    let step = &steps[ended.len()];
    let (mut tool, lesson) = (&*step.tool, step.lesson);
    let (mut input, mut remark) = (step.input.clone(), "");
    let offered = |tool| offers(request, tool, None);
    if step.verb == "run" && !offered(tool) && offered("bash") {
        remark = "There is no bg_bash here: this runs in the foreground, and I wait for it.";
        (tool, input) = ("bash", json!({ "command": input["command"] }));
    } else if step.verb == "plan" && offered(tool) {
        input = json!({ "todos": todos(steps, ended) });
    } else if step.verb == "keep" {
        remark = "I keep this plan. I can carry out only my own phrases: `help` lists them.";
    }
    let mut fields = input.as_object().into_iter().flat_map(Map::keys);
    Ok(match step.verb {
        // The harness knows which tools there are, and says so.
        "call" => return Err((String::new(), Some((tool.to_string(), input)))),
        "summarise" if wants_memory(current_turn(request.messages).1) => {
            (memory(request.messages), true)
        }
        "summarise" | "summarize" => (summary(request.messages), true),
        "report" => (results(request.messages), true),
        "help" => (help(request), true),
        _ if tool == "check_bg" && !offered(tool) => {
            let why = "nothing to check: it ran in the foreground and has ended";
            (why.to_string(), true)
        }
        _ if !offered(tool) => {
            let what = format!("the tool {tool}, which is not offered here");
            (format!("it needs {what} ({lesson} brings it)"), false)
        }
        "wait" if let Some(next) = delivery(request, &input) => return next,
        _ if let Some(field) = fields.find(|field| !offers(request, tool, Some(field))) => {
            let why = format!("{tool} takes no {field} here");
            (format!("{why} ({lesson} brings it)"), false)
        }
        _ => return Err((remark.to_string(), Some((tool.to_string(), input)))),
    })
}

/// The items of a plan. The next step is an update; the one behind it carries out an item.
fn todos(steps: &[Step], ended: &[Ended]) -> Value {
    let items = steps.iter().enumerate().filter_map(|(index, step)| {
        let mut todo = step.item.clone()?;
        match ended.get(index) {
            Some((_, true)) => todo["status"] = "completed".into(),
            None if index == ended.len() + 1 => todo["status"] = "in_progress".into(),
            _ => {}
        }
        Some(todo)
    });
    items.collect()
}

/// Where results come by themselves, waiting means to end the turn. `None` where they do not, and
/// for a task that was never started.
fn delivery(request: &Request<'_>, input: &Value) -> Option<Result<Ended, Answer>> {
    let id = input["id"].as_str().map(str::trim);
    let mut missing = tasks(request);
    missing.retain(|task| id.is_none_or(|id| id == *task));
    let mut news = news(request.messages.iter().flat_map(|message| &message.content));
    news.retain(|(id, _)| missing.contains(id));
    if missing.is_empty() || !offers(request, "stop_bg", None) {
        return None;
    }
    missing.retain(|task| news.iter().all(|(id, _)| id != task));
    if missing.is_empty() {
        return Some(Ok((texts(&news), true)));
    }
    let missing = missing.join(", ");
    let text = format!("I wait for {missing}: the result comes by itself.");
    Some(Err((text, None)))
}

/// True if the tool is there, and takes this field.
fn offers(request: &Request<'_>, tool: &str, field: Option<&str>) -> bool {
    let mut specs = request.tools.iter().filter(|spec| &*spec.name == tool);
    specs.any(|spec| match (spec.input_schema.get("properties"), field) {
        (Some(known), Some(field)) => known.get(field).is_some(),
        _ => true,
    })
}

fn help(request: &Request<'_>) -> String {
    let phrases = phrases::list(|tool, field| offers(request, tool, field));
    format!(
        "I am the practice model, no language model. I carry out these phrases, several of them joined by `, then`:{phrases}"
    )
}

/// The phrases that begin with a word of the prompt, or where to find all.
fn near(request: &Request<'_>, prompt: &str) -> String {
    let all = phrases::list(|tool, field| offers(request, tool, field));
    let begins = |phrase: &&str| {
        let verb = phrase.split_whitespace().next();
        verb.is_some_and(|verb| prompt.split_whitespace().any(|word| word == verb))
    };
    let near: Vec<&str> = all.lines().filter(begins).collect();
    if near.is_empty() {
        return " I am the practice model, no language model: `help` lists the phrases that I carry out.".to_string();
    }
    format!(
        " Perhaps one of these (`help` lists all):\n{}",
        near.join("\n")
    )
}

/// The last words of a turn: the result, or a line for each step.
fn report(steps: &[Step], ended: &[Ended]) -> String {
    let mut lines = Vec::new();
    for (step, (text, ok)) in steps.iter().zip(ended) {
        let (label, failed) = (&step.label, if *ok { "" } else { " failed" });
        let line = match &*step.tool {
            _ if steps.len() == 1 && *ok => return text.clone(),
            _ if steps.len() == 1 => return format!("{label}{failed}: {text}"),
            // Of the updates of a plan only the first is worth a line, and only if it failed.
            "todo" if step.verb == "plan" && (*ok || label.is_empty()) => continue,
            "-" => text.clone(),
            tool => {
                let several = !ok || tool == "check_bg";
                let lines: Vec<_> = text.lines().collect();
                let (start, more) = lines.split_at(lines.len().min(if several { 4 } else { 1 }));
                let more = match more.len() {
                    more @ 1.. if several => format!(" · {more} more"),
                    _ => String::new(),
                };
                short(&start.join(" · "), 200) + &more
            }
        };
        lines.push(format!("{}. {label}{failed}: {line}", lines.len() + 1));
    }
    lines.join("\n")
}
