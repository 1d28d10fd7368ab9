//! s16 · Timers: a background task whose work is to wait for a time, or for its stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Monitors, What};
use crate::alarm::Alarm;
use crate::background::{Control, Kind, Progress, Watch};
use crate::caught::lock;
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::tool::{Context, ToolOutcome};
use crate::tools::background::announced;

/// The longest time, in seconds: 30 days.
pub const LONGEST: u64 = 30 * 24 * 60 * 60;
/// How many timers may run.
const MOST: usize = 16;

#[derive(Deserialize)]
pub struct Input {
    id: String,
    seconds: u64,
    note: String,
    #[serde(default)]
    repeat: bool,
}

impl Watch for Alarm {
    fn look(&self) -> Progress {
        Progress {
            line: format!("due in {:.0} s", self.left().as_secs_f64()),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.stop.trigger();
    }
}

impl Monitors {
    /// Once, its end is what it tells. A timer that repeats reports each time, until it is stopped.
    pub(super) fn timer(&self, input: Input, context: &Context) -> ToolOutcome {
        let (id, seconds) = (TaskId::new(&input.id)?, input.seconds);
        let least = if input.repeat {
            self.pause.as_secs()
        } else {
            0
        }
        .max(1);
        if !(least..=LONGEST).contains(&seconds) {
            return Err(format!("`seconds` is from {least} to {LONGEST} here."));
        }
        let alarm = Arc::new(Alarm::new(Duration::from_secs(seconds)));
        let (it, name, events) = (self.clone(), id.clone(), context.events.clone());
        let started = Instant::now();
        let job = move |control: &Control| {
            control.attach(alarm.clone());
            announced(&events, &name, &input.note, || {
                while alarm.wait() {
                    if !input.repeat {
                        return Outcome::new(End::Finished(None), &*input.note);
                    }
                    let due = What::Due(input.note.clone());
                    it.mailboxes.put(&name, (started.elapsed(), due));
                    it.ring(&name);
                }
                Outcome::new(End::Killed, &*input.note)
            })
        };
        let mut executor = lock(&self.executor);
        let running = executor.running().into_iter();
        let timers = running.filter(|id| executor.find(id).is_ok_and(|it| it.kind == Kind::Timer));
        if timers.count() >= MOST {
            return Err(format!("{MOST} timers run already; stop one first."));
        }
        // It takes none of the places of tasks that work.
        executor.start(Kind::Timer, started, &id, job)?;
        Ok(format!(
            "{id}: due in {seconds} s; its note comes by itself."
        ))
    }
}
