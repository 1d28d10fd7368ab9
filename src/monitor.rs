//! s16 · Monitors and timers: background tasks that report while they run. A monitor tells what a
//! command prints, a timer that its time has come.
//!
//! Promised: a report is put into the conversation once, those of a task in their order, its end
//! last. Not promised: every line. What is too much for a model is counted.

mod mailbox;
mod timer;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, at, never, select_biased};
use serde::Deserialize;
use serde_json::json;

use crate::background::{BackgroundExecutor, Control, Kind};
use crate::caught::lock;
use crate::delivery::{Deliveries, push_event, put};
use crate::event::{Event, Events};
use crate::message::Message;
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::process::lines::Batch;
use crate::process::{self, News};
use crate::repl::Repl;
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::background::announced;
use crate::tools::object;
pub use mailbox::{Mailboxes, What};

/// Starts monitors and timers, and delivers what they report. Clones are the same.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Monitors {
    pub executor: Arc<Mutex<BackgroundExecutor>>,
    pub mailboxes: Mailboxes,
    /// Called when the mailboxes hold something that wakes an idle agent.
    pub bell: Arc<dyn Fn() + Send + Sync>,
    /// Lines that come within this time are one event.
    pub window: Duration,
    /// A task wakes an idle agent at most once in this time.
    pub pause: Duration,
    /// A silence of this length is told.
    pub silence: Duration,
}

#[derive(Deserialize)]
struct Input {
    id: String,
    command: String,
    #[serde(default)]
    wake: bool,
}

impl Monitors {
    /// Over the executor of the background tasks; what they report wakes the prompt.
    pub fn attach(executor: &Arc<Mutex<BackgroundExecutor>>, repl: &mut Repl) -> Self {
        let mailboxes = Mailboxes::default();
        Monitors {
            executor: executor.clone(),
            bell: Arc::new(repl.run_beside(mailboxes.clone())),
            mailboxes,
            window: Duration::from_millis(200),
            pause: Duration::from_secs(10),
            silence: Duration::from_secs(600),
        }
    }

    /// Puts what was reported since the last call into the conversation, and then what has ended. To
    /// be called before each request, in the place of [`Deliveries::deliver`].
    pub fn deliver(&self, ends: &Deliveries, events: &Events, messages: &mut Vec<Message>) {
        // In this order: what a task reported before its end is in its mailbox by now.
        let ended = ends.take();
        for (id, report) in self.mailboxes.fetch() {
            let text = format!("{id}: {}", mailbox::text(&report));
            let time = format!(" event=\"{:.1} s\"", report.0.as_secs_f64());
            push_event(messages, &id, &time, &text);
            let line = text.lines().next().unwrap_or_default();
            events.emit(Event::Told(id.to_string(), line.to_string()));
        }
        put(ended, events, messages);
    }

    /// `monitor` and `timer`.
    pub fn tools(&self) -> [Tool; 2] {
        let id = json!({ "type": "string", "description": "A short name of your choice. It must not have been used before." });
        let command = json!({ "type": "string", "description": "Run by bash -c, without a terminal and without input." });
        let wake = json!({ "type": "boolean", "description": "Wake you when you are idle, at most every 10 seconds. If not, the lines wait for your next request." });
        let monitor = json!({ "id": id, "command": command, "wake": wake });
        let timer = json!({
            "id": id,
            "seconds": { "type": "integer", "minimum": 1, "maximum": timer::LONGEST },
            "note": { "type": "string", "description": "What to do then" },
            "repeat": { "type": "boolean", "description": "Again and again, until it is stopped" }
        });
        let [monitors, timers] = [self.clone(), self.clone()];
        [
            Tool::new(
                "monitor",
                "Start a shell command in the background, and be told what it prints while it runs. Lines that come together are one event; \
                 standard error is told when standard output is silent. Let it print only what is worth a look, failures included: \
                 filter with grep --line-buffered. Stop it with stop_bg.",
                object(monitor, &["id", "command"]),
                Access::Ask,
                move |input, context| monitors.monitor(input, context),
            ),
            Tool::new(
                "timer",
                "Be woken after some time, with a note to yourself. Stop it with stop_bg.",
                object(timer, &["id", "seconds", "note"]),
                Access::Free,
                move |input, context| timers.timer(input, context),
            ),
        ]
    }

