//! aids · The practice model, which needs no key. It is not a language model: it carries out the course's
//! instruction phrases, one tool call a reply. Like a real one it remembers nothing between requests: how far it
//! has come, it reads off the conversation.

mod conversation;
mod phrases;
mod summary;
mod words;

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use serde_json::{Map, Value, json};

use crate::message::{ContentBlock, Reply, StopReason, Usage};
use crate::model::{Model, ModelError, Progress, Request};
use conversation::{Call, calls, current_turn, fresh_id, is_cut, news, texts};
use phrases::{Action, Step};
use summary::summary;

/// How long to pause between two checks of the same background task.
const POLL_PAUSE: Duration = Duration::from_millis(100);

const KEPT: &str =
    "I keep this plan. What I can carry out are only my own phrases: `help` lists them.";
const CUT: &str = "This turn was compacted halfway, and from a summary I cannot tell how far I came. \
    Look at what is done, then type the rest in shorter pieces.";

/// Carries out instruction phrases.
pub struct Practice {
    /// How long it pretends to think before each reply.
    pub thinking: Duration,
}

impl Practice {
    /// Thinks for `MEANWHILE_THINKING_MS` milliseconds, or 300.
    pub fn from_env() -> Self {
        let millis = std::env::var("MEANWHILE_THINKING_MS").ok();
        let millis = millis.and_then(|millis| millis.parse().ok()).unwrap_or(300);
        let thinking = Duration::from_millis(millis);
        Practice { thinking }
    }
}

impl Model for Practice {
    fn reply(
        &self,
        request: &Request<'_>,
        on_progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Reply, ModelError> {
        let (text, call, again) = answer(request);
        let least = if again { POLL_PAUSE } else { Duration::ZERO };
        let pause = self.thinking.max(least);
        let interrupted = request.interrupt.receiver().recv_timeout(pause);
        if let Err(RecvTimeoutError::Disconnected) = interrupted {
            return Err(ModelError::Interrupted);
        }
        for line in text.split_inclusive('\n') {
            on_progress(Progress::Text(line));
        }
        let stop_reason = match call {
            Some(_) => StopReason::ToolUse,
            None => StopReason::EndTurn,
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

/// The text of a reply, its call, and true if that asks again what was asked before.
type Answer = (String, Option<ContentBlock>, bool);

/// What came of a step, and whether that is good.
type Ended = (String, bool);

/// What comes next in a step.
enum Next<'a> {
    /// Nothing more.
    End(Ended),
    /// A call: the tool, its input, a remark.
    Call(&'a str, Value, &'a str),
    /// The end of the turn, with these words: a result will come by itself.
    Await(String),
}

fn answer(request: &Request<'_>) -> Answer {
    let say = |text| (text, None, false);
    let messages = request.messages;
    let last = messages.last().map_or(&[][..], |message| &message.content);
    if is_cut(last) {
        return say(CUT.to_string());
    }
    let (turn, prompt) = current_turn(messages);
    let (calls, news) = (calls(turn), texts(&news(last)));
    let woken = !news.is_empty() && !last.iter().any(ContentBlock::is_prompt);
    let steps = match phrases::parse(prompt) {
        // Compaction has more to say about it.
        Err(_) if prompt.starts_with("Summarise this conversation") => {
            return say(summary(messages));
        }
        Err(problem) if !woken => return say(format!("{problem} {}", help(request))),
        Ok(steps) if !woken || !calls.iter().any(Call::was_interrupted) => steps,
        _ => return say(news), // no prompt, or one that was stopped
    };
    let mut ended = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let call = calls.iter().rfind(|call| call.step() == Some(index));
        let next = match call {
            Some(call) if !goes_on(request, step, call) => {
                Next::End((shorten(call.result), !call.is_error))
            }
            _ => next(request, step, &ended),
        };
        match next {
            Next::End(end) => ended.push(end),
            Next::Await(text) => return say(text),
            Next::Call(tool, input, remark) => {
                let (id, name) = (fresh_id(messages, index), tool.to_string());
                let block = ContentBlock::ToolUse { id, name, input };
                return (remark.to_string(), Some(block), call.is_some());
            }
        }
    }
    let waits = steps.iter().any(waits);
    let is_result = |block: &_| matches!(block, ContentBlock::ToolResult { .. });
    let goes_on = waits || last.iter().any(is_result);
    match woken && !goes_on {
        true => say(news),
        false => say(report(&steps, &ended)),
    }
}

fn waits(step: &Step) -> bool {
    matches!(step.action, Action::Wait(_))
}

/// True if the call was a look at something that still runs and is waited for.
fn goes_on(request: &Request<'_>, step: &Step, call: &Call<'_>) -> bool {
    waits(step) && !call.is_error && call.says_running(&tasks(request))
}

/// The background tasks that were started. (A `task` without a priority is waited for.)
fn tasks<'a>(request: &Request<'a>) -> Vec<&'a str> {
    let mut calls = calls(request.messages);
    calls.retain(|call| call.name != "task" || offers(request, "task", Some("priority")));
    calls.iter().filter_map(Call::task).collect()
}

