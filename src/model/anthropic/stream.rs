//! A reply put together from the events of its stream. No event can make this panic.

use serde_json::{Value, json};

use crate::message::{ContentBlock, Reply, StopReason, Usage};
use crate::model::ModelError;

/// A reply in the making.
#[derive(Default)]
pub(super) struct Assembly {
    /// What came as `index` (only ever compared, so it need not be a number), and the block, always
    /// an object. Input of a tool gathers under `partial_json`: it is JSON only once it is whole.
    blocks: Vec<(Value, Value)>,
    usage: Usage,
    /// Comes just before the end.
    pub(super) stop_reason: Option<String>,
    /// True after the last event.
    pub(super) stopped: bool,
}

impl Assembly {
    /// Takes in the next event; what is unknown is passed over.
    pub(super) fn apply(
        &mut self,
        event: &str,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<(), ModelError> {
        let event: Value = serde_json::from_str(event)
            .map_err(|error| ModelError::Protocol(format!("an event is no JSON ({error})")))?;
        for place in [&event, &event["message"], &event["delta"]] {
            self.count(&place["usage"]);
            self.stop_reason = place["stop_reason"]
                .as_str()
                .map(str::to_string)
                .or(self.stop_reason.take());
        }
        match event["type"].as_str() {
            Some("content_block_start") => {
                self.begin(&event["index"], &event["content_block"], on_text)
            }
            Some("content_block_delta") => {
                self.extend(&event["index"], &event["delta"], on_text)?
            }
            Some("message_stop") => self.stopped = true,
            Some("message") => {
                let blocks = event["content"].as_array().into_iter().flatten();
                blocks.for_each(|block| self.begin(&Value::Null, block, on_text));
                self.stopped = true;
            }
            _ if !event["error"].is_null() => return Err(api_error(&event)),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, index: &Value, block: &Value, on_text: &mut dyn FnMut(&str)) {
        if block.is_object() {
            on_text(block["text"].as_str().unwrap_or_default());
            self.blocks.push((index.clone(), block.clone()));
        }
    }

    fn extend(
        &mut self,
        index: &Value,
        delta: &Value,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<(), ModelError> {
        let block = self
            .blocks
            .iter_mut()
            .rev()
            .find(|(known, _)| known == index);
        let unknown =
            || ModelError::Protocol("a piece came of a block that had not begun".to_string());
        let (_, block) = block.ok_or_else(unknown)?;
        let key = match delta["type"].as_str() {
            Some("text_delta") => "text",
            Some("thinking_delta") => "thinking",
            Some("signature_delta") => "signature",
            Some("input_json_delta") => "partial_json",
            _ => return Ok(()),
        };
        let piece = delta[key].as_str().unwrap_or_default();
        if key == "text" {
            on_text(piece);
        }
        match &mut block[key] {
            Value::String(so_far) => so_far.push_str(piece),
            other => *other = json!(piece),
        }
        Ok(())
    }

    /// Later counts replace earlier ones, unless they are missing.
    fn count(&mut self, counts: &Value) {
        let update = |count: &mut u64, key| *count = counts[key].as_u64().unwrap_or(*count);
        update(&mut self.usage.input_tokens, "input_tokens");
        update(&mut self.usage.output_tokens, "output_tokens");
        update(
            &mut self.usage.cache_creation_input_tokens,
            "cache_creation_input_tokens",
        );
        update(
            &mut self.usage.cache_read_input_tokens,
            "cache_read_input_tokens",
        );
    }

    /// The reply, if it is complete.
    pub(super) fn finish(self) -> Result<Reply, ModelError> {
        let word = self
            .stop_reason
            .as_deref()
            .or(self.stopped.then_some("end_turn"));
        let word = word
            .ok_or_else(|| ModelError::Protocol("it ended before it was complete".to_string()))?;
        let stop_reason = StopReason::parse(word);
        let content = self
            .blocks
            .into_iter()
            .filter_map(|(_, block)| close(block))
            .collect();
        Ok(Reply {
            content,
            stop_reason,
            usage: self.usage,
        })
    }
}

/// The finished block; `None` for what no history can hold. Input that is no JSON, because it was
/// cut off, stays a string: [`Reply::repair`] makes of it what no tool accepts.
fn close(mut block: Value) -> Option<ContentBlock> {
    if let Some(Value::String(json)) = block.as_object_mut()?.remove("partial_json")
        && !json.trim().is_empty()
    {
        block["input"] = serde_json::from_str(&json).unwrap_or(Value::String(json));
    }
    let word = |key: &str| block[key].as_str().unwrap_or_default().to_string();
    Some(match block["type"].as_str()? {
        "text" => ContentBlock::Text { text: word("text") },
        "tool_use" => ContentBlock::ToolUse {
            id: word("id"),
            name: word("name"),
            input: block["input"].clone(),
        },
        "tool_result" => return None, // ours to say
        _ => ContentBlock::Other(block),
    })
}

/// What an error says, from its body: `{"error": {"message": …}}`, or less than that.
pub(super) fn error_message(body: &Value) -> Option<String> {
    let message = [&body["error"]["message"], &body["error"], &body["message"]];
    message
        .into_iter()
        .find_map(Value::as_str)
        .map(str::to_string)
}

/// Inside the stream it is too late for a status: the kind of error, or llama.cpp's code, tells
/// which one is meant.
fn api_error(event: &Value) -> ModelError {
    let event = if event["error"]["error"].is_object() {
        &event["error"]
    } else {
        event
    };
    let status = match event["error"]["type"].as_str() {
        Some("invalid_request_error") => 400,
        Some("rate_limit_error") => 429,
        Some("api_error") => 500,
        Some("timeout_error") => 504,
        Some("overloaded_error") => 529,
        _ => event["error"]["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or(200),
    };
    ModelError::Api {
        status,
        message: error_message(event).unwrap_or_else(|| event.to_string()),
    }
}
