//! aids · A session is a recording: its prompts are typed again, and a model answers what the model
//! answered then, in the time that it took. The tools really run, or with `--dry` what they said is
//! shown.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use super::sessions;
use crate::caught::lock;
use crate::event::Event;
use crate::journal::read;
use crate::message::stored::swap_notes;
use crate::message::{ContentBlock, Message, Reply, StopReason, Usage};
use crate::model::{Model, ModelError, Request};
use crate::options::Options;
use crate::session::Record;

/// How many forks may hang one on the other.
const FORKS: usize = 100;
const DIFFERS: &str = "This is not what was recorded: the tools said something else.";
const ELSEWHERE: &str = "This is not what was recorded: the next reply was to other calls.";
const NOT_KEPT: &str = "(What sub-agents said, or a summary, is not in the recording.)";

/// A request and its reply.
struct Exchange {
    /// What was said last before it.
    asked: Message,
    content: Vec<ContentBlock>,
    usage: Usage,
    /// When it was asked and answered, in milliseconds.
    times: (u64, u64),
}

/// The model of a recorded session.
pub struct Replay {
    name: String,
    exchanges: Vec<Exchange>,
    next: Mutex<usize>,
    speed: u64,
    is_dry: bool,
}

impl Replay {
    /// The recording that `--replay` names.
    ///
    /// # Errors
    /// When there is none, or nothing was said in it: in a sentence.
    pub fn open(options: &Options, name: &str) -> Result<Self, String> {
        let (id, mut exchanges) = (sessions::named(name)?, Vec::new());
        let read = record(&id, usize::MAX, FORKS, &mut None, &mut exchanges);
        read.map_err(|why| format!("The session {name} cannot be read: {why}."))?;
        match exchanges.is_empty() {
            true => Err(format!("Nothing was said in the session {name}.")),
            false => Ok(Replay {
                name: name.to_string(),
                exchanges,
                next: Mutex::default(),
                speed: options.speed.unwrap_or(1),
                is_dry: options.dry,
            }),
        }
    }

    /// What the person typed.
    pub fn prompts(&self) -> Vec<String> {
        let asked = self.exchanges.iter().map(|it| &it.asked);
        asked.filter_map(prompt).map(str::to_string).collect()
    }

    /// Waits as long as it took then. False if it was interrupted.
    fn pause(&self, request: &Request<'_>, from: u64, until: u64) -> bool {
        let time = until.saturating_sub(from).checked_div(self.speed);
        request
            .interrupt
            .pause(Duration::from_millis(time.unwrap_or(0)))
    }

    /// Shows what the tools said, and what was delivered; then the next reply, until the turn ends.
    fn play_dry(&self, request: &Request<'_>, at: &mut usize) -> bool {
        let events = request.events;
        while let (exchange, Some(next)) = (&self.exchanges[*at - 1], self.exchanges.get(*at)) {
            if prompt(&next.asked).is_some() {
                break;
            }
            for block in &next.asked.content {
                match block {
                    ContentBlock::ToolResult {
                        tool_use_id,
                        content,
                        is_error,
                    } => {
                        let is_its = |it: &&ContentBlock| matches!(it, ContentBlock::ToolUse(call) if call.id == *tool_use_id);
                        if let Some(ContentBlock::ToolUse(call)) =
                            exchange.content.iter().find(is_its)
                        {
                            let (name, input) = (call.name.clone(), call.input.clone());
                            events.emit(Event::ToolStarted { name, input });
                        }
                        let elapsed = next.times.0.saturating_sub(exchange.times.1);
                        events.emit(Event::ToolFinished {
                            output: content.clone(),
                            is_error: *is_error,
                            elapsed: Duration::from_millis(elapsed),
                        });
                    }
                    ContentBlock::Note { text } if text.starts_with("<task-notification") => {
                        let line = text.lines().nth(1).unwrap_or_default().to_string();
                        events.emit(Event::Delivered(String::new(), line));
                    }
                    _ => {}
                }
            }
            if !self.pause(request, exchange.times.1, next.times.1) {
                return false;
            }
            say(request, &next.content);
            *at += 1;
        }
        true
    }
}

