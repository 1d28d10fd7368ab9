//! foundation · What a server may get wrong in a reply, put right.

use crate::message::{ContentBlock, Message, Reply, ToolCall};

/// Makes a reply fit for the history, so that the next request is valid: no empty text, and tool
/// calls with an id of their own, a legal name and an object as input (what was no object stands
/// in it under `invalid_input`, which no tool's schema admits). A reply that then holds neither
/// text nor a call comes out empty: thinking alone is no message.
pub fn repair(reply: &mut Reply, messages: &[Message]) {
    let says_something = |block: &_| !ContentBlock::is_prompt(block) || block.as_text().is_some();
    reply.content.retain(says_something);
    let blocks = messages.iter().flat_map(|message| &message.content);
    let mut ids: Vec<String> = blocks
        .filter_map(|block| Some(block.as_call()?.id.clone()))
        .collect();
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
