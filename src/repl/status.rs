//! The line above the prompt, from s11 on: how many tasks run, how many have news, what is waited for.
//!
//! It is the first line of a prompt of two lines. The line editor believes that it is empty, and
//! asks for it each time it draws: so it may change while a line is being typed. It must not be
//! wider than the terminal.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

use crate::event::{Event, Stamped};
use crate::terminal::fit;

/// Read off the stream of events.
#[derive(Default)]
pub(crate) struct Status {
    counts: Mutex<Counts>,
    columns: AtomicUsize,
    colour: bool,
}

#[derive(Default)]
struct Counts {
    running: usize,
    news: usize,
    /// What the main thread waits for.
    waiting: String,
    shown: String,
}

impl Status {
    pub fn new(colour: bool) -> Self {
        Status {
            colour,
            ..Status::default()
        }
    }

    /// The terminal is so wide.
    pub fn set_columns(&self, columns: usize) {
        self.columns.store(columns, Relaxed);
    }

    /// True if the line has changed.
    pub fn note(&self, Stamped { agent, event, .. }: Stamped<'_>) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::TaskStarted { .. } => counts.running += 1,
            Event::TaskFinished { .. } => {
                counts.running = counts.running.saturating_sub(1);
                counts.news += 1;
            }
            Event::Delivered(_) => counts.news = counts.news.saturating_sub(1),
            Event::Waiting { what, elapsed, .. } if agent.is_none() && elapsed.as_secs() > 0 => {
                let (mut what, whole) = (fit(what.lines().next().unwrap_or_default(), 30).0, what);
                if what.len() < whole.len() {
                    what.push('…');
                }
                counts.waiting = format!(
                    "{what}, {} s (Ctrl+B: to the background)",
                    elapsed.as_secs()
                );
            }
            Event::ToolFinished { .. } | Event::TurnFinished if agent.is_none() => {
                counts.waiting.clear()
            }
            _ => return false,
        }
        let shown = counts.line();
        let changed = shown != counts.shown;
        counts.shown = shown;
        changed
    }

    fn line(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let line = fit(&counts.shown, self.columns.load(Relaxed).saturating_sub(1)).0;
        if self.colour {
            format!("\x1b[2m{line}\x1b[0m")
        } else {
            line
        }
    }
}

impl Counts {
    fn line(&self) -> String {
        let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let waiting = (!self.waiting.is_empty()).then(|| self.waiting.clone());
        let parts = [
            count(self.running, "running"),
            count(self.news, "with news"),
            waiting,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

/// What the line editor asks.
pub(crate) struct Helper(pub Arc<Status>);

impl Highlighter for Helper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
        if default && prompt.starts_with('\n') {
            Cow::Owned(self.0.line() + prompt)
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

impl Completer for Helper {
    type Candidate = String;
}

impl Hinter for Helper {
    type Hint = String;
}

impl Validator for Helper {}

impl rustyline::Helper for Helper {}
