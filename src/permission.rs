//! What may be done: one gate for every tool call, foreground and background.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::attendance::Attendance;
use crate::interrupt::Interrupt;
use crate::tool::{Access, Tool, ToolError};

/// What the person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This once.
    Yes,
    /// Not this.
    No,
    /// This tool, for the rest of the session.
    Always,
}

type Ask = Box<dyn Fn(&str, &Interrupt) -> Answer + Send + Sync>;

enum Rule {
    Open,
    Closed(String),
    Ask {
        ask: Ask,
        always: Arc<Mutex<HashSet<&'static str>>>,
    },
    /// Nobody to ask, but what was allowed for the session stays allowed.
    Unattended(Arc<Mutex<HashSet<&'static str>>>),
    /// The first as long as somebody waits, then the second.
    Attended(Attendance, Gate, Gate),
}

/// Decides on each call before it runs. Clones are the same gate.
///
/// What is not promised: the gate asks about a command, it does not look into it. A command that
/// was allowed may do whatever its user may do.
#[derive(Clone)]
pub struct Gate(Arc<Rule>);

impl Gate {
    /// Lets everything through: `--yes`, or the practice model, which only does what was typed.
    pub fn open() -> Self {
        Gate(Arc::new(Rule::Open))
    }

    /// Lets only free calls through. `why` tells the model what it may do instead.
    pub fn closed(why: impl Into<String>) -> Self {
        Gate(Arc::new(Rule::Closed(why.into())))
    }

    /// Puts a question to a person, on the thread that runs the tools. The interrupt is that of
    /// whoever wants to call: triggered, it makes the question void.
    pub fn ask(ask: impl Fn(&str, &Interrupt) -> Answer + Send + Sync + 'static) -> Self {
        Gate(Arc::new(Rule::Ask {
            ask: Box::new(ask),
            always: Arc::default(),
        }))
    }

    /// The gate for an agent that nobody watches: what would have to be asked about is refused at
    /// once, unless it was allowed for the session before.
    pub fn unattended(&self) -> Gate {
        match &*self.0 {
            Rule::Ask { always, .. } => Gate(Arc::new(Rule::Unattended(always.clone()))),
            _ => self.clone(),
        }
    }

    /// The gate for an agent that somebody may stop waiting for: from then on it is unattended.
    pub fn attended(&self, attendance: &Attendance) -> Gate {
        match &*self.0 {
            Rule::Ask { .. } => Gate(Arc::new(Rule::Attended(
                attendance.clone(),
                self.clone(),
                self.unattended(),
            ))),
            _ => self.clone(),
        }
    }

    /// Passes or refuses one call.
    ///
    /// # Errors
    /// When the call may not run: the reason, for the model.
    pub fn check(
        &self,
        tool: &Tool,
        input: &Value,
        interrupt: &Interrupt,
    ) -> Result<(), ToolError> {
        if tool.access == Access::Free {
            return Ok(());
        }
        let name = tool.spec.name;
        match &*self.0 {
            Rule::Open => Ok(()),
            Rule::Attended(attendance, first, second) => {
                let attended = attendance.ask(|| first.check(tool, input, interrupt));
                attended.unwrap_or_else(|| second.check(tool, input, interrupt))
            }
            Rule::Closed(why) => Err(ToolError(format!("{name} was denied: {why}"))),
            Rule::Unattended(always)
                if always
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .contains(name) =>
            {
                Ok(())
            }
            Rule::Unattended(_) => Err(ToolError(format!(
                "{name} was denied: it needs the user's consent, and a background agent cannot ask. Do what you can without it, \
                 and say in your report what is left; the main agent can do it in the foreground, or the user allow {name} for the session beforehand."
            ))),
            Rule::Ask { ask, always } => {
                // Not held while a person thinks: background agents look into it, and do not wait.
                let always = || always.lock().unwrap_or_else(PoisonError::into_inner);
                if always().contains(name) {
                    return Ok(());
                }
                match ask(&format!("{name} {}", describe(input)), interrupt) {
                    Answer::Yes => Ok(()),
                    Answer::No => Err(ToolError(format!(
                        "the user said no to this {name} call. Do not try it another way; ask what they want instead."
                    ))),
                    Answer::Always => {
                        always().insert(name);
                        Ok(())
                    }
                }
            }
        }
    }
}

/// The input of a call in one line: what names something first, old before new, then the rest.
/// Nothing is left out, so that nobody agrees to what they did not see.
pub fn describe(input: &Value) -> String {
    const FIRST: [&str; 6] = ["id", "path", "name", "agent", "description", "old_text"];
    let Some(fields) = input.as_object() else {
        return input.to_string();
    };
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(key, _)| {
        FIRST
            .iter()
            .position(|first| first == key)
            .unwrap_or(FIRST.len())
    });
    let show = |(key, value): (&String, &Value)| match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) if !FIRST.contains(&key.as_str()) => {
            format!("{key} {value}")
        }
        other => other.to_string(),
    };
    fields.into_iter().map(show).collect::<Vec<_>>().join("  ")
}
