//! s10 · At work: an agent as a task, seen from outside: what it has cost, what it does, how to
//! stop it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::agent::Agent;
use crate::background::{Progress, Watch};
use crate::event::{Event, Events, Stamped};
use crate::interrupt::Interrupt;
use crate::outcome::{End, Outcome};
use crate::screen::{describe, one_line};
use crate::subagent::run;
use crate::tool::{Ask, Context};

/// What an agent may read and write in all.
const MAX_TOKENS: u64 = 500_000;
/// Bytes of a transcript that are kept: the last ones.
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
            Event::RequestFinished(usage) => {
                let usage = usage.unwrap_or_default();
                self.tokens += usage.input_tokens + usage.output_tokens;
                self.tokens += usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
                if !self.transcript.is_empty() && !self.transcript.ends_with('\n') {
                    self.transcript.push('\n');
                }
            }
            Event::ToolStarted { name, input } => {
                let input = describe(input);
                self.calls += 1;
                self.last = format!("; last: {name} {input}").chars().take(80).collect();
                self.transcript += &format!("● {name}: {}\n", one_line(&input));
            }
            Event::ToolFinished { output, .. } => {
                self.transcript += &format!("  └ {}\n", one_line(output))
            }
            Event::Text(text) => self.transcript += text,
            Event::Notice(text) => self.transcript += &format!("({text})\n"),
            _ => {}
        }
        let excess = self.transcript.len().saturating_sub(MAX_TRANSCRIPT);
        self.transcript
            .drain(..self.transcript.ceil_char_boundary(excess));
    }
}

/// An agent that works on one prompt.
pub struct AtWork {
    worker: Agent,
    tally: Arc<Mutex<Tally>>,
}

impl AtWork {
    /// As long as whoever waits for it holds the `waiter`, what it does is shown. It asks `ask`.
    pub fn new(mut worker: Agent, name: &str, events: &Events, waiter: Weak<()>, ask: Ask) -> Self {
        let tally = Arc::<Mutex<Tally>>::default();
        let (all, name, counted) = (events.clone(), name.to_string(), tally.clone());
        let reader = move |stamped: Stamped<'_>| {
            lock(&counted).count(stamped.event);
            let in_background = waiter.strong_count() == 0;
            let agent = Some(name.as_str());
            all.tell(Stamped {
                agent,
                in_background,
                ..stamped
            });
        };
        worker.context = Context {
            folder: worker.context.folder.clone(),
            events: Events::default().with(Box::new(reader)),
            interrupt: Interrupt::default(),
            ask,
        };
        AtWork { worker, tally }
    }

    /// Works until the last text, on this thread.
    pub fn run(&self, prompt: String) -> Outcome {
        let used_up = || lock(&self.tally).tokens > MAX_TOKENS;
        let mut outcome = match run(&self.worker, prompt, used_up) {
            Ok(output) => Outcome::new(End::Finished(None), output),
            Err(so_far) if self.worker.context.interrupt.is_triggered() => {
                Outcome::new(End::Killed, so_far)
            }
            Err(why) => Outcome::new(End::Failed(why), ""),
        };
        outcome.output += &self.worker.context.folder.leave();
        outcome
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch for AtWork {
    fn look(&self) -> Progress {
        let tally = lock(&self.tally);
        let count = |count: u64, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {what}{plural}")
        };
        let counts = [
            count(tally.requests, "request"),
            count(tally.tokens, "token"),
            count(tally.calls, "tool call"),
        ];
        Progress {
            left_running: None,
            line: counts.join(", ") + &tally.last,
            recent: tally.transcript.clone(),
        }
    }

    fn stop(&self) {
        self.worker.context.interrupt.trigger();
    }
}
