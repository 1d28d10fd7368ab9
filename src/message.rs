//! What is said: the words of the Anthropic Messages API, as Rust types.
//!
//! A conversation is a `Vec<Message>` in which the roles alternate, beginning with the user.
//! Tools are part of that conversation: the assistant says [`ContentBlock::ToolUse`], and the
//! next user message begins with one [`ContentBlock::ToolResult`] for each of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks. Results of tools are said by the user.
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
    /// Plain text; the API refuses text that is empty or only white space.
    #[allow(missing_docs)]
    Text { text: String },
    /// The assistant asks for a tool.
    ToolUse {
        /// Pairs this call with its result.
        id: String,
        /// The tool's name.
        name: String,
        /// The tool's input: always an object, not necessarily one that fits the tool.
        #[serde(default)]
        input: Value,
    },
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

impl Message {
    /// A user message of one text block.
    pub fn user(text: impl Into<String>) -> Self {
        let content = vec![ContentBlock::text(text)];
        Message {
            role: Role::User,
            content,
        }
    }
}

impl ContentBlock {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        ContentBlock::Text { text: text.into() }
    }

    /// The text, if this is a text block that says something.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            ContentBlock::Text { text } if !text.trim().is_empty() => Some(text),
            _ => None,
        }
    }

    /// True for what the person said. Text that the harness puts into a user message is marked:
    /// it begins with one of these tags.
    pub fn is_prompt(&self) -> bool {
        let tags = [
            "<system-reminder>",
            "<summary>",
            "<task-notification ",
            "<user-command>",
        ];
        self.as_text().is_some() && !tags.iter().any(|tag| self.is_marked(tag))
    }

    fn is_marked(&self, tag: &str) -> bool {
        self.as_text().is_some_and(|text| text.starts_with(tag))
    }
}

/// Appends what the user says. If the last message is the user's already (a turn ended early, or
/// with tool results), the text joins that message, so that the roles go on alternating.
pub fn push_user(messages: &mut Vec<Message>, text: impl Into<String>) {
    match messages.last_mut() {
        Some(last) if last.role == Role::User => last.content.push(ContentBlock::text(text)),
        _ => messages.push(Message::user(text)),
    }
}

/// Takes back the last prompt, or what took its place when a result woke the agent, and all that
/// came after it. What else stands in its message (results of tools, a summary) stays, and so does
/// what was delivered: nothing is delivered a second time.
pub fn take_back_prompt(messages: &mut Vec<Message>) {
    let delivered = |block: &ContentBlock| block.is_marked("<task-notification ");
    let begins = |message: &Message| {
        let first = message.content.first();
        message.role == Role::User
            && (first.is_some_and(delivered) || message.content.iter().any(ContentBlock::is_prompt))
    };
    let begin = messages.iter().rposition(begins).unwrap_or(0);
    let (mut kept, mut in_first) = (Vec::new(), true);
    for message in messages.split_off(begin) {
        let stays = |block: &ContentBlock| {
            if in_first {
                !block.is_prompt()
            } else {
                delivered(block)
            }
        };
        kept.extend(message.content.into_iter().filter(stays));
        in_first = false;
    }
    if !kept.is_empty() {
        messages.push(Message {
            role: Role::User,
            content: kept,
        });
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It has said what it had to say.
    EndTurn,
    /// It waits for tools.
    ToolUse,
    /// The reply was cut at the token limit, possibly in the middle of a tool call.
    MaxTokens,
    /// A stop sequence came up. We send none.
    StopSequence,
    /// A long turn was paused; the same conversation sent again goes on with it.
    PauseTurn,
    /// The model will not answer this.
    Refusal,
    /// One that did not exist when this was written.
    Unknown(String),
}

impl StopReason {
    /// Reads the API's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "end_turn" => Self::EndTurn,
            "tool_use" => Self::ToolUse,
            "max_tokens" => Self::MaxTokens,
            "stop_sequence" => Self::StopSequence,
            "pause_turn" => Self::PauseTurn,
            "refusal" => Self::Refusal,
            other => Self::Unknown(other.to_string()),
        }
    }
}

/// Tokens of one request, as the server counted them. All zero where it does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Read at full price.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Read and put into the prompt cache.
    pub cache_creation_input_tokens: u64,
    /// Read from the prompt cache.
    pub cache_read_input_tokens: u64,
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

/// A tool call inside a [`Reply`].
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct ToolCall<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub input: &'a Value,
}

impl Reply {
    /// The calls that want an answer, in order.
    pub fn tool_calls(&self) -> Vec<ToolCall<'_>> {
        let calls = self.content.iter().filter_map(|block| match block {
            ContentBlock::ToolUse { id, name, input } => Some(ToolCall { id, name, input }),
            _ => None,
        });
        calls.collect()
    }

    /// All text of the reply, blocks joined by newlines.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self
            .content
            .iter()
            .filter_map(ContentBlock::as_text)
            .collect();
        texts.join("\n")
    }

    /// Makes the reply fit for the history, whatever the server sent: no empty text, and tool
    /// calls with an id of their own, a legal name and an object as input (what was no object
    /// stands in it under `invalid_input`, which no tool's schema admits). A reply that then holds
    /// neither text nor a call comes out empty: thinking alone is no message.
    pub fn repair(&mut self, messages: &[Message]) {
        self.content.retain(|block| {
            !matches!(block, ContentBlock::Text { .. }) || block.as_text().is_some()
        });
        let blocks = || messages.iter().flat_map(|message| &message.content);
        let earlier = |new: &str| {
            blocks().any(|block| matches!(block, ContentBlock::ToolUse { id, .. } if id == new))
        };
        let mut ids: Vec<String> = Vec::new();
        for (index, block) in self.content.iter_mut().enumerate() {
            let ContentBlock::ToolUse { id, name, input } = block else {
                continue;
            };
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if id.is_empty() || !id.chars().all(legal) || ids.contains(id) || earlier(id) {
                *id = format!("toolu_{}_{index}", messages.len());
                while ids.contains(id) || earlier(id) {
                    id.push('_');
                }
            }
            ids.push(id.clone());
            *name = name
                .chars()
                .take(64)
                .map(|c| if legal(c) { c } else { '_' })
                .collect();
            if name.is_empty() {
                *name = "unnamed".to_string();
            }
            if input.is_null() {
                *input = serde_json::json!({});
            } else if !input.is_object() {
                *input = serde_json::json!({ "invalid_input": input.take() });
            }
        }
        let thought = |block: &ContentBlock| {
            matches!(block, ContentBlock::Other(value)
                if value["type"].as_str().is_some_and(|kind| kind.ends_with("thinking")))
        };
        if self.content.iter().all(thought) {
            self.content.clear();
        }
    }
}
