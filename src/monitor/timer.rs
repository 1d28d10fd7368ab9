//! s16 · Timers: a background task whose work is to wait for a time, or for its stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use super::{Monitors, ring};
use crate::background::{Kind, Progress, Task, Watch};
use crate::caught::lock;
use crate::interrupt::Interrupt;
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::tool::{Context, ToolOutcome};

/// The longest time, in seconds: 30 days.
pub const LONGEST: u64 = 30 * 24 * 60 * 60;
/// So late is a timer at most that was due while the machine slept.
const MOST_LATE: Duration = Duration::from_secs(60);
/// One that goes on while the machine sleeps; that of `Instant` does not.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

#[derive(Deserialize)]
pub struct Input {
    id: String,
    seconds: u64,
    note: String,
    #[serde(default)]
    repeat: bool,
}

/// Due a period from now, and then after each further one.
pub struct Timer {
    note: String,
    period: Duration,
    /// The next time on the clock.
    due: Mutex<Duration>,
    stopped: Interrupt,
}

impl Timer {
    /// The period is not zero.
    pub fn new(period: Duration, note: String) -> Self {
        Timer {
            note,
            period,
            due: Mutex::new(now() + period),
            stopped: Interrupt::default(),
        }
    }

    /// The time until it is due.
    pub fn left(&self) -> Duration {
        lock(&self.due).saturating_sub(now())
    }

    /// Waits until it is due; false if it was stopped. Of several times that have passed, one counts.
    pub fn wait(&self) -> bool {
        while self.stopped.pause(self.left().min(MOST_LATE)) {
            let (mut due, now) = (lock(&self.due), now());
            if *due <= now {
                while *due <= now {
                    *due += self.period;
                }
                return true;
            }
        }
        false
    }
}

fn now() -> Duration {
    clock_gettime(CLOCK).map_or(Duration::ZERO, Duration::from)
}

impl Watch for Timer {
    fn look(&self) -> Progress {
        let due = format!("due in {:.0} s", self.left().as_secs_f64());
        let due = Some(due).filter(|_| !self.stopped.is_triggered());
        Progress {
            line: due.unwrap_or_default(),
            what: self.note.clone(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.stopped.trigger();
    }
}

impl Monitors {
    /// Once, its end is what it tells. A timer that repeats tells each time, until it is stopped.
    pub(super) fn timer(&self, input: Input, context: &Context) -> ToolOutcome {
        let (id, seconds) = (TaskId::new(&input.id)?, input.seconds);
        let least = [1, self.pause.as_secs().max(1)][usize::from(input.repeat)];
        if !(least..=LONGEST).contains(&seconds) {
            return Err(format!("`seconds` is from {least} to {LONGEST} here."));
        }
        let timer = Arc::new(Timer::new(Duration::from_secs(seconds), input.note));
        let task = Task::new(Kind::Other("timer"), &id, timer.clone(), &context.events);
        let mailbox = self.mailbox(&id);
        let bus = lock(&self.executor).bus().notifier();
        let job = move |task: &Task| {
            while timer.wait() {
                if !input.repeat {
                    timer.stop();
                    return Outcome::new(End::Finished(None), &*timer.note);
                }
                let due = format!("due\n{}", timer.note);
                mailbox.put(&task.id, task.started.elapsed(), &due);
                ring(&mailbox, &bus);
            }
            Outcome::new(End::Killed, "")
        };
        lock(&self.executor).start(task, job)?;
        Ok(format!(
            "{id}: due in {seconds} s; its note comes by itself."
        ))
    }
}
