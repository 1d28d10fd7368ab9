//! Ask and run the tools: the two halves of a turn. The loop itself stands in every lesson.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::event::Event;
use crate::message::{ContentBlock, Message, Reply, Role, StopReason, ToolCall, take_back_prompt};
use crate::model::{Model, ModelError, Progress, Request};
use crate::outcome::catch;
use crate::permission::Gate;
use crate::tool::{Context, ToolError, ToolOutcome, Toolbox};

/// How often in a row a paused turn is taken up again.
const MAX_CONTINUATIONS: usize = 8;

/// A model with tools. It has no memory: the conversation belongs to the caller.
#[derive(Clone)]
pub struct Agent {
    /// Who answers.
    pub model: Arc<dyn Model>,
    /// The system prompt.
    pub system: String,
    /// What it can do.
    pub toolbox: Toolbox,
    /// What it may do.
    pub gate: Gate,
    /// What happens, and whether it should stop.
    pub context: Context,
}

/// Why a turn ended early. Displayed as what happened and what to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnError {
    /// The model refused; what it refused has left the conversation.
    Refused,
    /// No reply came. The conversation is as it was, and the next request is valid.
    Model(ModelError),
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TurnError::Refused => f.write_str(
                "The model will not answer this. Your last message was taken out of the conversation; say it differently, or go on with something else.",
            ),
            TurnError::Model(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TurnError {}

impl Agent {
    /// An agent whose gate is open.
    pub fn new(
        model: Arc<dyn Model>,
        system: impl Into<String>,
        toolbox: Toolbox,
        context: Context,
    ) -> Self {
        Agent {
            model,
            system: system.into(),
            toolbox,
            gate: Gate::open(),
            context,
        }
    }

    /// Sends the conversation, appends the reply and returns it. A reply that says nothing is not
    /// appended.
    ///
    /// # Errors
    /// When there is no reply to act on. The conversation stays valid either way.
    pub fn ask(&self, messages: &mut Vec<Message>) -> Result<Reply, TurnError> {
        for _ in 0..MAX_CONTINUATIONS {
            let mut reply = self.request(messages).map_err(TurnError::Model)?;
            if reply.stop_reason == StopReason::Refusal {
                take_back_prompt(messages);
                return Err(TurnError::Refused);
            }
            reply.repair(messages);
            match messages.last_mut() {
                _ if reply.content.is_empty() => {}
                // The turn was paused, and this is its continuation.
                Some(last) if last.role == Role::Assistant => {
                    last.content.extend(reply.content.clone())
                }
                _ => messages.push(Message {
                    role: Role::Assistant,
                    content: reply.content.clone(),
                }),
            }
            match &reply.stop_reason {
                StopReason::PauseTurn if reply.tool_calls().is_empty() => continue,
                StopReason::MaxTokens => self
                    .context
                    .events
                    .notice("The reply was cut off at the token limit."),
                StopReason::Unknown(word) => {
                    self.context.events.notice(format!(
                        "The model stopped for a reason unknown here: {word}."
                    ));
                }
                _ if reply.content.is_empty() => {
                    self.context.events.notice("The model had nothing to say.")
                }
                _ => {}
            }
            return Ok(reply);
        }
        let why = format!("the turn was paused {MAX_CONTINUATIONS} times in a row");
        Err(TurnError::Model(ModelError::Protocol(why)))
    }

    fn request(&self, messages: &[Message]) -> Result<Reply, ModelError> {
        let Context { events, interrupt } = &self.context;
        if interrupt.is_triggered() {
            return Err(ModelError::Interrupted);
        }
        events.emit(Event::RequestStarted);
        let request = Request {
            system: &self.system,
            messages,
            tools: &self.toolbox.specs(),
            interrupt,
        };
        let reply = self.model.reply(&request, &mut |progress| match progress {
            Progress::Text(text) => events.emit(Event::Text(text.to_string())),
            Progress::Notice(text) => events.notice(text),
        });
        events.emit(match &reply {
            Ok(reply) => Event::RequestFinished {
                stop_reason: reply.stop_reason.clone(),
                usage: reply.usage,
            },
            Err(_) => Event::RequestFailed,
        });
        reply
    }

    /// Runs every tool call of the reply, in order, and appends one user message with one result
    /// for each: errors, panics, denials and interrupted calls included.
    pub fn run_tools(&self, reply: Reply, messages: &mut Vec<Message>) {
        let cut = matches!(
            (&reply.stop_reason, reply.content.last()),
            (StopReason::MaxTokens, Some(ContentBlock::ToolUse { .. }))
        );
        let calls = reply.tool_calls();
        let last = calls.len().saturating_sub(1);
        let results = calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| self.answer(call, cut && index == last));
        messages.push(Message {
            role: Role::User,
            content: results.collect(),
        });
    }

    /// One call, one result.
    fn answer(&self, call: ToolCall<'_>, cut: bool) -> ContentBlock {
        let (id, name) = (call.id.to_string(), call.name.to_string());
        let events = &self.context.events;
        events.emit(Event::ToolStarted {
            id: id.clone(),
            name: name.clone(),
            input: call.input.clone(),
        });
        let started = Instant::now();
        let outcome = if cut {
            Err("your reply was cut off at the token limit inside this call, so it was not run. Call again with a shorter input, in several steps if need be.".into())
        } else {
            self.run_tool(call)
        };
        let (output, is_error) = match outcome {
            Ok(output) => (output, false),
            Err(error) => (error.to_string(), true),
        };
        let elapsed = started.elapsed();
        events.emit(Event::ToolFinished {
            id: id.clone(),
            name,
            output: output.clone(),
            is_error,
            elapsed,
        });
        ContentBlock::ToolResult {
            tool_use_id: id,
            content: output,
            is_error,
        }
    }

    fn run_tool(&self, call: ToolCall<'_>) -> ToolOutcome {
        if self.context.interrupt.is_triggered() {
            return Err("[interrupted] by the user before it ran".into());
        }
        let tool = self.toolbox.get(call.name)?;
        let allowed = self.gate.check(tool, call.input, &self.context.interrupt);
        if self.context.interrupt.is_triggered() {
            return Err("[interrupted] by the user before it ran".into()); // at the question
        }
        allowed?;
        catch(|| tool.call(call.input.clone(), &self.context))
            .unwrap_or_else(|panic| Err(ToolError(format!("{} broke down: {panic}", call.name))))
    }
}
