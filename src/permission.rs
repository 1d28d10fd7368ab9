//! s02 · Permission: what may be done. One gate decides on every tool call before it runs, in the
//! foreground and in the background.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::screen::describe;
use crate::terminal::{fit, size};
use crate::tool::{Access, Context, Gate, Tool};

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
            Answer::No => Err(format!(
                "the user said no to this {name} call. Do not try it another way; ask what they want instead."
            )),
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
fn ask(tool: &Tool, input: &Value, context: &Context) -> Result<Answer, String> {
    let name = tool.spec.name;
    let choice = "Allow it? [y]es, [n]o, [a]lways this tool in this session: ";
    let asked = behind_bars(&describe(input));
    let mut question = format!("The agent wants to call {name}:\n{asked}\n{choice}");
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

/// Rows of what is asked about that are shown: from its beginning, and as many from its end.
const SHOWN_ROWS: usize = 12;

/// Each row of a text behind a bar, also where the terminal would wrap it: so nothing in it can pass
/// for the question. Only the row that says how many are left out has none.
fn behind_bars(text: &str) -> String {
    let width = size().map_or(80, |(columns, _)| columns).max(20) - 3;
    let mut rows = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        loop {
            let (row, _) = fit(rest, width);
            let taken = row.chars().count();
            rest = rest
                .split_at(rest.char_indices().nth(taken).map_or(rest.len(), |it| it.0))
                .1;
            rows.push(format!("│ {row}"));
            if rest.is_empty() {
                break;
            }
        }
    }
    let left_out = rows.len().saturating_sub(2 * SHOWN_ROWS);
    if left_out > 0 {
        let remark = format!("… {left_out} more lines, which are not shown …");
        rows.splice(SHOWN_ROWS..SHOWN_ROWS + left_out, [remark]);
    }
    rows.join("\n")
}
