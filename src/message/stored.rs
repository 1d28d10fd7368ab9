//! foundation · A conversation in a file: its notes stay notes, and what is missing is made up for.

use serde_json::json;

use super::{ContentBlock, Message, Role, append, push_note};

const NO_RESULT: &str = "ERROR: the program ended before this ran, or before its result was kept.";
const NO_START: &str = "<system-reminder>What was said before could not be read.</system-reminder>";

/// On the wire a note is a text; in a file it must not become what the person said. This makes one
/// form of the other.
pub fn swap_notes(mut message: Message) -> Message {
    for block in &mut message.content {
        match block {
            ContentBlock::Note { text } => {
                *block = ContentBlock::Other(json!({ "type": "note", "text": text }));
            }
            ContentBlock::Other(value) if value["type"] == "note" => {
                let text = value["text"].as_str().unwrap_or_default().to_string();
                *block = ContentBlock::Note { text };
            }
            _ => {}
        }
    }
    message
}

/// The conversation as a model takes it: the roles alternate, each call has its result, and no
/// message is empty.
pub fn repair(messages: Vec<Message>) -> Vec<Message> {
    let mut whole = Vec::new();
    for Message { role, content } in messages {
        let is_result = |block: &_| matches!(block, ContentBlock::ToolResult { .. });
        let (results, rest): (_, Vec<_>) = content.into_iter().partition(is_result);
        answer(&mut whole, results);
        if whole.is_empty() && role == Role::Assistant {
            push_note(&mut whole, NO_START);
        }
        append(&mut whole, role, rest);
    }
    answer(&mut whole, Vec::new());
    whole
}

/// Gives each call of the last message its result.
fn answer(whole: &mut Vec<Message>, results: Vec<ContentBlock>) {
    let mut answers = Vec::new();
    for block in whole.last().iter().flat_map(|last| &last.content) {
        let ContentBlock::ToolUse(call) = block else {
            continue;
        };
        let answers_it = |it: &&_| matches!(it, ContentBlock::ToolResult { tool_use_id, .. } if *tool_use_id == call.id);
        let missing = || ContentBlock::ToolResult {
            tool_use_id: call.id.clone(),
            content: NO_RESULT.to_string(),
            is_error: true,
        };
        let result = results.iter().find(answers_it).cloned();
        answers.push(result.unwrap_or_else(missing));
    }
    append(whole, Role::User, answers);
}
