//! s20 · A mate, as its lead has it: a background task, whose input is a pipe.

use std::collections::BTreeMap;
use std::env::{current_exe, vars_os};
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::mailbox::Mailbox;
use super::member::Brief;
use crate::background::{BackgroundExecutor, Control, Kind, Task};
use crate::caught::lock;
use crate::event::Events;
use crate::notification::TaskId;
use crate::outcome::Outcome;
use crate::process::fed::{self, Feed, quote};
use crate::process::{Handle, Progress, Watch, until_ended};
use crate::tools::background::announced;

/// How long it may take to come up.
const START: Duration = Duration::from_secs(30);
/// What a mate is told that is told nothing else.
const PROMPT: &str = "Take tasks from the board, one after the other, until none is free: task_claim gives you the next one, task_update completes it.";

/// A mate that was started. When its feed is dropped, its input ends: it leaves after its turn.
pub struct Mate {
    feed: Feed,
    pub control: Control,
}

impl Mate {
    /// Starts it, as a background task that takes no place. It has no key yet, and waits for a line.
    pub fn start(
        executor: &Mutex<BackgroundExecutor>,
        events: &Events,
        mailbox: Mailbox,
        options: &str,
    ) -> Result<Self, String> {
        let id = TaskId::new(mailbox.name())?;
        lock(executor).expect_new(&id)?;
        let failed = |error| format!("{id} cannot be started: {error}.");
        mailbox.make().map_err(failed)?;
        let place = quote(&mailbox.0.to_string_lossy());
        let program = current_exe().map_err(failed)?;
        let started = fed::start(&program, &format!("--mate {place}{options}"));
        let (handle, news, feed) = started.map_err(failed)?;
        let task = Task::new(Kind::Other("mate"), &id);
        let (control, events) = (task.control.clone(), events.clone());
        control.attach(Arc::new(Watched(handle, mailbox.clone())));
        let job = move |_: &Control| {
            announced(&events, &id, "mate", || {
                // (What it has left running, its own supervisors end.)
                let outcome = Outcome::new(until_ended(&news).end, mailbox.line());
                mailbox.give_back();
                outcome
            })
        };
        lock(executor).start(task, job)?;
        Ok(Mate { feed, control })
    }

    /// Waits until it lives.
    pub fn wait(&mut self, name: &str) -> Result<(), String> {
        let lives = self.feed.is_ready(START).then_some(());
        lives.ok_or_else(|| format!("{name} did not come up."))
    }

    /// Gives it the key and what it is, and then its first prompt.
    pub fn begin(&mut self, brief: &Brief) -> Result<(), String> {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut given: BTreeMap<_, _> = vars_os().filter_map(text).collect();
        given.retain(|name, _| name.starts_with("ANTHROPIC_") || name == "MODEL_ID");
        let given = serde_json::to_string(&(given, brief)).unwrap_or_default();
        // It begins with the name: so it is no command of the prompt, whatever it says.
        let prompt = brief.prompt.as_deref().unwrap_or(PROMPT);
        let prompt = format!("{}: {}", brief.name, prompt.replace(['\n', '\r'], " "));
        let said = self.feed.say(&given).and_then(|()| self.feed.say(&prompt));
        said.map_err(|why| format!("{} is told nothing: {why}.", brief.name))
    }
}

struct Watched(Handle, Mailbox);

impl Watch for Watched {
    fn look(&self) -> Progress {
        Progress {
            what: format!("a mate in {}", self.1.0.display()),
            line: self.1.line(),
            ..self.0.look()
        }
    }

    fn stop(&self) {
        self.0.stop();
    }
}
