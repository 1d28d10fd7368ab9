//! s02 · Permission: what may be done. One gate decides on every tool call before it runs, in the
//! foreground and in the background.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::screen::describe;
use crate::tool::{Access, Context, Gate, Tool, ToolError};

/// A gate that asks the person about every call that is not free, unless it is `open` or the person
/// has allowed that tool for the session. Whom to ask, the caller's [`Context`] says.
///
/// What is not promised: the gate asks about a command, it does not look into it. A command that
/// was allowed may do whatever its user may do.
pub fn gate(open: bool) -> Gate {
    let always: Mutex<HashSet<&str>> = Mutex::default();
    Arc::new(move |tool, input, context| {
        // Not locked while a person thinks: background agents look here, and do not wait.
        let always = || always.lock().unwrap_or_else(PoisonError::into_inner);
        let name = tool.spec.name;
        if open || tool.access == Access::Free || always().contains(name) {
            return Ok(());
        }
        match ask(tool, input, context)? {
            Answer::Yes => Ok(()),
            Answer::Always => {
                always().insert(name);
                Ok(())
            }
            Answer::No => Err(ToolError(format!(
                "the user said no to this {name} call. Do not try it another way; ask what they want instead."
            ))),
        }
    })
}

/// What the person said.
enum Answer {
    /// This once.
    Yes,
    /// Not this.
    No,
    /// This tool, for the rest of the session.
    Always,
}

/// Asks until the answer is clear.
fn ask(tool: &Tool, input: &Value, context: &Context) -> Result<Answer, ToolError> {
    let name = tool.spec.name;
    let choice = "Allow it? [y]es, [n]o, [a]lways this tool in this session: ";
    let mut question = format!(
        "The agent wants to call {name} {}\n{choice}",
        describe(input)
    );
    loop {
        let answer = (context.ask)(&question, &context.interrupt)
            .map_err(|why| format!("{name} was denied: {why}"))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(Answer::Yes),
            "n" | "no" => return Ok(Answer::No),
            "a" | "always" => return Ok(Answer::Always),
            _ => question = format!("Please type y, n or a.\n{choice}"),
        }
    }
}
