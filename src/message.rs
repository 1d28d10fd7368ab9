//! s01 · Messages: the words of the Anthropic Messages API, as Rust types.
//!
//! A conversation is a `Vec<Message>` in which the roles alternate, beginning with the user.
//! Tools are part of that conversation: the assistant says [`ContentBlock::ToolUse`], and the
//! next user message begins with one [`ContentBlock::ToolResult`] for each of them.

pub mod stored;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks. Tool results are said by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Role {
    User,
    Assistant,
}

/// One entry of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said, in order; never empty in a valid conversation.
    pub content: Vec<ContentBlock>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// What a person or the model says; the API refuses text that is only white space.
    #[allow(missing_docs)]
    Text { text: String },
    /// What the harness adds in the user's role: a reminder, a result that came late. On the wire
    /// it is text like any other; here the type tells it from what the person typed.
    #[serde(rename = "text", skip_deserializing)]
    #[allow(missing_docs)]
    Note { text: String },
    /// The assistant asks for a tool.
    ToolUse(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// The `id` of the call.
        tool_use_id: String,
        /// The output, or what went wrong.
        content: String,
        /// Tells the model that the call failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    /// Anything else (`thinking`, `redacted_thinking`, blocks that do not exist yet): kept as it
    /// came and sent back unchanged, as the API demands for thinking.
    #[serde(untagged)]
    Other(Value),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Pairs this call with its result.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The tool's input: always an object, not necessarily one that fits the tool.
    #[serde(default)]
    pub input: Value,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: Vec<ContentBlock>) -> Self {
        Message { role, content }
    }

    /// A user message of one text block.
    pub fn user(text: impl Into<String>) -> Self {
        Message::new(Role::User, vec![ContentBlock::text(text)])
    }
}

impl ContentBlock {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        ContentBlock::Text { text: text.into() }
    }

    /// The text of a text or a note, if it says something.
    pub fn as_text(&self) -> Option<&str> {
        let (ContentBlock::Text { text } | ContentBlock::Note { text }) = self else {
            return None;
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// The call, if it is one.
    pub fn as_call(&self) -> Option<&ToolCall> {
        match self {
            ContentBlock::ToolUse(call) => Some(call),
            _ => None,
        }
    }

    /// True for what the person said, in a user message.
    pub fn is_prompt(&self) -> bool {
        matches!(self, ContentBlock::Text { .. })
    }
}

/// Appends what the person says.
pub fn push_user(messages: &mut Vec<Message>, text: impl Into<String>) {
    append(messages, Role::User, vec![ContentBlock::text(text)]);
}

/// Appends what the harness says in the user's role. The text begins with a tag that tells the
/// model what it is, such as `<system-reminder>`.
pub fn push_note(messages: &mut Vec<Message>, text: impl Into<String>) {
    let note = ContentBlock::Note { text: text.into() };
    append(messages, Role::User, vec![note]);
}

/// Appends blocks. If the last message is of that role already (a turn ended early, or with tool
/// results), they join it, so that the roles go on alternating.
pub fn append(messages: &mut Vec<Message>, role: Role, content: Vec<ContentBlock>) {
    match messages.last_mut() {
        _ if content.is_empty() => {}
        Some(last) if last.role == role => last.content.extend(content),
        _ => messages.push(Message::new(role, content)),
    }
}

/// Takes back the last prompt, or the note that began a turn in its place, and what came after it.
/// Tool results that stand in its message stay, as their calls do; and so does every note, because
/// a result that was delivered is not delivered again.
pub fn take_back_prompt(messages: &mut Vec<Message>) {
    let is_note = |block: &ContentBlock| matches!(block, ContentBlock::Note { .. });
    let begins_turn = |message: &Message| {
        message.role == Role::User
            && (message.content.first().is_some_and(is_note)
                || message.content.iter().any(ContentBlock::is_prompt))
    };
    let begin = messages.iter().rposition(begins_turn).unwrap_or(0);
    let mut taken = messages.split_off(begin).into_iter();
    let mut kept = taken.next().map_or(Vec::new(), |first| first.content);
    kept.retain(|block| !block.is_prompt());
    kept.extend(taken.flat_map(|message| message.content).filter(is_note));
    append(messages, Role::User, kept);
}

/// Why the model stopped: the API's `stop_reason`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It has said what it had to say.
    EndTurn,
    /// It waits for tools.
    ToolUse,
    /// The reply was cut at the token limit, possibly in the middle of a tool call.
    MaxTokens,
    /// The model will not answer this.
    Refusal,
    /// One that did not exist when this was written.
    #[serde(untagged)]
    Unknown(String),
}

/// Tokens of one request, as the server counted them: read at full price, written, put into the
/// prompt cache, read from it. All zero where it does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
}

impl Usage {
    /// All that was read and written, in tokens.
    pub fn total(&self) -> u64 {
        let cached = self.cache_creation_input_tokens + self.cache_read_input_tokens;
        self.input_tokens + self.output_tokens + cached
    }
}

/// What a model answers to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Text, thinking and tool calls, in order.
    pub content: Vec<ContentBlock>,
    /// Why it ended here.
    pub stop_reason: StopReason,
    /// What it cost.
    pub usage: Usage,
}

impl Reply {
    /// The calls that want an answer, in order.
    pub fn tool_calls(&self) -> Vec<&ToolCall> {
        let calls = self.content.iter().filter_map(ContentBlock::as_call);
        calls.collect()
    }

    /// All text of the reply, blocks joined by newlines.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(ContentBlock::as_text);
        texts.collect::<Vec<_>>().join("\n")
    }
}