fn next<'a>(request: &Request<'_>, step: &'a Step, ended: &[Ended]) -> Next<'a> {
    let (tool, lesson) = (step.tool, step.lesson);
    let offered = |tool| offers(request, tool, None);
    let failed = |why| Next::End((why, false));
    match &step.action {
        Action::Summary => Next::End((summary(request.messages), true)),
        Action::Help => Next::End((help(request), true)),
        Action::Call(input) if tool == "bg_bash" && !offered(tool) && offered("bash") => {
            let remark =
                "There is no bg_bash here: this runs in the foreground, and I wait for it.";
            Next::Call("bash", json!({ "command": input["command"] }), remark)
        }
        _ if tool == "check_bg" && !offered(tool) => {
            let why = "nothing to check: it ran in the foreground and has ended";
            Next::End((why.to_string(), true))
        }
        _ if !offered(tool) => failed(format!(
            "it needs the tool {tool}, which is not offered here ({lesson} brings it)"
        )),
        Action::Wait(input) if let Some(next) = delivery(request, input) => next,
        Action::Call(input) | Action::Wait(input) => {
            let mut fields = input.as_object().into_iter().flat_map(Map::keys);
            match fields.find(|field| !offers(request, tool, Some(field))) {
                Some(field) => failed(format!("{tool} takes no {field} here ({lesson} brings it)")),
                None if tool == "todo" => Next::Call(tool, input.clone(), KEPT),
                None => Next::Call(tool, input.clone(), ""),
            }
        }
        Action::Plan(items, done) => {
            // Each item stands between two updates: the one before item 0 is `2 * done` steps back.
            let succeeded = |item: usize| ended[ended.len() - 2 * (done - item) + 1].1;
            let mut todos = items.to_vec();
            for (item, todo) in todos.iter_mut().enumerate().take(done + 1) {
                if item == *done {
                    todo["status"] = "in_progress".into();
                } else if succeeded(item) {
                    todo["status"] = "completed".into();
                }
            }
            Next::Call(tool, json!({ "todos": todos }), "")
        }
    }
}

/// Where results come by themselves, waiting means to end the turn. `None` where they do not, and
/// for a task that was never started.
fn delivery<'a>(request: &Request<'_>, input: &Value) -> Option<Next<'a>> {
    let id = input["id"].as_str().map(str::trim);
    let mut wanted = tasks(request);
    wanted.retain(|task| id.is_none_or(|id| id == *task));
    let mut news = news(request.messages.iter().flat_map(|message| &message.content));
    news.retain(|(id, _)| wanted.contains(id));
    let mut missing = wanted.clone();
    missing.retain(|task| news.iter().all(|(id, _)| id != task));
    let missing = missing.join(", ");
    let next = match missing.is_empty() {
        true => Next::End((texts(&news), true)),
        false => Next::Await(format!("I wait for {missing}: the result comes by itself.")),
    };
    (!wanted.is_empty() && offers(request, "stop_bg", None)).then_some(next)
}

/// True if the tool is there, and takes this field.
fn offers(request: &Request<'_>, tool: &str, field: Option<&str>) -> bool {
    let mut specs = request.tools.iter().filter(|spec| spec.name == tool);
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

/// The last words of a turn: the result, or a line for each step.
fn report(steps: &[Step], ended: &[Ended]) -> String {
    let mut lines = Vec::new();
    for (step, (text, ok)) in steps.iter().zip(ended) {
        let (label, failed) = (&step.label, if *ok { "" } else { " failed" });
        let line = match &step.action {
            _ if steps.len() == 1 && *ok => return text.clone(),
            _ if steps.len() == 1 => return format!("{label}{failed}: {text}"),
            // Of the updates of a plan only the first is worth a line, and only if it failed.
            Action::Plan(_, done) if *ok || *done > 0 => continue,
            Action::Summary | Action::Help => text.clone(),
            _ => {
                let several = !ok || step.tool == "check_bg";
                let start = text.lines().take(if several { 4 } else { 1 });
                short(&start.collect::<Vec<_>>().join(" · "), 200)
            }
        };
        lines.push(format!("{}. {label}{failed}: {line}", lines.len() + 1));
    }
    lines.join("\n")
}

/// At most 20 lines and 2,000 characters, and not nothing.
fn shorten(text: &str) -> String {
    let text = text.trim_end();
    let lines: Vec<&str> = text.split('\n').take(20).collect();
    let start: String = lines.join("\n").chars().take(2000).collect();
    match start.len() {
        0 => "(no output)".to_string(),
        length if length < text.len() => start + "\n… (shortened)",
        _ => start,
    }
}

/// In one line, at most so many characters.
pub fn short(text: &str, max: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let more = text.chars().nth(max).map(|_| '…');
    text.chars().take(max).map(visible).chain(more).collect()
}