/// Collects the exchanges of a session, and of what it comes from.
fn record(
    id: &str,
    most: usize,
    forks: usize,
    asked: &mut Option<(Message, u64)>,
    exchanges: &mut Vec<Exchange>,
) -> io::Result<()> {
    let mut is_first = true;
    read(&sessions::path(id), most, |line| {
        match line {
            Record::Opened(opened) if is_first => {
                if let Some((parent, lines)) = opened.parent {
                    let circle = || io::Error::other("its forks go in a circle");
                    let forks = forks.checked_sub(1).ok_or_else(circle)?;
                    record(&parent, lines, forks, asked, exchanges)?;
                }
            }
            Record::Said(mut said) => match (said.messages.pop().map(swap_notes), said.usage) {
                (Some(message), None) => *asked = Some((message, said.time)),
                (Some(reply), Some(usage)) => {
                    if let Some((asked, time)) = asked.take() {
                        exchanges.push(Exchange {
                            asked,
                            content: reply.content,
                            usage,
                            times: (time, said.time),
                        });
                    }
                }
                (None, _) => {}
            },
            _ => {}
        }
        is_first = false;
        Ok(())
    })
    .map(drop)
}

/// What the person said last in a message.
fn prompt(message: &Message) -> Option<&str> {
    let mut blocks = message.content.iter().rev();
    blocks.find(|block| block.is_prompt())?.as_text()
}

/// What the tools answered, and to which calls.
fn results(message: &Message) -> (Vec<&str>, Vec<&str>) {
    let results = message.content.iter().filter_map(|block| match block {
        ContentBlock::ToolResult {
            content,
            tool_use_id,
            ..
        } => Some((content.as_str(), tool_use_id.as_str())),
        _ => None,
    });
    results.unzip()
}

fn say(request: &Request<'_>, content: &[ContentBlock]) {
    for text in content.iter().filter_map(ContentBlock::as_text) {
        request.events.emit(Event::Text(text.to_string()));
    }
}

impl Model for Replay {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let usage = Usage::default();
        let mut at = lock(&self.next);
        let begins = |messages: &[Message]| messages.first().and_then(prompt).map(str::to_string);
        let first = self.exchanges[0].asked.clone();
        // A summary is asked for without tools, and was not recorded either.
        let is_other = request.messages.len() < 2 && begins(request.messages) != begins(&[first]);
        if request.tools.is_empty() || *at > 0 && is_other {
            let (content, stop_reason) = (vec![ContentBlock::text(NOT_KEPT)], StopReason::EndTurn);
            return Ok(Reply {
                content,
                stop_reason,
                usage,
            });
        }
        let Some(exchange) = self.exchanges.get(*at) else {
            return Err(ModelError::Failed("The recording ends here.".to_string()));
        };
        let last = request.messages.last();
        let (said, called) = last.map(results).unwrap_or_default();
        let (then, called_then) = results(&exchange.asked);
        match called == called_then {
            _ if self.is_dry => {}
            false => request.events.notice(ELSEWHERE),
            true if said != then => request.events.notice(DIFFERS),
            true => {}
        }
        if !self.pause(request, exchange.times.0, exchange.times.1) {
            return Err(ModelError::Interrupted);
        }
        say(request, &exchange.content);
        *at += 1;
        if self.is_dry && !self.play_dry(request, &mut at) {
            return Err(ModelError::Interrupted);
        }
        let Exchange { content, usage, .. } = &self.exchanges[*at - 1];
        let mut content = content.clone();
        content.retain(|block| !self.is_dry || !matches!(block, ContentBlock::ToolUse(_)));
        let calls = |block: &_| matches!(block, ContentBlock::ToolUse(_));
        let stop_reason = match content.iter().any(calls) {
            true => StopReason::ToolUse,
            false => StopReason::EndTurn,
        };
        Ok(Reply {
            content,
            stop_reason,
            usage: *usage,
        })
    }

    fn describe(&self) -> String {
        let tools = if self.is_dry {
            "are shown, and do not run"
        } else {
            "really run"
        };
        format!("Recording: the session {}. Its tools {tools}.", self.name)
    }

    fn name(&self) -> String {
        "recording".to_string()
    }
}
