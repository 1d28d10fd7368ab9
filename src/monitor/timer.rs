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
const TIMER: Kind = Kind::Waiting("timer");

#[derive(Deserialize)]
pub struct Input {
    id: String,
    seconds: u64,
    note: String,
    #[serde(default)]
    repeat: bool,
}

/// A timer, seen from outside.
struct Timer {
    alarm: Alarm,
    note: String,
}

impl Watch for Timer {
    fn look(&self) -> Progress {
        let left = self.alarm.left().as_secs_f64();
        let runs = !self.alarm.stop.is_triggered();
        let line = runs.then(|| format!("due in {left:.0} s"));
        Progress {
            line: line.unwrap_or_default(),
            what: self.note.clone(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.alarm.stop.trigger();
    }
}

impl Monitors {
    /// Once, its end is what it tells. A timer that repeats reports each time, until it is stopped.
    pub(super) fn timer(&self, input: Input, context: &Context) -> ToolOutcome {
        let (id, seconds) = (TaskId::new(&input.id)?, input.seconds);
        let least = [1, self.pause.as_secs().max(1)][usize::from(input.repeat)];
        if !(least..=LONGEST).contains(&seconds) {
            return Err(format!("`seconds` is from {least} to {LONGEST} here."));
        }
        let (alarm, note) = (Alarm::new(Duration::from_secs(seconds)), input.note);
        let timer = Arc::new(Timer { alarm, note });
        let (it, name, events) = (self.clone(), id.clone(), context.events.clone());
        let started = Instant::now();
        let job = move |control: &Control| {
            control.attach(timer.clone());
            announced(&events, &name, &timer.note, || {
                while timer.alarm.wait() {
                    if !input.repeat {
                        timer.stop();
                        return Outcome::new(End::Finished(None), &*timer.note);
                    }
                    let due = What::Due(timer.note.clone());
                    it.mailboxes.put(&name, (started.elapsed(), due));
                    it.ring(&name);
                }
                Outcome::new(End::Killed, &*timer.note)
            })
        };
        let mut executor = lock(&self.executor);
        let running = executor.running().into_iter();
        let timers = running.filter(|id| executor.find(id).is_ok_and(|it| it.kind == TIMER));
        if timers.count() >= MOST {
            return Err(format!("{MOST} timers run already; stop one first."));
        }
        executor.start(TIMER, started, &id, job)?;
        Ok(format!(
            "{id}: due in {seconds} s; its note comes by itself."
        ))
    }
}
