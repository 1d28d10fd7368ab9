//! s01 · The agent: ask and run the tools, the two halves of a turn. The loop itself stands in every
//! lesson.

use std::sync::Arc;
use std::time::Instant;

use crate::caught::catch;
use crate::event::Event;
use crate::message::{ContentBlock, Message, Reply, Role, StopReason, ToolCall, take_back_prompt};
use crate::model::{Model, ModelError, Request};
use crate::tool::{Context, Gate, ToolOutcome, Toolbox};

/// A model with tools. It has no memory: the conversation belongs to the caller.
#[derive(Clone)]
pub struct Agent {
    /// Who answers.
    pub model: Arc<dyn Model>,
    /// The system prompt.
    pub system: String,
    /// What it can do.
    pub toolbox: Toolbox,
    /// What it may do: everything, until a gate is put here.
    pub gate: Gate,
    /// Where to say what happens, whom to ask, and when to stop.
    pub context: Context,
}

impl Agent {
    /// An agent without tools, whose gate is open.
    pub fn new(model: Arc<dyn Model>, system: impl Into<String>, context: Context) -> Self {
        Agent {
            model,
            system: system.into(),
            toolbox: Toolbox::default(),
            gate: Arc::new(|_, _, _| Ok(())),
            context,
        }
    }

    /// Sends the conversation, appends the reply and returns it. A reply that says nothing is not
    /// appended.
    ///
    /// # Errors
    /// When there is no reply to act on. The conversation stays valid: what a model refused has
    /// left it, and otherwise it is as it was.
    pub fn ask(&self, messages: &mut Vec<Message>) -> Result<Reply, ModelError> {
        let reply = self.request(messages)?;
        if reply.stop_reason == StopReason::Refusal {
            take_back_prompt(messages);
            return Err(ModelError::Refused);
        }
        if !reply.content.is_empty() {
            messages.push(Message::new(Role::Assistant, reply.content.clone()));
        }
        let events = &self.context.events;
        match &reply.stop_reason {
            StopReason::MaxTokens => events.notice("The reply was cut off at the token limit."),
            StopReason::Unknown(word) => events.notice(format!(
                "The model stopped for a reason unknown here: {word}."
            )),
            _ if reply.content.is_empty() => events.notice("The model had nothing to say."),
            _ => {}
        }
        Ok(reply)
    }

    fn request(&self, messages: &[Message]) -> Result<Reply, ModelError> {
        let (events, interrupt) = (&self.context.events, &self.context.interrupt);
        if interrupt.is_triggered() {
            return Err(ModelError::Interrupted);
        }
        events.emit(Event::RequestStarted);
        let request = Request {
            system: &self.system,
            messages,
            tools: &self.toolbox.tools,
            events,
            interrupt,
        };
        let reply = self.model.reply(&request);
        let usage = reply.as_ref().ok().map(|reply| reply.usage);
        events.emit(Event::RequestFinished(usage));
        reply
    }

    /// Runs every tool call of the reply, in order, and appends one user message with one result
    /// for each: errors, panics, denials and interrupted calls included.
    pub fn run_tools(&self, reply: Reply, messages: &mut Vec<Message>) {
        // Only the last block can have been cut off.
        let cut = reply.stop_reason == StopReason::MaxTokens;
        let last = reply.content.last().filter(|_| cut);
        let is_cut = |call| matches!(last, Some(ContentBlock::ToolUse(cut)) if cut == call);
        let calls = reply.tool_calls().into_iter();
        let results = calls.map(|call| self.answer(call, is_cut(call)));
        messages.push(Message::new(Role::User, results.collect()));
    }

    /// One call, one result.
    fn answer(&self, call: &ToolCall, cut: bool) -> ContentBlock {
        let events = &self.context.events;
        events.emit(Event::ToolStarted {
            name: call.name.to_string(),
            input: call.input.clone(),
        });
        let started = Instant::now();
        let outcome = match cut {
            true => Err("your reply was cut off at the token limit inside this call, so it was not run. Call again with a shorter input, in several steps if need be.".to_string()),
            false => self.run_tool(call),
        };
        let is_error = outcome.is_err();
        let content = outcome.unwrap_or_else(|error| format!("ERROR: {error}"));
        events.emit(Event::ToolFinished {
            output: content.clone(),
            is_error,
            elapsed: started.elapsed(),
        });
        ContentBlock::ToolResult {
            tool_use_id: call.id.to_string(),
            content,
            is_error,
        }
    }

    fn run_tool(&self, call: &ToolCall) -> ToolOutcome {
        let tool = self.toolbox.get(&call.name)?;
        let allowed = (self.gate)(tool, &call.input, &self.context);
        if self.context.interrupt.is_triggered() {
            return Err("[interrupted] by the user before it ran".to_string());
        }
        allowed?;
        catch(|| tool.call(call.input.clone(), &self.context))
            .unwrap_or_else(|panic| Err(format!("{} broke down: {panic}", call.name)))
    }
}
