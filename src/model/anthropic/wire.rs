//! foundation · The wire format: the request as JSON, and a reply put together from the events of
//! its stream, in which what a server may get wrong is put right. No event can make this panic.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use crate::message::{ContentBlock, Message, Reply, Role, StopReason, ToolCall, Usage};
use crate::model::Request;

/// The most that one reply may cost. What needs more is cut off.
const MAX_TOKENS: u32 = 8192;

/// The request as JSON. What stands before a marker can come from the server's cache next time:
/// tools, system prompt, the conversation as it is and as it was one request ago.
pub(super) fn body(model: &str, request: &Request<'_>) -> Vec<u8> {
    let mut body = json!({ "model": model, "max_tokens": MAX_TOKENS, "stream": true });
    if !request.system.trim().is_empty() {
        body["system"] = json!([{ "type": "text", "text": request.system }]);
        mark(body["system"].as_array_mut());
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(|tool| json!(**tool)).collect();
        mark(body["tools"].as_array_mut());
    }
    let mut messages: Vec<_> = request.messages.iter().map(Sent::AsItIs).collect();
    let newest_first = messages.iter_mut().rev();
    let of_user = |it: &&mut Sent<'_>| matches!(it, Sent::AsItIs(it) if it.role == Role::User);
    for message in newest_first.filter(of_user).take(2) {
        let mut marked = json!(message);
        mark(marked["content"].as_array_mut());
        *message = Sent::Marked(marked);
    }
    serde_json::to_vec(&Body { body, messages }).unwrap_or_default() // cannot fail
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    body: Value,
    messages: Vec<Sent<'a>>,
}

/// A message. Only one that is marked is copied: a conversation may be long.
#[derive(Serialize)]
#[serde(untagged)]
enum Sent<'a> {
    AsItIs(&'a Message),
    Marked(Value),
}

/// Marks the last block: it, and what stands before it, is to be kept in the cache.
fn mark(blocks: Option<&mut Vec<Value>>) {
    let last = blocks.and_then(|blocks| blocks.last_mut());
    if let Some(block) = last.and_then(Value::as_object_mut) {
        block.insert("cache_control".to_string(), json!({ "type": "ephemeral" }));
    }
}

/// A reply in the making.
#[derive(Default)]
pub(super) struct Assembly {
    /// What came as `index` (only ever compared, so it need not be a number), and the block, always
    /// an object. Input of a tool gathers under `partial_json`: it is JSON only once it is whole.
    blocks: Vec<(Value, Value)>,
    /// The fields of [`Usage`] that came, and maybe others.
    usage: Map<String, Value>,
    /// Comes just before the end.
    pub(super) stop_reason: Option<StopReason>,
    /// True after the last event.
    pub(super) stopped: bool,
}

impl Assembly {
    /// Takes in the next event and returns its text; what is unknown is passed over.
    pub(super) fn apply(&mut self, event: &str) -> Result<String, Failure> {
        let event: Value = match serde_json::from_str(event) {
            // Nested deeper than a `Value` is read: none of the events that we know.
            Err(_) if serde_json::from_str::<serde::de::IgnoredAny>(event).is_ok() => {
                return Ok(String::new());
            }
            event => event
                .map_err(|error| Failure::Protocol(format!("an event is no JSON ({error})")))?,
        };
        for place in [&event, &event["message"], &event["delta"]] {
            // Later counts replace earlier ones, unless they are missing.
            let counts = place["usage"].as_object().into_iter().flatten();
            let counts = counts.filter(|(_, count)| count.is_u64());
            self.usage
                .extend(counts.map(|(key, count)| (key.clone(), count.clone())));
            if let Ok(reason) = StopReason::deserialize(&place["stop_reason"]) {
                self.stop_reason = Some(reason);
            }
        }
        let index = &event["index"];
        match event["type"].as_str() {
            Some("content_block_start") => return Ok(self.begin(index, &event["content_block"])),
            Some("content_block_delta") => return self.extend(index, &event["delta"]),
            Some("message_stop") => self.stopped = true,
            Some("message") => {
                self.stopped = true;
                let blocks = event["content"].as_array().into_iter().flatten();
                let texts = blocks.map(|block| self.begin(&Value::Null, block));
                return Ok(texts.collect());
            }
            _ if !event["error"].is_null() => return Err(api_error(&event)),
            _ => {}
        }
        Ok(String::new())
    }

    /// What it has cost by now.
    pub(super) fn usage(&self) -> Usage {
        serde_json::from_value(self.usage.clone().into()).unwrap_or_default()
    }

    fn begin(&mut self, index: &Value, block: &Value) -> String {
        if block.is_object() {
            self.blocks.push((index.clone(), block.clone()));
        }
        block["text"].as_str().unwrap_or_default().to_string()
    }

    fn extend(&mut self, index: &Value, delta: &Value) -> Result<String, Failure> {
        let mut newest_first = self.blocks.iter_mut().rev();
        let Some((_, block)) = newest_first.find(|(known, _)| known == index) else {
            return Err(Failure::Protocol(
                "a piece came of a block that had not begun".into(),
            ));
        };
        let key = match delta["type"].as_str() {
            Some("text_delta") => "text",
            Some("thinking_delta") => "thinking",
            Some("signature_delta") => "signature",
            Some("input_json_delta") => "partial_json",
            _ => return Ok(String::new()),
        };
        let piece = delta[key].as_str().unwrap_or_default();
        match &mut block[key] {
            Value::String(so_far) => so_far.push_str(piece),
            other => *other = json!(piece),
        }
        Ok(if key == "text" { piece } else { "" }.to_string())
    }

