//! s02 · Permission: what may be done. One gate decides on every tool call before it runs, in the
//! foreground and in the background.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::caught::lock;
use crate::screen::{count, describe};
use crate::terminal::{fit, size};
use crate::tool::{Access, Gate};

const CHOICE: &str = "Allow it? [y]es, [n]o, [a]lways this tool in this session: ";
/// Rows of a question that are shown, of its beginning and of its end.
const SHOWN: usize = 12;

/// A gate that asks the person about every call that is not free, unless it is `open` or the person
/// has allowed that tool for the session. The caller's context says whom to ask.
///
/// What is not promised: the gate asks about a command, it does not look into it. A command that
/// was allowed may do whatever its user may do.
pub fn gate(open: bool) -> Gate {
    let always: Mutex<HashSet<Arc<str>>> = Mutex::default();
    Arc::new(move |tool, input, context| {
        // Not locked while a person thinks: background agents look here, and do not wait.
        let always = || lock(&always);
        let name = &tool.name;
        if open || tool.access == Access::Free || always().contains(name) {
            return Ok(());
        }
        let asked = behind_bars(&describe(input));
        let mut question = format!("The agent wants to call {name}:\n{asked}\n{CHOICE}");
        loop {
            let answer = (context.ask)(&question, &context.interrupt)
                .map_err(|why| format!("{name} was denied: {why}"))?;
            match answer.trim().to_lowercase().as_str() {
                "y" | "yes" => return Ok(()),
                "n" | "no" => {
                    return Err(format!(
                        "the user said no to this {name} call. Do not try it another way; ask what they want instead."
                    ));
                }
                "a" | "always" => {
                    always().insert(name.clone());
                    return Ok(());
                }
                _ => question = format!("Please type y, n or a.\n{CHOICE}"),
            }
        }
    })
}

/// What is asked about: each row behind a bar, so that none can pass for the question. Empty lines
/// are left out, and a text that would push its beginning out of sight is cut in the middle.
pub(crate) fn behind_bars(text: &str) -> String {
    let columns = size().map_or(80, |(columns, _)| columns.max(20));
    let mut rows = Vec::new();
    for mut rest in text.lines() {
        while !rest.is_empty() {
            let row;
            (row, rest) = fit(rest, columns - 3);
            rows.push(format!("│ {row}"));
        }
    }
    if let left_out @ 1.. = rows.len().saturating_sub(2 * SHOWN) {
        let remark = format!("… {}, not shown …", count(left_out as u64, "more line"));
        rows.splice(SHOWN..SHOWN + left_out, [remark]);
    }
    rows.join("\n")
}
