//! foundation · The line above the prompt: how many tasks run, how many have finished, what is
//! waited for.
//!
//! It is the first line of a prompt of two lines. The line editor believes that it is empty, and
//! asks for it each time it draws: so it may change while a line is being typed. It must not be
//! wider than the terminal.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::highlight::Highlighter;

use crate::event::{Event, Stamped};
use crate::terminal::{fit, size};

/// What the line says, read off the stream of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    running: usize,
    /// Tasks that have ended and were not delivered yet.
    finished: usize,
    /// What the main thread waits for, for how many seconds, and its progress.
    waiting: Option<(String, u64, String)>,
}

/// Written by all threads that emit events, read by the line editor. Clones are the same.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Facts>>);

impl Status {
    /// Takes an event from the stream. If that changes the line, it is to be drawn again.
    pub fn note(&self, Stamped { agent, event, .. }: Stamped<'_>, redraw: impl FnOnce()) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = facts.clone();
        match event {
            Event::TaskStarted { .. } => facts.running += 1,
            Event::TaskFinished { .. } => {
                facts.running = facts.running.saturating_sub(1);
                facts.finished += 1;
            }
            // Where nothing is delivered, the agent may look now.
            Event::TurnStarted(_) if agent.is_none() => facts.finished = 0,
            Event::Delivered(_) => facts.finished = facts.finished.saturating_sub(1),
            Event::Waiting {
                what,
                elapsed,
                progress,
            } if agent.is_none() && elapsed.as_secs() > 0 => {
                facts.waiting = Some((what.clone(), elapsed.as_secs(), progress.clone()));
            }
            Event::ToolFinished { .. } | Event::TurnFinished if agent.is_none() => {
                facts.waiting = None;
            }
            _ => return,
        }
        if *facts != before {
            redraw();
        }
    }

    fn line(&self, hint: &str) -> String {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let waiting = facts.waiting.as_ref().map(|(what, seconds, progress)| {
            let what = what.lines().next().unwrap_or_default();
            let (short, _) = fit(what, 30);
            let more = if short.len() < what.len() { "…" } else { "" };
            let progress = match progress.as_str() {
                "" => String::new(),
                progress => format!(" · {progress}"),
            };
            format!("{short}{more}, {seconds} s{hint}{progress}")
        });
        let parts = [
            count(facts.running, "running"),
            count(facts.finished, "finished"),
            waiting,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

/// What the line editor asks.
#[derive(rustyline::Completer, rustyline::Helper, rustyline::Hinter, rustyline::Validator)]
pub struct Helper {
    /// Whose line it draws.
    status: Status,
    /// What can be done about what is waited for, such as a key.
    pub hint: String,
    /// Whether it is drawn in grey.
    colour: bool,
}

impl Helper {
    pub fn new(status: Status, colour: bool) -> Self {
        let hint = String::new();
        Helper {
            status,
            hint,
            colour,
        }
    }
}

impl Highlighter for Helper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
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
