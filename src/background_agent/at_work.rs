//! An agent at work, seen from outside: what it has cost, what it does, how to stop it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::background::Watch;
use crate::event::{Event, Reader, Stamped};
use crate::interrupt::Interrupt;
use crate::permission::describe;

/// Characters of a transcript that are kept: the last ones.
const MAX_TRANSCRIPT: usize = 8 * 1024;

/// What one agent has cost, and what it did.
#[derive(Default)]
struct Tally {
    requests: u64,
    tokens: u64,
    calls: u64,
    last: String,
    transcript: String,
}

impl Tally {
    fn count(&mut self, event: &Event) {
        match event {
            Event::RequestStarted => self.requests += 1,
            Event::RequestFinished { usage, .. } => {
                self.tokens += usage.input_tokens + usage.output_tokens;
                self.tokens += usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
                self.end_line();
            }
            Event::ToolStarted { name, input, .. } => {
                self.calls += 1;
                self.last = format!("; last: {name} {}", describe(input))
                    .chars()
                    .take(80)
                    .collect();
                self.transcript += &format!("● {name}: {}\n", line(&describe(input)));
            }
            Event::ToolFinished { output, .. } => {
                self.transcript += &format!("  └ {}\n", line(output))
            }
            Event::Text(text) => self.transcript += text,
            Event::Notice(text) => self.transcript += &format!("({text})\n"),
            _ => {}
        }
        let excess = self.transcript.len().saturating_sub(MAX_TRANSCRIPT);
        self.transcript
            .drain(..self.transcript.ceil_char_boundary(excess));
    }

    fn end_line(&mut self) {
        if !self.transcript.is_empty() && !self.transcript.ends_with('\n') {
            self.transcript.push('\n');
        }
    }

    fn look(&self) -> String {
        let count =
            |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let [requests, tokens] = [count(self.requests, "request"), count(self.tokens, "token")];
        format!(
            "{requests}, {tokens}, {}{}",
            count(self.calls, "tool call"),
            self.last
        )
    }
}

fn line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(160)
        .collect()
}

/// Clones are about the same agent.
#[derive(Clone, Default)]
pub(super) struct AtWork {
    tally: Arc<Mutex<Tally>>,
    pub interrupt: Interrupt,
}

impl AtWork {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read and written so far.
    pub fn tokens(&self) -> u64 {
        self.tally().tokens
    }

    /// For the stream of its events.
    pub fn reader(&self) -> Reader {
        let it = self.clone();
        Box::new(move |stamped: Stamped<'_>| it.tally().count(stamped.event))
    }
}

impl Watch for AtWork {
    fn look(&self) -> String {
        self.tally().look()
    }

    fn details(&self) -> String {
        let tally = self.tally();
        format!("{}\n{}", tally.look(), tally.transcript)
    }

    fn remains(&self) -> String {
        self.details()
    }

    fn stop(&self) {
        self.interrupt.trigger();
    }
}
