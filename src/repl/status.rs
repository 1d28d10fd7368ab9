//! foundation · The line above the prompt: how many tasks run, how many have finished, what is
//! waited for.
//!
//! It is the first line of a prompt of two lines. The line editor believes that it is empty, and
//! asks for it each time it draws: so it may change while a line is being typed. It must not be
//! wider than the terminal.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustyline::highlight::Highlighter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};

use super::shared::Shared;
use crate::caught::lock;
use crate::event::{Event, Stamped};
use crate::terminal::{fit, short, size};

/// What is shorter is not worth a line.
const AT_ONCE: Duration = Duration::from_millis(200);

/// What the line says, read off the stream of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    running: usize,
    /// Tasks that have ended and were not delivered yet.
    finished: usize,
    waiting: Option<Waiting>,
    /// The main agent waits for the model. No key helps there.
    thinking: bool,
}

/// What the main thread waits for, for how many seconds, and its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    /// The sub-agent that waits, in the main agent's place.
    agent: Option<String>,
    what: String,
    seconds: u64,
    progress: String,
}

/// Written by all threads that emit events, read by the line editor. Clones are the same.
#[derive(Clone)]
pub struct Status {
    facts: Arc<Mutex<Facts>>,
    shared: Arc<Shared>,
}

impl Status {
    /// With nothing to say.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Status {
            facts: Arc::default(),
            shared: shared.clone(),
        }
    }

    /// Takes an event from the stream. If that changes the line, it is drawn again.
    pub fn note(&self, stamped: Stamped<'_>) {
        let mut facts = lock(&self.facts);
        let (before, agent) = (facts.clone(), stamped.agent);
        // What the main agent says of its waiting counts more than what a sub-agent says.
        let shown = facts.waiting.as_ref();
        let counts = !stamped.in_background
            && shown.is_none_or(|shown| agent.is_none() || shown.agent.is_some());
        match stamped.event {
            Event::TaskStarted { .. } => facts.running += 1,
            Event::TaskFinished { .. } => {
                facts.running = facts.running.saturating_sub(1);
                facts.finished += 1;
            }
            // Where nothing is delivered, the agent may look now.
            Event::TurnStarted(_) if agent.is_none() => facts.finished = 0,
            Event::Delivered(..) => facts.finished = facts.finished.saturating_sub(1),
            Event::RequestStarted if agent.is_none() => facts.thinking = true,
            Event::Waiting {
                what,
                elapsed,
                progress,
            } if counts && *elapsed >= AT_ONCE => {
                facts.waiting = Some(Waiting {
                    agent: agent.map(str::to_string),
                    what: what.clone(),
                    seconds: elapsed.as_secs(),
                    progress: progress.clone(),
                });
            }
            Event::ToolFinished { .. } | Event::RequestFinished(_) | Event::TurnFinished
                if counts =>
            {
                (facts.waiting, facts.thinking) = (None, false);
            }
            _ => return,
        }
        if *facts != before {
            self.shared.screen.redraw();
        }
    }

    fn line(&self, hint: &str) -> String {
        let facts = lock(&self.facts);
        let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let hint = if facts.thinking { "" } else { hint };
        let waiting = facts.waiting.as_ref().map(|waiting| {
            let what = short(waiting.what.lines().next().unwrap_or_default(), 31);
            let who = waiting.agent.as_ref().map(|agent| format!("{agent}: "));
            let progress = match waiting.progress.as_str() {
                "" => String::new(),
                progress => format!(" · {progress}"),
            };
            let (who, seconds) = (who.unwrap_or_default(), waiting.seconds);
            format!("{who}{what}, {seconds} s{hint}{progress}")
        });
        let parts = [
            count(facts.running, "running"),
            count(facts.finished, "ended"),
            waiting,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

/// What the line editor asks.
#[derive(rustyline::Completer, rustyline::Helper, rustyline::Hinter)]
pub struct Helper {
    /// Whose line it draws.
    status: Status,
    /// What can be done about what is waited for, such as a key.
    pub hint: String,
    /// Whether it is drawn in grey.
    colour: bool,
    /// False until the prompt of this line stands.
    pub is_drawn: Cell<bool>,
}

impl Helper {
    pub fn new(status: Status, colour: bool) -> Self {
        Helper {
            status,
            hint: String::new(),
            colour,
            is_drawn: Cell::new(false),
        }
    }
}

impl Highlighter for Helper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
        if !self.is_drawn.replace(true) {
            self.status.shared.screen.prompt_stands();
        }
        if !default || !prompt.starts_with('\n') {
            return Cow::Borrowed(prompt);
        }
        let columns = size().map_or(80, |(columns, _)| columns);
        let (line, _) = fit(&self.status.line(&self.hint), columns.saturating_sub(1));
        match self.colour {
            true => format!("\x1b[2m{line}\x1b[0m{prompt}").into(),
            false => (line + prompt).into(),
        }
    }
}

/// Asked with Enter, before the terminal gets its own mode back.
impl Validator for Helper {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.status.shared.line_ends();
        Ok(ValidationResult::Valid(None))
    }
}
