//! s10 · At work: an agent as a task, seen from outside: what it has cost, what it does, how to
//! stop it.

use std::sync::{Arc, Mutex};

use crate::agent::Agent;
use crate::background::{Progress, Watch};
use crate::caught::lock;
use crate::event::{Event, Events, Stamped};
use crate::interrupt::Interrupt;
use crate::outcome::{End, Outcome};
use crate::screen::{count, describe, one_line};
use crate::subagent::{Input, of_agent, run};
use crate::tool::Ask;

/// What an agent may read and write in all.
const MAX_TOKENS: u64 = 500_000;
/// Bytes of a transcript that are kept: the last ones.
const MAX_TRANSCRIPT: usize = 8 * 1024;

/// What one agent has cost, and what it did.
#[derive(Default)]
pub(crate) struct Tally {
    requests: u64,
    pub tokens: u64,
    calls: u64,
    /// The tools whose calls were denied.
    denied: Vec<String>,
    /// The tool that was called last, and with what.
    pub tool: String,
    last: String,
    transcript: String,
}

impl Tally {
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::RequestStarted => self.requests += 1,
            Event::RequestFinished(usage) => {
                self.tokens += usage.unwrap_or_default().total();
                if !self.transcript.is_empty() && !self.transcript.ends_with('\n') {
                    self.transcript.push('\n');
                }
            }
            Event::ToolStarted { name, input } => {
                let input = describe(input);
                self.calls += 1;
                self.tool.clone_from(name);
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

    pub fn line(&self) -> String {
        let requests = count(self.requests, "request");
        let tokens = count(self.tokens, "token");
        let calls = count(self.calls, "tool call");
        format!("{requests}, {tokens}, {calls}{}", self.last)
    }
}

/// An agent that works on one prompt.
pub struct AtWork {
    worker: Agent,
    input: Input,
    tally: Arc<Mutex<Tally>>,
}

impl AtWork {
    /// What it does is shown as long as it `is_waited_for`. It asks `ask`.
    pub fn new(
        mut worker: Agent,
        input: Input,
        is_waited_for: impl Fn() -> bool + Send + Sync + 'static,
        ask: Ask,
    ) -> Self {
        let tally = Arc::<Mutex<Tally>>::default();
        let [counted, denies] = [(); 2].map(|()| tally.clone());
        let named = of_agent(&worker.context.events, input.description.trim());
        let reader = move |mut stamped: Stamped<'_>| {
            lock(&counted).count(stamped.event);
            stamped.in_background = !is_waited_for();
            named.tell(stamped);
        };
        worker.context.events = Events::default().with(Box::new(reader));
        worker.context.interrupt = Interrupt::default();
        worker.context.ask = Arc::new(move |question, interrupt| {
            let answer = ask(question, interrupt);
            if answer.is_err() && !interrupt.is_triggered() {
                let tally = &mut *lock(&denies);
                tally.denied.push(tally.tool.clone());
            }
            answer
        });
        AtWork {
            worker,
            input,
            tally,
        }
    }

    /// Works until the last text, on this thread.
    pub fn run(&self) -> Outcome {
        let used_up = || lock(&self.tally).tokens > MAX_TOKENS;
        let mut outcome = match run(&self.worker, self.input.prompt.clone(), used_up) {
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

impl Watch for AtWork {
    fn look(&self) -> Progress {
        let tally = lock(&self.tally);
        let agent = self.input.agent.iter().map(|name| format!("{name}: "));
        let mut tools = tally.denied.clone();
        tools.sort();
        tools.dedup();
        let remark = match tally.denied.len() {
            0 => String::new(),
            1 => format!("1 call was denied: {}", tools[0]),
            more => format!("{more} calls were denied: {}", tools.join(", ")),
        };
        Progress {
            what: agent.collect::<String>() + &self.input.prompt,
            left_running: None,
            line: tally.line(),
            recent: tally.transcript.clone(),
            remark,
            tokens: tally.tokens,
        }
    }

    fn stop(&self) {
        self.worker.context.interrupt.trigger();
    }
}
