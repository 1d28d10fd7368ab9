//! s20 · A mate, as its lead has it: a background task, whose input is a pipe.

use std::env::current_exe;
use std::sync::{Arc, Mutex};

use super::mailbox::Mailbox;
use crate::background::{BackgroundExecutor, Control, Kind, Task};
use crate::caught::lock;
use crate::event::Events;
use crate::notification::TaskId;
use crate::outcome::Outcome;
use crate::process::fed::{self, Feed, quote};
use crate::process::{Handle, Progress, Watch, until_ended};
use crate::tools::background::announced;

/// A mate that was started. When its feed is dropped, its input ends: it leaves after its turn.
pub struct Mate {
    pub feed: Feed,
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