    /// The reply, if it is complete.
    pub(super) fn finish(self) -> Result<Reply, Failure> {
        let usage = self.usage();
        let ended = self.stopped.then_some(StopReason::EndTurn);
        let Some(stop_reason) = self.stop_reason.or(ended) else {
            return Err(Failure::Protocol("it ended before it was complete".into()));
        };
        let blocks = self.blocks.into_iter();
        Ok(Reply {
            content: blocks.filter_map(|(_, block)| close(block)).collect(),
            stop_reason,
            usage,
        })
    }
}

/// The finished block; `None` for what no history can hold. Input that is no JSON, because it was
/// cut off, stays a string: [`repair`] makes of it what no tool accepts.
fn close(mut block: Value) -> Option<ContentBlock> {
    if let Some(Value::String(json)) = block.as_object_mut()?.remove("partial_json")
        && !json.trim().is_empty()
    {
        block["input"] = serde_json::from_str(&json).unwrap_or(Value::String(json));
    }
    let word = |key: &str| block[key].as_str().unwrap_or_default().to_string();
    Some(match block["type"].as_str()? {
        "text" => ContentBlock::text(word("text")),
        "tool_use" => ContentBlock::ToolUse(ToolCall {
            id: word("id"),
            name: word("name"),
            input: block["input"].clone(),
        }),
        "tool_result" => return None, // ours to say
        _ => ContentBlock::Other(block),
    })
}

/// What an error says, from its body: `{"error": {"message": …}}`, or less than that.
pub(super) fn error_message(body: &Value) -> Option<String> {
    let places = [&body["error"]["message"], &body["error"], &body["message"]];
    places.into_iter().find_map(Value::as_str).map(String::from)
}

/// Inside the stream it is too late for a status: the kind of error, or llama.cpp's code, tells
/// which one is meant.
fn api_error(event: &Value) -> Failure {
    let inner = &event["error"];
    let nested = Some(inner).filter(|inner| inner["error"].is_object());
    let event = nested.unwrap_or(event);
    let code = event["error"]["code"].as_u64();
    let status = match event["error"]["type"].as_str() {
        Some("invalid_request_error") => 400,
        Some("rate_limit_error") => 429,
        Some("api_error") => 500,
        Some("timeout_error") => 504,
        Some("overloaded_error") => 529,
        _ => code.and_then(|code| code.try_into().ok()).unwrap_or(200),
    };
    let message = error_message(event).unwrap_or_else(|| event.to_string());
    Failure::Api(status, message, None)
}

/// Whether the API takes a tool of that name, with that schema. With another one, it refuses each
/// request.
pub fn fits(name: &str, schema: &Value) -> bool {
    let plain = |name: &str, more: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        (1..=64).contains(&name.len()) && name.chars().all(good)
    };
    let choices = ["oneOf", "anyOf", "allOf"].map(|it| schema.get(it));
    let fields_fit = match &schema["properties"] {
        Value::Object(fields) => fields.keys().all(|name| plain(name, "_-.")),
        fields => fields.is_null(),
    };
    plain(name, "_-") && schema["type"] == "object" && fields_fit && choices == [None; 3]
}

/// Makes a reply fit for the history, so that the next request is valid: no empty text, and tool
/// calls with an id of their own, a legal name and an object as input (what was no object stands
/// in it under `invalid_input`, which no tool's schema admits). A reply that then holds neither
/// text nor a call comes out empty: thinking alone is no message.
pub fn repair(reply: &mut Reply, messages: &[Message]) {
    let says_something = |block: &_| !ContentBlock::is_prompt(block) || block.as_text().is_some();
    reply.content.retain(says_something);
    let blocks = messages.iter().flat_map(|message| &message.content);
    let calls = blocks.filter_map(ContentBlock::as_call);
    let mut ids: Vec<String> = calls.map(|call| call.id.clone()).collect();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    for (index, block) in reply.content.iter_mut().enumerate() {
        let ContentBlock::ToolUse(ToolCall { id, name, input }) = block else {
            continue;
        };
        if id.is_empty() || !id.chars().all(legal) || ids.contains(id) {
            *id = format!("toolu_{}_{index}", messages.len());
            while ids.contains(id) {
                id.push('_');
            }
        }
        ids.push(id.clone());
        let letters = name.chars().take(64);
        *name = letters.map(|c| if legal(c) { c } else { '_' }).collect();
        if name.is_empty() {
            *name = "unnamed".to_string();
        }
        if input.is_null() {
            *input = serde_json::json!({});
        } else if !input.is_object() {
            *input = serde_json::json!({ "invalid_input": input.take() });
        }
    }
    let is_thought = |block: &ContentBlock| {
        matches!(block, ContentBlock::Other(value)
            if value["type"].as_str().is_some_and(|kind| kind.ends_with("thinking")))
    };
    if reply.content.iter().all(is_thought) {
        reply.content.clear();
    }
}
