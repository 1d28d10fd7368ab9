//! aids · What the practice model remembers of a conversation that is compacted.

use super::short;
use crate::message::{ContentBlock, Message, Role};

/// The prompts before the current one, in order, each with its calls and the first line of the
/// last result; before them, what an earlier summary held. At most 100 lines: the oldest go.
pub fn summary(messages: &[Message]) -> String {
    let (mut lines, mut result) = (Vec::new(), None);
    let blocks = messages
        .iter()
        .flat_map(|message| message.content.iter().map(|block| (message.role, block)));
    for (role, block) in blocks {
        match block {
            ContentBlock::Text { text } if role == Role::User => {
                if block.is_prompt() {
                    lines.extend(result.take());
                    lines.push(format!("- The user said: {}", short(text.trim(), 200)));
                } else if let Some(earlier) = text.trim().strip_prefix("<summary>") {
                    let earlier = earlier.trim_end_matches("</summary>").trim().lines();
                    lines.extend(earlier.map(str::to_string));
                }
            }
            ContentBlock::ToolUse { name, input, .. } => {
                let call = format!("  called {name} {}", short(&input.to_string(), 60));
                // A task is asked about again and again.
                if lines.last() != Some(&call) {
                    lines.push(call);
                }
            }
            ContentBlock::ToolResult { content, .. } => {
                let first = content.lines().next().unwrap_or_default();
                result = Some(format!("  last result: {}", short(first, 120)));
            }
            _ => {}
        }
    }
    if result.is_none() {
        lines.pop(); // The prompt that asks for this.
    }
    lines.extend(result);
    if lines.is_empty() {
        lines.push("Nothing has been said or done yet.".to_string());
    }
    lines.split_off(lines.len().saturating_sub(100)).join("\n")
}
