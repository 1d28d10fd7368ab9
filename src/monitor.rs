//! s16 · Monitors and timers: background tasks that report while they run. A monitor tells what a
//! command prints, a timer that its time has come.
//!
//! Promised: a report is put into the conversation once, those of a task in their order, its end
//! last. Not promised: every line. What is too much for a model is counted.

mod timer;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, at, never, select_biased};
use serde::Deserialize;
use serde_json::json;

use crate::background::{Executor, Kind, Task};
use crate::caught::lock;
use crate::delivery::{Deliveries, Source, note};
use crate::event::{Event, Events};
use crate::mailbox::Mailbox;
use crate::message::{Message, push_note};
use crate::notification::{Notifier, TaskId};
use crate::outcome::{End, Outcome};
use crate::process::{Handle, News, heard, start};
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::object;
pub use timer::Timer;

const MONITOR: &str = "Start a shell command in the background, and be told what it prints while it runs. Lines that come together are one event; \
    standard error is told when standard output is silent. Let it print only what is worth a look, failures included: \
    filter with grep --line-buffered. Stop it with stop_bg.";
const TIMER: &str = "Be woken after some time, with a note to yourself. Stop it with stop_bg.";

/// Starts monitors and timers, and sets their pace. Clones are the same.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Monitors {
    pub executor: Executor,
    /// Lines that come within this time are one event.
    pub window: Duration,
    /// A task wakes an idle agent at most once in this time.
    pub pause: Duration,
    /// A silence of this length is told.
    pub silence: Duration,
    mailboxes: Arc<Mutex<Vec<(TaskId, Mailbox)>>>,
}

#[derive(Deserialize)]
struct Input {
    id: String,
    command: String,
    #[serde(default)]
    wake: bool,
}

impl Monitors {
    /// Over the executor of the background tasks; what they tell is delivered with the results.
    pub fn attach(deliveries: &Deliveries) -> Self {
        let monitors = Monitors {
            executor: deliveries.executor.clone(),
            window: Duration::from_millis(200),
            pause: Duration::from_secs(10),
            silence: Duration::from_secs(600),
            mailboxes: Arc::default(),
        };
        lock(&deliveries.sources).push(Box::new(monitors.clone()));
        monitors
    }

    /// A new mailbox, for a task that is about to begin.
    fn mailbox(&self, id: &TaskId) -> Mailbox {
        let mailbox = Mailbox::default();
        lock(&self.mailboxes).push((id.clone(), mailbox.clone()));
        mailbox
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
        let monitor = object(monitor, &["id", "command"]);
        let timer = object(timer, &["id", "seconds", "note"]);
        let [monitors, timers] = [self.clone(), self.clone()];
        let hear = move |input: Input, context: &Context| monitors.monitor(input, context);
        let wait = move |input: timer::Input, context: &Context| timers.timer(input, context);
        [
            Tool::new("monitor", MONITOR, monitor, Access::Ask, hear),
            Tool::new("timer", TIMER, timer, Access::Free, wait),
        ]
    }

    fn monitor(&self, input: Input, context: &Context) -> ToolOutcome {
        let (id, heard) = (TaskId::new(&input.id)?, heard::command(&input.command));
        let watch = Arc::new(heard.0.clone());
        let task = Task::new(Kind::Command, &id, watch, &context.events);
        let (it, folder) = (self.clone(), context.folder.clone());
        let job = move |task: &Task| it.hear(task, &input, folder.path(), &heard);
        lock(&self.executor).submit(task, job)?;
        Ok(format!(
            "{id}: started in the background. What it prints will come by itself."
        ))
    }

    /// Makes events of what the command prints, until nothing of it is left.
    fn hear(
        &self,
        task: &Task,
        input: &Input,
        folder: &Path,
        heard: &(Handle, Receiver<()>),
    ) -> Outcome {
        let ((handle, bell), mailbox) = (heard, self.mailbox(&task.id));
        let (news, bus) = (start(handle, folder), lock(&self.executor).bus().notifier());
        let (started, mut rested) = (Instant::now(), Instant::now());
        let tell = |event: &str| mailbox.put(&task.id, started.elapsed(), event);
        let (mut printed, mut full, mut silent) = (bell.clone(), never(), after(self.silence));
        let mut wake = never();
        let mut outcome = loop {
            select_biased! {
                recv(printed) -> _ => (printed, full) = (never(), after(self.window)),
                recv(full) -> _ => match handle.take(false) {
                    Some(lines) => {
                        tell(&lines);
                        (full, silent, wake) = (after(self.window), after(self.silence), at(rested));
                    }
                    None => (printed, full) = (bell.clone(), never()),
                },
                recv(silent) -> _ => {
                    tell(&format!("silent for {} s, and still running", self.silence.as_secs()));
                    (silent, wake) = (never(), at(rested));
                }
                recv(wake) -> _ => {
                    wake = never();
                    // Unless a request has told it meanwhile.
                    if input.wake && ring(&mailbox, &bus) {
                        rested = Instant::now() + self.pause;
                    }
                }
                recv(news) -> news => match news {
                    Ok(News::ShellExited(..)) => {}
                    Ok(News::Ended(outcome)) => break outcome,
                    Err(_) => break Outcome::new(End::Lost, ""),
                },
            }
        };
        while let Some(lines) = handle.take(true) {
            tell(&lines);
        }
        // It was told, or counted.
        if handle.bytes() > 0 {
            outcome.output = format!("({} bytes of output in all)", handle.bytes());
        }
        outcome
    }
}

impl Source for Monitors {
    fn news(&self) -> Vec<String> {
        let mailboxes = lock(&self.mailboxes);
        let wakes = mailboxes.iter().filter_map(|(_, mailbox)| mailbox.wakes());
        wakes.collect()
    }

    fn deliver(&self, events: &Events, messages: &mut Vec<Message>) {
        for (id, mailbox) in &*lock(&self.mailboxes) {
            for event in mailbox.take() {
                push_note(messages, note(&id.to_string(), &event));
                events.emit(Event::Told(id.to_string(), event));
            }
        }
    }
}

/// Wakes an idle agent with what waits. False if nothing does.
fn ring(mailbox: &Mailbox, bus: &Notifier) -> bool {
    let wakes = mailbox.wake();
    if wakes && let Some(hook) = bus.hook.get() {
        hook();
    }
    wakes
}
