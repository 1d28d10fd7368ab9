//! foundation · A line that may come next, shown in grey behind the prompt as long as no key is
//! pressed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Repl;
use super::shared::Shared;
use crate::caught::lock;
use crate::interrupt::Interrupt;
use crate::screen::visible;
use crate::terminal::short;

/// How long it must have been on the screen before a key takes it.
const MOMENT: Duration = Duration::from_millis(200);
const HOW: &str = " [Tab]";

/// What stands behind the prompt, or may come to stand there.
#[derive(Default)]
pub struct Grey {
    over: Interrupt,
    line: Option<String>,
    /// When it was drawn first.
    since: Option<Instant>,
    /// Something is being typed.
    pub typed: bool,
}

/// The right to show one line: until a key is pressed, or a turn begins.
pub struct Offer {
    /// Triggered when it is too late.
    pub over: Interrupt,
    shared: Arc<Shared>,
}

impl Repl {
    /// An offer for the person at the prompt. `None` unless the prompt is idle: somebody edits lines
    /// there, and nothing is typed, queued or to be told. A demonstration shows it, too.
    pub fn offer(&self) -> Option<Offer> {
        let shared = self.shared.clone();
        let news = shared.beside.get().is_some_and(|it| !it.news().is_empty());
        let mut grey = lock(&shared.grey);
        let busy = !self.edited || grey.typed || shared.inbox.waiting() > 0;
        if news || busy && !self.options.demo {
            return None;
        }
        *grey = Grey::default();
        let over = grey.over.clone();
        drop(grey);
        Some(Offer { over, shared })
    }
}

impl Offer {
    /// Shows a line, unless it is too late. One that would not look as it is, because of control
    /// characters, say, is not shown.
    pub fn show(&self, line: &str) {
        let mut grey = lock(&self.shared.grey);
        let is_plain = visible(line) == line && !line.contains(char::is_control);
        if is_plain && !self.over.is_triggered() {
            grey.line = Some(line.to_string());
            drop(grey);
            self.shared.screen.redraw();
        }
    }
}

impl Shared {
    /// What is to be drawn behind the prompt, in so many columns.
    pub fn grey(&self, columns: usize) -> String {
        let mut grey = lock(&self.grey);
        let Some(line) = grey.line.clone().filter(|_| columns > 20) else {
            return String::new();
        };
        grey.since.get_or_insert_with(Instant::now);
        short(&line, columns - HOW.len()) + HOW
    }

    /// Ends the offer. Returns the line that was shown, and whether for long enough to be taken.
    pub fn end_offer(&self) -> Option<(String, bool)> {
        let mut grey = lock(&self.grey);
        grey.over.trigger();
        let (line, since) = (grey.line.take(), grey.since.take());
        Some((line?, since?.elapsed() >= MOMENT))
    }
}