    fn monitor(&self, input: Input, context: &Context) -> ToolOutcome {
        let (id, started) = (TaskId::new(&input.id)?, Instant::now());
        let (folder, events) = (context.folder.clone(), context.events.clone());
        let mut monitor = Monitor {
            all: self.clone(),
            id: id.clone(),
            started,
            muted: false,
            may_wake: input.wake.then_some(started),
            wake: never(),
        };
        let job = move |control: &Control| {
            announced(&events, &monitor.id.clone(), &input.command, || {
                let (handle, news) = process::start_heard(&input.command, folder.path());
                control.attach(Arc::new(handle));
                monitor.until_ended(&news)
            })
        };
        lock(&self.executor).submit(Kind::Other("monitor"), &id, job)?;
        Ok(format!(
            "{id}: started in the background. What it prints will come by itself."
        ))
    }

    /// Wakes an idle agent with what waits for this task. False if nothing does.
    fn ring(&self, id: &TaskId) -> bool {
        let wakes = self.mailboxes.wake(id);
        if wakes {
            (self.bell)();
        }
        wakes
    }
}

/// A monitor at work, on its thread.
struct Monitor {
    all: Monitors,
    id: TaskId,
    started: Instant,
    /// Nobody listens any more.
    muted: bool,
    /// It wakes the agent, but not before this.
    may_wake: Option<Instant>,
    /// When it does, if it has to wait for that.
    wake: Receiver<Instant>,
}

impl Monitor {
    /// Makes events of what the command prints, until nothing of it is left.
    fn until_ended(&mut self, news: &Receiver<News>) -> Outcome {
        let (window, silence) = (self.all.window, self.all.silence);
        let (mut batch, mut full, mut silent) = (Batch::default(), never(), after(silence));
        let mut printed = 0;
        let mut outcome = loop {
            // A command that pours out output is always ready: it comes last.
            select_biased! {
                recv(full) -> _ => {
                    if let Some((is_error, lines)) = batch.take(false) {
                        self.tell(What::Lines(is_error, lines));
                    }
                    full = if batch.bytes() > 0 { after(window) } else { never() };
                    silent = after(silence);
                }
                recv(silent) -> _ => {
                    self.tell(What::Silent(silence));
                    silent = never();
                }
                recv(self.wake) -> _ => self.ring(),
                recv(news) -> news => match news {
                    Ok(News::Printed(is_error, bytes)) => {
                        printed += bytes.len();
                        if self.muted {
                            continue;
                        }
                        if batch.bytes() == 0 {
                            full = after(window);
                        }
                        batch.push(is_error, &bytes);
                    }
                    Ok(News::ShellExited(..)) => {}
                    Ok(News::Ended(outcome)) => break outcome,
                    Err(_) => break Outcome::new(End::Lost, ""),
                },
            }
        };
        self.may_wake = None; // its end does
        while let Some((is_error, lines)) = batch.take(true) {
            self.tell(What::Lines(is_error, lines));
        }
        if printed > 0 {
            outcome.output = format!("({printed} bytes of output in all)");
        }
        outcome
    }

    fn tell(&mut self, what: What) {
        let report = (self.started.elapsed(), what);
        self.muted |= !self.all.mailboxes.put(&self.id, report);
        match self.may_wake {
            Some(from) if from > Instant::now() => self.wake = at(from),
            Some(_) => self.ring(),
            None => {}
        }
    }

    /// Wakes the agent, unless it has been told meanwhile.
    fn ring(&mut self) {
        self.wake = never();
        if self.all.ring(&self.id) {
            self.may_wake = Some(Instant::now() + self.all.pause);
        }
    }
}
